"""What every deed of the ledger stands on: the refusals, a `Fact` and its posting, and the accounts it moves points on.

Each deed holds the member first, reads what it needs, and has one SQL function post. Refusals of the database come back
as the exceptions below, told apart by the constraint's name.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime

from django.db import DatabaseError, connection, transaction

from loyalty.models import Account, Transaction
from profiles.models import Profile
from tenants.brand_sql import broken_promise
from tenants.scoping import whole_network

Kind = Transaction.Kind
AVAILABLE, PENDING, DEBT = Account.MEMBER_KINDS


class LedgerError(Exception):
    """The ledger refused; nothing was posted. `constraint` is the promise that would have been broken."""

    constraint = ""


class NotEnoughPoints(LedgerError):
    """A member's available points would fall below zero. `missing`: how many points, where known."""

    constraint = "member_balance_not_negative"

    def __init__(self, missing: int = 0):
        super().__init__(f"{missing} points missing")
        self.missing = missing


class Unbalanced(LedgerError):
    """The postings of a transaction do not sum to zero."""

    constraint = "transaction_sums_to_zero"


class AppendOnly(LedgerError):
    """Somebody tried to rewrite the past."""

    constraint = "ledger_is_append_only"


class AlreadyPosted(LedgerError):
    """This fact stands in the ledger already."""

    constraint = "loyalty_transaction_key_key"


class ReservationOver(LedgerError):
    """The reservation was spent, cancelled, or its time has passed."""


class NothingToGiveBack(LedgerError):
    """More would be given back than was spent."""


REFUSALS = {error.constraint: error for error in (NotEnoughPoints, Unbalanced, AppendOnly, AlreadyPosted)}


@contextmanager
def refusals() -> Iterator[None]:
    """What the database refuses within the block comes back as a `LedgerError`, told apart by the promise's name."""
    try:
        yield
    except DatabaseError as error:
        refusal = REFUSALS.get(broken_promise(error))
        if refusal is None:
            raise
        raise refusal() from error


@dataclass(frozen=True)
class MemberAccounts:
    """A member's three accounts, locked, with their balances when they were locked."""

    profile_id: int
    available_id: int
    pending_id: int
    debt_id: int
    available: int = 0
    pending: int = 0
    debt: int = 0


@dataclass
class Fact:
    """One transaction to post: points by account id (zeros are left out), new lots, uses and moves of lots."""

    key: str
    kind: str
    profile_id: int | None
    occurred_at: datetime
    store_id: int | None = None
    purchase_id: int | None = None
    refund_id: int | None = None
    reverses_id: int | None = None
    qualifying: int = 0
    tier: str = ""
    earned_before: int = 0
    explanation: list | dict = field(default_factory=list)
    actor: str = ""
    points: dict[int, int] = field(default_factory=dict)
    lots: list[dict] = field(default_factory=list)
    uses: dict[int, int] = field(default_factory=dict)
    moves: dict[int, int] = field(default_factory=dict)
    extensions: dict[int, tuple[date, date]] = field(default_factory=dict)

    def as_json(self) -> dict:
        return {
            "key": self.key, "kind": self.kind, "profile": self.profile_id, "store": self.store_id,
            "purchase": self.purchase_id, "refund": self.refund_id, "reverses": self.reverses_id,
            "occurred_at": self.occurred_at.isoformat(), "qualifying": self.qualifying, "tier": self.tier,
            "explanation": self.explanation, "actor": self.actor, "earned_before": self.earned_before,
            "postings": [{"account": a, "points": p} for a, p in sorted(self.points.items()) if p],
            "lots": self.lots,
            "uses": [{"lot": lot, "points": points} for lot, points in self.uses.items() if points],
            "moves": [{"lot": lot, "account": account} for lot, account in self.moves.items()],
            "extensions": [
                {"lot": lot, "was": was.isoformat(), "until": until.isoformat()}
                for lot, (was, until) in self.extensions.items()
            ],
        }  # fmt: skip


def post(facts: Sequence[Fact]) -> dict[str, int]:
    """Post the facts, all or none; returns transaction ids by key. Raises a `LedgerError`."""
    if not facts:
        return {}
    with refusals(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT key, id FROM ledger_post(%s::jsonb)", [json.dumps([fact.as_json() for fact in facts])]
        )
        return dict(cursor.fetchall())


def accounts_of(profile_ids: Iterable[int]) -> dict[int, MemberAccounts]:
    """The members' accounts, opened where missing and locked in the order of their ids; the people before them."""
    ids = sorted(set(profile_ids))
    with whole_network():
        Profile.hold(ids)
        found = _locked(ids)
        missing = [profile_id for profile_id in ids if profile_id not in found]
        if missing:
            Account.objects.bulk_create(
                [
                    Account(kind=kind, profile_id=profile_id, balance=0)
                    for profile_id in missing
                    for kind in Account.MEMBER_KINDS
                ],
                ignore_conflicts=True,
            )
            found = _locked(ids)
    return found


def _locked(profile_ids: Sequence[int]) -> dict[int, MemberAccounts]:
    rows: dict[int, dict[str, Account]] = defaultdict(dict)
    accounts = Account.objects.select_for_update(no_key=True).filter(profile__in=profile_ids)
    for account in accounts.order_by("pk"):
        rows[account.profile_id][account.kind] = account
    return {
        profile_id: MemberAccounts(
            profile_id,
            *(kinds[kind].pk for kind in Account.MEMBER_KINDS),
            *(kinds[kind].balance for kind in Account.MEMBER_KINDS),
        )
        for profile_id, kinds in rows.items()
    }


def store_accounts(kind: str, store_ids: Iterable[int]) -> dict[int, int]:
    """The account of this kind of each store, opened where missing: store id -> account id."""
    ids = set(store_ids)
    with whole_network():
        rows = Account.objects.filter(kind=kind, store__in=ids)
        found = dict(rows.values_list("store", "pk"))
        if len(found) < len(ids):
            Account.objects.bulk_create(
                [Account(kind=kind, store_id=store_id) for store_id in ids - found.keys()],
                ignore_conflicts=True,
            )
            found = dict(rows.values_list("store", "pk"))
    return found


def head_office_losses() -> int:
    """The account of what head office bears, opened where missing."""
    with whole_network():
        Account.objects.bulk_create([Account(kind=Account.Kind.LOSS)], ignore_conflicts=True)
        return Account.objects.values_list("pk", flat=True).get(kind=Account.Kind.LOSS)


def first_to_expire(account_id: int, points: int, besides: Iterable[int] = ()) -> dict[int, int]:
    """Points by lot, the earliest expiry first; the account is locked by the caller. Raises `NotEnoughPoints`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT lot, part FROM ledger_first_to_expire(%s, %s, %s::bigint[])",
            [account_id, points, list(besides)],
        )
        uses = dict(cursor.fetchall())
    missing = points - sum(uses.values())
    if missing > 0:
        raise NotEnoughPoints(missing)
    return uses
