"""Points are put right: taken back with the goods, given or taken by hand, left to live longer."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime

from django.db import transaction

from loyalty.ledger.posting import Fact, Kind, accounts_of, first_to_expire, post, store_accounts
from loyalty.models import Account, Lot, Transaction
from profiles.models import Refund
from tenants.calendar import brand_today
from tenants.scoping import whole_network


@transaction.atomic
def take_back(refund: Refund, points: int, *, actor: str = "") -> int | None:
    """Take points back for goods brought back: from the ticket's own lot, then from the others, then as debt.

    The store that issued the points gets them back, wherever the goods were returned. Returns the transaction's id,
    or None where there is nothing to take.
    """
    purchase = refund.purchase
    if points <= 0 or purchase.profile_id is None:
        return None
    with whole_network():
        earning = Transaction.objects.get(key=f"earn:{purchase.pk}")
        member = accounts_of([purchase.profile_id])[purchase.profile_id]
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
    changes[member.debt_id] -= left
    changes[store_accounts(Account.Kind.ISSUED, [purchase.store_id])[purchase.store_id]] += points
    key = f"refund:{refund.pk}"
    fact = Fact(
        key=key, kind=Kind.REFUND, profile_id=purchase.profile_id, store_id=refund.store_id,
        purchase_id=purchase.pk, refund_id=refund.pk, reverses_id=earning.pk, occurred_at=refund.refunded_at,
        qualifying=-points, actor=actor, points=dict(changes), uses=uses,
    )  # fmt: skip
    return post([fact])[key]


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
        fact.uses = first_to_expire(member.available_id, -points)
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
