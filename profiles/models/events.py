"""What people did: events of sites, apps and tills, anonymous or known, and the dictionary that says what they mean.

An event is kept as it was told. Whose it is, is a link that can be computed again (`profiles/behaviour.py`), and each
link names the event that proves it: `identified_by` where the event itself shows the person, `proof` where another one
on the same device does. A device is a proxy and never merges two persons.
"""

import secrets

from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _

from profiles import behaviour
from profiles.models.profile import Profile, ProfileStore
from profiles.models.records import Source
from tenants.network.models import Store
from tenants.scoping import NetworkWide, StoreScoped

RETENTION_DAYS = 395  # thirteen months


def new_key() -> str:
    return f"site_{secrets.token_urlsafe(18)}"


class Site(NetworkWide):
    """A web site or an app that sends events. Its key stands in its pages for all to see: it lets write, never read."""

    class Kind(models.TextChoices):
        WEB = "web", _("web site")
        APP = "app", _("app")

    name = models.CharField(_("name"), max_length=80)
    kind = models.CharField(_("kind"), max_length=4, choices=Kind.choices, default=Kind.WEB)
    source = models.ForeignKey(Source, models.PROTECT, related_name="sites", verbose_name=_("source"))
    origins = models.TextField(
        _("allowed addresses"), blank=True,
        help_text=_("One a line, such as https://www.example.com: browsers send from these alone."),
    )  # fmt: skip
    key = models.CharField(_("public key"), max_length=40, unique=True, default=new_key, editable=False)
    is_on = models.BooleanField(_("switched on"), default=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    last_event_at = models.DateTimeField(_("last event received"), null=True, blank=True, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = _("site")
        verbose_name_plural = _("sites and apps")

    def __str__(self) -> str:
        return self.name

    @property
    def allowed_origins(self) -> list[str]:
        return self.origins.split()


class EventType(NetworkWide):
    """A word of the brand's dictionary of events. Its properties stand in `EventProperty`."""

    code = models.CharField(
        _("code"), max_length=60, unique=True,
        validators=[
            RegexValidator(
                behaviour.TYPE_PATTERN,
                _("The thing and what befell it, in small letters with a low line: product_viewed."),
            )
        ],
        help_text=_("The thing and what befell it, in small letters with a low line: product_viewed."),
    )  # fmt: skip
    label = models.CharField(_("label"), max_length=80)
    description = models.CharField(_("description"), max_length=300, blank=True)
    retention_days = models.PositiveIntegerField(
        _("days that anonymous events are kept"), default=RETENTION_DAYS,
        help_text=_("Then they are counted by day and removed. Events of known customers stay."),
    )  # fmt: skip
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("Events of an inactive type wait in quarantine.")
    )

    class Meta:
        ordering = ["code"]
        verbose_name = _("event type")
        verbose_name_plural = _("dictionary of events")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(code__regex=behaviour.TYPE_PATTERN), name="event_type_is_thing_and_deed"
            ),
            models.CheckConstraint(
                condition=models.Q(retention_days__gte=1), name="event_retention_at_least_a_day"
            ),
        ]

    def __str__(self) -> str:
        return self.label


class EventProperty(NetworkWide):
    """A property that events of a type may carry."""

    class Type(models.TextChoices):
        TEXT = behaviour.TEXT, _("text")
        NUMBER = behaviour.NUMBER, _("number")
        BOOLEAN = behaviour.BOOLEAN, _("yes or no")
        DATE = behaviour.DATE, _("day")
        MOMENT = behaviour.MOMENT, _("moment")
        CHOICE = behaviour.CHOICE, _("choice")
        LIST = behaviour.LIST, _("list of texts")

    event_type = models.ForeignKey(
        EventType,
        models.CASCADE,
        related_name="properties",
        verbose_name=_("event type"),
        db_index=False,
    )
    name = models.CharField(
        _("name"), max_length=60,
        validators=[RegexValidator(behaviour.PROPERTY_PATTERN, _("Letters, digits and low lines, a letter first."))],
    )  # fmt: skip
    type = models.CharField(_("type"), max_length=8, choices=Type.choices, default=Type.TEXT)
    required = models.BooleanField(_("required"), default=False)
    choices = models.TextField(_("choices"), blank=True, help_text=_("One a line; for a choice alone."))
    description = models.CharField(_("description"), max_length=200, blank=True)

    class Meta:
        ordering = ["-required", "name"]
        verbose_name = _("property")
        verbose_name_plural = _("properties")
        constraints = [
            models.UniqueConstraint(fields=["event_type", "name"], name="event_property_once"),
            models.CheckConstraint(
                condition=~models.Q(type=behaviour.CHOICE) | ~models.Q(choices=""),
                name="event_choice_has_choices",
                violation_error_message=_("A choice needs its choices, one a line."),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def entry(self) -> behaviour.Property:
        choices = tuple(line.strip() for line in self.choices.splitlines() if line.strip())
        return behaviour.Property(self.name, self.type, self.required, choices)


class Device(StoreScoped):
    """A browser or an app, by the id it gave itself. A proxy of whoever holds it: it knows nobody and merges nobody."""

    source = models.ForeignKey(Source, models.PROTECT, related_name="+", db_index=False)
    key = models.CharField(_("id of the device"), max_length=64)
    first_received_at = models.DateTimeField(_("first event received"), default=timezone.now)

    class Meta:
        verbose_name = _("device")
        verbose_name_plural = _("devices")
        constraints = [models.UniqueConstraint(fields=["source", "key"], name="device_once_a_source")]

    def __str__(self) -> str:
        return self.key

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])


class Channel(models.TextChoices):
    """Where somebody did it (`consent.Channel` is where we may write to them)."""

    WEB = "web", _("web")
    APP = "app", _("app")
    EMAIL = "email", _("e-mail")
    SMS = "sms", _("text message")
    STORE = "store", _("store")
    PHONE = "phone", _("phone")
    SOCIAL = "social", _("social network")
    OTHER = "other", _("elsewhere")


class Event(StoreScoped):
    """Somebody, or some device, did something at an instant. The database refuses to change what was told
    (`event_is_never_edited`); whose it is may be computed again, and what the dictionary did not know may be released.
    """

    source = models.ForeignKey(
        Source, models.PROTECT, related_name="events", verbose_name=_("source"), db_index=False
    )
    event_id = models.CharField(_("id at the source"), max_length=64)
    type = models.ForeignKey(
        EventType, models.PROTECT, related_name="events", verbose_name=_("event"), db_index=False
    )
    at = models.DateTimeField(_("at"))
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    site = models.ForeignKey(
        Site, models.PROTECT, null=True, blank=True, related_name="events", verbose_name=_("site"), db_index=False
    )  # fmt: skip
    store = models.ForeignKey(
        Store, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("store"), db_index=False
    )  # fmt: skip
    channel = models.CharField(_("channel"), max_length=8, choices=Channel.choices)
    device = models.ForeignKey(
        Device, models.PROTECT, null=True, blank=True, related_name="events", verbose_name=_("device"),
        db_index=False,
    )  # fmt: skip
    profile = models.ForeignKey(
        Profile, models.PROTECT, null=True, blank=True, related_name="events", verbose_name=_("customer"),
        db_index=False,
    )  # fmt: skip
    identified_by = models.CharField(
        _("identified by"), max_length=270, blank=True,
        help_text=_("The identifier that the event shows, kind:key."),
    )  # fmt: skip
    proof = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="proves", verbose_name=_("proved by"),
        db_index=False, help_text=_("The identification on the same device that says whose this event is."),
    )  # fmt: skip
    properties = models.JSONField(_("properties"), default=dict)
    unknown = models.JSONField(
        _("kept apart"), default=dict, help_text=_("Properties that the dictionary does not know.")
    )
    content_hash = models.CharField(max_length=64, editable=False)

    class Meta:
        ordering = ["-at", "-id"]
        verbose_name = _("event")
        verbose_name_plural = _("events")
        constraints = [
            models.UniqueConstraint(fields=["source", "event_id"], name="event_received_once"),
            models.CheckConstraint(
                condition=models.Q(profile=None, proof=None, identified_by="")
                | models.Q(profile__isnull=False, proof__isnull=False, identified_by="")
                | (models.Q(profile__isnull=False, proof=None) & ~models.Q(identified_by="")),
                name="event_has_a_proof_of_its_person",
            ),
        ]
        indexes = [
            models.Index(fields=["-at"], name="events_latest"),
            models.Index(
                fields=["profile", "-at"], name="events_of_profile", condition=models.Q(profile__isnull=False)
            ),
            models.Index(
                fields=["store", "-at"], name="events_of_store", condition=models.Q(store__isnull=False)
            ),
            models.Index(
                fields=["device", "at"], name="events_of_device", condition=models.Q(device__isnull=False)
            ),
            models.Index(
                fields=["device", "at", "event_id"], name="identifications_of_device",
                condition=models.Q(device__isnull=False) & ~models.Q(identified_by=""),
            ),
            models.Index(fields=["type", "at"], name="events_anonymous", condition=models.Q(profile=None)),
            models.Index(fields=["proof"], name="events_proved", condition=models.Q(proof__isnull=False)),
            models.Index(fields=["type"], name="events_with_unknown", condition=~models.Q(unknown={})),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.type} · {date_format(timezone.localtime(self.at), 'SHORT_DATETIME_FORMAT')}"

    @classmethod
    def visible_from(cls, stores):
        # What happened in the store, but for people it has never met: a web page may name any store.
        met = models.Q(profile=None) | models.Q(profile__in=ProfileStore.known_to(stores))
        return models.Q(store__in=stores) & met


class UnknownProperty(StoreScoped):
    """A property that events of a type carry and the dictionary does not know. `seen` events hold a value of it."""

    class State(models.TextChoices):
        OPEN = "open", _("to decide")
        ADDED = "added", _("added to the dictionary")
        IGNORED = "ignored", _("ignored")

    event_type = models.ForeignKey(
        EventType,
        models.CASCADE,
        related_name="unknown_properties",
        verbose_name=_("event type"),
        db_index=False,
    )
    name = models.CharField(_("property"), max_length=200)
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.OPEN)
    seen = models.PositiveBigIntegerField(_("how often"), default=0)
    sample = models.JSONField(_("sample"), null=True)
    first_seen = models.DateTimeField(_("since"), default=timezone.now)

    class Meta:
        ordering = ["-seen", "name"]
        verbose_name = _("unknown property")
        verbose_name_plural = _("unknown properties")
        constraints = [models.UniqueConstraint(fields=["event_type", "name"], name="unknown_property_once")]

    def __str__(self) -> str:
        return f"{self.event_type}: {self.name}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])


class QuarantinedEvent(StoreScoped):
    """An event kept whole, because the dictionary cannot take it as it stands. Released once the dictionary can."""

    class Reason(models.TextChoices):
        UNKNOWN_TYPE = "unknown_type", _("the dictionary has no such event")
        INACTIVE_TYPE = "inactive_type", _("the type is inactive")
        MISSING_PROPERTY = "missing_property", _("a required property is missing")
        WRONG_TYPE = "wrong_type", _("a property has another type")
        UNKNOWN_STORE = "unknown_store", _("there is no such store")
        UNKNOWN_CHANNEL = "unknown_channel", _("there is no such channel")
        INVALID_IDENTIFIER = "invalid_identifier", _("the identifier is not usable")
        UNKNOWN_CUSTOMER = "unknown_customer", _("nobody has this customer number yet")

    source = models.ForeignKey(
        Source, models.PROTECT, related_name="+", verbose_name=_("source"), db_index=False
    )
    event_id = models.CharField(_("id at the source"), max_length=64)
    site = models.ForeignKey(
        Site, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("site")
    )
    store = models.ForeignKey(
        Store, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("store of the till")
    )
    type_code = models.CharField(_("event"), max_length=60)
    reason = models.CharField(_("reason"), max_length=20, choices=Reason.choices)
    field = models.CharField(_("field at fault"), max_length=220, blank=True)
    raw = models.JSONField(_("as received"))
    at = models.DateTimeField(_("happened"))
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    content_hash = models.CharField(max_length=64, editable=False)

    class Meta:
        ordering = ["-received_at", "-id"]
        verbose_name = _("event in quarantine")
        verbose_name_plural = _("events in quarantine")
        constraints = [models.UniqueConstraint(fields=["source", "event_id"], name="event_quarantined_once")]
        indexes = [models.Index(fields=["type_code", "reason"], name="quarantined_by_type")]

    def __str__(self) -> str:
        return f"{self.type_code} {self.event_id}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])


class EventCount(NetworkWide):
    """Anonymous events that were removed at the end of their retention, counted: no device, no person, a day."""

    type = models.ForeignKey(
        EventType, models.PROTECT, related_name="+", verbose_name=_("event"), db_index=False
    )
    source = models.ForeignKey(Source, models.PROTECT, related_name="+", verbose_name=_("source"))
    site = models.ForeignKey(
        Site, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("site")
    )
    day = models.DateField(_("day"))
    events = models.PositiveBigIntegerField(_("events"), default=0)

    class Meta:
        ordering = ["-day"]
        verbose_name = _("event count")
        verbose_name_plural = _("event counts")
        constraints = [
            models.UniqueConstraint(
                fields=["type", "source", "site", "day"], name="event_count_once_a_day", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"{self.day}: {self.events}"


class EventTally(NetworkWide):
    """What became of the events that a source sent on a day of receipt. The database holds that the numbers add up."""

    source = models.ForeignKey(
        Source, models.PROTECT, related_name="event_tallies", verbose_name=_("source"), db_index=False
    )
    day = models.DateField(_("day"))
    received = models.PositiveBigIntegerField(_("received"), default=0)
    accepted = models.PositiveBigIntegerField(_("accepted"), default=0)
    known = models.PositiveBigIntegerField(_("already known"), default=0)
    quarantined = models.PositiveBigIntegerField(_("in quarantine"), default=0)
    rejected = models.PositiveBigIntegerField(_("rejected"), default=0)

    class Meta:
        ordering = ["-day"]
        verbose_name = _("tally of events")
        verbose_name_plural = _("tallies of events")
        constraints = [
            models.UniqueConstraint(fields=["source", "day"], name="event_tally_once_a_day"),
            models.CheckConstraint(
                condition=models.Q(
                    received=models.F("accepted")
                    + models.F("known")
                    + models.F("quarantined")
                    + models.F("rejected")
                ),
                name="event_numbers_reconcile",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.day}"
