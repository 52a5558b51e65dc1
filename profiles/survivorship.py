"""Which value wins when sources disagree, and why: the unified profile is made here and nowhere else.

A value comes from the most trusted source that says it; of equally trusted ones, from the newest statement. Fields
that mean something only together (first and last name; street, postcode and town) are taken from one record.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from django.utils.translation import gettext_noop

from profiles import blocklist, search
from profiles.models import Identifier, Profile, Source, SourceRecord
from tenants.scoping import whole_network

GROUPS = (
    ("first_name", "last_name"),
    ("birth_date",),
    ("email",),
    ("phone",),
    ("street", "postcode", "city"),
)
FIELDS = [field for group in GROUPS for field in group]
ONLY = gettext_noop("the only source that says it")
TRUSTED = gettext_noop("the most trusted of those that say it")
NEWEST = gettext_noop("the newest of equally trusted sources")


def refresh(profile_ids: Iterable[int]) -> None:
    """Recompute the unified values, provenance and search text of these profiles from their records."""
    ids = sorted(set(profile_ids))
    with whole_network():
        records: dict[int, list[SourceRecord]] = defaultdict(list)
        for record in SourceRecord.objects.filter(profile__in=ids).select_related("source").order_by("pk"):
            records[record.profile_id].append(record)
        shown: dict[int, set[str]] = defaultdict(set)
        for profile_id, value in Identifier.objects.filter(profile__in=ids).values_list("profile", "value"):
            shown[profile_id].add(value)
        profiles = list(Profile.objects.filter(pk__in=ids))
        for profile in profiles:
            unify(profile, current_statements(records[profile.pk]))
            profile.search_text = search_text(profile, sorted(shown[profile.pk]))
        # An upsert by key: several times faster than an UPDATE with a CASE for each field and row.
        Profile.objects.bulk_create(
            profiles, batch_size=500, update_conflicts=True, unique_fields=["pk"],
            update_fields=[*FIELDS, "provenance", "search_text"],
        )  # fmt: skip


class Record(Protocol):
    """What is read of a record: of a `SourceRecord`, or of one that is about to be."""

    @property
    def source(self) -> Source: ...
    @property
    def source_id(self) -> int: ...
    @property
    def external_id(self) -> str: ...
    @property
    def content_hash(self) -> str: ...
    @property
    def last_stated_at(self) -> datetime: ...
    @property
    def pk(self) -> int: ...


class Unified(Protocol):
    """What the values are written on: a `Profile`, or one that is about to be."""

    first_name: str
    last_name: str
    email: str
    phone: str
    postcode: str
    city: str
    provenance: dict


R = TypeVar("R", bound=Record)


def current_statements(records: Sequence[R]) -> list[R]:
    """The newest record of each external id: what a source says now. Of two of one moment their content decides, not
    which came in first."""
    newest: dict[tuple[int, str], R] = {}
    for record in sorted(records, key=lambda r: (r.last_stated_at, r.content_hash)):
        newest[record.source_id, record.external_id] = record
    return list(newest.values())


def unify(profile: Unified, records: Sequence[Record]) -> None:
    """Set the profile's values and their provenance from what its sources say now."""
    if len(records) == 1:
        _take_from(profile, records[0])
        return
    profile.provenance = {}
    for group in GROUPS:
        saying = sorted((r for r in records if _says(r, group)), key=_rank(group), reverse=True)
        winner = saying[0] if saying else None
        for field in group:
            value = getattr(winner, field) if winner else None
            setattr(profile, field, value or (None if field == "birth_date" else ""))
            if value:
                profile.provenance[field] = _provenance(field, winner, saying)


def _take_from(profile: Unified, record: Record) -> None:
    """Nobody disagrees where one record alone speaks."""
    of_record = {
        "source": record.source.name, "record": record.pk, "at": record.last_stated_at.isoformat(), "why": ONLY,
        "others": [],
    }  # fmt: skip
    profile.provenance = {}
    for field in FIELDS:
        value = getattr(record, field)
        if value and field in blocklist.KINDS and blocklist.current().blocks_of(record, field):
            value = ""
        setattr(profile, field, value or (None if field == "birth_date" else ""))
        if value:
            profile.provenance[field] = of_record


def search_text(profile: Unified, identifiers: Sequence[str]) -> str:
    """What a search finds the person by (`profiles/search.py`). `identifiers`: e-mails, phones as E.164, cards."""
    return search.text_of(
        first_name=profile.first_name,
        last_name=profile.last_name,
        postcode=profile.postcode,
        city=profile.city,
        identifiers=[value for value in (profile.email, profile.phone, *identifiers) if value],
    )


def _says(record: Record, group: Sequence[str]) -> bool:
    # A blocked e-mail or phone is nobody's: it stays in the record and wins nowhere.
    return any(getattr(record, field) and not blocklist.current().blocks_of(record, field) for field in group)


def _rank(group: Sequence[str]):
    def rank(record: Record):
        # A record that fills the whole group beats one that fills a part, an initial is less than a name.
        filled = sum(len(str(getattr(record, field) or "")) > 1 for field in group)
        return (filled, record.source.trust, record.last_stated_at, record.content_hash)

    return rank


def _provenance(field: str, winner: Record, saying: Sequence[Record]) -> dict:
    others = [r for r in saying if r is not winner and getattr(r, field)]
    if not others:
        why = ONLY
    elif any(r.source.trust == winner.source.trust for r in others):
        why = NEWEST
    else:
        why = TRUSTED
    lost = {
        (r.source.name, str(getattr(r, field))) for r in others if getattr(r, field) != getattr(winner, field)
    }
    return {
        "source": winner.source.name,
        "record": winner.pk,
        "at": winner.last_stated_at.isoformat(),
        "why": why,
        "others": [{"source": source, "value": value} for source, value in sorted(lost)],
    }
