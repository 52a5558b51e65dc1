"""What a file really is, whatever it is called, and its content as a stream of bytes that are counted as they come.

A ZIP or gzip around one file is opened on the way. Nothing that a file says about its own size is believed: parts are
unpacked block by block and counted, so that what is small on disk and huge unpacked is refused before anything is
read from it. Asks no database.
"""

import gzip
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from django.utils.translation import gettext as _

BLOCK = 64 * 1024
MB = 1024 * 1024
# A packed text is streamed: the limit only ends what never would.
MAX_UNPACKED = 4096 * MB
# A spreadsheet as it lies on disk, its parts unpacked, and how many parts it may have.
MAX_SPREADSHEET = 128 * MB
MAX_PART = 1024 * MB
MAX_PARTS = 2000
# The old format has to be held in memory, by a process of its own.
MAX_OLD_SPREADSHEET = 24 * MB

TEXT, XLSX, ODS, OLD = "text", "xlsx", "ods", "xls"
ZIP, GZIP = "zip", "gzip"

# What the libraries raise for a file that is damaged or written in a way that they do not know.
BROKEN = (
    OSError, EOFError, LookupError, NotImplementedError, RuntimeError, ValueError, struct.error, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


class Unreadable(ValueError):
    """The file is not a table at all: empty, a picture, a broken spreadsheet."""


@dataclass(frozen=True)
class Content:
    """What a file holds: a text or a kind of spreadsheet; `packed` in a ZIP or gzip, in a ZIP as `member`."""

    kind: str
    packed: str = ""
    member: str = ""

    @property
    def is_spreadsheet(self) -> bool:
        return self.kind != TEXT


def content_of(path: Path) -> Content:
    """Judged by the bytes, since names lie. Raises `Unreadable` for what can hold no table."""
    try:
        with Path(path).open("rb") as stream:
            start = stream.read(1024)
            if start.startswith(b"PK"):
                return _of_zip(stream)
        if start.startswith(b"\x1f\x8b"):
            with gzip.open(path) as stream:
                start = stream.read(1024)
            if start.startswith((b"PK", b"\x1f\x8b")) or _kind(start) != TEXT:
                raise Unreadable(_("the gzip does not hold a text: unpack it first"))
            return Content(TEXT, GZIP)
        kind = _kind(start)
        if kind == OLD:
            _check_old(path)
        return Content(kind)
    except Unreadable:
        raise
    except BROKEN as broken:
        raise Unreadable(_("the file is cut short or damaged")) from broken


@contextmanager
def text_of(path: Path, content: Content) -> Iterator[BinaryIO]:
    """The text as a stream of bytes, unpacked on the way."""
    if content.packed == GZIP:
        with gzip.open(path) as stream:
            yield stream
    elif content.packed == ZIP:
        with zipfile.ZipFile(path) as archive, archive.open(content.member) as stream:
            yield stream
    else:
        with Path(path).open("rb", buffering=0) as stream:
            yield stream


@contextmanager
def spreadsheet_of(path: Path, content: Content) -> Iterator[BinaryIO]:
    """The spreadsheet as a file that can be sought in; one inside a ZIP is copied out first."""
    if content.packed != ZIP:
        with Path(path).open("rb") as stream:
            yield stream
        return
    limit = MAX_OLD_SPREADSHEET if content.kind == OLD else MAX_SPREADSHEET
    with TemporaryFile() as copy:
        with zipfile.ZipFile(path) as archive, archive.open(content.member) as packed:
            for block in counted(packed, limit):
                copy.write(block)
        copy.seek(0)
        yield copy


def counted(stream, limit: int) -> Iterator[bytes]:
    """The blocks of a stream; raises `Unreadable` as soon as more than `limit` bytes have really come, and for a
    stream that is damaged."""
    so_far = 0
    while True:
        try:
            block = stream.read(BLOCK)
        except BROKEN as broken:
            raise Unreadable(_("the file is cut short or damaged")) from broken
        if not block:
            return
        so_far += len(block)
        if so_far > limit:
            raise Unreadable(_("the file unpacks to more than %s MB: send it as CSV") % max(limit // MB, 1))
        yield block


@contextmanager
def parts_of(stream: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """The parts of a spreadsheet. Raises `Unreadable` where there are too many to be looked through."""
    _check_directory(stream)
    with zipfile.ZipFile(stream) as archive:
        yield archive


# --- What the first bytes say -------------------------------------------------------------------------------------


def _kind(start: bytes) -> str:
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        return OLD
    begins = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    for sign, told in _other_things():
        if begins.startswith(sign):
            raise Unreadable(told)
    return TEXT


def _other_things() -> tuple[tuple[tuple[bytes, ...], str], ...]:
    return (
        ((b"%pdf",), _("the file is a PDF: a table is needed, as CSV or XLSX")),
        (
            (b"\x89png", b"\xff\xd8\xff", b"gif8", b"ii*\0", b"mm\0*"),
            _("the file is a picture: a table is needed, as CSV or XLSX"),
        ),
        (
            (b"rar!\x1a", b"7z\xbc\xaf", b"bzh91ay&sy", b"\xfd7zxz", b"\x28\xb5\x2f\xfd"),
            _("the file is packed: unpack it first"),
        ),
        (
            (b"<!doctype html", b"<html", b"<table", b"<meta", b"<head", b"<body"),
            _("the file is a web page that calls itself a spreadsheet: open it there and save it as XLSX or CSV"),
        ),
        ((b"<?xml",), _("the file is XML: save it as XLSX or CSV")),
        ((b"{\\rtf",), _("the file is a text document: a table is needed, as CSV or XLSX")),
    )  # fmt: skip


def _of_zip(stream: BinaryIO) -> Content:
    _check_directory(stream)
    with zipfile.ZipFile(stream) as archive:
        kind = _spreadsheet_kind(archive)
        if kind:
            return Content(kind)
        inside = [
            part
            for part in archive.infolist()
            if not part.is_dir() and not part.filename.startswith(("__MACOSX/", ".")) and "/." not in part.filename
        ]  # fmt: skip
        if not inside:
            raise Unreadable(_("the ZIP holds no file"))
        if len(inside) > 1:
            told = {"number": len(inside), "names": ", ".join(part.filename[:60] for part in inside[:3])}
            raise Unreadable(
                _("the ZIP holds %(number)s files (%(names)s…): one is read at a time, send each alone")
                % told
            )
        (part,) = inside
        if part.flag_bits & 1:
            raise Unreadable(_("the ZIP is protected by a password"))
        with archive.open(part) as member:
            start = member.read(1024)
        if not start.startswith((b"PK", b"\x1f\x8b")):
            return Content(_kind(start), ZIP, part.filename)
    content = Content(XLSX, ZIP, part.filename)
    with spreadsheet_of(stream.name, content) as copy:  # type: ignore[arg-type]
        if start.startswith(b"PK"):
            _check_directory(copy)
            with zipfile.ZipFile(copy) as inner:
                kind = _spreadsheet_kind(inner)
            if kind:
                return Content(kind, ZIP, part.filename)
    raise Unreadable(_("the ZIP holds another packed file: unpack it first"))


def _spreadsheet_kind(archive: zipfile.ZipFile) -> str:
    names = {name.lower() for name in archive.namelist()}
    if "xl/workbook.bin" in names:
        return OLD
    if "[content_types].xml" in names and any(name.endswith("workbook.xml") for name in names):
        return XLSX
    if {"content.xml", "mimetype"} <= names:
        with archive.open("mimetype") as told:
            if b"spreadsheet" not in told.read(200):
                raise Unreadable(_("the file is a text document: a table is needed, as CSV or XLSX"))
        return ODS
    if "word/document.xml" in names or "ppt/presentation.xml" in names:
        raise Unreadable(_("the file is a text document: a table is needed, as CSV or XLSX"))
    return ""


def _check_directory(stream: BinaryIO) -> None:
    """The directory of a ZIP is held in memory whole: how long is it?"""
    size = stream.seek(0, 2)
    tail_at = stream.seek(max(size - 65_557, 0))
    tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise Unreadable(_("the file is cut short or damaged"))
    parts, length = struct.unpack("<HL", tail[at + 10 : at + 16])
    if tail[max(at - 20, 0) : at].startswith(b"PK\x06\x07"):
        (begins,) = struct.unpack("<Q", tail[at - 12 : at - 4])
        stream.seek(min(begins, tail_at + at))
        record = stream.read(56)
        if not record.startswith(b"PK\x06\x06") or len(record) < 56:
            raise Unreadable(_("the file is cut short or damaged"))
        parts, length = struct.unpack("<QQ", record[32:48])
    stream.seek(0)
    if parts > MAX_PARTS or length > MAX_PARTS * 500:
        raise Unreadable(_("the ZIP holds more than %s files") % MAX_PARTS)


def _check_old(path: Path) -> None:
    """Also what a spreadsheet protected by a password is wrapped in, whatever its format."""
    overlap, sign = b"", "EncryptedPackage".encode("utf-16-le")
    with Path(path).open("rb") as stream:
        for block in iter(lambda: stream.read(MB), b""):
            if sign in overlap + block:
                raise Unreadable(_("the spreadsheet is protected by a password: save it without one"))
            overlap = block[-len(sign) :]
    if Path(path).stat().st_size > MAX_OLD_SPREADSHEET:
        told = MAX_OLD_SPREADSHEET // MB
        raise Unreadable(_("the old spreadsheet is larger than %s MB: save it as XLSX or CSV") % told)
