"""Slow work of campaigns, done by the worker."""

from celery import shared_task

from campaigns import handouts
from campaigns.exports import writer
from campaigns.models import Export


@shared_task
def write_export(export_id: int) -> None:
    """Write the file of an export that was asked for."""
    export = Export.objects.select_related("campaign", "job", "asked_by").get(pk=export_id)
    writer.write(export)


@shared_task
def hand_out(handout_id: int) -> None:
    """Give a campaign's audience what was asked for, or call it back; delivered twice, it does nothing twice."""
    handouts.carry_out(handout_id)


@shared_task
def carry_on_handouts() -> int:
    """Ask again for handouts whose worker died, or whose broker was away; returns how many were asked for."""
    ids = handouts.under_way()
    for pk in ids:
        hand_out.delay(pk)
    return len(ids)
