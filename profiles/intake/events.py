"""The one door for events: taken in once, given to whom they belong, and nothing of them lost.

Each event that is sent ends as one of four: accepted, known already, in quarantine with the reason, or rejected, which
only what cannot be an event at all is. A property that the dictionary does not know is kept apart on its event.

Locks, always in this order: the devices of the batch, the source where a new person is made, the people, the notes of
unknown properties, events. Two batches of one device therefore take turns, and the second one sees the first one's
identifications.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import F, OuterRef, Q, Subquery
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from profiles import blocklist, normalise, survivorship
from profiles.behaviour import Identification, Property, belongs_to, fits, reach, sort_properties
from profiles.intake.event_dictionary import Word, words
from profiles.intake.people import LONGEST_ID, Statement, source_of_tills, take_in_records
from profiles.intake.purchases import CLOCK_SKEW, OLDEST, Shown, key_in, people_by_key
from profiles.models import (
    Device,
    Event,
    EventChannel,
    EventProperty,
    EventTally,
    EventType,
    Identifier,
    Profile,
    QuarantinedEvent,
    Site,
    Source,
    UnknownProperty,
)
from tenants.calendar import brand_today
from tenants.network.models import Staff, Store, Till, audit
from tenants.scoping import whole_network

ACCEPTED, KNOWN, QUARANTINED, REJECTED = "accepted", "known", "quarantined", "rejected"
MOST_EVENTS = 500
LARGEST_EVENT = 16 * 1024
MOST_PROPERTIES = 60
LONGEST_NAME = 200
# Open notes of unknown properties, for each type of event.
MOST_NOTES = 200
LONGEST_SAMPLE = 200
# By which nobody becomes known: a customer number is its source's to tell, a wallet pass is somebody's or was.
MAKE_NOBODY = frozenset({Identifier.Kind.CUSTOMER, Identifier.Kind.PASS})
RELEASED_AT_ONCE = 500
CHANNELS = frozenset(EventChannel.values)

Reason = QuarantinedEvent.Reason


@dataclass(frozen=True)
class Sender:
    """Who sends: a site with its source, or a till, whose store every event of it happened in."""

    source: Source
    site: Site | None = None
    store: Store | None = None

    @classmethod
    def of_site(cls, site: Site) -> "Sender":
        return cls(site.source, site=site)

    @classmethod
    def of_till(cls, till: Till) -> "Sender":
        return cls(source_of_tills(), store=till.store)

    @property
    def region(self) -> str:
        return self.store.phone_region if self.store else "FR"

    @property
    def channel(self) -> str:
        return self.site.kind if self.site else EventChannel.STORE


@dataclass(frozen=True)
class EventStatement:
    """An event as it was told. `shown` makes it an identification; without a `channel` it is the sender's own."""

    event_id: str
    type: str
    at: datetime
    device: str = ""
    channel: str = ""
    store_code: str = ""
    shown: Shown | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """Why something is no event, or waits in quarantine: a stable code, a sentence, the field at fault."""

    code: str
    detail: str
    field: str = ""
    event_id: str = ""


@dataclass(frozen=True)
class EventOutcome:
    """What became of one event. `refusal` tells why it is in quarantine or rejected."""

    event_id: str
    verdict: str
    refusal: Refusal | None = None


@dataclass
class _Draft:
    """An event on its way in."""

    statement: EventStatement
    content_hash: str
    received_at: datetime
    word: Word
    store: Store | None
    channel: str
    key: str
    properties: dict[str, Any]
    unknown: dict[str, Any]


class _Wait(Exception):
    """The event goes to quarantine."""

    def __init__(self, reason: str, place: str = "", wanted: str = ""):
        super().__init__(reason)
        self.reason, self.place, self.wanted = reason, place, wanted


# --- Taking in --------------------------------------------------------------------------------------------------------


@transaction.atomic
def record_events(sender: Sender, told: Sequence[EventStatement | Refusal]) -> list[EventOutcome]:
    """Take events in, all of them or (on an exception) none; one outcome each, in order.

    A `Refusal` among them stands for what could not even be read as an event: it is counted as rejected. An event whose
    id was sent before is known already, or rejected with `event_conflict` if its content is another one.
    """
    now = timezone.now()
    outcomes: dict[int, EventOutcome] = {}
    with whole_network():
        sound: list[tuple[int, EventStatement]] = []
        for position, one in enumerate(told):
            refusal = one if isinstance(one, Refusal) else _impossible(one, now)
            if refusal or isinstance(one, Refusal):
                outcomes[position] = EventOutcome(one.event_id, REJECTED, refusal)
            else:
                sound.append((position, one))
        seen = _seen(sender.source, [statement.event_id for _position, statement in sound])
        fresh: list[tuple[int, EventStatement, str]] = []
        for position, statement in sound:
            content = content_hash(statement)
            if statement.event_id in seen:
                outcomes[position] = _seen_before(statement, seen[statement.event_id] == content)
                continue
            seen[statement.event_id] = content
            fresh.append((position, statement, content))
        drafts, waiting = _judge(sender, fresh, now)
        waiting |= _take_in(sender, drafts)
        for position, statement, _content in fresh:
            refusal = _refusal(waiting[position], statement) if position in waiting else None
            outcomes[position] = EventOutcome(
                statement.event_id, QUARANTINED if refusal else ACCEPTED, refusal
            )
        QuarantinedEvent.objects.bulk_create(
            _quarantined(sender, statement, content, waiting[position], now)
            for position, statement, content in fresh
            if position in waiting
        )
        answers = [outcomes[position] for position in range(len(told))]
        _note_receipt(sender, now, accepted=any(a.verdict != REJECTED for a in answers))
        _count(sender.source, Counter(answer.verdict for answer in answers))
    return answers


def _impossible(statement: EventStatement, now: datetime) -> Refusal | None:
    """Why this can be no event at all; None if it can."""

    def refuse(code: str, detail: str, place: str) -> Refusal:
        return Refusal(code, detail, place, statement.event_id[:64])

    if not statement.event_id.strip() or len(statement.event_id) > 64:
        return refuse("invalid_id", _("an event has an id of 1 to 64 characters"), "id")
    if not statement.type.strip() or len(statement.type) > 60:
        return refuse("invalid_type", _("the type of an event has 1 to 60 characters"), "type")
    if statement.at.tzinfo is None:
        return refuse("time_without_zone", _("the time needs a zone, e.g. +02:00"), "at")
    try:
        age = now - statement.at
    except OverflowError:
        return refuse("implausible_date", _("the year %s cannot be right") % statement.at.year, "at")
    if -age > CLOCK_SKEW:
        return refuse("future_date", _("the event lies in the future"), "at")
    if age > OLDEST:
        return refuse("past_date", _("the event lies more than ten years back"), "at")
    if len(statement.device) > 64:
        return refuse("invalid_device", _("the id of a device has at most 64 characters"), "device")
    if len(statement.properties) > MOST_PROPERTIES:
        return refuse("too_large", _("an event has at most %s properties") % MOST_PROPERTIES, "properties")
    for name in statement.properties:
        if not name.strip() or len(name) > LONGEST_NAME:
            return refuse(
                "too_large", _("the name of a property has 1 to %s characters") % LONGEST_NAME, "properties"
            )
    return None


def content_hash(statement: EventStatement) -> str:
    """Fingerprint of an event: the same id with another one is a conflict, not a repeat."""
    told = [
        statement.type, statement.at.timestamp(), statement.device, statement.channel, statement.store_code,
        [statement.shown.kind, statement.shown.value] if statement.shown else None, dict(statement.properties),
    ]  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(told, order="deterministic")).hexdigest()


def _seen(source: Source, ids: list[str]) -> dict[str, str]:
    """id -> fingerprint of the events that this source has sent before."""
    return {
        event_id: content
        for model in (Event, QuarantinedEvent)
        for event_id, content in model.objects.filter(source=source, event_id__in=ids).values_list(
            "event_id", "content_hash"
        )
    }


def _seen_before(statement: EventStatement, same: bool) -> EventOutcome:
    if same:
        return EventOutcome(statement.event_id, KNOWN)
    told = _("event «%s» was sent before with another content") % statement.event_id
    return EventOutcome(
        statement.event_id, REJECTED, Refusal("event_conflict", told, "id", statement.event_id)
    )


def _judge(
    sender: Sender, fresh: list[tuple[int, EventStatement, str]], received_at: datetime
) -> tuple[dict[int, _Draft], dict[int, _Wait]]:
    """What the dictionary makes of each event: a draft, or why it waits."""
    dictionary = words() if fresh else {}
    codes = {statement.store_code for _position, statement, _content in fresh} - {""}
    stores = {store.code: store for store in Store.objects.filter(code__in=codes)} if codes else {}
    drafts: dict[int, _Draft] = {}
    waiting: dict[int, _Wait] = {}
    for position, statement, content in fresh:
        try:
            word, store = _found(sender, statement, dictionary, stores)
            drafts[position] = _draft(
                sender, statement, word, store, content_hash=content, received_at=received_at
            )
        except _Wait as wait:
            waiting[position] = wait
    return drafts, waiting


def _found(
    sender: Sender, statement: EventStatement, dictionary: dict[str, Word], stores: dict[str, Store]
) -> tuple[Word, Store | None]:
    """The event's type and store. A till speaks for its own store alone."""
    word = dictionary.get(statement.type)
    if word is None:
        raise _Wait(Reason.UNKNOWN_TYPE, "type")
    if not word.type.is_active:
        raise _Wait(Reason.INACTIVE_TYPE, "type")
    store = sender.store or stores.get(statement.store_code)
    if statement.store_code and (store is None or store.code != statement.store_code):
        raise _Wait(Reason.UNKNOWN_STORE, "store")
    return word, store


def _draft(
    sender: Sender,
    statement: EventStatement,
    word: Word,
    store: Store | None,
    *,
    content_hash: str,
    received_at: datetime,
) -> _Draft:
    channel = statement.channel or sender.channel
    if channel not in CHANNELS:
        raise _Wait(Reason.UNKNOWN_CHANNEL, "channel")
    key = ""
    if statement.shown:
        key = _key_of(statement.shown, sender)
        # What is blocked is nobody's: neither may it make a person, nor find one.
        if not key or blocklist.current().blocks(statement.shown.kind, key):
            raise _Wait(Reason.INVALID_IDENTIFIER, f"identity.{statement.shown.kind}")
    known, unknown, misfit = sort_properties(statement.properties, word.properties)
    if misfit:
        raise _Wait(misfit.code, f"properties.{misfit.name}", misfit.wanted)
    return _Draft(statement, content_hash, received_at, word, store, channel, key, known, unknown)


def _key_of(shown: Shown, sender: Sender) -> str:
    """The comparable form of what the event shows; "" where it is unusable. A customer number is its source's own."""
    if shown.kind == Identifier.Kind.CUSTOMER:
        number = normalise.customer_id(shown.value) if len(shown.value) <= LONGEST_ID else None
        return f"{sender.source.code}:{number}" if number else ""
    return key_in(shown, sender.region)


def _take_in(sender: Sender, drafts: dict[int, _Draft]) -> dict[int, _Wait]:
    """Write the drafts as events, and attach what is anonymous; returns those that must wait after all."""
    if not drafts:
        return {}
    devices = _devices(sender.source, {d.statement.device: d.received_at for d in drafts.values()})
    people = _people(sender, list(drafts.values()))
    waiting = {
        position: _not_known(draft)
        for position, draft in drafts.items()
        if draft.key and _identifier(draft) not in people
    }
    ready = [draft for position, draft in drafts.items() if position not in waiting]
    shown = [draft for draft in ready if draft.key]
    mute = [draft for draft in ready if not draft.key]
    before = _identifications(devices.values(), people)
    apart = _noted_apart(ready)
    proofs = [_event(sender, draft, devices, people.get(_identifier(draft))) for draft in shown]
    Event.objects.bulk_create(proofs)
    of_device = defaultdict(list, before)
    for draft, proof in zip(shown, proofs, strict=True):
        if proof.device_id:
            of_device[proof.device_id].append(
                Identification(proof.at, proof.event_id, proof.pk, people[_identifier(draft)])
            )
    for identifications in of_device.values():
        identifications.sort()
    _attach_earlier(of_device, {proof.pk for proof in proofs})
    events = []
    for draft in mute:
        event = _event(sender, draft, devices, None)
        owner = belongs_to(event.at, of_device.get(event.device_id, ())) if event.device_id else None
        if owner:
            event.profile_id, event.proof_id = owner.profile_id, owner.pk
        events.append(event)
    Event.objects.bulk_create(events)
    _settle(apart)
    # Who confirmed an address by what they did is reached by that one.
    survivorship.refresh(
        people[_identifier(draft)] for draft in shown if draft.word.type.code in survivorship.VERIFYING
    )
    return waiting


def _event(sender: Sender, draft: _Draft, devices: dict[str, int], profile_id: int | None) -> Event:
    return Event(
        source_id=sender.source.pk, event_id=draft.statement.event_id, type_id=draft.word.type.pk,
        at=draft.statement.at, received_at=draft.received_at, site_id=sender.site and sender.site.pk,
        store_id=draft.store and draft.store.pk, channel=draft.channel,
        device_id=devices.get(draft.statement.device), profile_id=profile_id,
        identified_by=":".join(_identifier(draft)) if draft.key else "", properties=draft.properties,
        unknown=draft.unknown, content_hash=draft.content_hash,
    )  # fmt: skip


def _devices(source: Source, told: dict[str, datetime]) -> dict[str, int]:
    """key -> id of the devices, made where they are new, and held until the transaction ends."""
    keys = sorted(key for key in told if key)
    if not keys:
        return {}
    held = Device.objects.select_for_update(no_key=True).filter(source=source, key__in=keys).order_by("pk")
    found = {device.key: device.pk for device in held}
    if len(found) < len(keys):
        Device.objects.bulk_create(
            (Device(source=source, key=key, first_received_at=told[key]) for key in keys if key not in found),
            ignore_conflicts=True,
        )
        found = {device.key: device.pk for device in held.all()}
    return found


def _not_known(draft: _Draft) -> _Wait:
    if _identifier(draft)[0] == Identifier.Kind.PASS:
        return _Wait(Reason.INVALID_IDENTIFIER, "identity.card")
    return _Wait(Reason.UNKNOWN_CUSTOMER, "identity.customer")


def _identifier(draft: _Draft) -> tuple[str, str]:
    return (draft.statement.shown.kind, draft.key) if draft.statement.shown else ("", "")


def _people(sender: Sender, drafts: list[_Draft]) -> dict[tuple[str, str], int]:
    """(kind, key) -> the person of each identification. Whoever is new is known from the first one on, but for a
    customer number, which nobody is known by until its source has told us of the customer, and a wallet pass, which
    is somebody's or was."""
    first: dict[tuple[str, str], _Draft] = {}
    for draft in sorted((d for d in drafts if d.key), key=lambda d: (d.statement.at, d.statement.event_id)):
        first.setdefault(_identifier(draft), draft)
    if not first:
        return {}
    people = people_by_key(first)
    strangers = [who for who in first if who not in people and who[0] not in MAKE_NOBODY]
    if strangers:
        # Of two senders that show the same stranger at once, the second waits here and then finds the first's.
        Source.objects.select_for_update(no_key=True).get(pk=sender.source.pk)
        people = people_by_key(first)
        strangers = [who for who in strangers if who not in people]
        taken = take_in_records(sender.source, [_stranger(sender, who, first[who]) for who in strangers])
        people |= {
            who: outcome.profile_id
            for who, outcome in zip(strangers, taken, strict=True)
            if outcome.profile_id
        }
    return people


def _stranger(sender: Sender, who: tuple[str, str], draft: _Draft) -> Statement:
    kind, key = who
    external_id = f"{kind}:{key}"
    if len(external_id) > LONGEST_ID:
        external_id = f"{kind}:{hashlib.sha256(key.encode()).hexdigest()}"
    value = draft.statement.shown.value if draft.statement.shown else ""
    return Statement(
        external_id=external_id,
        fields={kind: value},
        raw={kind: value, "shown_at": str(sender.site or sender.store)},
        stated_at=draft.statement.at,
        # A page that all may write to does not make a store know somebody; a till does.
        store_code=sender.store.code if sender.store else "",
    )


def _identifications(
    devices: Iterable[int], people: dict[tuple[str, str], int]
) -> dict[int, list[Identification]]:
    """The identifications of the devices so far. Their people and the new ones are held; `people` follows merges."""
    ids = list(devices)
    rows = Event.objects.filter(device__in=ids, device__isnull=False).exclude(identified_by="").order_by()
    owners = set(rows.values_list("profile", flat=True).distinct()) if ids else set()
    living = Profile.hold(owners | set(people.values()))
    for who, profile_id in people.items():
        people[who] = living[profile_id].pk
    found = defaultdict(list)
    if owners:
        # Asked again now that their people are held: nobody is merged or separated any more.
        for pk, device, at, event_id, profile_id in rows.values_list(
            "pk", "device", "at", "event_id", "profile"
        ):
            found[device].append(Identification(at, event_id, pk, profile_id))
    return found


def _attach_earlier(of_device: Mapping[int, list[Identification]], fresh: set[int]) -> None:
    """Give the events that were here before to the new identifications that they belong to."""
    for device_id, identifications in of_device.items():
        for one in identifications:
            if one.pk not in fresh:
                continue
            bounds = reach(one, identifications)
            if bounds is None:
                continue
            begin, until = bounds
            rows = Event.objects.filter(device=device_id, identified_by="")
            if begin:
                rows = rows.filter(at__gte=begin)
            if until:
                rows = rows.filter(at__lt=until)
            rows.update(profile=one.profile_id, proof=one.pk)


def follow_proofs(profile_ids: Iterable[int]) -> None:
    """Give every event that another one proves to the person of its proof: after identifications have moved."""
    proofs = Event.objects.filter(pk=OuterRef("proof"))
    rows = Event.objects.filter(profile__in=list(profile_ids), proof__isnull=False)
    rows.update(profile=Subquery(proofs.values("profile")[:1]))


# --- What is kept apart -----------------------------------------------------------------------------------------------


def _noted_apart(drafts: list[_Draft]) -> dict[tuple[int, str], UnknownProperty]:
    """Note the properties that the dictionary does not know, for somebody to decide; the notes are held."""
    seen: Counter[tuple[int, str]] = Counter()
    samples: dict[tuple[int, str], _Draft] = {}
    for draft in drafts:
        for name in draft.unknown:
            seen[draft.word.type.pk, name] += 1
            samples.setdefault((draft.word.type.pk, name), draft)
    if not seen:
        return {}
    rows = _held_properties(seen)
    if len(rows) < len(seen):
        UnknownProperty.objects.bulk_create(
            (
                UnknownProperty(
                    event_type_id=type_id, name=name, first_seen=samples[type_id, name].received_at,
                    sample=_sample(samples[type_id, name].unknown[name]),
                )
                for type_id, name in _with_room(sorted(who for who in seen if who not in rows))
            ),
            ignore_conflicts=True,
        )  # fmt: skip
        rows = _held_properties(seen)
    for who, row in rows.items():
        row.seen += seen[who]
    return rows


def _with_room(names: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The names that may still be noted. A page's key is public, and nobody decides about thousands of names: beyond
    the limit a value stays on its event, without a note."""
    of_types = UnknownProperty.objects.filter(
        event_type__in={type_id for type_id, _name in names}, state=UnknownProperty.State.OPEN
    )
    noted = Counter(of_types.values_list("event_type", flat=True))
    chosen = []
    for type_id, name in names:
        if noted[type_id] < MOST_NOTES:
            noted[type_id] += 1
            chosen.append((type_id, name))
    return chosen


def _settle(rows: dict[tuple[int, str], UnknownProperty]) -> None:
    """Write the notes. Of a property that counts as added, either it was added while this batch was read, and the
    values go where they belong, or it was taken out of the dictionary again since, and is asked about anew."""
    for row in rows.values():
        if row.state == UnknownProperty.State.ADDED:
            entry = EventProperty.objects.filter(event_type=row.event_type_id, name=row.name).first()
            if entry:
                row.seen = max(row.seen - _release_values(row, entry.entry), 0)
            else:
                row.state = UnknownProperty.State.OPEN
    UnknownProperty.objects.bulk_update(rows.values(), ["seen", "state"])


def _held_properties(names: Iterable[tuple[int, str]]) -> dict[tuple[int, str], UnknownProperty]:
    wanted = Q()
    for type_id, name in names:
        wanted |= Q(event_type=type_id, name=name)
    held = UnknownProperty.objects.select_for_update(no_key=True).filter(wanted).order_by("pk")
    return {(row.event_type_id, row.name): row for row in held}


def _sample(value: Any) -> Any:
    told = msgspec.json.encode(value).decode()
    return value if len(told) <= LONGEST_SAMPLE else told[:LONGEST_SAMPLE] + "…"


@transaction.atomic
def add_to_dictionary(row: UnknownProperty, entry: EventProperty, by: Staff) -> tuple[int, int]:
    """Make the property a word of the dictionary, and put the values kept apart where they belong.

    Returns how many values were released, and how many do not fit the type and stay apart. Raises `ValidationError`
    where the dictionary cannot take the entry, e.g. because its name is none.
    """
    with whole_network():
        row = UnknownProperty.objects.select_for_update(no_key=True).get(pk=row.pk)
        entry.event_type_id, entry.name = row.event_type_id, row.name
        entry.full_clean()
        entry.save()
        row.state = UnknownProperty.State.ADDED
        released = _release_values(row, entry.entry)
        # Values from before there was room for the note were never counted in it.
        row.seen = max(row.seen - released, 0)
        row.save(update_fields=["state", "seen"])
        audit(by, "added", row, property=row.name, released=released)
    return released, row.seen


def _release_values(row: UnknownProperty, entry: Property) -> int:
    """Move the values of the property that fit from "kept apart" to the events' properties; returns how many."""
    waiting = Event.objects.filter(type=row.event_type_id, unknown__has_key=row.name).exclude(unknown={})
    released, last = 0, 0
    while events := list(
        waiting.filter(pk__gt=last).order_by("pk").only("properties", "unknown")[:RELEASED_AT_ONCE]
    ):
        moved = []
        for event in events:
            value = event.unknown[row.name]
            if value is None or fits(value, entry):
                del event.unknown[row.name]
                event.properties[row.name] = value
                moved.append(event)
        Event.objects.bulk_update(moved, ["properties", "unknown"])
        released, last = released + len(moved), events[-1].pk
    return released


def mended(event_type: EventType) -> tuple[int, int]:
    """Release what the dictionary takes now that somebody has changed a type: (values kept apart, events waiting)."""
    values = 0
    with whole_network():
        entries = {p.name: p.entry for p in event_type.properties.all()}
        for pk in UnknownProperty.objects.filter(event_type=event_type, name__in=entries).values_list(
            "pk", flat=True
        ):
            with transaction.atomic():
                row = UnknownProperty.objects.select_for_update(no_key=True).get(pk=pk)
                released = _release_values(row, entries[row.name])
                row.state, row.seen = UnknownProperty.State.ADDED, max(row.seen - released, 0)
                row.save(update_fields=["state", "seen"])
                values += released
    return values, release(event_type.code)[0]


@transaction.atomic
def ignore_property(row: UnknownProperty, by: Staff) -> None:
    """Ask no more about the property. Its values stay apart on their events, and it may be added later."""
    with whole_network():
        UnknownProperty.objects.filter(pk=row.pk).update(state=UnknownProperty.State.IGNORED)
        audit(by, "ignored", row, property=row.name)


# --- Quarantine -------------------------------------------------------------------------------------------------------


def _quarantined(
    sender: Sender, statement: EventStatement, content: str, wait: _Wait, now: datetime
) -> QuarantinedEvent:
    return QuarantinedEvent(
        source=sender.source, event_id=statement.event_id, site=sender.site, store=sender.store,
        type_code=statement.type, reason=wait.reason, field=wait.place, raw=_raw(statement), at=statement.at,
        received_at=now, content_hash=content,
    )  # fmt: skip


def _raw(statement: EventStatement) -> dict:
    shown = statement.shown
    return {
        "id": statement.event_id, "type": statement.type, "at": statement.at.isoformat(),
        "device": statement.device, "channel": statement.channel, "store": statement.store_code,
        "identity": {shown.kind: shown.value} if shown else {}, "properties": dict(statement.properties),
    }  # fmt: skip


def _told_by(row: QuarantinedEvent) -> EventStatement:
    raw = row.raw
    shown = next((Shown(kind, value) for kind, value in raw["identity"].items()), None)
    at = parse_datetime(raw["at"]) or row.at
    return EventStatement(
        raw["id"], raw["type"], at, raw["device"], raw["channel"], raw["store"], shown, raw["properties"]
    )


def _refusal(wait: _Wait, statement: EventStatement) -> Refusal:
    sentences = {
        Reason.UNKNOWN_TYPE: _("the dictionary has no event «%s»") % statement.type,
        Reason.INACTIVE_TYPE: _("the event «%s» is inactive") % statement.type,
        Reason.MISSING_PROPERTY: _("the property is required"),
        Reason.WRONG_TYPE: _("the property is of the type «%s»") % wait.wanted,
        Reason.UNKNOWN_STORE: _("there is no store «%s» for this sender") % statement.store_code[:60],
        Reason.UNKNOWN_CHANNEL: _("the channels are %s") % ", ".join(EventChannel.values),
        Reason.INVALID_IDENTIFIER: _("the identifier is not usable"),
        Reason.UNKNOWN_CUSTOMER: _("nobody has this customer number yet"),
    }
    return Refusal(wait.reason, sentences[Reason(wait.reason)], wait.place, statement.event_id)


def release(type_code: str = "", reason: str = "") -> tuple[int, int]:
    """Try the quarantined events again, of one type or of one reason or all: (released, still waiting).

    What the dictionary takes now becomes an event with its own dates; what it does not stays, with the reason of today.
    A chunk is one transaction.
    """
    released = left = last = 0
    with whole_network():
        waiting = QuarantinedEvent.objects.order_by("pk")
        if type_code:
            waiting = waiting.filter(type_code=type_code)
        if reason:
            waiting = waiting.filter(reason=reason)
        while ids := list(waiting.filter(pk__gt=last).values_list("pk", flat=True)[:RELEASED_AT_ONCE]):
            done, tried = _release_chunk(ids)
            released, left, last = released + done, left + tried - done, ids[-1]
    return released, left


@transaction.atomic
def _release_chunk(ids: list[int]) -> tuple[int, int]:
    held = QuarantinedEvent.objects.select_for_update(of=("self",)).filter(pk__in=ids).order_by("pk")
    rows = list(held.select_related("source", "site", "store"))
    senders: dict[tuple[int, int | None, int | None], list[QuarantinedEvent]] = defaultdict(list)
    for row in rows:
        senders[row.source_id, row.site_id, row.store_id].append(row)
    done: list[int] = []
    for group in senders.values():
        sender = Sender(group[0].source, group[0].site, group[0].store)
        drafts: dict[int, _Draft] = {}
        waiting: dict[int, _Wait] = {}
        for row in group:
            # Received when it was received, though taken in now.
            judged, refused = _judge(sender, [(row.pk, _told_by(row), row.content_hash)], row.received_at)
            drafts, waiting = drafts | judged, waiting | refused
        waiting |= _take_in(sender, drafts)
        for row in group:
            if row.pk in waiting:
                row.reason, row.field = waiting[row.pk].reason, waiting[row.pk].place
            else:
                done.append(row.pk)
    QuarantinedEvent.objects.bulk_update(rows, ["reason", "field"])
    QuarantinedEvent.objects.filter(pk__in=done).delete()
    return len(done), len(rows)


@transaction.atomic
def forget(profile: Profile) -> int:
    """Remove everything that a person did, and what waits under their identifiers: the deed of an erasure.

    To be asked before the identifiers go. Returns how many events went; a device without events goes at night.
    """
    with whole_network():
        profile = Profile.hold([profile.pk])[profile.pk]
        theirs = set(profile.identifiers.values_list("kind", "key"))
        named = QuarantinedEvent.objects.exclude(raw__identity={}).select_related("source", "site", "store")
        waiting = []
        for row in named.iterator(chunk_size=RELEASED_AT_ONCE):
            shown = _told_by(row).shown
            if shown and (shown.kind, _key_of(shown, Sender(row.source, row.site, row.store))) in theirs:
                waiting.append(row.pk)
        # What is proved goes before its proof.
        of_person = Event.objects.filter(profile=profile)
        gone = of_person.filter(proof__isnull=False).delete()[0] + of_person.delete()[0]
        return gone + QuarantinedEvent.objects.filter(pk__in=waiting).delete()[0]


# --- Counts -----------------------------------------------------------------------------------------------------------


def _note_receipt(sender: Sender, now: datetime, *, accepted: bool) -> None:
    if sender.site and accepted:
        Site.objects.filter(pk=sender.site.pk).update(last_event_at=now)


def _count(source: Source, verdicts: Counter[str]) -> None:
    """Add the batch to the day's tally: last of all, since every batch of the source writes the same row."""
    received = sum(verdicts.values())
    if not received:
        return
    day = brand_today()
    tally = EventTally.objects.filter(source=source, day=day)
    added = {name: F(name) + verdicts[name] for name in (ACCEPTED, KNOWN, QUARANTINED, REJECTED)}
    if not tally.update(received=F("received") + received, **added):
        EventTally.objects.bulk_create([EventTally(source=source, day=day)], ignore_conflicts=True)
        tally.update(received=F("received") + received, **added)
