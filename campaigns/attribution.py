"""What a campaign brought: what the addressed people did within the goal's window, beside those held back.

Nothing is attributed without a control group: sales after a message are not sales because of it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, OuterRef, QuerySet, Sum
from django.utils import timezone

from campaigns import lift
from campaigns.control import people_of
from campaigns.lift import Lift, Spread, Verdict
from campaigns.models import Campaign, Recipient
from campaigns.segments.fields import sum_of
from profiles.models import Profile, Purchase, Refund


@dataclass(frozen=True)
class ArmResult:
    """One arm: people in it, those who bought within the window, and what they spent net of refunds."""

    people: int
    buyers: int
    spend: Spread  # of cents, over all the people of the arm

    @property
    def conversion(self) -> float:
        """Buyers in percent."""
        return 100 * self.buyers / self.people if self.people else 0.0

    @property
    def mean_cents(self) -> int:
        return round(self.spend.mean)


@dataclass(frozen=True)
class Results:
    """`lift` is in percentage points for a goal of visits, in currency units a customer for a goal of turnover."""

    treated: ArmResult
    control: ArmResult
    lift: Lift | None
    verdict: Verdict
    opened_at: datetime
    closes_at: datetime
    closed: bool

    @property
    def extra_buyers(self) -> int | None:
        """How many of the addressed people bought because of the campaign, by the best estimate of rates."""
        found = lift.of_rates(
            self.treated.people, self.treated.buyers, self.control.people, self.control.buyers
        )
        return round(found.difference / 100 * self.treated.people) if found else None


class NotFrozen(ValueError):
    """A campaign whose audience is not chosen has no results."""


def results(campaign: Campaign, now: datetime | None = None) -> Results:
    """The results so far, in scope: a store sees its own recipients and purchases. Raises `NotFrozen`."""
    if campaign.frozen_at is None:
        raise NotFrozen
    now = now or timezone.now()
    opened_at, closes_at = campaign.frozen_at, campaign.frozen_at + timedelta(days=campaign.goal_days)
    bought = Purchase.objects.filter(bought_at__gte=opened_at, bought_at__lt=closes_at, profile__isnull=False)
    treated = _arm(people_of(campaign, Recipient.Arm.TREATED), bought)
    control = _arm(people_of(campaign, Recipient.Arm.CONTROL), bought)
    if campaign.goal == Campaign.Goal.SPEND:
        found = lift.of_amounts(_units(treated.spend), _units(control.spend))
    else:
        found = lift.of_rates(treated.people, treated.buyers, control.people, control.buyers)
    judged = lift.verdict(found, float(campaign.goal_uplift), min(treated.people, control.people))
    return Results(treated, control, found, judged, opened_at, closes_at, closed=now >= closes_at)


def _arm(people: QuerySet[Profile], bought: QuerySet[Purchase]) -> ArmResult:
    back = sum_of(Refund.objects.filter(purchase=OuterRef("pk")), "purchase", "total_cents")
    spent = (
        bought.filter(profile__in=people.values("pk"))
        .annotate(back=back)
        .order_by()
        .values("profile")
        .annotate(net=Sum(F("total_cents") - F("back")))
        .values_list("net", flat=True)
    )
    buyers = total = squares = 0
    for net in spent.iterator(chunk_size=5000):
        buyers, total, squares = buyers + 1, total + net, squares + net * net
    size = people.count()
    return ArmResult(size, buyers, Spread(size, total, squares))


def _units(cents: Spread) -> Spread:
    return Spread(cents.people, cents.total / 100, cents.squares / 10_000)
