"""Webhooks in head office: where events are sent to, the secret that is shown once, and what came of each message."""

from datetime import datetime

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Min, OuterRef, Q, Subquery
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from tenants.network import outbound, webhooks
from tenants.network.admin import Audited, ScopedModelAdmin, StaysOnPage
from tenants.network.models import WebhookAttempt, WebhookEndpoint, WebhookMessage, audit
from tenants.network.webhook_models import TEST, HappenedTo

State = WebhookMessage.State
LATEST = 50
STATE_CHIPS = {
    State.WAITING: ("cdp-maybe", "hourglass_empty"),
    State.DELIVERED: ("cdp-yes", "check_circle"),
    State.FAILED: ("cdp-no", "error"),
}
FAULTS = {
    "unknown_host": _("no host has this name"),
    "private_host": _("the address lies inside the platform's own network, which is not called"),
    "bad_address": _("the address cannot be called: HTTPS alone"),
    "timeout": _("no answer within ten seconds"),
    "refused": _("the connection is refused"),
    "bad_certificate": _("the certificate is not valid"),
    "broken_off": _("the connection broke off"),
    "redirect": _("it leads elsewhere, and redirects are not followed"),
    "no_secret": _("the secret cannot be read any more: make a new one"),
}


class WebhookForm(forms.ModelForm):
    """Where to, and what of."""

    events = forms.MultipleChoiceField(
        label=_("Events"), choices=HappenedTo.choices, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )

    class Meta:
        model = WebhookEndpoint
        fields = ["name", "url", "events", "is_on"]
        widgets = {"url": UnfoldAdminTextInputWidget}

    def clean_url(self):
        url = self.cleaned_data["url"].strip()
        try:
            parts = outbound.read(url)
            outbound.address_of(parts.hostname or "", parts.port or 443)
        except outbound.BadAddress:
            raise forms.ValidationError(
                _("An address that begins with https:// and holds neither a password nor a blank.")
            ) from None
        except outbound.PrivateHost:
            raise forms.ValidationError(FAULTS["private_host"]) from None
        except outbound.UnknownHost:
            pass  # it may be named tomorrow: the test says so
        return url


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(StaysOnPage, Audited, ScopedModelAdmin):
    form = WebhookForm
    list_display = ("name", "url", "event_codes", "state", "waiting", "succeeded_at")
    list_display_links = ("name",)
    search_fields = ("name", "url")
    fields = ("name", "url", "events", "is_on")
    change_form_outer_after_template = "admin/network/webhookendpoint/state.html"
    actions = None

    def has_delete_permission(self, request, obj=None):
        # What was sent to it is a log: who is done with a webhook switches it off.
        return False

    def get_queryset(self, request):
        waiting = WebhookMessage.objects.filter(endpoint=OuterRef("pk"), state=State.WAITING).order_by()
        count = waiting.values("endpoint").annotate(n=Count("pk")).values("n")
        return super().get_queryset(request).annotate(waiting_count=Subquery(count))

    def get_fields(self, request, obj=None):
        if obj and not self.has_change_permission(request, obj):
            return ("name", "url", "events_wanted", "is_on")
        return self.fields

    def get_readonly_fields(self, request, obj=None):
        return ("events_wanted",) if obj and not self.has_change_permission(request, obj) else ()

    @display(description=_("events"))
    def events_wanted(self, endpoint):
        return ", ".join(str(HappenedTo(event).label) for event in endpoint.events)

    @display(description=_("events"))
    def event_codes(self, endpoint):
        return ", ".join(endpoint.events)

    @display(
        description=_("state"),
        label={
            "new": "info",
            "on": "success",
            "off": "info",
            "failing": "danger",
            "gone": "danger",
            "resting": "warning",
        },
    )
    def state(self, endpoint):
        word = _state_of(endpoint)
        return word["code"], word["word"]

    @display(description=_("waiting"))
    def waiting(self, endpoint):
        return endpoint.waiting_count or 0

    # --- The form, and the secret ---------------------------------------------------------------------------------

    def save_model(self, request, obj, form, change):
        if not change:
            super().save_model(request, obj, form, change)
            request.issued_secret = obj.issue_secret()
            return
        told = list(form.changed_data)
        if {"url", "is_on"} & set(told):
            # Whoever mends an address wants it tried at once.
            obj.failures, obj.rests_until, obj.failing_since, obj.is_gone = 0, None, None, False
            told += ["failures", "rests_until", "failing_since", "is_gone"]
        # Not what a worker notes of its attempts meanwhile.
        obj.save(update_fields=told)
        audit(request.user, "changed", obj, fields=sorted(form.changed_data))

    def response_add(self, request, obj, post_url_continue=None):
        return self._secret_page(request, obj, request.issued_secret)

    def get_urls(self):
        def named(route, view, name):
            return path(route, self.admin_site.admin_view(view), name=f"network_webhookendpoint_{name}")

        return [
            named("<int:pk>/secret/", self.secret_view, "secret"),
            named("<int:pk>/test/", self.test_view, "test"),
            named("<int:pk>/send-again/<int:message_pk>/", self.send_again_view, "send_again"),
            *super().get_urls(),
        ]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        endpoint = self.get_object(request, object_id)
        extra = dict(extra_context or {})
        if endpoint is not None and self.has_view_permission(request, endpoint):
            extra |= _page(request, endpoint, may_change=self.has_change_permission(request, endpoint))
        return super().change_view(request, object_id, form_url, extra)

    # --- Deeds ----------------------------------------------------------------------------------------------------

    def _asked_for(self, request, pk) -> WebhookEndpoint:
        if request.method != "POST" or not self.has_change_permission(request):
            raise PermissionDenied
        return get_object_or_404(WebhookEndpoint, pk=pk)

    def secret_view(self, request, pk):
        """Make a new secret; the one before signs as well for a day."""
        endpoint = self._asked_for(request, pk)
        secret = endpoint.issue_secret()
        audit(request.user, "renewed key", endpoint)
        return self._secret_page(request, endpoint, secret)

    def test_view(self, request, pk):
        """Send a test event, and say what came of it."""
        endpoint = self._asked_for(request, pk)
        message = webhooks.send_test(endpoint)
        attempt = WebhookAttempt.objects.filter(message=message).latest("id")
        if message.state == State.DELIVERED:
            told = {"status": attempt.status, "time": attempt.milliseconds}
            messages.success(request, _t("The test event was taken: %(status)s, after %(time)s ms.") % told)
        else:
            why = FAULTS.get(attempt.fault) or _t("it answers %(status)s") % {"status": attempt.status}
            messages.error(request, _t("The test event was not taken: %(why)s.") % {"why": why})
        return self._to_page_of(endpoint)

    def send_again_view(self, request, pk, message_pk):
        """Have a message sent again, under the same id."""
        endpoint = self._asked_for(request, pk)
        message = WebhookMessage.objects.filter(pk=message_pk, endpoint=endpoint).exclude(event=TEST).first()
        if message is None:
            raise Http404
        try:
            webhooks.send_again(message, request.user)
        except webhooks.SwitchedOff:
            messages.error(request, _t("Not sent: the webhook is switched off."))
        else:
            messages.success(request, _t("It is sent again, under the same id."))
        # At its top, where the message stands.
        return self._to_page_of(endpoint)

    def _secret_page(self, request, endpoint, secret):
        context = {
            **self.admin_site.each_context(request),
            "title": _t("Secret of «%(webhook)s»") % {"webhook": endpoint},
            "opts": self.opts,
            "endpoint": endpoint,
            "secret": secret,
        }
        response = TemplateResponse(request, "admin/network/webhookendpoint/secret.html", context)
        response["Cache-Control"] = "no-store"
        return response


def _state_of(endpoint: WebhookEndpoint) -> dict:
    """A code, a word, an icon and a tone: colour never stands alone."""
    if endpoint.is_gone:
        return {"code": "gone", "word": _t("off: it said 410, gone"), "icon": "block", "tone": "cdp-no"}
    if not endpoint.is_on:
        return {"code": "off", "word": _t("switched off"), "icon": "pause_circle", "tone": "cdp-unsaid"}
    if endpoint.failing_since:
        return {"code": "failing", "word": _t("failing"), "icon": "error", "tone": "cdp-no"}
    if endpoint.failures:
        return {
            "code": "resting",
            "word": _t("last attempt failed"),
            "icon": "hourglass_empty",
            "tone": "cdp-maybe",
        }
    if endpoint.succeeded_at:
        return {"code": "on", "word": _t("works"), "icon": "check_circle", "tone": "cdp-yes"}
    return {"code": "new", "word": _t("nothing sent yet"), "icon": "help", "tone": "cdp-maybe"}


def _page(request, endpoint: WebhookEndpoint, *, may_change: bool) -> dict:
    """What the page shows below the form."""
    shown, now = request.GET.get("show", ""), timezone.now()
    log = WebhookMessage.objects.filter(endpoint=endpoint)
    counts = log.aggregate(
        **{state.value: Count("pk", filter=Q(state=state)) for state in State}, every=Count("pk")
    )
    if shown in State.values:
        log = log.filter(state=shown)
    latest = list(log.order_by("-id").prefetch_related("tries")[:LATEST])
    waiting = WebhookMessage.objects.filter(endpoint=endpoint, state=State.WAITING)
    of_members = waiting.filter(member__in={message.member for message in latest}).order_by()
    first = dict(of_members.values("member").annotate(first=Min("pk")).values_list("member", "first"))
    return {
        "endpoint": endpoint,
        "state": _state_of(endpoint),
        "may_change": may_change,
        "both_until": _still_to_come(endpoint.old_secret_until, now),
        "rests_until": _still_to_come(endpoint.rests_until, now),
        "shown": shown,
        "filters": [("", pgettext("webhook messages", "all"), counts["every"])]
        + [(state.value, state.label, counts[state.value]) for state in State],
        "deliveries": [_line(message, first.get(message.member)) for message in latest],
    }


def _still_to_come(at: datetime | None, now: datetime) -> datetime | None:
    return at if at and at > now else None


def _line(message: WebhookMessage, first: int | None) -> dict:
    """`first`: which of those that wait about the same member is sent first."""
    tone, icon = STATE_CHIPS[State(message.state)]
    tries = [{"attempt": attempt, "why": FAULTS.get(attempt.fault, "")} for attempt in message.tries.all()]
    event = pgettext("webhook messages", "Test") if message.event == TEST else HappenedTo(message.event).label
    return {
        "message": message, "event": event, "tone": tone, "icon": icon, "tries": tries,
        "latest": tries[-1] if tries else None, "body": webhooks.body_of(message).decode(),
        "is_test": message.event == TEST,
        "is_behind": message.state == State.WAITING and first is not None and first < message.pk,
    }  # fmt: skip
