"""A file taken in: planned, rehearsed, started, carried on after a stop, and accounted for row by row.

Rows go to the intake in chunks. A chunk is one transaction, which also writes its rejects and moves the numbers of
the `ImportRun`: what was killed half-way therefore resumes behind its last whole chunk (`received` says how many rows
are done), and two workers that carry on the same import cannot both count a chunk.
"""

import csv
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TextIO

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone, translation

from profiles import intake
from profiles.imports import mapping as columns
from profiles.imports import reading
from profiles.imports.detect import Dialect, Unreadable, detect
from profiles.imports.mapping import Problem
from profiles.imports.spreadsheet import guarded
from profiles.imports.statements import Reading
from profiles.models import ImportRun, MatchCandidate, Merge, RejectedRow, Source, SourceRecord
from tenants.calendar import brand_zone
from tenants.network.models import Job, audit
from tenants.scoping import whole_network

CHUNK = 1000
SAMPLES = 20
VERDICTS = ("created", "corrected", "unchanged", "rejected")
JOB_KIND = "import"

Report = Callable[[int, int], None]


class CannotImport(ValueError):
    """The file cannot be taken in as it is mapped; `problems` says why."""

    def __init__(self, problems: list[Problem]):
        super().__init__(" ".join(problem.message for problem in problems))
        self.problems = problems


class TakenOver(RuntimeError):
    """Another worker carries on the same import: this one has nothing left to do."""


# --- Before: what would we read? --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """How a file will be read. `confidence` is the guess's, 0 to 100, by column; 100 where a person said so."""

    dialect: Dialect
    mapping: dict[str, str]
    confidence: dict[str, int]
    problems: list[Problem]

    @property
    def stopping(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.stops]


def prepare(
    path: Path,
    source: Source,
    *,
    mapping: Mapping[str, str] | None = None,
    charset: str | None = None,
    delimiter: str | None = None,
) -> Plan:
    """Find out how the file is written and which column is what.

    The mapping given wins; else the one of the source's last file with the same columns; else a guess. Raises
    `Unreadable` and `WrongMapping`.
    """
    dialect = detect(path, charset=charset, delimiter=delimiter)
    guesses = columns.guess(dialect.header, dialect.sample_rows)
    chosen = {column: guess.field for column, guess in guesses.items()}
    confidence = {column: guess.confidence for column, guess in guesses.items()}
    told = _remembered(source, dialect.header) if mapping is None else mapping
    if told is not None:
        chosen = columns.check(told, dialect.header)
        confidence = dict.fromkeys(dialect.header, 100)
    return Plan(dialect, chosen, confidence, columns.problems(chosen))


def _remembered(source: Source, header: Iterable[str]) -> dict[str, str] | None:
    with whole_network():
        last = ImportRun.objects.filter(source=source, finished_at__isnull=False).first()
    return last.mapping if last and set(last.mapping) == set(header) else None


@dataclass
class Rehearsal:
    """What would come of an import: rows by verdict, and up to 20 (line, column, reason) of each verdict."""

    received: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)


def rehearse(path: Path, source: Source, plan: Plan, *, limit: int | None = None, report=None) -> Rehearsal:
    """Take the file in (its first `limit` rows) exactly as `run` does, tell what came of it, and undo it all."""
    _refuse_if_stopped(plan)
    rehearsal = Rehearsal()

    def watch(run: ImportRun, verdicts: list["_Verdict"]) -> None:
        rehearsal.received = run.received
        for verdict in verdicts:
            rehearsal.counts[verdict.word] += 1
            samples = rehearsal.samples.setdefault(verdict.word, [])
            if len(samples) < SAMPLES:
                samples.append((verdict.line, verdict.column, verdict.reason))

    with whole_network(), translation.override(_language()), transaction.atomic():
        import_run = _new_run(source, plan, file_name="", file_hash="")
        _carry_on(import_run, path, plan.dialect, report, watch=watch, limit=limit)
        transaction.set_rollback(True)
    return rehearsal


# --- The run ----------------------------------------------------------------------------------------------------


def start(
    path: Path,
    source: Source,
    by,
    file_name: str,
    *,
    mapping: Mapping[str, str] | None = None,
    charset: str | None = None,
    delimiter: str | None = None,
) -> ImportRun:
    """Keep the file and have it taken in by a worker, which begins when this transaction is committed.

    The same file with the same mapping, left unfinished before, is carried on instead of begun anew. Raises
    `Unreadable`, `WrongMapping` and `CannotImport`.
    """
    import_run = begin(path, source, by, file_name, mapping=mapping, charset=charset, delimiter=delimiter)
    resume(import_run)
    return import_run


def begin(
    path: Path,
    source: Source,
    by,
    file_name: str,
    *,
    mapping: Mapping[str, str] | None = None,
    charset: str | None = None,
    delimiter: str | None = None,
) -> ImportRun:
    """The import and its job, ready for `run`; the unfinished one of the same file and mapping if there is one."""
    plan = prepare(path, source, mapping=mapping, charset=charset, delimiter=delimiter)
    _refuse_if_stopped(plan)
    file_hash = keep(path)
    with whole_network(), transaction.atomic():
        unfinished = ImportRun.objects.filter(
            source=source, file_hash=file_hash, mapping=plan.mapping, finished_at=None, job__isnull=False,
            charset=plan.dialect.charset, delimiter=plan.dialect.delimiter,
        ).first()  # fmt: skip
        if unfinished:
            return unfinished
        import_run = _new_run(source, plan, file_name=Path(file_name).name, file_hash=file_hash)
        import_run.job = Job.objects.create(
            kind=JOB_KIND,
            title=f"{import_run.file_name} ({source.name})"[:160],
            total=_expected(plan.dialect),
            arguments={"import_run": import_run.pk},
            asked_by=by,
        )
        import_run.save(update_fields=["job"])
        audit(by or "system", "imported", import_run, source=source.code, file=import_run.file_name)
    return import_run


def resume(import_run: ImportRun) -> None:
    """Have a worker carry on the import, once this transaction is committed."""
    from profiles.tasks import import_file

    transaction.on_commit(lambda: import_file.delay(import_run.pk))


def run(import_run: ImportRun, path: Path, report: Report | None = None) -> ImportRun:
    """Take in the rows of the file that are not done yet; returns the import with its final numbers.

    `report(done, total)` is called after each chunk, beside the job. Whatever goes wrong is noted on the job and
    raised again; `TakenOver` is raised where another worker carries on the same import.
    """
    if import_run.finished_at:
        return import_run
    job = import_run.job
    with whole_network(), translation.override(_language()):
        try:
            dialect = detect(path, charset=import_run.charset, delimiter=import_run.delimiter)
            if job:
                job.start(total=max(_expected(dialect), import_run.received))

            def tell(done: int, total: int) -> None:
                if job:
                    job.report(done, max(done, total))
                if report:
                    report(done, total)

            import_run = _carry_on(import_run, path, dialect, tell)
        except TakenOver:
            raise
        except Exception as error:
            if job:
                job.fail(str(error) or type(error).__name__)
            raise
        ImportRun.objects.filter(pk=import_run.pk).update(finished_at=timezone.now())
        import_run.refresh_from_db()
        if job:
            job.refresh_from_db()
            job.total = import_run.received
            job.finish(**numbers(import_run))
    return import_run


@dataclass(frozen=True, slots=True)
class _Verdict:
    word: str
    line: int
    column: str
    reason: str
    cells: Mapping[str, str]


Watch = Callable[[ImportRun, list[_Verdict]], None]


def _carry_on(
    import_run: ImportRun,
    path: Path,
    dialect: Dialect,
    report: Report | None,
    *,
    watch: Watch | None = None,
    limit: int | None = None,
) -> ImportRun:
    reader = Reading.of(import_run.mapping, brand_zone())
    rest = islice(reading.rows(path, dialect), import_run.received, limit)
    for chunk in _chunks(rest, CHUNK):
        import_run, verdicts = _take_in(import_run, chunk, reader)
        if watch:
            watch(import_run, verdicts)
        if report:
            report(import_run.received, _expected(dialect))
    return import_run


@transaction.atomic
def _take_in(
    import_run: ImportRun, chunk: list[reading.Row | reading.Refused], reader: Reading
) -> tuple[ImportRun, list[_Verdict]]:
    """One chunk: people, rejects and numbers, all or nothing."""
    locked = ImportRun.objects.select_for_update(of=("self",)).select_related("source").get(pk=import_run.pk)
    if locked.received != import_run.received or locked.finished_at:
        raise TakenOver(f"import {locked.pk} is carried on by another worker")
    told = [item if isinstance(item, reading.Refused) else reader.statement(item) for item in chunk]
    statements = [item for item in told if not isinstance(item, reading.Refused)]
    verdicts = [
        _Verdict("rejected", r.line, r.column, r.reason, r.cells)
        for r in told
        if isinstance(r, reading.Refused)
    ]
    for statement, outcome in zip(
        statements, intake.take_in_records(locked.source, statements, import_run=locked), strict=True
    ):
        column = reader.columns.get(outcome.column, outcome.column)
        verdicts.append(_Verdict(outcome.verdict, statement.line or 0, column, outcome.reason, statement.raw))
    RejectedRow.objects.bulk_create(
        RejectedRow(
            import_run=locked, line=verdict.line, column=verdict.column[:80], reason=verdict.reason[:300],
            raw=dict(verdict.cells),
        )
        for verdict in verdicts
        if verdict.word == "rejected"
    )  # fmt: skip
    counts = Counter(verdict.word for verdict in verdicts)
    locked.received += len(chunk)
    for word in VERDICTS:
        setattr(locked, word, getattr(locked, word) + counts[word])
    locked.save(update_fields=["received", *VERDICTS])
    return locked, verdicts


# --- After: what came of it? ------------------------------------------------------------------------------------


def numbers(import_run: ImportRun) -> dict[str, int]:
    """What came of the rows, which adds up to `received`; and, of the people in them, how many were merged since the
    import began and how many pairs wait for a decision (both grow while matching goes on)."""
    people = SourceRecord.objects.filter(import_run=import_run).values("profile")
    merges = Merge.objects.filter(undone_at=None, at__gte=import_run.started_at, winner__in=people)
    pairs = MatchCandidate.objects.filter(Q(left__in=people) | Q(right__in=people), status="open")
    return {
        "received": import_run.received,
        **{word: getattr(import_run, word) for word in VERDICTS},
        "merged": merges.count(),
        "to_review": pairs.count(),
    }


def write_errors(import_run: ImportRun, stream: TextIO) -> int:
    """The rejected rows as they stood in the file, with `ligne` and `erreur` behind: mended, it can be taken in again.

    Comma-separated values with `;`. Cells that a spreadsheet would run as a formula get an apostrophe before them.
    Returns the number of rows.
    """
    header = _header_of(import_run)
    writer = csv.writer(stream, delimiter=";")
    writer.writerow([*map(_harmless, header), "ligne", "erreur"])
    written = 0
    for row in import_run.rejects.order_by("line").iterator():
        reason = f"{row.column}: {row.reason}" if row.column else row.reason
        cells = [_harmless(row.raw.get(column, "")) for column in header]
        writer.writerow([*cells, row.line, _harmless(reason)])
        written += 1
    return written


def _header_of(import_run: ImportRun) -> list[str]:
    """The columns in the order of the file; JSON forgets it, so the kept file is asked."""
    try:
        path = kept(import_run.file_hash)
        return list(detect(path, charset=import_run.charset, delimiter=import_run.delimiter).header)
    except (OSError, Unreadable):
        return sorted(import_run.mapping)


def _harmless(text: str) -> str:
    number = text.lstrip("+-").replace(" ", "").replace(".", "").replace(",", "").isdigit()
    # A number computes nothing, and a telephone number must come back as it left.
    return text if number else guarded(text)


# --- Files ------------------------------------------------------------------------------------------------------


def folder() -> Path:
    """Where the files of the brand are kept, each under the SHA-256 of its content."""
    return Path(settings.MEDIA_ROOT) / connection.schema_name / "imports"


def kept(file_hash: str) -> Path:
    return folder() / file_hash


def keep(path: Path) -> str:
    """Keep a copy of the file; returns its SHA-256 in hexadecimal, under which `kept` finds it."""
    with Path(path).open("rb") as stream:
        file_hash = hashlib.file_digest(stream, "sha256").hexdigest()
    if not kept(file_hash).exists():
        folder().mkdir(parents=True, exist_ok=True)
        # Written beside and renamed: a copy cut short must not stand under the hash of the whole.
        with NamedTemporaryFile(dir=folder(), delete=False) as copy, Path(path).open("rb") as stream:
            shutil.copyfileobj(stream, copy)
        Path(copy.name).replace(kept(file_hash))
    return file_hash


# --- Small parts ------------------------------------------------------------------------------------------------


def _refuse_if_stopped(plan: Plan) -> None:
    if plan.stopping:
        raise CannotImport(plan.stopping)


def _new_run(source: Source, plan: Plan, *, file_name: str, file_hash: str) -> ImportRun:
    return ImportRun.objects.create(
        source=source, mapping=plan.mapping, file_name=file_name[-200:], file_hash=file_hash,
        charset=plan.dialect.charset, delimiter=plan.dialect.delimiter,
    )  # fmt: skip


def _expected(dialect: Dialect) -> int:
    return max(dialect.lines - dialect.header_line, 0)


def _chunks(items: Iterable, size: int) -> Iterator[list]:
    items = iter(items)
    while chunk := list(islice(items, size)):
        yield chunk


def _language() -> str:
    """Reasons are read by the brand's people, whoever's worker writes them down."""
    return getattr(connection.tenant, "language", settings.LANGUAGE_CODE)
