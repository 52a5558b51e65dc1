"""A brand's year at the tills: tickets and refunds in the order they happened, and some tickets that must not pass."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import accumulate, islice, pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from cdp.demo.chance import fraction
from cdp.demo.geography import StoreData
from cdp.demo.journey import Journey, Product
from cdp.demo.people import Household, Person

ANONYMOUS_SHARE = 0.08
OTHER_IDENTIFIER_SHARE = 0.10
REFUND_SHARE = 0.005

_TICKETS_AT_ONCE = 2_000
_PAYMENTS = ((0.68, "bank_card"), (0.82, "cash"), (0.91, "meal_voucher"), (0.97, "mobile"), (1.0, "cheque"))
# Each kind of draw has its own number, so that they are independent of one another.
_BUYER, _TILL, _IDENTIFIER, _WHICH, _PAYMENT, _REFUND, _REFUND_DAY, _REFUND_LINE, _FAULT = range(9)


class Identifier(NamedTuple):
    """What a customer shows at the till: `kind` is "card", "phone" or "email"."""

    kind: str
    value: str


class TicketLine(NamedTuple):
    """One article of a ticket; `amount_cents` is paid for all pieces together, after `discount_cents`."""

    sku: str
    label: str
    category: str
    quantity: int
    amount_cents: int
    discount_cents: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """A purchase as a till would send it; `buyer_key` is the truth, which a till does not know."""

    store_code: str
    till_code: str
    receipt_id: str
    bought_at: datetime
    identifier: Identifier | None
    lines: tuple[TicketLine, ...]
    payment: str
    buyer_key: str

    @property
    def amount_cents(self) -> int:
        """The sum of the lines."""
        return sum(line.amount_cents for line in self.lines)


@dataclass(frozen=True, slots=True)
class Refund:
    """Whole lines of an earlier ticket brought back; amounts are positive and are what the customer gets back."""

    store_code: str
    till_code: str
    refund_id: str
    receipt_id: str
    refunded_at: datetime
    lines: tuple[TicketLine, ...]

    @property
    def amount_cents(self) -> int:
        """The sum of the lines."""
        return sum(line.amount_cents for line in self.lines)


@dataclass(frozen=True, slots=True)
class FaultyTicket:
    """A ticket that must not count, to be sent after all others, and why.

    - `duplicate`: sent before, and the same in every field: to be answered as before.
    - `conflict`: the receipt id was sent before, with other lines.
    - `unknown_store`: no store has this code.
    - `future_date`: bought a month from now.
    """

    ticket: Ticket
    reason: str


class Purchase(NamedTuple):
    """A visit that found its store, its household and its place in time (seconds since 1970)."""

    instant: float
    basket_id: int
    store: StoreData
    household: Household


class TicketBook:
    """All purchases of one brand; tickets are put together as they are asked for, a few thousand at a time."""

    def __init__(self, journey: Journey, purchases: list[Purchase], *, seed: int, today: date) -> None:
        self._purchases = sorted(purchases, key=lambda purchase: (purchase.instant, purchase.basket_id))
        self._seed = seed
        self._today = today
        baskets = pa.array([purchase.basket_id for purchase in self._purchases], pa.int64())
        lines = journey.lines.filter(pc.is_in(journey.lines["basket"], baskets))
        lines = lines.append_column("ticket", pc.index_in(lines["basket"], baskets)).sort_by("ticket")
        product_ids = sorted(pc.unique(lines["product"]).to_pylist())
        self.products: list[Product] = journey.catalogue(product_ids)
        self._lines = pa.table(
            {
                "product": pc.index_in(lines["product"], pa.array(product_ids, pa.int64())),
                "quantity": lines["quantity"],
                "amount_cents": lines["amount_cents"],
                "discount_cents": lines["discount_cents"],
            }
        ).combine_chunks()
        counts = lines.group_by("ticket").aggregate([("ticket", "count")]).sort_by("ticket")
        self._offsets = [0, *accumulate(counts["ticket_count"].to_pylist())]

    def __len__(self) -> int:
        return len(self._purchases)

    @property
    def line_count(self) -> int:
        """The number of lines of all tickets."""
        return self._offsets[-1]

    @property
    def amount_cents(self) -> int:
        """The sum of all tickets, before refunds."""
        return pc.sum(self._lines["amount_cents"]).as_py() or 0

    def tickets(self) -> Iterator[Ticket]:
        """All tickets, in the order of time."""
        bounds = [*range(0, len(self), _TICKETS_AT_ONCE), len(self)]
        for first, last in pairwise(bounds):
            yield from self._between(first, last)

    def refunds(self) -> Iterator[Refund]:
        """The refunds, in the order of time: one ticket in 200 comes back in part, one to fourteen days later."""
        drawn = sorted(range(len(self)), key=lambda place: self._draw(self._purchases[place], _REFUND))
        possible = (refund for place in drawn if (refund := self._refund(place)))
        refunds = islice(possible, max(1, round(len(self) * REFUND_SHARE)))
        yield from sorted(refunds, key=lambda refund: (refund.refunded_at, refund.refund_id))

    def faulty_tickets(self) -> list[FaultyTicket]:
        """Eleven tickets that must not count, made of tickets of the last quarter of the year."""
        count = len(self)
        if not count:
            return []
        places = sorted(
            int(count * (0.75 + fraction(self._seed, _FAULT, number) / 4)) for number in range(11)
        )
        models = [next(self._between(place, place + 1)) for place in places]
        conflicts = [replace(ticket, lines=(*ticket.lines, ticket.lines[0])) for ticket in models[5:7]]
        strangers = [
            replace(ticket, store_code=f"{ticket.store_code[:3]}-999", receipt_id=f"{ticket.receipt_id}9")
            for ticket in models[7:9]
        ]
        early = [
            replace(
                ticket,
                bought_at=ticket.bought_at
                + timedelta(days=30 + (self._today - ticket.bought_at.date()).days),
                receipt_id=f"{ticket.receipt_id}8",
            )
            for ticket in models[9:]
        ]
        return [
            *(FaultyTicket(ticket, "duplicate") for ticket in models[:5]),
            *(FaultyTicket(ticket, "conflict") for ticket in conflicts),
            *(FaultyTicket(ticket, "unknown_store") for ticket in strangers),
            *(FaultyTicket(ticket, "future_date") for ticket in early),
        ]

    def _draw(self, purchase: Purchase, kind: int) -> float:
        return fraction(self._seed, purchase.basket_id, kind)

    def _between(self, first: int, last: int) -> Iterator[Ticket]:
        start, end = self._offsets[first], self._offsets[last]
        part = self._lines.slice(start, end - start)
        lines = [
            self._line(*values)
            for values in zip(*(column.to_pylist() for column in part.columns), strict=True)
        ]
        for place in range(first, last):
            own = slice(self._offsets[place] - start, self._offsets[place + 1] - start)
            yield self._ticket(self._purchases[place], tuple(lines[own]))

    def _line(self, product: int, quantity: int, amount_cents: int, discount_cents: int) -> TicketLine:
        sku, label, category, _ = self.products[product]
        return TicketLine(sku, label, category, quantity, amount_cents, discount_cents)

    def _ticket(self, purchase: Purchase, lines: tuple[TicketLine, ...]) -> Ticket:
        buyer = self._buyer(purchase)
        return Ticket(
            store_code=purchase.store.code,
            till_code=self._till(purchase),
            receipt_id=str(purchase.basket_id),
            bought_at=datetime.fromtimestamp(purchase.instant, ZoneInfo(purchase.store.timezone)),
            identifier=self._identifier(purchase, buyer),
            lines=lines,
            payment=_PAYMENTS[bisect_left(_PAYMENTS, (self._draw(purchase, _PAYMENT), ""))][1],
            buyer_key=buyer.key,
        )

    def _till(self, purchase: Purchase) -> str:
        tills = purchase.store.tills
        return tills[int(self._draw(purchase, _TILL) * len(tills))]

    def _buyer(self, purchase: Purchase) -> Person:
        people = purchase.household.people
        return people[0] if self._draw(purchase, _BUYER) < purchase.household.main_share else people[-1]

    def _identifier(self, purchase: Purchase, buyer: Person) -> Identifier | None:
        draw = self._draw(purchase, _IDENTIFIER)
        if draw < ANONYMOUS_SHARE:
            return None
        contacts = [
            Identifier(kind, value)
            for kind, value in (("phone", buyer.phone), ("email", buyer.email))
            if value
        ]
        if contacts and draw < ANONYMOUS_SHARE + OTHER_IDENTIFIER_SHARE:
            return contacts[int(self._draw(purchase, _WHICH) * len(contacts))]
        return Identifier("card", buyer.card) if buyer.card else None

    def _refund(self, place: int) -> Refund | None:
        purchase = self._purchases[place]
        ticket = next(self._between(place, place + 1))
        returnable: Sequence[TicketLine] = [
            line for line in ticket.lines if line.amount_cents > 0 and line.category != "FUEL"
        ]
        draw = self._draw(purchase, _REFUND_DAY)
        day = ticket.bought_at.date() + timedelta(days=1 + int(draw * 14))
        if not returnable or day >= self._today:
            return None
        opening = datetime.combine(day, time(10), tzinfo=ticket.bought_at.tzinfo)
        first = int(self._draw(purchase, _REFUND_LINE) * len(returnable))
        return Refund(
            store_code=ticket.store_code,
            till_code=purchase.store.tills[0],
            refund_id=f"R{ticket.receipt_id}",
            receipt_id=ticket.receipt_id,
            refunded_at=opening + timedelta(minutes=int(draw * 14 * 540) % 540),
            lines=tuple(returnable[first : first + 2]),
        )
