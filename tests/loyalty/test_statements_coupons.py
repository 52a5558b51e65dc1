"""The numbered statements about coupons: limits that hold under races, and which combine."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from loyalty import counter, coupons, till
from loyalty.coupons import NotUsable
from loyalty.models import Coupon, CouponTally, CouponUse, StackingClass
from profiles import merging, separating
from profiles.models import Merge, Profile
from tests.loyalty.conftest import CARD, OTHER, ticket
from tests.loyalty.test_ledger_invariants import arena, buy, stage  # noqa: F401 - fixtures


def coupon(code="FIVE", **more) -> Coupon:
    told = {
        "name": code.title(),
        "kind": "amount",
        "amount": 500,
        "starts_at": timezone.now() - timedelta(days=1),
    }
    return Coupon.objects.create(code=code, **(told | more))


def codes_of(refused) -> set[str]:
    return {reason.code for verdict in refused.value.verdicts for reason in verdict.reasons}


def use(machine, *told, basket, total=5000, shown=None):
    return counter.use_coupons(machine, told, total, shown, basket)


@pytest.fixture
def people(lille_till, programme) -> list[Profile]:
    till.record_purchases(lille_till[0], [ticket("R1", 1000), ticket("R2", 1000, shown=OTHER)])
    return list(Profile.objects.order_by("pk"))


def test_limits_in_all_by_store_and_by_member(lille_till, lyon_till, people):
    """Statement 34: global, per member and per store limits."""
    lille, lyon = lille_till[0], lyon_till[0]
    coupon(most_in_all=4, most_a_store=3, most_a_member=2)
    use(lille, "five", basket="B1", shown=CARD)
    use(lille, "FIVE", basket="B2", shown=CARD)
    with pytest.raises(NotUsable) as refused:
        use(lille, "FIVE", basket="B3", shown=CARD)
    assert codes_of(refused) == {"coupon_limit_of_member"}
    with pytest.raises(NotUsable) as refused:
        use(lille, "FIVE", basket="B3")
    assert codes_of(refused) == {"coupon_for_members"}
    use(lille, "FIVE", basket="B3", shown=OTHER)
    with pytest.raises(NotUsable) as refused:
        use(lille, "FIVE", basket="B4", shown=OTHER)
    assert codes_of(refused) == {"coupon_limit_of_store"}
    use(lyon, "FIVE", basket="B5", shown=OTHER)
    with pytest.raises(NotUsable) as refused:
        use(lyon, "FIVE", basket="B6", shown=OTHER)
    assert codes_of(refused) == {"coupon_limit_in_all", "coupon_limit_of_member"}
    # A basket that was given up frees its place, once; the same basket sent again is answered as before.
    assert counter.cancel_coupons(lyon, "B5") == {"basket_id": "B5", "cancelled": 1}
    assert counter.cancel_coupons(lyon, "B5")["cancelled"] == 0
    use(lyon, "FIVE", basket="B7", shown=OTHER)
    assert use(lyon, "FIVE", basket="B7", shown=OTHER).replayed
    assert CouponTally.objects.get(store=None).used == 4


def test_not_before_its_start_and_not_after_its_end(lille_till, till_client, brand):
    """Statement 34: not before its start; the refusal says from when on it holds."""
    now = timezone.now()
    coupon("SOON", starts_at=now + timedelta(hours=1))
    coupon("GONE", ends_at=now - timedelta(minutes=1))
    coupon("OFF", is_on=False)
    body = {"coupons": ["soon", "GONE", "OFF", "NONE"], "total": 50, "basket_id": "B1"}
    answer = till_client(lille_till[1]).post("/api/v1/coupons/use", body, content_type="application/json")
    assert answer.status_code == 409
    told = {(error["field"], error["code"]) for error in answer.json()["errors"]}
    assert {
        ("coupons[0]", "coupon_not_started"),
        ("coupons[1]", "coupon_over"),
        ("coupons[2]", "coupon_off"),
        ("coupons[3]", "unknown_coupon"),
    } <= told
    assert not CouponUse.objects.exists()


def test_the_matrix_says_which_pairs_combine(lille_till, brand):
    """Statement 34: the stacking matrix says which pairs combine, and the till is told which do not and why."""
    brand_wide, local, clearance = (
        StackingClass.objects.create(code=code, name=code.title()) for code in ("brand", "local", "clearance")
    )
    brand_wide.combines_with.add(local)
    local.combines_with.add(local)
    coupon("A", stacking=brand_wide)
    coupon("B", stacking=local, kind="percent", amount=10)
    coupon("C", stacking=clearance)
    coupon("D", stacking=local, amount=300)
    coupon("E")
    machine = lille_till[0]

    def combine(*told) -> dict:
        answer = counter.check_coupons(machine, told, 5000, None)
        return {
            seen["code"]: {reason["other"] for reason in seen["reasons"]} or seen["discount_cents"]
            for seen in answer["coupons"]
        }

    assert combine("A", "B") == {"A": 500, "B": 450}  # ten percent of what A left
    assert combine("B", "A") == combine("A", "B")
    assert combine("B", "D", "A") == {"A": 500, "B": 450, "D": 300}
    assert combine("A", "C") == {"A": {"C"}, "C": {"A"}}
    assert combine("A", "B", "C") == {"A": {"C"}, "B": {"C"}, "C": {"A", "B"}}
    assert combine("E", "A") == {"A": {"E"}, "E": {"A"}}
    assert combine("E") == {"E": 500}
    assert combine("A", "A")["A"] == {""}
    with pytest.raises(NotUsable) as refused:
        use(machine, "A", "C", basket="B1")
    assert codes_of(refused) == {"does_not_combine"}
    assert not CouponUse.objects.exists()
    answer = use(machine, "A", "B", "D", basket="B1")
    assert answer.body["discount_cents"] == 1250
    assert CouponUse.objects.count() == 3


def test_store_basket_and_no_more_off_than_there_is(lille_till, lyon_till, brand):
    coupon("LYON", least_cents=3000).stores.set([lyon_till[0].store])
    with pytest.raises(NotUsable) as refused:
        use(lille_till[0], "LYON", basket="B1", total=2999)
    assert codes_of(refused) == {"other_store", "basket_too_small"}
    coupon("BIG", amount=9999)
    for nothing in (0, -1):
        with pytest.raises(NotUsable) as refused:
            use(lyon_till[0], "BIG", basket="B0", total=nothing)
        assert codes_of(refused) == {"basket_too_small"}
    assert use(lyon_till[0], "BIG", basket="B1", total=700).body["discount_cents"] == 700


def test_the_database_keeps_the_limits_by_itself(lille_till, people):
    one = coupon(most_in_all=2, most_a_member=1, starts_at=datetime(2026, 1, 1, tzinfo=UTC))
    told = {"coupon": one, "store": lille_till[0].store, "cents": 1}
    at = timezone.now()

    def refused(**more) -> str:
        with pytest.raises(DatabaseError) as error, transaction.atomic():
            CouponUse.objects.create(**(told | {"used_at": at} | more))
        return error.value.__cause__.diag.constraint_name

    CouponUse.objects.create(**told, basket="1", used_at=at, profile=people[0])
    assert refused(basket="2", profile=people[0]) == "coupon_limit_of_member"
    assert refused(basket="2") == "coupon_limit_of_member"
    assert refused(basket="1", profile=people[1]) == "coupon_once_a_basket"
    assert refused(basket="2", used_at=datetime(2025, 1, 1, tzinfo=UTC)) == "coupon_not_before_its_start"
    CouponUse.objects.create(**told, basket="2", used_at=at, profile=people[1])
    third = Profile.objects.create()
    assert refused(basket="3", profile=third) == "coupon_limit_in_all"
    for change in ({"cents": 2}, {"used_at": at + timedelta(days=1)}):
        with pytest.raises(DatabaseError) as error, transaction.atomic():
            CouponUse.objects.update(**change)
        assert error.value.__cause__.diag.constraint_name == "coupon_use_never_changes"
    with pytest.raises(DatabaseError), transaction.atomic():
        CouponUse.objects.all().delete()


def test_what_both_used_counts_for_both_together(lille_till, people):
    """A merge does not give anybody a second go."""
    coupon(most_a_member=1)
    use(lille_till[0], "FIVE", basket="B1", shown=OTHER)
    deed = merging.merge(*people, ground=Merge.Ground.PERSON)
    with pytest.raises(NotUsable):
        use(lille_till[0], "FIVE", basket="B2", shown=CARD)
    separating.unmerge(deed)
    use(lille_till[0], "FIVE", basket="B3", shown=CARD)
    with pytest.raises(NotUsable):
        use(lille_till[0], "FIVE", basket="B4", shown=OTHER)


@pytest.mark.parametrize("limits", [{"most_in_all": 1}, {"most_a_store": 1}, {"most_a_member": 1}])
def test_the_last_use_has_one_winner(arena, limits):  # noqa: F811
    """Statement 34: the limits hold when tills ask at the same time, and when one asks before another has ended."""
    arena.run(buy, arena, "R1", 500)
    shown = arena.card if "most_a_member" in limits else None

    def ask(code, number):
        return lambda: counter.use_coupons(arena.till, [code], 5000, shown, f"{code}-{number}")

    for kind in ("AT-ONCE", "OVERTAKEN"):
        code = f"{kind}-{next(iter(limits))}".upper()
        arena.run(lambda code=code: coupon(code, **limits))
        outcomes = (
            arena.at_once(*(ask(code, number) for number in range(4)))
            if kind == "AT-ONCE"
            else arena.overtaken(ask(code, 0), ask(code, 1))
        )
        names = sorted(type(outcome).__name__ for outcome in outcomes)
        assert names == ["Answer", *["NotUsable"] * (len(outcomes) - 1)]
        assert CouponUse.objects.filter(coupon__code=code).count() == 1


def test_baskets_with_the_same_coupons_wait_in_a_line(arena):  # noqa: F811
    arena.run(buy, arena, "R1", 500)
    both = arena.run(lambda: StackingClass.objects.create(code="both", name="Both"))
    arena.run(lambda: both.combines_with.add(both))
    for code in ("ONE", "TWO"):
        arena.run(lambda code=code: coupon(code, stacking=both))
    outcomes = arena.at_once(
        *(
            lambda n=n: counter.use_coupons(
                arena.till, ["ONE", "TWO"][:: 1 if n % 2 else -1], 5000, None, f"L{n}"
            )
            for n in range(4)
        )
    )
    assert {type(outcome).__name__ for outcome in outcomes} == {"Answer"}
    assert coupons.cancel("nothing", at=timezone.now()) == 0
