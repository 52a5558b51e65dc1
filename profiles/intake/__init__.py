"""The one door: whatever a file, a till or a form tells us about people, purchases and events comes in here, once."""

from profiles.intake.events import EventOutcome, EventStatement, Refusal, Sender, record_events
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
    "EventOutcome",
    "EventStatement",
    "Outcome",
    "Problem",
    "Recorded",
    "RefundLineStatement",
    "RefundStatement",
    "Refusal",
    "Sender",
    "Shown",
    "Statement",
    "Ticket",
    "TicketLine",
    "find_people",
    "record_events",
    "record_purchases",
    "record_refund",
    "take_in_records",
]
