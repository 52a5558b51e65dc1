"""For tests whose rows are really committed, because a browser or another process sees them: import both fixtures.

Pytest-django would flush the tables of public after such a test, and brands with them: their rows are kept here, and
every other row of public and of the brand is removed. Schemas stay as they are.
"""

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
    connection.set_schema_to_public()
    for brand in Brand.objects.exclude(schema_name__in=["public", "acme"]):
        brand.delete(force_drop=True)
    for schema in ("public", "acme"):
        _empty(schema)
    cache.clear()


@transaction.atomic
def _empty(schema: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
        tables = [f'"{schema}"."{name}"' for (name,) in cursor.fetchall() if name not in KEPT]
        # The ledger and the audit trail refuse to be emptied: their triggers rest for this transaction.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(f"TRUNCATE {', '.join(tables)}")
