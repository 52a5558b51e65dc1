"""`manage.py unify_file RECORDS.csv --out PROFILES.csv`: which records of a file are one person; no database is asked.

Exit codes: 0 done, 1 the file is no good, 2 wrong usage. `python -m profiles.matching` does the same without Django.
"""

from django.core.management.base import BaseCommand, CommandError

from profiles.matching.__main__ import add_arguments, run
from profiles.matching.files import BadFile


class Command(BaseCommand):
    help = "Resolve the records of a CSV file into profiles and write which record belongs to which."
    requires_system_checks = []

    def add_arguments(self, parser):
        add_arguments(parser)

    def handle(self, *args, **options):
        try:
            report = run(
                options["records"],
                options["out"],
                options["review"],
                options["automatic"],
                options["language"],
            )
        except (BadFile, OSError) as trouble:
            raise CommandError(str(trouble)) from None
        self.stdout.write(report)
