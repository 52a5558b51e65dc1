"""Pages about points that people set by hand: adjustments and who approves them, the balances of an old programme."""

import tempfile
import uuid
from pathlib import Path

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from loyalty import adjustments, ledger, opening, tasks
from loyalty.admin_finance import Pages
from loyalty.models import Adjustment, OpeningRun
from profiles.admin.customers import PANELS, Panel
from profiles.models import Profile
from tenants.network.models import Job, Store
from tenants.scoping import current_scope

ROWS_A_PAGE = 50
SHOWN_ON_CUSTOMER = 5

# --- Adjustments ------------------------------------------------------------------------------------------------------


class AdjustmentForm(forms.Form):
    """How many points, which way, at whose cost, and why. `key` names the form, so that sent twice it counts once."""

    GIVE, TAKE = "give", "take"

    key = forms.UUIDField(widget=forms.HiddenInput)
    way = forms.ChoiceField(
        label=_("What"), choices=[(GIVE, _("give points")), (TAKE, _("take points"))], initial=GIVE,
        widget=UnfoldAdminRadioSelectWidget,
    )  # fmt: skip
    points = forms.IntegerField(
        label=_("Points"), min_value=1, max_value=adjustments.MOST_EVER,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
    )  # fmt: skip
    store = forms.ModelChoiceField(
        Store.objects.all(), label=_("At the cost of"), widget=UnfoldAdminSelectWidget,
        help_text=_("The store that pays when the points are spent."),
    )  # fmt: skip
    reason = forms.ChoiceField(
        label=_("Reason"), choices=Adjustment.Reason.choices, widget=UnfoldAdminSelectWidget
    )
    comment = forms.CharField(
        label=_("Comment"), max_length=300, widget=UnfoldAdminTextInputWidget,
        help_text=_("What happened, for whoever reads the history."),
    )  # fmt: skip

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        mine = list(Store.objects.all()[:2])
        if len(mine) == 1:
            self.fields["store"].initial = mine[0]

    def asked(self) -> dict:
        """What `adjustments.ask` takes."""
        said = dict(self.cleaned_data)
        points = said.pop("points") * (1 if said.pop("way") == self.GIVE else -1)
        return {**said, "points": points, "key": str(said["key"])}

    def refuse(self, refused: adjustments.NotAllowed) -> None:
        fields = {
            "unknown_reason": "reason",
            "comment_missing": "comment",
            "no_points": "points",
            "too_many": "points",
            "other_store": "store",
        }
        self.add_error(fields.get(refused.code), str(refused))


class ReversalForm(forms.Form):
    comment = forms.CharField(label=_("Why"), max_length=300, widget=UnfoldAdminTextInputWidget)


@admin.register(Adjustment)
class AdjustmentAdmin(Pages):
    def has_add_permission(self, request):
        return request.user.has_perm("loyalty.add_adjustment")

    def get_urls(self):
        return [
            self._url("<int:pk>/decide/", self.decide_view, "decide"),
            self._url("<int:pk>/reverse/", self.reverse_view, "reverse"),
            *super().get_urls(),
        ]

    def changelist_view(self, request, extra_context=None):
        """What waits for head office, and below it everything that was given and taken."""
        self._may_view(request)
        every = Adjustment.objects.select_related("profile", "store", "asked_by", "decided_by")
        waiting = every.filter(state=Adjustment.State.WAITING).order_by("asked_at")
        others = every.exclude(state=Adjustment.State.WAITING)
        return self._page(
            request, "adjustments.html", _t("Adjustments"), waiting=waiting,
            page=Paginator(others, ROWS_A_PAGE).get_page(request.GET.get("page")),
            may_decide=request.user.has_perm("loyalty.decide_adjustment"), me=request.user,
            limits={"once": adjustments.MOST_AT_ONCE, "day": adjustments.MOST_A_DAY},
        )  # fmt: skip

    def change_view(self, request, object_id, form_url="", extra_context=None):
        self._may_view(request)
        made = self.get_object(request, object_id)
        if made is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return self._page(
            request, "adjustment.html", _t("Adjustment of %(points)s points") % {"points": f"{made.points:+d}"},
            made=made, original=made, me=request.user,
            may_decide=request.user.has_perm("loyalty.decide_adjustment"),
            may_reverse=self._may_reverse(request, made),
            reversal=Adjustment.objects.filter(key=f"reverse:{made.transaction_id}").first(),
        )  # fmt: skip

    def _may_reverse(self, request, made: Adjustment) -> bool:
        return self.has_add_permission(request) and made.transaction_id is not None

    def add_view(self, request, form_url="", extra_context=None):
        """Give or take points of one customer: `?customer=7`."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        named = request.GET.get("customer", "")
        profile = (
            Profile.reached_by(pk=named)
            if named.isascii() and named.isdecimal() and len(named) < 19
            else None
        )
        if profile is None:
            if named:
                raise Http404
            return self._page(request, "adjustment_of_whom.html", _t("Give or take points"))
        form = AdjustmentForm(request.POST or None, initial={"key": uuid.uuid4()})
        if request.method == "POST" and form.is_valid():
            try:
                asked = adjustments.ask(profile, by=request.user, **form.asked())
            except adjustments.NotAllowed as refused:
                form.refuse(refused)
            except ledger.NotEnoughPoints:
                form.add_error("points", _t("the customer has not so many points to take"))
            except ledger.LedgerError:
                form.add_error(None, _t("the ledger refused: load the page anew and try again"))
            else:
                _tell(request, asked)
                return redirect(f"{reverse('admin:profiles_profile_change', args=[profile.pk])}#adjustments")
        about = _t(
            "Of %(customer)s. A store manager may give or take %(once)s points in one go and %(day)s a day;"
            " what is more waits for head office."
        ) % {
            "customer": profile,
            "once": number_format(adjustments.MOST_AT_ONCE, force_grouping=True),
            "day": number_format(adjustments.MOST_A_DAY, force_grouping=True),
        }
        return self._page(
            request, "form.html", _t("Give or take points"), form=form, about=about, button=_t("Adjust"),
            back=reverse("admin:profiles_profile_change", args=[profile.pk]),
        )  # fmt: skip

    def decide_view(self, request, pk):
        """Head office says yes or no."""
        self._may(request, "decide")
        get_object_or_404(Adjustment, pk=pk)
        answer = request.POST.get("answer", "")[:300]
        try:
            if request.POST.get("decision") == "approve":
                adjustments.approve(pk, by=request.user, answer=answer)
                messages.success(request, _t("Approved: the points are posted."))
            else:
                adjustments.refuse(pk, by=request.user, answer=answer)
                messages.success(request, _t("Refused. Whoever asked reads your answer here."))
        except adjustments.NotAllowed as refused:
            messages.error(request, _t("Not done: %(reason)s.") % {"reason": refused})
        except ledger.NotEnoughPoints:
            messages.error(
                request,
                _t("Not done: %(reason)s.") % {"reason": _t("the customer has not so many points to take")},
            )
        return redirect("admin:loyalty_adjustment_changelist")

    def reverse_view(self, request, pk):
        """Post the opposite of what was posted, and say why."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        made = get_object_or_404(Adjustment.objects.select_related("profile", "store"), pk=pk)
        back = reverse("admin:loyalty_adjustment_change", args=[pk])
        form = ReversalForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                asked = adjustments.ask_reversal(made, comment=form.cleaned_data["comment"], by=request.user)
            except adjustments.NotAllowed as refused:
                form.add_error(None, str(refused))
            except ledger.NotEnoughPoints:
                form.add_error(None, _t("the customer has not so many points to take"))
            except ledger.LedgerError:
                form.add_error(None, _t("it was reversed before"))
            else:
                _tell(request, asked)
                return redirect(back)
        about = _t("The opposite is posted as an entry of its own; both stay in the history.")
        return self._page(
            request, "form.html", _t("Reverse the adjustment of %(points)s points") % {"points": f"{made.points:+d}"},
            form=form, about=about, button=_t("Reverse"), back=back,
        )  # fmt: skip


def _tell(request: HttpRequest, asked: Adjustment) -> None:
    if asked.state == Adjustment.State.POSTED:
        messages.success(request, _t("Posted: %(points)s points.") % {"points": f"{asked.points:+d}"})
    elif asked.state == Adjustment.State.WAITING:
        messages.warning(request, _t("It is beyond your limits: head office decides."))
    else:
        messages.error(request, _t("Head office refused it before."))


def _adjustments_of(request: HttpRequest, profile: Profile) -> dict:
    """The newest of the customer's that whoever looks may see: a store its own."""
    made = Adjustment.objects.filter(profile=profile).select_related("store", "asked_by")
    return {
        "adjustments": made[:SHOWN_ON_CUSTOMER],
        "may_add": request.user.has_perm("loyalty.add_adjustment"),
        "of_own_stores": not current_scope().is_whole_network,
    }


PANELS.append(Panel("loyalty.view_adjustment", "loyalty/adjustments_panel.html", _adjustments_of))


# --- Opening balances -------------------------------------------------------------------------------------------------


class OpeningForm(forms.Form):
    file = forms.FileField(
        label=_("File"), widget=UnfoldAdminFileFieldWidget,
        help_text=_("CSV or XLSX with the columns customer (card or customer number), points, expires, store."),
    )  # fmt: skip
    told_points = forms.IntegerField(
        label=_("Points by the old programme"), min_value=1, max_value=10**15,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
        help_text=_("The total of its own report: the file must sum to it."),
    )  # fmt: skip


@admin.register(OpeningRun)
class OpeningRunAdmin(Pages):
    def has_add_permission(self, request):
        return request.user.has_perm("loyalty.add_openingrun")

    def get_urls(self):
        return [
            self._url("<int:pk>/sign/", self.sign_view, "sign"),
            self._url("<int:pk>/withdraw/", self.withdraw_view, "withdraw"),
            self._url("<int:pk>/resume/", self.resume_view, "resume"),
            *super().get_urls(),
        ]

    def changelist_view(self, request, extra_context=None):
        self._may_view(request)
        runs = OpeningRun.objects.select_related("uploaded_by", "signed_by")
        return self._page(
            request, "openings.html", _t("Opening balances"), may_add=self.has_add_permission(request),
            page=Paginator(runs, ROWS_A_PAGE).get_page(request.GET.get("page")),
        )  # fmt: skip

    def add_view(self, request, form_url="", extra_context=None):
        """Upload the balances of the old programme, with the total that it tells."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = OpeningForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            uploaded = form.cleaned_data["file"]
            with tempfile.NamedTemporaryFile() as copy:
                for chunk in uploaded.chunks():
                    copy.write(chunk)
                copy.flush()
                told = form.cleaned_data["told_points"]
                run = opening.upload(Path(copy.name), uploaded.name, told, by=request.user)
            tasks.carry_out_opening.delay(run.pk)
            return redirect("admin:loyalty_openingrun_change", run.pk)
        about = _t(
            "Nothing is posted yet: the file is checked as a whole, then signed off by somebody else than you."
        )
        return self._page(
            request, "form.html", _t("Take over the balances of another programme"), form=form, about=about,
            button=_t("Upload and check"), back=reverse("admin:loyalty_openingrun_changelist"),
        )  # fmt: skip

    def change_view(self, request, object_id, form_url="", extra_context=None):
        self._may_view(request)
        run = self.get_object(request, object_id)
        if run is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        is_moving = run.state in (OpeningRun.State.CHECKING, OpeningRun.State.POSTING)
        may_sign = request.user.has_perm("loyalty.sign_openingrun")
        return self._page(
            request, "opening.html", run.file_name, run=run, original=run, job=run.job, is_moving=is_moving,
            is_over=run.job is not None and run.job.state in Job.OVER,
            problems=[(line, field, reason) for line, field, reason in run.problems],
            difference=run.points - run.told_points,
            may_sign=may_sign and run.state == OpeningRun.State.CHECKED and run.uploaded_by_id != request.user.pk,
            may_withdraw=self.has_add_permission(request)
            and run.state in (OpeningRun.State.CHECKED, OpeningRun.State.FAULTY),
            may_resume=is_moving and (may_sign or self.has_add_permission(request)),
            unknown=run.lines.filter(profile=None)[:ROWS_A_PAGE],
        )  # fmt: skip

    def sign_view(self, request, pk):
        """A second person says that the balances are right; a worker posts them."""
        self._may(request, "sign")
        return self._deed(
            request,
            pk,
            opening.sign,
            _t("Signed off: the balances are being posted."),
            tasks.carry_out_opening,
        )

    def withdraw_view(self, request, pk):
        self._may(request, "add")
        return self._deed(request, pk, opening.withdraw, _t("Withdrawn: nothing was posted."))

    def resume_view(self, request, pk):
        """Ask again for work that nobody has in hand any more; what is done is not done again."""
        self._may(request, "add")
        run = get_object_or_404(OpeningRun, pk=pk)
        opening.resume(run.pk)
        tasks.carry_out_opening.delay(run.pk)
        return redirect("admin:loyalty_openingrun_change", pk)

    def _deed(self, request, pk, deed, done: str, task=None):
        get_object_or_404(OpeningRun, pk=pk)
        try:
            deed(pk, by=request.user)
        except opening.NotAllowed as refused:
            messages.error(request, _t("Not done: %(reason)s.") % {"reason": refused})
        else:
            messages.success(request, done)
            if task:
                task.delay(pk)
        return redirect("admin:loyalty_openingrun_change", pk)
