"""The promises of the ledger, each broken on purpose; and tills that ask at the same time, each on its own connection.

The races need rows that other connections see. They play in a schema of their own, which is dropped afterwards, so
that nothing is left behind where the other tests play.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from threading import Barrier, Event

import pytest
from django.db import DatabaseError, connection, transaction

from loyalty import ledger, proof, starter, statements, tasks, till
from loyalty.models import Account, Lot, LotUse, Posting, RuleVersion, Tier, TillRequest, Transaction
from loyalty.till import selling
from profiles import merging
from profiles.intake import RefundLineStatement, RefundStatement, Shown
from profiles.models import Merge, Profile, ProfileFacts, Purchase
from tenants import blueprint
from tenants.models import Brand
from tenants.network.models import AuditEvent, Job, Region, Store, Till
from tenants.scoping import whole_network
from tests.loyalty.conftest import CARD, ticket

AT = datetime(2026, 11, 2, 10, tzinfo=UTC)


@contextmanager
def refused(constraint: str):
    """The block breaks this promise, and the database says which."""
    with pytest.raises(DatabaseError) as told, transaction.atomic():
        yield
    assert told.value.__cause__.diag.constraint_name == constraint


def sql(statement: str, *parameters) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


@pytest.fixture
def earned(lille_till, programme) -> Transaction:
    """Marie has 99 points of a ticket, and spent 0."""
    till.record_purchase(lille_till[0], ticket("R1", 5000, 4990))
    return Transaction.objects.get()


@pytest.fixture
def marie(earned) -> ledger.MemberAccounts:
    return ledger.accounts_of([earned.profile_id])[earned.profile_id]


def fact(marie, store_id, spent, *, key="k1", **more) -> ledger.Fact:
    """Takes points from Marie to the store's account of redeemed points."""
    redeemed = ledger.store_accounts(Account.Kind.REDEEMED, [store_id])[store_id]
    told = {"points": {marie.available_id: -spent, redeemed: spent}} | more
    return ledger.Fact(key, Transaction.Kind.REDEEM, marie.profile_id, AT, store_id=store_id, **told)


def moving(marie, store_id, points, key="k1") -> ledger.Fact:
    """A fact with these points by account."""
    return fact(marie, store_id, 0, key=key, points=points)


# --- Balanced ---------------------------------------------------------------------------------------------------


def test_postings_that_do_not_sum_to_zero_are_refused_at_once(marie, earned):
    before = Transaction.objects.count()
    with pytest.raises(ledger.Unbalanced):
        ledger.post([fact(marie, earned.store_id, 0, points={marie.available_id: -1})])
    assert Transaction.objects.count() == before


def test_one_crooked_fact_keeps_all_out(marie, earned):
    sound = fact(marie, earned.store_id, 0, points={}, key="sound")
    with pytest.raises(ledger.Unbalanced):
        ledger.post([sound, fact(marie, earned.store_id, 0, points={marie.available_id: 1}, key="crooked")])
    assert not Transaction.objects.filter(key="sound").exists()


def test_a_posting_slipped_in_is_refused_at_commit(marie, earned):
    with refused("transaction_sums_to_zero"):
        Posting.objects.create(transaction=earned, account_id=marie.available_id, points=5)
        sql("SET CONSTRAINTS ALL IMMEDIATE")
    sql("SET CONSTRAINTS ALL DEFERRED")


def test_a_posting_moves_points(marie, earned):
    with refused("posting_moves_points"):
        Posting.objects.create(transaction=earned, account_id=marie.available_id, points=0)
    with refused("lot_use_moves_points"):
        LotUse.objects.create(transaction=earned, lot=Lot.objects.get(), points=0)


# --- Append-only ------------------------------------------------------------------------------------------------


@pytest.fixture
def spent(lille_till, earned) -> Transaction:
    """A ticket more, and a redemption: every table has rows."""
    till.record_purchase(lille_till[0], ticket("R2", 5000))
    till.redeem(lille_till[0], CARD, 100, "P1", AT)
    return Transaction.objects.get(kind=Transaction.Kind.REDEEM)


@pytest.mark.parametrize("model", [Transaction, Posting, LotUse])
def test_nothing_posted_is_deleted_or_emptied(spent, model):
    with refused("ledger_is_append_only"):
        sql(f"DELETE FROM {model._meta.db_table}")
    sql("SET CONSTRAINTS ALL IMMEDIATE")  # nothing pending that would itself keep a table from being emptied
    with refused("ledger_is_append_only"):
        sql(f"TRUNCATE {model._meta.db_table} CASCADE")
    assert model.objects.exists()


def test_lots_go_neither_alone_nor_with_the_rest(spent):
    with refused("lot_is_never_rewritten"):
        sql("DELETE FROM loyalty_lot")
    with pytest.raises(DatabaseError), transaction.atomic():
        sql("TRUNCATE loyalty_lot CASCADE")
    assert Lot.objects.exists()


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (Transaction, {"key": "other"}),
        (Transaction, {"occurred_at": AT + timedelta(days=1)}),
        (Transaction, {"qualifying_points": 7}),
        (Transaction, {"explanation": []}),
        (Transaction, {"tier": "gold"}),
        (Transaction, {"store": None}),
        (Posting, {"points": 7}),
        (LotUse, {"points": 7}),
    ],
)
def test_nothing_posted_is_changed(spent, model, change):
    with refused("ledger_is_append_only"):
        model.objects.update(**change)


def test_only_a_merge_may_hand_a_transaction_over(spent):
    other = Profile.objects.create()
    assert Transaction.objects.update(profile=other) == 3
    with refused("ledger_is_append_only"):
        Transaction.objects.update(profile=other, actor="me")


@pytest.mark.parametrize(
    "change",
    [
        {"points": 1000},
        {"expires_on": None},
        {"expires_on": date(2099, 1, 1)},
        {"available_on": date(2020, 1, 1)},
    ],
)
def test_a_lot_keeps_its_points_and_days(spent, change):
    with refused("lot_is_never_rewritten"):
        Lot.objects.update(**change)


@pytest.mark.parametrize("remaining", [-1, 100])
def test_what_is_left_of_a_lot_lies_within_its_points(earned, remaining):
    with refused("lot_remaining_within_its_points"):
        Lot.objects.update(remaining=remaining)


def test_a_rule_version_is_ended_once_and_never_rewritten(programme):
    version = RuleVersion.objects.filter(rule__code="base")
    for change in ({"terms": {}}, {"conditions": {"tiers": []}}, {"effective_from": AT}, {"number": 9}):
        with refused("rule_version_is_immutable"):
            version.update(**change)
    with refused("rule_version_is_immutable"):
        sql("DELETE FROM loyalty_ruleversion")
    with refused("rule_version_is_immutable"):
        version.update(effective_to=AT, reason="another")
    assert version.update(effective_to=AT) == 1
    for change in ({"effective_to": None}, {"effective_to": AT + timedelta(days=1)}):
        with refused("rule_version_is_immutable"):
            version.update(**change)


# --- Chained ----------------------------------------------------------------------------------------------------


OF_THE_REDEMPTION = "WHERE transaction_id = (SELECT id FROM loyalty_transaction WHERE kind = 'redeem')"


def checks() -> set[str]:
    return {difference.check for difference in proof.prove().differences}


@pytest.fixture
def unguarded(spent):
    """Somebody with the keys of the database has put its guards aside."""
    sql("SET CONSTRAINTS ALL IMMEDIATE")
    sql("SET LOCAL session_replication_role = replica")
    yield
    sql("SET LOCAL session_replication_role = origin")


@pytest.mark.parametrize(
    ("crime", "seen"),
    [
        # Both sides of a fact and the balance are changed alike: all sums agree, the chain does not.
        pytest.param(
            [
                f"UPDATE loyalty_posting SET points = points + 7 * sign(points) {OF_THE_REDEMPTION}",
                "UPDATE loyalty_account SET balance = balance - 7 WHERE kind = 'available'",
                f"UPDATE loyalty_lotuse SET points = points + 7 {OF_THE_REDEMPTION}",
                "UPDATE loyalty_lot SET remaining = remaining - 7 WHERE remaining > 7",
            ],
            "chain_is_unbroken",
            id="amounts",
        ),
        pytest.param(
            ["DELETE FROM loyalty_posting p USING loyalty_account a WHERE a.id = account_id AND number = entries"],
            "chain_is_whole",
            id="the-newest-left-out",
        ),
        pytest.param(
            ["UPDATE loyalty_transaction SET key = 'redeem:another' WHERE kind = 'redeem'"],
            "chain_is_unbroken",
            id="another-fact",
        ),
        pytest.param(
            ["UPDATE loyalty_account SET head = repeat('0', 64) WHERE kind = 'available'"], "chain_is_whole", id="head"
        ),
        pytest.param(
            ["UPDATE loyalty_lotuse SET points = points + 1"], "lot_is_points_less_uses", id="uses-of-lots"
        ),
        pytest.param(
            ["UPDATE loyalty_membership SET tier_id = (SELECT id FROM loyalty_tier WHERE code = 'gold')"],
            "tier_is_what_was_earned",
            id="tier",
        ),
    ],
)  # fmt: skip
def test_the_proof_sees_what_was_done_behind_the_databases_back(unguarded, crime, seen):
    assert checks() == set()
    for statement in crime:
        sql(statement)
    assert seen in checks()


def test_nothing_is_spent_that_no_lot_gives(unguarded, marie):
    """Lots that hold less than the balance give what they have and no more: the redemption is refused whole."""
    sql("UPDATE loyalty_lot SET remaining = 1 WHERE remaining > 1")
    sql("SET LOCAL session_replication_role = origin")
    before = Transaction.objects.count(), Account.objects.get(pk=marie.available_id).balance
    assert before[1] >= 40
    with pytest.raises(ledger.NotEnoughPoints):
        ledger.redeem(marie.profile_id, 40, store_id=Store.objects.first().pk, key="too much", at=AT)
    assert (Transaction.objects.count(), Account.objects.get(pk=marie.available_id).balance) == before


def test_nobody_chooses_a_link(marie, earned):
    """The database computes it, whatever the statement says."""
    issued = Account.objects.get(kind="issued")
    with transaction.atomic():
        fact_id = ledger.post([fact(marie, earned.store_id, 0, points={}, key="bare")])["bare"]
        sql(
            "INSERT INTO loyalty_posting (transaction_id, account_id, points, number, hash)"
            " VALUES (%s, %s, 5, 77, 'forged'), (%s, %s, -5, 0, '')",
            fact_id, marie.available_id, fact_id, issued.pk,
        )  # fmt: skip
    forged = Posting.objects.get(transaction=fact_id, account=marie.available_id)
    assert (forged.number, len(forged.hash)) == (2, 64)
    assert Account.objects.get(pk=marie.available_id).balance == marie.available + 5, "the balance follows"
    assert checks() == {"balance_is_sum_of_lots"}


def test_one_batch_with_many_entries_of_a_member_is_one_chain(marie, earned):
    lot = Lot.objects.get()
    ledger.post([fact(marie, earned.store_id, 1, key=f"k{n}", uses={lot.pk: 1}) for n in range(5)])
    numbers = (
        Posting.objects.filter(account=marie.available_id).order_by("pk").values_list("number", flat=True)
    )
    assert list(numbers) == [1, 2, 3, 4, 5, 6]
    assert checks() == set()


def test_a_difference_is_an_alarm(earned):
    assert tasks.prove_ledger() == 0
    assert not Job.objects.filter(kind="ledger-proof").exists()
    Account.objects.filter(kind="available").update(balance=60)
    assert tasks.prove_ledger() == 2
    alarm = Job.objects.get(kind="ledger-proof")
    assert alarm.state == Job.State.FAILED
    assert "balance_is_sum_of_postings" in alarm.error
    assert AuditEvent.objects.get(verb="found differences").object_id == str(alarm.pk)


def test_a_last_day_moves_later_and_by_an_extension_only(earned):
    lot = Lot.objects.get()
    later = lot.expires_on + timedelta(days=30)
    with refused("extension_is_later"):
        sql(
            "INSERT INTO loyalty_lotextension (transaction_id, lot_id, was, until) VALUES (%s, %s, %s, %s)",
            earned.pk, lot.pk, lot.expires_on, lot.expires_on,
        )  # fmt: skip
    ledger.extend([lot.pk], later, key="x", at=AT, why={})
    for day in (lot.expires_on, later + timedelta(days=1), None):
        with refused("lot_is_never_rewritten"):
            Lot.objects.update(expires_on=day)
    with refused("ledger_is_append_only"):
        sql("UPDATE loyalty_lotextension SET until = until + 1")
    assert Lot.objects.get().expires_on == later


# --- Never overdrawn --------------------------------------------------------------------------------------------


def test_a_member_is_never_overdrawn(marie, earned):
    with pytest.raises(ledger.NotEnoughPoints):
        ledger.post([fact(marie, earned.store_id, 100)])
    with pytest.raises(ledger.NotEnoughPoints):
        ledger.post([fact(marie, earned.store_id, 0, points={marie.pending_id: -1, marie.available_id: 1})])
    with refused("member_balance_not_negative"):
        Account.objects.filter(pk=marie.available_id).update(balance=-1)
    assert Account.objects.get(pk=marie.available_id).balance == 99


def test_a_debt_is_never_a_credit(marie, earned):
    with refused("member_debt_not_positive"):
        Account.objects.filter(pk=marie.debt_id).update(balance=1)
    with pytest.raises(DatabaseError):
        ledger.post([fact(marie, earned.store_id, 0, points={marie.debt_id: 1, marie.available_id: -1})])


def test_a_lot_is_not_spent_twice(marie, earned):
    lot = Lot.objects.get()
    with pytest.raises(DatabaseError) as told:
        ledger.post([fact(marie, earned.store_id, 1, uses={lot.pk: 100})])
    assert told.value.__cause__.diag.constraint_name == "lot_remaining_within_its_points"


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "available", "balance": None},
        {"kind": "available", "balance": 0, "profile": None},
        {"kind": "issued", "balance": 0},
        {"kind": "issued", "balance": None},
        {"kind": "gift", "balance": 0},
    ],
)
def test_an_account_is_a_members_or_a_stores(brand, fields):
    with refused("account_is_a_members_or_a_stores"):
        Account.objects.create(**{"profile": Profile.objects.create()} | fields)


def test_a_member_and_a_store_have_one_account_of_a_kind(marie, earned):
    with refused("one_account_a_member"):
        Account.objects.create(kind="available", profile_id=marie.profile_id, balance=0)
    with refused("one_account_a_store"):
        Account.objects.create(kind="issued", store_id=earned.store_id)


# --- Once -------------------------------------------------------------------------------------------------------


def test_a_fact_is_posted_once(marie, earned):
    lot = Lot.objects.get()
    ledger.post([fact(marie, earned.store_id, 10, uses={lot.pk: 10})])
    with pytest.raises(ledger.AlreadyPosted):
        ledger.post([fact(marie, earned.store_id, 10, uses={lot.pk: 10})])
    with pytest.raises(ledger.AlreadyPosted):
        ledger.post([fact(marie, earned.store_id, 0, points={}, key="twice")] * 2)
    assert statements.balance_of(Profile.objects.get()).available == 89
    assert proof.prove().differences == []


def test_a_request_is_answered_once(lille_till, earned):
    before = TillRequest.objects.get()
    with refused("request_answered_once"):
        TillRequest.objects.create(
            till=lille_till[0], key=before.key, request_hash="", status=201, response={}
        )


def test_every_refusal_is_a_promise_that_the_database_makes(brand):
    with connection.cursor() as cursor:
        cursor.execute("SELECT conname FROM pg_constraint WHERE connamespace = 'acme'::regnamespace")
        constraints = {name for (name,) in cursor.fetchall()}
        cursor.execute("SELECT tgname FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'loyalty_%'")
        constraints |= {name for (name,) in cursor.fetchall()}
    assert set(ledger.REFUSALS) <= constraints


def test_the_ledgers_functions_stay_in_their_schema(brand):
    """A path baked in from another brand would write points there."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname, proconfig FROM pg_proc"
            " WHERE pronamespace = 'acme'::regnamespace AND proname LIKE 'ledger_%'"
        )
        found = dict(cursor.fetchall())
    assert set(found) >= {
        "ledger_post",
        "ledger_check_sum",
        "ledger_refuse_change",
        "ledger_refuse_change_of_lot",
    }
    assert all("acme" in path for config in found.values() for path in config)


def test_a_ticket_recorded_while_we_looked_is_told_again(lille_till, programme, monkeypatch):
    first = till.record_purchase(lille_till[0], ticket("R1", 5000))
    told_before = selling.told_before
    answers = [{}]  # the answer was not committed yet when it was looked for; the ticket was
    monkeypatch.setattr(
        selling, "told_before", lambda *about: answers.pop() if answers else told_before(*about)
    )
    again = till.record_purchase(lille_till[0], ticket("R1", 5000))
    assert again.replayed
    assert again.body == first.body


# --- At the same time -------------------------------------------------------------------------------------------


class Arena:
    """A brand whose rows are committed, and tills that call it from connections of their own."""

    def __init__(self, brand: Brand):
        self.brand = brand
        self.pool = ThreadPoolExecutor(4)

    def receipt(self, name: str) -> str:
        """Receipts are told apart in a store: each test's till has its own."""
        return f"{name}-{self.till.pk}"

    def start(self, verb: Callable, *args) -> Future:
        return self.pool.submit(self._alone, verb, *args)

    def run(self, verb: Callable, *args):
        return self.start(verb, *args).result(30)

    def at_once(self, *verbs: Callable) -> list:
        """What each returns, or the exception it raises; all begin together."""
        barrier = Barrier(len(verbs))

        def begin(verb):
            barrier.wait(10)
            return verb()

        running = [self.start(begin, verb) for verb in verbs]
        return [future.exception(30) or future.result() for future in running]

    def overtaken(self, first: Callable, second: Callable) -> list:
        """`second` begins when `first` is done but not committed, and ends after it: what both return or raise."""
        done, go_on = Event(), Event()

        def held():
            with transaction.atomic():
                result = first()
                done.set()
                go_on.wait(30)
            return result

        one = self.start(held)
        assert done.wait(30) or one.result()
        other = self.start(second)
        for _turn in range(2000):
            if self.run(self._somebody_waits) or other.done():
                break
        go_on.set()
        return [future.exception(30) or future.result() for future in (one, other)]

    def _somebody_waits(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE NOT granted AND datname = current_database()"
            )
            return cursor.fetchone()[0] > 0

    def _alone(self, verb, *args):
        try:
            connection.set_tenant(self.brand)
            with whole_network():
                return verb(*args)
        finally:
            connection.close()


def _drop_arena() -> None:
    connection.set_schema_to_public()
    sql("DROP SCHEMA IF EXISTS arena CASCADE")
    sql("DELETE FROM tenants_brand WHERE schema_name = 'arena'")


@pytest.fixture(scope="module")
def stage(django_db_setup, django_db_blocker):
    """The arena's schema, with a programme: one point an euro."""
    with django_db_blocker.unblock():
        _drop_arena()
        brand = Brand.objects.create(name="Arena", slug="arena", schema_name="arena")
        blueprint.build(brand)
        arena = Arena(brand)
        arena.run(starter.open_programme, "Europe/Paris", date(2020, 1, 1))
        arena.run(Tier.objects.all().delete)
        region = arena.run(lambda: Region.objects.create(code="r", name="R"))
        arena.store = arena.run(lambda: Store.objects.create(code="S", name="S", region=region))
        connection.close()
    yield arena
    arena.pool.shutdown()
    with django_db_blocker.unblock():
        _drop_arena()


@pytest.fixture
def arena(stage, brand, request) -> Arena:
    """A new till and a new card for the test, which reads the arena from its own connection."""
    name = request.node.name[:20].replace("[", "-").replace("]", "-")
    machine = Till(store=stage.store, code=f"T-{abs(hash(request.node.nodeid)) % 10**12}")
    stage.run(machine.issue_key)
    stage.till = machine
    stage.card = Shown("card", f"299{abs(hash(name)) % 10**10:010d}")
    connection.set_tenant(stage.brand)
    yield stage
    assert proof.prove().differences == []


def buy(arena, receipt_id="R1", *cents):
    told = ticket(arena.receipt(receipt_id), *(cents or (9900, 100)), shown=arena.card)
    return till.record_purchase(arena.till, told)


def member(arena) -> Profile:
    return Profile.objects.get(identifiers__key=arena.card.value, identifiers__kind="card")


def redeem(arena, redemption_id="P1", points=100):
    return till.redeem(arena.till, arena.card, points, redemption_id, AT)


def refund(arena, refund_id="B1", number=1):
    lines = [RefundLineStatement(number, Decimal(1))]
    return till.refund(
        arena.till, RefundStatement(refund_id, AT + timedelta(days=1), arena.receipt("R1"), lines)
    )


def test_two_redemptions_of_all_points_at_once(arena):
    """Statement 30: two tills spend the whole balance at once: exactly one succeeds, and nothing falls below zero."""
    arena.run(buy, arena, "R1", 9900, 100)
    for number in range(3):
        points = statements.balance_of(member(arena)).available
        outcomes = arena.at_once(
            lambda n=number, p=points: redeem(arena, f"A{n}", p - p % 100),
            lambda n=number, p=points: redeem(arena, f"B{n}", p - p % 100),
        )
        kinds = sorted(type(outcome).__name__ for outcome in outcomes)
        assert kinds == ["Answer", "NotEnoughPoints"]
        assert 0 <= statements.balance_of(member(arena)).available < 100
        arena.run(buy, arena, f"N{number}", 10000)


def test_the_second_redemption_waits_for_the_first_and_is_refused(arena):
    arena.run(buy, arena, "R1", 9000)
    arena.run(buy, arena, "R2", 1000)
    first, second = arena.overtaken(lambda: redeem(arena, "P1"), lambda: redeem(arena, "P2"))
    assert first.body["available"] == 0
    assert isinstance(second, ledger.NotEnoughPoints)
    assert second.missing == 100


def test_the_same_redemption_sent_twice_at_once_is_one(arena):
    arena.run(buy, arena, "R1", 9000)
    arena.run(buy, arena, "R2", 1000)
    first, second = arena.overtaken(lambda: redeem(arena), lambda: redeem(arena))
    assert second.body == first.body
    assert (first.replayed, second.replayed) == (False, True)
    assert statements.balance_of(member(arena)).available == 0


def test_the_same_ticket_sent_twice_at_once_is_one(arena):
    for number in range(3):
        one, other = arena.at_once(*[lambda n=number: buy(arena, f"R{n}")] * 2)
        assert one.body == other.body
        assert sorted([one.replayed, other.replayed]) == [False, True]
    assert Purchase.objects.filter(till=arena.till).count() == 3


def test_the_same_ticket_sent_again_before_the_answer_is_one(arena):
    first, second = arena.overtaken(lambda: buy(arena), lambda: buy(arena))
    assert second.body == first.body
    assert second.replayed
    assert Purchase.objects.filter(till=arena.till).count() == 1


def test_the_same_refund_sent_again_before_the_answer_is_one(arena):
    arena.run(buy, arena)
    first, second = arena.overtaken(lambda: refund(arena), lambda: refund(arena))
    assert second.body == first.body
    assert second.replayed


def test_two_refunds_of_one_ticket_at_once_sum_to_it(arena):
    arena.run(buy, arena, "R1", 1995, 2995)
    one, other = arena.at_once(lambda: refund(arena, "B1", 1), lambda: refund(arena, "B2", 2))
    assert one.body["points_taken_back"] + other.body["points_taken_back"] == 49
    assert statements.balance_of(member(arena)).available == 0


def test_two_tickets_at_once_leave_the_facts_as_a_recount_would(arena):
    arena.run(buy, arena, "R0", 1000)
    arena.overtaken(lambda: buy(arena, "R1", 2000), lambda: buy(arena, "R2", 3000))
    kept = ProfileFacts.objects.get(profile=member(arena))
    assert (kept.purchases, kept.spend_cents) == (3, 6000)


def test_batches_of_the_same_people_in_opposite_order_do_not_block_each_other(arena):
    shown = [Shown("card", f"298{n:010d}") for n in range(12)]

    def batch(name, people):
        return till.record_purchases(
            arena.till, [ticket(f"{name}{n}", 1000, shown=card) for n, card in enumerate(people)]
        )

    arena.run(batch, "W", shown)
    for number in range(3):
        outcomes = arena.at_once(
            lambda n=number: batch(f"A{n}-", shown), lambda n=number: batch(f"B{n}-", shown[::-1])
        )
        assert [answer.status for outcome in outcomes for answer in outcome] == [201] * 24


def test_points_that_expire_while_they_are_spent_are_not_spent_twice(arena):
    arena.run(buy, arena, "R1", 9000)
    arena.run(buy, arena, "R2", 1000)
    spent, expired = arena.overtaken(lambda: redeem(arena), lambda: ledger.expire_due(date(2030, 1, 1)))
    assert spent.body["available"] == 0
    assert not isinstance(expired, Exception), expired
    assert not Transaction.objects.filter(kind="expire", profile=member(arena)).exists()


def test_a_ticket_during_a_merge_follows_the_survivor(arena):
    arena.run(buy, arena, "R1", 5000)
    loser = member(arena)
    older = arena.run(lambda: Profile.objects.create(first_name="Older"))
    # The older one survives, by its id: here it is the younger row, so the card's owner keeps its points.
    deed, bought = arena.overtaken(
        lambda: merging.merge(older, loser, ground=Merge.Ground.MATCH), lambda: buy(arena, "R2", 3000)
    )
    assert bought.body["available"] == 80
    assert (
        Purchase.objects.get(till=arena.till, receipt_id=arena.receipt("R2")).profile.survivor == deed.winner
    )


def test_a_merge_into_an_older_customer_during_a_ticket_loses_nothing(arena):
    older_card = Shown("card", f"297{arena.card.value[3:]}")
    arena.run(lambda: till.record_purchase(arena.till, ticket("R0", 1000, shown=older_card)))
    arena.run(buy, arena, "R1", 5000)
    loser = member(arena)
    older = Profile.objects.get(identifiers__key=older_card.value)
    deed, bought = arena.overtaken(
        lambda: merging.merge(older, loser, ground=Merge.Ground.MATCH), lambda: buy(arena, "R2", 3000)
    )
    assert not isinstance(bought, Exception), bought
    assert Purchase.objects.get(till=arena.till, receipt_id=arena.receipt("R2")).profile_id == deed.winner_id
    assert statements.balance_of(deed.winner).available == 90


def test_a_new_card_shown_at_two_tills_at_once_is_one_customer(arena):
    other = Till(store=arena.store, code=f"{arena.till.code}-b"[:20])
    arena.run(other.issue_key)
    # Somebody has been here before, so that the two wait for each other and not for the first of all sources.
    known = Shown("card", f"296{arena.card.value[3:]}")
    arena.run(lambda: till.record_purchase(arena.till, ticket(arena.receipt("R0"), 1000, shown=known)))
    sent = ticket(arena.receipt("R2"), 3000, shown=arena.card)
    first, second = arena.overtaken(lambda: buy(arena), lambda: till.record_purchase(other, sent))
    assert not isinstance(second, Exception), second
    assert second.body["member"] == first.body["member"]
    assert Profile.objects.filter(identifiers__key=arena.card.value).distinct().count() == 1
