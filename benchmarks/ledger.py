"""The ledger in figures: posting beside a bare function that writes the same rows, the proof of a large ledger, and
tickets replayed under drafts of the rules (`benchmarks/simulate.py`).

    make bench-ledger                       a million postings
    make bench-ledger ARGS=100000           fewer

Prints what it found and, as the last line, one line of JSON.
"""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

from benchmarks import simulate

BRAND = "benchledger"
ROUNDS, SECONDS = 6, 3
TICKETS_EACH = 10
LIMITS = {"post_vs_bare": (0.85, "at least"), "verify_postings_s": (60, "at most")}
FACT = {
    "key": "@", "kind": "adjust", "profile": 0, "store": 0, "occurred_at": "2026-11-25T10:00:00+01:00",
    "explanation": [{"why": "bench"}], "postings": [{"account": 0, "points": -62}, {"account": 1, "points": 62}],
    "lots": [
        {
            "account": 1, "store": 0, "points": 62, "used": 0, "available_on": "2026-11-25",
            "expires_on": "2027-11-25", "idle_months": None,
        }
    ],
    "uses": [], "moves": [], "extensions": [],
}  # fmt: skip


def posting() -> tuple[list[float], list[float]]:
    """Rates of the bare function and of `ledger_post`, in turns, with 8 clients and members apart."""
    from django.db import connection, transaction

    from benchmarks.pgbench import rate
    from loyalty import ledger
    from loyalty.models import Account
    from profiles.models import Profile
    from tenants.brand_sql import statements
    from tenants.network.models import Store
    from tenants.scoping import whole_network

    with whole_network(), transaction.atomic():
        people = [Profile.objects.create(first_name=f"P{n}").pk for n in range(1000)]
        accounts = ledger.accounts_of(people)
        store = Store.objects.first()
        issued = ledger.store_accounts(Account.Kind.ISSUED, [store.pk])[store.pk]
    with connection.cursor() as cursor:
        for statement in statements(Path(__file__).with_name("bare.sql")):
            cursor.execute(statement)
        cursor.execute("ANALYZE")
    # Accounts are opened three a person, in the order of the people: of the number n, the account is first + 3 n.
    first = accounts[people[0]].available_id
    assert all(accounts[person].available_id == first + 3 * n for n, person in enumerate(people))
    told = json.dumps([FACT | {"store": store.pk}])
    told = told.replace('"store": 0', f'"store": {store.pk}').replace('"account": 0', f'"account": {issued}')
    told = told.replace('"profile": 0', '"profile": #').replace('"account": 1', '"account": ~')
    choose = f"\\set n random(0, {len(people) - 1})\n"
    ours = (
        f"{choose}SELECT * FROM ledger_post(replace(replace(replace('{told}',"
        f" '@', 'ours:' || nextval('bench_receipt')),"
        f" '#', ({people[0]} + :n)::text), '~', ({first} + 3 * :n)::text)::jsonb);\n"
    )
    bare = f"{choose}SELECT bench_post({people[0]} + :n, {store.pk}, {issued});\n"
    rates: tuple[list[float], list[float]] = [], []
    for script in (bare, ours):
        rate(script, BRAND, 8, 1)
    for _turn in range(ROUNDS):
        for script, found in ((bare, rates[0]), (ours, rates[1])):
            found.append(rate(script, BRAND, 8, SECONDS))
    return rates


def write_history(postings: int) -> None:
    """A ledger of that many postings, ten tickets a member."""
    from django.db import connection, transaction

    from loyalty import ledger, members
    from loyalty.models import Account
    from profiles.models import Profile
    from tenants.brand_sql import statements
    from tenants.network.models import Store, Till
    from tenants.scoping import whole_network

    with whole_network():
        store = Store.objects.first()
        till = Till(store=store, code="H1")
        till.issue_key()
        already = Profile.objects.count()
        wanted = max(1, postings // (2 * TICKETS_EACH) - already)
        Profile.objects.bulk_create([Profile(first_name=f"H{n}") for n in range(wanted)], batch_size=5000)
        issued = ledger.store_accounts(Account.Kind.ISSUED, [store.pk])[store.pk]
        people = list(Profile.objects.order_by("pk").values_list("pk", flat=True))
        for start in range(0, len(people), 5000):
            with transaction.atomic():
                ledger.accounts_of(people[start : start + 5000])
        parts = statements(Path(__file__).with_name("history.sql"))
        for turn in range(TICKETS_EACH):
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL session_replication_role = replica")
                for part in parts:
                    told = {"round": turn, "store": store.pk, "till": till.pk, "issued": issued}
                    cursor.execute(part, {name: told[name] for name in told if f"%({name})s" in part} or None)
        for start in range(0, len(people), 5000):
            members.refresh(people[start : start + 5000])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def measure(postings: int) -> dict:
    from django.db import connection

    from benchmarks.brand import scratch_brand
    from loyalty import starter
    from loyalty.models import Posting
    from tenants.scoping import whole_network

    with scratch_brand(BRAND, stores=1):
        starter.open_programme("Europe/Paris", points_from=date(2026, 1, 1))
        bare, ours = posting()
        print(
            f"posting, 8 clients: bare function {sum(bare) / ROUNDS:,.0f} a second,"
            f" ledger_post {sum(ours) / ROUNDS:,.0f}"
        )
        begin = time.perf_counter()
        write_history(postings)
        with whole_network():
            found = Posting.objects.count()
        print(f"{found:,} postings written in {time.perf_counter() - begin:.0f} s", flush=True)
        connection.close()
        begin = time.perf_counter()
        proof = subprocess.run(
            [sys.executable, "manage.py", "verify_ledger", "--brand", BRAND],
            check=False,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - begin
        print(proof.stdout)
        if proof.returncode:
            raise RuntimeError(proof.stdout[-2000:] + proof.stderr[-2000:])
    return {
        "post_vs_bare": round(sum(ours) / sum(bare), 3),
        "verify_postings_s": round(seconds * 1_000_000 / found, 1),
    }


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate_schemas", shared=True, verbosity=0)
    print(f"{datetime.now(UTC):%Y-%m-%d}")
    figures = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
    figures["simulate_tickets_s"] = simulate.measure()["simulate_tickets_s"]
    for name, (limit, which) in LIMITS.items():
        holds = figures[name] >= limit if which == "at least" else figures[name] <= limit
        print(f"{'reached' if holds else 'MISSED ':8} {name} = {figures[name]}, {which} {limit}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
