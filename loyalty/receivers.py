"""What the ledger does when people are merged or separated, inside the same transaction."""

from django.dispatch import receiver

from loyalty import ledger, members
from loyalty.models import Account, Membership
from profiles.signals import profiles_merged, profiles_unmerged, profiles_untold


@receiver(profiles_merged)
def hand_points_over(sender, merge, **kwargs) -> None:
    ledger.transfer(merge)
    members.refresh([merge.winner_id])


@receiver(profiles_unmerged)
def hand_points_back(sender, merge, **kwargs) -> None:
    ledger.transfer_back(merge)
    members.refresh([merge.winner_id, merge.loser_id])


@receiver(profiles_untold)
def end_empty_memberships(sender, profile_ids, **kwargs) -> None:
    """Who never earned a point, and is known of no source, is no member."""
    earned = Account.objects.filter(profile__in=profile_ids).values("profile")
    Membership.objects.filter(profile__in=profile_ids).exclude(profile__in=earned).delete()
