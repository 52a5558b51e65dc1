"""PostgreSQL is killed and restarted while tills write: what was acknowledged happened once, and service returns."""

import time

from django.db import connection

from tests.faults.oracles import check
from tests.faults.servers import until
from tests.faults.tills import busy, in_seconds

RECOVERY_SECONDS = 5.0
BETWEEN_SECONDS = 2.5


def faults_under_load(world, web, seed, fault, number) -> list[float]:
    """So many faults under the load of all tills; how long no write was acknowledged after each."""
    moments = []
    # Other tests have made brands: what is replayed shall be what tills write.
    with connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")
    connection.close()
    with busy(web.port, world.machines, world.book, seed):
        time.sleep(1)
        for _fault in range(number):
            moments.append(time.monotonic())
            fault()
            time.sleep(BETWEEN_SECONDS)
            assert until(lambda: time.monotonic() - world.book.times[-1] < 0.5, 60)
        time.sleep(1)
    return world.book.silences(moments)


def tell(say, what: str, silences: list[float], world) -> None:
    """Compare everything, and print what was measured."""
    counted = check(world.brand, world.book)
    say(
        f"{what}: no write for {in_seconds(silences)} s; {dict(world.book.statuses)}; compared {dict(counted)}"
    )


def test_backends_killed_at_random(world, web, chance, times, say):
    silences = faults_under_load(
        world, web, "backends", lambda: world.cluster.kill_backend(chance), 4 * times
    )
    tell(say, "backends killed", silences, world)
    assert world.book.only_asked_to_come_back()
    assert world.book.duplicates
    assert max(silences) < RECOVERY_SECONDS


def test_the_power_fails(world, web, times, say):
    """The postmaster and all its children at once, then started again, as a supervisor does."""

    def power_cut():
        world.cluster.kill_everything()
        world.cluster.start()

    silences = faults_under_load(world, web, "power", power_cut, 2 * times)
    tell(say, "postmaster killed", silences, world)
    assert world.book.only_asked_to_come_back()
    assert max(silences) < RECOVERY_SECONDS


def test_a_restart_under_load(world, web, times, say):
    silences = faults_under_load(world, web, "restart", world.cluster.restart, 2 * times)
    tell(say, "pg_ctl restart", silences, world)
    assert world.book.only_asked_to_come_back()
    assert max(silences) < RECOVERY_SECONDS
