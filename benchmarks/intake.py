"""Taking in, in figures: files, events, tickets, and finding people again.

    make bench-intake                       a million rows and people
    make bench-intake ARGS=100000           fewer

Prints what each part found and, as the last line, one line of JSON.
"""

import json
import os
import sys

LIMITS = {
    "import_vs_copy": (0.35, "at least"),
    "import_peak_mb": (300, "at most"),
    "search_p95_ms": (100, "at most"),
}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    import django

    django.setup()
    from django.core.management import call_command

    from benchmarks import events, imports, search, tickets

    call_command("migrate_schemas", shared=True, verbosity=0)
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    # The importer first: the peak of memory is that of the whole process.
    taken_in = imports.measure(rows)
    imports.show(taken_in)
    sent = events.measure()
    print(f"\nevents      {sent['events_per_second']:>10,} a second, in batches of {sent['batch']}")
    sold = tickets.measure()
    print(f"tickets     {sold['tickets_per_second']:>10,} a second, in batches of {sold['batch']}\n")
    found = search.measure(rows)
    search.show(found)
    figures = {
        "import_vs_copy": taken_in["import_vs_copy"],
        "import_rows_s": taken_in["import_rows_s"],
        "import_peak_mb": taken_in["import_peak_mb"],
        "events_s": sent["events_per_second"],
        "tickets_batch_s": sold["tickets_per_second"],
        "search_p95_ms": found["p95_ms"],
    }
    print()
    for name, (limit, which) in LIMITS.items():
        holds = figures[name] >= limit if which == "at least" else figures[name] <= limit
        print(f"{'reached' if holds else 'MISSED ':8} {name} = {figures[name]}, {which} {limit}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
