"""The console of tills' last calls, at a desk and on a tablet: up to date by itself, and still when told to hold."""

import os
from datetime import date, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import expect

from loyalty import starter
from tenants.network import calls
from tenants.network.models import Till
from tests.browser.chromium import DESK, TABLET
from tests.conftest import HOST
from tests.loyalty.test_till_api import CARD, Caller, sale

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]

CONSOLE = "/network/till/calls/"


@pytest.fixture
def busy(brand, lille_till, lyon_till, diane, bruno) -> Caller:
    """Lille's till sells, repeats and is refused; Lyon's fell silent an hour ago; somebody has a wrong key."""
    calls._kept_by.clear()
    starter.open_programme("Europe/Paris", date(2024, 1, 1))
    caller, now = Caller(_client(lille_till[1])), timezone.now()
    caller.post("/api/v1/identify", {"member": CARD})
    for number in range(3):
        told = sale(f"R-10{number}", "49.90", bought_at=(now + timedelta(minutes=7)).isoformat())
        caller.post("/api/v1/purchases", told)
    caller.post("/api/v1/purchases", told)
    caller.post("/api/v1/purchases", sale("R-200", bought_at="2999-01-01T10:00:00+01:00"))
    caller.post("/api/v1/purchases", sale("R-201") | {"lines": [{"sku": "1", "amount": 1.005}]})
    spend = {"redemption_id": "D-1", "member": CARD, "points": 500, "redeemed_at": now.isoformat()}
    caller.post("/api/v1/redemptions", spend)
    batch = [
        sale("R-301", bought_at=(now - timedelta(days=1)).isoformat()),
        sale("R-302", bought_at="2999-01-01T10:00:00Z"),
    ]
    caller.post("/api/v1/purchases/batch", {"purchases": batch})
    Caller(_client("wrong-key-of-nobody")).post("/api/v1/identify", {"member": CARD})
    Caller(_client(lyon_till[1])).post("/api/v1/purchases", sale("REC-LYON"))
    calls.flush()
    lyon = (brand.pk, lyon_till[0].pk)
    rows = calls._keeper()._lists[lyon]
    early = calls.msgspec.structs.replace(
        calls.msgspec.json.decode(rows.popleft(), type=calls.Call), at=now.timestamp() - 5400
    )
    rows.appendleft(calls.msgspec.json.encode(early))
    third = Till(store=lille_till[0].store, code="T2")
    third.issue_key()
    return caller


def _client(key: str) -> Client:
    return Client(headers={"host": HOST, "authorization": f"Till {key}"})


def picture(page, name: str) -> None:
    """For whoever looks: a picture of the page, where a folder for pictures is named."""
    if folder := os.environ.get("PICTURES"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


@pytest.mark.parametrize("viewport", [DESK, TABLET], ids=["desk", "tablet"])
def test_the_console_comes_up_to_date_by_itself(busy, diane, visitor, viewport):
    guest = visitor(viewport)
    guest.page.clock.install()
    page = guest.sign_in(diane.email, CONSOLE)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "part=1" in request.url else None)
    expect(page.locator("#calls")).to_contain_text("R-102")
    expect(page.locator("#calls")).to_contain_text("Set the till's clock")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
        "the page scrolls sideways"
    )
    picture(page, f"kit-en-{viewport['width']}")
    busy.post("/api/v1/purchases", sale("R-999"))
    calls.flush()
    page.clock.run_for(5000)
    expect(page.locator("#calls")).to_contain_text("R-999")
    page.get_by_role("button", name="Hold still").click()
    asked.clear()
    page.clock.run_for(20_000)
    assert asked == []
    page.get_by_role("button", name="Go on").click()
    page.clock.run_for(5000)
    assert asked
    page.locator("#calls-status").select_option("refused")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#calls")).to_contain_text("R-200")
    expect(page.locator("#calls")).not_to_contain_text("R-999")


def test_a_manager_s_console_in_french(busy, bruno, visitor):
    bruno.language = "fr"
    bruno.save()
    for viewport in (DESK, TABLET):
        page = visitor(viewport).sign_in(bruno.email, CONSOLE)
        expect(page.locator("#calls")).to_contain_text("R-102")
        expect(page.locator("#calls")).not_to_contain_text("REC-LYON")
        picture(page, f"kit-fr-{viewport['width']}")
        page.goto(page.url.removesuffix("calls/"))
        picture(page, f"kit-list-{viewport['width']}")
        page.locator("a[href$='/till/calls/']").click()
        expect(page.locator("#calls")).to_contain_text("R-102")
