"""The one door: whatever a file, a till or a form tells us about people, purchases and events comes in here, once."""

from profiles.intake.cleaning import Block, ConsentStatement, Refused, Statement, Told
from profiles.intake.events import EventOutcome, EventStatement, Refusal, Sender, record_events
from profiles.intake.passes import give_pass_number
from profiles.intake.people import (
    Outcome,
    SourceNotActive,
    cleaner,
    take_in,
    take_in_records,
    tell_of_buyer,
    till_source,
)
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
    "Block",
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
    "Refused",
    "Sender",
    "Shown",
    "SourceNotActive",
    "Statement",
    "Ticket",
    "TicketLine",
    "Told",
    "cleaner",
    "find_people",
    "give_pass_number",
    "record_events",
    "record_purchases",
    "record_refund",
    "take_in",
    "take_in_records",
    "tell_of_buyer",
    "till_source",
]
