"""The store's own statements: what it is owed and owes for points, month by month. Nothing of another store's."""

import io

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _

from cdp.store_area.entrance import page_of_store, show
from loyalty import owed
from loyalty.admin_finance import as_file
from loyalty.models import SettlementStatement
from tenants.network.models import Store, audit

LINES_A_PAGE = 25


@page_of_store
def months(request: HttpRequest, store: Store) -> HttpResponse:
    _may_see(request)
    return show(request, store, "statements", _("Statements"), months=owed.own_months(store))


@page_of_store
def statement(request: HttpRequest, store: Store, pk: int) -> HttpResponse:
    _may_see(request)
    told = owed.Settlement(get_object_or_404(SettlementStatement, pk=pk))
    given, paid = told.given_and_paid()
    lines = Paginator(told.rows, LINES_A_PAGE).get_page(request.GET.get("page"))
    return show(
        request, store, "statements", _("Statement of %(month)s") % {"month": told.month},
        template="statement", statement=told.statement, given=given, paid=paid, net=given + paid, page=lines,
        entries=owed.entries(lines.object_list),
    )  # fmt: skip


@page_of_store
def as_csv(request: HttpRequest, store: Store, pk: int) -> HttpResponse:
    told = _downloaded(request, store, pk, "csv")
    out = io.StringIO()
    owed.write_csv(told, out)
    return as_file(out.getvalue(), _name(store, told, "csv"), "text/csv; charset=utf-8")


@page_of_store
def as_pdf(request: HttpRequest, store: Store, pk: int) -> HttpResponse:
    from loyalty import owed_pdf  # large; a web process starts without

    told = _downloaded(request, store, pk, "pdf")
    return as_file(owed_pdf.write(told, store), _name(store, told, "pdf"), "application/pdf")


def _may_see(request: HttpRequest) -> None:
    if not request.user.has_perm("loyalty.view_settlementline"):
        raise PermissionDenied


def _downloaded(request: HttpRequest, store: Store, pk: int, kind: str) -> owed.Settlement:
    _may_see(request)
    told = get_object_or_404(SettlementStatement, pk=pk)
    audit(request.user, "downloaded", told, store_id=store.pk, format=kind)
    return owed.Settlement(told)


def _name(store: Store, told: owed.Settlement, kind: str) -> str:
    return f"settlement-{told.name}-{store.code}.{kind}"
