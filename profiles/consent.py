"""What we may send to whom: consent is granted, withdrawn and asked for here."""

from django.db import transaction
from django.utils import timezone

from profiles import facts
from profiles.consent_history import ConsentNow, of_profiles
from profiles.models import Channel, ConsentChange, Profile
from tenants.scoping import whole_network


def grant(profile: Profile, channel: str, *, actor, wording: str = "") -> ConsentChange:
    """Note that the person allowed marketing on the channel; `actor` is who took the word down."""
    return _change(profile, channel, granted=True, actor=actor, wording=wording)


def withdraw(profile: Profile, channel: str, *, actor, wording: str = "") -> ConsentChange:
    """Note that the person refused marketing on the channel. Effective at once."""
    return _change(profile, channel, granted=False, actor=actor, wording=wording)


def current(profile: Profile) -> dict[str, ConsentNow]:
    """What holds now, by channel. A channel nobody ever asked about is missing, which means no."""
    return of_profiles([profile.pk]).get(profile.pk, {})


def may_contact(profile: Profile, channel: str) -> bool:
    now = current(profile).get(channel)
    return now is not None and now.granted


@transaction.atomic
def _change(profile: Profile, channel: str, *, granted: bool, actor, wording: str) -> ConsentChange:
    if channel not in Channel.values:
        raise ValueError(f"channel: unknown channel «{channel}»")
    profile = Profile.hold([profile.pk])[profile.pk]
    change = ConsentChange.objects.create(
        profile=profile,
        channel=channel,
        granted=granted,
        at=timezone.now(),
        actor=str(actor),
        wording=wording,
    )
    with whole_network():
        facts.refresh([profile.pk])
    return change
