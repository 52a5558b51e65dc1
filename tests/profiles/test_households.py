"""Who lives together: made of pairs and of what people say, one household each, through merges and back."""

import pytest
from django.urls import reverse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from profiles import households, merging, separating
from profiles.households import Pair, Regrouped, decide, regroup
from profiles.intake import Statement, take_in_records
from profiles.models import Household, HouseholdMember, HouseholdWord, MatchCandidate, Merge, Profile, Source
from tenants.scoping import scoped_to

WHY = (
    {"field": "address", "level": "same_address", "a": "3 rue pasteur", "b": "3 rue pasteur", "weight": 17.1},
)


@pytest.fixture
def six(lille, lyon) -> list[Profile]:
    """Six people, the last of them known in Lyon alone."""
    crm = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM, trust=80)
    told = []
    for n in range(6):
        fields = {"first_name": f"Anne{n}", "last_name": "Petit"}
        told.append(Statement(str(n), fields, raw=fields, store_code="ACM-002" if n == 5 else "ACM-001"))
    return [Profile.objects.get(pk=outcome.profile_id) for outcome in take_in_records(crm, told)]


def pairs(six, *couples) -> list[Pair]:
    return [Pair(six[a].pk, six[b].pk, weight, WHY) for a, b, weight in ((*c, 5.0)[:3] for c in couples)]


def homes(six) -> list[set[int]]:
    """The households, as sets of the numbers of their people."""
    of = dict(HouseholdMember.objects.values_list("profile", "household"))
    found: dict[int, set[int]] = {}
    for n, profile in enumerate(six):
        if profile.pk in of:
            found.setdefault(of[profile.pk], set()).add(n)
    return sorted(found.values(), key=min)


def test_pairs_make_households_and_twice_the_same_change_nothing(six):
    told = pairs(six, (0, 1), (1, 2), (3, 4))
    assert regroup(told) == Regrouped(households=2, joined=5, left=0, refused=0)
    assert homes(six) == [{0, 1, 2}, {3, 4}]
    before = (
        list(HouseholdMember.objects.order_by("pk").values()),
        list(Household.objects.order_by("pk").values()),
    )
    assert regroup(reversed(told)) == Regrouped(2, 0, 0, 0)
    assert before == (
        list(HouseholdMember.objects.order_by("pk").values()), list(Household.objects.order_by("pk").values())
    )  # fmt: skip


def test_a_household_keeps_its_id_where_most_of_it_stays(six):
    regroup(pairs(six, (0, 1), (1, 2)))
    home = Household.objects.get()
    assert regroup(pairs(six, (1, 2), (0, 3))) == Regrouped(2, 1, 0, 0)
    assert HouseholdMember.objects.get(profile=six[1]).household == home
    assert HouseholdMember.objects.get(profile=six[0]).household != home
    assert regroup(pairs(six, (1, 2))) == Regrouped(1, 0, 2, 0)
    assert regroup([]) == Regrouped(0, 0, 2, 0)
    assert not Household.objects.exists()


def test_what_people_said_binds_every_run(six, diane):
    regroup(pairs(six, (0, 1), (1, 2)))
    decide(six[0], six[2], together=False, by=diane)
    assert homes(six) == [{0, 1}]
    assert regroup(pairs(six, (0, 1, 3.0), (1, 2, 9.0))) == Regrouped(1, 1, 1, 1)
    assert homes(six) == [{1, 2}]
    decide(six[3], six[4], together=True, by=diane)
    assert homes(six) == [{1, 2}, {3, 4}]
    regroup([])
    assert homes(six) == [{3, 4}]
    decide(six[4], six[3], together=False, by=diane)
    assert homes(six) == [{4}] or homes(six) == [{3}] or homes(six) == []
    regroup(pairs(six, (3, 4, 40.0)))
    assert homes(six) == []
    assert HouseholdWord.objects.count() == 2


def test_a_crowd_is_no_household(six, monkeypatch):
    monkeypatch.setattr(households, "MOST_MEMBERS", 3)
    assert regroup(pairs(six, (0, 1), (1, 2), (2, 3))).refused == 1
    assert homes(six) == [{0, 1, 2}]


def test_somebody_merged_counts_as_who_they_are_now(six, diane):
    decide(six[1], six[3], together=False, by=diane)
    merging.merge(six[0], six[1], ground=Merge.Ground.PERSON, by=diane)
    regroup(pairs(six, (1, 2), (0, 3), (0, 1)))
    assert homes(six) == [{0, 2}]
    with pytest.raises(households.CannotDecide):
        decide(six[0], six[1], together=True, by=diane)


def test_a_merge_passes_a_place_on_and_an_unmerge_gives_it_back(six, diane):
    regroup(pairs(six, (1, 2), (3, 4)))
    deed = merging.merge(six[0], six[1], ground=Merge.Ground.PERSON, by=diane)
    assert homes(six) == [{0, 2}, {3, 4}]
    other = merging.merge(six[0], six[3], ground=Merge.Ground.PERSON, by=diane)
    assert homes(six) == [{0, 2}, {4}]
    separating.unmerge(other, diane)
    separating.unmerge(deed, diane)
    assert homes(six) == [{1, 2}, {3, 4}]


@settings(
    max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    told=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 9)), max_size=8),
    apart=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=3),
)
def test_the_order_of_pairs_does_not_matter_and_a_no_always_holds(six, diane, told, apart):
    HouseholdWord.objects.all().delete()
    regroup([])
    said = [(a, b) for a, b in apart if a != b]
    for a, b in said:
        decide(six[a], six[b], together=False, by=diane)
    regroup(pairs(six, *told))
    first = homes(six)
    assert not any({a, b} <= home for home in first for a, b in said)
    assert all(len(home) > 1 for home in first)
    regroup(reversed(pairs(six, *told)))
    assert homes(six) == first


# --- Screens ----------------------------------------------------------------------------------------------------


def test_the_customer_page_names_who_lives_with_them_and_takes_a_no(six, alice, bruno, client_of):
    regroup(pairs(six, (0, 1), (0, 5)))
    page = reverse("admin:profiles_profile_change", args=[six[0].pk])
    shown = client_of(alice).get(page)
    assert {item["person"] for item in shown.context["household"]} == {six[1], six[5]}
    assert "3 rue pasteur" in shown.text
    of_store = client_of(bruno).get(page)
    assert [item["person"] for item in of_store.context["household"]] == [six[1]]
    assert "rue pasteur" not in of_store.text
    with scoped_to(bruno.scope):
        assert HouseholdMember.objects.count() == 2
    address = reverse("admin:profiles_profile_household", args=[six[0].pk])
    assert client_of(bruno).post(address, {"other": six[1].pk}).status_code == 403
    assert client_of(alice).post(address, {"other": "x"}).status_code == 404
    client_of(alice).post(address, {"other": six[5].pk})
    assert homes(six) == [{0, 1}]


def test_a_reviewer_says_two_of_one_household_and_takes_it_back(six, alice, client_of):
    asked = MatchCandidate.objects.create(
        left=six[0], right=six[1], weight=5, probability=0.8, model_version="1"
    )
    client = client_of(alice)
    client.post(reverse("admin:profiles_matchcandidate_decide", args=[asked.pk]), {"decision": "household"})
    asked.refresh_from_db()
    assert (asked.status, homes(six)) == ("never", [{0, 1}])
    client.post(reverse("admin:profiles_matchcandidate_undo"))
    asked.refresh_from_db()
    assert (asked.status, HouseholdWord.objects.count()) == ("open", 0)
    regroup([])
    assert homes(six) == []
