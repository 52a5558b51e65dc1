"""Points without a ticket, and tickets that are claimed afterwards."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from loyalty.models.ledger import Transaction
from profiles.models import Profile, Purchase
from tenants.network.models import Staff, Store, Till
from tenants.scoping import StoreScoped


class Action(StoreScoped):
    """Something a member did that is no purchase, told once by its key; or a day of the calendar that came.

    What it earned is a transaction of its own. `counted_before` and `counted_in_campaign` are how many such actions had
    earned when this one was judged, so that the proof judges by the same numbers.
    """

    WELCOME, BIRTHDAY = "welcome", "birthday"
    BY_THE_CALENDAR = (WELCOME, BIRTHDAY)

    code = models.SlugField(_("action"), max_length=40, db_index=False)
    key = models.CharField(_("key"), max_length=64)
    profile = models.ForeignKey(Profile, models.PROTECT, related_name="actions", verbose_name=_("customer"))
    store = models.ForeignKey(Store, models.PROTECT, related_name="actions", verbose_name=_("store"))
    till = models.ForeignKey(
        Till, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("told by")
    )
    identified_by = models.CharField(
        _("identified by"),
        max_length=270,
        blank=True,
        help_text=_("The identifier shown at the till, kind:key."),
    )
    campaign = models.CharField(_("campaign"), max_length=60, blank=True)
    occurred_at = models.DateTimeField(_("happened"))
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    content_hash = models.CharField(max_length=64, editable=False)
    tier = models.CharField(_("tier when it happened"), max_length=20, blank=True)
    segments = ArrayField(
        models.BigIntegerField(), default=list, db_default=[], editable=False,
        help_text="As of a transaction.",
    )  # fmt: skip
    counted_before = models.PositiveIntegerField(default=0, editable=False)
    counted_in_campaign = models.PositiveIntegerField(default=0, editable=False)
    points = models.PositiveIntegerField(_("points"), default=0)
    why = models.CharField(_("why"), max_length=20)
    birth_day = models.CharField(
        max_length=5, blank=True, editable=False, help_text="Of a birthday: month-day."
    )
    transaction = models.OneToOneField(
        Transaction,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="action",
        verbose_name=_("transaction"),
    )
    withdrawn_by = models.ForeignKey(
        Transaction, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("taken back by")
    )

    class Meta:
        ordering = ["-id"]
        verbose_name = _("action")
        verbose_name_plural = _("actions")
        constraints = [
            models.UniqueConstraint(fields=["code", "key"], name="action_counts_once"),
            models.CheckConstraint(
                condition=models.Q(points=0, transaction=None)
                | models.Q(points__gt=0, transaction__isnull=False),
                name="action_points_are_posted",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.key}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class Claim(StoreScoped):
    """A ticket without a card that a member claimed afterwards. Once a ticket; never changed."""

    purchase = models.OneToOneField(
        Purchase, models.PROTECT, related_name="claim", verbose_name=_("purchase")
    )
    store = models.ForeignKey(
        Store, models.PROTECT, related_name="claims", db_index=False, verbose_name=_("store"),
        help_text=_("Of the ticket."),
    )  # fmt: skip
    profile = models.ForeignKey(Profile, models.PROTECT, related_name="claims", verbose_name=_("customer"))
    claimed_at = models.DateTimeField(_("claimed"), default=timezone.now)
    till = models.ForeignKey(
        Till, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("till")
    )
    by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("by")
    )
    cashier = models.CharField(_("cashier of the ticket"), max_length=40, blank=True)
    taken_by = models.CharField(_("cashier who took the claim"), max_length=40, blank=True)
    points = models.PositiveIntegerField(_("points"))

    class Meta:
        ordering = ["-id"]
        verbose_name = _("claim")
        verbose_name_plural = _("claims")
        indexes = [models.Index(fields=["store", "claimed_at"], name="claims_of_store")]

    def __str__(self) -> str:
        return f"{self.purchase_id}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class ClaimTally(StoreScoped):
    """A line of the weekly report: claims of one cashier's tickets in a store."""

    week = models.DateField(_("week"), help_text=_("Its Monday."))
    store = models.ForeignKey(Store, models.PROTECT, related_name="+", verbose_name=_("store"))
    cashier = models.CharField(_("cashier of the ticket"), max_length=40, blank=True)
    claims = models.PositiveIntegerField(_("claims"))
    cents = models.BigIntegerField(_("amount"))
    points = models.BigIntegerField(_("points"))
    share = models.PositiveSmallIntegerField(_("share of the store's claims (%)"))

    class Meta:
        ordering = ["-week", "store", "-claims", "cashier"]
        verbose_name = _("line of the claims report")
        verbose_name_plural = _("claims by cashier")
        constraints = [
            models.UniqueConstraint(fields=["week", "store", "cashier"], name="claims_tallied_once")
        ]

    def __str__(self) -> str:
        return f"{self.week} {self.cashier}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)
