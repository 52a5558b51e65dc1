"""How a file was written, found from the file alone: charset, delimiter, header row. Asks no database.

The whole file is read once, fast (an accent on the last line decides as much as one on the first, and what is packed
is known to be whole before a row of it is used); everything else is told by its first 64 kB. A wrong guess is
corrected by hand: `detect(path, charset=..., delimiter=...)`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from django.utils.translation import gettext as _

from profiles.imports import lines
from profiles.imports.containers import MAX_UNPACKED, MB, Content, Unreadable, content_of, counted, text_of
from profiles.imports.workbooks import Sheet, Workbook, workbook

SPREADSHEET = "xlsx"
DELIMITERS = (";", ",", "\t", "|")
# What French back offices write when it is not Unicode, the likeliest first.
LEGACY_CHARSETS = ("cp1252", "mac_roman", "cp850")
CHARSETS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", *LEGACY_CHARSETS)

HEAD = 64 * 1024
SAMPLE_ROWS = 5
MAX_COLUMNS = 500
FIRST_ROWS = 50

_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_HIGH_BYTES = bytes(range(128, 256))
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_UNDECODED = re.compile("[\udc80-\udcff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_FRENCH_LETTERS = frozenset("éèêëàâîïôùûüçœæÿ")
_FRENCH_SIGNS = frozenset("’‘«»–—…€°²\u00a0")
_DATA = re.compile(r"[^@\s]+@[^@\s]+\.\w+|\+?[\d .]{5,}|\d{1,4}[-/.]\d{1,2}[-/.]\d{2,4}([T ].*)?|\d+[.,]\d+")

Found = list[tuple[int, list[str]]]


@dataclass(frozen=True)
class Dialect:
    """How a file is written. `header_line` is the line of the header row, 0 where there is none and the columns are
    named by their place; `lines` counts the lines of the file and only estimates its rows. `sheet` is the sheet that is
    read of a spreadsheet; `notes` say what a person should know: a sheet passed over, a header that comes again.
    `sample_rows` are few enough to be shown, `first_rows` enough to be judged (`mapping.guess`)."""

    charset: str
    delimiter: str
    header: tuple[str, ...]
    sample_rows: tuple[tuple[str, ...], ...]
    header_line: int = 1
    lines: int = 0
    sheet: str = ""
    notes: tuple[str, ...] = ()
    first_rows: tuple[tuple[str, ...], ...] = ()

    @property
    def is_spreadsheet(self) -> bool:
        return self.charset == SPREADSHEET


def detect(path: Path, *, charset: str | None = None, delimiter: str | None = None) -> Dialect:
    """How the file is written; what the caller already knows is not guessed. Raises `Unreadable`."""
    if delimiter and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise Unreadable(_("a delimiter is one character, and no quotation mark"))
    content = content_of(path)
    if content.is_spreadsheet:
        return _spreadsheet(path, content)
    with text_of(path, content) as stream:
        return _text(stream, content, None if charset == SPREADSHEET else charset, delimiter)


# --- Text ---------------------------------------------------------------------------------------------------------


def _text(stream: BinaryIO, content: Content, charset: str | None, delimiter: str | None) -> Dialect:
    come = counted(stream, _limit(content))
    head = b""
    while len(head) < HEAD and (block := next(come, b"")):
        head += block
    if not head:
        raise Unreadable(_("the file is empty"))
    # Where the header stands can be told before the charset is known: delimiters and digits are ASCII.
    first = _layout(head, charset or _charset_by_start(head) or "latin-1", delimiter)
    survey = _Survey(charset, _raw_line(head, first.header_line))
    survey.take(head)
    for block in come:
        survey.take(block)
    charset = charset or survey.charset()
    found = _layout(head, charset, delimiter)
    return Dialect(
        charset, found.delimiter, found.header, found.rows[:SAMPLE_ROWS], found.header_line, survey.lines,
        notes=survey.notes(), first_rows=found.rows,
    )  # fmt: skip


def _limit(content: Content) -> int:
    return MAX_UNPACKED if content.packed else 1 << 62


@dataclass(frozen=True)
class _Layout:
    delimiter: str
    header_line: int
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def _layout(head: bytes, charset: str, delimiter: str | None) -> _Layout:
    try:
        found = [line for some, _odd in lines.blocks(BytesIO(head), charset) for line in some]
    except (UnicodeError, LookupError) as broken:
        raise Unreadable(_("the file cannot be read as %s") % charset) from broken
    if len(head) >= HEAD:
        if len(found) == 1:
            _refuse_first_line(head, delimiter)
        found.pop()  # it may be cut
    # A page shows them: bytes that are no characters of the charset are shown as such.
    texts = [_UNDECODED.sub("\ufffd", line or "") for line in found]
    start = "\n".join(texts[:200])
    if len(_CONTROL.findall(start)) > len(start) // 10:
        raise Unreadable(_("the file is not a table of text"))
    told = re.fullmatch(r"sep=(.)", texts[0]) if texts else None
    delimiter = delimiter or (told[1] if told else None) or _delimiter(texts)
    rows = [(line, row) for line, row in _rows(texts, delimiter) if any(cell.strip() for cell in row)]
    if told and rows and rows[0][0] == 1:
        rows = rows[1:]
    if not rows:
        raise Unreadable(_("the file is empty"))
    header_line, header, place = _header(rows)
    first_rows = tuple(tuple(row) for _line, row in rows[place : place + FIRST_ROWS])
    return _Layout(delimiter, header_line, header, first_rows)


def _refuse_first_line(head: bytes, delimiter: str | None) -> None:
    columns = max(head.count(known.encode()) for known in (delimiter, *DELIMITERS) if known)
    if columns > MAX_COLUMNS:
        raise _too_wide(f"{columns}+")
    raise Unreadable(_("line 1 is longer than %s characters: no header can be read there") % HEAD)


def _too_wide(columns: int | str) -> Unreadable:
    told = {"found": columns, "most": MAX_COLUMNS}
    return Unreadable(_("the file has %(found)s columns; at most %(most)s are read") % told)


class _Survey:
    """What only the whole file tells: its charset, how many lines it has, how often its header comes again.

    The charset is the one of the byte order mark; else UTF-8 where the bytes allow it; else the likeliest legacy one. A
    UTF-8 file with a few broken bytes stays UTF-8 (those lines are refused when they are read); a file whose bytes
    beyond ASCII mostly break UTF-8 is a legacy one.
    """

    def __init__(self, charset: str | None = None, header: bytes = b""):
        self.lines = self._good = self._bad = self._repeated = 0
        self._told, self._sample, self._rest = charset, b"", b""
        self._start = b""
        self._header = header
        self._last = b""

    def take(self, block: bytes) -> None:
        if not self._start:
            self._start = block[:4096]
            self._told = self._told or _charset_by_start(self._start)
        self.lines += block.count(b"\n")
        if b"\r" in block:
            # The other half of a line end may have come with the block before.
            self.lines += block.count(b"\r") - block.count(b"\r\n")
        if self._last == b"\r" and block.startswith(b"\n"):
            self.lines -= 1
        self._last = block[-1:]
        data = self._rest + block
        cut = data.rfind(b"\n") + 1 or _whole_characters(data)
        self._rest = data[cut:] if len(data) - cut < MB else b""
        if self._header:
            self._repeated += data.count(self._header, 0, cut)
        if not self._told:
            self._weigh(data[:cut])

    def _weigh(self, text: bytes) -> None:
        if text.isascii():
            return
        high = len(text) - len(text.translate(None, _HIGH_BYTES))
        try:
            text.decode()
        except UnicodeDecodeError:
            bad = len(text) - len(text.decode("utf-8", "ignore").encode())
            self._bad += bad
            high -= bad
            if len(self._sample) < HEAD:
                self._sample += b"\n".join(line for line in text.split(b"\n") if not line.isascii())[:HEAD]
        self._good += high

    def charset(self) -> str:
        if not self._told:
            self._weigh(self._rest)
            self._rest = b""
            if not self._bad or self._good > 10 * self._bad:
                return "utf-8"
            votes = {
                charset: _plausibility(self._sample.decode(charset, "replace")) for charset in LEGACY_CHARSETS
            }
            return max(votes, key=votes.__getitem__)  # of equals the first, which is the likeliest
        return self._told

    def notes(self) -> tuple[str, ...]:
        if self._repeated > 1:
            told = _("Rows further down that only repeat the header are passed over: %s.")
            return (told % (self._repeated - 1),)
        return ()


def _whole_characters(data: bytes) -> int:
    """How many bytes of the data do not belong to a character of UTF-8 that goes on behind them."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            return len(data) - back
        if byte < 0x80:
            break
    return len(data)


def _charset_by_start(start: bytes) -> str | None:
    for bom, charset in _BOMS:
        if start.startswith(bom):
            return charset
    # UTF-16 without its mark shows by a NUL in every other byte of plain letters.
    head = start[:4096]
    half = len(head) // 2
    if half and head[1::2].count(0) > half * 0.4 and head[0::2].count(0) < half * 0.1:
        return "utf-16-le"
    if half and head[0::2].count(0) > half * 0.4 and head[1::2].count(0) < half * 0.1:
        return "utf-16-be"
    return None


def _raw_line(head: bytes, line: int) -> bytes:
    """A line as it stands in the file, with the line end behind it; empty where it cannot be told simply."""
    if not line or b"\0" in head or b"\n" not in head:
        return b""
    found = head.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    raw = found[line - 1] + b"\n" if line < len(found) else b""
    return raw if len(raw) > 8 else b""


def _delimiter(texts: Sequence[str]) -> str:
    """The delimiter by which most rows have as many cells as the widest usual row; `;` where none divides."""
    votes = {}
    for delimiter in DELIMITERS:
        widths = [len(row) for _line, row in _rows(texts, delimiter) if any(row)]
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
    names: dict[str, None] = {}
    for place, cell in enumerate(row, start=1):
        wanted = name = " ".join(cell.split())[:80] or f"column {place}"
        again = 1
        while name in names:
            again += 1
            name = f"{wanted[:74]} ({again})"
        names[name] = None
    return tuple(names)


def looks_like_data(cell: str) -> bool:
    """Whether a cell holds what no column is called: an address, a number, a date."""
    return _DATA.fullmatch(cell.strip()) is not None


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


def _rows(texts: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of the head, each with the line it begins on; what cannot be read is left out."""
    for line, cells, _odd in lines.records(iter([(list(texts), False)]), delimiter):
        if isinstance(cells, list):
            yield line, cells


def _header(rows: Found) -> tuple[int, tuple[str, ...], int]:
    """(line of the header or 0, names, place of the first row of data). Titles above the table are passed over."""
    width = Counter(len(row) for _line, row in rows).most_common(1)[0][0]
    if width == 1:
        width = len(rows[0][1])
    place, (line, row) = next(((p, r) for p, r in enumerate(rows) if len(r[1]) >= width), (0, rows[0]))
    while len(row) > width and not row[-1].strip():
        row = row[:-1]
    if len(row) > MAX_COLUMNS:
        raise _too_wide(len(row))
    if any(looks_like_data(cell) for cell in row):
        return 0, tuple(f"column {number}" for number in range(1, len(row) + 1)), place
    return line, column_names(row), place + 1


# --- Spreadsheets -------------------------------------------------------------------------------------------------


def _spreadsheet(path: Path, content: Content) -> Dialect:
    with workbook(path, content) as book:
        sheets = book.sheets()
        sheet, rows = _sheet_to_read(book, sheets)
    width = max(len(row) for _line, row in rows)
    if width > MAX_COLUMNS:
        raise _too_wide(width)
    rows = [(line, row + [""] * (width - len(row))) for line, row in rows]
    # The header is the first row without gaps; titles above it have many.
    filled = Counter(sum(bool(cell.strip()) for cell in row) for _line, row in rows[:10]).most_common(1)[0][0]
    place = next(
        p for p, (_line, row) in enumerate(rows) if sum(bool(cell.strip()) for cell in row) >= min(filled, 2)
    )
    header_line, header, first = _header(rows[place:])
    first_rows = tuple(tuple(row) for _line, row in rows[place + first :])
    return Dialect(
        SPREADSHEET, "", header, first_rows[:SAMPLE_ROWS], header_line, max(sheet.rows, len(rows)), sheet.name,
        _about(sheet, sheets), first_rows,
    )  # fmt: skip


def _sheet_to_read(book: Workbook, sheets: Sequence[Sheet]) -> tuple[Sheet, Found]:
    """The first sheet that a person sees and that holds anything, with its first rows."""
    for sheet in sheets:
        if not sheet.hidden:
            filled = (found for found in book.rows(sheet) if any(cell.strip() for cell in found[1]))
            rows = list(islice(filled, FIRST_ROWS))
            if rows:
                return sheet, rows
    if any(sheet.hidden for sheet in sheets):
        raise Unreadable(_("all sheets that hold anything are hidden: show the one to be read"))
    raise Unreadable(_("the spreadsheet is empty"))


def _about(read: Sheet, sheets: Sequence[Sheet]) -> tuple[str, ...]:
    before = sheets[: sheets.index(read)]
    behind = [sheet for sheet in sheets[len(before) + 1 :] if not sheet.hidden and sheet.rows > 1]
    notes = []
    for sheet in before:
        told = {"passed": sheet.name, "read": read.name}
        if sheet.hidden:
            notes.append(_("The sheet «%(passed)s» is hidden and not read; «%(read)s» is.") % told)
        else:
            notes.append(_("The sheet «%(passed)s» is empty; «%(read)s» is read.") % told)
    if behind:
        told = {"passed": ", ".join(sheet.name for sheet in behind[:5]), "read": read.name}
        notes.append(_("Only the sheet «%(read)s» is read; the file also holds: %(passed)s.") % told)
    return tuple(notes)
