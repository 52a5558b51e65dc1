"""The database's disk is full: writers are told to come back, who only asks is served, and all heals with the space."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from django.db import connection

from tests.faults.conftest import World, clustered, settled
from tests.faults.oracles import check
from tests.faults.servers import Disk, Web, served, small_disk, until
from tests.faults.test_slow_database import Asking
from tests.faults.tills import busy

DISK_MEGABYTES = 1200
FULL_SECONDS = 6
RECOVERY_SECONDS = 5.0
WAITING_SECONDS = 7.0


@dataclass
class Crowded:
    """A world on a disk of its own."""

    disk: Disk
    world: World
    web: Web


@pytest.fixture(scope="module")
def crowded(django_db_blocker) -> Iterator[Crowded]:
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(DISK_MEGABYTES))
        except PermissionError as refused:
            pytest.skip(f"a disk to fill has to be mounted, by root: {refused}")
        cluster = stack.enter_context(clustered(disk.folder / "var"))
        stack.enter_context(django_db_blocker.unblock())
        world = stack.enter_context(settled(cluster, "crowded"))
        yield Crowded(disk, world, stack.enter_context(served(cluster, "web-crowded")))


def test_the_disk_is_full(crowded, say):
    """No table can grow: who writes is told to come back, who asks is served, nothing is half done."""
    world, book = crowded.world, crowded.world.book
    asking = Asking(crowded.web.port, world.machines[0])
    connection.close()
    with busy(crowded.web.port, world.machines, book, "full"):
        time.sleep(1)
        crowded.disk.fill()
        assert until(lambda: book.statuses[503] > 20, 60)
        # The server's log cannot say so: it is on the same disk.
        with psycopg.connect(world.cluster.database_url) as other, pytest.raises(psycopg.errors.DiskFull):
            other.execute("CREATE TABLE ballast AS SELECT repeat('x', 2000) FROM generate_series(1, 100)")
        asking.start()
        time.sleep(FULL_SECONDS)
        asking.stop.set()
        asking.join(30)
        crowded.disk.free()
        freed = time.monotonic()
        assert until(lambda: book.times[-1] > freed + 1, 60)
        back = next(moment for moment in book.times if moment > freed) - freed
    counted = check(world.brand, book)
    say(
        f"disk full: {dict(book.statuses)}, a till waited {book.slowest:.1f} s at most;"
        f" identify {len(asking.seconds)} times heard {sorted(asking.statuses)}, p95"
        f" {asking.percentile(0.95) * 1000:.0f} ms; back {back:.1f} s after there was space; compared {dict(counted)}"
    )
    assert book.only_asked_to_come_back()
    assert asking.statuses <= {200, 404}
    assert book.slowest < WAITING_SECONDS
    assert back < RECOVERY_SECONDS
