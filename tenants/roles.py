"""Which deeds each role may do: one table, read by `Staff.has_perm`, so that admin and API obey the same rows.

Which *rows* a deed reaches is the other wall: `tenants/scoping.py`.
"""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    PLATFORM_ADMIN = "platform_admin", _("Platform administrator")
    BRAND_ADMIN = "brand_admin", _("Brand administrator")
    MARKETER = "marketer", _("Head-office marketer")
    ANALYST = "analyst", _("Analyst (reads only)")
    STORE_MANAGER = "store_manager", _("Store manager")


HEAD_OFFICE = frozenset({Role.BRAND_ADMIN, Role.MARKETER, Role.ANALYST})


def _deeds(app: str, **models_and_deeds: str) -> set[str]:
    """`_deeds("profiles", profile="view change")` -> {"profiles.view_profile", "profiles.change_profile"}."""
    return {f"{app}.{deed}_{model}" for model, deeds in models_and_deeds.items() for deed in deeds.split()}


_READS_PEOPLE = _deeds(
    "profiles",
    profile="view", sourcerecord="view", identifier="view", merge="view", matchcandidate="view",
    consentchange="view", purchase="view", purchaseline="view", refund="view", source="view",
    blockedvalue="view",
    connection="view",
    event="view", eventtype="view", eventproperty="view", site="view",
)  # fmt: skip
_READS_POINTS = _deeds(
    "loyalty",
    programme="view", rule="view", ruleversion="view", tier="view", membership="view", account="view",
    transaction="view", posting="view", lot="view", lotextension="view",
    action="view", tierchange="view", claim="view", claimtally="view", parkedreturn="view", case="view",
    caseticket="view", cashier="view", storeplace="view",
    stackingclass="view", tiergift="view", storeexit="view",
    settlementstatement="view", settlementline="view", fundingkey="view", breakageestimate="view",
    accountingpolicy="view", adjustment="view", openingrun="view",
    savedsimulation="view", replay="view",
)  # fmt: skip
_READS_BENEFITS = _deeds(
    "loyalty", reward="view", rewardstock="view", voucher="view", coupon="view", walletpass="view"
)
_EDITS_BENEFITS = _deeds(
    "loyalty",
    reward="add change", rewardstock="add change", voucher="cancel give", coupon="add change",
    stackingclass="add change", tiergift="add change", memberlinks="add",
    walletpass="retire",
)  # fmt: skip
_TRIES_RULES = _deeds("loyalty", savedsimulation="add change delete", replay="add")
_READS_CAMPAIGNS = _deeds(
    "campaigns",
    segment="view",
    segmentversion="view",
    campaign="view",
    recipient="view",
    export="view",
    handout="view",
)
_EDITS_EVENTS = _deeds(
    "profiles",
    eventtype="add change", eventproperty="add change delete", unknownproperty="view decide",
    quarantinedevent="view release",
)  # fmt: skip
_READS_NETWORK = _deeds("network", store="view", region="view", job="view", webhookendpoint="view")

PERMISSIONS: dict[str, set[str]] = {
    Role.PLATFORM_ADMIN: _deeds(
        "tenants", brand="view add change", domain="view add change delete"
    ) | _deeds("network", staff="view add change", job="view", auditevent="view"),
    Role.BRAND_ADMIN: (
        _READS_PEOPLE | _READS_POINTS | _READS_BENEFITS | _EDITS_BENEFITS | _READS_CAMPAIGNS | _READS_NETWORK
        | _TRIES_RULES | _deeds("loyalty", storeexit="add") | _deeds("campaigns", handout="add")
        | _deeds("network", store="add change", region="add change", staff="view add change",
                 till="view add change", auditevent="view", webhookendpoint="add change")
        | _EDITS_EVENTS
        | _deeds("profiles", source="add change", site="add change", connection="add change",
                 importrun="view add", profile="change merge", matchcandidate="decide decideall",
                 blockedvalue="add change", purchase="move", matchingmodel="learn")
        | _deeds("loyalty", programme="change", rule="add change", tier="add change", claim="add", case="decide",
                 parkedreturn="close", cashier="add change", storeplace="add change delete")
        | _deeds("loyalty", settlementstatement="close", fundingkey="add", breakageestimate="add",
                 accountingpolicy="add", adjustment="add decide", openingrun="add sign")
        | _deeds("loyalty", appleissuer="view add change", googleissuer="view add change")
    ),
    Role.MARKETER: (
        _READS_PEOPLE | _READS_POINTS | _READS_BENEFITS | _EDITS_BENEFITS | _READS_CAMPAIGNS | _READS_NETWORK
        | _EDITS_EVENTS | _TRIES_RULES
        | _deeds("profiles", importrun="view add", profile="change merge", matchcandidate="decide decideall",
                 blockedvalue="add change", purchase="move", matchingmodel="learn")
        | _deeds("loyalty", programme="change", rule="add change", tier="add change", claim="add", case="decide",
                 parkedreturn="close")
        | _deeds("loyalty", adjustment="add decide", openingrun="add sign")
        | _deeds("campaigns", segment="add change delete", campaign="add change export", export="download",
                 handout="add")
    ),
    Role.ANALYST: _READS_PEOPLE | _READS_POINTS | _READS_BENEFITS | _READS_CAMPAIGNS | _READS_NETWORK,
    Role.STORE_MANAGER: (
        _READS_BENEFITS
        | _deeds("network", store="view", till="view")
        | _deeds("profiles", profile="view", purchase="view", purchaseline="view", consentchange="view",
                 event="view", matchcandidate="view decide")
        | _deeds("loyalty", claim="view add", claimtally="view", parkedreturn="view", case="view", caseticket="view",
                 cashier="view")
        | _deeds("loyalty", settlementline="view", adjustment="view add", savedsimulation="view")
        | _deeds("loyalty", walletpass="retire")
        | _deeds("campaigns", segment="view add change delete", campaign="view", handout="view add")
    ),
}  # fmt: skip


def allows(role: str, permission: str) -> bool:
    """Whether the role may do the deed `app.verb_model`."""
    return permission in PERMISSIONS.get(role, ())


def opens_app(role: str, app: str) -> bool:
    """Whether the role may do anything in the app: decides whether a menu shows."""
    return any(permission.startswith(f"{app}.") for permission in PERMISSIONS.get(role, ()))
