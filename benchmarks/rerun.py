"""How fast is a run of which nothing has changed, and does it stay as fast when there are more rows?

The rows of ``throughput.py`` are asked once, of a scripted model in the same process, which fills a SQLite store. A new
process then runs the same plan again: every row is numbered, rendered, hashed, looked up, and its answer parsed and
validated once more. The middle one of three re-runs counts, after one of 512 rows that pays for the imports.

Bar: no call, and 50,000 rows/s at 100,000 rows (aim 100,000).

What was chosen, and what it brought when it was measured (50,000 rows):

| | rows/s | CPU us a row |
|---|---|---|
| one bulk look-up a morsel, on a thread of its own | 26,000 | 28 |
| fewer garbage collections while a run goes on (``frame/garbage.py``) | 56,000 | 18 |
| token counts found instead of made, the last message's role hashed with what rows share | 58,000 | 17 |

Of those 17 us, SQLite takes 3, and 14 are Python that holds the interpreter's lock: to make, carry and take apart the
question, the stored answer, its ending and the outcome of each row.

    python benchmarks/rerun.py                          # 1,000 to 100,000 rows: half a minute
    python benchmarks/rerun.py --rows 1000000
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import polars as pl
from measuring import Clock, in_a_child, scratch_folder, show, sizes

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from tickets import IN_FLIGHT, Ticket, texts

_ANSWER = '{"product": "lamp", "severity": "low"}'
_RERUNS = 3
_WRITTEN_AT_ONCE = 100_000


def main() -> None:
    """Measure every size and print one table."""
    table = [_line(rows) for rows in sizes([1_000, 10_000, 100_000], __doc__.splitlines()[0])]
    show("rerun", "unchanged re-run of extract, SQLite store", table)


def _line(rows: int) -> dict[str, Any]:
    with scratch_folder() as folder:
        _write_rows(folder / "rows.parquet", rows)
        first = in_a_child(Path(__file__), "run", str(folder), "1")["costs"][0]
        again = in_a_child(Path(__file__), "run", str(folder), str(_RERUNS))
        stored = (folder / "state.db").stat().st_size
    assert not any(cost["calls"] for cost in again["costs"])
    seconds, cpu_s = (statistics.median(cost[name] for cost in again["costs"]) for name in ("seconds", "cpu_s"))
    return {
        "rows": rows,
        "calls": 0,
        "rows/s": rows / seconds,
        "CPU us a row": 1e6 * cpu_s / rows,
        "times the first run": first["seconds"] / seconds,
        "store bytes a row": stored // rows,
        "peak MiB": again["costs"][-1]["peak_mib"],
    }


def _write_rows(path: Path, rows: int) -> None:
    ends = [(start, min(start + _WRITTEN_AT_ONCE, rows)) for start in range(0, rows, _WRITTEN_AT_ONCE)]
    parts = [pl.DataFrame({"id": range(start, end), "body": texts(end - start, start)}) for start, end in ends]
    pl.concat(parts).write_parquet(path)


def run(folder: Path, times: int) -> None:
    """In a process of its own: run the plan so often, and print what each run took."""
    import infergraph as ig
    from infergraph.models.scripted import script

    model = ig.Model("scripted:clerk", max_concurrency=IN_FLIGHT)
    costs = []
    with (
        script("clerk", lambda _: _ANSWER),
        ig.Session(models={"m": model}, default_model="m", store=f"sqlite:///{folder}/state.db") as session,
    ):
        tickets = session.frame(pl.scan_parquet(folder / "rows.parquet"), name="tickets", key="id")
        facts = tickets.semantic.extract("body", Ticket)
        facts.run(limit=IN_FLIGHT)
        for _ in range(times):
            with Clock() as clock:
                result = facts.run()
            costs.append({"calls": result.usage.calls, **vars(clock.cost)})
    print(json.dumps({"costs": costs}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
