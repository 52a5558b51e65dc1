"""The numbered statements about spending points."""

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine

from loyalty import ledger, proof, statements, tasks, till
from loyalty.ledger import NotEnoughPoints
from loyalty.models import Lot, LotUse, Transaction
from profiles.models import Profile
from tests.loyalty.conftest import AT, CARD, ticket


def test_the_missing_point_is_counted(lille_till, programme_p):
    """Statement 27: a balance of 99 at a minimum of 100 is refused, 1 point missing."""
    programme_p()
    till.record_purchase(lille_till[0], ticket("R1", 9900))
    with pytest.raises(NotEnoughPoints) as refused:
        till.redeem(lille_till[0], CARD, 100, "P1", AT)
    assert refused.value.missing == 1


def test_the_member_chooses_how_much_to_spend(lille_till, programme_p):
    """Statement 28: 100 of 250 are spent, 150 are left."""
    programme_p()
    till.record_purchase(lille_till[0], ticket("R1", 25000))
    answer = till.redeem(lille_till[0], CARD, 100, "P1", AT)
    assert (answer.body["discount_cents"], answer.body["available"]) == (500, 150)
    assert Lot.objects.get().remaining == 150
    assert statements.balance_of(Profile.objects.get()).available == 150


@pytest.fixture
def two_lots(lille_till, programme_p) -> dict:
    """60 and 80 points of two tickets; what a deed at the till needs to be told."""
    programme_p()
    early = datetime(2025, 12, 20, 10, tzinfo=UTC)
    till.record_purchases(lille_till[0], [ticket("R1", 6000, at=early), ticket("R2", 8000)])
    return {"profile_id": Profile.objects.get().pk, "store_id": lille_till[0].store_id}


def left() -> list[int]:
    return list(Lot.objects.order_by("pk").values_list("remaining", flat=True))


def test_reserved_points_are_set_aside(two_lots):
    """Statement 29: what is reserved falls at once; commit spends it; cancel or a timeout restores the same lots."""
    first = ledger.reserve(points=100, key="b1", at=AT, **two_lots)
    assert statements.balance_of(Profile.objects.get()).available == 40
    with pytest.raises(NotEnoughPoints):
        ledger.redeem(points=100, key="other", at=AT, **two_lots)
    ledger.cancel(first, at=AT)
    assert left() == [60, 80]
    with pytest.raises(ledger.ReservationOver):
        ledger.commit(first, at=AT)
    second = ledger.reserve(points=100, key="b2", at=AT, **two_lots)
    ledger.commit(second, at=AT + timedelta(minutes=14))
    for deed in (ledger.commit, ledger.cancel):
        with pytest.raises(ledger.ReservationOver):
            deed(second, at=AT)
    assert left() == [0, 40]
    third = ledger.reserve(points=40, key="b3", at=AT, **two_lots)
    with pytest.raises(ledger.ReservationOver):
        ledger.commit(third, at=AT + timedelta(minutes=15))
    with time_machine.travel(AT + timedelta(minutes=15), tick=False):
        assert tasks.cancel_stale_reservations() == 1
        assert tasks.cancel_stale_reservations() == 0
    assert left() == [0, 40]
    assert proof.prove().differences == []


def test_a_redemption_taken_back_restores_the_very_lots(two_lots):
    spent = ledger.redeem(points=100, key="r", at=AT, **two_lots)
    assert left() == [0, 40]
    ledger.give_back(spent, 50, key="back-1", at=AT)
    assert left() == [10, 80]
    with pytest.raises(ledger.AlreadyPosted):
        ledger.give_back(spent, 50, key="back-1", at=AT)
    with pytest.raises(ledger.NothingToGiveBack):
        ledger.give_back(spent, 51, key="back-2", at=AT)
    ledger.give_back(spent, 50, key="back-2", at=AT)
    assert left() == [60, 80]
    for lot in Lot.objects.all():
        assert sum(LotUse.objects.filter(lot=lot).values_list("points", flat=True)) == 0
    assert proof.prove().differences == []


def test_points_given_back_to_a_lot_that_expired_live_thirty_days_more(two_lots):
    spent = ledger.redeem(points=100, key="r", at=AT, **two_lots)
    with time_machine.travel(datetime(2026, 12, 25, 10, tzinfo=UTC), tick=False):
        ledger.expire_due(date(2026, 12, 25))
        ledger.give_back(spent, 100, key="back", at=AT)
        assert Lot.objects.order_by("pk").first().expires_on == date(2027, 1, 24)
        assert statements.balance_of(Profile.objects.get()).available == 140
        assert ledger.expire_due(date(2027, 1, 25)) == 1
    assert Transaction.objects.filter(kind="give_back").count() == 1
    assert proof.prove().differences == []
