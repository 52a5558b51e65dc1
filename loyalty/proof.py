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

from loyalty import actions, rules
from loyalty.members import Standing
from loyalty.models import (
    Account,
    Action,
    CaseTicket,
    Lot,
    LotUse,
    Membership,
    Posting,
    Tier,
    TierChange,
    Transaction,
    Voucher,
)
from loyalty.rulebook import Rulebook
from profiles.models import Purchase, PurchaseLine, RefundLine
from tenants.calendar import brand_zone
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
        for check in (
            _transactions_sum_to_zero, _chains, _balances, _lots, _vouchers, _tiers, _tickets, _actions,
        ):  # fmt: skip
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
    """A member's tier is what twelve months of points are worth, or one above it whose grace runs, and is the one told
    last. Points age by the hour and tiers are reviewed each night, so yesterday's answer is right too; thresholds are
    shown, 0 for no tier."""
    thresholds = dict(Tier.objects.values_list("code", "threshold"))
    now = timezone.now()
    yesterday = now - timedelta(days=1)
    # Of who was merged the membership stands as it was, to be found again if the two are separated.
    living = Membership.objects.filter(profile__merged_into=None)
    ids = list(living.order_by("pk").values_list("profile", flat=True))
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        standing = Standing(part, yesterday, thresholds)
        told = dict(
            TierChange.objects.filter(profile__in=part).order_by("pk").values_list("profile", "after")
        )
        rows = Membership.objects.filter(profile__in=part).values_list("profile", "tier__code", "grace_until")
        for profile_id, code, grace_until in rows:
            counted["tiers"] += 1
            tier, where = code or "", f"profile {profile_id}"
            right = [standing.tier(profile_id, at) for at in (now, yesterday)]
            above = thresholds.get(tier, 0) > min(thresholds.get(earned, 0) for earned in right)
            kept = (
                above and grace_until is not None and grace_until >= yesterday.astimezone(brand_zone()).date()
            )
            if tier not in right and not kept:
                expected = thresholds.get(right[0], 0)
                yield Difference("tier_is_what_was_earned", where, expected, thresholds.get(tier, 0))
            # Members of before such changes were told have none.
            if told.get(profile_id, tier) != tier:
                yield Difference(
                    "tier_is_the_one_told",
                    where,
                    thresholds.get(told[profile_id], 0),
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


def _actions(counted: Counter) -> Iterator[Difference]:
    """Each action earned what its rule says, or nothing once it was taken back; and nothing else was ever issued."""
    roots: Counter = Counter()
    kinds = [Transaction.Kind.EARN, Transaction.Kind.REFUND, Transaction.Kind.GIVE_BACK]
    issued = Posting.objects.filter(account__kind=Account.Kind.ISSUED, transaction__kind__in=kinds)
    rows = issued.filter(transaction__purchase=None).values_list(
        "points", "transaction", "transaction__reverses", "transaction__reverses__reverses"
    )
    for points, fact, undone, undone_before in rows.order_by().iterator():
        roots[undone_before or undone or fact] -= points
    told = Action.objects.filter(points__gt=0) | Action.objects.filter(transaction__isnull=False)
    if not roots and not told.exists():
        return
    book = Rulebook.load()
    for row in told.select_related("store").order_by("pk").iterator():
        counted["actions"] += 1
        rule = rules.rule_for_action(row.code, actions.as_rules_see_it(row), book.at(row.occurred_at))
        expected = 0
        if rule is not None and row.withdrawn_by_id is None:
            expected = rules.points_for_action(rule, row.counted_before, row.counted_in_campaign).points
        found = roots.pop(row.transaction_id, 0)
        if found != expected:
            yield Difference("action_earned_what_its_rule_says", f"action {row.pk}", expected, found)
    for fact, points in roots.items():
        yield Difference("points_have_a_ticket_or_an_action", f"transaction {fact}", 0, points)


def _vouchers(counted: Counter) -> Iterator[Difference]:
    """What stands in a store's account of vouchers is what its open vouchers were paid with."""
    stands = Posting.objects.filter(account__kind=Account.Kind.VOUCHERS).order_by()
    found = dict(stands.values_list("account__store").annotate(points=Sum("points")))
    issued = Voucher.objects.filter(state=Voucher.State.ISSUED, issue__isnull=False).order_by()
    expected = dict(issued.values_list("issue__store").annotate(points=Sum("points")))
    for store_id in sorted(found.keys() | expected.keys()):
        counted["voucher_accounts"] += 1
        if found.get(store_id, 0) != expected.get(store_id, 0):
            yield Difference(
                "vouchers_are_what_was_paid_for_them",
                f"store {store_id}",
                expected.get(store_id, 0),
                found.get(store_id, 0),
            )


def _tickets(counted: Counter) -> Iterator[Difference]:
    """Each ticket earned what its rules say, less what its refunds take: nothing more, nothing less, nothing twice."""
    book = Rulebook.load()
    stores = {store.pk: store for store in Store.objects.all()}
    last = 0
    while True:
        tickets = list(
            Purchase.objects.filter(pk__gt=last, profile__isnull=False)
            .order_by("pk").values_list("pk", "store", "bought_at", "payment", "till__channel")[:CHUNK]
        )  # fmt: skip
        if not tickets:
            return
        last = tickets[-1][0]
        ids = [told[0] for told in tickets]
        lines: dict[int, list[tuple[int, rules.Line]]] = defaultdict(list)
        rows = PurchaseLine.objects.filter(purchase__in=ids).order_by("purchase", "number")
        for purchase, pk, sku, category, cents in rows.values_list(
            "purchase", "pk", "sku", "category", "amount_cents"
        ):
            lines[purchase].append((pk, rules.Line(sku, category, cents)))
        earned: dict[int, tuple[str, int, frozenset[int]]] = {}
        earnings = Transaction.objects.filter(purchase__in=ids, kind=Transaction.Kind.EARN).order_by()
        for purchase, tier, before, belongs in earnings.values_list(
            "purchase", "tier", "earned_before", "segments"
        ):
            earned[purchase] = tier, before, frozenset(belongs)
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
        voided = set(
            CaseTicket.objects.filter(purchase__in=ids, voided_by__isnull=False).values_list(
                "purchase", flat=True
            )
        )
        for pk, store_id, bought_at, payment, channel in tickets:
            counted["tickets"] += 1
            store, rulebook = stores[store_id], book.at(bought_at)
            tier, before, segments = earned.get(pk, ("", 0, frozenset()))
            bought = [line for _line_id, line in lines[pk]]
            ticket = rules.Ticket(
                bought_at.astimezone(store.zone), store.code, tier, bought, before, segments, payment, channel
            )
            expected = rules.points_for(ticket, rulebook).points
            back = [returned[line_id] for line_id, _line in lines[pk]]
            if any(back):
                expected -= max(0, rules.points_to_take_back(ticket, back, rulebook, 0))
            if pk in voided:
                expected = 0
            if issued.get(pk, 0) != expected:
                yield Difference(
                    "ticket_earned_what_its_rules_say", f"purchase {pk}", expected, issued.get(pk, 0)
                )
