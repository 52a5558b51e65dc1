"""Rules on their way into force: a draft is kept, looked at, tried out, and published as a version that never changes.

Publishing runs every saved simulation under the rules as they will be. Where one comes to other points than it must,
nothing is published, unless somebody says why it shall be all the same: that is in the audit trail.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from loyalty import rulebook, rules, segments, simulation
from loyalty.models import Programme, Rule, RuleDraft, RuleVersion, SavedSimulation, Tier
from loyalty.rulebook import NoProgramme
from loyalty.simulation import Check
from tenants.network.models import Staff, audit
from tenants.scoping import whole_network


class NotPublished(Exception):
    """A draft that cannot come into force; `field` names the word of the draft that is at fault, or nothing."""

    def __init__(self, message: str, field: str = ""):
        super().__init__(message)
        self.field = field


class Differs(NotPublished):
    """Saved simulations come to other points than they must."""

    def __init__(self, checks: Sequence[Check]):
        count = len(checks)
        told = ngettext(
            "%(count)s saved simulation comes to other points than it must",
            "%(count)s saved simulations come to other points than they must",
            count,
        )
        super().__init__(told % {"count": count})
        self.checks = checks


@dataclass(frozen=True)
class Preview:
    """What publishing would do now: the instant, what the simulations say, and why it cannot be done at all."""

    draft: RuleDraft
    at: datetime
    checks: Sequence[Check] = field(default_factory=list)
    refusal: NotPublished | None = None

    @property
    def differing(self) -> list[Check]:
        return [check for check in self.checks if not check.passed]


def save(
    rule: Rule, conditions: dict, terms: dict, *, by: Staff, effective_from: datetime | None = None,
    effective_to: datetime | None = None, reason: str = "",
) -> RuleDraft:  # fmt: skip
    """Keep what the rule would say next, in the place of a draft before it. Raises `rules.InvalidRule`."""
    rulebook.check(rule.kind, conditions, terms)
    if effective_to and effective_to <= (effective_from or timezone.now()):
        raise rules.InvalidRule("effective_to", _("must lie after the start"))
    draft, is_new = RuleDraft.objects.update_or_create(
        rule=rule,
        defaults={
            "conditions": conditions, "terms": terms, "effective_from": effective_from,
            "effective_to": effective_to, "reason": reason, "made_by": by, "changed_at": timezone.now(),
        },
    )  # fmt: skip
    audit(by, "drafted" if is_new else "changed", draft, reason=reason)
    # Tried out on members, it asks who is in.
    segments.read(conditions.get("segments", ()))
    return draft


@transaction.atomic
def discard(rule: Rule, *, by: Staff) -> None:
    """Throw the draft of the rule away; nothing was in force of it."""
    draft = RuleDraft.objects.select_for_update().filter(rule=rule).first()
    if draft is not None:
        audit(by, "discarded", draft, reason=draft.reason)
        draft.delete()


def fingerprint(draft: RuleDraft) -> str:
    """Another one as soon as anything of the draft is another: what is confirmed is what was read."""
    told = [draft.conditions, draft.terms, str(draft.effective_from), str(draft.effective_to), draft.reason]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def preview(draft: RuleDraft) -> Preview:
    """What publishing this draft would do, without doing it."""
    at = draft.effective_from or timezone.now()
    try:
        with whole_network():
            checks = simulation.run_saved([draft], at=at)
    except NoProgramme:
        # Nothing earns yet, so there is nothing to compare with.
        checks = []
    try:
        _check_dates(draft, at)
    except NotPublished as refused:
        return Preview(draft, at, checks, refused)
    return Preview(draft, at, checks)


@transaction.atomic
def publish(
    rule: Rule, *, by: Staff, confirmed: str, override: str = "", expect_new: bool = False
) -> RuleVersion:
    """Make the draft of the rule its next version, from its start on; `confirmed` is the fingerprint that was read.

    Raises `Differs` where saved simulations come to other points, unless `override` says why it shall be all the
    same; `expect_new`: from then on these are the points they expect. Raises `NotPublished` and
    `rules.InvalidRule` where it cannot be.
    """
    # One publishes at a time: what the simulations said stays true until the version stands.
    Programme.objects.select_for_update(no_key=True).first()
    draft = RuleDraft.objects.select_for_update().select_related("rule").filter(rule=rule).first()
    if draft is None:
        raise NotPublished(_("there is no draft of this rule any more"))
    if fingerprint(draft) != confirmed:
        raise NotPublished(_("the draft was changed meanwhile: read it again"))
    told = preview(draft)
    if told.refusal:
        raise told.refusal
    if told.differing and not override.strip():
        raise Differs(told.differing)
    version = rulebook.publish(
        draft.rule,
        draft.conditions,
        draft.terms,
        reason=draft.reason,
        by=by,
        effective_from=draft.effective_from,
    )
    if draft.effective_to:
        version.effective_to = draft.effective_to
        version.save(update_fields=["effective_to"])
    if told.differing:
        detail = {check.saved.name: [check.saved.expected_points, check.points] for check in told.differing}
        audit(by, "published against simulations", version, reason=override.strip()[:300], simulations=detail)
        if expect_new:
            _expect(told.differing, by)
    draft.delete()
    return version


def _expect(checks: Sequence[Check], by: Staff) -> None:
    for check in checks:
        before, check.saved.expected_points = check.saved.expected_points, check.points
        with whole_network():
            check.saved.save(update_fields=["expected_points"])
        audit(by, "changed", check.saved, expected_points=[before, check.points])


def _check_dates(draft: RuleDraft, at: datetime) -> None:
    now = timezone.now()
    if draft.effective_from and draft.effective_from < now:
        raise NotPublished(
            _("its start has passed: choose a later one, or none for at once"), "effective_from"
        )
    if draft.effective_to and draft.effective_to <= at:
        raise NotPublished(_("its end has passed: choose a later one"), "effective_to")
    last = draft.rule.versions.order_by("-number").first()
    if last is None:
        return
    told: dict[str, object] = {"version": last.number}
    if last.effective_from >= at:
        told["day"] = date_format(timezone.localtime(last.effective_from), "SHORT_DATETIME_FORMAT")
        raise NotPublished(
            _("version %(version)s begins on %(day)s: choose a later start") % told, "effective_from"
        )
    if last.effective_to and last.effective_to > at:
        told["day"] = date_format(timezone.localtime(last.effective_to), "SHORT_DATETIME_FORMAT")
        raise NotPublished(
            _("version %(version)s runs until %(day)s and cannot be cut short: choose a later start") % told,
            "effective_from",
        )


# --- Saved simulations ----------------------------------------------------------------------------------------------


def keep_simulation(
    name: str, basket: simulation.Basket, expected_points: int, *, by: Staff
) -> SavedSimulation:
    """Keep a basket with the points that it must earn from now on, on the weekday and at the hour of its instant.

    The basket is kept as a new member's at its tier and in its segments: what becomes of a person meanwhile shall not
    change it. Raises `simulation.BadBasket`.
    """
    simulation.check(basket)
    local = basket.at.astimezone(basket.store.zone)
    saved = SavedSimulation.objects.create(
        name=name, store=basket.store, tier=Tier.objects.filter(code=basket.tier or "").first(),
        weekday=local.weekday(), time=local.time().replace(microsecond=0), lines=simulation.as_json(basket.items),
        reward_cents=basket.reward_cents, payment=basket.payment, channel=basket.channel,
        segments=sorted(basket.segments), expected_points=expected_points, made_by=by,
    )  # fmt: skip
    audit(by, "added", saved, points=expected_points)
    return saved
