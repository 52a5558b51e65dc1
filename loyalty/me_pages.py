"""A member's own page, by a signed link and without a password: `/me/TOKEN/`; and the staff's button that makes it.

The page is public to whoever has the link: it is kept by no cache and found by no search engine. It shows of its
member what the member may know, and of nobody else anything.
"""

from collections.abc import Callable
from functools import wraps

import segno
from csp.decorators import csp_replace
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from loyalty import me, member_links, wallet
from loyalty.me_api import address_of
from loyalty.wallet import apple, issuers, passes
from profiles.admin.customers import PANELS, Panel
from profiles.models import Profile
from tenants.network.models import audit

# Nothing is evaluated and nothing stands inline, unlike on the admin's pages.
STRICT = {"script-src": ["'self'"], "style-src": ["'self'"]}
MAY_LINK = "loyalty.add_memberlinks"
LANGUAGES = dict(settings.LANGUAGES)


# --- The member's page ------------------------------------------------------------------------------------------------


def under_strict_policy(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A page that runs no script and no style but our own files'."""
    return csp_replace(STRICT)(view)


def opened_by_link(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A view of whose link it is: `view(request, profile)`. Any other link, and too many requests, hear why not."""

    @under_strict_policy
    @never_cache
    @wraps(view)
    def opened(request: HttpRequest, token: str) -> HttpResponseBase:
        asked = request.GET.get("lang", "")
        with translation.override(asked if asked in LANGUAGES else translation.get_language()):
            response = _for_holder(view, request, token)
        response["X-Robots-Tag"] = "noindex, nofollow"
        return response

    return opened


def _for_holder(view: Callable[..., HttpResponseBase], request: HttpRequest, token: str) -> HttpResponseBase:
    try:
        member_links.count(address_of(request))
        profile = member_links.holder_of(token)
    except member_links.TooOften as often:
        told = {"title": _("One moment, please"), "text": _("Too many requests: try again in a minute")}
        response = render(request, "me/message.html", told, status=429)
        response["Retry-After"] = str(often.seconds)
        return response
    except member_links.LinkGone:
        told = {
            "title": _("This link does not open any more"),
            "text": _("Ask for a new one in your store: it takes a moment at the till."),
        }
        return render(request, "me/message.html", told, status=410)
    return view(request, profile)


@require_http_methods(["GET", "HEAD", "POST"])
@opened_by_link
def page(request: HttpRequest, profile: Profile) -> HttpResponse:
    """Shows the member what is theirs, and takes a consent that they change."""
    if request.method == "POST":
        return _decided(request, profile)
    view = me.view_of(profile)
    context = {
        "title": _("My card"),
        "view": view,
        "card_image": segno.make(view.card, micro=False).svg_data_uri(scale=6, border=2) if view.card else "",
        "done": request.GET.get("done", ""),
        "lost": request.GET.get("lost", ""),
        "wallets": {"apple": issuers.apple(), "google": issuers.google(), "held": wallet.current(profile)},
        "languages": [(code, name) for code, name in (("fr", "Français"), ("en", "English"))],
    }
    return render(request, "me/page.html", context)


def _decided(request: HttpRequest, profile: Profile) -> HttpResponse:
    try:
        me.decide(profile, request.POST.get("channel", ""), request.POST.get("verdict", ""))
    except ValueError:
        return HttpResponseBadRequest(_("This cannot be chosen."), content_type="text/plain; charset=utf-8")
    except me.NotAlone:
        raise PermissionDenied from None
    return redirect(request.path + _noted(request, "done") + "#consents")


def _noted(request: HttpRequest, what: str) -> str:
    """What the page is to say next, in the language that was asked for."""
    asked = request.GET.get("lang", "")
    return f"?lang={asked}&{what}=1" if asked in LANGUAGES else f"?{what}=1"


# --- The wallet ------------------------------------------------------------------------------------------------------


@require_http_methods(["GET"])
@opened_by_link
def apple_pass(request: HttpRequest, profile: Profile) -> HttpResponse:
    """The member's pass for Apple Wallet."""
    issuer = issuers.apple()
    if issuer is None:
        raise Http404
    held = passes.note(wallet.current_or_new(profile, by=me.on_own_page()))
    service = apple.service_at(request.build_absolute_uri("/"))
    response = HttpResponse(apple.pkpass(held, issuer, service), content_type=apple.MEDIA_TYPE)
    response["Content-Disposition"] = 'attachment; filename="card.pkpass"'
    return response


@require_http_methods(["GET"])
@opened_by_link
def google_pass(request: HttpRequest, profile: Profile) -> HttpResponse:
    """Leads the member to Google, where the pass is saved."""
    from loyalty.wallet import google  # with httpx; a web process starts without

    issuer = issuers.google()
    if issuer is None:
        raise Http404
    held = passes.note(wallet.current_or_new(profile, by=me.on_own_page()))
    link = google.save_link(held, issuer, request.build_absolute_uri("/").rstrip("/"))
    passes.link_handed_out(held)
    return redirect(link)


@require_http_methods(["POST"])
@opened_by_link
def lost_pass(request: HttpRequest, profile: Profile) -> HttpResponse:
    """The member lost the phone: the pass is retired."""
    wallet.retire(profile, by=me.on_own_page())
    return redirect(reverse("me:page", args=[_token(request)]) + _noted(request, "lost") + "#wallet")


def _token(request: HttpRequest) -> str:
    assert request.resolver_match
    return str(request.resolver_match.kwargs["token"])


# --- The staff's button -----------------------------------------------------------------------------------------------


def _asked_about(request: HttpRequest, pk: int) -> Profile:
    if request.method != "POST" or not request.user.has_perm(MAY_LINK):
        raise PermissionDenied
    profile = Profile.reached_by(pk=pk)
    if profile is None:
        raise Http404
    return profile


@never_cache
def make_link(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a link to the customer's own page, and show it with its code to be scanned."""
    profile = _asked_about(request, pk)
    link = member_links.link_to(profile, request)
    audit(request.user, "made link", profile)
    context = {
        **admin.site.each_context(request),
        "title": _("Member's link: %(customer)s") % {"customer": profile},
        "profile": profile,
        "link": link,
        "image": segno.make(link.url, micro=False, error="l").svg_data_uri(scale=4, border=2),
    }
    return render(request, "loyalty/member_link.html", context)


def end_links(request: HttpRequest, pk: int) -> HttpResponse:
    """No link that was made before opens any more."""
    profile = _asked_about(request, pk)
    member_links.end_all(profile, request.user)
    return redirect(reverse("admin:profiles_profile_change", args=[profile.pk]) + "#member-link")


PANELS.append(Panel(MAY_LINK, "loyalty/member_link_panel.html", lambda request, profile: {}))

app_name = "me"
urlpatterns = [
    path("link/<int:pk>/make/", admin.site.admin_view(make_link), name="make_link"),
    path("link/<int:pk>/end/", admin.site.admin_view(end_links), name="end_links"),
    path("<str:token>/", page, name="page"),
    path("<str:token>/wallet.pkpass", apple_pass, name="apple_pass"),
    path("<str:token>/google-wallet", google_pass, name="google_pass"),
    path("<str:token>/lost", lost_pass, name="lost_pass"),
]
