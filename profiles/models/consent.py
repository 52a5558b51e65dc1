"""Consent as history: each change is a row, and what holds now is read from them (`profiles/consent.py`)."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from profiles.models.profile import Profile, ProfileStore
from profiles.models.records import ImportRun, SourceRecord
from tenants.scoping import StoreScoped


class Channel(models.TextChoices):
    EMAIL = "email", _("e-mail")
    SMS = "sms", _("text message")
    POST = "post", _("post")


class ConsentChange(StoreScoped):
    """A person allowed or refused marketing on a channel. Append-only; stays with the record that proves it."""

    profile = models.ForeignKey(
        Profile, models.PROTECT, related_name="consent_changes", verbose_name=_("customer")
    )
    record = models.ForeignKey(
        SourceRecord, models.PROTECT, null=True, blank=True, related_name="consent_changes",
        db_index=False, verbose_name=_("source record"),
        help_text=_("Empty: told to us directly, about the whole person."),
    )  # fmt: skip
    import_run = models.ForeignKey(
        ImportRun,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="consent_changes",
        verbose_name=_("import"),
    )
    channel = models.CharField(_("channel"), max_length=6, choices=Channel.choices)
    granted = models.BooleanField(_("granted"))
    at = models.DateTimeField(_("at"), default=timezone.now)
    wording = models.CharField(_("wording shown"), max_length=500, blank=True)
    actor = models.CharField(_("told by"), max_length=160, blank=True)

    class Meta:
        ordering = ["-at", "-id"]
        verbose_name = _("consent change")
        verbose_name_plural = _("consent changes")
        constraints = [
            models.UniqueConstraint(
                fields=["record", "channel", "at"], name="consent_told_once", nulls_distinct=True
            )
        ]

    def __str__(self) -> str:
        return f"{self.channel}: {'yes' if self.granted else 'no'}"

    @property
    def stream(self) -> tuple[int, str] | None:
        """Whose word it is: a customer of a source, or the person directly."""
        return (self.record.source_id, self.record.external_id) if self.record else None

    @classmethod
    def visible_from(cls, stores):
        return models.Q(profile__in=ProfileStore.known_to(stores))
