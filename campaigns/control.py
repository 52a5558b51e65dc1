"""Who is held back as control: drawn by a hash of the campaign's salt and the person's id, so always the same way.

A person keeps the arm whoever joins or leaves the segment, and another campaign's salt draws anew. Two profiles that
turn out to be one person are control if either was: somebody meant to be left alone is.
"""

from collections import defaultdict
from hashlib import sha256
from uuid import UUID

from django.db.models import Q, QuerySet

from campaigns.models import Campaign, Recipient
from profiles.models import Profile

_SHARES = 10_000  # hundredths of a percent


def arm_of(salt: str, person: UUID, control_percent: int) -> Recipient.Arm:
    """The arm of a person (`Profile.public_id`) for a control group of 0 to 100 percent."""
    drawn = int.from_bytes(sha256(f"{salt}:{person}".encode()).digest()[:8]) % _SHARES
    return Recipient.Arm.CONTROL if drawn < 100 * control_percent else Recipient.Arm.TREATED


def people_of(campaign: Campaign, arm: str) -> QuerySet[Profile]:
    """The live profiles in an arm of a frozen campaign, in scope. Who was merged since counts as who they are now."""
    arms_of_survivor: dict[int, set[str]] = defaultdict(set)
    merged = Recipient.objects.filter(campaign=campaign, profile__merged_into__isnull=False)
    for recipient in merged.select_related("profile"):
        arms_of_survivor[recipient.profile.survivor.pk].add(recipient.arm)
    live = Profile.objects.filter(merged_into=None).order_by()
    held_back = {pk for pk, arms in arms_of_survivor.items() if Recipient.Arm.CONTROL in arms}
    control = _drawn(campaign, Recipient.Arm.CONTROL) | Q(pk__in=held_back)
    if arm == Recipient.Arm.CONTROL:
        return live.filter(control)
    treated = _drawn(campaign, Recipient.Arm.TREATED) | Q(pk__in=arms_of_survivor.keys() - held_back)
    return live.filter(treated).exclude(control)


def _drawn(campaign: Campaign, arm: str) -> Q:
    rows = Recipient.objects.filter(campaign=campaign, arm=arm)
    return Q(pk__in=rows.order_by().values("profile"))
