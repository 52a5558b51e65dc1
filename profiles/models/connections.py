"""By which ways data comes in: a watched folder, a bucket, a web shop's messages, a contest's form.

A `Connection` is one such way, set up by head office; `profiles/connectors/` knows what its kind can do. Its secret is
kept sealed with a key made of the platform's SECRET_KEY: it can be used, and never read on a page again. A `Delivery`
is what arrived through it once. Both are head office's: no store sees them.
"""

import hashlib
import secrets
import uuid

from cryptography.fernet import InvalidToken, MultiFernet
from django.db import models
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _

from profiles.models.records import ImportRun, Source
from tenants.network.models import Job, Till
from tenants.network.sealing import seal_for
from tenants.scoping import StoreScoped

WEB_SHOPS = ("shopify", "woocommerce")
LONGEST_REF = 300


class SecretUnreadable(RuntimeError):
    """The secret was sealed under another SECRET_KEY: it has to be entered again."""


def _seal() -> MultiFernet:
    return seal_for("cdp.connections")


class Connection(StoreScoped):
    """One way by which a source reaches us. `settings` are of its kind (`profiles/connectors/catalogue.py`)."""

    public_id = models.UUIDField(_("id"), default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(_("kind"), max_length=20)
    name = models.CharField(_("name"), max_length=80, unique=True)
    source = models.ForeignKey(
        Source, models.PROTECT, related_name="connections", verbose_name=_("source"),
        help_text=_("The system whose word this is: its rows are told in its name."),
    )  # fmt: skip
    till = models.OneToOneField(
        Till, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("till"),
        help_text=_("A web shop is a store with a till: its orders are this till's tickets."),
    )  # fmt: skip
    settings = models.JSONField(_("settings"), default=dict, blank=True)
    sealed_secret = models.TextField(blank=True, editable=False)
    host_key = models.CharField(_("host key"), max_length=80, blank=True, editable=False)
    # What the last look into a folder found, {name: mark}: a file that has not changed since is complete.
    seen = models.JSONField(default=dict, blank=True, editable=False)
    is_on = models.BooleanField(_("switched on"), default=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    tested_at = models.DateTimeField(_("last test passed"), null=True, blank=True, editable=False)
    polled_at = models.DateTimeField(_("last look"), null=True, blank=True, editable=False)
    succeeded_at = models.DateTimeField(_("last success"), null=True, blank=True, editable=False)
    failed_at = models.DateTimeField(_("last error"), null=True, blank=True, editable=False)
    error = models.CharField(_("error"), max_length=500, blank=True, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = _("connector")
        verbose_name_plural = _("connectors")
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(kind__in=WEB_SHOPS) | models.Q(till__isnull=False),
                name="web_shop_has_a_till",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])

    @property
    def secret(self) -> str:
        """The secret in clear, for whoever signs or signs in with it. Raises `SecretUnreadable`."""
        if not self.sealed_secret:
            return ""
        try:
            return _seal().decrypt(self.sealed_secret.encode()).decode()
        except InvalidToken as unreadable:
            raise SecretUnreadable(
                str(_("the secret cannot be read any more: enter it again"))
            ) from unreadable

    @secret.setter
    def secret(self, clear: str) -> None:
        self.sealed_secret = _seal().encrypt(clear.encode()).decode() if clear else ""

    def issue_key(self) -> str:
        """A new key for whoever sends to us, which replaces the one before. Only its hash is kept, sealed."""
        key = f"{self.public_id.hex}.{secrets.token_urlsafe(32)}"
        self.secret = hashlib.sha256(key.encode()).hexdigest()
        self.save(update_fields=["sealed_secret"])
        return key

    def answers_to(self, key: str) -> bool:
        """Whether this is the key issued last; compared in constant time."""
        kept = self.secret
        return bool(kept) and constant_time_compare(kept, hashlib.sha256(key.encode()).hexdigest())

    def note_success(self) -> None:
        self.succeeded_at, self.error = timezone.now(), ""
        self.save(update_fields=["succeeded_at", "error"])

    def note_error(self, reason: str) -> None:
        """Say on the connector's page what went wrong; the next success takes it away."""
        self.failed_at, self.error = timezone.now(), str(reason)[:500]
        self.save(update_fields=["failed_at", "error"])


class Delivery(StoreScoped):
    """What arrived through a connection, once: a file, an order, a refund, a form's entries.

    Append-only: a file is under way while its rows are taken in, and is concluded once; nothing else changes
    (`delivery_is_append_only`). `ref` is what makes a second arrival recognisable: the sender's own delivery id, or the
    file's name with its mark.
    """

    class Verdict(models.TextChoices):
        UNDER_WAY = "under_way", _("under way")
        DONE = "done", _("taken in")
        NOTED = "noted", _("noted only")
        REFUSED = "refused", _("refused")

    connection = models.ForeignKey(
        Connection,
        models.PROTECT,
        related_name="deliveries",
        verbose_name=_("connector"),
        db_index=False,
    )
    ref = models.CharField(_("what"), max_length=LONGEST_REF)
    topic = models.CharField(_("topic"), max_length=60, blank=True)
    # What it speaks of, e.g. "order:450789469": how a refund finds its order.
    subject = models.CharField(_("about"), max_length=90, blank=True)
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    stated_at = models.DateTimeField(_("stated"), null=True, blank=True)
    verdict = models.CharField(_("verdict"), max_length=10, choices=Verdict.choices)
    error = models.CharField(_("error"), max_length=500, blank=True)
    received = models.PositiveIntegerField(_("received"), default=0)
    created = models.PositiveIntegerField(_("accepted"), default=0)
    corrected = models.PositiveIntegerField(_("corrected"), default=0)
    unchanged = models.PositiveIntegerField(_("already known"), default=0)
    rejected = models.PositiveIntegerField(_("rejected"), default=0)
    detail = models.JSONField(_("detail"), default=dict, blank=True)
    import_run = models.ForeignKey(
        ImportRun, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("import")
    )
    job = models.ForeignKey(
        Job, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("job")
    )

    class Meta:
        ordering = ["-received_at", "-id"]
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        constraints = [
            models.UniqueConstraint(fields=["connection", "ref"], name="delivery_received_once"),
            models.CheckConstraint(
                condition=models.Q(verdict="under_way")
                | models.Q(
                    received=models.F("created")
                    + models.F("corrected")
                    + models.F("unchanged")
                    + models.F("rejected")
                ),
                name="delivery_numbers_reconcile",
            ),
        ]
        indexes = [
            models.Index(fields=["connection", "-received_at"], name="deliveries_of_connection"),
            models.Index(fields=["connection", "subject"], name="deliveries_about"),
        ]

    def __str__(self) -> str:
        return self.ref

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])
