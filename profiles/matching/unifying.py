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

from profiles.matching import rules, tiers
from profiles.matching.arrays import Bools, Floats, Ints, Levels
from profiles.matching.blocks import candidates
from profiles.matching.clustering import (
    LARGEST_COMPLETED,
    THRESHOLD,
    cluster,
    components,
    guard_for,
    missing_pairs,
)
from profiles.matching.learning import Patterns, columns_of, factors, learn_from_patterns, merged
from profiles.matching.levels import compare
from profiles.matching.model import Model
from profiles.matching.rules import Ruling
from profiles.matching.scoring import score, score_levels
from profiles.matching.starting import FEWEST_TO_LEARN, prior_model
from profiles.matching.table import Table

_CHUNK = 1 << 19


@dataclass
class Pairs:
    """Scored pairs that may matter to a cluster, rules applied. ``q`` is the probability of one person, given what
    third records say."""

    left: Ints
    right: Ints
    ruling: Ruling
    q: Floats

    def only(self, where: Bools) -> "Pairs":
        """Some of them."""
        return Pairs(self.left[where], self.right[where], self.ruling.only(where), self.q[where])

    @classmethod
    def together(cls, several: "list[Pairs]") -> "Pairs":
        """Several lots as one."""
        ruling = Ruling(
            *(np.concatenate([getattr(one.ruling, name) for one in several]) for name in Ruling.COLUMNS)
        )
        left, right, q = (
            np.concatenate([getattr(one, name) for one in several]) for name in ("left", "right", "q")
        )
        return cls(left, right, ruling, q)


@dataclass
class Resolution:
    """``labels`` of the default clusters: for each record the position of its cluster's first one. ``automatic`` are
    those of the automatic tier, ``automatic_threshold`` is the weight in bits from which it merges, ``expected_error``
    the share of its pairs to be wrong. ``review`` are positions in ``pairs`` of what waits for somebody, heaviest one
    first. ``households`` labels records that share a household, default clusters united, ``at_home`` are the pairs
    that say so. ``seconds`` by stage; ``skipped`` tells how many blocks of each rule were too large to be used."""

    labels: Ints
    automatic: Ints
    review: list[int]
    households: Ints
    at_home: tuple[Ints, Ints]
    pairs: Pairs
    model: Model
    expected_error: float
    automatic_threshold: float
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
    together: Ints | None = None,
    never: tuple[Ints, Ints] | None = None,
    watch: Stopwatch | None = None,
) -> Resolution:
    """Resolve a whole table; the model is learnt from it unless one is given.

    ``together`` labels records that are one profile by somebody's word, ``never`` are pairs of positions that somebody
    ruled out. Both bind both tiers.
    """
    watch = watch or Stopwatch()
    with watch("block"):
        found = candidates(table)
    with watch("compare"):
        made_of = factors(table) if model is None and table.size >= FEWEST_TO_LEARN else None
        model = model or (None if made_of else prior_model(table))
        chunks = [
            Chunk(
                left,
                right,
                compare(table, left, right, model.columns if model else columns_of(made_of or ())),
            )
            for left, right in _chunks(found.left, found.right)
        ]
    with watch("learn"):
        if made_of and model is None:
            model = learn_from_patterns(
                table, made_of, merged([Patterns.of(made_of, one.levels) for one in chunks])
            )
        assert model is not None
    with watch("score"):
        pairs, component, at_home = _scored(table, chunks, model)
    with watch("cluster"):
        left, right, ruling, guard = pairs.left, pairs.right, pairs.ruling, guard_for(model.records)
        labels = cluster(table.size, left, right, ruling, guard=guard, together=together, never=never)
    with watch("tiers"):
        pairs.q = tiers.linked_probability(
            component,
            left,
            right,
            chance=tiers.chances(ruling),
            evidence=ruling.evidence,
            largest=LARGEST_COMPLETED,
        )
        inside = np.flatnonzero(labels[left] == labels[right])
        tier = tiers.automatic_tier(
            table.size,
            left[inside],
            right[inside],
            ruling.only(inside),
            pairs.q[inside],
            guard=guard + tiers.GUARD,
            together=together,
            never=never,
        )
        review = tiers.review_pairs(labels, tier.labels, left, right, ruling.weight)
    return Resolution(
        labels, tier.labels, review, _households(labels, *at_home), at_home, pairs, model, tier.error,
        tier.threshold, len(found.left), found.skipped, watch.seconds,
    )  # fmt: skip


@dataclass
class Chunk:
    """Some candidate pairs with their levels."""

    left: Ints
    right: Ints
    levels: dict[str, Levels]


def _chunks(left: Ints, right: Ints) -> Iterator[tuple[Ints, Ints]]:
    for start in range(0, max(len(left), 1), _CHUNK):
        yield left[start : start + _CHUNK], right[start : start + _CHUNK]


def _scored(table: Table, chunks: list[Chunk], model: Model) -> tuple[Pairs, Ints, tuple[Ints, Ints]]:
    """Score all candidates, and what is missing inside their components; keep the pairs that may matter to a cluster.

    With them the component of each record, and the pairs that share a home.
    """
    kept, at_home = [], []
    for one in chunks:
        scores = score_levels(table, one.left, one.levels, model)
        ruling = rules.judge(table, one.left, one.right, scores)
        one.levels.clear()  # room for the next
        home = np.flatnonzero(ruling.rule == rules.HOUSEHOLD)
        at_home.append((one.left[home], one.right[home]))
        kept.append(Pairs(one.left, one.right, ruling, ruling.weight).only(ruling.weight >= THRESHOLD))
    linked = Pairs.together(kept)
    component = components(table.size, linked.left, linked.right)
    inside = [linked]
    for left, right in _chunks(*missing_pairs(component, linked.left, linked.right)):
        ruling = rules.judge(table, left, right, score(table, left, right, model))
        inside.append(Pairs(left, right, ruling, ruling.weight))
    left, right = (np.concatenate(side) for side in zip(*at_home, strict=True))
    return Pairs.together(inside), component, (left, right)


def _households(labels: Ints, left: Ints, right: Ints) -> Ints:
    """Profiles that share a contact although their first names differ, as one label per record."""
    return components(len(labels), labels[left], labels[right])[labels]
