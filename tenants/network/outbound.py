"""Calls from here to hosts that a brand names: never into the platform's own network, never longer than a while.

Whoever names a host could name one that only this machine reaches. So a name is looked up once, the address found is
judged, and that very address is called: a second answer of the name server has no say.
"""

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event, Timer
from time import monotonic
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

# Behind such an address a gateway calls the IPv4 one that is written into it, whichever that is.
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
SECONDS = 10
# How much of an answer is read.
READ = 2000


class UnknownHost(OSError):
    """No host has this name."""


class PrivateHost(OSError):
    """The host lies inside the platform's own network, or on this machine."""


class BadAddress(ValueError):
    """No address that can be called."""


@dataclass(frozen=True)
class Answer:
    """What came of a call: the status and the beginning of the answer, or, without a status, the fault by a stable
    word: `unknown_host`, `private_host`, `bad_address`, `timeout`, `refused`, `bad_certificate`, `broken_off`."""

    status: int | None
    text: str
    fault: str
    milliseconds: int
    location: str = ""


def address_of(host: str, port: int) -> str:
    """The address of the host, looked up once. Raises `UnknownHost`, and `PrivateHost` for one inside."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as unknown:
        raise UnknownHost(host) from unknown
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    if not settings.CONNECTORS_REACH_PRIVATE:
        for address in addresses:
            ip = ipaddress.ip_address(address)
            if not ip.is_global or ip.is_multicast or ip in TRANSLATED:
                raise PrivateHost(host)
    return addresses[0]


def read(url: str) -> SplitResult:
    """The address in its parts. HTTPS alone, but for HTTP to this machine where that is allowed at all. Raises
    `BadAddress`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as wrong:
        raise BadAddress(url) from wrong
    printable = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("https", "http") or not parts.hostname or not printable or port == 0:
        raise BadAddress(url)
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise BadAddress(url)
    if parts.scheme == "http" and not (settings.CONNECTORS_REACH_PRIVATE and _is_loopback(parts.hostname)):
        raise BadAddress(url)
    return parts


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Post the body, within ten seconds altogether. No redirect is followed, and no more than the beginning of the
    answer is read. Never raises."""
    begun = monotonic()
    status, text, fault, location = None, "", "", ""
    try:
        parts = read(url)
        status, text, location = _post(parts, body, headers)
    except BadAddress:
        fault = "bad_address"
    except UnknownHost:
        fault = "unknown_host"
    except PrivateHost:
        fault = "private_host"
    except ConnectionRefusedError:
        fault = "refused"
    except ssl.SSLCertVerificationError:
        fault = "bad_certificate"
    except (OSError, http.client.HTTPException, ValueError):
        fault = "timeout" if monotonic() - begun >= SECONDS else "broken_off"
    return Answer(status, text, fault, round(1000 * (monotonic() - begun)), location)


def _post(parts: SplitResult, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, str]:
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = address_of(host, port)
    line = http.client.HTTPConnection(host, port, timeout=SECONDS)
    open_socket = socket.create_connection((address, port), timeout=SECONDS)

    # Each read has its own patience: a host that sends a byte now and then is cut off by the clock.
    was_cut = Event()

    def cut() -> None:
        was_cut.set()
        try:
            open_socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    clock = Timer(SECONDS, cut)
    clock.daemon = True
    clock.start()
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            open_socket = context.wrap_socket(
                open_socket, server_hostname=host, do_handshake_on_connect=False
            )
            open_socket.do_handshake()
        line.sock = open_socket
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        line.request("POST", path, body=body, headers=dict(headers))
        answer = line.getresponse()
        if was_cut.is_set():
            raise TimeoutError  # the end of the head is ours, not the host's
        try:
            text = answer.read(READ).decode("utf-8", "replace").replace("\x00", "")
        except (OSError, http.client.HTTPException):
            text = ""  # the status is what counts
        return answer.status, text, answer.headers.get("Location", "")
    finally:
        clock.cancel()
        open_socket.close()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
