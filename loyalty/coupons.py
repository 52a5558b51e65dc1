"""Coupons of a basket: which work, which combine, what they take off; and their use, within limits that the database
keeps however many tills ask at once.

Coupons are looked at in the order of their codes. Each takes its part of what those before it left of the basket.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import DatabaseError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from loyalty.models import Coupon, CouponTally, CouponUse, StackingClass
from loyalty.rewards import Refused
from profiles.models import Profile
from tenants.network.models import Store
from tenants.scoping import whole_network
from tenants.templatetags.money import money


@dataclass
class Reason:
    """Why a coupon cannot be used: `code` is stable; `other` names the coupon it does not combine with."""

    code: str
    detail: str
    other: str = ""


@dataclass
class Verdict:
    """What becomes of one coupon of the basket."""

    told: str
    coupon: Coupon | None = None
    cents: int = 0
    reasons: list[Reason] = field(default_factory=list)

    @property
    def works(self) -> bool:
        return not self.reasons


class NotUsable(Refused):
    """A coupon of the basket cannot be used, and so none was; `verdicts` say why, coupon by coupon."""

    def __init__(self, verdicts: list[Verdict]):
        self.verdicts = verdicts
        first = next(verdict for verdict in verdicts if not verdict.works)
        text = "; ".join(
            f"{verdict.told}: {reason.detail}" for verdict in verdicts for reason in verdict.reasons
        )
        super().__init__(first.reasons[0].code, text, "coupons")


def check(
    codes: Sequence[str], *, store: Store, total_cents: int, at: datetime, profile: Profile | None = None
) -> list[Verdict]:
    """What each coupon would take off this basket, or every reason why not. Uses nothing."""
    with whole_network():
        known = {
            coupon.code: coupon
            for coupon in Coupon.objects.filter(code__in=[_plain(code) for code in codes]).select_related(
                "stacking"
            )
        }
        verdicts = [Verdict(code, known.get(_plain(code))) for code in codes]
        seen: set[str] = set()
        for verdict in sorted(verdicts, key=lambda verdict: _plain(verdict.told)):
            code = _plain(verdict.told)
            if code in seen:
                verdict.reasons.append(Reason("coupon_twice", _("this coupon is named twice")))
            elif verdict.coupon is None:
                verdict.reasons.append(Reason("unknown_coupon", _("no coupon has this code")))
            else:
                verdict.reasons += _reasons(verdict.coupon, store, total_cents, at, profile)
            seen.add(code)
        _look_at_pairs(verdicts)
    _take_off(verdicts, total_cents)
    return verdicts


@transaction.atomic
def use(
    codes: Sequence[str],
    *,
    store: Store,
    total_cents: int,
    at: datetime,
    basket: str,
    profile: Profile | None = None,
) -> list[Verdict]:
    """Use the coupons for this basket, all or none. Raises `NotUsable`: of two at once by the database's word."""
    verdicts = check(codes, store=store, total_cents=total_cents, at=at, profile=profile)
    if not all(verdict.works for verdict in verdicts):
        raise NotUsable(verdicts)
    with whole_network():
        # In one order everywhere, so that two baskets with the same coupons wait in a line and not in a circle.
        for verdict in sorted(verdicts, key=lambda verdict: verdict.coupon.pk if verdict.coupon else 0):
            try:
                with transaction.atomic():
                    CouponUse.objects.create(
                        coupon=verdict.coupon, store=store, profile=profile, basket=basket[:120], cents=verdict.cents,
                        used_at=at,
                    )  # fmt: skip
            except DatabaseError as error:
                promise = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None) or ""
                if promise not in REFUSALS:
                    raise
                verdict.reasons.append(REFUSALS[promise]())
                raise NotUsable(verdicts) from error
    return verdicts


@transaction.atomic
def cancel(basket: str, *, at: datetime) -> int:
    """Undo the use of a basket's coupons: they count no more. Returns how many; none where it was done before."""
    with whole_network():
        counted = CouponUse.objects.select_for_update().filter(basket=basket[:120], cancelled_at=None)
        uses = list(counted.order_by("coupon"))
        for use_of in uses:
            use_of.cancelled_at = at
            use_of.save(update_fields=["cancelled_at"])
    return len(uses)


def _plain(code: str) -> str:
    return code.strip().upper()


# What the database refuses while a use is written, in words.
REFUSALS = {
    "coupon_not_before_its_start": lambda: Reason("coupon_not_started", _("this coupon does not hold yet")),
    "coupon_not_after_its_end": lambda: Reason("coupon_over", _("this coupon holds no more")),
    "coupon_limit_in_all": lambda: Reason("coupon_limit_in_all", _("this coupon is used up")),
    "coupon_limit_of_store": lambda: Reason(
        "coupon_limit_of_store", _("this coupon is used up in this store")
    ),
    "coupon_limit_of_member": lambda: Reason(
        "coupon_limit_of_member", _("this customer has used this coupon up")
    ),
    "coupon_once_a_basket": lambda: Reason("coupon_twice", _("this coupon was used for this basket before")),
}


def _reasons(
    coupon: Coupon, store: Store, total_cents: int, at: datetime, profile: Profile | None
) -> list[Reason]:
    found = []
    if not coupon.is_on:
        found.append(Reason("coupon_off", _("this coupon was switched off")))
    if at < coupon.starts_at:
        on = date_format(timezone.localtime(coupon.starts_at), "SHORT_DATETIME_FORMAT")
        found.append(Reason("coupon_not_started", _("this coupon holds from %s on") % on))
    if coupon.ends_at and at >= coupon.ends_at:
        on = date_format(timezone.localtime(coupon.ends_at), "SHORT_DATETIME_FORMAT")
        found.append(Reason("coupon_over", _("this coupon held until %s") % on))
    names = dict(coupon.stores.order_by("code").values_list("pk", "name"))
    if names and store.pk not in names:
        found.append(
            Reason("other_store", _("this is only valid in %s") % ", ".join(list(names.values())[:5]))
        )
    least = max(coupon.least_cents, 1)  # of nothing, nothing is taken off
    if total_cents < least:
        found.append(Reason("basket_too_small", _("the basket must come to %s at least") % money(least)))
    return found + _limits(coupon, store, profile)


def _limits(coupon: Coupon, store: Store, profile: Profile | None) -> list[Reason]:
    """What the counters say now; the database decides when it is used."""
    found = []
    tallies = CouponTally.objects.filter(Q(store=None) | Q(store=store), coupon=coupon)
    used = dict(tallies.values_list("store", "used"))
    if coupon.most_in_all is not None and used.get(None, 0) >= coupon.most_in_all:
        found.append(REFUSALS["coupon_limit_in_all"]())
    if coupon.most_a_store is not None and used.get(store.pk, 0) >= coupon.most_a_store:
        found.append(REFUSALS["coupon_limit_of_store"]())
    if coupon.most_a_member is not None:
        if profile is None:
            found.append(Reason("coupon_for_members", _("this coupon is for members: show the card")))
        elif (
            CouponUse.objects.filter(coupon=coupon, profile=profile, cancelled_at=None).count()
            >= coupon.most_a_member
        ):
            found.append(REFUSALS["coupon_limit_of_member"]())
    return found


def _look_at_pairs(verdicts: list[Verdict]) -> None:
    """Add to both of a pair that does not combine, with the other's name."""
    pairs = StackingClass.combines_with.through._base_manager.values_list(
        "from_stackingclass", "to_stackingclass"
    )
    allowed = set(pairs)
    known = [verdict for verdict in verdicts if verdict.coupon]
    for place, one in enumerate(known):
        for other in known[place + 1 :]:
            if one.coupon == other.coupon:
                continue
            if (one.coupon.stacking_id, other.coupon.stacking_id) in allowed:
                continue
            for mine, its in ((one, other), (other, one)):
                detail = _("it does not combine with %s") % its.coupon.code
                mine.reasons.append(Reason("does_not_combine", detail, its.coupon.code))


def _take_off(verdicts: list[Verdict], total_cents: int) -> None:
    left = max(0, total_cents)
    for verdict in sorted(verdicts, key=lambda verdict: _plain(verdict.told)):
        if verdict.coupon and verdict.works:
            whole = verdict.coupon.amount
            if verdict.coupon.kind == Coupon.Kind.PERCENT:
                whole = left * verdict.coupon.amount // 100
            verdict.cents = min(left, whole)
            left -= verdict.cents
