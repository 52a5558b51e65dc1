"""Scores: the match weight of pairs, the evidence that guards clusters, and how both are made up.

    W = log2( λm M 2^t / ((1 - λm) U + λh H 2^t' + λc C) )

M, U, H and C are products over the comparisons. Fellegi and Sunter (1969) with a mixture in the denominator: the
likeliest alternative to one person may be a spouse and not a stranger. Term frequency t (Winkler, "Frequency-Based
Matching in Fellegi-Sunter Model of Record Linkage", US Bureau of the Census, 1989/2000) makes an agreement on a rare
value worth more than the average one, t' the same for what a household shares.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from profiles.matching.arrays import Floats, Ints, Levels
from profiles.matching.fields import RARITY_COUNTS, RARITY_COUNTS_FOR_HOUSEHOLDS
from profiles.matching.levels import compare
from profiles.matching.model import Comparison, Model
from profiles.matching.table import Counts, Table, looked_up

# Bits that the rarity of one value may add or take.
MOST_RARITY = 6.0
# Bits of guard evidence that one pair may bring, either way: one shared e-mail must not outvote ten contradictions.
GUARD_FLOOR, GUARD_CEILING = -12.0, 10.0
_MOST_BITS = 500.0


@dataclass
class Scores:
    """Arrays of shape (pairs,). ``weight`` W in bits; ``evidence`` E in bits, without the prior, for the guard; ``levels`` by column;
    ``bits`` by comparison, log2(m / u) with term frequency; ``household`` the bits taken back because a household or a
    coincidence would look alike, never positive. W = ``prior`` + the sum of ``bits`` + ``household``.
    """

    weight: Floats
    evidence: Floats
    levels: dict[str, Levels]
    bits: dict[str, Floats]
    household: Floats
    prior: float

    @property
    def probability(self) -> Floats:
        """Of one person, between 0 and 1."""
        return probability(self.weight)


def probability(weight: Floats) -> Floats:
    """From bits to a probability."""
    return 1 / (1 + np.exp2(-np.clip(weight, -_MOST_BITS, _MOST_BITS)))


def score(table: Table, left: Ints, right: Ints, model: Model, counts: Counts | None = None) -> Scores:
    """Score the pairs (left[i], right[i]) of record positions.

    ``counts`` tells how often a value occurs among all records of the brand where ``table`` holds only some of them.
    """
    return score_levels(table, left, right, compare(table, left, right, model.columns), model, counts)


def score_levels(
    table: Table,
    left: Ints,
    right: Ints,
    levels: dict[str, Levels],
    model: Model,
    counts: Counts | None = None,
) -> Scores:
    """As :func:`score` for pairs already compared."""
    pairs = len(left)
    sums = np.zeros((4, pairs))
    bits = {}
    for comparison in model.comparisons:
        logs = comparison.bits[:, comparison.cells(levels)]
        rare = _rarity(comparison, table, left, levels, model, counts)
        if rare is not None:
            logs[0] += rare[0]
            logs[2] += rare[1]
        sums += logs
        bits[comparison.name] = logs[0] - logs[1]
    m, u, h, c = np.clip(sums, -_MOST_BITS, _MOST_BITS)
    share_m, share_h, share_c = (max(share, 1e-300) for share in model.lambdas)
    strangers = np.log2(1 - share_m) + u
    alternative = np.logaddexp2(strangers, np.logaddexp2(np.log2(share_h) + h, np.log2(share_c) + c))
    weight = np.log2(share_m) + m - alternative
    guard = m - np.maximum(
        u,
        np.maximum(
            h + min(0.0, np.log2(share_h / share_m)),
            c + min(0.0, np.log2(share_c / share_m)),
        ),
    )
    return Scores(
        weight,
        np.clip(guard, GUARD_FLOOR, GUARD_CEILING),
        levels,
        bits,
        strangers - alternative,
        model.prior_bits,
    )


def _rarity(
    comparison: Comparison,
    table: Table,
    left: Ints,
    levels: Mapping[str, Levels],
    model: Model,
    counts: Counts | None,
) -> tuple[Floats, Floats] | None:
    """Bits of term frequency for one person and for one household, or None where the comparison has none.

    t = clip(log2(chance / f), -6, 6), where chance is the probability that two records agree on any value and f the
    share of the agreed one. Of an address only the finest agreeing member counts.
    """
    members = [
        name
        for name in comparison.members
        if name in RARITY_COUNTS and name in model.rarity and name in table
    ]
    if not members or "swap" in comparison.members:
        return None
    person, household = np.zeros(len(left)), np.zeros(len(left))
    coarsest_first = sorted(members, key=lambda name: -model.rarity[name])
    for name in coarsest_first:
        agreed = np.flatnonzero(levels[name] == 0)
        if "swap" in levels and name in ("first_name", "last_name"):
            agreed = agreed[levels["swap"][agreed] != 1]
        if not agreed.size:
            continue
        rare = _rarity_of(table[name].codes[left[agreed]], name, table, model, counts)
        if comparison.name == "name":
            person[agreed] += rare
            household[agreed] += rare if name in RARITY_COUNTS_FOR_HOUSEHOLDS else 0
        else:
            person[agreed] = rare  # the finer one, later in the row, takes the place of the coarser
            household[agreed] = rare if name in RARITY_COUNTS_FOR_HOUSEHOLDS else 0
    return person, household


def _rarity_of(codes: Ints, name: str, table: Table, model: Model, counts: Counts | None) -> Floats:
    column = table[name]
    if counts is not None:
        if name not in counts:
            return np.zeros(len(codes))
        told, total = counts[name]
        values, where = np.unique(codes, return_inverse=True)
        seen = np.asarray(looked_up(told, [column.values[code] for code in values]), dtype=np.float64)[where]
    else:
        total, seen = model.filled[name], column.counts[codes].astype(np.float64)
    share = np.maximum(seen, 1.0) / max(total, 1)
    return np.clip(np.log2(model.rarity[name] / share), -MOST_RARITY, MOST_RARITY)
