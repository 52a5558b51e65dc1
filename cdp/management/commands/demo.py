"""`manage.py demo`: two brands live through the main job on real tickets, then everything is served.

The figures are printed as a table and written to `var/demo/summary.json`. A second run starts over.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cdp.demo import main_job, programme
from cdp.demo.world import build_world

FOLDER = settings.VAR_DIR / "demo"
STOP_SECONDS = 30


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument("--size", choices=["small", "default", "full"], default="default")
        parser.add_argument("--no-serve", action="store_true", help="stop after the summary")
        parser.add_argument("--bind", default="127.0.0.1:8000", help="host:port to serve at")

    def handle(self, *, size: str, no_serve: bool, bind: str, **options):
        if (settings.VAR_DIR / "run" / "serve.pid").exists():
            raise CommandError("this folder is being served: make stop first")
        self.console = Console()
        started = time.monotonic()
        summary: dict[str, Any] = {"size": size}
        with _worker(), self._bars() as self.bars:
            summary |= self._play(size)
        summary["seconds"] = round(time.monotonic() - started, 1)
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "summary.json").write_text(json.dumps(summary, indent=2, default=str) + "\n")
        self._print(summary)
        if not no_serve:
            self._print_logins(bind.rpartition(":")[2])
            call_command("serve", bind=bind)

    # --- The job ---------------------------------------------------------------------------------------------------

    def _play(self, size: str) -> dict:
        today = timezone.localdate()
        with self._step("Read the tickets, invent the people") as advance:
            world = build_world(size=size, today=today)
            files = FOLDER / "files"
            shutil.rmtree(files, ignore_errors=True)
            world.write_files(files)
            advance(1, 1)
        main_job.start_over([data.slug for data in world.brands])
        brands: dict[str, Any] = {}
        for data in world.brands:
            with self._step(f"{data.name}: open the brand") as advance:
                one = main_job.onboard(data, today, lambda p, advance=advance: advance(p.done, p.total))
                programme.open_catalogue(one, today)
                advance(1, 1)
            with self._step(f"{data.name}: take in the customer files") as advance:
                records = main_job.import_files(one)
                advance(1, 1)
            with self._step(f"{data.name}: take in the tickets") as advance:
                tickets = main_job.send_tickets(one, advance)
            with self._step(f"{data.name}: find who is who") as advance:
                matching = main_job.unify(one, advance)
            with self._step(f"{data.name}: take over the balances of before") as advance:
                taken_over = programme.take_over_balances(one, today)
                advance(1, 1)
            with self._step(f"{data.name}: refund, expire, spend") as advance:
                ledger = main_job.points(one, today)
                advance(1, 1)
            with self._step(f"{data.name}: rewards, coupons, actions") as advance:
                benefits = programme.enjoy(one)
                advance(1, 1)
            with self._step(f"{data.name}: segment, campaign, export, vouchers") as advance:
                segment = main_job.market(one, today, partial(programme.give_to_audience, one))
                advance(1, 1)
            with self._step(f"{data.name}: prove the ledger") as advance:
                ledger |= main_job.prove(one)
                advance(1, 1)
            with self._step(f"{data.name}: settle between the stores") as advance:
                settled = main_job.settle(one)
                advance(1, 1)
            brands[data.slug] = {
                "stores": len(data.stores), "records": records, "tickets": tickets, "matching": matching,
                "taken_over": taken_over, "ledger": ledger, "benefits": benefits, "settled": settled,
                "segment": segment,
            }  # fmt: skip
        first = brands[world.brands[0].slug]
        tickets = {
            name: sum(figures["tickets"].get(name, 0) for figures in brands.values())
            for name in ("in", "posted", "rejected")
        }
        differences = sum(figures["ledger"]["differences"] for figures in brands.values())
        return {
            "tickets": tickets,
            "matching": first["matching"],
            "ledger": first["ledger"] | {"differences": differences},
            "segment": first["segment"],
            "brands": brands,
        }

    # --- What is seen meanwhile ------------------------------------------------------------------------------------

    def _bars(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=self.console, transient=False,
        )  # fmt: skip

    @contextmanager
    def _step(self, title: str) -> Iterator[main_job.Advance]:
        bar = self.bars.add_task(title, total=1)
        begun = time.monotonic()
        yield lambda done, total: self.bars.update(bar, completed=done, total=max(total, 1))
        task = next(task for task in self.bars.tasks if task.id == bar)
        self.bars.update(bar, completed=task.total)
        if not self.console.is_terminal:
            self.stdout.write(f"{title}: {time.monotonic() - begun:.1f} s")

    def _print(self, summary: dict) -> None:
        table = Table(title=f"The main job in {summary['seconds']} s", title_justify="left")
        table.add_column("")
        for slug in summary["brands"]:
            table.add_column(slug, justify="right")
        for title, figures in _rows(summary["brands"]).items():
            table.add_row(
                title, *(f"{figure:,}" if isinstance(figure, int) else str(figure) for figure in figures)
            )
        self.console.print(table)
        self.console.print(f"Figures: {(FOLDER / 'summary.json').relative_to(settings.BASE_DIR)}")

    def _print_logins(self, port: str) -> None:
        table = Table(title="Four people to be (password: " + main_job.PASSWORD + ")", title_justify="left")
        table.add_column("who")
        table.add_column("signs in at", overflow="fold", no_wrap=False, min_width=34)
        table.add_column("as")
        brand = f"http://acme.{settings.BASE_DOMAIN}:{port}/"
        table.add_row("Head-office marketer", brand, "marketing@acme.example")
        table.add_row("Store manager", brand + "store/", "store@acme.example")
        table.add_row("Brand administrator", brand, "admin@acme.example")
        table.add_row(
            "Platform administrator", f"http://{settings.BASE_DOMAIN}:{port}/", main_job.PLATFORM_ADMIN
        )
        self.console.print(table)


def _rows(brands: dict) -> dict[str, list]:
    """Title -> one figure a brand."""

    def each(*path):
        figures = []
        for brand in brands.values():
            value = brand
            for name in path:
                value = value.get(name, 0) if isinstance(value, dict) else 0
            figures.append(value)
        return figures

    received = [
        sum(numbers["received"] for numbers in brand["records"].values()) for brand in brands.values()
    ]
    rejected = [
        sum(numbers["rejected"] for numbers in brand["records"].values()) for brand in brands.values()
    ]
    return {
        "stores": each("stores"),
        "customer rows received": received,
        "… rejected with line and reason": rejected,
        "tickets in": each("tickets", "in"),
        "… posted": each("tickets", "posted"),
        "… not posted": each("tickets", "rejected"),
        "customers": each("matching", "profiles"),
        "merges": each("matching", "merged"),
        "pairs to review": each("matching", "to_review"),
        "precision": each("matching", "precision"),
        "recall": each("matching", "recall"),
        "F1": each("matching", "f1"),
        "points issued": each("ledger", "issued"),
        "… spent": each("ledger", "redeemed"),
        "… expired": each("ledger", "expired"),
        "… outstanding": each("ledger", "outstanding"),
        "ledger differences": each("ledger", "differences"),
        "euros owed between stores": [cents / 100 for cents in each("settled", "between_stores_cents")],
        "… they net to": [cents / 100 for cents in each("settled", "nets_to_cents")],
        "liability in points": each("settled", "liability_points"),
        "… stores that differ from plain SQL": each("settled", "stores_unlike_sql"),
        "points taken over from the old programme": each("taken_over", "posted_points"),
        "… of cards that nobody knows": each("taken_over", "unknown_points"),
        "… told by its own report": each("taken_over", "told_points"),
        "rewards taken for points": each("benefits", "rewards_taken"),
        "coupons used": each("benefits", "coupons_used"),
        "actions and birthdays that earned": [
            actions + birthdays
            for actions, birthdays in zip(
                each("benefits", "actions"), each("benefits", "birthdays"), strict=True
            )
        ],
        "gifts for the gold tier": each("benefits", "tier_gifts"),
        "segment": each("segment", "count"),
        "… counted in plain SQL": each("segment", "sql_recount"),
        "… exported": each("segment", "rows"),
        "broader segment": each("segment", "broader", "count"),
        "… exported, control group held back": each("segment", "broader", "rows"),
        "… given a voucher": each("segment", "thanked", "given"),
        "… of whom used it": each("segment", "thanked", "used"),
    }


@contextmanager
def _worker() -> Iterator[None]:
    """A Celery worker for the time of the job."""
    log = settings.VAR_DIR / "log" / "demo-worker.log"
    pid_file = settings.VAR_DIR / "run" / "demo-worker.pid"
    for path in (log, pid_file):
        path.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "cdp.celery", "worker", "--pool=prefork", "--concurrency=1",
             "--loglevel=INFO", "--without-gossip", "--without-mingle"],
            cwd=settings.BASE_DIR, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    pid_file.write_text(str(worker.pid))
    try:
        yield
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        pid_file.unlink(missing_ok=True)
