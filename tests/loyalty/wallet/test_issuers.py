"""An administrator sets wallets up: certificates and keys."""

import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from django.urls import reverse
from django.utils import timezone

from loyalty.models import AppleIssuer
from loyalty.wallet import issuers
from tenants.network.models import AuditEvent
from tests.loyalty.wallet.phones import ACCOUNT, CLASS, page_of
from tests.wallets import PASS_TYPE, TEAM, YEAR, Authority, new_key, pem


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
