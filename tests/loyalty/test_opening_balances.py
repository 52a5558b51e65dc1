"""The balances of a programme that was run elsewhere: checked as a whole, signed off by two, posted once."""

from datetime import date

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError, connection, transaction
from django.urls import reverse

from loyalty import ledger, opening, proof, statements, tasks
from loyalty.models import Lot, OpeningRun, Transaction
from profiles.intake import Statement, take_in_records
from profiles.models import Profile, Source

HEADER = "Carte;Points;Expiration;Magasin\n"
SOUND = HEADER + (
    "2990000000017;1 200;31/12/2027;ACM-001\n2990000000017;300;;ACM-002\n2990000000024;50;2027-06-30;acm-001\n"
    "2990000009999;70;31/12/2027;ACM-001\n"
)


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def people(lille, lyon, programme_p) -> list[Profile]:
    programme_p()
    crm = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)
    cards = ("2990000000017", "2990000000024")
    told = [Statement(card, {"card": card}, raw={"card": card}, store_code="ACM-001") for card in cards]
    return [Profile.objects.get(pk=outcome.profile_id) for outcome in take_in_records(crm, told)]


@pytest.fixture
def upload(client_of, diane):
    """`upload(text, 1620)`: Diane uploads the file; its run, checked."""

    def sent(text: str, told_points: int) -> OpeningRun:
        file = SimpleUploadedFile("soldes.csv", text.encode())
        form = {"file": file, "told_points": told_points}
        answer = client_of(diane).post(reverse("admin:loyalty_openingrun_add"), form)
        assert answer.status_code == 302
        return OpeningRun.objects.first()

    return sent


def deed(client, run, name) -> str:
    return client.post(reverse(f"admin:loyalty_openingrun_{name}", args=[run.pk]), follow=True).text


def test_balances_are_checked_signed_by_another_and_posted_as_lots(people, upload, client_of, alice, diane):
    run = upload(SOUND, 1620)
    assert (run.state, run.line_count, run.points, run.unknown_lines, run.unknown_points) == (
        "checked", 4, 1620, 1, 70,
    )  # fmt: skip
    assert not Transaction.objects.exists()
    assert "somebody else" in deed(client_of(diane), run, "sign")
    assert "Signed off" in deed(client_of(alice), run, "sign")
    run.refresh_from_db()
    assert (run.state, run.posted_lines, run.posted_points, run.signed_by) == ("done", 3, 1550, alice)
    assert [statements.balance_of(profile).available for profile in people] == [1500, 50]
    assert sorted(Lot.objects.values_list("points", "expires_on", "store__code"), key=str) == [
        (1200, date(2027, 12, 31), "ACM-001"), (300, None, "ACM-002"), (50, date(2027, 6, 30), "ACM-001"),
    ]  # fmt: skip
    assert proof.prove().differences == []
    assert tasks.carry_out_opening(run.pk) == 0
    page = client_of(alice).get(reverse("admin:loyalty_openingrun_change", args=[run.pk])).text
    assert "2990000009999" in page


def test_posting_that_was_killed_is_carried_on(people, upload, alice, monkeypatch):
    run = upload(SOUND, 1620)
    opening.sign(run.pk, by=alice)
    assert opening.post_chunk(run.pk, limit=1) == 1

    def killed(_people):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(opening.members, "refresh", killed)
        with pytest.raises(KeyboardInterrupt), transaction.atomic():
            opening.post_chunk(run.pk, limit=1)
    assert Transaction.objects.count() == 1
    assert opening.under_way() == [run.pk]
    assert tasks.carry_on_openings() == 1
    assert tasks.carry_on_openings() == tasks.carry_out_opening(run.pk) == 0
    run.refresh_from_db()
    assert (run.state, run.posted_lines, run.job.state) == ("done", 3, "done")
    assert [statements.balance_of(profile).available for profile in people] == [1500, 50]
    assert proof.prove().differences == []


def test_a_check_that_was_killed_is_made_by_the_timetable(people, client_of, diane, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tasks.carry_out_opening, "delay", lambda _run_id: None)
        form = {"file": SimpleUploadedFile("soldes.csv", SOUND.encode()), "told_points": 1620}
        client_of(diane).post(reverse("admin:loyalty_openingrun_add"), form)
    run = OpeningRun.objects.get()
    assert (run.state, opening.under_way()) == ("checking", [run.pk])
    assert tasks.carry_on_openings() == 1
    run.refresh_from_db()
    assert (run.state, run.points, run.job.state) == ("checked", 1620, "done")
    # Balances that wait for their sign-off wait for a person.
    assert tasks.carry_on_openings() == 0


def test_posting_that_fails_says_so_and_is_begun_again_by_hand(
    people, upload, client_of, alice, diane, monkeypatch
):
    run = upload(SOUND, 1620)
    opening.sign(run.pk, by=alice)

    def broken(_people):
        raise ValueError("tiers are out of order")

    with monkeypatch.context() as patch:
        patch.setattr(opening.members, "refresh", broken)
        with pytest.raises(ValueError, match="out of order"):
            tasks.carry_out_opening(run.pk)
    run.refresh_from_db()
    assert (run.job.state, run.job.error) == ("failed", "tiers are out of order")
    assert tasks.carry_on_openings() == 0
    deed(client_of(diane), run, "resume")
    run.refresh_from_db()
    assert (run.state, run.job.state, run.posted_points) == ("done", "done", 1550)


def test_errors_are_told_by_line_and_field(people, upload, client_of, alice):
    lines = (
        "2990000000017;12.5;31/12/2027;ACM-001\n;5;;ACM-001\n2990000000024;5;31/02/2027;ACM-001\n"
        "2990000000024;5;01/01/2020;ACM-001\n2990000000024;5;;NOWHERE\n"
        "2990000000024;5;;ACM-001\n2990000000024;6;;ACM-001\n2990000000024;0;;ACM-001\n"
    )
    run = upload(HEADER + lines, 5)
    assert [(line, field) for line, field, _reason in run.problems] == [
        (2, "points"), (3, "customer"), (4, "expires"), (5, "expires"), (6, "store"), (8, "customer"), (9, "points"),
    ]  # fmt: skip
    assert (run.state, run.lines.count()) == ("faulty", 0)
    assert "do not wait" in deed(client_of(alice), run, "sign")
    headless = upload("a;b\n1;2\n", 5)
    assert {field for _line, field, _reason in headless.problems} == {
        "customer",
        "points",
        "expires",
        "store",
    }
    assert upload("\n", 5).state == "faulty"


def test_what_does_not_sum_to_the_old_total_is_not_signed(people, upload, client_of, alice, diane):
    run = upload(SOUND, 1621)
    assert "does not sum" in deed(client_of(alice), run, "sign")
    with pytest.raises(DatabaseError), transaction.atomic():
        OpeningRun.objects.filter(pk=run.pk).update(signed_by=alice, state="posting")
    assert "Withdrawn" in deed(client_of(diane), run, "withdraw")
    run.refresh_from_db()
    assert (run.state, run.lines.count(), Transaction.objects.count()) == ("withdrawn", 0, 0)


def test_what_was_signed_off_never_changes(people, upload, client_of, alice, diane):
    run = upload(SOUND, 1620)
    opening.sign(run.pk, by=alice)
    for statement in ("UPDATE loyalty_openingline SET points = 9", "DELETE FROM loyalty_openingline"):
        with pytest.raises(DatabaseError) as refused, transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
        assert refused.value.__cause__.diag.constraint_name == "signed_opening_never_changes"
    assert "not withdrawn" in deed(client_of(diane), run, "withdraw")
    assert ledger.Transaction.objects.count() == 0


def test_a_store_manager_has_no_part_in_it(people, upload, client_of, bruno):
    run = upload(SOUND, 1620)
    for name in ("sign", "withdraw", "resume"):
        assert (
            client_of(bruno).post(reverse(f"admin:loyalty_openingrun_{name}", args=[run.pk])).status_code
            == 403
        )
    assert client_of(bruno).get(reverse("admin:loyalty_openingrun_changelist")).status_code == 403
