"""Points are put right: taken back with the goods, given or taken by hand, left to live longer."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime

from django.db import transaction

from loyalty.ledger.giving import Gift, give
from loyalty.ledger.owing import settle_debt
from loyalty.ledger.posting import (
    Fact,
    Kind,
    accounts_of,
    first_to_expire,
    head_office_losses,
    post,
    store_accounts,
)
from loyalty.ledger.spending import GRACE
from loyalty.models import Account, Lot, LotUse, Posting, Transaction
from profiles.models import Refund
from tenants.calendar import brand_today
from tenants.scoping import whole_network


@transaction.atomic
def take_back(
    refund: Refund, points: int, *, actor: str = "", clamp: bool = False, bought: int = 0
) -> int | None:
    """Take points back for goods brought back: from the ticket's own lot, then from the others, then as debt (or,
    clamped, at head office's loss). Up to so many of the missing ones may be `bought`: the store keeps their worth.

    The store that issued the points gets them back, wherever the goods were returned. Returns the transaction's id,
    or None where there is nothing to take.
    """
    purchase = refund.purchase
    if points <= 0 or purchase.profile_id is None:
        return None
    with whole_network():
        earning = Transaction.objects.get(key=f"earn:{purchase.pk}")
    seller = store_accounts(Account.Kind.ADJUSTMENT, [refund.store_id])[refund.store_id] if bought else 0
    changes, uses = _taken(earning, purchase.profile_id, points, clamp=clamp, bought=(seller, bought))
    key = f"refund:{refund.pk}"
    fact = Fact(
        key=key, kind=Kind.REFUND, profile_id=purchase.profile_id, store_id=refund.store_id,
        purchase_id=purchase.pk, refund_id=refund.pk, reverses_id=earning.pk, occurred_at=refund.refunded_at,
        qualifying=-points, actor=actor, points=changes, uses=uses,
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
        settle_debt(profile_id)
    return posted


def _taken(
    earning: Transaction,
    profile_id: int,
    points: int,
    *,
    clamp: bool = False,
    bought: tuple[int, int] = (0, 0),
) -> tuple[dict[int, int], dict[int, int]]:
    """What taking points of this credit back moves, by account, and uses, by lot; the member's accounts are locked.

    Its own lot comes first, then the others; what is missing becomes a debt or, clamped, a loss of head office.
    `bought`: an account that sells up to so many of the missing points.
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
        uses |= first_to_expire(member.available_id, others, besides=uses)
        changes[member.available_id] -= others
        left -= others
    seller, most = bought
    sold = min(left, most)
    if sold:
        changes[seller] -= sold
        left -= sold
    changes[head_office_losses() if clamp and left else member.debt_id] -= left
    changes[store_accounts(Account.Kind.ISSUED, [earning.store_id])[earning.store_id]] += points
    return dict(changes), uses


@transaction.atomic
def adjust(
    profile_id: int, points: int, *, store_id: int, key: str, at: datetime, why: dict, actor: str = "",
    expires_on: date | None = None,
) -> int:  # fmt: skip
    """Credit (or, below zero, take) points by hand at a store's cost. Counts for no tier. Raises `NotEnoughPoints`."""
    if not points:
        raise ValueError("an adjustment moves points")
    if points > 0:
        return give([Gift(key, profile_id, points, store_id, why, expires_on)], at=at, actor=actor)[key]
    member = accounts_of([profile_id])[profile_id]
    other = store_accounts(Account.Kind.ADJUSTMENT, [store_id])[store_id]
    fact = Fact(
        key=key, kind=Kind.ADJUST, profile_id=profile_id, store_id=store_id, occurred_at=at, actor=actor,
        explanation=[why], points={other: -points, member.available_id: points},
        uses=first_to_expire(member.available_id, -points),
    )  # fmt: skip
    return post([fact])[key]


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
