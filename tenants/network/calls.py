"""The last calls of each till: what it asked, what it heard, how long that took.

Noting a call is a row in a queue of this process, a few microseconds; a thread of its own reads the row and takes it
to the cache server, where a list for each till keeps the newest. Where that server is away, calls are forgotten and no
till hears of it. Kept is what helps a vendor: no body, no name, and of what a customer showed the last signs alone.
"""

import json
import logging
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median
from zoneinfo import ZoneInfo

import msgspec
import redis
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from tenants.network import auth

log = logging.getLogger(__name__)

KEPT = 200  # of each till
KEPT_SECONDS = 30 * 24 * 3600
# The list of whoever calls without the key of a till.
STRANGERS = 0

# Calls that wait for the thread; where it does not come by, the oldest are forgotten.
MOST_WAITING = 2000
FLUSH_SECONDS = 1.0
PATIENCE_SECONDS = 1.0
# So much of a large body is looked at, from its beginning and its end.
HEAD, TAIL = 4096, 1024

ROOT = "/api/v1/"
ID_OF_PATH = {
    "purchases": "receipt_id", "quotes": "receipt_id", "refunds": "refund_id", "redemptions": "redemption_id",
    "reservations": "reservation_id", "reservations/commit": "reservation_id",
    "reservations/cancel": "reservation_id", "claims": "claim_id", "actions": "action_key",
    "rewards/claims": "claim_id", "rewards/claims/cancel": "cancellation_id", "vouchers/use": "use_id",
    "coupons/use": "basket_id", "coupons/cancel": "basket_id",
}  # fmt: skip
# Paths whose time is the till's clock at the call, unless the till was offline.
TIME_OF_PATH = {
    "purchases": "bought_at", "quotes": "bought_at", "refunds": "refunded_at", "redemptions": "redeemed_at",
}  # fmt: skip
BATCH = "purchases/batch"


class Call(msgspec.Struct, array_like=True, frozen=True):
    """A call as it is kept. `told_at`: what the till's clock said; `tickets`, `refused`: of a batch, whose `id`, `code`
    and `field` are those of the first ticket that was refused."""

    at: float
    method: str
    path: str
    status: int
    ms: float
    id: str = ""
    shown: str = ""
    replayed: bool = False
    code: str = ""
    field: str = ""
    told_at: float | None = None
    tickets: int = 0
    refused: int = 0


class Unreachable(Exception):
    """The calls cannot be read now."""


# --- Noting ----------------------------------------------------------------------------------------------------------


class _Heard(msgspec.Struct, frozen=True):
    """A call as it waits for the thread; `items`: how many a batch had, and how many of them were refused."""

    at: float
    brand: int
    till: int
    method: str
    path: str
    status: int
    seconds: float
    replayed: bool
    body: bytes
    problem: bytes
    items: tuple[int, int]
    prefix: str


_waiting: deque[_Heard] = deque(maxlen=MOST_WAITING)
_wake = threading.Event()
_writer: threading.Thread | None = None


def has_key(request: HttpRequest) -> bool:
    """Whether somebody calls with the key of a till, good or not, whatever the path."""
    return request.META.get("HTTP_AUTHORIZATION", "")[:5].lower() == "till "


def note(request: HttpRequest, answer: HttpResponse | None, seconds: float) -> None:
    """Note a call of a till and its answer; none where an exception left it, which becomes a 500."""
    brand = getattr(request, "tenant", None)
    if brand is None:
        return
    till, status = auth.calling.get(), answer.status_code if answer is not None else 500
    # What was read of the body: a body that was refused unread stays so.
    body = vars(request).get("_body", b"")
    told = getattr(answer, "content", b"") if status >= 400 or request.path_info.endswith(BATCH) else b""
    _waiting.append(
        _Heard(
            time.time(), brand.pk, till.pk if till else STRANGERS, request.method or "", request.path_info,
            status, seconds, answer is not None and "Idempotent-Replayed" in answer.headers,
            body if len(body) <= HEAD else body[:HEAD] + body[-TAIL:],
            told[:HEAD] if status >= 400 else _first_refused(told),
            (told.count(b'"status":'), told.count(b'"problem":{')) if status < 400 and told else (0, 0),
            # Of what is no till's key, such as a password, nothing is kept.
            request.META["HTTP_AUTHORIZATION"][5:9] if till is None and has_key(request) else "",
        )
    )  # fmt: skip
    if not _wake.is_set():
        _wake.set()
    if _writer is None or not _writer.is_alive():
        _start()


def _first_refused(told: bytes) -> bytes:
    """What the answer to a batch says of the first ticket that was refused."""
    start = told.find(b'"problem":{')
    return told[start : start + HEAD] if start >= 0 else b""


def _start() -> None:
    global _writer  # noqa: PLW0603 - one thread a process, started by its first call and after a fork
    _writer = threading.Thread(target=_write, name="till-calls", daemon=True)
    try:
        _writer.start()
    except RuntimeError:  # no further thread can be had, or the process ends
        _writer = None


def _write() -> None:
    while True:
        _wake.wait()
        time.sleep(FLUSH_SECONDS)
        _wake.clear()
        flush()


def flush() -> None:
    """Take what waits to where it is kept."""
    rows: dict[tuple[int, int], list[bytes]] = defaultdict(list)
    while _waiting:
        if len(_waiting) % 64 == 0:
            time.sleep(0)  # tills first
        try:
            heard = _waiting.popleft()
        except IndexError:  # another flush was quicker
            break
        rows[heard.brand, heard.till].append(msgspec.json.encode(_told(heard)))
    if not rows:
        return
    try:
        _keeper().add(rows)
    except (redis.RedisError, OSError) as error:
        log.warning("calls of tills are forgotten: %s", error)


# --- What a call was about -------------------------------------------------------------------------------------------

_TEXT = rb'\s*:\s*"((?:[^"\\]|\\.){1,254})"'
_SHOWN = re.compile(rb'"(card|phone|email)"' + _TEXT)
_CODE = re.compile(rb'"code": ?"(\w{1,60})"')
_FIELD = re.compile(rb'"field": ?"([^"]{1,80})"')
_NAMED = {
    name: re.compile(rb'"' + name.encode() + rb'"' + _TEXT)
    for name in {*ID_OF_PATH.values(), *TIME_OF_PATH.values()}
}
_MEMBER = re.compile(r"^members/[^/]+")


def _told(heard: _Heard) -> Call:
    about = _writable(_MEMBER.sub("members/…", heard.path.removeprefix(ROOT))[:60])
    code = field = None
    number = _said(heard.body, ID_OF_PATH.get(about))
    problem = heard.problem
    if heard.items[1]:
        problem, _end, rest = problem.partition(b"}")
        number = _said(rest, "receipt_id")
    if problem:
        code, field = _CODE.search(problem), _FIELD.search(problem)
    return Call(
        heard.at, _writable(heard.method), about, heard.status, round(1000 * heard.seconds, 1),
        id=number[:64], shown=_shown(heard, about), replayed=heard.replayed,
        code=code[1].decode() if code else "", field=_unescaped(field[1]) if field else "",
        told_at=_instant(_said(heard.body, TIME_OF_PATH.get(about))),
        tickets=heard.items[0], refused=heard.items[1],
    )  # fmt: skip


def _said(body: bytes, name: str | None) -> str:
    found = _NAMED[name].search(body) if name else None
    return _unescaped(found[1]) if found else ""


def _shown(heard: _Heard, about: str) -> str:
    if heard.till == STRANGERS:
        return f"key:{heard.prefix}…" if heard.prefix else ""
    start = heard.body.find(b'"member"') if about != BATCH else -1
    found = _SHOWN.search(heard.body, start) if start >= 0 else None
    if found is None:
        return ""
    kind = found[1].decode()
    return f"{kind}:{masked(kind, _unescaped(found[2]))}"


def masked(kind: str, value: str) -> str:
    """As much of what a customer showed as helps to find the call, and no more."""
    if kind == "email":
        user, at, domain = value.partition("@")
        return f"{user[:1]}•••{at}{domain}"
    seen = 2 if kind == "phone" else 4
    return f"••{value[-seen:]}" if len(value) >= 2 * seen else "••"


def _unescaped(told: bytes) -> str:
    text = told.decode("utf-8", "replace")
    if "\\" in text:
        with suppress(ValueError):  # else it is shown as it came
            text = json.loads(f'"{text}"')
    return _writable(text)


def _writable(text: str) -> str:
    """Without halves of characters, which JSON can name and no encoding writes."""
    if text.isascii() and text.isprintable():
        return text
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def _instant(told: str) -> float | None:
    try:
        at = datetime.fromisoformat(told) if told else None
        return at.timestamp() if at and at.tzinfo else None
    except (ValueError, OverflowError):
        return None


# --- Where they are kept ---------------------------------------------------------------------------------------------


class _OnServer:
    """Lists on the cache server, by a connection that waits a second at most."""

    def __init__(self, location: str):
        self._server = redis.Redis.from_url(
            location, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS
        )

    def add(self, rows: dict[tuple[int, int], list[bytes]]) -> None:
        with self._server.pipeline(transaction=False) as pipe:
            for (brand, till), calls in rows.items():
                name = f"till-calls:{brand}:{till}"
                pipe.lpush(name, *calls)
                pipe.ltrim(name, 0, KEPT - 1)
                pipe.expire(name, KEPT_SECONDS)
            pipe.execute()

    def last(self, brand: int, tills: Sequence[int], number: int) -> list[list[bytes]]:
        with self._server.pipeline(transaction=False) as pipe:
            for till in tills:
                pipe.lrange(f"till-calls:{brand}:{till}", 0, number - 1)
            return pipe.execute()


class _InProcess:
    """The same in the memory of this process, where the cache is there too."""

    def __init__(self) -> None:
        self._lists: dict[tuple[int, int], deque[bytes]] = defaultdict(lambda: deque(maxlen=KEPT))

    def add(self, rows: dict[tuple[int, int], list[bytes]]) -> None:
        for name, calls in rows.items():
            self._lists[name].extendleft(calls)

    def last(self, brand: int, tills: Sequence[int], number: int) -> list[list[bytes]]:
        return [list(self._lists.get((brand, till), ()))[:number] for till in tills]


_kept_by: dict[str, _OnServer | _InProcess] = {}


def _keeper() -> _OnServer | _InProcess:
    location = str(settings.CACHES["default"].get("LOCATION", ""))
    if location not in _kept_by:
        on_server = "://" in location
        _kept_by[location] = _OnServer(location) if on_server else _InProcess()
    return _kept_by[location]


def last(brand: int, tills: Iterable[int], number: int = KEPT) -> dict[int, list[Call]]:
    """The newest calls of each till of the brand (its id), the newest first. Raises `Unreachable`.

    Whose tills may be looked at is for the caller to know: these lists know no scope.
    """
    asked = list(tills)
    try:
        found = _keeper().last(brand, asked, number)
    except (redis.RedisError, OSError) as error:
        raise Unreachable(str(error)) from error
    return {
        till: [msgspec.json.decode(row, type=Call) for row in rows]
        for till, rows in zip(asked, found, strict=True)
    }


# --- How a till is doing ---------------------------------------------------------------------------------------------

SPEAKING, QUIET, OFFLINE, NEVER = "speaking", "quiet", "offline", "never"

SPEAKS_SECONDS = 10 * 60
# A till is offline that is silent for twice its longest pause of the day, and at least this long.
SILENCE_SECONDS = 30 * 60
NIGHT_SECONDS = 6 * 3600
OPENS, CLOSES = 9, 20  # hours of the store's day in which silence counts
CLOCKS = 20  # calls that the clock is told from


@dataclass(frozen=True)
class Pulse:
    """`ahead`: seconds by which the till's clock is ahead of ours, by the calls that say so; below zero where it is
    behind, or sends late."""

    state: str = NEVER
    last_at: datetime | None = None
    ahead: float | None = None
    ms: float | None = None
    refused: int = 0
    calls: int = 0


def pulse(calls: Sequence[Call], now: datetime, zone: ZoneInfo) -> Pulse:
    """How the till is doing that made these calls, the newest first."""
    if not calls:
        return Pulse()
    last_at = datetime.fromtimestamp(calls[0].at, UTC)
    clocks = [call.told_at - call.at for call in calls if call.told_at is not None][:CLOCKS]
    return Pulse(
        _state(calls, now, zone), last_at, _ahead(clocks), median(call.ms for call in calls),
        sum(call.status >= 400 for call in calls), len(calls),
    )  # fmt: skip


def _ahead(clocks: Sequence[float]) -> float | None:
    """By the ticket that came soonest after it was made: all others were late, and tell nothing. One ticket that is
    wildly wrong is no clock."""
    if not clocks:
        return None
    return sorted(clocks)[-2] if len(clocks) > 2 else max(clocks)


def _state(calls: Sequence[Call], now: datetime, zone: ZoneInfo) -> str:
    if now.timestamp() - calls[0].at < SPEAKS_SECONDS:
        return SPEAKING
    here = now.astimezone(zone)
    opened = here.replace(hour=OPENS, minute=0, second=0, microsecond=0).timestamp()
    silent = now.timestamp() - max(calls[0].at, opened)
    times = [call.at for call in calls]
    pauses = [later - earlier for later, earlier in pairwise(times)]
    usual = 2 * max((pause for pause in pauses if pause < NIGHT_SECONDS), default=0)
    is_over = OPENS <= here.hour < CLOSES and silent > max(SILENCE_SECONDS, usual)
    return OFFLINE if is_over else QUIET
