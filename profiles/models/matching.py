"""What matching knows of a brand: how its records resemble each other, and the work of unifying it anew."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from profiles.models.records import SourceRecord
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
