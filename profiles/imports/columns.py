"""The rows of a file as a block of statements: our fields, the consents, the moment and the store. Pure."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from profiles.imports.mapping import CONSENTS, COUNTRIES, IGNORE, OF_ERROR_FILE
from profiles.imports.reading import Refused, Row
from profiles.imports.values import (
    NotUnderstood,
    day_of_serial,
    exact,
    first_and_last_name,
    moment,
    plain,
    postcode_in,
    unwrapped,
    word_of,
    yes_or_no,
)
from profiles.intake.cleaning import FIELDS, Block, ConsentStatement, Memo, encode

# By these somebody is found again: a rounded one would be somebody else's.
EXACT = ("external_id", "customer_id", "card", "phone")
WRAPPED = ("=", "'", "#")

# column -> word -> what it says, for words that are neither yes nor no by themselves (`values.unknown_answers`).
Answers = Mapping[str, Mapping[str, bool | None]]


@dataclass(frozen=True)
class Proof:
    """What was shown to everybody in the file when they agreed, and the day, where the rows do not say it."""

    wording: str = ""
    on: date | None = None


class Columns:
    """How the rows of one file are read: field -> column, and the zone of moments written without one.

    `answers` say what odd words mean, `proof` stands for rows without a wording or a date of their own. Without a
    column for it, and with `ids_of_content`, the id at the source is made of all that the row says.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        zone: ZoneInfo,
        answers: Answers | None = None,
        country: str = "",
        proof: Proof = Proof(),
        *,
        ids_of_content: bool = False,
    ):
        self.columns, self._country, self._zone, self._proof = columns, country, zone, proof
        self._ids_of_content = ids_of_content and "external_id" not in columns
        self._reading = encode([sorted(columns.items()), {}])
        self._in_json = _writer_of_rows(())
        self._header: tuple[str, ...] = ()
        self._moments = Memo(lambda text: _understood(moment, text, zone) if text else None)
        # field -> word -> what a person said that it means
        self._said = {
            field: {word_of(word): answer for word, answer in (answers or {}).get(column, {}).items()}
            for field, column in columns.items()
            if field in CONSENTS
        }
        self._answers = {field: Memo(_reader_of_answers(said)) for field, said in self._said.items()}

    @classmethod
    def of(
        cls,
        mapping: Mapping[str, str],
        zone: ZoneInfo,
        answers: Answers | None = None,
        proof: Proof = Proof(),
        *,
        ids_of_content: bool = False,
    ) -> "Columns":
        columns = {field: column for column, field in mapping.items() if field != IGNORE}
        country = next((c for c in mapping if plain(c) in COUNTRIES), "")
        return cls(columns, zone, answers, country, proof, ids_of_content=ids_of_content)

    @classmethod
    def of_import(cls, import_run, zone: ZoneInfo) -> "Columns":
        """As the import says that its file is read."""
        return cls.of(
            import_run.mapping, zone, import_run.answers, Proof(import_run.proof_wording, import_run.proof_on),
            ids_of_content=import_run.ids_of_content,
        )  # fmt: skip

    def block(self, rows: Sequence[Row | Refused]) -> Block:
        """The rows, one statement each; `Block.refused` names the file's own column where one cannot be used."""
        faults = {
            position: (row.column, row.reason)
            for position, row in enumerate(rows)
            if isinstance(row, Refused)
        }
        sheet = _sheet(rows)
        told = {field: self._cells(sheet, column, faults) for field, column in self.columns.items()}
        for field in EXACT:
            self._refuse_rounded(told.get(field, ()), field, faults)
        nothing = [""] * len(rows)
        fields = {field: told[field] for field in FIELDS if field in told}
        if "full_name" in told:
            halves = [first_and_last_name(name) if name else ("", "") for name in told["full_name"]]
            for place, field in enumerate(("first_name", "last_name")):
                own = fields.get(field, nothing)
                fields[field] = [mine or half[place] for mine, half in zip(own, halves, strict=True)]
        if "birth_date" in fields:
            fields["birth_date"] = [day_of_serial(t) if len(t) == 5 else t for t in fields["birth_date"]]
        if self._country and "postcode" in fields:
            countries = self._cells(sheet, self._country, {})
            fields["postcode"] = [
                postcode_in(text, country) if len(text) == 4 else text
                for text, country in zip(fields["postcode"], countries, strict=True)
            ]
        stated_at = self._read(self._moments, told, "stated_at", len(rows), faults)
        reading = [self._reading] * len(rows)
        self._note_odd_words(told, reading)
        consents = self._consents(told, stated_at, reading, faults)
        external_ids = told.get("external_id", nothing)
        if self._ids_of_content:
            external_ids = [_id_of(row) if isinstance(row, Row) else "" for row in rows]
        return Block(
            lines=[row.line for row in rows],
            external_ids=external_ids,
            fields=fields,
            raw=self._raw(rows),
            stated_at=stated_at,
            store_codes=told.get("store_code", nothing),
            consents=consents,
            reading=reading,
            refused=faults,
        )

    def _raw(self, rows: Sequence[Row | Refused]) -> list[bytes]:
        header = next((row.header for row in rows if isinstance(row, Row)), ())
        if header != self._header:
            self._header, self._in_json = header, _writer_of_rows(header)
        write = self._in_json
        return [write(row.values) if isinstance(row, Row) else encode(row.cells) for row in rows]

    def _cells(
        self, sheet: Mapping[str, Sequence[str]], column: str, faults: dict[int, tuple[str, str]]
    ) -> list[str]:
        """The column, without what spreadsheets wrap around a text to keep it one."""
        cells = list(map(str.strip, sheet[column]))
        together = "\n" + "\n".join(cells)
        if not any("\n" + sign in together for sign in WRAPPED):
            return cells
        for position in [p for p, text in enumerate(cells) if text.startswith(WRAPPED)]:
            try:
                cells[position] = unwrapped(cells[position])
            except NotUnderstood as fault:
                faults.setdefault(position, (column, str(fault)))
                cells[position] = ""
        return cells

    def _refuse_rounded(self, cells: Sequence[str], field: str, faults: dict[int, tuple[str, str]]) -> None:
        together = "\n".join(cells)
        if "E+" not in together and "e+" not in together:
            return
        for position in [p for p, text in enumerate(cells) if "E+" in text or "e+" in text]:
            try:
                exact(cells[position])
            except NotUnderstood as fault:
                faults.setdefault(position, (self.columns[field], str(fault)))

    def _read(self, memo: Memo, told: Mapping[str, list[str]], field: str, number: int, faults) -> list[Any]:
        """The column understood; None where it says nothing, or what nobody understands, which is a fault."""
        if field not in told:
            return [None] * number
        read = [memo[text] for text in told[field]]
        for position in [p for p, value in enumerate(read) if isinstance(value, NotUnderstood)]:
            faults.setdefault(position, (self.columns[field], str(read[position])))
            read[position] = None
        return read

    def _note_odd_words(self, told: Mapping[str, list[str]], reading: list[bytes]) -> None:
        """The same row is another statement where its odd word is said to mean something else; other rows stay what
        they were, whatever is answered."""
        for field, said in self._said.items():
            if said:
                for position, text in enumerate(told[field]):
                    if (word := word_of(text)) in said:
                        reading[position] += encode([field, said[word]])

    def _consents(
        self,
        told: Mapping[str, list[str]],
        stated_at: Sequence[datetime | None],
        reading: list[bytes],
        faults,
    ) -> list[Sequence[ConsentStatement]]:
        given = {
            channel: self._read(self._answers[field], told, field, len(stated_at), faults)
            for field, channel in CONSENTS.items()
            if field in told
        }
        if not given:
            return [()] * len(stated_at)
        doubtful: dict[int, tuple[str, str]] = {}
        moments = self._read(self._moments, told, "consent_at", len(stated_at), doubtful)
        wordings = told.get("consent_wording", [""] * len(stated_at))
        if self._proof.on or self._proof.wording:
            moments, wordings = self._proven(given, moments, wordings, stated_at, reading)
        consents: list[Sequence[ConsentStatement]] = [
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

    def _proven(
        self,
        given: Mapping[str, list],
        moments: list,
        wordings: list[str],
        stated_at: Sequence,
        reading: list[bytes],
    ) -> tuple[list, list[str]]:
        """Dates and wordings, with those of the whole file where a row that agrees has none of its own."""
        day = datetime.combine(self._proof.on, time(12), self._zone) if self._proof.on else None
        moments, wordings = list(moments), list(wordings)
        for position, answers in enumerate(zip(*given.values(), strict=True)):
            if True not in answers:
                continue
            given_here: list = [None, ""]
            if not moments[position] and day:
                moments[position] = given_here[0] = day
            if not wordings[position] and (moments[position] or stated_at[position]):
                wordings[position] = given_here[1] = self._proof.wording
            if any(given_here):
                reading[position] += encode(given_here)
        return moments, wordings


def _id_of(row: Row) -> str:
    """An id that is the same for the same content; what an error file adds is none of it."""
    told = {column: text for column, text in row.cells.items() if text and column not in OF_ERROR_FILE}
    return "row-" + hashlib.sha256(encode(told)).hexdigest()[:32]


def _sheet(rows: Sequence[Row | Refused]) -> dict[str, Sequence[str]]:
    """Column -> its cells, empty in the rows that are refused; all rows have one header."""
    header = next((row.header for row in rows if isinstance(row, Row)), None)
    if header is None:
        return defaultdict(lambda: [""] * len(rows))
    empty = [""] * len(header)
    cells = zip(*[row.values if isinstance(row, Row) else empty for row in rows], strict=True)
    return dict(zip(header, cells, strict=True))


def _writer_of_rows(header: tuple[str, ...]) -> Callable[[list[str]], bytes]:
    """What writes the cells of a row as JSON, column -> text: as a struct of these columns where their names allow it,
    which takes half the time of a dict."""
    names = {f"c{place}": column for place, column in enumerate(header)}
    try:
        row = msgspec.defstruct("Row", [(name, str) for name in names], rename=names)
    except ValueError:  # a quotation mark in a name
        return lambda values: encode(dict(zip(header, values, strict=True)))
    return lambda values: encode(row(*values))


def _reader_of_answers(said: Mapping[str, bool | None]):
    return lambda text: said[word] if (word := word_of(text)) in said else _understood(yes_or_no, text)


def _understood(read, *words):
    """What the cell says, or the exception that says why nobody can tell: a fault of the row, not of the file."""
    try:
        return read(*words)
    except NotUnderstood as fault:
        return fault
