"""From pairs to persons: guarded agglomeration.

Plain connected components make one wrong pair glue two families together. Here the heaviest pairs are joined first, and
two clusters are joined only if their records agree *as groups*: no automatic join against a contradiction, and the mean
evidence across the two groups must speak for one person.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from profiles.matching.blocking import blocking_keys, limit
from profiles.matching.decision import Match, compare
from profiles.matching.records import Comparable
from profiles.matching.weights import MODEL, Frequency, Model, frequencies

# Two groups larger than this together are not joined without a person: no customer has so many records, a junk value
# does.
LARGEST_CLUSTER = 150

# Bits a single pair may bring to the mean, either way: one shared e-mail must not outvote ten contradictions.
EVIDENCE_FLOOR, EVIDENCE_CEILING = -12.0, 10.0

# Mean evidence, in bits, that two groups need to be joined.
GUARD = 2.0


@dataclass(frozen=True, slots=True)
class Resolution:
    """``clusters`` are lists of record ids joined automatically, singletons included. ``review`` holds the pairs of
    record ids, heaviest first, that would join two clusters if somebody agreed. ``proposed`` are the clusters as they
    would stand if every such proposal were accepted. ``skipped_keys`` are blocking keys too frequent to be used."""

    clusters: list[list[int]]
    proposed: list[list[int]]
    review: list[tuple[int, int, Match]]
    skipped_keys: list[str]


def candidate_pairs(records: Sequence[Comparable]) -> tuple[set[tuple[int, int]], list[str]]:
    """Positions of records that share a usable blocking key, and the keys that were too frequent to use."""
    holders: dict[str, list[int]] = defaultdict(list)
    for position, record in enumerate(records):
        for key in blocking_keys(record):
            holders[key].append(position)
    pairs: set[tuple[int, int]] = set()
    skipped = []
    for key, positions in holders.items():
        if len(positions) > limit(key):
            skipped.append(key)
        elif len(positions) > 1:
            pairs.update(combinations(positions, 2))
    return pairs, sorted(skipped)


def resolve(
    records: Sequence[Comparable], frequency: Frequency | None = None, model: Model | None = None
) -> Resolution:
    """Cluster ``records``, each by itself (``profile_id`` is not read). The order of the records does not matter.

    ``frequency`` and ``model`` default to what the records themselves say: counted values, and the default tables for
    a brand of this size.
    """
    ordered = sorted(records, key=lambda record: record.record_id)
    frequency = frequency or frequencies(ordered)
    model = model or MODEL.for_brand(len(ordered))
    pairs, skipped = candidate_pairs(ordered)
    matches: dict[tuple[int, int], Match] = {}
    for pair in pairs:
        match = compare(ordered[pair[0]], ordered[pair[1]], frequency, model)
        if match.verdict != "different":
            matches[pair] = match
    groups = _Groups(ordered, frequency, model, matches)
    heaviest = sorted(matches, key=lambda pair: (-matches[pair].weight, pair))
    for pair in heaviest:
        if matches[pair].verdict == "merge":
            groups.join(*pair)
    clusters = groups.as_record_ids()
    waiting = [pair for pair in heaviest if groups.apart(*pair)]
    for pair in waiting:
        groups.join(*pair)
    review = [(ordered[i].record_id, ordered[j].record_id, matches[i, j]) for i, j in waiting]
    return Resolution(clusters, groups.as_record_ids(), review, skipped)


class _Groups:
    """Disjoint groups of record positions that join only when the evidence between all their members allows it."""

    def __init__(
        self,
        records: Sequence[Comparable],
        frequency: Frequency,
        model: Model,
        matches: dict[tuple[int, int], Match],
    ) -> None:
        self.records, self.frequency, self.model, self.known = records, frequency, model, dict(matches)
        self.group_of = list(range(len(records)))
        self.members = {position: [position] for position in range(len(records))}

    def apart(self, i: int, j: int) -> bool:
        return self.group_of[i] != self.group_of[j]

    def join(self, i: int, j: int) -> bool:
        """Join the groups of two positions unless the guard refuses; whether they are now one."""
        left, right = self.group_of[i], self.group_of[j]
        if left == right:
            return True
        if len(self.members[left]) + len(self.members[right]) > LARGEST_CLUSTER or not self._agree(
            left, right
        ):
            return False
        kept, gone = min(left, right), max(left, right)
        for position in self.members.pop(gone):
            self.group_of[position] = kept
            self.members[kept].append(position)
        return True

    def _agree(self, left: int, right: int) -> bool:
        total, count = 0.0, 0
        for i in self.members[left]:
            for j in self.members[right]:
                match = self._match(min(i, j), max(i, j))
                bits = match.weight - self.model.prior
                total += max(EVIDENCE_FLOOR, min(EVIDENCE_CEILING, bits))
                count += 1
        return total / count >= GUARD

    def _match(self, i: int, j: int) -> Match:
        if (i, j) not in self.known:
            self.known[i, j] = compare(self.records[i], self.records[j], self.frequency, self.model)
        return self.known[i, j]

    def as_record_ids(self) -> list[list[int]]:
        return sorted(
            sorted(self.records[position].record_id for position in group) for group in self.members.values()
        )
