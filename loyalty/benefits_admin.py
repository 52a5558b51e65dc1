"""Benefits in head office: the catalogue as cards, stock by store, vouchers, coupons and what combines, gifts of tiers,
stores that leave; and what a member holds, on the customer's page. A store's manager sees what concerns their stores.
"""

from dataclasses import dataclass

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from loyalty import codes, exits, rewards, vouchers
from loyalty.models import (
    Coupon,
    CouponUse,
    Reward,
    RewardStock,
    StackingClass,
    StoreExit,
    TierGift,
    Voucher,
)
from loyalty.rewards import Refused
from profiles.admin.customers import PANELS, Panel
from profiles.models import Profile
from tenants.calendar import brand_today
from tenants.network.admin import Audited, ReadOnly, ScopedModelAdmin, StaysOnPage
from tenants.network.models import Store, audit
from tenants.scoping import current_scope
from tenants.templatetags.money import money

KIND_ICONS: dict[str, str] = {
    Reward.Kind.MONEY_OFF: "euro",
    Reward.Kind.GIFT: "redeem",
    Reward.Kind.SERVICE: "room_service",
    Reward.Kind.ACCESS: "vpn_key",
    Reward.Kind.DONATION: "volunteer_activism",
}
OFFERED, SOON, OVER, OFF, SOLD_OUT = "offered", "soon", "over", "off", "sold_out"


# --- The catalogue ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """How a reward stands today: a word, a colour and an icon."""

    code: str
    word: str
    tone: str
    icon: str


def state_of(reward: Reward, left: int | None) -> State:
    """`left`: the stock of the stores that can be seen together; None where nobody counts."""
    today = brand_today()
    if not reward.is_offered:
        return State(OFF, _t("switched off"), "cdp-no", "block")
    if reward.valid_until and reward.valid_until < today:
        return State(OVER, _t("over"), "cdp-no", "event_busy")
    if reward.valid_from > today:
        on = date_format(reward.valid_from, "SHORT_DATE_FORMAT")
        return State(SOON, _t("from %(day)s on") % {"day": on}, "cdp-maybe", "schedule")
    if left == 0:
        return State(SOLD_OUT, _t("out of stock"), "cdp-no", "remove_shopping_cart")
    return State(OFFERED, _t("offered"), "cdp-yes", "check")


class RewardForm(forms.ModelForm):
    """A reward; each promise of the database is a sentence beside its field."""

    class Meta:
        model = Reward
        exclude: list[str] = []

    def clean(self):
        told = super().clean()
        if told.get("kind") == Reward.Kind.MONEY_OFF and not told.get("worth_cents"):
            self.add_error("worth_cents", _("Say how much money it takes off."))
        start, end = told.get("valid_from"), told.get("valid_until")
        if start and end and end < start:
            self.add_error("valid_until", _("This day lies before the first one."))
        shares = [told.get(name) for name in ("earner", "redeemer", "head_office")]
        if any(share is not None for share in shares):
            if None in shares:
                self.add_error("earner", _("Fill in all three shares, or none: then the brand's key holds."))
            elif sum(shares) != 100:
                self.add_error(
                    "earner", _("The three shares sum to %(sum)s, not to 100.") % {"sum": sum(shares)}
                )
        return told


class StockInline(TabularInline):
    model = RewardStock
    extra = 1
    hide_title = True
    fields = ("store", "left")
    verbose_name_plural = _("stock by store")

    def has_delete_permission(self, request, obj=None):
        # A voucher may have been taken from it: a store that carries it no more has 0.
        return False

    def get_readonly_fields(self, request, obj=None):
        return ()


@admin.register(Reward)
class RewardAdmin(StaysOnPage, Audited, ScopedModelAdmin):
    form = RewardForm
    search_fields = ("name", "code")
    list_filter = ("kind",)
    inlines = (StockInline,)
    autocomplete_fields = ("stores",)
    actions = None
    fieldsets = (
        (None, {"fields": ("name", "code", "kind", "description", "is_offered")}),
        (_("What it costs and gives"), {"fields": ("points", "worth_cents", "lives_days", "unused")}),
        (_("When and where"), {"fields": ("valid_from", "valid_until", "stores", "is_counted")}),
        (
            _("Who pays"),
            {
                "fields": ("earner", "redeemer", "head_office"),
                "description": _("All empty: the brand's funding key of the day it is used."),
            },
        ),
    )

    def get_readonly_fields(self, request, obj=None):
        return ("code", "kind") if obj else ()

    def has_delete_permission(self, request, obj=None):
        return False

    def get_prepopulated_fields(self, request, obj=None):
        return {} if obj else {"code": ("name",)}

    def changelist_view(self, request, extra_context=None):
        """The catalogue as cards, by state; found by words of the name or the code."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        words, state = request.GET.get(SEARCH_VAR, "").replace("\x00", "")[:100], request.GET.get("state", "")
        cards = [card for card in _cards(words) if not state or card["state"].code == state]
        context = {
            **self.admin_site.each_context(request),
            "title": _t("Catalogue"),
            "opts": self.opts,
            "cards": cards,
            "words": words,
            "chosen": state,
            "states": [
                ("", _t("all")), (OFFERED, _t("offered")), (SOON, _t("to come")), (SOLD_OUT, _t("out of stock")),
                (OVER, _t("over")), (OFF, _t("switched off")),
            ],
            "may_add": self.has_add_permission(request),
        }  # fmt: skip
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "loyalty/catalogue.html", context | (extra_context or {}))


def _cards(words: str) -> list[dict]:
    """The rewards that the scope sees, each with its stock and its vouchers there."""
    found = Reward.objects.all()
    for word in words.split():
        found = found.filter(Q(name__icontains=word) | Q(code__icontains=word))
    held = (
        Voucher.objects.order_by()
        .values_list("reward")
        .annotate(
            issued=Count("pk"),
            used=Count("pk", filter=Q(state="used")),
            left=Count("pk", filter=Q(state="issued")),
        )
    )
    counts = {reward_id: tuple(numbers) for reward_id, *numbers in held}
    stores = dict(Store.objects.values_list("pk", "name"))
    stock: dict[int, list[tuple[str, int]]] = {}
    for reward_id, store_id, count in RewardStock.objects.order_by("store__code").values_list(
        "reward", "store", "left"
    ):
        stock.setdefault(reward_id, []).append((stores.get(store_id, ""), count))
    cards = []
    for reward in found.prefetch_related("stores"):
        mine = stock.get(reward.pk, [])
        left: int | None = sum(count for _store, count in mine) if reward.is_counted else None
        issued, used, open_ = counts.get(reward.pk, (0, 0, 0))
        cards.append(
            {
                "reward": reward, "icon": KIND_ICONS[reward.kind], "state": state_of(reward, left), "left": left,
                "stock": mine if reward.is_counted else [], "stores": list(reward.stores.all()),
                "issued": issued, "used": used, "open": open_,
            }
        )  # fmt: skip
    return cards


# --- Vouchers ---------------------------------------------------------------------------------------------------------


@admin.register(Voucher)
class VoucherAdmin(ReadOnly, ScopedModelAdmin):
    list_display = ("short", "reward", "holder", "state_shown", "issued_at", "last_day", "where_used", "off")
    list_display_links = ("short",)
    list_filter = ("state", "reward")
    list_select_related = ("reward",)
    list_per_page = 50
    show_full_result_count = False
    search_fields = ("code__exact",)
    search_help_text = _("A whole code.")
    change_form_outer_after_template = "admin/loyalty/voucher/cancel.html"
    readonly_fields = (
        "whole_code", "reward", "holder", "state", "points", "worth", "off", "issued_at", "where_issued",
        "last_day", "unused", "only_in", "where_used", "ended_at", "campaign", "gift",
    )  # fmt: skip
    fields = readonly_fields

    def get_search_results(self, request, queryset, search_term):
        return super().get_search_results(request, queryset, codes.read(search_term) or search_term)

    def get_queryset(self, request):
        # Names are asked by subquery, which carries the scope along.
        def name(column):
            return Subquery(Store.objects.filter(pk=OuterRef(column)).values("name")[:1])

        told = super().get_queryset(request)
        return told.annotate(
            issued_name=name("issued_in"), used_name=name("used_in"), only_name=name("store")
        )

    @display(description=_("code"))
    def short(self, voucher):
        return str(voucher)

    @display(description=_("code"))
    def whole_code(self, voucher):
        return codes.shown(voucher.code)

    @display(description=_("customer"), empty_value="–")
    def holder(self, voucher):
        profile = Profile.objects.filter(pk=voucher.profile_id).first()
        if profile is None:
            return None
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:profiles_profile_change", args=[profile.pk]), profile
        )

    @display(
        description=_("state"),
        label={"issued": "info", "used": "success", "cancelled": "warning", "expired": "danger"},
    )
    def state_shown(self, voucher):
        return voucher.state, voucher.get_state_display()

    @display(description=_("worth"))
    def worth(self, voucher):
        return money(voucher.worth_cents)

    @display(description=_("money off"), empty_value="–")
    def off(self, voucher):
        return money(voucher.used_cents) if voucher.used_cents else None

    @display(description=_("issued in"), empty_value="–")
    def where_issued(self, voucher):
        return voucher.issued_name

    @display(description=_("used in"), empty_value="–")
    def where_used(self, voucher):
        return voucher.used_name

    @display(description=_("only valid in"), empty_value="–")
    def only_in(self, voucher):
        return voucher.only_name

    def get_urls(self):
        def deed(view):
            return self.admin_site.admin_view(view)

        return [
            path("<int:pk>/cancel/", deed(self.cancel_view), name="loyalty_voucher_cancel"),
            path("give/<int:pk>/", deed(self.give_view), name="loyalty_voucher_give"),
            *super().get_urls(),
        ]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        may = request.user.has_perm("loyalty.cancel_voucher")
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "may_cancel": may})

    def cancel_view(self, request, pk):
        """Undo the issue of a voucher that was not used: points and stock come back."""
        if not request.user.has_perm("loyalty.cancel_voucher"):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        voucher = get_object_or_404(Voucher, pk=pk)
        try:
            vouchers.cancel(voucher.pk, at=timezone.now(), actor=str(request.user))
        except Refused as refused:
            self.message_user(request, refused.detail, messages.ERROR)
        else:
            audit(request.user, "cancelled", voucher, points=voucher.points)
            self.message_user(request, _t("Cancelled: what was paid for it has come back."))
        return redirect(reverse("admin:loyalty_voucher_change", args=[pk]))

    def give_view(self, request, pk):
        """Give a customer a reward for nothing, in head office's name."""
        if not request.user.has_perm("loyalty.give_voucher"):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        profile = get_object_or_404(Profile, pk=pk)
        chosen = request.POST.get("reward", "")
        reward = Reward.objects.filter(pk=chosen).first() if chosen.isdecimal() and len(chosen) < 19 else None
        once = request.POST.get("once", "").replace("\x00", "")[:40]
        page = redirect(reverse("admin:profiles_profile_change", args=[pk]) + "#benefits")
        if reward is None or not once:
            self.message_user(request, _t("Choose a reward of the list."), messages.ERROR)
            return page
        key = f"hand:{request.user.pk}:{profile.pk}:{reward.pk}:{once}"
        try:
            voucher = vouchers.give(profile, reward, key=key, by=str(request.user))
        except Refused as refused:
            self.message_user(request, refused.detail, messages.ERROR)
            return page
        audit(request.user, "gave", voucher, reward=reward.code)
        told = {"reward": reward, "code": codes.shown(voucher.code)}
        self.message_user(request, _t("Given: %(reward)s, with the code %(code)s.") % told)
        return page


# --- Coupons ----------------------------------------------------------------------------------------------------------


class CouponForm(forms.ModelForm):
    class Meta:
        model = Coupon
        exclude: list[str] = []

    def clean_code(self):
        return self.cleaned_data["code"].strip().upper()

    def clean(self):
        told = super().clean()
        if told.get("kind") == Coupon.Kind.PERCENT and (told.get("amount") or 0) > 100:
            self.add_error("amount", _("No more than 100 percent."))
        start, end = told.get("starts_at"), told.get("ends_at")
        if start and end and end <= start:
            self.add_error("ends_at", _("This lies before the start."))
        return told


@admin.register(Coupon)
class CouponAdmin(StaysOnPage, Audited, ScopedModelAdmin):
    form = CouponForm
    list_display = ("code", "name", "gives", "starts_at", "ends_at", "uses_so_far", "stacking", "is_on")
    list_filter = ("is_on", "kind", "stacking")
    list_select_related = ("stacking",)
    search_fields = ("code", "name")
    autocomplete_fields = ("stores",)
    actions = None
    fieldsets = (
        (None, {"fields": ("code", "name", "kind", "amount", "least_cents", "is_on", "campaign")}),
        (_("When and where"), {"fields": ("starts_at", "ends_at", "stores")}),
        (
            _("Limits"),
            {
                "fields": ("most_in_all", "most_a_member", "most_a_store"),
                "description": _("Empty: no limit. The database keeps them, however many tills ask at once."),
            },
        ),
        (_("Together with others"), {"fields": ("stacking",)}),
    )

    def get_queryset(self, request):
        here = CouponUse.objects.filter(coupon=OuterRef("pk"), cancelled_at=None).order_by()
        uses = here.values("coupon").annotate(count=Count("pk"))
        off = here.values("coupon").annotate(sum=Sum("cents"))
        return (
            super()
            .get_queryset(request)
            .annotate(
                use_count=Coalesce(Subquery(uses.values("count")), 0),
                off_cents=Coalesce(Subquery(off.values("sum")), 0),
            )
        )

    def get_readonly_fields(self, request, obj=None):
        return ("code", "kind", "amount") if obj else ()

    def has_delete_permission(self, request, obj=None):
        return False

    @display(description=_("takes off"))
    def gives(self, coupon):
        if coupon.kind == Coupon.Kind.PERCENT:
            return _t("%(percent)s %%") % {"percent": coupon.amount}
        return money(coupon.amount)

    @display(description=_("used"))
    def uses_so_far(self, coupon):
        count = number_format(coupon.use_count, force_grouping=True)
        if coupon.most_in_all is not None and current_scope().is_whole_network:
            most = number_format(coupon.most_in_all, force_grouping=True)
            return _t("%(count)s of %(most)s, %(amount)s off") % {
                "count": count, "most": most, "amount": money(coupon.off_cents),
            }  # fmt: skip
        return _t("%(count)s, %(amount)s off") % {"count": count, "amount": money(coupon.off_cents)}


@admin.register(StackingClass)
class StackingClassAdmin(StaysOnPage, Audited, ScopedModelAdmin):
    list_display = ("name", "code", "partners")
    search_fields = ("name", "code")
    list_before_template = "loyalty/matrix.html"
    actions = None

    def formfield_for_manytomany(self, db_field, request, **kwargs):
        return super().formfield_for_manytomany(
            db_field, request, widget=UnfoldAdminCheckboxSelectMultipleWidget(), **kwargs
        )

    def changelist_view(self, request, extra_context=None):
        classes = list(StackingClass.objects.prefetch_related("combines_with"))
        rows = [(one, [(other, other in one.combines_with.all()) for other in classes]) for one in classes]
        return super().changelist_view(request, {**(extra_context or {}), "classes": classes, "matrix": rows})

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("combines_with")

    def get_readonly_fields(self, request, obj=None):
        return ("code",) if obj else ()

    def has_delete_permission(self, request, obj=None):
        return False

    @display(description=_("combines with"), empty_value="–")
    def partners(self, stacking):
        return ", ".join(other.name for other in stacking.combines_with.all()) or None


# --- Gifts of tiers, and stores that leave ----------------------------------------------------------------------------


@admin.register(TierGift)
class TierGiftAdmin(Audited, ScopedModelAdmin):
    list_display = ("tier", "reward", "is_on", "given")
    list_display_links = ("tier", "reward")
    list_select_related = ("tier", "reward")
    actions = None

    def get_queryset(self, request):
        given = (
            Voucher.objects.filter(gift=OuterRef("pk")).order_by().values("gift").annotate(count=Count("pk"))
        )
        return (
            super().get_queryset(request).annotate(given_count=Coalesce(Subquery(given.values("count")), 0))
        )

    def get_readonly_fields(self, request, obj=None):
        return ("tier", "reward") if obj else ()

    def has_delete_permission(self, request, obj=None):
        return False

    @display(description=_("given so far"))
    def given(self, gift):
        return gift.given_count


class StoreExitForm(forms.ModelForm):
    class Meta:
        model = StoreExit
        fields = ["store", "on", "buyer"]

    def clean(self):
        told = super().clean()
        if told.get("store") and told.get("on"):
            try:
                exits.must_be_possible(told["store"], told["on"], told.get("buyer"))
            except Refused as refused:
                self.add_error(refused.field, refused.detail)
        return told


@admin.register(StoreExit)
class StoreExitAdmin(ScopedModelAdmin):
    form = StoreExitForm
    list_display = ("store", "on", "payer", "points", "done_at", "by")
    list_select_related = ("store", "buyer", "by")
    fields = ("store", "on", "buyer")
    actions = None

    def get_fields(self, request, obj=None):
        return ("store", "on", "buyer", "points", "done_at", "by") if obj else self.fields

    def get_readonly_fields(self, request, obj=None):
        return ("points", "done_at", "by") if obj else ()

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def save_model(self, request, obj, form, change):
        made = exits.agree(obj.store, obj.on, buyer=obj.buyer, by=request.user)
        obj.pk = made.pk
        if made.done_at is not None:
            told = {"points": number_format(made.points, force_grouping=True)}
            self.message_user(
                request, _t("Carried out: %(points)s points handed over by one posting.") % told
            )

    def log_addition(self, request, obj, message):
        return None  # the verb has written the audit trail

    @display(description=_("points taken over by"))
    def payer(self, leaving):
        return leaving.buyer or _t("head office")


# --- On the customer's page -------------------------------------------------------------------------------------------


def _benefits_of(request, profile) -> dict:
    may_give = request.user.has_perm("loyalty.give_voucher")
    return {
        "vouchers": [(voucher, codes.shown(voucher.code)) for voucher in vouchers.held_by(profile)],
        "may_give": may_give,
        "rewards": [reward for reward in Reward.objects.filter(is_offered=True) if _can_be_given(reward)]
        if may_give
        else [],
        "once": timezone.now().strftime("%y%m%d%H%M%S%f"),
    }


def _can_be_given(reward: Reward) -> bool:
    try:
        rewards.must_be_offered(reward)
    except Refused:
        return False
    return True


PANELS.append(Panel("loyalty.view_voucher", "loyalty/benefits_panel.html", _benefits_of))
