"""Tickets that arrive together go in one call; one's trouble is not another's."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from time import monotonic, sleep

import pytest
from django.db import OperationalError, transaction
from psycopg.errors import LockNotAvailable, QueryCanceled

from loyalty import till
from loyalty.till import selling
from loyalty.till.together import Gathering, Held, TooLate
from profiles.intake import Problem, Shown
from profiles.models import Identifier, Profile, Purchase
from tests.loyalty.conftest import AT, ticket
from tests.loyalty.test_ledger_invariants import arena, stage  # noqa: F401 - fixtures

SLOW = 99


class Clerk:
    """Carries out what is asked, and writes down in which parts; the first call waits until it is let go."""

    def __init__(self):
        self.calls: list[tuple[str, list[int]]] = []
        self.alone_asked: list[int] = []
        self.at_it, self.let_go = Event(), Event()

    def __call__(self, key, asked):
        self.calls.append((key, list(asked)))
        if len(self.calls) == 1:
            self.at_it.set()
            assert self.let_go.wait(10)
        if any(n < 0 for n in asked):
            raise Problem("below_zero", str(min(asked)))
        if 0 in asked:
            raise Held
        if SLOW in asked:
            raise TooLate("the database does not answer")
        return [n * 10 for n in asked]

    def alone(self, key, asked):
        self.alone_asked.append(asked)
        if asked < 0:
            raise Problem("below_zero", str(asked))
        return asked * 10 + 1


def wait_until(holds) -> None:
    end = monotonic() + 10
    while not holds():
        assert monotonic() < end
        sleep(0.005)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(12) as pool:
        yield pool


def gather(pool, clerk, numbers, most=16, first=1, key="A"):
    """What each is told, or raises, where all of them come while the first one's call is under way."""
    gathering = Gathering(clerk, clerk.alone, most)
    leading = pool.submit(gathering.ask, key, first)
    assert clerk.at_it.wait(10)
    others = []
    for count, number in enumerate(numbers, start=1):
        others.append(pool.submit(gathering.ask, key, number))
        wait_until(lambda count=count: len(gathering._waiting[key]) == count)
    clerk.let_go.set()
    told = [future.exception(10) or future.result() for future in [leading, *others]]
    assert gathering._waiting == {}, "nobody leads any more"
    return told


def test_who_comes_meanwhile_goes_in_one_call(pool):
    clerk = Clerk()
    assert gather(pool, clerk, [2, 3, 4, 5]) == [10, 20, 30, 40, 50]
    assert clerk.calls == [("A", [1]), ("A", [2, 3, 4, 5])]


def test_where_two_may_lead_the_second_waits_for_nobody(pool):
    clerk = Clerk()
    gathering = Gathering(clerk, clerk.alone, 16, leaders=2)
    leading = pool.submit(gathering.ask, "A", 1)
    assert clerk.at_it.wait(10)
    assert pool.submit(gathering.ask, "A", 2).result(10) == 20
    clerk.let_go.set()
    assert leading.result(10) == 10
    assert (dict(gathering._leading), dict(gathering._waiting)) == ({}, {})


def test_no_call_takes_more_than_it_may(pool):
    clerk = Clerk()
    assert gather(pool, clerk, range(2, 9), most=3) == [n * 10 for n in range(1, 9)]
    assert [asked for _key, asked in clerk.calls] == [[1], [2, 3, 4], [5, 6, 7], [8]]


def test_who_comes_alone_goes_alone_and_hears_what_is_wrong():
    clerk = Clerk()
    clerk.let_go.set()
    gathering = Gathering(clerk, clerk.alone, 16)
    assert gathering.ask("A", 3) == 30
    with pytest.raises(Problem, match="-3"):
        gathering.ask("A", -3)
    assert gathering.ask("A", 4) == 40
    assert [asked for _key, asked in clerk.calls] == [[3], [-3], [4]]


def test_one_s_trouble_is_not_another_s(pool):
    clerk = Clerk()
    told = gather(pool, clerk, [2, -3, 4])
    assert (told[0], told[1], told[3]) == (10, 21, 41)
    assert isinstance(told[2], Problem)
    assert clerk.calls[1:] == [("A", [2, -3, 4])]
    assert sorted(clerk.alone_asked) == [-3, 2, 4]


def test_who_is_held_up_waits_alone(pool):
    clerk = Clerk()
    assert gather(pool, clerk, [2, 3], first=0) == [1, 20, 30]
    assert clerk.alone_asked == [0]


def test_what_came_too_late_is_everybody_s_of_the_call_and_of_who_waited_for_it(pool):
    clerk = Clerk()
    told = gather(pool, clerk, [2, SLOW, 4, 5, 6], most=3)
    assert told[0] == 10
    assert all(isinstance(each, TooLate) for each in told[1:])
    assert clerk.calls[1:] == [("A", [2, SLOW, 4])]
    assert clerk.alone_asked == []


def test_what_is_asked_under_another_key_does_not_wait(pool):
    clerk = Clerk()
    gathering = Gathering(clerk, clerk.alone, 16)
    leading = pool.submit(gathering.ask, "A", 1)
    assert clerk.at_it.wait(10)
    assert pool.submit(gathering.ask, "B", 2).result(10) == 20
    clerk.let_go.set()
    assert leading.result(10) == 10


# --- A call of several tickets --------------------------------------------------------------------------------------


def broken(cause: Exception) -> OperationalError:
    error = OperationalError("no answer")
    error.__cause__ = cause
    return error


def test_tickets_of_one_call_are_judged_as_they_were_bought_and_each_hears_its_own(monkeypatch):
    judged = []

    def call(_edition, told, _patience):
        judged.extend(told)
        return [f"answer to {one}" for one in told]

    monkeypatch.setattr(selling, "_call", call)
    asked = [(AT, "last"), (AT - timedelta(hours=2), "first"), (AT - timedelta(hours=1), "second")]
    answers = selling._call_for_several(("acme", 1), asked)
    assert judged == ["first", "second", "last"]
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

    def call(*_told):
        raise broken(cause)

    monkeypatch.setattr(selling, "_call", call)
    monkeypatch.setattr(selling, "LATE_SECONDS", late_after)
    with pytest.raises(raised) as failed:
        selling._call_for_several(("acme", 1), [(AT, {})])
    assert type(failed.value) is raised
    if raised is TooLate:
        assert failed.value.__cause__ is cause, "what answers tills looks there for its reason"


# --- Through the real verb ---------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """How many tickets each call of the database took."""
    counted: list[int] = []
    call = selling._call

    def listen(edition, told, patience=None):
        counted.append(len(told))
        return call(edition, told, patience)

    monkeypatch.setattr(selling, "_call", listen)
    return counted


@pytest.fixture
def members(arena, request):  # noqa: F811
    """Three members of this test alone, each with a ticket of yesterday."""
    cards = [Shown("card", f"297{abs(hash(request.node.nodeid)) % 10**9:09d}{n}") for n in range(3)]
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
    return till.record_purchase(arena.till, told)


def test_tickets_of_a_crowd_are_recorded_together(arena, members, calls, monkeypatch):  # noqa: F811
    monkeypatch.setattr(selling, "PATIENCE", timedelta(seconds=20))
    monkeypatch.setattr(selling._together, "_leaders", 1)
    go_on = Event()
    holder = held(arena, members[0], go_on)
    first = arena.start(sell, arena, "C0", members[0])  # waits for who holds the member
    wait_until(lambda: arena.run(arena._somebody_waits))
    # The later they come, the earlier they were bought: they are judged in that order, and each hears its own answer.
    more = []
    for n in (1, 2):
        more.append(arena.start(sell, arena, f"C{n}", members[n % 3], 1000 * n, timedelta(minutes=n)))
        wait_until(lambda n=n: [*map(len, selling._together._waiting.values())] == [n])
    go_on.set()
    holder.result(20)
    answers = [future.result(20) for future in [first, *more]]
    assert [answer.body["points"] for answer in answers] == [10, 10, 20]
    assert [answer.body["available"] for answer in answers] == [20, 20, 30]
    assert calls == [1, 2]


def test_a_member_whom_others_hold_keeps_nobody_else_waiting(arena, members, calls, monkeypatch):  # noqa: F811
    monkeypatch.setattr(selling._together, "_leaders", 1)  # or a second leader would not wait at all
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
    outcomes = arena.at_once(*[lambda: sell(arena, "T0", members[0])] * 4)
    assert {answer.body["available"] for answer in outcomes} == {20}
    assert sorted(answer.replayed for answer in outcomes) == [False, True, True, True]
    assert Purchase.objects.filter(receipt_id=arena.receipt("T0")).count() == 1


def test_a_batch_of_several_parts_holds_its_members_in_the_order_of_their_ids(arena, members, monkeypatch):  # noqa: F811
    monkeypatch.setattr(selling, "PART", 1)
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
