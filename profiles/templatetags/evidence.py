"""The lines of evidence of a match, in the reader's language."""

from django import template
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _

register = template.Library()

COMPARED = {
    "prior": _("before any comparison"),
    "household": _("as likely in one household"),
    "customer_id": _("customer number"),
    "card": _("loyalty card"),
    "email": _("e-mail"),
    "phone": _("phone"),
    "first_name": _("first name"),
    "last_name": _("last name"),
    "birth_date": _("birth date"),
    "address": _("address"),
    "device": _("device"),
}


@register.filter
def what_compared(line: dict) -> str:
    """The field of a line of evidence, in words."""
    return str(COMPARED.get(line["field"], line["field"]))


@register.filter
def signed(weight: float) -> str:
    """A match weight in bits, with its sign: +5.2, −1.0."""
    return ("+" if weight >= 0 else "−") + number_format(abs(weight), decimal_pos=1)
