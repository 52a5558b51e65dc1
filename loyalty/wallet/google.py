"""Google Wallet: the signed link by which a member saves the pass, and the object there that is patched afterwards.

The class, with logo and colours, is made by the brand in Google's console; the objects of its members are ours.
"""

import time
from types import TracebackType
from urllib.parse import quote

import httpx
import jwt
from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _

from loyalty.models import GoogleIssuer, WalletPass
from loyalty.wallet.face import LANGUAGES, Face

SCOPE = "https://www.googleapis.com/auth/wallet_object.issuer"
SECONDS = 10
# How long the assertion is good that the access token is asked for with.
ASSERTED_FOR = 600


def object_id(one: WalletPass, issuer: GoogleIssuer) -> str:
    """By which Google knows this pass."""
    return f"{issuer.issuer_id}.{one.serial.hex}"


def loyalty_object(one: WalletPass, issuer: GoogleIssuer) -> dict:
    """The pass as Google keeps it."""
    face = Face.of(one)
    told = {"id": object_id(one, issuer), "classId": issuer.class_id}
    if not face.number:
        # Empty values: a patch leaves alone what it does not name.
        return told | {
            "state": "EXPIRED", "accountName": "", "accountId": "", "barcode": None, "loyaltyPoints": None,
            "secondaryLoyaltyPoints": None, "textModulesData": [],
        }  # fmt: skip
    rows = [("tier", _in_both(_level), face.tier)] if face.tier else []
    rows += [("expires", _in_both(_expires), face.expires_on)] if face.expires_on else []
    return told | {
        "state": "ACTIVE",
        "accountName": face.name or face.brand,
        "accountId": face.number,
        "barcode": {"type": "QR_CODE", "value": face.number, "alternateText": face.number},
        "loyaltyPoints": {"localizedLabel": _in_both(_points), "balance": {"int": face.available}},
        "secondaryLoyaltyPoints": {"localizedLabel": _in_both(_pending), "balance": {"int": face.pending}},
        "textModulesData": [
            {"id": key, "localizedHeader": header, "body": text} for key, header, text in rows
        ],
    }


def save_link(one: WalletPass, issuer: GoogleIssuer, origin: str) -> str:
    """The link by which the member saves the pass: a signed token. Raises `SecretUnreadable`."""
    claims = {
        "iss": issuer.account, "aud": "google", "typ": "savetowallet", "iat": int(time.time()), "origins": [origin],
        "payload": {"loyaltyObjects": [loyalty_object(one, issuer)]},
    }  # fmt: skip
    token = jwt.encode(claims, issuer.key, algorithm="RS256", headers={"kid": issuer.key_id})
    return f"{settings.GOOGLE_SAVE_URL}/{token}"


class Google:
    """A line to Google's interface, for a while. Raises `SecretUnreadable`, and `httpx.HTTPError` where it is away."""

    def __init__(self, issuer: GoogleIssuer):
        self.issuer = issuer
        self._client = httpx.Client(timeout=SECONDS)
        self._bearer = ""

    def __enter__(self) -> "Google":
        self._bearer = self._access_token()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def patch(self, told: dict) -> int:
        """Bring an object up to date; the status that Google answers."""
        answer = self._client.patch(
            f"{settings.GOOGLE_WALLET_URL}/loyaltyObject/{quote(told['id'], safe='')}",
            json=told,
            headers={"Authorization": f"Bearer {self._bearer}"},
        )
        return answer.status_code

    def _access_token(self) -> str:
        # Where the token comes from is ours to say, whatever the key file names.
        now = int(time.time())
        claims = {
            "iss": self.issuer.account, "scope": SCOPE, "aud": settings.GOOGLE_TOKEN_URL, "iat": now,
            "exp": now + ASSERTED_FOR,
        }  # fmt: skip
        assertion = jwt.encode(
            claims, self.issuer.key, algorithm="RS256", headers={"kid": self.issuer.key_id}
        )
        told = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        answer = self._client.post(settings.GOOGLE_TOKEN_URL, data=told)
        answer.raise_for_status()
        try:
            return str(answer.json()["access_token"])
        except (ValueError, KeyError, TypeError) as wrong:
            raise httpx.DecodingError("no access token in the answer", request=answer.request) from wrong


def _in_both(word) -> dict:
    """A word in every language."""
    told = {}
    for language in LANGUAGES:
        with translation.override(language):
            told[language] = word()
    return {
        "defaultValue": {"language": "en", "value": told["en"]},
        "translatedValues": [{"language": "fr", "value": told["fr"]}],
    }


def _points() -> str:
    return _("Points")


def _pending() -> str:
    return _("Points on their way")


def _level() -> str:
    return _("Level")


def _expires() -> str:
    return _("Next to expire on")
