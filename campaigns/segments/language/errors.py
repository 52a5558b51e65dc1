"""What is wrong with a definition, where, and in both languages."""

from collections.abc import Mapping

_SAID: Mapping[str, Mapping[str, str]] = {
    "not_a_condition": {
        "en": 'expected a condition or a group {{"all"|"any"|"none": […]}}, got {got}',
        "fr": 'une condition ou un groupe {{"all"|"any"|"none": […]}} est attendu, pas {got}',
    },
    "not_a_group": {
        "en": 'a definition is a group: {{"all": […]}}, {{"any": […]}} or {{"none": […]}}',
        "fr": 'une définition est un groupe : {{"all": […]}}, {{"any": […]}} ou {{"none": […]}}',
    },
    "group_has_more": {
        "en": "a group has one key, all, any or none; found also «{keys}»",
        "fr": "un groupe a une seule clé, all, any ou none ; trouvé aussi « {keys} »",
    },
    "not_a_list": {"en": "expected a list of conditions", "fr": "une liste de conditions est attendue"},
    "empty_group": {
        "en": "this group has no condition: add one or remove the group",
        "fr": "ce groupe n’a aucune condition : ajoutez-en une ou retirez le groupe",
    },
    "too_deep": {
        "en": "groups may nest {most} deep at most",
        "fr": "les groupes s’emboîtent sur {most} niveaux au plus",
    },
    "too_many": {"en": "at most {most} conditions", "fr": "{most} conditions au plus"},
    "no_field": {"en": "choose a field", "fr": "choisissez un champ"},
    "unknown_field": {"en": "unknown field «{word}»{near}", "fr": "champ inconnu « {word} »{near}"},
    "unknown_key": {
        "en": "«{word}» means nothing for {field}{near}",
        "fr": "« {word} » ne veut rien dire pour {field}{near}",
    },
    "no_operator": {"en": "choose an operator", "fr": "choisissez un opérateur"},
    "unknown_operator": {
        "en": "{field} does not know the operator «{word}»; it knows {known}",
        "fr": "{field} ne connaît pas l’opérateur « {word} » ; il connaît {known}",
    },
    "no_value": {"en": "give a value", "fr": "donnez une valeur"},
    "value_not_wanted": {
        "en": "the operator «{op}» takes no value",
        "fr": "l’opérateur « {op} » ne prend pas de valeur",
    },
    "not_a_number": {
        "en": "expected a whole number from {least} to {most}",
        "fr": "un nombre entier de {least} à {most} est attendu",
    },
    "not_a_count": {
        "en": "expected a whole number, 0 or more",
        "fr": "un nombre entier, 0 ou plus, est attendu",
    },
    "not_an_amount": {
        "en": "expected an amount as a whole number of cents",
        "fr": "un montant en nombre entier de centimes est attendu",
    },
    "not_a_pair": {
        "en": "expected two values, the smaller one first",
        "fr": "deux valeurs sont attendues, la plus petite d’abord",
    },
    "not_a_day": {
        "en": "expected a date written YYYY-MM-DD",
        "fr": "une date écrite AAAA-MM-JJ est attendue",
    },
    "not_a_text": {
        "en": "expected a text of 1 to {most} characters",
        "fr": "un texte de 1 à {most} caractères est attendu",
    },
    "not_some_texts": {
        "en": "expected a list of 1 to {most} values",
        "fr": "une liste de 1 à {most} valeurs est attendue",
    },
    "not_a_flag": {"en": "expected true or false", "fr": "true ou false est attendu"},
    "unknown_channel": {
        "en": "unknown channel «{word}»; channels are {known}",
        "fr": "canal inconnu « {word} » ; les canaux sont {known}",
    },
    "no_window": {"en": "{field} takes no window", "fr": "{field} ne prend pas de période"},
    "not_a_window": {
        "en": 'expected {{"last_days": n}}, {{"month": "previous"}} or {{"from": day, "to": day}}',
        "fr": '{{"last_days": n}}, {{"month": "previous"}} ou {{"from": jour, "to": jour}} est attendu',
    },
    "window_backwards": {
        "en": "the window ends before it starts",
        "fr": "la période finit avant de commencer",
    },
    "never_missing": {
        "en": "or_missing goes with «≠» and «not in» of a field that can be missing",
        "fr": "or_missing va avec « ≠ » et « not in » d’un champ qui peut manquer",
    },
    "no_param": {"en": "give the {field}", "fr": "donnez : {field}"},
    "unknown_code": {"en": "unknown {what} «{word}»{near}", "fr": "{what} inconnu(e) « {word} »{near}"},
    "head_office_only": {
        "en": "«{field}» is answered at head office only: it speaks of the whole network",
        "fr": "« {field} » n’est disponible qu’au siège : ce champ parle de tout le réseau",
    },
}
_NEAR = {"en": "; did you mean «{near}»?", "fr": " ; vouliez-vous dire « {near} » ?"}


class SegmentError(ValueError):
    """A definition cannot be read or answered. `path` leads to the place: ``all[0].field``, "" for the whole.

    `code` names the kind of error; `told(language)` says it to a person, `str(error)` in English with the path.
    """

    def __init__(self, path: str, code: str, **details: object):
        self.path = path
        self.code = code
        self.details = details
        super().__init__(path, code)

    def __str__(self) -> str:
        return f"{self.path or 'definition'}: {self.message}"

    @property
    def message(self) -> str:
        """The error in English, without the path."""
        return self.told("en")

    def told(self, language: str) -> str:
        """The error for a person who reads `language` ("fr" or else English), without the path."""
        language = "fr" if language.startswith("fr") else "en"
        details = dict(self.details)
        if "near" in details:
            details["near"] = _NEAR[language].format(near=details["near"]) if details["near"] else ""
        if isinstance(details.get("field"), Mapping):
            details["field"] = details["field"][language]  # type: ignore[index]
        if isinstance(details.get("what"), Mapping):
            details["what"] = details["what"][language]  # type: ignore[index]
        return _SAID[self.code][language].format(**details)
