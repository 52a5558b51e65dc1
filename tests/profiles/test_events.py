"""Events: taken in once, anonymous first, given to the person whom an identification on their device shows."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdp.celery import app
from profiles import blocked, blocklist, merging, separating
from profiles.behaviour import Identification, belongs_to, reach
from profiles.intake import (
    EventStatement,
    Refusal,
    Sender,
    Shown,
    Statement,
    event_retention,
    events,
    record_events,
    take_in_records,
)
from profiles.intake.event_dictionary import STANDARD, open_dictionary
from profiles.models import (
    Device,
    Event,
    EventCount,
    EventProperty,
    EventTally,
    EventType,
    MatchCandidate,
    Merge,
    Profile,
    ProfileStore,
    QuarantinedEvent,
    Site,
    Source,
    UnknownProperty,
)
from profiles.tasks import release_events, roll_up_events
from tenants.scoping import scoped_to

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
ANNA, BEN = Shown("email", "anna@mail.example"), Shown("card", "2990000000017")


def at(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


def viewed(event_id="e1", minute=0, device="d1", **more) -> EventStatement:
    more = {"properties": {"url": "https://shop.example/"}} | more
    return EventStatement(event_id, "page_viewed", at(minute), device, **more)


def logged_in(event_id="i1", minute=0, shown=ANNA, device="d1") -> EventStatement:
    return EventStatement(event_id, "customer_logged_in", at(minute), device, shown=shown)


@pytest.fixture
def site(brand) -> Site:
    source = Source.objects.create(code="shop", name="Web shop", kind=Source.Kind.ECOMMERCE)
    return Site.objects.create(name="Shop", source=source, origins="https://shop.example")


@pytest.fixture
def shop(site) -> Sender:
    return Sender.of_site(site)


def verdicts(answers) -> list[str]:
    return [answer.verdict for answer in answers]


def owners() -> dict[str, str]:
    """event id -> the identifier by which its owner was shown; "" for an anonymous one."""
    shown = {e.profile_id: e.identified_by for e in Event.objects.exclude(identified_by="")}
    return {e.event_id: shown.get(e.profile_id, "") for e in Event.objects.all()}


# --- Whose ------------------------------------------------------------------------------------------------------------


def test_an_anonymous_event_stays_anonymous_until_its_device_is_identified(shop):
    record_events(shop, [viewed("e1", 0)])
    assert Event.objects.get().profile is None
    assert Profile.objects.count() == 0
    record_events(shop, [logged_in("i1", 30)])
    event, proof = Event.objects.get(event_id="e1"), Event.objects.get(event_id="i1")
    assert event.profile == proof.profile == Profile.objects.get(email=ANNA.value)
    assert event.at == at(0)
    assert event.proof == proof
    assert proof.identified_by == "email:anna@mail.example"
    assert proof.proof is None
    record_events(shop, [viewed("e2", 40)])
    assert Event.objects.get(event_id="e2").profile == proof.profile
    assert Event.objects.count() == 3


def test_an_identification_finds_the_person_whom_a_file_told_of(shop):
    crm = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)
    told = Statement("1", {"first_name": "Anna", "email": "Anna@Mail.example"}, raw={"n": 1})
    anna = take_in_records(crm, [told])[0].profile_id
    record_events(shop, [logged_in()])
    assert Event.objects.get().profile_id == anna


@pytest.fixture
def nothing_remembered(brand):
    """The process remembers what is blocked for a second: longer than a test."""
    blocklist.forget()
    yield
    blocklist.forget()


@pytest.mark.usefixtures("nothing_remembered")
def test_a_blocked_identifier_makes_and_finds_nobody(shop, alice):
    crm = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)
    take_in_records(crm, [Statement("1", {"first_name": "Anna", "email": ANNA.value}, raw={"n": 1})])
    row = blocked.block("email", ANNA.value, reason="the shop's own", by=alice)
    stranger = Shown("email", "till@mail.example")
    blocked.block("email", stranger.value, reason="typed at the till", by=alice)
    answers = record_events(shop, [logged_in("i1"), logged_in("i2", shown=stranger)])
    assert verdicts(answers) == ["quarantined"] * 2
    assert {answer.refusal.code for answer in answers} == {"invalid_identifier"}
    assert answers[0].refusal.field == "identity.email"
    assert Profile.objects.count() == 1
    assert not Event.objects.exists()
    blocked.lift(row, alice)
    assert events.release(reason="invalid_identifier") == (1, 1)


def test_two_persons_on_one_device_share_it_by_time_and_are_never_merged(shop):
    record_events(shop, [logged_in("i1", 10, ANNA), logged_in("i2", 20, BEN)])
    record_events(shop, [viewed("before", 0), viewed("hers", 15), viewed("his", 25), viewed("also his", 20)])
    assert owners() == {
        "i1": "email:anna@mail.example", "before": "email:anna@mail.example", "hers": "email:anna@mail.example",
        "i2": f"card:{BEN.value}", "his": f"card:{BEN.value}", "also his": f"card:{BEN.value}",
    }  # fmt: skip
    assert Merge.objects.count() == MatchCandidate.objects.count() == 0
    assert Profile.objects.filter(merged_into=None).count() == 2


def test_devices_of_two_sources_with_one_id_are_two_devices(shop, lille_till):
    other = Source.objects.create(code="app", name="App", kind=Source.Kind.OTHER)
    app = Sender.of_site(Site.objects.create(name="App", source=other, kind=Site.Kind.APP))
    record_events(shop, [viewed("e1")])
    record_events(app, [logged_in("i1")])
    assert Device.objects.count() == 2
    assert Event.objects.get(event_id="e1").profile is None
    assert Event.objects.get(event_id="i1").channel == "app"


STORY = st.lists(
    st.tuples(
        st.sampled_from([None, None, ANNA, BEN, Shown("phone", "0612345678")]),
        st.integers(0, 6),
        st.sampled_from(["d1", "d2"]),
    ),
    min_size=2,
    max_size=7,
)


def told(story) -> list[EventStatement]:
    return [
        logged_in(f"e{n}", minute, shown, device) if shown else viewed(f"e{n}", minute, device)
        for n, (shown, minute, device) in enumerate(story)
    ]


class _Undo(Exception):
    pass


def ending(shop, batches) -> dict[str, str]:
    """Whose each event is after these batches, of which nothing is kept."""
    found = {}
    with suppress(_Undo), transaction.atomic():
        for batch in batches:
            record_events(shop, batch)
        for event in Event.objects.filter(proof__isnull=False).select_related("proof"):
            assert event.profile_id == event.proof.profile_id
        found = owners()
        raise _Undo
    return found


@settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip
@given(story=STORY, order=st.randoms(use_true_random=False), cut=st.integers(1, 6))
def test_any_order_of_arrival_ends_the_same(shop, story, order, cut):
    statements = told(story)
    expected = ending(shop, [statements])
    shuffled = statements[:]
    order.shuffle(shuffled)
    assert ending(shop, [shuffled[:cut], shuffled[cut:]]) == expected
    assert ending(shop, [[one] for one in shuffled]) == expected


def test_every_permutation_of_a_short_story_ends_the_same(shop):
    story = [viewed("a", 0), logged_in("i", 5, ANNA), viewed("b", 7), logged_in("j", 7, BEN)]
    endings = [ending(shop, [[one] for one in order]) for order in permutations(story)]
    assert all(one == endings[0] for one in endings)
    assert endings[0]["b"] == f"card:{BEN.value}"
    assert endings[0]["a"] == "email:anna@mail.example"


TIMES = st.lists(st.tuples(st.integers(0, 5), st.text("ab", min_size=1, max_size=2)), unique=True, max_size=6)


@given(TIMES, st.integers(-1, 6))
def test_the_reach_of_an_identification_is_what_belongs_to_it(times, minute):
    all_of_them = sorted(Identification(at(m), name, n) for n, (m, name) in enumerate(times))
    reached = []
    for one in all_of_them:
        bounds = reach(one, all_of_them)
        if (
            bounds
            and (not bounds[0] or at(minute) >= bounds[0])
            and (not bounds[1] or at(minute) < bounds[1])
        ):
            reached.append(one)
    assert reached == ([belongs_to(at(minute), all_of_them)] if all_of_them else [])


# --- Merge and separate -----------------------------------------------------------------------------------------------


def test_a_merge_moves_events_and_an_unmerge_moves_them_back(shop, diane):
    record_events(shop, [logged_in("i1", 10, ANNA), viewed("e1", 11)])
    record_events(shop, [logged_in("i2", 10, BEN, "d2"), viewed("e2", 11, "d2")])
    anna, ben = (Event.objects.get(event_id=i).profile for i in ("i1", "i2"))
    merge = merging.merge(anna, ben, ground=Merge.Ground.PERSON, by=diane)
    assert set(Event.objects.values_list("profile", flat=True)) == {merge.winner_id}
    # Meanwhile: more of both, and an earlier identification that takes events from another.
    record_events(shop, [viewed("e3", 20, "d2"), logged_in("i3", 30, BEN, "d3"), viewed("e4", 31, "d3")])
    record_events(shop, [logged_in("i4", 11, ANNA, "d2")])
    assert Event.objects.get(event_id="e2").proof.event_id == "i4"
    separating.unmerge(merge, by=diane)
    whose = {e.event_id: e.profile_id for e in Event.objects.all()}
    assert whose == {
        "i1": anna.pk, "e1": anna.pk, "i4": anna.pk, "e2": anna.pk, "e3": anna.pk,
        "i2": ben.pk, "i3": ben.pk, "e4": ben.pk,
    }  # fmt: skip
    for event in Event.objects.filter(proof__isnull=False).select_related("proof"):
        assert event.profile_id == event.proof.profile_id


def test_an_identification_by_a_merged_person_s_identifier_goes_to_the_survivor(shop, diane):
    record_events(shop, [logged_in("i1", 10, ANNA), logged_in("i2", 10, BEN, "d2")])
    anna, ben = (Event.objects.get(event_id=i).profile for i in ("i1", "i2"))
    merge = merging.merge(anna, ben, ground=Merge.Ground.PERSON, by=diane)
    record_events(shop, [logged_in("i3", 20, BEN, "d3")])
    assert Event.objects.get(event_id="i3").profile_id == merge.winner_id


# --- Once -------------------------------------------------------------------------------------------------------------


def test_an_event_sent_again_is_known_and_with_another_content_a_conflict(shop):
    assert verdicts(record_events(shop, [viewed(), viewed()])) == ["accepted", "known"]
    again = record_events(shop, [viewed(), viewed(minute=1)])
    assert verdicts(again) == ["known", "rejected"]
    assert again[1].refusal.code == "event_conflict"
    assert Event.objects.count() == 1


def test_an_event_in_quarantine_sent_again_is_known(shop):
    strange = EventStatement("q1", "cart_exploded", at(0), "d1")
    assert verdicts(record_events(shop, [strange])) == ["quarantined"]
    assert verdicts(record_events(shop, [strange])) == ["known"]
    assert QuarantinedEvent.objects.count() == 1


@pytest.mark.parametrize(
    ("statement", "code", "field"),
    [
        (viewed(""), "invalid_id", "id"),
        (viewed("x" * 65), "invalid_id", "id"),
        (EventStatement("e", "page_viewed", datetime(2026, 1, 1)), "time_without_zone", "at"),  # noqa: DTZ001
        (EventStatement("e", "page_viewed", datetime(2999, 1, 1, tzinfo=UTC)), "future_date", "at"),
        (EventStatement("e", "page_viewed", datetime(1999, 1, 1, tzinfo=UTC)), "past_date", "at"),
        (EventStatement("e", " ", NOON), "invalid_type", "type"),
        (viewed(device="d" * 65), "invalid_device", "device"),
        (viewed(properties={f"p{n}": 1 for n in range(61)}), "too_large", "properties"),
        (viewed(properties={"": 1}), "too_large", "properties"),
    ],
)
def test_what_can_be_no_event_is_rejected_and_keeps_no_other_out(shop, statement, code, field):
    answers = record_events(shop, [statement, viewed("fine")])
    assert verdicts(answers) == ["rejected", "accepted"]
    assert (answers[0].refusal.code, answers[0].refusal.field) == (code, field)


def test_the_numbers_of_a_day_add_up(shop):
    record_events(shop, [viewed("a"), viewed("a"), EventStatement("q", "cart_exploded", NOON), viewed("")])
    record_events(shop, [Refusal("invalid_event", "no event"), viewed("a")])
    tally = EventTally.objects.get()
    assert (tally.received, tally.accepted, tally.known, tally.quarantined, tally.rejected) == (6, 1, 2, 1, 2)
    with pytest.raises(IntegrityError, match="event_numbers_reconcile"), transaction.atomic():
        EventTally.objects.update(accepted=5)


# --- The dictionary ---------------------------------------------------------------------------------------------------


def test_a_brand_begins_with_the_standard_types_and_keeps_its_own(shop):
    record_events(shop, [viewed()])
    assert set(EventType.objects.values_list("code", flat=True)) == {one.code for one in STANDARD}
    assert set(EventType.objects.values_list("retention_days", flat=True)) == {395}
    EventType.objects.filter(code="page_viewed").update(label="Ours")
    properties = EventProperty.objects.count()
    open_dictionary()
    assert EventType.objects.get(code="page_viewed").label == "Ours"
    assert EventProperty.objects.count() == properties


@pytest.mark.parametrize("code", ["viewed", "PageViewed", "page viewed", "page__viewed", "1_page", "page_"])
def test_the_database_holds_the_pattern_of_the_names(brand, code):
    with pytest.raises(IntegrityError, match="event_type_is_thing_and_deed"), transaction.atomic():
        EventType.objects.create(code=code, label="x")


def test_an_unknown_property_is_kept_apart_listed_and_released(shop, diane):
    record_events(shop, [viewed("a", properties={"url": "u", "depth": 3, "Odd name": [1]})])
    record_events(shop, [viewed("b", properties={"url": "u", "depth": "deep"})])
    event = Event.objects.get(event_id="a")
    assert event.properties == {"url": "u"}
    assert event.unknown == {"depth": 3, "Odd name": [1]}
    depth = UnknownProperty.objects.get(name="depth")
    assert (depth.seen, depth.sample, depth.state) == (2, 3, "open")
    released, left = events.add_to_dictionary(depth, EventProperty(type="number"), diane)
    assert (released, left) == (1, 1)
    event.refresh_from_db()
    assert event.properties == {"url": "u", "depth": 3}
    assert Event.objects.get(event_id="b").unknown == {"depth": "deep"}
    record_events(shop, [viewed("c", properties={"url": "u", "depth": 4})])
    assert Event.objects.get(event_id="c").properties["depth"] == 4


def test_a_flood_of_unknown_names_makes_no_flood_of_notes(shop, diane, monkeypatch):
    monkeypatch.setattr(events, "MOST_NOTES", 3)
    flood = [viewed(f"e{n}", properties={"url": "u", f"a{n}": n, f"b{n}": n}) for n in range(4)]
    assert verdicts(record_events(shop, flood)) == ["accepted"] * 4
    assert UnknownProperty.objects.count() == 3
    record_events(shop, [viewed("more", properties={"url": "u", "a0": 1, "z": 1})])
    assert Event.objects.get(event_id="more").unknown == {"a0": 1, "z": 1}
    assert UnknownProperty.objects.count() == 3
    assert UnknownProperty.objects.get(name="a0").seen == 2
    # What is decided makes room.
    events.ignore_property(UnknownProperty.objects.get(name="a0"), diane)
    record_events(shop, [viewed("last", properties={"url": "u", "z": 1})])
    # The value from before the note goes where it belongs with the others.
    note = UnknownProperty.objects.get(name="z")
    assert events.add_to_dictionary(note, EventProperty(type="number"), diane) == (2, 0)
    assert Event.objects.get(event_id="more").properties["z"] == 1


def test_an_ignored_property_is_still_kept_and_may_be_added_later(shop, diane):
    record_events(shop, [viewed("a", properties={"url": "u", "depth": 3})])
    depth = UnknownProperty.objects.get()
    events.ignore_property(depth, diane)
    record_events(shop, [viewed("b", properties={"url": "u", "depth": 4})])
    depth.refresh_from_db()
    assert (depth.state, depth.seen) == ("ignored", 2)
    assert events.add_to_dictionary(depth, EventProperty(type="number"), diane) == (2, 0)


def test_a_property_taken_out_of_the_dictionary_again_is_asked_about_again(shop, diane):
    record_events(shop, [viewed("a", properties={"url": "u", "depth": 3})])
    events.add_to_dictionary(UnknownProperty.objects.get(), EventProperty(type="number"), diane)
    EventProperty.objects.filter(name="depth").delete()
    record_events(shop, [viewed("b", properties={"url": "u", "depth": 4})])
    row = UnknownProperty.objects.get()
    assert (row.state, row.seen) == ("open", 1)


QUARANTINED = [
    (EventStatement("q", "cart_exploded", NOON), "unknown_type", "type"),
    (viewed("q", properties={}), "missing_property", "properties.url"),
    (viewed("q", properties={"url": None}), "missing_property", "properties.url"),
    (viewed("q", properties={"url": 7}), "wrong_type", "properties.url"),
    (viewed("q", channel="pigeon"), "unknown_channel", "channel"),
    (viewed("q", store_code="ACM-999"), "unknown_store", "store"),
    (logged_in("q", shown=Shown("email", "no address")), "invalid_identifier", "identity.email"),
    (logged_in("q", shown=Shown("customer", "C-77")), "unknown_customer", "identity.customer"),
]


@pytest.mark.parametrize(("statement", "reason", "field"), QUARANTINED)
def test_what_the_dictionary_cannot_take_waits_whole_with_its_reason(shop, lille, statement, reason, field):
    answer = record_events(shop, [statement])[0]
    assert (answer.verdict, answer.refusal.code, answer.refusal.field) == ("quarantined", reason, field)
    assert answer.refusal.detail
    row = QuarantinedEvent.objects.get()
    assert (row.reason, row.field) == (reason, field)
    assert events._told_by(row) == statement
    assert Event.objects.count() == 0


def test_quarantine_is_released_once_the_dictionary_is_mended(shop):
    exploded = [EventStatement(f"q{n}", "cart_exploded", at(n), "d1", properties={"n": n}) for n in range(3)]
    record_events(shop, [*exploded, logged_in("i1", 1)])
    assert events.release("cart_exploded") == (0, 3)
    EventType.objects.create(code="cart_exploded", label="Bang")
    assert events.release("cart_exploded") == (3, 0)
    assert QuarantinedEvent.objects.count() == 0
    kept = Event.objects.filter(type__code="cart_exploded")
    assert {e.at for e in kept} == {at(0), at(1), at(2)}
    assert all(e.profile and e.unknown for e in kept)
    assert verdicts(record_events(shop, exploded)) == ["known"] * 3


def test_a_customer_number_waits_for_its_source_to_tell_of_the_customer(shop, site):
    record_events(shop, [viewed("e1", 0), logged_in("i1", 5, Shown("customer", "C-77"))])
    assert Event.objects.get().profile is None
    told_of = Statement("77", {"first_name": "Anna", "customer_id": "c-77"}, raw={"n": 1})
    anna = take_in_records(site.source, [told_of])[0].profile_id
    assert events.release(reason="unknown_customer") == (1, 0)
    assert set(Event.objects.values_list("profile", flat=True)) == {anna}


# --- What is never edited, and what ends ------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"at": NOON}, {"event_id": "z"}, {"properties": {}}, {"channel": "sms"}])
def test_the_database_refuses_to_change_what_an_event_told(shop, change):
    record_events(shop, [viewed("e1", 3)])
    with pytest.raises(Exception, match="event_is_never_edited"), transaction.atomic():
        Event.objects.update(**change)


def test_the_database_refuses_a_person_without_a_proof(shop):
    record_events(shop, [viewed("e1"), logged_in("i1", 3, device="d2")])
    anna = Profile.objects.get()
    with pytest.raises(IntegrityError, match="event_has_a_proof"), transaction.atomic():
        Event.objects.filter(event_id="e1").update(profile=anna)


def test_old_anonymous_events_are_counted_and_removed_and_known_ones_stay(shop):
    old = timezone.now() - timedelta(days=400)
    url = {"url": "u"}
    record_events(
        shop,
        [
            *(EventStatement(f"o{n}", "page_viewed", old, f"d{n % 2}", properties=url) for n in range(5)),
            EventStatement("fresh", "page_viewed", timezone.now() - timedelta(days=394), "d1", properties=url),
            EventStatement("known", "page_viewed", old, "d9", properties=url),
            EventStatement("login", "customer_logged_in", old, "d9", shown=ANNA),
        ],
    )  # fmt: skip
    assert event_retention.roll_up(chunk=2) == {"events": 5, "quarantined": 0, "devices": 1}
    assert set(Event.objects.values_list("event_id", flat=True)) == {"fresh", "known", "login"}
    assert EventCount.objects.get().events == 5
    assert set(Device.objects.values_list("key", flat=True)) == {"d1", "d9"}
    assert event_retention.roll_up()["events"] == 0


def test_the_timetable_s_tasks_do_it(shop, site):
    old = EventStatement("o", "store_visited", timezone.now() - timedelta(days=400))
    record_events(shop, [old, logged_in("i1", 5, Shown("customer", "C-77"))])
    take_in_records(
        site.source, [Statement("77", {"first_name": "Anna", "customer_id": "C-77"}, raw={"n": 1})]
    )
    assert roll_up_events()["events"] == 1
    assert release_events() == {"released": 1, "left": 0}
    planned = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert {roll_up_events.name, release_events.name} <= planned


def test_each_type_has_its_own_retention(shop):
    open_dictionary()
    EventType.objects.filter(code="store_visited").update(retention_days=10)
    eleven = timezone.now() - timedelta(days=11)
    record_events(shop, [EventStatement("a", "store_visited", eleven), viewed("b")])
    event_retention.roll_up()
    assert Event.objects.get().event_id == "b"


def test_an_erased_person_s_events_go_with_what_waits_under_their_name(shop):
    waiting = EventStatement("q1", "cart_exploded", NOON, shown=Shown("email", "ANNA@mail.example"))
    other = EventStatement("q2", "cart_exploded", NOON, shown=BEN)
    record_events(shop, [viewed("e1"), logged_in("i1", 3), waiting, other, logged_in("i2", 3, BEN, "d2")])
    assert events.forget(Profile.objects.get(email=ANNA.value)) == 3
    assert [e.event_id for e in Event.objects.all()] == ["i2"]
    assert [row.event_id for row in QuarantinedEvent.objects.all()] == ["q2"]


# --- Stores -----------------------------------------------------------------------------------------------------------


def test_a_till_s_event_is_its_store_s_and_makes_the_store_know_the_person(lille_till, lyon, bruno, chloe):
    till = Sender.of_till(lille_till[0])
    answers = record_events(till, [logged_in("i1"), viewed("e1", store_code=lyon.code)])
    assert verdicts(answers) == ["accepted", "quarantined"]
    event = Event.objects.get()
    assert (event.store, event.channel) == (lille_till[0].store, "store")
    with scoped_to(bruno.scope):
        assert Event.objects.count() == 1
    with scoped_to(chloe.scope):
        assert Event.objects.count() == 0


def test_a_page_that_names_a_store_does_not_make_it_know_the_person(shop, lille, bruno):
    signed_up = EventStatement("i1", "customer_signed_up", NOON, "d1", store_code=lille.code, shown=ANNA)
    record_events(shop, [signed_up, viewed("e1", device="d2", store_code=lille.code)])
    assert ProfileStore.objects.count() == 0
    with scoped_to(bruno.scope):
        assert [e.event_id for e in Event.objects.all()] == ["e1"]
        assert Profile.objects.count() == 0


def test_a_batch_takes_few_queries(shop, django_assert_max_num_queries):
    record_events(shop, [viewed("warm")])
    batch = [viewed(f"e{n}", n % 50, f"d{n % 100}") for n in range(500)]
    with django_assert_max_num_queries(25):
        record_events(shop, batch)
    assert connection.connection is not None
