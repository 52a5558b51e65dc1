"""Statement 56: a pass, its number, and what becomes of both."""

import hashlib
import json
import re
import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs7
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from loyalty import member_links, till, wallet
from loyalty.models import AppleIssuer, GoogleIssuer, WalletPass
from loyalty.tasks import update_wallet_passes
from loyalty.wallet import passes
from profiles import merging, pass_numbers, separating
from profiles.intake import EventStatement, Sender, Shown, record_events
from profiles.models import Event, Identifier, Merge, Profile, Purchase, QuarantinedEvent, SourceRecord
from tenants.network.models import AuditEvent
from tenants.scoping import scoped_to
from tests.conftest import HOST
from tests.loyalty.conftest import CARD, OTHER, known
from tests.loyalty.wallet.phones import (
    DEVICE,
    PUSH_TOKEN,
    downloaded,
    earn,
    made,
    page_of,
    points_on,
    refused,
    shown,
)
from tests.wallets import PASS_TYPE, TEAM, YEAR, pem

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
