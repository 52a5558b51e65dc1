"""The numbered statements about liability and breakage: IFRS 15, the estimate by month of earning, and its curve."""

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
import time_machine
from django.db import DatabaseError, connection, transaction
from django.urls import reverse

from loyalty import breakage, ledger, liability, till, vouchers
from loyalty.liability import BadEstimate
from loyalty.models import AccountingPolicy, BreakageEstimate, Reward
from profiles.models import Profile
from tenants.network.models import AuditEvent
from tests.loyalty.conftest import back, ticket

MARCH, APRIL, MAY = (datetime(2026, month, 10, 10, tzinfo=UTC) for month in (3, 4, 5))
REPORT = "admin:loyalty_breakageestimate_changelist"


def spend(machine, points, at, name) -> int:
    return ledger.redeem(Profile.objects.get().pk, points, store_id=machine.store_id, key=name, at=at)


@pytest.fixture
def judged(programme_p, diane):
    """`judged("20")`: the programme P, of whose points so many percent are never spent; judged in January."""

    def estimated(percent, **terms):
        programme_p(**terms)
        with time_machine.travel(datetime(2026, 1, 5, tzinfo=UTC), tick=False):
            liability.estimate(Decimal(percent), cohort=None, reason="pilot stores", by=diane)

    return estimated


def test_a_sale_is_shared_out_between_goods_and_points(judged, lille_till, client_of, diane):
    """Statement 61: €1 000 with 1 000 points, 80 % expected: goods 961.54, deferred 38.46; 400 spent: 19.23."""
    judged("20")
    till.record_purchase(lille_till[0], ticket("R1", 100000, at=MARCH))
    sold = liability.report().total
    assert (sold.sales_cents, sold.deferred_cents, sold.recognised_cents) == (100000, 3846, 0)
    assert sold.sales_cents - sold.deferred_cents == 96154
    assert (sold.worth_cents, sold.expected, sold.cost_cents) == (5000, 800, 4000)
    spend(lille_till[0], 400, APRIL, "one")
    assert liability.report().total.recognised_cents == 1923
    page = client_of(diane).get(reverse(REPORT)).text
    assert {"€38.46", "€19.23"} <= set(page.replace("<", " ").replace(">", " ").split())
    spend(lille_till[0], 400, APRIL, "two")
    assert liability.report().total.contract_cents == 0


def test_a_changed_estimate_changes_what_is_recognised_and_not_what_was_deferred(
    judged, lille_till, diane, alice
):
    """Statement 61: the estimate and its change are versions; the price of a sale keeps the one of its month."""
    judged("20")
    till.record_purchase(lille_till[0], ticket("R1", 100000, at=MARCH))
    spend(lille_till[0], 400, APRIL, "one")
    liability.estimate(Decimal(50), cohort=date(2026, 3, 1), reason="few come back", by=diane)
    told = liability.report().total
    assert (told.deferred_cents, told.recognised_cents) == (3846, breakage.rounded(Fraction(3846 * 400, 500)))
    assert [str(row.percent) for row in BreakageEstimate.objects.all()] == ["50.00", "20.00"]
    line = AuditEvent.objects.filter(verb="estimated").first()
    assert (line.reason, line.detail) == ("few come back", {"percent": "50", "cohort": "2026-03-01"})
    for statement in (
        "UPDATE loyalty_breakageestimate SET percent = 1", "DELETE FROM loyalty_breakageestimate",
    ):  # fmt: skip
        with pytest.raises(DatabaseError) as refused, transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
        assert refused.value.__cause__.diag.constraint_name == "estimate_never_changes"


def test_the_principal_is_a_setting(judged, lille_till, lyon_till, diane, client_of):
    """Statement 61: head office carries all, or each store the points that it issued; both views are given."""
    judged("0")
    till.record_purchase(lille_till[0], ticket("R1", 10000, at=MARCH))
    till.record_purchase(lyon_till[0], ticket("R2", 5000, at=MARCH))
    assert {party: row.cost_cents for party, row in liability.report().carried().items()} == {None: 750}
    client_of(diane).post(
        reverse("admin:loyalty_breakageestimate_policy"),
        {"principal": "store", "cost_percent": "40", "reason": "auditors, letter of 3 March"},
    )
    assert AccountingPolicy.objects.get().made_by == diane
    told = liability.report()
    carried = {party: row.cost_cents for party, row in told.carried().items()}
    assert carried == {lille_till[0].store_id: 200, lyon_till[0].store_id: 100}
    assert told.total.deferred_cents == sum(row.deferred_cents for row in told.by_store().values())


def test_breakage_is_judged_by_month_and_compared_with_the_curve(judged, lille_till, diane, client_of):
    """Statement 62: of 100 points of March 50, then 75 were spent; of 100 of April 40 so far: the curve says 60."""
    judged("30", expiry_months=2)
    machine = lille_till[0]
    # The expiry of the first month's points is a fact before the second month is judged.
    till.record_purchase(machine, ticket("R1", 10000, at=MARCH))
    with time_machine.travel(MARCH, tick=False):
        spend(machine, 50, MARCH, "one")
    with time_machine.travel(APRIL, tick=False):
        till.record_purchase(machine, ticket("R2", 10000, at=APRIL))
        spend(machine, 25, APRIL, "two")
    with time_machine.travel(MAY.replace(day=11), tick=False):
        assert ledger.expire_due(date(2026, 5, 11)) == 1
        spend(machine, 40, APRIL, "three")
        march, april = liability.report().cohorts
        assert [float(share) for share in march.curve] == [50, 75, 75]
        assert (march.lost, march.projected, march.estimated, march.difference) == (25, 25, 30, -5)
        assert [float(share) for share in april.curve] == [40, 40]
        assert april.projected == 100 - Fraction(40 * 75, 50)
        page = client_of(diane).get(reverse(REPORT)).text
    assert "40.0 %" in page
    assert "+10.0" in page


def test_a_plain_recount_says_the_same(judged, lille_till, lyon_till, diane):
    """Points, what is left and the provision, by month and store, counted again in plain SQL; the CSV says the same."""
    judged("25")
    lille, lyon = lille_till[0], lyon_till[0]
    for n, (machine, cents, at) in enumerate(
        [(lille, 31700, MARCH), (lyon, 12345, MARCH), (lille, 9999, APRIL), (lyon, 70070, MAY)]
    ):
        till.record_purchase(machine, ticket(f"R{n}", cents, at=at))
    till.refund(lille, back("B1", "R2", 1, at=MAY))
    spend(lyon, 333, MAY, "one")
    ledger.give_back(ledger.Transaction.objects.get(key="one").pk, 33, key="b", at=MAY)
    member = Profile.objects.get().pk
    ledger.adjust(member, 77, store_id=lille.store_id, key="a", at=APRIL, why={"reason": "goodwill"})
    told = liability.report()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH lot AS (
                SELECT date_trunc('month', t.occurred_at AT TIME ZONE 'Europe/Paris')::date AS month, l.store_id,
                       t.kind = 'earn' AS sold, l.points, l.remaining,
                       coalesce((SELECT sum(u.points) FROM loyalty_lotuse u JOIN loyalty_transaction x
                                  ON x.id = u.transaction_id WHERE u.lot_id = l.id
                                  AND x.kind IN ('redeem', 'reserve', 'give_back')), 0) AS spent
                  FROM loyalty_lot l JOIN loyalty_transaction t ON t.id = l.transaction_id),
            cell AS (
                SELECT month, store_id, sold, sum(spent) AS spent, sum(remaining) AS remaining,
                       sum(remaining) + sum(spent) AS earned FROM lot GROUP BY 1, 2, 3)
            SELECT month, store_id, sum(earned)::bigint, sum(spent)::bigint, sum(remaining)::bigint,
                   sum(round(least(greatest(earned * 0.75 - spent, 0), remaining) * 5))::bigint
              FROM cell GROUP BY 1, 2 ORDER BY 1, 2
            """
        )
        recount = cursor.fetchall()
    assert recount == [
        (month, store, row.points, row.spent, row.left, row.cost_cents)
        for (month, store), row in told.rows.items()
    ]
    assert told.total.spent == 300
    out = io.StringIO()
    assert liability.write_csv(told, out) == len(told.rows)
    rows = list(csv.DictReader(io.StringIO(out.getvalue()), delimiter=";"))
    assert sum(int(row["cost_cents"]) for row in rows) == told.total.cost_cents
    assert sum(int(row["contract_liability_cents"]) for row in rows) == told.total.contract_cents
    # What was given by hand defers nothing; what was brought back is no sale any more.
    assert told.total.sales_cents == 31700 + 12345 + 70070


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"percent": "101", "reason": "x"}, "percent"),
        ({"percent": "-1", "reason": "x"}, "percent"),
        ({"percent": "abc", "reason": "x"}, "percent"),
        ({"percent": "NaN", "reason": "x"}, "percent"),
        ({"percent": "20", "reason": " "}, "reason"),
        ({"percent": "20", "reason": "x", "cohort": "2026-13-01"}, "cohort"),
    ],
)
def test_a_bad_estimate_names_its_field(programme_p, client_of, diane, form, field):
    programme_p()
    answer = client_of(diane).post(reverse("admin:loyalty_breakageestimate_add"), form)
    assert answer.status_code == 200
    assert field in answer.context["form"].errors
    assert not BreakageEstimate.objects.exists()


def test_estimates_are_made_by_whom_the_table_says(programme_p, client_of, alice, bruno, diane):
    programme_p()
    add, policy = (reverse(f"admin:loyalty_breakageestimate_{name}") for name in ("add", "policy"))
    for person in (alice, bruno):
        for address in (add, policy):
            assert client_of(person).post(address, {"percent": "2", "reason": "x"}).status_code == 403
    assert client_of(bruno).get(reverse("admin:loyalty_breakageestimate_csv")).status_code == 403
    assert client_of(alice).get(reverse("admin:loyalty_breakageestimate_csv")).status_code == 200
    with pytest.raises(BadEstimate):
        liability.estimate(Decimal(2), cohort=date(2026, 3, 2), reason="x", by=diane)


def test_the_page_counts_vouchers_that_are_out_there_beside_the_points(
    programme_p, lille_till, client_of, diane
):
    programme_p()
    page = client_of(diane)
    assert page.get(reverse(REPORT)).context["vouchers"] == []
    till.record_purchase(lille_till[0], ticket("R1", 30000))
    reward = Reward.objects.create(
        code="five", name="5 €", kind="money_off", points=100, worth_cents=500, valid_from=date(2026, 1, 1)
    )
    bought = vouchers.buy(Profile.objects.get(), reward, store=lille_till[0].store, key="c", at=MAY)
    told = page.get(reverse(REPORT))
    assert told.context["vouchers_points"] == 100
    assert told.context["vouchers_cents"] == 500
    assert told.context["total"].left == 200
    assert [name for name, _row in told.context["vouchers"]] == [str(lille_till[0].store)]
    assert "Vouchers out there" in told.content.decode()
    vouchers.use(bought.code, store=lille_till[0].store, at=MAY)
    assert page.get(reverse(REPORT)).context["vouchers"] == []


def test_the_curve_of_nothing_says_nothing():
    assert breakage.development([]) == []
    assert breakage.projected([], [], points=0, left=0, spent=0) is None
    assert breakage.projected([], [], points=10, left=10, spent=0) is None
    assert breakage.projected([0, 0], [Fraction(1)], points=10, left=10, spent=0) == 1
    assert breakage.deferred(0, 100, Fraction(0)) == 0
    assert breakage.recognised(10, 10, 0, 10, Fraction(1)) == 10
