"""A campaign's audience is given vouchers at a desk and on a tablet: the cost first, then called back."""

from datetime import date

import pytest
from playwright.sync_api import expect

from campaigns.launching import freeze
from campaigns.models import Campaign, Segment
from campaigns.segments.saving import save
from loyalty import starter
from loyalty.models import Reward, Voucher
from tests.campaigns import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]

TABLET = {"width": 820, "height": 1180}


@pytest.fixture
def campaign(lille, lyon, alice, today) -> Campaign:
    starter.open_programme("Europe/Paris", date(2024, 1, 1))
    Reward.objects.create(
        code="five", name="5 € off", kind="money_off", worth_cents=500, valid_from=date(2026, 1, 1)
    )
    for n in range(6):
        factories.person(
            lille, allows=["email"], email=f"c{n}@exemple.fr", first_name="Zoé", last_name=f"Nom{n}"
        )
    segment = Segment(name="Everybody", shared=True)
    save(segment, {"all": []}, alice)
    told = {"goal": "visit", "goal_uplift": 2, "control_percent": 0}
    return freeze(Campaign.objects.create(name="Spring letter", segment=segment, **told), alice)


@pytest.mark.parametrize("size", [None, TABLET], ids=["desk", "tablet"])
def test_an_audience_is_given_vouchers_and_they_are_called_back(visitor, alice, campaign, size):
    someone = visitor(size) if size else visitor()
    page = someone.sign_in(alice.email, f"/campaigns/campaign/{campaign.pk}/change/")
    page.get_by_role("link", name="Give vouchers or points").click()
    page.select_option("[name=reward]", label="5 € off")
    page.get_by_role("button", name="Show what it costs").click()
    expect(page.get_by_text("6 × €5.00 = €30.00")).to_be_visible()
    assert not Voucher.objects.exists()
    narrow(page)
    page.fill("form[method=post] [name=purpose]", "thanks for the spring")
    page.get_by_role("button", name="Give it to 6 customers").click()
    expect(page.get_by_text("Asked for: it is being given.")).to_be_visible()
    assert Voucher.objects.filter(state="issued").count() == 6
    narrow(page)
    page.fill("#handouts [name=purpose]", "a slip")
    page.get_by_role("button", name="Call back what is not used").click()
    expect(page.get_by_text("6 vouchers cancelled")).to_be_visible()
    assert Voucher.objects.filter(state="cancelled").count() == 6


def narrow(page) -> None:
    """No page is wider than its window."""
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, page.url
