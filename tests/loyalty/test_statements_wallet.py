"""Statement 56: wallet passes, against a certificate authority, a push service and an interface of Google of ours."""

import hashlib
import json
import re
import subprocess
import zipfile
from datetime import timedelta
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from django.core.cache import cache
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from cdp.celery import app
from loyalty import ledger, member_links, till, wallet
from loyalty.models import AppleIssuer, GoogleIssuer, PassDevice, WalletPass
from loyalty.models.wallet import sealed
from loyalty.tasks import update_wallet_passes
from loyalty.wallet import issuers, passes, telling
from profiles import merging, pass_numbers, separating
from profiles.intake import EventStatement, Sender, Shown, record_events
from profiles.models import (
    Event,
    Identifier,
    Merge,
    Profile,
    Purchase,
    QuarantinedEvent,
    SourceRecord,
)
from tenants.brand_sql import broken_promise
from tenants.network.models import AuditEvent
from tenants.scoping import scoped_to
from tests.conftest import HOST
from tests.loyalty.conftest import CARD, OTHER, known, ticket
from tests.wallets import (
    PASS_TYPE,
    TEAM,
    YEAR,
    Authority,
    apple_listening,
    google_listening,
    new_key,
    pem,
)

DEVICE, PUSH_TOKEN = "3a1f0c7e9b2d4a68", "ab" * 32
CLASS = "3388000000022000000.loyalty"
ACCOUNT = "wallet@acme.iam.gserviceaccount.com"
BEAT = app.conf.beat_schedule["wallet-passes-updated"]["schedule"]
MINUTE = timedelta(seconds=60)


# --- The brand, its certificates and a member ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority.named("Test Root")


@pytest.fixture(scope="module")
def intermediate(root) -> Authority:
    return Authority.named("Test Worldwide Developer Relations", root)


@pytest.fixture(scope="module")
def pass_key():
    return new_key()


@pytest.fixture(scope="module")
def certificate(intermediate, pass_key):
    return intermediate.issue(pass_key)


@pytest.fixture(scope="module")
def google_key():
    return new_key()


@pytest.fixture
def apple_issuer(brand, intermediate, pass_key, certificate) -> AppleIssuer:
    return AppleIssuer.objects.create(
        pass_type=PASS_TYPE, team=TEAM, certificate=pem(certificate), intermediate=pem(intermediate.certificate),
        sealed_key=sealed(pem(pass_key)), valid_until=certificate.not_valid_after_utc,
    )  # fmt: skip


@pytest.fixture
def google_issuer(brand, google_key) -> GoogleIssuer:
    return GoogleIssuer.objects.create(
        class_id=CLASS, account=ACCOUNT, key_id="k1", sealed_key=sealed(pem(google_key))
    )


@pytest.fixture
def apple(root, tmp_path, settings, monkeypatch):
    with apple_listening(root, tmp_path) as service:
        settings.APNS_URL = service.url
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
        yield service


@pytest.fixture
def google(settings):
    with google_listening() as service:
        settings.GOOGLE_WALLET_URL = f"{service.url}/walletobjects/v1"
        settings.GOOGLE_TOKEN_URL = f"{service.url}/token"
        yield service


@pytest.fixture
def marie(crm, lille, lille_till, programme) -> Profile:
    """150 points."""
    profile = known(crm, lille)
    till.record_purchase(lille_till[0], ticket("R1", 10000, at=timezone.now() - timedelta(days=2)))
    return profile


@pytest.fixture
def jeanne(crm, lille, lille_till, programme) -> Profile:
    """20 points."""
    profile = known(crm, lille, OTHER.value, first_name="Jeanne", email="jeanne@mail.example")
    bought = ticket("R2", 2000, shown=OTHER, at=timezone.now() - timedelta(days=2))
    till.record_purchase(lille_till[0], bought)
    return profile


def shown(one: WalletPass) -> Shown:
    """What a scanner makes of the pass: it says card, as of everything it reads."""
    return Shown("card", one.number)


def made(profile) -> WalletPass:
    return wallet.current_or_new(profile, by="the member")


def earn(lille_till, receipt, cents=1000, who=CARD) -> None:
    till.record_purchase(lille_till[0], ticket(receipt, cents, shown=who, at=timezone.now()))


def page_of(profile, name="page") -> str:
    return reverse(f"me:{name}", args=[member_links.token_of(profile)])


def downloaded(client_of, profile) -> dict[str, bytes]:
    """The files of the pass that the member's page hands out."""
    response = client_of().get(page_of(profile, "apple_pass"))
    assert response.status_code == 200
    assert response["Content-Type"] == "application/vnd.apple.pkpass"
    return unpacked(response.content)


def unpacked(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(content)) as packed:
        assert packed.testzip() is None
        return {name: packed.read(name) for name in packed.namelist()}


class Phone:
    """A telephone with a pass in Apple Wallet, as Apple's protocol makes it speak."""

    def __init__(self, client, files: dict[str, bytes], device=DEVICE, push_token=PUSH_TOKEN):
        told = json.loads(files["pass.json"])
        self.client, self.device, self.push_token = client, device, push_token
        self.serial, self.token = told["serialNumber"], told["authenticationToken"]
        self.service = told["webServiceURL"].removeprefix(f"http://{HOST}")
        self.tag, self.modified = "", ""

    def authorised(self, **more) -> dict:
        return {"authorization": f"ApplePass {self.token}", **more}

    @property
    def registration(self) -> str:
        return f"{self.service}/v1/devices/{self.device}/registrations/{PASS_TYPE}/{self.serial}"

    def register(self) -> int:
        body = {"pushToken": self.push_token}
        return self.client.post(
            self.registration, body, content_type="application/json", headers=self.authorised()
        ).status_code

    def changed(self) -> list[str]:
        """The passes that changed since it asked last."""
        asked = {"passesUpdatedSince": self.tag} if self.tag else {}
        response = self.client.get(
            f"{self.service}/v1/devices/{self.device}/registrations/{PASS_TYPE}", asked
        )
        if response.status_code == 204:
            return []
        assert response.status_code == 200
        self.tag = response.json()["lastUpdated"]
        return response.json()["serialNumbers"]

    def fetch(self):
        more = {"if-modified-since": self.modified} if self.modified else {}
        response = self.client.get(
            f"{self.service}/v1/passes/{PASS_TYPE}/{self.serial}", headers=self.authorised(**more)
        )
        self.modified = response.headers.get("Last-Modified", self.modified)
        return response

    def shows(self) -> dict:
        response = self.fetch()
        assert response.status_code == 200
        return json.loads(unpacked(response.content)["pass.json"])


def points_on(content: dict) -> int:
    (points,) = (field for field in content["storeCard"]["headerFields"] if field["key"] == "points")
    return points["value"]


@pytest.fixture
def phone(client_of, marie, apple_issuer) -> Phone:
    """Marie's, which has her pass and is registered; what is due after that has been told."""
    held = Phone(client_of(), downloaded(client_of, marie))
    assert held.register() == 201
    WalletPass.objects.update(next_at=None)
    PassDevice.objects.update(tag=WalletPass.objects.get().tag)
    return held


def rested() -> None:
    """The pauses between two pushes are over."""
    before = timezone.now() - timedelta(seconds=1)
    WalletPass.objects.exclude(next_at=None).update(next_at=before)


# --- What is in the file -------------------------------------------------------------------------------------------


def test_the_pass_is_a_signed_file_that_openssl_verifies(
    client_of, marie, apple_issuer, root, certificate, tmp_path
):
    """Statement 56: the pass is a real one: every file in a manifest, which the pass certificate signs."""
    files = downloaded(client_of, marie)
    manifest = json.loads(files["manifest.json"])
    rest = {name: content for name, content in files.items() if name not in ("manifest.json", "signature")}
    assert manifest == {
        name: hashlib.sha1(content, usedforsecurity=False).hexdigest() for name, content in rest.items()
    }
    for name in ("signature", "manifest.json"):
        (tmp_path / name).write_bytes(files[name])
    (tmp_path / "root.pem").write_text(pem(root.certificate))

    def verified(content: Path) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", tmp_path / "signature", "-content",
             content, "-CAfile", tmp_path / "root.pem", "-purpose", "any", "-out", tmp_path / "out"],
            capture_output=True, check=False,
        )  # fmt: skip

    assert verified(tmp_path / "manifest.json").returncode == 0
    (tmp_path / "forged").write_bytes(files["manifest.json"].replace(b"a", b"b"))
    assert verified(tmp_path / "forged").returncode != 0
    assert certificate in pkcs7.load_der_pkcs7_certificates(files["signature"])


def test_the_pass_shows_what_the_till_is_told(client_of, till_client, lille_till, marie, apple_issuer):
    """Statement 56: what it shows is what a till is told of the member at the same instant."""
    at_till = till_client(lille_till[1]).get(f"/api/v1/members/{marie.public_id}").json()
    told = json.loads(downloaded(client_of, marie)["pass.json"])
    assert points_on(told) == at_till["available"] == 150
    assert told["passTypeIdentifier"] == PASS_TYPE
    assert told["teamIdentifier"] == TEAM
    assert told["organizationName"] == "Maison Acme"
    assert told["webServiceURL"] == f"http://{HOST}/wallet/apple"
    assert len(told["authenticationToken"]) >= 32
    auxiliary = {field["key"]: field["value"] for field in told["storeCard"]["auxiliaryFields"]}
    assert auxiliary["expires"] == at_till["next_expiry"]["on"] + "T12:00:00Z"
    assert auxiliary["expiring"] == 150
    assert told["storeCard"]["secondaryFields"][0]["value"] == "Marie D."


def test_the_pass_speaks_french_and_english_and_has_its_pictures(client_of, marie, apple_issuer):
    """Statement 56: every word of the pass stands in both languages, and every picture has the size of its name."""
    files = downloaded(client_of, marie)
    told = json.loads(files["pass.json"])
    words = {
        language: dict(
            re.findall(
                r'^"((?:[^"\\]|\\.)*)" = "((?:[^"\\]|\\.)*)";$',
                files[f"{language}.lproj/pass.strings"].decode(),
                re.MULTILINE,
            )
        )
        for language in ("en", "fr")
    }  # fmt: skip
    assert words["en"]["points_label"] == words["fr"]["points_label"] == "Points"
    assert "%@" in words["en"]["points_changed"]
    assert "%@" in words["fr"]["points_changed"]
    assert words["en"].keys() == words["fr"].keys()
    fields = [field for group in told["storeCard"].values() for field in group]
    assert {field["label"] for field in fields} <= words["en"].keys()
    assert {field["changeMessage"] for field in fields if "changeMessage" in field} <= words["en"].keys()
    for name, side in (("icon.png", 29), ("icon@2x.png", 58), ("icon@3x.png", 87), ("logo@2x.png", 100)):
        picture = Image.open(BytesIO(files[name]))
        assert (picture.format, picture.size) == ("PNG", (side, side))
        assert len(picture.convert("RGBA").getcolors(100_000)) > 2, f"{name} is empty"
    icon = Image.open(BytesIO(files["icon@3x.png"])).convert("RGB")
    assert icon.getpixel((43, 4)) == (0x0F, 0x65, 0x70), "the icon stands on the brand's colour"


# --- The number ----------------------------------------------------------------------------------------------------


def test_the_code_holds_an_opaque_number_that_tills_know_like_a_card(
    client_of, till_client, lille_till, marie, jeanne, apple_issuer
):
    """Statement 56: the barcode holds a random number, which identifies at every verb of the till like the card."""
    told = json.loads(downloaded(client_of, marie)["pass.json"])
    (code,) = told["barcodes"]
    number = code["message"]
    assert pass_numbers.read(number) == number
    assert made(jeanne).number != number
    secrets = (CARD.value, str(marie.public_id), marie.public_id.hex, marie.email, "Marie")
    assert not any(secret in number for secret in secrets)
    at_till = till_client(lille_till[1])

    def asked(path, **body):
        member = {"member": {"card": number.lower()}}
        return at_till.post(f"/api/v1/{path}", member | body, content_type="application/json")

    sold = {
        "receipt_id": "W1", "bought_at": timezone.now().isoformat(), "lines": [{"sku": "S", "amount": "30.00"}],
    }  # fmt: skip
    assert asked("identify").json()["id"] == str(marie.public_id)
    assert asked("quotes", **sold).json()["member"] == str(marie.public_id)
    answer = asked("purchases", **sold)
    assert (answer.status_code, answer.json()["available"]) == (201, 180)
    spent = asked("redemptions", redemption_id="D1", points=100, redeemed_at=timezone.now().isoformat())
    assert (spent.status_code, spent.json()["available"]) == (201, 80)
    assert Purchase.objects.get(receipt_id="W1").identified_by == f"pass:{number}"


def test_a_pass_costs_the_till_nothing(lille_till, marie, jeanne, apple_issuer):
    """Statement 56: a ticket of a member with a pass asks the database as often as any other."""
    one = made(marie)
    passes.register(one, DEVICE, PUSH_TOKEN)
    earn(lille_till, "C0")
    earn(lille_till, "C1", who=OTHER)

    def asked(receipt, who) -> int:
        with CaptureQueriesContext(connection) as queries:
            earn(lille_till, receipt, who=who)
        return len(queries)

    assert asked("C2", CARD) == asked("C3", OTHER) == asked("C4", shown(one))


def test_a_lost_pass_is_refused_and_the_points_stay(client_of, till_client, lille_till, marie, apple_issuer):
    """Statement 56: lost: no till knows the retired number; the balance stays, and a new pass has a new number."""
    old = shown(made(marie))
    response = client_of().post(page_of(marie, "lost_pass"))
    assert response.status_code == 302
    back = client_of().get(response["Location"].partition("#")[0], headers={"accept-language": "en"})
    assert "no till knows its code any more" in back.content.decode()
    at_till = till_client(lille_till[1])
    identified = at_till.post(
        "/api/v1/identify", {"member": {"card": old.value}}, content_type="application/json"
    )
    assert (identified.status_code, identified.json()["code"]) == (404, "unknown_member")
    now, lines = timezone.now().isoformat(), [{"sku": "S", "amount": "1.00"}]
    asked = {
        "quotes": {"receipt_id": "L0", "bought_at": now, "lines": lines},
        "redemptions": {"redemption_id": "L0", "points": 100, "redeemed_at": now},
    }
    for path, told in asked.items():
        body = told | {"member": {"card": old.value}}
        assert at_till.post(f"/api/v1/{path}", body, content_type="application/json").status_code == 404
    people = Profile.objects.count()
    earn(lille_till, "L1", 5000, who=old)
    sold = Purchase.objects.get(receipt_id="L1")
    assert sold.profile is None, "the sale stands, and is nobody's"
    enrolled = {"member": {"card": old.value}, "create": {"first_name": "Thief"}}
    assert at_till.post("/api/v1/identify", enrolled, content_type="application/json").status_code == 404
    assert Profile.objects.count() == people, "nobody is made of a retired number"
    assert till.statement(str(marie.public_id))["available"] == 150
    new = shown(made(marie))
    assert new != old
    assert till.identify(lille_till[0], new)["available"] == 150


def test_an_event_that_shows_a_pass_is_its_owner_s_and_nobody_s_once_it_is_lost(
    lille_till, marie, apple_issuer
):
    """Statement 56: an event knows the pass as a till does; of a retired one it waits in quarantine."""
    one = shown(made(marie))

    def visit(event_id):
        told = EventStatement(event_id, "store_visited", timezone.now(), shown=one)
        record_events(Sender.of_till(lille_till[0]), [told])

    visit("E1")
    assert Event.objects.get().profile == marie
    wallet.retire(marie, by="system")
    people = Profile.objects.count()
    visit("E2")
    assert QuarantinedEvent.objects.get().reason == QuarantinedEvent.Reason.INVALID_IDENTIFIER
    assert Profile.objects.count() == people


def test_staff_retire_the_pass_of_a_member_of_theirs(
    client_of, lille_till, marie, bruno, chloe, diane, apple_issuer
):
    """Statement 56: a store retires the lost pass of a member that it knows, and no other store does."""
    one = made(marie)
    address = reverse("wallet:retire", args=[marie.pk])
    assert client_of(chloe).post(address).status_code == 404
    assert client_of(bruno).get(address).status_code == 403
    assert client_of().post(address).status_code in (302, 403)
    with scoped_to(chloe.scope):
        assert not WalletPass.objects.exists()
    with scoped_to(bruno.scope):
        assert WalletPass.objects.get() == one
    one.refresh_from_db()
    assert one.is_active
    customer = reverse("admin:profiles_profile_change", args=[marie.pk])
    assert "Lost: retire the pass" in client_of(bruno).get(customer).content.decode()
    assert one.number not in client_of(bruno).get(customer).content.decode()
    assert client_of(bruno).post(address).status_code == 302
    one.refresh_from_db()
    assert one.state == WalletPass.State.LOST
    audited = AuditEvent.objects.get(verb="retired pass")
    assert (audited.actor, audited.store_id, audited.object_id) == (
        "Bruno Caron",
        lille_till[0].store_id,
        str(marie.pk),
    )
    with pytest.raises(till.UnknownMember):
        till.identify(lille_till[0], Shown("card", one.record.external_id))
    assert "Lost: retire the pass" not in client_of(diane).get(customer).content.decode()


# --- Two people who are one ----------------------------------------------------------------------------------------


def test_passes_follow_the_survivor_and_come_back(client_of, lille_till, marie, jeanne, diane, apple_issuer):
    """Statement 56: of two people who prove to be one both passes show the survivor's balance; separated, each has its
    own again, with what was bought with it meanwhile."""
    hers, others = made(marie), made(jeanne)
    rows = lambda: list(  # noqa: E731 - what both tables say, before and after
        Identifier.objects.filter(kind="pass").order_by("pk").values_list("key", "profile", "record__profile")
    )
    before = rows()
    deed = merging.merge(marie, jeanne, ground=Merge.Ground.PERSON, by=diane)
    assert {one.pk for one in wallet.of(marie)} == {hers.pk, others.pk}
    for one in (hers, others):
        one.refresh_from_db()
        assert till.identify(lille_till[0], shown(one))["id"] == str(marie.public_id)
    assert wallet.current(jeanne) is None
    earn(lille_till, "M1", 1000, who=shown(others))
    between = made(marie)
    assert between == others, "nobody needs a third"
    separating.unmerge(Merge.objects.get(pk=deed.pk), by=diane)
    assert rows() == before
    assert till.identify(lille_till[0], shown(hers))["id"] == str(marie.public_id)
    assert till.identify(lille_till[0], shown(others))["id"] == str(jeanne.public_id)
    assert Purchase.objects.get(receipt_id="M1").profile == jeanne
    assert till.statement(str(jeanne.public_id))["available"] == 30
    assert wallet.retire(jeanne, by=diane) == 1
    assert wallet.current(marie) == hers


def test_a_pass_lost_while_they_were_one_stays_lost(lille_till, marie, jeanne, diane, apple_issuer):
    """Statement 56: what was retired while two were one is retired for both when they are separated."""
    old = [shown(made(marie)), shown(made(jeanne))]
    deed = merging.merge(marie, jeanne, ground=Merge.Ground.PERSON, by=diane)
    assert wallet.retire(marie, by=diane) == 2
    separating.unmerge(Merge.objects.get(pk=deed.pk), by=diane)
    for one in old:
        with pytest.raises(till.UnknownMember):
            till.identify(lille_till[0], one)


def test_a_merge_reaches_the_phone(client_of, marie, jeanne, diane, apple_issuer, apple, phone):
    """Statement 56: a merge moves points, and is shown as every posting."""
    merging.merge(marie, jeanne, ground=Merge.Ground.PERSON, by=diane)
    assert update_wallet_passes() == 1
    assert apple.tokens == [PUSH_TOKEN]
    assert points_on(phone.shows()) == 170


# --- Erasure -------------------------------------------------------------------------------------------------------


def test_erasure_voids_the_pass(
    client_of, lille_till, marie, apple_issuer, google_issuer, apple, google, phone
):
    """Statement 56: erasure voids the pass: its number is nobody's, telephones fetch an empty one, Google forgets."""
    client_of().get(page_of(marie, "google_pass"))
    one = wallet.current(marie)
    old = shown(one)
    assert wallet.void(marie) == 1
    assert wallet.void(marie) == 0
    with pytest.raises(till.UnknownMember):
        till.identify(lille_till[0], old)
    one.refresh_from_db()
    assert (one.state, one.record, one.owner) == ("void", None, None)
    assert update_wallet_passes() == 1
    assert apple.tokens == [PUSH_TOKEN]
    content = phone.shows()
    assert content["voided"] is True
    assert "barcodes" not in content
    about = json.dumps(content)
    assert not any(word in about for word in ("Marie", "150", old.value))
    ((_object, _bearer, patch),) = google.patches
    assert patch["state"] == "EXPIRED"
    assert not any(word in json.dumps(patch) for word in ("Marie", "150", old.value))
    assert made(marie).number != old.value, "who stays may have a new one"


def test_a_lost_pass_can_be_voided_and_nothing_of_the_person_hangs_on_it(marie, apple_issuer):
    """Statement 56: erasure finds the passes that were retired before, too."""
    one = made(marie)
    wallet.retire(marie, by="system")
    assert wallet.void(marie) == 1
    one.refresh_from_db()
    assert (one.state, one.record) == ("void", None)


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


# --- Google --------------------------------------------------------------------------------------------------------


def test_the_save_link_is_signed_by_the_service_account(
    client_of, marie, google_issuer, google_key, settings
):
    """Statement 56: the link to Google holds the pass, signed so that Google knows whose it is."""
    response = client_of().get(page_of(marie, "google_pass"))
    assert response.status_code == 302
    address, _slash, token = response["Location"].rpartition("/")
    assert address == settings.GOOGLE_SAVE_URL
    told = jwt.decode(token, google_key.public_key(), algorithms=["RS256"], audience="google")
    assert (told["iss"], told["typ"], told["origins"]) == (ACCOUNT, "savetowallet", [f"http://{HOST}"])
    assert jwt.get_unverified_header(token)["kid"] == "k1"
    (card,) = told["payload"]["loyaltyObjects"]
    one = wallet.current(marie)
    assert card["id"] == f"3388000000022000000.{one.serial.hex}"
    assert card["classId"] == CLASS
    assert card["barcode"]["value"] == one.number
    assert card["loyaltyPoints"]["balance"] == {"int": 150}
    labels = card["loyaltyPoints"]["localizedLabel"]
    assert labels["translatedValues"][0]["language"] == "fr"
    assert len(response["Location"]) < 1800, "longer links do not open everywhere"


def test_google_is_told_of_a_new_balance_with_a_token_of_the_service_account(
    client_of, lille_till, marie, google_issuer, google_key, google, settings
):
    """Statement 56: a posting is patched into Google's object within the minute."""
    client_of().get(page_of(marie, "google_pass"))
    assert update_wallet_passes() == 0
    earn(lille_till, "O1")
    assert update_wallet_passes() == 1
    (assertion,) = google.assertions
    told = jwt.decode(
        assertion, google_key.public_key(), algorithms=["RS256"], audience=settings.GOOGLE_TOKEN_URL
    )
    assert told["iss"] == ACCOUNT
    assert told["scope"] == "https://www.googleapis.com/auth/wallet_object.issuer"
    ((about, bearer, patch),) = google.patches
    one = wallet.current(marie)
    assert (about, bearer) == (f"3388000000022000000.{one.serial.hex}", "Bearer ya29.acme")
    assert patch["loyaltyPoints"]["balance"] == {"int": 160}
    assert update_wallet_passes() == 0


def test_an_object_that_google_does_not_have_yet_is_told_later(
    client_of, lille_till, marie, google_issuer, google
):
    """Statement 56: a member who takes a while to save the pass has the balance of then; who never does is let be."""
    client_of().get(page_of(marie, "google_pass"))
    google.status = 404
    earn(lille_till, "Y1")
    assert update_wallet_passes() == 1
    assert WalletPass.objects.get().next_at > timezone.now()
    google.status = 200
    rested()
    assert update_wallet_passes() == 1
    assert WalletPass.objects.get().next_at is None
    google.status = 404
    with time_machine.travel(timezone.now() + telling.SAVES_WITHIN):
        earn(lille_till, "Y2")
        assert update_wallet_passes() == 1
    assert WalletPass.objects.get().next_at is None


def test_google_being_away_keeps_apple_from_nothing(
    client_of, lille_till, marie, google_issuer, google, apple, phone, settings
):
    """Statement 56: each wallet is told on its own."""
    client_of().get(page_of(marie, "google_pass"))
    there, settings.GOOGLE_TOKEN_URL = settings.GOOGLE_TOKEN_URL, "http://127.0.0.1:9/token"
    earn(lille_till, "X1")
    update_wallet_passes()
    assert apple.tokens == [PUSH_TOKEN]
    settings.GOOGLE_TOKEN_URL = there
    rested()
    update_wallet_passes()
    assert len(google.patches) == 1
    assert apple.tokens == [PUSH_TOKEN]


# --- Without configuration -----------------------------------------------------------------------------------------


def test_without_an_issuer_no_button_is_shown(client_of, marie):
    """Statement 56: a brand that signs for no wallet offers none."""
    page = client_of().get(page_of(marie)).content.decode()
    assert "Wallet" not in page
    for name in ("apple_pass", "google_pass"):
        assert client_of().get(page_of(marie, name)).status_code == 404
    assert not WalletPass.objects.exists()


def test_each_issuer_shows_its_own_button_while_it_can_sign(client_of, marie, apple_issuer, google_issuer):
    """Statement 56: a button goes when its issuer is switched off, its certificate over, or its key unreadable."""

    def buttons() -> list[str]:
        page = client_of().get(page_of(marie), headers={"accept-language": "en"}).content.decode()
        return [name for name in ("Apple", "Google") if f"Add to {name} Wallet" in page]

    assert buttons() == ["Apple", "Google"]
    GoogleIssuer.objects.update(is_on=False)
    assert buttons() == ["Apple"]
    AppleIssuer.objects.update(valid_until=timezone.now())
    assert buttons() == []
    AppleIssuer.objects.update(valid_until=timezone.now() + YEAR)
    assert buttons() == ["Apple"]
    AppleIssuer.objects.update(sealed_key="sealed under another key")
    assert buttons() == []


def test_a_link_that_ended_opens_no_pass(client_of, marie, apple_issuer, google_issuer, diane):
    """Statement 56: whoever has no link to the member's page has none to the pass."""
    addresses = [page_of(marie, name) for name in ("apple_pass", "google_pass")]
    lost = page_of(marie, "lost_pass")
    member_links.end_all(marie, diane)
    assert [client_of().get(address).status_code for address in addresses] == [410, 410]
    assert client_of().post(lost).status_code == 410
    assert client_of().get(lost).status_code == 405


# --- What the database promises ------------------------------------------------------------------------------------


def refused(deed) -> str:
    """By which promise the database refuses."""
    with pytest.raises(DatabaseError) as refusal, transaction.atomic():
        deed()
    return broken_promise(refusal.value)


def test_a_pass_that_ended_and_its_number_never_live_again(marie, jeanne, apple_issuer):
    """Statement 56: a retired number stays retired, whoever writes into the tables."""
    one, other = made(marie), made(jeanne)
    told = Identifier.objects.get(key=one.number)
    wallet.retire(marie, by="system")
    assert not Identifier.objects.filter(key=told.key).exists()
    mine = WalletPass.objects.filter(pk=one.pk)
    assert refused(lambda: mine.update(state="active", ended_at=None)) == "ended_pass_stays_ended"
    assert refused(lambda: told.save(force_insert=True)) == "retired_number_stays_retired"
    told.record, told.pk = other.record, None
    assert refused(lambda: told.save(force_insert=True)) == "retired_number_stays_retired"
    # Also where somebody ends it around the verb.
    WalletPass.objects.filter(pk=other.pk).update(state="lost", ended_at=timezone.now())
    assert not Identifier.objects.filter(kind="pass").exists()
    mine.update(state="void", record=None)
    assert refused(lambda: mine.update(state="lost")) == "ended_pass_stays_ended"


def test_a_pass_in_use_has_an_owner_and_a_brand_one_issuer_of_each(marie, apple_issuer, google_issuer):
    """Statement 56: no pass without somebody, no erasure past a pass in use, no second issuer."""
    one = made(marie)
    assert (
        refused(lambda: WalletPass.objects.filter(pk=one.pk).update(record=None))
        == "living_pass_has_a_number"
    )
    assert (
        refused(lambda: WalletPass.objects.filter(pk=one.pk).update(state="lost"))
        == "living_pass_has_a_number"
    )
    Identifier.objects.filter(record=one.record).delete()
    assert (
        refused(lambda: SourceRecord.objects.filter(pk=one.record_id).delete()) == "living_pass_has_a_number"
    )
    for issuer in (apple_issuer, google_issuer):
        issuer.pk = None
        with pytest.raises(IntegrityError), transaction.atomic():
            issuer.save(force_insert=True)
        issuer.only = False
        assert refused(lambda issuer=issuer: issuer.save(force_insert=True)).startswith("one_")


def test_secrets_are_sealed(marie, apple_issuer, google_issuer):
    """Statement 56: neither keys nor tokens stand in the database in clear."""
    one = made(marie)
    with connection.cursor() as cursor:
        for table in ("loyalty_appleissuer", "loyalty_googleissuer", "loyalty_walletpass"):
            cursor.execute(f"SELECT t::text FROM {table} t")
            ((row,),) = cursor.fetchall()
            assert "PRIVATE KEY" not in row
            assert one.token not in row
    assert one.answers_to(one.token)
    assert not one.answers_to(one.token[:-1])


# --- The number's own form -----------------------------------------------------------------------------------------


def test_a_number_is_known_by_its_form_however_it_is_typed():
    """Statement 56: blanks, hyphens and small letters do not matter; one wrong sign, and cards, are no pass."""
    number = pass_numbers.draw()
    assert len({pass_numbers.draw() for _n in range(1000)}) == 1000
    assert pass_numbers.read(f" {pass_numbers.shown(number).lower()} ") == number
    wrong = [
        number[:at] + sign + number[at + 1 :]
        for at in range(2, len(number))
        for sign in pass_numbers.ALPHABET
        if sign != number[at]
    ]
    assert not any(pass_numbers.read(one) for one in wrong)
    assert not any(
        map(pass_numbers.read, ("", "W", "WP", CARD.value, number[:-1], number + "2", "WP" + "2" * 5000))
    )


def test_a_pass_number_in_a_file_of_cards_is_nobody_s_card(crm, lille, marie, apple_issuer):
    """Statement 56: what we retire must not come back as a card that somebody else tells of."""
    number = made(marie).number
    other = known(crm, lille, number, first_name="Zoe", email="zoe@mail.example")
    assert other != marie
    assert not Identifier.objects.filter(kind="card", key=number).exists()
    assert other.records.get().card == ""


# --- Certificates and keys -----------------------------------------------------------------------------------------


@pytest.fixture
def told(certificate, pass_key, intermediate) -> dict:
    return {
        "pass_type": PASS_TYPE, "team": TEAM, "certificate": pem(certificate), "key": pem(pass_key), "password": "",
        "intermediate": pem(intermediate.certificate), "colour": "#0f6570", "is_on": "on",
    }  # fmt: skip


def locked(key, password: bytes) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    ).decode()


def errors_of(response) -> dict:
    assert response.status_code == 200
    return {name: str(said[0]) for name, said in response.context["adminform"].form.errors.items()}


def test_an_administrator_sets_apple_up_and_sees_no_secret_again(client_of, diane, told, pass_key, marie):
    """Statement 56: certificate and key are entered, checked, sealed and never shown again; the key stays when the
    colour alone changes."""
    add = reverse("admin:loyalty_appleissuer_add")
    assert client_of(diane).post(add, told).status_code == 302
    issuer = AppleIssuer.objects.get()
    assert issuer.key == pem(pass_key)
    change = reverse("admin:loyalty_appleissuer_change", args=[issuer.pk])
    page = client_of(diane).get(change).content.decode()
    assert "PRIVATE KEY" not in page
    assert issuer.sealed_key not in page
    assert "members see the button" in page
    assert client_of(diane).post(change, told | {"key": "", "colour": "#aa0033"}).status_code == 302
    issuer.refresh_from_db()
    assert (issuer.colour, issuer.key) == ("#aa0033", pem(pass_key))
    assert errors_of(client_of(diane).post(add, told)) == {
        "__all__": "This wallet is set up already: change what stands."
    }
    assert client_of().get(page_of(marie, "apple_pass")).status_code == 200
    detail = json.dumps(list(AuditEvent.objects.values_list("detail", flat=True)))
    assert "PRIVATE KEY" not in detail


def test_what_is_wrong_with_a_certificate_is_said_of_its_field(
    client_of, diane, told, root, intermediate, pass_key, brand
):
    """Statement 56: expired, not yet valid, another key, another issuer, other ids, no PEM at all, a locked key."""
    now, other = timezone.now(), new_key()
    over = intermediate.issue(pass_key, since=now - 2 * YEAR, until=now - YEAR)
    to_come = intermediate.issue(pass_key, since=now + timedelta(days=5))
    old_above = Authority.named("Old", root, since=now - 2 * YEAR, until=now - YEAR)
    weak = Authority.named("Short").issue(pass_key)
    cases = [
        ({"certificate": pem(over)}, "certificate", "has expired on"),
        ({"certificate": pem(to_come)}, "certificate", "not valid before"),
        ({"certificate": "hello"}, "certificate", "no certificate in PEM"),
        ({"certificate": told["key"]}, "certificate", "no certificate in PEM"),
        ({"certificate": ""}, "certificate", "required"),
        ({"key": pem(other)}, "key", "does not fit"),
        ({"key": "hello"}, "key", "no private key in PEM"),
        ({"key": ""}, "key", "no private key in PEM"),
        ({"key": locked(pass_key, b"secret")}, "password", "locked by a password"),
        ({"key": locked(pass_key, b"secret"), "password": "wrong"}, "password", "does not open"),
        ({"password": "needless"}, "password", "has no password"),
        ({"intermediate": pem(root.certificate)}, "intermediate", "Test Worldwide Developer Relations"),
        ({"intermediate": pem(old_above.certificate)}, "intermediate", "has expired on"),
        ({"certificate": pem(weak)}, "intermediate", "not issued by"),
        ({"pass_type": "pass.other"}, "pass_type", PASS_TYPE),
        ({"team": "OTHERTEAM1"}, "team", TEAM),
        ({"colour": "blue"}, "colour", "six digits"),
    ]
    for wrong, at, said in cases:
        errors = errors_of(client_of(diane).post(reverse("admin:loyalty_appleissuer_add"), told | wrong))
        assert list(errors) == [at], wrong.keys()
        assert said in errors[at]
    assert not AppleIssuer.objects.exists()
    right = {"key": locked(pass_key, b"secret"), "password": "secret"}
    assert client_of(diane).post(reverse("admin:loyalty_appleissuer_add"), told | right).status_code == 302
    assert AppleIssuer.objects.get().key == pem(pass_key)


def test_who_switches_off_is_not_kept_from_it_by_an_old_certificate(
    client_of, diane, told, apple_issuer, intermediate, pass_key
):
    """Statement 56: with a certificate that is over, off can be said and on cannot."""
    now = timezone.now()
    over = pem(intermediate.issue(pass_key, since=now - 2 * YEAR, until=now - YEAR))
    AppleIssuer.objects.update(certificate=over, valid_until=now - YEAR)
    change = reverse("admin:loyalty_appleissuer_change", args=[apple_issuer.pk])
    page = client_of(diane).get(change).content.decode()
    assert "The certificate has expired" in page
    assert "members see no button" in page
    same = told | {"certificate": over, "key": ""}
    assert list(errors_of(client_of(diane).post(change, same))) == ["certificate"]
    del same["is_on"]
    assert client_of(diane).post(change, same).status_code == 302
    assert not AppleIssuer.objects.get().is_on


def key_file(google_key, **more) -> str:
    told = {
        "type": "service_account", "client_email": ACCOUNT, "private_key_id": "k1", "private_key": pem(google_key),
        "token_uri": "http://169.254.169.254/steal",
    }  # fmt: skip
    return json.dumps(told | more)


def test_an_administrator_sets_google_up(client_of, diane, google_key, brand):
    """Statement 56: the service account's key is read, checked and sealed; what is wrong is said of its field."""
    add = reverse("admin:loyalty_googleissuer_add")
    good = {"class_id": CLASS, "service_account": key_file(google_key), "is_on": "on"}
    cases = [
        ({"service_account": "{"}, "service_account", "no JSON"),
        ({"service_account": "[]"}, "service_account", "no key of a service account"),
        (
            {"service_account": key_file(google_key, type="authorized_user")},
            "service_account",
            "no key of a service",
        ),
        ({"service_account": key_file(google_key, client_email="")}, "service_account", "client_email"),
        ({"service_account": key_file(google_key, private_key=1)}, "service_account", "private_key"),
        ({"service_account": key_file(google_key, private_key="x")}, "service_account", "no private key"),
        ({"service_account": ""}, "service_account", "no JSON"),
        ({"class_id": "loyalty"}, "class_id", "issuer id, a dot"),
        ({"class_id": "338.a/b"}, "class_id", "issuer id, a dot"),
    ]
    for wrong, at, said in cases:
        errors = errors_of(client_of(diane).post(add, good | wrong))
        assert list(errors) == [at], wrong
        assert said in errors[at]
    assert client_of(diane).post(add, good).status_code == 302
    issuer = issuers.google()
    assert (issuer.account, issuer.key_id, issuer.key) == (ACCOUNT, "k1", pem(google_key))
    change = reverse("admin:loyalty_googleissuer_change", args=[issuer.pk])
    page = client_of(diane).get(change).content.decode()
    assert ACCOUNT in page
    assert "PRIVATE KEY" not in page
    again = {"class_id": "338.other", "service_account": "", "is_on": "on"}
    assert client_of(diane).post(change, again).status_code == 302
    issuer.refresh_from_db()
    assert (issuer.class_id, issuer.key) == ("338.other", pem(google_key))


def test_nobody_else_sets_wallets_up(client_of, alice, bruno, told):
    """Statement 56: keys of the brand are its administrators' alone."""
    for staff in (alice, bruno):
        for name in ("appleissuer", "googleissuer"):
            assert client_of(staff).get(reverse(f"admin:loyalty_{name}_add")).status_code == 403
            assert client_of(staff).post(reverse(f"admin:loyalty_{name}_add"), told).status_code == 403
    assert not AppleIssuer.objects.exists()
