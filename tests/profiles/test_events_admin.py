"""The pages about events: the dictionary, what it does not know, what waits, the sites that send, the customer page."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from profiles.intake import EventStatement, Sender, Shown, record_events
from profiles.models import (
    Event,
    EventProperty,
    EventType,
    Profile,
    QuarantinedEvent,
    Site,
    Source,
    UnknownProperty,
)
from tenants.network.models import AuditEvent

CARD = Shown("card", "2990000000017")


@pytest.fixture
def site(brand) -> Site:
    source = Source.objects.create(code="shop", name="Web shop", kind=Source.Kind.ECOMMERCE)
    return Site.objects.create(name="Shop", source=source, origins="https://shop.example")


def happened(event_id, type_code="page_viewed", *, minutes_ago=5, shown=None, device="d1", **properties):
    at = timezone.now() - timedelta(minutes=minutes_ago)
    if type_code == "page_viewed":
        properties = {"url": "https://shop.example/brie"} | properties
    return EventStatement(event_id, type_code, at, device, shown=shown, properties=properties)


def page(client, name, *args) -> str:
    response = client.get(reverse(f"admin:profiles_{name}", args=args))
    assert response.status_code == 200
    return response.content.decode()


# --- The customer page ------------------------------------------------------------------------------------------------


def test_the_customer_page_shows_what_was_done_before_the_login_and_who_proved_it(site, alice, client_of):
    record_events(Sender.of_site(site), [happened("e1", minutes_ago=9)])
    record_events(Sender.of_site(site), [happened("i1", "customer_logged_in", shown=CARD)])
    text = page(client_of(alice), "profile_change", Profile.objects.get().pk)
    assert "What they did" in text
    assert "https://shop.example/brie" in text
    assert "Anonymous then; recognised on this device on" in text


def test_a_manager_sees_on_it_what_happened_in_the_own_store_alone(lille_till, lyon_till, bruno, client_of):
    for till, word in ((lille_till[0], "Bonjour"), (lyon_till[0], "Secret")):
        visit = happened(word, "store_visited", shown=CARD, said=word)
        record_events(Sender.of_till(till), [visit])
        EventProperty.objects.get_or_create(
            event_type=EventType.objects.get(code="store_visited"), name="said", type="text"
        )
        record_events(Sender.of_till(till), [happened(f"{word}2", "store_visited", shown=CARD, said=word)])
    text = page(client_of(bruno), "profile_change", Profile.objects.get().pk)
    assert "Bonjour" in text
    assert "Secret" not in text
    listed = page(client_of(bruno), "event_changelist")
    assert EventType.objects.get(code="store_visited").label in listed
    own = Event.objects.get(event_id="Bonjour")
    shown = page(client_of(bruno), "event_change", own.pk)
    assert "card:2990000000017" not in shown
    answer = client_of(bruno).get(reverse("admin:profiles_event_change", args=[own.pk + 2]))
    assert answer.status_code == 302


# --- The dictionary ---------------------------------------------------------------------------------------------------


def test_the_dictionary_opens_with_the_standard_types(alice, client_of):
    text = page(client_of(alice), "eventtype_changelist")
    assert "product_viewed" in text
    assert EventType.objects.get(code="product_viewed").properties.count() == 4


def form(properties: list[dict], **fields) -> dict:
    data = {
        "label": "Exploded",
        "code": "cart_exploded",
        "description": "",
        "retention_days": 30,
        "is_active": "on",
    }
    data |= fields | {"properties-TOTAL_FORMS": len(properties), "properties-INITIAL_FORMS": 0}
    for number, entry in enumerate(properties):
        data |= {f"properties-{number}-{name}": value for name, value in entry.items()}
    return data


def test_a_new_entry_of_the_dictionary_releases_what_waits_for_it(site, alice, client_of):
    record_events(Sender.of_site(site), [happened("e1", "cart_exploded", bang=3)])
    data = form([{"name": "bang", "type": "number", "required": "on", "choices": ""}])
    answer = client_of(alice).post(reverse("admin:profiles_eventtype_add"), data, follow=True)
    assert "events from quarantine: 1" in answer.content.decode()
    assert Event.objects.get().properties == {"bang": 3}
    assert QuarantinedEvent.objects.count() == 0
    assert AuditEvent.objects.filter(object_type="eventtype", verb="added").exists()


@pytest.mark.parametrize(
    ("fields", "properties", "complaint"),
    [
        ({"code": "CartExploded"}, [], "The thing and what befell it"),
        ({"retention_days": 0}, [], "event_retention_at_least_a_day"),
        ({}, [{"name": "a b", "type": "text"}], "Letters, digits and low lines"),
        ({}, [{"name": "mood", "type": "choice", "choices": ""}], "A choice needs its choices"),
    ],
)  # fmt: skip
def test_an_entry_that_is_none_is_refused_with_the_reason(alice, client_of, fields, properties, complaint):
    answer = client_of(alice).post(reverse("admin:profiles_eventtype_add"), form(properties, **fields))
    assert answer.status_code == 200
    assert complaint in answer.content.decode()
    assert EventType.objects.count() == 0


def test_an_unknown_property_is_added_from_its_page(site, alice, client_of):
    record_events(Sender.of_site(site), [happened("e1", depth=3), happened("e2", depth="deep")])
    row = UnknownProperty.objects.get()
    assert "depth" in page(client_of(alice), "unknownproperty_changelist")
    assert "deep" in page(client_of(alice), "unknownproperty_change", row.pk)
    decide = reverse("admin:profiles_unknownproperty_decide", args=[row.pk])
    answer = client_of(alice).post(decide, {"decision": "add", "type": "number", "choices": ""}, follow=True)
    text = answer.content.decode()
    assert "Values that are in their events now: 1." in text
    assert "Values of another type that stay apart: 1." in text
    assert Event.objects.get(event_id="e1").properties["depth"] == 3


@pytest.mark.parametrize("told", [{"type": "choice", "choices": ""}, {"type": "poem"}, {}])
def test_a_decision_that_is_none_is_refused(site, alice, client_of, told):
    record_events(Sender.of_site(site), [happened("e1", depth=3)])
    row = UnknownProperty.objects.get()
    decide = reverse("admin:profiles_unknownproperty_decide", args=[row.pk])
    assert client_of(alice).post(decide, {"decision": "add"} | told).status_code == 400
    assert client_of(alice).post(decide, told).status_code == 400
    row.refresh_from_db()
    assert row.state == "open"


def test_a_name_that_the_dictionary_cannot_take_may_only_be_ignored(site, alice, client_of):
    record_events(Sender.of_site(site), [happened("e1", **{"odd name": 3})])
    row = UnknownProperty.objects.get()
    decide = reverse("admin:profiles_unknownproperty_decide", args=[row.pk])
    answer = client_of(alice).post(decide, {"decision": "add", "type": "number"})
    assert "Letters, digits and low lines" in answer.content.decode()
    assert client_of(alice).post(decide, {"decision": "ignore"}).status_code == 302
    row.refresh_from_db()
    assert row.state == "ignored"


def test_quarantine_says_why_and_is_tried_again(site, alice, client_of):
    record_events(Sender.of_site(site), [happened("e1", "cart_exploded", bang="<b>3</b>")])
    row = QuarantinedEvent.objects.get()
    assert "the dictionary has no such event" in page(client_of(alice), "quarantinedevent_changelist")
    text = page(client_of(alice), "quarantinedevent_change", row.pk)
    assert "Add this event to the dictionary" in text
    assert "<b>3</b>" not in text
    release = reverse("admin:profiles_quarantinedevent_release", args=[row.pk])
    answer = client_of(alice).post(release, follow=True)
    assert "Released: 0. Still waiting: 1." in answer.content.decode()
    EventType.objects.create(code="cart_exploded", label="Bang")
    answer = client_of(alice).post(release, follow=True)
    assert "Released: 1. Still waiting: 0." in answer.content.decode()


# --- Sites ------------------------------------------------------------------------------------------------------------


def test_what_the_dictionary_cannot_mend_is_told_and_can_be_thrown_away(lille_till, alice, bruno, client_of):
    till, _key = lille_till
    record_events(
        Sender.of_till(till),
        [happened(f"e{n}", "store_visited", shown=Shown("customer", f"N{n}"), device="") for n in range(3)],
    )
    row = QuarantinedEvent.objects.order_by("pk")[0]
    assert row.reason == "unknown_customer"
    text = page(client_of(alice), "quarantinedevent_change", row.pk)
    assert "No change of the dictionary helps" in text
    assert "Open its entry in the dictionary" not in text
    discard = reverse("admin:profiles_quarantinedevent_discard", args=[row.pk])
    assert client_of(bruno).post(discard, {"which": "all"}).status_code in (403, 404)
    assert client_of(alice).get(discard).status_code == 403
    assert (
        "Thrown away: 1." in client_of(alice).post(discard, {"which": "this"}, follow=True).content.decode()
    )
    assert QuarantinedEvent.objects.count() == 2
    last = reverse("admin:profiles_quarantinedevent_discard", args=[QuarantinedEvent.objects.latest("pk").pk])
    client_of(alice).post(last, {"which": "all"})
    assert QuarantinedEvent.objects.count() == 0
    assert AuditEvent.objects.filter(verb="discarded").count() == 2


def test_an_address_with_a_nul_lists_everything(site, alice, client_of):
    record_events(Sender.of_site(site), [happened("e1")])
    for address in ("event_changelist", "quarantinedevent_changelist", "profile_changelist"):
        for query in ("?q=a%00b", "?device__exact=%00", "?reason__exact=%00", "?event_id__exact=a%00"):
            answer = client_of(alice).get(reverse(f"admin:profiles_{address}") + query, follow=True)
            assert answer.status_code == 200, (address, query)


def test_the_page_of_a_site_shows_the_snippet_and_the_last_event(site, diane, client_of):
    text = page(client_of(diane), "site_change", site.pk)
    assert site.key in text
    assert "/static/cdp/site.js" in text
    assert "No event has been received yet" in text
    record_events(Sender.of_site(site), [happened("e1")])
    text = page(client_of(diane), "site_change", site.pk)
    assert "Last event received" in text


def test_a_source_that_is_being_set_up_has_no_site(diane, client_of):
    source = Source.objects.create(code="new", name="New shop", kind=Source.Kind.ECOMMERCE, identified_by="")
    sent = {
        "name": "Shop",
        "kind": "web",
        "source": source.pk,
        "origins": "https://shop.example",
        "is_on": "on",
    }
    answer = client_of(diane).post(reverse("admin:profiles_site_add"), sent)
    assert list(answer.context["adminform"].form.errors) == ["source"]
    assert not Site.objects.exists()


def test_a_renewed_key_refuses_the_one_before(site, diane, client_of):
    old = site.key
    client_of(diane).post(reverse("admin:profiles_site_renew", args=[site.pk]))
    site.refresh_from_db()
    assert site.key != old
    assert client_of().post(f"/api/v1/events?key={old}", "{}", content_type="text/plain").status_code == 401


@pytest.mark.parametrize(
    ("origins", "kept"),
    [
        ("https://Shop.example/\nhttps://shop.example", "https://shop.example"),
        ("http://localhost:8000 https://a.example", "http://localhost:8000\nhttps://a.example"),
        ("shop.example", None),
        ("https://shop.example/page", None),
        ("https://[abc", None),
        ("https://shop.example:99999", None),
        ("", None),
    ],
)
def test_the_addresses_of_a_site_are_those_a_browser_tells(site, diane, client_of, origins, kept):
    data = {"name": "Shop", "kind": "web", "origins": origins, "is_on": "on"}
    answer = client_of(diane).post(reverse("admin:profiles_site_change", args=[site.pk]), data)
    assert answer.status_code == (302 if kept else 200)
    site.refresh_from_db()
    assert site.origins == (kept or "https://shop.example")
