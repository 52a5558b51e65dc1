"""What a pass shows: the figures that a till is told of the member, and the number that it knows them by."""

from dataclasses import dataclass

from django.db import connection

from loyalty import till
from loyalty.models import WalletPass
from tenants.scoping import whole_network

LANGUAGES = ("en", "fr")


@dataclass(frozen=True)
class Face:
    """`number` is "" on a pass that ended, which shows nothing of anybody. `expires_on`: ISO day, "" for none."""

    brand: str
    number: str
    name: str = ""
    tier: str = ""
    available: int = 0
    pending: int = 0
    debt: int = 0
    expires_on: str = ""
    expires_points: int = 0

    @classmethod
    def of(cls, one: WalletPass) -> "Face":
        """What this pass shows now."""
        brand = str(getattr(connection.tenant, "name", ""))
        if not one.is_active or one.owner is None:
            return cls(brand, "")
        with whole_network():
            told = till.member_view(one.owner)
        next_expiry = told["next_expiry"] or {"on": "", "points": 0}
        return cls(
            brand, one.number, told["name"], told["tier"], told["available"], told["pending"], told["debt"],
            next_expiry["on"], next_expiry["points"],
        )  # fmt: skip
