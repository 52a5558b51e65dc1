"""Installs the SQL objects that stand in the file beside this one."""

from pathlib import Path

from django.db import migrations

from tenants.brand_sql import operations


class Migration(migrations.Migration):
    # refuse_change() stands in the network's file.
    dependencies = [("profiles", "0001_initial"), ("network", "0002_append_only")]
    operations = operations(Path(__file__).with_suffix(".sql"))
