"""A member's own page: opened by a signed link alone, with the till's figures, and with consents that count."""

import json
import re
from datetime import date, timedelta

import pytest
import time_machine
from django.conf import settings as platform
from django.core.cache import cache
from django.core.signing import TimestampSigner
from django.urls import reverse
from django.utils import timezone
from django_tenants.utils import tenant_context

from loyalty import ledger, me, member_links, till, vouchers
from loyalty.models import MemberLinks, Reward
from profiles import consent, merging, separating
from profiles.intake import ConsentStatement, Statement, take_in_records
from profiles.models import ConsentChange, Merge, Profile
from tenants.models import Brand
from tenants.network.models import AuditEvent
from tests.conftest import HOST
from tests.loyalty.conftest import CARD, OTHER, known, ticket

ENGLISH = {"accept-language": "en"}


@pytest.fixture
def marie(crm, lille, lille_till, programme) -> Profile:
    """150 points: silver is 50 away."""
    profile = known(crm, lille)
    till.record_purchase(lille_till[0], ticket("R1", 9000, 1000, at=timezone.now() - timedelta(days=2)))
    return profile


def address(profile, **asked) -> str:
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    return reverse("me:page", args=[member_links.token_of(profile)]) + (f"?{query}" if query else "")


def shown(client_of, profile, **asked) -> str:
    response = client_of().get(address(profile, **asked), headers=ENGLISH)
    assert response.status_code == 200
    return response.content.decode()


def api(client_of, profile) -> dict:
    response = client_of().get("/api/v1/me", {"token": member_links.token_of(profile)}, headers=ENGLISH)
    assert response.status_code == 200
    return response.json()


# --- The figures -------------------------------------------------------------------------------------------------


def test_it_shows_what_the_till_is_told_at_the_same_instant(client_of, till_client, lille_till, marie):
    till.redeem(lille_till[0], CARD, 100, "P1", timezone.now())
    at_till = till_client(lille_till[1]).get(f"/api/v1/members/{marie.public_id}").json()
    own = api(client_of, marie)
    assert own["member"] == at_till
    assert at_till["available"] == 50
    assert own["tier"] == {"name": "", "next": "Silver", "missing": 50}
    assert [(line["what"], line["points"], line["store"]) for line in own["movements"]] == [
        ("spent", -100, "Lille Centre"), ("earned", 150, "Lille Centre"),
    ]  # fmt: skip
    assert own["expiries"] == [at_till["next_expiry"]]
    assert own["card"] == CARD.value
    page = shown(client_of, marie)
    assert "<strong>50</strong>" in page
    assert "50 points more to become Silver" in page
    assert "Hello Marie D." in page


def test_points_that_expired_today_are_gone_on_both(client_of, till_client, lille_till, marie):
    with time_machine.travel(timezone.now() + timedelta(days=800)):
        at_till = till_client(lille_till[1]).get(f"/api/v1/members/{marie.public_id}").json()
        assert api(client_of, marie)["member"] == at_till
        assert at_till["available"] == 0


def test_it_speaks_french_and_english(client_of, marie):
    page = client_of().get(address(marie), headers={"accept-language": "fr"}).content.decode()
    assert '<html lang="fr">' in page
    assert '<html lang="en">' in shown(client_of, marie, lang="en")
    assert '<html lang="fr">' in shown(client_of, marie, lang="fr")
    assert '<html lang="en">' in shown(client_of, marie, lang="xx")


def test_it_lists_what_can_be_had_and_what_is_held(client_of, lille, marie):
    told = {"kind": "gift", "valid_from": date(2026, 1, 1)}
    mug = Reward.objects.create(code="mug", name="Mug", points=100, **told)
    Reward.objects.create(code="tv", name="Television", points=5000, **told)
    Reward.objects.create(code="old", name="Calendar", points=10, valid_until=date(2026, 2, 1), **told)
    Reward.objects.create(code="none", name="Sold out", points=10, is_counted=True, **told)
    given = vouchers.give(marie, mug, key="g1")
    used = vouchers.give(marie, mug, key="g2")
    vouchers.use(used.code, store=lille, at=timezone.now())
    own = api(client_of, marie)
    assert [(o["name"], o["missing"]) for o in own["rewards"]] == [("Mug", 0), ("Television", 4850)]
    assert [v["code"].replace("-", "") for v in own["vouchers"]] == [given.code]
    page = shown(client_of, marie)
    assert all(
        word in page
        for word in ("Ask for it at the till", "4,850 points missing", own["vouchers"][0]["code"])
    )
    assert not any(word in page for word in ("Calendar", "Sold out"))


def test_it_shows_nothing_of_anybody_else(client_of, crm, lille, lille_till, marie):
    known(crm, lille, OTHER.value, first_name="Zyxquist", last_name="Canary", email="zyx@mail.example")
    till.record_purchase(lille_till[0], ticket("R2", 777700, shown=OTHER))
    page = shown(client_of, marie) + json.dumps(api(client_of, marie))
    assert not any(word in page for word in ("Zyxquist", OTHER.value, "7777", "7,777"))


# --- The link ----------------------------------------------------------------------------------------------------


def test_nobody_keeps_or_finds_the_page_and_nothing_stands_inline(client_of, marie):
    response = client_of().get(address(marie))
    assert "no-store" in response.headers["Cache-Control"]
    assert "noindex" in response.headers["X-Robots-Tag"]
    policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
    assert policy["script-src"] == policy["style-src"] == "'self'"
    body = response.content.decode()
    assert "<script" not in body
    assert not re.search(r"\sstyle=|\son\w+=", body)
    assert (
        "no-store" in client_of().get("/api/v1/me", {"token": member_links.token_of(marie)})["Cache-Control"]
    )


def test_a_link_that_was_changed_or_invented_opens_nothing(client_of, marie):
    token = member_links.token_of(marie)
    forged = TimestampSigner(salt="other").sign("x")
    for wrong in (token[:-1] + ("A" if token[-1] != "A" else "B"), "x", forged, token.partition(":")[0]):
        assert client_of().get(reverse("me:page", args=[wrong])).status_code == 410
        answer = client_of().get("/api/v1/me", {"token": wrong})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_member")
    assert client_of().get("/api/v1/me").status_code == 404
    assert client_of().post("/api/v1/me").status_code == 405


def test_a_link_opens_for_thirty_days(client_of, marie):
    link = address(marie)
    with time_machine.travel(timezone.now() + timedelta(days=29)):
        assert client_of().get(link).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(days=31)):
        assert client_of().get(link).status_code == 410


def test_links_that_were_ended_open_no_more_and_new_ones_do(client_of, diane, marie):
    link = address(marie)
    member_links.end_all(marie, diane)
    assert client_of().get(link).status_code == 410
    again = address(marie)
    assert client_of().get(again).status_code == 200
    member_links.end_all(marie, diane)
    assert client_of().get(again).status_code == 410
    assert MemberLinks.objects.get().number == 2


def test_a_link_of_another_brand_opens_nothing(client_of, marie):
    other = Brand(name="Other", slug="other", schema_name="other")
    with tenant_context(other):
        token = member_links.signing.dumps(["other", marie.public_id.hex, 0], salt=member_links.SALT)
    with pytest.raises(member_links.LinkGone):
        member_links.holder_of(token)
    assert client_of().get(reverse("me:page", args=[token])).status_code == 410


def test_the_link_of_who_was_merged_leads_to_the_survivor_and_back(
    client_of, crm, lille, lille_till, marie, diane
):
    two = known(crm, lille, OTHER.value, first_name="Marie", email="m@mail.example")
    till.record_purchase(lille_till[0], ticket("R2", 5000, shown=OTHER))
    link = member_links.token_of(two)
    merge = merging.merge(marie, two, ground=Merge.Ground.PERSON, by=diane)
    assert member_links.holder_of(link) == marie
    assert api(client_of, marie)["member"]["available"] == 200
    separating.unmerge(merge, by=diane)
    assert member_links.holder_of(link) == two
    merging.merge(marie, two, ground=Merge.Ground.PERSON, by=diane)
    member_links.end_all(marie, diane)
    with pytest.raises(member_links.LinkGone):
        member_links.holder_of(link)


def test_one_address_asks_so_often_and_no_more(client_of, marie, settings):
    for _request in range(member_links.MOST_A_MINUTE):
        assert client_of().get(reverse("me:page", args=["x"])).status_code == 410
    refused = client_of().get(address(marie))
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    told = client_of().get("/api/v1/me", {"token": "x"})
    assert (told.status_code, told.json()["code"]) == (429, "too_often")
    assert client_of().get(address(marie), REMOTE_ADDR="192.0.2.7").status_code == 200
    cache.clear()
    assert client_of().get(address(marie)).status_code == 200


# --- Consents ----------------------------------------------------------------------------------------------------


def decide(client_of, profile, channel, verdict, **asked):
    return client_of().post(address(profile, **asked), {"channel": channel, "verdict": verdict})


def test_a_consent_changed_there_is_a_consent_with_its_proof(client_of, marie):
    answer = decide(client_of, marie, "email", "grant", lang="en")
    assert answer.status_code == 302
    change = ConsentChange.objects.get()
    assert (change.profile, change.channel, change.granted, change.record) == (marie, "email", True, None)
    assert change.wording == "I would like to receive news and offers of Maison Acme by e-mail."
    assert change.wording in shown(client_of, marie, lang="en") or consent.may_contact(marie, "email")
    assert change.actor
    assert consent.may_contact(marie, "email")
    assert AuditEvent.objects.filter(verb="consent grant", object_id=str(marie.pk)).count() == 1
    decide(client_of, marie, "email", "withdraw")
    assert not consent.may_contact(marie, "email")
    assert ConsentChange.objects.count() == 2
    assert [one["allowed"] for one in api(client_of, marie)["consents"]] == [False]


def test_what_a_source_refuses_later_still_wins(client_of, crm, lille, marie):
    decide(client_of, marie, "email", "grant")
    later = timezone.now() + timedelta(minutes=1)
    told = {"last_name": "Durand", "card": CARD.value, "email": "marie@mail.example", "city": "Lille"}
    refused = [ConsentStatement("email", False)]
    with time_machine.travel(later):
        take_in_records(
            crm,
            [Statement(CARD.value, told, raw=told, store_code=lille.code, consents=refused, stated_at=later)],
        )
    assert not consent.may_contact(marie, "email")
    assert [one["allowed"] for one in api(client_of, marie)["consents"]] == [False]


def test_only_channels_that_reach_the_member_are_asked_about(client_of, marie):
    assert [one["channel"] for one in api(client_of, marie)["consents"]] == ["email"]
    for channel, verdict in (("sms", "grant"), ("fax", "grant"), ("email", "perhaps"), ("", "")):
        assert decide(client_of, marie, channel, verdict).status_code == 400
    assert not ConsentChange.objects.exists()


def test_a_child_does_not_agree_alone(client_of, crm, lille, programme):
    child = known(crm, lille, "2990000009990", birth_date=f"{timezone.now().year - 14}-01-01")
    assert decide(client_of, child, "email", "grant").status_code == 403
    assert "a parent agrees" in shown(client_of, child)
    assert decide(client_of, child, "email", "withdraw").status_code == 302
    with pytest.raises(me.NotAlone):
        me.decide(child, "email", "grant")


def test_a_form_of_another_site_changes_nothing(marie):
    from django.test import Client

    browser = Client(headers={"host": HOST}, enforce_csrf_checks=True)
    assert browser.post(address(marie), {"channel": "email", "verdict": "grant"}).status_code == 403
    assert not ConsentChange.objects.exists()


# --- Who makes the link ------------------------------------------------------------------------------------------


def test_staff_make_the_link_on_the_customers_page(client_of, alice, bruno, marie):
    page = reverse("admin:profiles_profile_change", args=[marie.pk])
    make, end = reverse("me:make_link", args=[marie.pk]), reverse("me:end_links", args=[marie.pk])
    assert 'id="member-link"' in client_of(alice).get(page).content.decode()
    answer = client_of(alice).post(make)
    assert "no-store" in answer.headers["Cache-Control"]
    link = re.search(r'value="(http://[^"]+/me/[^"]+)"', answer.content.decode()).group(1)
    assert link.startswith(f"http://{HOST}/me/")
    assert client_of().get(link.removeprefix(f"http://{HOST}")).status_code == 200
    assert AuditEvent.objects.filter(verb="made link", actor="Alice Martin").exists()
    assert client_of(alice).post(end).status_code == 302
    assert client_of().get(link.removeprefix(f"http://{HOST}")).status_code == 410
    # The page tells of every store: whoever manages one does not open it.
    assert 'id="member-link"' not in client_of(bruno).get(page).content.decode()
    for deed in (make, end):
        assert client_of(bruno).post(deed).status_code == 403
        assert client_of(alice).get(deed).status_code == 403
        assert client_of().post(deed).status_code == 302


def test_a_till_makes_the_link_for_a_member_whom_its_store_knows(
    client_of, till_client, lille_till, lyon_till, marie
):
    address_of_link = f"/api/v1/members/{marie.public_id}/link"
    answer = till_client(lille_till[1]).post(address_of_link)
    assert answer.status_code == 201
    told = answer.json()
    assert told["member"] == str(marie.public_id)
    assert client_of().get(told["link"].removeprefix(f"http://{HOST}")).status_code == 200
    assert till_client(lyon_till[1]).post(address_of_link).status_code == 404
    assert client_of().post(address_of_link).status_code == 401
    assert till_client(lille_till[1]).get(address_of_link).status_code == 405


def test_the_proxys_word_counts_behind_a_proxy_alone(rf, settings):
    from loyalty.me_api import address_of

    request = rf.get("/", headers={"x-forwarded-for": "192.0.2.1, 192.0.2.9"}, REMOTE_ADDR="10.0.0.1")
    assert address_of(request) == "10.0.0.1"
    settings.SECURE = True
    assert address_of(request) == "192.0.2.9"


def test_the_languages_of_the_page_are_those_of_the_platform():
    assert dict(platform.LANGUAGES).keys() == {"fr", "en"}


def test_a_reservation_counts_for_both(client_of, lille_till, till_client, marie):
    ledger.reserve(marie.pk, 100, store_id=lille_till[0].store_id, key="r1", at=timezone.now())
    at_till = till_client(lille_till[1]).get(f"/api/v1/members/{marie.public_id}").json()
    assert api(client_of, marie)["member"] == at_till
    assert at_till["available"] == 50
