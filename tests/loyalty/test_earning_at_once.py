"""Actions, claims, cases and parked returns when two do them at the same time, from connections of their own."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from loyalty import actions, cases, claims, rulebook, statements, till
from loyalty.models import Action, Case, CaseTicket, Claim, ParkedReturn, Rule
from profiles.intake import Problem, RefundLineStatement, RefundStatement
from tenants.network.models import Staff
from tenants.roles import Role
from tests.loyalty.conftest import ticket
from tests.loyalty.test_ledger_invariants import Arena, arena, buy, member, stage  # noqa: F401 - two are fixtures


@pytest.fixture(scope="module")
def rule(stage, django_db_blocker) -> Rule:  # noqa: F811
    """A review earns five points, once a person."""

    def made() -> Rule:
        review = Rule.objects.create(code="review", name="Review", kind=Rule.Kind.ACTION)
        rulebook.publish(review, {}, {"action": "review", "points": 5, "times": 1, "expiry_months": 12})
        return review

    with django_db_blocker.unblock():
        return stage.run(made)


def review(arena: Arena, key: str, at=None):  # noqa: F811
    return actions.record(arena.till, actions.Deed("review", key, arena.card, at or timezone.now()))


def test_an_action_told_twice_at_once_counts_once(arena, rule):  # noqa: F811
    """Statement 13: the second waits for the first, and hears the same."""
    arena.run(buy, arena, "R1", 50)
    key, at = f"k{arena.till.pk}", timezone.now()
    first, second = arena.overtaken(lambda: review(arena, key, at), lambda: review(arena, key, at))
    assert (first.body["points"], second.body, second.replayed) == (5, first.body, True)
    assert Action.objects.filter(key=key).count() == 1


def test_two_actions_at_once_do_not_both_find_room_under_a_cap(arena, rule):  # noqa: F811
    """Statement 14: caps are counted while the member is held."""
    arena.run(buy, arena, "R1", 50)
    first, second = arena.overtaken(
        lambda: review(arena, f"a{arena.till.pk}"), lambda: review(arena, f"b{arena.till.pk}")
    )
    assert (first.body["points"], second.body["points"]) == (5, 0)
    assert second.body["why"] == "cap of the period"


def test_a_ticket_claimed_twice_at_once_is_claimed_once(arena):  # noqa: F811
    """Statement 17: the second claim waits for the first, and is refused."""
    arena.run(buy, arena, "R1", 50)
    receipt = arena.receipt("N1")
    arena.run(till.record_purchase, arena.till, ticket(receipt, 4990, shown=None, at=timezone.now()))
    told = claims.Told(receipt, 4990, "S")
    first, second = arena.overtaken(
        lambda: claims.at_till(arena.till, "C1", arena.card, told),
        lambda: claims.at_till(arena.till, "C2", arena.card, told),
    )
    assert first.body["points"] == 49
    assert isinstance(second, Problem)
    assert second.code == "already_claimed"
    assert Claim.objects.filter(purchase__receipt_id=receipt).count() == 1


@pytest.fixture
def held(arena) -> Case:  # noqa: F811
    """Four tickets of one hour; the fourth is held."""
    for number in range(4):
        arena.run(buy, arena, f"R{number}", 1000)
    return Case.objects.get(profile=member(arena))


def decider(arena: Arena) -> Staff:  # noqa: F811
    email = f"d{arena.till.pk}@acme.example"
    return arena.run(lambda: Staff.objects.create_user(email, full_name="D", role=Role.BRAND_ADMIN))


def nothing_is_held_for_ever() -> bool:
    return not CaseTicket.objects.filter(ended_at=None).exclude(case__state="open").exists()


def test_a_ticket_added_while_its_case_is_released_is_released_too(arena, held):  # noqa: F811
    """Statement 53: whoever decides waits for the till, and decides on its ticket as well."""
    staff = decider(arena)
    _bought, done = arena.overtaken(
        lambda: buy(arena, "R4", 1000), lambda: cases.release(held.pk, by=staff, comment="fine")
    )
    assert done.state == "released"
    assert nothing_is_held_for_ever()
    assert statements.balance_of(member(arena)).available == 50


def test_a_ticket_after_the_decision_opens_a_case_of_its_own(arena, held):  # noqa: F811
    """Statement 53: a till that waits for the decision holds its ticket in a new case."""
    staff = decider(arena)
    _done, bought = arena.overtaken(
        lambda: cases.reverse(held.pk, by=staff, comment="no"), lambda: buy(arena, "R4", 1000)
    )
    assert (bought.body["available"], bought.body["pending"]) == (30, 10)
    assert nothing_is_held_for_ever()
    assert Case.objects.filter(profile=member(arena), state="open").count() == 1


def test_a_return_and_its_sale_that_cross_find_each_other(arena):  # noqa: F811
    """Statement 44: neither saw the other; the next round applies the return."""
    line = [RefundLineStatement(1, Decimal(1))]
    told = RefundStatement("B1", timezone.now() + timedelta(hours=1), arena.receipt("R1"), line)
    parked, sold = arena.overtaken(lambda: till.refund(arena.till, told), lambda: buy(arena, "R1", 5000))
    assert (parked.status, sold.body["points"]) == (202, 50)
    assert ParkedReturn.objects.get(till=arena.till).state == "waiting"
    assert arena.run(till.apply_waiting) == 1
    assert statements.balance_of(member(arena)).available == 0
