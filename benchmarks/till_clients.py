"""Tills that send one request after the other over a kept connection, a process each: rate, percentiles, answers."""

import itertools
import multiprocessing
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

AHEAD = 1000

# What a client sends: the bytes of one whole HTTP request after the other.
Requests = Callable[[int], Iterator[bytes]]


@dataclass(frozen=True)
class Load:
    """What the clients measured together. `statuses`: how many answers of each status."""

    clients: int
    seconds: float
    milliseconds: list[float]
    statuses: Counter

    @property
    def per_second(self) -> float:
        return len(self.milliseconds) / self.seconds

    def percentile(self, share: float) -> float:
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def joined(loads: Sequence[Load]) -> Load:
    """Several rounds of one load as one."""
    statuses: Counter = Counter()
    for load in loads:
        statuses += load.statuses
    times = [each for load in loads for each in load.milliseconds]
    return Load(loads[0].clients, sum(load.seconds for load in loads), times, statuses)


def request(path: str, host: str, key: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Till {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def drive(port: int, clients: int, seconds: float, requests: Requests, ahead: int = AHEAD) -> Load:
    """Let so many clients send for so long; each begins with one request that is not counted.

    `ahead`: so many requests of each are made up before the clock runs, for making them up takes the machine's time.
    """
    context = multiprocessing.get_context("fork")
    ready, begin = context.Barrier(clients + 1), context.Value("d", 0.0)
    results = context.SimpleQueue()
    clock = ready, begin, results
    processes = [
        context.Process(target=_client, args=(_Link(port), requests(n), seconds, clock, ahead), daemon=True)
        for n in range(clients)
    ]
    for process in processes:
        process.start()
    ready.wait()
    begin.value = time.perf_counter()
    ready.wait()
    told = [results.get() for _process in processes]
    for process in processes:
        process.join()
    statuses: Counter = Counter()
    for _times, counted, _end in told:
        statuses += counted
    elapsed = max(end for _times, _counted, end in told) - begin.value
    return Load(clients, elapsed, [each for times, _counted, _end in told for each in times], statuses)


def _client(link: "_Link", made_up: Iterator[bytes], seconds: float, clock: tuple, ahead: int) -> None:
    ready, begin, results = clock
    link.ask(next(made_up))
    sent = itertools.chain([*itertools.islice(made_up, ahead)], made_up)
    ready.wait()
    ready.wait()
    times, statuses = [], Counter()
    end = now = begin.value
    while now < begin.value + seconds:
        told = next(sent)
        start = time.perf_counter()
        status = link.ask(told)
        end = now = time.perf_counter()
        times.append((end - start) * 1000)
        statuses[status] += 1
    results.put((times, statuses, end))


class _Link:
    """A kept connection, made anew where the server ended it."""

    def __init__(self, port: int):
        self._port = port
        self._open()

    def _open(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, told: bytes) -> int:
        for last_try in (False, True):
            try:
                self._socket.sendall(told)
                return self._answer()
            except (ConnectionError, BrokenPipeError):
                if last_try:
                    raise
                self._open()
        raise AssertionError

    def _answer(self) -> int:
        data = b""
        while b"\r\n\r\n" not in data:
            part = self._socket.recv(65536)
            if not part:
                raise ConnectionError
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        lowered = head.lower()
        if b"transfer-encoding: chunked" in lowered:
            while not body.endswith(b"0\r\n\r\n"):
                body += self._socket.recv(65536)
        else:
            at = lowered.index(b"content-length:") + 15
            length = int(lowered[at:].split(b"\r\n", 1)[0])
            while len(body) < length:
                body += self._socket.recv(65536)
        if b"connection: close" in lowered:
            self._open()
        return int(head[9:12])
