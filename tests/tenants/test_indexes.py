"""Each ticket pays for every index of its tables: none is there twice, and each foreign key has one."""

import pytest
from django.apps import apps
from django.db import connection

pytestmark = pytest.mark.django_db

# Plain indexes with whose columns another index begins. One for LIKE has an order of its own.
TWICE = """
    SELECT a.indrelid::regclass::text, a.indexrelid::regclass::text, b.indexrelid::regclass::text
      FROM pg_index a JOIN pg_index b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid
      JOIN pg_class k ON k.oid = a.indexrelid AND k.relnamespace = current_schema()::regnamespace
      JOIN pg_class o ON o.oid = b.indexrelid AND o.relam = k.relam
     WHERE NOT a.indisunique AND num_nulls(a.indpred, a.indexprs, b.indpred, b.indexprs) = 4
       AND a.indnkeyatts = a.indnatts AND a.indnkeyatts <= b.indnkeyatts
       AND (a.indkey::int2[])[0:a.indnkeyatts - 1] = (b.indkey::int2[])[0:a.indnkeyatts - 1]
       AND (a.indclass::oid[])[0:a.indnkeyatts - 1] = (b.indclass::oid[])[0:a.indnkeyatts - 1]
"""

# Foreign keys with whose column no index begins: who deletes what they name would read the whole table.
MISSING = """
    SELECT f.conrelid::regclass::text || '.' || c.attname FROM pg_constraint f
      JOIN pg_attribute c ON c.attrelid = f.conrelid AND c.attnum = f.conkey[1]
     WHERE f.contype = 'f' AND f.connamespace = current_schema()::regnamespace AND NOT EXISTS (
           SELECT FROM pg_index i WHERE i.indrelid = f.conrelid AND i.indkey[0] = f.conkey[1] AND (
               i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', c.attname)))
"""
# Events are many, and what these name are few and stay.
ON_PURPOSE = {"profiles_event.type_id", "profiles_event.site_id"}


def test_every_foreign_key_has_an_index_that_begins_with_it(brand):
    with connection.cursor() as cursor:
        cursor.execute(MISSING)
        assert {column for (column,) in cursor.fetchall()} == ON_PURPOSE


def test_no_index_begins_as_another_one(brand):
    ours = {
        model._meta.db_table
        for app in ("profiles", "loyalty", "campaigns", "network")
        for model in apps.get_app_config(app).get_models()  # without the tables of many-to-many fields
    }
    with connection.cursor() as cursor:
        cursor.execute(TWICE)
        assert [row for row in cursor.fetchall() if row[0] in ours] == []
