"""What a till hears while the database is slow, busy or away: 503 or 409 with Retry-After, in time, and never a 500."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections
from django.test import Client
from django.utils import timezone

from cdp import silence, till_lane
from loyalty import api, benefits_api
from loyalty import till as tills
from loyalty.till import desk
from tenants.brand_sql import call
from tenants.network import auth
from tenants.network.models import Till
from tests.conftest import HOST

BODY = {"member": {"card": "2990000001234"}}


def identify(client):
    return client.post("/api/v1/identify", BODY, content_type="application/json")


def told_to_come_back(response, status=503, code="unavailable", seconds="5") -> bool:
    return (response.status_code, response.json()["code"], response.headers["Retry-After"]) == (
        status, code, seconds,
    )  # fmt: skip


@pytest.fixture
def impatient(monkeypatch):
    """Time limits that a test can wait for, set on this connection anew."""
    monkeypatch.setattr(till_lane, "HURRY", "SET statement_timeout = '300ms'; SET lock_timeout = '100ms'")
    connection.ensure_connection()
    connection.connection.is_in_a_hurry = False
    yield
    connection.connection.is_in_a_hurry = False


def test_what_takes_too_long_is_told_to_come_back(lille_till, till_client, impatient, monkeypatch):
    client = till_client(lille_till[1])
    with monkeypatch.context() as slow:
        slow.setattr(tills, "identify", lambda *_about: call("SELECT pg_sleep(20)", []))
        assert told_to_come_back(identify(client))
    assert identify(client).status_code == 404


def test_who_waits_for_an_equal_request_hears_that_it_is_under_way(
    lille_till, till_client, impatient, monkeypatch
):
    told = connection.get_connection_params()
    with psycopg.connect(
        host=told["host"],
        port=told["port"],
        user=told["user"],
        password=told["password"],
        dbname=told["dbname"],
    ) as other:
        other.execute("SELECT pg_advisory_xact_lock(4711)")
        monkeypatch.setattr(tills, "identify", lambda *_about: call("SELECT pg_advisory_xact_lock(4711)", []))
        answer = identify(till_client(lille_till[1]))
    assert told_to_come_back(answer, 409, "in_flight", "1")


def hang_up():
    """Close the connection of the thread that calls this."""
    connection.close()


@pytest.fixture
def alone(brand):
    """Runs in a thread with a connection of its own, which sees what is committed."""
    with ThreadPoolExecutor(1) as thread:
        yield lambda verb: thread.submit(verb).result(30)
        thread.submit(hang_up).result(30)


def ask_as_nobody():
    return identify(Client(headers={"host": HOST, "authorization": "Till nobody"}))


def test_a_connection_that_died_is_replaced_unnoticed(alone):
    assert alone(ask_as_nobody).status_code == 401
    victim = alone(lambda: connection.connection.info.backend_pid)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [victim])
    assert alone(ask_as_nobody).status_code == 401
    assert alone(lambda: connection.connection.info.backend_pid) != victim


def test_without_a_database_a_till_is_told_to_come_back_and_heard_when_it_is_there_again(alone, monkeypatch):
    wrapper = type(connections["default"])
    original = wrapper.get_new_connection
    alone(hang_up)
    with monkeypatch.context() as away:
        away.setattr(
            wrapper, "get_new_connection", lambda self, params: original(self, {**params, "port": 1})
        )
        assert told_to_come_back(alone(ask_as_nobody))
    assert alone(ask_as_nobody).status_code == 401


def test_while_writing_stands_still_one_thread_is_kept_for_who_only_asks(monkeypatch):
    door = till_lane.Door(threads=3)
    monkeypatch.setattr(till_lane, "STANDSTILL_SECONDS", 0.0)
    go_on, inside = threading.Event(), threading.Semaphore(0)

    def write():
        with door.passed():
            inside.release()
            go_on.wait(30)

    with ThreadPoolExecutor(2) as pool:
        for _writer in range(2):
            pool.submit(write)
            assert inside.acquire(timeout=30)
        with pytest.raises(till_lane.Busy), door.passed():
            pass
        go_on.set()
    with door.passed():
        pass


def test_answers_say_how_long_they_are(lille_till, till_client):
    for answer in (identify(till_client(lille_till[1])), ask_as_nobody()):
        assert answer.headers["Content-Length"] == str(len(answer.content))


def test_writers_who_waited_in_vain_do_not_take_the_last_thread_when_they_come_back(monkeypatch):
    door = till_lane.Door(threads=2)
    monkeypatch.setattr(till_lane, "STANDSTILL_SECONDS", -1.0)
    with pytest.raises(OperationalError), door.passed():
        raise OperationalError("canceling statement due to lock timeout")
    monkeypatch.setattr(till_lane, "STANDSTILL_SECONDS", 60.0)
    go_on, inside = threading.Event(), threading.Event()

    def write():
        with door.passed():
            inside.set()
            go_on.wait(30)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        assert inside.wait(30)
        with pytest.raises(till_lane.Busy), door.passed():
            pass
        later = time.monotonic() + till_lane.WARY_SECONDS + 1
        monkeypatch.setattr(till_lane.time, "monotonic", lambda: later)
        with door.passed():
            pass
        go_on.set()
        writing.result(30)


def test_every_post_of_a_till_goes_by_the_lane():
    told = {path for path in till_lane.VIEWS if path.startswith("/api/v1/")}
    assert told == set(api.PATHS) | set(benefits_api.PATHS)
    assert told >= till_lane.ASK_ONLY


def test_a_page_after_a_till_whose_connection_died_is_told_that_the_database_is_away(alone, monkeypatch):
    """Taking the till's time limits off is the first query of such a request."""
    alone(ask_as_nobody)
    wrapper = type(connections["default"])
    victim = alone(lambda: connection.connection.info.backend_pid)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [victim])

    def away(self, params):
        raise OperationalError("the connection was refused")

    with monkeypatch.context() as patch:
        patch.setattr(wrapper, "get_new_connection", away)
        answer = alone(lambda: Client(headers={"host": HOST}).get("/api/v1/profiles"))
    assert told_to_come_back(answer)


def test_a_busy_till_is_told_to_come_back(lille_till, till_client, monkeypatch):
    def busy(self):
        raise till_lane.Busy

    monkeypatch.setattr(till_lane.Door, "passed", busy)
    client = till_client(lille_till[1])
    answer = client.post("/api/v1/purchases", {}, content_type="application/json")
    assert told_to_come_back(answer)
    assert identify(client).status_code == 404


def test_a_key_that_another_process_revoked_is_refused_within_two_seconds(
    lille_till, till_client, monkeypatch
):
    machine, key = lille_till
    client = till_client(key)
    assert identify(client).status_code == 404
    Till.objects.filter(pk=machine.pk).update(revoked_at=timezone.now())
    now = auth.time.monotonic()
    monkeypatch.setattr(auth.time, "monotonic", lambda: now + auth.SECONDS_REMEMBERED + 0.1)
    assert identify(client).status_code == 401


# --- A database that answers nothing -----------------------------------------------------------------------------


@pytest.fixture
def quickly(monkeypatch, django_db_blocker):
    """Silence is noticed, believed and looked at within tenths of a second; this process knows of none."""
    monkeypatch.setattr(silence, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(silence, "BELIEVED_SECONDS", 0.5)
    monkeypatch.setattr(silence, "TILL_SECONDS", 0.8)
    silence.silence.is_over()
    yield
    silence.silence.is_over()
    # A statement that was given up sleeps on in the database, which cannot be dropped meanwhile.
    with django_db_blocker.unblock():
        another = connection.copy()
        with another.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%pg_sleep(30)%'"
            )
        another.close()


def test_a_statement_that_is_slow_is_waited_for_while_the_database_answers_others(brand, quickly):
    # Nor is this connection a till's any more, where another test made it one.
    till_lane._calm(connections[DEFAULT_DB_ALIAS])
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(1)")
    assert not silence.silence.turns_away()


def test_a_tills_statement_is_given_up_though_the_database_answers_others(
    alone, quickly, lille_till, monkeypatch
):
    """Its own time limit does not count while it waits for a disk, or for a standby that is away."""
    monkeypatch.setattr(till_lane, "HURRY", "SELECT 1")
    alone(hang_up)
    monkeypatch.setattr(auth, "till_of_key", lambda *_key: call("SELECT pg_sleep(30)", []))
    start = time.monotonic()
    assert told_to_come_back(alone(ask_as_nobody))
    assert time.monotonic() - start < 5
    assert not silence.silence.turns_away()


def test_a_database_that_answers_nothing_is_given_up_and_then_asked_by_one_at_a_time(
    alone, quickly, monkeypatch
):
    monkeypatch.setattr(silence, "_answers", lambda _ours: False)
    with monkeypatch.context() as frozen:
        frozen.setattr(auth, "till_of_key", lambda *_key: call("SELECT pg_sleep(30)", []))
        assert told_to_come_back(alone(ask_as_nobody))
        start = time.monotonic()
        assert told_to_come_back(alone(ask_as_nobody))
        assert time.monotonic() - start < 0.2
    time.sleep(silence.BELIEVED_SECONDS)
    assert not silence.silence.turns_away(), "somebody has to look"
    assert silence.silence.turns_away(), "and nobody else"
    silence.silence.is_over()
    assert alone(ask_as_nobody).status_code == 401


def test_who_is_refused_has_been_read_to_the_end(brand, quickly):
    """Or else the web server hangs up on who is still sending."""
    silence.silence.begins()
    client = Client(headers={"host": HOST})
    answer = identify(client)
    assert told_to_come_back(answer)
    assert json.loads(vars(answer.wsgi_request)["_body"]) == BODY


def test_what_the_recorder_hears_of_the_database_is_believed_here_too(
    lille_till, till_client, quickly, monkeypatch
):
    client = till_client(lille_till[1])
    assert identify(client).status_code == 404, "brand and till are known from here on"

    def unanswered(*_about):
        raise desk.Unanswered("the database does not answer")

    with monkeypatch.context() as silent:
        silent.setattr(tills, "identify", unanswered)
        assert told_to_come_back(identify(client))
    assert silence.silence.is_believed()
    time.sleep(silence.BELIEVED_SECONDS)
    monkeypatch.setattr(tills, "identify", lambda *_about: {})
    assert identify(client).status_code == 200
    assert not silence.silence.turns_away(), "one who was answered speaks for all"


def test_to_be_refused_is_an_answer(quickly):
    """A machine that was frozen and started anew refuses at first: whoever looked has heard it, and speaks for all."""

    class Starting:
        def get_new_connection(self, _params):
            raise psycopg.OperationalError("the database system is starting up")

    silence.silence.begins()
    time.sleep(silence.BELIEVED_SECONDS)
    assert not silence.silence.turns_away(), "one looks"
    with pytest.raises(psycopg.OperationalError, match="starting up"):
        silence._connected(Starting(), {})
    assert not silence.silence.turns_away()
