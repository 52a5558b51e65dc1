"""A ticket was credited to the wrong customer: it is given to its right owner, and can be moved back exactly.

The ticket keeps what was shown at the till. Whose it is, is a person's decision from then on: it binds a later unmerge
and every rebuild. Refunds, facts and what stores know follow here; points and tier follow in `loyalty/receivers.py`.
"""

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles import facts
from profiles.models import Profile, Purchase, PurchaseLine, TicketMove
from profiles.signals import ticket_moved
from tenants.network.models import Staff, audit
from tenants.scoping import whole_network


class CannotMove(ValueError):
    """The ticket cannot be moved, or moved back: it names nobody, is theirs already, or was moved on since."""


@transaction.atomic
def move(purchase: Purchase, to: Profile, *, reason: str, by: Staff) -> TicketMove:
    """Give a ticket to the customer who really bought. Raises `CannotMove`."""
    reason = " ".join(reason.split())
    if not reason:
        raise CannotMove(_("say why"))
    with whole_network():
        ticket, taker = _held(purchase, to)
        if ticket.profile_id is None:
            raise CannotMove(_("this ticket names no customer"))
        if ticket.profile_id == taker.pk:
            raise CannotMove(_("this ticket is theirs already"))
        row = TicketMove(purchase=ticket, giver_id=ticket.profile_id, taker=taker, reason=reason[:300], by=by)
        _give(row, ticket.profile_id, taker.pk)
        audit(by, "moved ticket", ticket, reason=row.reason, giver=row.giver_id, taker=row.taker_id)
    return row


@transaction.atomic
def undo(row: TicketMove, by: Staff) -> None:
    """Move a ticket back to whom it was taken from, with everything that went along. Raises `CannotMove`."""
    with whole_network():
        row = TicketMove.objects.select_related("purchase", "giver", "taker").get(pk=row.pk)
        ticket, giver = _held(row.purchase, row.giver)
        row = TicketMove.objects.select_for_update().get(pk=row.pk)
        if row.undone_at:
            raise CannotMove(_("this ticket was moved back before"))
        if TicketMove.objects.filter(purchase=ticket, pk__gt=row.pk, undone_at=None).exists():
            raise CannotMove(_("this ticket was moved on since: undo that first"))
        if ticket.profile_id == giver.pk:
            raise CannotMove(_("the two were merged meanwhile: the ticket is theirs"))
        row.undone_at, row.undone_by = timezone.now(), by
        _give(row, ticket.profile_id, giver.pk)
        audit(by, "moved ticket back", ticket, giver=giver.pk, taker=row.taker_id)


def _held(purchase: Purchase, other: Profile) -> tuple[Purchase, Profile]:
    """The ticket and the customer it goes to, locked; people before what hangs on them, as everywhere."""
    while True:
        owner_id = Purchase.objects.values_list("profile", flat=True).get(pk=purchase.pk)
        with transaction.atomic():
            held = Profile.hold({owner_id, other.pk} - {None})
            ticket = Purchase.objects.select_for_update(of=("self",)).get(pk=purchase.pk)
            # A merge or another move may have come in between: then its people are the ones to hold.
            if ticket.profile_id is None or ticket.profile_id in held:
                return ticket, held[other.pk]
            transaction.set_rollback(True)


def _give(row: TicketMove, giver_id: int, taker_id: int) -> None:
    Purchase.objects.filter(pk=row.purchase_id).update(profile=taker_id)
    PurchaseLine.objects.filter(purchase=row.purchase_id).update(profile=taker_id)
    ticket_moved.send(TicketMove, move=row, giver_id=giver_id, taker_id=taker_id)
    row.save()
    facts.note_stores([giver_id, taker_id])
    facts.refresh([giver_id, taker_id])
