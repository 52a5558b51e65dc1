"""Stores, regions, staff and tills of a brand; jobs and the audit trail. The platform's site shows the last three."""

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from tenants import invitations
from tenants.network import deeds
from tenants.network.models import AuditEvent, Job, Region, Staff, Store, Till, audit
from tenants.network.till_calls import TillCalls
from tenants.roles import Role
from tenants.scoping import current_scope

# Whom a brand's administrator invites. Administrators themselves are made when the brand is opened.
BELOW_BRAND_ADMIN = (Role.MARKETER, Role.ANALYST, Role.STORE_MANAGER)


class ScopedModelAdmin(ModelAdmin):
    """Base of every page of a brand's site: inside a part of the network, a list is asked by its own filters alone.

    Django lets an address filter a list by any field of its model and by any relation one step away. A join is not
    scoped, and a column may hold what head office knows: `?purchases=7` would tell whose ticket that is.
    """

    def changelist_view(self, request, extra_context=None):
        # PostgreSQL knows no U+0000 in a text: an address that asks for one asks for nothing.
        if any("\x00" in told for name in request.GET for told in (name, *request.GET.getlist(name))):
            return redirect(request.path)
        return super().changelist_view(request, extra_context)

    def lookup_allowed(self, lookup, value, request):
        if not current_scope().is_whole_network and not self._offers(lookup, request):
            return False
        return super().lookup_allowed(lookup, value, request)

    def _offers(self, lookup: str, request) -> bool:
        """Whether one of the list's filters, or its days, may write this word into an address."""
        offered = {self.date_hierarchy} if self.date_hierarchy else set()
        for entry in self.get_list_filter(request):
            if isinstance(entry, type):
                offered.add(entry.parameter_name)
            else:
                offered.add(entry[0] if isinstance(entry, list | tuple) else entry)
        return any(lookup == name or lookup.startswith(f"{name}__") for name in offered)


class ReadOnly:
    """For lists of what happened: nothing is added, changed or deleted by hand."""

    actions = None

    def has_add_permission(self, request, obj=None):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


class Audited:
    """Every save by hand leaves a line in the audit trail."""

    def save_model(self, request, obj, form, change):
        super().save_model(request, obj, form, change)
        audit(request.user, "changed" if change else "added", obj, fields=sorted(form.changed_data))


class StaysOnPage:
    """For pages that go on below their form: a single button saves, and leads to the page of what was saved."""

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        buttons = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **buttons})

    def response_post_save_add(self, request, obj):
        return self._to_page_of(obj)

    def response_post_save_change(self, request, obj):
        return self._to_page_of(obj)

    def _to_page_of(self, obj):
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return redirect(reverse(name, args=[obj.pk], current_app=self.admin_site.name))


@admin.register(Region)
class RegionAdmin(Audited, ScopedModelAdmin):
    list_display = ("name", "code")
    search_fields = ("name", "code")


@admin.register(Store)
class StoreAdmin(Audited, ScopedModelAdmin):
    list_display = ("code", "name", "region", "city", "legal_name", "is_open")
    list_display_links = ("code", "name")
    list_filter = ("region",)
    list_select_related = ("region",)
    search_fields = ("code", "name", "city", "legal_name")

    def get_readonly_fields(self, request, obj=None):
        return ("code", "time_zone") if obj else ()

    def get_form(self, request, obj=None, change=False, **kwargs):
        said = {
            "code": _("Never changed later: tills, files and segments name the store by it."),
            "time_zone": _("Never changed later: past tickets have their day by it."),
        }
        return super().get_form(request, obj, change, help_texts=said, **kwargs)

    @display(description=_("open"), boolean=True)
    def is_open(self, store):
        return store.closed_on is None


# --- Staff ------------------------------------------------------------------------------------------------------------


class StaffForm(forms.ModelForm):
    """A person who signs in. They choose their own password, by the invitation that the page shows."""

    roles: tuple[Role, ...] = BELOW_BRAND_ADMIN

    class Meta:
        model = Staff
        fields = ["full_name", "email", "role", "stores", "language", "is_active"]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if "role" in self.fields:
            offered = [("", "---------")] + [(role.value, role.label) for role in self.roles]
            self.fields["role"].choices = offered
            self.fields["role"].widget.choices = offered

    def clean_email(self):
        return self.cleaned_data["email"].lower()

    def clean(self):
        cleaned = super().clean()
        if cleaned.get("role") == Role.STORE_MANAGER and not cleaned.get("stores"):
            self.add_error(
                "stores", _("A store manager without a store would see nothing: choose at least one.")
            )
        return cleaned


@admin.register(Staff)
class StaffAdmin(StaysOnPage, Audited, ScopedModelAdmin):
    form = StaffForm
    list_display = ["full_name", "email", "role", "own_stores", "is_active", "last_login"]
    list_filter = ("role", "is_active")
    search_fields = ("full_name", "email")
    autocomplete_fields = ["stores"]
    fields = ["full_name", "email", "role", "stores", "language", "is_active"]
    change_form_outer_after_template = "admin/network/staff/invitation.html"
    actions = None

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("stores")

    def has_change_permission(self, request, obj=None):
        """Everybody below an administrator, and oneself: not another administrator."""
        if obj is not None and obj.role not in self.form.roles and obj.pk != request.user.pk:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request, obj=None):
        # What somebody did keeps their name: whoever leaves is made inactive.
        return False

    def get_readonly_fields(self, request, obj=None):
        return ("role", "is_active") if obj is not None and obj.pk == request.user.pk else ()

    @display(description=_("stores"), empty_value="–")
    def own_stores(self, staff):
        return ", ".join(store.code for store in staff.stores.all()) or None

    def save_model(self, request, obj, form, change):
        if not change:
            obj.set_unusable_password()
        super().save_model(request, obj, form, change)

    def response_add(self, request, obj, post_url_continue=None):
        messages.success(
            request, _t("%(person)s may come in: hand over the invitation below.") % {"person": obj}
        )
        return self._to_page_of(obj)

    def change_view(self, request, object_id, form_url="", extra_context=None):
        extra = dict(extra_context or {})
        staff = self.get_object(request, object_id)
        if staff is not None and staff.is_active and not staff.has_usable_password():
            extra["invitation"] = request.build_absolute_uri(invitations.path_of(staff))
        return super().change_view(request, object_id, form_url, extra)

    def get_urls(self):
        invite = self.admin_site.admin_view(self.invite_view)
        return [path("<int:pk>/invite/", invite, name="network_staff_invite"), *super().get_urls()]

    def invite_view(self, request, pk):
        """Take the password away and invite anew: for who forgot it, or whose password somebody else knows."""
        staff = get_object_or_404(Staff, pk=pk)
        if (
            request.method != "POST"
            or not self.has_change_permission(request, staff)
            or staff == request.user
        ):
            raise PermissionDenied
        staff.set_unusable_password()
        staff.invited_at = timezone.now()
        staff.save(update_fields=["password", "invited_at"])
        audit(request.user, "invited anew", staff)
        return self._to_page_of(staff)


class PlatformStaffForm(StaffForm):
    roles = (Role.PLATFORM_ADMIN,)

    class Meta(StaffForm.Meta):
        fields = ["full_name", "email", "role", "language", "is_active"]


class PlatformStaffAdmin(StaffAdmin):
    """The platform's own staff: no stores, one role."""

    form = PlatformStaffForm
    list_display = ["full_name", "email", "role", "is_active", "last_login"]
    autocomplete_fields = []
    fields = ["full_name", "email", "role", "language", "is_active"]

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related(None)


# --- Tills ------------------------------------------------------------------------------------------------------------


@admin.register(Till)
class TillAdmin(TillCalls, StaysOnPage, ScopedModelAdmin):
    """Tills and their keys. A key is shown once, in the answer to the request that made it, and never stored."""

    list_display = ("code", "store", "key_prefix", "last_used_at", "state")
    list_display_links = ("code",)
    list_filter = ("store",)
    list_select_related = ("store",)
    search_fields = ("code", "key_prefix")
    readonly_fields = ("key_prefix", "created_at", "last_used_at", "revoked_at")
    list_before_template = "admin/network/till/calls_link.html"
    change_form_outer_after_template = "admin/network/till/keys.html"
    actions = None

    def get_fields(self, request, obj=None):
        return ("store", "code", "channel", *self.readonly_fields) if obj else ("store", "code", "channel")

    def get_readonly_fields(self, request, obj=None):
        # Tickets hang on the till: it cannot move to another store.
        return ("store", "channel", *self.readonly_fields) if obj else ()

    def has_delete_permission(self, request, obj=None):
        return False

    @display(description=_("state"), label={"active": "success", "revoked": "danger"})
    def state(self, till):
        return ("revoked", _t("revoked")) if till.revoked_at else ("active", _t("active"))

    def save_model(self, request, obj, form, change):
        if change:
            obj.save()
            audit(request.user, "changed", obj, store_id=obj.store_id, fields=sorted(form.changed_data))
        else:
            request.issued_key = obj.issue_key()
            audit(request.user, "added", obj, store_id=obj.store_id)

    def response_add(self, request, obj, post_url_continue=None):
        return self._key_page(request, obj, request.issued_key)

    def get_urls(self):
        def named(route, view, name):
            return path(route, self.admin_site.admin_view(view), name=f"network_till_{name}")

        return [
            named("<int:pk>/renew-key/", self.renew_view, "renew"),
            named("<int:pk>/revoke/", self.revoke_view, "revoke"),
            *super().get_urls(),
        ]

    def renew_view(self, request, pk):
        """Give the till a new key; the one before stops working at once."""
        till = self._posted_about(request, pk)
        till.revoked_at = None
        key = till.issue_key()
        audit(request.user, "renewed key", till, store_id=till.store_id)
        return self._key_page(request, till, key)

    def revoke_view(self, request, pk):
        """Close the door to a till that was lost or stolen."""
        till = self._posted_about(request, pk)
        till.revoked_at = timezone.now()
        till.save(update_fields=["revoked_at"])
        audit(request.user, "revoked key", till, store_id=till.store_id)
        messages.success(request, _t("The key of %(till)s works no more.") % {"till": till})
        return redirect("admin:network_till_change", pk)

    def _posted_about(self, request, pk) -> Till:
        if request.method != "POST" or not self.has_change_permission(request):
            raise PermissionDenied
        return get_object_or_404(Till.objects.select_related("store"), pk=pk)

    def _key_page(self, request, till, key):
        context = {
            **self.admin_site.each_context(request),
            "title": _t("Key of till %(till)s") % {"till": till},
            "opts": self.opts,
            "till": till,
            "key": key,
        }
        response = TemplateResponse(request, "admin/network/till/key.html", context)
        response["Cache-Control"] = "no-store"
        return response


# --- Jobs and the audit trail -------------------------------------------------------------------------------------


@admin.register(Job)
class JobAdmin(ReadOnly, ScopedModelAdmin):
    """Long work. The page of a job asks each second how far it got, until it is over."""

    list_display = ("title", "kind", "state_label", "progress", "asked_by", "created_at", "finished_at")
    list_filter = ("state", "kind")
    list_select_related = ("asked_by",)
    search_fields = ("title",)

    @display(
        description=_("state"), ordering="state",
        label={
            "waiting": "info", "running": "warning", "done": "success", "failed": "danger", "cancelled": "info",
        },
    )  # fmt: skip
    def state_label(self, job):
        return job.state, job.get_state_display()

    @display(description=_("progress"))
    def progress(self, job):
        return f"{job.done} / {job.total}" if job.total else "–"

    def get_urls(self):
        progress = self.admin_site.admin_view(self.progress_view)
        return [path("<int:pk>/progress/", progress, name="network_job_progress"), *super().get_urls()]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        job = self.get_object(request, object_id)
        if job is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        context = {
            **self.admin_site.each_context(request),
            "title": job.title,
            "opts": self.opts,
            "original": job,
            "job": job,
            "is_over": job.state in Job.OVER,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/network/job/progress.html", context)

    def progress_view(self, request, pk):
        """How far the work got, as JSON: {state, label, done, total, percent, step, pace, over}."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        job = get_object_or_404(Job, pk=pk)
        return JsonResponse(
            {
                "state": job.state,
                "label": job.get_state_display(),
                "done": job.done,
                "total": job.total,
                "percent": job.percent,
                "step": job.step,
                "pace": _pace(job),
                "over": job.state in Job.OVER,
            }
        )


def _pace(job: Job) -> str:
    """How fast the work goes and how long it takes still, in words; empty before that is known."""
    left = job.seconds_left
    if left is None:
        return ""
    clock = f"{left // 60}:{left % 60:02}"
    return _("%(pace)s a second, %(clock)s left") % {"pace": f"{job.per_second:,.0f}", "clock": clock}


def _told_by(words):
    """A filter of a column of codes that lists them in words."""

    class Told(admin.AllValuesFieldListFilter):
        def choices(self, changelist):
            for choice in super().choices(changelist):
                yield {**choice, "display": words(str(choice["display"]))}

    return Told


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnly, ScopedModelAdmin):
    list_display = ("at", "actor", "role_name", "deed", "thing", "object_id", "reason")
    list_filter = (
        ("verb", _told_by(deeds.deed)),
        ("object_type", _told_by(deeds.thing)),
        ("role", _told_by(deeds.role)),
    )
    list_per_page = 50
    show_full_result_count = False
    search_fields = ("actor", "object_id__exact", "reason")
    date_hierarchy = "at"
    fields = ("at", "actor", "role_name", "store", "deed", "thing", "object_id", "reason", "detail")
    readonly_fields = ("role_name", "deed", "thing")

    @display(description=_("role"))
    def role_name(self, event):
        return deeds.role(event.role)

    @display(description=_("did"))
    def deed(self, event):
        return deeds.deed(event.verb)

    @display(description=_("what"))
    def thing(self, event):
        return deeds.thing(event.object_type)


from tenants.network import webhooks_admin  # noqa: E402, F401 - it registers its page, and needs the classes above
