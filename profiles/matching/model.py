"""The model of one brand: for each comparison level its probability in four classes of pairs.

Fellegi and Sunter, "A Theory for Record Linkage", Journal of the American Statistical Association 64 (1969): a level
seen with probability m among records of one person and u among records of two strangers is worth log2(m / u) bits.
Two classes more keep that honest where strangers are not the likeliest alternative:

    m  one person
    u  two strangers
    h  two persons of one household: they share a surname, an address, often a phone or an e-mail
    c  a coincidence of names: two strangers who are compared at all because they are called alike

Columns that agree together or not at all (first and last name; street, postcode and town) are one *comparison* with a
joint table, one cell for each combination of levels. Within a cell's pattern of missing values probabilities add up
to one, so that a missing value never weighs anything.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np

from profiles.matching.arrays import Floats, Ints, Levels
from profiles.matching.fields import RARITY_COUNTS, missing_level
from profiles.matching.table import Table


CLASSES: Final = ("m", "u", "h", "c")


@dataclass(frozen=True)
class Comparison:
    """One factor of the model. The tables have shape (cells,); ``members`` are its columns, the last one varying
    fastest in the number of a cell."""

    name: str
    members: tuple[str, ...]
    m: Floats
    u: Floats
    h: Floats
    c: Floats

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Levels of each member, missing included."""
        return tuple(missing_level(member) + 1 for member in self.members)

    @cached_property
    def bits(self) -> Floats:
        """log2 of the four tables, shape (4, cells), in the order of ``CLASSES``."""
        return np.log2(np.stack([self.m, self.u, self.h, self.c]))

    def cells(self, levels: Mapping[str, Levels]) -> Ints:
        """The cell of each pair."""
        return cells_of(self.members, levels)

    @cached_property
    def masks(self) -> Ints:
        """For each cell a number that tells which members are missing."""
        return masks_of(self.members)


def cells_of(members: Sequence[str], levels: Mapping[str, Levels]) -> Ints:
    """The cell of each pair in the joint table of ``members``."""
    cells = np.zeros(len(levels[members[0]]), dtype=np.int32)
    for member in members:
        cells *= missing_level(member) + 1
        cells += levels[member]
    return cells


def masks_of(members: Sequence[str]) -> Ints:
    """Which members are missing in each cell, as a number: all bits set where nothing can be compared."""
    sizes = [missing_level(member) + 1 for member in members]
    grid = np.indices(sizes).reshape(len(sizes), -1)
    mask = np.zeros(grid.shape[1], dtype=np.int64)
    for size, level in zip(sizes, grid, strict=True):
        mask = mask * 2 + (level == size - 1)
    return mask


def normalised(weights: Floats, masks: Ints) -> Floats:
    """Scaled so that the cells of each mask add up to one."""
    totals = np.bincount(masks, weights)
    return weights / np.where(totals > 0, totals, 1.0)[masks]


@dataclass(frozen=True)
class Model:
    """``lambdas`` are the shares of m, h and c among all pairs of the brand; h is 0 where households cannot be told.

    ``rarity`` gives, for each column whose values are weighed by their frequency, the probability that two filled
    records agree by chance (the sum of squared shares), and ``filled`` on how many records it stands.
    """

    version: str
    records: int
    comparisons: tuple[Comparison, ...]
    lambdas: tuple[float, float, float]
    rarity: Mapping[str, float] = field(default_factory=dict)
    filled: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def columns(self) -> list[str]:
        """The compared columns."""
        return [
            member for comparison in self.comparisons for member in comparison.members if member != "swap"
        ]

    @property
    def prior_bits(self) -> float:
        """Bits for one person against two strangers before anything is compared."""
        return float(np.log2(self.lambdas[0] / (1 - self.lambdas[0])))

    def for_size(self, records: int) -> "Model":
        """The same tables for a brand that has grown: each person still has about as many records."""
        factor = max(self.records, 2) / max(records, 2)
        m, h, c = (min(share * factor, 0.2) for share in self.lambdas)
        return replace(self, records=records, lambdas=(m, h, c))

    @staticmethod
    def prior(table: Table) -> "Model":
        """A start for a brand with too few records to learn from; see `prior_model`."""
        from profiles.matching.starting import prior_model

        return prior_model(table)

    def to_json(self) -> str:
        """Exact: ``Model.from_json(model.to_json())`` scores every pair alike."""
        return json.dumps(
            {
                "version": self.version,
                "records": self.records,
                "lambdas": list(self.lambdas),
                "rarity": dict(self.rarity),
                "filled": dict(self.filled),
                "comparisons": [
                    {
                        "name": one.name,
                        "members": list(one.members),
                        **{name: getattr(one, name).tolist() for name in CLASSES},
                    }
                    for one in self.comparisons
                ],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Model":
        told: dict[str, Any] = json.loads(text)
        comparisons = tuple(
            Comparison(
                one["name"],
                tuple(one["members"]),
                *(np.asarray(one[name], dtype=np.float64) for name in CLASSES),
            )
            for one in told["comparisons"]
        )
        m, h, c = told["lambdas"]
        return cls(told["version"], told["records"], comparisons, (m, h, c), told["rarity"], told["filled"])


def rarities(table: Table, columns: Sequence[str]) -> tuple[dict[str, float], dict[str, int]]:
    """What term frequency needs to know of each column: chance agreement, and on how many records it is filled."""
    chance, filled = {}, {}
    for name in columns:
        if name in RARITY_COUNTS and name in table and table[name].filled:
            shares = table[name].counts / table[name].filled
            chance[name], filled[name] = float((shares**2).sum()), table[name].filled
    return chance, filled
