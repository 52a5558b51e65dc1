"""Pairs that may be one person: a queue, and a page that shows both side by side so that somebody can decide.

A decision leads to the next pair; the last one can be taken back from there. Many likely pairs are merged at once on a
page of their own, after a look at some of them. The keys of the page stand in `static/cdp/review.js`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.text import capfirst
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from unfold.decorators import display

from profiles import consent, merging, pins, resolution, reviewing, separating, unification
from profiles.matching.reasons import sentence
from profiles.models import Channel, Identifier, MatchCandidate, Merge, Profile, Purchase, Reviewer
from profiles.models.profile import FIELDS_OF_A_PERSON
from tenants.network.admin import ScopedModelAdmin
from tenants.network.models import Job, Staff
from tenants.scoping import current_scope
from tenants.templatetags.money import money

MAY_DECIDE = "profiles.decide_matchcandidate"
MAY_DECIDE_MANY = "profiles.decideall_matchcandidate"
MAY_READ_CARDS = "profiles.view_identifier"
MAY_LEARN = "profiles.learn_matchingmodel"
REVIEWED = "pairs_reviewed"  # in the session: how many were decided since signing in
BULKS_SHOWN = 10
ADDRESS = ("street", "postcode", "city")

# Sentences of the apps above on what a merge would bring together, e.g. points, for whoever has the permission:
# (permission, (left, right) -> sentence or "").
EFFECTS: list[tuple[str, Callable[[Profile, Profile], str]]] = []


@dataclass(frozen=True)
class Verdict:
    """How the two values of a field compare: a word, an icon and a tone, so that colour never stands alone."""

    word: str | Promise
    icon: str
    tone: str


SAME = Verdict(gettext_lazy("same"), "check_circle", "cdp-yes")
SIMILAR = Verdict(gettext_lazy("similar"), "approval_delegation", "cdp-maybe")
DIFFERENT = Verdict(gettext_lazy("different"), "cancel", "cdp-no")
MISSING = Verdict(gettext_lazy("one side only"), "remove", "cdp-unsaid")
UNSAID = Verdict(gettext_lazy("unknown"), "remove", "cdp-unsaid")

LEVEL_VERDICTS = {
    "exact": SAME,
    "same_address": SAME,
    "other": DIFFERENT,
    "elsewhere": DIFFERENT,
    "other_street": DIFFERENT,
}


@admin.register(MatchCandidate)
class MatchCandidateAdmin(ScopedModelAdmin):
    list_display = ("pair", "likelihood", "stake", "reasons", "state", "found_on")
    list_display_links = ("pair",)
    list_filter = ("status",)
    list_per_page = 50
    list_select_related = ("left", "right")
    list_before_template = "profiles/queue_head.html"
    actions = None

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def get_queryset(self, request):
        return reviewing.valued(MatchCandidate.objects.all()).order_by(*self.get_ordering(request))

    def get_ordering(self, request):
        return ("-worth", "id")

    @display(description=gettext_lazy("pair"))
    def pair(self, candidate):
        return f"{candidate.left} ~ {candidate.right}"

    @display(description=gettext_lazy("likelihood"), ordering="probability")
    def likelihood(self, candidate):
        return f"{round(100 * candidate.probability)} %"

    @display(description=gettext_lazy("spent by both"), ordering="worth")
    def stake(self, candidate):
        return money(round(candidate.value))

    @display(description=gettext_lazy("reasons"))
    def reasons(self, candidate):
        return _why(candidate)

    @display(
        description=gettext_lazy("status"),
        ordering="status",
        label={"open": "warning", "merged": "success", "never": "info"},
    )
    def state(self, candidate):
        return candidate.status, candidate.get_status_display()

    @display(description=gettext_lazy("found"), ordering="found_at")
    def found_on(self, candidate):
        return date_format(timezone.localtime(candidate.found_at), "SHORT_DATE_FORMAT")

    def get_urls(self):
        def named(route, view, name):
            return path(route, self.admin_site.admin_view(view), name=f"profiles_matchcandidate_{name}")

        return [
            named("<int:pk>/decide/", self.decide_view, "decide"),
            named("<int:pk>/skip/", self.skip_view, "skip"),
            named("undo/", self.undo_view, "undo"),
            named("keys/", self.keys_view, "keys"),
            named("anew/", self.unify_view, "unify"),
            named("bulk/", self.bulk_view, "bulk"),
            named("bulk/merge/", self.bulk_merge_view, "bulk_merge"),
            named("bulk/<int:pk>/undo/", self.bulk_undo_view, "bulk_undo"),
            *super().get_urls(),
        ]

    def changelist_view(self, request, extra_context=None):
        """The queue, with the way into it and the way back."""
        told = {
            "last": _last_decision(request),
            "first": reviewing.queue_of(request.user).first() if self.has_view_permission(request) else None,
            "may_decide": request.user.has_perm(MAY_DECIDE),
            "may_decide_many": request.user.has_perm(MAY_DECIDE_MANY),
            "may_learn": request.user.has_perm(MAY_LEARN),
            "reviewed": request.session.get(REVIEWED, 0),
            "agreement": reviewing.agreement(request.user),
        }
        return super().changelist_view(request, {**(extra_context or {}), **told})

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """Both persons side by side."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        candidate = self.get_object(request, object_id)
        if candidate is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        left, right = candidate.left, candidate.right
        queue = reviewing.queue_of(request.user)
        is_open = candidate.status == MatchCandidate.Status.OPEN
        evidence = _evidence(candidate)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{left} ~ {right}",
            "opts": self.opts,
            "candidate": candidate,
            "people": _people_of(candidate),
            "percent": round(100 * candidate.probability),
            "rows": _rows(candidate),
            "left": _known_of(left, request.user),
            "right": _known_of(right, request.user),
            "shows_cards": request.user.has_perm(MAY_READ_CARDS),
            "why": _why(candidate),
            "evidence": evidence,
            "speaks_for": sorted((x for x in evidence if x["weight"] > 0), key=lambda x: -x["weight"]),
            "speaks_against": sorted((x for x in evidence if x["weight"] < 0), key=lambda x: x["weight"]),
            "effects": _effects(left, right, request.user) if is_open else [],
            "is_open": is_open,
            "may_decide": request.user.has_perm(MAY_DECIDE),
            "waiting": queue.count(),
            "next": reviewing.after(candidate, queue),
            "previous": reviewing.before(candidate, queue),
            "last": _last_decision(request),
            "reviewed": request.session.get(REVIEWED, 0),
            "agreement": reviewing.agreement(request.user),
            "keys_on": not Reviewer.objects.filter(staff=request.user, keys_on=False).exists(),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "profiles/review.html", context)

    def decide_view(self, request, pk):
        """Take a person's decision on a pair, and go to the next one."""
        _may_post(request)
        candidate = get_object_or_404(MatchCandidate.objects.select_related("left", "right"), pk=pk)
        following = reviewing.after(candidate, reviewing.queue_of(request.user))
        if candidate.status != MatchCandidate.Status.OPEN:
            messages.warning(request, _("Somebody has already decided this pair."))
            return _to(following)
        if request.POST.get("seen", _people_of(candidate)) != _people_of(candidate):
            messages.warning(
                request, _("One of the two has been merged meanwhile: this is who they are now.")
            )
            return _to(candidate)
        decision = request.POST.get("decision")
        try:
            if decision == "merge":
                resolution.decide_same(candidate, request.user, keep=_kept(request, candidate))
            elif decision == "never":
                resolution.decide_never(candidate, request.user)
            elif decision == "household":
                resolution.decide_household(candidate, request.user)
            else:
                return HttpResponse(status=400)
        except resolution.Decided as late:
            messages.warning(request, _("Not noted: %(reason)s.") % {"reason": late})
            return _to(following)
        except (merging.CannotMerge, pins.BadPin) as refused:
            messages.error(request, _("Not merged: %(reason)s.") % {"reason": refused})
            return redirect("admin:profiles_matchcandidate_change", pk)
        request.session[REVIEWED] = request.session.get(REVIEWED, 0) + 1
        return _to(following)

    def skip_view(self, request, pk):
        """Put a pair off, and go to the next one."""
        _may_post(request)
        candidate = get_object_or_404(MatchCandidate, pk=pk)
        following = reviewing.after(candidate, reviewing.queue_of(request.user))
        reviewing.skip(candidate, request.user)
        return _to(following)

    def undo_view(self, request):
        """Take back this person's last decision, whichever it was, and show the pair again."""
        _may_post(request)
        last = resolution.last_decision(request.user)
        if last is None:
            messages.warning(request, _("You have decided nothing of late that could be taken back."))
            return _to(None)
        try:
            resolution.take_back(last, request.user)
        except separating.CannotSeparate as refused:
            messages.error(request, _("Not taken back: %(reason)s.") % {"reason": refused})
            return _to(reviewing.queue_of(request.user).first())
        request.session[REVIEWED] = max(0, request.session.get(REVIEWED, 0) - 1)
        messages.success(request, _("Taken back: this pair is open again."))
        return _to(last)

    def keys_view(self, request):
        """Remember whether this person wants keys."""
        _may_post(request, "profiles.view_matchcandidate")
        keys_on = request.POST.get("keys") == "on"
        Reviewer.objects.update_or_create(staff=request.user, defaults={"keys_on": keys_on})
        back = request.POST.get("back", "")
        if url_has_allowed_host_and_scheme(back, allowed_hosts=None):
            return redirect(back)
        return _to(None)

    def unify_view(self, request):
        """Have workers compare all customers anew, and show how far they are."""
        _may_post(request, MAY_LEARN)
        job = unification.ask(request.user)
        return redirect("admin:network_job_change", job.pk)

    def bulk_view(self, request):
        """Choose likely pairs, see how many they are and some of them, and what was merged at once before."""
        if not request.user.has_perm(MAY_DECIDE_MANY):
            raise PermissionDenied
        percent, same = request.GET.get("least", "97"), request.GET.get("same", "either")
        shown, sample, wrong = None, [], ""
        try:
            choice = reviewing.choice_of(percent, same)
        except reviewing.BadChoice as bad:
            wrong = str(bad)
        else:
            pairs = reviewing.chosen(choice)
            shown, sample = reviewing.Shown.of(pairs), reviewing.sample_of(pairs)
        before = Job.objects.filter(kind=reviewing.MERGE_KIND).select_related("asked_by")[:BULKS_SHOWN]
        context = {
            **self.admin_site.each_context(request),
            "title": _("Merge many at once"),
            "opts": self.opts,
            "percent": percent[:8],
            "same": same,
            "choices": [
                ("either", _("same e-mail or same card")), ("email", _("same e-mail")), ("card", _("same card")),
                ("", _("whatever they share")),
            ],
            "shown": shown,
            "count": shown and shown.count,
            "most": reviewing.MOST_AT_ONCE,
            "sample": [(pair, round(100 * pair.probability, 1), _why(pair)) for pair in sample],
            "wrong": wrong,
            "before": [(job, reviewing.may_be_undone(job)) for job in before],
        }  # fmt: skip
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "profiles/review_bulk.html", context)

    def bulk_merge_view(self, request):
        """Have all that was counted merged by a worker."""
        _may_post(request, MAY_DECIDE_MANY)
        try:
            choice = reviewing.choice_of(request.POST.get("least", ""), request.POST.get("same", ""))
            shown = reviewing.Shown.read(request.POST.get("shown", ""))
            job = reviewing.merge_all(choice, request.user, shown)
        except reviewing.BadChoice as bad:
            messages.error(request, _("Not merged: %(reason)s.") % {"reason": bad})
            return redirect("admin:profiles_matchcandidate_bulk")
        return redirect("admin:network_job_change", job.pk)

    def bulk_undo_view(self, request, pk):
        """Have a bulk decision taken back as a whole."""
        _may_post(request, MAY_DECIDE_MANY)
        try:
            job = reviewing.undo_all(get_object_or_404(Job, pk=pk), request.user)
        except reviewing.CannotUndo as refused:
            messages.error(request, _("Not taken back: %(reason)s.") % {"reason": refused})
            return redirect("admin:profiles_matchcandidate_bulk")
        return redirect("admin:network_job_change", job.pk)


def _may_post(request, permission: str = MAY_DECIDE) -> None:
    if request.method != "POST" or not request.user.has_perm(permission):
        raise PermissionDenied


def _people_of(candidate: MatchCandidate) -> str:
    """Whom the question is about: that changes when one of them is merged into somebody else."""
    return f"{candidate.left_id}-{candidate.right_id}"


def _kept(request, candidate: MatchCandidate) -> dict[str, str]:
    """The values that the person chose against the rule: field -> value."""
    sides = {"left": candidate.left, "right": candidate.right}
    chosen = {name: request.POST.get(f"keep_{name}", "") for name in FIELDS_OF_A_PERSON}
    return {
        name: str(value)
        for name, side in chosen.items()
        if side in sides and (value := getattr(sides[side], name))
    }


def _last_decision(request) -> MatchCandidate | None:
    if not request.user.has_perm(MAY_DECIDE):
        return None
    return resolution.last_decision(request.user)


def _evidence(candidate: MatchCandidate) -> list[dict]:
    """What was weighed. A store reads how values compare, not what another store's records say."""
    if current_scope().is_whole_network:
        return candidate.evidence
    return [{**line, "a": "", "b": ""} for line in candidate.evidence]


def _why(candidate: MatchCandidate) -> str:
    if not current_scope().is_whole_network:
        return ""
    return sentence(candidate.evidence, get_language() or "en")


def say_separated(request, deed: Merge) -> None:
    """Tell whoever separated a merge which two persons there are again, under the names they got back."""
    names = {"one": Profile.objects.get(pk=deed.winner_id), "other": Profile.objects.get(pk=deed.loser_id)}
    messages.success(request, _("Separated: %(one)s and %(other)s are two persons again.") % names)


def _to(candidate: MatchCandidate | None) -> HttpResponse:
    """To a pair, or to the list when nothing waits any more."""
    if candidate is None:
        return redirect(reverse("admin:profiles_matchcandidate_changelist", query={"status__exact": "open"}))
    return redirect("admin:profiles_matchcandidate_change", candidate.pk)


def _rows(candidate: MatchCandidate) -> list[dict]:
    """Each field: both values, how they compare, and the weight of the evidence that rests on it."""
    levels = {line["field"]: line for line in candidate.evidence}
    # The three parts of an address are weighed as one: the weight stands beside the first that both sides fill.
    told = [n for n in ADDRESS if getattr(candidate.left, n) and getattr(candidate.right, n)]
    weighed = told[0] if told else ADDRESS[0]
    rows = []
    for name in FIELDS_OF_A_PERSON:
        one, other = getattr(candidate.left, name), getattr(candidate.right, name)
        line = levels.get("address" if name in ADDRESS else name)
        rows.append(
            {
                "name": Profile._meta.get_field(name).verbose_name,
                "key": name,
                "is_choice": bool(one and other and str(one) != str(other)),
                "left": one,
                "right": other,
                "verdict": _verdict(one, other, None if name in ADDRESS else line),
                "weight": line["weight"] if line and (name not in ADDRESS or name == weighed) else None,
            }
        )
    return rows


def _verdict(one, other, line: dict | None) -> Verdict:
    if not one and not other:
        return UNSAID
    if not one or not other:
        return MISSING
    if str(one).casefold() == str(other).casefold():
        return SAME
    if line is None or line["level"] == "exact":
        return DIFFERENT if line is None else SIMILAR
    return LEVEL_VERDICTS.get(line["level"], SIMILAR)


def _known_of(profile: Profile, reader: Staff) -> dict:
    """What helps to tell who somebody is beside their own fields, as far as the reader's role may know it."""
    bought = Purchase.objects.filter(profile=profile)
    return {
        "profile": profile,
        "sources": sorted({record.source.name for record in profile.records.select_related("source")}),
        "tickets": bought.count(),
        "last": bought.first(),
        "cards": _cards(profile) if reader.has_perm(MAY_READ_CARDS) else [],
    }


def _cards(*profiles: Profile) -> list[str]:
    told = Identifier.objects.filter(profile__in=profiles, kind=Identifier.Kind.CARD)
    return sorted(set(told.values_list("value", flat=True)))


def _effects(left: Profile, right: Profile, reader: Staff) -> list[str]:
    """What a merge would bring together, as far as the reader's role may know it: cards, consents (a refusal wins over
    a grant), and what apps above say."""
    effects = []
    cards = _cards(left, right) if reader.has_perm(MAY_READ_CARDS) else []
    if cards:
        effects.append(_("Loyalty cards: %(cards)s") % {"cards": ", ".join(cards)})
    effects += [
        said
        for permission, effect in EFFECTS
        if reader.has_perm(permission) and (said := effect(left, right))
    ]
    ones, others = consent.current(left), consent.current(right)
    for channel in Channel:
        words = [now[channel].granted for now in (ones, others) if channel in now]
        if words:
            word = _("allowed") if all(words) else _("refused")
            effects.append(_("%(label)s: %(value)s") % {"label": capfirst(channel.label), "value": word})
    return effects
