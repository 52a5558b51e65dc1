"""For tests whose rows are really committed, because a browser or another process sees them: import both fixtures.

Pytest-django would flush the tables of public after such a test, and brands with them: their rows are kept here, and
every other row of public and of the brand is removed. Schemas stay as they are.
"""

from time import monotonic, sleep

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test import TransactionTestCase

from tenants.models import Brand

# What migrations wrote, and the brands themselves.
KEPT = {
    *("django_migrations", "django_content_type", "auth_permission"),
    *("tenants_brand", "tenants_domain", "tenants_blueprint"),
}


@pytest.fixture(scope="package", autouse=True)
def committed():
    """Leave the rows to `emptied`, and let this thread speak to the database while Playwright's loop runs in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda self: None)
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield


@pytest.fixture(autouse=True)
def emptied(db):
    """No row is left behind, whatever the test did, and no brand but Acme."""
    assert connection.settings_dict["NAME"].startswith("test_"), "tests never touch a real database"
    yield
    _until_nobody_works()
    connection.set_schema_to_public()
    for brand in Brand.objects.exclude(schema_name__in=["public", "acme"]):
        brand.delete(force_drop=True)
    for schema in ("public", "acme"):
        _empty(schema)
    cache.clear()


def _until_nobody_works() -> None:
    """A page may have sent something as it went, such as a beacon: what is at work on it holds rows of these tables."""
    quiet, end = 0, monotonic() + 10
    with connection.cursor() as cursor:
        while quiet < 3 and monotonic() < end:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'"
            )
            quiet = quiet + 1 if cursor.fetchone()[0] == 0 else 0
            sleep(0.01)


@transaction.atomic
def _empty(schema: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
        tables = [f'"{schema}"."{name}"' for (name,) in cursor.fetchall() if name not in KEPT]
        # The ledger and the audit trail refuse to be emptied: their triggers rest for this transaction.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(f"TRUNCATE {', '.join(tables)}")
