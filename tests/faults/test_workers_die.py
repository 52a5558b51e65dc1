"""Processes of the web server are killed: others go on, new ones come, nothing is lost."""

import time

from tests.faults.oracles import check
from tests.faults.servers import until
from tests.faults.tills import busy, in_seconds

# Of which most is what Python takes to start, on a machine that has other work.
RESPAWN_SECONDS = 45.0
# The web server takes a process that dies sooner after its birth for one that cannot live, and gives up.
BETWEEN_SECONDS = 6.0


def test_workers_killed_one_after_the_other_and_all_at_once(world, web, chance, times, say):
    moments = []
    with busy(web.port, world.machines, world.book, "workers"):
        time.sleep(1)
        for number in [1, 2] * times:
            before = web.workers()
            assert len(before) == 2
            moments.append(time.monotonic())
            killed = chance.sample(before, number)
            for process in killed:
                process.kill()
            assert until(lambda killed=killed: are_replaced(web, killed), RESPAWN_SECONDS), web.log()[-2000:]
            time.sleep(BETWEEN_SECONDS)
    silences = world.book.silences(moments)
    counted = check(world.brand, world.book)
    say(
        f"workers killed: no write for {in_seconds(silences)} s; {dict(world.book.statuses)}; compared {dict(counted)}"
    )
    assert world.book.only_asked_to_come_back()
    assert max(silences) < RESPAWN_SECONDS


def are_replaced(web, killed) -> bool:
    now = {process.pid for process in web.workers()}
    return len(now) == 2 and not now & {process.pid for process in killed}
