"""`POST /api/v1/events`: a result for each event, public keys for browsers, tills' keys for stores."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from profiles.models import Event, EventTally, EventType, QuarantinedEvent, Site, Source
from tests.conftest import HOST

ORIGIN = "https://shop.example"
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC).isoformat()


@pytest.fixture
def site(brand) -> Site:
    source = Source.objects.create(code="shop", name="Web shop", kind=Source.Kind.ECOMMERCE)
    return Site.objects.create(name="Shop", source=source, origins=f"{ORIGIN}\nhttps://www.shop.example")


@pytest.fixture
def send(site, client_of):
    """`send(body, origin=…, key=…)`: as a browser sends it, text/plain with the key in the address."""
    client = client_of()

    def call(body, *, origin=ORIGIN, key=None, **more):
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        headers = {"host": HOST, "accept-language": "en"} | ({"origin": origin} if origin else {})
        address = f"/api/v1/events?key={site.key if key is None else key}"
        return client.post(address, text, content_type="text/plain;charset=UTF-8", headers=headers, **more)

    return call


def told(event_id="e1", **more) -> dict:
    return {
        "id": event_id,
        "type": "page_viewed",
        "at": NOON,
        "device": "d1",
        "properties": {"url": "u"},
    } | more


def test_one_event_with_consent_is_accepted(send, site):
    answer = send(told(consent=True))
    assert answer.status_code == 200
    assert answer.json() == {
        "received": 1, "accepted": 1, "known": 0, "quarantined": 0, "rejected": 0,
        "results": [{"id": "e1", "status": "accepted", "problem": None}],
    }  # fmt: skip
    assert send(told(consent=True)).json()["known"] == 1
    event = Event.objects.get()
    assert (event.site, event.channel, event.type.code) == (site, "web", "page_viewed")
    site.refresh_from_db()
    assert timezone.now() - site.last_event_at < timedelta(minutes=1)


def test_a_batch_answers_event_by_event_and_the_numbers_add_up(send):
    send({"consent": True, "events": [told("a")]})
    batch = [
        told("a"), told("a", device="other"), told("b"), told("c", type="cart_exploded"), {"id": "d"}, 7,
        told("e", colour="red"), told("f", at="2026-11-02T12:00:00"), told("g", properties={"url": "x" * 20_000}),
        told("h", identity={"email": "a@b.example", "card": "1"}), told("i", identity={}),
        told("j", properties={"url": "nul \x00"}), told("k", at="9999-12-31T23:59:00+00:00"),
        told("l", identity={"email": "anna@mail.example"}), told("m", properties={"url": 5}),
    ]  # fmt: skip
    body = send({"consent": True, "events": batch}).json()
    problems = [(r["id"], r["status"], r["problem"] and r["problem"]["code"]) for r in body["results"]]
    assert problems == [
        ("a", "known", None),
        ("a", "rejected", "event_conflict"),
        ("b", "accepted", None),
        ("c", "quarantined", "unknown_type"),
        ("d", "rejected", "invalid_event"),
        ("", "rejected", "invalid_event"),
        ("e", "rejected", "invalid_event"),
        ("f", "rejected", "invalid_event"),
        ("g", "rejected", "too_large"),
        ("h", "rejected", "invalid_identity"),
        ("i", "rejected", "invalid_identity"),
        ("j", "rejected", "invalid_event"),
        ("k", "rejected", "implausible_date"),
        ("l", "accepted", None),
        ("m", "quarantined", "wrong_type"),
    ]
    assert body["received"] == 15 == sum(body[n] for n in ("accepted", "known", "quarantined", "rejected"))
    assert body["results"][14]["problem"]["field"] == "properties.url"
    assert (Event.objects.count(), QuarantinedEvent.objects.count()) == (3, 2)
    tally = EventTally.objects.get()
    assert (tally.received, tally.accepted, tally.quarantined) == (16, 3, 2)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 400, "invalid_body"),
        ("{", 400, "invalid_body"),
        ("[]", 400, "invalid_body"),
        ('{"consent": true, "events": []}', 400, "invalid_body"),
        ('{"consent": true, "events": 7}', 400, "invalid_body"),
        ('{"consent": true, "events": [1], "colour": 1}', 400, "invalid_body"),
        ('{"consent": "yes", "events": [1]}', 400, "invalid_body"),
        ({"consent": True, "events": [told(str(n)) for n in range(501)]}, 400, "invalid_body"),
        (
            {"consent": True, "events": [told("a", properties={"url": "x" * 1_100_000})]},
            413,
            "body_too_large",
        ),
        ({"events": [told()]}, 422, "consent_missing"),
        ({"consent": False, "events": [told(consent=True)]}, 422, "consent_missing"),
        (told(), 422, "consent_missing"),
    ],
)
def test_what_is_refused_whole(send, body, status, code):
    answer = send(body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    # The script of the site must be able to read that it was refused, or it would send it for ever.
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert Event.objects.count() == EventTally.objects.count() == 0


@pytest.mark.parametrize("event", [b'{"id": "\xff"}', b'{"id": "\\ud800"}', b"[" * 5000 + b"]" * 5000])
def test_what_is_no_text_is_rejected_by_itself(send, event):
    body = b'{"consent": true, "events": [%s, %s]}' % (event, json.dumps(told()).encode())
    answer = send(body)
    if answer.status_code == 200:
        assert [r["status"] for r in answer.json()["results"]] == ["rejected", "accepted"]
    else:
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_body")


ODD = [
    "9" * 5000, "-" + "1" * 4400, "[" * 900 + "]" * 900, '{"x":' * 950 + "1" + "}" * 950, '"\\ud83d\\ude00"', "1e308",
    "-0.0", "1E-400", '{"b": [1, null, true]}',
]  # fmt: skip


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_an_odd_value_is_taken_as_unknown_or_refused_and_breaks_nothing(send, value):
    sent = json.dumps({"consent": True, "events": [told("odd"), told("fine")]})
    answer = send(sent.replace('"u"}', f'"u", "odd": {value}}}', 1))
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert [r["status"] for r in answer.json()["results"]][1] == "accepted"
    else:
        assert answer.json()["code"] == "invalid_body"


def test_a_length_that_is_no_number_is_no_fault_of_ours(send):
    answer = send(told(), CONTENT_LENGTH="many")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_body")


def test_five_hundred_events_are_taken_in(send):
    answer = send({"consent": True, "events": [told(str(n)) for n in range(500)]})
    assert answer.json()["accepted"] == 500


# --- Keys and origins -------------------------------------------------------------------------------------------------


def test_a_browser_of_the_site_may_read_the_answer_and_needs_no_cookie(send):
    answer = send(told(consent=True))
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Origin" in answer.headers["Vary"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert not answer.cookies


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://shop.example", "null", f"{ORIGIN}.evil.example"]
)
def test_any_other_origin_is_refused_and_reads_nothing(send, origin):
    answer = send(told(consent=True), origin=origin)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_refused")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert Event.objects.count() == 0


def test_an_app_or_a_server_sends_no_origin(send):
    assert send(told(consent=True), origin="").json()["accepted"] == 1


def test_a_preflight_is_answered_for_whoever_sends_json(send, site, client_of):
    headers = {"origin": ORIGIN, "access-control-request-method": "POST"}
    answer = client_of().options(f"/api/v1/events?key={site.key}", headers={"host": HOST} | headers)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"
    elsewhere = {"host": HOST, "origin": "https://evil.example"}
    assert client_of().options(f"/api/v1/events?key={site.key}", headers=elsewhere).status_code == 403


@pytest.mark.parametrize("key", ["", "site_unknown", "x" * 300])
def test_an_unknown_key_is_refused(send, key):
    answer = send(told(consent=True), key=key)
    assert (answer.status_code, answer.json()["code"]) == (401, "unknown_site")


def test_a_site_that_is_switched_off_is_refused(send, site):
    Site.objects.update(is_on=False)
    assert send(told(consent=True)).status_code == 401


def test_nothing_is_read_here(client_of, site):
    answer = client_of().get(f"/api/v1/events?key={site.key}")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


# --- Tills ------------------------------------------------------------------------------------------------------------


def test_a_till_sends_with_its_own_key_for_its_own_store(lille_till, lyon, till_client):
    client = till_client(lille_till[1])
    recognised = told("i1", type="store_visited", properties={}, identity={"card": "2990000000017"})
    answer = client.post("/api/v1/events", json.dumps(recognised), content_type="application/json")
    assert answer.json()["accepted"] == 1
    event = Event.objects.get()
    assert (event.store, event.channel, event.site) == (lille_till[0].store, "store", None)
    assert event.profile.stores.get().store == event.store
    body = {"events": [recognised | {"id": "i2", "store": lyon.code}]}
    answer = client.post("/api/v1/events", json.dumps(body), content_type="application/json")
    assert answer.json()["results"][0]["problem"]["code"] == "unknown_store"


def test_a_till_that_is_not_known_is_refused(brand, till_client):
    answer = till_client("nonsense").post("/api/v1/events", "{}", content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (401, "unknown_till")


# --- At once ----------------------------------------------------------------------------------------------------------


def test_what_was_sent_stands_on_the_customer_page_at_once(send, alice, client_of):
    send({"consent": True, "events": [told("before", properties={"url": "https://shop.example/brie"})]})
    login = told("login", type="customer_logged_in", properties={}, identity={"email": "anna@mail.example"})
    send({"consent": True, "events": [login]})
    anna = Event.objects.get(event_id="login").profile
    page = client_of(alice).get(f"/profiles/profile/{anna.pk}/change/").content.decode()
    assert "https://shop.example/brie" in page
    assert EventType.objects.get(code="page_viewed").label in page
