"""A worker that is killed while it sends: another sends the same message again, once its time is over."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from time import monotonic, sleep

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from tenants.network import webhooks
from tenants.network.models import WebhookAttempt, WebhookEndpoint, WebhookMessage
from tests.committed import committed, emptied  # noqa: F401 - fixtures
from tests.receiver import listening

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

WORKER = """
import django
django.setup()
from django.db import connection
from tenants.models import Brand
from tenants.network import webhooks
connection.set_tenant(Brand.objects.get(slug="acme"))
webhooks.deliver(ENDPOINT)
"""


def worker(endpoint_id: int) -> subprocess.Popen:
    """A process of its own that delivers, on the tests' database."""
    database = settings.DATABASES["default"] | connection.settings_dict
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "cdp.settings",
        "DATABASE_URL": "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database),
        "CELERY_BROKER_URL": "memory://",
        "CONNECTORS_REACH_PRIVATE": "true",
    }
    program = WORKER.replace("ENDPOINT", str(endpoint_id))
    return subprocess.Popen([sys.executable, "-c", program], cwd=settings.BASE_DIR, env=environment)


def test_a_killed_worker_s_message_is_sent_again_under_its_id(brand):
    with listening() as receiver:
        endpoint = WebhookEndpoint(name="CRM", url=receiver.url, events=["points.posted"])
        endpoint.issue_secret()
        message = WebhookMessage.objects.create(
            endpoint=endpoint, event="points.posted", happened_at=timezone.now(), data={}
        )
        receiver.takes = 2
        process = worker(endpoint.pk)
        patience = monotonic() + 60
        while not receiver.heard and monotonic() < patience:
            sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        receiver.takes = 0
        assert len(receiver.heard) == 1
        assert not WebhookAttempt.objects.exists()
        assert webhooks.deliver(endpoint.pk) == 0, "it may still be under way"
        WebhookMessage.objects.update(taken_until=timezone.now() - timedelta(seconds=1))
        assert webhooks.deliver(endpoint.pk) == 1
        message.refresh_from_db()
        assert message.state == "delivered"
        assert [heard.id for heard in receiver.heard] == [message.webhook_id] * 2
