"""WooCommerce: orders and their refunds, as its webhooks `order.created` and `order.updated` tell them. Pure.

https://woocommerce.github.io/woocommerce-rest-api-docs/#orders. A line's `total` is after discounts and never holds
taxes, whatever `prices_include_tax` says: what was paid is `total + total_tax`. A refund has no webhook of its own: it
comes as an `order.updated` whose `refunds` name it with its amount.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy

from profiles.connectors import orders
from profiles.connectors.kinds import Kind, Sample, Setting
from profiles.connectors.orders import Line, Order, Refund, cents

SIGNATURE, DELIVERY, TOPIC = "X-WC-Webhook-Signature", "X-WC-Webhook-Delivery-ID", "X-WC-Webhook-Topic"
ORDER_TOPICS = frozenset({"order.created", "order.updated"})
REFUND_TOPICS: frozenset[str] = frozenset()
PAID = frozenset({"processing", "completed", "refunded"})
# What a shop sends when a webhook is saved, to see whether somebody answers: not signed, and nothing in it.
PING = re.compile(rb"webhook_id=\d{1,20}")


def order(
    body: Any, *, currency: str, region: str, settings: Mapping[str, Any], store_code: str = ""
) -> Order:
    """The order in our words, its refunds with it. Raises `Problem` naming the field."""
    told = orders.a_dict(body, "")
    order_id = orders.an_id(told.get("id"), "id")
    orders.check_currency(told.get("currency"), currency)
    at = orders.moment(told.get("date_created_gmt"), "date_created_gmt", utc=True)
    lines = [
        _line(orders.a_dict(item, f"line_items[{n}]"), f"line_items[{n}]")
        for n, item in enumerate(orders.a_list(told.get("line_items"), "line_items"))
    ]
    lines += [
        line
        for n, item in enumerate(orders.a_list(told.get("fee_lines"), "fee_lines"))
        if (line := _fee(orders.a_dict(item, f"fee_lines[{n}]"), f"fee_lines[{n}]")).amount_cents
    ]
    billing = told.get("billing")
    billing = billing if isinstance(billing, Mapping) else {}
    text = orders.text
    fields = {
        "first_name": text(billing.get("first_name")),
        "last_name": text(billing.get("last_name")),
        "email": text(billing.get("email")),
        "phone": text(billing.get("phone")),
        "street": " ".join(filter(None, [text(billing.get("address_1")), text(billing.get("address_2"))])),
        "postcode": text(billing.get("postcode")),
        "city": text(billing.get("city")),
    }
    consents, unproven = _consents(told, at, settings)
    statement, shown = orders.person(
        fields,
        # 0 is how the shop says that nobody signed in.
        customer_id=orders.own_id(told.get("customer_id")),
        region=text(billing.get("country")) or region,
        stated_at=at,
        consents=consents,
        store_code=store_code,
    )
    changed = told.get("date_modified_gmt")
    refunded_at = orders.moment(changed, "date_modified_gmt", utc=True) if changed else at
    return Order(
        id=order_id,
        bought_at=at,
        is_paid=text(told.get("status")) in PAID,
        lines=lines,
        person=statement,
        shown=shown,
        payment=text(told.get("payment_method"))[:20],
        refunds=[
            _refund(orders.a_dict(item, f"refunds[{n}]"), f"refunds[{n}]", order_id, refunded_at)
            for n, item in enumerate(orders.a_list(told.get("refunds"), "refunds"))
        ],
        unproven=unproven,
    )


def _line(item: Mapping[str, Any], where: str) -> Line:
    paid = cents(item.get("total"), f"{where}.total") + cents(
        item.get("total_tax") or "0", f"{where}.total_tax"
    )
    before = paid
    if item.get("subtotal") is not None:
        before = cents(item["subtotal"], f"{where}.subtotal")
        before += cents(item.get("subtotal_tax") or "0", f"{where}.subtotal_tax")
    return Line(
        id=orders.an_id(item.get("id"), f"{where}.id"),
        sku=orders.text(item.get("sku"))
        or str(item.get("variation_id") or item.get("product_id") or "")
        or "?",
        label=orders.text(item.get("name")),
        quantity=orders.quantity(item.get("quantity"), f"{where}.quantity"),
        amount_cents=paid,
        discount_cents=max(before - paid, 0),
    )


def _fee(item: Mapping[str, Any], where: str) -> Line:
    paid = cents(item.get("total") or "0", f"{where}.total") + cents(
        item.get("total_tax") or "0", f"{where}.total_tax"
    )
    return Line(
        id=f"fee:{orders.an_id(item.get('id'), f'{where}.id')}",
        sku="FEE",
        label=orders.text(item.get("name")),
        quantity=orders.quantity(1, where),
        amount_cents=paid,
    )


def _refund(item: Mapping[str, Any], where: str, order_id: str, at) -> Refund:
    return Refund(
        id=orders.an_id(item.get("id"), f"{where}.id"),
        order_id=order_id,
        at=at,
        quantities={},
        amount_cents=abs(cents(item.get("total"), f"{where}.total")),
    )


def _consents(told: Mapping, at, settings: Mapping[str, Any]):
    """The box at the checkout, which a plug-in writes among the order's `meta_data` under a name of its own."""
    name = settings.get("consent_meta_key", "")
    answer = _meta(told, name) if name else ""
    granted = None if answer == "" else True if answer.lower() in orders.YES else None
    # An empty box is no withdrawal: it says nothing of an earlier yes.
    wording = _meta(told, orders.WORDING) or settings.get("consent_wording", "")
    statement, lacks_proof = orders.consent("email", granted, at, wording)
    return [statement] if statement else [], ("email",) if lacks_proof else ()


def _meta(told: Mapping, key: str) -> str:
    entries = told.get("meta_data")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and entry.get("key") == key:
            value = entry.get("value")
            return str(value).strip()[:500] if isinstance(value, str | int | bool) else ""
    return ""


def sample(currency: str = "EUR") -> Sample:
    """An order of two lines with a coupon, as WooCommerce sends it."""
    at = orders.sample_time().replace(tzinfo=None).isoformat()
    body = {
        "id": 727, "number": "727", "status": "processing", "currency": currency, "prices_include_tax": True,
        "date_created": at, "date_created_gmt": at, "date_modified_gmt": at, "date_paid_gmt": at,
        "customer_id": 25, "payment_method": "stripe", "discount_total": "3.77", "discount_tax": "0.21",
        "total": "125.72",
        "billing": {
            "first_name": "Marie", "last_name": "Durand", "address_1": "12 rue des Lilas", "address_2": "",
            "postcode": "59000", "city": "Lille", "country": "FR", "email": "marie.durand@mail.example",
            "phone": "06 12 34 56 78",
        },
        "meta_data": [
            {"id": 1, "key": "_marketing_optin", "value": "yes"},
            {"id": 2, "key": "consent_wording", "value": "Je veux recevoir les offres par e-mail."},
        ],
        "line_items": [
            {
                "id": 315, "name": "Comté 12 mois", "product_id": 93, "sku": "COMTE-12", "quantity": 2,
                "subtotal": "37.73", "subtotal_tax": "2.07", "total": "33.96", "total_tax": "1.86",
            },
            {
                "id": 316, "name": "Panier de Noël", "product_id": 22, "sku": "PANIER-NOEL", "quantity": 1,
                "subtotal": "74.92", "subtotal_tax": "14.98", "total": "74.92", "total_tax": "14.98",
            },
        ],
        "fee_lines": [], "shipping_lines": [], "refunds": [],
    }  # fmt: skip
    content = json.dumps(body, ensure_ascii=False, indent=2).encode()
    return Sample("woocommerce-order.json", "application/json", content)


def headers(body: bytes, secret: str) -> dict[str, str]:
    """What WooCommerce would send with the sample."""
    return {SIGNATURE: orders.signature(secret, body), DELIVERY: "cdp-test", TOPIC: "order.created"}


KIND = Kind(
    code="woocommerce",
    title="WooCommerce",
    summary=gettext_lazy(
        "Orders and refunds of a WooCommerce shop, as they happen: the customer is known, the ticket earns points, a "
        "refund takes them back."
    ),
    icon="shopping_cart",
    format=gettext_lazy(
        "Webhooks order.created and order.updated in JSON, sent to the address on the connector's page and signed with "
        "the webhook's secret. An order counts once it is paid; its refunds come with it."
    ),
    anchor="woocommerce",
    sample=sample,
    settings=(
        Setting(
            "consent_meta_key", gettext_lazy("name of the opt-in"),
            gettext_lazy("The key of the order's meta_data in which your checkout writes it, e.g. _marketing_optin."),
            required=False,
        ),
        orders.OPT_IN_WORDS,
    ),
    secret=gettext_lazy("signing secret"),
    secret_help=gettext_lazy("The secret that you gave the webhook in WooCommerce › Settings › Advanced › Webhooks."),
    is_a_shop=True,
    receives="webhooks",
    headers=headers,
)  # fmt: skip
