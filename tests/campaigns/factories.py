"""Rows for these tests, made directly: people, tickets, refunds and consents, with the facts kept up as in life."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from uuid import UUID

from django.utils import timezone

from campaigns.control import arm_of
from campaigns.models import Campaign, Recipient
from profiles import facts
from profiles.models import (
    Channel,
    ConsentChange,
    Profile,
    ProfileStore,
    Purchase,
    PurchaseLine,
    Refund,
    RefundLine,
)
from tenants.network.models import Store, Till

_numbers = count(1)

# One line of a ticket: (category, cents).
Line = tuple[str, int]


def person(*stores: Store, allows: Sequence[str] = (), **fields) -> Profile:
    """Somebody whom the stores know; `allows` names the channels they said yes to."""
    profile = Profile.objects.create(**fields)
    for store in stores:
        ProfileStore.objects.create(profile=profile, store=store)
    for channel in allows:
        tell_consent(profile, channel, granted=True)
    facts.refresh([profile.pk])
    return profile


def draw(campaign: Campaign, people: Sequence[Profile], *, held_back: int) -> None:
    """Give these people ids of which the campaign's draw holds back the first ones, and nobody else."""
    for n, profile in enumerate(people):
        wanted = Recipient.Arm.CONTROL if n < held_back else Recipient.Arm.TREATED
        ids = (UUID(int=(n + 1) * 1000 + k) for k in range(1000))
        profile.public_id = next(
            i for i in ids if arm_of(campaign.salt, i, campaign.control_percent) == wanted
        )
        profile.save(update_fields=["public_id"])


def tell_consent(
    profile: Profile,
    channel: str,
    *,
    granted: bool,
    at: datetime | None = None,
    record=None,
    keep_facts: bool = True,
) -> None:
    ConsentChange.objects.create(
        profile=profile, channel=Channel(channel), granted=granted, at=at or timezone.now(), record=record
    )
    if keep_facts:
        facts.refresh([profile.pk])


def till_of(store: Store) -> Till:
    till, _made = Till.objects.get_or_create(
        store=store, code="F1", defaults={"key_prefix": f"f{store.pk}"[:8], "key_hash": "0" * 64}
    )
    return till


def ticket(
    profile: Profile | None,
    store: Store,
    day: date,
    *lines: Line,
    at: datetime | None = None,
    keep_facts: bool = True,
) -> Purchase:
    """A purchase at noon of a day, of the given lines; without lines one of 10.00 in GROCERY.

    Whoever makes many rows sets `keep_facts` to False and refreshes the facts at the end.
    """
    lines = lines or (("GROCERY", 1000),)
    purchase = Purchase.objects.create(
        store=store,
        till=till_of(store),
        business_day=day,
        receipt_id=f"R{next(_numbers)}",
        bought_at=at or datetime.combine(day, time(12), UTC),
        profile=profile,
        total_cents=sum(cents for _category, cents in lines),
        content_hash="0" * 64,
    )
    for number, (category, cents) in enumerate(lines, start=1):
        PurchaseLine.objects.create(
            purchase=purchase,
            number=number,
            sku=f"{category}-{number}",
            category=category,
            amount_cents=cents,
            store=store,
            profile=profile,
            business_day=day,
        )
    if profile is not None:
        ProfileStore.objects.get_or_create(profile=profile, store=store)
        if keep_facts:
            facts.refresh([profile.pk])
    return purchase


def refund(line: PurchaseLine, cents: int, store: Store | None = None, *, keep_facts: bool = True) -> Refund:
    """Bring back a part of a line, in the store of purchase or another, three days later."""
    store = store or line.store
    day = line.business_day + timedelta(days=3)
    made = Refund.objects.create(
        purchase=line.purchase,
        store=store,
        till=till_of(store),
        business_day=day,
        refund_id=f"B{next(_numbers)}",
        refunded_at=datetime.combine(day, time(12), UTC),
        total_cents=cents,
        content_hash="0" * 64,
    )
    RefundLine.objects.create(refund=made, line=line, quantity=1, amount_cents=cents, store=store)
    if line.profile_id and keep_facts:
        facts.refresh([line.profile_id])
    return made


def merge_into(winner: Profile, loser: Profile) -> None:
    """The bare outcome of a merge: the loser redirects, and what it bought and allowed is the winner's."""
    Purchase.objects.filter(profile=loser).update(profile=winner)
    PurchaseLine.objects.filter(profile=loser).update(profile=winner)
    Profile.objects.filter(pk=loser.pk).update(merged_into=winner)
    facts.refresh([winner.pk, loser.pk])
