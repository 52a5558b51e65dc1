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


class Decided(CannotMerge):
    """Nobody is asked about this pair any more: it was decided, or it is gone, since one of the two was merged."""


@transaction.atomic
def decide_same(
    candidate: MatchCandidate, by: Staff, *, keep: dict[str, str] | None = None, job: Job | None = None
) -> Merge:
    """A person says: one and the same. `keep`: field -> the value of the two that they say is right, which is pinned.

    Raises `Decided`, `CannotMerge`, and `pins.BadPin` for a value that no field can hold.
    """
    candidate = _asked(candidate)
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
        # What an unmerge lets go, and what it gives back: the pins of before that these take the place of.
        replaced = Pin.objects.filter(profile=deed.winner, field__in=keep, ended_at=None)
        deed.moved["replaced"] = sorted(replaced.values_list("pk", flat=True))
        deed.moved["chosen"] = [
            pins.pin(deed.winner, field, value, by=by, reason=_("chosen when merging")).pk
            for field, value in sorted(keep.items())
        ]
        deed.save(update_fields=["moved"])
    return deed


@transaction.atomic
def decide_never(candidate: MatchCandidate, by: Staff) -> MatchCandidate:
    """A person says: two persons. No later run joins them. Raises `Decided`."""
    candidate = _asked(candidate)
    candidates.decide(candidate, MatchCandidate.Status.NEVER, by)
    audit(by, "kept apart", candidate, left=candidate.left_id, right=candidate.right_id)
    return candidate


@transaction.atomic
def decide_household(candidate: MatchCandidate, by: Staff) -> None:
    """A person says: two persons, who live together. Raises `Decided`."""
    candidate = decide_never(candidate, by)
    households.decide(candidate.left, candidate.right, together=True, by=by)


def _asked(candidate: MatchCandidate) -> MatchCandidate:
    """The open question, locked, with its two people, who are held first: of two who decide at once the second waits
    here, and then hears that it is decided. Raises `Decided`."""
    with whole_network():
        Profile.hold([candidate.left_id, candidate.right_id])
        asked = MatchCandidate.objects.select_for_update(of=("self",)).select_related("left", "right")
        standing = asked.filter(pk=candidate.pk).first()
    if standing is None:
        raise Decided(_("this pair is gone: one of the two was merged meanwhile"))
    if standing.status != MatchCandidate.Status.OPEN:
        raise Decided(_("somebody has decided this pair meanwhile"))
    if (standing.left_id, standing.right_id) != (candidate.left_id, candidate.right_id):
        raise Decided(_("one of the two was merged meanwhile: look at the pair again"))
    return standing


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
