"""What a web shop's order and refund say, in our words: the shapes that `shopify` and `woocommerce` read theirs into.

Amounts are integers in the currency's minor unit, taxes included, as a customer paid them. Nothing here asks a
database.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from profiles import normalise
from profiles.connectors.kinds import Setting
from profiles.intake import ConsentStatement, Problem, Statement
from profiles.intake.people import LONGEST_ID

MOST_LINES = 1000
THOUSANDTH = Decimal("0.001")
YES = frozenset({"yes", "true", "1", "on", "oui"})
WORDING = "consent_wording"
OPT_IN_WORDS = Setting(
    WORDING, gettext_lazy("words of the opt-in"),
    gettext_lazy(
        "What your checkout says beside the box. Without it, and unless the order tells it itself "
        "(consent_wording), a yes is not recorded, since nothing would prove it."
    ),
    required=False,
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """`id` is the shop's own, by which a refund names the line."""

    id: str
    sku: str
    label: str
    quantity: Decimal
    amount_cents: int
    discount_cents: int = 0


@dataclass(frozen=True)
class Refund:
    """Goods brought back: lines by the shop's ids, or an amount alone."""

    id: str
    order_id: str
    at: datetime | None
    quantities: Mapping[str, Decimal]
    amount_cents: int = 0


@dataclass(frozen=True)
class Order:
    id: str
    bought_at: datetime
    is_paid: bool
    lines: Sequence[Line]
    person: Statement | None
    # How the customer is recognised at the till: ("email", address), ("phone", number) or None for nobody.
    shown: tuple[str, str] | None
    payment: str = ""
    refunds: Sequence[Refund] = ()
    unproven: Sequence[str] = field(default_factory=tuple)

    @property
    def total_cents(self) -> int:
        return sum(line.amount_cents for line in self.lines)


# --- Who sent it ------------------------------------------------------------------------------------------------


def signature(secret: str, body: bytes) -> str:
    """Base64 of the HMAC-SHA256 over the body as it came: what both shops send."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def is_signed(secret: str, body: bytes, told: str) -> bool:
    """Whether the signature is that of the body; compared in constant time."""
    return bool(secret) and constant_time_compare(signature(secret, body), told.strip())


# --- Reading values -----------------------------------------------------------------------------------------------


def a_dict(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Problem("invalid_order", _("an object is expected here"), where)
    return value


def a_list(value: Any, where: str) -> Sequence[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Problem("invalid_order", _("a list is expected here"), where)
    if len(value) > MOST_LINES:
        raise Problem("invalid_order", _("there are more than %s lines") % MOST_LINES, where)
    return value


def an_id(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise Problem("invalid_order", _("an id is missing"), where)
    if len(str(value)) > 60:
        raise Problem("invalid_order", _("the id is longer than %s characters") % 60, where)
    return str(value).strip()


def own_id(value: Any) -> str:
    """The shop's number of a customer, or "" for none: null, 0, and what is no number."""
    return str(value)[:60] if value and isinstance(value, str | int) and not isinstance(value, bool) else ""


def text(value: Any) -> str:
    """A word of the shop's, or "" for null and for what is no word."""
    return value.strip() if isinstance(value, str) else ""


def _number(value: Any, where: str, code: str) -> Decimal:
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidOperation
        number = Decimal(str(value).strip() or "0")
    except InvalidOperation as wrong:
        raise Problem(code, _("«%s» is no number") % str(value)[:40], where) from wrong
    if not number.is_finite() or abs(number) >= 10**10:
        raise Problem(code, _("«%s» is no number") % str(value)[:40], where)
    return number


def cents(value: Any, where: str) -> int:
    """An amount as the shop writes it, "19.90", in minor units. Raises `Problem` for more than two decimals."""
    amount = _number(value, where, "invalid_amount")
    if amount != round(amount, 2):
        raise Problem("invalid_amount", _("an amount has at most two decimals: %s") % str(value)[:40], where)
    return int(round(amount, 2) * 100)


def quantity(value: Any, where: str) -> Decimal:
    number = _number(value, where, "invalid_quantity")
    if not 0 < number < 10**6 or number != round(number, 3):
        raise Problem(
            "invalid_quantity", _("a quantity is more than zero and has at most three decimals"), where
        )
    return number


def moment(value: Any, where: str, *, utc: bool = False) -> datetime:
    """A time as the shop writes it. One without a zone is refused, unless it is known to be told in UTC."""
    try:
        at = datetime.fromisoformat(text(value))
    except ValueError as wrong:
        raise Problem("invalid_time", _("«%s» is no time") % str(value)[:40], where) from wrong
    if at.tzinfo is None:
        if not utc:
            raise Problem("time_without_zone", _("the time needs a zone, e.g. +02:00"), where)
        at = at.replace(tzinfo=UTC)
    if not 1970 <= at.year < 9999:
        raise Problem("implausible_date", _("the year %s cannot be right") % at.year, where)
    return at


def check_currency(told: Any, ours: str, where: str = "currency") -> None:
    if text(told).upper() != ours:
        raise Problem(
            "other_currency",
            _("the order is in «%(told)s», the brand sells in %(ours)s")
            % {"told": str(told)[:10], "ours": ours},
            where,
        )


# --- The customer -------------------------------------------------------------------------------------------------


def person(
    fields: Mapping[str, str],
    *,
    customer_id: str,
    region: str,
    stated_at: datetime,
    consents: Sequence[ConsentStatement],
    store_code: str = "",
) -> tuple[Statement | None, tuple[str, str] | None]:
    """What the order says of its customer, and what they are recognised by. Nobody, where it names no usable e-mail and
    no usable phone: a name alone would make a new person of each order.

    A guest is known by the address itself, so that the next order without an account is the same person's.
    """
    email = normalise.email(fields.get("email", ""))
    phone = normalise.phone(fields.get("phone", ""), region)
    if email:
        shown = ("email", email.address)
    elif phone:
        shown = ("phone", phone.e164)
    else:
        return None, None
    guest = f"guest:{email.key if email else phone.e164 if phone else ''}"
    told = {name: value for name, value in fields.items() if value}
    if phone:
        # Read in the buyer's country, once: the store's own region would make another number of the same digits.
        told["phone"] = phone.e164
    return (
        Statement(
            external_id=(f"customer:{customer_id}" if customer_id else guest)[:LONGEST_ID],
            fields=told,
            # The person's part alone: the same customer's next order says nothing new of them.
            raw={**told, **({"customer": customer_id} if customer_id else {"guest": True})},
            stated_at=stated_at,
            store_code=store_code,
            consents=consents,
        ),
        shown,
    )


def consent(
    channel: str, granted: bool | None, at: datetime | None, wording: str
) -> tuple[ConsentStatement | None, bool]:
    """A shop's answer as a consent, and whether it was a yes that nothing proves.

    A yes counts only with its date and with the words that the customer saw. A no needs no proof.
    """
    if granted is None:
        return None, False
    if granted and not (at and wording):
        return None, True
    return ConsentStatement(channel, granted, at, wording), False


# --- A refund that names no lines ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sold:
    """A line of the recorded ticket and what of it has come back before."""

    number: int
    quantity: Decimal
    amount_cents: int
    returned: Decimal = Decimal(0)
    paid_back_cents: int = 0

    @property
    def left_cents(self) -> int:
        return self.amount_cents - self.paid_back_cents

    @property
    def left(self) -> Decimal:
        return self.quantity - self.returned


def lines_for(amount_cents: int, sold: Sequence[Sold]) -> dict[int, Decimal]:
    """Which part of which lines an amount paid back stands for: line number -> quantity.

    All that is left, where the amount covers it (the rest was shipping, which no ticket holds); else whole pieces of
    one line that come to the very amount; else the lines from the first on, the last of them in thousandths of its
    quantity, rounded so that no more than the amount goes back.
    """
    open_lines = [line for line in sold if line.left > 0]
    if amount_cents <= 0 or not open_lines:
        return {}
    if amount_cents >= sum(line.left_cents for line in open_lines):
        return {line.number: line.left for line in open_lines}
    for line in open_lines:
        for pieces in range(1, min(int(line.left), 1000) + 1):
            due = int(line.amount_cents * (line.returned + pieces) / line.quantity) - line.paid_back_cents
            if due == amount_cents:
                return {line.number: Decimal(pieces)}
    chosen: dict[int, Decimal] = {}
    rest = amount_cents
    for line in open_lines:
        if line.left_cents <= 0:
            continue
        if line.left_cents <= rest:
            chosen[line.number] = line.left
            rest -= line.left_cents
        elif rest > 0:
            # The ticket pays back what is due for all that came back, cumulated: so is the part reckoned.
            upto = (Decimal(line.paid_back_cents + rest) * line.quantity / line.amount_cents) // THOUSANDTH
            part = upto * THOUSANDTH - line.returned
            if part > 0:
                chosen[line.number] = part
            break
    return chosen


def sample_time() -> datetime:
    """A moment for samples: an hour ago, so that no rule finds them in the future."""
    return (datetime.now(UTC) - timedelta(hours=1)).replace(microsecond=0)
