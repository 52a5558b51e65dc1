"""The wallet on three screens: head office sets it up, a member adds the pass and loses the phone, staff see it."""

import zipfile

import pytest
from playwright.sync_api import expect

from loyalty import member_links, starter, till, wallet
from loyalty.models import AppleIssuer
from profiles.models import Profile
from tests.browser.chromium import DESK, PHONE
from tests.loyalty.conftest import CARD, LONG_AGO, ticket
from tests.wallets import PASS_TYPE, TEAM, Authority, new_key, pem

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


@pytest.fixture
def marie(lille_till) -> Profile:
    starter.open_programme("Europe/Paris", LONG_AGO.date())
    till.record_purchase(lille_till[0], ticket("R1", 69000))
    return Profile.objects.get()


def test_a_pass_from_the_certificate_to_the_lost_phone(visitor, diane, lille_till, marie):
    above, key = Authority.named("Worldwide Developer Relations"), new_key()
    desk = visitor(DESK)
    page = desk.sign_in(diane.email, "/loyalty/appleissuer/add/")
    fields = {
        "pass_type": PASS_TYPE, "team": TEAM, "certificate": pem(above.issue(key)), "key": pem(new_key()),
        "intermediate": pem(above.certificate),
    }  # fmt: skip
    for name, value in fields.items():
        page.fill(f"[name={name}]", value)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The key does not fit the certificate")).to_be_visible()
    assert page.locator("[name=key]").input_value() == "", "a key is never written back"
    page.fill("[name=key]", pem(key))
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("members see the button")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    assert AppleIssuer.objects.get().key == pem(key)

    phone = visitor(PHONE)
    page = phone.open(f"/me/{member_links.token_of(marie)}/?lang=en")
    with page.expect_download() as handed_out:
        page.get_by_role("link", name="Add to Apple Wallet").click()
    with zipfile.ZipFile(handed_out.value.path()) as packed:
        assert {"pass.json", "manifest.json", "signature", "icon.png"} <= set(packed.namelist())
    old = wallet.current(marie)

    page = desk.open(f"/profiles/profile/{marie.pk}/change/#wallet")
    expect(page.get_by_role("button", name="Lost: retire the pass")).to_be_visible()

    phone.page.reload()
    phone.page.get_by_text("I lost my phone").click()
    phone.page.get_by_role("button", name="Retire the lost pass").click()
    expect(phone.page.get_by_role("status")).to_contain_text("no till knows its code any more")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    with pytest.raises(till.UnknownMember):
        till.identify(lille_till[0], till_sees(old))
    page.reload()
    expect(page.get_by_role("button", name="Lost: retire the pass")).to_have_count(0)
    assert till.identify(lille_till[0], CARD)["pending"] + till.identify(lille_till[0], CARD)["available"] > 0


def till_sees(one):
    """What a scanner made of the pass before it was retired."""
    return type(CARD)("card", one.number)
