"""Gifts of tiers: who reaches a tier is given its rewards, once in a lifetime, and keeps them if the tier is lost."""

from collections.abc import Mapping, Sequence

from loyalty import rewards, vouchers
from loyalty.models import TierGift, Voucher
from profiles.models import Profile
from tenants.scoping import whole_network


def give_for(reached: Mapping[int, Sequence[int]]) -> int:
    """Give what the tiers that were reached give: `reached` holds tiers' ids by profile id. Returns how many vouchers.

    A gift whose reward is offered no more is left out; nobody is kept from a tier by it.
    """
    with whole_network():
        tiers = {tier_id for tier_ids in reached.values() for tier_id in tier_ids}
        gifts = list(
            TierGift.objects.filter(is_on=True, tier__in=tiers).select_related("reward").order_by("pk")
        )
        if not gifts:
            return 0
        people = Profile.objects.in_bulk(list(reached))
        had = set(Voucher.objects.filter(gift__in=gifts, profile__in=people).values_list("gift", "profile"))
        given = 0
        for profile_id, tier_ids in sorted(reached.items()):
            for gift in gifts:
                if gift.tier_id not in tier_ids or (gift.pk, profile_id) in had:
                    continue
                try:
                    vouchers.give(
                        people[profile_id],
                        gift.reward,
                        key=f"gift:{gift.pk}:{profile_id}",
                        gift=gift,
                        by="system",
                    )
                except rewards.Refused:
                    continue
                given += 1
    return given
