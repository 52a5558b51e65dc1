"""One worker at a time: a lock by name that needs no table, and falls with the worker that holds it."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def alone(what: str, which: int = 0) -> Iterator[bool]:
    """Whether nobody else does this in the brand, and holds them off until the block ends if so.

    The lock is the database session's: nothing has to be cleared after a crash. A pooler in transaction mode would
    hand it to somebody else.
    """
    key = (f"{connection.schema_name}.{what}", which)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext(%s), %s)", key)
        held = cursor.fetchone()[0]
    try:
        yield held
    finally:
        if held:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtext(%s), %s)", key)
