"""Which links to a member's own page still open."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from profiles.models import Profile
from tenants.scoping import StoreScoped


class MemberLinks(StoreScoped):
    """A member's links: those that bear this number open, those made before they were ended do not."""

    profile = models.OneToOneField(
        Profile, models.CASCADE, primary_key=True, related_name="links", verbose_name=_("customer")
    )
    number = models.PositiveIntegerField(_("number"), default=0)
    ended_at = models.DateTimeField(_("ended"))

    class Meta:
        verbose_name = _("member's links")
        verbose_name_plural = _("members' links")

    def __str__(self) -> str:
        return f"{self.profile_id}: {self.number}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])
