"""Columns, comparison levels and blocking keys: what is missing, what is alike, and that no order matters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.matching.fields import KINDS, LEVELS, kind_of
from profiles.matching.keys import Atoms, keys_of, rules
from profiles.matching.levels import compare
from profiles.matching.table import Table
from tests.profiles.invented import people


def levels_of(column, a, b):
    """The name of the level of two raw values."""
    table = Table.of({column: [a, b]})
    if column not in table:
        return "missing"
    (level,) = compare(table, np.array([0]), np.array([1]), [column])[column].tolist()
    return [*LEVELS[kind_of(column)], "missing"][level]


@pytest.mark.parametrize(
    ("column", "a", "b", "level"),
    [
        ("last_name", "LEFÈVRE", "lefevre", "exact"),
        ("last_name", "Garigou", "Garrigou", "close"),
        ("first_name", "Paul", "Pauline", "other"),
        ("first_name", "Nicolas", "Nicole", "other"),
        ("first_name", "Catherin", "Catherine", "close"),
        ("first_name", "P", "Paul", "short"),
        ("first_name", "Marie", "Anne Marie", "short"),
        ("first_name", "Jean-Pierre", "Jeanpierre", "close"),
        ("birth_date", "03/04/1980", "1980-04-03", "exact"),
        ("birth_date", "03/04/1980", "04/03/1980", "typo"),
        ("birth_date", "03/04/1980", "13/04/1980", "typo"),
        ("birth_date", "03/04/1980", "03/04/1991", "partial"),
        ("birth_date", "03/04/1980", "25/11/1980", "same_year"),
        ("birth_date", "03/04/1980", "25/11/1952", "other"),
        ("birth_date", "01/01/1900", "01/01/1900", "missing"),
        ("email", "a.galou@gmail.com", "AGALOU@GMAIL.COM", "exact"),
        ("email", "a.galou@orange.fr", "a.galou@free.fr", "same_user"),
        ("email", "pasdemail@orange.fr", "pasdemail@orange.fr", "missing"),
        ("phone", "06 71 84 93 20", "+33671849320", "exact"),
        ("phone", "671849320", "0671849320", "exact"),
        ("phone", "0692123456", "+262692123456", "exact"),
        ("phone", "0671849320", "0671849302", "typo"),
        ("phone", "0606060606", "0606060606", "missing"),
        ("postcode", "75011", "75012", "typo"),
        ("postcode", "31000", "31999", "same_department"),
        ("street", "12 r. des Lilas", "rue des lilas", "exact"),
        ("loyalty_number", "2990001234567", "2990001234576", "typo"),
        ("customer_id", "W123", "W124", "other"),
        ("gender", "Mme", "F", "exact"),
        ("favourite_colour", "Bleu", "bleu", "exact"),
    ],
)
def test_what_two_values_are_to_each_other(column, a, b, level):
    assert levels_of(column, a, b) == level
    assert levels_of(column, b, a) == level


def test_a_number_in_front_of_the_street_fills_a_missing_street_number():
    table = Table.of({"street": ["12 bis rue des Lilas", "rue des Lilas"], "street_number": ["", "14"]})
    assert [table["street_number"].value(record) for record in (0, 1)] == ["12 bis", "14"]
    assert table["street"].value(0) == table["street"].value(1)


def test_an_identifier_on_too_many_records_is_nobodys():
    shop, own = ["0380112233"] * 30, ["0671849320", "0671849321"]
    assert Table.of({"phone": shop + own})["phone"].codes.tolist() == [-1] * 30 + [1, 2]
    told = {"phone": ({"+33671849320": 400}, 5000)}
    assert Table.of({"phone": own}, told)["phone"].codes.tolist() == [-1, 1]


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="different lengths"):
        Table.of({"email": ["a@orange.fr"], "phone": []})


def test_names_typed_into_each_others_field_are_compared_crosswise():
    table = Table.of({"first_name": ["Brelum", "Kelnar"], "last_name": ["Kelnar", "Brelum"]})
    levels = compare(table, np.array([0]), np.array([1]), ["first_name", "last_name"])
    assert {name: level.tolist() for name, level in levels.items()} == {
        "first_name": [0],
        "last_name": [0],
        "swap": [1],
    }


words = st.text(alphabet="abcdeéi 'z-@.0127/", max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[words] * 5), min_size=2, max_size=6))
def test_levels_do_not_depend_on_which_record_stands_left(rows):
    columns = dict(
        zip(
            ("first_name", "last_name", "birth_date", "email", "street"), zip(*rows, strict=True), strict=True
        )
    )
    table = Table.of(columns)
    left, right = (side.ravel() for side in np.meshgrid(np.arange(len(rows)), np.arange(len(rows))))
    one, other = (compare(table, *sides, list(table.columns)) for sides in ((left, right), (right, left)))
    for name, levels in one.items():
        assert levels.tolist() == other[name].tolist()


def test_a_records_keys_depend_on_nothing_but_the_record():
    made = people(4)
    whole = keys_of(Table.of(made.columns))
    for record in (0, 3):
        alone = {name: [values[record]] for name, values in made.columns.items() if values[record]}
        assert keys_of(Table.of(alone)) == [whole[record]]


def test_stored_keys_bring_together_whom_the_batch_brings_together():
    table = Table.of(people(40).columns)
    stored = [{(key.rule, key.number) for key in keys} for keys in keys_of(table)]
    atoms = Atoms(table)
    for rule in rules(table.columns):
        batch = atoms.keys(rule)
        by_rule = [{number for name, number in keys if name == rule.name} for keys in stored]
        for one in range(0, table.size, 3):
            for other in range(one):
                assert bool(by_rule[one] & by_rule[other]) == bool(batch[one] and batch[one] == batch[other])


def test_identifiers_are_marked():
    (keys,) = keys_of(Table.of({"email": ["kelnar@orange.fr"], "device_id": ["dv12ab"]}))
    assert {key.rule for key in keys if key.identifier} == {"email", "device_id"}


def test_every_kind_has_levels():
    assert set(KINDS.values()) <= LEVELS.keys()
