"""What the back office reads by API: who sees whom, filters that refuse what they do not know, ids that survive."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from cdp import home
from profiles import consent, facts, merging, separating
from profiles.admin.filters import first_known_since
from profiles.models import (
    Identifier,
    Merge,
    Profile,
    ProfileStore,
    Purchase,
    PurchaseLine,
    Source,
    SourceRecord,
)
from tenants.scoping import WHOLE_NETWORK, scoped_to

JUNE = datetime(2026, 6, 1, 10, tzinfo=UTC)
JULY = datetime(2026, 7, 1, 10, tzinfo=UTC)


@pytest.fixture
def crm(brand):
    return Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM, trust=80)


def person(source, store, first_name, *, at=JUNE) -> Profile:
    """A customer whom the store signed up, with an e-mail address."""
    address = f"{first_name.lower()}@acme.example"
    profile = Profile.objects.create(first_name=first_name, last_name="Martin", email=address, created_at=at)
    record = SourceRecord.objects.create(
        source=source, external_id=first_name, content_hash=first_name, store=store, profile=profile, email=address,
        stated_at=at, received_at=at,
    )  # fmt: skip
    Identifier.objects.create(
        record=record, profile=profile, kind="email", value=address, key=address, first_seen=at, last_seen=at
    )
    facts.note_stores([profile.pk])
    facts.refresh([profile.pk])
    return profile


def ticket(till, profile, receipt, *, day=date(2026, 6, 1), cents=1250, category="DAIRY") -> Purchase:
    purchase = Purchase.objects.create(
        store=till.store, till=till, business_day=day, receipt_id=receipt, bought_at=JUNE, received_at=JUNE,
        profile=profile, total_cents=cents,
    )  # fmt: skip
    PurchaseLine.objects.create(
        purchase=purchase, number=1, sku="1", category=category, amount_cents=cents, store=till.store,
        profile=profile, business_day=day,
    )  # fmt: skip
    if profile:
        facts.note_stores([profile.pk])
        facts.refresh([profile.pk])
    return purchase


@pytest.fixture
def paul(crm, lille):
    return person(crm, lille, "Paul")


@pytest.fixture
def zoe(crm, lyon):
    return person(crm, lyon, "Zoe", at=JULY)


@pytest.fixture
def tills(lille_till, lyon_till):
    """The till of Lille and the till of Lyon."""
    return lille_till[0], lyon_till[0]


@pytest.fixture
def as_bruno(client_of, bruno):
    return client_of(bruno)


@pytest.fixture
def as_chloe(client_of, chloe):
    return client_of(chloe)


@pytest.fixture
def as_alice(client_of, alice):
    return client_of(alice)


def names(response) -> list[str]:
    assert response.status_code == 200, response.content
    return sorted(row["first_name"] for row in response.json()["results"])


def at_fault(response) -> list[str]:
    assert response.status_code == 400, response.content
    assert response.headers["Content-Type"].startswith("application/problem+json")
    return [error["field"] for error in response.json()["errors"]]


def test_head_office_reads_everybody_and_a_store_its_own(as_alice, as_bruno, as_chloe, paul, zoe):
    assert names(as_alice.get("/api/v1/profiles")) == ["Paul", "Zoe"]
    assert names(as_bruno.get("/api/v1/profiles")) == ["Paul"]
    assert names(as_chloe.get("/api/v1/profiles")) == ["Zoe"]
    assert as_chloe.get(f"/api/v1/profiles/{paul.public_id}").status_code == 404


def test_nobody_reads_without_signing_in(client_of, paul):
    assert client_of().get("/api/v1/profiles").status_code in {401, 403}


def test_a_customer_in_full(as_alice, as_bruno, alice, paul):
    consent.grant(paul, "email", actor=alice, wording="J'accepte")
    told = as_alice.get(f"/api/v1/profiles/{paul.public_id}").json()
    (allowed,) = told.pop("consents")
    assert (allowed["channel"], allowed["granted"]) == ("email", True)
    assert told == {
        "id": str(paul.public_id),
        "first_name": "Paul",
        "last_name": "Martin",
        "birth_date": None,
        "email": "paul@acme.example",
        "phone": "",
        "address": {"street": "", "postcode": "", "city": ""},
        "home_store": "ACM-001",
        "merged_into": None,
        "known_since": "2026-06-01T12:00:00+02:00",
    }
    # The home store is a fact of the whole network, which a store does not read.
    assert as_bruno.get(f"/api/v1/profiles/{paul.public_id}").json()["home_store"] is None


def test_a_store_reads_since_when_it_knows_a_person_not_since_when_others_do(
    as_alice, as_bruno, paul, zoe, lille
):
    """Lyon met Zoe in July 2026; she came to Lille in September."""
    september = datetime(2026, 9, 1, 10, tzinfo=UTC)
    ProfileStore.objects.create(profile=zoe, store=lille, since=september)
    path = f"/api/v1/profiles/{zoe.public_id}"
    assert as_alice.get(path).json()["known_since"] == "2026-07-01T12:00:00+02:00"
    assert as_bruno.get(path).json()["known_since"] == "2026-09-01T12:00:00+02:00"
    for word in ("known_since", "updated_since"):
        since = {word: "2026-08-15T00:00:00Z"}
        assert "Zoe" in names(as_bruno.get("/api/v1/profiles", since))
        assert "Zoe" not in names(as_alice.get("/api/v1/profiles", since))
    page = as_bruno.get(reverse("admin:profiles_profile_change", args=[zoe.pk]))
    assert page.context["profile"].known_since == september


def test_a_store_s_new_customers_are_those_new_to_it(bruno, zoe, lille):
    ProfileStore.objects.create(profile=zoe, store=lille, since=timezone.now())
    week_ago = timezone.localdate() - timedelta(days=7)
    for scope, found in ((bruno.scope, ["Zoe Martin"]), (WHOLE_NETWORK, [])):
        with scoped_to(scope):
            people = Profile.objects.all()
            assert [str(person) for person in first_known_since(people, week_ago)] == found
            assert home._growth(people)[-1][1] == len(found)


def test_filters_of_customers(as_alice, alice, paul, zoe):
    client = as_alice
    assert names(client.get("/api/v1/profiles", {"email": " PAUL@Acme.example "})) == ["Paul"]
    assert names(client.get("/api/v1/profiles", {"store": "ACM-002"})) == ["Zoe"]
    assert names(client.get("/api/v1/profiles", {"known_since": "2026-06-15T00:00:00Z"})) == ["Zoe"]
    assert names(client.get("/api/v1/profiles", {"updated_since": "2026-06-15T00:00:00Z"})) == ["Zoe"]
    consent.withdraw(paul, "sms", actor=alice)
    assert names(client.get("/api/v1/profiles", {"updated_since": "2026-06-15T00:00:00Z"})) == ["Paul", "Zoe"]
    assert names(client.get("/api/v1/profiles", {"merged": "true"})) == []


def ids(response) -> set[str]:
    assert response.status_code == 200, response.content
    return {row["id"] for row in response.json()["results"]}


def test_who_keeps_a_copy_hears_of_merges_and_separations(as_alice, as_bruno, alice, paul, zoe):
    """Both are told of: the survivor, who has changed, and the merged one, whose id leads to the survivor now."""
    since = {"updated_since": (timezone.now() - timedelta(hours=1)).isoformat()}
    merged = since | {"merged": "true"}
    kept, gone = str(paul.public_id), str(zoe.public_id)
    assert ids(as_alice.get("/api/v1/profiles", since)) == set()
    deed = merging.merge(paul, zoe, ground=Merge.Ground.PERSON, by=alice)
    assert ids(as_alice.get("/api/v1/profiles", since)) == {kept}
    told = as_alice.get("/api/v1/profiles", merged).json()["results"]
    assert [(row["id"], row["merged_into"]) for row in told] == [(gone, kept)]
    assert ids(as_bruno.get("/api/v1/profiles", merged)) == set()
    Merge.objects.update(at=timezone.now() - timedelta(days=2))
    assert ids(as_alice.get("/api/v1/profiles", since)) == set()
    separating.unmerge(deed, alice)
    assert ids(as_alice.get("/api/v1/profiles", since)) == {kept, gone}


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("profiles", "email", "nobody"),
        ("profiles", "store", "ACM-404"),
        ("profiles", "known_since", "yesterday"),
        ("profiles", "stor", "ACM-001"),
        ("purchases", "store", "ACM-404"),
        ("purchases", "day_from", "31/02/2026"),
        ("purchases", "category", "DAYRI"),
        ("purchases", "profile", "12"),
        ("purchases", "profile", "00000000-0000-4000-8000-000000000000"),
        ("purchases", "limit", "3"),
        ("sources", "kind", "carrier pigeon"),
    ],
)
def test_unknown_filters_and_values_are_refused_by_name(as_alice, path, field, value):
    assert at_fault(as_alice.get(f"/api/v1/{path}", {field: value})) == [field]


def test_a_store_cannot_ask_by_another_store(as_bruno, lyon, paul):
    assert at_fault(as_bruno.get("/api/v1/profiles", {"store": lyon.code})) == ["store"]


def test_a_merged_customer_redirects_to_the_survivor(as_alice, as_bruno, as_chloe, paul, zoe):
    loser = Profile.objects.create(first_name="Paulo", merged_into=paul)
    answer = as_alice.get(f"/api/v1/profiles/{loser.public_id}")
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"/api/v1/profiles/{paul.public_id}"
    assert answer.json() == {"id": str(loser.public_id), "merged_into": str(paul.public_id)}
    assert as_bruno.get(f"/api/v1/profiles/{loser.public_id}").status_code == 308
    assert as_chloe.get(f"/api/v1/profiles/{loser.public_id}").status_code == 404
    listed = as_alice.get("/api/v1/profiles", {"merged": "true"}).json()["results"]
    assert [(row["id"], row["merged_into"]) for row in listed] == [
        (str(loser.public_id), str(paul.public_id))
    ]
    assert names(as_alice.get("/api/v1/profiles")) == ["Paul", "Zoe"]


def test_purchases_with_lines(as_alice, paul, tills):
    bought = ticket(tills[0], paul, "R1")
    assert as_alice.get(f"/api/v1/purchases/{bought.pk}").json() == {
        "id": str(bought.pk),
        "store": "ACM-001",
        "till": "T1",
        "business_day": "2026-06-01",
        "receipt_id": "R1",
        "bought_at": "2026-06-01T12:00:00+02:00",
        "profile": str(paul.public_id),
        "total_cents": 1250,
        "refunded_cents": 0,
        "currency": "EUR",
        "payment": "",
        "lines": [
            {
                "number": 1,
                "sku": "1",
                "label": "",
                "category": "DAIRY",
                "quantity": "1.000",
                "amount_cents": 1250,
                "discount_cents": 0,
            }
        ],
    }


def receipts(response) -> list[str]:
    assert response.status_code == 200, response.content
    return sorted(row["receipt_id"] for row in response.json()["results"])


def test_filters_and_scope_of_purchases(as_alice, as_bruno, paul, tills):
    ticket(tills[0], paul, "R1")
    ticket(tills[1], paul, "R2", day=date(2026, 7, 1), category="WINE")
    anonymous = ticket(tills[1], None, "R3", day=date(2026, 7, 2))
    client = as_alice
    assert receipts(client.get("/api/v1/purchases")) == ["R1", "R2", "R3"]
    assert receipts(client.get("/api/v1/purchases", {"store": "ACM-002"})) == ["R2", "R3"]
    assert receipts(client.get("/api/v1/purchases", {"day_from": "2026-06-02", "day_to": "2026-07-01"})) == [
        "R2"
    ]
    assert receipts(client.get("/api/v1/purchases", {"category": "WINE"})) == ["R2"]
    assert receipts(client.get("/api/v1/purchases", {"profile": str(paul.public_id)})) == ["R1", "R2"]
    assert receipts(as_bruno.get("/api/v1/purchases")) == ["R1"]
    assert receipts(as_bruno.get("/api/v1/purchases", {"profile": str(paul.public_id)})) == ["R1"]
    assert as_bruno.get(f"/api/v1/purchases/{anonymous.pk}").status_code == 404
    # A word that only another store's tickets know is as unknown as any other.
    assert at_fault(as_bruno.get("/api/v1/purchases", {"category": "WINE"})) == ["category"]


def test_the_number_of_queries_does_not_grow_with_the_page(
    as_alice, crm, lille, tills, django_assert_max_num_queries
):
    for n in range(12):
        ticket(tills[0], person(crm, lille, f"Nr{n}"), f"R{n}")
    client = as_alice
    for path in ("profiles", "purchases"):
        with django_assert_max_num_queries(9):
            assert len(client.get(f"/api/v1/{path}").json()["results"]) == 12


def test_sources_are_for_head_office(as_alice, as_bruno, crm):
    assert as_alice.get("/api/v1/sources").json()["results"] == [
        {"id": "crm", "name": "CRM", "kind": "crm", "trust": 80}
    ]
    assert as_alice.get("/api/v1/sources/crm").json()["id"] == "crm"
    assert as_bruno.get("/api/v1/sources").status_code == 403


def test_nothing_is_written(as_alice, paul):
    for method in ("post", "put", "patch", "delete"):
        answer = getattr(as_alice, method)(f"/api/v1/profiles/{paul.public_id}")
        assert answer.status_code in {403, 405}
    assert Profile.objects.filter(pk=paul.pk).exists()
