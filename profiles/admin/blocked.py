"""Values that are nobody's identifier: what is blocked, why, by whom, how many say it. Blocks are lifted here."""

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.shortcuts import get_object_or_404, redirect
from django.urls import path, reverse
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from profiles import blocked
from profiles.models import BlockedValue
from profiles.tasks import reapply_blocked
from tenants.network.admin import ScopedModelAdmin, StaysOnPage


class BlockForm(forms.ModelForm):
    """A value or a pattern to block."""

    class Meta:
        model = BlockedValue
        fields = ["kind", "key", "pattern", "reason"]

    def _get_validation_exclusions(self):
        # The database's constraints would be told by their names; the verb says the same in words.
        return super()._get_validation_exclusions() | set(self._meta.fields)

    def clean(self):
        told = super().clean()
        if not self.errors:
            try:
                blocked.checked(told["kind"], told["key"], told["pattern"], told["reason"])
            except blocked.BadValue as bad:
                raise forms.ValidationError(str(bad)) from bad
        return told


class StandingFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request, model_admin):
        return [("lifted", _("lifted"))]

    def choices(self, changelist):
        yield {
            "selected": self.value() is None,
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "display": _("in force"),
        }
        yield {
            "selected": self.value() == "lifted",
            "query_string": changelist.get_query_string({self.parameter_name: "lifted"}),
            "display": _("lifted"),
        }

    def queryset(self, request, queryset):
        return queryset.filter(lifted_at__isnull=self.value() != "lifted")


@admin.register(BlockedValue)
class BlockedValueAdmin(StaysOnPage, ScopedModelAdmin):
    form = BlockForm
    list_display = ("what", "kind", "people", "why", "origin", "by", "since", "lifted_at")
    list_display_links = ("what",)
    list_filter = (StandingFilter, "kind", "origin")
    list_select_related = ("by",)
    search_fields = ("key", "pattern", "reason")
    search_help_text = _("Part of a value, a pattern or a reason.")
    change_form_outer_after_template = "admin/profiles/blockedvalue/lift.html"
    actions = None

    def has_delete_permission(self, request, obj=None):
        # Who lifted what, and when, is kept.
        return False

    def get_fields(self, request, obj=None):
        if obj is None:
            return ("kind", "key", "pattern", "reason")
        return (
            "kind",
            "what",
            "why",
            "people",
            "counted_at",
            "origin",
            "by",
            "since",
            "lifted_at",
            "lifted_by",
        )

    def get_readonly_fields(self, request, obj=None):
        return self.get_fields(request, obj) if obj else ()

    def get_form(self, request, obj=None, change=False, **kwargs):
        said = {
            "key": _("One e-mail, phone or card, written anyhow."),
            "reason": _("So that colleagues understand."),
        }
        if obj is not None:
            kwargs["form"] = forms.ModelForm
        return super().get_form(request, obj, change, help_texts=said, **kwargs)

    @display(description=_("value or pattern"))
    def what(self, row):
        return row.key or row.pattern

    @display(description=_("reason"))
    def why(self, row):
        # The reasons of ours are in the catalogue, a person's are said as written.
        return _t(row.reason) if row.origin != BlockedValue.Origin.PERSON else row.reason

    def save_model(self, request, obj, form, change):
        if change:
            return
        row = blocked.block(obj.kind, obj.key, pattern=obj.pattern, reason=obj.reason, by=request.user)
        obj.pk = row.pk
        transaction.on_commit(lambda: reapply_blocked.delay(row.pk), robust=True)

    def log_addition(self, request, obj, message):
        """The verb has written its line in the audit trail."""

    def get_urls(self):
        lift = self.admin_site.admin_view(self.lift_view)
        return [path("<int:pk>/lift/", lift, name="profiles_blockedvalue_lift"), *super().get_urls()]

    def lift_view(self, request, pk):
        """End the block; the people's records get their identifiers back."""
        if request.method != "POST" or not request.user.has_perm("profiles.change_blockedvalue"):
            raise PermissionDenied
        row = blocked.lift(get_object_or_404(BlockedValue, pk=pk), by=request.user)
        transaction.on_commit(lambda: reapply_blocked.delay(row.pk), robust=True)
        messages.success(request, _t("Lifted: the records that say it get their identifiers back."))
        return redirect(reverse("admin:profiles_blockedvalue_change", args=[pk]))

    def change_view(self, request, object_id, form_url="", extra_context=None):
        row, may = self.get_object(request, object_id), request.user.has_perm
        extra = {
            "merges": blocked.merges_resting_on(row) if row and may("profiles.view_merge") else [],
            "may_lift": row and row.lifted_at is None and may("profiles.change_blockedvalue"),
            "show_save": False,
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})
