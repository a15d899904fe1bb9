"""What does row lineage cost: time and bytes of the same run with and without writing down where rows come from?

The rows of ``throughput.py`` go through a plan into Parquet files (rows, rejects, lineage), as an asset's do; a
scripted model in the same process has answered everything before, so that nothing else takes long: a run that waits
for a model hides what lineage costs. The plans: ``extract`` alone (row by row), and with ``explode``, ``unpivot``,
``join`` or ``group_by`` in it. "Without" is the same run with a recorder that writes nothing: no edges, and no lines
of requests.

Each line is a process of its own; after a warm-up both kinds take turns, and the fastest of several counts. Bytes are
the files and what the store grew by when the rows were asked.

Bar: under 10 % of the time and of the bytes of a run.

    python benchmarks/lineage.py                        # 10,000 and 50,000 rows: two minutes
    python benchmarks/lineage.py --rows 5000
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from measuring import Clock, in_a_child, scratch_folder, show, sizes

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from tickets import IN_FLIGHT, Ticket, texts

import infergraph as ig

_ANSWER = '{"product": "lamp", "severity": "low"}'
_TURNS = 5

Plan = Callable[[ig.SemanticFrame], ig.SemanticFrame]
PLANS: dict[str, Plan] = {
    "extract": lambda rows: _facts(rows),
    "explode, extract": lambda rows: _facts(
        rows.with_columns(body=pl.concat_list(pl.col("body"), pl.col("body") + "!")).explode("body")
    ),
    "extract, unpivot": lambda rows: _facts(rows).unpivot(["product", "severity"], index=["id", "body"]),
    "extract, join": lambda rows: _facts(rows).join(rows.select("id", pl.col("body").alias("again")), on="id"),
    "extract, group_by": lambda rows: (
        _facts(rows).group_by(pl.col("id") // 10).agg(pl.len(), pl.col("product").first())
    ),
}


def _facts(rows: ig.SemanticFrame) -> ig.SemanticFrame:
    return rows.semantic.extract("body", Ticket)


def main() -> None:
    """Measure every size and plan, and print one table."""
    table = [_line(plan, rows) for rows in sizes([10_000, 50_000], __doc__.splitlines()[0]) for plan in PLANS]
    show("lineage", "A run of stored answers with and without row lineage", table)


def _line(plan: str, rows: int) -> dict[str, Any]:
    cost = in_a_child(Path(__file__), "run", plan, str(rows))
    with_it, without = cost["seconds with"], cost["seconds without"]
    whole = cost["file bytes"] + cost["store bytes"]
    return {
        "plan": plan,
        "rows": rows,
        "ms with": 1000 * with_it,
        "ms without": 1000 * without,
        "time for lineage %": 100 * (with_it - without) / with_it,
        "lineage bytes a row": cost["lineage bytes"] / rows,
        "bytes a row": whole / rows,
        "bytes for lineage %": 100 * cost["lineage bytes"] / whole,
        "trace ms": 1000 * cost["trace seconds"],
    }


def run(plan: str, rows: int) -> None:
    """In a process of its own: run a plan both ways, and print what it took."""
    from infergraph.models.scripted import script

    model = ig.Model("scripted:clerk", max_concurrency=IN_FLIGHT)
    with (
        scratch_folder() as folder,
        script("clerk", lambda _: _ANSWER),
        ig.Session(models={"m": model}, default_model="m", store=f"sqlite:///{folder}/state.db") as session,
    ):
        data = pl.DataFrame({"id": range(rows), "body": texts(rows, 0)})
        frame = PLANS[plan](session.frame(data, name="tickets", key="id"))
        frame.run()
        stored = sum(path.stat().st_size for path in folder.glob("state.db*"))
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(2 * _TURNS):
            seconds[turn % 2 == 0].append(_once(frame, folder, recording=turn % 2 == 0)["seconds"])
        files = _once(frame, folder, recording=True)
        result = frame.run(row_ids=True)
        with Clock() as clock:
            result.trace(result.frame["_row_id"][-1])
    print(
        json.dumps(
            {
                "seconds with": min(seconds[True]),
                "seconds without": min(seconds[False]),
                "lineage bytes": files["lineage"],
                "file bytes": files["all"],
                "store bytes": stored,
                "trace seconds": clock.cost.seconds,
            }
        )
    )


def _once(frame: ig.SemanticFrame, folder: Path, *, recording: bool) -> dict[str, Any]:
    from infergraph.frame import asking, parents
    from infergraph.frame.run import run_to_folder

    kept = asking.Asker._write, parents.ParentRecorder.applied
    if not recording:
        asking.Asker._write = _nothing  # type: ignore[method-assign]  # the recorder that writes nothing
        parents.ParentRecorder.applied = _as_it_is  # type: ignore[method-assign]  # the same for edges
    try:
        with tempfile.TemporaryDirectory(dir=folder) as stage:
            with Clock() as clock:
                made = run_to_folder(frame, Path(stage))
            sizes_of = [path.stat().st_size for path in (made.data, made.rejects, made.lineage)]
    finally:
        asking.Asker._write, parents.ParentRecorder.applied = kept  # type: ignore[method-assign]  # as it was
    return {"seconds": clock.cost.seconds, "lineage": sizes_of[2], "all": sum(sizes_of)}


def _nothing(*_: object) -> None:
    """Writes neither lineage nor rejects."""


def _as_it_is(_: object, step: Any, inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
    made: pl.LazyFrame = step.apply(inputs, hidden)
    return made


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(sys.argv[2], int(sys.argv[3]))
    else:
        main()
