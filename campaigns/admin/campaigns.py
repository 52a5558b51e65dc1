"""Campaigns: the goal first, then the audience is frozen, files leave, and what it brought is measured."""

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404, redirect
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.decorators import display

from campaigns import attribution, audience, lift
from campaigns.admin import handouts
from campaigns.exports import FORMATS, ordering
from campaigns.launching import CampaignNotReady, freeze, missing
from campaigns.models import Campaign, Recipient
from campaigns.segments.language import SegmentError
from tenants.network.admin import ScopedModelAdmin, StaysOnPage
from tenants.network.models import audit

VERDICTS = {
    "met": (_lazy("Goal met"), "cdp-yes", "check_circle"),
    "not_met": (_lazy("Goal not met"), "cdp-no", "cancel"),
    "inconclusive": (_lazy("Not conclusive: the difference may be chance"), "cdp-maybe", "help"),
    "no_control": (_lazy("No control group: the effect cannot be told"), "cdp-maybe", "help"),
}


class CampaignForm(forms.ModelForm):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if "store" in self.fields:
            self.fields["store"].help_text = _("Empty: the whole network.")

    def clean_goal_uplift(self):
        uplift = self.cleaned_data["goal_uplift"]
        if uplift is not None and uplift <= 0:
            raise forms.ValidationError(_("Set the expected uplift: a positive number."))
        return uplift

    def clean_segment(self):
        segment = self.cleaned_data["segment"]
        if segment and not segment.versions.exists():
            raise forms.ValidationError(_("The segment has no conditions yet."))
        return segment


@admin.register(Campaign)
class CampaignAdmin(handouts.HandoutPages, StaysOnPage, ScopedModelAdmin):
    form = CampaignForm
    list_display = ("name", "segment", "channel", "goal", "control_percent", "state", "frozen_at", "store")
    list_filter = ("state", "channel", ("store", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("segment", "store")
    search_fields = ("name", "segment__name")
    actions = None
    fieldsets = (
        (_lazy("Goal"), {"fields": ("name", "goal", "goal_uplift", "goal_days")}),
        (_lazy("Audience"), {"fields": ("segment", "segment_version", "channel", "store")}),
        (_lazy("Control group"), {"fields": ("control_percent",)}),
    )
    change_form_outer_after_template = "campaigns/campaign_panels.html"

    def get_fieldsets(self, request, obj=None):
        """The version is chosen when the audience is frozen: before, there is none to show."""
        hidden = () if obj is not None and obj.segment_version_id else ("segment_version",)
        return [
            (title, {**options, "fields": tuple(name for name in options["fields"] if name not in hidden)})
            for title, options in self.fieldsets
        ]

    def get_readonly_fields(self, request, obj=None):
        if obj is not None and obj.state == Campaign.State.FROZEN:
            return tuple(
                name for _title, options in self.fieldsets for name in options["fields"] if name != "name"
            )
        return ("segment_version",)

    def get_changeform_initial_data(self, request):
        return {"control_percent": 10, **super().get_changeform_initial_data(request)}

    def has_delete_permission(self, request, obj=None):
        return False

    def save_model(self, request, obj, form, change):
        if not change:
            obj.created_by = request.user
        super().save_model(request, obj, form, change)
        verb = "changed" if change else "added"
        audit(request.user, verb, obj, store_id=obj.store_id, fields=sorted(form.changed_data))

    @display(description=_lazy("state"), label={"frozen": "success", "draft": "info"})
    def state(self, campaign):
        return campaign.state, campaign.get_state_display()

    def get_urls(self):
        def named(route, view, name):
            return path(route, self.admin_site.admin_view(view), name=f"campaigns_campaign_{name}")

        return [
            named("<int:pk>/freeze/", self.freeze_view, "freeze"),
            named("<int:pk>/export/", self.export_view, "export"),
            *super().get_urls(),
        ]

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        campaign = self.get_object(request, object_id) if object_id else None
        panels = _panels(request, campaign) if campaign else {}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **panels})

    def freeze_view(self, request, pk):
        campaign = _posted_about(request, pk, "campaigns.change_campaign")
        try:
            freeze(campaign, request.user)
        except CampaignNotReady as refused:
            for reason in refused.reasons:
                messages.error(request, reason)
        except SegmentError as wrong:
            messages.error(request, wrong.message)
        else:
            messages.success(request, _("The audience is frozen."))
        return redirect("admin:campaigns_campaign_change", pk)

    def export_view(self, request, pk):
        campaign = _posted_about(request, pk, "campaigns.export_campaign")
        try:
            asked = ordering.export(
                campaign, request.POST.get("format", ""), request.user, request.POST.get("purpose", "")[:300]
            )
        except ordering.ExportRefused as refused:
            messages.error(request, str(refused))
        else:
            messages.success(
                request, _("The file is being written: «%(purpose)s».") % {"purpose": asked.purpose}
            )
        return redirect("admin:campaigns_campaign_change", pk)


def _posted_about(request, pk, permission) -> Campaign:
    if request.method != "POST" or not request.user.has_perm(permission):
        raise PermissionDenied
    return get_object_or_404(Campaign, pk=pk)


def _panels(request, campaign: Campaign) -> dict:
    """What stands below the form: the audience, the files, and once frozen the results."""
    frozen = campaign.state == Campaign.State.FROZEN
    panels = {
        "campaign": campaign,
        "frozen": frozen,
        "formats": [(code, shape.label) for code, shape in FORMATS.items()],
        "exports": campaign.exports.select_related("job", "asked_by"),
        "may_freeze": not frozen and request.user.has_perm("campaigns.change_campaign"),
        "may_export": frozen and request.user.has_perm("campaigns.export_campaign"),
        "may_see_exports": request.user.has_perm("campaigns.view_export"),
        "may_download": request.user.has_perm("campaigns.download_export"),
    }
    if frozen:
        arms = Recipient.objects.filter(campaign=campaign)
        panels["treated"] = arms.filter(arm=Recipient.Arm.TREATED).count()
        panels["control"] = arms.filter(arm=Recipient.Arm.CONTROL).count()
        found = attribution.results(campaign)
        panels["results"] = found
        panels["verdict"] = VERDICTS[found.verdict]
        panels["in_points"] = campaign.goal == Campaign.Goal.VISIT
        panels["fewest"] = lift.FEWEST
        panels |= handouts.panel(request, campaign)
    else:
        panels["audience"] = _audience(campaign)
    return panels


def _audience(campaign: Campaign) -> dict:
    """How many the campaign would address today: matching, lost on the way, and held back."""
    version = campaign.segment_version or campaign.segment.versions.first()
    reasons = missing(campaign, version)
    if version is None:
        return {"reasons": reasons}
    try:
        with audience.inside(campaign if campaign.store_id else campaign.segment):
            counts = audience.count(version)
    except SegmentError as wrong:
        return {"reasons": [*reasons, wrong.message]}
    reach = next(reach for reach in counts.reach if reach.channel == campaign.channel)
    held_back = round(reach.reachable * campaign.control_percent / 100)
    return {"reasons": reasons, "counts": counts, "reach": reach, "control": held_back, "version": version}
