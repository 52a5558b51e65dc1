"""The brands of the platform: rows of the public schema, seen by platform staff alone.

A brand is a tenant: one PostgreSQL schema, found by the host name of the request. `cell` names the database
that holds the schema, so that a brand can move to another database without a change of code.
"""

from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from django_tenants.models import DomainMixin, TenantMixin

MAIN_CELL = "main"

valid_slug = RegexValidator(
    r"^[a-z][a-z0-9]{1,30}$", _("Two to thirty-one lower-case letters and digits, a letter first.")
)


class Brand(TenantMixin):
    """A franchise brand (enseigne): head office and stores share its schema, no other brand does."""

    # Onboarding creates the schema as a step of its own, so that a failure half-way resumes.
    auto_create_schema = False

    name = models.CharField(_("name"), max_length=120)
    slug = models.CharField(_("short name"), max_length=31, unique=True, validators=[valid_slug])
    language = models.CharField(
        _("language"), max_length=5, default="fr", choices=[("fr", "Français"), ("en", "English")]
    )
    currency = models.CharField(_("currency"), max_length=3, default="EUR")
    time_zone = models.CharField(_("time zone"), max_length=40, default="Europe/Paris")
    cell = models.CharField(_("cell"), max_length=40, default=MAIN_CELL)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        ordering = ["name"]
        verbose_name = _("brand")
        verbose_name_plural = _("brands")

    def __str__(self) -> str:
        return self.name


class Domain(DomainMixin):
    """A host name that opens a brand's site."""

    class Meta:
        verbose_name = _("domain")
        verbose_name_plural = _("domains")

    def __str__(self) -> str:
        return self.domain


class Blueprint(models.Model):
    """The statements that make a brand's schema, as the migrations said them (`tenants/blueprint.py`)."""

    fingerprint = models.CharField(_("fingerprint"), max_length=64, unique=True)
    statements = models.JSONField(_("statements"))

    class Meta:
        verbose_name = _("blueprint")
        verbose_name_plural = _("blueprints")

    def __str__(self) -> str:
        return self.fingerprint[:8]


def database_of(brand: Brand) -> str:
    """The database alias that holds the brand's schema: the one place that knows about cells."""
    return "default" if brand.cell == MAIN_CELL else brand.cell
