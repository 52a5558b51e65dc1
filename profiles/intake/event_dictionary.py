"""The dictionary of events: the standard types that every brand begins with, and what it says now."""

from dataclasses import dataclass

from django.db import connection, transaction
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from profiles.behaviour import BOOLEAN, CHOICE, LIST, NUMBER, TEXT, Property
from profiles.models import EventProperty, EventType


@dataclass(frozen=True)
class Standard:
    """A type that every brand has from the start: it may change the words and add properties."""

    code: str
    label: str | Promise
    description: str | Promise
    properties: tuple[Property, ...] = ()


STANDARD = (
    Standard(
        "page_viewed", _("Page viewed"), _("A page of the site was shown; sent by the script itself."),
        (Property("url", TEXT, required=True), Property("title"), Property("referrer"), Property("campaign")),
    ),
    Standard(
        "product_viewed", _("Product viewed"), _("The page of one article was shown."),
        (Property("sku", TEXT, required=True), Property("name"), Property("category"), Property("price", NUMBER)),
    ),
    Standard(
        "basket_changed", _("Basket changed"), _("An article was put in the basket or taken out."),
        (
            Property("action", CHOICE, required=True, choices=("added", "removed", "emptied")),
            Property("sku"), Property("quantity", NUMBER), Property("value", NUMBER),
        ),
    ),
    Standard(
        "order_placed", _("Order placed"), _("The web shop took an order. Its tickets come in with the orders."),
        (
            Property("order", TEXT, required=True), Property("value", NUMBER), Property("skus", LIST),
            Property("first_order", BOOLEAN),
        ),
    ),
    Standard("customer_signed_up", _("Signed up"), _("Somebody opened an account."), (Property("form"),)),
    Standard(
        "loyalty_enrolled", _("Joined the loyalty programme"), _("Somebody took a loyalty card."),
        (Property("form"),),
    ),
    Standard(
        "customer_logged_in", _("Logged in"), _("Somebody said who they are: earlier visits on the device are theirs."),
    ),
    Standard(
        "app_installed", _("App installed"), _("The app was opened for the first time."),
        (Property("platform", CHOICE, choices=("ios", "android", "other")), Property("version")),
    ),
    Standard(
        "review_written", _("Review written"), _("A review of an article or a store."),
        (Property("rating", NUMBER, required=True), Property("sku"), Property("text")),
    ),
    Standard(
        "survey_answered", _("Survey answered"), _("Answers to a survey."),
        (Property("survey", TEXT, required=True), Property("score", NUMBER), Property("answer")),
    ),
    Standard(
        "email_clicked", _("Link in an e-mail clicked"), _("A link of a message led to the site."),
        (Property("campaign"), Property("url")),
    ),
    Standard("store_visited", _("Store visited"), _("Somebody was recognised in a store without buying.")),
)  # fmt: skip


@dataclass(frozen=True)
class Word:
    """A type of the dictionary, ready to judge events by."""

    type: EventType
    properties: dict[str, Property]


@transaction.atomic
def open_dictionary() -> None:
    """Give the brand the standard types that it has not. Those that stand are the brand's own and stay as they are."""
    standing = set(EventType.objects.values_list("code", flat=True))
    # The words are the brand's own from then on.
    with translation.override(getattr(connection.tenant, "language", None) or translation.get_language()):
        EventType.objects.bulk_create(
            (
                EventType(code=one.code, label=str(one.label), description=str(one.description))
                for one in STANDARD
                if one.code not in standing
            ),
            ignore_conflicts=True,
        )
    made = {t.code: t for t in EventType.objects.exclude(code__in=standing)}
    EventProperty.objects.bulk_create(
        (
            EventProperty(
                event_type=made[one.code], name=entry.name, type=entry.type, required=entry.required,
                choices="\n".join(entry.choices),
            )
            for one in STANDARD
            if one.code in made
            for entry in one.properties
        ),
        ignore_conflicts=True,
    )  # fmt: skip


def words() -> dict[str, Word]:
    """What the dictionary says now, by code. A brand that has no dictionary yet begins with the standard types."""
    found = _words()
    if not found:
        open_dictionary()
        found = _words()
    return found


def _words() -> dict[str, Word]:
    return {
        event_type.code: Word(event_type, {p.name: p.entry for p in event_type.properties.all()})
        for event_type in EventType.objects.prefetch_related("properties")
    }
