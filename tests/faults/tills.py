"""Tills as the manual asks them to be: each sends its request again, unchanged, until an answer comes, and writes down
what it heard."""

import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Paris")
# A till of the field waits as long as `Retry-After` says. These are impatient, so that a fault meets more requests.
PAUSE_SECONDS = 0.05
PATIENCE_SECONDS = 90
SHARE_OF_DUPLICATES = 0.15
CARDS = 40


@dataclass(frozen=True)
class Machine:
    """A till: its row's number, its key, its brand's host name and its store's code."""

    number: int
    key: str
    host: str
    store: str


@dataclass(frozen=True)
class Sold:
    till: int
    card: str
    cents: tuple[int, ...]
    day: date


@dataclass(frozen=True)
class Back:
    till: int
    receipt: str
    line: int


@dataclass(frozen=True)
class Spent:
    till: int
    card: str
    points: int


@dataclass
class Book:
    """What all tills heard, by their own ids. `heard`: the answer's body by till and key. `times`: when a write was
    acknowledged. `slowest`: the longest that anything waited for an answer of whatever kind."""

    sold: dict[str, Sold] = field(default_factory=dict)
    brought_back: dict[str, Back] = field(default_factory=dict)
    spent: dict[str, Spent] = field(default_factory=dict)
    heard: dict[tuple[int, str], dict] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    statuses: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    duplicates: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def forget_times(self) -> None:
        self.times, self.statuses, self.slowest = [], Counter(), 0.0

    def silences(self, moments: list[float]) -> list[float]:
        """After each of these moments and until the next, the longest time without a write that was acknowledged."""
        found = []
        for moment, end in zip(moments, [*moments[1:], float("inf")], strict=True):
            before = max((t for t in self.times if t <= moment), default=moment)
            heard = [before, *sorted(t for t in self.times if moment < t <= end)]
            found.append(max((b - a for a, b in itertools.pairwise(heard)), default=float("inf")))
        return found

    def only_asked_to_come_back(self) -> bool:
        """Whether the only failures were 503, 409 and connections that were cut or refused."""
        return set(self.statuses) <= {200, 201, 202, 404, 409, 503, "no answer"}


@dataclass(frozen=True)
class Heard:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def is_replayed(self) -> bool:
        return self.headers.get("Idempotent-Replayed") == "true"


class NoAnswer(OSError):
    """The connection was refused or cut, or nothing came in time."""


class Line:
    """A till's connection, kept between requests."""

    def __init__(self, port: int, machine: Machine, timeout: float = 20):
        self.machine = machine
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def ask(self, path: str, body: dict) -> Heard:
        headers = {
            "Host": self.machine.host, "Authorization": f"Till {self.machine.key}", "Accept-Language": "en",
            "Content-Type": "application/json",
        }  # fmt: skip
        try:
            self._http.request("POST", f"/api/v1/{path}", json.dumps(body).encode(), headers)
            answer = self._http.getresponse()
            return Heard(answer.status, answer.headers, answer.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NoAnswer(str(error)) from error

    def close(self) -> None:
        self._http.close()


def ask_until_answered(line: Line, path: str, body: dict, book: Book) -> Heard:
    """Send it again until it is answered for good: 503, 409 `in_flight` and no answer at all are none."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        start = time.monotonic()
        try:
            heard = line.ask(path, body)
        except NoAnswer:
            heard = None
        with book.lock:
            book.slowest = max(book.slowest, time.monotonic() - start)
            book.statuses[heard.status if heard else "no answer"] += 1
            if heard and heard.status >= 500 and heard.status != 503:
                book.wrong.append(f"{path} heard {heard.status}: {heard.body[:200]!r}")
        if heard and heard.status < 500 and not _has_to_come_back(heard):
            if heard.status < 300 and path not in ("identify", "quotes"):
                with book.lock:
                    book.times.append(time.monotonic())
            return heard
        if heard and "Retry-After" not in heard.headers:
            with book.lock:
                book.wrong.append(f"{path} heard {heard.status} without Retry-After")
        time.sleep(PAUSE_SECONDS)
    raise TimeoutError(f"{path} was not answered in {PATIENCE_SECONDS} s")


def _has_to_come_back(heard: Heard) -> bool:
    return heard.status == 409 and heard.json["code"] == "in_flight"


class Till(threading.Thread):
    """A busy till. It ends after the request under way once `stop` is set."""

    def __init__(self, port: int, machine: Machine, book: Book, stop: threading.Event, seed: str):
        super().__init__(daemon=True)
        self.line, self.machine, self.book, self.stop = Line(port, machine), machine, book, stop
        self.chance = random.Random(f"{seed}-{machine.number}")
        self.name = f"{seed}-{machine.number}"
        self.count = 0
        self.told: list[tuple[str, dict, Heard]] = []
        self.tickets: dict[str, dict] = {}
        self.not_returned: list[tuple[str, int]] = []

    def run(self) -> None:
        deeds = [self.sell] * 10 + [self.spend] * 3 + [self.take_back] * 2 + [self.identify] * 3
        deeds += [self.send_batch, self.take_back_before_the_sale]
        try:
            while not self.stop.is_set():
                self.chance.choice(deeds)()
                if self.told and self.chance.random() < SHARE_OF_DUPLICATES:
                    self.say_again()
        except Exception as error:  # noqa: BLE001 - a till that stops would make every oracle an easy one
            with self.book.lock:
                self.book.wrong.append(f"{self.name}: {error!r}")
        finally:
            self.line.close()

    def ask(self, path: str, body: dict) -> Heard:
        return ask_until_answered(self.line, path, body, self.book)

    def new_id(self, letter: str) -> str:
        self.count += 1
        return f"{letter}-{self.name}-{self.count}"

    def card(self) -> str:
        # One in twenty is shown for the first time.
        if self.chance.random() < 0.05:
            return f"{self.chance.randrange(10**12, 10**13)}"
        return f"{2_990_000_000_000 + self.chance.randrange(CARDS)}"

    def new_ticket(self) -> dict:
        cents = [self.chance.randrange(100, 6000) for _line in range(self.chance.randint(1, 3))]
        told = {
            "receipt_id": self.new_id("R"), "bought_at": datetime.now(UTC).isoformat(),
            "lines": [{"sku": f"S{n}", "amount": f"{c / 100:.2f}"} for n, c in enumerate(cents)],
        }  # fmt: skip
        if self.chance.random() < 0.95:
            told["member"] = {"card": self.card()}
        return told

    def sell(self) -> None:
        told = self.new_ticket()
        self._has_sold(told, self.ask("purchases", told))

    def _has_sold(self, told: dict, heard: Heard) -> None:
        if self._is_wrong("purchases", told, heard, {201}):
            return
        self.told.append(("purchases", told, heard))
        self._note_sale(told, heard.json)

    def _note_sale(self, told: dict, body: dict) -> None:
        from tests.faults.oracles import worth

        receipt = told["receipt_id"]
        cents = tuple(round(float(line["amount"]) * 100) for line in told["lines"])
        day = datetime.fromisoformat(told["bought_at"]).astimezone(ZONE).date()
        card = told.get("member", {}).get("card", "")
        with self.book.lock:
            self.book.sold[receipt] = Sold(self.machine.number, card, cents, day)
            self.book.heard[self.machine.number, f"purchase:{day}:{receipt}"] = body
            if body["points"] != (worth(list(cents)) if card else 0):
                self.book.wrong.append(f"{receipt} of {cents} earned {body['points']}")
        self.tickets[receipt] = told
        if all(back.receipt != receipt for back in self.book.brought_back.copy().values()):
            self.not_returned += [(receipt, n) for n in range(len(cents))]

    def send_batch(self) -> None:
        """An hour offline: out of order, some tickets twice, some that were sent before."""
        new = [self.new_ticket() for _ticket in range(self.chance.randint(4, 10))]
        twice = [self.chance.choice(new) for _ticket in new if self.chance.random() < SHARE_OF_DUPLICATES]
        known = [t for t in self._some_tickets() if self.chance.random() < SHARE_OF_DUPLICATES]
        sent = new + twice + known
        self.chance.shuffle(sent)
        heard = self.ask("purchases/batch", {"purchases": sent})
        if self._is_wrong("purchases/batch", {}, heard, {200}):
            return
        told: dict[str, dict] = {}
        for ticket, item in zip(sent, heard.json["results"], strict=True):
            receipt = ticket["receipt_id"]
            before = told.setdefault(receipt, item["answer"])
            fits = item["receipt_id"] == receipt and item["status"] == 201 and item["answer"] == before
            if receipt in self.tickets:
                key = self.machine.number, f"purchase:{self._day(ticket)}:{receipt}"
                fits = fits and item["replayed"] and self.book.heard[key] == item["answer"]
            if not fits:
                with self.book.lock:
                    self.book.wrong.append(f"a batch told of {receipt}: {item}")
                return
        for ticket in new:
            self._note_sale(ticket, told[ticket["receipt_id"]])

    def _some_tickets(self) -> list[dict]:
        return self.chance.sample(list(self.tickets.values()), min(8, len(self.tickets)))

    @staticmethod
    def _day(ticket: dict) -> date:
        return datetime.fromisoformat(ticket["bought_at"]).astimezone(ZONE).date()

    def spend(self) -> None:
        card = f"{2_990_000_000_000 + self.chance.randrange(CARDS)}"
        told = {
            "redemption_id": self.new_id("D"), "member": {"card": card}, "points": 100,
            "redeemed_at": datetime.now(UTC).isoformat(),
        }  # fmt: skip
        heard = self.ask("redemptions", told)
        refused = heard.status == 404 or (heard.status == 409 and heard.json["code"] == "not_enough_points")
        if refused or self._is_wrong("redemptions", told, heard, {201}):
            return
        self.told.append(("redemptions", told, heard))
        name = told["redemption_id"]
        with self.book.lock:
            self.book.spent[name] = Spent(self.machine.number, card, 100)
            self.book.heard[self.machine.number, f"redemption:{name}"] = heard.json

    def take_back(self) -> None:
        if not self.not_returned:
            return
        receipt, line = self.not_returned.pop(self.chance.randrange(len(self.not_returned)))
        self._send_refund(receipt, line, {201})

    def take_back_before_the_sale(self) -> None:
        """The return overtakes its sale."""
        sale = self.new_ticket()
        self._send_refund(sale["receipt_id"], 0, {202})
        self._has_sold(sale, self.ask("purchases", sale))

    def _send_refund(self, receipt: str, line: int, expected: set[int]) -> None:
        told = {
            "refund_id": self.new_id("F"), "receipt_id": receipt, "refunded_at": datetime.now(UTC).isoformat(),
            "lines": [{"number": line + 1}],
        }  # fmt: skip
        heard = self.ask("refunds", told)
        if self._is_wrong("refunds", told, heard, expected):
            return
        self.told.append(("refunds", told, heard))
        day = datetime.fromisoformat(told["refunded_at"]).astimezone(ZONE).date()
        with self.book.lock:
            self.book.brought_back[told["refund_id"]] = Back(self.machine.number, receipt, line)
            self.book.heard[self.machine.number, f"refund:{day}:{told['refund_id']}"] = heard.json

    def identify(self) -> None:
        told = {"member": {"card": self.card()}}
        self._is_wrong("identify", told, self.ask("identify", told), {200, 404})

    def say_again(self) -> None:
        path, told, before = self.chance.choice(self.told)
        heard = self.ask(path, told)
        with self.book.lock:
            self.book.duplicates += 1
            if (heard.status, heard.body, heard.is_replayed) != (before.status, before.body, True):
                self.book.wrong.append(
                    f"{path} again: {heard.status} {heard.body!r}, before: {before.body!r}"
                )

    def _is_wrong(self, path: str, told: dict, heard: Heard, expected: set[int]) -> bool:
        if heard.status in expected:
            return False
        with self.book.lock:
            self.book.wrong.append(f"{path} {told} heard {heard.status}: {heard.body[:300]!r}")
        return True


@contextmanager
def busy(port: int, machines: list[Machine], book: Book, seed: str) -> Iterator[list[Till]]:
    """These tills at work during the block; after it, every request has been acknowledged."""
    book.forget_times()
    stop = threading.Event()
    tills = [Till(port, machine, book, stop, seed) for machine in machines]
    for till in tills:
        till.start()
    try:
        yield tills
    finally:
        stop.set()
        for till in tills:
            till.join(PATIENCE_SECONDS + 30)
    assert not any(till.is_alive() for till in tills)


def in_seconds(times: list[float]) -> str:
    return ", ".join(f"{seconds:.2f}" for seconds in times)
