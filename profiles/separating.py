"""Separate what a merge joined: the exact inverse of `profiles/merging.py`, and what came in meanwhile to whom it
belongs."""

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles import candidates, households
from profiles.intake import events
from profiles.matching.reasons import Match
from profiles.merging import HANGS_ON_A_PROFILE, merge, recompute
from profiles.models import (
    ConsentChange,
    Event,
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
from profiles.signals import profiles_unmerged
from tenants.network.models import Staff, audit
from tenants.scoping import whole_network


class CannotSeparate(ValueError):
    """The merge cannot be undone now: undone already, or a later merge rests on it."""


@transaction.atomic
def unmerge(deed: Merge, by: Staff | None = None, *, binding: bool = True) -> None:
    """Separate what a merge joined, and never join the two again without a person, unless it is not `binding`.

    Not binding, the question between the two stands again as it stood. Raises `CannotSeparate`.
    """
    with whole_network():
        # People before what hangs on them, as everywhere.
        winner, loser = _locked(deed)
        deed = Merge.objects.select_for_update().get(pk=deed.pk)
        if deed.undone_at:
            raise CannotSeparate(_("this merge was undone before"))
        if loser.merged_into_id != winner.pk or winner.merged_into_id:
            raise CannotSeparate(_("undo the later merges of this customer first"))
        loser.merged_into = None
        loser.save(update_fields=["merged_into"])
        for model in HANGS_ON_A_PROFILE:
            ids = deed.moved.get(model._meta.model_name, [])
            model.objects.filter(pk__in=ids, profile=winner).update(profile=loser)
        _let_go_of_chosen(deed, by)
        Pin.objects.filter(pk__in=deed.moved.get("pin", []), profile=winner).update(profile=loser)
        households.hand_back(deed.moved.get("household", {}), winner, loser)
        _hand_back_newcomers(deed, winner, loser)
        _repeat_refusals(deed, winner, loser)
        deed.undone_at, deed.undone_by = timezone.now(), by
        profiles_unmerged.send(Merge, merge=deed)
        deed.save()
        candidates.hand_back(deed, winner, loser)
        ProfileStore.objects.bulk_create(
            [
                ProfileStore(pk=pk, profile=loser, store_id=store_id, since=datetime.fromisoformat(since))
                for pk, store_id, since in deed.moved.get("stores", [])
            ],
            ignore_conflicts=True,
        )
        recompute(winner.pk, loser.pk)
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
                make_again(one)
    return 1


@transaction.atomic
def make_again(deed: Merge) -> Merge:
    """Merge again what a person had decided and was taken back for somebody else's sake: with the evidence, the word
    of who decided, who may take it back, and the values that they chose. Raises `CannotMerge`."""
    with whole_network():
        told = Merge.objects.get(pk=deed.pk)
        again = merge(
            told.winner, told.loser, ground=told.ground, match=_told_with(told), by=told.by, job=told.job
        )
        question = MatchCandidate.objects.filter(left=again.winner, right=again.loser)
        question.filter(status=MatchCandidate.Status.MERGED).update(decided_by=told.by, decided_at=told.at)
        chosen = Pin.objects.filter(pk__in=told.moved.get("let_go", []))
        fields = list(chosen.values_list("field", flat=True))
        if fields:
            standing = Pin.objects.filter(profile=again.winner, field__in=fields, ended_at=None)
            again.moved |= {
                "replaced": sorted(standing.values_list("pk", flat=True)),
                "chosen": told.moved["let_go"],
            }
            standing.update(ended_at=timezone.now(), ended_by=told.by)
            chosen.update(profile=again.winner, ended_at=None, ended_by=None)
            again.save(update_fields=["moved"])
            recompute(again.winner_id)
    return again


def _told_with(deed: Merge) -> Match | None:
    if deed.weight is None or deed.probability is None:
        return None
    return Match(deed.weight, deed.probability, tuple(deed.evidence), model_version=deed.model_version)


# --- What is handed back ----------------------------------------------------------------------------------------------


def _locked(deed: Merge) -> tuple[Profile, Profile]:
    """Both profiles locked in the order of their ids, the older first."""
    both = Profile.objects.filter(pk__in=[deed.winner_id, deed.loser_id])
    winner, loser = both.select_for_update(no_key=True).order_by("pk")
    return winner, loser


def _let_go_of_chosen(deed: Merge, by: Staff | None) -> None:
    """The values that somebody chose when merging are those of the two as one: what they took the place of holds
    again. Where another value was pinned since, that one stays."""
    chosen = Pin.objects.filter(pk__in=deed.moved.get("chosen", []), ended_at=None)
    let_go = dict(chosen.values_list("pk", "field"))
    chosen.update(ended_at=timezone.now(), ended_by=by)
    deed.moved["let_go"] = sorted(let_go)
    before = Pin.objects.filter(pk__in=deed.moved.get("replaced", []), field__in=let_go.values())
    before.update(ended_at=None, ended_by=None)


def _hand_back_newcomers(deed: Merge, winner: Profile, loser: Profile) -> None:
    """What came in after the merge goes to whom it belongs: by the source's id, or by an identifier that was theirs."""
    of_loser = SourceRecord.objects.filter(profile=loser)
    for source_id, external_id in set(of_loser.values_list("source", "external_id")):
        later = SourceRecord.objects.filter(source=source_id, external_id=external_id, profile=winner)
        _give_records(later, loser)
    elsewhere = _of_others(deed, winner)
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


def _of_others(deed: Merge, winner: Profile) -> dict[str, set[int]]:
    """What other merges that stand brought to the survivor: name of the model -> ids."""
    others = Merge.objects.filter(winner=winner, undone_at=None).exclude(pk=deed.pk)
    moved = list(others.values_list("moved", flat=True))
    return {
        model._meta.model_name: {pk for told in moved for pk in told.get(model._meta.model_name, [])}
        for model in HANGS_ON_A_PROFILE
    }


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
    # What another merge brought along was said by that person, before they were one with these two.
    told = told.exclude(pk__in=_of_others(deed, winner)["consentchange"])
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
