"""Tickets and refunds: recorded once, given to the person whose identifier was shown, never changed."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import msgspec
from django.db import transaction
from django.db.models import F, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles import blocklist, facts, normalise, pass_numbers
from profiles.intake.cleaning import LONGEST_CARD, Statement
from profiles.intake.people import take_in_records, till_source
from profiles.models import Identifier, Profile, ProfileFacts, Purchase, PurchaseLine, Refund, RefundLine
from tenants.brand_sql import CloserLook, call
from tenants.network.models import Till
from tenants.scoping import whole_network

RECORDED, DUPLICATE = "recorded", "duplicate"

# A till's clock may be wrong by a day or two; a ticket beyond that would fall into the wrong rules and windows.
CLOCK_SKEW = timedelta(hours=48)
# A till that lost its clock says 1970 or 2000: no ticket is that old.
OLDEST = timedelta(days=3653)


class Problem(ValueError):
    """A ticket or refund that cannot be recorded. `code` is stable, `field` a path such as `lines[2].quantity`."""

    def __init__(self, code: str, detail: str, field: str = ""):
        super().__init__(detail)
        self.code, self.detail, self.field = code, detail, field


class Conflict(Problem):
    """The receipt was recorded before with another content."""


@dataclass(frozen=True)
class Shown:
    """What a customer showed at the till: kind `card`, `phone` or `email`, and the value as typed or scanned.

    A scanner does not say what it scans: a card in the form of a wallet pass is kind `pass`.
    """

    kind: str
    value: str

    def __post_init__(self):
        if self.kind == Identifier.Kind.CARD and pass_numbers.read(self.value):
            object.__setattr__(self, "kind", Identifier.Kind.PASS.value)


class TicketLine(msgspec.Struct, frozen=True):
    """`amount_cents` is what was paid for the line, discounts taken off."""

    sku: str
    amount_cents: int
    label: str = ""
    category: str = ""
    quantity: Decimal = Decimal(1)
    discount_cents: int = 0


class Ticket(msgspec.Struct, frozen=True):
    receipt_id: str
    bought_at: datetime
    lines: Sequence[TicketLine]
    shown: Shown | None = None
    payment: str = ""
    cashier: str = ""

    @property
    def total_cents(self) -> int:
        return sum([line.amount_cents for line in self.lines])

    @property
    def content(self) -> list:
        """All that was said, the same in whatever zone and with whatever zeros it was written."""
        lines = [
            (
                line.sku,
                line.label,
                line.category,
                _plain(line.quantity),
                line.amount_cents,
                line.discount_cents,
            )
            for line in self.lines
        ]
        shown = (self.shown.kind, self.shown.value) if self.shown else None
        return [self.receipt_id, self.bought_at.timestamp(), shown, self.payment, self.cashier, lines]


@dataclass(frozen=True)
class RefundLineStatement:
    """`number` is the line of the ticket, counted from 1."""

    number: int
    quantity: Decimal


@dataclass(frozen=True)
class RefundStatement:
    """Goods brought back. The ticket is named by its receipt; its store and day only where they are not the till's
    own and the day of the refund is not the day of the purchase."""

    refund_id: str
    refunded_at: datetime
    receipt_id: str
    lines: Sequence[RefundLineStatement]
    business_day: date | None = None
    store_code: str = ""

    @property
    def content(self) -> list:
        """All that was said, as `Ticket.content`."""
        lines = [(line.number, _plain(line.quantity)) for line in self.lines]
        when = self.refunded_at.timestamp(), self.business_day
        return [self.refund_id, when, self.receipt_id, self.store_code, lines]


@dataclass(frozen=True)
class Recorded:
    """What became of a ticket: its purchase (new or known before), or the problem that kept it out."""

    verdict: str
    purchase: Purchase | None = None
    problem: Problem | None = None


def find_people(shown: Iterable[Shown], till: Till) -> dict[Shown, int]:
    """The profile of each identifier that is known. A card that two people share is the one's who had it first."""
    keys = people_by_key((s.kind, key) for s in shown if (key := key_of(s, till)))
    found: dict[Shown, int] = {}
    for s in shown:
        profile_id = keys.get((s.kind, key_of(s, till)))
        if profile_id:
            found[s] = profile_id
    return found


def people_by_key(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """(kind, key) -> profile of the comparable identifiers that are known, whoever may see them."""
    wanted = set(keys)
    with whole_network():
        rows = (
            Identifier.objects.filter(
                kind__in={kind for kind, _key in wanted}, key__in={key for _kind, key in wanted}
            )
            .order_by("-first_seen", "-profile")  # the last one stands: who was known first
            .values_list("kind", "key", "profile")
        )
        return {(kind, key): profile_id for kind, key, profile_id in rows if (kind, key) in wanted}


def _plain(quantity: Decimal) -> str:
    return str(quantity.normalize())


def key_of(shown: Shown, till: Till) -> str:
    """The comparable form of what was shown; "" where it is unusable."""
    return key_in(shown, till.store.phone_region)


def key_in(shown: Shown, region: str) -> str:
    """The same, for a number dialled in this region."""
    if shown.kind == Identifier.Kind.CARD:
        card = normalise.card(shown.value) or ""
        return card if len(card) <= LONGEST_CARD else ""
    if shown.kind == Identifier.Kind.PHONE:
        phone = normalise.phone(shown.value, region)
        return phone.e164 if phone else ""
    if shown.kind == Identifier.Kind.EMAIL:
        email = normalise.email(shown.value)
        return email.key if email else ""
    if shown.kind == Identifier.Kind.PASS:
        return pass_numbers.read(shown.value)
    return ""


def record_purchases(till: Till, tickets: Sequence[Ticket]) -> list[Recorded]:
    """Record a till's tickets; one answer each, in order. A ticket that cannot be recorded keeps no other out.

    An identifier that nobody has shown before makes a new customer, so that the points wait for the name.
    """
    now = timezone.now()
    answers: dict[int, Recorded] = {}
    sound: list[int] = []
    for position, ticket in enumerate(tickets):
        try:
            check(ticket, till, now)
            sound.append(position)
        except Problem as problem:
            answers[position] = Recorded("rejected", problem=problem)
    if sound:
        recorded, fresh = _record(till, [tickets[position] for position in sound], now)
        with whole_network():
            purchases = Purchase.objects.in_bulk(recorded)
        for position, purchase_id, is_new in zip(sound, recorded, fresh, strict=True):
            purchase = purchases[purchase_id]
            content = content_hash(tickets[position])
            answers[position] = Recorded(RECORDED, purchase) if is_new else seen_before(purchase, content)
    return [answers[position] for position in range(len(tickets))]


def _record(till: Till, tickets: Sequence[Ticket], now: datetime) -> tuple[list[int], list[bool]]:
    statement = "SELECT purchases, fresh FROM record_tickets($1, $2::jsonb)"

    def told(people: dict[Shown, int] | None) -> list:
        rows = [as_told(ticket, till, content_hash(ticket), people) for ticket in tickets]
        return [now, msgspec.json.encode(rows).decode()]

    try:
        return call(statement, told(None))
    except CloserLook:
        with transaction.atomic():
            return call(statement, told(hold_people(till, tickets)))


def as_told(ticket: Ticket, till: Till, content: str, people: dict[Shown, int] | None) -> dict:
    """The ticket as the database's function is told it (`sql/tickets.sql`).

    Whose it is, is found there by what was shown, or said by `people`, who are held by the caller.
    """
    told = {
        "till": till.pk, "store": till.store_id, "receipt": ticket.receipt_id,
        "day": business_day(ticket, till).isoformat(), "at": ticket.bought_at.isoformat(), "identified_by": "",
        "total": ticket.total_cents, "payment": ticket.payment, "hash": content,
        "lines": [
            [
                line.sku[:40], line.label[:120], line.category[:60], str(line.quantity), line.amount_cents,
                line.discount_cents,
            ]
            for line in ticket.lines
        ],
    }  # fmt: skip
    if ticket.shown:
        kind, key = ticket.shown.kind, key_of(ticket.shown, till)
        told["identified_by"] = f"{kind}:{key}"
        if people is not None:
            told["profile"] = people.get(ticket.shown)
        elif not blocklist.current().blocks(kind, key):
            # What is blocked is nobody's: the ticket stays anonymous.
            told |= {"kind": kind, "key": key}
    return told


def business_day(ticket: Ticket, till: Till) -> date:
    """The day at the till's store."""
    return ticket.bought_at.astimezone(till.store.zone).date()


def hold_people(till: Till, tickets: Sequence[Ticket]) -> dict[Shown, int]:
    """Everybody who showed something, held until the transaction ends; who is not known is known from then on."""
    with whole_network():
        people = _people_of(till, tickets)
        ids = set(people.values())
        facts.refresh(ids.difference(ProfileFacts.objects.filter(pk__in=ids).values_list("pk", flat=True)))
    return people


def check(ticket: Ticket, till: Till, now: datetime) -> None:
    """Raise `Problem` naming the field where the ticket cannot be right."""
    if not ticket.receipt_id.strip() or len(ticket.receipt_id) > 64:
        raise Problem("invalid_receipt", _("a receipt id of 1 to 64 characters is needed"), "receipt_id")
    if ticket.bought_at.tzinfo is None:
        raise Problem("time_without_zone", _("the time needs a zone, e.g. +02:00"), "bought_at")
    if ticket.bought_at > now + CLOCK_SKEW:
        raise Problem("future_date", _("the ticket lies in the future"), "bought_at")
    if ticket.bought_at < now - OLDEST:
        raise Problem("past_date", _("the ticket lies more than ten years back"), "bought_at")
    if not ticket.lines:
        raise Problem("no_lines", _("a ticket has at least one line"), "lines")
    for number, line in enumerate(ticket.lines):
        if line.quantity <= 0:
            raise Problem("invalid_quantity", _("a quantity is more than zero"), f"lines[{number}].quantity")
    if ticket.total_cents < 0:
        raise Problem("negative_total", _("the lines sum to less than zero"), "lines")
    if ticket.shown and not key_of(ticket.shown, till):
        raise Problem("invalid_identifier", _("«%s» is not usable") % ticket.shown.value[:60], "member")


def content_hash(statement: Ticket | RefundStatement) -> str:
    """Fingerprint of a ticket or refund: the same receipt with another one is a conflict, not a repeat."""
    return hashlib.sha256(msgspec.json.encode(statement.content)).hexdigest()


def seen_before(purchase: Purchase, content: str) -> Recorded:
    """What a ticket hears whose receipt stands as this purchase: a repeat, or a conflict."""
    if purchase.content_hash == content:
        return Recorded(DUPLICATE, purchase)
    return Recorded(
        "rejected",
        purchase,
        Conflict(
            "receipt_conflict",
            _("receipt «%s» of this day was recorded with another content") % purchase.receipt_id,
            "receipt_id",
        ),
    )


def _people_of(till: Till, tickets: Sequence[Ticket]) -> dict[Shown, int]:
    """The profile of everybody who showed something; whoever is not known is known from the first ticket on, but for a
    pass that nobody has, or has no more: its ticket stays anonymous."""
    first_seen: dict[Shown, datetime] = {}
    blocked = blocklist.current()
    for ticket in tickets:
        # What is blocked is nobody's: the ticket stays anonymous.
        if ticket.shown and not blocked.blocks(ticket.shown.kind, key_of(ticket.shown, till)):
            before = first_seen.get(ticket.shown, ticket.bought_at)
            first_seen[ticket.shown] = min(before, ticket.bought_at)
    shown = list(first_seen)
    people = find_people(shown, till)
    if len(people) < len(shown):
        # Of two tills that are shown the same new card at once, the second waits here and then finds the first's.
        source = till_source()
        people = find_people(shown, till)
    strangers = [s for s in shown if s not in people and s.kind != Identifier.Kind.PASS]
    if strangers:
        outcomes = take_in_records(
            source,
            [
                Statement(
                    external_id=f"{s.kind}:{key_of(s, till)}"[:80],
                    fields={s.kind: s.value},
                    raw={s.kind: s.value, "shown_at": str(till)},
                    stated_at=first_seen[s],
                    store_code=till.store.code,
                )
                for s in strangers
            ],
        )
        people |= {s: o.profile_id for s, o in zip(strangers, outcomes, strict=True) if o.profile_id}
    living = Profile.hold(people.values())
    return {s: living[profile_id].pk for s, profile_id in people.items()}


# What an app above says comes back with the goods: (ticket, what was told, cents of each line brought back so far) ->
# further lines, as (number, how much of it so far).
ComesBackToo = Callable[[Purchase, RefundStatement, Mapping[int, int]], Iterable[tuple[int, Decimal]]]


@transaction.atomic
def name_buyer(purchase: Purchase, profile: Profile, identified_by: str) -> bool:
    """Say afterwards who bought a ticket that named nobody; the person is held. False where it names one by now."""
    with whole_network():
        unnamed = Purchase.objects.filter(pk=purchase.pk, profile=None)
        if not unnamed.update(profile=profile, identified_by=identified_by):
            return False
        PurchaseLine.objects.filter(purchase=purchase).update(profile=profile)
        purchase.profile, purchase.identified_by = profile, identified_by
        facts.met_at({profile.pk: purchase.bought_at}, purchase.store)
        facts.refresh([profile.pk])
    return True


@transaction.atomic
def record_refund(
    till: Till, statement: RefundStatement, also: ComesBackToo | None = None
) -> tuple[Refund, str]:
    """Record goods brought back, and what comes back with them: the refund, and RECORDED or DUPLICATE.

    Raises `Problem`: `unknown_sale` where the ticket is not known (yet), `unknown_line`, `line_twice`,
    `quantity_exceeded` where more comes back than was sold, `future_date`; and `Conflict`.
    """
    now = timezone.now()
    if statement.refunded_at > now + CLOCK_SKEW:
        raise Problem("future_date", _("the refund lies in the future"), "refunded_at")
    if not statement.lines:
        raise Problem("no_lines", _("a refund has at least one line"), "lines")
    with whole_network():
        day = statement.refunded_at.astimezone(till.store.zone).date()
        content = content_hash(statement)
        recorded = Refund.objects.filter(till=till, business_day=day, refund_id=statement.refund_id)
        known = recorded.first()
        if known is None:
            purchase = _sale(till, statement)
            # Asked again under the sale's lock: the same refund may have been under way in another request.
            known = recorded.first()
        if known:
            if known.content_hash != content:
                raise Conflict(
                    "refund_conflict",
                    _("refund «%s» of this day was recorded with another content") % statement.refund_id,
                    "refund_id",
                )
            return known, DUPLICATE
        sold = {line.number: line for line in purchase.lines.all()}
        returned = dict(
            RefundLine.objects.filter(line__purchase=purchase)
            .values_list(F("line__number"))
            .annotate(quantity=Sum("quantity"))
        )
        paid_back = dict(
            RefundLine.objects.filter(line__purchase=purchase)
            .values_list(F("line__number"))
            .annotate(cents=Sum("amount_cents"))
        )
        lines = []
        for position, back in enumerate(statement.lines):
            line = sold.get(back.number)
            if line is None:
                raise Problem(
                    "unknown_line", _("the ticket has no line %s") % back.number, f"lines[{position}].number"
                )
            already = returned.get(back.number, Decimal(0))
            if back.quantity <= 0 or already + back.quantity > line.quantity:
                raise Problem(
                    "quantity_exceeded",
                    _("%(left)s of line %(number)s can still be brought back")
                    % {"left": f"{(line.quantity - already).normalize():f}", "number": back.number},
                    f"lines[{position}].quantity",
                )
            if back.number in {line.number for line, _quantity, _cents in lines}:
                raise Problem(
                    "line_twice", _("line %s stands here twice") % back.number, f"lines[{position}].number"
                )
            returned[back.number] = already + back.quantity
            # Cumulative, so that the parts of a line sum to its price whatever the split.
            due = int(line.amount_cents * returned[back.number] / line.quantity)
            lines.append((line, back.quantity, due - paid_back.get(back.number, 0)))
            paid_back[back.number] = due
        lines += _along(also(purchase, statement, paid_back) if also else (), sold, returned, paid_back)
        total = sum(cents for _line, _quantity, cents in lines)
        if total < 0 or sum(paid_back.values()) > purchase.total_cents:
            # A ticket's discount may stand on a line of its own: the goods are worth what was paid for the ticket.
            raise Problem(
                "amount_exceeded", _("no more than what was paid for the ticket can be brought back"), "lines"
            )
        refund = Refund.objects.create(
            purchase=purchase, store=till.store, till=till, business_day=day, refund_id=statement.refund_id,
            refunded_at=statement.refunded_at, received_at=now, content_hash=content,
            total_cents=total,
        )  # fmt: skip
        RefundLine.objects.bulk_create(
            [
                RefundLine(refund=refund, line=line, quantity=quantity, amount_cents=cents, store=till.store)
                for line, quantity, cents in lines
            ]
        )
        if purchase.profile_id:
            facts.refresh([purchase.profile_id])
    return refund, RECORDED


def _along(
    also: Iterable[tuple[int, Decimal]],
    sold: Mapping[int, PurchaseLine],
    returned: Mapping[int, Decimal],
    paid_back: dict[int, int],
) -> list[tuple[PurchaseLine, Decimal, int]]:
    """What comes back with the goods, as lines of the refund; `paid_back` is told of it."""
    lines = []
    for number, quantity in also:
        line, more = sold[number], quantity - returned.get(number, Decimal(0))
        if more > 0:
            due = int(line.amount_cents * quantity / line.quantity)
            lines.append((line, more, due - paid_back.get(number, 0)))
            paid_back[number] = due
    return lines


def _sale(till: Till, statement: RefundStatement) -> Purchase:
    """The ticket that the refund names, locked so that two refunds of it come one after the other."""
    sales = Purchase.objects.filter(
        receipt_id=statement.receipt_id, store__code=statement.store_code or till.store.code
    )
    if statement.business_day:
        sales = sales.filter(business_day=statement.business_day)
    sale = sales.filter(bought_at__lte=statement.refunded_at + CLOCK_SKEW).order_by("-bought_at")
    Profile.hold(sale.exclude(profile=None).values_list("profile", flat=True)[:1])
    purchase = sale.select_for_update(of=("self",)).first()
    if purchase is None:
        raise Problem(
            "unknown_sale",
            _("no ticket «%s» is known in this store; send the refund again after its sale")
            % statement.receipt_id,
            "receipt_id",
        )
    return purchase
