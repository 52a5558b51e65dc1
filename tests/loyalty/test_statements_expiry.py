"""The numbered statements about points that wait and points that expire."""

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine

from loyalty import ledger, proof, rules, statements, till
from loyalty.ledger import NotEnoughPoints
from loyalty.models import Lot, Transaction
from profiles import merging
from profiles.models import Merge, Profile
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


def test_points_of_a_year_end_on_one_day(lille_till, programme_p):
    """Statement 22: points of a year end on 31 March of the next; 31 December 23:30 at the store is that year."""
    programme_p(expiry="fixed", expiry_day="03-31", expiry_months=None)
    late = datetime(2025, 12, 31, 22, 30, tzinfo=UTC)
    till.record_purchase(lille_till[0], ticket("R1", 1000, at=late))
    till.record_purchase(lille_till[0], ticket("R2", 1000, at=late + timedelta(hours=1)))
    days = Lot.objects.order_by("expires_on").values_list("expires_on", flat=True)
    assert list(days) == [date(2026, 3, 31), date(2027, 3, 31)]


def test_activity_keeps_points_alive(lille_till, programme_p):
    """Statement 23: a purchase or a redemption extends all lots; a return, an adjustment, a merge do not."""
    programme_p(expiry="inactivity", expiry_months=6)
    machine = lille_till[0]
    till.record_purchase(machine, ticket("R1", 20000, at=datetime(2026, 6, 30, 10, tzinfo=UTC)))
    lot = Lot.objects.get()
    till.record_purchase(machine, ticket("R2", 1000, at=datetime(2026, 8, 31, 10, tzinfo=UTC)))
    lot.refresh_from_db()
    assert lot.expires_on == date(2027, 2, 28)
    member, other = Profile.objects.get(), Profile.objects.create()
    with time_machine.travel(datetime(2026, 11, 20, tzinfo=UTC), tick=False):
        till.refund(machine, back("B1", "R2", 1))
        ledger.adjust(member.pk, 5, store_id=machine.store_id, key="a", at=AT, why={})
        merging.merge(member, other, ground=Merge.Ground.PERSON)
        lot.refresh_from_db()
        assert lot.expires_on == date(2027, 2, 28)
        till.redeem(machine, CARD, 100, "P1", AT)
        lot.refresh_from_db()
        assert lot.expires_on == date(2027, 5, 20)
    assert ledger.expire_due(date(2027, 2, 28)) == 0
    assert proof.prove().differences == []


def test_a_notice_lists_each_day(lille_till, programme_p):
    """Statement 25: each amount with its day, not only the earliest; 30 and 7 days before."""
    programme_p(expiry_months=1)
    for number, day in enumerate((2, 8, 20), start=1):
        till.record_purchase(
            lille_till[0], ticket(f"R{number}", 1000 * number, at=datetime(2026, 11, day, 10, tzinfo=UTC))
        )
    member = Profile.objects.get()
    with time_machine.travel(datetime(2026, 11, 25, tzinfo=UTC), tick=False):
        ahead = [(row.on, row.points) for row in statements.expiries_of(member)]
    assert ahead == [(date(2026, 12, 2), 10), (date(2026, 12, 8), 20), (date(2026, 12, 20), 30)]
    told = statements.notices(date(2026, 12, 1))
    assert [(row.profile_id, row.on, row.points) for row in told] == [(member.pk, date(2026, 12, 8), 20)]
    assert [row.on for row in statements.notices(date(2026, 11, 20))] == [date(2026, 12, 20)]


def test_an_extension_changes_no_balance(lille_till, programme_p):
    """Statement 26: head office extends the lots of a closed store, by a posting with its reason."""
    programme_p()
    till.record_purchase(lille_till[0], ticket("R1", 5000))
    lots = Lot.objects.filter(store=lille_till[0].store).values_list("pk", flat=True)
    before, until = shown(), date(2028, 1, 31)
    done = ledger.extend(lots, until, key="closed", at=AT, why={"reason": "store closed"}, actor="diane")
    assert (done, shown(), Lot.objects.get().expires_on) == (1, before, until)
    posted = Transaction.objects.get(kind="extend")
    assert posted.explanation == [{"reason": "store closed"}]
    assert not posted.postings.exists()
    assert ledger.extend(lots, date(2027, 1, 1), key="earlier", at=AT, why={}) == 0
    assert proof.prove().differences == []


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
