"""The lines of a text, and the cells of its lines, as fast as Python allows and in bounded memory. Asks no database.

A text is read in blocks of 64 kB that are cut at line ends and decoded at once; what is odd about a block (a NUL, a
broken byte) is asked once for the block and not once for each cell. A line without quotation marks is split where its
delimiters are, any other goes through the csv module.
"""

import codecs
import csv
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from django.utils.translation import gettext as _

BLOCK = 64 * 1024
# Longer than a block: only the first line of a block can be longer.
MAX_LINE_CHARS = 100_000
# A row may span lines where a quoted cell does; one that spans more has lost a quotation mark.
MAX_ROW_LINES = 50

_MAX_LINE_BYTES = 4 * MAX_LINE_CHARS

# Whole lines without their ends (None for one that is too long), and whether some hold what cannot be read.
Lines = tuple[list[str | None], bool]


def blocks(stream: BinaryIO, charset: str) -> Iterator[Lines]:
    """The lines of a stream of bytes, some at a time; `\\r`, `\\n` and both together end a line."""
    source: BinaryIO | _Narrowed = stream
    wide = charset.startswith("utf-16")
    if wide:
        source, charset = _Narrowed(stream, charset), "utf-8"
    elif charset == "utf-8-sig":
        charset = "utf-8"
    rest, first = b"", True
    while True:
        block = source.read(BLOCK)
        data = rest + block
        if not data:
            return
        cut = _last_end(data) if block else len(data)
        if not cut:
            rest = data
            if len(data) > _MAX_LINE_BYTES:
                yield [None], False
                rest = _behind_line(source)
            continue
        rest = data[cut:]
        try:
            text = data[:cut].decode(charset)
            odd = "\0" in text or (wide and "\ufffd" in text)
        except UnicodeDecodeError:
            text, odd = data[:cut].decode(charset, "surrogateescape"), True
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if first:
            text, first = text.removeprefix("\ufeff"), False
        lines: list[str | None] = list(text.split("\n"))
        if text.endswith("\n"):
            lines.pop()
        if lines and len(lines[0] or "") > MAX_LINE_CHARS:
            lines[0] = None
        yield lines, odd


def _last_end(data: bytes) -> int:
    """Behind the last line end that is certainly whole; 0 where there is none."""
    return data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, -1) + 1


def _behind_line(source) -> bytes:
    """Reads on to the end of a line that nobody can hold; what was read behind it."""
    while block := source.read(BLOCK):
        if block.endswith(b"\r"):
            block += source.read(1)
        ends = [place for place in (block.find(b"\r"), block.find(b"\n")) if place >= 0]
        if ends:
            end = min(ends)
            return block[end + 2 :] if block[end : end + 2] == b"\r\n" else block[end + 1 :]
    return b""


class _Narrowed:
    """A stream of UTF-16 as UTF-8; what is no character becomes U+FFFD."""

    def __init__(self, stream: BinaryIO, charset: str):
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(charset)("replace")

    def read(self, size: int) -> bytes:
        while block := self._stream.read(size):
            if text := self._decoder.decode(block):
                return text.encode("utf-8", "replace")
        return self._decoder.decode(b"", final=True).encode("utf-8", "replace")


def records(found: Iterator[Lines], delimiter: str) -> Iterator[tuple[int, list[str] | str, bool]]:
    """(line on which it begins, cells, whether it may hold what cannot be read) for each row; in place of the cells
    of one that cannot be read, why.

    A line too long, or a quotation mark that never closes, costs that one line: the next one is read on its own.
    """
    rows = _Rows(delimiter)
    line = 0
    held: list[str | None] = []
    held_odd = False
    for block, block_odd in chain(found, ((None, False),)):
        last = block is None
        lines = held + (block or [])
        odd = block_odd or held_odd
        held, held_odd = [], False
        place, count = 0, len(lines)
        while place < count:
            text = lines[place]
            if text is None:
                line += 1
                place += 1
                yield line, _("is longer than %s characters") % MAX_LINE_CHARS, False
            elif '"' not in text:
                line += 1
                place += 1
                yield line, text.split(delimiter), odd
            else:
                cells, used = rows.quoted(text, lines, place, last)
                if not used:
                    held, held_odd = lines[place:], odd
                    break
                yield line + 1, cells, odd
                line += used
                place += used


class _Rows:
    """Rows with quotation marks."""

    def __init__(self, delimiter: str):
        # Made once: a reader that is given a dialect ready made costs a fraction.
        self._strict = csv.reader((), delimiter=delimiter, strict=True).dialect
        self._lenient = csv.reader((), delimiter=delimiter).dialect

    def quoted(
        self, first: str, lines: list[str | None], place: int, last: bool
    ) -> tuple[list[str] | str, int]:
        """The cells of the row that begins there, or why there are none, and how many lines it takes; 0 lines where
        the next block has to be known."""
        try:
            return next(csv.reader((first,), self._strict)), 1
        except csv.Error:
            pass  # it goes on behind this line, or is written carelessly
        window: list[str] = []
        for text in lines[place : place + MAX_ROW_LINES]:
            if text is None:
                break
            window.append(text + "\n")
        # A mark left open swallows the line behind the last one: that tells it.
        reader = csv.reader(chain(window, ("",)), self._lenient)
        try:
            cells = next(reader)
        except csv.Error as error:
            return _("cannot be read: %s") % error, 1
        if reader.line_num <= len(window):
            return cells, reader.line_num
        if not last and place + len(window) == len(lines) and len(window) < MAX_ROW_LINES:
            return "", 0
        return _("a quotation mark opens and does not close"), 1
