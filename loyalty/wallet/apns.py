"""Apple's push service: an empty message by HTTP/2 to each telephone that holds a pass, with the brand's certificate.

The telephone then asks our web service what changed.
"""

import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from types import TracebackType

import httpx
from cryptography.hazmat.primitives import serialization
from django.conf import settings

from loyalty.models import AppleIssuer

SECONDS = 10
GONE = 410
# What Apple says of tokens that will never work for this pass.
NEVER = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic", "Unregistered"})


class Apns:
    """Lines to Apple, for a while; several threads may push at once. Raises `SecretUnreadable`, and `httpx.HTTPError`
    where Apple is away."""

    def __init__(self, issuer: AppleIssuer):
        self._topic = issuer.pass_type
        self._holder = _as(issuer)
        self._free: SimpleQueue[httpx.Client] = SimpleQueue()

    def __enter__(self) -> "Apns":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(Empty):
            while True:
                self._free.get_nowait().close()

    @contextmanager
    def _line(self) -> Iterator[httpx.Client]:
        """One that is nobody else's for the moment: where threads share one, its streams may begin out of order, and
        Apple would end it."""
        try:
            line = self._free.get_nowait()
        except Empty:
            line = httpx.Client(http2=True, http1=False, verify=self._holder, timeout=SECONDS)
        try:
            yield line
        finally:
            self._free.put(line)

    def push(self, token: str) -> int:
        """Push to one telephone; the status that Apple answers, 410 for every token that will never work."""
        headers = {"apns-topic": self._topic, "apns-push-type": "background", "apns-priority": "5"}
        with self._line() as line:
            answer = line.post(f"{settings.APNS_URL}/3/device/{token}", content=b"{}", headers=headers)
        if answer.status_code == 400 and _reason(answer) in NEVER:
            return GONE
        return answer.status_code


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["reason"])
    except (ValueError, KeyError, TypeError):
        return ""


def _as(issuer: AppleIssuer) -> ssl.SSLContext:
    """Who we are to Apple: the holder of the pass certificate."""
    context = ssl.create_default_context()
    # The library reads keys from files alone: for a moment it lies there, locked.
    password = secrets.token_urlsafe(32)
    key = serialization.load_pem_private_key(issuer.key.encode(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )
    with TemporaryDirectory() as folder:
        chain = Path(folder) / "pass.pem"
        chain.touch(0o600)
        chain.write_bytes(b"\n".join([issuer.certificate.encode(), issuer.intermediate.encode(), locked]))
        context.load_cert_chain(chain, password=password)
    return context
