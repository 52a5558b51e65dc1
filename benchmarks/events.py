"""Events a second through the intake, in batches of 500, each committed as a call of a site would be.

python -m cdp.embedded run -- python -m benchmarks.events
"""

import json
import os
import random
import time
from datetime import timedelta

BRAND = "benchevents"
BATCH = 500
ONE_IN_SHOWS_A_PERSON = 50
EVENTS_A_DEVICE = 20


def measure(events: int = 20_000, batch: int = BATCH) -> dict:
    """Send `events` page views of many devices, one in fifty an identification, through `record_events`.

    Returns events, batch, seconds, events_per_second, and the slowest and median batch in milliseconds.
    """
    from benchmarks.brand import scratch_brand

    with scratch_brand(BRAND):
        return _measure(events, batch)


def _measure(events: int, batch: int) -> dict:
    from django.utils import timezone

    from profiles.intake import EventStatement, Sender, Shown, record_events
    from profiles.models import Site, Source

    chance = random.Random(20261125)
    begin = timezone.now() - timedelta(days=30)
    source = Source.objects.create(code="benchmark", name="Benchmark", kind=Source.Kind.OTHER)
    site = Site.objects.create(name="Benchmark", source=source)
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


def main() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    django.setup()
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
