"""The pages of marketing: segments with their builder, campaigns with their results, and every file that left."""

from campaigns.admin import campaigns, exports, membership, segments

__all__ = ["campaigns", "exports", "membership", "segments"]
