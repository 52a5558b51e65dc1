"""Tickets come in by one function of the database."""

from pathlib import Path

from django.db import migrations

from tenants.brand_sql import operations


class Migration(migrations.Migration):
    dependencies = [("profiles", "0006_matching")]
    operations = operations(Path(__file__).with_suffix(".sql"))
