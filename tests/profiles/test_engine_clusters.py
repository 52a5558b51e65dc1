"""Clusters: the guard, what people decided, and that the order of records does not matter."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.matching.clustering import cluster, components, guard_for, missing_pairs


@dataclass
class Pairs:
    left: np.ndarray
    right: np.ndarray
    weight: np.ndarray
    evidence: np.ndarray


def pairs(*rows):
    left, right, weight, evidence = zip(*rows, strict=True)
    return Pairs(np.array(left), np.array(right), np.array(weight, float), np.array(evidence, float))


def groups(n, told, **bound):
    labels = cluster(n, told.left, told.right, told, **bound)
    return sorted(sorted(np.flatnonzero(labels == one).tolist()) for one in set(labels.tolist()))


def test_one_good_pair_does_not_glue_two_families_together():
    family = [(0, 1, 9, 9), (2, 3, 9, 9), (1, 2, 4, 4), (0, 2, -9, -9), (0, 3, -9, -9), (1, 3, -9, -9)]
    assert groups(4, pairs(*family)) == [[0, 1], [2, 3]]
    assert groups(4, pairs(*family[:3])) == [[0, 1, 2, 3]]


def test_what_people_joined_stays_and_what_they_parted_never_meets():
    told = pairs((0, 1, 9, 9), (1, 2, 9, 9), (0, 2, 9, 9))
    assert groups(3, told, never=(np.array([2]), np.array([0]))) in ([[0, 1], [2]], [[0], [1, 2]])
    assert groups(4, told, together=np.array([0, 1, 2, 0])) == [[0, 1, 2, 3]]
    parted = {"together": np.array([0, 1, 2, 0]), "never": (np.array([3]), np.array([1]))}
    assert groups(4, told, **parted) in ([[0, 2, 3], [1]], [[0, 3], [1, 2]])


scored = st.tuples(st.integers(0, 11), st.integers(0, 11), st.integers(-8, 9), st.integers(-9, 9))
many = st.lists(scored.filter(lambda row: row[0] != row[1]), min_size=1, max_size=40).map(
    lambda rows: list({frozenset(row[:2]): row for row in rows}.values())
)


@settings(max_examples=80, deadline=None)
@given(many, st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=4), st.randoms())
def test_any_order_gives_the_same_clusters_and_what_was_parted_stays_apart(rows, parted, shuffle):
    # Different weights: between equals the first records win, and then who is first matters.
    rows = [(i, j, w + k / 100, e) for k, (i, j, w, e) in enumerate(rows)]
    parted = [(i, j) for i, j in parted if i != j] or [(0, 1)]
    never = tuple(np.array(side) for side in zip(*parted, strict=True))
    expected = groups(12, pairs(*rows), never=never)
    for i, j in parted:
        assert not any(i in group and j in group for group in expected)
    numbers = list(range(12))
    shuffle.shuffle(numbers)
    shuffle.shuffle(rows)
    renamed = pairs(*[(numbers[i], numbers[j], w, e) for i, j, w, e in rows])
    found = groups(12, renamed, never=tuple(np.array([numbers[x] for x in side]) for side in never))
    back = {new: old for old, new in enumerate(numbers)}
    assert sorted(sorted(back[x] for x in group) for group in found) == expected


@settings(max_examples=50, deadline=None)
@given(many)
def test_components_are_those_of_a_walk(rows):
    told = pairs(*rows)
    label = components(12, told.left, told.right)
    walked = list(range(12))
    for _ in range(12):
        for i, j in zip(told.left, told.right, strict=True):
            walked[i] = walked[j] = min(walked[i], walked[j])
    assert label.tolist() == walked


def test_pairs_that_no_rule_brought_together_are_completed():
    told = pairs((0, 1, 5, 5), (1, 2, 5, 5), (3, 4, 5, 5))
    left, right = missing_pairs(components(5, told.left, told.right), told.left, told.right)
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(0, 2)]


def test_a_larger_brand_is_guarded_more():
    assert [guard_for(size) for size in (10, 10_000, 100_000, 1_000_000)] == [0, 0, 0.5, 1.0]
