"""The conformance kit: our server keeps every rule, and each rule notices the server that breaks it."""

import json
from datetime import date

import pytest
from django.core.management import call_command
from pytest_django.live_server_helper import LiveServer

from loyalty import proof, starter
from loyalty.conformance.report import FAILED, PASSED, SKIPPED, check, main, text_of
from loyalty.conformance.rules import RULES
from loyalty.conformance.wire import Till
from tests.committed import committed, emptied  # noqa: F401 - fixtures
from tests.conformance.middleman import WAYS, nothing, standing_before

pytestmark = pytest.mark.django_db(transaction=True)


def test_every_rule_is_told_with_its_advice_and_has_a_server_that_breaks_it():
    assert set(WAYS) == set(RULES)
    for name in RULES:
        told, advice = text_of(name)
        assert told.endswith("."), name
        assert advice.startswith("Your "), name


@pytest.fixture(scope="package")
def live_server():
    server = LiveServer("127.0.0.1")
    yield server
    server.stop()


@pytest.fixture
def shop(live_server, lille_till, lyon_till) -> tuple[str, str, str]:
    """The root of the API and two keys, at a brand with the programme that each begins with."""
    starter.open_programme("Europe/Paris", date(2024, 1, 1))
    return f"http://acme.localhost:{live_server.thread.port}/api/v1", lille_till[1], lyon_till[1]


@pytest.mark.slow
def test_our_server_keeps_every_rule(shop):
    url, key, second = shop
    results = list(check(Till(url, key), Till(url, second)))
    assert [f"{r.rule}: {r.why}" for r in results if r.outcome != PASSED] == []
    assert len(results) == len(RULES)
    assert proof.prove().differences == []


@pytest.mark.slow
def test_each_rule_notices_the_server_that_breaks_it(shop, live_server):
    _url, key, second = shop
    wrong = []
    for name, (before, after) in WAYS.items():
        for bends, expected in (((nothing, nothing), PASSED), ((before, after), FAILED)):
            with standing_before(live_server.thread.port, *bends) as port:
                url = f"http://acme.localhost:{port}/api/v1"
                (result,) = check(Till(url, key), Till(url, second), [name])
            if result.outcome != expected:
                wrong.append((name, expected, result.why, *map(str, result.said)))
            elif expected == FAILED:
                assert result.said, name
    assert wrong == []


@pytest.mark.slow
def test_what_the_command_prints_and_how_it_ends(shop, live_server, capsys):
    url, key, _second = shop
    with standing_before(live_server.thread.port, *WAYS["replay"]) as port:
        root = f"http://acme.localhost:{port}/api/v1"
        with pytest.raises(SystemExit) as ended:
            call_command("till_conformance", url=root, key=key, only=["replay", "enrol"])
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert "✗ replay" in printed
    assert "✓ enrol" in printed
    assert "> POST" in printed
    assert '"receipt_id": "KIT-' in printed
    assert "< 201" in printed
    assert key not in printed

    assert main(["--url", url, "--key", key, "--only", "other_till", "--only", "enrol", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["passed"], told["failed"], told["skipped"]) == (1, 0, 1)
    assert [rule["outcome"] for rule in told["rules"]] == [SKIPPED, PASSED]


def test_a_server_that_does_not_answer_breaks_every_rule(capsys):
    assert main(["--url", "http://127.0.0.1:1/api/v1", "--key", "k", "--only", "enrol"]) == 1
    assert "no answer" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["--url", "http://h", "--key", "k", "--only", "nothing"], ["--key", "k"], ["--url", "x", "--key", "k"]],
)
def test_a_wrong_use_is_told(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().out


def test_the_rules_are_listed(capsys):
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in RULES)
