"""The numbered statements about spending points."""

import pytest

from loyalty import statements, till
from loyalty.ledger import NotEnoughPoints
from loyalty.models import Lot
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
