"""Who lives together, as far as it is known: beside people, whom it never merges (`profiles/households.py`)."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from profiles.models.profile import Profile, ProfileStore
from tenants.network.models import Staff
from tenants.scoping import StoreScoped


class Household(StoreScoped):
    """Several persons at one address. It keeps its id for as long as most of its people stay together."""

    made_at = models.DateTimeField(_("found"), default=timezone.now)

    class Meta:
        verbose_name = _("household")
        verbose_name_plural = _("households")

    def __str__(self) -> str:
        return f"{_('household')} {self.pk}"

    @classmethod
    def visible_from(cls, stores):
        members = HouseholdMember._base_manager.filter(profile__in=ProfileStore.known_to(stores))
        return models.Q(pk__in=members.values("household"))


class HouseholdMember(StoreScoped):
    """A person is of a household, of at most one, for the reasons that matching gave or because a person said so."""

    household = models.ForeignKey(
        Household, models.CASCADE, related_name="members", verbose_name=_("household")
    )
    profile = models.OneToOneField(
        Profile, models.CASCADE, related_name="household_member", verbose_name=_("customer")
    )
    evidence = models.JSONField(_("evidence"), default=list)
    since = models.DateTimeField(_("since"), default=timezone.now)

    class Meta:
        verbose_name = _("member of a household")
        verbose_name_plural = _("members of households")

    def __str__(self) -> str:
        return f"{self.profile_id} in {self.household_id}"

    @classmethod
    def visible_from(cls, stores):
        # A store learns nothing of members whom it does not know.
        return models.Q(profile__in=ProfileStore.known_to(stores))


class HouseholdWord(StoreScoped):
    """A person said that two customers are one household, or are not: it binds every later run."""

    left = models.ForeignKey(Profile, models.CASCADE, related_name="+", verbose_name=_("one"), db_index=False)
    right = models.ForeignKey(Profile, models.CASCADE, related_name="+", verbose_name=_("other"))
    together = models.BooleanField(_("one household"))
    by = models.ForeignKey(Staff, models.PROTECT, related_name="+", verbose_name=_("decided by"))
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("decision on a household")
        verbose_name_plural = _("decisions on households")
        constraints = [
            models.UniqueConstraint(fields=["left", "right"], name="household_decided_once"),
            models.CheckConstraint(
                condition=models.Q(left__lt=models.F("right")), name="household_pair_in_order"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.left_id} {'+' if self.together else '/'} {self.right_id}"

    @classmethod
    def visible_from(cls, stores):
        known = ProfileStore.known_to(stores)
        return models.Q(left__in=known) & models.Q(right__in=known)
