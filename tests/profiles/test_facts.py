"""The facts that segments read are kept up, and always equal a recount."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles import consent, facts
from profiles.intake import (
    RefundLineStatement,
    RefundStatement,
    Shown,
    record_purchases,
    record_refund,
)
from profiles.models import Profile, ProfileFacts, ProfileStore, Purchase
from tests.loyalty.conftest import ticket

CARD = Shown("card", "2990000000017")
START = datetime(2026, 6, 1, 10, tzinfo=UTC)


def kept() -> list[tuple]:
    return list(ProfileFacts.objects.order_by("pk").values_list("pk", *facts.MAINTAINED))


def buy(till, receipt_id, cents, day=0, shown=CARD):
    return record_purchases(till, [ticket(receipt_id, cents, shown=shown, at=START + timedelta(days=day))])[0]


def bring_back(till, refund_id, receipt_id, day=1):
    lines = [RefundLineStatement(1, Decimal(1))]
    record_refund(till, RefundStatement(refund_id, START + timedelta(days=day), receipt_id, lines))


def test_purchases_and_refunds_are_summed(lille_till):
    buy(lille_till[0], "R1", 1000, day=0)
    buy(lille_till[0], "R2", 500, day=9)
    bring_back(lille_till[0], "B1", "R1")
    row = ProfileFacts.objects.get()
    assert (row.purchases, row.spend_cents) == (2, 500)
    assert (row.first_purchase_on.day, row.last_purchase_on.day) == (1, 10)


def test_the_home_store_is_where_one_buys_most_then_last(lille_till, lyon_till):
    lille, lyon = lille_till[0], lyon_till[0]
    buy(lille, "R1", 1000, day=0)
    assert ProfileFacts.objects.get().home_store == lille.store
    buy(lyon, "R2", 1000, day=1)
    assert ProfileFacts.objects.get().home_store == lyon.store
    buy(lille, "R3", 1000, day=0)
    row = ProfileFacts.objects.get()
    assert (row.home_store, row.home_region) == (lille.store, lille.store.region)


def test_a_store_that_nothing_ties_to_a_person_forgets_them(lille_till, lyon):
    buy(lille_till[0], "R1", 1000)
    profile = Profile.objects.get()
    ProfileStore.objects.create(profile=profile, store=lyon)
    facts.note_stores([profile.pk])
    assert [row.store for row in ProfileStore.objects.all()] == [lille_till[0].store]


def test_a_rebuild_mends_what_was_wrong(lille_till):
    buy(lille_till[0], "R1", 1000)
    right = kept()
    ProfileFacts.objects.update(purchases=9, spend_cents=-1, email_allowed=True)
    assert facts.rebuild() == 1
    assert kept() == right


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "buy", "refund", "consent"]),
        st.integers(0, 2),
        st.integers(0, 1),
        st.integers(0, 20),
    ),
    max_size=8,
)


@given(steps=STEPS)
@settings(
    max_examples=12, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_kept_facts_equal_a_recount_whatever_happened(lille_till, lyon_till, steps):
    tills = [lille_till[0], lyon_till[0]]
    first = Purchase.objects.count()
    for number, (deed, person, store, day) in enumerate(steps):
        shown = Shown("card", f"29900000{person:05d}")
        name = f"N{first}-{number}-{Purchase.objects.count()}"
        if deed == "buy":
            buy(tills[store], name, 100 * (day + 1), day, shown)
        elif deed == "refund":
            sale = Purchase.objects.filter(refunds=None, store=tills[store].store).first()
            if sale:
                bring_back(tills[store], f"B{sale.pk}", sale.receipt_id, day=30)
        elif profile := Profile.objects.filter(identifiers__key=shown.value).first():
            (consent.grant if day % 2 else consent.withdraw)(profile, "email", actor="test")
    maintained = kept()
    stores = set(ProfileStore.objects.values_list("profile", "store", "since"))
    facts.rebuild()
    facts.note_stores(Profile.objects.values_list("pk", flat=True))
    assert kept() == maintained
    assert set(ProfileStore.objects.values_list("profile", "store", "since")) == stores


@pytest.mark.parametrize("size", [1, 30])
def test_facts_of_many_are_a_fixed_number_of_questions(lille_till, size, django_assert_max_num_queries):
    for number in range(size):
        buy(lille_till[0], f"R{number}", 100, shown=Shown("card", f"29900000{number:05d}"))
    with django_assert_max_num_queries(11):
        facts.refresh(Profile.objects.values_list("pk", flat=True))
