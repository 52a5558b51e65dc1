"""The programme that a new brand begins with: a template to shape, so that the first ticket already earns."""

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import rulebook
from loyalty.models import Programme, Rule, Tier

REWARD_POINTS, REWARD_CENTS = 100, 500
EXPIRY_MONTHS = 12
TIERS = (("silver", 500), ("gold", 1500))
# Codes of what earns nothing until a brand says otherwise: it is no sale yet, or the law allows no advantage on it.
EXCLUDED = ("GIFTCARD", "DEPOSIT", "DELIVERY", "TOBACCO", "MEDICINE", "INFANT-FORMULA")
BIG_BASKET_CENTS, BIG_BASKET_POINTS = 10_000, 50


@transaction.atomic
def open_programme(time_zone: str, points_from: date | None = None) -> Programme:
    """One point for each euro, fifty more for a big basket, two tiers; tickets earn from `points_from` on (today if
    omitted). Does nothing where a programme stands already."""
    standing = Programme.objects.first()
    if standing:
        return standing
    programme = Programme.objects.create(
        name=_("Loyalty programme"), reward_points=REWARD_POINTS, reward_cents=REWARD_CENTS
    )
    names = {"silver": _("Silver"), "gold": _("Gold")}
    Tier.objects.bulk_create(Tier(code=code, name=names[code], threshold=n) for code, n in TIERS)
    start = timezone.now()
    if points_from:
        start = datetime.combine(points_from, time.min, ZoneInfo(time_zone))
    base = Rule.objects.create(
        code="base", name=_("One point for each euro"), kind=Rule.Kind.BASE, priority=10
    )
    terms = {
        "points": 1,
        "per_cents": 100,
        "rounding": "ticket",
        "pending_days": 0,
        "expiry_months": EXPIRY_MONTHS,
    }
    rulebook.publish(
        base,
        {"except_categories": list(EXCLUDED)},
        terms,
        reason=_("opening of the brand"),
        effective_from=start,
    )
    bonus = Rule.objects.create(
        code="big-basket", name=_("Bonus for a big basket"), kind=Rule.Kind.BONUS, priority=50
    )
    rulebook.publish(
        bonus,
        {"min_total_cents": BIG_BASKET_CENTS},
        {"points": BIG_BASKET_POINTS},
        reason=_("opening of the brand"),
        effective_from=start,
    )
    return programme
