"""The recorder's desk: what processes hand in there, what they are told, and how it is said over the wire.

Whoever hands in a slip waits for its row. Nobody depends on the recorder: where there is none, or it is gone, or it
leaves a ticket to who brought it, the process records the ticket itself. It may do so even where the recorder fell
silent in the middle, for a ticket that was recorded is known by its receipt.
"""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from django.conf import settings
from django.db import OperationalError

from tenants.brand_sql import CloserLook

# The longest wait for the recorder: a call under way, and one's own.
PATIENCE_SECONDS = 8.0
# For so long nobody asks a recorder that was not there; and one that kept somebody waiting for too long.
AVOIDED_SECONDS, DISTRUSTED_SECONDS = 1.0, 20.0
# A line that broke within so long was broken before; another recorder may serve there since.
AT_ONCE_SECONDS = 1.0
LARGEST = 8 * 1024 * 1024
_LENGTH_BYTES = 4

log = logging.getLogger(__name__)


class TooLate(OperationalError):
    """Nothing was done, and who asked waited as long for it as anybody may: to try again would take as long again."""


class Unanswered(TooLate):
    """The database says nothing any more to the recorder."""


class Slip(msgspec.Struct, array_like=True, frozen=True):
    """A ticket as `till_tickets` is told it (JSON), what it was thought with, and when it was bought."""

    schema: str
    edition: int | None
    today: date
    bought_at: datetime
    told: bytes


class Reply(msgspec.Struct, array_like=True, frozen=True):
    """The row of a slip; or, with none, why there is none: at what a closer look is needed, or that it came too late,
    and whether for a database that says nothing. Else the ticket is left to who brought it."""

    row: tuple[int, bool, str | None] | None = None
    closer_look: str = ""
    late: str = ""
    silent: bool = False


Message = TypeVar("Message", Slip, Reply)
SLIP, REPLY = msgspec.msgpack.Decoder(Slip), msgspec.msgpack.Decoder(Reply)
_encode = msgspec.msgpack.encode


class Line:
    """A connection between a thread and the recorder, on which one message is under way at a time."""

    def __init__(self, connected: socket.socket):
        self.socket = connected
        self._heard = b""

    @contextmanager
    def unless_it_breaks(self) -> Iterator[None]:
        """Whatever ends the block before its time ends the line: no other slip ever hears a reply that is due still."""
        try:
            yield
        except BaseException:
            self.socket.close()
            raise

    def say(self, what: Slip | Reply) -> None:
        data = _encode(what)
        self.socket.sendall(len(data).to_bytes(_LENGTH_BYTES) + data)

    def heard(self, language: "msgspec.msgpack.Decoder[Message]") -> Message | None:
        """The message, once it is whole. Raises `EOFError` where the other side has gone, and `msgspec.MsgspecError`
        for what is none."""
        part = self.socket.recv(65536)
        if not part:
            raise EOFError
        self._heard += part
        if len(self._heard) < _LENGTH_BYTES:
            return None
        end = _LENGTH_BYTES + int.from_bytes(self._heard[:_LENGTH_BYTES])
        if end > LARGEST:
            raise msgspec.DecodeError("the message is too long")
        if len(self._heard) < end:
            return None
        data, self._heard = self._heard[_LENGTH_BYTES:end], self._heard[end:]
        return language.decode(data)


def address() -> str:
    """Of the recorder's socket, as short as may be: the kernel takes a hundred characters."""
    path = Path(settings.TILL_RECORDER)
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def opened() -> socket.socket:
    """The recorder's socket, for who owns this process alone."""
    where = Path(address())
    where.unlink(missing_ok=True)
    entrance = socket.socket(socket.AF_UNIX)
    entrance.bind(str(where))
    where.chmod(0o600)
    entrance.listen(64)
    return entrance


class Doubt:
    """Whether this process asks the recorder. Where it was not to be had, one looks now and then for all."""

    def __init__(self) -> None:
        self._seconds = self._until = 0.0

    def keeps_away(self) -> bool:
        now = time.monotonic()
        if now < self._until:
            return True
        if self._seconds:
            self._until = now + self._seconds
        return False

    def begins(self, seconds: float) -> None:
        if not self._seconds:
            log.warning("no recorder answers at %s: tickets are recorded one by one", address())
        self._seconds, self._until = seconds, time.monotonic() + seconds

    def is_over(self) -> None:
        self._seconds = self._until = 0.0


doubt = Doubt()
_mine = threading.local()


def hand_in(slip: Slip) -> tuple[int, bool, str | None] | None:
    """The ticket's row, from the recorder; None where the caller has to record it. Raises `CloserLook`, `TooLate`."""
    if not settings.TILL_RECORDER or doubt.keeps_away():
        return None
    reply = _asked(slip)
    if reply is None:
        return None
    if reply.closer_look:
        raise CloserLook(reply.closer_look)
    if reply.late:
        raise Unanswered(reply.late) if reply.silent else TooLate(reply.late)
    return reply.row


def _asked(slip: Slip) -> Reply | None:
    kept, start = getattr(_mine, "line", None), time.monotonic()
    for known in [kept, None] if kept else [None]:
        try:
            line = known or _called()
            with line.unless_it_breaks():
                line.say(slip)
                reply = None
                while reply is None:
                    reply = line.heard(REPLY)
        except TimeoutError:
            doubt.begins(DISTRUSTED_SECONDS)
            raise TooLate("the recorder does not answer") from None
        except (OSError, EOFError, msgspec.MsgspecError):
            if time.monotonic() - start > AT_ONCE_SECONDS:
                return None
        else:
            _mine.line = line
            doubt.is_over()
            return reply
    doubt.begins(AVOIDED_SECONDS)
    return None


def _called() -> Line:
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(PATIENCE_SECONDS)
    line = Line(connected)
    with line.unless_it_breaks():
        connected.connect(address())
    return line


def hang_up() -> None:
    """End this thread's line."""
    if hasattr(_mine, "line"):
        _mine.line.socket.close()
