"""What people did: the events, the dictionary that says what they mean, what it cannot take, and the sites that send.

An unknown property and an event in quarantine are not lost: their pages say what they hold and offer what can be done.
The block "What they did" stands on the customer page.
"""

from urllib.parse import urlsplit

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.urls import path, reverse
from django.utils.formats import date_format, number_format
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.timezone import localtime
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldBooleanSwitchWidget

from profiles.admin.customers import PANELS, Panel
from profiles.admin.filters import CustomerFilter
from profiles.behaviour import likely_type
from profiles.intake import SourceNotActive, events
from profiles.intake.event_dictionary import open_dictionary
from profiles.models import (
    Event,
    EventProperty,
    EventTally,
    EventType,
    QuarantinedEvent,
    Site,
    UnknownProperty,
)
from profiles.models.events import new_key
from tenants.network.admin import Audited, ReadOnly, ScopedModelAdmin, StaysOnPage
from tenants.network.models import audit
from tenants.scoping import current_scope

SHOWN_ON_CUSTOMER_PAGE = 15
PROPERTIES_IN_A_LINE = 3
TALLIES_SHOWN = 7


def _lines(told: dict):
    """Properties as lines «name: value»."""
    return format_html_join(mark_safe("<br>"), "{}: {}", told.items()) if told else None


def _raw_lines(raw: dict) -> list[tuple[str, object]]:
    """What was received, a line for each value: (`properties.price`, 4.5)."""
    lines: list[tuple[str, object]] = []
    for name, value in raw.items():
        lines += (
            [(f"{name}.{inner}", told) for inner, told in value.items()]
            if isinstance(value, dict)
            else [(name, value)]
        )
    return lines


# --- Events -----------------------------------------------------------------------------------------------------------


@admin.register(Event)
class EventAdmin(ReadOnly, ScopedModelAdmin):
    list_display = ("at", "type", "profile", "channel", "site", "store")
    list_display_links = ("at",)
    list_filter = ("type", CustomerFilter, "channel", "site", "store")
    list_per_page = 50
    list_select_related = ("type", "profile", "site", "store")
    show_full_result_count = False
    search_fields = ("event_id__exact",)
    search_help_text = _("The id of an event at its source.")
    readonly_fields = ("told", "apart")
    fields = ("type", "at", "received_at", "profile", "channel", "site", "store", "told")
    # How we know: facts of the whole network, since a device goes where it likes.
    fields_of_the_network = ("apart", "identified_by", "proof", "device", "source", "event_id")

    def get_fields(self, request, obj=None):
        whole = current_scope().is_whole_network
        return self.fields + self.fields_of_the_network if whole else self.fields

    @display(description=_("properties"))
    def told(self, event):
        return _lines(event.properties)

    @display(description=_("kept apart"))
    def apart(self, event):
        return _lines(event.unknown)


# --- The dictionary ---------------------------------------------------------------------------------------------------


class PropertyInline(TabularInline):
    model = EventProperty
    extra = 0
    hide_title = True
    fields = ("name", "type", "required", "choices", "description")

    def formfield_for_dbfield(self, db_field, request, **kwargs):
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field and db_field.name == "choices":
            field.widget = UnfoldAdminTextareaWidget(attrs={"rows": 2})
        return field


@admin.register(EventType)
class EventTypeAdmin(StaysOnPage, Audited, ScopedModelAdmin):
    list_display = ("label", "code", "described", "retention_days", "is_active")
    list_display_links = ("label",)
    list_filter = ("is_active",)
    search_fields = ("code", "label")
    inlines = (PropertyInline,)
    fields = ("label", "code", "description", "retention_days", "is_active")
    actions = None

    def get_queryset(self, request):
        return super().get_queryset(request).annotate(properties_told=Count("properties"))

    def changelist_view(self, request, extra_context=None):
        if self.has_view_permission(request) and not EventType.objects.exists():
            open_dictionary()
        return super().changelist_view(request, extra_context)

    def get_readonly_fields(self, request, obj=None):
        # Sites and apps name the type by its code: it stays what it was.
        return ("code",) if obj else ()

    def has_delete_permission(self, request, obj=None):
        return False

    @display(description=_("properties"))
    def described(self, event_type):
        return event_type.properties_told

    def save_related(self, request, form, formsets, change):
        super().save_related(request, form, formsets, change)
        values, waiting = events.mended(form.instance)
        if values or waiting:
            told = {"values": number_format(values), "events": number_format(waiting)}
            messages.info(
                request,
                _t("Released: events from quarantine: %(events)s, values kept apart: %(values)s.") % told,
            )


# --- What the dictionary does not know --------------------------------------------------------------------------------


class DecisionForm(forms.Form):
    """How an unknown property stands in the dictionary."""

    type = forms.ChoiceField(
        label=_("Type"), choices=EventProperty.Type.choices, widget=UnfoldAdminSelectWidget
    )
    choices = forms.CharField(
        label=_("Choices"), required=False, help_text=_("One a line; for a choice alone."),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )  # fmt: skip
    required = forms.BooleanField(label=_("Required"), required=False, widget=UnfoldBooleanSwitchWidget)


@admin.register(UnknownProperty)
class UnknownPropertyAdmin(ReadOnly, ScopedModelAdmin):
    list_display = ("name", "event_type", "seen", "sampled", "first_seen", "state_label")
    list_display_links = ("name",)
    list_filter = ("state", "event_type")
    list_select_related = ("event_type",)
    search_fields = ("name",)

    @display(description=_("sample"), empty_value="–")
    def sampled(self, row):
        return str(row.sample)[:60] if row.sample is not None else None

    @display(
        description=_("state"), ordering="state",
        label={"open": "warning", "added": "success", "ignored": "info"},
    )  # fmt: skip
    def state_label(self, row):
        return row.state, row.get_state_display()

    def get_urls(self):
        decide = self.admin_site.admin_view(self.decide_view)
        return [path("<int:pk>/decide/", decide, name="profiles_unknownproperty_decide"), *super().get_urls()]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return self._page(request, row, DecisionForm(initial={"type": likely_type(row.sample)}))

    def _page(self, request, row, form, status=200):
        of_type = Event.objects.filter(type=row.event_type, unknown__has_key=row.name).exclude(unknown={})
        values = list(of_type.order_by("-id").values_list("at", "unknown")[:10])
        context = {
            **self.admin_site.each_context(request),
            "title": f"{row.event_type}: {row.name}",
            "opts": self.opts,
            "original": row,
            "row": row,
            "values": [(at, unknown[row.name]) for at, unknown in values],
            "form": form,
            "may_decide": request.user.has_perm("profiles.decide_unknownproperty"),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "profiles/events/unknown.html", context, status=status)

    def decide_view(self, request, pk):
        """Add the property to the dictionary, with the values kept apart, or ask about it no more."""
        if request.method != "POST" or not request.user.has_perm("profiles.decide_unknownproperty"):
            raise PermissionDenied
        row = get_object_or_404(UnknownProperty.objects.select_related("event_type"), pk=pk)
        if request.POST.get("decision") == "ignore":
            events.ignore_property(row, request.user)
            messages.success(request, _t("Ignored: «%(name)s». Its values stay apart.") % {"name": row.name})
            return self._to_list()
        if request.POST.get("decision") != "add":
            return HttpResponse(status=400)
        form = DecisionForm(request.POST)
        if not form.is_valid():
            return self._page(request, row, form, status=400)
        try:
            released, left = events.add_to_dictionary(row, EventProperty(**form.cleaned_data), request.user)
        except ValidationError as refused:
            for field, errors in refused.message_dict.items():
                form.add_error(field if field in form.fields else None, errors)
            return self._page(request, row, form, status=400)
        told = {"name": row.name, "released": number_format(released), "left": number_format(left)}
        messages.success(
            request, _t("Added: «%(name)s». Values that are in their events now: %(released)s.") % told
        )
        if left:
            messages.warning(request, _t("Values of another type that stay apart: %(left)s.") % told)
        return self._to_list()

    def _to_list(self):
        return redirect(reverse("admin:profiles_unknownproperty_changelist") + "?state__exact=open")


Reason = QuarantinedEvent.Reason
# Reasons that a change of the dictionary can mend.
OF_DICTIONARY = frozenset({
    Reason.UNKNOWN_TYPE, Reason.INACTIVE_TYPE, Reason.MISSING_PROPERTY, Reason.WRONG_TYPE,
})  # fmt: skip
_BY_DICTIONARY = _(
    "Once the dictionary takes it, the event enters with its own date, as if it had never waited."
)
ADVICE = dict.fromkeys(OF_DICTIONARY, _BY_DICTIONARY) | {
    Reason.UNKNOWN_STORE: _(
        "No change of the dictionary helps: add the store with this code under Network, or have the sender correct the"
        " code. Then try these events again."
    ),
    Reason.UNKNOWN_CUSTOMER: _(
        "No change of the dictionary helps: it enters by itself at the next try once a customer with this number is"
        " known, for example after the next file of customers."
    ),
    Reason.UNKNOWN_CHANNEL: _(
        "No change of the dictionary helps: the sender has to name a channel that we know. Throw the event away, and"
        " have it sent again."
    ),
    Reason.INVALID_IDENTIFIER: _(
        "No change of the dictionary helps: the e-mail, phone or card in it cannot be used. Throw the event away, and"
        " have it sent again."
    ),
}


@admin.register(QuarantinedEvent)
class QuarantinedEventAdmin(ReadOnly, ScopedModelAdmin):
    list_display = ("type_code", "reason_label", "field", "sender", "at", "received_at")
    list_display_links = ("type_code",)
    list_filter = ("reason", "site")
    list_select_related = ("site", "store", "source")
    list_per_page = 50
    show_full_result_count = False
    search_fields = ("type_code__startswith", "event_id__exact")

    @display(
        description=_("reason"), ordering="reason",
        label=dict.fromkeys(QuarantinedEvent.Reason.values, "warning"),
    )  # fmt: skip
    def reason_label(self, row):
        return row.reason, row.get_reason_display()

    @display(description=_("sent by"))
    def sender(self, row):
        return row.site or row.store or row.source

    def get_urls(self):
        release = self.admin_site.admin_view(self.release_view)
        discard = self.admin_site.admin_view(self.discard_view)
        return [
            path("<int:pk>/release/", release, name="profiles_quarantinedevent_release"),
            path("<int:pk>/discard/", discard, name="profiles_quarantinedevent_discard"),
            *super().get_urls(),
        ]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        context = {
            **self.admin_site.each_context(request),
            "title": str(row),
            "opts": self.opts,
            "original": row,
            "row": row,
            "sender": self.sender(row),
            "lines": _raw_lines(row.raw),
            "alike": QuarantinedEvent.objects.filter(type_code=row.type_code).count(),
            "of_same_reason": QuarantinedEvent.objects.filter(
                type_code=row.type_code, reason=row.reason
            ).count(),
            "advice": ADVICE[row.reason],
            "concerns_dictionary": row.reason in OF_DICTIONARY,
            "event_type": EventType.objects.filter(code=row.type_code).first(),
            "may_add_type": request.user.has_perm("profiles.add_eventtype"),
            "may_release": request.user.has_perm("profiles.release_quarantinedevent"),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "profiles/events/quarantined.html", context)

    def release_view(self, request, pk):
        """Try all events of the type again: the dictionary may take them now."""
        if request.method != "POST" or not request.user.has_perm("profiles.release_quarantinedevent"):
            raise PermissionDenied
        row = get_object_or_404(QuarantinedEvent, pk=pk)
        released, left = events.release(row.type_code)
        audit(request.user, "released", row, type=row.type_code, released=released, left=left)
        told = {"released": number_format(released), "left": number_format(left)}
        say = messages.success if released else messages.warning
        say(request, _t("Released: %(released)s. Still waiting: %(left)s.") % told)
        return redirect("admin:profiles_quarantinedevent_changelist")

    def discard_view(self, request, pk):
        """Throw the event away, or with `all` every one of its type that waits for the same reason. Its sender is not
        told; sent again, it comes in anew."""
        if request.method != "POST" or not request.user.has_perm("profiles.release_quarantinedevent"):
            raise PermissionDenied
        row = get_object_or_404(QuarantinedEvent, pk=pk)
        thrown = QuarantinedEvent.objects.filter(pk=pk)
        if request.POST.get("which") == "all":
            thrown = QuarantinedEvent.objects.filter(type_code=row.type_code, reason=row.reason)
        number, _by_model = thrown.delete()
        audit(request.user, "discarded", row, type=row.type_code, reason=row.reason, events=number)
        messages.success(request, _t("Thrown away: %(number)s.") % {"number": number_format(number)})
        return redirect("admin:profiles_quarantinedevent_changelist")


# --- Sites ------------------------------------------------------------------------------------------------------------


class SiteForm(forms.ModelForm):
    class Meta:
        model = Site
        fields = ("name", "kind", "source", "origins", "is_on")

    def clean_origins(self):
        """Addresses as a browser tells them: scheme, host and port, nothing behind."""
        origins = []
        for told in self.cleaned_data["origins"].split():
            refused = ValidationError(_t("«%s» is no address such as https://www.example.com") % told[:80])
            try:
                parts = urlsplit(told.rstrip("/"))
                parts.port  # noqa: B018 - read for what it refuses
            except ValueError as wrong:
                raise refused from wrong
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
                raise refused
            origins.append(f"{parts.scheme}://{parts.netloc.lower()}")
        return "\n".join(dict.fromkeys(origins))

    def clean_source(self):
        source = self.cleaned_data["source"]
        if not source.is_active:
            raise ValidationError(SourceNotActive(source).detail)
        return source

    def clean(self):
        cleaned = super().clean()
        if cleaned.get("kind") == Site.Kind.WEB and cleaned.get("origins") == "":
            self.add_error("origins", _t("A web site needs the address that its pages are read at."))
        return cleaned


@admin.register(Site)
class SiteAdmin(StaysOnPage, Audited, ScopedModelAdmin):
    form = SiteForm
    list_display = ("name", "kind", "source", "is_on", "last")
    list_display_links = ("name",)
    list_select_related = ("source",)
    change_form_outer_after_template = "profiles/events/site.html"
    actions = None

    def get_readonly_fields(self, request, obj=None):
        # Its events and devices are told apart by their source.
        return ("source",) if obj else ()

    def has_delete_permission(self, request, obj=None):
        return False

    @display(description=_("last event received"), ordering="last_event_at", empty_value="–")
    def last(self, site):
        return site.last_event_at and date_format(localtime(site.last_event_at), "SHORT_DATETIME_FORMAT")

    def change_view(self, request, object_id, form_url="", extra_context=None):
        site = self.get_object(request, object_id)
        extra = dict(extra_context or {})
        if site is not None:
            extra |= {
                "script": request.build_absolute_uri(static("cdp/site.js")),
                "api": request.build_absolute_uri(reverse("api:events")),
                "tallies": EventTally.objects.filter(source=site.source_id)[:TALLIES_SHOWN],
            }
        return super().change_view(request, object_id, form_url, extra)

    def get_urls(self):
        renew = self.admin_site.admin_view(self.renew_view)
        return [path("<int:pk>/renew-key/", renew, name="profiles_site_renew"), *super().get_urls()]

    def renew_view(self, request, pk):
        """Give the site a new key; pages that carry the one before are refused at once."""
        if request.method != "POST" or not self.has_change_permission(request):
            raise PermissionDenied
        site = get_object_or_404(Site, pk=pk)
        site.key = new_key()
        site.save(update_fields=["key"])
        audit(request.user, "renewed key", site)
        messages.success(request, _t("The new key stands in the snippet below."))
        return self._to_page_of(site)


# --- The customer page ------------------------------------------------------------------------------------------------


def _what_they_did(request, profile) -> dict:
    of_person = Event.objects.filter(profile=profile)
    whole = current_scope().is_whole_network
    latest = of_person.select_related("type", "site", "store", "proof")[:SHOWN_ON_CUSTOMER_PAGE]
    return {
        "count": of_person.count(),
        "whole_network": whole,
        "events": [
            {
                "event": event,
                "told": ", ".join(_told_shortly(event.properties)),
                # Where the proof happened is the network's to know.
                "proof": event.proof if whole and event.proof and event.at < event.proof.at else None,
            }
            for event in latest
        ],
    }


def _told_shortly(properties: dict) -> list[str]:
    told = [str(value)[:120] for value in properties.values() if value not in ("", None)]
    return told[:PROPERTIES_IN_A_LINE]


PANELS.append(Panel("profiles.view_event", "profiles/events/panel.html", _what_they_did))
