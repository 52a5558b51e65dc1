"""Events a second through the intake, in batches of 500: `make` style figures of this machine, nothing is kept.

    python -m cdp.embedded run -- python -m benchmarks.events

The brand is the first one there is (`make demo` makes two); every batch is committed as a call of a site would be, and
all rows of the run are removed at the end.
"""

import json
import os
import random
import time
from datetime import timedelta

BATCH = 500
ONE_IN_SHOWS_A_PERSON = 50
EVENTS_A_DEVICE = 20


def measure(events: int = 20_000, batch: int = BATCH) -> dict:
    """Send `events` page views of many devices, one in fifty an identification, through `record_events`.

    The connection stands in a brand's schema. Returns events, batch, seconds, events_per_second, and the slowest and
    median batch in milliseconds.
    """
    from django.utils import timezone

    from profiles.intake import EventStatement, Sender, Shown, record_events
    from profiles.models import Site, Source
    from tenants.scoping import whole_network

    chance = random.Random(20261125)
    begin = timezone.now() - timedelta(days=30)
    with whole_network():
        source, _new = Source.objects.get_or_create(
            code="benchmark", defaults={"name": "Benchmark", "kind": Source.Kind.OTHER}
        )
        site, _new = Site.objects.get_or_create(name="Benchmark", source=source)
    sender = Sender.of_site(site)
    run = f"{time.time_ns():x}"

    def statement(number: int) -> EventStatement:
        device = f"{run}-{chance.randrange(max(events // EVENTS_A_DEVICE, 1))}"
        at = begin + timedelta(seconds=number)
        if number % ONE_IN_SHOWS_A_PERSON == 0:
            shown = Shown("email", f"visitor-{chance.randrange(events)}@bench.example")
            return EventStatement(f"{run}-{number}", "customer_logged_in", at, device, shown=shown)
        properties = {
            "url": f"https://shop.example/{chance.randrange(500)}",
            "title": "A page",
            "referrer": "",
        }
        return EventStatement(f"{run}-{number}", "page_viewed", at, device, properties=properties)

    batches = [
        [statement(number) for number in range(start, min(start + batch, events))]
        for start in range(0, events, batch)
    ]
    taken = []
    for told in batches:
        started = time.perf_counter()
        answers = record_events(sender, told)
        taken.append(time.perf_counter() - started)
        assert all(answer.verdict == "accepted" for answer in answers)
    seconds = sum(taken)
    return {
        "events": events,
        "batch": batch,
        "seconds": round(seconds, 3),
        "events_per_second": round(events / seconds),
        "median_batch_ms": round(1000 * sorted(taken)[len(taken) // 2], 1),
        "slowest_batch_ms": round(1000 * max(taken), 1),
    }


def forget() -> None:
    """Remove what `measure` wrote."""
    from profiles.models import (
        BlockingKey,
        Device,
        Event,
        EventTally,
        Identifier,
        Profile,
        ProfileFacts,
        ProfileStore,
        Site,
        Source,
        SourceRecord,
    )
    from tenants.scoping import whole_network

    with whole_network():
        source = Source.objects.filter(code="benchmark").first()
        if source is None:
            return
        Event.objects.filter(source=source, proof__isnull=False).delete()
        Event.objects.filter(source=source).delete()
        Device.objects.filter(source=source).delete()
        EventTally.objects.filter(source=source).delete()
        Site.objects.filter(source=source).delete()
        records = SourceRecord.objects.filter(source=source)
        people = list(records.values_list("profile", flat=True))
        for model in (Identifier, BlockingKey):
            model.objects.filter(record__in=records).delete()
        records.delete()
        for model in (ProfileFacts, ProfileStore):
            model.objects.filter(profile__in=people).delete()
        Profile.objects.filter(pk__in=people).delete()
        source.delete()


def main() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    django.setup()
    from django_tenants.utils import tenant_context

    from tenants.models import Brand

    brand = Brand.objects.exclude(schema_name="public").order_by("pk").first()
    if brand is None:
        raise SystemExit("no brand to measure in: run `make demo` first")
    with tenant_context(brand):
        try:
            print(json.dumps(measure()))
        finally:
            forget()


if __name__ == "__main__":
    main()
