"""The tickets of the last days judged again: by the rules of now, and with drafts in their place. Nothing is posted.

A job goes through the members in the order of their ids and takes a few thousand tickets at once; the sums and the last
member that is in them are written together, so work that was killed goes on where it stood, and counts nobody twice.
Every ticket is judged by `rules.points_for`, as a till judges it: at the tier that its member had (with the draft: the
tier that the draft's points would have made), under the day's cap, in the segments of now: what a draft asks about,
nobody noted when the ticket came. What was brought back later is left in.
"""

import csv
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, TextIO
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _
from msgspec.structs import replace

from loyalty import members, rules, segments, simulation
from loyalty.models import Replay, RuleDraft, Transaction
from loyalty.rulebook import Rulebook
from loyalty.simulation import Prices
from profiles.imports.spreadsheet import guarded
from profiles.models import Purchase, PurchaseLine
from tenants.calendar import brand_today
from tenants.locks import alone
from tenants.network.models import Job, Staff, Store, audit
from tenants.scoping import whole_network

JOB = "replay"
DAYS = 30
MOST_DAYS = 366
TICKETS_AT_ONCE = 4000
# Members by how many points more or less they would have: the first point of each step, from below.
STEPS = (-500, -100, -50, -10, 0, 1, 11, 51, 101, 501)
NAMED = 10
# Points at an instant leave the ticket of that instant out.
TICK = timedelta(microseconds=1)


class NothingToReplay(ValueError):
    """There is no draft, or none that tickets are judged by, or the days are not possible."""


@dataclass(frozen=True)
class StoreRow:
    """What a store's tickets earn before and after; costs are whole cents that the store would pay as issuer."""

    store_id: int
    tickets: int
    before: int
    after: int

    @property
    def difference(self) -> int:
        return self.after - self.before


@dataclass(frozen=True)
class Step:
    """Members whose points change by so many: from the least to the most, open at the ends of the scale."""

    least: int | None
    most: int | None
    members: int


# --- Asking ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def ask(drafts: Sequence[RuleDraft], *, by: Staff, days: int = DAYS) -> Replay:
    """Note that the last whole days shall be replayed with these drafts; `carry_out` does it.

    Raises `NothingToReplay`, `NoProgramme`.
    """
    judging = [draft for draft in drafts if draft.rule.kind != rules.ACTION]
    if not judging:
        raise NothingToReplay(_("no draft changes what tickets earn"))
    if not 1 <= days <= MOST_DAYS:
        raise NothingToReplay(_("between 1 and %s days can be replayed") % MOST_DAYS)
    today, book = brand_today(), Rulebook.load()
    before = [terms for terms in book.at(timezone.now()) if terms.kind != rules.ACTION]
    after = simulation.with_drafts(before, judging)
    label = ", ".join(draft.rule.name for draft in judging)[:300]
    with whole_network():
        job = Job.objects.create(kind=JOB, title=(_("Replay: %s") % label)[:160], asked_by=by)
        replay = Replay.objects.create(
            job=job, label=label, first_day=today - timedelta(days=days), last_day=today - timedelta(days=1),
            before=[asdict(terms) for terms in before], after=[asdict(terms) for terms in after],
            prices=Prices.now(book.programme).as_json() | {"thresholds": book.thresholds}, made_by=by,
        )  # fmt: skip
        audit(by, "asked for", replay, days=days)
    return replay


def call_off(replay: Replay, *, by: Staff) -> None:
    """Ask the worker to stop after the members it is at."""
    replay.job.call_off()
    audit(by, "called off", replay)


def under_way() -> list[int]:
    """The replays that somebody should have in hand."""
    with whole_network():
        open_jobs = Job.objects.filter(kind=JOB).exclude(state__in=Job.OVER)
        return list(Replay.objects.filter(job__in=open_jobs).values_list("pk", flat=True))


# --- Carrying out ---------------------------------------------------------------------------------------------------


def carry_out(replay_id: int, at_once: int = TICKETS_AT_ONCE) -> None:
    """Carry the replay on to its end, from where it stands; a second worker leaves it to the first."""
    with whole_network(), alone(JOB, replay_id) as is_alone:
        if not is_alone:
            return
        replay = Replay.objects.select_related("job").get(pk=replay_id)
        job = replay.job
        if job.state in Job.OVER:
            return
        try:
            total = _tickets(replay).filter(profile__isnull=False).count()
            job.start(_("Judging tickets"), total=total, done=_tally(replay).tickets)
            while not job.was_called_off():
                if not carry_on(replay, at_once):
                    job.finish(**_summary(_tally(replay)))
                    return
                job.report(_tally(replay).tickets)
            job.cancel()
        except Exception as error:
            job.fail(str(error) or type(error).__name__)
            raise


@transaction.atomic
def carry_on(replay: Replay, at_once: int = TICKETS_AT_ONCE) -> int:
    """Judge the tickets of the next members; returns how many, 0 when all are done. One transaction."""
    # The row is held: two workers, should there ever be two, count nobody twice.
    held = Replay.objects.select_for_update(of=("self",))
    replay.refresh_from_db(fields=["cursor", "figures"], from_queryset=held)
    tickets = _next_tickets(replay, at_once)
    if not tickets:
        return 0
    tally = _tally(replay)
    _judge(tickets, Judge(replay), tally)
    replay.cursor, replay.figures = tickets[-1].profile_id, asdict(tally)
    replay.save(update_fields=["cursor", "figures"])
    return len(tickets)


@dataclass
class Tally:
    """The sums so far. `stores`: id -> [tickets, before, after]; `steps`: members by what changes, as `STEPS` says;
    `most` and `least`: who would gain and lose the most, as [points, profile]."""

    tickets: int = 0
    members: int = 0
    before: int = 0
    after: int = 0
    winners: int = 0
    losers: int = 0
    risen: int = 0
    fallen: int = 0
    stores: dict[str, list[int]] = field(default_factory=dict)
    steps: list[int] = field(default_factory=lambda: [0] * (len(STEPS) + 1))
    most: list[list[int]] = field(default_factory=list)
    least: list[list[int]] = field(default_factory=list)

    def add_member(self, profile_id: int, difference: int) -> None:
        self.members += 1
        self.winners += difference > 0
        self.losers += difference < 0
        self.steps[bisect_right(STEPS, difference)] += 1
        if difference > 0:
            self.most = sorted([*self.most, [difference, profile_id]], key=lambda who: (-who[0], who[1]))[
                :NAMED
            ]
        elif difference < 0:
            self.least = sorted([*self.least, [difference, profile_id]])[:NAMED]


def _tally(replay: Replay) -> Tally:
    return Tally(**replay.figures)


def _summary(tally: Tally) -> dict[str, int]:
    """What the list of jobs shows."""
    return {
        name: getattr(tally, name) for name in ("tickets", "members", "before", "after", "winners", "losers")
    }


def _tickets(replay: Replay):
    return Purchase.objects.filter(business_day__gte=replay.first_day, business_day__lte=replay.last_day)


@dataclass(frozen=True)
class Sold:
    """A ticket as it is read: nothing more than the rules ask."""

    pk: int
    profile_id: int
    store_id: int
    bought_at: datetime
    day: date
    payment: str
    channel: str


def _next_tickets(replay: Replay, at_once: int) -> list[Sold]:
    """The tickets of the next members: about so many, and of each member all."""
    columns = ("pk", "profile", "store", "bought_at", "business_day", "payment", "till__channel")
    ordered = _tickets(replay).filter(profile__gt=replay.cursor).order_by("profile", "bought_at", "pk")
    found = [Sold(*row) for row in ordered.values_list(*columns)[: at_once + 1]]
    if len(found) <= at_once:
        return found
    cut = found[-1].profile_id
    whole = [sold for sold in found if sold.profile_id != cut]
    if whole:
        return whole
    # One member has them all.
    return [Sold(*row) for row in ordered.filter(profile=cut).values_list(*columns)]


class Judge:
    """The two sets of rules, and what they ask about a ticket."""

    def __init__(self, replay: Replay):
        self.before = [rules.RuleTerms(**told) for told in replay.before]
        self.after = [rules.RuleTerms(**told) for told in replay.after]
        self.thresholds: dict[str, int] = replay.prices["thresholds"]
        self.since = replay.first_day
        self.changed = [rule for rule in self.before if rule not in self.after]
        self.changed += [rule for rule in self.after if rule not in self.before]
        both = [*self.before, *self.after]
        self.looks_at_tiers = any("tiers" in rule.conditions for rule in both)
        self.looks_at_the_day = rules.look_at_the_day(both)
        self.segments = rules.segments_looked_at(both)

    def points(self, ticket: rules.Ticket, tier: str, earned_before: int) -> tuple[int, int]:
        """What the ticket earns before and after; with the draft at this tier and after so many points of the day."""
        before = rules.points_for(ticket, self.before).points
        if tier == ticket.tier and earned_before == ticket.earned_before:
            # What a rule says about other tickets changes nothing here.
            if not any(rules.concerns(ticket, rule) for rule in self.changed):
                return before, before
            return before, rules.points_for(ticket, self.after).points
        other = replace(ticket, tier=tier, earned_before=earned_before)
        return before, rules.points_for(other, self.after).points


def _judge(tickets: Sequence[Sold], judge: Judge, tally: Tally) -> None:
    lines = _lines_of(tickets)
    stores = {
        pk: (code, ZoneInfo(zone)) for pk, code, zone in Store.objects.values_list("pk", "code", "time_zone")
    }
    people = list(dict.fromkeys(sold.profile_id for sold in tickets))
    tier_at, belongs = _tiers(people, tickets, judge), segments.of(people, judge.segments)
    of_day: dict[tuple[bool, int, date], int] = defaultdict(int)
    gained: dict[int, int] = dict.fromkeys(people, 0)
    for sold in tickets:
        code, zone = stores[sold.store_id]
        member = sold.profile_id
        tier, tier_after = tier_at(member, sold.bought_at, gained[member])
        ticket = rules.Ticket(
            sold.bought_at.astimezone(zone), code, tier, lines[sold.pk], of_day[False, member, sold.day],
            belongs[member], sold.payment, sold.channel,
        )  # fmt: skip
        before, after = judge.points(ticket, tier_after, of_day[True, member, sold.day])
        if judge.looks_at_the_day:
            of_day[False, member, sold.day] += before
            of_day[True, member, sold.day] += after
        gained[member] += after - before
        row = tally.stores.setdefault(str(sold.store_id), [0, 0, 0])
        row[0] += 1
        row[1] += before
        row[2] += after
        tally.before += before
        tally.after += after
    tally.tickets += len(tickets)
    for member, difference in gained.items():
        tally.add_member(member, difference)
    _count_tiers({member: points for member, points in gained.items() if points}, judge, tally)


def _lines_of(tickets: Sequence[Sold]) -> dict[int, list[rules.Line]]:
    lines: dict[int, list[rules.Line]] = {sold.pk: [] for sold in tickets}
    rows = PurchaseLine.objects.filter(purchase__in=list(lines)).order_by("purchase", "number")
    for purchase_id, sku, category, cents in rows.values_list("purchase", "sku", "category", "amount_cents"):
        lines[purchase_id].append(rules.Line(sku, category, cents))
    return lines


def _tiers(
    people: list[int], tickets: Sequence[Sold], judge: Judge
) -> Callable[[int, datetime, int], tuple[str, str]]:
    """`(member, instant, points gained by the draft so far)` -> the tier then, and the one with the draft."""
    if not judge.looks_at_tiers:
        return lambda _member, _at, _gained: ("", "")
    standing = members.Standing(people, min(sold.bought_at for sold in tickets), judge.thresholds)

    def tier_at(member: int, at: datetime, gained: int) -> tuple[str, str]:
        points = standing.points(member, at - TICK)
        tier = rules.tier_for(points, judge.thresholds)
        return tier, rules.tier_for(points + gained, judge.thresholds) if gained else tier

    return tier_at


def _count_tiers(gained: dict[int, int], judge: Judge, tally: Tally) -> None:
    """Whose tier of today would be another."""
    if not gained or not judge.thresholds:
        return
    since = timezone.now() - members.QUALIFYING_WINDOW
    sums = Transaction.objects.filter(profile__in=list(gained), occurred_at__gt=since).order_by()
    points = dict(sums.values_list("profile").annotate(points=Sum("qualifying_points")))
    for member, difference in gained.items():
        now = points.get(member, 0)
        tiers = [rules.tier_for(sum_, judge.thresholds) for sum_ in (now, now + difference)]
        heights = [judge.thresholds.get(tier, 0) for tier in tiers]
        tally.risen += heights[1] > heights[0]
        tally.fallen += heights[1] < heights[0]


# --- What came of it ------------------------------------------------------------------------------------------------


class Result:
    """The figures of a replay as a page shows them."""

    def __init__(self, replay: Replay):
        told = dict(replay.prices)
        told.pop("thresholds", None)
        self.tally, self.prices = _tally(replay), Prices(**told)

    @property
    def difference(self) -> int:
        return self.tally.after - self.tally.before

    @property
    def stores(self) -> list[StoreRow]:
        """The stores by how much changes."""
        rows = [StoreRow(int(pk), *row) for pk, row in self.tally.stores.items()]
        return sorted(rows, key=lambda row: (-abs(row.difference), row.store_id))

    @property
    def unchanged(self) -> int:
        return self.tally.members - self.tally.winners - self.tally.losers

    @property
    def steps(self) -> list[Step]:
        """The distribution, without the empty ends."""
        edges: list[int | None] = [None, *STEPS, None]
        found = [
            Step(least, None if above is None else above - 1, count)
            for least, above, count in zip(edges[:-1], edges[1:], self.tally.steps, strict=True)
        ]
        while found and not found[0].members:
            found.pop(0)
        while found and not found[-1].members:
            found.pop()
        return found

    def cost(self, points: int) -> int:
        """Cents that the points are expected to cost."""
        return self.prices.expected(points)


COLUMNS = (
    "store", "name", "tickets", "points_before", "points_after", "points_difference", "cost_before_cents",
    "cost_after_cents", "paid_by_issuer_cents", "paid_where_spent_cents", "paid_by_head_office_cents",
)  # fmt: skip


def write_csv(replay: Replay, out: TextIO) -> int:
    """A line for each store, and one for all; returns how many. The last three columns share out the cost after."""
    result = Result(replay)
    with whole_network():
        stores = {store.pk: store for store in Store.objects.all()}
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow(COLUMNS)
    rows: list[tuple[str, str, StoreRow]] = [
        (stores[row.store_id].code, stores[row.store_id].name, row) for row in result.stores
    ]
    tally = result.tally
    rows.append(("", _("Together"), StoreRow(0, tally.tickets, tally.before, tally.after)))
    for code, name, row in rows:
        cost = result.cost(row.after)
        writer.writerow(
            [
                code, guarded(name), row.tickets, row.before, row.after, row.difference, result.cost(row.before), cost,
                *result.prices.shared(cost),
            ]
        )  # fmt: skip
    return len(rows)


def rules_of(told: Iterable[dict[str, Any]]) -> dict[str, rules.RuleTerms]:
    """Rules that a replay kept, by their codes."""
    return {terms["code"]: rules.RuleTerms(**terms) for terms in told}
