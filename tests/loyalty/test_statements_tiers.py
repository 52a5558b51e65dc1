"""The numbered statements about tiers: how they are kept, lost and told."""

from datetime import date, datetime, timedelta

import pytest
import time_machine
from django.db import DatabaseError, transaction
from django.urls import reverse

from loyalty import members, proof, tasks, till
from loyalty.models import Membership, Programme, Tier, TierChange
from profiles import merging, separating, ticket_moves
from profiles.models import Merge, Profile, Purchase
from tests.loyalty.conftest import AT, OTHER, back, ticket

START = AT - timedelta(days=400)


@pytest.fixture
def levels(programme_p):
    """Programme P with three tiers: 100, 200 and 300 points in twelve months."""
    programme_p()
    for code, threshold in (("bronze", 100), ("silver", 200), ("gold", 300)):
        Tier.objects.create(code=code, name=code.capitalize(), threshold=threshold)


def tier(profile=None) -> str:
    row = Membership.objects.select_related("tier").get(profile=profile or Profile.objects.get())
    return row.tier.code if row.tier else ""


def grace() -> date | None:
    return Membership.objects.get().grace_until


def night(day: int) -> None:
    """The review of so many days after the start; what the proof says of that night."""
    with time_machine.travel(START + timedelta(days=day), tick=False):
        tasks.review_tiers()
        assert proof.prove().differences == []


@pytest.fixture
def gold(lille_till, levels) -> Profile:
    """300 points on the first day, 150 on day 200."""
    with time_machine.travel(START, tick=False):
        till.record_purchase(lille_till[0], ticket("R1", 30_000, at=START))
    later = START + timedelta(days=200)
    with time_machine.travel(later, tick=False):
        till.record_purchase(lille_till[0], ticket("R2", 15_000, at=later))
    assert tier() == "gold"
    return Profile.objects.get()


def test_a_tier_is_kept_for_sixty_days_and_falls_by_one_level(gold):
    """Statement 50: the window ends without the threshold → grace of 60 days → down one level, and grace anew."""
    night(364)
    assert (tier(), grace()) == ("gold", None)
    night(366)
    ends = (START + timedelta(days=366 + 60)).date()
    assert (tier(), grace()) == ("gold", ends)
    night(366 + 60)
    assert (tier(), grace()) == ("gold", ends)
    night(366 + 61)
    # 150 points are bronze: silver is kept for a grace of its own.
    assert (tier(), grace()) == ("silver", ends + timedelta(days=61))
    night(366 + 61 + 61)
    assert (tier(), grace()) == ("bronze", None)
    night(566)
    assert (tier(), grace()) == ("bronze", (START + timedelta(days=626)).date())
    night(627)
    assert (tier(), grace()) == ("", None)


def test_a_tier_may_fall_to_what_was_earned(gold):
    """Statement 50: or recomputed, per policy; the days are the programme's."""
    Programme.objects.update(tier_downgrade="recomputed", tier_grace_days=10)
    night(366)
    night(376)
    assert tier() == "gold"
    night(377)
    assert (tier(), grace()) == ("bronze", None)


def test_who_earns_in_time_keeps_the_tier(gold, lille_till):
    """Statement 50: the threshold reached within the grace ends the risk; nothing was announced."""
    night(366)
    back_on = START + timedelta(days=400)
    with time_machine.travel(back_on, tick=False):
        till.record_purchase(lille_till[0], ticket("R3", 15_000, at=back_on))
        assert (tier(), grace()) == ("gold", None)
    night(500)
    assert tier() == "gold"
    assert TierChange.objects.count() == 1


def test_a_return_marks_at_risk_and_does_not_downgrade_the_same_day(gold, lille_till):
    """Statement 50: a return below the threshold marks «at risk»; nothing falls the same day, grace or not."""
    Programme.objects.update(tier_grace_days=0)
    at = START + timedelta(days=201)
    with time_machine.travel(at, tick=False):
        till.refund(lille_till[0], back("B1", "R1", 1, at=at))
        assert (tier(), grace()) == ("gold", at.date())
        assert Membership.objects.get().at_risk_since == at
    night(201)
    assert tier() == "gold"
    night(202)
    assert tier() == "silver"


def test_the_page_of_a_customer_says_that_a_tier_is_at_risk(gold, client_of, alice):
    """Statement 50: «at risk» is seen, and until when the tier is kept."""
    page = reverse("admin:profiles_profile_change", args=[gold.pk])
    assert "Keeps the tier" not in client_of(alice).get(page).content.decode()
    night(366)
    assert "Keeps the tier Gold until" in client_of(alice).get(page).content.decode()


def test_a_change_of_tier_is_told_once(gold, lille_till):
    """Statement 51: one row a change, whatever runs how often; readers keep the last id they read."""
    told = members.tier_changes()
    assert [(row.before, row.after, row.why) for row in told] == [("", "gold", "earned")]
    for _time in range(2):
        night(366)
        night(366 + 61)
    news = members.tier_changes(after=told[-1].pk)
    assert [(row.before, row.after, row.why) for row in news] == [("gold", "silver", "grace_over")]
    assert members.tier_changes(after=news[-1].pk) == []
    with pytest.raises(DatabaseError, match="tier_change_is_append_only"), transaction.atomic():
        TierChange.objects.update(after="gold")


def test_steps_up_come_at_once(lille_till, levels):
    """Statement 51: each step up is told with the ticket that earned it."""
    for n, cents in enumerate((10_000, 5_000, 30_000)):
        till.record_purchase(lille_till[0], ticket(f"R{n}", cents, at=AT + timedelta(days=n)))
    assert [(row.before, row.after) for row in members.tier_changes()] == [("", "bronze"), ("bronze", "gold")]


def test_a_separation_recounts_both_and_lets_a_grace_go_on(gold, lille_till):
    """Statement 50: what a mistake had raised falls at once; a grace of before the merge goes on."""
    night(366)
    until = grace()
    when = START + timedelta(days=380)
    with time_machine.travel(when, tick=False):
        till.record_purchase(lille_till[0], ticket("Z", 15_000, shown=OTHER, at=when))
        other = Profile.objects.get(purchases__receipt_id="Z")
        deed = merging.merge(gold, other, ground=Merge.Ground.PERSON)
        assert (tier(gold), Membership.objects.get(profile=gold).grace_until) == ("gold", None)
        separating.unmerge(deed)
        assert (tier(gold), tier(other)) == ("gold", "bronze")
        assert Membership.objects.get(profile=gold).grace_until == until
        assert proof.prove().differences == []


def test_a_ticket_that_was_somebody_else_s_gives_no_grace(gold, lille_till, diane):
    """Statement 50: points that were never theirs keep nobody at a tier."""
    at = START + timedelta(days=210)
    with time_machine.travel(at, tick=False):
        till.record_purchase(lille_till[0], ticket("Z", 1_000, shown=OTHER, at=at))
        other = Profile.objects.get(purchases__receipt_id="Z")
        done = ticket_moves.move(Purchase.objects.get(receipt_id="R1"), other, reason="wrong card", by=diane)
        assert (tier(gold), tier(other)) == ("bronze", "gold")
        ticket_moves.undo(done, diane)
        assert (tier(gold), tier(other)) == ("gold", "")
        assert proof.prove().differences == []


def test_the_proof_sees_a_tier_that_nobody_earned(gold):
    """Statement 50: a tier above the points without a grace, or one that was never told, is a difference."""
    now = START + timedelta(days=210)
    Membership.objects.update(tier=Tier.objects.get(code="bronze"))
    with time_machine.travel(now, tick=False):
        found = {difference.check for difference in proof.prove().differences}
    assert found == {"tier_is_what_was_earned", "tier_is_the_one_told"}
    with pytest.raises(DatabaseError, match="at_risk_of_losing_a_tier"), transaction.atomic():
        Membership.objects.update(tier=None, at_risk_since=datetime(2026, 1, 1, tzinfo=AT.tzinfo))
