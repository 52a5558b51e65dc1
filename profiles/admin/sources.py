"""The register of the systems that tell us about people: whose each is, what it holds, and whether it still speaks.

A source that was silent for longer than it should be is shown in red, with a word and an icon.
"""

from datetime import timedelta

from django.contrib import admin
from django.db import transaction
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.decorators import display

from profiles import source_health
from profiles.models import Source
from profiles.source_health import Health
from profiles.tasks import recompute_source
from tenants.network.admin import Audited, ScopedModelAdmin
from tenants.scoping import current_scope


@admin.register(Source)
class SourceAdmin(Audited, ScopedModelAdmin):
    list_display = ("source", "answers_for_it", "holds", "heard", "lag", "errors", "rows", "trust")
    list_filter = ("kind", "direction")
    search_fields = ("name", "code", "system", "owner")
    fieldsets = (
        (None, {"fields": ("name", "code", "kind", "trust")}),
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
        return source.name, " · ".join(filter(None, [source.system, source.get_kind_display(), source.code]))

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
            chip = format_html(
                '<span class="cdp-chip cdp-no"><span class="material-symbols-outlined" aria-hidden="true">'
                "notifications_paused</span>{}</span>",
                word,
            )
        elif every:
            chip = format_html(
                '<span class="cdp-chip cdp-yes"><span class="material-symbols-outlined" aria-hidden="true">'
                "check_circle</span>{}</span>",
                _("on time"),
            )
        else:
            chip = ""
        at = health.last_heard
        told = date_format(timezone.localtime(at), "SHORT_DATETIME_FORMAT") if at else "–"
        return _pieces(chip, told, every)

    @display(description=gettext_lazy("lag"))
    def lag(self, source):
        return in_words(source.health.lag) if source.health.lag is not None else "–"

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


def _pieces(*parts) -> str:
    return format_html_join("", "<div>{}</div>", ((part,) for part in parts if part))
