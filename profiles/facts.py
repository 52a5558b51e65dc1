"""The facts that segments read: one narrow row a person, kept up in the transaction that changes them.

`refresh` computes the row anew from purchases, refunds and consents, so a maintained row always equals a rebuilt
one. Callers hand over the few people they touched; `rebuild` goes through everybody.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime

from django.db import transaction
from django.db.models import Count, F, Max, Min, OuterRef, Subquery, Sum
from django.db.models.functions import Least

from profiles import consent_history
from profiles.models import Profile, ProfileFacts, ProfileStore, Purchase, Refund, SourceRecord
from tenants.network.models import Store
from tenants.scoping import whole_network

MAINTAINED = [field.name for field in ProfileFacts._meta.concrete_fields if not field.primary_key]
COLUMNS = [field.column for field in ProfileFacts._meta.concrete_fields]


_OF_NOBODY = {field.column: field.get_default() for field in ProfileFacts._meta.concrete_fields}


def of_stranger(
    profile_id: int, signed_up_at: int | None, region_id: int | None, allowed: Mapping[str, bool]
) -> Iterable:
    """The row, in the order of `COLUMNS`, of somebody who has bought nothing yet."""
    row = _OF_NOBODY | {"profile_id": profile_id, "home_store_id": signed_up_at, "home_region_id": region_id}
    for channel, granted in allowed.items():
        row[f"{channel}_allowed"] = granted
    return row.values()


def refresh(profile_ids: Iterable[int]) -> None:
    """Recompute the facts of these people, over the whole network whoever asks."""
    ids = sorted(set(profile_ids))
    if not ids:
        return
    with whole_network(), transaction.atomic():
        Profile.hold(ids)
        rows = {profile_id: ProfileFacts(profile_id=profile_id) for profile_id in ids}
        _purchases(rows)
        _home_stores(rows)
        for profile_id, channels in consent_history.of_profiles(ids).items():
            for channel, now in channels.items():
                setattr(rows[profile_id], f"{channel}_allowed", now.granted)
        ProfileFacts.objects.bulk_create(
            rows.values(), update_conflicts=True, unique_fields=["profile"], update_fields=MAINTAINED
        )


def rebuild(chunk: int = 1000) -> int:
    """Recompute everybody's facts; returns how many people."""
    with whole_network():
        ids = list(Profile.objects.values_list("pk", flat=True))
    for start in range(0, len(ids), chunk):
        refresh(ids[start : start + chunk])
    return len(ids)


def _purchases(rows: dict[int, ProfileFacts]) -> None:
    bought = (
        Purchase.objects.filter(profile__in=rows)
        .order_by()
        .values("profile")
        .annotate(
            n=Count("pk"), first=Min("business_day"), last=Max("business_day"), cents=Sum("total_cents")
        )
    )
    for sums in bought:
        row = rows[sums["profile"]]
        row.purchases, row.spend_cents = sums["n"], sums["cents"]
        row.first_purchase_on, row.last_purchase_on = sums["first"], sums["last"]
    returned = (
        Refund.objects.filter(purchase__profile__in=rows)
        .order_by()
        .values(person=F("purchase__profile"))
        .annotate(cents=Sum("total_cents"))
    )
    for back in returned:
        rows[back["person"]].spend_cents -= back["cents"]


def _home_stores(rows: dict[int, ProfileFacts]) -> None:
    """The home store is where the person bought most often; then most lately; then where they signed up."""
    visits: dict[int, list[tuple[int, date, int]]] = defaultdict(list)
    counted = (
        Purchase.objects.filter(profile__in=rows)
        .order_by()
        .values("profile", "store")
        .annotate(n=Count("pk"), last=Max("business_day"))
    )
    for visit in counted:
        visits[visit["profile"]].append((visit["n"], visit["last"], -visit["store"]))
    signed_up = dict(
        SourceRecord.objects.filter(profile__in=rows, store__isnull=False)
        .order_by("-stated_at", "-content_hash")
        .values_list("profile", "store")
    )
    region_of = dict(Store.objects.values_list("pk", "region"))
    for profile_id, row in rows.items():
        if profile_id in visits:
            row.home_store_id = -max(visits[profile_id])[2]
        else:
            row.home_store_id = signed_up.get(profile_id)
        row.home_region_id = region_of.get(row.home_store_id)


def met_at(first_met: Mapping[int, datetime], store: Store) -> None:
    """Note that these people were at the store (id -> when first), so that it knows them from then on."""
    with whole_network():
        ProfileStore.objects.bulk_create(
            [ProfileStore(profile_id=p, store=store, since=at) for p, at in sorted(first_met.items())],
            ignore_conflicts=True,
        )
        earlier = [
            row
            for row in ProfileStore.objects.filter(store=store, profile__in=first_met)
            if row.since > first_met[row.profile_id]
        ]
        for row in earlier:
            row.since = first_met[row.profile_id]
        ProfileStore.objects.bulk_update(earlier, ["since"])
        for profile_id, known_since in Profile.objects.filter(pk__in=first_met).values_list(
            "pk", "created_at"
        ):
            if known_since > first_met[profile_id]:
                Profile.objects.filter(pk=profile_id).update(created_at=first_met[profile_id])


def _note_since(ids: Iterable[int]) -> None:
    """The network knows a person since the first word or ticket about them, in whatever order these came in."""
    first = [
        Subquery(
            model.objects.filter(profile=OuterRef("pk"))
            .order_by()
            .values("profile")
            .annotate(at=Min(when))
            .values("at")
        )
        for model, when in ((SourceRecord, "stated_at"), (Purchase, "bought_at"))
    ]
    # PostgreSQL's least() passes over what is not known.
    people = Profile.objects.filter(pk__in=ids).annotate(since=Least(*first)).exclude(since=None)
    people.exclude(created_at=F("since")).update(created_at=Least(*first))


def note_stores(profile_ids: Iterable[int]) -> None:
    """Keep `ProfileStore` true: a store knows a person who bought or signed up there, and nobody else; and since when
    anybody does."""
    ids = sorted(set(profile_ids))
    with whole_network():
        known: dict[tuple[int, int], object] = {}
        for model, when in ((Purchase, "bought_at"), (SourceRecord, "stated_at")):
            met = (
                model.objects.filter(profile__in=ids, store__isnull=False)
                .order_by()
                .values_list("profile", "store")
                .annotate(since=Min(when))
            )
            for profile_id, store_id, since in met:
                known[profile_id, store_id] = min(since, known.get((profile_id, store_id), since))
        _note_since(ids)
        stale = [
            row.pk
            for row in ProfileStore.objects.filter(profile__in=ids)
            if (row.profile_id, row.store_id) not in known
        ]
        ProfileStore.objects.filter(pk__in=stale).delete()
        ProfileStore.objects.bulk_create(
            [ProfileStore(profile_id=p, store_id=s, since=since) for (p, s), since in sorted(known.items())],
            update_conflicts=True,
            unique_fields=["profile", "store"],
            update_fields=["since"],
        )
