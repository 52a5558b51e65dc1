"""A batch that is shared by workers of their own connection, and one whose worker is killed, end in the same people."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Event
from time import monotonic

import pytest
from django.conf import settings
from django.db import connection, transaction

from profiles import recognition, resolution, unification
from profiles.models import Merge, Profile, SourceRecord, UnificationStep
from tenants.models import Brand
from tenants.network.models import Job
from tenants.scoping import whole_network
from tests.committed import committed, emptied  # noqa: F401 - fixtures
from tests.profiles.test_recognition import f1, records  # noqa: F401 - a fixture

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

KILLS = 5


def batch() -> subprocess.Popen:
    """`manage.py unify_brand` in a process of its own, on the tests' database, with no other worker to help it."""
    database = settings.DATABASES["default"] | connection.settings_dict
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    environment = {**os.environ, "DATABASE_URL": url, "CELERY_BROKER_URL": "memory://"}
    words = [sys.executable, "manage.py", "unify_brand", "--brand", "acme"]
    return subprocess.Popen(words, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.DEVNULL)


def whole(truth: dict[int, int]) -> None:
    """Everybody's records hang on living profiles, and each that does not live was merged once."""
    assert f1(truth) > 0.95
    owners = set(SourceRecord.objects.values_list("profile", flat=True))
    living = set(Profile.objects.filter(merged_into=None).values_list("pk", flat=True))
    assert owners == living
    assert Merge.objects.count() == Profile.objects.exclude(merged_into=None).count()
    assert not SourceRecord.objects.filter(matched_at=None).exists()
    assert not UnificationStep.objects.exists()


def test_killed_at_any_moment_it_is_carried_on(records):  # noqa: F811
    begin = monotonic()
    assert batch().wait() == 0
    seconds = monotonic() - begin
    whole(records)
    merges = Merge.objects.count()
    for deed in Merge.objects.order_by("-pk"):
        resolution.unmerge(deed, binding=False)
    Merge.objects.all().delete()
    SourceRecord.objects.update(matched_at=None)

    chance = Random(11)
    for _kill in range(KILLS):
        process = batch()
        try:
            assert process.wait(chance.uniform(0.4, 1.0) * seconds) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert batch().wait() == 0

    whole(records)
    assert abs(Merge.objects.count() - merges) <= 0.02 * merges


def test_workers_share_the_steps_and_each_is_carried_out_once(records, monkeypatch):  # noqa: F811
    monkeypatch.setattr(recognition, "MERGED_AT_ONCE", 5)
    job = Job.objects.create(kind=unification.JOB, title="all")
    unification._begin(job)
    todo = UnificationStep.objects.count()

    def work(_worker: int) -> int:
        try:
            connection.set_tenant(Brand.objects.get(slug="acme"))
            carried_out = 0
            with whole_network():
                while UnificationStep.objects.filter(job=job, done_at=None).exists():
                    carried_out += unification.carry_out(job.pk)
            return carried_out
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        shares = list(pool.map(work, range(3)))

    assert sum(shares) == todo
    assert min(shares) > 0
    found = unification.unify_brand()  # ends it
    assert found.merged == Merge.objects.count() > 100
    whole(records)


def test_the_next_stage_waits_for_the_last_step_that_somebody_has_in_hand(records):  # noqa: F811
    job = Job.objects.create(kind=unification.JOB, title="all")
    unification._begin(job)
    first = UnificationStep.objects.filter(stage=0)
    last = first.order_by("-pk").first()
    held, go_on = Event(), Event()

    def somebody() -> None:
        try:
            connection.set_tenant(Brand.objects.get(slug="acme"))
            with transaction.atomic():
                UnificationStep.objects.select_for_update().get(pk=last.pk)
                held.set()
                go_on.wait(30)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(somebody)
        assert held.wait(30)
        try:
            while unification.carry_out(job.pk):
                pass
            assert list(first.filter(done_at=None)) == [last]
            assert not UnificationStep.objects.exclude(stage=0).exclude(done_at=None).exists()
        finally:
            go_on.set()
        other.result(30)
    assert unification.carry_out(job.pk)
    assert not first.filter(done_at=None).exists()
