"""Who guesses keys of tills: refused for a minute, and nobody else."""

import logging

import pytest
from django.core.cache import cache
from redis.exceptions import ConnectionError as RedisConnectionError

from tenants.network import auth, throttle
from tenants.network.models import KEY_PREFIX_LENGTH
from tests.conftest import HOST

BODY = {"member": {"card": "2990000001234"}}


@pytest.fixture(autouse=True)
def nobody_remembered(monkeypatch):
    auth.forget_tills()
    monkeypatch.setitem(throttle._away, "until", 0.0)
    monkeypatch.setattr(throttle, "_minute", lambda: 1)


@pytest.fixture
def ask(client_of, lille_till):
    """`ask(key, address)`: the answer to a till with that key, calling from there."""
    client = client_of()

    def asked(key, address="203.0.113.5", **headers):
        told = {"host": HOST, "authorization": f"Till {key}", **headers}
        return client.post(
            "/api/v1/identify", BODY, content_type="application/json", headers=told, REMOTE_ADDR=address
        )

    return asked


def guess(ask, number, prefix="", **where) -> list[int]:
    return [ask(f"{prefix or f'{n:08}'}guess-{n}", **where).status_code for n in range(number)]


def test_a_beginning_is_tried_ten_times_a_minute(ask, lille_till):
    prefix = lille_till[1][:KEY_PREFIX_LENGTH]
    assert guess(ask, throttle.MOST_OF_PREFIX, prefix) == [401] * throttle.MOST_OF_PREFIX
    refused = ask(prefix + "once more")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_attempts")
    assert refused.headers["Retry-After"] == "60"
    # Another beginning, and the same one from elsewhere, are still looked at.
    assert ask("another-beginning").status_code == 401
    assert ask(prefix + "once more", address="203.0.113.6").status_code == 401


def test_an_address_tries_a_hundred_times_a_minute(ask, caplog):
    with caplog.at_level(logging.WARNING):
        assert set(guess(ask, throttle.MOST_OF_ADDRESS)) == {401}
    assert "keys are being guessed from 203.0.113.5" in caplog.text
    assert ask("another-beginning").status_code == 429
    assert ask("another-beginning", address="203.0.113.6").status_code == 401


def test_a_new_minute_is_a_new_chance(ask, monkeypatch):
    guess(ask, throttle.MOST_OF_ADDRESS)
    assert ask("another-beginning").status_code == 429
    monkeypatch.setattr(throttle, "_minute", lambda: 2)
    assert ask("another-beginning").status_code == 401


def test_tills_behind_the_address_of_who_guesses_go_on(ask, lille_till):
    key = lille_till[1]
    assert ask(key).status_code == 404
    guess(ask, throttle.MOST_OF_PREFIX + 1, key[:KEY_PREFIX_LENGTH])
    guess(ask, throttle.MOST_OF_ADDRESS)
    assert ask("another-beginning").status_code == 429
    assert ask(key).status_code == 404
    # Another process, which has never heard of the till.
    auth.forget_tills()
    assert ask(key).status_code == 404


def test_a_key_that_was_revoked_is_throttled_like_any_other(ask, lille_till):
    machine, key = lille_till
    assert ask(key).status_code == 404
    machine.issue_key()
    assert {ask(key).status_code for _attempt in range(3)} == {401}


def test_without_a_cache_nobody_is_refused_and_it_is_not_asked_each_time(
    ask, lille_till, monkeypatch, caplog
):
    asked = []

    def away(*about, **more):
        asked.append(about)
        raise RedisConnectionError("refused")

    for verb in ("get_many", "add", "incr", "set"):
        monkeypatch.setattr(cache, verb, away)
    assert set(guess(ask, throttle.MOST_OF_ADDRESS + 5)) == {401}
    assert ask(lille_till[1]).status_code == 404
    assert len(asked) == 1
    assert "the cache is away" in caplog.text


def test_behind_a_proxy_the_address_is_the_one_that_the_proxy_saw(ask, settings):
    settings.SECURE = True
    where = {"address": "10.0.0.1", "x-forwarded-proto": "https"}
    for n in range(throttle.MOST_OF_ADDRESS):
        ask(f"{n:08}", **where, **{"x-forwarded-for": f"198.51.100.{n}, 203.0.113.5"})
    assert ask("another", **where, **{"x-forwarded-for": "1.2.3.4, 203.0.113.5"}).status_code == 429
    assert ask("another", **where, **{"x-forwarded-for": "203.0.113.5, 203.0.113.6"}).status_code == 401


def test_a_key_that_begins_like_a_till_s_costs_the_same_queries(
    lille_till, django_assert_num_queries, monkeypatch
):
    """What was found by its beginning alone would take longer to be refused than what was not found at all."""
    machine, key = lille_till
    for wrong in (key[:KEY_PREFIX_LENGTH] + "x", "nothing-like-it"):
        with django_assert_num_queries(1) as asked, pytest.raises(auth.UnknownTill):
            auth._recognised(wrong, auth.hash_of_key(wrong))
        assert auth.hash_of_key(wrong) in asked.captured_queries[0]["sql"]
    compared = []
    monkeypatch.setattr(auth, "constant_time_compare", lambda *two: compared.append(two) or True)
    assert auth._recognised(key, machine.key_hash) == machine
    assert compared == [(machine.key_hash, machine.key_hash)]
