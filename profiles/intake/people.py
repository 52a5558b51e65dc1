"""What sources say about people: normalised, attached to a profile, kept for good.

Only certain identity is settled here: the same id at the same source, or the same loyalty card where the first names
do not contradict each other. Everything else gets a profile of its own, and matching (`profiles/resolution.py`)
compares it with the others afterwards.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles import blocklist, facts, normalise, survivorship
from profiles.matching import Comparable, blocking_keys
from profiles.matching.comparisons import first_name as compare_first_names
from profiles.models import (
    BlockingKey,
    Channel,
    ConsentChange,
    Identifier,
    ImportRun,
    Profile,
    Source,
    SourceRecord,
)
from tenants.network.models import Store
from tenants.scoping import whole_network

CREATED, CORRECTED, UNCHANGED, REJECTED = "created", "corrected", "unchanged", "rejected"
DIFFERENT_FIRST_NAME = "other"
LONGEST_ID = 80
LONGEST_CARD = 40


@dataclass(frozen=True)
class ConsentStatement:
    """A yes or no for a channel, as a source tells it; `at` falls back on the time of the statement."""

    channel: str
    granted: bool
    at: datetime | None = None
    wording: str = ""


@dataclass(frozen=True)
class Statement:
    """What a source says about one person. `fields` holds its words under our names (first_name, last_name,
    birth_date, email, phone, street, postcode, city, card, customer_id), `raw` the row exactly as received."""

    external_id: str
    fields: dict[str, str]
    raw: dict
    stated_at: datetime | None = None
    store_code: str = ""
    consents: Sequence[ConsentStatement] = ()
    line: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a statement. `corrected`: taken in, but a value was unusable; `column` and `reason` name it."""

    line: int | None
    verdict: str
    column: str = ""
    reason: str = ""
    record_id: int | None = None
    profile_id: int | None = None


@dataclass
class _Clean:
    """A statement in comparable form."""

    statement: Statement
    content_hash: str
    stated_at: datetime
    store: Store | None
    comparable: Comparable
    values: dict
    email: normalise.Email | None
    correction: tuple[str, str] | None
    record: SourceRecord | None = None
    verdict: str = CREATED
    profile: Profile | None = None


class _Refused(ValueError):
    def __init__(self, column: str, reason: str):
        super().__init__(reason)
        self.column, self.reason = column, reason


@transaction.atomic
def take_in_records(
    source: Source, statements: Sequence[Statement], import_run: ImportRun | None = None
) -> list[Outcome]:
    """Take statements in, all of them or (on an exception) none; one outcome each, in order.

    The same statement again is `unchanged`. A statement that cannot be used is `rejected` with the column and the
    reason, and does not keep the others out.
    """
    now = timezone.now()
    with whole_network():
        stores = {store.code: store for store in Store.objects.all()}
        outcomes: dict[int, Outcome] = {}
        clean: list[tuple[int, _Clean]] = []
        for position, statement in enumerate(statements):
            try:
                clean.append((position, _cleaned(statement, source, stores, now)))
            except _Refused as refusal:
                outcomes[position] = Outcome(statement.line, REJECTED, refusal.column, refusal.reason)
        _attach(source, [item for _position, item in clean])
        living = Profile.hold(item.profile.pk for _position, item in clean)
        for _position, item in clean:
            item.profile = living[item.profile.pk]
        _write(source, [item for _position, item in clean], import_run, now)
        touched = {item.profile.pk for _position, item in clean if item.verdict != UNCHANGED}
        survivorship.refresh(touched)
        facts.note_stores(touched)
        facts.refresh(touched)
        for position, item in clean:
            column, reason = item.correction or ("", "")
            outcomes[position] = Outcome(
                item.statement.line, item.verdict, column, reason, item.record.pk, item.profile.pk
            )
    return [outcomes[position] for position in range(len(statements))]


def _cleaned(statement: Statement, source: Source, stores: dict[str, Store], now: datetime) -> _Clean:
    fields = statement.fields
    if not statement.external_id.strip():
        raise _Refused("external_id", _("the row has no id at its source"))
    if len(statement.external_id) > LONGEST_ID:
        raise _Refused("external_id", _("an id has at most %s characters") % LONGEST_ID)
    if statement.store_code and statement.store_code not in stores:
        raise _Refused("store_code", _("unknown store «%s»") % statement.store_code)
    for column, value in [*fields.items(), *statement.raw.items()]:
        if "\x00" in str(value):
            raise _Refused(column, _("the character U+0000 is no text"))
    correction = None
    card = normalise.card(fields.get("card", "")) or ""
    for column, told, longest in (
        ("customer_id", fields.get("customer_id", ""), LONGEST_ID),
        ("card", card, LONGEST_CARD),
    ):
        if len(told) > longest:
            correction = (column, _("an id has at most %s characters") % longest)
            fields = fields | {column: ""}
    store = stores.get(statement.store_code)
    region = store.phone_region if store else "FR"
    said = Comparable.from_fields(fields, record_id=0, source=source.code, region=region)
    # Blocked values stay in the record, and are no identifier and no blocking key.
    comparable = blocklist.current().without(said)
    email = normalise.email(fields.get("email", ""))
    values = {
        "first_name": (normalise.first_name(fields.get("first_name", "")) or "")[:80],
        "last_name": (normalise.last_name(fields.get("last_name", "")) or "")[:80],
        "birth_date": comparable.birth_date,
        "email": email.address if email else "",
        "phone": said.phone,
        "street": " ".join(fields.get("street", "").split())[:160] if comparable.street else "",
        "postcode": comparable.postcode[:12],
        "city": " ".join(fields.get("city", "").split())[:80] if comparable.city else "",
        "card": said.card[:40],
    }
    if not any(values[name] for name in ("first_name", "last_name", "email", "phone", "card")):
        raise _Refused("", _("the row holds no usable name, e-mail, phone or card"))
    return _Clean(
        statement=statement,
        content_hash=_content_hash(statement),
        stated_at=min(statement.stated_at or now, now),
        store=store,
        comparable=comparable,
        values=values,
        email=email,
        correction=correction or _correction(fields, values),
    )


def _correction(fields: dict[str, str], values: dict) -> tuple[str, str] | None:
    """The first column whose value could not be used, and why; its raw form is kept all the same."""
    reasons = {
        "email": _("«%s» is no usable e-mail address"),
        "phone": _("«%s» is no usable phone number"),
        "birth_date": _("«%s» is no usable birth date"),
        "postcode": _("«%s» is no usable postcode"),
        "card": _("«%s» is no usable card number"),
    }
    for column, reason in reasons.items():
        given = fields.get(column, "").strip()
        if given and not values[column]:
            return column, reason % given[:60]
    return None


def _content_hash(statement: Statement) -> str:
    told = [
        statement.raw or statement.fields,
        statement.store_code,
        [(c.channel, c.granted, c.at and c.at.isoformat(), c.wording) for c in statement.consents],
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _attach(source: Source, items: list[_Clean]) -> None:
    """Give each statement its profile: that of the same id, else that of the same card, else a new one."""
    known: dict[str, dict[str, SourceRecord]] = {}
    for record in SourceRecord.objects.filter(
        source=source, external_id__in={item.statement.external_id for item in items}
    ).select_related("profile"):
        known.setdefault(record.external_id, {})[record.content_hash] = record
    holders = _holders_of_cards({item.comparable.card for item in items} - {""})
    of_id: dict[str, Profile] = {
        external_id: next(iter(versions.values())).profile for external_id, versions in known.items()
    }
    newborn: list[Profile] = []
    for item in items:
        external_id = item.statement.external_id
        item.record = known.get(external_id, {}).get(item.content_hash)
        if item.record:
            item.profile, item.verdict = item.record.profile, UNCHANGED
            continue
        profile = of_id.get(external_id) or _holder(item.comparable, holders)
        if profile is None:
            profile = Profile(created_at=item.stated_at)
            newborn.append(profile)
        item.profile = of_id[external_id] = profile
        if item.correction:
            item.verdict = CORRECTED
        if item.comparable.card:
            holders.setdefault(item.comparable.card, []).append((item.comparable.first_name, profile))
        item.record = SourceRecord(source=source, external_id=external_id, profile=profile)
        known.setdefault(external_id, {})[item.content_hash] = item.record
    Profile.objects.bulk_create(newborn)


def _holders_of_cards(cards: set[str]) -> dict[str, list[tuple[str, Profile]]]:
    holders: dict[str, list[tuple[str, Profile]]] = {}
    shown = Identifier.objects.filter(kind=Identifier.Kind.CARD, key__in=cards)
    for identifier in shown.select_related("record", "profile").order_by("profile", "pk"):
        name = normalise.name_key(identifier.record.first_name)
        holders.setdefault(identifier.key, []).append((name, identifier.profile))
    return holders


def _holder(comparable: Comparable, holders: dict[str, list[tuple[str, Profile]]]) -> Profile | None:
    """The person who holds the same card, unless the first names say that two persons share it."""
    same_card = holders.get(comparable.card, [])
    if any(compare_first_names(n, comparable.first_name) == DIFFERENT_FIRST_NAME for n, _holder in same_card):
        return None
    return same_card[0][1] if same_card else None


def _write(source: Source, items: list[_Clean], import_run: ImportRun | None, now: datetime) -> None:
    fresh = [item for item in items if item.verdict != UNCHANGED]
    for item in fresh:
        record = item.record
        record.content_hash, record.raw = item.content_hash, item.statement.raw or dict(item.statement.fields)
        record.received_at, record.stated_at = now, item.stated_at
        record.store, record.import_run, record.line = item.store, import_run, item.statement.line
        record.profile = item.profile
        for name, value in item.values.items():
            setattr(record, name, value)
    SourceRecord.objects.bulk_create([item.record for item in fresh], batch_size=500)
    identifiers, keys, consents = [], [], []
    for item in fresh:
        identifiers += _identifiers(item)
        keys += [BlockingKey(record=item.record, key=key[:120]) for key in blocking_keys(item.comparable)]
        consents += _consents(item, source)
    Identifier.objects.bulk_create(identifiers, batch_size=2000)
    BlockingKey.objects.bulk_create(keys, batch_size=5000)
    ConsentChange.objects.bulk_create(consents, batch_size=2000, ignore_conflicts=True)


def _identifiers(item: _Clean) -> list[Identifier]:
    comparable = item.comparable
    found = [
        (Identifier.Kind.EMAIL, item.values["email"], comparable.email),
        (Identifier.Kind.PHONE, comparable.phone, comparable.phone),
        (Identifier.Kind.CARD, comparable.card, comparable.card),
        *((Identifier.Kind.CUSTOMER, number, number) for number in sorted(comparable.customer_ids)),
    ]
    return [
        Identifier(
            record=item.record, profile=item.profile, kind=kind, value=value, key=key,
            first_seen=item.stated_at, last_seen=item.stated_at,
        )
        for kind, value, key in found
        if key
    ]  # fmt: skip


def _consents(item: _Clean, source: Source) -> list[ConsentChange]:
    # Of a yes and a no in one statement the no is kept: it comes first, and a channel is told once a record and time.
    told = sorted(item.statement.consents, key=lambda consent: consent.granted)
    return [
        ConsentChange(
            profile=item.profile, record=item.record, channel=consent.channel, granted=consent.granted,
            at=min(consent.at or item.stated_at, item.record.received_at), wording=consent.wording[:500],
            actor=source.name,
        )
        for consent in told
        if consent.channel in Channel.values
    ]  # fmt: skip
