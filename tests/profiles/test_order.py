"""The same records and tickets in any order, in any chunks, come to the same people, values and facts.

What a source leaves undated is dated by its arrival, and of two people who share one card the nameless ticket goes
to whom was known first: these two are told apart by order on purpose, and are not drawn here.
"""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles import consent_history, facts
from profiles.intake import (
    ConsentStatement,
    Shown,
    Statement,
    Ticket,
    TicketLine,
    record_purchases,
    take_in_records,
)
from profiles.models import Profile as People
from profiles.models import ProfileFacts, ProfileStore, Purchase, SourceRecord
from profiles.tasks import match_new_records
from tenants.network.models import Till

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
# Far from each other in every field, so that only what is certain joins them.
PERSONS = (
    {
        "first_name": "Marie",
        "last_name": "Durand",
        "email": "marie.durand@exemple.fr",
        "card": "2990000000017",
    },
    {"first_name": "Ludovic", "last_name": "Szymanski", "email": "ludo@exemple.net", "card": "2990000000413"},
    {"first_name": "Océane", "last_name": "Kerbrat", "email": "ok@exemple.org", "card": "2990000000802"},
)
TOWNS = (("59000", "Lille"), ("69002", "Lyon"), ("", ""))


class Back(Exception):
    """Takes a run of the property back."""


@st.composite
def tellings(draw):
    """Statements and tickets about three people from two sources and two tills, each of its own moment."""
    told = []
    days = draw(st.permutations(range(8)))
    for number in range(draw(st.integers(2, 6))):
        person = draw(st.sampled_from(range(len(PERSONS))))
        at = MONDAY + timedelta(days=days[number])
        if draw(st.booleans()):
            told.append(("ticket", draw(st.sampled_from("ab")), f"R{number}", at, PERSONS[person]["card"]))
            continue
        known = draw(st.sets(st.sampled_from(["email", "last_name"])))
        postcode, city = draw(st.sampled_from(TOWNS))
        fields = {
            name: value for name, value in PERSONS[person].items() if name in {"first_name", "card", *known}
        }
        consents = tuple(
            ConsentStatement(channel, draw(st.booleans()), wording="J'accepte")
            for channel in draw(st.sets(st.sampled_from(["email", "sms"])))
        )
        told.append(
            (
                draw(st.sampled_from(["crm", "shop"])), f"{person}-{draw(st.integers(1, 2))}", at,
                fields | {"postcode": postcode, "city": city}, draw(st.sampled_from(["", "ACM-001", "ACM-002"])),
                consents,
            )
        )  # fmt: skip
    return told, draw(st.permutations(told)), draw(st.integers(1, 3))


def tell(told, at_once: int, sources, tills) -> None:
    waiting: dict[str, list[Statement]] = {"crm": [], "shop": []}

    def flush(code):
        take_in_records(sources[code], waiting[code])
        waiting[code] = []

    for word in told:
        if word[0] == "ticket":
            _word, till, receipt, at, card = word
            line = TicketLine(sku="1", amount_cents=1000)
            record_purchases(tills[till], [Ticket(receipt, at, [line], shown=Shown("card", card))])
            continue
        code, external_id, at, fields, store, consents = word
        waiting[code].append(
            Statement(external_id, fields, fields | {"id": external_id}, at, store, consents)
        )
        if len(waiting[code]) >= at_once:
            flush(code)
    for code in waiting:
        flush(code)
    match_new_records()


def picture() -> set:
    """Everybody as the brand sees them; no id of a row, and not the tills' own note of a card."""
    everybody = set()
    for profile in People.objects.filter(merged_into=None):
        of_sources = profile.records.exclude(source__code="till-api")
        records = frozenset((r.source.code, r.external_id, r.stated_at) for r in of_sources)
        values = (profile.first_name, profile.last_name, profile.email, profile.city, profile.created_at)
        known = frozenset(ProfileStore.objects.filter(profile=profile).values_list("store__code", "since"))
        row = ProfileFacts.objects.filter(pk=profile.pk).values_list(*facts.MAINTAINED).get()
        tickets = frozenset(Purchase.objects.filter(profile=profile).values_list("receipt_id", flat=True))
        told = consent_history.of_profiles([profile.pk]).get(profile.pk, {})
        consents = frozenset((channel, now.granted, now.at) for channel, now in told.items())
        everybody.add((records, values, known, row, tickets, consents))
    return everybody


@pytest.fixture
def sources(brand):
    from profiles.models import Source

    return {
        "crm": Source.objects.create(code="crm", name="CRM", kind="crm", trust=80),
        "shop": Source.objects.create(code="shop", name="Web shop", kind="ecommerce", trust=80),
    }


@pytest.fixture
def tills(lille_till, lyon_till) -> dict[str, Till]:
    return {"a": lille_till[0], "b": lyon_till[0]}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tellings())
def test_any_order_comes_to_the_same(sources, tills, told):
    straight, shuffled, at_once = told
    pictures = []
    for words, size in ((straight, 1), (shuffled, at_once), (straight[::-1], 2)):
        try:
            with transaction.atomic():
                tell(words, size, sources, tills)
                assert not SourceRecord.objects.filter(matched_at=None).exists()
                pictures.append(picture())
                raise Back
        except Back:
            pass
    assert pictures[0] == pictures[1] == pictures[2]
    assert connection.schema_name == "acme"
