"""The recorder is killed, stands still and comes back: tills are served all the same; nothing is lost or doubled."""

import time
from collections.abc import Iterator

import psutil
import pytest

from loyalty.till import desk
from tests.faults.oracles import check
from tests.faults.servers import Web, recording, served, until
from tests.faults.tills import busy, in_seconds

# Who meets a dead recorder records the ticket in the same breath.
WITHOUT_A_WRITE_SECONDS = 2.0
NAME = "web-and-recorder"


@pytest.fixture
def web(world) -> Iterator[Web]:
    """One of its own: the others' recorder lives on."""
    with served(world.cluster, NAME) as running:
        with busy(running.port, world.machines, world.book, "recorder-warm"):
            time.sleep(2)
        yield running


def test_the_recorder_killed_frozen_and_started_anew(world, web, say):
    assert is_at_work(web.recorder.pid), "tickets of the warming up went through it"
    with busy(web.port, world.machines, world.book, "recorder"):
        time.sleep(1)
        moments = [time.monotonic()]
        web.recorder.kill()
        web.recorder.wait(10)
        time.sleep(3)
        with recording(world.cluster, NAME) as another:
            assert until(lambda: is_at_work(another.pid), 60), "it is found without anybody's help"
            time.sleep(1)
            moments.append(time.monotonic())
            psutil.Process(another.pid).suspend()
            time.sleep(2 * desk.PATIENCE_SECONDS + 2)
            psutil.Process(another.pid).resume()
            time.sleep(2)
        time.sleep(1)
    silences = world.book.silences(moments)
    counted = check(world.brand, world.book)
    say(
        f"recorder killed, then frozen: no write for {in_seconds(silences)} s;"
        f" {dict(world.book.statuses)}; compared {dict(counted)}"
    )
    assert world.book.only_asked_to_come_back()
    assert silences[0] < WITHOUT_A_WRITE_SECONDS
    assert silences[1] < desk.PATIENCE_SECONDS + WITHOUT_A_WRITE_SECONDS
    assert world.book.slowest < desk.PATIENCE_SECONDS + WITHOUT_A_WRITE_SECONDS


def is_at_work(pid: int) -> bool:
    """Whether it has spoken to the database."""
    return any(each.status == psutil.CONN_ESTABLISHED for each in psutil.Process(pid).net_connections("tcp"))
