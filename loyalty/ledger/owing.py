"""Debts are paid from points, and a payment is undone; adjustments that a move of points brings along."""

from django.utils import timezone

from loyalty.ledger.posting import Fact, Kind, accounts_of, first_to_expire, post
from loyalty.models import LotUse, Transaction


def settle_debt(profile_id: int) -> int | None:
    """A member who has points and a debt pays it. Returns the transaction's id, or None where nothing was due."""
    member = accounts_of([profile_id])[profile_id]
    paid = min(-member.debt, member.available)
    if not paid:
        return None
    number = Transaction.objects.filter(key__startswith=f"settle:{profile_id}:").count() + 1
    key = f"settle:{profile_id}:{number}"
    fact = Fact(
        key=key, kind=Kind.ADJUST, profile_id=profile_id, occurred_at=timezone.now(),
        points={member.available_id: -paid, member.debt_id: paid},
        uses=first_to_expire(member.available_id, paid),
    )  # fmt: skip
    return post([fact])[key]


def unsettle(profile_id: int, settled: int | None) -> None:
    """Undo a payment of debt: the points return to the lots they came from, as far as the member still holds them."""
    if settled is None:
        return
    member = accounts_of([profile_id])[profile_id]
    uses = LotUse.objects.filter(transaction=settled, lot__account=member.available_id)
    back = dict(uses.values_list("lot", "points"))
    paid = sum(back.values())
    if paid:
        post(
            [
                Fact(
                    key=f"unsettle:{settled}", kind=Kind.ADJUST, profile_id=profile_id, reverses_id=settled,
                    occurred_at=timezone.now(), points={member.available_id: paid, member.debt_id: -paid},
                    uses={lot: -points for lot, points in back.items()},
                )
            ]
        )  # fmt: skip


def post_next(
    key: str, profile_id: int, points: dict[int, int], uses: dict[int, int], reverses: int | None = None
) -> int | None:
    """Post an adjustment under the next free number of its key."""
    if not any(points.values()) and not any(uses.values()):
        return None
    number = Transaction.objects.filter(key__startswith=f"{key}:").count() + 1
    fact = Fact(
        key=f"{key}:{number}", kind=Kind.ADJUST, profile_id=profile_id, occurred_at=timezone.now(),
        reverses_id=reverses, points=points, uses=uses,
    )  # fmt: skip
    return post([fact])[fact.key]
