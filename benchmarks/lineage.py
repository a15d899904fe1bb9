"""What does row lineage cost: time and bytes of the same run with and without writing down where rows come from?

The rows of ``throughput.py`` go through a plan into Parquet files (rows, rejects, lineage), as an asset's do. They are
asked once, of a scripted model in the same process that answers at once; then the same run is repeated, which finds
every answer in the store: nothing costs less, so that what lineage adds shows most there.

The plans: ``extract`` alone (row by row), and with ``explode``, ``unpivot``, ``join`` or ``group_by`` in it. "Lineage"
is what the run takes beyond the same one with a recorder that writes nothing: no edges, and no lines of requests.

Each line is a process of its own; the repeated runs of both kinds take turns, and the one with the least CPU of several
counts: such a run does nothing but compute, and CPU does not depend on what else the machine does. Bytes are the files
and what the store grew by when the rows were asked. Where others use the machine, 2 us more or less are noise, and a
small plan can come out below 0.

Bar: under 10 % of the time and of the bytes of a run that asks its rows. (A run that waits for a real model takes many
times longer; an unchanged one is told beside it.)

What was chosen, and what it brought when it was measured (CPU us a row of an unchanged run, of which lineage; 20,000
rows of ``extract``, then 50,000 of ``extract, join`` on a busier machine):

| | CPU us a row | lineage |
|---|---|---|
| a frame for each morsel's lines | 25 | 5.8 |
| lines gathered as Python values, a frame for 50,000 of them | 17.5 | 1.9 |
| zstd's lowest level, which makes files of ids as small as its usual one | 17.3 | 0.9 |
| the join: parts packed as they come, then again as one file | 22.8 | 3.3 |
| the join: packed once, hashes made text by the thousand | 21.2 | 1.9 |

    python benchmarks/lineage.py                        # 10,000 and 50,000 rows: four minutes
    python benchmarks/lineage.py --rows 5000
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
from measuring import Clock, in_a_child, scratch_folder, show, sizes

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from tickets import IN_FLIGHT, Ticket, texts

import infergraph as ig

_ANSWER = '{"product": "lamp", "severity": "low"}'
_TURNS = 9

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
    show("lineage", "What row lineage adds to a run", table)


def _line(plan: str, rows: int) -> dict[str, Any]:
    cost = in_a_child(Path(__file__), "run", plan, str(rows))
    with_it, without = cost["cpu with"], cost["cpu without"]
    whole = cost["file bytes"] + cost["store bytes"]
    return {
        "plan": plan,
        "rows": rows,
        "lineage CPU us a row": 1e6 * (with_it - without) / rows,
        "first run CPU us a row": 1e6 * cost["cpu first"] / rows,
        "of it %": 100 * (with_it - without) / cost["cpu first"],
        "unchanged run CPU us a row": 1e6 * with_it / rows,
        "of that %": 100 * (with_it - without) / with_it,
        "lineage bytes a row": cost["lineage bytes"] / rows,
        "bytes a row": whole / rows,
        "of them %": 100 * cost["lineage bytes"] / whole,
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
        frame.run(limit=IN_FLIGHT)
        first = _once(frame, folder, recording=True)["cpu"]
        stored = sum(path.stat().st_size for path in folder.glob("state.db*"))
        cpu: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(2 * _TURNS):
            cpu[turn % 2 == 0].append(_once(frame, folder, recording=turn % 2 == 0)["cpu"])
        files = _once(frame, folder, recording=True)
        result = frame.run(row_ids=True)
        with Clock() as clock:
            result.trace(result.frame["_row_id"][-1])
    print(
        json.dumps(
            {
                "cpu first": first,
                "cpu with": min(cpu[True]),
                "cpu without": min(cpu[False]),
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

    with ExitStack() as stack:
        if not recording:
            stack.enter_context(patch.object(asking.Asker, "_write", _nothing))
            stack.enter_context(patch.object(parents.ParentRecorder, "applied", _as_it_is))
        stage = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        with Clock() as clock:
            made = run_to_folder(frame, stage)
        sizes_of = [path.stat().st_size for path in (made.data, made.rejects, made.lineage)]
    return {"cpu": clock.cost.cpu_s, "lineage": sizes_of[2], "all": sum(sizes_of)}


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
