"""The tables about people. Four rooms: what sources said, who it is about, what was bought, what was done."""

from profiles.models.blocked import BlockedValue
from profiles.models.connections import Connection, Delivery
from profiles.models.consent import Channel, ConsentChange
from profiles.models.decisions import Pin, Reviewer, Skip, TicketMove
from profiles.models.events import Channel as EventChannel
from profiles.models.events import (
    Device,
    Event,
    EventCount,
    EventProperty,
    EventTally,
    EventType,
    QuarantinedEvent,
    Site,
    UnknownProperty,
)
from profiles.models.households import Household, HouseholdMember, HouseholdWord
from profiles.models.matching import BlockingKey, MatchingModel, UnificationStep
from profiles.models.profile import MatchCandidate, Merge, Profile, ProfileFacts, ProfileStore
from profiles.models.purchases import Purchase, PurchaseLine, Refund, RefundLine
from profiles.models.records import (
    Identifier,
    ImportRun,
    PrimaryId,
    RejectedRow,
    Source,
    SourceRecord,
)

__all__ = [
    "BlockedValue",
    "BlockingKey",
    "Channel",
    "Connection",
    "ConsentChange",
    "Delivery",
    "Device",
    "Event",
    "EventChannel",
    "EventCount",
    "EventProperty",
    "EventTally",
    "EventType",
    "Household",
    "HouseholdMember",
    "HouseholdWord",
    "Identifier",
    "ImportRun",
    "MatchCandidate",
    "MatchingModel",
    "Merge",
    "Pin",
    "PrimaryId",
    "Profile",
    "ProfileFacts",
    "ProfileStore",
    "Purchase",
    "PurchaseLine",
    "QuarantinedEvent",
    "Refund",
    "RefundLine",
    "RejectedRow",
    "Reviewer",
    "Site",
    "Skip",
    "Source",
    "SourceRecord",
    "TicketMove",
    "UnificationStep",
    "UnknownProperty",
]
