"""Workers and people who merge at the same time, each on a connection of their own: one history, no deadlock."""

from threading import Event

import pytest
from django.db import transaction

from loyalty import till
from profiles import merging
from profiles.intake import Shown
from profiles.models import Identifier, MatchCandidate, Merge, Profile, Purchase
from tests.loyalty.conftest import ticket
from tests.loyalty.test_ledger_invariants import arena, stage  # noqa: F401 - fixtures

pytestmark = pytest.mark.slow


@pytest.fixture
def people(arena, request):  # noqa: F811
    """`people(n)`: as many buyers of this test alone."""
    made = 0

    def make(count: int) -> list[Profile]:
        nonlocal made
        cards = [f"298{abs(hash(request.node.nodeid)) % 10**8:08d}{made + n:02d}" for n in range(count)]
        made += count
        for n, card in enumerate(cards):
            told = ticket(arena.receipt(f"{card}-{n}"), 1000 * (n + 1), shown=Shown("card", card))
            arena.run(lambda told=told: till.record_purchase(arena.till, told))
        told_by = Identifier.objects.filter(kind="card", key__in=cards)
        return sorted({row.profile for row in told_by}, key=lambda profile: profile.pk)

    return make


def to_merge(one: Profile, other: Profile):
    return lambda: merging.merge(one, other, ground=Merge.Ground.MATCH)


def asked(arena, one: Profile, other: Profile) -> None:  # noqa: F811
    left, right = sorted((one, other), key=lambda profile: profile.pk)
    said = {"weight": 1, "probability": 0.5, "model_version": "1"}
    arena.run(lambda: MatchCandidate.objects.create(left=left, right=right, **said))


def sound(*outcomes) -> None:
    wrong = [o for o in outcomes if isinstance(o, Exception) and not isinstance(o, merging.CannotMerge)]
    assert wrong == []


def whole(*people: Profile) -> None:
    """Nothing hangs on a merged profile, and no open question names one."""
    ids = [profile.pk for profile in people]
    gone = Profile.objects.filter(pk__in=ids, merged_into__isnull=False)
    for model in merging.HANGS_ON_A_PROFILE:
        assert not model.objects.filter(profile__in=gone).exists(), model
    for side in ("left", "right"):
        assert not MatchCandidate.objects.filter(status="open", **{f"{side}__in": gone}).exists()


@pytest.mark.parametrize("turn", range(4))
def test_overlapping_pairs_at_once_end_as_one_person(arena, people, turn):  # noqa: F811
    a, b, c, d = people(4)
    pairs = [(c, d), (b, c), (a, d), (a, b)][turn:] + [(c, d), (b, c), (a, d), (a, b)][:turn]
    sound(*arena.at_once(*(to_merge(*pair) for pair in pairs)))
    assert {Profile.objects.get(pk=profile.pk).survivor for profile in (a, b, c, d)} == {a}
    assert Merge.objects.filter(loser__in=[a, b, c, d]).count() == 3
    assert Purchase.objects.filter(profile=a).count() == 4
    whole(a, b, c, d)


@pytest.mark.parametrize("turn", range(4))
def test_overlapping_clusters_at_once_end_as_one_person(arena, people, turn):  # noqa: F811
    a, b, c, d = people(4)
    match = merging.Match(9.0, 0.99, (), "merge", "same_card")
    verbs = [
        lambda: merging.join_all({b.pk: {c.pk: match, d.pk: match}}),
        lambda: merging.join_all({a.pk: {d.pk: match, c.pk: match}}),
    ]
    sound(*arena.at_once(*(verbs if turn % 2 else verbs[::-1])))
    assert {Profile.objects.get(pk=profile.pk).survivor for profile in (a, b, c, d)} == {a}
    whole(a, b, c, d)


@pytest.mark.parametrize("turn", range(4))
def test_two_merges_that_share_questions_pass_them_on_to_both_survivors(arena, people, turn):  # noqa: F811
    one, other, gone, lost = people(4)
    for left, right in [(one, lost), (other, gone), (gone, lost)][: turn or 3]:
        asked(arena, left, right)
    sound(*arena.at_once(to_merge(one, gone), to_merge(other, lost)))
    questions = MatchCandidate.objects.filter(status="open", left__in=[one, other, gone, lost])
    assert list(questions.values_list("left", "right")) == [(one.pk, other.pk)]
    whole(one, other, gone, lost)


def test_a_merge_waits_for_a_ticket_and_takes_it_along(arena, people):  # noqa: F811
    one, other, third = people(3)
    card = Identifier.objects.get(profile=other, kind="card").key
    told = ticket(arena.receipt("late"), 500, shown=Shown("card", card))
    sound(*arena.overtaken(lambda: till.record_purchase(arena.till, told), to_merge(one, other)))
    assert Purchase.objects.get(receipt_id=told.receipt_id).profile == one
    sound(*arena.overtaken(*(to_merge(one, third) for _turn in range(2))))
    assert Merge.objects.filter(loser=third).count() == 1
    whole(one, other, third)


def test_who_waits_for_a_survivor_keeps_nobody_else_waiting(arena, people):  # noqa: F811
    """The merged one leads to a smaller id than those that are locked already."""
    a, b, c = people(3)
    arena.run(to_merge(a, c))
    holds = Event()

    def with_the_survivor():
        with transaction.atomic():
            Profile.hold([a.pk])
            holds.set()
            for _turn in range(2000):
                if arena._somebody_waits():
                    break
            return set(Profile.hold([b.pk]))

    def with_the_merged():
        assert holds.wait(30)
        with transaction.atomic():
            return {pk: row.pk for pk, row in Profile.hold([b.pk, c.pk]).items()}

    assert arena.at_once(with_the_survivor, with_the_merged) == [{b.pk}, {b.pk: b.pk, c.pk: a.pk}]
