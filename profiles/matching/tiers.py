"""Two tiers without labels: what may be merged automatically, and what waits in the review queue.

The model says how likely each pair is one person. Of a pair inside a cluster it says more: two records that a third one
links well are likely one person although they share little themselves. From that follows the precision to expect of a
clustering, and of all clusterings tried the largest that keeps the promise becomes the automatic tier.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from profiles.matching.arrays import Floats, Ints
from profiles.matching.clustering import cluster
from profiles.matching.rules import Ruling
from profiles.matching.scoring import probability

# Promise .98 at most: twins and fathers and sons of one name bound what any model may claim.
TARGET_PRECISION: Final = 0.98
# How much of the error that the model expects comes true: less than it fears among few records, all among very many.
# Measured on the sets it was tuned on, at ten thousand, a hundred thousand and a million records: 0.5, 0.7 and 1.0.
COMES_TRUE_AT_100K, PER_DECADE, COMES_TRUE_AT_LEAST = 0.7, 0.3, 0.5
# Groups are asked for so many bits more than by default, and the threshold is found between these, to within a step.
GUARD: Final = 0.5
HIGHEST_THRESHOLD, STEP = 16.0, 0.25


@dataclass
class Tier:
    """``labels`` of the clusters, the ``threshold`` that made them, and the share of wrong pairs to expect."""

    labels: Ints
    threshold: float
    error: float


def linked_probability(
    component: Ints, left: Ints, right: Ints, *, chance: Floats, evidence: Floats, largest: int
) -> Floats:
    """q of each pair inside a component: max(p_ij, max over k of p_ik p_kj) where the pair itself does not speak
    against it (evidence >= 0), else p_ij. Components of more than ``largest`` records keep their p."""
    n = len(component)
    order = np.argsort(component, kind="stable")
    sizes = np.bincount(component)
    starts = np.cumsum(sizes) - sizes
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n) - np.repeat(starts, sizes)
    q = chance.copy()
    size_of_pair = sizes[component[left]]
    by_size = np.argsort(size_of_pair, kind="stable")
    bounds = np.searchsorted(size_of_pair[by_size], np.arange(largest + 2))
    for size in range(3, largest + 1):
        pairs = by_size[bounds[size] : bounds[size + 1]]
        if pairs.size:
            q[pairs] = _two_steps(
                component[left[pairs]], place[left[pairs]], place[right[pairs]], chance[pairs], size
            )
    return np.where(evidence >= 0, q, chance)


def _two_steps(owner: Ints, i: Ints, j: Ints, chance: Floats, size: int) -> Floats:
    """The best of one step and two, in components of one ``size``."""
    _owners, number = np.unique(owner, return_inverse=True)
    p = np.zeros((int(number.max()) + 1, size, size))
    p[number, i, j] = p[number, j, i] = chance
    best = chance.copy()
    for k in range(size):
        np.maximum(best, p[number, i, k] * p[number, k, j], out=best)
    return best


def automatic_tier(
    n: int,
    left: Ints,
    right: Ints,
    ruling: Ruling,
    q: Floats,
    *,
    guard: float,
    target: float = TARGET_PRECISION,
    together: Ints | None = None,
    never: tuple[Ints, Ints] | None = None,
) -> Tier:
    """The largest clustering whose error stays within what ``target`` allows, found by halving the range of thresholds.

    Pairs that a rule keeps from being automatic join nothing by themselves (`Ruling.without_a_word`).
    """
    by_itself = ruling.without_a_word()
    comes_true = max(COMES_TRUE_AT_LEAST, COMES_TRUE_AT_100K + PER_DECADE * (math.log10(max(n, 1)) - 5))

    def tier(threshold: float) -> Tier:
        labels = cluster(
            n, left, right, by_itself, threshold=threshold, guard=guard, together=together, never=never
        )
        return Tier(labels, threshold, comes_true * expected_error(labels, left, right, q))

    low, high = -STEP, HIGHEST_THRESHOLD
    found = tier(high)
    while high - low > STEP:
        middle = round((low + high) / 2 / STEP) * STEP
        tried = tier(middle)
        if tried.error <= 1 - target:
            high, found = middle, tried
        else:
            low = middle
    return found


def expected_error(labels: Ints, left: Ints, right: Ints, q: Floats) -> float:
    """The share of the pairs inside clusters that the model expects not to be one person."""
    inside = labels[left] == labels[right]
    sizes = np.bincount(labels).astype(np.float64)
    pairs = float((sizes * (sizes - 1) / 2).sum())
    return 1 - float(q[inside].sum()) / pairs if pairs else 0.0


def review_pairs(default: Ints, automatic: Ints, left: Ints, right: Ints, weight: Floats) -> list[int]:
    """Positions of pairs that would join two automatic clusters into one default cluster: for each two of them the
    heaviest pair, heaviest first."""
    waiting = np.flatnonzero(
        (default[left] == default[right]) & (automatic[left] != automatic[right]) & (weight >= 0)
    )
    order = waiting[np.lexsort((right[waiting], left[waiting], -weight[waiting]))]
    a, b = automatic[left[order]].astype(np.int64), automatic[right[order]].astype(np.int64)
    _keys, first = np.unique(np.minimum(a, b) * len(default) + np.maximum(a, b), return_index=True)
    heaviest: list[int] = order[np.sort(first)].tolist()
    return heaviest


def chances(ruling: Ruling) -> Floats:
    """The probability of one person of each pair, rules applied."""
    return probability(ruling.weight)
