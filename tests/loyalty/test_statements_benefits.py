"""The numbered statements about rewards, vouchers, and tickets that were paid with them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import DatabaseError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty import codes, counter, ledger, proof, rewards, settlement, statements, tasks, till, vouchers
from loyalty.models import (
    Account,
    FundingKey,
    Lot,
    Posting,
    Reward,
    RewardStock,
    Tier,
    TierGift,
    Transaction,
    Voucher,
)  # fmt: skip
from loyalty.payments import PaidWith
from loyalty.rewards import Refused
from profiles import merging, separating
from profiles.intake import Problem, RefundLineStatement, RefundStatement, Shown, Statement, take_in_records
from profiles.models import Merge, Profile, Source
from tests.loyalty.conftest import AT, CARD, LONG_AGO, back, ticket
from tests.loyalty.test_ledger_invariants import arena, buy, member, stage  # noqa: F401 - fixtures

TEN_OFF = {"code": "ten", "name": "10 € off", "kind": "money_off", "points": 200, "worth_cents": 1000}


def offered(**more) -> Reward:
    told = TEN_OFF | {"valid_from": date(2026, 1, 1)} | more
    return Reward.objects.create(**told)


@pytest.fixture(autouse=True)
def today(request):
    if "arena" in request.fixturenames:  # threads of other connections keep their own time
        yield
        return
    with time_machine.travel(datetime(2026, 11, 25, 12, tzinfo=UTC), tick=False):
        yield


@pytest.fixture
def marie(lille_till, programme_p) -> Profile:
    """A member with 250 points of two tickets of Lille, 100 and 150."""
    programme_p()
    till.record_purchases(
        lille_till[0], [ticket("R1", 10000, at=AT - timedelta(days=30)), ticket("R2", 15000)]
    )
    return Profile.objects.get()


def left() -> list[int]:
    return list(Lot.objects.order_by("pk").values_list("remaining", flat=True))


def outstanding() -> int:
    return sum(Posting.objects.filter(account__kind=Account.Kind.VOUCHERS).values_list("points", flat=True))


def code_of(answer) -> str:
    return answer.body["voucher"]["code"]


# --- Vouchers -----------------------------------------------------------------------------------------------------


def test_a_voucher_is_paid_when_it_is_issued_and_used_once(lille_till, till_client, marie):
    """Statement 31: 200 points → a voucher of 10 €: consumed at issue, single use, second use 409."""
    offered()
    client = till_client(lille_till[1])

    def ask(path, **body):
        return client.post(f"/api/v1/{path}", body, content_type="application/json")

    shown = ask("identify", member={"card": CARD.value}).json()
    assert shown["available"] == 250
    assert [reward["reward"] for reward in client.get("/api/v1/rewards").json()["rewards"]] == ["ten"]
    claimed = ask("rewards/claims", claim_id="C1", member={"card": CARD.value}, reward="ten")
    assert (claimed.status_code, claimed.json()["available"]) == (201, 50)
    assert left() == [0, 50]
    assert outstanding() == 200
    assert proof.prove().differences == []
    code = claimed.json()["voucher"]["code"]
    again = ask("rewards/claims", claim_id="C1", member={"card": CARD.value}, reward="ten")
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (claimed.json(), "true")
    other = ask("rewards/claims", claim_id="C1", member={"card": CARD.value}, reward="else")
    assert (other.status_code, other.json()["code"]) == (422, "id_reused")
    seen = ask("vouchers/check", code=code.lower()).json()
    assert (seen["usable"], seen["worth_cents"]) == (True, 1000)
    used = ask("vouchers/use", use_id="U1", code=code, total="45.00")
    assert (used.status_code, used.json()["discount_cents"]) == (201, 1000)
    assert ask("vouchers/use", use_id="U1", code=code, total="45.00").headers["Idempotent-Replayed"] == "true"
    second = ask("vouchers/use", use_id="U2", code=code, total="45.00")
    assert (second.status_code, second.json()["code"]) == (409, "voucher_used")
    assert ask("vouchers/check", code=code).json()["problem"]["code"] == "voucher_used"
    assert outstanding() == 0
    assert Voucher.objects.get().use.kind == Transaction.Kind.REDEEM
    missing = ask("rewards/claims", claim_id="C2", member={"card": CARD.value}, reward="ten")
    assert (missing.status_code, missing.json()["code"]) == (409, "not_enough_points")
    assert ask("rewards/claims", claim_id="C3", member={"card": CARD.value}, reward="no").status_code == 404
    assert proof.prove().differences == []


@pytest.mark.parametrize(("unused", "after"), [("lost", [0, 50]), ("returned", [100, 150])])
def test_a_voucher_that_is_not_used_is_lost_or_returned(lille_till, marie, unused, after):
    """Statement 31: unused, its points are lost (breakage) or return to the original lots, once."""
    offered(unused=unused, lives_days=30)
    code = code_of(counter.claim(lille_till[0], CARD, "ten", "C1"))
    with time_machine.travel(datetime(2026, 12, 25, 22, tzinfo=UTC), tick=False):
        assert tasks.expire_vouchers() == 0  # its last day
        assert counter.look_at_voucher(lille_till[0], code)["usable"]
    with time_machine.travel(datetime(2026, 12, 26, 12, tzinfo=UTC), tick=False):
        # Before the night's work, too, it is over.
        assert counter.look_at_voucher(lille_till[0], code)["problem"]["code"] == "voucher_expired"
        assert tasks.expire_vouchers() == 1
        assert tasks.expire_vouchers() == 0
        with pytest.raises(Refused, match="valid until"):
            counter.use_voucher(lille_till[0], code, "U1", None)
    assert left() == after
    assert outstanding() == 0
    expired = Posting.objects.filter(account__kind="expired")
    assert sum(expired.values_list("points", flat=True)) == (200 if unused == "lost" else 0)
    assert Voucher.objects.get().state == "expired"
    assert proof.prove().differences == []


def test_a_lot_that_expired_meanwhile_lives_thirty_days_more(lille_till, marie):
    offered(unused="returned", lives_days=365)
    counter.claim(lille_till[0], CARD, "ten", "C1")
    with time_machine.travel(datetime(2027, 11, 27, 12, tzinfo=UTC), tick=False):
        tasks.expire_due()
        assert tasks.expire_vouchers() == 1
        assert statements.balance_of(marie).available == 200
        assert set(Lot.objects.values_list("expires_on", flat=True)) == {date(2027, 12, 27)}
    assert proof.prove().differences == []


def test_a_voucher_of_one_store_is_refused_in_another(lille_till, lyon_till, marie):
    """Statement 32: restricted to store A it is refused at B with the reason; a mistyped code is told apart."""
    offered().stores.set([lille_till[0].store])
    code = code_of(counter.claim(lille_till[0], CARD, "ten", "C1"))
    assert counter.catalogue(lyon_till[0]) == {"rewards": []}
    with pytest.raises(Refused) as refused:
        counter.use_voucher(lyon_till[0], code, "U1", None)
    assert (refused.value.code, refused.value.detail) == ("other_store", "this is only valid in Lille Centre")
    wrong = code[:-1] + ("2" if code[-1] != "2" else "3")
    with pytest.raises(Refused) as refused:
        counter.use_voucher(lille_till[0], wrong, "U1", None)
    assert refused.value.code == "mistyped_voucher"
    with pytest.raises(Refused) as refused:
        counter.use_voucher(lille_till[0], codes.shown(codes.draw()), "U1", None)
    assert refused.value.code == "unknown_voucher"
    with pytest.raises(Refused, match="nothing to take money off"):
        counter.use_voucher(lille_till[0], code, "U1", 0)
    assert counter.use_voucher(lille_till[0], code, "U1", 700).body["discount_cents"] == 700


def test_a_voucher_used_elsewhere_is_settled(lille_till, lyon_till, marie):
    """Statement 32: unrestricted and used at B, it creates settlement lines by the key, as points would."""
    FundingKey.objects.create(effective_from=LONG_AGO, earner=60, redeemer=30, head_office=10)
    offered()
    counter.use_voucher(lyon_till[0], code_of(counter.claim(lille_till[0], CARD, "ten", "C1")), "U1", None)
    lille, lyon = lille_till[0].store_id, lyon_till[0].store_id
    owed = settlement.nets(settlement.unsettled(datetime(2027, 1, 1, tzinfo=UTC)))
    assert owed == {lille: -600, None: -100, lyon: 700}
    # A reward that brings its own key, bought here and used there.
    offered(code="own", points=50, worth_cents=300, earner=0, redeemer=0, head_office=100)
    counter.use_voucher(lyon_till[0], code_of(counter.claim(lille_till[0], CARD, "own", "C2")), "U2", None)
    owed = settlement.nets(settlement.unsettled(datetime(2027, 1, 1, tzinfo=UTC)))
    assert owed == {lille: -600, None: -400, lyon: 1000}
    with time_machine.travel(datetime(2026, 12, 3, tzinfo=UTC), tick=False):
        assert sum(line.cents for line in settlement.close(date(2026, 11, 1)).lines.all()) == 0


def test_a_voucher_that_was_given_is_paid_by_who_gave_it(lille_till, lyon_till, marie):
    """Statement 32, for one that cost no points: no lot stands behind it, and still every party's share is a line."""
    reward = offered()
    by_lille = vouchers.give(marie, reward, key="k1", store=lille_till[0].store, by="Bruno")
    by_office = vouchers.give(marie, reward, key="k2", campaign="Spring")
    assert vouchers.give(marie, reward, key="k2") == by_office
    for voucher in (by_lille, by_office):
        counter.use_voucher(lyon_till[0], voucher.code, f"U{voucher.pk}", None)
    owed = settlement.nets(settlement.unsettled(datetime(2027, 1, 1, tzinfo=UTC)))
    assert owed == {lille_till[0].store_id: -1000, None: -1000, lyon_till[0].store_id: 2000}
    with time_machine.travel(datetime(2026, 12, 3, tzinfo=UTC), tick=False):
        closed = settlement.close(date(2026, 11, 1))
    assert closed.line_count == 4
    assert left() == [100, 150]
    assert proof.prove().differences == []


def test_the_database_lets_a_voucher_end_once(lille_till, marie):
    offered()
    counter.claim(lille_till[0], CARD, "ten", "C1")
    voucher = Voucher.objects.get()
    for change in ({"worth_cents": 9}, {"code": codes.draw()}, {"points": 1}):
        with pytest.raises(DatabaseError) as refused, transaction.atomic():
            Voucher.objects.update(**change)
        assert refused.value.__cause__.diag.constraint_name == "voucher_ends_once"
    vouchers.cancel(voucher.pk, at=AT)
    for deed in (lambda: Voucher.objects.update(state="issued", ended_at=None), Voucher.objects.all().delete):
        with pytest.raises(DatabaseError) as refused, transaction.atomic():
            deed()
        assert refused.value.__cause__.diag.constraint_name == "voucher_ends_once"
    with pytest.raises(Refused):
        vouchers.cancel(voucher.pk, at=AT)


@given(st.integers(0, 15), st.integers(0, 15), st.sampled_from(codes.ALPHABET))
def test_a_mistyped_code_is_never_another_code(one, other, sign):
    code = codes.draw()
    assert codes.read(codes.shown(code).lower()) == code
    changed = code[:one] + sign + code[one + 1 :]
    assert (codes.read(changed) == changed) == (changed == code)
    signs = list(code)
    signs[one], signs[other] = signs[other], signs[one]
    swapped = "".join(signs)
    assert (codes.read(swapped) == swapped) == (swapped == code)


# --- Stock --------------------------------------------------------------------------------------------------------


def members_with_points(machine, count) -> list[Shown]:
    cards = [Shown("card", f"2990000{number:06d}") for number in range(count)]
    till.record_purchases(machine, [ticket(f"S{n}", 20000, shown=card) for n, card in enumerate(cards)])
    return cards


def test_stock_and_points_move_together(lille_till, lyon_till, programme_p):
    """Statement 33: of a stock of 10 the 11th is refused; a cancelled claim restores stock and points, once."""
    programme_p()
    machine = lille_till[0]
    mug = offered(code="mug", name="Mug", kind="gift", points=150, worth_cents=0, is_counted=True)
    RewardStock.objects.create(reward=mug, store=machine.store, left=10)
    cards = members_with_points(machine, 11)
    for number, card in enumerate(cards[:10]):
        counter.claim(machine, card, "mug", f"C{number}")
    with pytest.raises(Refused) as refused:
        counter.claim(machine, cards[10], "mug", "C10")
    assert (refused.value.code, str(refused.value)) == (
        "out_of_stock",
        "Lille Centre has none left of this reward",
    )
    assert counter.catalogue(machine) == {"rewards": []}
    eleventh = Profile.objects.get(identifiers__key=cards[10].value)
    assert statements.balance_of(eleventh).available == 200
    answer = counter.cancel_claim(machine, "C3", "X1")
    assert (answer.body["points_given_back"], answer.body["available"]) == (150, 200)
    assert counter.cancel_claim(machine, "C3", "X1").replayed
    with pytest.raises(Refused, match="cancelled"):
        counter.cancel_claim(machine, "C3", "X2")
    assert RewardStock.objects.get().left == 1
    counter.claim(machine, cards[10], "mug", "C11")
    assert RewardStock.objects.get().left == 0
    # What was set aside in Lille is handed over in Lille, and nobody else's stock changes.
    code = Voucher.objects.get(key=f"claim:{machine.pk}:C0").code
    with pytest.raises(Refused) as refused:
        counter.use_voucher(lyon_till[0], code, "U0", None)
    assert refused.value.code == "other_store"
    counter.use_voucher(machine, code, "U0", None)
    assert RewardStock.objects.get().left == 0
    assert proof.prove().differences == []


def test_without_points_the_stock_stays(lille_till, marie):
    mug = offered(code="mug", kind="gift", points=300, is_counted=True)
    RewardStock.objects.create(reward=mug, store=lille_till[0].store, left=1)
    with pytest.raises(ledger.NotEnoughPoints):
        counter.claim(lille_till[0], CARD, "mug", "C1")
    assert RewardStock.objects.get().left == 1
    with pytest.raises(DatabaseError) as refused, transaction.atomic():
        RewardStock.objects.update(left=-1)
    assert refused.value.__cause__.diag.constraint_name == "stock_not_negative"


def test_a_gift_takes_stock_where_it_is_fetched_and_gives_it_back_when_it_is_over(lille_till, marie):
    mug = offered(code="mug", kind="gift", points=100, worth_cents=0, is_counted=True, lives_days=5)
    stock = RewardStock.objects.create(reward=mug, store=lille_till[0].store, left=2)
    counter.claim(lille_till[0], CARD, "mug", "C1")
    given = vouchers.give(marie, mug, key="k1")
    stock.refresh_from_db()
    assert stock.left == 1
    counter.use_voucher(lille_till[0], given.code, "U1", None)
    with time_machine.travel(datetime(2026, 12, 9, tzinfo=UTC), tick=False):
        tasks.expire_vouchers()
    stock.refresh_from_db()
    assert stock.left == 1


def test_a_donation_is_made_at_once(lille_till, marie):
    offered(code="trees", kind="donation", points=50, worth_cents=0)
    counter.claim(lille_till[0], CARD, "trees", "C1")
    assert Voucher.objects.get().state == "used"
    assert outstanding() == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"is_offered": False}, "reward_not_offered"),
        ({"valid_until": date(2026, 11, 24)}, "reward_not_offered"),
        ({"valid_from": date(2026, 11, 26)}, "reward_not_offered"),
        ({"points": None}, "reward_not_for_points"),
    ],
)
def test_what_is_not_offered_is_not_had(lille_till, marie, change, code):
    offered(**change)
    with pytest.raises(Refused) as refused:
        counter.claim(lille_till[0], CARD, "ten", "C1")
    assert refused.value.code == code
    assert rewards.offered_in(lille_till[0].store) == []


def test_the_last_one_in_stock_has_one_winner(arena):  # noqa: F811
    """Statement 33: two tills want the last one at once: one gets it, the other is refused and keeps the points."""
    arena.run(buy, arena, "R1", 50000)
    holder = member(arena)
    points = statements.balance_of(holder).available
    mug = arena.run(lambda: offered(code="mug", kind="gift", points=100, worth_cents=0, is_counted=True))
    stock = arena.run(lambda: RewardStock.objects.create(reward=mug, store=arena.store, left=1))
    outcomes = arena.at_once(
        *(lambda n=n: counter.claim(arena.till, arena.card, "mug", f"C{n}") for n in range(4))
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Answer", *["Refused"] * 3]
    stock.refresh_from_db()
    assert stock.left == 0
    assert statements.balance_of(holder).available == points - 100
    code = Voucher.objects.get(reward=mug).code
    outcomes = arena.at_once(
        *(lambda n=n: counter.use_voucher(arena.till, code, f"U{n}", None) for n in range(4))
    )
    assert sorted(getattr(outcome, "code", "used") for outcome in outcomes) == ["used", *["voucher_used"] * 3]


def test_equal_requests_at_once_hear_the_same(arena):  # noqa: F811
    """The second waits for the first, finds stock, points and voucher taken by it, and hears what it was told."""
    arena.run(buy, arena, "R1", 50000)
    reward = arena.run(lambda: offered(code="same", points=100, is_counted=True))
    arena.run(lambda: RewardStock.objects.create(reward=reward, store=arena.store, left=1))
    told = arena.at_once(*[lambda: counter.claim(arena.till, arena.card, "same", "E1")] * 3)
    assert [answer.body for answer in told] == [told[0].body] * 3
    assert sorted(answer.replayed for answer in told) == [False, True, True]
    used = arena.at_once(*[lambda: counter.use_voucher(arena.till, code_of(told[0]), "E2", None)] * 3)
    assert [answer.body for answer in used] == [used[0].body] * 3


def test_a_voucher_is_used_or_cancelled(arena):  # noqa: F811
    """Statement 31: of a use and a cancellation at once exactly one happens, and the points follow it."""
    arena.run(buy, arena, "R1", 50000)
    arena.run(lambda: offered(code="five", points=100))
    for number in range(3):
        claimed = arena.run(counter.claim, arena.till, arena.card, "five", f"five-{number}")
        before = statements.balance_of(member(arena)).available
        outcomes = arena.at_once(
            lambda c=claimed, n=number: counter.use_voucher(arena.till, code_of(c), f"V{n}", None),
            lambda n=number: counter.cancel_claim(arena.till, f"five-{n}", f"X{n}"),
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Answer", "Refused"]
        cancelled = type(outcomes[1]).__name__ == "Answer"
        assert statements.balance_of(member(arena)).available == before + 100 * cancelled


# --- Tickets that a reward paid -----------------------------------------------------------------------------------


def test_a_return_of_a_ticket_paid_with_points(lille_till, till_client, programme_p):
    """Statement 41: 50 € paid with 100 points (5 €); a line of 20 € comes back: 18 € in money, 40 points."""
    programme_p()
    machine = lille_till[0]
    till.record_purchase(machine, ticket("R0", 10000))
    client = till_client(lille_till[1])

    def ask(path, **body):
        return client.post(f"/api/v1/{path}", body, content_type="application/json").json()

    ask(
        "redemptions", redemption_id="D1", member={"card": CARD.value}, points=100, redeemed_at=AT.isoformat()
    )
    sold = {
        "receipt_id": "R1", "bought_at": AT.isoformat(), "member": {"card": CARD.value},
        "lines": [{"sku": "A", "amount": 20}, {"sku": "B", "amount": 30}], "paid_with": [{"redemption_id": "D1"}],
    }  # fmt: skip
    bought = ask("purchases", **sold)
    assert (bought["total_cents"], bought["points"]) == (4500, 45)
    assert ask("purchases", **sold) == bought
    told = {"refunded_at": (AT + timedelta(days=1)).isoformat(), "receipt_id": "R1"}
    first = ask("refunds", refund_id="F1", lines=[{"number": 1}], **told)
    assert (first["refunded_cents"], first["points_given_back"], first["points_taken_back"]) == (1800, 40, 18)
    assert ask("refunds", refund_id="F1", lines=[{"number": 1}], **told) == first
    refused = ask("refunds", refund_id="F2", lines=[{"number": 3}], **told)
    assert refused["code"] == "reward_line"
    second = ask("refunds", refund_id="F2", lines=[{"number": 2}], **told)
    assert (second["refunded_cents"], second["points_given_back"], second["points_taken_back"]) == (
        2700,
        60,
        27,
    )
    assert statements.balance_of(Profile.objects.get()).available == 100
    assert left() == [100, 0]
    other = ask("purchases", **(sold | {"receipt_id": "R2"}))
    assert (other["code"], other["errors"][0]["field"]) == ("pays_another_ticket", "paid_with[0]")
    assert proof.prove().differences == []


def test_points_given_back_to_expired_lots_live_thirty_days(lille_till, programme_p):
    """Statement 41: where the lots expired meanwhile, the points have 30 days' grace."""
    programme_p()
    machine = lille_till[0]
    till.record_purchase(machine, ticket("R0", 10000, at=datetime(2025, 12, 1, tzinfo=UTC)))
    till.redeem(machine, CARD, 100, "D1", AT)
    counter.record_purchase(machine, ticket("R1", 2000, 3000), [PaidWith("D1")])
    with time_machine.travel(datetime(2026, 12, 10, 12, tzinfo=UTC), tick=False):
        tasks.expire_due()
        answer = till.refund(machine, back("F1", "R1", 1, at=datetime(2026, 12, 10, 10, tzinfo=UTC)))
        assert answer.body["points_given_back"] == 40
        lot = Lot.objects.order_by("pk").first()
        assert (lot.remaining, lot.expires_on) == (40, date(2027, 1, 9))
    assert proof.prove().differences == []


def test_a_voucher_pays_a_ticket_and_comes_back_in_proportion(lille_till, lyon_till, marie):
    offered()
    machine = lille_till[0]
    code = code_of(counter.claim(machine, CARD, "ten", "C1"))
    with pytest.raises(Problem) as refused:
        counter.record_purchase(machine, ticket("R9", 4000), [PaidWith(voucher=code)])
    assert (refused.value.code, refused.value.field) == ("voucher_not_used", "paid_with[0]")
    counter.use_voucher(machine, code, "U1", None)
    answer = counter.record_purchase(machine, ticket("R9", 1000, 3000), [PaidWith(voucher=code)])
    assert answer.body["total_cents"] == 3000
    body = till.refund(machine, back("F1", "R9", 1)).body
    assert (body["refunded_cents"], body["points_given_back"]) == (750, 50)
    assert proof.prove().differences == []
    # One that was given gives no points back, and no money for its share either.
    free = vouchers.give(marie, Reward.objects.get(), key="k")
    counter.use_voucher(machine, free.code, "U2", None)
    counter.record_purchase(machine, ticket("R10", 2000, 2000), [PaidWith(voucher=free.code)])
    body = till.refund(machine, back("F2", "R10", 2)).body
    assert body["refunded_cents"] == 1500
    assert "points_given_back" not in body


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ([PaidWith("none")], "unknown_redemption"),
        ([PaidWith()], "invalid_payment"),
        ([PaidWith("D1", "X")], "invalid_payment"),
        ([PaidWith(voucher="X")], "mistyped_voucher"),
        ([PaidWith("D1"), PaidWith("D1")], "payment_twice"),
    ],
)
def test_what_cannot_have_paid_is_refused(lille_till, marie, told, code):
    till.redeem(lille_till[0], CARD, 100, "D1", AT)
    with pytest.raises(Problem) as refused:
        counter.record_purchase(lille_till[0], ticket("R9", 4000), told)
    assert refused.value.code == code
    answers = counter.record_purchases(
        lille_till[0],
        [(ticket("R9", 4000), told), (ticket("R8", 300), [PaidWith("D1")]), (ticket("R7", 900), [])],
    )
    assert [getattr(answer, "code", None) or answer.status for answer in answers] == [
        code,
        "negative_total",
        201,
    ]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)  # fmt: skip
@given(st.data())
def test_any_order_and_split_of_returns_comes_to_the_same(lille_till, marie, data):
    """Statement 41: whatever comes back in whatever order and parts, money and points sum to what was paid."""
    machine = lille_till[0]
    with transaction.atomic():
        cents = data.draw(st.lists(st.integers(1, 9999), min_size=1, max_size=4))
        pieces = data.draw(st.integers(1, 3))
        cents[0] += 1000
        till.redeem(machine, CARD, 200, "D1", AT)
        sold = ticket("P1", *cents, quantity=pieces)
        counter.record_purchase(machine, sold, [PaidWith("D1")])
        before = statements.balance_of(marie).available
        earned = (sum(cents) - 1000) // 100
        returns = data.draw(
            st.permutations([n for n in range(1, len(cents) + 1) for _piece in range(pieces)])
        )
        money = given = taken = 0
        for number, line in enumerate(returns):
            told = RefundStatement(
                f"F{number}", AT + timedelta(days=1), "P1", [RefundLineStatement(line, Decimal(1))]
            )
            body = till.refund(machine, told).body
            money, given = money + body["refunded_cents"], given + body["points_given_back"]
            taken += body["points_taken_back"]
            assert body["refunded_cents"] >= 0
        assert (money, given, taken) == (sum(cents) - 1000, 200, earned)
        balance = statements.balance_of(marie)
        assert balance.available - balance.debt == before + 200 - earned
        assert proof.prove().differences == []
        transaction.set_rollback(True)


# --- Gifts of tiers -----------------------------------------------------------------------------------------------


def test_reaching_a_tier_gives_once_and_losing_it_takes_nothing(lille_till, programme):
    """Statement 51: a tier's benefit is issued once, and what was issued stays valid after a downgrade."""
    cake = offered(code="cake", name="Cake", kind="gift", points=None, worth_cents=0, lives_days=1000)
    for tier in Tier.objects.all():
        TierGift.objects.create(tier=tier, reward=cake)
    machine = lille_till[0]
    till.record_purchase(machine, ticket("R1", 20000, at=datetime(2025, 12, 10, tzinfo=UTC)))
    given = Voucher.objects.get()
    assert (given.gift.tier.code, given.points, given.issue) == ("silver", 0, None)
    till.record_purchase(machine, ticket("R2", 100))
    tasks.review_tiers()
    assert Voucher.objects.count() == 1
    # However long a tier is kept for grace: it is lost by the last of these nights.
    for night in (datetime(2026, 12, 12, tzinfo=UTC), datetime(2027, 4, 1, tzinfo=UTC)):
        with time_machine.travel(night, tick=False):
            tasks.review_tiers()
    with time_machine.travel(datetime(2027, 11, 24, tzinfo=UTC), tick=False):
        tasks.review_tiers()
        assert statements.balance_of(Profile.objects.get()).tier == ""
        assert counter.look_at_voucher(machine, given.code)["usable"]
        # Up again, past both: silver's was had, gold's was not.
        till.record_purchase(machine, ticket("R3", 100000, at=datetime(2027, 11, 23, tzinfo=UTC)))
        assert [voucher.gift.tier.code for voucher in Voucher.objects.order_by("pk")] == ["silver", "gold"]
        counter.use_voucher(machine, given.code, "U1", None)
        assert proof.prove().differences == []


def test_vouchers_follow_their_people(lille_till, marie):
    """A merge hands vouchers over, and a separation hands them back; a gift that one of them had is not given again."""
    reward = offered()
    source = Source.objects.create(code="crm", name="CRM", kind="crm")
    (outcome,) = take_in_records(source, [Statement("1", {"first_name": "Anna"}, raw={"n": 1})])
    anna = Profile.objects.get(pk=outcome.profile_id)
    bought = Voucher.objects.get(pk=vouchers.buy(marie, reward, store=lille_till[0].store, key="c", at=AT).pk)
    deed = merging.merge(anna, marie, ground=Merge.Ground.PERSON)
    bought.refresh_from_db()
    assert bought.profile_id == deed.winner_id
    vouchers.cancel(bought.pk, at=AT)
    assert statements.balance_of(Profile.objects.get(pk=deed.winner_id)).available == 250
    assert proof.prove().differences == []
    separating.unmerge(deed)
    bought.refresh_from_db()
    assert bought.profile_id == marie.pk
    assert statements.balance_of(marie).available == 250
    assert proof.prove().differences == []
