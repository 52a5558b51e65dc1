"""The one door: what is told comes in once, in comparable form, and the order of telling does not matter."""

import json
from datetime import UTC, date, datetime, timedelta
from itertools import permutations

import pytest

from profiles import facts, survivorship
from profiles.intake import Shown, Statement, find_people, purchases, record_purchases, take_in_records
from profiles.models import (
    Identifier,
    Profile,
    ProfileFacts,
    ProfileStore,
    Purchase,
    PurchaseLine,
    Source,
    SourceRecord,
)
from tenants.brand_sql import CloserLook, call
from tests.loyalty.conftest import CARD as CARD_OF_TICKETS
from tests.loyalty.conftest import ticket

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
CARD = "2990000000017"


@pytest.fixture
def crm(brand) -> Source:
    return Source.objects.create(code="crm", name="CRM", kind="crm", trust=80)


@pytest.fixture
def shop(brand) -> Source:
    return Source.objects.create(code="shop", name="Web shop", kind="ecommerce", trust=60)


def statement(external_id="1", *, day=0, store="", line=None, **fields) -> Statement:
    at = MONDAY + timedelta(days=day)
    return Statement(
        external_id, fields, raw={"id": external_id} | fields, stated_at=at, store_code=store, line=line
    )


def told(source, *statements) -> list:
    return take_in_records(source, statements)


def profile_of(outcome) -> Profile:
    return Profile.objects.get(pk=outcome.profile_id)


# --- Once, and in order -----------------------------------------------------------------------------------------


def test_a_statement_is_kept_as_received_beside_its_comparable_form(crm):
    told(
        crm,
        statement(
            first_name="  marie-claude ",
            last_name="DURAND",
            email="Marie@Mail.Example",
            phone="06 12 34 56 78",
        ),
    )
    record = SourceRecord.objects.get()
    assert record.raw["last_name"] == "DURAND"
    assert (record.email, record.phone) == ("Marie@mail.example".lower(), "+33612345678")
    profile = record.profile
    assert profile.first_name.startswith("Marie")
    assert profile.provenance["email"]["source"] == "CRM"
    assert "durand" in profile.search_text
    assert {i.kind for i in profile.identifiers.all()} == {"email", "phone"}


def test_the_same_statements_again_change_nothing(crm):
    statements = [statement(str(n), first_name="Marie", card=f"29900000{n:05d}") for n in range(5)]
    first = told(crm, *statements)
    assert {outcome.verdict for outcome in first} == {"created"}
    before = [
        list(model.objects.order_by("pk").values())
        for model in (Profile, SourceRecord, Identifier, ProfileFacts)
    ]
    again = told(crm, *statements)
    assert {outcome.verdict for outcome in again} == {"unchanged"}
    assert [o.profile_id for o in again] == [o.profile_id for o in first]
    assert [o.record_id for o in again] == [o.record_id for o in first]
    after = [
        list(model.objects.order_by("pk").values())
        for model in (Profile, SourceRecord, Identifier, ProfileFacts)
    ]
    assert after == before


def test_a_changed_row_is_another_record_of_the_same_person(crm):
    first = told(crm, statement(first_name="Marie", city="Lille", postcode="59000"))[0]
    second = told(crm, statement(day=1, first_name="Marie", city="Lyon", postcode="69002"))[0]
    assert second.verdict == "created"
    assert second.profile_id == first.profile_id
    assert SourceRecord.objects.count() == 2
    assert profile_of(second).city == "Lyon"


def test_an_older_row_that_comes_late_changes_no_value(crm):
    told(crm, statement(day=5, first_name="Marie", city="Lyon", postcode="69002"))
    late = told(crm, statement(day=1, first_name="Marie", city="Lille", postcode="59000"))[0]
    assert profile_of(late).city == "Lyon"


def test_one_row_twice_in_a_file_is_one_record(crm):
    one, other = told(crm, statement(first_name="Marie"), statement(first_name="Marie"))
    assert (one.verdict, other.verdict) == ("created", "unchanged")
    assert one.record_id == other.record_id
    assert SourceRecord.objects.count() == 1


# --- What cannot be used ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "column"),
    [
        (statement("  ", first_name="Marie"), "external_id"),
        (statement("x" * 81, first_name="Marie"), "external_id"),
        (statement(store="ACM-999", first_name="Marie"), "store_code"),
        (statement(), ""),
        (statement(city="Lille", birth_date="1980-01-01"), ""),
        (statement(email="nobody", phone="12"), ""),
        (statement(first_name="Marie\x00"), "first_name"),
    ],
)
def test_a_row_that_cannot_be_used_is_rejected_alone(crm, lille, bad, column):
    good = statement("good", first_name="Paul", store=lille.code)
    refused, taken = told(crm, bad, good)
    assert (refused.verdict, refused.column) == ("rejected", column)
    assert refused.reason
    assert (refused.record_id, refused.profile_id) == (None, None)
    assert taken.verdict == "created"
    assert SourceRecord.objects.count() == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("email", "marie@"),
        ("phone", "12"),
        ("birth_date", "31/02/1980"),
        ("birth_date", "soon"),
        ("postcode", "?"),
        ("card", "-"),
        ("customer_id", "9" * 81),
        ("card", "9" * 41),
    ],
)
def test_a_bad_value_is_left_out_and_named(crm, column, value):
    outcome = told(crm, statement(first_name="Marie", line=7, **{column: value}))[0]
    assert (outcome.verdict, outcome.column, outcome.line) == ("corrected", column, 7)
    assert value in outcome.reason or "at most" in outcome.reason
    record = SourceRecord.objects.get()
    assert not getattr(record, column, "")
    assert not record.identifiers.exists()
    assert record.raw[column] == value


def test_a_statement_from_the_future_counts_as_of_now(crm):
    outcome = told(crm, statement(day=100_000, first_name="Marie"))[0]
    assert SourceRecord.objects.get(pk=outcome.record_id).stated_at <= datetime.now(UTC)


def test_values_longer_than_their_column_do_not_break_a_file(crm):
    words = (
        "first_name",
        "last_name",
        "street",
        "city",
        "postcode",
        "phone",
        "card",
        "birth_date",
        "customer_id",
    )
    long = [
        statement(str(size), email="marie@mail.example", **dict.fromkeys(words, "9 " + "x" * size))
        for size in (30, 78, 160, 5000)
    ]
    outcomes = told(crm, *long)
    assert {outcome.verdict for outcome in outcomes} <= {"created", "corrected"}
    assert {profile_of(outcome).email for outcome in outcomes} == {"marie@mail.example"}


# --- Who it is --------------------------------------------------------------------------------------------------


def test_the_same_card_is_the_same_person_unless_the_first_names_differ(crm, shop):
    marie = told(crm, statement(first_name="Marie", card=CARD))[0]
    nameless = told(shop, statement("n", card=CARD, city="Lille"))[0]
    paul = told(shop, statement("p", first_name="Paul", card=CARD))[0]
    assert nameless.profile_id == marie.profile_id
    assert paul.profile_id != marie.profile_id


def test_the_same_email_alone_is_left_to_matching(crm, shop):
    one = told(crm, statement(first_name="Marie", email="a@mail.example"))[0]
    other = told(shop, statement(first_name="Marie", email="a@mail.example"))[0]
    assert one.profile_id != other.profile_id


def test_the_same_id_at_two_sources_is_two_people(crm, shop):
    one = told(crm, statement("1", first_name="Marie"))[0]
    other = told(shop, statement("1", first_name="Marie"))[0]
    assert one.profile_id != other.profile_id


def picture() -> set:
    """Everybody: which records they are made of, their values and facts; no id of a row."""
    everybody = set()
    for profile in Profile.objects.filter(merged_into=None):
        records = frozenset(f"{r.source.code}:{r.external_id}:{r.city}" for r in profile.records.all())
        values = (
            profile.first_name, profile.last_name, profile.birth_date, profile.email, profile.phone, profile.city,
            profile.search_text,
        )  # fmt: skip
        known = frozenset(ProfileStore.objects.filter(profile=profile).values_list("store__code", flat=True))
        row = ProfileFacts.objects.filter(pk=profile.pk).values_list(*facts.MAINTAINED).get()
        everybody.add((records, values, known, row))
    return everybody


def test_the_order_of_telling_does_not_matter(crm, shop, lille, lyon):
    calls = [
        (crm, statement("1", day=0, first_name="Marie", last_name="Durand", card=CARD, store=lille.code)),
        (
            crm,
            statement(
                "1", day=3, first_name="Marie", last_name="Durand", city="Lyon", card=CARD, store=lyon.code
            ),
        ),
        (shop, statement("9", day=1, first_name="Marie", email="m@mail.example", card=CARD)),
        (shop, statement("8", day=2, first_name="Luc", last_name="Petit", phone="0612345678")),
    ]
    pictures = []
    for order in permutations(calls):
        for source, said in order:
            told(source, said)
        pictures.append(picture())
        for model in (ProfileFacts, ProfileStore, Identifier):
            model.objects.all().delete()
        for record in SourceRecord.objects.all():
            record.blocking_keys.all().delete()
        SourceRecord.objects.all().delete()
        Profile.objects.all().delete()
    assert all(found == pictures[0] for found in pictures)
    assert len(pictures[0]) == 2


def test_one_file_or_many_come_to_the_same(crm):
    rows = [statement(str(n), first_name="Marie", card=f"29900000{n // 2:05d}") for n in range(6)]
    told(crm, *rows)
    whole = Profile.objects.count()
    assert whole == 3
    assert len({record.profile_id for record in SourceRecord.objects.all()}) == whole


def test_many_rows_ask_the_database_a_fixed_number_of_questions(crm, django_assert_max_num_queries):
    def rows(name, size):
        return [
            statement(f"{name}{n}", first_name="Marie", email=f"{name}{n}@mail.example") for n in range(size)
        ]

    with django_assert_max_num_queries(40) as few:
        told(crm, *rows("a", 5))
    with django_assert_max_num_queries(40) as many:
        told(crm, *rows("b", 200))
    assert len(many.captured_queries) <= len(few.captured_queries) + 2


# --- Which value wins -------------------------------------------------------------------------------------------


def test_the_more_trusted_source_wins_then_the_newer(crm, shop):
    told(shop, statement("9", day=5, first_name="Maria", email="shop@mail.example", card=CARD))
    outcome = told(crm, statement("1", day=0, first_name="Marie", email="crm@mail.example", card=CARD))[0]
    profile = profile_of(outcome)
    assert profile.email == "crm@mail.example"
    assert profile.provenance["email"]["why"] == survivorship.TRUSTED
    (lost,) = profile.provenance["email"]["others"]
    assert (lost["source"], lost["value"], lost["at"][:4]) == ("Web shop", "shop@mail.example", "2026")
    told(crm, statement("2", day=1, first_name="Marie", email="new@mail.example", card=CARD))
    assert profile_of(outcome).email == "new@mail.example"


def test_what_nobody_says_any_more_is_gone(crm):
    told(crm, statement(first_name="Marie", birth_date="1980-02-03"))
    outcome = told(crm, statement(day=1, first_name="Marie"))[0]
    profile = profile_of(outcome)
    assert profile.birth_date is None
    assert "birth_date" not in profile.provenance


# --- Tickets ----------------------------------------------------------------------------------------------------


def test_a_stranger_who_shows_a_card_becomes_a_customer_of_the_store(lille_till):
    machine = lille_till[0]
    recorded = record_purchases(machine, [ticket("R1", 1000, shown=Shown("card", CARD))])[0]
    profile = recorded.purchase.profile
    assert find_people([Shown("card", CARD)], machine) == {Shown("card", CARD): profile.pk}
    known = ProfileStore.objects.get(profile=profile)
    assert (known.store, known.since) == (machine.store, recorded.purchase.bought_at)
    row = ProfileFacts.objects.get(profile=profile)
    assert (row.purchases, row.spend_cents, row.home_store) == (1, 1000, machine.store)
    assert row.last_purchase_on == date(2026, 11, 2)
    assert PurchaseLine.objects.get().profile == profile


def test_a_ticket_of_nobody_is_nobodys(lille_till):
    record_purchases(lille_till[0], [ticket("R1", 1000, shown=None)])
    assert Purchase.objects.get().profile is None
    assert not Profile.objects.exists()


def test_a_ticket_past_midnight_is_of_the_stores_own_day(lille_till):
    at = datetime(2026, 6, 1, 22, 30, tzinfo=UTC)
    record_purchases(lille_till[0], [ticket("R1", 1000, at=at)])
    assert Purchase.objects.get().business_day == date(2026, 6, 2)


def test_a_shared_card_buys_for_who_had_it_first(crm, lille_till):
    marie = told(crm, statement("1", first_name="Marie", card=CARD))[0]
    told(crm, statement("2", first_name="Paul", card=CARD))
    assert find_people([Shown("card", CARD)], lille_till[0]) == {Shown("card", CARD): marie.profile_id}


def test_a_buyer_who_is_gone_when_they_are_to_be_held_is_looked_at(lille_till):
    """As by an import that is undone meanwhile: nothing is left of them but that their card was found."""
    asked = purchases.as_told(ticket("R1", 1000), lille_till[0], "", {CARD_OF_TICKETS: 4711})
    for told in ([asked], [asked, asked | {"receipt": "R2", "profile": None}]):
        with pytest.raises(CloserLook, match="people"):
            call("SELECT record_tickets($1, $2::jsonb)", [MONDAY, json.dumps(told)])
