"""The catalogue: what is offered where and when, and the stock of each store."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from django.db.models import F
from django.utils.translation import gettext as _

from loyalty.models import Reward, RewardStock
from tenants.calendar import brand_today
from tenants.network.models import Store
from tenants.scoping import whole_network


class Refused(Exception):
    """A benefit cannot be had or used. `code` is stable, `detail` for people, `field` what is at fault."""

    def __init__(self, code: str, detail: str, field: str = ""):
        super().__init__(detail)
        self.code, self.detail, self.field = code, detail, field


@dataclass(frozen=True)
class Offer:
    """A reward as a store offers it; `left` is its stock there, None where nobody counts."""

    reward: Reward
    left: int | None


def offered_in(store: Store, day: date | None = None) -> list[Offer]:
    """What can be had for points in this store on this day, the cheapest first; what ran out is left out."""
    day = day or brand_today()
    with whole_network():
        rewards = Reward.objects.filter(is_offered=True, points__isnull=False, valid_from__lte=day)
        rewards = rewards.exclude(valid_until__lt=day).filter(Reward.visible_from([store.pk]))
        stock = dict(RewardStock.objects.filter(store=store).values_list("reward", "left"))
        offers = [
            Offer(reward, stock.get(reward.pk, 0) if reward.is_counted else None)
            for reward in rewards.order_by("points", "name")
        ]
    return [offer for offer in offers if offer.left != 0]


def wanted(code: str, store: Store) -> Reward:
    """The reward that may be had for points in this store today. Raises `Refused`."""
    with whole_network():
        reward = Reward.objects.filter(code=code).first()
    if reward is None:
        raise Refused("unknown_reward", _("the catalogue has no reward «%s»") % code[:40], "reward")
    must_be_offered(reward, store)
    if reward.points is None:
        raise Refused("reward_not_for_points", _("this reward cannot be had for points"), "reward")
    return reward


def must_be_offered(reward: Reward, store: Store | None = None) -> None:
    """Raise `Refused` where the reward is not offered today, or not in this store."""
    today = brand_today()
    if not reward.is_offered or (reward.valid_until and reward.valid_until < today):
        raise Refused("reward_not_offered", _("this reward is offered no more"), "reward")
    if reward.valid_from > today:
        raise Refused(
            "reward_not_offered", _("this reward is offered from %s on") % reward.valid_from, "reward"
        )
    if store is not None:
        must_be_taken_in(reward, store)


def must_be_taken_in(reward: Reward, store: Store) -> None:
    """Raise `Refused` where the reward names stores, and this one is not among them."""
    names = stores_of(reward)
    if names and store.pk not in names:
        raise Refused(
            "other_store", _("this is only valid in %s") % ", ".join(list(names.values())[:5]), "store"
        )


def stores_of(reward: Reward) -> dict[int, str]:
    """The stores that the reward names: id -> name; none: every store."""
    with whole_network():
        return dict(reward.stores.order_by("code").values_list("pk", "name"))


def take_from_stock(reward: Reward, store: Store) -> RewardStock | None:
    """Take one from the store's stock; None where nobody counts. Raises `Refused`.

    Of two who want the last one at once the second waits, and is refused.
    """
    if not reward.is_counted:
        return None
    with whole_network():
        rows = RewardStock.objects.filter(reward=reward, store=store)
        if not rows.filter(left__gte=1).update(left=F("left") - 1):
            raise Refused("out_of_stock", _("%s has none left of this reward") % store.name, "reward")
        return rows.get()


def put_back_into_stock(stock_ids: Iterable[int | None]) -> None:
    """Put one back for each id; None is skipped."""
    with whole_network():
        for pk in stock_ids:
            if pk is not None:
                RewardStock.objects.filter(pk=pk).update(left=F("left") + 1)
