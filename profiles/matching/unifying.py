"""Unify: from a table of records to profiles, in one go.

The stages are functions of arrays, each of which a worker can do for its part: normalise (`table`), one blocking rule
(`blocks.block`), compare and count a chunk of pairs (`learning.Patterns`, `learning.merged`), score a chunk
(`scoring.score`), cluster a component (`clustering.cluster`). Global are only the union of pairs and the components.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import numpy.typing as npt

from profiles.matching import rules, tiers
from profiles.matching.blocks import Candidates, candidates
from profiles.matching.clustering import (
    GUARD,
    LARGEST_COMPLETED,
    THRESHOLD,
    Labels,
    cluster,
    components,
    missing_pairs,
)
from profiles.matching.learning import learn
from profiles.matching.levels import Rows
from profiles.matching.model import Model
from profiles.matching.rules import Ruling
from profiles.matching.scoring import score
from profiles.matching.starting import FEWEST_TO_LEARN, prior_model
from profiles.matching.table import Table

Floats = npt.NDArray[np.float64]
_CHUNK = 1 << 19


@dataclass
class Pairs:
    """Scored pairs that may matter to a cluster, rules applied. ``q`` is the probability of one person, given what third
    records say."""

    left: Rows
    right: Rows
    ruling: Ruling
    q: Floats


@dataclass
class Resolution:
    """``labels`` of the default clusters: one per record, the position of the cluster's first one. ``automatic`` are those
    of the automatic tier, each inside a default cluster. ``review`` are positions in ``pairs`` of what waits for
    somebody, heaviest first. ``households`` labels records that share a household, default clusters united.
    ``expected_error`` is that of the automatic tier, a share of its pairs. ``seconds`` by stage; ``skipped`` tells how
    many blocks of each rule were too large to be used."""

    labels: Labels
    automatic: Labels
    review: list[int]
    households: Labels
    pairs: Pairs
    model: Model
    expected_error: float
    candidates: int
    skipped: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


class Stopwatch:
    """Wall-clock seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start


def unify(
    table: Table,
    model: Model | None = None,
    *,
    together: Labels | None = None,
    never: tuple[Rows, Rows] | None = None,
    watch: Stopwatch | None = None,
) -> Resolution:
    """Resolve a whole table; the model is learnt from it unless one is given.

    ``together`` labels records that are one profile by somebody's word, ``never`` are pairs of positions that somebody
    ruled out. Both bind both tiers.
    """
    watch = watch or Stopwatch()
    with watch("block"):
        found = candidates(table)
    with watch("learn"):
        if model is None:
            enough = table.size >= FEWEST_TO_LEARN
            model = learn(table, found.left, found.right) if enough else prior_model(table)
    with watch("score"):
        pairs, component, household_edges = _scored(table, found, model)
    bound = {"together": together, "never": never}
    with watch("cluster"):
        left, right, ruling = pairs.left, pairs.right, pairs.ruling
        labels = cluster(table.size, left, right, ruling, threshold=THRESHOLD, guard=GUARD, **bound)
    with watch("tiers"):
        pairs.q = tiers.linked_probability(
            component, left, right, tiers.chances(ruling), ruling.evidence, LARGEST_COMPLETED
        )
        inside = labels[left] == labels[right]
        tier = tiers.automatic_tier(
            table.size, left[inside], right[inside], _only(ruling, inside), pairs.q[inside], **bound
        )
        review = list(tiers.review_pairs(labels, tier.labels, left, right, ruling.weight))
        households = _households(labels, *household_edges)
    return Resolution(
        labels, tier.labels, review, households, pairs, model, tier.expected_error, len(found.left),
        found.skipped, watch.seconds,
    )  # fmt: skip


def _scored(table: Table, found: Candidates, model: Model) -> tuple[Pairs, Labels, tuple[Rows, Rows]]:
    """Score all candidates and what is missing inside their components; keep the pairs inside components."""
    lefts, rights, rulings, homes = [], [], [], []
    for start in range(0, len(found.left), _CHUNK):
        left, right = found.left[start : start + _CHUNK], found.right[start : start + _CHUNK]
        ruling = judged(table, left, right, model)
        home = ruling.rule == rules.RULES.index("household")
        homes.append((left[home], right[home]))
        # Far below every threshold a pair can only speak against a cluster, and does so when it is completed.
        keep = ruling.weight >= 0
        lefts.append(left[keep])
        rights.append(right[keep])
        rulings.append(_only(ruling, keep))
    left, right, ruling = _joined(lefts, rights, rulings)
    component = components(table.size, left, right)
    more_left, more_right = missing_pairs(component, left, right)
    lefts, rights, rulings = [left], [right], [ruling]
    for start in range(0, len(more_left), _CHUNK):
        x, y = more_left[start : start + _CHUNK], more_right[start : start + _CHUNK]
        lefts.append(x)
        rights.append(y)
        rulings.append(judged(table, x, y, model))
    left, right, ruling = _joined(lefts, rights, rulings)
    home_edges = (
        np.concatenate([one for one, _other in homes] or [left[:0]]),
        np.concatenate([other for _one, other in homes] or [left[:0]]),
    )
    return Pairs(left, right, ruling, ruling.weight), component, home_edges


def judged(table: Table, left: Rows, right: Rows, model: Model) -> Ruling:
    """Score a chunk of pairs and apply the rules."""
    return rules.judge(table, left, right, score(table, left, right, model))


def _only(ruling: Ruling, where: npt.NDArray[np.bool_]) -> Ruling:
    return Ruling(ruling.rule[where], ruling.weight[where], ruling.evidence[where], ruling.automatic[where])


def _joined(
    lefts: list[Rows], rights: list[Rows], rulings: list[Ruling]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Ruling]:
    if not lefts:
        none = np.empty(0, dtype=np.int64)
        return (
            none,
            none,
            Ruling(none.astype(np.int8), none.astype(float), none.astype(float), none.astype(bool)),
        )
    columns = (
        np.concatenate([getattr(one, name) for one in rulings])
        for name in ("rule", "weight", "evidence", "automatic")
    )
    return (
        np.concatenate(lefts).astype(np.int64),
        np.concatenate(rights).astype(np.int64),
        Ruling(*columns),
    )


def _households(labels: Labels, left: Rows, right: Rows) -> Labels:
    """Profiles that share a contact although their first names differ, as one label per record."""
    return components(len(labels), labels[left], labels[right])[labels]
