"""`manage.py import_file clients.csv --brand acme --source crm`: take a file in from the command line.

Exit codes: 0 taken in, 1 failed or every row rejected, 2 wrong usage (unknown brand, source, column or field).
"""

import sys
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django_tenants.utils import tenant_context
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from profiles.imports import run
from profiles.imports.columns import Proof
from profiles.imports.detect import CHARSETS, Unreadable
from profiles.imports.mapping import CONSENTS, FIELDS, IGNORE, WrongMapping
from profiles.imports.report import VERDICTS, numbers
from profiles.imports.values import word_of
from profiles.models import ImportRun, Source
from tenants.models import Brand
from tenants.scoping import whole_network

FAILED, USAGE = 1, 2
MEANINGS: dict[str, bool | None] = {"yes": True, "no": False, "nothing": None}


class Command(BaseCommand):
    help = "Take a file of customers in. The same file again, or after a stop, goes on where it is."

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path, help="CSV (any charset and delimiter) or XLSX")
        parser.add_argument("--brand", required=True, help="short name of the brand")
        parser.add_argument("--source", required=True, help="code of the source that wrote the file")
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="check the file, tell what would come of it, and keep nothing",
        )
        parser.add_argument(
            "--mapping",
            nargs="+",
            metavar="COLUMN=FIELD",
            help=f"correct the guess for a column; fields are {', '.join(FIELDS)}, {IGNORE}",
        )
        parser.add_argument(
            "--answer",
            nargs="+",
            metavar="COLUMN:WORD=yes|no|nothing",
            help="say what an odd word in a column of consents means; rows with others are refused",
        )
        parser.add_argument("--wording", help="what everybody in the file was shown who agreed, and where")
        parser.add_argument(
            "--agreed-on",
            type=date.fromisoformat,
            metavar="YYYY-MM-DD",
            help="the day, for rows that do not say it",
        )
        parser.add_argument(
            "--no-id", action="store_true", help="no column holds an id: make one of all that a row says"
        )
        parser.add_argument("--charset", choices=CHARSETS, help="instead of the one detected")
        parser.add_argument("--delimiter", help="instead of the one detected")

    def handle(self, *args, **options):
        self.console = Console(file=self.stdout._out, highlight=False)  # noqa: SLF001 - the stream behind the wrapper
        path = Path(options["file"])
        if not path.is_file():
            raise CommandError(f"{path}: no such file", returncode=USAGE)
        brand = Brand.objects.filter(slug=options["brand"]).first()
        if brand is None:
            raise CommandError(f"no brand is called «{options['brand']}»", returncode=USAGE)
        with tenant_context(brand), whole_network():
            self._import(path, options)

    def _import(self, path: Path, options: dict) -> None:
        source = Source.objects.filter(code=options["source"]).first()
        if source is None:
            known = ", ".join(Source.objects.values_list("code", flat=True)) or "none yet"
            raise CommandError(f"no source is called «{options['source']}»; known: {known}", returncode=USAGE)
        written = {"charset": options["charset"], "delimiter": options["delimiter"]}
        try:
            plan = run.prepare(path, source, **written)
            if any(options[said] for said in ("mapping", "answer", "wording", "agreed_on", "no_id")):
                plan = self._corrected(path, source, plan, options, written)
        except Unreadable as fault:
            raise CommandError(f"{path}: {fault}", returncode=FAILED) from fault
        except WrongMapping as fault:
            raise CommandError(str(fault), returncode=USAGE) from fault
        self._show(plan)
        if plan.stopping:
            raise CommandError("correct it with --mapping COLUMN=FIELD", returncode=USAGE)
        if options["dry_run"]:
            self._check(path, source, plan)
        else:
            self._run(path, source, plan)

    def _corrected(
        self, path: Path, source: Source, plan: run.Plan, options: dict, written: dict
    ) -> run.Plan:
        """The plan with what the command line says otherwise."""
        mapping = plan.mapping | dict(map(_pair, options["mapping"] or ()))
        answers = {column: said for column, said in plan.answers.items() if mapping.get(column) in CONSENTS}
        for text in options["answer"] or ():
            column, word, meaning = _answer(text)
            answers.setdefault(column, {})[word] = meaning
        wording = plan.proof.wording if options["wording"] is None else options["wording"]
        return run.prepare(
            path, source, mapping=mapping, answers=answers, proof=Proof(wording, options["agreed_on"]),
            ids_of_content=options["no_id"] or plan.ids_of_content, **written,
        )  # fmt: skip

    def _show(self, plan: run.Plan) -> None:
        delimiter = "" if plan.dialect.is_spreadsheet else f", delimiter {plan.dialect.delimiter!r}"
        self.stdout.write(f"{plan.dialect.charset}{delimiter}, {len(plan.dialect.header)} columns")
        for column, field in plan.mapping.items():
            self.stdout.write(f"  {column} -> {field}")
        for problem in plan.problems:
            self.stderr.write(problem.message)

    def _check(self, path: Path, source: Source, plan: run.Plan) -> None:
        checked = self._carry_on(path, source, plan, awaits_word=True)
        forecast = checked.forecast
        run.discard(checked)
        self._print({word: forecast[word] for word in ("received", *VERDICTS, "new", "updated", "repeated")})
        for kind, number in forecast["matched_by"].items():
            self.stdout.write(f"  {number:,} of the new share a known {kind}")
        for verdict in ("corrected", "rejected"):
            for column, reason, number, values in forecast["reasons"][verdict]:
                told = ", ".join(f"«{value}» {times:,}" for value, times in values)
                self.stdout.write(
                    f"  {number:,} {verdict}: {column + ': ' if column else ''}{reason}{told and f' ({told})'}"
                )
            for line, column, reason in forecast["samples"][verdict]:
                self.stdout.write(f"  {verdict}, line {line}: {column + ': ' if column else ''}{reason}")
        self._tell_findings(checked)
        self.stdout.write("dry run: nothing was kept")
        _fail_if_all_rejected(forecast["received"], forecast["rejected"])

    def _run(self, path: Path, source: Source, plan: run.Plan) -> None:
        done = self._carry_on(path, source, plan)
        self._print(numbers(done))
        self._tell_findings(done)
        _fail_if_all_rejected(done.received, done.rejected)

    def _tell_findings(self, import_run: ImportRun) -> None:
        for channel, number in import_run.forecast.get("unproven", {}).items():
            self.stdout.write(f"  {number:,} yes left out: no proof ({channel})")
        for typed, meant, number in import_run.forecast.get("suggestions", []):
            self.stdout.write(f"  {number:,} e-mails at {typed}: {meant}?")

    def _carry_on(self, path: Path, source: Source, plan: run.Plan, **how) -> ImportRun:
        try:
            import_run = self._begun(path, source, plan, how)
        except run.NotNow as fault:
            raise CommandError(str(fault), returncode=FAILED) from fault
        try:
            with self._progress(path.name) as tell:
                return run.run(import_run, path, report=tell)
        except run.TakenOver as fault:
            raise CommandError(str(fault), returncode=FAILED) from fault

    def _begun(self, path: Path, source: Source, plan: run.Plan, how: dict) -> ImportRun:
        return run.begin(
            path,
            source,
            None,
            path.name,
            mapping=plan.mapping,
            answers=plan.answers,
            proof=plan.proof,
            ids_of_content=plan.ids_of_content,
            charset=plan.dialect.charset,
            delimiter=plan.dialect.delimiter,
            **how,
        )

    def _print(self, numbers: dict[str, int]) -> None:
        for name, number in numbers.items():
            self.stdout.write(f"{name.replace('_', ' '):>10} {number:>10,}")

    @contextmanager
    def _progress(self, title: str):
        """A `report(done, total)` that draws a bar where somebody looks on, and nothing elsewhere."""
        if not sys.stdout.isatty():
            yield None
            return
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=self.console) as bar:
            task = bar.add_task(title, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=max(done, total))


def _pair(text: str) -> tuple[str, str]:
    column, found, field = text.rpartition("=")
    if not found:
        raise WrongMapping(text, "write COLUMN=FIELD")
    return column, field


def _answer(text: str) -> tuple[str, str, bool | None]:
    told, found, meaning = text.rpartition("=")
    column, colon, word = told.rpartition(":")
    if not found or not colon or not word or meaning not in MEANINGS:
        raise WrongMapping(text, f"write COLUMN:WORD={'|'.join(MEANINGS)}")
    return column, word_of(word), MEANINGS[meaning]


def _fail_if_all_rejected(received: int, rejected: int) -> None:
    if received and rejected == received:
        raise CommandError("every row was rejected", returncode=FAILED)
