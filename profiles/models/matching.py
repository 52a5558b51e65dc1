"""What matching knows of a brand: how its records resemble each other, and the work of unifying it anew."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from profiles.models.records import SourceRecord
from tenants.network.models import Job
from tenants.scoping import NetworkWide, StoreScoped


class MatchingModel(NetworkWide):
    """What the brand's own records taught of how alike two records of one person are. A version is never changed:
    whoever asks why two were merged finds the weights that did it."""

    version = models.PositiveIntegerField(_("version"), unique=True)
    learnt_at = models.DateTimeField(_("learnt"), default=timezone.now)
    records = models.PositiveBigIntegerField(_("records"))
    weights = models.JSONField(_("weights"))
    counts = models.JSONField(
        _("frequencies"), default=dict, help_text=_("On how many records the more frequent values stand.")
    )
    figures = models.JSONField(_("figures"), default=dict)

    class Meta:
        ordering = ["-version"]
        verbose_name = _("matching model")
        verbose_name_plural = _("matching models")

    def __str__(self) -> str:
        return str(self.version)


class BlockingKey(StoreScoped):
    """A value that candidates for the same person share: the index that matching looks candidates up in.

    `key` is the hash of a blocking rule and the record's values under it. There are some twenty a record, so a row is
    the key and the record and nothing else.
    """

    pk = models.CompositePrimaryKey("key", "record_id")
    key = models.BigIntegerField()
    record = models.ForeignKey(SourceRecord, models.CASCADE, related_name="blocking_keys")

    class Meta:
        verbose_name = _("blocking key")
        verbose_name_plural = _("blocking keys")

    def __str__(self) -> str:
        return str(self.key)

    @classmethod
    def visible_from(cls, stores):
        return models.Q(record__in=[])


class Unification(NetworkWide):
    """The brand unified anew: a model learnt from all its records, and what it says carried out.

    Its work is cut into stages, and these into steps that any worker may take (`profiles/unification.py`).
    """

    class Stage(models.TextChoices):
        GATHER = "gather", _("Reading the records")
        BLOCK = "block", _("Finding pairs")
        COMPARE = "compare", _("Comparing pairs")
        LEARN = "learn", _("Learning weights")
        SCORE = "score", _("Weighing pairs")
        CLUSTER = "cluster", _("Making persons of pairs")
        APPLY = "apply", _("Merging and separating")
        OVER = "over", _("over")

    stage = models.CharField(_("stage"), max_length=8, choices=Stage.choices, default=Stage.GATHER)
    job = models.OneToOneField(Job, models.PROTECT, related_name="unification", verbose_name=_("job"))
    model = models.ForeignKey(
        MatchingModel,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="unifications",
        verbose_name=_("model"),
    )
    last_record = models.BigIntegerField(_("last record"), default=0)
    merged = models.PositiveIntegerField(_("merged"), default=0)
    separated = models.PositiveIntegerField(_("separated"), default=0)
    queued = models.PositiveIntegerField(_("to review"), default=0)
    seconds = models.JSONField(
        _("seconds"), default=dict, help_text=_("Stage -> seconds of all workers together.")
    )

    class Meta:
        ordering = ["-id"]
        verbose_name = _("unification")
        verbose_name_plural = _("unifications")

    def __str__(self) -> str:
        return f"{self.pk}: {self.get_stage_display()}"


class UnificationStep(NetworkWide):
    """A part of a stage. Doing it twice tells the same, so a worker that dies costs its step and nothing else."""

    unification = models.ForeignKey(Unification, models.CASCADE, related_name="steps")
    stage = models.CharField(max_length=8, choices=Unification.Stage.choices)
    number = models.PositiveIntegerField()
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["number"]
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        constraints = [models.UniqueConstraint(fields=["unification", "stage", "number"], name="step_once")]

    def __str__(self) -> str:
        return f"{self.stage} {self.number}"
