"""What the rules play with: throwaway members, tickets and ids, another one each time."""

import itertools
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from loyalty.conformance.wire import Answer, Broken, NotApplicable, Till

Body = dict[str, Any]


@dataclass
class Kit:
    """A till, perhaps a second one of the same brand, and an endless supply of customers who buy something."""

    till: Till
    second: Till | None = None
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def id(self) -> str:
        """An id that no request had before."""
        return f"KIT-{self.run}-{next(self._numbers)}"

    def card(self) -> Body:
        """Somebody who shows a card that nobody ever showed."""
        digits = f"29{secrets.randbelow(10**10):010d}"
        weighed = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
        return {"card": f"{digits}{-weighed % 10}"}

    def other_till(self) -> Till:
        """The second till. Raises `NotApplicable` where none was named."""
        if self.second is None:
            raise NotApplicable("needs --second-key, the key of another till of the brand")
        return self.second

    def sale(
        self, *amounts: str, member: Body | None = None, at: datetime | None = None, **more: Any
    ) -> Body:
        """A ticket with a line for each amount."""
        body: Body = {
            "receipt_id": self.id(),
            "bought_at": moment(at),
            "lines": [
                {"sku": f"KIT-{place}", "label": "Conformance", "amount": amount}
                for place, amount in enumerate(amounts or ("49.90",), start=1)
            ],
        }
        return body | ({"member": member} if member else {}) | more

    def refund(self, sale: Body, *numbers: int) -> Body:
        """One piece of each of these lines of the ticket brought back."""
        lines = [{"number": number, "quantity": 1} for number in numbers]
        told = {"refund_id": self.id(), "receipt_id": sale["receipt_id"], "lines": lines}
        return told | {"refunded_at": moment()}

    def redemption(self, member: Body, points: int) -> Body:
        return {"redemption_id": self.id(), "member": member, "points": points, "redeemed_at": moment()}

    def reservation(self, member: Body, points: int) -> Body:
        return {"reservation_id": self.id(), "member": member, "points": points}

    def has(self, member: Body) -> int:
        """The member's points, those that wait among them, less what they owe."""
        told = self.till.post("identify", {"member": member}).done(200)
        return int(told["available"] + told["pending"] - told["debt"])

    def with_points(self) -> tuple[Body, int, int]:
        """Somebody with points, how many of them can be spent at once, and what they take off in cents."""
        member = self.card()
        for amount in ("120.00", "480.00", "960.00"):
            self.till.post("purchases", self.sale(amount, member=member)).done(201)
            quoted = self.till.post("quotes", self.sale("5000.00", member=member)).done(200)
            if quoted["spendable_points"]:
                return member, quoted["spendable_points"], quoted["spendable_cents"]
        raise NotApplicable("the programme gives no points that can be spent at once")


def moment(at: datetime | None = None, **later: float) -> str:
    """A time as a till writes it: with its zone."""
    return ((at or datetime.now(UTC)) + timedelta(**later)).isoformat(timespec="seconds")


def require(holds: bool, otherwise: str) -> None:
    """Raise `Broken` unless it holds."""
    if not holds:
        raise Broken(otherwise)


def require_equal(found: object, expected: object, what: str) -> None:
    """Raise `Broken` unless both are equal."""
    require(found == expected, f"{what}: {expected!r} was expected, {found!r} came")


def require_replay(again: Answer, first: Answer) -> None:
    """Raise `Broken` unless the first answer came again, byte for byte and marked as such."""
    require_equal(again.status, first.status, "the status of the repeated answer")
    require(again.content == first.content, "the repeated answer is not the first one, byte for byte")
    require(again.replayed, "the repeated answer lacks «Idempotent-Replayed: true»")
    require(not first.replayed, "the first answer says that it was told before")
