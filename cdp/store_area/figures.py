"""The figures of a store's day. Asked inside the store's scope, so that nothing else can be counted."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.db.models import Count, Max, Q, QuerySet, Sum
from django.utils import timezone

from profiles.models import ProfileStore, Purchase, Refund
from tenants.network.models import Store, Till

SILENT_AFTER = timedelta(hours=24)


@dataclass(frozen=True)
class Day:
    """A business day of a store. `newcomers` are the people whom the store met that day for the first time."""

    day: date
    tickets: int
    identified: int
    sales_cents: int
    refunded_cents: int
    newcomers: int

    @property
    def identified_percent(self) -> int:
        return round(100 * self.identified / self.tickets) if self.tickets else 0


def last_days(store: Store, n: int = 2) -> list[Day]:
    """The newest `n` days on which the store sold something, the newest first."""
    days = Purchase.objects.order_by("-business_day").values_list("business_day", flat=True).distinct()[:n]
    return [of_day(store, day) for day in days]


def of_day(store: Store, day: date) -> Day:
    sold = Purchase.objects.filter(business_day=day).aggregate(
        tickets=Count("pk"),
        identified=Count("pk", filter=Q(profile__isnull=False)),
        sales_cents=Sum("total_cents", default=0),
    )
    refunds = Refund.objects.filter(business_day=day).aggregate(sum=Sum("total_cents", default=0))
    begins, ends = (datetime.combine(d, time.min, store.zone) for d in (day, day + timedelta(days=1)))
    met = ProfileStore.objects.filter(since__gte=begins, since__lt=ends)
    return Day(day, **sold, refunded_cents=refunds["sum"], newcomers=met.count())


@dataclass(frozen=True)
class TillState:
    """A till in use: when it last asked for anything, and its newest ticket."""

    till: Till
    last_ticket_at: object

    @property
    def is_silent(self) -> bool:
        last = self.till.last_used_at
        return last is None or timezone.now() - last > SILENT_AFTER


def tills() -> list[TillState]:
    """The tills whose key works, by code."""
    newest = dict(
        Purchase.objects.order_by()
        .values_list("till")
        .annotate(at=Max("bought_at"))
        .values_list("till", "at")
    )
    in_use: QuerySet[Till] = Till.objects.filter(revoked_at=None).order_by("code")
    return [TillState(till, newest.get(till.pk)) for till in in_use]
