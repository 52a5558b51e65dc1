"""Which values are nobody's identifier now: the question that intake, matching and survivorship ask of every value.

The rows are `BlockedValue`, the deeds `profiles/blocked.py`. Here they are read, seldom, into sets and compiled
patterns, so that a question costs less than a microsecond.
"""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection
from django.utils.translation import gettext as _

from profiles import normalise
from profiles.models import BlockedValue

# For this long a block set in another process may not be seen; re-applying it to what is stored mends the rest.
SECONDS_REMEMBERED = 1.0
# Patterns are asked one after the other, of every value that comes in.
MOST_PATTERNS = 200
MOST_STARS = 4


class BadPattern(ValueError):
    """The pattern cannot be used: too long, too many stars, or it would block nearly everything."""


@dataclass(frozen=True)
class Blocklist:
    """What is blocked, by kind. `regexes` holds what is neither one value, a beginning nor an ending."""

    keys: dict[str, frozenset[str]]
    beginnings: dict[str, tuple[str, ...]]
    endings: dict[str, tuple[str, ...]]
    regexes: dict[str, tuple[re.Pattern[str], ...]]

    def blocks(self, kind: str, key: str) -> bool:
        """Whether the value, in the form identifiers are compared in, is nobody's identifier."""
        return bool(key) and (
            key in self.keys.get(kind, ())
            or key.startswith(self.beginnings.get(kind, ()))
            or key.endswith(self.endings.get(kind, ()))
            or any(regex.fullmatch(key) for regex in self.regexes.get(kind, ()))
        )

    def blocks_of(self, record: object, field: str) -> bool:
        """Whether what the record says in this field (`email`, `phone`, `card`) is blocked."""
        told = getattr(record, field, "")
        return bool(told) and field in KINDS and self.blocks(field, key_of(field, told))


KINDS = frozenset(BlockedValue.Kind.values)


def key_of(kind: str, told: str) -> str:
    """The form in which a stored e-mail, phone or card is compared."""
    if kind == BlockedValue.Kind.EMAIL:
        mailbox = normalise.email(told)
        return mailbox.key if mailbox else told
    return told


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression that never goes back: its cost grows with the value, not with its square.

    Raises `BadPattern` where it cannot be used.
    """
    check(pattern)
    pieces = [re.escape(piece).replace(r"\?", ".") for piece in re.split(r"\*+", pattern)]
    first, *rest = pieces
    if not rest:
        return re.compile(first)
    *middle, last = rest
    # Each piece is taken where it first fits, and never given back.
    return re.compile(first + "".join(f"(?>.*?{piece})" for piece in middle) + ".*" + last)


def check(pattern: str) -> None:
    """Raise `BadPattern` where a pattern cannot be used."""
    if len(re.findall(r"\*+", pattern)) > MOST_STARS:
        raise BadPattern(_("a pattern has at most %s stars") % MOST_STARS)
    if len(re.sub(r"[*?]", "", pattern)) < 3:
        raise BadPattern(_("a pattern needs at least three characters beside * and ?"))


def read(rows: Iterable[tuple[str, str, str]]) -> Blocklist:
    """A blocklist of (kind, key, pattern)."""
    keys: dict[str, set[str]] = {}
    beginnings: dict[str, list[str]] = {}
    endings: dict[str, list[str]] = {}
    regexes: dict[str, list[re.Pattern[str]]] = {}
    for kind, key, pattern in rows:
        plain = pattern.strip("*")
        if key:
            keys.setdefault(kind, set()).add(key)
        elif not plain or "*" in plain or "?" in plain or (pattern[0] == "*" and pattern[-1] == "*"):
            regexes.setdefault(kind, []).append(compiled(pattern))
        elif pattern[-1] == "*":
            beginnings.setdefault(kind, []).append(plain)
        elif pattern[0] == "*":
            endings.setdefault(kind, []).append(plain)
        else:
            keys.setdefault(kind, set()).add(plain)
    return Blocklist(
        {kind: frozenset(found) for kind, found in keys.items()},
        {kind: tuple(found) for kind, found in beginnings.items()},
        {kind: tuple(found) for kind, found in endings.items()},
        {kind: tuple(found) for kind, found in regexes.items()},
    )


_remembered: dict[str, tuple[float, Blocklist]] = {}


def current() -> Blocklist:
    """What is blocked in this brand now, read at most once a second."""
    schema = connection.schema_name
    at, known = _remembered.get(schema, (0.0, None))
    now = time.monotonic()
    if known is None or now - at > SECONDS_REMEMBERED:
        rows = BlockedValue.objects.filter(lifted_at=None).values_list("kind", "key", "pattern")
        known = read(rows)
        _remembered[schema] = (now, known)
    return known


def forget() -> None:
    """Read anew at the next question: after a deed of this process."""
    _remembered.pop(connection.schema_name, None)
