"""Celery workers are killed in the middle of long work: the timetable carries it on, and nothing is done twice."""

import time

import pytest
from django.db import connection

from campaigns import handouts
from campaigns.models import Campaign, Recipient, Segment, SegmentVersion
from loyalty import opening, proof
from loyalty.models import OpeningLine, OpeningRun
from profiles.models import Profile
from tenants.network.models import Job, Staff, Store
from tenants.roles import Role
from tenants.scoping import whole_network
from tests.faults.conftest import opened
from tests.faults.oracles import ORACLES, rows
from tests.faults.servers import WORKER, send, until

PEOPLE = 12_000
LATER = ("loyalty.tasks.carry_on_openings", "campaigns.tasks.carry_on_handouts")
POSTED = "SELECT count(*) FROM loyalty_openingline WHERE transaction_id IS NOT NULL"
GIVEN = "SELECT count(*) FROM campaigns_given"
# Per member: how many lots of which points they ended up with.
LOTS = """SELECT times, points, count(*) FROM (
    SELECT a.profile_id, l.points, count(*) AS times FROM loyalty_lot l JOIN loyalty_account a ON a.id = l.account_id
     GROUP BY 1, 2) held GROUP BY 1, 2 ORDER BY 2"""


@pytest.fixture
def brand(world, monkeypatch):
    """A brand with two jobs that no worker was told of: opening balances, and points for a campaign's audience."""
    monkeypatch.setattr(handouts, "_have_it_done", lambda _handout: None)
    made, _machines = opened("jobs")
    with whole_network():
        staff = [
            Staff.objects.create_user(
                f"{name}@jobs.example", full_name=name, role=Role.BRAND_ADMIN, language="en"
            )
            for name in ("Ann", "Bob")
        ]
        people = Profile.objects.bulk_create((Profile() for _n in range(PEOPLE)), batch_size=5000)
        home = Store.objects.get(code="MAG-1")
        _ask_for_opening(people, home, staff)
        _ask_for_points(people, home, staff[0])
    return made


def _ask_for_opening(people, home, staff) -> None:
    """As after a file without errors was checked; signed off by the second."""
    run = OpeningRun.objects.create(
        file_name="old.csv", state="checked", told_points=7 * PEOPLE, points=7 * PEOPLE, line_count=PEOPLE,
        uploaded_by=staff[0], job=Job.objects.create(kind=opening.JOB_KIND, title="old.csv"),
    )  # fmt: skip
    lines = (
        OpeningLine(run=run, line=n, named=str(n), profile=who, points=7, store=home)
        for n, who in enumerate(people, 2)
    )
    OpeningLine.objects.bulk_create(lines, batch_size=5000)
    opening.sign(run.pk, by=staff[1])


def _ask_for_points(people, home, by) -> None:
    segment = Segment.objects.create(name="All")
    version = SegmentVersion.objects.create(segment=segment, number=1, definition={"all": []}, made_by=by)
    campaign = Campaign.objects.create(
        name="C", segment=segment, segment_version=version, goal="visit", goal_uplift=1, state="frozen"
    )
    Recipient.objects.bulk_create(
        (Recipient(campaign=campaign, profile=who, arm="treated", home_store=home) for who in people),
        batch_size=5000,
    )
    handouts.ask(campaign, points=11, purpose="a test", by=by)


def test_jobs_whose_worker_dies_are_carried_on_by_the_timetable(world, brand, say):
    killed_at = {}
    for what, counted in (("opening", POSTED), ("handout", GIVEN)):
        with world.cluster.programme(what, *WORKER, DJANGO_SETTINGS_MODULE="cdp.settings") as worker:
            send(world.cluster, brand.slug, *LATER)
            assert until(lambda counted=counted: rows(counted)[0][0] > 0, 120), world.cluster.log_of(what)[
                -3000:
            ]
            worker.kill()
            worker.wait()
        killed_at[what] = rows(counted)[0][0]
        assert 0 < killed_at[what] < PEOPLE, "the worker was done before it was killed"
        time.sleep(1)
        assert rows(counted) == [(killed_at[what],)], "nobody goes on by itself"
    with world.cluster.programme("last", *WORKER, DJANGO_SETTINGS_MODULE="cdp.settings"):
        send(world.cluster, brand.slug, *LATER)
        over = "SELECT count(*) FROM network_job WHERE state = 'done' AND finished_at IS NOT NULL AND done = total"
        assert until(lambda: rows(over) == [(2,)], 240), world.cluster.log_of("last")[-3000:]
    say(f"workers killed at {killed_at} of {PEOPLE}; both jobs were carried on to the end")
    assert rows(POSTED) == rows(GIVEN) == [(PEOPLE,)]
    assert rows(LOTS) == [(1, 7, PEOPLE), (1, 11, PEOPLE)]
    assert {name: found for name, query in ORACLES.items() if (found := rows(query))} == {}
    with whole_network():
        assert proof.prove().differences == []
    connection.set_tenant(world.brand)
