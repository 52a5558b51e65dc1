"""The shapes of the till's requests and answers about benefits: decoded, checked and documented from these types."""

from datetime import date
from typing import Annotated

from msgspec import Meta, Struct

from loyalty.till_schemas import Amount, Id, MemberShown, Request

VoucherCode = Annotated[
    str, Meta(min_length=1, max_length=40, description="As typed; case and hyphens do not matter.")
]
CouponCode = Annotated[str, Meta(min_length=1, max_length=40)]


class ClaimRequest(Request):
    """Take a reward for points."""

    claim_id: Id
    member: MemberShown
    reward: Annotated[str, Meta(min_length=1, max_length=40, description="Its code in the catalogue.")]


class ClaimCancellation(Request):
    """Undo a claim of this till; its voucher was not used."""

    cancellation_id: Id
    claim_id: Id


class VoucherShown(Request):
    code: VoucherCode


class VoucherUse(Request):
    """Use a voucher. `total`: the basket before it, so that no more is given off than that."""

    use_id: Id
    code: VoucherCode
    total: Amount | None = None


class CouponsShown(Request):
    """The coupons of a basket; `total` is the basket before them."""

    coupons: Annotated[list[CouponCode], Meta(min_length=1, max_length=20)]
    total: Amount
    member: MemberShown | None = None


class CouponsUse(CouponsShown, kw_only=True):
    basket_id: Id


class BasketGivenUp(Request):
    basket_id: Id


class RewardOffered(Struct, kw_only=True):
    """`left`: the stock of this store; null where nobody counts."""

    reward: str
    name: str
    kind: str
    description: str
    worth_cents: int
    points: int
    left: int | None


class CatalogueAnswer(Struct, kw_only=True):
    rewards: list[RewardOffered]


class VoucherAnswer(Struct, kw_only=True):
    """`store`: the code of the only store that takes it; null where it is not held to one."""

    code: str
    reward: str
    name: str
    kind: str
    description: str
    worth_cents: int
    state: str
    last_day: date
    store: str | None


class Obstacle(Struct, kw_only=True):
    code: str
    detail: str


class VoucherSeen(VoucherAnswer, kw_only=True):
    usable: bool
    problem: Obstacle | None


class ClaimAnswer(Struct, kw_only=True):
    claim_id: str
    member: str
    points: int
    voucher: VoucherAnswer
    available: int


class CancellationAnswer(Struct, kw_only=True):
    cancellation_id: str
    claim_id: str
    points_given_back: int
    available: int


class VoucherUseAnswer(Struct, kw_only=True):
    use_id: str
    voucher: VoucherAnswer
    discount_cents: int


class CouponReason(Struct, kw_only=True):
    """`other`: the coupon that it does not combine with."""

    code: str
    detail: str
    other: str


class CouponSeen(Struct, kw_only=True):
    code: str
    name: str
    usable: bool
    discount_cents: int
    reasons: list[CouponReason]


class CouponsAnswer(Struct, kw_only=True):
    usable: bool
    discount_cents: int
    coupons: list[CouponSeen]


class CouponsUseAnswer(CouponsAnswer, kw_only=True):
    basket_id: str


class BasketAnswer(Struct, kw_only=True):
    basket_id: str
    cancelled: int
