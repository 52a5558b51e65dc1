"""Actions, claims, returns that wait, cases, and tiers with a grace period; with the SQL file beside it."""

from pathlib import Path

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from tenants.brand_sql import operations as sql


class Migration(migrations.Migration):

    dependencies = [
        ('loyalty', '0003_ledger_chain'),
        ('network', '0002_append_only'),
        ('profiles', '0006_matching'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Action',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code', models.SlugField(max_length=40, verbose_name='action')),
                ('key', models.CharField(max_length=64, verbose_name='key')),
                ('identified_by', models.CharField(blank=True, help_text='The identifier shown at the till, kind:key.', max_length=270, verbose_name='identified by')),
                ('campaign', models.CharField(blank=True, max_length=60, verbose_name='campaign')),
                ('occurred_at', models.DateTimeField(verbose_name='happened')),
                ('received_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='received')),
                ('content_hash', models.CharField(editable=False, max_length=64)),
                ('tier', models.CharField(blank=True, max_length=20, verbose_name='tier when it happened')),
                ('counted_before', models.PositiveIntegerField(default=0, editable=False)),
                ('counted_in_campaign', models.PositiveIntegerField(default=0, editable=False)),
                ('points', models.PositiveIntegerField(default=0, verbose_name='points')),
                ('why', models.CharField(max_length=20, verbose_name='why')),
                ('birth_day', models.CharField(blank=True, editable=False, help_text='Of a birthday: month-day.', max_length=5)),
            ],
            options={
                'verbose_name': 'action',
                'verbose_name_plural': 'actions',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='Case',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('velocity', 'many tickets in an hour'), ('amount', 'a large amount in a day'), ('self_scan', "a cashier's own card"), ('card_uses', 'one card again and again under one cashier'), ('distance', 'two distant stores within minutes'), ('claims', "claims of one cashier's tickets"), ('debt', 'a large debt')], max_length=10, verbose_name='kind')),
                ('cashier', models.CharField(blank=True, max_length=40, verbose_name='cashier')),
                ('day', models.DateField(verbose_name='day')),
                ('state', models.CharField(choices=[('open', 'to be decided'), ('released', 'released'), ('reversed', 'taken back')], default='open', max_length=10, verbose_name='state')),
                ('opened_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='opened')),
                ('decided_at', models.DateTimeField(blank=True, null=True, verbose_name='decided')),
                ('comment', models.CharField(blank=True, max_length=300, verbose_name='comment')),
            ],
            options={
                'verbose_name': 'case',
                'verbose_name_plural': 'cases',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='CaseTicket',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('ended_at', models.DateTimeField(blank=True, null=True, verbose_name='ended')),
            ],
            options={
                'verbose_name': 'ticket of a case',
                'verbose_name_plural': 'tickets of cases',
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='Cashier',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code', models.CharField(max_length=40, verbose_name='code at the till')),
                ('name', models.CharField(blank=True, max_length=120, verbose_name='name')),
                ('card', models.CharField(blank=True, help_text='Number of the customer card, as it is scanned.', max_length=40, verbose_name='own card')),
                ('is_active', models.BooleanField(default=True, verbose_name='active')),
            ],
            options={
                'verbose_name': 'cashier',
                'verbose_name_plural': 'cashiers',
                'ordering': ['store', 'code'],
            },
        ),
        migrations.CreateModel(
            name='Claim',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('claimed_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='claimed')),
                ('cashier', models.CharField(blank=True, max_length=40, verbose_name='cashier of the ticket')),
                ('taken_by', models.CharField(blank=True, max_length=40, verbose_name='cashier who took the claim')),
                ('points', models.PositiveIntegerField(verbose_name='points')),
            ],
            options={
                'verbose_name': 'claim',
                'verbose_name_plural': 'claims',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='ClaimTally',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('week', models.DateField(help_text='Its Monday.', verbose_name='week')),
                ('cashier', models.CharField(blank=True, max_length=40, verbose_name='cashier of the ticket')),
                ('claims', models.PositiveIntegerField(verbose_name='claims')),
                ('cents', models.BigIntegerField(verbose_name='amount')),
                ('points', models.BigIntegerField(verbose_name='points')),
                ('share', models.PositiveSmallIntegerField(verbose_name="share of the store's claims (%)")),
            ],
            options={
                'verbose_name': 'line of the claims report',
                'verbose_name_plural': 'claims by cashier',
                'ordering': ['-week', 'store', '-claims', 'cashier'],
            },
        ),
        migrations.CreateModel(
            name='ParkedReturn',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('business_day', models.DateField(verbose_name='day')),
                ('refund_id', models.CharField(max_length=64, verbose_name='refund receipt')),
                ('receipt_id', models.CharField(max_length=64, verbose_name='receipt')),
                ('sale_store', models.CharField(max_length=20, verbose_name='store of the sale')),
                ('statement', models.JSONField(editable=False)),
                ('parked_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='parked')),
                ('state', models.CharField(choices=[('waiting', 'waits for its sale'), ('applied', 'applied'), ('refused', 'does not fit its sale'), ('closed', 'closed by hand')], default='waiting', max_length=10, verbose_name='state')),
                ('problem', models.CharField(blank=True, max_length=300, verbose_name='problem')),
                ('ended_at', models.DateTimeField(blank=True, null=True, verbose_name='ended')),
            ],
            options={
                'verbose_name': 'return without its sale',
                'verbose_name_plural': 'returns without their sale',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='StorePlace',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('latitude', models.DecimalField(decimal_places=5, help_text='Degrees, north above 0.', max_digits=8, verbose_name='latitude')),
                ('longitude', models.DecimalField(decimal_places=5, help_text='Degrees, east above 0.', max_digits=8, verbose_name='longitude')),
            ],
            options={
                'verbose_name': 'place of a store',
                'verbose_name_plural': 'places of stores',
                'ordering': ['store'],
            },
        ),
        migrations.CreateModel(
            name='TicketCashier',
            fields=[
                ('purchase', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='served', serialize=False, to='profiles.purchase', verbose_name='purchase')),
                ('cashier', models.CharField(max_length=40, verbose_name='cashier')),
            ],
            options={
                'verbose_name': 'cashier of a ticket',
                'verbose_name_plural': 'cashiers of tickets',
            },
        ),
        migrations.CreateModel(
            name='TierChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('before', models.CharField(blank=True, max_length=20, verbose_name='tier before')),
                ('after', models.CharField(blank=True, max_length=20, verbose_name='tier')),
                ('why', models.CharField(choices=[('earned', 'earned'), ('grace_over', 'grace is over'), ('recounted', 'recounted')], max_length=10, verbose_name='why')),
                ('at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='at')),
            ],
            options={
                'verbose_name': 'change of tier',
                'verbose_name_plural': 'changes of tier',
                'ordering': ['-id'],
            },
        ),
        migrations.RemoveConstraint(
            model_name='account',
            name='account_is_a_members_or_a_stores',
        ),
        migrations.AddField(
            model_name='membership',
            name='at_risk_since',
            field=models.DateTimeField(blank=True, help_text='The points no longer reach the tier.', null=True, verbose_name='at risk since'),
        ),
        migrations.AddField(
            model_name='membership',
            name='grace_until',
            field=models.DateField(blank=True, null=True, verbose_name='keeps the tier until'),
        ),
        migrations.AddField(
            model_name='programme',
            name='cashier_card_uses',
            field=models.PositiveSmallIntegerField(default=5, help_text='More open a case; 0: no limit.', verbose_name='uses of one card a day under one cashier'),
        ),
        migrations.AddField(
            model_name='programme',
            name='claim_days',
            field=models.PositiveSmallIntegerField(default=30, help_text='0: never.', verbose_name='days to claim a ticket without a card'),
        ),
        migrations.AddField(
            model_name='programme',
            name='claims_least',
            field=models.PositiveSmallIntegerField(default=5, help_text='From so many on; 0: no limit.', verbose_name="claims of one cashier's tickets in a week"),
        ),
        migrations.AddField(
            model_name='programme',
            name='claims_share',
            field=models.PositiveSmallIntegerField(default=50, help_text='From this share on, both open a case.', validators=[django.core.validators.MaxValueValidator(100)], verbose_name="share of the store's claims (%)"),
        ),
        migrations.AddField(
            model_name='programme',
            name='debt_floor',
            field=models.PositiveIntegerField(default=1000, help_text='More opens one; 0: no limit.', verbose_name='debt in points that opens a case'),
        ),
        migrations.AddField(
            model_name='programme',
            name='debt_policy',
            field=models.CharField(choices=[('owed', 'the member owes them'), ('clamped', 'head office bears the loss')], default='owed', max_length=8, verbose_name='points of a return that were spent'),
        ),
        migrations.AddField(
            model_name='programme',
            name='distance_km',
            field=models.PositiveSmallIntegerField(default=50, help_text='0: no limit.', verbose_name='kilometres between two stores'),
        ),
        migrations.AddField(
            model_name='programme',
            name='distance_minutes',
            field=models.PositiveSmallIntegerField(default=10, verbose_name='minutes in which one card is in both'),
        ),
        migrations.AddField(
            model_name='programme',
            name='hold_self_scan',
            field=models.BooleanField(default=True, verbose_name='hold tickets that a cashier puts on their own card'),
        ),
        migrations.AddField(
            model_name='programme',
            name='parked_days',
            field=models.PositiveSmallIntegerField(default=7, help_text='Then a person is asked.', verbose_name='days a return may wait for its sale'),
        ),
        migrations.AddField(
            model_name='programme',
            name='tier_downgrade',
            field=models.CharField(choices=[('one_down', 'one level'), ('recomputed', 'to what was earned')], default='one_down', max_length=10, verbose_name='then the tier falls'),
        ),
        migrations.AddField(
            model_name='programme',
            name='tier_grace_days',
            field=models.PositiveSmallIntegerField(default=60, verbose_name='days of grace before a tier is lost'),
        ),
        migrations.AddField(
            model_name='programme',
            name='velocity_cents',
            field=models.PositiveIntegerField(default=200000, help_text='More is held; 0: no limit.', verbose_name='cents of one card a day'),
        ),
        migrations.AddField(
            model_name='programme',
            name='velocity_tickets',
            field=models.PositiveSmallIntegerField(default=3, help_text='More are held; 0: no limit.', verbose_name='tickets of one card in a store and hour'),
        ),
        migrations.AlterField(
            model_name='account',
            name='kind',
            field=models.CharField(choices=[('available', 'available'), ('pending', 'pending'), ('debt', 'debt'), ('issued', 'issued'), ('redeemed', 'redeemed'), ('expired', 'expired'), ('adjustment', 'adjustment'), ('reserved', 'reserved'), ('loss', 'loss of head office')], max_length=12, verbose_name='kind'),
        ),
        migrations.AlterField(
            model_name='rule',
            name='kind',
            field=models.CharField(choices=[('base', 'Points per amount'), ('multiplier', 'Multiplier'), ('bonus', 'Fixed bonus'), ('action', 'Points for an action')], max_length=12, verbose_name='kind'),
        ),
        migrations.AddConstraint(
            model_name='account',
            constraint=models.UniqueConstraint(condition=models.Q(('profile', None), ('store', None)), fields=('kind',), name='one_account_of_head_office'),
        ),
        migrations.AddConstraint(
            model_name='account',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('balance__isnull', False), ('kind__in', ['available', 'pending', 'debt']), ('store', None), models.Q(('profile', None), _negated=True)), models.Q(('balance', None), ('kind__in', ['issued', 'redeemed', 'expired', 'adjustment', 'reserved']), ('profile', None), models.Q(('store', None), _negated=True)), models.Q(('balance', None), ('kind', 'loss'), ('profile', None), ('store', None)), _connector='OR'), name='account_is_a_members_or_a_stores'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('at_risk_since', None), ('grace_until', None)), models.Q(('at_risk_since__isnull', False), ('grace_until__isnull', False), ('tier__isnull', False)), _connector='OR'), name='at_risk_of_losing_a_tier'),
        ),
        migrations.AddConstraint(
            model_name='programme',
            constraint=models.CheckConstraint(condition=models.Q(('claims_share__lte', 100)), name='claims_share_is_a_percentage'),
        ),
        migrations.AddField(
            model_name='action',
            name='profile',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='actions', to='profiles.profile', verbose_name='customer'),
        ),
        migrations.AddField(
            model_name='action',
            name='store',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='actions', to='network.store', verbose_name='store'),
        ),
        migrations.AddField(
            model_name='action',
            name='till',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.till', verbose_name='told by'),
        ),
        migrations.AddField(
            model_name='action',
            name='transaction',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='action', to='loyalty.transaction', verbose_name='transaction'),
        ),
        migrations.AddField(
            model_name='action',
            name='withdrawn_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='loyalty.transaction', verbose_name='taken back by'),
        ),
        migrations.AddField(
            model_name='case',
            name='decided_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='decided by'),
        ),
        migrations.AddField(
            model_name='case',
            name='profile',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='cases', to='profiles.profile', verbose_name='customer'),
        ),
        migrations.AddField(
            model_name='case',
            name='store',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='cases', to='network.store', verbose_name='store'),
        ),
        migrations.AddField(
            model_name='caseticket',
            name='case',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='tickets', to='loyalty.case', verbose_name='case'),
        ),
        migrations.AddField(
            model_name='caseticket',
            name='purchase',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='cases', to='profiles.purchase', verbose_name='purchase'),
        ),
        migrations.AddField(
            model_name='caseticket',
            name='transaction',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='cases', to='loyalty.transaction', verbose_name='held'),
        ),
        migrations.AddField(
            model_name='caseticket',
            name='voided_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='loyalty.transaction', verbose_name='taken back by'),
        ),
        migrations.AddField(
            model_name='cashier',
            name='store',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='cashiers', to='network.store', verbose_name='store'),
        ),
        migrations.AddField(
            model_name='claim',
            name='by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='by'),
        ),
        migrations.AddField(
            model_name='claim',
            name='profile',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='claims', to='profiles.profile', verbose_name='customer'),
        ),
        migrations.AddField(
            model_name='claim',
            name='purchase',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='claim', to='profiles.purchase', verbose_name='purchase'),
        ),
        migrations.AddField(
            model_name='claim',
            name='store',
            field=models.ForeignKey(help_text='Of the ticket.', on_delete=django.db.models.deletion.PROTECT, related_name='claims', to='network.store', verbose_name='store'),
        ),
        migrations.AddField(
            model_name='claim',
            name='till',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.till', verbose_name='till'),
        ),
        migrations.AddField(
            model_name='claimtally',
            name='store',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.store', verbose_name='store'),
        ),
        migrations.AddField(
            model_name='parkedreturn',
            name='applied_as',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='parked', to='profiles.refund', verbose_name='refund'),
        ),
        migrations.AddField(
            model_name='parkedreturn',
            name='store',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='parked_returns', to='network.store', verbose_name='brought back to'),
        ),
        migrations.AddField(
            model_name='parkedreturn',
            name='till',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.till', verbose_name='till'),
        ),
        migrations.AddField(
            model_name='storeplace',
            name='store',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='place', to='network.store', verbose_name='store'),
        ),
        migrations.AddField(
            model_name='ticketcashier',
            name='store',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.store', verbose_name='store'),
        ),
        migrations.AddField(
            model_name='tierchange',
            name='profile',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='tier_changes', to='profiles.profile', verbose_name='customer'),
        ),
        migrations.AddConstraint(
            model_name='action',
            constraint=models.UniqueConstraint(fields=('code', 'key'), name='action_counts_once'),
        ),
        migrations.AddConstraint(
            model_name='action',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('points', 0), ('transaction', None)), models.Q(('points__gt', 0), ('transaction__isnull', False)), _connector='OR'), name='action_points_are_posted'),
        ),
        migrations.AddConstraint(
            model_name='case',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'open')), fields=('kind', 'store', 'profile', 'cashier', 'day'), name='one_open_case_a_day', nulls_distinct=False),
        ),
        migrations.AddConstraint(
            model_name='case',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('decided_at', None), ('decided_by', None), ('state', 'open')), models.Q(models.Q(('state', 'open'), _negated=True), ('decided_at__isnull', False), ('decided_by__isnull', False)), _connector='OR'), name='case_is_decided_by_somebody'),
        ),
        migrations.AddIndex(
            model_name='caseticket',
            index=models.Index(condition=models.Q(('ended_at', None), ('transaction__isnull', False)), fields=['transaction'], name='points_held'),
        ),
        migrations.AddConstraint(
            model_name='caseticket',
            constraint=models.UniqueConstraint(fields=('case', 'purchase'), name='ticket_once_in_a_case'),
        ),
        migrations.AddConstraint(
            model_name='cashier',
            constraint=models.UniqueConstraint(fields=('store', 'code'), name='cashier_code_unique_in_store'),
        ),
        migrations.AddIndex(
            model_name='claim',
            index=models.Index(fields=['store', 'claimed_at'], name='claims_of_store'),
        ),
        migrations.AddConstraint(
            model_name='claimtally',
            constraint=models.UniqueConstraint(fields=('week', 'store', 'cashier'), name='claims_tallied_once'),
        ),
        migrations.AddIndex(
            model_name='parkedreturn',
            index=models.Index(condition=models.Q(('state', 'waiting')), fields=['receipt_id', 'sale_store'], name='returns_waiting'),
        ),
        migrations.AddConstraint(
            model_name='parkedreturn',
            constraint=models.UniqueConstraint(fields=('till', 'business_day', 'refund_id'), name='return_parked_once'),
        ),
        migrations.AddConstraint(
            model_name='parkedreturn',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('applied_as__isnull', False), ('state', 'applied')), models.Q(models.Q(('state', 'applied'), _negated=True), ('applied_as', None)), _connector='OR'), name='applied_return_has_its_refund'),
        ),
        migrations.AddConstraint(
            model_name='storeplace',
            constraint=models.CheckConstraint(condition=models.Q(('latitude__range', (-90, 90)), ('longitude__range', (-180, 180))), name='place_is_on_earth'),
        ),
        migrations.AddConstraint(
            model_name='tierchange',
            constraint=models.CheckConstraint(condition=models.Q(('before', models.F('after')), _negated=True), name='tier_change_changes'),
        ),
        *sql(Path(__file__).with_suffix(".sql")),
    ]
