"""Points set aside for a basket, over HTTP: reserved, spent, given up, run out, sent again, raced for."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from loyalty import proof, reservations, tasks
from loyalty.models import Lot, Transaction
from tests.loyalty.test_ledger_invariants import arena, buy, stage  # noqa: F401 - fixtures
from tests.loyalty.test_till_api import (
    CARD,
    PURCHASES,
    REDEMPTIONS,
    REFUNDS,
    northern,  # noqa: F401 - a fixture
    returned,
    rows,
    sale,
    southern,  # noqa: F401 - a fixture
    spent,
    told,
)

RESERVE, COMMIT, CANCEL = (
    f"/api/v1/{path}" for path in ("reservations", "reservations/commit", "reservations/cancel")
)


def aside(reservation_id="V1", points=100, **more) -> dict:
    return {"reservation_id": reservation_id, "member": CARD, "points": points} | more


def named(reservation_id="V1") -> dict:
    return {"reservation_id": reservation_id}


@pytest.fixture
def rich(northern):  # noqa: F811
    """Lille's till, and a member with 248 points."""
    northern.done(PURCHASES, sale("R1", "99.00", "99.00"))
    return northern


def has(caller) -> int:
    return caller.done("/api/v1/identify", {"member": CARD}, 200)["available"]


def a_quarter_later():
    """A quarter of an hour passes, and the till's key is looked up again."""
    return time_machine.travel(timezone.now() + timedelta(minutes=15, seconds=5), tick=True)


def test_reserved_points_are_nobody_else_s_until_the_basket_is_paid(rich, southern):  # noqa: F811
    kept = rich.done(RESERVE, aside())
    assert (kept["points"], kept["discount_cents"], kept["available"]) == (100, 500, 148)
    problem = told(southern.post(REDEMPTIONS, spent(200)), 409, "not_enough_points")
    assert "52" in problem["detail"]
    paid = rich.done(COMMIT, named())
    assert (paid["points"], paid["discount_cents"], paid["available"]) == (100, 500, 148)
    assert has(rich) == 148
    assert Transaction.objects.get(kind="redeem").explanation == [{"cents": 500}]
    assert proof.prove().differences == []


def test_what_is_given_up_returns_to_its_lots(rich):
    lots = list(Lot.objects.values_list("pk", "remaining"))
    rich.done(RESERVE, aside())
    given = rich.done(CANCEL, named())
    assert (given["points_given_back"], given["available"]) == (100, 248)
    assert list(Lot.objects.values_list("pk", "remaining")) == lots


@pytest.mark.parametrize("path", [COMMIT, CANCEL])
def test_each_request_is_answered_once(rich, path):
    for address, body in ((RESERVE, aside()), (path, named())):
        first, again = rich.post(address, body), rich.post(address, body)
        assert first.status_code == again.status_code == 201
        assert (again.content, again.headers["Idempotent-Replayed"]) == (first.content, "true")
        assert "Idempotent-Replayed" not in first.headers
    assert has(rich) == (148 if path == COMMIT else 248)


def test_the_id_of_a_reservation_says_one_thing(rich):
    rich.done(RESERVE, aside())
    before = rows()
    told(rich.post(RESERVE, aside(points=200)), 422, "id_reused", "reservation_id")
    assert rows() == before


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [(COMMIT, CANCEL, "reservation_spent"), (CANCEL, COMMIT, "reservation_cancelled")],
)
def test_a_reservation_ends_once(rich, first, second, code):
    rich.done(RESERVE, aside())
    rich.done(first, named())
    before = rows(), has(rich)
    told(rich.post(second, named()), 409, code, "reservation_id")
    assert (rows(), has(rich)) == before


@pytest.mark.parametrize("came_by", [False, True])
def test_after_a_quarter_of_an_hour_it_cannot_be_spent_and_may_be_given_up(rich, came_by):
    rich.done(RESERVE, aside())
    with a_quarter_later():
        if came_by:
            assert tasks.cancel_stale_reservations() == 1
        told(rich.post(COMMIT, named()), 409, "reservation_expired", "reservation_id")
        assert rich.done(CANCEL, named())["available"] == 248
        told(rich.post(COMMIT, named()), 409, "reservation_expired", "reservation_id")


def test_a_till_ends_only_what_it_reserved(rich, southern):  # noqa: F811
    rich.done(RESERVE, aside())
    for path in (COMMIT, CANCEL):
        told(southern.post(path, named()), 404, "unknown_reservation", "reservation_id")
        told(rich.post(path, named("V2")), 404, "unknown_reservation", "reservation_id")
    assert has(rich) == 148


def test_what_cannot_be_reserved_writes_nothing(rich):
    before = rows()
    told(rich.post(RESERVE, aside(points=150)), 422, "invalid_points", "points")
    told(rich.post(RESERVE, aside(points=300)), 409, "not_enough_points")
    told(rich.post(RESERVE, aside(points=10**17)), 409, "not_enough_points")
    told(rich.post(RESERVE, aside(member={"card": "2990000099991"})), 404, "unknown_member")
    told(rich.post(RESERVE, aside(points=0)), 400, "invalid_body", "points")
    assert rows() == before


def test_a_ticket_paid_with_reserved_points_gives_them_back_with_the_goods(rich):
    rich.done(RESERVE, aside())
    unpaid = sale("R2", "50.00", paid_with=[{"reservation_id": "V1"}])
    told(rich.post(PURCHASES, unpaid), 422, "unknown_redemption", "paid_with[0]")
    rich.done(COMMIT, named())
    answer = rich.done(PURCHASES, unpaid)
    assert (answer["total_cents"], answer["available"]) == (4500, 193)
    back = rich.done(REFUNDS, returned("B1", "R2", 1))
    assert (back["refunded_cents"], back["points_given_back"], back["available"]) == (4500, 100, 248)
    assert proof.prove().differences == []
    both = [{"reservation_id": "V1", "redemption_id": "V1"}]
    told(rich.post(PURCHASES, sale("R3", paid_with=both)), 422, "invalid_payment", "paid_with[0]")


# --- At once ----------------------------------------------------------------------------------------------------


def test_of_two_ends_at_once_one_happens(arena):  # noqa: F811
    """A till pays while another request of it gives up: one is told so, and the points are there once."""
    arena.run(buy, arena, "R1", 9900, 100)
    arena.run(reservations.reserve, arena.till, arena.card, 100, "V1")
    outcomes = arena.at_once(
        lambda: reservations.commit(arena.till, "V1"), lambda: reservations.cancel(arena.till, "V1")
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Answer", "Refused"]


def test_equal_reservations_at_once_take_the_points_once(arena):  # noqa: F811
    arena.run(buy, arena, "R1", 9900, 100)
    first, second = arena.at_once(*[lambda: reservations.reserve(arena.till, arena.card, 100, "V1")] * 2)
    assert first.body == second.body
    assert {first.replayed, second.replayed} == {True, False}
