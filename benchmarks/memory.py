"""How much memory does a run take beyond what Polars takes to copy the same file, and does it grow with the rows?

Rows of 1 KB go through ``extract`` into a Pydantic schema and into a Parquet file; the store is a cold SQLite file.
The model is scripted: it answers at once, from within the process, so that what is measured has no server to wait for
and the disk is the slower end. Each measurement is a process of its own.

Bar: the peak of ``scan -> sink`` in the same run plus 200 MiB (aim: 100), and at 1,000,000 rows no more beyond it than
at 100,000. What is left at 1,000,000 is mostly Polars again: of a local Parquet file it reads ahead as far as it can,
and holds most of it where its reader is slower than a copy (a loop of ``collect_batches`` that sleeps peaks as high).

    python benchmarks/memory.py                     # 10,000, 100,000 and 1,000,000 rows: some ten minutes
    python benchmarks/memory.py --rows 10000
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import polars as pl
from measuring import Clock, in_a_child, scratch_folder, show, sizes
from polars.io.plugins import register_io_source
from pydantic import BaseModel

ROW_BYTES = 1_000
_WRITTEN_AT_ONCE = 10_000


class Ticket(BaseModel):
    """What is extracted."""

    product: str
    severity: Literal["low", "medium", "high"]


def write(rows: int, source: Path) -> None:
    """A Parquet file of so many rows of 1 KB, no two alike, with the row groups that Polars makes."""

    def made(*_: object) -> Iterator[pl.DataFrame]:
        for start in range(0, rows, _WRITTEN_AT_ONCE):
            bodies = [os.urandom(ROW_BYTES // 2).hex() for _ in range(min(_WRITTEN_AT_ONCE, rows - start))]
            yield pl.DataFrame({"id": range(start, start + len(bodies)), "body": bodies})

    register_io_source(made, schema={"id": pl.Int64(), "body": pl.String()}).sink_parquet(source)


def plain(source: Path, target: Path) -> None:
    """Polars alone."""
    pl.scan_parquet(source).sink_parquet(target)


def extract(source: Path, target: Path) -> None:
    """The same with a model's answers beside each row."""
    import infergraph as ig

    root = target.parent
    with ig.Session(models={"m": ig.Model("scripted:m")}, store="sqlite:///state.db", root=root) as session:
        tickets = session.frame(pl.scan_parquet(source), name="tickets")
        tickets.semantic.extract("body", Ticket, model="m").sink_parquet(target)


def child(what: str, source: Path) -> dict[str, Any]:
    """One measurement, in this process."""
    with scratch_folder() as folder:
        with Clock() as clock:
            {"plain": plain, "extract": extract}[what](source, folder / "out.parquet")
        return {"seconds": clock.cost.seconds, "peak_mib": clock.cost.peak_mib}


def measure(rows: int) -> dict[str, Any]:
    """One line of the table."""
    with scratch_folder() as folder:
        source = folder / "in.parquet"
        in_a_child(Path(__file__), "write", str(source), str(rows))
        alone, asked = (in_a_child(Path(__file__), what, str(source)) for what in ("plain", "extract"))
    return {
        "rows": rows,
        "plain Polars MiB": alone["peak_mib"],
        "extract MiB": asked["peak_mib"],
        "beyond MiB": asked["peak_mib"] - alone["peak_mib"],
        "bar MiB": 200,
        "rows/s": rows / asked["seconds"],
    }


def main() -> None:
    """A table, or one measurement where the parent asks for it."""
    if len(sys.argv) > 2 and sys.argv[1] in ("write", "plain", "extract"):
        what, source = sys.argv[1], Path(sys.argv[2])
        if what == "write":
            write(int(sys.argv[3]), source)
        print(json.dumps(child(what, source) if what != "write" else {}))
        return
    assert __doc__ is not None
    lines = [measure(rows) for rows in sizes((10_000, 100_000, 1_000_000), __doc__.splitlines()[0])]
    show("memory", "Peak memory of a run and of Polars copying the same file, rows of 1 KB", lines)


if __name__ == "__main__":
    main()
