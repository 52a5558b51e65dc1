"""The numbered statements about points that wait and points that expire."""

from datetime import UTC, date, datetime

import pytest

from loyalty import ledger, proof, rules, statements, till
from loyalty.ledger import NotEnoughPoints
from loyalty.models import Lot
from profiles.models import Profile
from tests.loyalty.conftest import AT, CARD, back, ticket


def shown() -> tuple[int, int]:
    """(available, pending) of the only member."""
    balance = statements.balance_of(Profile.objects.get())
    return balance.available, balance.pending


def test_points_wait_fourteen_days(lille_till, programme_p):
    """Statement 19: earned 1 March 10:00, spendable from 15 March 00:00 on; both balances are shown."""
    programme_p(pending_days=14)
    till.record_purchase(lille_till[0], ticket("R1", 10000, at=datetime(2026, 3, 1, 10, tzinfo=UTC)))
    ledger.release_due(date(2026, 3, 14))
    assert shown() == (0, 100)
    with pytest.raises(NotEnoughPoints):
        till.redeem(lille_till[0], CARD, 100, "P1", AT)
    ledger.release_due(date(2026, 3, 15))
    assert shown() == (100, 0)
    assert till.redeem(lille_till[0], CARD, 100, "P1", AT).status == 201


def test_a_return_while_points_wait_cancels_them(lille_till, programme_p):
    """Statement 20: a full return while the points wait cancels the waiting lot and no available point."""
    programme_p(pending_days=14)
    till.record_purchase(lille_till[0], ticket("R0", 3000, at=datetime(2026, 3, 1, 10, tzinfo=UTC)))
    ledger.release_due(date(2026, 3, 15))
    till.record_purchase(lille_till[0], ticket("R1", 5000))
    assert shown() == (30, 50)
    till.refund(lille_till[0], back("B1", "R1", 1))
    assert shown() == (30, 0)
    assert proof.prove().differences == []


@pytest.mark.parametrize(("earned", "last"), [("2026-01-31", "2027-01-31"), ("2024-02-29", "2025-02-28")])
def test_a_lot_lives_through_its_last_day(earned, last):
    """Statement 21: twelve months end on the same day of the month, or on its end; that day counts."""
    assert rules.last_day(date.fromisoformat(earned), 12) == date.fromisoformat(last)


def test_what_was_spent_does_not_expire(lille_till, programme_p):
    """Statement 24: 150 of A 100 and B 200 are taken as A 100 + B 50, and when A's day has passed 150 are left."""
    programme_p()
    till.record_purchase(lille_till[0], ticket("B", 20000, at=datetime(2025, 12, 30, 10, tzinfo=UTC)))
    till.record_purchase(lille_till[0], ticket("A", 10000, at=datetime(2025, 11, 30, 10, tzinfo=UTC)))
    member = Profile.objects.get()
    ledger.redeem(member.pk, 150, store_id=lille_till[0].store_id, key="spend", at=AT)
    left = dict(Lot.objects.values_list("transaction__purchase__receipt_id", "remaining"))
    assert left == {"A": 0, "B": 150}
    assert ledger.expire_due(date(2026, 12, 1)) == 0
    assert shown() == (150, 0)
