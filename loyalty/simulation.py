"""What a basket would earn: judged by the very rules that judge real tickets, and no trace is left of it.

The rules are those that hold at the basket's instant, or these with drafts in their place. Of a member the tier, the
segments and what the day has earned so far are read as a till reads them. `till.explain` says the same of a ticket that
was sold.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import breakage, liability, members, payments, rules, segments, settlement
from loyalty.models import BreakageEstimate, FundingKey, Programme, RuleDraft, SavedSimulation, Transaction
from loyalty.rulebook import Rulebook
from profiles.models import Profile, Purchase
from tenants.calendar import brand_zone
from tenants.network.models import Store, Till
from tenants.scoping import whole_network

MOST_LINES = 200
MOST_CENTS = 10**9
LONGEST_SKU, LONGEST_CATEGORY = 40, 60
NO_TIER = ""


class BadBasket(ValueError):
    """A basket that no till could sell. `field` names what is wrong with it, e.g. `lines[2].quantity`."""

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field, self.message = field, message


@dataclass(frozen=True)
class Item:
    """A line of a basket. `amount_cents` is what is paid for all of its pieces."""

    sku: str
    category: str
    quantity: Decimal
    amount_cents: int
    label: str = ""

    @classmethod
    def priced(cls, sku: str, category: str, quantity: Decimal, price: Decimal) -> "Item":
        """So many pieces at this price in major units each; half a cent is rounded up, as tills do."""
        cents = (quantity * price * 100).quantize(Decimal(1), rounding=ROUND_HALF_UP)
        return cls(sku, category, quantity, int(cents))

    @property
    def price(self) -> Decimal:
        """Of one piece, in major units; of pieces that do not share their amount evenly, nearly."""
        return (Decimal(self.amount_cents) / 100 / self.quantity).quantize(Decimal("0.01"))


@dataclass(frozen=True)
class Basket:
    """What would be sold, where, when and to whom.

    Without `profile` it is a new member's, in these `segments`; of a member they are read. `tier`: judged at this tier
    ("" for none) instead of the member's own. `reward_cents`: what of it a voucher or points pay; `payment`: the till's
    word for how the rest is paid. `purchase`: the ticket it was taken from, whose own points are left out of what the
    member had before.
    """

    store: Store
    at: datetime
    items: Sequence[Item]
    profile: Profile | None = None
    tier: str | None = None
    reward_cents: int = 0
    purchase: Purchase | None = None
    payment: str = ""
    channel: str = rules.AT_TILL
    segments: frozenset[int] = frozenset()

    @property
    def total_cents(self) -> int:
        return sum(item.amount_cents for item in self.items) - self.reward_cents


@dataclass(frozen=True)
class Prices:
    """What points cost: the programme's reward step, who funds it in percent, and how much of it is expected."""

    reward_points: int
    reward_cents: int
    earner: int
    redeemer: int
    head_office: int
    cost_percent: str = "100"
    spent_percent: str = "100"

    @classmethod
    def now(cls, programme: Programme, at: datetime | None = None) -> "Prices":
        """By the funding key, the accounting policy and the estimate of breakage in force."""
        at = at or timezone.now()
        keys = FundingKey.objects.filter(effective_from__lte=at)
        key = keys.order_by("-effective_from").first() or settlement.EARNER_PAYS
        month = at.astimezone(brand_zone()).date().replace(day=1)
        estimates = BreakageEstimate.objects.order_by("made_at", "pk")
        lost = liability.share_of(estimates, month)
        policy = liability.policy_now()
        return cls(
            programme.reward_points, programme.reward_cents, key.earner, key.redeemer, key.head_office,
            str(policy.cost_percent), str(round(float(100 - 100 * lost), 4)),
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def worth(self, points: int) -> int:
        """Cents off if every point is spent."""
        return breakage.rounded(Fraction(points * self.reward_cents, self.reward_points))

    def expected(self, points: int) -> int:
        """Cents that the points are expected to cost: what is never spent costs nothing."""
        share = Fraction(self.spent_percent) * Fraction(self.cost_percent) / 10_000
        return breakage.rounded(Fraction(points * self.reward_cents, self.reward_points) * share)

    def shared(self, cents: int) -> tuple[int, int, int]:
        """The cents by who pays: the store that issued the points, the one where they are spent, head office."""
        issuer, spender, head_office = rules.shared_out(cents, [self.earner, self.redeemer, self.head_office])
        return issuer, spender, head_office


@dataclass(frozen=True)
class Outcome:
    """What the basket would earn, and why. `lines` holds the points of each item, which sum to `earned.points`."""

    basket: Basket
    ticket: rules.Ticket
    in_force: Sequence[rules.RuleTerms]
    earned: rules.Earned
    lines: Sequence[int]
    silent: Sequence[rules.Step]
    exact: Fraction
    qualifying_before: int
    thresholds: dict[str, int]
    prices: Prices
    issuer_id: int | None

    @property
    def rounded_away(self) -> Fraction:
        """What rounding down took off, a part of a point for each scope of rounding."""
        whole = sum(
            int(step["points"]) for step in self.earned.steps if step["why"] in ("base", "multiplier")
        )
        return self.exact - whole

    @property
    def tier_after(self) -> str:
        """The highest tier that the points of twelve months reach with this basket."""
        return rules.tier_for(self.qualifying_before + self.earned.points, self.thresholds)

    @property
    def next_tier(self) -> tuple[str, int] | None:
        """The next tier above and the points that it still takes after this basket."""
        points = self.qualifying_before + self.earned.points
        above = [
            (threshold - points, code) for code, threshold in self.thresholds.items() if threshold > points
        ]
        if not above:
            return None
        missing, code = min(above)
        return code, missing

    @property
    def day(self) -> date:
        return self.ticket.local_time.date()

    @property
    def spendable_on(self) -> date:
        return rules.spendable_on(self.day, self.earned.pending_days)

    @property
    def last_day(self) -> date | None:
        return self.earned.last_day(self.day)

    @property
    def worth_cents(self) -> int:
        return self.prices.worth(self.earned.points)

    @property
    def expected_cents(self) -> int:
        return self.prices.expected(self.earned.points)


# --- Rules, live and tried out --------------------------------------------------------------------------------------


def terms_of(draft: RuleDraft) -> rules.RuleTerms:
    """The draft as the rules read it, with the number that its version would have."""
    rule = draft.rule
    newest = rule.versions.order_by("-number").values_list("number", flat=True).first() or 0
    return rules.RuleTerms(rule.code, newest + 1, rule.kind, rule.priority, draft.conditions, draft.terms)


def with_drafts(in_force: Iterable[rules.RuleTerms], drafts: Iterable[RuleDraft]) -> list[rules.RuleTerms]:
    """The rules with the drafts in the place of what their rules say now, whatever dates the drafts have."""
    tried = {draft.rule.code: terms_of(draft) for draft in drafts}
    return [*(terms for terms in in_force if terms.code not in tried), *tried.values()]


# --- One basket -----------------------------------------------------------------------------------------------------


def simulate(basket: Basket, drafts: Iterable[RuleDraft] = (), *, book: Rulebook | None = None) -> Outcome:
    """What the basket would earn, under the rules of its instant with the drafts in their place. Writes nothing.

    Raises `BadBasket`, and `NoProgramme` where there is none.
    """
    book = book or Rulebook.load()
    in_force = with_drafts(book.at(basket.at), drafts)
    return judged(basket, in_force, book)


def judged(basket: Basket, in_force: Sequence[rules.RuleTerms], book: Rulebook) -> Outcome:
    """The same under rules that are given. Raises `BadBasket`."""
    check(basket)
    tier, before, qualifying = _standing(basket, in_force, book)
    ticket = rules.Ticket(
        basket.at.astimezone(basket.store.zone), basket.store.code, tier, _lines(basket), before,
        _segments(basket, in_force, book), basket.payment, basket.channel,
    )  # fmt: skip
    told = rules.explain(ticket, in_force)
    return Outcome(
        basket, ticket, in_force, told.earned, told.lines[: len(basket.items)], told.silent, told.exact, qualifying,
        book.thresholds, Prices.now(book.programme, basket.at),
        settlement.Payers().in_place_of(basket.store.pk),
    )  # fmt: skip


def check(basket: Basket) -> None:
    """Raise `BadBasket` naming what no till would send."""
    if not basket.items:
        raise BadBasket("lines", _("the basket is empty"))
    if len(basket.items) > MOST_LINES:
        raise BadBasket("lines", _("a basket has at most %s lines") % MOST_LINES)
    for number, item in enumerate(basket.items):
        if item.quantity <= 0:
            raise BadBasket(f"lines[{number}].quantity", _("a quantity is more than zero"))
        if abs(item.amount_cents) > MOST_CENTS:
            raise BadBasket(f"lines[{number}].amount", _("this amount is too large"))
    if basket.total_cents < 0:
        raise BadBasket("reward", _("the reward pays more than the basket costs"))


def _lines(basket: Basket) -> list[rules.Line]:
    """The lines as a till's ticket has them: a reward is one of its own, below zero and last."""
    lines = [
        rules.Line(item.sku[:LONGEST_SKU], item.category[:LONGEST_CATEGORY], item.amount_cents)
        for item in basket.items
    ]
    return [*lines, rules.Line(payments.SKU, "", -basket.reward_cents)] if basket.reward_cents else lines


def _standing(basket: Basket, in_force: Sequence[rules.RuleTerms], book: Rulebook) -> tuple[str, int, int]:
    """The tier that the basket is judged at, what its day has earned before, and the points that made the tier."""
    chosen = basket.tier
    if basket.profile is None:
        tier = chosen or NO_TIER
        return tier, 0, book.thresholds.get(tier, 0)
    standing = members.Standing([basket.profile.pk], basket.at, book.thresholds)
    points, before = standing.points(basket.profile.pk, basket.at), 0
    if rules.look_at_the_day(in_force):
        before = standing.earned_on(basket.profile.pk, basket.at.astimezone(basket.store.zone).date())
    own = _earning_of(basket)
    if own is not None:
        points -= own.qualifying_points
        before = own.earned_before
    tier = rules.tier_for(points, book.thresholds) if own is None else own.tier
    return tier if chosen is None else chosen, before, points


def _segments(basket: Basket, in_force: Sequence[rules.RuleTerms], book: Rulebook) -> frozenset[int]:
    """Of the segments that the rules ask about, those that the member is in: now, or as was noted with the ticket."""
    asked = rules.segments_looked_at(in_force)
    if basket.profile is None:
        return basket.segments & asked
    belongs = segments.of([basket.profile.pk], asked)[basket.profile.pk]
    own = _earning_of(basket)
    if own is not None:
        asked_then = rules.segments_looked_at(book.at(basket.purchase.bought_at))
        belongs = belongs - asked_then | (asked & frozenset(own.segments))
    return belongs


def _earning_of(basket: Basket) -> Transaction | None:
    """What the ticket that the basket was taken from has earned this member, if it is still at its instant."""
    sold = basket.purchase
    if sold is None or basket.profile is None or _second(sold.bought_at) != _second(basket.at):
        return None
    with whole_network():
        return Transaction.objects.filter(key=f"earn:{sold.pk}", profile=basket.profile).first()


def _second(instant: datetime) -> datetime:
    """Forms and addresses know seconds, tills may tell less than one."""
    return instant.replace(microsecond=0)


def basket_of(purchase: Purchase) -> Basket:
    """The basket of a ticket that was sold; a reward that paid it stands aside from its goods again.

    In the scope of who asks: the customer is there if that scope knows them.
    """
    items, reward = [], 0
    for line in purchase.lines.order_by("number"):
        if line.sku == payments.SKU and line.amount_cents < 0:
            reward -= line.amount_cents
        else:
            items.append(Item(line.sku, line.category, line.quantity, line.amount_cents, line.label))
    profile = Profile.reached_by(pk=purchase.profile_id) if purchase.profile_id else None
    return Basket(
        purchase.store, purchase.bought_at, items, profile=profile, reward_cents=reward, purchase=purchase,
        payment=purchase.payment, channel=purchase.till.channel,
    )  # fmt: skip


def channel_of(store: Store) -> str:
    """How the store sells: on the web where all its tills do."""
    channels = Till.objects.filter(store=store, revoked_at=None).values_list("channel", flat=True).distinct()
    return rules.ON_THE_WEB if set(channels) == {rules.ON_THE_WEB} else rules.AT_TILL


def last_ticket_of(profile: Profile) -> Purchase | None:
    """The member's last ticket, of those that the scope sees."""
    return (
        Purchase.objects.select_related("store").filter(profile=profile).order_by("-bought_at", "-pk").first()
    )


def tickets_called(receipt_id: str, most: int = 10) -> list[Purchase]:
    """The tickets of this number that the scope sees, the newest first."""
    found = Purchase.objects.select_related("store").filter(receipt_id=receipt_id)
    return list(found.order_by("-bought_at", "-pk")[:most])


# --- Saved simulations ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """A saved simulation and what it comes to."""

    saved: SavedSimulation
    outcome: Outcome

    @property
    def points(self) -> int:
        return self.outcome.earned.points

    @property
    def passed(self) -> bool:
        return self.points == self.saved.expected_points

    @property
    def difference(self) -> int:
        return self.points - self.saved.expected_points


def as_json(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Items as a saved simulation keeps them."""
    return [
        {
            "sku": item.sku, "category": item.category, "quantity": str(item.quantity.normalize()),
            "amount_cents": item.amount_cents, "label": item.label,
        }
        for item in items
    ]  # fmt: skip


def basket_saved(saved: SavedSimulation, on: date) -> Basket:
    """The basket of a saved simulation, on its weekday in the seven days from this one on."""
    day = on + timedelta(days=(saved.weekday - on.weekday()) % 7)
    items = [
        Item(
            told["sku"],
            told["category"],
            Decimal(told["quantity"]),
            told["amount_cents"],
            told.get("label", ""),
        )
        for told in saved.lines
    ]
    at = datetime.combine(day, saved.time, saved.store.zone)
    return Basket(
        saved.store,
        at,
        items,
        tier=saved.tier.code if saved.tier else NO_TIER,
        reward_cents=saved.reward_cents,
        payment=saved.payment,
        channel=saved.channel,
        segments=frozenset(saved.segments),
    )


def run_saved(
    drafts: Sequence[RuleDraft] = (), *, at: datetime | None = None, book: Rulebook | None = None
) -> list[Check]:
    """Every saved simulation that the scope sees, under the rules of that instant with the drafts in their place."""
    book, at = book or Rulebook.load(), at or timezone.now()
    in_force = with_drafts(book.at(at), drafts)
    rows = SavedSimulation.objects.select_related("store", "tier").order_by("name")
    return [
        Check(saved, judged(basket_saved(saved, at.astimezone(saved.store.zone).date()), in_force, book))
        for saved in rows
    ]
