"""Segments: the list, one page that builds, counts and explains, and the fragment that the builder asks while typing.

A manager builds segments of the own stores and reads the own part of those head office shares.
"""

import json
from dataclasses import dataclass
from itertools import zip_longest

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.decorators import display

from campaigns import audience
from campaigns.admin.builder import vocabulary
from campaigns.models import Segment, SegmentVersion
from campaigns.segments import compiler, saving
from campaigns.segments.fields import VOCABULARY
from campaigns.segments.language import Group, SegmentError, leaves, tell_leaf
from profiles import search
from profiles.models import Channel, Profile
from tenants.network.admin import ScopedModelAdmin
from tenants.network.models import Store
from tenants.scoping import current_scope

EVERYBODY: dict = {"all": []}
FOUND_AT_ONCE = 10
LONGEST_DEFINITION = 50_000


class SegmentForm(forms.ModelForm):
    """Name and owner of a segment, its conditions as JSON, and why they changed."""

    definition = forms.CharField(
        label=_lazy("Conditions as JSON"), max_length=LONGEST_DEFINITION, widget=forms.Textarea
    )
    reason = forms.CharField(label=_lazy("Why this change"), max_length=300, required=False)

    class Meta:
        model = Segment
        fields = ("name", "description", "store", "shared")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["store"].queryset = Store.objects.all()
        if self.instance.pk:
            # The conditions were read inside one scope: another store is another segment.
            del self.fields["store"]
        if not current_scope().is_whole_network:
            del self.fields["shared"]
            if "store" in self.fields:
                self.fields["store"].required = True
                self.fields["store"].empty_label = None
                self.fields["store"].help_text = ""
        elif self.instance.store_id:
            del self.fields["shared"]

    def clean(self):
        cleaned = super().clean()
        # Asked here because the owner is no field of a form that changes a segment.
        store = cleaned.get("store", self.instance.store)
        alike = Segment._base_manager.filter(name=cleaned.get("name"), store=store).exclude(
            pk=self.instance.pk
        )
        if alike.exists():
            self.add_error("name", _("There is a segment of this name already."))
        return cleaned

    def clean_definition(self):
        try:
            return json.loads(self.cleaned_data["definition"])
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(_("This is no JSON: %(error)s") % {"error": error}) from error


@admin.register(Segment)
class SegmentAdmin(ScopedModelAdmin):
    list_display = ("name", "owner", "shared", "last_version", "last_saved", "last_reason")
    list_filter = ("shared", ("store", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("store",)
    search_fields = ("name", "description")
    actions = None

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("versions")

    @display(description=_lazy("belongs to"))
    def owner(self, segment):
        return segment.store or _("head office")

    @display(description=_lazy("version"))
    def last_version(self, segment):
        return _newest(segment).number if _newest(segment) else None

    @display(description=_lazy("saved"))
    def last_saved(self, segment):
        return _newest(segment).made_at if _newest(segment) else None

    @display(description=_lazy("why"))
    def last_reason(self, segment):
        return _newest(segment).reason if _newest(segment) else None

    def has_change_permission(self, request, obj=None):
        return super().has_change_permission(request, obj) and (obj is None or _is_mine(obj))

    def has_delete_permission(self, request, obj=None):
        return super().has_delete_permission(request, obj) and (obj is None or _is_mine(obj))

    def get_urls(self):
        def named(route, view, name):
            return path(route, self.admin_site.admin_view(view), name=f"campaigns_segment_{name}")

        return [
            named("count/", self.count_view, "count"),
            named("<int:pk>/explain/", self.explain_view, "explain"),
            *super().get_urls(),
        ]

    # One page to build, read and save -------------------------------------------------------------------------------

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        segment = None
        if object_id is None:
            if not self.has_add_permission(request):
                raise PermissionDenied
        else:
            segment = self.get_object(request, object_id)
            if segment is None:
                return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            if not self.has_view_permission(request, segment):
                raise PermissionDenied
        may_save = segment is None or self.has_change_permission(request, segment)
        if request.method == "POST" and not may_save:
            raise PermissionDenied
        data = request.POST if request.method == "POST" else None
        form = SegmentForm(data, instance=segment) if may_save else None
        wrong: SegmentError | None = None
        if request.method == "POST" and form.is_valid():
            try:
                return self._saved(request, form)
            except SegmentError as error:
                wrong = error
        return self._page(request, segment, form, wrong)

    def _saved(self, request, form) -> HttpResponse:
        kept = form.save(commit=False)
        is_new = kept.pk is None
        version = saving.save(
            kept, form.cleaned_data["definition"], request.user, form.cleaned_data["reason"]
        )
        if not is_new:
            kept.save()
        messages.success(
            request,
            _("%(segment)s is saved as version %(number)s.") % {"segment": kept, "number": version.number},
        )
        return redirect("admin:campaigns_segment_change", kept.pk)

    def _page(self, request, segment, form, wrong) -> HttpResponse:
        versions = list(segment.versions.select_related("made_by")) if segment else []
        shown = _version_asked_for(request, versions)
        written = shown.definition if shown else EVERYBODY
        if request.method == "POST":
            written = form.cleaned_data.get("definition", form.data.get("definition"))
        with audience.inside(segment or Segment(store=None)):
            context = {
                **self.admin_site.each_context(request),
                "title": str(segment) if segment else _("New segment"),
                "opts": self.opts,
                "original": segment,
                "segment": segment,
                "form": form,
                "wrong": _told(wrong) if wrong else None,
                "definition": written if isinstance(written, dict) else EVERYBODY,
                "definition_text": written
                if isinstance(written, str)
                else json.dumps(written, indent=2, ensure_ascii=False),
                "vocabulary": vocabulary() if form else None,
                "count": _counted(shown.definition, request) if shown and not form else None,
                "versions": _told_versions(versions),
                "shown": shown,
                "users": saving.used_by(segment) if segment and form else [],
                "may_delete": segment and self.has_delete_permission(request, segment),
                "may_explain": request.user.has_perm("profiles.view_profile"),
                "may_launch": segment and versions and request.user.has_perm("campaigns.add_campaign"),
            }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "campaigns/segment.html", context)

    # What the builder asks ------------------------------------------------------------------------------------------

    def count_view(self, request):
        """The count of conditions that are being written: a piece of HTML, of status 422 where they are wrong."""
        if request.method != "POST" or not request.user.has_perm("campaigns.view_segment"):
            raise PermissionDenied
        try:
            definition = json.loads(request.POST.get("definition", "")[:LONGEST_DEFINITION])
        except (ValueError, RecursionError):
            return HttpResponse(_("This is no JSON."), status=422)
        store = (
            Store.objects.filter(pk=request.POST.get("store") or None).first()
            if _is_id(request.POST)
            else None
        )
        with audience.inside(Segment(store=store)):
            counted = _counted(definition, request, check=True)
            status = 422 if "wrong" in counted else 200
            return TemplateResponse(
                request, "campaigns/segment_count.html", {"count": counted}, status=status
            ).render()

    def explain_view(self, request, pk):
        """Why one customer is in the segment or out of it."""
        segment = get_object_or_404(Segment, pk=pk)
        if not (
            self.has_view_permission(request, segment) and request.user.has_perm("profiles.view_profile")
        ):
            raise PermissionDenied
        newest, asked = _newest(segment), request.GET.get("customer", "").strip()
        explained = wrong = None
        with audience.inside(segment):
            people = _people_found(asked)
            if newest and len(people) == 1:
                try:
                    explained = audience.explain(newest, people[0], get_language() or "en")
                except SegmentError as error:
                    wrong = _told(error)
            context = {
                **self.admin_site.each_context(request),
                "title": _("Why in, why out"),
                "opts": self.opts,
                "segment": segment,
                "asked": asked,
                "people": people,
                "explained": explained,
                "wrong": wrong,
            }
            request.current_app = self.admin_site.name
            return TemplateResponse(request, "campaigns/explain.html", context).render()

    # Removing -------------------------------------------------------------------------------------------------------

    def delete_view(self, request, object_id, extra_context=None):
        """A segment in use stays, and the page says what uses it."""
        segment = self.get_object(request, object_id)
        users = saving.used_by(segment) if segment and self.has_delete_permission(request, segment) else []
        if users:
            messages.error(request, str(saving.SegmentInUse(users)))
            return redirect("admin:campaigns_segment_change", segment.pk)
        return super().delete_view(request, object_id, extra_context)

    def get_deleted_objects(self, objs, request):
        """The versions go with their segment; they are no objects of their own to ask a permission for."""
        return [str(segment) for segment in objs], {}, set(), []

    def delete_model(self, request, obj):
        saving.remove(obj, request.user)


def _is_mine(segment: Segment) -> bool:
    """Whether the segment belongs to the scope in force: a store reads a national one, and no more."""
    scope = current_scope()
    return scope.store_ids is None or segment.store_id in scope.store_ids


def _newest(segment: Segment) -> SegmentVersion | None:
    versions = segment.versions.all()
    return versions[0] if versions else None


def _is_id(posted) -> bool:
    return posted.get("store", "").isdecimal()


def _version_asked_for(request, versions: list[SegmentVersion]) -> SegmentVersion | None:
    asked = request.GET.get("version", "")
    return next(
        (version for version in versions if str(version.number) == asked), versions[0] if versions else None
    )


@dataclass(frozen=True)
class ToldVersion:
    """A version in the history: its sentence, and what came and went since the one before."""

    version: SegmentVersion
    sentence: str
    added: list[str]
    removed: list[str]


def _told_versions(versions: list[SegmentVersion]) -> list[ToldVersion]:
    """`versions` newest first; asked in the scope of the segment."""
    told, names, language = [], audience.Names(), get_language() or "en"
    phrases = {
        version.pk: [
            tell_leaf(leaf, VOCABULARY[leaf.word], language, names)
            for leaf in leaves(audience.tree_of(version))
        ]
        for version in versions
    }
    for version, before in zip_longest(versions, versions[1:]):
        earlier = phrases[before.pk] if before else []
        told.append(
            ToldVersion(
                version,
                audience.sentence(version, language),
                [phrase for phrase in phrases[version.pk] if before and phrase not in earlier],
                [phrase for phrase in earlier if phrase not in phrases[version.pk]],
            )
        )
    return told


def _told(error: SegmentError) -> dict:
    return {"path": error.path, "message": error.told(get_language() or "en")}


def _counted(definition: object, request, *, check: bool = False) -> dict:
    """What the fragment shows: numbers, sentence and some names; or under "wrong" the mistake and its path."""
    try:
        tree: Group = compiler.read(definition)
        if check:
            compiler.check_codes(tree)
        counts = audience.count(tree)
        people = audience.sample(tree)
    except SegmentError as error:
        return {"wrong": _told(error)}
    largest = max((share.people for share in counts.per_store), default=0)
    may_see = request.user.has_perm("profiles.view_profile")
    return {
        "counts": counts,
        "sentence": audience.sentence(tree, get_language() or "en"),
        "reach": [(Channel(reach.channel).label, reach) for reach in counts.reach],
        "stores": [(share, 100 * share.people // largest) for share in counts.per_store],
        "people": people if may_see else [],
        "in_store": not current_scope().is_whole_network,
    }


def _people_found(asked: str) -> list[Profile]:
    """Live customers in scope by id, or by any words as the customers' list finds them."""
    if not asked:
        return []
    people = compiler.live_profiles()
    if asked.isdecimal() and len(asked) < 10:
        named = Profile.reached_by(pk=int(asked))
        if named and people.filter(pk=named.pk).exists():
            return [named]
    return list(search.matching(people, asked).order_by("pk")[:FOUND_AT_ONCE])
