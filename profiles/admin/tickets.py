"""Tickets as the tills sent them: to read, never to change."""

from django.contrib import admin
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import display

from profiles.admin.filters import CustomerFilter, PeriodFilter
from profiles.models import Purchase, PurchaseLine, Refund
from tenants.network.admin import ReadOnly, ScopedModelAdmin
from tenants.templatetags.money import money


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

    def get_inlines(self, request, obj):
        returned = obj is not None and obj.refunds.exists()
        return self.inlines if returned else (LineInline,)

    @display(description=_("total"), ordering="total_cents")
    def total(self, purchase):
        return money(purchase.total_cents)
