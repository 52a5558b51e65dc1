"""What workers do for people's data."""

from celery import shared_task
from django.db import transaction

from profiles import resolution, survivorship
from profiles.imports import run
from profiles.intake import event_retention, events
from profiles.models import ImportRun, Profile, QuarantinedEvent, SourceRecord
from tenants.scoping import whole_network


@shared_task
def import_file(import_run_id: int) -> None:
    """Carry on an import from where it stands; delivered twice, the second delivery finds nothing to do."""
    with whole_network():
        import_run = ImportRun.objects.select_related("job", "source").get(pk=import_run_id)
        try:
            run.run(import_run, run.kept(import_run.file_hash))
        except run.TakenOver:
            return


@shared_task
def match_new_records(chunk: int = 2000) -> dict:
    """Match the records that nobody has compared yet, in chunks; returns the sums over them all."""
    done = {"records": 0, "merged": 0, "queued": 0}
    with whole_network():
        waiting = SourceRecord.objects.filter(matched_at=None).order_by("pk")
        while ids := list(waiting.values_list("pk", flat=True)[:chunk]):
            matched = resolution.match_records(ids)
            for name in done:
                done[name] += getattr(matched, name)
    return done


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
def roll_up_events() -> dict:
    """Count and remove the anonymous events whose retention has ended; run twice, the second finds nothing to do."""
    return event_retention.roll_up()


@shared_task
def release_events() -> dict:
    """Try again the events that wait for a customer number: their source may have told us of the customer since."""
    released, left = events.release(reason=QuarantinedEvent.Reason.UNKNOWN_CUSTOMER)
    return {"released": released, "left": left}
