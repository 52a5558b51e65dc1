"""What the ledger does when people are merged or separated, inside the same transaction."""

from collections.abc import Sequence

from django.db import connection
from django.dispatch import receiver

from loyalty import actions, gifts, ledger, members, vouchers
from loyalty.models import Account, CouponUse, Membership, SegmentMember, Transaction, Voucher
from profiles.models import Merge
from profiles.signals import profiles_merged, profiles_unmerged, profiles_untold, ticket_moved
from tenants.brand_sql import prepared

members.REACHED.append(gifts.give_for)


@receiver(profiles_merged)
def hand_over(sender, merges: Sequence[Merge], **kwargs) -> None:
    """Benefits before points: what either was given for a tier is not given again to both together."""
    people = [pk for merge in merges for pk in (merge.winner_id, merge.loser_id)]
    taking_part: set[int] = set()
    if _have_something(people):
        vouchers.hand_over(merges)
        taking_part.update(members.taking_part(people))
    for merge in merges:
        both = [merge.winner_id, merge.loser_id]
        if not taking_part.intersection(both):
            merge.moved["members"] = {str(pk): None for pk in both}
            continue
        merge.moved["members"] = members.noted(both)
        if withdrawn := actions.settle_merge(merge):
            merge.moved["withdrawn"] = withdrawn
        ledger.transfer(merge)
        if any(merge.moved["members"].values()) or "ledger" in merge.moved:
            members.join(merge.winner_id, merge.loser_id)
        taking_part.add(merge.winner_id)


def _have_something(profile_ids: Sequence[int]) -> bool:
    """Whether anybody of them has anything of the programme: most whom matching joins have not, and each question would
    cost a round trip."""
    there = " OR ".join(
        f"EXISTS (SELECT FROM {connection.ops.quote_name(model._meta.db_table)} WHERE profile_id = ANY(%(people)s))"
        for model in (Membership, Transaction, Voucher, CouponUse)
    )
    with prepared() as cursor:
        cursor.execute(f"SELECT {there}", {"people": list(profile_ids)})
        return cursor.fetchone()[0]


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
