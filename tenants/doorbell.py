"""The doorbell of the outbox: after a request or a task that may have written into it, a worker is told to look.

What rings is not the deed itself, which the database may do alone, and never while somebody waits: the answer has been
sent before. Where the broker is away nothing is lost: the timetable looks every minute.
"""

import logging
from time import monotonic

from celery.signals import task_postrun
from django.core.cache import cache
from django.core.signals import request_finished
from django.db import DatabaseError, InterfaceError, connection
from django.db.models.signals import post_save
from django_tenants.utils import get_public_schema_name
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tenants.network import webhooks
from tenants.network.models import WebhookEndpoint
from tenants.tasks import deliver_to_webhook, deliver_webhooks, forget_webhooks

logger = logging.getLogger(__name__)

# Whether the brand has webhooks at all, so that of the others no request asks the database.
WANTED, WANTED_FOR = "webhooks-wanted", 180
# A bell that nobody heard is rung again after so many seconds.
RUNG, HEARD_WITHIN = "webhooks-rung", 60
# How long a brand without webhooks, or a server that is away, is not asked again by this process.
QUIET_SECONDS = 10
_OWN = {task.name for task in (deliver_webhooks, deliver_to_webhook, forget_webhooks)}
_AWAY = (DatabaseError, InterfaceError, OperationalError, RedisError, OSError)
_quiet_until: dict[str, float] = {}


def ring() -> None:
    """Have the brand's outbox looked into, if something in it is due. Never raises for want of a server."""
    schema = connection.schema_name
    if is_quiet(schema):
        return
    try:
        if not cache.get(WANTED):
            _be_quiet(schema)
        elif webhooks.due_endpoints() and cache.add(RUNG, True, HEARD_WITHIN):
            deliver_webhooks.apply_async(retry=False)
    except _AWAY as away:
        _be_quiet(schema)
        logger.warning("the outbox waits for the timetable: %s", away)


def is_quiet(schema: str) -> bool:
    """Whether ringing would ask nobody anything, as for a brand that is known to have no webhooks."""
    return monotonic() < _quiet_until.get(schema, 0) or schema == get_public_schema_name()


def answer() -> None:
    """Whoever is about to look into the outbox says so first: what is written from now on rings again."""
    try:
        cache.delete(RUNG)
        if webhooks.wanted():
            cache.set(WANTED, True, WANTED_FOR)
        else:
            cache.delete(WANTED)
    except (RedisError, OSError) as away:
        logger.warning("the bell of the outbox cannot be reset: %s", away)


def listen() -> None:
    """A webhook was set up or switched on or off: from now on the bell rings for it."""
    _quiet_until.clear()
    answer()


def _be_quiet(schema: str) -> None:
    _quiet_until[schema] = monotonic() + QUIET_SECONDS


def _after_request(**_told) -> None:
    ring()


def _after_task(task=None, **_told) -> None:
    if task is not None and task.name not in _OWN:
        ring()


def _after_setting_up(**_told) -> None:
    listen()


def hang_up() -> None:
    """Connect the bell, once a process."""
    request_finished.connect(_after_request, dispatch_uid="webhooks")
    task_postrun.connect(_after_task, dispatch_uid="webhooks", weak=False)
    post_save.connect(_after_setting_up, sender=WebhookEndpoint, dispatch_uid="webhooks")
