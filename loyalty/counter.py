"""What a till asks about benefits: the catalogue, a reward for points, a voucher, the coupons of a basket, and a ticket
that was paid with one of them. Whatever changes something is answered once, and the same again gets the same answer.
"""

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import codes, coupons, once, payments, rewards, statements, vouchers
from loyalty import till as tills
from loyalty.coupons import Verdict
from loyalty.models import Reward, Voucher
from loyalty.payments import PaidWith
from loyalty.rewards import Refused
from loyalty.till import Answer
from profiles.intake import Problem, Shown, Ticket
from profiles.models import Purchase
from tenants.network.models import Till
from tenants.scoping import whole_network


def catalogue(till: Till) -> dict:
    """What can be had for points in the till's store today."""
    return {
        "rewards": [
            {**_reward(offer.reward), "points": offer.reward.points, "left": offer.left}
            for offer in rewards.offered_in(till.store)
        ]
    }


def claim(till: Till, shown: Shown, reward: str, claim_id: str) -> Answer:
    """Take a reward for points: its voucher. Raises `Refused`, `Problem`, `UnknownMember`, `NotEnoughPoints`."""

    def deed() -> Answer:
        wanted = rewards.wanted(reward, till.store)
        profile = once.member_shown(till, shown)
        voucher = vouchers.buy(
            profile, wanted, store=till.store, key=_key_of(till, claim_id), at=timezone.now(), actor=str(till)
        )
        balance = statements.balance_of(profile)
        body = {
            "claim_id": claim_id, "member": str(profile.public_id), "points": voucher.points,
            "voucher": voucher_view(voucher), "available": balance.available,
        }  # fmt: skip
        return Answer(201, body)

    content = ["claim", shown.kind, shown.value, reward]
    return once.answered_or_again(till, f"reward:{claim_id}", content, deed, field="claim_id")


def cancel_claim(till: Till, claim_id: str, cancellation_id: str) -> Answer:
    """Undo a claim of this till whose voucher was not used: points and stock come back. Raises `Refused`."""

    def deed() -> Answer:
        with whole_network():
            voucher = Voucher.objects.filter(key=_key_of(till, claim_id)).first()
        if voucher is None:
            raise Refused("unknown_claim", _("this till knows no claim of this id"), "claim_id")
        voucher = vouchers.cancel(voucher.pk, at=timezone.now(), actor=str(till))
        balance = statements.balance_of(voucher.profile)
        body = {
            "cancellation_id": cancellation_id, "claim_id": claim_id, "points_given_back": voucher.points,
            "available": balance.available,
        }  # fmt: skip
        return Answer(201, body)

    return once.answered_or_again(
        till, f"cancellation:{cancellation_id}", ["cancel", claim_id], deed, field="cancellation_id"
    )


def look_at_voucher(till: Till, code: str) -> dict:
    """Whether this voucher can be used here and now, and if not why. Raises `Refused` for a code that is none."""
    voucher = vouchers.find(code)
    problem = None
    try:
        vouchers.must_be_usable(voucher, till.store)
    except Refused as refused:
        problem = {"code": refused.code, "detail": refused.detail}
    return {**voucher_view(voucher), "usable": problem is None, "problem": problem}


def use_voucher(till: Till, code: str, use_id: str, total_cents: int | None) -> Answer:
    """Use a voucher, once. Raises `Refused`."""

    def deed() -> Answer:
        voucher = vouchers.use(
            code, store=till.store, at=timezone.now(), actor=str(till), total_cents=total_cents
        )
        body = {
            "use_id": use_id, "voucher": voucher_view(voucher), "discount_cents": _discount(voucher),
        }  # fmt: skip
        return Answer(201, body)

    content = ["use", codes.read(code), total_cents]
    return once.answered_or_again(till, f"voucher:{use_id}", content, deed, field="use_id")


def check_coupons(till: Till, told: Sequence[str], total_cents: int, shown: Shown | None) -> dict:
    """What the basket's coupons take off together, and which do not combine and why. Uses nothing."""
    profile = once.member_shown(till, shown) if shown else None
    verdicts = coupons.check(
        told, store=till.store, total_cents=total_cents, at=timezone.now(), profile=profile
    )
    return _coupons_view(verdicts)


def use_coupons(
    till: Till, told: Sequence[str], total_cents: int, shown: Shown | None, basket_id: str
) -> Answer:
    """Use the basket's coupons, all or none. Raises `coupons.NotUsable`, which tells of each."""

    def deed() -> Answer:
        profile = once.member_shown(till, shown) if shown else None
        verdicts = coupons.use(
            told, store=till.store, total_cents=total_cents, at=timezone.now(), profile=profile,
            basket=_basket(till, basket_id),
        )  # fmt: skip
        return Answer(201, {"basket_id": basket_id, **_coupons_view(verdicts)})

    content = ["coupons", list(told), total_cents, shown and [shown.kind, shown.value]]
    return once.answered_or_again(till, f"basket:{basket_id}", content, deed, field="basket_id")


def cancel_coupons(till: Till, basket_id: str) -> dict:
    """The basket was given up: its coupons count no more. Said again it changes nothing. Raises `Refused`."""
    count = coupons.cancel(_basket(till, basket_id), at=timezone.now())
    return {"basket_id": basket_id, "cancelled": count}


@transaction.atomic
def record_purchases(till: Till, told: Sequence[tuple[Ticket, Sequence[PaidWith]]]) -> list[Answer | Problem]:
    """Record tickets with the rewards that paid them; one answer or problem each, as `till.record_purchases`."""
    answers: list[Answer | Problem | None] = [None] * len(told)
    sound = []
    for place, (ticket, paid_with) in enumerate(told):
        try:
            sound.append((place, *payments.priced(till, ticket, paid_with)))
        except Problem as problem:
            answers[place] = problem
    recorded = tills.record_purchases(till, [ticket for _place, ticket, _parts in sound])
    for (place, ticket, parts), answer in zip(sound, recorded, strict=True):
        answers[place] = answer
        if parts and isinstance(answer, Answer) and not answer.replayed:
            day = ticket.bought_at.astimezone(till.store.zone).date()
            with whole_network():
                purchase = Purchase.objects.get(till=till, business_day=day, receipt_id=ticket.receipt_id)
            payments.note(purchase, parts)
    return [answer for answer in answers if answer is not None]


def record_purchase(till: Till, ticket: Ticket, paid_with: Sequence[PaidWith]) -> Answer:
    """The same for one ticket. Raises `Problem`."""
    answer = record_purchases(till, [(ticket, paid_with)])[0]
    if isinstance(answer, Problem):
        raise answer
    return answer


def _key_of(till: Till, claim_id: str) -> str:
    return f"claim:{till.pk}:{claim_id}"[:120]


def _basket(till: Till, basket_id: str) -> str:
    return f"{till.pk}:{basket_id}"[:120]


def _reward(reward: Reward) -> dict:
    return {
        "reward": reward.code, "name": reward.name, "kind": reward.kind, "description": reward.description,
        "worth_cents": reward.worth_cents,
    }  # fmt: skip


def voucher_view(voucher: Voucher) -> dict:
    """A voucher as a till reads it."""
    with whole_network():
        store = voucher.store
    return {
        "code": codes.shown(voucher.code), **_reward(voucher.reward), "worth_cents": voucher.worth_cents,
        "state": voucher.state, "last_day": voucher.last_day.isoformat(), "store": store.code if store else None,
    }  # fmt: skip


def _discount(voucher: Voucher) -> int:
    return voucher.used_cents if voucher.reward.kind == Reward.Kind.MONEY_OFF else 0


def _coupons_view(verdicts: list[Verdict]) -> dict:
    return {
        "usable": all(verdict.works for verdict in verdicts),
        "discount_cents": sum(verdict.cents for verdict in verdicts),
        "coupons": [
            {
                "code": verdict.coupon.code if verdict.coupon else verdict.told, "usable": verdict.works,
                "name": verdict.coupon.name if verdict.coupon else "", "discount_cents": verdict.cents,
                "reasons": [
                    {"code": reason.code, "detail": reason.detail, "other": reason.other} for reason in verdict.reasons
                ],
            }
            for verdict in verdicts
        ],
    }  # fmt: skip
