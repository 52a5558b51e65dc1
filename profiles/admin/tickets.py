"""Tickets as the tills sent them: to read, never to change. One that was credited to the wrong customer is given to the
right one (`profiles/ticket_moves.py`), and moved back.
"""

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.formats import number_format
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import display

from profiles import search, ticket_moves
from profiles.admin.filters import CustomerFilter, PeriodFilter
from profiles.models import Profile, Purchase, PurchaseLine, Refund, TicketMove
from tenants.network.admin import ReadOnly, ScopedModelAdmin
from tenants.templatetags.money import money

MAY_MOVE = "profiles.move_purchase"
CUSTOMERS_SHOWN = 10


class LineInline(ReadOnly, TabularInline):
    model = PurchaseLine
    extra = 0
    hide_title = True
    fields = ("number", "sku", "label", "category", "count", "paid", "discount")
    readonly_fields = ("count", "paid", "discount")

    @display(description=_("quantity"))
    def count(self, line):
        return number_format(line.quantity.normalize())

    @display(description=_("paid"))
    def paid(self, line):
        return money(line.amount_cents)

    @display(description=_("discount"))
    def discount(self, line):
        return money(line.discount_cents) if line.discount_cents else "–"


class RefundInline(ReadOnly, TabularInline):
    model = Refund
    extra = 0
    hide_title = True
    fields = ("refund_id", "business_day", "store", "amount")
    readonly_fields = ("amount",)

    @display(description=_("paid back"))
    def amount(self, refund):
        return money(refund.total_cents)


@admin.register(Purchase)
class PurchaseAdmin(ReadOnly, ScopedModelAdmin):
    list_display = ("receipt_id", "business_day", "store", "profile", "total")
    list_filter = (PeriodFilter, CustomerFilter, "store")
    list_per_page = 50
    list_select_related = ("store", "profile")
    show_full_result_count = False
    search_fields = ("receipt_id__startswith",)
    search_help_text = _("The beginning of a receipt's number.")
    inlines = (LineInline, RefundInline)
    actions = None
    fields = (
        "receipt_id", "store", "till", "business_day", "bought_at", "received_at", "profile", "identified_by",
        "total", "payment",
    )  # fmt: skip
    readonly_fields = ("total",)
    change_form_outer_before_template = "profiles/ticket_owner.html"

    def get_inlines(self, request, obj):
        returned = obj is not None and obj.refunds.exists()
        return self.inlines if returned else (LineInline,)

    @display(description=_("total"), ordering="total_cents")
    def total(self, purchase):
        return money(purchase.total_cents)

    def get_urls(self):
        def named(route, view, name):
            return path(route, self.admin_site.admin_view(view), name=f"profiles_purchase_{name}")

        return [
            named("<int:pk>/move/", self.move_view, "move"),
            named("<int:pk>/give/", self.give_view, "give"),
            named("<int:pk>/move-back/<int:move_pk>/", self.move_back_view, "move_back"),
            *super().get_urls(),
        ]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """The ticket, and whose it was before."""
        may_move = request.user.has_perm(MAY_MOVE)
        moves = TicketMove.objects.filter(purchase=object_id) if may_move and object_id.isdecimal() else []
        told = {
            "may_move": may_move,
            "moves": moves and list(moves.select_related("giver", "taker", "by", "undone_by")),
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    def move_view(self, request, pk):
        """Look for the customer whose ticket it is."""
        if not request.user.has_perm(MAY_MOVE):
            raise PermissionDenied
        ticket = get_object_or_404(Purchase.objects.select_related("store", "profile"), pk=pk)
        typed = request.GET.get("q", "").strip()[:200]
        context = {
            **self.admin_site.each_context(request),
            "title": _t("Give ticket %(receipt)s to another customer") % {"receipt": ticket.receipt_id},
            "opts": self.opts,
            "original": ticket,
            "ticket": ticket,
            "typed": typed,
            "found": _customers(typed, ticket) if typed else None,
            "reason": request.GET.get("reason", "")[:300],
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "profiles/ticket_move.html", context)

    def give_view(self, request, pk):
        """Give the ticket to the customer who was chosen."""
        if request.method != "POST" or not request.user.has_perm(MAY_MOVE):
            raise PermissionDenied
        ticket = get_object_or_404(Purchase, pk=pk)
        chosen = request.POST.get("to", "")
        taker = Profile.reached_by(pk=chosen) if chosen.isdecimal() else None
        if taker is None:
            messages.error(request, _t("Not moved: choose a customer."))
            return redirect("admin:profiles_purchase_move", pk)
        try:
            done = ticket_moves.move(ticket, taker, reason=request.POST.get("reason", ""), by=request.user)
        except ticket_moves.CannotMove as refused:
            messages.error(request, _t("Not moved: %(reason)s.") % {"reason": refused})
            return redirect("admin:profiles_purchase_move", pk)
        said = _t("This ticket is %(taker)s's now: points, tier and figures have followed.")
        messages.success(request, said % {"taker": done.taker})
        return redirect("admin:profiles_purchase_change", pk)

    def move_back_view(self, request, pk, move_pk):
        """Move the ticket back to whom it was taken from."""
        if request.method != "POST" or not request.user.has_perm(MAY_MOVE):
            raise PermissionDenied
        row = get_object_or_404(TicketMove, pk=move_pk, purchase=pk)
        try:
            ticket_moves.undo(row, request.user)
        except ticket_moves.CannotMove as refused:
            messages.error(request, _t("Not moved: %(reason)s.") % {"reason": refused})
        else:
            messages.success(request, _t("Moved back, with everything that had followed."))
        return redirect("admin:profiles_purchase_change", pk)


def _customers(typed: str, ticket: Purchase) -> list[Profile]:
    return list(
        search.find(typed).exclude(pk=ticket.profile_id).order_by("last_name", "pk")[:CUSTOMERS_SHOWN]
    )
