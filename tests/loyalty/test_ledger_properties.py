"""Tills, nights and merges in any order, beside a model on paper: every balance agrees and the proof finds nothing."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from loyalty import actions, ledger, proof, rules, statements, till, vouchers
from loyalty.ledger import NotEnoughPoints
from loyalty.models import Account, Action, Posting, Programme, Reward, Rule, Voucher
from loyalty.rulebook import publish
from profiles import merging, separating
from profiles.intake import RefundLineStatement, RefundStatement, Shown, Statement, take_in_records
from profiles.models import Merge, Profile, Source
from tests.loyalty.conftest import LONG_AGO, ticket

FIRST_DAY = date(2025, 1, 1)
PEOPLE = range(3)
people = st.sampled_from(PEOPLE)


@dataclass
class PaperLot:
    card: int
    receipt: str
    left: int
    spendable: date
    expires: date
    pending: bool


@dataclass
class PaperMerge:
    deed: Merge
    winner: int
    loser: int
    debt: int
    settled: dict[int, int] = field(default_factory=dict)


class Paper:
    """The ledger as one would keep it by hand: lots in the order they were earned, a debt for each person."""

    def __init__(self):
        self.lots: list[PaperLot] = []
        self.debt = dict.fromkeys(PEOPLE, 0)
        self.parent = {person: person for person in PEOPLE}

    def living(self, person: int) -> int:
        while self.parent[person] != person:
            person = self.parent[person]
        return person

    def lots_of(self, person: int, *, pending: bool) -> list[PaperLot]:
        mine = [lot for lot in self.lots if self.living(lot.card) == person and lot.pending == pending]
        return sorted(mine, key=lambda lot: lot.expires)

    def points(self, person: int, *, pending: bool = False) -> int:
        return sum(lot.left for lot in self.lots_of(person, pending=pending))

    def take(self, person: int, points: int) -> dict[int, int]:
        """The earliest expiry first; what was taken of each lot."""
        taken = {}
        for lot in self.lots_of(person, pending=False):
            part = min(points, lot.left)
            if part:
                taken[self.lots.index(lot)] = part
                lot.left -= part
                points -= part
        assert points == 0
        return taken

    def settle(self, person: int) -> dict[int, int]:
        paid = min(self.debt[person], self.points(person))
        self.debt[person] -= paid
        return self.take(person, paid)


class TillsAndNights(RuleBasedStateMachine):
    """Each example plays in a savepoint of its own."""

    @initialize(pending_days=st.sampled_from([0, 0, 14]))
    def open_programme(self, pending_days):
        self.undo = ExitStack()
        self.undo.enter_context(transaction.atomic())
        # In the summer of that year: what the nights of expiry have not taken is not expired yet.
        self.undo.enter_context(time_machine.travel(datetime(2025, 6, 3, tzinfo=UTC)))
        self.paper, self.pending_days = Paper(), pending_days
        self.tickets: dict[str, tuple[int, list[int], date]] = {}
        self.returned: dict[str, set[int]] = {}
        self.merges: list[PaperMerge] = []
        self.spent: dict[int, tuple[int, list[list[int]]]] = {}
        self.reserved: dict[int, tuple[int, list[list[int]]]] = {}
        self.acted: dict[int, int] = {}
        self.undone: dict[int, tuple[int, list[list[int]], int]] = {}
        self.bought: dict[int, tuple[int, list[list[int]], str]] = {}
        self.number = 0
        Programme.objects.create(
            name="Club", reward_points=10, reward_cents=50, velocity_tickets=0, velocity_cents=0
        )
        base = Rule.objects.create(code="only", name="Only", kind="base", priority=1)
        terms = {"points": 1, "per_cents": 100, "pending_days": pending_days, "expiry_months": 12}
        publish(base, {}, terms, effective_from=LONG_AGO)
        review = Rule.objects.create(code="review", name="Review", kind="action", priority=2)
        publish(review, {}, {"action": "review", "points": 7, "expiry_months": 12}, effective_from=LONG_AGO)
        source = Source.objects.create(code="crm", name="CRM", kind="crm")
        told = [Statement(str(n), {"card": self.card(n).value}, raw={"n": n}) for n in PEOPLE]
        self.ids = [outcome.profile_id for outcome in take_in_records(source, told)]

    @staticmethod
    def card(person: int) -> Shown:
        return Shown("card", f"29900000{person:05d}")

    def name(self) -> str:
        self.number += 1
        return f"N{self.number}"

    @rule(person=people, cents=st.lists(st.integers(1, 9000), min_size=1, max_size=2), day=st.integers(0, 60))
    def buy(self, person, cents, day):
        on, receipt = FIRST_DAY + timedelta(days=day), self.name()
        at = datetime(on.year, on.month, on.day, 12, tzinfo=UTC)
        sold = ticket(receipt, *cents, shown=self.card(person), at=at)
        answer = till.record_purchase(self.machine, sold)
        points = sum(cents) // 100
        assert answer.body["points"] == points
        self.tickets[receipt] = (person, cents, on)
        self.returned[receipt] = set()
        self.last = sold, answer.body
        if points:
            owner, waits = self.paper.living(person), self.pending_days > 0
            paid = 0 if waits else min(points, self.paper.debt[owner])
            self.paper.debt[owner] -= paid
            spendable = rules.spendable_on(on, self.pending_days)
            lot = PaperLot(person, receipt, points - paid, spendable, rules.last_day(on, 12), waits)
            self.paper.lots.append(lot)

    @precondition(lambda self: self.tickets)
    @rule()
    def send_again(self):
        sold, body = self.last
        answer = till.record_purchase(self.machine, sold)
        assert answer.replayed
        assert answer.body == body

    @rule(person=people, steps=st.integers(1, 9))
    def redeem(self, person, steps):
        owner, points = self.paper.living(person), steps * 10
        missing = points - self.paper.points(owner)
        at = timezone.now()
        if missing > 0:
            with pytest.raises(NotEnoughPoints) as refused:
                till.redeem(self.machine, self.card(person), points, self.name(), at)
            assert refused.value.missing == missing
        else:
            till.redeem(self.machine, self.card(person), points, self.name(), at)
            self.paper.take(owner, points)

    @rule(person=people, points=st.integers(1, 40))
    def reserve(self, person, points):
        owner, key = self.paper.living(person), self.name()
        told = {"store_id": self.machine.store_id, "key": key, "at": timezone.now()}
        if points > self.paper.points(owner):
            with pytest.raises(NotEnoughPoints):
                ledger.reserve(self.ids[owner], points, **told)
            return
        made = ledger.reserve(self.ids[owner], points, **told)
        taken = self.paper.take(owner, points)
        self.reserved[made] = owner, [[index, part] for index, part in taken.items()]

    @precondition(lambda self: self.reserved)
    @rule(data=st.data(), pay=st.booleans())
    def end_reservation(self, data, pay):
        made = data.draw(st.sampled_from(sorted(self.reserved)))
        owner, taken = self.reserved.pop(made)
        now = timezone.now()
        if pay:
            self.spent[ledger.commit(made, at=now)] = owner, taken
        else:
            ledger.cancel(made, at=now)
            self.restored(owner, taken, sum(part for _index, part in taken))
        for deed in (ledger.commit, ledger.cancel):
            with pytest.raises(ledger.ReservationOver):
                deed(made, at=now)

    @precondition(lambda self: self.spent)
    @rule(data=st.data(), points=st.integers(1, 40))
    def take_redemption_back(self, data, points):
        made = data.draw(st.sampled_from(sorted(self.spent)))
        owner, taken = self.spent[made]
        told = {"key": self.name(), "at": timezone.now()}
        if points > sum(part for _index, part in taken):
            with pytest.raises(ledger.NothingToGiveBack):
                ledger.give_back(made, points, **told)
            return
        ledger.give_back(made, points, **told)
        self.restored(owner, taken, points)

    @rule(person=people, points=st.integers(1, 40), unused=st.sampled_from(["lost", "returned"]))
    def buy_voucher(self, person, points, unused):
        owner, key = self.paper.living(person), self.name()
        reward = Reward.objects.create(
            code=key.lower(), name=key, kind="gift", points=points, unused=unused, valid_from=FIRST_DAY
        )
        holder = Profile.objects.get(pk=self.ids[owner])
        told = {"store": self.machine.store, "key": key, "at": timezone.now()}
        if points > self.paper.points(owner):
            with pytest.raises(NotEnoughPoints):
                vouchers.buy(holder, reward, **told)
            return
        bought = vouchers.buy(holder, reward, **told)
        taken = self.paper.take(owner, points)
        self.bought[bought.pk] = owner, [[index, part] for index, part in taken.items()], unused

    @precondition(lambda self: self.bought)
    @rule(data=st.data(), used=st.booleans())
    def end_voucher(self, data, used):
        made = data.draw(st.sampled_from(sorted(self.bought)))
        owner, taken, _unused = self.bought.pop(made)
        now = timezone.now()
        if used:
            voucher = vouchers.use(Voucher.objects.get(pk=made).code, store=self.machine.store, at=now)
            self.spent[voucher.use_id] = owner, taken
        else:
            vouchers.cancel(made, at=now)
            self.restored(owner, taken, sum(part for _index, part in taken))

    @rule()
    def night_of_vouchers(self):
        assert vouchers.expire_due(date(2040, 1, 1)) == len(self.bought)
        for _made, (owner, taken, unused) in sorted(self.bought.items()):
            if unused == "returned":
                self.restored(owner, taken, sum(part for _index, part in taken))
        self.bought = {}

    def restored(self, owner, taken, points):
        """On paper: what was taken last returns first, to whoever holds the lot now, who pays a debt with it."""
        holders = {owner}
        for entry in reversed(taken):
            part = min(points, entry[1])
            lot = self.paper.lots[entry[0]]
            entry[1] -= part
            lot.left += part
            points -= part
            holders.add(self.paper.living(lot.card))
        assert points == 0
        for holder in holders:
            self.paper.settle(holder)

    @rule(person=people, points=st.integers(-30, 30))
    def adjust(self, person, points):
        owner = self.paper.living(person)
        told = {"store_id": self.machine.store_id, "key": self.name(), "at": timezone.now(), "why": {}}
        expires = date(2026, 1, 1)
        if points == 0:
            return
        if -points > self.paper.points(owner):
            with pytest.raises(NotEnoughPoints):
                ledger.adjust(self.ids[owner], points, **told)
            return
        ledger.adjust(self.ids[owner], points, **told, expires_on=expires)
        if points < 0:
            self.paper.take(owner, -points)
            return
        paid = min(points, self.paper.debt[owner])
        self.paper.debt[owner] -= paid
        self.paper.lots.append(PaperLot(owner, "", points - paid, FIRST_DAY, expires, pending=False))

    @rule(person=people)
    def act(self, person):
        """Seven points for an action, on the first day."""
        owner, key = self.paper.living(person), self.name()
        at = datetime(2025, 1, 1, 12, tzinfo=UTC)
        answer = actions.record(self.machine, actions.Deed("review", key, self.card(person), at))
        assert answer.body["points"] == 7
        paid = min(7, self.paper.debt[owner])
        self.paper.debt[owner] -= paid
        lot = PaperLot(person, "", 7 - paid, FIRST_DAY, rules.last_day(FIRST_DAY, 12), pending=False)
        self.paper.lots.append(lot)
        self.acted[Action.objects.get(key=key).pk] = self.paper.lots.index(lot)

    @precondition(lambda self: self.acted)
    @rule(data=st.data())
    def take_action_back(self, data):
        row = Action.objects.get(pk=data.draw(st.sampled_from(sorted(self.acted))))
        lot = self.paper.lots[self.acted.pop(row.pk)]
        done = ledger.undo_credit(row.transaction_id, 7, key=self.name(), at=timezone.now(), why={})
        Action.objects.filter(pk=row.pk).update(withdrawn_by=done)
        owner = self.paper.living(lot.card)
        own = min(7, lot.left)
        lot.left -= own
        others = min(7 - own, self.paper.points(owner))
        taken = self.paper.take(owner, others)
        self.paper.debt[owner] += 7 - own - others
        used = [[self.paper.lots.index(lot), own], *([index, part] for index, part in taken.items())]
        self.undone[row.pk] = owner, used, 7 - own - others

    @precondition(lambda self: self.undone)
    @rule(data=st.data())
    def give_action_back(self, data):
        row = Action.objects.get(pk=data.draw(st.sampled_from(sorted(self.undone))))
        taker, used, owed = self.undone.pop(row.pk)
        ledger.redo_credit(row.withdrawn_by_id, key=self.name(), at=timezone.now(), why={})
        owner = self.paper.living(taker)
        first = self.paper.lots[used[0][0]]
        for index, part in used:
            self.paper.lots[index].left += part
        paid = min(owed, self.paper.debt[owner])
        self.paper.debt[owner] -= paid
        if owed > paid:
            lot = PaperLot(owner, "", owed - paid, FIRST_DAY, first.expires, pending=False)
            self.paper.lots.append(lot)
        for holder in sorted(
            {owner, *(self.paper.living(self.paper.lots[index].card) for index, part in used if part)}
        ):
            self.paper.settle(holder)
        Action.objects.filter(pk=row.pk).update(withdrawn_by=None)

    @precondition(lambda self: any(len(self.returned[r]) < len(t[1]) for r, t in self.tickets.items()))
    @rule(data=st.data())
    def bring_back(self, data):
        open_lines = [
            (receipt, number)
            for receipt, (_person, cents, _on) in self.tickets.items()
            for number in range(len(cents))
            if number not in self.returned[receipt]
        ]
        receipt, number = data.draw(st.sampled_from(open_lines))
        person, cents, on = self.tickets[receipt]
        kept = sum(c for n, c in enumerate(cents) if n not in self.returned[receipt])
        points = kept // 100 - (kept - cents[number]) // 100
        at = timezone.now()
        line = [RefundLineStatement(number + 1, Decimal(1))]
        answer = till.refund(self.machine, RefundStatement(self.name(), at, receipt, line, on))
        assert answer.body["points_taken_back"] == points
        self.returned[receipt].add(number)
        owner = self.paper.living(person)
        for lot in self.paper.lots:
            if lot.receipt == receipt:
                part = min(points, lot.left)
                lot.left -= part
                points -= part
        from_others = min(points, self.paper.points(owner))
        self.paper.take(owner, from_others)
        self.paper.debt[owner] += points - from_others

    @rule(day=st.integers(0, 100))
    def night_of_release(self, day):
        today = FIRST_DAY + timedelta(days=day)
        ledger.release_due(today)
        for lot in self.paper.lots:
            if lot.pending and lot.left and lot.spendable <= today:
                owner = self.paper.living(lot.card)
                paid = min(lot.left, self.paper.debt[owner])
                self.paper.debt[owner] -= paid
                lot.left -= paid
                lot.pending = False

    @rule(day=st.integers(360, 430))
    def night_of_expiry(self, day):
        today = FIRST_DAY + timedelta(days=day)
        ledger.expire_due(today)
        for lot in self.paper.lots:
            if not lot.pending and lot.expires < today:
                lot.left = 0

    @rule(one=people, other=people)
    def merge(self, one, other):
        pair = [Profile.objects.get(pk=self.ids[person]) for person in (one, other)]
        one, other = self.paper.living(one), self.paper.living(other)
        if one == other:
            with pytest.raises(merging.CannotMerge):
                merging.merge(*pair, ground=Merge.Ground.PERSON, by=self.diane)
            return
        winner, loser = sorted((one, other))
        deed = merging.merge(*pair, ground=Merge.Ground.PERSON, by=self.diane)
        noted = PaperMerge(deed, winner, loser, self.paper.debt[loser])
        self.paper.debt[winner] += self.paper.debt[loser]
        self.paper.debt[loser] = 0
        self.paper.parent[loser] = winner
        noted.settled = self.paper.settle(winner)
        self.merges.append(noted)

    @precondition(lambda self: self.merges)
    @rule(data=st.data())
    def unmerge(self, data):
        noted = data.draw(st.sampled_from(self.merges))
        winner, loser = noted.winner, noted.loser
        if self.paper.living(winner) != winner:
            with pytest.raises(separating.CannotSeparate):
                separating.unmerge(noted.deed, self.diane)
            return
        separating.unmerge(noted.deed, self.diane)
        self.merges.remove(noted)
        for index, points in noted.settled.items():
            lot = self.paper.lots[index]
            if self.paper.living(lot.card) == winner:
                lot.left += points
                self.paper.debt[winner] += points
        back = min(noted.debt, self.paper.debt[winner])
        self.paper.debt[winner] -= back
        self.paper.debt[loser] += back
        self.paper.parent[loser] = loser
        self.paper.settle(winner)
        self.paper.settle(loser)

    @invariant()
    def the_ledger_is_what_stands_on_paper(self):
        if not hasattr(self, "ids"):
            return
        balances = statements.balances_of(self.ids)
        for person in PEOPLE:
            found = balances[self.ids[person]]
            alive = self.paper.living(person) == person
            expected = (
                (self.paper.points(person), self.paper.points(person, pending=True), self.paper.debt[person])
                if alive
                else (0, 0, 0)
            )
            assert (found.available, found.pending, found.debt) == expected
        assert whole() == 0
        for kind in ("available", "pending", "debt"):
            entries = Posting.objects.filter(account__kind=kind).aggregate(sum=Sum("points"))["sum"] or 0
            balances_of_kind = Account.objects.filter(kind=kind).aggregate(sum=Sum("balance"))["sum"] or 0
            assert entries == balances_of_kind

    def teardown(self):
        if not hasattr(self, "undo"):
            return
        found = proof.prove().differences
        histories = {
            person: sum(moved.points for moved in statements.history(Profile.objects.get(pk=pk), 1000))
            for person, pk in enumerate(self.ids)
            if self.paper.living(person) == person
        }
        transaction.set_rollback(True)
        self.undo.close()
        assert found == []
        for person, moved in histories.items():
            paper = self.paper
            held = paper.points(person) + paper.points(person, pending=True) - paper.debt[person]
            assert moved == held


def whole() -> int:
    """All postings of all accounts together."""
    return Posting.objects.aggregate(sum=Sum("points"))["sum"] or 0


def play(lille_till, diane, **how) -> None:
    machine = type("Machine", (TillsAndNights,), {"machine": lille_till[0], "diane": diane})
    quiet = settings(deadline=None, suppress_health_check=list(HealthCheck), **how)
    run_state_machine_as_test(machine, settings=quiet)


def test_a_few_days_of_a_programme(lille_till, diane):
    play(lille_till, diane, max_examples=15, stateful_step_count=15, derandomize=True, database=None)


@pytest.mark.slow
def test_many_days_of_a_programme(lille_till, diane):
    play(lille_till, diane, max_examples=60, stateful_step_count=30)
