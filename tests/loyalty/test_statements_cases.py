"""The numbered statements about fraud: what is held, the cases, and what a person decides; debts that go too far."""

from datetime import date, datetime, timedelta

import pytest
import time_machine
from django.db import DatabaseError, transaction
from django.urls import reverse

from loyalty import cases, claims, ledger, proof, statements, tasks, till
from loyalty.cases import kilometres, most_in_an_hour_with
from loyalty.models import (
    Account,
    Case,
    CaseTicket,
    Cashier,
    ClaimTally,
    Lot,
    Programme,
    StorePlace,
    Tier,
    Transaction,
)
from profiles import merging, separating
from profiles.intake import Ticket
from profiles.models import Merge, Profile
from tenants.network.models import AuditEvent
from tenants.scoping import scoped_to
from tests.loyalty.conftest import AT, CARD, OTHER, back, ticket


def minutes(count) -> datetime:
    return AT + timedelta(minutes=count)


def served(receipt_id, *cents, cashier, shown=CARD, at=AT) -> Ticket:
    told = ticket(receipt_id, *cents, shown=shown, at=at)
    return Ticket(told.receipt_id, told.bought_at, told.lines, told.shown, cashier=cashier)


@pytest.fixture
def watched(programme_p):
    """Programme P with the limits that a new brand begins with."""
    programme_p()
    fresh = Programme()
    Programme.objects.update(velocity_tickets=fresh.velocity_tickets)
    return Programme.objects.get()


def points(profile=None) -> tuple[int, int, int]:
    balance = statements.balance_of(profile or Profile.objects.get())
    return balance.available, balance.pending, balance.debt


def sound() -> bool:
    return proof.prove().differences == []


# --- Velocity --------------------------------------------------------------------------------------------------------


def test_the_fourth_ticket_of_an_hour_is_held(lille_till, lyon_till, watched):
    """Statement 53: > 3 earning tickets a card, store and hour: held, a case opened; the till hears pending points."""
    for n in range(3):
        assert (
            till.record_purchase(lille_till[0], ticket(f"R{n}", 1000, at=minutes(20 * n))).body["pending"]
            == 0
        )
    fourth = till.record_purchase(lille_till[0], ticket("R3", 1000, at=minutes(59)))
    assert (fourth.status, fourth.body["points"], fourth.body["available"], fourth.body["pending"]) == (
        201,
        10,
        30,
        10,
    )
    # Another store has an hour of its own.
    till.record_purchase(lyon_till[0], ticket("R4", 1000, at=minutes(61)))
    till.record_purchase(lille_till[0], ticket("R5", 1000, at=minutes(79)))
    case = Case.objects.get()
    assert (case.kind, case.store, case.day, case.state) == (
        "velocity",
        lille_till[0].store,
        AT.date(),
        "open",
    )
    assert [row.purchase.receipt_id for row in case.tickets.all()] == ["R3", "R5"]
    assert AuditEvent.objects.filter(verb="opened case", store=lille_till[0].store).count() == 1
    assert points() == (40, 20, 0)
    assert ledger.release_due(AT.date() + timedelta(days=400)) == 0
    assert sound()


def test_a_batch_is_looked_at_ticket_by_ticket(lille_till, watched):
    """Statement 53: five tickets of an offline hour sent together: the fourth and fifth by time are held."""
    sent = [ticket(f"R{n}", 1000, at=minutes(10 * n)) for n in (4, 2, 0, 1, 3)]
    till.record_purchases(lille_till[0], sent)
    assert [row.purchase.receipt_id for row in CaseTicket.objects.all()] == ["R3", "R4"]
    assert points() == (30, 20, 0)
    assert sound()


def test_a_large_amount_of_a_day_is_held(lille_till, lyon_till, watched):
    """Statement 53: or > €X a day, over the network."""
    Programme.objects.update(velocity_cents=50_000)
    till.record_purchase(lille_till[0], ticket("R0", 30_000))
    till.record_purchase(lyon_till[0], ticket("R1", 20_000, at=minutes(120)))
    till.record_purchase(lyon_till[0], ticket("R2", 100, at=minutes(240)))
    till.record_purchase(lyon_till[0], ticket("R3", 20_000, at=minutes(24 * 60)))
    assert Case.objects.get().kind == "amount"
    assert (points(), CaseTicket.objects.get().purchase.receipt_id) == ((700, 1, 0), "R2")


def test_limits_are_settings_of_the_programme(lille_till, watched, client_of, diane, bruno):
    """Statement 53: the brand's administrator edits them; 0 is no limit."""
    page = reverse("admin:loyalty_programme_change", args=[watched.pk])
    assert client_of(bruno).get(page).status_code == 403
    told = {name: value for name, value in vars(Programme.objects.get()).items() if name[0] != "_"}
    assert client_of(diane).post(page, told | {"velocity_tickets": 0}).status_code == 302
    assert client_of(diane).post(page, told | {"claims_share": 101}).status_code == 200
    for n in range(6):
        till.record_purchase(lille_till[0], ticket(f"R{n}", 1000, at=minutes(n)))
    assert not Case.objects.exists()


def test_the_hour_is_any_hour_with_the_ticket():
    """Statement 53: an hour begins at any ticket and does not hold its end."""
    times = [minutes(n) for n in (0, 30, 59, 60, 70, 200)]
    assert most_in_an_hour_with(minutes(59), times) == 4
    assert most_in_an_hour_with(minutes(0), times) == 3
    assert most_in_an_hour_with(minutes(200), times) == 1


# --- Release and reverse ---------------------------------------------------------------------------------------------


@pytest.fixture
def held(lille_till, watched) -> Case:
    """R0 to R2 credited, R3 held with 10 points."""
    for n in range(4):
        till.record_purchase(lille_till[0], ticket(f"R{n}", 500, 500, at=minutes(n)))
    return Case.objects.get()


def test_a_case_is_released_once_and_logged(held, lille_till, diane):
    """Statement 53: released points go their way at once; who, when and why is kept; decided once."""
    with pytest.raises(cases.NotDecided):
        cases.release(held.pk, by=diane, comment=" ")
    cases.release(held.pk, by=diane, comment="a caterer")
    assert points() == (40, 0, 0)
    held.refresh_from_db()
    assert (held.state, held.decided_by, held.comment) == ("released", diane, "a caterer")
    assert AuditEvent.objects.filter(verb="released", object_type="case", reason="a caterer").count() == 1
    for deed in (cases.release, cases.reverse):
        with pytest.raises(cases.NotDecided):
            deed(held.pk, by=diane, comment="again")
    with pytest.raises(DatabaseError, match="case_is_decided_once"), transaction.atomic():
        Case.objects.update(state="open", decided_at=None, decided_by=None)
    # The next ticket of that hour opens a case of its own.
    till.record_purchase(lille_till[0], ticket("R9", 1000, at=minutes(5)))
    assert Case.objects.filter(state="open").count() == 1
    assert sound()


def test_points_that_wait_anyway_go_on_waiting_when_released(lille_till, programme_p, diane):
    """Statement 53: a release gives the points the day they would have had."""
    programme_p(pending_days=14)
    Programme.objects.update(velocity_cents=100)
    with time_machine.travel(minutes(60)):
        till.record_purchase(lille_till[0], ticket("R0", 1000))
        cases.release(Case.objects.get().pk, by=diane, comment="fine")
        assert points() == (0, 10, 0)
        assert ledger.release_due(date(2026, 11, 15)) == 0
        assert ledger.release_due(date(2026, 11, 16)) == 1
    assert sound()


def test_a_case_is_reversed_and_logged(held, lille_till, diane):
    """Statement 53: what the held ticket earned is taken back; its returns then cost nothing more; the proof agrees."""
    till.refund(lille_till[0], back("B1", "R3", 1, at=minutes(30)))
    assert points() == (30, 5, 0)
    cases.reverse(held.pk, by=diane, comment="resold receipts")
    assert points() == (30, 0, 0)
    row = held.tickets.get()
    assert row.voided_by.reverses_id == row.transaction_id
    assert AuditEvent.objects.get(verb="took back points").detail == {"points": 5}
    assert till.refund(lille_till[0], back("B2", "R3", 2, at=minutes(31))).body["points_taken_back"] == 0
    assert points() == (30, 0, 0)
    assert sound()


def test_points_held_twice_are_released_when_both_cases_are(lille_till, watched, diane):
    """Statement 53: a ticket of two cases waits for both; one that takes back settles the other."""
    Programme.objects.update(velocity_cents=3000)
    for n in range(4):
        till.record_purchase(lille_till[0], ticket(f"R{n}", 1000, at=minutes(n)))
    one, other = Case.objects.order_by("kind")
    assert (one.kind, other.kind) == ("amount", "velocity")
    cases.release(one.pk, by=diane, comment="fine")
    assert points() == (30, 10, 0)
    cases.reverse(other.pk, by=diane, comment="not fine")
    assert points() == (30, 0, 0)
    assert sound()


def test_a_merge_and_a_separation_leave_held_points_held(held, lille_till, diane):
    """Statement 53: held points are held whoever holds them."""
    till.record_purchase(lille_till[0], ticket("Z", 700, shown=OTHER))
    one, other = Profile.objects.order_by("pk")
    deed = merging.merge(other, one, ground=Merge.Ground.PERSON)
    assert ledger.release_due(date(2030, 1, 1)) == 0
    assert points(Profile.objects.get(pk=deed.winner_id))[1] == 10
    separating.unmerge(deed)
    cases.reverse(held.pk, by=diane, comment="x")
    assert points(one) == (30, 0, 0)
    assert sound()


def test_a_reversed_ticket_gives_no_tier(lille_till, watched, diane):
    """Statement 53: what was taken back keeps nobody at a tier, grace or not."""
    Tier.objects.create(code="gold", name="Gold", threshold=2500)
    till.record_purchase(lille_till[0], ticket("R0", 250_000))
    assert statements.balance_of(Profile.objects.get()).tier == "Gold"
    cases.reverse(Case.objects.get().pk, by=diane, comment="not theirs")
    assert statements.balance_of(Profile.objects.get()).tier == ""
    assert sound()


def test_cases_are_decided_on_their_page(held, client_of, diane, bruno, chloe):
    """Statement 53: head office decides; the manager of the store reads, another store's does not."""
    page = reverse("admin:loyalty_case_change", args=[held.pk])
    decide = reverse("admin:loyalty_case_decide", args=[held.pk])
    assert "Take the points back" in client_of(diane).get(page).content.decode()
    shown = client_of(bruno).get(page).content.decode()
    assert "R3" in shown
    assert "Take the points back" not in shown
    with scoped_to(chloe.scope):
        assert not Case.objects.exists()
        assert not CaseTicket.objects.exists()
    assert client_of(chloe).get(page).status_code == 302
    assert client_of(bruno).post(decide, {"decision": "release", "comment": "x"}).status_code == 403
    client_of(diane).post(decide, {"decision": "release", "comment": ""})
    client_of(diane).post(decide, {"decision": "nothing", "comment": "x"})
    assert points() == (30, 10, 0)
    client_of(diane).post(decide, {"decision": "release", "comment": "fine"})
    assert points() == (40, 0, 0)
    again = client_of(diane).post(decide, {"decision": "reverse", "comment": "x"}, follow=True)
    assert "this case was decided before" in again.content.decode()


# --- Cashiers --------------------------------------------------------------------------------------------------------


def test_a_cashier_s_own_card_is_held(lille_till, lyon_till, watched):
    """Statement 54: the card of an employee of this store under that employee's session is held; elsewhere not."""
    Cashier.objects.create(store=lille_till[0].store, code="C7", card="2990 0000 01234")
    till.record_purchase(lille_till[0], served("R0", 1000, cashier="C8"))
    till.record_purchase(lyon_till[0], served("R1", 1000, cashier="C7", at=minutes(90)))
    assert not Case.objects.exists()
    till.record_purchase(lille_till[0], served("R2", 1000, cashier="C7", at=minutes(200)))
    case = Case.objects.get()
    assert (case.kind, case.cashier, points()) == ("self_scan", "C7", (20, 10, 0))
    Programme.objects.update(hold_self_scan=False)
    till.record_purchase(lille_till[0], served("R3", 1000, cashier="C7", at=minutes(300)))
    assert points() == (30, 10, 0)


def test_one_card_again_and_again_under_one_cashier_is_a_case(lille_till, watched, diane):
    """Statement 54: > 5 times a day under one cashier opens a case, and holds nothing; it can be taken back."""
    for n in range(6):
        till.record_purchase(lille_till[0], served(f"R{n}", 1000, cashier="C7", at=minutes(70 * n)))
    case = Case.objects.get()
    assert (case.kind, case.cashier, points()) == ("card_uses", "C7", (60, 0, 0))
    till.record_purchase(lille_till[0], served("R6", 1000, cashier="C8", at=minutes(500)))
    assert case.tickets.count() == 1
    cases.reverse(case.pk, by=diane, comment="collected receipts")
    assert points() == (60, 0, 0)
    assert sound()


def test_claims_of_one_cashier_s_tickets_are_reported_each_week(
    lille_till, lyon_till, watched, client_of, bruno, chloe
):
    """Statement 54: a weekly report of claims by cashier; concentrated on one, they open a case."""
    till.record_purchase(lille_till[0], ticket("R", 50))
    monday = datetime(2026, 11, 9, 9, tzinfo=AT.tzinfo)
    for n in range(7):
        cashier = "C7" if n < 5 else "C8"
        till.record_purchase(lille_till[0], served(f"R{n}", 1000, cashier=cashier, shown=None))
        told = claims.Told(f"R{n}", 1000, "ACM-001")
        with time_machine.travel(monday + timedelta(hours=n)):
            claims.at_till(lille_till[0], f"K{n}", CARD, told, "C9")
    with time_machine.travel(monday + timedelta(days=7)):
        assert tasks.tally_claims() == 2
        assert tasks.tally_claims() == 2
    lines = ClaimTally.objects.values_list("week", "cashier", "claims", "cents", "points", "share")
    assert list(lines) == [(monday.date(), "C7", 5, 5000, 50, 71), (monday.date(), "C8", 2, 2000, 20, 28)]
    case = Case.objects.get(kind="claims")
    assert (case.store.code, case.cashier, case.tickets.count()) == ("ACM-001", "C7", 5)
    report = reverse("admin:loyalty_claimtally_changelist")
    assert "C7" in client_of(bruno).get(report).content.decode()
    with scoped_to(chloe.scope):
        assert not ClaimTally.objects.exists()


def test_claims_are_looked_at_like_tickets(lille_till, watched):
    """Statement 53: four tickets of one hour claimed on one card: the fourth is held."""
    till.record_purchase(lille_till[0], ticket("R", 50, at=minutes(500)))
    for n in range(4):
        till.record_purchase(lille_till[0], ticket(f"R{n}", 1000, shown=None, at=minutes(n)))
        with time_machine.travel(minutes(60 * 24)):
            claims.at_till(lille_till[0], f"K{n}", CARD, claims.Told(f"R{n}", 1000, "ACM-001"))
    assert points() == (30, 10, 0)
    assert sound()


# --- Distance --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("longitude", "apart", "is_case"), [("3.06", 10, True), ("3.06", 11, False), ("4.20", 10, False)]
)
def test_a_card_in_two_distant_stores_within_minutes_is_held(
    lille_till, lyon_till, watched, longitude, apart, is_case
):
    """Statement 55: two stores 50 km apart within 10 minutes → case; not later, not nearer, not without places."""
    till.record_purchase(lille_till[0], ticket("R0", 1000, at=minutes(-30)))
    till.record_purchase(lyon_till[0], ticket("R1", 1000, at=minutes(-30)))
    assert not Case.objects.exists()
    StorePlace.objects.create(store=lille_till[0].store, latitude="50.63", longitude=longitude)
    StorePlace.objects.create(store=lyon_till[0].store, latitude="50.63", longitude="4.835")
    # The later ticket may arrive first.
    till.record_purchase(lyon_till[0], ticket("R2", 1000, at=minutes(apart)))
    till.record_purchase(lille_till[0], ticket("R3", 1000))
    assert Case.objects.filter(kind="distance").count() == is_case
    assert points() == ((30, 10, 0) if is_case else (40, 0, 0))
    if is_case:
        held = Case.objects.get().tickets.order_by("pk")
        assert [(row.purchase.receipt_id, row.transaction_id is not None) for row in held] == [
            ("R3", True), ("R2", False),
        ]  # fmt: skip
    assert sound()


def test_the_way_between_two_places():
    """Statement 55: Lille to Lyon, as the crow flies."""
    assert round(kilometres((50.637, 3.063), (45.758, 4.835))) == 558
    assert kilometres((50.637, 3.063), (50.637, 3.063)) == 0


# --- Debts that go too far -------------------------------------------------------------------------------------------


def test_a_debt_beyond_the_floor_opens_a_case(lille_till, watched, lille):
    """Statement 36: a floor (1 000 points by default) raises a case, once."""
    Programme.objects.update(velocity_cents=0)
    for n in range(2):
        till.record_purchase(lille_till[0], ticket(f"R{n}", 80_000, at=minutes(n)))
    ledger.redeem(Profile.objects.get().pk, 1600, store_id=lille.pk, key="s", at=AT)
    till.refund(lille_till[0], back("B0", "R0", 1))
    assert (points(), Case.objects.count()) == ((0, 0, 800), 0)
    till.refund(lille_till[0], back("B1", "R1", 1))
    case = Case.objects.get()
    assert (case.kind, case.profile, points()) == ("debt", Profile.objects.get(), (0, 0, 1600))
    assert sound()


def test_a_debt_may_be_deducted_from_the_money(lille_till, lyon_till, watched, lille, lyon):
    """Statement 36, option deduct money: the store keeps the worth of the points that were spent; nobody owes."""
    Programme.objects.update(debt_policy="deducted")
    till.record_purchase(lille_till[0], ticket("R0", 5000, 200))
    member = Profile.objects.get()
    ledger.redeem(member.pk, 50, store_id=lille.pk, key="s", at=AT)
    heard = till.refund(lyon_till[0], back("B0", "R0", 1, store_code=lille.code)).body
    # 50 points come back: 2 are left, the worth of 48 is kept in Lyon, at 5 € for 100.
    assert (heard["points_taken_back"], heard["deducted_cents"], heard["refunded_cents"]) == (50, 240, 5000)
    assert points() == (0, 0, 0)
    kept = Account.objects.get(kind="adjustment")
    assert (kept.store, sum(kept.postings.values_list("points", flat=True))) == (lyon, -48)
    assert sound()


def test_no_more_is_deducted_than_the_goods_cost(lille_till, watched, lille):
    """Statement 36, option deduct money: what the money does not cover, or was paid out before, is owed."""
    Programme.objects.update(debt_policy="deducted", reward_cents=20_000)  # two euros a point
    till.record_purchase(lille_till[0], ticket("R0", 5000))
    ledger.redeem(Profile.objects.get().pk, 50, store_id=lille.pk, key="s", at=AT)
    heard = till.refund(lille_till[0], back("B0", "R0", 1)).body
    assert (heard["deducted_cents"], points()) == (5000, (0, 0, 25))
    till.refund(lille_till[0], back("B1", "R1", 1))
    till.record_purchase(lille_till[0], ticket("R1", 1000))
    assert points() == (0, 0, 25), "the return that waited for its sale was paid out long ago"
    assert sound()


def test_a_debt_may_be_head_office_s_loss(lille_till, watched, lille):
    """Statement 36, option clamp: nobody owes; the loss is head office's, and everything still adds up."""
    Programme.objects.update(debt_policy="clamped")
    till.record_purchase(lille_till[0], ticket("R0", 5000, 2000))
    member = Profile.objects.get()
    ledger.redeem(member.pk, 50, store_id=lille.pk, key="s", at=AT)
    till.refund(lille_till[0], back("B0", "R0", 1))
    assert points() == (0, 0, 0)
    loss = Account.objects.get(kind="loss")
    assert (loss.store, loss.profile, sum(loss.postings.values_list("points", flat=True))) == (
        None,
        None,
        -30,
    )
    till.record_purchase(lille_till[0], ticket("R1", 8000))
    assert points() == (80, 0, 0)
    till.refund(lille_till[0], back("B1", "R0", 2))
    assert points() == (60, 0, 0)
    assert Account.objects.filter(kind="loss").count() == 1
    assert Lot.objects.count() == 2
    assert Transaction.objects.filter(kind="refund").count() == 2
    with pytest.raises(DatabaseError, match="one_account_of_head_office"), transaction.atomic():
        Account.objects.create(kind="loss")
    assert sound()
