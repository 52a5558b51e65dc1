"""Candidate pairs: blocks of records that share a key, within a budget, and an information filter.

A blocking rule gets the largest block size whose pairs fit its budget: finer rules are used up to large blocks, coarse
ones only for their rare values. What is cut off is reported. Then a pair that no identifier brought together must agree
exactly on values that together are rare enough for the two to be one person among so many records.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from profiles.matching.arrays import Floats, Hashes, Ints, distinct, places_within, starts_of_runs
from profiles.matching.keys import Atoms, Rule, identifier_groups, rules
from profiles.matching.table import Table

LARGEST_BLOCK = 250
# Below so many pairs nothing is filtered: comparing them costs less than choosing.
FEW_PAIRS = 1_000_000
# Bits that a pair may lack: the fuzzy comparisons may still find them.
LENIENCE, LENIENCE_OF_MANY, MANY_RECORDS = 4.0, 2.0, 200_000


@dataclass
class Candidates:
    """``left`` and ``right`` are positions of records, left < right, sorted and without repeats. ``skipped`` tells for
    each rule how many blocks were too large to be used."""

    left: Ints
    right: Ints
    raw: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


def budget(records: int, *, identifier: bool, share: float = 0.3) -> int:
    """The most pairs that one rule may bring; ``share`` is what records beyond a hundred thousand add."""
    pairs = min(records, 100_000) + share * max(0, records - 100_000) + 40_000
    return int(pairs + (10 * records if identifier else 0))


def block(keys: Hashes, most_pairs: int) -> tuple[Ints, int]:
    """Ints of records with equal keys, packed as ``left * records + right``, and the number of blocks left out.

    0 is no key. The largest block size (up to ``LARGEST_BLOCK``) is used whose pairs are within ``most_pairs``.
    """
    records = len(keys)
    room = np.uint64(max(1, int(records - 1).bit_length()))
    rows = np.flatnonzero(keys).astype(np.uint64)
    # Hash above, position below: one sort of plain integers orders both.
    ordered = np.sort((keys[rows] >> room << room) | rows)
    hashes = ordered >> room
    starts = starts_of_runs(hashes)
    sizes = np.diff(np.append(starts, rows.size)).astype(np.int64)
    cap = _cap(sizes, most_pairs)
    kept = (sizes > 1) & (sizes <= cap)
    skipped = int((sizes > cap).sum())
    starts, sizes = starts[kept].astype(np.int64), sizes[kept]
    members = (ordered & ((np.uint64(1) << room) - np.uint64(1))).astype(np.int64)
    return _pairs_within(members, starts, sizes, records), skipped


def _cap(sizes: Ints, most_pairs: int) -> int:
    histogram = np.bincount(np.minimum(sizes, LARGEST_BLOCK + 1), minlength=LARGEST_BLOCK + 2)
    of_size = np.arange(LARGEST_BLOCK + 1)
    pairs = np.cumsum(histogram[:-1] * of_size * (of_size - 1) // 2)
    return int(np.searchsorted(pairs, most_pairs, side="right")) - 1


def _pairs_within(members: Ints, starts: Ints, sizes: Ints, records: int) -> Ints:
    """All pairs within each block, by distance inside the block: one step pairs each with its d-th follower."""
    first = np.repeat(starts, sizes)
    place = places_within(sizes)
    position, followers = first + place, np.repeat(sizes, sizes) - place - 1
    found = []
    distance = 1
    while True:
        going_on = followers >= distance
        position, followers = position[going_on], followers[going_on]
        if not position.size:
            break
        found.append(members[position] * records + members[position + distance])
        distance += 1
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


class Information:
    """How much the exact agreements of a pair tell, in bits: the sum over groups of the rarest agreeing atom of each,
    log2(records that have the atom / records with this value of it)."""

    GROUPS = (
        ("first", "first_start", "first_sound"),
        ("last", "last_start", "last_sound"),
        ("full", "full_start", "full_sound"),
        ("birth", "year_month", "month_day", "year"),
        ("email", "email_user", "email_start"),
        ("postcode", "city", "street", "address"),
        ("birth_place",),
    )

    def __init__(self, atoms: Atoms) -> None:
        groups = [
            [atom for atom in group if atoms.exists(atom)]
            for group in (*self.GROUPS, *identifier_groups(atoms.table))
        ]
        self.sizes = [len(group) for group in groups if group]
        told = [_marks_and_bits(atoms, atom) for group in groups for atom in group]
        # Row by row, so that what is asked of one record lies together.
        self.marks = np.stack([marks for marks, _bits in told], axis=1)
        self.bits = np.stack([bits for _marks, bits in told], axis=1)

    def of(self, left: Ints, right: Ints) -> Floats:
        """Bits of each pair."""
        found = np.empty(len(left), dtype=np.float32)
        for start in range(0, len(left), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            found[chunk] = self._of(left[chunk], right[chunk])
        return found / _PARTS

    def _of(self, left: Ints, right: Ints) -> npt.NDArray[np.uint16]:
        bits = self.bits[left] * (self.marks[left] == self.marks[right])
        total, column = np.zeros(len(left), dtype=np.uint16), 0
        for size in self.sizes:
            best = bits[:, column]
            for other in range(column + 1, column + size):
                best = np.maximum(best, bits[:, other])
            total += best
            column += size
        return total


_CHUNK = 1 << 14
# Bits are counted in eighths, in one byte, and values told apart by 16 bits of their hashes: a filter may be coarse.
_PARTS = 8


def _marks_and_bits(atoms: Atoms, atom: str) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """For each record a mark that equal values share, and the bits that an agreement on it tells; 0 bits if missing."""
    if atom == "address":
        rows = atoms.keys(Rule("address", ("street", "street_number")))
        codes, filled = np.unique(rows, return_inverse=True)[1], rows != 0
        mark = rows
    else:
        column, hashes = atoms.values(atom)
        of_value = np.unique(hashes, return_inverse=True)[1]
        codes, mark = np.append(of_value, -1)[column.codes], np.append(hashes, np.uint64(0))[column.codes]
        filled = mark != 0
    counts = np.bincount(codes[filled])
    bits = np.log2(max(int(filled.sum()), 1) / np.maximum(counts, 1))
    told = np.append(np.minimum(bits * _PARTS, 255).astype(np.uint8), np.uint8(0))
    return (mark >> np.uint64(48)).astype(np.uint16), told[np.where(filled, codes, -1)]


def candidates(table: Table, *, share: float = 0.3) -> Candidates:
    """All candidate pairs of a table."""
    atoms = Atoms(table)
    information: Information | None = None
    found: list[Ints] = []
    waiting: list[int] = []  # positions in `found` of what has not been filtered
    skipped, total = {}, 0
    for rule in rules(table):
        pairs, cut = block(atoms.keys(rule), budget(table.size, identifier=rule.identifier, share=share))
        if cut:
            skipped[rule.name] = cut
        total += len(pairs)
        if not rule.identifier:
            waiting.append(len(found))
        found.append(pairs)
        if total > FEW_PAIRS:
            information = information or Information(atoms)
            for place in waiting:
                found[place] = informed(found[place], table.size, information)
            waiting.clear()
    pairs = distinct(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    left, right = np.divmod(pairs, max(table.size, 1))
    return Candidates(left.astype(np.int32), right.astype(np.int32), total, skipped)


def informed(pairs: Ints, records: int, information: Information) -> Ints:
    """Those of the packed pairs that agree on enough to be one person among ``records``."""
    needed = np.log2(records) - (LENIENCE_OF_MANY if records > MANY_RECORDS else LENIENCE)
    left, right = np.divmod(pairs, records)
    return pairs[information.of(left, right) >= needed]
