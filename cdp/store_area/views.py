"""The pages of the store area: today, customers, segments, tills. Each reads inside one store's scope."""

from dataclasses import dataclass

from django.contrib import messages
from django.contrib.admin import site
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from campaigns import audience
from campaigns.models import Segment, SegmentVersion
from campaigns.segments import saving
from campaigns.segments.compiler import read
from campaigns.segments.language import Group, SegmentError
from cdp.store_area import figures, people
from cdp.store_area.entrance import page, page_of_store, show
from cdp.store_area.segment_templates import TEMPLATES
from profiles.models import Profile
from tenants.calendar import brand_today
from tenants.network.models import Store, audit

SHOWN_TODAY = 5
PEOPLE_A_PAGE = 25
TICKETS_A_PAGE = 10
SEGMENTS_A_PAGE = 10


@page
def choose(request: HttpRequest) -> HttpResponse:
    """The stores of whoever signed in; straight into the only one."""
    search = request.GET.get("q", "").strip()
    stores = Store.objects.select_related("region")
    if not search and len(mine := stores[:2]) == 1:
        return redirect("store:today", mine[0].code)
    if search:
        stores = stores.filter(name__icontains=search) | stores.filter(code__icontains=search)
    pages = Paginator(stores, PEOPLE_A_PAGE).get_page(request.GET.get("page"))
    return render(
        request, "store/choose.html", {"page": pages, "search": search, "title": _("Choose a store")}
    )


@page_of_store
def today(request: HttpRequest, store: Store) -> HttpResponse:
    days = figures.last_days(store)
    lists = []
    for code, call_list in people.CALL_LISTS.items():
        found = people.customers(call_list=code)
        lists.append((code, call_list, found.count(), people.rows(found[:SHOWN_TODAY])))
    silent = [state for state in figures.tills() if state.is_silent]
    return show(
        request, store, "today", _("Today in the store"),
        day=days[0] if days else None, before=days[1] if len(days) > 1 else None,
        is_today=bool(days) and days[0].day == brand_today(), lists=lists, silent=silent,
    )  # fmt: skip


@page_of_store
def customers(request: HttpRequest, store: Store) -> HttpResponse:
    search, code = request.GET.get("q", "").strip(), request.GET.get("list", "")
    found = Paginator(people.customers(search, code), PEOPLE_A_PAGE).get_page(request.GET.get("page"))
    chosen = people.CALL_LISTS.get(code)
    return show(
        request, store, "customers", chosen.title if chosen else _("Customers"),
        page=found, rows=people.rows(found), search=search, code=code if chosen else "", chosen=chosen,
        lists=people.CALL_LISTS.items(),
    )  # fmt: skip


@page_of_store
def customer(request: HttpRequest, store: Store, public_id) -> HttpResponse:
    """What this store knows of a person. Who looked at whom is written down."""
    profile = Profile.reached_by(public_id=public_id)
    if profile is None:
        raise Http404
    if profile.public_id != public_id:
        return redirect("store:customer", store.code, profile.public_id)
    audit(request.user, "viewed", profile, store_id=store.pk)
    tickets = Paginator(people.tickets_of(profile), TICKETS_A_PAGE).get_page(request.GET.get("page"))
    return show(
        request, store, "customers", str(profile), template="customer",
        profile=profile, channels=people.channels_of(profile), bought=people.bought_by(profile), page=tickets,
    )  # fmt: skip


@dataclass(frozen=True)
class Told:
    """A segment as the store reads it: its conditions in words and its people, or why it cannot be counted here."""

    segment: Segment
    sentence: str = ""
    counts: audience.Counts | None = None
    problem: str = ""


@page_of_store
def segments(request: HttpRequest, store: Store) -> HttpResponse:
    """The store's own segments, and its part of the national ones."""
    found = Segment.objects.order_by("store_id", "name")  # its own first: NULL sorts last
    listed = Paginator(found, SEGMENTS_A_PAGE).get_page(request.GET.get("page"))
    return show(
        request, store, "segments", _("Segments"),
        page=listed, told=[_tell(segment) for segment in listed], may_add=_may_add(request),
    )  # fmt: skip


@page_of_store
def segment(request: HttpRequest, store: Store, pk: int) -> HttpResponse:
    one = get_object_or_404(Segment, pk=pk)
    told = _tell(one)
    members = audience.members(one.current) if told.counts else Profile.objects.none()
    found = Paginator(people.with_visits(members), PEOPLE_A_PAGE).get_page(request.GET.get("page"))
    own = one.store_id == store.pk
    edit = own and request.user.has_perm("campaigns.change_segment") and site.is_registered(Segment)
    return show(
        request, store, "segments", one.name, template="segment",
        told=told, page=found, rows=people.rows(found), own=own,
        edit_url=reverse("admin:campaigns_segment_change", args=[pk]) if edit else "",
        may_remove=own and request.user.has_perm("campaigns.delete_segment"),
    )  # fmt: skip


@page_of_store
def segment_templates(request: HttpRequest, store: Store) -> HttpResponse:
    if not _may_add(request):
        raise PermissionDenied
    return show(
        request, store, "segments", _("New segment"),
        template="segment_templates", templates=TEMPLATES.items(),
    )  # fmt: skip


@page_of_store
def new_segment(request: HttpRequest, store: Store, template: str) -> HttpResponse:
    """Answer a ready-made segment's questions; count first, or save."""
    if not _may_add(request):
        raise PermissionDenied
    if template not in TEMPLATES:
        return redirect("store:segment_templates", store.code)
    chosen = TEMPLATES[template]
    form = chosen.form(request.POST or None, store=store, initial={"name": chosen.title})
    counted = None
    if form.is_valid():
        if "save" in request.POST:
            one = Segment(name=form.cleaned_data["name"], store=store)
            saving.save(one, form.definition(), request.user)
            messages.success(request, _("Saved: %(name)s.") % {"name": one.name})
            return redirect("store:segment", store.code, one.pk)
        counted = _told(Segment(store=store), read(form.definition()))
    return show(
        request, store, "segments", chosen.title,
        template="new_segment", chosen=chosen, form=form, counted=counted,
    )  # fmt: skip


@require_POST
@page_of_store
def remove_segment(request: HttpRequest, store: Store, pk: int) -> HttpResponse:
    if not request.user.has_perm("campaigns.delete_segment"):
        raise PermissionDenied
    one = get_object_or_404(Segment, pk=pk, store=store)
    try:
        saving.remove(one, request.user)
    except saving.SegmentInUse as in_use:
        messages.error(request, str(in_use))
        return redirect("store:segment", store.code, pk)
    messages.success(request, _("Removed: %(name)s.") % {"name": one.name})
    return redirect("store:segments", store.code)


@page_of_store
def tills(request: HttpRequest, store: Store) -> HttpResponse:
    if not request.user.has_perm("network.view_till"):
        raise PermissionDenied
    return show(request, store, "tills", _("Tills"), tills=figures.tills())


def _may_add(request: HttpRequest) -> bool:
    return request.user.has_perm("campaigns.add_segment")


def _tell(one: Segment) -> Told:
    try:
        return _told(one, one.current)
    except SegmentVersion.DoesNotExist:
        return Told(one, problem=_("This segment has no conditions yet."))


def _told(one: Segment, conditions: Group | SegmentVersion) -> Told:
    language = get_language() or "en"
    sentence = ""
    try:
        sentence = audience.sentence(conditions, language)
        return Told(one, sentence, audience.count(conditions))
    except SegmentError as error:
        return Told(one, sentence, problem=error.told(language))
