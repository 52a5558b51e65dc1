"""A brand's SQL functions carry the path of their schema: whoever renames one must install them again."""

import json

import pytest
from django.db import DatabaseError, connection, transaction
from django_tenants.utils import tenant_context

from loyalty.models import Account, Posting, Transaction
from profiles.models import Profile
from tenants import blueprint, brand_sql
from tenants.models import Brand
from tenants.network.models import AuditEvent, Region, Store, audit
from tenants.scoping import whole_network

SAME_ID = 1_000_001


@pytest.fixture
def renamed(db):
    """Acme under another name, in whose schema the connection stands, while a new brand has taken the old name.

    Both have a store with accounts and a customer, of the same ids: the worst case for a path that was baked in.
    The rollback gives Acme its name back.
    """
    connection.set_schema_to_public()
    newcomer = Brand.objects.get(slug="acme")
    with connection.cursor() as cursor:
        cursor.execute("ALTER SCHEMA acme RENAME TO renamed")
    blueprint.build(newcomer)
    acme = Brand.objects.create(name="Acme, renamed", slug="renamed", schema_name="renamed")
    with whole_network():
        for brand in (newcomer, acme):
            with tenant_context(brand):
                _people()
        with tenant_context(acme):
            yield newcomer
    connection.set_schema_to_public()


def _people() -> None:
    region = Region.objects.create(code="nord", name="Nord")
    store = Store.objects.create(pk=SAME_ID, code="S1", name="Lille", region=region)
    profile = Profile.objects.create(pk=SAME_ID, first_name="Ada")
    Account.objects.create(pk=SAME_ID, kind=Account.Kind.ISSUED, store=store)
    Account.objects.create(pk=SAME_ID + 1, kind=Account.Kind.AVAILABLE, profile=profile, balance=0)


def _post(key: str, points: int = 100, taken: int | None = None) -> None:
    issued = Account.objects.get(kind=Account.Kind.ISSUED)
    available = Account.objects.get(kind=Account.Kind.AVAILABLE)
    fact = {
        "key": key,
        "kind": "adjust",
        "profile": available.profile_id,
        "store": issued.store_id,
        "occurred_at": "2026-03-01T12:00:00Z",
        "postings": [
            {"account": available.pk, "points": points},
            {"account": issued.pk, "points": -points if taken is None else taken},
        ],
        "lots": [],
        "uses": [],
        "moves": [],
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM ledger_post(%s)", [json.dumps([fact])])


def _posted() -> list[str]:
    return list(Transaction.objects.order_by("id").values_list("key", flat=True))


def _balance() -> int:
    return Account.objects.get(kind=Account.Kind.AVAILABLE).balance


def test_a_renamed_brand_writes_into_another_until_its_sql_is_installed_again(renamed):
    _post("astray")
    assert _posted() == []
    with tenant_context(renamed):
        assert _posted() == ["astray"], "the path that was baked in: what the installation is for"

    brand_sql.install()
    _post("at home", 30)
    assert (_posted(), _balance()) == (["at home"], 30)
    with tenant_context(renamed):
        assert (_posted(), _balance()) == (["astray"], 100)
        _post("theirs", 5)
        assert (_posted(), _balance()) == (["astray", "theirs"], 105)
    assert _balance() == 30

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname, array_to_string(proconfig, ',') FROM pg_proc WHERE pronamespace = 'renamed'::regnamespace"
        )
        paths = dict(cursor.fetchall())
    assert {"ledger_post", "ledger_check_sum", "refuse_change"} <= set(paths)
    assert [name for name, path in paths.items() if not (path or "").startswith("search_path=renamed")] == []


def test_an_installation_repeated_keeps_the_promises(brand):
    brand_sql.install()
    brand_sql.install()
    _people()
    audit("system", "looked", Store.objects.get())
    _post("once")
    for promise, broken in (
        ("audit_is_append_only", lambda: AuditEvent.objects.all().delete()),
        ("ledger_is_append_only", lambda: Posting.objects.update(points=1)),
        ("transaction_sums_to_zero", lambda: _post("crooked", 100, -99)),
        ("member_balance_not_negative", lambda: _post("overdrawn", -101)),
    ):
        with pytest.raises(DatabaseError, match=promise), transaction.atomic():
            broken()
