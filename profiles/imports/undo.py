"""An import undone, as if the file had never come: its records, what they told, and the people nobody else speaks of.

Merges made since that touch its people are taken back first, so that points return to whom they belong; matching looks
at the others again. Who bought something meanwhile stays, as somebody who is known by what was shown at the till.
Works in chunks, each a transaction: what was killed half-way goes on with the records that are left.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles import facts, intake, separating, survivorship
from profiles.imports.files import forget, left_lying
from profiles.imports.report import numbers
from profiles.imports.run import JOB_KIND, NotNow, State, TakenOver, discard
from profiles.imports.staging import Stage
from profiles.models import (
    ConsentChange,
    HouseholdMember,
    HouseholdWord,
    Identifier,
    ImportRun,
    MatchCandidate,
    Merge,
    Profile,
    ProfileFacts,
    ProfileStore,
    Purchase,
    SourceRecord,
    TicketMove,
)
from profiles.signals import profiles_untold
from tenants.locks import alone
from tenants.network.models import Job, Staff, audit
from tenants.scoping import whole_network

WITHIN = timedelta(days=7)
# An uploaded file of which nothing came is not waited for longer.
UPLOAD_LEFT = timedelta(days=2)
JUST_PUT = timedelta(days=1)
# Nor a check that nobody says a word about.
CHECK_LEFT = timedelta(days=30)
CHUNK = 500
# Rows that live and die with their profile; whatever else refers to one keeps it.
ITS_OWN = (ProfileStore, ProfileFacts, MatchCandidate, Merge, HouseholdMember, HouseholdWord)


def is_open(import_run: ImportRun) -> bool:
    """Whether the import can (still) be undone, as far as it alone is concerned (`stands_before`)."""
    over = import_run.state in (State.DONE, State.CANCELLED) and import_run.finished_at
    return bool(over and import_run.received and timezone.now() - import_run.finished_at <= WITHIN)


def stands_before(import_run: ImportRun) -> ImportRun | None:
    """The import that has to be undone first: a later one of the source, which found rows of this one known already and
    kept no record of its own for them."""
    later = ImportRun.objects.filter(source=import_run.source_id, pk__gt=import_run.pk, unchanged__gt=0)
    return later.exclude(state__in=[State.UNDONE, State.CHECKING, State.CHECKED]).order_by("-pk").first()


def preview(import_run: ImportRun) -> dict[str, int]:
    """What an undoing would come to: records and consents that go, people whom nobody else speaks of and who go with
    them, those of them who stay because they bought something (with their tickets), and merges taken back."""
    told = SourceRecord.objects.filter(import_run=import_run)
    others = SourceRecord.objects.exclude(import_run=import_run).values("profile")
    people = Profile.objects.filter(pk__in=told.values("profile"))
    alone_told = people.exclude(pk__in=others)
    bought = Purchase.objects.filter(profile__in=alone_told.values("pk"))
    buyers = bought.values("profile").distinct().count()
    return {
        "records": told.count(),
        "consents": import_run.consent_changes.count(),
        "people": people.count(),
        "gone": alone_told.count() - buyers,
        "buyers": buyers,
        "tickets": bought.count(),
        "merges": numbers(import_run)["merged"],
    }


def undo(import_run: ImportRun, by: Staff | None) -> None:
    """Have a worker undo the import, once this transaction is committed. Raises `NotNow`."""
    with whole_network(), transaction.atomic():
        locked = (
            ImportRun.objects.select_for_update(of=("self",)).select_related("source").get(pk=import_run.pk)
        )
        if not is_open(locked):
            raise NotNow(_("only an import of the last %s days can be undone") % WITHIN.days)
        if later := stands_before(locked):
            raise NotNow(_("undo «%s» first: it says rows of this file again") % later.file_name)
        locked.state = State.UNDOING
        locked.job = Job.objects.create(
            kind=JOB_KIND,
            title=_("Undo %s") % locked.file_name[:150],
            total=locked.records.count(),
            arguments={"import_run": locked.pk},
            asked_by=by,
        )
        locked.save(update_fields=["state", "job"])
        audit(by or "system", "undid", locked, file=locked.file_name)
    resume(locked)


def resume(import_run: ImportRun) -> None:
    """Have a worker carry on the undoing, once this transaction is committed."""
    from profiles.tasks import undo_import

    transaction.on_commit(lambda: undo_import.delay(import_run.pk), robust=True)


def run(import_run: ImportRun, report: Callable[[int, int], None] | None = None) -> ImportRun:
    """Take the import's records away again, as many as are left."""
    with whole_network(), alone("import", import_run.pk) as is_alone:
        if not is_alone:
            raise TakenOver(f"import {import_run.pk} is undone by another worker")
        job, total = import_run.job, import_run.job.total
        job.start(_("Undoing"), total, done=total - import_run.records.count())
        while _undo_chunk(import_run):
            done = total - import_run.records.count()
            job.report(done, total)
            if report:
                report(done, total)
        with transaction.atomic():
            Stage(import_run).drop()
            import_run.rejects.all().delete()
            import_run.state, import_run.undone_at = State.UNDONE, timezone.now()
            import_run.save(update_fields=["state", "undone_at"])
            job.finish()
        others = ImportRun.objects.filter(file_hash=import_run.file_hash).exclude(state=State.UNDONE)
        # Nor where somebody has uploaded the same file anew since.
        if not others.exists() and import_run.file_hash in left_lying(timezone.now() - job.created_at):
            forget(import_run.file_hash)
    return import_run


def forget_files() -> int:
    """Remove the files that nothing can be done with any more: how many. What is kept of people is in their records."""
    with whole_network():
        stale = ImportRun.objects.filter(
            state=State.CHECKED, received=0, started_at__lt=timezone.now() - CHECK_LEFT
        )
        for nobody_s in stale:
            discard(nobody_s)
        over = Q(state=State.UNDONE) | Q(finished_at__lt=timezone.now() - WITHIN)
        needed = set(ImportRun.objects.exclude(over).values_list("file_hash", flat=True))
        ended = ImportRun.objects.filter(over).exclude(file_hash__in=needed)
        for left_behind in ended.filter(state=State.CANCELLED):
            Stage(left_behind).drop()
        ended_hashes = set(ended.values_list("file_hash", flat=True))
        # Nothing that was put there of late: somebody may be about to import it again.
        return sum(map(forget, (ended_hashes & left_lying(JUST_PUT)) | (left_lying(UPLOAD_LEFT) - needed)))


@transaction.atomic
def _undo_chunk(import_run: ImportRun) -> bool:
    """Some of the people of the import; False where none is left."""
    intake.till_source()  # a source is held before people, here as everywhere
    told = import_run.records.order_by("profile_id").values_list("profile", flat=True)[:CHUNK]
    agreed = import_run.consent_changes.order_by("profile_id").values_list("profile", flat=True)[:CHUNK]
    people = set(Profile.hold({*told, *agreed}))
    if not people:
        return False
    people |= _take_back_merges(people, import_run)
    Profile.hold(people)
    records = SourceRecord.objects.filter(import_run=import_run, profile__in=people)
    ConsentChange.objects.filter(import_run=import_run, profile__in=people).delete()
    records.delete()
    _keep_buyers_known(people)
    gone = _dissolve(people)
    left = people - gone
    survivorship.refresh(left)
    facts.note_stores(left)
    facts.refresh(left)
    return True


def _take_back_merges(people: Iterable[int], import_run: ImportRun) -> set[int]:
    """Separate what was merged since the import among these people; returns all who were touched.

    A merge that a person decided between two who stay is made again.
    """
    touched, deeds = set(people), {}
    while True:
        since = Merge.objects.filter(undone_at=None, at__gte=import_run.started_at)
        found = {
            deed.pk: deed
            for deed in [*since.filter(winner__in=touched), *since.filter(loser__in=touched)]
            if deed.pk not in deeds
        }
        if not found:
            break
        deeds |= found
        touched |= {pk for deed in found.values() for pk in (deed.winner_id, deed.loser_id)}
    for deed in sorted(deeds.values(), key=lambda deed: (deed.at, deed.pk), reverse=True):
        separating.unmerge(deed, binding=False)
    if deeds:
        others = SourceRecord.objects.filter(profile__in=touched).exclude(import_run=import_run)
        others.update(matched_at=None)
        _decide_again(deeds.values(), import_run)
    return touched


def _decide_again(deeds: Iterable[Merge], import_run: ImportRun) -> None:
    for deed in sorted(deeds, key=lambda deed: (deed.at, deed.pk)):
        stays = SourceRecord.objects.exclude(import_run=import_run)
        if deed.ground == Merge.Ground.PERSON and all(
            stays.filter(profile=side).exists() for side in (deed.winner_id, deed.loser_id)
        ):
            separating.make_again(deed)


def _keep_buyers_known(people: Iterable[int]) -> None:
    """What a buyer showed at the till is told by the till again, where only the import had told it."""
    shown = (
        Purchase.objects.filter(profile__in=people).exclude(identified_by="").select_related("till__store")
    )
    # What was shown on a ticket that a person gave to somebody else is not the new owner's.
    shown = shown.exclude(pk__in=TicketMove.objects.filter(undone_at=None).values("purchase"))
    first_shown = shown.order_by("profile_id", "identified_by", "bought_at")
    for purchase in first_shown.distinct("profile_id", "identified_by"):
        kind, _colon, key = purchase.identified_by.partition(":")
        if kind == Identifier.Kind.PASS:
            continue  # a number that was retired is not told again
        if not Identifier.objects.filter(profile=purchase.profile_id, kind=kind, key=key).exists():
            intake.tell_of_buyer(purchase, kind, key)


def _dissolve(people: Iterable[int]) -> set[int]:
    """Delete those of whom nothing is left; returns them."""
    alive = Profile.objects.filter(pk__in=people, merged_into=None)
    untold = set(alive.exclude(pk__in=SourceRecord.objects.values("profile")).values_list("pk", flat=True))
    profiles_untold.send(Profile, profile_ids=untold)
    gone = Profile.objects.filter(pk__in=untold)
    for relation in Profile._meta.get_fields(include_hidden=True):
        if relation.auto_created and not relation.concrete and relation.related_model not in ITS_OWN:
            column = relation.field.name
            others = relation.related_model._base_manager.filter(**{f"{column}__in": untold})
            gone = gone.exclude(pk__in=others.values(column))
    ids = set(gone.values_list("pk", flat=True))
    Merge.objects.filter(Q(winner__in=ids) | Q(loser__in=ids)).delete()
    MatchCandidate.objects.filter(Q(left__in=ids) | Q(right__in=ids)).delete()
    Profile.objects.filter(pk__in=ids).delete()
    return ids
