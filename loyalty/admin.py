"""The programme, and the ledger to read. Points also show on the customer page and in the queue."""

from django.contrib import admin
from django.db.models import OuterRef, Subquery, Sum
from django.utils.formats import number_format
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import display

from loyalty import (
    earning_admin,  # noqa: F401 - registers its pages
    rules,
    statements,
)
from loyalty.models import Account, Lot, Membership, Posting, Programme, Tier, Transaction
from profiles.admin.customers import PANELS, PAST, Panel
from profiles.admin.review import EFFECTS
from tenants.network.admin import Audited, ReadOnly, ScopedModelAdmin
from tenants.templatetags.money import money

HISTORY_SHOWN = 10


# --- The programme --------------------------------------------------------------------------------------


@admin.register(Programme)
class ProgrammeAdmin(Audited, ScopedModelAdmin):
    list_display = ("name", "reward")
    actions = None
    fieldsets = (
        (None, {"fields": ("name", "reward_points", "reward_cents")}),
        (_("Claims and returns"), {"fields": ("claim_days", "parked_days", "debt_policy", "debt_floor")}),
        (_("Tiers"), {"fields": ("tier_grace_days", "tier_downgrade")}),
        (
            _("What looks wrong"),
            {
                "fields": (
                    "velocity_tickets", "velocity_cents", "hold_self_scan", "cashier_card_uses", "distance_km",
                    "distance_minutes", "claims_least", "claims_share",
                )
            },
        ),
    )  # fmt: skip

    def has_add_permission(self, request):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    @display(description=_("reward"))
    def reward(self, programme):
        worth = {"points": number_format(programme.reward_points), "amount": money(programme.reward_cents)}
        return _t("%(points)s points = %(amount)s") % worth


@admin.register(Tier)
class TierAdmin(Audited, ScopedModelAdmin):
    list_display = ("name", "code", "threshold")
    search_fields = ("name", "code")
    actions = None

    def has_delete_permission(self, request, obj=None):
        return False


# --- The ledger, to read --------------------------------------------------------------------------------------------


class BalanceFilter(admin.SimpleListFilter):
    title = _("balance")
    parameter_name = "balance"

    def lookups(self, request, model_admin):
        return [("positive", _("above zero"))]

    def queryset(self, request, queryset):
        return queryset.filter(balance__gt=0) if self.value() == "positive" else queryset


@admin.register(Account)
class AccountAdmin(ReadOnly, ScopedModelAdmin):
    list_display = ("kind", "holder", "balance")
    list_filter = ("kind", BalanceFilter)
    list_select_related = ("profile", "store")
    list_per_page = 50
    show_full_result_count = False
    fields = ("kind", "profile", "store", "balance")

    @display(description=_("holder"))
    def holder(self, account):
        return account.profile or account.store


class PostingInline(ReadOnly, TabularInline):
    model = Posting
    extra = 0
    hide_title = True
    fields = ("account_of", "points")
    readonly_fields = ("account_of",)

    def get_queryset(self, request):
        return super().get_queryset(request).select_related("account__profile", "account__store")

    @display(description=_("account"))
    def account_of(self, posting):
        account = posting.account
        return f"{account.get_kind_display()} – {account.profile or account.store}"


@admin.register(Transaction)
class TransactionAdmin(ReadOnly, ScopedModelAdmin):
    list_display = ("occurred_at", "kind", "profile", "store", "moved", "actor")
    list_display_links = ("occurred_at",)
    list_filter = ("kind", "store")
    list_select_related = ("profile", "store")
    list_per_page = 50
    show_full_result_count = False
    search_fields = ("key__startswith",)
    search_help_text = _("The beginning of a transaction's key.")
    inlines = (PostingInline,)
    fields = (
        "key", "kind", "profile", "store", "purchase", "refund", "reverses", "occurred_at", "posted_at",
        "qualifying_points", "why", "actor",
    )  # fmt: skip

    readonly_fields = ("why",)

    def get_queryset(self, request):
        # Postings sum to zero: what moved is the sum of the credits.
        received = Posting.objects.filter(transaction=OuterRef("pk"), points__gt=0).order_by()
        total = received.values("transaction").annotate(sum=Sum("points")).values("sum")
        return super().get_queryset(request).annotate(moved_points=Subquery(total))

    @display(description=_("why"))
    def why(self, transaction):
        """The steps that `loyalty/rules.py` noted, one line each; a transfer says whose points they were."""
        lines = [
            _t("%(points)s: rule %(rule)s, version %(version)s (%(why)s)") % step
            if "rule" in step
            else ", ".join(f"{word}: {value}" for word, value in step.items())
            for step in transaction.explanation
        ]
        return format_html_join(mark_safe("<br>"), "{}", ((line,) for line in lines)) if lines else None

    @display(description=_("points moved"))
    def moved(self, transaction):
        return transaction.moved_points


@admin.register(Lot)
class LotAdmin(ReadOnly, ScopedModelAdmin):
    list_display = ("expires_on", "holder", "remaining", "points", "available_on", "store")
    list_display_links = ("expires_on", "holder")
    list_filter = ("store",)
    list_select_related = ("account__profile", "store")
    list_per_page = 50
    show_full_result_count = False

    @display(description=_("holder"))
    def holder(self, lot):
        return lot.account.profile or lot.account.store


# --- What the pages about people show of points -----------------------------------------------------------------------


def _points_of(request, profile) -> dict:
    programme = Programme.objects.first()
    balance = statements.balance_of(profile)
    return {
        "balance": balance,
        "movements": statements.history(profile, HISTORY_SHOWN),
        "grace_until": Membership.objects.filter(profile=profile)
        .values_list("grace_until", flat=True)
        .first(),
        "worth_cents": programme
        and rules.discount_for(balance.available, programme.reward_points, programme.reward_cents),
    }


def _points_together(left, right) -> str:
    points = sum(statements.balance_of(profile).available for profile in (left, right))
    return _t("Points: %(points)s") % {"points": number_format(points, force_grouping=True)} if points else ""


PANELS.append(
    Panel("loyalty.view_account", "loyalty/points_panel.html", _points_of, "loyalty/points_headline.html")
)
EFFECTS.append(("loyalty.view_account", _points_together))


def _points_at(people: set[int], end) -> list[tuple[str, str]]:
    """What these people had when that instant came, for the page of a customer in the past."""
    balance = statements.balance_at(people, end)
    told = [
        (_t("available"), balance.available),
        (_t("pending"), balance.pending),
        (_t("debt"), balance.debt),
    ]
    return [
        (what.capitalize(), number_format(points, force_grouping=True))
        for what, points in told
        if points or what == told[0][0]
    ]


PAST.append(("loyalty.view_account", _points_at))

# Pages about money and rules register themselves.
from loyalty import (  # noqa: E402, F401
    admin_balances,
    admin_finance,
    admin_replays,
    admin_rules,
    admin_simulation,
    benefits_admin,
    wallet_admin,
)
