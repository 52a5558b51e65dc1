"""What tills write comes in past Django's handler, and is answered as though it had come through it."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from wsgiref.util import setup_testing_defaults

import pytest
from django.core.signals import request_started
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.urls import get_urlconf, set_urlconf

from cdp import till_lane
from cdp.wsgi import application
from tenants import doorbell
from tenants.network.models import WebhookEndpoint
from tests.conftest import HOST
from tests.loyalty.conftest import programme  # noqa: F401 - a fixture

CARD = "2990000001234"
SALE = {
    "receipt_id": "R1", "bought_at": "2026-11-02T10:00:00+01:00", "member": {"card": CARD},
    "lines": [{"sku": "S1", "amount": 12.50}],
}  # fmt: skip


def send(path, body, key="", host=HOST, method="POST"):
    """The answer of the WSGI application: status, headers, body."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    environ = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": host, "HTTP_AUTHORIZATION": f"Till {key}",
        "HTTP_ACCEPT_LANGUAGE": "en", "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(sent)),
        "wsgi.input": io.BytesIO(sent),
    }  # fmt: skip
    setup_testing_defaults(environ)
    heard = []
    answer = application(environ, lambda status, headers: heard.extend([status, dict(headers)]))
    told = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    return (*heard, told)


@pytest.fixture(autouse=True)
def kept_connection(monkeypatch):
    """What the test wrote is in this thread's connection, as yet uncommitted: it is not closed between requests."""
    monkeypatch.setattr(connections[DEFAULT_DB_ALIAS], "close_if_unusable_or_obsolete", lambda: None)


@pytest.fixture
def django_s_requests():
    """How many requests Django's own handler was given."""
    given = []

    def note(**sent):
        given.append(sent["environ"]["PATH_INFO"])

    request_started.connect(note)
    yield given
    request_started.disconnect(note)


def test_a_ticket_is_answered_as_the_middleware_would(
    brand, programme, lille_till, till_client, django_s_requests  # noqa: F811
):  # fmt: skip
    status, headers, told = send("/api/v1/purchases", SALE, lille_till[1])
    assert django_s_requests == []
    again = till_client(lille_till[1]).post("/api/v1/purchases", SALE, content_type="application/json")
    assert status == "201 Created"
    assert json.loads(told)["points"] == 12
    assert told == again.content
    same = {name: value for name, value in again.headers.items() if name != "Idempotent-Replayed"}
    assert headers == same
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Length"] == str(len(told))


def test_what_is_no_till_s_writing_goes_to_django(brand, lille_till, django_s_requests):
    asked = (("/livez", "GET"), ("/api/v1/purchases", "GET"), ("/api/v1/nowhere", "POST"))
    heard = [send(path, b"", lille_till[1], method=method)[0] for path, method in asked]
    assert heard == ["200 OK", "403 Forbidden", "404 Not Found"]
    assert django_s_requests == ["/livez", "/api/v1/purchases", "/api/v1/nowhere"]


@pytest.mark.parametrize(
    ("body", "key", "host", "expected"),
    [(b"{", None, HOST, 400), (SALE, "nobody's", HOST, 401), (SALE, None, "nobody.localhost", 404)],
)
def test_refusals_are_the_same_ones(brand, lille_till, till_client, body, key, host, expected):
    key = lille_till[1] if key is None else key
    status, headers, told = send("/api/v1/purchases", body, key, host)
    client = till_client(key)
    client.defaults |= {"HTTP_HOST": host, "HTTP_ACCEPT_LANGUAGE": "en"}
    sent = body if isinstance(body, bytes) else json.dumps(body)
    through = client.post("/api/v1/purchases", sent, content_type="application/json")
    assert (int(status.split()[0]), told) == (through.status_code, through.content)
    assert through.status_code == expected
    assert headers["Content-Type"] == through.headers["Content-Type"]


def test_after_a_ticket_the_outbox_s_bell_is_rung_and_after_a_refusal_not(
    brand, programme, lille_till, monkeypatch  # noqa: F811
):  # fmt: skip
    rung = []
    monkeypatch.setattr(doorbell.webhooks, "due_endpoints", lambda: rung.append(1))
    WebhookEndpoint(name="CRM", url="https://crm.example.com/hooks", events=["points.posted"]).issue_secret()
    send("/api/v1/purchases", SALE, "nobody's")
    assert rung == []
    send("/api/v1/purchases", SALE, lille_till[1])
    assert rung == [1]
    WebhookEndpoint.objects.update(is_on=False)
    doorbell.listen()
    for _ticket in range(3):
        send("/api/v1/purchases", SALE, lille_till[1])
    assert rung == [1]


def test_what_nobody_foresaw_is_a_500_and_is_logged(brand, lille_till, monkeypatch, caplog):
    def broken(_request):
        raise LookupError("unforeseen")

    monkeypatch.setitem(till_lane.VIEWS, "/api/v1/purchases", broken)
    status, _headers, told = send("/api/v1/purchases", SALE, lille_till[1])
    assert status.startswith("500")
    assert b"unforeseen" not in told
    assert "Internal Server Error: /api/v1/purchases" in caplog.text


def test_the_thread_s_addresses_are_a_brand_s_whatever_it_served_before(brand, lille_till):
    set_urlconf("cdp.urls_public")
    send("/api/v1/identify", {"member": {"card": CARD}}, lille_till[1])
    assert get_urlconf() != "cdp.urls_public"


def test_a_connection_ends_at_its_age(brand):
    """In a thread of its own, as web servers have them: nothing of the test's transaction is there."""

    def ask_twice():
        send("/api/v1/identify", {"member": {"card": CARD}}, "nobody's")
        first = connection.connection
        connection.close_at = 0
        send("/api/v1/identify", {"member": {"card": CARD}}, "nobody's")
        outcome = first.closed, connection.connection is first
        connection.close()
        return outcome

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(ask_twice).result(30) == (True, False)
