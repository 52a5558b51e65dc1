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
    weights = models.TextField(
        _("weights"), help_text=_("As `profiles.matching.model.Model.to_json` writes them.")
    )
    automatic = models.FloatField(
        _("threshold"),
        help_text=_("Match weight in bits from which on two are merged without anybody's word."),
    )
    rules = models.JSONField(_("blocking rules"), help_text=_("Those under which records are indexed."))
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
    the key and the record and nothing else, and no constraint is checked for each: a key that is left behind leads
    nowhere.
    """

    pk = models.CompositePrimaryKey("key", "record_id")
    key = models.BigIntegerField()
    record = models.ForeignKey(
        SourceRecord, models.CASCADE, db_constraint=False, related_name="blocking_keys"
    )

    class Meta:
        verbose_name = _("blocking key")
        verbose_name_plural = _("blocking keys")

    def __str__(self) -> str:
        return str(self.key)

    @classmethod
    def visible_from(cls, stores):
        return models.Q(key=None)


class UnificationStep(NetworkWide):
    """A part of what a comparison of the whole brand comes to, carried out in one transaction by any worker
    (`profiles/unification.py`). Gone when the batch is over."""

    class Kind(models.TextChoices):
        INDEX = "index", _("index records")
        MERGE = "merge", _("merge")
        QUEUE = "queue", _("ask people")
        HOUSEHOLDS = "households", _("find households")
        MATCHED = "matched", _("note records as matched")

    job = models.ForeignKey(Job, models.CASCADE, related_name="unification_steps", verbose_name=_("job"))
    stage = models.PositiveSmallIntegerField(
        _("stage"), help_text=_("A step waits for all of the stages before.")
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    told = models.JSONField(_("what is to be done"))
    changed = models.PositiveBigIntegerField(_("changed"), default=0)
    done_at = models.DateTimeField(_("done"), null=True, blank=True)

    class Meta:
        ordering = ["stage", "pk"]
        verbose_name = _("step of a unification")
        verbose_name_plural = _("steps of a unification")
        indexes = [
            models.Index(fields=["job", "stage", "id"], name="step_to_do", condition=models.Q(done_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"
