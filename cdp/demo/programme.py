"""The programme beyond tickets: rewards with their stock, vouchers, coupons, what members do besides buying, gifts of a
tier and of a campaign, and the balances that members brought along from the programme of before.

Everything goes through the verbs that tills, pages and the timetable call.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import cycle, islice
from pathlib import Path
from zoneinfo import ZoneInfo

from django.db import connection
from django.utils import timezone

from campaigns import handouts
from campaigns.models import Campaign
from cdp.demo.main_job import Played, inside, wait_for
from cdp.demo.people import Person
from loyalty import actions, counter, ledger, opening, rulebook
from loyalty import tasks as loyalty_tasks
from loyalty.actions import Deed
from loyalty.models import (
    Coupon,
    Reward,
    RewardStock,
    Rule,
    RuleDraft,
    StackingClass,
    Tier,
    TierGift,
    Voucher,
)
from loyalty.rewards import Refused
from loyalty.till import UnknownMember
from profiles.intake import Problem, Shown
from tenants.network.models import Staff, Store, Till
from tenants.roles import Role

TEN_OFF, BAG, TREE, WORKSHOP, HAMPER, THANKS = "dix-euros", "sac", "arbre", "atelier", "panier", "merci"
REWARDS: tuple[dict, ...] = (
    {"code": TEN_OFF, "name": "10 € de réduction", "kind": "money_off", "points": 200, "worth_cents": 1000},
    {
        "code": BAG, "name": "Sac en coton", "kind": "gift", "points": 150, "worth_cents": 350, "is_counted": True,
        "unused": "returned",
    },
    {
        "code": TREE, "name": "Un arbre planté", "kind": "donation", "points": 100, "worth_cents": 200,
        "earner": 0, "redeemer": 0, "head_office": 100,
    },
    {"code": WORKSHOP, "name": "Atelier cuisine", "kind": "access", "points": 400, "worth_cents": 1500},
    # These two cannot be bought with points: one for a tier, one for a campaign; head office pays.
    {
        "code": HAMPER, "name": "Panier garni", "kind": "gift", "worth_cents": 1500,
        "earner": 0, "redeemer": 0, "head_office": 100,
    },
    {
        "code": THANKS, "name": "5 € offerts", "kind": "money_off", "worth_cents": 500, "lives_days": 45,
        "earner": 0, "redeemer": 0, "head_office": 100,
    },
)  # fmt: skip
BAGS_A_STORE = 12
WORKSHOP_STORES = 2
# What is no purchase and earns all the same: name, and terms.
ACTIONS = {
    "download_app": ("Application téléchargée", {"points": 50, "times": 1, "period": "ever"}),
    "review": ("Avis publié", {"points": 10, "times": 5, "period": "year"}),
    "birthday": ("Anniversaire", {"points": 30, "funding": "head_office"}),
}
# Of each brand's members so many take part, as far as there are so many.
CLAIMS, BASKETS, DEEDS, USED_OF_CAMPAIGN = 30, 20, 30, 12
# Every third card had points in the programme of before; two of its cards nobody knows.
EVERY = 3
STRANGERS = ("2999999999918", "2999999999925")


def open_catalogue(one: Played, today: date) -> None:
    """What the brand offers from its first day: rewards and their stock, coupons, actions, a gift for gold."""
    with inside(one.brand):
        stores = list(Store.objects.order_by("code"))
        rewards = {
            told["code"]: Reward.objects.create(valid_from=today - timedelta(days=400), **told)
            for told in REWARDS
        }
        rewards[WORKSHOP].stores.set(stores[:WORKSHOP_STORES])
        RewardStock.objects.bulk_create(
            RewardStock(reward=rewards[BAG], store=store, left=BAGS_A_STORE) for store in stores
        )
        TierGift.objects.create(tier=Tier.objects.get(code="gold"), reward=rewards[HAMPER])
        _print_coupons(today)
        _value_actions(today)


def _print_coupons(today: date) -> None:
    """Two coupons that combine, one with a limit for each member; and one that combines with none."""
    national = StackingClass.objects.create(code="national", name="Nationale")
    dairy = StackingClass.objects.create(code="cremerie", name="Crèmerie")
    national.combines_with.add(dairy)
    starts_at = timezone.now() - timedelta(days=30)
    Coupon.objects.create(
        code="AUTOMNE10", name="10 % d'automne", kind="percent", amount=10, least_cents=2000, starts_at=starts_at,
        stacking=national,
    )  # fmt: skip
    Coupon.objects.create(
        code="CREMERIE", name="2 € sur la crèmerie", kind="amount", amount=200, most_a_member=1, starts_at=starts_at,
        stacking=dairy,
    )  # fmt: skip
    Coupon.objects.create(
        code="OUVERTURE",
        name="5 € d'ouverture",
        kind="amount",
        amount=500,
        most_in_all=10,
        starts_at=starts_at,
    )


def _value_actions(today: date) -> None:
    start = datetime.combine(today - timedelta(days=400), time(1), ZoneInfo("Europe/Paris"))
    for priority, (code, (name, terms)) in enumerate(ACTIONS.items(), start=60):
        # The starting programme lays them out as drafts.
        rule, _is_new = Rule.objects.update_or_create(
            code=code.replace("_", "-"),
            defaults={"name": name, "kind": Rule.Kind.ACTION, "priority": priority},
        )
        RuleDraft.objects.filter(rule=rule).delete()
        rulebook.publish(
            rule, {}, {"action": code, "expiry_months": 12} | terms, reason="opening", effective_from=start
        )


# --- The balances of before ------------------------------------------------------------------------------------------


def take_over_balances(one: Played, today: date) -> dict:
    """A file of the old programme's balances: uploaded by one, checked, signed off by another, posted by a worker.

    Returns its figures, and what plain SQL finds in the ledger of it.
    """
    with inside(one.brand):
        path, told = _write_balances(one, today)
        marketer, admin = Staff.objects.get(role=Role.MARKETER), Staff.objects.get(role=Role.BRAND_ADMIN)
        run = opening.upload(path, path.name, told, by=marketer)
        loyalty_tasks.carry_out_opening.delay(run.pk)
        wait_for(run.job)
        opening.sign(run.pk, by=admin)
        loyalty_tasks.carry_out_opening.delay(run.pk)
        wait_for(run.job)
        run.refresh_from_db()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT coalesce(sum(l.points), 0)::bigint FROM loyalty_lot l"
                "  JOIN loyalty_transaction t ON t.id = l.transaction_id WHERE t.key LIKE 'opening:%'"
            )
            in_ledger = cursor.fetchone()[0]
    return {
        "told_points": told, "file_points": run.points, "posted_points": run.posted_points,
        "unknown_points": run.unknown_points, "sql_points": in_ledger, "lines": run.line_count,
        "posted_lines": run.posted_lines, "signed_by_another": run.signed_by_id != run.uploaded_by_id,
    }  # fmt: skip


def _write_balances(one: Played, today: date) -> tuple[Path, int]:
    """The file, as the old programme exports it, and the total of its own report."""
    rows = [
        (who.card, 50 + 10 * (n % 40), today + timedelta(days=180) if n % 2 else None, who.store_code)
        for n, who in enumerate(islice(_with_cards(one), 0, None, EVERY))
    ]
    first = one.data.stores[0].code
    rows += [(card, 70, None, first) for card in STRANGERS]
    path = next(iter(one.data.files.values())).parent / "soldes_ancien_programme.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, delimiter=";")
        lines.writerow(("Carte", "Points", "Expiration", "Magasin"))
        lines.writerows(
            (card, points, day.strftime("%d/%m/%Y") if day else "", store)
            for card, points, day, store in rows
        )
    return path, sum(points for _card, points, _day, _store in rows)


def _with_cards(one: Played) -> Iterator[Person]:
    """Everybody who has a card, once a card."""
    seen = set()
    for person in one.data.people:
        if person.card and person.card not in seen:
            seen.add(person.card)
            yield person


# --- What members do with it -----------------------------------------------------------------------------------------


def enjoy(one: Played) -> dict:
    """Members take rewards and use them, bring coupons, do what earns without a purchase, and have birthdays."""
    figures: Counter = Counter()
    with inside(one.brand):
        tills = _first_tills(one)
        members = list(_with_cards(one))
        _take_rewards(members, tills, figures)
        _bring_coupons(members, tills, figures)
        _do_other_things(members, tills, figures)
        figures["birthdays"] = loyalty_tasks.credit_birthdays()
        figures["tier_gifts"] = Voucher.objects.filter(gift__isnull=False).count()
        left = sum(RewardStock.objects.values_list("left", flat=True))
        out = Voucher.objects.filter(stock__isnull=False).exclude(state__in=["cancelled", "expired"]).count()
        figures["stock_differences"] = BAGS_A_STORE * len(one.data.stores) - left - out
    return dict(figures)


def _first_tills(one: Played) -> dict[str, Till]:
    tills: dict[str, Till] = {}
    for (store, _code), machine in one.tills.items():
        tills.setdefault(store, machine)
    return tills


def _take_rewards(members: list[Person], tills: dict[str, Till], figures: Counter) -> None:
    """Each who has enough points takes one of the rewards in turn; every other voucher is used, in the next store."""
    codes, elsewhere = cycle((TEN_OFF, BAG, TREE, WORKSHOP)), cycle(tills.values())
    for number, person in enumerate(members):
        if figures["rewards_taken"] == CLAIMS:
            break
        machine, shown, code = tills[person.store_code], Shown("card", person.card), next(codes)
        try:
            voucher = counter.claim(machine, shown, code, f"R{number}").body["voucher"]
        except (Refused, Problem, UnknownMember, ledger.NotEnoughPoints):
            figures["rewards_refused"] += 1
            continue
        figures["rewards_taken"] += 1
        if voucher["state"] == "used" or number % 2:
            continue
        other = next(elsewhere) if code == TEN_OFF else machine
        counter.use_voucher(other, voucher["code"], f"U{number}", 4500)
        figures["vouchers_used"] += 1


def _bring_coupons(members: list[Person], tills: dict[str, Till], figures: Counter) -> None:
    told = cycle((["AUTOMNE10", "CREMERIE"], ["AUTOMNE10"], ["OUVERTURE"], ["OUVERTURE", "CREMERIE"]))
    for number, person in enumerate(members[:BASKETS]):
        brought = next(told)
        shown = Shown("card", person.card)
        try:
            counter.use_coupons(tills[person.store_code], brought, 3000, shown, f"K{number}")
            figures["coupons_used"] += len(brought)
        except (Refused, Problem, UnknownMember):
            figures["coupons_refused"] += 1


def _do_other_things(members: list[Person], tills: dict[str, Till], figures: Counter) -> None:
    now = timezone.now()
    for number, person in enumerate(members[:DEEDS]):
        for code in ("download_app", "review") if number % 3 == 0 else ("review",):
            deed = Deed(code, f"{code}-{number}", Shown("card", person.card), now - timedelta(hours=1))
            try:
                figures["actions"] += actions.record(tills[person.store_code], deed).body["points"] > 0
            except (Problem, UnknownMember):
                figures["actions_refused"] += 1


def give_to_audience(one: Played, campaign: Campaign, by: Staff) -> dict:
    """Everybody whom the campaign addresses is given a voucher by a worker; some come and use it.

    `held_back_given` counts in plain SQL what the control group has of it.
    """
    figures: Counter = Counter()
    handout = handouts.ask(campaign, reward=Reward.objects.get(code=THANKS), purpose="merci", by=by)
    wait_for(handout.job)
    tills = {machine.store_id: machine for machine in one.tills.values()}
    given = Voucher.objects.filter(given__handout=handout).order_by("pk")
    homes = dict(campaign.recipients.filter(home_store__isnull=False).values_list("profile", "home_store"))
    for voucher in given.filter(profile__in=homes)[:USED_OF_CAMPAIGN]:
        counter.use_voucher(tills[homes[voucher.profile_id]], voucher.code, f"V{voucher.pk}", 3000)
        figures["used"] += 1
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM loyalty_voucher v JOIN campaigns_recipient r ON r.profile_id = v.profile_id"
            " WHERE r.campaign_id = %(campaign)s AND r.arm = 'control' AND v.key LIKE %(key)s",
            {"campaign": campaign.pk, "key": f"handout:{handout.pk}:%"},
        )
        held_back = cursor.fetchone()[0]
    outcome = handouts.outcome(handout)
    return {
        "given": given.count(), "left_out": sum(n for _why, n in outcome.left_out), "held_back_given": held_back,
        "cost_cents": handout.cost_cents, "used": figures["used"], "used_cents": outcome.used_cents,
    }  # fmt: skip
