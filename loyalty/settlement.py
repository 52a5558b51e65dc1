"""Who owes whom between stores, lot by lot; and what the points that are still out there will cost.

The store that gave money off is owed it. Who pays is said by the funding key of that time: so many percent the store
that issued the points, so many the store itself, the rest head office. Everything is whole cents by largest remainder,
so each redemption, each statement and each store pair sums to zero. A redemption taken back is the same with the sign
turned, in the period in which it was posted. A voucher that was given, not bought with points, is paid by whoever gave
it where points would be paid by who issued them; a reward may bring its own key. Of a store that left, another one or
head office pays since then.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TextIO

from django.db import transaction
from django.db.models import Exists, OuterRef, Sum
from django.utils import timezone

from loyalty import rules
from loyalty.models import (
    Account,
    FundingKey,
    Lot,
    LotUse,
    Programme,
    SettlementLine,
    SettlementStatement,
    StoreExit,
    Transaction,
    Voucher,
)
from tenants.calendar import brand_zone
from tenants.network.models import Staff, audit
from tenants.scoping import whole_network

Kind = Transaction.Kind
# Where no key was ever set: who issued the points pays for them.
EARNER_PAYS = FundingKey(earner=100, redeemer=0, head_office=0)
# Points of an action may say themselves who pays for them, whatever key is in force.
OWN_KEYS = {
    rules.BY_STORE: EARNER_PAYS,
    rules.BY_HEAD_OFFICE: FundingKey(earner=0, redeemer=0, head_office=100),
}


class NotClosable(Exception):
    """The month is not over, was closed before, or a month before it is still open."""


@dataclass(frozen=True)
class Share:
    """Cents that a party owes (below zero) or is owed for one lot of a redemption; no store: head office; no lot: a
    voucher that was given."""

    transaction_id: int
    lot_id: int | None
    store_id: int | None
    cents: int


# Lot, who pays for it (none: head office), points.
Used = tuple[int | None, int | None, int]


def shares_of(
    cents: int, used: list[Used], redeemer_id: int, key: FundingKey,
    own_keys: Mapping[int | None, FundingKey] | None = None,
) -> list[Share]:  # fmt: skip
    """The shares of one redemption, which sum to zero. `own_keys`: of lots to which another key applies."""
    found = []
    brand_key, own_keys = key, own_keys or {}
    worth = rules.shared_out(cents, [points for _lot, _store, points in used])
    for (lot_id, earner_id, _points), value in zip(used, worth, strict=True):
        key = own_keys.get(lot_id, brand_key)
        paid = rules.shared_out(value, [key.earner, key.redeemer, key.head_office])
        owed: dict[int | None, int] = defaultdict(int)
        for party, part in zip((earner_id, redeemer_id, None), paid, strict=True):
            owed[party] -= part
        owed[redeemer_id] += value
        found += [Share(0, lot_id, party, part) for party, part in owed.items() if part]
    return found


def unsettled(before: datetime) -> list[Share]:
    """What was posted before that instant and stands in no statement yet."""
    with whole_network():
        programme = Programme.objects.first()
        keys = list(FundingKey.objects.all())
        settled = SettlementLine.objects.filter(transaction=OuterRef("pk"))
        facts = list(
            Transaction.objects.filter(posted_at__lt=before)
            .filter(kind__in=[Kind.REDEEM, Kind.GIVE_BACK])
            .exclude(Exists(settled))
            .select_related("reverses__reverses")
            .order_by("pk")
        )
        sources = {fact.pk: _source(fact) for fact in facts}
        uses: dict[int, list[Used]] = defaultdict(list)
        rows = LotUse.objects.filter(transaction__in={source.pk for source in sources.values() if source})
        own_keys: dict[int | None, FundingKey] = {}
        for fact_id, lot_id, store_id, points, funding in rows.order_by("pk").values_list(
            "transaction", "lot", "lot__store", "points", "lot__transaction__explanation__0__funding"
        ):
            uses[fact_id].append((lot_id, store_id, points))
            if funding in OWN_KEYS:
                own_keys[lot_id] = OWN_KEYS[funding]
        payers = Payers()
        found = []
        for fact in facts:
            source = sources[fact.pk]
            # A redemption taken back is judged by the key and the worth of the redemption.
            redemption = fact if fact.kind == Kind.REDEEM else fact.reverses
            redeemer_id = fact.store_id
            if source is None or redemption is None or programme is None or redeemer_id is None:
                continue
            of_reward = _own_key(redemption)
            key = of_reward or next(
                (key for key in keys if key.effective_from <= redemption.occurred_at), EARNER_PAYS
            )
            used, sign = payers.of(uses[source.pk], redemption), 1
            if fact.kind == Kind.GIVE_BACK:
                used, sign = [(lot, store, -points) for lot, store, points in used], -1
            cents = _cents(fact, redemption, sum(points for _lot, _store, points in used), programme)
            found += [
                Share(fact.pk, share.lot_id, share.store_id, sign * share.cents)
                for share in shares_of(cents, used, redeemer_id, key, None if of_reward else own_keys)
            ]
    return found


class Payers:
    """Who pays for points of a store: the store itself, or who took over its points when it left."""

    def __init__(self) -> None:
        done = StoreExit.objects.filter(transaction__isnull=False)
        self._taken_over = {left.store_id: (left.transaction_id, left.buyer_id) for left in done}

    def of(self, used: list[Used], redemption: Transaction) -> list[Used]:
        """What was used, with who pays for it at this redemption."""
        if not used:
            # A voucher that was given: the redemption says by whom.
            giver = next((step["giver"] for step in redemption.explanation if "giver" in step), None)
            return [(None, self.in_place_of(giver, redemption.pk), 1)]
        return [(lot, self.in_place_of(store, redemption.pk), points) for lot, store, points in used]

    def in_place_of(self, store_id: int | None, before: int | None = None) -> int | None:
        """Who pays in the store's place, by the exits that were posted before that transaction (or so far)."""
        while store_id in self._taken_over:
            posted, buyer_id = self._taken_over[store_id]
            if before is not None and posted is not None and posted > before:
                break
            store_id = buyer_id
        return store_id


def _own_key(redemption: Transaction) -> FundingKey | None:
    """The key that the reward brought along."""
    told = next((step["key"] for step in redemption.explanation if "key" in step), "")
    if not told:
        return None
    earner, redeemer, head_office = map(int, told.split("/"))
    return FundingKey(earner=earner, redeemer=redeemer, head_office=head_office)


def _source(fact: Transaction) -> Transaction | None:
    """The transaction whose uses of lots say what this one spent or gave back; None where no money was given off."""
    if fact.kind == Kind.REDEEM:
        return fact.reverses or fact
    return fact if fact.reverses and fact.reverses.kind == Kind.REDEEM else None


def _cents(fact: Transaction, redemption: Transaction, points: int, programme: Programme) -> int:
    """The money off that these points stand for: as noted at the redemption, or by the programme of now.

    Of a redemption taken back in parts each part is what all so far are worth, less the parts before: they sum to the
    whole.
    """
    noted = next((step["cents"] for step in redemption.explanation if "cents" in step), None)
    if fact == redemption and noted is not None:
        return noted
    spent = LotUse.objects.filter(transaction=_source(redemption), points__gt=0)
    whole = spent.aggregate(points=Sum("points"))["points"]
    if noted is None:
        noted = whole * programme.reward_cents // programme.reward_points
    earlier = LotUse.objects.filter(
        transaction__reverses=redemption, transaction__kind=Kind.GIVE_BACK, transaction__lt=fact.pk
    )
    before = -(earlier.aggregate(points=Sum("points"))["points"] or 0) if fact != redemption else 0
    return noted * (before + points) // whole - noted * before // whole


def close(month: date, by: Staff | str = "system") -> SettlementStatement:
    """Close the month that begins on this day: its statement never changes afterwards. Raises `NotClosable`."""
    if month.day != 1:
        raise NotClosable("a month begins on its first day")
    end = datetime.combine(_next_month(month), time.min, brand_zone())
    if end > timezone.now():
        raise NotClosable("the month is not over")
    with transaction.atomic(), whole_network():
        # One at a time: two statements that are closed at once would hold the same redemptions.
        Programme.objects.select_for_update().first()
        newest = SettlementStatement.objects.first()
        if newest and newest.month >= month:
            raise NotClosable("closed before")
        shares = unsettled(end)
        made = SettlementStatement.objects.create(month=month, line_count=len(shares))
        SettlementLine.objects.bulk_create(
            [
                SettlementLine(
                    statement=made, transaction_id=share.transaction_id, lot_id=share.lot_id,
                    store_id=share.store_id, cents=share.cents,
                )
                for share in shares
            ]
        )  # fmt: skip
        audit(by, "closed", made, lines=len(shares))
    return made


def _next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def nets(lines: Iterable[Share | SettlementLine]) -> dict[int | None, int]:
    """Cents by party, which sum to zero: above zero it is owed, below it owes."""
    found: dict[int | None, int] = defaultdict(int)
    for line in lines:
        found[line.store_id] += line.cents
    return dict(found)


def write_csv(statement: SettlementStatement, out: TextIO) -> int:
    """The statement line by line, by redemption and lot; returns how many lines."""
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow(["month", "transaction", "happened", "lot", "store", "cents"])
    count = 0
    with whole_network():
        for row in _rows(statement):
            writer.writerow(row)
            count += 1
    return count


def _rows(statement: SettlementStatement) -> Iterator[list]:
    lines = statement.lines.select_related("transaction", "store").order_by("transaction", "lot", "store")
    for line in lines.iterator(chunk_size=2000):
        yield [
            str(statement), line.transaction_id, line.transaction.occurred_at.isoformat(), line.lot_id,
            line.store.code if line.store else "", line.cents,
        ]  # fmt: skip


def outstanding_vouchers() -> list["Liability"]:
    """What open vouchers will cost, by who pays (no store: head office), at the worth they were issued with.

    Points that bought a voucher are in nobody's lots, so this stands beside `liability`.
    """
    points_of: dict[int | None, int] = defaultdict(int)
    cents_of: dict[int | None, int] = defaultdict(int)
    with whole_network():
        payers = Payers()
        opened = Voucher.objects.filter(state=Voucher.State.ISSUED).order_by("pk")
        bought = LotUse.objects.filter(transaction__voucher__in=opened, points__gt=0).order_by("pk")
        used: dict[int, list[tuple[int | None, int]]] = defaultdict(list)
        for fact_id, store_id, points in bought.values_list("transaction", "lot__store", "points").iterator():
            used[fact_id].append((payers.in_place_of(store_id), points))
        for issue_id, giver_id, cents in opened.values_list("issue", "issued_in", "worth_cents").iterator():
            parts = used.get(issue_id) or [(payers.in_place_of(giver_id), 0)]
            weights = [points or 1 for _payer, points in parts]
            for (payer, points), part in zip(parts, rules.shared_out(cents, weights), strict=True):
                points_of[payer] += points
                cents_of[payer] += part
    return [Liability(payer, points_of[payer], cents_of[payer]) for payer in _in_order(cents_of)]


def _in_order(parties: Iterable[int | None]) -> list[int | None]:
    """Stores by their id, head office last."""
    return sorted(parties, key=lambda party: (party is None, party or 0))


@dataclass(frozen=True)
class Liability:
    """Points that members still hold, by who pays for them (no store: head office), and what they cost if all are
    spent."""

    store_id: int | None
    points: int
    cents: int


def liability() -> list[Liability]:
    """By who pays, available and pending together; the cents sum to the brand's, to the cent."""
    with whole_network():
        programme = Programme.objects.first()
        held = Lot.objects.filter(
            remaining__gt=0, account__kind__in=[Account.Kind.AVAILABLE, Account.Kind.PENDING]
        )
        payers, points_of = Payers(), defaultdict(int)
        for store_id, points in held.order_by().values_list("store").annotate(points=Sum("remaining")):
            points_of[payers.in_place_of(store_id)] += points
        rows = [(payer, points_of[payer]) for payer in _in_order(points_of)]
        if programme is None or not rows:
            return []
        whole = sum(points for _store, points in rows) * programme.reward_cents // programme.reward_points
        cents = rules.shared_out(whole, [points for _store, points in rows])
    return [Liability(store, points, part) for (store, points), part in zip(rows, cents, strict=True)]
