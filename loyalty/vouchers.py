"""Vouchers: bought with points or given, used once, and what becomes of those that are not.

A voucher that was bought is a redemption in two steps, as a reservation is: its points leave the member's lots when it
is issued, stand in the issuing store's account *vouchers*, and end as redeemed where it is used, as expired where its
time is over, or back in the very lots. All that happens to a voucher happens under the lock of its row, and behind it
the database lets it end once.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from loyalty import codes, ledger, rewards
from loyalty.models import Account, CouponUse, Reward, TierGift, Transaction, Voucher
from loyalty.rewards import Refused
from profiles.models import Merge, Profile
from tenants.calendar import brand_today
from tenants.network.models import Store
from tenants.scoping import whole_network

Kind, State = Transaction.Kind, Voucher.State
DRAWS = 3


@transaction.atomic
def buy(
    profile: Profile, reward: Reward, *, store: Store, key: str, at: datetime, actor: str = ""
) -> Voucher:
    """Issue a voucher for the reward's points: points, stock and voucher together, or nothing.

    A reward with a stock is set aside in this store, and then valid only here; a donation is made at once. Raises
    `Refused`, `ledger.NotEnoughPoints`, and `ledger.AlreadyPosted` for a key that was used before.
    """
    rewards.must_be_offered(reward, store)
    if reward.points is None:
        raise Refused("reward_not_for_points", _("this reward cannot be had for points"), "reward")
    with whole_network():
        holder = Profile.hold([profile.pk])[profile.pk]
        stock = rewards.take_from_stock(reward, store)
        issue = ledger.issue_voucher(
            holder.pk, reward.points, store_id=store.pk, key=f"issue:{key}"[:120], at=at, actor=actor
        )
        voucher = _issue(
            Voucher(
                key=key, reward=reward, profile=holder, points=reward.points, issue_id=issue, stock=stock,
                store=store if stock else None, issued_at=at, issued_in=store, issued_by=actor,
            )
        )  # fmt: skip
        if reward.kind == Reward.Kind.DONATION:
            _use(voucher, store, at=at, actor=actor, cents=voucher.worth_cents)
    return voucher


@transaction.atomic
def give(
    profile: Profile, reward: Reward, *, key: str, gift: TierGift | None = None, campaign: str = "",
    store: Store | None = None, only_in: Store | None = None, by: str = "",
) -> Voucher:  # fmt: skip
    """Issue a voucher for nothing; the same key again gives the same voucher. `store` gives it, or head office does.

    Stock is taken where it is used. Raises `Refused`.
    """
    rewards.must_be_offered(reward, store)
    with whole_network():
        holder = Profile.hold([profile.pk])[profile.pk]
        known = Voucher.objects.filter(key=key).first()
        if known:
            return known
        return _issue(
            Voucher(
                key=key, reward=reward, profile=holder, gift=gift, campaign=campaign, issued_in=store,
                store=only_in, issued_by=by,
            )
        )  # fmt: skip


def _issue(voucher: Voucher) -> Voucher:
    """Write the voucher under the reward's terms of today, with a code that nobody has."""
    reward = voucher.reward
    voucher.worth_cents, voucher.shares, voucher.unused = reward.worth_cents, reward.shares, reward.unused
    voucher.last_day = brand_today() + timedelta(days=reward.lives_days)
    for _draw in range(DRAWS):
        voucher.code = codes.draw()
        if not Voucher.objects.filter(code=voucher.code).exists():
            break
    voucher.save(force_insert=True)
    return voucher


def find(told: str) -> Voucher:
    """The voucher with this code. Raises `Refused`: mistyped, or unknown."""
    code = codes.read(told)
    if not code:
        raise Refused("mistyped_voucher", _("this is no code of a voucher: check what was typed"), "code")
    with whole_network():
        voucher = (
            Voucher.objects.select_related("reward", "store", "used_in", "profile").filter(code=code).first()
        )
    if voucher is None:
        raise Refused("unknown_voucher", _("no voucher has this code"), "code")
    return voucher


def must_be_usable(voucher: Voucher, store: Store) -> None:
    """Raise `Refused` with the reason where the voucher cannot be used in this store today."""
    if voucher.state == State.USED:
        raise Refused(
            "voucher_used",
            _("this voucher was used on %s")
            % date_format(timezone.localtime(voucher.ended_at), "SHORT_DATE_FORMAT"),
            "code",
        )
    if voucher.state == State.CANCELLED:
        raise Refused("voucher_cancelled", _("this voucher was cancelled"), "code")
    if voucher.state == State.EXPIRED or voucher.last_day < brand_today():
        raise Refused(
            "voucher_expired",
            _("this voucher was valid until %s") % date_format(voucher.last_day, "SHORT_DATE_FORMAT"),
            "code",
        )
    if voucher.store is not None and voucher.store_id != store.pk:
        raise Refused("other_store", _("this is only valid in %s") % voucher.store.name, "store")
    rewards.must_be_taken_in(voucher.reward, store)


@transaction.atomic
def use(told: str, *, store: Store, at: datetime, actor: str = "", total_cents: int | None = None) -> Voucher:
    """Use the voucher in this store, once; of money off, no more than `total_cents`, if told. Raises `Refused`."""
    with whole_network():
        found = find(told)
        voucher = (
            Voucher.objects.select_for_update(of=("self",)).select_related("reward", "store").get(pk=found.pk)
        )
        must_be_usable(voucher, store)
        is_money = voucher.reward.kind == Reward.Kind.MONEY_OFF
        if is_money and total_cents is not None and total_cents <= 0:
            raise Refused("basket_too_small", _("there is nothing to take money off"), "total")
        if voucher.stock_id is None:
            rewards.take_from_stock(voucher.reward, store)
        cents = voucher.worth_cents
        if is_money and total_cents is not None:
            cents = min(cents, total_cents)
        _use(voucher, store, at=at, actor=actor, cents=cents)
    return voucher


def _use(voucher: Voucher, store: Store, *, at: datetime, actor: str, cents: int) -> None:
    told: dict = {"cents": cents}
    if voucher.shares:
        told["key"] = voucher.shares
    fact = ledger.Fact(
        key=f"voucher:{voucher.pk}", kind=Kind.REDEEM, profile_id=voucher.profile_id, store_id=store.pk,
        occurred_at=at, actor=actor, explanation=[told],
    )  # fmt: skip
    if voucher.issue is None:
        told["giver"] = voucher.issued_in_id
    else:
        fact.key, fact.reverses_id = f"end:{voucher.issue_id}", voucher.issue_id
        fact.points = {
            _outstanding(voucher): -voucher.points,
            _account(Account.Kind.REDEEMED, store.pk): voucher.points,
        }
    voucher.use_id = ledger.post([fact])[fact.key]
    voucher.state, voucher.ended_at = State.USED, at
    voucher.used_in, voucher.used_cents = store, cents
    voucher.save(update_fields=["state", "ended_at", "used_in", "used_cents", "use"])


@transaction.atomic
def cancel(voucher_id: int, *, at: datetime, actor: str = "") -> Voucher:
    """Undo the issue: points back into their lots and the reward back into stock, together. Raises `Refused`."""
    with whole_network():
        voucher = _held(voucher_id)
        if voucher.state != State.ISSUED:
            raise Refused(
                "voucher_ended",
                _("this voucher is %s: it cannot be cancelled") % voucher.get_state_display(),
                "code",
            )
        if voucher.issue_id:
            ledger.return_voucher(voucher.issue_id, at=at, actor=actor)
        _end(voucher, State.CANCELLED, at)
    return voucher


def expire_due(today: date, limit: int = 500) -> int:
    """End vouchers whose last day has passed: their points are lost or return to their lots, as they were issued.

    Each is a transaction of its own, so that it may be run twice or killed. Returns how many ended.
    """
    with whole_network():
        due = Voucher.objects.filter(state=State.ISSUED, last_day__lt=today).order_by("pk")
        ids = list(due.values_list("pk", flat=True)[:limit])
        return sum(_expire(pk, today) for pk in ids)


@transaction.atomic
def _expire(voucher_id: int, today: date) -> bool:
    voucher = _held(voucher_id)
    if voucher.state != State.ISSUED or voucher.last_day >= today:
        return False
    now = timezone.now()
    if voucher.issue_id and voucher.unused == Reward.Unused.RETURNED:
        ledger.return_voucher(voucher.issue_id, at=now, actor="system")
    elif voucher.issue_id:
        fact = ledger.Fact(
            key=f"end:{voucher.issue_id}", kind=Kind.EXPIRE, profile_id=voucher.profile_id,
            store_id=voucher.issue.store_id, occurred_at=now, reverses_id=voucher.issue_id, actor="system",
            points={
                _outstanding(voucher): -voucher.points,
                _account(Account.Kind.EXPIRED, voucher.issue.store_id): voucher.points,
            },
        )  # fmt: skip
        ledger.post([fact])
    _end(voucher, State.EXPIRED, now)
    return True


def _end(voucher: Voucher, state: str, at: datetime) -> None:
    rewards.put_back_into_stock([voucher.stock_id])
    voucher.state, voucher.ended_at = state, at
    voucher.save(update_fields=["state", "ended_at"])


def _held(voucher_id: int) -> Voucher:
    """The voucher under its lock, its holder locked before it: a merge locks in this order, too."""
    Profile.hold(Voucher.objects.filter(pk=voucher_id).values_list("profile", flat=True))
    locked = Voucher.objects.select_for_update(of=("self",)).select_related("reward", "issue", "store")
    return locked.get(pk=voucher_id)


def _outstanding(voucher: Voucher) -> int:
    return _account(Account.Kind.VOUCHERS, voucher.issue.store_id)


def _account(kind: str, store_id: int) -> int:
    return ledger.store_accounts(kind, [store_id])[store_id]


def held_by(profile: Profile, limit: int = 20) -> list[Voucher]:
    """The newest vouchers of a customer that the current scope sees, those that can still be used first."""
    rows = Voucher.objects.filter(profile=profile).select_related("reward", "store", "used_in")
    return sorted(rows.order_by("-pk")[:limit], key=lambda voucher: voucher.state != State.ISSUED)


# --- When people are merged and separated -----------------------------------------------------------------------------


def hand_over(merges: Sequence[Merge]) -> None:
    """Give vouchers and uses of coupons to the surviving customers; each merge remembers which."""
    with whole_network():
        losers = {merge.loser_id for merge in merges}
        holdings: dict[type, dict[int, list[int]]] = {Voucher: {}, CouponUse: {}}
        for model, held in holdings.items():
            for pk, profile_id in model.objects.filter(profile__in=losers).values_list("pk", "profile"):
                held.setdefault(profile_id, []).append(pk)
        for merge in merges:
            for model, held in holdings.items():
                moved = held.pop(merge.loser_id, [])
                if moved:
                    model.objects.filter(pk__in=moved).update(profile=merge.winner_id)
                    held.setdefault(merge.winner_id, []).extend(moved)
                    merge.moved[model._meta.model_name] = sorted(moved)


def hand_back(merge: Merge) -> None:
    """Give back what `hand_over` moved."""
    with whole_network():
        for model in (Voucher, CouponUse):
            moved = merge.moved.get(model._meta.model_name, [])
            model.objects.filter(pk__in=moved, profile=merge.winner_id).update(profile=merge.loser_id)
