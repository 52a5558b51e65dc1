"""Records as matching sees them, and which of them are near enough to be compared.

Each record is indexed under the keys of the blocking rules that the brand's model found worth their place. A new one
looks its neighbours up by its rarest keys first, so that a common name costs no more than a rare one.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from django.db import connection, transaction

from profiles import blocklist
from profiles.intake.writing import write
from profiles.matching.keys import keys_of
from profiles.matching.model import Model
from profiles.matching.recognising import AUTOMATIC_UNLEARNT
from profiles.matching.starting import prior_model
from profiles.matching.table import Counts, Table
from profiles.models import BlockingKey, Identifier, MatchingModel, SourceRecord
from tenants.brand_sql import prepared

# A key on more records than this tells nothing about any of them.
LARGEST_BLOCK = 100
# Neighbours of one record: once its rarer keys have found so many, its commoner ones are not asked.
ENOUGH_NEIGHBOURS = 150
READ_AT_ONCE = 20_000

# The columns of matching, each with the kind of identifier that may be blocked.
COLUMNS = {
    "first_name": "", "last_name": "", "birth_date": "", "email": "email", "phone": "phone", "street": "",
    "postcode": "", "city": "", "loyalty_number": "card", "customer_id": "",
}  # fmt: skip
# Columns of which the model keeps how often their values occur; others are counted among the neighbours, who are all
# the records that share a value.
COUNTED = ("first_name", "last_name", "birth_date", "street", "postcode", "city")


@dataclass(frozen=True)
class Known:
    """What the brand's model knows. `rules` are those that are indexed, None for all; `counts` those of `COUNTED`."""

    model: Model | None
    version: str = "start"
    automatic: float = AUTOMATIC_UNLEARNT
    rules: frozenset[str] | None = None
    counts: dict[str, tuple[dict[str, int], int]] = field(default_factory=dict)

    def model_for(self, table: Table) -> Model:
        """The brand's model, or that to start with, for a brand as large as this one is by now."""
        return self.model or prior_model(table).for_size(records_about())

    def counts_for(self, table: Table) -> Counts:
        """How often values occur, for those that stand in `table`."""
        if self.model is None:
            return {}
        near: dict[str, tuple[dict[str, int], int]] = {}
        for name in ("email", "phone", "device_id"):
            if name in table and name in self.model.filled:
                column = table[name]
                near[name] = (
                    dict(zip(column.values, column.counts.tolist(), strict=True)),
                    self.model.filled[name],
                )
        return {**self.counts, **near}


@dataclass
class Records:
    """Records side by side: ids, whose they are, the stream of statements each belongs to, and their values."""

    ids: list[int]
    profiles: list[int]
    streams: list[tuple[int, str]]
    table: Table

    @property
    def places(self) -> dict[int, int]:
        """Where each record stands."""
        return {record_id: place for place, record_id in enumerate(self.ids)}


# schema -> when the model was learnt, and what it knows. A brand opened anew under an old name begins at version 1,
# which is not the version 1 of before.
_known: dict[str, tuple[datetime, Known]] = {}


def known() -> Known:
    """The brand's newest model, read once by each process."""
    with prepared() as cursor:
        table = connection.ops.quote_name(MatchingModel._meta.db_table)
        cursor.execute(f"SELECT learnt_at, version FROM {table} ORDER BY version DESC LIMIT 1")
        newest = cursor.fetchone()
    if newest is None:
        return Known(None)
    learnt_at, version = newest
    remembered = _known.get(connection.schema_name)
    if remembered is None or remembered[0] != learnt_at:
        remembered = learnt_at, from_row(MatchingModel.objects.get(version=version))
        _known[connection.schema_name] = remembered
    return remembered[1]


def from_row(row: MatchingModel) -> Known:
    """What a row of `MatchingModel` knows."""
    counts = {name: (values, filled) for name, (values, filled) in row.counts.items()}
    return Known(Model.from_json(row.weights), str(row.version), row.automatic, frozenset(row.rules), counts)


def records_about() -> int:
    """About how many records the brand has: exact where it is small."""
    with connection.cursor() as cursor:
        table = connection.ops.quote_name(SourceRecord._meta.db_table)
        cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [table])
        about = cursor.fetchone()[0]
    return about if about > 10_000 else SourceRecord.objects.count()


# --- Read -------------------------------------------------------------------------------------------------------


def read(where: str, parameters: Sequence, *, many: bool = False) -> Records:
    """The records for which the condition on `r` holds, in the order of their ids; blocked values count as not said.

    `many`: more than need stand in memory as rows."""
    records = connection.ops.quote_name(SourceRecord._meta.db_table)
    identifiers = connection.ops.quote_name(Identifier._meta.db_table)
    ids: list[int] = []
    profiles: list[int] = []
    streams: list[tuple[int, str]] = []
    columns: list[list[str]] = [[] for _name in COLUMNS]
    cleaners = [_Unblocked(kind) for kind in COLUMNS.values()]
    with connection.chunked_cursor() if many else prepared() as cursor:
        cursor.execute(
            f"""
            SELECT r.id, r.profile_id, r.source_id, r.external_id, r.first_name, r.last_name,
                   coalesce(r.birth_date::text, ''), r.email, r.phone, r.street, r.postcode, r.city, r.card,
                   coalesce((SELECT min(i.key) FROM {identifiers} i
                             WHERE i.record_id = r.id AND i.kind = 'customer'), '')
            FROM {records} r WHERE {where} ORDER BY r.id
            """,
            parameters,
        )
        while rows := cursor.fetchmany(READ_AT_ONCE):
            of_ids, of_profiles, of_sources, of_externals, *values = zip(*rows, strict=True)
            ids += of_ids
            profiles += of_profiles
            streams += zip(of_sources, of_externals, strict=True)
            for column, clean, told in zip(columns, cleaners, values, strict=True):
                column.extend(map(clean.__getitem__, told))
    return Records(ids, profiles, streams, Table.of(dict(zip(COLUMNS, columns, strict=True))))


class _Unblocked(dict):
    """value -> itself, one object for all that are equal; empty for one that is nobody's."""

    def __init__(self, kind: str):
        super().__init__()
        blocked = blocklist.current() if kind else None
        self._is_blocked: Callable[[str], bool] = (
            (lambda value: blocked.blocks(kind, blocklist.key_of(kind, value)))
            if blocked
            else lambda _value: False
        )

    def __missing__(self, value: str) -> str:
        kept = self[value] = "" if self._is_blocked(value) else value
        return kept


# --- Indexed, and found -----------------------------------------------------------------------------------------


@transaction.atomic(savepoint=False)
def index(ids: Collection[int], rules: Collection[str] | None) -> None:
    """Write the blocking keys under these rules, None for all, of those of the records that have none yet."""
    records, keys = (connection.ops.quote_name(model._meta.db_table) for model in (SourceRecord, BlockingKey))
    with prepared() as cursor:
        cursor.execute(
            f"SELECT r.id FROM {records} r WHERE r.id = ANY(%s)"
            f" AND NOT EXISTS (SELECT FROM {keys} k WHERE k.record_id = r.id) ORDER BY r.id FOR UPDATE OF r",
            [list(ids)],
        )
        held = [pk for (pk,) in cursor.fetchall()]
    if held:
        # In the order of the index: pages are filled one after the other.
        rows = sorted(rows_of(read("r.id = ANY(%s)", [held]), rules))
        write(BlockingKey, ["key", "record_id"], rows)


def rows_of(records: Records, rules: Collection[str] | None) -> Iterable[tuple[int, int]]:
    """(key, record) of each record under each rule."""
    for record_id, keys in zip(records.ids, keys_of(records.table, rules), strict=True):
        for number in sorted({key.number for key in keys}):
            yield number, record_id


def bare(ids: Sequence[int]) -> list[int]:
    """Those of the records that have no key yet."""
    return sorted(set(ids) - set(BlockingKey.objects.order_by().values_list("record", flat=True).distinct()))


def clear() -> None:
    """Take all records out of the index: they will be indexed under other rules."""
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {connection.ops.quote_name(BlockingKey._meta.db_table)}")


def near(ids: Sequence[int]) -> list[tuple[int, int]]:
    """(record, neighbour) for each of the records and those that share one of its keys."""
    table = connection.ops.quote_name(BlockingKey._meta.db_table)
    with prepared() as cursor:
        cursor.execute(
            f"""
            SELECT mine.record_id, found.ids FROM {table} mine CROSS JOIN LATERAL (
                SELECT array_agg(record_id) AS ids FROM (
                    SELECT record_id FROM {table} other WHERE other.key = mine.key LIMIT %s) holders
            ) found WHERE mine.record_id = ANY(%s)
            """,
            [LARGEST_BLOCK + 1, list(ids)],
        )
        blocks = cursor.fetchall()
    neighbours: dict[int, set[int]] = {}
    for record_id, found in sorted(blocks, key=lambda block: len(block[1])):
        mine = neighbours.setdefault(record_id, set())
        if len(found) <= LARGEST_BLOCK and len(mine) < ENOUGH_NEIGHBOURS:
            mine.update(found)
    return [
        (record_id, other) for record_id, found in neighbours.items() for other in found if other != record_id
    ]


def pairs(found: Iterable[tuple[int, int]], records: Records) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of record ids as pairs of places, each once and the smaller first; those within a profile are left out."""
    places = records.places
    packed = {
        (min(a, b), max(a, b))
        for a, b in (
            (places[one], places[other]) for one, other in found if one in places and other in places
        )
        if records.profiles[a] != records.profiles[b]
    }
    both = np.asarray(sorted(packed), dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]
