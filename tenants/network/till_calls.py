"""The console of tills' last calls: which are speaking, what they asked, what they heard, and what to do about it."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import Q
from django.http import Http404
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.formats import time_format
from django.utils.functional import Promise
from django.utils.timezone import localtime
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from tenants.network import calls
from tenants.network.hints import hint
from tenants.network.models import Till
from tenants.scoping import current_scope

TILLS_A_PAGE = 25
CALLS_SHOWN = 100
# Of clocks that differ by less nothing is said.
CLOCK_SECONDS = 60
# Where several tills are looked at together, so many calls of each are read.
LATEST_OF_EACH = 60

PATHS: dict[str, Promise] = {
    "identify": _("Identify"),
    "quotes": _("Quote"),
    "purchases": _("Ticket"),
    "purchases/batch": _("Batch"),
    "refunds": _("Return"),
    "redemptions": _("Points spent"),
    "reservations": _("Points reserved"),
    "reservations/commit": _("Reservation spent"),
    "reservations/cancel": _("Reservation given up"),
    "claims": _("Claim"),
    "actions": _("Action"),
    "members/…": _("Member read"),
    "rewards": _("Catalogue"),
    "rewards/claims": _("Reward taken"),
    "rewards/claims/cancel": _("Reward given back"),
    "vouchers/check": _("Voucher looked at"),
    "vouchers/use": _("Voucher used"),
    "coupons/check": _("Coupons looked at"),
    "coupons/use": _("Coupons used"),
    "coupons/cancel": _("Coupons given up"),
    "events": _("Events"),
}
# One that sounds offline is said to be so since when.
STATES: dict[str, Promise] = {
    calls.SPEAKING: _("is speaking"),
    calls.QUIET: _("quiet"),
    calls.NEVER: _("has not called"),
    "revoked": _("key revoked"),
}
CHIP = {
    calls.SPEAKING: "cdp-yes",
    calls.OFFLINE: "cdp-no",
    "revoked": "cdp-unsaid",
    calls.NEVER: "cdp-unsaid",
}
STATUSES: dict[str, Promise] = {
    "done": _("went well"),
    "refused": _("refused (4xx)"),
    "failed": _("failed (5xx)"),
    "replayed": _("repeated"),
}
SHOWN: dict[str, Promise] = {
    "card": _("card"),
    "phone": _("phone"),
    "email": _("e-mail"),
    "key": _("key"),
}


@dataclass(frozen=True)
class Row:
    """A call as the page shows it."""

    till: Till | None
    call: calls.Call

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.call.at, UTC)

    @property
    def zone(self) -> tzinfo:
        return _zone_of(self.till)

    @property
    def what(self) -> str:
        return str(PATHS.get(self.call.path, f"{self.call.method} /{self.call.path}"))

    @property
    def chip(self) -> str:
        if self.call.status >= 500:
            return "cdp-no"
        return "cdp-maybe" if self.call.status >= 400 or self.call.refused else "cdp-yes"

    @property
    def shown(self) -> str:
        kind, _colon, value = self.call.shown.partition(":")
        return f"{SHOWN.get(kind, kind)} {value}" if value else ""

    @property
    def hint(self) -> str:
        if self.call.refused:
            told = _t("The till should show a person each ticket that was refused: the answer says why.")
            if not self.call.code:
                return told
            first = hint(422, self.call.code, field=self.call.field)
            return _t("%(told)s The first one: %(hint)s") % {"told": told, "hint": first}
        return hint(self.call.status, self.call.code, self.call.replayed, self.call.field)


@dataclass(frozen=True)
class Line:
    """A till as the page lists it."""

    till: Till
    pulse: calls.Pulse

    @property
    def state(self) -> str:
        return "revoked" if self.till.revoked_at else self.pulse.state

    @property
    def label(self) -> str:
        if self.state == calls.OFFLINE and self.since:
            return _t("sounds offline since %(time)s") % {
                "time": time_format(localtime(self.since, self.zone))
            }
        return str(STATES[self.state])

    @property
    def chip(self) -> str:
        return CHIP.get(self.state, "")

    @property
    def since(self) -> datetime | None:
        """When it was heard last, also where the call itself is kept no more."""
        return self.pulse.last_at or self.till.last_used_at

    @property
    def zone(self) -> tzinfo:
        return _zone_of(self.till)

    @property
    def clock(self) -> str:
        ahead = self.pulse.ahead
        if ahead is None:
            return ""
        if abs(ahead) < CLOCK_SECONDS:
            return _t("right")
        if ahead > 0:
            return _t("%(time)s ahead") % {"time": _length(ahead)}
        return _t("%(time)s behind, or sends late") % {"time": _length(-ahead)}

    @property
    def clock_is_wrong(self) -> bool:
        return self.pulse.ahead is not None and abs(self.pulse.ahead) >= CLOCK_SECONDS


class TillCalls:
    """The pages of a till's admin that show its last calls. Which tills is the scope's to say."""

    def get_urls(self):
        everybody = self.admin_site.admin_view(self.calls_view)
        return [path("calls/", everybody, name="network_till_calls"), *super().get_urls()]

    def calls_view(self, request):
        """Tills and their last calls; with `?part`, only what is brought up to date by itself."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = self._context(request)
        request.current_app = self.admin_site.name
        if "part" in request.GET:
            response = TemplateResponse(request, "admin/network/till/calls_part.html", context)
        else:
            shell = {
                **self.admin_site.each_context(request),
                "title": _t("Last calls of the tills"),
                "opts": self.opts,
                **context,
            }
            response = TemplateResponse(request, "admin/network/till/calls.html", shell)
        response["Cache-Control"] = "no-store"
        return response

    def _context(self, request) -> dict:
        now, asked = timezone.now(), request.GET
        words, status = asked.get("q", "").replace("\x00", "").strip()[:40], asked.get("status", "")
        tills = Till.objects.select_related("store").order_by("store__code", "code")
        if words:
            tills = tills.filter(
                Q(code__icontains=words) | Q(store__code__icontains=words) | Q(store__name__icontains=words)
            )
        chosen = _chosen(asked.get("till", ""))
        page = Paginator(tills, TILLS_A_PAGE).get_page(asked.get("page"))
        looked_at = {till.pk: till for till in ([chosen] if chosen else page)}
        reached, strangers = True, []
        heads: dict[int, list[calls.Call]] = {}
        try:
            number = calls.KEPT if chosen else LATEST_OF_EACH
            heads = calls.last(connection.tenant.pk, looked_at, number)
            if current_scope().is_whole_network and not chosen:
                strangers = calls.last(connection.tenant.pk, [calls.STRANGERS], 10)[calls.STRANGERS]
        except calls.Unreachable:
            reached = False
        rows = [Row(looked_at[pk], call) for pk, made in heads.items() for call in made]
        rows = [row for row in rows if _fits(row.call, status)]
        rows.sort(key=lambda row: -row.call.at)
        return {
            "lines": [
                Line(till, calls.pulse(heads.get(pk, []), now, till.store.zone)) for pk, till in looked_at.items()
            ],
            "rows": rows[:CALLS_SHOWN], "strangers": [Row(None, call) for call in strangers], "reached": reached,
            "page": page, "chosen": chosen, "q": words, "status": status, "statuses": STATUSES.items(), "now": now,
            "kept": calls.KEPT,
        }  # fmt: skip


def _zone_of(till: Till | None) -> tzinfo:
    """The clock that hangs in the store; the page's own where it is no till's."""
    return till.store.zone if till else timezone.get_current_timezone()


def _chosen(told: str) -> Till | None:
    """The till that the address names. Raises `Http404` for one that is not there for this person."""
    if not told:
        return None
    if not told.isdecimal() or len(told) > 18:
        raise Http404
    till = Till.objects.select_related("store").filter(pk=int(told)).first()
    if till is None:
        raise Http404
    return till


def _fits(call: calls.Call, status: str) -> bool:
    return {
        "done": call.status < 400,
        "refused": 400 <= call.status < 500 or bool(call.refused),
        "failed": call.status >= 500,
        "replayed": call.replayed,
    }.get(status, True)


def _length(seconds: float) -> str:
    """A length of time in the two units that matter."""
    minutes = round(seconds / 60)
    if minutes < 120:
        return _t("%(number)s min") % {"number": minutes}
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return _t("%(hours)s h %(minutes)s min") % {"hours": hours, "minutes": minutes}
    return _t("%(number)s days") % {"number": round(hours / 24)}
