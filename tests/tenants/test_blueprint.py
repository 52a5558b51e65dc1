"""A brand's schema, replayed from its blueprint, is the one that the migrations make."""

import pytest
from django.db import connection
from django_tenants.utils import schema_exists

from tenants import blueprint
from tenants.models import Blueprint, Brand

# Every column, constraint, index, trigger, function and sequence, and every row that stands in a new schema.
SAID = """
SELECT 'column', table_name || '.' || column_name,
       concat_ws(' ', ordinal_position, data_type, character_maximum_length, is_nullable, column_default,
                 identity_generation, collation_name)
  FROM information_schema.columns WHERE table_schema = %(schema)s
UNION ALL
SELECT 'constraint', c.conname, concat_ws(' ', c.conrelid::regclass, pg_get_constraintdef(c.oid))
  FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace WHERE n.nspname = %(schema)s
UNION ALL
SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = %(schema)s
UNION ALL
SELECT 'trigger', t.tgname, pg_get_triggerdef(t.oid)
  FROM pg_trigger t JOIN pg_class r ON r.oid = t.tgrelid JOIN pg_namespace n ON n.oid = r.relnamespace
 WHERE n.nspname = %(schema)s AND NOT t.tgisinternal
UNION ALL
SELECT 'function', p.proname, pg_get_functiondef(p.oid)
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = %(schema)s
"""


def made(schema: str) -> set[tuple[str, str, str]]:
    """What stands in the schema, with its own name taken out."""
    with connection.cursor() as cursor:
        cursor.execute(SAID, {"schema": schema})
        said = {(what, name, text.replace(schema, "…")) for what, name, text in cursor.fetchall()}
        for table, columns in (
            ("django_migrations", "app, name"),
            ("django_content_type", "app_label, model"),
        ):
            cursor.execute(f'SELECT {columns} FROM "{schema}".{table}')
            said |= {(table, *row) for row in cursor.fetchall()}
    return said


@pytest.fixture
def public(db):
    connection.set_schema_to_public()
    yield
    connection.set_schema_to_public()


def new_brand(slug: str) -> Brand:
    return Brand.objects.create(name=slug, slug=slug, schema_name=slug)


def test_a_replayed_schema_is_the_migrated_one(public):
    Blueprint.objects.all().delete()
    blueprint.build(new_brand("drawnbrand"))
    assert Blueprint.objects.get().fingerprint == blueprint.fingerprint()
    with connection.execute_wrapper(_no_migrations):
        blueprint.build(new_brand("secondbrand"))
    drawn, replayed = made("drawnbrand"), made("secondbrand")
    assert {what for what, *_ in drawn} >= {"column", "constraint", "index", "trigger", "function"}
    assert len(drawn) > 1000
    assert replayed == drawn


def _no_migrations(execute, sql, params, many, context):
    assert "FROM django_migrations" not in str(sql).replace('"', "")
    return execute(sql, params, many, context)


def test_a_blueprint_of_other_migrations_is_drawn_anew(public):
    Blueprint.objects.all().delete()
    Blueprint.objects.create(fingerprint="of before", statements=["CREATE TABLE of_before ()"])
    blueprint.build(new_brand("drawnbrand"))
    assert [drawn.fingerprint for drawn in Blueprint.objects.all()] == [blueprint.fingerprint()]
    assert ("column", "of_before") not in {(what, name) for what, name, *_ in made("drawnbrand")}


@pytest.fixture
def fingerprint_of(monkeypatch):
    """`fingerprint_of(name, value)`: as if that of the module, or of the settings, were another."""

    def made(owner=None, name="", value=None) -> str:
        blueprint.fingerprint.cache_clear()
        with monkeypatch.context() as patch:
            if owner:
                patch.setattr(owner, name, value)
            return blueprint.fingerprint()

    yield made
    blueprint.fingerprint.cache_clear()


def test_a_migration_and_an_sql_file_change_the_fingerprint(fingerprint_of):
    class OneLess(blueprint.MigrationLoader):
        def build_graph(self):
            super().build_graph()
            self.disk_migrations.pop(("loyalty", "0002_promises"))

    found = [
        fingerprint_of(),
        fingerprint_of(blueprint, "MigrationLoader", OneLess),
        fingerprint_of(blueprint.settings, "BRAND_SQL", blueprint.settings.BRAND_SQL[:-1]),
        fingerprint_of(blueprint.django, "__version__", "0"),
    ]
    assert len(set(found)) == 4
    assert fingerprint_of() == found[0]


def test_a_replay_that_fails_leaves_no_schema(public):
    Blueprint.objects.update(statements=["CREATE TABLE good ()", "CREATE TABLE"])
    with pytest.raises(Exception, match="syntax error"):
        blueprint.build(new_brand("brokenbrand"))
    assert not schema_exists("brokenbrand")
