"""What a till can ask, through the verbs: tickets, refunds, redemptions, repeats and races."""

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from loyalty import ledger, proof, statements, tasks, till
from loyalty.models import Account, Lot, TillRequest, Transaction
from profiles.intake import Conflict, Problem, Shown
from profiles.models import Profile, Purchase
from tenants.scoping import scoped_to
from tests.loyalty.conftest import AT, CARD, back, ticket


@pytest.fixture
def lille_t1(lille_till, programme):
    return lille_till[0]


def member() -> Profile:
    return Profile.objects.get()


def sound_ledger() -> bool:
    return proof.prove().differences == []


def test_a_ticket_earns_and_says_why(lille_t1):
    answer = till.record_purchase(lille_t1, ticket("R1", 1995, 2995))
    assert answer.status == 201
    assert answer.body["points"] == 49
    assert answer.body["available"] == 49
    assert answer.body["explanation"] == [{"rule": "base", "version": 1, "points": 49, "why": "base"}]
    assert sound_ledger()


def test_the_same_ticket_again_gets_the_same_answer_and_earns_once(lille_t1):
    first = till.record_purchase(lille_t1, ticket("R1", 1995))
    again = till.record_purchase(lille_t1, ticket("R1", 1995))
    assert (first.replayed, again.replayed) == (False, True)
    assert again.body == first.body
    assert Purchase.objects.count() == 1
    assert statements.balance_of(member()).available == 19


def test_the_same_receipt_with_another_content_is_refused_and_changes_nothing(lille_t1):
    till.record_purchase(lille_t1, ticket("R1", 1995))
    with pytest.raises(Conflict):
        till.record_purchase(lille_t1, ticket("R1", 9999))
    assert statements.balance_of(member()).available == 19


def test_a_batch_answers_each_ticket_and_keeps_the_good_ones(lille_t1):
    future = timezone.now() + timedelta(days=5)
    sent = [ticket("R2", 500), ticket("R1", 1000), ticket("R3", 100, at=future), ticket("R1", 1000)]
    good, first, late, twice = till.record_purchases(lille_t1, sent)
    assert (good.body["points"], first.body["points"]) == (5, 10)
    assert isinstance(late, Problem)
    assert late.code == "future_date"
    assert twice.replayed
    assert twice.body == first.body
    assert statements.balance_of(member()).available == 15
    assert sound_ledger()


def test_a_ticket_crosses_a_tier_for_the_next_ticket(lille_t1):
    till.record_purchases(lille_t1, [ticket("R1", 9000), ticket("R2", 9000, at=AT + timedelta(hours=1))])
    assert statements.balance_of(member()).tier == ""
    answer = till.record_purchase(lille_t1, ticket("R3", 9000, at=AT + timedelta(hours=2)))
    assert answer.body["tier"] == "Silver"
    assert Transaction.objects.get(purchase__receipt_id="R3").tier == ""


def test_refunds_of_the_parts_sum_to_the_whole(lille_t1):
    till.record_purchase(lille_t1, ticket("R1", 1995, 2995))
    first = till.refund(lille_t1, back("B1", "R1", 1))
    assert first.body["points_taken_back"] == 20
    second = till.refund(lille_t1, back("B2", "R1", 2))
    assert second.body["points_taken_back"] == 29
    assert statements.balance_of(member()).available == 0
    assert sound_ledger()


def test_a_refund_of_points_already_spent_becomes_a_debt_that_the_next_ticket_pays(lille_t1):
    till.record_purchase(lille_t1, ticket("R1", 5000, 5000))
    till.redeem(lille_t1, CARD, 100, "P1", AT)
    assert statements.balance_of(member()).available == 50
    till.refund(lille_t1, back("B1", "R1", 1, 2))
    balance = statements.balance_of(member())
    assert (balance.available, balance.debt) == (0, 100)
    till.record_purchase(lille_t1, ticket("R2", 8000, at=AT + timedelta(days=2)))
    balance = statements.balance_of(member())
    assert (balance.available, balance.debt) == (0, 20)
    assert sound_ledger()


def test_a_refund_of_a_store_that_does_not_exist_is_refused(lille_t1):
    with pytest.raises(Problem) as refused:
        till.refund(lille_t1, back("B1", "R-unknown", 1, store_code="ACM-999"))
    assert refused.value.code == "unknown_sale"


def test_nobody_brings_back_more_than_was_sold(lille_t1):
    till.record_purchase(lille_t1, ticket("R1", 5000))
    till.refund(lille_t1, back("B1", "R1", 1))
    with pytest.raises(Problem) as refused:
        till.refund(lille_t1, back("B2", "R1", 1))
    assert refused.value.code == "quantity_exceeded"
    assert refused.value.field == "lines[0].quantity"


def test_spending_takes_the_lot_that_expires_first(lille_t1):
    early = AT - timedelta(days=60)
    till.record_purchases(lille_t1, [ticket("R2", 9900), ticket("R1", 9900, at=early)])
    till.redeem(lille_t1, CARD, 100, "P1", AT)
    left = dict(
        Lot.objects.order_by("expires_on").values_list("transaction__purchase__receipt_id", "remaining")
    )
    assert left == {"R1": 0, "R2": 98}
    assert sound_ledger()


def test_too_few_points_says_how_many_are_missing(lille_t1):
    till.record_purchase(lille_t1, ticket("R1", 9900))
    with pytest.raises(ledger.NotEnoughPoints) as refused:
        till.redeem(lille_t1, CARD, 100, "P1", AT)
    assert refused.value.missing == 1


def test_points_expire_after_their_last_day_and_only_once(lille_t1):
    bought = datetime(2025, 1, 31, 10, tzinfo=UTC)
    till.record_purchase(lille_t1, ticket("R1", 5000, at=bought))
    assert ledger.expire_due(date(2026, 1, 31)) == 0
    assert ledger.expire_due(date(2026, 2, 1)) == 1
    assert ledger.expire_due(date(2026, 2, 1)) == 0
    assert statements.balance_of(member()).available == 0
    assert sound_ledger()


def test_identify_masks_and_finds_across_stores_but_members_only_own(lille_t1, lyon_till, programme):
    answer = till.record_purchase(
        lille_t1, ticket("R1", 5000, shown=Shown("email", "marie.durand@mail.example"))
    )
    lyon = lyon_till[0]
    with scoped_to(lyon.scope):
        seen = till.identify(lyon, Shown("email", "Marie.Durand@mail.example"))
        assert seen["id"] == answer.body["member"]
        assert seen["email"] == "m•••@mail.example"
        with pytest.raises(till.UnknownMember):
            till.statement(seen["id"])
    with scoped_to(lille_t1.scope):
        assert till.statement(seen["id"])["available"] == 50


def test_the_proof_finds_what_was_tampered_with(lille_t1):
    till.record_purchase(lille_t1, ticket("R1", 5000))
    Account.objects.filter(kind="available").update(balance=60)
    checks = {difference.check for difference in proof.prove().differences}
    assert checks == {"balance_is_sum_of_postings", "balance_is_sum_of_lots"}


def test_a_discount_on_a_line_of_its_own_is_not_paid_back_as_goods(lille_t1):
    till.record_purchase(lille_t1, ticket("R1", 1000, -500))
    for lines in ((1,), (2,)):
        with pytest.raises(Problem) as refused:
            till.refund(lille_t1, back("B1", "R1", *lines))
        assert refused.value.code == "amount_exceeded"
    assert till.refund(lille_t1, back("B1", "R1", 1, 2)).body["refunded_cents"] == 500
    assert sound_ledger()


def test_what_expired_yesterday_is_not_spent_today_though_no_job_has_run(lille_t1):
    long_ago = timezone.now() - timedelta(days=400)
    till.record_purchase(lille_t1, ticket("R1", 9900, at=long_ago))
    assert statements.balance_of(member()).available == 0
    with pytest.raises(ledger.NotEnoughPoints):
        till.redeem(lille_t1, CARD, 100, "P1", timezone.now())
    assert sound_ledger()


def test_a_ticket_of_another_age_is_refused(lille_t1):
    with pytest.raises(Problem) as refused:
        till.record_purchase(lille_t1, ticket("R1", 900, at=datetime(1971, 1, 1, tzinfo=UTC)))
    assert refused.value.code == "past_date"


def test_a_ticket_whose_kept_answer_is_gone_is_told_again_from_the_ledger(lille_t1):
    first = till.record_purchase(lille_t1, ticket("R1", 5000))
    TillRequest.objects.all().delete()
    again = till.record_purchase(lille_t1, ticket("R1", 5000))
    assert again.replayed
    assert again.body == first.body


def test_tiers_are_reviewed_when_the_year_has_passed(lille_t1):
    bought = timezone.now() - timedelta(days=360)
    till.record_purchase(lille_t1, ticket("R1", 90000, at=bought))
    assert statements.balance_of(member()).tier == "Silver"
    with time_machine.travel(timezone.now() + timedelta(days=10), tick=False):
        assert tasks.review_tiers() == 1
        assert statements.balance_of(member()).tier == "Silver"
    with time_machine.travel(timezone.now() + timedelta(days=10 + 61), tick=False):
        assert tasks.review_tiers() == 1
        assert statements.balance_of(member()).tier == ""
