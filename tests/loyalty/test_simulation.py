"""The simulator says what the till will do: same rules, same points, line by line; and leaves no trace."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from campaigns.models import Segment
from campaigns.segments import saving
from loyalty import drafts, proof, rule_words, rulebook, rules, segments, simulation, till
from loyalty.models import (
    BreakageEstimate,
    FundingKey,
    Lot,
    Programme,
    Rule,
    RuleDraft,
    RuleVersion,
    SavedSimulation,
    Tier,
    Transaction,
)
from loyalty.rule_words import Names
from loyalty.simulation import BadBasket, Basket, Item
from profiles.intake import Ticket, TicketLine
from profiles.models import Profile, Purchase
from tenants.network.models import AuditEvent
from tenants.scoping import scoped_to
from tests.loyalty.conftest import AT, CARD, LONG_AGO, ticket

PARIS = ZoneInfo("Europe/Paris")


def item(cents, category="", sku="SKU", quantity=1) -> Item:
    return Item(sku, category, Decimal(quantity), cents)


def basket(store, *items, at=AT, **more) -> Basket:
    return Basket(store, at, [each if isinstance(each, Item) else item(each) for each in items], **more)


def draft_of(code, by, conditions=None, **terms) -> RuleDraft:
    rule = Rule.objects.get(code=code)
    said = rule.versions.order_by("-number").first()
    return drafts.save(rule, said.conditions if conditions is None else conditions, said.terms | terms, by=by)


# --- The same as the till -------------------------------------------------------------------------------------------

SEGMENT = 9_000_001
EVERYBODY, NOBODY = {"all": []}, {"all": [{"field": "purchases", "op": ">=", "value": 1000}]}
POOL = [
    ("base", "x2-dairy", "multiplier", {"categories": ["DAIRY"]}, {"factor": "2"}),
    ("base", "x3-sku", "multiplier", {"skus": ["A"]}, {"factor": "3", "stacking": "sum"}),
    (
        "base",
        "evening",
        "multiplier",
        {"hours": ["18:00", "20:00"]},
        {"factor": "1.5", "stacking": "product"},
    ),
    ("base", "gold", "multiplier", {"tiers": ["gold"]}, {"factor": "1.5"}),
    ("base", "basket", "bonus", {"min_total_cents": 5000}, {"points": 50}),
    ("base", "wine", "bonus", {"categories": ["WINE"], "except_skus": ["B"]}, {"points": 7}),
    ("base", "weekend", "bonus", {"weekdays": [5, 6]}, {"points": 3}),
    ("base", "lyon", "multiplier", {"stores": ["ACM-002"]}, {"factor": "5"}),
    (
        "base",
        "tuesday",
        "bonus",
        {"dates": [["2026-11-03", "2026-11-03"], ["2026-12-01", "2026-12-24"]]},
        {"points": 11},
    ),
    ("base", "card", "multiplier", {"payments": ["Card", "amex"]}, {"factor": "1.2"}),
    ("base", "online", "bonus", {"channels": ["web"]}, {"points": 13}),
    ("base", "regulars", "multiplier", {"segments": [SEGMENT]}, {"factor": "4"}),
    ("base", "staff", "base", {"segments": [SEGMENT], "channels": ["till"]}, {"points": 0, "per_cents": 100}),
]
lines = st.lists(
    st.tuples(
        st.integers(-300, 20_000),
        st.sampled_from(["", "DAIRY", "WINE", "GIFTCARD"]),
        st.sampled_from(["A", "B", "C"]),
    ),
    min_size=1,
    max_size=6,
)


@given(
    sold=lines,
    chosen=st.sets(st.sampled_from(range(len(POOL)))),
    rounding=st.sampled_from(["ticket", "line"]),
    amounts=st.sampled_from(["net", "gross"]),
    caps=st.tuples(st.none() | st.integers(0, 300), st.none() | st.integers(0, 300)),
    pending=st.sampled_from([0, 14]),
    expiry=st.sampled_from([{}, {"expiry_months": 12}, {"expiry": "fixed", "expiry_day": "03-31"}]),
    hours=st.integers(0, 47),
    earlier=st.lists(st.integers(100, 90_000), max_size=2),
    payment=st.sampled_from(["", "card", "cash"]),
    channel=st.sampled_from(["till", "web"]),
    belongs=st.booleans(),
)
@example(  # for the staff nothing, on a day that had earned all it may
    sold=[(149, "WINE", "C"), (20_000, "", "C")], chosen={12}, rounding="line", amounts="net", caps=(None, 3),
    pending=0, expiry={}, hours=9, earlier=[373, 244], payment="card", channel="till", belongs=True,
)  # fmt: skip
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip
def test_what_is_simulated_is_what_the_till_then_gives(
    lille_till,
    alice,
    sold,
    chosen,
    rounding,
    amounts,
    caps,
    pending,
    expiry,
    hours,
    earlier,
    payment,
    channel,
    belongs,
):
    """Points, lines, first and last day, for any rules and any basket of a member with a past of the same day."""
    if sum(cents for cents, _category, _sku in sold) < 0:
        sold = [*sold, (20_000, "", "C")]
    with transaction.atomic():
        Programme.objects.create(name="P", velocity_tickets=0, velocity_cents=0)
        Tier.objects.create(code="silver", name="Silver", threshold=50)
        Tier.objects.create(code="gold", name="Gold", threshold=200)
        lille_till[0].channel = channel
        lille_till[0].save()
        segment = Segment.objects.create(pk=SEGMENT, name="Regulars")
        saving.save(segment, EVERYBODY if belongs else NOBODY, alice)
        terms = {
            "points": 1,
            "per_cents": 100,
            "rounding": rounding,
            "amounts": amounts,
            "pending_days": pending,
        }
        terms |= {"cap_per_ticket": caps[0], "cap_per_day": caps[1]} | expiry
        base = Rule.objects.create(code="base", name="Base", kind="base", priority=1)
        rulebook.publish(base, {"except_categories": ["GIFTCARD"]}, terms, effective_from=LONG_AGO)
        for number in sorted(chosen):
            _base, code, kind, when, then = POOL[number]
            # What is nothing for the staff stands before the rule for everybody.
            rule = Rule.objects.create(
                code=code, name=code, kind=kind, priority=0 if kind == "base" else 10 + number
            )
            rulebook.publish(rule, when, then, effective_from=LONG_AGO)
        at = AT + timedelta(hours=hours)
        for number, cents in enumerate(earlier):
            till.record_purchase(
                lille_till[0], ticket(f"E{number}", cents, at=at - timedelta(hours=2 - number))
            )
        if not earlier:
            till.record_purchase(lille_till[0], ticket("E", 100, at=at - timedelta(days=3)))
        person = Profile.objects.get()
        segments.read()
        goods = [item(*line) for line in sold]
        told = simulation.simulate(
            basket(lille_till[0].store, *goods, at=at, profile=person, payment=payment, channel=channel)
        )
        counted = Transaction.objects.count()
        answer = till.record_purchase(
            lille_till[0],
            Ticket(
                "R",
                at,
                [TicketLine(sku=sku, amount_cents=cents, category=category) for cents, category, sku in sold],
                CARD,
                payment=payment,
            ),
        )
        bought = Purchase.objects.get(receipt_id="R")
        explained = till.explain(bought)
        assert answer.body["points"] == told.earned.points
        assert answer.body["explanation"] == told.earned.steps
        assert list(explained.lines) == list(told.lines)
        assert sum(told.lines) == told.earned.points
        assert answer.body["tier"] == Names().tiers.get(told.tier_after, "")
        lot = Lot.objects.filter(transaction__purchase=bought).first()
        assert (lot is None) == (told.earned.points == 0)
        if lot:
            assert (lot.available_on, lot.expires_on) == (told.spendable_on, told.last_day)
        # Asked again of the ticket that was sold, it says the same: its own points are left out, and it stays judged by
        # the segments of when it came.
        saving.save(segment, NOBODY if belongs else EVERYBODY, alice)
        assert proof.prove().differences == []
        again = simulation.simulate(simulation.basket_of(bought))
        assert (again.earned.points, again.lines) == (told.earned.points, told.lines)
        if told.earned.points or told.earned.is_noted:
            assert again.earned == told.earned
        assert Transaction.objects.count() - counted == (
            1 if told.earned.points or told.earned.is_noted else 0
        )
        transaction.set_rollback(True)


def test_asking_writes_nothing(lille, programme, django_assert_num_queries):
    simulation.simulate(basket(lille, 5000))
    with transaction.atomic():
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        simulation.simulate(basket(lille, 5000))
        transaction.set_rollback(True)


# --- Why, and what follows ------------------------------------------------------------------------------------------


def why(outcome, code) -> str:
    step = next(step for step in outcome.silent if step["rule"] == code)
    terms = next(rule for rule in outcome.in_force if rule.code == code)
    return rule_words.why_silent(step, terms, outcome.ticket, Names(), has_base=bool(outcome.earned.steps))


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"stores": ["ACM-002"]}, "only in Lyon Bellecour; this basket is of Lille Centre"),
        ({"tiers": ["gold"]}, "only at the tier Gold; here it is no tier"),
        ({"weekdays": [5, 6]}, "only on Saturday, Sunday; here it is Monday"),
        ({"hours": ["18:00", "20:00"]}, "only from 18:00 to 20:00; at the store it is 11:00:00"),
        ({"min_total_cents": 10000}, "only from €100.00 on; the basket comes to €50.00"),
        ({"channels": ["web"]}, "only sold on the web; this basket is sold in the store"),
        (
            {"dates": [["2026-12-01", "2026-12-24"]]},
            "only in the period 01/12/2026 – 24/12/2026; at the store it is 02/11/2026",
        ),
        (
            {"dates": [["2026-12-24", "2026-12-24"]]},
            "only in the period 24/12/2026; at the store it is 02/11/2026",
        ),
        ({"payments": ["card", "amex"]}, "only paid with card, amex; here it is not said"),
        ({"categories": ["WINE"]}, "only for the category WINE: no line that is paid for is of it"),
        ({"skus": ["X"]}, "only for the article X: no line that is paid for is of it"),
        ({"except_categories": ["DAIRY"]}, "every line is left out: DAIRY"),
    ],
)
def test_a_rule_that_gives_nothing_names_its_first_failing_condition(
    lille, lyon, programme, conditions, said
):
    rule = Rule.objects.create(code="extra", name="Extra", kind="multiplier", priority=40)
    rulebook.publish(rule, conditions, {"factor": "2"}, effective_from=LONG_AGO)
    assert why(simulation.simulate(basket(lille, item(5000, "DAIRY"))), "extra") == said


def test_a_store_reads_of_others_only_how_many(lille, lyon, programme, bruno):
    rule = Rule.objects.create(code="extra", name="Extra", kind="multiplier", priority=40)
    rulebook.publish(rule, {"stores": ["ACM-002"]}, {"factor": "2"}, effective_from=LONG_AGO)
    with scoped_to(bruno.scope):
        assert why(simulation.simulate(basket(lille, 5000)), "extra").startswith("only in 1 other store;")


def test_without_a_rule_for_the_amount_nothing_multiplies(lille, programme, bruno):
    base = Rule.objects.get(code="base")
    rulebook.publish(
        base, {"stores": ["NOWHERE"]}, base.versions.get().terms, effective_from=AT - timedelta(days=1)
    )
    outcome = simulation.simulate(basket(lille, item(20000, "DAIRY")))
    assert outcome.earned.points == 0
    assert why(outcome, "dairy").startswith("no rule gives points for the amount")


def test_rounding_tier_and_cost_are_told(lille, programme, alice):
    FundingKey.objects.create(effective_from=LONG_AGO, earner=60, redeemer=30, head_office=10)
    BreakageEstimate.objects.create(percent=20, reason="pilot", made_by=alice)
    outcome = simulation.simulate(basket(lille, item(4990), item(15055)))
    # 200.45 exactly, and fifty for the big basket.
    assert (outcome.earned.points, float(outcome.exact)) == (250, 200.45)
    assert round(float(outcome.rounded_away), 2) == 0.45
    assert (outcome.tier_after, outcome.next_tier) == ("silver", ("gold", 750))
    assert outcome.worth_cents == 1250
    assert outcome.expected_cents == 1000
    assert outcome.prices.shared(outcome.expected_cents) == (600, 300, 100)
    assert outcome.last_day == date(2027, 11, 2)


def test_a_reward_lowers_what_earns(lille, programme):
    outcome = simulation.simulate(basket(lille, item(6000), reward_cents=500))
    assert (outcome.earned.points, outcome.lines) == (55, [55])


def test_a_new_member_may_be_of_any_tier(lille, programme):
    rule = Rule.objects.create(code="gold", name="Gold", kind="multiplier", priority=40)
    rulebook.publish(rule, {"tiers": ["gold"]}, {"factor": "2"}, effective_from=LONG_AGO)
    assert simulation.simulate(basket(lille, 5000)).earned.points == 50
    assert simulation.simulate(basket(lille, 5000, tier="gold")).earned.points == 100


@pytest.mark.parametrize(
    ("items", "reward", "field"),
    [
        ([], 0, "lines"),
        ([item(100, quantity=0)], 0, "lines[0].quantity"),
        ([item(10**10)], 0, "lines[0].amount"),
        ([item(100)], 101, "reward"),
        ([item(100)] * 201, 0, "lines"),
    ],
)
def test_a_basket_that_no_till_sells_is_refused_by_its_field(lille, programme, items, reward, field):
    with pytest.raises(BadBasket) as refused:
        simulation.simulate(basket(lille, *items, reward_cents=reward))
    assert refused.value.field == field


# --- Drafts ---------------------------------------------------------------------------------------------------------


def test_a_draft_is_tried_and_judges_no_ticket(lille, lille_till, programme, alice):
    draft = draft_of("base", alice, points=3)
    assert simulation.simulate(basket(lille, 5000)).earned.points == 50
    tried = simulation.simulate(basket(lille, 5000), [draft])
    assert (tried.earned.points, tried.earned.steps[0]["version"]) == (150, 2)
    assert till.record_purchase(lille_till[0], ticket("R1", 5000)).body["points"] == 50
    assert RuleVersion.objects.filter(rule__code="base").count() == 1


def test_a_rule_has_one_draft_which_is_changed_or_thrown_away(programme, alice):
    first, second = draft_of("base", alice, points=3), draft_of("base", alice, points=4)
    assert first.pk == second.pk
    assert RuleDraft.objects.get().terms["points"] == 4
    drafts.discard(second.rule, by=alice)
    assert not RuleDraft.objects.exists()
    told = AuditEvent.objects.filter(object_type="ruledraft").order_by("pk").values_list("verb", flat=True)
    assert list(told) == ["drafted", "changed", "discarded"]


def test_a_published_draft_is_a_version_from_its_start_on(programme, alice):
    base = Rule.objects.get(code="base")
    start, end = timezone.now() + timedelta(days=2), timezone.now() + timedelta(days=9)
    draft = drafts.save(
        base,
        {},
        {"points": 3, "per_cents": 100},
        by=alice,
        effective_from=start,
        effective_to=end,
        reason="spring",
    )
    version = drafts.publish(base, by=alice, confirmed=drafts.fingerprint(draft))
    first = base.versions.get(number=1)
    assert (first.effective_to, version.number, version.effective_to) == (start, 2, end)
    assert (version.reason, version.made_by) == ("spring", alice)
    assert not RuleDraft.objects.exists()
    book = rulebook.Rulebook.load()
    found = [
        [rule.number for rule in book.at(at) if rule.code == "base"]
        for at in (start - timedelta(seconds=1), start, end - timedelta(seconds=1), end)
    ]
    assert found == [[1], [2], [2], []]


def test_what_was_read_is_what_is_published(programme, alice):
    read = drafts.fingerprint(draft_of("base", alice, points=3))
    draft_of("base", alice, points=4)
    base = Rule.objects.get(code="base")
    with pytest.raises(drafts.NotPublished, match="changed meanwhile"):
        drafts.publish(base, by=alice, confirmed=read)
    assert base.versions.count() == 1


@pytest.mark.parametrize("running", ["scheduled", "ends"])
def test_versions_never_overlap(programme, alice, running):
    base, now = Rule.objects.get(code="base"), timezone.now()
    soon = now + timedelta(days=5)
    dates = {"effective_from": soon} if running == "scheduled" else {"effective_to": soon}
    draft = drafts.save(base, {}, {"points": 3, "per_cents": 100}, by=alice, **dates)
    drafts.publish(base, by=alice, confirmed=drafts.fingerprint(draft))
    draft = drafts.save(base, {}, {"points": 4, "per_cents": 100}, by=alice)
    assert drafts.preview(draft).refusal.field == "effective_from"
    with pytest.raises(drafts.NotPublished, match="choose a later start"):
        drafts.publish(base, by=alice, confirmed=drafts.fingerprint(draft))
    later = drafts.save(
        base, {}, {"points": 4, "per_cents": 100}, by=alice, effective_from=soon + timedelta(hours=1)
    )
    drafts.publish(base, by=alice, confirmed=drafts.fingerprint(later))
    spans = list(base.versions.order_by("number").values_list("effective_from", "effective_to"))
    assert all(end is not None and end <= start for (_s, end), (start, _e) in pairwise(spans))


def test_a_draft_whose_start_has_passed_waits_for_a_new_one(programme, alice):
    base = Rule.objects.get(code="base")
    draft = drafts.save(base, {}, {"points": 3, "per_cents": 100}, by=alice, effective_from=timezone.now())
    with pytest.raises(drafts.NotPublished, match="its start has passed"):
        drafts.publish(base, by=alice, confirmed=drafts.fingerprint(draft))
    with pytest.raises(rules.InvalidRule):
        drafts.save(base, {}, {"points": 3, "per_cents": 100}, by=alice, effective_to=timezone.now())


def test_the_database_keeps_a_drafts_end_after_its_start(programme, alice):
    now = timezone.now()
    with pytest.raises(IntegrityError, match="rule_draft_ends_after_start"), transaction.atomic():
        RuleDraft.objects.create(
            rule=Rule.objects.first(), terms={}, made_by=alice, effective_from=now, effective_to=now
        )


def test_a_difference_is_told_in_words(lille, lyon, programme):
    names = Names()
    before = ({}, {"points": 1, "per_cents": 100, "rounding": "ticket", "expiry_months": 12})
    after = (
        {"stores": ["ACM-001"], "hours": ["18:00", "20:00"]},
        {"points": 2, "per_cents": 100, "cap_per_day": 600, "pending_days": 14},
    )
    assert [str(change) for change in rule_words.changes("base", before, after, names)] == [
        "Points for each €1.00: 1 → 2",
        "At most … points a day: no limit → 600",
        "Spendable after … days: at once → 14",
        "Expire after … months: 12 → never",
        "Stores: all → Lille Centre",
        "Hours: all day → from 18:00 to 20:00",
    ]
    rate = rule_words.changes("base", before, ({}, before[1] | {"points": 3, "per_cents": 1000}), names)
    assert [str(change) for change in rate] == ["Points: 1 point for each €1.00 → 3 points for each €10.00"]
    factor = [({"tiers": ["gold"]}, {"factor": "2"}), ({}, {"factor": "1.5", "stacking": "sum"})]
    assert [str(change) for change in rule_words.changes("multiplier", *factor, names)] == [
        "Factor: 2 → 1.5",
        "Several multipliers: the best multiplier wins → bonuses add up",
        "Tiers: Gold → all",
    ]
    assert rule_words.changes("base", before, before, names) == []


# --- Saved simulations ----------------------------------------------------------------------------------------------


@pytest.fixture
def watched(lille, programme, alice) -> SavedSimulation:
    """Fifty euros on a Monday at eleven: fifty points."""
    return drafts.keep_simulation("Fifty", basket(lille, 5000), 50, by=alice)


def test_a_simulation_is_kept_on_its_weekday_and_hour(watched, lille):
    assert (watched.weekday, watched.time, watched.tier) == (0, time(11), None)
    friday = date(2026, 11, 27)
    assert simulation.basket_saved(watched, friday).at == datetime(2026, 11, 30, 11, tzinfo=PARIS)
    assert simulation.basket_saved(watched, date(2026, 11, 30)).at == datetime(2026, 11, 30, 11, tzinfo=PARIS)
    assert [check.passed for check in simulation.run_saved()] == [True]


def test_a_simulation_that_differs_stops_publishing(watched, alice):
    draft = draft_of("base", alice, points=2)
    confirmed = drafts.fingerprint(draft)
    with pytest.raises(drafts.Differs) as refused:
        drafts.publish(draft.rule, by=alice, confirmed=confirmed)
    assert [(check.saved, check.points, check.difference) for check in refused.value.checks] == [
        (watched, 100, 50)
    ]
    with pytest.raises(drafts.Differs):
        drafts.publish(draft.rule, by=alice, confirmed=confirmed, override="  ")
    assert draft.rule.versions.count() == 1
    assert not AuditEvent.objects.filter(verb="published against simulations").exists()


@pytest.mark.parametrize("expect_new", [False, True])
def test_who_publishes_all_the_same_says_why(watched, alice, expect_new):
    draft = draft_of("base", alice, points=2)
    drafts.publish(
        draft.rule,
        by=alice,
        confirmed=drafts.fingerprint(draft),
        override="double points in May",
        expect_new=expect_new,
    )
    told = AuditEvent.objects.get(verb="published against simulations")
    assert (told.actor, told.reason) == ("Alice Martin", "double points in May")
    assert told.detail["simulations"] == {"Fifty": [50, 100]}
    watched.refresh_from_db()
    assert watched.expected_points == (100 if expect_new else 50)


def test_a_draft_that_changes_nothing_for_them_is_published(watched, alice):
    draft = draft_of("dairy", alice, factor="3")
    assert drafts.publish(draft.rule, by=alice, confirmed=drafts.fingerprint(draft)).number == 2


def test_simulations_are_asked_under_the_rules_of_the_drafts_start(watched, alice):
    """From next month on a euro is two points: a draft of then is judged with that, one of today is not."""
    base, dairy = Rule.objects.get(code="base"), Rule.objects.get(code="dairy")
    later = timezone.now() + timedelta(days=30)
    rulebook.publish(base, {}, {"points": 2, "per_cents": 100}, effective_from=later)
    words = {"conditions": {"categories": ["DAIRY"]}, "terms": {"factor": "3"}, "by": alice}
    assert drafts.preview(drafts.save(dairy, **words)).differing == []
    then = drafts.preview(drafts.save(dairy, **words, effective_from=later + timedelta(days=1)))
    assert [check.points for check in then.differing] == [100]
