"""From pairs to persons: guarded agglomeration.

Plain connected components make one wrong pair glue two families together. Here the heaviest pairs are joined first, and
two clusters are joined only if their records agree *as groups*: no join against a contradiction between any two of
their members, and the mean evidence across the two groups must speak for one person.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from profiles.matching import comparisons
from profiles.matching.blocking import blocking_keys, limit
from profiles.matching.decision import Match, compare
from profiles.matching.records import Comparable
from profiles.matching.weights import MODEL, Frequency, Model, frequencies

# Positions of two records in the sorted list, smaller first.
Pair = tuple[int, int]

# Two groups larger than this together are not joined without a person: no customer has so many records, a junk value
# does.
LARGEST_CLUSTER = 150

# Bits a single pair may bring to the mean, either way: one shared e-mail must not outvote ten contradictions.
EVIDENCE_FLOOR, EVIDENCE_CEILING = -12.0, 10.0

# Mean evidence, in bits and without the prior, that two groups need to be joined.
GUARD = 2.0

# A rule that rests on an identifier given by a machine to one person: the guard does not question it.
_CERTAIN = frozenset({"same_customer"})


@dataclass(frozen=True, slots=True)
class Resolution:
    """``clusters`` are lists of record ids joined automatically, singletons included. ``review`` holds the pairs of
    record ids, heaviest first, that would join two clusters if somebody agreed. ``proposed`` are the clusters as they
    would stand if every such proposal were accepted. ``skipped_keys`` are blocking keys too frequent to be used."""

    clusters: list[list[int]]
    proposed: list[list[int]]
    review: list[tuple[int, int, Match]]
    skipped_keys: list[str]


def candidate_pairs(records: Sequence[Comparable]) -> tuple[set[Pair], list[str]]:
    """Positions of records that share a usable blocking key, and the keys that were too frequent to use."""
    holders: dict[str, list[int]] = defaultdict(list)
    for position, record in enumerate(records):
        for key in blocking_keys(record):
            holders[key].append(position)
    pairs: set[Pair] = set()
    skipped = []
    for key, positions in holders.items():
        if len(positions) > limit(key):
            skipped.append(key)
        elif len(positions) > 1:
            pairs.update(combinations(positions, 2))
    return pairs, sorted(skipped)


def agree(
    left: Sequence[Comparable],
    right: Sequence[Comparable],
    frequency: Frequency | None = None,
    model: Model = MODEL,
) -> bool:
    """The guard: whether two groups of records may be one person, judged over every pair across them.

    False as soon as first names or birth dates exclude each other in a pair that would not match by its weight either.
    """
    return _agree([compare(a, b, frequency, model) for a in left for b in right], model)


def _agree(across: Iterable[Match], model: Model) -> bool:
    total, count = 0.0, 0
    for match in across:
        if match.contradicted and match.weight < model.review:
            return False
        total += max(EVIDENCE_FLOOR, min(EVIDENCE_CEILING, match.weight - model.prior))
        count += 1
    return count > 0 and total / count >= GUARD


def resolve(
    records: Sequence[Comparable],
    frequency: Frequency | None = None,
    model: Model | None = None,
    *,
    joined: Iterable[Sequence[int]] = (),
    never: Iterable[tuple[int, int]] = (),
) -> Resolution:
    """Cluster ``records``. The order of the records does not matter, and ``profile_id`` is not read.

    ``frequency`` and ``model`` default to what the records themselves say: counted values, and the default tables for
    a brand of this size. ``joined`` are groups of record ids that are one person already, whatever the weights say;
    ``never`` are pairs of record ids that somebody decided are two persons: neither they nor the groups they belong to
    are joined or proposed.
    """
    ordered = sorted(records, key=lambda record: record.record_id)
    frequency = frequency or frequencies(ordered)
    model = model or MODEL.for_brand(len(ordered))
    pairs, skipped = candidate_pairs(ordered)
    matches: dict[Pair, Match] = {}
    for pair in pairs:
        match = compare(ordered[pair[0]], ordered[pair[1]], frequency, model)
        if match.verdict != "different":
            matches[pair] = match
    torn = _torn_between_namesakes(ordered, matches)
    groups = _Groups(ordered, frequency, model, matches)
    position_of = {record.record_id: position for position, record in enumerate(ordered)}
    for first, *others in joined:
        for other in others:
            groups.unite(position_of[first], position_of[other])
    for left, right in never:
        groups.keep_apart(position_of[left], position_of[right])
    heaviest = sorted(
        matches, key=lambda pair: (matches[pair].rule not in _CERTAIN, -matches[pair].weight, pair)
    )
    for pair in heaviest:
        if matches[pair].verdict == "merge" and pair not in torn:
            groups.join(*pair)
    clusters = groups.as_record_ids()
    waiting = [pair for pair in heaviest if groups.apart(*pair)]
    # Judged before any of them is accepted: what the guard refuses would only waste the time of whoever reviews.
    review = [
        (ordered[i].record_id, ordered[j].record_id, matches[i, j])
        for i, j in waiting
        if groups.may_join(i, j)
    ]
    for pair in waiting:
        groups.join(*pair)
    return Resolution(clusters, groups.as_record_ids(), review, skipped)


def _torn_between_namesakes(records: Sequence[Comparable], matches: dict[Pair, Match]) -> set[Pair]:
    """Automatic pairs of a record without birth date that fits two namesakes, such as a father and his son, equally:
    which of them it is, somebody must say."""
    partners: dict[int, set[int]] = defaultdict(set)
    for (i, j), match in matches.items():
        if match.verdict == "merge" and match.rule == "":
            partners[i].add(j)
            partners[j].add(i)
    torn = set()
    for i, own in partners.items():
        if records[i].birth_date is not None:
            continue
        dated = sorted(j for j in own if records[j].birth_date is not None)
        for j, k in combinations(dated, 2):
            if comparisons.birth_date(records[j].birth_date, records[k].birth_date) == "other":
                torn |= {(min(i, j), max(i, j)), (min(i, k), max(i, k))}
    return torn


class _Groups:
    """Disjoint groups of record positions that join only when the evidence between all their members allows it."""

    def __init__(
        self, records: Sequence[Comparable], frequency: Frequency, model: Model, matches: dict[Pair, Match]
    ) -> None:
        self.records, self.frequency, self.model, self.known = records, frequency, model, dict(matches)
        self.group_of = list(range(len(records)))
        self.members = {position: [position] for position in range(len(records))}
        self.enemies: dict[int, set[int]] = defaultdict(set)

    def keep_apart(self, i: int, j: int) -> None:
        """Never let the groups of two positions become one."""
        self.enemies[i].add(j)
        self.enemies[j].add(i)

    def apart(self, i: int, j: int) -> bool:
        return self.group_of[i] != self.group_of[j]

    def may_join(self, i: int, j: int) -> bool:
        """Whether the guard lets the groups of two positions become one."""
        left, right = self.members[self.group_of[i]], self.members[self.group_of[j]]
        if len(left) + len(right) > LARGEST_CLUSTER or self._kept_apart(left, right):
            return False
        if self._match(i, j).rule in _CERTAIN:
            return True
        return _agree((self._match(x, y) for x in left for y in right), self.model)

    def join(self, i: int, j: int) -> None:
        """Make one of the groups of two positions, unless the guard refuses."""
        if self.apart(i, j) and self.may_join(i, j):
            self.unite(i, j)

    def unite(self, i: int, j: int) -> None:
        """Make one of the groups of two positions, unasked."""
        if not self.apart(i, j):
            return
        kept, gone = sorted((self.group_of[i], self.group_of[j]))
        for position in self.members.pop(gone):
            self.group_of[position] = kept
            self.members[kept].append(position)

    def _kept_apart(self, left: list[int], right: list[int]) -> bool:
        return any(not self.enemies[i].isdisjoint(right) for i in left if i in self.enemies)

    def _match(self, i: int, j: int) -> Match:
        pair = (min(i, j), max(i, j))
        if pair not in self.known:
            self.known[pair] = compare(
                self.records[pair[0]], self.records[pair[1]], self.frequency, self.model
            )
        return self.known[pair]

    def as_record_ids(self) -> list[list[int]]:
        """Record ids group by group, sorted."""
        return sorted(
            sorted(self.records[position].record_id for position in group) for group in self.members.values()
        )
