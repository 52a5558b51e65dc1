"""Unify a CSV file: records in, profiles out, without any database.

The first line names the columns: ``record_id`` and any of those of `fields.KINDS`, others are compared as texts. Every
trouble with the file is told with its line, as a :class:`BadFile`, before anything is written.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profiles.matching.fields import IGNORED
from profiles.matching.reasons import evidence, sentence
from profiles.matching.rules import RULES
from profiles.matching.scoring import score
from profiles.matching.table import Table
from profiles.matching.unifying import Resolution, Stopwatch, unify

_EXPLAINED_AT_ONCE = 4096


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


def read_records(path: Path) -> tuple[list[str], dict[str, Sequence[str]]]:
    """Record ids, and the other columns by name."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            try:
                head = [name.strip() for name in next(reader, [])]
                rows = list(reader)
            except csv.Error as trouble:
                raise BadFile(f"line {reader.line_num}: not valid CSV ({trouble})") from None
    except OSError as trouble:
        raise BadFile(f"{path}: {trouble.strerror}") from None
    except UnicodeDecodeError as trouble:
        raise BadFile(f"{path}: not UTF-8 (byte {trouble.start})") from None
    _check(head, rows)
    columns = dict(zip(head, zip(*rows, strict=True), strict=True)) if rows else {}
    ids = list(columns.pop("record_id", ()))
    return ids, dict(columns)


def _check(head: list[str], rows: list[list[str]]) -> None:
    if "record_id" not in head:
        raise BadFile("line 1: there is no column called record_id")
    if len(set(head)) < len(head):
        twice = sorted({name for name in head if head.count(name) > 1})
        raise BadFile(f"line 1: two columns are called {', '.join(map(repr, twice))}")
    if not any(name not in IGNORED for name in head):
        raise BadFile("line 1: no column that can be compared beside record_id")
    width, place = len(head), head.index("record_id")
    rows[:] = [row for row in rows if row]  # an empty line is no record
    if set(map(len, rows)) - {width}:
        line, row = next((line, row) for line, row in enumerate(rows, 2) if len(row) != width)
        raise BadFile(f"record {line - 1}: {len(row)} values where the first line names {width} columns")
    seen: dict[str, int] = {}
    if len({row[place] for row in rows}) < len(rows) or any(not row[place] for row in rows):
        for number, row in enumerate(rows, 1):
            if not row[place]:
                raise BadFile(f"record {number}: record_id is empty")
            if row[place] in seen:
                raise BadFile(
                    f"record {number}: record_id {row[place]!r} was given to record {seen[row[place]]}"
                )
            seen[row[place]] = number


def unify_file(path: Path) -> Unified:
    """Read, normalise and resolve a file of records."""
    watch = Stopwatch()
    with watch("read"):
        ids, columns = read_records(path)
    with watch("normalise"):
        table = Table.of(columns)
        del columns
        if ids and not table.columns:
            raise BadFile("no column holds anything that can be compared")
        table.size = len(ids)
    resolution = unify(table, watch=watch)
    return Unified(ids, table, resolution, watch.seconds)


def write_profiles(unified: Unified, path: Path) -> None:
    """``record_id,profile_id``: a profile is called after its first record."""
    ids = unified.record_ids
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["record_id", "profile_id"])
        out.writerows(zip(ids, map(ids.__getitem__, unified.resolution.labels.tolist()), strict=True))


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
            lines = evidence(table, i, j, model, scores, number)
            rule = RULES[pairs.ruling.rule[place]]
            yield i, j, float(pairs.q[place]), sentence(lines, language, rule)
