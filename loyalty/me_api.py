"""A member's own view over REST, and the till's way to make the link to it: thin views, as `loyalty/api.py`."""

from datetime import datetime
from uuid import UUID

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from loyalty import me, member_links
from loyalty.till import UnknownMember
from loyalty.till_schemas import MemberAnswer
from profiles import wire
from profiles.models import Profile
from tenants.network.auth import till_of_request
from tenants.network.models import audit
from tenants.scoping import scoped_to


class LinkAnswer(msgspec.Struct, kw_only=True):
    """The link to hand to the member; it opens their own page until `expires_at`."""

    member: str
    link: str
    expires_at: datetime


class TierNow(msgspec.Struct, kw_only=True):
    """`next`: the name of the next tier, "" where there is none; `missing`: points to it."""

    name: str
    next: str
    missing: int | None


class Expiry(msgspec.Struct, kw_only=True):
    on: str
    points: int


class Movement(msgspec.Struct, kw_only=True):
    on: str
    what: str
    points: int
    store: str


class VoucherHeld(msgspec.Struct, kw_only=True):
    name: str
    code: str
    worth_cents: int
    last_day: str
    stores: list[str]


class RewardOffered(msgspec.Struct, kw_only=True):
    """`missing`: how many points are too few; zero where it can be had now."""

    name: str
    points: int
    missing: int
    stores: list[str]


class ConsentNow(msgspec.Struct, kw_only=True):
    """`allowed`: null where nobody was ever asked."""

    channel: str
    allowed: bool | None


class MeAnswer(msgspec.Struct, kw_only=True):
    """A member's own view. `member` is what a till is told of them at the same instant."""

    member: MemberAnswer
    tier: TierNow
    expiries: list[Expiry]
    movements: list[Movement]
    vouchers: list[VoucherHeld]
    rewards: list[RewardOffered]
    consents: list[ConsentNow]
    card: str


@never_cache
def own_view(request: HttpRequest) -> HttpResponse:
    """A member's own view, by the token of their link (`?token=`)."""
    if request.method != "GET":
        raise wire.MethodNotAllowed("GET")
    try:
        member_links.count(address_of(request))
        profile = member_links.holder_of(request.GET.get("token", ""))
    except member_links.TooOften as often:
        return _too_often(often)
    except member_links.LinkGone:
        raise UnknownMember(_("this link does not open any more")) from None
    response = wire.answered(_body(me.view_of(profile)))
    response["X-Robots-Tag"] = "noindex"
    return response


@csrf_exempt
def link(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Make the link to the own page of a member whom the till's store knows."""
    if request.method != "POST":
        raise wire.MethodNotAllowed("POST")
    till = till_of_request(request)
    with scoped_to(till.scope):
        profile = Profile.reached_by(public_id=public_id)
        if profile is None:
            raise UnknownMember(_("no member of this store has the id %s") % public_id)
        made = member_links.link_to(profile, request)
        audit(till, "made link", profile, store_id=till.store_id)
    body = LinkAnswer(member=str(profile.public_id), link=made.url, expires_at=made.expires_at)
    return wire.answered(body, 201)


def address_of(request: HttpRequest) -> str:
    """Who asks, as far as we see: behind a proxy, the last address that it added."""
    # What stands before the proxy's own word, whoever asks may have written.
    seen = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() if settings.SECURE else ""
    return seen or str(request.META.get("REMOTE_ADDR", ""))


def _too_often(often: member_links.TooOften) -> HttpResponse:
    told = _("Too many requests: try again in a minute")
    body = wire.ProblemAnswer(
        type="/problems/too_often", title=told, status=429, code="too_often", detail=told
    )
    response = HttpResponse(wire.encode(body), status=429, content_type="application/problem+json")
    response["Retry-After"] = str(often.seconds)
    return response


def _body(view: me.OwnView) -> dict:
    return {
        "member": view.statement,
        "tier": {"name": view.ladder.tier, "next": view.ladder.next_tier, "missing": view.ladder.missing},
        "expiries": [{"on": expiry.on.isoformat(), "points": expiry.points} for expiry in view.expiries],
        "movements": [
            {"on": line.on.isoformat(), "what": line.what, "points": line.points, "store": line.store}
            for line in view.movements
        ],
        "vouchers": [
            {
                "name": held.name, "code": held.code, "worth_cents": held.worth_cents,
                "last_day": held.last_day.isoformat(), "stores": held.stores,
            }
            for held in view.vouchers
        ],
        "rewards": [
            {"name": offer.name, "points": offer.points, "missing": offer.missing, "stores": offer.stores}
            for offer in view.offers
        ],
        "consents": [{"channel": one.channel, "allowed": one.allowed} for one in view.channels],
        "card": view.card,
    }  # fmt: skip


def add_paths(result: dict, generator, request, public) -> dict:
    """Post-processing hook of the OpenAPI document: a member's own view, and the link to it."""
    types = [LinkAnswer, MeAnswer, wire.ProblemAnswer]
    references, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    reference: dict[type, dict] = dict(zip(types, references, strict=True))
    result["components"]["schemas"].update(components)

    def answer(text: str, kind: type, media: str = "application/json") -> dict:
        return {"description": text, "content": {media: {"schema": reference[kind]}}}

    def problem(text: str) -> dict:
        return answer(text, wire.ProblemAnswer, "application/problem+json")

    result["paths"]["/api/v1/me"] = {
        "get": {
            "operationId": "member_me", "tags": ["member"], "summary": own_view.__doc__,
            "security": [{"memberToken": []}],
            "responses": {
                "200": answer("The member's own view", MeAnswer),
                "404": problem("The link is too old, was ended, or is none"),
                "429": problem("Too many requests of one address"),
            },
        }
    }  # fmt: skip
    result["components"].setdefault("securitySchemes", {})["memberToken"] = {
        "type": "apiKey", "in": "query", "name": "token", "description": "The end of the member's link",
    }  # fmt: skip
    result["paths"]["/api/v1/members/{id}/link"] = {
        "post": {
            "operationId": "till_member_link", "tags": ["till"], "summary": link.__doc__,
            "security": [{"tillKey": []}],
            "parameters": [
                {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
            ],
            "responses": {
                "201": answer("The link, good for thirty days", LinkAnswer),
                "401": problem("The key is missing, unknown or revoked"),
                "404": problem("The till's store knows no such member"),
            },
        }
    }  # fmt: skip
    return result
