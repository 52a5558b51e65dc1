"""What a campaign gives, on its page: what it would cost, asking for it, following it, calling it back."""

from django import forms
from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from campaigns import handouts
from campaigns.handouts import HandoutRefused
from campaigns.models import Campaign, Handout
from loyalty.models import Reward
from tenants.network.admin import progress_of
from tenants.network.models import Job


class HandoutForm(forms.Form):
    """A reward or points; what it is for is said when the cost has been seen."""

    reward = forms.ModelChoiceField(
        Reward.objects.none(), label=_lazy("Voucher for"), required=False, widget=UnfoldAdminSelectWidget
    )
    points = forms.IntegerField(
        label=_lazy("or points for each"), required=False, min_value=1, max_value=handouts.MOST_POINTS,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
    )  # fmt: skip
    purpose = forms.CharField(
        label=_lazy("What for"), required=False, max_length=300, widget=UnfoldAdminTextInputWidget,
        help_text=_lazy("Stands in the audit trail."),
    )  # fmt: skip

    def __init__(self, campaign: Campaign, *args, **kwargs):
        super().__init__(*args, **kwargs)
        rewards = handouts.offered(campaign)
        self.fields["reward"].queryset = Reward.objects.filter(pk__in=[reward.pk for reward in rewards])

    @property
    def thing(self) -> dict:
        return {"reward": self.cleaned_data["reward"], "points": self.cleaned_data["points"]}

    def refuse(self, refused: HandoutRefused) -> None:
        self.add_error(refused.field if refused.field in self.fields else None, str(refused))


class HandoutPages:
    """The pages of handouts, for the admin of campaigns."""

    def get_urls(self):
        def named(route, view, name):
            return path(route, self.admin_site.admin_view(view), name=f"campaigns_handout_{name}")

        return [
            named("<int:pk>/give/", self.give_view, "give"),
            named("handouts/<int:pk>/call-back/", self.call_back_view, "call_back"),
            named("handouts/<int:pk>/resume/", self.resume_view, "resume"),
            named("handouts/<int:pk>/progress/", self.progress_view, "progress"),
            *super().get_urls(),
        ]

    def give_view(self, request, pk):
        """Say what: see whom it reaches and what it costs at most. Say what for: it is given."""
        if not request.user.has_perm("campaigns.add_handout"):
            raise PermissionDenied
        campaign = get_object_or_404(Campaign.objects.select_related("store"), pk=pk)
        told = request.POST if request.method == "POST" else request.GET
        form = HandoutForm(campaign, told if "reward" in told or "points" in told else None)
        planned = None
        if form.is_valid():
            try:
                planned = handouts.plan(campaign, **form.thing)
                handouts.check(campaign, planned, request.user)
                if request.method == "POST":
                    handouts.ask(
                        campaign, **form.thing, purpose=form.cleaned_data["purpose"], by=request.user
                    )
                    self.message_user(request, _("Asked for: it is being given."))
                    return redirect("admin:campaigns_campaign_change", pk)
            except HandoutRefused as refused:
                form.refuse(refused)
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": _("For everybody who is addressed"),
            "opts": self.opts,
            "original": campaign,
            "campaign": campaign,
            "form": form,
            "plan": planned,
            "may_ask": planned is not None and set(form.errors) <= {"purpose"},
            "spent": handouts.spent(campaign),
            "limit": handouts.limit_of(request.user),
        }
        return TemplateResponse(request, "campaigns/give.html", context)

    def call_back_view(self, request, pk):
        handout = _posted_about(request, pk)
        try:
            handouts.call_back(
                handout, purpose=request.POST.get("purpose", "").replace("\x00", ""), by=request.user
            )
        except HandoutRefused as refused:
            self.message_user(request, str(refused), "ERROR")
        else:
            self.message_user(request, _("It is being called back, as far as it is not used."))
        return redirect("admin:campaigns_campaign_change", handout.campaign_id)

    def resume_view(self, request, pk):
        handout = _posted_about(request, pk)
        try:
            handouts.resume(handout, by=request.user)
        except HandoutRefused as refused:
            self.message_user(request, str(refused), "ERROR")
        return redirect("admin:campaigns_campaign_change", handout.campaign_id)

    def progress_view(self, request, pk):
        """How far it got, as the pages of jobs tell it."""
        if not request.user.has_perm("campaigns.view_handout"):
            raise PermissionDenied
        handout = get_object_or_404(Handout.objects.select_related("job", "undo_job"), pk=pk)
        return progress_of(handout.undo_job or handout.job)


def _posted_about(request, pk) -> Handout:
    if request.method != "POST" or not request.user.has_perm("campaigns.add_handout"):
        raise PermissionDenied
    return get_object_or_404(Handout, pk=pk)


def panel(request, campaign: Campaign) -> dict:
    """What the campaign's page shows of its handouts; the first whose work goes on is followed."""
    rows = []
    asked = Handout.objects.filter(campaign=campaign)
    for handout in asked.select_related("reward", "job", "undo_job", "asked_by"):
        job = handout.undo_job or handout.job
        rows.append(
            {
                "handout": handout,
                "job": job,
                "is_over": job.state in Job.OVER,
                "outcome": handouts.outcome(handout),
            }
        )
    moving = next((row for row in rows if not row["is_over"]), None)
    return {
        "handouts": rows,
        "moving": moving,
        "may_see_handouts": request.user.has_perm("campaigns.view_handout"),
        "may_give": handouts.may_give(campaign, request.user),
    }
