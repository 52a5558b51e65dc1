"""The numbered statements about what stores owe each other, and what the points out there will cost."""

import csv
import io
from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.db import DatabaseError, connection, transaction

from loyalty import ledger, settlement, tasks, till
from loyalty.models import FundingKey, SettlementLine, SettlementStatement
from profiles.models import Profile
from tests.loyalty.conftest import AT, CARD, LONG_AGO, ticket

NOVEMBER, DECEMBER = date(2026, 11, 1), date(2026, 12, 1)
ANOTHER_LINE = "INSERT INTO loyalty_settlementline (statement_id, transaction_id, lot_id, store_id, cents)"
ELSEWHERE = "SELECT statement_id, transaction_id - 1, lot_id, store_id"
LINES = "FROM loyalty_settlementline LIMIT 1"
IN_DECEMBER, IN_JANUARY = datetime(2026, 12, 3, tzinfo=UTC), datetime(2027, 1, 3, tzinfo=UTC)


@pytest.fixture
def stores(lille_till, lyon_till, programme_p) -> dict:
    """Lots of 60 earned at Lille and 40 at Paris, 100 points spent at Lyon; the key is 60/30/10."""
    programme_p()
    FundingKey.objects.create(effective_from=LONG_AGO, earner=60, redeemer=30, head_office=10)
    lille, lyon = lille_till[0], lyon_till[0]
    paris = type(lille.store).objects.create(
        code="ACM-003", name="Paris", region=lille.store.region, city="Paris", postcode="75001"
    )
    paris_till = type(lille)(store=paris, code="T1")
    paris_till.issue_key()
    till.record_purchase(lille, ticket("R1", 6000, at=AT - timedelta(days=9)))
    till.record_purchase(paris_till, ticket("R2", 4000))
    return {"A": lille, "B": lyon, "C": paris_till}


def spend(machine, points=100, name="P1") -> int:
    till.redeem(machine, CARD, points, name, AT)
    return ledger.Transaction.objects.get(key=f"redeem:{machine.pk}:{name}").pk


def sql(statement: str) -> list:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_a_redemption_is_paid_by_the_key(stores):
    """Statement 57: 5 € spent at B from lots of A (60) and C (40): A −1.80, C −1.20, head office −0.50, B +3.50."""
    spend(stores["B"])
    owed = settlement.nets(settlement.unsettled(IN_JANUARY))
    at = {name: machine.store_id for name, machine in stores.items()}
    assert owed == {at["A"]: -180, at["C"]: -120, None: -50, at["B"]: 350}
    assert sum(owed.values()) == 0


def test_a_closed_statement_never_changes(stores):
    """Statement 59: what comes back later stands in the next statement, and names its redemption."""
    spent = spend(stores["B"])
    with pytest.raises(settlement.NotClosable):
        settlement.close(NOVEMBER)
    with time_machine.travel(IN_DECEMBER, tick=False):
        november = settlement.close(NOVEMBER)
    before = sql("SELECT * FROM loyalty_settlementline ORDER BY id")
    assert len(before) == november.line_count == 6
    ledger.give_back(spent, 30, key="b1", at=AT)
    ledger.give_back(spent, 70, key="b2", at=AT)
    with time_machine.travel(IN_JANUARY, tick=False):
        with pytest.raises(settlement.NotClosable):
            settlement.close(NOVEMBER)
        december = settlement.close(DECEMBER)
    assert sql("SELECT * FROM loyalty_settlementline ORDER BY id")[: len(before)] == before
    assert settlement.nets(SettlementLine.objects.all()) == dict.fromkeys(
        settlement.nets(SettlementLine.objects.all()), 0
    )
    returned = december.lines.values_list("transaction__reverses", flat=True).distinct()
    assert list(returned) == [spent]
    out = io.StringIO()
    assert settlement.write_csv(december, out) == december.line_count
    rows = list(csv.DictReader(io.StringIO(out.getvalue()), delimiter=";"))
    assert sum(int(row["cents"]) for row in rows) == 0
    assert {row["store"] for row in rows} == {"ACM-001", "ACM-002", "ACM-003", ""}


def test_a_month_is_closed_by_itself_and_once(stores):
    spend(stores["B"])
    with time_machine.travel(IN_DECEMBER, tick=False):
        assert tasks.close_settlement() == 6
        assert tasks.close_settlement() == 0
    assert SettlementStatement.objects.get().month == NOVEMBER


@pytest.mark.parametrize(
    ("statement", "promise"),
    [
        ("UPDATE loyalty_settlementline SET cents = 0", "settlement_never_changes"),
        ("DELETE FROM loyalty_settlementline", "settlement_never_changes"),
        ("UPDATE loyalty_settlementstatement SET line_count = 7", "settlement_never_changes"),
        ("UPDATE loyalty_fundingkey SET earner = 0", "settlement_never_changes"),
        (f"{ANOTHER_LINE} SELECT statement_id, transaction_id, lot_id, store_id, 5 {LINES}", "settled_once"),
        (f"{ANOTHER_LINE} {ELSEWHERE}, 5 {LINES}", "settlement_sums_to_zero"),
        (f"{ANOTHER_LINE} {ELSEWHERE}, 0 {LINES}", "settlement_never_changes"),
        (
            "INSERT INTO loyalty_fundingkey (effective_from, earner, redeemer, head_office) VALUES (now(), 60, 30, 11)",
            "funding_key_sums_to_100",
        ),
    ],
)  # fmt: skip
def test_the_database_keeps_statements(stores, statement, promise):
    spend(stores["B"])
    with time_machine.travel(IN_DECEMBER, tick=False):
        settlement.close(NOVEMBER)
    with pytest.raises(DatabaseError) as refused, transaction.atomic():
        sql(statement)
    assert refused.value.__cause__.diag.constraint_name == promise
    assert SettlementStatement.objects.count() == 1


def test_the_liability_is_what_members_hold(stores):
    """Counted again in plain SQL: what is left of each store's lots, at 5 € for 100 points."""
    member = Profile.objects.get()
    ledger.redeem(member.pk, 30, store_id=stores["B"].store_id, key="some", at=AT)
    found = settlement.liability()
    recount = sql(
        "SELECT l.store_id, sum(l.remaining)::bigint, sum(l.remaining)::bigint * 5 FROM loyalty_lot l"
        " JOIN loyalty_account a ON a.id = l.account_id WHERE a.profile_id IS NOT NULL AND l.remaining > 0"
        " GROUP BY 1 ORDER BY 1"
    )
    assert [(row.store_id, row.points, row.cents) for row in found] == recount
    assert sum(row.cents for row in found) == 350
