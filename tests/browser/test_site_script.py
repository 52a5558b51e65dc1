"""The script of web sites in a real browser: on a page of another origin, with consent, without it, and taken back."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.conf import settings

from profiles.models import Event, Site, Source
from tests.browser.chromium import DESK

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SCRIPT = Path(settings.BASE_DIR) / "static/cdp/site.js"
STORED = "Object.keys(localStorage).length + document.cookie.length"


def test_the_script_is_at_most_2_kb():
    assert len(SCRIPT.read_bytes()) <= 2048


class Shop(BaseHTTPRequestHandler):
    """A web shop whose pages carry the snippet of docs/events.md, each saying something before the script came."""

    snippet = ""

    def do_GET(self):
        page = f"<!doctype html><title>Cheese</title><body>{self.path}{self.snippet}".encode()
        self.send_response(200 if "favicon" not in self.path else 204)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        if "favicon" not in self.path:
            self.wfile.write(page)

    def log_message(self, *_told):
        pass


@pytest.fixture
def shop():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://shop.localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def site(brand, shop, live_server) -> Site:
    source = Source.objects.create(code="shop", name="Web shop", kind=Source.Kind.ECOMMERCE)
    site = Site.objects.create(name="Shop", source=source, origins=shop)
    Shop.snippet = (
        "<script>window.cdp = window.cdp || []; cdp.push(['track', 'product_viewed', {sku: 'early'}])</script>"
        f'<script defer src="http://acme.localhost:{live_server.thread.port}/static/cdp/site.js" data-key="{site.key}">'
        "</script>"
    )
    return site


@pytest.fixture
def browser_of(chromium, shop):
    """`browser_of(gpc=False)`: (page, the bodies it sent to us)."""
    contexts = []

    def open_one(gpc=False):
        context = chromium.new_context(viewport=DESK)
        contexts.append(context)
        context.set_default_timeout(15_000)
        if gpc:
            context.add_init_script(
                "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {get: () => true})"
            )
        page, sent = context.new_page(), []
        page.on("request", lambda request: "/api/v1/" in request.url and sent.append(request))
        return page, sent

    yield open_one
    for context in contexts:
        context.close()


def said(page, deed: str) -> dict:
    """Do something in the page and wait for the answer to what it sends."""
    with page.expect_response("**/api/v1/events?*") as caught:
        page.evaluate(deed)
    assert caught.value.status == 200, caught.value.text()
    return caught.value.json()


def test_before_consent_nothing_is_stored_and_nothing_is_sent(site, shop, browser_of):
    page, sent = browser_of()
    page.goto(f"{shop}/cheese")
    page.evaluate(
        "cdp.track('product_viewed', {sku: '1'}); cdp.identify({email: 'anna@mail.example'}); cdp.page()"
    )
    assert page.evaluate(STORED) == 0
    page.goto(f"{shop}/bread")
    assert page.evaluate(STORED) == 0
    assert sent == []
    assert Event.objects.count() == 0


def test_a_visit_with_consent_becomes_a_person_s_at_the_login(site, shop, browser_of):
    page, sent = browser_of()
    page.goto(f"{shop}/cheese?email=secret#top")
    first = said(page, "cdp.consent(true)")
    assert first["results"][0]["status"] == "accepted"
    said(page, "cdp.track('product_viewed', {sku: 'CH-1', price: 4.5})")
    with page.expect_response("**/api/v1/events?*"):
        page.evaluate("location = '/bread'")
    said(page, "cdp.identify({email: 'anna@mail.example'})")
    assert {request.method for request in sent} == {"POST"}, "no preflight"
    told = list(Event.objects.order_by("at", "pk").select_related("type", "profile"))
    assert [event.type.code for event in told] == [
        "page_viewed", "product_viewed", "page_viewed", "product_viewed", "customer_logged_in",
    ]  # fmt: skip
    # What was told before the script came is said on each page: before consent it was dropped.
    assert [event.properties.get("sku") for event in told] == [None, "CH-1", None, "early", None]
    assert {event.profile.email for event in told} == {"anna@mail.example"}
    assert len({event.device_id for event in told}) == 1
    assert told[0].properties == {"url": f"{shop}/cheese", "title": "Cheese", "referrer": ""}
    assert told[2].properties["referrer"] == f"{shop}/cheese"
    site.refresh_from_db()
    assert site.last_event_at


def test_consent_taken_back_removes_the_device_id_and_stops(site, shop, browser_of):
    page, sent = browser_of()
    page.goto(f"{shop}/cheese")
    said(page, "cdp.consent(true)")
    page.evaluate(
        "cdp.track('product_viewed', {sku: '1'}); cdp.consent(false); cdp.track('product_viewed', {sku: '2'})"
    )
    assert page.evaluate(STORED) == 0
    page.goto(f"{shop}/bread")
    assert len(sent) == 1
    assert Event.objects.count() == 1
    said(page, "cdp.consent(true)")
    assert Event.objects.values("device").distinct().count() == 2


def test_global_privacy_control_is_a_refusal(site, shop, browser_of):
    page, sent = browser_of(gpc=True)
    page.goto(f"{shop}/cheese")
    page.evaluate("cdp.consent(true); cdp.track('product_viewed', {sku: '1'})")
    assert page.evaluate(STORED) == 0
    assert sent == []


def test_what_could_not_be_sent_is_sent_again_and_counts_once(site, shop, browser_of):
    page, sent = browser_of()
    page.goto(f"{shop}/cheese")
    page.route("**/api/v1/events?*", lambda route: route.abort())
    with page.expect_event("requestfailed"):
        page.evaluate("cdp.consent(true)")
    page.unroute("**/api/v1/events?*")
    with page.expect_response("**/api/v1/events?*") as caught:
        pass
    assert caught.value.json()["accepted"] == 1
    page.wait_for_function("localStorage.getItem('cdp.queue') == '[]'")
    assert len(sent) >= 2
    assert Event.objects.count() == 1


def test_what_is_left_when_the_page_goes_is_sent_by_beacon(site, shop, browser_of):
    page, _sent = browser_of()
    page.add_init_script("if (location.pathname == '/bread') window.fetch = () => Promise.reject(0)")
    page.goto(f"{shop}/cheese")
    said(page, "cdp.consent(true)")
    page.evaluate(
        "window.fetch = () => Promise.reject(0); cdp.track('product_viewed', {sku: '9'}); location = '/bread'"
    )
    page.wait_for_url("**/bread")
    for _moment in range(100):
        if Event.objects.filter(properties__sku="9").exists():
            break
        page.wait_for_timeout(50)
    assert Event.objects.filter(properties__sku="9").count() == 1


def test_another_address_is_refused(site, shop, browser_of):
    Site.objects.update(origins="https://elsewhere.example")
    page, _sent = browser_of()
    page.goto(f"{shop}/cheese")
    with page.expect_event("requestfailed"):
        page.evaluate("cdp.consent(true)")
    assert Event.objects.count() == 0
