"""Check that a server keeps the contract of the till API; exit 1 where it does not (docs/till-api.md)."""

import argparse
import sys

from django.core.management.base import BaseCommand

from loyalty.conformance import report


class Command(BaseCommand):
    help = report.ABOUT
    requires_system_checks: list[str] = []

    def add_arguments(self, parser):
        report.add_arguments(parser)

    def handle(self, *args, **options):
        code = report.run(argparse.Namespace(**options), self.stdout)
        if code:
            sys.exit(code)
