"""The register of sources: last heard, lag, errors, rows by verdict; and who fell silent."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from loyalty import till
from profiles import source_health
from profiles.admin.sources import in_words
from profiles.imports import run
from profiles.intake import Shown, SourceNotActive, Statement, Ticket, TicketLine, take_in_records
from profiles.models import (
    Connection,
    Delivery,
    ImportRun,
    PrimaryId,
    Profile,
    Purchase,
    Source,
    SourceRecord,
)
from tenants.network.models import AuditEvent, Job

PAGE = "/profiles/source/"


@pytest.fixture
def crm(brand):
    return Source.objects.create(
        code="crm", name="Head-office CRM", kind=Source.Kind.CRM, trust=80, system="Cegid", owner="Diane",
        contact="crm@acme.example", data="contact data", expected_hours=24,
    )  # fmt: skip


@pytest.fixture
def tills(brand):
    return Source.objects.create(code="till-api", name="Till", kind=Source.Kind.TILL, trust=40)


def told(source, number, *, hours_ago=0, lag_hours=0):
    at = timezone.now()
    outcome = take_in_records(
        source,
        [Statement(str(number), {"last_name": "Durand"}, {"n": number}, stated_at=at - timedelta(hours=lag_hours))],
    )[0]  # fmt: skip
    # received_at is never edited (a trigger): a record of the past is written as one.
    if hours_ago:
        record = SourceRecord.objects.get(pk=outcome.record_id)
        record.pk, record.external_id = None, f"old-{number}"
        record.received_at = at - timedelta(hours=hours_ago)
        record.save(force_insert=True)
        SourceRecord.objects.filter(pk=outcome.record_id).delete()


def health(source):
    return source_health.of_sources()[source.pk]


def test_a_source_silent_for_longer_than_expected_is_silent(crm):
    now = timezone.now()
    assert source_health.silent(now) == [(crm, timedelta.max)]
    told(crm, 1)
    assert source_health.silent(now) == []
    later = timezone.now() + timedelta(hours=25)
    ((source, span),) = source_health.silent(later)
    assert source == crm
    assert timedelta(hours=24) < span < timedelta(hours=26)


def test_who_is_not_expected_or_is_written_to_is_never_silent(crm):
    Source.objects.update(expected_hours=None)
    assert source_health.silent() == []
    Source.objects.update(expected_hours=1, direction="out")
    assert source_health.silent() == []


def test_an_import_counts_its_rows_by_verdict_and_its_rejects_as_errors(crm, tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path
    path = tmp_path / "a.csv"
    path.write_text(
        "Identifiant;Nom;E-mail\n1;Durand;a@mail.example\n2;Petit;nonsense\n;Nobody;\n1;Durand;a@mail.example\n"
    )
    run.run(run.begin(path, crm, None, "a.csv"), path)
    found = health(crm)
    assert found.rows == {"created": 1, "corrected": 1, "unchanged": 1, "rejected": 1}
    assert (found.errors, found.total, found.error_rate) == (1, 4, 25.0)
    assert found.last_heard is not None
    assert source_health.silent() == []


def test_an_import_in_which_every_row_was_rejected_is_no_success(crm, tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path
    path = tmp_path / "a.csv"
    path.write_text("Identifiant;Nom\n;Durand\n")
    run.run(run.begin(path, crm, None, "a.csv"), path)
    assert health(crm).last_heard is None


def test_lag_of_files_is_how_late_they_came_and_not_how_old_their_people_are(crm):
    told(crm, 1, lag_hours=24 * 365)  # signed up a year ago
    assert health(crm).lag is None
    now, came = timezone.now(), 0
    for gap in (24, 20, 26, 54):  # expected every 24 hours: 0, 2 and 30 hours late
        came += gap
        at = now - timedelta(hours=200) + timedelta(hours=came)
        job = Job.objects.create(kind="import", title="a.csv")
        ImportRun.objects.create(
            source=crm, job=job, file_name="a.csv", file_hash=str(came), charset="utf-8", delimiter=";",
            state="done", started_at=at, finished_at=at,
        )  # fmt: skip
    assert health(crm).lag == timedelta(hours=2)


def test_lag_of_entries_is_how_long_after_they_happened_they_came(crm):
    made = Connection.objects.create(kind="contest", name="Jeu", source=crm)
    now = timezone.now()
    for hours in (1, 5, 30):
        Delivery.objects.create(
            connection=made, ref=str(hours), verdict="done", received=1, created=1, received_at=now,
            stated_at=now - timedelta(hours=hours),
        )  # fmt: skip
    assert health(crm).lag == timedelta(hours=5)


def test_deliveries_count_for_the_source_of_their_connection(crm):
    made = Connection.objects.create(kind="contest", name="Jeu", source=crm)
    Delivery.objects.create(connection=made, ref="1", verdict="done", received=3, created=2, rejected=1)
    Delivery.objects.create(connection=made, ref="2", verdict="refused")
    Delivery.objects.create(connection=made, ref="3", verdict="noted")
    found = health(crm)
    assert (found.rows["created"], found.rows["rejected"]) == (2, 1)
    assert (found.errors, found.total) == (2, 4)
    assert found.last_heard is not None


def test_tickets_count_for_the_tills_and_a_web_shops_for_the_shop(crm, tills, lille_till, lyon_till):
    Connection.objects.create(kind="shopify", name="Shop", source=crm, till=lyon_till[0])
    for machine, count in ((lille_till[0], 2), (lyon_till[0], 1)):
        for number in range(count):
            till.record_purchase(
                machine,
                Ticket(f"R{number}", timezone.now() - timedelta(hours=3), [TicketLine("S", 100, quantity=Decimal(1))],
                       Shown("card", "2990000000017")),
            )  # fmt: skip
    of_tills, of_shop = health(tills), health(crm)
    assert (of_tills.tickets, of_shop.tickets) == (2, 1)
    newest = Purchase.objects.filter(till=lyon_till[0]).latest("received_at").received_at
    assert of_shop.last_heard == newest
    assert of_tills.lag > timedelta(hours=2)


def test_what_is_older_than_30_days_counts_no_more(crm):
    made = Connection.objects.create(kind="contest", name="Jeu", source=crm)
    old = timezone.now() - timedelta(days=31)
    Delivery.objects.create(connection=made, ref="1", verdict="done", received=1, created=1, received_at=old)
    found = health(crm)
    assert (found.total, found.last_heard) == (0, old)


def test_any_number_of_sources_asks_a_fixed_number_of_questions(
    crm, tills, lille_till, django_assert_max_num_queries
):
    for number in range(20):
        told(
            Source.objects.create(code=f"s{number}", name=f"S{number}", kind="other", expected_hours=1),
            number,
        )
    with django_assert_max_num_queries(10):
        source_health.of_sources()
    with django_assert_max_num_queries(6):
        source_health.silent()


# --- Pages --------------------------------------------------------------------------------------------------------


def test_the_list_is_the_register_and_a_silent_source_says_so_by_word_and_icon(client_of, alice, crm):
    text = client_of(alice).get(PAGE).content.decode()
    for word in ("Cegid", "Diane", "crm@acme.example", "contact data", "comes in", "expected every 24 hours"):
        assert word in text, word
    assert "never heard of" in text
    assert "notifications_paused" in text
    told(crm, 1)
    made = Connection.objects.create(kind="contest", name="Jeu", source=crm)
    Delivery.objects.create(
        connection=made, ref="1", verdict="done", stated_at=timezone.now() - timedelta(hours=5)
    )
    text = client_of(alice).get(PAGE).content.decode()
    assert "on time" in text
    assert "notifications_paused" not in text
    assert "5 hours" in text
    told(
        Source.objects.create(code="x", name="Old shop", kind="ecommerce", expected_hours=2), 2, hours_ago=49
    )
    assert "silent" in client_of(alice).get(PAGE).content.decode()


def test_head_office_s_first_page_has_a_line_when_a_source_is_silent(client_of, alice, bruno, crm):
    home = reverse("admin:index")
    assert "Head-office CRM (never heard of)" in client_of(alice).get(home).content.decode()
    assert "Head-office CRM" not in client_of(bruno).get(home).content.decode()
    told(crm, 1)
    assert "Silent for longer" not in client_of(alice).get(home).content.decode()
    Source.objects.update(expected_hours=1)
    told(
        Source.objects.create(code="x", name="Old shop", kind="ecommerce", expected_hours=2), 2, hours_ago=49
    )
    assert "Old shop (2 days)" in client_of(alice).get(home).content.decode()


def test_the_register_is_kept_by_the_administrator(client_of, diane, crm):
    form = {
        "name": "CRM",
        "kind": "crm",
        "trust": 80,
        "system": "Cegid",
        "direction": "both",
        "expected_hours": 0,
    }
    answer = client_of(diane).post(f"{PAGE}{crm.pk}/change/", form)
    assert answer.status_code == 200
    assert "greater than or equal to 1" in answer.content.decode()
    assert client_of(diane).post(f"{PAGE}{crm.pk}/change/", form | {"expected_hours": 6}).status_code == 302
    crm.refresh_from_db()
    assert (crm.expected_hours, crm.direction, crm.code) == (6, "both", "crm")


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(seconds=5), "less than a minute"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(hours=23, minutes=59), "23 hours"),
        (timedelta(days=1500), "1,500 days"),
    ],
)
def test_spans_in_words(span, words):
    assert in_words(span) == words


# --- Being set up, or active -----------------------------------------------------------------------------------------

FILE = "Identifiant;Nom;E-mail\n1;Durand;a@mail.example\n"


@pytest.fixture
def unset(brand):
    return Source.objects.create(code="new", name="New shop", kind=Source.Kind.ECOMMERCE, identified_by="")


def test_nothing_of_a_source_being_set_up_is_taken_in(unset, tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path / "media"
    with pytest.raises(SourceNotActive, match="New shop"):
        told(unset, 1)
    path = tmp_path / "a.csv"
    path.write_text(FILE)
    with pytest.raises(run.CannotImport, match="being set up"):  # nobody chose: a guess does not
        run.begin(path, unset, None, "a.csv")
    assert not SourceRecord.objects.exists()
    unset.refresh_from_db()
    assert not unset.is_active


def test_the_columns_chosen_for_its_first_file_make_it_active(unset, tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path / "media"
    path = tmp_path / "a.csv"
    path.write_text(FILE)
    mapping = {"Identifiant": "external_id", "Nom": "last_name", "E-mail": "email"}
    done = run.run(run.begin(path, unset, None, "a.csv", mapping=mapping), path)
    unset.refresh_from_db()
    assert (done.created, unset.identified_by, unset.id_column) == (1, "own", "Identifiant")
    assert AuditEvent.objects.filter(verb="activated", object_id=str(unset.pk)).exists()
    path.write_text("Réf;Nom;E-mail\n9;Durand;a@mail.example\n")
    plan = run.prepare(path, unset, mapping={"Réf": "external_id", "Nom": "last_name", "E-mail": "email"})
    assert any("told apart by «Identifiant»" in problem.message for problem in plan.problems)


def test_a_source_added_by_hand_is_being_set_up_until_its_id_is_chosen(client_of, diane):
    client = client_of(diane)
    page = client.get(f"{PAGE}add/")
    assert page.context["adminform"].form["identified_by"].value() == ""
    sent = {
        "name": "Brevo",
        "code": "brevo",
        "kind": "crm",
        "trust": "50",
        "direction": "in",
        "identified_by": "",
    }
    assert client.post(f"{PAGE}add/", sent).status_code == 302
    source = Source.objects.get(code="brevo")
    assert not source.is_active
    assert "being set up" in client.get(PAGE).content.decode()
    change = f"{PAGE}{source.pk}/change/"
    nameless = client.post(change, sent | {"identified_by": "own"})
    assert list(nameless.context["adminform"].form.errors) == ["id_column"]
    assert client.post(change, sent | {"identified_by": "own", "id_column": "CONTACT_ID"}).status_code == 302
    assert "by «CONTACT_ID»" in client.get(PAGE).content.decode()
    told(Source.objects.get(code="brevo"), 1)
    again = client.post(change, sent)
    assert list(again.context["adminform"].form.errors) == ["identified_by"]


def test_a_connector_of_a_source_being_set_up_is_told_to_come_back(unset, client_of):
    connection = Connection.objects.create(source=unset, kind="contest", name="Contest", is_on=True)
    key = connection.issue_key()
    answer = client_of().post(
        "/api/v1/contest-entries",
        {"entries": [{"entry_id": "E1", "contest_id": "c", "entered_at": timezone.now().isoformat(),
                      "last_name": "Durand"}]},
        content_type="application/json", headers={"authorization": f"Connection {key}"},
    )  # fmt: skip
    assert (answer.status_code, answer.json()["code"]) == (503, "source_not_active")
    assert "New shop" in answer.json()["detail"]
    assert not Delivery.objects.exists()


# --- By which number customers are spoken of -------------------------------------------------------------------------


def test_the_primary_identifier_is_chosen_once_for_the_brand_and_heads_the_customer_s_page(
    client_of, diane, alice, crm
):
    fields = {"last_name": "Durand", "card": "2990000000017", "customer_id": "KD 4711"}
    person = Profile.objects.get(pk=take_in_records(crm, [Statement("1", fields, fields)])[0].profile_id)
    nameless = Profile.objects.get(
        pk=take_in_records(crm, [Statement("2", {"last_name": "Petit"}, {})])[0].profile_id
    )
    choose, page = f"{PAGE}primary-id/", "/profiles/profile/{}/change/"
    assert PrimaryId.chosen() == "own"
    assert client_of(diane).get(page.format(person.pk)).context["primary"] is None
    for kind, word in (("card", "2990000000017"), ("customer", "KD4711")):
        assert client_of(diane).post(choose, {"kind": kind}).status_code == 302
        assert client_of(alice).get(page.format(person.pk)).context["primary"][1] == [word]
        text = client_of(alice).get(page.format(nameless.pk)).content.decode()
        assert "none" in text
        assert str(nameless.public_id) in text
    assert PrimaryId.objects.count() == 1
    assert client_of(diane).post(choose, {"kind": "shoe size"}).status_code == 400
    assert client_of(alice).post(choose, {"kind": "own"}).status_code == 403
    assert PrimaryId.chosen() == "customer"


def test_the_database_holds_one_primary_identifier(brand):
    PrimaryId.objects.create(kind="card")
    for wrong in ({"kind": "own"}, {"kind": "own", "is_only_one": False}, {"kind": "shoe"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            PrimaryId.objects.create(**wrong)
