"""The other system: a real HTTP server on loopback that hears webhooks and answers as it is told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic, sleep


class Heard:
    """A request as it came."""

    def __init__(self, headers: dict[str, str], body: bytes):
        self.headers, self.body = headers, body

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """Answers 200, or the next of `answers`: a status, or a function that is given the handler."""

    def __init__(self):
        self.heard: list[Heard] = []
        self.answers: list[int | Callable] = []
        self.at_once: dict[str, int] = {}
        self.most_at_once = 0
        self.takes = 0.0
        self._lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_args: (
            None
        )  # a caller that was killed or cut off is what tests are about
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks?from=cdp"

    def _handler(self):
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                heard = Heard({name.lower(): value for name, value in self.headers.items()}, body)
                with receiver._lock:
                    receiver.heard.append(heard)
                    receiver.at_once[heard.id] = receiver.at_once.get(heard.id, 0) + 1
                    receiver.most_at_once = max(receiver.most_at_once, receiver.at_once[heard.id])
                    answer = receiver.answers.pop(0) if receiver.answers else 200
                sleep(receiver.takes)
                with receiver._lock:
                    receiver.at_once[heard.id] -= 1
                if callable(answer):
                    answer(self)
                    return
                self.send_response(answer)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_args):
                return

        return Handler


def drips(handler) -> None:
    """A byte of the answer's head now and then, for as long as anybody listens."""
    begun = monotonic()
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while monotonic() - begun < 5:
            handler.wfile.write(b".")
            sleep(0.02)
    except OSError:
        return
    finally:
        handler.close_connection = True


def leads_to(url: str) -> Callable:
    """A redirect."""

    def answer(handler) -> None:
        handler.send_response(307)
        handler.send_header("Location", url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def talks(handler) -> None:
    """An answer of five megabytes, with a character that no text of the database holds."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(5 * 1024 * 1024))
    handler.end_headers()
    try:
        handler.wfile.write(b"\x00" + b"x" * (5 * 1024 * 1024 - 1))
    except OSError:
        return
    finally:
        handler.close_connection = True


@contextmanager
def listening() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()
