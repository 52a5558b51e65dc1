"""Pure: whose an event is, and whether its properties are what the dictionary says.

Whose. A device is nobody. An *identification* is an event that shows who is at the device: an e-mail, a phone, a card,
a customer number. An anonymous event belongs to the latest identification on its device at or before it, else to the
first one after it. That is a function of the set of events alone, so the order in which they arrive does not matter,
and two persons on one device share its events by time and are never merged.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

TEXT, NUMBER, BOOLEAN, DATE, MOMENT, CHOICE, LIST = (
    "text",
    "number",
    "boolean",
    "date",
    "moment",
    "choice",
    "list",
)
LONGEST_TEXT = 1000
LONGEST_LIST = 100
LARGEST_NUMBER = 10**15

# An event is called by the thing and what befell it: `product_viewed`, `order_placed`.
TYPE_PATTERN = r"^[a-z][a-z0-9]*(_[a-z0-9]+)+$"
PROPERTY_PATTERN = r"^[A-Za-z][A-Za-z0-9_]*$"


@dataclass(frozen=True, order=True)
class Identification:
    """An event that shows a person. Two at the same instant are ordered by their ids, so that there is always one."""

    at: datetime
    event_id: str
    pk: int = 0
    profile_id: int = 0


def belongs_to(at: datetime, identifications: Sequence[Identification]) -> Identification | None:
    """Whose an anonymous event at this instant is; `identifications` are those of its device, sorted."""
    if not identifications:
        return None
    before = bisect_right(identifications, at, key=lambda one: one.at)
    return identifications[max(before - 1, 0)]


def reach(
    identification: Identification, identifications: Sequence[Identification]
) -> tuple[datetime | None, datetime | None] | None:
    """[from, to) of the anonymous events that belong to one of the sorted identifications.

    `None` as a bound is no bound, `None` as an answer is no instant at all: another identification at the same instant
    comes after it.
    """
    place = identifications.index(identification)
    following = identifications[place + 1 :]
    until = following[0].at if following else None
    begin = identification.at if place else None
    if begin is not None and begin == until:
        return None
    return begin, until


# --- Properties -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Property:
    """What the dictionary says of one property of an event type."""

    name: str
    type: str = TEXT
    required: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Misfit:
    """Why a property does not fit: a stable code and the property's name."""

    code: str
    name: str
    wanted: str = ""


def sort_properties(
    told: Mapping[str, Any], dictionary: Mapping[str, Property]
) -> tuple[dict[str, Any], dict[str, Any], Misfit | None]:
    """(known, unknown, the first misfit). A property told as null is one that was not told."""
    known: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, value in told.items():
        entry = dictionary.get(name)
        if entry is None:
            unknown[name] = value
        elif value is not None:
            if not fits(value, entry):
                return known, unknown, Misfit("wrong_type", name, entry.type)
            known[name] = value
    for entry in dictionary.values():
        if entry.required and entry.name not in known:
            return known, unknown, Misfit("missing_property", entry.name)
    return known, unknown, None


def fits(value: Any, entry: Property) -> bool:
    """Whether a decoded JSON value is of the property's type."""
    if entry.type == BOOLEAN:
        return isinstance(value, bool)
    if entry.type == NUMBER:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return math.isfinite(value) and abs(value) < LARGEST_NUMBER
    if entry.type == LIST:
        return (
            isinstance(value, list)
            and len(value) <= LONGEST_LIST
            and all(isinstance(item, str) and len(item) <= LONGEST_TEXT for item in value)
        )
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        return False
    if entry.type == CHOICE:
        return value in entry.choices
    if entry.type == DATE:
        return _is_date(value)
    if entry.type == MOMENT:
        return _is_moment(value)
    return True


def likely_type(value: Any) -> str:
    """The type to propose for a property, after a value of it."""
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int | float):
        return NUMBER
    if isinstance(value, list):
        return LIST
    if isinstance(value, str) and _is_date(value):
        return DATE
    if isinstance(value, str) and _is_moment(value):
        return MOMENT
    return TEXT


def _is_date(value: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_moment(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
