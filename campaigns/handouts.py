"""What a campaign gives: a voucher of one reward, or points, for everybody whom it addresses, and nobody held back.

    plan(campaign, reward=…)    how many people, what it costs at most, who pays
    ask(…)                      note it, within the limits of one's role; a job gives it, person by person
    call_back(…)                undo it, as far as it can be: vouchers that were not used, points that are left

A job takes the recipients in the order of their ids, some hundreds in one transaction: vouchers, points and the notes
of who has them are written together, so work that was killed goes on where it stood. Behind it the database refuses to
give a recipient, or a person, the same twice, and to give anything to the control group.

A campaign of one store is paid by that store, its vouchers are for that store, and its manager may give, too. Head
office pays for the others; their points are booked where the customer goes, and cost that store nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from django.db import transaction
from django.db.models import Count, Max, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.control import people_of
from campaigns.models import Campaign, Given, Handout, Recipient
from loyalty import adjustments, breakage, ledger, members, rewards, rules, vouchers
from loyalty.models import Programme, Reward, Voucher
from profiles.models import Profile, ProfileStore
from tenants.calendar import brand_today
from tenants.locks import alone
from tenants.network.models import Job, Staff, Store, audit
from tenants.roles import HEAD_OFFICE, Role
from tenants.scoping import whole_network
from tenants.templatetags.money import money

JOB = "handout"
UNDO_JOB = "handout-called-back"
AT_ONCE = 500
# What the handouts of one campaign may cost together, by the role of who asks, in cents.
MOST_CENTS: dict[str, int] = {
    Role.STORE_MANAGER: 200_000,
    Role.MARKETER: 5_000_000,
    Role.BRAND_ADMIN: 50_000_000,
}
# Points for one customer; for a store's manager as many as by hand.
MOST_POINTS = 10_000
LeftOut = Given.LeftOut


class HandoutRefused(ValueError):
    """It cannot be given, or not by this person. `code` is stable, the message for people, `field` what is at fault."""

    def __init__(self, code: str, message: str, field: str = ""):
        super().__init__(message)
        self.code, self.field = code, field


@dataclass(frozen=True)
class Plan:
    """What giving this would mean: `cents` are its cost if everybody uses everything. No payer: head office."""

    reward: Reward | None
    points: int | None
    people: int
    each_cents: Fraction
    payer: Store | None

    @property
    def cents(self) -> int:
        return breakage.rounded(self.people * self.each_cents)


# --- Asking ---------------------------------------------------------------------------------------------------------


def plan(campaign: Campaign, *, reward: Reward | None = None, points: int | None = None) -> Plan:
    """How many would get it and what it costs at most. Raises `HandoutRefused` for what cannot be given at all."""
    if campaign.state != Campaign.State.FROZEN:
        raise HandoutRefused("not_frozen", _("Freeze the audience first."))
    if (reward is None) == (points is None):
        raise HandoutRefused(
            "one_thing", _("Choose a reward, or say how many points: one of the two."), "reward"
        )
    if reward is not None:
        try:
            rewards.must_be_offered(reward, campaign.store)
        except rewards.Refused as refused:
            raise HandoutRefused(refused.code, refused.detail, "reward") from None
    elif points is not None and not 1 <= points <= MOST_POINTS:
        raise HandoutRefused(
            "points", _("Between 1 and %s points for each customer.") % MOST_POINTS, "points"
        )
    with whole_network():
        people = _addressed(campaign).count()
    if not people:
        raise HandoutRefused("nobody", _("This campaign addresses nobody."))
    return Plan(reward, points, people, _worth(reward, points), campaign.store)


def _worth(reward: Reward | None, points: int | None) -> Fraction:
    """What one customer's part costs in cents: of points, what the programme gives for them."""
    if reward is not None:
        return Fraction(reward.worth_cents)
    programme = Programme.objects.first()
    if programme is None:
        raise HandoutRefused(
            "no_programme", _("There is no programme yet: points are worth nothing."), "points"
        )
    return Fraction((points or 0) * programme.reward_cents, programme.reward_points)


def offered(campaign: Campaign) -> list[Reward]:
    """The rewards that the campaign's audience could be given today."""
    found = []
    for reward in Reward.objects.filter(is_offered=True).order_by("name"):
        try:
            rewards.must_be_offered(reward, campaign.store)
        except rewards.Refused:
            continue
        found.append(reward)
    return found


def limit_of(by: Staff) -> int:
    """What the handouts of one campaign may cost together where this person asks, in cents."""
    return MOST_CENTS.get(by.role, 0)


def spent(campaign: Campaign) -> int:
    """What the campaign's handouts cost at most, in cents; of those called back, what could not be."""
    return sum(map(_stands, Handout.objects.filter(campaign=campaign)))


def _stands(handout: Handout) -> int:
    """What a handout costs at most: while it is called back, less what has come back by then."""
    if handout.undo_job_id is None:
        return handout.cost_cents
    with whole_network():
        rows = Given.objects.filter(handout=handout, left_out="")
        counted = rows.aggregate(n=Count("pk"), back=Sum("taken_back", default=0))
    unit = handout.points or 1
    kept = counted["n"] * unit - counted["back"]
    return breakage.rounded(Fraction(handout.cost_cents * kept, handout.people * unit))


def may_give(campaign: Campaign, by: Staff) -> bool:
    """Whether this person may give what the campaign's audience gets: a manager, for a campaign of their own store."""
    if not by.has_perm("campaigns.add_handout"):
        return False
    return by.role in HEAD_OFFICE or by.stores.filter(pk=campaign.store_id).exists()


def check(campaign: Campaign, planned: Plan, by: Staff) -> None:
    """Raise `HandoutRefused` for what this person may not give."""
    if not may_give(campaign, by):
        raise HandoutRefused("not_allowed", _("You may not give anything to this campaign's audience."))
    most = adjustments.MOST_AT_ONCE
    if planned.points and planned.points > most and by.role not in HEAD_OFFICE:
        raise HandoutRefused(
            "head_office_only",
            _("More than %s points a customer are for head office to give.") % most,
            "points",
        )
    together, limit = spent(campaign) + planned.cents, limit_of(by)
    if together > limit:
        told = {"cost": money(together), "limit": money(limit)}
        raise HandoutRefused(
            "over_limit",
            _("The campaign would cost %(cost)s; you may give up to %(limit)s a campaign.") % told,
        )
    standing = Handout.objects.filter(campaign=campaign, undo_job=None, reward=planned.reward)
    if standing.exists():
        raise HandoutRefused("given_before", _("This campaign gives that already."), "reward")


@transaction.atomic
def ask(
    campaign: Campaign, *, reward: Reward | None = None, points: int | None = None, purpose: str, by: Staff
) -> Handout:
    """Note what everybody whom the campaign addresses shall be given, and have it given after the commit.

    Raises `HandoutRefused`.
    """
    # Two forms sent at once: the second finds what the first asked for, and what it costs.
    campaign = Campaign.objects.select_for_update(of=("self",)).select_related("store").get(pk=campaign.pk)
    planned = plan(campaign, reward=reward, points=points)
    check(campaign, planned, by)
    if not purpose.strip():
        raise HandoutRefused("purpose", _("Say what it is given for."), "purpose")
    job = Job.objects.create(
        kind=JOB, title=(_("For the audience of %(campaign)s") % {"campaign": campaign.name})[:160],
        store_id=campaign.store_id, asked_by=by, total=planned.people,
    )  # fmt: skip
    handout = Handout.objects.create(
        campaign=campaign, reward=reward, points=points, people=planned.people, cost_cents=planned.cents,
        purpose=purpose.strip()[:300], store_id=campaign.store_id, job=job, asked_by=by,
    )  # fmt: skip
    audit(
        by, "gave to the audience", handout, reason=handout.purpose, store_id=handout.store_id,
        campaign=campaign.name, reward=reward.code if reward else "", points=points or 0, people=planned.people,
        cents=planned.cents,
    )  # fmt: skip
    _have_it_done(handout)
    return handout


@transaction.atomic
def call_back(handout: Handout, *, purpose: str, by: Staff) -> Handout:
    """Undo what was given so far, and give no more: a job cancels vouchers that are not used, and takes points that
    are left. Asked for again it changes nothing. Raises `HandoutRefused`."""
    handout = _held(handout.pk)
    if not may_give(handout.campaign, by):
        raise HandoutRefused("not_allowed", _("You may not give anything to this campaign's audience."))
    if handout.undo_job_id:
        return handout
    if not purpose.strip():
        raise HandoutRefused("purpose", _("Say why it is called back."), "purpose")
    handout.job.call_off()
    handout.undo_job = Job.objects.create(
        kind=UNDO_JOB, title=(_("Called back from %(campaign)s") % {"campaign": handout.campaign.name})[:160],
        store_id=handout.store_id, asked_by=by,
    )  # fmt: skip
    handout.save(update_fields=["undo_job"])
    audit(by, "called back", handout, reason=purpose.strip()[:300], store_id=handout.store_id)
    _have_it_done(handout)
    return handout


@transaction.atomic
def resume(handout: Handout, *, by: Staff) -> None:
    """Have work that failed begin again, and work that nobody has in hand go on. Raises `HandoutRefused`."""
    handout = _held(handout.pk)
    if not may_give(handout.campaign, by):
        raise HandoutRefused("not_allowed", _("You may not give anything to this campaign's audience."))
    job = handout.undo_job or handout.job
    if job.state == Job.State.FAILED:
        job.start(total=job.total, done=job.done)
        audit(by, "resumed", handout, store_id=handout.store_id)
    _have_it_done(handout)


def under_way() -> list[int]:
    """The handouts that somebody should have in hand."""
    with whole_network():
        open_jobs = Job.objects.filter(kind__in=[JOB, UNDO_JOB]).exclude(state__in=Job.OVER)
        asked = Handout.objects.filter(job__in=open_jobs) | Handout.objects.filter(undo_job__in=open_jobs)
        return list(asked.order_by("pk").values_list("pk", flat=True))


def _have_it_done(handout: Handout) -> None:
    from campaigns.tasks import hand_out

    transaction.on_commit(lambda: hand_out.delay(handout.pk), robust=True)


# --- Carrying out ---------------------------------------------------------------------------------------------------


def carry_out(handout_id: int, at_once: int = AT_ONCE) -> None:
    """Give, or call back, to the end, from where it stands; a second worker leaves it to the first."""
    with whole_network(), alone(JOB, handout_id) as is_alone:
        if not is_alone:
            return
        handout = _read(handout_id)
        _carry_out(handout, handout.job, give_next, at_once)
        # Called back meanwhile: what was given by then is undone.
        handout = _read(handout_id)
        if handout.undo_job:
            _carry_out(handout, handout.undo_job, take_next_back, at_once)


def _carry_out(handout: Handout, job: Job, deed: Callable[[int, int], int], at_once: int) -> None:
    if job.state in Job.OVER:
        return
    given = Given.objects.filter(handout=handout)
    is_undoing = deed is take_next_back
    total = given.filter(left_out="").count() if is_undoing else handout.people
    done = given.exclude(taken_back=None).count() if is_undoing else given.count()
    try:
        job.start(_("Calling back") if is_undoing else _("Giving"), total=total, done=done)
        while not job.was_called_off():
            count = deed(handout.pk, at_once)
            if not count:
                job.finish(**summary(handout))
                return
            done += count
            job.report(done)
        job.cancel()
    except Exception as error:
        job.fail(str(error) or type(error).__name__)
        raise


@transaction.atomic
def give_next(handout_id: int, limit: int = AT_ONCE) -> int:
    """Give the next recipients their part; returns how many were dealt with, 0 when all are. One transaction.

    Raises `HandoutRefused` where the reward is offered no more, or is worth something else by now.
    """
    handout = _held(handout_id)
    if handout.undo_job_id:
        return 0
    last = Given.objects.filter(handout=handout).aggregate(last=Max("recipient"))["last"] or 0
    waiting = list(_addressed(handout.campaign).filter(pk__gt=last).order_by("pk")[:limit])
    if not waiting:
        return 0
    _must_stand(handout)
    living = Profile.hold([recipient.profile_id for recipient in waiting])
    left_out, owners = _sorted_out(handout, waiting, living)
    made = _vouchers(handout, owners.values()) if handout.reward else _points(handout, owners)
    Given.objects.bulk_create(
        Given(handout=handout, recipient=recipient, left_out=left_out[recipient.pk])
        if recipient.pk in left_out
        else Given(
            handout=handout, recipient=recipient, profile=owners[recipient.pk], **made[owners[recipient.pk].pk]
        )
        for recipient in waiting
    )  # fmt: skip
    return len(waiting)


@transaction.atomic
def take_next_back(handout_id: int, limit: int = AT_ONCE) -> int:
    """Call the next parts back, as far as they are left; returns how many were dealt with, 0 when all are."""
    handout = _held(handout_id)
    standing = Given.objects.filter(handout=handout, taken_back=None, left_out="").order_by("pk")
    rows = list(standing[:limit])
    now = timezone.now()
    if handout.reward_id:
        unused = vouchers.call_off([row.voucher_id for row in rows], at=now)
        for row in rows:
            row.taken_back = int(row.voucher_id in unused)
    elif rows:
        why = {"why": "called back", "campaign": handout.campaign.name}
        actor = str(handout.undo_job.asked_by or "system")
        points = ledger.call_back([row.transaction_id for row in rows], at=now, why=why, actor=actor)
        for row in rows:
            row.taken_back = points[row.transaction_id]
    Given.objects.bulk_update(rows, ["taken_back"], batch_size=500)
    return len(rows)


def _addressed(campaign: Campaign):
    """The recipients who were addressed, in the whole network; a store's campaign has none of another store."""
    addressed = Recipient.objects.filter(campaign=campaign, arm=Recipient.Arm.TREATED)
    return addressed.filter(home_store=campaign.store_id) if campaign.store_id else addressed


def _must_stand(handout: Handout) -> None:
    """Raise `HandoutRefused` where what was shown before is true no more."""
    if handout.reward is None:
        return
    try:
        rewards.must_be_offered(handout.reward, handout.store)
    except rewards.Refused as refused:
        raise HandoutRefused(refused.code, refused.detail, "reward") from None
    if handout.cost_cents != handout.people * handout.reward.worth_cents:
        raise HandoutRefused(
            "worth_changed", _("The reward's worth was changed since this was asked for: call it back, and ask anew.")
        )  # fmt: skip


def _sorted_out(
    handout: Handout, waiting: Iterable[Recipient], living: dict[int, Profile]
) -> tuple[dict[int, str], dict[int, Profile]]:
    """By recipient: why they get nothing, or who they have become. The people are held."""
    ids = {profile.pk for profile in living.values()}
    held_back = set(
        people_of(handout.campaign, Recipient.Arm.CONTROL).filter(pk__in=ids).values_list("pk", flat=True)
    )
    own = adjustments.own_cards(ids, handout.asked_by)
    had = set(_holders(handout, ids))
    known = set(
        ProfileStore.objects.filter(profile__in=ids, store=handout.store_id).values_list("profile", flat=True)
    )
    left_out: dict[int, str] = {}
    owners: dict[int, Profile] = {}
    for recipient in waiting:
        profile = living.get(recipient.profile_id)
        if profile is None:
            left_out[recipient.pk] = LeftOut.GONE
        elif profile.pk in held_back:
            left_out[recipient.pk] = LeftOut.CONTROL
        elif profile.pk in had:
            left_out[recipient.pk] = LeftOut.SAME_PERSON
        elif profile.pk in own:
            left_out[recipient.pk] = LeftOut.OWN_CARD
        elif handout.store_id and profile.pk not in known:
            left_out[recipient.pk] = LeftOut.STRANGER
        elif handout.points and not (handout.store_id or recipient.home_store_id):
            left_out[recipient.pk] = LeftOut.NO_STORE
        else:
            owners[recipient.pk] = profile
            had.add(profile.pk)
    return left_out, owners


def _holders(handout: Handout, ids: Iterable[int]) -> Iterator[int]:
    """Of these people, who has their part: also by a profile that was merged into theirs since."""
    given = Given.objects.filter(handout=handout, profile__isnull=False)
    yield from given.filter(profile__in=ids).values_list("profile", flat=True)
    for row in given.filter(profile__merged_into__isnull=False).select_related("profile"):
        yield row.profile.survivor.pk


def _vouchers(handout: Handout, holders: Iterable[Profile]) -> dict[int, dict]:
    made = vouchers.give_all(
        holders, handout.reward, key=f"handout:{handout.pk}", campaign=handout.campaign.name[:80], store=handout.store,
        only_in=handout.store, by=str(handout.asked_by),
    )  # fmt: skip
    return {profile_id: {"voucher": voucher} for profile_id, voucher in made.items()}


def _points(handout: Handout, owners: dict[int, Profile]) -> dict[int, dict]:
    homes = dict(Recipient.objects.filter(pk__in=owners).values_list("pk", "home_store"))
    funding = rules.BY_STORE if handout.store_id else rules.BY_HEAD_OFFICE
    why = {"why": "campaign", "campaign": handout.campaign.name, "funding": funding}
    until = rules.last_day(brand_today(), adjustments.LIVES_MONTHS)
    gifts = {
        profile.pk: ledger.Gift(
            f"handout:{handout.pk}:{profile.pk}", profile.pk, handout.points, handout.store_id or homes[recipient_id],
            why, until,
        )
        for recipient_id, profile in owners.items()
    }  # fmt: skip
    posted = ledger.give(list(gifts.values()), at=timezone.now(), actor=str(handout.asked_by))
    members.refresh(gifts)
    return {profile_id: {"transaction_id": posted[gift.key]} for profile_id, gift in gifts.items()}


def _held(handout_id: int) -> Handout:
    """The handout under its lock: of two workers, should there ever be two, the second waits."""
    locked = Handout.objects.select_for_update(of=("self",))
    return _related(locked).get(pk=handout_id)


def _read(handout_id: int) -> Handout:
    return _related(Handout.objects.all()).get(pk=handout_id)


def _related(handouts):
    return handouts.select_related(
        "campaign__store", "campaign__segment", "reward", "store", "job", "undo_job__asked_by", "asked_by"
    )


# --- What came of it ------------------------------------------------------------------------------------------------


def summary(handout: Handout) -> dict[str, int]:
    """What the list of jobs shows: how many were given it, left out, and called back."""
    counted = Given.objects.filter(handout=handout).aggregate(
        all=Count("pk"), given=Count("profile"), called_back=Sum("taken_back", default=0)
    )
    return {"given": counted["given"], "left out": counted["all"] - counted["given"]} | (
        {"called back": counted["called_back"]} if handout.undo_job_id else {}
    )


@dataclass(frozen=True)
class Outcome:
    """How a handout stands: `left_out` by reason; of vouchers `used` and what they took off, by store (name, number,
    cents); `taken_back`: vouchers cancelled, or points taken."""

    given: int
    left_out: list[tuple[str, int]]
    taken_back: int
    used: int
    used_cents: int
    stores: list[tuple[str, int, int]]


def outcome(handout: Handout) -> Outcome:
    """How it stands now, in scope: a store sees its own customers, and its own uses."""
    rows = Given.objects.filter(handout=handout)
    reasons = Counter(
        dict(rows.exclude(left_out="").order_by().values_list("left_out").annotate(n=Count("pk")))
    )
    used = Voucher.objects.filter(
        pk__in=rows.order_by().values("voucher"), state=Voucher.State.USED
    ).order_by()
    by_store = used.values_list("used_in").annotate(n=Count("pk"), cents=Sum("used_cents"))
    names = dict(Store.objects.values_list("pk", "name"))
    stores = sorted(
        ((names.get(pk, ""), n, cents) for pk, n, cents in by_store), key=lambda row: (-row[1], row[0])
    )
    return Outcome(
        rows.filter(left_out="").count(),
        [(str(LeftOut(code).label), n) for code, n in reasons.most_common()],
        rows.aggregate(points=Sum("taken_back", default=0))["points"],
        sum(n for _name, n, _cents in stores), sum(cents for _name, _n, cents in stores), stores,
    )  # fmt: skip
