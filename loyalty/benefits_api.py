"""The till's REST interface to benefits: thin views that decode, make one call and encode, as `loyalty/api.py`."""

from django.http import HttpRequest, HttpResponse

from loyalty import benefit_schemas as schemas
from loyalty import counter
from loyalty.api import OF_READING, answered, cents, documented, posted, shown
from loyalty.till import Answer
from profiles import wire
from tenants.network.auth import till_of_request
from tenants.network.models import Till
from tenants.scoping import scoped_to


def rewards(request: HttpRequest) -> HttpResponse:
    """What can be had for points in the till's store today, the cheapest first."""
    if request.method != "GET":
        raise wire.MethodNotAllowed("GET")
    till = till_of_request(request)
    with scoped_to(till.scope):
        return answered(Answer(200, counter.catalogue(till)))


@posted(schemas.ClaimRequest)
def claim(till: Till, body: schemas.ClaimRequest) -> Answer:
    """Take a reward for points: its voucher."""
    return counter.claim(till, shown(body.member), body.reward, body.claim_id)


@posted(schemas.ClaimCancellation)
def cancel_claim(till: Till, body: schemas.ClaimCancellation) -> Answer:
    """Undo a claim whose voucher was not used: points and stock come back."""
    return counter.cancel_claim(till, body.claim_id, body.cancellation_id)


@posted(schemas.VoucherShown)
def check_voucher(till: Till, body: schemas.VoucherShown) -> Answer:
    """Whether a voucher can be used here and now, and if not why."""
    return Answer(200, counter.look_at_voucher(till, body.code))


@posted(schemas.VoucherUse)
def use_voucher(till: Till, body: schemas.VoucherUse) -> Answer:
    """Use a voucher, once."""
    total = None if body.total is None else cents(body.total, "total")
    return counter.use_voucher(till, body.code, body.use_id, total)


@posted(schemas.CouponsShown)
def check_coupons(till: Till, body: schemas.CouponsShown) -> Answer:
    """What a basket's coupons take off together, and which do not combine and why. Uses nothing."""
    member = shown(body.member) if body.member else None
    return Answer(200, counter.check_coupons(till, body.coupons, cents(body.total, "total"), member))


@posted(schemas.CouponsUse)
def use_coupons(till: Till, body: schemas.CouponsUse) -> Answer:
    """Use a basket's coupons, all or none."""
    member = shown(body.member) if body.member else None
    return counter.use_coupons(till, body.coupons, cents(body.total, "total"), member, body.basket_id)


@posted(schemas.BasketGivenUp)
def cancel_coupons(till: Till, body: schemas.BasketGivenUp) -> Answer:
    """A basket was given up: its coupons count no more."""
    return Answer(200, counter.cancel_coupons(till, body.basket_id))


PATHS = {
    "/api/v1/rewards/claims": (claim, schemas.ClaimRequest, schemas.ClaimAnswer, 201),
    "/api/v1/rewards/claims/cancel": (
        cancel_claim,
        schemas.ClaimCancellation,
        schemas.CancellationAnswer,
        201,
    ),
    "/api/v1/vouchers/check": (check_voucher, schemas.VoucherShown, schemas.VoucherSeen, 200),
    "/api/v1/vouchers/use": (use_voucher, schemas.VoucherUse, schemas.VoucherUseAnswer, 201),
    "/api/v1/coupons/check": (check_coupons, schemas.CouponsShown, schemas.CouponsAnswer, 200),
    "/api/v1/coupons/use": (use_coupons, schemas.CouponsUse, schemas.CouponsUseAnswer, 201),
    "/api/v1/coupons/cancel": (cancel_coupons, schemas.BasketGivenUp, schemas.BasketAnswer, 200),
}


def add_paths(result: dict, generator, request, public) -> dict:
    """Post-processing hook of the OpenAPI document: what a till may ask about benefits."""
    reference, problems = documented(result, PATHS, [schemas.CatalogueAnswer])
    result["paths"]["/api/v1/rewards"] = {
        "get": {
            "operationId": "till_rewards", "tags": ["till"], "summary": rewards.__doc__,
            "security": [{"tillKey": []}],
            "responses": {
                "200": {
                    "description": "The catalogue of this store",
                    "content": {"application/json": {"schema": reference[schemas.CatalogueAnswer]}},
                },
                **{status: problems[status] for status in OF_READING if status != "404"},
            },
        }
    }  # fmt: skip
    return result
