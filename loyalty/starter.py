"""The programme that a new brand begins with: a template to shape, so that the first ticket already earns."""

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import rulebook
from loyalty.models import Programme, Reward, Rule, RuleDraft, Tier, TierGift
from tenants.calendar import brand_today
from tenants.network.models import Staff

REWARD_POINTS, REWARD_CENTS = 100, 500
EXPIRY_MONTHS = 12
TIERS = (("silver", 500), ("gold", 1500))
# Codes of what earns nothing until a brand says otherwise: it is no sale yet, or the law allows no advantage on it.
EXCLUDED = ("GIFTCARD", "DEPOSIT", "DELIVERY", "TOBACCO", "MEDICINE", "INFANT-FORMULA")
BIG_BASKET_CENTS, BIG_BASKET_POINTS = 10_000, 50
# Examples of what earns without a purchase, as drafts: nothing of it holds before somebody publishes it.
ACTIONS: dict[str, dict] = {
    "birthday": {"points": 50},
    "download_app": {"points": 50, "times": 1, "period": "ever"},
    "review": {"points": 10, "times": 5, "period": "year"},
}


@transaction.atomic
def open_programme(time_zone: str, points_from: date | None = None, by: Staff | None = None) -> Programme:
    """One point for each euro, fifty more for a big basket, two tiers; tickets earn from `points_from` on (today if
    omitted). `by`: in whose name examples are laid out of what else a programme can do; none is in force.

    Does nothing where a programme stands already.
    """
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
    if by is not None:
        _lay_out_examples(by)
    return programme


def _lay_out_examples(by: Staff) -> None:
    """Rules as drafts, a reward that is switched off, and a gift of the highest tier that is, too."""
    names = {
        "birthday": _("Birthday"), "download_app": _("The app downloaded"), "review": _("A review written"),
    }  # fmt: skip
    for priority, (action, terms) in enumerate(ACTIONS.items(), start=60):
        rule = Rule.objects.create(
            code=action.replace("_", "-"), name=names[action], kind=Rule.Kind.ACTION, priority=priority
        )
        said = {"action": action, "expiry_months": EXPIRY_MONTHS} | terms
        RuleDraft.objects.create(rule=rule, terms=said, reason=_("an example"), made_by=by)
    reward = Reward.objects.create(
        code="first-reward", name=_("Money off, an example"), kind=Reward.Kind.MONEY_OFF, points=REWARD_POINTS,
        worth_cents=REWARD_CENTS, valid_from=brand_today(), is_offered=False,
    )  # fmt: skip
    TierGift.objects.create(tier=Tier.objects.get(code=TIERS[-1][0]), reward=reward, is_on=False)
