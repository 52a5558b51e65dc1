"""Goods brought back: recorded, and their points taken back. A return may come before its sale."""

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from loyalty import cases, ledger, members, payments, returns, rules, statements
from loyalty.models import Account, Posting, Programme, Transaction
from loyalty.rulebook import Rulebook
from loyalty.till.answers import Answer, again, once_more_after_a_race, points_of, raised, tell, told_before
from loyalty.till.judging import as_recorded
from profiles import intake
from profiles.intake import Problem, RefundStatement
from profiles.models import Purchase, Refund, RefundLine
from tenants.network.models import Till
from tenants.scoping import whole_network


def refund(till: Till, told: RefundStatement) -> Answer:
    """Record goods brought back and take their points back. Raises `Problem`, `Conflict`.

    A return that comes before its sale is parked (202) and takes effect when the sale arrives.
    """
    return once_more_after_a_race(_refund, till, told)


@transaction.atomic
def _refund(till: Till, told: RefundStatement) -> Answer:
    key = f"refund:{told.refunded_at.astimezone(till.store.zone).date()}:{told.refund_id}"
    before = told_before(till, [key]).get(key)
    if before:
        return raised(again(before, intake.purchases.content_hash(told)))
    try:
        with transaction.atomic():
            recorded, _verdict = intake.record_refund(till, told, payments.comes_back_too)
    except Problem as problem:
        if problem.code != "unknown_sale":
            raise
        if not returns.may_wait(told):
            raise Problem("unknown_sale", _("there is no store «%s»") % told.store_code, "store") from None
        answer = Answer(202, returns.park(till, told))
        tell(till, key, intake.purchases.content_hash(told), answer.body, answer.status)
        return answer
    body = taken_back(till, recorded, paid_out=False)
    tell(till, key, recorded.content_hash, body)
    return Answer(201, body)


def taken_back(till: Till, recorded: Refund, *, paid_out: bool) -> dict:
    """Take the points of a recorded refund back; the answer's body. Money that was paid out before bears nothing."""
    with whole_network():
        points = points_to_take_back(recorded)
        programme = Programme.objects.first()
        policy, bought = programme.debt_policy if programme else "", 0
        if programme and policy == Programme.Debt.DEDUCTED and not paid_out:
            bought = recorded.total_cents * programme.reward_points // programme.reward_cents
        fact = ledger.take_back(
            recorded, points, actor=str(till), clamp=policy == Programme.Debt.CLAMPED, bought=bought
        )
        given_back = payments.give_back(recorded, actor=str(till))
        body = {
            "refund_id": recorded.refund_id, "receipt_id": recorded.purchase.receipt_id,
            "refunded_cents": recorded.total_cents, "points_taken_back": points, "member": None,
        }  # fmt: skip
        if given_back is not None:
            body["points_given_back"] = given_back
        if programme and bought:
            sold = -sum(
                Posting.objects.filter(transaction=fact, account__kind=Account.Kind.ADJUSTMENT).values_list(
                    "points", flat=True
                )
            )
            body["deducted_cents"] = sold * programme.reward_cents // programme.reward_points
        profile = recorded.purchase.profile
        if profile:
            members.refresh([profile.pk])
            if programme is not None:
                cases.watch_debt(profile.pk, recorded.store, programme)
            body |= {"member": str(profile.public_id), **points_of(statements.balance_of(profile))}
    return body


def apply_parked(till: Till, news: dict[int, Purchase], bodies: dict[int, dict]) -> None:
    """Apply the returns that came before these sales, and bring the answers' balances up to date."""
    changed = set()
    for parked in returns.waiting_for(till, news.values()):
        refund = returns.apply(parked)
        if refund is not None:
            taken_back(parked.till, refund, paid_out=True)
            changed.add(refund.purchase_id)
    for position, purchase in news.items():
        if purchase.pk in changed and purchase.profile:
            balance = statements.balance_of(purchase.profile)
            bodies[position] |= {"tier": balance.tier, **points_of(balance)}


def apply_waiting() -> int:
    """Apply the returns that crossed their sale on the way; returns how many. Each in a transaction of its own."""
    done = 0
    for parked in returns.whose_sale_came():
        try:
            with transaction.atomic():
                refund = returns.apply(parked)
                if refund is not None:
                    taken_back(parked.till, refund, paid_out=True)
                    done += 1
        except (IntegrityError, ledger.AlreadyPosted):  # the sale's own transaction was quicker
            continue
    return done


def points_to_take_back(returned: Refund) -> int:
    """Points that the refund costs its member, under the rules that the ticket was judged by."""
    purchase = returned.purchase
    earning = Transaction.objects.filter(key=f"earn:{purchase.pk}").first()
    if earning is None:
        return 0
    lines = list(purchase.lines.order_by("number"))
    back = dict.fromkeys([line.pk for line in lines], 0)
    upto = RefundLine.objects.filter(refund__purchase=purchase, refund__pk__lte=returned.pk)
    for line_id, cents in upto.values_list("line", "amount_cents"):
        back[line_id] += cents
    # Not by later refunds; what a case took back names none.
    taken = -sum(
        Transaction.objects.filter(purchase=purchase, kind=Transaction.Kind.REFUND)
        .filter(Q(refund=None) | Q(refund__pk__lt=returned.pk))
        .values_list("qualifying_points", flat=True)
    )
    points = rules.points_to_take_back(
        as_recorded(purchase, lines, earning.tier, earning.earned_before),
        [back[line.pk] for line in lines],
        Rulebook.load().at(purchase.bought_at),
        taken,
    )
    return max(0, points)
