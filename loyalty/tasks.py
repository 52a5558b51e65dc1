"""The ledger's nightly work, once in each brand."""

import logging

from celery import shared_task
from django.db import connection
from django.utils import timezone

from loyalty import ledger, proof

log = logging.getLogger(__name__)


@shared_task
def release_due() -> int:
    """Make pending points spendable whose day has come."""
    return _all_due(ledger.release_due)


@shared_task
def expire_due() -> int:
    """Expire lots whose last day has passed."""
    return _all_due(ledger.expire_due)


@shared_task
def prove_ledger() -> int:
    """Recount the ledger; a difference is an alarm in the log. Returns how many there are."""
    found = proof.prove().differences
    for difference in found:
        log.error("ledger of %s: %s", connection.schema_name, difference)
    return len(found)


def _all_due(deed) -> int:
    """Repeat a deed that takes a limited number, each time in its own transaction, until nothing is due."""
    today, done = timezone.localdate(), 0
    while count := deed(today):
        done += count
    return done
