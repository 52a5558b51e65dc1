"""Spreadsheets and archives put together byte by byte, so that they can be wrong in any way wanted."""

# ruff: noqa: E501 - a table reads best with an entry in a line

import gzip
import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
SHEET_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"

# Styles of the workbooks made here: the place in this list is what `Cell.style` names.
FORMATS = ("General", "dd/mm/yyyy", "0%", "00000", "dd/mm/yyyy hh:mm")


@dataclass
class Cell:
    value: Any = None
    kind: str = ""
    style: int = 0
    formula: str = ""

    def xml(self, place: str) -> str:
        kind = f' t="{self.kind}"' if self.kind else ""
        style = f' s="{self.style}"' if self.style else ""
        formula = f"<f>{escape(self.formula)}</f>" if self.formula else ""
        value = f"<v>{escape(str(self.value))}</v>" if self.value is not None else ""
        return f'<c r="{place}"{kind}{style}>{formula}{value}</c>'


@dataclass
class Sheet:
    rows: Sequence[Sequence[Any]] = ()
    name: str = "Clients"
    hidden: bool = False
    merged: Sequence[str] = ()
    xml: str = ""

    def content(self) -> str:
        if self.xml:
            return self.xml
        merged = "".join(f'<mergeCell ref="{area}"/>' for area in self.merged)
        return (
            f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(self._row(r, row) for r, row in enumerate(self.rows, 1) if row)}'
            f"</sheetData>{f'<mergeCells>{merged}</mergeCells>' if merged else ''}</worksheet>"
        )

    def _row(self, number: int, row: Sequence[Any]) -> str:
        cells = "".join(
            _cell(value, f"{_letters(column)}{number}") for column, value in enumerate(row) if value not in ("", None)
        )  # fmt: skip
        return f'<row r="{number}">{cells}</row>'


def _letters(column: int) -> str:
    return (chr(64 + column // 26) if column >= 26 else "") + chr(65 + column % 26)


def _cell(value: Any, place: str) -> str:
    if isinstance(value, Cell):
        return value.xml(place)
    if isinstance(value, bool):
        return Cell(int(value), "b").xml(place)
    if isinstance(value, int | float):
        return Cell(value).xml(place)
    return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'


def xlsx(
    *sheets: Sheet, from_1904: bool = False, shared: str = "", more: Mapping[str, str | bytes] | None = None
) -> bytes:
    formats = "".join(
        f"<numFmt numFmtId={quoteattr(str(164 + n))} formatCode={quoteattr(code)}/>" for n, code in enumerate(FORMATS)
    )  # fmt: skip
    styles = "".join(f'<xf numFmtId="{164 + n}"/>' for n in range(len(FORMATS)))
    named = "".join(
        f'<sheet name={quoteattr(sheet.name)} sheetId="{n}" r:id="rId{n}"{" state=" + quoteattr("hidden") if sheet.hidden else ""}/>'
        for n, sheet in enumerate(sheets, 1)
    )
    related = "".join(
        f'<Relationship Id="rId{n}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{SHEET_TYPE}.sheet.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1"'
        f' Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}">'
        f'<workbookPr{" date1904=" + quoteattr("1") if from_1904 else ""}/><sheets>{named}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">{related}'
        f'<Relationship Id="rS" Type="{OFFICE}/styles" Target="styles.xml"/>'
        f'<Relationship Id="rT" Type="{OFFICE}/sharedStrings" Target="sharedStrings.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><numFmts>{formats}</numFmts><cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>'
        f"<cellXfs>{styles}</cellXfs></styleSheet>",
        "xl/sharedStrings.xml": f'<sst xmlns="{MAIN}">{shared}</sst>',
    }  # fmt: skip
    for n, sheet in enumerate(sheets, 1):
        parts[f"xl/worksheets/sheet{n}.xml"] = sheet.content()
    return zipped({**parts, **(more or {})})


def ods(tables: str, styles: str = "", manifest: str = "") -> bytes:
    kinds = "urn:oasis:names:tc:opendocument:xmlns"
    spaces = " ".join(f'xmlns:{name}="{kinds}:{name}:1.0"' for name in ("office", "table", "text", "style"))
    content = (
        f"<office:document-content {spaces}><office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body></office:document-content>"
    )
    return zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": content,
            "META-INF/manifest.xml": manifest or "<manifest/>",
        }
    )


def table(rows: Sequence[str], name: str = "Clients", style: str = "") -> str:
    return f'<table:table table:name="{name}" table:style-name="{style}">{"".join(rows)}</table:table>'


def row(*cells: str, again: int = 1) -> str:
    return f'<table:table-row table:number-rows-repeated="{again}">{"".join(cells)}</table:table-row>'


def said(text: str, **attributes: Any) -> str:
    """A cell of an ODS: `said("12", office_value="12", office_value_type="float")`."""
    told = "".join(
        f' {name.replace("_", ":", 1).replace("_", "-")}="{value}"' for name, value in attributes.items()
    )
    return f"<table:table-cell{told}>{f'<text:p>{escape(text)}</text:p>' if text else ''}</table:table-cell>"


def zipped(parts: Mapping[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def declaring(archive: bytes, part: str, size: int) -> bytes:
    """The archive with a lie in it: both directories say that the part has `size` bytes unpacked."""
    changed = bytearray(archive)
    name = part.encode()
    for sign, size_at, name_at in ((b"PK\x03\x04", 22, 30), (b"PK\x01\x02", 24, 46)):
        at = changed.find(sign)
        while at >= 0:
            if changed[at + name_at : at + name_at + len(name)] == name:
                changed[at + size_at : at + size_at + 4] = struct.pack("<L", size)
            at = changed.find(sign, at + 4)
    return bytes(changed)


def protected(archive: bytes) -> bytes:
    """The archive with the flag of a password on its parts."""
    changed = bytearray(archive)
    for sign, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = changed.find(sign)
        while at >= 0:
            changed[at + flags_at] |= 1
            at = changed.find(sign, at + 4)
    return bytes(changed)


def xls(rows: Sequence[Sequence[Any]], at: Mapping[tuple[int, int], float] | None = None) -> bytes:
    """An old spreadsheet (BIFF8 in a compound file) of texts and numbers; `at` puts numbers anywhere."""
    cells = b"".join(
        _label(r, c, value) if isinstance(value, str) else _biff(0x203, struct.pack("<HHHd", r, c, 0, value))
        for r, some in enumerate(rows)
        for c, value in enumerate(some)
        if value != ""
    ) + b"".join(_biff(0x203, struct.pack("<HHHd", r, c, 0, value)) for (r, c), value in (at or {}).items())
    begin = _biff(0x809, struct.pack("<HHHHLL", 0x600, 5, 0, 0, 0, 6))
    name = b"Clients"
    end = _biff(0x0A, b"")
    sheet_at = len(begin) + 4 + 8 + len(name) + len(end)
    bound = _biff(0x85, struct.pack("<LBBBB", sheet_at, 0, 0, len(name), 0) + name)
    sheet = _biff(0x809, struct.pack("<HHHHLL", 0x600, 0x10, 0, 0, 0, 6)) + cells + end
    return compound({"Workbook": begin + bound + end + sheet})


def _biff(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def _label(row: int, column: int, text: str) -> bytes:
    return _biff(0x204, struct.pack("<HHHHB", row, column, 0, len(text), 1) + text.encode("utf-16-le"))


def compound(streams: Mapping[str, bytes]) -> bytes:
    """A compound file (OLE) of a few streams."""
    end, free, fat_sector = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD
    fat, sectors, entries = [fat_sector, end], [], []
    for name, content in streams.items():
        padded = content.ljust(4096, b"\0")
        padded += b"\0" * (-len(padded) % 512)
        first = len(fat)
        count = len(padded) // 512
        fat += [*range(first + 1, first + count), end]
        sectors.append(padded)
        entries.append((name, 2, free, first, len(content.ljust(4096, b"\0"))))
    entries.insert(0, ("Root Entry", 5, 1, end, 0))
    directory = b"".join(
        name.encode("utf-16-le").ljust(64, b"\0")
        + struct.pack("<HBBLLL", len(name) * 2 + 2, kind, 1, free, place + 1 if 0 < place < len(entries) - 1 else free, child)
        + bytes(36)
        + struct.pack("<LQ", start, size)
        for place, (name, kind, child, start, size) in enumerate(entries)
    ).ljust(512, b"\0")  # fmt: skip
    assert len(fat) <= 128, "one sector of the allocation table holds 64 kB"
    header = (
        bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
        + struct.pack("<LLLLLLLLL", 0, 1, 1, 0, 4096, end, 0, end, 0) + struct.pack("<L", 0) + b"\xff" * 4 * 108
    )  # fmt: skip
    return header + struct.pack("<128L", *fat, *[free] * (128 - len(fat))) + directory + b"".join(sectors)
