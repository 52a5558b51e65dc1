"""Recognising people on PostgreSQL: a new record among a million, and a whole brand at once.

    make bench-resolve                      a hundred thousand records, and a million
    make bench-resolve ARGS="20000 50000"   as many as you like
    make bench-resolve ARGS="1000000 --one-batch"   the batch with two workers alone, in half the time

A scratch brand is filled by COPY with invented people, told by several systems with gaps and slips of the pen, each
record a profile of its own as intake leaves it. Celery workers, one and then, in a brand filled the same way, two,
carry the batch out: compare, learn, index, merge, ask, group. Then new records come in one at a time, as from a till,
and in bulk. Prints a table for each size and, last, one line of JSON for the largest.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from uuid import UUID

import psutil

BRAND = "benchresolve"
SIZES = [100_000, 1_000_000]
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


@contextmanager
def workers(number: int):
    """Celery workers of one process each, as production starts them; yields their peak memory so far, in MB."""
    from django.conf import settings

    peak = 0.0
    with tempfile.TemporaryFile() as log:
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "cdp.celery", "worker", "--pool=prefork", "--concurrency=1",
                 "-n", f"{BRAND}{n}@%h", "--loglevel=WARNING"],
                cwd=settings.BASE_DIR, stdout=log, stderr=log,
            )
            for n in range(number)
        ]  # fmt: skip

        def peak_mb() -> float:
            nonlocal peak
            for worker in running:
                if worker.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(f"a worker ended: {log.read()[-2000:].decode()}")
                family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
                peak = max(peak, *(process.memory_info().rss / 1024**2 for process in family))
            return peak

        try:
            yield peak_mb
        finally:
            for worker in running:
                worker.terminate()
            for worker in running:
                worker.wait(timeout=60)


def batch(number: int) -> tuple[dict, float, float]:
    """Have so many workers unify the brand: what came of it, seconds from the question to the end, peak MB."""
    from cdp.celery import app
    from profiles import tasks, unification
    from tenants.network.models import Job

    with workers(number) as peak_mb:
        while len(app.control.ping(timeout=0.5)) < number:
            peak_mb()
        begin = time.perf_counter()
        tasks.unify_brand.delay()
        while not (job := Job.objects.filter(kind=unification.JOB).first()) or job.state not in Job.OVER:
            peak_mb()
            time.sleep(0.2)
        seconds = time.perf_counter() - begin
        if job.state != Job.State.DONE:
            raise RuntimeError(job.error)
        return job.result, seconds, peak_mb()


def one_by_one(records: list[int]) -> tuple[list[float], int]:
    """Milliseconds for each record, in order of length, and how many profiles were merged."""
    from profiles import recognition

    milliseconds, merged = [], 0
    for record_id in records:
        start = time.perf_counter()
        merged += recognition.match_records([record_id]).merged
        milliseconds.append(1000 * (time.perf_counter() - start))
    return sorted(milliseconds), merged


def measure(records: int, workers_of_batches: tuple[int, ...]) -> dict:
    """A batch with one worker and with two, or with two alone, then new records one at a time and in bulk."""
    from django.db import connection

    from benchmarks.brand import scratch_brand
    from profiles import recognition
    from profiles.models import Source

    everybody, figures = people(int(records * 0.6), seed=1), {"records": records}
    for number in workers_of_batches:
        with scratch_brand(BRAND):
            source = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)
            draw = random.Random(3)
            for start in range(0, records, 100_000):
                some = [told(draw.choice(everybody), draw) for _ in range(min(100_000, records - start))]
                fill(some, source.pk, first=start)
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")
            done, seconds, peak = batch(number)
            figures |= {
                f"batch_s_{number}": round(seconds, 1),
                f"merged_{number}": done["merged"],
                f"peak_mb_{number}": round(peak),
            }
            if number != workers_of_batches[-1]:
                continue
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")
            new = [told(draw.choice(everybody), draw) for _ in range(ONE_AT_A_TIME + AT_ONCE)]
            new_ids = fill(new, source.pk, records)
            milliseconds, merged = one_by_one(new_ids[:ONE_AT_A_TIME])
            start = time.perf_counter()
            bulk = recognition.match_records(new_ids[ONE_AT_A_TIME:])
            bulk_seconds = time.perf_counter() - start
    return {
        **figures,
        "batch_peak_mb": max(figures[f"peak_mb_{number}"] for number in workers_of_batches),
        "speedup_2_workers": round(figures["batch_s_1"] / figures["batch_s_2"], 2)
        if 1 in workers_of_batches
        else None,
        "one_p50_ms": round(milliseconds[len(milliseconds) // 2], 1),
        "incremental_p95_ms": round(milliseconds[int(0.95 * len(milliseconds))], 1),
        "merged_one_by_one": merged,
        "incremental_per_s": round(AT_ONCE / bulk_seconds),
        "merged_in_bulk": bulk.merged,
    }


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate_schemas", shared=True, verbosity=0)
    workers_of_batches = (2,) if "--one-batch" in sys.argv else (1, 2)
    for size in [int(argument) for argument in sys.argv[1:] if argument.isdigit()] or SIZES:
        found = measure(size, workers_of_batches)
        for name, figure in found.items():
            print(f"{name:24} {'–' if figure is None else format(figure, ','):>12}")
        for name, (limit, which) in MUST.items():
            holds = found[name] >= limit if which == "at least" else found[name] <= limit
            print(f"{'reached' if holds else 'MISSED ':8} {name} = {found[name]}, {which} {limit}")
        print(flush=True)
    asked = ("incremental_p95_ms", "incremental_per_s", "batch_peak_mb", "speedup_2_workers")
    batch_1m_s = found.get("batch_s_1") if size == 1_000_000 else None
    print(json.dumps({name: found[name] for name in asked} | {"batch_1m_s": batch_1m_s, "records": size}))


if __name__ == "__main__":
    main()
