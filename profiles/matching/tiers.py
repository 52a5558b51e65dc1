"""Two tiers without labels: what may be merged automatically, and what waits in the review queue.

The model says how likely each pair is one person. Of a pair inside a cluster it says more: two records that a third one
links well are likely one person although they share little themselves. From that follows the precision to expect of a
clustering, and of all clusterings tried the largest that keeps the promise becomes the automatic tier.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from profiles.matching.clustering import Labels, cluster
from profiles.matching.rules import Ruling
from profiles.matching.scoring import probability

Rows = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

# Promise .98 at most: twins and fathers and sons of one name bound what any model may claim.
TARGET_PRECISION: Final = 0.98
# The model is sure of itself: it may use up only this part of the error that is allowed.
PART_OF_ERROR: Final = 0.5
THRESHOLDS: Final = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
GUARDS: Final = (2.0, 4.0)


@dataclass
class Tier:
    """``labels`` of the clusters, the ``threshold`` and ``guard`` that made them, and the error to expect: twice what
    the model says of itself."""

    labels: Labels
    threshold: float
    guard: float
    expected_error: float


def linked_probability(
    component: Labels, left: Rows, right: Rows, chance: Floats, evidence: Floats, largest: int
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


def _two_steps(owner: Labels, i: Rows, j: Rows, chance: Floats, size: int) -> Floats:
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
    left: Rows,
    right: Rows,
    ruling: Ruling,
    q: Floats,
    *,
    target: float = TARGET_PRECISION,
    together: Labels | None = None,
    never: tuple[Rows, Rows] | None = None,
) -> Tier:
    """The largest clustering, in expected true pairs, whose expected error is within half of what ``target`` allows.

    Pairs that a rule keeps from being automatic join nothing by themselves.
    """
    by_itself = replace(ruling, weight=np.where(ruling.automatic, ruling.weight, -np.inf))
    allowed = (1 - target) * PART_OF_ERROR
    best: Tier | None = None
    most = -1.0
    for guard in GUARDS:
        for threshold in THRESHOLDS:
            labels = cluster(
                n, left, right, by_itself, threshold=threshold, guard=guard, together=together, never=never
            )
            right_ones, error = expected(labels, left, right, q)
            if error <= allowed or (guard, threshold) == (GUARDS[-1], THRESHOLDS[-1]):
                if right_ones > most or best is None:
                    best, most = Tier(labels, threshold, guard, 2 * error), right_ones
                break  # a higher threshold keeps the promise as well, and finds less
    assert best is not None
    return best


def expected(labels: Labels, left: Rows, right: Rows, q: Floats) -> tuple[float, float]:
    """The true pairs to expect among those inside clusters, and the share of the others."""
    inside = labels[left] == labels[right]
    sizes = np.bincount(labels).astype(np.float64)
    pairs = float((sizes * (sizes - 1) / 2).sum())
    right_ones = float(q[inside].sum())
    return right_ones, (1 - right_ones / pairs if pairs else 0.0)


def review_pairs(
    default: Labels, automatic: Labels, left: Rows, right: Rows, weight: Floats
) -> Sequence[int]:
    """Positions of pairs that would join two automatic clusters into one default cluster: for each two of them the
    heaviest pair, heaviest first."""
    waiting = np.flatnonzero(
        (default[left] == default[right]) & (automatic[left] != automatic[right]) & (weight >= 0)
    )
    order = waiting[np.lexsort((right[waiting], left[waiting], -weight[waiting]))]
    a, b = automatic[left[order]].astype(np.int64), automatic[right[order]].astype(np.int64)
    _keys, first = np.unique(np.minimum(a, b) * len(default) + np.maximum(a, b), return_index=True)
    return order[np.sort(first)].tolist()


def chances(ruling: Ruling) -> Floats:
    """The probability of one person of each pair, rules applied."""
    return probability(ruling.weight)
