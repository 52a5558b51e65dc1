"""A ticket given to its right owner: points, tier, figures and refunds follow, and all of it comes back."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.urls import reverse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from loyalty import ledger, proof, statements, till
from loyalty.models import Lot, Transaction
from profiles import merging, separating, ticket_moves
from profiles.intake import Problem, RefundLineStatement, RefundStatement, Shown
from profiles.models import Merge, Profile, ProfileFacts, ProfileStore, Purchase, PurchaseLine, TicketMove
from tenants.network.models import AuditEvent
from tests.loyalty.conftest import ticket
from tests.profiles.test_merging import changed, dump

CARDS = [Shown("card", f"29900000000{n}") for n in (17, 24, 31)]
AT = datetime(2026, 11, 2, 10, tzinfo=UTC)


@pytest.fixture
def three(lille_till, lyon_till, programme) -> list[Profile]:
    """One with 170 and 50 points and two with 80 each; the first's R0 was really the second's."""
    machines = [lille_till[0], lyon_till[0], lyon_till[0]]
    for n, (card, cents) in enumerate(zip(CARDS, (12000, 8000, 8000), strict=True)):
        till.record_purchase(machines[n], ticket(f"R{n}", cents, shown=card))
    till.record_purchase(lille_till[0], ticket("R9", 5000, shown=CARDS[0], at=AT + timedelta(days=1)))
    return list(Profile.objects.order_by("pk"))


def move(receipt, to, by, reason="wrong card") -> TicketMove:
    return ticket_moves.move(Purchase.objects.get(receipt_id=receipt), to, reason=reason, by=by)


def points(people) -> list[tuple[int, int]]:
    return [(b.available, b.debt) for b in map(statements.balance_of, people)]


def rows(people) -> dict:
    told = dump(*(p.pk for p in people))
    return {table: found for table, found in told.items() if not table.startswith("profiles_ticketmove")}


def bring_back(machine, receipt_id, refund_id, number=1):
    lines = [RefundLineStatement(number, Decimal(1))]
    return till.refund(machine, RefundStatement(refund_id, AT + timedelta(days=2), receipt_id, lines))


def test_everything_follows_and_everything_comes_back(three, diane, lille_till):
    before = rows(three)
    assert points(three) == [(220, 0), (80, 0), (80, 0)]
    assert [statements.balance_of(p).tier for p in three] == ["Silver", "", ""]
    done = move("R0", three[1], diane)
    assert points(three) == [(50, 0), (250, 0), (80, 0)]
    assert [statements.balance_of(p).tier for p in three] == ["", "Silver", ""]
    moved = Purchase.objects.get(receipt_id="R0")
    assert (moved.profile, moved.identified_by) == (three[1], "card:2990000000017")
    assert set(PurchaseLine.objects.filter(purchase=moved).values_list("profile", flat=True)) == {three[1].pk}
    assert set(ProfileStore.objects.filter(profile=three[1]).values_list("store__code", flat=True)) == {
        "ACM-001", "ACM-002",
    }  # fmt: skip
    spent = dict(ProfileFacts.objects.values_list("profile", "spend_cents"))
    assert [spent[p.pk] for p in three] == [5000, 20000, 8000]
    assert Lot.objects.get(transaction__purchase=moved).store.code == "ACM-001"
    assert proof.prove().differences == []
    # A refund of the ticket is its new owner's.
    with transaction.atomic():
        bring_back(lille_till[0], "R0", "B0")
        assert points(three)[:2] == [(50, 0), (80, 0)]
        assert proof.prove().differences == []
        transaction.set_rollback(True)
    ticket_moves.undo(done, diane)
    assert changed(before, rows(three)) == {}
    assert proof.prove().differences == []
    said = AuditEvent.objects.get(verb="moved ticket")
    assert (said.actor, said.reason) == ("Diane Perrot", "wrong card")


def test_points_spent_already_are_made_up_for_and_the_debt_ends_with_the_undo(three, diane, lille_till):
    """Of 170 + 50 points 200 were spent: 20 pay for a part of it, the rest is a debt until the undo."""
    till.redeem(lille_till[0], CARDS[0], 200, "P1", AT)
    before = rows(three)
    done = move("R0", three[1], diane)
    assert points(three) == [(0, 150), (250, 0), (80, 0)]
    assert proof.prove().differences == []
    ticket_moves.undo(done, diane)
    assert changed(before, rows(three)) == {}
    assert points(three)[0] == (20, 0)
    assert proof.prove().differences == []


def test_a_debt_paid_meanwhile_is_given_back_as_points(three, diane, lille_till):
    till.redeem(lille_till[0], CARDS[0], 200, "P1", AT)
    done = move("R0", three[1], diane)
    till.record_purchase(lille_till[0], ticket("R8", 9900, shown=CARDS[0], at=AT + timedelta(days=3)))
    assert points(three)[0] == (0, 51)
    ticket_moves.undo(done, diane)
    assert points(three)[:2] == [(20 + 99, 0), (80, 0)]
    assert proof.prove().differences == []


def test_what_a_refund_took_from_other_points_comes_back_with_the_ticket_gone(three, diane, lille_till):
    """Everything of R0 was spent, then its goods came back: that took other points and a debt, which were for R0."""
    till.redeem(lille_till[0], CARDS[0], 100, "P1", AT)
    bring_back(lille_till[0], "R0", "B0")
    assert points(three)[0] == (0, 50)
    before = rows(three)
    done = move("R0", three[1], diane)
    assert points(three) == [(0, 50), (80, 0), (80, 0)]
    assert proof.prove().differences == []
    ticket_moves.undo(done, diane)
    assert changed(before, rows(three)) == {}


def test_the_new_owner_spent_it_and_it_is_moved_back(three, diane, lille_till):
    done = move("R0", three[1], diane)
    till.redeem(lille_till[0], CARDS[1], 200, "P1", AT)
    ticket_moves.undo(done, diane)
    assert points(three)[:2] == [(220, 0), (0, 120)]
    assert proof.prove().differences == []


@pytest.mark.parametrize("first", ["before", "after"])
def test_an_unmerge_keeps_the_decision(three, diane, first):
    """R0 is given to the third; the first and second were one meanwhile, or become one afterwards."""
    if first == "before":
        deed = merging.merge(three[0], three[1], ground=Merge.Ground.PERSON, by=diane)
        done = move("R1", three[2], diane)
    else:
        done = move("R1", three[2], diane)
        deed = merging.merge(three[0], three[1], ground=Merge.Ground.PERSON, by=diane)
    separating.unmerge(deed, diane, binding=False)
    assert points(three) == [(220, 0), (0, 0), (160, 0)]
    assert Purchase.objects.get(receipt_id="R1").profile == three[2]
    # It was the second's, and returns there, not to whom the second was a part of.
    ticket_moves.undo(done, diane)
    assert points(three) == [(220, 0), (80, 0), (80, 0)]
    assert Purchase.objects.get(receipt_id="R1").profile == three[1]
    assert proof.prove().differences == []


def test_moved_back_into_a_merge_it_returns_with_its_owner(three, diane):
    done = move("R1", three[2], diane)
    deed = merging.merge(three[0], three[1], ground=Merge.Ground.PERSON, by=diane)
    ticket_moves.undo(done, diane)
    assert Purchase.objects.get(receipt_id="R1").profile == three[0]
    separating.unmerge(deed, diane, binding=False)
    assert Purchase.objects.get(receipt_id="R1").profile == three[1]
    assert points(three) == [(220, 0), (80, 0), (80, 0)]
    assert proof.prove().differences == []


def test_a_ticket_given_to_the_two_as_one_stays_with_the_survivor(three, diane, lyon_till):
    deed = merging.merge(three[0], three[1], ground=Merge.Ground.PERSON, by=diane)
    till.record_purchase(lyon_till[0], ticket("N1", 1000, shown=CARDS[1], at=AT + timedelta(days=4)))
    away = move("N1", three[2], diane)
    move("R2", three[0], diane)
    separating.unmerge(deed, diane, binding=False)
    owners = dict(Purchase.objects.values_list("receipt_id", "profile"))
    assert (owners["N1"], owners["R2"]) == (three[2].pk, three[0].pk)
    ticket_moves.undo(away, diane)
    assert Purchase.objects.get(receipt_id="N1").profile == three[1]
    assert proof.prove().differences == []


def test_what_cannot_be_moved(three, diane, lille_till):
    with pytest.raises(ticket_moves.CannotMove):
        move("R0", three[0], diane)
    with pytest.raises(ticket_moves.CannotMove):
        move("R0", three[1], diane, reason="  ")
    till.record_purchase(lille_till[0], ticket("A1", 100, shown=None))
    with pytest.raises(ticket_moves.CannotMove):
        move("A1", three[1], diane)
    first = move("R0", three[1], diane)
    move("R0", three[2], diane)
    with pytest.raises(ticket_moves.CannotMove):
        ticket_moves.undo(first, diane)
    assert TicketMove.objects.count() == 2
    deed = merging.merge(three[1], three[2], ground=Merge.Ground.PERSON, by=diane)
    assert deed
    with pytest.raises(ticket_moves.CannotMove):
        ticket_moves.undo(TicketMove.objects.first(), diane)


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["move", "undo", "spend", "return", "buy"]), st.integers(0, 2), st.integers(0, 2)
    ),
    min_size=3,
    max_size=9,
)


@settings(
    max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(deeds=MOVES)
def test_whatever_is_done_no_point_is_made_or_lost(three, diane, lille_till, lyon_till, deeds):
    with transaction.atomic():
        for number, (deed, one, other) in enumerate(deeds):
            try:
                with transaction.atomic():
                    if deed == "move":
                        move(f"R{one}", three[other], diane)
                    elif deed == "undo":
                        ticket_moves.undo(TicketMove.objects.filter(undone_at=None).first(), diane)
                    elif deed == "spend":
                        till.redeem(lille_till[0], CARDS[one], 100, f"P{number}", AT)
                    elif deed == "return":
                        bring_back(lille_till[0] if one == 0 else lyon_till[0], f"R{one}", f"B{number}")
                    else:
                        told = ticket(f"N{number}", 3000, shown=CARDS[one], at=AT + timedelta(days=3))
                        till.record_purchase(lille_till[0], told)
            except (ticket_moves.CannotMove, ledger.NotEnoughPoints, AttributeError, Problem):
                continue
            assert proof.prove().differences == []
        while standing := TicketMove.objects.filter(undone_at=None).first():
            ticket_moves.undo(standing, diane)
        assert [Purchase.objects.get(receipt_id=f"R{n}").profile for n in range(3)] == three
        earned = Transaction.objects.filter(purchase__receipt_id__startswith="R")
        assert all(t.profile_id == t.purchase.profile_id for t in earned.select_related("purchase"))
        assert proof.prove().differences == []
        transaction.set_rollback(True)


# --- The page ---------------------------------------------------------------------------------------------------


def test_the_right_customer_is_found_given_the_ticket_and_it_is_moved_back(
    three, diane, alice, bruno, client_of
):
    sold = Purchase.objects.get(receipt_id="R0")
    page = reverse("admin:profiles_purchase_move", args=[sold.pk])
    give = reverse("admin:profiles_purchase_give", args=[sold.pk])
    client = client_of(alice)
    assert "Credited to" in client.get(page).text
    found = client.get(page, {"q": "2990000000024"})
    assert [p.pk for p in found.context["found"]] == [three[1].pk]
    assert client.get(page, {"q": "2990000000017"}).context["found"] == []
    for told in (
        {},
        {"to": "x", "reason": "y"},
        {"to": three[1].pk, "reason": ""},
        {"to": "9" * 30, "reason": "y"},
    ):
        assert client.post(give, told).url == page
    assert client.post(give, {"to": three[1].pk, "reason": "mixed up"}).url == reverse(
        "admin:profiles_purchase_change", args=[sold.pk]
    )
    shown = client.get(reverse("admin:profiles_purchase_change", args=[sold.pk])).text
    assert "mixed up" in shown
    assert "Move back" in shown
    back = reverse("admin:profiles_purchase_move_back", args=[sold.pk, TicketMove.objects.get().pk])
    assert client_of(bruno).post(back).status_code == 403
    client.post(back)
    assert "Moved back on" in client.get(reverse("admin:profiles_purchase_change", args=[sold.pk])).text
    seen = client_of(bruno).get(reverse("admin:profiles_purchase_change", args=[sold.pk]))
    assert "mixed up" not in seen.text
