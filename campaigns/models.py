"""Segments and their versions, campaigns, who was chosen for them, what they were given, and every file that left."""

import secrets

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from loyalty.models import Reward, Transaction, Voucher
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

    segment = models.ForeignKey(
        Segment, models.CASCADE, related_name="versions", verbose_name=_("segment"), db_index=False
    )
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
        Campaign,
        models.CASCADE,
        related_name="recipients",
        verbose_name=_("campaign"),
        db_index=False,
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


class Handout(StoreScoped):
    """A voucher of one reward, or so many points, for everybody whom a campaign addresses. Given by a job, person by
    person; called back by another one. `people` and `cost_cents` are what was shown before it was asked for."""

    campaign = models.ForeignKey(
        Campaign, models.PROTECT, related_name="handouts", verbose_name=_("campaign")
    )
    reward = models.ForeignKey(
        Reward, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("reward")
    )
    points = models.PositiveIntegerField(_("points"), null=True, blank=True)
    people = models.PositiveIntegerField(_("customers"))
    cost_cents = models.PositiveBigIntegerField(_("costs at most"))
    purpose = models.CharField(_("what for"), max_length=300)
    store = models.ForeignKey(
        Store, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("store"),
        help_text=_("Who pays; empty: head office."),
    )  # fmt: skip
    job = models.OneToOneField(Job, models.PROTECT, related_name="handout", verbose_name=_("job"))
    asked_by = models.ForeignKey(Staff, models.PROTECT, related_name="+", verbose_name=_("asked by"))
    asked_at = models.DateTimeField(_("asked"), default=timezone.now)
    undo_job = models.OneToOneField(
        Job, models.PROTECT, null=True, blank=True, related_name="handout_undone", verbose_name=_("called back by")
    )  # fmt: skip

    class Meta:
        ordering = ["-id"]
        verbose_name = _("handout of a campaign")
        verbose_name_plural = _("handouts of campaigns")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(reward__isnull=False, points=None)
                | models.Q(reward=None, points__isnull=False, points__gte=1),
                name="handout_gives_one_thing",
            ),
            models.UniqueConstraint(
                fields=["campaign", "reward"], condition=models.Q(undo_job=None), nulls_distinct=False,
                name="campaign_gives_a_thing_once",
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.campaign}: {self.reward or self.points}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class Given(StoreScoped):
    """What one recipient was given, or why nothing. Written once, with the voucher or the points; the database refuses
    a second one, the control group, and any change but `taken_back`: of points how many, of a voucher 1 or 0."""

    class LeftOut(models.TextChoices):
        CONTROL = "control", _("proved to be somebody held back as control")
        SAME_PERSON = "same_person", _("proved to be somebody who was given it")
        OWN_CARD = "own_card", _("is who asked for it")
        STRANGER = "stranger", _("is not known to the store any more")
        NO_STORE = "no_store", _("goes with no store that could book the points")
        GONE = "gone", _("is not kept any more")

    handout = models.ForeignKey(
        Handout, models.PROTECT, related_name="given", verbose_name=_("handout"), db_index=False
    )
    recipient = models.ForeignKey(
        Recipient, models.PROTECT, related_name="given", verbose_name=_("recipient")
    )
    profile = models.ForeignKey(
        Profile, models.PROTECT, null=True, related_name="+", verbose_name=_("customer"),
        help_text=_("Whom the recipient had become when it was given."),
    )  # fmt: skip
    voucher = models.OneToOneField(
        Voucher, models.PROTECT, null=True, related_name="given", verbose_name=_("voucher")
    )
    transaction = models.OneToOneField(
        Transaction, models.PROTECT, null=True, related_name="given", verbose_name=_("points")
    )
    left_out = models.CharField(_("left out"), max_length=12, choices=LeftOut.choices, blank=True)
    at = models.DateTimeField(_("given"), default=timezone.now)
    taken_back = models.PositiveIntegerField(_("taken back"), null=True)

    class Meta:
        ordering = ["handout", "recipient"]
        verbose_name = _("gift of a campaign")
        verbose_name_plural = _("gifts of campaigns")
        constraints = [
            models.UniqueConstraint(fields=["handout", "recipient"], name="recipient_given_once"),
            models.UniqueConstraint(fields=["handout", "profile"], name="person_given_once"),
            models.CheckConstraint(
                condition=models.Q(
                    profile__isnull=False, voucher__isnull=False, transaction=None, left_out=""
                )
                | models.Q(profile__isnull=False, voucher=None, transaction__isnull=False, left_out="")
                | (models.Q(profile=None, voucher=None, transaction=None) & ~models.Q(left_out="")),
                name="given_or_left_out",
            ),
        ]
        indexes = [
            models.Index(
                fields=["handout", "id"], name="given_to_take_back",
                condition=models.Q(taken_back=None, left_out=""),
            )
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.handout_id}:{self.recipient_id}"

    @classmethod
    def visible_from(cls, stores):
        mine = Recipient._base_manager.filter(Recipient.visible_from(stores)).order_by()
        return models.Q(recipient__in=mine.values("pk"))


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
