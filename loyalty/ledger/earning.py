"""Points come in: a ticket's are credited, and what waits becomes spendable when its day has come."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import msgspec
from django.db import transaction
from django.utils import timezone

from loyalty import rules
from loyalty.ledger.posting import PENDING, Fact, Kind, accounts_of, post, refusals
from loyalty.models import Lot
from profiles.models import Profile, Purchase
from tenants.brand_sql import call
from tenants.scoping import whole_network

encoded = msgspec.json.encode


@dataclass(frozen=True)
class Earning:
    """What a ticket earned its member, by `rules.points_for`."""

    purchase: Purchase
    local_day: date
    earned: rules.Earned
    tier: str = ""
    earned_before: int = 0


@transaction.atomic
def earn(earnings: Sequence[Earning]) -> dict[str, int]:
    """Credit tickets, each as a lot with its own expiry. A member's debt is paid first, out of the new lot.

    A ticket that a cap left with nothing is noted too: its rules are known from what had been earned before it.
    Returns transaction ids by key. Raises `AlreadyPosted`.
    """
    earnings = [earning for earning in earnings if earning.earned.points > 0 or earning.earned.is_capped]
    if not earnings:
        return {}
    told = []
    for earning in earnings:
        purchase = earning.purchase
        told.append(
            as_posted(earning.earned, earning.local_day)
            | {
                "purchase": purchase.pk, "profile": purchase.profile_id, "store": purchase.store_id,
                "at": purchase.bought_at.isoformat(), "day": earning.local_day.isoformat(), "tier": earning.tier,
                "before": earning.earned_before,
            }
        )  # fmt: skip
    with whole_network():
        Profile.hold(earning.purchase.profile_id for earning in earnings)
    with refusals():
        (ids,) = call(
            "SELECT ledger_earn(ARRAY(SELECT jsonb_array_elements($1::jsonb)))", [encoded(told).decode()]
        )
    return {f"earn:{earning.purchase.pk}": pk for earning, pk in zip(earnings, ids, strict=True)}


def as_posted(earned: rules.Earned, local_day: date) -> dict:
    """What a ticket of that day earned, as the functions of the database are told it."""
    expires = earned.last_day(local_day)
    return {
        "points": earned.points,
        "capped": earned.is_capped,
        "waits": earned.pending_days > 0,
        "from": rules.spendable_on(local_day, earned.pending_days).isoformat(),
        "until": expires.isoformat() if expires else None,
        "idle": earned.idle_months,
        "steps": earned.steps,
    }


@transaction.atomic
def release_due(today: date, limit: int = 500) -> int:
    """Make pending points spendable whose day has come; returns how many lots. Debts are paid first."""
    with whole_network():
        due = list(
            Lot.objects.filter(remaining__gt=0, account__kind=PENDING, available_on__lte=today)
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
