"""The facts that segments read: one narrow row a person, kept up in the transaction that changes them.

`refresh` computes the row anew from purchases, refunds and consents, so a maintained row always equals a rebuilt
one. Callers hand over the few people they touched; `rebuild` goes through everybody.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.db import connection, transaction

from profiles import consent_history
from profiles.models import Profile, ProfileFacts, ProfileStore, Purchase, Refund, SourceRecord
from tenants.brand_sql import prepared
from tenants.network.models import Store
from tenants.scoping import whole_network

COLUMNS = [field.column for field in ProfileFacts._meta.concrete_fields]
MAINTAINED = [column for column in COLUMNS if column != "profile_id"]
CHANNELS = ("email", "sms", "post")


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
    ids = list(profile_ids)
    with transaction.atomic(savepoint=False):
        Profile.hold(ids)
        refresh_held(ids)


def refresh_held(profile_ids: Iterable[int]) -> None:
    """The same, of people whom the transaction holds already."""
    ids = sorted(set(profile_ids))
    with whole_network():
        told = consent_history.of_profiles(ids)
    allowed = {
        channel: [channel in told.get(pk, ()) and told[pk][channel].granted for pk in ids]
        for channel in CHANNELS
    }
    as_told = ", ".join(f"{column} = excluded.{column}" for column in MAINTAINED)
    with prepared() as cursor:
        cursor.execute(_REFRESH.format(as_told=as_told, **_TABLES), {"people": ids, **allowed})


def rebuild(chunk: int = 1000) -> int:
    """Recompute everybody's facts; returns how many people."""
    with whole_network():
        ids = list(Profile.objects.values_list("pk", flat=True))
    for start in range(0, len(ids), chunk):
        refresh(ids[start : start + chunk])
    return len(ids)


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


def note_stores(profile_ids: Iterable[int]) -> None:
    """Keep `ProfileStore` true: a store knows a person who bought or signed up there, and nobody else; and since when
    anybody does."""
    with prepared() as cursor:
        cursor.execute(_NOTE_STORES.format(**_TABLES), {"people": sorted(set(profile_ids))})


# Both are one statement for any number of people: a merge at the till waits for each round trip.
_TABLES = {
    name: connection.ops.quote_name(model._meta.db_table)
    for name, model in {
        "facts": ProfileFacts, "known": ProfileStore, "profiles": Profile, "purchases": Purchase,
        "records": SourceRecord, "refunds": Refund, "stores": Store,
    }.items()
}  # fmt: skip

# The home store is where the person bought most often; then most lately; then where they signed up.
_REFRESH = """
WITH person AS (
    SELECT * FROM unnest(%(people)s::bigint[], %(email)s::boolean[], %(sms)s::boolean[], %(post)s::boolean[])
        AS _ (id, email, sms, post)
), visit AS (
    SELECT profile_id, store_id, count(*) AS times, min(business_day) AS first_on, max(business_day) AS last_on,
           sum(total_cents) AS cents
    FROM {purchases} WHERE profile_id = ANY(%(people)s) GROUP BY profile_id, store_id
), bought AS (
    SELECT profile_id, sum(times) AS times, min(first_on) AS first_on, max(last_on) AS last_on, sum(cents) AS cents,
           (array_agg(store_id ORDER BY times DESC, last_on DESC, store_id))[1] AS store_id
    FROM visit GROUP BY profile_id
), returned AS (
    SELECT p.profile_id, sum(r.total_cents) AS cents
    FROM {refunds} r JOIN {purchases} p ON p.id = r.purchase_id WHERE p.profile_id = ANY(%(people)s)
    GROUP BY p.profile_id
), signed_up AS (
    SELECT DISTINCT ON (profile_id) profile_id, store_id
    FROM {records} WHERE profile_id = ANY(%(people)s) AND store_id IS NOT NULL
    ORDER BY profile_id, stated_at, content_hash
)
INSERT INTO {facts} AS kept (
    profile_id, first_purchase_on, last_purchase_on, purchases, spend_cents, home_store_id, home_region_id,
    email_allowed, sms_allowed, post_allowed)
SELECT person.id, first_on, last_on, coalesce(times, 0), coalesce(bought.cents, 0) - coalesce(returned.cents, 0),
       home.id, home.region_id, email, sms, post
FROM person
LEFT JOIN bought ON bought.profile_id = person.id
LEFT JOIN returned ON returned.profile_id = person.id
LEFT JOIN signed_up ON signed_up.profile_id = person.id
LEFT JOIN {stores} home ON home.id = coalesce(bought.store_id, signed_up.store_id)
ON CONFLICT (profile_id) DO UPDATE SET {as_told}
WHERE kept IS DISTINCT FROM excluded
"""

# The network knows a person since the first word or ticket about them, in whatever order these came in.
_NOTE_STORES = """
WITH told AS (
    SELECT profile_id, store_id, bought_at AS at FROM {purchases} WHERE profile_id = ANY(%(people)s)
    UNION ALL
    SELECT profile_id, store_id, stated_at FROM {records} WHERE profile_id = ANY(%(people)s)
), met AS (
    SELECT profile_id, store_id, min(at) AS since FROM told WHERE store_id IS NOT NULL GROUP BY profile_id, store_id
), first AS (
    SELECT profile_id, min(at) AS at FROM told GROUP BY profile_id
), dated AS (
    UPDATE {profiles} p SET created_at = first.at FROM first WHERE p.id = first.profile_id AND p.created_at <> first.at
), stale AS (
    DELETE FROM {known} k WHERE k.profile_id = ANY(%(people)s)
        AND NOT EXISTS (SELECT FROM met WHERE met.profile_id = k.profile_id AND met.store_id = k.store_id)
)
INSERT INTO {known} AS kept (profile_id, store_id, since) SELECT profile_id, store_id, since FROM met
ORDER BY profile_id, store_id
ON CONFLICT (profile_id, store_id) DO UPDATE SET since = excluded.since WHERE kept.since <> excluded.since
"""
