"""The brand, its certificates, members of it, and one's telephone."""

from datetime import timedelta

import pytest
from django.utils import timezone

from loyalty import till
from loyalty.models import AppleIssuer, GoogleIssuer, PassDevice, WalletPass
from loyalty.models.wallet import sealed
from profiles.models import Profile
from tests.loyalty.conftest import OTHER, known, ticket
from tests.loyalty.wallet.phones import ACCOUNT, CLASS, Phone, downloaded
from tests.wallets import PASS_TYPE, TEAM, Authority, apple_listening, google_listening, new_key, pem


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


@pytest.fixture
def phone(client_of, marie, apple_issuer) -> Phone:
    """Marie's, which has her pass and is registered; what is due after that has been told."""
    held = Phone(client_of(), downloaded(client_of, marie))
    assert held.register() == 201
    WalletPass.objects.update(next_at=None)
    PassDevice.objects.update(tag=WalletPass.objects.get().tag)
    return held
