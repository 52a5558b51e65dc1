"""What a ticket earns: the statements of the programme as tables, and what must hold for any rule and any ticket."""

from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from loyalty import rulebook
from loyalty.models import Programme, Rule
from loyalty.rules import (
    InvalidRule,
    Line,
    RuleTerms,
    Ticket,
    discount_for,
    last_day,
    points_for,
    points_to_take_back,
    spendable_on,
    tier_for,
    validate,
)

TEN = datetime(2026, 11, 2, 10, tzinfo=ZoneInfo("Europe/Paris"))


def rule(kind, code="", priority=10, when=None, **terms) -> RuleTerms:
    validate(kind, when or {}, terms)
    return RuleTerms(code or kind, 1, kind, priority, when or {}, terms)


BASE = rule("base", points=1, per_cents=100)
BY_LINE = rule("base", points=1, per_cents=100, rounding="line")
CAPPED = rule("base", points=1, per_cents=100, cap_per_ticket=500)
BASKET = rule("bonus", "basket", when={"min_total_cents": 10000}, points=50)


def times(factor, stacking="best", **when) -> RuleTerms:
    code = f"x{factor}"
    return rule("multiplier", code, when=when, factor=str(factor), stacking=stacking)


def ticket(*lines, at=TEN, store="ACM-001", tier="") -> Ticket:
    """Lines are cents, or (cents, category), or (cents, category, sku)."""
    made = []
    for line in lines:
        cents, category, sku = (*line, "", "")[:3] if isinstance(line, tuple) else (line, "", "")
        made.append(Line(sku, category, cents))
    return Ticket(at, store, tier, made)


def earned(told: Ticket, *rules: RuleTerms) -> int:
    return points_for(told, rules).points


# --- Earning ----------------------------------------------------------------------------------------------------


STAFF = rule("base", "staff", priority=1, when={"segments": [1]}, points=0, per_cents=100)
GOLD = rule("base", "gold", priority=2, when={"tiers": ["gold"]}, points=1, per_cents=100, cap_per_day=3)
NOT_GOLD = rule("base", "not-gold", priority=1, when={"tiers": ["gold"]}, points=0, per_cents=100)
FRIENDS = rule("base", "friends", priority=2, when={"segments": [1]}, points=1, per_cents=100)


@pytest.mark.parametrize(
    ("rules", "tier", "before", "segments", "barred"),
    [
        ([STAFF, GOLD], "gold", 0, {1}, True),
        ([STAFF, GOLD], "gold", 3, {1}, True),  # on a day that had earned all it may
        ([STAFF, GOLD], "gold", 0, set(), False),  # earns
        ([STAFF, GOLD], "", 0, {1}, False),  # nor would anybody like them
        ([NOT_GOLD, FRIENDS], "gold", 0, {1}, True),
        ([NOT_GOLD, FRIENDS], "gold", 0, set(), False),
        ([STAFF, NOT_GOLD, BASE], "gold", 0, {1}, True),  # by both
    ],
)
def test_a_ticket_that_its_buyer_leaves_with_nothing_is_barred(rules, tier, before, segments, barred):
    told = replace(ticket(5000, tier=tier), earned_before=before, segments=frozenset(segments))
    assert points_for(told, rules).barred is barred


@pytest.mark.parametrize(
    ("told", "rules", "points"),
    [
        (ticket(1995, 2995), [BASE], 49),
        (ticket(1995, 2995), [BY_LINE], 48),
        (ticket(5500), [BASE], 55),
        (ticket(0), [BASE], 0),
        (ticket(99), [BASE], 0),
        (ticket(100), [BASE], 1),
        (ticket(3000, (2000, "DAIRY")), [BASE, times(3, categories=["DAIRY"])], 90),
        (ticket((2000, "", "A")), [BASE, times(3, skus=["A"]), times(2)], 60),
        (ticket((2000, "", "A")), [BASE, times(3, "sum", skus=["A"]), times(2, "sum")], 80),
        (ticket((2000, "", "A")), [BASE, times(3, "product", skus=["A"]), times(2, "product")], 120),
        (ticket(80000), [CAPPED], 500),
        (ticket(60000), [CAPPED], 500),
        (ticket(50000), [CAPPED], 500),
        (ticket(49999), [CAPPED], 499),
        (ticket(80000), [CAPPED, BASKET], 500),
        (ticket(11000), [BASE, BASKET], 160),
        (ticket(9999), [BASE, BASKET], 99),
        (ticket(10000), [BASE, BASKET], 150),
        (ticket(1999), [BASE, times("1.5")], 29),
        (ticket(1999), [BY_LINE, times("1.5")], 28),
        (ticket(100, 100, 100), [rule("base", points=1, per_cents=300)], 1),
        (ticket(*[1] * 300), [rule("base", points=1, per_cents=300)], 1),
        (ticket(*[1] * 7), [rule("base", points=3, per_cents=7)], 3),
        (ticket(5000), [], 0),
        (ticket(5000), [BASKET, times(3)], 0),
    ],
)  # fmt: skip
def test_what_a_ticket_earns(told, rules, points):
    assert earned(told, *rules) == points


def test_a_cap_is_explained():
    steps = points_for(ticket(80000), [CAPPED]).steps
    assert [(step["why"], step["points"]) for step in steps] == [("base", 800), ("cap", -300)]


HAPPY_HOUR = times(2, hours=["18:00", "20:00"])
NIGHT = times(2, hours=["22:00", "02:00"])
EVENING = times(2, hours=["18:00", "00:00"])


@pytest.mark.parametrize(
    ("clock", "happy", "night", "evening"),
    [
        ("17:59:59.999999", 20, 20, 20),
        ("18:00:00", 40, 20, 40),
        ("19:59:59.999999", 40, 20, 40),
        ("20:00:00", 20, 20, 40),
        ("22:00:00", 20, 40, 40),
        ("23:59:59.999999", 20, 40, 40),
        ("00:00:00", 20, 40, 20),
        ("01:59:59", 20, 40, 20),
        ("02:00:00", 20, 20, 20),
    ],
)
def test_hours_hold_from_their_start_until_their_end(clock, happy, night, evening):
    at = datetime.fromisoformat(f"2026-11-02T{clock}").replace(tzinfo=ZoneInfo("Europe/Paris"))
    told = ticket(2000, at=at)
    assert [earned(told, BASE, window) for window in (HAPPY_HOUR, NIGHT, EVENING)] == [happy, night, evening]


def test_hours_are_the_stores_own():
    instant = datetime(2026, 11, 2, 15, 30, tzinfo=UTC)
    reunion = ticket(2000, at=instant.astimezone(ZoneInfo("Indian/Reunion")))
    paris = ticket(2000, at=instant.astimezone(ZoneInfo("Europe/Paris")))
    assert (earned(reunion, BASE, HAPPY_HOUR), earned(paris, BASE, HAPPY_HOUR)) == (40, 20)


@pytest.mark.parametrize(
    ("when", "told", "holds"),
    [
        ({"stores": ["ACM-001"]}, ticket(2000), True),
        ({"stores": ["ACM-002"]}, ticket(2000), False),
        ({"tiers": ["gold"]}, ticket(2000, tier="gold"), True),
        ({"tiers": ["gold"]}, ticket(2000), False),
        ({"tiers": [""]}, ticket(2000), True),
        ({"weekdays": [0]}, ticket(2000), True),
        ({"weekdays": [1, 6]}, ticket(2000), False),
        ({"categories": []}, ticket(2000), False),
        ({"stores": ["ACM-001"], "weekdays": [6]}, ticket(2000), False),
    ],
)
def test_every_condition_must_hold(when, told, holds):
    assert earned(told, BASE, times(2, **when)) == (40 if holds else 20)
    assert earned(told, BASE, rule("bonus", when=when, points=7)) == (27 if holds else 20)
    assert earned(told, rule("base", when=when, points=1, per_cents=100)) == (20 if holds else 0)


def test_of_two_base_rules_the_first_by_priority_holds():
    gold = rule("base", "gold", 1, {"tiers": ["gold"]}, points=2, per_cents=100)
    assert earned(ticket(1000, tier="gold"), BASE, gold) == 20
    assert earned(ticket(1000), BASE, gold) == 10


def test_the_order_of_rules_in_the_database_does_not_matter():
    rules = [
        BASE,
        BASKET,
        times(3, "sum", categories=["DAIRY"]),
        times(2, "product"),
        rule("bonus", points=5),
    ]
    told = ticket((9000, "DAIRY"), 1999)
    first = points_for(told, rules)
    assert all(points_for(told, order) == first for order in permutations(rules))


def test_what_was_given_away_earns_nothing():
    welcome = rule("bonus", points=50)
    dairy = rule("bonus", "dairy", when={"categories": ["DAIRY"]}, points=20)
    assert earned(ticket(0), BASE, welcome) == 0
    assert earned(ticket(1000, (0, "DAIRY")), BASE, dairy) == 10
    assert earned(ticket(1000, (100, "DAIRY")), BASE, dairy) == 31


# --- Refunds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "rules", "refunds", "taken"),
    [
        (ticket(1995, 2995), [BASE], [[1995, 0], [1995, 2995]], [20, 29]),
        (ticket(1995, 2995), [BASE], [[0, 2995], [1995, 2995]], [30, 19]),
        (ticket(3000, (2000, "DAIRY")), [BASE, times(3, categories=["DAIRY"])], [[0, 2000]], [60]),
        (ticket(80000), [CAPPED], [[20000], [40000]], [0, 100]),
        (ticket(11000), [BASE, BASKET], [[2000]], [70]),
        (ticket(1000, (100, "D")), [BASE, rule("bonus", when={"categories": ["D"]}, points=20)], [[0, 100]], [21]),
        (ticket(4000), [BASE], [[4000]], [40]),
    ],
)  # fmt: skip
def test_what_a_refund_takes(told, rules, refunds, taken):
    already, found = 0, []
    for refunded in refunds:
        found.append(points_to_take_back(told, refunded, rules, already))
        already += found[-1]
    assert found == taken


CATEGORIES = ["", "DAIRY", "WINE"]
SOME_CATEGORIES = st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=2, unique=True)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "categories": SOME_CATEGORIES,
        "min_total_cents": st.integers(0, 20000),
        "tiers": st.just(["gold"]),
        "hours": st.sampled_from([["09:00", "11:00"], ["11:00", "09:00"]]),
    },
)
BASES = st.builds(
    lambda points, per, rounding, cap, when: RuleTerms(
        "base", 1, "base", 1, when,
        {"points": points, "per_cents": per, "rounding": rounding, "cap_per_ticket": cap, "expiry_months": 12},
    ),
    st.integers(0, 20), st.integers(1, 1000), st.sampled_from(["ticket", "line"]),
    st.none() | st.integers(0, 500),
    st.fixed_dictionaries({}, optional={"categories": SOME_CATEGORIES}),
)  # fmt: skip
MULTIPLIERS = st.builds(
    lambda factor, stacking, when, n: RuleTerms(
        f"m{n}", 1, "multiplier", n, when, {"factor": factor, "stacking": stacking}
    ),
    st.sampled_from(["1", "1.5", "2", "3.33"]), st.sampled_from(["best", "sum", "product"]), CONDITIONS,
    st.integers(0, 99),
)  # fmt: skip
BONUSES = st.builds(
    lambda points, when, n: RuleTerms(f"b{n}", 1, "bonus", n, when, {"points": points}),
    st.integers(0, 100), CONDITIONS, st.integers(0, 99),
)  # fmt: skip
RULES = st.builds(
    lambda base, multipliers, bonuses: [base, *multipliers, *bonuses],
    BASES,
    st.lists(MULTIPLIERS, max_size=3, unique_by=lambda r: r.code),
    st.lists(BONUSES, max_size=2, unique_by=lambda r: r.code),
)
LINES = st.lists(
    st.builds(lambda cents, category: (cents, category), st.integers(0, 20000), st.sampled_from(CATEGORIES)),
    min_size=1,
    max_size=5,
)


@given(lines=LINES, rules=RULES, tier=st.sampled_from(["", "gold"]))
@settings(deadline=None)
def test_points_are_never_negative_and_the_steps_add_up(lines, rules, tier):
    found = points_for(ticket(*lines, tier=tier), rules)
    assert found.points >= 0
    assert sum(step["points"] for step in found.steps) == found.points


@given(lines=LINES, rules=RULES, shares=st.data())
@settings(deadline=None)
def test_refunds_in_any_order_and_split_take_all_that_was_earned(lines, rules, shares):
    told = ticket(*lines)
    back, already = [0] * len(lines), 0
    parts = [
        (number, cents)
        for number, (amount, _category) in enumerate(lines)
        for cents in shares.draw(_splits(amount))
    ]
    for number, cents in shares.draw(st.permutations(parts)):
        back[number] += cents
        already += points_to_take_back(told, list(back), rules, already)
    if sum(amount for amount, _category in lines):
        assert already == points_for(told, rules).points


def _splits(amount: int) -> st.SearchStrategy[list[int]]:
    """The amount in one to three parts."""
    cuts = st.lists(st.integers(0, amount), max_size=2).map(sorted)
    return cuts.map(lambda at: [b - a for a, b in zip([0, *at], [*at, amount], strict=True)])


@given(lines=LINES, rule_points=st.integers(1, 20), per_cents=st.integers(1, 1000))
@example(lines=[(100, "")] * 3, rule_points=1, per_cents=300)
def test_splitting_a_line_does_not_change_what_a_ticket_earns(lines, rule_points, per_cents):
    base = rule("base", points=rule_points, per_cents=per_cents)
    whole = ticket(sum(cents for cents, _category in lines))
    assert earned(ticket(*lines), base) == earned(whole, base)


# --- Days, tiers, money -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("earned_on", "months", "last"),
    [
        ("2026-01-31", 12, "2027-01-31"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2024-02-29", 48, "2028-02-29"),
        ("2026-01-31", 1, "2026-02-28"),
        ("2024-01-31", 1, "2024-02-29"),
        ("2026-08-31", 1, "2026-09-30"),
        ("2026-12-31", 2, "2027-02-28"),
        ("2026-11-30", 3, "2027-02-28"),
        ("2026-05-15", 0, "2026-05-15"),
    ],
)
def test_points_last_by_months_and_month_ends_clip(earned_on, months, last):
    assert last_day(date.fromisoformat(earned_on), months) == date.fromisoformat(last)


def test_points_without_a_term_never_expire():
    assert last_day(date(2026, 1, 1), None) is None


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)), st.integers(1, 60))
def test_a_later_day_never_expires_earlier(day, months):
    assert last_day(day, months) <= last_day(day + timedelta(days=1), months)


def test_pending_points_wait_whole_days():
    assert spendable_on(date(2026, 3, 1), 14) == date(2026, 3, 15)
    assert spendable_on(date(2026, 3, 1), 0) == date(2026, 3, 1)


@pytest.mark.parametrize(
    ("points", "tier"), [(-5, ""), (0, ""), (199, ""), (200, "silver"), (999, "silver"), (1000, "gold")]
)
def test_the_highest_tier_reached_holds(points, tier):
    assert tier_for(points, {"gold": 1000, "silver": 200}) == tier


def test_points_are_worth_whole_steps():
    assert [discount_for(points, 100, 500) for points in (0, 99, 100, 250, 300)] == [0, 0, 500, 1000, 1500]


# --- Rules that cannot be ---------------------------------------------------------------------------------------

EARNS = {"points": 1, "per_cents": 100}


@pytest.mark.parametrize(
    ("kind", "conditions", "terms", "path"),
    [
        ("gift", {}, {}, "kind"),
        ("base", {"shops": ["A"]}, EARNS, "conditions.shops"),
        ("base", {"stores": "ACM-001"}, EARNS, "conditions.stores"),
        ("base", {"stores": [1]}, EARNS, "conditions.stores"),
        ("base", {"weekdays": ["monday"]}, EARNS, "conditions.weekdays"),
        ("base", {"weekdays": [7]}, EARNS, "conditions.weekdays"),
        ("base", {"weekdays": [True]}, EARNS, "conditions.weekdays"),
        ("base", {"hours": "18:00"}, EARNS, "conditions.hours"),
        ("base", {"hours": ["18:00"]}, EARNS, "conditions.hours"),
        ("base", {"hours": ["18:00", "25:00"]}, EARNS, "conditions.hours"),
        ("base", {"hours": ["18:00", "18:00"]}, EARNS, "conditions.hours"),
        ("base", {"hours": ["18:00+01:00", "20:00+01:00"]}, EARNS, "conditions.hours"),
        ("base", {"hours": [18, 20]}, EARNS, "conditions.hours"),
        ("base", {"min_total_cents": "100"}, EARNS, "conditions.min_total_cents"),
        ("base", {"min_total_cents": -1}, EARNS, "conditions.min_total_cents"),
        ("base", {}, {"points": 1}, "terms.per_cents"),
        ("base", {}, {"per_cents": 100}, "terms.points"),
        ("base", {}, EARNS | {"points": None}, "terms.points"),
        ("base", {}, EARNS | {"per_cents": 0}, "terms.per_cents"),
        ("base", {}, EARNS | {"points": -1}, "terms.points"),
        ("base", {}, EARNS | {"points": 1.5}, "terms.points"),
        ("base", {}, EARNS | {"points": True}, "terms.points"),
        ("base", {}, EARNS | {"factor": "2"}, "terms.factor"),
        ("base", {}, EARNS | {"rounding": "up"}, "terms.rounding"),
        ("base", {}, EARNS | {"expiry_months": "12"}, "terms.expiry_months"),
        ("base", {}, EARNS | {"expiry_months": 10**6}, "terms.expiry_months"),
        ("base", {}, EARNS | {"pending_days": 10**9}, "terms.pending_days"),
        ("base", {}, EARNS | {"points": 10**12}, "terms.points"),
        ("multiplier", {}, {}, "terms.factor"),
        ("multiplier", {}, {"factor": None}, "terms.factor"),
        ("multiplier", {}, {"factor": "much"}, "terms.factor"),
        ("multiplier", {}, {"factor": "0.5"}, "terms.factor"),
        ("multiplier", {}, {"factor": "NaN"}, "terms.factor"),
        ("multiplier", {}, {"factor": "1e999999"}, "terms.factor"),
        ("multiplier", {}, {"factor": "2", "stacking": "most"}, "terms.stacking"),
        ("bonus", {}, {}, "terms.points"),
        ("bonus", {}, {"points": 5, "per_cents": 1}, "terms.per_cents"),
    ],
)
def test_a_rule_that_cannot_be_names_the_word(kind, conditions, terms, path):
    with pytest.raises(InvalidRule) as refused:
        validate(kind, conditions, terms)
    assert refused.value.path == path
    assert refused.value.message


# --- Versions ---------------------------------------------------------------------------------------------------


def day(n: int) -> datetime:
    return datetime(2026, 1, n, tzinfo=UTC)


def test_a_late_ticket_is_judged_by_the_rules_of_its_day(brand):
    Programme.objects.create(name="Club")
    base = Rule.objects.create(code="base", name="Base", kind="base")
    rulebook.publish(base, {}, EARNS, effective_from=day(10))
    rulebook.publish(base, {}, EARNS | {"points": 2}, effective_from=day(20))
    book = rulebook.Rulebook.load()
    told = ticket(1000)
    found = {n: points_for(told, book.at(day(n))).points for n in (9, 10, 19, 20, 25)}
    assert found == {9: 0, 10: 10, 19: 10, 20: 20, 25: 20}
    just_before = day(20) - timedelta(microseconds=1)
    assert points_for(told, book.at(just_before)).points == 10


def test_a_version_begins_after_the_one_before(brand):
    base = Rule.objects.create(code="base", name="Base", kind="base")
    rulebook.publish(base, {}, EARNS, effective_from=day(10))
    for start in (day(9), day(10)):
        with pytest.raises(InvalidRule) as refused:
            rulebook.publish(base, {}, EARNS, effective_from=start)
        assert refused.value.path == "effective_from"
    with pytest.raises(InvalidRule):
        rulebook.publish(base, {}, {"points": 1}, effective_from=day(11))
    assert base.versions.count() == 1


def test_no_programme_is_said_so(brand):
    with pytest.raises(rulebook.NoProgramme):
        rulebook.Rulebook.load()
