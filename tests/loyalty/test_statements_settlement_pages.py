"""The numbered statements about settlement, driven through the pages of head office and of a store."""

import csv
import io
import re

import pytest
import time_machine
from django.urls import reverse
from django.utils import translation

from loyalty import ledger, owed, owed_pdf
from loyalty.models import SettlementStatement
from tenants.network.models import AuditEvent, Staff
from tenants.scoping import Scope, scoped_to
from tests.loyalty.conftest import AT
from tests.loyalty.test_statements_settlement import (
    IN_DECEMBER,
    IN_JANUARY,
    spend,
    stores,  # noqa: F401 - a fixture
)

MONTHS = "admin:loyalty_settlementstatement_changelist"


def amounts(page: str) -> set[str]:
    return set(re.findall(r"−?€[\d,.]+", page))


@pytest.fixture
def desk(client_of, diane):
    """The brand's administrator in December, who closed November with its one redemption."""
    return client_of(diane)


@pytest.fixture
def november(stores, desk) -> SettlementStatement:  # noqa: F811
    spend(stores["B"])
    with time_machine.travel(IN_DECEMBER, tick=False):
        desk.post(reverse("admin:loyalty_settlementstatement_close"), {"month": "2026-11-01"})
    return SettlementStatement.objects.get()


def test_the_open_period_says_who_owes_whom(stores, desk):  # noqa: F811
    """Statement 57: A −1.80, C −1.20, head office −0.50, B +3.50, together 0; and the lots behind each."""
    spend(stores["B"])
    told = owed.Settlement()
    at = {name: machine.store_id for name, machine in stores.items()}
    assert {net.party: net.cents for net in told.nets()} == {
        at["A"]: -180,
        at["C"]: -120,
        None: -50,
        at["B"]: 350,
    }
    assert [(debt.debtor, debt.creditor, debt.cents) for debt in told.debts()] == [
        (at["A"], at["B"], 180), (at["C"], at["B"], 120), (None, at["B"], 50),
    ]  # fmt: skip
    page = desk.get(reverse("admin:loyalty_settlementstatement_open")).text
    assert {"−€1.80", "−€1.20", "−€0.50", "€3.50", "€0.00"} <= amounts(page)
    lots = desk.get(reverse("admin:loyalty_settlementstatement_open") + f"?between={at['A']}-{at['B']}").text
    assert "−€1.80" in lots.split('id="lines"')[1]
    assert "−€1.20" not in lots.split('id="lines"')[1]


def test_a_closed_month_is_shown_as_it_was(november, stores, desk, client_of, diane):  # noqa: F811
    """Statement 59: what is given back later leaves the page, the CSV and the PDF of the month as they were."""
    addresses = [
        reverse("admin:loyalty_settlementstatement_change", args=[november.pk]),
        reverse("admin:loyalty_settlementstatement_csv", args=[november.pk]),
        reverse("admin:loyalty_settlementstatement_pdf", args=[november.pk]),
    ]
    before = [_told(desk.get(address).content) for address in addresses]
    spent = november.lines.first().transaction_id
    ledger.give_back(spent, 100, key="b1", at=AT)
    assert [_told(desk.get(address).content) for address in addresses] == before
    with time_machine.travel(IN_DECEMBER, tick=False):
        again = desk.post(
            reverse("admin:loyalty_settlementstatement_close"), {"month": "2026-11-01"}, follow=True
        )
    assert "Not closed" in again.text
    with time_machine.travel(IN_JANUARY, tick=False):
        desk = client_of(diane)
        shown = desk.get(reverse(MONTHS)).text
        assert "Close December 2026" in shown
        desk.post(reverse("admin:loyalty_settlementstatement_close"), {"month": "2026-12-01"})
    december = SettlementStatement.objects.first()
    assert december.month.month == 12
    lille, lyon = stores["A"].store_id, stores["B"].store_id
    address = reverse("admin:loyalty_settlementstatement_change", args=[december.pk])
    page = desk.get(f"{address}?between={lille}-{lyon}").text
    assert "of redemption" in page
    assert reverse("admin:loyalty_transaction_change", args=[spent]) in page
    assert {net.party: net.cents for net in owed.Settlement(december).nets()} == {
        net.party: -net.cents for net in owed.Settlement(november).nets()
    }
    assert [total for _parties, _moved, total in owed.nets_of_statements().values()] == [0, 0]


def _told(content: bytes) -> bytes:
    """What a page says, without the token of its forms; a file as it is."""
    return re.search(rb"<section.*</section>|^(?!.*<section).*", content, re.DOTALL)[0]


def test_the_csv_sums_to_nothing_and_names_every_lot(november, desk):
    answer = desk.get(reverse("admin:loyalty_settlementstatement_csv", args=[november.pk]))
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")), delimiter=";"))
    assert len(rows) == november.line_count == 6
    assert sum(int(row["cents"]) for row in rows) == 0
    assert {(row["party"], row["points"], row["cents"]) for row in rows} == {
        ("ACM-001", "60", "-180"), ("HQ", "60", "-30"), ("ACM-002", "60", "210"),
        ("ACM-003", "40", "-120"), ("HQ", "40", "-20"), ("ACM-002", "40", "140"),
    }  # fmt: skip
    assert AuditEvent.objects.filter(verb="downloaded", object_type="settlementstatement").count() == 1


def test_a_store_sees_its_own_statement_alone(november, stores, client_of, bruno, chloe):  # noqa: F811
    lille = client_of(bruno)
    page = lille.get(reverse("store:statement", args=["ACM-001", november.pk]))
    assert amounts(page.text) == {"−€1.80", "€0.00"}
    listed = lille.get(reverse("store:statements", args=["ACM-001"]))
    assert amounts(listed.text) == {"−€1.80", "€0.00"}
    file = lille.get(reverse("store:statement_csv", args=["ACM-001", november.pk])).content.decode(
        "utf-8-sig"
    )
    rows = list(csv.DictReader(io.StringIO(file), delimiter=";"))
    assert [(row["party"], row["other_side"], row["cents"]) for row in rows] == [("ACM-001", "", "-180")]
    for answer in (page.text, listed.text, file):
        assert "Lyon" not in answer
        assert "Paris" not in answer
    for name in ("statements", "statement", "statement_csv", "statement_pdf"):
        keys = ["ACM-002"] if name == "statements" else ["ACM-002", november.pk]
        assert lille.get(reverse(f"store:{name}", args=keys)).status_code == 404
    assert lille.get(reverse(MONTHS)).status_code == 403
    lyon = client_of(chloe).get(reverse("store:statement", args=["ACM-002", november.pk]))
    assert {"€3.50", "€2.10", "€1.40"} <= amounts(lyon.text)


def test_months_are_closed_by_whom_the_table_says(stores, client_of, alice, diane):  # noqa: F811
    spend(stores["B"])
    with time_machine.travel(IN_DECEMBER, tick=False):
        close = reverse("admin:loyalty_settlementstatement_close")
        assert client_of(alice).post(close, {"month": "2026-11-01"}).status_code == 403
        assert "Close November" not in client_of(alice).get(reverse(MONTHS)).text
        assert client_of(diane).get(close).status_code == 403
        assert client_of(diane).post(close, {"month": "2026-10-01"}).status_code == 302
    assert not SettlementStatement.objects.exists()


def test_the_paper_speaks_french(november, stores, client_of, bruno):  # noqa: F811
    """Letters of French, the euro and the minus are in the file's text; the same statement is the same file."""
    Staff.objects.filter(pk=bruno.pk).update(language="fr")
    answer = client_of(bruno).get(reverse("store:statement_pdf", args=["ACM-001", november.pk]))
    assert answer["Content-Type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF-")
    assert answer["Content-Disposition"] == 'attachment; filename="settlement-2026-11-ACM-001.pdf"'
    with translation.override("fr"), scoped_to(Scope.of([stores["A"].store_id])):
        told = owed.Settlement(november)
        assert owed_pdf.write(told, stores["A"].store) == owed_pdf.write(told, stores["A"].store)
