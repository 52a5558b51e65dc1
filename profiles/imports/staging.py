"""A file checked: every row read, brought into comparable form, and kept in a table beside until it is taken in.

The table belongs to one import and lives as long as that waits. It is unlogged: a crash of the database empties it,
which shows by the number of its rows, and the file is then simply read again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC
from itertools import islice
from pathlib import Path

import msgspec
from django.db import connection
from psycopg import Connection

from profiles import intake, normalise
from profiles.imports import reading
from profiles.imports.columns import Columns
from profiles.imports.detect import Dialect
from profiles.imports.mapping import CONSENTS
from profiles.imports.values import MOST_WORDS, unknown_answers, word_of
from profiles.intake import ConsentStatement, Refused, Told
from profiles.intake.cleaning import Clean, encode
from profiles.models import Identifier, ImportRun, SourceRecord
from tenants.calendar import brand_zone

BLOCK = 10_000
SAMPLES = 20
REASONS = 30
VALUES = 10
# Of so many domains, the mistyped ones among them are told.
DOMAINS = 5_000

# name, type: the table's columns in the order in which rows are written and read.
_LAYOUT = (
    ("position", "integer PRIMARY KEY"), ("line", "integer"), ("refused", "boolean"), ("fault", "text"),
    ("reason", "text"), ("external_id", "text"), ("content_hash", "text"), ("stated_at", "timestamptz"),
    ("store_id", "bigint"), ("first_name", "text"), ("last_name", "text"), ("birth_date", "date"), ("email", "text"),
    ("email_key", "text"), ("phone", "text"), ("street", "text"), ("postcode", "text"), ("city", "text"),
    ("card", "text"), ("customer_id", "text"), ("is_dated", "boolean"), ("consents", "text"), ("raw", "text"),
)  # fmt: skip
# Of a row that is refused nothing else is told.
_OF_REFUSED = frozenset(("position", "line", "refused", "fault", "reason", "raw"))
_NAMES = ", ".join(name for name, _type in _LAYOUT)
_decode_consents = msgspec.json.Decoder(list[ConsentStatement]).decode
# The backslash first, since the others are written with one.
_ESCAPES = (("\\", r"\\"), ("\t", r"\t"), ("\n", r"\n"), ("\r", r"\r"))


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
        # The server takes a block in while the next one is read and cleaned here.
        with ThreadPoolExecutor(1) as beside:
            copied: Future[None] | None = None
            for rows in _blocks(reading.rows(path, dialect), BLOCK):
                text = _lines(staged, _named(cleaner.clean(columns.block(rows)), columns.columns))
                if copied:
                    _await(copied)
                    # Nothing is under way on the connection while the caller has its turn.
                    yield staged
                copied = beside.submit(self._copy, connection.connection, text)
                staged += len(rows)
            if copied:
                _await(copied)
                yield staged
        self._execute(f"ANALYZE {self.table}")

    def _copy(self, line: Connection, text: bytes) -> None:
        with (
            line.cursor() as cursor,
            cursor.copy(f"COPY {self.table} ({_NAMES}) FROM STDIN (NULL '')") as copy,
        ):
            copy.write(text)

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
                       row_number() OVER (PARTITION BY external_id, content_hash ORDER BY position) AS nth
                FROM {self.table}
            ), told AS MATERIALIZED (
                SELECT external_id, content_hash FROM {records}
                WHERE source_id = %s AND external_id IN (SELECT external_id FROM firsts)
            ), ids AS MATERIALIZED (SELECT DISTINCT external_id FROM told), weighed AS (
                SELECT f.position, f.external_id, i.external_id IS NOT NULL AS id_is_known,
                       CASE WHEN f.refused THEN 'rejected'
                            WHEN f.nth > 1 OR t.external_id IS NOT NULL THEN 'unchanged'
                            WHEN f.fault <> '' THEN 'corrected' ELSE 'created' END AS verdict
                FROM firsts f
                LEFT JOIN told t ON t.external_id = f.external_id AND t.content_hash = f.content_hash
                LEFT JOIN ids i ON i.external_id = f.external_id
            ), counted AS (
                SELECT verdict, CASE
                    WHEN verdict NOT IN ('created', 'corrected') THEN ''
                    WHEN row_number() OVER (
                        PARTITION BY external_id, verdict IN ('created', 'corrected') ORDER BY position) > 1
                        THEN 'repeated'
                    WHEN id_is_known THEN 'updated' ELSE 'new' END AS kind
                FROM weighed
            )
            SELECT verdict, kind, count(*) FROM counted GROUP BY 1, 2
            """,
            [source],
        )
        self._mark_known(records, source)
        counts: Counter[str] = Counter()
        for verdict, kind, number in verdicts:
            counts[verdict] += number
            if kind:
                counts[kind] += number
        shared = self._fetch(
            f"""
            SELECT kind, count(*) FROM (
                SELECT s.position, min(i.kind) AS kind FROM {self.table} s
                CROSS JOIN LATERAL (VALUES ('card', s.card), ('email', s.email_key), ('phone', s.phone))
                    AS shown(kind, key)
                JOIN {identifiers} i ON i.kind = shown.kind AND i.key = shown.key
                WHERE shown.key <> '' AND NOT s.refused AND NOT EXISTS (
                    SELECT FROM {records} r WHERE r.source_id = %s AND r.external_id = s.external_id)
                GROUP BY s.position
            ) found GROUP BY kind
            """,
            [source],
        )
        return {
            "received": sum(number for _verdict, _kind, number in verdicts),
            **{
                word: counts[word]
                for word in ("created", "corrected", "unchanged", "rejected", "new", "updated", "repeated")
            },
            "matched_by": dict(shared),
            "unproven": self._unproven(),
            "suggestions": self._suggestions(),
            "odd_words": self._odd_words(),
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

    def _unproven(self) -> dict[str, int]:
        """channel -> how many a yes that nothing proves (`intake.people.is_proven`)."""
        if not set(CONSENTS) & set(self.import_run.mapping.values()):
            return {}
        # As a `ConsentStatement` is written: ["email",true,"2026-…","the words"]; quotation marks in them are escaped.
        unproven = r'\["(email|sms)",true,[^],]*,""\]'
        counted = self._fetch(
            f"""
            SELECT said[1], count(*) FROM {self.table}, regexp_matches(consents, %s, 'g') said
            WHERE NOT refused AND consents LIKE '%%,true,%%' AND consents LIKE '%%,""]%%' GROUP BY 1
            """,
            [unproven],
        )
        return dict(counted)

    def _suggestions(self) -> list[list]:
        """[[domain as written, domain that it looks like, rows]] of e-mails, the most frequent first."""
        domains = self._fetch(
            f"""
            SELECT split_part(email, '@', 2) AS domain, count(*) FROM {self.table}
            WHERE NOT refused AND email <> '' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %s
            """,
            [DOMAINS],
        )
        found = []
        for domain, number in domains:
            address = normalise.email(f"somebody@{domain}")
            if address and address.suggestion:
                found.append([domain, address.suggestion.partition("@")[2], number])
        return found

    def _odd_words(self) -> dict[str, dict[str, int]]:
        """Column -> word in the place of a consent that nobody has said the meaning of -> how often it stands there."""
        consents = [column for column, field in self.import_run.mapping.items() if field in CONSENTS]
        if not consents:
            return {}
        found = self._fetch(
            f"""
            SELECT fault, left(raw::jsonb ->> fault, 100), count(*) FROM {self.table}
            WHERE refused AND fault = ANY(%s) GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT %s
            """,
            [consents, MOST_WORDS],
        )
        odd: dict[str, dict[str, int]] = {}
        for column, word, number in found:
            for told in unknown_answers([{column: word or ""}]):
                odd.setdefault(told, {})
                odd[told][word_of(word)] = odd[told].get(word_of(word), 0) + number
        return odd

    def _reasons(self, verdict: str) -> list[list]:
        """[[column, reason without the value, rows, [[value, rows], …]]], the most frequent first; of the values the
        most frequent ones."""
        counted = self._fetch(
            f"""
            WITH told AS (
                SELECT coalesce(fault, '') AS fault, regexp_replace(reason, '«[^»]*»', '«…»') AS told,
                       btrim(coalesce(substring(reason FROM '«([^»]*)»'), ''), E' \u00a0\u202f') AS value
                FROM {self.table} WHERE {_WHERE[verdict]}
            ), counted AS (
                SELECT fault, told, value, count(*) AS number,
                       sum(count(*)) OVER (PARTITION BY fault, told)::bigint AS whole,
                       row_number() OVER (PARTITION BY fault, told ORDER BY count(*) DESC, value) AS nth
                FROM told GROUP BY 1, 2, 3
            )
            SELECT fault, told, whole, value, number FROM counted WHERE nth <= %s
            ORDER BY whole DESC, fault, told, nth LIMIT %s
            """,
            [VALUES, REASONS * VALUES],
        )
        reasons: dict[tuple[str, str], list] = {}
        for fault, told, whole, value, number in counted:
            reason = reasons.setdefault((fault, told), [fault, told, whole, []])
            if value:
                reason[3].append([value, number])
        return list(reasons.values())[:REASONS]

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


def _await(copied: Future[None]) -> None:
    # What the server refused is told as Django tells it, and a lost connection is known as lost.
    with connection.wrap_database_errors:
        copied.result()


def _named(clean: Clean, columns: Mapping[str, str]) -> Clean:
    """What is wrong is told by the file's own name of the column."""
    for told in (clean.corrections, clean.refused):
        for position, (field, reason) in told.items():
            told[position] = columns.get(field, field), reason
    return clean


def _lines(first: int, clean: Clean) -> bytes:
    """The block as COPY reads it, a column at a time; what is empty arrives as NULL, which reading turns back."""
    told = clean.parts
    number = len(told["line"])
    refused, fault, reason = ["f"] * number, [""] * number, [""] * number
    for position, told_wrong in (clean.corrections | clean.refused).items():
        fault[position], reason[position] = told_wrong
    for position in clean.refused:
        refused[position] = "t"
    columns = {
        "position": map(str, range(first, first + number)),
        "line": map(str, told["line"]),
        "refused": refused,
        "fault": fault,
        "reason": reason,
        "stated_at": [at.isoformat() for at in told["stated_at"]],
        "store_id": ["" if store_id is None else str(store_id) for store_id in told["store_id"]],
        "birth_date": [day.isoformat() if day else "" for day in told["birth_date"]],
        "is_dated": ["t" if is_dated else "f" for is_dated in told["is_dated"]],
        "consents": [encode(said).decode() if said else "" for said in told["consents"]],
        "raw": b"\n".join(told["raw"]).decode().split("\n"),  # JSON holds no line ends
    }
    cells = []
    for name, _type in _LAYOUT:
        column = list(columns.get(name, told.get(name, ())))
        if name not in _OF_REFUSED:
            for position in clean.refused:
                column[position] = ""
        cells.append(_escaped(column))
    return "\n".join(map("\t".join, zip(*cells, strict=True))).encode() + b"\n"


def _escaped(cells: list[str]) -> list[str]:
    """The cells of a column, with what means something to COPY written so that it does not."""
    text = "".join(cells)
    for sign, written in _ESCAPES:
        if sign in text:
            cells = [cell.replace(sign, written) for cell in cells]
    return cells


def _statement(row: tuple) -> Told | Refused:
    _position, line, refused, fault, reason, *told, is_dated, said, raw = row
    if refused:
        return Refused(line, fault or "", reason or "")
    external_id, content_hash, stated_at, store_id, first, last, birth_date, *rest = told
    email, email_key, phone, street, postcode, city, card, customer_id = (value or "" for value in rest)
    consents = _decode_consents(said) if said else ()
    return Told(
        line, external_id, content_hash, stated_at.astimezone(UTC), store_id, first or "", last or "", birth_date,
        email, email_key, phone, street, postcode, city, card, customer_id, consents, raw.encode(), is_dated,
        (fault, reason or "") if fault else None,
    )  # fmt: skip


def _blocks(items: Iterable, size: int) -> Iterator[list]:
    items = iter(items)
    while block := list(islice(items, size)):
        yield block
