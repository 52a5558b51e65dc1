"""The shapes of the till's requests and answers: decoded, checked and documented from these types alone."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

from msgspec import Meta, Raw, Struct

Name = Annotated[str, Meta(max_length=120)]
Code = Annotated[str, Meta(min_length=1, max_length=40)]
Id = Annotated[
    str,
    Meta(min_length=1, max_length=64, description="The till's own id, unique in its store, till and day."),
]
Amount = Annotated[Decimal, Meta(description="Major units with at most two decimals, e.g. 19.95.")]
Instant = Annotated[datetime, Meta(tz=True, description="With a zone, e.g. 2026-03-01T10:00:00+01:00.")]
Quantity = Annotated[Decimal, Meta(description="More than zero, at most three decimals.")]


class Request(Struct, forbid_unknown_fields=True, kw_only=True):
    """Unknown fields are refused, so that a mistyped name is noticed at the first call."""


class MemberShown(Request):
    """What the customer showed: exactly one of the three."""

    card: Annotated[str, Meta(max_length=60)] | None = None
    phone: Annotated[str, Meta(max_length=60)] | None = None
    email: Annotated[str, Meta(max_length=254)] | None = None


class ConsentTold(Request):
    channel: Annotated[str, Meta(pattern="^(email|sms|post)$")]
    granted: bool
    wording: Annotated[str, Meta(max_length=500)] = ""


class NewMember(Request):
    first_name: Name = ""
    last_name: Name = ""
    email: Annotated[str, Meta(max_length=254)] = ""
    phone: Annotated[str, Meta(max_length=60)] = ""
    birth_date: date | None = None
    consents: list[ConsentTold] = []


class IdentifyRequest(Request):
    """Find a member; with `create`, take the person in if nobody is known by what was shown."""

    member: MemberShown
    create: NewMember | None = None


class LineSold(Request):
    sku: Code
    amount: Amount
    label: Name = ""
    category: Annotated[str, Meta(max_length=60)] = ""
    quantity: Quantity = Decimal(1)
    discount: Amount = Decimal(0)


class PaidWith(Request):
    """A reward that paid a part of the ticket: this till's redemption or committed reservation, or a voucher used in
    this store."""

    redemption_id: Annotated[str, Meta(max_length=64)] = ""
    reservation_id: Annotated[str, Meta(max_length=64)] = ""
    voucher: Annotated[str, Meta(max_length=40)] = ""


class PurchaseRequest(Request):
    """A ticket. Sent again with the same content it gets the same answer; with another content it is refused.

    `paid_with`: rewards whose money off is in no line; each becomes a line of its own.
    """

    receipt_id: Id
    bought_at: Instant
    lines: Annotated[list[LineSold], Meta(min_length=1, max_length=1000)]
    member: MemberShown | None = None
    payment: Annotated[str, Meta(max_length=20)] = ""
    cashier: Annotated[str, Meta(max_length=40, description="The till's code of who served.")] = ""
    paid_with: Annotated[list[PaidWith], Meta(max_length=20)] = []


class BatchRequest(Request):
    """Up to 500 tickets, such as a day the till was offline; each is judged as on its day."""

    purchases: Annotated[list[PurchaseRequest], Meta(min_length=1, max_length=500)]


class BatchParts(Request):
    """A batch whose tickets are looked at one by one."""

    purchases: Annotated[list[Raw], Meta(min_length=1, max_length=500)]


class LineReturned(Request):
    number: Annotated[int, Meta(ge=1, description="The line of the ticket, counted from 1.")]
    quantity: Quantity = Decimal(1)


class RefundRequest(Request):
    """Goods brought back. `store` and `business_day` name the ticket where it is not this store's newest of that id."""

    refund_id: Id
    refunded_at: Instant
    receipt_id: Id
    lines: Annotated[list[LineReturned], Meta(min_length=1, max_length=1000)]
    store: Annotated[str, Meta(max_length=20)] = ""
    business_day: date | None = None


class RedemptionRequest(Request):
    redemption_id: Id
    member: MemberShown
    points: Annotated[int, Meta(gt=0)]
    redeemed_at: Instant


class ReservationRequest(Request):
    """Set points aside for a basket, a quarter of an hour long."""

    reservation_id: Id
    member: MemberShown
    points: Annotated[int, Meta(gt=0)]


class ReservationEnd(Request):
    """A reservation of this till, by its id."""

    reservation_id: Id


class ActionRequest(Request):
    """What a member did. `action_key` names the deed in the whole brand: told again, it counts once."""

    action: Annotated[
        str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,39}$", description="A code that a rule speaks of.")
    ]
    action_key: Id
    member: MemberShown
    occurred_at: Instant
    campaign: Annotated[str, Meta(max_length=60)] = ""


class ClaimRequest(Request):
    """A ticket without a card, for whom it is. `total` as printed; `cashier` is who serves now."""

    claim_id: Id
    member: MemberShown
    receipt_id: Id
    total: Amount
    store: Annotated[str, Meta(max_length=20)] = ""
    business_day: date | None = None
    cashier: Annotated[str, Meta(max_length=40)] = ""


class Expiry(Struct):
    on: date
    points: int


class Step(Struct):
    """One rule's share of the points. `why`: base, multiplier, bonus or cap."""

    rule: str
    version: int
    points: int
    why: str


class MemberAnswer(Struct, kw_only=True):
    """A member, masked for the cashier."""

    id: str
    name: str
    email: str
    phone: str
    tier: str
    available: int
    pending: int
    debt: int
    next_expiry: Expiry | None


class QuoteAnswer(Struct, kw_only=True):
    points: int
    explanation: list[Step]
    total_cents: int
    member: str | None = None
    spendable_points: int = 0
    spendable_cents: int = 0
    available: int = 0
    pending: int = 0
    debt: int = 0


class PurchaseAnswer(Struct, kw_only=True):
    receipt_id: str
    total_cents: int
    member: str | None
    points: int
    explanation: list[Step]
    tier: str = ""
    available: int = 0
    pending: int = 0
    debt: int = 0


class ItemProblem(Struct, kw_only=True):
    code: str
    detail: str
    field: str = ""


class BatchItem(Struct, kw_only=True):
    """`status` as the single call would have given it; `answer` or `problem`."""

    receipt_id: str
    status: int
    replayed: bool
    answer: PurchaseAnswer | None = None
    problem: ItemProblem | None = None


class BatchAnswer(Struct, kw_only=True):
    results: list[BatchItem]


class RefundAnswer(Struct, kw_only=True):
    """`parked` (202): the sale is not known yet; the return takes effect when it arrives.

    `deducted_cents`: the worth of points that were spent, to be kept back from `refunded_cents`.
    """

    refund_id: str
    receipt_id: str
    refunded_cents: int
    deducted_cents: int = 0
    points_taken_back: int
    points_given_back: int = 0
    member: str | None
    available: int = 0
    pending: int = 0
    debt: int = 0
    parked: bool = False


class RedemptionAnswer(Struct, kw_only=True):
    redemption_id: str
    member: str
    points: int
    discount_cents: int
    available: int
    pending: int
    debt: int


class ReservationAnswer(Struct, kw_only=True):
    """`expires_at`: from then on the points are the member's again. Absent once they are spent."""

    reservation_id: str
    member: str
    points: int
    discount_cents: int
    available: int
    pending: int
    debt: int
    expires_at: str = ""


class ReservationCancelled(Struct, kw_only=True):
    reservation_id: str
    member: str
    points: int
    points_given_back: int
    available: int
    pending: int
    debt: int


class ActionStep(Struct, kw_only=True):
    rule: str
    version: int
    points: int
    why: str
    funding: str = ""


class ActionAnswer(Struct, kw_only=True):
    """`why`: earned, no rule, cap of the period or cap of the campaign."""

    action: str
    action_key: str
    member: str
    points: int
    why: str
    explanation: list[ActionStep]
    tier: str
    available: int
    pending: int
    debt: int


class ClaimAnswer(Struct, kw_only=True):
    claim_id: str
    receipt_id: str
    member: str
    points: int
    explanation: list[Step]
    tier: str
    available: int
    pending: int
    debt: int
