"""What a till asks beside tickets: each question is answered once, and the same question again gets the same answer."""

import hashlib
import json
from collections.abc import Callable

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from loyalty import ledger
from loyalty.models import TillRequest
from loyalty.rewards import Refused
from loyalty.till import Answer, UnknownMember
from profiles import intake
from profiles.intake import Conflict, Problem, Shown
from profiles.models import Profile
from tenants.network.models import Till
from tenants.scoping import whole_network


def answered(till: Till, key: str, content: object, deed: Callable[[], Answer], *, field: str) -> Answer:
    """Do the deed in a transaction of its own and keep its answer, or give the answer that was kept.

    `key` names the question among the till's, `content` is what it says; `field` carries the till's id. Raises
    `Conflict` where the id was used with another content, and whatever the deed raises.
    """
    told = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    try:
        return _answered(till, key, told, deed, field)
    except (IntegrityError, ledger.AlreadyPosted):
        # Two equal questions at once: the loser of the race asks again and hears what the winner was told.
        return _answered(till, key, told, deed, field)


def answered_or_again(
    till: Till, key: str, content: object, deed: Callable[[], Answer], *, field: str
) -> Answer:
    """`answered`; of two equal requests at once, the second may find the stock or the points taken by the first, which
    it waited for: then it asks again, and hears what the first was told."""
    try:
        return answered(till, key, content, deed, field=field)
    except (Refused, ledger.NotEnoughPoints):
        return answered(till, key, content, deed, field=field)


@transaction.atomic
def _answered(till: Till, key: str, told: str, deed: Callable[[], Answer], field: str) -> Answer:
    before = TillRequest.objects.filter(till=till, key=key[:160]).first()
    if before is None:
        answer = deed()
        TillRequest.objects.create(
            till=till, key=key[:160], request_hash=told, status=answer.status, response=answer.body
        )
        return answer
    if before.request_hash != told:
        raise Conflict(
            "id_reused", _("this id was used before with another content: %s") % key.partition(":")[2], field
        )
    return Answer(before.status, before.response, replayed=True)


def member_shown(till: Till, shown: Shown) -> Profile:
    """The living member who shows this, held until the transaction ends. Raises `Problem`, `UnknownMember`."""
    if not intake.purchases.key_of(shown, till):
        raise Problem("invalid_identifier", _("«%s» is not usable") % shown.value[:60], "member")
    found = intake.find_people([shown], till)
    if shown not in found:
        raise UnknownMember(_("no member is known by this %s") % shown.kind)
    with whole_network():
        return Profile.hold([found[shown]])[found[shown]]
