"""Why two records were, or were not, taken for one person: evidence as data, and as a sentence in French or English.

The templates stand here and not in the translation catalogue because a decision is explained in the language of whoever
reads it, long after it was made, from the evidence that was stored with it.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from profiles.matching.fields import LEVELS, kind_of, missing_level
from profiles.matching.model import Comparison, Model
from profiles.matching.rules import RULES, judge
from profiles.matching.scoring import Scores, score
from profiles.matching.table import Counts, Table


class Evidence(TypedDict):
    """One line of the reasons. ``weight`` in bits: positive speaks for one person, negative against. ``a`` and ``b``
    are the two compared values, empty for ``prior`` and ``household``."""

    field: str
    level: str
    weight: float
    a: str
    b: str


def explain(
    table: Table, left: int, right: int, model: Model, counts: Counts | None = None
) -> tuple[list[Evidence], str]:
    """The evidence on one pair of records, which adds up to its match weight, and the rule that decided, if one did."""
    pair = np.asarray([left]), np.asarray([right])
    scores = score(table, *pair, model, counts)
    ruling = judge(table, *pair, scores)
    return evidence(table, left, right, model, scores, 0), RULES[ruling.rule[0]]


def evidence(table: Table, left: int, right: int, model: Model, scores: Scores, place: int) -> list[Evidence]:
    """The lines for the pair at ``place`` in ``scores``."""
    lines = [_line("prior", "", scores.prior)]
    for comparison in model.comparisons:
        lines += _lines_of(comparison, table, left, right, scores, place)
    return [*lines, _line("household", "", float(scores.household[place]))]


def _lines_of(
    comparison: Comparison, table: Table, left: int, right: int, scores: Scores, place: int
) -> list[Evidence]:
    levels = {member: int(scores.levels[member][place]) for member in comparison.members}
    weight = float(scores.bits[comparison.name][place])
    compared = {member: level for member, level in levels.items() if level < missing_level(member)}
    if comparison.name == "swap":
        return (
            [_line("first_name", "swapped", weight)]
            if levels["swap"] == 1
            else _unless_nothing("swap", weight)
        )
    if not compared:
        return []
    if comparison.name == "name":
        swapped = "swap" in scores.levels and int(scores.levels["swap"][place]) == 1
        return _name_lines(comparison, compared, weight, _NameShown(table, left, right, swapped))
    if len(comparison.members) > 1:
        return [_address_line(compared, weight, table, left, right)]
    (name,) = comparison.members
    return [
        _line(
            name,
            LEVELS[kind_of(name)][levels[name]],
            weight,
            table[name].value(left),
            table[name].value(right),
        )
    ]


def _unless_nothing(field: str, weight: float) -> list[Evidence]:
    return [_line(field, "straight", weight)] if abs(weight) >= 0.005 else []


class _NameShown(NamedTuple):
    """Which values of two records a line on a name shows: crosswise where the names were compared so."""

    table: Table
    left: int
    right: int
    swapped: bool

    def line(self, name: str, level: int, weight: float) -> Evidence:
        other = {"first_name": "last_name", "last_name": "first_name"}[name] if self.swapped else name
        # Crosswise levels are those of the record that comes first.
        one, two = sorted((self.left, self.right)) if self.swapped else (self.left, self.right)
        a, b = self.table[name].value(one), self.table[other].value(two)
        return _line(name, LEVELS["name"][level], weight, *((a, b) if one == self.left else (b, a)))


def _name_lines(
    comparison: Comparison, compared: dict[str, int], weight: float, shown: _NameShown
) -> list[Evidence]:
    """The joint weight of both names in two lines: the first name by itself, the last name given the first."""
    if len(compared) == 1:
        ((name, level),) = compared.items()
        return [shown.line(name, level, weight)]
    first = compared["first_name"]
    m, u = (table.reshape(comparison.shape)[first, :-1].sum() for table in (comparison.m, comparison.u))
    alone = float(np.log2(m / u))
    return [
        shown.line("first_name", first, alone),
        shown.line("last_name", compared["last_name"], weight - alone),
    ]


def _address_line(compared: dict[str, int], weight: float, table: Table, left: int, right: int) -> Evidence:
    """One line for the whole address, at the finest level on which it agrees."""
    a, b = (
        " ".join(filter(None, (table[name].value(record) for name in compared))) for record in (left, right)
    )
    return _line("address", _address_level(compared), weight, a, b)


def _address_level(compared: dict[str, int]) -> str:
    street, number = compared.get("street"), compared.get("street_number")
    place = compared.get("postcode", compared.get("city"))
    if street == 0 and place in (0, None):
        return {0: "same_address", 1: "neighbouring_number"}.get(
            number if number is not None else 9, "same_street"
        )
    if place == 0:
        return "other_street" if street is not None else "same_postcode"
    if place is None:
        return "elsewhere" if street is None or street > 1 else "near"
    return "near" if place in (1, 2) else "same_department" if place == 3 else "elsewhere"


def _line(field: str, level: str, weight: float, a: str = "", b: str = "") -> Evidence:
    return {"field": field, "level": level, "weight": float(weight), "a": a, "b": b}


# Evidence weaker than this, in bits, is not worth a reader's time.
WORTH_SAYING = 1.0

_FIELDS: dict[str, dict[str, str]] = {
    "en": {
        "customer_id": "customer number", "card": "loyalty card", "loyalty_number": "loyalty card", "email": "e-mail", "phone": "phone",
        "first_name": "first name", "last_name": "last name", "birth_date": "birth date", "address": "address",
        "device": "device", "device_id": "device", "full_name": "name", "gender": "gender", "occupation": "occupation",
        "street_number": "street number", "street": "street", "city": "town", "postcode": "postcode",
        "birth_place": "place of birth", "national_id": "national number",
    },
    "fr": {
        "customer_id": "numéro client", "card": "carte de fidélité", "loyalty_number": "carte de fidélité", "email": "e-mail", "phone": "téléphone",
        "first_name": "prénom", "last_name": "nom", "birth_date": "date de naissance", "address": "adresse",
        "device": "appareil", "device_id": "appareil", "full_name": "nom complet", "gender": "sexe",
        "occupation": "profession", "street_number": "numéro de rue", "street": "rue", "city": "ville",
        "postcode": "code postal", "birth_place": "lieu de naissance", "national_id": "numéro national",
    },
}  # fmt: skip

_LEVELS: dict[str, dict[str, str]] = {
    "en": {
        "exact": "same {field} ({a})", "typo": "{field} but for a typing error ({a}, {b})",
        "two_typos": "{field} but for two typing errors ({a}, {b})", "close": "nearly the same {field} ({a}, {b})",
        "similar": "similar {field} ({a}, {b})", "short": "{field} in a short form ({a}, {b})",
        "initial": "same initial of the {field} ({a}, {b})", "weak": "{field} only partly alike ({a}, {b})",
        "partial": "{field} partly the same ({a}, {b})", "same_year": "same year of birth only ({a}, {b})",
        "same_user": "same e-mail but for the provider ({a}, {b})", "similar_user": "similar e-mail ({a}, {b})",
        "same_address": "same address ({a})", "same_street": "same street ({a}, {b})",
        "neighbouring_number": "same street, street number nearly the same ({a}, {b})",
        "same_postcode": "same postcode ({a})", "other_street": "same postcode, another street ({a}, {b})",
        "near": "same town or nearly the same postcode ({a}, {b})", "same_department": "same département ({a}, {b})",
        "elsewhere": "different towns ({a}, {b})", "swapped": "first and last name exchanged",
        "other": "different {field} ({a}, {b})",
    },
    "fr": {
        "exact": "même {field} ({a})", "typo": "même {field} à une faute de frappe près ({a}, {b})",
        "two_typos": "même {field} à deux fautes de frappe près ({a}, {b})",
        "close": "{field} presque identique ({a}, {b})", "similar": "{field} proche ({a}, {b})",
        "short": "{field} sous une forme courte ({a}, {b})", "initial": "même initiale du {field} ({a}, {b})",
        "weak": "{field} peu proche ({a}, {b})", "partial": "{field} en partie identique ({a}, {b})",
        "same_year": "même année de naissance seulement ({a}, {b})",
        "same_user": "même e-mail, autre fournisseur ({a}, {b})", "similar_user": "e-mails ressemblants ({a}, {b})",
        "same_address": "même adresse ({a})", "same_street": "même rue ({a}, {b})",
        "neighbouring_number": "même rue, numéro presque identique ({a}, {b})",
        "same_postcode": "même code postal ({a})", "other_street": "même code postal, autre rue ({a}, {b})",
        "near": "même ville ou code postal presque identique ({a}, {b})",
        "same_department": "même département ({a}, {b})",
        "elsewhere": "villes différentes ({a}, {b})", "swapped": "nom et prénom intervertis",
        "other": "{field} qui diffère ({a}, {b})",
    },
}  # fmt: skip

# A verdict that a rule decided, in the words of the rule.
_RULES: dict[str, dict[str, str]] = {
    "en": {
        "same_customer": "The same customer number from the same source: one person.",
        "same_card": "The same loyalty card and nothing that contradicts it: one person.",
        "household": "They share a contact but not a first name: probably one household, not one person.",
        "namesakes": "One name, different birth dates: perhaps parent and child. Somebody must decide.",
        "name_and_address": "Only the name and what a household shares agree: somebody must decide.",
        "name_alone": "Only the name agrees, and many people share a name.",
        "device_alone": "Only the device agrees, and a device may be shared.",
    },
    "fr": {
        "same_customer": "Même numéro client dans la même source : une seule personne.",
        "same_card": "Même carte de fidélité et rien qui la contredise : une seule personne.",
        "household": "Un moyen de contact commun, mais pas le prénom : sans doute un foyer, pas une personne.",
        "namesakes": "Même nom, dates de naissance différentes : peut-être parent et enfant. À décider par quelqu'un.",
        "name_and_address": "Seuls concordent le nom et ce qu'un foyer partage : à décider par quelqu'un.",
        "name_alone": "Seul le nom concorde, et beaucoup de personnes portent le même nom.",
        "device_alone": "Seul l'appareil concorde, et un appareil peut être partagé.",
    },
}

_FRAMES: dict[str, dict[str, str]] = {
    "en": {
        "for": "For: {list}.", "against": "Against: {list}.", "nothing": "Nothing comparable was given.",
        "household": "Two persons of one household would look much the same.",
    },
    "fr": {
        "for": "Pour : {list}.", "against": "Contre : {list}.", "nothing": "Rien de comparable n'a été fourni.",
        "household": "Deux personnes d'un même foyer se ressembleraient presque autant.",
    },
}  # fmt: skip


def sentence(evidence: Sequence[Evidence], language: str = "fr", rule: str = "") -> str:
    """What spoke for and against, strongest first, in one or two sentences a marketer understands.

    ``rule`` is the name of the rule that decided in spite of the weight, if one did. A language other
    than French is answered in English.
    """
    tongue = "fr" if language.startswith("fr") else "en"
    frames = _FRAMES[tongue]
    parts = [_RULES[tongue][rule]] if rule in _RULES[tongue] else []
    said = [line for line in evidence if line["field"] not in ("prior", "household", "swap")]
    speaks_for = sorted(
        (line for line in said if line["weight"] >= WORTH_SAYING), key=lambda line: -line["weight"]
    )
    against = sorted(
        (line for line in said if line["weight"] <= -WORTH_SAYING), key=lambda line: line["weight"]
    )
    if speaks_for:
        parts.append(frames["for"].format(list=", ".join(_phrase(line, tongue) for line in speaks_for)))
    if against:
        parts.append(frames["against"].format(list=", ".join(_phrase(line, tongue) for line in against)))
    if any(line["field"] == "household" and line["weight"] <= -WORTH_SAYING for line in evidence):
        parts.append(frames["household"])
    return " ".join(parts) or frames["nothing"]


def _phrase(line: Evidence, tongue: str) -> str:
    template = _LEVELS[tongue].get(line["level"], _LEVELS[tongue]["other"])
    field = _FIELDS[tongue].get(line["field"], line["field"])
    return template.format(field=field, a=line["a"], b=line["b"])
