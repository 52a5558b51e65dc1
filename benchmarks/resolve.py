"""Recognising people on PostgreSQL: a new record among a million, and a whole brand at once.

    make bench-resolve                      a hundred thousand records
    make bench-resolve ARGS=1000000         as many as you like

A scratch brand is filled by COPY with invented people, told by several systems with gaps and slips of the pen, each
record a profile of its own as intake leaves it. The brand learns its model and indexes its records; then new records
come in one at a time, as from a till, and in bulk. Prints a table and, last, one line of JSON.
"""

import json
import os
import random
import resource
import sys
import time
from uuid import UUID

BRAND = "benchresolve"
RECORDS = 100_000
ONE_AT_A_TIME, AT_ONCE = 300, 1000
MUST = {"incremental_p95_ms": (25, "at most"), "incremental_per_s": (100, "at least")}


def people(number: int, seed: int) -> list[tuple[str, ...]]:
    """(first name, last name, birth date, e-mail, phone, street, postcode, town) of invented people, one in five of
    them the housemate of the one before."""
    from benchmarks.search import FIRST_NAMES, TOWNS, _surnames

    draw, surnames = random.Random(seed), _surnames()
    found: list[tuple[str, ...]] = []
    for n in range(number):
        first = FIRST_NAMES[int(draw.random() ** 1.5 * len(FIRST_NAMES))]
        last = surnames[int(draw.random() ** 2 * len(surnames))]
        born = f"{draw.randint(1940, 2006)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}"
        phone = f"+336{draw.randint(10_000_000, 99_999_999)}"
        street = f"{draw.randint(1, 150)} rue {surnames[draw.randrange(3000)]}"
        town = TOWNS[int(draw.random() ** 2 * len(TOWNS))].replace("_", " ")
        postcode = f"{draw.randint(1000, 95999):05}"
        if n % 5 == 4:
            _first, last, _born, _email, phone, street, postcode, town = found[-1]
        found.append((first, last, born, f"{first}.{last}{n}@mail.example", phone, street, postcode, town))
    return found


def told(person: tuple[str, ...], draw: random.Random) -> tuple[str, ...]:
    """The person as one system has them down: something missing, something mistyped."""
    values = list(person)
    for place in draw.sample(range(2, 8), draw.randint(0, 3)):
        values[place] = ""
    if draw.random() < 0.2:
        place = draw.choice([0, 1, 3])
        cut = draw.randrange(len(values[place]) or 1)
        values[place] = values[place][:cut] + values[place][cut + 1 :]
    return tuple(values)


def fill(rows: list[tuple[str, ...]], source_id: int, first: int = 1) -> list[int]:
    """Write records and the profile that each one makes; their ids."""
    from django.utils import timezone

    from profiles import facts
    from profiles.intake.writing import draw_ids, write
    from profiles.models import Identifier, Profile, ProfileFacts, SourceRecord

    now = timezone.now()
    profiles, records = draw_ids(Profile, len(rows)), draw_ids(SourceRecord, len(rows))
    names = ["first_name", "last_name", "birth_date", "email", "phone", "street", "postcode", "city"]
    typed = [(*row[:2], row[2] or None, *row[3:]) for row in rows]
    write(
        Profile, ["id", "public_id", *names, "provenance", "search_text", "created_at"],
        ((pk, UUID(int=pk), *row, "{}", f"{row[0]} {row[1]}", now) for pk, row in zip(profiles, typed, strict=True)),
    )  # fmt: skip
    write(ProfileFacts, facts.COLUMNS, (facts.of_stranger(pk, None, None, {}) for pk in profiles))
    write(
        SourceRecord,
        [
            "id", "source_id", "external_id", "content_hash", "received_at", "stated_at", "profile_id", "raw", *names,
            "card",
        ],
        (
            (pk, source_id, f"r{first + n}", f"{pk:064}", now, now, profile, "{}", *row, "")
            for n, (pk, profile, row) in enumerate(zip(records, profiles, typed, strict=True))
        ),
    )  # fmt: skip
    write(
        Identifier, ["record_id", "profile_id", "kind", "value", "key", "first_seen", "last_seen"],
        (
            (pk, profile, kind, value, value, now, now)
            for pk, profile, row in zip(records, profiles, rows, strict=True)
            for kind, value in (("email", row[3]), ("phone", row[4]))
            if value
        ),
    )  # fmt: skip
    return records


def settle(records, labels) -> None:
    """Let each cluster be one profile, as it is once its merges are done: set at once, since merging is not what is
    measured here."""
    import numpy as np
    from django.db import connection

    profiles = np.asarray(records.profiles)[labels]
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE settled (record_id bigint PRIMARY KEY, profile_id bigint)")
        with cursor.copy("COPY settled FROM STDIN") as copy:
            for row in zip(records.ids, profiles.tolist(), strict=True):
                copy.write_row(row)
        for table, column in (("profiles_sourcerecord", "id"), ("profiles_identifier", "record_id")):
            cursor.execute(
                f"UPDATE {table} t SET profile_id = s.profile_id FROM settled s"
                f" WHERE s.record_id = t.{column} AND t.profile_id <> s.profile_id"
            )
        cursor.execute("DROP TABLE settled")


def measure(records: int) -> dict:
    """Learn from so many records, then recognise new ones."""
    from django.db import connection

    from benchmarks.brand import scratch_brand
    from profiles import neighbours, recognition
    from profiles.matching.unifying import unify
    from profiles.models import Source

    with scratch_brand(BRAND):
        source = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)
        draw, everybody = random.Random(3), people(int(records * 0.6), seed=1)
        for start in range(0, records, 100_000):
            some = [told(draw.choice(everybody), draw) for _ in range(min(100_000, records - start))]
            fill(some, source.pk, first=start)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        begin = time.perf_counter()
        known = neighbours.read("true", [], many=True)
        read = time.perf_counter() - begin
        found = unify(known.table)
        compared = time.perf_counter() - begin - read
        recognition._remember(known, found)  # noqa: SLF001 - learns and indexes without merging
        learnt = time.perf_counter() - begin
        settle(known, found.automatic)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        del known, found
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        new = fill(
            [told(draw.choice(everybody), draw) for _ in range(ONE_AT_A_TIME + AT_ONCE)], source.pk, records
        )
        milliseconds, merged = [], 0
        for record_id in new[:ONE_AT_A_TIME]:
            start = time.perf_counter()
            merged += recognition.match_records([record_id]).merged
            milliseconds.append(1000 * (time.perf_counter() - start))
        start = time.perf_counter()
        bulk = recognition.match_records(new[ONE_AT_A_TIME:])
        bulk_seconds = time.perf_counter() - start
    milliseconds.sort()
    return {
        "records": records,
        "read_s": round(read, 1),
        "compare_s": round(compared, 1),
        "learn_and_index_s": round(learnt, 1),
        "batch_peak_mb": round(peak),
        "one_p50_ms": round(milliseconds[len(milliseconds) // 2], 1),
        "incremental_p95_ms": round(milliseconds[int(0.95 * len(milliseconds))], 1),
        "merged_of_one_by_one": merged,
        "incremental_per_s": round(AT_ONCE / bulk_seconds),
        "merged_in_bulk": bulk.merged,
    }


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate_schemas", shared=True, verbosity=0)
    told_of = measure(int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS)
    for name, figure in told_of.items():
        print(f"{name:24} {figure:>12,}")
    for name, (limit, which) in MUST.items():
        holds = told_of[name] >= limit if which == "at least" else told_of[name] <= limit
        print(f"{'reached' if holds else 'MISSED ':8} {name} = {told_of[name]}, {which} {limit}")
    print(json.dumps(told_of))


if __name__ == "__main__":
    main()
