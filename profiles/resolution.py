"""Who is who where it is uncertain: pairs wait for a person, whose decision binds every later run.

Who decided takes it back for as long as `UNDO_WITHIN`.
"""

from collections.abc import Mapping
from datetime import timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles import candidates, households, pins
from profiles.matching.reasons import Match
from profiles.merging import CannotMerge, merge
from profiles.models import HouseholdWord, MatchCandidate, Merge, Pin, Profile
from profiles.separating import CannotSeparate, unmerge
from tenants.network.models import Job, Staff, audit
from tenants.scoping import whole_network

UNDO_WITHIN = timedelta(days=30)


@transaction.atomic(savepoint=False)
def queue(found: Mapping[tuple[int, int], Match]) -> int:
    """Put pairs of profiles in the queue unless a person decided them; how many were not there yet. Of a profile that
    was merged meanwhile, the one it lives on in."""
    wanted: dict[tuple[int, int], Match] = {}
    with whole_network():
        held = Profile.hold({pk for pair in found for pk in pair})
        for pair, match in found.items():
            left, right = sorted(held[pk].pk if pk in held else 0 for pk in pair)
            standing = wanted.get((left, right))
            if left and left != right and (standing is None or match.weight > standing.weight):
                wanted[left, right] = match
        rows = [
            MatchCandidate(left_id=left, right_id=right, **candidates.told(match))
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
                MatchCandidate.objects.filter(pk=row.pk).update(**candidates.told(match))
    return len(new)


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
    candidates.decide(candidate, MatchCandidate.Status.MERGED, by)
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
    candidates.decide(candidate, MatchCandidate.Status.NEVER, by)
    audit(by, "kept apart", candidate, left=candidate.left_id, right=candidate.right_id)


@transaction.atomic
def decide_household(candidate: MatchCandidate, by: Staff) -> None:
    """A person says: two persons, who live together."""
    decide_never(candidate, by)
    households.decide(candidate.left, candidate.right, together=True, by=by)


def last_decision(by: Staff) -> MatchCandidate | None:
    """The newest decision of this person that stands and can still be taken back: their own, so also where no store of
    theirs knows the merged one any more."""
    with whole_network():
        decided = MatchCandidate.objects.filter(
            decided_by=by, decided_at__gte=timezone.now() - UNDO_WITHIN
        ).exclude(status=MatchCandidate.Status.OPEN)
        return decided.select_related("left", "right").order_by("-decided_at", "-pk").first()


@transaction.atomic
def take_back(candidate: MatchCandidate, by: Staff) -> None:
    """Take back a decision on a pair, whichever it was: the question stands open again. Raises `CannotSeparate`."""
    with whole_network():
        _take_back(candidate, by)


def _take_back(candidate: MatchCandidate, by: Staff) -> None:
    candidate = MatchCandidate.objects.get(pk=candidate.pk)
    if candidate.status == MatchCandidate.Status.OPEN:
        raise CannotSeparate(_("this pair is not decided"))
    if not candidate.decided_at or candidate.decided_at < timezone.now() - UNDO_WITHIN:
        raise CannotSeparate(_("only a decision of the last %s days can be taken back") % UNDO_WITHIN.days)
    if candidate.status == MatchCandidate.Status.MERGED:
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
