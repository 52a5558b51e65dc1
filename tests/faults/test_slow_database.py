"""Writing stands still behind a lock: writers are told to come back in time, and who only asks is served."""

import threading
import time

import psycopg

from cdp.till_lane import LOCK_SECONDS, STATEMENT_SECONDS
from tests.faults.oracles import check
from tests.faults.tills import Book, Line, NoAnswer, busy

IDENTIFY_P95_SECONDS = 0.5
LOCKED_SECONDS = 6


class Asking(threading.Thread):
    """A till that asks who shows a card, again and again; `seconds`: how long each answer took."""

    def __init__(self, port, machine):
        super().__init__(daemon=True)
        self.line, self.stop = Line(port, machine), threading.Event()
        self.seconds: list[float] = []
        self.statuses: set[int] = set()

    def run(self) -> None:
        while not self.stop.is_set():
            start = time.monotonic()
            try:
                heard = self.line.ask("identify", {"member": {"card": "2990000000001"}}).status
            except NoAnswer:
                heard = 0
            self.statuses.add(heard)
            self.seconds.append(time.monotonic() - start)
            time.sleep(0.005)
        self.line.close()

    def percentile(self, share: float) -> float:
        return sorted(self.seconds)[int(share * len(self.seconds))]


def while_held(world, web, seed: str, lock: str) -> tuple[Asking, Book]:
    """All tills write for some seconds while somebody holds the lock, and one asks."""
    asking = Asking(web.port, world.machines[0])
    other = psycopg.connect(world.cluster.database_url, options="-c search_path=faults")
    with other, busy(web.port, world.machines, world.book, seed):
        time.sleep(1)
        other.execute(lock)
        asking.start()
        time.sleep(LOCKED_SECONDS)
        asking.stop.set()
        asking.join(30)
        other.rollback()
    check(world.brand, world.book)
    return asking, world.book


def told(asking: Asking, book: Book) -> str:
    return (
        f"writers waited {book.slowest:.2f} s at most, {dict(book.statuses)}; identify {len(asking.seconds)} times,"
        f" p50 {asking.percentile(0.5) * 1000:.0f} ms, p95 {asking.percentile(0.95) * 1000:.0f} ms"
    )


def test_a_table_is_locked(world, web, say):
    asking, book = while_held(world, web, "table", "LOCK TABLE loyalty_transaction IN EXCLUSIVE MODE")
    say(f"table locked: {told(asking, book)}")
    assert book.slowest < STATEMENT_SECONDS + 1
    assert book.statuses[409] or book.statuses[503]
    assert book.only_asked_to_come_back()
    assert asking.statuses <= {200, 404}
    assert asking.percentile(0.95) < IDENTIFY_P95_SECONDS


def test_members_are_locked(world, web, say):
    """As by a merge of many people: whoever sells to one of them waits, everybody else goes on."""
    asking, book = while_held(
        world, web, "members",
        "SELECT FROM profiles_profile ORDER BY id LIMIT 20 FOR NO KEY UPDATE",
    )  # fmt: skip
    say(f"20 members locked: {told(asking, book)}")
    assert book.slowest < LOCK_SECONDS + STATEMENT_SECONDS
    assert book.statuses[409]
    assert book.statuses[201]
    assert book.only_asked_to_come_back()
    assert asking.statuses <= {200, 404}
    assert asking.percentile(0.95) < IDENTIFY_P95_SECONDS
