"""What a member has: balances, what expires next, and how it came about."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import connection
from django.db.models import Sum

from loyalty.models import Account, Lot, Posting, Transaction
from profiles.models import Profile
from tenants.calendar import brand_today
from tenants.scoping import whole_network


@dataclass(frozen=True)
class Balance:
    """Points of a member; `debt` is zero or more; `tier` is a name, "" for none."""

    available: int = 0
    pending: int = 0
    debt: int = 0
    next_expiry_on: date | None = None
    next_expiry_points: int = 0
    tier: str = ""


@dataclass(frozen=True)
class Movement:
    """One line of a member's history: the transaction and what it did to the three balances together."""

    transaction: Transaction
    points: int


def balance_of(profile: Profile) -> Balance:
    """The member's balance in the whole network; all zero for who never earned."""
    return balances_of([profile.pk])[profile.pk]


def balances_of(profile_ids) -> dict[int, Balance]:
    """Balances by profile id."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT person, available, pending, debt, next_on, next_points, tier"
            " FROM unnest(%s::bigint[]) person, member_balance(person, %s, true)",
            [list(profile_ids), brand_today()],
        )
        return {profile_id: Balance(*has) for profile_id, *has in cursor.fetchall()}


@dataclass(frozen=True)
class Expiry:
    """Points of a member that end on a day."""

    profile_id: int
    on: date
    points: int


def expiries_of(profile: Profile) -> list[Expiry]:
    """Everything of the member's that will expire, each day with its points, the earliest first."""
    return _expiries(Lot.objects.filter(account__profile=profile, expires_on__gte=brand_today()))


def notices(today: date, days: tuple[int, ...] = (30, 7)) -> list[Expiry]:
    """What is to be told to members today: points that expire so many days from now, each day on its own."""
    return _expiries(Lot.objects.filter(expires_on__in=[today + timedelta(days=n) for n in days]))


def _expiries(lots) -> list[Expiry]:
    with whole_network():
        rows = (
            lots.filter(remaining__gt=0, account__kind=Account.Kind.AVAILABLE)
            .order_by("expires_on", "account__profile")
            .values_list("account__profile", "expires_on")
            .annotate(points=Sum("remaining"))
        )
        return [Expiry(*row) for row in rows]


def history(profile: Profile, limit: int = 50) -> list[Movement]:
    """The newest movements first; what the current scope sees of them.

    Those of customers merged into this one are among them, so that for the network the points sum to the balance.
    """
    with whole_network():
        people = {profile.pk}
        while merged := set(
            Profile.objects.filter(merged_into__in=people).exclude(pk__in=people).values_list("pk", flat=True)
        ):
            people |= merged
        accounts = list(Account.objects.filter(profile__in=people).values_list("pk", flat=True))
    postings = Posting.objects.filter(account__in=accounts).order_by()
    transactions = list(
        Transaction.objects.filter(pk__in=postings.values("transaction"))
        .select_related("store", "purchase")
        .order_by("-pk")[:limit]
    )
    moved = dict(
        postings.filter(transaction__in=transactions)
        .values_list("transaction")
        .annotate(points=Sum("points"))
    )
    return [Movement(t, moved[t.pk]) for t in transactions]


def balance_at(profile_ids: Iterable[int], end: datetime) -> Balance:
    """What these people together had when that instant came, by what was posted until then; no tier, no expiry."""
    sums = (
        Posting.objects.filter(account__profile__in=list(profile_ids), transaction__posted_at__lt=end)
        .order_by()
        .values_list("account__kind")
        .annotate(points=Sum("points"))
    )
    with whole_network():
        points = dict(sums)
    return Balance(
        available=points.get(Account.Kind.AVAILABLE, 0),
        pending=points.get(Account.Kind.PENDING, 0),
        debt=-points.get(Account.Kind.DEBT, 0),
    )
