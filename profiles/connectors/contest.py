"""Contest entries: who took part in which contest when, and what they answered to the words that they were shown.

Entrants are prospects: they become known, and bought nothing. A consent counts with the words shown, and without them
not at all. Entries come as JSON or as CSV of the same columns; an entry sent twice is known.
"""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt
from msgspec import Meta, Struct

from profiles import intake
from profiles.connectors.kinds import ConnectorError, Kind, Sample, secret_of
from profiles.connectors.receiving import NotReady, WrongSignature, connection_of
from profiles.intake import ConsentStatement, Statement
from profiles.models import Connection, Delivery
from profiles.wire import InvalidBody, body_of, decoded
from tenants.scoping import whole_network

LARGEST_BODY = 2 * 1024 * 1024
MOST_ENTRIES = 500
SCHEME = "Connection"
CHANNELS = ("email", "sms", "post")
Text = Annotated[str, Meta(max_length=254)]


class OptIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """The answer on one channel, with the words shown. `granted: false` is a refusal; leave out what was not asked."""

    channel: Annotated[str, Meta(pattern="^(email|sms|post)$")]
    granted: bool
    wording: Annotated[str, Meta(max_length=500)] = ""


class Entry(Struct, forbid_unknown_fields=True, kw_only=True):
    """One entry. `entry_id` never changes and is unique within its contest."""

    entry_id: Annotated[str, Meta(min_length=1, max_length=40)]
    contest_id: Annotated[str, Meta(min_length=1, max_length=39)]
    entered_at: Annotated[datetime, Meta(tz=True, description="With a zone, e.g. 2026-11-02T12:00:00+01:00.")]
    first_name: Text = ""
    last_name: Text = ""
    email: Text = ""
    phone: Annotated[str, Meta(max_length=60)] = ""
    birth_date: date | None = None
    street: Text = ""
    postcode: Annotated[str, Meta(max_length=20)] = ""
    city: Text = ""
    store: Annotated[str, Meta(max_length=20)] = ""
    optins: Annotated[list[OptIn], Meta(max_length=3)] = []


class Entries(Struct, forbid_unknown_fields=True, kw_only=True):
    """Up to 500 entries, taken in together."""

    entries: Annotated[list[Entry], Meta(min_length=1, max_length=MOST_ENTRIES)]


class EntryOutcome(Struct, kw_only=True):
    """What came of an entry: created, corrected (a value was unusable), unchanged (known before) or rejected."""

    entry_id: str
    verdict: str
    column: str = ""
    reason: str = ""
    without_proof: list[str] = []


class EntriesAnswer(Struct, kw_only=True):
    received: int
    created: int
    corrected: int
    unchanged: int
    rejected: int
    results: list[EntryOutcome]


COLUMNS = (
    "entry_id", "contest_id", "entered_at", "first_name", "last_name", "email", "phone", "birth_date", "street",
    "postcode", "city", "store", *(f"{word}_{channel}" for channel in CHANNELS for word in ("optin", "wording")),
)  # fmt: skip
ANSWERS = {
    "1": True,
    "true": True,
    "yes": True,
    "oui": True,
    "0": False,
    "false": False,
    "no": False,
    "non": False,
}


@dataclass(frozen=True)
class Told:
    """An entry as a statement, and the channels whose yes came without the words shown."""

    entry_id: str
    statement: Statement
    without_proof: tuple[str, ...]


def told(entry: Entry, line: int) -> Told:
    """The entry as a statement of its source: pure."""
    fields = {
        name: getattr(entry, name)
        for name in ("first_name", "last_name", "email", "phone", "street", "postcode", "city")
    }
    if entry.birth_date:
        fields["birth_date"] = entry.birth_date.isoformat()
    proven = [o for o in entry.optins if o.wording.strip()]
    raw = msgspec.to_builtins(entry)
    return Told(
        entry.entry_id,
        Statement(
            external_id=f"{entry.contest_id}:{entry.entry_id}",
            fields={name: value for name, value in fields.items() if value},
            raw=raw,
            stated_at=entry.entered_at,
            store_code=entry.store,
            consents=[ConsentStatement(o.channel, o.granted, entry.entered_at, o.wording) for o in proven],
            line=line,
        ),
        tuple(o.channel for o in entry.optins if not o.wording.strip()),
    )


_decoder = msgspec.json.Decoder(Entries)


def read_json(body: bytes) -> Sequence[Entry]:
    """The entries of a JSON body. Raises `InvalidBody` naming the field."""
    entries = decoded(body, _decoder).entries
    for number, entry in enumerate(entries):
        if wrong := _implausible(entry):
            raise InvalidBody(wrong, f"entries[{number}].entered_at")
    return entries


def _implausible(entry: Entry) -> str:
    """What is wrong with the time of the entry: a year that cannot be, or a day still to come (one is granted to clocks
    and zones)."""
    year = entry.entered_at.year
    if not 1970 <= year < 9999:
        return _("the year %s cannot be right") % year
    if entry.entered_at > timezone.now() + timedelta(days=1):
        return _("%s is still to come: nobody has entered yet") % entry.entered_at.date().isoformat()
    return ""


def read_csv(body: bytes) -> Sequence[Entry]:
    """The entries of a CSV body with our columns, `;` or `,` between them. Raises `InvalidBody` naming the line."""
    text = _text_of(body)
    first_line = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in first_line else ",", strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        for needed in ("entry_id", "contest_id", "entered_at"):
            if needed not in header:
                raise InvalidBody(_("the column «%s» is missing") % needed, needed)
        for name in header:
            if name not in COLUMNS or header.count(name) > 1:
                raise InvalidBody(
                    _("the column «%s» is not one of the documented ones, or stands twice") % name, name
                )
        entries = []
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InvalidBody(_("line %s has not as many cells as the header") % rows.line_num)
            if len(entries) == MOST_ENTRIES:
                raise InvalidBody(_("more than %s entries: send them in several parts") % MOST_ENTRIES)
            entries.append(_of_row(dict(zip(header, map(str.strip, cells), strict=True)), rows.line_num))
    except csv.Error as broken:
        raise InvalidBody(_("line %(line)s: %(why)s") % {"line": rows.line_num, "why": broken}) from broken
    if not entries:
        raise InvalidBody(_("the file holds no entry"))
    return entries


def _text_of(body: bytes) -> str:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise InvalidBody(_("the file is not UTF-8")) from wrong
    before, nul, _behind = text.partition("\x00")
    if nul:
        line, why = before.count("\n") + 1, _("the character U+0000 is not allowed")
        raise InvalidBody(_("line %(line)s: %(why)s") % {"line": line, "why": why})
    return text


def _of_row(cells: dict[str, str], line: int) -> Entry:
    optins = []
    for channel in CHANNELS:
        answer = cells.pop(f"optin_{channel}", "")
        wording = cells.pop(f"wording_{channel}", "")
        if not answer:
            continue
        if answer.lower() not in ANSWERS:
            where = f"optin_{channel}"
            raise InvalidBody(
                _("line %(line)s: «%(value)s» is neither yes nor no") % {"line": line, "value": answer[:40]},
                where,
            )
        optins.append({"channel": channel, "granted": ANSWERS[answer.lower()], "wording": wording})
    try:
        entry = msgspec.convert(
            {**{k: v for k, v in cells.items() if v}, "optins": optins}, Entry, strict=False
        )
    except msgspec.ValidationError as error:
        detail, _at, path = str(error).partition(" - at `$")
        raise InvalidBody(
            _("line %(line)s: %(why)s") % {"line": line, "why": detail}, path.strip("`").lstrip(".")
        ) from None
    if wrong := _implausible(entry):
        raise InvalidBody(_("line %(line)s: %(why)s") % {"line": line, "why": wrong}, "entered_at")
    return entry


# --- The verb and its path ----------------------------------------------------------------------------------------


def take_in(connection: Connection, entries: Sequence[Entry], ref: str) -> tuple[EntriesAnswer, bool]:
    """Take the entries in, all in one transaction: the answer, and whether these were answered before."""
    with whole_network(), transaction.atomic():
        # Held until the end: the same entries sent twice at once come one after the other.
        connection = (
            Connection.objects.select_for_update(no_key=True, of=("self",))
            .select_related("source")
            .get(pk=connection.pk)
        )
        known = Delivery.objects.filter(connection=connection, ref=ref).first()
        if known:
            return msgspec.convert(known.detail, EntriesAnswer), True
        statements = [told(entry, line) for line, entry in enumerate(entries, start=1)]
        outcomes = intake.take_in_records(connection.source, [item.statement for item in statements])
        counts = Counter(outcome.verdict for outcome in outcomes)
        numbers = {word: counts[word] for word in ("created", "corrected", "unchanged", "rejected")}
        answer = EntriesAnswer(
            received=len(outcomes),
            **numbers,
            results=[
                EntryOutcome(
                    entry_id=item.entry_id, verdict=outcome.verdict, column=outcome.column, reason=outcome.reason,
                    without_proof=list(item.without_proof),
                )
                for item, outcome in zip(statements, outcomes, strict=True)
            ],
        )  # fmt: skip
        # What is kept says what came of each entry; a reason may repeat a value, so it stays out of the log.
        kept = msgspec.to_builtins(answer)
        for result in kept["results"]:
            result["reason"] = ""
        refused = answer.rejected == answer.received
        Delivery.objects.create(
            connection=connection, ref=ref, topic="entries", received=answer.received, **numbers, detail=kept,
            stated_at=max(entry.entered_at for entry in entries),
            verdict=Delivery.Verdict.REFUSED if refused else Delivery.Verdict.DONE,
            error=_("every entry was rejected") if refused else "",
        )  # fmt: skip
        connection.note_success()
    return answer, False


@csrf_exempt
def entries_view(request: HttpRequest) -> HttpResponse:
    """Take in contest entries, as JSON or as CSV; sent again, the same body changes nothing."""
    body = body_of(request, LARGEST_BODY)
    connection = _of_key(request.headers.get("Authorization", ""))
    if not connection.is_on:
        raise NotReady(_("this connector is switched off"))
    entries = read_csv(body) if request.content_type == "text/csv" else read_json(body)
    answer, replayed = take_in(connection, entries, hashlib.sha256(body).hexdigest())
    response = HttpResponse(msgspec.json.encode(answer), content_type="application/json")
    if replayed:
        response["Idempotent-Replayed"] = "true"
    return response


def _of_key(header: str) -> Connection:
    """The connector whose key stands in `Authorization: Connection <key>`. Raises `WrongSignature`."""
    scheme, _space, key = header.partition(" ")
    refused = WrongSignature(_("send the connector's key in the header «Authorization: Connection <key>»"))
    if scheme.lower() != SCHEME.lower():
        raise refused
    try:
        connection = connection_of(UUID(key.partition(".")[0]), (KIND.code,))
        secret_of(connection)
    except (ValueError, LookupError, ConnectorError):
        raise refused from None
    if not connection.answers_to(key):
        raise refused
    return connection


def sample() -> Sample:
    """One entry with a yes, its words, and a channel that was refused."""
    body = {
        "entries": [
            {
                "entry_id": "E-2041", "contest_id": "noel-2026", "entered_at": "2026-11-24T18:30:00+01:00",
                "first_name": "Marie", "last_name": "Durand", "email": "marie.durand@mail.example",
                "postcode": "59000", "city": "Lille",
                "optins": [
                    {"channel": "email", "granted": True, "wording": "Oui, je veux recevoir les offres par e-mail."},
                    {"channel": "sms", "granted": False, "wording": "Oui, je veux recevoir les offres par SMS."},
                ],
            }
        ]
    }  # fmt: skip
    content = msgspec.json.format(msgspec.json.encode(body), indent=2)
    return Sample("contest-entries.json", "application/json", content)


KIND = Kind(
    code="contest",
    title=gettext_lazy("Contest entries"),
    summary=gettext_lazy(
        "What people entered in a contest, online or on an agency's form: they become prospects, with the words of "
        "the opt-in that they were shown."
    ),
    icon="celebration",
    format=gettext_lazy(
        "POST of JSON or CSV with the connector's key: entry and contest id, date of entry, the person's fields, and "
        "for each channel the answer with the wording shown. Without a wording an answer is no consent."
    ),
    anchor="contest-entries",
    sample=sample,
    has_own_key=True,
    receives="contest-entries",
)
