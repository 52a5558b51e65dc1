"""What members do with passes: telephones that speak Apple's protocol, and what the tests look at."""

import json
import zipfile
from datetime import timedelta
from io import BytesIO

import pytest
from django.db import DatabaseError, transaction
from django.urls import reverse
from django.utils import timezone

from cdp.celery import app
from loyalty import member_links, till, wallet
from loyalty.models import WalletPass
from profiles.intake import Shown
from tenants.brand_sql import broken_promise
from tests.conftest import HOST
from tests.loyalty.conftest import CARD, ticket
from tests.wallets import PASS_TYPE

DEVICE, PUSH_TOKEN = "3a1f0c7e9b2d4a68", "ab" * 32
CLASS = "3388000000022000000.loyalty"
ACCOUNT = "wallet@acme.iam.gserviceaccount.com"
BEAT = app.conf.beat_schedule["wallet-passes-updated"]["schedule"]
MINUTE = timedelta(seconds=60)


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


def rested() -> None:
    """The pauses between two pushes are over."""
    before = timezone.now() - timedelta(seconds=1)
    WalletPass.objects.exclude(next_at=None).update(next_at=before)


def refused(deed) -> str:
    """By which promise the database refuses."""
    with pytest.raises(DatabaseError) as refusal, transaction.atomic():
        deed()
    return broken_promise(refusal.value)
