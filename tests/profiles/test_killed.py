"""An import whose worker is killed, at any moment, ends in the same numbers when it is carried on."""

import os
import signal
import subprocess
import sys
from random import Random
from time import monotonic, sleep

import pytest
from django.conf import settings
from django.db import connection

from profiles.imports.report import VERDICTS
from profiles.models import Identifier, ImportRun, Profile, RejectedRow, Source, SourceRecord
from tests.committed import committed, emptied  # noqa: F401 - fixtures

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

ROWS = 12_000
KILLS = 6


def customers(path, cards: int):
    """A file of twelve thousand with cards from that number on; every hundredth row is short, every fiftieth has no
    usable e-mail."""
    with path.open("w", encoding="cp1252") as out:
        out.write("Identifiant;Nom;Prénom;E-mail;Carte\n")
        for n in range(ROWS):
            mail = "sans" if n % 50 == 1 else f"client{n}@exemple.fr"
            out.write("court\n" if n % 100 == 0 else f"{n};Lefèvre;Hélène;{mail};{cards + n}\n")
    return path
    return path


def command(path, source, media) -> subprocess.Popen:
    """`manage.py import_file` in a process of its own, on the tests' database."""
    database = settings.DATABASES["default"] | connection.settings_dict
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "MEDIA_ROOT": str(media),
        "CELERY_BROKER_URL": "memory://",
    }
    words = [sys.executable, "manage.py", "import_file", str(path), "--brand", "acme", "--source", source]
    return subprocess.Popen(
        words, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def wait_for_its_end_in_the_database() -> None:
    """The statement under way goes on after its process: until then another would hear that somebody carries it on."""
    end, locks = monotonic() + 60, 1
    while locks:
        assert monotonic() < end
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                " WHERE l.locktype = 'advisory' AND d.datname = current_database()"
            )
            (locks,) = cursor.fetchone()
        sleep(0.05)


def rows_of(source: str) -> list[int]:
    told = SourceRecord.objects.filter(source__code=source)
    return [
        told.count(),
        Profile.objects.filter(records__in=told).distinct().count(),
        Identifier.objects.filter(record__in=told).count(),
        RejectedRow.objects.filter(import_run__source__code=source).count(),
    ]


def numbers_of(source: str) -> list[int]:
    import_run = ImportRun.objects.get(source__code=source)
    return [getattr(import_run, word) for word in ("received", *VERDICTS)]


def test_killed_at_any_moment_it_ends_in_the_same_numbers(brand, tmp_path):
    for code in ("crm", "shop"):
        Source.objects.create(code=code, name=code, kind="other")
    calm = customers(tmp_path / "calm.csv", cards=2_990_000_000_000)
    begin = monotonic()
    assert command(calm, "crm", tmp_path).wait() == 0
    seconds = monotonic() - begin
    assert numbers_of("crm") == [
        ROWS, ROWS - ROWS // 50 - ROWS // 100, ROWS // 50, 0, ROWS // 100,
    ]  # fmt: skip

    rough = customers(tmp_path / "rough.csv", cards=2_991_000_000_000)
    chance = Random(7)
    for _kill in range(KILLS):
        process = command(rough, "shop", tmp_path)
        try:
            assert process.wait(chance.uniform(0.3, 0.7) * seconds) == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            wait_for_its_end_in_the_database()
            if ImportRun.objects.filter(source__code="shop", state=ImportRun.State.DONE).exists():
                break  # it was nearer to its end than we thought
    else:
        assert command(rough, "shop", tmp_path).wait() == 0

    assert numbers_of("shop") == numbers_of("crm")
    assert rows_of("shop") == rows_of("crm")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'import_rows_%'")
        assert cursor.fetchone()[0] == 0, "the tables beside are gone"
