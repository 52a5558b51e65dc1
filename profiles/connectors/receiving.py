"""What senders reach us by has in common: who is it, and is it JSON at all."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import msgspec
from django.utils.translation import gettext as _

from profiles.models import Connection
from profiles.wire import decoded
from tenants.scoping import whole_network

_decoder = msgspec.json.Decoder()


class UnknownConnection(LookupError):
    """No connector of this brand answers at this address."""


class WrongSignature(PermissionError):
    """The key or the signature is missing or wrong: the sender is not who the connector was set up for."""


class NotReady(RuntimeError):
    """The connector is switched off or not set up to its end: the sender is told to come back."""


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


def parsed(body: bytes) -> Any:
    """The body as JSON, whatever its shape. Raises `InvalidBody`."""
    return decoded(body, _decoder)
