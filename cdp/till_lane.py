"""The tills' own way in: what they write passes by everything that pages need, and waits for nobody for ever.

A till's request is known by its path and method. It is told apart before sessions, cookies and signed-in people are
looked for, and answered by the same view that `cdp/api_v1.py` names; every other request goes the ordinary way. The web
server lets what tills write in by `Entrance`, past the signals and layers of Django's own handler; to whom that is not
served, such as Django's test client, the lane is a middleware like any other.

The connection is kept between requests and not asked whether it still lives: where it turns out to be dead, a new one
is opened and the request tried once more, which is safe, because every request of a till may be repeated. While tills
use it, statements and locks have a time limit; what does not end in time is told to come back (503, or 409 where an
equal request is under way). Where writing stands still, one thread of the process is kept for who only asks; where the
database itself says nothing any more, everybody but one is turned away (`cdp/silence.py`).

Every call with a till's key passes here, whatever its path, and is noted (`tenants/network/calls.py`); so is one to a
till's path without a key.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpRequest, HttpResponse, RawPostDataException
from django.middleware.security import SecurityMiddleware
from django.urls import set_urlconf
from django.utils import translation
from django_tenants.utils import remove_www

from cdp import silence
from cdp.api_errors import answer_to, come_back
from loyalty import api, benefits_api
from loyalty.till import desk
from tenants import doorbell
from tenants.middleware import brand_at
from tenants.models import Brand
from tenants.network import auth, calls, throttle

log = logging.getLogger(__name__)

ASK_ONLY = {"/api/v1/identify", "/api/v1/quotes", "/api/v1/vouchers/check", "/api/v1/coupons/check"}
VIEWS = {path: view for path, (view, *_types) in (api.PATHS | benefits_api.PATHS).items()}

STATEMENT_SECONDS = 5
LOCK_SECONDS = 2
HURRY = f"SET statement_timeout = '{STATEMENT_SECONDS}s'; SET lock_timeout = '{LOCK_SECONDS}s'"
# So long may a write take before others are turned away rather than made to wait behind it.
STANDSTILL_SECONDS = 0.5
# For so long after a write that waited in vain, the next ones are expected to.
WARY_SECONDS = 5.0
CALM = "RESET statement_timeout; RESET lock_timeout"


# Where no view of a till answers, nobody asked whose key it is.
UNASKED = {403, 404, 405}


class Busy(Exception):
    """Writing stands still, and the last free thread is for who only asks."""


class Door:
    """Lets writers in, all threads but one while writing stands still."""

    def __init__(self, threads: int):
        self._threads = threads
        self._lock = threading.Lock()
        self._inside: dict[int, float] = {}
        self._wary_until = 0.0

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Raises `Busy`."""
        me, now = threading.get_ident(), time.monotonic()
        with self._lock:
            if len(self._inside) >= self._threads - 1 > 0:
                waits_since = min(self._inside.values())
                # Writers who gave up together come back together, before one of them has waited for long.
                if now - waits_since > STANDSTILL_SECONDS or now < self._wary_until:
                    raise Busy
            self._inside[me] = now
        try:
            yield
        except OperationalError:
            if time.monotonic() - now > STANDSTILL_SECONDS:
                self._wary_until = time.monotonic() + WARY_SECONDS
            raise
        finally:
            with self._lock:
                del self._inside[me]


class Written(WSGIRequest):
    """A till's POST. Its body is read as it is: how long it may be, each view has said before (`wire.body_of`)."""

    @property
    def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = self.read()
        return self._body


class Entrance:
    """A WSGI application in front of Django's: the tills' POSTs go straight to the lane, everything else to Django.

    What Django's handler does around each request is done here as far as the lane needs it: connections end at their
    age, addresses are those of a brand, whatever goes wrong becomes an answer, and the answer has its headers.
    """

    def __init__(self, django: WSGIHandler):
        self._django = django
        self._lane = TillLane(django.get_response)
        self._security = SecurityMiddleware(self._lane)
        self._answer = convert_exception_to_response(self._guarded)
        self._headers: dict[bool, dict[str, str]] = {}

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST" or environ.get("PATH_INFO") not in VIEWS:
            return self._django(environ, start_response)
        database = connections[DEFAULT_DB_ALIAS]  # of this thread: the proxy looks for it at each word
        database.close_if_unusable_or_obsolete()
        set_urlconf(settings.ROOT_URLCONF)
        request = Written(environ)
        answer = self._answer(request)
        headers = self._headers_of_all(request) | dict(answer.items())
        start_response(f"{answer.status_code} {answer.reason_phrase}", list(headers.items()))
        # A list is sent fastest, and the web server tells nobody when it was.
        if answer.status_code >= 400 or doorbell.is_quiet(database.schema_name):
            return [answer.content]
        return Ringing(answer.content)

    def _guarded(self, request: HttpRequest) -> HttpResponse:
        return self._security.process_request(request) or self._lane(request)

    def _headers_of_all(self, request: HttpRequest) -> dict[str, str]:
        """What the security middleware adds to every answer, made once: it depends on the wire alone."""
        is_secure = bool(self._security.sts_seconds) and request.is_secure()
        if is_secure not in self._headers:
            bare = self._security.process_response(request, HttpResponse())
            del bare.headers["Content-Type"]
            self._headers[is_secure] = dict(bare.items())
        return self._headers[is_secure]


class Ringing:
    """An answer after which the outbox's doorbell is rung: the signal that rings it for pages is Django's handler's."""

    def __init__(self, content: bytes):
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content

    def close(self) -> None:
        """By the web server, when the answer has been sent."""
        doorbell.ring()


class TillLane:
    """Answers the tills' POSTs; lets everything else pass."""

    def __init__(self, get_response):
        self.get_response = get_response
        self.door = Door(settings.WEB_THREADS)
        silence.listen()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with_key = calls.has_key(request)
        if not with_key and (request.method != "POST" or request.path_info not in VIEWS):
            return self._answer(request)
        auth.calling.set(None)
        answer, start = None, time.perf_counter()
        try:
            answer = self._answer(request)
            return answer
        finally:
            seconds = time.perf_counter() - start
            if with_key and answer is not None and answer.status_code in UNASKED:
                _find_out_who(request)
            calls.note(request, answer, seconds)

    def _answer(self, request: HttpRequest) -> HttpResponse:
        view = VIEWS.get(request.path_info) if request.method == "POST" else None
        if silence.silence.turns_away():
            return _turned_away(request)
        database = connections[DEFAULT_DB_ALIAS]  # of this thread: the proxy looks for it at each word
        try:
            database.ensure_connection()
        except OperationalError as error:
            log.warning("the database cannot be reached: %s", error)
            return _turned_away(request)
        try:
            if view is None:
                _calm(database)
                return self.get_response(request)
            brand = _brand_of(request, database)
            if brand is None:
                return self.get_response(request)
            _speak(request, brand)
            if request.path_info in ASK_ONLY:
                return _sized(_answered(view, request, brand, database))
            with self.door.passed():
                return _sized(_answered(view, request, brand, database))
        except Busy:
            return _refused(request, come_back())
        except Exception as error:
            answer = answer_to(error) if view else None
            if answer is None:
                raise
            return _refused(request, answer)


def _find_out_who(request: HttpRequest) -> None:
    """For the console: a till that calls a wrong path is not a stranger."""
    if auth.calling.get() is None and hasattr(request, "tenant"):
        with suppress(auth.UnknownTill, throttle.TooManyAttempts, DatabaseError):
            auth.till_of_request(request)


def _turned_away(request: HttpRequest) -> HttpResponse:
    translation.activate(translation.get_language_from_request(request))
    return _refused(request, come_back())


def _refused(request: HttpRequest, answer: HttpResponse) -> HttpResponse:
    """The answer, once the body was read: the web server hangs up on who is still sending when the answer is there,
    and a broken wire is no 503. A body that is too large is not read for that."""
    length = request.META.get("CONTENT_LENGTH") or ""
    if length.isdecimal() and int(length) <= api.LARGEST_BATCH_BODY and not hasattr(request, "_body"):
        with suppress(OSError, RawPostDataException):
            _read = request.body
    return _sized(answer)


def _sized(answer: HttpResponse) -> HttpResponse:
    # What CommonMiddleware does for everybody else.
    answer.headers["Content-Length"] = str(len(answer.content))
    return answer


def _answered(
    view: Callable, request: HttpRequest, brand: Brand, database: BaseDatabaseWrapper
) -> HttpResponse:
    for last_try in (False, True):
        try:
            _enter(brand, database)
            hurry(database)
            answer = view(request)
            silence.silence.is_over()  # also where it was the recorder who asked the database
            return answer
        except desk.Unanswered:
            silence.silence.begins()
            raise
        except (OperationalError, InterfaceError) as error:
            if last_try or not _may_try_again(error, database):
                raise
            database.close()
    raise AssertionError


@lru_cache(maxsize=1024)
def _host_in(header: str) -> str:
    """The host that a request's header names. Raises `DisallowedHost`."""
    bare = HttpRequest()
    bare.META["HTTP_HOST"] = header
    return _host_of(bare)


def _host_of(request: HttpRequest) -> str:
    return remove_www(request.get_host().split(":")[0])


def _brand_of(request: HttpRequest, database: BaseDatabaseWrapper) -> Brand | None:
    header = request.META.get("HTTP_HOST")
    try:
        hostname = _host_in(header) if header else _host_of(request)
    except DisallowedHost:
        return None
    database.health_check_done = True
    try:
        return brand_at(hostname)
    except (OperationalError, InterfaceError) as error:
        if not _may_try_again(error, database):
            raise
        database.close()
        return brand_at(hostname)


def _enter(brand: Brand, database: BaseDatabaseWrapper) -> None:
    if database.schema_name == brand.schema_name and database.include_public_schema:
        # The search path stands already.
        database.tenant = brand
    else:
        database.set_tenant(brand)


def _speak(request: HttpRequest, brand: Brand) -> None:
    if request.META.get("HTTP_ACCEPT_LANGUAGE"):
        translation.activate(translation.get_language_from_request(request))
    else:
        translation.activate(brand.language)
    request.tenant = brand


def hurry(database: BaseDatabaseWrapper) -> None:
    """Set the time limits of what tills wait for."""
    database.ensure_connection()
    if not getattr(database.connection, "is_in_a_hurry", False):
        with database.cursor() as cursor:
            cursor.execute(HURRY)
        database.connection.is_in_a_hurry = True


def _calm(database: BaseDatabaseWrapper) -> None:
    if getattr(database.connection, "is_in_a_hurry", False):
        try:
            with database.cursor() as cursor:
                cursor.execute(CALM)
            database.connection.is_in_a_hurry = False
        except (OperationalError, InterfaceError):
            # It died meanwhile. The next query opens another, which is in no hurry, or tells that there is none.
            database.close()


def _may_try_again(error: Exception, database: BaseDatabaseWrapper) -> bool:
    """Whether the connection was dead before it was asked, and a new one may be had."""
    if (
        database.in_atomic_block
        or isinstance(error, desk.TooLate)
        or isinstance(error.__cause__, silence.Unheard)
    ):
        return False
    return database.connection is None or database.connection.closed
