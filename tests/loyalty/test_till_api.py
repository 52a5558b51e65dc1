"""The till's interface over HTTP: what it answers, what it refuses and names, and that a refusal writes nothing."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_tenants.utils import schema_context

from loyalty.models import Lot, TillRequest, Transaction
from profiles.models import Profile, Purchase, Refund, SourceRecord
from tenants.network.models import KEY_PREFIX_LENGTH, Region, Store, Till, hash_of_key
from tests.conftest import HOST

CARD = {"card": "2990000001234"}
NOON = "2026-11-02T12:00:00+01:00"
IDENTIFY, QUOTES, PURCHASES, BATCH = (
    f"/api/v1/{p}" for p in ("identify", "quotes", "purchases", "purchases/batch")
)
REFUNDS, REDEMPTIONS = "/api/v1/refunds", "/api/v1/redemptions"
POSTS = [IDENTIFY, QUOTES, PURCHASES, BATCH, REFUNDS, REDEMPTIONS]


def sale(receipt_id="R1", *amounts, **more) -> dict:
    lines = [{"sku": f"SKU{n}", "amount": amount} for n, amount in enumerate(amounts or ("49.90",), start=1)]
    return {"receipt_id": receipt_id, "bought_at": NOON, "member": CARD, "lines": lines} | more


def returned(refund_id="B1", receipt_id="R1", *numbers, **more) -> dict:
    lines = [{"number": number} for number in numbers or (1,)]
    return {"refund_id": refund_id, "refunded_at": NOON, "receipt_id": receipt_id, "lines": lines} | more


def spent(points=100, redemption_id="P1", **more) -> dict:
    return {"redemption_id": redemption_id, "member": CARD, "points": points, "redeemed_at": NOON} | more


class Caller:
    """A till at the wire: posts JSON, or text as it stands."""

    def __init__(self, client):
        self.client = client

    def post(self, path, body, **more):
        data = body if isinstance(body, (str, bytes)) else json.dumps(body)
        return self.client.post(path, data, content_type="application/json", **more)

    def done(self, path, body, status=201) -> dict:
        response = self.post(path, body)
        assert response.status_code == status, response.content
        assert response.headers["Content-Type"] == "application/json"
        return response.json()


@pytest.fixture
def northern(lille_till, programme, till_client) -> Caller:
    return Caller(till_client(lille_till[1]))


@pytest.fixture
def southern(lyon_till, programme, till_client) -> Caller:
    return Caller(till_client(lyon_till[1]))


def rows() -> tuple[int, ...]:
    """How many rows stand in every table that a till's call may write."""
    return tuple(
        model.objects.count()
        for model in (Profile, SourceRecord, Purchase, Refund, Transaction, Lot, TillRequest)
    )


def told(response, status: int, code: str, field: str = "") -> dict:
    """The problem that the response tells, checked to be one in every part."""
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["code"] == code, body
    assert body["type"] == f"/problems/{code}"
    assert body["title"]
    assert body["detail"]
    assert [error["field"] for error in body.get("errors", [])] == ([field] if field else [])
    return body


# --- What goes well ---------------------------------------------------------------------------------------------


def test_a_stranger_is_unknown_until_taken_in(northern):
    told(northern.post(IDENTIFY, {"member": CARD}), 404, "unknown_member")
    new = {
        "first_name": "Marie",
        "last_name": "Durand",
        "email": "Marie.Durand@mail.example",
        "phone": "06 12 34 56 78",
        "birth_date": "1985-02-28",
        "consents": [{"channel": "email", "granted": True, "wording": "Yes please"}],
    }
    member = northern.done(IDENTIFY, {"member": CARD, "create": new}, 200)
    assert member["name"] == "Marie D."
    assert member["email"] == "m•••@mail.example"
    assert member["phone"] == "••78"
    assert (member["available"], member["pending"], member["debt"]) == (0, 0, 0)
    assert member["next_expiry"] is None
    assert northern.done(IDENTIFY, {"member": CARD}, 200) == member
    assert northern.done(IDENTIFY, {"member": {"email": "marie.durand@mail.example"}}, 200) == member
    assert northern.done(IDENTIFY, {"member": {"phone": "+33612345678"}}, 200) == member
    profile = Profile.objects.get()
    assert str(profile.birth_date) == "1985-02-28"
    consent = profile.consent_changes.get()
    assert (consent.channel, consent.granted, consent.wording) == ("email", True, "Yes please")


def test_taking_somebody_in_twice_makes_one_customer(northern):
    create = {"member": CARD, "create": {"first_name": "Marie", "last_name": "Durand"}}
    assert northern.done(IDENTIFY, create, 200) == northern.done(IDENTIFY, create, 200)
    assert Profile.objects.count() == 1


def test_the_name_joins_a_card_that_already_bought(northern):
    points = northern.done(PURCHASES, sale())
    member = northern.done(
        IDENTIFY, {"member": CARD, "create": {"first_name": "Marie", "last_name": "Durand"}}, 200
    )
    assert member["id"] == points["member"]
    assert member["name"] == "Marie D."
    assert member["available"] == 49
    again = northern.done(
        IDENTIFY, {"member": CARD, "create": {"first_name": "Zoé", "last_name": "Autre"}}, 200
    )
    assert again == member


def test_a_quote_tells_and_records_nothing(northern):
    northern.done(PURCHASES, sale("R1", "250.00"))
    before = rows()
    quote = northern.done(QUOTES, sale("R2", "49.90"), 200)
    assert quote["points"] == 49
    assert quote["total_cents"] == 4990
    # 250 + 50 points for a big basket; 49.90 € has room for nine steps of 5 €, the points for three.
    assert (quote["available"], quote["spendable_points"], quote["spendable_cents"]) == (300, 300, 1500)
    assert northern.done(QUOTES, sale("R2", "9.90"), 200)["spendable_points"] == 100
    anonymous = sale("R3", "20.00")
    del anonymous["member"]
    assert northern.done(QUOTES, anonymous, 200)["points"] == 20
    assert rows() == before


def test_a_purchase_earns_and_its_repeat_says_so(northern):
    first = northern.post(PURCHASES, sale("R1", "19.95", "29.95"))
    assert first.status_code == 201
    assert "Idempotent-Replayed" not in first.headers
    assert first.json()["points"] == first.json()["available"] == 49
    before = rows()
    again = northern.post(PURCHASES, sale("R1", "19.95", "29.95"))
    assert again.status_code == 201
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == first.content
    assert rows() == before


def test_the_same_instant_in_another_zone_is_the_same_ticket(northern):
    first = northern.post(PURCHASES, sale())
    again = northern.post(PURCHASES, sale(bought_at="2026-11-02T11:00:00Z"))
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == first.content


def test_a_purchase_of_nobody_earns_nothing(northern):
    told_to_till = northern.done(PURCHASES, sale(member=None))
    assert (told_to_till["member"], told_to_till["points"]) == (None, 0)
    assert Transaction.objects.count() == 0


def test_amounts_may_be_numbers_or_text(northern):
    body = json.dumps(sale()).replace('"49.90"', "49.90")
    assert northern.done(PURCHASES, body)["total_cents"] == 4990
    assert northern.post(PURCHASES, sale()).headers["Idempotent-Replayed"] == "true"


def test_a_refund_takes_points_back_once(northern):
    northern.done(PURCHASES, sale("R1", "19.95", "29.95"))
    first = northern.post(REFUNDS, returned("B1", "R1", 1))
    assert first.status_code == 201
    assert first.json()["points_taken_back"] == 20
    assert first.json()["refunded_cents"] == 1995
    assert first.json()["available"] == 29
    before = rows()
    again = northern.post(REFUNDS, returned("B1", "R1", 1))
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == first.content
    assert rows() == before
    assert northern.done(REFUNDS, returned("B2", "R1", 2))["available"] == 0


def test_goods_come_back_in_another_store(northern, southern):
    northern.done(PURCHASES, sale())
    refund = returned(store="ACM-001", business_day="2026-11-02")
    assert southern.done(REFUNDS, refund)["points_taken_back"] == 49
    told(northern.post(REFUNDS, returned("B2")), 422, "quantity_exceeded", "lines[0].quantity")


def test_points_become_money_once(northern):
    northern.done(PURCHASES, sale("R1", "99.99", "50.01"))
    first = northern.post(REDEMPTIONS, spent(100))
    assert first.status_code == 201
    assert (first.json()["points"], first.json()["discount_cents"]) == (100, 500)
    assert first.json()["available"] == 100
    before = rows()
    again = northern.post(REDEMPTIONS, spent(100))
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == first.content
    assert rows() == before


def test_a_ticket_of_another_shape_keeps_no_other_of_its_batch_out(northern):
    sent = [
        sale("R1"), sale("R2") | {"reciept": 1}, sale("R3", 3.5) | {"receipt_id": 3}, "R4", None,
        sale("R5") | {"cashier": "\u0000"}, sale("R6") | {"lines": []}, sale("R7", "1.005"), sale("R8"),
    ]  # fmt: skip
    results = northern.done(BATCH, {"purchases": sent}, 200)["results"]
    assert [(item["receipt_id"], item["status"]) for item in results] == [
        ("R1", 201), ("R2", 400), ("", 400), ("", 400), ("", 400), ("", 400),
        ("R6", 400), ("R7", 422), ("R8", 201),
    ]  # fmt: skip
    wrong = [item["problem"] for item in results[1:7]]
    assert {problem["code"] for problem in wrong} == {"invalid_body"}
    assert [problem["field"] for problem in wrong] == ["reciept", "receipt_id", "", "", "", "lines"]
    alone = told(northern.post(PURCHASES, sent[1]), 400, "invalid_body", "reciept")
    assert wrong[0]["detail"] == alone["detail"]
    before = rows()
    bodies = [
        ({"purchases": []}, "purchases"),
        ({"purchases": [sale("R9")], "till": 1}, "till"),
        ([sale("R9")], ""),
    ]
    for body, field in bodies:
        told(northern.post(BATCH, body), 400, "invalid_body", field)
    assert rows() == before


def test_a_batch_answers_each_as_the_single_call_would(northern):
    known = northern.done(PURCHASES, sale("R0"))
    future = (timezone.now() + timedelta(days=4)).isoformat()
    sent = [
        sale("R2", "20.00", bought_at="2026-11-02T15:00:00+01:00"),
        sale("R1", "10.00"),
        sale("R0"),
        sale("R3", "1.005"),
        sale("R4", bought_at=future),
        sale("R0", "1.00"),
        sale("R1", "10.00"),
        sale("R5", member={"card": "1", "email": "a@b.example"}),
        sale("R6", "20.00", "-30.00"),
    ]
    results = northern.done(BATCH, {"purchases": sent}, 200)["results"]
    assert [item["receipt_id"] for item in results] == [ticket["receipt_id"] for ticket in sent]
    assert [item["status"] for item in results] == [201, 201, 201, 422, 422, 422, 201, 422, 422]
    assert [item["replayed"] for item in results] == [
        False,
        False,
        True,
        False,
        False,
        False,
        True,
        False,
        False,
    ]
    assert results[2]["answer"] == known
    assert results[6]["answer"] == results[1]["answer"]
    problems = [(item["problem"]["code"], item["problem"]["field"]) for item in results if item["problem"]]
    assert problems == [
        ("invalid_amount", "lines[0].amount"),
        ("future_date", "bought_at"),
        ("id_reused", "receipt_id"),
        ("invalid_identifier", "member"),
        ("negative_total", "lines"),
    ]
    assert sorted(Purchase.objects.values_list("receipt_id", flat=True)) == ["R0", "R1", "R2"]
    repeated = northern.done(BATCH, {"purchases": sent[:2]}, 200)["results"]
    assert [item["replayed"] for item in repeated] == [True, True]
    assert [item["answer"] for item in repeated] == [item["answer"] for item in results[:2]]


def test_a_member_is_told_to_the_stores_that_know_them(northern, southern):
    member = northern.done(PURCHASES, sale())["member"]
    seen = northern.client.get(f"/api/v1/members/{member}")
    assert seen.status_code == 200
    assert seen.json()["available"] == 49
    assert seen.json()["next_expiry"] == {"on": "2027-11-02", "points": 49}
    told(southern.client.get(f"/api/v1/members/{member}"), 404, "unknown_member")
    southern.done(PURCHASES, sale())
    assert southern.client.get(f"/api/v1/members/{member}").json()["available"] == 98


# --- Bad bodies -------------------------------------------------------------------------------------------------

SOUND = {
    IDENTIFY: {"member": CARD},
    QUOTES: sale(),
    PURCHASES: sale(),
    BATCH: {"purchases": [sale()]},
    REFUNDS: returned(),
    REDEMPTIONS: spent(),
}
DEEP = "[" * 100_000 + "]" * 100_000
NOT_JSON = [
    "",
    "{",
    "nothing",
    "{}}",
    '{"member": NaN}',
    "\ufeff{}",
    b"\xff\xfe",
    DEEP,
    '{"lines":' + DEEP + "}",
]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: repr(body[:12]))
def test_what_is_no_json_is_a_400(northern, path, body):
    before = rows()
    response = northern.post(path, body)
    assert response.status_code == 400
    told(response, 400, "invalid_body", *[error["field"] for error in response.json().get("errors", [])])
    assert rows() == before


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("body", ["[]", "null", "7", '"text"'])
def test_json_of_another_shape_is_a_400(northern, path, body):
    told(northern.post(path, body), 400, "invalid_body")


@pytest.mark.parametrize(
    ("wrong", "field", "words", "french"),
    [
        ({"receipt_id": 12}, "receipt_id", "expected: text; sent: whole number", "nombre entier"),
        ({"member": "299"}, "member", "expected: object, nothing; sent: text", "texte"),
        ({"lines": [{"sku": "1", "amount": "1,50"}]}, "lines[0].amount", "no number such as 19.80", "nombre"),
        ({"lines": [{"sku": "1", "amount": True}]}, "lines[0].amount", "sent: true or false", "vrai ou faux"),
        ({"lines": []}, "lines", "entries: 1 at least", "1 au moins"),
        ({"receipt_id": "x" * 65}, "receipt_id", "characters: 64 at most", "64 au plus"),
        ({"bought_at": "26/11/2026 10:00"}, "bought_at", "no time such as", "heure"),
        ({"bought_at": "2026-11-26T10:00:00"}, "bought_at", "needs a zone", "fuseau"),
    ],
)
def test_what_has_another_shape_is_told_in_the_caller_s_language(northern, wrong, field, words, french):
    for language, told_so in (("en", words), ("fr", french)):
        answer = northern.client.post(
            PURCHASES, json.dumps(sale() | wrong), "application/json", headers={"accept-language": language}
        )
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["field"]) == (400, field)
        assert told_so in error["detail"]
        assert "`" not in error["detail"]


@pytest.mark.parametrize("path", POSTS)
def test_an_unknown_field_is_refused(northern, path):
    before = rows()
    problem = told(northern.post(path, SOUND[path] | {"reciept": "x"}), 400, "invalid_body", "reciept")
    assert "reciept" in problem["detail"]
    assert rows() == before


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (path, field)
        for path in POSTS
        for field in SOUND[path]
        if (path, field) not in {(QUOTES, "member"), (PURCHASES, "member")}
    ],
)
def test_a_missing_field_is_named(northern, path, field):
    body = {name: value for name, value in SOUND[path].items() if name != field}
    problem = told(northern.post(path, body), 400, "invalid_body", field)
    assert field in problem["detail"]


BAD_SALES = [
    ({"lines": []}, 400, "invalid_body", "lines"),
    ({"lines": [{"sku": "A"}]}, 400, "invalid_body", "lines[0].amount"),
    ({"lines": [{"sku": "", "amount": "1"}]}, 400, "invalid_body", "lines[0].sku"),
    ({"lines": [{"sku": "A", "amount": True}]}, 400, "invalid_body", "lines[0].amount"),
    ({"lines": [{"sku": "A", "amount": "one"}]}, 400, "invalid_body", "lines[0].amount"),
    ({"lines": [{"sku": "A", "amount": "1.005"}]}, 422, "invalid_amount", "lines[0].amount"),
    ({"lines": [{"sku": "A", "amount": "1"}, {"sku": "B", "amount": "NaN"}]}, 422, "invalid_amount", "lines[1].amount"),
    ({"lines": [{"sku": "A", "amount": "sNaN"}]}, 422, "invalid_amount", "lines[0].amount"),
    ({"lines": [{"sku": "A", "amount": "-Infinity"}]}, 422, "invalid_amount", "lines[0].amount"),
    ({"lines": [{"sku": "A", "amount": "1e15"}]}, 422, "invalid_amount", "lines[0].amount"),
    ({"lines": [{"sku": "A", "amount": "1e999999"}]}, 422, "invalid_amount", "lines[0].amount"),
    ({"lines": [{"sku": "A", "amount": "1e-999999"}]}, 422, "invalid_amount", "lines[0].amount"),
    ({"lines": [{"sku": "A", "amount": "1.00" + "0" * 40 + "1"}]}, 422, "invalid_amount", "lines[0].amount"),
    ({"lines": [{"sku": "A", "amount": "1", "discount": "0.001"}]}, 422, "invalid_amount", "lines[0].discount"),
    ({"lines": [{"sku": "A", "amount": "1", "quantity": -1}]}, 422, "invalid_quantity", "lines[0].quantity"),
    ({"lines": [{"sku": "A", "amount": "1", "quantity": 0}]}, 422, "invalid_quantity", "lines[0].quantity"),
    ({"lines": [{"sku": "A", "amount": "1", "quantity": "0.0001"}]}, 422, "invalid_quantity", "lines[0].quantity"),
    ({"lines": [{"sku": "A", "amount": "1", "quantity": "Infinity"}]}, 422, "invalid_quantity", "lines[0].quantity"),
    ({"lines": [{"sku": "A", "amount": "1", "quantity": "1e30"}]}, 422, "invalid_quantity", "lines[0].quantity"),
    ({"lines": [{"sku": "A", "amount": "-1"}]}, 422, "negative_total", "lines"),
    ({"bought_at": "2026-11-02T12:00:00"}, 400, "invalid_body", "bought_at"),
    ({"bought_at": "yesterday"}, 400, "invalid_body", "bought_at"),
    ({"bought_at": 1762081200}, 400, "invalid_body", "bought_at"),
    ({"bought_at": "2126-11-02T12:00:00Z"}, 422, "future_date", "bought_at"),
    ({"bought_at": "0001-01-01T00:00:00+14:00"}, 422, "implausible_date", "bought_at"),
    ({"bought_at": "0001-01-01T00:00:00Z"}, 422, "implausible_date", "bought_at"),
    ({"bought_at": "9999-12-31T23:59:59-12:00"}, 422, "implausible_date", "bought_at"),
    ({"receipt_id": ""}, 400, "invalid_body", "receipt_id"),
    ({"receipt_id": "   "}, 422, "invalid_receipt", "receipt_id"),
    ({"receipt_id": "R" * 65}, 400, "invalid_body", "receipt_id"),
    ({"receipt_id": 12}, 400, "invalid_body", "receipt_id"),
    ({"payment": "p" * 21}, 400, "invalid_body", "payment"),
    ({"member": {}}, 422, "invalid_identifier", "member"),
    ({"member": {"card": "1", "phone": "2"}}, 422, "invalid_identifier", "member"),
    ({"member": {"email": "nobody"}}, 422, "invalid_identifier", "member"),
    ({"member": {"phone": "12"}}, 422, "invalid_identifier", "member"),
    ({"member": {"card": "9" * 41}}, 422, "invalid_identifier", "member"),
    ({"member": {"loyalty": "12"}}, 400, "invalid_body", "member.loyalty"),
]  # fmt: skip


@pytest.mark.parametrize("path", [QUOTES, PURCHASES])
@pytest.mark.parametrize(("change", "status", "code", "field"), BAD_SALES)
def test_a_ticket_that_cannot_be_right_is_refused_by_field(northern, path, change, status, code, field):
    before = rows()
    told(northern.post(path, sale() | change), status, code, field)
    assert rows() == before


@pytest.mark.parametrize("text", [r"\u0000", r"R\u0000", r"\ud800"])
@pytest.mark.parametrize("path", POSTS)
def test_characters_that_no_database_keeps_are_refused(northern, path, text):
    northern.done(PURCHASES, sale("R1", "150.00"))
    before = rows()
    body = json.dumps(SOUND[path]).replace("2990000001234", text).replace('"R1"', f'"{text}"')
    answer = northern.post(path, body)
    if path == BATCH and "u0000" in text:
        (item,) = answer.json()["results"]
        assert (item["status"], item["problem"]["code"]) == (400, "invalid_body")
    else:
        told(answer, 400, "invalid_body")
    assert rows() == before


def test_a_backslash_before_u0000_is_just_text(northern):
    body = json.dumps(sale("R1")).replace('"R1"', r'"R\\u0000"')
    assert northern.done(PURCHASES, body)["receipt_id"] == r"R\u0000"


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"lines": [{"number": 0}]}, 400, "invalid_body", "lines[0].number"),
        ({"lines": [{"number": 2}]}, 422, "unknown_line", "lines[0].number"),
        ({"lines": [{"number": 10**30}]}, 422, "unknown_line", "lines[0].number"),
        ({"lines": [{"number": 1, "quantity": 2}]}, 422, "quantity_exceeded", "lines[0].quantity"),
        ({"lines": [{"number": 1}, {"number": 1}]}, 422, "quantity_exceeded", "lines[1].quantity"),
        ({"lines": [{"number": 1, "quantity": "0.5"}] * 2}, 422, "line_twice", "lines[1].number"),
        ({"lines": [{"number": 1, "quantity": -1}]}, 422, "invalid_quantity", "lines[0].quantity"),
        ({"lines": []}, 400, "invalid_body", "lines"),
        ({"refunded_at": "2126-01-01T00:00:00Z"}, 422, "future_date", "refunded_at"),
        ({"refunded_at": "9999-12-31T23:59:59Z"}, 422, "implausible_date", "refunded_at"),
        ({"refunded_at": "2026-11-03T00:00:00"}, 400, "invalid_body", "refunded_at"),
        ({"store": "ACM-009"}, 409, "unknown_sale", "store"),
    ],
)
def test_a_refund_that_cannot_be_right_is_refused_by_field(northern, change, status, code, field):
    northern.done(PURCHASES, sale())
    before = rows()
    told(northern.post(REFUNDS, returned() | change), status, code, field)
    assert rows() == before


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"points": 0}, 400, "invalid_body", "points"),
        ({"points": -100}, 400, "invalid_body", "points"),
        ({"points": 1.5}, 400, "invalid_body", "points"),
        ({"points": 150}, 422, "invalid_points", "points"),
        ({"member": {"card": "2990000009999"}}, 404, "unknown_member", ""),
        ({"redeemed_at": "2126-01-01T00:00:00Z"}, 422, "future_date", "redeemed_at"),
        ({"redeemed_at": "0001-01-01T00:00:00Z"}, 422, "implausible_date", "redeemed_at"),
        ({"redeemed_at": "2026-11-03T00:00:00"}, 400, "invalid_body", "redeemed_at"),
        ({"points": 200}, 409, "not_enough_points", ""),
        ({"points": 10**30}, 409, "not_enough_points", ""),
    ],
)
def test_a_redemption_that_cannot_be_right_is_refused(northern, change, status, code, field):
    northern.done(PURCHASES, sale("R1", "60.00", "59.00"))
    before = rows()
    told(northern.post(REDEMPTIONS, spent() | change), status, code, field)
    assert rows() == before


def test_too_few_points_says_how_many(northern):
    northern.done(PURCHASES, sale("R1", "99.00"))
    assert "1 " in told(northern.post(REDEMPTIONS, spent(100)), 409, "not_enough_points")["detail"]
    northern.done(PURCHASES, sale("R2", "9.00"))
    assert northern.done(REDEMPTIONS, spent(100))["available"] == 8


def test_numbers_of_any_length_are_answered(northern):
    body = json.dumps(spent()).replace('"points": 100', '"points": ' + "9" * 6000)
    assert northern.post(REDEMPTIONS, body).status_code in (400, 404, 409)
    body = json.dumps(sale()).replace('"49.90"', "9" * 6000)
    told(northern.post(PURCHASES, body), 422, "invalid_amount", "lines[0].amount")


@pytest.mark.parametrize(
    ("path", "first", "second", "field"),
    [
        (PURCHASES, sale("R1", "99.00", "99.00"), sale("R1", "10.00"), "receipt_id"),
        (REFUNDS, returned("B1", "R1", 1), returned("B1", "R1", 2), "refund_id"),
        (REDEMPTIONS, spent(100), spent(200), "redemption_id"),
    ],
)
def test_an_id_with_another_content_is_refused(northern, path, first, second, field):
    northern.done(PURCHASES, sale("R1", "99.00", "99.00"))
    northern.done(path, first)
    before = rows()
    told(northern.post(path, second), 422, "id_reused", field)
    assert rows() == before


@pytest.mark.parametrize("change", [{}, {"business_day": "2026-11-01"}])
def test_a_refund_before_its_sale_is_taken_and_waits(northern, change):
    early = northern.post(REFUNDS, returned() | change)
    assert (early.status_code, early.json()["parked"], early.json()["points_taken_back"]) == (202, True, 0)
    again = northern.post(REFUNDS, returned() | change)
    assert (again.status_code, again.content, again.headers["Idempotent-Replayed"]) == (
        202,
        early.content,
        "true",
    )


def test_without_a_programme_tickets_are_kept_and_points_refused(lille_till, till_client):
    northern = Caller(till_client(lille_till[1]))
    assert northern.done(PURCHASES, sale())["points"] == 0
    told(northern.post(QUOTES, sale()), 409, "no_programme")
    told(northern.post(REDEMPTIONS, spent()), 409, "no_programme")
    assert northern.done(REFUNDS, returned())["points_taken_back"] == 0


# --- Keys, methods, sizes ---------------------------------------------------------------------------------------


@pytest.fixture
def key_of_another_brand(brand) -> str:
    """A till's key that another brand issued: here the platform's own schema, which the connection can also read."""
    key = "another-brand-key-0123456789"
    with schema_context("public"):
        region = Region.objects.create(code="r", name="R")
        store = Store.objects.create(code="S", name="S", region=region)
        Till.objects.create(
            store=store, code="T", key_prefix=key[:KEY_PREFIX_LENGTH], key_hash=hash_of_key(key)
        )
    connection.set_tenant(brand)
    return key


@pytest.mark.parametrize("path", POSTS)
def test_a_till_without_a_sound_key_is_turned_away(
    lille_till, programme, till_client, key_of_another_brand, path
):
    till, key = lille_till
    wrong = [
        f"Till {key_of_another_brand}",
        f"Till {key[:-1]}x",
        f"Till {key[:KEY_PREFIX_LENGTH]}",
        "Till ",
        "Till",
        f"Bearer {key}",
        key,
        "",
        "Till clé-é",
    ]
    before = rows()
    caller = Caller(till_client(key))
    for header in wrong:
        response = caller.post(path, SOUND[path], headers={"authorization": header})
        told(response, 401, "unknown_till")
        assert response.headers["WWW-Authenticate"] == "Till"
    till.revoked_at = timezone.now()
    till.save()
    told(caller.post(path, SOUND[path]), 401, "unknown_till")
    assert rows() == before


def test_a_till_without_a_key_reads_no_member(northern, client_of):
    member = northern.done(PURCHASES, sale())["member"]
    told(client_of().get(f"/api/v1/members/{member}"), 401, "unknown_till")


def test_who_signed_in_as_staff_is_no_till(northern, client_of, diane):
    told(Caller(client_of(diane)).post(PURCHASES, sale()), 401, "unknown_till")


def test_a_key_works_again_only_as_the_new_one(lille_till, programme, till_client):
    till, old = lille_till
    new = till.issue_key()
    told(Caller(till_client(old)).post(PURCHASES, sale()), 401, "unknown_till")
    assert Caller(till_client(new)).done(PURCHASES, sale())["points"] == 49


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_another_method_is_a_405_that_names_the_right_one(northern, path, method):
    response = getattr(northern.client, method)(path)
    if path == PURCHASES:
        assert response.status_code == 403  # other methods are the back office's, which asks who signed in
        return
    told(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "POST"


def test_a_member_is_only_read(northern):
    member = northern.done(PURCHASES, sale())["member"]
    response = northern.post(f"/api/v1/members/{member}", {})
    told(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "GET"


@pytest.mark.parametrize("path", POSTS)
def test_a_body_of_twenty_megabytes_is_refused_unread(northern, path):
    before = rows()
    told(northern.post(path, b" " * (20 * 1024 * 1024)), 413, "body_too_large")
    assert rows() == before


def test_a_batch_of_four_megabytes_is_read(northern):
    body = json.dumps({"purchases": [sale()]})
    assert (
        northern.done(BATCH, body + " " * (4 * 1024 * 1024 - len(body)), 200)["results"][0]["status"] == 201
    )
    told(northern.post(BATCH, body + " " * (4 * 1024 * 1024)), 413, "body_too_large")


def test_a_batch_has_at_most_500_tickets(northern):
    told(
        northern.post(BATCH, {"purchases": [sale(f"R{n}") for n in range(501)]}),
        400,
        "invalid_body",
        "purchases",
    )
    told(northern.post(BATCH, {"purchases": []}), 400, "invalid_body", "purchases")


@pytest.mark.parametrize(
    "path", ["/api/v1/nothing", "/api/v1/purchases/", "/api/v2/purchases", "/api/v1/members/42", "/api/"]
)
def test_an_unknown_path_is_a_problem_too(northern, path):
    problem = told(northern.client.get(path), 404, "not_found")
    assert path in problem["detail"]
    told(northern.post(path, {}), 404, "not_found")


def test_who_posts_to_an_unknown_path_is_told_so_and_not_asked_for_a_form(northern, lille_till):
    strict = Client(
        enforce_csrf_checks=True, headers={"host": HOST, "authorization": f"Till {lille_till[1]}"}
    )
    for path in ("/api/v1/nothing", "/api/v2/purchases"):
        told(strict.post(path, {}, content_type="application/json"), 404, "not_found")


def test_nobody_has_an_id_that_was_never_given(northern):
    response = northern.client.get("/api/v1/members/00000000-0000-0000-0000-000000000000")
    told(response, 404, "unknown_member")


def test_a_batch_asks_the_database_a_fixed_number_of_questions(northern, django_assert_max_num_queries):
    def batch(name, size):
        return {"purchases": [sale(f"{name}{n}", member={"card": f"29900000{n:05d}"}) for n in range(size)]}

    northern.done(BATCH, batch("W", 40), 200)
    with django_assert_max_num_queries(60) as asked:
        northern.done(BATCH, batch("A", 10), 200)
    few = len(asked.captured_queries)
    with django_assert_max_num_queries(60) as asked:
        northern.done(BATCH, batch("B", 40), 200)
    assert len(asked.captured_queries) <= few + 2


def test_a_ticket_of_another_day_may_bear_the_same_receipt(northern):
    northern.done(PURCHASES, sale())
    tomorrow = datetime(2026, 11, 3, 11, tzinfo=UTC).isoformat()
    assert northern.done(PURCHASES, sale(bought_at=tomorrow))["available"] == 98
