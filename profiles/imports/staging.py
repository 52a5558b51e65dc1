"""A file checked: every row read, brought into comparable form, and kept in a table beside until it is taken in.

The table belongs to one import and lives as long as that waits. It is unlogged: a crash of the database empties it,
which shows by the number of its rows, and the file is then simply read again.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import msgspec
from django.db import connection, transaction

from profiles import intake
from profiles.imports import reading
from profiles.imports.columns import Columns
from profiles.imports.detect import Dialect
from profiles.intake import ConsentStatement, Refused, Told
from profiles.intake.cleaning import encode
from profiles.models import Identifier, ImportRun, SourceRecord
from tenants.calendar import brand_zone

BLOCK = 10_000
SAMPLES = 20
REASONS = 30

# name, type: the table's columns in the order in which rows are written and read.
_LAYOUT = (
    ("position", "integer PRIMARY KEY"), ("line", "integer"), ("refused", "boolean"), ("fault", "text"),
    ("reason", "text"), ("external_id", "text"), ("content_hash", "text"), ("stated_at", "timestamptz"),
    ("store_id", "bigint"), ("first_name", "text"), ("last_name", "text"), ("birth_date", "date"), ("email", "text"),
    ("email_key", "text"), ("phone", "text"), ("street", "text"), ("postcode", "text"), ("city", "text"),
    ("card", "text"), ("customer_id", "text"), ("is_dated", "boolean"), ("consents", "text"), ("raw", "text"),
)  # fmt: skip
_NAMES = ", ".join(name for name, _type in _LAYOUT)
_decode_consents = msgspec.json.Decoder(list[tuple[str, bool, datetime | None, str]]).decode


class Stage:
    """The checked rows of one import."""

    def __init__(self, import_run: ImportRun):
        self.import_run = import_run
        self.table = connection.ops.quote_name(f"import_rows_{import_run.pk}")

    # --- Filled ---------------------------------------------------------------------------------------------------

    def fill(self, path: Path, dialect: Dialect) -> Iterator[int]:
        """Read the file anew and stage its rows; yields how many are staged, block by block."""
        columns = Columns.of_import(self.import_run, brand_zone())
        cleaner = intake.cleaner(self.import_run.source)
        self.drop()
        layout = ", ".join(f"{name} {kind}" for name, kind in _LAYOUT)
        # `is_known` is found out when the rows are weighed (`forecast`), not when they are copied.
        self._execute(
            f"CREATE UNLOGGED TABLE {self.table} ({layout}, is_known boolean NOT NULL DEFAULT false)"
        )
        staged = 0
        for rows in _blocks(reading.rows(path, dialect), BLOCK):
            block = columns.block(rows)
            statements = cleaner.clean(block)
            for position, told in enumerate(statements):
                if position not in block.refused:
                    _name_column(told, columns.columns)
            self._copy(staged, statements, block.raw)
            staged += len(rows)
            yield staged
        self._execute(f"ANALYZE {self.table}")

    def _copy(self, first: int, statements: Sequence[Told | Refused], raw: Sequence[bytes]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            _cells(position, told, row)
            for position, (told, row) in enumerate(zip(statements, raw, strict=True), first)
        )
        with (
            transaction.atomic(),
            connection.cursor() as cursor,
            cursor.copy(f"COPY {self.table} ({_NAMES}) FROM STDIN (FORMAT csv)") as copy,
        ):
            copy.write(text.getvalue())

    # --- Read -----------------------------------------------------------------------------------------------------

    def count(self) -> int | None:
        """How many rows are staged; None where there is no such table."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s)", [self.table])
            if cursor.fetchone()[0] is None:
                return None
            cursor.execute(f"SELECT count(*) FROM {self.table}")
            return cursor.fetchone()[0]

    def rows(self, after: int, number: int) -> list[tuple[Told | Refused, str]]:
        """The statements at the positions from `after` on, each with its row as received (JSON)."""
        found = self._fetch(
            f"SELECT {_NAMES} FROM {self.table} WHERE position >= %s ORDER BY position LIMIT %s",
            [after, number],
        )
        return [(_statement(row), row[-1] or "{}") for row in found]

    def forecast(self) -> dict:
        """What would come of the rows if they were taken in now: numbers, how people would be found, reasons and
        samples."""
        records = connection.ops.quote_name(SourceRecord._meta.db_table)
        identifiers = connection.ops.quote_name(Identifier._meta.db_table)
        source = self.import_run.source_id
        # A row is new, or another version, or known to the letter; of two equal rows in the file the first counts.
        verdicts = self._fetch(
            f"""
            WITH firsts AS MATERIALIZED (
                SELECT position, refused, fault, external_id, content_hash,
                       row_number() OVER (PARTITION BY external_id, content_hash ORDER BY position) AS nth,
                       row_number() OVER (PARTITION BY external_id ORDER BY position) AS version
                FROM {self.table}
            ), told AS MATERIALIZED (
                SELECT external_id, content_hash FROM {records}
                WHERE source_id = %s AND external_id IN (SELECT external_id FROM firsts)
            ), ids AS MATERIALIZED (SELECT DISTINCT external_id FROM told)
            SELECT CASE WHEN f.refused THEN 'rejected'
                        WHEN f.nth > 1 OR t.external_id IS NOT NULL THEN 'unchanged'
                        WHEN f.fault <> '' THEN 'corrected' ELSE 'created' END AS verdict,
                   NOT f.refused AND f.nth = 1 AND t.external_id IS NULL AND f.version = 1
                       AND i.external_id IS NULL AS is_new,
                   count(*)
            FROM firsts f
            LEFT JOIN told t ON t.external_id = f.external_id AND t.content_hash = f.content_hash
            LEFT JOIN ids i ON i.external_id = f.external_id
            GROUP BY 1, 2
            """,
            [source],
        )
        self._mark_known(records, source)
        counts: Counter[str] = Counter()
        for verdict, is_new, number in verdicts:
            counts[verdict] += number
            if verdict in ("created", "corrected"):
                counts["new" if is_new else "updated"] += number
        shared = self._fetch(
            f"""
            SELECT kind, count(*) FROM (
                SELECT s.position, min(i.kind) AS kind FROM {self.table} s
                JOIN {identifiers} i ON (i.kind, i.key) IN
                    (('card', nullif(s.card, '')), ('email', nullif(s.email_key, '')), ('phone', nullif(s.phone, '')))
                WHERE NOT s.refused AND NOT EXISTS (
                    SELECT FROM {records} r WHERE r.source_id = %s AND r.external_id = s.external_id)
                GROUP BY s.position
            ) found GROUP BY kind
            """,
            [source],
        )
        return {
            "received": sum(number for _verdict, _new, number in verdicts),
            **{
                word: counts[word]
                for word in ("created", "corrected", "unchanged", "rejected", "new", "updated")
            },
            "matched_by": dict(shared),
            "reasons": {word: self._reasons(word) for word in ("rejected", "corrected")},
            "samples": {word: self._samples(word) for word in ("rejected", "corrected")},
        }

    def _mark_known(self, records: str, source_id: int) -> None:
        """What is known to the letter is not corrected again: its faults were told when it came first."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {self.table} s SET is_known = true FROM {records} r WHERE r.source_id = %s"
                " AND r.external_id = s.external_id AND r.content_hash = s.content_hash AND s.fault <> ''",
                [source_id],
            )

    def _reasons(self, verdict: str) -> list[list]:
        """[[column, reason without the value, rows]], the most frequent first."""
        return [
            list(row)
            for row in self._fetch(
                f"""
                SELECT coalesce(fault, ''), regexp_replace(reason, '«[^»]*»', '«…»') AS told, count(*)
                FROM {self.table} WHERE {_WHERE[verdict]} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT %s
                """,
                [REASONS],
            )
        ]

    def _samples(self, verdict: str) -> list[list]:
        """[[line, column, reason]] of the first rows."""
        return [
            list(row)
            for row in self._fetch(
                f"""
                SELECT line, coalesce(fault, ''), reason FROM {self.table}
                WHERE {_WHERE[verdict]} ORDER BY position LIMIT %s
                """,
                [SAMPLES],
            )
        ]

    def drop(self) -> None:
        self._execute(f"DROP TABLE IF EXISTS {self.table}")

    def _execute(self, sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    def _fetch(self, sql: str, parameters: Sequence) -> list[tuple]:
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall()


_WHERE = {"rejected": "refused", "corrected": "NOT refused AND fault <> '' AND NOT is_known"}


def _name_column(told: Told | Refused, columns: Mapping[str, str]) -> None:
    """What is wrong is told by the file's own name of the column."""
    if isinstance(told, Refused):
        told.column = columns.get(told.column, told.column)
    elif told.correction:
        field, reason = told.correction
        told.correction = columns.get(field, field), reason


def _cells(position: int, told: Told | Refused, raw: bytes) -> tuple:
    """A row of the table. Empty cells arrive as NULL, which reading turns back."""
    if isinstance(told, Refused):
        return (
            position,
            told.line,
            "t",
            told.column,
            told.reason,
            *[None] * (len(_LAYOUT) - 6),
            raw.decode(),
        )
    fault, reason = told.correction or ("", "")
    consents = (
        encode([(c.channel, c.granted, c.at, c.wording) for c in told.consents]).decode()
        if told.consents
        else ""
    )
    return (
        position, told.line, "f", fault, reason, told.external_id, told.content_hash, told.stated_at.isoformat(),
        told.store_id, told.first_name, told.last_name, told.birth_date, told.email, told.email_key, told.phone,
        told.street, told.postcode, told.city, told.card, told.customer_id, told.is_dated, consents, raw.decode(),
    )  # fmt: skip


def _statement(row: tuple) -> Told | Refused:
    _position, line, refused, fault, reason, *told, is_dated, said, raw = row
    if refused:
        return Refused(line, fault or "", reason or "")
    external_id, content_hash, stated_at, store_id, first, last, birth_date, *rest = told
    email, email_key, phone, street, postcode, city, card, customer_id = (value or "" for value in rest)
    consents = [ConsentStatement(*consent) for consent in _decode_consents(said)] if said else ()
    return Told(
        line, external_id, content_hash, stated_at.astimezone(UTC), store_id, first or "", last or "", birth_date,
        email, email_key, phone, street, postcode, city, card, customer_id, consents, raw.encode(), is_dated,
        (fault, reason or "") if fault else None,
    )  # fmt: skip


def _blocks(items: Iterable, size: int) -> Iterator[list]:
    items = iter(items)
    while block := list(islice(items, size)):
        yield block
