"""The till's REST interface: thin views that decode, make one call and encode.

A domain exception leaves the view as it is; `cdp/api_errors.py` holds the one table that turns it into a problem.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import wraps
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from loyalty import actions, claims, counter, reservations
from loyalty import till as tills
from loyalty import till_schemas as schemas
from loyalty.payments import PaidWith
from loyalty.till import Answer
from profiles import wire
from profiles.intake import (
    ConsentStatement,
    Problem,
    RefundLineStatement,
    RefundStatement,
    Shown,
    Ticket,
    TicketLine,
)
from tenants.network.auth import till_of_request
from tenants.network.models import Till
from tenants.scoping import scoped_to

LARGEST_BATCH_BODY = 4 * 1024 * 1024

# Compared and rounded with as they are: each would be made anew for every amount of a ticket.
LARGEST_AMOUNT, CENT, CENTS_OF_ONE = Decimal(10**10), Decimal("0.01"), Decimal(100)
NOTHING, LARGEST_QUANTITY, THOUSANDTH = Decimal(0), Decimal(10**6), Decimal("0.001")

# Years in which shops tell the time: beyond them, adding a zone or a window leaves the calendar.
PLAUSIBLE_YEARS = range(1970, 9999)


def posted(
    body_type: type, largest: int = wire.LARGEST_BODY, told_by: Callable[[bytes], Any] | None = None
) -> Callable:
    """A view of a till's POST: key -> till -> scope, body -> `body_type` or what `told_by` reads, answer -> JSON."""
    decoder = msgspec.json.Decoder(body_type)

    def decorate(verb: Callable[[Till, Any], Answer]) -> Callable:
        @csrf_exempt
        @wraps(verb)
        def view(request: HttpRequest) -> HttpResponse:
            if request.method != "POST":
                raise wire.MethodNotAllowed("POST")
            till = till_of_request(request)
            with scoped_to(till.scope):
                body = wire.body_of(request, largest)
                return answered(verb(till, told_by(body) if told_by else wire.decoded(body, decoder)))

        return view

    return decorate


def answered(answer: Answer) -> HttpResponse:
    response = wire.answered(answer.body, answer.status)
    if answer.replayed:
        response["Idempotent-Replayed"] = "true"
    return response


# --- Paths -----------------------------------------------------------------------------------------------------------


@posted(schemas.IdentifyRequest)
def identify(till: Till, body: schemas.IdentifyRequest) -> Answer:
    """Find a member by card, phone or e-mail; with `create`, enrol who is not known yet."""
    told = shown(body.member)
    if body.create is None:
        return Answer(200, tills.identify(till, told))
    new = body.create
    fields = {
        "first_name": new.first_name, "last_name": new.last_name, "email": new.email, "phone": new.phone,
        "birth_date": new.birth_date.isoformat() if new.birth_date else "",
    }  # fmt: skip
    consents = [ConsentStatement(c.channel, c.granted, wording=c.wording) for c in new.consents]
    return Answer(200, actions.enrol(till, told, fields, consents))


@posted(schemas.PurchaseRequest)
def quote(till: Till, body: schemas.PurchaseRequest) -> Answer:
    """What a ticket would earn and what could be spent on it. Records nothing."""
    return Answer(200, tills.quote(till, _ticket(body)))


@posted(schemas.PurchaseRequest)
def purchase(till: Till, body: schemas.PurchaseRequest) -> Answer:
    """Record a ticket and credit its points, in one transaction."""
    ticket = _ticket(body)
    if not body.paid_with:
        return tills.record_purchase(till, ticket)
    return counter.record_purchase(till, ticket, _paid_with(body))


class _Misshapen(NamedTuple):
    """A ticket of a batch that has not the documented shape; `receipt_id` as far as one can be read."""

    receipt_id: str
    wrong: wire.InvalidBody


class _Named(msgspec.Struct):
    receipt_id: str = ""


_BATCH, _PARTS = msgspec.json.Decoder(schemas.BatchRequest), msgspec.json.Decoder(schemas.BatchParts)
_PART, _NAME = msgspec.json.Decoder(schemas.PurchaseRequest), msgspec.json.Decoder(_Named)


def _tickets_of(body: bytes) -> list[schemas.PurchaseRequest | _Misshapen]:
    """The tickets of a batch. Each is decoded by itself where one of them is wrong. Raises `InvalidBody`, where the
    batch itself is."""
    try:
        return wire.decoded(body, _BATCH).purchases
    except wire.InvalidBody:
        parts = wire.decoded(body, _PARTS, nul=True).purchases
    told: list[schemas.PurchaseRequest | _Misshapen] = []
    for part in map(bytes, parts):
        try:
            told.append(wire.decoded(part, _PART))
        except wire.InvalidBody as wrong:
            try:
                name = wire.decoded(part, _NAME).receipt_id[:64]
            except wire.InvalidBody:
                name = ""
            told.append(_Misshapen(name, wrong))
    return told


@posted(schemas.BatchRequest, LARGEST_BATCH_BODY, _tickets_of)
def batch(till: Till, purchases: list[schemas.PurchaseRequest | _Misshapen]) -> Answer:
    """Record up to 500 tickets; a result for each, in the order sent. A bad ticket keeps no other out."""
    tickets, results = [], []
    for position, told in enumerate(purchases):
        if isinstance(told, _Misshapen):
            results.append((position, _item(told, told.wrong)))
            continue
        try:
            tickets.append((position, _ticket(told), _paid_with(told)))
        except Problem as problem:
            results.append((position, _item(told, problem)))
    sent = [(ticket, paid_with) for _place, ticket, paid_with in tickets]
    if any(paid_with for _told, paid_with in sent):
        answers = counter.record_purchases(till, sent)
    else:
        answers = tills.record_purchases(till, [ticket for ticket, _none in sent])
    for (position, *_sent), answer in zip(tickets, answers, strict=True):
        results.append((position, _item(purchases[position], answer)))
    results.sort(key=lambda result: result[0])
    return Answer(200, {"results": [item for _position, item in results]})


@posted(schemas.RefundRequest)
def refund(till: Till, body: schemas.RefundRequest) -> Answer:
    """Record goods brought back and take their points back."""
    lines = [
        RefundLineStatement(line.number, _quantity(line.quantity, f"lines[{position}]"))
        for position, line in enumerate(body.lines)
    ]
    return tills.refund(
        till,
        RefundStatement(
            body.refund_id, _instant(body.refunded_at, "refunded_at"), body.receipt_id, lines, body.business_day,
            body.store,
        ),
    )  # fmt: skip


@posted(schemas.RedemptionRequest)
def redemption(till: Till, body: schemas.RedemptionRequest) -> Answer:
    """Spend points for money off."""
    at = _instant(body.redeemed_at, "redeemed_at")
    return tills.redeem(till, shown(body.member), body.points, body.redemption_id, at)


@posted(schemas.ReservationRequest)
def reservation(till: Till, body: schemas.ReservationRequest) -> Answer:
    """Set points aside for a basket, a quarter of an hour long."""
    return reservations.reserve(till, shown(body.member), body.points, body.reservation_id)


@posted(schemas.ReservationEnd)
def commit_reservation(till: Till, body: schemas.ReservationEnd) -> Answer:
    """Spend what was reserved: the basket is paid."""
    return reservations.commit(till, body.reservation_id)


@posted(schemas.ReservationEnd)
def cancel_reservation(till: Till, body: schemas.ReservationEnd) -> Answer:
    """Give up what was reserved: the points are the member's again."""
    return reservations.cancel(till, body.reservation_id)


@posted(schemas.ActionRequest)
def action(till: Till, body: schemas.ActionRequest) -> Answer:
    """Tell of something a member did that is no purchase, and credit what it earns."""
    at = _instant(body.occurred_at, "occurred_at")
    return actions.record(
        till, actions.Deed(body.action, body.action_key, shown(body.member), at, body.campaign)
    )


@posted(schemas.ClaimRequest)
def claim(till: Till, body: schemas.ClaimRequest) -> Answer:
    """Claim a ticket without a card by its number and amount; its points are those of its own day."""
    told = claims.Told(
        body.receipt_id, cents(body.total, "total"), body.store or till.store.code, body.business_day
    )
    return claims.at_till(till, body.claim_id, shown(body.member), told, body.cashier.strip())


def member(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """A member whom the till's store knows: balances, tier, next expiry."""
    if request.method != "GET":
        raise wire.MethodNotAllowed("GET")
    till = till_of_request(request)
    with scoped_to(till.scope):
        return answered(Answer(200, tills.statement(str(public_id))))


# --- From the wire to the domain -------------------------------------------------------------------------------------


def shown(told: schemas.MemberShown) -> Shown:
    given = [(kind, value) for kind in ("card", "phone", "email") if (value := getattr(told, kind))]
    if len(given) != 1:
        raise Problem("invalid_identifier", _("give exactly one of card, phone, email"), "member")
    return Shown(*given[0])


def _ticket(told: schemas.PurchaseRequest) -> Ticket:
    return Ticket(
        receipt_id=told.receipt_id,
        bought_at=_instant(told.bought_at, "bought_at"),
        shown=shown(told.member) if told.member else None,
        payment=told.payment,
        cashier=told.cashier.strip(),
        lines=[
            TicketLine(
                sku=line.sku,
                label=line.label,
                category=line.category,
                quantity=_quantity(line.quantity, f"lines[{position}]"),
                amount_cents=cents(line.amount, f"lines[{position}].amount"),
                discount_cents=cents(line.discount, f"lines[{position}].discount"),
            )
            for position, line in enumerate(told.lines)
        ],
    )


def _paid_with(told: schemas.PurchaseRequest) -> list[PaidWith]:
    return [PaidWith(paid.redemption_id, paid.voucher, paid.reservation_id) for paid in told.paid_with]


def _instant(told: datetime, field: str) -> datetime:
    if told.year not in PLAUSIBLE_YEARS:
        raise Problem("implausible_date", _("the year %s cannot be right") % told.year, field)
    return told


def cents(amount: Decimal, field: str) -> int:
    if amount.is_finite() and -LARGEST_AMOUNT < amount < LARGEST_AMOUNT:
        rounded = amount.quantize(CENT)
        if amount == rounded:
            return int(rounded * CENTS_OF_ONE)
    raise Problem("invalid_amount", _("an amount has at most two decimals: %s") % str(amount)[:40], field)


def _quantity(quantity: Decimal, field: str) -> Decimal:
    if (
        quantity.is_finite()
        and NOTHING < quantity < LARGEST_QUANTITY
        and quantity == quantity.quantize(THOUSANDTH)
    ):
        return quantity
    raise Problem(
        "invalid_quantity",
        _("a quantity is more than zero and has at most three decimals"),
        f"{field}.quantity",
    )


def _item(told: schemas.PurchaseRequest | _Misshapen, answer: Answer | Problem | wire.InvalidBody) -> dict:
    item = {"receipt_id": told.receipt_id, "replayed": False, "answer": None, "problem": None}
    if isinstance(answer, wire.InvalidBody):
        problem = {"code": "invalid_body", "detail": answer.detail, "field": answer.field}
        return item | {"status": 400, "problem": problem}
    if isinstance(answer, Problem):
        return item | {
            "status": 422,
            "problem": {"code": answer.code, "detail": answer.detail, "field": answer.field},
        }
    return item | {"status": answer.status, "replayed": answer.replayed, "answer": answer.body}


# --- OpenAPI ---------------------------------------------------------------------------------------------------------

PATHS = {
    "/api/v1/identify": (identify, schemas.IdentifyRequest, schemas.MemberAnswer, 200),
    "/api/v1/quotes": (quote, schemas.PurchaseRequest, schemas.QuoteAnswer, 200),
    "/api/v1/purchases": (purchase, schemas.PurchaseRequest, schemas.PurchaseAnswer, 201),
    "/api/v1/purchases/batch": (batch, schemas.BatchRequest, schemas.BatchAnswer, 200),
    "/api/v1/refunds": (refund, schemas.RefundRequest, schemas.RefundAnswer, 201),
    "/api/v1/actions": (action, schemas.ActionRequest, schemas.ActionAnswer, 201),
    "/api/v1/claims": (claim, schemas.ClaimRequest, schemas.ClaimAnswer, 201),
    "/api/v1/redemptions": (redemption, schemas.RedemptionRequest, schemas.RedemptionAnswer, 201),
    "/api/v1/reservations": (reservation, schemas.ReservationRequest, schemas.ReservationAnswer, 201),
    "/api/v1/reservations/commit": (
        commit_reservation,
        schemas.ReservationEnd,
        schemas.ReservationAnswer,
        201,
    ),
    "/api/v1/reservations/cancel": (
        cancel_reservation,
        schemas.ReservationEnd,
        schemas.ReservationCancelled,
        201,
    ),
}
PROBLEMS = {
    "400": "The body is no JSON of this shape",
    "401": "The key is missing, unknown or revoked",
    "404": "Nobody is known by what was shown",
    "409": "Not possible now: not enough points, or the sale is not known yet",
    "413": "The body is too large",
    "422": "The content cannot be right, or the id was used with another content",
    "429": "Too many unknown keys were sent from this address: wait for `Retry-After`",
    "503": "The database is away or too slow now: come back after `Retry-After`",
}
# What a path that only reads may hear.
OF_READING = ("401", "404", "429", "503")


def documented(result: dict, paths: dict, further: Sequence[type] = ()) -> tuple[dict, dict]:
    """Add paths of tills to the OpenAPI document; returns references by type, and the problems."""
    types = [body for _view, body, _answer, _status in paths.values()]
    types += [answer for _view, _body, answer, _status in paths.values()]
    types += [*further, wire.ProblemAnswer]
    references, components = msgspec.json.schema_components(
        list(dict.fromkeys(types)), ref_template="#/components/schemas/{name}"
    )
    reference = dict(zip(dict.fromkeys(types), references, strict=True))
    result.setdefault("components", {}).setdefault("schemas", {}).update(components)
    problem = {"application/problem+json": {"schema": reference[wire.ProblemAnswer]}}
    problems = {status: {"description": text, "content": problem} for status, text in PROBLEMS.items()}
    for path, (view, body, answer, status) in paths.items():
        result["paths"].setdefault(path, {})["post"] = {
            "operationId": f"till_{view.__name__}", "tags": ["till"], "summary": view.__doc__,
            "security": [{"tillKey": []}],
            "requestBody": {"required": True, "content": {"application/json": {"schema": reference[body]}}},
            "responses": {
                str(status): {
                    "description": "Done; `Idempotent-Replayed: true` where it was done before",
                    "content": {"application/json": {"schema": reference[answer]}},
                },
                **problems,
            },
        }  # fmt: skip
    return reference, problems


def add_till_paths(result: dict, generator, request, public) -> dict:
    """Post-processing hook of the OpenAPI document: the till's paths, from the same types that decode them."""
    reference, problems = documented(result, PATHS, [schemas.MemberAnswer])
    result["components"].setdefault("securitySchemes", {})["tillKey"] = {
        "type": "apiKey", "in": "header", "name": "Authorization", "description": "Till <key>",
    }  # fmt: skip
    result["paths"]["/api/v1/refunds"]["post"]["responses"]["202"] = {
        "description": "Parked: the sale is not known yet",
        "content": {"application/json": {"schema": reference[schemas.RefundAnswer]}},
    }
    result["paths"]["/api/v1/members/{id}"] = {
        "get": {
            "operationId": "till_member", "tags": ["till"], "summary": member.__doc__,
            "security": [{"tillKey": []}],
            "parameters": [
                {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
            ],
            "responses": {
                "200": {
                    "description": "The member",
                    "content": {"application/json": {"schema": reference[schemas.MemberAnswer]}},
                },
                **{status: problems[status] for status in OF_READING},
            },
        }
    }  # fmt: skip
    return result
