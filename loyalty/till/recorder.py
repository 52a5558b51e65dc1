"""One process that records the tickets of all web processes of a machine, several in a call.

A call of the database costs little more for four tickets than for one, and tickets that eight tills send at once come
to processes that know nothing of each other: here they meet. What is handed in while a call is under way lies there
until the next one, which takes all of it along. Nobody waits for company: what comes alone goes alone, at once.

The recorder decides nothing and knows no rule. What it cannot do at once it leaves to who brought it
(`loyalty/till/desk.py`), so that one's trouble keeps others waiting for a moment at most. It makes one call at a time:
beside another, each would have less company.
"""

import logging
import socket
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from time import monotonic
from typing import Protocol

import msgspec
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from loyalty.till import desk
from loyalty.till.desk import Line, Reply, Slip
from loyalty.till.recording import Held, Page, Row, TooLate, record_several
from tenants.brand_sql import CloserLook, broken_promise

log = logging.getLogger(__name__)

# Slips of one call, and seconds that a line is given to take a reply.
MOST = 64
SAID_SECONDS = 1.0
# So often it looks whether its place is still its own.
PLACE_SECONDS = 5.0

Handed = tuple[Line, Slip]


class Silence(Protocol):
    """What is known of a database that says nothing (`cdp/silence.py`)."""

    def turns_away(self) -> bool: ...
    def is_believed(self) -> bool: ...


class Recorder:
    """Serves at `desk.address()` until it is stopped, or another recorder has taken the place."""

    def __init__(
        self, silence: Silence, record: Callable[[Page, Sequence[Slip]], Sequence[Row]] = record_several
    ):
        self._silence = silence
        self._record = record
        self._is_stopped = False
        self._selector = DefaultSelector()
        self._bell, self._ringer = socket.socketpair()
        self._entrance = desk.opened()
        for end in (self._bell, self._entrance):
            end.setblocking(False)
            self._selector.register(end, EVENT_READ)

    def serve(self) -> None:
        """Until `stop` is called, by a signal or another thread: what was read is recorded then; who else waits hears
        nothing, and records for themselves."""
        place, looked = _place(), monotonic()
        try:
            while not self._is_stopped:
                self._carry_out(self._handed_in(PLACE_SECONDS))
                if monotonic() - looked > PLACE_SECONDS:
                    looked = monotonic()
                    self._is_stopped = self._is_stopped or _place() != place
        finally:
            for key in [*self._selector.get_map().values()]:
                key.fileobj.close()
            self._ringer.close()
            self._selector.close()
            connections.close_all()

    def stop(self) -> None:
        self._is_stopped = True
        self._ringer.close()  # which is heard at the other end

    def _handed_in(self, seconds: float) -> list[Handed]:
        """What lies there; where nothing does, waits for it for so long."""
        handed: list[Handed] = []
        ready = self._selector.select(seconds)
        while ready and len(handed) < MOST and not self._is_stopped:
            for key, _events in ready[: MOST - len(handed)]:
                if key.fileobj is self._entrance:
                    self._let_in()
                elif key.data:
                    handed += self._heard(key.data)
            ready = self._selector.select(timeout=0)
        return handed

    def _let_in(self) -> None:
        with suppress(BlockingIOError, ConnectionError):  # gone again
            line = Line(self._entrance.accept()[0])
            line.socket.settimeout(SAID_SECONDS)
            self._selector.register(line.socket, EVENT_READ, line)

    def _heard(self, line: Line) -> list[Handed]:
        try:
            slip = line.heard(desk.SLIP)
        except (EOFError, OSError, msgspec.MsgspecError) as error:
            if isinstance(error, msgspec.MsgspecError):
                log.warning("hung up on who speaks another language: %s", error)
            self._hang_up(line)
            return []
        return [(line, slip)] if slip else []

    def _hang_up(self, line: Line) -> None:
        if line.socket.fileno() >= 0:  # or it was hung up before
            self._selector.unregister(line.socket)
            line.socket.close()

    def _carry_out(self, group: Sequence[Handed]) -> None:
        pages: dict[Page, list[Handed]] = defaultdict(list)
        for handed in group:
            pages[Page.of(handed[1])].append(handed)
        late: Reply | None = None
        for page, part in pages.items():
            replies = [late] * len(part) if late else self._replies(page, [slip for _line, slip in part])
            for (line, _slip), reply in zip(part, replies, strict=True):
                self._say(line, reply)
            late = next((reply for reply in replies if reply.late), None)
        if late:  # who came meanwhile has waited as long, and would wait as long again
            for line, _slip in self._handed_in(0):
                self._say(line, late)

    def _say(self, line: Line, reply: Reply) -> None:
        try:
            line.say(reply)
        except OSError:  # whoever went meanwhile finds out by the receipt
            self._hang_up(line)

    def _replies(self, page: Page, slips: Sequence[Slip]) -> list[Reply]:
        if self._silence.turns_away():
            return [Reply(late="the database does not answer", silent=True)] * len(slips)
        reply = Reply()
        try:
            _stand_in(page.schema)
            return [Reply(row) for row in self._record(page, slips)]
        except Held:
            pass
        except TooLate as error:
            reply = Reply(late=str(error))
        except CloserLook as look:
            if len(slips) == 1:
                reply = Reply(closer_look=look.at)
        except DatabaseError as error:
            # Not its words: they may name somebody.
            log.warning("left to who brought it: %s %s", type(error).__name__, broken_promise(error))
        except Exception:
            log.exception("left to who brought it")
        if self._silence.is_believed():
            reply = Reply(late="the database does not answer", silent=True)
        return [reply] * len(slips)


def _place() -> tuple[int, int] | None:
    """What stands at the recorder's address now: its number, which another may have had before, and since when."""
    try:
        told = Path(desk.address()).stat()
        return told.st_ino, told.st_ctime_ns
    except FileNotFoundError:
        return None


def _stand_in(schema: str) -> None:
    database = connections[DEFAULT_DB_ALIAS]
    database.close_if_unusable_or_obsolete()
    database.health_check_done = True  # where it turns out to be dead, tickets are left to who brought them
    if database.schema_name != schema:
        database.set_schema(schema)
