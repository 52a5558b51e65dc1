"""Installs what keeps the promises of these tables: the files of `sql/`."""

from django.db import migrations

from tenants.brand_sql import operations


class Migration(migrations.Migration):
    dependencies = [("network", "0001_initial")]
    operations = [
        *operations("tenants/network/sql/append_only.sql"),
        *operations("tenants/network/sql/outbox.sql"),
    ]
