"""Compare a whole brand with itself: one worker compares, any number carry out what follows from it.

What follows is written down as steps (`UnificationStep`), together with the model that it follows from. Each is one
transaction, taken by whichever worker is free: one that is killed leaves its step to the next, and what was done stays
done. A second run over the same records finds nothing to do.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from django.db import OperationalError, transaction
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg.errors import DeadlockDetected

from profiles import households, neighbours, recognition, separating
from profiles.matching.arrays import Ints
from profiles.matching.pruning import yielding_rules
from profiles.matching.starting import FEWEST_TO_LEARN
from profiles.matching.starting import VERSION as START
from profiles.matching.table import Table
from profiles.matching.unifying import Resolution, unify
from profiles.models import MatchingModel, Merge, SourceRecord, UnificationStep
from profiles.neighbours import Records
from profiles.recognition import Matched, Reasons, Tie, Weighed
from tenants.network.models import Job, Staff, audit
from tenants.scoping import whole_network

JOB = "unification"
# A batch is asked for when this share of all records is new, or the brand has grown so much since it was last learnt.
SHARE_OF_NEW, GROWN_BY = 0.2, 1.25
# Values on fewer records are rare whatever their count; more different ones than this no column keeps.
FEWEST_TO_KEEP, MOST_KEPT = 3, 50_000
# Records in a step that indexes them or notes that they are matched.
RECORDS_AT_ONCE = 20_000
# Pairs of which the reasons are found at once.
PAIRS_AT_ONCE = 20_000
# How often the worker that compared looks whether others have carried the last steps out, in seconds.
LOOKS_EVERY = 0.2


@dataclass(frozen=True)
class Unified(Matched):
    """What a batch did; `separated`: merges that hold no more and were taken back."""

    separated: int = 0


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


def under_way() -> Job | None:
    """The batch that was begun and is not over, whoever began it."""
    with whole_network():
        return Job.objects.filter(kind=JOB).exclude(state__in=Job.OVER).order_by("pk").first()


@transaction.atomic
def ask(by: Staff) -> Job:
    """Have workers compare the brand with itself for this person; the job, or that of the batch that is under way."""
    with whole_network():
        job = under_way()
        if job is None:
            job = Job.objects.create(kind=JOB, title=_("All customers compared anew"), asked_by=by)
            audit(by, "asked to compare all", job)
    from profiles.tasks import unify_brand as in_background

    transaction.on_commit(in_background.delay, robust=True)
    return job


def unify_brand(call: Callable[[int], None] | None = None) -> Unified:
    """Compare the brand with itself: learn its model anew, merge and separate by it, ask people what is doubtful.

    What people decided binds it, and so does what no matching joined. A batch that was begun and not ended is carried
    on. `call` is told the job's id whenever there are steps to be had, to bring other workers in. One run at a time,
    which the caller sees to. What goes wrong is noted on the job and raised.
    """
    with whole_network():
        job = under_way() or Job.objects.create(kind=JOB, title=_("All customers compared anew"))
        try:
            if "records" not in job.arguments:
                _begin(job)
            while (stage := _open_stage(job)) is not None:
                if call:
                    call(job.pk)
                _see_through(job, stage)
            return _end(job)
        except Exception as error:
            UnificationStep.objects.filter(job=job).delete()
            job.fail(str(error) or type(error).__name__)
            raise


def _begin(job: Job) -> None:
    """Compare, and write down what is to be done."""
    job.start(_("Reading the records"))
    records = neighbours.read("true", [], many=True)
    if not records.ids:
        job.arguments = {"records": 0, "separated": 0}
        return
    job.start(_("Comparing all records"))
    together = np.unique(_origins(records), return_inverse=True)[1]
    found = unify(records.table, together=together, never=recognition.never(records))
    job.start(_("Keeping what was learnt"))
    # Before the rest, and each by itself: a till that sells to one of these people waits for no other.
    separated = _separate(records, found.labels)
    with transaction.atomic():
        steps = _index_steps(records, *_remember(records, found))
        steps += _steps(records, found)
        UnificationStep.objects.bulk_create(
            [UnificationStep(job=job, **step) for step in steps], batch_size=500
        )
        job.arguments = {"records": len(records.ids), "separated": separated}
        job.start(_("Merging"), total=len(steps))
        job.save(update_fields=["arguments"])


def _index_steps(records: Records, rules: Sequence[str] | None, bare: Sequence[int]) -> list[dict]:
    return [
        {"stage": 0, "kind": UnificationStep.Kind.INDEX, "told": {"records": list(some), "rules": rules}}
        for some in _slices(bare, RECORDS_AT_ONCE)
    ]


def _steps(records: Records, found: Resolution) -> list[dict]:
    """What is to be done: the merges, and, once these are done, the questions, the households and the records' mark."""
    pairs, ids = found.pairs, records.ids
    weighed = Weighed(pairs.left, pairs.right, pairs.ruling.weight)
    tied = recognition.ties(records, found.automatic, weighed)
    merges = [
        [(tie.winner, tie.loser, ids[tie.left], ids[tie.right]) for tie in some]
        for some in recognition.batches(tied, recognition.MERGED_AT_ONCE)
    ]
    asked = [(ids[left], ids[right]) for left, right in weighed.pairs(found.review)]
    at_home = [
        (ids[left], ids[right])
        for left, right in zip(*(side.tolist() for side in found.at_home), strict=True)
    ]
    kind = UnificationStep.Kind
    return [
        *({"stage": 0, "kind": kind.MERGE, "told": some} for some in merges),
        *({"stage": 1, "kind": kind.QUEUE, "told": some} for some in _slices(asked, recognition.MERGED_AT_ONCE)),
        {"stage": 1, "kind": kind.HOUSEHOLDS, "told": at_home},
        *(
            {"stage": 1, "kind": kind.MATCHED, "told": [some[0], some[-1]]}
            for some in _slices(ids, RECORDS_AT_ONCE)
        ),
    ]  # fmt: skip


def _slices(rows: Sequence, size: int) -> list[Sequence]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


# --- Steps ----------------------------------------------------------------------------------------------------------


def carry_out(job_id: int) -> bool:
    """Take the next step that nobody has in hand and carry it out, in one transaction; whether there was one.

    There is none while another worker is at the last one of a stage: the steps of the next build upon all of it. One
    that waited for somebody who waited for it is tried again.
    """
    try:
        return _carry_out(job_id)
    except OperationalError as error:
        if isinstance(error.__cause__, DeadlockDetected):
            return True
        raise


def _carry_out(job_id: int) -> bool:
    with whole_network(), transaction.atomic():
        todo = UnificationStep.objects.filter(job=job_id, done_at=None).order_by("stage", "pk")
        step = todo.select_for_update(skip_locked=True).first()
        if step is None or todo.filter(stage__lt=step.stage).exists():
            return False
        step.changed = _DO[UnificationStep.Kind(step.kind)](step.told)
        step.done_at = timezone.now()
        step.save(update_fields=["changed", "done_at"])
    return True


def _open_stage(job: Job) -> int | None:
    todo = UnificationStep.objects.filter(job=job, done_at=None)
    return todo.order_by("stage").values_list("stage", flat=True).first()


def _see_through(job: Job, stage: int) -> None:
    """Carry steps of the stage out until it is over: those that others have in hand are waited for."""
    todo = UnificationStep.objects.filter(job=job, done_at=None)
    while todo.filter(stage=stage).exists():
        job.report(job.total - todo.count())
        if not carry_out(job.pk):
            time.sleep(LOOKS_EVERY)


@transaction.atomic
def _end(job: Job) -> Unified:
    done = UnificationStep.objects.filter(job=job).order_by().values("kind").annotate(n=Sum("changed"))
    changed = {row["kind"]: row["n"] for row in done}
    kind = UnificationStep.Kind
    found = Unified(
        job.arguments["records"],
        changed.get(kind.MERGE, 0),
        changed.get(kind.QUEUE, 0),
        job.arguments["separated"],
    )
    UnificationStep.objects.filter(job=job).delete()
    job.finish(**asdict(found))
    return found


def _reasons(pairs: Sequence[Sequence[int]]) -> tuple[Reasons, list[tuple[int, int]]]:
    """What tells why for these pairs of records, and the pairs as places, but for those of a record that is gone."""
    wanted = sorted({record_id for pair in pairs for record_id in pair})
    records = neighbours.read("r.id = ANY(%s)", [wanted])
    known = neighbours.known()
    reasons = Reasons(records, known, known.model_for(records.table), known.counts_for(records.table))
    places = records.places
    return reasons, [(places[left], places[right]) for left, right in pairs if {left, right} <= places.keys()]


def _index(told: dict) -> int:
    neighbours.index(told["records"], told["rules"])
    return len(told["records"])


def _merge(told: list[list[int]]) -> int:
    reasons, _pairs = _reasons([pair for _winner, _loser, *pair in told])
    places = reasons.records.places
    some = [
        Tie(winner, loser, places[left], places[right])
        for winner, loser, left, right in told
        if {left, right} <= places.keys()
    ]
    return recognition.merge(some, reasons)


def _queue(told: list[list[int]]) -> int:
    reasons, pairs = _reasons(told)
    return recognition.queue(pairs, reasons)


def _regroup(told: list[list[int]]) -> int:
    found: dict[tuple[int, int], households.Pair] = {}
    for some in _slices(told, PAIRS_AT_ONCE):
        reasons, pairs = _reasons(some)
        of = reasons.records.profiles
        people = {}
        for left, right in pairs:
            one, other = sorted((of[left], of[right]))
            if one != other and (one, other) not in found:
                people.setdefault((one, other), (left, right))
        for (one, other), match in zip(people, reasons.of(list(people.values())), strict=True):
            found[one, other] = households.Pair(one, other, match.weight, tuple(map(dict, match.evidence)))
    regrouped = households.regroup(found.values())
    return regrouped.joined + regrouped.left if regrouped else 0


def _note_matched(told: list[int]) -> int:
    first, last = told
    of_slice = SourceRecord.objects.filter(pk__gte=first, pk__lte=last, matched_at=None)
    return of_slice.update(matched_at=timezone.now())


_DO: dict[UnificationStep.Kind, Callable[..., int]] = {
    UnificationStep.Kind.INDEX: _index,
    UnificationStep.Kind.MERGE: _merge,
    UnificationStep.Kind.QUEUE: _queue,
    UnificationStep.Kind.HOUSEHOLDS: _regroup,
    UnificationStep.Kind.MATCHED: _note_matched,
}


# --- What the comparison comes to -----------------------------------------------------------------------------------


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
    """Take back the merges of which nothing holds any more: what they moved shares no cluster with what it came to.

    Each is a transaction; a batch that is begun again finds those that are done."""
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
            separating.unmerge(deed, binding=False)
        except separating.CannotSeparate:
            continue  # a person has merged the survivor since: that binds
        members[deed.winner_id], members[deed.loser_id] = there, came
        for place in came:
            records.profiles[place] = deed.loser_id
        separated += 1
    return separated


def _remember(records: Records, found: Resolution) -> tuple[list[str] | None, list[int]]:
    """Keep the model as the brand's newest; the blocking rules that it found worth their place, and the records that
    are to be indexed under them. A brand too small to teach anything keeps no model, and indexes under all rules."""
    if found.model.version == START:
        return None, neighbours.bare(records.ids)
    table, labels = records.table, found.labels
    left, right = found.pairs.left, found.pairs.right
    inside = labels[left] == labels[right]
    rules = sorted(yielding_rules(table, left[inside], right[inside], neighbours.LARGEST_BLOCK))
    last = MatchingModel.objects.first()
    MatchingModel.objects.create(
        version=last.version + 1 if last else 1, records=len(records.ids), weights=found.model.to_json(),
        automatic=found.automatic_threshold, rules=rules, counts=_counts(table),
        figures={
            "candidates": found.candidates, "expected_error": found.expected_error, "seconds": dict(found.seconds),
        },
    )  # fmt: skip
    if last is None or set(last.rules) != set(rules):
        neighbours.clear()
        return rules, records.ids
    return rules, neighbours.bare(records.ids)


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
