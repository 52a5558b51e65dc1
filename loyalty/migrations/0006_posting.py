"""Points are posted by one call of the database for each deed, and the programme has an edition."""

from pathlib import Path

from django.db import migrations, models

from tenants.brand_sql import operations as sql


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0003_ledger_chain"), ("profiles", "0007_tickets")]
    operations = [
        migrations.AddField(
            model_name="programme",
            name="edition",
            field=models.BigIntegerField(db_default=0, default=0, editable=False),
        ),
        *sql(Path(__file__).with_suffix(".sql")),
    ]
