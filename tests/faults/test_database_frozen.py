"""The database stands still: its connections are taken and never answered. Nobody waits for it for ever."""

import time

from cdp import silence
from tests.faults.oracles import check
from tests.faults.servers import until
from tests.faults.test_slow_database import Asking
from tests.faults.tills import busy

FROZEN_SECONDS = 20
RECOVERY_SECONDS = 5.0
# Besides the longest wait of its own, a request may have stood behind one that waits for a connection.
WAITING_SECONDS = silence.TILL_SECONDS + 2


def test_the_database_stands_still(world, web, say):
    asking = Asking(web.port, world.machines[0])
    with busy(web.port, world.machines, world.book, "frozen"):
        time.sleep(1)
        with world.cluster.frozen():
            asking.start()
            time.sleep(FROZEN_SECONDS)
            asking.stop.set()
            asking.join(30)
        thawed = time.monotonic()
        assert until(lambda: world.book.times[-1] > thawed, 60)
        back = next(moment for moment in world.book.times if moment > thawed) - thawed
        time.sleep(1)
    counted = check(world.brand, world.book)
    at_once = sum(seconds < 0.1 for seconds in asking.seconds) / len(asking.seconds)
    say(
        f"frozen for {FROZEN_SECONDS} s: a till waited {world.book.slowest:.1f} s at most, {dict(world.book.statuses)};"
        f" identify {len(asking.seconds)} times, {at_once:.0%} told to come back at once,"
        f" {max(asking.seconds):.1f} s at most; back after {back:.1f} s; compared {dict(counted)}"
    )
    assert world.book.only_asked_to_come_back()
    assert world.book.statuses[503]
    assert asking.statuses == {503}
    assert max(world.book.slowest, *asking.seconds) < WAITING_SECONDS
    assert at_once > 0.9
    assert back < RECOVERY_SECONDS
