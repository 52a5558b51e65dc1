"""Tills that go offline, answers that are lost, requests that come twice and in any order: the ledger ends as if each
deed had been told once, in its order."""

import itertools
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from loyalty import proof
from tenants.scoping import whole_network
from tests.faults.conftest import opened
from tests.faults.oracles import ORACLES, rows, worth
from tests.faults.proxy import Cut, Proxy, body_of
from tests.faults.tills import Heard, Line, NoAnswer

TILLS, PEOPLE = 3, 3
FAULTS = {
    "none": [],
    "request cut": [Cut(upward=100)],
    "answer lost": [Cut(downward=0)],
    "answer lost twice": [Cut(downward=0), Cut(downward=150)],
}
faults = st.sampled_from(sorted(FAULTS))
EXAMPLES = itertools.count()
# Without making a failure smaller: against a server that takes minutes.
PHASES = [Phase.generate]


@dataclass
class Deed:
    """What a till tells, and its place in the true order. `answer` once it was acknowledged."""

    order: int
    till: int
    path: str
    told: dict
    answer: Heard | None = None


@dataclass
class Paper:
    """The members' points by hand: what their tickets are worth without what came back, less what was spent."""

    tickets: dict[str, tuple[int, list[int]]] = field(default_factory=dict)
    spent: list[tuple[int, int]] = field(default_factory=list)

    def points_of(self, person: int) -> int:
        earned = sum(worth(cents) for who, cents in self.tickets.values() if who == person)
        return earned - sum(points for who, points in self.spent if who == person)


class Disorder(RuleBasedStateMachine):
    """`proxy`, `port` and both brands' tills are set by the test. Each example has members and receipts of its own."""

    def __init__(self):
        super().__init__()
        self.example = next(EXAMPLES)
        self.clock = datetime.now(UTC) - timedelta(days=20)
        self.lines = [Line(self.proxy.port, machine) for machine in self.machines]
        self.orderly_lines = [Line(self.port, machine) for machine in self.orderly]
        self.deeds: list[Deed] = []
        self.offline: list[list[Deed]] = [[] for _till in range(TILLS)]
        self.paper = Paper()
        self.sold: list[tuple[str, int, list[int]]] = []

    def name(self, letter: str) -> str:
        return f"{letter}{self.example}-{len(self.deeds)}"

    def card(self, person: int) -> dict:
        return {"card": f"{2_990_100_000_000 + 10 * self.example + person}"}

    def deed(self, till: int, path: str, told: dict) -> Deed:
        made = Deed(len(self.deeds), till, path, told)
        self.deeds.append(made)
        return made

    def tick(self) -> str:
        self.clock += timedelta(minutes=3)
        return self.clock.isoformat()

    def send(self, till: int, path: str, told: dict, fault: str) -> Heard:
        """Send it until it is answered. What was answered and lost is told again to the byte."""
        line, plan = self.lines[till], FAULTS[fault]
        self.proxy.cut(*plan)
        for _cut in plan:
            with pytest.raises(NoAnswer):
                line.ask(path, told)
        heard = line.ask(path, told)
        lost = [self.proxy.lost.pop() for _lost in list(self.proxy.lost)]
        if path != "purchases/batch" and heard.status < 300:
            assert heard.is_replayed == bool(lost)
            assert all(body_of(answer) == heard.body for answer in lost)
        return heard

    @initialize()
    def meet(self):
        """Each member buys something to begin with, so that who is who does not depend on the order."""
        for person in range(PEOPLE):
            self.sell(0, person, [1000])
            self.deliver(0, "none", in_a_batch=False, seed=0)

    @rule(
        till=st.integers(0, TILLS - 1),
        person=st.integers(0, PEOPLE - 1),
        cents=st.lists(st.integers(1, 12_000), min_size=1, max_size=3),
    )
    def sell(self, till, person, cents):
        """Sold, and told to nobody yet."""
        receipt = self.name("R")
        told = {
            "receipt_id": receipt, "bought_at": self.tick(), "member": self.card(person),
            "lines": [{"sku": "A", "amount": f"{c / 100:.2f}"} for c in cents],
        }  # fmt: skip
        self.offline[till].append(self.deed(till, "purchases", told))
        self.sold += [(receipt, n, cents) for n in range(len(cents))]
        self.paper.tickets[receipt] = person, list(cents)

    @precondition(lambda self: any(self.offline))
    @rule(till=st.integers(0, TILLS - 1), fault=faults, in_a_batch=st.booleans(), seed=st.integers(0, 99))
    def deliver(self, till, fault, in_a_batch, seed):
        """Some of what waits at a till, in any order; in a batch with some of it twice."""
        waiting, chance = self.offline[till], random.Random(seed)
        chance.shuffle(waiting)
        if not waiting:
            return
        if not in_a_batch:
            deed = waiting.pop()
            deed.answer = self.send(till, deed.path, deed.told, fault)
            assert deed.answer.status == 201, deed.answer.body
            return
        sent, self.offline[till] = waiting[:4], waiting[4:]
        twice = [*sent, chance.choice(sent)]
        heard = self.send(till, "purchases/batch", {"purchases": [deed.told for deed in twice]}, fault)
        for deed, item in zip(twice, heard.json["results"], strict=True):
            assert item["status"] == 201, item
            again = self.lines[till].ask(deed.path, deed.told)
            assert again.is_replayed
            assert json.loads(again.body) == item["answer"]
            deed.answer = again

    @precondition(lambda self: any(deed.answer for deed in self.deeds))
    @rule(data=st.data(), fault=faults)
    def say_again(self, data, fault):
        told = [deed for deed in self.deeds if deed.answer]
        deed = data.draw(st.sampled_from(told))
        for cut in FAULTS[fault]:
            self.proxy.cut(cut)
            with pytest.raises(NoAnswer):
                self.lines[deed.till].ask(deed.path, deed.told)
        self.proxy.lost.clear()
        again = self.lines[deed.till].ask(deed.path, deed.told)
        assert (again.status, again.body, again.is_replayed) == (deed.answer.status, deed.answer.body, True)

    @precondition(lambda self: self.sold)
    @rule(data=st.data(), till=st.integers(0, TILLS - 1), fault=faults)
    def bring_back(self, data, till, fault):
        """A line comes back, at any till, whether or not its sale was told of."""
        receipt, number, cents = data.draw(st.sampled_from(self.sold))
        self.sold.remove((receipt, number, cents))
        sale = next(deed for deed in self.deeds if deed.told.get("receipt_id") == receipt)
        store = self.machines[sale.till].store
        told = {
            "refund_id": self.name("F"), "refunded_at": self.tick(), "receipt_id": receipt, "store": store,
            "lines": [{"number": number + 1}],
        }  # fmt: skip
        deed = self.deed(till, "refunds", told)
        deed.answer = self.send(till, "refunds", told, fault)
        assert deed.answer.status == (201 if sale.answer else 202), deed.answer.body
        who, kept = self.paper.tickets[receipt]
        # The line itself stays in its place: others are counted by theirs.
        kept[number] = 0
        self.paper.tickets[receipt] = who, kept

    @rule(till=st.integers(0, TILLS - 1), person=st.integers(0, PEOPLE - 1), fault=faults)
    def spend(self, till, person, fault):
        told = {
            "redemption_id": self.name("D"), "member": self.card(person), "points": 100,
            "redeemed_at": self.tick(),
        }  # fmt: skip
        heard = self.send(till, "redemptions", told, fault)
        if heard.status == 409:
            # A refusal changes nothing and is not remembered: it is no deed.
            assert heard.json["code"] == "not_enough_points"
            return
        assert heard.status == 201, heard.body
        deed = self.deed(till, "redemptions", told)
        deed.answer = heard
        self.paper.spent.append((person, 100))

    def teardown(self):
        try:
            for till in range(TILLS):
                while self.offline[till]:
                    self.deliver(till, "none", in_a_batch=False, seed=1)
            self.compare()
        finally:
            for line in self.lines + self.orderly_lines:
                line.close()

    def compare(self):
        """The same deeds at another brand, once each and in their order."""
        orderly = self.orderly_lines
        for deed in sorted(self.deeds, key=lambda deed: deed.order):
            heard = orderly[deed.till].ask(deed.path, deed.told)
            assert heard.status == 201, heard.body
            assert not heard.is_replayed
            if deed.path == "purchases":
                assert heard.json["points"] == deed.answer.json["points"]
        for person in range(PEOPLE):
            shown = {"member": self.card(person)}
            here, there = (line.ask("identify", shown).json for line in (self.lines[0], orderly[0]))
            balance = {name: here[name] for name in ("available", "pending", "debt")}
            assert balance == {name: there[name] for name in balance}
            assert balance["available"] - balance["debt"] == self.paper.points_of(person)


def test_any_order_and_any_loss_end_in_the_same_ledger(world, web, times, say):
    disorder, machines = opened("disorder")
    order, orderly = opened("order")
    connection.close()
    proxy = Proxy(web.port)
    told = {"proxy": proxy, "port": web.port, "machines": machines[:TILLS], "orderly": orderly[:TILLS]}
    machine = type("Machine", (Disorder,), told)
    quiet = settings(
        max_examples=8 * times, stateful_step_count=20, deadline=None, database=None, derandomize=times == 1,
        suppress_health_check=list(HealthCheck), phases=PHASES,
    )  # fmt: skip
    try:
        run_state_machine_as_test(machine, settings=quiet)
    finally:
        proxy.close()
    for brand in (disorder, order):
        connection.close()
        connection.set_tenant(brand)
        assert {name: found for name, query in ORACLES.items() if (found := rows(query))} == {}
        with whole_network():
            proved = proof.prove()
        assert proved.differences == []
        say(
            f"{brand.name}: {proved.counted['tickets']} tickets, {proved.counted['transactions']} transactions"
        )
