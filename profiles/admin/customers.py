"""Customers: a list that finds a person by any word, and a page that tells everything known and where it came from.

The page is read-only: values belong to their sources. What a person may decide here, a verb elsewhere does: consent
(`profiles/consent.py`), a value that is pinned (`profiles/pins.py`) and the separation of a wrong merge
(`profiles/merging.py`). Each block asks the role of
whoever looks, and the scope leaves out what happened in other people's stores. Apps above add a block with `PANELS`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Case, F, OuterRef, Q, QuerySet, Subquery, When
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import translation
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.functional import cached_property
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from unfold.decorators import display

from profiles import as_at, consent, households, normalise, pins, search, separating
from profiles.admin.filters import HomeRegionFilter, KnownFilter, MergedFilter, ReachFilter
from profiles.admin.review import say_separated
from profiles.matching.reasons import sentence
from profiles.models import (
    Channel,
    HouseholdMember,
    Identifier,
    MatchCandidate,
    Merge,
    Pin,
    PrimaryId,
    Profile,
    ProfileFacts,
    Purchase,
    SourceRecord,
)
from profiles.models.profile import FIELDS_OF_A_PERSON
from profiles.survivorship import current_statements, verified
from tenants.calendar import brand_today
from tenants.network.admin import ScopedModelAdmin
from tenants.network.models import audit
from tenants.scoping import current_scope

TICKETS_A_PAGE = 20
# Rows are counted faster than words are found.
COUNTED_UNSEARCHED = 20_000
RECORDS_SHOWN = 12
CHANNEL_ICONS = {Channel.EMAIL: "mail", Channel.SMS: "sms", Channel.POST: "local_post_office"}


@dataclass(frozen=True)
class Panel:
    """A block of the customer page that an app above adds: shown to whoever has the permission.

    `context(request, profile)` gives what the two templates read under the name `panel`; `headline` is a template
    for one line of the page's header.
    """

    permission: str
    template: str
    context: Callable[[HttpRequest, Profile], dict]
    headline: str = ""


PANELS: list[Panel] = []
# What apps above knew of somebody at an instant: (permission, people's ids, instant -> [(what, value)]).
PAST: list[tuple[str, Callable[[set[int], datetime], list[tuple[str, str]]]]] = []


@dataclass(frozen=True)
class Row:
    """One field of a person: the value kept, where it came from and why it won, what lost, and what each record says.

    `lost`: dicts of source, value, at. `pin` is the pin that holds the value, if a person pinned it.
    """

    name: str
    key: str
    value: object
    source: str
    at: datetime | None
    why: str
    # An e-mail that looks mistyped, and what it may have been meant to be; for a person to decide.
    suggestion: str = ""
    said: list[tuple[object, bool]] = field(default_factory=list)
    lost: list[dict] = field(default_factory=list)
    pin: Pin | None = None


class BoundedPaginator(Paginator):
    """Pages of a list that is counted up to a limit; `goes_on` says that there are more, and so does the template."""

    template_name = "profiles/bounded_pages.html"

    def __init__(self, *args, limit: int = search.COUNTED, **kwargs):
        super().__init__(*args, **kwargs)
        self.limit = limit

    @cached_property
    def _found(self) -> int:
        return search.counted(cast("QuerySet", self.object_list), self.limit)

    @cached_property
    def count(self) -> int:
        return min(self._found, self.limit)

    @property
    def goes_on(self) -> bool:
        return self._found > self.limit


@admin.register(Profile)
class ProfileAdmin(ScopedModelAdmin):
    list_display = ("name", "email", "phone", "city", "last_purchase", "reach")
    list_display_links = ("name",)
    list_per_page = 50
    show_full_result_count = False
    search_fields = ("search_text",)
    search_help_text = gettext_lazy(
        "Name, e-mail, phone, card, customer number or town; accents do not matter."
    )
    list_filter = (MergedFilter, KnownFilter, ReachFilter, HomeRegionFilter)
    actions = None

    def has_add_permission(self, request):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def get_list_filter(self, request):
        # Reach and home region are facts of the whole network: a store does not read them.
        return self.list_filter if current_scope().is_whole_network else (MergedFilter, KnownFilter)

    def get_list_display(self, request):
        return self.list_display if current_scope().is_whole_network else self.list_display[:-1]

    def get_ordering(self, request):
        """Who bought last comes first. That is a fact of the whole network: a store's people go by their name."""
        if current_scope().is_whole_network:
            return (F("facts__last_purchase_on").desc(nulls_last=True), "-pk")
        unnamed = Case(When(last_name="", first_name="", then=1), default=0)
        return (unnamed, "last_name", "first_name", "-pk")

    def get_paginator(self, request, queryset, per_page, orphans=0, allow_empty_first_page=True):
        limit = search.COUNTED if request.GET.get(SEARCH_VAR) else COUNTED_UNSEARCHED
        return BoundedPaginator(queryset, per_page, orphans, allow_empty_first_page, limit=limit)

    def get_queryset(self, request):
        last = (
            Purchase.objects.filter(profile=OuterRef("pk")).order_by("-business_day").values("business_day")
        )
        facts = ProfileFacts.objects.filter(pk=OuterRef("pk"))
        allowed = {
            f"{channel}_reach": Subquery(facts.values(f"{channel}_allowed")[:1]) for channel in Channel.values
        }
        return (
            super()
            .get_queryset(request)
            .annotate(bought_last=Subquery(last[:1]), known_since=Profile.known_since(), **allowed)
        )

    def get_search_results(self, request, queryset, search_term):
        if current_scope().is_whole_network:
            # Everybody has facts. Said aloud, the database may begin with them, in whose order the list stands.
            queryset = queryset.filter(facts__isnull=False)
        return (search.narrowed(queryset, search_term) if search_term.strip() else queryset), False

    @display(description=gettext_lazy("name"), ordering="last_name")
    def name(self, profile):
        return str(profile)

    @display(description=gettext_lazy("last purchase"))
    def last_purchase(self, profile):
        return profile.bought_last and date_format(profile.bought_last, "SHORT_DATE_FORMAT")

    @display(description=gettext_lazy("may be reached by"))
    def reach(self, profile):
        allowed = [str(label) for value, label in Channel.choices if getattr(profile, f"{value}_reach")]
        return ", ".join(allowed) or None

    def get_urls(self):
        def named(route, view, name):
            return path(route, self.admin_site.admin_view(view), name=f"profiles_profile_{name}")

        return [
            named("<int:pk>/consent/", self.consent_view, "consent"),
            named("<int:pk>/household/", self.household_view, "household"),
            named("<int:pk>/pin/", self.pin_view, "pin"),
            named("<int:pk>/unpin/<int:pin_pk>/", self.unpin_view, "unpin"),
            named("<int:pk>/separate/<int:merge_pk>/", self.separate_view, "separate"),
            *super().get_urls(),
        ]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """The customer page. Who looks at whom is written down."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        profile = Profile.reached_by(pk=object_id) if object_id.isdecimal() else None
        if profile is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if str(profile.pk) != object_id:
            return redirect("admin:profiles_profile_change", profile.pk)
        if "as_at" in request.GET:
            return self._past_view(request, profile, request.GET["as_at"])
        profile = self.get_object(request, object_id)
        audit(request.user, "viewed", profile, store_id=_own_store())
        context = {
            **self.admin_site.each_context(request),
            **_page(request, profile),
            "title": str(profile),
            "opts": self.opts,
            "original": profile,
            "has_view_permission": True,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "profiles/customer.html", context)

    def _past_view(self, request, profile: Profile, typed: str):
        """The customer as known on a day of the past. Looking back is looking, and is written down too."""
        day = as_at.day_of(typed)
        if day is None:
            messages.error(request, _("«%s» is no day of the past") % typed[:20])
            return redirect("admin:profiles_profile_change", profile.pk)
        audit(request.user, "viewed", profile, store_id=_own_store(), as_at=day.isoformat())
        past, may = as_at.as_at(profile, day), request.user.has_perm
        shows_sources = may("profiles.view_sourcerecord")
        context = {
            **self.admin_site.each_context(request),
            "title": _("%(customer)s as at %(day)s") % {"customer": profile, "day": date_format(day)},
            "opts": self.opts,
            "original": profile,
            "profile": profile,
            "past": past,
            "yesterday": brand_today() - timedelta(days=1),
            "fields": _past_fields(past.profile, shows_sources=shows_sources),
            "identifiers": past.identifiers if may("profiles.view_identifier") else [],
            "records": len(past.records) if shows_sources else None,
            "consents": [
                {"label": channel.label, "icon": CHANNEL_ICONS[channel], "now": past.consents.get(channel.value)}
                for channel in Channel
            ]
            if may("profiles.view_consentchange")
            else [],
            "apart": past.apart if may("profiles.view_merge") else [],
            "shows_tickets": may("profiles.view_purchase"),
            "of_own_stores": not current_scope().is_whole_network,
            "figures": [line for permission, tell in PAST if may(permission) for line in tell(past.people, past.end)],
        }  # fmt: skip
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "profiles/customer_past.html", context)

    def consent_view(self, request, pk):
        """Note that the person allowed or refused a channel, as told to head office."""
        profile = _posted_about(request, pk, "profiles.change_profile")
        channel, verdict = request.POST.get("channel", ""), request.POST.get("verdict", "")
        deed = {"grant": consent.grant, "withdraw": consent.withdraw}.get(verdict)
        if deed is None or channel not in Channel.values:
            return HttpResponse(status=400)
        deed(profile, channel, actor=request.user, wording=request.POST.get("wording", "")[:500])
        audit(request.user, f"consent {verdict}", profile, channel=channel)
        word = Channel(channel).label
        done = _("Noted: %(channel)s allowed.") if verdict == "grant" else _("Noted: %(channel)s refused.")
        messages.success(request, done % {"channel": word})
        return redirect(f"{reverse('admin:profiles_profile_change', args=[profile.pk])}#consents")

    def household_view(self, request, pk):
        """Note that another customer is no member of this one's household."""
        profile = _posted_about(request, pk, "profiles.change_profile")
        chosen = request.POST.get("other", "")
        other = Profile.reached_by(pk=chosen) if chosen.isdecimal() else None
        if other is None:
            raise Http404
        try:
            households.decide(profile, other, together=False, by=request.user)
        except households.CannotDecide as refused:
            messages.error(request, str(refused))
        else:
            said = _("Noted: %(other)s is not of this household. No later run will say otherwise.")
            messages.success(request, said % {"other": other})
        return redirect(f"{reverse('admin:profiles_profile_change', args=[profile.pk])}#household")

    def pin_view(self, request, pk):
        """Keep the value that a person says is right, whatever sources say."""
        profile = _posted_about(request, pk, "profiles.change_profile")
        told = {name: request.POST.get(name, "") for name in ("field", "value", "reason")}
        try:
            pins.pin(profile, told["field"], told["value"], by=request.user, reason=told["reason"])
        except pins.BadPin as refused:
            messages.error(request, _("Not pinned: %(reason)s.") % {"reason": refused})
        else:
            messages.success(request, _("Pinned: no source changes this value until the pin is taken off."))
        return redirect(f"{reverse('admin:profiles_profile_change', args=[profile.pk])}#identity")

    def unpin_view(self, request, pk, pin_pk):
        """Let the sources speak again."""
        profile = _posted_about(request, pk, "profiles.change_profile")
        pins.unpin(get_object_or_404(Pin, pk=pin_pk, profile=profile), request.user)
        messages.success(request, _("The pin is off: the value comes from the sources again."))
        return redirect(f"{reverse('admin:profiles_profile_change', args=[profile.pk])}#identity")

    def separate_view(self, request, pk, merge_pk):
        """Undo a merge: each person gets back what was theirs."""
        profile = _posted_about(request, pk, "profiles.merge_profile")
        merge = get_object_or_404(Merge, pk=merge_pk, winner=profile, undone_at=None)
        try:
            separating.unmerge(merge, by=request.user)
        except separating.CannotSeparate as refused:
            messages.error(request, _("Not separated: %(reason)s.") % {"reason": refused})
        else:
            say_separated(request, merge)
        return redirect("admin:profiles_profile_change", profile.pk)


def _posted_about(request, pk, permission) -> Profile:
    """The visible profile that a form speaks of. Refuses who may not, and any method but POST."""
    if request.method != "POST" or not request.user.has_perm(permission):
        raise PermissionDenied
    profile = Profile.reached_by(pk=pk)
    if profile is None:
        raise Http404
    return profile


def _own_store() -> int | None:
    """The store to note in the audit trail: that of a manager of one store."""
    stores = current_scope().store_ids
    return next(iter(stores)) if stores and len(stores) == 1 else None


def _page(request, profile: Profile) -> dict:
    """What the template reads. A block that the role may not see stays empty and is not shown."""
    may = request.user.has_perm
    whole = current_scope().is_whole_network
    records = _records(profile) if may("profiles.view_sourcerecord") else []
    merges = _merges(profile) if may("profiles.view_merge") else []
    return {
        "profile": profile,
        "yesterday": brand_today() - timedelta(days=1),
        "facts": ProfileFacts.objects.select_related("home_store").filter(pk=profile.pk).first(),
        "fields": _fields(profile, records, shows_sources=may("profiles.view_sourcerecord")),
        "records": records,
        "shows_sources": may("profiles.view_sourcerecord"),
        "primary": _primary(profile) if may("profiles.view_identifier") else None,
        "identifiers": _identifiers(profile) if may("profiles.view_identifier") else [],
        "tickets": _tickets(request, profile) if may("profiles.view_purchase") else None,
        "of_own_stores": not whole,
        "consents": _consents(profile) if may("profiles.view_consentchange") else [],
        "may_change_consent": may("profiles.change_profile"),
        "may_pin": may("profiles.change_profile") and may("profiles.view_sourcerecord"),
        "may_move_tickets": may("profiles.move_purchase"),
        "merges": merges,
        "may_separate": may("profiles.merge_profile"),
        "household": _household(profile),
        "duplicates": _duplicates(profile) if may("profiles.view_matchcandidate") else [],
        "panels": [(p, p.context(request, profile)) for p in PANELS if may(p.permission)],
    }


def _records(profile: Profile) -> list[SourceRecord]:
    """What each source says now about the person, the most trusted source first."""
    told = SourceRecord.objects.filter(profile=profile).select_related("source", "store", "import_run")
    now = sorted(current_statements(list(told)), key=lambda r: (-r.source.trust, -r.stated_at.timestamp()))
    return now[:RECORDS_SHOWN]


def _fields(profile: Profile, records: list[SourceRecord], *, shows_sources: bool) -> list[Row]:
    rows = []
    pinned = {pin.pk: pin for pin in profile.pins.filter(ended_at=None)} if shows_sources else {}
    for name in FIELDS_OF_A_PERSON:
        origin = profile.provenance.get(name, {}) if shows_sources else {}
        said = [(getattr(record, name), record.pk == origin.get("record")) for record in records]
        at = parse_datetime(origin["at"]) if origin.get("at") else None
        # survivorship marked its reasons for the catalogue.
        why = translation.gettext(origin["why"]) if origin.get("why") else ""
        label = Profile._meta.get_field(name).verbose_name
        value = getattr(profile, name)
        mailbox = normalise.email(value) if name == "email" and value else None
        meant = (mailbox and mailbox.suggestion) or ""
        lost = [
            {**other, "at": parse_datetime(other["at"]) if other.get("at") else None}
            for other in origin.get("others", [])
        ]
        rows.append(
            Row(
                str(label), name, value, origin.get("source", ""), at, why, meant, said, lost,
                pinned.get(origin.get("pin") or 0),
            )
        )  # fmt: skip
    return rows


def _past_fields(profile: Profile, *, shows_sources: bool) -> list[Row]:
    rows = []
    for name in FIELDS_OF_A_PERSON:
        origin = profile.provenance.get(name, {}) if shows_sources else {}
        at = parse_datetime(origin["at"]) if origin.get("at") else None
        why = translation.gettext(origin["why"]) if origin.get("why") else ""
        label = Profile._meta.get_field(name).verbose_name
        rows.append(Row(str(label), name, getattr(profile, name), origin.get("source", ""), at, why))
    return rows


def _identifiers(profile: Profile) -> list[dict]:
    """The values by which the person is found, each once, with the sources that told it."""
    by_key: dict[tuple[str, str], dict] = {}
    confirmed = verified([profile.pk]).get(profile.pk, set())
    tickets = Purchase.objects.filter(profile=profile).exclude(identified_by="").order_by()
    shown = set(tickets.values_list("identified_by", flat=True).distinct())
    for told in Identifier.objects.filter(profile=profile).select_related("record__source"):
        entry = by_key.setdefault(
            (told.kind, told.key),
            {"kind": told.get_kind_display(), "value": told.value, "sources": set(),
             "first": told.first_seen, "last": told.last_seen, "confirmed": (told.kind, told.key) in confirmed,
             "shown": f"{told.kind}:{told.key}" in shown},
        )  # fmt: skip
        entry["sources"].add(told.record.source.name)
        entry["first"] = min(entry["first"], told.first_seen)
        entry["last"] = max(entry["last"], told.last_seen)
    return [entry | {"sources": sorted(entry["sources"])} for entry in by_key.values()]


def _primary(profile: Profile) -> tuple[str, list[str]] | None:
    """The number by which the brand speaks of the person, with its name: the newest first. None where that is our own
    id, which the page shows in any case."""
    kind = PrimaryId.chosen()
    if kind == PrimaryId.Kind.OWN:
        return None
    told = Identifier.objects.filter(profile=profile, kind=kind.value).order_by("-last_seen", "key")
    values = list(dict.fromkeys(told.values_list("value", flat=True)))
    if kind == PrimaryId.Kind.CUSTOMER:
        # A customer number is kept behind the code of its source.
        values = list(dict.fromkeys(value.partition(":")[2] or value for value in values))
    return str(kind.label), values


def _tickets(request, profile: Profile):
    bought = (
        Purchase.objects.filter(profile=profile).select_related("store").prefetch_related("lines", "refunds")
    )
    return Paginator(bought, TICKETS_A_PAGE).get_page(request.GET.get("tickets"))


def _consents(profile: Profile) -> list[dict]:
    """Each channel with what holds now, and everything that was said about it before."""
    now = consent.current(profile)
    history = list(profile.consent_changes.select_related("record__source"))
    return [
        {
            "channel": channel,
            "label": Channel(channel).label,
            "icon": CHANNEL_ICONS[Channel(channel)],
            "now": now.get(channel),
            "history": [change for change in history if change.channel == channel],
        }
        for channel in Channel.values
    ]


def _merges(profile: Profile) -> list[dict]:
    """Every merge that made this person what they are, merges of the merged included, the newest first."""
    found: dict[int, Merge] = {}
    people = {profile.pk}
    while people:
        merges = Merge.objects.filter(winner__in=people).select_related("winner", "loser", "by", "undone_by")
        fresh = [merge for merge in merges if merge.pk not in found]
        found |= {merge.pk: merge for merge in fresh}
        people = {merge.loser_id for merge in fresh if merge.undone_at is None}
    language = get_language() or "en"
    return [
        {
            "merge": merge,
            "joined": _joined(merge),
            "why": sentence(merge.evidence, language) if merge.evidence else "",
            "percent": None if merge.probability is None else round(100 * merge.probability, 1),
            "may_undo": merge.undone_at is None and merge.winner_id == profile.pk,
        }
        for merge in sorted(found.values(), key=lambda m: m.at, reverse=True)
    ]


def _joined(merge: Merge) -> list[str]:
    """What the merge brought in, in the words of its records: a merged profile keeps no value of its own."""
    moved = SourceRecord.objects.filter(pk__in=merge.moved.get("sourcerecord", [])).select_related("source")
    told = [
        f"{record.source} {record.external_id}: {record.first_name} {record.last_name}".strip()
        for record in moved
    ]
    return told or [str(merge.loser)]


def _household(profile: Profile) -> list[dict]:
    """The other members of the person's household whom who asks may know, and why they are members."""
    own = HouseholdMember.objects.filter(profile=profile).first()
    if own is None:
        return []
    others = (
        HouseholdMember.objects.filter(household=own.household_id)
        .exclude(pk=own.pk)
        .select_related("profile")
    )
    tells = current_scope().is_whole_network
    language = get_language() or "en"
    return [
        {
            "person": member.profile,
            "why": sentence(member.evidence, language) if member.evidence and tells else "",
        }
        for member in others.order_by("profile")
    ]


def _duplicates(profile: Profile) -> list[dict]:
    pairs = MatchCandidate.objects.filter(
        Q(left=profile) | Q(right=profile), status=MatchCandidate.Status.OPEN
    ).select_related("left", "right")
    return [
        {
            "pair": pair,
            "other": pair.right if pair.left_id == profile.pk else pair.left,
            "percent": round(100 * pair.probability),
        }
        for pair in pairs
    ]
