"""The one door: whatever a file, a till or a form tells us about people and purchases comes in here, once."""

from profiles.intake.people import ConsentStatement, Outcome, Statement, take_in_records
from profiles.intake.purchases import (
    Conflict,
    Problem,
    Recorded,
    RefundLineStatement,
    RefundStatement,
    Shown,
    Ticket,
    TicketLine,
    find_people,
    record_purchases,
    record_refund,
)

__all__ = [
    "Conflict",
    "ConsentStatement",
    "Outcome",
    "Problem",
    "Recorded",
    "RefundLineStatement",
    "RefundStatement",
    "Shown",
    "Statement",
    "Ticket",
    "TicketLine",
    "find_people",
    "record_purchases",
    "record_refund",
    "take_in_records",
]
