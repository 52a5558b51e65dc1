"""What the points out there will cost: by brand, store and month of earning, as cost and as IFRS 15 sees it.

Both views rest on an estimate of how many points are never spent. Estimates and policies are rows that are added,
never changed: who judged, when, why. The price of a sale is shared out by the estimate of its own month; what becomes
revenue since follows the newest (IFRS 15, 88 and B46).
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import TextIO

from django.db import transaction
from django.db.models import BooleanField, Case, Exists, OuterRef, Q, Sum, Value, When
from django.db.models.functions import TruncMonth
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import breakage
from loyalty.models import AccountingPolicy, BreakageEstimate, Lot, LotUse, Programme, Transaction
from profiles.models import Purchase, Refund
from tenants.calendar import brand_today, brand_zone
from tenants.network.models import Staff, Store, audit
from tenants.scoping import whole_network

Kind = Transaction.Kind
# Uses of lots by what they mean. Everything else takes points away again: a refund, a debt that was paid.
SPENT = frozenset({Kind.REDEEM, Kind.RESERVE, Kind.ISSUE, Kind.GIVE_BACK})
EXPIRED = frozenset({Kind.EXPIRE})
DEFAULT_POLICY = AccountingPolicy(principal=AccountingPolicy.Principal.HEAD_OFFICE, cost_percent=Decimal(100))
# Whether a lot was earned with a sale; points given by hand were not, and defer no revenue.
SOLD = Q(transaction__kind=Kind.EARN, transaction__purchase__isnull=False)
SOLD_OF_USE = Q(lot__transaction__kind=Kind.EARN, lot__transaction__purchase__isnull=False)


class BadEstimate(Exception):
    """The estimate or policy cannot be kept; `field` is the one at fault."""

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Figures:
    """Points and cents that can be added up.

    `points` were earned and not taken back; they are `spent`, `expired` or `left`. `worth_cents` is what the points
    left are worth if all are spent, `cost_cents` what they are expected to cost. `sales_cents` are the sales that
    earned points; of them `deferred_cents` stand for the points, of which `recognised_cents` became revenue.
    """

    points: int = 0
    spent: int = 0
    expired: int = 0
    left: int = 0
    expected: int = 0
    worth_cents: int = 0
    cost_cents: int = 0
    sales_cents: int = 0
    deferred_cents: int = 0
    recognised_cents: int = 0

    @property
    def contract_cents(self) -> int:
        """What IFRS 15 calls the contract liability."""
        return self.deferred_cents - self.recognised_cents

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Figures)))


@dataclass(frozen=True)
class Cohort:
    """The points earned in a month: their figures, the estimate in force, and how the curve says it will end.

    `curve` is the share spent up to the end of each month since; the last month may not be over. Shares are percents.
    """

    month: date
    figures: Figures
    estimated: Fraction
    projected: Fraction | None
    curve: Sequence[Fraction]

    @property
    def lost(self) -> Fraction:
        """What expired so far: the part of the breakage that is a fact."""
        return Fraction(100 * self.figures.expired, self.figures.points or 1)

    @property
    def spent(self) -> Fraction:
        return Fraction(100 * self.figures.spent, self.figures.points or 1)

    @property
    def difference(self) -> Fraction | None:
        """How far the curve is from the estimate, in points of percent; above zero more is lost than was judged."""
        return None if self.projected is None else self.projected - self.estimated


@dataclass(frozen=True)
class Report:
    """The liability of the brand at this moment. Every total is the sum of its rows, to the cent."""

    policy: AccountingPolicy
    rows: dict[tuple[date, int], Figures]
    cohorts: list[Cohort]

    @property
    def total(self) -> Figures:
        return sum(self.rows.values(), Figures())

    def by_store(self) -> dict[int, Figures]:
        found: dict[int, Figures] = defaultdict(Figures)
        for (_month, store_id), figures in self.rows.items():
            found[store_id] += figures
        return dict(sorted(found.items()))

    def carried(self) -> dict[int | None, Figures]:
        """The figures by who owes the member the reward, by the policy; None is head office."""
        if self.policy.principal == AccountingPolicy.Principal.HEAD_OFFICE:
            return {None: self.total}
        return {store_id: figures for store_id, figures in self.by_store().items()}  # noqa: C416 - another key type


def report() -> Report:
    """Everything, as of now."""
    with whole_network():
        programme, policy = Programme.objects.first(), policy_now()
        estimates = list(BreakageEstimate.objects.order_by("made_at", "pk"))
        lots, curves = _lots(), _curves()
        sales = _sales()
    worth = Fraction(programme.reward_cents, programme.reward_points) if programme else Fraction(0)
    rows: dict[tuple[date, int], Figures] = defaultdict(Figures)
    for (month, store_id, sold), counted in lots.items():
        now, then = share_of(estimates, month), share_of(estimates, month, at=_end_of(month))
        points, spent, left = counted["points"], counted["spent"], counted["left"]
        expected = breakage.still_expected(points, spent, left, now)
        sale = sales.get((month, store_id), 0) if sold else 0
        held_back = breakage.deferred(sale, breakage.rounded(points * worth), then)
        rows[month, store_id] += Figures(
            points, spent, counted["expired"], left, breakage.rounded(expected),
            breakage.rounded(left * worth),
            breakage.rounded(expected * worth * Fraction(policy.cost_percent) / 100),
            sale, held_back, breakage.recognised(held_back, points, spent, left, now),
        )  # fmt: skip
    ordered = dict(sorted(rows.items()))
    return Report(policy, ordered, _cohorts(ordered, curves, estimates))


def _lots() -> dict[tuple[date, int, bool], dict[str, int]]:
    """Points earned, spent, expired and left by month of earning, store and whether a sale earned them."""
    zone = brand_zone()
    found: dict[tuple[date, int, bool], dict[str, int]] = {}
    lots = Lot.objects.order_by().annotate(
        month=TruncMonth("transaction__occurred_at", tzinfo=zone), sold=_whether(SOLD)
    )
    for month, store_id, sold, points, left in lots.values_list("month", "store", "sold").annotate(
        earned=Sum("points"), out=Sum("remaining")
    ):
        found[month.date(), store_id, sold] = {"points": points, "left": left, "spent": 0, "expired": 0}
    uses = LotUse.objects.order_by().annotate(
        month=TruncMonth("lot__transaction__occurred_at", tzinfo=zone), sold=_whether(SOLD_OF_USE)
    )
    for month, store_id, sold, kind, points in uses.values_list(
        "month", "lot__store", "sold", "transaction__kind"
    ).annotate(sum=Sum("points")):
        counted = found[month.date(), store_id, sold]
        if kind in SPENT:
            counted["spent"] += points
        elif kind in EXPIRED:
            counted["expired"] += points
        else:
            counted["points"] -= points
    return found


def _whether(condition: Q) -> Case:
    return Case(When(condition, then=Value(True)), default=Value(False), output_field=BooleanField())


def _sales() -> dict[tuple[date, int], int]:
    """Cents of the sales that earned points, less what was brought back, by month and store."""
    zone = brand_zone()
    earning = Transaction.objects.filter(
        Exists(Lot.objects.filter(transaction=OuterRef("pk"))), kind=Kind.EARN, purchase=OuterRef("purchase")
    )
    sold = Purchase.objects.filter(
        Exists(
            Transaction.objects.filter(
                Exists(Lot.objects.filter(transaction=OuterRef("pk"))),
                kind=Kind.EARN, purchase=OuterRef("pk"),
            )
        )
    )  # fmt: skip
    found: dict[tuple[date, int], int] = defaultdict(int)
    rows = sold.order_by().annotate(month=TruncMonth("bought_at", tzinfo=zone)).values_list("month", "store")
    for month, store_id, cents in rows.annotate(sum=Sum("total_cents")):
        found[month.date(), store_id] += cents
    back = Refund.objects.filter(Exists(earning)).order_by()
    months = back.annotate(month=TruncMonth("purchase__bought_at", tzinfo=zone))
    for month, store_id, cents in months.values_list("month", "purchase__store").annotate(
        sum=Sum("total_cents")
    ):
        found[month.date(), store_id] -= cents
    return found


def _curves() -> dict[date, dict[int, int]]:
    """Points spent by month of earning and by months since."""
    zone = brand_zone()
    found: dict[date, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    uses = LotUse.objects.filter(transaction__kind__in=SPENT).order_by()
    rows = uses.annotate(
        earned=TruncMonth("lot__transaction__occurred_at", tzinfo=zone),
        used=TruncMonth("transaction__occurred_at", tzinfo=zone),
    ).values_list("earned", "used")
    for earned, used, points in rows.annotate(sum=Sum("points")):
        found[earned.date()][max(0, _months_between(earned.date(), used.date()))] += points
    return found


def _cohorts(
    rows: dict[tuple[date, int], Figures],
    curves: dict[date, dict[int, int]],
    estimates: list[BreakageEstimate],
) -> list[Cohort]:
    by_month: dict[date, Figures] = defaultdict(Figures)
    for (month, _store), figures in rows.items():
        by_month[month] += figures
    today = brand_today().replace(day=1)
    cumulated: dict[date, list[int]] = {}
    for month in by_month:
        so_far, curve = 0, []
        for age in range(_months_between(month, today) + 1):
            so_far += curves.get(month, {}).get(age, 0)
            curve.append(so_far)
        cumulated[month] = curve
    # The month under way would make every curve bend down.
    whole = {month: curve[:-1] for month, curve in cumulated.items()}
    factors = breakage.development(list(whole.values()))
    found = []
    for month, figures in sorted(by_month.items()):
        share = breakage.projected(whole[month], factors, figures.points, figures.left, figures.spent)
        shares = [Fraction(100 * points, figures.points or 1) for points in cumulated[month]]
        judged = 100 * share_of(estimates, month)
        found.append(Cohort(month, figures, judged, None if share is None else 100 * share, shares))
    return found


def _months_between(one: date, other: date) -> int:
    return 12 * (other.year - one.year) + other.month - one.month


def _end_of(month: date) -> datetime:
    following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    return datetime.combine(following, time.min, brand_zone())


# --- Estimates and policy -----------------------------------------------------------------------------------------


def share_of(estimates: Iterable[BreakageEstimate], month: date, at: datetime | None = None) -> Fraction:
    """The share of the month's points never spent, as judged at an instant (the newest judgement if omitted).

    An estimate of the month itself goes before one of all months. Where none was made by then, the first that was made
    later holds; where none was ever made, nothing is lost: the prudent side. `estimates`: the oldest first.
    """
    about = [estimate for estimate in estimates if estimate.cohort in (None, month)]
    made = [estimate for estimate in about if at is None or estimate.made_at < at] or about[:1]
    own = [estimate for estimate in made if estimate.cohort]
    chosen = (own or made)[-1:]
    return Fraction(chosen[0].percent) / 100 if chosen else Fraction(0)


def estimate(percent: Decimal, *, cohort: date | None, reason: str, by: Staff) -> BreakageEstimate:
    """Judge how many of a month's points are never spent; without a month, of every other's. Raises `BadEstimate`."""
    if not 0 <= percent <= 100:
        raise BadEstimate("percent", _("a share lies between 0 and 100 %"))
    if cohort and (cohort.day != 1 or cohort > brand_today()):
        raise BadEstimate("cohort", _("name the first day of a month that has begun"))
    _reason(reason)
    with transaction.atomic():
        made = BreakageEstimate.objects.create(
            percent=percent, cohort=cohort, reason=reason.strip()[:300], made_by=by, made_at=timezone.now()
        )
        month = cohort and cohort.isoformat()
        audit(by, "estimated", made, reason=made.reason, percent=str(percent), cohort=month)
    return made


def choose(principal: str, cost_percent: Decimal, *, reason: str, by: Staff) -> AccountingPolicy:
    """Say who carries the liability, and what a reward costs in percent of its worth. Raises `BadEstimate`."""
    if principal not in AccountingPolicy.Principal.values:
        raise BadEstimate("principal", _("choose one of the list"))
    if not 0 <= cost_percent <= 100:
        raise BadEstimate("cost_percent", _("a share lies between 0 and 100 %"))
    _reason(reason)
    with transaction.atomic():
        made = AccountingPolicy.objects.create(
            principal=principal, cost_percent=cost_percent, reason=reason.strip()[:300], made_by=by
        )
        audit(by, "chose", made, reason=made.reason, principal=principal, cost_percent=str(cost_percent))
    return made


def _reason(reason: str) -> None:
    if not reason.strip():
        raise BadEstimate("reason", _("say why: the auditors will ask"))


def policy_now() -> AccountingPolicy:
    """The policy in force; until one is chosen, head office is the principal and a reward costs its worth."""
    return AccountingPolicy.objects.first() or DEFAULT_POLICY


# --- CSV ----------------------------------------------------------------------------------------------------------

COLUMNS = (
    "month", "store", "points", "spent", "expired", "left", "breakage_percent", "expected", "worth_cents",
    "cost_cents", "sales_cents", "deferred_cents", "recognised_cents", "contract_liability_cents", "carried_by",
)  # fmt: skip


def write_csv(told: Report, out: TextIO) -> int:
    """A line for each month and store; returns how many."""
    with whole_network():
        codes = dict(Store.objects.values_list("pk", "code"))
    shares = {cohort.month: cohort.estimated for cohort in told.cohorts}
    in_head_office = told.policy.principal == AccountingPolicy.Principal.HEAD_OFFICE
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for (month, store_id), row in told.rows.items():
        writer.writerow(
            [
                f"{month:%Y-%m}", codes[store_id], row.points, row.spent, row.expired, row.left,
                f"{float(shares[month]):.2f}", row.expected, row.worth_cents, row.cost_cents, row.sales_cents,
                row.deferred_cents, row.recognised_cents, row.contract_cents,
                "HQ" if in_head_office else codes[store_id],
            ]
        )  # fmt: skip
    return len(told.rows)
