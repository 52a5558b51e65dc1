"""Records as columns: normalised unique values, and an int32 code per record that says which.

Millions of records have far fewer different first names, towns and days. So each raw value is normalised once, each
normalised value is kept once, and everything after that works on codes: two records agree where their codes are equal.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from profiles import normalise
from profiles.matching.fields import (
    IDENTIFIER_KINDS,
    IGNORED,
    MOST_RECORDS_PER_IDENTIFIER,
    kind_of,
)

Codes = npt.NDArray[np.int32]

# How often a value occurs among all records of a brand, and on how many records the column is filled.
Counts = Mapping[str, "tuple[Callable[[str], int] | Mapping[str, int], int]"]

# A column counts as evidence when this many records, and this share of them, have it.
FEWEST_FILLED, SMALLEST_SHARE = 5, 0.005


class Column:
    """``values`` are different normalised strings; ``codes`` has shape (records,) and points into it, -1 for missing."""

    def __init__(self, name: str, values: Sequence[str], codes: Codes) -> None:
        self.name, self.kind, self.values, self.codes = name, kind_of(name), values, codes
        self._parts: dict[str, list[str]] = {}
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    @cached_property
    def strings(self) -> npt.NDArray[np.object_]:
        """``values`` as an array, to pick many at once."""
        picked = np.empty(len(self.values), dtype=object)
        picked[:] = self.values
        return picked

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """On how many records each value stands."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))

    @cached_property
    def filled(self) -> int:
        """On how many records the column is filled."""
        return int((self.codes >= 0).sum())

    def part(self, name: str, take: Callable[[str], str]) -> list[str]:
        """``take(value)`` of each value, remembered under ``name``; the empty string where there is none."""
        if name not in self._parts:
            self._parts[name] = [take(value) for value in self.values]
        return self._parts[name]

    def parts(self, name: str, take: Callable[[str], str]) -> npt.NDArray[np.object_]:
        """As :meth:`part`, to pick many at once."""
        if name not in self._arrays:
            self._arrays[name] = np.empty(len(self.values), dtype=object)
            self._arrays[name][:] = self.part(name, take)
        return self._arrays[name]

    def letters(self, name: str, take: Callable[[str], int]) -> npt.NDArray[np.int32]:
        """A number told by each value, such as its first letter, remembered under ``name``."""
        if name not in self._arrays:
            self._arrays[name] = np.fromiter(map(take, self.values), dtype=np.int32, count=len(self.values))
        return self._arrays[name]

    def value(self, record: int) -> str:
        """The normalised value of one record, empty where it is missing."""
        code = self.codes[record]
        return self.values[code] if code >= 0 else ""


class Raw:
    """A column as it was read: ``values`` are the different strings, ``codes`` points into them, one per record."""

    def __init__(self) -> None:
        self._numbers: defaultdict[str, int] = defaultdict(count().__next__)
        self._chunks: list[Codes] = []

    @classmethod
    def of(cls, strings: Sequence[str]) -> "Raw":
        """From one string per record."""
        raw = cls()
        raw.extend(strings)
        return raw

    def extend(self, strings: Sequence[str]) -> None:
        """Add records."""
        self._chunks.append(
            np.fromiter(map(self._numbers.__getitem__, strings), dtype=np.int32, count=len(strings))
        )

    @property
    def values(self) -> list[str]:
        return list(self._numbers)

    @property
    def codes(self) -> Codes:
        return np.concatenate(self._chunks) if self._chunks else np.empty(0, dtype=np.int32)

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    def says_something(self) -> bool:
        """Whether any record fills the column."""
        return any(self._numbers)


class Table:
    """Columns of equal length. ``size`` is the number of records."""

    def __init__(self, columns: Mapping[str, Column], size: int) -> None:
        self.columns, self.size = dict(columns), size

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[str] | Raw], counts: Counts | None = None) -> "Table":
        """From raw strings by column name, one per record; what says nothing becomes missing.

        ``counts`` tells how often a value occurs in the whole brand where these records are only a part of it: an
        identifier on too many records is missing here too. ValueError where columns differ in length.
        """
        sizes = {len(raw) for raw in columns.values()}
        if len(sizes) > 1:
            raise ValueError(f"columns of different lengths: {sorted(sizes)}")
        table = cls({}, sizes.pop() if sizes else 0)
        for name, told in columns.items():
            if name in IGNORED:
                continue
            raw = told if isinstance(told, Raw) else Raw.of(told)
            if raw.says_something():
                table._add(name, raw)
        if {"first_name", "last_name"} <= table.columns.keys():
            table.columns.pop("full_name", None)
        for column in table.columns.values():
            if column.kind in IDENTIFIER_KINDS:
                _forget_common(column, counts.get(column.name) if counts else None)
        return table

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def usable(self) -> list[str]:
        """Columns that enough records fill, with more than one value."""
        enough = max(FEWEST_FILLED, SMALLEST_SHARE * self.size)
        return [
            name
            for name, column in self.columns.items()
            if column.filled >= enough and (column.counts > 0).sum() > 1
        ]

    def _add(self, name: str, raw: Raw) -> None:
        values = raw.values
        if name == "street":
            streets = [normalise.street(value) if value else None for value in values]
            self._put("street", raw.codes, [street.name if street else "" for street in streets])
            in_front = [(street.number or "") if street else "" for street in streets]
            if any(in_front):
                self._put("street_number", raw.codes, in_front)
        else:
            self._put(name, raw.codes, list(map(_NORMALISERS.get(name, normalise.words), values)))

    def _put(self, name: str, raw: Codes, normalised: list[str]) -> None:
        """Add a column; where there is one of its name already, fill what each of them misses (street numbers)."""
        before = self.columns.get(name)
        place: defaultdict[str, int] = defaultdict(count().__next__)
        for value in before.values if before else ():
            place.__getitem__(value)  # keeps its number
        code_of = np.asarray([place[value] if value else -1 for value in normalised], dtype=np.int32)
        codes = code_of[raw]
        if before:
            codes = np.where(before.codes >= 0, before.codes, codes)
        if place:
            self.columns[name] = Column(name, list(place), codes)


def _forget_common(
    column: Column, told: "tuple[Callable[[str], int] | Mapping[str, int], int] | None"
) -> None:
    """Take an identifier on too many records for missing: it is nobody's."""
    counts = column.counts if told is None else np.asarray(looked_up(told[0], column.values))
    common = np.flatnonzero(counts > MOST_RECORDS_PER_IDENTIFIER)
    if common.size:
        column.codes[np.isin(column.codes, common)] = -1
        for counted in ("counts", "filled"):  # anew, without them
            column.__dict__.pop(counted, None)


def looked_up(told: Callable[[str], int] | Mapping[str, int], values: Sequence[str]) -> list[int]:
    """The count of each value, 0 where nobody knows it."""
    if isinstance(told, Mapping):
        return [told.get(value, 0) for value in values]
    return [told(value) for value in values]


# Normalisation: from raw to comparable, empty where nothing is said -----------------------------------------------


def _first_name(raw: str) -> str:
    return normalise.name_key(normalise.first_name(raw) or "") if raw else ""


def _last_name(raw: str) -> str:
    return normalise.name_key(normalise.last_name(raw) or "") if raw else ""


_WRITTEN_DAY = re.compile(r"((?:19|20)[0-9]{2})-?([0-9]{2})-?([0-9]{2})")


def _birth_date(raw: str) -> str:
    """ISO; a day that no calendar has (30 February) is kept as typed: it still tells which day was meant."""
    if not raw:
        return ""
    born = normalise.birth_date(raw)
    if born is not None:
        return born.isoformat()
    written = _WRITTEN_DAY.fullmatch(raw.strip())
    if written is None:
        return ""
    try:
        date(int(written[1]), int(written[2]), int(written[3]))
    except ValueError:
        return "-".join(written.groups())
    return ""  # a real day that normalisation refused: a placeholder, or one to come


_WELL_FORMED = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")


def _email(raw: str) -> str:
    """The match key; an address that a slip made unreadable is kept as typed, for it may still look like another."""
    if not raw:
        return ""
    mailbox = normalise.email(raw)
    if mailbox is not None:
        return mailbox.key
    typed = raw.strip().lower()
    return typed if len(typed) > 5 and "@" in typed[1:-1] and not _WELL_FORMED.fullmatch(typed) else ""


# How numbers are written at home and from abroad. Which of them exist is the library's to know, and does not matter here:
# one number must get one form.
_GAPS = str.maketrans("", "", " .-/")
_FRENCH = re.compile(r"(?:0|(?:\+|00)?33(?:0|\(0\))?)?([1-9][0-9]{8})")
_OVERSEAS = {
    prefix: country
    for country, prefixes in {
        "+262": "262 263 269 639 692 693", "+590": "590 690 691", "+594": "594 694", "+596": "596 696 697",
    }.items()
    for prefix in prefixes.split()
}  # fmt: skip


def _phone(raw: str) -> str:
    if not raw:
        return ""
    if french := _FRENCH.fullmatch(raw.translate(_GAPS)):
        national = french[1]
        return "" if normalise.is_dummy_number(national) else _OVERSEAS.get(national[:3], "+33") + national
    line = normalise.phone(raw)
    return line.e164 if line else ""


_GENDERS = dict.fromkeys("m h homme mr monsieur male man masculin".split(), "m") | dict.fromkeys(
    "f femme mme mlle madame female woman feminin w".split(), "f"
)


def _gender(raw: str) -> str:
    return _GENDERS.get(normalise.words(raw), "")


def _or_nothing(function: Callable[[str], str | None]) -> Callable[[str], str]:
    return lambda raw: (function(raw) or "") if raw else ""


_NORMALISERS: dict[str, Callable[[str], str]] = {
    "first_name": _first_name,
    "last_name": _last_name,
    "full_name": _last_name,
    "birth_date": _birth_date,
    "gender": _gender,
    "email": _email,
    "phone": _phone,
    "street_number": _or_nothing(normalise.street_number),
    "city": _or_nothing(normalise.city),
    "birth_place": _or_nothing(normalise.city),
    "postcode": _or_nothing(normalise.postcode),
    "loyalty_number": _or_nothing(normalise.card),
    "national_id": _or_nothing(normalise.card),
    "customer_id": _or_nothing(normalise.customer_id),
    "device_id": _or_nothing(normalise.customer_id),
}
