"""A model to start with: for a brand with too few records to learn from.

Not taken from anybody's data: m says how often people and tills mistype and move, in round figures; u follows from how
many different values a field can have; h and c from what households share and coincidences are. As soon as a brand has
``FEWEST_TO_LEARN`` records its own teach better.
"""

from typing import Final

import numpy as np

from profiles.matching.arrays import Floats, Ints
from profiles.matching.fields import LEVELS, kind_of, missing_level
from profiles.matching.model import Comparison, Model, masks_of, normalised, rarities
from profiles.matching.table import Table

VERSION: Final = "start-1"
FEWEST_TO_LEARN: Final = 500
# A share of a value is known from so many records on; below, every name looks common or rare by chance.
FEWEST_TO_COUNT: Final = 500

# By kind, levels from exact to other: two records of one person, two strangers, two persons of one household.
_M: dict[str, tuple[float, ...]] = {
    "name": (0.82, 0.07, 0.02, 0.05, 0.01, 0.03),
    "date": (0.93, 0.04, 0.015, 0.005, 0.01),
    "email": (0.78, 0.05, 0.04, 0.03, 0.10),
    "phone": (0.80, 0.03, 0.01, 0.16),
    "number": (0.93, 0.03, 0.01, 0.03),
    "machine": (0.95, 0.05),
    "postcode": (0.85, 0.03, 0.04, 0.03, 0.05),
    "street": (0.80, 0.06, 0.04, 0.10),
    "house": (0.84, 0.06, 0.10),
    "text": (0.84, 0.05, 0.03, 0.08),
    "category": (0.95, 0.05),
    "swap": (0.97, 0.03),
}
_U: dict[str, tuple[float, ...]] = {
    "name": (0.004, 0.002, 0.003, 0.003, 0.04, 0.948),
    "date": (0.00005, 0.0012, 0.007, 0.011, 0.98075),
    "email": (0.000002, 0.000004, 0.00002, 0.0008, 0.999174),
    "phone": (0.000002, 0.000004, 0.00003, 0.999964),
    "number": (0.000001, 0.00001, 0.0005, 0.999489),
    "machine": (0.0000005, 0.9999995),
    "postcode": (0.004, 0.006, 0.03, 0.02, 0.94),
    "street": (0.002, 0.004, 0.09, 0.904),
    "house": (0.012, 0.12, 0.868),
    "text": (0.02, 0.005, 0.02, 0.955),
    "category": (0.5, 0.5),
    "swap": (0.97, 0.03),
}
_H: dict[str, tuple[float, ...]] = {
    "email": (0.10, 0.01, 0.01, 0.06, 0.82),
    "phone": (0.30, 0.01, 0.005, 0.685),
    "number": (0.03, 0.01, 0.03, 0.93),
    "machine": (0.01, 0.99),
    "date": (0.01, 0.003, 0.016, 0.04, 0.931),
}
_SHARED_AT_HOME: Final = frozenset({"postcode", "street", "street_number", "city"})
_LAST_NAME_AT_HOME = (0.72, 0.07, 0.015, 0.005, 0.03, 0.16)
_FIRST_NAME_AT_HOME = (0.015, 0.005, 0.003, 0.004, 0.043, 0.93)

MATCHES_PER_RECORD, HOUSEMATES_PER_RECORD, NAMESAKES_PER_RECORD = 0.7, 0.5, 0.1
# Chance agreement for the rarity of a name where too few records are there to count it: nothing is added or taken.
_UNKNOWN: dict[str, float] = {}


def prior_model(table: Table) -> Model:
    """Tables by kind for the columns that ``table`` has, judging a brand of its size."""
    columns = [name for name, column in table.columns.items() if column.filled]
    names = {"first_name", "last_name"} <= set(columns)
    address = tuple(name for name in ("street_number", "street", "postcode") if name in columns)
    made_of: list[tuple[str, tuple[str, ...]]] = []
    if names:
        made_of += [("name", ("first_name", "last_name")), ("swap", ("swap",))]
    if address:
        made_of.append(("address" if len(address) > 1 else address[0], address))
    taken = {member for _name, members in made_of for member in members}
    if "postcode" in taken:
        taken.add("city")
    made_of += [(name, (name,)) for name in columns if name not in taken]
    comparisons = tuple(_comparison(name, members) for name, members in made_of)
    size = max(table.size, 100)
    pairs = size * (size - 1) / 2
    shares = (MATCHES_PER_RECORD, HOUSEMATES_PER_RECORD if names else 0.0, NAMESAKES_PER_RECORD)
    m, h, c = (share * size / pairs for share in shares)
    counted = rarities(table, columns) if table.size >= FEWEST_TO_COUNT else (_UNKNOWN, {})
    return Model(VERSION, size, comparisons, (m, h, c), *counted)


def _comparison(name: str, members: tuple[str, ...]) -> Comparison:
    m, u = _product(members, _M), _product(members, _U)
    h = np.ones(len(m))
    masks = masks_of(members)
    for member, level in zip(members, _grid(members), strict=True):
        h *= np.append(_at_home(member), 1.0)[level]
    named = name in ("name", "full_name")
    c = np.sqrt(m * u) if named else u
    if name in ("name", "address"):
        # Moving house, or marrying, changes all of them at once: an address agrees whole or not at all.
        m = 0.9 * m + 0.1 * u if name == "address" else m
    return Comparison(name, members, *(normalised(table, masks) for table in (m, u, h, c)))


def _at_home(member: str) -> tuple[float, ...]:
    if member == "last_name":
        return _LAST_NAME_AT_HOME
    if member == "first_name":
        return _FIRST_NAME_AT_HOME
    kind = "swap" if member == "swap" else kind_of(member)
    return _M[kind] if member in _SHARED_AT_HOME else _H.get(kind, _U[kind])


def _grid(members: tuple[str, ...]) -> Ints:
    sizes = [missing_level(member) + 1 for member in members]
    return np.indices(sizes).reshape(len(sizes), -1)


def _product(members: tuple[str, ...], tables: dict[str, tuple[float, ...]]) -> Floats:
    """The joint table of members taken as independent, 1 for what is missing."""
    product = np.ones(len(masks_of(members)))
    for member, level in zip(members, _grid(members), strict=True):
        kind = "swap" if member == "swap" else kind_of(member)
        assert len(tables[kind]) == len(LEVELS[kind])
        product *= np.append(tables[kind], 1.0)[level]
    return product
