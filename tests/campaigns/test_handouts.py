"""What a campaign gives: once to everybody addressed, never to the control group, within limits, called back."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import DatabaseError, transaction
from django.urls import reverse
from django.utils import timezone

from campaigns import handouts, tasks
from campaigns.handouts import HandoutRefused
from campaigns.launching import freeze
from campaigns.models import Campaign, Given, Handout, Recipient, Segment
from campaigns.segments.saving import save
from loyalty import ledger, me, proof, settlement, statements, vouchers
from loyalty.models import Lot, Reward, Transaction, Voucher
from profiles import merging
from profiles.models import Merge, Profile, ProfileStore
from tenants.brand_sql import broken_promise
from tenants.calendar import brand_today
from tenants.network.models import AuditEvent, Job
from tenants.roles import Role
from tenants.scoping import Scope, scoped_to
from tests.campaigns import factories
from tests.loyalty.conftest import programme  # noqa: F401 - a fixture

TREATED, CONTROL = Recipient.Arm.TREATED, Recipient.Arm.CONTROL
WHY = "spring"
# The database's clock is not the test's.
FOREVER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def reward(today, programme) -> Reward:  # noqa: F811
    return Reward.objects.create(
        code="five",
        name="5 € off",
        kind="money_off",
        worth_cents=500,
        valid_from=date(2026, 1, 1),
        lives_days=30,
    )


@pytest.fixture
def frozen(today, alice, lille, lyon, reward):
    """`frozen(store=None)`: a campaign for twenty, half of Lille, half of Lyon, six of whom are held back."""

    def made(store=None) -> Campaign:
        people = [
            factories.person(
                store or (lille, lyon)[n % 2],
                allows=["email"],
                email=f"c{n}@exemple.fr",
                last_name=f"Nom{n}",
            )
            for n in range(20)
        ]
        segment = Segment(name="Everybody", store=store)
        save(segment, {"all": []}, alice)
        campaign = Campaign.objects.create(
            name="Spring letter",
            segment=segment,
            goal="visit",
            goal_uplift=2,
            control_percent=30,
            store=store,
        )
        factories.draw(campaign, people, held_back=6)
        campaign = freeze(campaign, alice)
        # Who never bought goes with no store: here everybody does.
        for home in () if store else (lille, lyon):
            campaign.recipients.filter(profile__stores__store=home).update(home_store=home)
        return campaign

    return made


def arm(campaign: Campaign, which: str) -> set[int]:
    return set(campaign.recipients.filter(arm=which).values_list("profile", flat=True))


def given(campaign: Campaign, by, **thing) -> Handout:
    asked = handouts.ask(campaign, **thing, purpose=WHY, by=by)
    handouts.carry_out(asked.pk)
    return Handout.objects.select_related("job", "undo_job").get(pk=asked.pk)


# --- Once, and to whom ----------------------------------------------------------------------------------------------


def test_everybody_addressed_has_one_voucher_and_nobody_held_back(frozen, reward, alice):
    campaign = frozen()
    planned = handouts.plan(campaign, reward=reward)
    assert (planned.people, planned.cents) == (len(arm(campaign, TREATED)), 500 * len(arm(campaign, TREATED)))
    handout = given(campaign, alice, reward=reward)
    holders = list(Voucher.objects.values_list("profile", flat=True))
    assert len(holders) == len(set(holders)) == planned.people
    assert set(holders) == arm(campaign, TREATED)
    voucher = Voucher.objects.first()
    assert (voucher.campaign, voucher.issued_by, voucher.issued_in, voucher.store, voucher.worth_cents) == (
        "Spring letter", "Alice Martin", None, None, 500,
    )  # fmt: skip
    assert voucher.last_day == brand_today() + timedelta(days=30)
    assert (handout.job.state, handout.job.done, handout.job.result) == (
        Job.State.DONE, planned.people, {"given": planned.people, "left out": 0},
    )  # fmt: skip
    event = AuditEvent.objects.get(verb="gave to the audience")
    assert (event.actor, event.reason) == ("Alice Martin", WHY)
    assert event.detail["cents"] == planned.cents
    handouts.carry_out(handout.pk)
    assert Voucher.objects.count() == planned.people


def test_points_are_lots_that_head_office_pays(frozen, alice, lille):
    campaign = frozen()
    n = len(arm(campaign, TREATED))
    assert handouts.plan(campaign, points=100).cents == 500 * n
    handout = given(campaign, alice, points=100)
    people = Profile.objects.filter(pk__in=arm(campaign, TREATED))
    assert {statements.balance_of(person).available for person in people} == {100}
    assert {
        statements.balance_of(p).available for p in Profile.objects.filter(pk__in=arm(campaign, CONTROL))
    } == {0}
    assert Given.objects.filter(handout=handout, transaction__isnull=False).count() == n
    homes = dict(campaign.recipients.values_list("profile", "home_store"))
    assert all(
        lot.store_id == homes[lot.transaction.profile_id] for lot in Lot.objects.select_related("transaction")
    )
    someone = people.first()
    ledger.redeem(someone.pk, 100, store_id=lille.pk, key="r", at=timezone.now())
    shares = settlement.unsettled(FOREVER)
    assert {share.store_id: share.cents for share in shares} == {None: -500, lille.pk: 500}
    assert proof.prove().differences == []


@pytest.mark.parametrize("thing", ["reward", "points"])
def test_work_that_was_killed_goes_on_and_gives_nobody_twice(frozen, reward, alice, monkeypatch, thing):
    campaign = frozen()
    asked = handouts.ask(campaign, **{thing: reward if thing == "reward" else 50}, purpose=WHY, by=alice)
    n, calls = asked.people, []
    name = "_vouchers" if thing == "reward" else "_points"
    real = getattr(handouts, name)

    def killed(*told):
        made = real(*told)
        calls.append(1)
        if len(calls) % 2 == 0:
            # The vouchers and points of this part are written, the notes of who has them are not.
            raise KeyboardInterrupt
        return made

    with monkeypatch.context() as patch:
        patch.setattr(handouts, name, killed)
        for _attempt in range(3):
            with pytest.raises(KeyboardInterrupt):
                handouts.carry_out(asked.pk, at_once=3)
    assert 0 < Given.objects.count() < n
    assert (
        Voucher.objects.count() + Transaction.objects.filter(kind="adjust").count() == Given.objects.count()
    )
    assert handouts.under_way() == [asked.pk]
    assert tasks.carry_on_handouts() == 1
    assert Given.objects.filter(left_out="").count() == n
    assert (Voucher.objects.count(), Transaction.objects.filter(kind="adjust").count()) == (
        (n, 0) if thing == "reward" else (0, n)
    )
    assert tasks.carry_on_handouts() == 0
    assert proof.prove().differences == []


def test_who_proves_to_be_one_person_has_it_once_and_who_was_held_back_has_nothing(frozen, reward, alice):
    campaign = frozen()
    treated = [Profile.objects.get(pk=pk) for pk in sorted(arm(campaign, TREATED))]
    held_back = Profile.objects.get(pk=min(arm(campaign, CONTROL)))
    # Two of them, before any is given; one with somebody held back; and one after the first half.
    merging.merge(treated[0], treated[1], ground=Merge.Ground.PERSON, by=alice)
    merging.merge(held_back, treated[2], ground=Merge.Ground.PERSON, by=alice)
    asked = handouts.ask(campaign, reward=reward, purpose=WHY, by=alice)
    assert handouts.give_next(asked.pk, 5) == 5
    merging.merge(treated[3], treated[-1], ground=Merge.Ground.PERSON, by=alice)
    handouts.carry_out(asked.pk)
    reasons = list(Given.objects.exclude(left_out="").values_list("left_out", flat=True))
    assert sorted(reasons) == ["control", "same_person", "same_person"]
    living = [voucher.profile for voucher in Voucher.objects.select_related("profile")]
    assert len(living) == len({person.pk for person in living}) == len(treated) - 3
    assert held_back.survivor.pk not in {person.pk for person in living}
    assert Given.objects.count() == len(treated)


def test_nobody_is_given_anything_on_their_own_card_and_points_need_a_store(frozen, alice):
    campaign = frozen()
    first, second = campaign.recipients.filter(arm=TREATED).order_by("pk")[:2]
    Profile.objects.filter(pk=first.profile_id).update(email=alice.email.upper())
    Recipient.objects.filter(pk=second.pk).update(home_store=None)
    given(campaign, alice, points=10)
    assert dict(Given.objects.exclude(left_out="").values_list("recipient", "left_out")) == {
        first.pk: "own_card", second.pk: "no_store",
    }  # fmt: skip


def test_a_reward_that_changes_meanwhile_stops_the_work(frozen, reward, alice):
    campaign = frozen()
    asked = handouts.ask(campaign, reward=reward, purpose=WHY, by=alice)
    handouts.give_next(asked.pk, 5)
    Reward.objects.update(worth_cents=5000)
    with pytest.raises(HandoutRefused, match="was changed"):
        handouts.carry_out(asked.pk)
    asked.job.refresh_from_db()
    assert (asked.job.state, Voucher.objects.count()) == (Job.State.FAILED, 5)
    Reward.objects.update(worth_cents=500)
    handouts.resume(asked, by=alice)
    handouts.carry_out(asked.pk)
    assert Voucher.objects.count() == asked.people


# --- What the database promises -------------------------------------------------------------------------------------


def refused_by(deed) -> str:
    with pytest.raises(DatabaseError) as refused, transaction.atomic():
        deed()
    return broken_promise(refused.value)


def test_the_database_refuses_what_the_code_would_never_do(frozen, reward, alice):
    campaign = frozen()
    handout = given(campaign, alice, reward=reward)
    row = Given.objects.first()
    held_back = campaign.recipients.filter(arm=CONTROL).first()

    def more(**told):
        return Given.objects.create(
            **{"handout": handout, "recipient": row.recipient, "left_out": "gone"} | told
        )

    assert refused_by(more) == "recipient_given_once"
    assert refused_by(lambda: more(recipient=held_back)) == "only_the_addressed_are_given"
    Given.objects.create(handout=_another(campaign, alice), recipient=row.recipient, left_out="gone")
    fresh = vouchers.give(held_back.profile, reward, key="by hand")
    other = _another(campaign, alice, points=7)
    to_control = {"handout": other, "profile": held_back.profile, "voucher": fresh, "left_out": ""}
    assert refused_by(lambda: more(**to_control)) == "only_the_addressed_are_given"
    assert refused_by(lambda: more(handout=other, left_out="")) == "given_or_left_out"
    assert refused_by(lambda: more(handout=other, voucher=fresh)) == "given_or_left_out"
    assert refused_by(row.delete) == "given_never_changes"
    assert (
        refused_by(lambda: Given.objects.filter(pk=row.pk).update(left_out="gone")) == "given_never_changes"
    )
    Given.objects.filter(pk=row.pk).update(taken_back=1)
    assert refused_by(lambda: Given.objects.filter(pk=row.pk).update(taken_back=0)) == "given_never_changes"
    assert refused_by(lambda: _another(campaign, alice, reward=reward)) == "campaign_gives_a_thing_once"
    assert refused_by(lambda: _another(campaign, alice, reward=reward, points=3)) == "handout_gives_one_thing"


def test_a_person_has_one_part_whatever_recipients_led_to_them(frozen, reward, alice):
    campaign = frozen()
    asked = handouts.ask(campaign, reward=reward, purpose=WHY, by=alice)
    handouts.give_next(asked.pk, 1)
    row = Given.objects.get()
    other = campaign.recipients.filter(arm=TREATED).exclude(pk=row.recipient_id).first()
    voucher = vouchers.give(row.profile, reward, key="by hand")
    deed = {"handout": asked, "recipient": other, "profile": row.profile, "voucher": voucher}
    assert refused_by(lambda: Given.objects.create(**deed)) == "person_given_once"


def _another(campaign, by, **thing) -> Handout:
    job = Job.objects.create(kind="handout", title="t")
    told = {"campaign": campaign, "points": 5} if not thing else {"campaign": campaign} | thing
    if "points" in told and "reward" not in told:
        # Points were asked for before: as if those had been called back.
        Handout.objects.filter(campaign=campaign, reward=None).update(
            undo_job=Job.objects.create(kind="handout-called-back", title="t")
        )
    return Handout.objects.create(**told, people=1, cost_cents=1, purpose="p", job=job, asked_by=by)


# --- Limits and walls -----------------------------------------------------------------------------------------------


def test_a_campaign_costs_no_more_than_the_role_may_give(frozen, reward, alice, diane, monkeypatch):
    campaign = frozen()
    monkeypatch.setitem(handouts.MOST_CENTS, Role.MARKETER, 500 * len(arm(campaign, TREATED)) + 1)
    given(campaign, alice, reward=reward)
    with pytest.raises(HandoutRefused, match="up to") as refused:
        handouts.ask(campaign, points=100, purpose=WHY, by=alice)
    assert refused.value.code == "over_limit"
    assert given(campaign, diane, points=100).job.state == Job.State.DONE
    with pytest.raises(HandoutRefused, match="gives that already"):
        handouts.ask(campaign, reward=reward, purpose=WHY, by=diane)


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({}, "one_thing"), ({"points": 0}, "points"), ({"points": 10**9}, "points"),
        ({"points": 5, "purpose": " "}, "purpose"),
    ],
)  # fmt: skip
def test_what_is_no_gift_is_refused_by_field(frozen, alice, told, code):
    with pytest.raises(HandoutRefused) as refused:
        handouts.ask(frozen(), **{"purpose": WHY, "by": alice} | told)
    assert refused.value.code == code


def test_a_draft_campaign_and_a_reward_that_is_over_give_nothing(frozen, reward, alice):
    campaign = frozen()
    reward.is_offered = False
    with pytest.raises(HandoutRefused, match="offered no more"):
        handouts.ask(campaign, reward=reward, purpose=WHY, by=alice)
    Campaign.objects.update(state="draft")
    with pytest.raises(HandoutRefused, match="Freeze"):
        handouts.ask(campaign, points=5, purpose=WHY, by=alice)


def test_a_manager_gives_to_the_own_customers_of_the_own_campaign(
    frozen, reward, bruno, chloe, lille, lyon, client_of
):
    campaign = frozen(store=lille)
    stranger = campaign.recipients.filter(arm=TREATED).order_by("pk").last().profile
    ProfileStore.objects.filter(profile=stranger).delete()
    with scoped_to(Scope.of([lille.pk])):
        handout = given(campaign, bruno, reward=reward)
    assert set(Voucher.objects.values_list("issued_in", "store")) == {(lille.pk, lille.pk)}
    assert list(Given.objects.exclude(left_out="").values_list("left_out", flat=True)) == ["stranger"]
    voucher = Voucher.objects.first()
    assert "only valid in Lille" in refused(lambda: vouchers.use(voucher.code, store=lyon, at=timezone.now()))
    vouchers.use(voucher.code, store=lille, at=timezone.now())
    assert settlement.unsettled(FOREVER) == []
    with pytest.raises(HandoutRefused, match="head office"):
        handouts.ask(campaign, points=201, purpose=WHY, by=bruno)
    with pytest.raises(HandoutRefused) as out:
        handouts.ask(campaign, points=5, purpose=WHY, by=chloe)
    assert out.value.code == "not_allowed"
    change = reverse("admin:campaigns_campaign_change", args=[campaign.pk])
    assert (
        client_of(chloe).get(reverse("admin:campaigns_handout_give", args=[campaign.pk])).status_code == 404
    )
    assert client_of(chloe).get(change).status_code == 302
    for deed in ("call_back", "resume"):
        address = reverse(f"admin:campaigns_handout_{deed}", args=[handout.pk])
        assert client_of(chloe).post(address, {"purpose": "x"}).status_code == 404
    assert (
        client_of(chloe).get(reverse("admin:campaigns_handout_progress", args=[handout.pk])).status_code
        == 404
    )
    assert client_of(bruno).get(reverse("admin:campaigns_handout_progress", args=[handout.pk])).json()["over"]
    page = client_of(bruno).get(change).text
    assert "5 € off" in page
    assert "Lille Centre" in page
    assert "Files" not in page


def test_a_manager_gives_nothing_to_a_national_audience(frozen, reward, bruno, client_of):
    campaign = frozen()
    assert (
        client_of(bruno).get(reverse("admin:campaigns_handout_give", args=[campaign.pk])).status_code == 404
    )
    with pytest.raises(HandoutRefused):
        handouts.ask(campaign, reward=reward, purpose=WHY, by=bruno)


def refused(deed) -> str:
    with pytest.raises(vouchers.Refused) as found:
        deed()
    return found.value.detail


# --- Called back ----------------------------------------------------------------------------------------------------


def test_unused_vouchers_are_called_off_and_used_ones_stay(frozen, reward, alice, lille):
    campaign = frozen()
    handout = given(campaign, alice, reward=reward)
    used = Voucher.objects.first()
    vouchers.use(used.code, store=lille, at=timezone.now())
    handouts.call_back(handout, purpose="wrong reward", by=alice)
    with pytest.raises(HandoutRefused, match="Say why"):
        handouts.call_back(given(campaign, alice, points=5), purpose=" ", by=alice)
    handouts.carry_out(handout.pk, at_once=3)
    states = dict(Voucher.objects.values_list("pk", "state"))
    assert states.pop(used.pk) == "used"
    assert set(states.values()) == {"cancelled"}
    found = handouts.outcome(handout)
    assert (found.given, found.taken_back, found.used, found.stores) == (
        handout.people, handout.people - 1, 1, [("Lille Centre", 1, 500)],
    )  # fmt: skip
    assert AuditEvent.objects.get(verb="called back").reason == "wrong reward"
    # What was used has been spent; and so is what the points of 5 for each are worth.
    assert handouts.spent(campaign) == 500 + 25 * handout.people
    # The same again is another gift.
    assert given(campaign, alice, reward=reward).job.state == Job.State.DONE


def test_points_are_taken_back_as_far_as_they_are_left(frozen, alice, lille):
    campaign = frozen()
    handout = given(campaign, alice, points=100)
    spender, debtor, third = Profile.objects.filter(pk__in=arm(campaign, TREATED)).order_by("pk")[:3]
    ledger.redeem(spender.pk, 60, store_id=lille.pk, key="r", at=timezone.now())
    ledger.redeem(debtor.pk, 100, store_id=lille.pk, key="r2", at=timezone.now())
    merging.merge(spender, third, ground=Merge.Ground.PERSON, by=alice)
    handouts.call_back(handout, purpose="slip", by=alice)
    handouts.carry_out(handout.pk, at_once=4)
    assert handouts.outcome(handout).taken_back == 100 * handout.people - 160
    assert handouts.spent(campaign) == 5 * 160
    people = Profile.objects.filter(merged_into=None, pk__in=arm(campaign, TREATED))
    assert {(b.available, b.debt) for b in map(statements.balance_of, people)} == {(0, 0)}
    assert proof.prove().differences == []


def test_calling_back_stops_the_giving_and_survives_being_killed(frozen, reward, alice, monkeypatch):
    campaign = frozen()
    asked = handouts.ask(campaign, reward=reward, purpose=WHY, by=alice)
    handouts.give_next(asked.pk, 7)
    handouts.call_back(asked, purpose="stop", by=alice)
    assert handouts.give_next(asked.pk, 7) == 0

    def killed(*_args, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Job, "report", killed)
        with pytest.raises(KeyboardInterrupt):
            handouts.carry_out(asked.pk, at_once=2)
    assert Voucher.objects.filter(state="cancelled").count() == 2
    assert handouts.under_way() == [asked.pk]
    tasks.carry_on_handouts()
    assert Voucher.objects.filter(state="cancelled").count() == 7 == Voucher.objects.count()
    asked.refresh_from_db()
    assert (asked.job.state, asked.undo_job.state) == (Job.State.CANCELLED, Job.State.DONE)
    assert handouts.under_way() == []


# --- Pages ----------------------------------------------------------------------------------------------------------


def test_from_the_cost_to_the_vouchers_on_the_pages(
    frozen, reward, alice, diane, client_of, django_capture_on_commit_callbacks
):
    campaign = frozen()
    give = reverse("admin:campaigns_handout_give", args=[campaign.pk])
    n = len(arm(campaign, TREATED))
    page = client_of(alice).get(give, {"reward": reward.pk}).text
    assert f"{n} × €5.00 = €{5 * n}.00" in page
    assert "Head office" in page
    assert not Handout.objects.exists()
    for wrong in ({"reward": "x"}, {"points": "-3"}, {"points": "many"}, {"reward": reward.pk, "points": 5}):
        told = client_of(alice).post(give, wrong | {"purpose": WHY})
        assert told.status_code == 200
        assert 'role="alert"' in told.text
    assert "Say what it is given for." in client_of(alice).post(give, {"reward": reward.pk}).text
    assert not Handout.objects.exists()
    with django_capture_on_commit_callbacks(execute=True):
        answer = client_of(alice).post(give, {"reward": reward.pk, "purpose": WHY})
    assert answer.url == reverse("admin:campaigns_campaign_change", args=[campaign.pk])
    assert Voucher.objects.count() == n
    page = client_of(alice).get(answer.url).text
    assert "5 € off" in page
    assert "Call back what is not used" in page
    person = Voucher.objects.first().profile
    page = client_of(alice).get(reverse("admin:profiles_profile_change", args=[person.pk])).text
    assert "given: Spring letter" in page
    assert [held.name for held in me.view_of(person).vouchers] == ["5 € off"]
    handout = Handout.objects.get()
    with django_capture_on_commit_callbacks(execute=True):
        address = reverse("admin:campaigns_handout_call_back", args=[handout.pk])
        assert client_of(alice).post(address, {"purpose": "slip"}).status_code == 302
    assert f"{n} vouchers cancelled" in client_of(alice).get(answer.url).text
    assert me.view_of(person).vouchers == []


def test_who_only_reads_gives_nothing(frozen, reward, client_of, alice):
    from tests.conftest import _staff

    reader = _staff("hugo@acme.example", "Hugo", Role.ANALYST)
    campaign = frozen()
    handout = given(campaign, alice, reward=reward)
    assert (
        client_of(reader).get(reverse("admin:campaigns_handout_give", args=[campaign.pk])).status_code == 403
    )
    for deed in ("call_back", "resume"):
        address = reverse(f"admin:campaigns_handout_{deed}", args=[handout.pk])
        assert client_of(reader).post(address, {"purpose": "x"}).status_code == 403
    page = client_of(reader).get(reverse("admin:campaigns_campaign_change", args=[campaign.pk])).text
    assert "5 € off" in page
    assert "Call back what is not used" not in page
