"""A database that takes connections and answers nothing, such as a machine that is frozen, and how long we wait for it.

Its own time limits are no help then, and neither is the kernel's: both count only while somebody is there to count.
So each wait of the web server and of the recorder is looked at from here. After a while without a word another
connection is tried: where that one is answered, the statement is slow, and goes on; where it is not, the database is
silent, and the wait ends with an error as though the wire had been cut. A till's wait ends in any case, a little after
the database's own limit.

While silence lasts, one caller at a time looks whether it is over, and all others are told at once to come back: else
they would take every thread to wait in. In good times this costs a generator a statement, about a microsecond.
"""

import threading
import time
from collections.abc import Generator
from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

# Without a word for so long, another connection is tried, which is given so long to be answered (whole seconds).
QUIET_SECONDS = 2.5
PATIENCE_SECONDS = 3
# Once found, silence is believed in for so long; then somebody looks, and is given time for it.
BELIEVED_SECONDS = 1.0
LOOKING_SECONDS = QUIET_SECONDS + PATIENCE_SECONDS + 1
# The longest that a till's statement stays unanswered, whatever else the database answers.
TILL_SECONDS = 6.0
DOES_NOT_ANSWER = "the database does not answer"


class Unheard(psycopg.OperationalError):
    """We have waited long enough; the connection is closed. Whoever asks again now would wait as long again."""


class Silence:
    """What this process knows of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._believed_until = self._looked_at_until = 0.0

    def begins(self) -> None:
        """Somebody waited in vain."""
        self._believed_until = time.monotonic() + BELIEVED_SECONDS

    def is_over(self) -> None:
        """Somebody was answered."""
        if self._believed_until:
            self._believed_until = self._looked_at_until = 0.0

    def is_believed(self) -> bool:
        """Whether somebody waited in vain just now."""
        return bool(self._believed_until) and time.monotonic() < self._believed_until

    def turns_away(self) -> bool:
        """Whether the caller shall come back later. Who hears no may be the one who looks for all the others."""
        if not self._believed_until:
            return False
        with self._lock:
            now = time.monotonic()
            if now < max(self._believed_until, self._looked_at_until):
                return True
            self._looked_at_until = now + LOOKING_SECONDS
            return False


silence = Silence()


def listen() -> None:
    """Look at every wait of this process for the database, from its next connection on."""
    connection_created.connect(_listen, dispatch_uid="cdp.silence")


def _listen(sender, connection, **_sent) -> None:
    ours = connection.connection
    patiently = ours.wait
    ours.wait = lambda gen, *args, **options: patiently(_until_heard(connection, gen), *args, **options)
    connection.get_new_connection = lambda params: _connected(connection, params)


def _connected(connection: BaseDatabaseWrapper, params: dict[str, Any]) -> psycopg.Connection:
    """Connect, unless it is known to be in vain: Django would do so to end a transaction, and wait once more."""
    if silence.is_believed():
        raise psycopg.OperationalError(DOES_NOT_ANSWER)
    try:
        return type(connection).get_new_connection(connection, params)
    except psycopg.errors.ConnectionTimeout:
        silence.begins()
        raise
    except psycopg.OperationalError:
        silence.is_over()  # to be refused is an answer
        raise


def _until_heard(connection: BaseDatabaseWrapper, waiting: Generator) -> Generator[Any, Any, Any]:
    """The same generator of psycopg's, which is sent a zero each tenth of a second without a word.

    Raises `Unheard`.
    """
    ours = connection.connection
    quiet_since, look_at = None, 0.0
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if ready:
                quiet_since = None
            else:
                now = time.monotonic()
                if quiet_since is None:
                    quiet_since, look_at = now, now + QUIET_SECONDS
                if getattr(ours, "is_in_a_hurry", False) and now - quiet_since > TILL_SECONDS:
                    connection.close()
                    raise Unheard("the statement was not answered in time")
                if now > look_at:
                    if not _answers(ours):
                        silence.begins()
                        connection.close()
                        raise Unheard(DOES_NOT_ANSWER)
                    look_at = time.monotonic() + QUIET_SECONDS
            wanted = waiting.send(ready)
    except StopIteration as done:
        silence.is_over()
        return done.value


def _answers(ours: psycopg.Connection) -> bool:
    """Whether the database answers who knocks anew. To be refused is an answer."""
    try:
        told = ours.info
        psycopg.connect(told.dsn, password=told.password, connect_timeout=PATIENCE_SECONDS).close()
    except psycopg.errors.ConnectionTimeout:
        return False
    except psycopg.Error:
        pass
    return True
