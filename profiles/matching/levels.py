"""Comparisons: the level of every compared column of every pair, as arrays.

Each *unordered pair of unique values* is compared once, found by sorting; the string distances run in C. A level is an
int8: 0 is exact, the index of `fields.LEVELS` otherwise, and one more than the last for a value that is missing.
"""

from collections.abc import Callable, Sequence

import numpy as np
from rapidfuzz.distance import OSA, JaroWinkler
from rapidfuzz.fuzz import token_set_ratio
from rapidfuzz.process import cpdist

from profiles.matching.arrays import Bools, Floats, Ints, Levels, Strings
from profiles.matching.fields import LEVELS, missing_level
from profiles.matching.gendered import differ_by_gender
from profiles.matching.table import Column, Table

# Indices of name levels that more than one module asks for.
EXACT, CLOSE, SIMILAR, SHORT, WEAK, OTHER, NO_NAME = range(7)
# The level of dates that exclude each other: no slip of the pen, another year, and another day of it.
OTHER_BIRTH = 4
# From here on two names say nothing in favour, and are worth comparing crosswise.
UNLIKE = WEAK


def compare(table: Table, left: Ints, right: Ints, columns: Sequence[str]) -> dict[str, Levels]:
    """The level of each of ``columns`` for the pairs (left[i], right[i]) of record positions; symmetric.

    With both names a column ``swap`` is added: 1 where the names agree better crosswise than straight, in which case
    the levels of both are those of the crosswise comparison.
    """
    found = {
        name: column_levels(table[name], table[name].codes[left], table[name].codes[right])
        if name in table
        else np.full(len(left), missing_level(name), dtype=np.int8)
        for name in columns
    }
    if "first_name" in found and "last_name" in found:
        found["swap"] = _turn_where_swapped(table, left, right, found)
    if "gender" in found and "first_name" in found:
        # One first name has one gender: to count both would count one fact twice.
        found["gender"][found["first_name"] == EXACT] = missing_level("gender")
    return found


def column_levels(column: Column, a: Ints, b: Ints) -> Levels:
    """Levels of one column for pairs of codes."""
    missing = len(LEVELS[column.kind])
    levels = np.full(len(a), missing, dtype=np.int8)
    both = (a >= 0) & (b >= 0)
    levels[both & (a == b)] = 0
    todo = np.flatnonzero(both & (a != b))
    if not todo.size:
        return levels
    if column.kind in ("category", "machine"):
        levels[todo] = missing - 1
        return levels
    low, high = np.minimum(a[todo], b[todo]), np.maximum(a[todo], b[todo])
    levels[todo] = _once_per_pair(
        low, high, len(column.values), lambda x, y: _OF_KIND[column.kind](column, x, y)
    )
    return levels


def _once_per_pair(low: Ints, high: Ints, values: int, level_of: Callable[[Ints, Ints], Levels]) -> Levels:
    if len(low) < 2048 or values > len(low) // 3:
        return level_of(low, high)  # hardly any pair of values comes twice
    keys, where = np.unique(low.astype(np.int64) * values + high, return_inverse=True)
    return level_of(keys // values, keys % values)[where]


def _cut(scores: Floats, thresholds: Sequence[float]) -> Levels:
    """Level 1 for a likeness of at least the first threshold, 2 for the second and so on."""
    return (len(thresholds) + 1 - np.searchsorted(np.asarray(thresholds)[::-1], scores, side="right")).astype(
        np.int8
    )


def _likeness(a: Strings, b: Strings) -> Floats:
    return cpdist(a, b, scorer=JaroWinkler.similarity, dtype=np.float32)


def _edits(a: Strings, b: Strings, most: int) -> Ints:
    """Damerau–Levenshtein distance in its restricted form, ``most + 1`` for anything beyond ``most``."""
    return cpdist(a, b, scorer=OSA.distance, score_cutoff=most, dtype=np.uint8)


# Names ------------------------------------------------------------------------------------------------------------


def _names(column: Column, x: Ints, y: Ints) -> Levels:
    return _name_levels((column, x), (column, y), given=column.name == "first_name")


def _name_levels(one: tuple[Column, Ints], other: tuple[Column, Ints], *, given: bool) -> Levels:
    """Levels of different names, each side a column and codes. Of ``given`` names a masculine and a feminine form are
    two names."""
    a, b = one[0].strings[one[1]], other[0].strings[other[1]]
    levels = _cut(_likeness(a, b), (0.92, 0.85, 0.7))
    levels[levels >= SHORT] += 1  # 0.7 opens the level behind the short forms
    for i in np.flatnonzero((levels >= SHORT) & _may_be_short(one, other)).tolist():
        if _is_short_form(a[i], b[i]):
            levels[i] = SHORT
    if given:
        for i in np.flatnonzero(levels <= SHORT).tolist():
            if differ_by_gender(a[i], b[i]):
                levels[i] = OTHER
    return levels


def _may_be_short(one: tuple[Column, Ints], other: tuple[Column, Ints]) -> Bools:
    """Whether two names begin or end alike, or one has several words: where a short form is worth looking for."""
    (a, x), (b, y) = one, other
    begins = a.letters("begin", _begin)[x] == b.letters("begin", _begin)[y]
    ends = a.letters("end", _end)[x] == b.letters("end", _end)[y]
    several = (a.letters("several", _several)[x] | b.letters("several", _several)[y]) > 0
    likely: Bools = begins | ends | several
    return likely


def _begin(name: str) -> int:
    return ord(name[0])


def _end(name: str) -> int:
    return ord(name[-1])


def _several(name: str) -> int:
    return int(" " in name)


def _is_short_form(a: str, b: str) -> bool:
    """An initial, one name of several, a beginning or an end of at least three letters, or other spaces."""
    if len(a) > len(b):
        a, b = b, a
    if len(a) == 1:
        return a == b[0]
    if len(a) >= 3 and (b.startswith(a) or b.endswith(a)):
        return True
    if " " not in b and " " not in a:
        return False
    return set(a.split()) <= set(b.split()) or a.replace(" ", "") == b.replace(" ", "")


def _turn_where_swapped(table: Table, left: Ints, right: Ints, found: dict[str, Levels]) -> Levels:
    """Compare first with last names where both say nothing straight; take the crossed levels where they are better."""
    first, last = found["first_name"], found["last_name"]
    swap = np.where((first == NO_NAME) | (last == NO_NAME), missing_level("swap"), 0).astype(np.int8)
    weak = np.flatnonzero((first >= UNLIKE) & (last >= UNLIKE) & (first != NO_NAME) & (last != NO_NAME))
    if not weak.size:
        return swap
    # In an order that does not depend on which record stands left.
    low, high = np.minimum(left[weak], right[weak]), np.maximum(left[weak], right[weak])
    given, family = table["first_name"], table["last_name"]
    crossed_first = _crossed(given, family, low, high)
    crossed_last = _crossed(given, family, high, low)
    better = (crossed_first < UNLIKE) & (crossed_last < UNLIKE)
    turned = weak[better]
    first[turned], last[turned], swap[turned] = crossed_first[better], crossed_last[better], 1
    return swap


def _crossed(given: Column, family: Column, a: Ints, b: Ints) -> Levels:
    """Levels of the first names of ``a`` against the last names of ``b``."""
    x, y = given.codes[a], family.codes[b]
    keys, where = np.unique(x.astype(np.int64) * len(family.values) + y, return_inverse=True)
    x, y = keys // len(family.values), keys % len(family.values)
    levels = _name_levels((given, x), (family, y), given=False)
    levels[given.strings[x] == family.strings[y]] = EXACT
    return levels[where]


# Everything else --------------------------------------------------------------------------------------------------


def _dates(column: Column, x: Ints, y: Ints) -> Levels:
    year = column.letters("year", lambda day: int(day[:4]))
    month, day = (
        column.letters("month", lambda day: int(day[5:7])),
        column.letters("day", lambda day: int(day[8:10])),
    )
    edits = _edits(column.strings[x], column.strings[y], 2)
    same_year, same_month, same_day = year[x] == year[y], month[x] == month[y], day[x] == day[y]
    turned = same_year & (month[x] == day[y]) & (day[x] == month[y])
    partial = (same_month & same_day) | (same_year & (same_month | same_day | (edits <= 2)))
    return np.select([(edits <= 1) | turned, partial, same_year], [1, 2, 3], 4).astype(np.int8)


def email_user(address: str) -> str:
    """The part before the @."""
    return address.partition("@")[0]


def _emails(column: Column, x: Ints, y: Ints) -> Levels:
    users = column.parts("user", email_user)
    a, b = users[x], users[y]
    typo = _edits(column.strings[x], column.strings[y], 1) <= 1
    return np.select([typo, a == b, _likeness(a, b) >= 0.88], [1, 2, 3], 4).astype(np.int8)


def _numbers(column: Column, x: Ints, y: Ints) -> Levels:
    return _edits(column.strings[x], column.strings[y], 2).astype(np.int8)


def _postcodes(column: Column, x: Ints, y: Ints) -> Levels:
    edits = _edits(column.strings[x], column.strings[y], 2)
    three, two = column.parts("three", lambda code: code[:3]), column.parts("two", lambda code: code[:2])
    near = (edits <= 2) | (three[x] == three[y])
    return np.select([edits <= 1, near, two[x] == two[y]], [1, 2, 3], 4).astype(np.int8)


def _streets(column: Column, x: Ints, y: Ints) -> Levels:
    alike = cpdist(column.strings[x], column.strings[y], scorer=token_set_ratio, dtype=np.float32)
    return _cut(alike, (92, 75))


def _houses(column: Column, x: Ints, y: Ints) -> Levels:
    return _edits(column.strings[x], column.strings[y], 1).astype(np.int8)


def _texts(column: Column, x: Ints, y: Ints) -> Levels:
    return _cut(_likeness(column.strings[x], column.strings[y]), (0.9, 0.75))


_OF_KIND: dict[str, Callable[[Column, Ints, Ints], Levels]] = {
    "name": _names,
    "date": _dates,
    "email": _emails,
    "phone": _numbers,
    "number": _numbers,
    "postcode": _postcodes,
    "street": _streets,
    "house": _houses,
    "text": _texts,
}


def first_names_contradict(one: str, other: str) -> bool:
    """Whether two first names are those of two persons; a name that is missing contradicts none."""
    return _are_at("first_name", OTHER, one, other)


def birth_dates_contradict(one: str, other: str) -> bool:
    """Whether two birth dates, as YYYY-MM-DD, exclude each other; one that is missing excludes none."""
    return _are_at("birth_date", OTHER_BIRTH, one, other)


def _are_at(column: str, level: int, one: str, other: str) -> bool:
    """Whether two values compare at this level, which is none of agreement."""
    if not one or not other or one == other:
        return False
    table = Table.of({column: [one, other]})
    return column in table and bool(
        compare(table, np.asarray([0]), np.asarray([1]), [column])[column][0] == level
    )
