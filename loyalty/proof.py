"""The proof of the ledger: everything recounted from the tickets, independently of the code that posted it.

Each check yields a `Difference` for whatever does not add up; a sound ledger yields none.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from django.db.models import Sum
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
from loyalty.till import as_recorded
from profiles.models import Purchase, PurchaseLine, RefundLine
from tenants.calendar import brand_zone
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
    sums = Posting.objects.order_by().values_list("transaction").annotate(points=Sum("points"))
    for transaction_id, points in sums.iterator():
        counted["transactions"] += 1
        if points:
            yield Difference("transaction_sums_to_zero", f"transaction {transaction_id}", 0, points)


def _chains(counted: Counter) -> Iterator[Difference]:
    """Each posting of a member holds the hash of itself and of the one before; the account knows the newest."""
    ends: dict[int, tuple[int, str]] = {}
    rows = (
        Posting.objects.filter(account__balance__isnull=False)
        .order_by("account", "number", "pk")
        .values_list(
            "account", "number", "points", "hash", "transaction", "transaction__key", "transaction__kind"
        )
    )
    for account, number, points, link, fact, key, kind in rows.iterator():
        counted["links"] += 1
        before, head = ends.get(account, (0, ""))
        told = "|".join(map(str, (head, account, before + 1, points, fact, key, kind)))
        if number != before + 1 or link != sha256(told.encode()).hexdigest():
            yield Difference("chain_is_unbroken", f"account {account}", before + 1, number)
        ends[account] = (number, link)
    for account, entries, head in Account.objects.filter(balance__isnull=False).values_list(
        "pk", "entries", "head"
    ):
        number, link = ends.get(account, (0, ""))
        if (entries, head) != (number, link):
            yield Difference("chain_is_whole", f"account {account}", entries, number)


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
        voided = set(
            CaseTicket.objects.filter(purchase__in=ids, voided_by__isnull=False).values_list(
                "purchase", flat=True
            )
        )
        for ticket in tickets:
            counted["tickets"] += 1
            rulebook = book.at(ticket.bought_at)
            earning = earned.get(ticket.pk)
            told = as_recorded(
                ticket,
                lines[ticket.pk],
                earning.tier if earning else "",
                earning.earned_before if earning else 0,
            )
            expected = rules.points_for(told, rulebook).points
            back = [returned[line.pk] for line in lines[ticket.pk]]
            if any(back):
                expected -= rules.points_to_take_back(told, back, rulebook, 0)
            if ticket.pk in voided:
                expected = 0
            if issued.get(ticket.pk, 0) != expected:
                yield Difference(
                    "ticket_earned_what_its_rules_say",
                    f"purchase {ticket.pk}",
                    expected,
                    issued.get(ticket.pk, 0),
                )
