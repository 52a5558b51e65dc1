"""Files read: how they are written, their rows good and bad, what stands in a cell; fast, and in bounded memory.

Whole files that are ugly stand in `ugly/corpus.py`.
"""

# ruff: noqa: E501 - files made in a line

import csv
import gzip
import io
import json
import subprocess
import sys
import time
import timeit
import zipfile
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.reading import HEADER, measure, write_customers
from profiles.imports import containers, lines
from profiles.imports.columns import Columns
from profiles.imports.detect import Unreadable, detect
from profiles.imports.mapping import guess
from profiles.imports.reading import MAX_LINE_CHARS, Refused, Row, rows
from profiles.imports.values import NotUnderstood, first_and_last_name, moment, yes_or_no
from profiles.imports.workbooks import number_text
from tests.profiles.ugly.making import Cell, Sheet, gzipped, ods, row, said, table, xls, xlsx, zipped

PARIS = ZoneInfo("Europe/Paris")


@pytest.fixture
def write(tmp_path):
    """`write("a;b\\n1;2\\n", "cp1252")`: the path of a file with this content."""

    def make(content: str | bytes, charset: str = "utf-8", name: str = "clients.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(charset))
        return path

    return make


def readable(path, **known):
    return [row for row in rows(path, detect(path, **known)) if isinstance(row, Row)]


def refused(path, **known):
    return [row for row in rows(path, detect(path, **known)) if isinstance(row, Refused)]


# --- How a file is written ---------------------------------------------------------------------------------------

FRENCH = "Identifiant{d}Nom{d}Prénom\r\n1{d}Lefèvre{d}Hélène\r\n2{d}Noël{d}Zoë\r\n3{d}Façade{d}Gaëtan\r\n"


@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
@pytest.mark.parametrize(
    "charset", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "mac_roman", "cp850"]
)
def test_charset_and_delimiter_are_found(write, charset, delimiter):
    path = write(FRENCH.format(d=delimiter), charset)
    dialect = detect(path)
    assert (dialect.charset, dialect.delimiter) == (charset, delimiter)
    assert dialect.header == ("Identifiant", "Nom", "Prénom")
    assert [row.cells["Prénom"] for row in readable(path)] == ["Hélène", "Zoë", "Gaëtan"]


def test_an_accent_on_the_last_line_decides_the_charset(write):
    path = write("id;nom\n" + "1;Martin\n" * 300_000 + "2;Lefèvre\n", "cp1252")
    assert detect(path).charset == "cp1252"


@pytest.mark.parametrize("charset", ["cp1252", "mac_roman", "cp850"])
@pytest.mark.parametrize(
    "words",
    ["LEFÈVRE;HÉLÈNE", "Élodie;Lefèvre", "FRANÇOIS;J’accepte", "GAËL;NOËL", "n° 12;Besançon", "CÔTÉ;RENÉ"],
)
def test_legacy_charsets_are_told_apart_by_few_letters(write, charset, words):
    if charset == "cp850":
        words = words.replace("’", "'")
    path = write(f"NOM;PRENOM\n{words}\n{words.title()}\n", charset)
    assert detect(path).charset == charset


def test_a_broken_byte_does_not_make_unicode_a_legacy_file(write):
    path = write(b"id;nom\n" + "1;Hélène\n".encode() * 20 + b"2;H\xe9l\xe8ne\n")
    assert detect(path).charset == "utf-8"
    (broken,) = refused(path)
    assert (broken.line, broken.column) == (22, "nom")


def test_commas_in_amounts_do_not_win_over_semicolons(write):
    path = write("nom;solde\n" + "Martin;12,50\n" * 10)
    assert detect(path).delimiter == ";"


def test_excel_may_name_the_delimiter(write):
    path = write("sep=|\nid|nom\n1|a;b\n2|c;d\n")
    dialect = detect(path)
    assert (dialect.delimiter, dialect.header, dialect.header_line) == ("|", ("id", "nom"), 2)
    assert [row.line for row in readable(path)] == [3, 4]


def test_titles_above_the_table_are_passed_over(write):
    path = write("Export des clients\n\nid;nom;ville\n1;Martin;Lille\n2;Caron;Lyon\n")
    assert detect(path).header_line == 3
    assert [row.line for row in readable(path)] == [4, 5]


def test_a_file_without_header_names_columns_by_place(write):
    path = write("1001;Martin;alice@acme.example\n1002;Caron;bruno@acme.example\n")
    dialect = detect(path)
    assert dialect.header == ("column 1", "column 2", "column 3")
    assert len(readable(path)) == 2


def test_columns_without_name_or_with_the_same_name_stay_apart(write):
    assert detect(write("id;Tel;Tel;\n1;2;3;4\n")).header == ("id", "Tel", "Tel (2)", "column 4")


def test_header_alone_is_a_file_without_rows(write):
    path = write("id;nom\n")
    assert detect(path).header == ("id", "nom")
    assert list(rows(path, detect(path))) == []


@pytest.mark.parametrize(
    "content", [b"", b"\n\n \n", b"\x89PNG\r\n\x1a\n" + bytes(range(32)) * 40, b"PK\x03\x04 no"]
)
def test_what_is_no_table_is_refused(write, content):
    with pytest.raises(Unreadable):
        detect(write(content))


# --- Rows, good and bad -------------------------------------------------------------------------------------------


def test_quoted_line_breaks_keep_the_line_numbers_true(write):
    path = write('id;adresse\n1;"12 rue\nde la Paix"\n2;"dit ""le Grand"""\n3\n')
    assert [(row.line, row.cells["adresse"]) for row in readable(path)] == [
        (2, "12 rue\nde la Paix"),
        (4, 'dit "le Grand"'),
    ]
    assert [row.line for row in refused(path)] == [5]


def test_missing_and_surplus_columns_are_refused_but_not_a_last_delimiter(write):
    path = write("id;nom;ville\n1;Martin\n2;Caron;Lille;x\n3;Faure;Lyon;\n;;\n\n4;Petit;Lyon\n")
    assert [row.line for row in refused(path)] == [2, 3]
    assert [row.line for row in readable(path)] == [4, 7]


def test_nul_bytes_are_refused_with_line_and_column(write):
    path = write("id;nom\n1;Mar\0tin\n2;Caron\n")
    (row,) = refused(path)
    assert (row.line, row.column) == (2, "nom")
    assert "\0" not in row.cells["nom"]
    assert len(readable(path)) == 1


def test_a_quotation_mark_never_closed_costs_one_row(write):
    path = write("id;nom\n" + '1;"Martin\n' + "".join(f"{n};Caron\n" for n in range(2, 200)))
    assert [row.line for row in refused(path)] == [2]
    assert [row.line for row in readable(path)] == list(range(3, 201))
    last = write('id;nom\n1;Caron\n2;"Martin\n', name="last.csv")
    assert [row.line for row in refused(last)] == [3]


def test_a_line_without_end_costs_one_row(write):
    path = write("id;nom\n1;Caron\n2;" + "x" * (3 * MAX_LINE_CHARS) + "\n3;Faure\n")
    assert [row.line for row in refused(path)] == [3]
    assert [row.line for row in readable(path)] == [2, 4]


def test_an_endless_line_inside_quotes_keeps_the_lines_around_it(write):
    path = write('id;nom\n1;"Caron\n2;' + "x" * (2 * MAX_LINE_CHARS) + "\n3;Faure\n")
    assert [row.line for row in refused(path)] == [2, 3]
    assert [row.line for row in readable(path)] == [4]


def test_spreadsheets_read_like_text(write):
    table = [[], ["Identifiant", "Nom", "Téléphone"], ["A1", "Lefèvre", 612345678], ["A2", "Noël", ""]]
    path = write(xlsx(Sheet(table)), name="clients.xlsx")
    dialect = detect(path)
    assert dialect.is_spreadsheet
    assert (dialect.header, dialect.header_line) == (("Identifiant", "Nom", "Téléphone"), 2)
    assert [(row.line, row.cells["Téléphone"]) for row in readable(path)] == [(3, "612345678"), (4, "")]


# --- Words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word", ["oui", "Oui", "O", "1", "true", "VRAI", "x", "X", "yes", "Y", "accepté", "opt-in"]
)
def test_words_for_yes(word):
    assert yes_or_no(word) is True


@pytest.mark.parametrize(
    "word", ["non", "N", "0", "false", "Faux", "no", "refusé", "refusée", "opt-out", "STOP"]
)
def test_words_for_no(word):
    assert yes_or_no(word) is False


def test_silence_is_no_answer_and_a_riddle_is_refused():
    assert [yes_or_no(word) for word in ("", " ", "NC", "-", "?")] == [None] * 5
    with pytest.raises(NotUnderstood):
        yes_or_no("peut-être")


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("03/02/2024", "2024-02-02T23:00:00+00:00"),
        ("3-2-2024 14h30", "2024-02-03T13:30:00+00:00"),
        ("2024-07-01", "2024-06-30T22:00:00+00:00"),
        ("2024-07-01T10:00:00Z", "2024-07-01T10:00:00+00:00"),
        ("2024-07-01 10:00:00+02:00", "2024-07-01T08:00:00+00:00"),
        ("20240701", "2024-06-30T22:00:00+00:00"),
        ("20240701101112", "2024-07-01T08:11:12+00:00"),
        ("03/04/26", "2026-04-02T22:00:00+00:00"),
        ("03.04.98", "1998-04-02T22:00:00+00:00"),
        ("3 avril 2026", "2026-04-02T22:00:00+00:00"),
        ("Vendredi 3 avril 2026 à 14h05", "2026-04-03T12:05:00+00:00"),
        ("1er févr. 2026", "2026-01-31T23:00:00+00:00"),
        ("3 April 2026 14:05:06", "2026-04-03T12:05:06+00:00"),
        ("2026-04-03T10:11:12+02:00", "2026-04-03T08:11:12+00:00"),
        ("2026-04-03 10:11:12 +0200", "2026-04-03T08:11:12+00:00"),
        ("2026-04-03 10:11:12 UTC", "2026-04-03T10:11:12+00:00"),
        ("01-03-2024 10:11:12", "2024-03-01T09:11:12+00:00"),
        ("45355", "2024-03-03T23:00:00+00:00"),
        ("45355,5", "2024-03-04T11:00:00+00:00"),
    ],
)
def test_moments_are_read_in_the_brands_zone(text, utc):
    assert moment(text, PARIS).isoformat() == utc


@pytest.mark.parametrize(
    "text",
    [
        "31/02/1984",
        "hier",
        "0000-00-00",
        "12/2024",
        "01/01/0001",
        "12,50",
        "12.50 €",
        "1 234,50",
        "99999",
        "12345678",
        "3 avrul 2026",
        "04/03/2026 10:11 PM",
        "2990000000012",
    ],
)
def test_impossible_dates_are_refused(text):
    with pytest.raises(NotUnderstood):
        moment(text, PARIS)


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        ("Alice Martin", ("Alice", "Martin")),
        ("MARTIN Alice", ("Alice", "MARTIN")),
        ("Jean-Pierre DE LA TOUR", ("Jean-Pierre", "DE LA TOUR")),
        ("de La Tour, Marie", ("Marie", "de La Tour")),
        ("Martin", ("Martin", "")),
    ],
)
def test_whole_names_fall_apart(whole, parts):
    assert first_and_last_name(whole) == parts


# --- Rows as statements -------------------------------------------------------------------------------------------

MAPPING = {
    "id": "external_id", "carte": "card", "nom": "last_name", "tel": "phone", "cp": "postcode", "né le": "birth_date",
    "mail?": "consent_email", "pays": "ignore", "note": "ignore",
}  # fmt: skip


def stated(columns: Columns, row: Row) -> SimpleNamespace | Refused:
    """What one row says, or why it is refused."""
    block = columns.block([row])
    for column, reason in block.refused.values():
        return Refused(row.line, reason, column, row.cells)
    fields = {field: told[0] for field, told in block.fields.items() if told[0]}
    return SimpleNamespace(fields=fields, raw=json.loads(block.raw[0]), consents=tuple(block.consents[0]))


def statement_of(answers=None, **cells):
    values = [cells.get(column.replace(" ", "_").rstrip("?"), "") for column in MAPPING]
    return stated(Columns.of(MAPPING, PARIS, answers), Row(7, values, tuple(MAPPING)))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("carte", "2,99E+12"), ("carte", "2.99000000000001E+15"), ("id", "1E+20"), ("tel", "3.36E+10"),
        ("nom", "#N/A"), ("nom", "#NOM?"), ("tel", "##########"), ("cp", "#VALEUR!"), ("nom", "=A1&B1"), ("id", "="),
        ("mail?", "peut-être"),
    ],
)  # fmt: skip
def test_what_a_spreadsheet_has_spoilt_is_refused_by_line_and_column(column, value):
    refusal = statement_of(**{column.rstrip("?"): value})
    assert isinstance(refusal, Refused)
    assert (refusal.line, refusal.column, refusal.cells[column]) == (7, column, value)


def test_what_is_spoilt_in_a_column_that_is_not_read_does_no_harm():
    stated = statement_of(id="1", note="#N/A", pays="=cmd()")
    assert stated.raw["note"] == "#N/A"


@pytest.mark.parametrize(
    ("field", "cells", "read"),
    [
        ("postcode", {"cp": '="01000"'}, "01000"),
        ("phone", {"tel": "'+33612345678"}, "+33612345678"),
        ("last_name", {"nom": "'t Hooft"}, "'t Hooft"),
        ("last_name", {"nom": "# 12"}, "# 12"),
        ("postcode", {"cp": "1000", "pays": "Belgique"}, "B-1000"),
        ("postcode", {"cp": "1000", "pays": "France"}, "1000"),
        ("birth_date", {"né_le": "31105"}, "1985-02-27"),
        ("birth_date", {"né_le": "1985"}, "1985"),
    ],
)
def test_what_is_certain_is_given_back(field, cells, read):
    assert statement_of(**cells).fields[field] == read


def test_words_that_a_person_explained_are_answers_in_their_column_alone():
    assert isinstance(statement_of(mail="Jamais"), Refused)
    answers = {"mail?": {"jamais": False, "À voir": None}}
    (consent,) = statement_of(answers, mail="JAMAIS").consents
    assert not consent.granted
    assert statement_of(answers, mail="à voir").consents == ()
    assert isinstance(statement_of({"note": {"jamais": False}}, mail="Jamais"), Refused)


# --- The parts agree with the library -----------------------------------------------------------------------------


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=5),
        max_size=30,
    ),
    st.sampled_from([16, 64, 4096]),
)  # fmt: skip
def test_cells_are_those_of_the_csv_module_wherever_the_blocks_are_cut(table, block):
    text = io.StringIO()
    csv.writer(text, delimiter=";", lineterminator="\n").writerows(table)
    content = text.getvalue().removeprefix("\ufeff").encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", block)
        found = list(lines.records(lines.blocks(io.BytesIO(content), "utf-8"), ";"))
    due = list(csv.reader(io.StringIO(content.decode(), newline=""), delimiter=";"))
    assert [cells for _line, cells, _odd in found] == [row or [""] for row in due]
    assert [line for line, _cells, _odd in found] == list(range(1, len(due) + 1))


@pytest.mark.parametrize(
    ("text", "shape", "shown"),
    [
        ("612345678", "", "612345678"),
        ("612345678.0", "", "612345678"),
        ("6.12345678E8", "", "612345678"),
        ("0.30000000000000004", "", "0.3"),
        ("999999999999999", "", "999999999999999"),
        ("1000000000000000", "", "1.00000000000000E+15"),
        ("-12.5", "", "-12.5"),
        ("0.5", "percent", "50%"),
        ("1000", 5, "01000"),
        ("60", "date", "1900-02-28"),
        ("61", "date", "1900-03-01"),
        ("1", "date", "1900-01-01"),
        ("0.5", "date", "12:00:00"),
        ("45355.4999999", "date", "2024-03-04T12:00:00"),
        ("3000000", "date", "#####"),
    ],
)
def test_numbers_of_a_sheet_are_what_a_person_reads(text, shape, shown):
    assert number_text(text, shape) == shown


def answers_of(content: bytes, folder: Path) -> None:
    path = folder / "fuzzed"
    path.write_bytes(content)
    try:
        dialect = detect(path)
    except Unreadable:
        return
    told = list(rows(path, dialect))
    found = [item.line for item in told]
    assert found == sorted(set(found))
    columns = Columns.of(
        {column: found.field for column, found in guess(dialect.header, dialect.first_rows).items()}, PARIS
    )
    columns.block(told)


WHOLE = {
    "xlsx": xlsx(
        Sheet([["id", "nom", "date"], ["1", "Noël", Cell(45355, style=1)], ["2", Cell(0, "s"), True]], merged=["C2:C3"]),
        shared="<si><t>Caron</t></si>",
    ),
    "ods": ods(table([row(said("id"), said("nom")), row(said("1", office_value_type="float", office_value="1"), said("Noël"))])),
    "zip": zipped({"a.csv": b"id;nom\n1;Caron\n2;Martin\n"}),
    "gzip": gzipped(b"id;nom\n1;Caron\n2;Martin\n"),
    "text": 'sep=;\nid;nom;"opt-in e-mail"\n1;"Noël";oui\n2;"Ca\nron";non\n'.encode(),
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(kind, data, tmp_path_factory):
    content = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(content), len(content), data.draw(st.integers(0, len(content)))]))
    answers_of(bytes(content[:end]), tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("kind", ["xlsx", "ods"])
@given(data=st.data())
def test_damaged_xml_is_read_or_refused_and_nothing_else(kind, data, tmp_path_factory):
    with zipfile.ZipFile(io.BytesIO(WHOLE[kind])) as archive:
        parts = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    part = parts[data.draw(st.sampled_from(sorted(parts)))]
    for _ in range(data.draw(st.integers(1, 3))):
        if part:
            at = data.draw(st.integers(0, len(part) - 1))
            part[at : at + data.draw(st.integers(0, 6))] = data.draw(
                st.sampled_from(
                    [b"", b"9", b"-1", b'"', b"<", b"1e999", b"nan", b"s", b"99999999999", b' r="B2"']
                )
            )
    answers_of(
        zipped({name: bytes(content) for name, content in parts.items()}), tmp_path_factory.getbasetemp()
    )


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused_and_nothing_else(tmp_path_factory, content):
    answers_of(content, tmp_path_factory.getbasetemp())


@given(
    st.text(st.sampled_from("a1;,\t|\"\n\r é\0@/.-=#+'€"), max_size=200),
    st.sampled_from(["utf-8", "utf-16", "utf-16-le", "cp1252"]),
)
def test_any_table_is_read_or_refused_and_nothing_else(tmp_path_factory, text, charset):
    answers_of(text.encode(charset), tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("delimiter", [";;", '"', "\n"])
def test_a_delimiter_that_is_none_is_refused(write, delimiter):
    with pytest.raises(Unreadable, match="one character"):
        detect(write("id;nom\n1;Martin\n"), delimiter=delimiter)


# --- In bounded memory ----------------------------------------------------------------------------------------------

MOST_MEGABYTES = 300
MB = 1024 * 1024


def weighed(*paths: Path) -> dict:
    """What came of the files, read one after the other in a process of their own; fails above the limit of memory."""
    program = [sys.executable, "-m", "tests.profiles.ugly.weighing", *map(str, paths)]
    done = subprocess.run(program, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    told = json.loads(done.stdout)
    assert told["megabytes"] < MOST_MEGABYTES
    assert told["helpers_megabytes"] < MOST_MEGABYTES
    return told["files"]


def hollow(path: Path, size: int) -> Path:
    """A file whose second line is `size` bytes long; the disk holds hardly any of them."""
    with path.open("wb") as stream:
        stream.write(b"id;nom;ville\n")
        stream.truncate(size)
        stream.seek(size)
        stream.write(b"\n2;Caron;Lyon\n")
    return path


def blown_up(
    path: Path, part: str, before: bytes, filling: bytes, behind: bytes, times: int, **parts: str
) -> Path:
    """An XLSX one of whose parts unpacks to `times` megabytes."""
    whole = io.BytesIO(xlsx(Sheet([["id", "nom"], ["1", "Noël"]])))
    with (
        zipfile.ZipFile(whole) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for info in source.infolist():
            if info.filename != part:
                archive.writestr(info.filename, source.read(info))
        with archive.open(part, "w", force_zip64=True) as stream:
            stream.write(before)
            block = filling * (MB // len(filling))
            for _ in range(times):
                stream.write(block)
            stream.write(behind)
    return path


SHEET = "xl/worksheets/sheet1.xml"
HEAD = b'<worksheet><sheetData><row r="1"><c t="inlineStr"><is><t>id</t></is></c><c t="inlineStr"><is><t>nom</t></is></c></row>'


def test_what_is_large_is_read_or_refused_in_little_memory(tmp_path):
    packed = tmp_path / "packed.csv.gz"
    with gzip.open(packed, "wb", compresslevel=1) as stream:
        stream.write(b"id;nom;ville\n2;Caron;Lyon\n")
        for _ in range(100):
            stream.write(b"x" * MB)
    wide = tmp_path / "wide.csv"
    wide.write_bytes(b"id;nom\n" + b";".join([b"x"] * 3_000_000) + b"\n1;Caron\n")
    many_names = tmp_path / "names.xlsx"
    names = "".join(f"<a{number}/>" for number in range(500_000))
    many_names.write_bytes(xlsx(Sheet(xml=f"<worksheet><sheetData>{names}</sheetData></worksheet>")))
    bomb = tmp_path / "bomb.xls"
    bomb.write_bytes(xls([["id", "nom"]], {(65_535, 255): 1.0}))
    told = weighed(
        hollow(tmp_path / "hollow.csv", 300 * MB),
        packed,
        wide,
        bomb,
        blown_up(tmp_path / "cell.xlsx", SHEET, HEAD + b'<row r="2"><c t="inlineStr"><is><t>', b"x", b"</t></is></c></row></sheetData></worksheet>", 250),
        blown_up(tmp_path / "attribute.xlsx", SHEET, HEAD + b'<row r="2"><c r="', b"A", b'"/></row></sheetData></worksheet>', 250),
        blown_up(tmp_path / "texts.xlsx", "xl/sharedStrings.xml", b"<sst>", b"<si><t>" + b"x" * 114 + b"</t></si>", b"</sst>", 100),
        blown_up(tmp_path / "deep.xlsx", SHEET, HEAD, b"<a>", b"", 30),
        blown_up(tmp_path / "sheets.xlsx", "xl/workbook.xml", b"<workbook><sheets>", b'<sheet name="a" r:id="rId1"/>', b"</sheets></workbook>", 30),
        blown_up(tmp_path / "styles.xlsx", "xl/styles.xml", b"<styleSheet><numFmts>", b'<numFmt numFmtId="1"/>', b"</numFmts></styleSheet>", 30),
        many_names,
        blown_up(tmp_path / "text.xlsx", "xl/sharedStrings.xml", b"<sst><si><t>", b"x", b"</t></si></sst>", 100),
    )  # fmt: skip
    too_long = "is longer than 100000 characters"
    assert told["hollow.csv"] == {"read": 1, "refused": [[2, too_long]]}
    assert told["packed.csv.gz"] == {"read": 1, "refused": [[3, too_long]]}
    assert told["wide.csv"] == {"read": 1, "refused": [[2, too_long]]}
    assert "too large for its old format" in told["bomb.xls"]["unreadable"]
    assert told["cell.xlsx"]["read"] == 1
    assert "not a spreadsheet" in told["attribute.xlsx"]["unreadable"]
    for name in ("deep.xlsx", "names.xlsx"):
        assert "not a spreadsheet" in told[name]["unreadable"]
    assert "more than 500 sheets" in told["sheets.xlsx"]["unreadable"]
    assert "more than 8 MB" in told["styles.xlsx"]["unreadable"]
    for name in ("texts.xlsx", "text.xlsx"):
        assert "need more than 96 MB" in told[name]["unreadable"]


@pytest.mark.slow
def test_what_is_huge_is_read_or_refused_in_little_memory(tmp_path):
    packed = tmp_path / "endless.csv.gz"
    once = gzip.compress(b"x" * (64 * MB), compresslevel=1)
    packed.write_bytes(gzip.compress(b"id;nom;ville\n") + once * 65)
    told = weighed(
        hollow(tmp_path / "hollow.csv", 10 * 1024 * MB),
        packed,
        blown_up(tmp_path / "part.xlsx", SHEET, HEAD, b"                ", b"</sheetData></worksheet>", 1025),
    )
    assert told["hollow.csv"]["read"] == 1
    assert "more than 4096 MB" in told["endless.csv.gz"]["unreadable"]
    assert "more than 1024 MB" in told["part.xlsx"]["unreadable"]


def test_parts_are_counted_as_they_really_are(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_PART", 2 * MB)
    path = blown_up(tmp_path / "a.xlsx", SHEET, HEAD, b" ", b"</sheetData></worksheet>", 3)
    assert path.stat().st_size < 20_000
    with pytest.raises(Unreadable, match="2 MB"):
        detect(path)


def test_a_sheet_that_breaks_off_costs_what_stands_behind(write, monkeypatch):
    table = [["id", "nom"], *([str(n), "Noël"] for n in range(1, 101))]
    content = Sheet(table).content().replace('<row r="90">', "<row <<<")
    path = write(xlsx(Sheet(xml=content)), name="broken.xlsx")
    found = list(rows(path, detect(path)))
    assert [item.line for item in found if isinstance(item, Row)][-1] <= 89
    assert isinstance(found[-1], Refused)


# --- Fast -----------------------------------------------------------------------------------------------------------


def test_the_customers_of_the_benchmark_are_always_the_same_and_are_understood(tmp_path):
    one, two = tmp_path / "1.csv", tmp_path / "2.csv"
    write_customers(one, 12_000, seed=5)
    write_customers(two, 12_000, seed=5)
    assert one.read_bytes() == two.read_bytes()
    dialect = detect(one)
    assert (dialect.header, dialect.delimiter, dialect.charset, dialect.lines) == (
        HEADER,
        ";",
        "utf-8",
        12_001,
    )
    mapping = {column: guess.field for column, guess in guess(dialect.header, dialect.first_rows).items()}
    assert [mapping[column] for column in HEADER] == (
        "external_id ignore last_name first_name birth_date email phone street ignore postcode city ignore card"
        " store_code stated_at consent_email consent_sms consent_at consent_wording ignore"
    ).split()
    found = list(rows(one, dialect))
    assert [item.line for item in found] == list(range(2, 12_002))
    assert not Columns.of(mapping, PARIS).block(found).refused


@pytest.mark.slow
def test_a_million_rows_take_seconds():
    figures = measure(200_000)
    assert figures["read"] == figures["stated"] == 200_000
    # Half of what a quiet machine shows, in the time in which it adds a million numbers up.
    adding = min(timeit.repeat("sum(range(1_000_000))", number=1, repeat=9, timer=time.process_time))
    assert figures["read_a_cpu_second"] * adding > 2_500
    assert figures["stated_a_cpu_second"] * adding > 375
