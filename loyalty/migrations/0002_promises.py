"""Installs what keeps the promises of these tables: the files of `sql/`."""

from django.db import migrations

from tenants.brand_sql import operations


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0001_initial"), ("network", "0002_promises"), ("profiles", "0002_promises")]
    operations = [
        *operations("loyalty/sql/ledger.sql"),
        *operations("loyalty/sql/chain.sql"),
        *operations("loyalty/sql/posting.sql"),
        *operations("loyalty/sql/actions.sql"),
        *operations("loyalty/sql/benefits.sql"),
        *operations("loyalty/sql/finance.sql"),
        *operations("loyalty/sql/outbox.sql"),
    ]
