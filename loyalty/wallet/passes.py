"""A pass is made, retired when it is lost, voided when its owner is erased.

A person has one pass, which both wallets hold; after a merge the survivor has both people's, until one is lost. Whoever
loses a pass loses all of them: nobody knows which one lay in the phone.
"""

from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from loyalty.models import PassDevice, WalletPass
from profiles.intake import give_pass_number
from profiles.models import Profile
from tenants.network.models import audit
from tenants.scoping import whole_network

State = WalletPass.State
# Wallets are not told of a pass again before: many postings are one push.
CALM = timedelta(seconds=40)
NOTE = "SELECT wallet_note_changes(%s, make_interval(secs => %s), %s)"
# Beyond, somebody only fills the table.
MOST_DEVICES = 20


class TooManyDevices(RuntimeError):
    """So many telephones hold this pass that no further one is believed."""


def of(profile: Profile) -> QuerySet[WalletPass]:
    """The passes of this person, the newest first; what the scope sees of them."""
    return WalletPass.objects.filter(record__profile=profile).select_related("record").order_by("-pk")


def current(profile: Profile) -> WalletPass | None:
    """The pass that this person has now."""
    with whole_network():
        return of(profile).filter(state=State.ACTIVE).first()


@transaction.atomic
def current_or_new(profile: Profile, *, by: object) -> WalletPass:
    """The pass that this person has, or a new one with a number of its own. Of somebody who was merged, the
    survivor's."""
    with whole_network():
        living = Profile.hold([profile.pk])[profile.pk]
        held = current(living)
        if held is not None:
            return held
        now = timezone.now().replace(microsecond=0)
        made = WalletPass.objects.create(
            record=give_pass_number(living),
            sealed_token=WalletPass.new_token(),
            changed_at=now,
            tag=_next_tag(),
        )
        note(made)
        # Nobody holds it yet: there is nobody to be told.
        WalletPass.objects.filter(pk=made.pk).update(next_at=None)
        audit(by, "made pass", living)
        return of(living).get(pk=made.pk)


@transaction.atomic
def retire(profile: Profile, *, by: object, store_id: int | None = None) -> int:
    """The pass is lost: its number is retired, and no till knows it from now on; balance and history stay. Returns how
    many passes that were: none where the person has none."""
    with whole_network():
        living = Profile.hold([profile.pk])[profile.pk]
        count = _end(of(living).filter(state=State.ACTIVE), State.LOST)
        if count:
            audit(by, "retired pass", living, store_id=store_id)
    return count


@transaction.atomic
def void(profile: Profile, *, by: object = "system") -> int:
    """Void every pass of this person, for whoever erases them: the numbers are retired, wallets are told to show an
    empty, void pass, and nothing of the person hangs on it any more. Returns how many."""
    with whole_network():
        living = Profile.hold([profile.pk])[profile.pk]
        count = _end(of(living).exclude(state=State.VOID), State.VOID)
        if count:
            audit(by, "voided pass", living)
    return count


def note(one: WalletPass) -> WalletPass:
    """Note what this pass shows now, and read it again: for whoever is about to hand it out."""
    with whole_network(), connection.cursor() as cursor:
        cursor.execute(NOTE, [timezone.now(), CALM.total_seconds(), [one.pk]])
        return WalletPass.objects.select_related("record__profile").get(pk=one.pk)


def note_all() -> int:
    """Find the passes in wallets that show something else by now, and have them told of it; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(NOTE, [timezone.now(), CALM.total_seconds(), None])
        return cursor.fetchone()[0]


@transaction.atomic
def link_handed_out(one: WalletPass) -> None:
    """The member goes to Google with what the pass shows now; from then on Google is told of changes."""
    with whole_network():
        held = WalletPass.objects.select_for_update(no_key=True).get(pk=one.pk)
        if held.google_since is None:
            held.google_tag = one.tag
        held.google_since = timezone.now()
        held.save(update_fields=["google_since", "google_tag"])


@transaction.atomic
def register(one: WalletPass, device: str, push_token: str) -> bool:
    """A telephone holds the pass and wants to be told of changes; whether it is new. Raises `TooManyDevices`."""
    with whole_network():
        held = WalletPass.objects.select_for_update(no_key=True).get(pk=one.pk)
        known = PassDevice.objects.filter(wallet_pass=held, device=device)
        if known.exists():
            known.update(push_token=push_token)
            return False
        if held.devices.count() >= MOST_DEVICES:
            raise TooManyDevices
        PassDevice.objects.create(wallet_pass=held, device=device, push_token=push_token)
        # It may have fetched the pass before the last change: it is told once, and asks.
        soon = timezone.now()
        held.next_at = max(soon, held.pushed_at + CALM) if held.pushed_at else soon
        held.save(update_fields=["next_at"])
    return True


def unregister(one: WalletPass, device: str) -> None:
    """The telephone holds the pass no more."""
    with whole_network():
        PassDevice.objects.filter(wallet_pass=one, device=device).delete()


def changed_since(device: str, tag: int) -> tuple[list[str], int]:
    """The serial numbers of this telephone's passes that changed after this tag, and the tag to ask with next time."""
    with whole_network():
        changed = WalletPass.objects.filter(devices__device=device, tag__gt=tag).order_by("tag", "pk")
        rows = list(changed.values_list("serial", "tag"))
    return [str(serial) for serial, _tag in rows], max((told for _serial, told in rows), default=tag)


def _end(passes: QuerySet[WalletPass], state: State) -> int:
    # The tag before the rows, as whoever notes changes: two never wait for each other.
    tag, now = _next_tag(), timezone.now()
    held = list(passes.select_for_update(of=("self",), no_key=True))
    for one in held:
        one.state, one.ended_at, one.tag, one.next_at, one.attempt_count = (
            state,
            one.ended_at or now,
            tag,
            now,
            0,
        )
        one.changed_at = a_second_later(one.changed_at, now)
        if state == State.VOID:
            one.record = None
        # Not what a worker notes of its telling meanwhile.
        one.save(
            update_fields=["state", "ended_at", "tag", "next_at", "attempt_count", "changed_at", "record"]
        )
    return len(held)


def a_second_later(before: datetime, now: datetime) -> datetime:
    """The instant of a change in whole seconds, later than the change before, as HTTP compares them."""
    return max(now.replace(microsecond=0), before + timedelta(seconds=1))


def _next_tag() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT wallet_next_tag()")
        return cursor.fetchone()[0]
