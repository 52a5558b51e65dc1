"""What people decided by hand, each a row: a value pinned, a ticket given to its right owner, a question put off."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from profiles.models.profile import MatchCandidate, Profile, ProfileStore
from profiles.models.purchases import Purchase
from tenants.network.models import Staff
from tenants.scoping import NetworkWide, StoreScoped


class Pin(StoreScoped):
    """A person said which value of a field is right: it wins over every source until it is taken off."""

    profile = models.ForeignKey(Profile, models.PROTECT, related_name="pins", verbose_name=_("customer"))
    field = models.CharField(_("field"), max_length=20)
    value = models.CharField(_("value"), max_length=254)
    reason = models.CharField(_("why"), max_length=300, blank=True)
    by = models.ForeignKey(Staff, models.PROTECT, related_name="+", verbose_name=_("decided by"))
    at = models.DateTimeField(_("at"), default=timezone.now)
    ended_at = models.DateTimeField(_("taken off"), null=True, blank=True)
    ended_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("taken off by")
    )

    class Meta:
        ordering = ["-at", "-id"]
        verbose_name = _("pinned value")
        verbose_name_plural = _("pinned values")
        constraints = [
            models.UniqueConstraint(
                fields=["profile", "field"], name="field_pinned_once", condition=models.Q(ended_at=None)
            ),
            models.CheckConstraint(condition=~models.Q(value=""), name="pin_says_something"),
        ]

    def __str__(self) -> str:
        return f"{self.field}: {self.value}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(profile__in=ProfileStore.known_to(stores))


class TicketMove(StoreScoped):
    """A ticket was somebody else's: from whom to whom, why, and what moved along, enough to move it back exactly."""

    purchase = models.ForeignKey(Purchase, models.PROTECT, related_name="moves", verbose_name=_("purchase"))
    giver = models.ForeignKey(Profile, models.PROTECT, related_name="+", verbose_name=_("taken from"))
    taker = models.ForeignKey(Profile, models.PROTECT, related_name="+", verbose_name=_("given to"))
    reason = models.CharField(_("why"), max_length=300)
    moved = models.JSONField(_("moved rows"), default=dict)
    by = models.ForeignKey(Staff, models.PROTECT, related_name="+", verbose_name=_("decided by"))
    at = models.DateTimeField(_("at"), default=timezone.now)
    undone_at = models.DateTimeField(_("undone"), null=True, blank=True)
    undone_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("undone by")
    )

    class Meta:
        ordering = ["-at", "-id"]
        verbose_name = _("moved ticket")
        verbose_name_plural = _("moved tickets")
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(giver=models.F("taker")), name="ticket_moved_to_somebody_else"
            ),
            models.CheckConstraint(condition=~models.Q(reason=""), name="ticket_moved_for_a_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.purchase_id}: {self.giver_id} -> {self.taker_id}"

    @classmethod
    def visible_from(cls, stores):
        # Head office's deed: whoever lost or gained the ticket may be known in other stores alone.
        return models.Q(pk__in=[])


class Skip(StoreScoped):
    """A reviewer put a question off: it stays open, and comes last for that person."""

    candidate = models.ForeignKey(
        MatchCandidate,
        models.CASCADE,
        related_name="skips",
        verbose_name=_("possible duplicate"),
        db_index=False,
    )
    by = models.ForeignKey(Staff, models.CASCADE, related_name="+", verbose_name=_("by"))
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("question put off")
        verbose_name_plural = _("questions put off")
        constraints = [models.UniqueConstraint(fields=["candidate", "by"], name="put_off_once_by_each")]

    def __str__(self) -> str:
        return f"{self.by_id}: {self.candidate_id}"

    @classmethod
    def visible_from(cls, stores):
        seen = MatchCandidate._base_manager.filter(MatchCandidate.visible_from(stores))
        return models.Q(candidate__in=seen.values("pk"))


class Reviewer(NetworkWide):
    """How a person likes to work through the queue."""

    staff = models.OneToOneField(Staff, models.CASCADE, related_name="+", verbose_name=_("staff member"))
    keys_on = models.BooleanField(_("keys switched on"), default=True)

    class Meta:
        verbose_name = _("reviewer")
        verbose_name_plural = _("reviewers")

    def __str__(self) -> str:
        return str(self.staff_id)
