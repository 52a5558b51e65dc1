"""What a settlement says, for people to read: each party's net, who owes whom, and the lots behind it; as CSV and PDF.

A settlement is a closed statement, or the open period: what was posted since and is closed with its month. Parties are
store ids, None is head office.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import TextIO

from django.db.models import Count, F, Q, QuerySet, Sum
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from loyalty import settlement
from loyalty.models import Lot, LotUse, SettlementLine, SettlementStatement, Transaction
from tenants.network.models import Store
from tenants.scoping import whole_network

HEAD_OFFICE = None
Party = int | None
Row = tuple[int, int, Party, int]


@dataclass(frozen=True)
class Entry:
    """One line of a settlement: cents that `party` is owed (or owes, below zero) for one lot of one redemption.

    `redeemer` is the store that gave the money off, the other side of every line that is not its own; `issuer` issued
    the lot. `points` are those spent of it, below zero where they were given back; `reverses_id` is the redemption
    then taken back.
    """

    transaction_id: int
    happened_at: datetime
    lot_id: int
    issuer: int
    points: int
    party: Party
    redeemer: Party
    cents: int
    reverses_id: int | None = None

    @property
    def is_redeemers(self) -> bool:
        return self.party == self.redeemer


@dataclass(frozen=True)
class Debt:
    """Cents that one party owes another, both directions taken together; above zero."""

    debtor: Party
    creditor: Party
    cents: int
    lines: int


@dataclass(frozen=True)
class Net:
    """A party's part: what it is owed, what it owes (below zero), and the sum of both."""

    party: Party
    owed: int
    owes: int

    @property
    def cents(self) -> int:
        return self.owed + self.owes


class Settlement:
    """A closed statement as the current scope sees it (all of it, or a store's own lines), or the open period (`None`),
    which changes with every redemption until its month is closed.

    `rows` are (transaction, lot, party, cents) and may be sliced; `entries` tells more of some of them.
    """

    def __init__(self, statement: SettlementStatement | None = None):
        self.statement = statement
        self.rows: Sequence[Row] | QuerySet
        if statement:
            lines = statement.lines.order_by("transaction", "lot", F("store").asc(nulls_first=True))
            self.rows = lines.values_list("transaction", "lot", "store", "cents")
        else:
            shares = settlement.unsettled(timezone.now())
            self.rows = [(s.transaction_id, s.lot_id, s.store_id, s.cents) for s in shares]

    @property
    def name(self) -> str:
        return str(self.statement) if self.statement else "open"

    @property
    def month(self) -> str:
        """The month in words, or that it is open."""
        return date_format(self.statement.month, "F Y") if self.statement else _("open period")

    def count(self) -> int:
        return self.rows.count() if isinstance(self.rows, QuerySet) else len(self.rows)

    def nets(self) -> list[Net]:
        """Each party's part, head office first, then the stores in the order of their ids; together they are zero."""
        parts: dict[Party, list[int]] = defaultdict(lambda: [0, 0])
        for party, _redeemer, owed, owes, _lines in self._sums():
            parts[party][0] += owed
            parts[party][1] += owes
        return [Net(party, *parts[party]) for party in sorted(parts, key=lambda party: party or 0)]

    def debts(self) -> list[Debt]:
        """Who owes whom: the other side of each line is the store that gave the money off. The largest debt first."""
        sums: dict[tuple[Party, Party], int] = defaultdict(int)
        lines: dict[tuple[Party, Party], int] = defaultdict(int)
        for party, redeemer, owed, owes, count in self._sums():
            if party == redeemer:
                continue
            pair = _ordered(party, redeemer)
            lines[pair] += count
            # Counted as what the first of the pair owes the second.
            sums[pair] += -(owed + owes) if pair[0] == party else owed + owes
        found = [
            Debt(*(pair if cents > 0 else pair[::-1]), abs(cents), lines[pair])
            for pair, cents in sums.items()
            if cents
        ]
        return sorted(found, key=lambda debt: (-debt.cents, debt.debtor or 0, debt.creditor or 0))

    def given_and_paid(self) -> tuple[int, int]:
        """For a store: cents owed to it for money it gave off, and what it owes (below zero) for points of its own that
        were spent elsewhere."""
        sums = self._sums()
        given = sum(owed + owes for party, redeemer, owed, owes, _lines in sums if party == redeemer)
        return given, sum(owed + owes for _party, _redeemer, owed, owes, _lines in sums) - given

    def between(self, one: Party, other: Party) -> "Sequence[Row] | QuerySet":
        """The rows of what two parties owe each other."""
        if isinstance(self.rows, QuerySet):
            return self.rows.filter(_against(one, other) | _against(other, one))
        redeemers = _redeemers(self.rows)
        pair = _ordered(one, other)
        return [
            row
            for row in self.rows
            if row[2] != redeemers[row[0]] and _ordered(row[2], redeemers[row[0]]) == pair
        ]

    def _sums(self) -> list[tuple[Party, Party, int, int, int]]:
        """(party, redeemer, owed, owes, lines), summed."""
        if isinstance(self.rows, QuerySet):
            sums = self.statement.lines.order_by().values_list("store", "transaction__store")
            return list(
                sums.annotate(
                    owed=Sum("cents", filter=Q(cents__gt=0), default=0),
                    owes=Sum("cents", filter=Q(cents__lt=0), default=0),
                    lines=Count("pk"),
                )
            )
        redeemers = _redeemers(self.rows)
        return [
            (party, redeemers[fact], max(cents, 0), min(cents, 0), 1)
            for fact, _lot, party, cents in self.rows
        ]


def _against(party: Party, redeemer: Party) -> Q:
    if redeemer is HEAD_OFFICE:  # gives no money off
        return Q(pk__in=[])
    return (
        Q(store=party, transaction__store=redeemer) if party else Q(store=None, transaction__store=redeemer)
    )


def _redeemers(rows: Iterable[Row]) -> dict[int, int]:
    with whole_network():
        facts = Transaction.objects.filter(pk__in={row[0] for row in rows})
        return dict(facts.values_list("pk", "store"))


def entries(rows: Iterable[Row]) -> list[Entry]:
    """The rows with what they are about; of a network of any size only as many as are shown."""
    told = list(rows)
    with whole_network():
        facts = {fact.pk: fact for fact in Transaction.objects.filter(pk__in={row[0] for row in told})}
        # A reservation that was spent used its lots when it was made.
        sources = {
            fact.pk: fact.reverses_id
            if fact.kind == Transaction.Kind.REDEEM and fact.reverses_id
            else fact.pk
            for fact in facts.values()
        }
        used = LotUse.objects.filter(transaction__in=set(sources.values())).order_by()
        uses = {
            (source, lot): points
            for source, lot, points in used.values_list("transaction", "lot").annotate(points=Sum("points"))
        }
        issuers = dict(Lot.objects.filter(pk__in={row[1] for row in told}).values_list("pk", "store"))
    return [
        Entry(
            fact_id, facts[fact_id].occurred_at, lot, issuers[lot], uses.get((sources[fact_id], lot), 0), party,
            facts[fact_id].store_id, cents,
            facts[fact_id].reverses_id if facts[fact_id].kind == Transaction.Kind.GIVE_BACK else None,
        )
        for fact_id, lot, party, cents in told
    ]  # fmt: skip


def nets_of_statements() -> dict[int, tuple[int, int, int]]:
    """By statement: how many parties stand in it, the cents that change hands, and the sum over all, which is zero."""
    found: dict[int, list[int]] = defaultdict(list)
    sums = SettlementLine.objects.order_by().values_list("statement", "store").annotate(sum=Sum("cents"))
    for statement_id, _party, cents in sums:
        found[statement_id].append(cents)
    return {
        pk: (len(sums), sum(cents for cents in sums if cents > 0), sum(sums)) for pk, sums in found.items()
    }


def _ordered(one: Party, other: Party) -> tuple[Party, Party]:
    return (one, other) if (one or 0) <= (other or 0) else (other, one)


def names() -> dict[Party, str]:
    """What the parties are called, as far as the current scope may know them."""
    return {HEAD_OFFICE: _("Head office"), **{store.pk: str(store) for store in Store.objects.all()}}


@dataclass(frozen=True)
class OwnMonth:
    """A store's part of a statement, in three sums that make its net."""

    statement: SettlementStatement
    lines: int
    given: int
    paid: int

    @property
    def cents(self) -> int:
        return self.given + self.paid


def own_months(store: Store) -> list[OwnMonth]:
    """The store's statements, the newest first: money it gave off (`given`) and points of its own that were spent
    elsewhere (`paid`, below zero)."""
    mine = SettlementLine.objects.filter(store=store).order_by().values("statement")
    rows = {
        row["statement"]: row
        for row in mine.annotate(
            lines=Count("pk"),
            given=Sum("cents", filter=Q(transaction__store=store), default=0),
            paid=Sum("cents", filter=~Q(transaction__store=store), default=0),
        )
    }
    nothing = {"lines": 0, "given": 0, "paid": 0}
    return [
        OwnMonth(statement, row["lines"], row["given"], row["paid"])
        for statement in SettlementStatement.objects.all()
        for row in [rows.get(statement.pk, nothing)]
    ]


def closable(today: date) -> date | None:
    """The month that is over and may be closed now, with all that came before; None where nothing waits."""
    last = date(today.year - (today.month == 1), (today.month - 2) % 12 + 1, 1)
    newest = SettlementStatement.objects.first()
    return None if newest and newest.month >= last else last


COLUMNS = (
    "month", "happened", "transaction", "reverses", "lot", "points", "party", "name", "other_side", "cents",
)  # fmt: skip
AT_ONCE = 2000


def write_csv(told: Settlement, out: TextIO) -> int:
    """Line by line, for the books of all or of the store that the scope is; returns how many lines.

    `party` is a store's code, HQ for head office; `other_side` is empty where the scope does not know that store.
    """
    stores = {store.pk: store for store in Store.objects.all()}
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow(COLUMNS)
    rows = told.rows.iterator(chunk_size=AT_ONCE) if isinstance(told.rows, QuerySet) else iter(told.rows)
    count = 0
    while some := list(islice(rows, AT_ONCE)):
        count += len(some)
        for entry in entries(some):
            party, redeemer = stores.get(entry.party or 0), stores.get(entry.redeemer or 0)
            writer.writerow(
                [
                    told.name, entry.happened_at.isoformat(), entry.transaction_id, entry.reverses_id or "",
                    entry.lot_id, entry.points, party.code if party else "HQ",
                    _safe(party.name if party else _("Head office")), redeemer.code if redeemer else "", entry.cents,
                ]
            )  # fmt: skip
    return count


def _safe(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
