import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('profiles', '0005_unify'),
    ]

    operations = [
        migrations.CreateModel(
            name='MatchingModel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('version', models.PositiveIntegerField(unique=True, verbose_name='version')),
                ('learnt_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='learnt')),
                ('records', models.PositiveBigIntegerField(verbose_name='records')),
                ('weights', models.TextField(help_text='As `profiles.matching.model.Model.to_json` writes them.', verbose_name='weights')),
                ('automatic', models.FloatField(help_text="Match weight in bits from which on two are merged without anybody's word.", verbose_name='threshold')),
                ('rules', models.JSONField(help_text='Those under which records are indexed.', verbose_name='blocking rules')),
                ('counts', models.JSONField(default=dict, help_text='On how many records the more frequent values stand.', verbose_name='frequencies')),
                ('figures', models.JSONField(default=dict, verbose_name='figures')),
            ],
            options={
                'verbose_name': 'matching model',
                'verbose_name_plural': 'matching models',
                'ordering': ['-version'],
            },
        ),
        # The keys were words and are hashes now; matching writes them anew.
        migrations.DeleteModel(name='BlockingKey'),
        migrations.CreateModel(
            name='BlockingKey',
            fields=[
                ('pk', models.CompositePrimaryKey('key', 'record_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('key', models.BigIntegerField()),
                ('record', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name='blocking_keys', to='profiles.sourcerecord')),
            ],
            options={
                'verbose_name': 'blocking key',
                'verbose_name_plural': 'blocking keys',
            },
        ),
    ]
