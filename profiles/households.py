"""Who lives together: matching names pairs, people say yes or no, and households are made of both.

A household merges nobody: its members keep their consents, points and tickets. `regroup` takes the pairs that matching
found; what a person said binds it. Merges and unmerges take memberships along (`profiles/merging.py`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles.models import Household, HouseholdMember, HouseholdWord, Profile
from tenants.locks import alone
from tenants.network.models import Staff, audit
from tenants.scoping import whole_network

# More people than that at one address are a home, a school or a company.
MOST_MEMBERS = 12


class CannotDecide(ValueError):
    """The two cannot be said to be one household or not: they are one customer."""


@dataclass(frozen=True)
class Pair:
    """Two profiles that may live together, how surely (bits), and why, as lines of evidence."""

    one: int
    other: int
    weight: float = 0.0
    evidence: tuple[dict, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class Regrouped:
    """What a run changed: `refused` pairs would have joined whom a person keeps apart, or made a crowd."""

    households: int
    joined: int
    left: int
    refused: int


def regroup(pairs: Iterable[Pair]) -> Regrouped | None:
    """Make the brand's households anew from all pairs that matching finds now; None where another run is under way.

    Who is in no pair any more leaves; a household keeps its id where most of its members stay. Twice the same pairs
    change nothing the second time.
    """
    with alone("households") as is_alone:
        return _regroup(list(pairs)) if is_alone else None


@transaction.atomic
def _regroup(pairs: list[Pair]) -> Regrouped:
    with whole_network():
        living = _living(pk for pair in pairs for pk in (pair.one, pair.other))
        yes, no = _words()
        groups = _Groups(no)
        for one, other in sorted(yes):
            groups.join(one, other, [])
        for pair in sorted(pairs, key=lambda p: (-p.weight, p.one, p.other)):
            one, other = living.get(pair.one), living.get(pair.other)
            if one and other and one != other:
                groups.join(one, other, list(pair.evidence))
        return _write(groups)


class _Groups:
    """Groups of people that grow pair by pair, the surest first, and never hold two whom a person keeps apart."""

    def __init__(self, apart: Mapping[int, set[int]]):
        self.apart = apart
        self.of: dict[int, set[int]] = {}
        self.evidence: dict[int, list[dict]] = {}
        self.refused = 0

    def join(self, one: int, other: int, evidence: list[dict]) -> None:
        left, right = self.of.get(one, {one}), self.of.get(other, {other})
        if left is right:
            return
        if len(left) + len(right) > MOST_MEMBERS or any(self.apart.get(p, set()) & right for p in left):
            self.refused += 1
            return
        together = left | right
        for person in together:
            self.of[person] = together
        for person in (one, other):
            self.evidence.setdefault(person, evidence)

    def all(self) -> list[set[int]]:
        return list({id(group): group for group in self.of.values()}.values())


def _write(groups: _Groups) -> Regrouped:
    standing = {m.profile_id: m for m in HouseholdMember.objects.select_for_update().order_by("profile")}
    taken: set[int] = set()
    wanted: dict[int, int] = {}
    founded: list[set[int]] = []
    stay = {
        min(group): Counter(standing[p].household_id for p in group if p in standing)
        for group in groups.all()
    }
    # Where most people stay, the household is carried on.
    for group in sorted(
        groups.all(), key=lambda g: (-max(stay[min(g)].values(), default=0), -len(g), min(g))
    ):
        before = stay[min(group)]
        free = [pk for pk in before if pk not in taken]
        home = min(free, key=lambda pk: (-before[pk], pk)) if free else None
        if home is None:
            founded.append(group)
            continue
        taken.add(home)
        wanted |= dict.fromkeys(group, home)
    new = Household.objects.bulk_create([Household() for _group in founded], batch_size=5000)
    for group, household in zip(founded, new, strict=True):
        taken.add(household.pk)
        wanted |= dict.fromkeys(group, household.pk)
    gone = [m.pk for pk, m in standing.items() if pk not in wanted]
    HouseholdMember.objects.filter(pk__in=gone).delete()
    changed = []
    for person, member in standing.items():
        if person in wanted:
            told = groups.evidence.get(person, [])
            if (member.household_id, member.evidence) != (wanted[person], told):
                member.household_id, member.evidence = wanted[person], told
                changed.append(member)
    HouseholdMember.objects.bulk_update(changed, ["household", "evidence"], batch_size=1000)
    fresh = [
        HouseholdMember(profile_id=person, household_id=home, evidence=groups.evidence.get(person, []))
        for person, home in sorted(wanted.items())
        if person not in standing
    ]
    HouseholdMember.objects.bulk_create(fresh, batch_size=1000, ignore_conflicts=True)
    Household.objects.exclude(pk__in=HouseholdMember.objects.values("household")).delete()
    return Regrouped(len(taken), len(fresh), len(gone), groups.refused)


def _living(profile_ids: Iterable[int]) -> dict[int, int]:
    """Whom these people live on in: id -> id. Who is gone is left out."""
    ids = set(profile_ids)
    merged_into = dict(Profile.objects.filter(pk__in=ids).values_list("pk", "merged_into"))
    while ahead := {pk for pk in merged_into.values() if pk and pk not in merged_into}:
        merged_into |= dict(Profile.objects.filter(pk__in=ahead).values_list("pk", "merged_into"))
    living = {}
    for pk in ids & merged_into.keys():
        at = pk
        while merged_into[at]:
            at = merged_into[at]
        living[pk] = at
    return living


def _words() -> tuple[set[tuple[int, int]], dict[int, set[int]]]:
    """What people said, of those who are meant now: the pairs to join, and from whom each is kept apart."""
    words = list(HouseholdWord.objects.order_by("at", "pk"))
    living = _living(pk for word in words for pk in (word.left_id, word.right_id))
    said: dict[tuple[int, int], bool] = {}
    for word in words:
        one, other = sorted((living[word.left_id], living[word.right_id]))
        if one != other:
            # Of two words about people who were merged since, the no is the stricter.
            said[one, other] = said.get((one, other), True) and word.together
    apart: dict[int, set[int]] = defaultdict(set)
    for (one, other), together in said.items():
        if not together:
            apart[one].add(other)
            apart[other].add(one)
    return {pair for pair, together in said.items() if together}, apart


# --- What people say ------------------------------------------------------------------------------------------------


@transaction.atomic
def decide(one: Profile, other: Profile, *, together: bool, by: Staff) -> HouseholdWord:
    """Say that two customers are one household, or are not; it counts at once and binds every later run."""
    with whole_network():
        held = Profile.hold([one.pk, other.pk])
        one, other = held[one.pk], held[other.pk]
        if one == other:
            raise CannotDecide(_("both are the same customer"))
        left, right = sorted([one.pk, other.pk])
        word, _new = HouseholdWord.objects.update_or_create(
            left_id=left, right_id=right, defaults={"together": together, "by": by, "at": timezone.now()}
        )
        if together:
            _bring_together(left, right)
        else:
            _part(one.pk, other.pk)
        audit(by, "said one household" if together else "said two households", one, other=other.pk)
    return word


@transaction.atomic
def forget(word: HouseholdWord) -> None:
    """Take a yes back; the two are one household again where matching says so the next time."""
    with whole_network():
        _part(word.left_id, word.right_id)
        word.delete()


def _bring_together(left: int, right: int) -> None:
    members = {m.profile_id: m for m in HouseholdMember.objects.filter(profile__in=[left, right])}
    homes = {m.household_id for m in members.values()}
    if len(homes) == 1 and len(members) == 2:
        return
    home = min(homes) if homes else Household.objects.create().pk
    for pk in (left, right):
        # Only these two were spoken of: the others of either household stay where they are.
        HouseholdMember.objects.update_or_create(profile_id=pk, defaults={"household_id": home})


def _part(stays: int, leaves: int) -> None:
    homes = dict(
        HouseholdMember.objects.filter(profile__in=[stays, leaves]).values_list("profile", "household")
    )
    if len(homes) == 2 and homes[stays] == homes[leaves]:
        HouseholdMember.objects.filter(profile=leaves).delete()


# --- When people are merged and separated ---------------------------------------------------------------------------


def pass_on(pairs: Sequence[tuple[int, int]]) -> dict[int, dict]:
    """Of each (survivor, merged) the survivor's own household stays; without one, it takes the other's place.

    Returns, for each merged profile that had a household, what `hand_back` needs.
    """
    people = [pk for pair in pairs for pk in pair]
    members = {m.profile_id: m for m in HouseholdMember.objects.filter(profile__in=people)}
    notes = {}
    for winner, loser in pairs:
        member = members.pop(loser, None)
        if member is None:
            continue
        told = {
            "pk": member.pk, "household": member.household_id, "evidence": member.evidence,
            "since": member.since.isoformat(),
        }  # fmt: skip
        if winner in members:
            member.delete()
            notes[loser] = {"parked": told}
        else:
            HouseholdMember.objects.filter(pk=member.pk).update(profile=winner)
            members[winner] = member
            notes[loser] = {"moved": told}
    return notes


def hand_back(note: Mapping, winner: Profile, loser: Profile) -> None:
    """The separated person's place in a household returns to them, where that household is still there."""
    told = note.get("moved") or note.get("parked")
    if not told or HouseholdMember.objects.filter(profile=loser).exists():
        return
    if note.get("moved") and HouseholdMember.objects.filter(pk=told["pk"], profile=winner).update(
        profile=loser
    ):
        return
    if Household.objects.filter(pk=told["household"]).exists():
        free = not HouseholdMember.objects.filter(pk=told["pk"]).exists()
        HouseholdMember.objects.create(
            profile=loser, household_id=told["household"], evidence=told["evidence"],
            since=datetime.fromisoformat(told["since"]), **({"pk": told["pk"]} if free else {}),
        )  # fmt: skip
