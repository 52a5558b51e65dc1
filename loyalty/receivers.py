"""What the ledger does when people are merged or separated, inside the same transaction."""

from django.dispatch import receiver

from loyalty import ledger, members
from profiles.signals import profiles_merged, profiles_unmerged


@receiver(profiles_merged)
def hand_points_over(sender, merge, **kwargs) -> None:
    ledger.transfer(merge)
    members.refresh([merge.winner_id])


@receiver(profiles_unmerged)
def hand_points_back(sender, merge, **kwargs) -> None:
    ledger.transfer_back(merge)
    members.refresh([merge.winner_id, merge.loser_id])
