"""One process that records the tickets of all web processes of a machine, several in a call.

A call of the database costs little more for four tickets than for one, and tickets that eight tills send at once come
to processes that know nothing of each other: here they meet. What is handed in while a call is under way lies there
until the next one, which takes all of it along; nobody waits for company while nothing is under way.

The recorder decides nothing and knows no rule. What it cannot do at once it leaves to who brought it
(`loyalty/till/desk.py`), so that one's trouble keeps nobody else waiting.
"""

import logging
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector

import msgspec
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from loyalty.till import desk
from loyalty.till.desk import Line, Reply, Slip
from loyalty.till.recording import Held, Page, Row, TooLate, record_several
from tenants.brand_sql import CloserLook

log = logging.getLogger(__name__)

# Calls under way at once: while one waits for the disk another is carried out. The second leaves with no less company.
LEADERS = 2
COMPANY = 3
TOGETHER = 16  # at most

Handed = tuple[Line, Slip]


class Recorder:
    """Serves at `desk.address()` until it is stopped. Of its threads one waits at the desk for slips; while it records
    them, another does.

    `is_silent`: whether the database says nothing any more, by this error, or at this moment (None).
    """

    def __init__(
        self,
        is_silent: Callable[[Exception | None], bool],
        record: Callable[[Page, Sequence[Slip]], Sequence[Row]] = record_several,
    ):
        self._is_silent = is_silent
        self._record = record
        self._at_the_desk = threading.Lock()  # held by who waits there; the next three are theirs
        self._selector = DefaultSelector()
        self._waiting: list[Handed] = []
        self._is_stopped = False
        self._counting = threading.Lock()
        self._under_way = 0
        self._bell, self._ringer = socket.socketpair()
        self._entrance = desk.opened()
        for end in (self._bell, self._ringer, self._entrance):
            end.setblocking(False)
        for end in (self._bell, self._entrance):
            self._selector.register(end, EVENT_READ)

    def serve(self) -> None:
        """Until `stop` is called, by a signal or another thread."""
        with ThreadPoolExecutor(LEADERS) as threads:
            leaders = [threads.submit(self._lead) for _one in range(LEADERS)]
            wait(leaders, return_when=FIRST_EXCEPTION)
            self.stop()
        for key in [*self._selector.get_map().values()]:
            key.fileobj.close()
        self._selector.close()
        self._ringer.close()
        for leader in leaders:
            leader.result()

    def stop(self) -> None:
        """What is under way is ended; who waits hears nothing, and records for themselves."""
        self._is_stopped = True
        with suppress(OSError):  # it has ended
            self._ring()

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # it rings still
            self._ringer.send(b".")

    def _lead(self) -> None:
        while True:
            with self._at_the_desk:
                group = self._wait_for_slips()
            if not group:
                connections.close_all()
                return
            try:
                self._carry_out(group)
            finally:
                with self._counting:
                    self._under_way -= 1
                if self._waiting:  # for company, at the desk: they need not any more
                    self._ring()

    def _wait_for_slips(self) -> list[Handed]:
        """Those of the next call; none where the recorder is stopped."""
        while not self._is_stopped:
            with self._counting:
                if len(self._waiting) >= (COMPANY if self._under_way else 1):
                    self._under_way += 1
                    group, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
                    return group
            for key, _events in self._selector.select():
                if key.fileobj is self._bell:
                    self._bell.recv(64)
                elif key.fileobj is self._entrance:
                    with suppress(OSError):
                        line = Line(self._entrance.accept()[0])
                        self._selector.register(line.socket, EVENT_READ, line)
                else:
                    self._hear(key.data)
        return []

    def _hear(self, line: Line) -> None:
        try:
            slip = line.heard(desk.SLIP)
            if slip is not None:
                self._waiting.append((line, slip))
        except (EOFError, OSError, msgspec.MsgspecError) as error:
            if isinstance(error, msgspec.MsgspecError):
                log.warning("hung up on who speaks another language: %s", error)
            self._selector.unregister(line.socket)
            line.socket.close()

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
    database = connections[DEFAULT_DB_ALIAS]  # of this thread
    database.close_if_unusable_or_obsolete()
    database.health_check_done = True  # where it turns out to be dead, tickets are left to who brought them
    if database.schema_name != schema:
        database.set_schema(schema)
