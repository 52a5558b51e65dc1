"""Pages about what is earned beside tickets and about what looks wrong: actions, claims, returns that wait, cases."""

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q
from django.http import HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.formats import date_format
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDateWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from loyalty import cases, claims, returns
from loyalty.models import (
    Action,
    Case,
    CaseTicket,
    Cashier,
    Claim,
    ClaimTally,
    ParkedReturn,
    Programme,
    StorePlace,
    TierChange,
)
from loyalty.rulebook import NoProgramme
from loyalty.till import UnknownMember
from profiles.intake import Problem
from profiles.models import Profile
from tenants.network.admin import Audited, ReadOnly, ScopedModelAdmin
from tenants.network.models import Store
from tenants.templatetags.money import money

MAY_DECIDE, MAY_CLOSE = "loyalty.decide_case", "loyalty.close_parkedreturn"
PARKED_DAYS = 7


class OfACustomer:
    """For lists of rows that name a customer: a store reads the name only of who it knows."""

    def get_queryset(self, request):
        # Who was merged is known by the one they live on in.
        known = Profile.objects.filter(Q(pk=OuterRef("profile")) | Q(pk=OuterRef("profile__merged_into")))
        rows = super().get_queryset(request).select_related("profile__merged_into", "store")
        return rows.annotate(is_known=Exists(known))

    @display(description=_("customer"), empty_value="–")
    def customer(self, row):
        return str(row.profile.survivor) if row.profile_id and row.is_known else None


@admin.register(Action)
class ActionAdmin(ReadOnly, OfACustomer, ScopedModelAdmin):
    list_display = ("occurred_at", "code", "customer", "store", "points", "why", "campaign")
    list_display_links = ("occurred_at",)
    list_filter = ("store",)
    list_per_page = 50
    show_full_result_count = False
    search_fields = ("code__startswith", "key__startswith", "campaign__startswith")
    search_help_text = _("The beginning of an action, of its key or of a campaign.")
    fields = (
        "code",
        "key",
        "customer",
        "identified_by",
        "store",
        "till",
        "campaign",
        "occurred_at",
        "received_at",
        "points",
        "why",
    )
    readonly_fields = ("customer",)


@admin.register(TierChange)
class TierChangeAdmin(ReadOnly, ScopedModelAdmin):
    list_display = ("at", "profile", "before", "after", "why")
    list_display_links = ("at",)
    list_filter = ("why",)
    list_select_related = ("profile",)
    list_per_page = 50
    show_full_result_count = False
    fields = ("at", "profile", "before", "after", "why")


# --- Claims ----------------------------------------------------------------------------------------------------------


class ClaimForm(forms.Form):
    """What is printed on the ticket, and whose it is."""

    store = forms.ModelChoiceField(Store.objects.none(), label=_("Store"), widget=UnfoldAdminSelectWidget)
    receipt_id = forms.CharField(label=_("Receipt"), max_length=64, widget=UnfoldAdminTextInputWidget)
    total = forms.DecimalField(
        label=_("Total"), min_value=0, max_digits=10, decimal_places=2, widget=UnfoldAdminTextInputWidget
    )
    business_day = forms.DateField(
        label=_("Day"), required=False, widget=UnfoldAdminDateWidget,
        help_text=_("Only where the receipt's number comes again on other days."),
    )  # fmt: skip
    member = forms.CharField(
        label=_("Member"),
        max_length=254,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Card, phone or e-mail."),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # Asked when the page opens, inside the scope of whoever opens it.
        self.fields["store"].queryset = Store.objects.all()


@admin.register(Claim)
class ClaimAdmin(OfACustomer, ScopedModelAdmin):
    list_display = ("claimed_at", "receipt", "store", "customer", "points", "cashier", "taken_by", "by")
    list_display_links = ("claimed_at",)
    list_filter = ("store",)
    list_per_page = 50
    show_full_result_count = False
    actions = None
    fields = ("receipt", "store", "customer", "claimed_at", "till", "by", "cashier", "taken_by", "points")
    readonly_fields = fields

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def get_queryset(self, request):
        return super().get_queryset(request).select_related("purchase", "by", "till")

    @display(description=_("receipt"))
    def receipt(self, claim):
        return claim.purchase.receipt_id

    def add_view(self, request, form_url="", extra_context=None):
        """Ask for the ticket and the member, and claim it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ClaimForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            said = form.cleaned_data
            told = claims.Told(
                said["receipt_id"].strip(), int(said["total"] * 100), said["store"].code, said["business_day"]
            )
            try:
                made = claims.by_staff(request.user, said["store"], said["member"].strip(), told)
            except Problem as refused:
                form.add_error(refused.field if refused.field in form.fields else None, refused.detail)
            except UnknownMember as refused:
                form.add_error("member", str(refused))
            except NoProgramme:
                form.add_error(None, _t("The brand has no loyalty programme yet"))
            else:
                messages.success(request, _t("Claimed: %(points)s points.") % {"points": made.points})
                return HttpResponseRedirect(reverse("admin:loyalty_claim_changelist"))
        context = {
            **self.admin_site.each_context(request), "title": _t("Claim a ticket"), "opts": self.opts, "form": form,
        }  # fmt: skip
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/loyalty/claim/add.html", context)


@admin.register(ClaimTally)
class ClaimTallyAdmin(ReadOnly, ScopedModelAdmin):
    list_display = ("week", "store", "cashier", "claims", "amount", "points", "share")
    list_display_links = None
    list_filter = ("store",)
    list_select_related = ("store",)
    date_hierarchy = "week"
    fields = ("week", "store", "cashier", "claims", "amount", "points", "share")
    readonly_fields = ("amount",)

    @display(description=_("amount"), ordering="cents")
    def amount(self, tally):
        return money(tally.cents)


# --- Returns that wait -----------------------------------------------------------------------------------------------


class QueueFilter(admin.SimpleListFilter):
    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request, model_admin):
        return [("unresolved", _("to be looked at"))]

    def queryset(self, request, queryset):
        if self.value() != "unresolved":
            return queryset
        programme = Programme.objects.first()
        return returns.unresolved(queryset, programme.parked_days if programme else PARKED_DAYS)


@admin.register(ParkedReturn)
class ParkedReturnAdmin(ReadOnly, ScopedModelAdmin):
    list_display = (
        "refund_id",
        "store",
        "business_day",
        "receipt_id",
        "sale_store",
        "parked_at",
        "state",
        "problem",
    )
    list_filter = (QueueFilter, "state", "store")
    list_select_related = ("store",)
    list_per_page = 50
    show_full_result_count = False
    search_fields = ("refund_id__startswith", "receipt_id__startswith")
    search_help_text = _("The beginning of a number, of the return or of its sale.")
    fields = (
        "refund_id", "store", "till", "business_day", "receipt_id", "sale_store", "parked_at", "state", "problem",
        "ended_at",
    )  # fmt: skip
    change_form_outer_after_template = "admin/loyalty/parkedreturn/close.html"

    def change_view(self, request, object_id, form_url="", extra_context=None):
        parked = self.get_object(request, object_id)
        still = parked is not None and parked.state in (returns.State.WAITING, returns.State.REFUSED)
        told = {"may_close": still and request.user.has_perm(MAY_CLOSE)}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    def get_urls(self):
        close = self.admin_site.admin_view(self.close_view)
        return [path("<int:pk>/close/", close, name="loyalty_parkedreturn_close"), *super().get_urls()]

    def close_view(self, request, pk):
        """Give up on a return."""
        if request.method != "POST" or not request.user.has_perm(MAY_CLOSE):
            raise PermissionDenied
        try:
            returns.close(pk, by=request.user, comment=request.POST.get("comment", ""))
        except ParkedReturn.DoesNotExist:
            messages.error(request, _t("This return does not exist."))
            return redirect("admin:loyalty_parkedreturn_changelist")
        except returns.NotWaiting as refused:
            messages.error(request, _t("Not closed: %(reason)s.") % {"reason": refused})
        else:
            messages.success(request, _t("Closed: the return never takes effect."))
        return redirect("admin:loyalty_parkedreturn_change", pk)


# --- Cases -----------------------------------------------------------------------------------------------------------


class CaseTicketInline(ReadOnly, TabularInline):
    model = CaseTicket
    extra = 0
    hide_title = True
    fields = ("receipt", "store", "bought_at", "total", "points", "how")
    readonly_fields = fields

    def get_queryset(self, request):
        return super().get_queryset(request).select_related("purchase__store", "transaction")

    @display(description=_("receipt"))
    def receipt(self, row):
        return row.purchase.receipt_id

    @display(description=_("store"))
    def store(self, row):
        return row.purchase.store

    @display(description=_("bought"))
    def bought_at(self, row):
        bought_at = row.purchase.bought_at.astimezone(row.purchase.store.zone)
        return date_format(bought_at, "SHORT_DATETIME_FORMAT")

    @display(description=_("total"))
    def total(self, row):
        return money(row.purchase.total_cents)

    @display(description=_("points"), empty_value="–")
    def points(self, row):
        return row.transaction.qualifying_points if row.transaction else None

    @display(description=_("state"))
    def how(self, row):
        if row.voided_by_id:
            return _t("taken back")
        return _t("held") if row.transaction_id and row.ended_at is None else _t("not held")


@admin.register(Case)
class CaseAdmin(ReadOnly, OfACustomer, ScopedModelAdmin):
    list_display = ("day", "kind", "store", "customer", "cashier", "state_label", "decided_by")
    list_display_links = ("day", "kind")
    list_filter = ("state", "kind", "store")
    list_per_page = 50
    show_full_result_count = False
    inlines = (CaseTicketInline,)
    fields = (
        "kind", "store", "customer", "cashier", "day", "state", "opened_at", "decided_at", "decided_by", "comment",
    )  # fmt: skip
    readonly_fields = ("customer",)
    change_form_outer_after_template = "admin/loyalty/case/decide.html"

    def get_queryset(self, request):
        return super().get_queryset(request).select_related("decided_by")

    @display(description=_("state"), ordering="state", label={Case.State.OPEN.value: "warning"})
    def state_label(self, case):
        return case.state, case.get_state_display()

    def change_view(self, request, object_id, form_url="", extra_context=None):
        case = self.get_object(request, object_id)
        still = case is not None and case.state == Case.State.OPEN
        told = {"may_decide": still and request.user.has_perm(MAY_DECIDE)}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    def get_urls(self):
        decide = self.admin_site.admin_view(self.decide_view)
        return [path("<int:pk>/decide/", decide, name="loyalty_case_decide"), *super().get_urls()]

    def decide_view(self, request, pk):
        """Release what is held, or take it back."""
        if request.method != "POST" or not request.user.has_perm(MAY_DECIDE):
            raise PermissionDenied
        deeds = {"release": cases.release, "reverse": cases.reverse}
        deed = deeds.get(request.POST.get("decision", ""))
        if deed is None or not Case.objects.filter(pk=pk).exists():
            messages.error(request, _t("Not decided: choose what to do."))
            return redirect("admin:loyalty_case_changelist")
        try:
            case = deed(pk, by=request.user, comment=request.POST.get("comment", ""))
        except cases.NotDecided as refused:
            messages.error(request, _t("Not decided: %(reason)s.") % {"reason": refused})
        else:
            messages.success(request, _t("Decided: %(state)s.") % {"state": case.get_state_display()})
        return redirect("admin:loyalty_case_change", pk)


# --- Who serves, and where -------------------------------------------------------------------------------------------


@admin.register(Cashier)
class CashierAdmin(Audited, ScopedModelAdmin):
    list_display = ("code", "name", "store", "has_card", "is_active")
    list_display_links = ("code", "name")
    list_filter = ("store", "is_active")
    list_select_related = ("store",)
    search_fields = ("code", "name")
    actions = None

    def has_delete_permission(self, request, obj=None):
        # Tickets name cashiers by their code: whoever leaves is made inactive.
        return False

    @display(description=_("own card"), boolean=True)
    def has_card(self, cashier):
        return bool(cashier.card)


@admin.register(StorePlace)
class StorePlaceAdmin(Audited, ScopedModelAdmin):
    list_display = ("store", "latitude", "longitude")
    list_select_related = ("store",)
    actions = None
