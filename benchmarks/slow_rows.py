"""What does one slow row in 10,000 cost the others?

Rows go through ``extract`` to a simulated server in a process of its own that answers after 100 ms, 512 at a time, and
that keeps one request in 10,000 waiting for a minute. The rate is the server's: from the start until it has answered
every row but those that it keeps waiting at the end; a slow row must not hold up the asking behind it. Beside it the
same rows with no slow one among them, and the highest memory of the process.

Bar: 0.9 of the rate without slow rows.

    python benchmarks/slow_rows.py                          # 100,000 and 300,000 rows: some ten minutes
    python benchmarks/slow_rows.py --rows 20000
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any, Literal

import polars as pl
from measuring import Clock, in_a_child, scratch_folder, show, simulated_server, sizes, statistics_of
from pydantic import BaseModel

import infergraph as ig

IN_FLIGHT = 512
SLOW_SHARE = 0.0001
SLOW_S = 60
_LOOK_EVERY_S = 0.1
FREE = ig.Price(input=0, output=0)
_BODY = "it does not work. " * 17


class Ticket(BaseModel):
    """What is extracted."""

    product: str
    severity: Literal["low", "medium", "high"]


def child(address: str, rows: int, slow: int) -> dict[str, Any]:
    """One measurement, in this process: seconds until all but so many rows were answered, and until the end."""
    most = threading.Event()
    answered_s = [0.0]
    data = pl.DataFrame({"id": range(rows), "body": [f"Ticket {row}: {_BODY}" for row in range(rows)]})
    model = ig.Model(
        "openai:simulated", base_url=f"{address}/v1", api_key="none", max_concurrency=IN_FLIGHT, price=FREE
    )
    with scratch_folder() as folder:
        store = "sqlite:///state.db"
        with ig.Session(models={"m": model}, default_model="m", store=store, root=folder) as session:
            tickets = session.frame(data, name="tickets", key="id")
            started = time.perf_counter()

            def watch() -> None:
                while not most.wait(_LOOK_EVERY_S) and statistics_of(address)["requests"] < rows - slow:
                    answered_s[0] = time.perf_counter() - started

            watching = threading.Thread(target=watch)
            watching.start()
            with Clock() as clock:
                tickets.semantic.extract("body", Ticket).sink_parquet(folder / "out.parquet")
            most.set()
            watching.join()
        written = pl.read_parquet(folder / "out.parquet", columns=["id", "product"])
        assert written["id"].to_list() == list(range(rows))
        assert not written["product"].null_count()
    return {"answered_s": answered_s[0], "seconds": clock.cost.seconds, "peak_mib": clock.cost.peak_mib}


def measure(rows: int) -> list[dict[str, Any]]:
    """Two lines of the table."""
    lines: list[dict[str, Any]] = []
    for share in (0.0, SLOW_SHARE):
        with simulated_server("--latency", "0.1", "--slow", f"{share}={SLOW_S}") as address:
            slow = round(2 * rows * share)
            cost = in_a_child(Path(__file__), "child", address, str(rows), str(slow))
        lines.append(
            {
                "rows": rows,
                "slow rows": f"1 in {1 / share:,.0f} takes {SLOW_S} s" if share else "none",
                "rows/s": rows / cost["answered_s"],
                "of none slow": 1.0 if not lines else lines[0]["answered_s"] / cost["answered_s"],
                "answered_s": cost["answered_s"],
                "to the end s": cost["seconds"],
                "peak MiB": cost["peak_mib"],
            }
        )
    return lines


def main() -> None:
    """A table, or one measurement where the parent asks for it."""
    if len(sys.argv) > 2 and sys.argv[1] == "child":
        print(json.dumps(child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
        return
    assert __doc__ is not None
    lines = [line for rows in sizes((100_000, 300_000), __doc__.splitlines()[0]) for line in measure(rows)]
    show("slow_rows", "extract, 512 at a time, 100 ms a request, with and without slow rows", lines)


if __name__ == "__main__":
    main()
