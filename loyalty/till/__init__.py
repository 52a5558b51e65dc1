"""What a till can ask. Each verb is one transaction, and each answer is kept: the same request again gets it again.

Requests are told apart by the till's own ids — receipt, refund, redemption — so a till that lost an answer simply
sends the request once more. The same id with another content is refused.

| room | what happens there |
|---|---|
| `people` | who stands there: identify, enrol, show |
| `selling` | quote a ticket; record tickets and credit them |
| `recording` | tickets are written down, alone or with those of others |
| `desk`, `recorder` | how they are handed to the process that records for all |
| `returning` | goods brought back, also before their sale |
| `redeeming` | points spent for money off |
| `judging` | how the rules see a ticket; why it earned what it did |
| `answers` | what is told, and told again |

Call them from here: `from loyalty import till; till.record_purchase(...)`.
"""

from loyalty.till.answers import Answer
from loyalty.till.judging import as_recorded, explain
from loyalty.till.people import UnknownMember, enrol, identify, member_view, statement
from loyalty.till.redeeming import redeem
from loyalty.till.returning import apply_waiting, points_to_take_back, refund
from loyalty.till.selling import quote, record_purchase, record_purchases

__all__ = [
    "Answer",
    "UnknownMember",
    "apply_waiting",
    "as_recorded",
    "enrol",
    "explain",
    "identify",
    "member_view",
    "points_to_take_back",
    "quote",
    "record_purchase",
    "record_purchases",
    "redeem",
    "refund",
    "statement",
]
