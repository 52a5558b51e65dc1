"""Who pays for a redemption is said on a page, from an instant on, and never changed afterwards."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from loyalty.models import FundingKey
from tenants.network.models import AuditEvent

ADD = reverse("admin:loyalty_fundingkey_add")


def told(at, *shares) -> dict:
    return {
        "effective_from_0": f"{at:%Y-%m-%d}", "effective_from_1": f"{at:%H:%M:%S}",
        **dict(zip(("earner", "redeemer", "head_office"), shares, strict=True)),
    }  # fmt: skip


@pytest.mark.django_db
def test_a_key_is_added_and_stays(client_of, diane):
    client, soon = client_of(diane), timezone.localtime() + timedelta(hours=1)
    assert client.get(ADD).status_code == 200
    assert client.post(ADD, told(soon, 70, 20, 10)).status_code == 302
    key = FundingKey.objects.get()
    assert (key.earner, key.redeemer, key.head_office) == (70, 20, 10)
    assert AuditEvent.objects.filter(verb="added", object_type="fundingkey").count() == 1
    page = reverse("admin:loyalty_fundingkey_change", args=[key.pk])
    assert client.get(page).status_code == 200
    assert client.post(page, told(soon, 0, 0, 100)).status_code == 403
    assert str(FundingKey.objects.get()) == "70/20/10"


@pytest.mark.parametrize(
    ("minutes", "shares", "said"),
    [(60, (70, 20, 20), "sum to 110"), (-60, (100, 0, 0), "from now on")],
)
def test_a_key_that_cannot_be_is_refused(client_of, diane, minutes, shares, said):
    answer = client_of(diane).post(ADD, told(timezone.localtime() + timedelta(minutes=minutes), *shares))
    assert said in answer.content.decode()
    assert not FundingKey.objects.exists()


def test_marketers_and_managers_set_no_key(client_of, alice, bruno):
    assert client_of(alice).get(ADD).status_code == 403
    assert client_of(bruno).get(ADD).status_code in (302, 403)
