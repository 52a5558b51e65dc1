"""What the ledger does when people are merged or separated: nothing outside the merge's own transaction."""

from collections.abc import Callable

import pytest
from django.db import transaction

from loyalty import ledger, proof, statements, till, vouchers
from loyalty.models import Account, Coupon, CouponUse, Lot, Membership, Reward, Transaction, Voucher
from profiles import merging, separating
from profiles.intake import Shown
from profiles.models import Merge, Profile
from tests.loyalty.conftest import AT, LONG_AGO, ticket

CARDS = [Shown("card", "2990000000017"), Shown("card", "2990000000024")]


@pytest.fixture
def two(lille_till, programme) -> list[Profile]:
    """120 + 50 points and 190 points: each below silver's 200, together above."""
    for number, (card, cents) in enumerate(zip(CARDS, (12000, 9000), strict=True)):
        till.record_purchase(lille_till[0], ticket(f"R{number}", cents, shown=card))
    till.record_purchase(lille_till[0], ticket("R9", 9000, shown=CARDS[1]))
    return list(Profile.objects.order_by("pk"))


def merged(two) -> Merge:
    return merging.merge(*two, ground=Merge.Ground.PERSON)


def test_a_merge_moves_lots_with_their_expiry_store_and_rule(two):
    before = list(Lot.objects.order_by("pk").values_list("pk", "points", "remaining", "store", "expires_on"))
    merged(two)
    after = list(Lot.objects.order_by("pk").values_list("pk", "points", "remaining", "store", "expires_on"))
    assert after == before
    assert set(Lot.objects.values_list("account__profile", flat=True)) == {two[0].pk}
    assert statements.balance_of(two[0]).available == 170 + 180
    assert statements.balance_of(two[1]).available == 0
    assert proof.prove().differences == []


def test_points_that_wait_are_moved_as_points_that_wait(two):
    available, pending = (Account.objects.get(profile=two[1], kind=kind) for kind in ("available", "pending"))
    lot = Lot.objects.filter(account=available).first()
    waiting = ledger.Fact(
        "to-pending", Transaction.Kind.ADJUST, two[1].pk, lot.transaction.occurred_at,
        points={available.pk: -lot.remaining, pending.pk: lot.remaining}, moves={lot.pk: pending.pk},
    )  # fmt: skip
    ledger.post([waiting])
    deed = merged(two)
    assert statements.balance_of(two[0]).pending == 90
    separating.unmerge(deed)
    assert (statements.balance_of(two[1]).pending, statements.balance_of(two[1]).available) == (90, 90)
    assert proof.prove().differences == []


def test_tiers_follow_who_earned(two):
    assert [statements.balance_of(profile).tier for profile in two] == ["", ""]
    deed = merged(two)
    assert statements.balance_of(two[0]).tier == "Silver"
    separating.unmerge(deed)
    assert [statements.balance_of(profile).tier for profile in two] == ["", ""]
    assert Membership.objects.count() == 2


def test_a_merge_that_is_rolled_back_moves_no_point(two):
    with transaction.atomic():
        merged(two)
        transaction.set_rollback(True)
    assert [statements.balance_of(profile).available for profile in two] == [170, 180]
    assert not Merge.objects.exists()


def test_people_without_points_leave_the_ledger_alone(brand):
    one, other = Profile.objects.create(first_name="A"), Profile.objects.create(first_name="B")
    deed = merging.merge(one, other, ground=Merge.Ground.PERSON)
    separating.unmerge(deed)
    assert not Transaction.objects.exists()
    assert "ledger" not in deed.moved


def a_membership(profile, store) -> Callable[[], int]:
    Membership.objects.create(profile=profile, enrolled_at=AT)
    return lambda: Membership.objects.exclude(profile=profile).count()


def points(profile, store) -> Callable[[], int]:
    ledger.give([ledger.Gift("gift", profile.pk, 5, store.pk, {"why": "gift"})], at=AT, actor="system")
    return lambda: Lot.objects.exclude(account__profile=profile).count()


def a_voucher(profile, store) -> Callable[[], int]:
    told = {"kind": "money_off", "worth_cents": 500, "valid_from": LONG_AGO.date(), "lives_days": 30}
    vouchers.give(profile, Reward.objects.create(code="five", name="5 € off", **told), key="by hand")
    return lambda: Voucher.objects.exclude(profile=profile).count()


def a_used_coupon(profile, store) -> Callable[[], int]:
    coupon = Coupon.objects.create(code="FIVE", name="5 € off", kind="amount", amount=500, starts_at=LONG_AGO)
    CouponUse.objects.create(coupon=coupon, store=store, basket="1", cents=500, used_at=AT, profile=profile)
    return lambda: CouponUse.objects.exclude(profile=profile).count()


@pytest.mark.parametrize(
    ("given", "model"),
    [(a_membership, Membership), (points, Transaction), (a_voucher, Voucher), (a_used_coupon, CouponUse)],
)
def test_whatever_one_has_of_the_programme_is_reason_enough_to_look(lille, given, model):
    """Each kind alone: nobody with anything is taken for somebody who has nothing."""
    one, other = Profile.objects.create(first_name="A"), Profile.objects.create(first_name="B")
    moved = given(other, lille)
    kinds = (Membership, Transaction, Voucher, CouponUse)
    assert [kind for kind in kinds if kind.objects.exists()] == [model], "this test is about one of them"
    deed = merged([one, other])
    assert moved() == 1
    separating.unmerge(deed)
    assert moved() == 0


def test_points_earned_together_and_refunded_apart(two, lille_till):
    deed = merged(two)
    till.record_purchase(lille_till[0], ticket("R5", 5000, shown=CARDS[1]))
    separating.unmerge(deed)
    assert statements.balance_of(two[1]).available == 230
    assert Transaction.objects.get(purchase__receipt_id="R5").profile == two[1]
    assert proof.prove().differences == []


def test_a_lot_whose_points_came_back_expires_again(two, lille_till):
    """A settled debt is undone after the lot it was paid from expired: the night takes what came back, once more."""
    lot = Lot.objects.filter(account__profile=two[0]).get()
    issued = ledger.store_accounts("issued", [lot.store_id])[lot.store_id]
    owing = ledger.Fact("owing", "adjust", two[1].pk, lot.transaction.occurred_at)
    theirs = ledger.accounts_of([two[1].pk])[two[1].pk]
    others = dict(Lot.objects.filter(account=theirs.available_id).values_list("pk", "remaining"))
    owing.points = {theirs.available_id: -180, theirs.debt_id: -20, issued: 200}
    owing.uses = others
    ledger.post([owing])
    deed = merged(two)
    assert statements.balance_of(two[0]).available == 150
    day_after = lot.expires_on.replace(year=lot.expires_on.year + 1)
    assert ledger.expire_due(day_after) == 1
    separating.unmerge(deed)
    assert (statements.balance_of(two[0]).available, statements.balance_of(two[1]).debt) == (20, 20)
    assert ledger.expire_due(day_after) == 1
    assert ledger.expire_due(day_after) == 0
    assert statements.balance_of(two[0]).available == 0
    assert proof.prove().differences == []
