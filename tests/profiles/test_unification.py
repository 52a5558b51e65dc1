"""A batch in steps: shared by workers, left whole by one that dies, waited for where the next ones build upon them."""

from collections import Counter

import pytest
from django.db import OperationalError
from django.urls import reverse
from psycopg.errors import AdminShutdown, DeadlockDetected

from profiles import recognition, unification
from profiles.models import Household, MatchCandidate, MatchingModel, Merge, SourceRecord, UnificationStep
from profiles.tasks import carry_out_steps, match_new_records
from tenants.network.models import Job
from tests.profiles.test_recognition import f1, records  # noqa: F401 - a fixture

Kind = UnificationStep.Kind


@pytest.fixture
def begun(records, monkeypatch) -> Job:  # noqa: F811
    """A batch that was compared, in steps of a few; none of them is carried out yet."""
    monkeypatch.setattr(recognition, "MERGED_AT_ONCE", 20)
    monkeypatch.setattr(unification, "RECORDS_AT_ONCE", 100)
    job = Job.objects.create(kind=unification.JOB, title="all")
    unification._begin(job)
    assert min(Counter(UnificationStep.objects.values_list("kind", flat=True)).values()) >= 1
    assert UnificationStep.objects.filter(kind=Kind.MERGE).count() > 5
    return job


def test_what_is_compared_changes_nobody_before_its_steps_do(begun):
    assert not Merge.objects.exists()
    assert not MatchCandidate.objects.exists()
    assert SourceRecord.objects.filter(matched_at=None).count() == begun.arguments["records"]
    assert MatchingModel.objects.count() == 1


def test_a_step_that_fails_is_left_as_it_was_to_the_next_worker(begun, monkeypatch):
    real = recognition.merge

    def dies(some, reasons):
        real(some, reasons)
        raise SystemExit

    monkeypatch.setattr(recognition, "merge", dies)
    while UnificationStep.objects.filter(done_at=None).first().kind != Kind.MERGE:
        assert unification.carry_out(begun.pk)
    todo = UnificationStep.objects.filter(done_at=None).count()
    with pytest.raises(SystemExit):
        unification.carry_out(begun.pk)
    assert UnificationStep.objects.filter(done_at=None).count() == todo
    assert not Merge.objects.exists()
    monkeypatch.setattr(recognition, "merge", real)

    found = unification.unify_brand()

    assert found.merged == Merge.objects.count() > 100
    begun.refresh_from_db()
    assert (begun.state, begun.result["merged"]) == (Job.State.DONE, found.merged)
    assert not UnificationStep.objects.exists()
    assert MatchingModel.objects.count() == 1  # it was carried on, not begun anew


def test_a_step_that_met_a_deadlock_is_tried_again_and_other_trouble_is_told(begun, monkeypatch):
    def refused(cause):
        def deed(*_args):
            raise OperationalError from cause

        return deed

    while UnificationStep.objects.filter(done_at=None).first().kind != Kind.MERGE:
        unification.carry_out(begun.pk)
    todo = UnificationStep.objects.filter(done_at=None).count()
    with monkeypatch.context() as crossed:
        crossed.setattr(recognition, "merge", refused(DeadlockDetected()))
        assert unification.carry_out(begun.pk)
        crossed.setattr(recognition, "merge", refused(AdminShutdown()))
        with pytest.raises(OperationalError):
            unification.carry_out(begun.pk)
    assert UnificationStep.objects.filter(done_at=None).count() == todo


def test_a_batch_whose_worker_died_is_carried_on_by_the_timetable(begun):
    assert carry_out_steps.run(begun.pk) > 5  # somebody helped; nobody ended the batch
    assert unification.under_way() == begun

    match_new_records()

    begun.refresh_from_db()
    assert begun.state == Job.State.DONE
    assert Job.objects.filter(kind=unification.JOB).count() == 1


def test_what_goes_wrong_is_told_by_the_job_and_the_next_batch_begins_anew(begun, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(recognition, "queue", lambda *_args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            unification.unify_brand()
    begun.refresh_from_db()
    assert (begun.state, begun.error) == (Job.State.FAILED, "division by zero")
    assert not UnificationStep.objects.exists()

    unification.unify_brand()

    assert Job.objects.get(kind=unification.JOB, state=Job.State.DONE) != begun


@pytest.mark.usefixtures("records")
def test_head_office_has_all_compared_anew_and_sees_the_job(
    alice, client_of, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        answer = client_of(alice).post(reverse("admin:profiles_matchcandidate_unify"))
    job = Job.objects.get(kind=unification.JOB)
    assert answer.url == reverse("admin:network_job_change", args=[job.pk])
    assert (job.state, job.asked_by) == (Job.State.DONE, alice)
    assert job.result["merged"] == Merge.objects.count() > 100
    assert Household.objects.exists()
