"""The numbered statements about tickets claimed afterwards, and about returns that come before their sale."""

from datetime import date, timedelta

import pytest
import time_machine
from django.db import DatabaseError, transaction
from django.urls import reverse

from loyalty import claims, proof, returns, rulebook, statements, tasks, till
from loyalty.models import Cashier, Claim, Lot, ParkedReturn, Programme, TicketCashier, Transaction
from profiles.intake import Problem, Ticket
from profiles.models import Profile, ProfileStore, Purchase, Refund
from tenants.network.models import AuditEvent
from tenants.scoping import scoped_to
from tests.loyalty.conftest import AT, CARD, back, ticket

CLAIMS = "/api/v1/claims"
NOW = AT + timedelta(days=5)


def served(receipt_id, *cents, cashier="", shown=None, at=AT) -> Ticket:
    """A ticket without a card, by this cashier."""
    told = ticket(receipt_id, *cents, shown=shown, at=at)
    return Ticket(told.receipt_id, told.bought_at, told.lines, told.shown, cashier=cashier)


@pytest.fixture
def marie(lille_till, programme_p) -> Profile:
    """A member with a card, known in Lille by a ticket that earned nothing."""
    programme_p(pending_days=0)
    till.record_purchase(lille_till[0], ticket("R0", 50))
    return Profile.objects.get()


@pytest.fixture
def ask(lille_till, till_client):
    """`ask(…)`: a claim at Lille's till, five days after the ticket."""
    client = till_client(lille_till[1])
    number = iter(range(100))

    def sent(at=NOW, **told):
        body = {
            "claim_id": f"C{next(number)}",
            "member": {"card": CARD.value},
            "receipt_id": "R1",
            "total": "49.90",
        }
        with time_machine.travel(at, tick=False):
            return client.post(CLAIMS, body | told, content_type="application/json")

    return sent


def code(answer) -> tuple:
    return answer.status_code, answer.json().get("code", "done")


def test_a_ticket_without_a_card_is_claimed_and_dated_at_its_day(marie, lille_till, ask):
    """Statement 17: ticket number and amount within 30 days give the points of the ticket's own day, once."""
    till.record_purchase(lille_till[0], served("R1", 1995, 2995, cashier="C7"))
    assert not Transaction.objects.filter(kind="earn").exists()
    first = ask(claim_id="X")
    assert code(first) == (201, "done")
    assert (first.json()["points"], first.json()["available"]) == (49, 49)
    earning = Transaction.objects.get(kind="earn")
    assert (earning.occurred_at, earning.key) == (AT, f"earn:{earning.purchase_id}")
    assert Lot.objects.get().expires_on == date(2027, 11, 2)
    assert Purchase.objects.get(receipt_id="R1").identified_by == "card:2990000001234"
    again = ask(claim_id="X")
    assert (again.content, again.headers["Idempotent-Replayed"]) == (first.content, "true")
    assert code(ask(claim_id="Y")) == (409, "already_claimed")
    assert code(ask(claim_id="X", total="50.00")) == (422, "id_reused")
    assert statements.balance_of(marie).available == 49
    assert AuditEvent.objects.filter(verb="claimed", store=lille_till[0].store).count() == 1
    assert proof.prove().differences == []
    with pytest.raises(DatabaseError, match="claim_is_never_rewritten"), transaction.atomic():
        Claim.objects.update(points=1000)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"total": "49.91"}, (404, "unknown_ticket")),
        ({"receipt_id": "R2"}, (404, "unknown_ticket")),
        ({"store": "ACM-002"}, (404, "unknown_ticket")),
        ({"business_day": "2026-11-01"}, (404, "unknown_ticket")),
        ({"receipt_id": "R0", "total": "0.50"}, (409, "ticket_has_member")),
        ({"member": {"card": "2990000009999"}}, (404, "unknown_member")),
        ({"member": {"card": "?"}}, (422, "invalid_identifier")),
        ({"total": "49.901"}, (422, "invalid_amount")),
        ({"at": AT + timedelta(days=31)}, (409, "claim_over")),
        ({"at": AT + timedelta(days=30)}, (201, "done")),
        ({"business_day": "2026-11-02"}, (201, "done")),
    ],
)
def test_what_is_no_claim_is_refused(marie, lille_till, lyon_till, ask, told, expected):
    """Statement 17: a wrong number or amount finds nothing, and does not say which of them is wrong."""
    till.record_purchase(lille_till[0], served("R1", 4990))
    assert code(ask(**told)) == expected
    assert Claim.objects.count() == (expected[0] == 201)
    assert proof.prove().differences == []


def test_the_cashier_of_a_ticket_cannot_claim_it(marie, lille_till, lyon_till, till_client, ask):
    """Statement 17: neither by the own card nor for a friend at the till; another cashier, or another store, can."""
    lille = lille_till[0].store
    till.record_purchase(lille_till[0], served("R1", 4990, cashier="C7"))
    Cashier.objects.create(store=lille, code="C7", card="2990 0000 01234")
    assert code(ask()) == (409, "own_ticket")
    Cashier.objects.update(card="2990000005678")
    assert code(ask(cashier="C7")) == (409, "own_ticket")
    assert Purchase.objects.get(receipt_id="R1").profile is None
    assert code(ask(cashier="C8")) == (201, "done")
    assert Claim.objects.values_list("cashier", "taken_by").get() == ("C7", "C8")
    # The C7 of another store is another person.
    till.record_purchase(lille_till[0], served("R2", 4990, cashier="C7"))
    told = claims.Told("R2", 4990, "ACM-001")
    with time_machine.travel(NOW):
        assert claims.at_till(lyon_till[0], "Z", CARD, told, "C7").status == 201


def test_a_claim_is_judged_by_the_rules_tier_and_returns_of_its_day(marie, lille_till, lyon_till, ask):
    """Statement 17: rules and caps of the ticket's day; what came back before the claim earns nothing."""
    base = rulebook.Rule.objects.get()
    till.record_purchase(lille_till[0], served("R1", 1995, 2995))
    till.refund(lille_till[0], back("B1", "R1", 1))
    later = AT + timedelta(days=2)
    rulebook.publish(base, {}, {"points": 5, "per_cents": 100}, effective_from=later)
    answer = ask()
    assert (answer.json()["points"], answer.json()["available"]) == (29, 29)
    assert proof.prove().differences == []
    till.refund(lille_till[0], back("B2", "R1", 2, at=NOW))
    assert statements.balance_of(marie).available == 0
    assert proof.prove().differences == []
    told = claims.Told("R9", 4990, "ACM-002")
    till.record_purchase(lyon_till[0], served("R9", 4990))
    with time_machine.travel(NOW):
        claims.at_till(lille_till[0], "Z", CARD, told)
    assert ProfileStore.objects.filter(profile=marie, store=lyon_till[0].store).exists()
    assert Lot.objects.order_by("-pk").first().store == lyon_till[0].store


def test_head_office_says_how_long_and_may_switch_claims_off(marie, lille_till, ask):
    """Statement 17: the days are a setting of the programme."""
    till.record_purchase(lille_till[0], served("R1", 4990))
    Programme.objects.update(claim_days=4)
    assert code(ask()) == (409, "claim_over")
    Programme.objects.update(claim_days=5)
    assert code(ask()) == (201, "done")


def test_staff_claims_in_the_office(marie, lille_till, lyon_till, client_of, bruno, chloe):
    """Statement 17: a manager claims for the own store, on the same terms; not on the own e-mail, not elsewhere."""
    till.record_purchase(lille_till[0], served("R1", 4990))
    till.record_purchase(lyon_till[0], served("R1", 4990))
    page = reverse("admin:loyalty_claim_add")
    told = {
        "store": lille_till[0].store_id,
        "receipt_id": "R1",
        "total": "49.90",
        "member": "2990 0000 01234",
    }
    with time_machine.travel(NOW):
        assert client_of(bruno).post(page, told | {"total": "49.00"}).status_code == 200
        assert not Claim.objects.exists()
        refused = client_of(bruno).post(page, told | {"store": lyon_till[0].store_id})
        assert refused.status_code == 200
        assert not Claim.objects.exists()
        Profile.objects.update(email=bruno.email)
        assert client_of(bruno).post(page, told).status_code == 200
        assert not Claim.objects.exists()
        Profile.objects.update(email="")
        assert client_of(bruno).post(page, told).status_code == 302
    made = Claim.objects.get()
    assert (made.by, made.store, made.points) == (bruno, lille_till[0].store, 49)
    with scoped_to(chloe.scope):
        assert not Claim.objects.exists()
    listed = reverse("admin:loyalty_claim_changelist")
    assert "R1" in client_of(bruno).get(listed).content.decode()
    assert "Lille Centre" in client_of(bruno).get(listed).content.decode()
    assert "Lille Centre" not in client_of(chloe).get(listed).content.decode()


def test_cashiers_are_noted_and_change_no_fingerprint(marie, lille_till):
    """Statement 17: a ticket that says its cashier is another content; one that does not keeps its fingerprint."""
    till.record_purchase(lille_till[0], served("R1", 100, cashier=" C7 "))
    assert TicketCashier.objects.get().cashier == "C7"
    assert till.record_purchase(lille_till[0], served("R1", 100, cashier=" C7 ")).replayed
    with pytest.raises(Problem):
        till.record_purchase(lille_till[0], served("R1", 100))


# --- Returns before their sale ----------------------------------------------------------------------------------------


def test_a_return_before_its_sale_waits_for_it(lille_till, programme_p):
    """Statement 44: parked without effect, applied when the sale arrives; the same return again has no other effect."""
    programme_p()
    machine = lille_till[0]
    early = till.refund(machine, back("B1", "R1", 1))
    assert (early.status, early.body["parked"]) == (202, True)
    assert not Refund.objects.exists()
    sold = till.record_purchase(machine, ticket("R1", 1995, 2995))
    assert (sold.body["points"], sold.body["available"]) == (49, 29)
    parked = ParkedReturn.objects.get()
    assert (parked.state, parked.applied_as.refund_id) == ("applied", "B1")
    assert till.refund(machine, back("B1", "R1", 1)).body == early.body
    assert till.record_purchase(machine, ticket("R1", 1995, 2995)).body == sold.body
    assert statements.balance_of(Profile.objects.get()).available == 29
    assert Transaction.objects.filter(kind="refund").count() == 1
    assert proof.prove().differences == []


def test_a_batch_and_another_store_find_what_waits(lille_till, lyon_till, programme_p):
    """Statement 44: also of another store's sale, of one in a batch, and of a ticket that names nobody."""
    programme_p()
    lille, lyon = lille_till[0], lyon_till[0]
    assert till.refund(lyon, back("B1", "R1", 1, store_code="ACM-001")).status == 202
    assert till.refund(lille, back("B2", "R2", 1)).status == 202
    till.record_purchase(lyon, ticket("R1", 700))
    assert ParkedReturn.objects.filter(state="waiting").count() == 2
    till.record_purchases(lille, [ticket("R1", 1995, 2995), ticket("R2", 500, shown=None)])
    assert not ParkedReturn.objects.exclude(state="applied").exists()
    assert Refund.objects.get(refund_id="B1").store == lyon.store
    assert statements.balance_of(Profile.objects.get()).available == 7 + 29
    assert proof.prove().differences == []


def test_what_finds_no_sale_is_asked_about(
    lille_till, lyon_till, programme_p, diane, bruno, chloe, client_of
):
    """Statement 44: unresolved after 7 days it stands in a queue; one that does not fit its sale at once."""
    programme_p()
    till.refund(lille_till[0], back("B1", "R1", 9))
    till.refund(lille_till[0], back("B2", "R2", 1))
    till.refund(lyon_till[0], back("B3", "R3", 1))
    queue = reverse("admin:loyalty_parkedreturn_changelist") + "?queue=unresolved"

    def shown(who) -> set:
        page = client_of(who).get(queue).content.decode()
        return {name for name in ("B1", "B2", "B3") if f">{name}<" in page}

    assert shown(diane) == set()
    till.record_purchase(lille_till[0], ticket("R1", 1995))
    parked = ParkedReturn.objects.get(refund_id="B1")
    assert (parked.state, parked.problem) == ("refused", "the ticket has no line 9")
    assert shown(diane) == {"B1"}
    ParkedReturn.objects.update(parked_at=AT)
    assert shown(diane) == {"B1", "B2", "B3"}
    assert shown(bruno) == {"B1", "B2"}
    close = reverse("admin:loyalty_parkedreturn_close", args=[parked.pk])
    assert client_of(diane).post(close, {"comment": ""}).status_code == 302
    parked.refresh_from_db()
    assert parked.state == "refused"
    client_of(diane).post(close, {"comment": "the customer kept it"})
    assert shown(diane) == {"B2", "B3"}
    assert AuditEvent.objects.filter(verb="closed", reason="the customer kept it").count() == 1
    with pytest.raises(returns.NotWaiting):
        returns.close(parked.pk, by=diane, comment="again")
    assert client_of(bruno).post(close, {"comment": "x"}).status_code == 403


def test_a_return_and_a_sale_that_crossed_find_each_other(lille_till, programme_p):
    """Statement 44: parked while its sale was being recorded, it is applied by the next round, once."""
    programme_p()
    till.refund(lille_till[0], back("B1", "R1", 1))
    ParkedReturn.objects.update(state="closed")  # as if not committed yet
    till.record_purchase(lille_till[0], ticket("R1", 1995, 2995))
    ParkedReturn.objects.update(state="waiting")
    assert tasks.apply_parked_returns() == 1
    assert tasks.apply_parked_returns() == 0
    assert statements.balance_of(Profile.objects.get()).available == 29
    assert proof.prove().differences == []


def test_a_return_dated_before_its_sale_by_days_is_another_ticket_s(lille_till, programme_p):
    """Statement 44: receipt numbers come again; a return waits for a sale that can have been before it."""
    programme_p()
    till.refund(lille_till[0], back("B1", "R1", 1))
    till.record_purchase(lille_till[0], ticket("R1", 1995, at=AT + timedelta(days=9)))
    assert ParkedReturn.objects.get().state == "waiting"
    assert not Transaction.objects.filter(kind="refund").exists()
