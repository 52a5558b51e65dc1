"""The deeds of the ledger: earn, credit, release, redeem, reserve, give back, take back, adjust, extend, expire,
transfer. Nothing else writes points.

| room | what happens there |
|---|---|
| `posting` | a fact is posted; refusals; the accounts of members and stores |
| `earning` | tickets and actions are credited, waiting points are released |
| `spending` | redeem, reserve, commit, cancel, give back; vouchers |
| `giving` | points that nothing earned, for many at once; called back where they are left |
| `correcting` | taken back with the goods, undone, given or taken by hand, left to live longer |
| `expiring` | lots end |
| `owing` | debts are paid |
| `transferring` | points follow a merge, a separation, or a ticket |

Call them from here: `from loyalty import ledger; ledger.redeem(...)`.
"""

from loyalty.ledger.correcting import adjust, extend, redo_credit, take_back, undo_credit
from loyalty.ledger.earning import Earning, as_posted, credit, earn, release_due
from loyalty.ledger.expiring import expire_due
from loyalty.ledger.giving import Gift, call_back, give
from loyalty.ledger.posting import (
    AVAILABLE,
    DEBT,
    PENDING,
    REFUSALS,
    AlreadyPosted,
    AppendOnly,
    Fact,
    Kind,
    LedgerError,
    MemberAccounts,
    NotEnoughPoints,
    NothingToGiveBack,
    ReservationOver,
    Transaction,
    Unbalanced,
    accounts_of,
    post,
    refusals,
    store_accounts,
)
from loyalty.ledger.spending import (
    GRACE,
    MOST_POINTS,
    RESERVED_FOR,
    cancel,
    cancel_stale,
    commit,
    give_back,
    issue_voucher,
    redeem,
    reservation_key,
    reserve,
    return_voucher,
)
from loyalty.ledger.transferring import follow_ticket, follow_ticket_back, transfer, transfer_back

__all__ = [
    "AVAILABLE",
    "DEBT",
    "GRACE",
    "MOST_POINTS",
    "PENDING",
    "REFUSALS",
    "RESERVED_FOR",
    "AlreadyPosted",
    "AppendOnly",
    "Earning",
    "Fact",
    "Gift",
    "Kind",
    "LedgerError",
    "MemberAccounts",
    "NotEnoughPoints",
    "NothingToGiveBack",
    "ReservationOver",
    "Transaction",
    "Unbalanced",
    "accounts_of",
    "adjust",
    "as_posted",
    "call_back",
    "cancel",
    "cancel_stale",
    "commit",
    "credit",
    "earn",
    "expire_due",
    "extend",
    "follow_ticket",
    "follow_ticket_back",
    "give",
    "give_back",
    "issue_voucher",
    "post",
    "redeem",
    "redo_credit",
    "refusals",
    "release_due",
    "reservation_key",
    "reserve",
    "return_voucher",
    "store_accounts",
    "take_back",
    "transfer",
    "transfer_back",
    "undo_credit",
]
