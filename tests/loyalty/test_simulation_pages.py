"""The pages of the simulator and of the editor: what they show, refuse and keep, and what a store reaches."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.urls import reverse
from django.utils import timezone

from loyalty import drafts, replay, till
from loyalty.models import Replay, Rule, RuleDraft, SavedSimulation, Transaction
from profiles.intake import Shown
from profiles.models import Profile, Purchase
from tenants.network.models import AuditEvent, Job
from tests.loyalty.conftest import ticket

SIMULATOR = "admin:loyalty_savedsimulation_changelist"
KEEP = "admin:loyalty_savedsimulation_add"
CARDS = "admin:loyalty_rule_changelist"
DRAFT, PUBLISH = "admin:loyalty_rule_new_version", "admin:loyalty_rule_publish"
POINTS = {"terms_points": 2, "terms_per_cents": 100, "terms_rounding": "ticket", "terms_expiry_months": 12}


@pytest.fixture
def people(lille_till, lyon_till, programme) -> dict[str, Profile]:
    """One customer of Lille, one of Lyon, one ticket each of yesterday."""
    at = timezone.now() - timedelta(days=1)
    for machine, card in ((lille_till[0], "2990000000017"), (lyon_till[0], "2990000000024")):
        till.record_purchase(
            machine, ticket(f"R-{machine.store.code}", 4000, 2050, shown=Shown("card", card), at=at)
        )
    return {
        bought.store.code: bought.profile for bought in Purchase.objects.select_related("store", "profile")
    }


def asked(store, *lines, **more) -> dict:
    """The question of these (article, category, quantity, price)."""
    told = {"store": store.pk, "day": "2026-11-02", "time": "11:00:00"}
    for place, name in enumerate(("sku", "category", "quantity", "price")):
        told[name] = [line[place] for line in lines]
    return told | more


def open_simulator(client, **question):
    return client.get(reverse(SIMULATOR), question)


def test_a_basket_is_answered_line_by_line_and_nothing_is_written(client_of, alice, lille, programme):
    page = open_simulator(
        client_of(alice),
        **asked(lille, ("A", "DAIRY", "2", "10.00"), ("B", "", "", "19,95"), ("", "", "1", "")),
    )
    outcome = page.context["shown"].outcome
    # 20.00 twice, 19.95 once: 59.95.
    assert (outcome.earned.points, list(outcome.lines)) == (59, [39, 20])
    assert "59.95 points exactly" in page.text
    assert "only from €100.00 on; the basket comes to €39.95" in page.text
    assert not Transaction.objects.exists()
    assert not SavedSimulation.objects.exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("A", "", "0", "1"), "a quantity is more than zero"),
        (("A", "", "1", ""), "What does one cost?"),
        (("A", "", "1", "a lot"), "Enter a number."),
        (("A", "", "1", "1e400"), "Ensure that"),
        (("A" * 41, "", "1", "1"), "at most 40 characters"),
    ],
)
def test_a_wrong_line_is_named_where_it_stands(client_of, alice, lille, programme, line, said):
    page = open_simulator(client_of(alice), **asked(lille, line))
    assert page.status_code == 200
    assert said in page.text
    assert page.context["shown"] is None


def test_what_no_till_sells_is_refused_with_a_reason(client_of, alice, lille, programme):
    browser = client_of(alice)
    page = open_simulator(browser, **asked(lille, ("A", "", "1", "5"), reward="6"))
    assert "the reward pays more than the basket costs" in page.text
    for odd in (
        {"store": "999"},
        {"day": "x"},
        {"tier": "nobody"},
        {"customer": "9" * 30},
        {"ticket": "-1"},
        {"against": "7"},
    ):
        assert open_simulator(browser, **(asked(lille, ("A", "", "1", "5")) | odd)).status_code == 200
    assert open_simulator(browser, q="a\x00b").status_code == 302


def test_without_a_programme_the_page_says_so(client_of, alice, lille):
    assert (
        "no loyalty programme yet"
        in open_simulator(client_of(alice), **asked(lille, ("A", "", "1", "5"))).text
    )


def test_a_member_is_found_and_judged_with_their_past(client_of, alice, lille, people):
    marie = people["ACM-001"]
    browser = client_of(alice)
    found = open_simulator(browser, q="2990000000017", **asked(lille, ("A", "", "1", "5")))
    assert found.status_code == 302
    assert f"customer={marie.pk}" in found.url
    page = browser.get(found.url)
    assert page.context["profile"] == marie
    assert page.context["shown"].outcome.earned.points == 5
    nobody = open_simulator(browser, q="nobody at all", **asked(lille))
    assert "Nobody is found" in nobody.text


def test_the_last_ticket_is_loaded_as_it_was_sold(client_of, alice, lille, people):
    browser = client_of(alice)
    loaded = open_simulator(browser, customer=people["ACM-001"].pk, load="last")
    page = browser.get(loaded.url)
    outcome = page.context["shown"].outcome
    assert (outcome.earned.points, [item.amount_cents for item in outcome.basket.items]) == (60, [4000, 2050])
    assert "From the ticket R-ACM-001" in page.text
    by_number = open_simulator(browser, load="receipt", receipt="R-ACM-002")
    assert f"customer={people['ACM-002'].pk}" in by_number.url
    assert "No such ticket is found" in open_simulator(browser, load="receipt", receipt="R-9").text


def test_a_manager_reaches_own_members_and_no_other(client_of, bruno, lille, lyon, people):
    browser = client_of(bruno)
    own, other = people["ACM-001"], people["ACM-002"]
    page = open_simulator(browser, customer=own.pk, **asked(lille, ("A", "", "1", "5")))
    assert page.context["profile"] == own
    page = open_simulator(browser, customer=other.pk, **asked(lille, ("A", "", "1", "5")))
    assert page.context["profile"] is None
    assert page.context["shown"].outcome.qualifying_before == 0
    assert "Nobody is found" in open_simulator(browser, q="2990000000024", **asked(lille)).text
    assert "No such ticket" in open_simulator(browser, load="receipt", receipt="R-ACM-002").text
    sold = Purchase.objects.get(receipt_id="R-ACM-002")
    assert (
        "R-ACM-002" not in open_simulator(browser, ticket=sold.pk, **asked(lille, ("A", "", "1", "5"))).text
    )
    assert open_simulator(browser, **asked(lyon, ("A", "", "1", "5"))).context["shown"] is None
    assert "Lyon" not in open_simulator(browser).text


def test_a_manager_tries_no_drafts(client_of, bruno, alice, lille, programme):
    base = Rule.objects.get(code="base")
    draft = drafts.save(base, {}, {"points": 9, "per_cents": 100}, by=alice)
    page = open_simulator(client_of(bruno), **asked(lille, ("A", "", "1", "5"), against=draft.pk))
    assert page.context["shown"].outcome.earned.points == 5
    assert "the draft of" not in page.text


def test_a_draft_is_compared_with_the_rules_of_now(client_of, alice, lille, programme):
    base = Rule.objects.get(code="base")
    draft = drafts.save(base, {}, {"points": 3, "per_cents": 100}, by=alice)
    page = open_simulator(client_of(alice), **asked(lille, ("A", "", "1", "5"), against=draft.pk))
    assert (page.context["shown"].outcome.earned.points, page.context["difference"]) == (15, 10)
    assert "+10 to the 5 of today" in page.text


def test_a_simulation_is_kept_changed_and_deleted(client_of, alice, lille, programme):
    browser, question = client_of(alice), asked(lille, ("A", "DAIRY", "2", "10"), tier="gold")
    address = f"{reverse(KEEP)}?{urlencode(question, doseq=True)}"
    assert browser.get(address).context["form"].initial == {"expected_points": 40}
    browser.post(address, {"name": "Dairy", "expected_points": 40})
    saved = SavedSimulation.objects.get()
    assert (saved.name, saved.tier.code, saved.weekday, saved.expected_points) == ("Dairy", "gold", 0, 40)
    assert saved.lines[0] | {"label": ""} == {
        "sku": "A", "category": "DAIRY", "quantity": "2", "amount_cents": 2000, "label": "",
    }  # fmt: skip
    assert (
        "There is a simulation of this name"
        in browser.post(address, {"name": "Dairy", "expected_points": 1}).text
    )
    page = reverse("admin:loyalty_savedsimulation_change", args=[saved.pk])
    assert "as expected" in open_simulator(browser).text
    browser.post(page, {"name": "Dairy", "expected_points": 41})
    assert "comes to 40 points, not to 41" in browser.get(page).text
    told = AuditEvent.objects.filter(object_type="savedsimulation").order_by("pk")
    assert [(line.verb, line.detail) for line in told] == [
        ("added", {"points": 40}), ("changed", {"expected_points": [40, 41]}),
    ]  # fmt: skip
    browser.post(reverse("admin:loyalty_savedsimulation_delete", args=[saved.pk]), {"post": "yes"})
    assert not SavedSimulation.objects.exists()
    assert AuditEvent.objects.filter(object_type="savedsimulation", verb="delete").exists()
    assert "A simulation begins with a basket" in browser.get(reverse(KEEP)).text


# --- The editor -----------------------------------------------------------------------------------------------------


def test_rules_are_cards_with_live_scheduled_and_draft(client_of, alice, lille, programme):
    base = Rule.objects.get(code="base")
    start = timezone.now() + timedelta(days=3)
    draft = drafts.save(
        base, {"stores": ["ACM-001"]}, {"points": 2, "per_cents": 100}, by=alice, effective_from=start
    )
    drafts.publish(base, by=alice, confirmed=drafts.fingerprint(draft))
    drafts.save(Rule.objects.get(code="dairy"), {}, {"factor": "3"}, by=alice)
    page = client_of(alice).get(reverse(CARDS))
    cards = {told.rule.code: told for told in page.context["cards"]}
    assert list(cards) == ["base", "dairy", "basket"]
    assert (cards["base"].live.number, cards["base"].card.then) == (1, "1 point for each €1.00")
    ((version, changed),) = cards["base"].scheduled
    assert (version.number, [str(change) for change in changed]) == (
        2,
        ["Points for each €1.00: 1 → 2", "Expire after … months: 12 → never", "Stores: all → Lille Centre"],
    )
    assert [str(change) for change in cards["dairy"].draft_changes] == [
        "Factor: 2 → 3",
        "Categories: DAIRY → all",
    ]
    assert cards["basket"].card.when == ["Ticket of at least: €100.00"]
    assert [
        told.rule.code for told in client_of(alice).get(reverse(CARDS), {"kind": "bonus"}).context["cards"]
    ] == ["basket"]


def test_a_draft_is_kept_looked_at_and_published(client_of, alice, programme):
    base, browser = Rule.objects.get(code="base"), client_of(alice)
    answer = browser.post(reverse(DRAFT, args=[base.pk]), POINTS | {"reason": "spring"})
    assert answer.url == reverse(PUBLISH, args=[base.pk])
    assert base.versions.count() == 1
    assert browser.get(reverse(DRAFT, args=[base.pk])).context["form"].initial["terms_points"] == 2
    page = browser.get(answer.url)
    assert [str(change) for change in page.context["changes"]] == ["Points for each €1.00: 1 → 2"]
    browser.post(answer.url, {"confirmed": page.context["form"]["confirmed"].value()})
    assert base.versions.order_by("-number").first().terms["points"] == 2
    assert "There is no draft of this rule." in browser.get(answer.url, follow=True).text


def test_what_a_simulation_stops_needs_a_reason(client_of, alice, lille, programme):
    base, browser = Rule.objects.get(code="base"), client_of(alice)
    browser.post(
        f"{reverse(KEEP)}?store={lille.pk}&day=2026-11-02&time=11:00&sku=A&price=50",
        {"name": "Fifty", "expected_points": 50},
    )
    page = browser.post(reverse(DRAFT, args=[base.pk]), POINTS, follow=True)
    form = {"confirmed": page.context["form"]["confirmed"].value()}
    assert "1 of 1 differs" in page.text
    page = browser.post(reverse(PUBLISH, args=[base.pk]), form)
    assert "1 saved simulation comes to other points than it must" in page.text
    assert base.versions.count() == 1
    browser.post(reverse(PUBLISH, args=[base.pk]), form | {"override": "May", "expect_new": "on"})
    assert base.versions.count() == 2
    assert SavedSimulation.objects.get().expected_points == 100
    audited = client_of(alice)  # the trail is the administrator's
    assert audited.get(reverse("admin:network_auditevent_changelist")).status_code == 403
    assert AuditEvent.objects.get(verb="published against simulations").reason == "May"


def test_a_draft_is_thrown_away_by_a_post(client_of, alice, programme):
    base, browser = Rule.objects.get(code="base"), client_of(alice)
    drafts.save(base, {}, {"points": 9, "per_cents": 100}, by=alice)
    assert browser.get(reverse("admin:loyalty_rule_discard", args=[base.pk])).status_code == 403
    browser.post(reverse("admin:loyalty_rule_discard", args=[base.pk]))
    assert not RuleDraft.objects.exists()


# --- Replays --------------------------------------------------------------------------------------------------------


def test_a_replay_is_asked_for_shown_and_downloaded(client_of, alice, bruno, people):
    base, browser = Rule.objects.get(code="base"), client_of(alice)
    add = reverse("admin:loyalty_replay_add")
    assert "There is no draft to try out" in browser.get(add).text
    draft = drafts.save(base, {}, base.versions.get().terms | {"points": 2}, by=alice)
    assert "This field is required" in browser.post(add, {"days": 30}).text
    answer = browser.post(add, {"drafts": [draft.pk], "days": 30})
    made = Replay.objects.get()
    page = browser.get(answer.url)
    assert (page.context["tally"].before, page.context["tally"].after) == (120, 242)
    assert page.context["costs"] == [600, 1210]
    assert "Points for each €1.00" in page.text
    csv = browser.get(reverse("admin:loyalty_replay_csv", args=[made.pk]))
    assert csv["Content-Type"].startswith("text/csv")
    assert len(csv.content.decode("utf-8-sig").splitlines()) == 4
    # The page of publishing knows it, until the draft says something else.
    assert len(browser.get(reverse(PUBLISH, args=[base.pk])).context["replays"]) == 1
    drafts.save(base, {}, base.versions.get().terms | {"points": 3}, by=alice)
    assert browser.get(reverse(PUBLISH, args=[base.pk])).context["replays"] == []
    for address in (answer.url, reverse("admin:loyalty_replay_csv", args=[made.pk])):
        assert client_of(bruno).get(address).status_code == 403


def test_a_replay_is_called_off_from_its_page(client_of, alice, people):
    draft = drafts.save(Rule.objects.get(code="base"), {}, {"points": 2, "per_cents": 100}, by=alice)
    made = replay.ask([draft], by=alice)
    page = reverse("admin:loyalty_replay_change", args=[made.pk])
    assert "job.js" in client_of(alice).get(page).text
    client_of(alice).post(reverse("admin:loyalty_replay_call_off", args=[made.pk]))
    assert "job.js" not in client_of(alice).get(page).text
    replay.carry_out(made.pk)
    assert Job.objects.get(pk=made.job_id).state == Job.State.CANCELLED
