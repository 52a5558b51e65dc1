"""The deeds of the ledger: earn, release, redeem, reserve, give back, take back, adjust, extend, expire, transfer.
Nothing else writes points.

| room | what happens there |
|---|---|
| `posting` | a fact is posted; refusals; the accounts of members and stores |
| `earning` | tickets are credited, waiting points are released |
| `spending` | redeem, reserve, commit, cancel, give back |
| `correcting` | taken back with the goods, given or taken by hand, left to live longer |
| `expiring` | lots end |
| `owing` | debts are paid |
| `transferring` | points follow a merge, a separation, or a ticket |

Call them from here: `from loyalty import ledger; ledger.redeem(...)`.
"""

from loyalty.ledger.correcting import adjust, extend, take_back
from loyalty.ledger.earning import Earning, as_posted, earn, release_due
from loyalty.ledger.expiring import expire_due
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
    redeem,
    reserve,
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
    "cancel",
    "cancel_stale",
    "commit",
    "earn",
    "expire_due",
    "extend",
    "follow_ticket",
    "follow_ticket_back",
    "give_back",
    "post",
    "redeem",
    "refusals",
    "release_due",
    "reserve",
    "store_accounts",
    "take_back",
    "transfer",
    "transfer_back",
]
