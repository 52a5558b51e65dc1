"""The balances of a programme that was run elsewhere before, as lots with their own last day.

A file is checked as a whole (`check`), agrees with the total that the old programme tells, is signed off by somebody
else than who uploaded it (`sign`), and only then posted, in chunks that may be killed and repeated (`post_chunk`).
Until it is signed off it is withdrawn as a whole. The file has a line for each lot: card or customer number, points,
last day (empty: they never expire), store that issued them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path

from django.db import transaction
from django.db.models import Count, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import ledger, members
from loyalty.models import OpeningLine, OpeningRun
from profiles.imports import detect, files, reading, values
from profiles.models import Identifier
from profiles.normalise import card, customer_id
from tenants.calendar import brand_today, brand_zone
from tenants.locks import alone
from tenants.network.models import Job, Staff, Store, audit
from tenants.scoping import whole_network

State = OpeningRun.State
JOB_KIND = "opening-balances"
COLUMNS = {
    "customer": (
        "card",
        "customer",
        "customer number",
        "carte",
        "numero de carte",
        "client",
        "numero client",
    ),
    "points": ("points", "solde", "balance"),
    "expires": ("expires", "last day", "expiry", "expiration", "dernier jour", "date d'expiration"),
    "store": ("store", "magasin", "store code", "code magasin"),
}
MOST_POINTS = 10**9
PROBLEMS_SHOWN = 200
LINES_AT_ONCE = 1000


class NotAllowed(Exception):
    """The deed is refused; `code` says by which rule."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Fault(Exception):
    """What is wrong in a line, and in which field of it."""

    line: int
    field: str
    reason: str


def upload(path: Path, file_name: str, told_points: int, *, by: Staff) -> OpeningRun:
    """Keep the file and have it checked. `told_points`: the total that the old programme tells."""
    file_hash = files.keep(path)
    with transaction.atomic():
        job = Job.objects.create(kind=JOB_KIND, title=file_name[:160], asked_by=by)
        run = OpeningRun.objects.create(
            file_name=file_name[:200], file_hash=file_hash, told_points=told_points, uploaded_by=by, job=job
        )
        audit(by, "uploaded", run, points=told_points)
    return run


def under_way() -> list[int]:
    """The runs that somebody should have in hand: being checked, or signed off and not posted to their end."""
    with whole_network():
        moving = OpeningRun.objects.filter(state__in=[State.CHECKING, State.POSTING])
        return list(moving.exclude(job__state__in=Job.OVER).order_by("pk").values_list("pk", flat=True))


def resume(run_id: int) -> None:
    """Have work that failed, or that nobody has in hand any more, begin again; what is done is not done again."""
    with whole_network():
        run = OpeningRun.objects.select_related("job").get(pk=run_id)
        if run.state in (State.CHECKING, State.POSTING) and run.job.state in Job.OVER:
            run.job.start(total=run.line_count - run.unknown_lines, done=run.posted_lines)


def carry_out(run_id: int, at_once: int = LINES_AT_ONCE) -> int:
    """Check the file, or post what is left of balances that were signed off; returns how many lines were posted.

    A second worker leaves it to the first. What fails is noted in the job, and asked for again by hand (`resume`).
    """
    with whole_network(), alone(JOB_KIND, run_id) as is_alone:
        if not is_alone:
            return 0
        run = OpeningRun.objects.select_related("job").get(pk=run_id)
        try:
            if run.state == State.CHECKING:
                check(run_id)
            done = 0
            while count := post_chunk(run_id, at_once):
                done += count
        except Exception as error:
            run.job.fail(str(error) or type(error).__name__)
            raise
    return done


@transaction.atomic
def check(run_id: int) -> OpeningRun:
    """Read the whole file: every error by line and field; without one, its lines. Run twice, it says the same."""
    with whole_network():
        run = _held(run_id)
        if run.state != State.CHECKING:
            return run
        run.lines.all().delete()
        problems: list[Fault] = []
        told = list(_read(run, problems))
        profiles = _profiles_of({named for _line, named, *_rest in told})
        run.problem_count = len(problems)
        run.problems = [[p.line, p.field, p.reason] for p in problems[:PROBLEMS_SHOWN]]
        run.state = State.FAULTY if problems else State.CHECKED
        run.line_count, run.points = len(told), sum(points for _line, _named, points, *_rest in told)
        unknown = [points for _line, named, points, *_rest in told if named not in profiles]
        run.unknown_lines, run.unknown_points = len(unknown), sum(unknown)
        if not problems:
            OpeningLine.objects.bulk_create(
                (
                    OpeningLine(
                        run=run, line=line, named=named, profile_id=profiles.get(named), points=points,
                        expires_on=expires_on, store_id=store_id,
                    )
                    for line, named, points, expires_on, store_id in told
                ),
                batch_size=5000,
            )  # fmt: skip
        run.save()
        run.job.finish(lines=run.line_count, errors=run.problem_count)
    return run


def _read(run: OpeningRun, problems: list[Fault]) -> Iterator[tuple[int, str, int, date | None, int]]:
    """(line, what it names, points, last day, store) of every sound line."""
    try:
        dialect = detect.detect(files.kept(run.file_hash))
    except (detect.Unreadable, OSError) as fault:
        problems.append(Fault(0, "", str(fault)))
        return
    column_of = _columns(dialect.header)
    missing = [field for field in COLUMNS if field not in column_of]
    if missing or not dialect.header_line:
        found = ", ".join(dialect.header)[:200]
        problems += [Fault(1, field, _("no such column; the file has: %s") % found) for field in missing]
        return
    stores = {code.casefold(): pk for code, pk in Store.objects.values_list("code", "pk")}
    seen: dict[tuple, int] = {}
    for row in reading.rows(files.kept(run.file_hash), dialect):
        if isinstance(row, reading.Refused):
            problems.append(Fault(row.line, row.column, row.reason))
            continue
        cells = {field: row.cells[column].strip() for field, column in column_of.items()}
        try:
            named, points = _named(row.line, cells), _points(row.line, cells["points"])
            expires_on = _last_day(row.line, cells["expires"])
            store_id = stores.get(cells["store"].casefold())
            if store_id is None:
                raise Fault(row.line, "store", _("no store has the code «%s»") % cells["store"][:40])
            first = seen.setdefault((named, expires_on, store_id), row.line)
            if first != row.line:
                raise Fault(
                    row.line, "customer", _("the same customer, last day and store as line %s") % first
                )
        except Fault as problem:
            problems.append(problem)
            continue
        yield row.line, named, points, expires_on, store_id


def _columns(header: tuple[str, ...]) -> dict[str, str]:
    known = {word: field for field, words in COLUMNS.items() for word in words}
    found: dict[str, str] = {}
    for column in header:
        field = known.get(values.plain(column).replace("_", " "))
        if field:
            found.setdefault(field, column)
    return found


def _named(line: int, cells: dict[str, str]) -> str:
    named = cells["customer"]
    if not named:
        raise Fault(line, "customer", _("says nothing"))
    if len(named) > 100:
        raise Fault(line, "customer", _("is too long"))
    return named


def _points(line: int, told: str) -> int:
    digits = told.replace("\u00a0", "").replace("\u202f", "").replace(" ", "")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 11 and 0 < int(digits) <= MOST_POINTS):
        raise Fault(line, "points", _("«%s» is no whole number above zero") % told[:40])
    return int(digits)


def _last_day(line: int, told: str) -> date | None:
    try:
        moment = values.moment(told, brand_zone())
    except values.NotUnderstood as fault:
        raise Fault(line, "expires", str(fault)) from None
    if moment is None:
        return None
    day = moment.astimezone(brand_zone()).date()
    if day < brand_today():
        raise Fault(line, "expires", _("%s is over: these points expired") % day.isoformat())
    return day


def _profiles_of(named: set[str]) -> dict[str, int]:
    """Who is meant by each card or customer number; who is not known is left out, and so is what two people share."""
    keys = {}
    for name in named:
        pairs = [("card", card(name) or ""), ("customer", customer_id(name) or "")]
        keys[name] = [(kind, key) for kind, key in pairs if key]
    wanted = {key for pairs in keys.values() for _kind, key in pairs}
    owners: dict[tuple[str, str], set[int]] = {}
    ordered = iter(sorted(wanted))
    while some := list(islice(ordered, 5000)):
        rows = Identifier.objects.filter(kind__in=["card", "customer"], key__in=some)
        for kind, key, profile_id in rows.order_by().values_list("kind", "key", "profile"):
            owners.setdefault((kind, key), set()).add(profile_id)
    found = {}
    for name, pairs in keys.items():
        for pair in pairs:
            people = owners.get(pair, set())
            if len(people) == 1:
                found[name] = next(iter(people))
                break
    return found


@transaction.atomic
def sign(run_id: int, *, by: Staff) -> OpeningRun:
    """Say that the balances are right: from now on they are posted and never changed. Raises `NotAllowed`."""
    if not by.has_perm("loyalty.sign_openingrun"):
        raise NotAllowed("not_allowed", _("your role does not sign off balances"))
    with whole_network():
        run = _held(run_id)
        if run.state != State.CHECKED:
            raise NotAllowed("not_checked", _("these balances do not wait for a sign-off"))
        if run.uploaded_by_id == by.pk:
            raise NotAllowed("own_upload", _("somebody else than who uploaded the file signs it off"))
        if run.points != run.told_points:
            raise NotAllowed("not_reconciled", _("the file does not sum to the total of the old programme"))
        run.signed_by, run.signed_at, run.state = by, timezone.now(), State.POSTING
        run.save(update_fields=["signed_by", "signed_at", "state"])
        run.job.start(total=run.line_count - run.unknown_lines)
        audit(by, "signed off", run, points=run.points, unknown=run.unknown_points)
    return run


@transaction.atomic
def withdraw(run_id: int, *, by: Staff) -> OpeningRun:
    """Undo the whole upload, while nobody has signed it off. Raises `NotAllowed`."""
    with whole_network():
        run = _held(run_id)
        if run.state not in (State.CHECKED, State.FAULTY):
            raise NotAllowed("signed", _("balances that were signed off are not withdrawn"))
        run.lines.all().delete()
        run.state = State.WITHDRAWN
        run.save(update_fields=["state"])
        audit(by, "withdrew", run, points=run.points)
    return run


@transaction.atomic
def post_chunk(run_id: int, limit: int = LINES_AT_ONCE) -> int:
    """Post the next lines; returns how many, 0 when all are posted. Two workers at once wait for each other."""
    with whole_network():
        run = _held(run_id)
        if run.state != State.POSTING:
            return 0
        waiting = run.lines.filter(transaction=None, profile__isnull=False)
        lines = list(waiting.select_related("profile").order_by("line")[:limit])
        gifts = [_gift(run, line) for line in lines]
        posted = ledger.give(gifts, at=run.signed_at, actor=run.signed_by.email[:160])
        for line, gift in zip(lines, gifts, strict=True):
            line.transaction_id = posted[gift.key]
        OpeningLine.objects.bulk_update(lines, ["transaction"], batch_size=500)
        members.refresh(gift.profile_id for gift in gifts)
        done = run.lines.exclude(transaction=None).aggregate(
            lines=Count("pk"), points=Sum("points", default=0)
        )
        run.posted_lines, run.posted_points = done["lines"], done["points"]
        if not lines:
            run.state, run.done_at = State.DONE, timezone.now()
        run.save(update_fields=["posted_lines", "posted_points", "state", "done_at"])
        if lines:
            run.job.report(run.posted_lines)
        else:
            run.job.finish(lines=run.posted_lines, points=run.posted_points)
    return len(lines)


def _gift(run: OpeningRun, line: OpeningLine) -> ledger.Gift:
    """The line's points, for whoever the customer lives on in."""
    return ledger.Gift(
        f"opening:{line.pk}", line.profile.survivor.pk, line.points, line.store_id,
        {"opening": run.pk, "line": line.line}, line.expires_on,
    )  # fmt: skip


def _held(run_id: int) -> OpeningRun:
    return (
        OpeningRun.objects.select_for_update(of=("self",)).select_related("job", "signed_by").get(pk=run_id)
    )
