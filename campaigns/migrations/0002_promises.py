"""Installs what keeps the promises of these tables: the files of `sql/`."""

from django.db import migrations

from tenants.brand_sql import operations


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0001_initial"), ("loyalty", "0004_conditions")]
    operations = operations("campaigns/sql/segments.sql")
