"""What looks wrong, and the tickets that it holds."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from loyalty.models.ledger import Transaction
from profiles.models import Profile, Purchase
from tenants.network.models import Staff, Store
from tenants.scoping import StoreScoped


class Case(StoreScoped):
    """Something that looks wrong, for a person to decide: release what is held, or take it back."""

    class Kind(models.TextChoices):
        VELOCITY = "velocity", _("many tickets in an hour")
        AMOUNT = "amount", _("a large amount in a day")
        SELF_SCAN = "self_scan", _("a cashier's own card")
        CARD_USES = "card_uses", _("one card again and again under one cashier")
        DISTANCE = "distance", _("two distant stores within minutes")
        CLAIMS = "claims", _("claims of one cashier's tickets")
        DEBT = "debt", _("a large debt")

    class State(models.TextChoices):
        OPEN = "open", _("to be decided")
        RELEASED = "released", _("released")
        REVERSED = "reversed", _("taken back")

    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    store = models.ForeignKey(Store, models.PROTECT, related_name="cases", verbose_name=_("store"))
    profile = models.ForeignKey(
        Profile, models.PROTECT, null=True, blank=True, related_name="cases", verbose_name=_("customer")
    )
    cashier = models.CharField(_("cashier"), max_length=40, blank=True)
    day = models.DateField(_("day"))
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.OPEN)
    opened_at = models.DateTimeField(_("opened"), default=timezone.now)
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    decided_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("decided by")
    )
    comment = models.CharField(_("comment"), max_length=300, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("case")
        verbose_name_plural = _("cases")
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "store", "profile", "cashier", "day"], name="one_open_case_a_day",
                condition=models.Q(state="open"), nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(state="open", decided_at=None, decided_by=None)
                | ~models.Q(state="open") & models.Q(decided_at__isnull=False, decided_by__isnull=False),
                name="case_is_decided_by_somebody",
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.day}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class CaseTicket(StoreScoped):
    """A ticket of a case. What it earned is held while its case is open, if `transaction` names it."""

    case = models.ForeignKey(
        Case, models.PROTECT, related_name="tickets", verbose_name=_("case"), db_index=False
    )
    purchase = models.ForeignKey(Purchase, models.PROTECT, related_name="cases", verbose_name=_("purchase"))
    transaction = models.ForeignKey(
        Transaction, models.PROTECT, null=True, blank=True, related_name="cases", verbose_name=_("held")
    )
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    voided_by = models.ForeignKey(
        Transaction, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("taken back by")
    )

    class Meta:
        ordering = ["id"]
        verbose_name = _("ticket of a case")
        verbose_name_plural = _("tickets of cases")
        constraints = [models.UniqueConstraint(fields=["case", "purchase"], name="ticket_once_in_a_case")]
        indexes = [
            models.Index(
                fields=["transaction"], name="points_held",
                condition=models.Q(ended_at=None, transaction__isnull=False),
            )
        ]  # fmt: skip

    def __str__(self) -> str:
        return str(self.purchase_id)

    @classmethod
    def visible_from(cls, stores):
        return models.Q(purchase__in=Purchase._base_manager.filter(store__in=stores).values("pk"))
