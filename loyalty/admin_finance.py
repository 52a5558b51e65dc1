"""Head office's pages about money: statements between stores, and what the points out there will cost."""

import io
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from loyalty import liability, owed, settlement
from loyalty.models import AccountingPolicy, BreakageEstimate, FundingKey, SettlementStatement
from tenants.calendar import brand_today
from tenants.network.admin import Audited, ReadOnly, ScopedModelAdmin
from tenants.network.models import audit

LINES_A_PAGE = 50


class Pages(ReadOnly, ScopedModelAdmin):
    """An admin whose pages are all its own."""

    folder = "loyalty/finance"

    def _page(self, request, template: str, title: str, **context) -> TemplateResponse:
        request.current_app = self.admin_site.name
        shared = {**self.admin_site.each_context(request), "opts": self.opts, "title": title}
        return TemplateResponse(request, f"{self.folder}/{template}", shared | context)

    def _url(self, route: str, view, name: str):
        model = f"{self.opts.app_label}_{self.opts.model_name}"
        return path(route, self.admin_site.admin_view(view), name=f"{model}_{name}")

    def _may_view(self, request) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _may(self, request, deed: str) -> None:
        """Refuse who may not do the deed, and any method but POST."""
        model = self.opts.model_name
        if request.method != "POST" or not request.user.has_perm(f"{self.opts.app_label}.{deed}_{model}"):
            raise PermissionDenied


def as_file(content: str | bytes, name: str, kind: str) -> HttpResponse:
    """An answer that the browser keeps as a file. CSV begins with the mark by which spreadsheets know UTF-8."""
    body = b"\xef\xbb\xbf" + content.encode() if isinstance(content, str) else content
    return HttpResponse(
        body, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


# --- Statements between stores ------------------------------------------------------------------------------------


@admin.register(SettlementStatement)
class SettlementStatementAdmin(Pages):
    def get_urls(self):
        return [
            self._url("open/", self.open_view, "open"),
            self._url("open/statement.csv", self.open_csv_view, "open_csv"),
            self._url("close/", self.close_view, "close"),
            self._url("<int:pk>/statement.csv", self.csv_view, "csv"),
            self._url("<int:pk>/statement.pdf", self.pdf_view, "pdf"),
            *super().get_urls(),
        ]

    def changelist_view(self, request, extra_context=None):
        """The months: the open period, then every closed statement."""
        self._may_view(request)
        told = owed.Settlement()
        sums = owed.nets_of_statements()
        months = [
            (statement, *sums.get(statement.pk, (0, 0, 0))) for statement in SettlementStatement.objects.all()
        ]
        nets = told.nets()
        return self._page(
            request, "months.html", _t("Statements between stores"),
            open_nets=nets, open_moved=sum(net.cents for net in nets if net.cents > 0),
            open_sum=sum(net.cents for net in nets), open_lines=told.count(), months=months,
            key=FundingKey.objects.first() or settlement.EARNER_PAYS,
            closable=owed.closable(brand_today()),
            may_close=request.user.has_perm("loyalty.close_settlementstatement"),
        )  # fmt: skip

    def change_view(self, request, object_id, form_url="", extra_context=None):
        self._may_view(request)
        statement = self.get_object(request, object_id)
        if statement is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return self._settlement_page(request, owed.Settlement(statement))

    def open_view(self, request):
        """The period that is not closed yet, as if it were closed now."""
        self._may_view(request)
        return self._settlement_page(request, owed.Settlement())

    def _settlement_page(self, request, told: owed.Settlement):
        names, nets, debts = owed.names(), told.nets(), told.debts()
        pair = _pair(request)
        lines, rows = None, []
        if pair:
            if not all(party in names for party in pair):
                raise Http404
            lines = Paginator(told.between(*pair), LINES_A_PAGE).get_page(request.GET.get("page"))
            rows = [
                (entry, names.get(entry.issuer), names.get(entry.redeemer), names.get(entry.party))
                for entry in owed.entries(lines.object_list)
            ]
        return self._page(
            request, "settlement.html", _t("Statement between stores, %(month)s") % {"month": told.month},
            told=told, statement=told.statement, original=told.statement, lines=lines, rows=rows,
            nets=[(net, names[net.party]) for net in nets], sum_cents=sum(net.cents for net in nets),
            debts=[
                (debt, names[debt.debtor], names[debt.creditor], f"{debt.debtor or 0}-{debt.creditor or 0}")
                for debt in debts
            ],
            between=pair and (names[pair[0]], names[pair[1]]), between_code=request.GET.get("between", ""),
        )  # fmt: skip

    def close_view(self, request):
        """Close the month that is over; its statement never changes afterwards."""
        self._may(request, "close")
        month = owed.closable(brand_today())
        try:
            if month is None or request.POST.get("month") != month.isoformat():
                raise settlement.NotClosable(_t("it was closed before"))
            statement = settlement.close(month, request.user)
        except settlement.NotClosable as refused:
            messages.error(request, _t("Not closed: %(reason)s.") % {"reason": refused})
            return redirect("admin:loyalty_settlementstatement_changelist")
        messages.success(request, _t("Closed: %(month)s.") % {"month": date_format(month, "F Y")})
        return redirect("admin:loyalty_settlementstatement_change", statement.pk)

    def csv_view(self, request, pk):
        self._may_view(request)
        statement = get_object_or_404(SettlementStatement, pk=pk)
        audit(request.user, "downloaded", statement, format="csv")
        return _csv_of(owed.Settlement(statement))

    def open_csv_view(self, request):
        self._may_view(request)
        return _csv_of(owed.Settlement())

    def pdf_view(self, request, pk):
        from loyalty import owed_pdf  # large; a web process starts without

        self._may_view(request)
        statement = get_object_or_404(SettlementStatement, pk=pk)
        audit(request.user, "downloaded", statement, format="pdf")
        content = owed_pdf.write(owed.Settlement(statement))
        return as_file(content, f"settlement-{statement}.pdf", "application/pdf")


def _csv_of(told: owed.Settlement) -> HttpResponse:
    out = io.StringIO()
    owed.write_csv(told, out)
    return as_file(out.getvalue(), f"settlement-{told.name}.csv", "text/csv; charset=utf-8")


def _pair(request) -> tuple[owed.Party, owed.Party] | None:
    """The two parties that an address asks about: `?between=3-0`, where 0 is head office."""
    told = request.GET.get("between", "").split("-")
    if len(told) != 2 or not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in told):
        return None
    return int(told[0]) or None, int(told[1]) or None


# --- Who pays --------------------------------------------------------------------------------------------------------


class FundingKeyForm(forms.ModelForm):
    class Meta:
        model = FundingKey
        fields = ("effective_from", "earner", "redeemer", "head_office")

    def clean_effective_from(self):
        """Stores have counted on what holds: a key begins now or later."""
        start = self.cleaned_data["effective_from"]
        if start < timezone.now() - timedelta(minutes=5):
            raise forms.ValidationError(_t("A key holds from now on, or from later on."))
        return start

    def clean(self):
        told = super().clean()
        shares = [told.get(name) for name in ("earner", "redeemer", "head_office")]
        if None not in shares and sum(shares) != 100:
            raise forms.ValidationError(
                _t("The three shares sum to %(sum)s, not to 100.") % {"sum": sum(shares)}
            )
        return told


@admin.register(FundingKey)
class FundingKeyAdmin(Audited, ScopedModelAdmin):
    """Keys are added, never changed: a redemption is shared out by the key of its own instant."""

    form = FundingKeyForm
    list_display = ("effective_from", "earner", "redeemer", "head_office")
    actions = None

    def get_changeform_initial_data(self, request):
        return {"effective_from": timezone.now(), "earner": 100, "redeemer": 0, "head_office": 0}

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


# --- Liability and breakage -----------------------------------------------------------------------------------------


class Reasoned(forms.Form):
    """What auditors ask about: a change and its reason. `NUMBER` is the widget of every figure."""

    NUMBER = UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"})

    reason = forms.CharField(
        label=_("Why"), max_length=300, widget=UnfoldAdminTextInputWidget,
        help_text=_("Kept for the auditors, with your name and the day."),
    )  # fmt: skip

    def refuse(self, refused: liability.BadEstimate) -> None:
        self.add_error(refused.field if refused.field in self.fields else None, str(refused))


class EstimateForm(Reasoned):
    percent = forms.DecimalField(
        label=_("percent of the points never spent"), min_value=0, max_value=100, decimal_places=2,
        localize=True, widget=Reasoned.NUMBER,
    )  # fmt: skip
    cohort = forms.TypedChoiceField(
        label=_("Earned in"), required=False, widget=UnfoldAdminSelectWidget, empty_value=None,
        help_text=_("One month, or every month that has no estimate of its own."),
    )  # fmt: skip
    field_order = ("cohort", "percent", "reason")

    def __init__(self, told: liability.Report, *args, **kwargs):
        super().__init__(*args, **kwargs)
        months = {cohort.month.isoformat(): cohort.month for cohort in reversed(told.cohorts)}
        self.fields["cohort"].choices = [
            ("", _t("every other month")), *((code, date_format(month, "F Y")) for code, month in months.items()),
        ]  # fmt: skip
        self.fields["cohort"].coerce = months.get


class PolicyForm(Reasoned):
    principal = forms.ChoiceField(
        label=_("Principal"), choices=AccountingPolicy.Principal.choices, widget=UnfoldAdminSelectWidget,
        help_text=_("Who owes the member the reward, and so carries the liability."),
    )  # fmt: skip
    cost_percent = forms.DecimalField(
        label=_("Cost of a reward, in percent of its worth"), min_value=0, max_value=100, decimal_places=2,
        localize=True, widget=Reasoned.NUMBER, help_text=_("100: a euro off costs a euro."),
    )  # fmt: skip
    field_order = ("principal", "cost_percent", "reason")


@admin.register(BreakageEstimate)
class BreakageEstimateAdmin(Pages):
    def has_add_permission(self, request):
        return request.user.has_perm("loyalty.add_breakageestimate")

    def get_urls(self):
        return [
            self._url("policy/", self.policy_view, "policy"),
            self._url("liability.csv", self.csv_view, "csv"),
            *super().get_urls(),
        ]

    def changelist_view(self, request, extra_context=None):
        """The report: what is out there, in both views, by store and by month, and the estimates behind it."""
        self._may_view(request)
        told, names = liability.report(), owed.names()
        vouchers = settlement.outstanding_vouchers()
        ages = range(max((len(cohort.curve) for cohort in told.cohorts), default=0))
        return self._page(
            request, "liability.html", _t("Liability and breakage"),
            report=told, total=told.total, cohorts=list(reversed(told.cohorts)), ages=ages,
            stores=[(names[store_id], row) for store_id, row in told.by_store().items()],
            carried=[(names[party], row) for party, row in told.carried().items()],
            vouchers=[(names[row.store_id], row) for row in vouchers],
            vouchers_points=sum(row.points for row in vouchers),
            vouchers_cents=sum(row.cents for row in vouchers),
            estimates=BreakageEstimate.objects.select_related("made_by"),
            policies=AccountingPolicy.objects.select_related("made_by"),
            may_estimate=self.has_add_permission(request),
            may_choose=request.user.has_perm("loyalty.add_accountingpolicy"),
        )  # fmt: skip

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """An estimate has no page of its own: it stands in the report that it shapes."""
        return self.changelist_view(request)

    def add_view(self, request, form_url="", extra_context=None):
        if not self.has_add_permission(request):
            raise PermissionDenied
        told = liability.report()
        form = EstimateForm(told, request.POST or None, initial=_asked_for(request))

        def deed(percent: Decimal, cohort, reason: str):
            liability.estimate(percent, cohort=cohort, reason=reason, by=request.user)

        about = _t(
            "The estimate before stays in the list. Deferred revenue keeps the estimate of its own month."
        )
        return self._form_page(request, form, deed, _t("New breakage estimate"), about)

    def policy_view(self, request):
        """Who is principal, and what a reward costs."""
        if not request.user.has_perm("loyalty.add_accountingpolicy"):
            raise PermissionDenied
        now = liability.policy_now()
        initial = {"principal": now.principal, "cost_percent": now.cost_percent}
        form = PolicyForm(request.POST or None, initial=initial)

        def deed(principal: str, cost_percent: Decimal, reason: str):
            liability.choose(principal, cost_percent, reason=reason, by=request.user)

        return self._form_page(
            request, form, deed, _t("Accounting policy"), _t("Agree on it with your auditors first.")
        )

    def _form_page(self, request, form: Reasoned, deed: Callable, title: str, about: str):
        if request.method == "POST" and form.is_valid():
            try:
                deed(**form.cleaned_data)
            except liability.BadEstimate as refused:
                form.refuse(refused)
            else:
                messages.success(request, _t("Noted. The figures follow it from now on."))
                return redirect("admin:loyalty_breakageestimate_changelist")
        return self._page(
            request, "form.html", title, form=form, about=about, button=_t("Note it"),
            back=reverse("admin:loyalty_breakageestimate_changelist"),
        )  # fmt: skip

    def csv_view(self, request):
        self._may_view(request)
        out = io.StringIO()
        liability.write_csv(liability.report(), out)
        return as_file(out.getvalue(), f"liability-{brand_today()}.csv", "text/csv; charset=utf-8")


def _asked_for(request) -> dict:
    """What an address puts into the form: `?cohort=2026-03-01&percent=17.5`."""
    return {name: request.GET[name] for name in ("cohort", "percent") if name in request.GET}
