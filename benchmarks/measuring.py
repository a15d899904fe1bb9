"""What every benchmark here shares: a simulated server of its own, a child process to measure, a table, a JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

RESULTS = Path(__file__).parent / "results"
Row = Mapping[str, Any]


@contextmanager
def simulated_server(*options: str) -> Iterator[str]:
    """A simulated model server in a process of its own; gives its address (without ``/v1``).

    Args:
        options: Options of ``python -m infergraph.testing``, such as ``"--latency", "0.1"``.
    """
    command = [sys.executable, "-m", "infergraph.testing", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise SystemExit(f"The simulated server did not start: {' '.join(command)}")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=10)


def statistics_of(address: str, **orders: object) -> dict[str, Any]:
    """What a simulated server counted since its start or last reset.

    Args:
        address: What ``simulated_server`` gave.
        orders: What it is told before: ``slots=4``, ``reset=True``.
    """
    body = json.dumps(orders).encode() if orders else None
    with urlopen(f"{address}/{'_control' if orders else '_stats'}", body) as reply:
        counted: dict[str, Any] = json.load(reply)
    return counted


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is gone afterwards, on the disk that holds temporary files."""
    with tempfile.TemporaryDirectory(prefix="infergraph-benchmark-") as folder:
        yield Path(folder)


@dataclass(frozen=True)
class Cost:
    """What a piece of work took in this process: seconds, CPU seconds, highest memory in MiB since its start."""

    seconds: float
    cpu_s: float
    peak_mib: float


class Clock:
    """Measures a ``with`` block; ``cost`` is there afterwards."""

    cost: Cost

    def __enter__(self) -> Clock:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.cost = Cost(time.perf_counter() - self._wall, time.process_time() - self._cpu, peak_mib())


def peak_mib() -> float:
    """The highest resident memory of this process so far, in MiB."""
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def in_a_child(script: Path, *arguments: str, python: str = sys.executable) -> dict[str, Any]:
    """Run a script in a process of its own and take the JSON object on the last line of its output."""
    done = subprocess.run([python, str(script), *arguments], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def sizes(default: Sequence[int], description: str) -> list[int]:
    """The row counts that the command line asks for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rows", type=int, nargs="+", default=list(default), help=f"default: {list(default)}")
    given: list[int] = parser.parse_args().rows
    return given


def show(name: str, title: str, rows: Sequence[Row]) -> None:
    """Print a Markdown table and write ``results/<name>.json`` with the machine and the date beside it.

    Args:
        name: The benchmark's name, also that of its script.
        title: One sentence above the table.
        rows: One mapping a line; all have the same keys, ratios among them.
    """
    print(f"\n{title} ({machine()}, {datetime.now(UTC):%Y-%m-%d})\n")
    print(table_of(rows))
    RESULTS.mkdir(exist_ok=True)
    document = {"title": title, "machine": machine(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "rows": list(rows)}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1, default=str) + "\n")


def table_of(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([_text(row[head]) for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """Cores, memory and Python of this machine."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {gib:.0f} GiB, Python {platform.python_version()}"


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
