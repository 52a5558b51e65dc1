"""What senders reach us by has in common: who is it, how much, and is it JSON at all."""

import json
import re
from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.utils.translation import gettext as _

from profiles.models import Connection
from tenants.scoping import whole_network

# The escape of the one character that PostgreSQL keeps in no text.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class UnknownConnection(LookupError):
    """No connector of this brand answers at this address."""


class WrongSignature(PermissionError):
    """The key or the signature is missing or wrong: the sender is not who the connector was set up for."""


class NotReady(RuntimeError):
    """The connector is switched off or not set up to its end: the sender is told to come back."""


class TooLarge(ValueError):
    """The body is over the limit of the path."""


class Unreadable(ValueError):
    """The body is not what the path takes. `field` is the path of the first error."""

    def __init__(self, detail: str, field: str = ""):
        super().__init__(detail)
        self.detail, self.field = detail, field


class WrongMethod(ValueError):
    """The path answers to another method."""

    allowed = "POST"


def connection_of(public_id: UUID, kinds: Collection[str]) -> Connection:
    """The connector of one of these kinds. Raises `UnknownConnection`."""
    with whole_network():
        found = (
            Connection.objects.select_related("source", "till__store")
            .filter(public_id=public_id, kind__in=kinds)
            .first()
        )
    if found is None:
        raise UnknownConnection(_("no connector answers at this address"))
    return found


def body_of(request: HttpRequest, largest: int) -> bytes:
    """The body as it came. Raises `WrongMethod`, and `TooLarge` before a byte of it is read."""
    if request.method != "POST":
        raise WrongMethod(request.method)
    try:
        told = int(request.headers.get("Content-Length") or 0)
    except ValueError:
        told = 0
    if told > largest:
        raise TooLarge(_("the body is larger than %s bytes") % largest)
    return request.body


def parsed(body: bytes) -> Any:
    """The body as JSON. Raises `Unreadable`."""
    if _NUL.search(body):
        raise Unreadable(_("the character U+0000 is not allowed"))
    try:
        told = json.loads(body)
        # Half a surrogate pair, which JSON lets through and no database keeps.
        json.dumps(told, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Unreadable(_("the body is no valid JSON: %s") % error) from None
    return told
