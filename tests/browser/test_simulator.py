"""The simulator and the editor at a desk and on a tablet: a basket asked and kept, a draft stopped and published."""

from datetime import date, timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from campaigns.models import Segment
from campaigns.segments import saving
from loyalty import drafts, replay, starter, till
from loyalty.models import Rule, SavedSimulation
from profiles.models import Profile
from tests.browser.chromium import DESK, TABLET
from tests.loyalty.conftest import ticket

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


@pytest.fixture
def marie(lille, lyon, lille_till, today) -> Profile:
    """A member with a ticket of last week."""
    starter.open_programme("Europe/Paris", date(2024, 1, 1))
    till.record_purchase(lille_till[0], ticket("R1", 4990, 3000, at=timezone.now() - timedelta(days=7)))
    return Profile.objects.get()


def test_a_draft_is_tried_stopped_and_published(visitor, alice, marie, lille):
    someone = visitor()
    page = someone.sign_in(alice.email, "/loyalty/savedsimulation/")
    page.fill("#line-1-sku", "COMTE")
    page.fill("#line-1-category", "DAIRY")
    page.fill("#line-1-price", "49.90")
    page.get_by_role("button", name="What would it earn?").click()
    expect(page.locator(".simulator-points")).to_contain_text("49 points")
    expect(page.locator("#result")).to_contain_text("rounding down once a ticket takes 0.90 off")
    page.get_by_role("link", name="Keep this simulation").click()
    page.fill("[name=name]", "Fifty euros")
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_text("as expected")).to_be_visible()

    base = Rule.objects.get(code="base")
    page = someone.open(f"/loyalty/rule/{base.pk}/new-version/")
    page.fill("[name=terms_points]", "2")
    page.get_by_role("button", name="Keep as a draft").click()
    expect(page.locator(".simulator-changes").first).to_contain_text("Points for each €1.00")
    expect(page.get_by_text("1 of 1 differs")).to_be_visible()
    page.get_by_role("button", name="Publish all the same").click()
    expect(page.get_by_text("1 saved simulation comes to other points than it must")).to_be_visible()
    page.fill("[name=override]", "double points")
    page.check("[name=expect_new]")
    page.get_by_role("button", name="Publish all the same").click()
    expect(page.get_by_text("Published: One point for each euro v2")).to_be_visible()
    assert base.versions.count() == 2
    assert SavedSimulation.objects.get().expected_points == 99


@pytest.mark.parametrize("size", [DESK, TABLET], ids=["desk", "tablet"])
def test_a_rule_is_drafted_for_days_payment_channel_and_a_segment(visitor, alice, marie, size):
    saving.save(Segment(name="Regulars"), {"all": []}, alice)
    base = Rule.objects.get(code="base")
    someone = visitor(size)
    page = someone.sign_in(alice.email, f"/loyalty/rule/{base.pk}/new-version/")
    page.get_by_label("First day, period 1").fill("2026-12-01")
    page.get_by_label("Last day, period 1").fill("2026-12-24")
    page.get_by_label("First day, period 2").fill("2027-01-06")
    page.get_by_label("on the web").check()
    page.get_by_label("Regulars").check()
    page.get_by_label("Paid with").fill("card, meal voucher")
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    page.get_by_role("button", name="Keep as a draft").click()
    changes = page.locator(".simulator-changes").first
    for said in ("01/12/2026 – 24/12/2026, 06/01/2027", "on the web", "«Regulars»", "card, meal voucher"):
        expect(changes).to_contain_text(said)
    page = someone.open(f"/loyalty/rule/{base.pk}/new-version/")
    expect(page.get_by_label("First day, period 2")).to_have_value("2027-01-06")
    expect(page.get_by_label("Last day, period 2")).to_have_value("2027-01-06")
    expect(page.get_by_label("Regulars")).to_be_checked()


def test_a_replay_shows_what_a_draft_would_have_given(visitor, alice, marie):
    draft = drafts.save(Rule.objects.get(code="base"), {}, {"points": 2, "per_cents": 100}, by=alice)
    someone = visitor()
    page = someone.sign_in(alice.email, f"/loyalty/replay/add/?draft={draft.pk}")
    page.get_by_role("button", name="Replay", exact=True).click()
    page.wait_for_url("**/change/")
    expect(page.get_by_role("heading", name="Who pays")).to_be_visible()
    expect(page.locator(".cdp-figure-value").nth(2)).to_have_text("+80")


@pytest.mark.parametrize("size", [DESK, TABLET], ids=["desk", "tablet"])
def test_no_page_of_rules_complains_or_overflows(visitor, alice, marie, lille, size):
    base = Rule.objects.get(code="base")
    drafts.save(
        base, {"stores": [lille.code], "hours": ["18:00", "20:00"]}, {"points": 2, "per_cents": 100}, by=alice
    )
    made = replay.ask([base.draft], by=alice)
    replay.carry_out(made.pk)
    question = f"store={lille.pk}&day=2026-11-02&time=11:00:00&customer={marie.pk}"
    question += "&sku=A&category=DAIRY&quantity=2&price=60"
    someone = visitor(size)
    someone.sign_in(alice.email, "/loyalty/rule/")
    for path in [
        "/loyalty/rule/", f"/loyalty/rule/{base.pk}/change/", f"/loyalty/rule/{base.pk}/new-version/",
        f"/loyalty/rule/{base.pk}/publish/", "/loyalty/savedsimulation/", f"/loyalty/savedsimulation/?{question}",
        f"/loyalty/savedsimulation/?{question}&against={base.draft.pk}", f"/loyalty/savedsimulation/add/?{question}",
        "/loyalty/replay/", "/loyalty/replay/add/", f"/loyalty/replay/{made.pk}/change/",
    ]:  # fmt: skip
        page = someone.open(path)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, path
