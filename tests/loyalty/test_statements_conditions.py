"""Statements about what rules ask beside stores, tiers and hours: days, payment, channel, segments; one test each."""

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from campaigns.models import Segment, SegmentVersion
from campaigns.segments import saving
from loyalty import actions, claims, drafts, proof, replay, rulebook, segments, simulation, tasks, till
from loyalty.models import Action, Rule, RuleDraft, SegmentMember, SegmentRead, Transaction
from loyalty.rules import InvalidRule, concerns, points_to_take_back, validate
from loyalty.till import selling
from profiles.intake import Shown, Ticket, TicketLine
from profiles.models import Connection, Identifier, Profile, Purchase, Source
from tenants.brand_sql import CloserLook
from tenants.network.models import Till
from tenants.scoping import scoped_to
from tests.loyalty.conftest import AT, CARD, LONG_AGO, back, ticket
from tests.loyalty.test_rules import BASE, earned, times
from tests.loyalty.test_rules import ticket as told

SMITH = Shown("card", "2990000005678")
ADVENT = {"dates": [["2025-12-01", "2025-12-24"]]}
EVERYBODY = {"all": []}
NOBODY = {"all": [{"field": "purchases", "op": ">=", "value": 1000}]}
BOUGHT = {"all": [{"field": "purchases", "op": ">=", "value": 1}]}


def rule(conditions, terms=None, kind="multiplier", code="extra", priority=40) -> Rule:
    made = Rule.objects.create(code=code, name=code.capitalize(), kind=kind, priority=priority)
    rulebook.publish(made, conditions, terms or {"factor": "2"}, effective_from=LONG_AGO)
    return made


def paid(receipt_id, cents, payment, at=AT) -> Ticket:
    return Ticket(receipt_id, at, [TicketLine("A", cents)], CARD, payment=payment)


def points(machine, sold: Ticket) -> int:
    return till.record_purchase(machine, sold).body["points"]


@pytest.fixture
def segment(alice) -> Segment:
    """Who bought at least once."""
    made = Segment(name="Regulars", store=None)
    saving.save(made, BOUGHT, alice)
    return made


@pytest.fixture
def marie(programme_p, lille_till) -> Profile:
    """A member of Programme P who bought a week ago."""
    programme_p()
    till.record_purchase(lille_till[0], ticket("R0", 1000, at=AT - timedelta(days=7)))
    return Profile.objects.get()


# --- Days -----------------------------------------------------------------------------------------------------------


def test_a_period_is_of_the_stores_own_days(lille_till, lyon_till, programme_p):
    """From the first to the last day, both included, on the calendar of the store, Réunion's or Paris's."""
    programme_p()
    rule(ADVENT)
    paris, reunion = lille_till[0], lyon_till[0]
    reunion.store.time_zone = "Indian/Reunion"
    reunion.store.save()
    # UTC: Paris is an hour ahead, Réunion four.
    clock = {
        "2025-11-30T19:59:59": (10, 10), "2025-11-30T20:00:00": (10, 20), "2025-11-30T23:00:00": (20, 20),
        "2025-12-24T19:59:59": (20, 20), "2025-12-24T20:00:00": (20, 10), "2025-12-24T22:59:59": (20, 10),
        "2025-12-24T23:00:00": (10, 10),
    }  # fmt: skip
    for number, (text, expected) in enumerate(clock.items()):
        at = datetime.fromisoformat(f"{text}+00:00")
        found = tuple(points(machine, ticket(f"R{number}", 1000, at=at)) for machine in (paris, reunion))
        assert found == expected, text
    assert proof.prove().differences == []


def test_a_rule_may_hold_in_several_periods():
    """Each period counts, a day alone too; between them the rule is silent."""
    sale = times(3, dates=[["2026-01-07", "2026-02-03"], ["2026-11-02", "2026-11-02"]])
    noon = datetime(2026, 1, 7, 12, tzinfo=UTC)
    for day, factor in [
        ("2026-01-06", 1),
        ("2026-01-07", 3),
        ("2026-02-03", 3),
        ("2026-02-04", 1),
        ("2026-11-02", 3),
    ]:
        at = noon.replace(month=int(day[5:7]), day=int(day[8:]))
        assert earned(told(1000, at=at), BASE, sale) == 10 * factor, day


def test_a_late_ticket_is_judged_by_its_own_day(lille_till, programme_p):
    """A ticket of the last day of a period, sent after it, earns as on that day."""
    programme_p()
    rule({"dates": [["2026-11-02", "2026-11-02"]]})
    till.record_purchase(lille_till[0], ticket("R1", 1000, at=AT + timedelta(days=1)))
    assert points(lille_till[0], ticket("R0", 1000, at=AT)) == 20
    assert points(lille_till[0], ticket("R2", 1000, at=AT + timedelta(days=1))) == 10


# --- Payment --------------------------------------------------------------------------------------------------------


def test_a_payment_counts_by_its_word(lille_till, programme_p):
    """Paid by card a ticket earns double, however the till writes the word; otherwise, or unsaid, it does not."""
    programme_p()
    rule({"payments": ["Card", "Meal voucher"]})
    sold = {"card": 20, "CARD": 20, " card ": 20, "meal voucher": 20, "cash": 10, "": 10, "car": 10}
    for number, (word, expected) in enumerate(sold.items()):
        assert points(lille_till[0], paid(f"R{number}", 1000, word)) == expected, word
    assert till.quote(lille_till[0], paid("Q", 1000, "card"))["points"] == 20
    assert proof.prove().differences == []


def test_a_refund_is_judged_by_the_payment_of_its_ticket(lille_till, programme_p):
    """What comes back of a ticket paid by card takes its double points back, in any order all of them."""
    programme_p()
    rule({"payments": ["card"]})
    sold = Ticket("R1", AT, [TicketLine("A", 1000), TicketLine("B", 2000)], CARD, payment="card")
    assert points(lille_till[0], sold) == 60
    first, second = (till.refund(lille_till[0], back(f"B{n}", "R1", n)).body for n in (1, 2))
    assert (first["points_taken_back"], second["points_taken_back"]) == (20, 40)
    assert proof.prove().differences == []


# --- Channel --------------------------------------------------------------------------------------------------------


@pytest.fixture
def web(lille) -> Till:
    made = Till(store=lille, code="WEB", channel=Till.Channel.WEB)
    made.issue_key()
    return made


def test_a_rule_may_hold_on_the_web_or_in_stores(lille_till, web, programme_p):
    """A web shop's tickets are its till's; each channel hears its own bonus, and the refund takes it back."""
    programme_p()
    rule({"channels": ["web"]}, {"points": 5}, "bonus", "web")
    rule({"channels": ["till"]}, {"points": 7}, "bonus", "counter")
    rule({"channels": ["till", "web"]}, {"points": 1}, "bonus", "both")
    assert points(web, ticket("R1", 1000)) == 16
    assert points(lille_till[0], ticket("R2", 1000)) == 18
    assert proof.prove().differences == []
    assert till.refund(web, back("B1", "R1", 1)).body["points_taken_back"] == 16
    assert proof.prove().differences == []


def test_the_till_of_a_shops_connector_sells_on_the_web(lille, lille_till, programme_p):
    """A till that a connector of a shop is given is a web shop's from then on; of a folder's it is not."""
    source = Source.objects.create(code="shop", name="Web shop", kind=Source.Kind.ECOMMERCE)
    machines = [Till(store=lille, code=code) for code in ("A", "B")]
    for machine, kind in zip(machines, ("woocommerce", "sftp"), strict=True):
        machine.issue_key()
        Connection.objects.create(kind=kind, name=kind, source=source, till=machine)
        machine.refresh_from_db()
    assert [machine.channel for machine in machines] == ["web", "till"]


def test_the_channel_of_tickets_stands(lille, lille_till, web, programme_p):
    """With its first ticket a till's channel stands: by it the ticket is judged for ever. Not before."""
    programme_p()
    web.channel = Till.Channel.TILL
    web.save()
    till.record_purchase(lille_till[0], ticket("R1", 1000))
    with pytest.raises(DatabaseError, match="channel_of_tickets_stands"), transaction.atomic():
        Till.objects.filter(pk=lille_till[0].pk).update(channel="web")
    source = Source.objects.create(code="shop", name="Web shop", kind=Source.Kind.ECOMMERCE)
    with pytest.raises(DatabaseError, match="channel_of_tickets_stands"), transaction.atomic():
        Connection.objects.create(kind="shopify", name="Shop", source=source, till=lille_till[0])
    lille_till[0].issue_key()  # whatever else changes


# --- Segments -------------------------------------------------------------------------------------------------------


def test_a_rule_holds_for_members_of_a_segment(marie, lille_till, segment):
    """Who is in the segment when the ticket comes earns double; who is not, or is nobody yet, does not."""
    rule({"segments": [segment.pk]})
    machine = lille_till[0]
    assert points(machine, ticket("R1", 1000)) == 20
    assert points(machine, ticket("S1", 1000, shown=SMITH)) == 10  # a stranger until now
    assert points(machine, ticket("S2", 1000, shown=SMITH)) == 10  # not read yet
    tasks.read_segments()
    assert points(machine, ticket("S3", 1000, shown=SMITH)) == 20
    assert till.quote(machine, ticket("Q", 1000))["points"] == 20
    assert till.quote(machine, ticket("Q", 1000, shown=None))["points"] == 10
    told_of = Transaction.objects.filter(kind="earn").order_by("purchase__receipt_id")
    assert dict(told_of.values_list("purchase__receipt_id", "segments")) == {
        "R0": [], "R1": [segment.pk], "S1": [], "S2": [], "S3": [segment.pk],
    }  # fmt: skip


@pytest.mark.parametrize("way", ["at once", "looked closer"])
def test_a_ticket_stays_judged_by_the_membership_of_its_arrival(
    marie, lille_till, segment, alice, way, monkeypatch
):
    """Who leaves the segment afterwards, or comes into it, changes no points: not by a return, nor in the proof."""
    if way == "looked closer":
        monkeypatch.setattr(selling, "_record_at_once", refuse)
    rule({"segments": [segment.pk]})
    machine = lille_till[0]
    assert points(machine, ticket("R1", 1000, 3000)) == 80
    saving.save(segment, NOBODY, alice)
    assert not SegmentMember.objects.exists()
    assert points(machine, ticket("R2", 1000, 3000)) == 40
    assert till.refund(machine, back("B1", "R1", 1)).body["points_taken_back"] == 20
    saving.save(segment, EVERYBODY, alice)
    assert SegmentMember.objects.count() == 1
    assert till.refund(machine, back("B2", "R2", 1)).body["points_taken_back"] == 10
    assert proof.prove().differences == []
    explained = [till.explain(bought) for bought in Purchase.objects.order_by("receipt_id")]
    assert [told.earned.points for told in explained] == [10, 80, 40]
    # Loaded into the simulator a ticket is what it was; a basket of now is judged by now.
    sold = simulation.basket_of(Purchase.objects.get(receipt_id="R2"))
    assert simulation.simulate(sold).earned.points == 40
    anew = simulation.Basket(sold.store, sold.at + timedelta(days=1), sold.items, profile=sold.profile)
    assert simulation.simulate(anew).earned.points == 80


def refuse(*_args):
    raise CloserLook("people")


def test_a_late_ticket_is_judged_by_the_membership_of_its_arrival(marie, lille_till, segment):
    """Rules, tier and day are the ticket's; whom a segment holds nobody knows of the past: now counts, and is noted."""
    rule({"segments": [segment.pk]})
    late = ticket("R1", 1000, at=AT - timedelta(days=30))
    assert points(lille_till[0], late) == 20
    assert Transaction.objects.get(purchase__receipt_id="R1").segments == [segment.pk]


def test_a_segment_may_earn_nothing(marie, lille_till, segment, alice):
    """A base rule of no points for a segment leaves its members with none; that they were in it is noted."""
    rule({"segments": [segment.pk]}, {"points": 0, "per_cents": 100}, "base", "staff", 1)
    assert points(lille_till[0], ticket("R1", 1000)) == 0
    noted = Transaction.objects.get(purchase__receipt_id="R1")
    assert (noted.segments, noted.qualifying_points, noted.postings.count()) == ([segment.pk], 0, 0)
    saving.save(segment, NOBODY, alice)
    assert proof.prove().differences == []


def test_the_members_of_a_batch_are_told_apart(
    marie, lille_till, segment, alice, django_assert_max_num_queries
):
    """Tickets sent together are judged each by its own member; a ticket of nobody is nobody's."""
    till.record_purchase(lille_till[0], ticket("S0", 1000, shown=SMITH, at=AT - timedelta(days=6)))
    rule({"segments": [segment.pk]})
    SegmentMember.objects.filter(profile=marie).delete()
    sent = [ticket("R1", 1000), ticket("R2", 1000, shown=SMITH), ticket("R3", 1000, shown=None)]
    answers = till.record_purchases(lille_till[0], sent)
    assert [answer.body["points"] for answer in answers] == [10, 20, 0]


def test_a_brand_without_such_rules_asks_nothing_more(marie, lille_till, segment):
    """Memberships cost one query where a rule asks for them, and none elsewhere."""
    till.record_purchases(lille_till[0], [ticket("R9", 100)])
    with CaptureQueriesContext(connection) as without:
        till.record_purchases(lille_till[0], [ticket("R1", 1000)])
    rule({"segments": [segment.pk]})
    till.record_purchases(lille_till[0], [ticket("R8", 100)])
    with CaptureQueriesContext(connection) as asked:
        till.record_purchases(lille_till[0], [ticket("R2", 1000)])
    assert not any("segment" in query["sql"].lower() for query in without)
    assert len(asked) == len(without) + 1


def test_a_claimed_ticket_is_judged_by_the_membership_of_its_claim(marie, lille_till, segment):
    """Nobody's ticket becomes a member's when it is claimed: then the segments are asked."""
    rule({"segments": [segment.pk]})
    at = timezone.now() - timedelta(days=1)
    till.record_purchase(lille_till[0], ticket("R1", 1000, shown=None, at=at))
    answer = claims.at_till(lille_till[0], "C1", CARD, claims.Told("R1", 1000, lille_till[0].store.code))
    assert answer.body["points"] == 20
    assert proof.prove().differences == []


def test_an_action_may_ask_for_segments_and_days(marie, lille_till, segment, alice):
    """An action earns by the membership and the day it has; the action keeps what was found."""
    when = {"segments": [segment.pk], "dates": [["2026-11-02", "2026-11-02"]]}
    rule(when, {"action": "review", "points": 30}, "action", "review")
    deeds = [actions.Deed("review", f"k{n}", CARD, AT + timedelta(days=n)) for n in (0, 1)]
    answers = [actions.record(lille_till[0], deed) for deed in deeds]
    assert [answer.body["points"] for answer in answers] == [30, 0]
    saving.save(segment, NOBODY, alice)
    third = actions.record(lille_till[0], actions.Deed("review", "k3", CARD, AT))
    assert third.body["points"] == 0
    assert dict(Action.objects.values_list("key", "segments")) == {
        "k0": [segment.pk], "k1": [segment.pk], "k3": [],
    }  # fmt: skip
    assert proof.prove().differences == []
    for word, value in {"payments": ["card"], "channels": ["web"]}.items():
        with pytest.raises(InvalidRule, match=f"conditions.{word}"):
            validate("action", {word: value}, {"action": "review", "points": 1})


def test_a_replay_judges_by_payment_channel_days_and_the_segments_of_now(
    marie, lille_till, segment, alice, web
):
    """Tickets sold before there was such a rule are judged by a draft of it, each as it was sold."""
    at = timezone.now() - timedelta(days=2)
    day = at.astimezone(lille_till[0].store.zone).date().isoformat()
    points(lille_till[0], paid("R1", 1000, "card", at))
    points(lille_till[0], paid("R2", 2000, "cash", at))
    points(web, paid("R3", 4000, "card", at))
    points(web, paid("R4", 8000, "card", at - timedelta(days=1)))
    made = Rule.objects.create(code="extra", name="Extra", kind="multiplier", priority=40)

    def gained(**conditions) -> int:
        draft = drafts.save(made, conditions, {"factor": "2"}, by=alice)
        asked = replay.ask([draft], by=alice)
        replay.carry_out(asked.pk)
        asked.refresh_from_db()
        return replay.Result(asked).difference

    assert gained(payments=["card"]) == 130
    assert gained(channels=["web"]) == 120
    assert gained(dates=[[day, day]]) == 70
    assert gained(segments=[segment.pk]) == 150
    assert gained(segments=[segment.pk], channels=["web"], payments=["card"], dates=[[day, day]]) == 40
    saving.save(segment, NOBODY, alice)
    assert gained(segments=[segment.pk]) == 0


# --- Segments that change, end, or cannot be read -------------------------------------------------------------------


def test_membership_follows_the_segment(marie, lille_till, segment, alice):
    """Who comes in and who leaves is read when the segment is saved, and every few minutes; the date of entry stays."""
    rule({"segments": [segment.pk]})
    since = SegmentMember.objects.get().since
    till.record_purchase(lille_till[0], ticket("S1", 1000, shown=SMITH))
    assert tasks.read_segments() == 1
    found = dict(SegmentMember.objects.values_list("profile", "since"))
    assert len(found) == 2
    assert found[marie.pk] == since
    saving.save(segment, NOBODY, alice)
    assert not SegmentMember.objects.exists()


def test_the_database_notes_a_membership_once(marie, segment):
    """However many read the segment at the same time: `ENTER` relies on it."""
    rule({"segments": [segment.pk]})
    noted = SegmentMember.objects.get()
    with pytest.raises(DatabaseError, match="in_a_segment_once"), transaction.atomic():
        SegmentMember.objects.create(segment=noted.segment, profile=marie, since=noted.since)
    segments._enter(segment.pk, Profile.objects.all(), timezone.now())
    assert list(SegmentMember.objects.values_list("profile", "since")) == [(marie.pk, noted.since)]


def test_a_segment_that_nobody_can_be_in_is_read(marie, segment, monkeypatch):
    """Conditions that make no query at all empty the segment, as any others that nobody meets."""
    rule({"segments": [segment.pk]})
    monkeypatch.setattr(segments._directory, "members", lambda _pk: Profile.objects.none())
    assert segments.read() == 1
    assert not SegmentMember.objects.exists()


def test_a_segment_that_cannot_be_read_keeps_its_members_and_says_so(
    marie, lille_till, segment, client_of, alice
):
    """A segment broken since stops no sale: the members as last read count, and the rule's card says why."""
    rule({"segments": [segment.pk]})
    SegmentVersion.objects.create(
        segment=segment, number=2, definition={"all": [{"field": "moon", "op": "=", "value": 1}]}
    )
    assert tasks.read_segments() == 0
    read = SegmentRead.objects.get()
    assert "moon" in read.error
    assert read.read_at < read.failed_at
    assert points(lille_till[0], ticket("R1", 1000)) == 20
    page = client_of(alice).get(reverse("admin:loyalty_rule_changelist")).content.decode()
    assert "could not be read" in page
    saving.save(segment, BOUGHT, alice)
    SegmentVersion.objects.filter(number=2).delete()
    assert tasks.read_segments() == 1
    assert SegmentRead.objects.get().error == ""


def test_a_segment_that_a_rule_asks_about_is_not_deleted(marie, segment, alice):
    """Deleting it is refused and names the rules, whatever asks: a version, a past one, a draft; the database too."""
    made = rule({"segments": [segment.pk]})
    rulebook.publish(made, {}, {"factor": "2"})
    with pytest.raises(saving.SegmentInUse, match="the rule Extra"):
        saving.remove(segment, alice)
    with pytest.raises(DatabaseError, match="segment_of_a_rule_stays"), transaction.atomic():
        Segment.objects.filter(pk=segment.pk).delete()
    other = Segment(name="Other")
    saving.save(other, EVERYBODY, alice)
    drafts.save(made, {"segments": [other.pk]}, {"factor": "2"}, by=alice)
    with pytest.raises(saving.SegmentInUse, match="the rule Extra"):
        saving.remove(other, alice)
    with pytest.raises(DatabaseError, match="segment_of_a_rule_stays"), transaction.atomic():
        other.delete()
    drafts.discard(made, by=alice)
    saving.remove(other, alice)


def test_only_a_segment_that_can_be_read_gets_into_a_rule(marie, lille, segment, alice):
    """Unknown, of a store, without conditions or broken: the draft and the version are refused, naming the field."""
    of_store = Segment(name="Ours", store=lille)
    saving.save(of_store, EVERYBODY, alice)
    empty = Segment.objects.create(name="Empty")
    made = Rule.objects.create(code="extra", name="Extra", kind="multiplier")
    for pk, said in [
        (99_999_999, "no national segment"), (of_store.pk, "no national segment"), (empty.pk, "no conditions yet"),
    ]:  # fmt: skip
        for deed in (
            lambda pk=pk: rulebook.publish(made, {"segments": [pk]}, {"factor": "2"}),
            lambda pk=pk: drafts.save(made, {"segments": [pk]}, {"factor": "2"}, by=alice),
        ):
            with pytest.raises(InvalidRule, match=said) as refused:
                deed()
            assert refused.value.path == "conditions.segments"
    assert not RuleDraft.objects.exists()


def test_who_is_gone_is_in_no_segment(marie, lille_till, segment):
    """A merged person leaves with the next reading; the membership goes with the profile."""
    rule({"segments": [segment.pk]})
    till.record_purchase(lille_till[0], ticket("S1", 1000, shown=SMITH))
    smith = Profile.objects.exclude(pk=marie.pk).get()
    tasks.read_segments()
    Profile.objects.filter(pk=smith.pk).update(merged_into=marie)
    tasks.read_segments()
    assert list(SegmentMember.objects.values_list("profile", flat=True)) == [marie.pk]


def test_no_store_reads_who_is_in_a_segment(marie, segment, bruno):
    """Conditions may speak of the whole network: memberships are no store's, though its tickets are judged by them."""
    rule({"segments": [segment.pk]})
    with scoped_to(bruno.scope):
        assert not SegmentMember.objects.exists()
        assert segments.of([marie.pk], [segment.pk])[marie.pk] == {segment.pk}
        assert segments.names() == {}


def test_a_card_that_two_share_is_the_firsts(marie, lille_till, segment):
    """Memberships are those of whom the ticket goes to: the one who had the card first."""
    rule({"segments": [segment.pk]})
    till.record_purchase(lille_till[0], ticket("S1", 1000, shown=SMITH))
    smith = Profile.objects.exclude(pk=marie.pk).get()
    shared = Identifier.objects.get(profile=marie, kind="card")
    later = shared.first_seen + timedelta(days=1)
    Identifier.objects.create(
        profile=smith,
        record=Identifier.objects.get(profile=smith).record,
        kind="card",
        key=shared.key,
        first_seen=later,
        last_seen=later,
    )
    key = ("card", shared.key)
    assert segments.of_who_shows([key, ("", "")], [segment.pk]) == {key: {segment.pk}, ("", ""): frozenset()}
    SegmentMember.objects.update(profile=smith)
    assert segments.of_who_shows([key], [segment.pk]) == {key: frozenset()}


# --- Words that cannot be -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("dates", []), ("dates", [["2026-12-24", "2026-12-01"]]), ("dates", ["2026-12-24"]), ("dates", [["2026"]]),
        ("dates", [["20261201", "20261224"]]), ("dates", [["2026-02-30", "2026-03-01"]]), ("dates", [[None, None]]),
        ("dates", "2026"), ("dates", [["2026-12-01", "2026-12-24"]] * 51),
        ("payments", []), ("payments", [" "]), ("payments", [7]), ("payments", ["x" * 21]), ("payments", "card"),
        ("channels", []), ("channels", ["shop"]), ("channels", [["web"]]), ("channels", "web"),
        ("segments", []), ("segments", ["7"]), ("segments", [True]), ("segments", [0]), ("segments", 7),
        ("segments", list(range(1, 22))),
    ],
)  # fmt: skip
def test_a_word_that_cannot_be_is_refused_by_its_name(word, value):
    """Of the wrong shape, empty or too much: the rule is refused, naming the condition."""
    with pytest.raises(InvalidRule) as refused:
        validate("bonus", {word: value}, {"points": 1})
    assert refused.value.path == f"conditions.{word}"


@pytest.mark.parametrize(
    "when",
    [ADVENT, {"payments": ["card"]}, {"channels": ["web"]}, {"segments": [7]}],
    ids=lambda when: next(iter(when)),
)
def test_a_rule_that_is_silent_concerns_no_ticket(when):
    """Where a rule cannot change anything a replay judges once; and a return takes nothing for it."""
    silent = times(2, **when)
    assert not concerns(told(1000), silent)
    assert points_to_take_back(told(1000, 2000), [1000, 0], [BASE, silent], 0) == 10


# --- The editor -----------------------------------------------------------------------------------------------------


def asked(made: Rule, **words) -> dict:
    return {
        "terms_factor": "2",
        "terms_stacking": "best",
        **{f"conditions_{word}": value for word, value in words.items()},
    }


@pytest.fixture
def extra(marie) -> Rule:
    return rule({})


def test_the_editor_asks_for_each_and_the_card_says_it(extra, client_of, alice, lille_till, segment):
    """A form field a condition, filled in again from the draft; the card and the difference say it in words."""
    till.record_purchase(lille_till[0], paid("R7", 1000, "amex"))
    client = client_of(alice)
    address = reverse("admin:loyalty_rule_new_version", args=[extra.pk])
    page = client.get(address).content.decode()
    assert "The last tickets say: amex." in page
    assert "Regulars" in page
    told = asked(
        extra, channels=["web"], payments="Card; meal voucher, ", segments=[segment.pk],
        dates_from=["2026-12-24", "2027-01-05", ""], dates_to=["", "2027-01-31", ""],
    )  # fmt: skip
    assert client.post(address, told).status_code == 302
    assert RuleDraft.objects.get().conditions == {
        "channels": ["web"], "payments": ["Card", "meal voucher"], "segments": [segment.pk],
        "dates": [["2026-12-24", "2026-12-24"], ["2027-01-05", "2027-01-31"]],
    }  # fmt: skip
    again = client.get(address).content.decode()
    assert re.search(r'name="conditions_dates_from" value="2027-01-05"', again)
    assert "Card, meal voucher" in again
    shown = client.get(reverse("admin:loyalty_rule_publish", args=[extra.pk])).content.decode()
    for said in (
        "Sold: on the web", "Segments: «Regulars»", "Periods: 24/12/2026, 05/01/2027 – 31/01/2027",
        "Paid with: Card, meal voucher",
    ):  # fmt: skip
        assert said in shown, said


@pytest.mark.parametrize(
    ("words", "field", "said"),
    [
        (
            {"dates_from": ["2026-12-24"], "dates_to": ["2026-12-01"]},
            "dates",
            "A period ends before it begins.",
        ),
        ({"dates_from": ["Christmas"], "dates_to": [""]}, "dates", "A day is expected"),
        ({"payments": "x" * 21}, "payments", "is longer than the 20 characters of a till"),
        ({"channels": ["fax"]}, "channels", "Select a valid choice"),
        ({"segments": ["99999999"]}, "segments", "Select a valid choice"),
    ],
)
def test_the_editor_says_what_is_wrong_beside_the_field(extra, client_of, alice, words, field, said):
    """Nothing is kept, and the reason stands by the field it is about."""
    form = client_of(alice).post(
        reverse("admin:loyalty_rule_new_version", args=[extra.pk]), asked(extra, **words)
    )
    assert form.status_code == 200
    assert said in str(form.context["form"].errors[f"conditions_{field}"])
    assert not RuleDraft.objects.exists()


def test_the_editor_names_a_segment_that_cannot_be_read(extra, client_of, alice, segment):
    """Broken since it was made: the field of the segments says which, and why; in French to a French reader."""
    SegmentVersion.objects.create(
        segment=segment, number=2, definition={"all": [{"field": "moon", "op": "=", "value": 1}]}
    )
    client, address = client_of(alice), reverse("admin:loyalty_rule_new_version", args=[extra.pk])
    form = client.post(address, asked(extra, segments=[segment.pk])).context["form"]
    assert "«Regulars» cannot be read: unknown field «moon»" in " ".join(form.errors["conditions_segments"])
    assert not RuleDraft.objects.exists()


def test_the_simulator_asks_for_payment_channel_and_segments(extra, client_of, alice, lille, web, segment):
    """A new member is in the segments that are ticked; the answer and the kept simulation hold them."""
    rulebook.publish(
        extra, {"channels": ["web"], "payments": ["card"], "segments": [segment.pk]}, {"factor": "3"},
        effective_from=AT - timedelta(days=1),
    )  # fmt: skip
    client, address = client_of(alice), reverse("admin:loyalty_savedsimulation_changelist")
    question = {
        "store": lille.pk, "day": "2026-11-02", "time": "11:00:00", "sku": "A", "quantity": "1", "price": "10",
    }  # fmt: skip
    web_card = {"channel": "web", "payment": "Card"}
    for more, expected, said in [
        ({}, 10, "only sold on the web; this basket is sold in the store"),
        ({"channel": "web"}, 10, "only for the segment «Regulars»"),
        (web_card, 10, "only for the segment «Regulars»"),
        ({"channel": "web", "segment": segment.pk}, 10, "only paid with card; here it is not said"),
        (web_card | {"segment": segment.pk}, 30, ""),
    ]:
        page = client.get(address, question | more)
        assert page.context["shown"].outcome.earned.points == expected
        assert said in page.content.decode()
    keep = reverse("admin:loyalty_savedsimulation_add")
    kept = {"name": "Web card", "expected_points": 30}
    full = urlencode(question | web_card | {"segment": segment.pk})
    assert client.post(f"{keep}?{full}", kept).status_code == 302
    (check,) = simulation.run_saved(at=AT)
    assert (check.saved.channel, check.saved.payment, check.saved.segments) == ("web", "Card", [segment.pk])
    assert check.passed
    shown = client.get(
        reverse("admin:loyalty_savedsimulation_change", args=[check.saved.pk])
    ).content.decode()
    assert "«Regulars»" in shown


def test_a_store_counts_the_segments_it_may_not_name(extra, client_of, bruno, lille, segment):
    """A rule of a segment that head office keeps to itself: a store reads that there is one, not which."""
    rulebook.publish(
        extra, {"segments": [segment.pk]}, {"factor": "3"}, effective_from=AT - timedelta(days=1)
    )
    question = {
        "store": lille.pk, "day": "2026-11-02", "time": "11:00:00", "sku": "A", "quantity": "1", "price": "10",
    }  # fmt: skip
    page = (
        client_of(bruno).get(reverse("admin:loyalty_savedsimulation_changelist"), question).content.decode()
    )
    assert "only for the segment 1 other segment" in page
    assert "Regulars" not in page


def test_a_web_shop_gets_a_till_of_its_own(client_of, diane, lille_till, programme_p):
    """A till that sold in the store is refused to a web shop's connector, beside the field."""
    programme_p()
    source = Source.objects.create(code="shop", name="Web shop", kind=Source.Kind.ECOMMERCE)
    told_of = {"name": "Shop", "source": source.pk, "secret": "hush", "till": lille_till[0].pk}
    address = reverse("admin:profiles_connection_add") + "?kind=shopify"
    till.record_purchase(lille_till[0], ticket("R1", 1000))
    page = client_of(diane).post(address, told_of)
    assert "has sold tickets in the store" in page.content.decode()
    assert not Connection.objects.exists()
