"""Numbers of wallet passes: an identifier that we give a person ourselves, and that ends when the pass is lost.

A record of the source `wallet` tells it, so that it follows merges and comes back from them like every identifier. The
record stays when the number is retired: what is told is never edited.
"""

import hashlib

from django.db import transaction
from django.utils import timezone

from profiles import pass_numbers
from profiles.models import Identifier, Profile, Source, SourceRecord
from tenants.scoping import whole_network

PASS_SOURCE = "wallet"  # noqa: S105 - the code of a source


@transaction.atomic
def give_pass_number(profile: Profile) -> SourceRecord:
    """Give a living person, whom the caller holds, a new number by which tills know them; the record that tells it, its
    `external_id` the number."""
    now, number = timezone.now(), pass_numbers.draw()
    with whole_network():
        source, _new = Source.objects.get_or_create(
            code=PASS_SOURCE, defaults={"name": "Wallet", "kind": Source.Kind.OTHER, "trust": 0}
        )
        # It says nothing that matching could compare: it counts as matched.
        record = SourceRecord.objects.create(
            source=source, external_id=number, content_hash=hashlib.sha256(number.encode()).hexdigest(),
            received_at=now, stated_at=now, matched_at=now, profile=profile, raw={"pass": number},
        )  # fmt: skip
        Identifier.objects.create(
            record=record, profile=profile, kind=Identifier.Kind.PASS, value=number, key=number, first_seen=now,
            last_seen=now,
        )  # fmt: skip
    return record
