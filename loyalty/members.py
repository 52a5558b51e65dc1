"""Who takes part in the programme, and at which tier."""

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Sum
from django.utils import timezone

from loyalty import rules
from loyalty.models import Membership, Programme, Tier, TierChange, Transaction
from profiles.models import Profile
from tenants.calendar import brand_zone
from tenants.scoping import whole_network

QUALIFYING_WINDOW = timedelta(days=365)
# Who wants to know of members that rose: called in the same transaction with the ids of the tiers, those that were
# passed over included, by profile id.
REACHED: list[Callable[[Mapping[int, list[int]]], object]] = []


class Standing:
    """Qualifying points of some members, by the time they were earned: answers "which tier at that instant?".

    Points count for 365 days, and whether they were spent does not matter.
    """

    def __init__(self, profile_ids: Iterable[int], since: datetime, thresholds: dict[str, int]):
        self.thresholds = thresholds
        self._earned: dict[int, list[tuple[datetime, int]]] = defaultdict(list)
        self._of_day: dict[tuple[int, date], int] = defaultdict(int)
        with whole_network():
            rows = Transaction.objects.filter(
                profile__in=list(profile_ids), occurred_at__gt=since - QUALIFYING_WINDOW
            ).exclude(qualifying_points=0)
            for profile_id, at, points in rows.order_by("occurred_at").values_list(
                "profile", "occurred_at", "qualifying_points"
            ):
                self._earned[profile_id].append((at, points))

    def add(self, profile_id: int, at: datetime, points: int, day: date) -> None:
        insort(self._earned[profile_id], (at, points))
        self._of_day[profile_id, day] += points

    def earned_on(self, profile_id: int, day: date) -> int:
        """What the tickets of that day have earned so far, refunds left aside: they give no room under a cap."""
        with whole_network():
            posted = Transaction.objects.filter(
                profile=profile_id, kind=Transaction.Kind.EARN, purchase__business_day=day
            )
            before = posted.aggregate(points=Sum("qualifying_points"))["points"] or 0
        return before + self._of_day[profile_id, day]

    def points(self, profile_id: int, at: datetime) -> int:
        return sum(p for t, p in self._earned[profile_id] if at - QUALIFYING_WINDOW < t <= at)

    def tier(self, profile_id: int, at: datetime) -> str:
        return rules.tier_for(self.points(profile_id, at), self.thresholds)


def taking_part(profile_ids: Iterable[int]) -> list[int]:
    """Those of them who are members, or have points that make them one; by id."""
    with whole_network():
        taking = Profile.objects.filter(
            Exists(Membership.objects.filter(profile=OuterRef("pk")))
            | Exists(Transaction.objects.filter(profile=OuterRef("pk"))),
            pk__in=list(profile_ids),
        )
        return list(taking.order_by("pk").values_list("pk", flat=True))


def noted(profile_ids: Iterable[int]) -> dict[str, list | None]:
    """The memberships as they are, to be put back, as JSON: profile id -> [enrolled, tier, since, at risk since, grace
    until] or None."""
    ids = list(profile_ids)
    with whole_network():
        known = {m.profile_id: m for m in Membership.objects.filter(profile__in=ids)}
    return {
        str(pk): [
            m.enrolled_at.isoformat(), m.tier_id, m.tier_since and m.tier_since.isoformat(),
            m.at_risk_since and m.at_risk_since.isoformat(), m.grace_until and m.grace_until.isoformat(),
        ]
        if (m := known.get(pk))
        else None
        for pk in ids
    }  # fmt: skip


def join(winner_id: int, loser_id: int) -> None:
    """Of two who became one: a member since the earlier of the two, at the tier of what both earned."""
    refresh([winner_id])
    with whole_network():
        first = Membership.objects.filter(profile__in=[winner_id, loser_id]).order_by("enrolled_at").first()
        Membership.objects.filter(profile=winner_id).update(enrolled_at=first.enrolled_at)


def put_back(told: dict[str, list | None], besides: Iterable[int] = ()) -> None:
    """Set the tier that holds now, and the dates of before where it is the tier of before (`noted`).

    A grace that ran before, and is not over, goes on.
    """
    graced = {int(pk): Grace.noted(before) for pk, before in told.items() if before and any(before[3:])}
    recount(taking_part({*map(int, told), *besides}), graced=graced)
    with whole_network():
        for pk, before in told.items():
            now = Membership.objects.filter(profile=pk)
            if before is None:
                # Who never took part before, and has earned nothing since, was enrolled by the mistake alone.
                by_itself = [Transaction.Kind.TRANSFER, Transaction.Kind.ADJUST]
                if not Transaction.objects.filter(profile=pk).exclude(kind__in=by_itself).exists():
                    now.delete()
                continue
            enrolled_at, tier_id, tier_since = before[:3]
            now.update(enrolled_at=datetime.fromisoformat(enrolled_at))
            since = tier_since and datetime.fromisoformat(tier_since)
            now.filter(tier=tier_id).update(tier_since=since)


# --- Which tier holds ------------------------------------------------------------------------------------------------

NEVER, AFTER_GRACE, AT_ONCE = "never", "after grace", "at once"


@dataclass(frozen=True)
class Grace:
    """A tier that is kept until a day though the points no longer reach it."""

    tier_id: int
    since: datetime
    until: date

    @classmethod
    def noted(cls, before: list) -> "Grace":
        return cls(before[1], datetime.fromisoformat(before[3]), date.fromisoformat(before[4]))


def refresh(profile_ids: Iterable[int], now: datetime | None = None) -> None:
    """Enrol who earned points and is no member yet, and raise everybody to the tier that holds now.

    Whose points no longer reach their tier is at risk, and keeps it for the programme's days of grace.
    """
    _set_tiers(profile_ids, now, NEVER)


@transaction.atomic
def review(profile_ids: Iterable[int], now: datetime | None = None) -> None:
    """`refresh` at night: a tier whose grace is over falls, by one level or to what was earned as is said."""
    ids = list(profile_ids)
    # Whoever else changes these tiers waits, so that a change is told once.
    Profile.hold(ids)
    _set_tiers(ids, now, AFTER_GRACE)


@transaction.atomic
def recount(
    profile_ids: Iterable[int], now: datetime | None = None, graced: Mapping[int, Grace] | None = None
) -> None:
    """Set everybody's tier to what was earned, without a grace: what counted for it was never theirs.

    `graced`: a grace that ran before and goes on.
    """
    ids = list(profile_ids)
    Profile.hold(ids)
    _set_tiers(ids, now, AT_ONCE, graced or {})


def _set_tiers(
    profile_ids: Iterable[int], now: datetime | None, lower: str, graced: Mapping[int, Grace] | None = None
) -> None:
    ids = sorted(set(profile_ids))
    now = now or timezone.now()
    with whole_network():
        ladder = _Ladder(now, lower)
        standing = Standing(ids, now, {tier.code: tier.threshold for tier in ladder.tiers})
        members = Membership.objects.filter(profile__in=ids).select_related("tier")
        known = {member.profile_id: member for member in members}
        changed = []
        for profile_id in ids:
            member = known.get(profile_id) or Membership(profile_id=profile_id, enrolled_at=now)
            before = _state_of(member)
            ladder.set(member, standing.tier(profile_id, now), (graced or {}).get(profile_id))
            if member.pk is None or _state_of(member) != before:
                changed.append(member)
        Membership.objects.bulk_create(
            changed, update_conflicts=True, unique_fields=["profile"],
            update_fields=["tier", "tier_since", "at_risk_since", "grace_until"],
        )  # fmt: skip
        TierChange.objects.bulk_create(ladder.changes)
    if ladder.rose:
        for told in REACHED:
            told(ladder.rose)


def _state_of(member: Membership) -> tuple:
    return member.tier_id, member.tier_since, member.at_risk_since, member.grace_until


class _Ladder:
    """The tiers from below, and how a member moves on them."""

    def __init__(self, now: datetime, lower: str):
        self.now, self.lower = now, lower
        self.today = now.astimezone(brand_zone()).date()
        self.tiers = list(Tier.objects.order_by("threshold"))
        self.by_code = {tier.code: tier for tier in self.tiers}
        self.rank = {tier.pk: rank for rank, tier in enumerate(self.tiers)} | {None: -1}
        self.changes: list[TierChange] = []
        # Who rose -> the tiers reached.
        self.rose: dict[int, list[int]] = {}
        self._programme: Programme | None = None

    @property
    def programme(self) -> Programme:
        """Asked for only where somebody's points fall short: a till seldom needs it."""
        if self._programme is None:
            self._programme = Programme.objects.first() or Programme()
        return self._programme

    def set(self, member: Membership, earned: str, grace: Grace | None) -> None:
        tier = self.by_code.get(earned)
        short = self.rank[tier.pk if tier else None] < self.rank[member.tier_id]
        if (
            grace
            and grace.until >= self.today
            and self.rank[tier.pk if tier else None] < self.rank[grace.tier_id]
        ):
            kept = next(known for known in self.tiers if known.pk == grace.tier_id)
            self._move(member, kept, TierChange.Why.RECOUNTED)
            member.at_risk_since, member.grace_until = grace.since, grace.until
        elif not short or self.lower == AT_ONCE:
            self._move(member, tier, TierChange.Why.RECOUNTED if short else TierChange.Why.EARNED)
            member.at_risk_since = member.grace_until = None
        elif member.grace_until is None:
            self._put_at_risk(member)
        elif self.lower == AFTER_GRACE and self.today > member.grace_until:
            if self.programme.tier_downgrade == Programme.Downgrade.ONE_DOWN:
                below = self.rank[member.tier_id] - 1
                fallen = self.tiers[below] if below >= 0 else None
            else:
                fallen = tier
            self._move(member, fallen, TierChange.Why.GRACE_OVER)
            member.at_risk_since = member.grace_until = None
            if fallen != tier:
                self._put_at_risk(member)

    def _put_at_risk(self, member: Membership) -> None:
        member.at_risk_since = self.now
        member.grace_until = self.today + timedelta(days=self.programme.tier_grace_days)

    def _move(self, member: Membership, tier: Tier | None, why: str) -> None:
        if member.tier_id == (tier.pk if tier else None):
            return
        before = member.tier.code if member.tier else ""
        self.changes.append(
            TierChange(
                profile_id=member.profile_id,
                before=before,
                after=tier.code if tier else "",
                why=why,
                at=self.now,
            )
        )
        reached = range(self.rank[member.tier_id] + 1, self.rank[tier.pk if tier else None] + 1)
        if reached:
            self.rose[member.profile_id] = [self.tiers[rank].pk for rank in reached]
        member.tier, member.tier_since = tier, self.now


def tier_changes(after: int = 0, limit: int = 500) -> list[TierChange]:
    """Changes of tier since the one with this id, the oldest first: whoever announces them keeps the last id read."""
    with whole_network():
        return list(TierChange.objects.filter(pk__gt=after).select_related("profile").order_by("pk")[:limit])
