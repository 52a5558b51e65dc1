"""How fast a file of customers is checked and taken in, against the server's own COPY of the same rows.

    make bench-imports                      a million rows
    make bench-imports ARGS=100000          fewer

In a scratch brand: the file's twenty columns are copied as text into a plain table by the server (the limit), the same
file goes through the check (read, mapped, normalised, validated, staged), and its people through the intake. The peak
of memory is that of a process of its own which does the check and the intake.
"""

import json
import os
import resource
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

BRAND = "benchimports"
SOURCE = "crm"


@contextmanager
def scratch_brand(slug: str, stores: int = 0):
    """The connection stands in the schema of a brand made for this, which is dropped again."""
    from django.db import connection

    from tenants.models import Brand, Domain
    from tenants.network.models import Region, Store
    from tenants.scoping import whole_network

    connection.set_schema_to_public()
    for left_behind in Brand.objects.filter(slug=slug):
        left_behind.delete(force_drop=True)
    brand = Brand.objects.create(name=slug, slug=slug, schema_name=slug)
    Domain.objects.create(tenant=brand, domain=f"{slug}.localhost", is_primary=True)
    try:
        brand.create_schema(check_if_exists=True, verbosity=0)
        connection.set_tenant(brand)
        with whole_network():
            region = Region.objects.create(code="nord", name="Nord")
            for number in range(1, stores + 1):
                Store.objects.create(code=f"MAG-{number:03}", name=f"Magasin {number}", region=region)
            yield brand
    finally:
        connection.set_schema_to_public()
        Brand.objects.get(slug=slug).delete(force_drop=True)


def copy_seconds(path: Path, columns: int) -> float:
    """The server copies the file's rows as they stand into a plain table of text columns."""
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
    """import_vs_copy (staged rows a second over the server's own), import_rows_s (file to people), import_peak_mb."""
    from benchmarks.reading import HEADER, write_customers

    with tempfile.TemporaryDirectory() as folder, scratch_brand(BRAND, stores=120):
        path = Path(folder) / "clients.csv"
        write_customers(path, rows, seed=7)
        copied = copy_seconds(path, len(HEADER))
        taken = take_in(path)
        copied_again = copy_seconds(path, len(HEADER))
    limit = min(copied, copied_again)
    return {
        "rows": rows,
        "rejected": taken["rejected"],
        "copy_rows_s": round(rows / limit),
        "staged_rows_s": round(rows / taken["check_s"]),
        "import_vs_copy": round(limit / taken["check_s"], 3),
        "import_rows_s": round(rows / (taken["check_s"] + taken["take_in_s"])),
        "import_peak_mb": round(taken["peak_mb"]),
    }


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    import django

    django.setup()
    print(json.dumps(measure(*map(int, sys.argv[1:]))))


if __name__ == "__main__":
    main()
