"""Which columns of an address tell one place in several words, found from the records themselves.

Town and postcode agree together: counted as independent evidence, one fact would count twice. In other data a place of
birth has nothing to do with the address. So it is measured, on one record per name: how much oftener two columns agree
together than they would if neither knew of the other (the lift), and how often both agree where one does.
"""

import numpy as np

from profiles.matching.arrays import Ints, starts_of_runs
from profiles.matching.fields import GEOGRAPHY
from profiles.matching.keys import Atoms
from profiles.matching.table import Table

LEAST_LIFT, LEAST_IMPLIED = 3.0, 0.3
# Fewer agreements than these are doubles with a slip in their names, not strangers.
FEWEST_AGREEMENTS, FEWEST_PER_RECORD = 20, 0.5


def geographical_groups(table: Table, columns: list[str]) -> list[tuple[str, ...]]:
    """The geographical ones among ``columns``, in groups that agree together; singles included."""
    found = [name for name in GEOGRAPHY if name in columns]
    if {"street", "postcode", "city"} <= set(found):
        found.remove("city")  # the postcode says it more finely
    together = {name: {name} for name in found}
    rows = _one_per_name(table)
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            if _go_together(table[one].codes[rows], table[other].codes[rows]):
                joined = together[one] | together[other]
                for name in joined:
                    together[name] = joined
    return sorted({tuple(name for name in GEOGRAPHY if name in group) for group in together.values()})


def _one_per_name(table: Table) -> Ints:
    """Positions of one record for each name, in whichever field its words stand; of all where there are no names."""
    if "first_name" not in table or "last_name" not in table:
        return np.arange(table.size)
    names, rows = np.unique(Atoms(table).rows("names"), return_index=True)
    return rows[names != 0]


def _go_together(a: Ints, b: Ints) -> bool:
    """Whether strangers agree on both columns more often than by chance, and on one mostly where on the other.

    The lift is P(both agree) / (P(a agrees) P(b agrees)) over all pairs of records that fill both.
    """
    filled = (a >= 0) & (b >= 0)
    a, b = a[filled].astype(np.int64), b[filled]
    both = _agreeing(a * (int(b.max(initial=0)) + 1) + b)
    if both < max(FEWEST_AGREEMENTS, FEWEST_PER_RECORD * len(a)):
        return False
    one, other, pairs = _agreeing(a), _agreeing(b), len(a) * (len(a) - 1) / 2
    return both * pairs / (one * other) >= LEAST_LIFT and both / min(one, other) >= LEAST_IMPLIED


def _agreeing(values: Ints) -> float:
    """How many pairs of records have equal values."""
    ordered = np.sort(values)
    counts = np.diff(np.append(starts_of_runs(ordered), len(ordered))).astype(np.float64)
    return float((counts * (counts - 1) / 2).sum())
