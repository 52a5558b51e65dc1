"""The points ledger: double entry, append-only, and every promise kept by the database.

A **transaction** is one business fact (a ticket earned points, points expired…). Its **postings** move points
between **accounts** and sum to zero. A member has three accounts: *available* (never below zero), *pending*
(earned, not spendable yet, never below zero) and *debt* (never above zero: what a refund took back after the
points were spent). The other side of each posting is a system account **of a store** — issued, redeemed, expired,
adjustment — because franchisees settle with each other, and because one network-wide row would make every till
wait for every other. System accounts carry no balance row for the same reason: their balance is the sum of their
postings.

Each credit is a **lot** with its own expiry; a debit uses up lots, the earliest expiry first, and each use is
written down so that a refund gives back the very lots. For every member, at any time:

    balance = Σ postings = Σ remaining points of the lots in the account

Nothing is edited: a correction is another transaction that names what it reverses. All writing goes through the
functions of `sql/posting.sql`, called by the deeds of `loyalty/ledger/` alone; a posting moves its account's balance
by a trigger (`sql/chain.sql`). The constraints' names are domain words, which `ledger/posting.py` turns into
exceptions.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from profiles.models import Profile, Purchase, Refund
from tenants.network.models import Store
from tenants.scoping import StoreScoped


class Account(StoreScoped):
    """Where points stand: three accounts a member, six a store, and head office's: its losses, and what it issued by
    taking over.

    A member's postings form a chain: each holds a hash over itself and the one before, `head` is the newest and
    `entries` how many there are. The database computes them; a store's accounts have none, so that tills do not wait.
    """

    class Kind(models.TextChoices):
        AVAILABLE = "available", _("available")
        PENDING = "pending", _("pending")
        DEBT = "debt", _("debt")
        ISSUED = "issued", _("issued")
        REDEEMED = "redeemed", _("redeemed")
        EXPIRED = "expired", _("expired")
        ADJUSTMENT = "adjustment", _("adjustment")
        RESERVED = "reserved", _("reserved")
        VOUCHERS = "vouchers", _("in vouchers")
        LOSS = "loss", _("loss of head office")

    MEMBER_KINDS = (Kind.AVAILABLE, Kind.PENDING, Kind.DEBT)

    kind = models.CharField(_("kind"), max_length=12, choices=Kind.choices)
    profile = models.ForeignKey(
        Profile, models.PROTECT, null=True, blank=True, related_name="accounts", verbose_name=_("customer")
    )
    store = models.ForeignKey(
        Store, models.PROTECT, null=True, blank=True, related_name="accounts", verbose_name=_("store")
    )
    balance = models.BigIntegerField(_("balance"), null=True, help_text=_("Members only: see the module."))
    entries = models.BigIntegerField(default=0, db_default=0, editable=False)
    head = models.CharField(max_length=64, default="", db_default="", blank=True, editable=False)

    class Meta:
        verbose_name = _("account")
        verbose_name_plural = _("accounts")
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "profile"], name="one_account_a_member", condition=~models.Q(profile=None)
            ),
            models.UniqueConstraint(
                fields=["kind", "store"], name="one_account_a_store", condition=~models.Q(store=None)
            ),
            models.UniqueConstraint(
                fields=["kind"],
                name="one_account_of_head_office",
                condition=models.Q(store=None, profile=None),
            ),
            models.CheckConstraint(
                condition=models.Q(
                    kind__in=["available", "pending", "debt"], balance__isnull=False, store=None
                )
                & ~models.Q(profile=None)
                | models.Q(
                    kind__in=["issued", "redeemed", "expired", "adjustment", "reserved", "vouchers"],
                    balance=None,
                    profile=None,
                )
                & ~models.Q(store=None)
                | models.Q(kind__in=["loss", "issued"], balance=None, profile=None, store=None),
                name="account_is_a_members_or_a_stores",
            ),
            models.CheckConstraint(
                condition=~models.Q(kind__in=["available", "pending"]) | models.Q(balance__gte=0),
                name="member_balance_not_negative",
            ),
            models.CheckConstraint(
                condition=~models.Q(kind="debt") | models.Q(balance__lte=0), name="member_debt_not_positive"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.profile_id or self.store_id}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class Transaction(StoreScoped):
    """One business fact of the ledger. `key` names the fact, so that it is posted once whatever happens."""

    class Kind(models.TextChoices):
        EARN = "earn", _("earned")
        RELEASE = "release", _("made available")
        REDEEM = "redeem", _("spent")
        REFUND = "refund", _("taken back")
        EXPIRE = "expire", _("expired")
        TRANSFER = "transfer", _("moved")
        ADJUST = "adjust", _("adjusted")
        RESERVE = "reserve", _("reserved")
        GIVE_BACK = "give_back", _("given back")
        EXTEND = "extend", _("extended")
        ISSUE = "issue", _("turned into a voucher")
        FUND = "fund", _("funded anew")

    key = models.CharField(_("key"), max_length=120, unique=True)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    profile = models.ForeignKey(
        Profile,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="transactions",
        verbose_name=_("customer"),
        db_index=False,
    )
    store = models.ForeignKey(
        Store, models.PROTECT, null=True, blank=True, related_name="transactions", verbose_name=_("store")
    )
    purchase = models.ForeignKey(
        Purchase,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="transactions",
        verbose_name=_("purchase"),
    )
    refund = models.ForeignKey(
        Refund, models.PROTECT, null=True, blank=True, related_name="transactions", verbose_name=_("refund")
    )
    reverses = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="reversed_by", verbose_name=_("reverses")
    )
    occurred_at = models.DateTimeField(_("happened"))
    posted_at = models.DateTimeField(_("posted"))
    qualifying_points = models.BigIntegerField(_("points that count for the tier"), default=0)
    tier = models.CharField(_("tier when it happened"), max_length=20, blank=True)
    earned_before = models.BigIntegerField(
        default=0, db_default=0, editable=False, help_text="Points of the same day's tickets before this one."
    )
    segments = ArrayField(
        models.BigIntegerField(), default=list, db_default=[], editable=False,
        help_text="Of those that its rules asked about, the ones its member was in when the ticket came.",
    )  # fmt: skip
    explanation = models.JSONField(_("why"), default=list)
    actor = models.CharField(_("by"), max_length=160, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("ledger transaction")
        verbose_name_plural = _("ledger transactions")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(profile__isnull=False) | models.Q(kind="fund"),
                name="transaction_is_a_members",
            )
        ]
        indexes = [
            models.Index(fields=["profile", "occurred_at"], name="transactions_of_profile"),
            models.Index(
                fields=["occurred_at"], name="reservations_by_time", condition=models.Q(kind="reserve")
            ),
        ]

    def __str__(self) -> str:
        return self.key

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class Posting(StoreScoped):
    """Points put on an account (positive) or taken from it (negative)."""

    transaction = models.ForeignKey(
        Transaction, models.PROTECT, related_name="postings", verbose_name=_("transaction")
    )
    account = models.ForeignKey(Account, models.PROTECT, related_name="postings", verbose_name=_("account"))
    points = models.BigIntegerField(_("points"))
    number = models.BigIntegerField(default=0, db_default=0, editable=False)
    hash = models.CharField(max_length=64, default="", db_default="", blank=True, editable=False)

    class Meta:
        ordering = ["transaction", "id"]
        verbose_name = _("posting")
        verbose_name_plural = _("postings")
        constraints = [models.CheckConstraint(condition=~models.Q(points=0), name="posting_moves_points")]

    def __str__(self) -> str:
        return f"{self.points:+d}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(transaction__in=Transaction._base_manager.filter(store__in=stores).values("pk"))


class Lot(StoreScoped):
    """One credit and what is left of it. It stands in the account that holds it: pending, available, or, after a
    merge, the surviving member's."""

    transaction = models.ForeignKey(
        Transaction, models.PROTECT, related_name="lots", verbose_name=_("earned by")
    )
    account = models.ForeignKey(Account, models.PROTECT, related_name="lots", verbose_name=_("account"))
    store = models.ForeignKey(Store, models.PROTECT, related_name="lots", verbose_name=_("funded by"))
    points = models.BigIntegerField(_("points"))
    remaining = models.BigIntegerField(_("remaining"))
    available_on = models.DateField(_("spendable from"))
    expires_on = models.DateField(_("last day"), null=True, blank=True)
    idle_months = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        editable=False,
        help_text="A purchase or redemption gives it as many months anew.",
    )

    class Meta:
        ordering = ["expires_on", "id"]
        verbose_name = _("lot")
        verbose_name_plural = _("lots")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(remaining__gte=0, remaining__lte=models.F("points")),
                name="lot_remaining_within_its_points",
            )
        ]
        indexes = [
            models.Index(
                fields=["account", "expires_on", "id"], name="lots_left", condition=models.Q(remaining__gt=0)
            ),
            models.Index(fields=["expires_on"], name="lots_to_expire", condition=models.Q(remaining__gt=0)),
            models.Index(
                fields=["account"],
                name="lots_to_stir",
                condition=models.Q(remaining__gt=0, idle_months__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.remaining}/{self.points}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class LotUse(StoreScoped):
    """Points taken from a lot (positive), or given back to it (negative), by a transaction."""

    transaction = models.ForeignKey(
        Transaction, models.PROTECT, related_name="lot_uses", verbose_name=_("transaction")
    )
    lot = models.ForeignKey(Lot, models.PROTECT, related_name="uses", verbose_name=_("lot"))
    points = models.BigIntegerField(_("points"))

    class Meta:
        verbose_name = _("use of a lot")
        verbose_name_plural = _("uses of lots")
        constraints = [models.CheckConstraint(condition=~models.Q(points=0), name="lot_use_moves_points")]

    def __str__(self) -> str:
        return f"{self.points:+d}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(transaction__in=Transaction._base_manager.filter(store__in=stores).values("pk"))


class LotExtension(StoreScoped):
    """A lot's last day moved later, by a transaction. Without such a row the database refuses to move it."""

    transaction = models.ForeignKey(
        Transaction, models.PROTECT, related_name="extensions", verbose_name=_("transaction")
    )
    lot = models.ForeignKey(Lot, models.PROTECT, related_name="extensions", verbose_name=_("lot"))
    was = models.DateField(_("last day before"))
    until = models.DateField(_("last day"))

    class Meta:
        verbose_name = _("extension of a lot")
        verbose_name_plural = _("extensions of lots")
        constraints = [
            models.CheckConstraint(condition=models.Q(until__gt=models.F("was")), name="extension_is_later")
        ]

    def __str__(self) -> str:
        return f"{self.was} → {self.until}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(transaction__in=Transaction._base_manager.filter(store__in=stores).values("pk"))
