"""The first page: the figures of the brand, of a manager's own stores, or of the platform, each with its list.

The numbers are counted inside the scope in force, so a manager's page cannot tell more than the manager's lists. They
are kept for a minute, and the page says when they were computed.
"""

from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta

from django.contrib.admin import site
from django.core.cache import cache
from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncMonth
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django_tenants.utils import get_public_schema_name

from campaigns.models import Campaign
from loyalty.models import Account
from profiles import source_health
from profiles.admin.filters import RECENT_DAYS, first_known_since
from profiles.admin.sources import in_words
from profiles.models import ImportRun, MatchCandidate, Profile, ProfileFacts, Purchase
from tenants.models import Brand, Domain
from tenants.network.models import Job, Staff
from tenants.roles import Role
from tenants.scoping import current_scope

KEPT_SECONDS = 60
GROWTH_MONTHS = 12
LATEST = 5


@dataclass(frozen=True)
class Numbers:
    """What was counted at `computed_at`; the last three are the network's and stand empty for a store."""

    computed_at: datetime
    customers: int
    new_customers: int
    tickets: int
    identified_tickets: int
    growth: list[tuple[date, int]]
    reachable_by_email: int | None = None
    points: int | None = None
    duplicates: int | None = None


@dataclass(frozen=True)
class Card:
    """One figure: its name, the number with its unit, a line that defines it, and the list behind it."""

    title: str
    value: int
    note: str
    icon: str
    url: str
    unit: str = ""


def home_for(staff: Staff) -> dict:
    """What the template of the first page reads, for this person."""
    numbers = _numbers()
    peak = max((count for _month, count in numbers.growth), default=0)
    return {
        "cards": _cards(staff, numbers),
        "computed_at": numbers.computed_at,
        "growth": [(month, count, 100 * count // peak if peak else 0) for month, count in numbers.growth],
        "grows": peak > 0,
        "silent": _silent_sources(staff),
        "imports": _latest(staff, ImportRun, "source"),
        "campaigns": _latest(staff, Campaign, "segment"),
        "duplicates": numbers.duplicates,
        "of_a_store": staff.role == Role.STORE_MANAGER,
        "may_import": staff.has_perm("profiles.add_importrun") and site.is_registered(ImportRun),
        "may_see_tills": staff.has_perm("network.view_till"),
        "is_empty": not numbers.customers and not numbers.tickets,
    }


def platform_home() -> dict:
    """What the template of the platform's first page reads: rows of the public schema, nothing of any brand's."""
    brands = reverse("platform:tenants_brand_changelist")
    jobs = reverse("platform:network_job_changelist")
    since = timezone.now() - timedelta(days=RECENT_DAYS)
    counted = Job.objects.aggregate(
        running=Count("pk", filter=Q(state__in=[Job.State.WAITING, Job.State.RUNNING])),
        failed=Count("pk", filter=Q(state=Job.State.FAILED, created_at__gte=since)),
    )
    listed = Brand.objects.exclude(schema_name=get_public_schema_name())
    cards = [
        Card(_("Brands"), listed.count(), _("each with a schema of its own"), "sell", brands),
        Card(
            _("Host names"), Domain.objects.filter(tenant__in=listed).count(), _("by which the brands are reached"),
            "language", reverse("platform:tenants_domain_changelist"),
        ),
        Card(_("Jobs under way"), counted["running"], _("waiting or running now"), "progress_activity", jobs),
        Card(
            _("Failed jobs"), counted["failed"], _("in the last %(days)s days") % {"days": RECENT_DAYS},
            "error", f"{jobs}?state__exact=failed",
        ),
    ]  # fmt: skip
    return {
        "cards": cards,
        "brands": listed.prefetch_related("domains").order_by("-created_at")[:LATEST],
        "brands_url": brands,
        "jobs": Job.objects.select_related("asked_by")[:LATEST],
        "jobs_url": jobs,
    }


def _numbers() -> Numbers:
    stores = current_scope().store_ids
    key = "home:" + ("network" if stores is None else ",".join(map(str, sorted(stores))))
    kept = cache.get(key)
    if kept is None:
        kept = asdict(_count())
        cache.set(key, kept, KEPT_SECONDS)
    return Numbers(**kept)


def _count() -> Numbers:
    people = Profile.objects.filter(merged_into=None)
    since = timezone.localdate() - timedelta(days=RECENT_DAYS)
    tickets = Purchase.objects.filter(business_day__gt=since).aggregate(
        all=Count("pk"), identified=Count("pk", filter=Q(profile__isnull=False))
    )
    numbers = Numbers(
        computed_at=timezone.now(),
        customers=people.count(),
        new_customers=first_known_since(people, since).count(),
        tickets=tickets["all"],
        identified_tickets=tickets["identified"],
        growth=_growth(people),
    )
    if not current_scope().is_whole_network:
        return numbers
    reachable = ProfileFacts.objects.filter(email_allowed=True).values("pk")
    points = Account.objects.filter(kind=Account.Kind.AVAILABLE).aggregate(sum=Sum("balance"))
    return Numbers(
        **asdict(numbers)
        | {
            "reachable_by_email": people.filter(pk__in=reachable).exclude(email="").count(),
            "points": points["sum"] or 0,
            "duplicates": MatchCandidate.objects.filter(status=MatchCandidate.Status.OPEN).count(),
        }
    )


def _growth(people) -> list[tuple[date, int]]:
    """People first known in each of the last twelve months, the running one included."""
    month = timezone.localdate().replace(day=1)
    months = [month]
    for _step in range(GROWTH_MONTHS - 1):
        months.append((months[-1] - timedelta(days=1)).replace(day=1))
    counted = {
        moment.date(): count
        for moment, count in people.annotate(first_met=Profile.known_since())
        .filter(first_met__date__gte=months[-1])
        .order_by()
        .annotate(month=TruncMonth("first_met"))
        .values("month")
        .annotate(count=Count("pk"))
        .values_list("month", "count")
    }
    return [(month, counted.get(month, 0)) for month in reversed(months)]


def _cards(staff: Staff, numbers: Numbers) -> list[Card]:
    people = reverse("admin:profiles_profile_changelist")
    tickets = reverse("admin:profiles_purchase_changelist")
    days = {"days": RECENT_DAYS}
    rate = round(100 * numbers.identified_tickets / numbers.tickets) if numbers.tickets else 0
    cards = [
        Card(_("Customers"), numbers.customers, _("known persons, duplicates merged"), "groups", people),
        Card(
            _("New customers"), numbers.new_customers, _("first met in the last %(days)s days") % days,
            "person_add", f"{people}?known=recent",
        ),
        Card(
            _("Tickets"), numbers.tickets, _("in the last %(days)s days") % days,
            "receipt_long", f"{tickets}?period=recent",
        ),
        Card(
            _("Identified tickets"), rate, _("of these tickets name a customer"),
            "how_to_reg", f"{tickets}?period=recent&customer=known", "%",
        ),
    ]  # fmt: skip
    if numbers.reachable_by_email is not None:
        cards.append(
            Card(
                _("E-mail reach"),
                numbers.reachable_by_email,
                _("have an address and allow e-mails"),
                "mail",
                f"{people}?reach=email",
            )
        )
    if numbers.points is not None and staff.has_perm("loyalty.view_account"):
        accounts = reverse("admin:loyalty_account_changelist")
        cards.append(
            Card(
                _("Points outstanding"),
                numbers.points,
                _("available to members, not spent yet"),
                "account_balance_wallet",
                f"{accounts}?kind__exact=available&balance=positive",
            )
        )
    if numbers.duplicates is not None and staff.has_perm("profiles.view_matchcandidate"):
        queue = reverse("admin:profiles_matchcandidate_changelist")
        cards.append(
            Card(
                _("Duplicates to review"),
                numbers.duplicates,
                _("pairs that a person must decide"),
                "join_inner",
                f"{queue}?status__exact=open",
            )
        )
    return cards


def _silent_sources(staff: Staff) -> dict | None:
    """The sources that should have spoken and did not, for head office: (name, for how long) and their list."""
    if not current_scope().is_whole_network or not staff.has_perm("profiles.view_source"):
        return None
    silent = source_health.silent()
    if not silent:
        return None
    told = [
        (source.name, in_words(span) if span != timedelta.max else _("never heard of"))
        for source, span in silent
    ]
    return {"sources": told, "url": reverse("admin:profiles_source_changelist")}


def _latest(staff: Staff, model, related: str) -> dict | None:
    """The newest rows of a model and its list, or `None` for whoever may not open that list."""
    meta = model._meta
    if not site.is_registered(model) or not staff.has_perm(f"{meta.app_label}.view_{meta.model_name}"):
        return None
    name = f"admin:{meta.app_label}_{meta.model_name}"
    rows = [
        (row, reverse(f"{name}_change", args=[row.pk]))
        for row in model.objects.select_related(related)[:LATEST]
    ]
    return {"rows": rows, "url": reverse(f"{name}_changelist")}
