"""Replays: asking for one, following it, and what a draft would have given and cost."""

import io

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextInputWidget

from loyalty import owed, replay, rule_words, rules, simulation, tasks
from loyalty.admin_finance import Pages, as_file
from loyalty.models import Replay, Rule, RuleDraft
from loyalty.rule_words import Names
from loyalty.rulebook import NoProgramme
from profiles.models import Profile
from tenants.network.models import Job

ROWS_A_PAGE = 50


class ReplayForm(forms.Form):
    drafts = forms.ModelMultipleChoiceField(
        RuleDraft.objects.none(), label=_("Drafts to try out"), widget=forms.CheckboxSelectMultiple
    )
    days = forms.IntegerField(
        label=_("Days"), min_value=1, max_value=replay.MOST_DAYS, initial=replay.DAYS,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
        help_text=_("The last whole days, up to yesterday."),
    )  # fmt: skip

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        found = RuleDraft.objects.select_related("rule").exclude(rule__kind=rules.ACTION)
        self.fields["drafts"].queryset = found


@admin.register(Replay)
class ReplayAdmin(Pages):
    folder = "loyalty"

    def has_add_permission(self, request):
        return request.user.has_perm("loyalty.add_replay")

    def get_urls(self):
        return [
            self._url("<int:pk>/call-off/", self.call_off_view, "call_off"),
            self._url("<int:pk>/resume/", self.resume_view, "resume"),
            self._url("<int:pk>/stores.csv", self.csv_view, "csv"),
            *super().get_urls(),
        ]

    def changelist_view(self, request, extra_context=None):
        self._may_view(request)
        made = Replay.objects.select_related("job", "made_by")
        page = Paginator(made, ROWS_A_PAGE).get_page(request.GET.get("page"))
        return self._page(
            request, "simulator/replays.html", _t("Replays of tickets"), page=page,
            rows=[(each, replay.Result(each)) for each in page.object_list],
            may_add=self.has_add_permission(request),
        )  # fmt: skip

    def add_view(self, request, form_url="", extra_context=None):
        """Choose the drafts and how many days: `?draft=7`."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        chosen = [
            told
            for told in request.GET.getlist("draft")
            if told.isascii() and told.isdecimal() and len(told) < 19
        ]
        form = ReplayForm(request.POST or None, initial={"drafts": chosen or None})
        if request.method == "POST" and form.is_valid():
            try:
                made = replay.ask(
                    list(form.cleaned_data["drafts"]), by=request.user, days=form.cleaned_data["days"]
                )
            except (replay.NothingToReplay, NoProgramme) as refused:
                form.add_error(None, str(refused))
            else:
                tasks.replay_tickets.delay(made.pk)
                return redirect("admin:loyalty_replay_change", made.pk)
        return self._page(
            request, "simulator/ask.html", _t("Replay the last days"), form=form,
            has_drafts=form.fields["drafts"].queryset.exists(),
        )  # fmt: skip

    def change_view(self, request, object_id, form_url="", extra_context=None):
        self._may_view(request)
        made = self.get_object(request, object_id)
        if made is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        result, names = replay.Result(made), owed.names()
        tally, prices = result.tally, result.prices
        people = {
            who.pk: who
            for who in Profile.objects.filter(pk__in=[pk for _points, pk in (*tally.most, *tally.least)])
        }
        largest = max((step.members for step in result.steps), default=0)
        costs = [result.cost(points) for points in (tally.before, tally.after)]
        return self._page(
            request, "simulator/replay.html", _t("Replay: %(draft)s") % {"draft": made.label}, replay=made,
            original=made, job=made.job, is_over=made.job.state in Job.OVER, is_done=made.job.state == Job.State.DONE,
            result=result, tally=tally, costs=costs, cost_difference=costs[1] - costs[0],
            payers=_shares(prices, *costs),
            stores=[
                (
                    names.get(row.store_id, ""), row, rule_words.signed(row.difference), result.cost(row.before),
                    result.cost(row.after),
                )
                for row in result.stores
            ],
            steps=[(_step(step), step.members, 100 * step.members // largest) for step in result.steps],
            difference=rule_words.signed(result.difference),
            most=[(rule_words.signed(points), people.get(pk), pk) for points, pk in tally.most],
            least=[(rule_words.signed(points), people.get(pk), pk) for points, pk in tally.least],
            changes=_changes(made), may_add=self.has_add_permission(request),
        )  # fmt: skip

    def csv_view(self, request, pk):
        self._may_view(request)
        made = get_object_or_404(Replay.objects.select_related("job"), pk=pk)
        out = io.StringIO()
        replay.write_csv(made, out)
        return as_file(out.getvalue(), f"replay-{made.first_day}-{made.pk}.csv", "text/csv; charset=utf-8")

    def call_off_view(self, request, pk):
        self._may(request, "add")
        made = get_object_or_404(Replay.objects.select_related("job"), pk=pk)
        if made.job.state not in Job.OVER:
            replay.call_off(made, by=request.user)
            # Where no worker has it in hand, this one ends it.
            tasks.replay_tickets.delay(made.pk)
        return redirect("admin:loyalty_replay_change", pk)

    def resume_view(self, request, pk) -> HttpResponse:
        """Ask again for work that nobody has in hand any more: it goes on where it stood."""
        self._may(request, "add")
        made = get_object_or_404(Replay.objects.select_related("job"), pk=pk)
        if made.job.state not in Job.OVER:
            tasks.replay_tickets.delay(made.pk)
        return redirect("admin:loyalty_replay_change", pk)


def _shares(prices: simulation.Prices, before: int, after: int) -> list[tuple[str, int, int]]:
    """(who pays, cents before, cents after) of the expected cost."""
    parties = (
        _t("the store that issues the points"), _t("the store where they are spent"), _t("Head office"),
    )  # fmt: skip
    shared = zip(parties, prices.shared(before), prices.shared(after), strict=True)
    return [(party, old, new) for party, old, new in shared if old or new]


def _step(step: replay.Step) -> str:
    signed = rule_words.signed
    if step.least is None:
        return _t("%(points)s or fewer") % {"points": signed(step.most or 0)}
    if step.most is None:
        return _t("%(points)s or more") % {"points": signed(step.least)}
    if step.least == step.most:
        return signed(step.least)
    return _t("%(least)s to %(most)s") % {"least": signed(step.least), "most": signed(step.most)}


def _changes(made: Replay) -> list[tuple[str, list[rule_words.Change]]]:
    """What the draft changes, rule by rule, as it was when the replay was asked for."""
    before, after, names = replay.rules_of(made.before), replay.rules_of(made.after), Names()
    called = dict(Rule.objects.values_list("code", "name"))
    found = []
    for code, rule in after.items():
        old = before.get(code)
        if old != rule:
            told = rule_words.changes(
                rule.kind, (old.conditions, old.terms) if old else None, (rule.conditions, rule.terms), names
            )
            found.append((called.get(code, code), told))
    return found
