"""What a till is told, and the answers that are kept: the same request again gets it again."""

from collections.abc import Sequence

import msgspec
from django.db import IntegrityError, OperationalError
from django.utils.translation import gettext as _
from psycopg.errors import DeadlockDetected

from loyalty import ledger, statements
from loyalty.models import TillRequest
from profiles.intake import Conflict, Problem
from tenants.network.models import Till

ID_OF_REQUEST = {"purchase": "receipt_id", "refund": "refund_id", "redemption": "redemption_id"}


class Answer(msgspec.Struct, frozen=True):
    """What the till is told. `replayed`: it was told before, word for word."""

    status: int
    body: dict
    replayed: bool = False


def once_more_after_a_race(verb, *args):
    """Two equal requests at once: the loser of the race asks again and hears what the winner was told.

    Points that are missing may have been spent by the equal request, which this one waited for.
    """
    try:
        return verb(*args)
    except (IntegrityError, ledger.AlreadyPosted, ledger.NotEnoughPoints):
        return verb(*args)
    except OperationalError as error:
        if not isinstance(error.__cause__, DeadlockDetected):
            raise
        return verb(*args)


def told_before(till: Till, keys: Sequence[str]) -> dict[str, TillRequest]:
    return {request.key: request for request in TillRequest.objects.filter(till=till, key__in=keys)}


def id_in(key: str) -> str:
    """The till's own id, with its day where it has one: what stands behind the kind of the deed."""
    return key.partition(":")[2]


def again(before: TillRequest, content: str) -> Answer | Problem:
    if before.request_hash != content:
        field = ID_OF_REQUEST[before.key.partition(":")[0]]
        return Conflict(
            "id_reused", _("this id was used before with another content: %s") % id_in(before.key), field
        )
    return Answer(before.status, before.response, replayed=True)


def raised(answer: Answer | Problem) -> Answer:
    if isinstance(answer, Problem):
        raise answer
    return answer


def tell(till: Till, key: str, content: str, body: dict, status: int = 201) -> None:
    TillRequest.objects.create(till=till, key=key[:160], request_hash=content, status=status, response=body)


def points_of(balance: statements.Balance) -> dict:
    return {"available": balance.available, "pending": balance.pending, "debt": balance.debt}
