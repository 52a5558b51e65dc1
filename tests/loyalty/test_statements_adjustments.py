"""The numbered statement about points given and taken by hand."""

from datetime import timedelta

import pytest

from loyalty import adjustments, ledger, proof, statements, till
from loyalty.adjustments import NotAllowed, adjust
from loyalty.models import Transaction
from profiles.models import Profile
from tenants.network.models import AuditEvent
from tests.loyalty.conftest import AT, ticket


@pytest.fixture
def marie(lille_till, programme_p) -> Profile:
    programme_p()
    till.record_purchase(lille_till[0], ticket("R1", 5000))
    return Profile.objects.get()


@pytest.fixture
def given(marie, lille):
    """`given(points, by, …)`: an adjustment at Lille, each of its own."""
    number = iter(range(100))

    def deed(points, by, **more) -> int:
        told = {"store": lille, "reason": "goodwill", "comment": "late delivery", "now": AT} | more
        return adjust(marie, points, by=by, key=str(next(number)), **told)

    return deed


def test_points_by_hand_have_limits(marie, given, bruno, chloe, diane):
    """Statement 46: a reason of the list and a comment; 200 at once and 1 000 a day for a store; own card never."""
    refused = {
        "unknown_reason": lambda: given(10, bruno, reason="because"),
        "comment_missing": lambda: given(10, bruno, comment=" "),
        "no_points": lambda: given(0, bruno),
        "head_office_only": lambda: given(201, bruno),
        "other_store": lambda: given(10, chloe),
    }
    for code, deed in refused.items():
        with pytest.raises(NotAllowed) as told:
            deed()
        assert told.value.code == code
    for _time in range(5):
        given(200, bruno)
    with pytest.raises(NotAllowed):
        given(1, bruno)
    given(1, bruno, now=AT + timedelta(days=1))
    given(5000, diane)
    marie.email = bruno.email.upper()
    with pytest.raises(NotAllowed) as told:
        given(1, bruno)
    assert told.value.code == "own_card"
    assert AuditEvent.objects.filter(verb="adjusted").count() == 7
    assert statements.balance_of(marie).available == 50 + 1000 + 1 + 5000
    assert proof.prove().differences == []


def test_a_reversal_is_the_opposite_entry(marie, given, diane):
    """Statement 46: an adjustment is undone once, by an entry of its own."""
    made = given(30, diane)
    adjustments.reverse(made, comment="wrong card", by=diane)
    with pytest.raises(ledger.AlreadyPosted):
        adjustments.reverse(made, comment="wrong card", by=diane)
    assert statements.balance_of(marie).available == 50
    assert Transaction.objects.filter(kind="adjust").count() == 2
    with pytest.raises(ledger.NotEnoughPoints):
        given(-51, diane)
    assert proof.prove().differences == []
