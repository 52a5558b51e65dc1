"""Benefits: what members get for points, or as a gift.

A **reward** is what the catalogue offers: money off, a product, a service, access, a donation. Taking one, or being
given one, issues a **voucher** with a code that nobody can guess, which is used once. Points that were paid for it
stand in the issuing store's account *vouchers* until it is used, cancelled or over. A **coupon** is a code that many
may use within limits, which the database counts.
"""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from profiles.models import Profile, Purchase
from tenants.network.models import Staff, Store
from tenants.scoping import NetworkWide, StoreScoped


def _valid_there(model: type[models.Model], stores) -> models.Q:
    """Rows that name one of these stores, or none at all."""
    named = model.stores.through._base_manager.order_by()
    column = model._meta.model_name
    here = named.filter(store__in=stores).values(column)
    return models.Q(pk__in=here) | ~models.Q(pk__in=named.values(column))


class Reward(StoreScoped):
    """What the catalogue offers. A voucher keeps the terms it was issued under: a later change is for later ones.

    `stores` empty means every store; `earner`, `redeemer` and `head_office` empty mean the brand's funding key.
    """

    class Kind(models.TextChoices):
        MONEY_OFF = "money_off", _("Money off")
        GIFT = "gift", _("Gift product")
        SERVICE = "service", _("Service")
        ACCESS = "access", _("Access or priority")
        DONATION = "donation", _("Donation")

    class Unused(models.TextChoices):
        LOST = "lost", _("the points are lost")
        RETURNED = "returned", _("the points return to their lots")

    code = models.SlugField(_("code"), max_length=40, unique=True)
    name = models.CharField(_("name"), max_length=120)
    description = models.CharField(_("description"), max_length=500, blank=True)
    kind = models.CharField(_("kind"), max_length=12, choices=Kind.choices)
    points = models.PositiveIntegerField(
        _("costs … points"), null=True, blank=True, validators=[MinValueValidator(1)],
        help_text=_("Empty: it cannot be had for points, only be given."),
    )  # fmt: skip
    worth_cents = models.PositiveIntegerField(
        _("worth in cents"), default=0,
        help_text=_("The money off; of anything else, what the store that hands it over is owed."),
    )  # fmt: skip
    valid_from = models.DateField(_("offered from"))
    valid_until = models.DateField(_("offered until"), null=True, blank=True, help_text=_("Its last day."))
    lives_days = models.PositiveSmallIntegerField(
        _("a voucher lives … days"), default=90, validators=[MinValueValidator(1), MaxValueValidator(3650)]
    )
    unused = models.CharField(
        _("if it is not used"), max_length=8, choices=Unused.choices, default=Unused.LOST
    )
    stores = models.ManyToManyField(
        Store, related_name="+", blank=True, verbose_name=_("stores"), help_text=_("Empty: every store.")
    )
    is_counted = models.BooleanField(
        _("has a stock"), default=False, help_text=_("By store; a store without a figure has none.")
    )
    earner = models.PositiveSmallIntegerField(
        _("% paid by the store that issued the points"), null=True, blank=True
    )
    redeemer = models.PositiveSmallIntegerField(
        _("% paid by the store where it is used"), null=True, blank=True
    )
    head_office = models.PositiveSmallIntegerField(_("% paid by head office"), null=True, blank=True)
    is_offered = models.BooleanField(_("offered"), default=True)

    class Meta:
        ordering = ["points", "name"]
        verbose_name = _("reward")
        verbose_name_plural = _("rewards")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(points=None) | models.Q(points__gte=1), name="reward_costs_points"
            ),
            models.CheckConstraint(
                condition=~models.Q(kind="money_off") | models.Q(worth_cents__gte=1),
                name="money_off_is_worth_something",
            ),
            models.CheckConstraint(
                condition=models.Q(valid_until=None) | models.Q(valid_until__gte=models.F("valid_from")),
                name="reward_ends_after_start",
            ),
            models.CheckConstraint(
                condition=models.Q(lives_days__gte=1, lives_days__lte=3650),
                name="voucher_lives_a_day_or_more",
            ),
            models.CheckConstraint(
                condition=models.Q(earner=None, redeemer=None, head_office=None)
                | models.Q(
                    earner__isnull=False,
                    redeemer__isnull=False,
                    head_office=100 - models.F("earner") - models.F("redeemer"),
                ),
                name="reward_shares_sum_to_100",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def visible_from(cls, stores):
        return _valid_there(cls, stores)

    @property
    def shares(self) -> str:
        """Who pays, as settlement notes it; "" for the brand's key."""
        return "" if self.earner is None else f"{self.earner}/{self.redeemer}/{self.head_office}"


class RewardStock(StoreScoped):
    """How many of a reward a store still has."""

    reward = models.ForeignKey(
        Reward, models.PROTECT, related_name="stock", verbose_name=_("reward"), db_index=False
    )
    store = models.ForeignKey(Store, models.PROTECT, related_name="+", verbose_name=_("store"))
    left = models.IntegerField(_("in stock"), validators=[MinValueValidator(0)])

    class Meta:
        ordering = ["reward", "store"]
        verbose_name = _("stock of a reward")
        verbose_name_plural = _("stock of rewards")
        constraints = [
            models.UniqueConstraint(fields=["reward", "store"], name="one_stock_a_store"),
            models.CheckConstraint(condition=models.Q(left__gte=0), name="stock_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.store_id}: {self.left}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class TierGift(NetworkWide):
    """Reaching this tier gives this reward, once in a member's life."""

    tier = models.ForeignKey(
        "loyalty.Tier", models.PROTECT, related_name="gifts", verbose_name=_("tier"), db_index=False
    )
    reward = models.ForeignKey(Reward, models.PROTECT, related_name="+", verbose_name=_("reward"))
    is_on = models.BooleanField(_("in force"), default=True)

    class Meta:
        ordering = ["tier", "id"]
        verbose_name = _("gift of a tier")
        verbose_name_plural = _("gifts of tiers")
        constraints = [models.UniqueConstraint(fields=["tier", "reward"], name="gift_of_a_tier_once")]

    def __str__(self) -> str:
        return f"{self.tier} → {self.reward}"


class Voucher(StoreScoped):
    """A reward that somebody holds. It ends once: used, cancelled, or over; the database refuses anything else.

    `key` names the deed that issued it. `store`: the only one that takes it; none: those of the reward.
    """

    class State(models.TextChoices):
        ISSUED = "issued", pgettext_lazy("voucher", "issued")
        USED = "used", pgettext_lazy("voucher", "used")
        CANCELLED = "cancelled", pgettext_lazy("voucher", "cancelled")
        EXPIRED = "expired", pgettext_lazy("voucher", "expired")

    code = models.CharField(_("code"), max_length=20, unique=True)
    key = models.CharField(_("key"), max_length=120, unique=True)
    reward = models.ForeignKey(
        Reward, models.PROTECT, related_name="vouchers", verbose_name=_("reward"), db_index=False
    )
    profile = models.ForeignKey(
        Profile, models.PROTECT, related_name="vouchers", verbose_name=_("customer"), db_index=False
    )
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.ISSUED)
    points = models.PositiveIntegerField(_("points paid"), default=0)
    worth_cents = models.PositiveIntegerField(_("worth in cents"), default=0)
    shares = models.CharField(_("who pays"), max_length=12, blank=True)
    unused = models.CharField(_("if it is not used"), max_length=8, choices=Reward.Unused.choices)
    store = models.ForeignKey(
        Store, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("only valid in")
    )
    stock = models.ForeignKey(
        RewardStock,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("taken from the stock of"),
    )
    gift = models.ForeignKey(
        TierGift,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="vouchers",
        verbose_name=_("gift of a tier"),
    )
    campaign = models.CharField(_("campaign"), max_length=80, blank=True)
    issued_at = models.DateTimeField(_("issued"), default=timezone.now)
    issued_in = models.ForeignKey(
        Store, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("issued in")
    )
    issued_by = models.CharField(_("issued by"), max_length=160, blank=True)
    last_day = models.DateField(_("last day"))
    issue = models.OneToOneField(
        "loyalty.Transaction", models.PROTECT, null=True, blank=True, related_name="voucher",
        verbose_name=_("points of the voucher"),
    )  # fmt: skip
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    used_in = models.ForeignKey(
        Store, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("used in")
    )
    used_cents = models.PositiveIntegerField(_("money off"), default=0)
    use = models.OneToOneField(
        "loyalty.Transaction", models.PROTECT, null=True, blank=True, related_name="used_voucher",
        verbose_name=_("use"),
    )  # fmt: skip

    class Meta:
        ordering = ["-id"]
        verbose_name = _("voucher")
        verbose_name_plural = _("vouchers")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state="issued", ended_at=None, used_in=None, use=None)
                | models.Q(state__in=["cancelled", "expired"], ended_at__isnull=False, used_in=None, use=None)
                | models.Q(state="used", ended_at__isnull=False, used_in__isnull=False, use__isnull=False),
                name="voucher_is_in_one_state",
            ),
            models.CheckConstraint(
                condition=models.Q(points=0, issue=None) | models.Q(points__gte=1, issue__isnull=False),
                name="points_of_a_voucher_are_posted",
            ),
            models.CheckConstraint(
                condition=models.Q(used_cents__lte=models.F("worth_cents")),
                name="voucher_gives_no_more_than_its_worth",
            ),
        ]
        indexes = [
            models.Index(fields=["profile", "-id"], name="vouchers_of_profile"),
            models.Index(fields=["last_day"], name="vouchers_to_expire", condition=models.Q(state="issued")),
            models.Index(fields=["reward", "state"], name="vouchers_of_reward"),
        ]

    def __str__(self) -> str:
        return f"…{self.code[-4:]}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(issued_in__in=stores) | models.Q(used_in__in=stores) | models.Q(store__in=stores)


class TicketPayment(StoreScoped):
    """A redemption or voucher that paid a ticket, on a line of its own, which goes back in proportion."""

    purchase = models.ForeignKey(
        Purchase,
        models.PROTECT,
        related_name="payments",
        verbose_name=_("purchase"),
        db_index=False,
    )
    transaction = models.OneToOneField(
        "loyalty.Transaction", models.PROTECT, related_name="paid", verbose_name=_("redemption")
    )
    line_number = models.PositiveSmallIntegerField(_("line"))
    cents = models.PositiveIntegerField(_("money off"))
    points = models.PositiveIntegerField(_("points"))

    class Meta:
        verbose_name = _("payment by a reward")
        verbose_name_plural = _("payments by rewards")
        constraints = [
            models.UniqueConstraint(fields=["purchase", "line_number"], name="payment_has_its_line"),
            models.CheckConstraint(condition=models.Q(cents__gte=1), name="payment_pays_something"),
        ]

    def __str__(self) -> str:
        return f"{self.purchase_id}: {self.cents}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(purchase__in=Purchase._base_manager.filter(store__in=stores).values("pk"))


class StackingClass(NetworkWide):
    """Coupons of this class combine with those of the classes named, and with no other; nor with their own, unless
    it is named."""

    code = models.SlugField(_("code"), max_length=40, unique=True)
    name = models.CharField(_("name"), max_length=80)
    combines_with = models.ManyToManyField(
        "self", blank=True, verbose_name=_("combines with"), help_text=_("Holds for both.")
    )

    class Meta:
        ordering = ["name"]
        verbose_name = _("stacking class")
        verbose_name_plural = _("stacking classes")

    def __str__(self) -> str:
        return self.name


class Coupon(StoreScoped):
    """A code that many may use, from an instant on and within limits. `stores` empty means every store."""

    class Kind(models.TextChoices):
        AMOUNT = "amount", _("Amount off")
        PERCENT = "percent", _("Percent off")

    code = models.CharField(
        _("code"),
        max_length=40,
        unique=True,
        help_text=_("As it is typed at the till; capitals do not matter."),
    )
    name = models.CharField(_("name"), max_length=120)
    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    amount = models.PositiveIntegerField(
        _("cents or percent"),
        validators=[MinValueValidator(1)],
        help_text=_("500: 5 € off; 10: 10 percent off."),
    )
    least_cents = models.PositiveIntegerField(_("basket of at least … cents"), default=0)
    starts_at = models.DateTimeField(_("from"))
    ends_at = models.DateTimeField(_("until (excluded)"), null=True, blank=True)
    most_in_all = models.PositiveIntegerField(
        _("at most … in all"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    most_a_member = models.PositiveIntegerField(
        _("at most … a member"), null=True, blank=True, validators=[MinValueValidator(1)],
        help_text=_("Then only members may use it."),
    )  # fmt: skip
    most_a_store = models.PositiveIntegerField(
        _("at most … a store"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    stores = models.ManyToManyField(
        Store, related_name="+", blank=True, verbose_name=_("stores"), help_text=_("Empty: every store.")
    )
    stacking = models.ForeignKey(
        StackingClass, models.PROTECT, null=True, blank=True, related_name="coupons", verbose_name=_("stacking class"),
        help_text=_("Empty: it combines with no other coupon."),
    )  # fmt: skip
    campaign = models.CharField(_("campaign"), max_length=80, blank=True)
    is_on = models.BooleanField(_("in force"), default=True)

    class Meta:
        ordering = ["-starts_at", "code"]
        verbose_name = _("coupon")
        verbose_name_plural = _("coupons")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(code=models.functions.Upper("code")), name="coupon_code_is_upper_case"
            ),
            models.CheckConstraint(
                condition=models.Q(kind="amount", amount__gte=1)
                | models.Q(kind="percent", amount__gte=1, amount__lte=100),
                name="coupon_takes_something_off",
            ),
            models.CheckConstraint(
                condition=models.Q(ends_at=None) | models.Q(ends_at__gt=models.F("starts_at")),
                name="coupon_ends_after_start",
            ),
        ]

    def __str__(self) -> str:
        return self.code

    @classmethod
    def visible_from(cls, stores):
        return _valid_there(cls, stores)


class CouponTally(StoreScoped):
    """How often a coupon was used in all (no store) and in each store that has a limit. The database counts."""

    coupon = models.ForeignKey(Coupon, models.PROTECT, related_name="tallies", db_index=False)
    store = models.ForeignKey(Store, models.PROTECT, null=True, related_name="+")
    used = models.IntegerField(default=0)

    class Meta:
        verbose_name = _("uses of a coupon counted")
        verbose_name_plural = _("uses of coupons counted")
        constraints = [
            models.UniqueConstraint(
                fields=["coupon", "store"], name="coupon_tally_once", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return str(self.used)

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class CouponUse(StoreScoped):
    """A coupon used for a basket. Its limits are checked by a trigger while it is written, whoever writes it."""

    coupon = models.ForeignKey(Coupon, models.PROTECT, related_name="uses", verbose_name=_("coupon"))
    store = models.ForeignKey(Store, models.PROTECT, related_name="+", verbose_name=_("store"))
    profile = models.ForeignKey(
        Profile, models.PROTECT, null=True, blank=True, related_name="coupon_uses", verbose_name=_("customer")
    )
    basket = models.CharField(_("basket"), max_length=120, help_text=_("The till and its own id."))
    cents = models.PositiveIntegerField(_("money off"))
    used_at = models.DateTimeField(_("used"))
    cancelled_at = models.DateTimeField(_("cancelled"), null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("use of a coupon")
        verbose_name_plural = _("uses of coupons")
        constraints = [
            models.UniqueConstraint(
                fields=["coupon", "basket"],
                name="coupon_once_a_basket",
                condition=models.Q(cancelled_at=None),
            )
        ]
        indexes = [
            models.Index(
                fields=["coupon", "profile"], name="uses_of_coupon_by_member",
                condition=models.Q(cancelled_at=None),
            )
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.coupon_id} {self.basket}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class StoreExit(NetworkWide):
    """A store leaves on a day: from then on another one, or head office, pays for the points it issued.

    Written when it is agreed; the night of that day carries it out, by one posting.
    """

    store = models.OneToOneField(Store, models.PROTECT, related_name="exit", verbose_name=_("store"))
    on = models.DateField(_("leaves on"))
    buyer = models.ForeignKey(
        Store, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("points taken over by"),
        help_text=_("Empty: head office."),
    )  # fmt: skip
    transaction = models.OneToOneField(
        "loyalty.Transaction", models.PROTECT, null=True, blank=True, editable=False, related_name="+",
        verbose_name=_("posting"),
    )  # fmt: skip
    points = models.BigIntegerField(_("points"), default=0, editable=False)
    done_at = models.DateTimeField(_("carried out"), null=True, blank=True, editable=False)
    by = models.ForeignKey(
        Staff,
        models.PROTECT,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        verbose_name=_("agreed by"),
    )

    class Meta:
        ordering = ["-on"]
        verbose_name = _("exit of a store")
        verbose_name_plural = _("exits of stores")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(buyer=None) | ~models.Q(buyer=models.F("store")),
                name="nobody_buys_their_own_points",
            )
        ]

    def __str__(self) -> str:
        return f"{self.store} {self.on}"
