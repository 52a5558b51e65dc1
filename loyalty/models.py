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

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from profiles.models import Profile, Purchase, Refund
from tenants.network.models import Job, Staff, Store, Till
from tenants.scoping import NetworkWide, StoreScoped


class Programme(NetworkWide):
    """What a point is worth, how few may be spent, and the programme's limits. A brand runs one programme."""

    class Downgrade(models.TextChoices):
        ONE_DOWN = "one_down", _("one level")
        RECOMPUTED = "recomputed", _("to what was earned")

    class Debt(models.TextChoices):
        OWED = "owed", _("the member owes them")
        CLAMPED = "clamped", _("head office bears the loss")
        DEDUCTED = "deducted", _("their worth is deducted from the money of the return")

    name = models.CharField(_("name"), max_length=80)
    reward_points = models.PositiveIntegerField(
        _("points of a reward step"), default=100, validators=[MinValueValidator(1)],
        help_text=_("Points are spent in multiples of this."),
    )  # fmt: skip
    reward_cents = models.PositiveIntegerField(
        _("worth in cents"), default=500, validators=[MinValueValidator(1)]
    )
    claim_days = models.PositiveSmallIntegerField(
        _("days to claim a ticket without a card"), default=30, help_text=_("0: never.")
    )
    parked_days = models.PositiveSmallIntegerField(
        _("days a return may wait for its sale"), default=7, help_text=_("Then a person is asked.")
    )
    velocity_tickets = models.PositiveSmallIntegerField(
        _("tickets of one card in a store and hour"), default=3, help_text=_("More are held; 0: no limit.")
    )
    velocity_cents = models.PositiveIntegerField(
        _("cents of one card a day"), default=200_000, help_text=_("More is held; 0: no limit.")
    )
    hold_self_scan = models.BooleanField(
        _("hold tickets that a cashier puts on their own card"), default=True
    )
    cashier_card_uses = models.PositiveSmallIntegerField(
        _("uses of one card a day under one cashier"),
        default=5,
        help_text=_("More open a case; 0: no limit."),
    )
    distance_km = models.PositiveSmallIntegerField(
        _("kilometres between two stores"), default=50, help_text=_("0: no limit.")
    )
    distance_minutes = models.PositiveSmallIntegerField(_("minutes in which one card is in both"), default=10)
    claims_least = models.PositiveSmallIntegerField(
        _("claims of one cashier's tickets in a week"),
        default=5,
        help_text=_("From so many on; 0: no limit."),
    )
    claims_share = models.PositiveSmallIntegerField(
        _("share of the store's claims (%)"), default=50, validators=[MaxValueValidator(100)],
        help_text=_("From this share on, both open a case."),
    )  # fmt: skip
    tier_grace_days = models.PositiveSmallIntegerField(_("days of grace before a tier is lost"), default=60)
    tier_downgrade = models.CharField(
        _("then the tier falls"), max_length=10, choices=Downgrade.choices, default=Downgrade.ONE_DOWN
    )
    debt_policy = models.CharField(
        _("points of a return that were spent"), max_length=8, choices=Debt.choices, default=Debt.OWED
    )
    debt_floor = models.PositiveIntegerField(
        _("debt in points that opens a case"), default=1000, help_text=_("More opens one; 0: no limit.")
    )
    # Another number whenever a rule, a tier or the programme changes; the database sees to it.
    edition = models.BigIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        verbose_name = _("programme")
        verbose_name_plural = _("programme")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(reward_points__gte=1, reward_cents__gte=1), name="reward_step_is_positive"
            ),
            models.CheckConstraint(
                condition=models.Q(claims_share__lte=100), name="claims_share_is_a_percentage"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Rule(NetworkWide):
    """A way to earn. What it says at a given time stands in its versions."""

    class Kind(models.TextChoices):
        BASE = "base", _("Points per amount")
        MULTIPLIER = "multiplier", _("Multiplier")
        BONUS = "bonus", _("Fixed bonus")
        ACTION = "action", _("Points for an action")

    class Stacking(models.TextChoices):
        BEST = "best", _("the best multiplier wins")
        SUM = "sum", _("bonuses add up")
        PRODUCT = "product", _("multipliers multiply")

    code = models.SlugField(_("code"), max_length=40, unique=True)
    name = models.CharField(_("name"), max_length=120)
    kind = models.CharField(_("kind"), max_length=12, choices=Kind.choices)
    priority = models.PositiveSmallIntegerField(
        _("priority"), default=100, help_text=_("Small numbers come first.")
    )

    class Meta:
        ordering = ["priority", "id"]
        verbose_name = _("earning rule")
        verbose_name_plural = _("earning rules")

    def __str__(self) -> str:
        return self.name


class RuleVersion(NetworkWide):
    """What a rule says between two instants. Immutable: a change is a new version.

    `conditions` and `terms` are read by `loyalty/rules.py`, which documents their words.
    """

    rule = models.ForeignKey(Rule, models.PROTECT, related_name="versions", verbose_name=_("rule"))
    number = models.PositiveIntegerField(_("version"))
    effective_from = models.DateTimeField(_("from"))
    effective_to = models.DateTimeField(_("until (excluded)"), null=True, blank=True)
    conditions = models.JSONField(_("when"), default=dict, blank=True)
    terms = models.JSONField(_("then"), default=dict)
    reason = models.CharField(_("why"), max_length=300, blank=True)
    made_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("made by")
    )
    made_at = models.DateTimeField(_("made"), default=timezone.now)

    class Meta:
        ordering = ["rule", "number"]
        verbose_name = _("rule version")
        verbose_name_plural = _("rule versions")
        constraints = [
            models.UniqueConstraint(fields=["rule", "number"], name="rule_version_once"),
            models.CheckConstraint(
                condition=models.Q(effective_to=None) | models.Q(effective_to__gt=models.F("effective_from")),
                name="rule_version_ends_after_start",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rule} v{self.number}"


class Tier(NetworkWide):
    """A level of the programme, reached by points earned in the last twelve months."""

    code = models.SlugField(_("code"), max_length=20, unique=True)
    name = models.CharField(_("name"), max_length=60)
    threshold = models.PositiveIntegerField(_("qualifying points"), unique=True)

    class Meta:
        ordering = ["threshold"]
        verbose_name = _("tier")
        verbose_name_plural = _("tiers")

    def __str__(self) -> str:
        return self.name


class Membership(StoreScoped):
    """A customer takes part in the programme, at a tier."""

    profile = models.OneToOneField(
        Profile, models.PROTECT, related_name="membership", verbose_name=_("customer")
    )
    enrolled_at = models.DateTimeField(_("enrolled"), default=timezone.now)
    tier = models.ForeignKey(Tier, models.PROTECT, null=True, blank=True, verbose_name=_("tier"))
    tier_since = models.DateTimeField(_("at this tier since"), null=True, blank=True)
    at_risk_since = models.DateTimeField(
        _("at risk since"), null=True, blank=True, help_text=_("The points no longer reach the tier.")
    )
    grace_until = models.DateField(_("keeps the tier until"), null=True, blank=True)

    class Meta:
        verbose_name = _("member")
        verbose_name_plural = _("members")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(at_risk_since=None, grace_until=None)
                | models.Q(at_risk_since__isnull=False, grace_until__isnull=False, tier__isnull=False),
                name="at_risk_of_losing_a_tier",
            )
        ]

    def __str__(self) -> str:
        return f"{self.profile_id} {self.tier or ''}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])


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


class FundingKey(NetworkWide):
    """Who pays for a redemption, in percent, from an instant on. Immutable: a change is a new one."""

    effective_from = models.DateTimeField(_("from"), unique=True)
    earner = models.PositiveSmallIntegerField(_("% paid by the store that issued the points"))
    redeemer = models.PositiveSmallIntegerField(_("% paid by the store where they were spent"))
    head_office = models.PositiveSmallIntegerField(_("% paid by head office"))

    class Meta:
        ordering = ["-effective_from"]
        verbose_name = _("funding key")
        verbose_name_plural = _("funding keys")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    head_office=100 - models.F("earner") - models.F("redeemer"),
                ),
                name="funding_key_sums_to_100",
            )
        ]

    def __str__(self) -> str:
        return f"{self.earner}/{self.redeemer}/{self.head_office}"


class SettlementStatement(NetworkWide):
    """What stores owe each other for a month. Closed once, and never changed: what comes later is the next one's."""

    month = models.DateField(_("month"), unique=True, help_text=_("Its first day."))
    closed_at = models.DateTimeField(_("closed"), default=timezone.now)
    line_count = models.PositiveIntegerField(_("lines"), help_text=_("No line can be added later."))

    class Meta:
        ordering = ["-month"]
        verbose_name = _("statement between stores")
        verbose_name_plural = _("statements between stores")

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class SettlementLine(StoreScoped):
    """Cents that a party owes (below zero) or is owed for one lot of one redemption; no store: head office. No lot: a
    voucher that was given, not bought with points.

    A store sees its own: what it owes and is owed, not what the others do.
    """

    statement = models.ForeignKey(SettlementStatement, models.PROTECT, related_name="lines")
    transaction = models.ForeignKey(Transaction, models.PROTECT, related_name="settlement_lines")
    lot = models.ForeignKey(Lot, models.PROTECT, null=True, related_name="settlement_lines")
    store = models.ForeignKey(Store, models.PROTECT, null=True, related_name="settlement_lines")
    cents = models.BigIntegerField()

    class Meta:
        verbose_name = _("settlement line")
        verbose_name_plural = _("settlement lines")
        constraints = [
            models.UniqueConstraint(
                fields=["transaction", "lot", "store"], name="settled_once", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"{self.store_id or '–'}: {self.cents:+d}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class TillRequest(StoreScoped):
    """The answer given to a till's request, kept so that a repeated request gets the same answer."""

    till = models.ForeignKey(Till, models.PROTECT, related_name="requests", verbose_name=_("till"))
    key = models.CharField(_("key"), max_length=160)
    request_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(_("status"))
    response = models.JSONField(_("answer"))
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("till request")
        verbose_name_plural = _("till requests")
        constraints = [models.UniqueConstraint(fields=["till", "key"], name="request_answered_once")]

    def __str__(self) -> str:
        return self.key

    @classmethod
    def visible_from(cls, stores):
        return models.Q(till__in=Till._base_manager.filter(store__in=stores).values("pk"))


# --- Earning beyond tickets -------------------------------------------------------------------------------------------


class Action(StoreScoped):
    """Something a member did that is no purchase, told once by its key; or a day of the calendar that came.

    What it earned is a transaction of its own. `counted_before` and `counted_in_campaign` are how many such actions had
    earned when this one was judged, so that the proof judges by the same numbers.
    """

    WELCOME, BIRTHDAY = "welcome", "birthday"
    BY_THE_CALENDAR = (WELCOME, BIRTHDAY)

    code = models.SlugField(_("action"), max_length=40)
    key = models.CharField(_("key"), max_length=64)
    profile = models.ForeignKey(Profile, models.PROTECT, related_name="actions", verbose_name=_("customer"))
    store = models.ForeignKey(Store, models.PROTECT, related_name="actions", verbose_name=_("store"))
    till = models.ForeignKey(
        Till, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("told by")
    )
    identified_by = models.CharField(
        _("identified by"),
        max_length=270,
        blank=True,
        help_text=_("The identifier shown at the till, kind:key."),
    )
    campaign = models.CharField(_("campaign"), max_length=60, blank=True)
    occurred_at = models.DateTimeField(_("happened"))
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    content_hash = models.CharField(max_length=64, editable=False)
    tier = models.CharField(_("tier when it happened"), max_length=20, blank=True)
    counted_before = models.PositiveIntegerField(default=0, editable=False)
    counted_in_campaign = models.PositiveIntegerField(default=0, editable=False)
    points = models.PositiveIntegerField(_("points"), default=0)
    why = models.CharField(_("why"), max_length=20)
    birth_day = models.CharField(
        max_length=5, blank=True, editable=False, help_text="Of a birthday: month-day."
    )
    transaction = models.OneToOneField(
        Transaction,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="action",
        verbose_name=_("transaction"),
    )
    withdrawn_by = models.ForeignKey(
        Transaction, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("taken back by")
    )

    class Meta:
        ordering = ["-id"]
        verbose_name = _("action")
        verbose_name_plural = _("actions")
        constraints = [
            models.UniqueConstraint(fields=["code", "key"], name="action_counts_once"),
            models.CheckConstraint(
                condition=models.Q(points=0, transaction=None)
                | models.Q(points__gt=0, transaction__isnull=False),
                name="action_points_are_posted",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.key}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class TicketCashier(StoreScoped):
    """Who served at the till when a ticket was made: the till's own word for the cashier."""

    purchase = models.OneToOneField(
        Purchase, models.CASCADE, primary_key=True, related_name="served", verbose_name=_("purchase")
    )
    store = models.ForeignKey(Store, models.PROTECT, related_name="+", verbose_name=_("store"))
    cashier = models.CharField(_("cashier"), max_length=40)

    class Meta:
        verbose_name = _("cashier of a ticket")
        verbose_name_plural = _("cashiers of tickets")

    def __str__(self) -> str:
        return self.cashier

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class Cashier(StoreScoped):
    """Somebody who serves at a store's tills, by the code that tills send, with the own customer card."""

    store = models.ForeignKey(Store, models.PROTECT, related_name="cashiers", verbose_name=_("store"))
    code = models.CharField(_("code at the till"), max_length=40)
    name = models.CharField(_("name"), max_length=120, blank=True)
    card = models.CharField(
        _("own card"),
        max_length=40,
        blank=True,
        help_text=_("Number of the customer card, as it is scanned."),
    )
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        ordering = ["store", "code"]
        verbose_name = _("cashier")
        verbose_name_plural = _("cashiers")
        constraints = [models.UniqueConstraint(fields=["store", "code"], name="cashier_code_unique_in_store")]

    def __str__(self) -> str:
        return self.name or self.code

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class StorePlace(StoreScoped):
    """Where a store lies, for the distance between two."""

    store = models.OneToOneField(Store, models.PROTECT, related_name="place", verbose_name=_("store"))
    latitude = models.DecimalField(
        _("latitude"), max_digits=8, decimal_places=5, help_text=_("Degrees, north above 0.")
    )
    longitude = models.DecimalField(
        _("longitude"), max_digits=8, decimal_places=5, help_text=_("Degrees, east above 0.")
    )

    class Meta:
        ordering = ["store"]
        verbose_name = _("place of a store")
        verbose_name_plural = _("places of stores")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(latitude__range=(-90, 90), longitude__range=(-180, 180)),
                name="place_is_on_earth",
            )
        ]

    def __str__(self) -> str:
        return f"{self.latitude} {self.longitude}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class Claim(StoreScoped):
    """A ticket without a card that a member claimed afterwards. Once a ticket; never changed."""

    purchase = models.OneToOneField(
        Purchase, models.PROTECT, related_name="claim", verbose_name=_("purchase")
    )
    store = models.ForeignKey(
        Store, models.PROTECT, related_name="claims", verbose_name=_("store"), help_text=_("Of the ticket.")
    )
    profile = models.ForeignKey(Profile, models.PROTECT, related_name="claims", verbose_name=_("customer"))
    claimed_at = models.DateTimeField(_("claimed"), default=timezone.now)
    till = models.ForeignKey(
        Till, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("till")
    )
    by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("by")
    )
    cashier = models.CharField(_("cashier of the ticket"), max_length=40, blank=True)
    taken_by = models.CharField(_("cashier who took the claim"), max_length=40, blank=True)
    points = models.PositiveIntegerField(_("points"))

    class Meta:
        ordering = ["-id"]
        verbose_name = _("claim")
        verbose_name_plural = _("claims")
        indexes = [models.Index(fields=["store", "claimed_at"], name="claims_of_store")]

    def __str__(self) -> str:
        return f"{self.purchase_id}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class ClaimTally(StoreScoped):
    """A line of the weekly report: claims of one cashier's tickets in a store."""

    week = models.DateField(_("week"), help_text=_("Its Monday."))
    store = models.ForeignKey(Store, models.PROTECT, related_name="+", verbose_name=_("store"))
    cashier = models.CharField(_("cashier of the ticket"), max_length=40, blank=True)
    claims = models.PositiveIntegerField(_("claims"))
    cents = models.BigIntegerField(_("amount"))
    points = models.BigIntegerField(_("points"))
    share = models.PositiveSmallIntegerField(_("share of the store's claims (%)"))

    class Meta:
        ordering = ["-week", "store", "-claims", "cashier"]
        verbose_name = _("line of the claims report")
        verbose_name_plural = _("claims by cashier")
        constraints = [
            models.UniqueConstraint(fields=["week", "store", "cashier"], name="claims_tallied_once")
        ]

    def __str__(self) -> str:
        return f"{self.week} {self.cashier}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class ParkedReturn(StoreScoped):
    """A return that came before its sale. It has no effect until the sale arrives."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waits for its sale")
        APPLIED = "applied", _("applied")
        REFUSED = "refused", _("does not fit its sale")
        CLOSED = "closed", _("closed by hand")

    store = models.ForeignKey(
        Store, models.PROTECT, related_name="parked_returns", verbose_name=_("brought back to")
    )
    till = models.ForeignKey(Till, models.PROTECT, related_name="+", verbose_name=_("till"))
    business_day = models.DateField(_("day"))
    refund_id = models.CharField(_("refund receipt"), max_length=64)
    receipt_id = models.CharField(_("receipt"), max_length=64)
    sale_store = models.CharField(_("store of the sale"), max_length=20)
    statement = models.JSONField(editable=False)
    parked_at = models.DateTimeField(_("parked"), default=timezone.now)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.WAITING)
    applied_as = models.OneToOneField(
        Refund, models.PROTECT, null=True, blank=True, related_name="parked", verbose_name=_("refund")
    )
    problem = models.CharField(_("problem"), max_length=300, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("return without its sale")
        verbose_name_plural = _("returns without their sale")
        constraints = [
            models.UniqueConstraint(fields=["till", "business_day", "refund_id"], name="return_parked_once"),
            models.CheckConstraint(
                condition=models.Q(state="applied", applied_as__isnull=False)
                | ~models.Q(state="applied") & models.Q(applied_as=None),
                name="applied_return_has_its_refund",
            ),
        ]
        indexes = [
            models.Index(
                fields=["receipt_id", "sale_store"],
                name="returns_waiting",
                condition=models.Q(state="waiting"),
            )
        ]

    def __str__(self) -> str:
        return self.refund_id

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class Case(StoreScoped):
    """Something that looks wrong, for a person to decide: release what is held, or take it back."""

    class Kind(models.TextChoices):
        VELOCITY = "velocity", _("many tickets in an hour")
        AMOUNT = "amount", _("a large amount in a day")
        SELF_SCAN = "self_scan", _("a cashier's own card")
        CARD_USES = "card_uses", _("one card again and again under one cashier")
        DISTANCE = "distance", _("two distant stores within minutes")
        CLAIMS = "claims", _("claims of one cashier's tickets")
        DEBT = "debt", _("a large debt")

    class State(models.TextChoices):
        OPEN = "open", _("to be decided")
        RELEASED = "released", _("released")
        REVERSED = "reversed", _("taken back")

    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    store = models.ForeignKey(Store, models.PROTECT, related_name="cases", verbose_name=_("store"))
    profile = models.ForeignKey(
        Profile, models.PROTECT, null=True, blank=True, related_name="cases", verbose_name=_("customer")
    )
    cashier = models.CharField(_("cashier"), max_length=40, blank=True)
    day = models.DateField(_("day"))
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.OPEN)
    opened_at = models.DateTimeField(_("opened"), default=timezone.now)
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    decided_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("decided by")
    )
    comment = models.CharField(_("comment"), max_length=300, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("case")
        verbose_name_plural = _("cases")
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "store", "profile", "cashier", "day"], name="one_open_case_a_day",
                condition=models.Q(state="open"), nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(state="open", decided_at=None, decided_by=None)
                | ~models.Q(state="open") & models.Q(decided_at__isnull=False, decided_by__isnull=False),
                name="case_is_decided_by_somebody",
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.day}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class CaseTicket(StoreScoped):
    """A ticket of a case. What it earned is held while its case is open, if `transaction` names it."""

    case = models.ForeignKey(Case, models.PROTECT, related_name="tickets", verbose_name=_("case"))
    purchase = models.ForeignKey(Purchase, models.PROTECT, related_name="cases", verbose_name=_("purchase"))
    transaction = models.ForeignKey(
        Transaction, models.PROTECT, null=True, blank=True, related_name="cases", verbose_name=_("held")
    )
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    voided_by = models.ForeignKey(
        Transaction, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("taken back by")
    )

    class Meta:
        ordering = ["id"]
        verbose_name = _("ticket of a case")
        verbose_name_plural = _("tickets of cases")
        constraints = [models.UniqueConstraint(fields=["case", "purchase"], name="ticket_once_in_a_case")]
        indexes = [
            models.Index(
                fields=["transaction"], name="points_held",
                condition=models.Q(ended_at=None, transaction__isnull=False),
            )
        ]  # fmt: skip

    def __str__(self) -> str:
        return str(self.purchase_id)

    @classmethod
    def visible_from(cls, stores):
        return models.Q(purchase__in=Purchase._base_manager.filter(store__in=stores).values("pk"))


class TierChange(StoreScoped):
    """A member's tier changed: one row a change, for whoever announces it. Append-only."""

    class Why(models.TextChoices):
        EARNED = "earned", _("earned")
        GRACE_OVER = "grace_over", _("grace is over")
        RECOUNTED = "recounted", _("recounted")

    profile = models.ForeignKey(
        Profile, models.PROTECT, related_name="tier_changes", verbose_name=_("customer")
    )
    before = models.CharField(_("tier before"), max_length=20, blank=True)
    after = models.CharField(_("tier"), max_length=20, blank=True)
    why = models.CharField(_("why"), max_length=10, choices=Why.choices)
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("change of tier")
        verbose_name_plural = _("changes of tier")
        constraints = [
            models.CheckConstraint(condition=~models.Q(before=models.F("after")), name="tier_change_changes")
        ]

    def __str__(self) -> str:
        return f"{self.before} → {self.after}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])


# --- What the points are worth, and cost ------------------------------------------------------------------------------


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

    run = models.ForeignKey(OpeningRun, models.CASCADE, related_name="lines")
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


from loyalty.benefit_models import (  # noqa: E402 - they name the models above
    Coupon,
    CouponTally,
    CouponUse,
    Reward,
    RewardStock,
    StackingClass,
    StoreExit,
    TicketPayment,
    TierGift,
    Voucher,
)
from loyalty.link_models import MemberLinks  # noqa: E402 - beside those above
from loyalty.simulation_models import Replay, RuleDraft, SavedSimulation  # noqa: E402 - for the same reason

__all__ = [
    "Account",
    "AccountingPolicy",
    "Action",
    "Adjustment",
    "BreakageEstimate",
    "Case",
    "CaseTicket",
    "Cashier",
    "Claim",
    "ClaimTally",
    "Coupon",
    "CouponTally",
    "CouponUse",
    "FundingKey",
    "Lot",
    "LotExtension",
    "LotUse",
    "MemberLinks",
    "Membership",
    "OpeningLine",
    "OpeningRun",
    "ParkedReturn",
    "Posting",
    "Programme",
    "Replay",
    "Reward",
    "RewardStock",
    "Rule",
    "RuleDraft",
    "RuleVersion",
    "SavedSimulation",
    "SettlementLine",
    "SettlementStatement",
    "StackingClass",
    "StoreExit",
    "StorePlace",
    "TicketCashier",
    "TicketPayment",
    "Tier",
    "TierChange",
    "TierGift",
    "TillRequest",
    "Transaction",
    "Voucher",
]
