"""Unify a CSV file: records in, profiles out, without any database.

The first line names the columns: ``record_id`` and any of those of `fields.KINDS`, others are compared as texts. Every
trouble with the file is told with its line, as a :class:`BadFile`, before anything is written.
"""

import csv
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from profiles.matching.fields import IGNORED
from profiles.matching.reasons import evidence, sentence
from profiles.matching.rules import RULES
from profiles.matching.scoring import score
from profiles.matching.table import Raw, Table
from profiles.matching.unifying import Resolution, Stopwatch, unify

_READ_AT_ONCE, _EXPLAINED_AT_ONCE = 1 << 15, 1 << 12


class BadFile(ValueError):
    """The file cannot be read as records: which line, and what is wrong with it."""


@dataclass
class Unified:
    """What came of a file."""

    record_ids: Sequence[str]
    table: Table
    resolution: Resolution
    seconds: dict[str, float]

    @property
    def profiles(self) -> int:
        """How many profiles there are."""
        return len(np.unique(self.resolution.labels))


def read_records(path: Path) -> tuple[list[str], dict[str, Raw]]:
    """Record ids, and the other columns by name."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            try:
                return _read(reader)
            except csv.Error as trouble:
                raise BadFile(f"line {reader.line_num}: not valid CSV ({trouble})") from None
    except OSError as trouble:
        raise BadFile(f"{path}: {trouble.strerror}") from None
    except UnicodeDecodeError as trouble:
        raise BadFile(f"{path}: not UTF-8 (byte {trouble.start})") from None


def _read(reader: Iterator[list[str]]) -> tuple[list[str], dict[str, Raw]]:
    head = [name.strip() for name in next(reader, [])]
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
        raise BadFile("line 1: there is no column called record_id")
    if len(set(head)) < len(head):
        twice = sorted({name for name in head if head.count(name) > 1})
        raise BadFile(f"line 1: two columns are called {', '.join(map(repr, twice))}")
    if IGNORED.issuperset(head):
        raise BadFile("line 1: no column that can be compared beside record_id")


def _check_widths(rows: list[list[str]], width: int, before: int) -> None:
    if set(map(len, rows)) - {width}:
        number, row = next((number, row) for number, row in enumerate(rows, before + 1) if len(row) != width)
        raise BadFile(f"record {number}: {len(row)} values where the first line names {width} columns")


def _check_ids(ids: list[str]) -> None:
    if len(set(ids)) == len(ids) and all(ids):
        return
    seen: dict[str, int] = {}
    for number, record_id in enumerate(ids, 1):
        if not record_id:
            raise BadFile(f"record {number}: record_id is empty")
        if record_id in seen:
            raise BadFile(f"record {number}: record_id {record_id!r} was given to record {seen[record_id]}")
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
        ids, columns = read_records(path)
    with watch("normalise"):
        table = Table.of(columns)
        del columns
        if ids and not table.columns:
            raise BadFile("no column holds anything that can be compared")
    resolution = unify(table, watch=watch)
    return Unified(ids, table, resolution, watch.seconds)


def write_profiles(unified: Unified, path: Path, *, automatic: bool = False) -> None:
    """``record_id,profile_id``: a profile is called after its first record. ``automatic``: of the automatic tier."""
    ids = unified.record_ids
    labels = unified.resolution.automatic if automatic else unified.resolution.labels
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["record_id", "profile_id"])
        out.writerows(zip(ids, map(ids.__getitem__, labels.tolist()), strict=True))


def write_review(unified: Unified, path: Path, language: str = "fr") -> None:
    """``record_id,record_id,probability,sentence``: what waits for somebody, likeliest first."""
    ids = unified.record_ids
    with path.open("w", newline="", encoding="utf-8") as file:
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
