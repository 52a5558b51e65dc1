"""The form that asks for a new brand: what it says becomes a `BrandPlan`, whose faults become the form's errors."""

from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from tenants import onboarding
from tenants.models import Brand
from tenants.plan import BadPlan, BrandPlan, Fault, default_domain, staff_from_lines, stores_from_csv
from tenants.roles import Role

CURRENCIES = ("EUR", "CHF", "GBP", "USD", "CAD", "PLN", "CZK", "DKK", "NOK", "SEK", "RON", "MAD")
MAX_FILE_BYTES = 2 * 1024 * 1024
ROLES_OFFERED = (Role.BRAND_ADMIN, Role.MARKETER, Role.ANALYST, Role.STORE_MANAGER)


def _zones() -> list[tuple[str, str]]:
    return [
        (zone, zone) for zone in sorted(available_timezones()) if "/" in zone and not zone.startswith("Etc/")
    ]


def _invitations_help() -> str:
    roles = ", ".join(f"{role.value} ({role.label})" for role in ROLES_OFFERED)
    words = gettext(
        "One person a line: e-mail;name;role;store codes (for store managers, apart by spaces). Roles: %s."
    )
    return words % roles


class BrandForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120, widget=UnfoldAdminTextInputWidget())
    slug = forms.CharField(
        label=_("Short name"),
        max_length=31,
        help_text=_("Lower-case letters and digits. It names the database schema and never changes."),
        widget=UnfoldAdminTextInputWidget(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )
    domain = forms.CharField(
        label=_("Host name"),
        required=False,
        max_length=253,
        help_text=format_lazy(
            _("Left empty: the short name, followed by .{domain}"), domain=settings.BASE_DOMAIN
        ),
        widget=UnfoldAdminTextInputWidget(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )
    language = forms.ChoiceField(
        label=_("Language"),
        choices=Brand._meta.get_field("language").choices,
        widget=UnfoldAdminSelectWidget(),
    )
    currency = forms.ChoiceField(
        label=_("Currency"),
        choices=[(code, code) for code in CURRENCIES],
        help_text=_("It never changes: purchases are kept in it."),
        widget=UnfoldAdminSelectWidget(),
    )
    time_zone = forms.ChoiceField(
        label=_("Time zone"), choices=_zones, initial="Europe/Paris", widget=UnfoldAdminSelectWidget()
    )
    stores = forms.FileField(
        label=_("Stores (CSV)"),
        help_text=_(
            "Columns: code, name, region, then postcode, city, time_zone, phone_region, legal_name, tills."
        ),
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,text/csv"}),
    )
    staff = forms.CharField(
        label=_("People to invite"),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false"}),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["staff"].help_text = _invitations_help()

    def clean_stores(self):
        file = self.cleaned_data["stores"]
        if file.size > MAX_FILE_BYTES:
            raise forms.ValidationError(_("The file is larger than 2 MB."))
        return self._read(stores_from_csv, file.read())

    def clean_staff(self):
        return self._read(staff_from_lines, self.cleaned_data["staff"])

    def clean(self):
        """Adds everything that is wrong with the plan as a whole to the fields that say it."""
        said = super().clean()
        if not self.errors:
            said["domain"] = said["domain"].lower() or default_domain(said["slug"])
            try:
                self.plan.check()
                onboarding.check_names_are_free(self.plan)
            except BadPlan as bad:
                self.add_faults(bad)
        return said

    @property
    def plan(self) -> BrandPlan:
        """What the form says. Raises `KeyError` where a field is missing or wrong."""
        return BrandPlan(**{part: self.cleaned_data[part] for part in self.fields})

    def add_faults(self, bad: BadPlan) -> None:
        for fault in bad.faults:
            self.add_error(fault.part if fault.part in self.fields else None, _of_field(fault))

    def _read(self, reader, content):
        try:
            return reader(content)
        except BadPlan as bad:
            raise forms.ValidationError([_of_field(fault) for fault in bad.faults]) from bad


def _of_field(fault: Fault) -> str:
    """The fault beside its field, which needs no name there."""
    return str(fault) if fault.line else fault.message
