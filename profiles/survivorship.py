"""Which value wins when sources disagree, and why: the unified profile is made here and nowhere else.

In this order: what a person pinned (`profiles/pins.py`); an e-mail or phone that the customer confirmed, before others;
the most trusted source; of equally trusted ones, the newest statement. Fields that mean something only
together (first and last name; street, postcode and town) are taken from one record, and there who fills more of them
comes before who is trusted more: a trusted surname alone is no name.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from typing import NamedTuple, Protocol, TypeVar

from django.db import connection
from django.utils.translation import gettext_noop

from profiles import blocklist, search
from profiles.models import Event, Identifier, Pin, Profile, Source, SourceRecord
from tenants.brand_sql import prepared
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
FULLEST = gettext_noop("the fullest: others say only a part of it")
NEWEST = gettext_noop("the newest of equally trusted sources")
VERIFIED = gettext_noop("confirmed by the customer, which the others are not")
PINNED = gettext_noop("pinned by hand")
# Of a record's values those that a profile has, not the whole row as it came.
_READ = """
SELECT r.profile_id, r.id, r.source_id, s.name, s.trust, r.external_id, r.content_hash,
       coalesce(r.stated_again_at, r.stated_at), {fields}
FROM {records} r JOIN {sources} s ON s.id = r.source_id WHERE r.profile_id = ANY(%s) ORDER BY r.id
""".format(
    records=connection.ops.quote_name(SourceRecord._meta.db_table),
    sources=connection.ops.quote_name(Source._meta.db_table),
    fields=", ".join(f"r.{field}" for field in FIELDS),
)
_WRITTEN = {
    **dict.fromkeys(FIELDS, "text"),
    "birth_date": "date",
    "provenance": "jsonb",
    "search_text": "text",
}
# One statement for any number of people, who come as one JSON document: many times faster than an array a column.
_WRITE = """
UPDATE {profiles} p SET {settings} FROM jsonb_to_recordset(%s) AS told (id bigint, {columns}) WHERE p.id = told.id
""".format(
    profiles=connection.ops.quote_name(Profile._meta.db_table),
    settings=", ".join(f"{name} = told.{name}" for name in _WRITTEN),
    columns=", ".join(f"{name} {kind}" for name, kind in _WRITTEN.items()),
)
# Most people confirmed nothing and have no pin, and each question costs a merge a round trip.
# Nobody types the number of a wallet pass, and it goes when the pass is lost.
_SHOWN = """
SELECT profile_id, value FROM {identifiers} WHERE profile_id = ANY(%(people)s) AND kind <> 'pass'
UNION ALL
SELECT NULL, 'events' WHERE EXISTS (SELECT FROM {events} WHERE profile_id = ANY(%(people)s) AND identified_by <> '')
UNION ALL
SELECT NULL, 'pins' WHERE EXISTS (SELECT FROM {pins} WHERE profile_id = ANY(%(people)s) AND ended_at IS NULL)
"""
# What only whoever reads the mailbox or holds the phone can do. The last three a brand adds to its dictionary.
VERIFYING = ("email_clicked", "email_confirmed", "sms_clicked", "phone_confirmed")


def refresh(profile_ids: Iterable[int]) -> None:
    """Recompute the unified values, provenance and search text of these profiles from their records."""
    ids = sorted(set(profile_ids))
    with whole_network():
        records = _said(ids)
        shown, beside = _shown(ids)
        confirmed = verified(ids) if "events" in beside else {}
        pinned: dict[int, list[Pin]] = defaultdict(list)
        if "pins" in beside:
            pins = Pin.objects.filter(profile__in=ids, ended_at=None).select_related("by").order_by("field")
            for pin in pins:
                pinned[pin.profile_id].append(pin)
        unified = []
        for pk in ids:
            profile = Profile(pk=pk)
            said = current_statements(records[pk])
            unify(profile, said, confirmed.get(pk, ()))
            for pin in pinned[pk]:
                stick(profile, pin, said)
            profile.search_text = search_text(profile, sorted(shown[pk]))
            unified.append(profile)
    with prepared() as cursor:
        told = [{"id": p.pk, **{name: getattr(p, name) for name in _WRITTEN}} for p in unified]
        cursor.execute(_WRITE, [json.dumps(told, default=str)])


def _said(ids: list[int]) -> dict[int, list["Said"]]:
    """What the sources ever said of these people, in the order that it came in: profile id -> records."""
    said: dict[int, list[Said]] = defaultdict(list)
    with prepared() as cursor:
        cursor.execute(_READ, [ids])
        for profile_id, pk, source_id, name, trust, *told in cursor.fetchall():
            said[profile_id].append(Said(pk, source_id, _Speaker(name, trust), *told))
    return said


def _shown(ids: list[int]) -> tuple[dict[int, set[str]], set[str]]:
    """The identifiers that these people showed: profile id -> values. And which of "events" and "pins" there may be."""
    tables = {
        name: connection.ops.quote_name(model._meta.db_table)
        for name, model in (("events", Event), ("identifiers", Identifier), ("pins", Pin))
    }
    shown: dict[int, set[str]] = defaultdict(set)
    beside = set()
    with prepared() as cursor:
        cursor.execute(_SHOWN.format(**tables), {"people": ids})
        for profile_id, value in cursor.fetchall():
            if profile_id is None:
                beside.add(value)
            else:
                shown[profile_id].add(value)
    return shown, beside


def verified(profile_ids: Iterable[int], before: datetime | None = None) -> dict[int, set[tuple[str, str]]]:
    """The identifiers, (kind, key), that these people confirmed by what they did: profile id -> identifiers.

    `before`: as known when that instant came.
    """
    shown = Event.objects.filter(profile__in=list(profile_ids), type__code__in=VERIFYING).exclude(
        identified_by=""
    )
    if before:
        shown = shown.filter(received_at__lt=before)
    found: dict[int, set[tuple[str, str]]] = defaultdict(set)
    for profile_id, identifier in shown.order_by().values_list("profile", "identified_by").distinct():
        kind, _colon, key = identifier.partition(":")
        found[profile_id].add((kind, key))
    return found


class Speaker(Protocol):
    """What counts of a source."""

    @property
    def name(self) -> str: ...
    @property
    def trust(self) -> int: ...


class Record(Protocol):
    """What is read of a record: of a `SourceRecord`, or of what was said in one."""

    @property
    def source(self) -> Speaker: ...
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


class _Speaker(NamedTuple):
    name: str
    trust: int


class Said(NamedTuple):
    """A record without its row: read by the hundred, or one that is about to be."""

    pk: int
    source_id: int
    source: Speaker
    external_id: str
    content_hash: str
    last_stated_at: datetime
    first_name: str
    last_name: str
    birth_date: date | None
    email: str
    phone: str
    street: str
    postcode: str
    city: str


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


def unify(profile: Unified, records: Sequence[Record], confirmed: Collection[tuple[str, str]] = ()) -> None:
    """Set the profile's values and their provenance from what its sources say now. `confirmed`: as in `verified`."""
    if len(records) == 1:
        _take_from(profile, records[0])
        return
    profile.provenance = {}
    for group in GROUPS:
        saying = sorted((r for r in records if _says(r, group)), key=_rank(group, confirmed), reverse=True)
        winner = saying[0] if saying else None
        for field in group:
            value = getattr(winner, field) if winner else None
            setattr(profile, field, value or (None if field == "birth_date" else ""))
            if value:
                profile.provenance[field] = _provenance(field, winner, saying, confirmed)


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
    return any(
        getattr(record, field)
        and (field not in blocklist.KINDS or not blocklist.current().blocks_of(record, field))
        for field in group
    )


def _is_confirmed(record: Record, field: str, confirmed: Collection[tuple[str, str]]) -> bool:
    return field in blocklist.KINDS and (field, blocklist.key_of(field, getattr(record, field))) in confirmed


def _rank(group: Sequence[str], confirmed: Collection[tuple[str, str]]):
    def rank(record: Record):
        return (_filled(record, group), *_standing(record, group[0], confirmed))

    return rank


def _filled(record: Record, group: Sequence[str]) -> int:
    """How much of the group the record fills: all of it beats a part, an initial is less than a name."""
    return sum(len(str(getattr(record, field) or "")) > 1 for field in group)


def _standing(record: Record, field: str, confirmed: Collection[tuple[str, str]]) -> tuple:
    proven = bool(confirmed) and _is_confirmed(record, field, confirmed)
    return (proven, record.source.trust, record.last_stated_at, record.content_hash)


def _provenance(
    field: str, winner: Record, saying: Sequence[Record], confirmed: Collection[tuple[str, str]]
) -> dict:
    others = [r for r in saying if r is not winner and getattr(r, field)]
    if not others:
        why = ONLY
    elif any(_standing(r, field, confirmed) > _standing(winner, field, confirmed) for r in others):
        why = FULLEST
    elif _is_confirmed(winner, field, confirmed) and not all(
        _is_confirmed(r, field, confirmed) for r in others
    ):
        why = VERIFIED
    elif any(r.source.trust == winner.source.trust for r in others):
        why = NEWEST
    else:
        why = TRUSTED
    return {
        "source": winner.source.name,
        "record": winner.pk,
        "at": winner.last_stated_at.isoformat(),
        "why": why,
        "others": _lost(field, getattr(winner, field), others),
    }


def _lost(field: str, kept: object, others: Sequence[Record]) -> list[dict]:
    """What was said beside the value that is kept: source, value and when it was last said."""
    said: dict[tuple[str, str], str] = {}
    for record in others:
        value = getattr(record, field)
        if value and str(value) != str(kept):
            who = record.source.name, str(value)
            said[who] = max(said.get(who, ""), record.last_stated_at.isoformat())
    return [{"source": source, "value": value, "at": at} for (source, value), at in sorted(said.items())]


def stick(profile: Profile, pin: Pin, records: Sequence[Record]) -> None:
    """Let a pinned value win, and say against what."""
    value = date.fromisoformat(pin.value) if pin.field == "birth_date" else pin.value
    setattr(profile, pin.field, value)
    profile.provenance[pin.field] = {
        "source": pin.by.full_name,
        "record": None,
        "at": pin.at.isoformat(),
        "why": PINNED,
        "pin": pin.pk,
        "others": _lost(pin.field, value, records),
    }
