"""How each source is doing: when it was last heard of, how old its news are, how much of it goes wrong.

A source speaks through files (`ImportRun`), connectors (`Delivery`) and records of its own (`SourceRecord`); the
tills, all of them together the source of kind till, through tickets (`Purchase`). A web shop's till belongs to the
shop's source.

A fixed number of queries, whatever the number of sources. They read `records_of_source_by_time`,
`purchases_of_till_by_time` and `deliveries_of_connection` from their newest end, and the imports of 30 days.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, F, Max, OuterRef, Q, Subquery, Sum
from django.utils import timezone

from profiles.intake.people import TILL_SOURCE
from profiles.models import Connection, Delivery, ImportRun, Purchase, Source, SourceRecord
from tenants.network.models import Till
from tenants.scoping import whole_network

DAYS = 30
LATEST = 100
WORDS = ("created", "corrected", "unchanged", "rejected")


@dataclass
class Health:
    """`lag` is the median of how late the last news came, `rows` the last 30 days by verdict; `errors` of `total` went
    wrong."""

    source: Source
    last_heard: datetime | None = None
    lag: timedelta | None = None
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WORDS, 0))
    tickets: int = 0
    errors: int = 0
    total: int = 0

    @property
    def error_rate(self) -> float | None:
        """Percent of what arrived; None where nothing did."""
        return 100 * self.errors / self.total if self.total else None

    def silent_for(self, now: datetime) -> timedelta | None:
        """For how long nothing came from a source that should have spoken; None while it is in time."""
        hours = self.source.expected_hours
        if not hours or self.source.direction == Source.Direction.OUT:
            return None
        if self.last_heard is None:
            return timedelta.max
        silence = now - self.last_heard
        return silence if silence > timedelta(hours=hours) else None


def silent(now: datetime | None = None) -> list[tuple[Source, timedelta]]:
    """The sources that fell silent for longer than they should, with how long (`timedelta.max`: never heard of)."""
    now = now or timezone.now()
    with whole_network():
        sources = Source.objects.exclude(expected_hours=None)
        heard = _last_heard(sources, Tills.known()) if sources.exists() else {}
        found = [(source, Health(source, heard.get(source.pk)).silent_for(now)) for source in sources]
    return [(source, silence) for source, silence in found if silence is not None]


def of_sources(now: datetime | None = None) -> dict[int, Health]:
    """How each source is doing, by its id."""
    now = now or timezone.now()
    since = now - timedelta(days=DAYS)
    with whole_network():
        health = {source.pk: Health(source) for source in Source.objects.all()}
        tills = Tills.known()
        for source_id, at in _last_heard(Source.objects.all(), tills).items():
            if source_id in health:
                health[source_id].last_heard = at
        _count(health, since, tills)
        _lags(health, tills)
    return health


@dataclass(frozen=True)
class Tills:
    """The sources that stand for the stores' tills, and the source of each till that is a web shop's."""

    of_tills: list[int]
    of_shops: dict[int, int]

    @classmethod
    def known(cls) -> "Tills":
        tills = dict(Source.objects.filter(kind=Source.Kind.TILL).values_list("code", "pk"))
        # The source that the tills' own calls are told by; files of the tills are another one beside it.
        of_tills = [tills[TILL_SOURCE]] if TILL_SOURCE in tills else list(tills.values())
        return cls(of_tills, dict(Connection.objects.exclude(till=None).values_list("till", "source")))

    def sources_of(self, till_id: int) -> list[int]:
        return [self.of_shops[till_id]] if till_id in self.of_shops else self.of_tills


def _last_heard(sources, known: Tills) -> dict[int, datetime]:
    newest_record = SourceRecord.objects.filter(source=OuterRef("pk")).order_by("-received_at")
    newest_run = (
        ImportRun.objects.filter(source=OuterRef("pk"), finished_at__isnull=False, undone_at=None)
        .filter(received__gt=F("rejected"))
        .order_by("-finished_at")
    )
    newest_delivery = Delivery.objects.filter(
        connection__in=Connection.objects.filter(source=OuterRef(OuterRef("pk"))).values("pk"),
        verdict=Delivery.Verdict.DONE,
    ).order_by("-received_at")
    found: dict[int, datetime] = {}

    def note(source_id: int, at: datetime | None) -> None:
        if at and (source_id not in found or at > found[source_id]):
            found[source_id] = at

    rows = sources.annotate(
        by_record=Subquery(newest_record.values("received_at")[:1]),
        by_run=Subquery(newest_run.values("finished_at")[:1]),
        by_delivery=Subquery(newest_delivery.values("received_at")[:1]),
    ).values_list("pk", "by_record", "by_run", "by_delivery")
    for source_id, *moments in rows:
        for at in moments:
            note(source_id, at)
    newest_ticket = Purchase.objects.filter(till=OuterRef("pk")).order_by("-received_at")
    tills = Till.objects.annotate(last=Subquery(newest_ticket.values("received_at")[:1]))
    for till_id, at in tills.values_list("pk", "last"):
        for source_id in known.sources_of(till_id):
            note(source_id, at)
    return found


def _count(health: dict[int, Health], since: datetime, known: Tills) -> None:
    runs = ImportRun.objects.filter(started_at__gte=since, job__isnull=False, undone_at=None)
    sums: Any = {word: Sum(word) for word in WORDS}
    by_run: Any = runs.values("source").annotate(**sums).order_by()
    for row in by_run:
        _add(health[row["source"]], row, errors=row["rejected"], total=sum(row[word] for word in WORDS))
    # A file's rows are counted with its import; what was refused before there was one counts as one error.
    deliveries = Delivery.objects.filter(received_at__gte=since, import_run=None)
    bare = Count("pk", filter=Q(verdict=Delivery.Verdict.REFUSED, received=0))
    by_delivery: Any = (
        deliveries.values(source=F("connection__source")).annotate(**sums, bare=bare).order_by()
    )
    for row in by_delivery:
        total = sum(row[word] for word in WORDS) + row["bare"]
        _add(health[row["source"]], row, errors=row["rejected"] + row["bare"], total=total)
    tickets = Purchase.objects.filter(received_at__gte=since, till__in=Till.objects.values("pk"))
    for till_id, count in tickets.order_by().values_list("till").annotate(count=Count("pk")):
        for source_id in known.sources_of(till_id):
            health[source_id].tickets += count
            if till_id not in known.of_shops:  # an order is counted with its delivery
                health[source_id].total += count


def _add(one: Health, row: dict[str, Any], *, errors: int, total: int) -> None:
    for word in WORDS:
        one.rows[word] += row[word]
    one.errors += errors
    one.total += total


def _lags(health: dict[int, Health], known: Tills) -> None:
    """How late the latest news of each source came: tickets, orders and entries after they happened, files after they
    were expected. What a row says of its own age (signed up years ago) is no lag."""
    lags: dict[int, list[timedelta]] = defaultdict(list)
    orders = (
        Delivery.objects.filter(
            connection__in=Connection.objects.filter(source=OuterRef(OuterRef("pk"))).values("pk"),
            verdict=Delivery.Verdict.DONE, stated_at__isnull=False,
        )
        .order_by("-received_at")
        .values_list(F("received_at") - F("stated_at"))
    )  # fmt: skip
    files = (
        ImportRun.objects.filter(
            source=OuterRef("pk"), job__isnull=False, undone_at=None, finished_at__isnull=False
        )
        .order_by("-started_at")
        .values_list("started_at")
    )
    rows = Source.objects.annotate(
        lags=ArraySubquery(orders[:LATEST]), arrivals=ArraySubquery(files[: LATEST + 1])
    ).values_list("pk", "expected_hours", "lags", "arrivals")
    for source_id, hours, found, arrivals in rows:
        lags[source_id] += found
        if hours:
            lags[source_id] += [
                max(came - before - timedelta(hours=hours), timedelta(0))
                for came, before in pairwise(arrivals)
            ]
    tickets = (
        Purchase.objects.filter(till=OuterRef("pk"))
        .order_by("-received_at")
        .values_list(F("received_at") - F("bought_at"))
    )
    for till_id, found in Till.objects.annotate(lags=ArraySubquery(tickets[:LATEST])).values_list(
        "pk", "lags"
    ):
        for source_id in known.sources_of(till_id):
            lags[source_id] += found
    for source_id, found in lags.items():
        if found and source_id in health:
            health[source_id].lag = max(median(found), timedelta(0))


def newest(connection_ids) -> dict[int, datetime]:
    """When each connector last brought something."""
    rows = Delivery.objects.filter(connection__in=connection_ids, verdict=Delivery.Verdict.DONE)
    return dict(rows.order_by().values_list("connection").annotate(at=Max("received_at")))
