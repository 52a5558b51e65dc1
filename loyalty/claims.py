"""A ticket without a card is claimed afterwards, by its number and amount: its points are those of its own day.

Once a ticket, within the programme's days, and never by whoever sat at the till when it was made.
"""

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from loyalty import cases, ledger, members, once, rules, segments, statements
from loyalty import till as tills
from loyalty.models import Case, Cashier, Claim, ClaimTally, Programme, TicketCashier, Transaction
from loyalty.rulebook import Rulebook
from loyalty.till import Answer, UnknownMember
from profiles.intake import Problem, Shown
from profiles.intake.purchases import key_in, name_buyer, people_by_key
from profiles.models import Profile, Purchase
from tenants.calendar import brand_zone
from tenants.network.models import Staff, Store, Till, audit
from tenants.scoping import whole_network

MOST_CANDIDATES = 20


@dataclass(frozen=True)
class Told:
    """What is printed on the ticket. The day only where the receipt's number comes again on other days."""

    receipt_id: str
    total_cents: int
    store_code: str
    business_day: date | None = None


def at_till(till: Till, claim_id: str, shown: Shown, told: Told, cashier: str = "") -> Answer:
    """Claim a ticket at a till; `cashier` is who serves now. Raises `Problem`, `UnknownMember`, `NoProgramme`."""

    def deed() -> Answer:
        profile = once.member_shown(till, shown)
        made = claim(profile, told, shown=shown, region=till.store.phone_region, till=till, taken_by=cashier)
        with whole_network():
            posted = made.purchase.transactions.filter(key=f"earn:{made.purchase_id}").first()
        balance = statements.balance_of(profile)
        return Answer(
            201,
            {
                "claim_id": claim_id, "receipt_id": told.receipt_id, "member": str(profile.public_id),
                "points": made.points, "explanation": posted.explanation if posted else [], "tier": balance.tier,
                "available": balance.available, "pending": balance.pending, "debt": balance.debt,
            },
        )  # fmt: skip

    content = [asdict(shown), asdict(told), cashier]
    return once.answered(till, f"claim:{claim_id}", content, deed, field="claim_id")


def by_staff(by: Staff, store: Store, member: str, told: Told) -> Claim:
    """Claim a ticket in head office or in the store's office, for whoever has this card, phone or e-mail.

    Raises as `at_till`.
    """
    for kind in ("card", "phone", "email"):
        shown = Shown(kind, member)
        key = key_in(shown, store.phone_region)
        found = people_by_key([(kind, key)]) if key else {}
        if found:
            with transaction.atomic(), whole_network():
                profile = Profile.hold(found.values())[found[kind, key]]
                return claim(profile, told, shown=shown, region=store.phone_region, by=by)
    raise UnknownMember(_("no member is known by «%s»") % member[:60])


@transaction.atomic
def claim(
    profile: Profile, told: Told, *, shown: Shown, region: str, till: Till | None = None, by: Staff | None = None,
    taken_by: str = "", now: datetime | None = None,
) -> Claim:  # fmt: skip
    """Give the ticket to the member, who is held, and credit what it earned by the rules of its day.

    Raises `Problem`: `unknown_ticket`, `ticket_has_member`, `already_claimed`, `claim_over`, `own_ticket`.
    """
    now = now or timezone.now()
    book = Rulebook.load()
    with whole_network():
        purchase = _ticket(told)
        _check(purchase, profile, till, by, taken_by)
        age = (now.astimezone(purchase.store.zone).date() - purchase.business_day).days
        if age > book.programme.claim_days:
            days = {"days": book.programme.claim_days}
            raise Problem(
                "claim_over", _("a ticket can be claimed within %(days)s days") % days, "receipt_id"
            )
        if not name_buyer(purchase, profile, f"{shown.kind}:{key_in(shown, region)}"):
            raise Problem("already_claimed", _("this ticket was claimed before"), "receipt_id")
        served = TicketCashier.objects.filter(purchase=purchase).first()
        points = _credit(purchase, profile.pk, book, str(by or till))
        made = Claim.objects.create(
            purchase=purchase, store=purchase.store, profile=profile, claimed_at=now, till=till, by=by,
            cashier=served.cashier if served else "", taken_by=taken_by, points=points,
        )  # fmt: skip
        audit(
            by or till,
            "claimed",
            made,
            store_id=purchase.store_id,
            receipt=purchase.receipt_id,
            points=points,
        )
    return made


def _ticket(told: Told) -> Purchase:
    """The newest ticket that is printed so, locked; one that names nobody before others."""
    printed = Purchase.objects.filter(
        receipt_id=told.receipt_id, store__code=told.store_code, total_cents=told.total_cents
    )
    if told.business_day:
        printed = printed.filter(business_day=told.business_day)
    found = list(
        printed.select_for_update(of=("self",))
        .select_related("store")
        .order_by("-bought_at")[:MOST_CANDIDATES]
    )
    if not found:
        # Not which of the three is wrong: numbers of tickets are easy to guess.
        raise Problem("unknown_ticket", _("no ticket has this number and amount in this store"), "receipt_id")
    free = [purchase for purchase in found if purchase.profile_id is None]
    if free:
        return free[0]
    if Claim.objects.filter(purchase__in=found).exists():
        raise Problem("already_claimed", _("this ticket was claimed before"), "receipt_id")
    raise Problem("ticket_has_member", _("this ticket named its member at the till"), "receipt_id")


def _check(purchase: Purchase, profile: Profile, till: Till | None, by: Staff | None, taken_by: str) -> None:
    """Nobody claims a ticket that they made themselves, nor lets it through for themselves."""
    own = Problem("own_ticket", _("whoever made a ticket cannot claim it"), "receipt_id")
    if by is not None and profile.email and profile.email.casefold() == by.email.casefold():
        raise own
    served = TicketCashier.objects.filter(purchase=purchase).first()
    if served is None:
        return
    if taken_by and taken_by == served.cashier and till and till.store_id == purchase.store_id:
        raise own
    if (
        profile.pk
        in cases.people_of(Cashier.objects.filter(store=purchase.store, code=served.cashier)).values()
    ):
        raise own


def _credit(purchase: Purchase, profile_id: int, book: Rulebook, actor: str) -> int:
    """Post what the ticket earned on its day, and what its returns took since; the points that are left."""
    standing = members.Standing([profile_id], purchase.bought_at, book.thresholds)
    tier = standing.tier(profile_id, purchase.bought_at)
    in_force, before = book.at(purchase.bought_at), 0
    if rules.look_at_the_day(in_force):
        before = standing.earned_on(profile_id, purchase.business_day)
    lines = list(purchase.lines.order_by("number"))
    belongs = segments.of([profile_id], rules.segments_looked_at(in_force))[profile_id]
    earned = rules.points_for(tills.as_recorded(purchase, lines, tier, before, belongs), in_force)
    earning = ledger.Earning(purchase, purchase.business_day, earned, tier, before, segments=belongs)
    watch = cases.Watch([earning], book.programme)
    watch.open_cases(ledger.earn(watch.earnings))
    points, clamp = earned.points, book.programme.debt_policy == book.programme.Debt.CLAMPED
    for refund in purchase.refunds.order_by("pk"):
        taken = tills.points_to_take_back(refund)
        ledger.take_back(refund, taken, actor=actor, clamp=clamp)
        points -= taken
    members.refresh([profile_id])
    return points


# --- The weekly report -----------------------------------------------------------------------------------------------


@transaction.atomic
def tally(monday: date) -> int:
    """Count the claims of the week that begins on this day by store and cashier of the ticket; returns the lines.

    Where one cashier's tickets are claimed out of proportion, a case is opened. Run again, it counts again.
    """
    start = datetime.combine(monday, time.min, brand_zone())
    with whole_network():
        programme = Programme.objects.first()
        made = list(
            Claim.objects.filter(claimed_at__gte=start, claimed_at__lt=start + timedelta(days=7))
            .select_related("purchase", "store")
            .order_by("pk")
        )
        of_store: Counter = Counter(row.store_id for row in made)
        groups: dict[tuple[int, str], list[Claim]] = defaultdict(list)
        for row in made:
            groups[row.store_id, row.cashier].append(row)
        lines = [
            ClaimTally(
                week=monday, store_id=store_id, cashier=cashier, claims=len(rows),
                cents=sum(row.purchase.total_cents for row in rows), points=sum(row.points for row in rows),
                share=100 * len(rows) // of_store[store_id],
            )
            for (store_id, cashier), rows in groups.items()
        ]  # fmt: skip
        ClaimTally.objects.bulk_create(
            lines, update_conflicts=True, unique_fields=["week", "store", "cashier"],
            update_fields=["claims", "cents", "points", "share"],
        )  # fmt: skip
        for line in lines:
            if programme is not None and _stands_out(line, programme):
                _open_case(line, groups[line.store_id, line.cashier])
    return len(lines)


def _stands_out(line: ClaimTally, programme: Programme) -> bool:
    enough = bool(programme.claims_least) and line.claims >= programme.claims_least
    return bool(line.cashier) and enough and line.share >= programme.claims_share


def _open_case(line: ClaimTally, rows: list[Claim]) -> None:
    told = {"kind": cases.Kind.CLAIMS, "store": line.store_id, "cashier": line.cashier, "day": line.week}
    if Case.objects.filter(**told).exists():  # decided, perhaps: once a week is enough
        return
    case = cases.opened(cases.Kind.CLAIMS, rows[0].store, line.week, cashier=line.cashier)
    earned = dict(
        Transaction.objects.filter(key__in=[f"earn:{row.purchase_id}" for row in rows]).values_list(
            "purchase", "pk"
        )
    )
    for row in rows:
        cases.add_ticket(case, row.purchase_id, earned.get(row.purchase_id))
