"""The numbered statements about earning without a ticket: actions, welcomes, birthdays."""

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.db import DatabaseError, transaction
from django.urls import reverse

from loyalty import actions, ledger, members, proof, rulebook, settlement, statements, tasks, till
from loyalty.models import Action, FundingKey, Lot, Membership, Posting, Rule, Transaction
from loyalty.rules import InvalidRule, validate
from profiles import merging, separating
from profiles.models import Merge, Profile
from tenants.network.models import AuditEvent
from tests.loyalty.conftest import AT, CARD, LONG_AGO, OTHER, ticket

ACTIONS = "/api/v1/actions"


@pytest.fixture
def action_rule(programme_p):
    """`action_rule("download_app", points=50, …)`: a rule for an action, in programme P."""
    programme_p()

    def made(action, points=50, when=None, start=LONG_AGO, **terms) -> Rule:
        rule = Rule.objects.create(code=action.replace("_", "-"), name=action, kind=Rule.Kind.ACTION)
        said = {"action": action, "points": points, "expiry_months": 12} | terms
        rulebook.publish(rule, when or {}, said, effective_from=start)
        return rule

    return made


def body(action="download_app", key="K1", card=CARD.value, **more) -> dict:
    told = {"action": action, "action_key": key, "member": {"card": card}, "occurred_at": AT.isoformat()}
    return told | more


@pytest.fixture
def tell(lille_till, till_client):
    """`tell(…)`: the action told by Lille's till over HTTP."""
    client = till_client(lille_till[1])
    return lambda **told: client.post(ACTIONS, body(**told), content_type="application/json")


@pytest.fixture
def member(lille_till, action_rule) -> Profile:
    """Somebody with a card who bought nothing that earned."""
    till.record_purchase(lille_till[0], ticket("R0", 50))
    return Profile.objects.get()


def available(profile: Profile) -> int:
    return statements.balance_of(profile).available


def sound() -> bool:
    return proof.prove().differences == []


def test_an_action_sent_five_times_counts_once(member, action_rule, tell):
    """Statement 13: the same action key five times is one credit, and five times the same answer."""
    action_rule("download_app", points=50)
    answers = [tell() for _time in range(5)]
    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None] + ["true"] * 4
    assert answers[0].json() | {"member": ""} == {
        "action": "download_app", "action_key": "K1", "member": "", "points": 50, "why": "earned", "tier": "",
        "available": 50, "pending": 0, "debt": 0,
        "explanation": [{"rule": "download-app", "version": 1, "points": 50, "why": "action"}],
    }  # fmt: skip
    assert Transaction.objects.filter(kind="earn").count() == 1
    lot = Lot.objects.get()
    assert (lot.points, lot.store.code, lot.expires_on) == (50, "ACM-001", date(2027, 11, 2))
    assert sound()


def test_a_key_names_one_deed_of_the_whole_brand(member, action_rule, tell, lyon_till, till_client):
    """Statement 13: the key with another content is refused; another till that tells the same is told the same."""
    action_rule("download_app")
    tell()
    changed = tell(occurred_at="2026-11-03T10:00:00Z")
    assert (changed.status_code, changed.json()["code"]) == (422, "id_reused")
    lyon = till_client(lyon_till[1])
    again = lyon.post(ACTIONS, body(), content_type="application/json")
    assert (again.status_code, again.json()["points"], again.headers["Idempotent-Replayed"]) == (
        201,
        50,
        "true",
    )
    other = lyon.post(ACTIONS, body(occurred_at="2026-11-03T10:00:00Z"), content_type="application/json")
    assert (other.status_code, other.json()["code"]) == (422, "id_reused")
    assert available(member) == 50
    row = Action.objects.get()
    row.pk, row.transaction, row.points = None, None, 0
    with pytest.raises(DatabaseError, match="action_counts_once"), transaction.atomic():
        row.save(force_insert=True)


@pytest.mark.parametrize(
    ("told", "status", "code"),
    [
        ({"action": "dowload_app"}, 422, "unknown_action"),
        ({"action": "birthday"}, 422, "action_of_the_calendar"),
        ({"action": "email_click"}, 422, "campaign_missing"),
        ({"action": "No spaces"}, 400, "invalid_body"),
        ({"card": "2990000009999"}, 404, "unknown_member"),
        ({"occurred_at": "2126-01-01T00:00:00Z"}, 422, "future_date"),
        ({"occurred_at": "2001-01-01T00:00:00Z"}, 422, "past_date"),
        ({"occurred_at": "2026-11-03T00:00:00"}, 400, "invalid_body"),
    ],
)
def test_an_action_that_cannot_be_right_is_refused(member, action_rule, tell, told, status, code):
    """Statement 13: a bad action gets a clear error and leaves nothing behind."""
    action_rule("download_app")
    action_rule("email_click")
    refused = tell(**told)
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert not Action.objects.exists()
    assert available(member) == 0


def test_caps_count_by_member_period_and_campaign(member, action_rule, tell, lille_till):
    """Statement 14: a click earns three times a month and once a campaign; somebody else's clicks are their own."""
    action_rule("email_click", points=5, times=3, period="month", times_per_campaign=1)
    told = [
        ("a", "spring", "2026-10-02T10:00:00Z", "earned"),
        ("b", "spring", "2026-10-03T10:00:00Z", "cap of the campaign"),
        ("c", "summer", "2026-10-04T10:00:00Z", "earned"),
        ("d", "autumn", "2026-10-05T10:00:00Z", "earned"),
        ("e", "winter", "2026-10-31T22:30:00Z", "cap of the period"),
        ("f", "winter", "2026-10-31T23:30:00Z", "earned"),  # November in Lille
    ]
    for key, campaign, at, why in told:
        answer = tell(action="email_click", key=key, campaign=campaign, occurred_at=at).json()
        assert (key, answer["why"], answer["points"]) == (key, why, 5 * (why == "earned"))
    assert available(member) == 20
    till.record_purchase(lille_till[0], ticket("R9", 50, shown=OTHER))
    assert tell(action="email_click", key="g", campaign="spring", card=OTHER.value).json()["points"] == 5
    assert Action.objects.filter(points=0).count() == 2
    assert sound()


def test_an_open_counts_once_a_campaign_whatever_the_rule_says(member, action_rule, tell):
    """Statement 14: opens may be valued, and are capped at one a campaign."""
    action_rule("email_open", points=2)
    answers = [tell(action="email_open", key=key, campaign="spring").json() for key in "abc"]
    assert [answer["points"] for answer in answers] == [2, 0, 0]
    with pytest.raises(InvalidRule, match="once a campaign"):
        validate("action", {}, {"action": "email_open", "points": 2, "times_per_campaign": 2})


@pytest.mark.parametrize(
    ("when", "terms", "path"),
    [
        ({"categories": ["DAIRY"]}, {}, "conditions.categories"),
        ({"min_total_cents": 1}, {}, "conditions.min_total_cents"),
        ({}, {"action": "Two words"}, "terms.action"),
        ({}, {"times": 0}, "terms.times"),
        ({}, {"period": "decade"}, "terms.period"),
        ({}, {"funding": "nobody"}, "terms.funding"),
        ({}, {"for_tier": "yes"}, "terms.for_tier"),
        ({}, {"factor": "2"}, "terms.factor"),
    ],
)
def test_a_rule_for_an_action_that_cannot_be_right_is_refused(when, terms, path):
    """Statement 14: the rule names the word that is wrong."""
    with pytest.raises(InvalidRule) as refused:
        validate("action", when, {"action": "review", "points": 10} | terms)
    assert refused.value.path == path


def test_points_of_an_action_wait_expire_and_pay_debts_as_any(member, action_rule, tell, lille_till):
    """Statement 13: pending, expiry and tier are the rule's own; an action judged by the version of its time."""
    rule = action_rule(
        "review", points=30, pending_days=14, expiry="fixed", expiry_day="03-31", for_tier=True
    )
    assert tell(action="review", key="a").json()["pending"] == 30
    lot = Lot.objects.get()
    assert (lot.available_on, lot.expires_on) == (date(2026, 11, 16), date(2027, 3, 31))
    assert Transaction.objects.get(kind="earn").qualifying_points == 30
    later = AT + timedelta(days=5)
    rulebook.publish(rule, {}, {"action": "review", "points": 10}, effective_from=later)
    assert tell(action="review", key="b", occurred_at=later.isoformat()).json()["points"] == 10
    assert (
        tell(action="review", key="c", occurred_at=(later - timedelta(seconds=1)).isoformat()).json()[
            "points"
        ]
        == 30
    )
    assert tell(action="review", key="d", occurred_at="2019-11-03T10:00:00Z").json()["why"] == "no rule"
    assert ledger.release_due(date(2026, 12, 31)) == 2
    assert available(member) == 70
    assert sound()


def test_a_rule_says_who_pays_for_its_points(member, action_rule, tell, lille, lyon):
    """Statement 13: points of an action carry their own funding, whatever key is in force."""
    FundingKey.objects.create(effective_from=LONG_AGO, earner=60, redeemer=30, head_office=10)
    action_rule("download_app", points=60, funding="head_office")
    action_rule("review", points=40)
    tell()
    tell(action="review", key="R")
    ledger.redeem(member.pk, 100, store_id=lyon.pk, key="spent", at=AT, cents=500)
    nets = settlement.nets(settlement.unsettled(datetime.now(UTC)))
    # €3.00 of the app: head office alone; €2.00 of the review by the key.
    assert nets == {None: -320, lille.pk: -120, lyon.pk: 440}


def test_the_proof_sees_points_that_nobody_earned(member, action_rule, tell):
    """Statement 13: an action rewritten, or points issued without one, are differences."""
    action_rule("download_app")
    tell()
    assert sound()
    with pytest.raises(DatabaseError, match="action_is_never_rewritten"), transaction.atomic():
        Action.objects.update(points=51)
    earned = actions.rules.Earned(7, [])
    told = {"key": "x", "at": AT, "local_day": AT.date(), "explanation": []}
    ledger.credit(member.pk, earned, store_id=Lot.objects.get().store_id, **told)
    assert [difference.check for difference in proof.prove().differences] == [
        "points_have_a_ticket_or_an_action"
    ]


def test_head_office_writes_a_rule_for_an_action(action_rule, client_of, diane):
    """Statement 14: the page asks for the words of an action, and says them."""
    rule = action_rule("email_click")
    page = reverse("admin:loyalty_rule_new_version", args=[rule.pk])
    shown = client_of(diane).get(page).content.decode()
    assert "conditions_categories" not in shown
    assert "conditions_tiers" in shown
    told = {
        "terms_action": "email_click", "terms_points": 5, "terms_times_per_campaign": 1, "terms_period": "month",
        "terms_funding": "head_office", "terms_on_merge": "reverse", "terms_expiry": "rolling",
        "terms_for_tier": "on", "terms_times": 3,
    }  # fmt: skip
    confirm = client_of(diane).post(page, told, follow=True)
    told = {"confirmed": confirm.context["form"]["confirmed"].value()}
    client_of(diane).post(reverse("admin:loyalty_rule_publish", args=[rule.pk]), told)
    terms = rule.versions.get(number=2).terms
    assert (terms["action"], terms["points"], terms["for_tier"], terms["times"]) == (
        "email_click",
        5,
        True,
        3,
    )
    listed = client_of(diane).get(reverse("admin:loyalty_rule_changelist")).content.decode()
    assert all(words in listed for words in ("5 points for «email_click»", "at most 3 times each month"))


def test_an_action_follows_the_card_that_was_shown(member, action_rule, tell, lille_till, diane):
    """Statement 13: told of two who were merged by mistake, it is of whose card was shown, also after a separation."""
    action_rule("review", points=30, times=1)
    till.record_purchase(lille_till[0], ticket("Z", 50, shown=OTHER))
    one, other = Profile.objects.order_by("pk")
    deed = merging.merge(one, other, ground=Merge.Ground.PERSON)
    tell(action="review", key="a", card=OTHER.value)
    assert tell(action="review", key="b").json()["why"] == "cap of the period"
    assert available(one) == 30
    separating.unmerge(deed, diane)
    assert (available(one), available(other)) == (0, 30)
    assert tell(action="review", key="c").json()["points"] == 30
    assert tell(action="review", key="d", card=OTHER.value).json()["points"] == 0
    assert sound()


# --- Welcome ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def welcomed(lille_till, action_rule):
    """Two people, each welcomed with 100 points on days of their own: (elder, younger)."""
    action_rule("welcome", points=100)
    with time_machine.travel(AT - timedelta(days=10)):
        actions.enrol(lille_till[0], CARD, {"first_name": "Marie"})
    with time_machine.travel(AT):
        actions.enrol(lille_till[0], OTHER, {"first_name": "Mary"})
    return list(Profile.objects.order_by("pk"))


def test_a_welcome_comes_at_once_and_once(action_rule, lille_till, till_client):
    """Statement 11: who enrols at a till is welcomed on the spot; the night welcomes the others; nobody twice."""
    action_rule("welcome", points=100, start=AT - timedelta(days=30))
    client = till_client(lille_till[1])
    asked = {"member": {"card": CARD.value}, "create": {"first_name": "Marie"}}
    for _time in range(2):
        answer = client.post("/api/v1/identify", asked, content_type="application/json")
        assert answer.json()["available"] == 100
    till.record_purchase(lille_till[0], ticket("R1", 500, shown=OTHER))
    assert tasks.credit_welcomes() == 1
    assert tasks.credit_welcomes() == 0
    assert [available(profile) for profile in Profile.objects.order_by("pk")] == [100, 105]
    Membership.objects.update(enrolled_at=LONG_AGO)
    assert actions.not_welcomed() == []
    assert sound()


def test_of_two_welcomes_the_younger_is_taken_back(welcomed):
    """Statement 11: merged, the younger welcome is reversed and logged; the elder stays."""
    elder, younger = welcomed
    merging.merge(elder, younger, ground=Merge.Ground.PERSON)
    assert available(elder) == 100
    assert Action.objects.get(withdrawn_by__isnull=False).profile == younger
    assert AuditEvent.objects.filter(verb="took back bonus").count() == 1
    assert tasks.credit_welcomes() == 0
    assert sound()


@pytest.mark.parametrize("spent", [0, 100])
def test_a_separation_puts_the_welcome_back(welcomed, lille, diane, spent):
    """Statement 11: separated, each has the own welcome again, less what was spent; no point is lost or made."""
    elder, younger = welcomed
    if spent:
        ledger.redeem(younger.pk, 100, store_id=lille.pk, key="s1", at=AT)
    deed = merging.merge(elder, younger, ground=Merge.Ground.PERSON)
    assert statements.balance_of(elder).available == (100 if not spent else 0)
    separating.unmerge(deed)
    assert (available(elder), available(younger)) == (100, 0 if spent else 100)
    assert AuditEvent.objects.filter(verb="gave bonus back").count() == 1
    again = merging.merge(elder, younger, ground=Merge.Ground.PERSON, by=diane)
    assert Action.objects.filter(withdrawn_by__isnull=False).count() == 1
    separating.unmerge(again)
    assert (available(elder), available(younger)) == (100, 0 if spent else 100)
    assert sum(Posting.objects.values_list("points", flat=True)) == 0
    assert sound()


def test_a_rule_may_leave_both_welcomes(lille_till, action_rule):
    """Statement 11, option: kept."""
    action_rule("welcome", points=100, on_merge="keep")
    for shown in (CARD, OTHER):
        actions.enrol(lille_till[0], shown, {"first_name": "Marie"})
    one, other = Profile.objects.order_by("pk")
    merging.merge(one, other, ground=Merge.Ground.PERSON)
    assert available(one) == 200
    assert sound()


# --- Birthday --------------------------------------------------------------------------------------------------------


@pytest.fixture
def born(lille_till, action_rule):
    """`born(date)`: Marie, a member since 2024, with this birth date."""
    action_rule("birthday", points=20)
    with time_machine.travel(datetime(2024, 1, 1, 10, tzinfo=UTC)):
        till.enrol(lille_till[0], CARD, {"first_name": "Marie"})

    def set_to(day) -> Profile:
        Profile.objects.update(birth_date=day)
        return Profile.objects.order_by("pk").first()

    return set_to


def nights(first: date, last: date) -> int:
    """Every night between the two days, the last included."""
    return sum(actions.birthdays(first + timedelta(days=n)) for n in range((last - first).days + 1))


def test_a_birthday_comes_once_a_calendar_year(born):
    """Statement 12: once each calendar year, however often the night runs."""
    marie = born(date(1980, 5, 17))
    assert nights(date(2025, 5, 10), date(2025, 5, 30)) == 1
    assert nights(date(2025, 5, 10), date(2025, 5, 30)) == 0
    assert nights(date(2026, 5, 17), date(2026, 5, 17)) == 1
    assert [f"{row.occurred_at:%Y-%m-%d %H:%M}" for row in Action.objects.order_by("pk")] == [
        "2025-05-16 22:00", "2026-05-16 22:00",
    ]  # fmt: skip
    assert Lot.objects.order_by("pk").first().expires_on == date(2026, 5, 17)
    assert statements.balance_of(marie).available + statements.balance_of(marie).pending > 0
    assert sound()


def test_a_night_that_was_missed_is_made_up_for(born):
    """Statement 12: the birthday of a night on which nothing ran is credited on one of the next."""
    born(date(1980, 5, 17))
    assert nights(date(2025, 5, 20), date(2025, 5, 20)) == 1
    born(date(1980, 1, 1))
    assert nights(date(2026, 9, 1), date(2026, 9, 9)) == 0


@pytest.mark.parametrize("moved_to", [date(1980, 5, 19), date(1980, 12, 30), date(1980, 1, 2)])
def test_a_birth_date_edited_after_the_bonus_grants_nothing(born, moved_to):
    """Statement 12: editing the birth date after receiving the bonus grants nothing, over New Year neither."""
    born(date(1980, 5, 17))
    assert nights(date(2025, 5, 17), date(2025, 5, 17)) == 1
    born(moved_to)
    assert nights(date(2025, 5, 18), date(2026, 1, 20)) == 0
    assert nights(date(2026, 12, 20), date(2027, 5, 30)) >= 1


def test_the_29th_of_february_is_the_28th_in_common_years(born):
    """Statement 12: 29 February → 28 February in common years, and itself in leap years."""
    born(date(2000, 2, 29))
    nights(date(2027, 2, 20), date(2028, 3, 5))
    days = [row.occurred_at + timedelta(hours=2) for row in Action.objects.order_by("pk")]
    assert [day.date() for day in days] == [date(2027, 2, 28), date(2028, 2, 29)]


def test_who_joined_after_the_birthday_waits_a_year(born):
    """Statement 12: no bonus for a birthday before the membership, nor before the rule."""
    born(date(1980, 12, 28))
    assert nights(date(2024, 1, 2), date(2024, 1, 3)) == 0
    assert nights(date(2024, 12, 28), date(2024, 12, 28)) == 1


def test_two_birthdays_of_one_year_become_one(born, lille_till):
    """Statement 12: merged, two people had one birthday that year; the younger bonus is taken back."""
    born(date(1980, 5, 17))
    with time_machine.travel(datetime(2024, 1, 1, 10, tzinfo=UTC)):
        till.enrol(lille_till[0], OTHER, {"first_name": "Mary"})
    born(date(1980, 5, 17))
    one, other = Profile.objects.order_by("pk")
    Profile.objects.filter(pk=other.pk).update(birth_date=date(1980, 5, 18))
    assert nights(date(2026, 5, 17), date(2026, 5, 18)) == 2
    deed = merging.merge(one, other, ground=Merge.Ground.PERSON)
    assert available(one) == 20
    assert tasks.credit_birthdays() == 0
    separating.unmerge(deed)
    assert (available(one), available(other)) == (20, 20)
    assert members.taking_part([one.pk, other.pk]) == [one.pk, other.pk]
    assert sound()
