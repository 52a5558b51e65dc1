"""The supervisor of `manage.py serve`, with small programmes in place of the web server and the worker."""

import os
import signal
import threading
import time

import pytest
from django.core.management.base import CommandError

from cdp.management.commands import serve
from cdp.management.commands.serve import Command, Programme


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    (tmp_path / "run").mkdir()
    (tmp_path / "log").mkdir()
    return tmp_path


@pytest.fixture
def programmes():
    """`programmes(name=module)`: started; all are gone when the test is."""
    started: list[Programme] = []

    def start(**modules: list[str]) -> list[Programme]:
        for name, command in modules.items():
            programme = Programme(name, command)
            programme.start()
            started.append(programme)
        return started

    yield start
    for programme in started:
        programme.process.kill()
        programme.process.wait()


SERVER = ["http.server", "0", "--bind", "127.0.0.1"]


def test_the_one_that_ends_is_named_and_the_others_are_ended(programmes, folder):
    web, worker = programmes(web=SERVER, worker=["json.tool", "no-such-file"])
    assert (folder / "run" / "web.pid").read_text() == str(web.process.pid)

    assert Command()._watch([web, worker], heard=[]) is worker
    assert "no-such-file" in worker.last_lines()

    Command()._stop([web, worker])
    assert web.has_ended
    assert not list((folder / "run").glob("*.pid"))


def test_a_signal_ends_the_watch(programmes):
    (web,) = programmes(web=SERVER)
    with serve._heard_signals() as heard:
        threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGTERM]).start()
        assert Command()._watch([web], heard) is None
    assert heard == [signal.SIGTERM]
    assert not web.has_ended, "ending it is the next step's work"


def test_what_does_not_end_is_ended_by_force(programmes, monkeypatch):
    monkeypatch.setattr(serve, "STOP_SECONDS", 0.2)
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    (web,) = programmes(web=["timeit", "-n", "1", "-r", "1", deaf])
    pause = threading.Event()
    while "deaf" not in web.last_lines():
        pause.wait(0.05)
    Command()._stop([web])
    assert web.process.returncode == -signal.SIGKILL


def test_a_folder_is_served_once():
    with serve._only_one(), pytest.raises(CommandError, match="already"), serve._only_one():
        pytest.fail("a second supervisor came in")


@pytest.mark.parametrize("bind", ["8000", "localhost", "localhost:http"])
def test_an_address_without_a_port_is_refused(bind):
    with pytest.raises(CommandError, match="host:port"):
        Command().handle(bind=bind, workers=1, threads=1, concurrency=1)


def test_a_spare_one_is_started_anew_and_the_others_are_not_ended(programmes, monkeypatch):
    monkeypatch.setattr(serve, "RESPAWN_SECONDS", 0.5)
    web, recorder = programmes(web=SERVER, recorder=SERVER)
    recorder.spare = True
    before, started = recorder.process, time.monotonic()
    before.kill()
    before.wait()
    heard: list[int] = []
    watching = threading.Thread(target=Command()._watch, args=([web, recorder], heard))
    watching.start()
    while recorder.process is before:
        assert time.monotonic() < started + 20
        time.sleep(0.02)
    assert time.monotonic() - started >= 0.3, "not at once: it was started only now"
    heard.append(signal.SIGTERM)
    watching.join(10)
    assert not web.has_ended
    assert not recorder.has_ended
