"""A member at their phone: the page of a link that staff made, and a consent that they change there."""

from datetime import date

import pytest
from playwright.sync_api import expect

from loyalty import counter, starter, till
from loyalty.models import Reward
from profiles import consent
from profiles.intake import Statement, take_in_records
from profiles.models import Profile, Source
from tests.browser.chromium import DESK, PHONE
from tests.loyalty.conftest import CARD, ticket

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


@pytest.fixture
def marie(lille_till, lille, today) -> Profile:
    """A member with points, a voucher, a card and an address."""
    starter.open_programme("Europe/Paris", date(2024, 1, 1))
    told = {"kind": "money_off", "worth_cents": 1000, "valid_from": date(2026, 1, 1)}
    Reward.objects.create(code="ten", name="10 € off", points=200, description="On any basket.", **told)
    Reward.objects.create(code="fifty", name="50 € off", points=9000, **told)
    crm = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)
    fields = {
        "first_name": "Marie", "last_name": "Durand", "email": "marie@mail.example", "card": CARD.value,
        "phone": "0612345678",
    }  # fmt: skip
    take_in_records(crm, [Statement("1", fields, raw=fields, store_code=lille.code)])
    till.record_purchase(lille_till[0], ticket("R1", 69000))
    counter.claim(lille_till[0], CARD, "ten", "C1")
    return Profile.objects.get()


def test_from_the_staffs_button_to_the_members_consent(visitor, alice, marie):
    desk = visitor(DESK)
    page = desk.sign_in(alice.email, f"/profiles/profile/{marie.pk}/change/")
    page.get_by_role("button", name="Member's link").click()
    link = page.get_by_label("Link", exact=True).input_value()
    phone = visitor(PHONE)
    page = phone.page
    page.goto(link)
    expect(page.get_by_role("heading", name="Hello Marie D.")).to_be_visible()
    expect(page.get_by_alt_text("Code of the card, to be scanned at the till")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.get_by_role("link", name="Français").click()
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    page.get_by_role("link", name="English").click()
    page.get_by_role("button", name="by e-mail").first.click()
    expect(page.get_by_role("status")).to_have_text("Noted. It holds at once.")
    assert consent.may_contact(marie, "email")
    page.get_by_role("button", name="by e-mail").first.click()
    expect(page.get_by_role("status")).to_be_visible()
    assert not consent.may_contact(marie, "email")
