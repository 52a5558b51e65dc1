"""`manage.py unify_brand --brand acme`: compare all customers of a brand with each other, now and in this process.

Workers that are running help. Stopped at any moment, it is carried on by the next run, or by a worker within minutes.
"""

from django.core.management.base import BaseCommand, CommandError
from django_tenants.utils import tenant_context

from profiles import unification
from profiles.tasks import call_workers
from tenants.locks import alone
from tenants.models import Brand
from tenants.scoping import whole_network

FAILED, USAGE = 1, 2


class Command(BaseCommand):
    help = "Learn a brand's model anew and unify its customers by it."

    def add_arguments(self, parser):
        parser.add_argument("--brand", required=True, help="short name of the brand")

    def handle(self, *args, **options):
        brand = Brand.objects.filter(slug=options["brand"]).first()
        if brand is None:
            raise CommandError(f"no brand is called «{options['brand']}»", returncode=USAGE)
        with tenant_context(brand), whole_network(), alone("match") as is_alone:
            if not is_alone:
                raise CommandError(
                    "a worker is matching this brand's records: wait for it", returncode=FAILED
                )
            found = unification.unify_brand(call=call_workers)
        for name in ("records", "merged", "separated", "queued"):
            self.stdout.write(f"{name:10} {getattr(found, name):>10,}")
