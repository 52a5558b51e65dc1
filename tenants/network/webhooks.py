"""Webhooks on their way out: what waits in the outbox is signed, sent, tried again, and given up after three days.

Messages about one member reach an endpoint in the order of the deeds: the next one waits until the one before was
delivered or given up. Whoever sends a message takes it first, in a transaction of its own, for longer than sending can
take: nobody else sends it meanwhile, and it is sent again if the worker dies. So a message may
come twice, under the same id, and never gets lost.

Signatures and headers are those of Standard Webhooks, which have libraries in every language.
"""

import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic
from uuid import uuid4

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from standardwebhooks import Webhook

from tenants.network import outbound
from tenants.network.models import Staff, WebhookAttempt, WebhookEndpoint, WebhookMessage, audit
from tenants.network.webhook_models import TEST, SecretUnreadable
from tenants.scoping import whole_network

State = WebhookMessage.State
# Longer than a call can take: then the message is anybody's again.
TAKEN_FOR = timedelta(seconds=60)
GIVES_UP_AFTER = timedelta(days=3)
KEPT_FOR = timedelta(days=30)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(hours=6)
# From so many failures in a row on, an endpoint is left in peace for a while, whatever else waits for it.
PATIENCE = 3
FIRST_REST, LONGEST_REST = timedelta(seconds=10), timedelta(hours=1)
GONE = 410
FORGOTTEN_AT_ONCE = 5000
# Looked up together, taken one by one.
IN_LINE = 200


class SwitchedOff(RuntimeError):
    """Nothing is sent to an endpoint that is switched off."""


def wanted() -> bool:
    """Whether the brand has an endpoint that is switched on."""
    with whole_network():
        return WebhookEndpoint.objects.filter(is_on=True).exists()


def due_endpoints() -> list[int]:
    """The endpoints for which something waits that may be sent now."""
    now = timezone.now()
    with whole_network():
        waiting = WebhookMessage.objects.filter(
            _is_free(now), endpoint=OuterRef("pk"), state=State.WAITING, next_at__lte=now
        )
        return list(_callable(now).filter(Exists(waiting)).values_list("pk", flat=True))


def deliver(endpoint_id: int, seconds: float = 30, send: Callable = outbound.post) -> int:
    """Send what waits for the endpoint, for about so long; returns how many attempts were made.

    Any number of workers may do it at once.
    """
    end, made = monotonic() + seconds, 0
    with whole_network():
        while ids := _first_in_line(endpoint_id):
            before = made
            for pk in ids:
                if monotonic() >= end or not _callable(timezone.now()).filter(pk=endpoint_id).exists():
                    return made
                message = _take(pk)
                if message is not None:
                    _send(message, send)
                    made += 1
            if made == before:
                break  # others send them
    return made


def send_test(endpoint: WebhookEndpoint, send: Callable = outbound.post) -> WebhookMessage:
    """Send a test event now, whether the endpoint is switched on or not, once; returns the message with its attempt."""
    now = timezone.now()
    with whole_network():
        message = WebhookMessage.objects.create(
            public_id=uuid4(), endpoint=endpoint, event=TEST, happened_at=now,
            data={"webhook": endpoint.name, "sent_at": now.isoformat()}, taken_until=now + TAKEN_FOR,
        )  # fmt: skip
        _send(message, send, tries_again=False)
        return WebhookMessage.objects.get(pk=message.pk)


def send_again(message: WebhookMessage, by: Staff) -> None:
    """Have a message sent again at once, under the same id; what waits about the same member waits for it.

    Raises `SwitchedOff`.
    """
    with whole_network(), transaction.atomic():
        endpoint = WebhookEndpoint.objects.select_for_update().get(pk=message.endpoint_id)
        if not endpoint.is_on:
            raise SwitchedOff
        # Where it is under way it stays taken, and what comes of that attempt decides.
        WebhookMessage.objects.filter(pk=message.pk).update(state=State.WAITING, next_at=timezone.now())
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(rests_until=None)
        audit(by, "sent again", message, event=message.event, webhook=endpoint.name)


def forget(now: datetime) -> int:
    """Remove messages and their attempts after thirty days, a limited number; returns how many."""
    with whole_network(), transaction.atomic():
        old = WebhookMessage.objects.filter(created_at__lt=now - KEPT_FOR).order_by("created_at")
        ids = list(old.values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE])
        WebhookAttempt.objects.filter(message__in=ids).delete()
        WebhookMessage.objects.filter(pk__in=ids).delete()
    return len(ids)


def body_of(message: WebhookMessage) -> bytes:
    """What is sent, the same to the byte each time."""
    told = {"type": message.event, "timestamp": message.happened_at.isoformat(), "data": message.data}
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def headers_of(message: WebhookMessage, body: bytes, now: datetime) -> dict[str, str]:
    """Id, time and signatures, one a secret that is good now. Raises `SecretUnreadable`."""
    signed = [
        Webhook(secret).sign(message.webhook_id, now, body.decode())
        for secret in message.endpoint.secrets_at(now)
    ]
    return {
        "Content-Type": "application/json",
        "User-Agent": "franchise-cdp",
        "webhook-id": message.webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signed),
    }


def pause_after(attempts: int) -> timedelta:
    """How long a message waits after so many attempts, give or take a fifth."""
    return _jittered(min(FIRST_PAUSE * 4 ** min(attempts - 1, 20), LONGEST_PAUSE))


def _jittered(pause: timedelta) -> timedelta:
    # Not for secrets: so that many that failed together do not come back together.
    return pause * random.uniform(0.8, 1.2)  # noqa: S311


def _callable(now: datetime) -> QuerySet[WebhookEndpoint]:
    rested = Q(rests_until=None) | Q(rests_until__lte=now)
    return WebhookEndpoint.objects.filter(rested, is_on=True)


def _is_free(now: datetime) -> Q:
    return Q(taken_until=None) | Q(taken_until__lte=now)


def _due(now: datetime) -> QuerySet[WebhookMessage]:
    """Messages that may be sent now: none about the same member waits before them."""
    waiting = WebhookMessage.objects.filter(state=State.WAITING)
    earlier = waiting.filter(
        endpoint=OuterRef("endpoint"), member=OuterRef("member"), pk__lt=OuterRef("pk")
    ).order_by()
    return waiting.filter(_is_free(now), ~Exists(earlier), next_at__lte=now)


def _first_in_line(endpoint_id: int) -> list[int]:
    """Messages to try to take, a limited number, those that are due longest first."""
    due = _due(timezone.now()).filter(endpoint=endpoint_id).order_by("next_at", "pk")
    return list(due.values_list("pk", flat=True)[:IN_LINE])


@transaction.atomic
def _take(message_id: int) -> WebhookMessage | None:
    """Take this message, if it may still be sent now and nobody else sends it."""
    now = timezone.now()
    # Of two workers the second passes by what the first has locked, and finds it taken afterwards.
    due = _due(now).filter(pk=message_id).order_by().select_related("endpoint")
    message = due.select_for_update(skip_locked=True, of=("self",), no_key=True).first()
    if message is not None:
        WebhookMessage.objects.filter(pk=message.pk).update(taken_until=now + TAKEN_FOR)
    return message


def _send(message: WebhookMessage, send: Callable, *, tries_again: bool = True) -> None:
    begun = timezone.now()
    body = body_of(message)
    try:
        answer = send(message.endpoint.url, body, headers_of(message, body, begun))
    except SecretUnreadable:
        answer = outbound.Answer(None, "", "no_secret", 0)
    _note(message.pk, answer, begun, tries_again=tries_again)


@transaction.atomic
def _note(message_id: int, answer: outbound.Answer, begun: datetime, *, tries_again: bool) -> None:
    """Write down what came of an attempt, and what follows from it for the message and its endpoint."""
    now = timezone.now()
    message = WebhookMessage.objects.select_for_update(no_key=True).get(pk=message_id)
    endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=message.endpoint_id)
    fault = answer.fault
    if answer.status is not None and 300 <= answer.status < 400:
        fault = "redirect"
    WebhookAttempt.objects.create(
        message=message, at=begun, milliseconds=answer.milliseconds, status=answer.status,
        answer=answer.text[: outbound.READ], fault=fault,
    )  # fmt: skip
    message.attempt_count += 1
    message.taken_until = None
    if answer.status is not None and 200 <= answer.status < 300:
        message.state, message.delivered_at = State.DELIVERED, now
        endpoint.failures, endpoint.rests_until, endpoint.failing_since = 0, None, None
        endpoint.succeeded_at, endpoint.is_gone = now, False
    else:
        endpoint.failures += 1
        endpoint.failed_at = now
        message.next_at = now + pause_after(message.attempt_count)
        if endpoint.failures >= PATIENCE:
            doubled = FIRST_REST * 2 ** min(endpoint.failures - PATIENCE, 20)
            endpoint.rests_until = now + _jittered(min(doubled, LONGEST_REST))
        if not tries_again:
            message.state = State.FAILED
        elif now >= message.created_at + GIVES_UP_AFTER:
            message.state = State.FAILED
            endpoint.failing_since = endpoint.failing_since or now
        if answer.status == GONE:
            message.state = State.FAILED
            endpoint.is_on, endpoint.is_gone = False, True
            audit("system", "switched off", endpoint, status=GONE)
    message.save()
    # Not what a page may have changed meanwhile, and no signal of a change.
    told = ["failures", "rests_until", "failing_since", "succeeded_at", "failed_at", "is_on", "is_gone"]
    if answer.status != GONE:
        told.remove("is_on")
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(**{name: getattr(endpoint, name) for name in told})
