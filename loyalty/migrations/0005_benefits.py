"""Rewards, vouchers, coupons, tickets paid by them, stores that leave; with the SQL file beside it."""

from pathlib import Path

import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.text
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from tenants.brand_sql import operations as sql


class Migration(migrations.Migration):

    dependencies = [
        ('loyalty', '0004_actions'),
        ('network', '0002_append_only'),
        ('profiles', '0006_matching'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Coupon',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code', models.CharField(help_text='As it is typed at the till; capitals do not matter.', max_length=40, unique=True, verbose_name='code')),
                ('name', models.CharField(max_length=120, verbose_name='name')),
                ('kind', models.CharField(choices=[('amount', 'Amount off'), ('percent', 'Percent off')], max_length=8, verbose_name='kind')),
                ('amount', models.PositiveIntegerField(help_text='500: 5 € off; 10: 10 percent off.', validators=[django.core.validators.MinValueValidator(1)], verbose_name='cents or percent')),
                ('least_cents', models.PositiveIntegerField(default=0, verbose_name='basket of at least … cents')),
                ('starts_at', models.DateTimeField(verbose_name='from')),
                ('ends_at', models.DateTimeField(blank=True, null=True, verbose_name='until (excluded)')),
                ('most_in_all', models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='at most … in all')),
                ('most_a_member', models.PositiveIntegerField(blank=True, help_text='Then only members may use it.', null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='at most … a member')),
                ('most_a_store', models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='at most … a store')),
                ('campaign', models.CharField(blank=True, max_length=80, verbose_name='campaign')),
                ('is_on', models.BooleanField(default=True, verbose_name='in force')),
            ],
            options={
                'verbose_name': 'coupon',
                'verbose_name_plural': 'coupons',
                'ordering': ['-starts_at', 'code'],
            },
        ),
        migrations.CreateModel(
            name='CouponTally',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('used', models.IntegerField(default=0)),
            ],
            options={
                'verbose_name': 'uses of a coupon counted',
                'verbose_name_plural': 'uses of coupons counted',
            },
        ),
        migrations.CreateModel(
            name='CouponUse',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('basket', models.CharField(help_text='The till and its own id.', max_length=120, verbose_name='basket')),
                ('cents', models.PositiveIntegerField(verbose_name='money off')),
                ('used_at', models.DateTimeField(verbose_name='used')),
                ('cancelled_at', models.DateTimeField(blank=True, null=True, verbose_name='cancelled')),
            ],
            options={
                'verbose_name': 'use of a coupon',
                'verbose_name_plural': 'uses of coupons',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='Reward',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code', models.SlugField(max_length=40, unique=True, verbose_name='code')),
                ('name', models.CharField(max_length=120, verbose_name='name')),
                ('description', models.CharField(blank=True, max_length=500, verbose_name='description')),
                ('kind', models.CharField(choices=[('money_off', 'Money off'), ('gift', 'Gift product'), ('service', 'Service'), ('access', 'Access or priority'), ('donation', 'Donation')], max_length=12, verbose_name='kind')),
                ('points', models.PositiveIntegerField(blank=True, help_text='Empty: it cannot be had for points, only be given.', null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='costs … points')),
                ('worth_cents', models.PositiveIntegerField(default=0, help_text='The money off; of anything else, what the store that hands it over is owed.', verbose_name='worth in cents')),
                ('valid_from', models.DateField(verbose_name='offered from')),
                ('valid_until', models.DateField(blank=True, help_text='Its last day.', null=True, verbose_name='offered until')),
                ('lives_days', models.PositiveSmallIntegerField(default=90, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(3650)], verbose_name='a voucher lives … days')),
                ('unused', models.CharField(choices=[('lost', 'the points are lost'), ('returned', 'the points return to their lots')], default='lost', max_length=8, verbose_name='if it is not used')),
                ('is_counted', models.BooleanField(default=False, help_text='By store; a store without a figure has none.', verbose_name='has a stock')),
                ('earner', models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='% paid by the store that issued the points')),
                ('redeemer', models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='% paid by the store where it is used')),
                ('head_office', models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='% paid by head office')),
                ('is_offered', models.BooleanField(default=True, verbose_name='offered')),
            ],
            options={
                'verbose_name': 'reward',
                'verbose_name_plural': 'rewards',
                'ordering': ['points', 'name'],
            },
        ),
        migrations.CreateModel(
            name='RewardStock',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('left', models.IntegerField(validators=[django.core.validators.MinValueValidator(0)], verbose_name='in stock')),
            ],
            options={
                'verbose_name': 'stock of a reward',
                'verbose_name_plural': 'stock of rewards',
                'ordering': ['reward', 'store'],
            },
        ),
        migrations.CreateModel(
            name='StackingClass',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code', models.SlugField(max_length=40, unique=True, verbose_name='code')),
                ('name', models.CharField(max_length=80, verbose_name='name')),
            ],
            options={
                'verbose_name': 'stacking class',
                'verbose_name_plural': 'stacking classes',
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='StoreExit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('on', models.DateField(verbose_name='leaves on')),
                ('points', models.BigIntegerField(default=0, editable=False, verbose_name='points')),
                ('done_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='carried out')),
            ],
            options={
                'verbose_name': 'exit of a store',
                'verbose_name_plural': 'exits of stores',
                'ordering': ['-on'],
            },
        ),
        migrations.CreateModel(
            name='TicketPayment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('line_number', models.PositiveSmallIntegerField(verbose_name='line')),
                ('cents', models.PositiveIntegerField(verbose_name='money off')),
                ('points', models.PositiveIntegerField(verbose_name='points')),
            ],
            options={
                'verbose_name': 'payment by a reward',
                'verbose_name_plural': 'payments by rewards',
            },
        ),
        migrations.CreateModel(
            name='TierGift',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('is_on', models.BooleanField(default=True, verbose_name='in force')),
            ],
            options={
                'verbose_name': 'gift of a tier',
                'verbose_name_plural': 'gifts of tiers',
                'ordering': ['tier', 'id'],
            },
        ),
        migrations.CreateModel(
            name='Voucher',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code', models.CharField(max_length=20, unique=True, verbose_name='code')),
                ('key', models.CharField(max_length=120, unique=True, verbose_name='key')),
                ('state', models.CharField(choices=[('issued', 'issued'), ('used', 'used'), ('cancelled', 'cancelled'), ('expired', 'expired')], default='issued', max_length=10, verbose_name='state')),
                ('points', models.PositiveIntegerField(default=0, verbose_name='points paid')),
                ('worth_cents', models.PositiveIntegerField(default=0, verbose_name='worth in cents')),
                ('shares', models.CharField(blank=True, max_length=12, verbose_name='who pays')),
                ('unused', models.CharField(choices=[('lost', 'the points are lost'), ('returned', 'the points return to their lots')], max_length=8, verbose_name='if it is not used')),
                ('campaign', models.CharField(blank=True, max_length=80, verbose_name='campaign')),
                ('issued_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='issued')),
                ('issued_by', models.CharField(blank=True, max_length=160, verbose_name='issued by')),
                ('last_day', models.DateField(verbose_name='last day')),
                ('ended_at', models.DateTimeField(blank=True, null=True, verbose_name='ended')),
                ('used_cents', models.PositiveIntegerField(default=0, verbose_name='money off')),
            ],
            options={
                'verbose_name': 'voucher',
                'verbose_name_plural': 'vouchers',
                'ordering': ['-id'],
            },
        ),
        migrations.RemoveConstraint(
            model_name='account',
            name='account_is_a_members_or_a_stores',
        ),
        migrations.AlterField(
            model_name='account',
            name='kind',
            field=models.CharField(choices=[('available', 'available'), ('pending', 'pending'), ('debt', 'debt'), ('issued', 'issued'), ('redeemed', 'redeemed'), ('expired', 'expired'), ('adjustment', 'adjustment'), ('reserved', 'reserved'), ('vouchers', 'in vouchers'), ('loss', 'loss of head office')], max_length=12, verbose_name='kind'),
        ),
        migrations.AlterField(
            model_name='settlementline',
            name='lot',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='settlement_lines', to='loyalty.lot'),
        ),
        migrations.AlterField(
            model_name='transaction',
            name='kind',
            field=models.CharField(choices=[('earn', 'earned'), ('release', 'made available'), ('redeem', 'spent'), ('refund', 'taken back'), ('expire', 'expired'), ('transfer', 'moved'), ('adjust', 'adjusted'), ('reserve', 'reserved'), ('give_back', 'given back'), ('extend', 'extended'), ('issue', 'turned into a voucher'), ('fund', 'funded anew')], max_length=10, verbose_name='kind'),
        ),
        migrations.AlterField(
            model_name='transaction',
            name='profile',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='transactions', to='profiles.profile', verbose_name='customer'),
        ),
        migrations.AddConstraint(
            model_name='account',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('balance__isnull', False), ('kind__in', ['available', 'pending', 'debt']), ('store', None), models.Q(('profile', None), _negated=True)), models.Q(('balance', None), ('kind__in', ['issued', 'redeemed', 'expired', 'adjustment', 'reserved', 'vouchers']), ('profile', None), models.Q(('store', None), _negated=True)), models.Q(('balance', None), ('kind__in', ['loss', 'issued']), ('profile', None), ('store', None)), _connector='OR'), name='account_is_a_members_or_a_stores'),
        ),
        migrations.AddConstraint(
            model_name='transaction',
            constraint=models.CheckConstraint(condition=models.Q(('profile__isnull', False), ('kind', 'fund'), _connector='OR'), name='transaction_is_a_members'),
        ),
        migrations.AddField(
            model_name='coupon',
            name='stores',
            field=models.ManyToManyField(blank=True, help_text='Empty: every store.', related_name='+', to='network.store', verbose_name='stores'),
        ),
        migrations.AddField(
            model_name='coupontally',
            name='coupon',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='tallies', to='loyalty.coupon'),
        ),
        migrations.AddField(
            model_name='coupontally',
            name='store',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.store'),
        ),
        migrations.AddField(
            model_name='couponuse',
            name='coupon',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='uses', to='loyalty.coupon', verbose_name='coupon'),
        ),
        migrations.AddField(
            model_name='couponuse',
            name='profile',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='coupon_uses', to='profiles.profile', verbose_name='customer'),
        ),
        migrations.AddField(
            model_name='couponuse',
            name='store',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.store', verbose_name='store'),
        ),
        migrations.AddField(
            model_name='reward',
            name='stores',
            field=models.ManyToManyField(blank=True, help_text='Empty: every store.', related_name='+', to='network.store', verbose_name='stores'),
        ),
        migrations.AddField(
            model_name='rewardstock',
            name='reward',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='stock', to='loyalty.reward', verbose_name='reward'),
        ),
        migrations.AddField(
            model_name='rewardstock',
            name='store',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.store', verbose_name='store'),
        ),
        migrations.AddField(
            model_name='stackingclass',
            name='combines_with',
            field=models.ManyToManyField(blank=True, help_text='Holds for both.', to='loyalty.stackingclass', verbose_name='combines with'),
        ),
        migrations.AddField(
            model_name='coupon',
            name='stacking',
            field=models.ForeignKey(blank=True, help_text='Empty: it combines with no other coupon.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='coupons', to='loyalty.stackingclass', verbose_name='stacking class'),
        ),
        migrations.AddField(
            model_name='storeexit',
            name='buyer',
            field=models.ForeignKey(blank=True, help_text='Empty: head office.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.store', verbose_name='points taken over by'),
        ),
        migrations.AddField(
            model_name='storeexit',
            name='by',
            field=models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='agreed by'),
        ),
        migrations.AddField(
            model_name='storeexit',
            name='store',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='exit', to='network.store', verbose_name='store'),
        ),
        migrations.AddField(
            model_name='storeexit',
            name='transaction',
            field=models.OneToOneField(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='loyalty.transaction', verbose_name='posting'),
        ),
        migrations.AddField(
            model_name='ticketpayment',
            name='purchase',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='payments', to='profiles.purchase', verbose_name='purchase'),
        ),
        migrations.AddField(
            model_name='ticketpayment',
            name='transaction',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='paid', to='loyalty.transaction', verbose_name='redemption'),
        ),
        migrations.AddField(
            model_name='tiergift',
            name='reward',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='loyalty.reward', verbose_name='reward'),
        ),
        migrations.AddField(
            model_name='tiergift',
            name='tier',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='gifts', to='loyalty.tier', verbose_name='tier'),
        ),
        migrations.AddField(
            model_name='voucher',
            name='gift',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='vouchers', to='loyalty.tiergift', verbose_name='gift of a tier'),
        ),
        migrations.AddField(
            model_name='voucher',
            name='issue',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='voucher', to='loyalty.transaction', verbose_name='points of the voucher'),
        ),
        migrations.AddField(
            model_name='voucher',
            name='issued_in',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.store', verbose_name='issued in'),
        ),
        migrations.AddField(
            model_name='voucher',
            name='profile',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='vouchers', to='profiles.profile', verbose_name='customer'),
        ),
        migrations.AddField(
            model_name='voucher',
            name='reward',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='vouchers', to='loyalty.reward', verbose_name='reward'),
        ),
        migrations.AddField(
            model_name='voucher',
            name='stock',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='loyalty.rewardstock', verbose_name='taken from the stock of'),
        ),
        migrations.AddField(
            model_name='voucher',
            name='store',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.store', verbose_name='only valid in'),
        ),
        migrations.AddField(
            model_name='voucher',
            name='use',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='used_voucher', to='loyalty.transaction', verbose_name='use'),
        ),
        migrations.AddField(
            model_name='voucher',
            name='used_in',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='network.store', verbose_name='used in'),
        ),
        migrations.AddConstraint(
            model_name='coupontally',
            constraint=models.UniqueConstraint(fields=('coupon', 'store'), name='coupon_tally_once', nulls_distinct=False),
        ),
        migrations.AddIndex(
            model_name='couponuse',
            index=models.Index(condition=models.Q(('cancelled_at', None)), fields=['coupon', 'profile'], name='uses_of_coupon_by_member'),
        ),
        migrations.AddConstraint(
            model_name='couponuse',
            constraint=models.UniqueConstraint(condition=models.Q(('cancelled_at', None)), fields=('coupon', 'basket'), name='coupon_once_a_basket'),
        ),
        migrations.AddConstraint(
            model_name='reward',
            constraint=models.CheckConstraint(condition=models.Q(('points', None), ('points__gte', 1), _connector='OR'), name='reward_costs_points'),
        ),
        migrations.AddConstraint(
            model_name='reward',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind', 'money_off'), _negated=True), ('worth_cents__gte', 1), _connector='OR'), name='money_off_is_worth_something'),
        ),
        migrations.AddConstraint(
            model_name='reward',
            constraint=models.CheckConstraint(condition=models.Q(('valid_until', None), ('valid_until__gte', models.F('valid_from')), _connector='OR'), name='reward_ends_after_start'),
        ),
        migrations.AddConstraint(
            model_name='reward',
            constraint=models.CheckConstraint(condition=models.Q(('lives_days__gte', 1), ('lives_days__lte', 3650)), name='voucher_lives_a_day_or_more'),
        ),
        migrations.AddConstraint(
            model_name='reward',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('earner', None), ('head_office', None), ('redeemer', None)), models.Q(('earner__isnull', False), ('head_office', django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.Value(100), '-', models.F('earner')), '-', models.F('redeemer'))), ('redeemer__isnull', False)), _connector='OR'), name='reward_shares_sum_to_100'),
        ),
        migrations.AddConstraint(
            model_name='rewardstock',
            constraint=models.UniqueConstraint(fields=('reward', 'store'), name='one_stock_a_store'),
        ),
        migrations.AddConstraint(
            model_name='rewardstock',
            constraint=models.CheckConstraint(condition=models.Q(('left__gte', 0)), name='stock_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='coupon',
            constraint=models.CheckConstraint(condition=models.Q(('code', django.db.models.functions.text.Upper('code'))), name='coupon_code_is_upper_case'),
        ),
        migrations.AddConstraint(
            model_name='coupon',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('amount__gte', 1), ('kind', 'amount')), models.Q(('amount__gte', 1), ('amount__lte', 100), ('kind', 'percent')), _connector='OR'), name='coupon_takes_something_off'),
        ),
        migrations.AddConstraint(
            model_name='coupon',
            constraint=models.CheckConstraint(condition=models.Q(('ends_at', None), ('ends_at__gt', models.F('starts_at')), _connector='OR'), name='coupon_ends_after_start'),
        ),
        migrations.AddConstraint(
            model_name='storeexit',
            constraint=models.CheckConstraint(condition=models.Q(('buyer', None), models.Q(('buyer', models.F('store')), _negated=True), _connector='OR'), name='nobody_buys_their_own_points'),
        ),
        migrations.AddConstraint(
            model_name='ticketpayment',
            constraint=models.UniqueConstraint(fields=('purchase', 'line_number'), name='payment_has_its_line'),
        ),
        migrations.AddConstraint(
            model_name='ticketpayment',
            constraint=models.CheckConstraint(condition=models.Q(('cents__gte', 1)), name='payment_pays_something'),
        ),
        migrations.AddConstraint(
            model_name='tiergift',
            constraint=models.UniqueConstraint(fields=('tier', 'reward'), name='gift_of_a_tier_once'),
        ),
        migrations.AddIndex(
            model_name='voucher',
            index=models.Index(fields=['profile', '-id'], name='vouchers_of_profile'),
        ),
        migrations.AddIndex(
            model_name='voucher',
            index=models.Index(condition=models.Q(('state', 'issued')), fields=['last_day'], name='vouchers_to_expire'),
        ),
        migrations.AddIndex(
            model_name='voucher',
            index=models.Index(fields=['reward', 'state'], name='vouchers_of_reward'),
        ),
        migrations.AddConstraint(
            model_name='voucher',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('ended_at', None), ('state', 'issued'), ('use', None), ('used_in', None)), models.Q(('ended_at__isnull', False), ('state__in', ['cancelled', 'expired']), ('use', None), ('used_in', None)), models.Q(('ended_at__isnull', False), ('state', 'used'), ('use__isnull', False), ('used_in__isnull', False)), _connector='OR'), name='voucher_is_in_one_state'),
        ),
        migrations.AddConstraint(
            model_name='voucher',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('issue', None), ('points', 0)), models.Q(('issue__isnull', False), ('points__gte', 1)), _connector='OR'), name='points_of_a_voucher_are_posted'),
        ),
        migrations.AddConstraint(
            model_name='voucher',
            constraint=models.CheckConstraint(condition=models.Q(('used_cents__lte', models.F('worth_cents'))), name='voucher_gives_no_more_than_its_worth'),
        ),
        *sql(Path(__file__).with_suffix(".sql")),
    ]
