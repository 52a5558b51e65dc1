"""The two admin sites: a brand's own, and the platform's, which alone knows the brands.

One table a site says what its sidebar lists; an entry shows to whoever may open the list behind it.
"""

from dataclasses import dataclass

from django.apps import apps
from django.contrib.admin import AdminSite
from django.contrib.admin import site as brand_site
from django.templatetags.static import static
from django.urls import path, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from unfold.sites import UnfoldAdminSite

from tenants.roles import Role

PLATFORM_SCHEMA = "public"


@dataclass(frozen=True)
class Entry:
    """A line of the sidebar: the list of a model (`"app.Model"`), opened with `query`."""

    icon: str
    model: str
    query: str = ""

    def link(self, site: AdminSite, user) -> dict | None:
        """The line as Unfold reads it, or `None` where the site has no such list or the role may not open it."""
        model = apps.get_model(self.model)
        meta = model._meta
        if not site.is_registered(model) or not user.has_perm(f"{meta.app_label}.view_{meta.model_name}"):
            return None
        address = reverse(f"{site.name}:{meta.app_label}_{meta.model_name}_changelist") + self.query
        return {"title": _capitalised(meta.verbose_name_plural), "icon": self.icon, "link": address}


BRAND_MENU = [
    (
        _("Customers"),
        [
            Entry("groups", "profiles.Profile"),
            Entry("join_inner", "profiles.MatchCandidate", "?status__exact=open"),
            Entry("receipt_long", "profiles.Purchase"),
            Entry("bolt", "profiles.Event"),
        ],
    ),
    (
        _("Marketing"),
        [
            Entry("filter_alt", "campaigns.Segment"),
            Entry("campaign", "campaigns.Campaign"),
            Entry("outbox", "campaigns.Export"),
        ],
    ),
    (
        _("Loyalty"),
        [
            Entry("redeem", "loyalty.Programme"),
            Entry("rule", "loyalty.Rule"),
            Entry("science", "loyalty.SavedSimulation"),
            Entry("replay", "loyalty.Replay"),
            Entry("military_tech", "loyalty.Tier"),
            Entry("card_giftcard", "loyalty.Reward"),
            Entry("confirmation_number", "loyalty.Voucher"),
            Entry("local_offer", "loyalty.Coupon"),
            Entry("join_inner", "loyalty.StackingClass"),
            Entry("featured_seasonal_and_gifts", "loyalty.TierGift"),
            Entry("account_balance_wallet", "loyalty.Account"),
            Entry("receipt", "loyalty.Transaction"),
            Entry("hourglass_bottom", "loyalty.Lot"),
            Entry("touch_app", "loyalty.Action"),
            Entry("gavel", "loyalty.Case", "?state__exact=open"),
            Entry("receipt_long", "loyalty.Claim"),
            Entry("summarize", "loyalty.ClaimTally"),
            Entry("assignment_return", "loyalty.ParkedReturn", "?queue=unresolved"),
            Entry("stairs", "loyalty.TierChange"),
            Entry("moving", "loyalty.StoreExit"),
            Entry("edit_note", "loyalty.Adjustment"),
            Entry("move_to_inbox", "loyalty.OpeningRun"),
            Entry("balance", "loyalty.SettlementStatement"),
            Entry("savings", "loyalty.BreakageEstimate"),
            Entry("wallet", "loyalty.AppleIssuer"),
            Entry("wallet", "loyalty.GoogleIssuer"),
        ],
    ),
    (
        _("Data"),
        [
            Entry("upload_file", "profiles.ImportRun"),
            Entry("database", "profiles.Source"),
            Entry("block", "profiles.BlockedValue"),
            Entry("cable", "profiles.Connection"),
            Entry("language", "profiles.Site"),
            Entry("webhook", "network.WebhookEndpoint"),
            Entry("menu_book", "profiles.EventType"),
            Entry("help", "profiles.UnknownProperty", "?state__exact=open"),
            Entry("front_hand", "profiles.QuarantinedEvent"),
            Entry("progress_activity", "network.Job"),
        ],
    ),
    (
        _("Network"),
        [
            Entry("storefront", "network.Store"),
            Entry("map", "network.Region"),
            Entry("point_of_sale", "network.Till"),
            Entry("person_pin", "loyalty.Cashier"),
            Entry("pin_drop", "loyalty.StorePlace"),
            Entry("badge", "network.Staff"),
            Entry("policy", "network.AuditEvent"),
        ],
    ),
]

PLATFORM_MENU = [
    (_("Brands"), [Entry("sell", "tenants.Brand"), Entry("language", "tenants.Domain")]),
    (
        _("Platform"),
        [
            Entry("badge", "network.Staff"),
            Entry("progress_activity", "network.Job"),
            Entry("policy", "network.AuditEvent"),
        ],
    ),
]


class Site(UnfoldAdminSite):
    """What both sites share."""

    def extra_urls(self):
        from cdp import language

        return [path("language", language.choose, name="language")]


class BrandAdminSite(Site):
    """What head office opens. Its first page shows the brand's figures, or a manager's own store's."""

    index_template = "cdp/home.html"
    index_title = _("Overview")

    def index(self, request, extra_context=None):
        from cdp import home

        return super().index(request, {"home": home.home_for(request.user), **(extra_context or {})})


class PlatformAdminSite(Site):
    """What the platform's own staff opens: brands and domains, nothing of any customer."""

    index_template = "cdp/platform_home.html"
    index_title = _("Platform")

    def index(self, request, extra_context=None):
        from cdp import home

        return super().index(request, {"home": home.platform_home(), **(extra_context or {})})


platform_site = PlatformAdminSite(name="platform")


def register_platform() -> None:
    """Name the platform's models to its site: `cdp/admin.py` calls this when Django looks for admin modules."""
    from tenants import admin as tenants_admin
    from tenants.models import Brand, Domain
    from tenants.network import admin as network_admin
    from tenants.network.models import AuditEvent, Job, Staff

    platform_site.register(Brand, tenants_admin.BrandAdmin)
    platform_site.register(Domain, tenants_admin.DomainAdmin)
    platform_site.register(Staff, network_admin.PlatformStaffAdmin)
    platform_site.register(Job, network_admin.JobAdmin)
    platform_site.register(AuditEvent, network_admin.AuditEventAdmin)


# --- What the settings name -----------------------------------------------------------------------------------------
# Unfold tries every string of its configuration as an import path: a brand's own words come from these functions.


def site_title(request) -> str:
    """The name of the brand, or of the platform, whose host answers."""
    return request.tenant.name


def site_subheader(request) -> str:
    """The role of whoever signed in, so that people with two accounts see which one they use."""
    return str(request.user.get_role_display()) if request.user.is_authenticated else ""


def stylesheet(request) -> str:
    """Our own screens' styles, on top of Unfold's."""
    return static("cdp/admin.css")


def favicon(request) -> str:
    """The sign of both sites in a browser's tab."""
    return static("cdp/icon.svg")


def language_address(request) -> str:
    """Where the language menu posts to."""
    return reverse("admin:language")


def sidebar(request) -> list[dict]:
    """The groups of the sidebar for this person, with the entries their role may open."""
    if not request.user.is_authenticated:
        return []
    on_platform = request.tenant.schema_name == PLATFORM_SCHEMA
    site = platform_site if on_platform else brand_site
    first = [{"title": site.index_title, "icon": "home", "link": reverse(f"{site.name}:index")}]
    if request.user.role == Role.STORE_MANAGER:
        first.append({"title": _("My store"), "icon": "storefront", "link": reverse("store:choose")})
    groups: list[dict] = [{"title": None, "items": first}]
    for title, entries in PLATFORM_MENU if on_platform else BRAND_MENU:
        items = [item for entry in entries if (item := entry.link(site, request.user))]
        if items:
            groups.append({"title": title, "separator": True, "items": items})
    if not on_platform and request.user.has_perm("network.change_till"):
        documentation = {"title": _("Documentation of the API"), "icon": "api", "link": reverse("api_docs")}
        groups.append({"title": None, "separator": True, "items": [documentation]})
    return groups


def _capitalised(words: str | Promise) -> str:
    words = str(words)
    return words[:1].upper() + words[1:]
