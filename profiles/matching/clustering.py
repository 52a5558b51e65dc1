"""From pairs to persons: guarded agglomeration.

Connected components make one wrong pair glue two families together. Here clusters grow from the best pairs, and two of
them are joined only if their records agree as *groups*: some pair reaches the threshold, and the mean guard evidence
over all scored pairs across them speaks for one person. Each round joins all pairs of clusters that are each other's
best, so that the outcome does not depend on the order of anything.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Labels = npt.NDArray[np.int32]
Rows = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

# Inside components up to this size every pair is scored before clusters are formed.
LARGEST_COMPLETED = 150
THRESHOLD, GUARD = 0.0, 0.0
# What a pair that must never be joined brings to the mean: more than any number of pairs can outweigh.
_NEVER = -1e12


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

    a: npt.NDArray[np.int64]
    b: npt.NDArray[np.int64]
    best: Floats
    evidence: Floats
    pairs: Floats

    def between(self, label: npt.NDArray[np.int64]) -> "Edges":
        """The same edges between larger clusters: ``label`` gives the new one of each old one."""
        x, y = label[self.a], label[self.b]
        apart = x != y
        low, high = np.minimum(x, y)[apart], np.maximum(x, y)[apart]
        if not low.size:
            return Edges(low, high, self.best[:0], self.evidence[:0], self.pairs[:0])
        order = np.lexsort((high, low))
        low, high = low[order], high[order]
        start = np.flatnonzero(np.concatenate(([True], (low[1:] != low[:-1]) | (high[1:] != high[:-1]))))
        best, evidence, pairs = (column[apart][order] for column in (self.best, self.evidence, self.pairs))
        return Edges(
            low[start],
            high[start],
            np.maximum.reduceat(best, start),
            np.add.reduceat(evidence, start),
            np.add.reduceat(pairs, start),
        )


def components(n: int, left: Rows, right: Rows) -> Labels:
    """Connected components, as one label per record."""
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def cluster(
    n: int,
    left: Rows,
    right: Rows,
    scores: Weighed,
    *,
    threshold: float = THRESHOLD,
    guard: float = GUARD,
    together: Labels | None = None,
    never: tuple[Rows, Rows] | None = None,
) -> Labels:
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
        joined = _best_for_both(n, edges, threshold, guard)
        if not joined.size:
            return label.astype(np.int32)
        step = np.arange(n)
        step[edges.b[joined]] = edges.a[joined]
        label = step[label]
        edges = edges.between(step)


def _best_for_both(n: int, edges: Edges, threshold: float, guard: float) -> npt.NDArray[np.int64]:
    """Edges that may be joined and are the best one of both their clusters, so that no cluster has two."""
    allowed = np.flatnonzero((edges.best >= threshold) & (edges.evidence >= guard * edges.pairs))
    # Best last: a later assignment to the same cluster takes the place of an earlier one.
    order = allowed[
        np.lexsort(
            (
                edges.b[allowed],
                edges.a[allowed],
                edges.evidence[allowed] / edges.pairs[allowed],
                edges.best[allowed],
            )
        )
    ]
    favourite = np.full(n, -1)
    ends = np.stack([edges.a[order], edges.b[order]], axis=1).ravel()
    favourite[ends] = np.repeat(order, 2)
    return allowed[(favourite[edges.a[allowed]] == allowed) & (favourite[edges.b[allowed]] == allowed)]


def _first_of_each(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Every label replaced by the position of its first record."""
    _labels, first, where = np.unique(labels, return_index=True, return_inverse=True)
    return first[where].astype(np.int64)


def missing_pairs(
    label: Labels, left: Rows, right: Rows, largest: int = LARGEST_COMPLETED
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pairs inside components of at most ``largest`` records that are not among (left[i], right[i])."""
    n = len(label)
    order = np.argsort(label, kind="stable")
    sizes = np.bincount(label)
    starts = np.cumsum(sizes) - sizes
    wanted = (sizes > 2) & (sizes <= largest)
    sizes, starts = sizes[wanted], starts[wanted]
    place = _within(sizes)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    position = starts[owner] + place
    followers = sizes[owner] - place - 1
    first = np.repeat(position, followers)
    second = first + _within(followers) + 1
    x, y = order[first], order[second]
    packed = np.minimum(x, y).astype(np.int64) * n + np.maximum(x, y)
    known = np.minimum(left, right).astype(np.int64) * n + np.maximum(left, right)
    new = np.setdiff1d(packed, known, assume_unique=True)
    return new // n, new % n


def _within(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """0, 1, … inside each of consecutive groups of these sizes."""
    return np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
