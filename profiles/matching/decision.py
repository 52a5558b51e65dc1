"""One pair of records: its match weight, and the verdict with the rules no weight may override."""

from dataclasses import dataclass
from math import log2
from typing import Literal

from profiles.matching import comparisons
from profiles.matching.explanation import Evidence
from profiles.matching.records import Comparable
from profiles.matching.weights import MODEL, Frequency, Model, term_frequency_bits

Verdict = Literal["merge", "review", "different"]

# A first name that this share of a brand's customers bear is a name, not a slip of the keyboard: two such names that
# differ by a letter (Marie, Marine) are two persons.
ESTABLISHED_NAME = 0.0008

_WEAK_NAMES = frozenset({"weak", "other"})
_NAMES = frozenset({"first_name", "last_name"})
_RARITY_FIELDS = frozenset({"first_name", "last_name", "email", "phone"})


@dataclass(frozen=True, slots=True)
class Match:
    """What is thought of a pair. ``weight`` in bits is the sum of the evidence's weights; ``probability`` is that of
    one person, between 0 and 1. ``rule`` names the rule that decided the verdict, empty where the weight did.
    ``contradicted`` is true where first names or birth dates exclude each other."""

    weight: float
    probability: float
    evidence: tuple[Evidence, ...]
    verdict: Verdict
    rule: str = ""
    contradicted: bool = False


def compare(a: Comparable, b: Comparable, frequency: Frequency | None = None, model: Model = MODEL) -> Match:
    """Compare two records; symmetric but for the order of the two values in the evidence.

    ``frequency`` gives the relative frequency of a value in the brand, so that agreeing on a rare surname counts for
    more than agreeing on Martin; without it every value is taken for an average one.
    """
    levels, swapped = _levels(a, b, frequency, model)
    evidence = [_line("prior", "", model.prior)]
    household = model.household_prior
    for field, level in levels.items():
        row = model.fields[field][level]
        exchanged = swapped and field in _NAMES
        rare = 0.0 if exchanged else term_frequency_bits(row, _rarity(field, level, a, b, frequency))
        # Sharing something rare speaks for one household as much as for one person.
        household += row.household_weight + rare
        shown = _full_names(a, b) if exchanged else _shown(field, level, a, b)
        evidence.append(_line(field, level, row.weight + rare, *shown))
    if swapped:
        evidence.append(_line("first_name", "swapped", model.swapped.weight, *_full_names(a, b)))
        household += model.swapped.household_weight
    # Capped so that a model with extreme tables cannot overflow a float.
    evidence.append(_line("household", "", -log2(1 + 2.0 ** min(household, 500.0))))
    weight = sum(line["weight"] for line in evidence)
    probability = 1 / (1 + 2.0 ** -max(-500.0, min(500.0, weight)))
    verdict, rule = _verdict(a, b, levels, weight, model)
    return Match(weight, probability, tuple(evidence), verdict, rule, _contradicted(levels))


def _levels(
    a: Comparable, b: Comparable, frequency: Frequency | None, model: Model
) -> tuple[dict[str, str], bool]:
    """The level of each field that both records fill, and whether the names agree only when exchanged."""
    first = _first_name_level(a.first_name, b.first_name, frequency)
    last = comparisons.name(a.last_name, b.last_name)
    swapped = False
    if first in _WEAK_NAMES and last in _WEAK_NAMES:
        # A typist who takes one field for the other does so for both.
        crossed = _crossed(a, b)
        if not _WEAK_NAMES & set(crossed):
            (first, last), swapped = crossed, True
    found = {
        "customer_id": comparisons.customer_ids(a.customer_ids, b.customer_ids),
        "card": comparisons.number(a.card, b.card),
        "email": comparisons.email(a.email, b.email),
        "phone": comparisons.number(a.phone, b.phone),
        "first_name": first,
        "last_name": last,
        "birth_date": comparisons.birth_date(a.birth_date, b.birth_date),
        "address": comparisons.address(a, b),
        "device": comparisons.devices(a.devices, b.devices),
    }
    return {field: level for field, level in found.items() if level is not None}, swapped


def _crossed(a: Comparable, b: Comparable) -> tuple[str | None, str | None]:
    """Levels of first against last name and last against first, in an order that does not depend on which is a."""
    straight, turned = sorted((a, b), key=lambda record: (record.first_name, record.last_name))
    return (
        comparisons.name(straight.first_name, turned.last_name),
        comparisons.name(straight.last_name, turned.first_name),
    )


def _first_name_level(a: str, b: str, frequency: Frequency | None) -> str | None:
    level = comparisons.first_name(a, b)
    if level in ("close", "similar") and frequency:
        shares = (frequency("first_name", a), frequency("first_name", b))
        if all(share is not None and share >= ESTABLISHED_NAME for share in shares):
            return "other"
    return level


def _rarity(
    field: str, level: str, a: Comparable, b: Comparable, frequency: Frequency | None
) -> float | None:
    """Relative frequency of the value the two records agree on; None where they do not, or where it is not known."""
    if frequency is None:
        return None
    if field == "address":
        return frequency("postcode", a.postcode) if level == "same_postcode" else None
    if level != "exact" or field not in _RARITY_FIELDS:
        return None
    # The two may still be spelt differently (Jean-Pierre, Jeanpierre): the commoner spelling is the cautious one.
    shares = (frequency(field, getattr(a, field)), frequency(field, getattr(b, field)))
    return max((share for share in shares if share is not None), default=None)


def _verdict(
    a: Comparable, b: Comparable, levels: dict[str, str], weight: float, model: Model
) -> tuple[Verdict, str]:
    first, birth = levels.get("first_name"), levels.get("birth_date")
    by_weight: Verdict = (
        "merge" if weight >= model.automatic else "review" if weight >= model.review else "different"
    )
    if levels.get("customer_id") == "exact":
        return "merge", "same_customer"
    agrees = {field for field in ("card", "email", "phone") if levels.get(field) == "exact"}
    if first == "other" and agrees:
        # Twins share a birth date as well: with one, somebody must look; without, nobody need.
        return ("review" if by_weight != "different" and birth == "exact" else "different"), "household"
    if birth == "other" and by_weight != "different":
        return "review", "namesakes"
    if "card" in agrees and first not in _WEAK_NAMES and birth != "other":
        return "merge", "same_card"
    if first == "other" and by_weight == "merge":
        return "review", "household"
    if by_weight == "merge":
        return _restrained(a.phone_is_personal and b.phone_is_personal, levels, agrees)
    return by_weight, ""


def _restrained(mobile: bool, levels: dict[str, str], agrees: set[str]) -> tuple[Verdict, str]:
    """A weight that would merge, held back where nothing *personal* agrees."""
    if levels.get("device") == "exact" and not agrees and "first_name" not in levels:
        return "review", "device_alone"
    personal = (
        "card" in agrees
        or levels.get("card") == "typo"
        or levels.get("email") in ("exact", "typo", "same_user")
        or (levels.get("phone") in ("exact", "typo") and mobile)
        or levels.get("birth_date") in ("exact", "typo")
    )
    if personal:
        return "merge", ""
    if "address" in levels or "phone" in levels:
        return "review", "name_and_address"
    return "review", "name_alone"


def _contradicted(levels: dict[str, str]) -> bool:
    return levels.get("first_name") == "other" or levels.get("birth_date") == "other"


def _line(field: str, level: str, weight: float, a: str = "", b: str = "") -> Evidence:
    return {"field": field, "level": level, "weight": weight, "a": a, "b": b}


def _shown(field: str, level: str, a: Comparable, b: Comparable) -> tuple[str, str]:
    """The two compared values as an operator recognises them."""
    if field == "customer_id":
        same = a.customer_ids & b.customer_ids
        return (min(same), min(same)) if same else (_joined(a.customer_ids), _joined(b.customer_ids))
    if field == "device":
        same = a.devices & b.devices
        return (min(same), min(same)) if same else (_joined(a.devices), _joined(b.devices))
    if field == "birth_date":
        return str(a.birth_date), str(b.birth_date)
    if field == "address":
        if level in ("same_address", "same_street", "neighbouring_number", "other_street"):
            return f"{a.street_number} {a.street}".strip(), f"{b.street_number} {b.street}".strip()
        return f"{a.postcode} {a.city}".strip(), f"{b.postcode} {b.city}".strip()
    return getattr(a, field), getattr(b, field)


def _full_names(a: Comparable, b: Comparable) -> tuple[str, str]:
    return f"{a.first_name} {a.last_name}", f"{b.first_name} {b.last_name}"


def _joined(values: frozenset[str]) -> str:
    return ", ".join(sorted(values))
