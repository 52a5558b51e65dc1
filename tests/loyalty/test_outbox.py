"""What the database writes into the outbox: every event, in the deed's own transaction, and nothing of a person."""

import json
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.utils import timezone

from loyalty import ledger, statements, till, vouchers
from loyalty.models import Reward, Transaction
from profiles import consent, merging, separating, ticket_moves
from profiles.intake import (
    ConsentStatement,
    RefundLineStatement,
    RefundStatement,
    Statement,
    take_in_records,
)
from profiles.models import Merge, Profile, Purchase, Source
from tenants.network import webhooks
from tenants.network.models import WebhookEndpoint, WebhookMessage
from tenants.network.webhook_models import HappenedTo
from tests.loyalty.conftest import CARD, OTHER, ticket
from tests.loyalty.test_ledger_invariants import arena, buy, member, redeem, sql, stage  # noqa: F401 - two are fixtures
from tests.receiver import listening


def endpoint(*events: str, **more) -> WebhookEndpoint:
    made = WebhookEndpoint(
        name=more.pop("name", "CRM"),
        url="https://crm.example.com/",
        events=list(events or HappenedTo.values),
        **more,
    )
    made.issue_secret()
    return made


@contextmanager
def committed():
    """What the database does at commit is done at the end of the block."""
    yield
    sql("SET CONSTRAINTS ALL IMMEDIATE")
    sql("SET CONSTRAINTS ALL DEFERRED")


def told(*events: str) -> list[dict]:
    """The contents of what waits, in order."""
    messages = WebhookMessage.objects.order_by("id")
    return [m.data for m in (messages.filter(event__in=events) if events else messages)]


@pytest.fixture
def wanted(brand) -> WebhookEndpoint:
    return endpoint()


@pytest.fixture
def reward(brand) -> Reward:
    return Reward.objects.create(
        code="mug", name="Mug", kind="gift", points=100, worth_cents=700, valid_from=timezone.now().date()
    )


def test_a_ticket_tells_its_points_and_the_balance_then(wanted, lille_till, programme):
    with committed():
        till.record_purchase(lille_till[0], ticket("R1", 15000))
    profile, posted = Profile.objects.get(), Transaction.objects.get()
    (points,) = told("points.posted")
    assert points == {
        "member": str(profile.public_id), "key": posted.key, "kind": "earn", "points": 200, "store": "ACM-001",
        "change": {"available": 200, "pending": 0, "debt": 0},
        "balance": {"available": 200, "pending": 0, "debt": 0},
        "occurred_at": points["occurred_at"],
    }  # fmt: skip
    (tier,) = told("tier.changed")
    assert tier == {"member": str(profile.public_id), "before": "", "after": "silver", "why": "earned"}
    assert [m.event for m in WebhookMessage.objects.order_by("id")] == [
        "member.created", "points.posted", "tier.changed",
    ]  # fmt: skip
    with committed():
        till.redeem(lille_till[0], CARD, 200, "P1", timezone.now())
    with committed():
        till.refund(
            lille_till[0], RefundStatement("B1", timezone.now(), "R1", [RefundLineStatement(1, Decimal(1))])
        )
    spent, refunded = told("points.posted")[1:]
    assert (spent["kind"], spent["points"], spent["balance"]["available"]) == ("redeem", -200, 0)
    assert (refunded["kind"], refunded["change"]["debt"], refunded["balance"]["debt"]) == ("refund", 200, 200)
    balance = statements.balance_of(profile)
    assert refunded["balance"] == {
        "available": balance.available, "pending": balance.pending, "debt": balance.debt,
    }  # fmt: skip


def test_expiry_and_adjustment_are_told(wanted, lille_till, programme):
    with committed():
        till.record_purchase(lille_till[0], ticket("R1", 5000))
    profile = Profile.objects.get()
    with committed():
        ledger.adjust(
            profile.pk, 7, store_id=lille_till[0].store_id, key="adjust:1", at=timezone.now(),
            why={"reason": "goodwill"},
        )  # fmt: skip
    with committed():
        ledger.expire_due(timezone.now().date() + timedelta(days=900))
    kinds = [(one["kind"], one["points"]) for one in told("points.posted")]
    assert kinds[:2] == [("earn", 50), ("adjust", 7)]
    assert ("expire", -50) in kinds[2:]


def test_two_members_whose_points_one_posting_moves_are_both_told(wanted, lille_till, programme, diane):
    with committed():
        till.record_purchase(lille_till[0], ticket("R1", 5000))
        till.record_purchase(lille_till[0], ticket("R2", 6000, shown=OTHER))
    WebhookMessage.objects.all().delete()
    wrong = Purchase.objects.get(receipt_id="R1")
    taker = Purchase.objects.get(receipt_id="R2").profile
    giver = wrong.profile
    with committed():
        ticket_moves.move(wrong, taker, by=diane, reason="wrong card")
    moved = {one["member"]: (one["points"], one["balance"]["available"]) for one in told("points.posted")}
    assert moved == {str(giver.public_id): (-50, 0), str(taker.public_id): (50, 110)}


def test_a_merge_and_its_undoing_are_told(wanted, lille_till, programme, diane):
    for number, shown in enumerate((CARD, OTHER)):
        till.record_purchase(lille_till[0], ticket(f"R{number}", 5000, shown=shown))
    one, two = Profile.objects.order_by("pk")
    merge = merging.merge(one, two, ground=Merge.Ground.PERSON, by=diane)
    ids = {"member": str(one.public_id), "old_member": str(two.public_id)}
    assert told("member.merged") == [ids]
    separating.unmerge(merge, by=diane)
    assert told("member.separated") == [ids]


def test_a_voucher_is_told_when_issued_and_when_used_and_its_code_never(
    wanted, lille_till, programme, reward, lille
):
    till.record_purchase(lille_till[0], ticket("R1", 15000))
    profile = Profile.objects.get()
    made = vouchers.buy(profile, reward, store=lille, key="k1", at=timezone.now())
    vouchers.use(made.code, store=lille, at=timezone.now())
    issued, used = told("voucher.issued", "voucher.used")
    assert (issued["reward"], issued["points"], issued["store"], issued["key"]) == (
        "mug",
        100,
        "ACM-001",
        "k1",
    )
    assert (used["key"], used["store"], used["used_cents"]) == ("k1", "ACM-001", 700)
    assert made.code not in json.dumps([issued, used])


def test_what_holds_is_told_of_consents_and_not_what_was_said_last(wanted, lille, diane):
    crm = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)
    shop = Source.objects.create(code="shop", name="Shop", kind=Source.Kind.ECOMMERCE)
    yes = [ConsentStatement("email", True, wording="Yes."), ConsentStatement("sms", True, wording="Yes.")]
    no = [ConsentStatement("email", False)]
    one, two = (
        Statement(
            name,
            {"last_name": "Zyx", "card": CARD.value},
            raw={"n": name},
            store_code=lille.code,
            consents=said,
        )
        for name, said in (("1", yes), ("2", no))
    )
    take_in_records(crm, [one])
    profile = Profile.objects.get()
    now = [(m["channel"], m["allowed"]) for m in told("consent.changed")]
    assert now == [("email", True), ("sms", True)]
    take_in_records(shop, [two])
    assert told("consent.changed")[2:] == [
        {"member": str(profile.public_id), "channel": "email", "allowed": False}
    ]
    # The CRM says yes again: the strictest wins, nothing changes, nothing is told.
    again = Statement("1", {"last_name": "Zyx", "city": "Lille"}, raw={"n": "3"}, consents=yes)
    take_in_records(crm, [again])
    assert len(told("consent.changed")) == 3
    consent.grant(profile, "email", actor=diane, wording="Yes.")
    assert told("consent.changed")[3:] == [
        {"member": str(profile.public_id), "channel": "email", "allowed": True}
    ]
    assert "Zyx" not in json.dumps(told())


def test_who_was_merged_is_told_of_under_the_other_id_alone(wanted, lille, diane):
    crm = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)
    yes = [ConsentStatement("email", True, wording="Yes.")]
    take_in_records(crm, [
        Statement("1", {"last_name": "A"}, raw={"n": "1"}, store_code=lille.code),
        Statement("2", {"last_name": "A"}, raw={"n": "2"}, store_code=lille.code, consents=yes),
    ])  # fmt: skip
    one, two = Profile.objects.order_by("pk")
    WebhookMessage.objects.all().delete()
    merging.merge(one, two, ground=Merge.Ground.PERSON, by=diane)
    assert told("consent.changed") == [{"member": str(one.public_id), "channel": "email", "allowed": True}]


def test_nothing_is_written_where_nobody_asked(brand, lille_till, programme, reward, lille):
    endpoint("tier.changed", name="Off", is_on=False)
    endpoint("member.separated", name="Other")
    with committed():
        till.record_purchase(lille_till[0], ticket("R1", 15000))
        vouchers.buy(Profile.objects.get(), reward, store=lille, key="k1", at=timezone.now())
    assert told() == []


def test_each_endpoint_has_its_own_row(wanted, lille_till, programme):
    endpoint("points.posted", name="Other")
    with committed():
        till.record_purchase(lille_till[0], ticket("R1", 1000))
    rows = WebhookMessage.objects.filter(event="points.posted")
    assert rows.count() == 2
    assert len({row.public_id for row in rows}) == 2


# --- Really committed, and at once ---------------------------------------------------------------------------------


@pytest.fixture
def subscribed(arena):  # noqa: F811
    """An endpoint of the arena that a real server answers for."""
    with listening() as receiver:

        def made():
            hook = endpoint(name=f"Hook {arena.till.pk}")
            WebhookEndpoint.objects.filter(pk=hook.pk).update(url=receiver.url)
            return hook

        hook = arena.run(made)
        yield hook, receiver
        arena.run(lambda: WebhookEndpoint.objects.update(is_on=False))


def test_what_is_rolled_back_is_not_told_and_what_is_committed_is(arena, subscribed):  # noqa: F811
    def undone():
        with transaction.atomic():
            buy(arena, "R1", 5000)
            transaction.set_rollback(True)

    hook, receiver = subscribed
    arena.run(undone)
    waiting = WebhookMessage.objects.filter(endpoint=hook)
    assert not waiting.exists()
    arena.run(buy, arena, "R1", 15000)
    arena.run(redeem, arena)
    events = list(waiting.order_by("id").values_list("event", "data__points", "data__balance__available"))
    assert events == [
        ("member.created", None, None),
        ("points.posted", 200, 200),
        ("points.posted", -100, 100),
    ]
    assert arena.run(webhooks.deliver, hook.pk) == 3
    told_of = {json.loads(heard.body)["data"]["member"] for heard in receiver.heard}
    assert told_of == {str(member(arena).public_id)}


def test_workers_at_once_send_each_message_once_and_each_members_in_order(arena, subscribed):  # noqa: F811
    hook, receiver = subscribed
    receiver.takes = 0.01

    def written():
        cursor = connection.cursor()
        cursor.execute(
            "SELECT outbox_put('points.posted', ('00000000-0000-0000-0000-00000000000' || (n % 4))::uuid, now(),"
            " jsonb_build_object('n', n)) FROM generate_series(1, 40) n"
        )

    arena.run(written)
    made = arena.at_once(*[lambda: webhooks.deliver(hook.pk)] * 4)
    # A member's next message may become free when every other worker has left: the timetable comes again.
    made.append(arena.run(webhooks.deliver, hook.pk))
    assert sum(made) == 40
    assert sum(count > 0 for count in made) > 1
    assert receiver.most_at_once == 1
    assert len({heard.id for heard in receiver.heard}) == len(receiver.heard) == 40
    numbers = [json.loads(heard.body)["data"]["n"] for heard in receiver.heard]
    for of_member in range(4):
        own = [n for n in numbers if n % 4 == of_member]
        assert own == sorted(own)
