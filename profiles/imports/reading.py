"""The rows of a file, one after the other, each with its line: what can be read and what has to be refused.

Memory stays bounded whatever the file holds: a line without end, or a quotation mark that is never closed, costs one
refused row, and reading goes on behind it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django.utils.translation import gettext as _

from profiles.imports import lines
from profiles.imports.containers import Unreadable, content_of, text_of
from profiles.imports.detect import DELIMITERS, Dialect, column_names, looks_like_data
from profiles.imports.lines import MAX_LINE_CHARS, MAX_ROW_LINES
from profiles.imports.values import plain
from profiles.imports.workbooks import workbook

__all__ = ["MAX_LINE_CHARS", "MAX_ROW_LINES", "WHOLE_LINE", "Refused", "Row", "rows"]

# Under this name a refused row of too many or too few cells keeps what stood in its line; no column is called so.
WHOLE_LINE = ""
_BROKEN = re.compile("[\x00\ufffd\udc80-\udcff]")
# How the line begins that a program writes below its table: "Total: 1234", "Nombre de lignes;12", "*** fin ***".
_BELOW_TABLE = re.compile(
    r"\W*(?:(?:sous[ -]?|grand )?total(?:aux|s)?\b|nombre (?:de|d')|nb (?:de )?(?:lignes?|clients?)"
    r"|fin (?:de|du|d')\b|fin\W*$|end of |number of |row count|\d+ (?:lignes?|enregistrements?|rows?|records?)\b"
    r"|export(?:é|e|ed)? (?:le|du|on|by|par)\b|généré|edité|édité)",
    re.I,
)
_MAY_BEGIN_BELOW = frozenset(" \t#-*=_(<[>'«tTsSgGnNfFeErRéÉ") | frozenset("\x1a") | {""}


class Row:
    """A row that could be read. `line` is where it begins (the first line of a file is 1), `values` its cells in the
    order of `header`, `cells` the same as column -> text."""

    __slots__ = ("header", "line", "values")

    def __init__(self, line: int, values: list[str], header: tuple[str, ...]):
        self.line = line
        self.values = values
        self.header = header

    @property
    def cells(self) -> dict[str, str]:
        return dict(zip(self.header, self.values))  # noqa: B905 - as many of both, and asked for each row

    def __repr__(self) -> str:
        return f"Row(line={self.line}, cells={self.cells})"


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is not taken in. `column` is the file's own name for it, empty where the whole row is at fault."""

    line: int
    reason: str
    column: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)


def rows(path: Path, dialect: Dialect) -> Iterator[Row | Refused]:
    """Every row below the header that is not blank, in the order of the file.

    A row that only says the header again is passed over; behind one that names other columns, every row is refused
    until the header itself comes again.
    """
    table = _Table(dialect)
    header, width, header_line = dialect.header, len(dialect.header), dialect.header_line
    names = frozenset(header) if header_line else frozenset()
    for line, cells, odd in _sheet(path, dialect) if dialect.is_spreadsheet else _text(path, dialect):
        if line <= header_line:
            continue
        if isinstance(cells, str):
            yield Refused(line, cells)
            continue
        first = cells[0] if cells else ""
        if (
            len(cells) == width
            and first[:1] not in _MAY_BEGIN_BELOW
            and first not in names
            and cells[-1] not in names
            and not odd
            and not table.changed_at
        ):
            yield Row(line, cells, header)
        elif (judged := table.judge(line, cells, odd)) is not None:
            yield judged


class _Table:
    """Judges the rows that are not plainly rows of data."""

    def __init__(self, dialect: Dialect):
        self._header, self._delimiter = dialect.header, dialect.delimiter
        self._names = frozenset(map(plain, dialect.header)) - {""} if dialect.header_line else frozenset()
        # The line from which on the file has other columns; 0 while it has those of its header.
        self.changed_at = 0

    def judge(self, line: int, cells: list[str], odd: bool) -> Row | Refused | None:
        """None for a row that says nothing."""
        filled = [cell for cell in cells if cell and not cell.isspace()]
        # DOS ended its files with a character.
        if not filled or filled == ["\x1a"] or (line == 1 and cells[0].startswith("sep=")):
            return None
        while len(cells) > len(self._header) and not cells[-1].strip():
            cells = cells[:-1]  # a delimiter at the end of the line
        if self._is_header(filled):
            if column_names(cells) == self._header:
                self.changed_at = 0
                return None
            self.changed_at = line
        named = dict(zip(self._header, cells, strict=False))
        if self.changed_at:
            told = _("the columns change at line %s: send what stands from there on as a file of its own")
            return Refused(line, told % self.changed_at, cells=_printable(named))
        broken = odd and next((column for column, text in named.items() if _BROKEN.search(text)), None)
        if broken:
            return Refused(line, _("holds a character that cannot be read"), broken, cells=_printable(named))
        if len(filled) <= 2 < len(self._header) and any(_BELOW_TABLE.match(cell) for cell in filled):
            return Refused(line, _("is a line below the table, not a row of it"), cells=_printable(named))
        if len(cells) != len(self._header):
            whole = {WHOLE_LINE: (self._delimiter or ";").join(cells)}
            return Refused(line, self._misfit(cells), cells=_printable(named | whole))
        return Row(line, cells, self._header)

    def _is_header(self, filled: list[str]) -> bool:
        known = sum(plain(cell) in self._names for cell in filled[:600])
        if not known or known * 2 < len(filled) or any(map(looks_like_data, filled[:600])):
            return False
        return known > 1 or len(self._header) == 1

    def _misfit(self, cells: list[str]) -> str:
        told = {"found": len(cells), "due": len(self._header)}
        text = self._delimiter.join(cells)
        for other in DELIMITERS:
            if other != self._delimiter and len(cells) <= 2 and text.count(other) + 1 == told["due"] > 2:
                return _("is divided by «%(other)s» and not by «%(usual)s»") % {
                    "other": "⇥" if other == "\t" else other,
                    "usual": "⇥" if self._delimiter == "\t" else self._delimiter,
                }
        return _("has %(found)s columns instead of %(due)s") % told


def _printable(cells: Mapping[str, str]) -> dict[str, str]:
    return {column: _BROKEN.sub("\ufffd", text) for column, text in cells.items()}


def _text(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str] | str, bool]]:
    with text_of(path, content_of(path)) as stream:
        yield from lines.records(lines.blocks(stream, dialect.charset), dialect.delimiter)


def _sheet(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str] | str, bool]]:
    width = len(dialect.header)
    line = dialect.header_line
    with workbook(path, content_of(path)) as book:
        sheet = next(sheet for sheet in book.sheets() if sheet.name == dialect.sheet)
        try:
            for line, cells in book.rows(sheet):
                cells.extend([""] * (width - len(cells)))
                yield line, cells, False
        except Unreadable as broken:
            # What stands before it was sound, and may have been taken in.
            yield line + 1, _("from here on the spreadsheet cannot be read: %s") % broken, False
