"""The customers of a store: its lists, and what it knows of one person. Asked inside the store's scope.

Contact data and consents are the person's; tickets, sums and habits are this store's own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from django.db.models import Case, Count, F, OuterRef, Q, QuerySet, Subquery, Sum, Value, When
from django.db.models.functions import ExtractDay, ExtractMonth
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from campaigns.segments.compiler import live_profiles, read, to_queryset
from profiles import consent, search
from profiles.models import Channel, Profile, Purchase, PurchaseLine, Refund
from tenants.calendar import brand_today

TIMES_OF_A_REGULAR = 3
DAYS_OF_ABSENCE = 30
DAYS_OF_A_WEEK = 7
FAVOURITES = 3


@dataclass(frozen=True)
class CallList:
    """A list worth a look every day, in the language of segments, so that it counts as a segment would."""

    title: str | Promise
    rule: str | Promise
    definition: dict
    ordering: tuple


def _days_to_birthday() -> Case:
    """A number that grows with the distance to the next birthday: the year's days to come, then those of the next."""
    today = brand_today()
    day_of_year = 100 * ExtractMonth("birth_date") + ExtractDay(F("birth_date"))
    return Case(
        When(Q(birth_day__lt=100 * today.month + today.day), then=day_of_year + Value(10_000)),
        default=day_of_year,
    )


CALL_LISTS: dict[str, CallList] = {
    "at-risk": CallList(
        _("Regulars we may be losing"),
        _("Bought here at least 3 times, and not for 30 days or more."),
        {
            "all": [
                {"field": "purchases", "op": ">=", "value": TIMES_OF_A_REGULAR},
                {"field": "days_since_purchase", "op": ">=", "value": DAYS_OF_ABSENCE},
            ]
        },
        ("-tickets_here", "last_here", "pk"),
    ),
    "birthdays": CallList(
        _("Birthdays this week"),
        _("Today and the seven days to come."),
        {"all": [{"field": "birthday", "op": "next", "value": DAYS_OF_A_WEEK}]},
        ("days_to_birthday", "pk"),
    ),
}


@dataclass(frozen=True)
class ChannelNow:
    """One channel of a person: the word of the page for what holds now."""

    channel: str
    label: str | Promise
    state: str  # "yes", "no", or "unsaid"
    at: object = None


@dataclass(frozen=True)
class Row:
    """A line of a list of people."""

    profile: Profile
    channels: list[ChannelNow]


def customers(typed: str = "", call_list: str = "") -> QuerySet[Profile]:
    """The store's customers, with `tickets_here` and `last_here`. Without a list: those who came last, first."""
    chosen = CALL_LISTS.get(call_list)
    people = to_queryset(read(chosen.definition)) if chosen else live_profiles()
    people = with_visits(search.narrowed(people, typed) if typed else people)
    if chosen is None:
        return people.order_by(F("last_here").desc(nulls_last=True), "-pk")
    if call_list == "birthdays":
        birth_day = 100 * ExtractMonth("birth_date") + ExtractDay(F("birth_date"))
        people = people.annotate(birth_day=birth_day).annotate(days_to_birthday=_days_to_birthday())
    return people.order_by(*chosen.ordering)


def with_visits(people: QuerySet[Profile]) -> QuerySet[Profile]:
    """People with `tickets_here`, how many, and `last_here`, the day of the last; `None` for neither."""
    own = Purchase.objects.filter(profile=OuterRef("pk")).order_by()
    count = own.values("profile").annotate(n=Count("pk")).values("n")
    last = own.order_by("-business_day").values("business_day")[:1]
    return people.annotate(tickets_here=Subquery(count), last_here=Subquery(last))


def rows(people: Iterable[Profile]) -> list[Row]:
    """Lines for a page of people, with the consents read at once."""
    people = list(people)
    now = consent.of_profiles(profile.pk for profile in people)
    return [Row(profile, _channels(now.get(profile.pk, {}))) for profile in people]


def _channels(now: dict[str, consent.ConsentNow]) -> list[ChannelNow]:
    states = []
    for channel in Channel:
        said = now.get(channel.value)
        state = "unsaid" if said is None else "yes" if said.granted else "no"
        states.append(ChannelNow(channel.value, channel.label, state, said.at if said else None))
    return states


def channels_of(profile: Profile) -> list[ChannelNow]:
    """What holds now for each channel, with its date."""
    return _channels(consent.current(profile))


@dataclass(frozen=True)
class Bought:
    """What a person bought at the store and brought back to it. Sums are in minor units."""

    tickets: int
    total_cents: int
    refunded_cents: int
    first_on: date | None
    last_on: date | None
    favourites: list[tuple[str, int]]

    @property
    def average_cents(self) -> int:
        return self.total_cents // self.tickets if self.tickets else 0


def bought_by(profile: Profile) -> Bought:
    own = Purchase.objects.filter(profile=profile).order_by("business_day")
    days = list(own.values_list("business_day", flat=True))
    spent = own.aggregate(sum=Sum("total_cents", default=0))["sum"]
    back = Refund.objects.filter(purchase__in=own.order_by().values("pk"))
    lines = PurchaseLine.objects.filter(profile=profile).exclude(category="").order_by()
    favourites = lines.values("category").annotate(n=Count("purchase", distinct=True))
    return Bought(
        tickets=len(days),
        total_cents=spent,
        refunded_cents=back.aggregate(sum=Sum("total_cents", default=0))["sum"],
        first_on=days[0] if days else None,
        last_on=days[-1] if days else None,
        favourites=list(favourites.order_by("-n", "category").values_list("category", "n")[:FAVOURITES]),
    )


def tickets_of(profile: Profile) -> QuerySet[Purchase]:
    """The person's tickets at this store with their lines and what was brought back, the newest first."""
    return Purchase.objects.filter(profile=profile).prefetch_related("lines", "refunds")
