"""What looks wrong: points are held, a case is opened, and a person decides — released, or taken back.

Tickets are looked at when they are credited, by the limits of the programme. A held ticket earns as ever, but its
points wait in the member's pending account until every case that holds it is decided; nothing is refused at the till.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from math import asin, cos, radians, sin, sqrt

from django.db import transaction
from django.db.models import QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import ledger, members
from loyalty.models import (
    Account,
    Case,
    CaseTicket,
    Cashier,
    Posting,
    Programme,
    StorePlace,
    TicketCashier,
    Transaction,
)
from profiles.intake import Shown
from profiles.intake.purchases import key_in, people_by_key
from profiles.models import Profile, Purchase
from tenants.calendar import brand_today
from tenants.network.models import Staff, Store, audit
from tenants.scoping import whole_network

Kind = Case.Kind
HOUR = timedelta(hours=1)
EARTH_KM = 6371
# A ticket of these is named by its case, and not held by it.
NOT_HELD = frozenset({Kind.CARD_USES, Kind.CLAIMS, Kind.DEBT})


class NotDecided(ValueError):
    """The case was decided before, or nobody said why."""


@dataclass(frozen=True)
class Seen:
    """A ticket of a member, as far as limits look at it."""

    pk: int
    profile_id: int
    store_id: int
    bought_at: datetime
    day: date
    cents: int
    cashier: str


@dataclass(frozen=True)
class Suspicion:
    """A limit that a ticket went beyond. `beside`: another ticket that belongs to it."""

    kind: str
    purchase: Purchase
    cashier: str = ""
    beside: int | None = None


class Watch:
    """Tickets about to be credited, with those held that go beyond a limit.

    `earnings` is for `ledger.earn`, in the same order; `open_cases` follows in the same transaction.
    """

    def __init__(self, earnings: Sequence[ledger.Earning], programme: Programme):
        self.programme = programme
        self.suspicions: list[Suspicion] = []
        with whole_network():
            self._look(earnings)
        held = {s.purchase.pk for s in self.suspicions if s.kind not in NOT_HELD}
        self.earnings = [replace(each, held=True) if each.purchase.pk in held else each for each in earnings]

    def _look(self, earnings: Sequence[ledger.Earning]) -> None:
        tickets = [earning.purchase for earning in earnings]
        if not tickets:
            return
        seen = _seen_around(tickets)
        own = people_of(
            Cashier.objects.filter(
                store__in={ticket.store_id for ticket in tickets}, is_active=True,
                code__in={row.cashier for rows in seen.values() for row in rows} - {""},
            )
        )  # fmt: skip
        later = {ticket.pk for ticket in tickets}
        for ticket in tickets:
            # The tickets of a batch come one after the other, as if each had been sent alone.
            later.discard(ticket.pk)
            rows = [row for row in seen[ticket.profile_id] if row.pk not in later]
            here = next(row for row in rows if row.pk == ticket.pk)
            self.suspicions += self._of(ticket, here, rows, own)

    def _of(
        self, ticket: Purchase, here: Seen, rows: list[Seen], own: dict[tuple[int, str], int]
    ) -> list[Suspicion]:
        limits, found = self.programme, []
        if limits.velocity_tickets and here.cents > 0:
            times = [row.bought_at for row in rows if row.store_id == here.store_id and row.cents > 0]
            if most_in_an_hour_with(here.bought_at, times) > limits.velocity_tickets:
                found.append(Suspicion(Kind.VELOCITY, ticket))
        if limits.velocity_cents and sum(r.cents for r in rows if r.day == here.day) > limits.velocity_cents:
            found.append(Suspicion(Kind.AMOUNT, ticket))
        if here.cashier:
            if limits.hold_self_scan and own.get((here.store_id, here.cashier)) == here.profile_id:
                found.append(Suspicion(Kind.SELF_SCAN, ticket, here.cashier))
            place = (here.day, here.store_id, here.cashier)
            uses = sum((row.day, row.store_id, row.cashier) == place for row in rows)
            if limits.cashier_card_uses and uses > limits.cashier_card_uses:
                found.append(Suspicion(Kind.CARD_USES, ticket, here.cashier))
        if limits.distance_km:
            found += self._far_apart(ticket, here, rows)
        return found

    def _far_apart(self, ticket: Purchase, here: Seen, rows: list[Seen]) -> list[Suspicion]:
        within = timedelta(minutes=self.programme.distance_minutes)
        elsewhere = [
            row for row in rows
            if row.store_id != here.store_id and abs(row.bought_at - here.bought_at) <= within
        ]  # fmt: skip
        if not elsewhere:
            return []
        places = {
            place.store_id: (float(place.latitude), float(place.longitude))
            for place in StorePlace.objects.filter(
                store__in={here.store_id, *(row.store_id for row in elsewhere)}
            )
        }
        for row in elsewhere:
            ends = places.get(here.store_id), places.get(row.store_id)
            if all(ends) and kilometres(*ends) >= self.programme.distance_km:
                return [Suspicion(Kind.DISTANCE, ticket, beside=row.pk)]
        return []

    def open_cases(self, posted: dict[str, int]) -> None:
        """Open a case for each suspicion, or add the ticket to the one of the day. `posted`: of `ledger.earn`."""
        for suspicion in self.suspicions:
            ticket = suspicion.purchase
            earned = posted.get(f"earn:{ticket.pk}")
            case = opened(
                suspicion.kind, ticket.store, ticket.business_day, profile_id=ticket.profile_id,
                cashier=suspicion.cashier,
            )  # fmt: skip
            add_ticket(case, ticket.pk, earned)
            if suspicion.beside:
                add_ticket(case, suspicion.beside, None)


def note_cashiers(told: Iterable[tuple[Purchase, str]]) -> None:
    """Note who served at the till, where the till said it."""
    rows = [
        TicketCashier(purchase=purchase, store_id=purchase.store_id, cashier=cashier.strip()[:40])
        for purchase, cashier in told
        if cashier.strip()
    ]
    if rows:
        TicketCashier.objects.bulk_create(rows)


def people_of(cashiers: QuerySet[Cashier]) -> dict[tuple[int, str], int]:
    """(store, code) -> profile of those cashiers who have a card of their own."""
    keys = {}
    for cashier in cashiers.select_related("store"):
        key = key_in(Shown("card", cashier.card), cashier.store.phone_region) if cashier.card else ""
        if key:
            keys[cashier.store_id, cashier.code] = ("card", key)
    people = people_by_key(keys.values()) if keys else {}
    return {place: people[key] for place, key in keys.items() if key in people}


def opened(kind: str, store: Store, day: date, *, profile_id: int | None = None, cashier: str = "") -> Case:
    """The open case of that day, opened where none is. The caller holds the customer."""
    case, new = Case.objects.get_or_create(
        kind=kind, store=store, day=day, profile_id=profile_id, cashier=cashier, state=Case.State.OPEN
    )
    if new:
        audit("system", "opened case", case, reason=kind, store_id=store.pk)
    return case


def add_ticket(case: Case, purchase_id: int, transaction_id: int | None) -> None:
    """Name a ticket in a case. What it earned is held, unless the case is of a kind that holds nothing."""
    ended = timezone.now() if case.kind in NOT_HELD else None
    CaseTicket.objects.get_or_create(
        case=case, purchase_id=purchase_id, defaults={"transaction_id": transaction_id, "ended_at": ended}
    )


def watch_debt(profile_id: int, store: Store, programme: Programme) -> None:
    """Open a case where a member owes more than the programme's floor."""
    if not programme.debt_floor:
        return
    with whole_network():
        owed = Account.objects.filter(
            kind=Account.Kind.DEBT, profile=profile_id, balance__lt=-programme.debt_floor
        )
        known = Case.objects.filter(kind=Kind.DEBT, profile=profile_id, state=Case.State.OPEN)
        if owed.exists() and not known.exists():
            opened(Kind.DEBT, store, brand_today(), profile_id=profile_id)


# --- What a person decides -------------------------------------------------------------------------------------------


@transaction.atomic
def release(case_id: int, *, by: Staff, comment: str) -> Case:
    """Let the held points go their way. Raises `NotDecided`."""
    with whole_network():
        case = _to_decide(case_id, comment)
        held = list(case.tickets.filter(ended_at=None, transaction__isnull=False))
        case.tickets.filter(ended_at=None).update(ended_at=timezone.now())
        _decide(case, Case.State.RELEASED, by, comment, points=0)
        ledger.release_due(brand_today(), of=[ticket.transaction_id for ticket in held])
    return case


@transaction.atomic
def reverse(case_id: int, *, by: Staff, comment: str) -> Case:
    """Take back what the case's tickets earned. Raises `NotDecided`."""
    with whole_network():
        case = _to_decide(case_id, comment)
        now, points, people = timezone.now(), 0, set()
        for ticket in case.tickets.filter(transaction__isnull=False).select_related("transaction"):
            earning = ticket.transaction
            ledger.accounts_of([earning.profile_id])
            left = _left_of(earning)
            if left > 0:
                why = {"why": "case", "case": case.pk}
                voided = ledger.undo_credit(
                    earning.pk, left, key=f"void:{earning.pk}", at=now, why=why, actor=str(by)
                )
                CaseTicket.objects.filter(transaction=earning).update(voided_by=voided)
                points += left
                people.add(earning.profile_id)
            CaseTicket.objects.filter(transaction=earning, ended_at=None).update(ended_at=now)
        case.tickets.filter(ended_at=None).update(ended_at=now)
        _decide(case, Case.State.REVERSED, by, comment, points=points)
        members.recount(people)
    return case


def _to_decide(case_id: int, comment: str) -> Case:
    """The case, locked, and before it its people: a till that holds one of them adds no ticket to it meanwhile."""
    if not comment.strip():
        raise NotDecided(_("say in a comment why"))
    told = Case.objects.get(pk=case_id)
    named = told.tickets.filter(transaction__isnull=False).values_list("transaction__profile", flat=True)
    Profile.hold({*named, told.profile_id} - {None})
    case = Case.objects.select_for_update(no_key=True, of=("self",)).get(pk=case_id)
    if case.state != Case.State.OPEN:
        raise NotDecided(_("this case was decided before"))
    return case


def _decide(case: Case, state: str, by: Staff, comment: str, *, points: int) -> None:
    case.state, case.comment = state, comment.strip()[:300]
    case.decided_at, case.decided_by = timezone.now(), by
    case.save()
    verb = "released" if state == Case.State.RELEASED else "took back points"
    audit(by, verb, case, reason=case.comment, store_id=case.store_id, points=points)


def _left_of(earning: Transaction) -> int:
    """What is still issued for the ticket, returns taken off."""
    of_ticket = Posting.objects.filter(
        transaction__purchase=earning.purchase_id, account__kind=Account.Kind.ISSUED,
        transaction__kind__in=[Transaction.Kind.EARN, Transaction.Kind.REFUND],
    )  # fmt: skip
    return -(of_ticket.aggregate(points=Sum("points"))["points"] or 0)


# --- Counting --------------------------------------------------------------------------------------------------------


def _seen_around(tickets: Sequence[Purchase]) -> dict[int, list[Seen]]:
    """The tickets of these members a day around, theirs included, in the order of time."""
    days = [ticket.business_day for ticket in tickets]
    rows = (
        Purchase.objects.filter(
            profile__in={ticket.profile_id for ticket in tickets},
            business_day__range=(min(days) - timedelta(days=1), max(days) + timedelta(days=1)),
        )
        .order_by("bought_at", "pk")
        .values_list("pk", "profile", "store", "bought_at", "business_day", "total_cents", "served__cashier")
    )
    seen: dict[int, list[Seen]] = defaultdict(list)
    for pk, profile_id, store_id, bought_at, day, cents, cashier in rows:
        seen[profile_id].append(Seen(pk, profile_id, store_id, bought_at, day, cents, cashier or ""))
    return seen


def most_in_an_hour_with(instant: datetime, times: Iterable[datetime]) -> int:
    """The most of these times in any hour that the instant, one of them, is in; the hour's end is not."""
    near = sorted(time for time in times if abs(time - instant) < HOUR)
    return max(
        (sum(start <= time < start + HOUR for time in near) for start in near if start <= instant), default=0
    )


def kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The way between two (latitude, longitude) in degrees, along the great circle (haversine)."""
    (lat, lon), (lat2, lon2) = ((radians(a), radians(b)) for a, b in (one, other))
    half = sin((lat2 - lat) / 2) ** 2 + cos(lat) * cos(lat2) * sin((lon2 - lon) / 2) ** 2
    return 2 * EARTH_KM * asin(sqrt(half))
