"""What is tried out before it holds.

A **draft** is what a rule would say next: a row that no ticket is judged by, until it is published as a version. A
**saved simulation** is a basket with the points that it must earn, asked before anything is published. A **replay**
judges the tickets of some days by the rules of now and by a draft, member after member, and keeps the sums.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext_lazy as _

from tenants.network.models import Job, Staff, Store, Till
from tenants.scoping import NetworkWide, StoreScoped


class RuleDraft(NetworkWide):
    """What a rule would say next. Not in force: publishing makes a version of it and takes it away."""

    rule = models.OneToOneField("loyalty.Rule", models.PROTECT, related_name="draft", verbose_name=_("rule"))
    conditions = models.JSONField(_("when"), default=dict, blank=True)
    terms = models.JSONField(_("then"), default=dict)
    effective_from = models.DateTimeField(_("from"), null=True, blank=True)
    effective_to = models.DateTimeField(_("until (excluded)"), null=True, blank=True)
    reason = models.CharField(_("why"), max_length=300, blank=True)
    made_by = models.ForeignKey(Staff, models.PROTECT, related_name="+", verbose_name=_("made by"))
    changed_at = models.DateTimeField(_("changed"), default=timezone.now)

    class Meta:
        ordering = ["rule"]
        verbose_name = _("draft of a rule")
        verbose_name_plural = _("drafts of rules")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(effective_from=None)
                | models.Q(effective_to=None)
                | models.Q(effective_to__gt=models.F("effective_from")),
                name="rule_draft_ends_after_start",
            )
        ]

    def __str__(self) -> str:
        return str(self.rule)


class SavedSimulation(StoreScoped):
    """A basket of nobody in particular, and the points that the programme must give for it."""

    name = models.CharField(_("name"), max_length=120, unique=True)
    store = models.ForeignKey(Store, models.PROTECT, related_name="+", verbose_name=_("store"))
    tier = models.ForeignKey(
        "loyalty.Tier", models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("tier")
    )
    weekday = models.PositiveSmallIntegerField(_("day of the week"), choices=list(WEEKDAYS.items()))
    time = models.TimeField(_("time at the store"))
    lines = models.JSONField(_("basket"), default=list)
    reward_cents = models.PositiveIntegerField(_("paid with a reward"), default=0)
    payment = models.CharField(_("payment"), max_length=20, blank=True)
    channel = models.CharField(
        _("channel"), max_length=4, choices=Till.Channel.choices, default=Till.Channel.TILL
    )
    segments = ArrayField(models.BigIntegerField(), verbose_name=_("segments"), default=list, blank=True)
    expected_points = models.PositiveBigIntegerField(_("expected points"))
    made_by = models.ForeignKey(Staff, models.PROTECT, related_name="+", verbose_name=_("made by"))
    made_at = models.DateTimeField(_("made"), default=timezone.now)

    class Meta:
        ordering = ["name"]
        verbose_name = _("saved simulation")
        verbose_name_plural = _("simulator")
        constraints = [
            models.CheckConstraint(condition=models.Q(weekday__lte=6), name="simulation_is_on_a_weekday")
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class Replay(StoreScoped):
    """The members' tickets of some days, judged by the rules of now and with drafts in their place.

    `before` and `after` are these rules, word for word, and `prices` what points cost, all as of the moment it was
    asked. `cursor` is the last member whose tickets are in `figures`: both are written together, so that work that
    was killed goes on where it stood.
    """

    job = models.OneToOneField(Job, models.PROTECT, related_name="replay", verbose_name=_("job"))
    label = models.CharField(_("draft"), max_length=300)
    first_day = models.DateField(_("first day"))
    last_day = models.DateField(_("last day"))
    before = models.JSONField(default=list)
    after = models.JSONField(default=list)
    prices = models.JSONField(default=dict)
    cursor = models.BigIntegerField(default=0)
    figures = models.JSONField(default=dict)
    made_by = models.ForeignKey(Staff, models.PROTECT, related_name="+", verbose_name=_("asked by"))
    made_at = models.DateTimeField(_("asked"), default=timezone.now)

    class Meta:
        ordering = ["-made_at", "-id"]
        verbose_name = _("replay of tickets")
        verbose_name_plural = _("replays of tickets")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(last_day__gte=models.F("first_day")), name="replay_ends_after_start"
            )
        ]

    def __str__(self) -> str:
        return self.label

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])
