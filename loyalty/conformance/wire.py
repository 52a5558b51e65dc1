"""A till at the wire: it sends what a rule says, and remembers what was said last on both sides."""

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PATIENCE_SECONDS = 30.0
SHOWN = 2000  # so much of a body is printed


class Broken(AssertionError):
    """The server does not keep the rule."""


class NotApplicable(Exception):
    """The rule cannot be tried here; the text says what is missing."""


@dataclass(frozen=True)
class Answer:
    """What the server said. `headers` are found whatever their case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body. Raises `Broken` where it is no JSON object."""
        try:
            body = json.loads(self.content)
        except ValueError:
            raise Broken("the answer is no JSON") from None
        if not isinstance(body, dict):
            raise Broken("the answer is no JSON object")
        return body

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"

    def done(self, status: int) -> dict[str, Any]:
        """The body of an answer that says it was done. Raises `Broken`."""
        if self.status != status:
            raise Broken(f"{status} was expected, {self.status} came")
        kind = self.headers.get("content-type", "")
        if not kind.startswith("application/json"):
            raise Broken(f"the answer is «{kind}», not application/json")
        return self.json

    def refused(self, status: int, *codes: str, field: str = "") -> dict[str, Any]:
        """The problem that the answer tells (RFC 9457), with one of these codes. Raises `Broken`."""
        if self.status != status:
            raise Broken(f"{status} {' or '.join(codes)} was expected, {self.status} came")
        kind = self.headers.get("content-type", "")
        if not kind.startswith("application/problem+json"):
            raise Broken(f"the problem is «{kind}», not application/problem+json")
        problem = self.json
        missing = [name for name in ("type", "title", "status", "code", "detail") if not problem.get(name)]
        if missing:
            raise Broken(f"the problem lacks {', '.join(missing)}")
        if problem["code"] not in codes:
            raise Broken(f"the code is «{problem['code']}», not «{' or '.join(codes)}»")
        if problem["status"] != status:
            raise Broken(f"the body says status {problem['status']}")
        if field and field not in [error.get("field") for error in problem.get("errors", [])]:
            raise Broken(f"errors does not name the field «{field}»")
        return problem


@dataclass
class Exchange:
    """A request and its answer, to be shown to whoever looks for what went wrong."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    answer: Answer | None = None

    def __str__(self) -> str:
        lines = [f"> {self.method} {self.path}"]
        lines += [f"> {name}: {value}" for name, value in self.headers.items()]
        lines += [f"> {_short(self.body)}"] if self.body else []
        if self.answer is None:
            return "\n".join([*lines, "< no answer"])
        lines.append(f"< {self.answer.status}")
        lines += [f"< {name}: {value}" for name, value in self.answer.headers.items()]
        return "\n".join([*lines, f"< {_short(self.answer.content)}"])


@dataclass
class Till:
    """Calls a server as the till of this key; `said` holds what passed, the newest last."""

    url: str
    key: str
    said: list[Exchange] = field(default_factory=list)

    def post(self, path: str, body: object, **headers: str) -> Answer:
        """Send a body, as JSON unless it is bytes already."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call("POST", path, content, **headers)

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, b"", **headers)

    def call(self, method: str, path: str, body: bytes, **headers: str) -> Answer:
        """One request on a connection of its own. Raises `Broken` where no answer comes."""
        sent = {"Accept-Language": "en"} | {name.replace("_", "-"): value for name, value in headers.items()}
        if body:
            sent.setdefault("Content-Type", "application/json")
        exchange = Exchange(method, f"{self.url}/{path}", sent, body)
        self.said.append(exchange)
        authorised = ({"Authorization": f"Till {self.key}"} if self.key else {}) | sent
        exchange.answer = _asked(self.url, method, path, body, authorised)
        return exchange.answer


def _asked(url: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
    told = urlsplit(url)
    host = told.hostname or ""
    # Names below localhost are this machine, whether or not its resolver knows.
    reached = "127.0.0.1" if host == "localhost" or host.endswith(".localhost") else host
    connection: http.client.HTTPConnection
    if told.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(
            reached, told.port, timeout=PATIENCE_SECONDS, context=context
        )
    else:
        connection = http.client.HTTPConnection(reached, told.port, timeout=PATIENCE_SECONDS)
    try:
        try:
            connection.request(method, f"{told.path}/{path}", body or None, {"Host": told.netloc, **headers})
        except (BrokenPipeError, ConnectionResetError):
            # Who refuses a large body may say so and hang up before it has all arrived.
            if connection.sock is None:
                raise
        response = connection.getresponse()
        lower = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, lower, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"no answer: {type(error).__name__} {error}") from None
    finally:
        connection.close()


def _short(body: bytes) -> str:
    text = body[:SHOWN].decode("utf-8", "replace")
    return text if len(body) <= SHOWN else f"{text}… ({len(body):,} bytes)"
