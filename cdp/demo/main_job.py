"""The main job, end to end, through the verbs that the product's users call: onboard, take in, unify, points, market.

Each function is one step; it returns the figures of the summary. `manage.py demo` strings them together.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from time import monotonic, sleep
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.text import slugify
from django_tenants.utils import schema_context, tenant_context

from campaigns import audience
from campaigns.exports.ordering import export
from campaigns.launching import freeze
from campaigns.models import Campaign, Export, Recipient, Segment
from campaigns.segments.saving import save
from cdp.demo import tickets as played
from cdp.demo.world import BrandData
from loyalty import ledger, liability, proof, rulebook, settlement, till
from loyalty import tasks as loyalty_tasks
from loyalty.models import Account, Posting, Rule
from profiles import tasks as profile_tasks
from profiles.imports import run as imports
from profiles.intake import (
    Problem,
    RefundLineStatement,
    RefundStatement,
    Shown,
    Ticket,
    TicketLine,
)
from profiles.models import MatchCandidate, Merge, Profile, Purchase, Source, SourceRecord
from tenants import onboarding
from tenants.models import Brand
from tenants.network.models import Job, Staff, Till
from tenants.onboarding import BrandPlan, OnboardedBrand, StaffPlan, StorePlan
from tenants.roles import Role
from tenants.scoping import whole_network

PASSWORD = "demo-demo-demo"  # noqa: S105 - printed for whoever tries the demonstration
PLATFORM_ADMIN = "platform@demo.example"
TICKETS_AT_ONCE = 500
POINTS_OF_A_REWARD = 100
EXPIRY_MONTHS = 6
DAIRY = "DAIRY"
SOURCES = (
    ("crm", "CRM", Source.Kind.CRM, 80),
    ("ecommerce", "Web shop", Source.Kind.ECOMMERCE, 70),
    ("till", "Till files", Source.Kind.TILL, 50),
    ("contest", "Contest", Source.Kind.CONTEST, 30),
)
# "Bought dairy at least 3 times in 90 days, not seen for 30 days, may be e-mailed, home store in the North."
DAIRY_LOVERS = {
    "all": [
        {"field": "purchases", "category": DAIRY, "op": ">=", "value": 3, "window": {"last_days": 90}},
        {"field": "days_since_purchase", "op": ">=", "value": 30},
        {"field": "may_contact", "op": "=", "value": "email"},
        {"field": "home_region", "op": "in", "value": ["nord"]},
    ]
}

Advance = Callable[[int, int], None]


@dataclass
class Played:
    """A brand of the demonstration: its data, and what onboarding made of it."""

    data: BrandData
    onboarded: OnboardedBrand
    tills: dict[tuple[str, str], Till] = field(default_factory=dict)

    @property
    def brand(self) -> Brand:
        return self.onboarded.brand


@contextmanager
def inside(brand: Brand) -> Iterator[None]:
    """In the brand's schema, seeing its whole network: as head office."""
    with tenant_context(brand), whole_network():
        yield


# --- 1. Onboard ------------------------------------------------------------------------------------------------------


def start_over(slugs: list[str]) -> None:
    """Remove the brands of an earlier demonstration, and open the platform's own site with its administrator."""
    onboarding.open_platform()
    for brand in Brand.objects.filter(slug__in=slugs):
        with schema_context(brand.schema_name), whole_network():
            exported = list(Export.objects.values_list("file_name", flat=True)) if _has_tables() else []
        brand.delete(force_drop=True)
        for name in exported:
            (settings.MEDIA_ROOT / brand.schema_name / "exports" / name).unlink(missing_ok=True)
    with whole_network():
        Job.objects.filter(kind=onboarding.JOB_KIND).delete()
    if not Staff.objects.filter(email=PLATFORM_ADMIN).exists():
        Staff.objects.create_user(
            PLATFORM_ADMIN, PASSWORD, full_name="Paul Lambert", role=Role.PLATFORM_ADMIN, language="en"
        )


def _has_tables() -> bool:
    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
    return Export._meta.db_table in names


def onboard(data: BrandData, today: date, report=lambda progress: None) -> Played:
    """Open the brand as the platform's administrator would, with staff of each role."""
    first_store = data.stores[0]
    plan = BrandPlan(
        name=data.name,
        slug=data.slug,
        domain=f"{data.slug}.{settings.BASE_DOMAIN}",
        points_from=(today - timedelta(days=800)).isoformat(),
        stores=tuple(
            StorePlan(
                code=store.code, name=store.name, region_code=_region_code(store.region), region_name=store.region,
                postcode=store.address.postcode, city=store.address.town, time_zone=store.timezone,
                phone_region="RE" if store.timezone == "Indian/Reunion" else "FR",
                legal_name=f"{store.address.town} Distribution", tills=tuple(store.tills),
            )
            for store in data.stores
        ),
        staff=(
            StaffPlan(f"admin@{data.slug}.example", "Diane Perrot", Role.BRAND_ADMIN, (), "fr", PASSWORD),
            StaffPlan(f"marketing@{data.slug}.example", "Alice Martin", Role.MARKETER, (), "fr", PASSWORD),
            StaffPlan(f"analyst@{data.slug}.example", "Hugo Blanc", Role.ANALYST, (), "en", PASSWORD),
            StaffPlan(
                f"store@{data.slug}.example", "Bruno Caron", Role.STORE_MANAGER, (first_store.code,), "fr", PASSWORD
            ),
        ),
    )  # fmt: skip
    played_brand = Played(data, onboarding.onboard_brand(plan, report))
    with inside(played_brand.brand):
        for code, name, kind, trust in SOURCES:
            Source.objects.get_or_create(code=code, defaults={"name": name, "kind": kind, "trust": trust})
        played_brand.tills = {(t.store.code, t.code): t for t in Till.objects.select_related("store")}
        _shape_programme(plan)
    return played_brand


def _shape_programme(plan: BrandPlan) -> None:
    """Two things that this brand wants otherwise than the template: points of half a year, double points for dairy."""
    start = datetime.combine(date.fromisoformat(plan.points_from), time(1), ZoneInfo(plan.time_zone))
    base = Rule.objects.get(code="base")
    terms = {**base.versions.get().terms, "expiry_months": EXPIRY_MONTHS}
    rulebook.publish(base, {}, terms, reason="points last six months", effective_from=start)
    dairy = Rule.objects.create(
        code="double-dairy", name="Points doubles sur la crèmerie", kind=Rule.Kind.MULTIPLIER, priority=20
    )
    rulebook.publish(
        dairy, {"categories": [DAIRY]}, {"factor": "2"}, reason="dairy campaign", effective_from=start
    )


def _region_code(name: str) -> str:
    return slugify(name)[:20]


# --- 2. Take in ------------------------------------------------------------------------------------------------------


def import_files(one: Played) -> dict:
    """Hand each file to the importer, whose worker takes it in; returns its numbers by source."""
    numbers = {}
    with inside(one.brand):
        for code, path in one.data.files.items():
            source = Source.objects.get(code=code)
            import_run = imports.start(
                Path(path), source, Staff.objects.get(role=Role.MARKETER), Path(path).name
            )
            wait_for(import_run.job)
            import_run.refresh_from_db()
            numbers[code] = imports.numbers(import_run)
    return numbers


def send_tickets(one: Played, advance: Advance) -> dict:
    """Send a year of tickets in batches of each till's half-year, then the ones that must not pass."""
    figures: Counter = Counter()
    reasons: Counter = Counter()
    total = len(one.data.book)
    with inside(one.brand):
        batches: dict[Till, list[Ticket]] = defaultdict(list)
        half_year = None

        def flush() -> None:
            for machine, batch in batches.items():
                for start in range(0, len(batch), TICKETS_AT_ONCE):
                    answers = till.record_purchases(machine, batch[start : start + TICKETS_AT_ONCE])
                    _count(answers, figures, reasons)
            batches.clear()
            advance(figures["in"], total)

        for ticket in one.data.tickets():
            if half_year != (half_year := (ticket.bought_at.year, (ticket.bought_at.month - 1) // 6)):
                flush()
            batches[one.tills[ticket.store_code, ticket.till_code]].append(as_sent(ticket))
        flush()
        for faulty in one.data.faulty_tickets():
            machine = one.tills.get((faulty.ticket.store_code, faulty.ticket.till_code))
            if machine is None:
                # A key belongs to a till of a store: what is no till of ours does not get past the door.
                figures["in"] += 1
                figures["rejected"] += 1
                reasons["unknown_till"] += 1
                continue
            _count(till.record_purchases(machine, [as_sent(faulty.ticket)]), figures, reasons)
        figures["in_database"] = Purchase.objects.count()
    return {**figures, "reasons": dict(reasons)}


def _count(answers, figures: Counter, reasons: Counter) -> None:
    for answer in answers:
        figures["in"] += 1
        if isinstance(answer, Problem):
            figures["rejected"] += 1
            reasons[answer.code] += 1
        elif answer.replayed:
            # Acknowledged, and not posted a second time.
            figures["rejected"] += 1
            reasons["sent_before"] += 1
        else:
            figures["posted"] += 1


def as_sent(ticket: played.Ticket) -> Ticket:
    """The ticket in the words of the till's interface."""
    return Ticket(
        receipt_id=ticket.receipt_id,
        bought_at=ticket.bought_at,
        shown=Shown(*ticket.identifier) if ticket.identifier else None,
        payment=ticket.payment,
        lines=[
            TicketLine(
                sku=line.sku, label=line.label, category=line.category, quantity=Decimal(line.quantity),
                amount_cents=line.amount_cents, discount_cents=line.discount_cents,
            )
            for line in ticket.lines
        ],
    )  # fmt: skip


# --- 3. Unify --------------------------------------------------------------------------------------------------------


def unify(one: Played, advance: Advance) -> dict:
    """Have a worker match all records, and judge the result against what only the demonstration knows."""
    with inside(one.brand):
        waiting = SourceRecord.objects.filter(matched_at=None)
        total = waiting.count()
        profile_tasks.match_new_records.delay()
        poll(lambda: waiting.count() == 0, lambda: advance(total - waiting.count(), total))
        judged = judge(one.data.truth)
        return judged | {
            "records": SourceRecord.objects.count(),
            "merged": Merge.objects.filter(undone_at=None).count(),
            "to_review": MatchCandidate.objects.filter(status=MatchCandidate.Status.OPEN).count(),
            "profiles": Profile.objects.filter(merged_into=None).count(),
        }


def judge(truth: dict[tuple[str, str], str]) -> dict:
    """Pairwise precision, recall and F1 of the profiles against the true person of each record."""
    found: dict[int, list[str]] = defaultdict(list)
    people: Counter = Counter()
    for source, external_id, profile_id in SourceRecord.objects.values_list(
        "source__code", "external_id", "profile"
    ).distinct():
        person = truth.get((source, external_id))
        if person is not None:
            found[profile_id].append(person)
            people[person] += 1
    predicted = sum(len(members) * (len(members) - 1) // 2 for members in found.values())
    right = sum(a == b for members in found.values() for a, b in combinations(members, 2))
    true = sum(n * (n - 1) // 2 for n in people.values())
    precision = right / predicted if predicted else 1.0
    recall = right / true if true else 1.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"precision": round(precision, 4), "recall": round(recall, 4), "f1": round(f1, 4)}


# --- 4. Points -------------------------------------------------------------------------------------------------------


def points(one: Played, today: date) -> dict:
    """Goods come back, points expire, members spend."""
    figures: Counter = Counter()
    with inside(one.brand):
        for refund in one.data.refunds():
            machine = one.tills[refund.store_code, refund.till_code]
            sold = Purchase.objects.filter(till__store__code=refund.store_code, receipt_id=refund.receipt_id)
            purchase = sold.order_by("-bought_at").first()
            if purchase is None:
                continue
            till.refund(machine, _as_brought_back(refund, purchase))
            figures["refunds"] += 1
        loyalty_tasks.release_due()
        loyalty_tasks.expire_due()
        for machine, shown, number in _those_who_spend(one):
            try:
                till.redeem(machine, shown, POINTS_OF_A_REWARD, f"D{number}", timezone.now())
                figures["redemptions"] += 1
            except (ledger.NotEnoughPoints, till.UnknownMember, Problem) as refusal:
                figures[f"refused: {type(refusal).__name__}"] += 1
    return dict(figures)


def prove(one: Played) -> dict:
    """The ledger recounted from the tickets, and what it holds."""
    with inside(one.brand):
        proved = proof.prove()
        sums = {
            kind: abs(sum(Posting.objects.filter(account__kind=kind).values_list("points", flat=True)))
            for kind in (Account.Kind.ISSUED, Account.Kind.REDEEMED, Account.Kind.EXPIRED)
        }
        outstanding = sum(
            Account.objects.filter(kind__in=Account.MEMBER_KINDS).values_list("balance", flat=True)
        )
    return {
        **{str(kind): total for kind, total in sums.items()}, "outstanding": outstanding,
        "differences": len(proved.differences), "transactions": proved.counted["transactions"],
        "tickets_recounted": proved.counted["tickets"],
    }  # fmt: skip


def settle(one: Played) -> dict:
    """What the stores owe each other for points earned here and spent there, and what the points left will cost; both
    beside a recount of the raw rows in plain SQL."""
    with inside(one.brand):
        shares = settlement.unsettled(timezone.now())
        by_store = {pk: figures.left for pk, figures in liability.report().by_store().items() if figures.left}
        with connection.cursor() as cursor:
            cursor.execute("SELECT store_id, sum(remaining) FROM loyalty_lot WHERE remaining > 0 GROUP BY 1")
            recount = {pk: int(points) for pk, points in cursor.fetchall()}
    return {
        "redemptions": len({share.transaction_id for share in shares}),
        "between_stores_cents": sum(share.cents for share in shares if share.cents > 0),
        "nets_to_cents": sum(share.cents for share in shares),
        "liability_points": sum(by_store.values()),
        "stores_unlike_sql": sum(
            by_store.get(pk) != recount.get(pk) for pk in by_store.keys() | recount.keys()
        ),
    }


def _as_brought_back(refund: played.Refund, purchase: Purchase) -> RefundStatement:
    numbers = {}
    for line in purchase.lines.order_by("-number"):
        numbers[line.sku, line.amount_cents] = (line.number, line.quantity)
    lines = [RefundLineStatement(*numbers[line.sku, line.amount_cents]) for line in refund.lines]
    return RefundStatement(
        refund.refund_id, refund.refunded_at, refund.receipt_id, lines, business_day=purchase.business_day
    )


def _those_who_spend(one: Played) -> Iterator[tuple[Till, Shown, int]]:
    """Who redeemed a coupon in the real data spends points at the first till of the store they know."""
    people = {person.key: person for person in one.data.people}
    tills = {}
    for (store, _code), machine in one.tills.items():
        tills.setdefault(store, machine)
    number = 0
    for campaign in one.data.campaigns:
        for redemption in campaign.redemptions:
            person = people[redemption.person_key]
            if person.card:
                number += 1
                yield tills[person.store_code], Shown("card", person.card), number


# --- 5. Segment and export -------------------------------------------------------------------------------------------


def market(one: Played, today: date, thank: Callable[[Campaign, Staff], dict]) -> dict:
    """Two segments, each with a campaign that has a goal and a control group, and the files that leave.

    The first is the question of the story, asked once more in plain SQL; the second is broad enough to be measured, and
    `thank` gives its audience something.
    """
    with inside(one.brand):
        marketer = Staff.objects.get(role=Role.MARKETER)
        figures = _campaign("Crèmerie, à réveiller (Nord)", DAIRY_LOVERS, "Retour en crèmerie", marketer)
        figures["sql_recount"] = recount_in_sql(today)
        regulars = {"all": [DAIRY_LOVERS["all"][0], DAIRY_LOVERS["all"][2]]}
        thanks = "Merci à nos fidèles"
        figures["broader"] = _campaign("Fidèles de la crèmerie", regulars, thanks, marketer)
        campaign = Campaign.objects.filter(name=thanks).first()
        if campaign:
            figures["thanked"] = thank(campaign, marketer)
    return figures


def _campaign(segment_name: str, definition: dict, campaign_name: str, marketer: Staff) -> dict:
    """Save the segment, count it, freeze a campaign on it and have its file written."""
    segment = Segment(name=segment_name, shared=True, created_by=marketer)
    counts = audience.count(save(segment, definition, marketer, "demonstration"))
    figures = {
        "count": counts.matching,
        "reachable": counts.reachable,
        "per_store": {share.code: share.people for share in counts.per_store},
    }
    if not counts.reachable["email"]:
        return figures
    campaign = Campaign.objects.create(
        name=campaign_name, segment=segment, goal=Campaign.Goal.VISIT, goal_days=30, goal_uplift=2,
        control_percent=20, created_by=marketer,
    )  # fmt: skip
    campaign = freeze(campaign, marketer)
    asked = export(campaign, "brevo", marketer, campaign_name)
    wait_for(asked.job)
    asked.refresh_from_db()
    arms = Counter(Recipient.objects.filter(campaign=campaign).values_list("arm", flat=True))
    return figures | {
        "treated": arms[Recipient.Arm.TREATED], "control": arms[Recipient.Arm.CONTROL],
        "rows": asked.rows, "file": asked.file_name, "sha256": asked.sha256,
    }  # fmt: skip


def recount_in_sql(today: date) -> int:
    """The same question asked of the raw rows in plain SQL: the oracle of the segment's count."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH visits AS (
                SELECT profile_id, store_id, count(*) AS n, max(business_day) AS last
                  FROM profiles_purchase WHERE profile_id IS NOT NULL GROUP BY 1, 2),
            home AS (
                SELECT DISTINCT ON (profile_id) profile_id, store_id
                  FROM visits ORDER BY profile_id, n DESC, last DESC, store_id),
            told AS (
                SELECT DISTINCT ON (profile_id, record_id) profile_id, granted
                  FROM profiles_consentchange WHERE channel = 'email'
                 ORDER BY profile_id, record_id, at DESC, id DESC)
            SELECT count(*)
              FROM profiles_profile p
              JOIN home ON home.profile_id = p.id
              JOIN network_store s ON s.id = home.store_id
              JOIN network_region r ON r.id = s.region_id AND r.code = 'nord'
             WHERE p.merged_into_id IS NULL
               AND (SELECT count(DISTINCT l.purchase_id) FROM profiles_purchaseline l
                     WHERE l.profile_id = p.id AND l.category = %(dairy)s AND l.business_day >= %(today)s - 90
                       AND l.business_day <= %(today)s) >= 3
               AND (SELECT max(last) FROM visits v WHERE v.profile_id = p.id) <= %(today)s - 30
               AND (SELECT bool_and(granted) FROM told t WHERE t.profile_id = p.id)
            """,
            {"dairy": DAIRY, "today": today},
        )
        return cursor.fetchone()[0]


# --- Waiting for workers ---------------------------------------------------------------------------------------------


class JobFailed(RuntimeError):
    """A job that the demonstration waited for did not succeed; the message is the job's."""


def wait_for(job: Job) -> None:
    """Return when a worker has finished the job. Raises `JobFailed`."""

    def settled() -> bool:
        job.refresh_from_db()
        return job.state in (Job.State.DONE, Job.State.FAILED)

    poll(settled)
    if job.state == Job.State.FAILED:
        raise JobFailed(f"{job.title}: {job.error}")


def poll(
    settled: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None, seconds: float = 600
) -> None:
    """Ask again and again, and give up after `seconds`."""
    end = monotonic() + seconds
    while not settled():
        if monotonic() > end:
            raise JobFailed("no worker finished the work in time")
        meanwhile()
        sleep(0.2)
    meanwhile()
