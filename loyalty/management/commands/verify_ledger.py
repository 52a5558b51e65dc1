"""Recount a brand's ledger from its tickets; exit 1 on a difference."""

import json
import sys

from django.core.management.base import BaseCommand, CommandError
from django_tenants.utils import tenant_context

from loyalty import proof
from loyalty.rulebook import NoProgramme
from tenants.models import Brand


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument("--brand", required=True, help="short name of the brand, e.g. acme")
        parser.add_argument("--json", action="store_true", help="print one line of JSON")

    def handle(self, *args, brand, **options):
        try:
            tenant = Brand.objects.get(slug=brand)
        except Brand.DoesNotExist:
            raise CommandError(f"no brand «{brand}»", returncode=2) from None
        with tenant_context(tenant):
            try:
                result = proof.prove()
            except NoProgramme as error:
                raise CommandError(str(error), returncode=2) from None
        if options["json"]:
            self.stdout.write(json.dumps({**result.counted, "differences": len(result.differences)}))
        else:
            for name, count in result.counted.items():
                self.stdout.write(f"{name:14}{count:>12,}")
            for difference in result.differences[:50]:
                self.stdout.write(self.style.ERROR(str(difference)))
            self.stdout.write(f"{'differences':14}{len(result.differences):>12,}")
        if result.differences:
            sys.exit(1)
