"""Wallet passes: the card in a member's phone, whose number tills know and whose balance follows the ledger.

An **issuer** is how the brand signs: its certificate of Apple, its account of Google; one of each at most. A **pass**
hangs on the record that tells its number (`profiles/intake/passes.py`), and through it on its owner: so it follows a
merge, and comes back from it, with no word here. A **device** is a telephone that asked Apple's service to be told of
changes.

A pass that ended never lives again, and its number goes from the tills in the statement that ends it: `sql/wallet.sql`
holds both.
"""

import secrets
import uuid

from cryptography.fernet import InvalidToken
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from profiles.models import Profile, ProfileStore, SourceRecord
from tenants.network.sealing import seal_for
from tenants.scoping import StoreScoped

SEALED_FOR = "cdp.wallet"


class SecretUnreadable(RuntimeError):
    """The secret was sealed under another SECRET_KEY: it has to be entered again."""


def sealed(clear: str) -> str:
    """The secret, to be kept."""
    return seal_for(SEALED_FOR).encrypt(clear.encode()).decode()


def opened(kept: str) -> str:
    """The secret in clear. Raises `SecretUnreadable`."""
    try:
        return seal_for(SEALED_FOR).decrypt(kept.encode()).decode()
    except InvalidToken as unreadable:
        raise SecretUnreadable(str(_("the key cannot be read any more: enter it again"))) from unreadable


class AppleIssuer(StoreScoped):
    """How the brand signs passes for Apple Wallet. The certificates are PEM; the key is kept sealed."""

    only = models.BooleanField(default=True, unique=True, editable=False)
    pass_type = models.CharField(
        _("pass type id"),
        max_length=120,
        help_text=_("As Apple registered it, such as pass.com.example.loyalty."),
    )
    team = models.CharField(_("team id"), max_length=20, help_text=_("Ten characters, such as A1B2C3D4E5."))
    certificate = models.TextField(_("certificate of the pass type"))
    intermediate = models.TextField(_("intermediate certificate of Apple"))
    sealed_key = models.TextField(editable=False)
    valid_until = models.DateTimeField(_("valid until"), editable=False)
    colour = models.CharField(
        _("colour"), max_length=7, default="#0f6570", help_text=_("Of the pass and its icon, such as #0f6570."),
        validators=[
            RegexValidator(r"^#[0-9a-fA-F]{6}\Z", _("A colour is # and six digits from 0 to f, such as #0f6570."))
        ],
    )  # fmt: skip
    is_on = models.BooleanField(_("switched on"), default=True)

    class Meta:
        verbose_name = _("Apple Wallet")
        verbose_name_plural = _("Apple Wallet")
        constraints = [models.CheckConstraint(condition=models.Q(only=True), name="one_apple_issuer")]

    def __str__(self) -> str:
        return self.pass_type

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])

    @property
    def key(self) -> str:
        """The private key as PEM. Raises `SecretUnreadable`."""
        return opened(self.sealed_key)


class GoogleIssuer(StoreScoped):
    """How the brand signs passes for Google Wallet: a service account, whose key is kept sealed, and its class."""

    only = models.BooleanField(default=True, unique=True, editable=False)
    class_id = models.CharField(
        _("class"), max_length=120, help_text=_("Issuer id and class, such as 3388000000022000000.loyalty.")
    )
    account = models.CharField(_("service account"), max_length=254, editable=False)
    key_id = models.CharField(_("key id"), max_length=80, editable=False)
    sealed_key = models.TextField(editable=False)
    is_on = models.BooleanField(_("switched on"), default=True)

    class Meta:
        verbose_name = _("Google Wallet")
        verbose_name_plural = _("Google Wallet")
        constraints = [models.CheckConstraint(condition=models.Q(only=True), name="one_google_issuer")]

    def __str__(self) -> str:
        return self.class_id

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])

    @property
    def issuer_id(self) -> str:
        return self.class_id.partition(".")[0]

    @property
    def key(self) -> str:
        """The private key as PEM. Raises `SecretUnreadable`."""
        return opened(self.sealed_key)


class WalletPass(StoreScoped):
    """A pass of a member, the same for both wallets.

    `state_told` is what it shows, in short (`wallet_states` in `sql/wallet.sql`); where the database says another, the
    pass changed: it gets a higher `tag`, and is due. `next_at` is the instant from which wallets are told; none where
    they all know. Somebody tells them until `taken_until`.
    """

    class State(models.TextChoices):
        ACTIVE = "active", pgettext_lazy("wallet pass", "in use")
        LOST = "lost", pgettext_lazy("wallet pass", "retired")
        VOID = "void", pgettext_lazy("wallet pass", "void")

    serial = models.UUIDField(_("serial number"), default=uuid.uuid4, unique=True, editable=False)
    record = models.OneToOneField(
        SourceRecord, models.SET_NULL, null=True, related_name="wallet_pass", verbose_name=_("source record")
    )
    sealed_token = models.TextField(editable=False)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.ACTIVE)
    made_at = models.DateTimeField(_("made"), default=timezone.now)
    ended_at = models.DateTimeField(_("ended"), null=True)
    state_told = models.CharField(max_length=120, editable=False)
    tag = models.BigIntegerField(editable=False)
    # In whole seconds, and never twice the same: it is compared as HTTP tells it.
    changed_at = models.DateTimeField(_("changed"))
    next_at = models.DateTimeField(_("next told"), null=True)
    pushed_at = models.DateTimeField(_("last told"), null=True)
    taken_until = models.DateTimeField(null=True, editable=False)
    attempt_count = models.PositiveIntegerField(_("attempts"), default=0)
    # Since when Google has, or may have, the pass; and which of its changes Google was told last.
    google_since = models.DateTimeField(null=True)
    google_tag = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("wallet pass")
        verbose_name_plural = _("wallet passes")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state="active", ended_at=None, record__isnull=False)
                | (~models.Q(state="active") & models.Q(ended_at__isnull=False)),
                name="living_pass_has_a_number",
            )
        ]
        indexes = [
            models.Index(fields=["tag"], name="passes_by_tag"),
            models.Index(fields=["next_at"], name="passes_due", condition=models.Q(next_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return str(self.serial)

    @classmethod
    def visible_from(cls, stores):
        known = SourceRecord._base_manager.filter(profile__in=ProfileStore.known_to(stores))
        return models.Q(record__in=known.values("pk"))

    @property
    def is_active(self) -> bool:
        return self.state == self.State.ACTIVE

    @property
    def owner(self) -> Profile | None:
        """Whose it is; nobody's where everything about its owner was erased."""
        return self.record.profile if self.record else None

    @property
    def number(self) -> str:
        """The number that its code holds; "" for one that ended."""
        return self.record.external_id if self.is_active and self.record else ""

    @property
    def token(self) -> str:
        """By which the pass itself asks for its changes. Raises `SecretUnreadable`."""
        return opened(self.sealed_token)

    def answers_to(self, token: str) -> bool:
        """Whether this is its token; compared in constant time. Raises `SecretUnreadable`."""
        return constant_time_compare(self.token, token)

    @staticmethod
    def new_token() -> str:
        """A token of a new pass, sealed: it holds 256 random bits."""
        return sealed(secrets.token_urlsafe(32))


class PassDevice(StoreScoped):
    """A telephone that holds a pass and wants to be told of its changes, until it says that it no longer does."""

    wallet_pass = models.ForeignKey(
        WalletPass, models.CASCADE, related_name="devices", verbose_name=_("wallet pass")
    )
    device = models.CharField(_("device"), max_length=120)
    push_token = models.CharField(max_length=200, editable=False)
    registered_at = models.DateTimeField(_("registered"), default=timezone.now)
    # The change that it was told of last.
    tag = models.BigIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["id"]
        verbose_name = _("device of a pass")
        verbose_name_plural = _("devices of passes")
        constraints = [
            models.UniqueConstraint(fields=["device", "wallet_pass"], name="device_registered_once")
        ]

    def __str__(self) -> str:
        return self.device

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])
