"""Slow work of campaigns, done by the worker."""

from celery import shared_task

from campaigns.exports import writer
from campaigns.models import Export


@shared_task
def write_export(export_id: int) -> None:
    """Write the file of an export that was asked for."""
    export = Export.objects.select_related("campaign", "job", "asked_by").get(pk=export_id)
    writer.write(export)
