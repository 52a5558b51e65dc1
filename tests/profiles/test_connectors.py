"""The catalogue of connectors and its pages, contest entries, and what may not leak."""

import json
import re

import pytest
from django.db import connection as database
from django.test import Client
from django.urls import reverse

from profiles import consent
from profiles.connectors import contest, sftp
from profiles.connectors.catalogue import KINDS
from profiles.models import (
    Connection,
    ConsentChange,
    Delivery,
    Profile,
    ProfileFacts,
    Purchase,
    Source,
    SourceRecord,
)
from tenants.models import Brand
from tenants.network.models import AuditEvent, Till
from tests.conftest import HOST
from tests.loyalty.conftest import programme  # noqa: F401 - a fixture
from tests.profiles.sftp_server import PASSWORD, USER, serving

ENTRIES = "/api/v1/contest-entries"
WORDS = "Oui, je veux recevoir les offres par e-mail."
CATALOGUE = "/profiles/connection/"


@pytest.fixture(autouse=True)
def answered_in_english(brand, monkeypatch):
    """Senders are answered, and reports written, in the brand's language."""
    Brand.objects.filter(pk=brand.pk).update(language="en")
    monkeypatch.setattr(database.tenant, "language", "en")


@pytest.fixture
def jury(brand) -> Source:
    return Source.objects.create(code="jeu", name="Jeu de Noël", kind=Source.Kind.CONTEST, trust=30)


@pytest.fixture
def connection(jury) -> Connection:
    return Connection.objects.create(kind="contest", name="Jeu", source=jury)


@pytest.fixture
def key(connection) -> str:
    return connection.issue_key()


def entry(entry_id="E1", **more) -> dict:
    told = {
        "entry_id": entry_id, "contest_id": "noel-2026", "entered_at": "2026-11-20T18:30:00+01:00",
        "first_name": "Marie", "last_name": "Durand", "email": "marie@mail.example",
        "optins": [{"channel": "email", "granted": True, "wording": WORDS}],
    }  # fmt: skip
    return told | more


def post(key, body, content_type="application/json", **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    client = Client(headers={"host": HOST, "authorization": f"Connection {key}", **headers})
    return client.post(ENTRIES, raw, content_type=content_type)


def refused(response, status, code, field=""):
    assert response.status_code == status, response.content
    body = response.json()
    assert body["code"] == code, body
    assert [error["field"] for error in body.get("errors", [])] == ([field] if field else [])
    assert not SourceRecord.objects.exists()
    return body


# --- Contest entries ----------------------------------------------------------------------------------------------


def test_entrants_are_prospects_with_the_words_they_were_shown(key, jury):
    answer = post(key, {"entries": [entry()]})
    assert answer.status_code == 200, answer.content
    assert answer.json()["created"] == 1
    record = SourceRecord.objects.get()
    assert (record.source, record.external_id) == (jury, "noel-2026:E1")
    assert record.stated_at.isoformat() == "2026-11-20T17:30:00+00:00"
    assert record.raw["contest_id"] == "noel-2026"
    change = ConsentChange.objects.get()
    assert (change.channel, change.granted, change.wording, change.at) == (
        "email",
        True,
        WORDS,
        record.stated_at,
    )
    profile = Profile.objects.get()
    assert consent.may_contact(profile, "email")
    assert not Purchase.objects.filter(profile=profile).exists()
    assert ProfileFacts.objects.get(pk=profile.pk).purchases == 0


def test_an_answer_without_its_words_is_no_consent(key):
    told = entry(
        optins=[{"channel": "email", "granted": True, "wording": "  "}, {"channel": "sms", "granted": False}]
    )
    assert post(key, {"entries": [told]}).json()["results"][0]["without_proof"] == ["email", "sms"]
    assert Profile.objects.count() == 1
    assert not ConsentChange.objects.exists()


def test_entries_sent_again_are_known(key):
    body = {"entries": [entry(), entry("E2", email="paul@mail.example", first_name="Paul")]}
    first = post(key, body)
    second = post(key, body)
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    third = post(key, {"entries": [entry()]}).json()
    assert (third["created"], third["unchanged"]) == (0, 1)
    assert Delivery.objects.count() == 2
    assert SourceRecord.objects.count() == 2


def test_an_entry_that_cannot_be_used_keeps_no_other_out(key):
    answer = post(key, {"entries": [entry(store="NOWHERE"), entry("E2")]}).json()
    assert (answer["created"], answer["rejected"]) == (1, 1)
    assert answer["results"][0]["column"] == "store_code"
    assert "NOWHERE" in answer["results"][0]["reason"]
    assert "NOWHERE" not in json.dumps(Delivery.objects.get().detail)


def test_entries_come_as_csv_too(key):
    text = (
        "entry_id;contest_id;entered_at;first_name;last_name;email;optin_email;wording_email;optin_sms;wording_sms\n"
        f"E1;noel-2026;2026-11-20T18:30:00+01:00;Marie;Durand;marie@mail.example;oui;{WORDS};oui;\n"
        "\n"
        f"E2;noel-2026;2026-11-20T18:31:00+01:00;Paul;Petit;paul@mail.example;non;{WORDS};;\n"
    )
    answer = post(key, text.encode("utf-8-sig"), "text/csv; charset=utf-8")
    assert answer.status_code == 200, answer.content
    assert answer.json()["created"] == 2
    told = set(ConsentChange.objects.values_list("record__external_id", "channel", "granted"))
    assert told == {("noel-2026:E1", "email", True), ("noel-2026:E2", "email", False)}


@pytest.mark.parametrize(
    ("text", "field", "word"),
    [
        ("contest_id;entered_at\n", "entry_id", "missing"),
        ("entry_id;contest_id;entered_at;colour\n", "colour", "documented"),
        ("entry_id;contest_id;entered_at\nE1;c\n", "", "line 2"),
        ("entry_id;contest_id;entered_at\nE1;c;yesterday\n", "entered_at", "line 2"),
        ("entry_id;contest_id;entered_at\nE1;c;2026-11-20T18:30:00\n", "entered_at", "line 2"),
        (
            "entry_id;contest_id;entered_at;optin_sms\nE1;c;2026-11-20T18:30:00Z;perhaps\n",
            "optin_sms",
            "neither",
        ),
        ("entry_id;contest_id;entered_at\nE1;c;0001-01-01T00:00:00Z\n", "entered_at", "line 2: the year 1"),
        (
            "entry_id;contest_id;entered_at\nE1;c;2040-01-01T00:00:00Z\n",
            "entered_at",
            "line 2: 2040-01-01 is still to",
        ),
        ("entry_id;contest_id;entered_at\nE1;c;9999-12-31T23:59:59Z\n", "entered_at", "the year 9999"),
        (
            "entry_id;contest_id;entered_at\nE\x001;c;2026-11-20T18:30:00Z\n",
            "",
            "line 2: the character U+0000",
        ),
        ('entry_id;contest_id;entered_at\n"E1;c;2026-11-20T18:30:00Z\n', "", "line"),
        ("entry_id;contest_id;entered_at\n", "", "no entry"),
        ("\n", "entry_id", "missing"),
    ],
)
def test_a_csv_that_is_not_as_documented_names_line_and_column(key, text, field, word):
    assert word in refused(post(key, text.encode(), "text/csv"), 400, "invalid_body", field)["detail"]
    refused(post(key, "entry_id\né".encode("latin-1"), "text/csv"), 400, "invalid_body")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", ""),
        (b"\xff", ""),
        ({"entries": []}, "entries"),
        ({"entries": [entry()] * 501}, "entries"),
        ({"entries": [entry(colour="red")]}, "entries[0].colour"),
        ({"entries": [entry(entered_at="2026-11-20T18:30:00")]}, "entries[0].entered_at"),
        ({"entries": [entry(), entry(entered_at="0001-01-01T00:00:00Z")]}, "entries[1].entered_at"),
        ({"entries": [entry(entered_at="9999-01-01T00:00:00Z")]}, "entries[0].entered_at"),
        ({"entries": [entry(first_name="Ma\x00rie")]}, ""),
        ({"entries": [entry(entry_id="")]}, "entries[0].entry_id"),
        ({"entries": [entry(birth_date="31/12/1990")]}, "entries[0].birth_date"),
        ({"entries": [entry(optins=[{"channel": "fax", "granted": True}])]}, "entries[0].optins[0].channel"),
    ],
)
def test_json_that_is_not_as_documented_names_the_field(key, body, field):
    refused(post(key, body), 400, "invalid_body", field)


def test_without_the_key_nobody_comes_in(connection, key):
    other = Connection.objects.create(kind="contest", name="Other", source=connection.source)
    for wrong in ("", "x", key[:-1], key + "x", f"{other.public_id.hex}.x", f"{'0' * 32}.x", "é"):
        refused(post(wrong, {"entries": [entry()]}), 401, "wrong_signature")
    refused(Client(headers={"host": HOST}).post(ENTRIES, b"{}", content_type="application/json"), 401,
            "wrong_signature")  # fmt: skip
    renewed = connection.issue_key()
    refused(post(key, {"entries": [entry()]}), 401, "wrong_signature")
    Connection.objects.filter(pk=connection.pk).update(is_on=False)
    refused(post(renewed, {"entries": [entry()]}), 503, "not_ready")


def test_a_body_of_20_mb_and_another_method_are_refused(key):
    refused(post(key, b"x" * 20_000_000), 413, "body_too_large")
    odd = Client(headers={"host": HOST}).post(ENTRIES, b"{}", "application/json", CONTENT_LENGTH="many")
    refused(odd, 400, "invalid_body", "Content-Length")
    answer = Client(headers={"host": HOST}).get(ENTRIES)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


def test_a_key_is_kept_as_a_hash_and_sealed(connection, key):
    connection.refresh_from_db()
    assert key not in connection.sealed_secret
    assert key not in connection.secret
    assert connection.answers_to(key)


# --- The catalogue ------------------------------------------------------------------------------------------------


@pytest.fixture
def pages(client_of, diane):
    return client_of(diane)


def test_every_kind_has_a_card_a_format_and_a_sample(pages, connection):
    text = pages.get(CATALOGUE).content.decode()
    for kind in KINDS.values():
        assert str(kind.title) in text
        if kind.code == "web":
            continue  # its page has the snippet to copy
        assert str(kind.format)[:40].split("'")[0] in text
        answer = pages.get(reverse("admin:profiles_connection_sample", args=[kind.code]))
        assert answer.status_code == 200
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert len(answer.content) > 100
    assert reverse("admin:network_till_changelist") in text
    assert reverse("admin:profiles_site_changelist") in text
    assert reverse("admin:profiles_importrun_add") in text
    assert "Jeu" in text
    assert pages.get(reverse("admin:profiles_connection_sample", args=["fax"])).status_code == 404


def test_every_kind_is_in_the_documentation(settings):
    text = (settings.BASE_DIR / "docs/connectors.md").read_text()
    anchors = {
        re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.M)
    }
    assert {kind.anchor for kind in KINDS.values()} <= anchors


def form(**more) -> dict:
    told = {
        "name": "ERP", "is_on": "on", "setting_host": "127.0.0.1", "setting_port": "22", "setting_user": USER,
        "setting_folder": "/in", "setting_pattern": "*.csv", "secret": PASSWORD,
    }  # fmt: skip
    return told | more


def test_a_folder_is_set_up_tested_and_looked_into_by_pages_alone(pages, jury, tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path / "media"
    (tmp_path / "served/in").mkdir(parents=True)
    (tmp_path / "served/in/clients.csv").write_text("Identifiant;Nom;E-mail\nC1;Durand;m@mail.example\n")
    with serving(tmp_path / "served") as server:
        add = f"{CATALOGUE}add/?kind=sftp"
        assert "private key" in pages.get(add).content.decode()
        answer = pages.post(add, form(source=jury.pk, setting_port=server.port))
        made = Connection.objects.get()
        assert answer.headers["Location"] == f"{CATALOGUE}{made.pk}/change/"
        assert (made.kind, made.secret, made.settings["port"]) == ("sftp", PASSWORD, server.port)
        page = pages.get(answer.headers["Location"]).content.decode()
        assert PASSWORD not in page
        assert made.sealed_secret not in page
        tested = pages.post(f"{CATALOGUE}{made.pk}/test/")
        assert "Everything works" in tested.content.decode()
        made.refresh_from_db()
        assert made.tested_at
        assert made.host_key == sftp.fingerprint(server.host_key)
        for _look in range(2):
            pages.post(f"{CATALOGUE}{made.pk}/look/")
        assert Profile.objects.get().email == "m@mail.example"
        page = pages.get(f"{CATALOGUE}{made.pk}/change/").content.decode()
        assert "clients.csv" in page
        assert pages.post(f"{CATALOGUE}{made.pk}/forget-host-key/").status_code == 302
        made.refresh_from_db()
        assert (made.host_key, made.tested_at) == ("", None)
    failed = pages.post(f"{CATALOGUE}{made.pk}/test/").content.decode()
    assert "Not yet" in failed
    assert "refuses the connection" in failed
    assert AuditEvent.objects.filter(object_type="connection").count() == 2


def test_a_secret_is_kept_when_left_empty_but_not_sent_to_another_host(pages, jury):
    pages.post(f"{CATALOGUE}add/?kind=sftp", form(source=jury.pk))
    made = Connection.objects.get()
    Connection.objects.update(host_key="SHA256:known")
    page = f"{CATALOGUE}{made.pk}/change/"
    assert pages.post(page, form(source=jury.pk, secret="", setting_folder="/other")).status_code == 302
    made.refresh_from_db()
    assert (made.secret, made.settings["folder"], made.host_key) == (PASSWORD, "/other", "SHA256:known")
    answer = pages.post(page, form(source=jury.pk, secret="", setting_host="evil.example"))
    assert answer.status_code == 200
    assert "not sent to another host" in answer.content.decode()
    assert pages.post(page, form(source=jury.pk, secret="new", setting_host="new.example")).status_code == 302
    made.refresh_from_db()
    assert (made.secret, made.settings["host"], made.host_key) == ("new", "new.example", "")


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"setting_port": "70000"}, "a port lies between"),
        ({"setting_port": "x"}, "whole number"),
        ({"setting_host": "sftp://h"}, "a host name alone"),
        ({"setting_folder": "/a/../../etc"}, "has no «..»"),
        ({"setting_user": ""}, "required"),
        ({"secret": ""}, "required"),
        ({"source": ""}, "required"),
    ],
)
def test_a_wrong_setting_is_told_at_its_field(pages, jury, wrong, word):
    answer = pages.post(f"{CATALOGUE}add/?kind=sftp", form(source=jury.pk) | wrong)
    assert answer.status_code == 200
    assert word in answer.content.decode()
    assert not Connection.objects.exists()


def test_without_a_kind_the_form_asks_which(pages):
    for address in ("add/", "add/?kind=fax", "add/?kind=till"):
        assert "Which kind of connector?" in pages.get(CATALOGUE + address).content.decode()
        assert pages.post(CATALOGUE + address, {"name": "x"}).status_code == 200
    assert not Connection.objects.exists()


def test_a_contest_s_key_is_shown_once_and_its_test_leaves_nothing(pages, jury):
    answer = pages.post(f"{CATALOGUE}add/?kind=contest", {"name": "Jeu", "source": jury.pk, "is_on": "on"})
    shown = re.search(r"Authorization: Connection ([^<\s]+)<", answer.content.decode()).group(1)
    assert "no-store" in answer.headers["Cache-Control"]
    made = Connection.objects.get()
    assert made.answers_to(shown)
    tested = pages.post(f"{CATALOGUE}{made.pk}/test/").content.decode()
    assert "1 of 1 entries would be taken in" in tested
    assert not Delivery.objects.exists()
    assert not Profile.objects.exists()
    made.refresh_from_db()
    assert made.answers_to(shown)  # the test's own key was undone with it
    assert shown not in pages.get(f"{CATALOGUE}{made.pk}/change/").content.decode()
    assert post(shown, {"entries": [entry()]}).status_code == 200
    assert "First record arrived" in pages.get(f"{CATALOGUE}{made.pk}/change/").content.decode()


@pytest.mark.parametrize("kind", ["shopify", "woocommerce"])
def test_a_shop_is_set_up_and_tested_along_the_real_path(pages, jury, lille, programme, kind):  # noqa: F811
    till = Till(store=lille, code="WEB")
    till.issue_key()
    add = f"{CATALOGUE}add/?kind={kind}"
    told = {"name": "Shop", "source": jury.pk, "secret": "hush", "setting_consent_wording": WORDS}
    assert "required" in pages.post(add, told).content.decode()
    assert pages.post(add, told | {"till": till.pk}).status_code == 302
    made = Connection.objects.get()
    page = pages.get(f"{CATALOGUE}{made.pk}/change/").content.decode()
    assert f"/api/v1/webhooks/{made.public_id}" in page
    assert not made.is_on
    tested = pages.post(f"{CATALOGUE}{made.pk}/test/").content.decode()
    assert "earns" in tested
    assert "Everything works" in tested
    for model in (Purchase, Profile, SourceRecord, Delivery):
        assert not model.objects.exists()
    made.refresh_from_db()
    assert made.tested_at
    assert not made.is_on
    Connection.objects.update(sealed_secret="lost")
    assert "enter it again" in pages.post(f"{CATALOGUE}{made.pk}/test/").content.decode()


def test_who_only_reads_sees_settings_and_no_buttons(client_of, alice, connection, jury):
    folder = Connection(kind="sftp", name="ERP", source=jury, settings={"host": "h.example", "user": "u"})
    folder.secret = PASSWORD
    folder.save()
    page = client_of(alice).get(f"{CATALOGUE}{folder.pk}/change/").content.decode()
    assert "h.example" in page
    assert PASSWORD not in page
    assert "/test/" not in page
    assert "/test/" not in client_of(alice).get(CATALOGUE).content.decode()


def test_a_contest_entry_in_words_is_pure():
    told = contest.told(contest.read_json(json.dumps({"entries": [entry()]}).encode())[0], 1)
    assert told.statement.external_id == "noel-2026:E1"
    assert told.without_proof == ()
