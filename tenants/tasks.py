"""Celery tasks that run inside one brand and one scope.

The brand travels in a message header (tenant-schemas-celery). The scope does too: work that a store manager asked
for sees that manager's stores and no more, on the worker as in the browser. A task that nobody's scope came with
(beat's timetable) sees the whole network of its brand.
"""

from celery import shared_task
from django.utils import timezone
from tenant_schemas_celery.task import TenantTask

from tenants.scoping import WHOLE_NETWORK, NoScope, Scope, current_scope, scoped_to

SCOPE_HEADER = "_store_ids"
EVERY_STORE = "every"


def _headers_with_scope(headers: dict | None) -> dict:
    headers = dict(headers or {})
    if SCOPE_HEADER not in headers:
        try:
            stores = current_scope().store_ids
        except NoScope:
            stores = None
        headers[SCOPE_HEADER] = EVERY_STORE if stores is None else ",".join(map(str, sorted(stores)))
    return headers


def _scope_in(request) -> Scope:
    headers = request.headers or {}
    # An empty text is a scope that sees nothing, not a scope that is missing.
    stores = headers[SCOPE_HEADER] if SCOPE_HEADER in headers else request.get(SCOPE_HEADER)
    if stores is None or stores == EVERY_STORE:
        return WHOLE_NETWORK
    return Scope.of(int(store) for store in stores.split(",") if store)


class BrandTask(TenantTask):
    """Base of every task: opens the brand (from the header) and the store scope around `run`."""

    abstract = True

    def apply_async(self, args=None, kwargs=None, **options):
        options["headers"] = _headers_with_scope(options.get("headers"))
        return super().apply_async(args, kwargs, **options)

    def __call__(self, *args, **kwargs):
        with scoped_to(_scope_in(self.request)):
            return super().__call__(*args, **kwargs)


@shared_task(base=BrandTask)
def onboard(job_id: int) -> None:
    """Carry out an onboarding job of the platform (public schema): see `tenants/onboarding.py`."""
    from tenants import onboarding
    from tenants.network.models import Job

    onboarding.onboard(Job.objects.get(pk=job_id))


@shared_task(base=BrandTask)
def deliver_webhooks() -> int:
    """Have what waits in the outbox sent, each endpoint by a task of its own: one that does not answer keeps no other
    waiting. Returns how many endpoints that are."""
    from tenants import doorbell
    from tenants.network import webhooks

    doorbell.answer()
    endpoints = webhooks.due_endpoints()
    for pk in endpoints:
        deliver_to_webhook.delay(pk)
    return len(endpoints)


@shared_task(base=BrandTask)
def deliver_to_webhook(endpoint_id: int) -> int:
    """Send what waits for one endpoint; with much of it, in several tasks, so that others have their turn."""
    from tenants.network import webhooks

    made = webhooks.deliver(endpoint_id)
    if made and endpoint_id in webhooks.due_endpoints():
        deliver_to_webhook.delay(endpoint_id)
    return made


@shared_task(base=BrandTask)
def forget_webhooks() -> int:
    """Remove messages of webhooks after thirty days; returns how many."""
    from tenants.network import webhooks

    done = 0
    while count := webhooks.forget(timezone.now()):
        done += count
    return done
