"""Ask for a file of a campaign's recipients: what is asked is noted first, the worker writes it."""

from django.db import transaction
from django.utils.translation import gettext as _

from campaigns.exports import FORMATS
from campaigns.models import Campaign, Export
from tenants.network.models import Job

JOB_KIND = "export"


class ExportRefused(ValueError):
    """The export cannot be made; the message says why."""


@transaction.atomic
def export(campaign: Campaign, format: str, by, purpose: str) -> Export:  # noqa: A002 - the word of the domain
    """Note who wants which file and why, and have it written after the commit. Returns the export, still empty.

    `export.job` tells how far it is. Raises `ExportRefused`.
    """
    from campaigns.tasks import write_export

    if format not in FORMATS:
        raise ExportRefused(_("Unknown format «%(format)s».") % {"format": format})
    if campaign.state != Campaign.State.FROZEN or campaign.segment_version_id is None:
        raise ExportRefused(_("Freeze the audience first."))
    if not purpose.strip():
        raise ExportRefused(_("Say what the file is for."))
    job = Job.objects.create(
        kind=JOB_KIND,
        title=_("Export of %(campaign)s") % {"campaign": campaign.name},
        arguments={"campaign": campaign.pk, "format": format},
        store_id=campaign.store_id,
        asked_by=by,
    )
    asked = Export.objects.create(
        campaign=campaign,
        segment_version_id=campaign.segment_version_id,
        job=job,
        format=format,
        columns=FORMATS[format].headers,
        purpose=purpose.strip(),
        store_id=campaign.store_id,
        asked_by=by,
    )
    transaction.on_commit(lambda: write_export.delay(asked.pk), robust=True)
    return asked
