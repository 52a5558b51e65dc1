"""Estimates and policies, adjustments that wait, opening balances; with the SQL file beside it."""

from pathlib import Path

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from tenants.brand_sql import operations as sql

HERE = Path(__file__).parent


class Migration(migrations.Migration):

    dependencies = [
        ('loyalty', '0005_benefits'),
        ('network', '0002_append_only'),
        ('profiles', '0007_unification_steps'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='OpeningRun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('file_name', models.CharField(max_length=200, verbose_name='file')),
                ('file_hash', models.CharField(editable=False, max_length=64)),
                ('state', models.CharField(choices=[('checking', 'being checked'), ('faulty', 'has errors'), ('checked', 'waits for the sign-off'), ('posting', 'being posted'), ('done', 'posted'), ('withdrawn', 'withdrawn')], default='checking', max_length=10, verbose_name='state')),
                ('told_points', models.BigIntegerField(help_text='The total of its own report.', verbose_name='points by the old programme')),
                ('line_count', models.PositiveIntegerField(default=0, verbose_name='lines')),
                ('points', models.BigIntegerField(default=0, verbose_name='points of the file')),
                ('unknown_lines', models.PositiveIntegerField(default=0, verbose_name='lines of unknown customers')),
                ('unknown_points', models.BigIntegerField(default=0, verbose_name='points of unknown customers')),
                ('problem_count', models.PositiveIntegerField(default=0, verbose_name='errors')),
                ('problems', models.JSONField(default=list, editable=False)),
                ('posted_lines', models.PositiveIntegerField(default=0, verbose_name='lines posted')),
                ('posted_points', models.BigIntegerField(default=0, verbose_name='points posted')),
                ('uploaded_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='uploaded')),
                ('signed_at', models.DateTimeField(blank=True, null=True, verbose_name='signed off')),
                ('done_at', models.DateTimeField(blank=True, null=True, verbose_name='posted')),
                ('job', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='opening_run', to='network.job', verbose_name='job')),
                ('signed_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='signed off by')),
                ('uploaded_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='uploaded by')),
            ],
            options={
                'verbose_name': 'opening balances',
                'verbose_name_plural': 'opening balances',
                'ordering': ['-uploaded_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='OpeningLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('line', models.PositiveIntegerField(verbose_name='line')),
                ('named', models.CharField(max_length=100, verbose_name='card or customer number')),
                ('points', models.BigIntegerField(verbose_name='points')),
                ('expires_on', models.DateField(blank=True, null=True, verbose_name='last day')),
                ('profile', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='opening_lines', to='profiles.profile', verbose_name='customer')),
                ('store', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.store', verbose_name='store')),
                ('transaction', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='opening_line', to='loyalty.transaction')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='lines', to='loyalty.openingrun')),
            ],
            options={
                'verbose_name': 'opening balance',
                'verbose_name_plural': 'opening balances',
                'ordering': ['run', 'line'],
            },
        ),
        migrations.CreateModel(
            name='AccountingPolicy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('principal', models.CharField(choices=[('head_office', 'head office'), ('store', 'the store that issued the points')], help_text='Who owes the member the reward, and so carries the liability.', max_length=12, verbose_name='principal')),
                ('cost_percent', models.DecimalField(decimal_places=2, default=100, max_digits=5, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(100)], verbose_name='cost of a reward, in percent of its worth')),
                ('reason', models.CharField(max_length=300, verbose_name='why')),
                ('made_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='made')),
                ('made_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='made by')),
            ],
            options={
                'verbose_name': 'accounting policy',
                'verbose_name_plural': 'accounting policies',
                'ordering': ['-made_at', '-id'],
                'constraints': [models.CheckConstraint(condition=models.Q(('cost_percent__gte', 0), ('cost_percent__lte', 100)), name='cost_is_a_share')],
            },
        ),
        migrations.CreateModel(
            name='Adjustment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(editable=False, max_length=100, unique=True)),
                ('points', models.BigIntegerField(help_text='Below zero: taken.', verbose_name='points')),
                ('reason', models.CharField(choices=[('complaint', 'complaint'), ('goodwill', 'goodwill'), ('missing_ticket', 'a ticket is missing'), ('wrong_ticket', 'a ticket is wrong'), ('contest', 'contest'), ('correction', 'correction')], max_length=20, verbose_name='reason')),
                ('comment', models.CharField(max_length=300, verbose_name='comment')),
                ('state', models.CharField(choices=[('waiting', 'waits for head office'), ('posted', 'posted'), ('refused', 'refused')], default='waiting', max_length=8, verbose_name='state')),
                ('asked_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='asked')),
                ('decided_at', models.DateTimeField(blank=True, null=True, verbose_name='decided')),
                ('answer', models.CharField(blank=True, max_length=300, verbose_name='answer')),
                ('asked_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='asked by')),
                ('decided_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='decided by')),
                ('profile', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='adjustments', to='profiles.profile', verbose_name='customer')),
                ('store', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='adjustments', to='network.store', verbose_name='at the cost of')),
                ('transaction', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='adjustment', to='loyalty.transaction', verbose_name='transaction')),
            ],
            options={
                'verbose_name': 'adjustment',
                'verbose_name_plural': 'adjustments',
                'ordering': ['-asked_at', '-id'],
                'constraints': [models.CheckConstraint(condition=models.Q(('points', 0), _negated=True), name='adjustment_moves_points'), models.CheckConstraint(condition=models.Q(models.Q(('state', 'posted'), ('transaction__isnull', False)), models.Q(models.Q(('state', 'posted'), _negated=True), ('transaction', None)), _connector='OR'), name='adjustment_posted_by_a_transaction'), models.CheckConstraint(condition=models.Q(('decided_by', None), models.Q(('decided_by', models.F('asked_by')), _negated=True), _connector='OR'), name='adjustment_decided_by_another')],
            },
        ),
        migrations.CreateModel(
            name='BreakageEstimate',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('cohort', models.DateField(blank=True, help_text="The month's first day; empty: every other month.", null=True, verbose_name='earned in')),
                ('percent', models.DecimalField(decimal_places=2, max_digits=5, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(100)], verbose_name='% never spent')),
                ('reason', models.CharField(max_length=300, verbose_name='why')),
                ('made_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='made')),
                ('made_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='made by')),
            ],
            options={
                'verbose_name': 'breakage estimate',
                'verbose_name_plural': 'liability and breakage',
                'ordering': ['-made_at', '-id'],
                'constraints': [models.CheckConstraint(condition=models.Q(('percent__gte', 0), ('percent__lte', 100)), name='breakage_is_a_share'), models.CheckConstraint(condition=models.Q(('cohort', None), ('cohort__day', 1), _connector='OR'), name='cohort_is_a_month')],
            },
        ),
        migrations.AddConstraint(
            model_name='openingrun',
            constraint=models.CheckConstraint(condition=models.Q(('signed_by', None), models.Q(('signed_by', models.F('uploaded_by')), _negated=True), _connector='OR'), name='opening_signed_by_another'),
        ),
        migrations.AddConstraint(
            model_name='openingrun',
            constraint=models.CheckConstraint(condition=models.Q(('signed_by', None), models.Q(('points', models.F('told_points')), ('problem_count', 0)), _connector='OR'), name='opening_reconciled_before_signed'),
        ),
        migrations.AddConstraint(
            model_name='openingrun',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('signed_by__isnull', False), ('state__in', ['posting', 'done'])), models.Q(models.Q(('state__in', ['posting', 'done']), _negated=True), ('signed_by', None)), _connector='OR'), name='opening_posted_when_signed'),
        ),
        migrations.AddIndex(
            model_name='openingline',
            index=models.Index(condition=models.Q(('profile__isnull', False), ('transaction', None)), fields=['run', 'line'], name='opening_lines_to_post'),
        ),
        migrations.AddConstraint(
            model_name='openingline',
            constraint=models.UniqueConstraint(fields=('run', 'line'), name='opening_line_once'),
        ),
        migrations.AddConstraint(
            model_name='openingline',
            constraint=models.CheckConstraint(condition=models.Q(('points__gt', 0)), name='opening_gives_points'),
        ),
        migrations.AlterModelOptions(
            name='settlementstatement',
            options={'ordering': ['-month'], 'verbose_name': 'statement between stores', 'verbose_name_plural': 'statements between stores'},
        ),
        *sql(HERE / "0006_finance.sql"),
    ]
