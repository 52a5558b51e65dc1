"""Block a value that is nobody's identifier, lift the block, and carry either out on what is already stored.

A blocked e-mail, phone or card stays in the records as their sources told it. It is no identifier and no blocking key,
and does not become anybody's e-mail or phone. Merges that matching made on it are opened again: taken back, and their
records matched anew without it. Those that a person decided stand; `merges_resting_on` lists them.
"""

import logging
import re
from collections.abc import Iterator
from itertools import islice

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet, Value
from django.db.models.functions import Concat
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from profiles import blocklist, neighbours, normalise, separating, survivorship
from profiles.matching.fields import MOST_RECORDS_PER_IDENTIFIER
from profiles.models import BlockedValue, BlockingKey, Identifier, Merge, Profile, SourceRecord
from tenants.network.models import Staff, audit
from tenants.scoping import whole_network

logger = logging.getLogger(__name__)

# The limit of docs/identity.md: a value that more ids tell belongs to nobody in particular.
MOST_IDS = MOST_RECORDS_PER_IDENTIFIER
TOO_MANY = gettext_noop("told for too many different customers to be one person's")
CHUNK = 500
MERGES_LISTED = 50

# Reasons that the migration gave to the patterns it delivers: named here for the catalogue.
DELIVERED = (
    gettext_noop("a mailbox that nobody reads"),
    gettext_noop("a mailbox for a few minutes, which anybody can open"),
    gettext_noop("typed to get past the field"),
)


class BadValue(ValueError):
    """What should be blocked is no usable value of its kind, or the pattern cannot be used."""


# --- Deeds -----------------------------------------------------------------------------------------------------------


@transaction.atomic
def block(
    kind: str, value: str = "", *, pattern: str = "", reason: str, by: Staff | None = None
) -> BlockedValue:
    """Block one value, or all that a pattern covers; the standing row where that is blocked already.

    `by` nobody means that the nightly search found it. Raises `BadValue`. What is stored already is mended by
    `reapply`, which takes its time.
    """
    key, pattern = checked(kind, value, pattern, reason)
    standing = BlockedValue.objects.select_for_update().filter(lifted_at=None)
    if known := standing.filter(kind=kind, key=key, pattern=pattern).first():
        return known
    origin = BlockedValue.Origin.PERSON if by else BlockedValue.Origin.AUTOMATIC
    row = BlockedValue.objects.create(
        kind=kind, key=key, pattern=pattern, reason=reason.strip()[:200], origin=origin, by=by
    )
    audit(by or "system", "blocked", row, reason=row.reason, kind=kind, value=key or pattern)
    blocklist.forget()
    return row


def checked(kind: str, value: str, pattern: str, reason: str) -> tuple[str, str]:
    """The value or the pattern in the form in which it is blocked. Raises `BadValue` where it cannot be."""
    if kind not in blocklist.KINDS:
        raise BadValue(_("«%s» cannot be blocked: e-mails, phones and cards can") % kind)
    if bool(value.strip()) == bool(pattern.strip()):
        raise BadValue(_("give either a value or a pattern"))
    if not reason.strip():
        raise BadValue(_("say why"))
    if value.strip():
        return _key(kind, value), ""
    pattern = pattern.strip().upper() if kind == BlockedValue.Kind.CARD else pattern.strip().lower()
    try:
        blocklist.check(pattern)
    except blocklist.BadPattern as bad:
        raise BadValue(str(bad)) from bad
    standing = BlockedValue.objects.filter(lifted_at=None).exclude(pattern="")
    if not standing.filter(kind=kind, pattern=pattern) and standing.count() >= blocklist.MOST_PATTERNS:
        raise BadValue(_("there are %s patterns already: lift one first") % blocklist.MOST_PATTERNS)
    return "", pattern


@transaction.atomic
def lift(row: BlockedValue, by: Staff) -> BlockedValue:
    """End a block; the row stays, and the nightly search leaves that value alone from now on."""
    row = BlockedValue.objects.select_for_update().get(pk=row.pk)
    if row.lifted_at is None:
        row.lifted_at, row.lifted_by, row.counted_at = timezone.now(), by, None
        row.save(update_fields=["lifted_at", "lifted_by", "counted_at"])
        audit(by, "lifted block", row, kind=row.kind, value=row.key or row.pattern)
        blocklist.forget()
    return row


def _key(kind: str, value: str) -> str:
    """The value in the form it is compared in."""
    if kind == BlockedValue.Kind.EMAIL:
        mailbox = normalise.email(value)
        key = mailbox.key if mailbox else None
    elif kind == BlockedValue.Kind.PHONE:
        line = normalise.phone(value)
        key = line.e164 if line else None
    else:
        key = normalise.card(value)
    if not key:
        kinds = {
            "email": _("«%s» is no usable e-mail address"),
            "phone": _("«%s» is no usable phone number"),
            "card": _("«%s» is no usable card number"),
        }
        raise BadValue(kinds[kind] % value.strip()[:60])
    return key


# --- Found at night --------------------------------------------------------------------------------------------------


def block_overused(most: int = MOST_IDS) -> list[BlockedValue]:
    """Block each e-mail, phone and card that more than `most` different customer ids tell; the new rows.

    A value whose block a person has lifted is left alone. Nothing happens silently: each is logged, stands in the
    audit trail and on the page of blocked values.
    """
    found = []
    with whole_network():
        held = (
            Identifier.objects.filter(kind__in=blocklist.KINDS)
            .order_by()
            .values("kind", "key")
            .annotate(told=Count("pk"))
            .filter(told__gt=most)
        )
        lifted = set(BlockedValue.objects.exclude(lifted_at=None).exclude(key="").values_list("kind", "key"))
        known = blocklist.current()
        for kind, key, _told in held.values_list("kind", "key", "told"):
            if (kind, key) in lifted or known.blocks(kind, key):
                continue
            # A source that corrects itself tells a value again under the same id.
            ids = (
                Identifier.objects.filter(kind=kind, key=key)
                .order_by()
                .annotate(who=Concat(F("record__source"), Value(":"), F("record__external_id")))
                .aggregate(ids=Count("who", distinct=True))["ids"]
            )
            if ids > most:
                row = block(kind, key, reason=TOO_MANY)
                logger.warning("%s %s is told for %s customer ids: blocked", kind, row.pk, ids)
                found.append(row)
    return found


# --- Carried out on what is stored -----------------------------------------------------------------------------------


def reapply(row: BlockedValue) -> int:
    """Carry a block, or its end, out on the records stored: how many changed. Doing it again changes nothing.

    Identifiers and blocking keys are dropped or given back, the people's values settled anew, and what was given back
    waits to be matched. A chunk of records is one transaction. A block opens the merges again that rested on the value.
    """
    blocklist.forget()
    changed = 0
    with whole_network():
        for ids in _chunks(row):
            with transaction.atomic():
                changed += _settle(ids)
        if row.lifted_at is None:
            separating.reopen(merge for merge in _resting_on(row) if merge.by_id is None)
        count_people(row)
    return changed


def count_people(row: BlockedValue) -> int:
    """Count anew how many people say the value, and write it down."""
    with whole_network():
        people: set[int] = set()
        for ids in _chunks(row):
            people |= set(SourceRecord.objects.filter(pk__in=ids).values_list("profile", flat=True))
    BlockedValue.objects.filter(pk=row.pk).update(people=len(people), counted_at=timezone.now())
    return len(people)


def _chunks(row: BlockedValue) -> Iterator[list[int]]:
    """The ids of the records that say the value, a chunk at a time."""
    of_this = blocklist.read([(row.kind, row.key, row.pattern)])
    told = _perhaps(row).order_by("pk").values_list("pk", row.kind)
    last = 0
    while rows := list(told.filter(pk__gt=last)[: 10 * CHUNK]):
        last = rows[-1][0]
        saying = [pk for pk, value in rows if of_this.blocks(row.kind, blocklist.key_of(row.kind, value))]
        yield from (saying[start : start + CHUNK] for start in range(0, len(saying), CHUNK))


def _perhaps(row: BlockedValue) -> QuerySet[SourceRecord]:
    """Every record that may say the value, and few others: e-mails are stored as written, not as mailboxes."""
    if row.key and row.kind != BlockedValue.Kind.EMAIL:
        return SourceRecord.objects.filter(**{row.kind: row.key})
    signs = {"*": ".*", "?": "."} if row.pattern else {}
    written = (row.key or row.pattern).replace("@gmail.com", "@G")
    parts = []
    for sign in written:
        if sign == "G":
            parts.append(r"(gmail|googlemail)\.com" if row.kind == BlockedValue.Kind.EMAIL else "G")
        elif sign == "@":
            parts.append(r"(\+[^@]*)?@")
        elif sign in signs:
            parts.append(signs[sign])
        else:
            parts.append(re.escape(sign) + (r"\.*" if row.kind == BlockedValue.Kind.EMAIL else ""))
    return SourceRecord.objects.filter(**{f"{row.kind}__regex": f"^{''.join(parts)}$"})


def _settle(ids: list[int]) -> int:
    """Bring identifiers and blocking keys of these records in line with what is blocked now; how many changed."""
    blocked = blocklist.current()
    people = SourceRecord.objects.filter(pk__in=ids).values_list("profile", flat=True)
    living = Profile.hold(people)
    records = SourceRecord.objects.filter(pk__in=ids).prefetch_related("identifiers")
    gone, back, changed = [], [], set()
    for record in records:
        held = {(i.kind, i.key): i for i in record.identifiers.all()}
        for kind in sorted(blocklist.KINDS):
            key = blocklist.key_of(kind, getattr(record, kind))
            if not key:
                continue
            if blocked.blocks(kind, key):
                if (kind, key) in held:
                    gone.append(held[kind, key].pk)
                    changed.add(record.pk)
            elif (kind, key) not in held:
                back.append(
                    Identifier(
                        record=record, profile_id=record.profile_id, kind=kind, value=getattr(record, kind), key=key,
                        first_seen=record.stated_at, last_seen=record.last_stated_at,
                    )
                )  # fmt: skip
                changed.add(record.pk)
    Identifier.objects.filter(pk__in=gone).delete()
    Identifier.objects.bulk_create(back, batch_size=2000, ignore_conflicts=True)
    # Those that matching has not come to yet it will index itself.
    indexed = BlockingKey.objects.filter(record__in=changed)
    again = list(indexed.order_by().values_list("record", flat=True).distinct())
    indexed.delete()
    neighbours.index(again, neighbours.known().rules)
    SourceRecord.objects.filter(pk__in={identifier.record_id for identifier in back}).update(matched_at=None)
    survivorship.refresh(profile.pk for profile in living.values())
    return len(changed)


# --- What rested on it -----------------------------------------------------------------------------------------------


def merges_resting_on(row: BlockedValue) -> list[Merge]:
    """Standing merges among whose reasons the value is, the newest first: for a person to look at."""
    return list(islice(_resting_on(row), MERGES_LISTED))


def _resting_on(row: BlockedValue) -> Iterator[Merge]:
    of_this = blocklist.read([(row.kind, row.key, row.pattern)])
    reason = {"field": row.kind, "a": row.key} if row.key else {"field": row.kind}
    merges = (
        Merge.objects.filter(Q(evidence__contains=[reason]), undone_at=None)
        .select_related("winner", "loser")
        .order_by("-at", "-pk")
    )
    for merge in merges.iterator(chunk_size=500):
        if any(
            part["field"] == row.kind and part["a"] == part["b"] and of_this.blocks(row.kind, part["a"])
            for part in merge.evidence
        ):
            yield merge
