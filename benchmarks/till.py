"""The till in figures, each beside a limit that is measured in the same run.

    make bench-till                         three rounds
    make bench-till ARGS=1                  one round, for a first look

The server is the one that `make run` starts, with its settings. In each round everything is measured once, one after
the other, so that a machine that is busy for a while is busy for all. Prints a table and, as the last line, one line of
JSON.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

BRAND = "benchtill"
HOST = f"{BRAND}.localhost"
STORES = TILLS = 16
CARDS = 32_000
AT_HOME = 0.85  # so many of the tickets are bought in the store where the member mostly buys
HOT_CARD = 0
BATCH = 500
SECONDS = 2
READY_SECONDS = 120
LIMITS = {
    "earn_ratio": (0.40, "at least"),
    "earn_p99_ms": (30, "at most"),
    "vs_stock_drf": (10, "at least"),
    "hot_member_ratio": (0.5, "at least"),
    "batch_ratio": (6, "at least"),
    "identify_p99_ms": (15, "at most"),
}
CATEGORIES = ("DAIRY", "GROCERY", "GROCERY", "HYGIENE")


def card(number: int) -> str:
    return f"{2_990_000_000_000 + number}"


def baskets(chance: random.Random, number: int = 50) -> list[str]:
    """Lines of tickets, as JSON: what a till sends costs the machine as little as can be while it is measured."""
    return [
        json.dumps(
            [
                {
                    "sku": f"S{chance.randrange(500)}", "label": "Comté 12 mois", "category": category,
                    "quantity": 1, "amount": chance.randrange(500, 2500) / 100,
                }
                for category in CATEGORIES
            ]
        )
        for _basket in range(number)
    ]  # fmt: skip


def ticket(receipt: str, at: datetime, number: int, lines: str) -> str:
    return (
        f'{{"receipt_id": "{receipt}", "bought_at": "{at.isoformat()}", "member": {{"card": "{card(number)}"}},'
        f' "payment": "card", "lines": {lines}}}'
    )


class Tills:
    """What the tills send: an endless row of requests for each."""

    def __init__(self, keys: list[str]):
        self.keys = keys
        self.run = 0

    def new_run(self) -> "Tills":
        self.run += 1
        return self

    def _asked(self, client: int, path: str, body: dict | str) -> bytes:
        from benchmarks.till_clients import request

        told = body if isinstance(body, str) else json.dumps(body)
        return request(path, HOST, self.keys[client % TILLS], told.encode())

    def purchases(self, client: int, path: str = "/api/v1/purchases", hot: bool = False) -> Iterator[bytes]:
        chance = random.Random(f"{self.run}-{client}")
        bought, members = baskets(chance), self._members(chance, client)
        number = 0
        while True:
            number += 1
            who = HOT_CARD if hot else next(members)
            lines = bought[number % len(bought)]
            told = ticket(f"R{self.run}-{client}-{number}", datetime.now(UTC), who, lines)
            yield self._asked(client, path, told)

    def _members(self, chance: random.Random, client: int) -> Iterator[int]:
        """Cards, mostly of people at home in the client's store, one after the other: nobody buys there four times in
        the hour that this takes. Never the hot one."""
        at_home = CARDS // TILLS - 1
        # Runs go on among the cards where others, with as many tickets, have not been.
        turn = 331 * self.run
        while True:
            turn += 1
            yield (
                TILLS * (1 + turn % at_home) + client % TILLS
                if chance.random() < AT_HOME
                else 1 + chance.randrange(CARDS - 1)
            )

    def hot(self, client: int) -> Iterator[bytes]:
        return self.purchases(client, hot=True)

    def stock(self, client: int) -> Iterator[bytes]:
        return self.purchases(client, path="/stock/purchases")

    def identifications(self, client: int) -> Iterator[bytes]:
        for member in self._members(random.Random(f"{self.run}-{client}"), client):
            shown = {"card": card(member)}
            yield self._asked(client, "/api/v1/identify", {"member": shown})

    def redemptions(self, client: int) -> Iterator[bytes]:
        members = self._members(random.Random(f"{self.run}-{client}"), client)
        for number, member in enumerate(members, start=1):
            body = {
                "redemption_id": f"D{self.run}-{client}-{number}", "points": 100,
                "member": {"card": card(member)},
                "redeemed_at": datetime.now(UTC).isoformat(),
            }  # fmt: skip
            yield self._asked(client, "/api/v1/redemptions", body)

    def batches(self, client: int) -> Iterator[bytes]:
        chance = random.Random(f"{self.run}-{client}")
        bought, members = baskets(chance), self._members(chance, client)
        number = 0
        while True:
            number += 1
            # Each batch is another day of the last two weeks: nobody buys forty times a day in one store.
            start = datetime.now(UTC) - timedelta(days=1 + number % 14, hours=8)
            told = ", ".join(
                ticket(
                    f"B{self.run}-{client}-{number}-{n}", start + timedelta(seconds=50 * n),
                    next(members), bought[n % len(bought)],
                )
                for n in range(BATCH)
            )  # fmt: skip
            yield self._asked(client, "/api/v1/purchases/batch", f'{{"purchases": [{told}]}}')


@contextmanager
def served(settings_module: str, application: str = "") -> Iterator[int]:
    """The port of a server as `make run` starts it, with its application or another."""
    from django.conf import settings

    from cdp.management.commands.serve import RECORDER, web_command

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    *command, ours = web_command(f"127.0.0.1:{port}")
    command.append(application or ours)
    environment = {"DJANGO_SETTINGS_MODULE": settings_module}
    desk = Path(settings.VAR_DIR) / "run" / f"bench-{port}.sock"
    if not application:
        environment["TILL_RECORDER"] = str(desk)
    log = Path(settings.VAR_DIR) / "log" / "bench-till.log"
    for folder in (log.parent, desk.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        programmes = [
            subprocess.Popen(
                [sys.executable, "-m", *told],
                cwd=settings.BASE_DIR, env=os.environ | environment,
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True,
            )
            for told in ([command] if application else [RECORDER, command])
        ]  # fmt: skip
    try:
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
        yield port
    finally:
        for programme in programmes:
            os.killpg(programme.pid, signal.SIGTERM)
        for programme in programmes:
            try:
                programme.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(programme.pid, signal.SIGKILL)
        desk.unlink(missing_ok=True)


def watch(limits: bool) -> None:
    """Let the programme's limits hold or not: they would hold the points of a card that is shown all the time."""
    from loyalty.models import Programme

    names = ("velocity_tickets", "velocity_cents", "distance_km", "cashier_card_uses")
    as_opened = Programme()
    Programme.objects.update(**{name: getattr(as_opened, name) if limits else 0 for name in names})


def prepare() -> tuple[list[str], str]:
    """A brand whose members are enrolled, with points to spend: the tills' keys, and the script of the limit."""
    from django.db import connection
    from django.utils import timezone

    from loyalty import ledger, starter, till
    from loyalty.models import Account
    from profiles.intake import Shown, Ticket, TicketLine
    from profiles.models import Identifier, Profile
    from tenants.brand_sql import statements
    from tenants.network.models import Store, Till

    now = timezone.now()
    starter.open_programme("Europe/Paris", points_from=(now - timedelta(days=60)).date())
    watch(False)
    keys, machines = [], []
    for store in Store.objects.order_by("pk"):
        machine = Till(store=store, code="T1")
        keys.append(machine.issue_key())
        machines.append(machine)
    for home, machine in enumerate(machines):
        for start in range(home, CARDS, TILLS * BATCH):
            first = [
                Ticket(
                    f"W{n}",
                    now - timedelta(days=20),
                    [TicketLine("S1", 5_000_000)],
                    shown=Shown("card", card(n)),
                )
                for n in range(start, min(CARDS, start + TILLS * BATCH), TILLS)
            ]
            assert all(answer.status == 201 for answer in till.record_purchases(machine, first))
    watch(True)
    issued = ledger.store_accounts(Account.Kind.ISSUED, [machine.store_id for machine in machines])
    # The bare function knows everything by its number: people are numbered one after the other.
    people = list(Profile.objects.order_by("pk").values_list("pk", flat=True))
    assert people == list(range(people[0], people[0] + CARDS))
    assert Identifier.objects.count() == CARDS
    with connection.cursor() as cursor:
        for statement in statements(Path(__file__).with_name("bare.sql")):
            cursor.execute(statement)
        cursor.execute("ANALYZE")
    numbers = [
        "array[" + ",".join(map(str, ids)) + "]::bigint[]"
        for ids in (
            [machine.pk for machine in machines],
            [machine.store_id for machine in machines],
            [issued[machine.store_id] for machine in machines],
        )
    ]
    at = f":client_id % {TILLS} + 1"
    script = (
        f"\\set person random({people[1]}, {people[-1]})\n"
        f"SELECT bench_earn(:person, ({numbers[0]})[{at}], ({numbers[1]})[{at}], ({numbers[2]})[{at}]);\n"
    )
    return keys, script


def measure(rounds: int) -> tuple[dict, dict]:
    """The loads by name, joined over the rounds, and the rates of the limit."""
    from django.db import connection

    from benchmarks.brand import scratch_brand
    from benchmarks.pgbench import rate
    from benchmarks.till_clients import AHEAD, drive, joined
    from loyalty import proof

    with scratch_brand(BRAND, stores=STORES):
        keys, bare = prepare()
        tills = Tills(keys)
        connection.close()
        loads: dict[str, list] = {}
        limits: dict[int, list[float]] = {1: [], 8: [], 16: []}
        stock = served("benchmarks.stock_settings", "benchmarks.stock_wsgi:application")
        with served("cdp.settings") as port, stock as stock_port:

            def take(name: str, clients: int, requests, at: int = port, ahead: int = AHEAD) -> None:
                loads.setdefault(name, []).append(drive(at, clients, SECONDS, requests, ahead))
                wrong = {s: n for s, n in loads[name][-1].statuses.items() if s not in (200, 201)}
                if wrong:
                    raise RuntimeError(f"{name}: {wrong}")

            for clients in (8, 16):  # connections, caches, plans
                drive(port, clients, 2, tills.new_run().purchases)
                drive(stock_port, clients, 1, tills.new_run().stock)
            for turn in range(rounds):
                print(f"round {turn + 1} of {rounds}", file=sys.stderr)
                for clients in (8, 1, 16):
                    limits[clients].append(rate(bare, BRAND, clients, SECONDS))
                    take(f"earn {clients}", clients, tills.new_run().purchases)
                watch(False)
                take("hot", 8, tills.new_run().hot)
                watch(True)
                take("earn 8 again", 8, tills.new_run().purchases)
                take("stock", 8, tills.new_run().stock, stock_port)
                take("batch", 1, tills.new_run().batches, ahead=10)
                take("identify", 8, tills.new_run().identifications)
                take("redeem", 8, tills.new_run().redemptions)
        proved = proof.prove()
        assert not proved.differences, proved.differences[:5]
        print(f"the proof finds 0 differences in {proved.counted['tickets']:,} tickets", file=sys.stderr)
    return {name: joined(each) for name, each in loads.items()}, {
        clients: sum(rates) / len(rates) for clients, rates in limits.items()
    }


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    import django

    django.setup()
    from django.core.management import call_command

    from cdp.management.commands.serve import web_command

    call_command("migrate_schemas", shared=True, verbosity=0)
    loads, limits = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    earn = loads["earn 8"]
    spread = (earn.per_second + loads["earn 8 again"].per_second) / 2
    figures = {
        "earn_ratio": round(earn.per_second / limits[8], 3),
        "earn_p50_ms": round(earn.percentile(0.5), 1),
        "earn_p99_ms": round(earn.percentile(0.99), 1),
        "vs_stock_drf": round(spread / loads["stock"].per_second, 1),
        "hot_member_ratio": round(loads["hot"].per_second / spread, 2),
        "batch_ratio": round(loads["batch"].per_second * BATCH / loads["earn 1"].per_second, 1),
        "identify_p99_ms": round(loads["identify"].percentile(0.99), 1),
    }
    print(f"server: python -m {' '.join(web_command('127.0.0.1:PORT'))}")
    print(
        f"tickets of {len(CATEGORIES)} lines, {CARDS:,} members, {TILLS} tills; milliseconds as a till sees them\n"
    )
    print(f"{'':34} {'clients':>7} {'a second':>9} {'p50':>7} {'p99':>7} {'of the limit':>12}")
    for clients in (1, 8, 16):
        print(f"{'bare function, by pgbench':34} {clients:>7} {limits[clients]:>9.0f}")
        load = loads[f"earn {clients}"]
        _line("earn over HTTP", load, f"{load.per_second / limits[clients]:.2f}")
    _line("earn, all the same member", loads["hot"], f"{loads['hot'].per_second / limits[8]:.2f}")
    _line("earn, stock DRF and ORM", loads["stock"], f"{loads['stock'].per_second / limits[8]:.3f}")
    _line("identify", loads["identify"])
    _line("redeem", loads["redeem"])
    _line(f"batch of {BATCH}", loads["batch"])
    print(f"\n{loads['batch'].per_second * BATCH:.0f} tickets a second by batches of one till\n")
    for name, (limit, which) in LIMITS.items():
        holds = figures[name] >= limit if which == "at least" else figures[name] <= limit
        print(f"{'reached' if holds else 'MISSED ':8} {name} = {figures[name]}, {which} {limit}")
    print(json.dumps(figures))


def _line(name: str, load, share: str = "") -> None:
    print(
        f"{name:34} {load.clients:>7} {load.per_second:>9.0f} {load.percentile(0.5):>7.1f}"
        f" {load.percentile(0.99):>7.1f} {share:>12}"
    )


if __name__ == "__main__":
    main()
