"""A web shop's messages over HTTP: signed, once each, an order to a customer and points, a refund back."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from loyalty import statements
from loyalty.models import Transaction
from profiles import consent
from profiles.connectors import orders, shopify, woocommerce
from profiles.connectors.orders import Sold, lines_for
from profiles.intake import Problem
from profiles.models import Connection, Delivery, Profile, Purchase, Refund, Source, SourceRecord
from tenants.models import Brand
from tenants.network.models import Till
from tests.conftest import HOST
from tests.loyalty.conftest import programme  # noqa: F401 - a fixture

SECRET = "hush-hush-hush"
AT = "2026-11-20T10:00:00+01:00"


@pytest.fixture(autouse=True)
def answered_in_english(brand, monkeypatch):
    """Senders are answered, and reports written, in the brand's language."""
    Brand.objects.filter(pk=brand.pk).update(language="en")
    monkeypatch.setattr(database.tenant, "language", "en")


@pytest.fixture
def till(lille):
    made = Till(store=lille, code="WEB")
    made.issue_key()
    return made


@pytest.fixture
def shop(till, programme) -> Connection:  # noqa: F811
    source = Source.objects.create(code="shop", name="Web shop", kind=Source.Kind.ECOMMERCE, trust=60)
    made = Connection(kind="shopify", name="Boutique", source=source, till=till)
    made.secret = SECRET
    made.save()
    return made


@pytest.fixture
def woo(shop) -> Connection:
    Connection.objects.filter(pk=shop.pk).update(
        kind="woocommerce", settings={"consent_meta_key": "_marketing_optin", "consent_wording": "Offres ?"}
    )
    shop.refresh_from_db()
    return shop


def send(connection, body, topic=None, *, delivery=None, secret=SECRET, **headers):
    """Post as the shop would: signed over the body as it leaves."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    module = {"shopify": shopify, "woocommerce": woocommerce}[connection.kind]
    topic = topic or {"shopify": "orders/paid", "woocommerce": "order.updated"}[connection.kind]
    told = {
        module.SIGNATURE: orders.signature(secret, raw), module.DELIVERY: delivery or uuid.uuid4().hex,
        module.TOPIC: topic, **headers,
    }  # fmt: skip
    client = Client(headers={"host": HOST})
    return client.post(
        f"/api/v1/webhooks/{connection.public_id}", raw, content_type="application/json", headers=told
    )


def shopify_order(**more) -> dict:
    body = {
        "id": 4501, "currency": "EUR", "created_at": AT, "processed_at": AT, "taxes_included": True,
        "financial_status": "paid", "email": "marie@mail.example", "payment_gateway_names": ["shopify_payments"],
        "customer": {"id": 77, "first_name": "Marie", "last_name": "Durand", "email": "marie@mail.example"},
        "billing_address": {"address1": "12 rue des Lilas", "zip": "59000", "city": "Lille", "country_code": "FR",
                            "phone": "06 12 34 56 78"},
        "line_items": [
            {"id": 1, "sku": "A", "name": "Comté", "quantity": 2, "price": "20.00",
             "discount_allocations": [{"amount": "4.00"}], "tax_lines": [{"price": "1.87"}]},
            {"id": 2, "sku": "B", "name": "Panier", "quantity": 1, "price": "30.00", "discount_allocations": []},
        ],
    }  # fmt: skip
    return body | more


def shopify_refund(**more) -> dict:
    body = {
        "id": 900, "order_id": 4501, "created_at": timezone.now().isoformat(),
        "refund_line_items": [{"line_item_id": 1, "quantity": 1}],
        "transactions": [{"kind": "refund", "status": "success", "amount": "18.00"}],
    }  # fmt: skip
    return body | more


def woo_order(**more) -> dict:
    body = {
        "id": 727, "status": "processing", "currency": "EUR", "prices_include_tax": True,
        "date_created_gmt": "2026-11-20T09:00:00", "date_modified_gmt": "2026-11-21T09:00:00", "customer_id": 25,
        "payment_method": "stripe",
        "billing": {"first_name": "Marie", "last_name": "Durand", "address_1": "12 rue des Lilas",
                    "postcode": "59000", "city": "Lille", "country": "FR", "email": "marie@mail.example", "phone": ""},
        "line_items": [
            {"id": 315, "sku": "A", "name": "Comté", "quantity": 2, "subtotal": "36.00", "subtotal_tax": "4.00",
             "total": "32.40", "total_tax": "3.60"},
            {"id": 316, "sku": "B", "name": "Panier", "quantity": 1, "subtotal": "25.00", "subtotal_tax": "5.00",
             "total": "25.00", "total_tax": "5.00"},
        ],
        "fee_lines": [], "refunds": [],
    }  # fmt: skip
    return body | more


def refused(response, status: int, code: str, field: str = "") -> dict:
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["code"] == code, body
    assert [error["field"] for error in body.get("errors", [])] == ([field] if field else [])
    return body


def done(response, verdict="done") -> dict:
    assert response.status_code == 200, response.content
    assert response.json()["verdict"] == verdict, response.content
    return response.json()


def nothing_written() -> bool:
    return not any(m.objects.exists() for m in (Purchase, Refund, SourceRecord, Profile, Transaction))


# --- Orders -------------------------------------------------------------------------------------------------------


def test_an_order_becomes_a_customer_and_a_ticket_that_earns_points(shop):
    body = done(send(shop, shopify_order()))
    assert (body["points"], body["total_cents"]) == (66, 6600)
    purchase = Purchase.objects.get()
    assert (purchase.till, purchase.receipt_id, purchase.total_cents) == (shop.till, "4501", 6600)
    lines = purchase.lines.values_list("number", "sku", "quantity", "amount_cents", "discount_cents")
    assert list(lines) == [(1, "A", Decimal(2), 3600, 400), (2, "B", Decimal(1), 3000, 0)]
    profile = purchase.profile
    assert (str(profile), profile.email, profile.postcode) == ("Marie Durand", "marie@mail.example", "59000")
    record = SourceRecord.objects.get()
    assert (record.source, record.external_id, record.store) == (shop.source, "customer:77", shop.till.store)
    assert record.phone == "+33612345678"
    assert statements.balance_of(profile).available == 66
    delivery = Delivery.objects.get()
    assert (delivery.verdict, delivery.subject, delivery.received, delivery.created) == (
        "done",
        "order:4501",
        1,
        1,
    )
    assert "marie" not in json.dumps(delivery.detail).lower()


def test_the_tills_source_is_held_before_any_profile(shop):
    """As at a till, so that an order and a ticket of the same customer never wait for each other."""
    done(send(shop, shopify_order()))
    with CaptureQueriesContext(database) as caught:
        done(send(shop, shopify_order(id=4502)))
    held = [
        query["sql"]
        for query in caught
        if "FOR NO KEY UPDATE" in query["sql"] or "hold_people(" in query["sql"]
    ]
    tills = Source.objects.get(kind=Source.Kind.TILL).pk
    source = next(n for n, sql in enumerate(held) if f'"profiles_source"."id" = {tills} ' in sql)
    profile = next(n for n, sql in enumerate(held) if "hold_people(" in sql)
    assert source < profile


@pytest.mark.parametrize("email", ["marie@mail.example", ""])
def test_a_phone_is_read_in_the_buyers_country(shop, email):
    order = shopify_order(email=email, customer={"id": 77, "last_name": "Peeters", "email": email})
    order["billing_address"] |= {"country_code": "BE", "phone": "0470 12 34 56"}
    done(send(shop, order))
    assert {record.phone for record in SourceRecord.objects.filter(source=shop.source)} == {"+32470123456"}
    assert Profile.objects.count() == 1


def test_created_and_paid_are_one_ticket_and_an_unpaid_order_waits(shop):
    waiting = done(send(shop, shopify_order(financial_status="pending"), "orders/create"), "noted")
    assert "not paid" in waiting["note"]
    assert not Purchase.objects.exists()
    done(send(shop, shopify_order()))
    done(send(shop, shopify_order(payment_gateway_names=["gift_card"]), "orders/create"))
    assert Purchase.objects.count() == 1
    assert list(Delivery.objects.order_by("pk").values_list("created", "unchanged")) == [
        (0, 0),
        (1, 0),
        (0, 1),
    ]


def test_taxes_on_top_are_part_of_what_was_paid(shop):
    order = shopify_order(taxes_included=False)
    order["line_items"] = [
        {"id": 1, "sku": "A", "quantity": 1, "price": "10.00", "total_discount": "1.00",
         "tax_lines": [{"price": "1.50"}, {"price": "0.30"}]}
    ]  # fmt: skip
    assert done(send(shop, order))["total_cents"] == 1080


def test_a_guest_is_the_same_person_next_time_and_nobody_stays_anonymous(shop):
    order = shopify_order(customer=None)
    done(send(shop, order))
    done(send(shop, order | {"id": 4502}))
    assert Profile.objects.count() == SourceRecord.objects.count() == 1
    assert SourceRecord.objects.get().external_id == "guest:marie@mail.example"
    done(send(shop, order | {"id": 4503, "email": "", "billing_address": None}))
    assert Purchase.objects.get(receipt_id="4503").profile is None


@pytest.mark.parametrize(
    ("more", "granted"),
    [
        ({"buyer_accepts_marketing": True}, None),
        ({"buyer_accepts_marketing": True, "note_attributes": [{"name": "consent_wording", "value": "Oui !"}]}, True),
        ({"buyer_accepts_marketing": False}, None),
        ({"customer": {"id": 77, "last_name": "Durand", "email_marketing_consent": {
            "state": "unsubscribed", "consent_updated_at": AT}}}, False),
        ({"customer": {"id": 77, "last_name": "Durand", "email_marketing_consent": {
            "state": "subscribed", "consent_updated_at": None}}}, None),
        ({"customer": {"id": 77, "last_name": "Durand", "email_marketing_consent": {
            "state": "pending", "consent_updated_at": AT}}}, None),
    ],
)  # fmt: skip
def test_an_opt_in_counts_with_its_words_and_date_alone(shop, more, granted):
    done(send(shop, shopify_order(**more)))
    now = consent.current(Profile.objects.get()).get("email")
    assert (now and now.granted) is granted
    if granted:
        assert now.wording == "Oui !"
        assert now.at == datetime.fromisoformat(AT)
    unproven = more.get("buyer_accepts_marketing") and "note_attributes" not in more
    assert ("consent_without_proof" in Delivery.objects.get().detail) == bool(
        unproven or (granted is None and "subscribed" in str(more))
    )


def test_the_words_of_the_checkout_prove_what_the_shop_tells_with_a_date(shop):
    Connection.objects.filter(pk=shop.pk).update(settings={"consent_wording": "Offres par e-mail ?"})
    consents = {"state": "subscribed", "consent_updated_at": "2026-01-05T08:00:00+01:00"}
    customer = {
        "id": 77,
        "last_name": "Durand",
        "email_marketing_consent": consents,
        "sms_marketing_consent": consents,
    }
    done(send(shop, shopify_order(customer=customer)))
    now = consent.current(Profile.objects.get())
    assert {channel: (c.granted, c.wording, c.at.year) for channel, c in now.items()} == dict.fromkeys(
        ("email", "sms"), (True, "Offres par e-mail ?", 2026)
    )
    assert now["email"].at.month == 1


# --- Refunds ------------------------------------------------------------------------------------------------------


def test_a_refund_takes_the_points_back(shop):
    done(send(shop, shopify_order()))
    body = done(send(shop, shopify_refund(), "refunds/create"))
    assert (body["refunded_cents"], body["points_taken_back"]) == (1800, 18)
    assert statements.balance_of(Profile.objects.get()).available == 48


def test_a_refund_before_its_order_comes_back_later_and_leaves_nothing(shop):
    early = send(shop, shopify_refund(), "refunds/create", delivery="R")
    refused(early, 409, "unknown_sale", "order_id")
    assert nothing_written()
    assert not Delivery.objects.exists()
    done(send(shop, shopify_order()))
    done(send(shop, shopify_refund(), "refunds/create", delivery="R"))
    assert Refund.objects.get().total_cents == 1800


def test_a_refund_of_an_order_that_never_came_is_noted_after_a_while(shop):
    long_ago = (timezone.now() - timedelta(hours=3)).isoformat()
    body = done(send(shop, shopify_refund(created_at=long_ago), "refunds/create"), "noted")
    assert "never recorded" in body["note"]
    assert nothing_written()


def test_a_refund_of_an_amount_alone_finds_its_lines(shop):
    done(send(shop, shopify_order()))
    refund = shopify_refund(
        refund_line_items=[], transactions=[{"kind": "refund", "status": "success", "amount": "36.00"}]
    )
    assert done(send(shop, refund, "refunds/create"))["refunded_cents"] == 3600
    empty = shopify_refund(id=901, refund_line_items=[], transactions=[])
    done(send(shop, empty, "refunds/create"), "noted")


def test_a_refund_that_names_a_strange_line_or_too_many_is_refused(shop):
    done(send(shop, shopify_order()))
    strange = shopify_refund(refund_line_items=[{"line_item_id": 99, "quantity": 1}])
    refused(send(shop, strange, "refunds/create"), 422, "unknown_line", "refund_line_items.line_item_id")
    many = shopify_refund(refund_line_items=[{"line_item_id": 1, "quantity": 3}])
    refused(send(shop, many, "refunds/create"), 422, "quantity_exceeded", "lines[0].quantity")
    assert not Refund.objects.exists()


@pytest.mark.parametrize(
    ("cents", "expected"),
    [
        (0, {}),
        (1800, {1: 1}),
        (3600, {1: 2}),
        (3000, {2: 1}),
        (6600, {1: 2, 2: 1}),
        (9999, {1: 2, 2: 1}),
        (1000, {1: Decimal("0.555")}),
        (4600, {1: Decimal(2), 2: Decimal("0.333")}),
    ],
)
def test_an_amount_is_split_over_lines_and_never_exceeded(cents, expected):
    sold = [Sold(1, Decimal(2), 3600), Sold(2, Decimal(1), 3000)]
    found = lines_for(cents, sold)
    assert found == expected
    amounts = {1: Decimal(1800), 2: Decimal(3000)}
    assert sum(int(amounts[number] * count) for number, count in found.items()) <= max(cents, 0)


# --- WooCommerce --------------------------------------------------------------------------------------------------


def test_a_woocommerce_order_is_recorded_with_its_refunds_once_each(woo):
    meta = [{"key": "_marketing_optin", "value": "yes"}]
    body = done(send(woo, woo_order(meta_data=meta), "order.created"))
    assert (body["total_cents"], body["points"]) == (6600, 66)
    now = consent.current(Profile.objects.get())["email"]
    assert (now.granted, now.wording) == (True, "Offres ?")
    partly = woo_order(refunds=[{"id": 800, "reason": "", "total": "-18.00"}])
    assert done(send(woo, partly))["refunds"][0]["refunded_cents"] == 1800
    assert "refunds" not in done(send(woo, partly))
    whole = woo_order(status="refunded", refunds=[*partly["refunds"], {"id": 801, "total": "-53.90"}])
    told = done(send(woo, whole))["refunds"][0]
    # 5.90 of it was shipping, which no ticket holds.
    assert (told["refunded_cents"], told["not_of_the_ticket_cents"]) == (4800, 590)
    assert sum(Refund.objects.values_list("total_cents", flat=True)) == 6600
    assert statements.balance_of(Profile.objects.get()).available == 0


def test_a_woocommerce_order_that_comes_refunded_is_recorded_whole(woo):
    body = done(send(woo, woo_order(status="refunded", refunds=[{"id": 801, "total": "-66.00"}])))
    assert body["refunds"][0]["points_taken_back"] == 66


@pytest.mark.parametrize("status", ["pending", "on-hold", "failed", "cancelled", "trash"])
def test_an_unpaid_woocommerce_order_is_noted(woo, status):
    done(send(woo, woo_order(status=status)), "noted")
    assert nothing_written()


def test_woocommerces_unsigned_ping_is_answered_and_changes_nothing(woo):
    client = Client(headers={"host": HOST})
    address = f"/api/v1/webhooks/{woo.public_id}"
    ping = client.post(address, b"webhook_id=3", content_type="application/x-www-form-urlencoded")
    assert ping.status_code == 200
    assert not Delivery.objects.exists()
    refused(client.post(address, b"webhook_id=3&x", content_type="text/plain"), 401, "wrong_signature")


# --- What is refused ----------------------------------------------------------------------------------------------


def test_a_wrong_signature_is_refused_and_told_to_head_office(shop):
    refused(send(shop, shopify_order(), secret="another"), 401, "wrong_signature")
    refused(send(shop, shopify_order(), **{shopify.SIGNATURE: ""}), 401, "wrong_signature")
    refused(send(shop, shopify_order(), **{shopify.SIGNATURE: "é"}), 401, "wrong_signature")
    assert nothing_written()
    assert not Delivery.objects.exists()
    shop.refresh_from_db()
    assert "signature is wrong" in shop.error


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100_000, b'{"id": "\\u0000"}'])
def test_a_body_that_is_no_json_is_refused(shop, raw):
    refused(send(shop, raw), 400, "invalid_body")


@pytest.mark.parametrize("body", [[], "x", 7, None, {}, {"id": True}, {"id": 1}, {"id": "x" * 61}])
def test_json_that_is_no_order_is_refused(shop, body):
    answer = send(shop, body)
    assert answer.status_code == 422, answer.content
    assert nothing_written()


def test_an_unknown_topic_is_accepted_and_noted(shop):
    body = done(send(shop, {"anything": 1}, "products/update"), "noted")
    assert "products/update" in body["note"]
    assert Delivery.objects.get().topic == "products/update"
    assert nothing_written()


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"currency": "USD"}, "other_currency", "currency"),
        ({"currency": None}, "other_currency", "currency"),
        ({"line_items": []}, "no_lines", "lines"),
        ({"line_items": {}}, "invalid_order", "line_items"),
        ({"line_items": [{"id": 1, "quantity": 1, "price": "19.995"}]}, "invalid_amount", "line_items[0].price"),
        ({"line_items": [{"id": 1, "quantity": 1, "price": "NaN"}]}, "invalid_amount", "line_items[0].price"),
        ({"line_items": [{"id": 1, "quantity": 1, "price": "1e99"}]}, "invalid_amount", "line_items[0].price"),
        ({"line_items": [{"id": 1, "quantity": 1, "price": None}]}, "invalid_amount", "line_items[0].price"),
        ({"line_items": [{"id": 1, "quantity": 0, "price": "1.00"}]}, "invalid_quantity", "line_items[0].quantity"),
        ({"line_items": [{"quantity": 1, "price": "1.00"}]}, "invalid_order", "line_items[0].id"),
        ({"processed_at": "soon"}, "invalid_time", "created_at"),
        ({"processed_at": "2026-11-20T10:00:00"}, "time_without_zone", "created_at"),
        ({"processed_at": "2099-11-20T10:00:00Z"}, "future_date", "bought_at"),
        ({"processed_at": "1971-11-20T10:00:00Z"}, "past_date", "bought_at"),
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_right_is_refused_whole_and_kept_in_the_log(shop, more, code, field):
    refused(send(shop, shopify_order(**more), delivery="D1"), 422, code, field)
    assert nothing_written()
    delivery = Delivery.objects.get()
    assert (delivery.verdict, delivery.rejected, delivery.detail["code"]) == ("refused", 1, code)
    # The shop tries again: it is told the same, and does not give the webhook up.
    again = send(shop, shopify_order(**more), delivery="D1")
    assert done(again, "refused")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Delivery.objects.count() == 1


ODD = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    "1",
    [],
    {},
    [None],
    [{}],
    {"a": 1},
    "9" * 400,
    -(10**30),
    float("inf"),
]


def places(value, path=()):
    """Every place inside a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


@pytest.mark.parametrize(
    ("module", "read", "body"),
    [
        (shopify, "order", json.loads(shopify.sample().content)),
        (woocommerce, "order", woo_order(meta_data=[{"key": "_marketing_optin", "value": "yes"}],
                                         refunds=[{"id": 8, "total": "-18.00"}], fee_lines=[{"id": 1, "total": "2"}])),
        (shopify, "refund", shopify_refund()),
    ],
)  # fmt: skip
def test_whatever_stands_anywhere_in_a_message_it_is_read_or_refused(brand, module, read, body):
    """Never an exception of another kind: each place of a real message in turn holds each oddity."""
    more = {"currency": "EUR", "region": "FR", "settings": {"consent_meta_key": "_marketing_optin"}}
    tried = refusals = 0
    for path in places(body):
        for odd in ODD:
            changed = json.loads(json.dumps(body))
            if path:
                holder = changed
                for step in path[:-1]:
                    holder = holder[step]
                holder[path[-1]] = odd
            else:
                changed = odd
            tried += 1
            try:
                getattr(module, read)(changed, **(more if read == "order" else {}))
            except Problem:
                refusals += 1
    assert tried > 100
    assert refusals


def test_half_a_surrogate_pair_and_other_odd_letters_do_no_harm(shop):
    refused(send(shop, rb'{"id": 1, "email": "\ud800"}'), 400, "invalid_body")
    order = shopify_order()
    order["customer"] |= {"first_name": "Zoë 🐑", "id": {"a": 1}}
    order["billing_address"] |= {"country_code": "ZZ", "phone": "☎"}
    done(send(shop, order))
    assert Purchase.objects.get().profile.first_name.startswith("Zoë")


def test_a_delivery_that_comes_twice_counts_once(shop):
    first = send(shop, shopify_order(), delivery="D1")
    second = send(shop, shopify_order(), delivery="D1")
    assert first.json() == second.json()
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert Purchase.objects.count() == Delivery.objects.count() == 1
    assert statements.balance_of(Profile.objects.get()).available == 66


def test_a_delivery_without_an_id_is_refused(shop):
    refused(send(shop, shopify_order(), **{shopify.DELIVERY: " "}), 422, "no_delivery_id", shopify.DELIVERY)


def test_a_body_of_20_mb_is_refused_before_it_is_read(shop):
    refused(send(shop, b"x" * 20_000_000), 413, "body_too_large")
    assert not Delivery.objects.exists()


def test_a_connector_that_is_off_or_without_its_secret_says_come_back(shop):
    Connection.objects.filter(pk=shop.pk).update(is_on=False)
    answer = send(shop, shopify_order())
    refused(answer, 503, "not_ready")
    assert answer.headers["Retry-After"] == "60"
    Connection.objects.filter(pk=shop.pk).update(is_on=True, sealed_secret="gAAAAA-of-another-key")
    refused(send(shop, shopify_order()), 503, "not_ready")
    assert nothing_written()


def test_an_address_of_nobody_and_another_method_are_refused(shop):
    client = Client(headers={"host": HOST})
    refused(client.post(f"/api/v1/webhooks/{uuid.uuid4()}", b"{}", content_type="application/json"), 404,
            "unknown_connection")  # fmt: skip
    answer = client.get(f"/api/v1/webhooks/{shop.public_id}")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


# --- What the database promises -----------------------------------------------------------------------------------


def test_the_log_is_append_only(shop):
    done(send(shop, shopify_order()))
    for deed in (lambda: Delivery.objects.update(verdict="noted"), lambda: Delivery.objects.all().delete()):
        with pytest.raises(DatabaseError, match="delivery_is_append_only"), transaction.atomic():
            deed()


def test_a_shop_needs_a_till_and_a_till_serves_one_shop(shop):
    other = {"kind": "shopify", "source": shop.source}
    with pytest.raises(IntegrityError, match="web_shop_has_a_till"), transaction.atomic():
        Connection.objects.create(name="B", **other)
    with pytest.raises(IntegrityError, match="till"), transaction.atomic():
        Connection.objects.create(name="C", till=shop.till, **other)


def test_the_secret_is_sealed_and_opens_again(shop, settings):
    assert SECRET not in shop.sealed_secret
    assert Connection.objects.get().secret == SECRET
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "a new one"
    assert Connection.objects.get().secret == SECRET


def test_the_samples_are_taken_in(shop):
    done(send(shop, shopify.sample().content))
    Connection.objects.filter(pk=shop.pk).update(kind="woocommerce")
    shop.refresh_from_db()
    done(send(shop, woocommerce.sample().content))
    totals = set(Purchase.objects.values_list("receipt_id", "total_cents"))
    assert totals == {("450789469", 12572), ("727", 12572)}
    assert Purchase.objects.latest("pk").bought_at < datetime.now(UTC)
