"""Who is who: profiles are merged here, and separated again; what is uncertain waits for a person.

A merge hands everything that hangs on the younger profile to the older one, in one transaction, and writes down what
it moved. An unmerge hands back exactly that, and what came in meanwhile under the separated person's identifiers.
What people decide binds every later run; a person takes back what they decided for as long as `UNDO_WITHIN`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles import facts, households, pins, survivorship
from profiles.intake import events
from profiles.matching.reasons import Match
from profiles.models import (
    ConsentChange,
    Event,
    HouseholdMember,
    HouseholdWord,
    Identifier,
    MatchCandidate,
    Merge,
    Pin,
    Profile,
    ProfileStore,
    Purchase,
    PurchaseLine,
    SourceRecord,
    TicketMove,
)
from profiles.signals import profiles_merged, profiles_unmerged
from tenants.network.models import Job, Staff, audit, audit_all
from tenants.scoping import whole_network

HANGS_ON_A_PROFILE = (SourceRecord, Identifier, ConsentChange, Purchase, PurchaseLine, Event)


UNDO_WITHIN = timedelta(days=30)


class CannotMerge(ValueError):
    """The two profiles cannot become one: the same one, merged already, or separated by a person."""


class CannotSeparate(ValueError):
    """The merge cannot be undone now: undone already, or a later merge rests on it."""


# --- Deeds ----------------------------------------------------------------------------------------------------------


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
        living = _living([one.pk, other.pk])
        if living[one.pk] == living[other.pk]:
            raise CannotMerge(_("both are the same customer"))
        pair = Pair.of(living[one.pk], living[other.pk], ground, match)
        if by is None and _kept_apart([pair]):
            raise CannotMerge(_("somebody decided that these are two persons"))
        (deed,) = _join([pair], by=by, job=job)
    return deed


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
    of_candidates = _pass_on_candidates(pairs) if "candidates" in beside else {}
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
    _recompute(*{pk for deed in deeds for pk in (deed.winner_id, deed.loser_id)})
    return deeds


@transaction.atomic
def unmerge(deed: Merge, by: Staff | None = None, *, binding: bool = True) -> None:
    """Separate what a merge joined, and never join the two again without a person, unless it is not `binding`.

    Not binding, the question between the two stands again as it stood. Raises `CannotSeparate`.
    """
    with whole_network():
        deed = Merge.objects.select_for_update().get(pk=deed.pk)
        winner, loser = _locked(deed.winner, deed.loser)
        if deed.undone_at:
            raise CannotSeparate(_("this merge was undone before"))
        if loser.merged_into_id != winner.pk or winner.merged_into_id:
            raise CannotSeparate(_("undo the later merges of this customer first"))
        loser.merged_into = None
        loser.save(update_fields=["merged_into"])
        for model in HANGS_ON_A_PROFILE:
            ids = deed.moved.get(model._meta.model_name, [])
            model.objects.filter(pk__in=ids, profile=winner).update(profile=loser)
        Pin.objects.filter(pk__in=deed.moved.get("pin", []), profile=winner).update(profile=loser)
        households.hand_back(deed.moved.get("household", {}), winner, loser)
        _hand_back_newcomers(deed, winner, loser)
        _repeat_refusals(deed, winner, loser)
        deed.undone_at, deed.undone_by = timezone.now(), by
        profiles_unmerged.send(Merge, merge=deed)
        deed.save()
        _hand_back_candidates(deed, winner, loser)
        ProfileStore.objects.bulk_create(
            [
                ProfileStore(pk=pk, profile=loser, store_id=store_id, since=datetime.fromisoformat(since))
                for pk, store_id, since in deed.moved.get("stores", [])
            ],
            ignore_conflicts=True,
        )
        _recompute(winner.pk, loser.pk)
        _known_since_then(deed)
        audit(by or "system", "separated", winner, other=loser.pk)
        if not binding:
            return
        left, right = sorted((winner, loser), key=lambda profile: profile.pk)
        MatchCandidate.objects.update_or_create(
            left=left,
            right=right,
            defaults={
                "status": MatchCandidate.Status.NEVER,
                "decided_by": by,
                "decided_at": timezone.now(),
                "weight": deed.weight or 0,
                "probability": deed.probability or 0,
                "evidence": deed.evidence,
                "model_version": deed.model_version,
            },
        )


def reopen(deeds: Iterable[Merge]) -> int:
    """Take back merges whose grounds hold no more, and let matching look at their people again; how many.

    Later merges that the survivors went into are taken back before, and made again where a person decided them.
    """
    wanted = {deed.pk for deed in deeds}
    done = 0
    for pk in sorted(wanted, reverse=True):
        done += _reopen(pk, wanted)
    return done


@transaction.atomic
def _reopen(deed_id: int, wanted: set[int]) -> int:
    with whole_network():
        deed = Merge.objects.get(pk=deed_id)
        above = []
        top = deed
        while later := Merge.objects.filter(loser=top.winner_id, undone_at=None).first():
            above.append(later)
            top = later
        try:
            for one in [*reversed(above), deed]:
                unmerge(one, binding=False)
        except CannotSeparate:
            return 0  # somebody separated them at this very moment
        people = {pk for one in [*above, deed] for pk in (one.winner_id, one.loser_id)}
        SourceRecord.objects.filter(profile__in=people).update(matched_at=None)
        for one in above:
            if one.by and one.pk not in wanted:
                merge(one.winner, one.loser, ground=one.ground, match=_told_with(one), by=one.by, job=one.job)
    return 1


def _told_with(deed: Merge) -> Match | None:
    if deed.weight is None or deed.probability is None:
        return None
    return Match(deed.weight, deed.probability, tuple(deed.evidence), model_version=deed.model_version)


@transaction.atomic
def decide_same(
    candidate: MatchCandidate, by: Staff, *, keep: dict[str, str] | None = None, job: Job | None = None
) -> Merge:
    """A person says: one and the same. `keep`: field -> the value of the two that they say is right, which is pinned.

    Raises `CannotMerge`, and `pins.BadPin` for a value that no field can hold.
    """
    candidate = MatchCandidate.objects.select_related("left", "right").filter(pk=candidate.pk).first()
    if candidate is None:
        raise CannotMerge(_("this pair is gone: one of the two was merged meanwhile"))
    deed = merge(
        candidate.left,
        candidate.right,
        ground=Merge.Ground.PERSON,
        match=Match(
            candidate.weight,
            candidate.probability,
            tuple(candidate.evidence),
            model_version=candidate.model_version,
        ),
        by=by,
        job=job,
    )
    _decide(candidate, MatchCandidate.Status.MERGED, by)
    if keep:
        chosen = [
            pins.pin(deed.winner, field, value, by=by, reason=_("chosen when merging")).pk
            for field, value in sorted(keep.items())
        ]
        deed.moved["chosen"] = chosen
        deed.save(update_fields=["moved"])
    return deed


@transaction.atomic
def decide_never(candidate: MatchCandidate, by: Staff) -> None:
    """A person says: two persons. No later run joins them."""
    _decide(candidate, MatchCandidate.Status.NEVER, by)
    audit(by, "kept apart", candidate, left=candidate.left_id, right=candidate.right_id)


@transaction.atomic
def decide_household(candidate: MatchCandidate, by: Staff) -> None:
    """A person says: two persons, who live together."""
    decide_never(candidate, by)
    households.decide(candidate.left, candidate.right, together=True, by=by)


def last_decision(by: Staff) -> MatchCandidate | None:
    """The newest decision of this person that stands and can still be taken back."""
    decided = MatchCandidate.objects.filter(
        decided_by=by, decided_at__gte=timezone.now() - UNDO_WITHIN
    ).exclude(status=MatchCandidate.Status.OPEN)
    return decided.order_by("-decided_at", "-pk").first()


@transaction.atomic
def take_back(candidate: MatchCandidate, by: Staff) -> None:
    """Take back a decision on a pair, whichever it was: the question stands open again. Raises `CannotSeparate`."""
    candidate = MatchCandidate.objects.get(pk=candidate.pk)
    if candidate.status == MatchCandidate.Status.OPEN:
        raise CannotSeparate(_("this pair is not decided"))
    if not candidate.decided_at or candidate.decided_at < timezone.now() - UNDO_WITHIN:
        raise CannotSeparate(_("only a decision of the last %s days can be taken back") % UNDO_WITHIN.days)
    if candidate.status == MatchCandidate.Status.MERGED:
        with whole_network():
            deed = Merge.objects.filter(
                winner=candidate.left_id, loser=candidate.right_id, undone_at=None
            ).first()
            if deed is None:
                raise CannotSeparate(_("this merge was undone before"))
            for pinned in Pin.objects.filter(pk__in=deed.moved.get("chosen", []), ended_at=None):
                pins.unpin(pinned, by)
            unmerge(deed, by, binding=False)
    said = HouseholdWord.objects.filter(
        left=candidate.left_id, right=candidate.right_id, together=True, by=by, at__gte=candidate.decided_at
    )
    for word in said:
        households.forget(word)
    audit(by, "took back", candidate, left=candidate.left_id, right=candidate.right_id)
    MatchCandidate.objects.filter(pk=candidate.pk).update(
        status=MatchCandidate.Status.OPEN, decided_by=None, decided_at=None
    )


# --- What matching found --------------------------------------------------------------------------------------------


@transaction.atomic
def join_all(found: Mapping[int, Mapping[int, Match]]) -> list[tuple[int, int]]:
    """Merge what matching found: survivor -> (who is merged into it -> why). All of them are one transaction, and each
    survivor's values and facts are recomputed once. Returns (survivor, merged) for those that could be merged."""
    asked = [(winner, loser, match) for winner, losers in found.items() for loser, match in losers.items()]
    joined = []
    with whole_network():
        while asked:
            living = _living({pk for winner, loser, _match in asked for pk in (winner, loser)})
            now, later = _at_once(asked, living)
            if now:
                joined += _join(now)
            asked = later
    return [(deed.winner_id, deed.loser_id) for deed in joined]


Asked = tuple[int, int, Match]


def _at_once(asked: Sequence[Asked], living: Mapping[int, Profile]) -> tuple[list[Pair], list[Asked]]:
    """Those that can be merged in one set of statements, and those that have to wait for them because somebody else,
    meanwhile, made one of two of their people. Who is kept apart, or is the same already, is in neither."""
    pairs: list[Pair] = []
    later: list[Asked] = []
    winners: set[int] = set()
    losers: set[int] = set()
    for winner_id, loser_id, match in asked:
        one, other = living[winner_id], living[loser_id]
        if one == other:
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


@transaction.atomic(savepoint=False)
def queue(found: Mapping[tuple[int, int], Match]) -> int:
    """Put pairs of profiles in the queue unless a person decided them; how many were not there yet. Of a profile that
    was merged meanwhile, the one it lives on in."""
    wanted: dict[tuple[int, int], Match] = {}
    with whole_network():
        people = Profile.objects.filter(pk__in={pk for pair in found for pk in pair})
        living = {profile.pk: profile.survivor.pk for profile in people.select_related("merged_into")}
        for (one, other), match in found.items():
            left, right = sorted((living.get(one, 0), living.get(other, 0)))
            standing = wanted.get((left, right))
            if left and left != right and (standing is None or match.weight > standing.weight):
                wanted[left, right] = match
        rows = [
            MatchCandidate(left_id=left, right_id=right, **_told(match))
            for (left, right), match in sorted(wanted.items())
        ]
        there = {
            (row.left_id, row.right_id): row
            for row in MatchCandidate.objects.filter(
                left__in=[row.left_id for row in rows]
            ).select_for_update()
        }
        new = [row for row in rows if (row.left_id, row.right_id) not in there]
        MatchCandidate.objects.bulk_create(new, ignore_conflicts=True)
        for pair, match in wanted.items():
            row = there.get(pair)
            if row and row.status == MatchCandidate.Status.OPEN and match.weight > row.weight:
                MatchCandidate.objects.filter(pk=row.pk).update(**_told(match))
    return len(new)


def _told(match: Match) -> dict:
    return {
        "weight": match.weight, "probability": match.probability, "evidence": list(match.evidence),
        "model_version": match.model_version,
    }  # fmt: skip


# --- What a merge moves -----------------------------------------------------------------------------------------------


def _locked(one: Profile, other: Profile) -> tuple[Profile, Profile]:
    """Both profiles locked in the order of their ids, the older first."""
    rows = list(
        Profile.objects.select_for_update(no_key=True).filter(pk__in=[one.pk, other.pk]).order_by("pk")
    )
    return (rows[0], rows[-1])


def _living(profile_ids: Iterable[int]) -> dict[int, Profile]:
    """Whom these people live on in: id -> profile, locked in the order of their ids.

    Read before they are locked where one was merged: of two merges at once that share a person, none then waits for a
    smaller id than it holds. Where a merge came in between, the locks are given back and the question is asked again.
    """
    ids = set(profile_ids)
    living = {pk: pk for pk in ids}
    while True:
        with transaction.atomic():
            locked = Profile.objects.select_for_update(no_key=True).filter(pk__in=set(living.values()))
            rows = {row.pk: row for row in locked.order_by("pk")}
            if not any(row.merged_into_id for row in rows.values()):
                return {pk: rows[at] for pk, at in living.items()}
            transaction.set_rollback(True)
        living = {profile.pk: profile.survivor.pk for profile in Profile.objects.filter(pk__in=ids)}


def _kept_apart(pairs: Sequence[Pair]) -> dict[int, set[int]]:
    """From whom a person keeps each of these people apart, among these people."""
    people = {profile.pk for pair in pairs for profile in (pair.winner, pair.loser)}
    decided = MatchCandidate.objects.filter(
        left__in=people, right__in=people, status=MatchCandidate.Status.NEVER
    )
    apart: dict[int, set[int]] = defaultdict(set)
    for left, right in decided.order_by().values_list("left", "right"):
        apart[left].add(right)
        apart[right].add(left)
    return apart


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
    with connection.cursor() as cursor:
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


def _hand_back_newcomers(deed: Merge, winner: Profile, loser: Profile) -> None:
    """What came in after the merge goes to whom it belongs: by the source's id, or by an identifier that was theirs."""
    of_loser = SourceRecord.objects.filter(profile=loser)
    for source_id, external_id in set(of_loser.values_list("source", "external_id")):
        later = SourceRecord.objects.filter(source=source_id, external_id=external_id, profile=winner)
        _give_records(later, loser)
    others = (
        Merge.objects.filter(winner=winner, undone_at=None)
        .exclude(pk=deed.pk)
        .values_list("moved", flat=True)
    )
    elsewhere = {
        name: {pk for moved in others for pk in moved.get(name, [])}
        for name in ("sourcerecord", "purchase", "event")
    }
    of_winner = _identifiers_of(winner, record__received_at__lte=deed.at)
    only_of_loser = _identifiers_of(loser) - of_winner
    newcomers = SourceRecord.objects.filter(profile=winner, received_at__gt=deed.at)
    newcomers = newcomers.exclude(pk__in=elsewhere["sourcerecord"]).prefetch_related("identifiers")
    theirs = [
        record.pk
        for record in newcomers
        if (told := {f"{i.kind}:{i.key}" for i in record.identifiers.all()}) & only_of_loser
        and not told & of_winner
    ]
    _give_records(SourceRecord.objects.filter(pk__in=theirs), loser)
    bought = Purchase.objects.filter(profile=winner, received_at__gt=deed.at, identified_by__in=only_of_loser)
    # A person said of these whose they are, which counts for more than what was shown.
    given = TicketMove.objects.filter(undone_at=None, taker=winner).values("purchase")
    bought = bought.exclude(pk__in=elsewhere["purchase"]).exclude(pk__in=given)
    ids = {*bought.values_list("pk", flat=True), *_given_back(deed, winner, loser, only_of_loser)}
    PurchaseLine.objects.filter(purchase__in=ids).update(profile=loser)
    Purchase.objects.filter(pk__in=ids).update(profile=loser)
    # Whenever received: what waited in quarantine came in later than it was received.
    shown = Event.objects.filter(profile=winner, identified_by__in=only_of_loser)
    shown.exclude(pk__in=elsewhere["event"]).update(profile=loser)
    # Anonymous events go where the identifications went that prove them, whenever they came in.
    events.follow_proofs([winner.pk, loser.pk])


def _give_records(records, profile: Profile) -> None:
    """Hand records over with the identifiers and consents that they tell."""
    ids = list(records.values_list("pk", flat=True))
    for model in (Identifier, ConsentChange):
        model.objects.filter(record__in=ids).update(profile=profile)
    SourceRecord.objects.filter(pk__in=ids).update(profile=profile)


def _identifiers_of(profile: Profile, **told) -> set[str]:
    rows = profile.identifiers.filter(**told).values_list("kind", "key")
    return {f"{kind}:{key}" for kind, key in rows}


def _given_back(deed: Merge, winner: Profile, loser: Profile, only_of_loser: set[str]) -> list[int]:
    """Tickets of the separated person that were moved to somebody else: those moved back since, which are theirs again.
    One that still is somebody else's will return to them."""
    since = TicketMove.objects.filter(giver=winner, undone_at=None, at__gt=deed.at)
    theirs = Q(purchase__in=deed.moved.get("purchase", [])) | Q(
        purchase__in=Purchase.objects.filter(received_at__gt=deed.at, identified_by__in=only_of_loser).values(
            "pk"
        )
    )
    since.filter(theirs).update(giver=loser)
    back = TicketMove.objects.filter(giver=loser, undone_at__gt=deed.at, purchase__profile=winner)
    return list(back.values_list("purchase", flat=True))


def _repeat_refusals(deed: Merge, winner: Profile, loser: Profile) -> None:
    """A channel refused while the two were one, directly and not through a source: nobody knows by whom. Both did."""
    told = ConsentChange.objects.filter(profile=winner, record=None, at__gt=deed.at).order_by("at", "pk")
    newest = {change.channel: change for change in told}
    ConsentChange.objects.bulk_create(
        ConsentChange(
            profile=loser, channel=change.channel, granted=False, at=change.at, wording=change.wording,
            actor=change.actor,
        )
        for change in newest.values()
        if not change.granted
    )  # fmt: skip


def _known_since_then(deed: Merge) -> None:
    """Of whom no record and no ticket is left, it is not known again since when; it is as it was."""
    for pk, at in deed.moved.get("since", {}).items():
        untold = Profile.objects.filter(pk=pk).exclude(pk__in=SourceRecord.objects.values("profile"))
        tickets = Purchase.objects.filter(profile=pk)
        if not tickets.exists():
            untold.update(created_at=datetime.fromisoformat(at))


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


def _pass_on_candidates(pairs: Sequence[Pair]) -> dict[int, list[dict]]:
    """Open questions and decisions about the merged profiles become the survivors'. Returns what an unmerge needs."""
    losers = {pair.loser.pk for pair in pairs}
    both = losers | {pair.winner.pk for pair in pairs}
    # All of everybody, in one order: two merges at once that share a question wait for each other here.
    rows = list(
        MatchCandidate.objects.select_for_update().filter(Q(left__in=both) | Q(right__in=both)).order_by("pk")
    )
    asked = {pk for row in rows for pk in (row.left_id, row.right_id)} - losers
    gone = set(Profile.objects.filter(pk__in=asked, merged_into__isnull=False).values_list("pk", flat=True))
    notes = {}
    for pair in pairs:
        notes[pair.loser.pk] = _pass_on(rows, pair.winner, pair.loser, gone)
        gone.add(pair.loser.pk)
        rows = [row for row in rows if row.pk]
    return notes


def _pass_on(rows: Sequence[MatchCandidate], winner: Profile, loser: Profile, gone: set[int]) -> list[dict]:
    of_winner = {_beside(row, winner): row for row in rows if winner.pk in (row.left_id, row.right_id)}
    notes = []
    for row in rows:
        if loser.pk not in (row.left_id, row.right_id):
            continue
        other_id = _beside(row, loser)
        if other_id in gone:
            continue  # an answer about somebody merged before, whose questions were passed on then
        note = {"other": other_id, "told": _told_of(row), "standing": None}
        notes.append(note)
        if other_id == winner.pk:
            if row.status == MatchCandidate.Status.OPEN:
                _decide(row, MatchCandidate.Status.MERGED, None)
            continue
        standing = of_winner.get(other_id)
        if standing is None:
            row.left_id, row.right_id = sorted((winner.pk, other_id))
            row.save(update_fields=["left", "right"])
            standing = row
        else:
            note["standing"] = _told_of(standing)
            if row.status == MatchCandidate.Status.NEVER:
                # The stricter of two decisions holds.
                _decide(standing, MatchCandidate.Status.NEVER, row.decided_by)
            row.delete()
        note["after"] = _decision_on(standing)
    return notes


def _hand_back_candidates(deed: Merge, winner: Profile, loser: Profile) -> None:
    """The separated person's questions and decisions return as they were; what was decided meanwhile stays too."""
    for note in deed.moved.get("candidates", []):
        told = note["told"]
        other = Profile.objects.get(pk=note["other"])
        if other == winner:
            pair = _candidate(winner.pk, loser.pk)
            pair.filter(status=MatchCandidate.Status.MERGED).update(**_as_columns(told))
            continue
        other = other.survivor
        if other.pk in (winner.pk, loser.pk):
            continue
        left_id, right_id = sorted((loser.pk, other.pk))
        if _candidate(loser.pk, other.pk).exists():
            continue
        passed_on = _candidate(winner.pk, other.pk).first()
        untouched = passed_on is not None and _decision_on(passed_on) == note["after"]
        if untouched and note["standing"] is None:
            MatchCandidate.objects.filter(pk=passed_on.pk).update(left=left_id, right=right_id)
            continue
        if untouched:
            MatchCandidate.objects.filter(pk=passed_on.pk).update(**_as_columns(note["standing"]))
        kept_id = {} if MatchCandidate.objects.filter(pk=told["id"]).exists() else {"pk": told["id"]}
        MatchCandidate.objects.create(left_id=left_id, right_id=right_id, **kept_id, **_as_columns(told))


def _beside(candidate: MatchCandidate, one: Profile) -> int:
    return candidate.right_id if candidate.left_id == one.pk else candidate.left_id


def _decision_on(candidate: MatchCandidate) -> list:
    """What was decided and when, as JSON: by this one knows whether somebody decided since."""
    return [candidate.status, candidate.decided_at and candidate.decided_at.isoformat()]


def _candidate(one_id: int, other_id: int):
    left_id, right_id = sorted((one_id, other_id))
    return MatchCandidate.objects.filter(left=left_id, right=right_id)


def _told_of(candidate: MatchCandidate) -> dict:
    """All of the candidate but its two profiles, as JSON."""
    return {
        "id": candidate.pk,
        "status": candidate.status, "weight": candidate.weight, "probability": candidate.probability,
        "evidence": candidate.evidence, "model_version": candidate.model_version,
        "decided_by_id": candidate.decided_by_id, "found_at": candidate.found_at.isoformat(),
        "decided_at": candidate.decided_at and candidate.decided_at.isoformat(),
    }  # fmt: skip


def _as_columns(told: dict) -> dict:
    dates = {name: told[name] and datetime.fromisoformat(told[name]) for name in ("found_at", "decided_at")}
    return {name: value for name, value in told.items() if name != "id"} | dates


def _decide(candidate: MatchCandidate, status: str, by: Staff | None) -> None:
    candidate.status, candidate.decided_by, candidate.decided_at = status, by, timezone.now()
    candidate.save(update_fields=["status", "decided_by", "decided_at"])


def _recompute(*ids: int) -> None:
    """Of people who are locked: the values, stores and facts anew."""
    survivorship.refresh(ids)
    facts.note_stores(ids)
    facts.refresh_held(ids)
