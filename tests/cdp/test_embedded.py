"""The servers from wheels: found again after every way of dying, started once, and gone when told to go.

Each test uses servers of its own below a folder of its own; none needs Django's database.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from cdp import embedded

ROOT = Path(embedded.__file__).parent.parent


@pytest.fixture(autouse=True)
def _unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(embedded.UNSAFE_VARIABLE, "1")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder that every account can reach, like a checkout in a shared place."""
    folder = Path(tempfile.mkdtemp(prefix="cdp-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    _remove(folder)


@pytest.fixture
def closed_data_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder that only its owner can reach, like a checkout in a closed home."""
    tmp_path.chmod(0o700)
    folder = tmp_path / "var"
    folder.mkdir()
    yield folder
    _remove(folder)


def _remove(data_dir: Path) -> None:
    embedded.stop(data_dir)
    for link in [data_dir / "postgres-test", data_dir / "valkey-test"]:
        if link.is_symlink():
            shutil.rmtree(link.resolve().parent, ignore_errors=True)
    shutil.rmtree(data_dir)


def _command_line(data_dir: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "cdp.embedded", "--data-dir", str(data_dir), *words]


def _processes(data_dir: Path) -> list[psutil.Process]:
    return [process for server in embedded._servers(data_dir) for process in server.processes()]


def _postmaster(data_dir: Path) -> psutil.Process:
    pid_file = embedded._Postgres(data_dir).folder / "postmaster.pid"
    return psutil.Process(int(pid_file.read_text().splitlines()[0]))


def _value(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def _ping(url: str) -> bool:
    with closing(redis.Redis.from_url(url)) as client:
        return bool(client.ping())


def test_both_servers_start_answer_and_stop(data_dir: Path) -> None:
    database, broker = embedded.ensure_postgres(data_dir), embedded.ensure_valkey(data_dir)

    assert embedded.ensure_postgres(data_dir) == database
    assert embedded.ensure_valkey(data_dir) == broker
    assert _value(database, "SELECT usesuper FROM pg_user WHERE usename = current_user") is True
    assert _value(database, "SELECT lower('É')") == "é"
    assert _ping(broker)

    embedded.stop(data_dir)

    assert not _processes(data_dir)


def test_a_stranger_on_the_machine_is_refused(data_dir: Path) -> None:
    database, broker = embedded.ensure_postgres(data_dir), embedded.ensure_valkey(data_dir)
    guess = f"{embedded.ROLE}:guess@{embedded.HOST}"

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgres://{guess}:{database.rpartition(':')[2]}")
    with pytest.raises(redis.AuthenticationError):
        _ping(f"redis://:guess@{embedded.HOST}:{broker.rpartition(':')[2]}")


@pytest.mark.slow
def test_a_killed_postmaster_is_replaced_and_nothing_is_lost(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its children are still busy in the shared memory, and its pid file is still there."""
    monkeypatch.delenv(embedded.UNSAFE_VARIABLE)
    database = embedded.ensure_postgres(data_dir)
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with closing(psycopg.connect(database, autocommit=True)) as busy:
        busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 100000000000)")
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%generate_series%' AND state = 'active'"
        )
        assert embedded._wait_until(lambda: _value(database, query) == 2, 10)  # this question is one of them
        _postmaster(data_dir).kill()

        assert embedded.ensure_postgres(data_dir) == database

    assert _value(database, "SELECT answer FROM kept") == 42


@pytest.mark.slow
def test_a_pid_file_that_names_somebody_else_is_not_believed(data_dir: Path) -> None:
    database, broker = embedded.ensure_postgres(data_dir), embedded.ensure_valkey(data_dir)
    pid_file = data_dir / "postgres-test" / "postmaster.pid"
    stale = pid_file.read_text().splitlines()
    embedded.stop(data_dir)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *stale[1:]]))
        (data_dir / "valkey-test" / "valkey.pid").write_text(f"{stranger.pid}\n")

        assert embedded.ensure_postgres(data_dir) == database
        assert embedded.ensure_valkey(data_dir) == broker
        assert _value(database, "SELECT 1") == 1
        embedded.stop(data_dir)

        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.slow
def test_a_port_taken_meanwhile_is_left_to_its_taker(data_dir: Path) -> None:
    urls = embedded.ensure_postgres(data_dir), embedded.ensure_valkey(data_dir)
    accesses = [server.access() for server in embedded._servers(data_dir)]
    embedded.stop(data_dir)
    takers = []
    for access in accesses:
        assert access is not None
        takers.append(socket.create_server((embedded.HOST, access.port)))
    try:
        moved = embedded.ensure_postgres(data_dir), embedded.ensure_valkey(data_dir)
    finally:
        for taker in takers:
            taker.close()

    assert moved[0] != urls[0]
    assert moved[1] != urls[1]
    assert _value(moved[0], "SELECT 1") == 1
    assert _ping(moved[1])


@pytest.mark.slow
def test_two_who_ask_at_once_get_the_same_server(data_dir: Path) -> None:
    askers = [
        subprocess.Popen(_command_line(data_dir, "url"), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [asker.communicate(timeout=60)[0] for asker in askers]

    assert answers[0] == answers[1]
    assert answers[0].startswith("DATABASE_URL=postgres://cdp:")
    pids = {process.pid for process in _processes(data_dir)}
    parents = [process for process in _processes(data_dir) if process.ppid() not in pids]
    assert sorted(process.name() for process in parents) == ["postgres", "valkey-server"]


@pytest.mark.slow
def test_a_closed_home_is_no_obstacle(closed_data_dir: Path) -> None:
    """Root's servers run as `nobody`, who cannot enter it; a plain user's servers run as that user."""
    database, broker = embedded.ensure_postgres(closed_data_dir), embedded.ensure_valkey(closed_data_dir)

    assert embedded.ensure_postgres(closed_data_dir) == database
    assert _value(database, "SELECT 1") == 1
    assert _ping(broker)
    assert (closed_data_dir / "postgres-test").is_symlink() == (os.geteuid() == 0)


@pytest.mark.slow
def test_a_command_leaves_no_server_behind_and_keeps_its_exit_code(data_dir: Path) -> None:
    inner = " ".join(_command_line(data_dir, "url"))
    result = subprocess.run(
        _command_line(data_dir, "run", "--", "sh", "-c", f"{inner} && exit 7"),
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )

    assert "CELERY_BROKER_URL=redis://" in result.stdout
    assert result.returncode == 7
    assert not _processes(data_dir)


@pytest.mark.slow
def test_a_command_spares_the_servers_that_were_up_before(data_dir: Path) -> None:
    database = embedded.ensure_postgres(data_dir)

    assert embedded.run(data_dir, ["true"]) == 0

    assert _value(database, "SELECT 1") == 1


@pytest.mark.slow
def test_a_command_spares_a_server_that_somebody_else_uses(data_dir: Path) -> None:
    start = _command_line(data_dir, "run", "--", *_command_line(data_dir, "url"))
    with subprocess.Popen(
        _command_line(data_dir, "run", "--", "cat"), cwd=ROOT, stdin=subprocess.PIPE
    ) as first:
        assert first.stdin is not None
        lease = data_dir / "embedded-test.lease"
        assert embedded._wait_until(lease.exists, 10)
        subprocess.run(start, cwd=ROOT, check=True, capture_output=True)
        database = embedded.ensure_postgres(data_dir)
        with closing(psycopg.connect(database)) as user:
            first.stdin.close()
            first.wait(timeout=30)

            assert user.execute("SELECT 1").fetchone() == (1,)


def test_stop_ends_the_platforms_own_processes(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(embedded.UNSAFE_VARIABLE)
    run_dir = data_dir / "run"
    run_dir.mkdir()
    with subprocess.Popen(["sleep", "60"]) as ours, subprocess.Popen(["sleep", "60"]) as stranger:
        (run_dir / "web.pid").write_text(str(ours.pid))
        # From before a restart of the machine: the number has gone to a stranger since.
        inherited = run_dir / "worker.pid"
        inherited.write_text(str(stranger.pid))
        os.utime(inherited, (0, 0))
        (run_dir / "beat.pid").write_text("not a number")

        embedded.stop(data_dir)

        assert ours.wait() == -signal.SIGTERM
        assert stranger.poll() is None
        stranger.kill()
    assert not list(run_dir.iterdir())


def test_a_cluster_of_another_version_is_not_touched(data_dir: Path) -> None:
    embedded.ensure_postgres(data_dir)
    embedded.stop(data_dir)
    version = data_dir / "postgres-test" / "PG_VERSION"
    version.write_text("11\n")

    with pytest.raises(embedded.EmbeddedError, match="made by PostgreSQL 11"):
        embedded.ensure_postgres(data_dir)


def test_what_is_forgotten_is_gone_wherever_it_was_kept(closed_data_dir: Path) -> None:
    embedded.ensure_postgres(closed_data_dir)
    kept_at = (closed_data_dir / "postgres-test").resolve()
    asked = subprocess.run(
        _command_line(closed_data_dir, "forget"), input="no\n", capture_output=True, text=True, check=False
    )
    assert asked.returncode == 1
    assert "every brand and customer" in asked.stdout
    assert (kept_at / "PG_VERSION").exists()

    subprocess.run(_command_line(closed_data_dir, "forget", "--yes"), check=True, capture_output=True)

    assert not kept_at.exists()
    assert not closed_data_dir.exists()
    closed_data_dir.mkdir()


def test_the_secret_is_made_once_and_kept_private(data_dir: Path) -> None:
    secret = embedded.local_secret(data_dir)

    assert embedded.local_secret(data_dir) == secret
    assert len(secret) >= 50
    assert (data_dir / "secret.key").stat().st_mode & 0o077 == 0
    assert [path.name for path in data_dir.iterdir()] == ["secret.key"]
