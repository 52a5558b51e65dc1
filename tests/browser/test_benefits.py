"""Benefits at a desk and on a tablet: a reward is added to the catalogue, given to a customer, and cancelled."""

from datetime import date

import pytest
from playwright.sync_api import expect

from loyalty import counter, starter, till
from loyalty.models import Coupon, Reward, RewardStock, StackingClass, Voucher
from profiles.models import Profile
from tests.loyalty.conftest import CARD, ticket

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]

TABLET = {"width": 820, "height": 1180}


@pytest.fixture
def marie(lille, lyon, lille_till, today) -> Profile:
    """A member with a voucher of her own, and a catalogue in every state."""
    starter.open_programme("Europe/Paris", date(2024, 1, 1))
    told = {"points": 200, "valid_from": date(2026, 1, 1)}
    Reward.objects.create(code="ten", name="10 € off", kind="money_off", worth_cents=1000, **told)
    mug = Reward.objects.create(
        code="mug", name="Enamel mug", kind="gift", is_counted=True, description="White, 35 cl.", **told
    )
    Reward.objects.create(code="old", name="Calendar 2025", kind="gift", valid_until=date(2026, 2, 1), **told)
    Reward.objects.create(code="trees", name="Plant a tree", kind="donation", **told)
    for store, left in ((lille, 12), (lyon, 0)):
        RewardStock.objects.create(reward=mug, store=store, left=left)
    national = StackingClass.objects.create(code="national", name="National")
    Coupon.objects.create(
        code="SPRING",
        name="Spring",
        kind="percent",
        amount=10,
        starts_at="2026-01-01T00:00Z",
        stacking=national,
    )
    till.record_purchase(lille_till[0], ticket("R1", 99000))
    counter.claim(lille_till[0], CARD, "ten", "C1")
    return Profile.objects.get()


def test_a_reward_from_the_catalogue_to_the_customer(visitor, alice, marie):
    someone = visitor()
    page = someone.sign_in(alice.email, "/loyalty/reward/")
    expect(page.get_by_role("heading", name="Enamel mug")).to_be_visible()
    page.select_option("[name=state]", "over")
    page.get_by_role("button", name="Search").last.click()
    expect(page.get_by_role("heading", name="Calendar 2025")).to_be_visible()
    expect(page.get_by_role("heading", name="Enamel mug")).to_have_count(0)
    page = someone.open(f"/profiles/profile/{marie.pk}/change/")
    page.select_option("#give-reward", label="Enamel mug")
    page.get_by_role("button", name="Give", exact=True).click()
    expect(page.get_by_text("Given: Enamel mug")).to_be_visible()
    given = Voucher.objects.get(reward__code="mug")
    page = someone.open(f"/loyalty/voucher/{given.pk}/change/")
    page.get_by_role("button", name="Cancel the voucher").click()
    expect(page.get_by_text("Cancelled: what was paid for it has come back.")).to_be_visible()


@pytest.mark.parametrize("size", [None, TABLET], ids=["desk", "tablet"])
def test_no_page_of_benefits_complains(visitor, alice, marie, size):
    someone = visitor(size) if size else visitor()
    someone.sign_in(alice.email, "/loyalty/reward/")
    mug, voucher, coupon = Reward.objects.get(code="mug"), Voucher.objects.get(), Coupon.objects.get()
    for path in [
        "/loyalty/reward/", "/loyalty/reward/add/", f"/loyalty/reward/{mug.pk}/change/", "/loyalty/voucher/",
        f"/loyalty/voucher/{voucher.pk}/change/", "/loyalty/coupon/", f"/loyalty/coupon/{coupon.pk}/change/",
        "/loyalty/stackingclass/", "/loyalty/stackingclass/add/", "/loyalty/tiergift/add/",
        f"/profiles/profile/{marie.pk}/change/",
    ]:  # fmt: skip
        page = someone.open(path)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, path
