"""What went wrong, as an API caller is told: one table from domain exception to status and code (RFC 9457)."""

import json
import logging

from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpResponse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt
from psycopg.errors import LockNotAvailable
from rest_framework.views import exception_handler

from loyalty.coupons import NotUsable
from loyalty.ledger import LedgerError, NotEnoughPoints
from loyalty.rewards import Refused
from loyalty.rulebook import NoProgramme
from loyalty.till import UnknownMember
from profiles.connectors import receiving
from profiles.events_api import ConsentMissing, OriginRefused, UnknownSite
from profiles.intake import Conflict, Problem, SourceNotActive
from profiles.wire import BodyTooLarge, InvalidBody, MethodNotAllowed
from tenants.network.auth import UnknownTill
from tenants.network.throttle import TooManyAttempts

log = logging.getLogger(__name__)

# The first line that fits decides, so a subclass stands above its base. A code of None is the exception's own.
TABLE = (
    (TooManyAttempts, 429, "too_many_attempts", _("Too many unknown keys come from this address: wait")),
    (UnknownTill, 401, "unknown_till", _("The till is not known")),
    (receiving.WrongSignature, 401, "wrong_signature", _("The sender is not recognised")),
    (receiving.UnknownConnection, 404, "unknown_connection", _("No connector answers here")),
    (receiving.NotReady, 503, "not_ready", _("The connector is not ready: try again")),
    (SourceNotActive, 503, "source_not_active", _("The source is being set up: try again")),
    (UnknownSite, 401, "unknown_site", _("The site is not known")),
    (OriginRefused, 403, "origin_refused", _("The site does not send from this address")),
    (MethodNotAllowed, 405, "method_not_allowed", _("The path answers to another method")),
    (BodyTooLarge, 413, "body_too_large", _("The body is too large")),
    (InvalidBody, 400, "invalid_body", _("The body has not the documented shape")),
    (UnknownMember, 404, "unknown_member", _("Nobody is known by what was shown")),
    (NotEnoughPoints, 409, "not_enough_points", _("Not enough points")),
    (Refused, 409, None, _("The benefit cannot be had or used")),
    (LedgerError, 409, "ledger_refused", _("The ledger refused")),
    (NoProgramme, 409, "no_programme", _("The brand has no loyalty programme yet")),
    (Conflict, 422, None, _("The id was used before with another content")),
    (Problem, 422, None, _("The content cannot be right")),
    (ConsentMissing, 422, "consent_missing", _("The visitor has not agreed")),
    (DataError, 400, "invalid_value", _("A value is beyond what can be stored or compared")),
    (IntegrityError, 409, "in_flight", _("The same request is under way: try again")),
    (OperationalError, 503, "unavailable", _("The database cannot be reached: try again")),
    (InterfaceError, 503, "unavailable", _("The database cannot be reached: try again")),
)
OF_THE_DATABASE = (DataError, IntegrityError, OperationalError, InterfaceError)
STATUS_OF_CODE = {
    "unknown_sale": 409,
    "unknown_ticket": 404,
    "ticket_has_member": 409,
    "already_claimed": 409,
    "claim_over": 409,
    "own_ticket": 409,
    "unknown_reward": 404,
    "unknown_voucher": 404,
    "unknown_claim": 404,
    "unknown_reservation": 404,
    "mistyped_voucher": 422,
}
RETRY_AFTER_SECONDS = {
    "in_flight": 1,
    "unavailable": 5,
    "not_ready": 60,
    "source_not_active": 60,
    "too_many_attempts": 60,
}
CHALLENGE = {"unknown_till": "Till"}


def problem(
    status: int, code: str, title: str | Promise, detail: str, errors: list[dict] | None = None
) -> HttpResponse:
    """An `application/problem+json` answer. `errors` holds {"field", "detail"} where fields are at fault."""
    body = {
        "type": f"/problems/{code}",
        "title": str(title),
        "status": status,
        "code": code,
        "detail": detail,
    }
    if errors:
        body["errors"] = errors
    response = HttpResponse(
        json.dumps(body, ensure_ascii=False), status=status, content_type="application/problem+json"
    )
    if code in RETRY_AFTER_SECONDS:
        response["Retry-After"] = str(RETRY_AFTER_SECONDS[code])
    if code in CHALLENGE:
        response["WWW-Authenticate"] = CHALLENGE[code]
    return response


def answer_to(error: Exception) -> HttpResponse | None:
    """The problem that tells of a domain exception; None for one that is not in the table."""
    if isinstance(error.__cause__, LockNotAvailable):
        # It waited for another who holds the same receipt or member, and gave up: told as a race that was lost.
        error = IntegrityError(*error.args)
    line = next((line for line in TABLE if isinstance(error, line[0])), None)
    if line is None:
        return None
    _kind, status, code, title = line
    code = code or error.code
    if isinstance(error, OF_THE_DATABASE):
        log.warning("%s: %s", code, error)
    detail: str | Promise
    if isinstance(error, NotEnoughPoints):
        detail = _("%(missing)s more points are needed") % {"missing": error.missing}
    elif isinstance(error, OF_THE_DATABASE):
        detail = title
    elif isinstance(error, MethodNotAllowed):
        detail = _("the path answers to %s") % error.allowed
    else:
        detail = getattr(error, "detail", "") or str(error) or title
    field = getattr(error, "field", "")
    errors = [{"field": field, "detail": str(detail)}] if field else None
    if isinstance(error, NotUsable):
        errors = [
            {"field": f"coupons[{place}]", "detail": reason.detail, "code": reason.code}
            for place, verdict in enumerate(error.verdicts)
            for reason in verdict.reasons
        ]
    answer = problem(STATUS_OF_CODE.get(code, status), code, title, str(detail), errors)
    if isinstance(error, MethodNotAllowed):
        answer["Allow"] = error.allowed
    return answer


def come_back() -> HttpResponse:
    """The answer to who cannot be served now, though nothing is wrong with what they ask."""
    title = _("The database cannot be reached: try again")
    return problem(503, "unavailable", title, str(title))


class ProblemMiddleware:
    """Turns the domain exceptions of API views into problems; every other error stays what it is."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        if response.status_code == 404 and request.path.startswith("/api/") and not _is_problem(response):
            response = _nothing_at(request.path)
        # What a view owes every answer of its own, a problem included: who may read it in a browser.
        for name, value in getattr(request, "headers_of_answer", {}).items():
            response[name] = value
        return response

    def process_view(self, request, view, args, kwargs):
        # The admin answers every address that nothing else does, with its login page: no answer for a machine.
        if request.path.startswith("/api/") and request.resolver_match.app_name == "admin":
            return _nothing_at(request.path)
        return None

    def process_exception(self, request, error):
        if request.path.startswith("/api/") and not isinstance(error, Http404):
            return answer_to(error)
        return None


@csrf_exempt
def nothing_here(request) -> HttpResponse:
    """Every address of the API that is none, whoever asks and however."""
    return _nothing_at(request.path)


def _nothing_at(path: str) -> HttpResponse:
    return problem(404, "not_found", _("Not found"), _("nothing answers at {path}").format(path=path))


def _is_problem(response) -> bool:
    return response.headers.get("Content-Type", "").startswith("application/problem+json")


def drf_exception_handler(error: Exception, context: dict) -> HttpResponse | None:
    """The same table for the back-office views of Django REST framework."""
    told = answer_to(error)
    if told is not None:
        return told
    response = exception_handler(error, context)
    if response is None:
        return None
    code = getattr(error, "default_code", "error")
    errors = [{"field": path, "detail": text} for path, text in _fields(response.data)]
    detail = errors[0]["detail"] if errors else str(getattr(error, "detail", error))
    answer = problem(response.status_code, code, _title(error), detail, [e for e in errors if e["field"]])
    for name, value in response.headers.items():
        if name.lower() in ("retry-after", "www-authenticate", "allow"):
            answer[name] = value
    return answer


def _title(error: Exception) -> str:
    return str(getattr(type(error), "default_detail", _("The request was refused")))


def _fields(data, path: str = "") -> list[tuple[str, str]]:
    """[(path, text)] of DRF's nested error data."""
    if isinstance(data, dict):
        rows = []
        for key, value in data.items():
            here = "" if key in ("detail", "non_field_errors") else f"{path}.{key}".lstrip(".")
            rows += _fields(value, here)
        return rows
    if isinstance(data, list):
        return [row for item in data for row in _fields(item, path)]
    return [(path, str(data))]
