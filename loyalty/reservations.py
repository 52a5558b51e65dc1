"""Points set aside for a basket: a till reserves them, and spends them when the basket is paid or gives them up.

A reservation holds a quarter of an hour by our clock; then its points are the member's again, whether or not the till
says so. Each of the three requests is answered once by the till's `reservation_id`, and the same again gets the same
answer. A till ends only what it reserved itself.
"""

from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import ledger, once, rules, statements
from loyalty.models import LotUse, Transaction
from loyalty.rewards import Refused
from loyalty.rulebook import Rulebook
from loyalty.till import Answer
from profiles.intake import Problem, Shown
from profiles.models import Profile
from tenants.network.models import Till
from tenants.scoping import whole_network

FIELD = "reservation_id"


def reserve(till: Till, shown: Shown, points: int, reservation_id: str) -> Answer:
    """Set points aside. Raises `Problem`, `UnknownMember`, `NotEnoughPoints`."""

    def deed() -> Answer:
        programme = Rulebook.load().programme
        step = programme.reward_points
        if points <= 0 or points % step:
            raise Problem("invalid_points", _("points are spent in steps of %s") % step, "points")
        profile = once.member_shown(till, shown)
        cents, now = rules.discount_for(points, step, programme.reward_cents), timezone.now()
        ledger.reserve(
            profile.pk, points, store_id=till.store_id, key=ledger.reservation_key(till.pk, reservation_id), at=now,
            actor=str(till), cents=cents,
        )  # fmt: skip
        until = (now + ledger.RESERVED_FOR).isoformat(timespec="seconds")
        body = _body(reservation_id, profile, points) | {"discount_cents": cents, "expires_at": until}
        return Answer(201, body)

    content = ["reserve", shown.kind, shown.value, points]
    return once.answered_or_again(till, f"reservation:{reservation_id}", content, deed, field=FIELD)


def commit(till: Till, reservation_id: str) -> Answer:
    """Spend what was reserved: the basket is paid. Raises `Refused`."""

    def deed() -> Answer:
        reservation = _reservation(till, reservation_id)
        try:
            ledger.commit(reservation.pk, at=timezone.now(), actor=str(till))
        except ledger.ReservationOver:
            raise _over(reservation) from None
        body = _body(reservation_id, reservation.profile, _points_of(reservation))
        return Answer(201, body | {"discount_cents": _cents_of(reservation)})

    content = ["commit", reservation_id]
    return once.answered_or_again(till, f"reservation-commit:{reservation_id}", content, deed, field=FIELD)


def cancel(till: Till, reservation_id: str) -> Answer:
    """Give up what was reserved: its points are back in the lots they came from. Raises `Refused` where it was spent.

    One whose time has passed is answered alike: what the till wants has happened.
    """

    def deed() -> Answer:
        reservation = _reservation(till, reservation_id)
        try:
            ledger.cancel(reservation.pk, at=timezone.now(), actor=str(till))
        except ledger.ReservationOver:
            over = _over(reservation)
            if over.code == "reservation_spent":
                raise over from None
        points = _points_of(reservation)
        return Answer(201, _body(reservation_id, reservation.profile, points) | {"points_given_back": points})

    content = ["cancel", reservation_id]
    return once.answered_or_again(till, f"reservation-cancel:{reservation_id}", content, deed, field=FIELD)


def _reservation(till: Till, reservation_id: str) -> Transaction:
    with whole_network():
        found = (
            Transaction.objects.filter(
                key=ledger.reservation_key(till.pk, reservation_id), kind=Transaction.Kind.RESERVE
            )
            .select_related("profile")
            .first()
        )
    if found is None:
        raise Refused("unknown_reservation", _("this till knows no reservation of this id"), FIELD)
    return found


def _over(reservation: Transaction) -> Refused:
    """Why the reservation can be ended no more."""
    with whole_network():
        end = Transaction.objects.filter(key=f"end:{reservation.pk}").first()
    if end is not None and end.kind == Transaction.Kind.REDEEM:
        return Refused("reservation_spent", _("its points were spent before"), FIELD)
    if end is not None and end.occurred_at < reservation.occurred_at + ledger.RESERVED_FOR:
        return Refused("reservation_cancelled", _("it was given up before"), FIELD)
    return Refused("reservation_expired", _("its quarter of an hour has passed"), FIELD)


def _body(reservation_id: str, profile: Profile, points: int) -> dict:
    balance = statements.balance_of(profile)
    return {
        FIELD: reservation_id, "member": str(profile.public_id), "points": points, "available": balance.available,
        "pending": balance.pending, "debt": balance.debt,
    }  # fmt: skip


def _points_of(reservation: Transaction) -> int:
    used = LotUse.objects.filter(transaction=reservation, points__gt=0)
    with whole_network():
        return used.aggregate(points=Sum("points"))["points"] or 0


def _cents_of(reservation: Transaction) -> int:
    return next((step["cents"] for step in reservation.explanation if "cents" in step), 0)
