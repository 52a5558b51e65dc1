"""Events of sites, apps and tills, their dictionary and what waits in quarantine; installs the SQL objects beside it."""

from pathlib import Path

import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
import django.utils.timezone
import profiles.models.events
from django.db import migrations, models

from tenants.brand_sql import operations as brand_sql


class Migration(migrations.Migration):

    dependencies = [
        ('network', '0002_append_only'),
        ('profiles', '0002_append_only'),
    ]

    operations = [
        migrations.CreateModel(
            name='Device',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=64, verbose_name='id of the device')),
                ('first_received_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='first event received')),
                ('source', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='profiles.source')),
            ],
            options={
                'verbose_name': 'device',
                'verbose_name_plural': 'devices',
                'constraints': [models.UniqueConstraint(fields=('source', 'key'), name='device_once_a_source')],
            },
        ),
        migrations.CreateModel(
            name='EventTally',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(verbose_name='day')),
                ('received', models.PositiveBigIntegerField(default=0, verbose_name='received')),
                ('accepted', models.PositiveBigIntegerField(default=0, verbose_name='accepted')),
                ('known', models.PositiveBigIntegerField(default=0, verbose_name='already known')),
                ('quarantined', models.PositiveBigIntegerField(default=0, verbose_name='in quarantine')),
                ('rejected', models.PositiveBigIntegerField(default=0, verbose_name='rejected')),
                ('source', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='event_tallies', to='profiles.source', verbose_name='source')),
            ],
            options={
                'verbose_name': 'tally of events',
                'verbose_name_plural': 'tallies of events',
                'ordering': ['-day'],
                'constraints': [models.UniqueConstraint(fields=('source', 'day'), name='event_tally_once_a_day'), models.CheckConstraint(condition=models.Q(('received', django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.F('accepted'), '+', models.F('known')), '+', models.F('quarantined')), '+', models.F('rejected')))), name='event_numbers_reconcile')],
            },
        ),
        migrations.CreateModel(
            name='EventType',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code', models.CharField(help_text='The thing and what befell it, in small letters with a low line: product_viewed.', max_length=60, unique=True, validators=[django.core.validators.RegexValidator('^[a-z][a-z0-9]*(_[a-z0-9]+)+$', 'The thing and what befell it, in small letters with a low line: product_viewed.')], verbose_name='code')),
                ('label', models.CharField(max_length=80, verbose_name='label')),
                ('description', models.CharField(blank=True, max_length=300, verbose_name='description')),
                ('retention_days', models.PositiveIntegerField(default=395, help_text='Then they are counted by day and removed. Events of known customers stay.', verbose_name='days that anonymous events are kept')),
                ('is_active', models.BooleanField(default=True, help_text='Events of an inactive type wait in quarantine.', verbose_name='active')),
            ],
            options={
                'verbose_name': 'event type',
                'verbose_name_plural': 'dictionary of events',
                'ordering': ['code'],
                'constraints': [models.CheckConstraint(condition=models.Q(('code__regex', '^[a-z][a-z0-9]*(_[a-z0-9]+)+$')), name='event_type_is_thing_and_deed'), models.CheckConstraint(condition=models.Q(('retention_days__gte', 1)), name='event_retention_at_least_a_day')],
            },
        ),
        migrations.CreateModel(
            name='EventProperty',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=60, validators=[django.core.validators.RegexValidator('^[A-Za-z][A-Za-z0-9_]*$', 'Letters, digits and low lines, a letter first.')], verbose_name='name')),
                ('type', models.CharField(choices=[('text', 'text'), ('number', 'number'), ('boolean', 'yes or no'), ('date', 'day'), ('moment', 'moment'), ('choice', 'choice'), ('list', 'list of texts')], default='text', max_length=8, verbose_name='type')),
                ('required', models.BooleanField(default=False, verbose_name='required')),
                ('choices', models.TextField(blank=True, help_text='One a line; for a choice alone.', verbose_name='choices')),
                ('description', models.CharField(blank=True, max_length=200, verbose_name='description')),
                ('event_type', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='properties', to='profiles.eventtype', verbose_name='event type')),
            ],
            options={
                'verbose_name': 'property',
                'verbose_name_plural': 'properties',
                'ordering': ['-required', 'name'],
                'constraints': [models.UniqueConstraint(fields=('event_type', 'name'), name='event_property_once'), models.CheckConstraint(condition=models.Q(models.Q(('type', 'choice'), _negated=True), models.Q(('choices', ''), _negated=True), _connector='OR'), name='event_choice_has_choices', violation_error_message='A choice needs its choices, one a line.')],
            },
        ),
        migrations.CreateModel(
            name='Site',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=80, verbose_name='name')),
                ('kind', models.CharField(choices=[('web', 'web site'), ('app', 'app')], default='web', max_length=4, verbose_name='kind')),
                ('origins', models.TextField(blank=True, help_text='One a line, such as https://www.example.com: browsers send from these alone.', verbose_name='allowed addresses')),
                ('key', models.CharField(default=profiles.models.events.new_key, editable=False, max_length=40, unique=True, verbose_name='public key')),
                ('is_on', models.BooleanField(default=True, verbose_name='switched on')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created')),
                ('last_event_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='last event received')),
                ('source', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='sites', to='profiles.source', verbose_name='source')),
            ],
            options={
                'verbose_name': 'site',
                'verbose_name_plural': 'sites and apps',
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='QuarantinedEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('event_id', models.CharField(max_length=64, verbose_name='id at the source')),
                ('type_code', models.CharField(max_length=60, verbose_name='event')),
                ('reason', models.CharField(choices=[('unknown_type', 'the dictionary has no such event'), ('inactive_type', 'the type is inactive'), ('missing_property', 'a required property is missing'), ('wrong_type', 'a property has another type'), ('unknown_store', 'there is no such store'), ('unknown_channel', 'there is no such channel'), ('invalid_identifier', 'the identifier is not usable'), ('unknown_customer', 'nobody has this customer number yet')], max_length=20, verbose_name='reason')),
                ('field', models.CharField(blank=True, max_length=220, verbose_name='field at fault')),
                ('raw', models.JSONField(verbose_name='as received')),
                ('at', models.DateTimeField(verbose_name='happened')),
                ('received_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='received')),
                ('content_hash', models.CharField(editable=False, max_length=64)),
                ('source', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='profiles.source', verbose_name='source')),
                ('store', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.store', verbose_name='store of the till')),
                ('site', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='profiles.site', verbose_name='site')),
            ],
            options={
                'verbose_name': 'event in quarantine',
                'verbose_name_plural': 'events in quarantine',
                'ordering': ['-received_at', '-id'],
                'indexes': [models.Index(fields=['type_code', 'reason'], name='quarantined_by_type')],
                'constraints': [models.UniqueConstraint(fields=('source', 'event_id'), name='event_quarantined_once')],
            },
        ),
        migrations.CreateModel(
            name='EventCount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(verbose_name='day')),
                ('events', models.PositiveBigIntegerField(default=0, verbose_name='events')),
                ('source', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='profiles.source', verbose_name='source')),
                ('type', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='profiles.eventtype', verbose_name='event')),
                ('site', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='profiles.site', verbose_name='site')),
            ],
            options={
                'verbose_name': 'event count',
                'verbose_name_plural': 'event counts',
                'ordering': ['-day'],
                'constraints': [models.UniqueConstraint(fields=('type', 'source', 'site', 'day'), name='event_count_once_a_day', nulls_distinct=False)],
            },
        ),
        migrations.CreateModel(
            name='Event',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('event_id', models.CharField(max_length=64, verbose_name='id at the source')),
                ('at', models.DateTimeField(verbose_name='at')),
                ('received_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='received')),
                ('channel', models.CharField(choices=[('web', 'web'), ('app', 'app'), ('email', 'e-mail'), ('sms', 'text message'), ('store', 'store'), ('phone', 'phone'), ('social', 'social network'), ('other', 'elsewhere')], max_length=8, verbose_name='channel')),
                ('identified_by', models.CharField(blank=True, help_text='The identifier that the event shows, kind:key.', max_length=270, verbose_name='identified by')),
                ('properties', models.JSONField(default=dict, verbose_name='properties')),
                ('unknown', models.JSONField(default=dict, help_text='Properties that the dictionary does not know.', verbose_name='kept apart')),
                ('content_hash', models.CharField(editable=False, max_length=64)),
                ('device', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='events', to='profiles.device', verbose_name='device')),
                ('profile', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='events', to='profiles.profile', verbose_name='customer')),
                ('proof', models.ForeignKey(blank=True, db_index=False, help_text='The identification on the same device that says whose this event is.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='proves', to='profiles.event', verbose_name='proved by')),
                ('source', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='events', to='profiles.source', verbose_name='source')),
                ('store', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.store', verbose_name='store')),
                ('type', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='events', to='profiles.eventtype', verbose_name='event')),
                ('site', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='events', to='profiles.site', verbose_name='site')),
            ],
            options={
                'verbose_name': 'event',
                'verbose_name_plural': 'events',
                'ordering': ['-at', '-id'],
                'indexes': [models.Index(fields=['-at'], name='events_latest'), models.Index(condition=models.Q(('profile__isnull', False)), fields=['profile', '-at'], name='events_of_profile'), models.Index(condition=models.Q(('store__isnull', False)), fields=['store', '-at'], name='events_of_store'), models.Index(condition=models.Q(('device__isnull', False)), fields=['device', 'at'], name='events_of_device'), models.Index(condition=models.Q(('device__isnull', False), models.Q(('identified_by', ''), _negated=True)), fields=['device', 'at', 'event_id'], name='identifications_of_device'), models.Index(condition=models.Q(('profile', None)), fields=['type', 'at'], name='events_anonymous'), models.Index(condition=models.Q(('proof__isnull', False)), fields=['proof'], name='events_proved'), models.Index(condition=models.Q(('unknown', {}), _negated=True), fields=['type'], name='events_with_unknown')],
                'constraints': [models.UniqueConstraint(fields=('source', 'event_id'), name='event_received_once'), models.CheckConstraint(condition=models.Q(models.Q(('identified_by', ''), ('profile', None), ('proof', None)), models.Q(('identified_by', ''), ('profile__isnull', False), ('proof__isnull', False)), models.Q(('profile__isnull', False), ('proof', None), models.Q(('identified_by', ''), _negated=True)), _connector='OR'), name='event_has_a_proof_of_its_person')],
            },
        ),
        migrations.CreateModel(
            name='UnknownProperty',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=200, verbose_name='property')),
                ('state', models.CharField(choices=[('open', 'to decide'), ('added', 'added to the dictionary'), ('ignored', 'ignored')], default='open', max_length=8, verbose_name='state')),
                ('seen', models.PositiveBigIntegerField(default=0, verbose_name='how often')),
                ('sample', models.JSONField(null=True, verbose_name='sample')),
                ('first_seen', models.DateTimeField(default=django.utils.timezone.now, verbose_name='since')),
                ('event_type', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='unknown_properties', to='profiles.eventtype', verbose_name='event type')),
            ],
            options={
                'verbose_name': 'unknown property',
                'verbose_name_plural': 'unknown properties',
                'ordering': ['-seen', 'name'],
                'constraints': [models.UniqueConstraint(fields=('event_type', 'name'), name='unknown_property_once')],
            },
        ),
    ]
    operations += brand_sql(Path(__file__).with_suffix('.sql'))
