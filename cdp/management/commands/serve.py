"""`manage.py serve`: web, recorder, worker and timetable under one small supervisor, until Ctrl-C.

Each programme runs in a session of its own (so that a terminal's Ctrl-C reaches the supervisor alone, which then
ends them in order), writes to `var/log/NAME.log` and is named in `var/run/NAME.pid`, by which `make stop` finds it
even where the supervisor was killed. When one of them ends, all do: a worker that silently died would leave tasks
waiting for ever. Only the recorder, which the web processes can do without for a while, is started anew.
"""

import fcntl
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from tenants import onboarding
from tenants.models import Domain
from tenants.network.models import Staff
from tenants.roles import Role

STOP_SECONDS = 40.0  # longer than a request or a task that is nearly done
READY_SECONDS = 60.0
POLL_SECONDS = 0.2
RESPAWN_SECONDS = 5.0
LAST_LINES = 15
WORKERS, THREADS = 2, settings.WEB_THREADS
# Without the query and the path's tail: search words and invitation links stay out of the log.
ACCESS_LOG = "%(addr)s %(time)s %(method)s %(status)d %(dt_ms).1fms"
# A process of the web server that grew larger is replaced.
LARGEST_MB = 1024
# Of each process. A till that is silent keeps its connection, and must keep no other out; a head that is not there in
# time ends it.
MOST_CONNECTIONS = 512
HEAD_MILLISECONDS = 10_000
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - recognised, not bound


def web_command(bind: str, workers: int = WORKERS, threads: int = THREADS) -> list[str]:
    """The web server, as arguments of `python -m`."""
    host, _colon, port = bind.rpartition(":")
    return [
        "granian", "--interface=wsgi", f"--host={host or ANY_ADDRESS}", f"--port={port}", f"--workers={workers}",
        f"--blocking-threads={threads}", "--http=1", "--no-ws", f"--backpressure={MOST_CONNECTIONS}",
        f"--http1-header-read-timeout={HEAD_MILLISECONDS}",
        "--access-log", f"--access-log-fmt={ACCESS_LOG}", f"--workers-max-rss={LARGEST_MB}",
        "--respawn-failed-workers", "cdp.wsgi:application",
    ]  # fmt: skip


RECORDER = ["manage", "record_tickets"]


def recorder_address() -> str:
    """Where the recorder's socket is, unless somebody said where."""
    return settings.TILL_RECORDER or str(settings.VAR_DIR / "run" / "recorder.sock")


@dataclass
class Programme:
    """One of the programmes, and its process once it runs. `spare`: the others can do without it while it is away."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    spare: bool = False
    process: subprocess.Popen | None = None
    _started: float = 0.0

    @property
    def log(self) -> Path:
        return settings.VAR_DIR / "log" / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        return settings.VAR_DIR / "run" / f"{self.name}.pid"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own arguments
                [sys.executable, "-m", *self.command],
                cwd=settings.BASE_DIR,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid_file.write_text(str(self.process.pid))
        self._started = time.monotonic()

    def start_anew(self) -> bool:
        """A while after it was started last: one that cannot live is not started all the time. Whether it was."""
        if time.monotonic() < self._started + RESPAWN_SECONDS:
            return False
        self.start()
        return True

    @property
    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def last_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LAST_LINES:])


class Command(BaseCommand):
    help = "Serve the platform: web, recorder, Celery worker and timetable, until Ctrl-C."

    def add_arguments(self, parser):
        parser.add_argument("--bind", default="127.0.0.1:8000", help="host:port of the web server")
        parser.add_argument("--workers", type=int, default=WORKERS, help="processes of the web server")
        parser.add_argument("--threads", type=int, default=THREADS, help="threads of each of them")
        parser.add_argument("--concurrency", type=int, default=2, help="processes of the Celery worker")

    def handle(self, *, bind: str, workers: int, threads: int, concurrency: int, **options):
        host, colon, port = bind.rpartition(":")
        if not colon or not port.isdigit():
            raise CommandError("--bind takes host:port")
        for folder in ("run", "log"):
            (settings.VAR_DIR / folder).mkdir(parents=True, exist_ok=True)
        programmes = [
            Programme("recorder", RECORDER, {"TILL_RECORDER": recorder_address()}, spare=True),
            Programme(
                "web", web_command(bind, workers, threads),
                {"WEB_THREADS": str(threads), "TILL_RECORDER": recorder_address()},
            ),
            Programme(
                "worker",
                ["celery", "-A", "cdp.celery", "worker", "--pool=prefork", f"--concurrency={concurrency}",
                 "--loglevel=INFO", "--without-gossip", "--without-mingle"],
            ),
            Programme("beat", ["celery", "-A", "cdp.celery", "beat", "--loglevel=INFO"]),
        ]  # fmt: skip
        with _only_one(), _heard_signals() as heard:
            onboarding.open_platform()
            call_command("migrate_schemas", tenant=True, interactive=False, verbosity=0)
            try:
                for programme in programmes:
                    programme.start()
                if self._is_ready(programmes, heard, host, int(port)):
                    self._print_addresses(int(port))
                dead = self._watch(programmes, heard)
            finally:
                self._stop(programmes)
        if dead is not None:
            code = dead.process.returncode
            raise CommandError(
                f"{dead.name} ended with code {code}; {dead.log} ends with:\n{dead.last_lines()}"
            )
        self.stdout.write("Stopped.")

    def _is_ready(self, programmes: list[Programme], heard: list[int], host: str, port: int) -> bool:
        """Wait until the web server answers that database and cache do; false where something ended first."""
        if host in {"", ANY_ADDRESS}:
            host = "127.0.0.1"
        deadline = time.monotonic() + READY_SECONDS
        while (
            time.monotonic() < deadline
            and not heard
            and not any(each.has_ended and not each.spare for each in programmes)
        ):
            connection = http.client.HTTPConnection(host, port, timeout=5)
            try:
                connection.request("GET", "/readyz", headers={"Host": settings.BASE_DOMAIN})
                if connection.getresponse().status == http.HTTPStatus.OK:
                    return True
            except OSError:
                time.sleep(POLL_SECONDS)
            finally:
                connection.close()
        return False

    def _print_addresses(self, port: int) -> None:
        for domain in Domain.objects.filter(is_primary=True).select_related("tenant").order_by("tenant_id"):
            scheme, suffix = ("https", "") if settings.SECURE else ("http", f":{port}")
            self.stdout.write(f"{domain.tenant.name}: {scheme}://{domain.domain}{suffix}/")
        if not Staff.objects.filter(role=Role.PLATFORM_ADMIN, is_active=True).exists():
            self.stdout.write(
                "Nobody administers the platform yet: manage.py invite_platform_admin EMAIL NAME"
            )
        self.stdout.write(f"Logs: {settings.VAR_DIR / 'log'}. Ctrl-C stops everything.")
        self.stdout.flush()
        connections.close_all()  # the supervisor needs no database while it watches

    def _watch(self, programmes: list[Programme], heard: list[int]) -> Programme | None:
        """Wait for a signal (returns nothing) or for the first programme that ends (returns it); a spare one is started
        anew."""
        while not heard:
            for programme in programmes:
                if programme.has_ended and programme.spare and not heard:
                    if programme.start_anew():
                        self.stderr.write(
                            f"{programme.name} had ended and was started anew: see {programme.log}"
                        )
                elif programme.has_ended:
                    # `make stop` tells everybody at once; a programme may be gone before we have heard.
                    time.sleep(POLL_SECONDS)
                    return None if heard else programme
            time.sleep(POLL_SECONDS)
        return None

    def _stop(self, programmes: list[Programme]) -> None:
        """Ask each to finish what it is doing; end by force what still runs after `STOP_SECONDS`."""
        running = [each for each in programmes if each.process is not None]
        for programme in running:
            if not programme.has_ended:
                programme.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for programme in running:
            try:
                programme.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(programme.process.pid, signal.SIGKILL)
                programme.process.wait()
            programme.pid_file.unlink(missing_ok=True)


@contextmanager
def _only_one() -> Iterator[None]:
    """Hold the folder's lock. Raises `CommandError` where another supervisor does."""
    with (settings.VAR_DIR / "run" / "serve.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError("this folder is being served already: make stop") from None
        pid_file = settings.VAR_DIR / "run" / "serve.pid"
        pid_file.write_text(str(os.getpid()))
        try:
            yield
        finally:
            pid_file.unlink(missing_ok=True)


@contextmanager
def _heard_signals() -> Iterator[list[int]]:
    """Collect the signals that ask us to stop, instead of dying of them and leaving the programmes behind."""
    heard: list[int] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    before = {each: signal.signal(each, hear) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
