"""What we may send to whom: history in, one answer a channel out."""

from datetime import UTC, datetime, timedelta

import pytest

from profiles import consent
from profiles.consent_history import settle
from profiles.intake import ConsentStatement, Statement, take_in_records
from profiles.models import ConsentChange, Profile, ProfileFacts, Source, SourceRecord

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)


def change(granted, day, customer=None) -> ConsentChange:
    """A word of a source's customer of this number, or the person's own."""
    record = SourceRecord(pk=day + 1, source_id=1, external_id=str(customer)) if customer else None
    return ConsentChange(granted=granted, at=MONDAY + timedelta(days=day), record=record, channel="email")


@pytest.mark.parametrize(
    ("history", "granted"),
    [
        ([(True, 0, 1)], True),
        ([(False, 0, 1)], False),
        ([(True, 0, 1), (False, 1, 1)], False),
        ([(False, 0, 1), (True, 1, 1)], True),
        ([(True, 0, 1), (False, 1, 2)], False),
        ([(False, 0, 1), (True, 1, 2)], False),
        ([(False, 0, 1), (True, 1, None)], True),
        ([(True, 0, None), (False, 1, 1)], False),
        ([(False, 0, None), (True, 1, 1)], False),
        ([(True, 0, 1), (True, 1, 2), (False, 2, None)], False),
        ([(False, 0, None), (True, 1, None)], True),
    ],
)
def test_the_strictest_customer_wins_and_the_person_settles(history, granted):
    assert settle([change(*told) for told in history]).granted is granted


def test_among_refusals_the_newest_is_told():
    history = [change(False, 0, 1), change(False, 3, 2), change(True, 5, 3)]
    assert settle(history) is history[1]


@pytest.fixture
def source(brand) -> Source:
    return Source.objects.create(code="crm", name="CRM", kind="crm")


def tell(source, external_id, day, consents, **fields) -> Profile:
    told = Statement(
        external_id, {"card": "2990000000017", "first_name": "Marie"} | fields, raw={"day": day} | fields,
        stated_at=MONDAY + timedelta(days=day),
        consents=[ConsentStatement(channel, granted) for channel, granted in consents.items()],
    )  # fmt: skip
    return Profile.objects.get(pk=take_in_records(source, [told])[0].profile_id)


def allowed(profile) -> dict[str, bool]:
    row = ProfileFacts.objects.get(profile=profile)
    kept = {"email": row.email_allowed, "sms": row.sms_allowed, "post": row.post_allowed}
    assert kept == {channel: consent.may_contact(profile, channel) for channel in kept}
    return kept


def test_nobody_asked_means_no(source):
    assert allowed(tell(source, "1", 0, {})) == {"email": False, "sms": False, "post": False}


def test_a_source_that_changes_its_mind_is_believed(source):
    """What a source says now stands in place of what it said before about the same customer."""
    tell(source, "1", 0, {"email": False, "sms": True})
    profile = tell(source, "1", 1, {"email": True, "sms": False})
    assert allowed(profile) == {"email": True, "sms": False, "post": False}


def test_an_older_file_does_not_undo_a_newer_one(source):
    tell(source, "1", 5, {"email": False})
    profile = tell(source, "1", 1, {"email": True})
    assert allowed(profile)["email"] is False


def test_a_source_that_falls_silent_withdraws_nothing(source):
    tell(source, "1", 0, {"email": False})
    profile = tell(source, "1", 1, {}, city="Lille")
    assert "email" in consent.current(profile)
    assert allowed(profile)["email"] is False


def test_two_sources_that_disagree_mean_no(source):
    other = Source.objects.create(code="shop", name="Shop", kind="ecommerce", trust=100)
    tell(source, "1", 0, {"email": False})
    profile = tell(other, "1", 1, {"email": True})
    assert Profile.objects.count() == 1
    assert allowed(profile)["email"] is False


def test_a_row_that_says_yes_and_no_says_no(source):
    both = [ConsentStatement("email", True), ConsentStatement("email", False)]
    told = Statement("1", {"card": "2990000000017"}, raw={"n": 1}, consents=both)
    take_in_records(source, [told])
    assert allowed(Profile.objects.get())["email"] is False


def test_granting_and_withdrawing_is_history(source, diane):
    profile = tell(source, "1", 0, {"email": False})
    consent.grant(profile, "email", actor=diane, wording="Asked at the counter")
    now = consent.current(profile)["email"]
    assert (now.granted, now.told_by, now.wording) == (True, "Diane Perrot", "Asked at the counter")
    assert allowed(profile)["email"] is True
    consent.withdraw(profile, "email", actor=diane)
    assert allowed(profile)["email"] is False
    assert ConsentChange.objects.count() == 3


def test_an_unknown_channel_is_named(source, diane):
    with pytest.raises(ValueError, match="fax"):
        consent.grant(tell(source, "1", 0, {}), "fax", actor=diane)
    assert not ConsentChange.objects.exists()
