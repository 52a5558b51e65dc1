"""What tills asked and were told, who serves there, where their stores lie; returns that came before their sale."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from profiles.models import Purchase, Refund
from tenants.network.models import Store, Till
from tenants.scoping import StoreScoped


class TillRequest(StoreScoped):
    """The answer given to a till's request, kept so that a repeated request gets the same answer."""

    till = models.ForeignKey(
        Till, models.PROTECT, related_name="requests", verbose_name=_("till"), db_index=False
    )
    key = models.CharField(_("key"), max_length=160)
    request_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(_("status"))
    response = models.JSONField(_("answer"))
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("till request")
        verbose_name_plural = _("till requests")
        constraints = [models.UniqueConstraint(fields=["till", "key"], name="request_answered_once")]

    def __str__(self) -> str:
        return self.key

    @classmethod
    def visible_from(cls, stores):
        return models.Q(till__in=Till._base_manager.filter(store__in=stores).values("pk"))


class TicketCashier(StoreScoped):
    """Who served at the till when a ticket was made: the till's own word for the cashier."""

    purchase = models.OneToOneField(
        Purchase, models.CASCADE, primary_key=True, related_name="served", verbose_name=_("purchase")
    )
    store = models.ForeignKey(Store, models.PROTECT, related_name="+", verbose_name=_("store"))
    cashier = models.CharField(_("cashier"), max_length=40)

    class Meta:
        verbose_name = _("cashier of a ticket")
        verbose_name_plural = _("cashiers of tickets")

    def __str__(self) -> str:
        return self.cashier

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class Cashier(StoreScoped):
    """Somebody who serves at a store's tills, by the code that tills send, with the own customer card."""

    store = models.ForeignKey(
        Store, models.PROTECT, related_name="cashiers", verbose_name=_("store"), db_index=False
    )
    code = models.CharField(_("code at the till"), max_length=40)
    name = models.CharField(_("name"), max_length=120, blank=True)
    card = models.CharField(
        _("own card"),
        max_length=40,
        blank=True,
        help_text=_("Number of the customer card, as it is scanned."),
    )
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        ordering = ["store", "code"]
        verbose_name = _("cashier")
        verbose_name_plural = _("cashiers")
        constraints = [models.UniqueConstraint(fields=["store", "code"], name="cashier_code_unique_in_store")]

    def __str__(self) -> str:
        return self.name or self.code

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class StorePlace(StoreScoped):
    """Where a store lies, for the distance between two."""

    store = models.OneToOneField(Store, models.PROTECT, related_name="place", verbose_name=_("store"))
    latitude = models.DecimalField(
        _("latitude"), max_digits=8, decimal_places=5, help_text=_("Degrees, north above 0.")
    )
    longitude = models.DecimalField(
        _("longitude"), max_digits=8, decimal_places=5, help_text=_("Degrees, east above 0.")
    )

    class Meta:
        ordering = ["store"]
        verbose_name = _("place of a store")
        verbose_name_plural = _("places of stores")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(latitude__range=(-90, 90), longitude__range=(-180, 180)),
                name="place_is_on_earth",
            )
        ]

    def __str__(self) -> str:
        return f"{self.latitude} {self.longitude}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class ParkedReturn(StoreScoped):
    """A return that came before its sale. It has no effect until the sale arrives."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waits for its sale")
        APPLIED = "applied", _("applied")
        REFUSED = "refused", _("does not fit its sale")
        CLOSED = "closed", _("closed by hand")

    store = models.ForeignKey(
        Store, models.PROTECT, related_name="parked_returns", verbose_name=_("brought back to")
    )
    till = models.ForeignKey(Till, models.PROTECT, related_name="+", verbose_name=_("till"), db_index=False)
    business_day = models.DateField(_("day"))
    refund_id = models.CharField(_("refund receipt"), max_length=64)
    receipt_id = models.CharField(_("receipt"), max_length=64)
    sale_store = models.CharField(_("store of the sale"), max_length=20)
    statement = models.JSONField(editable=False)
    parked_at = models.DateTimeField(_("parked"), default=timezone.now)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.WAITING)
    applied_as = models.OneToOneField(
        Refund, models.PROTECT, null=True, blank=True, related_name="parked", verbose_name=_("refund")
    )
    problem = models.CharField(_("problem"), max_length=300, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("return without its sale")
        verbose_name_plural = _("returns without their sale")
        constraints = [
            models.UniqueConstraint(fields=["till", "business_day", "refund_id"], name="return_parked_once"),
            models.CheckConstraint(
                condition=models.Q(state="applied", applied_as__isnull=False)
                | ~models.Q(state="applied") & models.Q(applied_as=None),
                name="applied_return_has_its_refund",
            ),
        ]
        indexes = [
            models.Index(
                fields=["receipt_id", "sale_store"],
                name="returns_waiting",
                condition=models.Q(state="waiting"),
            )
        ]

    def __str__(self) -> str:
        return self.refund_id

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)
