"""Recognise people in new records: they are compared with their neighbours.

By the same comparisons, model and rules as a whole brand with itself (`profiles/unification.py`). What is certain is
merged (`profiles/merging.py`), what is not waits for a person.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from django.db import connection, transaction
from django.utils import timezone

from profiles import candidates, merging, neighbours, resolution
from profiles.matching.arrays import Floats, Ints
from profiles.matching.model import Model
from profiles.matching.reasons import Match, matches
from profiles.matching.recognising import recognise
from profiles.matching.table import Counts
from profiles.models import SourceRecord
from profiles.neighbours import Known, Records
from tenants.brand_sql import prepared
from tenants.scoping import whole_network

T = TypeVar("T")
# Merges in one transaction: few enough that nobody waits long for a customer who is held by it.
MERGED_AT_ONCE = 200
# The columns of matching by the names that people know them by.
SHOWN_AS = {"loyalty_number": "card"}


@dataclass(frozen=True)
class Matched:
    """What a run of matching did: how many profiles were merged, how many pairs wait for a person."""

    records: int
    merged: int
    queued: int


def match_records(record_ids: Iterable[int]) -> Matched:
    """Compare these records with those that are near them: merge what is certain, queue what is not.

    Few of them are one transaction. Of many, merges are transactions of at most `MERGED_AT_ONCE`, so a killed run keeps
    what it did; the records count as matched at the end.
    """
    ids = sorted(set(record_ids))
    with whole_network(), transaction.atomic() if len(ids) <= MERGED_AT_ONCE else nullcontext():
        known = neighbours.known()
        neighbours.index(ids, known.rules)
        found = neighbours.near(ids)
        wanted = sorted({*ids, *(other for _one, other in found)})
        records = neighbours.read(
            "r.profile_id IN (SELECT profile_id FROM profiles_sourcerecord WHERE id = ANY(%s))", [wanted]
        )
        model, counts = known.model_for(records.table), known.counts_for(records.table)
        together = np.unique(records.profiles, return_inverse=True)[1]
        recognised = recognise(
            records.table, *neighbours.pairs(found, records), model,
            counts=counts, together=together, never=never(records), automatic=known.automatic,
        )  # fmt: skip
        weighed = Weighed(recognised.left, recognised.right, recognised.ruling.weight)
        reasons = Reasons(records, known, model, counts)
        tied = ties(records, recognised.automatic, weighed)
        merged = sum(merge(some, reasons) for some in batches(tied, MERGED_AT_ONCE))
        asked = queue(weighed.pairs(recognised.review), reasons)
        _note_matched(ids)
    return Matched(len(ids), merged, asked)


def _note_matched(ids: list[int]) -> None:
    table = connection.ops.quote_name(SourceRecord._meta.db_table)
    with prepared() as cursor:
        cursor.execute(f"UPDATE {table} SET matched_at = %s WHERE id = ANY(%s)", [timezone.now(), ids])


@dataclass
class Weighed:
    """Pairs of places with their weight in bits."""

    left: Ints
    right: Ints
    weight: Floats

    def pairs(self, chosen: Sequence[int]) -> list[tuple[int, int]]:
        """Those of them, as places."""
        return [(int(self.left[at]), int(self.right[at])) for at in chosen]


@dataclass
class Reasons:
    """Says why, for pairs of places."""

    records: Records
    known: Known
    model: Model
    counts: Counts | None

    def of(self, pairs: Sequence[tuple[int, int]]) -> list[Match]:
        """What is thought of each pair, under the names that people know the columns by."""
        if not pairs:
            return []
        left, right = np.asarray(pairs, dtype=np.int64).T
        found = matches(self.records.table, left, right, self.model, self.counts)
        return [
            match._replace(
                model_version=self.known.version,
                evidence=tuple(
                    {**line, "field": SHOWN_AS.get(line["field"], line["field"])} for line in match.evidence
                ),
            )
            for match in found
        ]


def never(records: Records) -> tuple[Ints, Ints]:
    """One pair of places for each pair of profiles that a person keeps apart."""
    first = {profile: place for place, profile in reversed(list(enumerate(records.profiles)))}
    decided = candidates.kept_apart(first if len(first) <= 10_000 else None)
    pairs = [(first[left], first[right]) for left, right in decided if left in first and right in first]
    both = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


class Tie(NamedTuple):
    """A profile that is to be merged into another, and the two places of records that say so."""

    winner: int
    loser: int
    left: int
    right: int


def ties(records: Records, labels: Ints, weighed: Weighed) -> list[list[Tie]]:
    """What makes each cluster one profile, the oldest of it: for each cluster that is several, those merged into it."""
    best = _best_pairs(records, labels, weighed)
    return [
        [Tie(winner, loser, *best[loser]) for loser in losers if loser in best]
        for winner, losers in _clusters(records, labels)
    ]


def merge(some: Sequence[Tie], reasons: Reasons) -> int:
    """Merge those who are tied, in one transaction; how many could be merged."""
    found: dict[int, dict[int, Match]] = {}
    for tie, match in zip(some, reasons.of([(tie.left, tie.right) for tie in some]), strict=True):
        found.setdefault(tie.winner, {})[tie.loser] = match
    return len(merging.join_all(found))


def queue(pairs: Sequence[tuple[int, int]], reasons: Reasons) -> int:
    """Have people decide about the profiles that these pairs of records hang on; how many were not asked yet."""
    profiles = reasons.records.profiles
    found: dict[tuple[int, int], Match] = {}
    for (left, right), match in zip(pairs, reasons.of(pairs), strict=True):
        both = profiles[left], profiles[right]
        if both not in found or match.weight > found[both].weight:
            found[both] = match
    return resolution.queue(found)


def batches(clusters: Iterable[Sequence[T]], size: int) -> Iterator[list[T]]:
    """Whole clusters, about so many members at once."""
    batch: list[T] = []
    for cluster in clusters:
        batch += cluster
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _clusters(records: Records, labels: Ints) -> list[tuple[int, list[int]]]:
    """(survivor, those merged into it), of the clusters that are several profiles."""
    profiles = np.asarray(records.profiles, dtype=np.int64)
    both = np.unique(np.stack([labels.astype(np.int64), profiles], axis=1), axis=0)
    _labels, starts, sizes = np.unique(both[:, 0], return_index=True, return_counts=True)
    return [
        (int(both[start, 1]), both[start + 1 : start + size, 1].tolist())
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
        if size > 1
    ]


def _best_pairs(records: Records, labels: Ints, weighed: Weighed) -> dict[int, tuple[int, int]]:
    """profile -> the heaviest pair of places that ties it into its cluster."""
    profiles = np.asarray(records.profiles, dtype=np.int64)
    left, right = weighed.left, weighed.right
    tied = np.flatnonzero((labels[left] == labels[right]) & (profiles[left] != profiles[right]))
    heaviest_first = tied[np.argsort(-weighed.weight[tied], kind="stable")]
    of_both = profiles[np.stack([left[heaviest_first], right[heaviest_first]], axis=1)].ravel()
    found, first = np.unique(of_both, return_index=True)
    place = heaviest_first[first // 2]
    return dict(
        zip(found.tolist(), zip(left[place].tolist(), right[place].tolist(), strict=True), strict=True)
    )
