"""An import undone is an import that never was: records, consents, people, merges; and who bought meanwhile stays."""

import os
from datetime import timedelta
from itertools import count

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from loyalty import till as tills
from loyalty.models import Account
from profiles import merging
from profiles.imports import run, undo
from profiles.imports.files import kept
from profiles.intake import ConsentStatement, Shown, Statement, take_in_records
from profiles.models import (
    ConsentChange,
    Identifier,
    ImportRun,
    Merge,
    Profile,
    ProfileFacts,
    ProfileStore,
    RejectedRow,
    Source,
    SourceRecord,
)
from tests.loyalty.conftest import programme, ticket  # noqa: F401 - a fixture

CARD = "2990000001234"
HEADER = "Identifiant;Nom;Prénom;E-mail;Carte;Accord e-mail;Texte de l'accord;Magasin;Date d'inscription\n"
ANNA = f"1;Dubois;Anna;anna@exemple.fr;{CARD};oui;J'accepte;ACM-001;03/02/2024\n"
BERTHE = "2;Caron;Berthe;berthe@exemple.fr;;non;J'accepte;ACM-001;04/02/2024\n"
BROKEN = "3;;;;;;;;\n"


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def crm(brand):
    return Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)


@pytest.fixture
def shop(brand):
    return Source.objects.create(code="shop", name="Web shop", kind=Source.Kind.ECOMMERCE)


@pytest.fixture
def imported(crm, tmp_path, lille):
    """`imported(ANNA, BERTHE)`: a file of these rows, taken in."""
    numbers = count(1)

    def take_in(*rows: str) -> ImportRun:
        path = tmp_path / f"clients{next(numbers)}.csv"
        path.write_text(HEADER + "".join(rows))
        return run.run(run.begin(path, crm, None, path.name), path)

    return take_in


def undone(import_run: ImportRun, by=None) -> ImportRun:
    undo.undo(import_run, by)
    import_run.refresh_from_db()
    return undo.run(import_run)


def picture() -> list:
    """Every row that an import may write."""
    people = (
        Profile,
        ProfileFacts,
        ProfileStore,
        SourceRecord,
        Identifier,
        ConsentChange,
        RejectedRow,
        Merge,
    )
    return [sorted(map(str, model.objects.values())) for model in people]


def test_nothing_is_left_of_an_import_of_strangers(imported, alice):
    before = picture()
    done = imported(ANNA, BERTHE, BROKEN)
    assert picture() != before
    undone(done, alice)
    assert picture() == before
    assert (done.state, done.received, done.rejected) == ("undoing", 3, 1) or done.state == "undone"
    assert not kept(done.file_hash).exists()


def test_what_was_known_before_is_as_it_was(imported, crm, lille):
    take_in_records(
        crm,
        [
            Statement(
                "1", {"first_name": "Anna", "last_name": "Petit", "email": "petit@exemple.fr"}, {"id": "1"},
                stated_at=timezone.now() - timedelta(days=2000), store_code=lille.code,
                consents=[ConsentStatement("email", granted=False, wording="Non")],
            )
        ],
    )  # fmt: skip
    before = picture()
    done = imported(ANNA, BERTHE)
    assert Profile.objects.get(last_name="Dubois").facts.email_allowed
    undone(done)
    assert picture() == before


def test_merges_made_with_it_are_taken_back_and_matching_looks_again(imported, shop):
    [told] = take_in_records(
        shop, [Statement("9", {"first_name": "Anna", "email": "anna@exemple.fr"}, {"id": "9"})]
    )
    SourceRecord.objects.update(matched_at=timezone.now())
    done = imported(ANNA)
    anna = SourceRecord.objects.get(external_id="1").profile
    merging.merge(Profile.objects.get(pk=told.profile_id), anna, ground=Merge.Ground.MATCH)
    undone(done)
    [left] = Profile.objects.all()
    assert (left.pk, left.merged_into, left.last_name) == (told.profile_id, None, "")
    assert not Merge.objects.exists()
    assert SourceRecord.objects.get().matched_at is None


def test_what_a_person_decided_about_two_who_stay_still_holds(imported, crm, shop, alice):
    old = {"first_name": "Anna", "last_name": "Dubois", "email": "anna@exemple.fr"}
    [one] = take_in_records(crm, [Statement("1", old, {"id": "1"})])
    [other] = take_in_records(
        shop, [Statement("9", {"first_name": "A", "email": "a@exemple.fr"}, {"id": "9"})]
    )
    done = imported(ANNA, BERTHE)
    both = Profile.objects.get(pk=one.profile_id), Profile.objects.get(pk=other.profile_id)
    merging.merge(*both, ground=Merge.Ground.PERSON, by=alice)
    undone(done)
    assert Profile.objects.get(pk=other.profile_id).survivor.pk == one.profile_id
    assert Merge.objects.get(undone_at=None).by == alice


def test_who_bought_meanwhile_stays_with_points_and_is_found_by_the_same_card(
    imported, lille_till, programme  # noqa: F811
):  # fmt: skip
    machine = lille_till[0]
    done = imported(ANNA, BERTHE)
    anna = Profile.objects.get(first_name="Anna")
    tills.record_purchase(machine, ticket("R1", 5000, shown=Shown("card", CARD)))
    undone(done)
    [left] = Profile.objects.all()
    assert (left.pk, left.first_name, left.email) == (anna.pk, "", "")
    assert left.facts.spend_cents == 5000
    assert not left.facts.email_allowed
    assert tills.identify(machine, Shown("card", CARD))["id"] == str(anna.public_id)
    assert Account.objects.filter(profile=anna).exists()
    again = imported(ANNA)
    assert (again.created, Profile.objects.get().first_name) == (1, "Anna")


def test_a_later_import_that_says_the_same_is_undone_first(imported):
    first, later = imported(ANNA, BERTHE), imported(ANNA, BERTHE, BROKEN)
    assert later.unchanged == 2
    with pytest.raises(run.NotNow, match="clients2"):
        undo.undo(first, None)
    undone(later)
    assert SourceRecord.objects.count() == 2
    undone(first)
    assert not Profile.objects.exists()


def test_a_consent_told_again_goes_with_the_import_that_told_it_again(imported):
    imported(ANNA)
    again = ANNA.replace("03/02/2024", "03/02/2025")
    later = imported(again)
    assert ConsentChange.objects.count() == 2
    undone(later)
    assert ConsentChange.objects.get().at.year == 2024


def test_undone_it_can_be_taken_in_again(imported):
    undone(imported(ANNA, BERTHE))
    again = imported(ANNA, BERTHE)
    assert (again.created, again.unchanged) == (2, 0)


def test_a_killed_undoing_goes_on_with_what_is_left(imported, monkeypatch):
    monkeypatch.setattr(undo, "CHUNK", 1)
    done = imported(ANNA, BERTHE)
    undo.undo(done, None)
    done.refresh_from_db()
    undo._undo_chunk(done)
    assert SourceRecord.objects.count() == 1
    undo.run(done)
    assert not Profile.objects.exists()
    assert done.job.state == "done"


def test_only_an_import_of_late_that_is_over_can_be_undone(imported, crm, tmp_path):
    done = imported(ANNA)
    ImportRun.objects.update(finished_at=timezone.now() - undo.WITHIN - timedelta(minutes=1))
    with pytest.raises(run.NotNow):
        undo.undo(done, None)
    path = tmp_path / "c.csv"
    path.write_text(HEADER + BERTHE)
    waiting = run.run(run.begin(path, crm, None, "c.csv", awaits_word=True), path)
    with pytest.raises(run.NotNow):
        undo.undo(waiting, None)


def test_the_database_lets_no_consent_go_unless_its_import_is_being_undone(imported):
    done = imported(ANNA)
    with pytest.raises(DatabaseError, match="consent_is_append_only"), transaction.atomic():
        ConsentChange.objects.filter(record__import_run=done).delete()
    ImportRun.objects.update(state=ImportRun.State.UNDOING)
    assert ConsentChange.objects.filter(record__import_run=done).delete()[0] == 1


def test_called_off_it_keeps_whole_chunks_and_can_go_on_or_be_undone(imported, crm, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "CHUNK", 1)
    path = tmp_path / "clients.csv"
    path.write_text(HEADER + ANNA + BERTHE)
    begun = run.begin(path, crm, None, "clients.csv")

    def call_off_at_the_first(done, total):
        if begun.job and ImportRun.objects.get(pk=begun.pk).received == 1:
            run.cancel(begun, None)

    stopped = run.run(begun, path, report=call_off_at_the_first)
    assert (stopped.state, stopped.received, stopped.job.state) == ("cancelled", 1, "cancelled")
    assert SourceRecord.objects.count() == 1
    with pytest.raises(run.NotNow):
        run.cancel(stopped, None)
    run.go_on(stopped, None)
    ended = run.run(ImportRun.objects.get(pk=begun.pk), path)
    assert (ended.state, ended.received, ended.created) == ("done", 2, 2)
    undone(ended)
    assert not Profile.objects.exists()


def test_a_file_is_kept_as_long_as_its_import_can_be_undone(imported):
    done = imported(ANNA)
    assert undo.forget_files() == 0
    ImportRun.objects.update(finished_at=timezone.now() - undo.WITHIN - timedelta(minutes=1))
    assert undo.forget_files() == 0, "uploaded of late: somebody may be about to import it again"
    long_ago = (timezone.now() - timedelta(days=8)).timestamp()
    os.utime(kept(done.file_hash), (long_ago, long_ago))
    assert (undo.forget_files(), kept(done.file_hash).exists()) == (1, False)
    assert undo.forget_files() == 0
