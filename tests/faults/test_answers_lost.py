"""The wire is cut after the deed was done: whoever asks again hears what was told, to the byte, and nothing is done
twice."""

import json
import random
import time
from datetime import UTC, date, datetime

import pytest
from django.db import connection

from loyalty import proof, rulebook
from loyalty.models import Coupon, Reward, Rule
from tenants.scoping import whole_network
from tests.faults.conftest import opened
from tests.faults.oracles import ORACLES, check, rows
from tests.faults.proxy import Cut, Proxy, body_of
from tests.faults.tills import Line, NoAnswer, busy

AT = datetime.now(UTC).isoformat()
CARD = {"card": "2990000555551"}
STRANGER = {"card": "2990000555552"}


def sale(receipt, member=CARD, amount="150.00") -> dict:
    told = {
        "receipt_id": receipt,
        "bought_at": AT,
        "lines": [{"sku": "A", "amount": amount}, {"sku": "B", "amount": 60}],
    }
    return told | ({"member": member} if member else {})


# In this order: each rests on those before. VOUCHER stands for the code of the newest voucher.
DEEDS = [
    ("purchases", sale("R1"), 201),
    ("purchases", sale("R2"), 201),
    ("purchases", sale("R3", None), 201),
    ("purchases", sale("R4", STRANGER), 201),
    ("redemptions", {"redemption_id": "D1", "member": CARD, "points": 100, "redeemed_at": AT}, 201),
    ("refunds", {"refund_id": "F1", "refunded_at": AT, "receipt_id": "R1", "lines": [{"number": 2}]}, 201),
    ("refunds", {"refund_id": "F2", "refunded_at": AT, "receipt_id": "R9", "lines": [{"number": 1}]}, 202),
    ("purchases", sale("R9"), 201),
    ("claims", {"claim_id": "C1", "member": CARD, "receipt_id": "R3", "total": "210.00"}, 201),
    ("actions", {"action": "review", "action_key": "A1", "member": CARD, "occurred_at": AT}, 201),
    ("rewards/claims", {"claim_id": "V1", "member": CARD, "reward": "cup"}, 201),
    ("rewards/claims/cancel", {"cancellation_id": "X1", "claim_id": "V1"}, 201),
    ("rewards/claims", {"claim_id": "V2", "member": CARD, "reward": "cup"}, 201),
    ("vouchers/use", {"use_id": "U1", "code": "VOUCHER", "total": "50.00"}, 201),
    ("coupons/use", {"basket_id": "B1", "coupons": ["SPRING"], "total": "50.00"}, 201),
]


@pytest.fixture(scope="module")
def shop(world):
    brand, machines = opened("cut")
    with whole_network():
        review = Rule.objects.create(code="review", name="Review", kind="action")
        rulebook.publish(review, {}, {"action": "review", "points": 7})
        Reward.objects.create(code="cup", name="Cup", kind="gift", points=10, valid_from=date(2020, 1, 1))
        Coupon.objects.create(
            code="SPRING",
            name="Spring",
            kind="amount",
            amount=500,
            starts_at=datetime(2020, 1, 1, tzinfo=UTC),
        )
    connection.close()
    return brand, machines


@pytest.fixture
def proxy(web):
    made = Proxy(web.port)
    yield made
    made.close()


def test_every_deed_whose_answer_was_lost_is_told_again(shop, web, proxy, say):
    brand, machines = shop
    line, voucher = Line(proxy.port, machines[0]), ""
    for path, body, status in DEEDS:
        told = json.loads(json.dumps(body).replace("VOUCHER", voucher))
        # Half of the request is no request; the answer is lost whole, then after its first bytes.
        proxy.cut(Cut(upward=150), Cut(downward=0), Cut(downward=120))
        for _attempt in range(3):
            with pytest.raises(NoAnswer):
                line.ask(path, told)
        heard = line.ask(path, told)
        assert (heard.status, heard.is_replayed) == (status, True), (path, heard.body)
        first, second = proxy.lost[-2:]
        assert first.startswith(b"HTTP/1.1 %d" % status), first
        assert b"idempotent-replayed" not in first.lower()
        assert b"idempotent-replayed: true" in second.lower()
        assert body_of(first) == body_of(second) == heard.body, path
        voucher = heard.json.get("voucher", {}).get("code", voucher)
    line.close()
    connection.set_tenant(brand)
    assert {name: found for name, query in ORACLES.items() if (found := rows(query))} == {}
    with whole_network():
        assert proof.prove().differences == []
    assert rows("SELECT count(*) FROM profiles_purchase") == [(5,)]
    assert rows("SELECT count(*) FROM profiles_refund") == [(2,)]
    assert rows("SELECT count(*) FROM loyalty_tillrequest") == [(len(DEEDS),)]
    say(f"{len(DEEDS)} deeds, {len(proxy.lost)} answers lost: each told again to the byte")


def test_a_batch_whose_answer_was_lost_is_told_again(shop, web, proxy):
    _brand, machines = shop
    line = Line(proxy.port, machines[1])
    told = {"purchases": [sale(f"L{n}") for n in range(20)]}
    proxy.cut(Cut(downward=0))
    with pytest.raises(NoAnswer):
        line.ask("purchases/batch", told)
    before = json.loads(body_of(proxy.lost[-1]))["results"]
    after = line.ask("purchases/batch", told).json["results"]
    line.close()
    assert [item["answer"] for item in after] == [item["answer"] for item in before]
    assert all(not item["replayed"] for item in before)
    assert all(item["replayed"] for item in after)


def test_busy_tills_on_a_bad_wire(world, web, proxy, times, say):
    """A third of all requests or answers are lost."""
    chance = random.Random("wire")
    kinds = [Cut(upward=200), Cut(downward=0), Cut(downward=200), *[Cut()] * 6]
    proxy.cut(*(chance.choice(kinds) for _request in range(100_000)))
    with busy(proxy.port, world.machines, world.book, "wire"):
        time.sleep(6 * times)
    counted = check(world.brand, world.book)
    say(f"bad wire: {len(proxy.lost)} answers lost; {dict(world.book.statuses)}; compared {dict(counted)}")
    assert len(proxy.lost) > 10
    assert set(world.book.statuses) <= {200, 201, 202, 404, 409, 503, "no answer"}
