"""Tickets in one call: what is counted of their buyers is what a recount from all purchases would say."""

import json
from datetime import timedelta

import pytest

from profiles import facts
from profiles.intake import Shown, Statement, purchases, record_purchases, take_in_records
from profiles.models import Profile, ProfileFacts, ProfileStore, Purchase, PurchaseLine, Source
from tenants.brand_sql import call
from tests.loyalty.conftest import AT, CARD, OTHER, ticket


@pytest.fixture
def crm(brand) -> Source:
    return Source.objects.create(code="crm", name="CRM", kind="crm")


def sell(machine, *told):
    """Tickets of one call: (receipt, days from now, what was shown)."""
    asked = [ticket(receipt, 100, shown=shown, at=AT + timedelta(days=days)) for receipt, days, shown in told]
    return record_purchases(machine, asked)


def picture() -> list:
    return [
        list(model.objects.order_by("pk").values(*fields))
        for model, fields in (
            (ProfileFacts, ()),
            (ProfileStore, ("profile", "store", "since")),
            (Profile, ("pk", "created_at")),
        )
    ]


def is_what_a_recount_says() -> bool:
    before = picture()
    people = Profile.objects.values_list("pk", flat=True)
    facts.note_stores(people)
    facts.refresh(people)
    return picture() == before


# What somebody who bought in Lille on two days buys next: (at which till, days from then), as many calls as lists.
@pytest.mark.parametrize(
    "calls",
    [
        [("lille", [1])],
        [("lyon", [1])],
        [("lyon", [1, 2, 3])],
        [("lyon", [-9])],
        [("lyon", [-9, -8, -7])],
        [("lille", [-9])],
        [("lille", [-9, 5])],
        [("lyon", [1]), ("lille", [2])],
        [("lyon", [1, 2]), ("lyon", [-5])],
        [("lyon", [3, 4]), ("lille", [2])],
        [("lyon", [3, 1])],
    ],
)
def test_whatever_is_bought_next_counts_as_in_a_recount(lille_till, lyon_till, calls):
    sell(lille_till[0], ("R1", -2, CARD), ("R2", 0, CARD))
    machines = {"lille": lille_till[0], "lyon": lyon_till[0]}
    for number, (name, days) in enumerate(calls):
        sell(machines[name], *((f"N{number}-{day}", day, CARD) for day in days))
    assert is_what_a_recount_says()


def test_a_receipt_that_stands_twice_in_a_call_counts_once(lille_till):
    sell(lille_till[0], ("R1", 0, CARD))
    told = [("R1", 0, CARD), ("R2", 1, CARD), ("R2", 1, CARD), ("R3", 1, OTHER), ("R4", 1, None)]
    verdicts = [recorded.verdict for recorded in sell(lille_till[0], *told)]
    assert verdicts == ["duplicate", "recorded", "duplicate", "recorded", "recorded"]
    assert is_what_a_recount_says()
    lines = PurchaseLine.objects.order_by("purchase__receipt_id")
    assert list(lines.values_list("purchase__receipt_id", flat=True)) == ["R1", "R2", "R3", "R4"]


def test_a_receipt_repeated_with_an_unknown_card_makes_nobody(lille_till):
    sell(lille_till[0], ("R1", 0, CARD))
    stranger = Shown("card", "2990000007777")
    (repeated, recorded) = sell(lille_till[0], ("R1", 0, stranger), ("R2", 0, CARD))
    assert (repeated.problem.code, recorded.verdict) == ("receipt_conflict", "recorded")
    assert Profile.objects.count() == 1
    assert Purchase.objects.count() == 2


@pytest.mark.parametrize("home", ["lille", "lyon"])
def test_a_call_of_several_stores_counts_as_in_a_recount(lille_till, lyon_till, home):
    machines = {"lille": lille_till[0], "lyon": lyon_till[0]}
    sell(machines[home], ("R1", -2, CARD), ("R2", 0, CARD))
    told = [
        purchases.as_told(ticket("N1", 100, at=AT + timedelta(days=day)), machine, "", None)
        for day, machine in enumerate(machines.values(), start=1)
    ]
    call("SELECT record_tickets($1, $2::jsonb)", [AT, json.dumps(told)])
    assert ProfileFacts.objects.get().purchases == 4
    assert is_what_a_recount_says()


@pytest.mark.parametrize("at", ["lille", "lyon"])
def test_the_first_ticket_of_who_signed_up_in_lille_counts_as_in_a_recount(
    crm, lille, lille_till, lyon_till, at
):
    take_in_records(crm, [Statement("1", {"card": CARD.value}, raw={}, stated_at=AT, store_code=lille.code)])
    sell({"lille": lille_till[0], "lyon": lyon_till[0]}[at], ("R1", -1, CARD))
    assert is_what_a_recount_says()
