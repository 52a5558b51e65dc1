"""The vocabulary: every word a marketer may use, with the expression behind it. A new word is a new row here.

Head office reads the facts kept for each person where one answers the question, else purchases. A store never reads
facts or points, which speak of the whole network: the same word is answered from the store's own rows, or refused.
`AtStore` is that table.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

from django.core.cache import cache
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce, TruncDate

from campaigns.segments.language import Leaf, Param, Takes, Word
from campaigns.segments.measures import Anniversary, Belonging, Figure, Given, Measure, OneOf, Text
from loyalty.models import Account, Lot, Membership, Tier
from profiles import normalise
from profiles.models import (
    Channel,
    ConsentChange,
    Profile,
    ProfileFacts,
    ProfileStore,
    Purchase,
    PurchaseLine,
    Refund,
    RefundLine,
)
from tenants.network.models import Region, Store
from tenants.scoping import current_scope


@dataclass(frozen=True)
class Question:
    """A leaf, asked on a day, of the whole network or inside some stores."""

    leaf: Leaf
    today: date
    zone: ZoneInfo
    whole_network: bool


class AtStore(Enum):
    """How a word is answered for a store."""

    SAME = "same"  # about the person, whom the store knows
    OWN_ROWS = "own_rows"  # from what happened in the store
    REFUSED = "refused"  # speaks of the whole network


@dataclass(frozen=True, kw_only=True)
class Field(Word):
    """A word and the expression behind it."""

    answer: Callable[[Question], Measure]
    at_store: AtStore


# Purchases -----------------------------------------------------------------------------------------------------


def tickets(question: Question) -> QuerySet:
    """Purchases of known people, narrowed by the leaf's stores and window."""
    rows = Purchase.objects.filter(profile__isnull=False)
    return _narrowed(rows, question)


def ticket_lines(question: Question) -> QuerySet:
    """Lines of known people's purchases in the leaf's categories, narrowed as `tickets`."""
    rows = PurchaseLine.objects.filter(profile__isnull=False)
    return _narrowed(rows, question).filter(category__in=_many(question.leaf.param("category")))


def _narrowed(rows: QuerySet, question: Question) -> QuerySet:
    stores = question.leaf.param("store")
    if stores is not None:
        rows = rows.filter(store__in=stores_named(stores))
    if question.leaf.window is not None:
        rows = rows.filter(business_day__range=question.leaf.window.bounds(question.today))
    return rows.order_by()


def _many(value) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def stores_named(codes) -> QuerySet:
    return Store.objects.filter(code__in=_many(codes)).order_by().values("pk")


def _asks_facts(question: Question) -> bool:
    """Whether the kept facts answer: head office, ever, all categories and stores."""
    leaf = question.leaf
    return question.whole_network and not leaf.params and leaf.window is None


def _purchases(question: Question) -> Measure:
    if _asks_facts(question):
        return Figure(ProfileFacts.objects.order_by(), "pk", "purchases", empty=0)
    if question.leaf.param("category") is None:
        counted = tickets(question).values("profile").annotate(figure=Count("pk"))
    else:
        counted = ticket_lines(question).values("profile").annotate(figure=Count("purchase", distinct=True))
    return Figure(counted, "profile", "figure", empty=0)


def _spend(question: Question) -> Measure:
    if _asks_facts(question):
        return Figure(ProfileFacts.objects.order_by(), "pk", "spend_cents", empty=0)
    # What was brought back counts against the day it was bought.
    if question.leaf.param("category") is None:
        back = sum_of(Refund.objects.filter(purchase=OuterRef("pk")), "purchase", "total_cents")
        paid = tickets(question).annotate(back=back).values("profile")
        summed = paid.annotate(figure=Sum(F("total_cents") - F("back")))
    else:
        back = sum_of(RefundLine.objects.filter(line=OuterRef("pk")), "line", "amount_cents")
        paid = ticket_lines(question).annotate(back=back).values("profile")
        summed = paid.annotate(figure=Sum(F("amount_cents") - F("back")))
    return Figure(summed, "profile", "figure", empty=0)


def sum_of(rows: QuerySet, of: str, column: str) -> Coalesce:
    """The sum of a column over `rows`, which refer to the outer query by `of`; 0 without rows."""
    return Coalesce(Subquery(rows.order_by().values(of).annotate(sum=Sum(column)).values("sum")), 0)


def _days_since_purchase(question: Question) -> Measure:
    if _asks_facts(question):
        return Figure(ProfileFacts.objects.order_by(), "pk", "last_purchase_on", today=question.today)
    bought = tickets(question) if question.leaf.param("category") is None else ticket_lines(question)
    last = bought.values("profile").annotate(figure=Max("business_day"))
    return Figure(last, "profile", "figure", today=question.today)


def _first_purchase_on(question: Question) -> Measure:
    if _asks_facts(question):
        return Figure(ProfileFacts.objects.order_by(), "pk", "first_purchase_on")
    return Figure(
        tickets(question).values("profile").annotate(figure=Min("business_day")), "profile", "figure"
    )


def _bought_in(question: Question) -> Measure:
    return Belonging(tickets(question), "profile", "store__code")


# Where a person belongs ----------------------------------------------------------------------------------------


def _home_store(question: Question) -> Measure:
    if question.whole_network:
        return Belonging(ProfileFacts.objects.order_by(), "pk", "home_store__code")
    return Belonging(ProfileStore.objects.order_by(), "profile", "store__code")


def _home_region(question: Question) -> Measure:
    if question.whole_network:
        return Belonging(ProfileFacts.objects.order_by(), "pk", "home_region__code")
    return Belonging(ProfileStore.objects.order_by(), "profile", "store__region__code")


def _known_since(question: Question) -> Measure:
    if question.whole_network:
        opened = TruncDate("created_at", tzinfo=question.zone)
        return Figure(Profile.objects.order_by().annotate(figure=opened), "pk", "figure")
    first = ProfileStore.objects.order_by().values("profile").annotate(first=Min("since"))
    days = first.annotate(figure=TruncDate(F("first"), tzinfo=question.zone))
    return Figure(days, "profile", "figure")


# Consent -------------------------------------------------------------------------------------------------------


def may_contact(channel: str) -> Q:
    """Whom we may contact on the channel now, whether or not we have the address.

    Head office reads the facts. A store reads the history, by the rule of `profiles/consent_history.py`: of each
    customer of a source the newest word counts, what the person told us directly settles all before it, and the
    strictest wins.
    """
    if current_scope().is_whole_network:
        return Q(pk__in=ProfileFacts.objects.filter(**{f"{channel}_allowed": True}).order_by().values("pk"))
    return Q(Exists(_standing(channel, granted=True))) & ~Q(Exists(_standing(channel, granted=False)))


def _standing(channel: str, *, granted: bool) -> QuerySet:
    """The changes that still count, of the person in the outer query."""
    later = ConsentChange.objects.filter(profile=OuterRef("profile"), channel=channel).filter(
        Q(at__gt=OuterRef("at")) | Q(at=OuterRef("at"), pk__gt=OuterRef("pk"))
    )
    direct_since = ConsentChange.objects.filter(
        profile=OuterRef("profile"), channel=channel, record=None, at__gte=OuterRef("at")
    )
    changes = ConsentChange.objects.filter(
        profile=OuterRef("pk"), channel=channel, granted=granted
    ).order_by()
    same_customer = later.filter(
        record__source=OuterRef("record__source"), record__external_id=OuterRef("record__external_id")
    )
    from_record = Q(record__isnull=False) & ~Exists(same_customer) & ~Exists(direct_since)
    told_directly = Q(record=None) & ~Exists(later.filter(record=None))
    return changes.filter(from_record | told_directly)


ADDRESSES = {
    Channel.EMAIL: ("email",),
    Channel.SMS: ("phone",),
    Channel.POST: ("street", "postcode", "city"),
}


def has_address(channel: str) -> Q:
    """Who has what a message on the channel needs."""
    whole = Q()
    for column in ADDRESSES[Channel(channel)]:
        whole &= ~Q(**{column: ""})
    return whole


def _may_contact(question: Question) -> Measure:
    return OneOf({str(channel): may_contact(channel) for channel in Channel.values})


# Loyalty -------------------------------------------------------------------------------------------------------


def _tier(question: Question) -> Measure:
    return Belonging(Membership.objects.order_by(), "profile", "tier__code")


def _available_accounts() -> QuerySet:
    return Account.objects.filter(kind=Account.Kind.AVAILABLE).order_by()


def _points(question: Question) -> Measure:
    return Figure(_available_accounts(), "profile", "balance", empty=0)


def _points_expiring(question: Question) -> Measure:
    until = question.today + timedelta(days=question.leaf.param("within_days"))
    expiring = (
        Lot.objects.filter(remaining__gt=0, expires_on__range=(question.today, until))
        .filter(account__in=_available_accounts().values("pk"))
        .order_by()
        .values(person=F("account__profile"))
        .annotate(figure=Sum("remaining"))
    )
    return Figure(expiring, "person", "figure", empty=0)


# The person ----------------------------------------------------------------------------------------------------


def _city_forms(city: str) -> list[str]:
    """As typed, and as sources' towns are kept."""
    return list(dict.fromkeys([city, normalise.city(city) or city]))


def _told(en: str, fr: str) -> dict[str, str]:
    return {"en": en, "fr": fr}


CATEGORY = Param(
    "category", Takes.TEXT, _told("category", "catégorie"),
    _told("in category {value}", "dans la catégorie {value}"), many=True,
)  # fmt: skip
STORE = Param(
    "store", Takes.CODE, _told("store", "magasin"), _told("in store {value}", "dans le magasin {value}"), many=True
)  # fmt: skip
WITHIN = Param(
    "within_days", Takes.DAYS, _told("within days", "dans les jours"),
    _told("within {value} days", "dans les {value} jours"), required=True,
)  # fmt: skip

_FIELDS: Iterable[Field] = (
    Field(
        name="purchases", takes=Takes.NUMBER, params=(CATEGORY, STORE), windowed=True,
        label=_told("number of purchases", "nombre d’achats"),
        phrase=_told("{value} purchase{s}{category}{store}{window}", "{value} achat{s}{category}{store}{window}"),
        help=_told(
            "Tickets, not articles. Zero counts: «at most 2» includes people who never bought.",
            "Des tickets, non des articles. Zéro compte : « au plus 2 » comprend qui n’a jamais acheté.",
        ),
        answer=_purchases, at_store=AtStore.OWN_ROWS,
    ),
    Field(
        name="spend", takes=Takes.CENTS, params=(CATEGORY, STORE), windowed=True,
        label=_told("amount spent", "montant dépensé"),
        phrase=_told("{value} spent{category}{store}{window}", "{value} dépensés{category}{store}{window}"),
        help=_told(
            "Net of what was brought back, which counts against the day it was bought.",
            "Net des retours, comptés au jour de l’achat.",
        ),
        answer=_spend, at_store=AtStore.OWN_ROWS,
    ),
    Field(
        name="days_since_purchase", takes=Takes.DAYS, params=(CATEGORY, STORE),
        label=_told("days since the last purchase", "jours depuis le dernier achat"),
        phrase=_told(
            "last purchase{category}{store} {value} day{s} ago", "dernier achat{category}{store} il y a {value} jour{s}"
        ),
        help=_told(
            "In days of the brand's time zone; today is 0. People who never bought have no value.",
            "En jours du fuseau de l’enseigne ; aujourd’hui vaut 0. Qui n’a jamais acheté n’a pas de valeur.",
        ),
        answer=_days_since_purchase, at_store=AtStore.OWN_ROWS,
    ),
    Field(
        name="first_purchase_on", takes=Takes.DAY,
        label=_told("day of the first purchase", "jour du premier achat"),
        phrase=_told("first purchase {value}", "premier achat {value}"),
        help=_told("The first ticket known.", "Le premier ticket connu."),
        answer=_first_purchase_on, at_store=AtStore.OWN_ROWS,
    ),
    Field(
        name="bought_in", takes=Takes.CODE, codes="store", windowed=True, may_be_missing=True,
        label=_told("store where they bought", "magasin d’achat"),
        phrase=_told("a purchase in {value}{window}", "un achat à {value}{window}"),
        help=_told("Any ticket there counts.", "Tout ticket y compte."),
        answer=_bought_in, at_store=AtStore.OWN_ROWS,
    ),
    Field(
        name="may_contact", takes=Takes.CHANNEL,
        label=_told("may be contacted", "contact autorisé"),
        phrase=_told("consent to be contacted by {value}", "accord pour un contact par {value}"),
        phrase_if_not=_told("no consent to be contacted by {value}", "pas d’accord pour un contact par {value}"),
        help=_told(
            "Consent as it stands now. Never asked means no.",
            "L’accord tel qu’il est maintenant. Jamais demandé veut dire non.",
        ),
        answer=_may_contact, at_store=AtStore.SAME,
    ),
    Field(
        name="home_store", takes=Takes.CODE, codes="store", may_be_missing=True,
        label=_told("home store", "magasin d’attache"),
        phrase=_told("home store {value}", "magasin d’attache {value}"),
        help=_told(
            "Where the person buys most often. For a store manager: a store of yours that knows the person.",
            "Là où la personne achète le plus. Pour un magasin : un de vos magasins, qui connaît la personne.",
        ),
        answer=_home_store, at_store=AtStore.OWN_ROWS,
    ),
    Field(
        name="home_region", takes=Takes.CODE, codes="region", may_be_missing=True,
        label=_told("home region", "région d’attache"),
        phrase=_told("home region {value}", "région d’attache {value}"),
        help=_told(
            "The region of the home store. For a store manager: of a store of yours that knows the person.",
            "La région du magasin d’attache. Pour un magasin : d’un de vos magasins, qui connaît la personne.",
        ),
        answer=_home_region, at_store=AtStore.OWN_ROWS,
    ),
    Field(
        name="city", takes=Takes.TEXT, may_be_missing=True,
        label=_told("town", "ville"),
        phrase=_told("town {value}", "ville {value}"),
        help=_told("The town of the postal address.", "La ville de l’adresse postale."),
        answer=lambda question: Text("city", _city_forms), at_store=AtStore.SAME,
    ),
    Field(
        name="postcode", takes=Takes.TEXT, may_be_missing=True,
        label=_told("postcode", "code postal"),
        phrase=_told("postcode {value}", "code postal {value}"),
        help=_told("Starts with 59: the whole département.", "Commence par 59 : tout le département."),
        answer=lambda question: Text("postcode"), at_store=AtStore.SAME,
    ),
    Field(
        name="first_name", takes=Takes.TEXT, may_be_missing=True,
        label=_told("first name", "prénom"),
        phrase=_told("first name {value}", "prénom {value}"),
        help=_told("Upper and lower case are alike.", "Majuscules et minuscules se valent."),
        answer=lambda question: Text("first_name"), at_store=AtStore.SAME,
    ),
    Field(
        name="last_name", takes=Takes.TEXT, may_be_missing=True,
        label=_told("last name", "nom"),
        phrase=_told("last name {value}", "nom {value}"),
        help=_told("Upper and lower case are alike.", "Majuscules et minuscules se valent."),
        answer=lambda question: Text("last_name"), at_store=AtStore.SAME,
    ),
    Field(
        name="birthday", takes=Takes.DAYS, operators=("within", "next"),
        label=_told("birthday", "anniversaire"),
        phrase=_told("a birthday {value}", "un anniversaire {value}"),
        help=_told(
            "The anniversary, at most 182 days away. Born on 29 February: the 28th in other years.",
            "L’anniversaire, à 182 jours au plus. Né un 29 février : le 28 les autres années.",
        ),
        answer=lambda question: Anniversary("birth_date", question.today), at_store=AtStore.SAME,
    ),
    Field(
        name="has_email", takes=Takes.FLAG,
        label=_told("has an e-mail address", "a une adresse e-mail"),
        phrase=_told("an e-mail address", "une adresse e-mail"),
        phrase_if_not=_told("no e-mail address", "pas d’adresse e-mail"),
        help=_told("Whether one is known, not whether we may use it.", "Connue ne veut pas dire utilisable."),
        answer=lambda question: Given("email"), at_store=AtStore.SAME,
    ),
    Field(
        name="has_phone", takes=Takes.FLAG,
        label=_told("has a phone number", "a un téléphone"),
        phrase=_told("a phone number", "un téléphone"),
        phrase_if_not=_told("no phone number", "pas de téléphone"),
        help=_told("Whether one is known, not whether we may use it.", "Connu ne veut pas dire utilisable."),
        answer=lambda question: Given("phone"), at_store=AtStore.SAME,
    ),
    Field(
        name="known_since", takes=Takes.DAY,
        label=_told("known since", "connu depuis"),
        phrase=_told("a file opened {value}", "une fiche ouverte {value}"),
        help=_told(
            "The day the person became known. For a store manager: known to your stores.",
            "Le jour où la personne fut connue. Pour un magasin : connue de vos magasins.",
        ),
        answer=_known_since, at_store=AtStore.OWN_ROWS,
    ),
    Field(
        name="tier", takes=Takes.CODE, codes="tier", may_be_missing=True,
        label=_told("loyalty tier", "statut de fidélité"),
        phrase=_told("loyalty tier {value}", "statut de fidélité {value}"),
        help=_told("The level reached in the programme.", "Le niveau atteint dans le programme."),
        answer=_tier, at_store=AtStore.REFUSED,
    ),
    Field(
        name="points", takes=Takes.NUMBER,
        label=_told("loyalty points", "points de fidélité"),
        phrase=_told("{value} point{s} to spend", "{value} point{s} à dépenser"),
        help=_told("The available balance; 0 without an account.", "Le solde disponible ; 0 sans compte."),
        answer=_points, at_store=AtStore.REFUSED,
    ),
    Field(
        name="points_expiring", takes=Takes.NUMBER, params=(WITHIN,),
        label=_told("points about to expire", "points qui expirent bientôt"),
        phrase=_told("{value} point{s} expiring{within_days}", "{value} point{s} à échéance{within_days}"),
        help=_told("Points whose last day is still to come.", "Points dont le dernier jour n’est pas passé."),
        answer=_points_expiring, at_store=AtStore.REFUSED,
    ),
)  # fmt: skip

VOCABULARY: dict[str, Field] = {field.name: field for field in _FIELDS}


# Lists of codes ------------------------------------------------------------------------------------------------

CODE_LISTS = {
    "store": _told("store", "magasin"),
    "region": _told("region", "région"),
    "tier": _told("tier", "statut"),
}
_CATEGORIES_KEPT_SECONDS = 600


def codes(kind: str) -> dict[str, str]:
    """The codes that the scope in force may use, with their names."""
    if kind == "store":
        return dict(Store.objects.order_by("code").values_list("code", "name"))
    if kind == "region":
        regions = Region.objects.order_by("name")
        if not current_scope().is_whole_network:
            regions = regions.filter(pk__in=Store.objects.order_by().values("region"))
        return dict(regions.values_list("code", "name"))
    if kind == "tier":
        return dict(Tier.objects.values_list("code", "name"))
    if kind == "category":
        return {category: category for category in _categories()}
    return {}


def _categories() -> list[str]:
    stores = current_scope().store_ids
    key = f"segment-categories-{'every' if stores is None else '-'.join(map(str, sorted(stores)))}"
    found = cache.get(key)
    if found is None:
        rows = PurchaseLine.objects.exclude(category="").order_by("category")
        found = list(rows.values_list("category", flat=True).distinct())
        cache.set(key, found, _CATEGORIES_KEPT_SECONDS)
    return found
