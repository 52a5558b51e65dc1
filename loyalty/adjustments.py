"""Points given or taken by hand: with a reason from a list, within limits, never on one's own card.

What is beyond a store manager's limits waits until head office says yes or no (`ask`, `approve`, `refuse`).
"""

from collections.abc import Iterable
from datetime import datetime, time, timedelta

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import ledger, rules
from loyalty.models import Account, Adjustment, Posting, Transaction
from profiles.models import Identifier, Profile
from tenants.calendar import brand_today, brand_zone
from tenants.network.models import Staff, Store, audit
from tenants.roles import HEAD_OFFICE
from tenants.scoping import whole_network

REASONS = frozenset(Adjustment.Reason.values)
LIVES_MONTHS = 12
# What a store manager may give without head office.
MOST_AT_ONCE, MOST_A_DAY = 200, 1000
# Nobody gives more in one go, to spare a programme a slip of the hand.
MOST_EVER = 1_000_000
HEAD_OFFICE_ONLY = "head_office_only"


class NotAllowed(Exception):
    """The adjustment is refused; `code` says by which rule."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def check(profile: Profile, points: int, *, store: Store, reason: str, comment: str, by: Staff) -> None:
    """Raise `NotAllowed` for what nobody may do, within the limits or not."""
    if not by.has_perm("loyalty.add_adjustment"):
        raise NotAllowed("not_allowed", _("your role does not adjust points"))
    if reason not in REASONS:
        raise NotAllowed("unknown_reason", _("«%s» is no reason of the list") % reason[:40])
    if not comment.strip():
        raise NotAllowed("comment_missing", _("say in a comment why"))
    if not points:
        raise NotAllowed("no_points", _("an adjustment gives or takes points"))
    if abs(points) > MOST_EVER:
        raise NotAllowed("too_many", _("no more than %s points in one go") % MOST_EVER)
    if is_own_card(profile, by):
        raise NotAllowed("own_card", _("nobody adjusts the points of their own card"))
    if by.role not in HEAD_OFFICE and not by.stores.filter(pk=store.pk).exists():
        raise NotAllowed("other_store", _("this store is not yours"))


def is_own_card(profile: Profile, by: Staff) -> bool:
    """Whether the customer is who signed in: any e-mail by which the customer is known is theirs."""
    return (profile.email or "").casefold() == by.email.casefold() or bool(own_cards([profile.pk], by))


def own_cards(profile_ids: Iterable[int], by: Staff) -> set[int]:
    """Those of the customers who are the person that signed in."""
    ids = list(profile_ids)
    with whole_network():
        known = Identifier.objects.filter(profile__in=ids, kind=Identifier.Kind.EMAIL, value__iexact=by.email)
        written = Profile.objects.filter(pk__in=ids, email__iexact=by.email)
        return {*known.values_list("profile", flat=True), *written.values_list("pk", flat=True)}


def exceeds_limits(points: int, by: Staff, now: datetime) -> bool:
    """Whether head office has to say yes. Waits for whatever else the same person is adjusting, so that two forms sent
    at once cannot both find room under the day's limit."""
    if by.role in HEAD_OFFICE:
        return False
    Staff.objects.select_for_update(no_key=True).get(pk=by.pk)
    return abs(points) > MOST_AT_ONCE or abs(points) + given_today(by, now) > MOST_A_DAY


@transaction.atomic
def ask(
    profile: Profile, points: int, *, store: Store, reason: str, comment: str, by: Staff, key: str,
    now: datetime | None = None,
) -> Adjustment:  # fmt: skip
    """Adjust, or have it wait for head office where it is beyond the limits. The same `key` again changes nothing.

    Raises `NotAllowed`, `ledger.NotEnoughPoints`.
    """
    now = now or timezone.now()
    # A form sent twice at once: the second finds what the first made.
    Staff.objects.select_for_update(no_key=True).get(pk=by.pk)
    with whole_network():
        before = Adjustment.objects.filter(key=key).first()
    if before:
        return before
    check(profile, points, store=store, reason=reason, comment=comment, by=by)
    asked = Adjustment(
        key=key, profile=profile, store=store, points=points, reason=reason, comment=comment.strip()[:300],
        asked_by=by, asked_at=now,
    )  # fmt: skip
    if exceeds_limits(points, by, now):
        asked.save(force_insert=True)
        audit(by, "asked for", asked, store_id=store.pk, reason=asked.comment, points=points)
        return asked
    asked.transaction_id = adjust(
        profile, points, store=store, reason=reason, comment=comment, by=by, key=key, now=now
    )
    asked.state = Adjustment.State.POSTED
    asked.save(force_insert=True)
    return asked


@transaction.atomic
def approve(adjustment_id: int, *, by: Staff, answer: str = "") -> Adjustment:
    """Head office says yes: the points are posted now. Raises `NotAllowed`, `ledger.NotEnoughPoints`."""
    asked = _waiting(adjustment_id, by)
    with whole_network():
        living = asked.profile.survivor
    asked.transaction_id = adjust(
        living,
        asked.points,
        store=asked.store,
        reason=asked.reason,
        comment=asked.comment,
        by=by,
        key=asked.key,
    )
    asked.state = Adjustment.State.POSTED
    _decided(asked, by, answer)
    audit(by, "approved", asked, store_id=asked.store_id, reason=asked.answer, points=asked.points)
    return asked


@transaction.atomic
def refuse(adjustment_id: int, *, by: Staff, answer: str) -> Adjustment:
    """Head office says no, and why. Raises `NotAllowed`."""
    asked = _waiting(adjustment_id, by)
    if not answer.strip():
        raise NotAllowed("comment_missing", _("say in a comment why"))
    asked.state = Adjustment.State.REFUSED
    _decided(asked, by, answer)
    audit(by, "refused", asked, store_id=asked.store_id, reason=asked.answer, points=asked.points)
    return asked


def ask_reversal(made: Adjustment, *, comment: str, by: Staff, now: datetime | None = None) -> Adjustment:
    """Ask for the opposite of what was posted, once: asked again, the first answer stands. Raises as `ask` does."""
    if made.transaction_id is None:
        raise NotAllowed("not_posted", _("nothing was posted that could be reversed"))
    with whole_network():
        living = made.profile.survivor
    return ask(
        living, -made.points, store=made.store, reason=Adjustment.Reason.CORRECTION, comment=comment, by=by,
        key=f"reverse:{made.transaction_id}", now=now,
    )  # fmt: skip


def _waiting(adjustment_id: int, by: Staff) -> Adjustment:
    if not by.has_perm("loyalty.decide_adjustment"):
        raise NotAllowed("not_allowed", _("your role does not decide about points"))
    asked = (
        Adjustment.objects.select_for_update(of=("self",))
        .select_related("profile", "store")
        .get(pk=adjustment_id)
    )
    if asked.state != Adjustment.State.WAITING:
        raise NotAllowed("decided_before", _("it was decided before"))
    if asked.asked_by_id == by.pk:
        raise NotAllowed("own_request", _("nobody decides about what they asked for"))
    return asked


def _decided(asked: Adjustment, by: Staff, answer: str) -> None:
    asked.decided_by, asked.decided_at, asked.answer = by, timezone.now(), answer.strip()[:300]
    asked.save(update_fields=["state", "transaction", "decided_by", "decided_at", "answer"])


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
    check(profile, points, store=store, reason=reason, comment=comment, by=by)
    if exceeds_limits(points, by, now):
        raise NotAllowed(
            HEAD_OFFICE_ONLY,
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
