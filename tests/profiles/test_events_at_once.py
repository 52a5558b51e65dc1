"""Events that arrive at the same time, from connections of their own: none is left behind, nobody is made twice."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone

from profiles import merging
from profiles.intake import EventStatement, Sender, Shown, record_events
from profiles.intake.events import add_to_dictionary
from profiles.models import Event, EventProperty, Merge, Profile, Site, Source, UnknownProperty
from tests.loyalty.test_ledger_invariants import arena, stage  # noqa: F401 - fixtures


@pytest.fixture
def field(arena, request):  # noqa: F811
    """The arena with a site; ids, devices and addresses of this test alone."""
    name = f"{abs(hash(request.node.nodeid)) % 10**12}"

    def open_site() -> Sender:
        source, _new = Source.objects.get_or_create(
            code="shop", defaults={"name": "Shop", "kind": Source.Kind.ECOMMERCE}
        )
        return Sender.of_site(Site.objects.create(name=name[:80], source=source))

    return Field(arena, arena.run(open_site), name)


class Field:
    def __init__(self, ring, sender, name):
        self.stage, self.sender, self.name = ring, sender, name
        self.now = timezone.now()

    def send(self, *statements):
        return lambda: record_events(self.sender, statements)

    def viewed(self, event_id="e", minute=0, device="d"):
        at = self.now + timedelta(minutes=minute)
        return EventStatement(
            f"{event_id}-{self.name}", "page_viewed", at, f"{device}-{self.name}", properties={"url": "u"}
        )

    def login(self, event_id="i", minute=5, device="d", who="anna"):
        at = self.now + timedelta(minutes=minute)
        shown = Shown("email", f"{who}-{self.name}@mail.example")
        return EventStatement(
            f"{event_id}-{self.name}", "customer_logged_in", at, f"{device}-{self.name}", shown=shown
        )

    def person(self, who="anna") -> Profile:
        return Profile.objects.get(email=f"{who}-{self.name}@mail.example", merged_into=None)

    def owner(self, event_id="e"):
        return Event.objects.get(event_id=f"{event_id}-{self.name}").profile_id


def sound(*outcomes):
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []


@pytest.mark.parametrize("login_first", [True, False])
def test_an_event_and_the_login_on_its_device_at_once_find_each_other(field, login_first):
    verbs = [field.send(field.login()), field.send(field.viewed())]
    sound(*field.stage.overtaken(*(verbs if login_first else verbs[::-1])))
    assert field.owner() == field.person().pk


def test_the_device_is_known_and_still_they_find_each_other(field):
    field.stage.run(field.send(field.viewed("old")))
    sound(*field.stage.overtaken(field.send(field.viewed()), field.send(field.login())))
    assert {field.owner("old"), field.owner()} == {field.person().pk}


def test_the_same_events_at_once_count_once(field):
    batch = field.send(field.viewed("a"), field.viewed("b", 1))
    first, second = field.stage.overtaken(batch, batch)
    sound(first)
    # Told to come again, as the API says it: `in_flight`.
    assert isinstance(second, IntegrityError) or {answer.verdict for answer in second} == {"known"}
    assert {answer.verdict for answer in field.stage.run(batch)} == {"known"}
    assert Event.objects.filter(event_id__endswith=field.name).count() == 2


def test_a_stranger_on_two_devices_at_once_is_one_customer(field):
    sound(
        *field.stage.overtaken(
            field.send(field.login("i", device="d1")), field.send(field.login("j", device="d2"))
        )
    )
    assert field.owner("i") == field.owner("j") == field.person().pk


@pytest.mark.parametrize("merge_first", [True, False])
def test_a_merge_while_events_come_in_loses_none(field, merge_first):
    field.stage.run(field.send(field.login("i", 0, "d1", "anna"), field.login("j", 0, "d2", "ben")))
    anna, ben = field.owner("i"), field.owner("j")

    def merge():
        return merging.merge(Profile(pk=anna), Profile(pk=ben), ground=Merge.Ground.PERSON)

    verbs = [merge, field.send(field.viewed("e", 1, "d2"), field.login("k", 2, "d3", "ben"))]
    sound(*field.stage.overtaken(*(verbs if merge_first else verbs[::-1])))
    assert {field.owner(one) for one in ("i", "j", "k", "e")} == {min(anna, ben)}


def test_a_property_added_while_an_event_comes_in_takes_its_value_too(field):
    def carrying(event_id):
        told = field.viewed(event_id)
        return replace(told, properties={"url": "u", f"p{field.name}": 3})

    field.stage.run(field.send(carrying("a")))
    row = UnknownProperty.objects.get(name=f"p{field.name}")
    sound(
        *field.stage.overtaken(
            lambda: add_to_dictionary(row, EventProperty(type="number"), "system"),
            field.send(carrying("b")),
        )
    )
    for event_id in ("a", "b"):
        assert Event.objects.get(event_id=f"{event_id}-{field.name}").properties[row.name] == 3
    row.refresh_from_db()
    assert (row.state, row.seen) == ("added", 0)
