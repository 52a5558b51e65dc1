"""What sources say about people: attached to a profile, kept for good.

Only certain identity is settled here: the same id at the same source, or the same loyalty card where neither first
names nor birth dates contradict each other. Everything else gets a profile of its own, and matching
(`profiles/recognition.py`) compares it with the others afterwards.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from operator import attrgetter
from typing import NamedTuple
from uuid import uuid4

from django.db import transaction
from django.db.models.functions import Coalesce, Greatest, Least
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles import blocklist, consent_history, facts, normalise, survivorship
from profiles.intake.cleaning import (
    LONGEST_ID,
    Block,
    Cleaner,
    ConsentStatement,
    Refused,
    Statement,
    Told,
    encode,
)
from profiles.intake.writing import draw_ids, write
from profiles.matching.levels import birth_dates_contradict, first_names_contradict
from profiles.models import (
    Channel,
    ConsentChange,
    Identifier,
    ImportRun,
    Profile,
    ProfileFacts,
    ProfileStore,
    Purchase,
    Source,
    SourceRecord,
)
from tenants.network.models import Store
from tenants.scoping import whole_network

CREATED, CORRECTED, UNCHANGED, REJECTED = "created", "corrected", "unchanged", "rejected"
CHANNELS = frozenset(Channel.values)
# Channels on which nobody is written to without a proven agreement; letters may be sent until somebody objects.
PROVEN = frozenset({Channel.EMAIL.value, Channel.SMS.value})
EMAIL, PHONE, CARD, CUSTOMER = (
    Identifier.Kind(kind).value for kind in ("email", "phone", "card", "customer")
)
# The source that stands for the tills themselves.
TILL_SOURCE = "till-api"


class SourceNotActive(RuntimeError):
    """Nobody has chosen yet how the source tells its customers apart."""

    def __init__(self, source: Source):
        told = _("the source «%s» is being set up: choose first what tells its customers apart") % source
        super().__init__(told)
        self.detail = told


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a statement. `corrected`: taken in, but a value was unusable; `column` and `reason` name it."""

    line: int | None
    verdict: str
    column: str = ""
    reason: str = ""
    record_id: int | None = None
    profile_id: int | None = None


@dataclass(slots=True)
class _Item:
    """A statement on its way in. `newborn`: nobody knew its person before this call. `is_again`: known already, but
    of another date."""

    told: Told
    record_id: int = 0
    profile_id: int = 0
    verdict: str = CREATED
    newborn: bool = False
    is_again: bool = False


def cleaner(source: Source) -> Cleaner:
    """What brings this source's statements into comparable form, by the stores and the clock of now."""
    with whole_network():
        return Cleaner(source, {store.code: store for store in Store.objects.all()}, timezone.now())


def take_in_records(
    source: Source, statements: Sequence[Statement], import_run: ImportRun | None = None
) -> list[Outcome]:
    """Take statements in, all of them or (on an exception) none; one outcome each, in order.

    The same statement again is `unchanged`. A statement that cannot be used is `rejected` with the column and the
    reason, and does not keep the others out.
    """
    return take_in(source, cleaner(source).clean(Block.of(statements)).statements(), import_run)


@transaction.atomic
def take_in(
    source: Source, statements: Sequence[Told | Refused], import_run: ImportRun | None = None
) -> list[Outcome]:
    """As `take_in_records`, for statements that are in comparable form already. Raises `SourceNotActive`.

    Of a file, a yes that is not proven (`is_proven`) is left out.
    """
    now = timezone.now()
    with whole_network():
        # Of two at once that tell of the same customer, the second waits here and then finds the first's.
        if not Source.objects.select_for_update(no_key=True).get(pk=source.pk).is_active:
            raise SourceNotActive(source)
        items = [_Item(told) for told in statements if isinstance(told, Told)]
        if import_run is not None:
            for item in items:
                if item.told.consents:
                    item.told.consents = list(filter(is_proven, item.told.consents))
        _attach(source, items)
        known = Profile.hold(item.profile_id for item in items if not item.newborn)
        for item in items:
            if not item.newborn:
                item.profile_id = known[item.profile_id].pk
        fresh = [item for item in items if item.verdict != UNCHANGED]
        _write_newborns(source, [item for item in fresh if item.newborn], now)
        _write(source, fresh, import_run, now)
        again = [item for item in items if item.is_again]
        _note_dates(source, again, import_run, now)
        touched = {item.profile_id for item in fresh if not item.newborn} | {
            item.profile_id for item in again
        }
        survivorship.refresh(touched)
        facts.note_stores(touched)
        facts.refresh(touched)
    done = iter(items)
    return [
        Outcome(told.line, REJECTED, told.column, told.reason)
        if isinstance(told, Refused)
        else _outcome(next(done))
        for told in statements
    ]


def _outcome(item: _Item) -> Outcome:
    column, reason = item.told.correction or ("", "")
    return Outcome(item.told.line, item.verdict, column, reason, item.record_id, item.profile_id)


def till_source() -> Source:
    """The source that stands for the tills themselves, held until the transaction ends: who makes a customer of an
    identifier asks again, once it is held, whether somebody else has."""
    return Source.objects.select_for_update(no_key=True).get(pk=source_of_tills().pk)


def source_of_tills() -> Source:
    """The same, not held."""
    source, _new = Source.objects.get_or_create(
        code=TILL_SOURCE, defaults={"name": "Till", "kind": Source.Kind.TILL, "trust": 40}
    )
    return source


@transaction.atomic
def tell_of_buyer(purchase: Purchase, kind: str, key: str) -> None:
    """Note, as the till's own word, what the buyer of a ticket showed: kind `card`, `phone` or `email`, and its key."""
    with whole_network():
        source = till_source()
        statement = Statement(
            external_id=f"{kind}:{key}"[:LONGEST_ID], fields={kind: key},
            raw={kind: key, "shown_at": str(purchase.till)}, stated_at=purchase.bought_at,
            store_code=purchase.till.store.code,
        )  # fmt: skip
        told = cleaner(source).clean(Block.of([statement])).statements()
        kept = SourceRecord.objects.filter(source=source, external_id=statement.external_id)
        known = set(kept.values_list("content_hash", flat=True))
        items = [
            _Item(t, profile_id=purchase.profile_id)
            for t in told
            if isinstance(t, Told) and t.content_hash not in known
        ]
        for item, record_id in zip(items, draw_ids(SourceRecord, len(items)), strict=True):
            item.record_id = record_id
        _write(source, items, None, timezone.now())


# --- Whose statement is it? -------------------------------------------------------------------------------------


def _attach(source: Source, items: list[_Item]) -> None:
    """Give each statement its profile: that of the same id, else that of the same card, else a new one."""
    known: dict[str, dict[str, tuple[int, int, datetime, datetime]]] = defaultdict(dict)
    rows = SourceRecord.objects.filter(
        source=source, external_id__in={item.told.external_id for item in items}
    ).values_list(
        "external_id", "content_hash", "pk", "profile", "stated_at", Coalesce("stated_again_at", "stated_at")
    )
    for external_id, content_hash, *row in rows.order_by("pk"):
        known[external_id][content_hash] = tuple(row)
    blocked = blocklist.current()
    # A card that is blocked is nobody's: nobody is known by it.
    cards = {card for item in items if (card := item.told.card) and not blocked.blocks(CARD, card)}
    holders = _holders_of_cards(cards)
    of_id = {external_id: next(iter(told.values()))[1] for external_id, told in known.items()}
    newborn: set[int] = set()
    ids = iter(draw_ids(SourceRecord, len(items)))
    unborn = iter(draw_ids(Profile, len(items) - sum(item.told.external_id in of_id for item in items)))
    for item in items:
        told = item.told
        versions = known[told.external_id]
        if told.content_hash in versions:
            item.record_id, item.profile_id, first, last = versions[told.content_hash]
            item.verdict = UNCHANGED
            item.newborn = item.profile_id in newborn
            # An undated one only says that nothing changed.
            item.is_again = told.is_dated and not first <= told.stated_at <= last
            continue
        if told.correction:
            item.verdict = CORRECTED
        profile_id = of_id.get(told.external_id) or (told.card in cards and _holder(told, holders)) or None
        if profile_id is None:
            profile_id = next(unborn)
            newborn.add(profile_id)
        item.newborn = profile_id in newborn
        item.record_id, item.profile_id = next(ids), profile_id
        of_id[told.external_id] = profile_id
        versions[told.content_hash] = item.record_id, profile_id, told.stated_at, told.stated_at
        if told.card in cards:
            holders[told.card].append(_Holder.of(profile_id, told.first_name, told.birth_date))


class _Holder(NamedTuple):
    """Who was told to hold a card, and what tells whether somebody else is meant."""

    profile_id: int
    first_name: str
    birth_date: str

    @classmethod
    def of(cls, profile_id: int, first_name: str, birth_date: date | None) -> "_Holder":
        born = birth_date.isoformat() if birth_date else ""
        return cls(profile_id, normalise.name_key(first_name), born)

    def is_another(self, than: "_Holder") -> bool:
        return first_names_contradict(self.first_name, than.first_name) or birth_dates_contradict(
            self.birth_date, than.birth_date
        )


def _holders_of_cards(cards: set[str]) -> dict[str, list[_Holder]]:
    """card -> its holders, who told it first standing first, whatever came in first."""
    holders: dict[str, list[_Holder]] = defaultdict(list)
    if cards:
        shown = Identifier.objects.filter(kind=Identifier.Kind.CARD, key__in=cards)
        for card, profile_id, name, born in shown.order_by("first_seen", "profile").values_list(
            "key", "profile", "record__first_name", "record__birth_date"
        ):
            holders[card].append(_Holder.of(profile_id, name, born))
    return holders


def _holder(told: Told, holders: Mapping[str, list[_Holder]]) -> int | None:
    """The person who holds the same card, unless first names or birth dates say that two persons share it."""
    same_card = holders.get(told.card)
    if not same_card:
        return None
    asked = _Holder.of(0, told.first_name, told.birth_date)
    if any(holder.is_another(asked) for holder in same_card):
        return None
    return same_card[0].profile_id


# --- What is written --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Newborn:
    """A profile before it is a row: what survivorship writes its values on."""

    first_name: str = ""
    last_name: str = ""
    birth_date: date | None = None
    email: str = ""
    phone: str = ""
    street: str = ""
    postcode: str = ""
    city: str = ""
    provenance: dict = field(default_factory=dict)


VALUES = ("first_name", "last_name", "birth_date", "email", "phone", "street", "postcode", "city")
_values_of = attrgetter(*VALUES)


def _write_newborns(source: Source, items: list[_Item], now: datetime) -> None:
    """The profiles that these statements make, with what hangs on a profile: all of it follows from the statements
    alone, since nobody else has said anything about these people."""
    by_profile: dict[int, list[_Item]] = defaultdict(list)
    for item in items:
        by_profile[item.profile_id].append(item)
    people, known, kept = [], [], []
    blocked = blocklist.current()
    for profile_id, said in by_profile.items():
        profile = _Newborn()
        records = [_said(source, item) for item in said]
        survivorship.unify(profile, survivorship.current_statements(records))
        shown = sorted({value for item in said for _kind, value, _key in _identifiers(item.told, blocked)})
        people.append(
            (
                profile_id, uuid4(), *_values_of(profile), encode(profile.provenance).decode(),
                survivorship.search_text(profile, shown), min(item.told.stated_at for item in said),
            )
        )  # fmt: skip
        stores: dict[int, datetime] = {}
        for item in said:
            if item.told.store_id:
                at = stores.get(item.told.store_id, item.told.stated_at)
                stores[item.told.store_id] = min(at, item.told.stated_at)
        known += [(profile_id, store_id, since) for store_id, since in stores.items()]
        kept.append((profile_id, said))
    write(Profile, ["id", "public_id", *VALUES, "provenance", "search_text", "created_at"], people)
    write(ProfileStore, ["profile_id", "store_id", "since"], known)
    write(ProfileFacts, facts.COLUMNS, _facts_of_newborns(source, kept, now))


def _said(source: Source, item: _Item) -> survivorship.Said:
    """The record, before it is a row."""
    told = item.told
    return survivorship.Said(
        item.record_id, source.pk, source, told.external_id, told.content_hash, told.stated_at,
        *_values_of(told),
    )  # fmt: skip


def _facts_of_newborns(
    source: Source, people: Iterable[tuple[int, list[_Item]]], now: datetime
) -> Iterable[list]:
    region_of = dict(Store.objects.values_list("pk", "region"))
    for profile_id, said in people:
        signed_up = [item for item in said if item.told.store_id]
        home = min(signed_up, key=lambda item: (item.told.stated_at, item.told.content_hash), default=None)
        store_id = home.told.store_id if home else None
        yield facts.of_stranger(profile_id, store_id, region_of.get(store_id), _allowed(source, said, now))


class _Answer(NamedTuple):
    granted: bool
    at: datetime
    record_id: int
    stream: tuple[int, str]


def _allowed(source: Source, said: Sequence[_Item], now: datetime) -> dict[str, bool]:
    """channel -> what holds of it, by what these statements say."""
    told: dict[str, list[_Answer]] = defaultdict(list)
    for item in said:
        stream = source.pk, item.told.external_id
        for channel, granted, at, _wording in _consents(item.told, now):
            told[channel].append(_Answer(granted, at, item.record_id, stream))
    return {
        channel: consent_history.settle(sorted(changes, key=lambda c: (c.at, not c.granted))).granted
        for channel, changes in told.items()
    }


def _write(source: Source, items: list[_Item], import_run: ImportRun | None, now: datetime) -> None:
    run_id = import_run.pk if import_run else None
    blocked = blocklist.current()
    write(
        SourceRecord,
        [
            "id", "source_id", "external_id", "content_hash", "received_at", "stated_at", "store_id",
            "import_run_id", "line", "profile_id", "raw", *VALUES, "card",
        ],
        (
            (
                item.record_id, source.pk, told.external_id, told.content_hash, now, told.stated_at, told.store_id,
                run_id, told.line, item.profile_id, told.raw.decode(),
                *_values_of(told), told.card,
            )
            for item in items
            for told in (item.told,)
        ),
    )  # fmt: skip
    write(
        Identifier,
        ["record_id", "profile_id", "kind", "value", "key", "first_seen", "last_seen"],
        (
            (item.record_id, item.profile_id, kind, value, key, item.told.stated_at, item.told.stated_at)
            for item in items
            for kind, value, key in _identifiers(item.told, blocked)
        ),
    )
    write(
        ConsentChange,
        ["profile_id", "record_id", "import_run_id", "channel", "granted", "at", "wording", "actor"],
        (
            (item.profile_id, item.record_id, run_id, channel, granted, at, wording, source.name)
            for item in items
            for channel, granted, at, wording in _consents(item.told, now)
        ),
    )


def _note_dates(source: Source, items: list[_Item], import_run: ImportRun | None, now: datetime) -> None:
    """A source said the same of another date: since when, and how lately, is what the record and its identifiers know.
    The consents in it were given, or refused, once more."""
    dates: dict[int, list[datetime]] = defaultdict(list)
    for item in items:
        dates[item.record_id].append(item.told.stated_at)
    for record_id, told in sorted(dates.items()):
        first, last = min(told), max(told)
        SourceRecord.objects.filter(pk=record_id).update(
            stated_at=Least("stated_at", first),
            stated_again_at=Greatest(Coalesce("stated_again_at", "stated_at"), last),
        )
        Identifier.objects.filter(record=record_id).update(
            first_seen=Least("first_seen", first), last_seen=Greatest("last_seen", last)
        )
    ConsentChange.objects.bulk_create(
        [
            ConsentChange(
                profile_id=item.profile_id, record_id=item.record_id, import_run=import_run, channel=channel,
                granted=granted, at=at, wording=wording, actor=source.name,
            )
            for item in items
            for channel, granted, at, wording in _consents(item.told, now)
        ],
        ignore_conflicts=True,
    )  # fmt: skip


def _identifiers(told: Told, blocked: blocklist.Blocklist) -> list[tuple[str, str, str]]:
    found = (
        (EMAIL, told.email, told.email_key),
        (PHONE, told.phone, told.phone),
        (CARD, told.card, told.card),
        (CUSTOMER, told.customer_id, told.customer_id),
    )
    return [told for told in found if told[2] and not blocked.blocks(told[0], told[2])]


def is_proven(consent: ConsentStatement) -> bool:
    """Whether a file may say this: a yes to e-mails or text messages only with the words that were shown."""
    return not consent.granted or consent.channel not in PROVEN or bool(consent.wording.strip())


def _consents(told: Told, received_at: datetime) -> list[tuple[str, bool, datetime, str]]:
    """[(channel, granted, at, wording)]: of a yes and a no in one statement and moment the no is kept."""
    kept: dict[tuple[str, datetime], tuple[str, bool, datetime, str]] = {}
    for consent in told.consents:
        if consent.channel in CHANNELS:
            at = min(consent.at or told.stated_at, received_at)
            before = kept.get((consent.channel, at))
            if before is None or before[1]:
                kept[consent.channel, at] = consent.channel, consent.granted, at, consent.wording[:500]
    return list(kept.values())
