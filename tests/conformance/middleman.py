"""A server that breaks the contract in one way: it stands before the real one and bends what passes."""

import http.client
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP = {"connection", "content-length", "date", "server", "host"}


@dataclass
class Passing:
    """A request on its way there and its answer on the way back. `forward` sends another one along."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    forward: Callable[..., "Passing"]
    status: int = 0
    told: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""

    @property
    def about(self) -> str:
        return self.path.removeprefix("/api/v1/")

    @property
    def asked(self) -> dict:
        try:
            body = json.loads(self.body)
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}

    def ask(self, **changes) -> None:
        self.body = json.dumps(self.asked | changes).encode()

    @property
    def said(self) -> dict:
        return json.loads(self.answer)

    def say(self, **changes) -> None:
        self.answer = json.dumps(self.said | changes).encode()


Bend = Callable[[Passing], None]


@contextmanager
def standing_before(port: int, before: Bend, after: Bend) -> Iterator[int]:
    """The port of a server that bends each request (`before`) and each answer (`after`)."""

    class Handler(BaseHTTPRequestHandler):
        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            passing = Passing(self.command, self.path, dict(self.headers.items()), body, forward)
            before(passing)
            if not passing.status:
                forward(passing)
            after(passing)
            self.send_response_only(passing.status)
            for name, value in passing.told.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(passing.answer)))
            self.end_headers()
            self.wfile.write(passing.answer)

        do_GET = do_POST = _pass  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_about) -> None:
            pass

    def forward(passing: Passing, path: str = "") -> Passing:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        sent = {name: value for name, value in passing.headers.items() if name.lower() != "content-length"}
        connection.request(passing.method, path or passing.path, passing.body or None, sent)
        response = connection.getresponse()
        passing.status, passing.answer = response.status, response.read()
        kept = [(name.lower(), value) for name, value in response.getheaders()]
        passing.told = {name: value for name, value in kept if name not in HOP}
        connection.close()
        return passing

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- Ways to break a rule ---------------------------------------------------------------------------------------


def nothing(_passing: Passing) -> None:
    """Everything passes as it is."""


def drops(header: str, about: str = "") -> Bend:
    def bend(passing: Passing) -> None:
        if passing.about.startswith(about):
            passing.told.pop(header, None)

    return bend


def turns(status: int, into: int, about: str = "") -> Bend:
    def bend(passing: Passing) -> None:
        if passing.status == status and passing.about.startswith(about):
            passing.status = into

    return bend


def says(about: str, **changes) -> Bend:
    """Of answers that went well: a value, or a function of the true one."""

    def bend(passing: Passing) -> None:
        if passing.about.startswith(about) and passing.status < 300:
            for name, value in changes.items():
                if name in passing.said:
                    passing.say(**{name: value(passing.said[name]) if callable(value) else value})

    return bend


def one_more(points: int) -> int:
    return points + 1


def another(name: str, about: str) -> Bend:
    """Each request gets an id of its own, so that none is a repeat."""

    def bend(passing: Passing) -> None:
        if passing.about == about and name in passing.asked:
            passing.ask(**{name: uuid.uuid4().hex})

    return bend


def by_spelling(passing: Passing) -> None:
    if passing.about == "purchases":
        receipt = uuid.uuid5(uuid.NAMESPACE_OID, passing.body.decode()).hex
        passing.ask(receipt_id=receipt)


def card_first(passing: Passing) -> None:
    shown = passing.asked.get("member") or {}
    if "card" in shown:
        passing.ask(member={"card": shown["card"]})


def records_quotes(passing: Passing) -> None:
    if passing.about == "quotes":
        passing.forward(passing, "/api/v1/purchases")
        passing.status = 0


class RemembersRefusals:
    def __init__(self):
        self.kept: dict[str, tuple[int, dict, bytes]] = {}

    def before(self, passing: Passing) -> None:
        if passing.about == "purchases" and (told := self.kept.get(passing.asked.get("receipt_id", ""))):
            passing.status, passing.told, passing.answer = told

    def after(self, passing: Passing) -> None:
        if passing.about == "purchases" and passing.status == 422:
            self.kept[passing.asked["receipt_id"]] = (passing.status, passing.told, passing.answer)


def sets_clocks(passing: Passing) -> None:
    bought = passing.asked.get("bought_at", "")
    limit = datetime.now(UTC) + timedelta(hours=48)
    if len(bought) > 19 and datetime.fromisoformat(bought) > limit:
        passing.ask(bought_at=datetime.now(UTC).isoformat())


def in_the_past(passing: Passing) -> None:
    if passing.about == "purchases/batch":
        sales = [sale | {"bought_at": "2019-05-05T10:00:00+00:00"} for sale in passing.asked["purchases"]]
        passing.ask(purchases=sales)


def cuts(passing: Passing) -> None:
    if passing.about == "purchases/batch":
        passing.ask(purchases=passing.asked["purchases"][:500])


def cuts_bodies(passing: Passing) -> None:
    passing.body = passing.body[:1000]


class TakesAllForOne:
    """Every call is answered as the first till that ever called."""

    def __init__(self):
        self.first = ""

    def before(self, passing: Passing) -> None:
        self.first = self.first or passing.headers["Authorization"]
        passing.headers["Authorization"] = self.first


def spends_twice(passing: Passing) -> None:
    if passing.about == "redemptions" and passing.status == 409:
        passing.status = 201


def names_no_code(passing: Passing) -> None:
    passing.answer = passing.answer.replace(b"not_enough_points", b"insufficient")


def hides_fields(passing: Passing) -> None:
    if passing.status == 400:
        passing.say(errors=[])


def stops_masking(passing: Passing) -> None:
    passing.answer = passing.answer.replace(b"Camille E.", b"Camille Essai")


def is_somebody_new(passing: Passing) -> None:
    if passing.about == "identify" and passing.status == 200:
        passing.say(id=str(uuid.uuid4()))


def gives_points_away(passing: Passing) -> None:
    if passing.about == "purchases" and passing.status == 201 and passing.said["member"] is None:
        passing.say(points=1)


def sets_a_cookie(passing: Passing) -> None:
    passing.told["set-cookie"] = "sessionid=1"


def only_english(passing: Passing) -> None:
    passing.headers["Accept-Language"] = "en"


def marks_no_repeat(results: list[dict]) -> list[dict]:
    return [item | {"replayed": False} for item in results]


def lets_all_pass(results: list[dict]) -> list[dict]:
    return [item | {"status": 201} for item in results]


REFUSALS, ONE_TILL = RemembersRefusals(), TakesAllForOne()

# Rule -> how a server breaks it: on the way there, on the way back.
WAYS: dict[str, tuple[Bend, Bend]] = {
    "wrong_key": (nothing, drops("www-authenticate")),
    "unknown_member": (nothing, turns(404, 410)),
    "enrol": (nothing, is_somebody_new),
    "identify_masked": (nothing, stops_masking),
    "one_identifier": (card_first, nothing),
    "quote_records_nothing": (records_quotes, nothing),
    "purchase": (nothing, says("purchases", points=one_more)),
    "anonymous_purchase": (nothing, gives_points_away),
    "replay": (nothing, drops("idempotent-replayed")),
    "replay_spelled_differently": (by_spelling, nothing),
    "id_reused": (another("receipt_id", "purchases"), nothing),
    "refusal_is_not_kept": (REFUSALS.before, REFUSALS.after),
    "clock": (sets_clocks, nothing),
    "eight_at_once": (another("receipt_id", "purchases"), nothing),
    "refund_partial": (nothing, says("refunds", points_taken_back=one_more)),
    "refund_whole": (nothing, says("refunds", refunded_cents=one_more)),
    "refund_twice": (another("refund_id", "refunds"), nothing),
    "refund_before_sale": (nothing, says("refunds", parked=False)),
    "redemption": (nothing, says("redemptions", discount_cents=one_more)),
    "not_enough_points": (nothing, names_no_code),
    "overspend_race": (nothing, spends_twice),
    "reservation_commit": (nothing, says("reservations/commit", discount_cents=0)),
    "reservation_cancel": (nothing, says("reservations/cancel", points_given_back=0)),
    "reservation_unknown": (nothing, turns(404, 409, "reservations")),
    "batch": (nothing, says("purchases/batch", results=lambda results: results[::-1])),
    "batch_again": (nothing, says("purchases/batch", results=marks_no_repeat)),
    "receipt_conflict": (nothing, says("purchases/batch", results=lets_all_pass)),
    "offline_day": (in_the_past, nothing),
    "batch_too_long": (cuts, nothing),
    "other_till": (ONE_TILL.before, nothing),
    "member_statement": (nothing, says("members", available=one_more)),
    "malformed_json": (nothing, hides_fields),
    "wrong_content": (nothing, turns(422, 400)),
    "nothing_is_a_500": (nothing, turns(400, 500)),
    "oversize_body": (cuts_bodies, nothing),
    "paths_and_methods": (nothing, drops("allow")),
    "headers": (nothing, sets_a_cookie),
    "language": (only_english, nothing),
}
