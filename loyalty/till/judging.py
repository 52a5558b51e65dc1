"""How the rules see a ticket: one that comes in, and one that stands in the database."""

from collections.abc import Iterable

from loyalty import rules
from loyalty.models import Transaction
from loyalty.rulebook import Rulebook
from profiles.intake import Ticket
from profiles.models import Purchase
from tenants.network.models import Till
from tenants.scoping import whole_network


def as_rules_see_it(
    till: Till, ticket: Ticket, tier: str, earned_before: int, segments: frozenset[int] = frozenset()
) -> rules.Ticket:
    store = till.store
    return rules.Ticket(
        ticket.bought_at.astimezone(store.zone),
        store.code,
        tier,
        [rules.Line(line.sku[:40], line.category[:60], line.amount_cents) for line in ticket.lines],
        earned_before,
        segments,
        ticket.payment,
        till.channel,
    )


def as_recorded(
    purchase: Purchase, lines, tier: str, earned_before: int = 0, segments: Iterable[int] = ()
) -> rules.Ticket:
    """The ticket as it stands in the database, for refunds and for the proof of the ledger."""
    return rules.Ticket(
        purchase.bought_at.astimezone(purchase.store.zone),
        purchase.store.code,
        tier,
        [rules.Line(line.sku, line.category, line.amount_cents) for line in lines],
        earned_before,
        frozenset(segments),
        purchase.payment,
        purchase.till.channel,
    )


def explain(purchase: Purchase) -> rules.Explanation | None:
    """Why the ticket earned what it did, line by line, by the rules of its time; None for a ticket of nobody."""
    if purchase.profile_id is None:
        return None
    with whole_network():
        earning = Transaction.objects.filter(key=f"earn:{purchase.pk}").first()
        told = as_recorded(
            purchase, purchase.lines.order_by("number"), earning.tier if earning else "",
            earning.earned_before if earning else 0, earning.segments if earning else (),
        )  # fmt: skip
    return rules.explain(told, Rulebook.load().at(purchase.bought_at))
