"""How a brand gets its tables: by the migrations once, and from then on by what they said to the database.

Migrations take seconds, most of them Python imagining the models of each step. So the first brand after an upgrade
leaves a blueprint behind, the statements that made its schema; the next brands replay it, in one transaction and the
time that the database needs. Whatever a migration is made of stands in the fingerprint: change one, and the blueprint
is drawn anew.
"""

import inspect
from functools import cache
from hashlib import sha256
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from django_tenants.utils import schema_exists, tenant_context

from tenants import brand_sql
from tenants.models import Blueprint, Brand

# What the migrations ask, and where they look: a replay asks nothing and stands in the brand's schema.
_NOT_DRAWN = ("SELECT", "SHOW", "SET SEARCH_PATH", "CREATE SCHEMA")


def build(brand: Brand) -> None:
    """Create the brand's schema with its tables, or bring the one that stands up to date."""
    if schema_exists(brand.schema_name):
        call_command(
            "migrate_schemas", tenant=True, schema_name=brand.schema_name, interactive=False, verbosity=0
        )
    elif blueprint := Blueprint.objects.filter(fingerprint=fingerprint()).first():
        _replay(blueprint, brand)
    else:
        _draw(brand)
    with tenant_context(brand):
        brand_sql.install()


def _draw(brand: Brand) -> None:
    """Run the migrations, and keep what they said."""
    said: list[str] = []

    def listen(execute, sql, params, many, context):
        statement = str(sql).strip()
        if not statement.upper().startswith(_NOT_DRAWN):
            said.append(connection.ops.compose_sql(statement, params) if params else statement)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(listen):
        brand.create_schema(check_if_exists=True, verbosity=0)
    Blueprint.objects.update_or_create(fingerprint=fingerprint(), defaults={"statements": said})
    Blueprint.objects.exclude(fingerprint=fingerprint()).delete()


@transaction.atomic
def _replay(blueprint: Blueprint, brand: Brand) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {connection.ops.quote_name(brand.schema_name)}")
    with tenant_context(brand), connection.cursor() as cursor:
        cursor.execute("\n;\n".join(blueprint.statements))


@cache
def fingerprint() -> str:
    """Of all that a brand's tables come from: Django, the migrations, the SQL files."""
    migrations = MigrationLoader(None).disk_migrations
    files = [Path(inspect.getfile(type(migrations[key]))) for key in sorted(migrations)]
    told = [django.__version__.encode(), *(file.read_bytes() for file in files + settings.BRAND_SQL)]
    return sha256(b"\0".join(told)).hexdigest()
