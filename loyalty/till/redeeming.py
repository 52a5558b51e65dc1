"""Points spent for money off."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

import msgspec
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import ledger, rules
from loyalty.models import TillRequest
from loyalty.rulebook import NoProgramme, Rulebook
from loyalty.till.answers import Answer, again, once_more_after_a_race, raised, told_before
from loyalty.till.people import member_who_shows
from profiles import intake
from profiles.intake import Problem, Shown
from profiles.models import Profile
from tenants.brand_sql import CloserLook, call
from tenants.calendar import brand_today
from tenants.network.models import Till

_encode = msgspec.json.encode
_decode = msgspec.json.decode


def redeem(till: Till, shown: Shown, points: int, redemption_id: str, at: datetime) -> Answer:
    """Spend points for money off. Raises `Problem` (`invalid_points`), `UnknownMember`, `ledger.NotEnoughPoints`."""
    asked = _Redemption(till, shown, points, redemption_id, at, timezone.now())
    return once_more_after_a_race(_redeem, asked)


@dataclass(frozen=True)
class _Redemption:
    till: Till
    shown: Shown
    points: int
    id: str
    at: datetime
    now: datetime

    @property
    def key(self) -> str:
        return f"redemption:{self.id}"

    @property
    def content(self) -> str:
        told = [self.shown.kind, self.shown.value, self.points]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @property
    def ledger_key(self) -> str:
        return f"redeem:{self.till.pk}:{self.id}"[:120]

    def check(self, step: int) -> None:
        if self.points <= 0 or self.points % step:
            raise Problem("invalid_points", _("points are spent in steps of %s") % step, "points")
        if self.at > self.now + intake.purchases.CLOCK_SKEW:
            raise Problem("future_date", _("the redemption lies in the future"), "redeemed_at")

    def request(self, cents: int) -> dict:
        body = {"redemption_id": self.id, "points": self.points, "discount_cents": cents}
        return {"key": self.key[:160], "hash": self.content, "body": body}


def _redeem(asked: _Redemption) -> Answer:
    """The ordinary case is one call of the database. It refuses what is not, and that is looked at more closely."""
    till, key = asked.till, intake.purchases.key_of(asked.shown, asked.till)
    try:
        programme = Rulebook.remembered().programme
        asked.check(programme.reward_points)
        if not key or asked.points > ledger.MOST_POINTS:
            return _redeem_closely(asked)
        cents = rules.discount_for(asked.points, programme.reward_points, programme.reward_cents)
        with ledger.refusals():
            told_hash, told, answer, missing = call(
                "SELECT told_hash, told, answer, missing FROM till_redeem("
                "$1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10, $11, $12, $13::jsonb)",
                [
                    till.pk, till.store_id, asked.shown.kind, key, asked.points,
                    _encode(asked.request(cents)).decode(), asked.ledger_key, min(asked.at, asked.now), asked.now,
                    brand_today(), programme.edition, str(till), _encode([{"cents": cents}]).decode(),
                ],
            )  # fmt: skip
    except (CloserLook, NoProgramme, Problem):
        return _redeem_closely(asked)
    if told is not None:
        return raised(
            again(
                TillRequest(key=asked.key, request_hash=told_hash, status=201, response=_decode(told)),
                asked.content,
            )
        )
    if answer is None:
        raise ledger.NotEnoughPoints(missing)
    return Answer(201, _decode(answer))


@transaction.atomic
def _redeem_closely(asked: _Redemption) -> Answer:
    """The same in several steps: who has moved, or what expired and waits for the night."""
    till = asked.till
    before = told_before(till, [asked.key]).get(asked.key)
    if before:
        return raised(again(before, asked.content))
    programme = Rulebook.load().programme
    asked.check(programme.reward_points)
    found = member_who_shows(till, asked.shown)
    profile = Profile.hold([found.pk])[found.pk]
    cents = rules.discount_for(asked.points, programme.reward_points, programme.reward_cents)
    ledger.redeem(
        profile.pk, asked.points, store_id=till.store_id, key=asked.ledger_key, at=min(asked.at, asked.now),
        actor=str(till), cents=cents,
    )  # fmt: skip
    (kept,) = call(
        "SELECT till_answer($1, $2, $3::jsonb, $4, $5)",
        [till.pk, profile.pk, _encode(asked.request(cents)).decode(), asked.now, brand_today()],
    )
    return Answer(201, _decode(kept))
