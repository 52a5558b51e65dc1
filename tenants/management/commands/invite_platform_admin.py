"""`manage.py invite_platform_admin EMAIL NAME`: the first person on a new platform, or one who lost the password."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email

from tenants import invitations, onboarding
from tenants.network.models import Staff, audit
from tenants.roles import Role


class Command(BaseCommand):
    help = "Print a link by which a platform administrator chooses a password, once, within a week."

    def add_arguments(self, parser):
        parser.add_argument("email")
        parser.add_argument("name")
        parser.add_argument(
            "--language", choices=sorted(dict(settings.LANGUAGES)), default=settings.LANGUAGE_CODE
        )

    def handle(self, *, email: str, name: str, language: str, **options):
        try:
            validate_email(email)
        except ValidationError as error:
            raise CommandError(error.messages[0]) from error
        onboarding.open_platform()
        staff = Staff.objects.filter(email=email.lower()).first()
        if staff is None:
            staff = Staff.objects.create_user(
                email, full_name=name, role=Role.PLATFORM_ADMIN, language=language
            )
        else:
            staff.set_unusable_password()
            staff.save(update_fields=["password"])
        audit("system", "invited", staff, role=staff.role)
        self.stdout.write(f"{invitations.origin_of(settings.BASE_DOMAIN)}{invitations.path_of(staff)}")
