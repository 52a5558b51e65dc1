"""What is told of members by webhooks: triggers that write into the outbox. And the table that ends members' links."""

import django.db.models.deletion
from django.db import migrations, models

from tenants.brand_sql import operations


class Migration(migrations.Migration):

    dependencies = [
        ("loyalty", "0002_promises"),
        ("network", "0003_outbox"),
        ("profiles", "0003_outbox"),
    ]

    operations = [
        migrations.CreateModel(
            name='MemberLinks',
            fields=[
                ('profile', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='links', serialize=False, to='profiles.profile', verbose_name='customer')),
                ('number', models.PositiveIntegerField(default=0, verbose_name='number')),
                ('ended_at', models.DateTimeField(verbose_name='ended')),
            ],
            options={
                'verbose_name': "member's links",
                'verbose_name_plural': "members' links",
            },
        ),
        *operations("loyalty/sql/outbox.sql"),
    ]
