"""A manager's tablet and phone: fewer menus, the store's own pages, nothing of Lyon; in French for who reads French."""

from datetime import date

import pytest
from playwright.sync_api import Page, expect

from profiles.models import Profile
from tests.browser.chromium import PHONE, TABLET
from tests.campaigns.factories import person, ticket

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]

CANARY = "Kanarienvogel"
TOUCH = 44


@pytest.fixture
def anna(lille, lyon, lille_till, today) -> Profile:
    """A customer of Lille; somebody of Lyon is there not to be seen."""
    anna = person(
        lille, allows=["email"], first_name="Anna", last_name="Dubois", email="anna@exemple.fr",
        birth_date=date(1980, today.month, min(today.day, 28)), search_text="anna dubois anna@exemple.fr",
    )  # fmt: skip
    for _again in range(3):
        ticket(anna, lille, today, ("DAIRY", 123_450))
    ticket(person(lyon, first_name=CANARY, search_text=CANARY.lower()), lyon, today)
    return anna


def assert_fits(page: Page) -> None:
    """No sideways scrolling, and nothing to touch that a finger would miss (links in running text apart)."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url
    small = page.evaluate(
        """least => [...document.querySelectorAll('a, button, summary, select, input:not([type=hidden])')]
            .filter(e => e.checkVisibility() && !e.matches('.skip, td a'))
            .filter(e => e.getBoundingClientRect().height < least)
            .map(e => e.outerHTML)""",
        TOUCH,
    )
    assert not small, f"{page.url}: {small}"


def walk(page: Page) -> list[str]:
    """Through every page of the area by its own links; returns what stood on them."""
    seen = []

    def look():
        assert_fits(page)
        seen.append(page.content())

    def go(link):
        # A click alone returns while the old page still stands, or none does.
        with page.expect_navigation():
            link.click()

    expect(page.locator("h1")).to_be_visible()
    look()
    menu = page.locator("header nav")
    go(menu.locator("a").nth(1))
    look()
    page.fill("[name=q]", "dubois")
    go(page.locator(".search button"))
    look()
    go(page.locator("a.name").first)
    expect(page.locator("h1")).to_have_text("Anna Dubois")
    page.locator("details.ticket summary").first.click()
    look()
    go(menu.locator("a").nth(2))
    look()
    go(page.locator("main a.primary"))
    look()
    go(page.locator("a.tile").nth(1))
    go(page.locator("[name=count]"))
    expect(page.locator(".counted .total strong")).to_have_text("1")
    look()
    go(page.locator("[name=save]"))
    expect(page.locator("a.name")).to_have_text("Anna Dubois")
    look()
    go(menu.locator("a").nth(3))
    look()
    return seen


def test_a_managers_menus_are_fewer_and_lead_to_the_store(visitor, bruno, anna):
    page = visitor(TABLET).sign_in(bruno.email)
    for heading in ("Exports", "Earning rules", "Staff", "Audit trail"):
        assert page.get_by_role("link", name=heading, include_hidden=True).count() == 0, heading
    page.get_by_role("link", name="Open my store").click()
    page.wait_for_url("**/store/ACM-001/")
    expect(page.locator("dl.figures")).to_contain_text("€3,703.50")


def test_the_area_fits_a_tablet_and_shows_nothing_of_lyon(visitor, bruno, anna, lyon):
    pages = walk(visitor(TABLET).sign_in(bruno.email, "/store/"))
    assert len(pages) == 9
    for content in pages:
        assert CANARY not in content
        assert lyon.name not in content


def test_the_area_fits_a_phone_and_speaks_french(visitor, bruno, anna):
    bruno.language = "fr"
    bruno.save()
    page = visitor(PHONE).sign_in(bruno.email, "/store/")
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    expect(page.locator("dl.figures")).to_contain_text("3 703,50 €")
    walk(page)


def test_the_language_is_changed_from_the_menu(visitor, bruno, anna):
    page = visitor(TABLET).sign_in(bruno.email, "/store/")
    page.locator(".account summary").click()
    page.get_by_role("button", name="Français").click()
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    page.wait_for_url("**/store/ACM-001/")
    bruno.refresh_from_db()
    assert bruno.language == "fr"


def test_the_first_tab_skips_to_the_content(visitor, bruno, anna):
    page = visitor(TABLET).sign_in(bruno.email, "/store/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
