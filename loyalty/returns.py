"""Returns that come before their sale: parked without effect, applied when the sale arrives, else asked about."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import payments
from loyalty.models import ParkedReturn
from profiles import intake
from profiles.intake import Problem, RefundLineStatement, RefundStatement
from profiles.models import Purchase, Refund
from tenants.network.models import Staff, Store, Till, audit
from tenants.scoping import whole_network

State = ParkedReturn.State


class NotWaiting(ValueError):
    """The return took effect or was closed before, or nobody said why."""


def park(till: Till, told: RefundStatement) -> dict:
    """Keep a return whose sale is not known yet; the answer's body."""
    ParkedReturn.objects.create(
        store=till.store, till=till, business_day=told.refunded_at.astimezone(till.store.zone).date(),
        refund_id=told.refund_id, receipt_id=told.receipt_id, sale_store=told.store_code or till.store.code,
        statement=_as_json(told),
    )  # fmt: skip
    return {
        "refund_id": told.refund_id, "receipt_id": told.receipt_id, "parked": True, "refunded_cents": 0,
        "points_taken_back": 0, "member": None,
    }  # fmt: skip


def may_wait(told: RefundStatement) -> bool:
    """Whether the sale may still come: of a store that does not exist, none does."""
    with whole_network():
        return not told.store_code or Store.objects.filter(code=told.store_code).exists()


def waiting_for(till: Till, sales: Iterable[Purchase]) -> list[ParkedReturn]:
    """Returns parked for these new sales of the till's store, in the order in which they were made."""
    receipts = {sale.receipt_id for sale in sales}
    if not receipts:
        return []
    with whole_network():
        rows = ParkedReturn.objects.filter(
            state=State.WAITING, sale_store=till.store.code, receipt_id__in=receipts
        )
        return list(rows.select_related("till__store").order_by("pk"))


def whose_sale_came(limit: int = 500) -> list[ParkedReturn]:
    """Returns that wait though a sale of their number is known: the two crossed, or it came another way."""
    with whole_network():
        sale = Purchase.objects.filter(receipt_id=OuterRef("receipt_id"), store__code=OuterRef("sale_store"))
        rows = ParkedReturn.objects.filter(Exists(sale), state=State.WAITING)
        return list(rows.select_related("till__store").order_by("pk")[:limit])


def apply(parked: ParkedReturn) -> Refund | None:
    """Record the refund, in the transaction of its sale; None where it still waits, or does not fit its sale."""
    with whole_network():
        try:
            with transaction.atomic():
                refund, _verdict = intake.record_refund(
                    parked.till, _told(parked.statement), payments.comes_back_too
                )
        except Problem as problem:
            if problem.code != "unknown_sale":
                parked.state, parked.problem, parked.ended_at = (
                    State.REFUSED,
                    problem.detail[:300],
                    timezone.now(),
                )
                parked.save(update_fields=["state", "problem", "ended_at"])
            return None
        parked.state, parked.applied_as, parked.ended_at = State.APPLIED, refund, timezone.now()
        parked.save(update_fields=["state", "applied_as", "ended_at"])
    return refund


@transaction.atomic
def close(parked_id: int, *, by: Staff, comment: str) -> None:
    """Give up on a return that found no sale, or does not fit it: it never takes effect. Raises `NotWaiting`."""
    if not comment.strip():
        raise NotWaiting(_("say in a comment why"))
    parked = ParkedReturn.objects.select_for_update(of=("self",)).get(pk=parked_id)
    if parked.state not in (State.WAITING, State.REFUSED):
        raise NotWaiting(_("this return is settled"))
    parked.state, parked.ended_at = State.CLOSED, timezone.now()
    parked.problem = comment.strip()[:300]
    parked.save(update_fields=["state", "problem", "ended_at"])
    audit(by, "closed", parked, reason=parked.problem, store_id=parked.store_id, receipt=parked.receipt_id)


def unresolved(rows: QuerySet, days: int) -> QuerySet:
    """Those for a person: waiting for so many days, or not fitting their sale."""
    late = rows.filter(state=State.WAITING, parked_at__lt=timezone.now() - timedelta(days=days))
    return late | rows.filter(state=State.REFUSED)


def _as_json(told: RefundStatement) -> dict:
    return asdict(told) | {
        "refunded_at": told.refunded_at.isoformat(),
        "business_day": told.business_day and told.business_day.isoformat(),
        "lines": [[line.number, str(line.quantity)] for line in told.lines],
    }


def _told(kept: dict) -> RefundStatement:
    day = kept["business_day"]
    return RefundStatement(
        kept["refund_id"], datetime.fromisoformat(kept["refunded_at"]), kept["receipt_id"],
        [RefundLineStatement(number, Decimal(quantity)) for number, quantity in kept["lines"]],
        day and date.fromisoformat(day), kept["store_code"],
    )  # fmt: skip
