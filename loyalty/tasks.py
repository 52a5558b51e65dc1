"""The ledger's nightly work, once in each brand."""

import logging
from datetime import timedelta

from celery import shared_task
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import (
    actions,
    claims,
    exits,
    ledger,
    members,
    opening,
    proof,
    replay,
    segments,
    settlement,
    till,
    vouchers,
)
from loyalty.models import Membership
from loyalty.wallet import passes
from tenants.calendar import brand_today
from tenants.network.models import Job, audit
from tenants.scoping import whole_network

log = logging.getLogger(__name__)
# Differences told one by one; a broken ledger may have as many as it has rows.
SHOWN = 100


@shared_task
def release_due() -> int:
    """Make pending points spendable whose day has come."""
    return _all_due(ledger.release_due)


@shared_task
def expire_due() -> int:
    """Expire lots whose last day has passed."""
    return _all_due(ledger.expire_due)


@shared_task
def expire_vouchers() -> int:
    """End vouchers whose last day has passed, as they were issued: points lost, or back in their lots."""
    return _all_due(vouchers.expire_due)


@shared_task
def carry_out_exits() -> int:
    """Hand over the points of stores that leave today; returns how many stores."""
    return exits.carry_out_due(brand_today())


@shared_task
def cancel_stale_reservations() -> int:
    """Put points back that were set aside for a basket nobody paid."""
    done = 0
    while count := ledger.cancel_stale(timezone.now()):
        done += count
    return done


@shared_task
def review_tiers(chunk: int = 1000) -> int:
    """Give every member the tier that the last twelve months are worth, with the programme's grace; returns how many
    were looked at."""
    with whole_network():
        # Of who was merged the membership stands as it was, to be found again if the two are separated.
        living = Membership.objects.filter(profile__merged_into=None).order_by("profile")
        ids = list(living.values_list("profile", flat=True))
    for start in range(0, len(ids), chunk):
        members.review(ids[start : start + chunk])
    return len(ids)


@shared_task
def credit_birthdays() -> int:
    """Credit today's birthdays; returns how many."""
    return actions.birthdays(brand_today())


@shared_task
def credit_welcomes(chunk: int = 1000) -> int:
    """Credit the welcome of members who joined where nobody was there to say it; returns how many."""
    ids = actions.not_welcomed()
    return sum(actions.welcome(ids[start : start + chunk]) for start in range(0, len(ids), chunk))


@shared_task
def apply_parked_returns() -> int:
    """Apply returns that crossed their sale on the way; returns how many."""
    return till.apply_waiting()


@shared_task
def tally_claims() -> int:
    """Count last week's claims by cashier; returns how many lines the report has."""
    today = brand_today()
    return claims.tally(today - timedelta(days=today.weekday() + 7))


@shared_task
def close_settlement() -> int:
    """Close last month's statement between the stores, unless it is closed; returns how many lines it has."""
    last_month = (brand_today().replace(day=1) - timedelta(days=1)).replace(day=1)
    try:
        return settlement.close(last_month).line_count
    except settlement.NotClosable:
        return 0


@shared_task
def carry_out_opening(run_id: int) -> int:
    """Check a file of opening balances, or post what was signed off of it; returns how many lines were posted.

    Delivered twice, the second delivery finds nothing to do.
    """
    return opening.carry_out(run_id)


@shared_task
def carry_on_openings() -> int:
    """Ask again for opening balances whose worker died, or whose broker was away; returns how many were asked for."""
    ids = opening.under_way()
    for pk in ids:
        carry_out_opening.delay(pk)
    return len(ids)


@shared_task
def replay_tickets(replay_id: int) -> None:
    """Judge the tickets of some days by other rules; delivered twice, the second delivery finds nothing to do."""
    replay.carry_out(replay_id)


@shared_task
def carry_on_replays() -> int:
    """Ask again for replays whose worker died, or whose broker was away; returns how many were asked for."""
    ids = replay.under_way()
    for pk in ids:
        replay_tickets.delay(pk)
    return len(ids)


@shared_task
def read_segments() -> int:
    """Bring up to date who is in the segments that rules ask about; returns how many segments were read."""
    return segments.read()


@shared_task
def update_wallet_passes() -> int:
    """Find the wallet passes that changed and tell the wallets; with much of it, in several tasks, so that others have
    their turn. Returns how many passes were told of."""
    from loyalty.wallet import telling  # with httpx, which only whoever carries this out needs

    passes.note_all()
    told = telling.tell()
    if told and telling.is_due():
        update_wallet_passes.delay()
    return told


@shared_task
def prove_ledger() -> int:
    """Recount the ledger; a difference is an alarm, in the log and as a failed job. Returns how many there are."""
    found = proof.prove().differences
    for difference in found[:SHOWN]:
        log.error("ledger of %s: %s", connection.schema_name, difference)
    if found:
        job = Job.objects.create(kind="ledger-proof", title=_("The ledger does not add up"), total=len(found))
        job.start(total=len(found))
        job.fail("\n".join(map(str, found[:SHOWN])))
        audit("system", "found differences", job, differences=len(found))
    return len(found)


def _all_due(deed) -> int:
    """Repeat a deed that takes a limited number, each time in its own transaction, until nothing is due."""
    today, done = brand_today(), 0
    while count := deed(today):
        done += count
    return done
