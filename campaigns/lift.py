"""How much more the addressed people did than those held back, and how sure that is. Pure.

Rates: the difference of two proportions with Wald's interval, unpooled::

    lift = p₁ − p₀,    lift ± 1.96 · √(p₁(1 − p₁)/n₁ + p₀(1 − p₀)/n₀)

Amounts: the difference of two means with Welch's standard error, by the normal law::

    lift = m₁ − m₀,    lift ± 1.96 · √(s₁²/n₁ + s₀²/n₀)

Both hold for arms of some dozens of people and more (Newcombe, *Statistics in Medicine* 17, 1998, compares the
interval for rates with its rivals).
"""

from dataclasses import dataclass
from math import sqrt
from typing import Literal

Z_95 = 1.959963984540054  # the normal law leaves 2.5 % on each side
FEWEST = 30  # in each arm; below, the normal law is no guide

Verdict = Literal["met", "not_met", "inconclusive", "no_control"]


@dataclass(frozen=True)
class Lift:
    """A difference and its 95 % interval: in percentage points for rates, in the amounts' own unit for amounts."""

    difference: float
    low: float
    high: float

    @property
    def may_be_nothing(self) -> bool:
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Spread:
    """What the amounts of one arm add up to: number of people, sum and sum of squares."""

    people: int
    total: float
    squares: float

    @property
    def mean(self) -> float:
        return self.total / self.people if self.people else 0.0

    @property
    def variance(self) -> float:
        """Of the sample (n − 1)."""
        if self.people < 2:
            return 0.0
        return max(0.0, (self.squares - self.total**2 / self.people) / (self.people - 1))


def of_rates(treated: int, treated_buyers: int, control: int, control_buyers: int) -> Lift | None:
    """Lift in percentage points. None while an arm is empty."""
    if not treated or not control:
        return None
    p1, p0 = treated_buyers / treated, control_buyers / control
    error = sqrt(p1 * (1 - p1) / treated + p0 * (1 - p0) / control)
    return _interval(100 * (p1 - p0), 100 * error)


def of_amounts(treated: Spread, control: Spread) -> Lift | None:
    """Lift in the unit of the amounts. None while an arm is empty."""
    if not treated.people or not control.people:
        return None
    error = sqrt(treated.variance / treated.people + control.variance / control.people)
    return _interval(treated.mean - control.mean, error)


def _interval(difference: float, error: float) -> Lift:
    return Lift(difference, difference - Z_95 * error, difference + Z_95 * error)


def verdict(lift: Lift | None, goal: float, smallest_arm: int) -> Verdict:
    """Whether the goal was met. An interval that contains 0, or an arm below `FEWEST`, concludes nothing."""
    if lift is None:
        return "no_control"
    if lift.may_be_nothing or smallest_arm < FEWEST:
        return "inconclusive"
    return "met" if lift.difference >= goal else "not_met"
