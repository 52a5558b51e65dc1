"""Regions, stores, staff, tills, jobs and the audit trail: the ground that everything else stands on."""

import hashlib
import math
import secrets
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants import roles
from tenants.network import deeds
from tenants.scoping import NOTHING, WHOLE_NETWORK, NetworkWide, Scope, StoreScoped


class Region(NetworkWide):
    code = models.SlugField(_("code"), max_length=20, unique=True)
    name = models.CharField(_("name"), max_length=80)

    class Meta:
        ordering = ["name"]
        verbose_name = _("region")
        verbose_name_plural = _("regions")

    def __str__(self) -> str:
        return self.name


class Store(StoreScoped):
    """A point of sale, run by an independent owner (`legal_name`) or by head office."""

    code = models.SlugField(_("code"), max_length=20, unique=True)
    name = models.CharField(_("name"), max_length=120)
    region = models.ForeignKey(Region, models.PROTECT, related_name="stores", verbose_name=_("region"))
    legal_name = models.CharField(_("legal entity"), max_length=160, blank=True)
    postcode = models.CharField(_("postcode"), max_length=12, blank=True)
    city = models.CharField(_("town"), max_length=80, blank=True)
    time_zone = models.CharField(_("time zone"), max_length=40, default="Europe/Paris")
    phone_region = models.CharField(
        _("phone region"),
        max_length=2,
        default="FR",
        help_text=_("Country whose phone numbers need no prefix."),
    )
    closed_on = models.DateField(_("closed on"), null=True, blank=True)

    class Meta:
        ordering = ["code"]
        verbose_name = _("store")
        verbose_name_plural = _("stores")

    def __str__(self) -> str:
        return f"{self.code} {self.name}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=stores)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class StaffManager(BaseUserManager["Staff"]):
    def create_user(self, email: str, password: str | None = None, **fields) -> "Staff":
        staff = self.model(email=self.normalize_email(email).lower(), **fields)
        staff.set_password(password)
        staff.save(using=self._db)
        return staff

    def get_by_natural_key(self, email):
        return self.get(email=(email or "").lower())


class Staff(NetworkWide, AbstractBaseUser):
    """A person who signs in: of the platform in the public schema, of a brand in the brand's schema.

    The role says which deeds, `scope` which rows. A store manager without stores sees nothing.
    """

    email = models.EmailField(_("e-mail"), unique=True)
    full_name = models.CharField(_("name"), max_length=120)
    role = models.CharField(_("role"), max_length=20, choices=roles.Role.choices)
    stores = models.ManyToManyField(Store, related_name="staff", verbose_name=_("stores"), blank=True)
    language = models.CharField(
        _("language"), max_length=5, default="fr", choices=[("fr", "Français"), ("en", "English")]
    )
    is_active = models.BooleanField(_("active"), default=True)
    invited_at = models.DateTimeField(_("invited"), default=timezone.now)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = ["full_name", "role"]

    objects = StaffManager()

    class Meta:
        ordering = ["full_name"]
        verbose_name = _("staff member")
        verbose_name_plural = _("staff")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(email=models.functions.Lower("email")), name="staff_email_is_lower_case"
            )
        ]

    def __str__(self) -> str:
        return self.full_name

    def get_full_name(self) -> str:
        """The name by which the admin's own pages call a person."""
        return self.full_name

    @property
    def is_staff(self) -> bool:
        """Everybody here may open the admin site; what it shows depends on the role."""
        return self.is_active

    @property
    def is_superuser(self) -> bool:
        """Nobody is above the table of roles."""
        return False

    def has_perm(self, permission: str, obj=None) -> bool:
        return self.is_active and roles.allows(self.role, permission)

    def has_perms(self, permissions, obj=None) -> bool:
        return all(self.has_perm(permission, obj) for permission in permissions)

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_active and roles.opens_app(self.role, app_label)

    @property
    def scope(self) -> Scope:
        """What this person sees: the network for head office, the own stores for a manager."""
        if not self.is_active:
            return NOTHING
        if self.role in roles.HEAD_OFFICE or self.role == roles.Role.PLATFORM_ADMIN:
            return WHOLE_NETWORK
        return Scope.of(self.stores.through.objects.filter(staff=self).values_list("store_id", flat=True))


KEY_PREFIX_LENGTH = 8


class Till(StoreScoped):
    """A till of a store and its API key, of which only a hash is kept: the key is shown once.

    A web shop is a till too, of another channel. With its first ticket that stands (`channel_of_tickets_stands`).
    """

    class Channel(models.TextChoices):
        TILL = "till", _("in the store")
        WEB = "web", _("on the web")

    store = models.ForeignKey(
        Store, models.PROTECT, related_name="tills", verbose_name=_("store"), db_index=False
    )
    code = models.SlugField(_("code"), max_length=20)
    channel = models.CharField(
        _("channel"), max_length=4, choices=Channel.choices, default=Channel.TILL,
        help_text=_("How its tickets are sold. With the first ticket it stands."),
    )  # fmt: skip
    key_prefix = models.CharField(_("key begins with"), max_length=KEY_PREFIX_LENGTH, unique=True)
    key_hash = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    last_used_at = models.DateTimeField(_("last call"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)

    class Meta:
        ordering = ["store", "code"]
        verbose_name = _("till")
        verbose_name_plural = _("tills")
        constraints = [models.UniqueConstraint(fields=["store", "code"], name="till_code_unique_in_store")]

    def __str__(self) -> str:
        return f"{self.store.code}/{self.code}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)

    @property
    def scope(self) -> Scope:
        return Scope.of([self.store_id])

    def issue_key(self) -> str:
        """Give the till a new key, which replaces the one before. Returns it in clear, for the only time."""
        key = secrets.token_urlsafe(32)
        self.key_prefix, self.key_hash = key[:KEY_PREFIX_LENGTH], hash_of_key(key)
        self.save()
        return key


def hash_of_key(key: str) -> str:
    """SHA-256 in hexadecimal. The key holds 256 random bits, so a slow password hash would add nothing."""
    return hashlib.sha256(key.encode()).hexdigest()


class Job(StoreScoped):
    """Long work that someone waits for: what it is, how far it got, what came of it."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        RUNNING = "running", _("running")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    # Nothing happens to such a job any more.
    OVER = (State.DONE, State.FAILED, State.CANCELLED)

    kind = models.CharField(_("kind"), max_length=40)
    title = models.CharField(_("title"), max_length=160)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.WAITING)
    done = models.PositiveBigIntegerField(_("done"), default=0)
    done_before = models.PositiveBigIntegerField(_("done before"), default=0)
    total = models.PositiveBigIntegerField(_("total"), default=0)
    step = models.CharField(_("step"), max_length=160, blank=True)
    arguments = models.JSONField(default=dict, blank=True)
    result = models.JSONField(_("result"), default=dict, blank=True)
    error = models.TextField(_("error"), blank=True)
    store = models.ForeignKey(Store, models.PROTECT, null=True, blank=True, verbose_name=_("store"))
    asked_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="jobs", verbose_name=_("asked by")
    )
    created_at = models.DateTimeField(_("asked"), default=timezone.now)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    is_called_off = models.BooleanField(_("called off"), default=False)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = _("job")
        verbose_name_plural = _("jobs")

    def __str__(self) -> str:
        return self.title

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)

    @property
    def told(self) -> list[tuple[str, object]]:
        """What came of it: what was counted, in the reader's language, and how many."""
        return [(deeds.counted(name), value) for name, value in self.result.items()]

    @property
    def percent(self) -> int:
        return 100 * self.done // self.total if self.total else 0

    @property
    def per_second(self) -> float:
        """How many were done in a second, so far."""
        if not self.started_at:
            return 0.0
        seconds = ((self.finished_at or timezone.now()) - self.started_at).total_seconds()
        return max(self.done - self.done_before, 0) / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> int | None:
        """At the pace so far; None where none is known yet."""
        if self.state != self.State.RUNNING or not self.per_second:
            return None
        return math.ceil(max(self.total - self.done, 0) / self.per_second)

    def start(self, step: str = "", total: int = 0, done: int = 0) -> None:
        """The work, or its next part, begins; `done` of `total` were done before."""
        self.state, self.step, self.total, self.error = self.State.RUNNING, step, total, ""
        self.done = self.done_before = done
        self.started_at, self.finished_at = timezone.now(), None
        self.save(
            update_fields=[
                "state", "step", "total", "error", "done", "done_before", "started_at", "finished_at",
            ]
        )  # fmt: skip

    def report(self, done: int, total: int | None = None, step: str | None = None) -> None:
        """Note how far the work got, for the page that polls."""
        self.done = done
        if total is not None:
            self.total = total
        if step is not None:
            self.step = step
        self.save(update_fields=["done", "total", "step"])

    def finish(self, **result) -> None:
        self.state, self.result, self.finished_at = self.State.DONE, result, timezone.now()
        self.done = self.total
        self._conclude()

    def call_off(self) -> None:
        """Ask whoever does the work to stop at the next whole step (`Job.was_called_off`)."""
        Job.objects.filter(pk=self.pk).update(is_called_off=True)

    def was_called_off(self) -> bool:
        self.refresh_from_db(fields=["is_called_off"])
        return self.is_called_off

    def cancel(self) -> None:
        self.state, self.finished_at = self.State.CANCELLED, timezone.now()
        self._conclude()

    def fail(self, error: str) -> None:
        self.state, self.error, self.finished_at = self.State.FAILED, error, timezone.now()
        self._conclude()

    def _conclude(self) -> None:
        # Not what others may have written meanwhile: `is_called_off`.
        self.save(update_fields=["state", "result", "error", "done", "total", "finished_at"])


class AuditEvent(StoreScoped):
    """Who did what to whom, when and why. Append-only: the database refuses a change (`audit_is_append_only`)."""

    at = models.DateTimeField(_("at"), default=timezone.now, db_index=True)
    actor = models.CharField(_("who"), max_length=160)
    role = models.CharField(_("role"), max_length=20, blank=True)
    store = models.ForeignKey(Store, models.PROTECT, null=True, blank=True, verbose_name=_("store"))
    verb = models.CharField(_("did"), max_length=40)
    object_type = models.CharField(_("what"), max_length=40)
    object_id = models.CharField(_("which"), max_length=64, blank=True)
    reason = models.CharField(_("why"), max_length=300, blank=True)
    detail = models.JSONField(_("detail"), default=dict, blank=True)

    class Meta:
        ordering = ["-at"]
        verbose_name = _("audit event")
        verbose_name_plural = _("audit trail")
        indexes = [models.Index(fields=["object_type", "object_id"], name="audit_by_object")]

    def __str__(self) -> str:
        return f"{self.actor} · {deeds.deed(self.verb)} · {deeds.thing(self.object_type)} {self.object_id}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


def audit(actor, verb: str, thing, *, reason: str = "", store_id: int | None = None, **detail) -> None:
    """Add a line to the audit trail. `actor` is a `Staff`, a `Till` or a word such as "system"."""
    _line(actor, verb, thing, detail, reason=reason, store_id=store_id).save(force_insert=True)


def audit_all(actor, verb: str, things: Iterable[tuple[models.Model, dict]]) -> None:
    """Add a line for each of many (thing, detail), in one statement."""
    AuditEvent.objects.bulk_create([_line(actor, verb, thing, detail) for thing, detail in things])


def _line(
    actor, verb: str, thing, detail: dict, *, reason: str = "", store_id: int | None = None
) -> AuditEvent:
    return AuditEvent(
        actor=str(actor),
        role=getattr(actor, "role", "till" if isinstance(actor, Till) else ""),
        store_id=store_id,
        verb=verb,
        object_type=thing._meta.model_name,
        object_id=str(thing.pk or ""),
        reason=reason,
        detail=detail,
    )


from tenants.network.webhook_models import (  # noqa: E402 - an app's models stand in its `models`
    WebhookAttempt,
    WebhookEndpoint,
    WebhookMessage,
)

__all__ = [
    "KEY_PREFIX_LENGTH",
    "AuditEvent",
    "Job",
    "Region",
    "Staff",
    "Store",
    "Till",
    "WebhookAttempt",
    "WebhookEndpoint",
    "WebhookMessage",
    "audit",
    "audit_all",
    "hash_of_key",
]
