"""Statements in comparable form: each value normalised, what is unusable left out and named, what says nobody refused.

Works a column at a time. A file holds the same first names, towns and days over and over, so most columns cost one
look-up a row; a statement told alone goes through the same columns, of length one.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from itertools import compress, count
from operator import not_
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from profiles import normalise, pass_numbers
from profiles.models import Source
from tenants.calendar import brand_zone
from tenants.network.models import Store

LONGEST_ID = 80
LONGEST_CARD = 40
# Values of which a file holds few: those beyond are forgotten, so that memory stays bounded whatever comes.
REMEMBERED = 50_000

FIELDS = (
    "first_name", "last_name", "birth_date", "email", "phone", "street", "postcode", "city", "card", "customer_id",
)  # fmt: skip
# A row without any of these says nothing about anybody.
TELLING = ("first_name", "last_name", "email", "phone", "card")

encode = msgspec.json.Encoder().encode


class ConsentStatement(msgspec.Struct, frozen=True, array_like=True):
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


@dataclass
class Block:
    """Statements of one source, a list for each of their parts, all equally long.

    `raw` holds the rows as received, in JSON. `reading` says how they were read: the same row read another way is
    another statement. `refused` holds what reading found already: position -> (field, reason).
    """

    lines: Sequence[int | None]
    external_ids: list[str]
    fields: dict[str, list[str]]
    raw: list[bytes]
    stated_at: list[datetime | None]
    store_codes: list[str]
    consents: list[Sequence[ConsentStatement]]
    reading: Sequence[bytes]
    refused: dict[int, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, statements: Sequence[Statement]) -> "Block":
        block = cls(
            lines=[s.line for s in statements],
            external_ids=[s.external_id for s in statements],
            fields={name: [s.fields.get(name) or "" for s in statements] for name in FIELDS},
            raw=[encode(s.raw or s.fields) for s in statements],
            stated_at=[s.stated_at for s in statements],
            store_codes=[s.store_code for s in statements],
            consents=[s.consents for s in statements],
            reading=[encode([sorted(s.fields.items()), s.store_code, list(s.consents)]) for s in statements],
        )
        for position, s in enumerate(statements):
            for column, value in [*s.fields.items(), *s.raw.items()]:
                if "\x00" in str(value):
                    block.refused[position] = column, _("the character U+0000 is no text")
        return block


@dataclass(slots=True)
class Told:
    """A statement in comparable form. `is_dated`: the source said itself when it stated it. `correction` names a column
    whose value was unusable, and why."""

    line: int | None
    external_id: str
    content_hash: str
    stated_at: datetime
    store_id: int | None
    first_name: str
    last_name: str
    birth_date: date | None
    email: str
    email_key: str
    phone: str
    street: str
    postcode: str
    city: str
    card: str
    customer_id: str
    consents: Sequence[ConsentStatement]
    raw: bytes
    is_dated: bool
    correction: tuple[str, str] | None = None


# The parts of a statement in comparable form, in the order of `Told`.
PARTS = tuple(part.name for part in fields(Told) if part.name != "correction")


@dataclass(slots=True)
class Refused:
    """A statement that cannot be used: the field at fault, empty where it is the whole, and the reason."""

    line: int | None
    column: str
    reason: str


@dataclass(slots=True)
class Clean:
    """A block in comparable form: `parts` holds a list for each of `PARTS`, `corrections` and `refused` by position the
    column at fault (empty where the whole is) and the reason. What stands in the parts of one refused means nothing."""

    parts: dict[str, Sequence]
    corrections: dict[int, tuple[str, str]]
    refused: dict[int, tuple[str, str]]

    def statements(self) -> list[Told | Refused]:
        """One statement each, in order."""
        clean: list[Told | Refused] = [Told(*row) for row in zip(*self.parts.values(), strict=True)]
        for position, correction in self.corrections.items():
            clean[position].correction = correction
        for position, (column, reason) in self.refused.items():
            clean[position] = Refused(self.parts["line"][position], column, reason)
        return clean


class Memo(dict):
    """`memo[raw]` is the clean form of a raw value, worked out once."""

    def __init__(self, clean: Callable[[str], Any]):
        super().__init__()
        self._clean = clean

    def __missing__(self, raw: str) -> Any:
        if len(self) >= REMEMBERED:
            self.clear()
        clean = self[raw] = self._clean(raw)
        return clean


class Cleaner:
    """Brings the statements of one source into comparable form; keeps what it has worked out between blocks."""

    def __init__(self, source: Source, stores: Mapping[str, Store], now: datetime):
        self.source_code, self.now = source.code, now
        self._stores: dict[str, tuple[int | None, str]] = {
            code: (store.pk, store.phone_region) for code, store in stores.items()
        }
        self._stores[""] = None, "FR"
        self._first = Memo(lambda raw: (normalise.first_name(raw) or "")[:80])
        self._last = Memo(lambda raw: (normalise.last_name(raw) or "")[:80])
        self._birth = Memo(normalise.birth_date)
        self._postcode = Memo(lambda raw: (normalise.postcode(raw) or "")[:12])
        self._city = Memo(lambda raw: " ".join(raw.split())[:80] if normalise.city(raw) else "")

    def clean(self, block: Block) -> Clean:
        """The block in comparable form."""
        told = block.fields
        nothing = [""] * len(block.external_ids)
        stores = [self._stores.get(code) for code in block.store_codes]
        mailboxes = [_mailbox(raw) if raw else NO_MAILBOX for raw in told.get("email", nothing)]
        phones = [
            _phone(raw, store[1]) if raw and store else ""
            for raw, store in zip(told.get("phone", nothing), stores, strict=True)
        ]
        values = {
            "first_name": [self._first[raw] for raw in told.get("first_name", nothing)],
            "last_name": [self._last[raw] for raw in told.get("last_name", nothing)],
            "birth_date": [self._birth[raw] for raw in told.get("birth_date", nothing)],
            "email": [address for address, _key in mailboxes],
            "phone": phones,
            "street": [_street(raw) if raw else "" for raw in told.get("street", nothing)],
            "postcode": [self._postcode[raw] for raw in told.get("postcode", nothing)],
            "city": [self._city[raw] for raw in told.get("city", nothing)],
            "card": [_card(raw) if raw else "" for raw in told.get("card", nothing)],
            "customer_id": [self._customer(raw) if raw else "" for raw in told.get("customer_id", nothing)],
        }
        corrections = _corrections(told, values)
        self._note_days_to_come(block, corrections)
        refused = dict(block.refused)
        for position, (external_id, code, store) in enumerate(
            zip(block.external_ids, block.store_codes, stores, strict=True)
        ):
            if not external_id or len(external_id) > LONGEST_ID or external_id.isspace():
                refused.setdefault(position, _unusable_id(external_id))
            elif store is None:
                refused.setdefault(position, ("store_code", _("unknown store «%s»") % code[:60]))
        for position, says_somebody in enumerate(zip(*(values[name] for name in TELLING), strict=True)):
            if not any(says_somebody):
                refused.setdefault(position, ("", _("the row holds no usable name, e-mail, phone or card")))
        now = self.now
        parts: tuple[Sequence, ...] = (
            block.lines, block.external_ids,
            list(map(_content_hash, block.raw, block.reading)),
            [min(at, now) if at else now for at in block.stated_at],
            [store[0] if store else None for store in stores],
            values["first_name"], values["last_name"], values["birth_date"], values["email"],
            [key for _address, key in mailboxes],
            values["phone"], values["street"], values["postcode"], values["city"], values["card"],
            values["customer_id"], block.consents, block.raw, [at is not None for at in block.stated_at],
        )  # fmt: skip
        return Clean(dict(zip(PARTS, parts, strict=True)), corrections, refused)

    def _note_days_to_come(self, block: Block, corrections: dict[int, tuple[str, str]]) -> None:
        """What is dated in the future is dated by its arrival, and the row says so. A day is granted to clocks and
        zones."""
        latest = self.now + timedelta(days=1)
        for position, (at, consents) in enumerate(zip(block.stated_at, block.consents, strict=True)):
            if at and at > latest:
                corrections.setdefault(position, ("stated_at", _still_to_come(at)))
            for consent in consents:
                if consent.at and consent.at > latest and consent.at != at:
                    corrections.setdefault(position, ("consent_at", _still_to_come(consent.at)))

    def _customer(self, raw: str) -> str:
        number = normalise.customer_id(raw)
        return f"{self.source_code}:{number}" if number and len(raw) <= LONGEST_ID else ""


def _still_to_come(at: datetime) -> str:
    day = at.astimezone(brand_zone()).date().isoformat()
    return _("«%s» is still to come: the time of arrival stands for it") % day


NO_MAILBOX = ("", "")


def _mailbox(raw: str) -> tuple[str, str]:
    email = normalise.email(raw)
    return (email.address, email.key) if email else NO_MAILBOX


def _phone(raw: str, region: str) -> str:
    phone = normalise.phone(raw, region)
    return phone.e164 if phone else ""


def _street(raw: str) -> str:
    return " ".join(raw.split())[:160] if normalise.street(raw) else ""


def _card(raw: str) -> str:
    if pass_numbers.read(raw):
        return ""  # ours to give: it goes when the pass is lost
    card = normalise.card(raw) or ""
    return card if len(card) <= LONGEST_CARD else ""


def _corrections(told: Mapping[str, list[str]], values: Mapping[str, list]) -> dict[int, tuple[str, str]]:
    """Of each row, the first column whose value could not be used, and why; its raw form is kept all the same."""
    reasons = {
        "email": _("«%s» is no usable e-mail address"),
        "phone": _("«%s» is no usable phone number"),
        "birth_date": _("«%s» is no usable birth date"),
        "postcode": _("«%s» is no usable postcode"),
        "card": _("«%s» is no usable card number"),
        "customer_id": _("«%s» is no usable customer number"),
    }
    longest = {"card": LONGEST_CARD, "customer_id": LONGEST_ID}
    found: dict[int, tuple[str, str]] = {}
    for column, reason in reasons.items():
        if column not in told:
            continue
        given_here = told[column]
        # Most rows have lost nothing: they are passed over without a step of Python each.
        lost = [p for p in compress(count(), map(not_, values[column])) if given_here[p]]
        for position in lost:
            given = given_here[position].strip()
            if given and position not in found:
                limit = longest.get(column, len(given))
                too_long = _("an id has at most %s characters") % limit
                found[position] = column, too_long if len(given) > limit else reason % given[:60]
    return found


def _unusable_id(external_id: str) -> tuple[str, str]:
    if external_id.strip():
        return "external_id", _("an id has at most %s characters") % LONGEST_ID
    return "external_id", _("the row has no id at its source")


def _content_hash(raw: bytes, reading: bytes) -> str:
    return hashlib.sha256(raw + b"\x1e" + reading).hexdigest()
