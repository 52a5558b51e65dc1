"""The platform's administrator opens a brand from a file of stores, and its tills' keys are shown once."""

import pytest
from playwright.sync_api import expect

from tenants.models import Brand
from tenants.network.models import Staff
from tenants.plan import SAMPLE_CSV
from tenants.roles import Role
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


@pytest.fixture
def olga(db) -> Staff:
    """Administers the platform."""
    return Staff.objects.create_user(
        "olga@platform.example", PASSWORD, full_name="Olga Petit", role=Role.PLATFORM_ADMIN, language="en"
    )


def test_a_brand_is_opened_and_its_keys_are_shown_once(visitor, olga):
    page = visitor(host="localhost").sign_in(olga.email)
    page.get_by_role("link", name="Brands").first.click()
    page.locator("a[href$='/brand/add/']").first.click()
    page.fill("[name=name]", "Maison Borée")
    page.fill("[name=slug]", "boree")
    expect(page.locator("#availability")).to_contain_text("boree.localhost")
    page.set_input_files(
        "[name=stores]", {"name": "stores.csv", "mimeType": "text/csv", "buffer": SAMPLE_CSV.encode()}
    )
    page.fill("[name=staff]", "zoe@boree.example;Zoé Le Goff;brand_admin")
    # Its schema is written while the form is answered: there is no worker in this test.
    page.get_by_role("button", name="Open this brand").click(timeout=60_000)

    show = page.get_by_role("button", name="Show the keys now")
    expect(show).to_be_visible()
    expect(page.get_by_text("http://boree.localhost", exact=False).first).to_be_visible()
    assert Brand.objects.get(slug="boree").name == "Maison Borée"
    show.click()
    lines = page.locator("#lines").input_value()
    assert len(lines.splitlines()) >= 3
    page.get_by_role("link", name="Back to the onboarding").click()
    expect(page.get_by_text("What is left to do")).to_be_visible()
    expect(show).to_have_count(0)


def test_a_brands_customers_are_out_of_the_platforms_reach(visitor, olga, bruno):
    platform = visitor(host="localhost")
    page = platform.sign_in(olga.email)
    assert page.get_by_role("link", name="Customers").count() == 0
    # Staff of a brand is nobody here, and the platform's staff is nobody there.
    brand = visitor()
    page = brand.open("/")
    page.fill("[name=username]", olga.email)
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")
    expect(page.locator("[name=password]")).to_be_visible()
    expect(page.get_by_text("Please enter the correct")).to_be_visible()
