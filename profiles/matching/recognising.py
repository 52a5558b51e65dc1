"""Recognise: a few new records among the neighbours that blocking found, with the comparisons and rules of the batch.

Everything global is given: the model was learnt by a batch, and how often values occur was counted by it. What is
decided here is what the batch would decide, but for what only a whole brand shows.
"""

from dataclasses import dataclass

import numpy as np

from profiles.matching import tiers
from profiles.matching.arrays import Ints
from profiles.matching.clustering import THRESHOLD, cluster, components, guard_for, missing_pairs
from profiles.matching.model import Model
from profiles.matching.rules import Ruling, judge
from profiles.matching.scoring import score
from profiles.matching.table import Counts, Table

# Bits from which on pairs join by themselves where no batch has found the brand's own threshold.
AUTOMATIC_UNLEARNT = 5.0


@dataclass
class Recognition:
    """``labels`` are the default clusters and ``automatic`` those that need nobody's word, one label per record.
    ``left``, ``right`` and ``ruling`` are the pairs that were weighed; ``review`` are positions in them, heaviest
    first."""

    labels: Ints
    automatic: Ints
    left: Ints
    right: Ints
    ruling: Ruling
    review: list[int]


def recognise(
    table: Table,
    left: Ints,
    right: Ints,
    model: Model,
    *,
    counts: Counts,
    together: Ints,
    never: tuple[Ints, Ints],
    automatic: float = AUTOMATIC_UNLEARNT,
) -> Recognition:
    """Cluster the records of ``table`` by the candidate pairs (left[i], right[i]).

    ``counts`` tells how often values occur in the brand, ``together`` labels the records of each profile, ``never``
    are pairs that somebody ruled out, ``automatic`` is the threshold of the automatic tier in bits.
    """
    ruling = judge(table, left, right, score(table, left, right, model, counts))
    linked = ruling.weight >= THRESHOLD
    # Profiles are judged as groups: every record of one is compared with every record of the other.
    order = np.argsort(together, kind="stable")
    follows = np.flatnonzero(together[order][1:] == together[order][:-1])
    component = components(
        table.size,
        np.concatenate([left[linked], order[follows]]),
        np.concatenate([right[linked], order[follows + 1]]),
    )
    more_left, more_right = missing_pairs(component, left, right)
    more = judge(table, more_left, more_right, score(table, more_left, more_right, model, counts))
    left, right = np.concatenate([left, more_left]), np.concatenate([right, more_right])
    ruling = Ruling(
        *(np.concatenate([getattr(one, name) for one in (ruling, more)]) for name in Ruling.COLUMNS)
    )
    inside = component[left] == component[right]
    left, right, ruling = left[inside], right[inside], ruling.only(inside)
    guard = guard_for(model.records)
    labels = cluster(table.size, left, right, ruling, guard=guard, together=together, never=never)
    certain = cluster(
        table.size, left, right, ruling.without_a_word(),
        threshold=automatic, guard=guard + tiers.GUARD, together=together, never=never,
    )  # fmt: skip
    review = list(tiers.review_pairs(labels, certain, left, right, ruling.weight))
    return Recognition(labels, certain, left, right, ruling, review)
