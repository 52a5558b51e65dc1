"""Who guesses keys of tills is refused for a minute, by address and beginning of the key, and by address alone.

A key holds 256 random bits and is not found by guessing: the limit spares the database and tells of the attempt.
Failures are counted in the cache, for all processes together. A till that was recognised lately is never refused,
whatever its neighbours behind the same address do. Where the cache is away, nobody is.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

WINDOW_SECONDS = 60
MOST_OF_PREFIX = 10
MOST_OF_ADDRESS = 100
LATELY_SECONDS = 24 * 3600
# For this long a cache that failed is not asked again: a till does not wait for it twice.
AWAY_SECONDS = 5.0

_away = {"until": 0.0}


class TooManyAttempts(PermissionError):
    """Too many keys that are no till's were sent from this address within a minute."""


def address_of(request: HttpRequest) -> str:
    """Who is connected; behind a proxy that ends TLS, who is connected to that."""
    if settings.SECURE:
        # What stands before the last comma was said by the caller, and may be invented.
        told = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
        if told:
            return told[:64]
    return request.META.get("REMOTE_ADDR", "")


def admit(address: str, prefix: str, hashed: str) -> None:
    """Let a key be looked up. Raises `TooManyAttempts`."""
    known, names = f"till-key:{hashed}", _counters(address, prefix)
    counts = _asked(lambda: cache.get_many([known, *names]), {})
    if known in counts:
        return
    if any(counts.get(name, 0) >= most for name, most in names.items()):
        raise TooManyAttempts(_("too many keys that no till has were sent from this address: wait a minute"))


def note_failure(address: str, prefix: str) -> None:
    """The key was no till's, or is no longer."""
    for name, most in _counters(address, prefix).items():
        if _asked(lambda name=name: _one_more(name), 0) == most:
            log.warning("keys are being guessed from %s: %s failures within a minute", address, most)


def note_recognised(hashed: str) -> None:
    """The key is a till's: it is looked up whatever comes from its address."""
    _asked(lambda: cache.set(f"till-key:{hashed}", 1, LATELY_SECONDS), None)


def _counters(address: str, prefix: str) -> dict[str, int]:
    """What is counted in this minute, each with its limit."""
    minute = _minute()
    # A beginning is what was sent, and not fit for the name of a counter.
    told = prefix.encode().hex()
    return {
        f"bad-keys:{minute}:{address}": MOST_OF_ADDRESS,
        f"bad-keys:{minute}:{address}:{told}": MOST_OF_PREFIX,
    }


def _minute() -> int:
    return int(time.time()) // WINDOW_SECONDS


def _one_more(name: str) -> int:
    cache.add(name, 0, 2 * WINDOW_SECONDS)
    return cache.incr(name)


def _asked(question: Callable[[], Any], otherwise: Any) -> Any:
    if time.monotonic() < _away["until"]:
        return otherwise
    try:
        return question()
    # ValueError: the counter was dropped between two commands.
    except (RedisError, OSError, ValueError) as error:
        _away["until"] = time.monotonic() + AWAY_SECONDS
        log.warning("the cache is away, nobody is refused for guessing keys: %s", error)
        return otherwise
