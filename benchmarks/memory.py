"""How much memory does a run take beyond what Polars takes to copy the same file, and does it grow with the rows?

Rows of 1 KB go through ``extract`` into a Pydantic schema and into a Parquet file; the store is a cold SQLite file.
The model is scripted: it answers at once, from within the process, so that what is measured has no server to wait for
and the disk is the slower end. Each measurement is a process of its own.

Bar: the peak of ``scan -> sink`` in the same run plus 200 MiB (aim: 100), and at 1,000,000 rows no more beyond it than
at 100,000. The copy writes row groups as small as a run does: with Polars' own, a third of a short copy's peak is a row
group that waits to be written. Two more columns tell what grows. Of a local Parquet file Polars reads some hundred
megabytes ahead, whoever reads: so does a loop of ``collect_batches`` that sleeps. And the same run over rows that are
made while it goes on, so that there is no file to read ahead, shows what is the run's own.

    python benchmarks/memory.py                     # 10,000, 100,000 and 1,000,000 rows: some ten minutes
    python benchmarks/memory.py --rows 10000
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Literal

import polars as pl
from measuring import Clock, in_a_child, scratch_folder, show, sizes
from polars.io.plugins import register_io_source
from pydantic import BaseModel

ROW_BYTES = 1_000
_MADE_AT_ONCE = 2_048
_ROW_GROUP_ROWS = 16_384
_SLOW_ROWS_PER_S = 50_000
_COPIES = 3


class Ticket(BaseModel):
    """What is extracted."""

    product: str
    severity: Literal["low", "medium", "high"]


def made_up(rows: int) -> pl.LazyFrame:
    """So many rows of 1 KB, no two alike, made when they are read."""

    def made(columns: list[str] | None, *_: object) -> Iterator[pl.DataFrame]:
        for start in range(0, rows, _MADE_AT_ONCE):
            bodies = [os.urandom(ROW_BYTES // 2).hex() for _ in range(min(_MADE_AT_ONCE, rows - start))]
            batch = pl.DataFrame({"id": range(start, start + len(bodies)), "body": bodies})
            yield batch if columns is None else batch.select(columns)

    return register_io_source(made, schema={"id": pl.Int64(), "body": pl.String()})


def copy(source: pl.LazyFrame, folder: Path) -> None:
    """Polars alone."""
    source.sink_parquet(folder / "out.parquet", row_group_size=_ROW_GROUP_ROWS)


def read_slowly(source: pl.LazyFrame, folder: Path) -> None:
    """Polars alone, read by somebody who takes as long as a quick run and keeps nothing."""
    for batch in source.collect_batches(chunk_size=_MADE_AT_ONCE, maintain_order=True, engine="streaming"):
        time.sleep(batch.height / _SLOW_ROWS_PER_S)


def extract(source: pl.LazyFrame, folder: Path) -> None:
    """The copy with a model's answers beside each row."""
    import infergraph as ig

    with ig.Session(models={"m": ig.Model("scripted:m")}, store="sqlite:///state.db", root=folder) as session:
        tickets = session.frame(source, name="tickets")
        tickets.semantic.extract("body", Ticket, model="m").sink_parquet(folder / "out.parquet")


WAYS = {"copy": copy, "read_slowly": read_slowly, "extract": extract}


def child(what: str, source: str) -> dict[str, Any]:
    """One measurement, in this process; ``source`` is a file, or how many rows are made up."""
    rows = made_up(int(source)) if source.isdigit() else pl.scan_parquet(source)
    if what == "write":
        rows.sink_parquet(sys.argv[3])
        return {}
    with scratch_folder() as folder:
        with Clock() as clock:
            WAYS[what](rows, folder)
        return {"seconds": clock.cost.seconds, "peak_mib": clock.cost.peak_mib}


def measure(rows: int) -> dict[str, Any]:
    """One line of the table."""
    script = Path(__file__)
    with scratch_folder() as folder:
        source = str(folder / "in.parquet")
        in_a_child(script, "write", str(rows), source)
        copies = [in_a_child(script, "copy", source)["peak_mib"] for _ in range(_COPIES)]
        slow, asked = (in_a_child(script, what, source) for what in ("read_slowly", "extract"))
    own = in_a_child(script, "extract", str(rows))
    return {
        "rows": rows,
        "copy MiB": median(copies),
        "copies differ by MiB": max(copies) - min(copies),
        "read slowly MiB": slow["peak_mib"],
        "extract MiB": asked["peak_mib"],
        "beyond the copy MiB": asked["peak_mib"] - median(copies),
        "bar MiB": 200,
        "beyond reading slowly MiB": asked["peak_mib"] - slow["peak_mib"],
        "extract without a file MiB": own["peak_mib"],
        "rows/s": rows / asked["seconds"],
    }


def main() -> None:
    """A table, or one measurement where the parent asks for it."""
    if len(sys.argv) > 2 and sys.argv[1] in ("write", *WAYS):
        print(json.dumps(child(sys.argv[1], sys.argv[2])))
        return
    assert __doc__ is not None
    lines = [measure(rows) for rows in sizes((10_000, 100_000, 1_000_000), __doc__.splitlines()[0])]
    show("memory", "Peak memory of a run and of Polars copying the same file, rows of 1 KB", lines)


if __name__ == "__main__":
    main()
