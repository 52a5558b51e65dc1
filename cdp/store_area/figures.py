"""The figures of a store's day. Asked inside the store's scope, so that nothing else can be counted."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.db.models import Count, Max, Q, Sum
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
    """A till in use: when it last called or sent a ticket, and when it sold what its newest ticket says."""

    till: Till
    heard_at: datetime | None
    last_ticket_at: datetime | None

    @property
    def is_silent(self) -> bool:
        return self.heard_at is None or timezone.now() - self.heard_at > SILENT_AFTER


def tills() -> list[TillState]:
    """The tills whose key works, by code."""
    in_use = Till.objects.filter(revoked_at=None).order_by("code")
    sent = (
        Purchase.objects.order_by()
        .values("till")
        .annotate(received=Max("received_at"), bought=Max("bought_at"))
    )
    newest = {row["till"]: row for row in sent}
    states = []
    for till in in_use:
        ticket = newest.get(till.pk, {})
        heard = [at for at in (till.last_used_at, ticket.get("received")) if at is not None]
        states.append(TillState(till, max(heard, default=None), ticket.get("bought")))
    return states
