"""Webhooks: what happened to members, told to other systems. `tenants/network/models.py` makes these models its own.

An **endpoint** is an address of another system, with the events that it wants. A **message** is one event on its way to
one endpoint: the row is written by the database in the transaction of the deed (`sql/outbox.sql` of this app and of
those above), so that what happened is told, and what was rolled back is not. An **attempt** is one try to deliver it.
All of it is head office's: no store sees it.
"""

import base64
import secrets
import uuid
from datetime import timedelta

from cryptography.fernet import InvalidToken
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from tenants.network.sealing import seal_for
from tenants.scoping import StoreScoped

# How long the secret before is good for as well, once a new one was made.
BOTH_SECRETS = timedelta(hours=24)
SEALED_FOR = "cdp.webhooks"


class SecretUnreadable(RuntimeError):
    """The secret was sealed under another SECRET_KEY: a new one has to be made."""


class HappenedTo(models.TextChoices):
    """What can be told. The words are those of `sql/outbox.sql`; docs/webhooks.md shows what each message holds."""

    MEMBER_CREATED = "member.created", _("A customer joins the programme")
    MEMBER_MERGED = "member.merged", _("Two customers prove to be one")
    MEMBER_SEPARATED = "member.separated", _("Two customers are separated again")
    POINTS_POSTED = "points.posted", _("Points are earned, spent, taken back, expire or are adjusted")
    TIER_CHANGED = "tier.changed", _("A member changes tier")
    VOUCHER_ISSUED = "voucher.issued", _("A voucher is issued")
    VOUCHER_USED = "voucher.used", _("A voucher is used")
    CONSENT_CHANGED = "consent.changed", _("A customer may be written to on a channel, or no more")


# Asked for by a button, by nothing else.
TEST = "webhook.test"


class WebhookEndpoint(StoreScoped):
    """An address that is told of events. Its secret signs each message; it is shown once, when it is made."""

    name = models.CharField(_("name"), max_length=80, unique=True)
    url = models.CharField(
        _("address"), max_length=500, help_text=_("HTTPS, such as https://crm.example.com/hooks")
    )
    events = ArrayField(models.CharField(max_length=30, choices=HappenedTo.choices), verbose_name=_("events"))
    is_on = models.BooleanField(_("switched on"), default=True)
    sealed_secret = models.TextField(blank=True, editable=False)
    sealed_old_secret = models.TextField(blank=True, editable=False)
    old_secret_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    # In a row; from the third on the address is left in peace for a while.
    failures = models.PositiveIntegerField(_("failures in a row"), default=0, editable=False)
    rests_until = models.DateTimeField(_("not called until"), null=True, editable=False)
    failing_since = models.DateTimeField(_("failing since"), null=True, editable=False)
    succeeded_at = models.DateTimeField(_("last success"), null=True, editable=False)
    failed_at = models.DateTimeField(_("last error"), null=True, editable=False)
    is_gone = models.BooleanField(_("said that it is gone"), default=False, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")
        constraints = [
            models.CheckConstraint(condition=~models.Q(events=[]), name="webhook_wants_something"),
            models.CheckConstraint(condition=~models.Q(is_on=True, is_gone=True), name="gone_webhook_is_off"),
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])

    def issue_secret(self) -> str:
        """Give the endpoint a new secret, and return it for the only time. The one before signs as well for a day."""
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        if self.sealed_secret:
            self.sealed_old_secret = self.sealed_secret
            self.old_secret_until = timezone.now() + BOTH_SECRETS
        self.sealed_secret = seal_for(SEALED_FOR).encrypt(secret.encode()).decode()
        # Not what a worker notes of its attempts meanwhile.
        told = None if self._state.adding else ["sealed_secret", "sealed_old_secret", "old_secret_until"]
        self.save(update_fields=told)
        return secret

    def secrets_at(self, now) -> list[str]:
        """The secrets that sign now, the newest first. Raises `SecretUnreadable`."""
        sealed = [self.sealed_secret]
        if self.old_secret_until and now < self.old_secret_until:
            sealed.append(self.sealed_old_secret)
        try:
            return [seal_for(SEALED_FOR).decrypt(one.encode()).decode() for one in sealed]
        except InvalidToken as unreadable:
            raise SecretUnreadable(
                str(_("the secret cannot be read any more: make a new one"))
            ) from unreadable


class WebhookMessage(StoreScoped):
    """One event on its way to one endpoint. `public_id` stays the same however often it is sent."""

    class State(models.TextChoices):
        WAITING = "waiting", pgettext_lazy("webhook", "waiting")
        DELIVERED = "delivered", pgettext_lazy("webhook", "delivered")
        FAILED = "failed", pgettext_lazy("webhook", "given up")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    # Without a constraint: tills would all lock the one row of the endpoint, to make sure that it stays.
    endpoint = models.ForeignKey(
        WebhookEndpoint,
        models.PROTECT,
        related_name="messages",
        verbose_name=_("webhook"),
        db_constraint=False,
        db_index=False,
    )
    event = models.CharField(_("event"), max_length=30)
    member = models.UUIDField(_("customer"), null=True)
    happened_at = models.DateTimeField(_("happened"))
    data = models.JSONField(_("content"))
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.WAITING)
    attempt_count = models.PositiveIntegerField(_("attempts"), default=0)
    created_at = models.DateTimeField(_("noted"), default=timezone.now)
    next_at = models.DateTimeField(_("next attempt"), default=timezone.now)
    # Somebody sends it, and nobody else does before this.
    taken_until = models.DateTimeField(null=True, editable=False)
    delivered_at = models.DateTimeField(_("delivered"), null=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("webhook message")
        verbose_name_plural = _("webhook messages")
        indexes = [
            models.Index(
                fields=["endpoint", "member", "id"],
                name="messages_in_line",
                condition=models.Q(state="waiting"),
            ),
            models.Index(
                fields=["endpoint", "next_at"], name="messages_due", condition=models.Q(state="waiting")
            ),
            models.Index(fields=["endpoint", "-id"], name="messages_of_endpoint"),
            models.Index(fields=["created_at"], name="messages_to_forget"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.webhook_id}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])

    @property
    def webhook_id(self) -> str:
        """By which the receiver knows a message that comes twice."""
        return f"msg_{self.public_id.hex}"


class WebhookAttempt(StoreScoped):
    """One try to deliver a message: what was answered, or what went wrong."""

    message = models.ForeignKey(
        WebhookMessage, models.CASCADE, related_name="tries", verbose_name=_("webhook message")
    )
    at = models.DateTimeField(_("at"))
    milliseconds = models.PositiveIntegerField(_("milliseconds"))
    status = models.PositiveSmallIntegerField(_("status"), null=True)
    answer = models.CharField(_("answer"), max_length=2000, blank=True)
    fault = models.CharField(_("error"), max_length=20, blank=True)

    class Meta:
        ordering = ["id"]
        verbose_name = _("webhook attempt")
        verbose_name_plural = _("webhook attempts")

    def __str__(self) -> str:
        return str(self.status or self.fault)

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])
