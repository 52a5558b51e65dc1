"""What the ledger does when people are merged or separated, inside the same transaction."""

from django.dispatch import receiver

from loyalty import actions, gifts, ledger, members, vouchers
from loyalty.models import Account, Membership, SegmentMember
from profiles.signals import profiles_merged, profiles_unmerged, profiles_untold, ticket_moved

members.REACHED.append(gifts.give_for)


# Before the points: what either was given for a tier is not given again to both together.
@receiver(profiles_merged)
def hand_benefits_over(sender, merges, **kwargs) -> None:
    vouchers.hand_over(merges)


@receiver(profiles_merged)
def hand_points_over(sender, merges, **kwargs) -> None:
    taking_part = set(members.taking_part(pk for merge in merges for pk in (merge.winner_id, merge.loser_id)))
    for merge in merges:
        people = [merge.winner_id, merge.loser_id]
        if not taking_part.intersection(people):
            merge.moved["members"] = {str(pk): None for pk in people}
            continue
        merge.moved["members"] = members.noted(people)
        if withdrawn := actions.settle_merge(merge):
            merge.moved["withdrawn"] = withdrawn
        ledger.transfer(merge)
        if any(merge.moved["members"].values()) or "ledger" in merge.moved:
            members.join(merge.winner_id, merge.loser_id)
        taking_part.add(merge.winner_id)


@receiver(profiles_unmerged)
def hand_points_back(sender, merge, **kwargs) -> None:
    actions.hand_back(merge)
    vouchers.hand_back(merge)
    ledger.transfer_back(merge)
    actions.settle_unmerge(merge)
    members.put_back(merge.moved.get("members", {}))


@receiver(ticket_moved)
def points_follow_the_ticket(sender, move, giver_id, taker_id, **kwargs) -> None:
    if move.undone_at is None:
        move.moved["members"] = members.noted([giver_id, taker_id])
        move.moved["ledger"] = ledger.follow_ticket(
            move.purchase, giver_id, taker_id, key=f"move:{move.purchase_id}"
        )
        members.recount(members.taking_part([giver_id, taker_id]))
    else:
        ledger.follow_ticket_back(
            move.purchase, giver_id, taker_id, move.moved.get("ledger") or {}, key=f"move:{move.purchase_id}"
        )
        members.put_back(move.moved.get("members", {}), besides=[giver_id, taker_id])


@receiver(profiles_untold)
def end_empty_memberships(sender, profile_ids, **kwargs) -> None:
    """Who never earned a point, and is known of no source, is no member."""
    earned = Account.objects.filter(profile__in=profile_ids).values("profile")
    Membership.objects.filter(profile__in=profile_ids).exclude(profile__in=earned).delete()
    SegmentMember.objects.filter(profile__in=profile_ids).delete()
