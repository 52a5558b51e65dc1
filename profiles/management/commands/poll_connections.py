"""`manage.py poll_connections --brand acme`: look into the brand's watched folders and buckets now.

Exit codes: 0 all looked into, 1 one of them could not be, 2 wrong usage.
"""

from django.core.management.base import BaseCommand, CommandError
from django_tenants.utils import tenant_context

from profiles.connectors import polling
from profiles.models import Connection
from tenants.models import Brand
from tenants.scoping import whole_network

FAILED, USAGE = 1, 2


class Command(BaseCommand):
    help = "Look into the brand's watched folders and buckets now, as the timetable does every five minutes."

    def add_arguments(self, parser):
        parser.add_argument("--brand", required=True, help="short name of the brand")
        parser.add_argument("--name", help="this connector alone")

    def handle(self, *args, **options):
        brand = Brand.objects.filter(slug=options["brand"]).first()
        if brand is None:
            raise CommandError(f"no brand is called «{options['brand']}»", returncode=USAGE)
        with tenant_context(brand), whole_network():
            polled = Connection.objects.filter(kind__in=polling.POLLED, is_on=True).select_related("source")
            if options["name"]:
                polled = polled.filter(name=options["name"])
                if not polled.exists():
                    raise CommandError(f"no polled connector is called «{options['name']}»", returncode=USAGE)
            looks = [(connection.name, polling.poll(connection)) for connection in polled]
        for name, look in looks:
            self.stdout.write(f"{name}: {self._said(look)}")
        if any(look.error for _name, look in looks):
            raise CommandError("not every connector could be looked into", returncode=FAILED)

    @staticmethod
    def _said(look: polling.Look) -> str:
        if look.busy:
            return "another look is under way"
        counts = f"{len(look.taken_in)} taken in, {len(look.refused)} refused, {len(look.waiting)} waiting"
        return f"{counts}; {look.error}" if look.error else counts
