"""The numbered statement about a store that leaves the network."""

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.db import DatabaseError, transaction
from django.db.models import Sum

from loyalty import exits, ledger, proof, settlement, statements, tasks, till, vouchers
from loyalty.models import Account, Lot, Posting, Reward, StoreExit, Transaction
from loyalty.rewards import Refused
from profiles.models import Profile
from tests.loyalty.conftest import AT, CARD, back, ticket

LATER = datetime(2027, 3, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def today():
    with time_machine.travel(datetime(2026, 11, 25, 12, tzinfo=UTC), tick=False):
        yield


@pytest.fixture
def marie(lille_till, lyon_till, programme_p) -> Profile:
    """300 points of Lille, then 100 of Lyon, of which 100 of Lille's are spent at Lyon."""
    programme_p()
    till.record_purchase(lille_till[0], ticket("R1", 30000, at=AT - timedelta(days=9)))
    till.record_purchase(lyon_till[0], ticket("R2", 10000))
    till.redeem(lyon_till[0], CARD, 100, "P1", AT)
    return Profile.objects.get()


def issued(store) -> int:
    rows = Posting.objects.filter(account__kind=Account.Kind.ISSUED, account__store=store)
    return rows.aggregate(points=Sum("points"))["points"] or 0


def what_she_sees(profile) -> tuple:
    lots = Lot.objects.order_by("pk").values_list(
        "remaining", "available_on", "expires_on", "account", "store"
    )
    return statements.balance_of(profile), statements.expiries_of(profile), list(lots)


def owed() -> dict:
    return settlement.nets(settlement.unsettled(LATER))


def test_a_store_leaves_and_head_office_pays(lille_till, lyon_till, marie, diane):
    """Statement 60: unspent lots are re-funded by head office by one posting; the member sees no change."""
    lille, lyon = lille_till[0].store, lyon_till[0].store
    before, count = what_she_sees(marie), Transaction.objects.count()
    told = [entry.transaction.pk for entry in statements.history(marie)]
    assert owed() == {lille.pk: -500, lyon.pk: 500}
    made = exits.agree(lille, date(2026, 11, 25), by=diane)
    assert (made.points, made.done_at is not None) == (200, True)
    assert Transaction.objects.count() == count + 1
    assert what_she_sees(marie) == before
    assert [entry.transaction.pk for entry in statements.history(marie)] == told
    posted = Transaction.objects.get(kind="fund")
    assert dict(posted.postings.values_list("account__store", "points")) == {lille.pk: 200, None: -200}
    assert (issued(lille), issued(None)) == (-100, -200)
    # What was spent before is Lille's still; what is spent from now on is head office's.
    assert owed() == {lille.pk: -500, lyon.pk: 500}
    till.redeem(lyon_till[0], CARD, 100, "P2", AT)
    assert owed() == {lille.pk: -500, None: -500, lyon.pk: 1000}
    first = Transaction.objects.get(key__endswith="P1")
    ledger.give_back(first.pk, 100, key="b", at=AT)
    assert owed() == {lille.pk: 0, None: -500, lyon.pk: 500}
    # The points that came back are Lille's no more: head office pays when they are spent again.
    till.redeem(lyon_till[0], CARD, 200, "P3", AT)
    assert owed() == {lille.pk: 0, None: -1500, lyon.pk: 1500}
    assert {row.store_id: row.points for row in settlement.liability()} == {lyon.pk: 100}
    assert proof.prove().differences == []


def test_a_buyer_takes_over_and_leaves_in_turn(lille_till, lyon_till, marie, diane):
    """Statement 60: a buyer pays from then on; the liability follows, and so it does when the buyer leaves."""
    lille, lyon = lille_till[0].store, lyon_till[0].store
    assert {row.store_id: row.points for row in settlement.liability()} == {lille.pk: 200, lyon.pk: 100}
    exits.agree(lille, date(2026, 11, 25), buyer=lyon, by=diane)
    assert (issued(lille), issued(lyon)) == (-100, -300)
    assert {row.store_id: row.points for row in settlement.liability()} == {lyon.pk: 300}
    till.redeem(lyon_till[0], CARD, 100, "P2", AT)
    assert owed() == {lille.pk: -500, lyon.pk: 500}
    exits.agree(lyon, date(2026, 11, 25), by=diane)
    assert {row.store_id: row.points for row in settlement.liability()} == {None: 200}
    with pytest.raises(Refused) as refused:
        exits.agree(lyon, date(2026, 11, 25), by=diane)
    assert refused.value.code == "exit_known"
    assert proof.prove().differences == []


def test_vouchers_that_are_out_there_go_along(lille_till, lyon_till, marie, diane):
    reward = Reward.objects.create(
        code="five", name="5 €", kind="money_off", points=100, worth_cents=500, valid_from=date(2026, 1, 1)
    )
    voucher = vouchers.buy(marie, reward, store=lille_till[0].store, key="c", at=AT)
    vouchers.give(marie, reward, key="present", store=lyon_till[0].store)
    lille, lyon = lille_till[0].store_id, lyon_till[0].store_id

    def open_vouchers() -> dict:
        return {row.store_id: (row.points, row.cents) for row in settlement.outstanding_vouchers()}

    assert open_vouchers() == {lille: (100, 500), lyon: (0, 500)}
    exits.agree(lille_till[0].store, date(2026, 11, 25), by=diane)
    assert open_vouchers() == {None: (100, 500), lyon: (0, 500)}
    assert StoreExit.objects.get().points == 200
    vouchers.use(voucher.code, store=lyon_till[0].store, at=AT)
    assert owed()[None] == -500
    assert open_vouchers() == {lyon: (0, 500)}
    assert proof.prove().differences == []


def test_the_night_of_the_day_carries_it_out_once(lille_till, lyon_till, marie, diane):
    lille = lille_till[0].store
    made = exits.agree(lille, date(2026, 12, 1), by=diane)
    assert (made.done_at, lille.closed_on) == (None, None)
    assert tasks.carry_out_exits() == 0
    with pytest.raises(Refused) as refused:
        exits.agree(lyon_till[0].store, date(2026, 12, 1), buyer=lille, by=diane)
    assert refused.value.code == "buyer_leaves"
    with time_machine.travel(datetime(2026, 12, 1, 1, tzinfo=UTC), tick=False):
        assert tasks.carry_out_exits() == 1
        assert tasks.carry_out_exits() == 0
        exits.carry_out(made)
    lille.refresh_from_db()
    assert lille.closed_on == date(2026, 12, 1)
    assert Transaction.objects.filter(kind="fund").count() == 1
    for deed in (StoreExit.objects.all().delete, lambda: StoreExit.objects.update(points=0)):
        with pytest.raises(DatabaseError) as error, transaction.atomic():
            deed()
        assert error.value.__cause__.diag.constraint_name == "exit_never_changes"
    # Goods of the store that left can still come back, in another one.
    answer = till.refund(lyon_till[0], back("F1", "R1", 1, store_code=lille.code))
    assert answer.body["points_taken_back"] == 300
    assert proof.prove().differences == []
