"""What workers do for people's data."""

import logging
from dataclasses import asdict

from celery import shared_task
from django.conf import settings
from django.db import connection, transaction
from django.utils import translation
from kombu.exceptions import OperationalError

from profiles import blocked, recognition, reviewing, survivorship, unification
from profiles.connectors import polling
from profiles.imports import files, run, undo
from profiles.intake import event_retention, events
from profiles.models import (
    BlockedValue,
    Connection,
    ImportRun,
    Profile,
    QuarantinedEvent,
    SourceRecord,
)
from tenants.locks import alone
from tenants.network.models import Job
from tenants.scoping import whole_network

logger = logging.getLogger(__name__)

# Workers that are asked to help with a batch; those that are busy come later, and find what is left.
CALLED = 8


@shared_task
def import_file(import_run_id: int) -> None:
    """Carry on an import from where it stands; delivered twice, the second delivery finds nothing to do."""
    with whole_network():
        import_run = ImportRun.objects.select_related("job", "source").get(pk=import_run_id)
        try:
            import_run = run.run(import_run, files.kept(import_run.file_hash))
        except run.TakenOver:
            return
        if import_run.state == ImportRun.State.DONE:
            match_new_records.delay()


@shared_task
def undo_import(import_run_id: int) -> None:
    """Undo an import, or what is left of it."""
    with whole_network():
        undoing = ImportRun.objects.filter(pk=import_run_id, state=ImportRun.State.UNDOING)
        import_run = undoing.select_related("job", "source").first()
        if import_run is None:
            return
        try:
            undo.run(import_run)
        except run.TakenOver:
            return
        except Exception as error:
            import_run.job.fail(str(error) or type(error).__name__)
            raise
        match_new_records.delay()


@shared_task
def poll_connections() -> int:
    """Have each watched folder and bucket looked into, each by a task of its own: a host that does not answer keeps no
    other waiting. Returns how many there are."""
    with whole_network():
        ids = list(
            Connection.objects.filter(is_on=True, kind__in=polling.POLLED).values_list("pk", flat=True)
        )
        for pk in ids:
            poll_connection.delay(pk)
    return len(ids)


@shared_task
def poll_connection(connection_id: int) -> None:
    """Look into one folder or bucket; where another look is under way, this one leaves."""
    with whole_network():
        polling.poll(Connection.objects.select_related("source").get(pk=connection_id))


@shared_task
def carry_on_imports() -> int:
    """Ask again for imports that somebody should have in hand: their broker was away, or their worker died. One that a
    worker has in hand is left to it; one that failed waits for a person. Returns how many were asked for."""
    with whole_network():
        moving = ImportRun.objects.filter(
            state__in=ImportRun.MOVING, job__state__in=[Job.State.WAITING, Job.State.RUNNING]
        )
        asked = list(moving.values_list("pk", "state"))
        for pk, state in asked:
            (undo_import if state == ImportRun.State.UNDOING else import_file).delay(pk)
    return len(asked)


@shared_task
def forget_import_files() -> int:
    """At night: remove the files of imports that cannot be undone any more."""
    return undo.forget_files()


@shared_task
def match_new_records(chunk: int = 2000) -> dict:
    """Match the records that nobody has compared yet, in chunks; returns the sums over them all.

    A batch that was begun is carried on first: its worker died. Where another worker is at it, that one comes to the
    newest records too, and this one leaves them to it.
    """
    done = {"records": 0, "merged": 0, "queued": 0}
    with whole_network():
        waiting = SourceRecord.objects.filter(matched_at=None).order_by("pk")
        # Asked again once the lock is given back: who found it held has left its records to this worker.
        while unification.under_way() or waiting.exists():
            with alone("match") as is_alone:
                if not is_alone:
                    break
                if unification.under_way() or unification.wants_batch():
                    found = _unify()
                    for name in done:
                        done[name] += getattr(found, name)
                while ids := list(waiting.values_list("pk", flat=True)[:chunk]):
                    matched = recognition.match_records(ids)
                    for name in done:
                        done[name] += getattr(matched, name)
    return done


@shared_task
def unify_brand() -> dict:
    """Compare the whole brand with itself, by what its records teach now; where matching is under way, another time."""
    with whole_network(), alone("match") as is_alone:
        return asdict(_unify()) if is_alone else {}


def _unify() -> unification.Unified:
    with _speaking_as_the_brand():
        return unification.unify_brand(call=call_workers)


def _speaking_as_the_brand():
    """What a worker writes down for people, such as the step a job is at, is in the brand's language."""
    return translation.override(getattr(connection.tenant, "language", settings.LANGUAGE_CODE))


def call_workers(job_id: int) -> None:
    """Have whoever is free help with the steps of a batch. Without a broker, this worker carries them out alone."""
    try:
        for _worker in range(CALLED):
            carry_out_steps.delay(job_id)
    except OperationalError as error:
        logger.warning("no workers could be called to help with the unification: %s", error)


@shared_task
def carry_out_steps(job_id: int) -> int:
    """Carry out steps of a batch while there are any to be had: how many. Who compared is waiting for the last."""
    carried_out = 0
    while unification.carry_out(job_id):
        carried_out += 1
    return carried_out


@shared_task
def carry_out_bulk(job_id: int) -> None:
    """Merge many pairs at once, or take such a decision back; delivered twice, the second delivery finds nothing."""
    with whole_network(), _speaking_as_the_brand():
        reviewing.carry_out(Job.objects.select_related("asked_by").get(pk=job_id))


@shared_task
def carry_on_bulk() -> int:
    """Ask again for bulk decisions whose worker died, or whose broker was away. Returns how many were asked for."""
    with whole_network():
        kinds = [reviewing.MERGE_KIND, reviewing.UNDO_KIND]
        ids = list(
            Job.objects.filter(kind__in=kinds).exclude(state__in=Job.OVER).values_list("pk", flat=True)
        )
        for pk in ids:
            carry_out_bulk.delay(pk)
    return len(ids)


@shared_task
def recompute_source(source_id: int, chunk: int = 500) -> int:
    """Settle anew which values win for everybody the source speaks of, since its trust changed: how many they are.

    A chunk is one transaction, and settling twice tells the same, so a second delivery does no harm.
    """
    last = settled = 0
    with whole_network():
        told = (
            SourceRecord.objects.filter(source=source_id)
            .order_by("profile")
            .values_list("profile", flat=True)
        )
        while ids := list(told.filter(profile__gt=last).distinct()[:chunk]):
            with transaction.atomic():
                survivorship.refresh(profile.pk for profile in Profile.hold(ids).values())
            last, settled = ids[-1], settled + len(ids)
    return settled


@shared_task
def reapply_blocked(blocked_id: int) -> int:
    """Carry a block, or its end, out on the records stored; a second delivery finds nothing to do."""
    return blocked.reapply(BlockedValue.objects.get(pk=blocked_id))


@shared_task
def block_overused() -> dict:
    """At night: block what too many customers share, carry it out, and count anew who says what is blocked."""
    found = blocked.block_overused()
    # Also what was blocked or lifted by day and not carried out, because a worker died or the broker was away.
    fresh = list(BlockedValue.objects.filter(counted_at=None).exclude(origin=BlockedValue.Origin.BUILT_IN))
    for row in fresh:
        blocked.reapply(row)
    others = BlockedValue.objects.filter(lifted_at=None).exclude(pk__in=[row.pk for row in fresh])
    for row in others:
        blocked.count_people(row)
    return {"blocked": len(found), "counted": len(others)}


@shared_task
def roll_up_events() -> dict:
    """Count and remove the anonymous events whose retention has ended; run twice, the second finds nothing to do."""
    return event_retention.roll_up()


@shared_task
def release_events() -> dict:
    """Try again the events that wait for a customer number: their source may have told us of the customer since."""
    released, left = events.release(reason=QuarantinedEvent.Reason.UNKNOWN_CUSTOMER)
    return {"released": released, "left": left}
