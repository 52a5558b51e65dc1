"""What was thought of tickets is written down, by one call of the database: `till_tickets` (loyalty/sql/posting.sql).

Tickets that come at the same moment go in one call, through the recorder where one serves this process
(`loyalty/till/recorder.py`); without it, each goes alone.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import islice
from operator import attrgetter
from time import monotonic
from typing import NamedTuple

from django.db import OperationalError
from django.utils import timezone
from psycopg.errors import LockNotAvailable

from loyalty.till import desk
from loyalty.till.desk import Slip, TooLate
from tenants.brand_sql import call, calls

# So long waits the recorder's call for a member whom others hold, and with it all who come meanwhile.
PATIENCE = timedelta(milliseconds=50)
# So many tickets of one till are one call; while the database records them, the next ones are thought of.
PART = 100
# A call that fails after so long failed for want of the database, and not for what was asked.
LATE_SECONDS = 1.0

_TILL_TICKETS = (
    "SELECT purchases, fresh, bodies FROM till_tickets($1, $2, $3::bigint, $4::jsonb, $5::interval)"
)


class Held(Exception):
    """Nothing was done, for somebody else holds a member of these."""


class Row(NamedTuple):
    """What `till_tickets` says of a ticket: its purchase, whether it is new, the answer that was kept, as JSON."""

    purchase: int
    fresh: bool
    body: str | None


class Page(NamedTuple):
    """What tickets of one call have in common: their brand's schema, the edition of the rules they were thought with,
    the brand's day."""

    schema: str
    edition: int | None
    today: date

    @classmethod
    def of(cls, slip: Slip) -> "Page":
        return cls(slip.schema, slip.edition, slip.today)


def record(page: Page, told: Sequence[bytes], patience: timedelta | None = None) -> list[Row]:
    """Record tickets, each JSON as `till_tickets` is told it. `patience`: so long the call may wait for a lock, where
    that is less than the connection's. Raises `CloserLook`, with nothing written."""
    return _rows(call(_TILL_TICKETS, _params(page, timezone.now(), told, patience)))


def record_in_parts(page: Page, told: Iterable[bytes]) -> list[Row]:
    """The same for many, a call a part, all or nothing; each is thought of while the one before is carried out."""
    now, rest = timezone.now(), iter(told)
    parts = iter(lambda: list(islice(rest, PART)), [])
    answers = calls(_TILL_TICKETS, (_params(page, now, part, None) for part in parts))
    return [row for answer in answers for row in _rows(answer)]


def record_one(page: Page, bought_at: datetime, told: bytes) -> Row:
    """The same for one, along with those that come at this moment. Raises `CloserLook`, and `TooLate`."""
    row = desk.hand_in(Slip(*page, bought_at, told))
    return record(page, [told])[0] if row is None else Row(*row)


def _params(page: Page, now: datetime, told: Sequence[bytes], patience: timedelta | None) -> list:
    return [now, page.today, page.edition, f"[{b','.join(told).decode()}]", patience]


def _rows(answer: tuple[list[int], list[bool], list[str]]) -> list[Row]:
    purchases, fresh, bodies = answer
    kept = iter(bodies)
    return [
        Row(purchase, is_new, next(kept) if is_new else None)
        for purchase, is_new in zip(purchases, fresh, strict=True)
    ]


def record_several(page: Page, slips: Sequence[Slip]) -> list[Row]:
    """Tickets of several tills, judged in the order in which they were bought. Raises `Held` and `TooLate`."""
    order = sorted(slips, key=attrgetter("bought_at"))
    start = monotonic()
    try:
        rows = record(page, [slip.told for slip in order], PATIENCE)
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise Held from error
        if monotonic() - start > LATE_SECONDS:
            raise TooLate(*error.args) from error.__cause__
        raise
    by_slip = dict(zip(map(id, order), rows, strict=True))
    return [by_slip[id(slip)] for slip in slips]
