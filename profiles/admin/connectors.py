"""Connectors in head office: the catalogue of ways in, a form for each kind, a test that really tests, and the log.

A secret is entered and never shown again; whoever points a connector at another host enters it anew, so that nobody has
it sent to a host of their own.
"""

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, path, reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from profiles import source_health
from profiles.connectors import polling, rehearsal
from profiles.connectors.catalogue import KINDS
from profiles.connectors.kinds import Kind, Setting, check_settings
from profiles.models import Connection, Delivery, Purchase
from profiles.tasks import poll_connection
from tenants.network.admin import Audited, ScopedModelAdmin, StaysOnPage
from tenants.network.models import audit

PREFIX = "setting_"
# What says where the secret is sent to.
WHERETO = ("host", "port", "endpoint")
LATEST = 50


class SecretLines(UnfoldAdminTextareaWidget):
    """A secret of many lines, such as a private key: never written back into the page."""

    def get_context(self, name, value, attrs):
        return super().get_context(name, "", attrs)


class ConnectionForm(forms.ModelForm):
    """The form of one kind: its settings stand as fields of their own, `kind` is the class's."""

    kind: Kind

    class Meta:
        model = Connection
        fields = ["name", "source", "till", "is_on"]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not self.kind.is_a_shop:
            self.fields.pop("till", None)
        elif "till" in self.fields:
            self.fields["till"].required = True
        for setting in self.kind.settings:
            if self.instance.pk:
                self.fields[PREFIX + setting.name].initial = self.instance.settings.get(setting.name)
        if "secret" in self.fields:
            self.fields["secret"].required = not self.instance.sealed_secret

    def clean(self):
        cleaned = super().clean()
        told = {
            setting.name: cleaned.get(PREFIX + setting.name)
            for setting in self.kind.settings
            if PREFIX + setting.name not in self.errors
        }
        kept, wrong = check_settings(self.kind, told)
        for name, reason in wrong.items():
            if PREFIX + name in self.fields and PREFIX + name not in self.errors:
                self.add_error(PREFIX + name, reason)
        till = cleaned.get("till")
        if till and till.channel != till.Channel.WEB and Purchase.objects.filter(till=till).exists():
            self.add_error(
                "till", _("this till has sold tickets in the store: give the web shop one of its own")
            )
        self.kept = kept
        self.moved = bool(self.instance.pk) and any(
            kept.get(name) != self.instance.settings.get(name) for name in WHERETO if name in kept
        )
        if self.moved and "secret" in self.fields and not cleaned.get("secret"):
            self.add_error("secret", _("enter the secret again: it is not sent to another host than before"))
        return cleaned

    def save(self, commit=True):
        self.instance.kind = self.kind.code
        self.instance.settings = self.kept
        if self.moved:
            self.instance.host_key, self.instance.tested_at, self.instance.seen = "", None, {}
        if self.cleaned_data.get("secret"):
            self.instance.secret = self.cleaned_data["secret"].strip()
        return super().save(commit)


def form_of(kind: Kind) -> type[ConnectionForm]:
    """The form that asks for what the kind needs."""
    fields: dict = {PREFIX + setting.name: _field(setting) for setting in kind.settings}
    if kind.secret:
        widget = SecretLines if kind.secret_has_lines else UnfoldAdminPasswordWidget
        fields["secret"] = forms.CharField(
            label=capfirst(kind.secret), required=False, widget=widget(attrs={"autocomplete": "off", "rows": 4}),
            help_text=kind.secret_help or gettext_lazy("Kept sealed, and never shown again."),
        )  # fmt: skip
    return type("FormOfKind", (ConnectionForm,), {**fields, "kind": kind})


def _field(setting: Setting) -> forms.Field:
    about = {
        "label": capfirst(setting.label),
        "help_text": setting.help,
        "required": False,
        "initial": setting.default,
    }
    if setting.type is bool:
        return forms.BooleanField(**about, widget=UnfoldBooleanSwitchWidget)
    about["required"] = setting.required
    if setting.type is int:
        return forms.IntegerField(**about, widget=UnfoldAdminIntegerFieldWidget)
    return forms.CharField(**about, max_length=300, widget=UnfoldAdminTextInputWidget)


@admin.register(Connection)
class ConnectionAdmin(StaysOnPage, Audited, ScopedModelAdmin):
    """The catalogue stands where other models have their list."""

    search_fields = ("name",)
    list_select_related = ("source",)
    change_form_outer_after_template = "profiles/connectors/state.html"
    actions = None

    def has_delete_permission(self, request, obj=None):
        # What arrived through it is a log: who is done with a connector switches it off.
        return False

    # --- The form -------------------------------------------------------------------------------------------------

    def _kind(self, request, obj) -> Kind | None:
        kind = KINDS.get(obj.kind if obj else request.GET.get("kind", ""))
        return kind if kind and kind.is_configured_here else None

    def get_form(self, request, obj=None, change=False, **kwargs):
        kind = self._kind(request, obj)
        if kind and (self.has_change_permission(request, obj) if obj else self.has_add_permission(request)):
            kwargs["form"] = form_of(kind)
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request, obj=None):
        if obj and not self.has_change_permission(request, obj):
            return ("name", "source", "till", "is_on", "told_settings")
        kind = self._kind(request, obj)
        names = ["name", "source", *(["till"] if kind and kind.is_a_shop else [])]
        if kind:
            names += [PREFIX + setting.name for setting in kind.settings]
            names += ["secret"] if kind.secret else []
        return (*names, "is_on")

    def get_readonly_fields(self, request, obj=None):
        if obj and not self.has_change_permission(request, obj):
            return ("told_settings",)
        # Tickets hang on the till: a shop cannot become another till's.
        return ("till",) if obj and obj.deliveries.exists() else ()

    @display(description=gettext_lazy("settings"))
    def told_settings(self, connection):
        kind = KINDS[connection.kind]
        return format_html_join(
            "", "<div>{}: {}</div>", ((s.label, connection.settings.get(s.name, "")) for s in kind.settings)
        )

    def save_model(self, request, obj, form, change):
        super().save_model(request, obj, form, change)
        if not change and KINDS[obj.kind].has_own_key:
            request.issued_key = obj.issue_key()

    def response_add(self, request, obj, post_url_continue=None):
        if getattr(request, "issued_key", ""):
            return self._key_page(request, obj, request.issued_key)
        messages.success(request, _("«%s» is set up. Test it now: the test says what is still wrong.") % obj)
        return self._to_page_of(obj)

    # --- Pages ----------------------------------------------------------------------------------------------------

    def get_urls(self):
        def named(route, view, name):
            return path(route, self.admin_site.admin_view(view), name=f"profiles_connection_{name}")

        return [
            named("sample/<slug:kind>/", self.sample_view, "sample"),
            named("<int:pk>/test/", self.test_view, "test"),
            named("<int:pk>/look/", self.look_view, "look"),
            named("<int:pk>/key/", self.key_view, "key"),
            named("<int:pk>/forget-host-key/", self.forget_view, "forget"),
            *super().get_urls(),
        ]

    def _page(self, request, template: str, **context) -> TemplateResponse:
        request.current_app = self.admin_site.name
        shared = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, f"profiles/connectors/{template}", shared | context)

    def changelist_view(self, request, extra_context=None):
        """The catalogue: a card a kind, with its format, its sample and what is set up."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self._catalogue(request, _("Connectors"))

    def add_view(self, request, form_url="", extra_context=None):
        if not self.has_add_permission(request):
            raise PermissionDenied
        kind = self._kind(request, None)
        if kind is None:
            return self._catalogue(request, _("Which kind of connector?"))
        extra = {"title": _("New connector: %s") % kind.title, **(extra_context or {})}
        return super().add_view(request, form_url, extra)

    def change_view(self, request, object_id, form_url="", extra_context=None):
        connection = self.get_object(request, object_id)
        extra = dict(extra_context or {})
        if connection is not None and self.has_view_permission(request, connection):
            extra |= self._state(request, connection)
        return super().change_view(request, object_id, form_url, extra)

    def _catalogue(self, request, title: str) -> TemplateResponse:
        may_add = self.has_add_permission(request)
        by_kind: dict[str, list] = {}
        connections = list(self.get_queryset(request).select_related("source"))
        newest = source_health.newest([connection.pk for connection in connections])
        for connection in connections:
            by_kind.setdefault(connection.kind, []).append(
                {"connection": connection, "state": state_of(connection), "newest": newest.get(connection.pk)}
            )
        cards = []
        for kind in KINDS.values():
            page = _address(kind.page)
            if kind.page and page is None and kind.sample is None:
                continue  # its page is not part of this installation
            cards.append(
                {
                    "kind": kind,
                    "page": page,
                    "connections": by_kind.get(kind.code, []),
                    "add": reverse("admin:profiles_connection_add", query={"kind": kind.code})
                    if may_add and kind.is_configured_here
                    else "",
                }
            )
        return self._page(
            request, "catalogue.html", title=title, cards=cards,
            may_test=request.user.has_perm("profiles.change_connection"),
        )  # fmt: skip

    def _state(self, request, connection: Connection) -> dict:
        kind = KINDS[connection.kind]
        deliveries = Delivery.objects.filter(connection=connection).select_related("import_run")
        first = deliveries.filter(verdict=Delivery.Verdict.DONE).exists()
        address = ""
        if kind.is_a_shop:
            address = request.build_absolute_uri(reverse("api:webhook", args=[connection.public_id]))
        elif kind.receives:
            address = request.build_absolute_uri(reverse("api:contest_entries"))
        return {
            "kind": kind,
            "connection": connection,
            "state": state_of(connection),
            "address": address,
            "is_polled": kind.code in polling.POLLED,
            "deliveries": deliveries[:LATEST],
            "may_change": request.user.has_perm("profiles.change_connection"),
            "checklist": [
                (True, _("Set up")),
                (bool(connection.tested_at), _("Test passed")),
                (connection.is_on, _("Switched on")),
                (first, _("First record arrived")),
            ],
        }

    # --- Deeds ----------------------------------------------------------------------------------------------------

    def _asked_for(self, request, pk) -> Connection:
        """The connector that a deed is asked of; deeds are posted, by whoever may change it."""
        if request.method != "POST" or not request.user.has_perm("profiles.change_connection"):
            raise PermissionDenied
        return get_object_or_404(Connection.objects.select_related("source", "till__store"), pk=pk)

    def test_view(self, request, pk):
        """Test the connector for real, and say of each step how it went."""
        connection = self._asked_for(request, pk)
        kind = KINDS[connection.kind]
        test = kind.test or rehearsal.test_of(kind)
        findings = test(connection, request)
        is_fine = all(finding.is_fine for finding in findings)
        if is_fine:
            Connection.objects.filter(pk=pk).update(tested_at=timezone.now(), error="")
        else:
            connection.note_error(findings[-1].detail)
        return self._page(
            request, "test.html", title=_("Test of «%s»") % connection, connection=connection, findings=findings,
            is_fine=is_fine,
        )  # fmt: skip

    def look_view(self, request, pk):
        """Have the folder looked into now."""
        connection = self._asked_for(request, pk)
        if connection.kind not in polling.POLLED:
            raise Http404
        poll_connection.delay(connection.pk)
        messages.success(request, _("A look is under way: what it finds appears below."))
        return self._to_page_of(connection)

    def key_view(self, request, pk):
        """Give the sender a new key; the one before stops working at once."""
        connection = self._asked_for(request, pk)
        if not KINDS[connection.kind].has_own_key:
            raise Http404
        key = connection.issue_key()
        audit(request.user, "renewed key", connection)
        return self._key_page(request, connection, key)

    def _key_page(self, request, connection: Connection, key: str) -> HttpResponse:
        response = self._page(
            request, "key.html", title=connection.name, connection=connection, key=key,
            address=request.build_absolute_uri(reverse("api:contest_entries")),
        )  # fmt: skip
        response["Cache-Control"] = "no-store"
        return response

    def forget_view(self, request, pk):
        """Forget the server's pinned key: the next test pins the one that it shows then."""
        connection = self._asked_for(request, pk)
        Connection.objects.filter(pk=pk).update(host_key="", tested_at=None)
        audit(request.user, "changed", connection, fields=["host_key"])
        messages.warning(
            request, _("The old key is forgotten. Test again to pin the one the server shows now.")
        )
        return self._to_page_of(connection)

    def sample_view(self, request, kind):
        """The sample of a kind, to download."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = KINDS.get(kind)
        if found is None or found.sample is None:
            raise Http404
        sample = found.sample()
        response = HttpResponse(sample.content, content_type=sample.content_type)
        response["Content-Disposition"] = f'attachment; filename="{sample.file_name}"'
        return response


def state_of(connection: Connection) -> dict:
    """A word, an icon and a tone: colour never stands alone."""
    if not connection.is_on:
        return {"word": _("switched off"), "icon": "pause_circle", "tone": "cdp-unsaid"}
    if connection.error:
        return {"word": _("error"), "icon": "error", "tone": "cdp-no"}
    if connection.succeeded_at:
        return {"word": _("works"), "icon": "check_circle", "tone": "cdp-yes"}
    if connection.tested_at:
        return {"word": _("tested, nothing came yet"), "icon": "hourglass_empty", "tone": "cdp-maybe"}
    return {"word": _("not tested yet"), "icon": "help", "tone": "cdp-maybe"}


def _address(name: str) -> str | None:
    try:
        return reverse(name) if name else None
    except NoReverseMatch:
        return None
