"""How good a division of records into people is, against the truth: pairs, B-cubed, the best threshold in hindsight.

Two records of one profile are a pair; precision is the share of such pairs that are one person, recall the share of the
true pairs that share a profile. Both count after clustering: a chain of links makes pairs that nobody compared.
B-cubed (Bagga and Baldwin, 1998) asks the same of each record and takes the mean, so that one large profile weighs as
many records and not as many pairs. Pure, standard library only.
"""

import csv
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple


class Score(NamedTuple):
    precision: float
    recall: float
    f1: float
    b3_f1: float


def read(path: Path, value: str) -> dict[str, str]:
    """What the file says of each record: column `value` by `record_id`. A record named twice is a ValueError."""
    told: dict[str, str] = {}
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["record_id"] in told:
                raise ValueError(f"{path.name} names {row['record_id']} twice")
            told[row["record_id"]] = row[value]
    return told


def score(found: Mapping[str, str], truth: Mapping[str, str]) -> Score:
    """The profiles that were found (record -> profile) against the people (record -> person). A record without a
    profile stands alone. A record that the truth does not know is a ValueError."""
    strangers = found.keys() - truth.keys()
    if strangers:
        raise ValueError(f"{len(strangers)} records are not in the truth, {min(strangers)} for one")
    profiles: Counter = Counter()
    people: Counter = Counter(truth.values())
    shared: Counter = Counter()
    for record, person in truth.items():
        profile = (found.get(record), None) if found.get(record) else (None, record)
        profiles[profile] += 1
        shared[profile, person] += 1
    right, said, true = _pairs(shared.values()), _pairs(profiles.values()), _pairs(people.values())
    precision, recall = right / said if said else 1.0, right / true if true else 1.0
    b3_precision = sum(n * n / profiles[profile] for (profile, _), n in shared.items()) / len(truth)
    b3_recall = sum(n * n / people[person] for (_, person), n in shared.items()) / len(truth)
    return Score(precision, recall, _f1(precision, recall), _f1(b3_precision, b3_recall))


def best_f1(links: Iterable[tuple[float, str, str]], truth: Mapping[str, str]) -> tuple[float, float]:
    """The highest pairwise F1 that connected components over the links above one threshold reach, and the weight of
    that threshold. `links` are (weight, record, record); those of one weight go in together, as a threshold has it."""
    true = _pairs(Counter(truth.values()).values())
    clusters = _Clusters(truth)
    best = (_f1(1.0, 0.0 if true else 1.0), float("inf"))
    for weight, some in groupby(sorted(links, key=itemgetter(0), reverse=True), key=itemgetter(0)):
        for _weight, one, other in some:
            clusters.join(one, other)
        said = clusters.pairs
        f1 = _f1(clusters.right / said if said else 1.0, clusters.right / true if true else 1.0)
        best = max(best, (f1, weight), key=itemgetter(0))
    return best


def recall_with_review(
    automatic: Mapping[str, str], review: Iterable[tuple[str, str]], truth: Mapping[str, str]
) -> float:
    """Recall once somebody who is never wrong has answered every pair of the queue: the automatic profiles, joined by
    the queued pairs that are one person."""
    clusters = _Clusters(truth)
    first: dict[str, str] = {}
    for record, profile in automatic.items():
        if profile:
            clusters.join(first.setdefault(profile, record), record)
    for one, other in review:
        if truth[one] == truth[other]:
            clusters.join(one, other)
    true = _pairs(Counter(truth.values()).values())
    return clusters.right / true if true else 1.0


class _Clusters:
    """Records joined one link at a time, with the pairs inside clusters, and the right ones, counted on the way."""

    def __init__(self, truth: Mapping[str, str]) -> None:
        self.pairs = self.right = 0
        self._truth = truth
        self._parent: dict[str, str] = {}
        # Of a cluster's root, once it has more than one record.
        self._people: dict[str, Counter] = {}
        self._size: dict[str, int] = {}

    def join(self, one: str, other: str) -> None:
        large, small = self._root(one), self._root(other)
        if large == small:
            return
        of_large, of_small = self._of(large), self._of(small)
        if len(of_large) < len(of_small):
            large, small, of_large, of_small = small, large, of_small, of_large
        of_one, of_other = self._size.pop(large, 1), self._size.pop(small, 1)
        self.pairs += of_one * of_other
        self.right += sum(of_large[person] * n for person, n in of_small.items())
        # Only what is new is touched: one cluster may come to hold half of all records.
        of_large.update(of_small)
        self._people.pop(small, None)
        self._people[large], self._size[large] = of_large, of_one + of_other
        self._parent[small] = large

    def _root(self, record: str) -> str:
        parent = self._parent
        while (above := parent.get(record)) is not None:
            # Halve the way for the next one who asks.
            if (next_above := parent.get(above)) is not None:
                parent[record] = next_above
            record = above
        return record

    def _of(self, root: str) -> Counter:
        return self._people.get(root) or Counter((self._truth[root],))


def links_of(path: Path) -> Iterator[tuple[float, str, str]]:
    """The lines of a file of links: `record_id_l,record_id_r,match_weight`."""
    with path.open(newline="", encoding="utf-8") as stream:
        lines = csv.reader(stream)
        next(lines)
        for one, other, weight in lines:
            # A record is in many links: its name is kept once.
            yield float(weight), sys.intern(one), sys.intern(other)


def _pairs(sizes: Iterable[int]) -> int:
    return sum(n * (n - 1) // 2 for n in sizes)


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
