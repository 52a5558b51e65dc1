"""The test of a connector that is written to: a sample sent to ourselves as the sender would, and everything undone.

The request goes through the whole of the platform, from the host name to the answer; the transaction around it is
rolled back, so that nobody buys the sample's cheese.
"""

import io
import json
from collections.abc import Callable
from functools import partial

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import connection as database
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _

from profiles.connectors.kinds import ConnectorError, Finding, Kind, Sample, secret_of
from profiles.models import Connection


def test_of(kind: Kind) -> Callable[[Connection, HttpRequest], list[Finding]]:
    """The test of a kind that is written to."""
    return partial(send_sample, kind)


def send_sample(kind: Kind, connection: Connection, request: HttpRequest) -> list[Finding]:
    """Send the kind's sample along the real path, and tell what came of it."""
    if kind.is_a_shop:
        step = _("Open the signing secret")
        try:
            secret = secret_of(connection)
        except ConnectorError as missing:
            return [Finding(step, False, missing.detail)]
        findings = [Finding(step, True)]
    else:
        secret, findings = "", []
    assert kind.sample is not None
    step = _("Send a sample as the sender would, and undo it")
    with transaction.atomic():
        sample = kind.sample(database.tenant.currency) if kind.is_a_shop else kind.sample()
        # Also for a connector that is not switched on yet; undone with the rest.
        Connection.objects.filter(pk=connection.pk).update(is_on=True)
        if kind.headers:
            headers = kind.headers(sample.content, secret)
            path = reverse("api:webhook", args=[connection.public_id])
        else:
            headers = {"Authorization": f"Connection {Connection.objects.get(pk=connection.pk).issue_key()}"}
            path = reverse("api:contest_entries")
        status, answer = _sent(request, path, sample, headers)
        transaction.set_rollback(True)
    if status != 200:
        said = answer.get("detail") or answer.get("title") or _("the platform answered %s") % status
        return [*findings, Finding(step, False, said)]
    if answer.get("verdict") == "refused":
        return [*findings, Finding(step, False, answer.get("note", ""))]
    return [*findings, Finding(step, True, _told(answer))]


def _told(answer: dict) -> str:
    if "points" in answer:
        return _("the sample order would be a ticket that earns %(points)s points") % answer
    if "results" in answer:
        return _("%(accepted)s of %(received)s entries would be taken in") % {
            "accepted": answer["received"] - answer["rejected"], "received": answer["received"],
        }  # fmt: skip
    return answer.get("note", "") or _("the sample would be taken in")


def _sent(request: HttpRequest, path: str, sample: Sample, headers: dict[str, str]) -> tuple[int, dict]:
    """POST to ourselves: the status and the answer."""
    told = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    if request.is_secure():
        told["HTTP_X_FORWARDED_PROTO"] = "https"
    asked = WSGIRequest(
        {
            "REQUEST_METHOD": "POST", "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "",
            "SERVER_NAME": request.META.get("SERVER_NAME", "localhost"),
            "SERVER_PORT": request.META.get("SERVER_PORT", "80"), "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": request.get_host(),
            "HTTP_ACCEPT_LANGUAGE": get_language() or "en",
            "CONTENT_TYPE": sample.content_type, "CONTENT_LENGTH": str(len(sample.content)),
            "wsgi.url_scheme": request.scheme, "wsgi.input": io.BytesIO(sample.content), **told,
        }
    )  # fmt: skip
    with override(get_language()):
        response = WSGIHandler().get_response(asked)
    try:
        answer = json.loads(response.content)
    except ValueError:
        answer = {}
    return response.status_code, answer if isinstance(answer, dict) else {}
