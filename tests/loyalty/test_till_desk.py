"""At the recorder's desk: what lies there goes in one call; what is said over the wire, and who is left alone."""

import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import pytest
from django.db import OperationalError

from loyalty.till import desk, recorder
from loyalty.till.desk import Slip, TooLate, Unanswered
from loyalty.till.recorder import Recorder
from loyalty.till.recording import Held, Page, Row
from tenants.brand_sql import CloserLook
from tests.loyalty.conftest import AT
from tests.loyalty.recorders import Silence, hands_in, never, serving, wait_until

pytestmark = pytest.mark.usefixtures("address")

TODAY = date(2026, 11, 2)


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
def clerk() -> Clerk:
    return Clerk()


@pytest.fixture
def crowd(clerk, said) -> Iterator[Crowd]:
    with serving(never, record=clerk) as served:
        yield Crowd(clerk, served, said)
        clerk.let_go.set()


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


def test_what_came_too_late_keeps_the_other_brands_of_its_call_waiting_no_longer(crowd, clerk):
    clerk.troubles["a"] = TooLate("it took five seconds")
    crowd.begins()
    crowd.hands_in("a")
    crowd.hands_in("b", schema="other")
    _first, *late = crowd.hears()
    assert [type(each) for each in late] == [TooLate] * 2
    assert clerk.calls == [("acme", ["first"]), ("acme", ["a"])]


def test_no_call_takes_more_than_it_may(crowd, clerk, monkeypatch):
    monkeypatch.setattr(recorder, "MOST", 2)
    clerk.let_go.set()
    lines = [desk._called() for _n in range(6)]
    for line in lines:  # each is let in
        line.say(slip(b"known"))
        assert line.heard(desk.REPLY)
    clerk.calls.clear()
    clerk.at_it.clear()
    clerk.let_go.clear()
    crowd.begins()
    for line in lines:  # all lie there at once
        line.say(slip(b"known"))
    crowd.hears()
    for line in lines:
        assert line.heard(desk.REPLY)
        line.socket.close()
    assert [len(told) for _page, told in clerk.calls] == [1, 2, 2, 2]


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
