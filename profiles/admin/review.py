"""Pairs that may be one person: a queue, and a page that shows both side by side so that somebody can decide.

A decision leads to the next pair; a merge can be undone from there. The keys of the page stand in
`static/cdp/review.js`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from unfold.decorators import display

from profiles import consent, resolution
from profiles.matching.reasons import sentence
from profiles.models import Channel, Identifier, MatchCandidate, Merge, Profile, Purchase
from profiles.models.profile import FIELDS_OF_A_PERSON
from tenants.network.admin import ScopedModelAdmin

ADDRESS = ("street", "postcode", "city")

# Sentences of the apps above on what a merge would bring together, e.g. points: (left, right) -> sentence or "".
EFFECTS: list[Callable[[Profile, Profile], str]] = []


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
    list_display = ("pair", "likelihood", "reasons", "state", "found_on")
    list_display_links = ("pair",)
    list_filter = ("status",)
    list_per_page = 50
    list_select_related = ("left", "right")
    list_before_template = "profiles/undo.html"
    ordering = ("-probability", "id")
    actions = None

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    @display(description=gettext_lazy("pair"))
    def pair(self, candidate):
        return f"{candidate.left} ~ {candidate.right}"

    @display(description=gettext_lazy("likelihood"), ordering="probability")
    def likelihood(self, candidate):
        return f"{round(100 * candidate.probability)} %"

    @display(description=gettext_lazy("reasons"))
    def reasons(self, candidate):
        return sentence(candidate.evidence, get_language() or "en")

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
        decide = self.admin_site.admin_view(self.decide_view)
        undo = self.admin_site.admin_view(self.undo_view)
        return [
            path("<int:pk>/decide/", decide, name="profiles_matchcandidate_decide"),
            path("undo/<int:merge_pk>/", undo, name="profiles_matchcandidate_undo"),
            *super().get_urls(),
        ]

    def changelist_view(self, request, extra_context=None):
        """The queue; after its last pair was merged, with the way back."""
        undo = _undoable(request)
        # The list would take a word that is none of its filters for a mistake.
        request.GET = request.GET.copy()
        request.GET.pop("undo", None)
        return super().changelist_view(request, {**(extra_context or {}), "undo": undo})

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """Both persons side by side."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        candidate = self.get_object(request, object_id)
        if candidate is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        left, right = candidate.left, candidate.right
        queue = MatchCandidate.objects.filter(status=MatchCandidate.Status.OPEN)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{left} ~ {right}",
            "opts": self.opts,
            "candidate": candidate,
            "percent": round(100 * candidate.probability),
            "rows": _rows(candidate),
            "left": _known_of(left),
            "right": _known_of(right),
            "why": sentence(candidate.evidence, get_language() or "en"),
            "effects": _effects(left, right),
            "is_open": candidate.status == MatchCandidate.Status.OPEN,
            "may_decide": request.user.has_perm("profiles.decide_matchcandidate"),
            "waiting": queue.count(),
            "next": after(candidate, queue),
            "previous": before(candidate, queue),
            "undo": _undoable(request),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "profiles/review.html", context)

    def decide_view(self, request, pk):
        """Take a person's decision on a pair, and go to the next one."""
        if request.method != "POST" or not request.user.has_perm("profiles.decide_matchcandidate"):
            raise PermissionDenied
        candidate = get_object_or_404(MatchCandidate.objects.select_related("left", "right"), pk=pk)
        following = after(candidate, MatchCandidate.objects.filter(status=MatchCandidate.Status.OPEN))
        if candidate.status != MatchCandidate.Status.OPEN:
            messages.warning(request, _("Somebody has already decided this pair."))
            return _to(following)
        decision = request.POST.get("decision")
        if decision == "merge":
            try:
                deed = resolution.decide_same(candidate, request.user)
            except resolution.CannotMerge as refused:
                messages.error(request, _("Not merged: %(reason)s.") % {"reason": refused})
                return redirect("admin:profiles_matchcandidate_change", pk)
            return _to(following, undo=deed.pk)
        if decision == "never":
            resolution.decide_never(candidate, request.user)
            kept = _("Kept apart: %(one)s and %(other)s. No later run will join them.")
            messages.success(request, kept % {"one": candidate.left, "other": candidate.right})
            return _to(following)
        return HttpResponse(status=400)

    def undo_view(self, request, merge_pk):
        """Take back the merge just made."""
        if request.method != "POST" or not request.user.has_perm("profiles.merge_profile"):
            raise PermissionDenied
        deed = get_object_or_404(Merge, pk=merge_pk)
        try:
            resolution.unmerge(deed, by=request.user)
        except resolution.CannotSeparate as refused:
            messages.error(request, _("Not separated: %(reason)s.") % {"reason": refused})
        else:
            say_separated(request, deed)
        back = request.POST.get("back", "")
        return _to(MatchCandidate.objects.filter(pk=back).first() if back.isdecimal() else None)


def say_separated(request, deed: Merge) -> None:
    """Tell whoever separated a merge which two persons there are again, under the names they got back."""
    names = {"one": Profile.objects.get(pk=deed.winner_id), "other": Profile.objects.get(pk=deed.loser_id)}
    messages.success(request, _("Separated: %(one)s and %(other)s are two persons again.") % names)


def after(candidate: MatchCandidate, queue) -> MatchCandidate | None:
    """The next pair of the queue, which is sorted by probability; its first one after the last."""
    later = Q(probability__lt=candidate.probability) | Q(
        probability=candidate.probability, pk__gt=candidate.pk
    )
    others = queue.exclude(pk=candidate.pk)
    return others.filter(later).first() or others.first()


def before(candidate: MatchCandidate, queue) -> MatchCandidate | None:
    """The pair of the queue before this one, or `None` at its head."""
    earlier = Q(probability__gt=candidate.probability) | Q(
        probability=candidate.probability, pk__lt=candidate.pk
    )
    return queue.filter(earlier).order_by("probability", "-pk").first()


def _to(candidate: MatchCandidate | None, undo: int | None = None) -> HttpResponse:
    """To a pair, or to the list when nothing waits any more; with the merge that may be undone from there."""
    query = {"undo": undo} if undo else {}
    if candidate is None:
        address = reverse(
            "admin:profiles_matchcandidate_changelist", query={"status__exact": "open", **query}
        )
    else:
        address = reverse("admin:profiles_matchcandidate_change", args=[candidate.pk], query=query)
    return redirect(address)


def _undoable(request) -> Merge | None:
    """The merge named in the address, if this person made it and it still stands."""
    named = request.GET.get("undo", "")
    if not named.isdecimal():
        return None
    standing = Merge.objects.filter(pk=named, by=request.user, undone_at=None)
    return standing.select_related("winner", "loser").first()


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


def _known_of(profile: Profile) -> dict:
    """What helps to tell who somebody is beside their own fields."""
    bought = Purchase.objects.filter(profile=profile)
    return {
        "profile": profile,
        "sources": sorted({record.source.name for record in profile.records.select_related("source")}),
        "tickets": bought.count(),
        "last": bought.first(),
        "cards": _cards(profile),
    }


def _cards(*profiles: Profile) -> list[str]:
    told = Identifier.objects.filter(profile__in=profiles, kind=Identifier.Kind.CARD)
    return sorted(set(told.values_list("value", flat=True)))


def _effects(left: Profile, right: Profile) -> list[str]:
    """What a merge would bring together: cards, consents (a refusal wins over a grant), and what apps above say."""
    effects = []
    cards = _cards(left, right)
    if cards:
        effects.append(_("Loyalty cards: %(cards)s") % {"cards": ", ".join(cards)})
    effects += [said for effect in EFFECTS if (said := effect(left, right))]
    ones, others = consent.current(left), consent.current(right)
    for channel in Channel:
        words = [now[channel].granted for now in (ones, others) if channel in now]
        if words:
            word = _("allowed") if all(words) else _("refused")
            effects.append(_("%(label)s: %(value)s") % {"label": channel.label.capitalize(), "value": word})
    return effects
