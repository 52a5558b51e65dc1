"""Shopify: orders and refunds, as its webhooks `orders/create`, `orders/paid` and `refunds/create` tell them. Pure.

https://shopify.dev/docs/api/admin-rest/latest/resources/order and …/refund. A unit's `price` is before discounts;
`discount_allocations` hold each line's share of all of them, cart-wide codes included.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext_lazy

from profiles.connectors import orders
from profiles.connectors.kinds import Kind, Sample
from profiles.connectors.orders import Line, Order, Refund, cents

SIGNATURE, DELIVERY, TOPIC = "X-Shopify-Hmac-Sha256", "X-Shopify-Webhook-Id", "X-Shopify-Topic"
ORDER_TOPICS = frozenset({"orders/create", "orders/paid"})
REFUND_TOPICS = frozenset({"refunds/create"})
PAID = frozenset({"paid", "partially_refunded", "refunded"})
# What a customer's consent state means; "pending" waits for the second click and "not_subscribed" was never asked.
STATES = {"subscribed": True, "unsubscribed": False, "redacted": False}


def order(
    body: Any, *, currency: str, region: str, settings: Mapping[str, Any], store_code: str = ""
) -> Order:
    """The order in our words. Raises `Problem` naming the field."""
    told = orders.a_dict(body, "")
    order_id = orders.an_id(told.get("id"), "id")
    orders.check_currency(told.get("currency"), currency)
    at = orders.moment(told.get("processed_at") or told.get("created_at"), "created_at")
    included = told.get("taxes_included") is True
    lines = [
        _line(orders.a_dict(item, f"line_items[{n}]"), f"line_items[{n}]", included)
        for n, item in enumerate(orders.a_list(told.get("line_items"), "line_items"))
    ]
    customer = told.get("customer") or {}
    customer = customer if isinstance(customer, Mapping) else {}
    address = next(
        (
            place
            for place in (
                told.get("billing_address"),
                told.get("shipping_address"),
                customer.get("default_address"),
            )
            if isinstance(place, Mapping)
        ),
        {},
    )
    first = orders.text
    fields = {
        "first_name": first(customer.get("first_name")) or first(address.get("first_name")),
        "last_name": first(customer.get("last_name")) or first(address.get("last_name")),
        "email": first(told.get("email")) or first(told.get("contact_email")) or first(customer.get("email")),
        "phone": first(told.get("phone")) or first(customer.get("phone")) or first(address.get("phone")),
        "street": " ".join(filter(None, [first(address.get("address1")), first(address.get("address2"))])),
        "postcode": first(address.get("zip")),
        "city": first(address.get("city")),
    }
    consents, unproven = _consents(told, customer, at, settings)
    statement, shown = orders.person(
        fields,
        customer_id=orders.own_id(customer.get("id")),
        region=first(address.get("country_code")) or region,
        stated_at=at,
        consents=consents,
        store_code=store_code,
    )
    gateways = told.get("payment_gateway_names")
    return Order(
        id=order_id,
        bought_at=at,
        is_paid=first(told.get("financial_status")) in PAID,
        lines=lines,
        person=statement,
        shown=shown,
        payment=str(gateways[0])[:20] if isinstance(gateways, list) and gateways else "",
        unproven=unproven,
    )


def _line(item: Mapping[str, Any], where: str, taxes_included: bool) -> Line:
    number = orders.quantity(item.get("quantity"), f"{where}.quantity")
    gross = cents(item.get("price"), f"{where}.price") * number
    allocated = orders.a_list(item.get("discount_allocations"), f"{where}.discount_allocations")
    if allocated:
        discount = sum(
            cents(orders.a_dict(part, where).get("amount"), f"{where}.discount_allocations[{n}].amount")
            for n, part in enumerate(allocated)
        )
    else:
        discount = cents(item.get("total_discount") or "0", f"{where}.total_discount")
    taxes = 0
    if not taxes_included:
        taxes = sum(
            cents(orders.a_dict(tax, where).get("price"), f"{where}.tax_lines[{n}].price")
            for n, tax in enumerate(orders.a_list(item.get("tax_lines"), f"{where}.tax_lines"))
        )
    return Line(
        id=orders.an_id(item.get("id"), f"{where}.id"),
        sku=orders.text(item.get("sku"))
        or str(item.get("variant_id") or item.get("product_id") or "")
        or "?",
        label=orders.text(item.get("name")) or orders.text(item.get("title")),
        quantity=number,
        amount_cents=int(gross) - discount + taxes,
        discount_cents=discount,
    )


def _consents(told: Mapping, customer: Mapping, at, settings: Mapping[str, Any]):
    """E-mail and text message: what the customer's record says, else the box that was ticked with this order."""
    wording = _attribute(told, orders.WORDING) or settings.get("consent_wording", "")
    found, unproven = [], []
    for channel, name in (("email", "email_marketing_consent"), ("sms", "sms_marketing_consent")):
        record = customer.get(name)
        granted, since = None, None
        if isinstance(record, Mapping):
            granted = STATES.get(orders.text(record.get("state")))
            if record.get("consent_updated_at"):
                since = orders.moment(record["consent_updated_at"], f"customer.{name}.consent_updated_at")
            if granted is False:
                since = since or at
        elif channel == "email" and told.get("buyer_accepts_marketing") is True:
            granted, since = True, at
        statement, lacks_proof = orders.consent(channel, granted, since, wording)
        if statement:
            found.append(statement)
        if lacks_proof:
            unproven.append(channel)
    return found, tuple(unproven)


def _attribute(told: Mapping, name: str) -> str:
    attributes = told.get("note_attributes")
    for entry in attributes if isinstance(attributes, list) else ():
        if isinstance(entry, Mapping) and entry.get("name") == name:
            return orders.text(entry.get("value"))[:500]
    return ""


def refund(body: Any) -> Refund:
    """The refund in our words. Raises `Problem` naming the field."""
    told = orders.a_dict(body, "")
    back: dict[str, Decimal] = {}
    for n, item in enumerate(orders.a_list(told.get("refund_line_items"), "refund_line_items")):
        where = f"refund_line_items[{n}]"
        line = orders.a_dict(item, where)
        line_id = orders.an_id(line.get("line_item_id"), f"{where}.line_item_id")
        back[line_id] = back.get(line_id, Decimal(0)) + orders.quantity(
            line.get("quantity"), f"{where}.quantity"
        )
    paid = 0
    for n, item in enumerate(orders.a_list(told.get("transactions"), "transactions")):
        deed = orders.a_dict(item, f"transactions[{n}]")
        if deed.get("kind") == "refund" and deed.get("status", "success") == "success":
            paid += cents(deed.get("amount"), f"transactions[{n}].amount")
    return Refund(
        id=orders.an_id(told.get("id"), "id"),
        order_id=orders.an_id(told.get("order_id"), "order_id"),
        at=orders.moment(told.get("processed_at") or told.get("created_at"), "created_at"),
        quantities=back,
        amount_cents=paid,
    )


def sample(currency: str = "EUR") -> Sample:
    """An order of two lines with a discount, taxes included, as Shopify sends it."""
    at = orders.sample_time().isoformat()
    body = {
        "id": 450789469, "name": "#1001", "email": "marie.durand@mail.example", "phone": None,
        "created_at": at, "processed_at": at, "currency": currency, "taxes_included": True,
        "financial_status": "paid", "payment_gateway_names": ["shopify_payments"],
        "buyer_accepts_marketing": True,
        "note_attributes": [{"name": "consent_wording", "value": "Je veux recevoir les offres par e-mail."}],
        "customer": {
            "id": 207119551, "first_name": "Marie", "last_name": "Durand", "email": "marie.durand@mail.example",
            "email_marketing_consent": {
                "state": "subscribed", "opt_in_level": "single_opt_in", "consent_updated_at": at,
            },
            "sms_marketing_consent": None,
        },
        "billing_address": {
            "first_name": "Marie", "last_name": "Durand", "address1": "12 rue des Lilas", "address2": None,
            "zip": "59000", "city": "Lille", "country_code": "FR", "phone": "+33 6 12 34 56 78",
        },
        "line_items": [
            {
                "id": 466157049, "sku": "COMTE-12", "name": "Comté 12 mois", "quantity": 2, "price": "19.90",
                "total_discount": "0.00", "discount_allocations": [{"amount": "3.98", "discount_application_index": 0}],
                "tax_lines": [{"title": "TVA", "rate": 0.055, "price": "1.87"}],
            },
            {
                "id": 518995019, "sku": "PANIER-NOEL", "name": "Panier de Noël", "quantity": 1, "price": "89.90",
                "total_discount": "0.00", "discount_allocations": [],
                "tax_lines": [{"title": "TVA", "rate": 0.2, "price": "14.98"}],
            },
        ],
        "refunds": [],
    }  # fmt: skip
    content = json.dumps(body, ensure_ascii=False, indent=2).encode()
    return Sample("shopify-order.json", "application/json", content)


def headers(body: bytes, secret: str) -> dict[str, str]:
    """What Shopify would send with the sample."""
    return {SIGNATURE: orders.signature(secret, body), DELIVERY: "cdp-test", TOPIC: "orders/paid"}


KIND = Kind(
    code="shopify",
    title="Shopify",
    summary=gettext_lazy(
        "Orders and refunds of a Shopify shop, as they happen: the customer is known, the ticket earns points, a "
        "refund takes them back."
    ),
    icon="shopping_bag",
    format=gettext_lazy(
        "Webhooks orders/create, orders/paid and refunds/create in JSON, sent to the address on the connector's page "
        "and signed with the shop's secret. An order counts once it is paid."
    ),
    anchor="shopify",
    sample=sample,
    settings=(orders.OPT_IN_WORDS,),
    secret=gettext_lazy("signing secret"),
    secret_help=gettext_lazy("Shopify shows it under Settings › Notifications › Webhooks."),
    is_a_shop=True,
    receives="webhooks",
    headers=headers,
)  # fmt: skip
