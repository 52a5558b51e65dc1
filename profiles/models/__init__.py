"""The tables about people. Four rooms: what sources said, who it is about, what was bought, what was done."""

from profiles.models.blocked import BlockedValue
from profiles.models.connections import Connection, Delivery
from profiles.models.consent import Channel, ConsentChange
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
from profiles.models.profile import MatchCandidate, Merge, Profile, ProfileFacts, ProfileStore
from profiles.models.purchases import Purchase, PurchaseLine, Refund, RefundLine
from profiles.models.records import (
    BlockingKey,
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
    "Identifier",
    "ImportRun",
    "MatchCandidate",
    "Merge",
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
    "Site",
    "Source",
    "SourceRecord",
    "UnknownProperty",
]
