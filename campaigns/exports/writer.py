"""The one streaming writer: people come from a server-side cursor and leave as lines, some thousand at a time.

Consent is read from its history as each batch is written, so a refusal a second old counts. The control group and
merged profiles never appear. An address is written only if the person allows its channel.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.db.models import OuterRef, Subquery
from django.utils import timezone
from django.utils.text import slugify

from campaigns.control import people_of
from campaigns.exports import FORMATS
from campaigns.exports.columns import Format, Row
from campaigns.models import Campaign, Export, Recipient
from campaigns.segments.fields import ADDRESSES
from profiles import consent
from profiles.models import Channel, Profile
from tenants.network.models import Store, audit

_AT_ONCE = 1000
_OWNER_ONLY = 0o600


def folder() -> Path:
    """Where the brand's exports are kept."""
    return Path(settings.MEDIA_ROOT) / connection.schema_name / "exports"


def path_of(export: Export) -> Path:
    return folder() / export.file_name


def write(export: Export) -> Export:
    """Write the file, its row count and SHA-256, and a line in the audit trail. A finished export stays as it is.

    A failure is noted in the job and raised again; no half-written file stays.
    """
    if export.finished_at is not None:
        return export
    assert export.campaign is not None
    campaign, job = export.campaign, export.job
    name = _file_name(export)
    part = folder() / f"{name}.part"
    folder().mkdir(parents=True, exist_ok=True)
    try:
        total = people_of(campaign, Recipient.Arm.TREATED).count()
        if job:
            job.start(total=total)
        withheld: Counter[str] = Counter()
        digest, rows = sha256(), 0
        part.touch(mode=_OWNER_ONLY)
        with part.open("wb") as file:
            for seen, lines, text in _batches(campaign, FORMATS[export.format], withheld):
                data = text.encode("utf-8")
                file.write(data)
                digest.update(data)
                rows += lines
                if job:
                    job.report(seen)
        part.rename(folder() / name)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if job:
            job.fail(f"{type(error).__name__}: {error}")
        raise
    export.file_name, export.rows, export.sha256 = name, rows, digest.hexdigest()
    export.finished_at = timezone.now()
    export.save(update_fields=["file_name", "rows", "sha256", "finished_at"])
    if job:
        job.finish(export=export.pk, rows=rows, withheld=dict(withheld))
    audit(
        export.asked_by or "system",
        "export",
        export,
        reason=export.purpose,
        store_id=export.store_id,
        campaign=campaign.name,
        format=export.format,
        rows=rows,
        sha256=export.sha256,
    )
    return export


def _batches(campaign: Campaign, shape: Format, withheld: Counter[str]) -> Iterator[tuple[int, int, str]]:
    """(people seen so far, lines, text): the header first, then the lines of a batch."""
    stores = dict(Store.objects.values_list("pk", "code"))
    yield 0, 0, _as_csv([shape.headers], shape.delimiter)
    homes = Recipient.objects.filter(campaign=campaign, profile=OuterRef("pk")).values("home_store")[:1]
    people = people_of(campaign, Recipient.Arm.TREATED).annotate(home=Subquery(homes)).order_by("pk")
    stream = people.iterator(chunk_size=_AT_ONCE)
    seen = 0
    while batch := list(islice(stream, _AT_ONCE)):
        seen += len(batch)
        rows = list(_sendable(campaign, batch, stores, withheld))
        yield seen, len(rows), _as_csv([shape.cells(row) for row in rows], shape.delimiter)


def _sendable(
    campaign: Campaign, people: Sequence[Profile], stores: dict[int, str], withheld: Counter[str]
) -> Iterator[Row]:
    now = consent.of_profiles(person.pk for person in people)
    for person in people:
        allowed = {channel for channel, told in now.get(person.pk, {}).items() if told.granted}
        if campaign.channel not in allowed:
            withheld["no_consent"] += 1
        elif not all(getattr(person, column) for column in ADDRESSES[Channel(campaign.channel)]):
            withheld["no_address"] += 1
        else:
            yield _row(person, allowed, stores.get(person.home, ""))


def _row(person: Profile, allowed: set[str], store_code: str) -> Row:
    by_post = Channel.POST in allowed
    return Row(
        public_id=person.public_id,
        first_name=person.first_name,
        last_name=person.last_name,
        email=person.email if Channel.EMAIL in allowed else "",
        phone=person.phone if Channel.SMS in allowed else "",
        street=person.street if by_post else "",
        postcode=person.postcode if by_post else "",
        city=person.city if by_post else "",
        store_code=store_code,
    )


def _as_csv(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _file_name(export: Export) -> str:
    stamp = export.asked_at.strftime("%Y%m%dT%H%M%SZ")
    campaign = slugify(export.campaign.name)[:60] or "campaign"
    return f"{campaign}_{export.format}_{stamp}_{export.pk}.csv"
