"""Which value wins: pinned by hand, confirmed by the customer, trusted, newest; and why, on the page."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.urls import reverse

from profiles import merging, pins, survivorship
from profiles.intake import EventStatement, Sender, Shown, Statement, record_events, take_in_records
from profiles.models import EventType, Merge, Pin, Profile, Site, Source, SourceRecord
from profiles.survivorship import FULLEST, NEWEST, ONLY, PINNED, TRUSTED, VERIFIED

AT = datetime(2026, 10, 1, 10, tzinfo=UTC)


@pytest.fixture
def sources(brand) -> dict[str, Source]:
    return {
        code: Source.objects.create(code=code, name=code.upper(), kind=Source.Kind.CRM, trust=trust)
        for code, trust in (("crm", 80), ("shop", 60), ("till", 60))
    }


def told(source, external_id="1", days=0, **fields) -> Profile:
    statement = Statement(external_id, fields, raw=fields, stated_at=AT + timedelta(days=days))
    return Profile.objects.get(pk=take_in_records(source, [statement])[0].profile_id)


@pytest.fixture
def anne(sources) -> Profile:
    """Three sources, three e-mails; one card holds them together."""
    for days, (code, email) in enumerate((("crm", "old"), ("shop", "shop"), ("till", "new"))):
        anne = told(
            sources[code], days=days, first_name="Anne", last_name="Petit", email=f"{email}@mail.example",
            card="2990000000017", city=code.title(),
        )  # fmt: skip
    return anne


def now(profile) -> Profile:
    return Profile.objects.get(pk=profile.pk)


def clicked(sources, email, name="c1", code="email_clicked"):
    site, _new = Site.objects.get_or_create(name="Shop", source=sources["shop"])
    EventType.objects.get_or_create(code=code, defaults={"label": code})
    told = EventStatement(name, code, AT, shown=Shown("email", email), properties={})
    outcome = record_events(Sender.of_site(site), [told])[0]
    assert outcome.verdict == "accepted", outcome


def test_the_most_trusted_wins_until_the_customer_confirms_another(anne, sources):
    assert (now(anne).email, now(anne).provenance["email"]["why"]) == ("old@mail.example", TRUSTED)
    clicked(sources, "shop@mail.example")
    assert (now(anne).email, now(anne).provenance["email"]["why"]) == ("shop@mail.example", VERIFIED)
    assert [(o["source"], o["value"]) for o in now(anne).provenance["email"]["others"]] == [
        ("CRM", "old@mail.example"), ("TILL", "new@mail.example"),
    ]  # fmt: skip
    # Both confirmed: trust decides between them, and confirms nothing about town or name.
    clicked(sources, "old@mail.example", "c2")
    assert now(anne).email == "old@mail.example"
    assert now(anne).city == "Crm"


def test_an_event_that_proves_nothing_changes_nothing(anne, sources):
    clicked(sources, "new@mail.example", code="review_written")
    assert now(anne).email == "old@mail.example"


def test_the_newest_of_equally_trusted_and_the_only_one(anne, sources):
    told(sources["crm"], days=5, first_name="Anne", last_name="Petit", card="2990000000017")
    origin = now(anne).provenance
    assert (now(anne).email, origin["email"]["why"]) == ("new@mail.example", NEWEST)
    told(sources["till"], days=6, phone="0612345678", card="2990000000017")
    assert now(anne).provenance["phone"]["why"] == ONLY


def test_who_said_it_again_said_it_last(sources):
    said = {"first_name": "Anne", "email": "shop@mail.example", "card": "2990000000017"}
    anne = told(sources["shop"], **said)
    told(sources["till"], days=1, **said | {"email": "new@mail.example"})
    told(sources["shop"], days=2, **said)
    survivorship.refresh([anne.pk])
    origin = now(anne).provenance["email"]
    assert (now(anne).email, origin["why"]) == ("shop@mail.example", NEWEST)
    assert origin["at"] == (AT + timedelta(days=2)).isoformat()


def test_of_two_that_say_the_same_at_once_the_first_is_named_whatever_is_written_since(sources):
    said = {"first_name": "Anne", "email": "same@mail.example", "card": "2990000000017"}
    anne = told(sources["shop"], **said)
    told(sources["till"], **said)
    # The row is another one by now, behind the other: the order of the table is not that of coming in.
    SourceRecord.objects.filter(source=sources["shop"]).update(matched_at=None)
    survivorship.refresh([anne.pk])
    assert now(anne).provenance["email"]["source"] == "SHOP"


def test_a_click_that_came_first_counts_for_what_is_told_later(sources):
    told(sources["shop"], first_name="Anne", email="shop@mail.example", card="2990000000017")
    clicked(sources, "shop@mail.example")
    anne = told(sources["crm"], days=3, first_name="Anne", email="crm@mail.example", card="2990000000017")
    assert now(anne).email == "shop@mail.example"


def test_a_name_told_whole_wins_over_a_trusted_part_of_it_and_says_so(sources):
    """The shop is trusted less: what is shown must not say that it is trusted most."""
    anne = told(sources["crm"], last_name="Petit", card="2990000000017")
    told(sources["shop"], days=-3, first_name="Anne", last_name="Petite", card="2990000000017")
    found = now(anne)
    assert (found.first_name, found.last_name) == ("Anne", "Petite")
    assert found.provenance["last_name"]["why"] == FULLEST
    assert found.provenance["first_name"]["why"] == ONLY
    # Where the trusted one tells the whole name too, trust decides.
    told(sources["crm"], days=1, first_name="Anna", last_name="Petit", card="2990000000017")
    assert (now(anne).last_name, now(anne).provenance["last_name"]["why"]) == ("Petit", TRUSTED)


# --- Pinned -----------------------------------------------------------------------------------------------------


def test_a_pin_outlives_imports_and_says_what_it_won_over(anne, sources, diane):
    row = pins.pin(anne, "email", " Anne@Mail.example ", by=diane, reason="told on the phone")
    told(sources["crm"], days=9, first_name="Anne", email="newer@mail.example", card="2990000000017")
    found = now(anne)
    origin = found.provenance["email"]
    assert found.email == "anne@mail.example"
    assert (origin["why"], origin["source"], origin["pin"]) == (PINNED, "Diane Perrot", row.pk)
    assert {o["value"] for o in origin["others"]} == {
        "newer@mail.example",
        "shop@mail.example",
        "new@mail.example",
    }
    survivorship.refresh([anne.pk])
    assert now(anne).email == "anne@mail.example"
    pins.unpin(row, diane)
    pins.unpin(row, diane)
    assert now(anne).email == "newer@mail.example"


def test_a_later_pin_takes_the_place_of_the_first(anne, diane, alice):
    pins.pin(anne, "birth_date", "3/3/1980", by=diane)
    pins.pin(anne, "birth_date", "1980-03-04", by=alice)
    assert now(anne).birth_date == date(1980, 3, 4)
    assert Pin.objects.filter(ended_at=None).count() == 1
    assert Pin.objects.exclude(ended_at=None).get().ended_by == alice


@pytest.mark.parametrize(
    ("field", "value"),
    [("email", "nobody"), ("phone", "12"), ("birth_date", "32/13/1980"), ("birth_date", "2999-01-01"), ("city", " "),
     ("city", "x" * 81), ("public_id", "1"), ("provenance", "{}")],
)  # fmt: skip
def test_what_no_field_can_hold_is_refused(anne, diane, field, value):
    with pytest.raises(pins.BadPin) as refused:
        pins.pin(anne, field, value, by=diane)
    assert refused.value.field == field
    assert not Pin.objects.exists()


def test_a_pin_on_a_merged_customer_goes_to_the_survivor(anne, sources, diane):
    other = told(sources["crm"], "2", first_name="Anna", last_name="Petit")
    merging.merge(anne, other, ground=Merge.Ground.PERSON, by=diane)
    pins.pin(other, "city", "Lyon", by=diane)
    assert now(anne).city == "Lyon"


def test_the_page_says_which_rule_won_and_what_lost_and_pins(anne, sources, alice, bruno, client_of):
    client, page = client_of(alice), reverse("admin:profiles_profile_change", args=[anne.pk])
    shown = client.get(page)
    row = next(r for r in shown.context["fields"] if r.key == "email")
    assert [(o["source"], o["value"], o["at"].date()) for o in row.lost] == [
        ("SHOP", "shop@mail.example", date(2026, 10, 2)), ("TILL", "new@mail.example", date(2026, 10, 3)),
    ]  # fmt: skip
    assert "Pin this value" in shown.text
    pin = reverse("admin:profiles_profile_pin", args=[anne.pk])
    client.post(pin, {"field": "email", "value": "shop@mail.example", "reason": "she said so"})
    shown = client.get(page).text
    assert "she said so" in shown
    assert "pinned by hand" in shown
    assert "no usable e-mail" in client.post(pin, {"field": "email", "value": "x"}, follow=True).text
    row = Pin.objects.get()
    assert client_of(bruno).post(pin, {"field": "city", "value": "Lyon"}).status_code == 403
    client.post(reverse("admin:profiles_profile_unpin", args=[anne.pk, row.pk]))
    assert now(anne).email == "old@mail.example"
