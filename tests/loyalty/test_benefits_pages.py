"""Benefits on head office's pages: what they show, what they refuse and how they say it, and what a store sees."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from loyalty import counter, statements, till
from loyalty.models import (
    Coupon,
    CouponUse,
    Reward,
    RewardStock,
    StackingClass,
    StoreExit,
    Tier,
    TierGift,
    Voucher,
)  # fmt: skip
from profiles.models import Profile
from tenants.network.models import AuditEvent
from tests.loyalty.conftest import CARD, ticket

CATALOGUE = "admin:loyalty_reward_changelist"
NO_STOCK = {"stock-TOTAL_FORMS": "0", "stock-INITIAL_FORMS": "0"}
MUG = {
    "name": "Mug", "code": "mug", "kind": "gift", "points": "100", "worth_cents": "0", "lives_days": "90",
    "unused": "lost", "valid_from": "2026-01-01", "is_offered": "on",
}  # fmt: skip


@pytest.fixture
def rewards(lille, lyon) -> dict[str, Reward]:
    told = {"kind": "gift", "points": 100, "valid_from": date(2026, 1, 1)}
    made = {
        "everywhere": Reward.objects.create(code="mug", name="Mug", is_counted=True, **told),
        "lyon": Reward.objects.create(code="lyon", name="Silk of Lyon", **told),
        "over": Reward.objects.create(code="old", name="Old calendar", **told, valid_until=date(2026, 2, 1)),
    }
    made["lyon"].stores.set([lyon])
    RewardStock.objects.create(reward=made["everywhere"], store=lille, left=7)
    RewardStock.objects.create(reward=made["everywhere"], store=lyon, left=4321)
    return made


@pytest.fixture
def marie(lille_till, programme) -> Profile:
    till.record_purchase(lille_till[0], ticket("R1", 30000))
    return Profile.objects.get()


def page(browser, address, *args, **asked) -> str:
    response = browser.get(reverse(address, args=args), asked)
    assert response.status_code == 200
    return response.content.decode()


def test_the_catalogue_shows_state_and_stock(client_of, alice, rewards):
    shown = page(client_of(alice), CATALOGUE)
    assert all(
        name in shown for name in ("Mug", "Silk of Lyon", "Old calendar", "In stock: 4,328", "Lyon Bellecour")
    )
    assert "Old calendar" in page(client_of(alice), CATALOGUE, state="over")
    assert "Mug" not in page(client_of(alice), CATALOGUE, state="over")
    assert "Mug" not in page(client_of(alice), CATALOGUE, q="silk lyon")
    assert "No reward is found" in page(client_of(alice), CATALOGUE, q="nothing\x00")


def test_a_manager_sees_what_concerns_their_store(client_of, bruno, rewards):
    browser = client_of(bruno)
    shown = page(browser, CATALOGUE)
    assert "In stock: 7" in shown
    assert not any(word in shown for word in ("Silk of Lyon", "4,321", "4,328", "Lyon Bellecour"))
    form = page(browser, "admin:loyalty_reward_change", rewards["everywhere"].pk)
    assert "4321" not in form
    assert browser.get(reverse("admin:loyalty_reward_change", args=[rewards["lyon"].pk])).status_code == 302
    assert browser.post(reverse("admin:loyalty_reward_add"), MUG | NO_STOCK).status_code == 403


def test_a_reward_is_added_with_its_stock(client_of, alice, lille):
    stock = {
        "stock-TOTAL_FORMS": "1",
        "stock-INITIAL_FORMS": "0",
        "stock-0-store": lille.pk,
        "stock-0-left": "12",
    }
    told = MUG | stock | {"is_counted": "on", "earner": "0", "redeemer": "40", "head_office": "60"}
    assert client_of(alice).post(reverse("admin:loyalty_reward_add"), told).status_code == 302
    made = Reward.objects.get()
    assert (made.shares, made.stock.get().left) == ("0/40/60", 12)
    assert AuditEvent.objects.filter(verb="added", object_type="reward").exists()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"kind": "money_off"}, "Say how much money it takes off."),
        ({"valid_until": "2025-12-31"}, "This day lies before the first one."),
        ({"earner": "50"}, "Fill in all three shares, or none"),
        ({"earner": "50", "redeemer": "20", "head_office": "10"}, "The three shares sum to 80, not to 100."),
        ({"points": "0"}, "greater than or equal to 1"),
        ({"lives_days": "0"}, "greater than or equal to 1"),
        ({"stock-TOTAL_FORMS": "1", "stock-0-left": "-1"}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_is_told_beside_its_field(client_of, alice, lille, wrong, sentence):
    told = NO_STOCK | MUG | {"stock-0-store": lille.pk} | wrong
    response = client_of(alice).post(reverse("admin:loyalty_reward_add"), told)
    assert response.status_code == 200
    assert sentence in response.content.decode()
    assert not Reward.objects.exists()


def test_a_voucher_is_given_once_and_cancelled_by_hand(client_of, alice, marie, rewards, lille_till):
    browser = client_of(alice)
    assert "Give a reward" in page(browser, "admin:profiles_profile_change", marie.pk)
    give = reverse("admin:loyalty_voucher_give", args=[marie.pk])
    told = {"reward": rewards["everywhere"].pk, "once": "260101"}
    for _twice in range(2):
        assert browser.post(give, told).status_code == 302
    given = Voucher.objects.get()
    assert (given.profile, given.points, given.issued_by) == (marie, 0, str(alice))
    for wrong in ({"reward": "x"}, {"reward": "9" * 30}, {"reward": rewards["over"].pk}, {"once": ""}):
        assert browser.post(give, told | wrong).status_code == 302
    assert Voucher.objects.count() == 1
    bought = counter.claim(lille_till[0], CARD, "mug", "C1")
    voucher = Voucher.objects.get(points=100)
    shown = page(browser, "admin:loyalty_voucher_change", voucher.pk)
    assert bought.body["voucher"]["code"] in shown
    assert "100 points return to the lots they came from." in shown
    assert bought.body["voucher"]["code"] in page(browser, "admin:profiles_profile_change", marie.pk)
    before = statements.balance_of(marie).available
    cancel = reverse("admin:loyalty_voucher_cancel", args=[voucher.pk])
    for _twice in range(2):
        assert browser.post(cancel).status_code == 302
    assert statements.balance_of(marie).available == before + 100
    assert AuditEvent.objects.filter(verb="cancelled", object_type="voucher").count() == 1
    assert "Cancel the voucher" not in page(browser, "admin:loyalty_voucher_change", voucher.pk)


def test_a_manager_reads_the_vouchers_of_their_store(client_of, bruno, chloe, marie, rewards, lille_till):
    counter.claim(lille_till[0], CARD, "mug", "C1")
    short = str(Voucher.objects.get())
    vouchers = "admin:loyalty_voucher_changelist"
    assert short in page(client_of(bruno), vouchers)
    assert short not in page(client_of(chloe), vouchers)
    assert short not in page(client_of(chloe), CATALOGUE)
    assert "Vouchers: 1 issued" in page(client_of(bruno), CATALOGUE)
    assert "Cancel the voucher" not in page(
        client_of(bruno), "admin:loyalty_voucher_change", Voucher.objects.get().pk
    )
    found = page(client_of(bruno), vouchers, q=Voucher.objects.get().code.lower())
    assert short in found


def test_coupons_are_edited_with_clear_errors(client_of, alice, bruno, lille, lyon):
    address = reverse("admin:loyalty_coupon_add")
    told = {
        "code": "spring", "name": "Spring", "kind": "percent", "amount": "10", "least_cents": "0", "is_on": "on",
        "starts_at_0": "2026-01-01", "starts_at_1": "00:00",
    }  # fmt: skip
    ends = {"ends_at_0": "2025-01-01", "ends_at_1": "00:00"}
    for wrong, sentence in (
        ({"amount": "101"}, "No more than 100 percent."),
        (ends, "This lies before the start."),
    ):
        response = client_of(alice).post(address, told | wrong)
        assert sentence in response.content.decode()
    assert client_of(alice).post(address, told | {"stores": [lyon.pk]}).status_code == 302
    made = Coupon.objects.get()
    assert made.code == "SPRING"
    again = client_of(alice).post(address, told | {"code": "Spring"})
    assert "already exists" in again.content.decode()
    CouponUse.objects.create(coupon=made, store=lyon, basket="1", cents=250, used_at=timezone.now())
    assert "1, €2.50 off" in page(client_of(alice), "admin:loyalty_coupon_changelist")
    assert "SPRING" not in page(client_of(bruno), "admin:loyalty_coupon_changelist")


def test_the_matrix_is_symmetrical(client_of, alice, brand):
    one = StackingClass.objects.create(code="one", name="One")
    told = {"code": "two", "name": "Two", "combines_with": [one.pk]}
    assert client_of(alice).post(reverse("admin:loyalty_stackingclass_add"), told).status_code == 302
    assert [other.code for other in one.combines_with.all()] == ["two"]
    shown = page(client_of(alice), "admin:loyalty_stackingclass_changelist")
    assert "Which coupons combine" in shown
    assert (shown.count(">yes<"), shown.count(">no<")) == (2, 2)


def test_a_gift_of_a_tier_counts_what_was_given(client_of, alice, programme, lille_till, rewards):
    told = {"tier": Tier.objects.get(code="silver").pk, "reward": rewards["everywhere"].pk, "is_on": "on"}
    assert client_of(alice).post(reverse("admin:loyalty_tiergift_add"), told).status_code == 302
    till.record_purchase(lille_till[0], ticket("R1", 30000))
    assert TierGift.objects.get().vouchers.count() == 1
    assert client_of(alice).get(reverse("admin:loyalty_tiergift_changelist")).status_code == 200


def test_a_store_leaves_by_a_form(client_of, diane, alice, marie, lille, lyon):
    """Statement 60, from the page: the form says what cannot be, and carries out what has come."""
    address = reverse("admin:loyalty_storeexit_add")
    told = {"store": lille.pk, "on": datetime.now(UTC).date() - timedelta(days=1), "buyer": lille.pk}
    assert client_of(alice).post(address, told).status_code == 403
    browser = client_of(diane)
    assert "cannot take over its own points" in browser.post(address, told).content.decode()
    before = statements.balance_of(marie)
    answer = browser.post(address, told | {"buyer": lyon.pk}, follow=True)
    assert "points handed over by one posting" in answer.content.decode()
    assert (StoreExit.objects.get().points, StoreExit.objects.get().by) == (350, diane)
    assert statements.balance_of(marie) == before
    assert "noted already" in browser.post(address, told | {"buyer": ""}).content.decode()
    assert "350" in page(browser, "admin:loyalty_storeexit_changelist")
    assert "350" in page(browser, "admin:loyalty_storeexit_change", StoreExit.objects.get().pk)
    assert AuditEvent.objects.filter(verb="agreed exit").count() == 1
