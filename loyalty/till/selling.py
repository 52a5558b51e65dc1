"""Tickets: what one would earn, and recorded with what they earn."""

from collections.abc import Iterator, Sequence
from datetime import date

import msgspec
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.utils import timezone
from msgspec.structs import replace

from loyalty import cases, ledger, members, rules, segments, statements
from loyalty.models import TillRequest, Transaction
from loyalty.rulebook import NoProgramme, Rulebook
from loyalty.till import recording
from loyalty.till.answers import Answer, again, once_more_after_a_race, points_of, told_before
from loyalty.till.judging import as_rules_see_it
from loyalty.till.people import member_who_shows
from loyalty.till.recording import Page, Row
from loyalty.till.returning import apply_parked
from profiles import intake
from profiles.intake import Problem, Ticket
from profiles.models import Profile, Purchase
from tenants.brand_sql import CloserLook
from tenants.calendar import brand_today
from tenants.network.models import Till
from tenants.scoping import whole_network

_encode = msgspec.json.encode
_decode = msgspec.json.decode


def quote(till: Till, ticket: Ticket) -> dict:
    """What the ticket would earn, and what the member could spend on it. Records nothing. Raises `Problem`."""
    intake.purchases.check(ticket, till, timezone.now())
    book = Rulebook.load()
    profile = member_who_shows(till, ticket.shown) if ticket.shown else None
    in_force, tier, before = book.at(ticket.bought_at), "", 0
    belongs: frozenset[int] = frozenset()
    if profile:
        belongs = segments.of([profile.pk], rules.segments_looked_at(in_force))[profile.pk]
        standing = members.Standing([profile.pk], ticket.bought_at, book.thresholds)
        tier = standing.tier(profile.pk, ticket.bought_at)
        if rules.look_at_the_day(in_force):
            day = ticket.bought_at.astimezone(till.store.zone).date()
            before = standing.earned_on(profile.pk, day)
    earned = rules.points_for(as_rules_see_it(till, ticket, tier, before, belongs), in_force)
    step, worth = book.programme.reward_points, book.programme.reward_cents
    answer = {"points": earned.points, "explanation": earned.steps, "total_cents": ticket.total_cents}
    if profile:
        balance = statements.balance_of(profile)
        affordable = min(balance.available // step, ticket.total_cents // worth) * step
        answer |= {
            "member": str(profile.public_id),
            "spendable_points": affordable,
            "spendable_cents": rules.discount_for(affordable, step, worth),
            **points_of(balance),
        }
    return answer


def record_purchase(till: Till, ticket: Ticket) -> Answer:
    """Record a ticket and credit its points. Raises `Problem` for a ticket that cannot be right."""
    answer = record_purchases(till, [ticket])[0]
    if isinstance(answer, Problem):
        raise answer
    return answer


def record_purchases(till: Till, tickets: Sequence[Ticket]) -> list[Answer | Problem]:
    """Record tickets that a till sends together, such as a day it was offline; one answer or problem each.

    They are judged in the order in which they were bought, whatever the order of sending.
    """
    now = timezone.now()
    answers: dict[int, Answer | Problem] = {}
    sound: list[int] = []
    for position, ticket in enumerate(tickets):
        try:
            intake.purchases.check(ticket, till, now)
            sound.append(position)
        except Problem as problem:
            answers[position] = problem
    sound.sort(key=lambda position: tickets[position].bought_at)
    if sound:
        asked = [_Asked.of(till, tickets[position]) for position in sound]
        answers |= zip(sound, once_more_after_a_race(_record, till, asked), strict=True)
    return [answers[position] for position in range(len(tickets))]


class _Asked(msgspec.Struct, frozen=True):
    """A ticket, the key under which its answer is kept, and its fingerprint; `in_force`: the rules that judge it where
    nobody looks closer; `segments`: of those that the rules ask about, the ones that its member is in."""

    ticket: Ticket
    day: date
    key: str
    content: str
    in_force: Sequence[rules.RuleTerms] = ()
    segments: frozenset[int] = frozenset()

    @classmethod
    def of(cls, till: Till, ticket: Ticket) -> "_Asked":
        day = intake.purchases.business_day(ticket, till)
        key = f"purchase:{day}:{ticket.receipt_id}"[:160]
        return cls(ticket, day, key, intake.purchases.content_hash(ticket))

    @property
    def body(self) -> dict:
        return {
            "receipt_id": self.ticket.receipt_id, "total_cents": self.ticket.total_cents, "member": None,
            "points": 0, "explanation": [],
        }  # fmt: skip


def _record(till: Till, asked: Sequence[_Asked]) -> list[Answer | Problem]:
    """The ordinary case is one call of the database. It refuses what is not, and that is looked at more closely."""
    try:
        book = Rulebook.remembered()
    except NoProgramme:
        book = None
    else:
        asked = [replace(each, in_force=book.at(each.ticket.bought_at)) for each in asked]
    if not any(rules.look_at_the_day(each.in_force) for each in asked):
        try:
            return _record_at_once(till, _with_segments(till, asked), book)
        except CloserLook:
            pass
    return _look_closer(till, asked)


def _with_segments(till: Till, asked: Sequence[_Asked]) -> Sequence[_Asked]:
    """The tickets with the segments of who shows themselves: one query, and none where no rule asks."""
    looked_at = rules.segments_looked_at(rule for each in asked for rule in each.in_force)
    if not looked_at:
        return asked
    keys = [
        (shown.kind, intake.purchases.key_of(shown, till)) if (shown := each.ticket.shown) else ("", "")
        for each in asked
    ]
    found = segments.of_who_shows(keys, looked_at)
    return [replace(each, segments=found[key]) for each, key in zip(asked, keys, strict=True)]


def _record_at_once(till: Till, asked: Sequence[_Asked], book: Rulebook | None) -> list[Answer | Problem]:
    """Record and credit the tickets, all in one transaction. Raises `CloserLook`, with nothing written.

    A single ticket goes by the recorder, along with those that others hand in at this moment.
    """
    database = connections[DEFAULT_DB_ALIAS]  # of this thread: the proxy looks for it at each word
    page = Page(database.schema_name, book.programme.edition if book else None, brand_today())
    told = (_encode(_told(till, each, book)) for each in asked)
    with ledger.refusals():
        if len(asked) > recording.PART:
            rows = _record_in_parts(page, till, asked, told)
        elif len(asked) > 1 or database.in_atomic_block:
            rows = recording.record(page, list(told))
        else:
            rows = [recording.record_one(page, asked[0].ticket.bought_at, next(told))]
    kept = {n: _decode(row.body) for n, row in enumerate(rows) if row.body is not None}
    return _answers(till, asked, [row.purchase for row in rows], [row.fresh for row in rows], kept)


@transaction.atomic
def _record_in_parts(page: Page, till: Till, asked: Sequence[_Asked], told: Iterator[bytes]) -> list[Row]:
    # A part holds its buyers in the order of their ids, but no part knows of the next one's: two batches with the same
    # people would wait for each other.
    with whole_network():
        shown = {each.ticket.shown for each in asked if each.ticket.shown}
        Profile.hold(intake.purchases.find_people(shown, till).values())
    return recording.record_in_parts(page, told)


@transaction.atomic
def _look_closer(till: Till, asked: Sequence[_Asked]) -> list[Answer | Problem]:
    """The same in several steps, with the people held: somebody is new, changes tier, has a cap for the day, goes
    beyond a limit, or brought something back before it was sold."""
    recorded = intake.record_purchases(till, [each.ticket for each in asked])
    fresh = [item.verdict == intake.purchases.RECORDED for item in recorded]
    news = {n: item.purchase for n, item in enumerate(recorded) if fresh[n] and item.purchase}
    cases.note_cashiers((purchase, asked[n].ticket.cashier) for n, purchase in news.items())
    bodies = _credit(till, asked, news)
    apply_parked(till, news, bodies)
    TillRequest.objects.bulk_create(
        [
            TillRequest(
                till=till, key=asked[n].key, request_hash=asked[n].content, status=201, response=bodies[n]
            )
            for n in news
        ]
    )
    purchases = [item.purchase.pk if item.purchase else 0 for item in recorded]
    return _answers(till, asked, purchases, fresh, bodies)


def _told(till: Till, asked: _Asked, book: Rulebook | None) -> dict:
    """A ticket as `till_tickets` is told it: with what it earns at each tier that the rules tell apart."""
    ticket = asked.ticket
    told = intake.purchases.as_told(ticket, till, asked.content, None)
    told |= {
        "store_code": till.store.code, "cashier": ticket.cashier.strip()[:40], "request": asked.key,
        "body": asked.body, "earns": {},
    }  # fmt: skip
    if book is not None and ticket.shown:
        tiers = ["", *book.thresholds] if rules.look_at_the_tier(asked.in_force) else ["*"]
        seen = as_rules_see_it(till, ticket, "", 0, asked.segments)
        for tier in tiers:
            earned = rules.points_for(replace(seen, tier=tier), asked.in_force)
            told["earns"][tier] = ledger.as_posted(earned, asked.day, segments=asked.segments)
    return told


def _credit(till: Till, asked: Sequence[_Asked], news: dict[int, Purchase]) -> dict[int, dict]:
    """Post what the new purchases earn, in the order given; returns the answer's body by position."""
    bodies = {n: asked[n].body for n in news}
    people = {purchase.profile_id for purchase in news.values()} - {None}
    if not people:
        return bodies
    try:
        book = Rulebook.load()
    except NoProgramme:
        return bodies
    standing = members.Standing(people, min(p.bought_at for p in news.values()), book.thresholds)
    looked_at = rules.segments_looked_at(rule for p in news.values() for rule in book.at(p.bought_at))
    belongs = segments.of(people, looked_at)
    earnings = []
    for n, purchase in news.items():
        if purchase.profile_id is None:
            continue
        tier = standing.tier(purchase.profile_id, purchase.bought_at)
        in_force, before = book.at(purchase.bought_at), 0
        if rules.look_at_the_day(in_force):
            before = standing.earned_on(purchase.profile_id, purchase.business_day)
        member_of = belongs[purchase.profile_id]
        earned = rules.points_for(as_rules_see_it(till, asked[n].ticket, tier, before, member_of), in_force)
        standing.add(purchase.profile_id, purchase.bought_at, earned.points, purchase.business_day)
        earnings.append(
            ledger.Earning(purchase, purchase.business_day, earned, tier, before, segments=member_of)
        )
        bodies[n] |= {"points": earned.points, "explanation": earned.steps}
    watch = cases.Watch(earnings, book.programme)
    watch.open_cases(ledger.earn(watch.earnings))
    members.refresh(people)
    with whole_network():
        public_ids = dict(Profile.objects.filter(pk__in=people).values_list("pk", "public_id"))
    balances = statements.balances_of(people)
    for n, purchase in news.items():
        if purchase.profile_id is not None:
            balance = balances[purchase.profile_id]
            bodies[n] |= {
                "member": str(public_ids[purchase.profile_id]), "tier": balance.tier, **points_of(balance),
            }  # fmt: skip
    return bodies


def _answers(
    till: Till,
    asked: Sequence[_Asked],
    purchases: Sequence[int],
    fresh: Sequence[bool],
    bodies: dict[int, dict],
) -> list[Answer | Problem]:
    """New tickets hear what was kept with them; whoever asked before hears what was told then."""
    answers: list[Answer | Problem] = []
    before: dict[str, TillRequest] = {}
    seen: dict[int, Purchase] = {}
    if not all(fresh):
        repeats = [n for n, is_new in enumerate(fresh) if not is_new]
        before = told_before(till, [asked[n].key for n in repeats])
        seen = Purchase.objects.in_bulk([purchases[n] for n in repeats])
    new = {purchase for purchase, is_new in zip(purchases, fresh, strict=True) if is_new}
    for n, each in enumerate(asked):
        if fresh[n]:
            answers.append(Answer(201, bodies[n]))
            continue
        request = before.get(each.key)
        if request and not (purchases[n] in new and request.request_hash != each.content):
            answers.append(again(request, each.content))
            continue
        recorded = intake.purchases.seen_before(seen[purchases[n]], each.content)
        answers.append(
            Answer(201, _retold(recorded.purchase), replayed=True)
            if recorded.problem is None
            else recorded.problem
        )
    return answers


def _retold(purchase: Purchase) -> dict:
    """The answer to a ticket whose kept answer is gone, from the ledger: with the balances of now."""
    body = {
        "receipt_id": purchase.receipt_id, "total_cents": purchase.total_cents, "member": None, "points": 0,
        "explanation": [],
    }  # fmt: skip
    with whole_network():
        earning = Transaction.objects.filter(key=f"earn:{purchase.pk}").first()
    if earning:
        body |= {"points": earning.qualifying_points, "explanation": earning.explanation}
    if purchase.profile:
        balance = statements.balance_of(purchase.profile)
        body |= {"member": str(purchase.profile.public_id), "tier": balance.tier, **points_of(balance)}
    return body
