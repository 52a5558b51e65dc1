"""Pairs that may be one person, as rows: asked, decided, and taken along when one of the two is merged or separated."""

from collections.abc import Collection, Sequence
from datetime import datetime

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from profiles.matching.reasons import Match
from profiles.models import MatchCandidate, Merge, Profile
from tenants.brand_sql import prepared
from tenants.network.models import Staff

_KEPT_APART = "SELECT left_id, right_id FROM {pairs} WHERE status = %(never)s"
_AMONG = " AND left_id = ANY(%(people)s) AND right_id = ANY(%(people)s)"


def kept_apart(profile_ids: Collection[int] | None = None) -> list[tuple[int, int]]:
    """The pairs of profiles that a person keeps apart, among these or of everybody."""
    asked = _KEPT_APART if profile_ids is None else _KEPT_APART + _AMONG
    pairs = connection.ops.quote_name(MatchCandidate._meta.db_table)
    with prepared() as cursor:
        cursor.execute(
            asked.format(pairs=pairs),
            {"never": MatchCandidate.Status.NEVER, "people": list(profile_ids or ())},
        )
        return cursor.fetchall()


def decide(candidate: MatchCandidate, status: str, by: Staff | None) -> None:
    """Note a decision on the pair."""
    candidate.status, candidate.decided_by, candidate.decided_at = status, by, timezone.now()
    candidate.save(update_fields=["status", "decided_by", "decided_at"])


def told(match: Match) -> dict:
    """What was thought of a pair, as columns."""
    return {
        "weight": match.weight, "probability": match.probability, "evidence": list(match.evidence),
        "model_version": match.model_version,
    }  # fmt: skip


def pass_on(pairs: Sequence[tuple[Profile, Profile]]) -> dict[int, list[dict]]:
    """Of each (survivor, merged), open questions and decisions about the merged one become the survivor's.

    Returns what `hand_back` needs: merged profile -> notes.
    """
    losers = {loser.pk for _winner, loser in pairs}
    both = losers | {winner.pk for winner, _loser in pairs}
    # All of everybody, in one order: two merges at once that share a question wait for each other here.
    rows = list(
        MatchCandidate.objects.select_for_update().filter(Q(left__in=both) | Q(right__in=both)).order_by("pk")
    )
    asked = {pk for row in rows for pk in (row.left_id, row.right_id)} - losers
    gone = set(Profile.objects.filter(pk__in=asked, merged_into__isnull=False).values_list("pk", flat=True))
    notes = {}
    for winner, loser in pairs:
        notes[loser.pk] = _pass_on_those_of(rows, winner, loser, gone)
        gone.add(loser.pk)
        rows = [row for row in rows if row.pk]
    return notes


def _pass_on_those_of(
    rows: Sequence[MatchCandidate], winner: Profile, loser: Profile, gone: set[int]
) -> list[dict]:
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
                decide(row, MatchCandidate.Status.MERGED, None)
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
                decide(standing, MatchCandidate.Status.NEVER, row.decided_by)
            row.delete()
        note["after"] = _decision_on(standing)
    return notes


def hand_back(deed: Merge, winner: Profile, loser: Profile) -> None:
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
