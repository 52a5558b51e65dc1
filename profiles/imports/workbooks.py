"""The sheets and rows of a spreadsheet, one row after the other, in memory that does not grow with the sheet.

XLSX and ODS are parsed here as their parts are unpacked: of an XLSX only its shared texts are held. The old formats
go through a process of their own (`old_spreadsheet.py`). A cell becomes the text that a person reads in it; what a
person would not read as a value stays recognisable: an error as `#N/A`, a formula whose result was not saved as `=…`,
a number that the spreadsheet has rounded as `2.99E+15`. `statements.py` refuses those where a field is read from
them. Asks no database.
"""

import html
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol
from xml.parsers import expat

from django.utils.translation import gettext as _

from profiles.imports import containers
from profiles.imports.containers import MB, Content, Unreadable, counted

# What Excel itself allows, and a bound for what is held of a file.
MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
MAX_CELL_CHARS = 100_000
MAX_SHARED_TEXT = 96 * MB
MAX_MERGED = 20_000
# A list of sheets, the formats of cells: what has to be held of a workbook beside its texts.
MAX_SMALL_PART = 8 * MB
MAX_SHEETS = 500
_MAX_TOKEN = MB
_MAX_DEPTH = 1000
_MAX_NAMES = 5000
_EXACT_DIGITS = 15

Numbered = tuple[int, list[str]]


class Sheet(NamedTuple):
    """`rows` is how many the sheet has at most; `place` is how its workbook finds it."""

    name: str
    hidden: bool
    place: str
    rows: int


class Workbook(Protocol):
    def sheets(self) -> list[Sheet]: ...
    def rows(self, sheet: Sheet) -> Iterator[Numbered]: ...


@contextmanager
def workbook(path: Path, content: Content) -> Iterator[Workbook]:
    """The spreadsheet in a file. Everything about it, reading its rows too, may raise `Unreadable`."""
    try:
        with containers.spreadsheet_of(path, content) as stream:
            if content.kind == containers.OLD:
                with tempfile.NamedTemporaryFile() as copy:
                    for block in counted(stream, containers.MAX_OLD_SPREADSHEET):
                        copy.write(block)
                    copy.flush()
                    yield _Old(copy.name)
                return
            for _block in counted(stream, containers.MAX_SPREADSHEET):
                pass
            with containers.parts_of(stream) as archive:
                yield _Ods(archive) if content.kind == containers.ODS else _Xlsx(archive)
    except (*containers.BROKEN, OverflowError) as broken:
        if isinstance(broken, Unreadable):
            raise
        raise Unreadable(_("the file is not a spreadsheet that can be read")) from broken


def column_number(letters: str) -> int:
    """A is 0, Z is 25, AA is 26. Raises `Unreadable` beyond the last column a spreadsheet can have."""
    number = 0
    for letter in letters[:4]:
        number = number * 26 + ord(letter) - 64
    if not 1 <= number <= MAX_COLUMNS or len(letters) > 3:
        raise Unreadable(_("the file is not a spreadsheet that can be read"))
    return number - 1


# --- Cells --------------------------------------------------------------------------------------------------------


def number_text(text: str, shape: str | int = "") -> str:
    """A number as its cell shows it. `shape`: "date", "1904", "percent", or how many digits at least."""
    if text.isdigit() and not shape and len(text) <= _EXACT_DIGITS:
        return text
    number = float(text)
    if shape in {"date", "1904"}:
        return _day(number, from_1904=shape == "1904")
    if shape == "percent":
        return f"{number * 100:.10g}%"
    if abs(number) >= 10**_EXACT_DIGITS:
        return f"{number:.14E}"
    if number.is_integer():
        return str(int(number)).zfill(shape if isinstance(shape, int) else 0)
    return f"{number:.15g}"


def _day(serial: float, *, from_1904: bool) -> str:
    if not 0 <= serial < 2_958_466:
        return "#####"  # as Excel shows it
    if from_1904:
        moment = datetime(1904, 1, 1) + timedelta(days=serial)  # noqa: DTZ001 - a cell has no zone
    elif serial < 1:
        moment = datetime(1900, 1, 1) + timedelta(seconds=round(serial * 86_400) % 86_400)  # noqa: DTZ001
        return moment.time().isoformat()
    else:
        # Lotus believed in 29 February 1900, and Excel after it.
        moment = datetime(1899, 12, 31 if serial < 60 else 30) + timedelta(days=serial)  # noqa: DTZ001
    if moment.microsecond:
        moment = (moment + timedelta(microseconds=500_000)).replace(microsecond=0)
    return moment.isoformat().removesuffix("T00:00:00")


def _shape_of(code: str) -> str | int:
    """What a number format makes of a number."""
    bare = re.sub(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]', "", code.partition(";")[0])
    if re.search(r"[dmyhs]", bare, re.I) and "general" not in bare.lower():
        return "date"
    if "%" in bare:
        return "percent"
    return len(bare) if re.fullmatch(r"0{2,}", bare) else ""


_BUILT_IN = {**dict.fromkeys((*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)), "date"),
             9: "percent", 10: "percent"}  # fmt: skip


class _Merged:
    """What stands in a cell merged over several rows belongs to each of them that holds anything."""

    def __init__(self) -> None:
        self._starts: dict[int, list[tuple[int, int]]] = {}
        self._open: dict[int, tuple[int, str]] = {}
        self._count = 0

    def add(self, column: int, first: int, last: int) -> None:
        self._count += 1
        if last > first and self._count <= MAX_MERGED:
            self._starts.setdefault(first, []).append((column, last))

    def fill(self, number: int, cells: list[str]) -> None:
        if self._open:
            for column, (last, value) in tuple(self._open.items()):
                if number > last:
                    del self._open[column]
                elif column < len(cells):
                    cells[column] = cells[column] or value
                elif any(cells):
                    cells.extend([""] * (column - len(cells)) + [value])
        for column, last in self._starts.pop(number, ()):
            if column < len(cells):
                self._open[column] = (last, cells[column])


# --- XML ----------------------------------------------------------------------------------------------------------


def _local(tag: str) -> str:
    return tag.rpartition(":")[2]


class _Reader:
    """What a parser calls; `depth` is how many elements are open, held by the parser one by one."""

    depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        raise NotImplementedError

    def end(self, tag: str) -> None:
        self.depth -= 1

    def text(self, piece: str) -> None:
        pass


def _parse(blocks: Iterable[bytes], reader: _Reader) -> Iterator[None]:
    """Feeds the parser, and pauses after each block so that what was found can be taken away."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    # Entities multiply: a spreadsheet has none of its own.
    parser.StartDoctypeDeclHandler = _refuse_doctype
    fed = 0
    try:
        for block in blocks:
            fed += len(block)
            parser.Parse(block, False)
            # The parser keeps a token until it ends, an element until it is closed, a name for good.
            if (
                fed - parser.CurrentByteIndex > _MAX_TOKEN
                or reader.depth > _MAX_DEPTH
                or len(parser.intern) > _MAX_NAMES
            ):
                raise Unreadable(_("the file is not a spreadsheet that can be read"))
            yield
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        yield  # what was found before it is sound
        raise Unreadable(_("the file is not a spreadsheet that can be read")) from error
    yield


def _refuse_doctype(*_doctype) -> None:
    raise Unreadable(_("the file is not a spreadsheet that can be read"))


def _check_sheets(number: int) -> None:
    if number > MAX_SHEETS:
        raise Unreadable(_("the spreadsheet has more than %s sheets") % MAX_SHEETS)


class _Elements(_Reader):
    """The elements of a small part, by local name, with their attributes."""

    def __init__(self) -> None:
        self.found: list[tuple[str, dict[str, str]]] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        self.found.append((_local(tag), attributes))


# --- XLSX ---------------------------------------------------------------------------------------------------------


class _Xlsx:
    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive
        self._names = {name.lower(): name for name in archive.namelist()}
        self._book = min(
            (name for name in self._names if name.endswith("workbook.xml")),
            key=lambda name: (name != "xl/workbook.xml", name),
        )
        self._folder = self._book.rpartition("/")[0]
        self._targets: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        for tag, attributes in self._small(f"{self._folder}/_rels/workbook.xml.rels"):
            if tag == "Relationship":
                self._targets[attributes.get("Id", "")] = self._part(attributes.get("Target", ""))
                kind = attributes.get("Type", "").rpartition("/")[2]
                self._kinds.setdefault(kind, self._targets[attributes.get("Id", "")])
        self._from_1904 = False
        self._named: list[tuple[str, bool, str]] = []
        for tag, attributes in self._small(self._book):
            if tag == "workbookPr":
                self._from_1904 = attributes.get("date1904", "") in {"1", "true"}
            elif tag == "sheet":
                place = next((value for name, value in attributes.items() if _local(name) == "id"), "")
                part = self._targets.get(place, "")
                if "/worksheets/" in f"/{part}" or part.rpartition("/")[2].startswith("sheet"):
                    hidden = attributes.get("state", "visible") != "visible"
                    self._named.append((attributes.get("name", ""), hidden, part))
                    _check_sheets(len(self._named))

    def sheets(self) -> list[Sheet]:
        """Unpacks each visible sheet once: its bytes are counted, its checksum is proved, its rows are counted."""
        left, found = containers.MAX_PART, []
        for name, hidden, part in self._named:
            rows = size = 0
            if not hidden:
                rows, size, _merged = self._look_through(part, left)
            left -= size
            found.append(Sheet(name, hidden, part, rows))
        return found

    def rows(self, sheet: Sheet) -> Iterator[Numbered]:
        _rows, _size, merged = self._look_through(sheet.place, containers.MAX_PART)
        shared, shapes = self._shared_texts(), self._shapes()
        found: list[Numbered] = []
        reader = _SheetReader(found, shared, shapes, merged)
        for _pause in _parse(self._blocks(sheet.place), reader):
            yield from found
            found.clear()

    def _part(self, target: str) -> str:
        return (target.lstrip("/") if target.startswith("/") else f"{self._folder}/{target}").lower()

    def _blocks(self, part: str, limit: int | None = None) -> Iterator[bytes]:
        info = self._archive.getinfo(self._names[part])
        if info.flag_bits & 1:
            raise Unreadable(_("the spreadsheet is protected by a password: save it without one"))
        with self._archive.open(info) as stream:
            yield from counted(stream, containers.MAX_PART if limit is None else limit)

    def _small(self, part: str) -> Iterator[tuple[str, dict[str, str]]]:
        if part in self._names:
            reader = _Elements()
            for _pause in _parse(self._blocks(part, MAX_SMALL_PART), reader):
                yield from reader.found
                reader.found.clear()

    def _look_through(self, part: str, limit: int) -> tuple[int, int, _Merged]:
        rows, size, merged, before, tail = 0, 0, _Merged(), b"", b""
        for block in self._blocks(part, limit):
            size += len(block)
            joined = before + block
            rows += joined.count(b"row r=") + joined.count(b"<row>") + joined.count(b"<row/>")
            if tail or b"mergeCell" in joined:
                tail = (tail + block if tail else joined)[: 2 * MB]
            before = joined[-5:]
        for left, first, right, last in re.findall(
            rb'mergeCell [^>]*?ref="([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})"', tail
        ):
            if left == right:
                merged.add(column_number(left.decode()), int(first), int(last))
        return rows, size, merged

    def _shared_texts(self) -> list[str]:
        part = self._kinds.get("sharedStrings", f"{self._folder}/sharedstrings.xml")
        if part not in self._names:
            return []
        reader = _TextsReader()
        for _pause in _parse(self._blocks(part), reader):
            if reader.held > MAX_SHARED_TEXT:
                told = MAX_SHARED_TEXT // MB
                raise Unreadable(
                    _("the texts of the spreadsheet need more than %s MB of memory: save it as CSV") % told
                )
        return reader.texts

    def _shapes(self) -> list[str | int]:
        part = self._kinds.get("styles", f"{self._folder}/styles.xml")
        own: dict[str, str] = {}
        shapes: list[str | int] = []
        in_cells = False
        for tag, attributes in self._small(part):
            if tag == "numFmt":
                own[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
            elif tag in {"cellXfs", "cellStyleXfs", "cellStyles", "dxfs"}:
                in_cells = tag == "cellXfs"
            elif tag == "xf" and in_cells and len(shapes) < 100_000:
                number = attributes.get("numFmtId", "0")
                shape = (
                    _shape_of(own[number])
                    if number in own
                    else _BUILT_IN.get(int(number) if number.isdigit() else 0, "")
                )
                shapes.append("1904" if shape == "date" and self._from_1904 else shape)
        return shapes


class _TextsReader(_Reader):
    """What the parser tells of the texts that cells share; `held` is about how many bytes they take."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.held = 0
        self._pieces: list[str] = []
        self._inside = self._spoken = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        tag = _local(tag)
        if tag == "si":
            self._pieces.clear()
        elif tag == "t":
            self._inside = True
        elif tag == "rPh":  # how the text is pronounced
            self._spoken = True

    def end(self, tag: str) -> None:
        self.depth -= 1
        tag = _local(tag)
        if tag == "t":
            self._inside = False
        elif tag == "rPh":
            self._spoken = False
        elif tag == "si":
            self.texts.append("".join(self._pieces))
            self.held += 16

    def text(self, piece: str) -> None:
        if self._inside and not self._spoken:
            self._pieces.append(piece)
            self.held += piece.__sizeof__()


class _SheetReader(_Reader):
    """What the parser tells of one sheet, put together as rows."""

    def __init__(self, found: list[Numbered], shared: list[str], shapes: list[str | int], merged: _Merged):
        self._found, self._shared, self._shapes, self._merged = found, shared, shapes, merged
        self._columns: dict[str, int] = {}
        self._number = 0
        self._cells: list[str] = []
        self._pieces: list[str] = []
        self._column = -1
        self._kind = self._style = ""
        self._formula: bool = False
        self._inside = False
        self._size = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if ":" in tag:
            tag = _local(tag)
        if tag == "c":
            place = attributes.get("r")
            if place:
                letters = place.rstrip("0123456789")
                column = self._columns.get(letters)
                if column is None:
                    column = self._columns[letters] = column_number(letters)
                self._column = column
            else:
                self._column += 1
            self._kind = attributes.get("t", "n")
            self._style = attributes.get("s", "")
            self._formula = False
            self._pieces.clear()
            self._size = 0
        elif tag in {"v", "t"}:
            self._inside = True
        elif tag == "f":
            self._formula = True
        elif tag == "row":
            told = attributes.get("r", "")
            number = int(told) if told.isdigit() and len(told) < 9 else 0
            self._number = max(number, self._number + 1)
            if self._number > MAX_ROWS:
                raise Unreadable(_("the file is not a spreadsheet that can be read"))
            self._cells = []
            self._column = -1
        elif tag == "rPh":
            self._kind = "spoken"

    def text(self, piece: str) -> None:
        if self._inside:
            self._size += len(piece)
            if self._size <= MAX_CELL_CHARS:
                self._pieces.append(piece)

    def end(self, tag: str) -> None:
        self.depth -= 1
        if ":" in tag:
            tag = _local(tag)
        if tag in {"v", "t"}:
            self._inside = False
            if self._kind == "spoken":
                self._pieces.clear()
        elif tag == "rPh":
            self._kind = "inlineStr"
        elif tag == "c":
            value = self._value()
            if value:
                cells, column = self._cells, self._column
                if column >= MAX_COLUMNS:
                    raise Unreadable(_("the file is not a spreadsheet that can be read"))
                if column >= len(cells):
                    cells.extend([""] * (column - len(cells)))
                    cells.append(value)
                else:
                    cells[column] = value
        elif tag == "row":
            self._merged.fill(self._number, self._cells)
            if self._cells:
                self._found.append((self._number, self._cells))

    def _value(self) -> str:
        text = "".join(self._pieces)
        if not text:
            return "=" if self._formula and self._kind != "str" else ""
        if self._kind == "s":
            place = int(text)
            if not 0 <= place < len(self._shared):
                raise Unreadable(_("the file is not a spreadsheet that can be read"))
            return self._shared[place]
        if self._kind == "n":
            style = self._style
            shape = self._shapes[int(style)] if style.isdigit() and int(style) < len(self._shapes) else ""
            return number_text(text, shape)
        return text.removesuffix("T00:00:00") if self._kind == "d" else text


# --- ODS ----------------------------------------------------------------------------------------------------------


class _Ods:
    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive
        if "META-INF/manifest.xml" in archive.namelist():
            with archive.open("META-INF/manifest.xml") as told:
                if b"encryption-data" in told.read(MB):
                    raise Unreadable(_("the spreadsheet is protected by a password: save it without one"))

    def _blocks(self) -> Iterator[bytes]:
        with self._archive.open("content.xml") as stream:
            yield from counted(stream, containers.MAX_PART)

    def sheets(self) -> list[Sheet]:
        found: list[tuple[str, str]] = []
        rows: list[int] = []
        hidden: set[str] = set()
        before = b""
        for block in self._blocks():
            joined = before + block
            whole = joined.rfind(b">") + 1
            before = joined[whole:]
            if len(before) > _MAX_TOKEN:
                raise Unreadable(_("the file is not a spreadsheet that can be read"))
            for tag in re.finditer(
                rb"<style:style ([^>]*)>|<style:table-properties ([^>]*)>|<table:table ([^>]*)>|<table:table-row\b",
                joined[:whole],
            ):
                style, properties, table = tag.groups()
                if style is not None:
                    self._style = _attribute(style, b"style:name")
                elif properties is not None:
                    if _attribute(properties, b"table:display") == "false":
                        hidden.add(getattr(self, "_style", ""))
                elif table is not None:
                    found.append((_attribute(table, b"table:name"), _attribute(table, b"table:style-name")))
                    rows.append(0)
                    _check_sheets(len(rows))
                elif rows:
                    rows[-1] += 1
        return [
            Sheet(name, style in hidden, str(place), number)
            for place, ((name, style), number) in enumerate(zip(found, rows, strict=True))
        ]

    def rows(self, sheet: Sheet) -> Iterator[Numbered]:
        found: list[tuple[int, int, list[str]]] = []
        reader = _OdsReader(found, int(sheet.place))
        for _pause in _parse(self._blocks(), reader):
            for number, again, cells in found:
                for more in range(again):
                    yield number + more, cells.copy()
            found.clear()
            if reader.done:
                return


def _attribute(tag: bytes, name: bytes) -> str:
    found = re.search(name + rb'="([^"]*)"', tag)
    return html.unescape(found[1].decode("utf-8", "replace")) if found else ""


class _OdsReader(_Reader):
    def __init__(self, found: list[tuple[int, int, list[str]]], place: int):
        self._found, self._place = found, place
        self._table = -1
        self.done = False
        self._number = 1
        self._merged = _Merged()
        self._cells: list[str] = []
        self._blanks = 0
        self._row_again = self._cell_again = 1
        self._cell: dict[str, str] = {}
        self._pieces: list[str] = []
        self._paragraphs = self._aside = self._size = 0
        self._inside = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if tag == "table:table":
            self._table += 1
        elif self._table != self._place or self.done:
            return
        elif tag == "table:table-row":
            self._row_again = _times(attributes, "table:number-rows-repeated", MAX_ROWS)
            self._cells, self._blanks = [], 0
        elif tag in {"table:table-cell", "table:covered-table-cell"}:
            self._cell = attributes
            self._cell_again = _times(attributes, "table:number-columns-repeated", MAX_COLUMNS)
            self._pieces.clear()
            self._paragraphs = self._size = 0
        elif tag == "office:annotation":
            self._aside += 1
        elif tag == "text:p" and not self._aside:
            if self._paragraphs:
                self._pieces.append("\n")
            self._paragraphs += 1
            self._inside = True
        elif tag == "text:s":
            self.text(" " * _times(attributes, "text:c", 100))
        elif tag in {"text:tab", "text:line-break"}:
            self.text(" ")

    def text(self, piece: str) -> None:
        if self._inside and not self._aside:
            self._size += len(piece)
            if self._size <= MAX_CELL_CHARS:
                self._pieces.append(piece)

    def end(self, tag: str) -> None:
        self.depth -= 1
        if self._table != self._place or self.done:
            return
        if tag == "text:p":
            self._inside = False
        elif tag == "office:annotation":
            self._aside -= 1
        elif tag in {"table:table-cell", "table:covered-table-cell"}:
            self._end_cell()
        elif tag == "table:table-row":
            self._merged.fill(self._number, self._cells)
            if any(self._cells):
                self._found.append((self._number, self._row_again, self._cells))
            self._number += self._row_again
            if self._number > MAX_ROWS + 1:
                raise Unreadable(_("the file is not a spreadsheet that can be read"))
        elif tag == "table:table":
            self.done = True

    def _end_cell(self) -> None:
        value = self._value()
        if not value:
            self._blanks += self._cell_again
            return
        self._cells.extend([""] * self._blanks)
        self._blanks = 0
        spanned = _times(self._cell, "table:number-rows-spanned", MAX_ROWS)
        if spanned > 1 and self._cell.get("table:number-columns-spanned", "1") == "1":
            self._merged.add(len(self._cells), self._number, self._number + spanned - 1)
        if len(self._cells) + self._cell_again > MAX_COLUMNS:
            raise Unreadable(_("the file is not a spreadsheet that can be read"))
        self._cells.extend([value] * self._cell_again)

    def _value(self) -> str:
        text, cell = "".join(self._pieces), self._cell
        kind = cell.get("office:value-type", "")
        if kind in {"float", "currency", "percentage"} and "office:value" in cell:
            shown = number_text(cell["office:value"], "percent" if kind == "percentage" else "")
            # A format that fills up with zeros: a postcode.
            return text if text.isdigit() and text.startswith("0") and text.lstrip("0") == shown else shown
        if kind == "date":
            return cell.get("office:date-value", text).removesuffix("T00:00:00")
        if kind == "boolean":
            return "1" if cell.get("office:boolean-value") == "true" else "0"
        if not text and cell.get("table:formula") and kind != "string":
            return "="
        return text


def _times(attributes: dict[str, str], name: str, most: int) -> int:
    told = attributes.get(name, "1")
    return min(int(told), most) if told.isdigit() and len(told) < 10 else 1


# --- XLS and XLSB -------------------------------------------------------------------------------------------------


class _Old:
    _PROGRAM = Path(__file__).with_name("old_spreadsheet.py")

    def __init__(self, path: str):
        self._path = path

    def sheets(self) -> list[Sheet]:
        told = next(self._ask(), None)
        if told is None:
            raise Unreadable(_("the file is not a spreadsheet that can be read"))
        return [
            Sheet(name, hidden, str(place), rows)
            for place, (name, hidden, rows) in enumerate(json.loads(told))
        ]

    def rows(self, sheet: Sheet) -> Iterator[Numbered]:
        for line in self._ask(sheet.place):
            number, cells = json.loads(line)
            yield number, [_old_cell(value) for value in cells]

    def _ask(self, *place: str) -> Iterator[str]:
        command = [sys.executable, "-I", str(self._PROGRAM), self._path, *place]
        with subprocess.Popen(  # noqa: S603 - our own program, on a copy that we named
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
        ) as program:
            finished = False
            try:
                yield from program.stdout or ()
                finished = True
            finally:
                if not finished:  # nobody wants the other rows
                    program.kill()
        if program.returncode:
            raise Unreadable(
                _("the spreadsheet cannot be read, or is too large for its old format: save it as XLSX")
            )


def _old_cell(value: bool | float | int | str) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return value if isinstance(value, str) else number_text(repr(value))
