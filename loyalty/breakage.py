"""What becomes of points: how many are never spent, by the curve of the months before; and what IFRS 15 makes of it.

Pure. Shares are fractions of the points that were earned and not taken back; amounts are whole cents, rounded half up.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import floor


def rounded(amount: Fraction) -> int:
    """Whole cents; a half goes away from zero."""
    return floor(amount + Fraction(1, 2)) if amount >= 0 else -floor(-amount + Fraction(1, 2))


def development(curves: Sequence[Sequence[int]]) -> list[Fraction]:
    """By how much what is spent of a month's points grows from each age to the next, over all months that reached it.

    A curve holds the points spent up to the end of each whole month since they were earned, the first being the month
    itself (the chain ladder of actuaries). An age at which nothing was spent yet grows by nothing.
    """
    oldest = max(map(len, curves), default=0)
    factors = []
    for age in range(oldest - 1):
        reached = [curve for curve in curves if len(curve) > age + 1]
        before = sum(curve[age] for curve in reached)
        after = sum(curve[age + 1] for curve in reached)
        factors.append(Fraction(after, before) if before else Fraction(1))
    return factors


def projected(
    curve: Sequence[int], factors: Sequence[Fraction], points: int, left: int, spent: int
) -> Fraction | None:
    """The share of a month's points that will never be spent, if it goes on as the older months did.

    `points` were earned, `spent` of them so far, `left` can still be. None where no whole month has passed yet and
    something is left to judge.
    """
    if not points:
        return None
    if not left:
        return 1 - Fraction(spent, points)
    if not curve:
        return None
    final = Fraction(curve[-1])
    for factor in factors[len(curve) - 1 :]:
        final *= factor
    final = min(max(final, Fraction(spent)), Fraction(spent + left))
    return 1 - final / points


def still_expected(points: int, spent: int, left: int, breakage: Fraction) -> Fraction:
    """How many of the points left will be spent, if `breakage` of all of them never are."""
    return min(max(points * (1 - breakage) - spent, Fraction(0)), Fraction(left))


def deferred(sales: int, worth: int, breakage: Fraction) -> int:
    """Of a sale's cents, those that stand for its points until they are spent (IFRS 15, B39 to B43).

    The price is shared out by stand-alone selling prices: that of the goods is the sale, that of the points is what
    they are worth at the till, less those that nobody is expected to spend.
    """
    alone = worth * (1 - breakage)
    return rounded(sales * alone / (sales + alone)) if sales > 0 and alone else 0


def recognised(deferred_cents: int, points: int, spent: int, left: int, breakage: Fraction) -> int:
    """Of the deferred cents, those that became revenue: in the proportion of points spent to points expected to be
    (B44 to B47), and all of them once nothing is left."""
    expected = points * (1 - breakage)
    if not left or not expected:
        return deferred_cents
    return rounded(deferred_cents * min(Fraction(1), spent / expected))
