"""A store leaves the network: from a day on another one, or head office, pays for the points it issued.

One posting moves what members can still spend of them from the store's account of issued points to the buyer's or
head office's. No balance, lot or date of a member changes; from that posting on, settlement and the liability look to
the buyer.
"""

from datetime import date

from django.db import transaction
from django.db.models import Exists, OuterRef, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import ledger
from loyalty.models import Account, Lot, LotUse, StoreExit, Transaction
from loyalty.rewards import Refused
from tenants.calendar import brand_today
from tenants.network.models import Staff, Store, audit
from tenants.scoping import whole_network

Kind = Transaction.Kind


def must_be_possible(store: Store, on: date, buyer: Store | None = None) -> None:
    """Raise `Refused` where the store has left already, or where who takes over leaves as well."""
    with whole_network():
        if StoreExit.objects.filter(store=store).exists():
            raise Refused("exit_known", _("the exit of this store is noted already"), "store")
        if buyer is None:
            return
        if buyer == store:
            raise Refused("exit_to_itself", _("a store cannot take over its own points"), "buyer")
        if StoreExit.objects.filter(store=buyer).exists() or (buyer.closed_on and buyer.closed_on <= on):
            raise Refused("buyer_leaves", _("this store leaves the network itself"), "buyer")


@transaction.atomic
def agree(store: Store, on: date, *, buyer: Store | None = None, by: Staff) -> StoreExit:
    """Note that the store leaves on this day; carried out at once where the day has come. Raises `Refused`."""
    with whole_network():
        must_be_possible(store, on, buyer)
        made = StoreExit.objects.create(store=store, on=on, buyer=buyer, by=by)
        audit(by, "agreed exit", made, store_id=store.pk, on=on.isoformat(), buyer=buyer and buyer.pk)
        if on <= brand_today():
            made = carry_out(made)
    return made


@transaction.atomic
def carry_out(leaving: StoreExit) -> StoreExit:
    """Post the exit, once: the points move, and the store is closed if it is not."""
    with whole_network():
        leaving = StoreExit.objects.select_for_update(of=("self",)).select_related("store").get(pk=leaving.pk)
        if leaving.done_at is not None:
            return leaving
        # Whoever spends these points now is waited for; whoever comes later finds the buyer.
        lots = Lot.objects.select_for_update(no_key=True).filter(store=leaving.store, remaining__gt=0)
        points = sum(lots.order_by("pk").values_list("remaining", flat=True).iterator())
        points += _set_aside(leaving.store)
        giver = ledger.store_accounts(Account.Kind.ISSUED, [leaving.store_id])[leaving.store_id]
        fact = ledger.Fact(
            key=f"exit:{leaving.pk}", kind=Kind.FUND, profile_id=None, store_id=leaving.store_id,
            occurred_at=timezone.now(), actor=str(leaving.by or "system")[:160],
            points={giver: points, _issued_by(leaving.buyer_id): -points},
            explanation=[{"store": leaving.store_id, "buyer": leaving.buyer_id}],
        )  # fmt: skip
        leaving.transaction_id = ledger.post([fact])[fact.key]
        leaving.points, leaving.done_at = points, timezone.now()
        leaving.save(update_fields=["transaction", "points", "done_at"])
        Store.objects.filter(pk=leaving.store_id, closed_on=None).update(closed_on=leaving.on)
        audit("system", "carried out exit", leaving, store_id=leaving.store_id, points=points)
    return leaving


def carry_out_due(today: date) -> int:
    """Carry out the exits whose day has come; returns how many."""
    with whole_network():
        due = list(StoreExit.objects.filter(done_at=None, on__lte=today).order_by("pk"))
        for leaving in due:
            carry_out(leaving)
    return len(due)


def _set_aside(store: Store) -> int:
    """Points of the store's lots that stand in vouchers and reservations, and may come back."""
    ended = Transaction.objects.filter(reverses=OuterRef("transaction"))
    open_uses = LotUse.objects.filter(lot__store=store, transaction__kind__in=[Kind.ISSUE, Kind.RESERVE])
    return open_uses.exclude(Exists(ended)).aggregate(points=Sum("points"))["points"] or 0


def _issued_by(store_id: int | None) -> int:
    """The account of points issued by this store, or by head office, opened where missing."""
    if store_id is not None:
        return ledger.store_accounts(Account.Kind.ISSUED, [store_id])[store_id]
    Account.objects.bulk_create([Account(kind=Account.Kind.ISSUED)], ignore_conflicts=True)
    return Account.objects.values_list("pk", flat=True).get(kind=Account.Kind.ISSUED, store=None)
