"""Points come in: a ticket's are credited, and what waits becomes spendable when its day has come."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import msgspec
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from loyalty import rules
from loyalty.ledger.posting import PENDING, Fact, Kind, accounts_of, post, refusals, store_accounts
from loyalty.models import Account, CaseTicket, Lot
from profiles.models import Profile, Purchase
from tenants.brand_sql import call
from tenants.scoping import whole_network

encoded = msgspec.json.encode


@dataclass(frozen=True)
class Earning:
    """What a ticket earned its member, by `rules.points_for`. Held points wait whatever the rule says."""

    purchase: Purchase
    local_day: date
    earned: rules.Earned
    tier: str = ""
    earned_before: int = 0
    held: bool = False
    segments: frozenset[int] = frozenset()


@transaction.atomic
def earn(earnings: Sequence[Earning]) -> dict[str, int]:
    """Credit tickets, each as a lot with its own expiry. A member's debt is paid first, out of the new lot.

    A ticket that a cap, or its member's tier or segments, left with nothing is noted too: what it was judged by is
    known from there.
    Returns transaction ids by key. Raises `AlreadyPosted`.
    """
    earnings = [earning for earning in earnings if earning.earned.points > 0 or earning.earned.is_noted]
    if not earnings:
        return {}
    told = []
    for earning in earnings:
        purchase = earning.purchase
        told.append(
            as_posted(earning.earned, earning.local_day, held=earning.held, segments=earning.segments)
            | {
                "purchase": purchase.pk, "profile": purchase.profile_id, "store": purchase.store_id,
                "at": purchase.bought_at.isoformat(), "day": earning.local_day.isoformat(), "tier": earning.tier,
                "before": earning.earned_before,
            }
        )  # fmt: skip
    with whole_network():
        Profile.hold(earning.purchase.profile_id for earning in earnings)
    with refusals():
        (ids,) = call("SELECT ledger_earn($1::jsonb)", [encoded(told).decode()])
    return {f"earn:{earning.purchase.pk}": pk for earning, pk in zip(earnings, ids, strict=True)}


def as_posted(
    earned: rules.Earned, local_day: date, held: bool = False, segments: Iterable[int] = ()
) -> dict:
    """What a ticket of that day earned, as the functions of the database are told it."""
    expires = earned.last_day(local_day)
    return {
        "points": earned.points,
        "noted": earned.is_noted,
        "waits": held or earned.pending_days > 0,
        "from": rules.spendable_on(local_day, earned.pending_days).isoformat(),
        "until": expires.isoformat() if expires else None,
        "idle": earned.idle_months,
        "steps": earned.steps,
        "segments": sorted(segments),
    }


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
