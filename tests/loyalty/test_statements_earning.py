"""The numbered statements about earning, one test each; the programme is the statements' own."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty import proof, rulebook, starter, statements, till
from loyalty.models import Lot, Rule, Tier, Transaction
from loyalty.rules import Ticket, explain, points_for, points_to_take_back, shared_out
from profiles.intake import Conflict
from profiles.models import Profile, Purchase
from tests.loyalty.conftest import AT, LONG_AGO, back, ticket
from tests.loyalty.test_rules import BASE, BASKET, BY_LINE, CAPPED, TEN, earned, rule, times
from tests.loyalty.test_rules import ticket as told

DAIRY = (2000, "DAIRY", "MILK")


def test_rounding_stands_in_the_rule():
    """Statement 1: 19.95 + 29.95 earn 49 rounded on the ticket, 48 rounded on each line."""
    assert earned(told(1995, 2995), BASE) == 49
    assert earned(told(1995, 2995), BY_LINE) == 48


def test_a_voucher_lowers_what_earns(lille_till, programme_p):
    """Statement 2: 60 € paid with a voucher of 5 € earn 55, or 60 by the gross amounts; the voucher earns nothing."""
    programme_p()
    assert till.record_purchase(lille_till[0], ticket("R1", 6000, -500)).body["points"] == 55
    gross = rule("base", points=1, per_cents=100, amounts="gross")
    assert earned(told(6000, -500), gross) == 60
    # It lowers each line in proportion: 45 € are left of 50 €, 18 € of them on the line that counts three times.
    assert earned(told(3000, DAIRY, -500), BASE, times(3, categories=["DAIRY"])) == 27 + 54


def test_what_is_excluded_earns_nothing():
    """Statement 3: a gift card sold earns 0; goods earn whatever they are paid with; a multiplier changes nothing."""
    base = rule("base", when={"except_categories": ["GIFTCARD", "TOBACCO"]}, points=1, per_cents=100)
    assert earned(told((5000, "GIFTCARD")), base) == 0
    assert earned(told(5000), base) == 50
    assert earned(told(5000, (900, "TOBACCO")), base, times(3)) == 150


def test_a_new_brand_excludes_gift_cards_by_default(lille_till):
    """Statement 3: unless the brand says otherwise, gift cards, deposits, delivery and regulated products earn 0."""
    starter.open_programme("Europe/Paris", points_from=LONG_AGO.date())
    for number, category in enumerate(starter.EXCLUDED):
        answer = till.record_purchase(lille_till[0], ticket(f"R{number}", 5000, category=category))
        assert answer.body["points"] == 0
    assert till.record_purchase(lille_till[0], ticket("G", 5000)).body["points"] == 50


def test_a_category_multiplies_its_line():
    """Statement 4: a line of 20 € at ×3 in a ticket of 50 € earns 30 + 60."""
    steps = points_for(told(3000, DAIRY), [BASE, times(3, categories=["DAIRY"])]).steps
    assert [step["points"] for step in steps] == [50, 40]


@pytest.mark.parametrize(("stacking", "points"), [("best", 60), ("sum", 80), ("product", 120)])
def test_multipliers_stack_by_their_class(stacking, points):
    """Statement 5: article ×3 and happy hour ×2 make 60, 80 or 120 of a 20 € line; the best is the default."""
    article = rule("multiplier", "article", when={"skus": ["MILK"]}, factor="3", stacking=stacking)
    hour = rule("multiplier", "hour", when={"hours": ["09:00", "11:00"]}, factor="2", stacking=stacking)
    assert earned(told(DAIRY), BASE, article, hour) == points
    unsaid = [rule("multiplier", "article", factor="3"), rule("multiplier", "hour", factor="2")]
    assert earned(told(DAIRY), BASE, *unsaid) == 60


def test_a_happy_hour_is_the_stores_own(lille_till, lyon_till, programme_p):
    """Statement 6: from 18:00 included to 20:00 excluded on the clock of the store, Réunion's or Paris's."""
    programme_p()
    hour = Rule.objects.create(code="hour", name="Hour", kind="multiplier")
    rulebook.publish(hour, {"hours": ["18:00", "20:00"]}, {"factor": "2"}, effective_from=LONG_AGO)
    paris, reunion = lille_till[0], lyon_till[0]
    reunion.store.time_zone = "Indian/Reunion"
    reunion.store.save()
    clock = {"16:59:59": 10, "17:00:00": 20, "18:59:59": 20, "19:00:00": 10}  # UTC; Paris is an hour ahead
    for number, (text, points) in enumerate(clock.items()):
        at = datetime.fromisoformat(f"2026-11-02T{text}+00:00")
        assert till.record_purchase(paris, ticket(f"R{number}", 1000, at=at)).body["points"] == points
        # There it is 21:00 and later.
        assert till.record_purchase(reunion, ticket(f"R{number}", 1000, at=at)).body["points"] == 10
    early = datetime(2026, 11, 2, 14, tzinfo=UTC)
    assert till.record_purchase(reunion, ticket("R9", 1000, at=early)).body["points"] == 20


def test_a_late_ticket_is_judged_by_its_own_time(lille_till, programme_p):
    """Statement 7: a ticket sent three days late keeps the rules, the tier and the hour of its day."""
    base = programme_p()
    Tier.objects.create(code="gold", name="Gold", threshold=100)
    gold = Rule.objects.create(code="gold", name="Gold", kind="multiplier")
    rulebook.publish(gold, {"tiers": ["gold"]}, {"factor": "3"}, effective_from=LONG_AGO)
    till.record_purchase(lille_till[0], ticket("R1", 20000, at=AT + timedelta(days=1)))
    rulebook.publish(base, {}, {"points": 5, "per_cents": 100}, effective_from=AT + timedelta(days=2))
    late = till.record_purchase(lille_till[0], ticket("R0", 1000, at=AT))
    assert late.body["points"] == 10
    assert Transaction.objects.get(purchase__receipt_id="R0").tier == ""


def test_a_cap_holds_for_a_ticket():
    """Statement 8: 800 € at a cap of 500 earn 500, and the explanation says −300 for the cap."""
    found = points_for(told(80000), [CAPPED])
    assert found.points == 500
    assert [(step["why"], step["points"]) for step in found.steps] == [("base", 800), ("cap", -300)]


def test_a_cap_holds_for_a_day(lille_till, programme_p):
    """Statement 8: at a cap of 600 a day a ticket of 500 leaves 100 for the next; the day after begins anew."""
    programme_p(cap_per_day=600)
    machine = lille_till[0]
    sent = [ticket("R1", 50000), ticket("R2", 20000, at=AT + timedelta(hours=1))]
    first, second = till.record_purchases(machine, sent)
    quoted = till.quote(machine, ticket("R3", 20000, at=AT + timedelta(hours=2)))
    third = till.record_purchase(machine, ticket("R3", 20000, at=AT + timedelta(hours=2)))
    after = till.record_purchase(machine, ticket("R4", 20000, at=AT + timedelta(days=1)))
    answers = (first, second, third, after)
    assert [answer.body["points"] for answer in answers] == [500, 100, 0, 200]
    assert quoted["points"] == 0
    assert second.body["explanation"][-1] == {
        "rule": "base", "version": 1, "points": -100, "why": "cap of the day",
    }  # fmt: skip
    # What a return frees under the cap is not earned later, and takes back what its ticket had.
    assert till.refund(machine, back("B1", "R2", 1)).body["points_taken_back"] == 100
    assert till.refund(machine, back("B2", "R3", 1)).body["points_taken_back"] == 0
    assert proof.prove().differences == []


def test_a_ticket_is_explained_line_by_line(lille_till, programme_p):
    """Why 87 points: each line's share, and of each rule that gave nothing the first condition that failed."""
    programme_p()
    whens = {
        "night": {"hours": ["22:00", "23:00"]},
        "wine": {"categories": ["WINE"]},
        "milk": {"categories": ["DAIRY"]},
    }
    for code, when in whens.items():
        made = Rule.objects.create(code=code, name=code, kind="multiplier")
        rulebook.publish(made, when, {"factor": "3"}, effective_from=LONG_AGO)
    till.record_purchase(lille_till[0], ticket("R1", 2995, 1, category="DAIRY"))
    found = till.explain(Purchase.objects.get())
    assert found.earned.points == sum(found.lines) == 89
    assert [(step["rule"], step["why"]) for step in found.silent] == [
        ("night", "hours"),
        ("wine", "categories"),
    ]


@given(
    lines=st.lists(st.integers(-3000, 9000), min_size=1, max_size=4),
    day=st.integers(0, 300),
    shares=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_vouchers_and_caps_keep_every_split_exact(lines, day, shares):
    """Returns of the parts of a ticket with vouchers take what it earned, in any order; explanations add up."""
    rules = [rule("base", points=1, per_cents=100, cap_per_day=250), BASKET, times(3, categories=["DAIRY"])]
    bought = [(cents, "DAIRY" if n % 2 else "") for n, cents in enumerate(lines)]
    paid = Ticket(TEN, "ACM-001", "", told(*bought).lines, earned_before=day)
    whole = explain(paid, rules)
    assert sum(whole.lines) == whole.earned.points >= 0
    rest, taken = [0] * len(lines), 0
    for number in shares.draw(st.permutations(range(len(lines)))):
        rest[number] = lines[number]
        taken += points_to_take_back(paid, list(rest), rules, taken)
    assert taken == whole.earned.points


def test_shares_sum_to_the_whole():
    """Statement 58: 1.00 € in three is 0.34, 0.33, 0.33."""
    assert shared_out(100, [1, 1, 1]) == [34, 33, 33]


def test_a_big_basket_earns_its_bonus():
    """Statement 9: a bonus of 50 from 100 €: 110 € earn 160, 99.99 € earn 99."""
    assert earned(told(11000), BASE, BASKET) == 160
    assert earned(told(9999), BASE, BASKET) == 99


def test_the_tier_before_the_ticket_holds(lille_till, programme_p):
    """Statement 10: the ticket that crosses the threshold earns at the old rate, the next one at ×1.5."""
    programme_p()
    Tier.objects.create(code="gold", name="Gold", threshold=100)
    gold = Rule.objects.create(code="gold", name="Gold", kind="multiplier")
    rulebook.publish(gold, {"tiers": ["gold"]}, {"factor": "1.5"}, effective_from=LONG_AGO)
    crossing = till.record_purchase(lille_till[0], ticket("R1", 20000))
    after = till.record_purchase(lille_till[0], ticket("R2", 20000, at=AT + timedelta(hours=1)))
    assert (crossing.body["points"], after.body["points"]) == (200, 300)


def test_a_ticket_sent_twice_counts_once(lille_till, programme_p):
    """Statement 15: the same ticket again gets the same body; the same id with another content is refused."""
    programme_p()
    first = till.record_purchase(lille_till[0], ticket("R1", 5000))
    again = till.record_purchase(lille_till[0], ticket("R1", 5000))
    assert again.replayed
    assert again.body == first.body
    with pytest.raises(Conflict):
        till.record_purchase(lille_till[0], ticket("R1", 5001))
    assert Transaction.objects.count() == 1


def test_a_voided_line_earns_nothing(lille_till, programme_p):
    """Statement 16: a line voided before payment earns 0."""
    programme_p()
    assert till.record_purchase(lille_till[0], ticket("R1", 5000, 0)).body["points"] == 50
    assert earned(told(5000, 2000, -2000), BASE) == 50


def test_a_ticket_of_nothing_is_a_visit(lille_till, programme_p):
    """Statement 18: a ticket of 0 € after a reward earns 0 points, and is a visit."""
    programme_p()
    answer = till.record_purchase(lille_till[0], ticket("R1", 0))
    assert answer.body["points"] == 0
    assert Purchase.objects.get().profile == Profile.objects.get()
    assert not Lot.objects.exists()
    assert statements.balance_of(Profile.objects.get()).available == 0
