"""How much each comparison level says: the tables behind a match weight.

Fellegi and Sunter (1969), "A Theory for Record Linkage": a level observed with probability m among records of one
person and u among records of two strangers is worth log2(m / u) bits of evidence that the two are one person. A third
column, h, is the probability among two *different persons of one household*: they share a surname, an address, often
a phone and an e-mail, and a model without them takes every spouse for a duplicate.

The match weight of a pair is

    log2( p_m * M / (p_u * U + p_h * H) )

where M, U and H are the products of the columns over the compared fields and the p the shares of such pairs among
all pairs. It is kept as a sum of bits, so that every part of it can be shown:

    prior + sum of log2(m / u) + term frequencies - log2(1 + p_h * H / (p_u * U))

The default tables were set from synthetic French retail records whose truth is known, then rounded. They are a start:
a brand's own data will teach better ones, which is why a model carries a version that every decision stores.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import log2

from profiles.matching.records import Comparable

MODEL_VERSION = "default-1"

# The relative frequency of a value of a field among the brand's records, between 0 and 1; None where it is not known.
Frequency = Callable[[str, str], float | None]

# From fewer filled values than this, the share of one of them is not known.
ENOUGH_TO_COUNT = 500

# A rare value may be worth this many bits more than the average one, a common value this many less.
TERM_FREQUENCY_LIMIT = 6.0


@dataclass(frozen=True, slots=True)
class Level:
    """Probability of a comparison level among records of one person (m), of two strangers (u), of two persons of one
    household (h)."""

    m: float
    u: float
    h: float

    @property
    def weight(self) -> float:
        """Bits of evidence for one person against two strangers."""
        return log2(self.m / self.u)

    @property
    def household_weight(self) -> float:
        """Bits of evidence for one household against two strangers."""
        return log2(self.h / self.u)


@dataclass(frozen=True, slots=True)
class Model:
    """A versioned set of tables. ``records`` is the size of the brand it judges: among more records, two that look
    alike are more likely to be strangers.

    ``matches_per_record`` and ``housemates_per_record``: on average, how many other records are of the same person,
    and how many of another person of the same household. ``automatic`` and ``review`` are match weights in bits.
    """

    version: str
    fields: Mapping[str, Mapping[str, Level]]
    swapped: Level
    records: int = 10_000
    matches_per_record: float = 2.3
    housemates_per_record: float = 4.2
    automatic: float = 3.0
    review: float = 0.0

    def for_brand(self, records: int) -> "Model":
        """The same tables, judging a brand of ``records`` source records."""
        return replace(self, records=max(records, 100))

    @property
    def prior(self) -> float:
        """Bits for one person against two strangers before anything is compared."""
        return log2(self.matches_per_record / self.records)

    @property
    def household_prior(self) -> float:
        """Bits for one household against two strangers before anything is compared."""
        return log2(self.housemates_per_record / self.records)


_FIRST_NAME = {
    "exact": Level(m=0.76, u=0.0045, h=0.013),
    "close": Level(m=0.062, u=0.0012, h=0.0025),
    "similar": Level(m=0.015, u=0.0021, h=0.002),
    "short": Level(m=0.033, u=0.0014, h=0.0018),
    "initial": Level(m=0.056, u=0.0042, h=0.0048),
    "weak": Level(m=0.014, u=0.037, h=0.036),
    "other": Level(m=0.06, u=0.95, h=0.94),
}
_LAST_NAME = {
    "exact": Level(m=0.825, u=0.0009, h=0.69),
    "close": Level(m=0.09, u=0.0006, h=0.077),
    "similar": Level(m=0.018, u=0.002, h=0.013),
    "short": Level(m=0.0065, u=0.0001, h=0.0065),
    "initial": Level(m=0.001, u=0.003, h=0.001),
    "weak": Level(m=0.0025, u=0.028, h=0.005),
    "other": Level(m=0.057, u=0.965, h=0.2),
}
_BIRTH_DATE = {
    "exact": Level(m=0.92, u=0.00005, h=0.01),
    "typo": Level(m=0.055, u=0.0013, h=0.0025),
    "partial": Level(m=0.018, u=0.0066, h=0.016),
    "same_year": Level(m=0.001, u=0.011, h=0.04),
    "other": Level(m=0.006, u=0.98, h=0.93),
}
_EMAIL = {
    "exact": Level(m=0.84, u=0.000002, h=0.093),
    "typo": Level(m=0.04, u=0.000004, h=0.009),
    "same_user": Level(m=0.023, u=0.000006, h=0.0047),
    "similar_user": Level(m=0.019, u=0.00074, h=0.054),
    "other": Level(m=0.078, u=0.999, h=0.84),
}
_PHONE = {
    "exact": Level(m=0.775, u=0.000002, h=0.14),
    "typo": Level(m=0.031, u=0.000002, h=0.005),
    "two_typos": Level(m=0.002, u=0.00002, h=0.0005),
    "other": Level(m=0.192, u=0.999, h=0.855),
}
_CARD = {
    "exact": Level(m=0.92, u=0.000001, h=0.024),
    "typo": Level(m=0.021, u=0.00001, h=0.006),
    "two_typos": Level(m=0.007, u=0.0005, h=0.09),
    "other": Level(m=0.052, u=0.999, h=0.88),
}
_CUSTOMER_ID = {
    "exact": Level(m=0.97, u=0.0000001, h=0.001),
    "other": Level(m=0.03, u=0.9999999, h=0.999),
}
_DEVICE = {
    "exact": Level(m=0.75, u=0.000001, h=0.01),
    "other": Level(m=0.25, u=0.999999, h=0.99),
}
_ADDRESS = {
    "same_address": Level(m=0.44, u=0.000003, h=0.41),
    "same_street": Level(m=0.007, u=0.00016, h=0.006),
    "neighbouring_number": Level(m=0.003, u=0.000015, h=0.003),
    "same_postcode": Level(m=0.475, u=0.0029, h=0.435),
    "other_street": Level(m=0.006, u=0.0027, h=0.005),
    "near": Level(m=0.02, u=0.052, h=0.02),
    "same_department": Level(m=0.002, u=0.012, h=0.003),
    "elsewhere": Level(m=0.054, u=0.93, h=0.122),
}

MODEL = Model(
    version=MODEL_VERSION,
    fields={
        "customer_id": _CUSTOMER_ID,
        "card": _CARD,
        "email": _EMAIL,
        "phone": _PHONE,
        "first_name": _FIRST_NAME,
        "last_name": _LAST_NAME,
        "birth_date": _BIRTH_DATE,
        "address": _ADDRESS,
        "device": _DEVICE,
    },
    swapped=Level(m=0.03, u=0.5, h=0.01),
)


def term_frequency_bits(level: Level, share: float | None) -> float:
    """What an exact agreement is worth beyond its level because the agreed value is rare (positive) or common.

    ``share`` is the value's relative frequency: two strangers agree on it with that probability rather than with the
    field's average ``level.u``. Zero where it is not known.
    """
    if share is None or share <= 0:
        return 0.0
    return max(-TERM_FREQUENCY_LIMIT, min(TERM_FREQUENCY_LIMIT, log2(level.u / share)))


def frequencies(records: Iterable[Comparable]) -> Frequency:
    """Count values in ``records`` and answer for first_name, last_name, postcode, email and phone.

    A field that fewer than ``ENOUGH_TO_COUNT`` records fill is answered with None: among the dozen neighbours of one
    new record every name looks common.
    """
    counts: dict[str, Counter[str]] = {
        field: Counter() for field in ("first_name", "last_name", "postcode", "email", "phone")
    }
    for record in records:
        for field, counter in counts.items():
            if value := getattr(record, field):
                counter[value] += 1
    totals = {field: counter.total() for field, counter in counts.items()}

    def frequency(field: str, value: str) -> float | None:
        if totals.get(field, 0) < ENOUGH_TO_COUNT or not (seen := counts[field][value]):
            return None
        return seen / totals[field]

    return frequency
