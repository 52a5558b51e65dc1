"""The proof of the ledger: everything recounted from the tickets, independently of the code that posted it.

Each check yields a `Difference` for whatever does not add up; a sound ledger yields none.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Sum

from loyalty import rules
from loyalty.models import Account, Lot, LotUse, Posting, Transaction
from loyalty.rulebook import Rulebook
from loyalty.till import as_recorded
from profiles.models import Purchase, PurchaseLine, RefundLine
from tenants.scoping import whole_network

CHUNK = 2000


@dataclass(frozen=True)
class Difference:
    """What was expected and what stands there instead. `where` names the row."""

    check: str
    where: str
    expected: int
    found: int

    def __str__(self) -> str:
        return f"{self.check}: {self.where}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True)
class Proof:
    """`counted`: how many rows each check looked at."""

    differences: list[Difference]
    counted: Counter


def prove() -> Proof:
    """Recount the brand's whole ledger."""
    counted: Counter = Counter()
    with whole_network():
        found: list[Difference] = []
        for check in (_transactions_sum_to_zero, _balances, _lots, _tickets):
            found += check(counted)
    return Proof(found, counted)


def _transactions_sum_to_zero(counted: Counter) -> Iterator[Difference]:
    sums = Posting.objects.order_by().values_list("transaction").annotate(points=Sum("points"))
    for transaction_id, points in sums.iterator():
        counted["transactions"] += 1
        if points:
            yield Difference("transaction_sums_to_zero", f"transaction {transaction_id}", 0, points)


def _balances(counted: Counter) -> Iterator[Difference]:
    """A balance is the sum of its postings, and (but for debts) of what is left of its lots."""
    posted = dict(Posting.objects.order_by().values_list("account").annotate(points=Sum("points")))
    left = dict(Lot.objects.order_by().values_list("account").annotate(points=Sum("remaining")))
    for account in Account.objects.filter(balance__isnull=False).iterator():
        counted["accounts"] += 1
        if account.balance != posted.get(account.pk, 0):
            yield Difference(
                "balance_is_sum_of_postings",
                f"account {account.pk}",
                posted.get(account.pk, 0),
                account.balance,
            )
        if account.kind != Account.Kind.DEBT and account.balance != left.get(account.pk, 0):
            yield Difference(
                "balance_is_sum_of_lots", f"account {account.pk}", left.get(account.pk, 0), account.balance
            )


def _lots(counted: Counter) -> Iterator[Difference]:
    used = dict(LotUse.objects.order_by().values_list("lot").annotate(points=Sum("points")))
    for lot in Lot.objects.iterator():
        counted["lots"] += 1
        expected = lot.points - used.get(lot.pk, 0)
        if lot.remaining != expected:
            yield Difference("lot_is_points_less_uses", f"lot {lot.pk}", expected, lot.remaining)


def _tickets(counted: Counter) -> Iterator[Difference]:
    """Each ticket earned what its rules say, less what its refunds take: nothing more, nothing less, nothing twice."""
    book = Rulebook.load()
    last = 0
    while True:
        tickets = list(
            Purchase.objects.filter(pk__gt=last, profile__isnull=False)
            .select_related("store")
            .order_by("pk")[:CHUNK]
        )
        if not tickets:
            return
        last = tickets[-1].pk
        ids = [ticket.pk for ticket in tickets]
        lines: dict[int, list[PurchaseLine]] = defaultdict(list)
        for line in PurchaseLine.objects.filter(purchase__in=ids).order_by("purchase", "number"):
            lines[line.purchase_id].append(line)
        earned = {
            t.purchase_id: t for t in Transaction.objects.filter(purchase__in=ids, kind=Transaction.Kind.EARN)
        }
        issued = dict(
            Posting.objects.filter(
                transaction__purchase__in=ids,
                transaction__kind__in=[Transaction.Kind.EARN, Transaction.Kind.REFUND],
                account__kind=Account.Kind.ISSUED,
            )
            .order_by()
            .values_list("transaction__purchase")
            .annotate(points=-Sum("points"))
        )
        returned: dict[int, int] = defaultdict(int)
        refunds = RefundLine.objects.filter(line__purchase__in=ids).values_list("line", "amount_cents")
        for line_id, cents in refunds:
            returned[line_id] += cents
        for ticket in tickets:
            counted["tickets"] += 1
            rulebook = book.at(ticket.bought_at)
            tier = earned[ticket.pk].tier if ticket.pk in earned else ""
            told = as_recorded(ticket, lines[ticket.pk], tier)
            expected = rules.points_for(told, rulebook).points
            back = [returned[line.pk] for line in lines[ticket.pk]]
            if any(back):
                expected -= rules.points_to_take_back(told, back, rulebook, 0)
            if issued.get(ticket.pk, 0) != expected:
                yield Difference(
                    "ticket_earned_what_its_rules_say",
                    f"purchase {ticket.pk}",
                    expected,
                    issued.get(ticket.pk, 0),
                )
