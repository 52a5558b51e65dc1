"""Blocking rules: two records are compared only where they share at least one key.

A rule combines *atoms*, such as the sound of the last name and the year of birth; its key is a 64-bit hash of their
values. Rules overlap on purpose: a typing error defeats some of them, seldom all. Which rules there are depends only on
which columns exist.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import jellyfish
import numpy as np

from profiles.matching.arrays import Hashes
from profiles.matching.fields import IDENTIFIER_KINDS
from profiles.matching.levels import email_user
from profiles.matching.table import Column, Table

SHORTEST_EMAIL_USER = 5
EMAIL_START = 5


@dataclass(frozen=True, slots=True)
class Rule:
    """A blocking rule. ``identifier``: its keys are values that one person or one household has."""

    name: str
    atoms: tuple[str, ...]
    identifier: bool = False


def _stable(text: str) -> int:
    """A hash that is the same in every process, for keys that are stored."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def _sound(name: str) -> str:
    return jellyfish.metaphone(name)


def _half(number: str) -> int:
    return len(number) // 2 + 1


# atom -> (column, what is taken of its value; empty: nothing)
_ATOMS: dict[str, tuple[str, Callable[[str], str]]] = {
    "first": ("first_name", str),
    "first_initial": ("first_name", lambda name: name[:1]),
    "first_start": ("first_name", lambda name: name[:3] if len(name) > 1 else ""),
    "first_sound": ("first_name", _sound),
    "last": ("last_name", str),
    "last_initial": ("last_name", lambda name: name[:1]),
    "last_start": ("last_name", lambda name: name[:3] if len(name) > 1 else ""),
    "last_sound": ("last_name", _sound),
    "full": ("full_name", str),
    "full_start": ("full_name", lambda name: name[:4]),
    "full_end": ("full_name", lambda name: name.split()[-1]),
    "full_sound": ("full_name", lambda name: "".join(sorted(map(_sound, name.split())))),
    "birth": ("birth_date", str),
    "year": ("birth_date", lambda day: day[:4]),
    "month_day": ("birth_date", lambda day: day[5:]),
    "year_month": ("birth_date", lambda day: day[:7]),
    "email": ("email", str),
    "email_user": (
        "email",
        lambda address: user if len(user := email_user(address)) >= SHORTEST_EMAIL_USER else "",
    ),
    "email_start": ("email", lambda address: email_user(address)[:EMAIL_START]),
    "postcode": ("postcode", str),
    "city": ("city", str),
    "street": ("street", str),
    "street_number": ("street_number", str),
    "birth_place": ("birth_place", str),
}


def _identifier_atom(atom: str) -> tuple[str, Callable[[str], str]]:
    """``phone``, ``phone_start`` and ``phone_end``, and so for every column of an identifier."""
    column, _, part = atom.rpartition("_")
    if part == "start":
        return column, lambda value: value[: _half(value)]
    if part == "end":
        return column, lambda value: value[-_half(value) :]
    return atom, str


def identifier_groups(table: Table) -> list[tuple[str, ...]]:
    """The atoms of each identifier but the e-mail, the whole value first."""
    return [
        (name, f"{name}_start", f"{name}_end") if column.kind in ("phone", "number") else (name,)
        for name, column in table.columns.items()
        if column.kind in IDENTIFIER_KINDS and name != "email"
    ]


def rules(table: Table) -> list[Rule]:
    """The rules that the columns of ``table`` allow, identifiers first."""
    identifiers = [name for name, column in table.columns.items() if column.kind in IDENTIFIER_KINDS]
    found = [Rule(name, (name,), identifier=True) for name in identifiers]
    typed = [name for name in identifiers if table[name].kind in ("phone", "number")]
    names = "first_name" in table and "last_name" in table
    initials = ("initials",) if names else ()
    for name in typed:
        found += [Rule(f"{name}_{end}", (f"{name}_{end}", *initials)) for end in ("start", "end")]
    if "email" in table:
        found += [Rule("email_user", ("email_user",)), Rule("email_start", ("email_start", *initials))]
    if names:
        found += [Rule("+".join(atoms), atoms) for atoms in _NAME_RULES]
    elif "full_name" in table:
        found += [Rule(atom, (atom,)) for atom in ("full", "full_start", "full_end", "full_sound")]
    called = [
        atom
        for atom in (
            "first",
            "last",
            "first_start",
            "last_start",
            "last_sound",
            "full",
            "full_start",
            "full_sound",
        )
        if _ATOMS[atom][0] in table and not (names and atom.startswith("full"))
    ]
    if "birth_date" in table:
        whose = [
            *[(atom,) for atom in called if not atom.endswith("start")],
            ("first_sound", "last_sound"),
            initials,
        ]
        found += [
            Rule("+".join((*atoms, day)), (*atoms, day))
            for atoms in whose
            for day in ("year", "month_day", "year_month")
            if atoms and (names or "first_sound" not in atoms)
        ]
        found += [Rule("birth", ("birth",))]
    found += _place_rules(table, called)
    return found


_NAME_RULES = (
    ("names",), ("last_sound", "first_start"), ("first_start", "last_start"), ("first_sound", "last_sound"),
    ("first",), ("last",), ("last_sound",),
)  # fmt: skip


def _place_rules(table: Table, called: Sequence[str]) -> list[Rule]:
    places = [(place,) for place in ("postcode", "city", "street", "birth_place") if place in table]
    if "street" in table and "street_number" in table:
        places.append(("street", "street_number"))
    days = ["year", "month_day", "year_month"] if "birth_date" in table else []
    return [
        Rule("+".join(atoms), atoms)
        for place in places
        for atoms in [place, *[(*place, other) for other in [*called, *days]]]
    ]


class Atoms:
    """Hashes of the atoms of a table, row by row; computed when first asked for.

    ``digest`` turns a string into 64 bits: Python's own hash, which is quick and differs between processes, unless
    the keys are to be stored.
    """

    def __init__(self, table: Table, digest: Callable[[str], int] = hash) -> None:
        self.table, self.digest = table, digest
        self._rows: dict[str, Hashes] = {}

    def rows(self, atom: str) -> Hashes:
        """Shape (records,); 0 where the atom is missing."""
        if atom not in self._rows:
            self._rows[atom] = self._compute(atom)
        return self._rows[atom]

    def exists(self, atom: str) -> bool:
        """Whether the table has the column or columns of an atom."""
        if atom == "address":
            return "street" in self.table and "street_number" in self.table
        return (_ATOMS[atom] if atom in _ATOMS else _identifier_atom(atom))[0] in self.table

    def _compute(self, atom: str) -> Hashes:
        if atom == "names":
            # The sum of the hashes of all words: the same whichever field each was typed into.
            return self._together("first_words", "last_words")
        if atom == "initials":
            return self._together("first_initial", "last_initial")
        if atom in ("first_words", "last_words"):
            column = self.table[f"{atom.removesuffix('_words')}_name"]
            sums = [sum(map(self.digest, value.split())) for value in column.values]
            return _by_row(column, np.asarray([value & _MASK for value in sums], dtype=np.uint64))
        column, hashes = self.values(atom)
        return _by_row(column, hashes)

    def values(self, atom: str) -> tuple[Column, Hashes]:
        """The column of an atom and the hash of each of its values."""
        name, take = _ATOMS[atom] if atom in _ATOMS else _identifier_atom(atom)
        column = self.table[name]
        parts = column.values if take is str else column.part(f"key:{atom}", take)
        hashes = np.fromiter(map(self.digest, parts), dtype=np.int64, count=len(parts)).view(np.uint64)
        if take is not str and "" in parts:
            hashes[np.asarray([not part for part in parts])] = 0
        return column, hashes

    def _together(self, one: str, other: str) -> Hashes:
        a, b = self.rows(one), self.rows(other)
        return np.where((a == 0) | (b == 0), np.uint64(0), a + b)

    def keys(self, rule: Rule) -> Hashes:
        """The key of each record under one rule; 0 where it has none."""
        key = np.full(self.table.size, _stable(rule.name) & _MASK, dtype=np.uint64)
        missing = np.zeros(self.table.size, dtype=bool)
        for atom in rule.atoms:
            part = self.rows(atom)
            missing |= part == 0
            key ^= part
            # The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit in reaches every bit out.
            key ^= key >> np.uint64(30)
            key *= np.uint64(0xBF58476D1CE4E5B9)
            key ^= key >> np.uint64(27)
            key *= np.uint64(0x94D049BB133111EB)
            key ^= key >> np.uint64(31)
        key[missing] = 0
        return key


_MASK = (1 << 64) - 1


def _by_row(column: Column, hashes: Hashes) -> Hashes:
    """A value's hash for each record, 0 for records without one (code -1 picks the 0 put behind the last)."""
    return np.append(hashes, np.uint64(0))[column.codes]


@dataclass(frozen=True, slots=True)
class Key:
    """A blocking key to be stored: ``number`` is a signed 64-bit integer, the same in every process."""

    rule: str
    number: int
    identifier: bool


def keys_of(table: Table) -> list[list[Key]]:
    """For each record of a small table the keys under which its neighbours are found, those of the batch.

    Which of them a brand uses follows from how many records hold each: see `blocks.LARGEST_BLOCK`.
    """
    atoms = Atoms(table, _stable)
    found: list[list[Key]] = [[] for _ in range(table.size)]
    for rule in rules(table):
        for record, number in enumerate(atoms.keys(rule).view(np.int64).tolist()):
            if number:
                found[record].append(Key(rule.name, number, rule.identifier))
    return found
