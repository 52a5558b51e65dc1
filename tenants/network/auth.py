"""Who is calling: staff by e-mail and password, a till by its key."""

import time
from contextlib import suppress
from contextvars import ContextVar
from datetime import timedelta

from django.contrib.auth.backends import BaseBackend
from django.db import OperationalError, connection
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _
from rest_framework.authentication import BasicAuthentication

from tenants.network import throttle
from tenants.network.models import KEY_PREFIX_LENGTH, Staff, Store, Till, hash_of_key
from tenants.scoping import enter, whole_network

LAST_USED_PRECISION = timedelta(minutes=1)


class RoleBackend(BaseBackend):
    """Signs staff in. Deeds are asked of the role table by `Staff.has_perm`, rows of the scope."""

    def authenticate(self, request, username=None, password=None, email=None):
        try:
            staff = Staff.objects.get_by_natural_key(username or email)
        except Staff.DoesNotExist:
            # Hash all the same, so that the time taken does not tell whether the address exists.
            Staff().set_password(password)
            return None
        return staff if staff.check_password(password or "") and staff.is_active else None

    def get_user(self, user_id):
        return Staff.objects.filter(pk=user_id, is_active=True).first()


class StaffBasicAuthentication(BasicAuthentication):
    """E-mail and password with each request, for programs that read the back-office API.

    They are recognised inside the view, after the middleware has settled what a nobody may see.
    """

    def authenticate(self, request):
        recognised = super().authenticate(request)
        if recognised:
            enter(recognised[0].scope)
        return recognised


class UnknownTill(PermissionError):
    """The key is missing, of no till of this brand, or revoked."""


# For this long a key revoked in another process may still be taken.
SECONDS_REMEMBERED = 2.0
MOST_REMEMBERED = 10_000

_remembered: dict[tuple[str, str], tuple[float, Till]] = {}

# The till whose key was shown last, also where it was revoked: for who looks on from outside the view.
calling: ContextVar[Till | None] = ContextVar("calling", default=None)


def till_of_request(request: HttpRequest) -> Till:
    """The till that calls. Raises `UnknownTill`, `TooManyAttempts`."""
    return till_of_key(request.META.get("HTTP_AUTHORIZATION", ""), request)


def till_of_key(header: str, request: HttpRequest | None = None) -> Till:
    """The till whose key stands in an `Authorization: Till <key>` header. Raises `UnknownTill`, `TooManyAttempts`.

    A till that was recognised is remembered by the hash of its key for two seconds.
    """
    scheme, _blank, key = header.partition(" ")
    if scheme.lower() != "till" or not key:
        raise UnknownTill(_("send the till's key in the header «Authorization: Till <key>»"))
    known_by = connection.schema_name, hash_of_key(key)
    at, till = _remembered.get(known_by, (0.0, None))
    if till is None or time.monotonic() - at > SECONDS_REMEMBERED:
        address = throttle.address_of(request) if request else ""
        if till is None:
            throttle.admit(address, key[:KEY_PREFIX_LENGTH], known_by[1])
        try:
            till = _recognised(key, known_by[1])
        except UnknownTill:
            _remembered.pop(known_by, None)
            throttle.note_failure(address, key[:KEY_PREFIX_LENGTH])
            raise
        if len(_remembered) >= MOST_REMEMBERED:
            _remembered.clear()
        _remembered[known_by] = time.monotonic(), till
    calling.set(till)
    return till


@receiver([post_save, post_delete], sender=Till)
@receiver([post_save, post_delete], sender=Store)
def forget_tills(**_sent) -> None:
    """After a deed of this process: the next call is looked up."""
    _remembered.clear()


def _recognised(key: str, hashed: str) -> Till:
    with whole_network():
        # The hash is asked for as well: whether a till's key begins like this shows in no time that the answer takes.
        told = Till.objects.filter(key_prefix=key[:KEY_PREFIX_LENGTH], key_hash=hashed)
        till = told.select_related("store").first()
        if till is None or not constant_time_compare(till.key_hash, hashed):
            raise UnknownTill(_("this key belongs to no till of this brand"))
        calling.set(till)
        if till.revoked_at:
            raise UnknownTill(_("this till's key has been revoked"))
        now = timezone.now()
        if till.last_used_at is None or now - till.last_used_at > LAST_USED_PRECISION:
            # Where nothing can be written, who only asks is served all the same.
            with suppress(OperationalError):
                Till.objects.filter(pk=till.pk).update(last_used_at=now)
            till.last_used_at = now
            throttle.note_recognised(hashed)
    return till
