"""The figures of `make bench-matching`, against examples reckoned by hand and against counting pair by pair."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scoring import best_f1, links_of, read, recall_with_review, score

# Ann has three records, Bob two, Cid one.
TRUTH = {"a1": "ann", "a2": "ann", "a3": "ann", "b1": "bob", "b2": "bob", "c1": "cid"}


def test_profiles_that_are_the_people():
    assert score(TRUTH, TRUTH) == (1, 1, 1, 1)


def test_a_profile_too_large_and_a_person_in_two():
    # Pairs said: a1 a2, a3 b1, a3 b2, b1 b2. Right: a1 a2, b1 b2. True: 3 of Ann's and 1 of Bob's.
    found = {"a1": "1", "a2": "1", "a3": "2", "b1": "2", "b2": "2", "c1": "3"}
    # B-cubed precision: a1 1, a2 1, a3 1/3, b1 2/3, b2 2/3, c1 1; recall: a1 2/3, a2 2/3, a3 1/3, b1 1, b2 1, c1 1.
    b3_precision, b3_recall = (14 / 3) / 6, (14 / 3) / 6
    assert score(found, TRUTH) == pytest.approx(
        (2 / 4, 2 / 4, 0.5, 2 * b3_precision * b3_recall / (b3_precision + b3_recall))
    )


def test_records_without_a_profile_stand_alone():
    alone = score({}, TRUTH)
    assert (alone.precision, alone.recall, alone.f1) == (1, 0, 0)
    # Each record is a pure cluster; Ann's keep a third of her, Bob's half of him.
    b3_recall = (3 * (1 / 3) + 2 * (1 / 2) + 1) / 6
    assert alone.b3_f1 == pytest.approx(2 * b3_recall / (1 + b3_recall))
    # An empty profile is none, and no profile that several share.
    assert score(dict.fromkeys(TRUTH, ""), TRUTH) == alone
    # A profile that is called as a record is not that record's.
    assert score({"a1": "c1"}, TRUTH) == alone


def test_a_stranger_is_refused():
    with pytest.raises(ValueError, match="x9"):
        score({"x9": "1"}, TRUTH)


def test_a_record_named_twice_is_refused(tmp_path):
    path = tmp_path / "profiles.csv"
    path.write_text("record_id,profile_id\nr1,p1\nr2,p1\n")
    assert read(path, "profile_id") == {"r1": "p1", "r2": "p1"}
    path.write_text("record_id,profile_id\nr1,p1\nr1,p2\n")
    with pytest.raises(ValueError, match=r"profiles\.csv names r1 twice"):
        read(path, "profile_id")


def test_the_best_threshold_in_hindsight(tmp_path):
    path = tmp_path / "links.csv"
    path.write_text("unique_id_l,unique_id_r,match_weight\na1,a2,9\na2,a3,5\nb1,b2,5\na3,b1,2.5\na1,a3,1\n")
    # From 5 upwards both people are whole and nobody else is in; at 9 one pair of four is found.
    assert best_f1(links_of(path), TRUTH) == (1, 5)
    # Links of one weight go in together: no threshold has the one without the other.
    tied = [(5, "a1", "a2"), (5, "b1", "c1")]
    assert best_f1(tied, TRUTH) == (2 * (1 / 2) * (1 / 4) / (1 / 2 + 1 / 4), 5)
    assert best_f1([], TRUTH) == (0, float("inf"))


def test_recall_after_review():
    automatic = {"a1": "1", "a2": "1", "a3": "2", "b1": "2"}
    assert recall_with_review(automatic, [], TRUTH) == 1 / 4
    # A pair that is two people is turned down; one that is one person joins the whole profiles: a3 to both of Ann's.
    assert recall_with_review(automatic, [("b2", "c1"), ("a1", "a3")], TRUTH) == 3 / 4
    assert recall_with_review({}, list(combinations(TRUTH, 2)), TRUTH) == 1


records = st.integers(0, 9).map(str)
divisions = st.dictionaries(records, st.sampled_from("pqrs"), max_size=10)


@given(truth=st.dictionaries(records, st.sampled_from("xyz"), min_size=1), found=divisions)
def test_pairs_counted_one_by_one(truth, found):
    found = {record: profile for record, profile in found.items() if record in truth}
    true = {pair for pair in combinations(sorted(truth), 2) if truth[pair[0]] == truth[pair[1]]}
    said = {pair for pair in combinations(sorted(found), 2) if found[pair[0]] == found[pair[1]]}
    told = score(found, truth)
    assert told.precision == (len(said & true) / len(said) if said else 1)
    assert told.recall == (len(said & true) / len(true) if true else 1)


@given(
    truth=st.dictionaries(records, st.sampled_from("xyz"), min_size=1),
    links=st.lists(st.tuples(st.integers(0, 3).map(float), records, records)),
)
def test_the_best_of_every_threshold_tried(truth, links):
    links = [(weight, one, other) for weight, one, other in links if one in truth and other in truth]
    tried = []
    for threshold in (0, 1, 2, 3, 4):
        profiles = {record: record for record in truth}
        for weight, one, other in links:
            if weight >= threshold:
                kept, given_up = profiles[one], profiles[other]
                profiles = {r: kept if p == given_up else p for r, p in profiles.items()}
        tried.append(score(profiles, truth).f1)
    assert best_f1(links, truth)[0] == pytest.approx(max(tried))
