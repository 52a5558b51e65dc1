"""The numbered statements about merges, tiers and what always adds up."""

from datetime import timedelta

from django.db.models import Sum

from loyalty import ledger, proof, statements, till
from loyalty.models import Account, Lot, Posting, Tier
from profiles import merging, separating
from profiles.models import Merge, Profile
from tests.loyalty.conftest import AT, CARD, OTHER, back, ticket


def points(profile: Profile) -> tuple[int, int]:
    balance = statements.balance_of(profile)
    return balance.available, balance.pending


def test_a_merge_loses_no_point(lille_till, programme_p):
    """Statement 47: 120 and 80 points make 200, and those that wait go on waiting; lots keep their expiry."""
    programme_p(pending_days=14)
    machine = lille_till[0]
    early = AT - timedelta(days=40)
    till.record_purchases(
        machine, [ticket("A", 12000, at=early), ticket("B", 8000, shown=OTHER, at=early), ticket("A2", 3000)]
    )
    ledger.release_due(AT.date())
    one, other = Profile.objects.order_by("pk")
    assert (points(one), points(other)) == ((120, 30), (80, 0))
    kept = list(Lot.objects.order_by("pk").values_list("pk", "points", "expires_on", "store", "transaction"))
    merging.merge(one, other, ground=Merge.Ground.PERSON)
    assert (points(one), points(other)) == ((200, 30), (0, 0))
    rows = Lot.objects.order_by("pk").values_list("pk", "points", "expires_on", "store", "transaction")
    assert list(rows) == kept
    assert Posting.objects.aggregate(all=Sum("points"))["all"] == 0


def test_a_separation_gives_back_what_is_left(lille_till, programme_p):
    """Statement 48: of A's 120 and B's 80, 150 are spent; separated, A has 0 and B 50; nothing is lost."""
    programme_p()
    machine = lille_till[0]
    early = AT - timedelta(days=40)
    till.record_purchases(machine, [ticket("A", 12000, at=early), ticket("B", 8000, shown=OTHER)])
    one, other = Profile.objects.order_by("pk")
    deed = merging.merge(one, other, ground=Merge.Ground.PERSON)
    ledger.redeem(one.pk, 150, store_id=machine.store_id, key="spend", at=AT)
    separating.unmerge(deed)
    assert (points(one), points(other)) == ((0, 0), (50, 0))
    till.record_purchase(machine, ticket("B2", 1000, shown=OTHER))
    assert points(other) == (60, 0)
    assert proof.prove().differences == []


def test_spending_lowers_no_tier(lille_till, programme_p):
    """Statement 49: the tier follows what was earned, not what is left."""
    programme_p()
    Tier.objects.create(code="gold", name="Gold", threshold=100)
    till.record_purchase(lille_till[0], ticket("R1", 20000))
    assert till.redeem(lille_till[0], CARD, 200, "P1", AT).body["available"] == 0
    assert statements.balance_of(Profile.objects.get()).tier == "Gold"


def test_everything_adds_up(lille_till, programme_p):
    """Statement 52: a balance is the sum of its entries and of its lots less the debt; all accounts sum to 0."""
    programme_p()
    machine = lille_till[0]
    till.record_purchases(machine, [ticket("R1", 5000), ticket("R2", 5000), ticket("R3", 700)])
    till.redeem(machine, CARD, 100, "P1", AT)
    till.refund(machine, back("B1", "R1", 1))
    member = Profile.objects.get()
    entries = Posting.objects.filter(account__profile=member).aggregate(all=Sum("points"))["all"]
    lots = Lot.objects.aggregate(all=Sum("remaining"))["all"]
    balance = statements.balance_of(member)
    assert entries == balance.available - balance.debt == lots - balance.debt == -43
    assert Posting.objects.aggregate(all=Sum("points"))["all"] == 0
    assert proof.prove().differences == []
    Account.objects.filter(kind="available").update(balance=1)
    assert proof.prove().differences
