"""The rows of a file as a block of statements: our fields, the consents, the moment and the store. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from profiles.imports.mapping import CONSENTS, IGNORE
from profiles.imports.reading import Refused, Row
from profiles.imports.values import NotUnderstood, first_and_last_name, moment, yes_or_no
from profiles.intake.cleaning import FIELDS, Block, ConsentStatement, Memo, encode


class Columns:
    """How the rows of one file are read: field -> column, and the zone of moments written without one."""

    def __init__(self, columns: Mapping[str, str], zone: ZoneInfo):
        self.columns = columns
        self._reading = encode(sorted(columns.items()))
        self._moments = Memo(lambda text: _understood(moment, text, zone))
        self._answers = Memo(lambda text: _understood(yes_or_no, text))

    @classmethod
    def of(cls, mapping: Mapping[str, str], zone: ZoneInfo) -> "Columns":
        return cls({field: column for column, field in mapping.items() if field != IGNORE}, zone)

    def block(self, rows: Sequence[Row | Refused]) -> Block:
        """The rows, one statement each; `Block.refused` names the file's own column where one cannot be used."""
        told = {
            field: [row.cells.get(column, "").strip() for row in rows]
            for field, column in self.columns.items()
        }
        nothing = [""] * len(rows)
        fields = {field: told[field] for field in FIELDS if field in told}
        if "full_name" in told:
            halves = [first_and_last_name(name) if name else ("", "") for name in told["full_name"]]
            for place, field in enumerate(("first_name", "last_name")):
                own = fields.get(field, nothing)
                fields[field] = [mine or half[place] for mine, half in zip(own, halves, strict=True)]
        faults: dict[int, tuple[str, str]] = {}
        stated_at = self._read(self._moments, told, "stated_at", len(rows), faults)
        consents = self._consents(told, stated_at, faults)
        for position, row in enumerate(rows):
            if isinstance(row, Refused):
                faults[position] = row.column, row.reason
        return Block(
            lines=[row.line for row in rows],
            external_ids=told.get("external_id", nothing),
            fields=fields,
            raw=[encode(row.cells) for row in rows],
            stated_at=stated_at,
            store_codes=told.get("store_code", nothing),
            consents=consents,
            reading=[self._reading] * len(rows),
            refused=faults,
        )

    def _read(self, memo: Memo, told: Mapping[str, list[str]], field: str, number: int, faults) -> list[Any]:
        """The column understood; None where it says nothing, or what nobody understands, which is a fault."""
        if field not in told:
            return [None] * number
        read = [memo[text] for text in told[field]]
        for position in [p for p, value in enumerate(read) if isinstance(value, NotUnderstood)]:
            faults.setdefault(position, (self.columns[field], str(read[position])))
            read[position] = None
        return read

    def _consents(
        self, told: Mapping[str, list[str]], stated_at: Sequence[datetime | None], faults
    ) -> list[Sequence[ConsentStatement]]:
        given = {
            channel: self._read(self._answers, told, field, len(stated_at), faults)
            for field, channel in CONSENTS.items()
            if field in told
        }
        if not given:
            return [()] * len(stated_at)
        doubtful: dict[int, tuple[str, str]] = {}
        moments = self._read(self._moments, told, "consent_at", len(stated_at), doubtful)
        wordings = told.get("consent_wording", [""] * len(stated_at))
        consents = [
            [
                ConsentStatement(channel, answer, at or stated, wording)
                for channel, answer in zip(given, answers, strict=True)
                if answer is not None
            ]
            for answers, at, stated, wording in zip(
                zip(*given.values(), strict=True), moments, stated_at, wordings, strict=True
            )
        ]
        for position, fault in doubtful.items():
            if consents[position]:  # a date of nothing does no harm
                faults.setdefault(position, fault)
        return consents


def _understood(read, *words):
    """What the cell says, or the exception that says why nobody can tell: it is raised for the row, not for the file."""
    try:
        return read(*words)
    except NotUnderstood as fault:
        return fault
