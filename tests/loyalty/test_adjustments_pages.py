"""The numbered statement about points by hand, driven through the pages of a store manager and of head office."""

import re
import uuid

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse

from loyalty import adjustments, proof, statements, till
from loyalty.models import Adjustment, Transaction
from profiles.intake import Statement, take_in_records
from profiles.models import Profile, Source
from tenants.network.models import AuditEvent, Staff
from tenants.roles import Role
from tests.conftest import PASSWORD
from tests.loyalty.conftest import ticket

ADD = "admin:loyalty_adjustment_add"
LIST = "admin:loyalty_adjustment_changelist"


@pytest.fixture
def marie(lille_till, programme_p) -> Profile:
    programme_p()
    till.record_purchase(lille_till[0], ticket("R1", 5000))
    return Profile.objects.get()


@pytest.fixture
def send(marie, lille, client_of):
    """`send(bruno, 30)`: the form of Marie's page, filled in and sent."""

    def sent(staff, number, follow=True, **more):
        form = {
            "key": str(uuid.uuid4()), "way": "give" if number > 0 else "take", "points": str(abs(number)),
            "store": lille.pk, "reason": "goodwill", "comment": "late delivery",
        } | more  # fmt: skip
        return client_of(staff).post(f"{reverse(ADD)}?customer={marie.pk}", form, follow=follow)

    return sent


def points_of(profile) -> int:
    return statements.balance_of(profile).available


def decide(client, asked, decision, answer="") -> str:
    address = reverse("admin:loyalty_adjustment_decide", args=[asked.pk])
    return client.post(address, {"decision": decision, "answer": answer}, follow=True).text


def test_a_store_gives_within_its_limits_and_asks_beyond(marie, send, client_of, bruno, diane):
    """Statement 46: a manager posts 200 at once and 1 000 a day; what is more waits, and head office says yes or no."""
    assert "Posted: +200 points." in send(bruno, 200).text
    assert points_of(marie) == 250
    assert "head office decides" in send(bruno, 201).text
    for _time in range(4):
        send(bruno, 200)
    assert points_of(marie) == 1050
    send(bruno, 1)
    assert points_of(marie) == 1050
    more, one = Adjustment.objects.filter(state="waiting").order_by("-points")
    assert (more.points, one.points) == (201, 1)
    page = client_of(diane).get(reverse(LIST)).text
    assert "late delivery" in page
    assert 'value="approve"' in page
    # Whoever asked, and every other store manager, cannot say yes.
    assert 'value="approve"' not in client_of(bruno).get(reverse(LIST)).text
    address = reverse("admin:loyalty_adjustment_decide", args=[more.pk])
    assert client_of(bruno).post(address, {"decision": "approve"}).status_code == 403
    assert "Approved" in decide(client_of(diane), more, "approve", "fine")
    assert points_of(marie) == 1251
    assert "say in a comment why" in decide(client_of(diane), one, "refuse")
    assert "Refused" in decide(client_of(diane), one, "refuse", "too often")
    for again in (more, one):
        assert "decided before" in decide(client_of(diane), again, "approve")
    assert points_of(marie) == 1251
    assert "too often" in client_of(bruno).get(reverse(LIST)).text
    logged = (
        AuditEvent.objects.filter(object_type="adjustment")
        .order_by("at")
        .values_list("verb", "actor", "reason")
    )
    assert [row for row in logged if row[0] in ("approved", "refused")] == [
        ("approved", str(diane), "fine"), ("refused", str(diane), "too often"),
    ]  # fmt: skip
    assert Transaction.objects.get(pk=Adjustment.objects.get(pk=more.pk).transaction_id).actor == diane.email
    assert proof.prove().differences == []


def test_the_form_names_what_is_wrong(marie, send, bruno, lyon):
    """Statement 46: a reason from the list and a comment, at the cost of one's own store."""
    wrong = {
        "reason": {"reason": "because"}, "comment": {"comment": " "}, "points": {"points": "0"},
        "store": {"store": lyon.pk}, "way": {"way": "steal"}, "key": {"key": "1"},
    }  # fmt: skip
    for field, told in wrong.items():
        assert list(send(bruno, 10, **told).context["form"].errors) == [field]
    assert "not so many points" in send(bruno, -51).text
    assert not Adjustment.objects.exists()
    assert points_of(marie) == 50


def test_nobody_adjusts_or_approves_for_the_own_card(marie, send, client_of, bruno, diane, lille):
    """Statement 46: any e-mail by which the customer is known makes it one's own card."""
    crm = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)
    fields = {"card": "2990000001234", "email": bruno.email.upper()}
    take_in_records(crm, [Statement("M", fields, raw=fields, store_code=lille.code)])
    own = Profile.objects.get(identifiers__kind="email")
    address = f"{reverse(ADD)}?customer={own.pk}"
    form = {"key": str(uuid.uuid4()), "way": "give", "points": "5", "store": lille.pk, "reason": "goodwill"}
    answer = client_of(bruno).post(address, form | {"comment": "for me"})
    assert "own card" in answer.text
    Profile.objects.filter(pk=own.pk).update(email="")
    answer = client_of(bruno).post(address, form | {"comment": "for me"})
    assert "own card" in answer.text
    # What head office asked for itself is posted at once; a request of one's own is never decided by oneself.
    waiting = Adjustment.objects.create(
        key="w", profile=marie, store=lille, points=500, reason="goodwill", comment="c", asked_by=diane
    )
    with pytest.raises(adjustments.NotAllowed) as told:
        adjustments.approve(waiting.pk, by=diane)
    assert told.value.code == "own_request"
    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        Adjustment.objects.filter(pk=waiting.pk).update(decided_by=diane)
    assert "adjustment_decided_by_another" in str(refused.value)
    assert points_of(marie) == 50


def test_a_form_sent_twice_counts_once(marie, send, bruno):
    key = str(uuid.uuid4())
    send(bruno, 30, key=key)
    send(bruno, 30, key=key)
    assert points_of(marie) == 80
    assert Adjustment.objects.count() == 1


def test_a_reversal_is_the_opposite_entry(marie, send, client_of, bruno, diane):
    """Statement 46: undone once, by an entry of its own; beyond a manager's limits it waits too."""
    send(bruno, 30)
    made = Adjustment.objects.get()
    address = reverse("admin:loyalty_adjustment_reverse", args=[made.pk])
    assert "Comment" not in client_of(bruno).post(address, {"comment": ""}).context["form"].cleaned_data
    for _time in range(2):
        client_of(bruno).post(address, {"comment": "wrong card"})
    assert points_of(marie) == 50
    assert Adjustment.objects.count() == 2
    assert sorted(Transaction.objects.filter(kind="adjust").values_list("key", flat=True)) == sorted(
        [f"adjust:{made.key}", f"adjust:reverse:{made.transaction_id}"]
    )
    send(diane, 500)
    big = Adjustment.objects.get(points=500)
    client_of(bruno).post(reverse("admin:loyalty_adjustment_reverse", args=[big.pk]), {"comment": "no"})
    assert Adjustment.objects.get(points=-500).state == "waiting"
    assert points_of(marie) == 550
    assert proof.prove().differences == []


def test_a_store_sees_and_touches_its_own_alone(marie, send, client_of, bruno, chloe, diane, lyon):
    send(bruno, 30)
    made = Adjustment.objects.get()
    other = client_of(chloe)
    assert "late delivery" not in other.get(reverse(LIST)).text
    assert other.get(reverse("admin:loyalty_adjustment_change", args=[made.pk])).status_code == 302
    assert other.get(reverse("admin:loyalty_adjustment_reverse", args=[made.pk])).status_code == 404
    # Marie never came to Lyon: its manager does not even learn that she exists.
    assert other.get(f"{reverse(ADD)}?customer={marie.pk}").status_code == 404
    shown = client_of(bruno).get(reverse("admin:profiles_profile_change", args=[marie.pk])).text
    assert re.search(r'id="adjustments".*late delivery', shown, re.DOTALL)
    analyst = Staff.objects.create_user("eve@acme.example", PASSWORD, full_name="Eve", role=Role.ANALYST)
    assert client_of(analyst).get(reverse(LIST)).status_code == 200
    assert client_of(analyst).post(f"{reverse(ADD)}?customer={marie.pk}", {}).status_code == 403
