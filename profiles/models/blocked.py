"""Values that are nobody's identifier: a reception's phone, a shop's mailbox, a card drawn for tests."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants.network.models import Staff
from tenants.scoping import NetworkWide


class BlockedValue(NetworkWide):
    """An e-mail, phone or card that many people give and that therefore tells nothing about who they are.

    Either one value, in the form in which identifiers are compared (`key`), or a `pattern`: `*` stands for any
    characters, `?` for one. The deeds are in `profiles/blocked.py`. A row is never deleted: who lifts a block leaves
    it behind with its end, and the nightly search does not block that value again.
    """

    class Kind(models.TextChoices):
        EMAIL = "email", _("e-mail")
        PHONE = "phone", _("phone")
        CARD = "card", _("loyalty card")

    class Origin(models.TextChoices):
        BUILT_IN = "built_in", _("delivered with the platform")
        AUTOMATIC = "automatic", _("found by the nightly search")
        PERSON = "person", _("decided by a person")

    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    key = models.CharField(_("value"), max_length=254, blank=True)
    pattern = models.CharField(
        _("pattern"), max_length=120, blank=True, help_text=_("* stands for any characters, ? for one.")
    )
    reason = models.CharField(_("reason"), max_length=200)
    origin = models.CharField(_("origin"), max_length=10, choices=Origin.choices)
    by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("blocked by")
    )
    since = models.DateTimeField(_("blocked since"), default=timezone.now)
    people = models.PositiveIntegerField(
        _("people"), null=True, blank=True, help_text=_("How many people say it, when last counted.")
    )
    counted_at = models.DateTimeField(_("counted"), null=True, blank=True)
    lifted_at = models.DateTimeField(_("lifted"), null=True, blank=True)
    lifted_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("lifted by")
    )

    class Meta:
        ordering = ["-since", "-id"]
        verbose_name = _("blocked value")
        verbose_name_plural = _("blocked values")
        constraints = [
            models.CheckConstraint(
                condition=(models.Q(key="") & ~models.Q(pattern=""))
                | (~models.Q(key="") & models.Q(pattern="")),
                name="blocked_value_or_pattern",
            ),
            models.CheckConstraint(
                condition=models.Q(kind__in=["email", "phone", "card"]), name="blocked_kind_is_known"
            ),
            models.CheckConstraint(condition=~models.Q(reason=""), name="blocked_for_a_reason"),
            models.CheckConstraint(
                condition=models.Q(origin="person", by__isnull=False)
                | models.Q(origin__in=["built_in", "automatic"], by__isnull=True),
                name="blocked_by_whom",
            ),
            models.CheckConstraint(
                condition=models.Q(lifted_at=None) | models.Q(lifted_at__gte=models.F("since")),
                name="blocked_before_lifted",
            ),
            models.UniqueConstraint(
                fields=["kind", "key", "pattern"],
                condition=models.Q(lifted_at=None),
                name="blocked_once_at_a_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.key or self.pattern}"
