"""Who takes part in the programme, and at which tier."""

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta

from django.db.models import Exists, OuterRef, Sum
from django.utils import timezone

from loyalty import rules
from loyalty.models import Membership, Tier, Transaction
from profiles.models import Profile
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
    """Those of them who are members, or have points that make them one."""
    ids = list(profile_ids)
    known = involved(ids)
    return [profile_id for profile_id in ids if profile_id in known]


def involved(profile_ids: Iterable[int]) -> set[int]:
    """The same, in no order."""
    with whole_network():
        taking = Profile.objects.filter(
            Exists(Membership.objects.filter(profile=OuterRef("pk")))
            | Exists(Transaction.objects.filter(profile=OuterRef("pk"))),
            pk__in=list(profile_ids),
        )
        return set(taking.order_by().values_list("pk", flat=True))


def noted(profile_ids: Iterable[int]) -> dict[str, list | None]:
    """The memberships as they are, to be put back, as JSON: profile id -> [enrolled, tier, since] or None."""
    ids = list(profile_ids)
    with whole_network():
        known = {m.profile_id: m for m in Membership.objects.filter(profile__in=ids)}
    return {
        str(pk): [m.enrolled_at.isoformat(), m.tier_id, m.tier_since and m.tier_since.isoformat()]
        if (m := known.get(pk))
        else None
        for pk in ids
    }


def join(winner_id: int, loser_id: int) -> None:
    """Of two who became one: a member since the earlier of the two, at the tier of what both earned."""
    refresh([winner_id])
    with whole_network():
        first = Membership.objects.filter(profile__in=[winner_id, loser_id]).order_by("enrolled_at").first()
        Membership.objects.filter(profile=winner_id).update(enrolled_at=first.enrolled_at)


def put_back(told: dict[str, list | None], besides: Iterable[int] = ()) -> None:
    """Set the tier that holds now, and the dates of before where it is the tier of before (`noted`)."""
    refresh(taking_part({*map(int, told), *besides}))
    with whole_network():
        for pk, before in told.items():
            now = Membership.objects.filter(profile=pk)
            if before is None:
                # Who never took part before, and has earned nothing since, was enrolled by the mistake alone.
                by_itself = [Transaction.Kind.TRANSFER, Transaction.Kind.ADJUST]
                if not Transaction.objects.filter(profile=pk).exclude(kind__in=by_itself).exists():
                    now.delete()
                continue
            enrolled_at, tier_id, tier_since = before
            now.update(enrolled_at=datetime.fromisoformat(enrolled_at))
            since = tier_since and datetime.fromisoformat(tier_since)
            now.filter(tier=tier_id).update(tier_since=since)


def refresh(profile_ids: Iterable[int], now: datetime | None = None) -> None:
    """Enrol who earned points and is no member yet, and set everybody's tier to what holds now."""
    ids = sorted(set(profile_ids))
    now = now or timezone.now()
    with whole_network():
        tiers = {tier.code: tier for tier in Tier.objects.all()}
        standing = Standing(ids, now, {code: tier.threshold for code, tier in tiers.items()})
        known = {m.profile_id: m for m in Membership.objects.filter(profile__in=ids)}
        thresholds = {tier.pk: tier.threshold for tier in tiers.values()}
        changed, rose = [], {}
        for profile_id in ids:
            tier = tiers.get(standing.tier(profile_id, now))
            member = known.get(profile_id) or Membership(profile_id=profile_id, enrolled_at=now)
            if member.pk and member.tier_id == (tier.pk if tier else None):
                continue
            before = thresholds[member.tier_id] if member.tier_id else -1
            if tier and tier.threshold > before:
                rose[profile_id] = [
                    pk for pk, least in thresholds.items() if before < least <= tier.threshold
                ]
            member.tier, member.tier_since = tier, now
            changed.append(member)
        Membership.objects.bulk_create(
            changed,
            update_conflicts=True,
            unique_fields=["profile"],
            update_fields=["tier", "tier_since"],
        )
    if rose:
        for told in REACHED:
            told(rose)
