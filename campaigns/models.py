"""Segments and their versions, campaigns, who was chosen for them, and every file that left."""

import secrets

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from profiles.models import Channel, Profile, ProfileStore
from tenants.network.models import Job, Staff, Store
from tenants.scoping import StoreScoped


def new_salt() -> str:
    """What makes the draw of one campaign's control group independent of another's."""
    return secrets.token_hex(8)


class Segment(StoreScoped):
    """A named group of customers, defined by conditions. Without a store it is national."""

    name = models.CharField(_("name"), max_length=120)
    description = models.CharField(_("description"), max_length=300, blank=True)
    store = models.ForeignKey(
        Store, models.PROTECT, null=True, blank=True, related_name="segments", verbose_name=_("store"),
        help_text=_("Empty: a national segment."),
    )  # fmt: skip
    shared = models.BooleanField(
        _("shared with stores"),
        default=False,
        help_text=_("Each store sees its own part of a national segment."),
    )
    created_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("created by")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        ordering = ["name"]
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        constraints = [
            models.UniqueConstraint(fields=["name", "store"], name="segment_name_once", nulls_distinct=False)
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores) | models.Q(store=None, shared=True)

    @property
    def current(self) -> "SegmentVersion":
        """The newest version. Raises `SegmentVersion.DoesNotExist` before the first save of conditions."""
        return self.versions.latest("number")


class SegmentVersion(StoreScoped):
    """The conditions as saved at one time, never changed: exports and campaigns name the version they used."""

    segment = models.ForeignKey(Segment, models.CASCADE, related_name="versions", verbose_name=_("segment"))
    number = models.PositiveIntegerField(_("version"))
    definition = models.JSONField(_("conditions"))
    reason = models.CharField(_("why"), max_length=300, blank=True)
    made_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("made by")
    )
    made_at = models.DateTimeField(_("made"), default=timezone.now)

    class Meta:
        ordering = ["segment", "-number"]
        verbose_name = _("segment version")
        verbose_name_plural = _("segment versions")
        constraints = [models.UniqueConstraint(fields=["segment", "number"], name="segment_version_once")]

    def __str__(self) -> str:
        return f"{self.segment} v{self.number}"

    @classmethod
    def visible_from(cls, stores):
        own = Segment._base_manager.filter(Segment.visible_from(stores))
        return models.Q(segment__in=own.values("pk"))


class Campaign(StoreScoped):
    """A segment addressed once on a channel, with a goal set before and a control group to measure against."""

    class Goal(models.TextChoices):
        VISIT = "visit", _("at least one purchase")
        SPEND = "spend", _("turnover a customer")

    class State(models.TextChoices):
        DRAFT = "draft", _("draft")
        FROZEN = "frozen", _("audience frozen")

    name = models.CharField(_("name"), max_length=120)
    segment = models.ForeignKey(Segment, models.PROTECT, related_name="campaigns", verbose_name=_("segment"))
    segment_version = models.ForeignKey(
        SegmentVersion,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="campaigns",
        verbose_name=_("version"),
    )
    channel = models.CharField(_("channel"), max_length=6, choices=Channel.choices, default=Channel.EMAIL)
    goal = models.CharField(_("goal"), max_length=8, choices=Goal.choices)
    goal_days = models.PositiveSmallIntegerField(
        _("measured over (days)"), default=30, validators=[MinValueValidator(1), MaxValueValidator(365)]
    )
    goal_uplift = models.DecimalField(
        _("expected uplift"), max_digits=6, decimal_places=2,
        help_text=_("Points of conversion, or currency units a customer."),
    )  # fmt: skip
    control_percent = models.PositiveSmallIntegerField(
        _("control group (%)"), default=10, validators=[MaxValueValidator(50)]
    )
    salt = models.CharField(max_length=16, default=new_salt, editable=False)
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.DRAFT)
    store = models.ForeignKey(
        Store, models.PROTECT, null=True, blank=True, related_name="campaigns", verbose_name=_("store")
    )
    created_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("created by")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    frozen_at = models.DateTimeField(_("audience frozen"), null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = _("campaign")
        verbose_name_plural = _("campaigns")

    def __str__(self) -> str:
        return self.name

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class Recipient(StoreScoped):
    """A customer chosen for a campaign, addressed or held back as control. Frozen with the campaign."""

    class Arm(models.TextChoices):
        TREATED = "treated", _("addressed")
        CONTROL = "control", _("control group")

    campaign = models.ForeignKey(
        Campaign, models.CASCADE, related_name="recipients", verbose_name=_("campaign")
    )
    profile = models.ForeignKey(Profile, models.PROTECT, related_name="campaigns", verbose_name=_("customer"))
    arm = models.CharField(_("arm"), max_length=8, choices=Arm.choices)
    home_store = models.ForeignKey(
        Store, models.PROTECT, null=True, related_name="+", verbose_name=_("home store")
    )

    class Meta:
        ordering = ["campaign", "profile"]
        verbose_name = _("recipient")
        verbose_name_plural = _("recipients")
        constraints = [models.UniqueConstraint(fields=["campaign", "profile"], name="recipient_once")]

    def __str__(self) -> str:
        return f"{self.campaign_id}:{self.profile_id}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(home_store__in=stores) & models.Q(profile__in=ProfileStore.known_to(stores))


class Export(StoreScoped):
    """A file that left: what was in it, who asked, why, and its fingerprint."""

    campaign = models.ForeignKey(
        Campaign, models.PROTECT, null=True, blank=True, related_name="exports", verbose_name=_("campaign")
    )
    segment_version = models.ForeignKey(
        SegmentVersion, models.PROTECT, related_name="exports", verbose_name=_("segment version")
    )
    job = models.OneToOneField(
        Job, models.PROTECT, null=True, blank=True, related_name="export", verbose_name=_("job")
    )
    format = models.CharField(_("format"), max_length=20)
    columns = models.JSONField(_("columns"), default=list)
    rows = models.PositiveIntegerField(_("rows"), default=0)
    sha256 = models.CharField(_("SHA-256"), max_length=64, blank=True)
    file_name = models.CharField(_("file"), max_length=200, blank=True)
    purpose = models.CharField(_("purpose"), max_length=300)
    store = models.ForeignKey(
        Store, models.PROTECT, null=True, blank=True, related_name="exports", verbose_name=_("store")
    )
    asked_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="exports", verbose_name=_("asked by")
    )
    asked_at = models.DateTimeField(_("asked"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        ordering = ["-asked_at"]
        verbose_name = _("export")
        verbose_name_plural = _("exports")

    def __str__(self) -> str:
        return self.file_name or f"export {self.pk}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)
