"""Servers that may be killed: PostgreSQL and Valkey in a folder of their own, and the web server as `make run` starts
it. PostgreSQL runs with the settings of production: what was acknowledged must be on the disk."""

import contextlib
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from cdp import embedded
from cdp.management.commands.serve import RECORDER, web_command

ROOT = Path(embedded.__file__).parent.parent
THREADS = 4
WORKER = (
    "celery",
    "-A",
    "cdp.celery",
    "worker",
    "--pool=solo",
    "--loglevel=INFO",
    "--without-gossip",
    "--without-mingle",
)


class Cluster:
    """A PostgreSQL and a Valkey below `folder`, which is made if need be; whoever makes them removes them."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder or Path(tempfile.mkdtemp(prefix="cdp-faults-", dir="/var/tmp"))
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        self.database_url = embedded.ensure_postgres(self.folder)
        self.broker_url = embedded.ensure_valkey(self.folder)
        self._postgres = embedded._Postgres(self.folder)
        self._valkey = embedded._Valkey(self.folder)

    def remove(self) -> None:
        embedded.stop(self.folder)
        for name in ("postgres", "valkey"):
            link = self.folder / name
            if link.is_symlink():
                shutil.rmtree(link.resolve().parent, ignore_errors=True)
        shutil.rmtree(self.folder)

    # --- PostgreSQL ---

    def postmaster(self) -> psutil.Process:
        pid_file = self._postgres.folder / "postmaster.pid"
        return psutil.Process(int(pid_file.read_text().splitlines()[0]))

    def backends(self) -> list[psutil.Process]:
        """The processes that serve a connection."""
        found = []
        for process in self.postmaster().children():
            with contextlib.suppress(psutil.Error):
                if f" {embedded.HOST}(" in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def kill_backend(self, chance: random.Random) -> None:
        """One of them at random: the postmaster then ends the others and replays its log."""
        until(lambda: bool(self.backends()), 10)
        chance.choice(self.backends()).kill()

    def kill_everything(self) -> None:
        """The postmaster and all its children, as when the power fails."""
        postmaster = self.postmaster()
        family = [postmaster, *postmaster.children()]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, 10)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The same processes stand still, as on a machine that is suspended: connections are taken, nothing is said."""
        postmaster = self.postmaster()
        family = [postmaster, *postmaster.children()]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def start(self) -> None:
        assert embedded.ensure_postgres(self.folder) == self.database_url, "its port was taken meanwhile"

    def restart(self) -> None:
        """`pg_ctl restart -m fast`."""
        account = embedded._account(self._postgres.link)
        programs = embedded._reachable_postgres_programs(self.folder, account)
        folder = str(self._postgres.folder)
        log = str(self._postgres.folder / "server.log")
        told = [f"{programs}/pg_ctl", "restart", "-m", "fast", "-D", folder, "-l", log, "-w", "-t", "60"]
        result = account.run(told)
        assert result.returncode == 0, result.output

    # --- Valkey ---

    def stop_broker(self) -> None:
        self._valkey.stop()

    def start_broker(self) -> None:
        assert embedded.ensure_valkey(self.folder) == self.broker_url, "its port was taken meanwhile"

    # --- Programmes beside them ---

    @contextmanager
    def programme(self, name: str, *command: str, **environment: str) -> Iterator[subprocess.Popen]:
        """`python -m COMMAND` with these servers, ended with the block; its output is `NAME.log`."""
        told = {"DATABASE_URL": self.database_url, "CELERY_BROKER_URL": self.broker_url, "TEST_DATABASE": "-"}
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT, env=os.environ | told | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def log_of(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")


class Disk:
    """A file system of its own that can be filled without harm to anybody else."""

    def __init__(self, folder: Path):
        self.folder, self._ballast = folder, folder / "ballast"

    def fill(self) -> None:
        """Until not one more page fits."""
        with self._ballast.open("wb") as file:
            for part in (1 << 24, 1 << 16, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, part)

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(megabytes: int) -> Iterator[Disk]:
    """A disk in memory. Raises `PermissionError` for who may not mount one."""
    folder = Path(tempfile.mkdtemp(prefix="cdp-disk-", dir="/var/tmp"))
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    told = [*as_root, "mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=1777", "tmpfs", str(folder)]
    try:
        result = subprocess.run(told, check=False, capture_output=True, text=True)
        if result.returncode != 0:
            raise PermissionError(result.stderr.strip())
        try:
            yield Disk(folder)
        finally:
            subprocess.run([*as_root, "umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()


def send(cluster: Cluster, slug: str, *tasks: str) -> None:
    """Send the tasks for this brand, as the timetable does at its next turn."""
    told = ("tests.faults.later", slug, *tasks)
    with cluster.programme("later", *told, DJANGO_SETTINGS_MODULE="cdp.settings") as sender:
        assert sender.wait(60) == 0, cluster.log_of("later")[-2000:]


class Web:
    """The web server that `make run` starts, and the recorder beside it."""

    def __init__(
        self, port: int, process: subprocess.Popen, log: Callable[[], str], recorder: subprocess.Popen
    ):
        self.port, self.process, self.log, self.recorder = port, process, log, recorder

    def workers(self) -> list[psutil.Process]:
        found = []
        for process in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def is_alive(self) -> bool:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            line.request("GET", "/livez", headers={"Host": "localhost"})
            return line.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            line.close()


@contextmanager
def served(
    cluster: Cluster, name: str = "web", workers: int = 2, threads: int = THREADS, **environment: str
) -> Iterator[Web]:
    port = free_port()
    command = web_command(f"127.0.0.1:{port}", workers, threads)
    environment = {
        "WEB_THREADS": str(threads), "DJANGO_SETTINGS_MODULE": "cdp.settings",
        "TILL_RECORDER": str(cluster.folder / f"{name}.sock"),
    } | environment  # fmt: skip
    recorder, web = f"{name}-recorder", name
    with (
        cluster.programme(recorder, *RECORDER, **environment) as beside,
        cluster.programme(web, *command, **environment) as process,
    ):
        server = Web(port, process, lambda: cluster.log_of(web), beside)
        assert until(server.is_alive, 60), server.log()
        assert until(Path(environment["TILL_RECORDER"]).exists, 60), cluster.log_of(recorder)
        yield server


@contextmanager
def recording(cluster: Cluster, name: str) -> Iterator[subprocess.Popen]:
    """Another recorder in the place of the web server's own, as the supervisor starts one."""
    environment = {
        "DJANGO_SETTINGS_MODULE": "cdp.settings",
        "TILL_RECORDER": str(cluster.folder / f"{name}.sock"),
    }
    with cluster.programme(f"{name}-recorder", *RECORDER, **environment) as process:
        yield process


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def until(done: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
