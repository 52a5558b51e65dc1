"""Who is in the segments that rules ask about.

Segments are campaigns', which stand above and are not imported here: they register a `Directory`. What it says is read
into a table of our own, every few minutes and when a rule or a segment is saved, so that a till asks one index and a
segment that cannot be read stops no sale.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Protocol

from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import EmptyResultSet
from django.db import DatabaseError, connection, transaction
from django.db.models import OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty.models import RuleDraft, RuleVersion, SegmentMember, SegmentRead
from profiles.models import Identifier, Profile
from tenants.locks import alone
from tenants.scoping import whole_network

# Whoever comes in does so inside the database: a segment may hold all of a brand's customers.
ENTER = """
INSERT INTO loyalty_segmentmember (segment_id, profile_id, since) SELECT %s, come.id, %s FROM ({come}) AS come (id)
    ON CONFLICT DO NOTHING
"""


class Unreadable(ValueError):
    """The segment cannot be evaluated; the message says why, in the reader's language."""


class Directory(Protocol):
    """What the app that keeps segments answers."""

    def names(self) -> dict[int, str]:
        """The segments that a rule may ask about and the current scope may know, by id."""

    def members(self, segment_id: int) -> QuerySet[Profile]:
        """Who is in it now, over the whole network. Raises `Unreadable`."""


class _Empty:
    """Before anybody registered: there are no segments."""

    def names(self) -> dict[int, str]:
        return {}

    def members(self, segment_id: int) -> QuerySet[Profile]:
        raise Unreadable(_("there is no such segment"))


_directory: Directory = _Empty()


def register(directory: Directory) -> None:
    """Name who keeps the segments; once, when the apps are ready."""
    global _directory  # noqa: PLW0603 - one registry, filled by the app above
    _directory = directory


def names() -> dict[int, str]:
    """The segments that a rule may ask about and the current scope may know, by id."""
    return _directory.names()


def trouble(segment_id: int) -> str:
    """Why the segment cannot be evaluated; "" where it can. Asks the database for one of its people."""
    try:
        with whole_network(), transaction.atomic():
            _directory.members(segment_id).exists()
    except (Unreadable, DatabaseError) as error:
        return str(error)
    return ""


# --- Who is in ------------------------------------------------------------------------------------------------------


def of(people: Iterable[int], asked: Collection[int]) -> dict[int, frozenset[int]]:
    """Of the segments asked for, those that each person is in; no query where none is asked for."""
    found: dict[int, set[int]] = {person: set() for person in people}
    if asked and found:
        with whole_network():
            rows = SegmentMember.objects.filter(profile__in=found, segment__in=asked)
            for person, segment in rows.values_list("profile", "segment"):
                found[person].add(segment)
    return {person: frozenset(segments) for person, segments in found.items()}


def of_who_shows(
    keys: Sequence[tuple[str, str]], asked: Collection[int]
) -> dict[tuple[str, str], frozenset[int]]:
    """The same of who shows these identifiers, as (kind, key): one query. Nobody is in any."""
    found = dict.fromkeys(keys, frozenset[int]())
    wanted = Q()
    for kind, key in found:
        if key:
            wanted |= Q(kind=kind, key=key)
    if not wanted:
        return found
    with whole_network():
        theirs = SegmentMember.objects.filter(profile=OuterRef("profile"), segment__in=asked)
        shown = Identifier.objects.filter(wanted).annotate(belongs=ArraySubquery(theirs.values("segment")))
        # A card that two people share is the one's who had it first: told last, it stands.
        rows = shown.order_by("-first_seen", "-profile").values_list("kind", "key", "belongs")
        return found | {(kind, key): frozenset(belongs) for kind, key, belongs in rows}


# --- What rules ask about -------------------------------------------------------------------------------------------


def in_use() -> set[int]:
    """The segments of rules that are in force or scheduled, and of drafts."""
    now = timezone.now()
    standing = RuleVersion.objects.filter(Q(effective_to=None) | Q(effective_to__gt=now))
    said = [
        *standing.filter(conditions__has_key="segments").values_list("conditions", flat=True),
        *RuleDraft.objects.filter(conditions__has_key="segments").values_list("conditions", flat=True),
    ]
    return {pk for conditions in said for pk in conditions["segments"]}


def rules_that_ask(segment_id: int) -> list[str]:
    """The names of the rules with a version, also a past one, or a draft that asks about the segment."""
    asks = {"conditions__segments__contains": [segment_id]}
    versions = RuleVersion.objects.filter(**asks).values_list("rule__name", flat=True)
    drafts = RuleDraft.objects.filter(**asks).values_list("rule__name", flat=True)
    return sorted({*versions, *drafts})


# --- Reading --------------------------------------------------------------------------------------------------------


def read(segment_ids: Iterable[int] | None = None) -> int:
    """Bring the memberships of these segments, or of all that rules ask about, up to date; returns how many were read.

    Each in a transaction of its own. One that cannot be read keeps the members it had, and says why.
    """
    done = 0
    for pk in sorted(in_use() if segment_ids is None else set(segment_ids)):
        with whole_network(), alone("segment", pk % 2**31) as is_alone:
            done += is_alone and _read(pk)
    return done


def _read(pk: int) -> bool:
    now = timezone.now()
    SegmentRead.objects.get_or_create(pk=pk)
    told = SegmentRead.objects.filter(pk=pk)
    try:
        with transaction.atomic():
            people = _directory.members(pk)
            stand = SegmentMember.objects.filter(segment=pk)
            stand.exclude(profile__in=people.values("pk")).delete()
            _enter(pk, people.exclude(pk__in=stand.values("profile")), now)
            told.update(read_at=now, error="", failed_at=None)
    except (Unreadable, DatabaseError) as error:
        told.update(error=str(error)[:300], failed_at=now)
        return False
    return True


def _enter(pk: int, come: QuerySet[Profile], now: datetime) -> None:
    try:
        asked, given = come.values("pk").query.sql_with_params()
    except EmptyResultSet:  # conditions that nobody can meet make no query
        return
    with connection.cursor() as cursor:
        cursor.execute(ENTER.format(come=asked), [pk, now, *given])


def failing(segment_ids: Iterable[int]) -> list[SegmentRead]:
    """Those of them that could not be read the last time."""
    return list(SegmentRead.objects.filter(pk__in=list(segment_ids)).exclude(error="").order_by("pk"))
