"""Statement 56: passes in Google Wallet, against an interface of ours."""

import jwt
import time_machine
from django.utils import timezone

from loyalty import wallet
from loyalty.models import WalletPass
from loyalty.tasks import update_wallet_passes
from loyalty.wallet import telling
from tests.conftest import HOST
from tests.loyalty.wallet.phones import ACCOUNT, CLASS, PUSH_TOKEN, earn, page_of, rested


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
