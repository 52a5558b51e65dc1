"""Which columns of an address tell one place in several words, found from the records themselves.

Town and postcode agree together: counted as independent evidence, one fact would count twice. In other data a place of
birth has nothing to do with the address. So it is measured: on one record per name, how much oftener two columns agree
together than they would if neither knew of the other.
"""

import numpy as np
import numpy.typing as npt

from profiles.matching.fields import GEOGRAPHY
from profiles.matching.keys import Atoms
from profiles.matching.table import Table

FEWEST_AGREEMENTS, LEAST_LIFT = 20, 3.0


def geographical_groups(table: Table, columns: list[str]) -> list[tuple[str, ...]]:
    """The geographical ones among ``columns``, in groups that agree together; singles included."""
    found = [name for name in GEOGRAPHY if name in columns]
    if {"street", "postcode", "city"} <= set(found):
        found.remove("city")  # the postcode says it more finely
    together = {name: {name} for name in found}
    rows = _one_per_name(table)
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            if _lift(table[one].codes[rows], table[other].codes[rows]) >= LEAST_LIFT:
                joined = together[one] | together[other]
                for name in joined:
                    together[name] = joined
    return sorted({tuple(name for name in GEOGRAPHY if name in group) for group in together.values()})


def _one_per_name(table: Table) -> npt.NDArray[np.int64]:
    """Positions of one record for each name, in whichever field its words stand; of all where there are no names."""
    if "first_name" not in table or "last_name" not in table:
        return np.arange(table.size)
    names, rows = np.unique(Atoms(table).rows("names"), return_index=True)
    return rows[names != 0]


def _lift(a: npt.NDArray[np.int32], b: npt.NDArray[np.int32]) -> float:
    """P(both agree) / (P(a agrees) P(b agrees)) over all pairs of records that fill both; 0 if hardly any agree."""
    filled = (a >= 0) & (b >= 0)
    a, b = a[filled].astype(np.int64), b[filled]
    both = _agreeing(a * (int(b.max(initial=0)) + 1) + b)
    if both < FEWEST_AGREEMENTS:
        return 0.0
    return both * (len(a) * (len(a) - 1) / 2) / (_agreeing(a) * _agreeing(b))


def _agreeing(values: npt.NDArray[np.integer]) -> float:
    """How many pairs of records have equal values."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1) / 2).sum())
