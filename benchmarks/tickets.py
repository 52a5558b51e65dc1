"""Tickets a second by batches of 500, as a till sends them that was offline: people, lines, points and the ledger.

python -m cdp.embedded run -- python -m benchmarks.tickets
"""

import json
import os
import random
import time
from datetime import timedelta

BRAND = "benchtickets"
BATCH = 500
CARDS = 3000


def measure(tickets: int = 5000) -> dict:
    """tickets_per_second through the verb behind `POST /api/v1/purchases/batch`; four in five show a card."""
    from django.db import connection
    from django.utils import timezone

    from benchmarks.brand import scratch_brand
    from loyalty import starter, till
    from profiles.intake import Shown, Ticket, TicketLine
    from tenants.network.models import Store, Till

    chance = random.Random(20261125)
    with scratch_brand(BRAND, stores=1):
        now = timezone.now()
        starter.open_programme("Europe/Paris", points_from=(now - timedelta(days=60)).date())
        machine = Till(store=Store.objects.get(), code="T1")
        machine.issue_key()

        def ticket(number: int) -> Ticket:
            lines = [
                TicketLine(
                    sku=f"S{chance.randrange(500)}",
                    amount_cents=chance.randrange(100, 5000),
                    category="GROCERY",
                )
                for _line in range(chance.randrange(1, 9))
            ]
            shown = (
                Shown("card", f"{2_990_000_000_000 + chance.randrange(CARDS)}")
                if chance.random() < 0.8
                else None
            )
            return Ticket(f"R{number}", now - timedelta(minutes=tickets - number), lines, shown=shown)

        sent = [ticket(number) for number in range(tickets)]
        begin = time.perf_counter()
        for start in range(0, tickets, BATCH):
            answers = till.record_purchases(machine, sent[start : start + BATCH])
            assert all(answer.status == 201 for answer in answers)
        seconds = time.perf_counter() - begin
        assert connection.schema_name == BRAND
    return {"tickets": tickets, "batch": BATCH, "tickets_per_second": round(tickets / seconds)}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    import django

    django.setup()
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
