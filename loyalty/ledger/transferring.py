"""Points change hands: with a merge, a separation, or a ticket that was somebody else's."""

from collections import defaultdict

from django.db.models import Q
from django.utils import timezone

from loyalty.ledger.owing import post_next, settle_debt, unsettle
from loyalty.ledger.posting import Fact, Kind, MemberAccounts, accounts_of, first_to_expire, post
from loyalty.models import Lot, LotUse, Transaction
from profiles.models import Merge, Purchase
from tenants.scoping import whole_network


def transfer(merge: Merge) -> None:
    """Hand a merged member's points to the survivor: lots keep their expiry, store and rule, no point is lost."""
    winner, loser = merge.winner_id, merge.loser_id
    with whole_network():
        history = list(Transaction.objects.filter(profile=loser).values_list("pk", flat=True))
        if not history:
            return
        accounts = accounts_of([winner, loser])
        lots = Lot.objects.filter(account__in=[accounts[loser].available_id, accounts[loser].pending_id])
        merge.moved["ledger"] = {
            "transactions": history,
            "lots": list(lots.values_list("pk", flat=True)),
            "debt": accounts[loser].debt,
        }
        _move(accounts[loser], accounts[winner], lots, accounts[loser].debt, key=f"merge:{merge.loser_id}")
        Transaction.objects.filter(pk__in=history).update(profile=winner)
        merge.moved["ledger"]["settled"] = settle_debt(winner)


def transfer_back(merge: Merge) -> None:
    """Hand the points back to a member who was separated: what is left of the own lots, and of what came later.

    What the merge made one pay of the other's debt is undone first; the debt goes back as far as it still stands.
    """
    moved = {"transactions": [], "lots": [], "debt": 0, "settled": None} | merge.moved.get("ledger", {})
    winner, loser = merge.winner_id, merge.loser_id
    with whole_network():
        theirs = Transaction.objects.filter(profile=winner).filter(
            Q(purchase__profile=loser) | Q(action__profile=loser)
        )
        later = list(theirs.values_list("pk", flat=True))
        if not moved["transactions"] and not later:
            return
        unsettle(winner, moved["settled"])
        accounts = accounts_of([winner, loser])
        lots = Lot.objects.filter(
            pk__in=[
                *moved["lots"],
                *Lot.objects.filter(transaction__in=later).values_list("pk", flat=True),
            ],
            account__in=[accounts[winner].available_id, accounts[winner].pending_id],
        )
        debt = max(moved["debt"], accounts[winner].debt)
        _move(accounts[winner], accounts[loser], lots, debt, key=f"unmerge:{merge.pk}")
        # Not those of a ticket that was given to somebody else since.
        theirs = Transaction.objects.filter(pk__in=[*moved["transactions"], *later], profile=winner)
        theirs.update(profile=loser)
        settle_debt(winner)
        settle_debt(loser)


def follow_ticket(purchase: Purchase, giver_id: int, taker_id: int, *, key: str) -> dict:
    """Hand what a ticket earned to its right owner: the whole of it, less what its refunds took back.

    What the wrong one spent of it is taken from their other points, and stands as a debt where these do not suffice.
    Returns what `follow_ticket_back` needs.
    """
    with whole_network():
        if not Transaction.objects.filter(key=f"earn:{purchase.pk}").exists():
            return {}
        covered = _hand_ticket(purchase, giver_id, taker_id, key=key)
        return {"covered": covered, "settled": settle_debt(taker_id)}


def follow_ticket_back(purchase: Purchase, giver_id: int, taker_id: int, moved: dict, *, key: str) -> None:
    """Undo `follow_ticket`: from whom the ticket is taken back now, to whom it was taken from."""
    with whole_network():
        if not Transaction.objects.filter(key=f"earn:{purchase.pk}").exists():
            return
        unsettle(giver_id, moved.get("settled"))
        _hand_ticket(purchase, giver_id, taker_id, key=key)
        _uncover(taker_id, moved.get("covered"), key=key)
        settle_debt(giver_id)
        settle_debt(taker_id)


def _hand_ticket(purchase: Purchase, giver_id: int, taker_id: int, *, key: str) -> int | None:
    """Hand over the ticket's lot, made whole, and its facts; the transaction that made it whole, if one was needed."""
    covered = _cover(purchase, accounts_of([giver_id, taker_id])[giver_id], key=key)
    accounts = accounts_of([giver_id, taker_id])
    giver = accounts[giver_id]
    lots = Lot.objects.filter(
        transaction__key=f"earn:{purchase.pk}", account__in=[giver.available_id, giver.pending_id]
    )
    _move(giver, accounts[taker_id], lots, 0, key=key)
    of_ticket = Transaction.objects.filter(
        purchase=purchase, kind__in=[Kind.EARN, Kind.REFUND, Kind.RELEASE], profile=giver_id
    )
    of_ticket.update(profile=taker_id)
    return covered


def _cover(purchase: Purchase, member: MemberAccounts, *, key: str) -> int | None:
    """Give the ticket's own lot back what its owner spent of it, out of their other lots, then as a debt.

    Returns the transaction's id, or None where nothing was spent. What the ticket's refunds took, and what expired,
    is not given back; what a refund took from other lots, because this one was spent, is.
    """
    lot = Lot.objects.filter(
        transaction__key=f"earn:{purchase.pk}", account__in=[member.available_id, member.pending_id]
    ).first()
    if lot is None:
        return None
    refunds = Transaction.objects.filter(purchase=purchase, kind=Kind.REFUND)
    returned = -sum(refunds.values_list("qualifying_points", flat=True))
    from_own = sum(LotUse.objects.filter(lot=lot, transaction__in=refunds).values_list("points", flat=True))
    expired = LotUse.objects.filter(lot=lot, transaction__kind=Kind.EXPIRE)
    gone = sum(expired.values_list("points", flat=True))
    spent = lot.points - lot.remaining - from_own - gone
    owed = max(0, spent - max(0, returned - from_own))
    if not owed:
        return None
    # A lot that waits is not spent; what was spent of it before it waited again is nobody's case.
    others = min(
        owed, member.available if lot.account_id == member.pending_id else member.available - lot.remaining
    )
    uses = first_to_expire(member.available_id, others, besides=[lot.pk]) if others > 0 else {}
    others = sum(uses.values())
    changes: dict[int, int] = defaultdict(int)
    changes[lot.account_id] += owed
    changes[member.available_id] -= others
    changes[member.debt_id] -= owed - others
    return post_next(f"{key}:cover", member.profile_id, dict(changes), {lot.pk: -owed, **uses})


def _uncover(profile_id: int, covered: int | None, *, key: str) -> None:
    """Undo `_cover`: the other lots get back what they gave, and a debt ends as far as it still stands."""
    if covered is None:
        return
    member = accounts_of([profile_id])[profile_id]
    mine = [member.available_id, member.pending_id]
    used = dict(
        LotUse.objects.filter(transaction=covered, lot__account__in=mine).values_list("lot", "points")
    )
    lots = {lot.pk: lot for lot in Lot.objects.filter(pk__in=used)}
    own = next((lot for lot in lots.values() if used[lot.pk] < 0), None)
    if own is None:
        return
    given = {pk: points for pk, points in used.items() if points > 0}
    debt = min(-used[own.pk] - sum(given.values()), -member.debt)
    # What came off the debt meanwhile was paid with other points: so much of the lot stays to make up for it.
    taken = min(sum(given.values()) + debt, own.remaining)
    debt = min(debt, taken)
    back, left = {}, taken - debt
    for pk, points in given.items():
        back[pk] = min(points, left)
        left -= back[pk]
    changes: dict[int, int] = defaultdict(int)
    changes[own.account_id] -= taken
    for pk, points in back.items():
        changes[lots[pk].account_id] += points
    changes[member.debt_id] += debt
    uses = {own.pk: taken} | {pk: -points for pk, points in back.items()}
    post_next(f"{key}:uncover", profile_id, dict(changes), uses, reverses=covered)


def _move(giver: MemberAccounts, taker: MemberAccounts, lots, debt: int, *, key: str) -> None:
    """Post the transfer of these lots (and of a debt, zero or negative) from one member to another."""
    counterpart = {giver.available_id: taker.available_id, giver.pending_id: taker.pending_id}
    changes: dict[int, int] = defaultdict(int)
    moves = {}
    for lot in lots:
        changes[lot.account_id] -= lot.remaining
        changes[counterpart[lot.account_id]] += lot.remaining
        moves[lot.pk] = counterpart[lot.account_id]
    changes[giver.debt_id] -= debt
    changes[taker.debt_id] += debt
    if not moves and not debt:
        return
    number = Transaction.objects.filter(key__startswith=f"{key}:").count() + 1
    post(
        [
            Fact(
                key=f"{key}:{number}", kind=Kind.TRANSFER, profile_id=taker.profile_id, occurred_at=timezone.now(),
                points=dict(changes), moves=moves, explanation=[{"from": giver.profile_id}],
            )
        ]
    )  # fmt: skip
