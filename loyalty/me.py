"""What a member sees of themselves: points, tier, history, what they can have, their card, and what we may send them.

The figures are those that a till is told (`till.statement`), so the two never differ.
"""

from dataclasses import dataclass
from datetime import date

from django.db import connection
from django.db.models import Sum
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from loyalty import codes, members, rewards, statements, till
from loyalty.models import Membership, Reward, RewardStock, Tier, Voucher
from profiles import blocklist, consent
from profiles.models import Channel, Identifier, Profile
from tenants.calendar import brand_today
from tenants.network.models import audit
from tenants.scoping import whole_network

MOVEMENTS = 20
LONGEST_LIST = 30
# Below this age nobody agrees to marketing alone.
OF_AGE = 15


class NotAlone(PermissionError):
    """Somebody below fifteen cannot agree alone."""


@dataclass(frozen=True)
class Ladder:
    """The tier that is held, and how many points are missing to the next one (None where there is no higher one)."""

    tier: str
    next_tier: str
    missing: int | None
    kept_until: date | None


@dataclass(frozen=True)
class Line:
    """A movement of points."""

    on: date
    what: str
    points: int
    store: str


@dataclass(frozen=True)
class Held:
    """A voucher that can be used."""

    name: str
    description: str
    code: str
    worth_cents: int
    last_day: date
    stores: list[str]


@dataclass(frozen=True)
class Offer:
    """A reward that can be had for points; `missing`: how many points are too few, zero where it can be had now."""

    name: str
    description: str
    points: int
    missing: int
    stores: list[str]


@dataclass(frozen=True)
class ChannelNow:
    """A channel, what holds now (None: never asked), and the words by which a person agrees or refuses."""

    channel: str
    label: str
    allowed: bool | None
    agree: str
    refuse: str
    may_agree: bool


@dataclass(frozen=True)
class OwnView:
    """Everything that the page shows. `statement` is what a till is told of the member."""

    statement: dict
    ladder: Ladder
    expiries: list[statements.Expiry]
    movements: list[Line]
    vouchers: list[Held]
    offers: list[Offer]
    channels: list[ChannelNow]
    card: str


def view_of(profile: Profile) -> OwnView:
    """What this living member sees now."""
    with whole_network():
        told = till.statement(str(profile.public_id))
        return OwnView(
            told,
            _ladder(profile, told["tier"]),
            statements.expiries_of(profile),
            _movements(profile),
            _vouchers(profile),
            _offers(told["available"]),
            channels_of(profile),
            _card(profile),
        )


def decide(profile: Profile, channel: str, verdict: str) -> None:
    """The member says on their own page what may be sent to them: `verdict` is grant or withdraw.

    Kept as every consent, told directly by the person, with the words that the page showed. Raises `ValueError` for a
    channel or verdict that there is not, and `NotAlone`.
    """
    deed = {"grant": consent.grant, "withdraw": consent.withdraw}.get(verdict)
    if deed is None:
        raise ValueError(f"verdict: unknown verdict «{verdict}»")
    with whole_network():
        shown = next((one for one in channels_of(profile) if one.channel == channel), None)
        if shown is None:
            raise ValueError(f"channel: unknown channel «{channel}»")
        if verdict == "grant" and not shown.may_agree:
            raise NotAlone
        actor = on_own_page()
        # The words are those that were shown.
        deed(profile, channel, actor=actor, wording=shown.agree if verdict == "grant" else shown.refuse)
        audit(actor, f"consent {verdict}", profile, channel=channel)


def on_own_page() -> str:
    """Who does what is done on the page, as the brand's people read it: in their language, not in the member's."""
    with translation.override(getattr(connection.tenant, "language", None) or "en"):
        return _("the customer, on their own page")


def channels_of(profile: Profile) -> list[ChannelNow]:
    """The channels by which the member can be reached, or about which something was said."""
    brand = getattr(connection.tenant, "name", "")
    words = {
        Channel.EMAIL: (
            _("I would like to receive news and offers of %(brand)s by e-mail.") % {"brand": brand},
            _("I no longer want news or offers of %(brand)s by e-mail.") % {"brand": brand},
        ),
        Channel.SMS: (
            _("I would like to receive news and offers of %(brand)s by text message.") % {"brand": brand},
            _("I no longer want news or offers of %(brand)s by text message.") % {"brand": brand},
        ),
        Channel.POST: (
            _("I would like to receive news and offers of %(brand)s by post.") % {"brand": brand},
            _("I no longer want news or offers of %(brand)s by post.") % {"brand": brand},
        ),
    }
    reached = {Channel.EMAIL: profile.email, Channel.SMS: profile.phone, Channel.POST: profile.street}
    with whole_network():
        now = consent.current(profile)
    may_agree = not _is_child(profile)
    return [
        ChannelNow(
            channel.value, str(channel.label), now[channel.value].granted if channel.value in now else None,
            *words[channel], may_agree,
        )
        for channel in Channel
        if reached[channel] or channel.value in now
    ]  # fmt: skip


def _is_child(profile: Profile) -> bool:
    born, today = profile.birth_date, brand_today()
    if born is None:
        return False
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day)) < OF_AGE


def _ladder(profile: Profile, tier: str) -> Ladder:
    now = timezone.now()
    tiers = list(Tier.objects.order_by("threshold"))
    points = members.Standing([profile.pk], now, {t.code: t.threshold for t in tiers}).points(profile.pk, now)
    member = Membership.objects.filter(profile=profile).select_related("tier").first()
    held = member.tier.threshold if member and member.tier else -1
    higher = next((t for t in tiers if t.threshold > max(held, points)), None)
    return Ladder(
        tier, higher.name if higher else "", higher.threshold - points if higher else None,
        member.grace_until if member else None,
    )  # fmt: skip


def _movements(profile: Profile) -> list[Line]:
    told = statements.history(profile, MOVEMENTS)
    return [
        Line(
            timezone.localtime(moved.transaction.occurred_at).date(), moved.transaction.get_kind_display(),
            moved.points, moved.transaction.store.name if moved.transaction.store else "",
        )
        for moved in told
        if moved.points
    ]  # fmt: skip


def _vouchers(profile: Profile) -> list[Held]:
    usable = Voucher.objects.filter(
        profile=profile, state=Voucher.State.ISSUED, last_day__gte=brand_today()
    ).select_related("reward", "store")
    return [
        Held(
            voucher.reward.name, voucher.reward.description, codes.shown(voucher.code), voucher.worth_cents,
            voucher.last_day,
            [voucher.store.name] if voucher.store else list(rewards.stores_of(voucher.reward).values()),
        )
        for voucher in usable.order_by("last_day", "pk")[:LONGEST_LIST]
    ]  # fmt: skip


def _offers(available: int) -> list[Offer]:
    """The catalogue of the network: what can be had for points today in some store, the cheapest first."""
    today = brand_today()
    offered = Reward.objects.filter(is_offered=True, points__isnull=False, valid_from__lte=today)
    stock = dict(RewardStock.objects.order_by().values_list("reward").annotate(left=Sum("left")))
    return [
        Offer(
            reward.name, reward.description, reward.points, max(reward.points - available, 0),
            list(rewards.stores_of(reward).values()),
        )
        for reward in offered.exclude(valid_until__lt=today).order_by("points", "name")[:LONGEST_LIST]
        if not reward.is_counted or stock.get(reward.pk, 0) > 0
    ]  # fmt: skip


def _card(profile: Profile) -> str:
    """The number of the card that was told last, "" where there is none that is the member's alone."""
    blocked = blocklist.current()
    told = Identifier.objects.filter(profile=profile, kind=Identifier.Kind.CARD).order_by("-last_seen", "key")
    return next((card.key for card in told if not blocked.blocks(card.kind, card.key)), "")
