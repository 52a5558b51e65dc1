"""A merge and its undoing, to the letter: nothing is lost, nothing is left behind, whatever breaks in between."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from campaigns.models import Segment
from campaigns.segments.saving import save
from loyalty import proof, till
from loyalty.models import Account, Lot, Transaction
from profiles import blocked, consent, households, merging, pins, recognition, resolution, separating
from profiles.intake import (
    ConsentStatement,
    EventStatement,
    Sender,
    Shown,
    Statement,
    record_events,
    take_in_records,
)
from profiles.matching.reasons import Match
from profiles.models import (
    MatchCandidate,
    Merge,
    Profile,
    Source,
    SourceRecord,
)
from tests.loyalty.conftest import programme, ticket  # noqa: F401 - a fixture

AT = datetime(2026, 11, 2, 10, tzinfo=UTC)
CARDS = [Shown("card", f"29900000000{n}") for n in (17, 24, 31, 48)]
NAMES = ["Anne", "Anna", "Annie", "Hanna"]

# History that is added and never taken away: the deeds themselves, changes of tier that were told, and the transfers in
# the books, whose chain has then grown by links that cancel out.
BOOKS = {"profiles_merge", "loyalty_posting", "loyalty_lotuse", "loyalty_tierchange"}
CHAINED = ("entries", "head")


def dump(*ids: int) -> dict[str, list]:
    """Every row of the brand's schema that names one of these people, whichever the table and the column."""
    people = sorted(ids)
    rows: dict[str, list] = {
        "profiles_profile": list(Profile.objects.filter(pk__in=people).order_by("pk").values())
    }
    for relation in Profile._meta.get_fields(include_hidden=True):
        if not relation.auto_created or relation.concrete or relation.related_model._meta.db_table in BOOKS:
            continue
        model, column = relation.related_model, relation.field.name
        found = model._base_manager.filter(**{f"{column}__in": people}).order_by("pk")
        if model is Transaction:
            found = found.exclude(kind__in=["transfer", "adjust"])
        if model is Account:
            found = found.exclude(balance=0)
        rows[f"{model._meta.db_table}.{column}"] = [
            {name: value for name, value in row.items() if model is not Account or name not in CHAINED}
            for row in found.values()
        ]
    rows["loyalty_lot"] = list(Lot.objects.filter(account__profile__in=people).order_by("pk").values())
    return rows


def changed(before: dict, after: dict) -> dict:
    return {
        table: (
            [row for row in rows if row not in after[table]],
            [row for row in after[table] if row not in rows],
        )
        for table, rows in before.items()
        if rows != after[table]
    }


@pytest.fixture
def crm(brand) -> Source:
    return Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM, trust=80)


@pytest.fixture
def four(lille_till, lyon_till, programme, crm) -> list[Profile]:  # noqa: F811
    """Four people: each told, two tickets, a consent, a visit; questions between some of them."""
    people = []
    machines = [lille_till[0], lyon_till[0]]
    for n, (name, card) in enumerate(zip(NAMES, CARDS, strict=True)):
        machine = machines[n % 2]
        fields = {
            "first_name": name, "last_name": "Petit", "card": card.value, "email": f"{name.lower()}@mail.example",
            "phone": f"061234567{n}", "postcode": f"5900{n}",
        }  # fmt: skip
        said = [ConsentStatement("email", n != 1), ConsentStatement("sms", n == 2)]
        outcome = take_in_records(
            crm, [Statement(f"C{n}", fields, raw=fields, store_code=machine.store.code, consents=said)]
        )[0]
        people.append(Profile.objects.get(pk=outcome.profile_id))
        for m in range(2):
            told = ticket(
                f"R{n}{m}", 4000 + 3000 * n, 1000 * m + 100, shown=card, at=AT + timedelta(days=n + m)
            )
            till.record_purchase(machine, told)
        record_events(
            Sender.of_till(machine), [EventStatement(f"V{n}", "store_visited", AT, shown=card, properties={})]
        )
    for left, right, status in ((0, 1, "open"), (1, 2, "open"), (1, 3, "never"), (0, 3, "open")):
        MatchCandidate.objects.create(
            left=people[left], right=people[right], weight=3 + left, probability=0.7, model_version="1",
            status=status, decided_at=AT if status == "never" else None,
        )  # fmt: skip
    return people


def merged(one, other, **more) -> Merge:
    return merging.merge(one, other, **({"ground": Merge.Ground.PERSON} | more))


# --- To the letter ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("homes", [0, 1, 2])
def test_a_merge_undone_leaves_every_row_as_it_was(four, diane, homes):
    pins.pin(four[1], "city", "Lyon", by=diane)
    pins.pin(four[1], "first_name", "Annabelle", by=diane)
    pins.pin(four[0], "first_name", "Anne-Marie", by=diane)
    households.regroup(
        [households.Pair(four[1].pk, four[3].pk), households.Pair(four[0].pk, four[2].pk)][:homes]
    )
    ids = [p.pk for p in four]
    before = dump(*ids)
    deed = merged(four[0], four[1], by=diane)
    assert changed(before, dump(*ids))
    separating.unmerge(deed, diane, binding=False)
    assert changed(before, dump(*ids)) == {}
    assert proof.prove().differences == []


DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("merge"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("merge"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("undo")),
    ),
    min_size=2,
    max_size=9,
)


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(deeds=DEEDS)
def test_any_chain_of_merges_undone_in_reverse_leaves_every_row_as_it_was(four, diane, deeds):
    ids = [p.pk for p in four]
    with transaction.atomic():
        stack = [dump(*ids)]
        standing: list[Merge] = []
        for deed in deeds:
            if deed[0] == "undo" and standing:
                separating.unmerge(standing.pop(), diane, binding=False)
                stack.pop()
                assert changed(stack[-1], dump(*ids)) == {}
            elif deed[0] == "merge":
                try:
                    with transaction.atomic():
                        standing.append(merged(four[deed[1]], four[deed[2]], by=diane))
                except merging.CannotMerge:
                    continue
                stack.append(dump(*ids))
                assert proof.prove().differences == []
        while standing:
            separating.unmerge(standing.pop(), diane, binding=False)
            stack.pop()
            assert changed(stack[-1], dump(*ids)) == {}
        assert proof.prove().differences == []
        transaction.set_rollback(True)


def test_what_came_meanwhile_stands_as_if_the_two_had_never_been_one(four, lille_till, crm, diane):
    """The same tickets, records and events, once into a merge that is undone, once with no merge at all."""
    ids = [p.pk for p in four]

    def news():
        for n in (0, 1):
            till.record_purchase(
                lille_till[0], ticket(f"N{n}", 2500, shown=CARDS[n], at=AT + timedelta(days=9))
            )
            fields = {"first_name": NAMES[n], "last_name": "Petit", "email": f"new{n}@mail.example"}
            take_in_records(crm, [Statement(f"C{n}", fields, raw=fields, stated_at=AT + timedelta(days=9))])
            shown = EventStatement(
                f"N{n}", "store_visited", AT + timedelta(days=9), shown=CARDS[n], properties={}
            )
            record_events(Sender.of_till(lille_till[0]), [shown])

    def shape() -> dict:
        """The dump without the numbers and moments that two histories cannot share."""
        of_history = {
            "id", "received_at", "record_id", "created_at", "posted_at", "transaction_id", "purchase_id", "key", "tier",
            "tier_since", "provenance",
        }  # fmt: skip
        return {
            table: sorted(str({k: v for k, v in row.items() if k not in of_history}) for row in rows)
            for table, rows in dump(*ids).items()
        }

    with transaction.atomic():
        news()
        apart = shape()
        transaction.set_rollback(True)
    deed = merged(four[0], four[1], by=diane)
    news()
    separating.unmerge(deed, diane, binding=False)
    assert shape() == apart
    assert proof.prove().differences == []


def test_a_refusal_told_to_the_two_as_one_holds_for_both(four, diane):
    deed = merged(four[0], four[2], by=diane)
    assert consent.may_contact(four[0], "email")
    consent.withdraw(four[0], "email", actor=diane)
    consent.grant(four[0], "post", actor=diane)
    separating.unmerge(deed, diane)
    assert [consent.may_contact(p, "email") for p in (four[0], four[2])] == [False, False]
    assert [consent.may_contact(p, "post") for p in (four[0], four[2])] == [True, False]


def test_a_refusal_of_a_third_person_is_not_handed_to_who_is_separated(four, diane):
    """The third one refused before they were merged: nobody doubts who said it."""
    winner, loser, third, _fourth = four
    consent.grant(loser, "sms", actor=diane)
    deed = merged(winner, loser)
    consent.withdraw(third, "sms", actor=diane)
    merged(winner, third)
    separating.unmerge(deed)
    assert consent.may_contact(loser, "sms")
    assert not consent.may_contact(winner, "sms")


@pytest.mark.parametrize("undone", ["separated", "taken back", "all of a job"])
def test_values_chosen_when_merging_go_with_the_merge_whichever_way_it_is_undone(four, diane, undone):
    winner, loser = four[0], four[1]
    pins.pin(winner, "city", "Lille", by=diane)
    pins.pin(loser, "first_name", "Annabelle", by=diane)
    before = dump(*(p.pk for p in four))
    keep = {"city": "Lyon", "email": loser.email, "first_name": "Anne-Marie"}
    deed = resolution.decide_same(MatchCandidate.objects.get(left=winner, right=loser), diane, keep=keep)
    shown = Profile.objects.get(pk=winner.pk)
    assert {field: getattr(shown, field) for field in keep} == keep
    if undone == "separated":
        separating.unmerge(deed, diane)
    elif undone == "taken back":
        resolution.take_back(MatchCandidate.objects.get(left=winner, right=loser), diane)
    else:
        separating.unmerge(deed, diane, binding=False)
    left = changed(before, dump(*(p.pk for p in four)))
    standing = left.pop("profiles_pin.profile", ([], []))
    assert standing[0] == []  # the pins of before are as they were
    assert {row["ended_by_id"] for row in standing[1]} == {diane.pk}
    assert not left or (undone == "separated" and all("matchcandidate" in table for table in left)), left


def test_a_value_pinned_since_stays_when_the_two_are_separated(four, diane):
    winner, loser = four[0], four[1]
    pins.pin(winner, "city", "Lille", by=diane)
    pair = MatchCandidate.objects.get(left=winner, right=loser)
    deed = resolution.decide_same(pair, diane, keep={"city": "Lyon"})
    pins.pin(winner, "city", "Nantes", by=diane)
    separating.unmerge(deed, diane)
    assert Profile.objects.get(pk=winner.pk).city == "Nantes"


def test_a_separation_holds_people_before_their_merge(four):
    """As everywhere, so that it and an import that is undone never wait for each other."""
    deed = merged(four[0], four[1])
    with CaptureQueriesContext(connection) as asked:
        separating.unmerge(deed)
    locks = [
        query["sql"]
        for query in asked
        if "FOR " in query["sql"] and "UPDATE" in query["sql"].split("FOR ")[-1]
    ]
    assert '"profiles_profile"' in locks[0]
    assert any('"profiles_merge"' in sql for sql in locks[1:])


def test_a_pin_of_the_survivor_wins_and_is_given_back(four, diane):
    pins.pin(four[0], "first_name", "Anne-Marie", by=diane)
    pins.pin(four[1], "first_name", "Annabelle", by=diane)
    pins.pin(four[1], "city", "Lyon", by=diane)
    deed = merged(four[0], four[1], by=diane)
    survivor = Profile.objects.get(pk=four[0].pk)
    assert (survivor.first_name, survivor.city) == ("Anne-Marie", "Lyon")
    separating.unmerge(deed, diane)
    one, other = (Profile.objects.get(pk=p.pk) for p in four[:2])
    assert (one.first_name, one.city, other.first_name, other.city) == ("Anne-Marie", "", "Annabelle", "Lyon")


# --- Whatever breaks in between ---------------------------------------------------------------------------------


class Killed(Exception):
    """The worker dies here."""


def killed_at(number: int, verb):
    """Run the verb; its statement of this number is never sent. Returns whether it came so far."""
    sent = 0

    def count(execute, sql, params, many, context):
        nonlocal sent
        sent += 1
        if sent == number:
            raise Killed(sql)
        return execute(sql, params, many, context)

    try:
        with transaction.atomic(), connection.execute_wrapper(count):
            verb()
    except Killed:
        return True
    return False


@pytest.mark.parametrize("deed", ["merge", "unmerge"])
def test_killed_at_any_statement_it_is_done_or_not_begun(four, diane, deed):
    ids = [p.pk for p in four]
    standing = merged(four[0], four[1], by=diane) if deed == "unmerge" else None
    before, merges = dump(*ids), Merge.objects.count()
    number = 0

    def verb():
        separating.unmerge(standing, diane) if standing else merged(four[0], four[1], by=diane)

    while killed_at(number := number + 1, verb):
        assert changed(before, dump(*ids)) == {}, f"statement {number}"
        assert Merge.objects.count() == merges
    assert number > 30
    assert changed(before, dump(*ids))
    assert proof.prove().differences == []


# --- What rested on a value that is nobody's --------------------------------------------------------------------


def test_a_value_blocked_late_opens_the_merges_again_that_rested_on_it(crm, diane):
    """A reception's number joined two Maries; the one who is Marie by her card as well is merged again."""
    home = {"street": "3 rue Pasteur", "postcode": "59000", "birth_date": "1980-03-03", "phone": "0671849320"}
    told = [
        {"first_name": "Marie", "last_name": "Durand", **home},
        {"first_name": "Marie", "last_name": "Durand", **home},
        {"first_name": "Marie", "last_name": "Durand", "email": "m.durand@mail.example", **home},
        {"first_name": "Marie", "last_name": "Durand", "email": "m.durand@mail.example", **home},
    ]
    take_in_records(crm, [Statement(str(n), f, raw=f) for n, f in enumerate(told)])
    recognition.match_records(SourceRecord.objects.values_list("pk", flat=True))
    assert Merge.objects.filter(undone_at=None).count() == 3
    row = blocked.block("phone", "0671849320", reason="the reception", by=diane)
    blocked.reapply(row)
    rested = Merge.objects.exclude(undone_at=None)
    assert rested.count() == 3
    assert not SourceRecord.objects.exclude(matched_at=None).exists()
    recognition.match_records(SourceRecord.objects.values_list("pk", flat=True))
    standing = Merge.objects.filter(undone_at=None)
    assert not any(part["field"] == "phone" for deed in standing for part in deed.evidence)
    assert blocked.merges_resting_on(row) == []
    assert blocked.reapply(row) == 0


def test_what_a_person_merged_stands_and_is_merged_again_above_what_is_opened(crm, diane):
    """Matching joined A and B by a phone, a person joined that one with Z: the person's word is kept."""
    match = merging.Match(9.0, 0.99, ({"field": "phone", "level": "exact", "a": "+33671849320",
                                          "b": "+33671849320", "weight": 9.0},), "merge")  # fmt: skip
    fields = [{"first_name": name, "phone": "0671849320"} for name in ("Zoé", "Ada", "Bea")]
    z, a, b = (
        Profile.objects.get(pk=outcome.profile_id)
        for outcome in take_in_records(crm, [Statement(str(n), f, raw=f) for n, f in enumerate(fields)])
    )
    merged(a, b, ground=Merge.Ground.MATCH, match=match)
    merged(z, a, by=diane)
    blocked.reapply(blocked.block("phone", "0671849320", reason="the reception", by=diane))
    a.refresh_from_db()
    b.refresh_from_db()
    assert (a.merged_into, b.merged_into) == (z, None)


# --- The id of a merged customer --------------------------------------------------------------------------------


def test_what_is_merged_again_has_its_reasons_its_decider_and_the_values_they_chose(crm, diane):
    """A block opens the merge below; the person's own merge above it is made again as it was."""
    told = [
        {"first_name": "Nora", "last_name": "Klein", "email": "accueil@klein.example", "postcode": "67000"},
        {"first_name": "Nora", "last_name": "Klein", "email": "accueil@klein.example", "postcode": "67000"},
        {"first_name": "Norah", "last_name": "Kleine", "city": "Metz"},
    ]
    people = [
        Profile.objects.get(pk=take_in_records(crm, [Statement(f"K{n}", f, raw=f)])[0].profile_id)
        for n, f in enumerate(told)
    ]
    evidence = [
        {
            "field": "email",
            "level": "exact",
            "a": "accueil@klein.example",
            "b": "accueil@klein.example",
            "weight": 9,
        }
    ]
    match = Match(9.0, 0.99, tuple(evidence), model_version="1")
    merging.merge(people[1], people[2], ground=Merge.Ground.MATCH, match=match)
    pair = MatchCandidate.objects.create(
        left=people[0], right=people[1], weight=4, probability=0.7, model_version="1",
        evidence=[{"field": "last_name", "level": "exact", "a": "klein", "b": "klein", "weight": 4}],
    )  # fmt: skip
    deed = resolution.decide_same(pair, diane, keep={"city": "Metz"})
    pins.pin(people[0], "postcode", "57000", by=diane)

    blocked.reapply(blocked.block("email", "accueil@klein.example", reason="the firm's"))

    again = Merge.objects.get(undone_at=None)
    assert (again.winner_id, again.loser_id, again.by, again.weight) == (
        deed.winner_id,
        deed.loser_id,
        diane,
        4,
    )
    assert again.evidence == deed.evidence
    pair.refresh_from_db()
    assert (pair.status, pair.decided_by) == ("merged", diane)
    kept = Profile.objects.get(pk=people[0].pk)
    assert (kept.city, kept.postcode) == ("Metz", "57000")
    resolution.take_back(pair, diane)
    kept = Profile.objects.get(pk=people[0].pk)
    assert (kept.city, kept.postcode) == ("", "57000")


def test_a_merged_id_leads_to_the_survivor_for_whoever_may_see_that_one(
    four, diane, alice, bruno, chloe, client_of, lille_till, till_client
):
    """Anna of Lyon became Anne of Lille: both stores know the one, by either id; Lyon has never heard of Annie."""
    merged(four[0], four[1], by=diane)
    merged(four[2], four[2 + 1], by=diane)
    page = reverse("admin:profiles_profile_change", args=[four[1].pk])
    survivor = reverse("admin:profiles_profile_change", args=[four[0].pk])
    for staff in (alice, bruno, chloe):
        client = client_of(staff)
        assert client.get(page).url == survivor
        answer = client.get(f"/api/v1/profiles/{four[1].public_id}")
        assert (answer.status_code, answer.json()["merged_into"]) == (308, str(four[0].public_id))
        assert client.get(f"/api/v1/purchases?profile={four[1].public_id}").json()["results"]
    ours = client_of(bruno).get(f"/store/ACM-001/customers/{four[1].public_id}/")
    assert ours.url == f"/store/ACM-001/customers/{four[0].public_id}/"
    told = till_client(lille_till[1]).get(f"/api/v1/members/{four[1].public_id}")
    assert told.json()["id"] == str(four[0].public_id)
    segment = Segment(name="Buyers", shared=True)
    save(segment, {"all": [{"field": "purchases", "op": ">=", "value": 1}]}, alice)
    why = client_of(alice).get(
        reverse("admin:campaigns_segment_explain", args=[segment.pk]), {"customer": four[1].pk}
    )
    assert why.context["people"] == [four[0]]
    noted = reverse("admin:profiles_profile_consent", args=[four[1].pk])
    assert survivor in client_of(alice).post(noted, {"channel": "sms", "verdict": "grant"}).url


def test_a_page_separates_its_own_merges_and_no_others(four, alice, client_of):
    deed = merged(four[0], four[1])
    for page, found in ((four[2], 404), (four[0], 302)):
        address = reverse("admin:profiles_profile_separate", args=[page.pk, deed.pk])
        assert client_of(alice).post(address).status_code == found
        assert Merge.objects.filter(undone_at=None).exists() == (found == 404)


def test_a_merged_id_says_nothing_to_a_store_that_does_not_know_the_survivor(
    four, crm, bruno, diane, client_of
):
    strangers = []
    for n in range(2):
        fields = {"first_name": "Zoé", "last_name": "Canari", "card": f"29900000009{n}1"}
        told = Statement(f"L{n}", fields, raw=fields, store_code="ACM-002")
        strangers.append(Profile.objects.get(pk=take_in_records(crm, [told])[0].profile_id))
    merged(*strangers, by=diane)
    client, gone = client_of(bruno), strangers[1]
    assert client.get(reverse("admin:profiles_profile_change", args=[gone.pk])).url == reverse("admin:index")
    assert client.get(f"/api/v1/profiles/{gone.public_id}").status_code == 404
    assert client.get(f"/store/ACM-001/customers/{gone.public_id}/").status_code == 404
    assert client.get(f"/api/v1/purchases?profile={gone.public_id}").status_code == 400


# --- A decision taken back --------------------------------------------------------------------------------------


def test_either_decision_is_taken_back_and_the_question_stands_open_again(four, diane, alice):
    ids = [p.pk for p in four]
    asked = MatchCandidate.objects.get(left=four[0], right=four[1])
    before = dump(*ids)
    resolution.decide_same(asked, diane, keep={"first_name": "Anna"})
    assert Profile.objects.get(pk=four[0].pk).first_name == "Anna"
    assert resolution.last_decision(alice) is None
    resolution.take_back(resolution.last_decision(diane), diane)
    after = dump(*ids)
    assert [pin["ended_by_id"] for pin in after.pop("profiles_pin.profile")] == [diane.pk]
    before.pop("profiles_pin.profile")
    assert changed(before, after) == {}
    resolution.decide_never(asked, diane)
    resolution.take_back(resolution.last_decision(diane), diane)
    asked.refresh_from_db()
    assert (asked.status, asked.decided_by) == ("open", None)
    assert resolution.last_decision(diane) is None
    with pytest.raises(separating.CannotSeparate):
        resolution.take_back(asked, diane)


def test_a_decision_of_last_month_stands(four, diane):
    asked = MatchCandidate.objects.get(left=four[0], right=four[1])
    resolution.decide_same(asked, diane)
    MatchCandidate.objects.update(decided_at=datetime.now(UTC) - timedelta(days=31))
    assert resolution.last_decision(diane) is None
    with pytest.raises(separating.CannotSeparate):
        resolution.take_back(asked, diane)
