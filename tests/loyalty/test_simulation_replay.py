"""Replays: the sums are those of judging each ticket alone; work that was killed goes on and counts nobody twice."""

import io
import random
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty import drafts, replay, rulebook, rules, tasks, till
from loyalty.models import Posting, Replay, Rule, RuleDraft, Transaction
from profiles.intake import Shown, Ticket, TicketLine
from profiles.models import Purchase
from tenants.calendar import brand_today
from tenants.network.models import Job
from tests.loyalty.conftest import LONG_AGO
from tests.loyalty.test_rules import TEN, rule, ticket

CARDS = [f"29900000{n:05d}" for n in range(12)]


@pytest.fixture
def sold(lille_till, lyon_till, programme) -> list[Purchase]:
    """Two hundred tickets of twelve members and some of nobody, in two stores, over the last forty days."""
    chance = random.Random(7)
    for machine in (lille_till[0], lyon_till[0]):
        batch = []
        for number in range(100):
            lines = [
                TicketLine(
                    sku=f"S{chance.randrange(4)}",
                    amount_cents=chance.randrange(50, 9000),
                    category=chance.choice(["DAIRY", "WINE", ""]),
                )
                for _line in range(chance.randrange(1, 5))
            ]
            shown = Shown("card", chance.choice(CARDS)) if number % 8 else None
            at = timezone.now() - timedelta(days=chance.randrange(1, 40), minutes=chance.randrange(600))
            batch.append(Ticket(f"R{number}", at, lines, shown))
        till.record_purchases(machine, batch)
    return list(Purchase.objects.filter(profile__isnull=False).select_related("store"))


def draft_of(code, by, conditions=None, **terms) -> RuleDraft:
    found = Rule.objects.get(code=code)
    said = found.versions.order_by("-number").first()
    return drafts.save(
        found, said.conditions if conditions is None else conditions, said.terms | terms, by=by
    )


def by_hand(sold, draft=None, days=30) -> dict[str, int]:
    """The points of each store, ticket by ticket."""
    in_force = rulebook.Rulebook.load().at(timezone.now())
    if draft:
        tried = rules.RuleTerms(
            draft.rule.code, 2, draft.rule.kind, draft.rule.priority, draft.conditions, draft.terms
        )
        in_force = [tried if terms.code == tried.code else terms for terms in in_force]
    found: dict[str, int] = {}
    for bought in sold:
        if brand_today() - timedelta(days=days) <= bought.business_day < brand_today():
            told = till.as_recorded(bought, bought.lines.order_by("number"), "")
            code = str(bought.store_id)
            found[code] = found.get(code, 0) + rules.points_for(told, in_force).points
    return found


def replayed(*asked, by, days=30, at_once=replay.TICKETS_AT_ONCE) -> Replay:
    made = replay.ask(asked, by=by, days=days)
    replay.carry_out(made.pk, at_once)
    return Replay.objects.select_related("job").get(pk=made.pk)


@pytest.mark.parametrize("at_once", [1, 7, 4000])
def test_the_sums_are_those_of_every_ticket_alone(sold, alice, at_once):
    draft = draft_of("base", alice, points=2)
    made = replayed(draft, by=alice, at_once=at_once)
    assert {store: row[1] for store, row in made.figures["stores"].items()} == by_hand(sold)
    assert {store: row[2] for store, row in made.figures["stores"].items()} == by_hand(sold, draft)
    tally = replay.Result(made).tally
    assert tally.before == sum(by_hand(sold).values()) > 0
    assert tally.tickets == made.job.total == sum(row[0] for row in tally.stores.values())
    assert (tally.winners, tally.losers, tally.members) == (12, 0, 12)
    assert sum(tally.steps) == 12
    assert made.job.state == Job.State.DONE


def test_nothing_is_posted(sold, alice):
    before = (Transaction.objects.count(), Posting.objects.count())
    replayed(draft_of("base", alice, points=9), by=alice)
    assert (Transaction.objects.count(), Posting.objects.count()) == before


def test_a_draft_that_says_the_same_changes_nobody(sold, alice):
    tally = replay.Result(replayed(draft_of("base", alice), by=alice)).tally
    assert (tally.before, tally.winners, tally.losers) == (tally.after, 0, 0)


def test_who_loses_is_counted_and_named(sold, alice):
    made = replayed(draft_of("dairy", alice, factor="1"), by=alice)
    tally = replay.Result(made).tally
    assert tally.losers > 0
    assert tally.winners == 0
    assert (
        sum(points for points, _who in tally.least) == tally.after - tally.before
        or tally.losers > replay.NAMED
    )
    assert [points for points, _who in tally.least] == sorted(points for points, _who in tally.least)


def test_work_that_was_killed_goes_on_where_it_stood(sold, alice, monkeypatch):
    draft = draft_of("base", alice, points=2)
    whole = replayed(draft, by=alice).figures
    made = replay.ask([draft], by=alice)
    judge, calls = replay._judge, []

    def dies(*args):
        calls.append(1)
        judge(*args)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(replay, "_judge", dies)
    with pytest.raises(KeyboardInterrupt):
        replay.carry_out(made.pk, 20)
    made.refresh_from_db()
    # The third part was judged and not kept.
    assert 0 < made.figures["tickets"] < whole["tickets"]
    assert Job.objects.get(pk=made.job_id).state == Job.State.RUNNING
    monkeypatch.setattr(replay, "_judge", judge)
    assert replay.under_way() == [made.pk]
    assert tasks.carry_on_replays() == 1
    replay.carry_out(made.pk, 20)
    made.refresh_from_db()
    assert made.figures == whole


def test_what_goes_wrong_is_told_by_the_job(sold, alice, monkeypatch):
    made = replay.ask([draft_of("base", alice, points=2)], by=alice)

    def breaks(*_args):
        raise RuntimeError("out of paper")

    monkeypatch.setattr(replay, "_judge", breaks)
    with pytest.raises(RuntimeError):
        replay.carry_out(made.pk)
    job = Job.objects.get(pk=made.job_id)
    assert (job.state, job.error) == (Job.State.FAILED, "out of paper")


def test_it_is_called_off_between_two_parts(sold, alice):
    made = replay.ask([draft_of("base", alice, points=2)], by=alice)
    replay.call_off(made, by=alice)
    replay.carry_out(made.pk, 20)
    assert Job.objects.get(pk=made.job_id).state == Job.State.CANCELLED
    replay.carry_out(made.pk, 20)
    made.refresh_from_db()
    assert made.figures == {}


def test_the_cap_of_the_day_holds_within_each_set_of_rules(sold, alice):
    """A cap of ten points a day: no member gets more in a day, whatever the tickets are worth."""
    made = replayed(draft_of("base", alice, cap_per_day=10), by=alice)
    days = {(bought.profile_id, bought.business_day) for bought in sold}
    assert 0 < replay.Result(made).tally.after <= 10 * len(days)
    assert replay.Result(made).tally.before == sum(by_hand(sold).values())


def test_a_tier_is_the_one_the_member_had_and_the_draft_moves_it(lille_till, programme, alice):
    """Silver, from 200 points on, gives double: three points a euro make it before the second ticket, one does not."""
    silver = Rule.objects.create(code="silver", name="Silver", kind="multiplier", priority=40)
    rulebook.publish(silver, {"tiers": ["silver"]}, {"factor": "2"}, effective_from=LONG_AGO)
    for days, cents in ((3, 9000), (2, 5000)):
        at = timezone.now() - timedelta(days=days)
        till.record_purchases(
            lille_till[0], [Ticket(f"R{days}", at, [TicketLine("A", cents)], Shown("card", CARDS[0]))]
        )
    tally = replay.Result(replayed(draft_of("base", alice, points=3), by=alice)).tally
    assert (tally.before, tally.after) == (90 + 50, 3 * 90 + 2 * 3 * 50)
    assert (tally.risen, tally.fallen) == (1, 0)


def test_the_tables_add_up_and_are_downloaded(sold, alice):
    made = replayed(draft_of("base", alice, points=2), by=alice)
    out = io.StringIO()
    assert replay.write_csv(made, out) == 3
    rows = [line.split(";") for line in out.getvalue().splitlines()]
    assert rows[0][:4] == ["store", "name", "tickets", "points_before"]
    tally = replay.Result(made).tally
    assert rows[-1][2:6] == [
        str(n) for n in (tally.tickets, tally.before, tally.after, tally.after - tally.before)
    ]
    for column in (2, 3, 4, 5):
        assert sum(int(row[column]) for row in rows[1:-1]) == int(rows[-1][column])
    assert sum(map(int, rows[-1][8:])) == int(rows[-1][7])


def test_only_drafts_of_what_tickets_earn_are_replayed(programme, alice):
    with pytest.raises(replay.NothingToReplay):
        replay.ask([], by=alice)
    action = Rule.objects.create(code="app", name="App", kind="action")
    draft = drafts.save(action, {}, {"action": "app", "points": 5}, by=alice)
    with pytest.raises(replay.NothingToReplay):
        replay.ask([draft], by=alice)
    with pytest.raises(replay.NothingToReplay):
        replay.ask([draft_of("base", alice)], by=alice, days=0)
    with pytest.raises(IntegrityError, match="replay_ends_after_start"), transaction.atomic():
        Replay.objects.create(
            job=Job.objects.create(kind="replay", title="t"), first_day=brand_today(),
            last_day=brand_today() - timedelta(days=1), made_by=alice,
        )  # fmt: skip


# --- The short cut --------------------------------------------------------------------------------------------------

conditions = st.fixed_dictionaries(
    {},
    optional={
        "categories": st.lists(st.sampled_from(["DAIRY", "WINE"]), min_size=1),
        "except_skus": st.lists(st.sampled_from(["A", "B"])),
        "tiers": st.lists(st.sampled_from(["gold", ""])),
        "stores": st.lists(st.sampled_from(["ACM-001", "ACM-002"])),
        "min_total_cents": st.integers(0, 8000),
        "weekdays": st.lists(st.integers(0, 6)),
    },
)
some_rules = st.lists(
    st.one_of(
        st.builds(
            lambda when, points: ("base", when, {"points": points, "per_cents": 100}), conditions, st.integers(1, 3)
        ),
        st.builds(
            lambda when, factor, stacking: ("multiplier", when, {"factor": str(factor), "stacking": stacking}),
            conditions, st.integers(1, 4), st.sampled_from(["best", "sum", "product"]),
        ),
        st.builds(lambda when, points: ("bonus", when, {"points": points}), conditions, st.integers(0, 50)),
    ),
    max_size=5,
)  # fmt: skip


@given(
    told=some_rules,
    lines=st.lists(
        st.tuples(
            st.integers(-100, 9000), st.sampled_from(["", "DAIRY", "WINE"]), st.sampled_from(["A", "B", "C"])
        )
    ),
)
@settings(max_examples=300, deadline=None)
def test_a_rule_that_does_not_concern_a_ticket_changes_nothing_of_it(told, lines):
    in_force = [
        rules.RuleTerms(f"r{n}", 1, kind, n, when, terms) for n, (kind, when, terms) in enumerate(told)
    ]
    told_of = rules.Ticket(
        TEN, "ACM-001", "", [rules.Line(sku, category, cents) for cents, category, sku in lines]
    )
    concerning = [each for each in in_force if rules.concerns(told_of, each)]
    assert rules.points_for(told_of, concerning).points == rules.points_for(told_of, in_force).points


def test_a_base_rule_concerns_a_ticket_though_no_line_earns():
    """It stands before other base rules: without it the next would count."""
    sold = ticket((1000, "GIFTCARD"))
    first = rule("base", "first", when={"except_categories": ["GIFTCARD"]}, points=1, per_cents=100)
    assert rules.concerns(sold, first)
    assert rules.points_for(sold, [first, rule("base", "second", 20, points=1, per_cents=100)]).points == 0
