"""Every path of version 1 of the API, on one page.

Tills write by thin views (`loyalty/api.py`), sites and tills send events (`profiles/events_api.py`), back offices and
BI tools read by viewsets. One path may serve both, told apart by the method.
"""

from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView
from rest_framework.routers import SimpleRouter

import campaigns.api
import loyalty.api as till
import loyalty.benefits_api as benefits
import loyalty.me_api as me
import loyalty.webshop
import profiles.api
import profiles.events_api
from profiles.api import PurchaseViewSet
from profiles.connectors import contest

app_name = "api"


def read_or(post, read):
    """POST goes to the till's view, every other method to the back office's."""

    def view(request, *args, **kwargs):
        return (post if request.method == "POST" else read)(request, *args, **kwargs)

    view.csrf_exempt = True
    # What the OpenAPI generator looks for on a view of a viewset.
    view.cls, view.actions, view.initkwargs = read.cls, read.actions, read.initkwargs
    return view


router = SimpleRouter(trailing_slash=False, use_regex_path=False)
for prefix, viewset in [*profiles.api.viewsets, *campaigns.api.viewsets]:
    router.register(prefix, viewset, basename=prefix)

urlpatterns = [
    path("identify", till.identify, name="identify"),
    path("quotes", till.quote, name="quote"),
    path("purchases", read_or(till.purchase, PurchaseViewSet.as_view({"get": "list"})), name="purchases"),
    path("purchases/batch", till.batch, name="batch"),
    path("refunds", till.refund, name="refund"),
    path("claims", till.claim, name="claim"),
    path("actions", till.action, name="action"),
    path("redemptions", till.redemption, name="redemption"),
    path("reservations", till.reservation, name="reservation"),
    path("reservations/commit", till.commit_reservation, name="commit_reservation"),
    path("reservations/cancel", till.cancel_reservation, name="cancel_reservation"),
    path("rewards", benefits.rewards, name="rewards"),
    path("rewards/claims", benefits.claim, name="claim"),
    path("rewards/claims/cancel", benefits.cancel_claim, name="cancel_claim"),
    path("vouchers/check", benefits.check_voucher, name="check_voucher"),
    path("vouchers/use", benefits.use_voucher, name="use_voucher"),
    path("coupons/check", benefits.check_coupons, name="check_coupons"),
    path("coupons/use", benefits.use_coupons, name="use_coupons"),
    path("coupons/cancel", benefits.cancel_coupons, name="cancel_coupons"),
    path("members/<uuid:public_id>", till.member, name="member"),
    path("members/<uuid:public_id>/link", me.link, name="member_link"),
    path("me", me.own_view, name="me"),
    path("webhooks/<uuid:public_id>", loyalty.webshop.webhook, name="webhook"),
    path("contest-entries", contest.entries_view, name="contest_entries"),
    path("events", profiles.events_api.events, name="events"),
    *router.urls,
    path("openapi.json", SpectacularJSONAPIView.as_view(), name="schema"),
]
