"""Candidate pairs: blocks of records that share a key, within a budget, and an information filter.

A blocking rule gets the largest block size whose pairs fit its budget: finer rules are used up to large blocks, coarse
ones only for their rare values. What is cut off is reported. Then a pair that no identifier brought together must agree
exactly on values that together are rare enough for the two to be one person among so many records.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from profiles.matching.keys import Atoms, Rule, identifier_groups, rules
from profiles.matching.table import Table

Pairs = npt.NDArray[np.int64]

LARGEST_BLOCK = 250
# Below so many pairs nothing is filtered: comparing them costs less than choosing.
FEW_PAIRS = 1_000_000
# Bits that a pair may lack: the fuzzy comparisons may still find them.
LENIENCE, LENIENCE_OF_MANY, MANY_RECORDS = 4.0, 2.0, 200_000


@dataclass
class Candidates:
    """``left`` and ``right`` are positions of records, left < right, sorted and without repeats. ``skipped`` tells for
    each rule how many blocks were too large to be used."""

    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    raw: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


def budget(records: int, *, identifier: bool, share: float = 0.3) -> int:
    """The most pairs that one rule may bring; ``share`` is what records beyond a hundred thousand add."""
    pairs = min(records, 100_000) + share * max(0, records - 100_000) + 40_000
    return int(pairs + (10 * records if identifier else 0))


def block(keys: npt.NDArray[np.uint64], most_pairs: int) -> tuple[Pairs, int]:
    """Pairs of records with equal keys, packed as ``left * records + right``, and the number of blocks left out.

    0 is no key. The largest block size (up to ``LARGEST_BLOCK``) is used whose pairs are within ``most_pairs``.
    """
    records = len(keys)
    room = np.uint64(max(1, int(records - 1).bit_length()))
    rows = np.flatnonzero(keys).astype(np.uint64)
    # Hash above, position below: one sort of plain integers orders both.
    ordered = np.sort((keys[rows] >> room << room) | rows)
    hashes = ordered >> room
    starts = np.flatnonzero(np.concatenate(([True], hashes[1:] != hashes[:-1]))) if rows.size else rows
    sizes = np.diff(np.append(starts, rows.size)).astype(np.int64)
    cap = _cap(sizes, most_pairs)
    kept = (sizes > 1) & (sizes <= cap)
    skipped = int((sizes > cap).sum())
    starts, sizes = starts[kept].astype(np.int64), sizes[kept]
    members = (ordered & ((np.uint64(1) << room) - np.uint64(1))).astype(np.int64)
    return _pairs_within(members, starts, sizes, records), skipped


def _cap(sizes: Pairs, most_pairs: int) -> int:
    histogram = np.bincount(np.minimum(sizes, LARGEST_BLOCK + 1), minlength=LARGEST_BLOCK + 2)
    of_size = np.arange(LARGEST_BLOCK + 1)
    pairs = np.cumsum(histogram[:-1] * of_size * (of_size - 1) // 2)
    return int(np.searchsorted(pairs, most_pairs, side="right")) - 1


def _pairs_within(members: Pairs, starts: Pairs, sizes: Pairs, records: int) -> Pairs:
    """All pairs within each block, by distance inside the block: one step pairs each with its d-th follower."""
    first = np.repeat(starts, sizes)
    place = np.arange(len(first)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
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
        codes, bits, self.starts = [], [], []
        for group in (*self.GROUPS, *identifier_groups(atoms.table)):
            usable = [atom for atom in group if atoms.exists(atom)]
            if usable:
                self.starts.append(len(codes))
            for atom in usable:
                one, weight = _codes_and_bits(atoms, atom)
                codes.append(one)
                bits.append(weight)
        self.codes = np.stack(codes, axis=1) if codes else np.empty((atoms.table.size, 0), dtype=np.int32)
        self.bits = np.stack(bits, axis=1) if bits else np.empty((atoms.table.size, 0), dtype=np.float32)

    def of(self, left: Pairs, right: Pairs) -> npt.NDArray[np.float32]:
        """Bits of each pair."""
        if not self.starts:
            return np.zeros(len(left), dtype=np.float32)
        found = np.empty(len(left), dtype=np.float32)
        for start in range(0, len(left), _CHUNK):
            a, b = left[start : start + _CHUNK], right[start : start + _CHUNK]
            equal = self.codes[a] == self.codes[b]
            bits = self.bits[a] * equal  # 0 bits where the atom is missing
            found[start : start + _CHUNK] = np.maximum.reduceat(bits, self.starts, axis=1).sum(axis=1)
        return found


_CHUNK = 1 << 16


def _codes_and_bits(atoms: Atoms, atom: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    if atom == "address":
        rows = atoms.keys(Rule("address", ("street", "street_number")))
        values, codes = np.unique(rows, return_inverse=True)
        filled = rows != 0
    else:
        column, hashes = atoms.values(atom)
        values, of_value = np.unique(hashes, return_inverse=True)
        codes = np.append(of_value, -1)[column.codes]
        filled = (codes >= 0) & (values[codes] != 0)
    counts = np.bincount(codes[filled], minlength=len(values))
    bits = np.log2(max(int(filled.sum()), 1) / np.maximum(counts, 1)).astype(np.float32)
    return codes.astype(np.int32), np.where(filled, bits[codes], np.float32(0))


def candidates(table: Table, *, share: float = 0.3) -> Candidates:
    """All candidate pairs of a table."""
    atoms = Atoms(table)
    information: Information | None = None
    found: list[Pairs] = []
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
    pairs = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    left, right = np.divmod(pairs, max(table.size, 1))
    return Candidates(left.astype(np.int32), right.astype(np.int32), total, skipped)


def informed(pairs: Pairs, records: int, information: Information) -> Pairs:
    """Those of the packed pairs that agree on enough to be one person among ``records``."""
    needed = np.log2(records) - (LENIENCE_OF_MANY if records > MANY_RECORDS else LENIENCE)
    left, right = np.divmod(pairs, records)
    return pairs[information.of(left, right) >= needed]
