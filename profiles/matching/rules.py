"""The rules that no score may override, for arrays of pairs. Batch and incremental matching obey the same ones.

Each pair gets at most one rule, by number into ``RULES``:

same_customer      the same customer number from one source: one person, whatever else is said
same_card          the same loyalty number, and neither first names nor birth dates that contradict: one person
household          a shared contact or card, but first names that contradict: never one person because of it
namesakes          one name and birth dates that exclude each other, or a record without a birth date that fits a
                   father and his son: somebody must decide
name_and_address   nothing but the name and what a household shares agrees: never automatic
name_alone         nothing but the name agrees: never automatic
device_alone       a device and nothing else that names a person: never automatic
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np

from profiles.matching.arrays import Bools, Floats, Ints, Levels
from profiles.matching.fields import missing_level
from profiles.matching.levels import EXACT, NO_NAME, OTHER, OTHER_BIRTH, SHORT
from profiles.matching.scoring import Scores
from profiles.matching.table import Table

RULES: Final = (
    "", "same_customer", "same_card", "household", "namesakes", "name_and_address", "name_alone", "device_alone",
)  # fmt: skip
_SAME_CUSTOMER, _SAME_CARD, HOUSEHOLD, _NAMESAKES, _NAME_AND_ADDRESS, _NAME_ALONE, _DEVICE_ALONE = range(1, 8)

# What a rule that makes one person brings, in bits: more than all contradictions together, less than a person's no.
CERTAIN = 1e6
# What a pair that must not meet brings to the mean of a group: more than all the cards that its third records share. A
# customer number outweighs even that: it is one person, whatever else is said.
APART, SAME_NUMBER = -1e9, 1e12
# What a household keeps of its weight: below every threshold.
HOUSEHOLD_WEIGHT = -1.0
# Years between the births of two namesakes that make them father and son rather than one person mistyped.
GENERATION = 12

# The best level at which a date or number still says «the same, mistyped».
_TYPO = 1
_SAME_EMAIL_USER = 2


@dataclass
class Ruling:
    """``rule`` by pair, a number into ``RULES``. ``weight`` and ``evidence`` are those of the scores with the rules
    applied, for `clustering.cluster`; ``automatic`` is False where a merge would need somebody's word; ``apart`` is
    True where even a third record that fits both must not bring the two together without it."""

    rule: Levels
    weight: Floats
    evidence: Floats
    automatic: Bools
    apart: Bools

    COLUMNS: ClassVar = ("rule", "weight", "evidence", "automatic", "apart")

    def only(self, where: Bools | Ints) -> "Ruling":
        """Of some of the pairs."""
        return Ruling(*(getattr(self, name)[where] for name in self.COLUMNS))

    def without_a_word(self) -> "Ruling":
        """As the automatic tier reads them: what needs somebody's word joins nothing by itself, and who must be kept
        apart does not meet through others."""
        return replace(
            self,
            weight=np.where(self.automatic, self.weight, -np.inf),
            evidence=np.where(self.apart, APART, self.evidence),
        )


def judge(table: Table, left: Ints, right: Ints, scores: Scores) -> Ruling:
    """Apply the rules to scored pairs of ``table``."""
    say = _Said(scores)
    rule = np.zeros(len(left), dtype=np.int8)
    alike = scores.weight >= 0
    rule[alike & ~say.personal(table, left, right)] = _NAME_ALONE
    rule[(rule == _NAME_ALONE) & say.shares_a_home] = _NAME_AND_ADDRESS
    nameless = (say.first == NO_NAME) & ~say.names_someone
    rule[alike & nameless & say.same("device_id")] = _DEVICE_ALONE
    rule[alike & say.namesakes] = _NAMESAKES
    rule[_torn(table, left, right, alike & (say.first <= SHORT) & (say.last <= SHORT))] = _NAMESAKES
    contradicted = say.first == OTHER
    rule[contradicted & say.shares_a_contact] = HOUSEHOLD
    same_card = say.same("loyalty_number") & (say.first != OTHER) & (say.birth != OTHER_BIRTH)
    rule[same_card] = _SAME_CARD
    rule[say.same("customer_id")] = _SAME_CUSTOMER
    certain = (rule == _SAME_CARD) | (rule == _SAME_CUSTOMER)
    household = (rule == HOUSEHOLD) & ~say.twin_or_nickname
    weight = np.where(household, np.minimum(scores.weight, HOUSEHOLD_WEIGHT), scores.weight)
    evidence = np.where(certain, CERTAIN, scores.evidence)
    evidence[rule == _SAME_CUSTOMER] = SAME_NUMBER
    # Who shares a card and is not one person for it has one for two. Where the rest speaks against them too, records
    # that hold the card and no name must not say otherwise.
    card_of_two = say.same("loyalty_number") & ~certain
    evidence[card_of_two & (scores.evidence < 0) & ~say.twin_or_nickname] = APART
    apart = ~certain & ((rule == HOUSEHOLD) | say.namesakes | card_of_two)
    return Ruling(rule, np.where(certain, CERTAIN, weight), evidence, (rule == 0) | certain, apart)


class _Said:
    """What the levels of the pairs say, in words."""

    def __init__(self, scores: Scores) -> None:
        self.levels, self.size = scores.levels, len(scores.weight)
        self.first, self.last = self.level("first_name"), self.level("last_name")
        self.birth = self.level("birth_date")

    def level(self, column: str) -> Levels:
        found = self.levels.get(column)
        return found if found is not None else np.full(self.size, missing_level(column), dtype=np.int8)

    def same(self, column: str) -> Bools:
        agrees: Bools = self.level(column) == EXACT
        return agrees

    @property
    def shares_a_contact(self) -> Bools:
        return self.same("email") | self.same("phone") | self.same("loyalty_number")

    @property
    def names_someone(self) -> Bools:
        return self.shares_a_contact | self.same("customer_id") | self.same("national_id")

    @property
    def shares_a_home(self) -> Bools:
        return self.same("street") | self.same("postcode") | self.same("city") | self.same("phone")

    @property
    def namesakes(self) -> Bools:
        torn: Bools = (self.birth == OTHER_BIRTH) & (self.last <= SHORT) & (self.first <= SHORT)
        return torn

    @property
    def twin_or_nickname(self) -> Bools:
        """First names apart, and yet born on one day under one surname: somebody may want to look."""
        alike: Bools = (self.birth == EXACT) & (self.last <= _TYPO)
        return alike

    def personal(self, table: Table, left: Ints, right: Ints) -> Bools:
        """Whether something agrees that a whole family does not share."""
        found: Bools = self.birth <= _TYPO
        for column in ("loyalty_number", "national_id"):
            found |= self.level(column) <= _TYPO
        found |= self.level("email") <= _SAME_EMAIL_USER
        found |= self.same("customer_id") | (self.same("device_id") & (self.first <= SHORT))
        if "phone" in table:
            mobile = np.asarray([_is_mobile(number) for number in table["phone"].values] + [False])
            codes = table["phone"].codes
            found |= (self.level("phone") <= _TYPO) & mobile[codes[left]] & mobile[codes[right]]
        return found


def _is_mobile(number: str) -> bool:
    """Whether a number is a person's rather than a home's, as far as France's numbering plan tells."""
    return not number.startswith("+33") or number[3:4] in ("6", "7")


def _torn(table: Table, left: Ints, right: Ints, alike: Bools) -> Bools:
    """Pairs of a record without a birth date that fits namesakes born a generation apart: which of them it is,
    somebody must say."""
    torn = np.zeros(len(left), dtype=bool)
    if "birth_date" not in table:
        return torn
    column = table["birth_date"]
    years = np.asarray([int(day[:4]) for day in column.values] + [0])[column.codes]
    undated, dated = np.where(years[left] == 0, left, right), np.where(years[left] == 0, right, left)
    asked = np.flatnonzero(alike & (years[undated] == 0) & (years[dated] > 0))
    oldest, youngest = np.full(table.size, 9999), np.zeros(table.size, dtype=np.int64)
    np.minimum.at(oldest, undated[asked], years[dated[asked]])
    np.maximum.at(youngest, undated[asked], years[dated[asked]])
    torn[asked] = (youngest - oldest)[undated[asked]] >= GENERATION
    return torn
