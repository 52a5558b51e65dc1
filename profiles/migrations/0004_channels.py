"""The tills of web shops sell on the web; from their first ticket on that stands."""

from django.db import migrations

from tenants.brand_sql import operations


def of_web_shops(apps, schema_editor):
    """Tills that a connector of a shop writes to, whatever they sold before: no rule has asked yet."""
    shops = apps.get_model("profiles", "Connection").objects.filter(kind__in=["shopify", "woocommerce"])
    tills = apps.get_model("network", "Till").objects.filter(pk__in=shops.values("till"))
    tills.update(channel="web")


class Migration(migrations.Migration):
    dependencies = [("profiles", "0003_blocked_values"), ("network", "0003_till_channel")]
    operations = [
        migrations.RunPython(of_web_shops, migrations.RunPython.noop),
        *operations("profiles/sql/channels.sql"),
    ]
