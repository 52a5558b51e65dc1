"""A web shop's messages: an order becomes its customer's statement and a ticket that earns points, a refund takes them
back.

A shop is a store with a till, and its orders are that till's tickets. Each message is one transaction, and counts once
by the shop's own delivery id; whatever is refused is in the connector's log with its reason. A refund that comes before
its order is told to come back (409), and nothing of it is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection as database
from django.db import transaction
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from loyalty import till as tills
from profiles import intake
from profiles.connectors import contest, orders, shopify, woocommerce
from profiles.connectors.kinds import ConnectorError, secret_of
from profiles.connectors.receiving import NotReady, WrongSignature, connection_of, parsed
from profiles.intake import Problem, RefundLineStatement, RefundStatement, Shown, Ticket, TicketLine
from profiles.models import Connection, Delivery, Purchase, RefundLine
from profiles.models import Refund as RecordedRefund
from profiles.models.connections import LONGEST_REF
from profiles.wire import body_of
from tenants.scoping import scoped_to, whole_network

LARGEST_BODY = 2 * 1024 * 1024
# A refund whose order never comes is noted after this long: a shop that hears "come back" for ever gives up.
PATIENCE = timedelta(hours=2)
SHOPS = {"shopify": shopify, "woocommerce": woocommerce}
RETRIED = frozenset({"unknown_sale"})


@dataclass
class Came:
    """What a message came to, as its `Delivery` will say."""

    verdict: str = Delivery.Verdict.NOTED
    note: str = ""
    subject: str = ""
    stated_at: Any = None
    outcome: str = ""
    detail: dict = field(default_factory=dict)


@csrf_exempt
def webhook(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Take in a message of a web shop: signed over its body as it came, each delivery once."""
    body = body_of(request, LARGEST_BODY)
    connection = connection_of(public_id, SHOPS)
    shop = SHOPS[connection.kind]
    signature = request.headers.get(shop.SIGNATURE, "")
    if connection.kind == "woocommerce" and not signature and woocommerce.PING.fullmatch(body):
        return _answered({"delivery": "", "verdict": Delivery.Verdict.NOTED, "note": "ping"})
    try:
        secret = secret_of(connection)
    except ConnectorError as missing:
        _say(connection, missing.detail)
        raise NotReady(missing.detail) from missing
    if not orders.is_signed(secret, body, signature):
        _say(connection, _("a message came whose signature is wrong: compare the secret with the shop's"))
        raise WrongSignature(_("the signature in %s is missing or wrong") % shop.SIGNATURE)
    if not connection.is_on:
        raise NotReady(_("this connector is switched off"))
    ref = request.headers.get(shop.DELIVERY, "").strip()[:LONGEST_REF]
    if not ref or "\x00" in ref:
        raise Problem("no_delivery_id", _("the header %s is missing") % shop.DELIVERY, shop.DELIVERY)
    topic = request.headers.get(shop.TOPIC, "").strip()[:60]
    delivery, replayed = receive(connection, ref, topic, parsed(body))
    return _answered(told_of(delivery), replayed)


def _say(connection: Connection, reason: str) -> None:
    with whole_network():
        connection.note_error(reason)


def _answered(body: dict, replayed: bool = False) -> HttpResponse:
    response = HttpResponse(msgspec.json.encode(body), content_type="application/json")
    if replayed:
        response["Idempotent-Replayed"] = "true"
    return response


def told_of(delivery: Delivery) -> dict:
    """The answer to a delivery, the same whenever it is asked for."""
    return {"delivery": delivery.ref, "verdict": delivery.verdict, "note": delivery.error, **delivery.detail}


def receive(connection: Connection, ref: str, topic: str, body: Any) -> tuple[Delivery, bool]:
    """Take a message in: its delivery, and whether it had come before.

    Raises `Problem` for one that cannot be right; that it came is kept, so the same delivery again is answered and not
    raised. Of a refund whose order is not known yet (`unknown_sale`) nothing is kept.
    """
    refusal: Problem | None = None
    with whole_network(), transaction.atomic():
        # Held until the end: the same order created and paid at once is one ticket, and a delivery sent twice one row.
        connection = (
            Connection.objects.select_for_update(no_key=True, of=("self",))
            .select_related("source", "till__store")
            .get(pk=connection.pk)
        )
        known = Delivery.objects.filter(connection=connection, ref=ref).first()
        if known:
            return known, True
        try:
            with transaction.atomic():
                came = _handled(connection, topic, body)
        except Problem as problem:
            if problem.code in RETRIED:
                raise
            refusal = problem
            where = f"{problem.field}: " if problem.field else ""
            came = Came(
                Delivery.Verdict.REFUSED, f"{where}{problem.detail}", _subject_of(connection, topic, body),
                detail={"code": problem.code}, outcome="rejected",
            )  # fmt: skip
        delivery = Delivery.objects.create(
            connection=connection, ref=ref, topic=topic, subject=came.subject, verdict=came.verdict,
            error=came.note[:500], stated_at=came.stated_at, detail=came.detail,
            received=1 if came.outcome else 0, **({came.outcome: 1} if came.outcome else {}),
        )  # fmt: skip
        if refusal:
            connection.note_error(delivery.error)
        else:
            connection.note_success()
    if refusal:
        raise refusal
    return delivery, False


def _subject_of(connection: Connection, topic: str, body: Any) -> str:
    is_order = topic in SHOPS[connection.kind].ORDER_TOPICS
    return f"order:{body.get('id')}"[:90] if is_order and isinstance(body, Mapping) else ""


def _handled(connection: Connection, topic: str, body: Any) -> Came:
    shop = SHOPS[connection.kind]
    if topic in shop.ORDER_TOPICS:
        order = shop.order(
            body,
            currency=database.tenant.currency,
            region=connection.till.store.phone_region,
            settings=connection.settings,
            store_code=connection.till.store.code,
        )
        return _order(connection, order)
    if topic in shop.REFUND_TOPICS:
        return _refund(connection, shopify.refund(body))
    return Came(note=_("nothing is done with the topic «%s»") % topic)


# --- Orders -------------------------------------------------------------------------------------------------------


def _recorded(connection: Connection, order_id: str) -> Delivery | None:
    """The delivery by which the order became a ticket."""
    about = Delivery.objects.filter(
        connection=connection, subject=f"order:{order_id}", verdict=Delivery.Verdict.DONE
    )
    return about.filter(detail__has_key="lines").order_by("pk").first()


def _order(connection: Connection, order: orders.Order) -> Came:
    came = Came(subject=f"order:{order.id}", stated_at=order.bought_at, detail={"order": order.id})
    if order.unproven:
        came.detail["consent_without_proof"] = list(order.unproven)
    before = _recorded(connection, order.id)
    if not order.is_paid and before is None:
        came.note = _("the order is not paid: it counts once it is")
        return came
    came.verdict, came.outcome = Delivery.Verdict.DONE, "unchanged"
    if order.person:
        # Held before the customer's profile, as by everybody else who writes a ticket.
        intake.till_source()
        outcome = intake.take_in_records(connection.source, [order.person])[0]
        if outcome.verdict == "rejected":
            raise Problem("invalid_customer", outcome.reason, outcome.column)
        came.outcome = outcome.verdict
    if before is None:
        came.detail |= _ticket(connection, order)
        came.outcome = "created" if came.outcome == "unchanged" else came.outcome
        numbers = came.detail["lines"]
    else:
        numbers = before.detail["lines"]
    refunds = [body for refund in order.refunds if (body := _refunded(connection, refund, numbers))]
    if refunds:
        came.detail["refunds"] = refunds
    return came


def _ticket(connection: Connection, order: orders.Order) -> dict:
    """Record the order as the till's ticket: what it earned, and which of its lines is which line of the ticket."""
    ticket = Ticket(
        receipt_id=order.id,
        bought_at=order.bought_at,
        shown=Shown(*order.shown) if order.shown else None,
        payment=order.payment,
        lines=[
            TicketLine(
                sku=line.sku, label=line.label, quantity=line.quantity, amount_cents=line.amount_cents,
                discount_cents=line.discount_cents,
            )
            for line in order.lines
        ],
    )  # fmt: skip
    with scoped_to(connection.till.scope):
        answer = tills.record_purchase(connection.till, ticket)
    told = {name: answer.body[name] for name in ("member", "points", "total_cents")}
    return told | {"lines": {line.id: number for number, line in enumerate(order.lines, start=1)}}


# --- Refunds ------------------------------------------------------------------------------------------------------


def _refund(connection: Connection, refund: orders.Refund) -> Came:
    came = Came(
        subject=f"refund:{refund.id}",
        stated_at=refund.at,
        detail={"order": refund.order_id, "refund": refund.id},
    )
    before = _recorded(connection, refund.order_id)
    if before is None:
        of_order = Delivery.objects.filter(connection=connection, subject=f"order:{refund.order_id}")
        refused = of_order.filter(verdict=Delivery.Verdict.REFUSED).exists()
        if not refused and refund.at and timezone.now() - refund.at < PATIENCE:
            raise Problem(
                "unknown_sale",
                _("order «%s» is not known yet: send the refund again after it") % refund.order_id,
                "order_id",
            )
        came.note = _("order «%s» was never recorded here: there is nothing to take back") % refund.order_id
        return came
    body = _refunded(connection, refund, before.detail["lines"])
    if body is None:
        came.note = _("nothing of the goods was paid back")
        return came
    came.verdict, came.outcome = Delivery.Verdict.DONE, "unchanged" if body.pop("known") else "created"
    came.detail |= body
    return came


def _refunded(connection: Connection, refund: orders.Refund, numbers: Mapping[str, int]) -> dict | None:
    """Record what came back; None where nothing did, or where an order tells of a refund that is recorded."""
    till = connection.till
    known = RecordedRefund.objects.filter(till=till, refund_id=refund.id).first()
    if known:
        if not refund.quantities:
            return None
        return {"refunded_cents": known.total_cents, "known": True}
    purchase = Purchase.objects.filter(till=till, receipt_id=refund.order_id).order_by("-pk").first()
    if purchase is None:
        raise Problem("unknown_sale", _("order «%s» is not known yet") % refund.order_id, "order_id")
    if refund.quantities:
        quantities = {}
        for line_id, count in refund.quantities.items():
            if line_id not in numbers:
                raise Problem(
                    "unknown_line",
                    _("the order has no line «%s»") % line_id,
                    "refund_line_items.line_item_id",
                )
            quantities[numbers[line_id]] = count
    else:
        # The ticket's row is held until the end by the intake; refunds of one shop come one after the other anyway.
        quantities = orders.lines_for(refund.amount_cents, _sold(purchase))
    if not quantities:
        return None
    statement = RefundStatement(
        refund_id=refund.id,
        refunded_at=max(refund.at or purchase.bought_at, purchase.bought_at),
        receipt_id=refund.order_id,
        business_day=purchase.business_day,
        lines=[RefundLineStatement(number, count) for number, count in sorted(quantities.items())],
    )
    with scoped_to(till.scope):
        body = tills.refund(till, statement).body
    told = {"refunded_cents": body["refunded_cents"], "points_taken_back": body["points_taken_back"]}
    if not refund.quantities and body["refunded_cents"] != refund.amount_cents:
        # Shipping, or cents that no thousandth of a line comes to.
        told["not_of_the_ticket_cents"] = refund.amount_cents - body["refunded_cents"]
    return told | {"known": False}


def _sold(purchase: Purchase) -> list[orders.Sold]:
    back = {
        row["line"]: row
        for row in RefundLine.objects.filter(line__purchase=purchase)
        .values("line")
        .annotate(quantity_back=Sum("quantity"), cents_back=Sum("amount_cents"))
    }
    nothing: dict[str, Any] = {"quantity_back": Decimal(0), "cents_back": 0}
    return [
        orders.Sold(
            line.number, line.quantity, line.amount_cents, (row := back.get(line.pk, nothing))["quantity_back"],
            row["cents_back"],
        )
        for line in purchase.lines.order_by("number")
    ]  # fmt: skip


# --- OpenAPI ------------------------------------------------------------------------------------------------------


def add_paths(result: dict, generator, request, public) -> dict:
    """Post-processing hook of the OpenAPI document: the paths by which connectors are written to."""
    references, components = msgspec.json.schema_components(
        [contest.Entries, contest.EntriesAnswer], ref_template="#/components/schemas/{name}"
    )
    result["components"]["schemas"].update(components)
    result["components"]["securitySchemes"]["connectionKey"] = {
        "type": "apiKey", "in": "header", "name": "Authorization", "description": "Connection <key>",
    }  # fmt: skip
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}}
    problems = {
        status: {"description": text, "content": problem}
        for status, text in {
            "400": "The body is not of this shape",
            "401": "The key or the signature is missing or wrong",
            "413": "The body is too large",
            "422": "The content cannot be right",
            "503": "The connector is switched off or not set up",
        }.items()
    }
    result["paths"]["/api/v1/contest-entries"] = {
        "post": {
            "operationId": "contest_entries", "tags": ["connectors"], "summary": contest.entries_view.__doc__,
            "security": [{"connectionKey": []}],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": references[0]},
                    "text/csv": {"schema": {"type": "string"}},
                },
            },
            "responses": {
                "200": {
                    "description": "What came of each entry",
                    "content": {"application/json": {"schema": references[1]}},
                },
                **problems,
            },
        }
    }  # fmt: skip
    anything = {"application/json": {"schema": {"type": "object"}}}
    result["paths"]["/api/v1/webhooks/{id}"] = {
        "post": {
            "operationId": "webshop_webhook", "tags": ["connectors"], "summary": webhook.__doc__, "security": [],
            "parameters": [
                {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}},
            ],
            "requestBody": {"required": True, "content": anything},
            "responses": {
                "200": {"description": "Taken in, noted, or known before", "content": anything},
                **problems,
                "404": {"description": "No connector answers here", "content": problem},
                "409": {"description": "The refund's order is not known yet: send it again", "content": problem},
            },
        }
    }  # fmt: skip
    return result
