"""How long a command takes and how much memory it needs at its peak, as the kernel counts it.

A process that is started carries its starter's peak as its own until it has more. So the command is started by this
file run as a program, which is small, and not by the caller, which may have read a million rows.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Measured(NamedTuple):
    """`exit_code` is None if the time was up. Memory is the largest of the command and the processes it waited for."""

    exit_code: int | None
    seconds: float
    peak_mb: float


def measure(command: Sequence[str], log: Path, limit: float) -> Measured:
    """Run the command, its output into the file `log`, for at most `limit` seconds."""
    with log.open("wb") as stream:
        told = subprocess.run(
            [sys.executable, "-S", "-E", __file__, str(limit), *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stream, check=True,
        ).stdout  # fmt: skip
    return Measured(*json.loads(told))


def _main(limit: float, command: list[str]) -> None:
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr, start_new_session=True)
    stopped = []

    def stop(*_signal: object) -> None:
        stopped.append(True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, stop)
    # In a session of its own the command hears nothing of Ctrl-C.
    signal.signal(signal.SIGINT, stop)
    signal.setitimer(signal.ITIMER_REAL, limit)
    _pid, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    signal.setitimer(signal.ITIMER_REAL, 0)
    exit_code = None if stopped else os.waitstatus_to_exitcode(status)
    to_mb = 1 / 1024**2 if sys.platform == "darwin" else 1 / 1024
    print(json.dumps([exit_code, seconds, usage.ru_maxrss * to_mb]))


if __name__ == "__main__":
    _main(float(sys.argv[1]), sys.argv[2:])
