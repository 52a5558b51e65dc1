"""Points that no ticket and no action earned: given to many members at once, and called back where they are left."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.db import transaction

from loyalty.ledger.posting import Fact, Kind, accounts_of, post, store_accounts
from loyalty.models import Account, Lot
from tenants.calendar import brand_today
from tenants.scoping import whole_network


@dataclass(frozen=True)
class Gift:
    """Points for a member, a lot of its own at a store's cost. `key` names the fact; no last day: for ever."""

    key: str
    profile_id: int
    points: int
    store_id: int
    why: dict
    expires_on: date | None = None


@transaction.atomic
def give(gifts: Sequence[Gift], *, at: datetime, actor: str = "") -> dict[str, int]:
    """Credit the gifts, all or none; returns transaction ids by key. They count for no tier.

    A debt is paid first, out of the new lot. Raises `AlreadyPosted` for a key that was used before.
    """
    accounts = accounts_of(gift.profile_id for gift in gifts)
    debts = {profile_id: -account.debt for profile_id, account in accounts.items()}
    others = store_accounts(Account.Kind.ADJUSTMENT, {gift.store_id for gift in gifts})
    facts = []
    for gift in gifts:
        member = accounts[gift.profile_id]
        paid = min(gift.points, debts[gift.profile_id])
        debts[gift.profile_id] -= paid
        facts.append(
            Fact(
                key=gift.key, kind=Kind.ADJUST, profile_id=gift.profile_id, store_id=gift.store_id, occurred_at=at,
                actor=actor, explanation=[gift.why],
                points={
                    others[gift.store_id]: -gift.points, member.available_id: gift.points - paid,
                    member.debt_id: paid,
                },
                lots=[
                    {
                        "account": member.available_id, "store": gift.store_id, "points": gift.points, "used": paid,
                        "available_on": brand_today().isoformat(),
                        "expires_on": gift.expires_on and gift.expires_on.isoformat(),
                    }
                ],
            )
        )  # fmt: skip
    return post(facts)


@transaction.atomic
def call_back(gift_ids: Iterable[int], *, at: datetime, why: dict, actor: str = "") -> dict[int, int]:
    """Take back what is left of gifts, out of their own lots alone: points by the gift's transaction id, 0 where none
    is left. What was spent stays spent: nobody owes anything for it.

    Raises `AlreadyPosted` for a gift that was called back before.
    """
    ids = list(gift_ids)
    with whole_network():
        given = Lot.objects.filter(transaction__in=ids, transaction__kind=Kind.ADJUST).order_by("pk")
        while True:
            accounts = accounts_of(given.values_list("account__profile", flat=True))
            lots = list(given.select_related("account"))
            # A merge may have handed a lot over before its holder was held.
            if all(lot.account.profile_id in accounts for lot in lots):
                break
    left = [lot for lot in lots if lot.remaining]
    others = store_accounts(Account.Kind.ADJUSTMENT, {lot.store_id for lot in left})
    post(
        [
            Fact(
                key=f"call-back:{lot.transaction_id}", kind=Kind.ADJUST, profile_id=lot.account.profile_id,
                store_id=lot.store_id, occurred_at=at, reverses_id=lot.transaction_id, actor=actor, explanation=[why],
                points={lot.account_id: -lot.remaining, others[lot.store_id]: lot.remaining},
                uses={lot.pk: lot.remaining},
            )
            for lot in left
        ]
    )  # fmt: skip
    return dict.fromkeys(ids, 0) | {lot.transaction_id: lot.remaining for lot in left}
