"""Recognise people: new records are compared with their neighbours, a whole brand with itself.

Both use the same comparisons, the same model and the same rules (`profiles/matching/`). What is certain is merged
(`profiles/resolution.py`), what is not waits for a person.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles import households, neighbours, resolution
from profiles.matching.arrays import Floats, Ints
from profiles.matching.model import Model
from profiles.matching.pruning import yielding_rules
from profiles.matching.reasons import Match, matches
from profiles.matching.recognising import recognise
from profiles.matching.starting import FEWEST_TO_LEARN
from profiles.matching.starting import VERSION as START
from profiles.matching.table import Counts, Table
from profiles.matching.unifying import Resolution, unify
from profiles.models import MatchCandidate, MatchingModel, Merge, SourceRecord
from profiles.neighbours import Known, Records
from tenants.scoping import whole_network

# Merges in one transaction: few enough that nobody waits long for a customer who is held by it.
MERGED_AT_ONCE = 50
# The columns of matching by the names that people know them by.
SHOWN_AS = {"loyalty_number": "card"}


# A batch is asked for when this share of all records is new, or the brand has grown so much since it was last learnt.
SHARE_OF_NEW, GROWN_BY = 0.2, 1.25
# Values on fewer records are rare whatever their count; more different ones than this no column keeps.
FEWEST_TO_KEEP, MOST_KEPT = 3, 50_000


@dataclass(frozen=True)
class Matched:
    """What a run of matching did: how many profiles were merged, how many pairs wait for a person."""

    records: int
    merged: int
    queued: int


@dataclass(frozen=True)
class Unified(Matched):
    """The same of a whole brand; `separated`: merges that hold no more and were taken back."""

    separated: int = 0


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
            counts=counts, together=together, never=_never(records), automatic=known.automatic,
        )  # fmt: skip
        weighed = Weighed(recognised.left, recognised.right, recognised.ruling.weight)
        reasons = Reasons(records, known, model, counts)
        merged = _merge(records, recognised.automatic, weighed, reasons)
        asked = _queue(records, recognised.review, weighed, reasons)
        SourceRecord.objects.filter(pk__in=ids).update(matched_at=timezone.now())
    return Matched(len(ids), merged, len(asked))


@dataclass
class Weighed:
    """Pairs of places with their weight in bits."""

    left: Ints
    right: Ints
    weight: Floats


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


def _never(records: Records) -> tuple[Ints, Ints]:
    """One pair of places for each pair of profiles that a person keeps apart."""
    first = {profile: place for place, profile in reversed(list(enumerate(records.profiles)))}
    decided = MatchCandidate.objects.filter(status=MatchCandidate.Status.NEVER)
    if len(first) <= 10_000:
        decided = decided.filter(left__in=first, right__in=first)
    pairs = [
        (first[left], first[right])
        for left, right in decided.order_by().values_list("left", "right")
        if left in first and right in first
    ]
    both = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _merge(records: Records, labels: Ints, weighed: Weighed, reasons: Reasons) -> int:
    """Make each cluster one profile, the oldest of it; returns how many were merged into another."""
    survivor: dict[int, int] = {}
    best = _best_pairs(records, labels, weighed)
    for clusters in _batches(_clusters(records, labels)):
        pairs = [
            (winner, loser, best[loser]) for winner, losers in clusters for loser in losers if loser in best
        ]
        why = reasons.of([pair for _winner, _loser, pair in pairs])
        found: dict[int, dict[int, Match]] = {}
        for (winner, loser, _pair), match in zip(pairs, why, strict=True):
            found.setdefault(winner, {})[loser] = match
        joined = resolution.join_all(found)
        survivor |= {loser: winner for winner, loser in joined}
    records.profiles[:] = [survivor.get(profile, profile) for profile in records.profiles]
    return len(survivor)


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


def _batches(clusters: list[tuple[int, list[int]]]) -> Iterator[list[tuple[int, list[int]]]]:
    batch: list[tuple[int, list[int]]] = []
    merges = 0
    for cluster in clusters:
        batch.append(cluster)
        merges += len(cluster[1])
        if merges >= MERGED_AT_ONCE:
            yield batch
            batch, merges = [], 0
    if batch:
        yield batch


def _best_pairs(records: Records, labels: Ints, weighed: Weighed) -> dict[int, tuple[int, int]]:
    """profile -> the heaviest pair of places that ties it into its cluster."""
    profiles = np.asarray(records.profiles, dtype=np.int64)
    left, right = weighed.left, weighed.right
    ties = np.flatnonzero((labels[left] == labels[right]) & (profiles[left] != profiles[right]))
    heaviest_first = ties[np.argsort(-weighed.weight[ties], kind="stable")]
    of_both = profiles[np.stack([left[heaviest_first], right[heaviest_first]], axis=1)].ravel()
    found, first = np.unique(of_both, return_index=True)
    place = heaviest_first[first // 2]
    return dict(
        zip(found.tolist(), zip(left[place].tolist(), right[place].tolist(), strict=True), strict=True)
    )


def _queue(
    records: Records, review: Sequence[int], weighed: Weighed, reasons: Reasons
) -> set[tuple[int, int]]:
    """Have people decide about the pairs of profiles whose pairs of records are under review."""
    asked = set()
    pairs = [(int(weighed.left[place]), int(weighed.right[place])) for place in review]
    for (left, right), match in zip(pairs, reasons.of(pairs), strict=True):
        one, other = records.profiles[left], records.profiles[right]
        if resolution.queue(one, other, match):
            asked.add((min(one, other), max(one, other)))
    return asked


# --- The whole brand ----------------------------------------------------------------------------------------------


def wants_batch() -> bool:
    """Whether so much is new that comparing the whole brand with itself is quicker, and teaches more, than comparing
    each new record with its neighbours."""
    about = neighbours.records_about()
    if about < FEWEST_TO_LEARN:
        return False
    model = neighbours.known().model
    if model is None or about > GROWN_BY * model.records:
        return True
    enough = int(SHARE_OF_NEW * about)
    return SourceRecord.objects.filter(matched_at=None).order_by()[:enough].count() >= enough


def unify_brand(report: Callable[[str], None] | None = None) -> Unified:
    """Compare the brand with itself: learn its model anew, merge and separate by it, ask people what is doubtful.

    What people decided binds it, and so does what no matching joined. A second run finds nothing to do. `report` is
    told each stage as it begins.
    """
    say = report or (lambda _stage: None)
    with whole_network():
        say(_("Reading the records"))
        records = neighbours.read("true", [], many=True)
        if not records.ids:
            return Unified(0, 0, 0, 0)
        say(_("Comparing all records"))
        origins = _origins(records)
        together = np.unique(origins, return_inverse=True)[1]
        found = unify(records.table, together=together, never=_never(records))
        say(_("Keeping what was learnt"))
        known = _remember(records, found)
        say(_("Merging and separating"))
        separated = _separate(records, found.labels)
        pairs = found.pairs
        weighed = Weighed(pairs.left, pairs.right, pairs.ruling.weight)
        reasons = Reasons(records, known, found.model, None)
        merged = _merge(records, found.automatic, weighed, reasons)
        asked = _queue(records, found.review, weighed, reasons)
        say(_("Finding households"))
        households.regroup(_at_home(records, *found.at_home, reasons))
        SourceRecord.objects.filter(pk__lte=records.ids[-1], matched_at=None).update(
            matched_at=timezone.now()
        )
    return Unified(len(records.ids), merged, len(asked), separated)


def _origins(records: Records) -> Ints:
    """The profile that each record hung on before matching joined it to others: what people, tills and sources made
    one is one."""
    moved_from: dict[int, int] = {}
    for loser, ids in _automatic().order_by("pk").values_list("loser", "moved__sourcerecord").iterator():
        for record_id in ids:
            moved_from.setdefault(record_id, loser)
    return np.asarray(
        [
            moved_from.get(record_id, profile)
            for record_id, profile in zip(records.ids, records.profiles, strict=True)
        ],
        dtype=np.int64,
    )


def _automatic():
    return Merge.objects.filter(undone_at=None, by=None)


def _separate(records: Records, labels: Ints) -> int:
    """Take back the merges of which nothing holds any more: what they moved shares no cluster with what it came to."""
    profiles = np.asarray(records.profiles, dtype=np.int64)
    both = np.unique(np.stack([profiles, labels.astype(np.int64)], axis=1), axis=0)
    several = both[1:][both[1:, 0] == both[:-1, 0], 0]
    places, separated = records.places, 0
    members: dict[int, set[int]] = defaultdict(set)
    for place in np.flatnonzero(np.isin(profiles, several)).tolist():
        members[records.profiles[place]].add(place)
    for deed in _automatic().filter(winner__in=np.unique(several).tolist()).order_by("-pk"):
        came = {places[pk] for pk in deed.moved.get("sourcerecord", []) if pk in places}
        there = members[deed.winner_id] - came
        if {int(labels[place]) for place in came} & {int(labels[place]) for place in there}:
            continue
        try:
            resolution.unmerge(deed, binding=False)
        except resolution.CannotSeparate:
            continue  # a person has merged the survivor since: that binds
        members[deed.winner_id], members[deed.loser_id] = there, came
        for place in came:
            records.profiles[place] = deed.loser_id
        separated += 1
    return separated


def _at_home(records: Records, left: Ints, right: Ints, reasons: Reasons) -> list[households.Pair]:
    """Pairs of profiles that share a home, one pair of records for each."""
    profiles = np.asarray(records.profiles, dtype=np.int64)
    both = np.sort(np.stack([profiles[left], profiles[right]], axis=1), axis=1)
    people, first = np.unique(both[both[:, 0] != both[:, 1]], axis=0, return_index=True)
    place = np.flatnonzero(both[:, 0] != both[:, 1])[first]
    why = reasons.of(list(zip(left[place].tolist(), right[place].tolist(), strict=True)))
    return [
        households.Pair(one, other, match.weight, tuple(map(dict, match.evidence)))
        for (one, other), match in zip(people.tolist(), why, strict=True)
    ]


@transaction.atomic
def _remember(records: Records, found: Resolution) -> Known:
    """Keep the model as the brand's newest, and all records indexed under the rules that it found worth their place. A
    brand too small to teach anything keeps none."""
    if found.model.version == START:
        neighbours.index_all(records.ids)
        return Known(None)
    table, labels = records.table, found.labels
    left, right = found.pairs.left, found.pairs.right
    inside = labels[left] == labels[right]
    rules = yielding_rules(table, left[inside], right[inside], neighbours.LARGEST_BLOCK)
    last = MatchingModel.objects.first()
    row = MatchingModel.objects.create(
        version=last.version + 1 if last else 1, records=len(records.ids), weights=found.model.to_json(),
        automatic=found.automatic_threshold, rules=rules, counts=_counts(table),
        figures={
            "candidates": found.candidates, "expected_error": found.expected_error, "seconds": dict(found.seconds),
        },
    )  # fmt: skip
    if last is None or set(last.rules) != set(rules):
        neighbours.reindex(records, rules)
    else:
        neighbours.index_all(records.ids)
    return neighbours.from_row(row)


def _counts(table: Table) -> dict[str, list]:
    """On how many records values stand, for the more frequent ones of the columns that matching counts."""
    told = {}
    for name in neighbours.COUNTED:
        if name in table:
            column = table[name]
            frequent = np.flatnonzero(column.counts >= FEWEST_TO_KEEP)
            frequent = frequent[np.argsort(-column.counts[frequent], kind="stable")][:MOST_KEPT]
            told[name] = [
                {column.values[code]: int(column.counts[code]) for code in frequent.tolist()},
                column.filled,
            ]
    return told
