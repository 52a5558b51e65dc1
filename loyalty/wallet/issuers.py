"""How the brand signs: what is told of its certificates and keys is checked before it is kept, and what is wrong is
said of the field that is wrong."""

import json
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID
from django.db import connection
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from loyalty.models import AppleIssuer, GoogleIssuer
from loyalty.models.wallet import SecretUnreadable
from tenants.scoping import whole_network

logger = logging.getLogger(__name__)
Issuer = TypeVar("Issuer", AppleIssuer, GoogleIssuer)

SERVICE_ACCOUNT = "service_account"
SMALLEST_RSA = 2048


class Unfit(ValueError):
    """What was told cannot be used; `field` is the one to correct."""

    def __init__(self, field: str, detail: str):
        super().__init__(detail)
        self.field, self.detail = field, detail


@dataclass(frozen=True)
class AppleParts:
    """What is kept of an Apple certificate: PEM texts, the key without its password, and until when it is good."""

    certificate: str
    intermediate: str
    key: str
    valid_until: datetime


@dataclass(frozen=True)
class GoogleParts:
    """What is kept of a service account."""

    account: str
    key_id: str
    key: str


def apple() -> AppleIssuer | None:
    """How the brand signs for Apple now; none where it does not, or its certificate is over."""
    with whole_network():
        return _usable(AppleIssuer.objects.filter(is_on=True, valid_until__gt=timezone.now()).first())


def google() -> GoogleIssuer | None:
    """How the brand signs for Google; none where it does not."""
    with whole_network():
        return _usable(GoogleIssuer.objects.filter(is_on=True).first())


def read_apple(
    *, pass_type: str, team: str, certificate: str, intermediate: str, key: str, password: str = ""
) -> AppleParts:
    """Check that certificate, key, intermediate and ids belong together and are good now. Raises `Unfit`."""
    own = _certificate("certificate", certificate)
    above = _certificate("intermediate", intermediate)
    _must_be_good_now("certificate", own)
    _must_be_good_now("intermediate", above)
    private = _private_key("key", key, password)
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise Unfit("key", _("The key is of a kind that passes are not signed with: RSA or elliptic curve."))
    if private.public_key() != own.public_key():
        raise Unfit("key", _("The key does not fit the certificate: each was made for another."))
    try:
        own.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        said = _("The certificate was not issued by this intermediate certificate, but by «%(issuer)s».")
        raise Unfit("intermediate", said % {"issuer": _named(own.issuer)}) from None
    _must_name("pass_type", own, NameOID.USER_ID, pass_type)
    _must_name("team", own, NameOID.ORGANIZATIONAL_UNIT_NAME, team)
    return AppleParts(_pem(own), _pem(above), _plain(private), own.not_valid_after_utc)


def read_google(told: str) -> GoogleParts:
    """Read the JSON key of a service account. Raises `Unfit` of the field `service_account`."""
    try:
        read = json.loads(told)
    except ValueError:
        raise Unfit(
            SERVICE_ACCOUNT, _("This is no JSON: paste the whole key file of the service account.")
        ) from None
    if not isinstance(read, dict) or read.get("type") != SERVICE_ACCOUNT:
        raise Unfit(
            SERVICE_ACCOUNT, _("This is no key of a service account: its «type» has to be «service_account».")
        )
    missing = [
        name
        for name in ("client_email", "private_key_id", "private_key")
        if not isinstance(read.get(name), str) or not read[name].strip() or "\x00" in read[name]
    ]
    if missing:
        raise Unfit(SERVICE_ACCOUNT, _("The key file holds no «%(name)s».") % {"name": missing[0]})
    private = _private_key(SERVICE_ACCOUNT, read["private_key"], "")
    if not isinstance(private, rsa.RSAPrivateKey):
        raise Unfit(SERVICE_ACCOUNT, _("The key of a service account is an RSA key."))
    if len(read["client_email"]) > 254 or len(read["private_key_id"]) > 80:
        raise Unfit(SERVICE_ACCOUNT, _("The key file holds names that are too long."))
    return GoogleParts(read["client_email"].strip(), read["private_key_id"].strip(), _plain(private))


def _usable(issuer: Issuer | None) -> Issuer | None:
    """The issuer, if its key can be read."""
    try:
        return issuer if issuer is not None and issuer.key else None
    except SecretUnreadable as unreadable:
        logger.warning("%s of %s: %s", issuer, connection.schema_name, unreadable)
        return None


def _certificate(field: str, told: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(told.encode())
    except ValueError:
        raise Unfit(
            field, _("This is no certificate in PEM: it begins with -----BEGIN CERTIFICATE-----.")
        ) from None


def _must_be_good_now(field: str, certificate: x509.Certificate) -> None:
    now = timezone.now()
    if now >= certificate.not_valid_after_utc:
        said = _("This certificate has expired on %(day)s: renew it.")
        raise Unfit(field, said % {"day": _day(certificate.not_valid_after_utc)})
    if now < certificate.not_valid_before_utc:
        said = _("This certificate is not valid before %(day)s.")
        raise Unfit(field, said % {"day": _day(certificate.not_valid_before_utc)})


def _private_key(field: str, told: str, password: str) -> PrivateKeyTypes:
    try:
        private = serialization.load_pem_private_key(told.encode(), password.encode() or None)
    except TypeError:
        if password:
            raise Unfit("password", _("The key has no password: leave this field empty.")) from None
        raise Unfit("password", _("The key is locked by a password: enter it.")) from None
    except ValueError:
        if password:
            raise Unfit("password", _("The password does not open the key.")) from None
        raise Unfit(
            field, _("This is no private key in PEM: it begins with -----BEGIN PRIVATE KEY-----.")
        ) from None
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < SMALLEST_RSA:
        raise Unfit(field, _("The key is too short: an RSA key has 2,048 bits or more."))
    return private


def _must_name(field: str, certificate: x509.Certificate, oid: x509.ObjectIdentifier, told: str) -> None:
    named = [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(oid)]
    if told not in named:
        said = _("The certificate is for «%(name)s»: enter that, or another certificate.")
        raise Unfit(field, said % {"name": ", ".join(named) or "–"})


def _named(name: x509.Name) -> str:
    return ", ".join(str(attribute.value) for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME))


def _day(at: datetime) -> str:
    return date_format(timezone.localtime(at), "SHORT_DATE_FORMAT")


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode().strip()


def _plain(private: PrivateKeyTypes) -> str:
    told = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return told.decode().strip()
