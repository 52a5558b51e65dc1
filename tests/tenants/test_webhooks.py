"""Webhooks on their way out, against a real server: signed, in order, tried again, given up, and never led astray."""

import json
import socket
from datetime import timedelta
from time import monotonic
from uuid import UUID, uuid4

import pytest
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError
from standardwebhooks import Webhook, WebhookVerificationError

from loyalty.tasks import release_due
from tenants import doorbell, tasks
from tenants.network import outbound, webhooks
from tenants.network.models import AuditEvent, WebhookAttempt, WebhookEndpoint, WebhookMessage
from tenants.network.webhook_models import BOTH_SECRETS, HappenedTo, SecretUnreadable
from tests.receiver import drips, leads_to, listening, talks

EVERYTHING = HappenedTo.values
ADA, BOB = UUID(int=1), UUID(int=2)


@pytest.fixture
def receiver():
    with listening() as server:
        yield server


@pytest.fixture
def endpoint(brand, receiver) -> WebhookEndpoint:
    made = WebhookEndpoint(name="CRM", url=receiver.url, events=EVERYTHING)
    made.issue_secret()
    return made


@pytest.fixture
def secret(endpoint) -> str:
    return endpoint.secrets_at(timezone.now())[0]


def put(endpoint, member=ADA, **data) -> WebhookMessage:
    """A message that waits."""
    return WebhookMessage.objects.create(
        endpoint=endpoint, event="points.posted", member=member, happened_at=timezone.now(), data=data
    )


def due_now() -> None:
    """The pauses are over, and so is what a dead worker took."""
    before = timezone.now() - timedelta(seconds=1)
    WebhookMessage.objects.filter(state="waiting").update(next_at=before)
    WebhookMessage.objects.exclude(taken_until=None).update(taken_until=before)
    WebhookEndpoint.objects.update(rests_until=None)


def said(receiver) -> list[int]:
    return [json.loads(heard.body)["data"]["n"] for heard in receiver.heard]


def latest(message) -> WebhookAttempt:
    return WebhookAttempt.objects.filter(message=message).latest("id")


# --- Signed ------------------------------------------------------------------------------------------------------


def test_the_receivers_library_verifies_what_is_sent(endpoint, secret, receiver):
    message = put(endpoint, n=1, accent="é")
    assert webhooks.deliver(endpoint.pk) == 1
    (heard,) = receiver.heard
    told = Webhook(secret).verify(heard.body, heard.headers)
    assert told == {
        "type": "points.posted", "timestamp": message.happened_at.isoformat(), "data": {"n": 1, "accent": "é"},
    }  # fmt: skip
    assert heard.id == message.webhook_id
    message.refresh_from_db()
    assert (message.state, message.attempt_count, latest(message).status) == ("delivered", 1, 200)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(heard.body.replace(b'"n":1', b'"n":2'), heard.headers)


def test_after_a_new_secret_both_sign_for_a_day(endpoint, secret, receiver):
    new = endpoint.issue_secret()
    put(endpoint, n=1)
    webhooks.deliver(endpoint.pk)
    (heard,) = receiver.heard
    for good in (secret, new):
        assert Webhook(good).verify(heard.body, heard.headers)
    assert endpoint.secrets_at(timezone.now() + BOTH_SECRETS) == [new]
    assert secret not in endpoint.sealed_secret + endpoint.sealed_old_secret


def test_a_secret_sealed_under_a_lost_key_is_told(endpoint, receiver):
    WebhookEndpoint.objects.update(sealed_secret="gAAAAA-lost")
    endpoint.refresh_from_db()
    with pytest.raises(SecretUnreadable):
        endpoint.secrets_at(timezone.now())
    message = put(endpoint, n=1)
    webhooks.deliver(endpoint.pk)
    assert (latest(message).fault, receiver.heard) == ("no_secret", [])


# --- Tried again -------------------------------------------------------------------------------------------------


def test_what_failed_is_sent_again_under_the_same_id(endpoint, receiver):
    receiver.answers = [500]
    message = put(endpoint, n=1)
    webhooks.deliver(endpoint.pk)
    message.refresh_from_db()
    assert (message.state, latest(message).status) == ("waiting", 500)
    assert message.next_at > timezone.now()
    assert webhooks.deliver(endpoint.pk) == 0
    due_now()
    webhooks.deliver(endpoint.pk)
    first, second = receiver.heard
    assert (first.id, first.body) == (second.id, second.body)
    message.refresh_from_db()
    assert (message.state, message.attempt_count) == ("delivered", 2)


def test_pauses_grow_and_are_never_the_same():
    assert timedelta(seconds=4) <= webhooks.pause_after(1) <= timedelta(seconds=6)
    assert webhooks.pause_after(30) <= webhooks.LONGEST_PAUSE * 1.2
    assert len({webhooks.pause_after(3) for _draw in range(20)}) > 1
    waited, attempts = timedelta(), 0
    while waited < webhooks.GIVES_UP_AFTER:
        attempts += 1
        waited += webhooks.pause_after(attempts)
    assert 12 <= attempts <= 30


def test_a_host_that_drips_is_cut_off(endpoint, receiver, monkeypatch):
    monkeypatch.setattr(outbound, "SECONDS", 0.3)
    receiver.answers = [drips]
    message, begun = put(endpoint, n=1), monotonic()
    webhooks.deliver(endpoint.pk)
    assert monotonic() - begun < 2
    assert (latest(message).status, latest(message).fault) == (None, "timeout")


def test_of_a_long_answer_only_the_beginning_is_kept(endpoint, receiver):
    receiver.answers = [talks, talks]
    assert len(outbound.post(receiver.url, b"{}", {"webhook-id": "msg_1"}).text) < outbound.READ
    message = put(endpoint, n=1)
    webhooks.deliver(endpoint.pk)
    assert latest(message).status == 200
    assert 1900 < len(latest(message).answer) <= outbound.READ
    assert "\x00" not in latest(message).answer


def test_nobody_listens(endpoint, receiver):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint.url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        endpoint.save()
        message = put(endpoint, n=1)
        webhooks.deliver(endpoint.pk)
    assert latest(message).fault == "refused"


def test_after_three_days_it_is_given_up_and_the_endpoint_marked(endpoint, receiver):
    receiver.answers = [503, 503]
    message = put(endpoint, n=1)
    webhooks.deliver(endpoint.pk)
    endpoint.refresh_from_db()
    assert endpoint.failing_since is None
    WebhookMessage.objects.update(created_at=timezone.now() - webhooks.GIVES_UP_AFTER)
    due_now()
    webhooks.deliver(endpoint.pk)
    message.refresh_from_db()
    endpoint.refresh_from_db()
    assert (message.state, endpoint.is_on) == ("failed", True)
    assert endpoint.failing_since is not None
    put(endpoint, n=2)
    webhooks.deliver(endpoint.pk)
    endpoint.refresh_from_db()
    assert (endpoint.failing_since, endpoint.failures, said(receiver)) == (None, 0, [1, 1, 2])


def test_an_endpoint_that_fails_again_and_again_is_left_in_peace(endpoint, receiver):
    receiver.answers = [500] * 10
    for n in range(10):
        put(endpoint, member=uuid4(), n=n)
    assert webhooks.deliver(endpoint.pk) == webhooks.PATIENCE
    assert webhooks.due_endpoints() == []
    endpoint.refresh_from_db()
    assert endpoint.rests_until > timezone.now()
    receiver.answers = []
    due_now()
    assert webhooks.due_endpoints() == [endpoint.pk]
    assert webhooks.deliver(endpoint.pk) == 10


def test_gone_switches_it_off(endpoint, receiver):
    receiver.answers = [410]
    message = put(endpoint, n=1)
    put(endpoint, n=2)
    webhooks.deliver(endpoint.pk)
    message.refresh_from_db()
    endpoint.refresh_from_db()
    assert (message.state, endpoint.is_on, endpoint.is_gone) == ("failed", False, True)
    assert said(receiver) == [1]
    assert AuditEvent.objects.filter(verb="switched off", actor="system").count() == 1


# --- In order ----------------------------------------------------------------------------------------------------


def test_what_happened_later_to_a_member_waits_for_what_happened_before(endpoint, receiver):
    receiver.answers = [500]
    for n, member in ((1, ADA), (2, ADA), (3, BOB), (4, BOB)):
        put(endpoint, member, n=n)
    webhooks.deliver(endpoint.pk)
    assert said(receiver) == [1, 3, 4]
    due_now()
    webhooks.deliver(endpoint.pk)
    assert said(receiver) == [1, 3, 4, 1, 2]


def test_what_is_given_up_keeps_nobody_waiting(endpoint, receiver):
    receiver.answers = [400]
    first = put(endpoint, n=1)
    WebhookMessage.objects.filter(pk=first.pk).update(created_at=timezone.now() - webhooks.GIVES_UP_AFTER)
    put(endpoint, n=2)
    webhooks.deliver(endpoint.pk)
    assert said(receiver) == [1, 2]


def test_endpoints_do_not_wait_for_each_other(endpoint, receiver):
    other = WebhookEndpoint(name="Other", url=receiver.url, events=EVERYTHING)
    other.issue_secret()
    receiver.answers = [500]
    put(endpoint, n=1)
    put(other, n=2)
    tasks.deliver_webhooks()
    assert sorted(said(receiver)) == [1, 2]
    assert WebhookMessage.objects.filter(state="delivered").count() == 1


# --- Never led astray --------------------------------------------------------------------------------------------


def test_a_redirect_is_not_followed(endpoint, receiver):
    with listening() as elsewhere:
        receiver.answers = [leads_to(elsewhere.url)]
        message = put(endpoint, n=1)
        webhooks.deliver(endpoint.pk)
        assert elsewhere.heard == []
    assert (latest(message).status, latest(message).fault) == (307, "redirect")
    message.refresh_from_db()
    assert message.state == "waiting"


@pytest.mark.parametrize(
    "found", ["10.0.0.7", "169.254.169.254", "127.0.0.1", "::1", "64:ff9b::a00:1", "fe80::1"]
)
def test_a_name_that_leads_inside_is_not_called(endpoint, receiver, settings, monkeypatch, found):
    """Judged by what the name server says when it is sent, whatever it said when it was set up."""
    settings.CONNECTORS_REACH_PRIVATE = False
    endpoint.url = "https://crm.example.com/hooks"
    endpoint.save()
    family = socket.AF_INET6 if ":" in found else socket.AF_INET
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [(family, 1, 6, "", (found, 443))])
    monkeypatch.setattr(socket, "create_connection", lambda *_a, **_k: pytest.fail("it was called"))
    message = put(endpoint, n=1)
    webhooks.deliver(endpoint.pk)
    assert latest(message).fault == "private_host"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://crm.example.com/", "http://crm.example.com/", "https:///hooks", "https://u:p@crm.example.com/",
        "https://crm.example.com:99999/", "https://crm.example.com/a b", "https://crm.example.com/\r\nX: y",
        "https://crm.example.com/#part", "crm.example.com", "https://crm.example.com:0/",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(outbound.BadAddress):
        outbound.read(url)
    assert outbound.post(url, b"{}", {}).fault == "bad_address"


def test_plain_http_is_for_this_machine_and_for_tests_alone(settings):
    assert outbound.read("http://127.0.0.1:8000/").port == 8000
    settings.CONNECTORS_REACH_PRIVATE = False
    with pytest.raises(outbound.BadAddress):
        outbound.read("http://127.0.0.1:8000/")
    assert outbound.read("https://crm.example.com/hooks").hostname == "crm.example.com"


# --- By hand -----------------------------------------------------------------------------------------------------


def test_sending_again_keeps_the_id_and_needs_a_webhook_that_is_on(endpoint, receiver, diane):
    message = put(endpoint, n=1)
    webhooks.deliver(endpoint.pk)
    webhooks.send_again(message, diane)
    webhooks.deliver(endpoint.pk)
    first, second = receiver.heard
    assert first.id == second.id
    WebhookEndpoint.objects.update(is_on=False)
    with pytest.raises(webhooks.SwitchedOff):
        webhooks.send_again(message, diane)


def test_what_is_under_way_is_not_sent_beside(endpoint, receiver, diane):
    message = put(endpoint, n=1)
    webhooks._take(message.pk)
    webhooks.send_again(message, diane)
    assert webhooks.deliver(endpoint.pk) == 0
    WebhookMessage.objects.update(taken_until=None, next_at=timezone.now() + timedelta(hours=6))
    webhooks.send_again(message, diane)
    assert webhooks.deliver(endpoint.pk) == 1


def test_a_test_is_sent_once_even_where_it_is_switched_off(endpoint, receiver, secret):
    WebhookEndpoint.objects.update(is_on=False)
    endpoint.refresh_from_db()
    receiver.answers = [500]
    assert webhooks.send_test(endpoint).state == "failed"
    assert webhooks.send_test(endpoint).state == "delivered"
    assert (
        Webhook(secret).verify(receiver.heard[-1].body, receiver.heard[-1].headers)["type"] == "webhook.test"
    )


def test_after_thirty_days_messages_are_forgotten(endpoint, receiver):
    old, new = put(endpoint, n=1), put(endpoint, n=2)
    webhooks.deliver(endpoint.pk)
    WebhookMessage.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=30, minutes=1))
    assert tasks.forget_webhooks() == 1
    assert list(WebhookMessage.objects.all()) == [new]
    assert WebhookAttempt.objects.count() == 1


# --- The bell ----------------------------------------------------------------------------------------------------


@pytest.fixture
def enrol(till_client, lille_till):
    def asked():
        told = {"first_name": "Ada", "consents": [{"channel": "email", "granted": True, "wording": "Yes."}]}
        body = {"member": {"card": "2990000001234"}, "create": told}
        response = till_client(lille_till[1]).post(
            "/api/v1/identify", json.dumps(body), content_type="application/json"
        )
        assert response.status_code == 200
        return response.json()

    return asked


def test_what_a_till_does_is_told_at_once(endpoint, receiver, enrol):
    member = enrol()["id"]
    told = [json.loads(heard.body) for heard in receiver.heard]
    assert {one["type"] for one in told} == {"consent.changed", "member.created"}
    assert {one["data"]["member"] for one in told} == {member}
    assert b"Ada" not in b"".join(heard.body for heard in receiver.heard)


def test_a_broker_that_is_away_costs_the_till_nothing_and_the_outbox_drains_after(
    endpoint, receiver, enrol, monkeypatch
):
    def away(*_args, **_options):
        raise OperationalError("no broker")

    with monkeypatch.context() as patch:
        patch.setattr(tasks.deliver_webhooks, "apply_async", away)
        enrol()
    assert receiver.heard == []
    assert WebhookMessage.objects.filter(state="waiting").count() == 2
    tasks.deliver_webhooks()
    assert len(receiver.heard) == 2


def test_what_a_task_does_is_told_as_well(endpoint, receiver):
    put(endpoint, n=1)
    release_due.delay()
    assert said(receiver) == [1]


def test_the_bell_is_rung_once_until_somebody_looks(endpoint, monkeypatch):
    rung = []
    monkeypatch.setattr(tasks.deliver_webhooks, "apply_async", lambda **_options: rung.append(1))
    put(endpoint, n=1)
    for _ticket in range(5):
        doorbell.ring()
    assert len(rung) == 1
    doorbell.answer()
    doorbell.ring()
    assert len(rung) == 2


def test_a_brand_without_webhooks_is_not_asked(brand, django_assert_num_queries):
    cache.clear()
    doorbell.listen()
    with django_assert_num_queries(0):
        doorbell.ring()


def test_the_worker_died_and_another_sends_it(endpoint, receiver):
    class Killed(BaseException):
        pass

    def dies(*_args):
        raise Killed

    message = put(endpoint, n=1)
    with pytest.raises(Killed):
        webhooks.deliver(endpoint.pk, send=dies)
    assert webhooks.deliver(endpoint.pk) == 0
    due_now()
    assert webhooks.deliver(endpoint.pk) == 1
    assert [heard.id for heard in receiver.heard] == [message.webhook_id]


# --- The page ----------------------------------------------------------------------------------------------------

LIST, ADD = "admin:network_webhookendpoint_changelist", "admin:network_webhookendpoint_add"


def page_of(endpoint) -> str:
    return reverse("admin:network_webhookendpoint_change", args=[endpoint.pk])


def test_an_endpoint_is_set_up_and_its_secret_shown_once(client_of, diane, receiver):
    browser = client_of(diane)
    form = {"name": "CRM", "url": receiver.url, "events": ["points.posted", "tier.changed"], "is_on": "on"}
    answer = browser.post(reverse(ADD), form)
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    made = WebhookEndpoint.objects.get()
    (secret,) = made.secrets_at(timezone.now())
    assert secret in answer.content.decode()
    assert made.events == ["points.posted", "tier.changed"]
    assert secret not in browser.get(page_of(made)).content.decode()
    renewed = browser.post(reverse("admin:network_webhookendpoint_secret", args=[made.pk]))
    made.refresh_from_db()
    new, old = made.secrets_at(timezone.now())
    assert (old, new in renewed.content.decode()) == (secret, True)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"url": "http://crm.example.com/"}, "begins with https://"),
        ({"url": "https://10.0.0.1/"}, "own network"),
        ({"events": []}, "required"),
        ({"events": ["no.such"]}, "not one of the available choices"),
    ],
)
def test_what_cannot_be_right_is_refused_beside_its_field(client_of, diane, receiver, settings, told, error):
    settings.CONNECTORS_REACH_PRIVATE = False
    form = {"name": "CRM", "url": "https://127.0.0.1/", "events": ["points.posted"]} | told
    answer = client_of(diane).post(reverse(ADD), form)
    assert error in answer.content.decode()
    assert not WebhookEndpoint.objects.exists()


def test_the_page_shows_what_came_of_each_message(client_of, diane, alice, endpoint, receiver):
    receiver.answers = [500]
    message = put(endpoint, n=1)
    webhooks.deliver(endpoint.pk)
    body = client_of(diane).get(page_of(endpoint)).content.decode()
    assert all(
        word in body
        for word in ("points.posted", "500", "Send again", message.webhook_id, "last attempt failed")
    )
    assert "behind an earlier one" not in body
    later = put(endpoint, n=2)
    put(endpoint, member=BOB, n=3)
    assert client_of(diane).get(page_of(endpoint)).content.decode().count("behind an earlier one") == 1
    later.delete()
    again = reverse("admin:network_webhookendpoint_send_again", args=[endpoint.pk, message.pk])
    answer = client_of(diane).post(again)
    assert answer.headers["Location"] == page_of(endpoint), "at its top, where the message stands"
    message.refresh_from_db()
    assert message.state == "delivered", "sent after the answer, by the bell"
    tested = client_of(diane).post(
        reverse("admin:network_webhookendpoint_test", args=[endpoint.pk]), follow=True
    )
    assert "The test event was taken" in tested.content.decode()
    assert client_of(diane).get(page_of(endpoint), {"show": "failed"}).status_code == 200
    WebhookEndpoint.objects.update(is_on=False)
    assert "Send again" not in client_of(diane).get(page_of(endpoint)).content.decode()
    # Who reads it may not touch it.
    WebhookEndpoint.objects.update(is_on=True)
    reads = client_of(alice).get(page_of(endpoint)).content.decode()
    assert "points.posted" in reads
    assert "Send again" not in reads
    assert client_of(alice).post(again).status_code == 403


def test_what_is_over_is_told_no_more(client_of, diane, endpoint):
    hour = timedelta(hours=1)
    for ahead, is_told in ((hour, True), (-hour, False)):
        at = timezone.now() + ahead
        WebhookEndpoint.objects.update(rests_until=at, old_secret_until=at)
        body = client_of(diane).get(page_of(endpoint)).content.decode()
        assert ("Not called until" in body, "signs as well until" in body) == (is_told, is_told)


def test_a_store_sees_no_webhook(client_of, bruno, endpoint):
    assert client_of(bruno).get(reverse(LIST)).status_code == 403
    assert client_of(bruno).get(page_of(endpoint)).status_code == 403


def test_the_list_tells_the_state(client_of, diane, endpoint):
    put(endpoint, n=1)
    body = client_of(diane).get(reverse(LIST)).content.decode()
    assert "nothing sent yet" in body
    WebhookEndpoint.objects.update(is_on=False, is_gone=True)
    assert "410" in client_of(diane).get(reverse(LIST)).content.decode()
    # Switching it on again clears the slate.
    form = {"name": "CRM", "url": endpoint.url, "events": EVERYTHING, "is_on": "on"}
    assert client_of(diane).post(page_of(endpoint), form).status_code == 302
    endpoint.refresh_from_db()
    assert (endpoint.is_on, endpoint.is_gone) == (True, False)
