"""How a till's tickets are sold: in the store, or by a web shop."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("network", "0002_promises")]
    operations = [
        migrations.AddField(
            model_name="till",
            name="channel",
            field=models.CharField(
                choices=[("till", "in the store"), ("web", "on the web")], default="till",
                help_text="How its tickets are sold. With the first ticket it stands.", max_length=4,
                verbose_name="channel",
            ),
        )
    ]
