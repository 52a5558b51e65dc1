"""Who pays for points that are spent elsewhere than they were earned, and the monthly statements."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from loyalty.models.ledger import Lot, Transaction
from tenants.network.models import Store
from tenants.scoping import NetworkWide, StoreScoped


class FundingKey(NetworkWide):
    """Who pays for a redemption, in percent, from an instant on. Immutable: a change is a new one."""

    effective_from = models.DateTimeField(_("from"), unique=True)
    earner = models.PositiveSmallIntegerField(_("% paid by the store that issued the points"))
    redeemer = models.PositiveSmallIntegerField(_("% paid by the store where they were spent"))
    head_office = models.PositiveSmallIntegerField(_("% paid by head office"))

    class Meta:
        ordering = ["-effective_from"]
        verbose_name = _("funding key")
        verbose_name_plural = _("funding keys")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    head_office=100 - models.F("earner") - models.F("redeemer"),
                ),
                name="funding_key_sums_to_100",
            )
        ]

    def __str__(self) -> str:
        return f"{self.earner}/{self.redeemer}/{self.head_office}"


class SettlementStatement(NetworkWide):
    """What stores owe each other for a month. Closed once, and never changed: what comes later is the next one's."""

    month = models.DateField(_("month"), unique=True, help_text=_("Its first day."))
    closed_at = models.DateTimeField(_("closed"), default=timezone.now)
    line_count = models.PositiveIntegerField(_("lines"), help_text=_("No line can be added later."))

    class Meta:
        ordering = ["-month"]
        verbose_name = _("statement between stores")
        verbose_name_plural = _("statements between stores")

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class SettlementLine(StoreScoped):
    """Cents that a party owes (below zero) or is owed for one lot of one redemption; no store: head office. No lot: a
    voucher that was given, not bought with points.

    A store sees its own: what it owes and is owed, not what the others do.
    """

    statement = models.ForeignKey(SettlementStatement, models.PROTECT, related_name="lines")
    transaction = models.ForeignKey(
        Transaction, models.PROTECT, related_name="settlement_lines", db_index=False
    )
    lot = models.ForeignKey(Lot, models.PROTECT, null=True, related_name="settlement_lines")
    store = models.ForeignKey(Store, models.PROTECT, null=True, related_name="settlement_lines")
    cents = models.BigIntegerField()

    class Meta:
        verbose_name = _("settlement line")
        verbose_name_plural = _("settlement lines")
        constraints = [
            models.UniqueConstraint(
                fields=["transaction", "lot", "store"], name="settled_once", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"{self.store_id or '–'}: {self.cents:+d}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)
