"""What stands behind a word: a column of the person, a figure, a belonging. Each answers two questions.

`people(leaf)` is the condition on `Profile` as a `Q`, `of(profile)` the value of one person, for «why in, why out».

Every `Q` is two-valued: a missing value makes it false, never NULL, so that NOT turns it round. Across tables it is
always a subquery on the scoped managers, which carries the store wall with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Protocol

from django.db.models import F, Q, QuerySet
from django.db.models.functions import ExtractDay, ExtractMonth
from django.db.models.lookups import In

from campaigns.segments.language import Leaf
from profiles.models import Profile


class Measure(Protocol):
    def people(self, leaf: Leaf) -> Q: ...

    def of(self, profile: Profile) -> Any: ...


_LOOKUPS = {
    "=": "",
    "<": "__lt",
    "<=": "__lte",
    ">": "__gt",
    ">=": "__gte",
    "between": "__range",
    "in": "__in",
}
# A person three days ago is *later* than a person thirty days ago.
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def comparison(column: str, op: str, value: Any) -> Q:
    """A condition on a column of numbers or dates that is never NULL."""
    if op == "!=":
        return ~Q(**{column: value})
    return Q(**{column + _LOOKUPS[op]: value})


def holds(figure: int, op: str, value: Any) -> bool:
    """The same in Python."""
    if op == "between":
        return bool(value[0] <= figure <= value[1])
    return bool(
        {
            "=": figure == value, "!=": figure != value, "<": figure < value, "<=": figure <= value,
            ">": figure > value, ">=": figure >= value,
        }[op]
    )  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A number or a day of a person: a row in `rows` with `column`, or no row.

    With `empty` 0 whoever has no row has the figure 0, and satisfies «at most 2». With `empty` None they have
    no value, and satisfy nothing. With `today` the column holds a day and the leaf speaks of days gone by since.
    """

    rows: QuerySet
    person: str
    column: str
    empty: int | None = None
    today: date | None = None

    def people(self, leaf: Leaf) -> Q:
        told = self._condition(leaf)
        if self.empty is not None and holds(self.empty, leaf.op, leaf.value):
            return ~Q(pk__in=self.rows.exclude(told).values(self.person))
        inside = self.rows.filter(told)
        if self.empty is None:
            inside = inside.filter(**{f"{self.column}__isnull": False})
        return Q(pk__in=inside.values(self.person))

    def _condition(self, leaf: Leaf) -> Q:
        if self.today is None:
            return comparison(self.column, leaf.op, leaf.value)
        if leaf.op == "between":
            return Q(**{f"{self.column}__range": (self._day(leaf.value[1]), self._day(leaf.value[0]))})
        return comparison(self.column, _TURNED.get(leaf.op, leaf.op), self._day(leaf.value))

    def _day(self, days_ago: int) -> date:
        assert self.today is not None
        return self.today - timedelta(days=days_ago)

    def of(self, profile: Profile) -> Any:
        found = next(
            iter(self.rows.filter(**{self.person: profile.pk}).values_list(self.column, flat=True)), None
        )
        if self.today is not None and found is not None:
            return (self.today - found).days
        return self.empty if found is None else found


@dataclass(frozen=True)
class Belonging:
    """Codes that a person goes with: stores, regions, a tier. `rows` has one row for each."""

    rows: QuerySet
    person: str
    code: str

    def people(self, leaf: Leaf) -> Q:
        codes = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
        among = Q(pk__in=self.rows.filter(**{f"{self.code}__in": codes}).values(self.person))
        if leaf.op in ("=", "in"):
            return among
        if leaf.or_missing:
            return ~among
        return Q(pk__in=self.rows.filter(**{f"{self.code}__isnull": False}).values(self.person)) & ~among

    def of(self, profile: Profile) -> Any:
        codes = (
            self.rows.filter(**{self.person: profile.pk})
            .order_by(self.code)
            .values_list(self.code, flat=True)
        )
        return sorted({code for code in codes if code is not None}) or None


def _as_typed(text: str) -> list[str]:
    return [text]


@dataclass(frozen=True)
class Text:
    """A text column of the person, compared without regard to case; empty means missing."""

    column: str
    forms: Callable[[str], list[str]] = _as_typed  # how a wanted text may be written in the column

    def people(self, leaf: Leaf) -> Q:
        if leaf.op == "missing":
            return Q(**{self.column: ""})
        if leaf.op == "exists":
            return ~Q(**{self.column: ""})
        wanted: Sequence[str] = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
        lookup = {"contains": "icontains", "starts": "istartswith"}.get(leaf.op, "iexact")
        alike = Q()
        for text in wanted:
            for form in self.forms(text):
                alike |= Q(**{f"{self.column}__{lookup}": form})
        if leaf.op not in ("!=", "not_in"):
            return alike
        return ~alike if leaf.or_missing else ~alike & ~Q(**{self.column: ""})

    def of(self, profile: Profile) -> Any:
        return getattr(profile, self.column) or None


@dataclass(frozen=True)
class Given:
    """Whether a text column of the person is filled."""

    column: str

    def people(self, leaf: Leaf) -> Q:
        empty = Q(**{self.column: ""})
        return ~empty if leaf.value else empty

    def of(self, profile: Profile) -> Any:
        return bool(getattr(profile, self.column))


@dataclass(frozen=True)
class Anniversary:
    """A day of the year, near today. Born on 29 February, celebrated on the 28th where the year has no 29th."""

    column: str
    today: date

    def people(self, leaf: Leaf) -> Q:
        days = [100 * day.month + day.day for day in self.celebrated(leaf)]
        of_the_year = 100 * ExtractMonth(self.column) + ExtractDay(F(self.column))
        # The column may be NULL: AND FALSE makes the whole false, and its negation true.
        return Q(**{f"{self.column}__isnull": False}) & Q(In(of_the_year, days))

    def celebrated(self, leaf: Leaf) -> list[date]:
        """The birthdays that are celebrated within the days asked for; 29 February as a day of a leap year."""
        before = leaf.value if leaf.op == "within" else 0
        span = [self.today + timedelta(days=n) for n in range(-int(before), int(leaf.value) + 1)]
        leap = [
            date(2000, 2, 29) for day in span if (day.month, day.day) == (2, 28) and not _is_leap(day.year)
        ]
        return span + leap

    def of(self, profile: Profile) -> Any:
        return getattr(profile, self.column)


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@dataclass(frozen=True)
class OneOf:
    """Conditions by name, of which the leaf asks for one or any: the channels that a person allows."""

    conditions: dict[str, Q]

    def people(self, leaf: Leaf) -> Q:
        names = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
        any_of = Q()
        for name in names:
            any_of |= self.conditions[name]
        return ~any_of if leaf.op == "!=" else any_of

    def of(self, profile: Profile) -> Any:
        this = Profile.objects.filter(pk=profile.pk)
        return [
            name for name, condition in self.conditions.items() if this.filter(condition).exists()
        ] or None
