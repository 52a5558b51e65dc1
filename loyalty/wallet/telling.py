"""Which passes changed, and wallets told of it.

Nothing of this stands on a till's way. Every twenty seconds a worker compares what each held pass was told with what
the ledger says by now (`passes.note_all`), so no posting is missed, whoever made it and whatever was away meanwhile.
Wallets are told of a pass at once, and then not again before forty seconds have passed: many postings
are one push, and the last of them shows within a minute.

Whoever tells takes passes first, for longer than telling can take. What failed is told again after a pause that grows,
for three days.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic

import httpx
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from loyalty.models import PassDevice, WalletPass
from loyalty.models.wallet import SecretUnreadable
from loyalty.wallet import google, issuers
from loyalty.wallet.apns import GONE, Apns
from loyalty.wallet.passes import CALM
from tenants.network.webhooks import GIVES_UP_AFTER, pause_after
from tenants.scoping import whole_network

logger = logging.getLogger(__name__)

# Longer than it takes to tell as many as are taken together, each call at its slowest.
TAKEN_FOR = timedelta(seconds=90)
TAKEN_TOGETHER = 64
AT_ONCE = 16
NOT_FOUND = 404
# How long a member may take from our link to saving the pass at Google, whose object is not there before.
SAVES_WITHIN = timedelta(hours=1)


def is_due() -> bool:
    """Whether a wallet may be told something now."""
    with whole_network():
        return _due(timezone.now()).exists()


def tell(seconds: float = 15) -> int:
    """Tell wallets what changed, for about so long; returns how many passes were told of. Any number of workers may do
    it at once."""
    end, done = monotonic() + seconds, 0
    with whole_network(), ExitStack() as lines:
        lines_out: _Lines | None = None
        while monotonic() < end and (passes := _take()):
            lines_out = lines_out or _Lines.opened(lines)
            errands = [_Errand.of(one) for one in passes]
            _carry_out(errands, lines_out)
            for errand in errands:
                _note(errand)
            done += len(errands)
    return done


@dataclass
class _Lines:
    """The lines to both wallets; none where the brand signs for it no more, or it is away."""

    apple: Apns | None
    google: google.Google | None

    @classmethod
    def opened(cls, until: ExitStack) -> "_Lines":
        apple, to_google = issuers.apple(), issuers.google()
        return cls(
            _opened(until, lambda: Apns(apple)) if apple else None,
            _opened(until, lambda: google.Google(to_google)) if to_google else None,
        )


def _opened(until: ExitStack, line: Callable):
    try:
        return until.enter_context(line())
    except (httpx.HTTPError, SecretUnreadable, OSError) as away:
        logger.warning("wallets of %s are told later: %s", connection.schema_name, away)
        return None


@dataclass
class _Errand:
    """What one pass has to have told: to these devices and, where `patch` is something, to Google. Statuses come back;
    none where nobody answered."""

    taken: WalletPass
    devices: list[PassDevice]
    to_google: bool
    patch: dict = field(default_factory=dict)
    device_statuses: list[int | None] = field(default_factory=list)
    google_status: int | None = None

    @classmethod
    def of(cls, one: WalletPass) -> "_Errand":
        behind = list(PassDevice.objects.filter(wallet_pass=one, tag__lt=one.tag))
        return cls(one, behind, one.google_since is not None and one.google_tag < one.tag)


def _carry_out(errands: Sequence[_Errand], lines: _Lines) -> None:
    """Make the calls, several at once. No thread of them asks the database: what is told is read before."""
    for errand in errands:
        if errand.to_google and lines.google:
            errand.patch = google.loyalty_object(errand.taken, lines.google.issuer)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        pushed = [[pool.submit(_status, lines.apple, d.push_token) for d in e.devices] for e in errands]
        patched = [pool.submit(_patched, lines.google, e.patch) for e in errands]
    for errand, pushes, patch in zip(errands, pushed, patched, strict=True):
        errand.device_statuses = [push.result() for push in pushes]
        errand.google_status = patch.result()


def _status(line: Apns | None, token: str) -> int | None:
    try:
        return line.push(token) if line else None
    except httpx.HTTPError as away:
        logger.warning("Apple's push service: %r", away)
        return None


def _patched(line: google.Google | None, told: dict) -> int | None:
    try:
        return line.patch(told) if line and told else None
    except httpx.HTTPError as away:
        logger.warning("Google Wallet: %r", away)
        return None


def _due(now: datetime) -> QuerySet[WalletPass]:
    free = Q(taken_until=None) | Q(taken_until__lte=now)
    return WalletPass.objects.filter(free, next_at__lte=now)


@transaction.atomic
def _take() -> list[WalletPass]:
    """Take passes that are due and nobody else tells of, a limited number, those due longest first."""
    now = timezone.now()
    due = _due(now).order_by("next_at", "pk").select_for_update(skip_locked=True, no_key=True)
    ids = [one.pk for one in due[:TAKEN_TOGETHER]]
    WalletPass.objects.filter(pk__in=ids).update(taken_until=now + TAKEN_FOR)
    return list(WalletPass.objects.filter(pk__in=ids).select_related("record__profile").order_by("pk"))


@transaction.atomic
def _note(errand: _Errand) -> None:
    """Write down what came of it, and what follows."""
    now, taken = timezone.now(), errand.taken
    one = WalletPass.objects.select_for_update(no_key=True).get(pk=taken.pk)
    failed = False
    for device, status in zip(errand.devices, errand.device_statuses, strict=True):
        # Who registered anew meanwhile, with another token, is not the one that was called.
        same = PassDevice.objects.filter(pk=device.pk, push_token=device.push_token)
        if status == GONE:
            same.delete()
        elif status is not None and 200 <= status < 300:
            same.update(tag=taken.tag)
        else:
            failed = True
    if errand.to_google:
        if _google_knows(errand, now):
            one.google_tag = taken.tag
        else:
            failed = True
    one.taken_until = None
    if not failed:
        one.pushed_at, one.attempt_count = now, 0
        # What changed meanwhile is told when the calm is over.
        one.next_at = None if one.tag == taken.tag else max(one.next_at or now, now + CALM)
    elif one.tag == taken.tag:
        one.attempt_count += 1
        given_up = now >= one.changed_at + GIVES_UP_AFTER
        one.next_at = None if given_up else now + pause_after(one.attempt_count)
    one.save(update_fields=["taken_until", "pushed_at", "attempt_count", "next_at", "google_tag"])


def _google_knows(errand: _Errand, now: datetime) -> bool:
    """Whether Google was told, or has no such pass and will not have it soon."""
    if errand.google_status == NOT_FOUND:
        since = errand.taken.google_since
        return since is None or now >= since + SAVES_WITHIN
    return errand.google_status is not None and 200 <= errand.google_status < 300
