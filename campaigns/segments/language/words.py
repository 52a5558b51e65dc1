"""What a word of the vocabulary declares about itself, for the parser, the sentences, the editor and the docs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

Told = Mapping[str, str]  # language code -> text


class Takes(Enum):
    """What kind of value stands beside a word."""

    NUMBER = "number"  # a whole number, zero or more
    CENTS = "cents"  # an amount in the brand's minor unit
    DAYS = "days"  # a number of days
    DAY = "day"  # a date, YYYY-MM-DD
    TEXT = "text"  # free text
    CODE = "code"  # one of a list that the brand keeps: stores, regions, tiers
    CHANNEL = "channel"  # email, sms, post
    FLAG = "flag"  # true or false


COMPARISONS = ("=", "!=", "<", "<=", ">", ">=", "between")
OPERATORS: Mapping[Takes, tuple[str, ...]] = {
    Takes.NUMBER: COMPARISONS,
    Takes.CENTS: COMPARISONS,
    Takes.DAYS: COMPARISONS,
    Takes.DAY: ("=", "<", "<=", ">", ">=", "between"),
    Takes.TEXT: ("=", "!=", "in", "not_in", "contains", "starts", "exists", "missing"),
    Takes.CODE: ("=", "!=", "in", "not_in"),
    Takes.CHANNEL: ("=", "!=", "in"),
    Takes.FLAG: ("=",),
}
# Operators that speak of something else than what the person has.
NEGATIVE = frozenset({"!=", "not_in"})
WITHOUT_VALUE = frozenset({"exists", "missing"})
OF_MANY = frozenset({"in", "not_in"})
OF_A_ROW = frozenset({"within", "next"})  # an anniversary: ± n days, or in the next n days
ALIASES = {
    "==": "=",
    "≠": "!=",
    "<>": "!=",
    "≤": "<=",
    "≥": ">=",
    "is": "=",
    "is not": "!=",
    "not in": "not_in",
}


@dataclass(frozen=True)
class Param:
    """Something that narrows a word: a category, stores, a number of days."""

    name: str
    takes: Takes
    label: Told
    phrase: Told  # with {value}
    required: bool = False
    many: bool = False


@dataclass(frozen=True)
class Word:
    """A word: its name in JSON, what it takes, and how it is told.

    `phrase` has a place for {value} («at least 3»), and for {window} and each parameter by name, which are told with a
    leading space or are empty; {s} is the plural's, by the value. A flag has two phrases, `phrase` and `phrase_if_not`.
    """

    name: str
    takes: Takes
    label: Told
    phrase: Told
    help: Told
    params: tuple[Param, ...] = ()
    windowed: bool = False
    may_be_missing: bool = False
    operators: tuple[str, ...] = ()
    phrase_if_not: Told = field(default_factory=dict)
    codes: str = ""  # which list the codes come from: "store", "region", "tier"; "category" only suggests

    @property
    def allowed_operators(self) -> tuple[str, ...]:
        return self.operators or OPERATORS[self.takes]


Vocabulary = Mapping[str, Word]
