"""The outbox of webhooks: its tables, and the function that writes into it."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import uuid
from django.db import migrations, models

from tenants.brand_sql import operations


class Migration(migrations.Migration):

    dependencies = [
        ('network', '0002_promises'),
    ]

    operations = [
        migrations.CreateModel(
            name='WebhookEndpoint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=80, unique=True, verbose_name='name')),
                ('url', models.CharField(help_text='HTTPS, such as https://crm.example.com/hooks', max_length=500, verbose_name='address')),
                ('events', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('member.created', 'A customer joins the programme'), ('member.merged', 'Two customers prove to be one'), ('member.separated', 'Two customers are separated again'), ('points.posted', 'Points are earned, spent, taken back, expire or are adjusted'), ('tier.changed', 'A member changes tier'), ('voucher.issued', 'A voucher is issued'), ('voucher.used', 'A voucher is used'), ('consent.changed', 'A customer may be written to on a channel, or no more')], max_length=30), size=None, verbose_name='events')),
                ('is_on', models.BooleanField(default=True, verbose_name='switched on')),
                ('sealed_secret', models.TextField(blank=True, editable=False)),
                ('sealed_old_secret', models.TextField(blank=True, editable=False)),
                ('old_secret_until', models.DateTimeField(editable=False, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created')),
                ('failures', models.PositiveIntegerField(default=0, editable=False, verbose_name='failures in a row')),
                ('rests_until', models.DateTimeField(editable=False, null=True, verbose_name='not called until')),
                ('failing_since', models.DateTimeField(editable=False, null=True, verbose_name='failing since')),
                ('succeeded_at', models.DateTimeField(editable=False, null=True, verbose_name='last success')),
                ('failed_at', models.DateTimeField(editable=False, null=True, verbose_name='last error')),
                ('is_gone', models.BooleanField(default=False, editable=False, verbose_name='said that it is gone')),
            ],
            options={
                'verbose_name': 'webhook',
                'verbose_name_plural': 'webhooks',
                'ordering': ['name'],
                'constraints': [models.CheckConstraint(condition=models.Q(('events', []), _negated=True), name='webhook_wants_something'), models.CheckConstraint(condition=models.Q(('is_gone', True), ('is_on', True), _negated=True), name='gone_webhook_is_off')],
            },
        ),
        migrations.CreateModel(
            name='WebhookMessage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('event', models.CharField(max_length=30, verbose_name='event')),
                ('member', models.UUIDField(null=True, verbose_name='customer')),
                ('happened_at', models.DateTimeField(verbose_name='happened')),
                ('data', models.JSONField(verbose_name='content')),
                ('state', models.CharField(choices=[('waiting', 'waiting'), ('delivered', 'delivered'), ('failed', 'given up')], default='waiting', max_length=10, verbose_name='state')),
                ('attempt_count', models.PositiveIntegerField(default=0, verbose_name='attempts')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='noted')),
                ('next_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='next attempt')),
                ('taken_until', models.DateTimeField(editable=False, null=True)),
                ('delivered_at', models.DateTimeField(null=True, verbose_name='delivered')),
                ('endpoint', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.PROTECT, related_name='messages', to='network.webhookendpoint', verbose_name='webhook')),
            ],
            options={
                'verbose_name': 'webhook message',
                'verbose_name_plural': 'webhook messages',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='WebhookAttempt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(verbose_name='at')),
                ('milliseconds', models.PositiveIntegerField(verbose_name='milliseconds')),
                ('status', models.PositiveSmallIntegerField(null=True, verbose_name='status')),
                ('answer', models.CharField(blank=True, max_length=2000, verbose_name='answer')),
                ('fault', models.CharField(blank=True, max_length=20, verbose_name='error')),
                ('message', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tries', to='network.webhookmessage', verbose_name='webhook message')),
            ],
            options={
                'verbose_name': 'webhook attempt',
                'verbose_name_plural': 'webhook attempts',
                'ordering': ['id'],
            },
        ),
        migrations.AddIndex(
            model_name='webhookmessage',
            index=models.Index(condition=models.Q(('state', 'waiting')), fields=['endpoint', 'member', 'id'], name='messages_in_line'),
        ),
        migrations.AddIndex(
            model_name='webhookmessage',
            index=models.Index(condition=models.Q(('state', 'waiting')), fields=['endpoint', 'next_at'], name='messages_due'),
        ),
        migrations.AddIndex(
            model_name='webhookmessage',
            index=models.Index(fields=['endpoint', '-id'], name='messages_of_endpoint'),
        ),
        migrations.AddIndex(
            model_name='webhookmessage',
            index=models.Index(fields=['created_at'], name='messages_to_forget'),
        ),
        *operations("tenants/network/sql/outbox.sql"),
    ]
