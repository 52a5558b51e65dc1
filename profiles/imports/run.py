"""A file taken in: planned, checked, taken in, called off, carried on after a stop.

    begin ─► CHECKING ─► CHECKED ─► TAKING_IN ─► DONE ─► UNDOING ─► UNDONE     (undo.py)
                 └────── cancel ─────────┴─► CANCELLED ──────┘

The **check** reads the whole file into a table beside (`staging.py`) and says what would come of it; nothing of it
reaches anybody's profile. **Taking in** hands the checked rows to the intake in chunks. A chunk is one transaction,
which also writes its rejects and moves the numbers of the `ImportRun`: what was killed half-way therefore goes on
behind its last whole chunk (`received` says how many rows are done), and two workers that carry on the same import
cannot both count a chunk. A killed check begins anew.
"""

import gc
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from profiles import intake
from profiles.imports import mapping as columns
from profiles.imports import reading
from profiles.imports.columns import Answers, Proof
from profiles.imports.detect import Dialect, Unreadable, detect
from profiles.imports.files import keep, kept
from profiles.imports.mapping import CONSENTS, OF_ERROR_FILE, Problem
from profiles.imports.report import VERDICTS, numbers
from profiles.imports.staging import Stage
from profiles.imports.values import unknown_answers, word_of
from profiles.intake import SourceNotActive
from profiles.models import ImportRun, RejectedRow, Source
from tenants.locks import alone
from tenants.network.models import Job, audit
from tenants.scoping import whole_network

CHUNK = 2000
JOB_KIND = "import"
State = ImportRun.State

Report = Callable[[int, int], None]


class CannotImport(ValueError):
    """The file cannot be taken in as it is mapped; `problems` says why."""

    def __init__(self, problems: list[Problem]):
        super().__init__(" ".join(problem.message for problem in problems))
        self.problems = problems


class TakenOver(RuntimeError):
    """Another worker carries on the same import: this one has nothing left to do."""


class CalledOff(RuntimeError):
    """Somebody called the work off: it stopped behind the last whole step."""


class NotNow(ValueError):
    """The import is in a state in which this cannot be done."""


# --- Before: how would it be read? ------------------------------------------------------------------------------


# The rows of which the words are read before anything is checked: the check reads them all.
WORDS_LOOKED_AT = 20_000


@dataclass(frozen=True)
class Plan:
    """How a file will be read. `confidence` is the guess's, 0 to 100, by column; 100 where a person said so. `answers`
    say what odd words in columns of consents mean, `proof` what was shown to everybody in the file who agreed;
    `ids_of_content`: no column holds an id, the row's content stands for it."""

    dialect: Dialect
    mapping: dict[str, str]
    confidence: dict[str, int]
    problems: list[Problem]
    answers: dict[str, dict[str, bool | None]]
    proof: Proof
    ids_of_content: bool = False

    @property
    def stopping(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.stops]


def prepare(
    path: Path,
    source: Source,
    *,
    mapping: Mapping[str, str] | None = None,
    answers: Answers | None = None,
    proof: Proof | None = None,
    ids_of_content: bool | None = None,
    charset: str | None = None,
    delimiter: str | None = None,
) -> Plan:
    """Find out how the file is written and which column is what.

    What is given wins; else what was said of the source's last file with the same columns (but the day of the proof);
    else a guess. Raises `Unreadable` and `WrongMapping`.
    """
    dialect = detect(path, charset=charset, delimiter=delimiter)
    guesses = columns.guess(dialect.header, dialect.first_rows)
    chosen = {column: guess.field for column, guess in guesses.items()}
    confidence = {column: guess.confidence for column, guess in guesses.items()}
    last = _last_like(source, dialect.header)
    if mapping is None and last:
        mapping = {column: field for column, field in last.mapping.items() if column in dialect.header}
    if mapping is not None:
        chosen = columns.check(mapping, dialect.header)
        confidence = dict.fromkeys(dialect.header, 100)
    if answers is None:
        known = last.answers if last else {}
        answers = {column: said for column, said in known.items() if chosen.get(column) in CONSENTS}
    columns.check_answers(answers, chosen)
    if proof is None:
        proof = Proof(last.proof_wording if last else "")
    if ids_of_content is None:
        ids_of_content = last is not None and last.ids_of_content
    ids_of_content = ids_of_content and "external_id" not in chosen.values()
    rows = [dict(zip(dialect.header, row, strict=False)) for row in dialect.first_rows]
    found = columns.problems(
        chosen, odd_words=_odd(rows, chosen, answers), has_wording=bool(proof.wording.strip()),
        has_date=proof.on is not None, ids_of_content=ids_of_content,
    )  # fmt: skip
    if moved := _id_moved(source, chosen):
        found.append(moved)
    kept_answers = {column: dict(said) for column, said in answers.items()}
    return Plan(dialect, chosen, confidence, found, kept_answers, proof, ids_of_content)


def _id_moved(source: Source, mapping: Mapping[str, str]) -> Problem | None:
    column = next((column for column, field in mapping.items() if field == "external_id"), "")
    if not source.id_column or column in ("", source.id_column):
        return None
    told = {"now": column, "chosen": source.id_column}
    message = _(
        "The id at the source is read from «%(now)s», while the source is told apart by «%(chosen)s»: if the ids are"
        " not the same, everybody becomes somebody new."
    )
    return Problem(message % told)


def odd_words(path: Path, dialect: Dialect, mapping: Mapping[str, str]) -> dict[str, Counter[str]]:
    """Column of consents -> word that says neither yes nor no -> how often, in the file's first rows."""
    rows = islice(reading.rows(path, dialect), WORDS_LOOKED_AT)
    return _odd((row.cells for row in rows if isinstance(row, reading.Row)), mapping, {})


def _odd(
    rows: Iterable[Mapping[str, str]], mapping: Mapping[str, str], answers: Answers
) -> dict[str, Counter[str]]:
    consents = [column for column, field in mapping.items() if field in CONSENTS]
    if not consents:
        return {}
    odd: dict[str, Counter[str]] = {}
    for column, words in unknown_answers(rows, consents).items():
        said = {word_of(word) for word in answers.get(column, {})}
        counted: Counter[str] = Counter()
        for word, number in words.items():
            if word_of(word) not in said:
                counted[word_of(word)] += number
        if counted:
            odd[column] = counted
    return odd


def _last_like(source: Source, header: Iterable[str]) -> ImportRun | None:
    """The source's last import of a file with these columns."""
    columns_told = set(header) - OF_ERROR_FILE
    with whole_network():
        for before in ImportRun.objects.filter(source=source, state=State.DONE)[:50]:
            if set(before.mapping) - OF_ERROR_FILE == columns_told:
                return before
    return None


# --- Begun, by whom and for whom --------------------------------------------------------------------------------


def start(path: Path, source: Source, by, file_name: str, **how) -> ImportRun:
    """`begin`, and have a worker carry it on, which begins when this transaction is committed."""
    import_run = begin(path, source, by, file_name, **how)
    resume(import_run)
    return import_run


def begin(
    path: Path,
    source: Source,
    by,
    file_name: str,
    *,
    mapping: Mapping[str, str] | None = None,
    answers: Answers | None = None,
    proof: Proof | None = None,
    ids_of_content: bool | None = None,
    charset: str | None = None,
    delimiter: str | None = None,
    awaits_word: bool = False,
) -> ImportRun:
    """Keep the file; the import and its job, ready for `run`. With `awaits_word` it stops once it is checked.

    The same file read the same way, left unfinished before, is carried on instead of begun anew. Raises
    `Unreadable`, `WrongMapping` and `CannotImport`.
    """
    plan = prepare(
        path, source, mapping=mapping, answers=answers, proof=proof, ids_of_content=ids_of_content, charset=charset,
        delimiter=delimiter,
    )  # fmt: skip
    if plan.stopping:
        raise CannotImport(plan.stopping)
    if not source.is_active and mapping is None:
        # Which column tells customers apart is for a person to say, not for a guess.
        raise CannotImport([Problem(SourceNotActive(source).detail, stops=True)])
    file_hash = keep(path)
    how = {
        "mapping": plan.mapping, "answers": plan.answers, "proof_wording": plan.proof.wording[:500],
        "proof_on": plan.proof.on, "ids_of_content": plan.ids_of_content, "charset": plan.dialect.charset,
        "delimiter": plan.dialect.delimiter,
    }  # fmt: skip
    with whole_network(), transaction.atomic():
        _activate(Source.objects.select_for_update(no_key=True).get(pk=source.pk), plan, by)
        unfinished = ImportRun.objects.filter(
            source=source, file_hash=file_hash, finished_at=None, undone_at=None, **how,
        ).exclude(state=State.UNDOING).first()  # fmt: skip
        if unfinished:
            if awaits_word and (unfinished.state == State.TAKING_IN or not unfinished.awaits_word):
                raise NotNow(_("this file is being taken in already"))
            if unfinished.awaits_word and not awaits_word:
                # Whoever begins it so has given the word.
                unfinished.awaits_word = False
                if unfinished.state == State.CHECKED:
                    unfinished.state = State.TAKING_IN
                unfinished.save(update_fields=["awaits_word", "state"])
            return unfinished
        # A check with other columns, or read another way, is what this one comes instead of.
        checked = ImportRun.objects.filter(
            source=source, file_hash=file_hash, state=State.CHECKED, received=0
        )
        for superseded in checked:
            discard(superseded)
        import_run = ImportRun(
            source=source, file_name=Path(file_name).name[-200:], file_hash=file_hash, awaits_word=awaits_word,
            columns=list(plan.dialect.header), **how,
        )  # fmt: skip
        import_run.save()
        _give_job(import_run, by, total=_expected(plan.dialect))
        audit(by or "system", "imported", import_run, source=source.code, file=import_run.file_name)
    return import_run


def _activate(source: Source, plan: Plan, by) -> None:
    """What somebody chose for a file holds for its source from then on."""
    if not source.is_active:
        column = next((column for column, field in plan.mapping.items() if field == "external_id"), "")
        source.identified_by = Source.Identity.OWN if column else Source.Identity.CONTENT
        source.id_column = column[:80]
        source.save(update_fields=["identified_by", "id_column"])
        audit(by or "system", "activated", source, told_apart_by=source.identified_by, column=column)


def resume(import_run: ImportRun) -> None:
    """Have a worker carry on the import, once this transaction is committed. Where no broker answers the import waits,
    and `profiles.tasks.carry_on_imports` asks again."""
    from profiles.tasks import import_file

    transaction.on_commit(lambda: import_file.delay(import_run.pk), robust=True)


def go_on(import_run: ImportRun, by) -> None:
    """The word that a checked import waits for, or that a called-off one goes on: a worker takes its rows in. Raises
    `NotNow`."""
    with whole_network(), transaction.atomic():
        locked = _locked(import_run)
        if locked.state not in (State.CHECKED, State.CANCELLED) or locked.staged is None:
            raise NotNow(_("this import waits for no word"))
        if not kept(locked.file_hash).exists():
            raise NotNow(_("its file is not kept any more: upload it again"))
        locked.state, locked.finished_at = State.TAKING_IN, None
        locked.save(update_fields=["state", "finished_at"])
        _give_job(locked, by, total=locked.staged)
        audit(by or "system", "took in", locked)
    resume(locked)


def cancel(import_run: ImportRun, by) -> None:
    """Call the import off: nothing more is read or taken in; what was taken in stays until it is undone. Raises
    `NotNow`."""
    with whole_network(), transaction.atomic():
        locked = _locked(import_run)
        if locked.state not in (State.CHECKING, State.CHECKED, State.TAKING_IN):
            raise NotNow(_("this import is over"))
        audit(by or "system", "called off", locked)
        if locked.state != State.CHECKED and locked.job.state == Job.State.RUNNING:
            locked.job.call_off()
        else:
            _stop(locked)


def discard(import_run: ImportRun) -> None:
    """Forget a check that nobody goes on with: the import leaves no trace but its audit. Raises `NotNow`."""
    with whole_network(), transaction.atomic():
        locked = _locked(import_run)
        if locked.received:
            raise NotNow(_("rows of this import were taken in: undo it"))
        Stage(locked).drop()
        job = locked.job
        locked.delete()
        if job:
            job.delete()


# --- Done, by a worker ------------------------------------------------------------------------------------------


def run(import_run: ImportRun, path: Path, report: Report | None = None) -> ImportRun:
    """Carry the import on from where it stands, as far as it may go; returns it with its numbers.

    `report(done, total)` is called after each step, beside the job. Whatever goes wrong is noted on the job and
    raised again; `TakenOver` is raised where another worker carries on the same import. One that was called off is
    returned as it stands.
    """
    with (
        whole_network(), translation.override(_language()), _rare_collections(),
        alone("import", import_run.pk) as is_alone,
    ):  # fmt: skip
        try:
            if not is_alone:
                raise TakenOver(f"import {import_run.pk} is carried on by another worker")
            import_run.refresh_from_db()
            if import_run.is_moving and import_run.job.was_called_off():
                raise CalledOff
            if import_run.state == State.CHECKING:
                import_run = _check(import_run, path, report)
            if import_run.state == State.TAKING_IN:
                import_run = _take_in(import_run, path, report)
        except CalledOff:
            _stop(import_run)
        except TakenOver:
            raise
        except Exception as error:
            import_run.job.fail(str(error) or type(error).__name__)
            raise
    return import_run


def _check(import_run: ImportRun, path: Path, report: Report | None) -> ImportRun:
    """Read the file into the table beside, and say what would come of it."""
    dialect = detect(path, charset=import_run.charset, delimiter=import_run.delimiter)
    stage, job = Stage(import_run), import_run.job
    job.start(_("Checking"), _expected(dialect))
    staged = 0
    for staged in stage.fill(path, dialect):
        _tell(job, report, staged, max(staged, job.total))
    forecast = stage.forecast()
    with transaction.atomic():
        # Meanwhile somebody may have called it off, or given the word.
        import_run = _locked(import_run)
        if import_run.state != State.CHECKING or import_run.job.is_called_off:
            raise CalledOff
        import_run.staged, import_run.forecast = staged, forecast
        import_run.state = State.CHECKED if import_run.awaits_word else State.TAKING_IN
        import_run.save(update_fields=["staged", "forecast", "state"])
    if import_run.awaits_word:
        job.total = staged
        job.finish(**{word: import_run.forecast[word] for word in ("received", *VERDICTS)})
    return import_run


def _take_in(import_run: ImportRun, path: Path, report: Report | None) -> ImportRun:
    """Hand the checked rows that are not done yet to the intake."""
    stage, job = Stage(import_run), import_run.job
    if stage.count() != import_run.staged:
        # The database crashed meanwhile and emptied the table beside; the file still says the same.
        for _staged in stage.fill(
            path, detect(path, charset=import_run.charset, delimiter=import_run.delimiter)
        ):
            pass
        if stage.count() != import_run.staged:
            raise Unreadable(_("the file reads otherwise than when it was checked: upload it again"))
    job.start(_("Taking in"), import_run.staged, done=import_run.received)
    while import_run.received < import_run.staged:
        import_run = _take_in_chunk(import_run, stage)
        _tell(job, report, import_run.received, import_run.staged)
    import_run.state, import_run.finished_at, import_run.job = State.DONE, timezone.now(), job
    import_run.save(update_fields=["state", "finished_at"])
    stage.drop()
    job.finish(**numbers(import_run))
    return import_run


@transaction.atomic
def _take_in_chunk(import_run: ImportRun, stage: Stage) -> ImportRun:
    """One chunk: people, rejects and numbers, all or nothing."""
    locked = _locked(import_run)
    if locked.received != import_run.received or locked.state != State.TAKING_IN:
        raise TakenOver(f"import {locked.pk} is carried on by another worker")
    rows = stage.rows(locked.received, CHUNK)
    outcomes = intake.take_in(locked.source, [told for told, _raw in rows], locked)
    RejectedRow.objects.bulk_create(
        RejectedRow(
            import_run=locked, line=outcome.line, column=outcome.column[:80], reason=outcome.reason[:300],
            raw=json.loads(raw),
        )
        for outcome, (_told, raw) in zip(outcomes, rows, strict=True)
        if outcome.verdict == "rejected"
    )  # fmt: skip
    counts = Counter(outcome.verdict for outcome in outcomes)
    locked.received += len(rows)
    for word in VERDICTS:
        setattr(locked, word, getattr(locked, word) + counts[word])
    locked.save(update_fields=["received", *VERDICTS])
    return locked


def _tell(job: Job, report: Report | None, done: int, total: int) -> None:
    job.report(done, total)
    if report:
        report(done, total)
    if job.was_called_off():
        raise CalledOff


def _stop(import_run: ImportRun) -> None:
    """The import is called off. What was taken in stays, and the rest waits in the table beside for second thoughts."""
    import_run.refresh_from_db()
    if import_run.state == State.CANCELLED:
        return
    if import_run.state == State.CHECKING:
        Stage(import_run).drop()
    import_run.state, import_run.finished_at = State.CANCELLED, timezone.now()
    import_run.save(update_fields=["state", "finished_at"])
    import_run.job.cancel()


# --- Small parts ------------------------------------------------------------------------------------------------


@contextmanager
def _rare_collections() -> Iterator[None]:
    """A block of rows is a million objects that die together and hold no cycles: looking for cycles among them as often
    as usual takes a third of the time."""
    usual = gc.get_threshold()
    gc.set_threshold(500_000, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def _locked(import_run: ImportRun) -> ImportRun:
    rows = ImportRun.objects.select_for_update(of=("self",)).select_related("source", "job")
    return rows.get(pk=import_run.pk)


def _give_job(import_run: ImportRun, by, total: int) -> None:
    import_run.job = Job.objects.create(
        kind=JOB_KIND,
        title=f"{import_run.file_name} ({import_run.source.name})"[:160],
        total=total,
        arguments={"import_run": import_run.pk},
        asked_by=by,
    )
    import_run.save(update_fields=["job"])


def _expected(dialect: Dialect) -> int:
    return max(dialect.lines - dialect.header_line, 0)


def _language() -> str:
    """Reasons are read by the brand's people, whoever's worker writes them down."""
    return getattr(connection.tenant, "language", settings.LANGUAGE_CODE)
