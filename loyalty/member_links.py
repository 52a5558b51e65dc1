"""The link to a member's own page: signed, for one member of one brand, good for thirty days.

Nothing is stored where a link is made. The link holds the schema, the customer's id and the number of their links; who
ends a member's links raises that number. The link of somebody who was merged leads to whom they live on in, and stays
theirs if the two are separated.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.core import signing
from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import F
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from loyalty.models import MemberLinks
from profiles.models import Profile
from tenants.network.models import audit
from tenants.scoping import whole_network

VALID_FOR = timedelta(days=30)
SALT = "loyalty.member_links"
# Requests of one address in a minute; more wait.
MOST_A_MINUTE = 60


class LinkGone(LookupError):
    """The link is too old, was ended, is no link, or belongs to another brand."""


class TooOften(RuntimeError):
    """One address asks more often than people do."""

    seconds = 60


@dataclass(frozen=True)
class Link:
    """A link to hand to the member, and the instant from which it does not open any more."""

    url: str
    expires_at: datetime


def link_to(profile: Profile, request: HttpRequest) -> Link:
    """A new link to this member's own page, on the host that was asked."""
    path = reverse("me:page", args=[token_of(profile)])
    return Link(request.build_absolute_uri(path), timezone.now() + VALID_FOR)


def token_of(profile: Profile) -> str:
    """The token of the brand in whose schema the connection stands."""
    return signing.dumps(
        [connection.schema_name, profile.public_id.hex, _number_of(profile)], salt=SALT, compress=False
    )


def holder_of(token: str) -> Profile:
    """The living customer whose link this is. Raises `LinkGone`."""
    try:
        schema, public_id, number = signing.loads(token, salt=SALT, max_age=VALID_FOR)
        named_id = UUID(public_id)
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise LinkGone(str(error)) from error
    if schema != connection.schema_name:
        raise LinkGone("it belongs to another brand")
    with whole_network():
        named = Profile.objects.filter(public_id=named_id).first()
        if named is None or number != _number_of(named):
            raise LinkGone("it was ended")
        return named.survivor


@transaction.atomic
def end_all(profile: Profile, by) -> None:
    """No link to this customer's page that was made until now opens any more, nor those of who was merged into them."""
    with whole_network():
        Profile.hold([profile.pk])
        people = {profile.pk}
        while merged := set(
            Profile.objects.filter(merged_into__in=people).exclude(pk__in=people).values_list("pk", flat=True)
        ):
            people |= merged
        now = timezone.now()
        known = MemberLinks.objects.filter(profile__in=people)
        fresh = people - set(known.values_list("pk", flat=True))
        known.update(number=F("number") + 1, ended_at=now)
        MemberLinks.objects.bulk_create(
            [MemberLinks(profile_id=pk, number=1, ended_at=now) for pk in sorted(fresh)]
        )
        audit(by, "revoked links", profile)


def count(address: str) -> None:
    """Count a request of this address. Raises `TooOften`."""
    key = f"member-links:{address}"
    cache.add(key, 0, TooOften.seconds)
    try:
        asked = cache.incr(key)
    except ValueError:
        return  # its minute ended between the two
    if asked > MOST_A_MINUTE:
        raise TooOften


def _number_of(profile: Profile) -> int:
    with whole_network():
        links = MemberLinks.objects.filter(profile=profile).first()
    return links.number if links else 0
