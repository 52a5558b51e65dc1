"""Points go out at a store and come back: redeem, reserve, commit, cancel, give back."""

import json
from collections import defaultdict
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Sum

from loyalty.ledger.expiring import expire_due
from loyalty.ledger.owing import settle_debt
from loyalty.ledger.posting import (
    AVAILABLE,
    AlreadyPosted,
    Fact,
    Kind,
    NotEnoughPoints,
    NothingToGiveBack,
    ReservationOver,
    accounts_of,
    post,
    refusals,
    store_accounts,
)
from loyalty.models import Account, LotUse, Transaction
from tenants.brand_sql import call
from tenants.calendar import brand_today
from tenants.scoping import whole_network

RESERVED_FOR = timedelta(minutes=15)
# Points given back to a lot whose last day has passed can be spent this long.
GRACE = timedelta(days=30)
# Nobody has more, and the database counts no further than to 2⁶³.
MOST_POINTS = 10**15


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


def reservation_key(till_id: int, reservation_id: str) -> str:
    """The key of what a till reserved under its own id."""
    return f"reserve:{till_id}:{reservation_id}"[:120]


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


def _spend(
    account_kind: str, kind: str, profile_id: int, points: int, *, store_id: int, key: str, at: datetime,
    actor: str, cents: int | None,
) -> int:  # fmt: skip
    if points > MOST_POINTS:
        with whole_network():
            mine = Account.objects.filter(profile=profile_id, kind=AVAILABLE).first()
        raise NotEnoughPoints(points - (mine.balance if mine else 0))
    why = json.dumps([] if cents is None else [{"cents": cents}])
    today = brand_today()
    told = [profile_id, points, account_kind, kind, store_id, key, at, today, actor, why]
    for last_try in (False, True):
        with refusals():
            posted, missing, stale = call(
                "SELECT posted, missing, stale"
                " FROM ledger_spend($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb)",
                told,
            )
        if not stale or last_try:
            break
        # The nightly job has not come by yet: what expired yesterday is not spent today.
        with whole_network():
            mine = Account.objects.get(profile=profile_id, kind=AVAILABLE)
        expire_due(today, account_id=mine.pk)
    if posted is None:
        raise NotEnoughPoints(missing or 0)
    return posted


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
            settle_debt(profile_id)
    return posted
