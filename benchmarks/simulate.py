"""Tickets a second that a replay judges twice, by the rules of now and by a draft, written in the job's own steps.

    make bench-simulate                50,000 tickets
    make bench-simulate ARGS=200000    as many as you like

A scratch brand gets invented members and tickets of thirty days in twenty stores, three lines each on the average, and
a programme with a cap of the day, a multiplier for a category, one for a tier, a happy hour and a bonus. Three drafts
are replayed: one of the base rule (every ticket changes), one of the category, and all together. The limit beside it
is what any replay must do at least: read the same tickets and lines from the database. `one_by_one_tickets_s` is the
simulator's own verb, which a page asks. The last line is JSON.
"""

import json
import os
import random
import sys
import time
from datetime import UTC, datetime, timedelta
from datetime import time as clock

BRAND = "benchsimulate"
TICKETS, STORES, TICKETS_A_MEMBER = 50_000, 20, 10
CATEGORIES = ["DAIRY", "WINE", "BREAD", "FRUIT", "MEAT", "GIFTCARD"]
ONE_BY_ONE = 300


def fill(tickets: int) -> None:
    """Members, tickets and lines, as intake leaves them."""
    from loyalty.models import Transaction
    from profiles.models import Profile, Purchase, PurchaseLine
    from tenants.calendar import brand_today
    from tenants.network.models import Store, Till

    chance = random.Random(20261126)
    stores = list(Store.objects.all())
    tills = {}
    for store in stores:
        tills[store.pk] = Till(store=store, code="T1")
        tills[store.pk].issue_key()
    people = Profile.objects.bulk_create(
        [Profile(last_name=f"Member {n}") for n in range(max(1, tickets // TICKETS_A_MEMBER))],
        batch_size=5000,
    )
    today, sold = brand_today(), []
    for number in range(tickets):
        person, store = people[chance.randrange(len(people))], stores[chance.randrange(STORES)]
        day = today - timedelta(days=chance.randrange(1, 31))
        at = datetime.combine(day, clock(chance.randrange(7, 20), chance.randrange(60)), UTC)
        sold.append(
            Purchase(
                store=store, till=tills[store.pk], business_day=day, receipt_id=f"R{number}", bought_at=at,
                profile=person, total_cents=0,
            )
        )  # fmt: skip
    Purchase.objects.bulk_create(sold, batch_size=5000)
    lines = [
        PurchaseLine(
            purchase=bought, number=place, sku=f"S{chance.randrange(3000)}", category=chance.choice(CATEGORIES),
            amount_cents=chance.randrange(100, 4000), store=bought.store, profile=bought.profile,
            business_day=bought.business_day,
        )
        for bought in sold
        for place in range(1, chance.randrange(1, 6) + 1)
    ]  # fmt: skip
    PurchaseLine.objects.bulk_create(lines, batch_size=5000)
    # What makes the tiers: one earning of the year before for each member.
    now = datetime.now(UTC)
    Transaction.objects.bulk_create(
        [
            Transaction(
                key=f"bench:{person.pk}", kind="earn", profile=person, store=stores[0],
                occurred_at=now - timedelta(days=60), posted_at=now, qualifying_points=chance.randrange(2000),
            )
            for person in people
        ],
        batch_size=5000,
    )  # fmt: skip


def programme() -> dict:
    """The rules, and drafts of two of them."""
    from django.utils import timezone

    from loyalty import drafts, rulebook
    from loyalty.models import Programme, Rule, Tier
    from tenants.network.models import Staff
    from tenants.roles import Role

    Programme.objects.create(name="Club", reward_points=100, reward_cents=500)
    Tier.objects.create(code="silver", name="Silver", threshold=500)
    Tier.objects.create(code="gold", name="Gold", threshold=1500)
    by = Staff.objects.create_user("bench@bench.example", full_name="Bench", role=Role.MARKETER)
    start = timezone.now() - timedelta(days=365)
    base_terms = {
        "points": 1,
        "per_cents": 100,
        "rounding": "ticket",
        "cap_per_day": 600,
        "expiry_months": 12,
    }
    rules = [
        ("base", "base", 10, {"except_categories": ["GIFTCARD"]}, base_terms),
        ("dairy", "multiplier", 20, {"categories": ["DAIRY"]}, {"factor": "2"}),
        ("gold", "multiplier", 25, {"tiers": ["gold"]}, {"factor": "1.5"}),
        ("evening", "multiplier", 30, {"hours": ["18:00", "20:00"]}, {"factor": "2"}),
        ("basket", "bonus", 40, {"min_total_cents": 10000}, {"points": 50}),
    ]
    made = {}
    for code, kind, priority, when, then in rules:
        made[code] = Rule.objects.create(code=code, name=code, kind=kind, priority=priority)
        rulebook.publish(made[code], when, then, effective_from=start)
    more = base_terms | {"points": 2}
    return {
        "by": by,
        "base": drafts.save(made["base"], {"except_categories": ["GIFTCARD"]}, more, by=by),
        "dairy": drafts.save(made["dairy"], {"categories": ["DAIRY", "WINE"]}, {"factor": "3"}, by=by),
    }


def read_alone() -> float:
    """Seconds to read every ticket and every line that a replay looks at, with nothing done about them."""
    from loyalty import replay
    from profiles.models import Purchase, PurchaseLine

    begin, last = time.perf_counter(), 0
    while True:
        some = list(
            Purchase.objects.filter(profile__isnull=False, pk__gt=last)
            .order_by("pk")
            .values_list("pk", "profile", "store", "bought_at", "business_day")[: replay.TICKETS_AT_ONCE]
        )
        if not some:
            return time.perf_counter() - begin
        last = some[-1][0]
        lines = PurchaseLine.objects.filter(purchase__in=[row[0] for row in some]).order_by(
            "purchase", "number"
        )
        list(lines.values_list("purchase", "sku", "category", "amount_cents"))


def measure(tickets: int = TICKETS) -> dict:
    from django.db import connection

    from benchmarks.brand import scratch_brand
    from loyalty import replay, simulation
    from profiles.models import Purchase, PurchaseLine

    with scratch_brand(BRAND, stores=STORES):
        told = programme()
        fill(tickets)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        read_alone()
        seconds = {"read": read_alone()}
        changed = {}
        for name, asked in (("base", ["base"]), ("category", ["dairy"]), ("all", ["base", "dairy"])):
            made = replay.ask([told[code] for code in asked], by=told["by"])
            begin = time.perf_counter()
            replay.carry_out(made.pk)
            seconds[name] = time.perf_counter() - begin
            made.refresh_from_db()
            assert made.figures["tickets"] == tickets
            changed[name] = made.figures["after"] - made.figures["before"]
        some = list(Purchase.objects.select_related("store")[:ONE_BY_ONE])
        begin = time.perf_counter()
        for bought in some:
            simulation.simulate(simulation.basket_of(bought))
        one_by_one = len(some) / (time.perf_counter() - begin)
        count = PurchaseLine.objects.count()
    rate = {name: round(tickets / taken) for name, taken in seconds.items()}
    print(f"{'':12}{'tickets/s':>12}{'points more':>14}")
    for name in ("base", "category", "all"):
        print(f"{name:12}{rate[name]:>12,}{changed[name]:>14,}")
    print(f"{'read alone':12}{rate['read']:>12,}")
    return {
        "tickets": tickets, "lines": count, "simulate_tickets_s": rate["all"], "base_tickets_s": rate["base"],
        "category_tickets_s": rate["category"], "read_tickets_s": rate["read"],
        "ratio": round(rate["all"] / rate["read"], 3), "one_by_one_tickets_s": round(one_by_one),
        "times_one_by_one": round(rate["all"] / one_by_one, 1),
    }  # fmt: skip


def main(tickets: str = str(TICKETS)) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate_schemas", shared=True, verbosity=0)
    print(json.dumps(measure(int(tickets))))


if __name__ == "__main__":
    main(*sys.argv[1:])
