"""A simulated server for benchmarks that counts requests by row and fails rows once or twice; a process of its own.

It is no benchmark itself. Rows are told apart by the words ``ticket 17`` in their prompt, so that repairs count as
requests of their row; those about the same rows fail again in every run of the same benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from infergraph.testing import Fault, Limits, SimulatedServer

PASSING = ("500", "529", "reset", "hang", "slow_drip", "not_json", "truncated", "empty", "wrong_schema")
"""Faults after which asking again helps."""
FOR_GOOD = ("400", "refusal", "content_filter", "413")
"""Faults that a row meets on every try."""
_ROW = re.compile(r"ticket (\d+)")
_HANG_S = 600.0


@dataclass
class Counted:
    """What the server counted; there once its ``with`` block is over."""

    requests: int = 0
    """Requests that reached a row, those told 429 left out."""
    rows: int = 0
    most: int = 0
    """Requests for one row at most."""
    statuses: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def flaky_server(*options: str) -> Iterator[tuple[str, Counted]]:
    """Run the server in a process of its own; gives its address and what it will have counted.

    Args:
        options: Options of this script, such as ``"--kinds", "500", "reset", "--share", "0.2"``.
    """
    command = [sys.executable, __file__, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address, counted = process.stdout.readline().strip(), Counted()
    if not address:
        raise SystemExit(f"The simulated server did not start: {' '.join(command)}")
    try:
        yield address, counted
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=30)
        vars(counted).update(json.loads(said))


def meets_fault(row: int, share: float) -> bool:
    """Whether a row is among those that fail: its place in a fixed shuffle of every thousand rows decides."""
    return row * 7919 % 1000 < round(share * 1000)


class Flaky:
    """Says which request of which row fails, and how.

    Args:
        kinds: Faults, which rows meet in turn.
        share: Share of the rows that meet one, 0 to 1.
        outage_s: Seconds in which nothing is answered.
        outage_after: Rows asked before that begins.
    """

    def __init__(self, kinds: Sequence[str], share: float, outage_s: float = 0.0, outage_after: int = 0) -> None:
        self.by_row: Counter[int] = Counter()
        self._outage_s = outage_s
        self._outage_after = outage_after
        self._outage_until: float | None = None
        self._kinds = kinds
        self._share = share
        self._lock = threading.Lock()
        self._kind: str | None = None

    def faults(self) -> list[Fault]:
        """What to hand to the server; the first of them only counts."""
        named = [Fault(_kind(kind), when=partial(self._is, kind), seconds=_HANG_S) for kind in self._kinds]
        return [Fault(500, when=self._count), Fault(503, when=self._is_out), *named]

    def _is_out(self, _: Mapping[str, Any]) -> bool:
        if self._outage_s and self._outage_until is None and len(self.by_row) >= self._outage_after:
            self._outage_until = time.monotonic() + self._outage_s
        return self._outage_until is not None and time.monotonic() < self._outage_until

    def _is(self, kind: str, _: Mapping[str, Any]) -> bool:
        return self._kind == kind

    def _count(self, body: Mapping[str, Any]) -> bool:
        rows = _ROW.findall(json.dumps(body["messages"]))
        self._kind = None
        if not rows:
            return False  # a question that only tells whether the model is there
        row = int(rows[-1])
        with self._lock:
            self.by_row[row] += 1
            tries = self.by_row[row]
        if self._kinds and meets_fault(row, self._share):
            kind = self._kinds[row // 3 % len(self._kinds)]
            if kind in FOR_GOOD or tries <= 1 + row % 2:
                self._kind = kind
        return False


def _kind(name: str) -> Any:
    return int(name) if name.isdigit() else name


def main() -> None:
    """Serve until told to end; the first line is the address, the last what was counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=[], help="faults that rows meet in turn")
    parser.add_argument("--share", type=float, default=0.0, help="share of the rows that meet one")
    parser.add_argument("--outage", type=float, default=0.0, help="seconds in which nothing is answered")
    parser.add_argument("--outage-after", type=int, default=0, help="rows asked before that")
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--requests-per-minute", type=float)
    given = parser.parse_args()
    flaky = Flaky(given.kinds, given.share, given.outage, given.outage_after)
    server = SimulatedServer(
        latency_s=given.latency,
        limits=Limits(requests_per_minute=given.requests_per_minute),
        faults=flaky.faults(),
        keep_requests=False,
    )
    with server:
        print(server.url, flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        by_row, statuses = flaky.by_row, {str(status): count for status, count in server.statuses.items()}
    most = max(by_row.values(), default=0)
    counted = {"requests": by_row.total(), "rows": len(by_row), "most": most, "statuses": statuses}
    try:
        print(json.dumps(counted), flush=True)
    except BrokenPipeError:
        # Who started us was killed and reads no more; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
