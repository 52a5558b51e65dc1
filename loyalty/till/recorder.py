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
from selectors import EVENT_READ, DefaultSelector

import msgspec
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from loyalty.till import desk
from loyalty.till.desk import Line, Reply, Slip
from loyalty.till.recording import Held, Page, Row, TooLate, record_several
from tenants.brand_sql import CloserLook

log = logging.getLogger(__name__)

Handed = tuple[Line, Slip]


class Recorder:
    """Serves at `desk.address()` until it is stopped.

    `is_silent`: whether the database says nothing any more, by this error, or at this moment (None).
    """

    def __init__(
        self,
        is_silent: Callable[[Exception | None], bool],
        record: Callable[[Page, Sequence[Slip]], Sequence[Row]] = record_several,
    ):
        self._is_silent = is_silent
        self._record = record
        self._is_stopped = False
        self._selector = DefaultSelector()
        self._bell, self._ringer = socket.socketpair()
        self._entrance = desk.opened()
        for end in (self._bell, self._entrance):
            end.setblocking(False)
            self._selector.register(end, EVENT_READ)

    def serve(self) -> None:
        """Until `stop` is called, by a signal or another thread: then the call under way is ended, and who waits hears
        nothing, and records for themselves."""
        try:
            while not self._is_stopped:
                self._carry_out(self._handed_in())
        finally:
            for key in [*self._selector.get_map().values()]:
                key.fileobj.close()
            self._selector.close()
            connections.close_all()

    def stop(self) -> None:
        self._is_stopped = True
        self._ringer.close()  # which is heard at the other end

    def _handed_in(self) -> list[Handed]:
        """All that lies there; where nothing does, waits for it."""
        handed: list[Handed] = []
        ready = self._selector.select()
        while ready and not self._is_stopped:
            for key, _events in ready:
                if key.fileobj is self._entrance:
                    self._let_in()
                elif key.data:
                    handed += self._heard(key.data)
            ready = self._selector.select(timeout=0)
        return handed

    def _let_in(self) -> None:
        with suppress(BlockingIOError, ConnectionError):  # gone again
            line = Line(self._entrance.accept()[0])
            self._selector.register(line.socket, EVENT_READ, line)

    def _heard(self, line: Line) -> list[Handed]:
        try:
            slip = line.heard(desk.SLIP)
        except (EOFError, OSError, msgspec.MsgspecError) as error:
            if isinstance(error, msgspec.MsgspecError):
                log.warning("hung up on who speaks another language: %s", error)
            self._selector.unregister(line.socket)
            line.socket.close()
            return []
        return [(line, slip)] if slip else []

    def _carry_out(self, group: Sequence[Handed]) -> None:
        pages: dict[Page, list[Handed]] = defaultdict(list)
        for handed in group:
            pages[Page.of(handed[1])].append(handed)
        for page, part in pages.items():
            replies = self._replies(page, [slip for _line, slip in part])
            for (line, _slip), reply in zip(part, replies, strict=True):
                with suppress(OSError):  # whoever went meanwhile finds out by the receipt
                    line.say(reply)

    def _replies(self, page: Page, slips: Sequence[Slip]) -> list[Reply]:
        reply = Reply()
        try:
            if self._is_silent(None):
                reply = Reply(late="the database does not answer", silent=True)
            else:
                _stand_in(page.schema)
                return [Reply(row) for row in self._record(page, slips)]
        except Held:
            pass
        except TooLate as error:
            reply = Reply(late=str(error), silent=self._is_silent(error))
        except CloserLook as look:
            if len(slips) == 1:
                reply = Reply(closer_look=look.at)
        except DatabaseError as error:
            log.warning("left to who brought it: %s", error)
        except Exception:
            log.exception("left to who brought it")
        return [reply] * len(slips)


def _stand_in(schema: str) -> None:
    database = connections[DEFAULT_DB_ALIAS]
    database.close_if_unusable_or_obsolete()
    database.health_check_done = True  # where it turns out to be dead, tickets are left to who brought them
    if database.schema_name != schema:
        database.set_schema(schema)
