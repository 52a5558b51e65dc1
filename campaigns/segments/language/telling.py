"""Syntax tree -> a sentence in French or English."""

from collections.abc import Callable, Mapping
from datetime import date

from campaigns.segments.language.tree import Group, Leaf, Value, Window
from campaigns.segments.language.words import Takes, Vocabulary, Word

# How one value is written for a reader: (list it comes from or kind, value) -> text.
Names = Callable[[str, object], str]

_NUMBERS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "=": "exactly {0}", "!=": "other than {0}", "<": "less than {0}", "<=": "at most {0}", ">": "more than {0}",
        ">=": "at least {0}", "between": "between {0} and {1}",
    },
    "fr": {
        "=": "exactement {0}", "!=": "un nombre différent de {0}", "<": "moins de {0}", "<=": "au plus {0}",
        ">": "plus de {0}", ">=": "au moins {0}", "between": "entre {0} et {1}",
    },
}  # fmt: skip
_DAYS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "=": "on {0}", "<": "before {0}", "<=": "on or before {0}", ">": "after {0}", ">=": "on or after {0}",
        "between": "between {0} and {1}",
    },
    "fr": {
        "=": "le {0}", "<": "avant le {0}", "<=": "le {0} ou avant", ">": "après le {0}", ">=": "le {0} ou après",
        "between": "entre le {0} et le {1}",
    },
}  # fmt: skip
_TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "=": "«{0}»", "!=": "other than «{0}»", "in": "«{0}»", "not_in": "other than «{0}»",
        "contains": "containing «{0}»", "starts": "starting with «{0}»", "exists": "known", "missing": "missing",
        "within": "within {0} day{s} of today", "next": "in the next {0} day{s}",
    },
    "fr": {
        "=": "« {0} »", "!=": "autre que « {0} »", "in": "« {0} »", "not_in": "autre que « {0} »",
        "contains": "contenant « {0} »", "starts": "commençant par « {0} »", "exists": "(valeur connue)",
        "missing": "(valeur manquante)", "within": "à {0} jour{s} près d’aujourd’hui",
        "next": "d’ici {0} jour{s}",
    },
}  # fmt: skip
_CODES: Mapping[str, Mapping[str, str]] = {
    "en": {"=": "{0}", "!=": "other than {0}", "in": "{0}", "not_in": "other than {0}"},
    "fr": {"=": "{0}", "!=": "autre que {0}", "in": "{0}", "not_in": "autre que {0}"},
}
# A channel needs no verb: «may be contacted by e-mail», «may not be contacted by e-mail».
_CHANNELS: Mapping[str, Mapping[str, str]] = {
    "en": {"=": "{0}", "!=": "{0}", "in": "{0}"},
    "fr": {"=": "{0}", "!=": "{0}", "in": "{0}"},
}
_WORDING = {
    Takes.NUMBER: _NUMBERS,
    Takes.CENTS: _NUMBERS,
    Takes.DAYS: _NUMBERS,
    Takes.DAY: _DAYS,
    Takes.TEXT: _TEXTS,
    Takes.CODE: _CODES,
    Takes.CHANNEL: _CHANNELS,
}
_SAID: Mapping[str, Mapping[str, str]] = {
    "en": {
        "all": " and ", "any": " or ", "none": "none of: ", "everybody": "All customers", "start": "Customers with ",
        "or_missing": " or unknown", "or": "or", "last_days": " in the last {0} day{s}",
        "previous": " in the month before this one", "between": " between {0} and {1}", "from": " since {0}",
        "to": " until {0}",
    },
    "fr": {
        "all": " et ", "any": " ou ", "none": "rien de ceci : ", "everybody": "Tous les clients",
        "start": "Clients avec ", "or_missing": " ou inconnu", "or": "ou",
        "last_days": " depuis {0} jour{s}", "previous": " le mois précédent",
        "between": " entre le {0} et le {1}", "from": " depuis le {0}", "to": " jusqu’au {0}",
    },
}  # fmt: skip


def plain_names(kind: str, value: object) -> str:
    """Values as they stand in the definition: codes as codes, amounts in units with two decimals."""
    if kind == "cents" and isinstance(value, int):
        return f"{value / 100:.2f}"
    return str(value)


def tell(tree: Group, vocabulary: Vocabulary, language: str = "fr", names: Names = plain_names) -> str:
    """The tree as one sentence. `names` turns codes into the names that readers know."""
    language = "fr" if language.startswith("fr") else "en"
    said = _SAID[language]
    if not tree.children:
        return f"{said['everybody']}."
    return f"{said['start']}{_tell_group(tree, vocabulary, language, names, outermost=True)}."


def tell_leaf(leaf: Leaf, word: Word, language: str = "fr", names: Names = plain_names) -> str:
    """One condition as a phrase without capital or full stop."""
    language = "fr" if language.startswith("fr") else "en"
    said = _SAID[language]
    affirmed = leaf.value is not False and not (word.takes is Takes.CHANNEL and leaf.op == "!=")
    phrase = word.phrase[language] if affirmed else word.phrase_if_not[language]
    places = {param.name: "" for param in word.params}
    for param in word.params:
        value = leaf.param(param.name)
        if value is not None:
            shown = _several(value, _kind(param.name, param.takes), said["or"], names)
            places[param.name] = " " + param.phrase[language].format(value=shown)
    value = "" if word.takes is Takes.FLAG else _tell_value(leaf, word, language, names)
    window = _tell_window(leaf.window, said, language) if leaf.window else ""
    return phrase.format(value=value, window=window, s=_plural(leaf.value, language), **places) + (
        said["or_missing"] if leaf.or_missing else ""
    )


def _tell_group(group: Group, vocabulary: Vocabulary, language: str, names: Names, outermost: bool) -> str:
    said = _SAID[language]
    told = [
        tell_leaf(child, vocabulary[child.word], language, names)
        if isinstance(child, Leaf)
        else _tell_group(child, vocabulary, language, names, outermost=False)
        for child in group.children
    ]
    if group.kind == "none":
        return f"{said['none']}({' ; '.join(told) if language == 'fr' else '; '.join(told)})"
    if group.kind == "all" and len(told) > 2:
        text = f"{', '.join(told[:-1])}{said['all']}{told[-1]}"
    else:
        text = said[group.kind].join(told)
    return text if outermost or len(told) == 1 else f"({text})"


def _tell_value(leaf: Leaf, word: Word, language: str, names: Names) -> str:
    # Days around an anniversary are told as for a text, whatever the word takes.
    wording = _TEXTS if leaf.op in ("within", "next", "exists", "missing") else _WORDING[word.takes]
    template = wording[language][leaf.op]
    kind = word.codes or word.takes.value
    plural = _plural(leaf.value, language)
    if leaf.op == "between" and isinstance(leaf.value, tuple):
        return template.format(*(names(kind, item) for item in leaf.value), s=plural)
    return template.format(_several(leaf.value, kind, _SAID[language]["or"], names), s=plural)


def _several(value: Value, kind: str, joint: str, names: Names) -> str:
    items = [names(kind, item) for item in (value if isinstance(value, tuple) else (value,))]
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {joint} {items[-1]}"


def _kind(name: str, takes: Takes) -> str:
    return name if takes is Takes.CODE or name == "category" else takes.value


def _plural(value: Value, language: str) -> str:
    """The s of a noun that goes with a number, the last one of a pair; French counts 0 as singular."""
    number = value[-1] if isinstance(value, tuple) else value
    return "" if number == 1 or (number == 0 and language == "fr") else "s"


def _tell_window(window: Window, said: Mapping[str, str], language: str) -> str:
    if window.last_days is not None:
        return said["last_days"].format(window.last_days, s=_plural(window.last_days, language))
    if window.month is not None:
        return said["previous"]
    first, last = _day(window.first), _day(window.last)
    if first and last:
        return said["between"].format(first, last)
    return said["from"].format(first) if first else said["to"].format(last)


def _day(day: date | None) -> str:
    return day.isoformat() if day else ""
