"""The table of ugly files: how each is written, which rows can be read and which are refused, or why none can.

A new one is an entry in `FILES`, and the file itself in `files/` or, where it is binary or large, made by a function.
The texts looked for are pieces of the English messages.
"""

# ruff: noqa: E501 - a table reads best with an entry in a line

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.profiles.ugly.making import (
    Cell,
    Sheet,
    compound,
    declaring,
    gzipped,
    ods,
    protected,
    row,
    said,
    table,
    xls,
    xlsx,
    zipped,
)

DATE, PERCENT, FIVE_DIGITS, MOMENT = 1, 2, 3, 4  # places in making.FORMATS


@dataclass
class Ugly:
    """`rows`: line -> some cell of it, or the lines alone. `refused`: line -> piece of the reason, with the column
    before a colon where one is named. `unreadable`: piece of the reason for which the whole file is refused."""

    name: str
    make: Callable[[], bytes] | None = None
    charset: str = "utf-8"
    delimiter: str = ";"
    header_line: int = 1
    rows: Sequence[int] | Mapping[int, Mapping[str, str]] = ()
    refused: Mapping[int, str] = field(default_factory=dict)
    unreadable: str = ""
    notes: Sequence[str] = ()


TWO = [["id", "nom", "ville"], ["1", "Noël", "Lille"], ["2", "Caron", "Lyon"]]
FRENCH = {2: {"prénom": "Hélène"}, 3: {"prénom": "Zoé", "ville": "Besançon"}}
CSV = "id;nom;ville\n1;Noël;Lille\n2;Caron;Lyon\n".encode()


def spreadsheet(name: str, make: Callable[[], bytes], **expected) -> Ugly:
    return Ugly(name, make, charset="xlsx", delimiter="", **expected)


def unreadable(name: str, reason: str, make: Callable[[], bytes] | None = None) -> Ugly:
    return Ugly(name, make, unreadable=reason)


def ods_of(*rows: str, name: str = "Clients", style: str = "") -> str:
    header = row(said("id"), said("nom"), said("ville"))
    return table([header, *rows], name, style)


FILES = [
    # Charsets
    Ugly("utf-8-sig.csv", charset="utf-8-sig", rows=FRENCH),
    Ugly("utf-16-le.csv", charset="utf-16-le", rows=FRENCH),
    Ugly("utf-16-be.csv", charset="utf-16-be", rows=FRENCH),
    Ugly("utf-16-le-bom.csv", charset="utf-16", rows=FRENCH),
    Ugly("utf-16-be-bom.csv", charset="utf-16", rows=FRENCH),
    Ugly("utf-16-odd-byte.csv", charset="utf-16", rows=FRENCH, refused={4: "id: cannot be read"}),
    Ugly("cp1252.csv", charset="cp1252", rows=FRENCH),
    Ugly("mac_roman.csv", charset="mac_roman", rows=FRENCH),
    Ugly("cp850.csv", charset="cp850", rows=FRENCH),
    Ugly("nul.csv", rows=[3], refused={2: "nom: cannot be read"}),
    Ugly("broken-byte.csv", rows=[*range(2, 14), 15], refused={14: "nom: cannot be read"}),
    Ugly("controls.csv", rows=[2, 3, 4]),
    # Lines and delimiters
    Ugly("lone-cr.csv", rows=[2, 3]),
    Ugly("mixed-line-ends.csv", rows={2: {"ville": "Lille"}, 3: {"ville": "Lyon"}, 4: {"ville": "Nice"}}),
    Ugly("mixed-delimiters.csv", rows=[2, 5], refused={3: "«,» and not by «;»", 4: "«⇥» and not by «;»"}),
    Ugly("too-few-too-many.csv", rows=[4], refused={2: "2 columns instead of 3", 3: "4 columns instead of 3"}),
    Ugly("blanks-everywhere.csv", rows=[3, 6]),
    Ugly("sep-line.csv", delimiter=",", header_line=2, rows=[3]),
    Ugly("one-column.csv", rows=[2, 3]),
    # Quotation marks
    Ugly("quote-never-closed.csv", rows=range(3, 71), refused={2: "opens and does not close"}),
    Ugly("quote-inside.csv", rows={2: {"nom": '12" LP'}, 3: {"nom": 'dit "le Grand"'}, 4: {"nom": "ab"}, 5: {"nom": 'x""'}}),
    Ugly("quote-over-lines.csv", rows={2: {"adresse": "12 rue\nde la Paix"}, 4: {"adresse": "a\nb\nc"}, 7: {"adresse": "x"}}),
    Ugly("header-in-quotes-over-lines.csv", rows={3: {"nom de famille": "Martin"}}),
    # Headers and what stands around the table
    Ugly("other-columns-half-way.csv", rows=[2, 3], refused=dict.fromkeys((4, 5, 6), "the columns change at line 4")),
    Ugly("more-columns-half-way.csv", rows=[2, 6], refused=dict.fromkeys((3, 4), "the columns change at line 3"),
         notes=["repeat the header are passed over: 1"]),
    Ugly("header-again.csv", rows=[2, 4, 7], notes=["repeat the header are passed over: 2"]),
    Ugly("trailer.csv", rows=[2, 3], refused={4: "below the table"}),
    Ugly("trailer-in-columns.csv", rows=[2], refused={3: "below the table", 4: "below the table"}),
    Ugly("trailer-of-a-till.csv", rows=[2], refused={3: "below the table", 4: "below the table"}),
    Ugly("a-customer-called-total.csv", rows=[2, 3, 4]),
    Ugly("titles-above.csv", header_line=4, rows=[5, 6]),
    Ugly("no-header.csv", header_line=0, rows=[1, 2]),
    Ugly("header-only.csv"),
    Ugly("header-only-no-line-end.csv"),
    Ugly("excel-wrapped.csv", rows=[2, 3]),
    # No tables at all
    unreadable("empty.csv", "is empty"),
    unreadable("blank.csv", "is empty"),
    unreadable("report.csv", "is a PDF"),
    unreadable("photo.csv", "is a picture"),
    unreadable("page.xls", "is a web page"),
    unreadable("list.csv", "is XML"),
    unreadable("archive.csv", "unpack it first"),
    unreadable("noise.csv", "not a table of text", lambda: bytes(range(1, 32)) * 40),
    # Width and length
    unreadable("100000-columns.csv", "at most 500", lambda: b";".join(b"c%d" % n for n in range(100_000)) + b"\n1;2\n"),
    unreadable("501-columns.csv", "501 columns; at most 500", lambda: b";".join(b"c%d" % n for n in range(501)) + b"\n"),
    Ugly("500-columns.csv", lambda: b";".join(b"c%d" % n for n in range(500)) + b"\n" + b"1;" * 499 + b"1\n", rows=[2]),
    Ugly("a-row-of-90000-columns.csv", lambda: CSV + b";x" * 45_000 + b"\n3;Petit;Nice\n", rows=[2, 3, 5], refused={4: "45001 columns"}),
    Ugly("a-row-without-end.csv", lambda: CSV + b"x" * 300_000 + b"\n3;Petit;Nice\n", rows=[2, 3, 5], refused={4: "longer than 100000"}),
    Ugly("a-row-without-end-in-accents.csv", lambda: CSV + "é".encode() * 150_000 + b"\n3;Petit;Nice\n", rows=[2, 3, 5],
         refused={4: "longer than 100000"}),
    Ugly("a-row-without-end-at-the-end.csv", lambda: CSV + b"x" * 500_000, rows=[2, 3], refused={4: "longer than 100000"}),
    Ugly("rows-without-end.csv", lambda: CSV + (b"x" * 450_000 + b"\r\n") * 2 + b"3;Petit;Nice\r\n", rows=[2, 3, 6],
         refused=dict.fromkeys((4, 5), "longer than 100000")),
    unreadable("a-header-without-end.csv", "line 1 is longer", lambda: b"x" * 200_000 + b"\n1\n"),
    # Archives
    Ugly("one.zip", lambda: zipped({"clients.csv": CSV, "__MACOSX/._clients.csv": b"x", "dossier/": b""}), rows=[2, 3]),
    Ugly("clients.csv.gz", lambda: gzipped(CSV), rows=[2, 3]),
    spreadsheet("one-spreadsheet.zip", lambda: zipped({"clients.xlsx": xlsx(Sheet(TWO))}), rows=[2, 3]),
    unreadable("two.zip", "holds 2 files (a.csv, b.csv…)", lambda: zipped({"a.csv": CSV, "b.csv": CSV})),
    unreadable("none.zip", "holds no file", lambda: zipped({"dossier/": b""})),
    unreadable("nested.zip", "another packed file", lambda: zipped({"a.zip": zipped({"b.zip": zipped({"c.csv": CSV})})})),
    unreadable("gz-in.zip", "another packed file", lambda: zipped({"a.csv.gz": gzipped(CSV)})),
    unreadable("spreadsheet.gz", "unpack it first", lambda: gzipped(xlsx(Sheet(TWO)))),
    unreadable("picture.zip", "is a picture", lambda: zipped({"a.csv": b"\x89PNG\r\n\x1a\n"})),
    unreadable("protected.zip", "protected by a password", lambda: protected(zipped({"a.csv": CSV}))),
    unreadable("thousands.zip", "more than 2000 files", lambda: zipped({f"{n}.csv": b"" for n in range(3000)})),
    unreadable("cut.zip", "cut short or damaged", lambda: zipped({"a.csv": CSV * 50})[:-40]),
    unreadable("cut.csv.gz", "cut short or damaged", lambda: gzipped(CSV * 9999)[:-40]),
    unreadable("lying.zip", "cut short or damaged", lambda: declaring(zipped({"a.csv": CSV * 999}), "a.csv", 100)),
    # Spreadsheets: what stands in their cells
    spreadsheet(
        "cells.xlsx",
        lambda: xlsx(
            Sheet(
                [
                    ["id", "nom", "né le", "créé", "remise", "cp", "actif", "carte", "calcul", "somme", "erreur"],
                    ["1", "Noël", Cell(31105, style=DATE), Cell(45355.5, style=MOMENT), Cell(0.155, style=PERCENT), Cell(1000, style=FIVE_DIGITS),
                     True, 2990000000012, Cell("Alice", "str", formula="B1"), Cell(formula="A1+1"), Cell("#N/A", "e")],
                    ["2", "Caron", "03/04/85", Cell(-5, style=DATE), 0.1 + 0.2, 59000, False, Cell("1.2345678901234568E+17"), 7.0, Cell(12.5), ""],
                ]
            )
        ),
        rows={
            2: {"né le": "1985-02-27", "créé": "2024-03-04T12:00:00", "remise": "15.5%", "cp": "01000", "actif": "1",
                "carte": "2990000000012", "calcul": "Alice", "somme": "=", "erreur": "#N/A"},
            3: {"né le": "03/04/85", "créé": "#####", "remise": "0.3", "cp": "59000", "actif": "0",
                "carte": "1.23456789012346E+17", "calcul": "7", "somme": "12.5", "erreur": ""},
        },
    ),
    spreadsheet(
        "1904.xlsx",
        lambda: xlsx(Sheet([["id", "né le"], ["1", Cell(29643, style=DATE)]]), from_1904=True),
        rows={2: {"né le": "1985-02-27"}},
    ),
    spreadsheet(
        "shared-texts.xlsx",
        lambda: xlsx(
            Sheet([["id", "nom"], ["1", Cell(0, "s")], ["2", Cell(1, "s")]]),
            shared="<si><r><t>Lefè</t></r><r><t>vre</t></r><rPh><t>x</t></rPh></si><si><t>Noël &amp; fils</t></si>",
        ),
        rows={2: {"nom": "Lefèvre"}, 3: {"nom": "Noël & fils"}},
    ),
    spreadsheet(
        "merged.xlsx",
        lambda: xlsx(
            Sheet(
                [["Clients du réseau"], ["id", "nom", "magasin"], ["1", "Noël", "M01"], ["2", "Caron"], ["3", "Petit"], ["4", "Faure"]],
                merged=["A1:C1", "C3:C5"],
            )
        ),
        header_line=2,
        rows={3: {"magasin": "M01"}, 4: {"magasin": "M01"}, 5: {"magasin": "M01"}, 6: {"magasin": ""}},
    ),
    spreadsheet(
        "rows-left-out.xlsx",
        lambda: xlsx(Sheet([[], ["id", "nom"], [], ["1", "Noël"], [], ["2", "Caron", "", "x"], ["3"]])),
        header_line=2,
        rows={4: {"column 4": ""}, 6: {"nom": "Caron", "column 4": "x"}, 7: {"id": "3", "nom": ""}},
    ),
    spreadsheet(
        "header-again.xlsx",
        lambda: xlsx(Sheet([*TWO, TWO[0], ["3", "Petit", "Nice"], ["nom", "id", "ville"], ["Faure", "4", "Arras"], ["Total", "3"]])),
        rows=[2, 3, 5],
        refused=dict.fromkeys((6, 7, 8), "the columns change at line 6"),
    ),
    # Spreadsheets: their sheets
    spreadsheet(
        "hidden-first.xlsx",
        lambda: xlsx(Sheet([["x", "y"], ["1", "2"]], "Listes", hidden=True), Sheet(TWO)),
        rows=[2, 3],
        notes=["«Listes» is hidden"],
    ),
    spreadsheet(
        "empty-first.xlsx", lambda: xlsx(Sheet([], "Feuil1"), Sheet(TWO, "Export")), rows=[2, 3],
        notes=["«Feuil1» is empty; «Export» is read"],
    ),
    spreadsheet(
        "two-sheets.xlsx", lambda: xlsx(Sheet(TWO, "2024"), Sheet(TWO, "2025")), rows=[2, 3],
        notes=["Only the sheet «2024» is read; the file also holds: 2025"],
    ),
    unreadable("all-empty.xlsx", "spreadsheet is empty", lambda: xlsx(Sheet(), Sheet([], "b"))),
    unreadable("all-hidden.xlsx", "are hidden", lambda: xlsx(Sheet(TWO, hidden=True))),
    # Spreadsheets: broken, protected, hostile
    unreadable("truncated.xlsx", "cut short or damaged", lambda: xlsx(Sheet(TWO))[:-300]),
    unreadable("truncated-early.xlsx", "cut short or damaged", lambda: xlsx(Sheet(TWO))[:600]),
    unreadable("no-xml.xlsx", "not a spreadsheet that can be read", lambda: xlsx(Sheet(xml="<worksheet><sheetData><row"))),
    unreadable("no-sheet.xlsx", "spreadsheet is empty", xlsx),
    unreadable("wrong-text.xlsx", "not a spreadsheet that can be read", lambda: xlsx(Sheet([["id", Cell(99, "s")], ["1", "x"]]))),
    unreadable("a-number-that-is-none.xlsx", "not a spreadsheet that can be read", lambda: xlsx(Sheet([["id", Cell("x")], ["1", "x"]]))),
    unreadable("a-column-too-far.xlsx", "not a spreadsheet that can be read",
               lambda: xlsx(Sheet(xml='<worksheet><sheetData><row r="1"><c r="ZZZ1"><v>1</v></c></row></sheetData></worksheet>'))),
    unreadable("a-row-too-far.xlsx", "not a spreadsheet that can be read",
               lambda: xlsx(Sheet(xml='<worksheet><sheetData><row r="1048577"><c r="A1"><v>1</v></c></row></sheetData></worksheet>'))),
    unreadable("600-columns.xlsx", "600 columns; at most 500", lambda: xlsx(Sheet([[f"c{n}" for n in range(600)], ["1"] * 600]))),
    unreadable("entities.xlsx", "not a spreadsheet that can be read",
               lambda: xlsx(Sheet(xml='<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><worksheet>&b;</worksheet>'))),
    unreadable("lying.xlsx", "cut short or damaged",
               lambda: declaring(xlsx(Sheet([TWO[0], *[TWO[1]] * 999])), "xl/worksheets/sheet1.xml", 100)),
    unreadable("thousands-of-parts.xlsx", "more than 2000 files", lambda: xlsx(Sheet(TWO), more={f"x/{n}": "" for n in range(3000)})),
    unreadable("password.xlsx", "protected by a password", lambda: compound({"EncryptedPackage": b"x" * 900, "EncryptionInfo": b"y"})),
    unreadable("document.docx", "text document", lambda: zipped({"[Content_Types].xml": "", "word/document.xml": ""})),
    # ODS
    spreadsheet(
        "cells.ods",
        lambda: ods(
            ods_of(
                row(said("1", office_value_type="float", office_value="1"), said("Noël"), said("01000", office_value_type="float", office_value="1000")),
                row(said("", table_number_columns_repeated="3"), again=5),
                row(said("2"), said("12/03/24", office_value_type="date", office_value_date="", office_date_value="2024-03-12"), said("12 %", office_value_type="percentage", office_value="0.12")),
                row(said("3"), said("VRAI", office_value_type="boolean", office_boolean_value="true"), said("2,99E+12", office_value_type="float", office_value="2990000000012")),
                row(said("4"), said("", table_formula="of:=A1"), said("x"), again=2),
                row(said("", table_number_columns_repeated="16384"), again=1_048_000),
            )
        ),
        rows={
            2: {"id": "1", "nom": "Noël", "ville": "01000"}, 8: {"nom": "2024-03-12", "ville": "12%"},
            9: {"nom": "1", "ville": "2990000000012"}, 10: {"nom": "="}, 11: {"nom": "="},
        },
    ),
    spreadsheet(
        "hidden-first.ods",
        lambda: ods(
            ods_of(row(said("9"), said("x"), said("y")), name="Caché", style="ta2") + ods_of(row(said("1"), said("Noël"), said("Lille"))),
            styles='<style:style style:name="ta1" style:family="table"><style:table-properties table:display="true"/></style:style>'
            '<style:style style:name="ta2" style:family="table"><style:table-properties table:display="false"/></style:style>',
        ),
        rows={2: {"nom": "Noël"}},
        notes=["«Caché» is hidden"],
    ),
    unreadable("password.ods", "protected by a password", lambda: ods(ods_of(), manifest="<x><manifest:encryption-data/></x>")),
    unreadable("text.odt", "text document", lambda: zipped({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": "<x/>"})),
    # XLS
    spreadsheet(
        "old.xls", lambda: xls([["id", "nom", "tel"], ["A1", "Noël", 612345678], ["A2", "Caron", 2.99e17]]),
        rows={2: {"nom": "Noël", "tel": "612345678"}, 3: {"tel": "2.99000000000000E+17"}},
    ),
    unreadable("17-million-cells.xls", "too large for its old format", lambda: xls(TWO, {(65_535, 255): 1.0})),
    unreadable("broken.xls", "too large for its old format", lambda: compound({"Workbook": b"\x09\x08" * 400})),
]  # fmt: skip
