"""Who comes in, and into which store: each page runs inside the scope of the one store that its address names."""

from collections.abc import Callable
from functools import wraps

from csp.decorators import csp_replace
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render

from tenants.network.models import Store
from tenants.scoping import Scope, scoped_to

View = Callable[..., HttpResponseBase]

# Nothing is evaluated and nothing stands inline on these pages, unlike on the admin's.
STRICT = {"script-src": ["'self'"], "style-src": ["'self'"]}


def page(view: View) -> View:
    """A page for whoever may see customers, before a store is chosen."""

    @wraps(view)
    def opened(request: HttpRequest, *args, **kwargs) -> HttpResponseBase:
        if not request.user.has_perm("profiles.view_profile"):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return csp_replace(STRICT)(login_required(opened))


def page_of_store(view: View) -> View:
    """A page of one store: `view(request, store, …)`. Whoever does not see the store is told that there is none.

    Head office sees every store, and here only what the store itself would.
    """

    @wraps(view)
    def opened(request: HttpRequest, store_code: str, **kwargs) -> HttpResponseBase:
        store = get_object_or_404(Store, code=store_code)
        request.has_several_stores = Store.objects.exclude(pk=store.pk).exists()
        with scoped_to(Scope.of([store.pk])):
            return view(request, store, **kwargs)

    return page(opened)


def show(request: HttpRequest, store: Store, section: str, title, **context) -> HttpResponse:
    """Render `store/SECTION.html`; written out at once, while the store's scope is open."""
    may_see_tills = request.user.has_perm("network.view_till")
    may_see_money = request.user.has_perm("loyalty.view_settlementline")
    shell = {
        "store": store, "section": section, "title": title, "may_see_tills": may_see_tills,
        "may_see_money": may_see_money,
    }  # fmt: skip
    return render(request, f"store/{context.pop('template', section)}.html", {**shell, **context})
