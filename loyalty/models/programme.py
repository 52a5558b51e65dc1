"""The programme: its settings, its rules in immutable versions, its tiers and who is a member."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from profiles.models import Profile
from tenants.network.models import Staff
from tenants.scoping import NetworkWide, StoreScoped


class Programme(NetworkWide):
    """What a point is worth, how few may be spent, and the programme's limits. A brand runs one programme."""

    class Downgrade(models.TextChoices):
        ONE_DOWN = "one_down", _("one level")
        RECOMPUTED = "recomputed", _("to what was earned")

    class Debt(models.TextChoices):
        OWED = "owed", _("the member owes them")
        CLAMPED = "clamped", _("head office bears the loss")
        DEDUCTED = "deducted", _("their worth is deducted from the money of the return")

    name = models.CharField(_("name"), max_length=80)
    reward_points = models.PositiveIntegerField(
        _("points of a reward step"), default=100, validators=[MinValueValidator(1)],
        help_text=_("Points are spent in multiples of this."),
    )  # fmt: skip
    reward_cents = models.PositiveIntegerField(
        _("worth in cents"), default=500, validators=[MinValueValidator(1)]
    )
    claim_days = models.PositiveSmallIntegerField(
        _("days to claim a ticket without a card"), default=30, help_text=_("0: never.")
    )
    parked_days = models.PositiveSmallIntegerField(
        _("days a return may wait for its sale"), default=7, help_text=_("Then a person is asked.")
    )
    velocity_tickets = models.PositiveSmallIntegerField(
        _("tickets of one card in a store and hour"), default=3, help_text=_("More are held; 0: no limit.")
    )
    velocity_cents = models.PositiveIntegerField(
        _("cents of one card a day"), default=200_000, help_text=_("More is held; 0: no limit.")
    )
    hold_self_scan = models.BooleanField(
        _("hold tickets that a cashier puts on their own card"), default=True
    )
    cashier_card_uses = models.PositiveSmallIntegerField(
        _("uses of one card a day under one cashier"),
        default=5,
        help_text=_("More open a case; 0: no limit."),
    )
    distance_km = models.PositiveSmallIntegerField(
        _("kilometres between two stores"), default=50, help_text=_("0: no limit.")
    )
    distance_minutes = models.PositiveSmallIntegerField(_("minutes in which one card is in both"), default=10)
    claims_least = models.PositiveSmallIntegerField(
        _("claims of one cashier's tickets in a week"),
        default=5,
        help_text=_("From so many on; 0: no limit."),
    )
    claims_share = models.PositiveSmallIntegerField(
        _("share of the store's claims (%)"), default=50, validators=[MaxValueValidator(100)],
        help_text=_("From this share on, both open a case."),
    )  # fmt: skip
    tier_grace_days = models.PositiveSmallIntegerField(_("days of grace before a tier is lost"), default=60)
    tier_downgrade = models.CharField(
        _("then the tier falls"), max_length=10, choices=Downgrade.choices, default=Downgrade.ONE_DOWN
    )
    debt_policy = models.CharField(
        _("points of a return that were spent"), max_length=8, choices=Debt.choices, default=Debt.OWED
    )
    debt_floor = models.PositiveIntegerField(
        _("debt in points that opens a case"), default=1000, help_text=_("More opens one; 0: no limit.")
    )
    # Another number whenever a rule, a tier or the programme changes; the database sees to it.
    edition = models.BigIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        verbose_name = _("programme")
        verbose_name_plural = _("programme")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(reward_points__gte=1, reward_cents__gte=1), name="reward_step_is_positive"
            ),
            models.CheckConstraint(
                condition=models.Q(claims_share__lte=100), name="claims_share_is_a_percentage"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Rule(NetworkWide):
    """A way to earn. What it says at a given time stands in its versions."""

    class Kind(models.TextChoices):
        BASE = "base", _("Points per amount")
        MULTIPLIER = "multiplier", _("Multiplier")
        BONUS = "bonus", _("Fixed bonus")
        ACTION = "action", _("Points for an action")

    class Stacking(models.TextChoices):
        BEST = "best", _("the best multiplier wins")
        SUM = "sum", _("bonuses add up")
        PRODUCT = "product", _("multipliers multiply")

    code = models.SlugField(_("code"), max_length=40, unique=True)
    name = models.CharField(_("name"), max_length=120)
    kind = models.CharField(_("kind"), max_length=12, choices=Kind.choices)
    priority = models.PositiveSmallIntegerField(
        _("priority"), default=100, help_text=_("Small numbers come first.")
    )

    class Meta:
        ordering = ["priority", "id"]
        verbose_name = _("earning rule")
        verbose_name_plural = _("earning rules")

    def __str__(self) -> str:
        return self.name


class RuleVersion(NetworkWide):
    """What a rule says between two instants. Immutable: a change is a new version.

    `conditions` and `terms` are read by `loyalty/rules.py`, which documents their words.
    """

    rule = models.ForeignKey(
        Rule, models.PROTECT, related_name="versions", verbose_name=_("rule"), db_index=False
    )
    number = models.PositiveIntegerField(_("version"))
    effective_from = models.DateTimeField(_("from"))
    effective_to = models.DateTimeField(_("until (excluded)"), null=True, blank=True)
    conditions = models.JSONField(_("when"), default=dict, blank=True)
    terms = models.JSONField(_("then"), default=dict)
    reason = models.CharField(_("why"), max_length=300, blank=True)
    made_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("made by")
    )
    made_at = models.DateTimeField(_("made"), default=timezone.now)

    class Meta:
        ordering = ["rule", "number"]
        verbose_name = _("rule version")
        verbose_name_plural = _("rule versions")
        constraints = [
            models.UniqueConstraint(fields=["rule", "number"], name="rule_version_once"),
            models.CheckConstraint(
                condition=models.Q(effective_to=None) | models.Q(effective_to__gt=models.F("effective_from")),
                name="rule_version_ends_after_start",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rule} v{self.number}"


class Tier(NetworkWide):
    """A level of the programme, reached by points earned in the last twelve months."""

    code = models.SlugField(_("code"), max_length=20, unique=True)
    name = models.CharField(_("name"), max_length=60)
    threshold = models.PositiveIntegerField(_("qualifying points"), unique=True)

    class Meta:
        ordering = ["threshold"]
        verbose_name = _("tier")
        verbose_name_plural = _("tiers")

    def __str__(self) -> str:
        return self.name


class Membership(StoreScoped):
    """A customer takes part in the programme, at a tier."""

    profile = models.OneToOneField(
        Profile, models.PROTECT, related_name="membership", verbose_name=_("customer")
    )
    enrolled_at = models.DateTimeField(_("enrolled"), default=timezone.now)
    tier = models.ForeignKey(Tier, models.PROTECT, null=True, blank=True, verbose_name=_("tier"))
    tier_since = models.DateTimeField(_("at this tier since"), null=True, blank=True)
    at_risk_since = models.DateTimeField(
        _("at risk since"), null=True, blank=True, help_text=_("The points no longer reach the tier.")
    )
    grace_until = models.DateField(_("keeps the tier until"), null=True, blank=True)

    class Meta:
        verbose_name = _("member")
        verbose_name_plural = _("members")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(at_risk_since=None, grace_until=None)
                | models.Q(at_risk_since__isnull=False, grace_until__isnull=False, tier__isnull=False),
                name="at_risk_of_losing_a_tier",
            )
        ]

    def __str__(self) -> str:
        return f"{self.profile_id} {self.tier or ''}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])


class TierChange(StoreScoped):
    """A member's tier changed: one row a change, for whoever announces it. Append-only."""

    class Why(models.TextChoices):
        EARNED = "earned", _("earned")
        GRACE_OVER = "grace_over", _("grace is over")
        RECOUNTED = "recounted", _("recounted")

    profile = models.ForeignKey(
        Profile, models.PROTECT, related_name="tier_changes", verbose_name=_("customer")
    )
    before = models.CharField(_("tier before"), max_length=20, blank=True)
    after = models.CharField(_("tier"), max_length=20, blank=True)
    why = models.CharField(_("why"), max_length=10, choices=Why.choices)
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("change of tier")
        verbose_name_plural = _("changes of tier")
        constraints = [
            models.CheckConstraint(condition=~models.Q(before=models.F("after")), name="tier_change_changes")
        ]

    def __str__(self) -> str:
        return f"{self.before} → {self.after}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])
