"""Tickets in one call of the database: when it is enough, when it refuses; both ways end in the same ledger."""

import json
import random
from datetime import date, timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from loyalty import ledger, proof, returns, rulebook, statements, till
from loyalty.models import (
    Cashier,
    Lot,
    Membership,
    Programme,
    Rule,
    TicketCashier,
    Tier,
    Transaction,
)
from loyalty.till import selling
from profiles.intake import Shown, Ticket, purchases
from profiles.models import Profile
from tenants.brand_sql import CloserLook, call
from tests.loyalty.conftest import AT, CARD, OTHER, back, known, ticket


@pytest.fixture
def looks(monkeypatch) -> list[str]:
    """What the database wanted looked at, one word for each call that it refused."""
    wanted: list[str] = []
    at_once = selling._record_at_once

    def listen(*args):
        try:
            return at_once(*args)
        except CloserLook as look:
            wanted.append(look.at)
            raise

    monkeypatch.setattr(selling, "_record_at_once", listen)
    return wanted


@pytest.fixture
def met(programme_p, lille_till, looks):
    """A member of Programme P who bought yesterday."""
    programme_p()
    till.record_purchase(lille_till[0], ticket("R0", 1000, at=AT - timedelta(days=1)))
    looks.clear()
    return Profile.objects.get()


def sell(machine, receipt, *cents, at=AT, cashier="", **more):
    told = ticket(receipt, *cents, at=at, **more)
    return till.record_purchase(
        machine, Ticket(told.receipt_id, told.bought_at, told.lines, told.shown, cashier=cashier)
    )


def test_a_member_s_ticket_is_one_call(met, lille_till, looks):
    answer = sell(lille_till[0], "R1", 1000, cashier="7")
    assert (answer.status, answer.body["points"], answer.body["available"]) == (201, 10, 20)
    assert looks == []
    assert TicketCashier.objects.get().cashier == "7"
    assert sell(lille_till[0], "R1", 1000, cashier="7").replayed
    assert looks == []


def test_a_stranger_and_a_new_member_are_looked_at(programme_p, lille_till, looks):
    programme_p()
    sell(lille_till[0], "R1", 1000)
    assert looks == ["people"]
    assert Membership.objects.count() == 1


def test_the_edition_of_the_rules_is_looked_at_once(met, lille_till, looks):
    rule = Rule.objects.order_by("priority").first()
    version = rule.versions.order_by("-number").first()
    rulebook.publish(rule, version.conditions, version.terms, reason="again")
    sell(lille_till[0], "R1", 1000)
    sell(lille_till[0], "R2", 1000)
    assert looks == ["rulebook"]


def test_a_tier_that_rises_or_is_at_risk_is_looked_at(met, lille_till, looks):
    tier = Tier.objects.create(code="star", name="Star", threshold=25)
    Membership.objects.update(tier=None)
    sell(lille_till[0], "R1", 1000)  # the rulebook is another one
    looks.clear()
    assert sell(lille_till[0], "R2", 1000).body["tier"] == "Star"
    assert looks == ["tier"]
    Membership.objects.update(grace_until=AT.date(), at_risk_since=AT)
    sell(lille_till[0], "R3", 1000)
    assert looks == ["tier", "tier"]
    assert Membership.objects.get().grace_until is None, "the points reach the tier: no risk"
    assert Membership.objects.get().tier == tier


def test_goods_that_came_back_before_they_were_sold_are_looked_at(met, lille_till, looks):
    till.refund(lille_till[0], back("B1", "R1", 1))
    assert sell(lille_till[0], "R2", 1000).body["available"] == 20
    assert looks == []
    assert sell(lille_till[0], "R1", 1000).body["available"] == 20
    assert looks == ["return"]
    assert not returns.waiting_for(lille_till[0], [])


@pytest.mark.parametrize(
    ("limits", "cashier", "cents", "receipts"),
    [
        ({"velocity_tickets": 2}, "", 1000, 3),
        ({"velocity_cents": 2500}, "", 1000, 3),
        ({"cashier_card_uses": 2}, "7", 1000, 3),
        ({"hold_self_scan": True}, "8", 1000, 1),
    ],
)
def test_limits_are_looked_at_by_the_ticket_that_passes_them(
    met, lille_till, looks, limits, cashier, cents, receipts
):
    none = {"velocity_tickets": 0, "velocity_cents": 0, "cashier_card_uses": 0, "distance_km": 0}
    Programme.objects.update(**{**none, "hold_self_scan": False, **limits})
    Cashier.objects.create(store=lille_till[0].store, code="8", card=f"{CARD.value[:4]} {CARD.value[4:]}")
    Cashier.objects.create(store=lille_till[0].store, code="7", card="2990000009999")
    rulebook.Rulebook.load()
    for n in range(receipts):
        sell(lille_till[0], f"R{n + 1}", cents, at=AT + timedelta(minutes=n), cashier=cashier)
    assert looks == ["limit"]


def test_in_one_batch_too_only_the_last_year_makes_the_tier(met, lille_till, looks):
    Tier.objects.create(code="star", name="Star", threshold=100)
    sell(lille_till[0], "R9", 20_000, at=AT + timedelta(days=5))
    looks.clear()
    days = [AT - timedelta(days=days) for days in (400, 10, 0)]
    batch = [ticket(f"Y{n}", 9000, at=at) for n, at in enumerate(days)]
    assert [answer.status for answer in till.record_purchases(lille_till[0], batch)] == [201] * 3
    told = Transaction.objects.filter(purchase__receipt_id__in=["Y0", "Y1", "Y2"]).order_by("occurred_at")
    # For the last one, 90 of ten days ago and 10 of the day before; what was bought 400 days ago counts for neither.
    assert list(told.values_list("tier", flat=True)) == ["", "", "star"]
    assert looks == []


def test_points_count_for_the_tier_until_a_year_is_over_to_the_second(met, lille_till, looks):
    Tier.objects.create(code="star", name="Star", threshold=100)
    a_year_ago = AT - timedelta(days=365)
    sell(lille_till[0], "Y0", 20_000, at=a_year_ago)
    looks.clear()
    sell(lille_till[0], "Y1", 100)
    assert looks == []
    sell(lille_till[0], "Y2", 20_000, at=a_year_ago + timedelta(seconds=1))
    looks.clear()
    sell(lille_till[0], "Y3", 100)
    assert looks == []
    told = Transaction.objects.filter(purchase__receipt_id__in=["Y1", "Y3"]).order_by("purchase__receipt_id")
    assert list(told.values_list("tier", flat=True)) == ["", "star"]


def test_in_one_batch_too_a_ticket_gives_earlier_points_new_months(programme_p, lille_till, looks):
    """Whatever becomes of its own points, which another version of the rule gave."""
    rule = programme_p(expiry="inactivity", expiry_months=6)
    terms = {"points": 1, "per_cents": 100, "rounding": "ticket", "expiry_months": 12}
    rulebook.publish(rule, {}, terms, effective_from=AT, reason="another expiry")
    early, late = AT - timedelta(days=30), AT + timedelta(days=1)
    till.record_purchases(lille_till[0], [ticket("R1", 1000, at=early), ticket("R2", 1000, at=late)])
    assert looks == ["people"]
    lots = Lot.objects.order_by("transaction__occurred_at").values_list("expires_on", flat=True)
    assert list(lots) == [date(2027, 5, 3), date(2027, 11, 3)]


def test_in_one_batch_too_a_debt_is_paid_once(met, lille, lille_till, looks):
    (mine,) = ledger.accounts_of([met.pk]).values()
    (other,) = ledger.store_accounts("adjustment", [lille.pk]).values()
    owes = ledger.Fact(
        key="owes", kind=ledger.Kind.ADJUST, profile_id=met.pk, store_id=lille.pk, occurred_at=AT,
        points={mine.debt_id: -15, other: 15},
    )  # fmt: skip
    ledger.post([owes])
    told = [ticket("R1", 1000), ticket("R2", 1000), ticket("S1", 1000, shown=OTHER)]
    answers = till.record_purchases(lille_till[0], told)
    assert looks == ["people"]
    assert [(answer.body["available"], answer.body["debt"]) for answer in answers] == [
        (15, 0),
        (15, 0),
        (10, 0),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_both_ways_end_in_the_same_ledger(programme_p, lille_till, lyon_till, looks, monkeypatch, seed):
    programme_p()
    Tier.objects.create(code="star", name="Star", threshold=60)
    cards = [CARD, Shown("card", "2990000005678"), Shown("card", "2990000007777")]

    def play() -> tuple[list, list]:
        chance, told = random.Random(seed), []
        for n in range(25):
            machine = chance.choice([lille_till[0], lyon_till[0]])
            batch = [
                ticket(
                    f"R{n}-{k}", *chance.choices([500, 1000, 2550], k=2), shown=chance.choice([*cards, None]),
                    at=AT - timedelta(days=chance.randrange(20), minutes=chance.randrange(600)),
                )
                for k in range(chance.choice([1, 1, 1, 3]))
            ]  # fmt: skip
            told += [
                {name: value for name, value in answer.body.items() if name != "member"}
                for answer in till.record_purchases(machine, batch)
            ]
        assert proof.prove().differences == []
        facts = Transaction.objects.order_by("occurred_at", "pk")
        return told, list(
            facts.values_list("kind", "qualifying_points", "tier", "occurred_at", "explanation")
        )

    with transaction.atomic():
        at_once = play()
        assert len(looks) < 20, "most of them are ordinary"
        transaction.set_rollback(True)

    def refuse(*args):
        raise CloserLook("test")

    monkeypatch.setattr(selling, "_record_at_once", refuse)
    with transaction.atomic():
        closely = play()
        transaction.set_rollback(True)
    assert at_once == closely


@pytest.mark.parametrize(
    ("terms", "bought", "available", "pending"),
    [
        ({}, [400], 0, 0),  # their last day had passed before they were told
        ({"pending_days": 30}, [1], 0, 10),
        (
            {"expiry": "inactivity", "expiry_months": 6},
            [220, 60],
            20,
            0,
        ),  # the second lets the first live again
    ],
)
def test_a_ticket_answers_what_the_ledger_holds(
    programme_p, lille_till, looks, terms, bought, available, pending
):
    programme_p(**terms)
    now = timezone.now()
    sell(lille_till[0], "R0", 99, at=now - timedelta(days=1000))  # enrols, and earns nothing
    member = Profile.objects.get()
    ledger.accounts_of([member.pk])
    looks.clear()
    for n, days in enumerate(bought, start=1):
        heard = sell(lille_till[0], f"R{n}", 1000, at=now - timedelta(days=days)).body
    assert (heard["available"], heard["pending"]) == (available, pending)
    held = statements.balance_of(member)
    assert (heard["available"], heard["pending"], heard["debt"]) == (held.available, held.pending, held.debt)
    assert looks == []


def test_a_member_without_accounts_is_looked_at(programme_p, crm, lille, lille_till, looks):
    programme_p()
    rulebook.Rulebook.load()
    Membership.objects.create(profile=known(crm, lille))
    assert sell(lille_till[0], "R1", 1000).body["available"] == 10
    assert looks == ["people"]


def test_a_buyer_who_was_merged_before_being_held_is_looked_at(met, crm, lille, lille_till):
    gone = known(crm, lille, card=OTHER.value, first_name="Jeanne", email="jeanne@mail.example")
    Profile.objects.filter(pk=gone.pk).update(merged_into=met)
    asked = purchases.as_told(ticket("R1", 1000, shown=OTHER), lille_till[0], "", {OTHER: gone.pk})
    with pytest.raises(CloserLook, match="people"):
        call("SELECT record_tickets($1, $2::jsonb)", [AT, json.dumps([asked])])
