"""The other side of wallets: certificates of an authority made for the test, Apple's push service over real HTTP/2, and
Google's interface, both on loopback."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs

import h2.config
import h2.connection
import h2.events
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from django.utils import timezone

PASS_TYPE, TEAM = "pass.example.acme.loyalty", "A1B2C3D4E5"
YEAR = timedelta(days=365)


def pem(thing) -> str:
    """A certificate or a private key as text."""
    if isinstance(thing, x509.Certificate):
        return thing.public_bytes(serialization.Encoding.PEM).decode().strip()
    return (
        thing.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        .decode()
        .strip()
    )


def new_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Authority:
    """Somebody who issues certificates: Apple's root, or an intermediate below it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def named(cls, name: str, above: "Authority | None" = None, **when) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer, issuer = (above.key, above.certificate.subject) if above else (key, subject)
        made = _draft(subject, issuer, key, **when).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        return cls(made.sign(signer, hashes.SHA256()), key)

    def issue(self, key, *, pass_type=PASS_TYPE, team=TEAM, **when) -> x509.Certificate:
        """A certificate of a pass type, as Apple makes them."""
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.USER_ID, pass_type),
                x509.NameAttribute(NameOID.COMMON_NAME, f"Pass Type ID: {pass_type}"),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, team),
            ]
        )
        draft = _draft(subject, self.certificate.subject, key, **when)
        return draft.sign(self.key, hashes.SHA256())

    def issue_for_loopback(self, key) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        draft = _draft(subject, self.certificate.subject, key).add_extension(names, critical=False)
        return draft.sign(self.key, hashes.SHA256())


def _draft(subject, issuer, key, since: datetime | None = None, until: datetime | None = None):
    now = timezone.now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since or now - timedelta(days=1))
        .not_valid_after(until or now + YEAR)
    )


# --- Apple's push service -------------------------------------------------------------------------------------------


@dataclass
class Push:
    """A push as it came, and whose certificate the caller showed."""

    token: str
    headers: dict[str, str]
    body: bytes
    pass_type: str


@dataclass
class Apple:
    """Answers 200, or for a token what `answers` says: (status, reason). Who shows no certificate of the authority is
    not let in."""

    url: str
    heard: list[Push] = field(default_factory=list)
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def tokens(self) -> list[str]:
        return [push.token for push in self.heard]

    def speak(self, line: ssl.SSLSocket) -> None:
        """HTTP/2 with one caller, until it hangs up."""
        subject = dict(entry[0] for entry in line.getpeercert()["subject"])
        talk = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        talk.initiate_connection()
        line.sendall(talk.data_to_send())
        asked: dict[int, tuple[dict, bytearray]] = {}
        while told := line.recv(65536):
            for event in talk.receive_data(told):
                if isinstance(event, h2.events.RequestReceived):
                    headers = {name.decode(): value.decode() for name, value in event.headers}
                    asked[event.stream_id] = headers, bytearray()
                elif isinstance(event, h2.events.DataReceived):
                    asked[event.stream_id][1].extend(event.data)
                    talk.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    headers, body = asked.pop(event.stream_id)
                    self._answer(
                        talk,
                        event.stream_id,
                        headers,
                        bytes(body),
                        subject.get("userId") or subject.get("UID", ""),
                    )
            line.sendall(talk.data_to_send())

    def _answer(self, talk, stream: int, headers: dict, body: bytes, pass_type: str) -> None:
        token = headers[":path"].removeprefix("/3/device/")
        self.heard.append(Push(token, headers, body, pass_type))
        status, reason = self.answers.get(token, (200, ""))
        said = json.dumps({"reason": reason}).encode() if reason else b""
        talk.send_headers(stream, [(":status", str(status))], end_stream=not said)
        if said:
            talk.send_data(stream, said, end_stream=True)


@contextmanager
def apple_listening(root: Authority, folder: Path) -> Iterator[Apple]:
    """Apple's push service, as long as the block lasts."""
    key = new_key()
    chain, trusted = folder / "server.pem", folder / "root.pem"
    chain.write_text(f"{pem(root.issue_for_loopback(key))}\n{pem(key)}\n")
    trusted.write_text(pem(root.certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(trusted))
    context.load_cert_chain(chain)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    open_socket = socket.create_server(("127.0.0.1", 0))
    apple = Apple(f"https://127.0.0.1:{open_socket.getsockname()[1]}")

    def serve(line: socket.socket) -> None:
        # A caller who is refused, or hangs up, is what some tests are about.
        with suppress(OSError), context.wrap_socket(line, server_side=True) as locked:
            apple.speak(locked)

    def listen() -> None:
        with suppress(OSError):
            while True:
                line, _address = open_socket.accept()
                threading.Thread(target=serve, args=(line,), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield apple
    finally:
        with suppress(OSError):
            open_socket.shutdown(socket.SHUT_RDWR)
        open_socket.close()


# --- Google's interface ---------------------------------------------------------------------------------------------


class Google:
    """Gives an access token to whoever asserts something, and answers 200 to a patch, or what `status` says."""

    def __init__(self):
        self.assertions: list[str] = []
        self.patches: list[tuple[str, str, dict]] = []  # object, bearer, body
        self.status = 200
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def _handler(self):
        google = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _told(self) -> bytes:
                return self.rfile.read(int(self.headers["Content-Length"]))

            def do_POST(self):
                google.assertions.append(parse_qs(self._told().decode())["assertion"][0])
                self._say(200, {"access_token": "ya29.acme", "expires_in": 3599})

            def do_PATCH(self):
                about, bearer = self.path.rpartition("/")[2], self.headers["Authorization"]
                google.patches.append((about, bearer, json.loads(self._told())))
                self._say(google.status, {})

            def _say(self, status: int, body: dict) -> None:
                said = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_args):
                return

        return Handler


@contextmanager
def google_listening() -> Iterator[Google]:
    google = Google()
    thread = threading.Thread(target=google.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield google
    finally:
        google.server.shutdown()
        google.server.server_close()
        thread.join()
