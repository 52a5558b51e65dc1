"""The editor of rules: cards in the order in which they are evaluated, drafts, and what publishing one would do."""

from dataclasses import dataclass, field

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from loyalty import drafts, replay, rule_words, rules, simulation
from loyalty.models import Replay, Rule, RuleDraft, RuleVersion
from loyalty.rule_words import Card, Change, Names
from loyalty.version_form import VersionForm, said_by
from tenants.network.admin import Audited, ReadOnly, ScopedModelAdmin, StaysOnPage

REPLAYS_LOOKED_AT = 20


class VersionInline(ReadOnly, TabularInline):
    model = RuleVersion
    extra = 0
    hide_title = True
    ordering = ("-number",)
    fields = ("number", "effective_from", "effective_to", "says", "changed", "reason", "made_by")
    readonly_fields = ("says", "changed")
    verbose_name_plural = _("versions (never edited: a change is a new one)")

    @display(description=_("what it says"))
    def says(self, version):
        return said_by(version)

    @display(description=_("what changed"), empty_value="–")
    def changed(self, version):
        before = RuleVersion.objects.filter(rule=version.rule_id, number=version.number - 1).first()
        if before is None:
            return None
        found = rule_words.changes(version.rule.kind, _words(before), _words(version), Names())
        return format_html_join(mark_safe("<br>"), "{}", ((change,) for change in found)) if found else None


def _words(said: RuleVersion | RuleDraft) -> tuple[dict, dict]:
    return said.conditions, said.terms


@dataclass
class ShownRule:
    """A rule on the page of cards: what is live, what is scheduled, and its draft, each with what it changes."""

    rule: Rule
    live: RuleVersion | None = None
    card: Card | None = None
    scheduled: list[tuple[RuleVersion, list[Change]]] = field(default_factory=list)
    draft: RuleDraft | None = None
    draft_changes: list[Change] = field(default_factory=list)
    is_over: bool = False


def shown(rule: Rule, names: Names) -> ShownRule:
    """What the card of a rule says; `rule` comes with its versions and its draft."""
    now, told = timezone.now(), ShownRule(rule)
    versions = sorted(rule.versions.all(), key=lambda version: version.number)
    draft: RuleDraft | None = getattr(rule, "draft", None)
    before: RuleVersion | None = None
    for version in versions:
        if version.effective_from > now:
            told.scheduled.append((version, _changed(rule, before, version, names)))
        elif version.effective_to is None or version.effective_to > now:
            told.live = version
        before = version
    newest = versions[-1] if versions else None
    pictured = told.live or newest or draft
    if pictured is not None:
        told.card = rule_words.card(rule.kind, *_words(pictured), names)
    told.is_over = bool(versions) and told.live is None and not told.scheduled
    if draft is not None:
        told.draft, told.draft_changes = draft, _changed(rule, newest, draft, names)
    return told


def _changed(
    rule: Rule, before: RuleVersion | None, after: RuleVersion | RuleDraft, names: Names
) -> list[Change]:
    return rule_words.changes(rule.kind, _words(before) if before else None, _words(after), names)


class PublishForm(forms.Form):
    """What is confirmed, and, where saved simulations differ, why it shall be all the same."""

    confirmed = forms.CharField(max_length=64, widget=forms.HiddenInput)
    override = forms.CharField(
        label=_("Why all the same"), max_length=300, required=False, widget=UnfoldAdminTextInputWidget,
        help_text=_("Kept in the audit trail, with your name."),
    )  # fmt: skip
    expect_new = forms.BooleanField(
        label=_("These simulations expect the new points from now on"),
        required=False,
        widget=UnfoldBooleanWidget,
    )


@admin.register(Rule)
class RuleAdmin(StaysOnPage, Audited, ScopedModelAdmin):
    search_fields = ("name", "code")
    inlines = (VersionInline,)
    change_form_outer_before_template = "admin/loyalty/rule/new_version_link.html"
    actions = None

    def get_readonly_fields(self, request, obj=None):
        # What a version says can be read only as the kind it was written for.
        return ("code", "kind", "priority") if obj else ()

    def get_form(self, request, obj=None, change=False, **kwargs):
        order = _(
            "Small numbers come first. Never changed later: a refund computes its ticket anew, in the order of its day."
        )
        return super().get_form(request, obj, change, help_texts={"priority": order}, **kwargs)

    def has_delete_permission(self, request, obj=None):
        return False

    def get_inlines(self, request, obj):
        return self.inlines if obj else ()

    def get_urls(self):
        def named(route, view, name):
            return path(route, self.admin_site.admin_view(view), name=f"loyalty_rule_{name}")

        return [
            named("<int:pk>/new-version/", self.new_version_view, "new_version"),
            named("<int:pk>/publish/", self.publish_view, "publish"),
            named("<int:pk>/discard/", self.discard_view, "discard"),
            *super().get_urls(),
        ]

    def _page(self, request, template: str, title: str, **context) -> TemplateResponse:
        request.current_app = self.admin_site.name
        shared = {**self.admin_site.each_context(request), "opts": self.opts, "title": title}
        return TemplateResponse(request, template, shared | context)

    def changelist_view(self, request, extra_context=None):
        """Every rule as a card, in the order in which they are evaluated."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        kinds = dict(Rule.Kind.choices)
        kind = request.GET.get("kind", "")
        found = Rule.objects.select_related("draft__made_by").prefetch_related("versions")
        names = Names()
        cards = [shown(rule, names) for rule in (found.filter(kind=kind) if kind in kinds else found)]
        return self._page(
            request, "loyalty/rules/cards.html", str(self.opts.verbose_name_plural).capitalize(),
            cards=cards, kinds=kinds, kind=kind if kind in kinds else "",
            draft_count=RuleDraft.objects.count(), may_change=self.has_change_permission(request),
            may_add=self.has_add_permission(request), may_replay=request.user.has_perm("loyalty.add_replay"),
            may_simulate=request.user.has_perm("loyalty.view_savedsimulation"),
        )  # fmt: skip

    def change_view(self, request, object_id, form_url="", extra_context=None):
        draft = RuleDraft.objects.filter(rule=object_id).first() if str(object_id).isdecimal() else None
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "draft": draft})

    def response_add(self, request, obj, post_url_continue=None):
        # A rule without a version says nothing: the next question is what it says.
        return HttpResponseRedirect(reverse("admin:loyalty_rule_new_version", args=[obj.pk]))

    def new_version_view(self, request, pk):
        """Ask what the rule would say, beginning with its draft or what it says now; keep it as its draft."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        rule = get_object_or_404(Rule, pk=pk)
        form = VersionForm(rule, request.POST or None)
        if request.method == "POST" and form.is_valid():
            said = form.cleaned_data
            try:
                drafts.save(
                    rule, said["conditions"], said["terms"], by=request.user, reason=said["reason"],
                    effective_from=said["effective_from"], effective_to=said["effective_to"],
                )  # fmt: skip
            except rules.InvalidRule as refused:
                form.refuse(refused)
            else:
                return redirect("admin:loyalty_rule_publish", pk)
        return self._page(
            request, "admin/loyalty/rule/new_version.html", _t("New version of %(rule)s") % {"rule": rule},
            original=rule, rule=rule, form=form,
        )  # fmt: skip

    def publish_view(self, request, pk):
        """What publishing the draft would change; on confirmation it becomes a version."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        draft = RuleDraft.objects.select_related("rule", "made_by").filter(rule=pk).first()
        if draft is None:
            messages.error(request, _t("There is no draft of this rule."))
            return redirect("admin:loyalty_rule_changelist")
        form = PublishForm(request.POST or None, initial={"confirmed": drafts.fingerprint(draft)})
        if request.method == "POST" and form.is_valid():
            try:
                version = drafts.publish(draft.rule, by=request.user, **form.cleaned_data)
            except drafts.Differs as refused:
                form.add_error("override", str(refused))
            except drafts.NotPublished as refused:
                form.add_error(None, _t("Not published: %(reason)s.") % {"reason": refused})
            except rules.InvalidRule as refused:
                form.add_error(None, _t("Not published: %(reason)s.") % {"reason": refused.message})
            else:
                self.message_user(request, _t("Published: %(version)s.") % {"version": version})
                return HttpResponseRedirect(reverse("admin:loyalty_rule_change", args=[pk]))
        preview = drafts.preview(draft)
        names, newest = Names(), draft.rule.versions.order_by("-number").first()
        return self._page(
            request, "loyalty/rules/publish.html", _t("Publish %(rule)s") % {"rule": draft.rule},
            original=draft.rule, rule=draft.rule, draft=draft, newest=newest, preview=preview, form=form,
            now=timezone.now(), card=rule_words.card(draft.rule.kind, *_words(draft), names),
            changes=_changed(draft.rule, newest, draft, names), replays=_replays_of(draft),
            may_replay=request.user.has_perm("loyalty.add_replay") and draft.rule.kind != rules.ACTION,
            may_simulate=request.user.has_perm("loyalty.view_savedsimulation") and draft.rule.kind != rules.ACTION,
        )  # fmt: skip

    def discard_view(self, request, pk):
        """Throw the draft away."""
        if request.method != "POST" or not self.has_change_permission(request):
            raise PermissionDenied
        drafts.discard(get_object_or_404(Rule, pk=pk), by=request.user)
        messages.success(request, _t("The draft is thrown away: nothing changes."))
        return redirect("admin:loyalty_rule_changelist")


def _replays_of(draft: RuleDraft) -> list[tuple[Replay, str]]:
    """The finished replays of this very draft, as it is now, with the points it would have given more."""
    said = simulation.terms_of(draft)
    found = []
    for made in Replay.objects.select_related("job").filter(job__state="done")[:REPLAYS_LOOKED_AT]:
        tried = replay.rules_of(made.after).get(said.code)
        if tried is not None and (tried.conditions, tried.terms) == (said.conditions, said.terms):
            found.append((made, rule_words.signed(replay.Result(made).difference)))
    return found
