"""The last calls of tills: what is noted of each, that noting never fails a call, and who may look at which."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from timeit import repeat
from zoneinfo import ZoneInfo

import pytest
import redis
from django.conf import settings
from django.db import connection
from django.urls import reverse
from django.utils import timezone, translation

from loyalty import till as tills
from loyalty.api import PATHS as TILL_PATHS
from loyalty.benefits_api import PATHS as BENEFIT_PATHS
from tenants.network import calls
from tenants.network.calls import NEVER, OFFLINE, QUIET, SPEAKING, Call, pulse
from tenants.network.hints import HINTS, hint
from tenants.network.models import Store, Till
from tenants.network.till_calls import PATHS, Line, Row
from tests.loyalty.conftest import programme  # noqa: F401 - a fixture
from tests.loyalty.test_till_api import CARD, Caller, sale

CONSOLE = reverse("admin:network_till_calls")
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")


@pytest.fixture(autouse=True)
def forgotten():
    """No call of another test is kept or waits."""
    calls._waiting.clear()
    calls._kept_by.clear()


@pytest.fixture
def lille_calls(lille_till, programme, till_client) -> Caller:  # noqa: F811
    return Caller(till_client(lille_till[1]))


def kept(till) -> list[Call]:
    calls.flush()
    return calls.last(connection.tenant.pk, [till if isinstance(till, int) else till.pk])[
        till if isinstance(till, int) else till.pk
    ]


# --- What is noted ----------------------------------------------------------------------------------------------


def test_a_call_is_kept_with_what_helps_and_no_more(lille_calls, lille_till):
    now = timezone.now()
    told = sale("R1", "49.90", bought_at=(now + timedelta(minutes=7)).isoformat())
    lille_calls.done("/api/v1/purchases", told)
    lille_calls.post("/api/v1/purchases", told)
    lille_calls.post("/api/v1/purchases", told | {"lines": [{"sku": "1", "amount": 1.005}]})
    refused, again, first = kept(lille_till[0])
    assert (first.method, first.path, first.status, first.id) == ("POST", "purchases", 201, "R1")
    assert (first.replayed, again.replayed, first.shown, first.code) == (False, True, "card:••1234", "")
    assert (refused.status, refused.code, refused.field) == (422, "invalid_amount", "lines[0].amount")
    assert first.told_at - now.timestamp() == pytest.approx(420, abs=1)
    assert first.at == pytest.approx(now.timestamp(), abs=60)
    assert first.ms > 0
    rows = str(calls._keeper()._lists)
    assert CARD["card"] not in rows
    assert lille_till[1] not in rows


def test_every_path_of_a_till_is_noted_and_has_a_name(lille_calls, lille_till):
    named = {path.removeprefix("/api/v1/") for path in {**TILL_PATHS, **BENEFIT_PATHS}}
    assert set(PATHS) == named | {"members/…", "rewards", "events"}
    assert set(calls.ID_OF_PATH) <= named
    member = lille_calls.done("/api/v1/purchases", sale())["member"]
    lille_calls.client.get(f"/api/v1/members/{member}")
    lille_calls.client.get("/api/v1/rewards")
    lille_calls.post("/api/v1/coupons/check", {})
    told = kept(lille_till[0])
    assert [(call.path, call.status) for call in told] == [
        ("coupons/check", 400), ("rewards", 200), ("members/…", 200), ("purchases", 201),
    ]  # fmt: skip
    assert member not in str(told)


def test_who_showed_the_card_is_told_and_not_who_is_enrolled(lille_calls, lille_till):
    create = {"first_name": "Marie", "email": "marie@mail.example"}
    lille_calls.done("/api/v1/identify", {"create": create, "member": CARD}, 200)
    (call,) = kept(lille_till[0])
    assert call.shown == "card:••1234"


def test_a_batch_tells_its_tickets(lille_calls, lille_till):
    batch = {"purchases": [sale("R1"), sale("R2", bought_at="9027-01-01T10:00:00+01:00"), sale("R3")]}
    lille_calls.done("/api/v1/purchases/batch", batch, 200)
    lille_calls.done("/api/v1/purchases/batch", {"purchases": [sale("R1")]}, 200)
    good, call = kept(lille_till[0])
    assert (call.tickets, call.refused, call.shown, call.told_at) == (3, 1, "", None)
    assert (call.id, call.code, call.field) == ("R2", "future_date", "bought_at")
    assert (good.tickets, good.refused, good.id, good.code) == (1, 0, "", "")
    with translation.override("en"):
        told = Row(lille_till[0], call).hint
    assert "the answer says why" in told
    assert "Set the till's clock" in told


def test_a_till_that_calls_a_wrong_path_is_no_stranger(lille_calls, lille_till):
    lille_calls.post("/api/v1/purchase", sale())
    lille_calls.client.get("/api/v1/purchases")
    told = kept(lille_till[0])
    assert [(call.path, call.status, call.code) for call in told] == [
        ("purchases", 403, "not_authenticated"), ("purchase", 404, "not_found"),
    ]  # fmt: skip
    assert Row(lille_till[0], told[1]).hint == str(HINTS["not_found"])
    assert kept(calls.STRANGERS) == []


def test_who_calls_as_a_till_without_its_header_is_noted_and_no_password_is(brand, client_of):
    client = client_of()
    for header in ("", "Bearer hunter2", "hunter2", "Till"):
        client.post(
            "/api/v1/identify", {"member": CARD}, "application/json", headers={"authorization": header}
        )
    client.get("/api/v1/purchases", headers={"authorization": "Basic hunter2"})
    told = kept(calls.STRANGERS)
    assert [(call.path, call.code, call.shown) for call in told] == [("identify", "unknown_till", "")] * 4


@pytest.mark.parametrize(
    ("kind", "value", "seen"),
    [
        ("card", "2990000001234", "••1234"),
        ("card", "12345", "••"),
        ("phone", "0612345678", "••78"),
        ("phone", "12", "••"),
        ("email", "marie.durand@mail.example", "m•••@mail.example"),
        ("email", "nonsense", "n•••"),
    ],
)
def test_what_was_shown_is_masked(kind, value, seen):
    assert calls.masked(kind, value) == seen


def test_a_wrong_key_is_noted_for_head_office_and_a_revoked_one_for_its_till(
    lille_calls, lille_till, till_client
):
    machine, key = lille_till
    Caller(till_client("wrong-key-of-nobody")).post("/api/v1/identify", {"member": CARD})
    machine.revoked_at = timezone.now()
    machine.save()
    lille_calls.post("/api/v1/identify", {"member": CARD})
    assert [(call.status, call.code) for call in kept(machine)] == [(401, "unknown_till")]
    (stranger,) = kept(calls.STRANGERS)
    assert (stranger.status, stranger.shown) == (401, "key:wron…")
    assert "wrong-key" not in str(calls._keeper()._lists)
    assert key not in str(calls._keeper()._lists)


def test_a_till_is_not_taken_for_the_one_that_called_before(lille_calls, lille_till, till_client):
    lille_calls.done("/api/v1/purchases", sale())
    Caller(till_client("wrong-key-of-nobody")).post("/api/v1/identify", {"member": CARD})
    assert [call.path for call in kept(lille_till[0])] == ["purchases"]


def test_pages_and_programs_are_no_calls_of_tills(client_of, diane, lille_till):
    client_of(diane).get(CONSOLE)
    client_of(diane).get("/api/v1/profiles")
    assert not calls._waiting


def test_what_went_wrong_with_us_is_noted_too(lille_calls, lille_till, monkeypatch):
    def broken(*_about):
        raise ZeroDivisionError

    monkeypatch.setattr(tills, "identify", broken)
    with pytest.raises(ZeroDivisionError):
        lille_calls.post("/api/v1/identify", {"member": CARD})
    assert [(call.path, call.status) for call in kept(lille_till[0])] == [("identify", 500)]


@pytest.mark.parametrize(
    "body",
    [b"", b"\x00", b"[" * 9000, b'{"member": {"card": "\\ud800"}}', b'{"member": {"card": "\\u0000\\"x"}}', b"\xff\xfe",
     b'{"bought_at": "99999-99-99T99:99:99Z", "receipt_id": "\\q"}', b'{"receipt_id": "\\ud800"}'],
)  # fmt: skip
def test_whatever_a_till_sends_it_can_be_noted(lille_calls, lille_till, body):
    assert lille_calls.post("/api/v1/quotes", body).status_code in (400, 422)
    assert len(kept(lille_till[0])) == 1


def test_a_body_that_is_refused_unread_stays_unread(lille_calls, lille_till):
    lille_calls.post("/api/v1/identify", b" " * (2 * 1024 * 1024))
    (call,) = kept(lille_till[0])
    assert (call.status, call.code) == (413, "body_too_large")


def test_only_the_newest_are_kept(lille_calls, lille_till, monkeypatch):
    monkeypatch.setattr(calls, "KEPT", 5)
    for number in range(8):
        lille_calls.post("/api/v1/purchases", sale(f"R{number}"))
    assert [call.id for call in kept(lille_till[0])] == ["R7", "R6", "R5", "R4", "R3"]


# --- That it costs and breaks nothing ---------------------------------------------------------------------------


def test_without_the_cache_server_a_till_is_answered_and_the_page_says_so(
    lille_calls, lille_till, client_of, diane, settings
):
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}}
    lille_calls.done("/api/v1/purchases", sale())
    calls.flush()
    assert not calls._waiting
    with pytest.raises(calls.Unreachable):
        calls.last(connection.tenant.pk, [lille_till[0].pk])
    page = client_of(diane).get(CONSOLE)
    assert page.status_code == 200
    assert "cannot be read now" in page.content.decode()
    assert str(lille_till[0]) in page.content.decode()


def test_where_no_thread_can_be_had_a_till_is_answered(lille_calls, monkeypatch):
    def none(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(calls, "_writer", None)
    monkeypatch.setattr(calls.threading.Thread, "start", none)
    lille_calls.done("/api/v1/purchases", sale())


def test_what_waits_is_bounded(lille_till, rf, brand):
    request = rf.post("/api/v1/identify", headers={"authorization": "Till x"})
    request.tenant = brand
    for _turn in range(calls.MOST_WAITING + 50):
        calls.note(request, None, 0.0)
    assert len(calls._waiting) <= calls.MOST_WAITING


def test_the_lane_is_not_slowed(lille_till, rf, brand):
    """Noting costs microseconds: it asks nobody anything."""
    request = rf.post(
        "/api/v1/purchases", sale(), content_type="application/json", headers={"authorization": "Till x"}
    )
    assert request.body
    request.tenant = brand

    assert min(repeat(lambda: calls.note(request, None, 0.0), number=100, repeat=10)) / 100 < 50e-6


@pytest.mark.slow
def test_the_lists_on_a_server_hold_what_was_noted(monkeypatch):
    from cdp import embedded

    monkeypatch.setenv(embedded.UNSAFE_VARIABLE, "1")
    location = embedded.ensure_valkey(Path(settings.VAR_DIR))
    keeper = calls._OnServer(location)
    told = [calls.msgspec.json.encode(Call(n, "POST", "purchases", 201, 1.0, id=f"R{n}")) for n in range(300)]
    keeper.add({(0, 1): told[:150], (0, 2): told[:1]})
    keeper.add({(0, 1): told[150:]})
    one, two, none = keeper.last(0, [1, 2, 3], 300)
    assert (one, two, none) == (told[:-201:-1], told[:1], [])
    server = redis.Redis.from_url(location)
    assert 0 < server.ttl("till-calls:0:1") <= calls.KEPT_SECONDS
    server.delete("till-calls:0:1", "till-calls:0:2")
    server.close()


# --- How a till is doing ----------------------------------------------------------------------------------------


def made(*minutes_ago: float, now=NOON, **more) -> list[Call]:
    return [
        Call((now - timedelta(minutes=minutes)).timestamp(), "POST", "purchases", 201, 10.0, **more)
        for minutes in minutes_ago
    ]


@pytest.mark.parametrize(
    ("minutes_ago", "now", "state"),
    [
        ((), NOON, NEVER),
        ((2, 5), NOON, SPEAKING),
        ((20, 25), NOON, QUIET),
        ((45, 50), NOON, OFFLINE),
        ((45, 90), NOON, QUIET),  # it made such pauses before
        ((100, 130), NOON, OFFLINE),
        ((45, 50), NOON.replace(hour=22), QUIET),  # the shop is closed
        ((15 * 60, 15 * 60 + 5), NOON.replace(hour=8), QUIET),  # it opens
        ((15 * 60, 15 * 60 + 5), NOON.replace(hour=9), OFFLINE),
    ],
)
def test_a_till_that_falls_silent_by_day_sounds_offline(minutes_ago, now, state):
    assert pulse(made(*minutes_ago, now=now), now, PARIS).state == state


@pytest.mark.parametrize(
    ("told", "ahead"),
    [
        ([0, -3], 0),
        ([420, 300], 420),
        ([-600, -86400], -600),
        ([-2, -86400], -2),
        ([10**10, 420, 400, -86400], 420),
    ],
)
def test_the_clock_is_told_by_the_ticket_that_came_soonest(told, ahead):
    some = [Call(NOON.timestamp(), "POST", "purchases", 201, 1.0, told_at=NOON.timestamp() + n) for n in told]
    assert pulse(some, NOON, PARIS).ahead == ahead
    assert pulse(made(1), NOON, PARIS).ahead is None


def test_every_code_that_a_till_can_hear_has_a_hint():
    page = (Path(settings.BASE_DIR) / "docs/till-api.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| \d{3} \| (.*?) \|", page, re.MULTILINE)
    others = ("[connector", "[events]", "connector", "web shop", "the source")
    codes = {code for code, words in told if not any(word in words for word in others)}
    codes -= {"source_not_active"}
    assert set(HINTS) == codes - {"wrong_signature"}


def test_a_hint_is_told_in_the_reader_s_words():
    assert "clock" in hint(422, "future_date")
    assert hint(201, "") == ""
    assert hint(201, "", replayed=True)
    assert hint(500, "") == hint(503, "unavailable")
    assert "no JSON" in hint(400, "invalid_body")
    assert "the field that is named" in hint(400, "invalid_body", field="lines[0].sku")
    assert hint(422, "a_new_code") == hint(405, "method_not_allowed")
    assert "waits for its sale" in hint(202, "")
    with translation.override("fr"):
        assert hint(503, "unavailable")


def test_one_that_sounds_offline_says_since_when(lille_till):
    machine = lille_till[0]
    line = Line(machine, pulse(made(45, 50), NOON, PARIS))
    assert (line.label, line.chip) == ("sounds offline since 12:15", "cdp-no")
    machine.revoked_at = NOON
    assert line.label == "key revoked"


@pytest.mark.parametrize(
    ("ahead", "told"),
    [(None, ""), (20, "right"), (-20, "right"), (420, "7 min ahead"), (-9000, "2 h 30 min behind, or sends late"),
     (172_800, "2 days ahead")],
)  # fmt: skip
def test_a_clock_is_told_in_words(ahead, told):
    assert Line(Till(), calls.Pulse(ahead=ahead)).clock == told


# --- Who looks --------------------------------------------------------------------------------------------------


@pytest.fixture
def both(lille_till, lyon_till, programme, till_client):  # noqa: F811
    """A call of each till, and one of nobody's."""
    Caller(till_client(lille_till[1])).done("/api/v1/purchases", sale("REC-LILLE"))
    Caller(till_client(lyon_till[1])).done("/api/v1/purchases", sale("REC-LYON"))
    Caller(till_client("wrong-key-of-nobody")).post("/api/v1/identify", {"member": CARD})
    calls.flush()
    return lille_till[0], lyon_till[0]


@pytest.mark.parametrize("part", ["", "&part=1"])
def test_a_manager_sees_the_calls_of_the_own_tills_alone(both, bruno, chloe, diane, client_of, part):
    for person, seen, unseen in ((bruno, "LILLE", "LYON"), (chloe, "LYON", "LILLE")):
        page = client_of(person).get(f"{CONSOLE}?q={part}").content.decode()
        assert f"REC-{seen}" in page
        assert f"REC-{unseen}" not in page
        assert "wron…" not in page
    page = client_of(diane).get(f"{CONSOLE}?q={part}").content.decode()
    assert all(told in page for told in ("REC-LILLE", "REC-LYON", "wron…"))


def test_times_are_those_of_the_clock_in_the_store(both, diane, client_of):
    lille, lyon = both
    Store.objects.filter(pk=lyon.store_id).update(time_zone="Indian/Reunion")
    (call,) = calls.last(connection.tenant.pk, [lyon.pk])[lyon.pk]
    here = datetime.fromtimestamp(call.at, ZoneInfo("Indian/Reunion"))
    page = client_of(diane).get(f"{CONSOLE}?till={lyon.pk}").content.decode()
    assert here.strftime("%d/%m/%Y %H:%M</time>") in page
    assert here.strftime("%H:%M:%S</time>") in page
    assert here.strftime("%d/%m/%Y +04<") in page
    assert " CET<" not in client_of(diane).get(f"{CONSOLE}?till={lille.pk}").content.decode()
    early = calls.msgspec.structs.replace(call, at=NOON.timestamp() - 3600)
    line = Line(Till.objects.get(pk=lyon.pk), pulse([early], NOON, PARIS))
    assert line.label == "sounds offline since 15:00"


def test_another_store_s_till_is_not_there(both, bruno, client_of):
    lille, lyon = both
    browser = client_of(bruno)
    assert "REC-LILLE" in browser.get(f"{CONSOLE}?till={lille.pk}").content.decode()
    for told in (lyon.pk, 0, "x", "9" * 30, "²"):
        answer = browser.get(f"{CONSOLE}?till={told}")
        assert answer.status_code == 404, told
        assert "REC-LYON" not in answer.content.decode()


def test_who_may_not_see_tills_sees_no_calls(both, alice, client_of):
    assert client_of(alice).get(CONSOLE).status_code == 403
    assert client_of().get(CONSOLE).status_code == 302


def test_calls_are_chosen_by_status_and_till(both, lille_till, till_client, diane, client_of):
    lille, _lyon = both
    caller = Caller(till_client(lille_till[1]))
    caller.post("/api/v1/purchases", sale("REC-LILLE"))
    caller.post("/api/v1/purchases", sale("REC-WRONG", bought_at="2999-01-01T10:00:00+01:00"))
    calls.flush()
    browser = client_of(diane)

    def rows(query) -> list[str]:
        answer = browser.get(f"{CONSOLE}?{query}")
        assert answer.status_code == 200
        return [row.call.id for row in answer.context["rows"]]

    assert rows(f"till={lille.pk}") == ["REC-WRONG", "REC-LILLE", "REC-LILLE"]
    assert rows("status=refused") == ["REC-WRONG"]
    assert rows("status=replayed") == ["REC-LILLE"]
    assert rows("status=failed") == []
    assert rows("status=done&q=lyon") == ["REC-LYON"]
    assert rows("status=nonsense&page=99&q=%00") == ["REC-WRONG", "REC-LILLE", "REC-LYON", "REC-LILLE"]
    page = browser.get(f"{CONSOLE}?till={lille.pk}").content.decode()
    assert "Set the till&#x27;s clock" in page
    assert "••1234" in page
    assert CARD["card"] not in page
    assert "<script>" not in page.split('id="calls"')[1]
