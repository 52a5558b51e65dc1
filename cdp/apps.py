from datetime import date

from django.apps import AppConfig
from django.utils import translation
from django.utils.translation import gettext_lazy as _


class CdpConfig(AppConfig):
    name = "cdp"
    verbose_name = _("Platform")

    def ready(self):
        # Makes the app that knows the broker the current one, for every @shared_task.
        from cdp import celery  # noqa: F401
        from tenants import onboarding

        onboarding.further_steps.append(onboarding.Step("programme", _("Loyalty programme"), open_programme))
        onboarding.further_steps.append(onboarding.Step("events", _("Dictionary of events"), open_dictionary))


def open_programme(brand, plan) -> None:
    """The step that onboarding takes for the loyalty programme, which tenants know nothing of."""
    from loyalty import starter
    from tenants.network.models import Staff
    from tenants.roles import Role

    admin = Staff.objects.filter(role=Role.BRAND_ADMIN).order_by("pk").first()
    day = date.fromisoformat(plan.points_from) if plan.points_from else None
    # The names it gives to tiers and rules are the brand's own from then on.
    with translation.override(brand.language):
        starter.open_programme(brand.time_zone, day, by=admin)


def open_dictionary(brand, plan) -> None:
    """The step that onboarding takes for the events of sites and apps."""
    from profiles.intake.event_dictionary import open_dictionary

    open_dictionary()
