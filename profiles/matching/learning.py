"""Learning a brand's model from its own records, without a single labelled pair.

Expectation maximisation (Dempster, Laird and Rubin, "Maximum Likelihood from Incomplete Data via the EM Algorithm",
Journal of the Royal Statistical Society B 39, 1977) over the *patterns* of levels seen among the candidate pairs, with
four classes: matches, households, coincidences and strangers. u is read off random pairs, less what matches and
households they must contain. Households and coincidences are held by constraints: left free, they would take the
matches for themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from profiles.matching.arrays import Bools, Floats, Ints, Levels
from profiles.matching.fields import (
    CONTACTS,
    IDENTIFIER_KINDS,
    LEVELS,
    PERSONAL_NUMBERS,
    kind_of,
    missing_level,
)
from profiles.matching.grouping import geographical_groups
from profiles.matching.levels import compare
from profiles.matching.model import (
    Comparison,
    Model,
    cells_of,
    masks_of,
    normalised,
    rarities,
)
from profiles.matching.table import Table

VERSION: Final = "em-1"
ITERATIONS, CLEANED_FROM, JUDGED_AT = 25, 2, 12
FEWEST_HOUSEHOLDS = 100
RANDOM_PAIRS, SEED = 400_000, 1969

# Starting shares of matches, as expected matches per record, and of the others beside it.
MATCHES_PER_RECORD, HOUSEHOLDS_PER_MATCH, COINCIDENCES_PER_MATCH = 0.7, 0.7, 1.0
# How much likelier a level is than the one below it, as an exponent: where m starts.
STEEPNESS = 1.1
# Smoothing: pseudo-pairs that look like strangers, and pseudo-pairs in every cell.
LIKE_STRANGERS, IN_EVERY_CELL = 0.5, 0.02

# Two persons of one household: same first name, same or nearly the same birth date, same personal number.
MOST_SAME_FIRST, MOST_SAME_BIRTH, MOST_SAME_NUMBER = 0.12, 0.03, 0.10


# Names and members of the comparisons of a model.
Factors = Sequence[tuple[str, tuple[str, ...]]]


@dataclass
class Patterns:
    """Different combinations of cells, shape (patterns, comparisons), and on how many pairs each was seen. Those of
    several chunks of pairs are added up by `merged`."""

    cells: Ints
    counts: Floats

    @classmethod
    def of(cls, made_of: Factors, levels: Mapping[str, Levels]) -> "Patterns":
        """From the levels of pairs, see `levels.compare`."""
        cells = [cells_of(members, levels) for _name, members in made_of]
        number, room = np.zeros(len(cells[0]), dtype=np.int64), 1
        for one, (_name, members) in zip(cells, made_of, strict=True):
            size = len(masks_of(members))
            if room * size >= _MOST:  # as many numbers as there are patterns so far, and no more
                seen, number = np.unique(number, return_inverse=True)
                room = len(seen)
            number = number * size + one
            room *= size
        _numbers, first, counts = np.unique(number, return_index=True, return_counts=True)
        return cls(np.stack([one[first] for one in cells], axis=1), counts.astype(np.float64))


_MOST = 1 << 62


def merged(several: Sequence[Patterns]) -> Patterns:
    """The patterns of several chunks of pairs, with their counts added up."""
    cells, where = np.unique(np.concatenate([one.cells for one in several]), axis=0, return_inverse=True)
    return Patterns(cells, np.bincount(where.ravel(), np.concatenate([one.counts for one in several])))


def factors(table: Table) -> list[tuple[str, tuple[str, ...]]]:
    """Names and members of the comparisons that a table allows."""
    columns = table.usable()
    found: list[tuple[str, tuple[str, ...]]] = []
    if {"first_name", "last_name"} <= set(columns):
        found += [("name", ("first_name", "last_name")), ("swap", ("swap",))]
    places = geographical_groups(table, columns)
    found += [("address" if len(group) > 1 else group[0], group) for group in places]
    taken = {member for _name, members in found for member in members}
    if {"street", "postcode", "city"} <= set(columns):
        taken.add("city")  # the postcode makes it superfluous
    return found + [(name, (name,)) for name in columns if name not in taken]


def columns_of(made_of: Factors) -> list[str]:
    """The columns that comparisons need."""
    return [member for _name, members in made_of for member in members if member != "swap"]


def random_pairs(records: int, wanted: int = RANDOM_PAIRS) -> tuple[Ints, Ints]:
    """Positions of pairs of different records, drawn with a fixed seed."""
    draw = np.random.default_rng(SEED)
    left = draw.integers(0, records, wanted)
    right = (left + draw.integers(1, max(records, 2), wanted)) % records
    return left, right


def learn(table: Table, left: Ints, right: Ints) -> Model:
    """The model that explains best what the candidate pairs of ``table`` look like."""
    made_of = factors(table)
    patterns = Patterns.of(made_of, compare(table, left, right, columns_of(made_of)))
    return learn_from_patterns(table, made_of, patterns)


def learn_from_patterns(table: Table, made_of: Factors, patterns: Patterns) -> Model:
    """As :func:`learn`, from patterns already counted, perhaps by several workers."""
    compared = columns_of(made_of)
    strangers = compare(table, *random_pairs(table.size), compared)
    histograms = [
        np.bincount(cells_of(members, strangers), minlength=len(masks_of(members))).astype(np.float64)
        for _name, members in made_of
    ]
    filled = {name: table[name].filled / table.size for name in compared}
    run = _Expectation(made_of, patterns, histograms, table.size, filled)
    for iteration in range(ITERATIONS):
        run.step(iteration)
    chance, on_records = rarities(table, columns=list(table.columns))
    return Model(VERSION, table.size, run.comparisons(), run.lambdas, chance, on_records)


class _Factor:
    """The four tables of one comparison while they are being learnt."""

    def __init__(self, name: str, members: tuple[str, ...], histogram: Floats) -> None:
        self.name, self.members, self.histogram = name, members, histogram
        self.masks = masks_of(members)
        self.sizes = tuple(missing_level(member) + 1 for member in members)
        self.grid = np.indices(self.sizes).reshape(len(self.sizes), -1)
        self.cells_per_mask = np.bincount(self.masks)[self.masks]
        self.u = normalised(histogram + 0.03, self.masks)
        self.m = normalised(self._graded(), self.masks)
        self.h, self.c = self._household(), self._coincidence()

    def _graded(self) -> Floats:
        """Where m starts: the better the level, the likelier."""
        return np.exp(-STEEPNESS * self.grid.sum(axis=0).astype(np.float64))

    def _household(self) -> Floats:
        if self.name == "name":
            first, last = self.grid
            likelier_last = np.select([last == 0, last == 1], [0.7, 0.1], 0.2 * self._marginal(1, last))
            likelier_first = np.where(first <= 1, 0.02, self._marginal(0, first))
            return normalised(likelier_last * likelier_first + 1e-12, self.masks)
        kinds = {kind_of(member) for member in self.members if member != "swap"}
        if kinds <= {"email", "phone"} or self.members == ("device_id",):
            return (self.m + self.u) / 2
        if self.name == "address" or self.members[0] in CONTACTS:
            return self.m.copy()
        return self.u.copy()

    def _marginal(self, axis: int, levels: Ints) -> Floats:
        """u of one member's level, over all levels of the other."""
        total = np.bincount(levels, self.u * (self.masks == 0))
        return total[levels] + 1e-6

    def _coincidence(self) -> Floats:
        if self.name in ("name", "full_name"):
            return normalised(np.sqrt(self.u * self.m) + self.u, self.masks)
        return self.u.copy()

    def smoothed(self, expected: Floats) -> Floats:
        """The M step: theta = (expected + 0.5 u + 0.02) / (their sum), within each pattern of missing values."""
        return normalised(expected + LIKE_STRANGERS * self.u + IN_EVERY_CELL, self.masks)

    def constrain_household(self) -> None:
        if self.name == "name":
            self.h = _limited(self.h, self.grid[0] <= 1, self.masks, MOST_SAME_FIRST)
        elif self.name == "swap":
            self.h = self.u.copy()
        elif self.members == ("birth_date",):
            near = self.grid[0] <= 1
            kept = min(self.h[near].sum(), MOST_SAME_BIRTH)
            share = self.h[near] / max(self.h[near].sum(), 1e-12)
            self.h = self.u * np.where(
                near | (self.masks > 0), 1.0, (1 - kept) / self.u[(self.masks == 0) & ~near].sum()
            )
            self.h[near] = kept * share
        elif self.members[0] in PERSONAL_NUMBERS:
            agrees = self.grid[0] < len(LEVELS[kind_of(self.members[0])]) - 1
            self.h = _limited(self.h, agrees, self.masks, MOST_SAME_NUMBER)

    def constrain_coincidence(self, learnt: Floats) -> None:
        if self.name in ("name", "full_name", "swap"):
            self.c = learnt
        elif self.members == ("email",):
            # A user name made of the same name at another provider is what a coincidence looks like.
            free = (self.grid[0] == 2) | (self.grid[0] == 3)
            self.c = normalised(np.where(free, learnt, self.u), self.masks)
        else:
            self.c = self.u.copy()


def _limited(table: Floats, cells: Bools, masks: Ints, most: float) -> Floats:
    """``table`` with at most ``most`` of each mask in ``cells``, what is taken away given to its other cells."""
    limited = table.copy()
    for mask in np.unique(masks):
        here = masks == mask
        inside, outside = here & cells, here & ~cells
        share = table[inside].sum()
        if share > most and outside.any():
            limited[inside] *= most / share
            limited[outside] *= (1 - most) / max(table[outside].sum(), 1e-12)
    return limited


class _Expectation:
    """The EM run: shares and tables, improved step by step."""

    def __init__(
        self,
        made_of: Factors,
        patterns: Patterns,
        histograms: Sequence[Floats],
        records: int,
        filled: dict[str, float],
    ) -> None:
        self.patterns, self.filled = patterns, filled
        self.total = records * (records - 1) / 2
        self.factors = [
            _Factor(name, members, histogram)
            for (name, members), histogram in zip(made_of, histograms, strict=True)
        ]
        matches = MATCHES_PER_RECORD * records / self.total
        known = {member for _name, members in made_of for member in members}
        with_households = {"first_name", "last_name"} <= known and not known.isdisjoint(CONTACTS)
        self.lambdas = (
            matches,
            HOUSEHOLDS_PER_MATCH * matches if with_households else 0.0,
            COINCIDENCES_PER_MATCH * matches,
        )

    def step(self, iteration: int) -> None:
        match, unrelated, household, coincidence = self._responsibilities()
        self.lambdas = tuple(float(one.sum()) / self.total for one in (match, household, coincidence))  # type: ignore[assignment]
        if iteration == JUDGED_AT and household.sum() < FEWEST_HOUSEHOLDS:
            self.lambdas = (self.lambdas[0], 0.0, self.lambdas[2])
        for place, factor in enumerate(self.factors):
            cells, size = self.patterns.cells[:, place], len(factor.masks)
            factor.m = factor.smoothed(np.bincount(cells, match, size))
            factor.h = factor.smoothed(np.bincount(cells, household, size))
            factor.constrain_household()
            factor.constrain_coincidence(factor.smoothed(np.bincount(cells, coincidence, size)))
            if iteration >= CLEANED_FROM:
                strangers = np.bincount(cells, unrelated + coincidence, size)
                self._clean(factor, strangers)

    def _responsibilities(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Expected pairs of each class on each pattern, in the order m, u, h, c."""
        m, h, c = self.lambdas
        shares = np.log(np.maximum([m, 1 - m - h - c, h, c], 1e-300))
        likelihood = np.repeat(shares[:, None], len(self.patterns.counts), axis=1)
        for place, factor in enumerate(self.factors):
            tables = np.log(np.stack([factor.m, factor.u, factor.h, factor.c]))
            likelihood += tables[:, self.patterns.cells[:, place]]
        likelihood -= likelihood.max(axis=0)
        expected = np.exp(likelihood)
        expected *= self.patterns.counts / expected.sum(axis=0)
        return expected[0], expected[1], expected[2], expected[3]

    def _clean(self, factor: _Factor, strangers: Floats) -> None:
        """u from the random pairs, less the matches and households among them; of identifiers, whose chance agreements
        are too rare to be met at random, from the candidates: every agreeing pair is one."""
        m, h, _c = self.lambdas
        by_mask = np.bincount(factor.masks, factor.histogram)[factor.masks]
        related = by_mask * (m * factor.m + h * factor.h)
        factor.u = normalised(np.maximum(factor.histogram - related, 0) + 0.03, factor.masks)
        name = factor.members[0]
        if len(factor.members) == 1 and name != "swap" and kind_of(name) in IDENTIFIER_KINDS:
            exact = (strangers[0] + 0.5) / (self.filled[name] ** 2 * self.total)
            rest = factor.masks == 0
            rest[0] = False
            factor.u[rest] *= (1 - exact) / factor.u[rest].sum()
            factor.u[0] = exact

    def comparisons(self) -> tuple[Comparison, ...]:
        return tuple(Comparison(one.name, one.members, one.m, one.u, one.h, one.c) for one in self.factors)
