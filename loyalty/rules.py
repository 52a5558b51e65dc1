"""Pure: what a ticket or an action earns, how a refund shares it out, which tier follows, when points expire.

A rule version holds two JSON objects. **Conditions** (all must hold; none means always):

    {"categories": ["DAIRY"], "skus": [...], "stores": ["ACM-001"], "tiers": ["gold"],
     "except_categories": ["GIFTCARD"], "except_skus": [...],
     "hours": ["18:00", "20:00"], "weekdays": [0, 6], "dates": [["2026-12-01", "2026-12-24"]],
     "min_total_cents": 10000, "payments": ["card"], "channels": ["till" | "web"], "segments": [12]}

`categories` and `skus` choose lines that were paid for, `except_…` leaves lines out, the others judge the whole ticket.
Hours are the store's own, start included, end excluded, over midnight where the end comes first; dates are days of the
store's calendar, from the first to the last of a pair, both included. Payments are the words that tills and web shops
send, upper and lower case alike. Segments are ids of saved segments, and the member is in one of them. **Terms**, by
kind of rule:

    base        {"points": 1, "per_cents": 100, "rounding": "ticket" | "line", "amounts": "net" | "gross",
                 "cap_per_ticket": 500, "cap_per_day": 600, "pending_days": 0,
                 "expiry": "rolling" | "fixed" | "inactivity", "expiry_months": 12, "expiry_day": "03-31"}
    multiplier  {"factor": "3", "stacking": "best" | "sum" | "product"}
    bonus       {"points": 50}
    action      {"action": "download_app", "points": 50, "times": 1, "period": "ever" | "year" | "month" | "day",
                 "times_per_campaign": 1, "funding": "key" | "store" | "head_office", "for_tier": false,
                 "on_merge": "reverse" | "keep", and the terms of waiting and expiry of a base rule}

An action is no purchase: only where, when and who judges it (`ACTION_CONDITIONS`), and one rule, the first by priority,
says what it earns. `times` counts in the `period` of the store's days; `funding` says who pays when its points are
spent; `on_merge`, what becomes of a second welcome or birthday when two people prove to be one.

A line below zero (a voucher, a discount on the whole ticket) earns nothing and lowers the others in proportion, unless
the base rule says `gross`. Points expire `expiry_months` after they were earned (rolling), on `expiry_day` of the year
after (fixed), or `expiry_months` after the member's last purchase or redemption (inactivity); without a term, never.

Order of evaluation: lines that earn → net amounts → base per line → multipliers per line → rounding → bonuses → caps.
Rules are taken by priority, then code, so the same ticket earns the same whoever asks.
"""

import calendar
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from math import floor
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

Words = Mapping[str, Any]  # the JSON of conditions or terms
Step = dict[str, str | int]

BASE, MULTIPLIER, BONUS, ACTION = "base", "multiplier", "bonus", "action"
BEST, SUM, PRODUCT = "best", "sum", "product"
ROUND_TICKET, ROUND_LINE = "ticket", "line"
NET, GROSS = "net", "gross"
ROLLING, FIXED, INACTIVITY = "rolling", "fixed", "inactivity"
EVER, YEAR, MONTH, DAY = "ever", "year", "month", "day"
BY_KEY, BY_STORE, BY_HEAD_OFFICE = "key", "store", "head_office"
REVERSE, KEEP = "reverse", "keep"
AT_TILL, ON_THE_WEB = CHANNELS = ("till", "web")
# Privacy proxies of mail programs open every message: an open counts once a campaign, whatever a rule says.
EMAIL_OPEN = "email_open"

TICKET_CONDITIONS = {
    "stores", "channels", "segments", "tiers", "dates", "weekdays", "hours", "payments", "min_total_cents",
}  # fmt: skip
LINE_CONDITIONS = {"categories", "skus", "except_categories", "except_skus"}
TERMS = {
    BASE: {
        "points", "per_cents", "rounding", "amounts", "cap_per_ticket", "cap_per_day", "pending_days", "expiry",
        "expiry_months", "expiry_day",
    },
    MULTIPLIER: {"factor", "stacking"},
    BONUS: {"points"},
    ACTION: {
        "action", "points", "times", "period", "times_per_campaign", "funding", "for_tier", "on_merge",
        "pending_days", "expiry", "expiry_months", "expiry_day",
    },
}  # fmt: skip
ACTION_CONDITIONS = {"stores", "segments", "tiers", "dates", "weekdays", "hours"}
MOST_DATES, MOST_SEGMENTS = 50, 20
LONGEST_PAYMENT = 20
ACTION_CODE = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
CHOICES = {
    "stacking": (BEST, SUM, PRODUCT),
    "rounding": (ROUND_TICKET, ROUND_LINE),
    "amounts": (NET, GROSS),
    "expiry": (ROLLING, FIXED, INACTIVITY),
    "period": (EVER, YEAR, MONTH, DAY),
    "funding": (BY_KEY, BY_STORE, BY_HEAD_OFFICE),
    "on_merge": (REVERSE, KEEP),
}
REQUIRED_TERMS = {
    BASE: {"points", "per_cents"}, MULTIPLIER: {"factor"}, BONUS: {"points"}, ACTION: {"action", "points"},
}  # fmt: skip
LARGEST = {
    "points": 10**6,
    "per_cents": 10**9,
    "cap_per_ticket": 10**9,
    "cap_per_day": 10**9,
    "pending_days": 3650,
    "expiry_months": 1200,
    "times": 10**6,
    "times_per_campaign": 10**6,
}
LARGEST_FACTOR = 1000


class InvalidRule(ValueError):
    """A rule that cannot be evaluated. `path` names the offending word, e.g. `terms.factor`."""

    def __init__(self, path: str, message: str):
        super().__init__(f"{path}: {message}")
        self.path, self.message = path, message


class Line(Struct, frozen=True):
    """A line of a ticket. `amount_cents` is what was paid for it."""

    sku: str
    category: str
    amount_cents: int


class Ticket(Struct, frozen=True):
    """What the rules look at. `local_time` is the store's; `tier` the member's before this ticket ("" for none);
    `earned_before` what the member's other tickets of the same day had earned when this one was judged; `segments`
    those that the member was in when the ticket came; `payment` the word of the till ("" where it said none)."""

    local_time: datetime
    store: str
    tier: str
    lines: Sequence[Line]
    earned_before: int = 0
    segments: frozenset[int] = frozenset()
    payment: str = ""
    channel: str = AT_TILL

    @property
    def total_cents(self) -> int:
        return sum([line.amount_cents for line in self.lines])


@dataclass(frozen=True)
class RuleTerms:
    """One rule version in force."""

    code: str
    number: int
    kind: str
    priority: int
    conditions: Words = field(default_factory=dict)
    terms: Words = field(default_factory=dict)


class Earned(Struct, frozen=True):
    """Points of a ticket and why: one step a rule, `{"rule", "version", "points", "why"}`; the steps' points sum
    to `points`. The terms of waiting and expiry come from the base rule (no months and no day: never expires).
    `barred`: it earns nothing, and would have earned as its day's first of a member with no tier, or in no segment."""

    points: int
    steps: list[Step]
    pending_days: int = 0
    expiry_months: int | None = None
    expiry: str = ROLLING
    expiry_day: str = ""
    barred: bool = False

    @property
    def is_noted(self) -> bool:
        """Whether the ledger notes a ticket that earned nothing: what it was judged by is known from nowhere else."""
        return self.barred or any(step["why"] in CAPS for step in self.steps)

    @property
    def idle_months(self) -> int | None:
        """Months that each purchase or redemption gives these points anew; `None` where activity changes nothing."""
        return self.expiry_months if self.expiry == INACTIVITY else None

    def last_day(self, earned_on: date) -> date | None:
        """The last day on which the points may be spent."""
        if self.expiry == FIXED:
            month, day = _month_and_day(self.expiry_day)
            year = earned_on.year + 1
            return date(year, month, min(day, calendar.monthrange(year, month)[1]))
        return last_day(earned_on, self.expiry_months)


@dataclass(frozen=True)
class Explanation:
    """Why a ticket earned what it did: the points of each of its lines, which sum to the whole, and of each rule that
    gave nothing the first condition that failed. `exact`: base and multipliers before they were rounded down."""

    earned: Earned
    lines: list[int]
    silent: list[Step]
    exact: Fraction = Fraction(0)


CAPS = ("cap", "cap of the day")
CAP_OF_ACTION, CAP_OF_CAMPAIGN = "cap of the period", "cap of the campaign"


def validate(kind: str, conditions: Words, terms: Words) -> None:
    """Raise `InvalidRule` naming the word that is unknown, missing or of the wrong type."""
    if kind not in TERMS:
        raise InvalidRule("kind", f"unknown kind «{kind}»")
    _validate_conditions(conditions)
    for word in terms:
        if word not in TERMS[kind]:
            raise InvalidRule(f"terms.{word}", f"unknown term of a {kind} rule")
    for word in sorted(REQUIRED_TERMS[kind] - {word for word in terms if terms[word] is not None}):
        raise InvalidRule(f"terms.{word}", "missing")
    _validate_terms(terms)
    if kind == ACTION:
        _validate_action(conditions, terms)


def _validate_action(conditions: Words, terms: Words) -> None:
    for word in conditions:
        if word not in ACTION_CONDITIONS:
            raise InvalidRule(f"conditions.{word}", "an action is no ticket: this cannot be asked of it")
    if not isinstance(terms["action"], str) or not ACTION_CODE.fullmatch(terms["action"]):
        raise InvalidRule("terms.action", "a code of small letters, digits, - and _ is expected")
    if not isinstance(terms.get("for_tier", False), bool):
        raise InvalidRule("terms.for_tier", "true or false is expected")
    for word in ("times", "times_per_campaign"):
        if terms.get(word) == 0:
            raise InvalidRule(f"terms.{word}", "must not be zero")
    if terms["action"] == EMAIL_OPEN and (terms.get("times_per_campaign") or 1) != 1:
        raise InvalidRule("terms.times_per_campaign", "an open counts once a campaign")


def _validate_conditions(conditions: Words) -> None:
    for word, value in conditions.items():
        if word not in TICKET_CONDITIONS | LINE_CONDITIONS:
            raise InvalidRule(f"conditions.{word}", "unknown condition")
        if word == "hours":
            _hours(value)
        elif word == "min_total_cents":
            _whole_number("conditions.min_total_cents", value)
        elif not isinstance(value, (list, tuple)):
            raise InvalidRule(f"conditions.{word}", "a list is expected")
        elif word in VALIDATED:
            VALIDATED[word](value)
        elif word == "weekdays":
            if not all(type(day) is int and 0 <= day <= 6 for day in value):
                raise InvalidRule("conditions.weekdays", "numbers from 0 (Monday) to 6 (Sunday) are expected")
        elif not all(isinstance(item, str) for item in value):
            raise InvalidRule(f"conditions.{word}", "a list of texts is expected")


def _validate_dates(value: Sequence[Any]) -> None:
    if not 1 <= len(value) <= MOST_DATES:
        raise InvalidRule("conditions.dates", f"between 1 and {MOST_DATES} pairs of days are possible")
    for pair in value:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(map(_is_a_day, pair)):
            raise InvalidRule(
                "conditions.dates", 'pairs of days such as ["2026-12-01", "2026-12-24"] are expected'
            )
        if pair[0] > pair[1]:
            raise InvalidRule("conditions.dates", f"{pair[1]} lies before {pair[0]}")


def _is_a_day(told: object) -> bool:
    """Written as days compare: `date.fromisoformat` understands weeks and days without dashes too."""
    try:
        return isinstance(told, str) and date.fromisoformat(told).isoformat() == told
    except ValueError:
        return False


def _validate_payments(value: Sequence[Any]) -> None:
    if not value or not all(isinstance(word, str) and word.strip() for word in value):
        raise InvalidRule("conditions.payments", "a list of words is expected")
    too_long = next((word for word in value if len(word.strip()) > LONGEST_PAYMENT), None)
    if too_long is not None:
        message = f"no till sends a word of more than {LONGEST_PAYMENT} characters: {too_long}"
        raise InvalidRule("conditions.payments", message)


def _validate_channels(value: Sequence[Any]) -> None:
    if not value or not all(isinstance(word, str) and word in CHANNELS for word in value):
        raise InvalidRule("conditions.channels", f"some of {', '.join(CHANNELS)} are expected")


def _validate_segments(value: Sequence[Any]) -> None:
    if not 1 <= len(value) <= MOST_SEGMENTS or not all(type(pk) is int and pk > 0 for pk in value):
        raise InvalidRule(
            "conditions.segments", f"between 1 and {MOST_SEGMENTS} ids of segments are expected"
        )


VALIDATED = {
    "dates": _validate_dates,
    "payments": _validate_payments,
    "channels": _validate_channels,
    "segments": _validate_segments,
}


def _validate_terms(terms: Words) -> None:
    for word, largest in LARGEST.items():
        if terms.get(word) is not None:
            _whole_number(f"terms.{word}", terms[word], largest)
    if terms.get("per_cents") == 0:
        raise InvalidRule("terms.per_cents", "must not be zero")
    if terms.get("factor") is not None:
        _factor(terms["factor"])
    for word, choices in CHOICES.items():
        if terms.get(word, choices[0]) not in choices:
            raise InvalidRule(f"terms.{word}", f"one of {', '.join(choices)} is expected")
    if terms.get("expiry_day") is not None:
        _month_and_day(terms["expiry_day"])
    if terms.get("expiry") == FIXED and terms.get("expiry_day") is None:
        raise InvalidRule("terms.expiry_day", "missing")
    if terms.get("expiry") == INACTIVITY and terms.get("expiry_months") is None:
        raise InvalidRule("terms.expiry_months", "missing")


def _whole_number(path: str, value: object, largest: int = 10**12) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRule(path, "a whole number, zero or more, is expected")
    if value > largest:
        raise InvalidRule(path, f"at most {largest} is possible")


def points_for(ticket: Ticket, rules: Sequence[RuleTerms]) -> Earned:
    """What the ticket earns under the rules in force, with the reasons."""
    rules = sorted(rules, key=lambda rule: (rule.priority, rule.code))
    base = next((r for r in rules if r.kind == BASE and _ticket_meets(ticket, r.conditions)), None)
    if base is None:
        return Earned(0, [])
    terms = base.terms
    multipliers = [r for r in rules if r.kind == MULTIPLIER and _ticket_meets(ticket, r.conditions)]

    # Exact: rounding comes once, at the scope that the base rule says. Counted in parts of a point, so many to one that
    # whole cents stay whole numbers, which are quicker than fractions.
    by_line, parts = terms.get("rounding") == ROUND_LINE, terms["per_cents"]
    exact: Fraction | int = 0
    extra: dict[str, Fraction | int] = {rule.code: 0 for rule in multipliers}
    for matching, cents in _portions(ticket, base, multipliers, by_line=by_line):
        earned = cents * terms["points"]
        exact += earned // parts * parts if by_line else earned
        for rule, share in _extra_of_multipliers(earned, matching):
            extra[rule.code] += share // parts * parts if by_line else share

    running = exact // parts
    steps = [_step(base, running, "base")]
    for rule in multipliers:
        exact += extra[rule.code]
        gained = exact // parts - running
        if extra[rule.code]:
            steps.append(_step(rule, gained, "multiplier"))
            running += gained
    for rule in rules:
        if rule.kind != BONUS or not _ticket_meets(ticket, rule.conditions):
            continue
        if any(_line_meets(line, rule.conditions) for line in ticket.lines):
            steps.append(_step(rule, rule.terms["points"], "bonus"))
            running += rule.terms["points"]
    of_ticket, of_day = terms.get("cap_per_ticket"), terms.get("cap_per_day")
    if of_ticket is not None and running > of_ticket:
        steps.append(_step(base, of_ticket - running, CAPS[0]))
        running = of_ticket
    if of_day is not None and running > (room := max(0, of_day - ticket.earned_before)):
        steps.append(_step(base, room - running, CAPS[1]))
        running = room
    barred = not running and any(
        other != ticket and points_for(other, rules).points > 0
        for other in (
            replace(ticket, earned_before=0, segments=frozenset()),
            replace(ticket, earned_before=0, tier=""),
            replace(ticket, earned_before=0, tier="", segments=frozenset()),
        )
    )
    return Earned(
        running, steps, terms.get("pending_days") or 0, terms.get("expiry_months"),
        terms.get("expiry") or ROLLING, terms.get("expiry_day") or "", barred,
    )  # fmt: skip


def rule_for_action(action: str, moment: Ticket, rules: Sequence[RuleTerms]) -> RuleTerms | None:
    """The rule that says what an action earns; `moment` is a ticket without lines: when, where, at which tier."""
    for rule in sorted(rules, key=lambda rule: (rule.priority, rule.code)):
        if rule.kind == ACTION and rule.terms["action"] == action and _ticket_meets(moment, rule.conditions):
            return rule
    return None


def points_for_action(rule: RuleTerms, counted_before: int, counted_in_campaign: int) -> Earned:
    """What the action earns, with the reasons; `counted_…`: how many such actions of the member had earned before, in
    the rule's period and in the campaign."""
    terms, steps = rule.terms, [_step(rule, rule.terms["points"], "action")]
    per_campaign = 1 if terms["action"] == EMAIL_OPEN else terms.get("times_per_campaign")
    why = ""
    if terms.get("times") is not None and counted_before >= terms["times"]:
        why = CAP_OF_ACTION
    elif per_campaign is not None and counted_in_campaign >= per_campaign:
        why = CAP_OF_CAMPAIGN
    if why:
        steps.append(_step(rule, -terms["points"], why))
    return Earned(
        0 if why else terms["points"], steps, terms.get("pending_days") or 0, terms.get("expiry_months"),
        terms.get("expiry") or ROLLING, terms.get("expiry_day") or "",
    )  # fmt: skip


def start_of_period(day: date, period: str) -> date | None:
    """The first day of the period that the day is in; None for ever."""
    return {EVER: None, YEAR: day.replace(month=1, day=1), MONTH: day.replace(day=1), DAY: day}[period]


def birthday_in(year: int, born: date) -> date:
    """The day on which somebody has their birthday that year: 28 February for who was born on the 29th."""
    return date(year, born.month, min(born.day, calendar.monthrange(year, born.month)[1]))


def explain(ticket: Ticket, rules: Sequence[RuleTerms]) -> Explanation:
    """Line by line why the ticket earns what it earns; also which rules gave nothing, and why."""
    earned = points_for(ticket, rules)
    fired = {step["rule"] for step in earned.steps}
    silent: list[Step] = [
        {"rule": rule.code, "version": rule.number, "points": 0, "why": _first_failing(ticket, rule)}
        for rule in sorted(rules, key=lambda rule: (rule.priority, rule.code))
        if rule.code not in fired and rule.kind != ACTION
    ]
    # The weight of a line is what it would earn alone, exactly; a bonus is shared out like the rest.
    base = next((r for r in rules if earned.steps and r.code == earned.steps[0]["rule"]), None)
    weights: list[Fraction | int] = [0] * len(ticket.lines)
    exact = Fraction(0)
    if base is not None:
        multipliers = [r for r in rules if r.kind == MULTIPLIER and _ticket_meets(ticket, r.conditions)]
        multipliers.sort(key=lambda rule: (rule.priority, rule.code))
        for number, (line, cents) in enumerate(zip(ticket.lines, _amounts(ticket, base.terms), strict=True)):
            if _line_meets(line, base.conditions):
                matching = [rule for rule in multipliers if _line_meets(line, rule.conditions)]
                extra = _extra_of_multipliers(Fraction(cents), matching)
                weights[number] = cents + sum((share for _rule, share in extra), Fraction(0))
        exact = sum(weights, Fraction(0)) * base.terms["points"] / base.terms["per_cents"]
        if not any(weights):
            weights = [Fraction(max(0, line.amount_cents)) for line in ticket.lines]
    return Explanation(earned, shared_out(earned.points, weights), silent, exact)


def shared_out(whole: int, weights: Sequence[Fraction | int]) -> list[int]:
    """The whole in parts that sum to it exactly, by largest remainder; of equal remainders the first gets more."""
    total = sum(weights)
    if not total:
        return [0] * len(weights)
    exact = [Fraction(whole * weight) / total for weight in weights]
    parts = [floor(part) for part in exact]
    by_remainder = sorted(range(len(parts)), key=lambda n: (parts[n] - exact[n], n))
    for number in by_remainder[: whole - sum(parts)]:
        parts[number] += 1
    return parts


def points_to_take_back(
    ticket: Ticket, refunded: Sequence[int], rules: Sequence[RuleTerms], already_taken: int
) -> int:
    """Points that a refund takes: what the ticket earned, less what it would have earned without the refunded
    cents of each line, less what earlier refunds took. Any order and any split of refunds sums to the same.

    `refunded` holds, for each line, the cents brought back so far, this refund included.
    """
    kept = [
        Line(line.sku, line.category, line.amount_cents - cents)
        for line, cents in zip(ticket.lines, refunded, strict=True)
    ]
    rest = replace(ticket, lines=kept)
    left = points_for(rest, rules).points if rest.total_cents > 0 else 0
    return points_for(ticket, rules).points - left - already_taken


def concerns(ticket: Ticket, rule: RuleTerms) -> bool:
    """Whether the rule can change what the ticket earns; where it says no, `points_for` is the same without it."""
    if not _ticket_meets(ticket, rule.conditions):
        return False
    # A base rule stands before others though none of its lines earns.
    return rule.kind == BASE or any(_line_meets(line, rule.conditions) for line in ticket.lines)


def look_at_the_day(rules: Sequence[RuleTerms]) -> bool:
    """Whether a ticket's points depend on what the same day's tickets earned before it."""
    return any(rule.terms.get("cap_per_day") is not None for rule in rules)


def look_at_the_tier(rules: Sequence[RuleTerms]) -> bool:
    """Whether a ticket's points depend on its member's tier."""
    return any(rule.conditions.get("tiers") for rule in rules)


def segments_looked_at(rules: Iterable[RuleTerms]) -> frozenset[int]:
    """The segments that the rules ask about."""
    return frozenset(pk for rule in rules for pk in rule.conditions.get("segments", ()))


def tier_for(qualifying_points: int, thresholds: Mapping[str, int]) -> str:
    """The highest tier whose threshold is reached; "" for none."""
    reached = [(threshold, code) for code, threshold in thresholds.items() if qualifying_points >= threshold]
    return max(reached)[1] if reached else ""


def spendable_on(earned_on: date, pending_days: int) -> date:
    """The first day on which the points may be spent."""
    return earned_on + timedelta(days=pending_days)


@lru_cache(maxsize=1024)
def last_day(earned_on: date, expiry_months: int | None) -> date | None:
    """The last day of points that live some months. Month ends clip: 29 February + 12 months is 28 February."""
    if expiry_months is None:
        return None
    months = earned_on.month - 1 + expiry_months
    year, month = earned_on.year + months // 12, months % 12 + 1
    return date(year, month, min(earned_on.day, calendar.monthrange(year, month)[1]))


def discount_for(points: int, reward_points: int, reward_cents: int) -> int:
    """What the points are worth, in cents. `points` must be a multiple of `reward_points`."""
    return points // reward_points * reward_cents


def _portions(
    ticket: Ticket, base: RuleTerms, multipliers: Sequence[RuleTerms], *, by_line: bool
) -> Iterator[tuple[list[RuleTerms], Fraction | int]]:
    """(the multipliers that match, cents that earn) of each line; where rounding comes once a ticket, lines that the
    same ones match are one portion, since what they earn grows with their cents."""
    together: dict[tuple[int, ...], Fraction | int] = {}
    for line, cents in zip(ticket.lines, _amounts(ticket, base.terms), strict=True):
        if not _line_meets(line, base.conditions):
            continue
        matching = tuple([n for n, rule in enumerate(multipliers) if _line_meets(line, rule.conditions)])
        if by_line:
            yield [multipliers[n] for n in matching], cents
        else:
            together[matching] = together.get(matching, 0) + cents
    for numbers, sum_of_cents in together.items():
        yield [multipliers[n] for n in numbers], sum_of_cents


def _extra_of_multipliers(
    earned: Fraction | int, matching: Sequence[RuleTerms]
) -> Iterator[tuple[RuleTerms, Fraction | int]]:
    """(rule, points beyond the base) by the stacking class of the multipliers that match, in order of priority.

    The class of the first of them holds.
    """
    if not matching:
        return
    stacking = matching[0].terms.get("stacking", BEST)
    if stacking == BEST:
        best = max(matching, key=lambda rule: _factor(rule.terms["factor"]))
        yield best, earned * (_factor(best.terms["factor"]) - 1)
    elif stacking == SUM:
        for rule in matching:
            yield rule, earned * (_factor(rule.terms["factor"]) - 1)
    else:
        reached = earned
        for rule in matching:
            factor = _factor(rule.terms["factor"])
            yield rule, reached * (factor - 1)
            reached *= factor


def _amounts(ticket: Ticket, terms: Words) -> list[Fraction | int]:
    """Cents of each line that may earn: what lies below zero is shared out over the lines above, in proportion."""
    above: list[Fraction | int] = [max(0, line.amount_cents) for line in ticket.lines]
    paid = sum(above)
    net = paid if terms.get("amounts") == GROSS else max(0, ticket.total_cents)
    if net == paid:  # nothing lowers them
        return above
    return [Fraction(cents * net, paid) for cents in above]


def _ticket_meets(ticket: Ticket, conditions: Words) -> bool:
    return not _failing_of_ticket(ticket, conditions)


def _failing_of_ticket(ticket: Ticket, conditions: Words) -> str:
    """The first condition that the ticket does not meet; "" where it meets all."""
    if "stores" in conditions and ticket.store not in conditions["stores"]:
        return "stores"
    if "channels" in conditions and ticket.channel not in conditions["channels"]:
        return "channels"
    if "segments" in conditions and ticket.segments.isdisjoint(conditions["segments"]):
        return "segments"
    if "tiers" in conditions and ticket.tier not in conditions["tiers"]:
        return "tiers"
    if "dates" in conditions:
        day = ticket.local_time.date().isoformat()
        if not any(first <= day <= last for first, last in conditions["dates"]):
            return "dates"
    if "weekdays" in conditions and ticket.local_time.weekday() not in conditions["weekdays"]:
        return "weekdays"
    if "hours" in conditions:
        start, end = _hours(conditions["hours"])
        now = ticket.local_time.time()
        if not (start <= now < end if start < end else now >= start or now < end):
            return "hours"
    if "payments" in conditions and _alike(ticket.payment) not in map(_alike, conditions["payments"]):
        return "payments"
    return "" if ticket.total_cents >= int(conditions.get("min_total_cents", 0)) else "min_total_cents"


def _alike(word: str) -> str:
    return word.strip().casefold()


def _line_meets(line: Line, conditions: Words) -> bool:
    if line.amount_cents <= 0:  # given away, or brought back since
        return False
    if "except_categories" in conditions and line.category in conditions["except_categories"]:
        return False
    if "except_skus" in conditions and line.sku in conditions["except_skus"]:
        return False
    if "categories" in conditions and line.category not in conditions["categories"]:
        return False
    return "skus" not in conditions or line.sku in conditions["skus"]


def _first_failing(ticket: Ticket, rule: RuleTerms) -> str:
    """Why a rule gave nothing: the first condition that failed, or `another rule` where one stood before it."""
    failing = _failing_of_ticket(ticket, rule.conditions)
    if failing:
        return failing
    met: Words = {}
    for word in ("except_categories", "except_skus", "categories", "skus"):
        if word in rule.conditions:
            met = {**met, word: rule.conditions[word]}
            if not any(_line_meets(line, met) for line in ticket.lines):
                return word
    return "another rule"


def _month_and_day(value: Any) -> tuple[int, int]:
    try:
        day = date.fromisoformat(f"2024-{value}")
    except ValueError:
        raise InvalidRule("terms.expiry_day", "a day of the year such as 03-31 is expected") from None
    return day.month, day.day


def _hours(value: Any) -> tuple[time, time]:
    try:
        start, end = (time.fromisoformat(text) for text in value)
    except (TypeError, ValueError):
        raise InvalidRule("conditions.hours", 'two times such as ["18:00", "20:00"] are expected') from None
    if start == end or start.tzinfo or end.tzinfo:
        raise InvalidRule("conditions.hours", "two different times of the store's own clock are expected")
    return start, end


def _factor(value: object) -> Fraction:
    return _factor_told(str(value))


@lru_cache(maxsize=1024)
def _factor_told(told: str) -> Fraction:
    try:
        factor = Decimal(told)
    except InvalidOperation:
        raise InvalidRule("terms.factor", "a number such as 3 or 1.5 is expected") from None
    if not factor.is_finite() or not 1 <= factor <= LARGEST_FACTOR:
        raise InvalidRule("terms.factor", f"a number from 1 to {LARGEST_FACTOR} is expected")
    return Fraction(factor)


def _step(rule: RuleTerms, points: int, why: str) -> Step:
    return {"rule": rule.code, "version": rule.number, "points": points, "why": why}
