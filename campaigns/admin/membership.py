"""On the customer page: which segments the person is in now, each with the way to why."""

from campaigns import audience
from campaigns.models import Segment
from campaigns.segments.language import SegmentError
from profiles.admin.customers import PANELS, Panel
from profiles.models import Profile

# Each segment is a question to the database: what a page can ask within a few hundredths of a second.
ASKED_AT_MOST = 30


def _segments_of(request, profile: Profile) -> dict:
    listed = list(Segment.objects.select_related("store").prefetch_related("versions")[: ASKED_AT_MOST + 1])
    return {
        "segments": [segment for segment in listed[:ASKED_AT_MOST] if _holds(segment, profile)],
        "any": bool(listed),
        "asked": ASKED_AT_MOST if len(listed) > ASKED_AT_MOST else None,
    }


def _holds(segment: Segment, profile: Profile) -> bool:
    versions = segment.versions.all()  # newest first
    if not versions:
        return False
    with audience.inside(segment):
        try:
            return audience.members(versions[0]).filter(pk=profile.pk).exists()
        except SegmentError:
            # Conditions that name a store or tier gone since: the segment's own page says so.
            return False


PANELS.append(Panel("campaigns.view_segment", "campaigns/membership_panel.html", _segments_of))
