"""A wire between a till and the web server that can be cut: before the request has passed, or before the answer has."""

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass


@dataclass
class Cut:
    """`upward`: after so many bytes of the request. `downward`: once the answer is there, after so many bytes of it."""

    upward: int | None = None
    downward: int | None = None


class Proxy:
    """Each connection is a pair of threads. What was planned with `cut` befalls the next requests, one each."""

    def __init__(self, port: int):
        self._upstream = port
        self._planned: list[Cut] = []
        self._lock = threading.Lock()
        # The answers that nobody heard, whole.
        self.lost: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self, *planned: Cut) -> None:
        with self._lock:
            self._planned += planned

    def close(self) -> None:
        # Closing alone does not wake who waits in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, socket.create_connection(("127.0.0.1", self._upstream), timeout=30) as server:
                client.settimeout(30)
                while request := _message(client):
                    with self._lock:
                        cut = self._planned.pop(0) if self._planned else Cut()
                    if cut.upward is not None:
                        server.sendall(request[: cut.upward])
                        return _reset(client)
                    server.sendall(request)
                    answer = _message(server)
                    if cut.downward is not None:
                        self.lost.append(answer)
                        client.sendall(answer[: cut.downward])
                        return _reset(client)
                    client.sendall(answer)
        except OSError:
            return None


def body_of(answer: bytes) -> bytes:
    """The body of a whole answer."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return rest
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length + 2 :]
    return body


def _reset(client: socket.socket) -> None:
    """Hang up without a farewell, as a cut wire does."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _message(source: socket.socket) -> bytes:
    """One whole HTTP message, by its length or in chunks; empty where the other side has left."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = source.recv(65536)
        if not part:
            return b""
        data += part
    head = data.partition(b"\r\n\r\n")[0].lower()
    if b"transfer-encoding: chunked" in head:
        while not data.endswith(b"\r\n0\r\n\r\n"):
            part = source.recv(65536)
            if not part:
                return b""
            data += part
        return data
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    whole = len(head) + 4 + length
    while len(data) < whole:
        part = source.recv(65536)
        if not part:
            return b""
        data += part
    return data
