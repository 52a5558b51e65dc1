"""What a history of consent changes comes to: who may be contacted on which channel now.

A change told by a source stays with its record. What a source says of the same customer later stands in place of what
it said before; where two sources, or two customers of one source, disagree about one person, the strictest wins. A
change that the person told us directly (no record) settles the channel for all that was said before it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from profiles.models import ConsentChange

# Of two answers of one moment the refusal counts as the later one, whichever came in first.
IN_ORDER = ("at", "-granted", "id")


@dataclass(frozen=True)
class ConsentNow:
    """What holds for one channel: whether granted, since when, who told it and with which wording."""

    granted: bool
    at: datetime
    told_by: str
    wording: str


def of_profiles(profile_ids: Iterable[int]) -> dict[int, dict[str, ConsentNow]]:
    """What holds now for many people: profile id -> channel -> consent."""
    told: dict[tuple[int, str], list[ConsentChange]] = defaultdict(list)
    changes = ConsentChange.objects.filter(profile__in=list(profile_ids)).order_by(*IN_ORDER)
    needed = (
        "profile_id",
        "channel",
        "granted",
        "at",
        "wording",
        "actor",
        "record__source_id",
        "record__external_id",
    )
    for change in changes.select_related("record").only(*needed):
        told[change.profile_id, change.channel].append(change)
    result: dict[int, dict[str, ConsentNow]] = defaultdict(dict)
    for (profile_id, channel), history in told.items():
        deciding = settle(history)
        result[profile_id][channel] = ConsentNow(
            deciding.granted, deciding.at, deciding.actor, deciding.wording
        )
    return dict(result)


class Answer(Protocol):
    """A yes or no of a history: a `ConsentChange`, or one that is about to be."""

    granted: bool
    at: datetime
    record_id: int | None
    stream: tuple[int, str] | None


A = TypeVar("A", bound=Answer)


def settle(history: Sequence[A]) -> A:
    """The change that decides a channel, of a history in order of time: pure."""
    direct = [change for change in history if change.record_id is None]
    if direct:
        history = [direct[-1], *[c for c in history if c.record_id and c.at > direct[-1].at]]
    newest_of_stream = {change.stream: change for change in history}
    # The strictest wins: a refusal before a grant, and among equals the newest.
    return min(newest_of_stream.values(), key=lambda change: (change.granted, -change.at.timestamp()))
