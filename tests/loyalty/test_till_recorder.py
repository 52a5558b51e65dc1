"""Tickets that come at once are recorded in one call; one's trouble is not another's."""

from collections.abc import Iterator
from datetime import date, timedelta
from threading import Event
from time import monotonic
from zlib import crc32

import pytest
from django.db import OperationalError, connection, connections, transaction
from psycopg.errors import LockNotAvailable, QueryCanceled

from loyalty import till
from loyalty.till import desk, recorder, recording
from loyalty.till.desk import Slip, TooLate
from loyalty.till.recording import Held, Page
from profiles.intake import Shown
from profiles.models import Identifier, Profile, Purchase
from tenants import brand_sql
from tests.loyalty.conftest import AT, ticket
from tests.loyalty.recorders import never, serving, wait_until
from tests.loyalty.test_ledger_invariants import arena, stage  # noqa: F401 - fixtures

pytestmark = pytest.mark.usefixtures("address")

# --- A call of several tickets --------------------------------------------------------------------------------------


def broken(cause: Exception) -> OperationalError:
    error = OperationalError("no answer")
    error.__cause__ = cause
    return error


PAGE = Page("acme", 1, date(2026, 11, 2))


def test_tickets_of_one_call_are_judged_as_they_were_bought_and_each_hears_its_own(monkeypatch):
    judged = []

    def record(_page, told, _patience):
        judged.extend(told)
        return [f"answer to {one.decode()}" for one in told]

    monkeypatch.setattr(recording, "record", record)
    slips = [
        Slip(*PAGE, AT, b"last"), Slip(*PAGE, AT - timedelta(hours=2), b"first"),
        Slip(*PAGE, AT - timedelta(hours=1), b"second"),
    ]  # fmt: skip
    answers = recording.record_several(PAGE, slips)
    assert judged == [b"first", b"second", b"last"]
    assert answers == ["answer to last", "answer to first", "answer to second"]


@pytest.mark.parametrize(
    ("late_after", "cause", "raised"),
    [
        (-1.0, LockNotAvailable(), Held),
        (-1.0, QueryCanceled(), TooLate),
        (60.0, QueryCanceled(), OperationalError),
    ],
)
def test_a_call_that_fails_says_whether_the_others_may_try(monkeypatch, late_after, cause, raised):
    """A lock that others hold is one's own trouble; so is what fails at once. What fails late is everybody's."""

    def record(*_told):
        raise broken(cause)

    monkeypatch.setattr(recording, "record", record)
    monkeypatch.setattr(recording, "LATE_SECONDS", late_after)
    with pytest.raises(raised) as failed:
        recording.record_several(PAGE, [Slip(*PAGE, AT, b"{}")])
    assert type(failed.value) is raised
    if raised is TooLate:
        assert failed.value.__cause__ is cause, "what answers tills looks there for its reason"


# --- Through the real verb ---------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """How many tickets each call of the database took."""
    counted: list[int] = []
    record = recording.record

    def listen(page, told, patience=None):
        counted.append(len(told))
        return record(page, told, patience)

    monkeypatch.setattr(recording, "record", listen)
    return counted


@pytest.fixture
def members(arena, request):  # noqa: F811
    """Three members of this test alone, each with a ticket of yesterday."""
    cards = [Shown("card", f"297{crc32(request.node.nodeid.encode()) % 10**9:09d}{n}") for n in range(3)]
    for n, card in enumerate(cards):
        arena.run(till.record_purchase, arena.till, ticket(arena.receipt(f"W{n}"), 1000, shown=card))
    return cards


def held(arena, card, go_on: Event):  # noqa: F811
    """Somebody else holds the member until told to go on."""
    holding = Event()

    def hold():
        person = Identifier.objects.get(kind="card", key=card.value).profile_id
        with transaction.atomic():
            Profile.hold([person])
            holding.set()
            assert go_on.wait(20)

    future = arena.start(hold)
    assert holding.wait(10)
    return future


def sell(arena, receipt, card, cents=1000, earlier=timedelta(0)):  # noqa: F811
    told = ticket(arena.receipt(receipt), cents, shown=card, at=AT - earlier)
    try:
        return till.record_purchase(arena.till, told)
    finally:
        desk.hang_up()


@pytest.fixture
def recorded(arena) -> Iterator[None]:  # noqa: F811
    with serving(never):
        yield


def test_tickets_of_a_crowd_are_recorded_together(arena, members, recorded, calls, said, monkeypatch):  # noqa: F811
    monkeypatch.setattr(recording, "PATIENCE", timedelta(seconds=20))
    go_on = Event()
    holder = held(arena, members[0], go_on)
    first = arena.start(sell, arena, "C0", members[0])  # waits for who holds the member
    wait_until(lambda: arena.run(arena._somebody_waits))
    # The later they come, the earlier they were bought: they are judged in that order, and each hears its own answer.
    # Nobody reads the desk meanwhile: what is handed in lies on the lines.
    more = []
    for n in (1, 2):
        more += [arena.start(sell, arena, f"C{n}", members[n], 1000 * n, timedelta(minutes=n))]
        wait_until(lambda n=n: len(said) == 1 + n)
    go_on.set()
    holder.result(20)
    answers = [future.result(20) for future in [first, *more]]
    assert [answer.body["points"] for answer in answers] == [10, 10, 20]
    assert [answer.body["available"] for answer in answers] == [20, 20, 30]
    assert calls == [1, 2]


def test_a_member_whom_others_hold_keeps_nobody_else_waiting(arena, members, recorded, calls):  # noqa: F811
    go_on = Event()
    holder = held(arena, members[0], go_on)
    try:
        slow = arena.start(sell, arena, "H0", members[0])
        wait_until(lambda: arena.run(arena._somebody_waits))
        start = monotonic()
        quick = arena.start(sell, arena, "H1", members[1])
        assert quick.result(5).body["available"] == 20
        assert monotonic() - start < 2
        assert not slow.done(), "it waits, alone"
    finally:
        go_on.set()
    holder.result(20)
    assert slow.result(20).body["available"] == 20
    assert set(calls) == {1}


def test_the_same_receipt_twice_at_once_is_one_ticket(arena, members):  # noqa: F811
    with serving(never):
        outcomes = arena.at_once(*[lambda: sell(arena, "T0", members[0])] * 4)
    assert {answer.body["available"] for answer in outcomes} == {20}
    assert sorted(answer.replayed for answer in outcomes) == [False, True, True, True]
    assert Purchase.objects.filter(receipt_id=arena.receipt("T0")).count() == 1


def test_a_stranger_among_members_is_looked_at_more_closely_and_the_others_are_not_harmed(arena, members):  # noqa: F811
    with serving(never):
        cards = [members[0], Shown("card", members[0].value[:-1] + "9"), members[1]]
        outcomes = arena.at_once(
            *[lambda n=n, card=card: sell(arena, f"N{n}", card) for n, card in enumerate(cards)]
        )
    assert [answer.body["available"] for answer in outcomes] == [20, 10, 20]


def test_a_ticket_that_the_recorder_wrote_before_it_died_is_known(arena, members, monkeypatch):  # noqa: F811
    """Its answer was lost on the line: the process records the ticket itself, and hears what was kept."""
    say = desk.Line.say

    def die(line, what):
        if isinstance(what, desk.Reply):
            line.socket.close()
            raise OSError
        say(line, what)

    monkeypatch.setattr(desk.Line, "say", die)
    with serving(never):
        answer = arena.run(sell, arena, "D0", members[0])
    assert (answer.replayed, answer.body["available"]) == (True, 20)
    assert Purchase.objects.filter(receipt_id=arena.receipt("D0")).count() == 1


def test_a_call_is_made_in_the_schema_of_its_brand_or_not_at_all(arena, members, monkeypatch):  # noqa: F811
    """A connection that could not be told the schema stands in the one before."""

    def where(schema):
        recorder._stand_in(schema)
        return brand_sql.call("SELECT current_schema()", [])[0]

    def play():
        assert [where(schema) for schema in ("arena", "public", "arena")] == ["arena", "public", "arena"]
        with monkeypatch.context() as broken:
            broken.setattr(connections["default"], "_get_cursor_search_paths", lambda: ['x"; SELECT 1/0; --'])
            broken.setattr(
                "django_tenants.postgresql_backend.base.quote_schema_name", lambda name: f"{name}, 1, ("
            )
            with pytest.raises(OperationalError, match="could not be entered"):
                where("public")
        assert where("public") == "public"

    arena.run(play)


def test_a_connection_that_died_is_replaced(arena, members):  # noqa: F811
    """Of the tickets that met it, none is lost."""

    def end_the_others():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%till_tickets(%'"
                " AND state = 'idle' AND pid <> pg_backend_pid() AND datname = current_database()"
            )
            return cursor.rowcount

    with serving(never):
        assert arena.run(sell, arena, "E0", members[0]).body["available"] == 20
        assert arena.run(end_the_others) >= 1
        assert arena.run(sell, arena, "E1", members[0]).body["available"] == 30
        assert arena.run(sell, arena, "E2", members[1]).body["available"] == 20


def test_a_batch_of_several_parts_holds_its_members_in_the_order_of_their_ids(arena, members, monkeypatch):  # noqa: F811
    monkeypatch.setattr(recording, "PART", 1)
    go_on = Event()
    holder = held(arena, members[0], go_on)
    told = [
        ticket(arena.receipt(f"P{n}"), 1000, shown=members[n], at=AT + timedelta(hours=-n)) for n in range(3)
    ]
    batch = arena.start(till.record_purchases, arena.till, told)
    wait_until(lambda: arena.run(arena._somebody_waits))

    def lock_the_last():
        with transaction.atomic():
            others = Profile.objects.filter(identifiers__kind="card", identifiers__key=members[2].value)
            return len(others.select_for_update(nowait=True, of=("self",), no_key=True))

    assert arena.run(lock_the_last) == 1
    go_on.set()
    holder.result(20)
    assert [answer.status for answer in batch.result(20)] == [201, 201, 201]
