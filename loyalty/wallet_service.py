"""Apple's web service for passes: a telephone registers to be told of changes, asks what changed, and fetches it.

The protocol is Apple's «Wallet Passes» web service, version 1. What concerns one pass is answered to who knows that
pass's own token; what a telephone asks of its passes, to who knows the telephone's id, which is random and known to
nobody else. Every refusal looks alike.
"""

import json
import logging
import re
from collections.abc import Callable
from functools import wraps
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.utils.http import http_date, parse_http_date_safe
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from loyalty import member_links
from loyalty.me_api import address_of
from loyalty.models import WalletPass
from loyalty.models.wallet import SecretUnreadable
from loyalty.wallet import apple, issuers, passes
from loyalty.wallet_admin import retire_view
from tenants.scoping import whole_network

logger = logging.getLogger(__name__)

SCHEME = "ApplePass "
LARGEST_BODY = 16 * 1024
LINES, LONGEST_LINE = 10, 300
# Both stand in addresses that we call or are called by.
DEVICE = re.compile(r"[0-9A-Za-z_-]{1,120}")
PUSH_TOKEN = re.compile(r"[0-9A-Fa-f]{16,200}")
LARGEST_TAG = 2**63 - 1


def by_its_token(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A view of one pass, `view(request, wallet_pass, …)`, for who knows its token."""

    @wraps(view)
    def opened(request: HttpRequest, *, serial: UUID, **about: str) -> HttpResponse:
        told = request.headers.get("Authorization", "")
        with whole_network():
            one = WalletPass.objects.filter(serial=serial).select_related("record__profile").first()
        if not told.startswith(SCHEME) or one is None or not _knows(one, told.removeprefix(SCHEME)):
            return _counted(request) or HttpResponse(status=401)
        return view(request, one, **about)

    return opened


@csrf_exempt
@require_http_methods(["POST", "DELETE"])
@by_its_token
def registration(request: HttpRequest, one: WalletPass, *, device: str, pass_type: str) -> HttpResponse:
    """POST: a telephone holds the pass and tells its push token, 201, or 200 where it had; DELETE: it holds it no
    more."""
    if not DEVICE.fullmatch(device):
        return _refused(_("the device id is no id of a telephone"))
    if request.method == "DELETE":
        passes.unregister(one, device)
        return HttpResponse(status=200)
    told = _object(request)
    push_token = told.get("pushToken") if told is not None else None
    if not isinstance(push_token, str) or not PUSH_TOKEN.fullmatch(push_token):
        return _refused(_("pushToken: a push token in hexadecimal digits is needed"))
    try:
        is_new = passes.register(one, device, push_token)
    except passes.TooManyDevices:
        return _refused(_("too many telephones hold this pass"))
    return HttpResponse(status=201 if is_new else 200)


@require_http_methods(["GET"])
def serial_numbers(request: HttpRequest, *, device: str, pass_type: str) -> HttpResponse:
    """Which passes of this telephone changed since the tag that it was told last; 204 where none did."""
    told = request.GET.get("passesUpdatedSince", "")
    tag = int(told) if told.isascii() and told.isdigit() and len(told) < len(str(LARGEST_TAG)) else 0
    serials, newest = passes.changed_since(device, tag) if DEVICE.fullmatch(device) else ([], 0)
    if not serials:
        return _counted(request) or HttpResponse(status=204)
    return JsonResponse({"serialNumbers": serials, "lastUpdated": str(newest)})


@require_http_methods(["GET"])
@by_its_token
def latest(request: HttpRequest, one: WalletPass, *, pass_type: str) -> HttpResponse:
    """The pass as it stands now; 304 where the telephone has it so."""
    issuer = issuers.apple()
    if issuer is None or issuer.pass_type != pass_type:
        return HttpResponse(status=404)
    one = passes.note(one)
    known = parse_http_date_safe(request.headers.get("If-Modified-Since", ""))
    changed = int(one.changed_at.timestamp())
    if known is not None and changed <= known:
        return HttpResponse(status=304)
    site = request.build_absolute_uri("/")
    response = HttpResponse(apple.pkpass(one, issuer, apple.service_at(site)), content_type=apple.MEDIA_TYPE)
    response["Last-Modified"] = http_date(changed)
    response["Cache-Control"] = "no-store"
    return response


@csrf_exempt
@require_http_methods(["POST"])
def log(request: HttpRequest) -> HttpResponse:
    """What a telephone complains about, for our log: a few lines, as data and not as lines of it."""
    if busy := _counted(request):
        return busy
    told = _object(request)
    lines = told.get("logs") if told is not None else None
    if not isinstance(lines, list):
        return _refused(_("logs: a list of lines is needed"))
    for line in lines[:LINES]:
        logger.warning("Apple Wallet: %r", str(line)[:LONGEST_LINE])
    return HttpResponse(status=200)


def _knows(one: WalletPass, token: str) -> bool:
    try:
        return one.answers_to(token)
    except SecretUnreadable:
        logger.warning("the token of pass %s was sealed under another key", one)
        return False


def _object(request: HttpRequest) -> dict | None:
    """The body, if it is a JSON object of a reasonable size."""
    body = request.body
    if len(body) > LARGEST_BODY:
        return None
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _refused(why: str) -> HttpResponse:
    return JsonResponse({"message": why}, status=400)


def _counted(request: HttpRequest) -> HttpResponse | None:
    """Count a request that anybody can make; the answer to one too many."""
    try:
        member_links.count(f"wallet:{address_of(request)}")
    except member_links.TooOften as often:
        return HttpResponse(status=429, headers={"Retry-After": str(often.seconds)})
    return None


app_name = "wallet"
urlpatterns = [
    path("retire/<int:pk>/", admin.site.admin_view(retire_view), name="retire"),
    path(
        "apple/v1/devices/<str:device>/registrations/<str:pass_type>/<uuid:serial>",
        registration,
        name="registration",
    ),
    path(
        "apple/v1/devices/<str:device>/registrations/<str:pass_type>",
        serial_numbers,
        name="serial_numbers",
    ),
    path("apple/v1/passes/<str:pass_type>/<uuid:serial>", latest, name="latest"),
    path("apple/v1/log", log, name="log"),
]
