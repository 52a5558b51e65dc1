"""Valkey is away for the whole run: tills notice nothing, and what was to be done later is done once it is back."""

import time

from django.db import connection

from tests.faults.conftest import opened
from tests.faults.oracles import check, rows
from tests.faults.servers import WORKER, send, until
from tests.faults.tills import Line, busy

# Of what the tills do with a broker, so much at least do they do without.
SHARE = 0.5


def test_tills_do_without_a_broker(world, web, times, say):
    seconds = 3 * times
    with busy(web.port, world.machines, world.book, "with-broker"):
        time.sleep(seconds)
    usual = len(world.book.times)
    world.cluster.stop_broker()
    try:
        with busy(web.port, world.machines, world.book, "no-broker"):
            time.sleep(seconds)
    finally:
        world.cluster.start_broker()
    counted = check(world.brand, world.book)
    without = len(world.book.times)
    say(f"writes in {seconds} s: {usual} with a broker, {without} without; compared {dict(counted)}")
    assert world.book.only_asked_to_come_back()
    assert without > SHARE * usual


def test_what_was_to_be_done_later_is_done_when_the_broker_is_back(world, web, say):
    """People who enrolled meanwhile are compared by a worker that was started without its broker, and found it."""
    brand, machines = opened("later")
    world.cluster.stop_broker()
    line = Line(web.port, machines[0])
    try:
        for number in range(12):
            new = {
                "first_name": "Zoé",
                "last_name": "Delacroix-Lefebvre",
                "email": "zoe.delacroix@mail.example",
            }
            told = {"member": {"card": f"{2_990_000_700_000 + number}"}, "create": new}
            assert line.ask("identify", told).status == 200
        line.close()
        connection.set_tenant(brand)
        assert rows("SELECT count(*) FROM profiles_sourcerecord WHERE matched_at IS NULL") == [(12,)]
        with world.cluster.programme("worker", *WORKER, DJANGO_SETTINGS_MODULE="cdp.settings"):
            assert until(lambda: "Cannot connect" in world.cluster.log_of("worker"), 30)
            world.cluster.start_broker()
            # What the timetable sends at its next turn.
            start = time.monotonic()
            send(
                world.cluster,
                "later",
                "profiles.tasks.match_new_records",
                "loyalty.tasks.apply_parked_returns",
            )
            waiting = "SELECT count(*) FROM profiles_sourcerecord WHERE matched_at IS NULL"
            assert until(lambda: rows(waiting) == [(0,)], 60), world.cluster.log_of("worker")[-3000:]
            say(f"12 records compared {time.monotonic() - start:.1f} s after the broker came back")
    finally:
        world.cluster.start_broker()
    assert rows("SELECT count(*) > 0 FROM profiles_merge") == [(True,)]
