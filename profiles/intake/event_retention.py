"""The end of anonymous events: counted by day, type, source and site, then removed. Events of known people stay."""

from collections import Counter
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from profiles.models import Device, Event, EventCount, EventType, QuarantinedEvent
from profiles.models.events import RETENTION_DAYS
from tenants.calendar import brand_zone
from tenants.scoping import whole_network


def roll_up(chunk: int = 5000) -> dict[str, int]:
    """Roll up everything that is due; returns how many events, quarantined events and devices went.

    A chunk is one transaction: killed in between, what was removed is counted and what stays is not.
    """
    now = timezone.now()
    gone = {"events": 0, "quarantined": 0, "devices": 0}
    with whole_network():
        for event_type in EventType.objects.all():
            before = now - timedelta(days=event_type.retention_days)
            while done := _roll_up_chunk(event_type, before, chunk):
                gone["events"] += done
        # Nobody mended the dictionary for it in all that time, and it may name a person.
        stale = QuarantinedEvent.objects.filter(received_at__lt=now - timedelta(days=RETENTION_DAYS))
        gone["quarantined"] = stale.delete()[0]
        gone["devices"] = _forget_devices(chunk)
    return gone


@transaction.atomic
def _roll_up_chunk(event_type: EventType, before, chunk: int) -> int:
    # Whoever attaches the event to a person right now wins: it is passed over.
    due = Event.objects.select_for_update(skip_locked=True).filter(
        type=event_type, profile=None, at__lt=before
    )
    rows = list(due.order_by("at").values_list("pk", "source", "site", "at")[:chunk])
    if not rows:
        return 0
    zone = brand_zone()
    counted = Counter((source, site, at.astimezone(zone).date()) for _pk, source, site, at in rows)
    for (source, site, day), events in sorted(counted.items(), key=str):
        row, _new = EventCount.objects.get_or_create(type=event_type, source_id=source, site_id=site, day=day)
        EventCount.objects.filter(pk=row.pk).update(events=F("events") + events)
    Event.objects.filter(pk__in=[row[0] for row in rows]).delete()
    return len(rows)


def _forget_devices(chunk: int) -> int:
    """Remove the devices of which no event is left."""
    unused = Device.objects.filter(~Exists(Event.objects.filter(device=OuterRef("pk")))).order_by("pk")
    forgotten = 0
    while True:
        with transaction.atomic():
            # Held, then asked again: an event that came in meanwhile keeps its device.
            free = Device.objects.select_for_update(skip_locked=True, of=("self",))
            ids = list(
                free.filter(pk__in=unused.values_list("pk", flat=True)[:chunk]).values_list("pk", flat=True)
            )
            if not ids:
                return forgotten
            removed = unused.filter(pk__in=ids).values_list("pk", flat=True)
            gone = Device.objects.filter(pk__in=list(removed)).delete()[0]
            forgotten += gone
            if not gone:
                return forgotten
