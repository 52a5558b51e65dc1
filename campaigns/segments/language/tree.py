"""The syntax tree of a segment, and the JSON it is kept as."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

DEEPEST = 5

Kind = Literal["all", "any", "none"]
Value = Any  # None, a bool, an int, a str, a date, or a tuple of the last three


@dataclass(frozen=True, slots=True)
class Window:
    """When something must have happened: the last n days, the month before this one, or between two days.

    Days are the brand's. *Last n days* starts with the day n days ago and includes today, so far.
    """

    last_days: int | None = None
    month: Literal["previous"] | None = None
    first: date | None = None
    last: date | None = None

    def bounds(self, today: date) -> tuple[date, date]:
        """First and last day of the window, both within it."""
        if self.last_days is not None:
            return today - timedelta(days=self.last_days), today
        if self.month == "previous":
            end = today.replace(day=1) - timedelta(days=1)
            return end.replace(day=1), end
        return self.first or date.min, self.last or date.max


@dataclass(frozen=True, slots=True)
class Leaf:
    """One condition. `params` holds name and value pairs in the order of their names."""

    word: str
    op: str
    value: Value = None
    params: tuple[tuple[str, Value], ...] = ()
    window: Window | None = None
    or_missing: bool = False

    def param(self, name: str) -> Any:
        """The value of a parameter, None if it was not given."""
        return dict(self.params).get(name)


@dataclass(frozen=True, slots=True)
class Group:
    """Conditions that must hold all together, any of them, or none of them."""

    kind: Kind
    children: "tuple[Group | Leaf, ...]"


def leaves(tree: Group | Leaf) -> Iterator[Leaf]:
    """The conditions of a tree, in reading order."""
    if isinstance(tree, Leaf):
        yield tree
        return
    for child in tree.children:
        yield from leaves(child)


def to_json(tree: Group | Leaf) -> dict[str, Any]:
    """The JSON form, which `parse` reads back to the same tree."""
    if isinstance(tree, Group):
        return {tree.kind: [to_json(child) for child in tree.children]}
    written: dict[str, Any] = {"field": tree.word}
    written |= {name: _plain(value) for name, value in tree.params}
    written["op"] = tree.op
    if tree.value is not None:
        written["value"] = _plain(tree.value)
    if tree.window is not None:
        written["window"] = _window_to_json(tree.window)
    if tree.or_missing:
        written["or_missing"] = True
    return written


def _window_to_json(window: Window) -> dict[str, Any]:
    if window.last_days is not None:
        return {"last_days": window.last_days}
    if window.month is not None:
        return {"month": window.month}
    ends = {"from": window.first, "to": window.last}
    return {name: day.isoformat() for name, day in ends.items() if day is not None}


def _plain(value: Value) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value
