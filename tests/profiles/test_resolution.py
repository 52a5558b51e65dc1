"""Who is who: matching merges what is certain and asks about the rest; a merge is undone without a trace."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from loyalty import proof, statements, till
from loyalty.models import Account, Lot, Membership, Transaction
from profiles import candidates, consent, facts, merging, resolution, separating, unification
from profiles.intake import (
    ConsentStatement,
    RefundLineStatement,
    RefundStatement,
    Shown,
    Statement,
    take_in_records,
)
from profiles.merging import CannotMerge
from profiles.models import (
    ConsentChange,
    HouseholdWord,
    Identifier,
    MatchCandidate,
    Merge,
    Profile,
    ProfileFacts,
    ProfileStore,
    Purchase,
    PurchaseLine,
    Source,
    SourceRecord,
)
from profiles.separating import CannotSeparate
from profiles.tasks import match_new_records
from tests.loyalty.conftest import programme, ticket  # noqa: F401 - a fixture

AT = datetime(2026, 11, 2, 10, tzinfo=UTC)
CARD_A, CARD_B = Shown("card", "2990000000017"), Shown("card", "2990000000024")


@pytest.fixture
def crm(brand) -> Source:
    return Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM, trust=80)


@pytest.fixture
def shop(brand) -> Source:
    return Source.objects.create(code="shop", name="Web shop", kind=Source.Kind.ECOMMERCE, trust=60)


def told(source, external_id, *, store="", consents=(), **fields) -> Profile:
    """The profile that a source's statement comes to hang on."""
    statement = Statement(
        external_id, fields, raw={"id": external_id} | fields, store_code=store, consents=consents
    )
    outcome = take_in_records(source, [statement])[0]
    assert outcome.verdict == "created", outcome
    return Profile.objects.get(pk=outcome.profile_id)


def yes(channel="email") -> list[ConsentStatement]:
    return [ConsentStatement(channel, True)]


def no(channel="email") -> list[ConsentStatement]:
    return [ConsentStatement(channel, False)]


OF_A_PERSON = {
    SourceRecord: ("pk",),
    Identifier: ("pk",),
    ConsentChange: ("pk",),
    Purchase: ("pk",),
    PurchaseLine: ("pk",),
    Transaction: ("pk",),
    ProfileStore: ("store", "since"),
    Account: ("kind", "balance"),
    Membership: ("tier",),
    ProfileFacts: tuple(facts.MAINTAINED),
}


def everything_of(profile: Profile) -> dict:
    """All that hangs on a profile, by table; and its values, points and lots."""
    rows = {
        model._meta.model_name: sorted(model.objects.filter(profile=profile).values_list(*fields), key=str)
        for model, fields in OF_A_PERSON.items()
    }
    # A transfer is a fact of its own and stays in the books; an account opened by it stays, empty.
    transfers = Transaction.objects.filter(kind__in=["transfer", "adjust"]).values_list("pk", flat=True)
    rows["transaction"] = [row for row in rows["transaction"] if row[0] not in set(transfers)]
    rows["account"] = [row for row in rows["account"] if row[1]]
    lots = Lot.objects.filter(account__profile=profile).order_by("pk")
    values = Profile.objects.filter(pk=profile.pk).values().get()
    return rows | {
        "lots": list(lots.values_list("pk", "remaining", "account__kind", "expires_on")),
        "values": values,
        "consent": consent.current(profile),
        "balance": statements.balance_of(profile),
        "candidates": sorted(
            MatchCandidate.objects.filter(left=profile).values_list("right", "status", "weight"), key=str
        )
        + sorted(
            MatchCandidate.objects.filter(right=profile).values_list("left", "status", "weight"), key=str
        ),
    }


@pytest.fixture
def two(lille_till, lyon_till, programme, crm, shop) -> tuple[Profile, Profile]:  # noqa: F811
    """Anne of Lille, who allows e-mail, and Anna of Lyon, who refused it: told, bought, earned."""
    anne = told(
        crm, "A", store="ACM-001", first_name="Anne", last_name="Petit", card=CARD_A.value,
        email="anne@mail.example", consents=yes(),
    )  # fmt: skip
    anna = told(
        shop, "B", store="ACM-002", first_name="Anna", last_name="Petit", card=CARD_B.value,
        phone="0612345678", consents=[*no(), *yes("sms")],
    )  # fmt: skip
    till.record_purchase(lille_till[0], ticket("R1", 12000, shown=CARD_A))
    till.record_purchase(lyon_till[0], ticket("R2", 8000, shown=CARD_B))
    return anne, anna


def merged(one, other, **more) -> Merge:
    return merging.merge(one, other, **({"ground": Merge.Ground.PERSON} | more))


# --- A merge ----------------------------------------------------------------------------------------------------


def test_a_merge_hands_everything_to_the_older(two):
    anne, anna = two
    deed = merged(anna, anne)
    assert (deed.winner, deed.loser) == (anne, anna)
    for model in merging.HANGS_ON_A_PROFILE:
        assert not model.objects.filter(profile=anna).exists(), model
    assert {row.store.code for row in ProfileStore.objects.filter(profile=anne)} == {"ACM-001", "ACM-002"}
    kept = ProfileFacts.objects.get(profile=anne)
    assert (kept.purchases, kept.spend_cents) == (2, 20000)
    assert ProfileFacts.objects.get(profile=anna).purchases == 0
    anne.refresh_from_db()
    assert (anne.first_name, anne.email, anne.phone) == ("Anne", "anne@mail.example", "+33612345678")
    assert statements.balance_of(anne).available == 120 + 50 + 80
    assert statements.balance_of(anna).available == 0
    assert proof.prove().differences == []


def test_the_merged_id_leads_to_the_survivor(two, lille_till, till_client):
    anne, anna = two
    merged(anne, anna)
    anna.refresh_from_db()
    assert anna.survivor == anne
    answer = till_client(lille_till[1]).get(f"/api/v1/members/{anna.public_id}")
    assert answer.json()["id"] == str(anne.public_id)


def test_the_strictest_consent_holds_after_a_merge(two):
    anne, anna = two
    assert consent.may_contact(anne, "email")
    merged(anne, anna)
    assert not consent.may_contact(anne, "email")
    assert consent.may_contact(anne, "sms")
    row = ProfileFacts.objects.get(profile=anne)
    assert (row.email_allowed, row.sms_allowed, row.post_allowed) == (False, True, False)


def test_later_tickets_with_either_card_reach_the_survivor(two, lille_till):
    anne, anna = two
    merged(anne, anna)
    till.record_purchase(lille_till[0], ticket("R3", 1000, shown=CARD_B))
    assert Purchase.objects.get(receipt_id="R3").profile == anne
    assert statements.balance_of(anne).available == 260


def test_the_history_of_a_survivor_sums_to_the_balance(two):
    anne, anna = two
    before = {movement.transaction.pk: movement.points for p in two for movement in statements.history(p)}
    deed = merged(anne, anna)
    after = {movement.transaction.pk: movement.points for movement in statements.history(anne)}
    assert {pk: after[pk] for pk in before} == before
    assert sum(after.values()) == 250
    separating.unmerge(deed)
    for profile in two:
        moved = sum(movement.points for movement in statements.history(profile))
        assert moved == statements.balance_of(profile).available


@pytest.mark.parametrize("by", ["somebody", None])
def test_what_cannot_be_merged(two, diane, by):
    by = diane if by else None
    anne, anna = two
    with pytest.raises(CannotMerge):
        merged(anne, anne, by=by)
    merged(anne, anna, by=by)
    with pytest.raises(CannotMerge):
        merged(anne, anna, by=by)


# --- And undone -------------------------------------------------------------------------------------------------


def test_an_unmerge_restores_everything(two, diane):
    before = [everything_of(profile) for profile in two]
    deed = merged(*two, by=diane)
    assert everything_of(two[0]) != before[0]
    separating.unmerge(deed, diane)
    after = [everything_of(profile) for profile in two]
    for was, now in zip(before, after, strict=True):
        # What is new is the decision itself: these two are never joined again without a person.
        assert len(now.pop("candidates")) == len(was.pop("candidates")) + 1
        assert now == was
    assert proof.prove().differences == []


def spend(lille_till, shown, points, name):
    till.redeem(lille_till[0], shown, points, name, AT)


def bring_back(machine, receipt_id, refund_id):
    lines = [RefundLineStatement(1, Decimal(1))]
    till.refund(machine, RefundStatement(refund_id, AT + timedelta(days=1), receipt_id, lines))


@pytest.mark.parametrize("debtor", [0, 1])
def test_an_unmerge_restores_a_debt_that_the_other_had_paid(two, lille_till, lyon_till, debtor):
    """Anne owes 100 and Anna has 80 points, or Anna owes 80 and Anne has 170: nobody pays for a mistake of ours."""
    if debtor == 0:
        spend(lille_till, CARD_A, 100, "P1")
        bring_back(lille_till[0], "R1", "B1")
        assert statements.balance_of(two[0]).debt == 100
    else:
        till.record_purchase(lyon_till[0], ticket("R9", 2000, shown=CARD_B))
        spend(lille_till, CARD_B, 100, "P1")
        bring_back(lyon_till[0], "R2", "B1")
        assert statements.balance_of(two[1]).debt == 80
    before = [everything_of(profile) for profile in two]
    deed = merged(*two)
    balance = statements.balance_of(two[0])
    assert not (balance.available and balance.debt)
    assert proof.prove().differences == []
    separating.unmerge(deed)
    for was, profile in zip(before, two, strict=True):
        now = everything_of(profile)
        assert (now["account"], now["lots"], now["balance"]) == (was["account"], was["lots"], was["balance"])
    assert proof.prove().differences == []


def test_two_debts_are_told_apart_again(two, lille_till, lyon_till):
    till.record_purchase(lyon_till[0], ticket("R9", 2000, shown=CARD_B))
    for number, (shown, machine, receipt) in enumerate(
        [(CARD_A, lille_till[0], "R1"), (CARD_B, lyon_till[0], "R2")]
    ):
        spend(lille_till, shown, 100, f"P{number}")
        bring_back(machine, receipt, f"B{number}")
    debts = [statements.balance_of(profile).debt for profile in two]
    assert debts == [100, 80]
    deed = merged(*two)
    assert statements.balance_of(two[0]).debt == 180
    separating.unmerge(deed)
    assert [statements.balance_of(profile).debt for profile in two] == debts
    assert proof.prove().differences == []


def test_what_was_spent_in_between_stays_spent(two, lille_till):
    """Anne had 170 points that expire first, Anna 80: after 200 spent together 50 of Anna's are left."""
    deed = merged(*two)
    spend(lille_till, CARD_B, 200, "P1")
    separating.unmerge(deed)
    assert [statements.balance_of(profile).available for profile in two] == [0, 50]
    assert proof.prove().differences == []


def test_what_came_in_between_follows_the_identifier(two, lille_till, crm, shop):
    anne, anna = two
    deed = merged(anne, anna)
    till.record_purchase(lille_till[0], ticket("R3", 3000, shown=CARD_B))
    till.record_purchase(lille_till[0], ticket("R4", 4000, shown=CARD_A))
    by_phone = Shown("phone", "06 12 34 56 78")
    till.record_purchase(lille_till[0], ticket("R5", 500, shown=by_phone))
    told(shop, "B", first_name="Anna", last_name="Petit", email="anna@mail.example", consents=yes("post"))
    told(crm, "Z", card=CARD_B.value, first_name="Anna", last_name="Petit")
    separating.unmerge(deed)
    owners = dict(Purchase.objects.values_list("receipt_id", "profile"))
    assert owners == {"R1": anne.pk, "R2": anna.pk, "R3": anna.pk, "R4": anne.pk, "R5": anna.pk}
    assert {r.external_id for r in SourceRecord.objects.filter(profile=anne)} == {"A"}
    assert {r.external_id for r in SourceRecord.objects.filter(profile=anna)} == {"B", "Z"}
    assert not Identifier.objects.exclude(record__profile=anna).filter(profile=anna).exists()
    assert consent.may_contact(anna, "post")
    assert not consent.may_contact(anne, "post")
    anna.refresh_from_db()
    anne.refresh_from_db()
    assert (anna.email, anne.email) == ("anna@mail.example", "anne@mail.example")
    assert [statements.balance_of(p).available for p in two] == [170 + 40, 80 + 30 + 5]
    kept = {row.profile_id: row.purchases for row in ProfileFacts.objects.all()}
    assert kept == {anne.pk: 2, anna.pk: 3}
    assert proof.prove().differences == []
    till.record_purchase(lille_till[0], ticket("R6", 600, shown=CARD_B))
    assert Purchase.objects.get(receipt_id="R6").profile == anna


def test_a_later_merge_rests_on_an_earlier_one(two, crm):
    anne, anna = two
    first = told(crm, "Y", first_name="Yann", last_name="Petit")
    inner = merged(anna, first)
    outer = merged(anne, anna)
    with pytest.raises(CannotSeparate):
        separating.unmerge(inner)
    separating.unmerge(outer)
    with pytest.raises(CannotSeparate):
        separating.unmerge(outer)
    separating.unmerge(inner)
    assert Profile.objects.filter(merged_into__isnull=False).count() == 0
    assert SourceRecord.objects.get(external_id="Y").profile == first


def test_of_two_merges_the_first_is_undone_alone(two, crm, lille_till):
    anne, anna = two
    third = told(crm, "Y", first_name="Anne", last_name="Petit", card="2990000000031")
    till.record_purchase(lille_till[0], ticket("R7", 700, shown=Shown("card", "2990000000031")))
    before = everything_of(anna)
    one, other = merged(anne, anna), merged(anne, third)
    separating.unmerge(one)
    after = everything_of(anna)
    assert after.pop("candidates")
    before.pop("candidates")
    assert after == before
    assert statements.balance_of(anne).available == 170 + 7
    separating.unmerge(other)
    assert statements.balance_of(third).available == 7
    assert proof.prove().differences == []


def test_merging_and_separating_again_and_again_loses_nothing(two, diane):
    for _turn in range(3):
        separating.unmerge(merged(*two, by=diane), diane)
    assert [statements.balance_of(profile).available for profile in two] == [170, 80]
    assert Merge.objects.count() == 3
    for profile in two:
        moved = sum(movement.points for movement in statements.history(profile))
        assert moved == statements.balance_of(profile).available
    assert proof.prove().differences == []


# --- What people decide -----------------------------------------------------------------------------------------


def candidate(one, other, **more) -> MatchCandidate:
    left, right = sorted((one, other), key=lambda profile: profile.pk)
    more = {"weight": 5, "probability": 0.8, "model_version": "1"} | more
    return MatchCandidate.objects.create(left=left, right=right, **more)


def test_two_persons_stay_two_whatever_matching_says(crm, shop, diane):
    fields = {"first_name": "Marie", "last_name": "Durand", "email": "marie@mail.example"}
    one, other = told(crm, "1", **fields), told(shop, "1", **fields)
    resolution.decide_never(candidate(one, other), diane)
    match_new_records()
    assert not Merge.objects.exists()
    assert MatchCandidate.objects.get().status == MatchCandidate.Status.NEVER
    with pytest.raises(CannotMerge):
        merged(one, other)


def test_what_was_separated_is_not_joined_again_by_matching(crm, shop, diane):
    fields = {"first_name": "Marie", "last_name": "Durand", "email": "marie@mail.example"}
    told(crm, "1", **fields)
    told(shop, "1", **fields)
    match_new_records()
    separating.unmerge(Merge.objects.get(), diane)
    SourceRecord.objects.update(matched_at=None)
    match_new_records()
    assert Merge.objects.filter(undone_at=None).count() == 0


def test_a_decision_keeps_apart_and_an_open_question_does_not(two, crm, diane):
    third = told(crm, "3", first_name="Paul", last_name="Petit")
    candidate(two[0], third)
    assert candidates.kept_apart() == []
    resolution.decide_never(candidate(*two), diane)
    apart = [tuple(sorted(profile.pk for profile in two))]
    assert candidates.kept_apart() == apart
    assert candidates.kept_apart([profile.pk for profile in two]) == apart
    assert candidates.kept_apart([two[0].pk, third.pk]) == [], "asked about these alone"


def test_a_person_may_decide_otherwise_later(two, diane):
    resolution.decide_never(candidate(*two), diane)
    merged(*two, by=diane)
    assert Profile.objects.filter(merged_into__isnull=False).count() == 1


def test_deciding_the_same_merges_and_closes_the_question(two, diane):
    asked = candidate(*two, evidence=[{"column": "card", "text": "same"}])
    deed = resolution.decide_same(asked, diane)
    asked.refresh_from_db()
    assert (asked.status, asked.decided_by) == (MatchCandidate.Status.MERGED, diane)
    assert (deed.ground, deed.by, deed.probability) == (Merge.Ground.PERSON, diane, 0.8)


NEVER, OPEN = MatchCandidate.Status.NEVER, MatchCandidate.Status.OPEN


@pytest.mark.parametrize(
    ("of_loser", "of_winner", "while_merged"),
    [
        (NEVER, None, NEVER),
        (OPEN, None, OPEN),
        (NEVER, OPEN, NEVER),
        (OPEN, NEVER, NEVER),
        (NEVER, NEVER, NEVER),
        (OPEN, OPEN, OPEN),
    ],
)
def test_decisions_about_the_merged_bind_the_survivor_and_return(two, crm, of_loser, of_winner, while_merged):
    anne, anna = two
    third = told(crm, "3", first_name="Paul", last_name="Petit")
    candidate(anna, third, status=of_loser)
    if of_winner:
        candidate(anne, third, status=of_winner)
    before = [everything_of(profile)["candidates"] for profile in two]
    deed = merged(anne, anna)
    assert MatchCandidate.objects.get(left=anne, right=third).status == while_merged
    assert not MatchCandidate.objects.filter(left=anna, right=third).exists()
    separating.unmerge(deed)
    after = [everything_of(profile)["candidates"] for profile in two]
    separated = [[row for row in rows if row[0] == third.pk] for rows in after]
    assert separated == before


def test_a_decision_made_meanwhile_stays(two, crm, diane):
    anne, anna = two
    third = told(crm, "3", first_name="Paul", last_name="Petit")
    candidate(anna, third)
    deed = merged(anne, anna)
    resolution.decide_never(MatchCandidate.objects.get(left=anne, right=third), diane)
    separating.unmerge(deed)
    assert MatchCandidate.objects.get(left=anne, right=third).status == NEVER
    assert MatchCandidate.objects.get(left=anna, right=third).status == OPEN


def test_who_decides_second_hears_that_it_is_decided(two, diane, alice):
    """Both looked at the open question; the second one's page is old."""
    old = candidate(*two)
    resolution.decide_never(MatchCandidate.objects.get(), diane)
    for late in (resolution.decide_same, resolution.decide_never, resolution.decide_household):
        with pytest.raises(resolution.Decided):
            late(old, alice)
    assert not Merge.objects.exists()
    assert not HouseholdWord.objects.exists()
    assert MatchCandidate.objects.get().decided_by == diane


def test_nobody_decides_about_somebody_whom_they_did_not_look_at(two, crm, diane, alice):
    """A question that was passed on to the survivor is another question; one that is gone is none."""
    anne, anna = two
    third = told(crm, "3", first_name="Paul", last_name="Petit")
    fourth = told(crm, "4", first_name="Lucie", last_name="Petit")
    passed_on, gone = candidate(anna, third), candidate(anna, fourth)
    candidate(anne, fourth)
    merging.merge(*two, ground=Merge.Ground.MATCH)
    for old in (passed_on, gone):
        for late in (resolution.decide_same, resolution.decide_never, resolution.decide_household):
            with pytest.raises(resolution.Decided):
                late(old, alice)
    assert Merge.objects.count() == 1


# --- Matching ---------------------------------------------------------------------------------------------------


def test_two_records_with_slips_of_the_pen_are_one_person(crm, shop):
    one = told(
        crm, "1", first_name="Sébastien", last_name="Lefebvre", birth_date="1984-03-12",
        email="seb.lefebvre@mail.example", postcode="59000", city="Lille", street="12 rue de Béthune",
    )  # fmt: skip
    told(
        shop, "1", first_name="Sebastien", last_name="LEFEVRE", birth_date="1984-03-12",
        email="seb.lefebvre@mail.example", postcode="59000", city="LILLE", street="12, r. de Bethune",
    )  # fmt: skip
    assert match_new_records() == {"records": 2, "merged": 1, "queued": 0}
    deed = Merge.objects.get()
    assert deed.winner == one
    assert deed.evidence
    assert deed.model_version
    assert match_new_records() == {"records": 0, "merged": 0, "queued": 0}


def test_a_household_is_not_one_person(crm, shop):
    home = {
        "last_name": "Lefebvre", "email": "famille.lefebvre@mail.example", "phone": "0320000001",
        "street": "12 rue de Béthune", "postcode": "59000", "city": "Lille",
    }  # fmt: skip
    told(crm, "1", first_name="Sébastien", birth_date="1984-03-12", **home)
    told(shop, "1", first_name="Julie", birth_date="1986-07-01", **home)
    assert match_new_records()["merged"] == 0
    assert Profile.objects.filter(merged_into=None).count() == 2


def test_the_card_that_a_till_knew_first_does_not_make_spouses_one_person(crm, shop, lille_till):
    """The till's own record has the card and no name: it fits him and her."""
    till.record_purchase(lille_till[0], ticket("R1", 1000, shown=CARD_A))
    paul = told(crm, "1", first_name="Paul", last_name="Garrigou", card=CARD_A.value)
    lucie = told(shop, "1", first_name="Lucie", last_name="Garrigou", card=CARD_A.value)
    assert Purchase.objects.get().profile == paul
    match_new_records()
    assert (paul.survivor, lucie.survivor) == (paul, lucie)
    unification.unify_brand()
    assert Profile.objects.filter(merged_into=None).count() == 2


def test_father_and_son_of_one_name_and_one_card_are_two(crm, shop):
    same = {"first_name": "Brelum", "last_name": "Kelnar", "card": CARD_A.value}
    father = told(crm, "1", birth_date="1950-03-04", **same)
    son = told(shop, "1", birth_date="1981-11-25", **same)
    assert father != son
    match_new_records()
    assert Profile.objects.filter(merged_into=None).count() == 2
    # A slip of the pen is no other birth date, and no birth date is none.
    assert told(crm, "2", birth_date="1950-03-05", first_name="Yozan", card=CARD_B.value) == told(
        shop, "2", birth_date="1950-03-06", first_name="Yozan", card=CARD_B.value
    )
    assert told(shop, "3", first_name="Yozan", card=CARD_B.value).pk


def test_what_is_uncertain_waits_for_a_person_once(crm, shop):
    twin = {
        "last_name": "Garrigou", "birth_date": "2005-06-01", "phone": "0612345678", "email": "maman@mail.example",
        "street": "4 rue des Lilas", "postcode": "31000", "city": "Toulouse",
    }  # fmt: skip
    told(crm, "1", first_name="Paul", **twin)
    told(shop, "1", first_name="Sylvie", **twin)
    assert match_new_records() == {"records": 2, "merged": 0, "queued": 1}
    asked = MatchCandidate.objects.get()
    assert asked.status == OPEN
    assert 0 < asked.probability < 1
    assert asked.evidence
    SourceRecord.objects.update(matched_at=None)
    assert match_new_records()["queued"] == 0
    assert MatchCandidate.objects.count() == 1


def test_a_person_known_by_two_records_in_two_chunks_is_found(crm, shop):
    fields = {"first_name": "Marie", "last_name": "Durand", "email": "marie@mail.example"}
    told(crm, "1", **fields)
    match_new_records()
    told(shop, "1", **fields)
    assert match_new_records()["merged"] == 1
    assert Merge.objects.get().at <= timezone.now()
