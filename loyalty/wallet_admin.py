"""Wallets in head office: how the brand signs its passes; on a customer's page, their pass, and the button for a lost
one."""

from datetime import timedelta

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.decorators import display
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from loyalty import wallet
from loyalty.models import AppleIssuer, GoogleIssuer, PassDevice, WalletPass
from loyalty.models.wallet import SecretUnreadable, sealed
from loyalty.wallet import issuers
from profiles.admin.connectors import SecretLines
from profiles.admin.customers import PANELS, Panel
from profiles.models import Profile
from tenants.network.admin import Audited, ScopedModelAdmin, StaysOnPage
from tenants.scoping import current_scope, whole_network

MAY_SEE, MAY_RETIRE = "loyalty.view_walletpass", "loyalty.retire_walletpass"
# A certificate that ends sooner is said to.
ENDS_SOON = timedelta(days=30)
SHOWN = 5
LINES = {"rows": 6, "spellcheck": "false", "autocomplete": "off"}
KEPT_SEALED = _("Kept sealed, and never shown again. Empty: the key that is kept.")
# Who switches a wallet off, or picks a colour, is not kept from it by a certificate that is over.
SAYS_NOTHING_OF_KEYS = frozenset({"is_on", "colour"})


# --- How the brand signs ----------------------------------------------------------------------------------------------


class IssuerForm(forms.ModelForm):
    """The form of an issuer, whose parts are checked together: what is wrong is said of the field that is wrong."""

    def clean(self):
        cleaned = super().clean()
        if self.instance.pk is None and self._meta.model.objects.exists():
            raise forms.ValidationError(_("This wallet is set up already: change what stands."))
        kept = self.instance.pk is not None and set(self.changed_data) <= SAYS_NOTHING_OF_KEYS
        if self.errors or (kept and not cleaned.get("is_on")):
            return cleaned
        try:
            self.check_parts(cleaned)
        except issuers.Unfit as unfit:
            self.add_error(unfit.field, unfit.detail)
        except SecretUnreadable as unreadable:
            self.add_error(self.secret, str(unreadable))
        return cleaned


class PemField(forms.CharField):
    """A text in PEM. A browser ends its lines otherwise than it is kept: that is no change."""

    widget = UnfoldAdminTextareaWidget(attrs=LINES)

    def to_python(self, value):
        return "\n".join(super().to_python(value).split("\r\n"))


class AppleForm(IssuerForm):
    secret = "key"  # noqa: S105 - the name of a field

    key = forms.CharField(
        label=_("Private key"), required=False, help_text=KEPT_SEALED, widget=SecretLines(attrs=LINES)
    )
    password = forms.CharField(
        label=_("Password of the key"), required=False, strip=False,
        help_text=_("Only where the key is locked; it is not kept."),
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
    )  # fmt: skip

    class Meta:
        model = AppleIssuer
        fields = ["pass_type", "team", "certificate", "key", "password", "intermediate", "colour", "is_on"]
        field_classes = {"certificate": PemField, "intermediate": PemField}
        widgets = {"colour": UnfoldAdminTextInputWidget}

    def check_parts(self, cleaned: dict) -> None:
        key = cleaned.get("key") or (self.instance.key if self.instance.sealed_key else "")
        parts = issuers.read_apple(
            pass_type=cleaned["pass_type"], team=cleaned["team"], certificate=cleaned["certificate"],
            intermediate=cleaned["intermediate"], key=key, password=cleaned.get("password") or "",
        )  # fmt: skip
        cleaned["certificate"], cleaned["intermediate"] = parts.certificate, parts.intermediate
        self.instance.sealed_key, self.instance.valid_until = sealed(parts.key), parts.valid_until


class GoogleForm(IssuerForm):
    secret = issuers.SERVICE_ACCOUNT

    class_id = forms.RegexField(
        r"^[0-9]{1,25}\.[A-Za-z0-9._-]{1,90}$", label=_("Class"), widget=UnfoldAdminTextInputWidget,
        help_text=_("Issuer id and class, such as 3388000000022000000.loyalty."),
        error_messages={"invalid": _("A class is the issuer id, a dot and the name of the class.")},
    )  # fmt: skip
    service_account = forms.CharField(
        label=_("Key of the service account (JSON)"), required=False, help_text=KEPT_SEALED,
        widget=SecretLines(attrs=LINES),
    )  # fmt: skip

    class Meta:
        model = GoogleIssuer
        fields = ["class_id", "service_account", "is_on"]

    def check_parts(self, cleaned: dict) -> None:
        if not cleaned.get("service_account") and self.instance.sealed_key:
            assert self.instance.key  # it can be read
            return
        parts = issuers.read_google(cleaned.get("service_account") or "")
        self.instance.account, self.instance.key_id = parts.account, parts.key_id
        self.instance.sealed_key = sealed(parts.key)


class IssuerAdmin(StaysOnPage, Audited, ScopedModelAdmin):
    """One row at most."""

    change_form_outer_after_template = "loyalty/wallet/state.html"
    actions = None

    def has_delete_permission(self, request, obj=None):
        # Passes in telephones are signed with it: who is done with a wallet switches it off.
        return False

    def change_view(self, request, object_id, form_url="", extra_context=None):
        issuer = self.get_object(request, object_id)
        extra = dict(extra_context or {})
        if issuer is not None and self.has_view_permission(request, issuer):
            extra["wallet"] = self.state_of(issuer)
        return super().change_view(request, object_id, form_url, extra)


@admin.register(AppleIssuer)
class AppleIssuerAdmin(IssuerAdmin):
    form = AppleForm
    fields = AppleForm.Meta.fields
    list_display = ("pass_type", "team", "valid_until", "is_on")

    def state_of(self, issuer: AppleIssuer) -> dict:
        held = Exists(PassDevice.objects.filter(wallet_pass=OuterRef("pk")))
        left = issuer.valid_until - timezone.now()
        return {
            "valid_until": issuer.valid_until,
            "is_over": left <= timedelta(0),
            "ends_soon": left <= ENDS_SOON,
            "held": WalletPass.objects.filter(held, state=WalletPass.State.ACTIVE).count(),
            "works": issuers.apple() is not None,
        }


@admin.register(GoogleIssuer)
class GoogleIssuerAdmin(IssuerAdmin):
    form = GoogleForm
    list_display = ("class_id", "service_account_name", "is_on")

    def get_fields(self, request, obj=None):
        shown = ("account",) if obj else ()
        return ("class_id", *shown, "service_account", "is_on")

    def get_readonly_fields(self, request, obj=None):
        return ("account",) if obj else ()

    @display(description=_("service account"))
    def service_account_name(self, issuer):
        return issuer.account

    def state_of(self, issuer: GoogleIssuer) -> dict:
        held = WalletPass.objects.filter(google_since__isnull=False, state=WalletPass.State.ACTIVE)
        return {"held": held.count(), "works": issuers.google() is not None}


# --- On a customer's page ---------------------------------------------------------------------------------------------


def _panel(request: HttpRequest, profile: Profile) -> dict:
    held = Exists(PassDevice._base_manager.filter(wallet_pass=OuterRef("pk")))
    shown = wallet.of(profile).annotate(is_held=held)[:SHOWN]
    passes = list(shown)
    return {
        "passes": passes,
        "may_retire": request.user.has_perm(MAY_RETIRE) and any(one.is_active for one in passes),
    }


def retire_view(request: HttpRequest, pk: int) -> HttpResponse:
    """The customer lost the phone: the pass is retired."""
    if request.method != "POST" or not request.user.has_perm(MAY_RETIRE):
        raise PermissionDenied
    profile = Profile.reached_by(pk=pk)
    if profile is None:
        raise Http404
    stores = current_scope().store_ids
    only_store = next(iter(stores)) if stores is not None and len(stores) == 1 else None
    with whole_network():
        count = wallet.retire(profile, by=request.user, store_id=only_store)
    if count:
        said = ngettext(
            "The pass is retired: no till knows its number any more. The points stay.",
            "The passes are retired: no till knows their numbers any more. The points stay.",
            count,
        )
        messages.success(request, said)
    else:
        messages.info(request, _t("This customer has no pass in use."))
    return redirect(reverse("admin:profiles_profile_change", args=[profile.pk]) + "#wallet")


PANELS.append(Panel(MAY_SEE, "loyalty/wallet/panel.html", _panel))
