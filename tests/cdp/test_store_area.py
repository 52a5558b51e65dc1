"""The store area: Bruno sees his store's figures and people, and nothing of Lyon, on any of its pages."""

from datetime import date, timedelta

import pytest
import time_machine
from django.urls import reverse

from campaigns.models import Campaign, Segment
from campaigns.segments.saving import save
from cdp.store_area.segment_templates import TEMPLATES
from profiles.models import ConsentChange
from tenants.network.models import AuditEvent
from tests.campaigns.factories import merge_into, person, refund, ticket

TODAY = date(2026, 6, 15)  # a Monday
YESTERDAY = TODAY - timedelta(days=1)
LONG_AGO = TODAY - timedelta(days=40)

# Written nowhere but in Lyon.
CANARY_NAME, CANARY_TOWN, CANARY_CATEGORY = "Kanarienvogel", "Villeurbanne", "CANARYSEED"
CANARY_CENTS, CANARY_AMOUNT = 7_777_777, "77,777.77"


@pytest.fixture(autouse=True)
def noon(brand):
    """Noon of 15 June 2026 in Paris."""
    with time_machine.travel("2026-06-15T10:00:00Z", tick=False):
        yield


@pytest.fixture
def anna(lille):
    """A regular of Lille who has not come for 40 days; her birthday is tomorrow."""
    anna = person(
        lille, allows=["email"], first_name="Anna", last_name="Dubois", email="anna@exemple.fr", city="Lille",
        birth_date=date(1980, 6, 16), search_text="anna dubois anna@exemple.fr lille",
    )  # fmt: skip
    for days in range(3):
        ticket(anna, lille, LONG_AGO - timedelta(days=days), ("DAIRY", 1000))
    return anna


@pytest.fixture
def boris(lille, lyon):
    """Buys in Lille and in Lyon, last of all in Lille yesterday."""
    boris = person(lille, lyon, first_name="Boris", last_name="Vian", search_text="boris vian")
    ticket(boris, lyon, YESTERDAY, (CANARY_CATEGORY, CANARY_CENTS))
    ticket(boris, lille, YESTERDAY, ("DAIRY", 1234))
    return boris


@pytest.fixture
def canary(lyon):
    """A regular of Lyon alone, lost there and with a birthday tomorrow."""
    canary = person(
        lyon, allows=["email", "sms"], first_name="Wolf", last_name=CANARY_NAME, city=CANARY_TOWN,
        birth_date=date(1975, 6, 16), search_text=f"wolf {CANARY_NAME.lower()}",
    )  # fmt: skip
    for days in range(3):
        ticket(canary, lyon, LONG_AGO - timedelta(days=days), (CANARY_CATEGORY, CANARY_CENTS))
    return canary


@pytest.fixture
def national(alice):
    """A segment that head office shares."""
    segment = Segment(name="Everybody who bought", shared=True)
    save(segment, {"all": [{"field": "purchases", "op": ">=", "value": 1}]}, alice)
    return segment


@pytest.fixture
def world(anna, boris, canary, national, lille_till):
    """Everybody at once, and a ticket of yesterday that names nobody."""
    lille = lille_till[0].store
    ticket(None, lille, YESTERDAY, ("GROCERY", 766))


def text_of(response, status=200) -> str:
    assert response.status_code == status
    return response.content.decode()


# Today ---------------------------------------------------------------------------------------------------------------


def test_the_only_store_opens_at_once(client_of, bruno, lille):
    response = client_of(bruno).get("/store/")
    assert response.url == reverse("store:today", args=["ACM-001"])


def test_today_shows_the_last_day_with_tickets_of_this_store(world, client_of, bruno):
    page = client_of(bruno).get("/store/ACM-001/")
    day = page.context["day"]
    assert (day.day, day.tickets, day.identified, day.sales_cents) == (YESTERDAY, 2, 1, 2000)
    assert day.identified_percent == 50
    assert "€20.00" in text_of(page)


def test_what_was_brought_back_stands_beside_the_sales(world, boris, client_of, bruno):
    line = boris.purchases.get(total_cents=1234).lines.get()
    with time_machine.travel("2026-06-17T10:00:00Z", tick=False):
        refund(line, 234)  # three days after the purchase
        ticket(None, line.store, TODAY + timedelta(days=2))
        page = client_of(bruno).get("/store/ACM-001/")
    assert page.context["day"].refunded_cents == 234
    assert "€2.34 brought back" in text_of(page)


def test_a_regular_not_seen_for_thirty_days_is_on_the_call_list_with_consents(world, client_of, bruno):
    lists = {
        code: (n, rows) for code, _list, n, rows in client_of(bruno).get("/store/ACM-001/").context["lists"]
    }
    n, (row,) = lists["at-risk"]
    assert (n, row.profile.first_name, row.profile.tickets_here) == (1, "Anna", 3)
    assert [channel.state for channel in row.channels] == ["yes", "unsaid", "unsaid"]


def test_who_buys_elsewhere_only_is_at_risk_here(anna, lille, lyon, client_of, bruno):
    # Whether she bought in Lyon yesterday is not for Lille to know: not even by her absence from a list.
    ticket(anna, lyon, YESTERDAY)
    page = text_of(client_of(bruno).get("/store/ACM-001/customers/?list=at-risk"))
    assert "Anna Dubois" in page


def test_birthdays_come_in_the_order_of_the_year(anna, lille, client_of, bruno):
    person(lille, first_name="Late", birth_date=date(1990, 6, 22))
    person(lille, first_name="Past", birth_date=date(1990, 6, 14))
    page = client_of(bruno).get("/store/ACM-001/customers/?list=birthdays")
    assert [row.profile.first_name for row in page.context["rows"]] == ["Anna", "Late"]


def test_the_week_of_birthdays_runs_over_the_new_year(lille, client_of, bruno):
    person(lille, first_name="January", birth_date=date(1990, 1, 2))
    person(lille, first_name="December", birth_date=date(1990, 12, 30))
    with time_machine.travel("2026-12-29T10:00:00Z", tick=False):
        page = client_of(bruno).get("/store/ACM-001/customers/?list=birthdays")
    assert [row.profile.first_name for row in page.context["rows"]] == ["December", "January"]


def test_a_store_without_tickets_is_told_what_to_wait_for(client_of, bruno):
    assert "No ticket yet" in text_of(client_of(bruno).get("/store/ACM-001/"))


# The wall ------------------------------------------------------------------------------------------------------------


def pages_of(code, profile, segment) -> list[str]:
    """Every page of a store's area that is asked for with GET."""
    return [
        "/store/",
        f"/store/{code}/",
        f"/store/{code}/customers/",
        f"/store/{code}/customers/?list=at-risk",
        f"/store/{code}/customers/?list=birthdays",
        f"/store/{code}/customers/?q=k",
        f"/store/{code}/customers/{profile.public_id}/",
        f"/store/{code}/segments/",
        f"/store/{code}/segments/{segment.pk}/",
        f"/store/{code}/segments/new/",
        *(f"/store/{code}/segments/new/{template}/" for template in TEMPLATES),
        f"/store/{code}/tills/",
    ]


@pytest.mark.usefixtures("world")
def test_nothing_of_lyon_stands_on_any_page_of_lille(client_of, bruno, boris, national, lyon):
    client = client_of(bruno)
    for address in pages_of("ACM-001", boris, national):
        page = text_of(client.get(address, follow=True))
        for canary in (CANARY_NAME, CANARY_TOWN, CANARY_CATEGORY, CANARY_AMOUNT, lyon.name):
            assert canary not in page, f"{canary} on {address}"


@pytest.mark.usefixtures("world")
def test_the_canaries_do_stand_on_lyons_pages(client_of, chloe, boris, national):
    client = client_of(chloe)
    everything = "".join(text_of(client.get(a, follow=True)) for a in pages_of("ACM-002", boris, national))
    for canary in (CANARY_NAME, CANARY_TOWN, CANARY_CATEGORY, CANARY_AMOUNT):
        assert canary in everything


@pytest.mark.usefixtures("world")
def test_counts_are_the_stores_own(client_of, bruno, national):
    client = client_of(bruno)
    assert client.get("/store/ACM-001/customers/").context["page"].paginator.count == 2
    told = client.get(f"/store/ACM-001/segments/{national.pk}/").context["told"]
    assert (told.counts.matching, told.counts.base) == (2, 2)


@pytest.mark.usefixtures("world")
def test_a_customer_of_both_stores_shows_the_tickets_and_sums_of_this_one(client_of, bruno, chloe, boris):
    lille = client_of(bruno).get(f"/store/ACM-001/customers/{boris.public_id}/")
    assert (lille.context["bought"].tickets, lille.context["bought"].total_cents) == (1, 1234)
    assert lille.context["bought"].favourites == [("DAIRY", 1)]
    lyon = client_of(chloe).get(f"/store/ACM-002/customers/{boris.public_id}/")
    assert lyon.context["bought"].total_cents == CANARY_CENTS


def test_a_customer_of_lille_alone_does_not_exist_for_lyon(client_of, chloe, anna):
    client = client_of(chloe)
    assert client.get(f"/store/ACM-002/customers/{anna.public_id}/").status_code == 404
    assert client.get(f"/store/ACM-001/customers/{anna.public_id}/").status_code == 404
    assert not AuditEvent.objects.filter(verb="viewed").exists()


@pytest.mark.parametrize("page", ["", "customers/", "segments/", "segments/new/", "tills/"])
def test_another_store_does_not_exist(client_of, chloe, lille, page):
    assert client_of(chloe).get(f"/store/ACM-001/{page}").status_code == 404


def test_the_search_finds_nobody_of_another_store(client_of, bruno, lille, canary):
    page = text_of(client_of(bruno).get(f"/store/ACM-001/customers/?q={CANARY_NAME}"))
    assert "0 people" in page


# A person ------------------------------------------------------------------------------------------------------------


def test_opening_a_persons_page_is_written_down(client_of, bruno, anna, lille):
    client_of(bruno).get(f"/store/ACM-001/customers/{anna.public_id}/")
    event = AuditEvent.objects.get(verb="viewed")
    assert (event.actor, event.object_id, event.store) == ("Bruno Caron", str(anna.pk), lille)


def test_the_address_of_a_merged_person_leads_to_who_they_are_now(client_of, bruno, anna, lille):
    twin = person(lille, first_name="Ana")
    merge_into(anna, twin)
    response = client_of(bruno).get(f"/store/ACM-001/customers/{twin.public_id}/")
    assert response.url == reverse("store:customer", args=["ACM-001", anna.public_id])


def test_the_search_knows_neither_case_nor_accents(client_of, bruno, anna):
    rows = client_of(bruno).get("/store/ACM-001/customers/?q=DÙBOIS").context["rows"]
    assert [row.profile for row in rows] == [anna]


def test_consents_are_told_with_words_and_the_newest_counts(client_of, bruno, anna):
    ConsentChange.objects.create(profile=anna, channel="email", granted=False)
    page = text_of(client_of(bruno).get(f"/store/ACM-001/customers/{anna.public_id}/"))
    assert "E-mail: refused" in page
    assert "Text message: never asked" in page


# Segments ------------------------------------------------------------------------------------------------------------

ANSWERS = {
    "lapsed": {"times": 3, "days": 30},
    "category": {"category": "DAIRY", "times": 3, "days": 90},
    "spend": {"amount": 30, "days": 365},
    "birthday": {"days": 7},
}


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_ready_made_segment_counts_then_saves_for_this_store(client_of, bruno, lille, anna, template):
    client = client_of(bruno)
    address = f"/store/ACM-001/segments/new/{template}/"
    answers = {**ANSWERS[template], "name": "Mine", "channel": "email"}
    counted = client.post(address, {**answers, "count": ""}).context["counted"]
    assert counted.counts.matching == 1
    assert not Segment.objects.filter(name="Mine").exists()

    page = client.post(address, {**answers, "save": ""}, follow=True)
    assert Segment.objects.get(name="Mine").store == lille
    assert [row.profile for row in page.context["rows"]] == [anna]
    assert page.context["told"].sentence == counted.sentence


def test_a_name_stands_once_in_a_store(client_of, bruno, lille):
    answers = {"days": 7, "name": "Cakes", "save": ""}
    client = client_of(bruno)
    assert client.post("/store/ACM-001/segments/new/birthday/", answers).status_code == 302
    again = text_of(client.post("/store/ACM-001/segments/new/birthday/", answers))
    assert "Your store has a segment of this name already." in again


def test_answers_out_of_range_are_refused_at_their_field(client_of, bruno, lille):
    answers = {"days": 0, "name": "", "count": ""}
    form = client_of(bruno).post("/store/ACM-001/segments/new/birthday/", answers).context["form"]
    assert set(form.errors) == {"days", "name"}


def test_a_national_segment_that_asks_for_points_says_why_it_is_not_counted(client_of, bruno, alice):
    segment = Segment(name="Rich in points", shared=True)
    save(segment, {"all": [{"field": "points", "op": ">=", "value": 1}]}, alice)
    for address in ("/store/ACM-001/segments/", f"/store/ACM-001/segments/{segment.pk}/"):
        assert "answered at head office only" in text_of(client_of(bruno).get(address))


def test_a_segment_that_is_not_shared_does_not_exist_here(client_of, bruno, alice):
    segment = Segment(name="Secret plan")
    save(segment, {"all": []}, alice)
    assert client_of(bruno).get(f"/store/ACM-001/segments/{segment.pk}/").status_code == 404
    assert "Secret plan" not in text_of(client_of(bruno).get("/store/ACM-001/segments/"))


def test_an_own_segment_is_removed_and_a_national_one_is_not(client_of, bruno, lille, national):
    own = Segment(name="Mine", store=lille)
    save(own, {"all": []}, bruno)
    client = client_of(bruno)
    assert client.post(f"/store/ACM-001/segments/{national.pk}/remove/").status_code == 404
    client.post(f"/store/ACM-001/segments/{own.pk}/remove/")
    assert list(Segment.objects.all()) == [national]


def test_a_segment_in_use_stays_and_says_by_what(client_of, bruno, lille):
    own = Segment(name="Mine", store=lille)
    save(own, {"all": []}, bruno)
    Campaign.objects.create(name="Spring", segment=own, goal="visit", goal_uplift=1, store=lille)
    Campaign.objects.create(name="Head office's plan", segment=own, goal="visit", goal_uplift=1)
    page = client_of(bruno).post(f"/store/ACM-001/segments/{own.pk}/remove/", follow=True)
    assert "used by: Spring, 1 campaign elsewhere" in text_of(page)
    assert "plan" not in text_of(page)
    assert Segment.objects.filter(pk=own.pk).exists()


# Tills ---------------------------------------------------------------------------------------------------------------


def test_a_till_is_silent_after_a_day_without_a_call_or_ticket(client_of, bruno, lille_till, lyon_till):
    till, _key = lille_till
    client = client_of(bruno)
    (state,) = client.get("/store/ACM-001/tills/").context["tills"]
    assert (state.till, state.is_silent) == (till, True)
    till.last_used_at = "2026-06-15T09:00:00Z"
    till.save()
    assert "in contact" in text_of(client.get("/store/ACM-001/tills/"))
    with time_machine.travel("2026-06-16T10:00:00Z", tick=False):
        assert "silent for more than 24 hours" in text_of(client.get("/store/ACM-001/tills/"))


def test_a_ticket_is_a_sign_of_life(client_of, bruno, lille):
    ticket(None, lille, TODAY)
    (state,) = client_of(bruno).get("/store/ACM-001/tills/").context["tills"]
    assert not state.is_silent


# Who comes in --------------------------------------------------------------------------------------------------------


def test_who_did_not_sign_in_is_asked_to_and_comes_back(client_of, lille):
    response = client_of().get("/store/ACM-001/customers/")
    assert response.url == f"{reverse('admin:login')}?next=/store/ACM-001/customers/"


def test_who_runs_two_stores_chooses_and_sees_them_apart(client_of, bruno, lyon, world):
    bruno.stores.add(lyon)
    client = client_of(bruno)
    chooser = text_of(client.get("/store/"))
    assert "Lille Centre" in chooser
    assert "Lyon Bellecour" in chooser
    assert CANARY_NAME not in text_of(client.get("/store/ACM-001/customers/"))
    assert CANARY_NAME in text_of(client.get("/store/ACM-002/customers/"))


def test_head_office_sees_a_store_as_the_store_does(client_of, alice, world):
    client = client_of(alice)
    assert "Lyon Bellecour" in text_of(client.get("/store/"))
    assert client.get("/store/?q=lille").context["page"].paginator.count == 1
    assert CANARY_NAME not in text_of(client.get("/store/ACM-001/customers/"))
    assert client.get("/store/ACM-001/tills/").status_code == 403  # her role shows her no till


def test_a_manager_without_a_store_is_told_whom_to_ask(client_of, bruno):
    bruno.stores.clear()
    assert "ask head office" in text_of(client_of(bruno).get("/store/"))


def test_who_reads_only_is_offered_no_new_segment(client_of, alice, lille):
    alice.role = "analyst"
    alice.save()
    client = client_of(alice)
    assert "New segment" not in text_of(client.get("/store/ACM-001/segments/"))
    assert client.get("/store/ACM-001/segments/new/").status_code == 403
    assert client.post("/store/ACM-001/segments/new/birthday/", {"days": 7, "name": "x"}).status_code == 403


def test_the_policy_of_these_pages_lets_nothing_inline_run(client_of, bruno, anna):
    response = client_of(bruno).get("/store/ACM-001/")
    policy = dict(part.strip().split(" ", 1) for part in response["Content-Security-Policy"].split(";"))
    assert policy["script-src"] == policy["style-src"] == "'self'"
    page = text_of(response)
    for inline in ("<script", "style=", "onclick=", "<style"):
        assert inline not in page


def test_pages_are_in_the_language_of_the_person(client_of, bruno):
    bruno.language = "fr"
    bruno.save()
    assert '<html lang="fr">' in text_of(client_of(bruno).get("/store/ACM-001/"))
