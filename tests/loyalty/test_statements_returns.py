"""The numbered statements about goods that come back."""

from datetime import timedelta
from itertools import permutations

import pytest

from loyalty import proof, rulebook, statements, till
from loyalty.models import Account, Lot, Posting, Rule, Transaction
from loyalty.rules import points_to_take_back
from profiles.intake import Problem
from profiles.models import Profile
from tests.loyalty.conftest import AT, CARD, LONG_AGO, back, ticket
from tests.loyalty.test_rules import BASE, BASKET, CAPPED, times
from tests.loyalty.test_rules import ticket as told


def shown() -> tuple[int, int]:
    """(available, debt) of the only member."""
    balance = statements.balance_of(Profile.objects.get())
    return balance.available, balance.debt


def test_a_return_takes_the_tickets_own_lot_first(lille_till, programme_p):
    """Statement 35: the lot of the returned ticket is reduced first, and the balance is what it was before."""
    programme_p()
    early = AT - timedelta(days=30)
    till.record_purchases(lille_till[0], [ticket("R0", 7000, at=early), ticket("R1", 5000)])
    till.refund(lille_till[0], back("B1", "R1", 1))
    left = dict(Lot.objects.values_list("transaction__purchase__receipt_id", "remaining"))
    assert left == {"R0": 70, "R1": 0}
    assert shown() == (70, 0)


def test_what_was_spent_becomes_a_debt(lille_till, programme_p):
    """Statement 36: a return of points already spent is a debt beside a balance of 0; earning 80 leaves 30."""
    programme_p()
    till.record_purchases(lille_till[0], [ticket("R1", 5000), ticket("R2", 5000)])
    till.redeem(lille_till[0], CARD, 100, "P1", AT)
    till.refund(lille_till[0], back("B1", "R1", 1))
    assert shown() == (0, 50)
    till.record_purchase(lille_till[0], ticket("R3", 8000))
    assert shown() == (30, 0)
    assert proof.prove().differences == []


def test_parts_sum_to_the_whole(lille_till, programme_p):
    """Statement 37: 19.95 brought back takes 20, then 29.95 takes 29: 49 for every order and split."""
    programme_p()
    till.record_purchase(lille_till[0], ticket("R1", 1995, 2995))
    taken = [till.refund(lille_till[0], back(f"B{n}", "R1", n)).body["points_taken_back"] for n in (1, 2)]
    assert taken == [20, 29]
    parts = [(0, 995), (0, 1000), (1, 1), (1, 2994)]
    for order in permutations(parts):
        rest, already = [0, 0], 0
        for number, cents in order:
            rest[number] += cents
            already += points_to_take_back(told(1995, 2995), list(rest), [BASE], already)
        assert already == 49


def test_a_multiplied_line_takes_its_multiple():
    """Statement 38: the line of 20 € at ×3 takes 60 points back."""
    rules = [BASE, times(3, categories=["DAIRY"])]
    assert points_to_take_back(told(3000, (2000, "DAIRY")), [0, 2000], rules, 0) == 60


def test_a_return_never_gives_points(programme_p, lille_till):
    """A basket that would have earned, had it been smaller, earns nothing once a part comes back; to the proof, too."""
    programme_p()
    large = Rule.objects.create(code="large", name="Large", kind=Rule.Kind.BASE, priority=1)
    nothing = {"points": 0, "per_cents": 100}
    rulebook.publish(large, {"min_total_cents": 10_000}, nothing, effective_from=LONG_AGO)
    assert till.record_purchase(lille_till[0], ticket("R1", 7000, 5000)).body["points"] == 0
    assert till.refund(lille_till[0], back("B1", "R1", 2)).body["points_taken_back"] == 0
    assert proof.prove().differences == []


def test_a_capped_ticket_may_lose_nothing():
    """Statement 39: 200 € of a ticket of 800 € that was capped at 500 take nothing back."""
    assert points_to_take_back(told(80000), [20000], [CAPPED], 0) == 0


def test_a_lost_bonus_goes_with_its_points():
    """Statement 40: 20 € of a ticket of 110 € that earned 160 take 70 back."""
    assert points_to_take_back(told(11000), [2000], [BASE, BASKET], 0) == 70


def test_points_are_never_returned_twice(lille_till, programme_p):
    """Statement 42: the same return id has one effect, and no more comes back than was sold."""
    programme_p()
    till.record_purchase(lille_till[0], ticket("R1", 5000))
    first = till.refund(lille_till[0], back("B1", "R1", 1))
    again = till.refund(lille_till[0], back("B1", "R1", 1))
    assert again.replayed
    assert again.body == first.body
    with pytest.raises(Problem) as refused:
        till.refund(lille_till[0], back("B2", "R1", 1))
    assert refused.value.code == "quantity_exceeded"
    assert Transaction.objects.filter(kind="refund").count() == 1
    assert shown() == (0, 0)


def test_a_return_elsewhere_is_charged_to_who_issued(lille_till, lyon_till, programme_p):
    """Statement 43: goods of A brought back to B are taken from the points that A issued."""
    programme_p()
    till.record_purchase(lille_till[0], ticket("R1", 5000))
    elsewhere = back("B1", "R1", 1, store_code=lille_till[0].store.code)
    till.refund(lyon_till[0], elsewhere)
    issued = Posting.objects.filter(account__kind=Account.Kind.ISSUED).values_list("account__store", "points")
    assert sorted(issued, key=lambda row: row[1]) == [
        (lille_till[0].store_id, -50),
        (lille_till[0].store_id, 50),
    ]


def test_an_exchange_is_a_return_and_a_ticket(lille_till, programme_p):
    """Statement 45: an exchange of −40 € and +55 € is −40 and +55 points in two groups."""
    programme_p()
    till.record_purchase(lille_till[0], ticket("R1", 4000))
    till.refund(lille_till[0], back("B1", "R1", 1))
    till.record_purchase(lille_till[0], ticket("R2", 5500, at=AT + timedelta(days=1)))
    moved = Posting.objects.filter(account__kind=Account.Kind.AVAILABLE).order_by("pk")
    assert list(moved.values_list("points", flat=True)) == [40, -40, 55]
    assert Transaction.objects.count() == 3
