"""Freeze a campaign: the version of its segment, the people, and who of them is held back, all at one instant."""

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns import audience
from campaigns.control import arm_of
from campaigns.models import Campaign, Recipient, SegmentVersion
from profiles.models import Profile
from tenants.network.models import audit
from tenants.scoping import current_scope

_AT_ONCE = 2000


class CampaignNotReady(ValueError):
    """The campaign cannot be frozen; `reasons` says each thing that is missing."""

    def __init__(self, reasons: list[str]):
        self.reasons = reasons
        super().__init__(" ".join(reasons))


@transaction.atomic
def freeze(campaign: Campaign, by) -> Campaign:
    """Choose the recipients: who matches now and is reachable on the channel, each with an arm and a home store.

    Only reachable people are drawn, so that both arms could have been addressed alike. A frozen campaign stays as it
    is: freezing again changes nothing. Raises `CampaignNotReady`, or `SegmentError` if the scope may not answer.
    """
    # Two clicks freeze in turn; the second finds it done.
    locked = Campaign.objects.select_for_update(of=("self",)).select_related("segment").get(pk=campaign.pk)
    if locked.state == Campaign.State.FROZEN:
        return locked
    version = locked.segment_version or locked.segment.versions.order_by("-number").first()
    reasons = missing(locked, version)
    if reasons:
        raise CampaignNotReady(reasons)
    assert version is not None
    with audience.inside(locked if locked.store_id else locked.segment):
        chosen = _draw(locked, version)
    if not chosen:
        raise CampaignNotReady([_("Nobody in this segment can be reached on this channel.")])
    locked.segment_version = version
    locked.state, locked.frozen_at = Campaign.State.FROZEN, timezone.now()
    locked.save()
    audit(by, "freeze", locked, store_id=locked.store_id, version=version.number, recipients=chosen)
    return locked


def missing(campaign: Campaign, version: SegmentVersion | None) -> list[str]:
    """What must be settled before the audience is chosen, a sentence each."""
    reasons = []
    if not campaign.goal:
        reasons.append(_("Set the goal: a campaign is measured against what it was meant to bring."))
    if not campaign.goal_uplift or campaign.goal_uplift <= 0:
        reasons.append(_("Set the expected uplift: a positive number."))
    if not campaign.goal_days:
        reasons.append(_("Set over how many days the goal is measured."))
    if version is None:
        reasons.append(_("The segment has no conditions yet."))
    return reasons


def _draw(campaign: Campaign, version: SegmentVersion) -> int:
    people = audience.reachable(audience.members(version), campaign.channel)
    if current_scope().is_whole_network:
        people = people.annotate(home=audience.home_store())
    number = 0
    batch: list[Recipient] = []
    for person in people.only("pk", "public_id").iterator(chunk_size=_AT_ONCE):
        batch.append(_recipient(campaign, person))
        if len(batch) == _AT_ONCE:
            number += len(Recipient.objects.bulk_create(batch))
            batch = []
    return number + len(Recipient.objects.bulk_create(batch))


def _recipient(campaign: Campaign, person: Profile) -> Recipient:
    return Recipient(
        campaign=campaign,
        profile=person,
        arm=arm_of(campaign.salt, person.public_id, campaign.control_percent),
        home_store_id=getattr(person, "home", None) or campaign.store_id or campaign.segment.store_id,
    )
