"""Make profiles one: everything that hangs on the younger is handed to the older, in one transaction.

One merge or a hundred are the same set of statements. Each writes down what it moved, which `profiles/separating.py`
hands back.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from django.db import connection, transaction
from django.utils.translation import gettext as _

from profiles import candidates, facts, households, survivorship
from profiles.matching.reasons import Match
from profiles.models import (
    ConsentChange,
    Event,
    HouseholdMember,
    Identifier,
    MatchCandidate,
    Merge,
    Pin,
    Profile,
    ProfileStore,
    Purchase,
    PurchaseLine,
    SourceRecord,
)
from profiles.signals import profiles_merged
from tenants.brand_sql import prepared
from tenants.network.models import Job, Staff, audit_all
from tenants.scoping import whole_network

HANGS_ON_A_PROFILE = (SourceRecord, Identifier, ConsentChange, Purchase, PurchaseLine, Event)


class CannotMerge(ValueError):
    """The two profiles cannot become one: the same one, merged already, or separated by a person."""


@transaction.atomic
def merge(
    one: Profile,
    other: Profile,
    *,
    ground: str,
    match: Match | None = None,
    by: Staff | None = None,
    job: Job | None = None,
) -> Merge:
    """Make two profiles one; the older survives. Of a profile that was merged meanwhile, the one it lives on in.

    Raises `CannotMerge`.
    """
    with whole_network():
        held = Profile.hold([one.pk, other.pk])
        if held[one.pk] == held[other.pk]:
            raise CannotMerge(_("both are the same customer"))
        pair = Pair.of(held[one.pk], held[other.pk], ground, match)
        if by is None and _kept_apart([pair]):
            raise CannotMerge(_("somebody decided that these are two persons"))
        (deed,) = _join([pair], by=by, job=job)
    return deed


@transaction.atomic(savepoint=False)
def join_all(found: Mapping[int, Mapping[int, Match]]) -> list[tuple[int, int]]:
    """Merge what matching found: survivor -> (who is merged into it -> why). All of them are one transaction, and each
    survivor's values and facts are recomputed once. Returns (survivor, merged) for those that could be merged."""
    asked = [(winner, loser, match) for winner, losers in found.items() for loser, match in losers.items()]
    joined = []
    with whole_network():
        while asked:
            held = Profile.hold({pk for winner, loser, _match in asked for pk in (winner, loser)})
            now, later = _at_once(asked, held)
            if now:
                joined += _join(now)
            asked = later
    return [(deed.winner_id, deed.loser_id) for deed in joined]


class Pair(NamedTuple):
    """Two living profiles, locked, the older first; and why they are one."""

    winner: Profile
    loser: Profile
    ground: str
    match: Match | None

    @classmethod
    def of(cls, one: Profile, other: Profile, ground: str, match: Match | None) -> "Pair":
        winner, loser = sorted((one, other), key=lambda profile: profile.pk)
        return cls(winner, loser, ground, match)


Asked = tuple[int, int, Match]


def _at_once(asked: Sequence[Asked], held: Mapping[int, Profile]) -> tuple[list[Pair], list[Asked]]:
    """Those that can be merged in one set of statements, and those that have to wait for them because somebody else,
    meanwhile, made one of two of their people. Who is kept apart, or is the same already, is in neither."""
    pairs: list[Pair] = []
    later: list[Asked] = []
    winners: set[int] = set()
    losers: set[int] = set()
    for winner_id, loser_id, match in asked:
        one, other = held.get(winner_id), held.get(loser_id)
        if one is None or other is None or one == other:
            continue
        ground = Merge.Ground.IDENTIFIER if match.rule.startswith("same_") else Merge.Ground.MATCH
        pair = Pair.of(one, other, ground, match)
        if pair.winner.pk in losers or pair.loser.pk in winners | losers:
            later.append((winner_id, loser_id, match))
            continue
        pairs.append(pair)
        winners.add(pair.winner.pk)
        losers.add(pair.loser.pk)
    apart = _kept_apart(pairs)
    free: list[Pair] = []
    for pair in pairs:
        of_winner = apart.setdefault(pair.winner.pk, set())
        if pair.loser.pk not in of_winner:
            # Whoever is kept apart from the merged one is kept apart from the survivor.
            of_winner |= apart.get(pair.loser.pk, set())
            free.append(pair)
    return free, later


def _kept_apart(pairs: Sequence[Pair]) -> dict[int, set[int]]:
    """From whom a person keeps each of these people apart, among these people."""
    people = {profile.pk for pair in pairs for profile in (pair.winner, pair.loser)}
    apart: dict[int, set[int]] = defaultdict(set)
    for left, right in candidates.kept_apart(people):
        apart[left].add(right)
        apart[right].add(left)
    return apart


# --- What a merge moves -----------------------------------------------------------------------------------------------


def _join(pairs: Sequence[Pair], *, by: Staff | None = None, job: Job | None = None) -> list[Merge]:
    """Carry these merges out, in a set of statements that is the same for one of them as for a hundred.

    Nobody is merged in two of them, and whom somebody is merged into is merged into nobody.
    """
    moved, beside = _hand_over(pairs)
    # Most people have none of these, and each question costs a round trip.
    of_pins = _pass_on_pins(pairs) if "pin" in beside else {}
    of_household = (
        households.pass_on([(pair.winner.pk, pair.loser.pk) for pair in pairs])
        if "household" in beside
        else {}
    )
    of_candidates = (
        candidates.pass_on([(pair.winner, pair.loser) for pair in pairs]) if "candidates" in beside else {}
    )
    of_stores = _stores_of(moved) if "stores" in beside else {}
    for pair in pairs:
        pk = pair.loser.pk
        moved[pk] |= {
            "pin": of_pins.get(pk, []), "household": of_household.get(pk, {}),
            "candidates": of_candidates.get(pk, []), "stores": of_stores.get(pk, []),
            "since": {str(p.pk): p.created_at.isoformat() for p in (pair.winner, pair.loser)},
        }  # fmt: skip
        pair.loser.merged_into = pair.winner
    deeds = [
        Merge(
            winner=pair.winner,
            loser=pair.loser,
            ground=pair.ground,
            weight=pair.match.weight if pair.match else None,
            probability=pair.match.probability if pair.match else None,
            evidence=list(pair.match.evidence) if pair.match else [],
            model_version=pair.match.model_version if pair.match else "",
            moved=moved[pair.loser.pk],
            by=by,
            job=job,
        )
        for pair in pairs
    ]
    profiles_merged.send(Merge, merges=deeds)
    Merge.objects.bulk_create(deeds)
    audit_all(by or "matching", "merged", [(deed.winner, {"other": deed.loser_id}) for deed in deeds])
    recompute(*{pk for deed in deeds for pk in (deed.winner_id, deed.loser_id)})
    return deeds


def _hand_over(pairs: Sequence[Pair]) -> tuple[dict[int, dict[str, list | dict]], set[str]]:
    """Give each survivor all that hangs on the other, which from then on is merged into it, in one statement.

    Returns merged profile -> model -> ids of what was moved; and which of those things the merged have too that two
    people cannot simply put together.
    """
    names = {model._meta.model_name: _table(model) for model in HANGS_ON_A_PROFILE}
    moves = ", ".join(
        f"{name} AS (UPDATE {table} t SET profile_id = pair.winner FROM pair WHERE t.profile_id = pair.loser"
        " RETURNING pair.loser, t.id)"
        for name, table in names.items()
    )
    ids = " UNION ALL ".join(
        f"SELECT '{name}', loser, array_agg(id ORDER BY id) FROM {name} GROUP BY loser" for name in names
    )
    of_merged = "t.profile_id = ANY(%(losers)s)"
    beside = {
        "pin": f"{_table(Pin)} t WHERE {of_merged}",
        "household": f"{_table(HouseholdMember)} t WHERE {of_merged}",
        "stores": f"{_table(ProfileStore)} t WHERE {of_merged}",
        "candidates": f"{_table(MatchCandidate)} t WHERE {of_merged.replace('profile_id', 'left_id')}"
        f" OR {of_merged.replace('profile_id', 'right_id')}",
    }
    there = " UNION ALL ".join(
        f"SELECT '{name}', NULL, NULL WHERE EXISTS (SELECT FROM {rows})" for name, rows in beside.items()
    )
    people = {"winners": [pair.winner.pk for pair in pairs], "losers": [pair.loser.pk for pair in pairs]}
    with prepared() as cursor:
        cursor.execute(
            "WITH pair AS (SELECT * FROM unnest(%(winners)s::bigint[], %(losers)s::bigint[]) AS _ (winner, loser)),"
            f" merged AS (UPDATE {_table(Profile)} t SET merged_into_id = pair.winner FROM pair"
            f" WHERE t.id = pair.loser), {moves} {ids} UNION ALL {there}",
            people,
        )
        moved: dict[int, dict[str, list | dict]] = {
            pk: {name: [] for name in names} for pk in people["losers"]
        }
        found = set()
        for name, loser_id, moved_ids in cursor.fetchall():
            if loser_id is None:
                found.add(name)
            else:
                moved[loser_id][name] = moved_ids
    return moved, found


def _table(model) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def _stores_of(profile_ids: Iterable[int]) -> dict[int, list[list]]:
    """The stores that know these people, as an unmerge writes them again."""
    known: dict[int, list[list]] = defaultdict(list)
    rows = ProfileStore.objects.filter(profile__in=list(profile_ids)).order_by("pk")
    for pk, profile_id, store_id, since in rows.values_list("pk", "profile", "store", "since"):
        known[profile_id].append([pk, store_id, since.isoformat()])
    return known


def _pass_on_pins(pairs: Sequence[Pair]) -> dict[int, list[int]]:
    """The survivor's own pins win; of the other one's those that say something more, which become the survivor's."""
    people = [profile.pk for pair in pairs for profile in (pair.winner, pair.loser)]
    pins_of: dict[int, dict[str, Pin]] = defaultdict(dict)
    for pin in Pin.objects.filter(profile__in=people, ended_at=None):
        pins_of[pin.profile_id][pin.field] = pin
    moved: dict[int, list[int]] = {}
    for pair in pairs:
        own = pins_of[pair.winner.pk]
        more = {field: pin for field, pin in pins_of[pair.loser.pk].items() if field not in own}
        if more:
            own |= more
            moved[pair.loser.pk] = sorted(pin.pk for pin in more.values())
            Pin.objects.filter(pk__in=moved[pair.loser.pk]).update(profile=pair.winner)
    return moved


def recompute(*ids: int) -> None:
    """The values, stores and facts anew, of people whom the transaction holds."""
    survivorship.refresh(ids)
    facts.note_stores(ids)
    facts.refresh_held(ids)
