"""Does a run find how much a server takes at once, when nobody says so, and follow when that changes?

The simulated server works on 8 requests at once and lets the others wait, as llama.cpp, vLLM and Ollama do; later it
works on 4, then on 8 again. Nothing is stated of it. Beside it, runs whose model states 4, 8 and 64 in flight.

Bar: 10 s after a change at least 90 % of what the slots can answer, with a queue of at most 3 requests on average.
A number that is too small wastes slots, one that is too large makes every answer wait; the table shows both.

    python benchmarks/adaptive.py                       # four minutes
    python benchmarks/adaptive.py --seconds 5 --latency 0.05
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from measuring import scratch_folder, show, simulated_server, statistics_of

import infergraph as ig

_SLOTS = (8, 4, 8)
_FIXED = (4, 8, 64)
_WINDOW_S = 1.0
_ROWS = 1_000_000
_START_S = 60.0


def main() -> None:
    """Measure all, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="to settle after a change, and to measure then")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds that a slot works on a request")
    given = parser.parse_args()
    table = [line for stated in (None, *_FIXED) for line in _phases(stated, given.seconds, given.latency)]
    show("adaptive", f"A server of 8, then 4, then 8 slots, {given.latency:g} s a request", table)


def _phases(stated: int | None, seconds: float, latency: float) -> Iterator[dict[str, Any]]:
    options = ("--slots", str(_SLOTS[0]), "--queue", "--latency", str(latency))
    with simulated_server(*options) as address, _client(address, stated):
        for slots in _SLOTS:
            best = slots / latency
            statistics_of(address, slots=slots, reset=True)
            reached = _seconds_to_90(address, best, seconds)
            statistics_of(address, reset=True)
            started = time.monotonic()
            time.sleep(seconds)
            seen = statistics_of(address)
            yield {
                "in flight": "found" if stated is None else f"{stated} stated",
                "slots": slots,
                "of best": seen["requests"] / (time.monotonic() - started) / best,
                "s to 90 %": reached,
                "mean queue": seen["mean_queued"],
                "longest queue": seen["max_queued"],
                "mean wait / work": seen["mean_wait_s"] / latency,
            }


def _seconds_to_90(address: str, best: float, seconds: float) -> float | str:
    """Seconds until the answers of one second were 90 % of the best."""
    started = time.monotonic()
    seen = [(0.0, 0)]
    first = None
    while (now := time.monotonic() - started) < seconds:
        time.sleep(0.1)
        seen.append((now, statistics_of(address)["requests"]))
        at, answers = next(early for early in reversed(seen) if now - early[0] >= _WINDOW_S or early is seen[0])
        if first is None and now - at >= _WINDOW_S and seen[-1][1] - answers >= 0.9 * best * (now - at):
            first = now
    return "never" if first is None else first


@contextmanager
def _client(address: str, stated: int | None) -> Iterator[None]:
    """A run in a process of its own, once its first answer came."""
    process = subprocess.Popen([sys.executable, __file__, "--in", address, str(stated or "")])
    try:
        patience = time.monotonic() + _START_S
        while not statistics_of(address)["requests"]:
            if process.poll() is not None or time.monotonic() > patience:
                raise SystemExit("The run did not start.")
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _run(address: str, stated: str) -> None:
    """Ask for ever."""
    model = ig.Model(
        "openai:served",
        base_url=f"{address}/v1",
        api_key=None,
        max_concurrency=int(stated) if stated else None,
        price=ig.Price(input=0, output=0),
    )
    with scratch_folder() as folder:
        store = f"sqlite:///{Path(folder, 'state.db')}"
        with ig.Session(models={"served": model}, store=store, progress=False) as session:
            rows = session.frame(pl.LazyFrame({"id": range(_ROWS)}), name="rows", key="id")
            rows.semantic.map("Write about {{ id }}", into="text").sink_parquet(folder / "out.parquet")


if __name__ == "__main__":
    if "--in" in sys.argv:
        _run(*sys.argv[2:])
    else:
        main()
