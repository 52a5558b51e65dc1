"""A recorder that serves in the test's own process, and who hands in slips to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from time import monotonic, sleep

from loyalty.till import desk
from loyalty.till.desk import Slip
from loyalty.till.recorder import Recorder


def wait_until(holds) -> None:
    end = monotonic() + 10
    while not holds():
        assert monotonic() < end
        sleep(0.005)


def hands_in(slip: Slip) -> tuple[int, bool, str | None] | None:
    """As a thread that ends afterwards."""
    try:
        return desk.hand_in(slip)
    finally:
        desk.hang_up()


@contextmanager
def serving(*args, **named) -> Iterator[Recorder]:
    served = Recorder(*args, **named)
    desk.doubt.is_over()  # whoever asked before it was there asks again
    thread = Thread(target=served.serve)
    thread.start()
    try:
        yield served
    finally:
        served.stop()
        thread.join(10)
        assert not thread.is_alive()


class Silence:
    """What the recorder is told of the database: nothing but good."""

    def __init__(self, turns_away: bool = False, is_believed: bool = False):
        self.turns_away, self.is_believed = lambda: turns_away, lambda: is_believed


never = Silence()
