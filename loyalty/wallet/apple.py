"""The signed file of Apple Wallet: a ZIP of the pass, its pictures and words, a manifest of their hashes, and a PKCS #7
signature of the manifest.

Its words stand in `pass.strings` of each language: the phone chooses. The format is Apple's «Wallet Passes».
"""

import hashlib
import json
import zipfile
from io import BytesIO

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from django.utils import translation
from django.utils.translation import gettext as _

from loyalty.models import AppleIssuer, WalletPass
from loyalty.wallet import icons
from loyalty.wallet.face import LANGUAGES, Face

MEDIA_TYPE = "application/vnd.apple.pkpass"


def pkpass(one: WalletPass, issuer: AppleIssuer, service: str) -> bytes:
    """The file of this pass as it stands now. `service` is the address of the web service that it asks for changes.
    Raises `SecretUnreadable`."""
    face = Face.of(one)
    files = {"pass.json": _json(_content(one, issuer, face, service))}
    colour, contrast = issuer.colour, icons.ink_on(issuer.colour)
    for name, side in icons.ICONS.items():
        # The icon stands alone on a lock screen; the logo stands on the pass, whose ground is the colour already.
        ground, ink = (contrast, colour) if name.startswith("logo") else (colour, contrast)
        files[name] = icons.drawn(face.brand, side, ground=ground, ink=ink)
    for language in LANGUAGES:
        with translation.override(language):
            files[f"{language}.lproj/pass.strings"] = _strings(_words(face)).encode()
    files["manifest.json"] = _json(
        {name: hashlib.sha1(content, usedforsecurity=False).hexdigest() for name, content in files.items()}
    )
    files["signature"] = signed(files["manifest.json"], issuer)
    kept = BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return kept.getvalue()


def service_at(site: str) -> str:
    """The address of the web service on the brand's site, which is told with its slash at the end. Telephones add `/v1`
    and the rest."""
    return f"{site}wallet/apple"


def signed(content: bytes, issuer: AppleIssuer) -> bytes:
    """A detached PKCS #7 signature, DER, with the certificates that lead to Apple's. Raises `SecretUnreadable`."""
    own, above = (
        x509.load_pem_x509_certificate(told.encode()) for told in (issuer.certificate, issuer.intermediate)
    )
    key = serialization.load_pem_private_key(issuer.key.encode(), None)
    assert isinstance(
        key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    )  # as it was checked when it was entered
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content).add_signer(own, key, hashes.SHA256())
    options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary]
    return builder.add_certificate(above).sign(serialization.Encoding.DER, options)


def _content(one: WalletPass, issuer: AppleIssuer, face: Face, service: str) -> dict:
    ink = icons.as_rgb(icons.ink_on(issuer.colour))
    content = {
        "formatVersion": 1, "passTypeIdentifier": issuer.pass_type, "teamIdentifier": issuer.team,
        "serialNumber": str(one.serial), "organizationName": face.brand, "description": "description",
        "logoText": face.brand, "backgroundColor": icons.as_rgb(issuer.colour), "foregroundColor": ink,
        "labelColor": ink, "sharingProhibited": True, "webServiceURL": service, "authenticationToken": one.token,
    }  # fmt: skip
    if not face.number:
        return content | {"voided": True, "storeCard": {"primaryFields": [_field("ended", "ended_text")]}}
    code = {
        "format": "PKBarcodeFormatQR", "message": face.number, "messageEncoding": "iso-8859-1", "altText": face.number,
    }  # fmt: skip
    return content | {"barcodes": [code], "storeCard": _fields(face)}


def _fields(face: Face) -> dict:
    secondary = [_field("member", face.name)] if face.name else []
    secondary += [_field("tier", face.tier, changeMessage="tier_changed")] if face.tier else []
    auxiliary = []
    if face.expires_on:
        # Noon, so that no time zone makes another day of it.
        day = {"dateStyle": "PKDateStyleMedium", "ignoresTimeZone": True}
        auxiliary.append(_field("expires", f"{face.expires_on}T12:00:00Z", **day))
        auxiliary.append(_field("expiring", face.expires_points))
    back = [_field("pending", face.pending)]
    back += [_field("debt", face.debt)] if face.debt else []
    back.append(_field("lost", "lost_text"))
    return {
        "headerFields": [_field("points", face.available, changeMessage="points_changed")],
        "secondaryFields": secondary,
        "auxiliaryFields": auxiliary,
        "backFields": back,
    }


def _field(key: str, value: str | int, **more: object) -> dict:
    return {"key": key, "label": f"{key}_label", "value": value, **more}


def _words(face: Face) -> dict[str, str]:
    """The words of the language in force, by the names that the pass calls them. «%@» is where the phone writes the new
    value."""
    return {
        "description": _("Loyalty card of %(brand)s") % {"brand": face.brand},
        "points_label": _("Points"),
        "points_changed": _("You have [value] points.").replace("[value]", "%@"),
        "member_label": _("Member"),
        "tier_label": _("Level"),
        "tier_changed": _("Your level is [value].").replace("[value]", "%@"),
        "expires_label": _("Next to expire on"),
        "expiring_label": _("Points that expire"),
        "pending_label": _("Points on their way"),
        "debt_label": _("Points owed after a return"),
        "lost_label": _("Lost your phone?"),
        "lost_text": _(
            "Say so in the store, or on your own page: this code is retired, your points stay yours."
        ),
        "ended_label": _("No longer valid"),
        "ended_text": _("This pass was retired. A new one is on your own page."),
    }


def _strings(words: dict[str, str]) -> str:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    return "".join(f"{quoted(name)} = {quoted(text)};\n" for name, text in words.items())


def _json(content: dict) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
