"""Head office at a desk: figures, a customer, a pair to decide, a segment that counts while it changes, a campaign."""

import csv

import pytest
from playwright.sync_api import expect

from campaigns.models import Segment
from campaigns.segments.saving import save
from profiles.intake import ConsentStatement, Statement, take_in_records
from profiles.models import MatchCandidate, Profile, Source
from profiles.recognition import match_records
from tests.campaigns.factories import ticket
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]

NAMES = ["Anaïs Royer", "Basile Munier", "Chantal Pons", "Dimitri Colin"]


@pytest.fixture
def people(lille, today) -> list[Profile]:
    """Four customers of Lille who allow e-mail; the first bought four times, the next three times, and so on."""
    crm = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM, trust=80)
    told = []
    for n, name in enumerate(NAMES):
        first, last = name.split()
        fields = {
            "first_name": first,
            "last_name": last,
            "email": f"{last.lower()}@exemple.fr",
            "postcode": "59000",
        }
        allows = [ConsentStatement("email", granted=True, at=None, wording="Newsletter")]
        told.append(Statement(f"C{n}", fields, raw=fields, store_code=lille.code, consents=allows))
    people = [Profile.objects.get(pk=outcome.profile_id) for outcome in take_in_records(crm, told)]
    for n, person in enumerate(people):
        for _again in range(4 - n):
            ticket(person, lille, today)
    return people


@pytest.fixture
def pairs(lille) -> list[MatchCandidate]:
    """Two persons, each probably told twice: neither pair of files has what would settle it."""
    till = Source.objects.create(code="till", name="Till files", kind=Source.Kind.TILL, trust=50)
    shop = Source.objects.create(code="shop", name="Web shop", kind=Source.Kind.ECOMMERCE, trust=70)
    outcomes = []
    for n, (first, last, postcode) in enumerate(
        [("Alexandre", "Regnier", "25000"), ("Odile", "Tessier", "29200")]
    ):
        same = {"first_name": first, "last_name": last, "postcode": postcode}
        paper = {**same, "phone": f"06 12 34 56 7{n}"}
        online = {**same, "email": f"{last.lower()}@exemple.fr"}
        outcomes += take_in_records(till, [Statement(f"K{n}", paper, raw=paper, store_code=lille.code)])
        outcomes += take_in_records(shop, [Statement(f"W{n}", online, raw=online)])
    match_records([outcome.record_id for outcome in outcomes])
    return list(MatchCandidate.objects.all())


def test_figures_lead_to_a_customer(visitor, alice, people):
    head_office = visitor()
    page = head_office.sign_in(alice.email)
    card = page.locator(".cdp-figure", has_text="Customers").first
    expect(card.locator(".cdp-figure-value")).to_have_text("4")
    card.click()
    page.fill("[name=q]", "munier")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Basile Munier").click()
    expect(page.locator(".cdp-person-name")).to_have_text("Basile Munier")
    expect(page.get_by_text("munier@exemple.fr").first).to_be_visible()
    expect(page.locator(".cdp-chip", has_text="e-mail: allowed").first).to_be_visible()


def test_pairs_are_decided_with_a_key_and_a_merge_is_undone(visitor, alice, pairs):
    assert len(pairs) == 2
    page = visitor().sign_in(alice.email, "/profiles/matchcandidate/")
    page.locator("#result_list tbody a").first.click()
    expect(page.locator("#review")).to_contain_text("likely one person")
    page.wait_for_load_state()  # the keys come with a script that runs at the end
    page.keyboard.press("m")
    expect(page.locator("#undo")).to_be_visible()  # on the page of the next pair
    expect(page.locator("#review")).to_contain_text("1 pair waits")
    page.wait_for_load_state()
    assert Profile.objects.filter(merged_into=None).count() == 3

    page.keyboard.press("u")
    expect(page.get_by_text("this pair is open again")).to_be_visible()
    assert Profile.objects.filter(merged_into=None).count() == 4


def test_a_side_is_chosen_by_its_key_on_a_french_keyboard_too(visitor, alice, people):
    """There 1 and 2 are typed with Shift; without it the same keys say & and é."""
    pair = MatchCandidate.objects.create(
        left=people[0], right=people[1], weight=5, probability=0.9, model_version="1"
    )
    page = visitor().sign_in(alice.email, f"/profiles/matchcandidate/{pair.pk}/change/")
    page.wait_for_load_state()
    press = "([key, code]) => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, code, bubbles: true}))"
    for key, code, side in (("é", "Digit2", "right"), ("&", "Digit1", "left"), ("2", "Digit2", "right")):
        page.evaluate(press, [key, code])
        expect(page.locator(f"[name=keep_email][value={side}]")).to_be_checked()


def test_keys_are_explained_and_can_be_switched_off(visitor, alice, pairs):
    page = visitor().sign_in(alice.email, "/profiles/matchcandidate/")
    page.get_by_role("link", name="Review one by one").click()
    expect(page.locator("#merge kbd")).to_be_visible()
    page.wait_for_load_state()
    page.keyboard.press("?")
    expect(page.locator("#keys-help")).to_be_visible()
    page.keyboard.press("m")  # behind the help nothing is decided
    page.get_by_role("button", name="Switch the keys off").click()
    expect(page.locator("#merge kbd")).to_have_count(0)
    page.wait_for_load_state()
    page.keyboard.press("m")
    page.locator("#help").click()
    expect(page.locator("#keys-help")).to_be_visible()
    assert Profile.objects.filter(merged_into=None).count() == 4


def test_a_segment_counts_while_it_changes_then_a_campaign_leaves(visitor, alice, people, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    segment = Segment(name="Faithful")
    save(
        segment, {"all": [{"field": "purchases", "op": ">=", "value": 3, "window": {"last_days": 90}}]}, alice
    )

    head_office = visitor()
    page = head_office.sign_in(alice.email, f"/campaigns/segment/{segment.pk}/change/")
    total = page.locator("#count .cdp-big")
    expect(total).to_have_text("2")
    page.locator("#builder input[type=number]").first.fill("1")
    expect(total).to_have_text("4")
    expect(page.locator("#count")).to_contain_text("at least 1")
    page.fill("#id_reason", "everybody who came")
    page.get_by_role("button", name="Save a version").click()
    page.get_by_role("link", name="Launch a campaign").click()

    page.fill("[name=name]", "Spring letter")
    page.fill("[name=goal_uplift]", "2")
    page.fill("[name=control_percent]", "0")
    page.locator("[name=_save]").click()
    page.get_by_role("button", name="Freeze the audience").click()
    expect(page.get_by_text("4 addressed")).to_be_visible()
    page.fill("#purpose", "spring letter by e-mail")
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    with download.value.path().open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file, delimiter=";" if ";" in file.readline() else ","))
    assert len(rows) == 4
    assert "royer@exemple.fr" in ",".join(map(",".join, rows))


def test_a_person_signs_in_with_the_keyboard_alone(visitor, alice):
    page = visitor().open("/")
    page.locator("[name=username]").focus()
    page.keyboard.type(alice.email)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator(".cdp-figure").first).to_be_visible()
