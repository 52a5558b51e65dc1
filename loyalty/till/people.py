"""Who stands at the till: found, enrolled, and shown to the cashier, masked."""

from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from loyalty import members, statements
from loyalty.till.answers import points_of
from profiles import blocklist, intake
from profiles.intake import Problem, Shown, Statement
from profiles.models import Identifier, Profile
from tenants.brand_sql import call
from tenants.calendar import brand_today
from tenants.network.models import Till
from tenants.scoping import whole_network


class UnknownMember(LookupError):
    """Nobody is known by what was shown."""


def identify(till: Till, shown: Shown) -> dict:
    """The member who shows this card, phone or e-mail: masked, for the cashier. Raises `UnknownMember`, `Problem`."""
    kind, key = shown.kind, intake.purchases.key_of(shown, till)
    if key:
        profile_id, survivor, public_id, first, last, email, phone, *points = call(
            "SELECT profile, survivor, public_id, first_name, last_name, email, phone,"
            " available, pending, debt, next_on, next_points, tier FROM till_identify($1, $2, $3)",
            [kind, key, brand_today()],
        )
        if profile_id and not survivor:
            return _masked_view((public_id, first, last, email, phone), statements.Balance(*points))
    return member_view(member_who_shows(till, shown))


@transaction.atomic
def enrol(till: Till, shown: Shown, fields: dict[str, str], consents=()) -> dict:
    """Find the member, or take a new one in with what was said at the till. Raises `Problem`,
    and `UnknownMember` for a wallet pass that nobody has.

    A card that bought before anybody said whose it is gets its name now; a member who has a name keeps it.
    """
    source = intake.till_source()
    key = intake.purchases.key_of(shown, till)
    if blocklist.current().blocks(shown.kind, key):
        raise Problem(
            "invalid_identifier", _("«%s» belongs to nobody in particular") % shown.value[:60], "member"
        )
    external_id = f"{shown.kind}:{key}"[:80]
    try:
        known = member_who_shows(till, shown)
    except UnknownMember:
        if shown.kind == Identifier.Kind.PASS:
            raise  # nobody is made of a pass: it was somebody's and is retired, or is none
        known = None
    with whole_network():
        ours = known and known.records.filter(source=source, external_id=external_id).exists()
    if known and (known.first_name or known.last_name or not ours):
        return member_view(known)
    told = {**fields, shown.kind: shown.value}
    outcome = intake.take_in_records(
        source,
        [
            Statement(
                external_id=external_id,
                fields=told,
                raw={**told, "shown_at": str(till)},
                store_code=till.store.code,
                consents=consents,
            )
        ],
    )[0]
    with whole_network():
        members.refresh([outcome.profile_id])
        return member_view(Profile.objects.get(pk=outcome.profile_id))


def statement(public_id: str) -> dict:
    """A member whom the till's store knows. Raises `UnknownMember`."""
    # The id of a merged profile answers with the one it lives on in, if the store knows that one.
    profile = Profile.reached_by(public_id=public_id)
    if profile is None:
        raise UnknownMember(_("no member of this store has the id %s") % public_id)
    return member_view(profile)


def member_view(profile: Profile) -> dict:
    """What a cashier sees: enough to greet and to check, no more."""
    told = profile.public_id, profile.first_name, profile.last_name, profile.email, profile.phone
    return _masked_view(told, statements.balance_of(profile))


def _masked_view(told: tuple[UUID, str, str, str, str], balance: statements.Balance) -> dict:
    public_id, first, last, email, phone = told
    return {
        "id": str(public_id),
        "name": " ".join(filter(None, [first, last[:1] + "." if last else ""])),
        "email": _masked(email),
        "phone": f"••{phone[-2:]}" if phone else "",
        "tier": balance.tier,
        **points_of(balance),
        "next_expiry": {"on": balance.next_expiry_on.isoformat(), "points": balance.next_expiry_points}
        if balance.next_expiry_on
        else None,
    }


def member_who_shows(till: Till, shown: Shown) -> Profile:
    if not intake.purchases.key_of(shown, till):
        raise Problem("invalid_identifier", _("«%s» is not usable") % shown.value[:60], "member")
    found = intake.find_people([shown], till)
    if shown not in found:
        raise UnknownMember(_("no member is known by this %s") % shown.kind)
    with whole_network():
        return Profile.objects.get(pk=found[shown])


def _masked(email: str) -> str:
    user, at, domain = email.partition("@")
    return f"{user[:1]}•••{at}{domain}" if email else ""
