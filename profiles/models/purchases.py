"""What was bought and what was brought back. Amounts are integers in the brand's minor unit (cents)."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from profiles.models.profile import Profile
from tenants.network.models import Store, Till
from tenants.scoping import StoreScoped


class Purchase(StoreScoped):
    """A ticket. The till's own receipt id makes it unique in its store, till and business day."""

    store = models.ForeignKey(
        Store, models.PROTECT, related_name="purchases", verbose_name=_("store"), db_index=False
    )
    till = models.ForeignKey(
        Till, models.PROTECT, related_name="purchases", verbose_name=_("till"), db_index=False
    )
    business_day = models.DateField(_("day"))
    receipt_id = models.CharField(_("receipt"), max_length=64)
    bought_at = models.DateTimeField(_("bought"))
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    profile = models.ForeignKey(
        Profile,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="purchases",
        verbose_name=_("customer"),
        db_index=False,
    )
    identified_by = models.CharField(
        _("identified by"),
        max_length=270,
        blank=True,
        help_text=_("The identifier shown at the till, kind:key."),
    )
    total_cents = models.BigIntegerField(_("total"))
    payment = models.CharField(_("payment"), max_length=20, blank=True)
    content_hash = models.CharField(max_length=64, editable=False)

    class Meta:
        ordering = ["-bought_at", "-id"]
        verbose_name = _("purchase")
        verbose_name_plural = _("purchases")
        constraints = [
            models.UniqueConstraint(
                fields=["store", "till", "business_day", "receipt_id"], name="receipt_recorded_once"
            ),
            models.CheckConstraint(
                condition=models.Q(total_cents__gte=0), name="purchase_total_not_negative"
            ),
        ]
        indexes = [
            models.Index(fields=["profile", "business_day"], name="purchases_of_profile"),
            models.Index(fields=["store", "business_day"], name="purchases_of_store"),
            models.Index(fields=["till", "-received_at"], name="purchases_of_till_by_time"),
        ]

    def __str__(self) -> str:
        return self.receipt_id

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class PurchaseLine(StoreScoped):
    """A line of a ticket. Store, customer and day stand here again so that a segment reads one index."""

    purchase = models.ForeignKey(
        Purchase, models.CASCADE, related_name="lines", verbose_name=_("purchase"), db_index=False
    )
    number = models.PositiveSmallIntegerField(_("line"))
    sku = models.CharField(_("article"), max_length=40)
    label = models.CharField(_("label"), max_length=120, blank=True)
    category = models.CharField(_("category"), max_length=60, blank=True)
    quantity = models.DecimalField(_("quantity"), max_digits=10, decimal_places=3, default=1)
    amount_cents = models.BigIntegerField(
        _("paid"), help_text=_("What was paid for the line, discounts taken off.")
    )
    discount_cents = models.BigIntegerField(_("discount"), default=0)
    store = models.ForeignKey(Store, models.PROTECT, related_name="+", verbose_name=_("store"))
    profile = models.ForeignKey(
        Profile,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("customer"),
        db_index=False,
    )
    business_day = models.DateField(_("day"))

    class Meta:
        ordering = ["purchase", "number"]
        verbose_name = _("purchase line")
        verbose_name_plural = _("purchase lines")
        constraints = [
            models.UniqueConstraint(fields=["purchase", "number"], name="line_number_once"),
            models.CheckConstraint(condition=models.Q(quantity__gt=0), name="line_quantity_positive"),
        ]
        indexes = [
            models.Index(
                fields=["category", "business_day"],
                include=["profile", "purchase", "store", "amount_cents"],
                name="lines_of_category",
            ),
            models.Index(fields=["profile", "business_day"], name="lines_of_profile"),
        ]

    def __str__(self) -> str:
        return f"{self.label or self.sku} × {self.quantity}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class Refund(StoreScoped):
    """Goods brought back: a new row that names the purchase, which itself never changes."""

    purchase = models.ForeignKey(Purchase, models.PROTECT, related_name="refunds", verbose_name=_("purchase"))
    store = models.ForeignKey(
        Store, models.PROTECT, related_name="refunds", verbose_name=_("store"), db_index=False
    )
    till = models.ForeignKey(Till, models.PROTECT, related_name="+", verbose_name=_("till"))
    business_day = models.DateField(_("day"))
    refund_id = models.CharField(_("refund receipt"), max_length=64)
    refunded_at = models.DateTimeField(_("refunded"))
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    total_cents = models.BigIntegerField(_("total"))
    content_hash = models.CharField(max_length=64, editable=False)

    class Meta:
        ordering = ["-refunded_at", "-id"]
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        constraints = [
            models.UniqueConstraint(
                fields=["store", "till", "business_day", "refund_id"], name="refund_recorded_once"
            )
        ]

    def __str__(self) -> str:
        return self.refund_id

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class RefundLine(StoreScoped):
    refund = models.ForeignKey(
        Refund, models.CASCADE, related_name="lines", verbose_name=_("refund"), db_index=False
    )
    line = models.ForeignKey(
        PurchaseLine, models.PROTECT, related_name="refunds", verbose_name=_("purchase line")
    )
    quantity = models.DecimalField(_("quantity"), max_digits=10, decimal_places=3)
    amount_cents = models.BigIntegerField(_("paid back"))
    store = models.ForeignKey(Store, models.PROTECT, related_name="+", verbose_name=_("store"))

    class Meta:
        verbose_name = _("refund line")
        verbose_name_plural = _("refund lines")
        constraints = [
            models.UniqueConstraint(fields=["refund", "line"], name="refund_line_once"),
            models.CheckConstraint(condition=models.Q(quantity__gt=0), name="refund_quantity_positive"),
        ]

    def __str__(self) -> str:
        return f"−{self.quantity}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)
