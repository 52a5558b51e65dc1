"""The deeds of the ledger: earn, release, redeem, reserve, give back, take back, adjust, extend, expire, transfer.
Nothing else writes points.

Each deed locks the member's accounts first, in the order of their ids, reads what it needs, and hands one or more
`Fact`s to `post`, which calls the SQL function `ledger_post` once. Refusals of the database come back as the
exceptions below, told apart by the constraint's name.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from django.db import DatabaseError, connection, transaction
from django.db.models import Count, Exists, OuterRef, Q, Sum
from django.utils import timezone

from loyalty import rules
from loyalty.models import Account, CaseTicket, Lot, LotUse, Posting, Transaction
from profiles.models import Merge, Profile, Purchase, Refund
from tenants.calendar import brand_today
from tenants.scoping import whole_network

Kind = Transaction.Kind
AVAILABLE, PENDING, DEBT = Account.MEMBER_KINDS
RESERVED_FOR = timedelta(minutes=15)
# Points given back to a lot whose last day has passed can be spent this long.
GRACE = timedelta(days=30)


class LedgerError(Exception):
    """The ledger refused; nothing was posted. `constraint` is the promise that would have been broken."""

    constraint = ""


class NotEnoughPoints(LedgerError):
    """A member's available points would fall below zero. `missing`: how many points, where known."""

    constraint = "member_balance_not_negative"

    def __init__(self, missing: int = 0):
        super().__init__(f"{missing} points missing")
        self.missing = missing


class Unbalanced(LedgerError):
    """The postings of a transaction do not sum to zero."""

    constraint = "transaction_sums_to_zero"


class AppendOnly(LedgerError):
    """Somebody tried to rewrite the past."""

    constraint = "ledger_is_append_only"


class AlreadyPosted(LedgerError):
    """This fact stands in the ledger already."""

    constraint = "loyalty_transaction_key_key"


class ReservationOver(LedgerError):
    """The reservation was spent, cancelled, or its time has passed."""


class NothingToGiveBack(LedgerError):
    """More would be given back than was spent."""


REFUSALS = {error.constraint: error for error in (NotEnoughPoints, Unbalanced, AppendOnly, AlreadyPosted)}


@dataclass(frozen=True)
class MemberAccounts:
    """A member's three accounts, locked, with their balances when they were locked."""

    profile_id: int
    available_id: int
    pending_id: int
    debt_id: int
    available: int = 0
    pending: int = 0
    debt: int = 0


@dataclass
class Fact:
    """One transaction to post: points by account id (zeros are left out), new lots, uses and moves of lots."""

    key: str
    kind: str
    profile_id: int | None
    occurred_at: datetime
    store_id: int | None = None
    purchase_id: int | None = None
    refund_id: int | None = None
    reverses_id: int | None = None
    qualifying: int = 0
    tier: str = ""
    earned_before: int = 0
    explanation: list | dict = field(default_factory=list)
    actor: str = ""
    points: dict[int, int] = field(default_factory=dict)
    lots: list[dict] = field(default_factory=list)
    uses: dict[int, int] = field(default_factory=dict)
    moves: dict[int, int] = field(default_factory=dict)
    extensions: dict[int, tuple[date, date]] = field(default_factory=dict)

    def as_json(self) -> dict:
        return {
            "key": self.key, "kind": self.kind, "profile": self.profile_id, "store": self.store_id,
            "purchase": self.purchase_id, "refund": self.refund_id, "reverses": self.reverses_id,
            "occurred_at": self.occurred_at.isoformat(), "qualifying": self.qualifying, "tier": self.tier,
            "explanation": self.explanation, "actor": self.actor, "earned_before": self.earned_before,
            "postings": [{"account": a, "points": p} for a, p in sorted(self.points.items()) if p],
            "lots": self.lots,
            "uses": [{"lot": lot, "points": points} for lot, points in self.uses.items() if points],
            "moves": [{"lot": lot, "account": account} for lot, account in self.moves.items()],
            "extensions": [
                {"lot": lot, "was": was.isoformat(), "until": until.isoformat()}
                for lot, (was, until) in self.extensions.items()
            ],
        }  # fmt: skip


@dataclass(frozen=True)
class Earning:
    """What a ticket earned its member, by `rules.points_for`. Held points wait whatever the rule says."""

    purchase: Purchase
    local_day: date
    earned: rules.Earned
    tier: str = ""
    earned_before: int = 0
    held: bool = False


def post(facts: Sequence[Fact]) -> dict[str, int]:
    """Post the facts, all or none; returns transaction ids by key. Raises a `LedgerError`."""
    if not facts:
        return {}
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT key, id FROM ledger_post(%s::jsonb)", [json.dumps([fact.as_json() for fact in facts])]
            )
            return dict(cursor.fetchall())
    except DatabaseError as error:
        diagnosis = getattr(error.__cause__, "diag", None)
        refusal = REFUSALS.get(getattr(diagnosis, "constraint_name", None) or "")
        if refusal is None:
            raise
        raise refusal() from error


def accounts_of(profile_ids: Iterable[int]) -> dict[int, MemberAccounts]:
    """The members' accounts, opened where missing and locked in the order of their ids; the people before them."""
    ids = sorted(set(profile_ids))
    with whole_network():
        Profile.hold(ids)
        found = _locked(ids)
        missing = [profile_id for profile_id in ids if profile_id not in found]
        if missing:
            Account.objects.bulk_create(
                [
                    Account(kind=kind, profile_id=profile_id, balance=0)
                    for profile_id in missing
                    for kind in Account.MEMBER_KINDS
                ],
                ignore_conflicts=True,
            )
            found = _locked(ids)
    return found


def store_accounts(kind: str, store_ids: Iterable[int]) -> dict[int, int]:
    """The account of this kind of each store, opened where missing: store id -> account id."""
    ids = set(store_ids)
    with whole_network():
        rows = Account.objects.filter(kind=kind, store__in=ids)
        found = dict(rows.values_list("store", "pk"))
        if len(found) < len(ids):
            Account.objects.bulk_create(
                [Account(kind=kind, store_id=store_id) for store_id in ids - found.keys()],
                ignore_conflicts=True,
            )
            found = dict(rows.values_list("store", "pk"))
    return found


@transaction.atomic
def earn(earnings: Sequence[Earning]) -> dict[str, int]:
    """Credit tickets, each as a lot with its own expiry. A member's debt is paid first, out of the new lot.

    A ticket that a cap left with nothing is noted too: its rules are known from what had been earned before it.
    """
    earnings = [earning for earning in earnings if earning.earned.points > 0 or earning.earned.is_capped]
    members = accounts_of(earning.purchase.profile_id for earning in earnings)
    issued = store_accounts(Account.Kind.ISSUED, {earning.purchase.store_id for earning in earnings})
    debts = {profile_id: -member.debt for profile_id, member in members.items()}
    facts = []
    alive = _Living(member.available_id for member in members.values())
    for earning in earnings:
        purchase, points = earning.purchase, earning.earned.points
        member = members[purchase.profile_id]
        waits = earning.earned.pending_days > 0 or earning.held
        paid = 0 if waits else min(points, debts[purchase.profile_id])
        debts[purchase.profile_id] -= paid
        account = member.pending_id if waits else member.available_id
        spendable = rules.spendable_on(earning.local_day, earning.earned.pending_days)
        expires = earning.earned.last_day(earning.local_day)
        facts.append(
            Fact(
                key=f"earn:{purchase.pk}",
                kind=Kind.EARN,
                profile_id=purchase.profile_id,
                store_id=purchase.store_id,
                purchase_id=purchase.pk,
                occurred_at=purchase.bought_at,
                qualifying=points,
                tier=earning.tier,
                earned_before=earning.earned_before,
                explanation=earning.earned.steps,
                points={issued[purchase.store_id]: -points, account: points - paid, member.debt_id: paid},
                lots=[
                    {
                        "account": account, "store": purchase.store_id, "points": points, "used": paid,
                        "available_on": spendable.isoformat(), "expires_on": expires and expires.isoformat(),
                        "idle_months": earning.earned.idle_months,
                    }
                ] if points else [],
                extensions=alive.stirred(member.available_id, earning.local_day),
            )
        )  # fmt: skip
    return post(facts)


@transaction.atomic
def redeem(
    profile_id: int, points: int, *, store_id: int, key: str, at: datetime, actor: str = "", cents: int | None = None
) -> int:  # fmt: skip
    """Spend available points at a store, the earliest expiry first. Returns the transaction's id.

    `cents`: the money off, which the stores settle among each other. Raises `NotEnoughPoints`, and `AlreadyPosted` for
    a key that was used before.
    """
    return _spend(
        Account.Kind.REDEEMED,
        Kind.REDEEM,
        profile_id,
        points,
        store_id=store_id,
        key=key,
        at=at,
        actor=actor,
        cents=cents,
    )


def reserve(
    profile_id: int, points: int, *, store_id: int, key: str, at: datetime, actor: str = "", cents: int | None = None
) -> int:  # fmt: skip
    """Set points aside for a basket, a quarter of an hour long. Nobody else can spend them meanwhile.

    Returns the transaction's id, for `commit` or `cancel`. Raises as `redeem` does.
    """
    return _spend(
        Account.Kind.RESERVED,
        Kind.RESERVE,
        profile_id,
        points,
        store_id=store_id,
        key=key,
        at=at,
        actor=actor,
        cents=cents,
    )


@transaction.atomic
def commit(reservation_id: int, *, at: datetime, actor: str = "") -> int:
    """Spend what was reserved. Raises `ReservationOver`."""
    reservation = _reservation(reservation_id)
    if at >= reservation.occurred_at + RESERVED_FOR:
        raise ReservationOver("its time has passed")
    points = _points_of(reservation)
    reserved = store_accounts(Account.Kind.RESERVED, [reservation.store_id])[reservation.store_id]
    redeemed = store_accounts(Account.Kind.REDEEMED, [reservation.store_id])[reservation.store_id]
    fact = Fact(
        key=f"end:{reservation.pk}", kind=Kind.REDEEM, profile_id=reservation.profile_id,
        store_id=reservation.store_id, occurred_at=at, reverses_id=reservation.pk, actor=actor,
        explanation=reservation.explanation, points={reserved: -points, redeemed: points},
    )  # fmt: skip
    try:
        return post([fact])[fact.key]
    except AlreadyPosted:
        raise ReservationOver("it was spent or cancelled before") from None


@transaction.atomic
def cancel(reservation_id: int, *, at: datetime, actor: str = "") -> int:
    """Put what was reserved back into the very lots it came from. Raises `ReservationOver`."""
    reservation = _reservation(reservation_id)
    try:
        return _put_back(
            reservation, reservation, _points_of(reservation), Account.Kind.RESERVED, key=f"end:{reservation.pk}",
            at=at, actor=actor,
        )  # fmt: skip
    except (AlreadyPosted, NothingToGiveBack):
        raise ReservationOver("it was spent or cancelled before") from None


def cancel_stale(now: datetime, limit: int = 500) -> int:
    """Cancel reservations whose time has passed; returns how many."""
    with whole_network():
        ended = Transaction.objects.filter(reverses=OuterRef("pk"))
        stale = Transaction.objects.filter(kind=Kind.RESERVE, occurred_at__lte=now - RESERVED_FOR)
        ids = list(stale.exclude(Exists(ended)).order_by("pk").values_list("pk", flat=True)[:limit])
    done = 0
    for pk in ids:
        try:
            cancel(pk, at=now, actor="system")
        except ReservationOver:  # a till was quicker
            continue
        done += 1
    return done


@transaction.atomic
def give_back(redemption_id: int, points: int, *, key: str, at: datetime, actor: str = "") -> int:
    """Undo a redemption, whole or in part: the points return to the very lots, those taken last first.

    A lot whose last day has passed can be spent for thirty days more. Raises `NothingToGiveBack` beyond what was
    spent, `AlreadyPosted` for a key that was used before.
    """
    with whole_network():
        spent = Transaction.objects.select_related("reverses").get(pk=redemption_id, kind=Kind.REDEEM)
    if points <= 0:
        raise NothingToGiveBack("nothing to give back")
    return _put_back(
        spent, spent.reverses or spent, points, Account.Kind.REDEEMED, key=key, at=at, actor=actor
    )


def issue_voucher(
    profile_id: int, points: int, *, store_id: int, key: str, at: datetime, actor: str = ""
) -> int:
    """Turn points into a voucher: they leave the member's lots and stand in the store's account *vouchers*.

    Returns the transaction's id. Raises as `redeem` does.
    """
    return _spend(
        Account.Kind.VOUCHERS, Kind.ISSUE, profile_id, points, store_id=store_id, key=key, at=at, actor=actor,
        cents=None,
    )  # fmt: skip


@transaction.atomic
def return_voucher(issue_id: int, *, at: datetime, actor: str = "") -> int:
    """Put a voucher's points back into the very lots they came from. Raises `AlreadyPosted` where it ended before."""
    with whole_network():
        issue = Transaction.objects.get(pk=issue_id, kind=Kind.ISSUE)
    return _put_back(
        issue, issue, _points_of(issue), Account.Kind.VOUCHERS, key=f"end:{issue.pk}", at=at, actor=actor
    )


@transaction.atomic
def adjust(
    profile_id: int, points: int, *, store_id: int, key: str, at: datetime, why: dict, actor: str = "",
    expires_on: date | None = None,
) -> int:  # fmt: skip
    """Credit (or, below zero, take) points by hand at a store's cost. Counts for no tier. Raises `NotEnoughPoints`."""
    if not points:
        raise ValueError("an adjustment moves points")
    member = accounts_of([profile_id])[profile_id]
    other = store_accounts(Account.Kind.ADJUSTMENT, [store_id])[store_id]
    paid = min(max(points, 0), -member.debt)
    fact = Fact(
        key=key, kind=Kind.ADJUST, profile_id=profile_id, store_id=store_id, occurred_at=at, actor=actor,
        explanation=[why], points={other: -points, member.available_id: points - paid, member.debt_id: paid},
    )  # fmt: skip
    if points > 0:
        fact.lots = [
            {
                "account": member.available_id, "store": store_id, "points": points, "used": paid,
                "available_on": brand_today().isoformat(), "expires_on": expires_on and expires_on.isoformat(),
            }
        ]  # fmt: skip
    else:
        fact.uses = _first_to_expire(member.available_id, -points)
    return post([fact])[key]


@transaction.atomic
def credit(
    profile_id: int, earned: rules.Earned, *, store_id: int, key: str, at: datetime, local_day: date,
    explanation: list, qualifying: int = 0, tier: str = "", actor: str = "",
) -> int:  # fmt: skip
    """Credit what was earned without a ticket, as a lot with its own expiry. Returns the transaction's id.

    A debt is paid first. It gives no other lot new months. Raises `AlreadyPosted` for a key that was used before.
    """
    member = accounts_of([profile_id])[profile_id]
    issued = store_accounts(Account.Kind.ISSUED, [store_id])[store_id]
    waits = earned.pending_days > 0
    paid = 0 if waits else min(earned.points, -member.debt)
    account = member.pending_id if waits else member.available_id
    expires = earned.last_day(local_day)
    fact = Fact(
        key=key, kind=Kind.EARN, profile_id=profile_id, store_id=store_id, occurred_at=at, actor=actor, tier=tier,
        qualifying=qualifying, explanation=explanation,
        points={issued: -earned.points, account: earned.points - paid, member.debt_id: paid},
        lots=[
            {
                "account": account, "store": store_id, "points": earned.points, "used": paid,
                "available_on": rules.spendable_on(local_day, earned.pending_days).isoformat(),
                "expires_on": expires and expires.isoformat(), "idle_months": earned.idle_months,
            }
        ],
    )  # fmt: skip
    return post([fact])[key]


@transaction.atomic
def undo_credit(credit_id: int, points: int, *, key: str, at: datetime, why: dict, actor: str = "") -> int:
    """Take back what was earned: from its own lot, then from the others, then as debt. Returns the transaction's id.

    Raises `AlreadyPosted` for a key that was used before.
    """
    with whole_network():
        earning = Transaction.objects.get(pk=credit_id, kind=Kind.EARN)
    changes, uses = _taken(earning, earning.profile_id, points)
    fact = Fact(
        key=key, kind=Kind.REFUND, profile_id=earning.profile_id, store_id=earning.store_id,
        purchase_id=earning.purchase_id, occurred_at=at, reverses_id=earning.pk, actor=actor, explanation=[why],
        qualifying=-min(points, earning.qualifying_points), points=changes, uses=uses,
    )  # fmt: skip
    return post([fact])[key]


@transaction.atomic
def redo_credit(undoing_id: int, *, key: str, at: datetime, why: dict, actor: str = "") -> int:
    """Undo `undo_credit`: the points return to the lots they came from, to whoever holds them now.

    What stood as a debt ends as far as it still stands; the rest comes back as a lot that lives as long as the first.
    """
    with whole_network():
        undoing = Transaction.objects.select_related("reverses").get(pk=undoing_id, kind=Kind.REFUND)
        used = list(LotUse.objects.filter(transaction=undoing, points__gt=0).select_related("lot__account"))
        members = accounts_of({undoing.profile_id, *(use.lot.account.profile_id for use in used)})
        issued = store_accounts(Account.Kind.ISSUED, [undoing.store_id])[undoing.store_id]
        points = Posting.objects.get(transaction=undoing, account=issued).points
        lots = {lot.pk: lot for lot in Lot.objects.filter(pk__in=[use.lot_id for use in used])}
    member = members[undoing.profile_id]
    changes: dict[int, int] = defaultdict(int)
    changes[issued] -= points
    fact = Fact(
        key=key, kind=Kind.GIVE_BACK, profile_id=undoing.profile_id, store_id=undoing.store_id, occurred_at=at,
        reverses_id=undoing.pk, actor=actor, explanation=[why], qualifying=-undoing.qualifying_points,
    )  # fmt: skip
    for use in used:
        lot = lots[use.lot_id]
        fact.uses[lot.pk] = -use.points
        changes[lot.account_id] += use.points
        if lot.expires_on and lot.expires_on < brand_today():
            fact.extensions[lot.pk] = (lot.expires_on, brand_today() + GRACE)
    left = points - sum(use.points for use in used)
    paid = min(left, -member.debt)
    changes[member.debt_id] += paid
    if left > paid:
        changes[member.available_id] += left - paid
        with whole_network():
            first = Lot.objects.get(transaction=undoing.reverses)
        fact.lots = [
            {
                "account": member.available_id, "store": first.store_id, "points": left - paid, "used": 0,
                "available_on": brand_today().isoformat(),
                "expires_on": first.expires_on and first.expires_on.isoformat(), "idle_months": first.idle_months,
            }
        ]  # fmt: skip
    fact.points = dict(changes)
    posted = post([fact])[key]
    for profile_id in members:
        _settle_debt(profile_id)
    return posted


@transaction.atomic
def extend(lot_ids: Iterable[int], until: date, *, key: str, at: datetime, why: dict, actor: str = "") -> int:
    """Let lots live until a later day, with a reason; changes no balance. Returns how many lots that concerns.

    One transaction a member, by `<key>:<member>`; lots that live longer or for ever are left as they are.
    """
    with whole_network():
        concerned = Lot.objects.filter(pk__in=list(lot_ids), remaining__gt=0, expires_on__lt=until)
        accounts_of(concerned.values_list("account__profile", flat=True))
        by_member: dict[int, dict[int, tuple[date, date]]] = defaultdict(dict)
        for lot in concerned.select_related("account"):
            by_member[lot.account.profile_id][lot.pk] = (lot.expires_on, until)
    post(
        [
            Fact(
                key=f"{key}:{profile_id}", kind=Kind.EXTEND, profile_id=profile_id, occurred_at=at, actor=actor,
                explanation=[why], extensions=extensions,
            )
            for profile_id, extensions in by_member.items()
        ]
    )  # fmt: skip
    return sum(map(len, by_member.values()))


@transaction.atomic
def _spend(
    account_kind: str, kind: str, profile_id: int, points: int, *, store_id: int, key: str, at: datetime,
    actor: str, cents: int | None,
) -> int:  # fmt: skip
    member = accounts_of([profile_id])[profile_id]
    # The nightly job may not have come by yet: what expired yesterday is not spent today.
    if expire_due(brand_today(), account_id=member.available_id):
        member = accounts_of([profile_id])[profile_id]
    if member.available < points:
        raise NotEnoughPoints(points - member.available)
    taker = store_accounts(account_kind, [store_id])[store_id]
    fact = Fact(
        key=key, kind=kind, profile_id=profile_id, store_id=store_id, occurred_at=at, actor=actor,
        explanation=[] if cents is None else [{"cents": cents}],
        points={member.available_id: -points, taker: points}, uses=_first_to_expire(member.available_id, points),
    )  # fmt: skip
    if kind in (Kind.REDEEM, Kind.ISSUE):
        fact.extensions = _Living([member.available_id]).stirred(member.available_id, brand_today())
    return post([fact])[key]


def _reservation(reservation_id: int) -> Transaction:
    with whole_network():
        return Transaction.objects.get(pk=reservation_id, kind=Kind.RESERVE)


def _points_of(spent: Transaction) -> int:
    with whole_network():
        return LotUse.objects.filter(transaction=spent).aggregate(points=Sum("points"))["points"] or 0


def _put_back(
    spent: Transaction,
    source: Transaction,
    points: int,
    account_kind: str,
    *,
    key: str,
    at: datetime,
    actor: str,
) -> int:
    """Give points of `spent` back to the lots that `source` used, to whoever holds these lots now."""
    with whole_network():
        used = LotUse.objects.filter(transaction=source, points__gt=0)
        holders = {spent.profile_id, *used.values_list("lot__account__profile", flat=True)}
        members = accounts_of(holders)
        # Read under the lock: another part may have been given back meanwhile.
        given = dict(
            LotUse.objects.filter(transaction__reverses=spent, points__lt=0)
            .order_by().values_list("lot").annotate(points=-Sum("points"))
        )  # fmt: skip
        left, uses, extensions = points, {}, {}
        changes: dict[int, int] = defaultdict(int)
        for use in used.select_related("lot").order_by("-pk"):
            part = min(left, use.points - given.get(use.lot_id, 0))
            if part <= 0:
                continue
            lot = use.lot
            uses[lot.pk] = -part
            changes[lot.account_id] += part
            if lot.expires_on and lot.expires_on < brand_today():
                extensions[lot.pk] = (lot.expires_on, brand_today() + GRACE)
            left -= part
        if left:
            raise NothingToGiveBack(f"{left} points more than were spent")
        changes[store_accounts(account_kind, [spent.store_id])[spent.store_id]] -= points
        fact = Fact(
            key=key, kind=Kind.GIVE_BACK, profile_id=spent.profile_id, store_id=spent.store_id, occurred_at=at,
            reverses_id=spent.pk, actor=actor, points=dict(changes), uses=uses, extensions=extensions,
        )  # fmt: skip
        posted = post([fact])[key]
        for profile_id in members:
            _settle_debt(profile_id)
    return posted


class _Living:
    """Lots that a purchase or redemption gives new months, by account; the accounts are locked by the caller."""

    def __init__(self, account_ids: Iterable[int]):
        self._lots: dict[int, list[Lot]] = defaultdict(list)
        with whole_network():
            for lot in Lot.objects.filter(
                account__in=list(account_ids), remaining__gt=0, idle_months__isnull=False
            ):
                self._lots[lot.account_id].append(lot)

    def stirred(self, account_id: int, day: date) -> dict[int, tuple[date, date]]:
        """The last days, before and after, of the account's lots that were alive on that day."""
        found = {}
        for lot in self._lots[account_id]:
            until = rules.last_day(day, lot.idle_months)
            if lot.expires_on and until and day <= lot.expires_on < until:
                found[lot.pk] = (lot.expires_on, until)
                lot.expires_on = until
        return found


@transaction.atomic
def take_back(refund: Refund, points: int, *, actor: str = "", clamp: bool = False) -> int | None:
    """Take points back for goods brought back: from the ticket's own lot, then from the others, then as debt (or,
    clamped, at head office's loss).

    The store that issued the points gets them back, wherever the goods were returned. Returns the transaction's id,
    or None where there is nothing to take.
    """
    purchase = refund.purchase
    if points <= 0 or purchase.profile_id is None:
        return None
    with whole_network():
        earning = Transaction.objects.get(key=f"earn:{purchase.pk}")
    changes, uses = _taken(earning, purchase.profile_id, points, clamp=clamp)
    key = f"refund:{refund.pk}"
    fact = Fact(
        key=key, kind=Kind.REFUND, profile_id=purchase.profile_id, store_id=refund.store_id,
        purchase_id=purchase.pk, refund_id=refund.pk, reverses_id=earning.pk, occurred_at=refund.refunded_at,
        qualifying=-points, actor=actor, points=changes, uses=uses,
    )  # fmt: skip
    return post([fact])[key]


def _taken(
    earning: Transaction, profile_id: int, points: int, *, clamp: bool = False
) -> tuple[dict[int, int], dict[int, int]]:
    """What taking points of this credit back moves, by account, and uses, by lot; the member's accounts are locked.

    Its own lot comes first, then the others; what is missing becomes a debt or, clamped, a loss of head office.
    """
    with whole_network():
        member = accounts_of([profile_id])[profile_id]
        own = Lot.objects.filter(
            transaction=earning, remaining__gt=0, account__in=[member.available_id, member.pending_id]
        ).first()
    left = points
    changes: dict[int, int] = defaultdict(int)
    uses: dict[int, int] = {}
    if own:
        uses[own.pk] = min(left, own.remaining)
        changes[own.account_id] -= uses[own.pk]
        left -= uses[own.pk]
    spendable = max(0, member.available + changes[member.available_id])
    others = min(left, spendable)
    if others:
        uses |= _first_to_expire(member.available_id, others, besides=uses)
        changes[member.available_id] -= others
        left -= others
    changes[head_office_losses() if clamp and left else member.debt_id] -= left
    changes[store_accounts(Account.Kind.ISSUED, [earning.store_id])[earning.store_id]] += points
    return dict(changes), uses


def head_office_losses() -> int:
    """The account of what head office bears, opened where missing."""
    with whole_network():
        Account.objects.bulk_create([Account(kind=Account.Kind.LOSS)], ignore_conflicts=True)
        return Account.objects.values_list("pk", flat=True).get(kind=Account.Kind.LOSS)


@transaction.atomic
def release_due(today: date, limit: int = 500, of: Iterable[int] | None = None) -> int:
    """Make pending points spendable whose day has come, of these transactions or of all; returns how many lots.

    Debts are paid first. What a case holds stays.
    """
    with whole_network():
        held = CaseTicket.objects.filter(transaction=OuterRef("transaction"), ended_at=None)
        lots = Lot.objects.filter(remaining__gt=0, account__kind=PENDING, available_on__lte=today)
        due = list(
            (lots if of is None else lots.filter(transaction__in=list(of)))
            .exclude(Exists(held))
            .select_related("account", "transaction")
            .order_by("pk")[:limit]
        )
        members = accounts_of(lot.account.profile_id for lot in due)
        debts = {profile_id: -member.debt for profile_id, member in members.items()}
        # Read again under the lock: a refund may have taken the points meanwhile.
        left = dict(Lot.objects.filter(pk__in=[lot.pk for lot in due]).values_list("pk", "remaining"))
        facts = []
        for lot in due:
            profile_id, points = lot.account.profile_id, left[lot.pk]
            if not points:
                continue
            member = members[profile_id]
            paid = min(points, debts[profile_id])
            debts[profile_id] -= paid
            facts.append(
                Fact(
                    key=f"release:{lot.pk}", kind=Kind.RELEASE, profile_id=profile_id, store_id=lot.store_id,
                    purchase_id=lot.transaction.purchase_id, occurred_at=timezone.now(),
                    points={
                        member.pending_id: -points, member.available_id: points - paid, member.debt_id: paid,
                    },
                    uses={lot.pk: paid}, moves={lot.pk: member.available_id},
                )
            )  # fmt: skip
        post(facts)
    return len(due)


@transaction.atomic
def expire_due(today: date, limit: int = 500, account_id: int | None = None) -> int:
    """Expire what is left of lots whose last day has passed, of one account or of all; returns how many lots.

    Safe to run twice or killed.
    """
    with whole_network():
        lots = Lot.objects.filter(remaining__gt=0, account__kind=AVAILABLE, expires_on__lt=today)
        due = list(
            (lots.filter(account=account_id) if account_id else lots)
            .select_related("account")
            .order_by("pk")[:limit]
        )
        members = accounts_of(lot.account.profile_id for lot in due)
        left = dict(Lot.objects.filter(pk__in=[lot.pk for lot in due]).values_list("pk", "remaining"))
        expired = store_accounts(Account.Kind.EXPIRED, {lot.store_id for lot in due})
        # A lot expires again where points came back to it: each time is a fact of its own.
        rows = LotUse.objects.filter(lot__in=due).order_by().values_list("lot").annotate(times=Count("pk"))
        uses = dict(rows)
        post(
            [
                Fact(
                    key=f"expire:{lot.pk}:{uses.get(lot.pk, 0)}", kind=Kind.EXPIRE, profile_id=lot.account.profile_id,
                    store_id=lot.store_id, occurred_at=timezone.now(),
                    points={
                        members[lot.account.profile_id].available_id: -left[lot.pk],
                        expired[lot.store_id]: left[lot.pk],
                    },
                    uses={lot.pk: left[lot.pk]},
                )
                for lot in due
                if left[lot.pk]
            ]
        )  # fmt: skip
    return len(due)


def transfer(merge: Merge) -> None:
    """Hand a merged member's points to the survivor: lots keep their expiry, store and rule, no point is lost."""
    winner, loser = merge.winner_id, merge.loser_id
    with whole_network():
        history = list(Transaction.objects.filter(profile=loser).values_list("pk", flat=True))
        if not history:
            return
        accounts = accounts_of([winner, loser])
        lots = Lot.objects.filter(account__in=[accounts[loser].available_id, accounts[loser].pending_id])
        merge.moved["ledger"] = {
            "transactions": history,
            "lots": list(lots.values_list("pk", flat=True)),
            "debt": accounts[loser].debt,
        }
        _move(accounts[loser], accounts[winner], lots, accounts[loser].debt, key=f"merge:{merge.loser_id}")
        Transaction.objects.filter(pk__in=history).update(profile=winner)
        merge.moved["ledger"]["settled"] = _settle_debt(winner)


def transfer_back(merge: Merge) -> None:
    """Hand the points back to a member who was separated: what is left of the own lots, and of what came later.

    What the merge made one pay of the other's debt is undone first; the debt goes back as far as it still stands.
    """
    moved = {"transactions": [], "lots": [], "debt": 0, "settled": None} | merge.moved.get("ledger", {})
    winner, loser = merge.winner_id, merge.loser_id
    with whole_network():
        theirs = Transaction.objects.filter(profile=winner).filter(
            Q(purchase__profile=loser) | Q(action__profile=loser)
        )
        later = list(theirs.values_list("pk", flat=True))
        if not moved["transactions"] and not later:
            return
        _unsettle(winner, moved["settled"])
        accounts = accounts_of([winner, loser])
        lots = Lot.objects.filter(
            pk__in=[
                *moved["lots"],
                *Lot.objects.filter(transaction__in=later).values_list("pk", flat=True),
            ],
            account__in=[accounts[winner].available_id, accounts[winner].pending_id],
        )
        debt = max(moved["debt"], accounts[winner].debt)
        _move(accounts[winner], accounts[loser], lots, debt, key=f"unmerge:{merge.pk}")
        # Not those of a ticket that was given to somebody else since.
        theirs = Transaction.objects.filter(pk__in=[*moved["transactions"], *later], profile=winner)
        theirs.update(profile=loser)
        _settle_debt(winner)
        _settle_debt(loser)


def follow_ticket(purchase: Purchase, giver_id: int, taker_id: int, *, key: str) -> dict:
    """Hand what a ticket earned to its right owner: the whole of it, less what its refunds took back.

    What the wrong one spent of it is taken from their other points, and stands as a debt where these do not suffice.
    Returns what `follow_ticket_back` needs.
    """
    with whole_network():
        if not Transaction.objects.filter(key=f"earn:{purchase.pk}").exists():
            return {}
        covered = _hand_ticket(purchase, giver_id, taker_id, key=key)
        return {"covered": covered, "settled": _settle_debt(taker_id)}


def follow_ticket_back(purchase: Purchase, giver_id: int, taker_id: int, moved: dict, *, key: str) -> None:
    """Undo `follow_ticket`: from whom the ticket is taken back now, to whom it was taken from."""
    with whole_network():
        if not Transaction.objects.filter(key=f"earn:{purchase.pk}").exists():
            return
        _unsettle(giver_id, moved.get("settled"))
        _hand_ticket(purchase, giver_id, taker_id, key=key)
        _uncover(taker_id, moved.get("covered"), key=key)
        _settle_debt(giver_id)
        _settle_debt(taker_id)


def _hand_ticket(purchase: Purchase, giver_id: int, taker_id: int, *, key: str) -> int | None:
    """Hand over the ticket's lot, made whole, and its facts; the transaction that made it whole, if one was needed."""
    covered = _cover(purchase, accounts_of([giver_id, taker_id])[giver_id], key=key)
    accounts = accounts_of([giver_id, taker_id])
    giver = accounts[giver_id]
    lots = Lot.objects.filter(
        transaction__key=f"earn:{purchase.pk}", account__in=[giver.available_id, giver.pending_id]
    )
    _move(giver, accounts[taker_id], lots, 0, key=key)
    of_ticket = Transaction.objects.filter(
        purchase=purchase, kind__in=[Kind.EARN, Kind.REFUND, Kind.RELEASE], profile=giver_id
    )
    of_ticket.update(profile=taker_id)
    return covered


def _cover(purchase: Purchase, member: MemberAccounts, *, key: str) -> int | None:
    """Give the ticket's own lot back what its owner spent of it, out of their other lots, then as a debt.

    Returns the transaction's id, or None where nothing was spent. What the ticket's refunds took, and what expired,
    is not given back; what a refund took from other lots, because this one was spent, is.
    """
    lot = Lot.objects.filter(
        transaction__key=f"earn:{purchase.pk}", account__in=[member.available_id, member.pending_id]
    ).first()
    if lot is None:
        return None
    refunds = Transaction.objects.filter(purchase=purchase, kind=Kind.REFUND)
    returned = -sum(refunds.values_list("qualifying_points", flat=True))
    from_own = sum(LotUse.objects.filter(lot=lot, transaction__in=refunds).values_list("points", flat=True))
    expired = LotUse.objects.filter(lot=lot, transaction__kind=Kind.EXPIRE)
    gone = sum(expired.values_list("points", flat=True))
    spent = lot.points - lot.remaining - from_own - gone
    owed = max(0, spent - max(0, returned - from_own))
    if not owed:
        return None
    # A lot that waits is not spent; what was spent of it before it waited again is nobody's case.
    others = min(
        owed, member.available if lot.account_id == member.pending_id else member.available - lot.remaining
    )
    uses = _first_to_expire(member.available_id, others, besides=[lot.pk]) if others > 0 else {}
    others = sum(uses.values())
    changes: dict[int, int] = defaultdict(int)
    changes[lot.account_id] += owed
    changes[member.available_id] -= others
    changes[member.debt_id] -= owed - others
    return _post_next(f"{key}:cover", member.profile_id, dict(changes), {lot.pk: -owed, **uses})


def _uncover(profile_id: int, covered: int | None, *, key: str) -> None:
    """Undo `_cover`: the other lots get back what they gave, and a debt ends as far as it still stands."""
    if covered is None:
        return
    member = accounts_of([profile_id])[profile_id]
    mine = [member.available_id, member.pending_id]
    used = dict(
        LotUse.objects.filter(transaction=covered, lot__account__in=mine).values_list("lot", "points")
    )
    lots = {lot.pk: lot for lot in Lot.objects.filter(pk__in=used)}
    own = next((lot for lot in lots.values() if used[lot.pk] < 0), None)
    if own is None:
        return
    given = {pk: points for pk, points in used.items() if points > 0}
    debt = min(-used[own.pk] - sum(given.values()), -member.debt)
    # What came off the debt meanwhile was paid with other points: so much of the lot stays to make up for it.
    taken = min(sum(given.values()) + debt, own.remaining)
    debt = min(debt, taken)
    back, left = {}, taken - debt
    for pk, points in given.items():
        back[pk] = min(points, left)
        left -= back[pk]
    changes: dict[int, int] = defaultdict(int)
    changes[own.account_id] -= taken
    for pk, points in back.items():
        changes[lots[pk].account_id] += points
    changes[member.debt_id] += debt
    uses = {own.pk: taken} | {pk: -points for pk, points in back.items()}
    _post_next(f"{key}:uncover", profile_id, dict(changes), uses, reverses=covered)


def _post_next(
    key: str, profile_id: int, points: dict[int, int], uses: dict[int, int], reverses: int | None = None
) -> int | None:
    """Post an adjustment under the next free number of its key."""
    if not any(points.values()) and not any(uses.values()):
        return None
    number = Transaction.objects.filter(key__startswith=f"{key}:").count() + 1
    fact = Fact(
        key=f"{key}:{number}", kind=Kind.ADJUST, profile_id=profile_id, occurred_at=timezone.now(),
        reverses_id=reverses, points=points, uses=uses,
    )  # fmt: skip
    return post([fact])[fact.key]


def _move(giver: MemberAccounts, taker: MemberAccounts, lots, debt: int, *, key: str) -> None:
    """Post the transfer of these lots (and of a debt, zero or negative) from one member to another."""
    counterpart = {giver.available_id: taker.available_id, giver.pending_id: taker.pending_id}
    changes: dict[int, int] = defaultdict(int)
    moves = {}
    for lot in lots:
        changes[lot.account_id] -= lot.remaining
        changes[counterpart[lot.account_id]] += lot.remaining
        moves[lot.pk] = counterpart[lot.account_id]
    changes[giver.debt_id] -= debt
    changes[taker.debt_id] += debt
    if not moves and not debt:
        return
    number = Transaction.objects.filter(key__startswith=f"{key}:").count() + 1
    post(
        [
            Fact(
                key=f"{key}:{number}", kind=Kind.TRANSFER, profile_id=taker.profile_id, occurred_at=timezone.now(),
                points=dict(changes), moves=moves, explanation=[{"from": giver.profile_id}],
            )
        ]
    )  # fmt: skip


def _settle_debt(profile_id: int) -> int | None:
    """A member who has points and a debt pays it. Returns the transaction's id, or None where nothing was due."""
    member = accounts_of([profile_id])[profile_id]
    paid = min(-member.debt, member.available)
    if not paid:
        return None
    number = Transaction.objects.filter(key__startswith=f"settle:{profile_id}:").count() + 1
    key = f"settle:{profile_id}:{number}"
    fact = Fact(
        key=key, kind=Kind.ADJUST, profile_id=profile_id, occurred_at=timezone.now(),
        points={member.available_id: -paid, member.debt_id: paid},
        uses=_first_to_expire(member.available_id, paid),
    )  # fmt: skip
    return post([fact])[key]


def _unsettle(profile_id: int, settled: int | None) -> None:
    """Undo a payment of debt: the points return to the lots they came from, as far as the member still holds them."""
    if settled is None:
        return
    member = accounts_of([profile_id])[profile_id]
    uses = LotUse.objects.filter(transaction=settled, lot__account=member.available_id)
    back = dict(uses.values_list("lot", "points"))
    paid = sum(back.values())
    if paid:
        post(
            [
                Fact(
                    key=f"unsettle:{settled}", kind=Kind.ADJUST, profile_id=profile_id, reverses_id=settled,
                    occurred_at=timezone.now(), points={member.available_id: paid, member.debt_id: -paid},
                    uses={lot: -points for lot, points in back.items()},
                )
            ]
        )  # fmt: skip


def _first_to_expire(account_id: int, points: int, besides: Iterable[int] = ()) -> dict[int, int]:
    """Points by lot, the earliest expiry first; the account is locked by the caller."""
    uses: dict[int, int] = {}
    with whole_network():
        lots = Lot.objects.filter(account=account_id, remaining__gt=0).exclude(pk__in=list(besides))
        for lot in lots.order_by("expires_on", "pk"):
            if points <= 0:
                break
            uses[lot.pk] = min(points, lot.remaining)
            points -= uses[lot.pk]
    if points > 0:
        raise NotEnoughPoints(points)
    return uses


def _locked(profile_ids: Sequence[int]) -> dict[int, MemberAccounts]:
    rows: dict[int, dict[str, Account]] = defaultdict(dict)
    accounts = Account.objects.select_for_update(no_key=True).filter(profile__in=profile_ids)
    for account in accounts.order_by("pk"):
        rows[account.profile_id][account.kind] = account
    return {
        profile_id: MemberAccounts(
            profile_id,
            *(kinds[kind].pk for kind in Account.MEMBER_KINDS),
            *(kinds[kind].balance for kind in Account.MEMBER_KINDS),
        )
        for profile_id, kinds in rows.items()
    }
