"""What rules ask about beside stores and hours: segments, kept as they were last read, payment and channel."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

from tenants.brand_sql import operations

IDS = models.BigIntegerField()


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0002_promises"), ("network", "0003_till_channel"), ("profiles", "0004_channels")]
    operations = [
        migrations.CreateModel(
            name="SegmentRead",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("read_at", models.DateTimeField(blank=True, null=True, verbose_name="last read")),
                ("failed_at", models.DateTimeField(blank=True, null=True, verbose_name="last failure")),
                ("error", models.CharField(
                    blank=True, help_text="The members as last read count meanwhile.", max_length=300,
                    verbose_name="error",
                )),
            ],
            options={
                "verbose_name": "segment as rules know it", "verbose_name_plural": "segments as rules know them",
            },
        ),
        migrations.CreateModel(
            name="SegmentMember",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("since", models.DateTimeField(verbose_name="since")),
                ("profile", models.ForeignKey(
                    on_delete=django.db.models.deletion.CASCADE, related_name="segments", to="profiles.profile",
                    verbose_name="customer",
                )),
                ("segment", models.ForeignKey(
                    on_delete=django.db.models.deletion.CASCADE, related_name="members", to="loyalty.segmentread",
                    verbose_name="segment",
                )),
            ],
            options={
                "verbose_name": "member of a segment", "verbose_name_plural": "members of segments",
                "constraints": [models.UniqueConstraint(fields=("profile", "segment"), name="in_a_segment_once")],
            },
        ),
        migrations.AddField(
            model_name="transaction",
            name="segments",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=IDS, db_default=[], default=list, editable=False, size=None,
                help_text="Of those that its rules asked about, the ones its member was in when the ticket came.",
            ),
        ),
        migrations.AddField(
            model_name="action",
            name="segments",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=IDS, db_default=[], default=list, editable=False, size=None,
                help_text="As of a transaction.",
            ),
        ),
        migrations.AddField(
            model_name="savedsimulation",
            name="payment",
            field=models.CharField(blank=True, max_length=20, verbose_name="payment"),
        ),
        migrations.AddField(
            model_name="savedsimulation",
            name="channel",
            field=models.CharField(
                choices=[("till", "in the store"), ("web", "on the web")], default="till", max_length=4,
                verbose_name="channel",
            ),
        ),
        migrations.AddField(
            model_name="savedsimulation",
            name="segments",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=IDS, blank=True, default=list, size=None, verbose_name="segments"
            ),
        ),
        *operations("loyalty/sql/posting.sql"),
    ]
