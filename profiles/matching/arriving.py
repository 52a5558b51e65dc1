"""One record arrives: which profiles it joins, by the comparisons, weights and rules of the batch.

The record is scored against its neighbours. Only if it links several profiles are those scored among themselves too,
so that the guard may refuse to glue two families together over one newcomer. Measured on generated records, arriving
one by one in any order, this ends within one point of the batch.
"""

from dataclasses import dataclass, replace

import numpy as np

from profiles.matching.arrays import Ints
from profiles.matching.clustering import THRESHOLD, cluster, guard_for
from profiles.matching.model import Model
from profiles.matching.rules import Ruling, judge
from profiles.matching.scoring import Scores, score
from profiles.matching.table import Counts, Table


@dataclass
class Arrival:
    """``joined`` are positions of the records that are one person with the first record by the default; a merge of
    ``automatic`` ones needs nobody's word. ``left``, ``right``, ``scores`` and ``ruling`` tell what was compared: the
    first record with each other one comes first, in the order of the table."""

    joined: list[int]
    automatic: list[int]
    left: Ints
    right: Ints
    scores: Scores
    ruling: Ruling


def arrive(
    table: Table,
    profiles: Ints,
    model: Model,
    counts: Counts | None = None,
    *,
    automatic_from: float = 4.0,
    never: tuple[Ints, Ints] | None = None,
) -> Arrival:
    """Resolve the first record of ``table`` among the others, its neighbours and all that share their profiles.

    ``profiles`` numbers the profile of each other record, shape (records - 1,). ``automatic_from`` is the weight in
    bits at which the brand merges by itself: `Resolution.automatic_threshold` of its last batch. ``never`` are pairs of
    positions that somebody ruled out.
    """
    others = np.arange(1, table.size)
    left, right = np.zeros(table.size - 1, dtype=np.int64), others
    together = _labelled(np.asarray(profiles))
    scores = score(table, left, right, model, counts)
    ruling = judge(table, left, right, scores)
    linked = np.unique(together[right[ruling.weight >= THRESHOLD]])
    compared, evidence = (left, right), ruling
    if len(linked) > 1:
        inside = np.concatenate(([0], others[np.isin(together[1:], linked)]))
        one, other = np.triu_indices(len(inside), 1)
        compared = inside[one], inside[other]
        evidence = judge(table, *compared, score(table, *compared, model, counts))
    guard = guard_for(model.records)
    joined = cluster(table.size, *compared, evidence, guard=guard, together=together, never=never)
    by_itself = replace(evidence, weight=np.where(evidence.automatic, evidence.weight, -np.inf))
    sure = cluster(
        table.size,
        *compared,
        by_itself,
        threshold=automatic_from,
        guard=guard,
        together=together,
        never=never,
    )
    return Arrival(_with_first(joined), _with_first(sure), left, right, scores, ruling)


def _labelled(profiles: Ints) -> Ints:
    """A label for each record: 0 for the first one, the profiles' from 1 on."""
    numbered: Ints = np.unique(profiles, return_inverse=True)[1] + 1
    return np.concatenate(([0], numbered))


def _with_first(labels: Ints) -> list[int]:
    found: list[int] = (np.flatnonzero(labels[1:] == labels[0]) + 1).tolist()
    return found
