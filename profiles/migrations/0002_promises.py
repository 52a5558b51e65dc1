"""Installs what keeps the promises of these tables: the files of `sql/`."""

from django.db import migrations

from tenants.brand_sql import operations


class Migration(migrations.Migration):
    dependencies = [("profiles", "0001_initial"), ("network", "0002_promises")]
    operations = [
        *operations("profiles/sql/append_only.sql"),
        *operations("profiles/sql/people.sql"),
        *operations("profiles/sql/tickets.sql"),
        *operations("profiles/sql/outbox.sql"),
    ]
