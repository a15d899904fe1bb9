"""Is every row delivered when a share of them meets faults, and what does it cost in attempts and time?

Rows of each line meet one kind of fault on their first try, or on their first two, and then it works. The line `for
good` has 1 % of rows that always fail; in the last line nothing at all is answered for a minute in the middle.

Bar: every row delivered with faults that pass; with those that do not, all other rows, and the right reason for each.

    python benchmarks/faults.py                                  # 5,000 rows, an outage of 60 s
    python benchmarks/faults.py --rows 500 --outage 3
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from typing import Any

import polars as pl
from flaky import FOR_GOOD, PASSING, flaky_server, meets_fault
from measuring import scratch_folder, show
from pydantic import BaseModel

import infergraph as ig

AT_ONCE = 128
TIMEOUT_S = 5.0
SHARE = 0.2
SHARE_FOR_GOOD = 0.01
REASONS = {"400": "bad_request", "refusal": "refused", "content_filter": "content_filtered", "413": "too_long"}


class Ticket(BaseModel):
    """What is extracted."""

    product: str


def measure(name: str, rows: int, share: float, *kinds: str, outage_s: float = 0.0) -> dict[str, Any]:
    """One run over rows of which a share meets these faults in turn."""
    options = ["--share", str(share), "--outage", str(outage_s), "--outage-after", str(rows // 2)]
    with scratch_folder() as folder, flaky_server(*options, "--kinds", *kinds) as (url, counted):
        free = ig.Price(input=0, output=0)
        model = ig.Model(
            "openai:m", base_url=f"{url}/v1", api_key=None, max_concurrency=AT_ONCE, timeout_s=TIMEOUT_S, price=free
        )
        tickets = pl.DataFrame({"id": range(rows), "body": [f"ticket {number}" for number in range(rows)]})
        with ig.Session({"m": model}, store="sqlite:///state.db", root=folder, progress=False) as session:
            frame = session.frame(tickets, name="tickets", key="id").semantic.extract("body", Ticket)
            started = time.perf_counter()
            result = frame.run()
            seconds = time.perf_counter() - started
    delivered = rows - result.frame["product"].null_count()
    reasons = Counter(result.rejects["reason"])
    (line,) = result.usage.by_operator.iter_rows(named=True)
    parts = ("calls", "store_hits", "shared", "rejected_before", "nulls", "pending")
    expected = {REASONS[kind] for kind in kinds if kind in REASONS}
    lost = sum(meets_fault(row, share) for row in range(rows)) if expected else 0
    return {
        "fault": name,
        "share": f"{share:.0%}",
        "rows": rows,
        "delivered": delivered,
        "rejected": ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "none",
        "requests a row": counted.requests / rows,
        "seconds": seconds,
        "accounted": sum(line[part] for part in parts) == rows == delivered + result.usage.rejected,
        "held": set(reasons) <= expected and delivered == rows - lost,
    }


def main() -> None:
    """Measure every kind of fault against a run without."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--outage", type=float, default=60.0, help="seconds")
    given = parser.parse_args()
    rows = given.rows
    measure("first", 100, 0.0)  # what is imported and connected only once
    lines = [measure("none", rows, 0.0)]
    lines += [measure(kind, rows, SHARE, kind) for kind in PASSING]
    lines.append(measure("all of these", rows, SHARE, *PASSING))
    lines.append(measure("for good", rows, SHARE_FOR_GOOD, *FOR_GOOD))
    lines.append(measure(f"an outage of {given.outage:g} s", rows, 0.0, outage_s=given.outage))
    calm = lines[0]["seconds"]
    told = [{**line, "time against none": line["seconds"] / calm} for line in lines]
    show("faults", f"Runs that meet faults, {AT_ONCE} requests at once, given up after {TIMEOUT_S:g} s", told)


if __name__ == "__main__":
    main()
