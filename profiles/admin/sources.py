"""The register of the systems that tell us about people: whose each is, what it holds, and whether it still speaks.

A source that was silent for longer than it should be is shown in red, with a word and an icon.
"""

from datetime import timedelta

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import path
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget

from profiles import source_health
from profiles.models import PrimaryId, Source
from profiles.source_health import Health
from profiles.tasks import recompute_source
from tenants.network.admin import Audited, ScopedModelAdmin
from tenants.network.models import audit
from tenants.scoping import current_scope


class SourceForm(forms.ModelForm):
    """A source; how it tells its customers apart is chosen before anything of it is taken in."""

    class Meta:
        model = Source
        exclude: list[str] = []

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.instance.pk is None and "identified_by" in self.fields:
            self.initial["identified_by"] = Source.Identity.UNDECIDED.value

    def clean(self):
        cleaned = super().clean()
        chosen, column = cleaned.get("identified_by"), cleaned.get("id_column")
        if chosen == Source.Identity.OWN and not column and "identified_by" in self.changed_data:
            self.add_error("id_column", _("Say which column or field holds the id."))
        if chosen != Source.Identity.OWN and column:
            self.add_error("id_column", _("Only a source with an id of its own has a column for it."))
        if chosen == Source.Identity.UNDECIDED and self.instance.pk and self.instance.records.exists():
            told = _("Customers of it are known already: how they are told apart can no longer be left open.")
            self.add_error("identified_by", told)
        return cleaned


class PrimaryIdForm(forms.Form):
    """By which number the brand speaks of its customers."""

    kind = forms.ChoiceField(
        label=gettext_lazy("Primary identifier"),
        choices=PrimaryId.Kind.choices,
        widget=UnfoldAdminSelectWidget,
    )


@admin.register(Source)
class SourceAdmin(Audited, ScopedModelAdmin):
    form = SourceForm
    list_before_template = "profiles/primary_id.html"
    list_display = ("source", "state", "answers_for_it", "holds", "heard", "lag", "errors", "rows")
    list_filter = ("kind", "direction")
    search_fields = ("name", "code", "system", "owner")
    fieldsets = (
        (None, {"fields": ("name", "code", "kind", "trust")}),
        (
            gettext_lazy("Who is who"),
            {
                "fields": ("identified_by", "id_column"),
                "description": gettext_lazy(
                    "Nothing of the source is taken in before this is chosen. The first file chooses it too, by the"
                    " column that is read as the id at the source."
                ),
            },
        ),
        (
            gettext_lazy("Register"),
            {"fields": ("system", "owner", "contact", "data", "direction", "expected_hours")},
        ),
    )

    def get_readonly_fields(self, request, obj=None):
        # Files and tills name a source by its code: it stays what it was.
        return ("code",) if obj else ()

    def save_model(self, request, obj, form, change):
        super().save_model(request, obj, form, change)
        if change and "trust" in form.changed_data:
            # Which value wins rests on trust: everybody the source speaks of is settled anew.
            transaction.on_commit(lambda: recompute_source.delay(obj.pk), robust=True)

    def has_delete_permission(self, request, obj=None):
        return False

    def get_urls(self):
        choose = self.admin_site.admin_view(self.primary_id_view)
        return [path("primary-id/", choose, name="profiles_source_primary_id"), *super().get_urls()]

    def changelist_view(self, request, extra_context=None):
        extra = {
            "primary_id": PrimaryId.chosen().label,
            "primary_id_form": PrimaryIdForm(initial={"kind": PrimaryId.chosen()}),
            "may_choose": self.has_change_permission(request),
        }
        return super().changelist_view(request, {**(extra_context or {}), **extra})

    def primary_id_view(self, request):
        """Choose by which number customers are spoken of."""
        if request.method != "POST" or not self.has_change_permission(request):
            raise PermissionDenied
        form = PrimaryIdForm(request.POST)
        if not form.is_valid():
            return HttpResponse(status=400)
        row, _new = PrimaryId.objects.update_or_create(defaults=form.cleaned_data)
        audit(request.user, "chose", row, kind=row.kind)
        messages.success(request, _("Customers are spoken of by: %s.") % row)
        return redirect("admin:profiles_source_changelist")

    def get_changelist_instance(self, request):
        """The list, each source with how it is doing, asked for all of them at once."""
        changelist = super().get_changelist_instance(request)
        # Figures of the network are head office's; a part of it sees the register alone.
        known = source_health.of_sources() if current_scope().is_whole_network else {}
        for source in changelist.result_list:
            source.health = known.get(source.pk, Health(source))
        return changelist

    @display(description=gettext_lazy("source"), ordering="name", header=True)
    def source(self, source):
        trust = _("trust %s") % source.trust
        return source.name, " · ".join(
            filter(None, [source.system, source.get_kind_display(), source.code, trust])
        )

    @display(description=gettext_lazy("state"), ordering="identified_by")
    def state(self, source):
        if not source.is_active:
            return _chip("cdp-unsaid", "pending", _("being set up"))
        return _pieces(_chip("cdp-yes", "check_circle", pgettext("source", "active")), _told_apart(source))

    @display(description=gettext_lazy("owner and contact"), ordering="owner")
    def answers_for_it(self, source):
        return _pieces(source.owner or "–", source.contact)

    @display(description=gettext_lazy("data and direction"))
    def holds(self, source):
        return _pieces(source.data or "–", source.get_direction_display())

    @display(description=gettext_lazy("last success"))
    def heard(self, source):
        health, now = source.health, timezone.now()
        silence = health.silent_for(now)
        every = ""
        if source.expected_hours:
            hours = source.expected_hours
            every = ngettext("expected every hour", "expected every %(hours)s hours", hours) % {
                "hours": hours
            }
        if silence is not None:
            word = _("silent") if health.last_heard else _("never heard of")
            chip = _chip("cdp-no", "notifications_paused", word)
        elif every:
            chip = _chip("cdp-yes", "check_circle", _("on time"))
        else:
            chip = ""
        at = health.last_heard
        told = date_format(timezone.localtime(at), "SHORT_DATETIME_FORMAT") if at else "–"
        return _pieces(chip, told, every)

    @display(description=gettext_lazy("lag"))
    def lag(self, source):
        lag = source.health.lag
        if lag is None:
            return "–"
        return in_words(lag) if lag else _("none: in time")

    @display(description=gettext_lazy("errors, 30 days"))
    def errors(self, source):
        rate = source.health.error_rate
        if rate is None:
            return "–"
        return _("%(rate)s %% of %(total)s") % {
            "rate": number_format(rate, 1), "total": number_format(source.health.total),
        }  # fmt: skip

    @display(description=gettext_lazy("rows, 30 days"))
    def rows(self, source):
        health = source.health
        names = {
            "created": _("accepted"),
            "corrected": _("corrected"),
            "unchanged": _("already known"),
            "rejected": _("rejected"),
        }
        told = [
            f"{number_format(health.rows[word])} {name}" for word, name in names.items() if health.rows[word]
        ]
        if health.tickets:
            told.append(
                ngettext("%(count)s ticket", "%(count)s tickets", health.tickets)
                % {"count": number_format(health.tickets)}
            )
        return _pieces(*told) if told else "–"


def in_words(span: timedelta) -> str:
    """A span of time in its largest unit, rounded down."""
    seconds = int(span.total_seconds())
    if seconds < 60:
        return _("less than a minute")
    if seconds < 3600:
        return ngettext("%(n)s minute", "%(n)s minutes", seconds // 60) % {"n": seconds // 60}
    if seconds < 86400:
        return ngettext("%(n)s hour", "%(n)s hours", seconds // 3600) % {"n": seconds // 3600}
    return ngettext("%(n)s day", "%(n)s days", seconds // 86400) % {"n": number_format(seconds // 86400)}


def _told_apart(source: Source) -> str:
    if source.identified_by == Source.Identity.CONTENT:
        return _("no id: by the row's content")
    return _("by «%s»") % source.id_column if source.id_column else ""


def _chip(kind: str, icon: str, word: str) -> str:
    return format_html(
        '<span class="cdp-chip {}"><span class="material-symbols-outlined" aria-hidden="true">{}</span>{}</span>',
        kind, icon, word,
    )  # fmt: skip


def _pieces(*parts) -> str:
    return format_html_join("", "<div>{}</div>", ((part,) for part in parts if part))
