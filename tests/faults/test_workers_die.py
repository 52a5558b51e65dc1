"""Processes of the web server are killed: others go on, new ones come, nothing is lost."""

import time

from tests.faults.oracles import check
from tests.faults.servers import until
from tests.faults.tills import busy, in_seconds

RESPAWN_SECONDS = 10.0


def test_workers_killed_one_after_the_other_and_all_at_once(world, web, chance, times, say):
    moments = []
    with busy(web.port, world.machines, world.book, "workers"):
        time.sleep(1)
        for kill_all in [False, False, True] * times:
            before = {process.pid for process in web.workers()}
            assert len(before) == 2
            moments.append(time.monotonic())
            for process in web.workers() if kill_all else [chance.choice(web.workers())]:
                process.kill()
            gone = before if kill_all else set()
            assert until(
                lambda: len(now := {process.pid for process in web.workers()}) == 2
                and now != before and not now & gone,
                RESPAWN_SECONDS,
            ), web.log()[-2000:]  # fmt: skip
            time.sleep(2)
    silences = world.book.silences(moments)
    counted = check(world.brand, world.book)
    say(
        f"workers killed: no write for {in_seconds(silences)} s; {dict(world.book.statuses)}; compared {dict(counted)}"
    )
    assert world.book.only_asked_to_come_back()
