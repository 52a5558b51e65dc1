"""A programme for the cast: one point an euro, double points for dairy, a bonus from 100 € on, two tiers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from loyalty import rulebook
from loyalty.models import Programme, Rule, Tier
from loyalty.till import desk
from loyalty.till.desk import Slip
from profiles.intake import (
    RefundLineStatement,
    RefundStatement,
    Shown,
    Statement,
    Ticket,
    TicketLine,
    take_in_records,
)
from profiles.models import Profile, Source

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
AT = datetime(2026, 11, 2, 10, tzinfo=UTC)
CARD = Shown("card", "2990000001234")
OTHER = Shown("card", "2990000005678")


@pytest.fixture
def programme(brand):
    # Tests sell many tickets at one moment: what that looks like is tested in test_statements_cases.py.
    made = Programme.objects.create(name="Club", reward_points=100, reward_cents=500, velocity_tickets=0)
    Tier.objects.create(code="silver", name="Silver", threshold=200)
    Tier.objects.create(code="gold", name="Gold", threshold=1000)
    base = Rule.objects.create(code="base", name="One point an euro", kind=Rule.Kind.BASE, priority=10)
    dairy = Rule.objects.create(code="dairy", name="Double dairy", kind=Rule.Kind.MULTIPLIER, priority=20)
    bonus = Rule.objects.create(code="basket", name="Big basket", kind=Rule.Kind.BONUS, priority=30)
    terms = {"points": 1, "per_cents": 100, "rounding": "ticket", "expiry_months": 12}
    rulebook.publish(base, {}, terms, effective_from=LONG_AGO)
    rulebook.publish(dairy, {"categories": ["DAIRY"]}, {"factor": "2"}, effective_from=LONG_AGO)
    rulebook.publish(bonus, {"min_total_cents": 10000}, {"points": 50}, effective_from=LONG_AGO)
    return made


@pytest.fixture
def programme_p(brand):
    """`programme_p(**terms)`: the programme that the numbered statements speak of, one base rule and no more.

    1 point for €1 net, floor per ticket, 100 points = €5, lots live 12 months; points wait only where a test says so.
    """

    def opened(when=None, **terms) -> Rule:
        Programme.objects.create(name="P", reward_points=100, reward_cents=500, velocity_tickets=0)
        base = Rule.objects.create(code="base", name="Base", kind=Rule.Kind.BASE, priority=10)
        said = {"points": 1, "per_cents": 100, "rounding": "ticket", "expiry_months": 12} | terms
        rulebook.publish(base, when or {}, said, effective_from=LONG_AGO)
        return base

    return opened


@pytest.fixture
def crm(brand) -> Source:
    return Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)


def known(crm, lille, card=CARD.value, **fields) -> Profile:
    """Marie, or whom the fields name, as the source tells of somebody of Lille."""
    told = {
        "first_name": "Marie",
        "last_name": "Durand",
        "email": "marie@mail.example",
        "card": card,
    } | fields
    (outcome,) = take_in_records(crm, [Statement(card, told, raw=told, store_code=lille.code)])
    return Profile.objects.get(pk=outcome.profile_id)


def back(refund_id, receipt_id, *numbers, at=AT + timedelta(days=1), **more) -> RefundStatement:
    """One piece of each of these lines brought back."""
    lines = [RefundLineStatement(number, Decimal(1)) for number in numbers]
    return RefundStatement(refund_id, at, receipt_id, lines, **more)


def ticket(receipt_id, *cents, shown=CARD, at=None, category="", quantity=1) -> Ticket:
    """A ticket with a line for each amount."""
    return Ticket(
        receipt_id=receipt_id,
        bought_at=at or AT,
        shown=shown,
        lines=[
            TicketLine(sku=f"SKU{n}", amount_cents=amount, category=category, quantity=Decimal(quantity))
            for n, amount in enumerate(cents, start=1)
        ],
    )


@pytest.fixture
def address(settings, tmp_path_factory) -> Iterator[str]:
    """Where a recorder may serve, and is looked for."""
    settings.TILL_RECORDER = str(tmp_path_factory.mktemp("r") / "desk")
    desk.doubt.is_over()
    yield settings.TILL_RECORDER
    desk.hang_up()
    desk.doubt.is_over()


@pytest.fixture
def said(monkeypatch) -> list[bytes]:
    """What was handed in so far and lies there."""
    heard: list[bytes] = []
    say = desk.Line.say

    def listen(line, what):
        say(line, what)
        if isinstance(what, Slip):
            heard.append(what.told)

    monkeypatch.setattr(desk.Line, "say", listen)
    return heard
