"""`POST /api/v1/events`: what sites, apps and tills say that people did.

A site is known by its public key, which stands in its pages: it lets write, never read. Its calls are "simple requests"
to a browser (POST, text/plain, key in the address), so that no preflight is needed and `navigator.sendBeacon` works; a
browser's Origin must be one that the site lists. A till sends its own key. Each event gets an answer of its own.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from msgspec import Meta, Struct

from profiles import wire
from profiles.intake.events import (
    ACCEPTED,
    KNOWN,
    LARGEST_EVENT,
    MOST_EVENTS,
    QUARANTINED,
    REJECTED,
    EventOutcome,
    EventStatement,
    Refusal,
    Sender,
    record_events,
)
from profiles.intake.purchases import Shown
from profiles.models import Site
from tenants.network.auth import till_of_request
from tenants.scoping import NOTHING, scoped_to

# Years in which people do things: beyond them, adding a zone leaves the calendar.
PLAUSIBLE_YEARS = range(1970, 9999)


class UnknownSite(PermissionError):
    """The public key is missing, of no site of this brand, or of one that is switched off."""


class OriginRefused(PermissionError):
    """A browser sends from an address that the site does not list."""


class ConsentMissing(ValueError):
    """A site or an app sent without saying that the visitor agreed."""

    field = "consent"


# --- Shapes -----------------------------------------------------------------------------------------------------------


class Identity(Struct, forbid_unknown_fields=True, kw_only=True):
    """Who is there: exactly one of the four. `customer` is the customer number at the site's own source."""

    email: Annotated[str, Meta(max_length=254)] | None = None
    phone: Annotated[str, Meta(max_length=60)] | None = None
    card: Annotated[str, Meta(max_length=60)] | None = None
    customer: Annotated[str, Meta(max_length=80)] | None = None


class EventTold(Struct, forbid_unknown_fields=True, kw_only=True):
    """Something that somebody did. With `identity` it also says who is at the device."""

    id: Annotated[
        str, Meta(min_length=1, max_length=64, description="Your own id: sent again, it counts once.")
    ]
    type: Annotated[
        str, Meta(min_length=1, max_length=60, description="A code of the dictionary, e.g. page_viewed.")
    ]
    at: Annotated[datetime, Meta(tz=True, description="With a zone, e.g. 2026-03-01T10:00:00+01:00.")]
    device: Annotated[
        str, Meta(max_length=64, description="Id of the browser or app; never of a person.")
    ] = ""
    channel: Annotated[str, Meta(description="web, app, email, sms, store, phone, social or other.")] = ""
    store: Annotated[str, Meta(max_length=20, description="Code of the store it happened in, if any.")] = ""
    identity: Identity | None = None
    properties: dict[str, Any] = {}
    consent: Annotated[
        bool, Meta(description="The visitor agreed; sites and apps say it once a request.")
    ] = False


class EventBatch(Struct, forbid_unknown_fields=True, kw_only=True):
    """Up to 500 events in any order."""

    events: Annotated[list[EventTold], Meta(min_length=1, max_length=MOST_EVENTS)]
    consent: bool = False


class EventProblem(Struct, kw_only=True):
    code: str
    detail: str
    field: str = ""


class EventResult(Struct, kw_only=True):
    """`status`: accepted, known, quarantined or rejected; the last two with their problem."""

    id: str
    status: str
    problem: EventProblem | None = None


class EventsAnswer(Struct, kw_only=True):
    """received = accepted + known + quarantined + rejected; a result for each event, in the order sent."""

    received: int
    accepted: int
    known: int
    quarantined: int
    rejected: int
    results: list[EventResult]


class _Envelope(Struct, kw_only=True):
    """A batch before its events are read, each for itself: a bad one keeps no other out."""

    events: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MOST_EVENTS)] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    consent: bool = False


class _StrictEnvelope(Struct, forbid_unknown_fields=True, kw_only=True):
    events: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MOST_EVENTS)]
    consent: bool = False


class _WithId(Struct):
    id: str = ""


_envelope = msgspec.json.Decoder(_Envelope)
_strict = msgspec.json.Decoder(_StrictEnvelope)
_event = msgspec.json.Decoder(EventTold)
_with_id = msgspec.json.Decoder(_WithId)


# --- The view ---------------------------------------------------------------------------------------------------------


@csrf_exempt
def events(request: HttpRequest) -> HttpResponse:
    """Take in one event, or up to 500 as `events`; a result for each. Sent again, an event is known already."""
    with scoped_to(NOTHING):
        authorization = request.headers.get("Authorization", "")
        if authorization and "key" not in request.GET:
            till = till_of_request(request)
            with scoped_to(till.scope):
                return _recorded(Sender.of_till(till), request)
        site = _site_of(request)
        _admit(request, site)
        if request.method == "OPTIONS":
            return HttpResponse(status=204)
        return _recorded(Sender.of_site(site), request)


def _site_of(request: HttpRequest) -> Site:
    key = request.GET.get("key", "")
    site = (
        Site.objects.select_related("source").filter(key=key).first()
        if 0 < len(key) <= 40 and key.isprintable()
        else None
    )
    if site is None:
        raise UnknownSite(_("send the site's public key as «?key=…», or a till's key in Authorization"))
    if not site.is_on:
        raise UnknownSite(_("the site «%s» is switched off") % site.name)
    return site


def _admit(request: HttpRequest, site: Site) -> None:
    """Let the browser of an allowed origin read the answer; refuse any other. Apps and servers send no origin."""
    origin = request.headers.get("Origin")
    if origin is None:
        return
    if origin not in site.allowed_origins:
        raise OriginRefused(
            _("the site «%(site)s» does not list %(origin)s") % {"site": site.name, "origin": origin[:80]}
        )
    headers = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
    if request.method == "OPTIONS":
        headers |= {
            "Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "Content-Type",
            "Access-Control-Max-Age": "86400",
        }  # fmt: skip
    request.headers_of_answer = headers


def _recorded(sender: Sender, request: HttpRequest) -> HttpResponse:
    body = wire.body_of(request)
    raws, consent = _opened(body)
    if sender.site and not consent:
        raise ConsentMissing(_("without the visitor's consent nothing is taken in: send «consent»: true"))
    answers = record_events(sender, [_read(raw) for raw in raws])
    counts = dict.fromkeys((ACCEPTED, KNOWN, QUARANTINED, REJECTED), 0)
    for answer in answers:
        counts[answer.verdict] += 1
    results = [_result(answer) for answer in answers]
    return wire.answered({"received": len(answers), **counts, "results": results})


def _opened(body: bytes) -> tuple[list[bytes], bool]:
    """The events of a body, each still as it was sent, and whether the visitor agreed."""
    envelope = wire.decoded(body, _envelope, nul=True)
    if envelope.events is msgspec.UNSET:
        return [body], envelope.consent
    envelope = wire.decoded(body, _strict, nul=True)
    return [bytes(raw) for raw in envelope.events], envelope.consent


def _read(raw: bytes) -> EventStatement | Refusal:
    """One event as the domain tells it, or why it is none."""
    if len(raw) > LARGEST_EVENT:
        return Refusal("too_large", _("an event has at most %s bytes") % LARGEST_EVENT, "", _id_in(raw))
    try:
        told = wire.decoded(raw, _event)
    except wire.InvalidBody as error:
        return Refusal("invalid_event", error.detail, error.field, _id_in(raw))
    if told.at.year not in PLAUSIBLE_YEARS:
        return Refusal("implausible_date", _("the year %s cannot be right") % told.at.year, "at", told.id)
    shown = None
    if told.identity is not None:
        given = [
            (kind, value)
            for kind in ("email", "phone", "card", "customer")
            if (value := getattr(told.identity, kind))
        ]
        if len(given) != 1:
            detail = _("give exactly one of email, phone, card, customer")
            return Refusal("invalid_identity", detail, "identity", told.id)
        shown = Shown(*given[0])
    return EventStatement(
        told.id, told.type, told.at, told.device, told.channel, told.store, shown, told.properties
    )


def _id_in(raw: bytes) -> str:
    """The id of what is no event, so that its sender finds it again."""
    try:
        return wire.decoded(raw, _with_id, nul=True).id[:64]
    except wire.InvalidBody:
        return ""


def _result(answer: EventOutcome) -> dict:
    refusal = answer.refusal
    problem = refusal and {"code": refusal.code, "detail": refusal.detail, "field": refusal.field}
    return {"id": answer.event_id, "status": answer.verdict, "problem": problem}


# --- OpenAPI ----------------------------------------------------------------------------------------------------------

PROBLEMS = {
    "400": "The body is no JSON of this shape, or holds no event or too many",
    "401": "The key is missing, unknown, revoked or switched off",
    "403": "A browser sends from an address that the site does not list",
    "409": "The same events are under way: try again",
    "413": "The body is larger than 1 MiB",
    "422": "A site or an app did not say that the visitor agreed",
    "429": "Too many unknown keys were sent from this address: wait for `Retry-After`",
    "503": "The database is away or too slow now: come back after `Retry-After`",
}


def add_event_path(result: dict, generator, request, public) -> dict:
    """Post-processing hook of the OpenAPI document: the path of events, from the types that decode it."""
    types = [EventTold, EventBatch, EventsAnswer, wire.ProblemAnswer]
    references, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    told, batch, answer, problem = references
    result.setdefault("components", {}).setdefault("schemas", {}).update(components)
    result["components"].setdefault("securitySchemes", {})["siteKey"] = {
        "type": "apiKey", "in": "query", "name": "key", "description": "The public key of a site or an app",
    }  # fmt: skip
    body = {"schema": {"oneOf": [told, batch]}}
    result["paths"]["/api/v1/events"] = {
        "post": {
            "operationId": "send_events", "tags": ["events"], "summary": events.__doc__,
            "security": [{"siteKey": []}, {"tillKey": []}],
            "requestBody": {"required": True, "content": {"application/json": body, "text/plain": body}},
            "responses": {
                "200": {
                    "description": "What became of each event",
                    "content": {"application/json": {"schema": answer}},
                },
                **{
                    status: {
                        "description": text, "content": {"application/problem+json": {"schema": problem}}
                    }
                    for status, text in PROBLEMS.items()
                },
            },
        }
    }  # fmt: skip
    return result
