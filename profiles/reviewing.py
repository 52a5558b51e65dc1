"""The queue of possible duplicates as a person works through it: what comes first, what is put off, many at once.

Sorted by what is at stake: how likely the two are one person, times what both have spent. A bulk decision is a job: it
merges the pairs that were counted and shown, one transaction each, and is undone as a whole for as long as a single
decision is (`resolution.UNDO_WITHIN`).
"""

from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import (
    Count,
    Exists,
    ExpressionWrapper,
    F,
    FloatField,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
)
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from profiles import merging, resolution, separating
from profiles.models import MatchCandidate, Merge, ProfileFacts, Purchase, Skip
from tenants.locks import alone
from tenants.network.models import Job, Staff, audit
from tenants.scoping import current_scope

MERGE_KIND, UNDO_KIND = "bulk-merge", "bulk-undo"
MOST_AT_ONCE = 5000
SAMPLE = 20
LEAST_LIKELY = 0.5
SAME = {"": (), "email": ("email",), "card": ("card",), "either": ("email", "card")}
LOOKED_BACK = timedelta(days=90)
REPORT_EVERY = 20


class BadChoice(ValueError):
    """The pairs for a bulk decision are chosen so that they cannot be merged at once."""


class CannotUndo(ValueError):
    """This bulk decision cannot be undone: too old, not over, undone before."""


# --- One after the other --------------------------------------------------------------------------------------------


def valued(queryset: QuerySet[MatchCandidate]) -> QuerySet[MatchCandidate]:
    """With `value`, what both have spent in cents, as far as who asks may know, and `worth`: likelihood times value."""
    value = _spent("left") + _spent("right")
    worth = F("probability") * (1.0 + F("value") / 100.0)
    return queryset.annotate(value=value).annotate(worth=ExpressionWrapper(worth, FloatField()))


def _spent(side: str):
    if current_scope().is_whole_network:
        facts = ProfileFacts.objects.filter(pk=OuterRef(side)).values("spend_cents")
        return Coalesce(Subquery(facts[:1]), 0, output_field=FloatField())
    bought = Purchase.objects.filter(profile=OuterRef(side)).order_by().values("profile")
    sums = bought.annotate(cents=Sum("total_cents")).values("cents")
    return Coalesce(Subquery(sums[:1]), 0, output_field=FloatField())


def queue_of(staff: Staff) -> QuerySet[MatchCandidate]:
    """What waits for a decision, what is most at stake first, what this person put off last."""
    put_off = Skip.objects.filter(candidate=OuterRef("pk"), by=staff.pk).values("at")
    waiting = valued(MatchCandidate.objects.filter(status=MatchCandidate.Status.OPEN))
    waiting = waiting.annotate(put_off=Subquery(put_off[:1]))
    return waiting.order_by(F("put_off").asc(nulls_first=True), "-worth", "pk")


def after(candidate: MatchCandidate, queue: QuerySet[MatchCandidate]) -> MatchCandidate | None:
    """The next pair of the queue, or its first one after the last; `None` where no other waits."""
    others = queue.exclude(pk=candidate.pk)
    here = _place(candidate, queue)
    return others.filter(_beyond(*here)).first() or others.first()


def before(candidate: MatchCandidate, queue: QuerySet[MatchCandidate]) -> MatchCandidate | None:
    """The pair of the queue before this one, or `None` at its head."""
    earlier = queue.exclude(pk=candidate.pk).exclude(_beyond(*_place(candidate, queue)))
    return earlier.reverse().first()


def _place(candidate: MatchCandidate, queue: QuerySet[MatchCandidate]) -> tuple:
    """Where the pair stands, also one that has been decided: (put off, worth, id)."""
    row = (
        queue.filter(pk=candidate.pk).first()
        or valued(MatchCandidate.objects.filter(pk=candidate.pk)).first()
    )
    return getattr(row, "put_off", None), row.worth if row else 0.0, candidate.pk


def _beyond(put_off, worth, pk) -> Q:
    later = Q(worth__lt=worth) | Q(worth=worth, pk__gt=pk)
    if put_off is None:
        return Q(put_off__isnull=False) | (Q(put_off__isnull=True) & later)
    return Q(put_off__isnull=False) & (Q(put_off__gt=put_off) | (Q(put_off=put_off) & later))


def skip(candidate: MatchCandidate, by: Staff) -> None:
    """Put a question off: it stays open, and comes last for this person."""
    Skip.objects.update_or_create(candidate=candidate, by=by, defaults={"at": timezone.now()})


@dataclass(frozen=True)
class Agreement:
    """Of a person's decisions of the last 90 days, one by one: how many, and how many went as the likelihood said."""

    decided: int
    agreed: int

    @property
    def percent(self) -> int:
        return round(100 * self.agreed / self.decided) if self.decided else 0


def agreement(by: Staff) -> Agreement:
    """How often this person decides as the computed likelihood would: 50 % or more for a merge, less against."""
    at_once = Merge.objects.filter(winner=OuterRef("left"), loser=OuterRef("right"), job__isnull=False)
    decided = MatchCandidate.objects.filter(decided_by=by, decided_at__gte=timezone.now() - LOOKED_BACK)
    decided = decided.exclude(Exists(at_once)).exclude(status=MatchCandidate.Status.OPEN)
    merged = Q(status=MatchCandidate.Status.MERGED, probability__gte=0.5)
    apart = Q(status=MatchCandidate.Status.NEVER, probability__lt=0.5)
    return Agreement(decided.count(), decided.filter(merged | apart).count())


# --- Many at once ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """Which pairs: at least this likely, and, if named, with the same e-mail, card, or either."""

    least: float
    same: str = ""


def choice_of(percent: str, same: str) -> Choice:
    """Read what was typed, the likelihood in percent. Raises `BadChoice`."""
    try:
        least = float(percent.replace(",", ".").strip()) / 100
    except ValueError:
        raise BadChoice(_("«%s» is no percentage") % percent.strip()[:20]) from None
    if not LEAST_LIKELY <= least <= 1:
        raise BadChoice(_("a likelihood from %s to 100 %% is needed") % round(100 * LEAST_LIKELY))
    if same not in SAME:
        raise BadChoice(_("«%s» is nothing that two records can share here") % same[:20])
    return Choice(least, same)


def chosen(choice: Choice) -> QuerySet[MatchCandidate]:
    """The open pairs that a bulk decision would merge, inside the scope in force, the least likely first."""
    pairs = MatchCandidate.objects.filter(
        status=MatchCandidate.Status.OPEN, probability__gte=choice.least
    ).order_by("probability", "pk")
    if fields := SAME[choice.same]:
        shared = Q()
        for name in fields:
            shared |= Q(evidence__contains=[{"field": name, "level": "exact"}])
        pairs = pairs.filter(shared)
    return pairs


@dataclass(frozen=True)
class Shown:
    """What somebody was shown of pairs: how many they were, and the id of the newest."""

    count: int
    newest: int

    @classmethod
    def of(cls, pairs: QuerySet[MatchCandidate]) -> "Shown":
        return cls(**pairs.order_by().aggregate(count=Count("pk"), newest=Coalesce(Max("pk"), 0)))

    @classmethod
    def read(cls, told: str) -> "Shown | None":
        """From `str` of it; None where it is nothing of the kind."""
        count, _to, newest = told.partition("-")
        return cls(int(count), int(newest)) if count.isdecimal() and newest.isdecimal() else None

    def __str__(self) -> str:
        return f"{self.count}-{self.newest}"


def sample_of(pairs: QuerySet[MatchCandidate]) -> list[MatchCandidate]:
    """Some of the pairs, spread evenly from the least to the most likely: what a person looks at before they decide."""
    ids = list(pairs.values_list("pk", flat=True)[:MOST_AT_ONCE])
    step = max(1, len(ids) // SAMPLE)
    shown = ids[::step][:SAMPLE]
    return list(pairs.filter(pk__in=shown).select_related("left", "right"))


@transaction.atomic
def merge_all(choice: Choice, by: Staff, shown: "Shown | None" = None) -> Job:
    """Have a worker merge all these pairs, as they are now, for this person. Raises `BadChoice`.

    `shown`: what the person was shown of them. Pairs that came since are left out, and more than these are refused.
    """
    if Job.objects.filter(kind__in=[MERGE_KIND, UNDO_KIND]).exclude(state__in=Job.OVER).exists():
        raise BadChoice(_("another bulk decision is under way: wait for it"))
    pairs = chosen(choice)
    if shown:
        pairs = pairs.filter(pk__lte=shown.newest)
    ids = list(pairs.values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
    if shown and len(ids) > shown.count:
        raise BadChoice(_("more pairs are like this than you were shown: look at them again"))
    if not ids:
        raise BadChoice(_("no open pair is like this"))
    if len(ids) > MOST_AT_ONCE:
        raise BadChoice(_("more than %s pairs: choose fewer") % MOST_AT_ONCE)
    title = ngettext("Merge %s pair", "Merge %s pairs", len(ids)) % len(ids)
    job = Job.objects.create(
        kind=MERGE_KIND, title=title, total=len(ids), asked_by=by,
        arguments={"pairs": ids, "least": choice.least, "same": choice.same},
    )  # fmt: skip
    audit(by, "asked for", job, pairs=len(ids), least=choice.least, same=choice.same)
    resume(job)
    return job


def may_be_undone(job: Job) -> bool:
    """Whether this bulk decision is over, of late, and has merges that stand."""
    over = job.kind == MERGE_KIND and job.state in Job.OVER and job.finished_at
    if not over or job.finished_at < timezone.now() - resolution.UNDO_WITHIN:
        return False
    return Merge.objects.filter(job=job, undone_at=None).exists()


@transaction.atomic
def undo_all(done: Job, by: Staff) -> Job:
    """Have a worker take back every merge of a bulk decision. Raises `CannotUndo`."""
    if not may_be_undone(done):
        raise CannotUndo(
            _("only a bulk decision of the last %s days can be undone") % resolution.UNDO_WITHIN.days
        )
    if Job.objects.filter(kind__in=[MERGE_KIND, UNDO_KIND]).exclude(state__in=Job.OVER).exists():
        raise CannotUndo(_("another bulk decision is under way: wait for it"))
    count = Merge.objects.filter(job=done, undone_at=None).count()
    job = Job.objects.create(
        kind=UNDO_KIND,
        title=_("Undo: %s") % done.title[:150],
        total=count,
        asked_by=by,
        arguments={"of": done.pk},
    )
    audit(by, "asked for", job, of=done.pk)
    resume(job)
    return job


def resume(job: Job) -> None:
    """Have a worker carry the job on, once this transaction is committed."""
    from profiles.tasks import carry_out_bulk

    transaction.on_commit(lambda: carry_out_bulk.delay(job.pk), robust=True)


def carry_out(job: Job) -> None:
    """Do what the job says from where it stands; a second worker leaves it to the first."""
    with alone("bulk", job.pk) as is_alone:
        job.refresh_from_db()
        if not is_alone or job.state in Job.OVER:
            return
        try:
            (_merge_pairs if job.kind == MERGE_KIND else _take_back)(job)
        except Exception as error:
            job.fail(str(error) or type(error).__name__)
            raise


def _merge_pairs(job: Job) -> None:
    ids, by = job.arguments["pairs"], job.asked_by
    merged = Merge.objects.filter(job=job).count()
    # Those that a killed worker did are decided, and are passed over like those that somebody else decided.
    job.start(_("Merging"), len(ids), done=merged)
    passed = 0
    for number, pk in enumerate(ids, start=1):
        pair = MatchCandidate.objects.filter(pk=pk, status=MatchCandidate.Status.OPEN).first()
        try:
            if pair is None:
                raise merging.CannotMerge
            resolution.decide_same(pair, by, job=job)
        except merging.CannotMerge:
            passed += 1
        if number % REPORT_EVERY == 0:
            job.report(number)
            if job.was_called_off():
                job.cancel()
                return
    merged = Merge.objects.filter(job=job).count()
    job.finish(merged=merged, passed=len(ids) - merged)


def _take_back(job: Job) -> None:
    of = Merge.objects.filter(job=job.arguments["of"], undone_at=None)
    total = of.count()
    job.start(_("Separating"), max(job.total, total), done=max(job.total - total, 0))
    kept = 0
    for number, deed in enumerate(of.order_by("-at", "-pk"), start=1):
        try:
            separating.unmerge(deed, job.asked_by, binding=False)
        except separating.CannotSeparate:
            kept += 1
        if number % REPORT_EVERY == 0:
            job.report(job.total - total + number)
    job.finish(separated=job.total - kept, kept=kept)
