"""Tickets that several processes hand in at once are recorded in one call; one's trouble is not another's."""

import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from zlib import crc32

import pytest
from django.db import OperationalError, connection, connections, transaction
from psycopg.errors import LockNotAvailable, QueryCanceled

from loyalty import till
from loyalty.till import desk, recorder, recording
from loyalty.till.desk import Slip, TooLate, Unanswered
from loyalty.till.recorder import Recorder
from loyalty.till.recording import Held, Page, Row
from profiles.intake import Shown
from profiles.models import Identifier, Profile, Purchase
from tenants import brand_sql
from tenants.brand_sql import CloserLook
from tests.loyalty.conftest import AT, ticket
from tests.loyalty.test_ledger_invariants import arena, stage  # noqa: F401 - fixtures

TODAY = date(2026, 11, 2)


def wait_until(holds) -> None:
    end = monotonic() + 10
    while not holds():
        assert monotonic() < end
        sleep(0.005)


@pytest.fixture(autouse=True)
def address(settings, tmp_path_factory, monkeypatch) -> Iterator[str]:
    settings.TILL_RECORDER = str(tmp_path_factory.mktemp("r") / "desk")
    desk.doubt.is_over()
    yield settings.TILL_RECORDER
    desk.hang_up()
    desk.doubt.is_over()


def hands_in(slip: Slip) -> tuple[int, bool, str | None] | None:
    """As a thread that ends afterwards."""
    try:
        return desk.hand_in(slip)
    finally:
        desk.hang_up()


@contextmanager
def serving(*args, **named) -> Iterator[Recorder]:
    served = Recorder(*args, **named)
    desk.doubt.is_over()  # whoever asked before it was there asks again
    thread = Thread(target=served.serve)
    thread.start()
    try:
        yield served
    finally:
        served.stop()
        thread.join(10)
        assert not thread.is_alive()


class Clerk:
    """Records what is asked, and writes down in which calls; the first one waits until it is let go."""

    def __init__(self):
        self.calls: list[tuple[str, list[str]]] = []
        self.troubles: dict[str, Exception] = {}
        self.at_it, self.let_go = Event(), Event()

    def __call__(self, page: Page, slips: Sequence[Slip]) -> list[Row]:
        told = [slip.told.decode() for slip in slips]
        self.calls.append((page.schema, told))
        if len(self.calls) == 1:
            self.at_it.set()
            assert self.let_go.wait(10)
        for one in told:
            if one in self.troubles:
                raise self.troubles[one]
        return [Row(len(one), True, f"recorded {one}") for one in told]


class Crowd:
    """Processes that hand in slips, a thread each, which may be left with them to record themselves."""

    def __init__(self, clerk: Clerk, served: Recorder, said: list[bytes]):
        self.clerk, self.served, self._said = clerk, served, said
        self._pool = ThreadPoolExecutor(12)
        self.futures: list[Future] = []

    def hands_in(self, *told: str, schema: str = "acme") -> None:
        for one in told:
            self.futures.append(self._pool.submit(hands_in, Slip(schema, 1, TODAY, AT, one.encode())))
            wait_until(lambda one=one: one.encode() in self._said)

    def begins(self, told: str = "first") -> None:
        """A call is under way from here on."""
        self.hands_in(told)
        assert self.clerk.at_it.wait(10)

    def hears(self) -> list:
        """What each was told, or raised, in the order of coming."""
        self.clerk.let_go.set()
        return [future.exception(10) or future.result() for future in self.futures]


@pytest.fixture
def said(monkeypatch) -> list[bytes]:
    """What was handed in so far and lies there."""
    heard: list[bytes] = []
    say = desk.Line.say

    def listen(line, what):
        say(line, what)
        if isinstance(what, Slip):
            heard.append(what.told)

    monkeypatch.setattr(desk.Line, "say", listen)
    return heard


@pytest.fixture
def clerk() -> Clerk:
    return Clerk()


@pytest.fixture
def crowd(clerk, said) -> Iterator[Crowd]:
    with serving(never, record=clerk) as served:
        yield Crowd(clerk, served, said)
        clerk.let_go.set()


class Silence:
    """What the recorder is told of the database: nothing but good."""

    def __init__(self, turns_away: bool = False, is_believed: bool = False):
        self.turns_away, self.is_believed = lambda: turns_away, lambda: is_believed


never = Silence()


# --- At the desk ---------------------------------------------------------------------------------------------------


def test_who_comes_while_a_call_is_under_way_goes_in_the_next(crowd):
    crowd.begins()
    crowd.hands_in("a", "b", "c")
    assert crowd.hears() == [
        (5, True, "recorded first"), (1, True, "recorded a"), (1, True, "recorded b"), (1, True, "recorded c"),
    ]  # fmt: skip
    assert crowd.clerk.calls == [("acme", ["first"]), ("acme", ["a", "b", "c"])]


def test_who_comes_alone_goes_alone(clerk):
    clerk.let_go.set()
    with serving(never, record=clerk):
        for told in ("a", "b"):
            assert desk.hand_in(Slip("acme", None, TODAY, AT, told.encode())) == (1, True, f"recorded {told}")
    assert clerk.calls == [("acme", ["a"]), ("acme", ["b"])]


def test_a_call_is_of_one_brand(crowd, clerk):
    crowd.begins()
    crowd.hands_in("a")
    crowd.hands_in("b", schema="other")
    crowd.hands_in("c")
    assert [row[2] for row in crowd.hears()] == ["recorded first", "recorded a", "recorded b", "recorded c"]
    assert clerk.calls[1:] == [("acme", ["a", "c"]), ("other", ["b"])]


@pytest.mark.parametrize(
    "trouble", [Held(), CloserLook("people"), ValueError("a bug"), OperationalError("no answer")]
)
def test_a_call_that_is_refused_leaves_its_tickets_to_who_brought_them(crowd, clerk, trouble):
    clerk.troubles["b"] = trouble
    crowd.begins()
    crowd.hands_in("a", "b")
    assert crowd.hears() == [(5, True, "recorded first"), None, None]


def test_who_goes_alone_hears_at_what_a_closer_look_is_needed(clerk):
    clerk.let_go.set()
    clerk.troubles["a"] = CloserLook("tier")
    with serving(never, record=clerk), pytest.raises(CloserLook) as told:
        desk.hand_in(Slip("acme", 1, TODAY, AT, b"a"))
    assert told.value.at == "tier"


@pytest.mark.parametrize(("silent", "raised"), [(False, TooLate), (True, Unanswered)])
def test_what_came_too_late_is_everybody_s_of_the_call(crowd, clerk, silent, raised):
    crowd.served._silence = Silence(is_believed=silent)
    clerk.troubles["b"] = TooLate("it took five seconds")
    crowd.begins()
    crowd.hands_in("a", "b")
    _first, *late = crowd.hears()
    assert [type(each) for each in late] == [raised, raised]
    assert str(late[0]) == ("the database does not answer" if silent else "it took five seconds")


def test_who_came_while_a_call_came_too_late_waits_no_longer(crowd, clerk):
    clerk.troubles["first"] = TooLate("it took five seconds")
    crowd.begins()
    crowd.hands_in("a")
    crowd.hands_in("b", schema="other")
    assert [type(each) for each in crowd.hears()] == [TooLate] * 3
    assert len(clerk.calls) == 1


def test_no_call_takes_more_than_it_may(crowd, clerk, monkeypatch):
    monkeypatch.setattr(recorder, "MOST", 2)
    crowd.begins()
    crowd.hands_in("a", "b", "c")
    assert len(crowd.hears()) == 4
    assert all(len(told) <= 2 for _page, told in clerk.calls)


def test_while_the_database_is_silent_nobody_waits_for_it(clerk):
    with serving(Silence(turns_away=True), record=clerk), pytest.raises(Unanswered):
        desk.hand_in(Slip("acme", 1, TODAY, AT, b"a"))
    assert clerk.calls == []


# --- Over the wire -------------------------------------------------------------------------------------------------


def slip(told: bytes = b"a") -> Slip:
    return Slip("acme", 1, TODAY, AT, told)


def test_without_a_recorder_each_records_itself(settings, monkeypatch):
    assert desk.hand_in(slip()) is None, "nobody serves there"
    monkeypatch.setattr(desk, "_asked", lambda _slip: pytest.fail("it was not there a moment ago"))
    assert desk.hand_in(slip()) is None
    desk.doubt.is_over()
    settings.TILL_RECORDER = ""
    assert desk.hand_in(slip()) is None


def test_a_recorder_that_was_started_anew_is_found_at_once(clerk):
    clerk.let_go.set()
    for _turn in range(2):
        with serving(never, record=clerk):
            assert desk.hand_in(slip()) == (1, True, "recorded a")
            assert desk._mine.line is not None


def test_a_recorder_that_goes_in_the_middle_leaves_the_ticket_to_who_brought_it(address):
    with socket.socket(socket.AF_UNIX) as entrance, ThreadPoolExecutor(1) as pool:
        entrance.bind(address)
        entrance.listen()
        brought = pool.submit(hands_in, slip())
        line, _address = entrance.accept()
        with line:
            assert line.recv(100)
            entrance.close()
        assert brought.result(10) is None


def test_a_recorder_that_stands_still_is_left_after_a_while_and_looked_for_by_one(address, monkeypatch):
    monkeypatch.setattr(desk, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(desk, "DISTRUSTED_SECONDS", 0.5)
    with socket.socket(socket.AF_UNIX) as entrance:
        entrance.bind(address)
        entrance.listen()
        with pytest.raises(TooLate):
            desk.hand_in(slip())
        start = monotonic()
        assert desk.hand_in(slip()) is None, "the next one does not wait for it"
        assert monotonic() - start < 0.1
        sleep(0.6)
        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(hands_in, slip())
            sleep(0.05)
            assert desk.hand_in(slip()) is None, "another looks"
            assert isinstance(looking.exception(10), TooLate)


def test_no_slip_ever_hears_the_reply_to_another(clerk, monkeypatch):
    """Whatever interrupts a thread that waits, its line is not used again."""
    clerk.let_go.set()
    with serving(never, record=clerk):
        assert desk.hand_in(slip()) == (1, True, "recorded a")
        line = desk._mine.line
        monkeypatch.setattr(line, "heard", lambda *_about: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            desk.hand_in(slip(b"interrupted"))
        assert desk.hand_in(slip()) == (1, True, "recorded a")
        assert line.socket.fileno() == -1


def test_the_newest_recorder_has_the_place_and_the_other_one_goes(address, clerk, monkeypatch):
    monkeypatch.setattr(recorder, "PLACE_SECONDS", 0.1)
    clerk.let_go.set()
    older = Recorder(never, record=clerk)
    thread = Thread(target=older.serve)
    thread.start()
    assert desk.hand_in(slip()) == (1, True, "recorded a")
    with serving(never, record=clerk):
        thread.join(10)
        assert not thread.is_alive()
        assert desk.hand_in(slip()) == (1, True, "recorded a")


def test_a_message_may_come_in_pieces(address, clerk):
    clerk.let_go.set()
    large = slip(b"x" * 100_000)
    with serving(never, record=clerk), socket.socket(socket.AF_UNIX) as line:
        line.connect(address)
        data = desk._encode(slip())
        for byte in len(data).to_bytes(4) + data:
            line.sendall(bytes([byte]))
        assert line.recv(1000)
        assert desk.hand_in(large) == (100_000, True, "recorded " + "x" * 100_000)


@pytest.mark.parametrize(
    "rubbish", [b"GET / HTTP/1.1\r\n" * 70_000, b"\0\0\0\2\xc1\xc1", b"\0\0\0\1\x90", b"\0\0\0\0"]
)
def test_who_speaks_another_language_is_hung_up_on(address, clerk, rubbish):
    clerk.let_go.set()
    with serving(never, record=clerk), socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(address)
        stranger.settimeout(10)
        with pytest.raises((ConnectionError, EOFError)):  # noqa: PT012 - it may hang up in the middle
            stranger.sendall(rubbish)
            if not stranger.recv(10):
                raise EOFError
        assert desk.hand_in(slip()) == (1, True, "recorded a")


def test_who_went_before_the_answer_harms_nobody(address, crowd, clerk):
    crowd.begins()
    with socket.socket(socket.AF_UNIX) as gone:
        gone.connect(address)
        desk.Line(gone).say(slip(b"gone"))
    crowd.hands_in("b")
    assert crowd.hears()[1] == (1, True, "recorded b")
    assert clerk.calls[1] == ("acme", ["gone", "b"])


def test_only_who_owns_the_process_may_come_to_the_desk(address, clerk):
    with serving(never, record=clerk):
        assert Path(address).stat().st_mode & 0o777 == 0o600


# --- A call of several tickets --------------------------------------------------------------------------------------


def broken(cause: Exception) -> OperationalError:
    error = OperationalError("no answer")
    error.__cause__ = cause
    return error


PAGE = Page("acme", 1, TODAY)


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
