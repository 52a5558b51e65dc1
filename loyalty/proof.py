"""The proof of the ledger: everything recounted from the tickets, independently of the code that posted it.

Each check yields a `Difference` for whatever does not add up; a sound ledger yields none.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection
from django.db.models import Count, Sum
from django.utils import timezone

from loyalty import rules
from loyalty.members import Standing
from loyalty.models import Account, Lot, LotUse, Membership, Posting, Tier, Transaction
from loyalty.rulebook import Rulebook
from profiles.models import Purchase, PurchaseLine, RefundLine
from tenants.network.models import Store
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
        for check in (_transactions_sum_to_zero, _chains, _balances, _lots, _tiers, _tickets):
            found += check(counted)
    return Proof(found, counted)


def _transactions_sum_to_zero(counted: Counter) -> Iterator[Difference]:
    counted["transactions"] += Posting.objects.aggregate(n=Count("transaction", distinct=True))["n"]
    sums = Posting.objects.order_by().values_list("transaction").annotate(points=Sum("points"))
    for transaction_id, points in sums.exclude(points=0).iterator():
        yield Difference("transaction_sums_to_zero", f"transaction {transaction_id}", 0, points)


# What each link should be, from the posting before it: computed by the database, and not by the trigger's function.
LINKS = """
SELECT account_id, right_number, number, link_is_right FROM (
    SELECT p.account_id, p.number, row_number() OVER w AS right_number,
           p.hash = encode(sha256(convert_to(
               coalesce(lag(p.hash) OVER w, '') || '|' || p.account_id || '|' || row_number() OVER w || '|' || p.points
               || '|' || t.id || '|' || t.key || '|' || t.kind, 'UTF8')), 'hex') AS link_is_right
      FROM loyalty_posting p JOIN loyalty_account a ON a.id = p.account_id AND a.balance IS NOT NULL
      JOIN loyalty_transaction t ON t.id = p.transaction_id
    WINDOW w AS (PARTITION BY p.account_id ORDER BY p.number, p.id)) link
 WHERE number <> right_number OR NOT link_is_right ORDER BY 1, 2
"""
ENDS = """
SELECT a.id, a.entries, coalesce(e.number, 0) FROM loyalty_account a
  LEFT JOIN (SELECT DISTINCT ON (account_id) account_id, number, hash FROM loyalty_posting
              ORDER BY account_id, number DESC, id DESC) e ON e.account_id = a.id
 WHERE a.balance IS NOT NULL AND (a.entries, a.head) <> (coalesce(e.number, 0), coalesce(e.hash, ''))
 ORDER BY 1
"""


def _chains(counted: Counter) -> Iterator[Difference]:
    """Each posting of a member holds the hash of itself and of the one before; the account knows the newest."""
    counted["links"] += Posting.objects.filter(account__balance__isnull=False).count()
    with connection.cursor() as cursor:
        cursor.execute(LINKS)
        for account, expected, found, *_about in cursor.fetchall():
            yield Difference("chain_is_unbroken", f"account {account}", expected, found)
        cursor.execute(ENDS)
        for account, expected, found in cursor.fetchall():
            yield Difference("chain_is_whole", f"account {account}", expected, found)


def _tiers(counted: Counter) -> Iterator[Difference]:
    """A member's tier is what twelve months of points are worth. Points age by the hour and tiers are reviewed each
    night, so yesterday's answer is right too; thresholds are shown, 0 for no tier."""
    thresholds = dict(Tier.objects.values_list("code", "threshold"))
    now = timezone.now()
    # Of who was merged the membership stands as it was, to be found again if the two are separated.
    living = Membership.objects.filter(profile__merged_into=None)
    ids = list(living.order_by("pk").values_list("profile", flat=True))
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        standing = Standing(part, now - timedelta(days=1), thresholds)
        for profile_id, tier in Membership.objects.filter(profile__in=part).values_list(
            "profile", "tier__code"
        ):
            counted["tiers"] += 1
            right = [standing.tier(profile_id, at) for at in (now, now - timedelta(days=1))]
            if (tier or "") not in right:
                yield Difference(
                    "tier_is_what_was_earned",
                    f"profile {profile_id}",
                    thresholds.get(right[0], 0),
                    thresholds.get(tier, 0),
                )


def _balances(counted: Counter) -> Iterator[Difference]:
    """A balance is the sum of its postings, and (but for debts) of what is left of its lots."""
    posted = dict(
        Posting.objects.filter(account__balance__isnull=False)
        .order_by().values_list("account").annotate(points=Sum("points"))
    )  # fmt: skip
    left = dict(Lot.objects.order_by().values_list("account").annotate(points=Sum("remaining")))
    accounts = Account.objects.filter(balance__isnull=False).values_list("pk", "kind", "balance")
    for pk, kind, balance in accounts.iterator():
        counted["accounts"] += 1
        if balance != posted.get(pk, 0):
            yield Difference("balance_is_sum_of_postings", f"account {pk}", posted.get(pk, 0), balance)
        if kind != Account.Kind.DEBT and balance != left.get(pk, 0):
            yield Difference("balance_is_sum_of_lots", f"account {pk}", left.get(pk, 0), balance)


def _lots(counted: Counter) -> Iterator[Difference]:
    used = dict(LotUse.objects.order_by().values_list("lot").annotate(points=Sum("points")))
    for pk, points, remaining in Lot.objects.order_by().values_list("pk", "points", "remaining").iterator():
        counted["lots"] += 1
        expected = points - used.get(pk, 0)
        if remaining != expected:
            yield Difference("lot_is_points_less_uses", f"lot {pk}", expected, remaining)


def _tickets(counted: Counter) -> Iterator[Difference]:
    """Each ticket earned what its rules say, less what its refunds take: nothing more, nothing less, nothing twice."""
    book = Rulebook.load()
    stores = {store.pk: store for store in Store.objects.all()}
    last = 0
    while True:
        tickets = list(
            Purchase.objects.filter(pk__gt=last, profile__isnull=False)
            .order_by("pk").values_list("pk", "store", "bought_at")[:CHUNK]
        )  # fmt: skip
        if not tickets:
            return
        last = tickets[-1][0]
        ids = [pk for pk, _store, _at in tickets]
        lines: dict[int, list[tuple[int, rules.Line]]] = defaultdict(list)
        rows = PurchaseLine.objects.filter(purchase__in=ids).order_by("purchase", "number")
        for purchase, pk, sku, category, cents in rows.values_list(
            "purchase", "pk", "sku", "category", "amount_cents"
        ):
            lines[purchase].append((pk, rules.Line(sku, category, cents)))
        earned: dict[int, tuple[str, int]] = {}
        earnings = Transaction.objects.filter(purchase__in=ids, kind=Transaction.Kind.EARN).order_by()
        for purchase, tier, before in earnings.values_list("purchase", "tier", "earned_before"):
            earned[purchase] = tier, before
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
        for pk, store_id, bought_at in tickets:
            counted["tickets"] += 1
            store, rulebook = stores[store_id], book.at(bought_at)
            tier, before = earned.get(pk, ("", 0))
            bought = [line for _line_id, line in lines[pk]]
            ticket = rules.Ticket(bought_at.astimezone(store.zone), store.code, tier, bought, before)
            expected = rules.points_for(ticket, rulebook).points
            back = [returned[line_id] for line_id, _line in lines[pk]]
            if any(back):
                expected -= rules.points_to_take_back(ticket, back, rulebook, 0)
            if issued.get(pk, 0) != expected:
                yield Difference(
                    "ticket_earned_what_its_rules_say", f"purchase {pk}", expected, issued.get(pk, 0)
                )
