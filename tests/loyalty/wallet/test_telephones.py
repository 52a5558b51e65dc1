"""Statement 56: passes in Apple Wallet, against a push service of ours."""

from datetime import timedelta
from itertools import pairwise

import pytest
import time_machine
from django.core.cache import cache
from django.utils import timezone

from cdp.celery import app
from loyalty import ledger, member_links, till
from loyalty.models import AppleIssuer, PassDevice, WalletPass
from loyalty.tasks import update_wallet_passes
from loyalty.wallet import passes, telling
from tests.loyalty.conftest import CARD, OTHER
from tests.loyalty.wallet.phones import (
    BEAT,
    MINUTE,
    PUSH_TOKEN,
    Phone,
    downloaded,
    earn,
    made,
    points_on,
    rested,
)
from tests.wallets import PASS_TYPE, YEAR, Authority, pem

# --- Apple's web service -------------------------------------------------------------------------------------------


def test_a_telephone_registers_asks_fetches_and_leaves(client_of, lille_till, marie, apple_issuer):
    """Statement 56: Apple's web service, from the first registration to the last."""
    phone = Phone(client_of(), downloaded(client_of, marie))
    assert phone.changed() == []
    assert [phone.register(), phone.register()] == [201, 200]
    assert phone.changed() == [phone.serial]
    assert phone.changed() == []
    assert points_on(phone.shows()) == 150
    assert phone.fetch().status_code == 304
    earn(lille_till, "A1")
    passes.note_all()
    assert phone.changed() == [phone.serial]
    assert points_on(phone.shows()) == 160
    assert phone.fetch().status_code == 304
    assert phone.client.delete(phone.registration, headers=phone.authorised()).status_code == 200
    assert not PassDevice.objects.exists()
    phone.tag = ""
    assert phone.changed() == []


def test_a_fetch_is_never_behind_the_ledger(client_of, lille_till, marie, apple_issuer):
    """Statement 56: whoever fetches between a posting and the worker's look gets the new balance, not a 304."""
    phone = Phone(client_of(), downloaded(client_of, marie))
    phone.shows()
    for number in range(3):
        earn(lille_till, f"F{number}")
        assert points_on(phone.shows()) == 160 + 10 * number


def test_only_the_pass_s_own_token_opens_it(client_of, marie, jeanne, apple_issuer):
    """Statement 56: without its token, or with another pass's, the service tells nothing and changes nothing."""
    phone = Phone(client_of(), downloaded(client_of, marie))
    other = Phone(client_of(), downloaded(client_of, jeanne))
    own = phone.token
    for wrong in ("", "x", own[:-1], own + "x", other.token, "é"):
        phone.token = wrong
        assert phone.register() == 401
        assert phone.fetch().status_code == 401
        assert phone.client.delete(phone.registration, headers=phone.authorised()).status_code == 401
    bare = {"authorization": own}
    assert (
        phone.client.get(f"{phone.service}/v1/passes/{PASS_TYPE}/{phone.serial}", headers=bare).status_code
        == 401
    )
    phone.token, phone.serial = own, "11111111-2222-3333-4444-555555555555"
    assert phone.fetch().status_code == 401
    assert not PassDevice.objects.exists()


def test_guessing_tokens_is_slowed_down(client_of, marie, apple_issuer):
    """Statement 56: sixty wrong tokens a minute of one address, and no more."""
    phone = Phone(client_of(), downloaded(client_of, marie))
    phone.token = "guess"
    answers = [phone.fetch().status_code for _n in range(member_links.MOST_A_MINUTE + 1)]
    assert answers == [401] * member_links.MOST_A_MINUTE + [429]
    cache.clear()


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"null", b'{"pushToken": 1}', b'{"pushToken": ""}', b'{"pushToken": "../../x"}',
     b'{"pushToken": "' + b"a" * 201 + b'"}', b'{"pushToken": "' + b"a" * 20000 + b'"}', b"\xff\xfe",
     b"[" * 20000],
)  # fmt: skip
def test_a_registration_that_cannot_be_right_is_refused_in_words(client_of, marie, apple_issuer, body):
    """Statement 56: a telephone that sends anything else than a push token hears which field is wrong."""
    phone = Phone(client_of(), downloaded(client_of, marie))
    response = phone.client.post(
        phone.registration, body, content_type="application/json", headers=phone.authorised()
    )
    assert response.status_code == 400
    assert "pushToken" in response.json()["message"]


@pytest.mark.parametrize("tag", ["x", "-1", "9" * 40, "1.5", "²", "\x00"])
def test_a_tag_that_is_none_asks_for_everything(client_of, marie, apple_issuer, phone, tag):
    """Statement 56: a telephone that lost its tag is told of every pass that it has."""
    phone.tag = tag
    assert phone.changed() == [phone.serial]


def test_complaints_of_telephones_are_logged_as_data(client_of, brand, caplog):
    """Statement 56: the log endpoint keeps a few lines, shortened, on one line each."""
    sent = {"logs": ["first\nINFO forged line", "x" * 5000, *["more"] * 50]}
    assert client_of().post("/wallet/apple/v1/log", sent, content_type="application/json").status_code == 200
    assert len(caplog.records) == 10
    assert "\n" not in caplog.records[0].getMessage()
    assert len(caplog.records[1].getMessage()) < 400
    for wrong in ({}, {"logs": 1}, []):
        assert (
            client_of().post("/wallet/apple/v1/log", wrong, content_type="application/json").status_code
            == 400
        )


def test_another_host_knows_nothing_of_the_pass(client_of, marie, apple_issuer):
    """Statement 56: the service answers under the brand's own host; the platform's has no such page."""
    phone = Phone(client_of(), downloaded(client_of, marie))
    address = f"{phone.service}/v1/passes/{PASS_TYPE}/{phone.serial}"
    response = phone.client.get(address, headers=phone.authorised(host="localhost"))
    assert response.status_code == 302
    assert response["Location"].startswith("/login/")


def test_a_table_of_telephones_cannot_be_filled(client_of, marie, apple_issuer):
    """Statement 56: so many telephones hold one pass, and no more."""
    files = downloaded(client_of, marie)
    answers = [Phone(client_of(), files, device=f"d{n}").register() for n in range(passes.MOST_DEVICES + 1)]
    assert answers == [201] * passes.MOST_DEVICES + [400]


# --- Within a minute -----------------------------------------------------------------------------------------------


def test_a_new_balance_is_on_the_phone_within_a_minute(lille_till, marie, apple, phone):
    """Statement 56: from the posting to the balance on the telephone, through the timetable's own task, at its pace."""
    start = timezone.now()
    assert timedelta(seconds=20) >= BEAT
    with time_machine.travel(start, tick=False) as clock:
        earn(lille_till, "S1")
        clock.shift(BEAT)
        assert app.tasks[app.conf.beat_schedule["wallet-passes-updated"]["task"]].apply().get() == 1
        (push,) = apple.heard
        assert (push.token, push.body, push.pass_type) == (PUSH_TOKEN, b"{}", PASS_TYPE)
        assert push.headers["apns-topic"] == PASS_TYPE
        assert push.headers[":method"] == "POST"
        assert phone.changed() == [phone.serial]
        assert points_on(phone.shows()) == 160
        # The worst there is: the next one is posted just after that push.
        earn(lille_till, "S2")
        posted = timezone.now()
        while points_on_pushed(apple, phone) != 170:
            clock.shift(BEAT)
            update_wallet_passes()
        assert timezone.now() - posted < MINUTE


def points_on_pushed(apple, phone) -> int:
    """What the telephone shows, which asks where it is pushed and not before."""
    pushed = len(apple.heard)
    if pushed != getattr(phone, "pushed", 1):
        phone.pushed = pushed
        phone.points = points_on(phone.shows())
    return getattr(phone, "points", 160)


def test_ten_postings_in_a_minute_are_one_push(lille_till, marie, apple, phone):
    """Statement 56: postings that come together are one push, which shows the last of them."""
    for number in range(10):
        earn(lille_till, f"T{number}")
    assert update_wallet_passes() == 1
    for number in range(10, 20):
        earn(lille_till, f"T{number}")
        assert update_wallet_passes() == 0, "not again before it has been calm for a while"
    assert apple.tokens == [PUSH_TOKEN]
    rested()
    assert update_wallet_passes() == 1
    assert update_wallet_passes() == 0
    assert apple.tokens == [PUSH_TOKEN] * 2
    assert points_on(phone.shows()) == 350


def test_every_kind_of_posting_is_told(lille_till, marie, apple, phone):
    """Statement 56: spending and expiring change the balance as earning does, whoever posts it."""
    till.redeem(lille_till[0], CARD, 100, "P1", timezone.now())
    assert update_wallet_passes() == 1
    assert points_on(phone.shows()) == 50
    with time_machine.travel(timezone.now() + timedelta(days=800)):
        ledger.expire_due(timezone.now().date())
        update_wallet_passes()
        assert apple.tokens == [PUSH_TOKEN], "the certificate has expired meanwhile, too"
        AppleIssuer.objects.update(valid_until=timezone.now() + YEAR)
        rested()
        update_wallet_passes()
        assert apple.tokens == [PUSH_TOKEN] * 2
        assert points_on(phone.shows()) == 0


def test_members_without_a_pass_in_a_wallet_cost_nothing(lille_till, marie, jeanne, apple_issuer, apple):
    """Statement 56: a pass that nobody holds is told to nobody."""
    made(marie)
    earn(lille_till, "N1")
    earn(lille_till, "N2", who=OTHER)
    assert passes.note_all() == 0
    assert update_wallet_passes() == 0
    assert apple.heard == []


# --- What goes wrong on the way ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [(410, "Unregistered"), (400, "BadDeviceToken"), (400, "DeviceTokenNotForTopic")]
)
def test_a_device_that_apple_calls_gone_is_unregistered(client_of, lille_till, marie, apple, phone, answer):
    """Statement 56: 410, and a token that never works: not called again. The other telephone is."""
    second = Phone(client_of(), downloaded(client_of, marie), device="second", push_token="cd" * 32)
    second.register()
    apple.answers[PUSH_TOKEN] = answer
    earn(lille_till, "G1")
    rested()
    update_wallet_passes()
    assert sorted(apple.tokens) == [PUSH_TOKEN, "cd" * 32]
    assert list(PassDevice.objects.values_list("device", flat=True)) == ["second"]
    assert WalletPass.objects.get().next_at is None


def test_many_telephones_are_told_side_by_side_and_each_once(
    client_of, lille_till, marie, apple_issuer, apple
):
    """Statement 56: twenty telephones of one pass share lines to Apple; none is left out, and none told twice."""
    files, tokens = downloaded(client_of, marie), [f"{n:02x}" * 32 for n in range(passes.MOST_DEVICES)]
    for token in tokens:
        Phone(client_of(), files, device=token[:8], push_token=token).register()
    earn(lille_till, "V1")
    assert update_wallet_passes() == 1
    assert sorted(apple.tokens) == tokens


def test_what_fails_is_told_again_after_a_growing_pause_and_to_nobody_twice(
    client_of, lille_till, marie, apple, phone
):
    """Statement 56: an answer of 503 is tried again, later each time, and only where it failed."""
    Phone(client_of(), downloaded(client_of, marie), device="second", push_token="cd" * 32).register()
    apple.answers[PUSH_TOKEN] = (503, "ServiceUnavailable")
    earn(lille_till, "B1")
    pauses = []
    for _attempt in range(4):
        rested()
        passes.note_all()
        assert telling.tell() == 1
        one = WalletPass.objects.get()
        pauses.append(one.next_at - timezone.now())
    assert all(later > 2 * sooner for sooner, later in pairwise(pauses))
    assert apple.tokens.count("cd" * 32) == 1
    apple.answers.clear()
    rested()
    assert update_wallet_passes() == 1
    one.refresh_from_db()
    assert (one.next_at, one.attempt_count) == (None, 0)
    with time_machine.travel(timezone.now() + timedelta(days=4)):
        apple.answers[PUSH_TOKEN] = (503, "ServiceUnavailable")
        WalletPass.objects.update(next_at=timezone.now(), tag=one.tag + 1)
        telling.tell()
    assert WalletPass.objects.get().next_at is None, "given up after three days"


def test_while_apple_or_the_broker_is_away_nothing_is_lost(
    lille_till, marie, settings, apple, phone, monkeypatch
):
    """Statement 56: postings ask no broker; what happened while everything was away is found afterwards."""

    def down(*_args, **_told):
        raise AssertionError("a till does not wait for a broker")

    monkeypatch.setattr(update_wallet_passes, "apply_async", down)
    there = settings.APNS_URL
    for number in range(3):
        earn(lille_till, f"D{number}")
    settings.APNS_URL = "https://127.0.0.1:9"
    assert update_wallet_passes() == 1
    assert apple.heard == []
    assert WalletPass.objects.get().next_at > timezone.now()
    settings.APNS_URL = there
    rested()
    assert update_wallet_passes() == 1
    assert apple.tokens == [PUSH_TOKEN]
    assert points_on(phone.shows()) == 180


def test_a_worker_that_died_is_taken_over(lille_till, marie, apple, phone):
    """Statement 56: who tells takes the pass for a while, and no longer."""
    earn(lille_till, "K1")
    passes.note_all()
    assert len(telling._take()) == 1
    assert telling.tell() == 0, "somebody is telling it"
    with time_machine.travel(timezone.now() + telling.TAKEN_FOR):
        assert telling.tell() == 1
    assert apple.tokens == [PUSH_TOKEN]


def test_apple_is_told_who_we_are_and_we_look_who_it_is(
    lille_till, marie, apple, phone, monkeypatch, tmp_path, root
):
    """Statement 56: nothing is pushed to somebody who is not the service that was meant."""
    stranger = Authority.named("Somebody else")
    (tmp_path / "stranger.pem").write_text(pem(stranger.certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "stranger.pem"))
    earn(lille_till, "Z1")
    update_wallet_passes()
    assert apple.heard == []
