"""How a file was written, found from the file alone: charset, delimiter, header row. Asks no database.

The whole file is read once for its charset (an accent on the last line decides as much as one on the first), and
its first 64 kB for everything else. A wrong guess is corrected by hand: `detect(path, charset=..., delimiter=...)`.
"""

import codecs
import csv
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.utils.translation import gettext as _
from python_calamine import CalamineError, CalamineWorkbook

SPREADSHEET = "xlsx"
DELIMITERS = (";", ",", "\t", "|")
# What French back offices write when it is not Unicode, the likeliest first.
LEGACY_CHARSETS = ("cp1252", "mac_roman", "cp850")
CHARSETS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", *LEGACY_CHARSETS)

HEAD = 64 * 1024
BLOCK = 1024 * 1024
SAMPLE_ROWS = 5
# A spreadsheet is held in memory while it is read: beyond this it has to come as CSV.
MAX_SPREADSHEET_BYTES = 150 * 1024 * 1024

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNDECODED = re.compile("[\udc80-\udcff]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_FRENCH_LETTERS = frozenset("éèêëàâîïôùûüçœæÿ")
_FRENCH_SIGNS = frozenset("’‘«»–—…€°²\u00a0")
_DATA = re.compile(r"[^@\s]+@[^@\s]+\.\w+|\+?[\d .]{5,}|\d{1,4}[-/.]\d{1,2}[-/.]\d{2,4}([T ].*)?|\d+[.,]\d+")


class Unreadable(ValueError):
    """The file is not a table at all: empty, a picture, a broken spreadsheet."""


@dataclass(frozen=True)
class Dialect:
    """How a file is written. `header_line` is the line of the header row, 0 where there is none and the columns are
    named by their place; `lines` counts the lines of the file and only estimates its rows."""

    charset: str
    delimiter: str
    header: tuple[str, ...]
    sample_rows: tuple[tuple[str, ...], ...]
    header_line: int = 1
    lines: int = 0

    @property
    def is_spreadsheet(self) -> bool:
        return self.charset == SPREADSHEET


def detect(path: Path, *, charset: str | None = None, delimiter: str | None = None) -> Dialect:
    """How the file is written; what the caller already knows is not guessed. Raises `Unreadable`."""
    with Path(path).open("rb") as stream:
        magic = stream.read(8)
    if magic.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        return _spreadsheet(path)
    if not magic:
        raise Unreadable(_("the file is empty"))
    charset = charset or charset_of(path)
    head = _head(path, charset)
    if len(_CONTROL.findall(head)) > len(head) // 10:
        raise Unreadable(_("the file is not a table of text"))
    told = re.match(r"sep=(.)\r?\n", head)
    delimiter = delimiter or (told[1] if told else None) or delimiter_of(head)
    rows = [(line, row) for line, row in _rows(head, delimiter) if any(cell.strip() for cell in row)]
    if told:
        rows = rows[1:]
    if not rows:
        raise Unreadable(_("the file is empty"))
    header_line, header, first = _header(rows)
    sample = tuple(tuple(row) for _line, row in rows[first : first + SAMPLE_ROWS])
    return Dialect(charset, delimiter, header, sample, header_line, _count_lines(path))


def charset_of(path: Path) -> str:
    """The charset by its byte order mark; else UTF-8 where the bytes allow it; else the likeliest legacy charset.

    A UTF-8 file with a few broken bytes stays UTF-8 (those lines are refused when they are read); a file whose bytes
    beyond ASCII mostly break UTF-8 is a legacy one.
    """
    with Path(path).open("rb") as stream:
        start = stream.read(BLOCK)
        for bom, charset in _BOMS:
            if start.startswith(bom):
                return charset
        if (wide := _without_bom(start)) is not None:
            return wide
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        block, sample, good, bad = start, b"", 0, 0
        while block:
            text = decoder.decode(block)
            if not text.isascii():
                broken = len(_UNDECODED.findall(text))
                bad += broken
                good += len(_BEYOND_ASCII.findall(text)) - broken
                if broken and len(sample) < HEAD:
                    sample += b"\n".join(line for line in block.split(b"\n") if not line.isascii())[:HEAD]
            block = stream.read(BLOCK)
    if not bad or good > 10 * bad:
        return "utf-8"
    votes = {charset: _plausibility(sample.decode(charset, "replace")) for charset in LEGACY_CHARSETS}
    return max(votes, key=votes.__getitem__)  # of equals the first, which is the likeliest


def delimiter_of(head: str) -> str:
    """The delimiter by which most rows have as many cells as the widest usual row; `;` where none divides."""
    votes = {}
    for delimiter in DELIMITERS:
        widths = [len(row) for _line, row in _rows(head, delimiter) if any(row)]
        if widths:
            width, rows = Counter(widths).most_common(1)[0]
            # A comma inside amounts divides the rows below, but not the header.
            header_fits = widths[0] == width or widths[0] == 1
            votes[delimiter] = (
                (width > 1) * rows / len(widths) * (1 if header_fits and widths[0] > 1 else 0.5),
                width,
            )
    return (
        max(votes, key=votes.__getitem__) if any(share for share, _width in votes.values()) else DELIMITERS[0]
    )


def column_names(row: Sequence[str]) -> tuple[str, ...]:
    """The cells of a header row as names: trimmed, none empty, no two alike."""
    names: list[str] = []
    for place, cell in enumerate(row, start=1):
        wanted = name = " ".join(cell.split())[:80] or f"column {place}"
        again = 1
        while name in names:
            again += 1
            name = f"{wanted[:74]} ({again})"
        names.append(name)
    return tuple(names)


def _plausibility(text: str) -> int:
    """How French the characters beyond ASCII look: accented letters where their case fits, and few symbols in words.

    Capitals decide between cp1252 and Mac Roman, which statistics of running text get wrong: `LEFÈVRE` in the one is
    `LEF»VRE` in the other.
    """
    score = 0
    for found in _BEYOND_ASCII.finditer(text):
        letter, before, after = (
            found[0],
            text[max(found.start() - 1, 0) : found.start()],
            text[found.end() : found.end() + 1],
        )
        if letter.lower() not in _FRENCH_LETTERS:
            score -= letter not in _FRENCH_SIGNS or (
                before.isalpha() and after.isalpha() and letter not in "’‘"
            )
        elif letter.isupper():
            score += -1 if before.islower() else 1
        else:
            score += -1 if before.isupper() and after.isupper() else 1
    return score


def _without_bom(start: bytes) -> str | None:
    """UTF-16 without its mark shows by a NUL in every other byte of plain letters."""
    head = start[:4096]
    half = len(head) // 2
    if half and head[1::2].count(0) > half * 0.4 and head[0::2].count(0) < half * 0.1:
        return "utf-16-le"
    if half and head[0::2].count(0) > half * 0.4 and head[1::2].count(0) < half * 0.1:
        return "utf-16-be"
    return None


def _head(path: Path, charset: str) -> str:
    try:
        with Path(path).open(encoding=charset, errors="replace", newline="") as stream:
            return stream.read(HEAD)
    except UnicodeError as broken:
        raise Unreadable(_("the file cannot be read as %s") % charset) from broken


def _rows(head: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of the head, each with the line it begins on; the last one may be cut and is left out."""
    lines = head.replace("\r\n", "\n").replace("\r", "\n").splitlines(keepends=True)
    if len(head) == HEAD and len(lines) > 1:
        lines = lines[:-1]
    reader = csv.reader(lines, delimiter=delimiter)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error:
        return


def _header(rows: list[tuple[int, list[str]]]) -> tuple[int, tuple[str, ...], int]:
    """(line of the header or 0, names, place of the first row of data). Titles above the table are passed over."""
    width = Counter(len(row) for _line, row in rows).most_common(1)[0][0]
    if width == 1:
        width = len(rows[0][1])
    place, (line, row) = next(((p, r) for p, r in enumerate(rows) if len(r[1]) >= width), (0, rows[0]))
    if any(_DATA.fullmatch(cell.strip()) for cell in row):
        return 0, tuple(f"column {number}" for number in range(1, len(row) + 1)), place
    return line, column_names(row), place + 1


def _count_lines(path: Path) -> int:
    with Path(path).open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(BLOCK), b""))


def open_sheet(path: Path):
    """The first sheet of a workbook. Raises `Unreadable`, also for one that would not fit in memory."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(part.file_size for part in archive.infolist()) > MAX_SPREADSHEET_BYTES:
                    raise Unreadable(_("the spreadsheet is too large: save it as CSV"))
        return CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0)
    except (CalamineError, OSError, zipfile.BadZipFile, IndexError) as broken:
        raise Unreadable(_("the file is not a spreadsheet that can be read")) from broken


def cell_text(value: object) -> str:
    """A cell of a spreadsheet as the text a person reads: no `.0` behind whole numbers, dates as YYYY-MM-DD."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if hasattr(value, "isoformat"):
        return value.isoformat().removesuffix("T00:00:00")
    return str(value)


def sheet_rows(sheet) -> Iterator[tuple[int, list[str]]]:
    """The rows of a sheet with their numbers as the spreadsheet shows them."""
    for number, row in enumerate(sheet.iter_rows(), start=1):
        yield number, [cell_text(value) for value in row]


def _spreadsheet(path: Path) -> Dialect:
    sheet = open_sheet(path)
    rows = []
    for number, row in sheet_rows(sheet):
        if any(cell.strip() for cell in row):
            rows.append((number, row))
        if len(rows) > 50:
            break
    if not rows:
        raise Unreadable(_("the first sheet is empty"))
    # Rows of a sheet are all equally wide: its header is the first row without gaps, titles above have many.
    filled = Counter(sum(bool(cell.strip()) for cell in row) for _line, row in rows[:10]).most_common(1)[0][0]
    place = next(
        p for p, (_line, row) in enumerate(rows) if sum(bool(cell.strip()) for cell in row) >= min(filled, 2)
    )
    header_line, header, first = _header(rows[place:])
    sample = tuple(tuple(row) for _line, row in rows[place + first : place + first + SAMPLE_ROWS])
    return Dialect(SPREADSHEET, "", header, sample, header_line, sheet.end[0] + 1)
