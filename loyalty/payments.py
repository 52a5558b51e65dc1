"""Tickets that a redemption or a voucher paid in part: what comes back of it when goods come back.

Such a reward stands on the ticket as a line of its own, below zero and last, in as many pieces as it has cents, so that
any part of it is a whole number. Goods brought back take their share of it along: of what was paid with points the
customer gets points, and only the rest in money. Every share is counted from everything brought back so far, so any
order and any split of returns comes to the same sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _
from msgspec.structs import replace

from loyalty import ledger, vouchers
from loyalty.models import LotUse, TicketPayment, Transaction, Voucher
from profiles.intake import Problem, RefundStatement, Ticket, TicketLine
from profiles.models import Purchase, PurchaseLine, Refund, RefundLine
from tenants.network.models import Till
from tenants.scoping import whole_network

SKU = "REWARD"


@dataclass(frozen=True)
class PaidWith:
    """What the till names: its own redemption or committed reservation, or the code of a voucher that was used in its
    store. One of the three."""

    redemption_id: str = ""
    voucher: str = ""
    reservation_id: str = ""


@dataclass(frozen=True)
class Part:
    """A redemption that pays a part of a ticket."""

    transaction_id: int
    cents: int
    points: int
    label: str


def priced(till: Till, ticket: Ticket, paid_with: Sequence[PaidWith]) -> tuple[Ticket, list[Part]]:
    """The ticket with a line for each reward that paid it. Raises `Problem`."""
    parts = [_part(till, ticket, told, f"paid_with[{place}]") for place, told in enumerate(paid_with)]
    if len({part.transaction_id for part in parts}) < len(parts):
        raise Problem("payment_twice", _("a reward pays a ticket once"), "paid_with")
    lines = [
        TicketLine(sku=SKU, label=part.label, amount_cents=-part.cents, quantity=Decimal(part.cents))
        for part in parts
    ]
    return replace(ticket, lines=[*ticket.lines, *lines]), parts


def _part(till: Till, ticket: Ticket, told: PaidWith, field: str) -> Part:
    if sum(map(bool, (told.redemption_id, told.voucher, told.reservation_id))) != 1:
        raise Problem(
            "invalid_payment", _("give exactly one of redemption_id, reservation_id, voucher"), field
        )
    with whole_network():
        if not told.voucher:
            fact = _redemption(till, told)
            if fact is None:
                raise Problem("unknown_redemption", _("this till knows no redemption of this id"), field)
            cents = next((step["cents"] for step in fact.explanation if "cents" in step), 0)
            # What was reserved first took its lots then.
            used = LotUse.objects.filter(transaction=fact.reverses_id or fact.pk, points__gt=0)
            points = used.aggregate(points=Sum("points"))["points"] or 0
            part = Part(fact.pk, cents, points, (told.redemption_id or told.reservation_id)[:120])
        else:
            try:
                voucher = vouchers.find(told.voucher)
            except vouchers.Refused as refused:
                raise Problem(refused.code, refused.detail, field) from refused
            if voucher.state != Voucher.State.USED or voucher.used_in_id != till.store_id:
                raise Problem(
                    "voucher_not_used", _("this voucher was not used in this store: use it first"), field
                )
            part = Part(voucher.use_id, voucher.used_cents, voucher.points, str(voucher))
        if not part.cents:
            raise Problem("pays_nothing", _("this took no money off"), field)
        other = (
            TicketPayment.objects.select_related("purchase").filter(transaction=part.transaction_id).first()
        )
        if other and (other.purchase.till_id, other.purchase.receipt_id) != (till.pk, ticket.receipt_id):
            raise Problem(
                "pays_another_ticket", _("this paid the ticket «%s»") % other.purchase.receipt_id, field
            )
    return part


def _redemption(till: Till, told: PaidWith) -> Transaction | None:
    if told.redemption_id:
        return Transaction.objects.filter(key=f"redeem:{till.pk}:{told.redemption_id}"[:120]).first()
    reserved = Transaction.objects.filter(key=ledger.reservation_key(till.pk, told.reservation_id))
    spent = Transaction.objects.filter(kind=Transaction.Kind.REDEEM, reverses__in=reserved.values("pk"))
    return spent.first()


def note(purchase: Purchase, parts: Sequence[Part]) -> None:
    """Remember what paid the ticket, whose last lines are those of `priced`."""
    with whole_network():
        first = PurchaseLine.objects.filter(purchase=purchase).count() - len(parts) + 1
        TicketPayment.objects.bulk_create(
            [
                TicketPayment(
                    purchase=purchase, transaction_id=part.transaction_id, line_number=number, cents=part.cents,
                    points=part.points,
                )
                for number, part in enumerate(parts, start=first)
            ]
        )  # fmt: skip


def comes_back_too(
    purchase: Purchase, told: RefundStatement, back: Mapping[int, int]
) -> list[tuple[int, Decimal]]:
    """Lines of rewards that come back with the goods, as (number, how much of it so far).

    `back` holds the cents of each line brought back so far, this refund included. Raises `Problem` where the till
    names such a line itself.
    """
    payments = list(TicketPayment.objects.filter(purchase=purchase).order_by("line_number"))
    numbers = {payment.line_number for payment in payments}
    for place, line in enumerate(told.lines):
        if line.number in numbers:
            raise Problem(
                "reward_line", _("line %s is a reward's: it comes back with the goods") % line.number,
                f"lines[{place}].number",
            )  # fmt: skip
    if not payments:
        return []
    goods, returned = _goods(purchase, numbers), sum(c for number, c in back.items() if number not in numbers)
    return [(payment.line_number, Decimal(_share(payment.cents, returned, goods))) for payment in payments]


def give_back(refund: Refund, *, actor: str = "") -> int | None:
    """Give the points back with which the goods were paid; returns how many, or None where none were.

    They return to the lots they came from, and live thirty days more where these have expired.
    """
    with whole_network():
        payments = list(
            TicketPayment.objects.filter(purchase=refund.purchase, points__gt=0).order_by("line_number")
        )
        if not payments:
            return None
        numbers = set(
            TicketPayment.objects.filter(purchase=refund.purchase).values_list("line_number", flat=True)
        )
        lines = RefundLine.objects.filter(line__purchase=refund.purchase).exclude(line__number__in=numbers)
        returned = lines.aggregate(cents=Sum("amount_cents"))["cents"] or 0
        goods, given = _goods(refund.purchase, numbers), 0
        for payment in payments:
            points = _share(payment.points, returned, goods) - _given(payment.transaction_id)
            if points > 0:
                ledger.give_back(
                    payment.transaction_id, points, key=f"return:{refund.pk}:{payment.pk}",
                    at=min(refund.refunded_at, timezone.now()), actor=actor,
                )  # fmt: skip
                given += points
    return given


def _goods(purchase: Purchase, rewards: set[int]) -> int:
    """What the goods of the ticket cost before rewards."""
    lines = PurchaseLine.objects.filter(purchase=purchase).exclude(number__in=rewards)
    return lines.aggregate(cents=Sum("amount_cents"))["cents"] or 0


def _share(whole: int, returned: int, goods: int) -> int:
    return whole * max(0, min(returned, goods)) // goods if goods > 0 else 0


def _given(transaction_id: int) -> int:
    uses = LotUse.objects.filter(transaction__reverses=transaction_id, points__lt=0)
    return -(uses.aggregate(points=Sum("points"))["points"] or 0)
