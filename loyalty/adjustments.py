"""Points given or taken by hand: with a reason from a list, within limits, never on one's own card."""

from datetime import datetime, time, timedelta

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import ledger, rules
from loyalty.models import Account, Posting, Transaction
from profiles.models import Profile
from tenants.calendar import brand_today, brand_zone
from tenants.network.models import Staff, Store, audit
from tenants.roles import HEAD_OFFICE
from tenants.scoping import whole_network

REASONS = frozenset({"complaint", "goodwill", "missing_ticket", "wrong_ticket", "contest", "correction"})
LIVES_MONTHS = 12
# What a store manager may give without head office.
MOST_AT_ONCE, MOST_A_DAY = 200, 1000


class NotAllowed(Exception):
    """The adjustment is refused; `code` says by which rule."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


@transaction.atomic
def adjust(
    profile: Profile, points: int, *, store: Store, reason: str, comment: str, by: Staff, key: str,
    now: datetime | None = None,
) -> int:  # fmt: skip
    """Give points (or take, below zero) at the store's cost. Returns the transaction's id.

    `key` names the deed, so that a form sent twice counts once. Raises `NotAllowed`, `ledger.NotEnoughPoints`,
    `ledger.AlreadyPosted`.
    """
    now = now or timezone.now()
    if reason not in REASONS:
        raise NotAllowed("unknown_reason", _("«%s» is no reason of the list") % reason[:40])
    if not comment.strip():
        raise NotAllowed("comment_missing", _("say in a comment why"))
    if not points:
        raise NotAllowed("no_points", _("an adjustment gives or takes points"))
    if profile.email and profile.email.casefold() == by.email.casefold():
        raise NotAllowed("own_card", _("nobody adjusts the points of their own card"))
    if by.role not in HEAD_OFFICE:
        # One after the other, so that two forms sent at once cannot both find room under the day's limit.
        Staff.objects.select_for_update(no_key=True).get(pk=by.pk)
        if not by.stores.filter(pk=store.pk).exists():
            raise NotAllowed("other_store", _("this store is not yours"))
        if abs(points) > MOST_AT_ONCE or abs(points) + given_today(by, now) > MOST_A_DAY:
            raise NotAllowed(
                "head_office_only",
                _("more than %(once)s points, or %(day)s a day, are for head office")
                % {"once": MOST_AT_ONCE, "day": MOST_A_DAY},
            )
    posted = ledger.adjust(
        profile.pk, points, store_id=store.pk, key=f"adjust:{key}"[:120], at=now, actor=_actor(by),
        why={"reason": reason, "comment": comment.strip()[:300]},
        expires_on=rules.last_day(brand_today(), LIVES_MONTHS) if points > 0 else None,
    )  # fmt: skip
    audit(by, "adjusted", profile, reason=reason, store_id=store.pk, points=points, comment=comment.strip())
    return posted


def reverse(adjustment_id: int, *, comment: str, by: Staff, now: datetime | None = None) -> int:
    """Post the opposite of an adjustment, once. Raises as `adjust` does."""
    with whole_network():
        made = Transaction.objects.select_related("profile", "store").get(
            pk=adjustment_id, kind=Transaction.Kind.ADJUST, key__startswith="adjust:"
        )
    assert made.store is not None, "an adjustment is at a store's cost"
    assert made.profile is not None, "an adjustment is a member's"
    return adjust(
        made.profile, -_points_of(made), store=made.store, reason="correction", comment=comment, by=by,
        key=f"reverse:{made.pk}", now=now,
    )  # fmt: skip


def given_today(by: Staff, now: datetime) -> int:
    """Points, given or taken, that this person adjusted on the brand's day so far."""
    with whole_network():
        start = datetime.combine(now.astimezone(brand_zone()).date(), time.min, brand_zone())
        mine = Transaction.objects.filter(
            kind=Transaction.Kind.ADJUST, actor=_actor(by), occurred_at__gte=start,
            occurred_at__lt=start + timedelta(days=1),
        )  # fmt: skip
        return sum(abs(_points_of(made)) for made in mine)


def _points_of(made: Transaction) -> int:
    """What the member was given; below zero, what was taken."""
    at_store = Posting.objects.filter(transaction=made, account__kind=Account.Kind.ADJUSTMENT)
    with whole_network():
        return -(at_store.aggregate(points=Sum("points"))["points"] or 0)


def _actor(by: Staff) -> str:
    return by.email[:160]
