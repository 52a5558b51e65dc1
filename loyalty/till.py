"""What a till can ask. Each verb is one transaction, and each answer is kept: the same request again gets it again.

Requests are told apart by the till's own ids — receipt, refund, redemption — so a till that lost an answer simply
sends the request once more. The same id with another content is refused.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import msgspec
from django.db import IntegrityError, OperationalError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg.errors import DeadlockDetected

from loyalty import ledger, members, rules, statements
from loyalty.models import TillRequest, Transaction
from loyalty.rulebook import NoProgramme, Rulebook
from profiles import blocklist, intake
from profiles.intake import Conflict, Problem, RefundStatement, Shown, Statement, Ticket
from profiles.models import Profile, Purchase, Refund, RefundLine
from tenants.brand_sql import CloserLook, call
from tenants.calendar import brand_today
from tenants.network.models import Till
from tenants.scoping import whole_network

_encode = msgspec.json.encode
_decode = msgspec.json.decode

ID_OF_REQUEST = {"purchase": "receipt_id", "refund": "refund_id", "redemption": "redemption_id"}


@dataclass(frozen=True)
class Answer:
    """What the till is told. `replayed`: it was told before, word for word."""

    status: int
    body: dict
    replayed: bool = False


class UnknownMember(LookupError):
    """Nobody is known by what was shown."""


# --- Who is it -----------------------------------------------------------------------------------------------------


def identify(till: Till, shown: Shown) -> dict:
    """The member who shows this card, phone or e-mail: masked, for the cashier. Raises `UnknownMember`, `Problem`."""
    kind, key = shown.kind, intake.purchases.key_of(shown, till)
    if key:
        profile_id, survivor, public_id, first, last, email, phone, *points = call(
            "SELECT profile, survivor, public_id, first_name, last_name, email, phone,"
            " available, pending, debt, next_on, next_points, tier FROM till_identify($1, $2, $3)",
            [kind, key, brand_today()],
        )
        if profile_id and not survivor:
            return _masked_view((public_id, first, last, email, phone), statements.Balance(*points))
    return member_view(_member(till, shown))


@transaction.atomic
def enrol(till: Till, shown: Shown, fields: dict[str, str], consents=()) -> dict:
    """Find the member, or take a new one in with what was said at the till. Raises `Problem`.

    A card that bought before anybody said whose it is gets its name now; a member who has a name keeps it.
    """
    source = intake.till_source()
    key = intake.purchases.key_of(shown, till)
    if blocklist.current().blocks(shown.kind, key):
        raise Problem(
            "invalid_identifier", _("«%s» belongs to nobody in particular") % shown.value[:60], "member"
        )
    external_id = f"{shown.kind}:{key}"[:80]
    try:
        known = _member(till, shown)
    except UnknownMember:
        known = None
    with whole_network():
        ours = known and known.records.filter(source=source, external_id=external_id).exists()
    if known and (known.first_name or known.last_name or not ours):
        return member_view(known)
    told = {**fields, shown.kind: shown.value}
    outcome = intake.take_in_records(
        source,
        [
            Statement(
                external_id=external_id,
                fields=told,
                raw={**told, "shown_at": str(till)},
                store_code=till.store.code,
                consents=consents,
            )
        ],
    )[0]
    with whole_network():
        members.refresh([outcome.profile_id])
        return member_view(Profile.objects.get(pk=outcome.profile_id))


def statement(public_id: str) -> dict:
    """A member whom the till's store knows. Raises `UnknownMember`."""
    # The id of a merged profile answers with the one it lives on in, if the store knows that one.
    profile = Profile.reached_by(public_id=public_id)
    if profile is None:
        raise UnknownMember(_("no member of this store has the id %s") % public_id)
    return member_view(profile)


def member_view(profile: Profile) -> dict:
    """What a cashier sees: enough to greet and to check, no more."""
    told = profile.public_id, profile.first_name, profile.last_name, profile.email, profile.phone
    return _masked_view(told, statements.balance_of(profile))


def _masked_view(told: tuple[UUID, str, str, str, str], balance: statements.Balance) -> dict:
    public_id, first, last, email, phone = told
    return {
        "id": str(public_id),
        "name": " ".join(filter(None, [first, last[:1] + "." if last else ""])),
        "email": _masked(email),
        "phone": f"••{phone[-2:]}" if phone else "",
        "tier": balance.tier,
        **_points(balance),
        "next_expiry": {"on": balance.next_expiry_on.isoformat(), "points": balance.next_expiry_points}
        if balance.next_expiry_on
        else None,
    }


# --- Tickets ---------------------------------------------------------------------------------------------------------


def quote(till: Till, ticket: Ticket) -> dict:
    """What the ticket would earn, and what the member could spend on it. Records nothing. Raises `Problem`."""
    intake.purchases.check(ticket, till, timezone.now())
    book = Rulebook.load()
    profile = _member(till, ticket.shown) if ticket.shown else None
    in_force, tier, before = book.at(ticket.bought_at), "", 0
    if profile:
        standing = members.Standing([profile.pk], ticket.bought_at, book.thresholds)
        tier = standing.tier(profile.pk, ticket.bought_at)
        if rules.look_at_the_day(in_force):
            day = ticket.bought_at.astimezone(till.store.zone).date()
            before = standing.earned_on(profile.pk, day)
    earned = rules.points_for(_as_rules_see_it(till, ticket, tier, before), in_force)
    step, worth = book.programme.reward_points, book.programme.reward_cents
    answer = {"points": earned.points, "explanation": earned.steps, "total_cents": ticket.total_cents}
    if profile:
        balance = statements.balance_of(profile)
        affordable = min(balance.available // step, ticket.total_cents // worth) * step
        answer |= {
            "member": str(profile.public_id),
            "spendable_points": affordable,
            "spendable_cents": rules.discount_for(affordable, step, worth),
            **_points(balance),
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
    for part in _within_a_year(sound, tickets):
        asked = [_Asked.of(till, tickets[position]) for position in part]
        answers |= zip(part, _once_more_after_a_race(_record, till, asked, now), strict=True)
    return [answers[position] for position in range(len(tickets))]


@dataclass(frozen=True)
class _Asked:
    """A ticket, the key under which its answer is kept, and its fingerprint."""

    ticket: Ticket
    day: date
    key: str
    content: str

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


def _within_a_year(ordered: Sequence[int], tickets: Sequence[Ticket]) -> Iterator[list[int]]:
    """The tickets in parts in which all points still count for the tier of the last."""
    part: list[int] = []
    for position in ordered:
        if part and tickets[position].bought_at - tickets[part[0]].bought_at >= members.QUALIFYING_WINDOW:
            yield part
            part = []
        part.append(position)
    if part:
        yield part


def _record(till: Till, asked: Sequence[_Asked], now: datetime) -> list[Answer | Problem]:
    """The ordinary case is one call of the database. It refuses what is not, and that is looked at more closely."""
    try:
        book = Rulebook.remembered()
    except NoProgramme:
        book = None
    if book is None or not any(rules.look_at_the_day(book.at(each.ticket.bought_at)) for each in asked):
        try:
            told = [_told(till, each, book) for each in asked]
            purchases, _people, fresh, _requests, bodies = _post(till, told, book, now, closer=False)
            if fresh is None:
                return [Answer(201, _decode(body)) for body in bodies]
            return _answers(till, asked, purchases, fresh, dict(enumerate(bodies or ())))
        except CloserLook:
            pass
    for last_try in (False, True):
        try:
            return _look_closer(till, asked, now)
        except CloserLook:  # the rulebook changed once more
            if last_try:
                raise
    raise AssertionError


@transaction.atomic
def _look_closer(till: Till, asked: Sequence[_Asked], now: datetime) -> list[Answer | Problem]:
    """The same in several steps, with the people held: somebody is new, changes tier, or has a cap for the day."""
    people = intake.purchases.hold_people(till, [each.ticket for each in asked])
    try:
        book = Rulebook.load()
    except NoProgramme:
        book = None
    told = [_told(till, each, book, people) for each in asked]
    if book is not None:
        _judge_by_the_day(till, asked, told, people, book)
    purchases, buyers, fresh, requests, _bodies = _post(till, told, book, now, closer=True)
    bodies: dict[int, str] = {}
    if requests:
        if book is not None:
            met = zip(buyers, fresh, strict=True)
            members.refresh({buyer for buyer, is_new in met if is_new and buyer is not None})
        (kept,) = call(
            "SELECT till_answer($1, $2, $3, $4::jsonb[])", [till.pk, now, brand_today(), list(requests)]
        )
        bodies = dict(zip([n for n, is_new in enumerate(fresh) if is_new], kept, strict=True))
    return _answers(till, asked, purchases, fresh, bodies)


def _post(till: Till, told: list[dict], book: Rulebook | None, now: datetime, *, closer: bool) -> tuple:
    edition = book.programme.edition if book else None
    tiers = sorted(((points, code) for code, points in book.thresholds.items()), reverse=True) if book else []
    with ledger.refusals():
        return call(
            "SELECT purchases, people, fresh, requests, bodies"
            " FROM till_tickets($1, $2, $3, $4, $5::bigint, $6::text[], $7::bigint[], $8::jsonb, $9)",
            [
                till.pk,
                till.store_id,
                now,
                brand_today(),
                edition,
                [code for _points, code in tiers],
                [points for points, _code in tiers],
                _encode(told).decode(),
                closer,
            ],
        )


def _told(till: Till, asked: _Asked, book: Rulebook | None, people: dict[Shown, int] | None = None) -> dict:
    """A ticket as `till_tickets` is told it: with what it earns at each tier that the rules tell apart."""
    ticket = asked.ticket
    told = intake.purchases.as_told(ticket, till, asked.content, people)
    told |= {"request": asked.key, "body": asked.body, "before": 0, "earns": {}}
    if book is not None and ticket.shown:
        in_force = book.at(ticket.bought_at)
        tiers = ["", *book.thresholds] if rules.look_at_the_tier(in_force) else ["*"]
        for tier in tiers:
            earned = rules.points_for(_as_rules_see_it(till, ticket, tier, 0), in_force)
            told["earns"][tier] = ledger.as_posted(earned, asked.day)
    return told


def _judge_by_the_day(
    till: Till, asked: Sequence[_Asked], told: list[dict], people: dict[Shown, int], book: Rulebook
) -> None:
    """Where a cap looks at the day, what a ticket earns depends on those before it: of the ledger, and of these."""
    if not any(rules.look_at_the_day(book.at(each.ticket.bought_at)) for each in asked):
        return
    with whole_network():
        known = set(
            Purchase.objects.filter(till=till, receipt_id__in=[each.ticket.receipt_id for each in asked])
            .values_list("business_day", "receipt_id")
        )  # fmt: skip
    standing = members.Standing(people.values(), asked[0].ticket.bought_at, book.thresholds)
    for each, its in zip(asked, told, strict=True):
        ticket = each.ticket
        profile_id = people.get(ticket.shown) if ticket.shown else None
        if profile_id is None or (each.day, ticket.receipt_id) in known:
            continue
        known.add((each.day, ticket.receipt_id))
        tier, in_force = standing.tier(profile_id, ticket.bought_at), book.at(ticket.bought_at)
        if rules.look_at_the_day(in_force):
            its["before"] = standing.earned_on(profile_id, each.day)
        earned = rules.points_for(_as_rules_see_it(till, ticket, tier, its["before"]), in_force)
        its["earns"] = {"*": ledger.as_posted(earned, each.day)}
        standing.add(profile_id, ticket.bought_at, earned.points, each.day)


def _answers(
    till: Till,
    asked: Sequence[_Asked],
    purchases: Sequence[int],
    fresh: Sequence[bool],
    bodies: dict[int, str],
) -> list[Answer | Problem]:
    """New tickets hear what was kept with them; whoever asked before hears what was told then."""
    answers: list[Answer | Problem] = []
    before: dict[str, TillRequest] = {}
    seen: dict[int, Purchase] = {}
    if not all(fresh):
        repeats = [n for n, is_new in enumerate(fresh) if not is_new]
        before = _told_before(till, [asked[n].key for n in repeats])
        seen = Purchase.objects.in_bulk([purchases[n] for n in repeats])
    new = {purchase for purchase, is_new in zip(purchases, fresh, strict=True) if is_new}
    for n, each in enumerate(asked):
        if fresh[n]:
            answers.append(Answer(201, _decode(bodies[n])))
            continue
        request = before.get(each.key)
        if request and not (purchases[n] in new and request.request_hash != each.content):
            answers.append(_again(request, each.content))
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
        body |= {"member": str(purchase.profile.public_id), "tier": balance.tier, **_points(balance)}
    return body


# --- Refunds and redemptions -----------------------------------------------------------------------------------------


def refund(till: Till, told: RefundStatement) -> Answer:
    """Record goods brought back and take their points back. Raises `Problem`, `Conflict`."""
    return _once_more_after_a_race(_refund, till, told)


@transaction.atomic
def _refund(till: Till, told: RefundStatement) -> Answer:
    key = f"refund:{told.refunded_at.astimezone(till.store.zone).date()}:{told.refund_id}"
    before = _told_before(till, [key]).get(key)
    if before:
        return _raised(_again(before, intake.purchases.content_hash(told)))
    recorded, _verdict = intake.record_refund(till, told)
    with whole_network():
        points = points_to_take_back(recorded)
        ledger.take_back(recorded, points, actor=str(till))
        body = {
            "refund_id": recorded.refund_id, "receipt_id": recorded.purchase.receipt_id,
            "refunded_cents": recorded.total_cents, "points_taken_back": points, "member": None,
        }  # fmt: skip
        profile = recorded.purchase.profile
        if profile:
            members.refresh([profile.pk])
            body |= {"member": str(profile.public_id), **_points(statements.balance_of(profile))}
    _tell(till, key, recorded.content_hash, body)
    return Answer(201, body)


def points_to_take_back(returned: Refund) -> int:
    """Points that the refund costs its member, under the rules that the ticket was judged by."""
    purchase = returned.purchase
    earning = Transaction.objects.filter(key=f"earn:{purchase.pk}").first()
    if earning is None:
        return 0
    lines = list(purchase.lines.order_by("number"))
    back = dict.fromkeys([line.pk for line in lines], 0)
    upto = RefundLine.objects.filter(refund__purchase=purchase, refund__pk__lte=returned.pk)
    for line_id, cents in upto.values_list("line", "amount_cents"):
        back[line_id] += cents
    taken = -sum(
        Transaction.objects.filter(
            purchase=purchase, kind=Transaction.Kind.REFUND, refund__pk__lt=returned.pk
        ).values_list("qualifying_points", flat=True)
    )
    return rules.points_to_take_back(
        as_recorded(purchase, lines, earning.tier, earning.earned_before),
        [back[line.pk] for line in lines],
        Rulebook.load().at(purchase.bought_at),
        taken,
    )


def redeem(till: Till, shown: Shown, points: int, redemption_id: str, at: datetime) -> Answer:
    """Spend points for money off. Raises `Problem` (`invalid_points`), `UnknownMember`, `ledger.NotEnoughPoints`."""
    asked = _Redemption(till, shown, points, redemption_id, at, timezone.now())
    return _once_more_after_a_race(_redeem, asked)


@dataclass(frozen=True)
class _Redemption:
    till: Till
    shown: Shown
    points: int
    id: str
    at: datetime
    now: datetime

    @property
    def key(self) -> str:
        return f"redemption:{self.id}"

    @property
    def content(self) -> str:
        told = [self.shown.kind, self.shown.value, self.points]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @property
    def ledger_key(self) -> str:
        return f"redeem:{self.till.pk}:{self.id}"[:120]

    def check(self, step: int) -> None:
        if self.points <= 0 or self.points % step:
            raise Problem("invalid_points", _("points are spent in steps of %s") % step, "points")
        if self.at > self.now + intake.purchases.CLOCK_SKEW:
            raise Problem("future_date", _("the redemption lies in the future"), "redeemed_at")

    def request(self, cents: int) -> dict:
        body = {"redemption_id": self.id, "points": self.points, "discount_cents": cents}
        return {"key": self.key[:160], "hash": self.content, "body": body}


def _redeem(asked: _Redemption) -> Answer:
    """The ordinary case is one call of the database. It refuses what is not, and that is looked at more closely."""
    till, key = asked.till, intake.purchases.key_of(asked.shown, asked.till)
    try:
        programme = Rulebook.remembered().programme
        asked.check(programme.reward_points)
        if not key or asked.points > ledger.MOST_POINTS:
            return _redeem_closely(asked)
        cents = rules.discount_for(asked.points, programme.reward_points, programme.reward_cents)
        with ledger.refusals():
            told_hash, told, answer, missing = call(
                "SELECT told_hash, told, answer, missing FROM till_redeem("
                "$1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10, $11, $12, $13::jsonb)",
                [
                    till.pk, till.store_id, asked.shown.kind, key, asked.points,
                    _encode(asked.request(cents)).decode(), asked.ledger_key, min(asked.at, asked.now), asked.now,
                    brand_today(), programme.edition, str(till), _encode([{"cents": cents}]).decode(),
                ],
            )  # fmt: skip
    except (CloserLook, NoProgramme, Problem):
        return _redeem_closely(asked)
    if told is not None:
        return _raised(
            _again(
                TillRequest(key=asked.key, request_hash=told_hash, status=201, response=_decode(told)),
                asked.content,
            )
        )
    if answer is None:
        raise ledger.NotEnoughPoints(missing)
    return Answer(201, _decode(answer))


@transaction.atomic
def _redeem_closely(asked: _Redemption) -> Answer:
    """The same in several steps: who has moved, or what expired and waits for the night."""
    till = asked.till
    before = _told_before(till, [asked.key]).get(asked.key)
    if before:
        return _raised(_again(before, asked.content))
    programme = Rulebook.load().programme
    asked.check(programme.reward_points)
    found = _member(till, asked.shown)
    profile = Profile.hold([found.pk])[found.pk]
    cents = rules.discount_for(asked.points, programme.reward_points, programme.reward_cents)
    ledger.redeem(
        profile.pk, asked.points, store_id=till.store_id, key=asked.ledger_key, at=min(asked.at, asked.now),
        actor=str(till), cents=cents,
    )  # fmt: skip
    (kept,) = call(
        "SELECT till_answer($1, $2, $3, ARRAY[$4::jsonb])",
        [till.pk, asked.now, brand_today(), _encode(asked.request(cents) | {"profile": profile.pk}).decode()],
    )
    return Answer(201, _decode(kept[0]))


# --- How the rules see a ticket --------------------------------------------------------------------------------------


def _as_rules_see_it(till: Till, ticket: Ticket, tier: str, earned_before: int) -> rules.Ticket:
    return rules.Ticket(
        ticket.bought_at.astimezone(till.store.zone),
        till.store.code,
        tier,
        [rules.Line(line.sku[:40], line.category[:60], line.amount_cents) for line in ticket.lines],
        earned_before,
    )


def as_recorded(purchase: Purchase, lines, tier: str, earned_before: int = 0) -> rules.Ticket:
    """The ticket as it stands in the database, for refunds and for the proof of the ledger."""
    return rules.Ticket(
        purchase.bought_at.astimezone(purchase.store.zone),
        purchase.store.code,
        tier,
        [rules.Line(line.sku, line.category, line.amount_cents) for line in lines],
        earned_before,
    )


def explain(purchase: Purchase) -> rules.Explanation | None:
    """Why the ticket earned what it did, line by line, by the rules of its time; None for a ticket of nobody."""
    if purchase.profile_id is None:
        return None
    with whole_network():
        earning = Transaction.objects.filter(key=f"earn:{purchase.pk}").first()
        told = as_recorded(
            purchase, purchase.lines.order_by("number"), earning.tier if earning else "",
            earning.earned_before if earning else 0,
        )  # fmt: skip
    return rules.explain(told, Rulebook.load().at(purchase.bought_at))


# --- Answers that are kept -------------------------------------------------------------------------------------------


def _once_more_after_a_race(verb, *args):
    """Two equal requests at once: the loser of the race asks again and hears what the winner was told.

    Points that are missing may have been spent by the equal request, which this one waited for.
    """
    try:
        return verb(*args)
    except (IntegrityError, ledger.AlreadyPosted, ledger.NotEnoughPoints):
        return verb(*args)
    except OperationalError as error:
        if not isinstance(error.__cause__, DeadlockDetected):
            raise
        return verb(*args)


def _told_before(till: Till, keys: Sequence[str]) -> dict[str, TillRequest]:
    return {request.key: request for request in TillRequest.objects.filter(till=till, key__in=keys)}


def _again(before: TillRequest, content: str) -> Answer | Problem:
    if before.request_hash != content:
        field = ID_OF_REQUEST[before.key.partition(":")[0]]
        return Conflict(
            "id_reused", _("this id was used before with another content: %s") % before.key, field
        )
    return Answer(before.status, before.response, replayed=True)


def _raised(answer: Answer | Problem) -> Answer:
    if isinstance(answer, Problem):
        raise answer
    return answer


def _tell(till: Till, key: str, content: str, body: dict) -> None:
    TillRequest.objects.create(till=till, key=key[:160], request_hash=content, status=201, response=body)


def _member(till: Till, shown: Shown) -> Profile:
    if not intake.purchases.key_of(shown, till):
        raise Problem("invalid_identifier", _("«%s» is not usable") % shown.value[:60], "member")
    found = intake.find_people([shown], till)
    if shown not in found:
        raise UnknownMember(_("no member is known by this %s") % shown.kind)
    with whole_network():
        return Profile.objects.get(pk=found[shown])


def _points(balance: statements.Balance) -> dict:
    return {"available": balance.available, "pending": balance.pending, "debt": balance.debt}


def _masked(email: str) -> str:
    user, at, domain = email.partition("@")
    return f"{user[:1]}•••{at}{domain}" if email else ""
