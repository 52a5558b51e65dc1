"""How fast a file of customers is checked and taken in, against the server's own COPY of the same rows.

    python -m cdp.embedded run -- python -m benchmarks.imports [ROWS]

A file of twenty columns goes through the check (read, mapped, normalised, validated, staged) in a scratch brand, and
A file of twenty columns goes through the check (read, mapped, normalised, validated, staged) in a scratch brand, and
into a table like the one that keeps them, and its COPY of the raw file into a bare table of text.
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

BRAND = "benchimports"
SOURCE = "crm"


def bare_copy_seconds(path: Path, columns: int) -> float:
    """The server copies the file's rows as they stand into a table of text columns, without key or index."""
    from django.db import connection

    names = ", ".join(f"c{number} text" for number in range(columns))
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE copied ({names})")
        begin = time.perf_counter()
        with (
            path.open("rb") as file,
            cursor.copy("COPY copied FROM STDIN (FORMAT csv, HEADER, DELIMITER ';')") as copy,
        ):
            while block := file.read(1 << 20):
                copy.write(block)
        seconds = time.perf_counter() - begin
        cursor.execute("DROP TABLE copied")
    return seconds


def copy_seconds() -> float:
    """The server copies the records that the import kept, ready and clean, into a table like theirs: typed, with its
    key and indexes, without foreign keys and triggers."""
    from django.db import connection

    with connection.cursor() as cursor, tempfile.TemporaryFile() as ready:
        with cursor.copy("COPY profiles_sourcerecord TO STDOUT") as copy:
            for block in copy:
                ready.write(block)
        cursor.execute("CREATE TABLE copied (LIKE profiles_sourcerecord INCLUDING ALL)")
        ready.seek(0)
        begin = time.perf_counter()
        with cursor.copy("COPY copied FROM STDIN") as copy:
            while block := ready.read(1 << 20):
                copy.write(block)
        seconds = time.perf_counter() - begin
        cursor.execute("DROP TABLE copied")
    return seconds


def take_in(path: Path) -> dict:
    """Check the file and take it in, as a worker does; seconds of each and the peak of memory in MB."""
    from profiles.imports import run
    from profiles.models import Source

    source, _new = Source.objects.get_or_create(
        code=SOURCE, defaults={"name": "CRM", "kind": Source.Kind.CRM}
    )
    begin = time.perf_counter()
    checked = run.run(run.begin(path, source, None, path.name, awaits_word=True), path)
    check = time.perf_counter() - begin
    begin = time.perf_counter()
    run.go_on(checked, None)
    done = run.run(checked, path)
    return {
        "rows": done.received, "accepted": done.created + done.corrected, "rejected": done.rejected,
        "check_s": check, "take_in_s": time.perf_counter() - begin,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def measure(rows: int = 1_000_000) -> dict:
    """import_vs_copy (rows checked and staged a second, over `copy_seconds`), import_vs_bare_copy (over
    `bare_copy_seconds`), import_rows_s (from the file to people), import_peak_mb."""
    from benchmarks.brand import scratch_brand
    from benchmarks.reading import HEADER, write_customers

    with tempfile.TemporaryDirectory() as folder, scratch_brand(BRAND, stores=120):
        path = Path(folder) / "clients.csv"
        write_customers(path, rows, seed=7)
        taken = take_in(path)
        bare = min(bare_copy_seconds(path, len(HEADER)) for _again in range(2))
        limit = min(copy_seconds() for _again in range(2))
    return {
        "rows": rows,
        "rejected": taken["rejected"],
        "bare_copy_rows_s": round(rows / bare),
        "copy_rows_s": round(rows / limit),
        "staged_rows_s": round(rows / taken["check_s"]),
        "import_vs_copy": round(limit / taken["check_s"], 3),
        "import_vs_bare_copy": round(bare / taken["check_s"], 3),
        "import_rows_s": round(rows / (taken["check_s"] + taken["take_in_s"])),
        "import_peak_mb": round(taken["peak_mb"]),
    }


def show(told: dict) -> None:
    """Print the figures as a table."""
    lines = (
        ("COPY into a bare table of text", f"{told['bare_copy_rows_s']:,} rows a second"),
        ("COPY of clean records into a table like theirs", f"{told['copy_rows_s']:,} rows a second"),
        ("file read, normalised, validated, staged", f"{told['staged_rows_s']:,} rows a second"),
        ("… of the COPY of clean records", told["import_vs_copy"]),
        ("… of the COPY into a bare table", told["import_vs_bare_copy"]),
        ("file to people, both steps", f"{told['import_rows_s']:,} rows a second"),
        ("most memory", f"{told['import_peak_mb']} MB"),
    )
    print(f"{told['rows']:,} rows of a customer file, {told['rejected']:,} rejected")
    for name, figure in lines:
        print(f"  {name:48} {figure}")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    import django

    django.setup()
    told = measure(*map(int, sys.argv[1:]))
    show(told)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
