"""Who is found by what somebody typed, and who is not."""

import pytest
from django.db import connection
from django.db.models import Value
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from profiles import merging, search
from profiles.admin.customers import BoundedPaginator
from profiles.intake import Statement, take_in_records
from profiles.models import Merge, Profile, Source
from profiles.models.profile import SearchWords
from tenants.network.models import Store
from tenants.scoping import scoped_to

PEOPLE = {
    "marie": {"first_name": "MARIE-CLAUDE", "last_name": "Dupont", "city": "ST ETIENNE CEDEX 2", "postcode": "42000",
              "phone": "06 71 84 93 20", "email": "mc.dupont@orange.fr", "card": "2990 0005 1714 5"},
    "etienne": {"first_name": "Étienne", "last_name": "Saint-Martin", "city": "Saint-Étienne", "postcode": "42100",
                "phone": "04 77 12 34 56", "email": "j.saint.martin@gmail.com"},
    "jean": {"first_name": "Jean", "last_name": "de La Fontaine", "city": "Clermont-Ferrand", "postcode": "63000",
             "phone": "+262 692 12 34 78", "card": "AB12CD34"},
    "martin": {"first_name": "Martin", "last_name": "Duplessis", "city": "Lille", "postcode": "59000",
               "email": "martin_duplessis@free.fr", "phone": "+32 470 12 35 79"},
}  # fmt: skip


@pytest.fixture
def source(brand):
    return Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)


@pytest.fixture
def people(source, lille, lyon) -> dict[int, str]:
    """Four people by the ids of their profiles; Martin is known in Lille alone, the others in Lyon."""
    told = [
        Statement(name, fields, raw={"n": name}, store_code=lille.code if name == "martin" else lyon.code)
        for name, fields in PEOPLE.items()
    ]
    found = take_in_records(source, told)
    return {outcome.profile_id: name for outcome, name in zip(found, PEOPLE, strict=True)}


def found(people: dict[int, str], text: str) -> set[str]:
    lazily = {people[pk] for pk in search.find(text).values_list("pk", flat=True)}
    at_once = {people[pk] for pk in search.narrowed(Profile.objects.all(), text).values_list("pk", flat=True)}
    assert lazily == at_once
    return lazily


@pytest.mark.parametrize(
    ("text", "names"),
    [
        # One town, whatever the way it is typed.
        *[(town, {"marie", "etienne"}) for town in
          ("St Etienne", "Saint-Étienne", "SAINT ETIENNE", "ST ETIENNE", "st-étienne", "etienne st",
           "Saint Etienne Cedex 2")],
        # Names: no accents, any order, beginnings, compounds.
        ("dupont", {"marie"}),
        ("DUPONT marie", {"marie"}),
        ("claude dup", {"marie"}),
        ("dup mar", {"marie", "martin"}),
        ("dup mar lil", {"martin"}),
        ("marieclaude", {"marie"}),
        ("m-claude dupont", {"marie"}),
        ("Mme Dupont", {"marie"}),
        ("mme", set()),
        ("lafontaine", set()),
        ("delafontaine", {"jean"}),
        ("De la Fontaine", {"jean"}),
        ("fontaine jean", {"jean"}),
        ("ontaine", set()),
        ("dupond", set()),
        # Phones: any writing, beginnings, last digits.
        *[(phone, {"marie"}) for phone in
          ("06 71 84 93 20", "0671849320", "06.71.84.93.20", "+33671849320", "+33 (0)6 71 84 93 20", "0033671849320",
           "671849320", "849320", "93 20 dupont", "9320", "06 71 84", "+33 671", "0033 671 84")],
        ("0692123478", {"jean"}),
        ("+262692123478", {"jean"}),
        ("+33 692 12 34 78", {"jean"}),
        ("0470 12 35 79", {"martin"}),
        ("+32470123579", {"martin"}),
        ("0699999999", set()),
        ("0671849320 lille", set()),
        # E-mails: whole, beginnings, and the mailbox however its dots stand.
        ("mc.dupont@orange.fr", {"marie"}),
        ("MC.Dupont@", {"marie"}),
        ("mc.dup", {"marie"}),
        ("jsaintmartin@gmail.com", {"etienne"}),
        ("j.s.aintmartin@gmail.com", {"etienne"}),
        ("martin_dup", {"martin"}),
        ("martin@free.fr", set()),
        # Cards and postcodes.
        ("2990000517145", {"marie"}),
        ("2990 0005 1714 5", {"marie"}),
        ("2990", {"marie"}),
        ("ab12", {"jean"}),
        ("42000", {"marie"}),
        ("42000 dupont", {"marie"}),
        ("59000 0470123579", {"martin"}),
        ("42", {"marie", "etienne"}),
        # What says nothing finds nobody; nothing typed finds everybody.
        ("***", set()),
        ("'", set()),
        ("\x00", set()),
        ("", {"marie", "etienne", "jean", "martin"}),
        ("   ", {"marie", "etienne", "jean", "martin"}),
    ],
)  # fmt: skip
def test_a_person_is_found_by_what_is_typed(people, text, names):
    assert found(people, text) == names


@pytest.mark.parametrize("text", ["st", "ST", "sai"])
def test_a_word_that_may_not_be_finished_yet_begins_others(people, source, text):
    take_in_records(source, [Statement("s", {"first_name": "Stéphane"}, raw={})])
    stephane = Profile.objects.get(first_name="Stéphane")
    expected = {"marie", "etienne"} | ({"stephane"} if text.lower() == "st" else set())
    assert found({**people, stephane.pk: "stephane"}, text) == expected


def test_a_store_finds_whom_it_knows_and_counts_no_others(people, bruno, client_of):
    with scoped_to(bruno.scope):
        assert found(people, "dup") == {"martin"}
        assert found(people, "St Etienne") == set()
        assert search.counted(search.find("42")) == 0
    page = client_of(bruno).get(reverse("admin:profiles_profile_changelist"), {"q": "dup"})
    assert [people[row.pk] for row in page.context["cl"].result_list] == ["martin"]
    assert page.context["cl"].result_count == 1
    answer = client_of(bruno).get("/api/v1/profiles", {"search": "dup"}, follow=True).json()
    assert answer["count"] == 1
    shown = client_of(bruno).get(f"/store/{Store.objects.get(name='Lille Centre').code}/customers/?q=dup")
    assert [people[row.profile.pk] for row in shown.context["rows"]] == ["martin"]


def test_the_api_finds_as_the_screens_do(people, alice, client_of):
    answer = client_of(alice).get("/api/v1/profiles", {"search": "Saint-Étienne"}, follow=True).json()
    assert {row["last_name"] for row in answer["results"]} == {"Dupont", "Saint-Martin"}


def test_a_merged_profile_is_found_through_its_survivor_alone(people, source):
    by_name = {name: pk for pk, name in people.items()}
    jean, martin = Profile.objects.get(pk=by_name["jean"]), Profile.objects.get(pk=by_name["martin"])
    merging.merge(jean, martin, ground=Merge.Ground.PERSON)
    gone = Profile.objects.exclude(merged_into=None).get()
    Profile.objects.filter(pk=gone.pk).update(search_text="duplessis")
    for text in ("duplessis", "dup", ""):
        assert gone.pk not in search.find(text).values_list("pk", flat=True)
        assert gone.pk not in search.narrowed(Profile.objects.all(), text).values_list("pk", flat=True)


def test_the_words_are_looked_up_in_the_index(people):
    with connection.cursor() as cursor:
        cursor.execute("set local enable_seqscan = off")
    asked = Profile.objects.filter(
        search._Holds(SearchWords("search_text"), Value(search.query_of("dup mar")))
    )
    assert "profile_search" in asked.order_by().explain()


def test_no_list_is_longer_than_it_says(people, monkeypatch):
    everybody = Profile.objects.order_by("pk")
    pages = BoundedPaginator(everybody, 2, limit=3)
    assert (pages.count, pages.goes_on, pages.num_pages) == (3, True, 2)
    assert (
        BoundedPaginator(everybody, 2, limit=4).count,
        BoundedPaginator(everybody, 2, limit=4).goes_on,
    ) == (4, False)
    monkeypatch.setattr(search, "COUNTED", 1)
    assert found(people, "dup mar") == {"marie", "martin"}


def test_the_page_says_that_there_are_more(people, alice, client_of, monkeypatch):
    monkeypatch.setattr(search, "COUNTED", 1)
    page = client_of(alice).get(reverse("admin:profiles_profile_changelist"), {"q": "dup"})
    assert "more than 1 customers" in page.content.decode()
    assert "more than 1 results" in page.content.decode()


def test_the_search_text_holds_everything_once():
    text = search.text_of(
        first_name="Anne-Marie", last_name="St Martin", postcode="42000", city="St Étienne",
        identifiers=["a.b@gmail.com", "+33671849320", "2990", "+33671849320"],
    )  # fmt: skip
    assert text.split() == [
        "anne", "marie", "annemarie", "saint", "martin", "stmartin", "a.b@gmail.com", "ab@gmail.com", "#671849320",
        "~02394817633", "2990", "42000", "etienne",
    ]  # fmt: skip


@given(text=st.one_of(st.text(max_size=60), st.text(alphabet="0123456789+.-/ ()'\\:*&|!@stea", max_size=40)))
def test_any_text_makes_a_query_or_none(text):
    query = search.query_of(text)
    assert query == "" or query.count("'") % 2 == 0


@pytest.mark.parametrize(
    "text", ["a'b", "\\", "a\\'b:*", "O'Neil & !x | <->", "(", "'" * 40, "é" * 500, "1" * 500, "a " * 500]
)
def test_the_database_reads_every_query(people, text):
    assert len(search.find(text)) <= len(people)


def test_a_customer_number_and_the_id_at_a_source_find_their_person(source, lille, lyon, bruno):
    told = [
        Statement(
            "C-1001", {"last_name": "Durand", "customer_id": "KD 4711"}, {"n": 1}, store_code=lille.code
        ),
        Statement("C-1002", {"last_name": "Petit"}, {"n": 2}, store_code=lyon.code),
    ]
    durand, petit = (outcome.profile_id for outcome in take_in_records(source, told))
    for text, pk in (
        ("C-1001", durand),
        ("c-1001", durand),
        ("KD4711", durand),
        ("kd47", durand),
        ("C-1002", petit),
    ):
        assert list(search.find(text).values_list("pk", flat=True)) == [pk], text
        assert list(search.narrowed(Profile.objects.all(), text).values_list("pk", flat=True)) == [pk], text
    assert not search.find("C-100").exists()  # the beginning of an id finds nobody
    with scoped_to(bruno.scope):
        assert not search.find("C-1002").exists()
