"""Files read: how they are written, their rows good and bad, what stands in a cell; fast, and in bounded memory.

Whole files that are ugly stand in `ugly/corpus.py`.
"""

import json
import os
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.utils import translation

from benchmarks.reading import HEADER, measure, write_customers
from profiles.imports import containers, lines, workbooks
from profiles.imports.detect import SAMPLE_ROWS, Unreadable, charset_of, detect
from profiles.imports.mapping import guess
from profiles.imports.reading import MAX_LINE_CHARS, Refused, Row, rows
from profiles.imports.statements import Reading
from profiles.imports.values import NotUnderstood, first_and_last_name, moment, yes_or_no
from tests.profiles.ugly.making import Cell, Sheet, xlsx, zipped

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
    assert charset_of(path) == "cp1252"


@pytest.mark.parametrize("charset", ["cp1252", "mac_roman", "cp850"])
@pytest.mark.parametrize(
    "words",
    ["LEFÈVRE;HÉLÈNE", "Élodie;Lefèvre", "FRANÇOIS;J’accepte", "GAËL;NOËL", "n° 12;Besançon", "CÔTÉ;RENÉ"],
)
def test_legacy_charsets_are_told_apart_by_few_letters(write, charset, words):
    if charset == "cp850":
        words = words.replace("’", "'")
    path = write(f"NOM;PRENOM\n{words}\n{words.title()}\n", charset)
    assert charset_of(path) == charset


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
    ],
)
def test_moments_are_read_in_the_brands_zone(text, utc):
    assert moment(text, PARIS).isoformat() == utc


@pytest.mark.parametrize("text", ["31/02/1984", "hier", "0000-00-00", "12/2024", "01/01/0001"])
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


