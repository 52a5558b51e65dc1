"""Which records are one person: the cases a franchise meets, the rules, and what holds for any two records."""

import doctest
import random
from math import isclose, log2
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.matching import FREQUENT, MODEL, Comparable, agree, blocking_keys, compare, resolve, sentence
from profiles.matching import comparisons as levels
from profiles.matching.blocking import limit
from profiles.matching.clusters import LARGEST_CLUSTER
from profiles.matching.weights import frequencies, term_frequency_bits

PAUL = {"first_name": "Paul", "last_name": "Garrigou", "postcode": "31000", "city": "Toulouse"}
MOBILE, OTHER_MOBILE, LANDLINE = "06 71 84 93 20", "07 52 18 64 93", "05 61 47 28 93"
HOME = {"street": "12 rue des Lilas", "postcode": "31000", "city": "Toulouse"}


def record(record_id=1, source="till", **fields):
    return Comparable.from_fields(fields, record_id=record_id, source=source)


def verdict(one, other, **options):
    match = compare(record(1, **one), record(2, **other), **options)
    return match.verdict, match.rule


# One person ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"email": "paul.garrigou@orange.fr"}, {"email": "Paul.Garrigou@orange.fr "}, id="email"),
        pytest.param({"phone": MOBILE}, {"phone": "+33671849320"}, id="mobile"),
        pytest.param({"birth_date": "1985-03-12"}, {"birth_date": "12/03/1985"}, id="birth date"),
        pytest.param({"phone": MOBILE, "first_name": "P"}, {"phone": MOBILE}, id="initial"),
        pytest.param(
            {"phone": MOBILE, "last_name": "Garigou"}, {"phone": MOBILE}, id="typing error in the name"
        ),
        pytest.param(
            {"phone": MOBILE, "first_name": "Jean-Paul"},
            {"phone": MOBILE, "first_name": "Jeanpaul"},
            id="compound",
        ),
        pytest.param(
            {"phone": MOBILE, "first_name": "Garrigou", "last_name": "Paul", "email": "pg@free.fr"},
            {"phone": MOBILE, "email": "pg@free.fr"},
            id="names exchanged",
        ),
        pytest.param(
            {"phone": MOBILE, "first_name": "Babette", "birth_date": "1985-03-12"},
            {"phone": MOBILE, "first_name": "Élisabeth", "birth_date": "1985-03-12"},
            id="nickname",
        ),
        pytest.param(
            {"email": "paul.garrigou@orange.fr", "birth_date": "1985-03-12"},
            {"email": "paul.garigou@orange.fr", "birth_date": "1985-12-03"},
            id="typing errors in the e-mail and the date",
        ),
    ],
)
def test_one_person_is_recognised(one, other):
    assert verdict(PAUL | one, PAUL | other) == ("merge", "")


def test_the_same_customer_number_of_one_source_is_one_person_whatever_else_is_said():
    one = record(1, "ecom", customer_id="W123", first_name="Paul", last_name="Garrigou")
    other = record(2, "ecom", customer_id="w 123", first_name="Anne", last_name="Tessier")
    elsewhere = record(3, "crm", customer_id="W123", first_name="Anne", last_name="Tessier")
    assert (compare(one, other).verdict, compare(one, other).rule) == ("merge", "same_customer")
    assert compare(one, elsewhere).verdict == "different"


def test_the_same_card_is_one_person_while_first_names_do_not_contradict():
    card = {"card": "2990 0005 1714 5"}
    assert verdict(card | {"first_name": "Paul"}, card | {"first_name": "P"}) == ("merge", "same_card")
    assert verdict(card, card | {"first_name": "Paul", "last_name": "Garrigou"}) == ("merge", "same_card")
    assert verdict(card | PAUL, card | PAUL | {"first_name": "Sylvie"}) == ("different", "household")


# Two persons ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shared", [{"email": "famille.garrigou@free.fr"}, {"phone": MOBILE}, {"phone": LANDLINE}]
)
def test_a_contact_shared_under_two_first_names_is_a_household(shared):
    assert verdict(PAUL | HOME | shared, PAUL | HOME | shared | {"first_name": "Sylvie"}) == (
        "different",
        "household",
    )


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Paul", "Pauline"),
        ("Louis", "Louise"),
        ("Julien", "Julie"),
        ("Léo", "Léa"),
        ("Nicolas", "Nicole"),
        ("Michel", "Michèle"),
    ],
)
def test_masculine_and_feminine_forms_are_two_persons(a, b):
    shared = PAUL | HOME | {"phone": MOBILE, "email": "famille.garrigou@free.fr"}
    assert verdict(shared | {"first_name": a}, shared | {"first_name": b}) == ("different", "household")


def test_twins_are_never_merged_and_somebody_looks():
    twins = PAUL | HOME | {"phone": MOBILE, "email": "maman@free.fr", "birth_date": "2005-06-01"}
    assert verdict(twins, twins | {"first_name": "Sylvie"}) == ("review", "household")


def test_two_first_names_never_merge_whatever_the_weight():
    one = PAUL | HOME | {"birth_date": "1985-03-12", "email": "p.garrigou@free.fr"}
    other = one | {"first_name": "Sylvie", "email": "s.garrigou@free.fr"}
    assert compare(record(1, **one), record(2, **other)).weight > MODEL.automatic
    assert verdict(one, other) == ("review", "household")


def test_father_and_son_of_one_name_are_not_merged():
    house = PAUL | HOME | {"phone": LANDLINE}
    assert verdict(house, house) == ("review", "name_and_address")
    assert verdict(house | {"birth_date": "1950-02-03"}, house) == ("review", "name_and_address")
    father = house | {"birth_date": "1950-02-03", "email": "garrigou@free.fr", "phone": MOBILE}
    assert verdict(father, father | {"birth_date": "1978-09-21"})[0] != "merge"


def test_a_shared_card_with_two_birth_dates_is_not_merged():
    card = PAUL | {"card": "2990000517145"}
    assert verdict(card | {"birth_date": "1950-02-03"}, card | {"birth_date": "1978-09-21"})[0] != "merge"
    alone = {"card": "2990000517145"}
    one, other = alone | {"birth_date": "1950-02-03"}, alone | {"birth_date": "1978-09-21"}
    assert verdict(one, other, model=MODEL.for_brand(1_000_000)) == ("different", "")


def test_namesakes_in_two_towns_stay_apart():
    elsewhere = PAUL | {"postcode": "59000", "city": "Lille"}
    assert verdict(PAUL, elsewhere)[0] != "merge"
    assert verdict(PAUL, elsewhere, model=MODEL.for_brand(100_000)) == ("different", "")
    assert verdict(PAUL, elsewhere, frequency=lambda field, value: 0.01) == ("different", "")


def test_the_name_alone_never_merges_however_rare():
    rare = {"first_name": "Théophraste", "last_name": "Zygomalas"}
    match = compare(record(1, **rare), record(2, **rare), lambda field, value: 1e-6)
    assert match.weight > MODEL.automatic
    assert (match.verdict, match.rule) == ("review", "name_alone")


def test_a_device_alone_never_merges():
    device = {"device": "dv-81c4"}
    assert verdict(device, device)[0] != "merge"
    assert verdict(device | {"email": "paul@free.fr"}, device | {"email": "sylvie@free.fr"})[0] != "merge"


def test_nothing_in_common_is_nothing():
    assert verdict({}, {}) == ("different", "")
    assert verdict(PAUL, {"first_name": "Anne", "last_name": "Tessier", "postcode": "59000"}) == (
        "different",
        "",
    )


# The weights ---------------------------------------------------------------------------------------------------


def test_every_table_holds_probabilities_that_sum_to_one():
    for field, rows in MODEL.fields.items():
        for column in ("m", "u", "h"):
            values = [getattr(level, column) for level in rows.values()]
            assert all(0 < value < 1 for value in values), field
            assert sum(values) == pytest.approx(1, abs=0.02), (field, column)


def test_the_tables_name_exactly_the_levels_that_comparisons_give():
    assert set(MODEL.fields["first_name"]) == set(MODEL.fields["last_name"]) == set(levels.NAME_LEVELS)
    assert set(MODEL.fields["birth_date"]) == set(levels.BIRTH_LEVELS)
    assert set(MODEL.fields["email"]) == set(levels.EMAIL_LEVELS)
    assert set(MODEL.fields["phone"]) == set(MODEL.fields["card"]) == set(levels.NUMBER_LEVELS)
    assert set(MODEL.fields["address"]) == set(levels.ADDRESS_LEVELS)


def test_a_weight_is_fellegi_and_sunters_by_hand():
    match = compare(record(1, birth_date="1985-03-12"), record(2, birth_date="1985-03-12"))
    p_match, p_household = 2.3 / 10_000, 4.2 / 10_000
    row = MODEL.fields["birth_date"]["exact"]
    assert match.weight == pytest.approx(log2(p_match * row.m / (row.u + p_household * row.h)))
    assert match.probability == pytest.approx(1 / (1 + 2**-match.weight))


def test_among_more_records_the_same_agreement_says_less():
    a, b = record(1, **PAUL, phone=MOBILE), record(2, **PAUL, phone=MOBILE)
    small, large = MODEL.for_brand(1_000), MODEL.for_brand(1_000_000)
    assert compare(a, b, model=small).weight > compare(a, b).weight > compare(a, b, model=large).weight


def test_agreeing_on_a_rare_surname_counts_for_more_than_on_a_common_one():
    a, b = record(1, **PAUL), record(2, **PAUL)
    rare = compare(a, b, lambda field, value: 0.00001)
    common = compare(a, b, lambda field, value: 0.02)
    assert rare.weight > compare(a, b).weight > common.weight
    assert term_frequency_bits(MODEL.fields["last_name"]["exact"], None) == 0


def test_two_established_first_names_are_two_persons_where_one_would_be_a_slip():
    marie, marine = {"first_name": "Marie"}, {"first_name": "Marine"}
    shared = PAUL | {"phone": MOBILE}
    both_known = verdict(shared | marie, shared | marine, frequency=lambda field, value: 0.01)
    one_known = verdict(
        shared | marie, shared | marine, frequency=lambda field, value: None if value == "marine" else 0.01
    )
    assert both_known == ("different", "household")
    assert one_known == ("merge", "")


def test_a_handful_of_records_tells_nothing_about_frequency():
    few = frequencies([record(n, **PAUL) for n in range(20)])
    many = frequencies(
        [record(n, **PAUL | {"last_name": "Garrigou" if n % 4 else "Roux"}) for n in range(600)]
    )
    assert few("last_name", "garrigou") is None
    assert many("last_name", "roux") == pytest.approx(0.25)
    assert many("last_name", "unseen") is None
    assert many("birth_date", "1985-03-12") is None


# Levels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "level"),
    [
        ("marie", "marie", "exact"),
        ("jean pierre", "jeanpierre", "exact"),
        ("marie", "", None),
        ("m", "marie", "initial"),
        ("m", "paul", "other"),
        ("veronique", "vernique", "close"),
        ("fred", "frederic", "short"),
        ("jean", "jean pierre", "short"),
        ("bob", "robert", "short"),
        ("paul", "pauline", "other"),
        ("stephane", "stephanie", "other"),
        ("marc", "sophie", "other"),
    ],
)
def test_first_name_levels(a, b, level):
    assert levels.first_name(a, b) == levels.first_name(b, a) == level


@pytest.mark.parametrize(
    ("a", "b", "level"),
    [
        ("lefevre", "lefebvre", "close"),
        ("martin", "martine", "close"),
        ("dupont", "dupont martin", "short"),
        ("roux", "tessier", "other"),
    ],
)
def test_last_name_levels_know_no_gender(a, b, level):
    assert levels.name(a, b) == level


@pytest.mark.parametrize(
    ("a", "b", "level"),
    [
        ("1985-03-12", "1985-03-12", "exact"),
        ("1985-03-12", "1985-12-03", "typo"),
        ("1985-03-12", "1958-03-12", "typo"),
        ("1985-03-12", "1985-03-28", "partial"),
        ("1985-03-12", "1963-03-12", "partial"),
        ("1985-03-12", "1985-11-30", "same_year"),
        ("1985-03-12", "1961-07-30", "other"),
        ("1985-03-12", "", None),
    ],
)
def test_birth_date_levels(a, b, level):
    assert levels.birth_date(record(birth_date=a).birth_date, record(birth_date=b).birth_date) == level


@pytest.mark.parametrize(
    ("a", "b", "level"),
    [
        ("a.roux@free.fr", "a.roux@free.fr", "exact"),
        ("a.roux@free.fr", "a.rouw@free.fr", "typo"),
        ("a.roux@free.fr", "a.roux@sfr.fr", "same_user"),
        ("anne.roux@free.fr", "anne.roux2@sfr.fr", "similar_user"),
        ("a.roux@free.fr", "k.tessier@free.fr", "other"),
        ("", "a.roux@free.fr", None),
    ],
)
def test_email_levels(a, b, level):
    assert levels.email(a, b) == level


@pytest.mark.parametrize(
    ("one", "other", "level"),
    [
        (HOME, HOME | {"street": "12, R. DES LILAS"}, "same_address"),
        (HOME, HOME | {"street": "13 rue des Lilas"}, "neighbouring_number"),
        (HOME, HOME | {"street": "148 rue des Lilas"}, "same_street"),
        (HOME, HOME | {"street": "4 avenue Foch"}, "other_street"),
        (HOME, {"postcode": "31000"}, "same_postcode"),
        (HOME, {"postcode": "31200", "city": "Toulouse"}, "near"),
        (HOME, {"postcode": "31770"}, "same_department"),
        (HOME, {"postcode": "59000", "city": "Lille"}, "elsewhere"),
        (HOME, {"city": "TOULOUSE CEDEX"}, "near"),
        (HOME, {}, None),
    ],
)
def test_address_levels(one, other, level):
    assert levels.address(record(**one), record(**other)) == level
    assert levels.address(record(**other), record(**one)) == level


# Blocking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "rule"),
    [
        ({"phone": MOBILE}, {"phone": "+33 6 71 84 93 20"}, "phone"),
        ({"phone": MOBILE}, {"phone": MOBILE[:-2] + "02"}, "phone_start"),
        ({"email": "a.roux+x@gmail.com"}, {"email": "aroux@gmail.com"}, "email"),
        ({"email": "anne.roux@gmail.com"}, {"email": "anneroux@gmial.com"}, "email_user"),
        ({"email": "anneroux@free.fr"}, {"email": "anneroux@sfr.fr"}, "email_user"),
        (
            {"last_name": "Renault", "postcode": "31000"},
            {"last_name": "Renaud", "postcode": "31000"},
            "sound_place",
        ),
        (
            {"last_name": "Gautier", "birth_date": "1985-03-12"},
            {"last_name": "Gauthier", "birth_date": "12.03.85"},
            "sound_birth",
        ),
        ({"first_name": "Paul", "last_name": "Roux"}, {"first_name": "Roux", "last_name": "Paul"}, "names"),
        ({"card": "2990000517145"}, {"card": "2990000517154"}, "card_start"),
        ({"device": "dv1"}, {"device": "dv1"}, "device"),
        ({"first_name": "Paul", "postcode": "31000"}, {"first_name": "Anne", "postcode": "31000"}, None),
    ],
)
def test_records_of_one_person_meet_under_a_rule(one, other, rule):
    shared = set(blocking_keys(record(**one))) & set(blocking_keys(record(**other)))
    rules = {key.partition(":")[0] for key in shared}
    assert rule in rules if rule else not rules


def test_a_blocked_value_is_no_value():
    shop = Comparable.from_fields(
        PAUL | {"phone": LANDLINE}, record_id=1, blocked=[("phone", "+33561472893")]
    )
    assert shop.phone == ""
    assert not any(key.startswith("phone") for key in blocking_keys(shop))


def test_a_value_on_too_many_records_is_not_used():
    crowd = [record(n, phone=LANDLINE) for n in range(limit("phone:+33561472893") + 1)]
    found = resolve(crowd)
    assert "phone:+33561472893" in found.skipped_keys
    assert found.clusters == [[n] for n in range(len(crowd))]
    assert limit("names_place:paul roux|31000") == FREQUENT


# Clusters ------------------------------------------------------------------------------------------------------


def family():
    """Father, mother, son of the father's name and a daughter, seen by several tills, under one roof."""
    told = {
        "father": {
            "first_name": "Paul",
            "birth_date": "1950-02-03",
            "email": "paul.garrigou@orange.fr",
            "phone": MOBILE,
        },
        "mother": {
            "first_name": "Sylvie",
            "birth_date": "1952-07-14",
            "email": "sylvie.garrigou@orange.fr",
            "phone": LANDLINE,
        },
        "son": {
            "first_name": "Paul",
            "birth_date": "1978-09-21",
            "email": "paulo78@free.fr",
            "phone": OTHER_MOBILE,
        },
        "daughter": {
            "first_name": "Pauline",
            "birth_date": "1980-11-30",
            "email": "pauline.g@free.fr",
            "phone": LANDLINE,
        },
    }
    records, truth = [], []
    for person in told.values():
        ids = []
        for left_out in ("", "street", "phone", "email"):
            fields = {"last_name": "GARRIGOU", **HOME, **person}
            fields.pop(left_out, None)
            ids.append(len(records))
            records.append(record(len(records), **fields))
        truth.append(ids)
    return records, truth


def test_a_family_under_one_roof_becomes_its_four_members():
    records, truth = family()
    found = resolve(records)
    assert found.clusters == truth
    assert found.proposed == truth


def test_the_order_of_records_does_not_matter():
    records, _ = family()
    shuffled = random.Random(7).sample(records, len(records))
    assert resolve(shuffled) == resolve(records)


def test_one_wrong_link_does_not_glue_two_persons():
    """The mother once gave the father's e-mail and no first name: connected components would make them one."""
    records, truth = family()
    bridge = record(99, last_name="Garrigou", email="paul.garrigou@orange.fr", phone=LANDLINE, **HOME)
    for cluster in resolve([*records, bridge]).clusters:
        assert sum(bool(set(cluster) & set(person)) for person in truth) <= 1


def test_a_record_that_fits_father_and_son_equally_is_left_to_a_person():
    shared = {"first_name": "Paul", "last_name": "Garrigou", "email": "garrigou@free.fr", "phone": MOBILE}
    father = record(1, **shared, birth_date="1950-02-03")
    son = record(2, **shared, birth_date="1978-09-21")
    undated = record(3, **shared)
    found = resolve([father, son, undated])
    assert found.clusters == [[1], [2], [3]]
    assert {(left, right) for left, right, _ in found.review} >= {(1, 3), (2, 3)}
    assert resolve([father, undated]).clusters == [[1, 3]]


def test_what_somebody_ruled_is_kept():
    one, two, three = (record(n, **PAUL, phone=MOBILE, email="paul@garrigou.fr") for n in (1, 2, 3))
    stranger = record(4, first_name="Anne", last_name="Tessier")
    assert resolve([one, two, three]).clusters == [[1, 2, 3]]
    kept_apart = resolve([one, two, three], never=[(1, 2)])
    assert all(not {1, 2} <= set(cluster) for cluster in kept_apart.clusters + kept_apart.proposed)
    assert all({left, right} != {1, 2} for left, right, _ in kept_apart.review)
    assert resolve([one, stranger], joined=[[1, 4]]).clusters == [[1, 4]]
    through_a_profile = resolve([one, two, stranger], joined=[[1, 4]], never=[(2, 4)])
    assert through_a_profile.clusters == [[1, 4], [2]]


def test_a_cluster_has_a_largest_size():
    crowd = [record(n, "ecom", customer_id="W1") for n in range(LARGEST_CLUSTER + 50)]
    found = resolve(crowd, joined=[range(LARGEST_CLUSTER), range(LARGEST_CLUSTER, LARGEST_CLUSTER + 50)])
    assert sorted(len(cluster) for cluster in found.clusters) == [50, LARGEST_CLUSTER]


def test_groups_agree_only_without_a_contradiction_between_any_two():
    paul, paula = record(1, **PAUL, phone=MOBILE), record(2, **PAUL | {"first_name": "Paula"}, phone=MOBILE)
    nameless = record(3, last_name="Garrigou", phone=MOBILE)
    assert agree([paul], [nameless])
    assert agree([paula], [nameless])
    assert not agree([paul], [nameless, paula])


def test_groups_agree_on_the_whole_and_not_by_one_link():
    one, other = record(1, last_name="Roux", phone=MOBILE), record(2, phone=MOBILE)
    rouxes = [record(n, last_name="Roux", email="roux@free.fr", postcode="31000") for n in (3, 4, 5)]
    tessiers = [record(n, last_name="Tessier", email="tessier@sfr.fr", postcode="59000") for n in (6, 7, 8)]
    assert agree([one], [other])
    assert not agree([one, *rouxes], [other, *tessiers])


def test_a_customer_number_joins_what_the_guard_would_not():
    told = [("Paul", "1950-02-03"), ("Anne", "1985-03-12")]
    records = [
        record(n, "ecom", customer_id="W123", first_name=first, last_name="Roux", birth_date=born)
        for n, (first, born) in enumerate(told)
    ]
    assert not agree(records[:1], records[1:])
    assert resolve(records).clusters == [[0, 1]]


# Explanation ---------------------------------------------------------------------------------------------------


def test_a_merge_is_explained_in_both_languages():
    match = compare(
        record(1, **PAUL, phone=MOBILE, email="paul@garrigou.fr"),
        record(2, **PAUL | {"last_name": "Garigou"}, phone=MOBILE, email="contact@toulouse-pneus.fr"),
    )
    english, french = (
        sentence(match.evidence, "en", match.rule),
        sentence(match.evidence, "fr-fr", match.rule),
    )
    assert "same phone (+33671849320)" in english
    assert "nearly the same last name (garrigou, garigou)" in english
    assert "Against: different e-mail" in english
    assert "même téléphone (+33671849320)" in french
    assert "nom presque identique (garrigou, garigou)" in french


def test_a_rule_that_decided_is_named_first():
    match = compare(
        record(1, **PAUL, phone=MOBILE), record(2, **PAUL | {"first_name": "Sylvie"}, phone=MOBILE)
    )
    assert sentence(match.evidence, "en", match.rule).startswith("They share a contact but not a first name")
    assert sentence(match.evidence, "fr", match.rule).startswith("Un moyen de contact commun")


def test_exchanged_names_are_said_to_be_exchanged():
    match = compare(
        record(1, first_name="Paul", last_name="Garrigou"), record(2, first_name="Garrigou", last_name="Paul")
    )
    assert [line["level"] for line in match.evidence if line["field"] == "first_name"] == ["exact", "swapped"]
    assert "first and last name exchanged" in sentence(match.evidence, "en")


def test_nothing_to_say_is_said():
    match = compare(record(1), record(2))
    assert sentence(match.evidence, "en") == "Nothing comparable was given."


def test_the_worked_example_in_the_documentation_is_true():
    page = Path(__file__).parents[2] / "docs" / "identity.md"
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert result.attempted > 5
    assert result.failed == 0


# For any two records -------------------------------------------------------------------------------------------

FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "first_name": st.sampled_from(
            ["Paul", "PAULE", "P", "Jean-Paul", "Jeanpaul", "Garrigou", "Roux", "nc", "Éloïse", ""]
        ),
        "last_name": st.sampled_from(["Garrigou", "Garigou", "Roux", "Paul", "de La Roux", "O'Neil", ""])
        | st.text(max_size=8),
        "birth_date": st.sampled_from(["1985-03-12", "1985-12-03", "12/03/58", "1961-07-30", "1900-01-01"]),
        "email": st.sampled_from(
            ["a.roux@gmail.com", "aroux@gmial.com", "a.roux@sfr.fr", "paul@free.fr", "aaa@aaa.fr"]
        ),
        "phone": st.sampled_from([MOBILE, OTHER_MOBILE, LANDLINE, "0671849302", "0606060606"]),
        "postcode": st.sampled_from(["31000", "31200", "59000", "3100"]),
        "city": st.sampled_from(["Toulouse", "TOULOUSE CEDEX", "Lille"]),
        "street": st.sampled_from(["12 rue des Lilas", "12 r. des lilas", "4 av Foch"])
        | st.text(max_size=12),
        "street_number": st.sampled_from(["12", "12 bis", "4"]),
        "card": st.sampled_from(["2990000517145", "2990000517154", "2990000333333"]),
        "customer_id": st.sampled_from(["W1", "W2"]),
        "device": st.sampled_from(["dv1", "dv2"]),
    },
)
SOURCES = st.sampled_from(["till", "ecom"])


@given(
    one=FIELDS,
    other=FIELDS,
    source_a=SOURCES,
    source_b=SOURCES,
    share=st.sampled_from([None, 0.00001, 0.001, 0.2]),
)
def test_comparing_is_symmetric_and_adds_up(one, other, source_a, source_b, share):
    a, b = record(1, source_a, **one), record(2, source_b, **other)
    there, back = (compare(*pair, lambda field, value: share) for pair in ((a, b), (b, a)))
    assert (there.verdict, there.rule, there.contradicted) == (back.verdict, back.rule, back.contradicted)
    assert isclose(there.weight, back.weight, abs_tol=1e-9)
    assert isclose(there.weight, sum(line["weight"] for line in there.evidence), abs_tol=1e-9)
    assert 0 <= there.probability <= 1
    assert all(sentence(there.evidence, language, there.rule) for language in ("fr", "en"))


@given(one=FIELDS, other=FIELDS)
def test_no_merge_against_a_rule(one, other):
    a, b = record(1, **one), record(2, **other)
    match = compare(a, b)
    if match.verdict == "merge" and match.rule != "same_customer":
        assert not match.contradicted
        assert any(
            line["field"] in ("card", "email", "phone", "birth_date") and line["weight"] > 0
            for line in match.evidence
        )


@given(fields=FIELDS, source=SOURCES)
def test_blocking_keys_are_sorted_and_named_by_their_rule(fields, source):
    keys = blocking_keys(record(1, source, **fields))
    assert keys == sorted(set(keys))
    assert all(key.partition(":")[0] and key.partition(":")[2] for key in keys)


@given(told=st.lists(st.tuples(FIELDS, SOURCES), max_size=8))
def test_clusters_share_out_the_records(told):
    records = [record(n, source, **fields) for n, (fields, source) in enumerate(told)]
    found = resolve(records)
    for clusters in (found.clusters, found.proposed):
        assert sorted(n for cluster in clusters for n in cluster) == list(range(len(records)))
    for cluster in found.clusters:
        assert any(set(cluster) <= set(larger) for larger in found.proposed)
