"""What is told of customers by webhooks: triggers that write into the outbox."""

from django.db import migrations

from tenants.brand_sql import operations


class Migration(migrations.Migration):
    dependencies = [("profiles", "0002_promises"), ("network", "0003_outbox")]
    operations = operations("profiles/sql/outbox.sql")
