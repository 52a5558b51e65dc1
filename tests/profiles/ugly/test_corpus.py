"""Every file of the corpus comes to what its entry says."""

from pathlib import Path

import pytest
from django.utils import translation

from profiles.imports.detect import Unreadable, detect
from profiles.imports.reading import Refused, rows
from tests.profiles.ugly.corpus import FILES, Ugly

FOLDER = Path(__file__).with_name("files")


@pytest.fixture(autouse=True)
def _in_english():
    with translation.override("en"):
        yield


def path_of(ugly: Ugly, folder: Path) -> Path:
    if ugly.make is None:
        return FOLDER / ugly.name
    path = folder / ugly.name
    path.write_bytes(ugly.make())
    return path


@pytest.mark.parametrize("ugly", [f for f in FILES if not f.unreadable], ids=lambda ugly: ugly.name)
def test_what_can_be_read_is_read_and_the_rest_is_refused_by_line(ugly, tmp_path):
    path = path_of(ugly, tmp_path)
    dialect = detect(path)
    assert (dialect.charset, dialect.delimiter, dialect.header_line) == (
        ugly.charset, ugly.delimiter, ugly.header_line,
    )  # fmt: skip
    assert len(dialect.notes) == len(ugly.notes)
    for note, piece in zip(dialect.notes, ugly.notes, strict=True):
        assert piece in note
    read, refused = {}, {}
    for item in rows(path, dialect):
        (refused if isinstance(item, Refused) else read)[item.line] = item
    assert list(read) == list(ugly.rows)
    if isinstance(ugly.rows, dict):
        for line, cells in ugly.rows.items():
            assert {column: read[line].cells[column] for column in cells} == cells
    assert list(refused) == list(ugly.refused)
    for line, told in ugly.refused.items():
        column, _colon, piece = told.rpartition(": ")
        assert (refused[line].column, piece) == (column, piece)
        assert piece in refused[line].reason
    # The same again, as a worker does that resumes: with what was found out before.
    known = {"charset": dialect.charset, "delimiter": dialect.delimiter or None}
    assert detect(path, **known) == dialect
    assert [item.line for item in rows(path, detect(path, **known))] == sorted([*read, *refused])


@pytest.mark.parametrize("ugly", [f for f in FILES if f.unreadable], ids=lambda ugly: ugly.name)
def test_what_is_no_table_is_refused_as_a_whole_with_the_reason(ugly, tmp_path):
    with pytest.raises(Unreadable) as refusal:
        detect(path_of(ugly, tmp_path))
    assert ugly.unreadable in str(refusal.value)


def test_every_file_of_the_folder_is_in_the_table():
    assert {path.name for path in FOLDER.iterdir()} - {".gitattributes"} == {
        ugly.name for ugly in FILES if ugly.make is None
    }
