"""The rows of a file, one after the other, each with its line: what can be read and what has to be refused.

Memory stays bounded whatever the file holds: a line without end, or a quotation mark that is never closed, costs one
refused row, and reading goes on behind it.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TextIO

from django.utils.translation import gettext as _

from profiles.imports.detect import Dialect, open_sheet, sheet_rows

MAX_LINE_CHARS = 100_000
# A row may span lines where a quoted cell does; one that spans more has lost a quotation mark.
MAX_ROW_LINES = 50

_BROKEN = re.compile("[\x00\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Row:
    """A row that could be read: column -> text. `line` is where it begins; the first line of a file is 1."""

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is not taken in. `column` is the file's own name for it, empty where the whole row is at fault."""

    line: int
    reason: str
    column: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)


def rows(path: Path, dialect: Dialect) -> Iterator[Row | Refused]:
    """Every row below the header that is not blank, in the order of the file."""
    told = _sheet(path) if dialect.is_spreadsheet else _text(path, dialect)
    for line, cells in told:
        if line <= dialect.header_line:
            continue
        if isinstance(cells, Refused):
            yield cells
        elif any(cell.strip() for cell in cells):
            yield _row(line, cells, dialect.header)


def _row(line: int, cells: list[str], header: tuple[str, ...]) -> Row | Refused:
    while len(cells) > len(header) and not cells[-1].strip():
        cells = cells[:-1]  # a delimiter at the end of the line
    named = dict(zip(header, cells, strict=False))
    broken = next((column for column, text in named.items() if _BROKEN.search(text)), None)
    if broken is not None:
        return Refused(line, _("holds a character that cannot be read"), broken, _printable(named))
    if len(cells) != len(header):
        told = {"found": len(cells), "due": len(header)}
        return Refused(line, _("has %(found)s columns instead of %(due)s") % told, cells=_printable(named))
    return Row(line, named)


def _printable(cells: Mapping[str, str]) -> dict[str, str]:
    return {column: _BROKEN.sub("\ufffd", text) for column, text in cells.items()}


def _sheet(path: Path) -> Iterator[tuple[int, list[str]]]:
    yield from sheet_rows(open_sheet(path))


def _text(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str] | Refused]]:
    errors = "replace" if dialect.charset.startswith("utf-16") else "surrogateescape"
    with Path(path).open(encoding=dialect.charset, errors=errors, newline="") as stream:
        lines = _Lines(stream)
        reader = csv.reader(lines, delimiter=dialect.delimiter)
        while True:
            lines.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except _TooLong as long:
                yield long.line, Refused(long.line, str(long))
                reader = csv.reader(lines, delimiter=dialect.delimiter)
                continue
            except csv.Error as error:
                yield lines.row_line, Refused(lines.row_line, _("cannot be read: %s") % error)
                reader = csv.reader(lines, delimiter=dialect.delimiter)
                continue
            yield lines.row_line, cells


class _TooLong(Exception):
    def __init__(self, line: int, reason: str):
        super().__init__(reason)
        self.line = line


class _Lines:
    """The lines of a stream for a csv reader; raises `_TooLong` inside it, and then gives the lines after the first
    one of the row a second time."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._again: deque[str | None] = deque()
        self._of_row: list[str | None] = []
        self._number = 0
        self.row_line = 1

    def begin_row(self) -> None:
        self._of_row.clear()
        self.row_line = self._number + 1

    def __iter__(self):
        return self

    def __next__(self) -> str:
        if len(self._of_row) >= MAX_ROW_LINES:
            self._give_up(_("a quotation mark opens and does not close"))
        line = self._again.popleft() if self._again else self._read()
        if line == "":
            if self._of_row:
                self._give_up(_("a quotation mark opens and does not close"))
            raise StopIteration
        self._number += 1
        self._of_row.append(line)
        if line is None:
            self._give_up(_("is longer than %s characters") % MAX_LINE_CHARS)
        return line

    def _give_up(self, reason: str) -> NoReturn:
        """Refuse the first line of the row alone: what follows it may be sound."""
        self._again.extendleft(reversed(self._of_row[1:]))
        self._number = self.row_line
        raise _TooLong(self.row_line, reason)

    def _read(self) -> str | None:
        """The next line, "" at the end, None for one too long to be held."""
        line = self._stream.readline(MAX_LINE_CHARS)
        if len(line) < MAX_LINE_CHARS or line.endswith(("\n", "\r")):
            return line
        while (rest := self._stream.readline(MAX_LINE_CHARS)) and not rest.endswith(("\n", "\r")):
            pass
        return None
