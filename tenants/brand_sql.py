"""The SQL objects of a brand's schema: constraints, triggers and functions that keep its promises.

A function that fixes its `search_path` keeps it through a rename or a restore under another name, and would then
write into the old brand. So each file is idempotent, and `install()` runs them all again whenever a schema was
created, cloned, renamed or restored.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    OperationalError,
    connection,
    connections,
    migrations,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from psycopg import Cursor, RawCursor

NEXT = "\n-- next\n"
CLOSER_LOOK = "closer_look_"


class CloserLook(Exception):
    """A function of the brand's schema wrote nothing and asks its caller to look closer. `at`: at what."""

    def __init__(self, at: str):
        super().__init__(at)
        self.at = at


def call(statement: str, params: Sequence[Any]) -> Any:
    """Call a function of the brand's schema; its row. All or nothing, and outside a transaction one round trip.

    The statement is prepared and bound by the server: parameters are $1, $2, with a cast where a type is not obvious.
    Raises `CloserLook`.
    """
    with _calling() as asked:
        return asked().execute(statement, params, prepare=True).fetchone()


def calls(statement: str, params: Iterable[Sequence[Any]]) -> list[Any]:
    """The same several times, all or nothing; a row each. While the server works on one call, the next one's parameters
    are thought of. Raises `CloserLook`; and what thinking of parameters raises, with nothing written."""
    rows: list[Any] = []
    refusal: psycopg.Error | None = None
    with _calling(in_transaction=True) as asked:
        with suppress(psycopg.errors.PipelineAborted), asked().connection.pipeline():
            # The first refusal is the one that says why. What was sent after it is heard out at the end of the block.
            try:
                cursors = [asked().execute(statement, each, prepare=True) for each in params]
                rows += [cursor.fetchone() for cursor in cursors]
            except psycopg.Error as error:
                refusal = error
        if refusal:
            raise refusal
    return rows


@contextmanager
def _calling(in_transaction: bool = False) -> Iterator[Callable[[], RawCursor]]:
    """Gives new cursors in the brand's schema, and tells of what they raise.

    A pipeline needs the transaction: alone, it would commit what was sent before an exception of ours, and a constraint
    that fails as late as the commit would leave the connection unusable.
    """
    database = connections[DEFAULT_DB_ALIAS]  # of this thread: the proxy looks for it at each word
    _stand_in_schema(database)  # before the transaction: with it the schema would be taken back
    try:
        together = transaction.atomic() if in_transaction or database.in_atomic_block else nullcontext()
        with together, database.wrap_database_errors:
            yield lambda: RawCursor(database.connection)
    except DatabaseError as error:
        name = broken_promise(error)
        if name.startswith(CLOSER_LOOK):
            raise CloserLook(name.removeprefix(CLOSER_LOOK)) from None
        raise


class _Prepared(Cursor):
    def execute(self, query, params=None, **options):
        return super().execute(query, params, prepare=True, **options)


@contextmanager
def prepared() -> Iterator[CursorWrapper]:
    """A cursor for statements that are asked again and again: the server parses and plans each once a connection, which
    is the larger part of a long statement about few rows. Parameters are bound there: a cast says what is not obvious.
    """
    database = connections[DEFAULT_DB_ALIAS]
    _stand_in_schema(database)
    # Who logs statements reads them with their parameters in place.
    plain = database.queries_logged
    with database.cursor() if plain else CursorWrapper(_Prepared(database.connection), database) as cursor:
        yield cursor


def _stand_in_schema(database: BaseDatabaseWrapper) -> None:
    if not (database.connection and database.search_path_set_schemas and database.health_check_done):
        database.cursor().close()  # opens the connection and sets its schema
        if not (database.connection and database.search_path_set_schemas):
            # Where the schema could not be set, nobody hears of it, and the one before stands.
            raise OperationalError("the schema of the brand could not be entered")


def broken_promise(error: DatabaseError) -> str:
    """The name of the constraint that the database refused by; "" where it was none."""
    return getattr(getattr(error.__cause__, "diag", None), "constraint_name", None) or ""


def statements(path: Path) -> list[str]:
    """The statements of a file, which stand apart by a line `-- next`."""
    return [part.strip() for part in Path(path).read_text(encoding="utf-8").split(NEXT) if part.strip()]


def operations(name: str) -> list[migrations.RunSQL]:
    """The file, named from the project's root, as migration operations, one statement each (distributed PostgreSQL
    asks for that)."""
    path = settings.BASE_DIR / name
    return [migrations.RunSQL(statement, migrations.RunSQL.noop) for statement in statements(path)]


def install() -> None:
    """Create or replace the SQL objects of the schema that the connection is in."""
    with transaction.atomic(), connection.cursor() as cursor:
        for path in settings.BRAND_SQL:
            for statement in statements(path):
                cursor.execute(statement)
