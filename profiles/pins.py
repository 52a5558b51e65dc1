"""A person says which value of a field is right. A pin wins over every source until somebody takes it off.

Pins are rows that stay: imports come and go beneath them, a merge passes them on, an unmerge gives them back
(`profiles/merging.py`). `profiles/survivorship.py` lets them win.
"""

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles import normalise, survivorship
from profiles.models import Pin, Profile
from profiles.models.profile import FIELDS_OF_A_PERSON
from tenants.network.models import Staff, audit
from tenants.scoping import whole_network


class BadPin(ValueError):
    """The field cannot hold what should be pinned. `field` names it."""

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field = field


@transaction.atomic
def pin(profile: Profile, field: str, value: str, *, by: Staff, reason: str = "") -> Pin:
    """Make this the value of the field, whatever sources say; it takes the place of an earlier pin. Raises `BadPin`."""
    value = checked(field, value)
    with whole_network():
        living = Profile.hold([profile.pk])[profile.pk]
        now = timezone.now()
        Pin.objects.filter(profile=living, field=field, ended_at=None).update(ended_at=now, ended_by=by)
        row = Pin.objects.create(
            profile=living, field=field, value=value, reason=reason.strip()[:300], by=by, at=now
        )
        survivorship.refresh([living.pk])
        audit(by, "pinned", living, reason=row.reason, field=field)
    return row


@transaction.atomic
def unpin(row: Pin, by: Staff) -> None:
    """Take a pin off: what sources say counts again. Nothing happens where it was taken off before."""
    with whole_network():
        living = Profile.hold([row.profile_id])[row.profile_id]
        standing = Pin.objects.filter(pk=row.pk, ended_at=None)
        if standing.update(ended_at=timezone.now(), ended_by=by):
            survivorship.refresh([living.pk])
            audit(by, "took off pin", living, field=row.field)


def checked(field: str, value: str) -> str:
    """The value in the form in which the field holds it, a date as YYYY-MM-DD. Raises `BadPin`."""
    if field not in FIELDS_OF_A_PERSON:
        raise BadPin(field, _("«%s» is no field of a customer") % field[:40])
    value = " ".join(str(value).split())
    if not value:
        raise BadPin(field, _("a pinned value cannot be empty"))
    longest = 254 if field == "birth_date" else Profile._meta.get_field(field).max_length
    if len(value) > longest:
        raise BadPin(field, _("at most %s characters") % longest)
    if field == "birth_date":
        day = normalise.birth_date(value)
        if day is None:
            raise BadPin(field, _("«%s» is no usable birth date") % value[:60])
        return day.isoformat()
    if field == "email":
        mailbox = normalise.email(value)
        if mailbox is None:
            raise BadPin(field, _("«%s» is no usable e-mail address") % value[:60])
        return mailbox.address
    if field == "phone":
        line = normalise.phone(value)
        if line is None:
            raise BadPin(field, _("«%s» is no usable phone number") % value[:60])
        return line.e164
    return value
