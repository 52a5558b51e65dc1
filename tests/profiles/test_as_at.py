"""A customer as known on a day of the past: only what had come in by then, and said so."""

import re
from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.urls import reverse
from django.utils import timezone

from loyalty import statements, till
from profiles import as_at, consent, merging, pins, ticket_moves
from profiles.intake import ConsentStatement, Shown, Statement, take_in_records
from profiles.models import Merge, Profile, Purchase, Source
from tenants.network.models import AuditEvent
from tests.loyalty.conftest import programme, ticket  # noqa: F401 - a fixture

CARDS = [Shown("card", f"29900000000{n}") for n in (17, 24)]


def on(day: int):
    """Noon of that day of March 2026."""
    return time_machine.travel(datetime(2026, 3, day, 12, tzinfo=UTC), tick=True)


@pytest.fixture
def crm(brand) -> Source:
    return Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM, trust=80)


def told(source, external_id, consents=(), **fields) -> Profile:
    statement = Statement(external_id, fields, raw=fields, store_code="ACM-001", consents=consents)
    return Profile.objects.get(pk=take_in_records(source, [statement])[0].profile_id)


@pytest.fixture
def anne(crm, lille_till, lyon_till, programme, diane) -> Profile:  # noqa: F811
    """1 March: told. 3: a ticket in Lille. 5: another e-mail, a refusal. 7: a pinned town. 9: a ticket in Lyon.
    11: merged with Anna of 2 March. 13: the pin is off. 15: the ticket of the 3rd turns out to be Zoé's."""
    with on(1):
        anne = told(
            crm, "A", [ConsentStatement("email", True)], first_name="Anne", email="old@mail.example",
            card=CARDS[0].value, city="Lille",
        )  # fmt: skip
    with on(2):
        anna = told(crm, "B", first_name="Anna", phone="0612345678")
        zoe = told(crm, "Z", first_name="Zoé", card=CARDS[1].value)
    with on(3):
        till.record_purchase(lille_till[0], ticket("R3", 5000, shown=CARDS[0], at=timezone.now()))
    with on(5):
        told(crm, "A", first_name="Anne", email="new@mail.example", card=CARDS[0].value, city="Lille")
        consent.withdraw(anne, "email", actor=diane)
    with on(7):
        pin = pins.pin(anne, "city", "Roubaix", by=diane)
    with on(9):
        till.record_purchase(lyon_till[0], ticket("R9", 7000, shown=CARDS[0], at=timezone.now()))
    with on(11):
        merging.merge(anne, anna, ground=Merge.Ground.PERSON, by=diane)
    with on(13):
        pins.unpin(pin, diane)
    with on(15):
        ticket_moves.move(Purchase.objects.get(receipt_id="R3"), zoe, reason="wrong card", by=diane)
    return anne


@pytest.mark.parametrize(
    ("day", "email", "city", "phone", "allowed", "receipts", "cents", "apart"),
    [
        (1, "old@mail.example", "Lille", "", True, [], 0, 1),
        (2, "old@mail.example", "Lille", "+33612345678", True, [], 0, 1),
        (4, "old@mail.example", "Lille", "+33612345678", True, ["R3"], 5000, 1),
        (5, "new@mail.example", "Lille", "+33612345678", False, ["R3"], 5000, 1),
        (8, "new@mail.example", "Roubaix", "+33612345678", False, ["R3"], 5000, 1),
        (12, "new@mail.example", "Roubaix", "+33612345678", False, ["R9", "R3"], 12000, 0),
        (14, "new@mail.example", "Lille", "+33612345678", False, ["R9", "R3"], 12000, 0),
        (16, "new@mail.example", "Lille", "+33612345678", False, ["R9"], 7000, 0),
    ],
)
def test_only_what_was_known_by_then(anne, day, email, city, phone, allowed, receipts, cents, apart):
    past = as_at.as_at(anne, date(2026, 3, day))
    assert (past.profile.email, past.profile.city, past.profile.phone) == (email, city, phone)
    assert past.consents["email"].granted == allowed
    assert [t.receipt_id for t in past.tickets] == receipts
    assert (past.bought, past.spent_cents, len(past.apart)) == (len(receipts), cents, apart)
    assert Profile.objects.get(pk=anne.pk).city == "Lille"


def test_nobody_was_known_before_the_first_word(anne):
    past = as_at.as_at(anne, date(2026, 2, 28))
    assert (past.profile.first_name, past.records, past.identifiers, past.consents) == ("", [], [], {})
    assert past.bought == 0


def test_the_ticket_given_to_somebody_was_not_theirs_before(anne):
    zoe = Profile.objects.get(first_name="Zoé")
    assert [as_at.as_at(zoe, date(2026, 3, day)).bought for day in (14, 15)] == [0, 1]


def test_points_are_those_that_were_posted_by_then(anne, lille_till):
    before = timezone.now()
    held = statements.balance_of(anne).available
    till.record_purchase(lille_till[0], ticket("R20", 3000, shown=CARDS[0], at=before - timedelta(hours=1)))
    assert statements.balance_at([anne.pk], before).available == held
    assert statements.balance_at([anne.pk], timezone.now()).available == held + 30
    assert statements.balance_at([anne.pk], datetime(2026, 3, 1, tzinfo=UTC)) == statements.Balance()


def page(profile) -> str:
    return reverse("admin:profiles_profile_change", args=[profile.pk])


def test_the_page_says_which_day_it_shows_and_leads_back(anne, alice, client_of):
    shown = client_of(alice).get(page(anne), {"as_at": "2026-03-08"}).text
    for words in (
        "As known at the end of",
        "Roubaix",
        "new@mail.example",
        "Back to today",
        page(anne),
    ):
        assert words in shown, words
    assert not re.search(r"\bR9\b", shown)
    seen = AuditEvent.objects.get(verb="viewed")
    assert seen.detail == {"as_at": "2026-03-08"}
    gone = Profile.objects.get(merged_into=anne)
    assert client_of(alice).get(page(gone), {"as_at": "2026-03-08"}).url == page(anne)


@pytest.mark.parametrize("day", ["", "8/3/2026", "2999-01-01", "0001-01-01", "2026-02-30", "x" * 500])
def test_what_is_no_day_of_the_past_leads_to_today(anne, alice, client_of, day):
    assert client_of(alice).get(page(anne), {"as_at": day}).url == page(anne)


def test_a_manager_looks_back_at_own_tickets_and_at_no_source(anne, bruno, client_of):
    shown = client_of(bruno).get(page(anne), {"as_at": "2026-03-12"}).text
    assert "R3" in shown
    for hidden in ("R9", "Lyon", "CRM", "Points", "Not yet one person"):
        assert hidden not in shown, hidden
