"""A whole table at once: quality on invented people, the rules above the scores, and the command."""

import csv
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from profiles.matching import __main__ as matching_main
from profiles.matching.recognising import recognise
from profiles.matching.rules import RULES
from profiles.matching.table import Table
from profiles.matching.unifying import unify
from tests.profiles.invented import pairwise, people

NOBODY = np.empty(0, dtype=int), np.empty(0, dtype=int)


@pytest.fixture(scope="module")
def made():
    return people(420)


@pytest.fixture(scope="module")
def resolved(made):
    return unify(Table.of(made.columns))


def test_invented_people_are_found_again(made, resolved):
    precision, recall = pairwise(resolved.labels.tolist(), made.persons)
    assert precision > 0.97
    assert recall > 0.90


def test_the_automatic_tier_is_finer_and_keeps_its_promise(made, resolved):
    precision, recall = pairwise(resolved.automatic.tolist(), made.persons)
    assert precision > 0.985
    assert recall > 0.75
    for tier in set(resolved.automatic.tolist()):
        assert len(set(resolved.labels[resolved.automatic == tier].tolist())) == 1
    for place in resolved.review:
        i, j = resolved.pairs.left[place], resolved.pairs.right[place]
        assert resolved.labels[i] == resolved.labels[j]
        assert resolved.automatic[i] != resolved.automatic[j]


def test_the_order_of_the_records_hardly_matters(made, resolved):
    order = np.random.default_rng(3).permutation(len(made.persons))
    turned = unify(
        Table.of({name: [values[row] for row in order] for name, values in made.columns.items()}),
        resolved.model,
    )
    back = np.empty(len(order), dtype=int)
    back[order] = turned.labels
    precision, recall = pairwise(back.tolist(), resolved.labels.tolist())
    assert min(precision, recall) > 0.995


def test_people_s_decisions_bind_both_tiers(made, resolved):
    table = Table.of(made.columns)
    one, other = np.flatnonzero(resolved.automatic == np.bincount(resolved.automatic).argmax())[:2]
    stranger = int(np.flatnonzero(resolved.labels != resolved.labels[one])[0])
    together = np.arange(table.size)
    together[stranger] = one
    again = unify(table, resolved.model, together=together, never=(np.array([one]), np.array([other])))
    for labels in (again.labels, again.automatic):
        assert labels[one] == labels[stranger]
        assert labels[one] != labels[other]


def _joined_by_the_first(table, profiles, model, *, never=NOBODY):
    """Positions of the records that the first one joins by the default, given the profiles of the others."""
    left, right = np.zeros(table.size - 1, dtype=np.int64), np.arange(1, table.size)
    together = np.unique(np.concatenate(([-1], profiles)), return_inverse=True)[1]
    found = recognise(table, left, right, model, counts={}, together=together, never=never)
    assert set(found.automatic[1:][found.automatic[1:] == found.automatic[0]]) <= {found.automatic[0]}
    return set((np.flatnonzero(found.labels[1:] == found.labels[0]) + 1).tolist())


def test_a_record_that_arrives_joins_whom_the_batch_would_have_it_join(made, resolved):
    table = Table.of(made.columns)
    profiles = resolved.labels
    agreed = asked = 0
    for record in range(0, table.size, 9):
        near = [i for i in range(table.size) if made.homes[i] == made.homes[record] and i != record]
        if not near:
            continue
        few = Table.of({name: [values[i] for i in (record, *near)] for name, values in made.columns.items()})
        joined = _joined_by_the_first(few, profiles[near], resolved.model)
        expected = {place for place, i in enumerate(near, 1) if profiles[i] == profiles[record]}
        agreed += expected == joined
        asked += 1
        if joined:
            parted = np.zeros(len(near), dtype=int), np.arange(1, few.size)
            assert _joined_by_the_first(few, profiles[near], resolved.model, never=parted) == set()
    assert agreed > 0.95 * asked


def test_a_record_without_neighbours_joins_nobody(resolved):
    alone = Table.of({"email": ["kelnar@orange.fr"]})
    assert _joined_by_the_first(alone, np.empty(0, dtype=int), resolved.model) == set()


def rule_of(**columns):
    """The rule on the first two records, whether they may merge by themselves, and their weight with it."""
    table = Table.of({name: [*values, "", ""] for name, values in columns.items()})
    pairs = unify(table).pairs
    for place in np.flatnonzero((pairs.left == 0) & (pairs.right == 1)):
        return (
            RULES[pairs.ruling.rule[place]],
            bool(pairs.ruling.automatic[place]),
            pairs.ruling.weight[place],
        )
    return "apart", False, -99


NAMES = {"first_name": ["Brelum", "Brelum"], "last_name": ["Kelnar", "Kelnar"]}


def test_the_same_customer_number_is_one_person_whatever_else_is_said():
    assert rule_of(customer_id=["W1234", "w1234"], first_name=["Brelum", "Yozan"])[:2] == (
        "same_customer",
        True,
    )


def test_the_same_card_is_one_person_unless_first_names_contradict():
    card = ["2990001234567", "2990001234567"]
    assert rule_of(loyalty_number=card, last_name=["Kelnar", ""])[:2] == ("same_card", True)
    assert rule_of(loyalty_number=card, first_name=["Brelum", "Yozan"])[0] in ("apart", "household")


def test_a_shared_contact_never_merges_two_first_names():
    shared = {"email": ["famille@orange.fr"] * 2, "phone": ["0671849320"] * 2, "last_name": ["Kelnar"] * 2}
    assert rule_of(**shared, first_name=["Brelum", "Yozan"])[0] in ("apart", "household")
    assert rule_of(**shared, first_name=["Paul", "Pauline"])[0] in ("apart", "household")


def test_father_and_son_of_one_name_wait_for_somebody():
    home = {"street": ["rue Creuse"] * 2, "street_number": ["4"] * 2, "postcode": ["21000"] * 2}
    assert rule_of(**NAMES, **home)[:2] == ("name_and_address", False)
    shared = {"email": ["b.kelnar@orange.fr"] * 2, "phone": ["0671849320"] * 2}
    assert rule_of(**NAMES, **home, **shared, birth_date=["1950-03-04", "1981-11-25"])[:2] == (
        "namesakes",
        False,
    )


def test_a_record_that_fits_father_and_son_waits_for_somebody():
    three = {
        "first_name": ["Brelum"] * 3, "last_name": ["Kelnar"] * 3, "phone": ["0671849320"] * 3,
        "birth_date": ["", "1950-03-04", "1981-11-25"],
    }  # fmt: skip
    found = unify(Table.of(three))
    assert len(set(found.automatic.tolist())) == 3


def test_a_name_alone_and_a_device_alone_are_never_automatic():
    assert rule_of(**NAMES)[:2] in (("name_alone", False), ("apart", False))
    assert rule_of(device_id=["dv12ab34", "dv12ab34"])[:2] == ("device_alone", False)


def test_an_empty_table_and_a_single_record_are_resolved():
    assert unify(Table.of({"first_name": []})).labels.tolist() == []
    assert unify(Table.of({"first_name": ["Brelum"]})).labels.tolist() == [0]
    assert unify(Table.of({"first_name": ["", ""]})).labels.tolist() == [0, 1]


CARD = "2990001234567"
SPOUSES = {"first_name": ["", "Paul", "Lucie"], "last_name": ["", "Garrigou", "Garrigou"]}
FATHER_AND_SON = {
    "first_name": ["", "Brelum", "Brelum"], "last_name": ["", "Kelnar", "Kelnar"],
    "birth_date": ["", "1950-03-04", "1981-11-25"],
}  # fmt: skip
TWINS = {
    "first_name": ["", "Paul", "Sylvie"],
    "last_name": ["Garrigou"] * 3,
    "birth_date": ["2005-06-01"] * 3,
}


@pytest.mark.parametrize(
    "people_of", [SPOUSES, FATHER_AND_SON, TWINS], ids=["spouses", "father, son", "twins"]
)
@pytest.mark.parametrize(
    "shared",
    [
        {"loyalty_number": [CARD] * 3},
        {"email": ["famille@orange.fr"] * 3, "phone": ["0671849320"] * 3, "postcode": ["31000"] * 3},
        {"loyalty_number": [CARD] * 3, "email": ["famille@orange.fr"] * 3, "phone": ["0671849320"] * 3},
    ],
    ids=["card", "contact", "both"],
)
def test_who_must_be_kept_apart_does_not_meet_through_a_third_record(people_of, shared):
    """The first record is the till's: a card or a contact and no first name, so that it fits both."""
    table = Table.of(people_of | shared)
    found = unify(table)
    assert found.automatic[1] != found.automatic[2]
    # The same where the till's record hangs on one of them already, and where nobody hangs together yet.
    left, right = np.array([0, 0, 1]), np.array([1, 2, 2])
    for together in ([0, 0, 1], [0, 1, 0], [0, 1, 2]):
        bound = {"counts": {}, "together": np.array(together), "never": NOBODY}
        again = recognise(table, left, right, found.model, **bound)
        assert again.automatic[1] != again.automatic[2], together


def test_nobody_is_asked_about_the_card_of_two_whom_the_rest_tells_apart():
    born = {"birth_date": ["", "1980-03-04", "1985-11-21"]}
    found = unify(Table.of(SPOUSES | born | {"loyalty_number": [CARD] * 3}))
    assert found.labels[1] != found.labels[2]


def test_a_customer_number_makes_one_person_whatever_third_records_say():
    """A household's contact beside it, told by a record that fits one of the two alone."""
    found = unify(
        Table.of(
            {
                "first_name": ["Brelum", "Yozan", "Brelum"], "last_name": ["Kelnar"] * 3,
                "customer_id": ["W1234", "W1234", ""], "email": ["famille@orange.fr"] * 3,
            }
        )
    )  # fmt: skip
    assert found.automatic[0] == found.automatic[1]


def test_what_people_joined_stays_though_their_names_exclude_each_other():
    table = Table.of(SPOUSES | {"loyalty_number": [CARD] * 3})
    assert len(set(unify(table, together=np.array([0, 1, 1])).automatic.tolist())) <= 2
    joined = unify(table, together=np.array([0, 1, 1])).automatic
    assert joined[1] == joined[2]


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_the_command_writes_profiles_and_pairs_to_review(tmp_path, made, capsys):
    head = ["record_id", *made.columns]
    ids = [f"r{number}" for number in range(len(made.persons))]
    records = write(tmp_path / "in.csv", [head, *zip(ids, *made.columns.values(), strict=True)])
    out, review = tmp_path / "out.csv", tmp_path / "review.csv"
    call_command("unify_file", str(records), f"--out={out}", f"--review={review}", "--language=en")
    assert f"{len(ids)} records, " in capsys.readouterr().out
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["record_id"] for row in rows] == ids
    profiles = [row["profile_id"] for row in rows]
    assert pairwise(profiles, made.persons)[0] > 0.97
    asked = list(csv.reader(review.read_text().splitlines()))
    assert asked[0] == ["record_id", "record_id", "probability", "sentence"]
    assert all(0 <= float(row[2]) <= 1 and row[3].endswith(".") for row in asked[1:])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name\nBrelum\n", "no column called record_id"),
        ("record_id,source\n1,till\n", "no column that can be compared"),
        ("record_id,phone,phone\n1,,\n", "two columns are called 'phone'"),
        ("id;phone\n1;2\n", "no column called record_id, but 'id', 'phone'"),
        ("record_id,phone\n1,0671849320\n1,\n", "line 3, record 2: record_id '1' was given to record 1"),
        ('record_id,phone\n\n1,"06\n71"\n1,\n', "line 5, record 2: record_id '1' was given to record 1"),
        ("record_id,phone\n,0671849320\n", "line 2, record 1: record_id is empty"),
        ("record_id,phone\n1,0671849320\n2\n", "line 3, record 2: 1 values where the first line names 2"),
        ("record_id,email\n1," + "x" * 200_000 + "\n", "line 2: not valid CSV"),
        (
            "record_id,email\n1,a@b.fr\nrecord_id,email\n",
            "line 3, record 2: the names of the columns come again",
        ),
        ("", "no column called record_id, but nothing at all"),
        ('record_id,phone\n1,"0671"849320\n', "line 2: not valid CSV"),
        ("record_id,phone\n1,\n2,\n", "no column holds anything"),
    ],
)
def test_a_file_that_is_no_good_is_refused_with_its_reason(tmp_path, text, said):
    records = tmp_path / "in.csv"
    records.write_text(text)
    with pytest.raises(CommandError, match=said):
        call_command("unify_file", str(records), f"--out={tmp_path / 'out.csv'}")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_file_is_read_however_it_was_saved(tmp_path, capsys, delimiter, encoding):
    """As French spreadsheets save it, semicolons and cp1252 among the rest."""
    rows = [
        ["Record_ID", "first_name", "last_name", "email", "shoe, size; left"],
        ["1", "Zoé", "Lefèvre", "zoe.lefevre@orange.fr", "38"],
        ["2", "Zoe", "LEFEVRE", "zoe.lefevre@orange.fr", "38"],
    ]
    records, out = tmp_path / "in.csv", tmp_path / "out.csv"
    text = StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    records.write_bytes(text.getvalue().encode(encoding))
    call_command("unify_file", str(records), f"--out={out}")
    assert out.read_text().split() == ["record_id,profile_id", "1,1", "2,1"]
    said = capsys.readouterr().out
    assert f"read as {encoding.removesuffix('-sig')}, columns parted by {delimiter!r}" in said
    assert "compared as texts: shoe, size; left" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04 and so on", "a spreadsheet or an archive"),
        (b"record_id,x\n1,\x81\x8d\n", "neither UTF-8"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, said):
    records = tmp_path / "in.csv"
    records.write_bytes(content)
    with pytest.raises(CommandError, match=said):
        call_command("unify_file", str(records), f"--out={tmp_path / 'out.csv'}")


def test_no_output_takes_the_place_of_the_records_or_of_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = "record_id,email\n1,kelnar@orange.fr\n"
    Path("in.csv").write_text(told)
    for wrong, why in (
        (["--out=in.csv"], "would overwrite the records"),
        (["--out=./in.csv"], "would overwrite the records"),
        (["--out=out.csv", "--review=out.csv"], "would overwrite itself"),
        (["--out=out.csv", "--automatic=none/there.csv"], "there is no folder none"),
        (["--out=out.csv", "--review=."], "a folder, not a file"),
    ):
        with pytest.raises(CommandError, match=why):
            call_command("unify_file", "in.csv", *wrong)
        assert [path.name for path in Path().iterdir()] == ["in.csv"], wrong
    assert Path("in.csv").read_text() == told


def test_what_cannot_be_written_to_its_end_leaves_what_was_there(tmp_path, monkeypatch):
    records, out, review = tmp_path / "in.csv", tmp_path / "out.csv", tmp_path / "review.csv"
    records.write_text("record_id,email\n1,kelnar@orange.fr\n")
    out.write_text("of last week")

    def full(*_told):
        raise OSError("no space left")

    monkeypatch.setattr(matching_main, "write_review", full)
    with pytest.raises(CommandError, match="no space left"):
        call_command("unify_file", str(records), f"--out={out}", f"--review={review}")
    assert out.read_text() == "of last week"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(CommandError, match="No such file"):
        call_command("unify_file", str(tmp_path / "none.csv"), f"--out={tmp_path / 'out.csv'}")


def test_it_runs_without_django(tmp_path):
    records = write(
        tmp_path / "in.csv", [["record_id", "email"], ["1", "kelnar@orange.fr"], ["2", "KELNAR@orange.fr"]]
    )
    command = [sys.executable, "-m", "profiles.matching", str(records), "--out", str(tmp_path / "out.csv")]
    done = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=True)
    assert "2 records, 1 profiles" in done.stdout
    assert (tmp_path / "out.csv").read_text().split() == ["record_id,profile_id", "1,1", "2,1"]
