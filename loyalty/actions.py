"""Earning without a ticket: actions that are told (an app, a review, a click), a welcome, a birthday.

What an action earns stands in the rule versions of its time, as for tickets. Each is told once: by its key, by the
person (a welcome), by the person and year (a birthday). When two people prove to be one, the younger of two welcomes,
or of two birthdays of one year, is taken back; a separation puts it back.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import ledger, members, once, rules, segments, statements
from loyalty import till as tills
from loyalty.models import Action, Membership, Rule, RuleVersion
from loyalty.rulebook import NoProgramme, Rulebook
from loyalty.till import Answer
from profiles.intake import Conflict, Problem, Shown
from profiles.intake.purchases import CLOCK_SKEW, OLDEST, key_of
from profiles.models import Identifier, Merge, Profile, ProfileStore
from tenants.calendar import brand_zone
from tenants.network.models import Store, Till, audit
from tenants.scoping import whole_network

EARNED, NO_RULE = "earned", "no rule"
# Deeds of a mailing: they say of which, and are counted by it.
OF_A_CAMPAIGN = frozenset({rules.EMAIL_OPEN, "email_click"})
# The nightly task makes up for so many nights that it missed.
DAYS_MADE_UP = 7
# A birthday that moves does not come twice in a year of days.
BETWEEN_BIRTHDAYS = timedelta(days=365)


@dataclass(frozen=True)
class Deed:
    """What a member did. `key` names the deed in the whole brand: told again, it counts once."""

    action: str
    key: str
    shown: Shown
    occurred_at: datetime
    campaign: str = ""


def record(till: Till, deed: Deed) -> Answer:
    """Note an action and credit what it earns, once. Raises `Problem`, `UnknownMember`, `NoProgramme`.

    The store of the till issues the points. An action that a cap leaves with nothing is noted too.
    """
    return once.answered(
        till,
        f"action:{deed.action}:{deed.key}",
        _content_of(deed),
        lambda: _record(till, deed),
        field="action_key",
    )


def _record(till: Till, deed: Deed) -> Answer:
    now = timezone.now()
    if deed.action in Action.BY_THE_CALENDAR:
        raise Problem("action_of_the_calendar", _("«%s» is credited by itself") % deed.action, "action")
    if deed.occurred_at > now + CLOCK_SKEW:
        raise Problem("future_date", _("the action lies in the future"), "occurred_at")
    if deed.occurred_at < now - OLDEST:
        raise Problem("past_date", _("the action lies more than ten years back"), "occurred_at")
    if deed.action in OF_A_CAMPAIGN and not deed.campaign.strip():
        raise Problem("campaign_missing", _("say of which campaign"), "campaign")
    book = Rulebook.load()
    if not RuleVersion.objects.filter(rule__kind=Rule.Kind.ACTION, terms__action=deed.action).exists():
        raise Problem("unknown_action", _("no rule speaks of «%s»") % deed.action, "action")
    profile = once.member_shown(till, deed.shown)
    content = _content_of(deed)
    with whole_network():
        known = Action.objects.filter(code=deed.action, key=deed.key).first()
    if known is None:
        told = Action(
            code=deed.action, key=deed.key, profile=profile, store=till.store, till=till,
            identified_by=f"{deed.shown.kind}:{key_of(deed.shown, till)}", campaign=deed.campaign.strip(),
            occurred_at=deed.occurred_at, received_at=now, content_hash=content,
        )  # fmt: skip
        return Answer(201, _body(_credit(told, book, str(till)), profile))
    if known.content_hash != content:
        raise Conflict(
            "id_reused", _("this id was used before with another content: %s") % deed.key, "action_key"
        )
    return Answer(201, _body(known, profile), replayed=True)


def _content_of(deed: Deed) -> str:
    # The instant, in whatever zone it was written.
    told = asdict(deed) | {"occurred_at": deed.occurred_at.timestamp()}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _credit(told: Action, book: Rulebook, actor: str) -> Action:
    """Judge the action by the rules of its time, post what it earns, and keep it."""
    local = told.occurred_at.astimezone(told.store.zone)
    standing = members.Standing([told.profile_id], told.occurred_at, book.thresholds)
    told.tier = standing.tier(told.profile_id, told.occurred_at)
    told.segments = _segments_of(told, book)
    rule = rules.rule_for_action(told.code, as_rules_see_it(told), book.at(told.occurred_at))
    told.why = NO_RULE
    if rule is not None:
        told.counted_before, told.counted_in_campaign = _counted(told, rule, local.date())
        earned = rules.points_for_action(rule, told.counted_before, told.counted_in_campaign)
        told.points = earned.points
        told.why = EARNED if earned.points else str(earned.steps[-1]["why"])
    if told.points:
        steps: list[dict] = [dict(step) for step in earned.steps]
        if rule.terms.get("funding", rules.BY_KEY) != rules.BY_KEY:
            steps[0]["funding"] = rule.terms["funding"]
        told.transaction_id = ledger.credit(
            told.profile_id, earned, store_id=told.store_id, key=f"action:{told.code}:{told.key}",
            at=told.occurred_at, local_day=local.date(), explanation=steps, tier=told.tier, actor=actor,
            qualifying=told.points if rule.terms.get("for_tier") else 0,
        )  # fmt: skip
    told.save(force_insert=True)
    if told.points:
        members.refresh([told.profile_id])
    return told


def as_rules_see_it(told: Action) -> rules.Ticket:
    """When, where and who, for `rules.rule_for_action`."""
    at = told.occurred_at.astimezone(told.store.zone)
    return rules.Ticket(at, told.store.code, told.tier, (), segments=frozenset(told.segments))


def _segments_of(told: Action, book: Rulebook) -> list[int]:
    """Of the segments that the rules of its time ask about, those that the member is in now."""
    asked = rules.segments_looked_at(book.at(told.occurred_at))
    return sorted(segments.of([told.profile_id], asked)[told.profile_id])


def _counted(told: Action, rule: rules.RuleTerms, day: date) -> tuple[int, int]:
    """How many such actions have earned before: in the rule's period, and in the campaign. The member is held."""
    with whole_network():
        # By the transaction, which follows its member through merges; what was taken back does not count.
        earned = Action.objects.filter(
            code=told.code, transaction__profile=told.profile_id, withdrawn_by=None
        ).select_related("store")
        of_campaign = earned.filter(campaign=told.campaign).count() if told.campaign else 0
        start = rules.start_of_period(day, rule.terms.get("period") or rules.EVER)
        if start is None:
            return earned.count(), of_campaign
        days = [row.occurred_at.astimezone(row.store.zone).date() for row in earned]
    period = rule.terms["period"]
    return sum(rules.start_of_period(each, period) == start for each in days), of_campaign


def _body(told: Action, profile: Profile) -> dict:
    balance = statements.balance_of(profile)
    with whole_network():
        explanation = told.transaction.explanation if told.transaction_id else []
    return {
        "action": told.code, "action_key": told.key, "member": str(profile.public_id), "points": told.points,
        "why": told.why, "explanation": explanation, "tier": balance.tier, "available": balance.available,
        "pending": balance.pending, "debt": balance.debt,
    }  # fmt: skip


# --- Welcome and birthday --------------------------------------------------------------------------------------------


@transaction.atomic
def enrol(till: Till, shown: Shown, fields: dict[str, str], consents=()) -> dict:
    """`till.enrol`, with the welcome that is due. Raises `Problem`."""
    view = tills.enrol(till, shown, fields, consents)
    with whole_network():
        profile = Profile.objects.get(public_id=view["id"])
    return tills.member_view(profile) if welcome([profile.pk], till.store) else view


def not_welcomed() -> list[int]:
    """Members who never had a welcome and joined since a rule first gave one."""
    try:
        book = Rulebook.load()
    except NoProgramme:
        return []
    starts = [start for start, _end, terms in book.versions if terms.terms.get("action") == Action.WELCOME]
    if not starts:
        return []
    with whole_network():
        welcomed = Action.objects.filter(code=Action.WELCOME).values("profile")
        people = Membership.objects.filter(profile__merged_into=None, enrolled_at__gte=min(starts))
        return list(people.exclude(profile__in=welcomed).order_by("pk").values_list("profile", flat=True))


def welcome(profile_ids: Iterable[int], store: Store | None = None) -> int:
    """Credit the welcome of those members who never had one, by the rules of the day they joined; returns how many.

    The store where they first came issues the points, unless another is named.
    """
    try:
        book = Rulebook.load()
    except NoProgramme:
        return 0
    done = 0
    for profile_id in sorted(set(profile_ids)):
        with transaction.atomic(), whole_network():
            profile = Profile.hold([profile_id]).get(profile_id)
            member = profile and Membership.objects.filter(profile=profile).first()
            if profile is None or member is None or profile.pk != profile_id:
                continue
            had = Q(profile=profile) | Q(transaction__profile=profile, withdrawn_by=None)
            if Action.objects.filter(had, code=Action.WELCOME).exists():
                continue
            issuer = store or _first_store(profile)
            if issuer is None:
                continue
            told = Action(
                code=Action.WELCOME, key=str(profile.pk), profile=profile, store=issuer,
                occurred_at=member.enrolled_at,
            )  # fmt: skip
            done += _by_itself(told, book)
    return done


def birthdays(today: date) -> int:
    """Credit the birthdays of today, and of the nights that were missed; returns how many members that concerns."""
    try:
        book = Rulebook.load()
    except NoProgramme:
        return 0
    if not any(terms.terms.get("action") == Action.BIRTHDAY for _from, _to, terms in book.versions):
        return 0
    days = [today - timedelta(days=back) for back in range(DAYS_MADE_UP)]
    wanted = Q()
    for day in days:
        wanted |= Q(birth_date__month=day.month, birth_date__day=day.day)
        if (day.month, day.day) == (2, 28):
            wanted |= Q(birth_date__month=2, birth_date__day=29)
    with whole_network():
        people = list(
            Profile.objects.filter(wanted, merged_into=None, pk__in=Membership.objects.values("profile"))
            .order_by("pk")
            .values_list("pk", flat=True)
        )
    return sum(_birthday(profile_id, days, book) for profile_id in people)


@transaction.atomic
def _birthday(profile_id: int, days: list[date], book: Rulebook) -> int:
    with whole_network():
        profile = Profile.hold([profile_id])[profile_id]
        born = profile.birth_date
        day = born and next((day for day in days if rules.birthday_in(day.year, born) == day), None)
        member = Membership.objects.filter(profile=profile).first()
        if profile.pk != profile_id or not born or not day or not member:
            return 0
        at = datetime.combine(day, time.min, brand_zone())
        if member.enrolled_at > at + timedelta(days=1):
            return 0
        had = Q(profile=profile) | Q(transaction__profile=profile)
        for before in Action.objects.filter(had, code=Action.BIRTHDAY, points__gt=0):
            same_year = before.occurred_at.astimezone(brand_zone()).year == day.year
            moved = before.birth_day != f"{born:%m-%d}" and at - before.occurred_at < BETWEEN_BIRTHDAYS
            if same_year or moved:
                return 0
        issuer = _first_store(profile)
        if issuer is None:
            return 0
        told = Action(
            code=Action.BIRTHDAY, key=f"{profile.pk}:{day.year}", profile=profile, store=issuer, occurred_at=at,
            birth_day=f"{born:%m-%d}",
        )  # fmt: skip
        return _by_itself(told, book)


def _by_itself(told: Action, book: Rulebook) -> int:
    """Credit what no caller told of; where no rule gives anything, nothing is kept and tomorrow asks again."""
    told.segments = _segments_of(told, book)
    if rules.rule_for_action(told.code, as_rules_see_it(told), book.at(told.occurred_at)) is None:
        return 0
    _credit(told, book, "system")
    return 1


def _first_store(profile: Profile) -> Store | None:
    """Where the person came first."""
    first = (
        ProfileStore.objects.filter(profile=profile).select_related("store").order_by("since", "pk").first()
    )
    return first.store if first else None


# --- Two people who prove to be one ----------------------------------------------------------------------------------


def settle_merge(merge: Merge) -> list[int]:
    """Take back the younger of two welcomes, and of two birthdays of one year, before their points are moved.

    Returns the actions concerned, for `settle_unmerge`; a rule that says `keep` leaves both.
    """
    with whole_network():
        rows = list(
            Action.objects.filter(
                code__in=Action.BY_THE_CALENDAR, withdrawn_by=None,
                transaction__profile__in=[merge.winner_id, merge.loser_id],
            ).select_related("store", "transaction").order_by("occurred_at", "pk")
        )  # fmt: skip
        alike: dict[tuple[str, int], list[Action]] = defaultdict(list)
        for row in rows:
            year = row.occurred_at.astimezone(brand_zone()).year if row.code == Action.BIRTHDAY else 0
            alike[row.code, year].append(row)
        younger = [row for same in alike.values() for row in same[1:]]
        if not younger:
            return []
        book = Rulebook.load()
        return [row.pk for row in younger if _withdraw(row, merge, book)]


def _withdraw(row: Action, merge: Merge, book: Rulebook) -> bool:
    rule = rules.rule_for_action(row.code, as_rules_see_it(row), book.at(row.occurred_at))
    if rule is not None and rule.terms.get("on_merge") == rules.KEEP:
        return False
    times = f"{row.pk}:{merge.winner_id}:{merge.loser_id}:{timezone.now().timestamp()}"
    why = {"why": "had before", "action": row.code}
    undone = ledger.undo_credit(
        row.transaction_id, row.points, key=f"withdraw:{times}", at=timezone.now(), why=why, actor="system"
    )
    Action.objects.filter(pk=row.pk).update(withdrawn_by=undone)
    audit("system", "took back bonus", row, reason=row.code, store_id=row.store_id, points=row.points)
    return True


def hand_back(merge: Merge) -> None:
    """Give the separated person the actions that were told of them while the two were one, before points are moved."""
    with whole_network():
        theirs, others = (
            {
                f"{kind}:{key}"
                for kind, key in Identifier.objects.filter(profile=pk).values_list("kind", "key")
            }
            for pk in (merge.loser_id, merge.winner_id)
        )
        Action.objects.filter(
            profile=merge.winner_id, received_at__gt=merge.at, identified_by__in=theirs - others
        ).update(profile=merge.loser_id)


def settle_unmerge(merge: Merge) -> None:
    """Put back what a merge took back, after the points were separated."""
    withdrawn = merge.moved.get("withdrawn", [])
    with whole_network():
        rows = Action.objects.filter(pk__in=list(withdrawn), withdrawn_by__isnull=False)
        for row in rows.select_related("store").order_by("pk"):
            why = {"why": "separated", "action": row.code}
            ledger.redo_credit(
                row.withdrawn_by_id,
                key=f"restore:{row.withdrawn_by_id}",
                at=timezone.now(),
                why=why,
                actor="system",
            )
            audit("system", "gave bonus back", row, reason=row.code, store_id=row.store_id, points=row.points)
        rows.update(withdrawn_by=None)
