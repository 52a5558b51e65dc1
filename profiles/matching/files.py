"""Unify a CSV file: records in, profiles out, without any database.

The first line names the columns: ``record_id`` and any of those of `fields.KINDS`, others are compared as texts.
Commas, semicolons, tabs or bars part them, and the file is UTF-8, UTF-16 or, as French spreadsheets save it, cp1252:
both are found and reported. Every trouble with the file is told with its line, as a :class:`BadFile`, before anything
is written.
"""

import csv
import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from profiles.matching.fields import IGNORED, KINDS
from profiles.matching.reasons import evidence, sentence
from profiles.matching.rules import RULES
from profiles.matching.scoring import score
from profiles.matching.table import Raw, Table
from profiles.matching.unifying import Resolution, Stopwatch, unify

_READ_AT_ONCE, _EXPLAINED_AT_ONCE = 1 << 15, 1 << 12
_DELIMITERS = ",;\t|"
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_NAMES_TOLD = 12
_PACKED = b"PK\x03\x04"


class BadFile(ValueError):
    """The file cannot be read as records: which line, and what is wrong with it."""


class _BadRecord(BadFile):
    """The same of one record, by its number; whoever has the file at hand says on which line it stands."""

    def __init__(self, number: int, trouble: str) -> None:
        super().__init__(f"record {number}: {trouble}")
        self.number = number


class Written(NamedTuple):
    """How a file is written."""

    encoding: str
    delimiter: str

    def __str__(self) -> str:
        return f"{self.encoding.removesuffix('-sig')}, columns parted by {self.delimiter!r}"


@dataclass
class Unified:
    """What came of a file."""

    record_ids: Sequence[str]
    table: Table
    resolution: Resolution
    seconds: dict[str, float]
    written: Written

    @property
    def profiles(self) -> int:
        """How many profiles there are."""
        return len(np.unique(self.resolution.labels))

    @property
    def texts(self) -> list[str]:
        """The columns that nobody has heard of, which were compared as texts."""
        return [name for name in self.table.columns if name not in KINDS]


def read_records(path: Path) -> tuple[list[str], dict[str, Raw], Written]:
    """Record ids, the other columns by name, and how the file is written."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as trouble:
        raise BadFile(f"{path}: {trouble.strerror}") from None
    if start == _PACKED:
        raise BadFile(f"{path}: a spreadsheet or an archive: save it as CSV first")
    for encoding in (_MARKS.get(start[:2], "utf-8-sig"), "cp1252"):
        try:
            return _read_as(path, encoding)
        except UnicodeError:
            continue
    raise BadFile(f"{path}: neither UTF-8 nor cp1252")


def _read_as(path: Path, encoding: str) -> tuple[list[str], dict[str, Raw], Written]:
    with path.open(newline="", encoding=encoding) as file:
        written = Written(encoding, _delimiter_of(file.readline()))
        file.seek(0)
        reader = csv.reader(file, strict=True, delimiter=written.delimiter)
        try:
            return *_read(reader), written
        except csv.Error as trouble:
            raise BadFile(f"line {reader.line_num}: not valid CSV ({trouble})") from None
        except _BadRecord as trouble:
            raise BadFile(f"line {_line_of(path, written, trouble.number)}, {trouble}") from None


def _delimiter_of(head: str) -> str:
    """The one that the line of names has most of, outside quotation marks."""
    bare = "".join(head.split('"')[::2])
    return max(_DELIMITERS, key=bare.count)


def _line_of(path: Path, written: Written, number: int) -> int:
    """On which line this record ends."""
    with path.open(newline="", encoding=written.encoding) as file:
        reader = csv.reader(file, delimiter=written.delimiter)
        next(reader)
        for _row in islice(filter(None, reader), number):
            pass
        return reader.line_num


def _read(reader: Iterator[list[str]]) -> tuple[list[str], dict[str, Raw]]:
    head = [name.strip().lower() for name in next(reader, [])]
    _check_head(head)
    ids: list[str] = []
    columns = {name: Raw() for name in head if name not in IGNORED}
    while rows := list(islice(reader, _READ_AT_ONCE)):
        rows = [row for row in rows if row]  # an empty line is no record
        _check_widths(rows, len(head), len(ids))
        for name, values in zip(head, zip(*rows, strict=True), strict=False):
            if name == "record_id":
                ids += values
            elif name in columns:
                columns[name].extend(values)
    _check_ids(ids)
    return ids, columns


def _check_head(head: list[str]) -> None:
    if "record_id" not in head:
        there = ", ".join(map(repr, head[:_NAMES_TOLD])) + (", …" if len(head) > _NAMES_TOLD else "")
        raise BadFile(f"line 1: there is no column called record_id, but {there or 'nothing at all'}")
    if len(set(head)) < len(head):
        twice = sorted({name for name in head if head.count(name) > 1})
        raise BadFile(f"line 1: two columns are called {', '.join(map(repr, twice))}")
    if IGNORED.issuperset(head):
        raise BadFile("line 1: no column that can be compared beside record_id")


def _check_widths(rows: list[list[str]], width: int, before: int) -> None:
    if set(map(len, rows)) - {width}:
        number, row = next((number, row) for number, row in enumerate(rows, before + 1) if len(row) != width)
        raise _BadRecord(number, f"{len(row)} values where the first line names {width} columns")


def _check_ids(ids: list[str]) -> None:
    different = set(ids)
    if len(different) == len(ids) and not different & {"", "record_id"}:
        return
    seen: dict[str, int] = {}
    for number, record_id in enumerate(ids, 1):
        if not record_id:
            raise _BadRecord(number, "record_id is empty")
        if record_id == "record_id":
            raise _BadRecord(number, "the names of the columns come again")
        if record_id in seen:
            raise _BadRecord(number, f"record_id {record_id!r} was given to record {seen[record_id]}")
        seen[record_id] = number


def unify_file(path: Path) -> Unified:
    """Read, normalise and resolve a file of records."""
    gc.disable()  # millions of strings, and not one cycle among them
    try:
        return _unify_file(path)
    finally:
        gc.enable()


def _unify_file(path: Path) -> Unified:
    watch = Stopwatch()
    with watch("read"):
        ids, columns, written = read_records(path)
    with watch("normalise"):
        table = Table.of(columns)
        del columns
        if ids and not table.columns:
            raise BadFile("no column holds anything that can be compared")
    resolution = unify(table, watch=watch)
    return Unified(ids, table, resolution, watch.seconds, written)


@contextmanager
def fresh_files(records: Path, *paths: Path) -> Iterator[list[TextIO]]:
    """Files to write what came of ``records`` into: they take their places together when the block ends well, and
    none of them does where it fails. BadFile, at once, where one cannot be written or would overwrite another."""
    seen = {records.resolve()}
    for path in paths:
        if path.resolve() in seen:
            raise BadFile(
                f"{path}: would overwrite {'the records' if path.resolve() == records.resolve() else 'itself'}"
            )
        seen.add(path.resolve())
        _check_writable(path)
    parts = [path.with_name(f"{path.name}.part") if _is_file_to_be(path) else path for path in paths]
    try:
        with ExitStack() as stack:
            yield [stack.enter_context(part.open("w", newline="", encoding="utf-8")) for part in parts]
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    finally:
        for part, path in zip(parts, paths, strict=True):
            if part != path:
                part.unlink(missing_ok=True)


def _is_file_to_be(path: Path) -> bool:
    """A terminal or a pipe is written as it is."""
    return path.is_file() or not path.exists()


def _check_writable(path: Path) -> None:
    if path.is_dir():
        raise BadFile(f"{path}: a folder, not a file")
    if not path.parent.is_dir():
        raise BadFile(f"{path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise BadFile(f"{path}: cannot be written")


def write_profiles(unified: Unified, file: TextIO, *, automatic: bool = False) -> None:
    """``record_id,profile_id``: a profile is called after its first record. ``automatic``: of the automatic tier."""
    ids = unified.record_ids
    labels = unified.resolution.automatic if automatic else unified.resolution.labels
    out = csv.writer(file)
    out.writerow(["record_id", "profile_id"])
    out.writerows(zip(ids, map(ids.__getitem__, labels.tolist()), strict=True))


def write_review(unified: Unified, file: TextIO, language: str = "fr") -> None:
    """``record_id,record_id,probability,sentence``: what waits for somebody, likeliest first."""
    ids = unified.record_ids
    out = csv.writer(file)
    out.writerow(["record_id", "record_id", "probability", "sentence"])
    for left, right, chance, said in _explained(unified, language):
        out.writerow([ids[left], ids[right], f"{chance:.4f}", said])


def _explained(unified: Unified, language: str) -> Iterator[tuple[int, int, float, str]]:
    pairs, table, model = unified.resolution.pairs, unified.table, unified.resolution.model
    for start in range(0, len(unified.resolution.review), _EXPLAINED_AT_ONCE):
        places = np.asarray(unified.resolution.review[start : start + _EXPLAINED_AT_ONCE])
        left, right = pairs.left[places], pairs.right[places]
        scores = score(table, left, right, model)
        for number, place in enumerate(places.tolist()):
            i, j = int(left[number]), int(right[number])
            lines = evidence(table, (i, j), model, scores, number)
            rule = RULES[pairs.ruling.rule[place]]
            yield i, j, float(pairs.q[place]), sentence(lines, language, rule)
