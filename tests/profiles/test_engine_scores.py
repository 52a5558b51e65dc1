"""Models and scores: what is learnt, what a young brand starts with, and that the parts add up to the whole."""

import numpy as np
import pytest

from profiles.matching.blocks import candidates
from profiles.matching.learning import Patterns, columns_of, factors, learn, learn_from_patterns, merged
from profiles.matching.levels import compare
from profiles.matching.model import CLASSES, Model
from profiles.matching.reasons import evidence, explain, sentence
from profiles.matching.scoring import score
from profiles.matching.table import Table
from tests.profiles.invented import people


@pytest.fixture(scope="module")
def table():
    return Table.of(people(420).columns)


@pytest.fixture(scope="module")
def found(table):
    return candidates(table)


@pytest.fixture(scope="module")
def model(table, found):
    return learn(table, found.left, found.right)


def test_a_model_survives_json_to_the_last_bit(table, found, model):
    again = Model.from_json(model.to_json())
    one, other = (score(table, found.left, found.right, either) for either in (model, again))
    assert (one.weight == other.weight).all()
    assert again.to_json() == model.to_json()


def test_probabilities_add_up_within_each_pattern_of_missing_values(model):
    for comparison in model.comparisons:
        for name in CLASSES:
            table = getattr(comparison, name)
            sums = np.bincount(comparison.masks, table)
            present = np.bincount(comparison.masks) > 0
            assert np.allclose(sums[present], 1), (comparison.name, name)


def test_town_and_postcode_are_one_comparison_where_they_tell_one_place():
    made = people(420)
    del made.columns["street"]
    assert ("address", ("postcode", "city")) in factors(Table.of(made.columns))


def test_patterns_counted_by_several_workers_teach_the_same(table, found, model):
    made_of = factors(table)
    columns = columns_of(made_of)
    halves = [(found.left[part], found.right[part]) for part in (slice(0, None, 2), slice(1, None, 2))]
    counted = [Patterns.of(made_of, compare(table, *half, columns)) for half in halves]
    together = learn_from_patterns(table, made_of, merged(counted))
    for one, other in zip(model.comparisons, together.comparisons, strict=True):
        assert np.allclose(one.m, other.m, rtol=1e-6)


def test_scores_are_symmetric(table, found, model):
    one = score(table, found.left, found.right, model)
    other = score(table, found.right, found.left, model)
    assert np.array_equal(one.weight, other.weight)
    assert np.array_equal(one.evidence, other.evidence)


def test_a_neighbourhood_scores_as_the_whole_where_the_brands_counts_are_told(table, found, model):
    counts = {
        name: (dict(zip(column.values, column.counts.tolist(), strict=True)), column.filled)
        for name, column in table.columns.items()
    }
    pairs = slice(0, 60)
    whole = score(table, found.left[pairs], found.right[pairs], model)
    rows = np.concatenate([found.left[pairs], found.right[pairs]])
    few = Table.of({name: [c.value(row) for row in rows] for name, c in table.columns.items()}, counts)
    again = score(few, np.arange(60), np.arange(60, 120), model, counts)
    assert np.allclose(whole.weight, again.weight)


def test_the_lines_of_the_evidence_add_up_to_the_weight(table, found, model):
    scores = score(table, found.left, found.right, model)
    for place in range(0, len(found.left), 97):
        pair = int(found.left[place]), int(found.right[place])
        lines = evidence(table, pair, model, scores, place)
        assert sum(line["weight"] for line in lines) == pytest.approx(scores.weight[place], abs=0.02)


FAMILY = {
    "first_name": ["Pauline", "Pauline", "Hugor", "Paul"],
    "last_name": ["Velzan", "Velsan", "Velzan", "Velzan"],
    "phone": ["06 71 84 93 20", "+33671849320", "0671849320", "0671849320"],
    "postcode": ["21000", "21000", "21000", "21000"],
    "birth_date": ["1980-03-04", "", "", ""],
}


def test_a_young_brand_has_a_model_that_tells_a_slip_from_a_spouse():
    table = Table.of(FAMILY)
    model = Model.prior(table).for_size(50)
    same, spouse, brother = score(table, np.array([0, 0, 0]), np.array([1, 2, 3]), model).weight
    assert same > 3
    assert spouse < -2
    assert brother < -2


def test_reasons_are_told_in_both_languages():
    table = Table.of(FAMILY)
    lines, rule = explain(table, 0, 2, Model.prior(table))
    assert rule == "household"
    assert "même téléphone (+33671849320)" in sentence(lines, "fr", rule)
    assert "not a first name: probably one household" in sentence(lines, "en", rule)
    lines, rule = explain(table, 0, 1, Model.prior(table))
    assert rule == ""
    assert sentence(lines, "en").startswith("For: same phone (+33671849320), same postcode (21000)")


def test_a_growing_brand_asks_for_more(model):
    assert model.for_size(10 * model.records).prior_bits == pytest.approx(
        model.prior_bits - np.log2(10), abs=0.05
    )
