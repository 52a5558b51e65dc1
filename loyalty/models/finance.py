"""What the points are worth and cost, points given by hand, and the balances of an old programme."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from loyalty.models.ledger import Transaction
from profiles.models import Profile
from tenants.network.models import Job, Staff, Store
from tenants.scoping import NetworkWide, StoreScoped


class BreakageEstimate(NetworkWide):
    """How many of the points earned in a month will never be spent, as somebody judged it. A change is a new row."""

    cohort = models.DateField(
        _("earned in"), null=True, blank=True, help_text=_("The month's first day; empty: every other month.")
    )
    percent = models.DecimalField(
        _("% never spent"), max_digits=5, decimal_places=2,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
    )  # fmt: skip
    reason = models.CharField(_("why"), max_length=300)
    made_by = models.ForeignKey(Staff, models.PROTECT, related_name="+", verbose_name=_("made by"))
    made_at = models.DateTimeField(_("made"), default=timezone.now)

    class Meta:
        ordering = ["-made_at", "-id"]
        verbose_name = _("breakage estimate")
        verbose_name_plural = _("liability and breakage")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(percent__gte=0, percent__lte=100), name="breakage_is_a_share"
            ),
            models.CheckConstraint(
                condition=models.Q(cohort=None) | models.Q(cohort__day=1), name="cohort_is_a_month"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.percent} %"


class AccountingPolicy(NetworkWide):
    """By which views the points are accounted for: a choice of the auditors. A change is a new row."""

    class Principal(models.TextChoices):
        HEAD_OFFICE = "head_office", _("head office")
        STORE = "store", _("the store that issued the points")

    principal = models.CharField(
        _("principal"), max_length=12, choices=Principal.choices,
        help_text=_("Who owes the member the reward, and so carries the liability."),
    )  # fmt: skip
    cost_percent = models.DecimalField(
        _("cost of a reward, in percent of its worth"), max_digits=5, decimal_places=2, default=100,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
    )  # fmt: skip
    reason = models.CharField(_("why"), max_length=300)
    made_by = models.ForeignKey(Staff, models.PROTECT, related_name="+", verbose_name=_("made by"))
    made_at = models.DateTimeField(_("made"), default=timezone.now)

    class Meta:
        ordering = ["-made_at", "-id"]
        verbose_name = _("accounting policy")
        verbose_name_plural = _("accounting policies")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(cost_percent__gte=0, cost_percent__lte=100), name="cost_is_a_share"
            )
        ]

    def __str__(self) -> str:
        return self.get_principal_display()


class Adjustment(StoreScoped):
    """Points that somebody asked to give or take by hand: posted at once, or after head office said yes."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waits for head office")
        POSTED = "posted", pgettext_lazy("adjustment", "posted")
        REFUSED = "refused", _("refused")

    class Reason(models.TextChoices):
        COMPLAINT = "complaint", _("complaint")
        GOODWILL = "goodwill", _("goodwill")
        MISSING_TICKET = "missing_ticket", _("a ticket is missing")
        WRONG_TICKET = "wrong_ticket", _("a ticket is wrong")
        CONTEST = "contest", _("contest")
        CORRECTION = "correction", _("correction")

    key = models.CharField(max_length=100, unique=True, editable=False)
    profile = models.ForeignKey(
        Profile, models.PROTECT, related_name="adjustments", verbose_name=_("customer")
    )
    store = models.ForeignKey(
        Store, models.PROTECT, related_name="adjustments", verbose_name=_("at the cost of")
    )
    points = models.BigIntegerField(_("points"), help_text=_("Below zero: taken."))
    reason = models.CharField(_("reason"), max_length=20, choices=Reason.choices)
    comment = models.CharField(_("comment"), max_length=300)
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.WAITING)
    asked_by = models.ForeignKey(Staff, models.PROTECT, related_name="+", verbose_name=_("asked by"))
    asked_at = models.DateTimeField(_("asked"), default=timezone.now)
    decided_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("decided by")
    )
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    answer = models.CharField(_("answer"), max_length=300, blank=True)
    transaction = models.OneToOneField(
        Transaction, models.PROTECT, null=True, blank=True, related_name="adjustment",
        verbose_name=_("transaction"),
    )  # fmt: skip

    class Meta:
        ordering = ["-asked_at", "-id"]
        verbose_name = _("adjustment")
        verbose_name_plural = _("adjustments")
        constraints = [
            models.CheckConstraint(condition=~models.Q(points=0), name="adjustment_moves_points"),
            models.CheckConstraint(
                condition=models.Q(state="posted", transaction__isnull=False)
                | (~models.Q(state="posted") & models.Q(transaction=None)),
                name="adjustment_posted_by_a_transaction",
            ),
            models.CheckConstraint(
                condition=models.Q(decided_by=None) | ~models.Q(decided_by=models.F("asked_by")),
                name="adjustment_decided_by_another",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.points:+d}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class OpeningRun(StoreScoped):
    """The balances of a programme that was run elsewhere before: a file, checked, signed off by two, then posted."""

    class State(models.TextChoices):
        CHECKING = "checking", _("being checked")
        FAULTY = "faulty", _("has errors")
        CHECKED = "checked", _("waits for the sign-off")
        POSTING = "posting", _("being posted")
        DONE = "done", pgettext_lazy("adjustment", "posted")
        WITHDRAWN = "withdrawn", _("withdrawn")

    file_name = models.CharField(_("file"), max_length=200)
    file_hash = models.CharField(max_length=64, editable=False)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.CHECKING)
    told_points = models.BigIntegerField(
        _("points by the old programme"), help_text=_("The total of its own report.")
    )
    line_count = models.PositiveIntegerField(_("lines"), default=0)
    points = models.BigIntegerField(_("points of the file"), default=0)
    unknown_lines = models.PositiveIntegerField(_("lines of unknown customers"), default=0)
    unknown_points = models.BigIntegerField(_("points of unknown customers"), default=0)
    problem_count = models.PositiveIntegerField(_("errors"), default=0)
    problems = models.JSONField(default=list, editable=False)
    posted_lines = models.PositiveIntegerField(_("lines posted"), default=0)
    posted_points = models.BigIntegerField(_("points posted"), default=0)
    job = models.OneToOneField(
        Job, models.PROTECT, null=True, blank=True, related_name="opening_run", verbose_name=_("job")
    )
    uploaded_by = models.ForeignKey(Staff, models.PROTECT, related_name="+", verbose_name=_("uploaded by"))
    uploaded_at = models.DateTimeField(_("uploaded"), default=timezone.now)
    signed_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("signed off by")
    )
    signed_at = models.DateTimeField(_("signed off"), null=True, blank=True)
    done_at = models.DateTimeField(_("posted"), null=True, blank=True)

    class Meta:
        ordering = ["-uploaded_at", "-id"]
        verbose_name = _("opening balances")
        verbose_name_plural = _("opening balances")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(signed_by=None) | ~models.Q(signed_by=models.F("uploaded_by")),
                name="opening_signed_by_another",
            ),
            models.CheckConstraint(
                condition=models.Q(signed_by=None)
                | models.Q(points=models.F("told_points"), problem_count=0),
                name="opening_reconciled_before_signed",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["posting", "done"], signed_by__isnull=False)
                | (~models.Q(state__in=["posting", "done"]) & models.Q(signed_by=None)),
                name="opening_posted_when_signed",
            ),
        ]

    def __str__(self) -> str:
        return self.file_name

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])


class OpeningLine(StoreScoped):
    """One line of such a file: one lot. No profile: nobody is known by what it names, and nothing is posted."""

    run = models.ForeignKey(OpeningRun, models.CASCADE, related_name="lines", db_index=False)
    line = models.PositiveIntegerField(_("line"))
    named = models.CharField(_("card or customer number"), max_length=100)
    profile = models.ForeignKey(
        Profile,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="opening_lines",
        verbose_name=_("customer"),
    )
    points = models.BigIntegerField(_("points"))
    expires_on = models.DateField(_("last day"), null=True, blank=True)
    store = models.ForeignKey(Store, models.PROTECT, related_name="+", verbose_name=_("store"))
    transaction = models.OneToOneField(
        Transaction, models.PROTECT, null=True, blank=True, related_name="opening_line"
    )

    class Meta:
        ordering = ["run", "line"]
        verbose_name = _("opening balance")
        verbose_name_plural = _("opening balances")
        constraints = [
            models.UniqueConstraint(fields=["run", "line"], name="opening_line_once"),
            models.CheckConstraint(condition=models.Q(points__gt=0), name="opening_gives_points"),
        ]
        indexes = [
            models.Index(
                fields=["run", "line"], name="opening_lines_to_post",
                condition=models.Q(transaction=None, profile__isnull=False),
            )
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.line}: {self.points}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])
