"""An invitation: a signed link that lets a person who cannot sign in yet choose a password, once.

Nothing is stored. The link holds the schema, the person and a fingerprint of the person's present password (an
unusable one, random), so that it opens in its own brand alone, and no more once a password was chosen or the
person was invited anew. It holds for a week.
"""

from datetime import timedelta

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import login
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.models import AnonymousUser
from django.core import signing
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django_tenants.utils import get_public_schema_name
from unfold.widgets import UnfoldAdminPasswordWidget

from tenants.network.models import Staff, audit

VALID_FOR = timedelta(days=7)
SALT = "tenants.invitations"
BACKEND = "tenants.network.auth.RoleBackend"


class InvitationGone(LookupError):
    """The link is too old, was used, was replaced by another, or belongs to another brand."""


def token_of(staff: Staff) -> str:
    """The token that invites this person of the schema which the connection is in."""
    return signing.dumps([connection.schema_name, staff.pk, _fingerprint(staff)], salt=SALT, compress=False)


def path_of(staff: Staff) -> str:
    """The invitation's path on the site of the schema which the connection is in."""
    is_platform = connection.schema_name == get_public_schema_name()
    urlconf = settings.PUBLIC_SCHEMA_URLCONF if is_platform else settings.ROOT_URLCONF
    return reverse("invitation", args=[token_of(staff)], urlconf=urlconf)


def origin_of(domain: str) -> str:
    """Scheme, host and port of a site, where no request tells: HTTPS, or the port that `manage.py serve` takes."""
    return f"https://{domain}" if settings.SECURE else f"http://{domain}:8000"


def invited(token: str) -> Staff:
    """The person whom the token invites. Raises `InvitationGone`."""
    try:
        schema, staff_id, fingerprint = signing.loads(token, salt=SALT, max_age=VALID_FOR)
    except (signing.BadSignature, ValueError) as error:
        raise InvitationGone(str(error)) from error
    if schema != connection.schema_name:
        raise InvitationGone("it belongs to another brand")
    # Locked, so that a link opened twice at once is used once.
    staff = Staff.objects.select_for_update().filter(pk=staff_id, is_active=True).first()
    if staff is None or not constant_time_compare(fingerprint, _fingerprint(staff)):
        raise InvitationGone("it was used or replaced")
    return staff


def not_accepted() -> list[Staff]:
    """The people of the present schema who were invited and have chosen no password yet."""
    return [staff for staff in Staff.objects.filter(is_active=True) if not staff.has_usable_password()]


def _fingerprint(staff: Staff) -> str:
    return salted_hmac(SALT, f"{staff.email}|{staff.password}", algorithm="sha256").hexdigest()[:32]


class PasswordForm(SetPasswordForm):
    """A first password, twice."""

    new_password1 = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=_("At least ten characters."),
    )
    new_password2 = forms.CharField(
        label=_("The same again"),
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
    )


@never_cache
@sensitive_post_parameters()
@transaction.atomic
def accept(request: HttpRequest, token: str) -> HttpResponse:
    """Shows the person's name and asks for a password; then signs in."""
    site_context = _site_context(request)
    try:
        staff = invited(token)
    except InvitationGone:
        context = {**site_context, "title": _("This invitation no longer holds")}
        return TemplateResponse(request, "tenants/invitation_gone.html", context, status=410)
    form = PasswordForm(staff, request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        audit(staff, "accepted invitation", staff)
        login(request, staff, backend=BACKEND)
        return redirect(resolve_url(settings.LOGIN_REDIRECT_URL))
    context = {**site_context, "title": _("Welcome"), "form": form, "invited": staff}
    return TemplateResponse(request, "tenants/invitation.html", context)


def _site_context(request: HttpRequest) -> dict:
    """Colours and names of the site, as somebody who has not signed in sees them."""
    # The page belongs to the person invited, not to whoever is signed in on this machine.
    visitor, request.user = request.user, AnonymousUser()
    try:
        return {**admin.site.each_context(request), "site_title": request.tenant.name}
    finally:
        request.user = visitor


urlpatterns = [path("<str:token>/", accept, name="invitation")]
