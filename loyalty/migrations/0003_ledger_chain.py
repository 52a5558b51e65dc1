"""The chain of each account, days that move later, and settlement between stores; with the SQL files beside it."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.expressions
import django.utils.timezone
from django.db import migrations, models

from tenants.brand_sql import operations as sql

HERE = Path(__file__).parent
# What was posted before the chain is linked in the order of its ids; no other reason lets a posting change.
LINK_THE_PAST = """
DO $$
DECLARE
    entry record;
    before record;
    link text;
BEGIN
    FOR entry IN SELECT p.id, p.account_id, p.points, t.id AS fact, t.key, t.kind
                   FROM loyalty_posting p JOIN loyalty_account a ON a.id = p.account_id AND a.balance IS NOT NULL
                   JOIN loyalty_transaction t ON t.id = p.transaction_id WHERE p.number = 0 ORDER BY p.id
    LOOP
        SELECT entries + 1 AS number, head INTO before FROM loyalty_account WHERE id = entry.account_id;
        link := encode(sha256(convert_to(concat_ws('|', before.head, entry.account_id, before.number, entry.points,
                                                   entry.fact, entry.key, entry.kind), 'UTF8')), 'hex');
        UPDATE loyalty_posting SET number = before.number, hash = link WHERE id = entry.id;
        UPDATE loyalty_account SET entries = before.number, head = link WHERE id = entry.account_id;
    END LOOP;
END $$
"""
NO_WAY_BACK = migrations.RunSQL.noop


class Migration(migrations.Migration):

    dependencies = [
        ('loyalty', '0002_ledger_invariants'),
        ('network', '0002_append_only'),
        ('profiles', '0003_delivered'),
    ]

    operations = [
        migrations.CreateModel(
            name='FundingKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('effective_from', models.DateTimeField(unique=True, verbose_name='from')),
                ('earner', models.PositiveSmallIntegerField(verbose_name='% paid by the store that issued the points')),
                ('redeemer', models.PositiveSmallIntegerField(verbose_name='% paid by the store where they were spent')),
                ('head_office', models.PositiveSmallIntegerField(verbose_name='% paid by head office')),
            ],
            options={
                'verbose_name': 'funding key',
                'verbose_name_plural': 'funding keys',
                'ordering': ['-effective_from'],
            },
        ),
        migrations.CreateModel(
            name='LotExtension',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('was', models.DateField(verbose_name='last day before')),
                ('until', models.DateField(verbose_name='last day')),
            ],
            options={
                'verbose_name': 'extension of a lot',
                'verbose_name_plural': 'extensions of lots',
            },
        ),
        migrations.CreateModel(
            name='SettlementLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('cents', models.BigIntegerField()),
            ],
            options={
                'verbose_name': 'settlement line',
                'verbose_name_plural': 'settlement lines',
            },
        ),
        migrations.CreateModel(
            name='SettlementStatement',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('month', models.DateField(help_text='Its first day.', unique=True, verbose_name='month')),
                ('closed_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='closed')),
                ('line_count', models.PositiveIntegerField(help_text='No line can be added later.', verbose_name='lines')),
            ],
            options={
                'verbose_name': 'settlement statement',
                'verbose_name_plural': 'settlement statements',
                'ordering': ['-month'],
            },
        ),
        migrations.RemoveConstraint(
            model_name='account',
            name='account_is_a_members_or_a_stores',
        ),
        migrations.AddField(
            model_name='account',
            name='entries',
            field=models.BigIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name='account',
            name='head',
            field=models.CharField(blank=True, db_default='', default='', editable=False, max_length=64),
        ),
        migrations.AddField(
            model_name='lot',
            name='idle_months',
            field=models.PositiveSmallIntegerField(blank=True, editable=False, help_text='A purchase or redemption gives it as many months anew.', null=True),
        ),
        migrations.AddField(
            model_name='posting',
            name='hash',
            field=models.CharField(blank=True, db_default='', default='', editable=False, max_length=64),
        ),
        migrations.AddField(
            model_name='posting',
            name='number',
            field=models.BigIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name='transaction',
            name='earned_before',
            field=models.BigIntegerField(db_default=0, default=0, editable=False, help_text="Points of the same day's tickets before this one."),
        ),
        migrations.AlterField(
            model_name='account',
            name='kind',
            field=models.CharField(choices=[('available', 'available'), ('pending', 'pending'), ('debt', 'debt'), ('issued', 'issued'), ('redeemed', 'redeemed'), ('expired', 'expired'), ('adjustment', 'adjustment'), ('reserved', 'reserved')], max_length=12, verbose_name='kind'),
        ),
        migrations.AlterField(
            model_name='transaction',
            name='kind',
            field=models.CharField(choices=[('earn', 'earned'), ('release', 'made available'), ('redeem', 'spent'), ('refund', 'taken back'), ('expire', 'expired'), ('transfer', 'moved'), ('adjust', 'adjusted'), ('reserve', 'reserved'), ('give_back', 'given back'), ('extend', 'extended')], max_length=10, verbose_name='kind'),
        ),
        migrations.AddIndex(
            model_name='transaction',
            index=models.Index(condition=models.Q(('kind', 'reserve')), fields=['occurred_at'], name='reservations_by_time'),
        ),
        migrations.AddConstraint(
            model_name='account',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('balance__isnull', False), ('kind__in', ['available', 'pending', 'debt']), ('store', None), models.Q(('profile', None), _negated=True)), models.Q(('balance', None), ('kind__in', ['issued', 'redeemed', 'expired', 'adjustment', 'reserved']), ('profile', None), models.Q(('store', None), _negated=True)), _connector='OR'), name='account_is_a_members_or_a_stores'),
        ),
        migrations.AddConstraint(
            model_name='fundingkey',
            constraint=models.CheckConstraint(condition=models.Q(('head_office', django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.Value(100), '-', models.F('earner')), '-', models.F('redeemer')))), name='funding_key_sums_to_100'),
        ),
        migrations.AddField(
            model_name='lotextension',
            name='lot',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='extensions', to='loyalty.lot', verbose_name='lot'),
        ),
        migrations.AddField(
            model_name='lotextension',
            name='transaction',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='extensions', to='loyalty.transaction', verbose_name='transaction'),
        ),
        migrations.AddField(
            model_name='settlementline',
            name='lot',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='settlement_lines', to='loyalty.lot'),
        ),
        migrations.AddField(
            model_name='settlementline',
            name='store',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='settlement_lines', to='network.store'),
        ),
        migrations.AddField(
            model_name='settlementline',
            name='transaction',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='settlement_lines', to='loyalty.transaction'),
        ),
        migrations.AddField(
            model_name='settlementline',
            name='statement',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='lines', to='loyalty.settlementstatement'),
        ),
        migrations.AddConstraint(
            model_name='lotextension',
            constraint=models.CheckConstraint(condition=models.Q(('until__gt', models.F('was'))), name='extension_is_later'),
        ),
        migrations.AddConstraint(
            model_name='settlementline',
            constraint=models.UniqueConstraint(fields=('transaction', 'lot', 'store'), name='settled_once', nulls_distinct=False),
        ),
        migrations.RunSQL("DROP TRIGGER IF EXISTS ledger_is_append_only ON loyalty_posting", NO_WAY_BACK),
        migrations.RunSQL(LINK_THE_PAST, NO_WAY_BACK),
        *sql(HERE / "0002_ledger_invariants.sql"),
        *sql(HERE / "0003_ledger_chain.sql"),
    ]
