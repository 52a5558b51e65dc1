"""A customer as known on a day of the past: read back from what is only ever added to.

Records count once they were received, consents once they were told, tickets once they came in, pins from when they
were made until they were taken off. Who is who is seen with today's eyes: whoever was merged since is one person here
too, and `Past.apart` says so. Trust in a source is today's as well: nobody noted what it was.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from django.db.models import Q

from profiles import consent_history, survivorship
from profiles.models import (
    ConsentChange,
    Identifier,
    Merge,
    Pin,
    Profile,
    Purchase,
    Refund,
    SourceRecord,
    TicketMove,
)
from tenants.calendar import brand_today, brand_zone
from tenants.scoping import whole_network

TICKETS_SHOWN = 20


@dataclass
class Past:
    """What was known of a person at the end of a day; `end` is the first instant after it.

    `profile` holds the values and their provenance and is never saved. `people`: the ids of this customer and of all
    who were merged into it. `apart`: merges made since.
    """

    day: date
    end: datetime
    profile: Profile
    people: set[int]
    apart: list[Merge] = field(default_factory=list)
    records: list[SourceRecord] = field(default_factory=list)
    identifiers: list[Identifier] = field(default_factory=list)
    consents: dict[str, consent_history.ConsentNow] = field(default_factory=dict)
    tickets: list[Purchase] = field(default_factory=list)
    bought: int = 0
    spent_cents: int = 0


def as_at(profile: Profile, day: date) -> Past:
    """What was known of the customer when that day ended. Tickets are those that the scope in force sees."""
    end = datetime.combine(day + timedelta(days=1), time(), brand_zone())
    shown = Profile(pk=profile.pk, public_id=profile.public_id, created_at=profile.created_at)
    with whole_network():
        people = _people(profile)
        past = Past(day, end, shown, people)
        past.apart = list(
            Merge.objects.filter(winner__in=people, at__gte=end, undone_at=None).select_related(
                "winner", "loser"
            )
        )
        received = SourceRecord.objects.filter(profile=profile.pk, received_at__lt=end).select_related(
            "source"
        )
        told = [_as_then(record, end) for record in received.order_by("pk")]
        past.records = survivorship.current_statements(told)
        survivorship.unify(shown, past.records, survivorship.verified([profile.pk], end).get(profile.pk, ()))
        pins = Pin.objects.filter(profile=profile.pk, at__lt=end).filter(
            Q(ended_at=None) | Q(ended_at__gte=end)
        )
        for pin in pins.select_related("by").order_by("field", "at"):
            survivorship.stick(shown, pin, past.records)
        ids = [record.pk for record in told]
        seen = {
            (i.kind, i.key): i
            for i in Identifier.objects.filter(record__in=ids).order_by("-first_seen", "-pk")
        }
        past.identifiers = sorted(seen.values(), key=lambda i: (i.kind, i.key))
        past.consents = _consents(profile, end)
    _add_tickets(past)
    return past


def _people(profile: Profile) -> set[int]:
    people = {profile.pk}
    while merged := set(
        Profile.objects.filter(merged_into__in=people).exclude(pk__in=people).values_list("pk", flat=True)
    ):
        people |= merged
    return people


def _as_then(record: SourceRecord, end: datetime) -> SourceRecord:
    if record.stated_again_at and record.stated_again_at >= end:
        record.stated_again_at = None
    return record


def _consents(profile: Profile, end: datetime) -> dict[str, consent_history.ConsentNow]:
    told: dict[str, list[ConsentChange]] = defaultdict(list)
    changes = ConsentChange.objects.filter(profile=profile.pk, at__lt=end)
    changes = changes.filter(Q(record=None) | Q(record__received_at__lt=end)).select_related("record")
    for change in changes.order_by(*consent_history.IN_ORDER):
        told[change.channel].append(change)
    settled = {channel: consent_history.settle(history) for channel, history in told.items()}
    return {
        channel: consent_history.ConsentNow(change.granted, change.at, change.actor, change.wording)
        for channel, change in settled.items()
    }


def _add_tickets(past: Past) -> None:
    """The tickets that counted as theirs then: not those given to them since, but those given away since."""
    with whole_network():
        moves = TicketMove.objects.filter(Q(giver__in=past.people) | Q(taker__in=past.people)).values(
            "purchase"
        )
        owner: dict[int, int] = {}
        for move in TicketMove.objects.filter(purchase__in=moves).order_by("at", "pk"):
            owner.setdefault(move.purchase_id, move.giver_id)
            if move.at < past.end:
                undone = move.undone_at and move.undone_at < past.end
                owner[move.purchase_id] = move.giver_id if undone else move.taker_id
    theirs = [pk for pk, who in owner.items() if who in past.people]
    others = owner.keys() - set(theirs)
    tickets = Purchase.objects.filter(received_at__lt=past.end).filter(
        Q(profile=past.profile.pk) | Q(pk__in=theirs)
    )
    tickets = tickets.exclude(pk__in=others)
    cents = dict(tickets.order_by().values_list("pk", "total_cents"))
    returned = Refund.objects.filter(purchase__in=list(cents), received_at__lt=past.end).order_by()
    past.bought = len(cents)
    past.spent_cents = sum(cents.values()) - sum(returned.values_list("total_cents", flat=True))
    past.tickets = list(tickets.select_related("store").order_by("-bought_at", "-pk")[:TICKETS_SHOWN])


def day_of(text: str) -> date | None:
    """The day that is written YYYY-MM-DD, if there is one and it is over; else None."""
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        return None
    return day if day < brand_today() and day.year > 1900 else None
