"""Points end: what is left of lots whose last day has passed."""

from datetime import date

from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from loyalty.ledger.posting import AVAILABLE, Fact, Kind, accounts_of, post, store_accounts
from loyalty.models import Account, Lot, LotUse
from tenants.scoping import whole_network


@transaction.atomic
def expire_due(today: date, limit: int = 500, account_id: int | None = None) -> int:
    """Expire what is left of lots whose last day has passed, of one account or of all; returns how many lots.

    Safe to run twice or killed.
    """
    with whole_network():
        lots = Lot.objects.filter(remaining__gt=0, account__kind=AVAILABLE, expires_on__lt=today)
        due = list(
            (lots.filter(account=account_id) if account_id else lots)
            .select_related("account")
            .order_by("pk")[:limit]
        )
        members = accounts_of(lot.account.profile_id for lot in due)
        left = dict(Lot.objects.filter(pk__in=[lot.pk for lot in due]).values_list("pk", "remaining"))
        expired = store_accounts(Account.Kind.EXPIRED, {lot.store_id for lot in due})
        # A lot expires again where points came back to it: each time is a fact of its own.
        rows = LotUse.objects.filter(lot__in=due).order_by().values_list("lot").annotate(times=Count("pk"))
        uses = dict(rows)
        post(
            [
                Fact(
                    key=f"expire:{lot.pk}:{uses.get(lot.pk, 0)}", kind=Kind.EXPIRE, profile_id=lot.account.profile_id,
                    store_id=lot.store_id, occurred_at=timezone.now(),
                    points={
                        members[lot.account.profile_id].available_id: -left[lot.pk],
                        expired[lot.store_id]: left[lot.pk],
                    },
                    uses={lot.pk: left[lot.pk]},
                )
                for lot in due
                if left[lot.pk]
            ]
        )  # fmt: skip
    return len(due)
