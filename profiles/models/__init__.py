"""The tables about people. Three rooms: what sources said, who it is about, what was bought."""

from profiles.models.blocked import BlockedValue
from profiles.models.connections import Connection, Delivery
from profiles.models.consent import Channel, ConsentChange
from profiles.models.profile import MatchCandidate, Merge, Profile, ProfileFacts, ProfileStore
from profiles.models.purchases import Purchase, PurchaseLine, Refund, RefundLine
from profiles.models.records import BlockingKey, Identifier, ImportRun, RejectedRow, Source, SourceRecord

__all__ = [
    "BlockedValue",
    "BlockingKey",
    "Channel",
    "Connection",
    "ConsentChange",
    "Delivery",
    "Identifier",
    "ImportRun",
    "MatchCandidate",
    "Merge",
    "Profile",
    "ProfileFacts",
    "ProfileStore",
    "Purchase",
    "PurchaseLine",
    "Refund",
    "RefundLine",
    "RejectedRow",
    "Source",
    "SourceRecord",
]
