"""Do processes that share a store keep one limit together, and use it up?

Four processes ask one simulated server as fast as they may. It allows 1,200 requests a minute, a second's worth at
once, and refuses what is more with 429; then 600,000 tokens a minute, with rows of 20 to 4,000 characters. All state
the limit on their model; first they share a store, which leases turns to each, then every one has a store of its own
and knows nothing of the others.

Bar, shared: 95 % of what the limit allows, and under 1 % of the answers a 429.

    python benchmarks/quotas.py                         # five minutes
    python benchmarks/quotas.py --seconds 15
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from measuring import scratch_folder, show, simulated_server, statistics_of

import infergraph as ig

_PROCESSES = 4
_LIMITS = {"requests": 1_200, "tokens": 600_000}
_SHORTEST, _LONGEST = 20, 4_000
_ROWS = 20_000
_START_S = 60.0
_SETTLE_S = 5.0
_COMMIT_S = 1.0


def main() -> None:
    """Measure all, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="to measure each of the four cases")
    seconds = parser.parse_args().seconds
    table = [_line(kind, shared, seconds) for kind in _LIMITS for shared in (True, False)]
    show("quotas", f"{_PROCESSES} processes under one limit a minute", table)


def _line(kind: str, shared: bool, seconds: float) -> dict[str, Any]:
    with (
        scratch_folder() as folder,
        simulated_server(f"--{kind}-per-minute", str(_LIMITS[kind]), "--latency", "0.1") as address,
        _processes(address, kind, folder, shared),
    ):
        statistics_of(address, reset=True)
        start = time.time()
        time.sleep(seconds)
        end = time.time()
        statuses = statistics_of(address)["statuses"]
        time.sleep(_COMMIT_S)
        done = _done(list(folder.glob("*.db")), start, end)
    answers, tokens = (sum(figures) for figures in zip(*done, strict=True))
    minutes = (end - start) / 60
    return {
        "limit a minute": f"{_LIMITS[kind]:,} {kind}",
        "store": "shared" if shared else "one each",
        "answers a minute": answers / minutes,
        "of ideal": (answers if kind == "requests" else tokens) / minutes / _LIMITS[kind],
        "429, of all": statuses.get("429", 0) / max(1, sum(statuses.values())),
        "slowest / fastest process": min(each for each, _ in done) / max(each for each, _ in done),
    }


def _done(stores: Sequence[Path], start: float, end: float) -> list[tuple[int, int]]:
    """Answers and tokens of each process between two times, in seconds since 1970."""
    query = (
        "SELECT count(*), sum(input_tokens + output_tokens) FROM attempts "
        "WHERE outcome = 'done' AND started_at + seconds BETWEEN ? AND ? GROUP BY run_id"
    )
    found: list[tuple[int, int]] = []
    for store in stores:
        with closing(sqlite3.connect(store)) as connection:
            found += connection.execute(query, (start, end)).fetchall()
    return found or [(0, 0)]


@contextmanager
def _processes(address: str, kind: str, folder: Path, shared: bool) -> Iterator[None]:
    """Runs that ask while this lasts, once all of them began."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(_PROCESSES):
            store = folder / ("shared.db" if shared else f"{number}.db")
            started.append(subprocess.Popen([sys.executable, __file__, "--in", address, kind, str(store), str(number)]))
            marker = store.with_suffix(f".{number}")
            patience = time.monotonic() + _START_S
            while not marker.exists():
                if started[-1].poll() is not None or time.monotonic() > patience:
                    raise SystemExit("A process did not start.")
                time.sleep(0.05)
        time.sleep(_SETTLE_S)
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def _run(address: str, kind: str, store: str, number: str) -> None:
    """Ask about rows that no other process has, for ever."""
    limit: dict[str, Any] = {f"{kind}_per_minute": _LIMITS[kind]}
    model = ig.Model(
        "openai:served", base_url=f"{address}/v1", api_key=None, price=ig.Price(input=0, output=0), **limit
    )
    with ig.Session(models={"served": model}, store=f"sqlite:///{store}", progress=False) as session:
        rows = session.frame(_rows(int(number)), name=f"rows {number}", key="id")
        Path(store).with_suffix(f".{number}").touch()
        rows.semantic.map("Answer {{ body }}", into="answer").sink_parquet(f"{store}.{number}.parquet")


def _rows(number: int) -> pl.LazyFrame:
    dice = random.Random(number)
    lengths = [dice.randint(_SHORTEST, _LONGEST) for _ in range(_ROWS)]
    bodies = [f"{number} {row} ".ljust(length, "x") for row, length in enumerate(lengths)]
    return pl.LazyFrame({"id": range(_ROWS), "body": bodies})


if __name__ == "__main__":
    if "--in" in sys.argv:
        _run(*sys.argv[2:])
    else:
        main()
