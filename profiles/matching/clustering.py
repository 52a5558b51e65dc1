"""From pairs to persons: guarded agglomeration.

Connected components make one wrong pair glue two families together. Here clusters grow from the best pairs, and two of
them are joined only if their records agree as *groups*: some pair reaches the threshold, and the mean guard evidence
over all scored pairs across them speaks for one person. Each round joins all pairs of clusters that are each other's
best, so that the outcome does not depend on the order of anything.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from profiles.matching.arrays import Bools, Floats, Ints, places_within, starts_of_runs

# Inside components up to this size every pair is scored before clusters are formed.
LARGEST_COMPLETED = 150
THRESHOLD, GUARD = 0.0, 0.5
# The guard of a brand: half a bit for each factor of ten beyond so many records, since chance links more of them.
UNGUARDED, GUARD_PER_DECADE = 10_000, 0.5
# What a pair that must never be joined brings to the mean: more than any number of pairs can outweigh.
_NEVER = -1e18


def guard_for(records: int) -> float:
    """The mean evidence, in bits, that two clusters of a brand with so many records need to be joined."""
    return max(0.0, GUARD_PER_DECADE * math.log10(max(records, 1) / UNGUARDED))


class Weighed(Protocol):
    """Pairs with a match weight and guard evidence in bits: scores, or what the rules made of them."""

    @property
    def weight(self) -> Floats: ...
    @property
    def evidence(self) -> Floats: ...


@dataclass
class Edges:
    """Between clusters, arrays of shape (edges,): ``a`` < ``b``, the best weight, the sum of guard evidence, and over
    how many pairs."""

    a: Ints
    b: Ints
    best: Floats
    evidence: Floats
    pairs: Floats

    def between(self, label: Ints) -> "Edges":
        """The same edges between larger clusters: ``label`` gives the new one of each old one."""
        x, y = label[self.a], label[self.b]
        apart = np.flatnonzero(x != y)
        x, y = x[apart], y[apart]
        if not x.size:
            return self.only(apart)
        room = int(label.max()) + 1
        packed = np.minimum(x, y) * room + np.maximum(x, y)
        order = np.argsort(packed)
        packed = packed[order]
        start = starts_of_runs(packed)
        order = apart[order]
        best, evidence, pairs = self.best[order], self.evidence[order], self.pairs[order]
        return Edges(
            packed[start] // room,
            packed[start] % room,
            np.maximum.reduceat(best, start),
            np.add.reduceat(evidence, start),
            np.add.reduceat(pairs, start),
        )

    def only(self, where: Bools | Ints) -> "Edges":
        """Some of them."""
        return Edges(self.a[where], self.b[where], self.best[where], self.evidence[where], self.pairs[where])


def components(n: int, left: Ints, right: Ints) -> Ints:
    """Connected components: for each of ``n`` records the first record it is linked to, through any number of pairs.

    Every component hangs itself below the lowest one it is linked to, all at once, until nothing is left to link.
    """
    label = np.arange(n)
    while True:
        low, high = np.minimum(label[left], label[right]), np.maximum(label[left], label[right])
        apart = np.flatnonzero(low != high)
        if not apart.size:
            return label
        left, right = left[apart], right[apart]
        np.minimum.at(label, high[apart], low[apart])
        while (label[label] != label).any():
            label = label[label]


def cluster(
    n: int,
    left: Ints,
    right: Ints,
    scores: Weighed,
    *,
    threshold: float = THRESHOLD,
    guard: float = GUARD,
    together: Ints | None = None,
    never: tuple[Ints, Ints] | None = None,
) -> Ints:
    """Cluster ``n`` records by the scored pairs (left[i], right[i]); of ``scores`` are asked weight and evidence.

    ``together`` labels records that are one person already, whatever the weights say; ``never`` are pairs that somebody
    decided are two persons, which binds every cluster they belong to. The label of a cluster is its first record.
    """
    label = np.arange(n) if together is None else _first_of_each(np.asarray(together))
    never_left, never_right = never if never is not None else (left[:0], right[:0])
    ruled_out = len(never_left)
    edges = Edges(
        np.concatenate([left, never_left]).astype(np.int64),
        np.concatenate([right, never_right]).astype(np.int64),
        np.concatenate([scores.weight, np.full(ruled_out, -np.inf)]),
        np.concatenate([scores.evidence, np.full(ruled_out, _NEVER)]),
        np.ones(len(left) + ruled_out),
    ).between(label)
    while True:
        allowed = (edges.best >= threshold) & (edges.evidence >= guard * edges.pairs)
        joined = _best_for_both(n, edges, np.flatnonzero(allowed))
        if not joined.size:
            return label.astype(np.int32)
        step = np.arange(n)
        step[edges.b[joined]] = edges.a[joined]
        label = step[label]
        # What touches no edge that may be joined stays as it is for good.
        alive = np.zeros(n, dtype=bool)
        alive[edges.a[allowed]] = alive[edges.b[allowed]] = True
        edges = edges.only(alive[edges.a] | alive[edges.b]).between(step)


def _best_for_both(n: int, edges: Edges, allowed: Ints) -> Ints:
    """Those of the ``allowed`` edges that are the best one of both their clusters, so that no cluster has two.

    Best is the heaviest; among equals the one with most evidence, and then the first.
    """
    mean = edges.evidence[allowed] / edges.pairs[allowed]
    rank = np.empty(len(allowed), dtype=np.int64)
    rank[np.lexsort((-edges.a[allowed], mean, edges.best[allowed]))] = np.arange(len(allowed))
    best = np.full(n, -1)
    np.maximum.at(best, edges.a[allowed], rank)
    np.maximum.at(best, edges.b[allowed], rank)
    best_twice: Ints = allowed[(best[edges.a[allowed]] == rank) & (best[edges.b[allowed]] == rank)]
    return best_twice


def _first_of_each(labels: Ints) -> Ints:
    """Every label replaced by the position of its first record."""
    _labels, first, where = np.unique(labels, return_index=True, return_inverse=True)
    return first[where].astype(np.int64)


def missing_pairs(
    label: Ints, left: Ints, right: Ints, largest: int = LARGEST_COMPLETED
) -> tuple[Ints, Ints]:
    """Pairs inside components of at most ``largest`` records that are not among (left[i], right[i])."""
    n = len(label)
    order = np.argsort(label, kind="stable")
    sizes = np.bincount(label)
    starts = np.cumsum(sizes) - sizes
    wanted = (sizes > 2) & (sizes <= largest)
    sizes, starts = sizes[wanted], starts[wanted]
    place = places_within(sizes)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    position = starts[owner] + place
    followers = sizes[owner] - place - 1
    first = np.repeat(position, followers)
    second = first + places_within(followers) + 1
    x, y = order[first], order[second]
    packed = np.minimum(x, y).astype(np.int64) * n + np.maximum(x, y)
    known = np.minimum(left, right).astype(np.int64) * n + np.maximum(left, right)
    new = np.setdiff1d(packed, known, assume_unique=True)
    return new // n, new % n
