"""`manage.py create_brand --config brand.toml`: open a brand without the platform's pages (docs/operations.md)."""

import tomllib
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django_tenants.utils import tenant_context

from tenants import invitations, onboarding
from tenants.plan import BadPlan, plan_from_config


class Command(BaseCommand):
    help = (
        "Open the brand that a TOML file describes. Run again after a failure, it goes on where it stopped."
    )

    def add_arguments(self, parser):
        parser.add_argument("--config", type=Path, required=True, help="the TOML file")
        parser.add_argument("--origin", default="", help="what stands before each invitation's path")

    def handle(self, *, config: Path, origin: str, **options):
        try:
            plan = plan_from_config(tomllib.loads(config.read_text(encoding="utf-8")), config.parent)
            onboarding.open_platform()
            onboarded = onboarding.onboard_brand(plan, report=lambda step: self.stdout.write(f"  {step}"))
        except (OSError, tomllib.TOMLDecodeError, BadPlan, onboarding.StepFailed) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(self.style.SUCCESS(f"{onboarded.brand.name} answers at {plan.domain}"))
        with tenant_context(onboarded.brand):
            for staff in invitations.not_accepted():
                link = f"{origin or invitations.origin_of(plan.domain)}{invitations.path_of(staff)}"
                self.stdout.write(f"invitation for {staff.email}: {link}")
        for store, tills in onboarded.till_keys.items():
            for till, key in tills.items():
                self.stdout.write(f"key of till {store}/{till}, shown this once: {key}")
