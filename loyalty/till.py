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
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg.errors import DeadlockDetected

from loyalty import cases, ledger, members, payments, returns, rules, statements
from loyalty.models import Account, Posting, Programme, TillRequest, Transaction
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
            return _record_at_once(till, asked, book, now)
        except CloserLook:
            pass
    return _look_closer(till, asked)


def _record_at_once(
    till: Till, asked: Sequence[_Asked], book: Rulebook | None, now: datetime
) -> list[Answer | Problem]:
    """Record and credit the tickets in one call. Raises `CloserLook`, with nothing written."""
    tiers = sorted(((points, code) for code, points in book.thresholds.items()), reverse=True) if book else []
    with ledger.refusals():
        purchases, fresh, bodies = call(
            "SELECT purchases, fresh, bodies FROM till_tickets("
            "$1, $2, $3, $4, $5, $6::bigint, $7::text[], $8::bigint[], $9::jsonb)",
            [
                till.pk, till.store_id, till.store.code, now, brand_today(), book.programme.edition if book else None,
                [code for _points, code in tiers], [points for points, _code in tiers],
                _encode([_told(till, each, book) for each in asked]).decode(),
            ],
        )  # fmt: skip
    kept = {n: _decode(body) for n, body in enumerate(bodies or ()) if body is not None}
    return _answers(till, asked, purchases, fresh, kept)


@transaction.atomic
def _look_closer(till: Till, asked: Sequence[_Asked]) -> list[Answer | Problem]:
    """The same in several steps, with the people held: somebody is new, changes tier, has a cap for the day, goes
    beyond a limit, or brought something back before it was sold."""
    recorded = intake.record_purchases(till, [each.ticket for each in asked])
    fresh = [item.verdict == intake.purchases.RECORDED for item in recorded]
    news = {n: item.purchase for n, item in enumerate(recorded) if fresh[n] and item.purchase}
    cases.note_cashiers((purchase, asked[n].ticket.cashier) for n, purchase in news.items())
    bodies = _credit(till, asked, news)
    _apply_parked(till, news, bodies)
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
    told |= {"request": asked.key, "body": asked.body, "cashier": ticket.cashier.strip()[:40], "earns": {}}
    if book is not None and ticket.shown:
        in_force = book.at(ticket.bought_at)
        tiers = ["", *book.thresholds] if rules.look_at_the_tier(in_force) else ["*"]
        for tier in tiers:
            earned = rules.points_for(_as_rules_see_it(till, ticket, tier, 0), in_force)
            told["earns"][tier] = ledger.as_posted(earned, asked.day)
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
    earnings = []
    for n, purchase in news.items():
        if purchase.profile_id is None:
            continue
        tier = standing.tier(purchase.profile_id, purchase.bought_at)
        in_force, before = book.at(purchase.bought_at), 0
        if rules.look_at_the_day(in_force):
            before = standing.earned_on(purchase.profile_id, purchase.business_day)
        earned = rules.points_for(_as_rules_see_it(till, asked[n].ticket, tier, before), in_force)
        standing.add(purchase.profile_id, purchase.bought_at, earned.points, purchase.business_day)
        earnings.append(ledger.Earning(purchase, purchase.business_day, earned, tier, before))
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
                "member": str(public_ids[purchase.profile_id]), "tier": balance.tier, **_points(balance),
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
        before = _told_before(till, [asked[n].key for n in repeats])
        seen = Purchase.objects.in_bulk([purchases[n] for n in repeats])
    new = {purchase for purchase, is_new in zip(purchases, fresh, strict=True) if is_new}
    for n, each in enumerate(asked):
        if fresh[n]:
            answers.append(Answer(201, bodies[n]))
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
    """Record goods brought back and take their points back. Raises `Problem`, `Conflict`.

    A return that comes before its sale is parked (202) and takes effect when the sale arrives.
    """
    return _once_more_after_a_race(_refund, till, told)


@transaction.atomic
def _refund(till: Till, told: RefundStatement) -> Answer:
    key = f"refund:{told.refunded_at.astimezone(till.store.zone).date()}:{told.refund_id}"
    before = _told_before(till, [key]).get(key)
    if before:
        return _raised(_again(before, intake.purchases.content_hash(told)))
    try:
        with transaction.atomic():
            recorded, _verdict = intake.record_refund(till, told, payments.comes_back_too)
    except Problem as problem:
        if problem.code != "unknown_sale" or not returns.may_wait(told):
            raise
        answer = Answer(202, returns.park(till, told))
        _tell(till, key, intake.purchases.content_hash(told), answer.body, answer.status)
        return answer
    body = _taken_back(till, recorded, paid_out=False)
    _tell(till, key, recorded.content_hash, body)
    return Answer(201, body)


def _taken_back(till: Till, recorded: Refund, *, paid_out: bool) -> dict:
    """Take the points of a recorded refund back; the answer's body. Money that was paid out before bears nothing."""
    with whole_network():
        points = points_to_take_back(recorded)
        programme = Programme.objects.first()
        policy, bought = programme.debt_policy if programme else "", 0
        if programme and policy == Programme.Debt.DEDUCTED and not paid_out:
            bought = recorded.total_cents * programme.reward_points // programme.reward_cents
        fact = ledger.take_back(
            recorded, points, actor=str(till), clamp=policy == Programme.Debt.CLAMPED, bought=bought
        )
        given_back = payments.give_back(recorded, actor=str(till))
        body = {
            "refund_id": recorded.refund_id, "receipt_id": recorded.purchase.receipt_id,
            "refunded_cents": recorded.total_cents, "points_taken_back": points, "member": None,
        }  # fmt: skip
        if given_back is not None:
            body["points_given_back"] = given_back
        if programme and bought:
            sold = -sum(
                Posting.objects.filter(transaction=fact, account__kind=Account.Kind.ADJUSTMENT).values_list(
                    "points", flat=True
                )
            )
            body["deducted_cents"] = sold * programme.reward_cents // programme.reward_points
        profile = recorded.purchase.profile
        if profile:
            members.refresh([profile.pk])
            if programme is not None:
                cases.watch_debt(profile.pk, recorded.store, programme)
            body |= {"member": str(profile.public_id), **_points(statements.balance_of(profile))}
    return body


def _apply_parked(till: Till, news: dict[int, Purchase], bodies: dict[int, dict]) -> None:
    """Apply the returns that came before these sales, and bring the answers' balances up to date."""
    changed = set()
    for parked in returns.waiting_for(till, news.values()):
        refund = returns.apply(parked)
        if refund is not None:
            _taken_back(parked.till, refund, paid_out=True)
            changed.add(refund.purchase_id)
    for position, purchase in news.items():
        if purchase.pk in changed and purchase.profile:
            balance = statements.balance_of(purchase.profile)
            bodies[position] |= {"tier": balance.tier, **_points(balance)}


def apply_waiting() -> int:
    """Apply the returns that crossed their sale on the way; returns how many. Each in a transaction of its own."""
    done = 0
    for parked in returns.whose_sale_came():
        try:
            with transaction.atomic():
                refund = returns.apply(parked)
                if refund is not None:
                    _taken_back(parked.till, refund, paid_out=True)
                    done += 1
        except (IntegrityError, ledger.AlreadyPosted):  # the sale's own transaction was quicker
            continue
    return done


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
    # Not by later refunds; what a case took back names none.
    taken = -sum(
        Transaction.objects.filter(purchase=purchase, kind=Transaction.Kind.REFUND)
        .filter(Q(refund=None) | Q(refund__pk__lt=returned.pk))
        .values_list("qualifying_points", flat=True)
    )
    points = rules.points_to_take_back(
        as_recorded(purchase, lines, earning.tier, earning.earned_before),
        [back[line.pk] for line in lines],
        Rulebook.load().at(purchase.bought_at),
        taken,
    )
    return max(0, points)


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


def _tell(till: Till, key: str, content: str, body: dict, status: int = 201) -> None:
    TillRequest.objects.create(till=till, key=key[:160], request_hash=content, status=status, response=body)


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
