"""How many rows a second does one process take through a model, and what do the rows cost in CPU?

Tickets of 300 characters go through ``extract`` into a Pydantic schema, 512 at a time, to a simulated server in a
process of its own that answers after 100 ms; the store is a new SQLite file. Beside it, in the same run:

- raw: a loop on aiohttp and uvloop that sends and reads the same JSON, and keeps and checks nothing;
- fenic 0.13: ``semantic.extract`` with the same schema, in an environment of its own that is made on first use in
  ``.infergraph/benchmarks/fenic`` (left out, saying so, where it cannot be installed). At most 2,000 rows: its rate
  does not change with the rows.

Each line is a process of its own, after a warm-up of 512 other rows; the middle one of several repeats counts.

Bars: 5 times fenic's rows a second (aim 10), 0.6 of the raw loop's (aim 0.85), 0.5 ms of CPU a row (aim 0.2).

What was chosen, and what it brought when it was measured (10,000 rows; the raw loop: 4,450 rows/s, 0.1 ms a row):

| | rows/s | CPU ms a row |
|---|---|---|
| one POST on aiohttp a request, address and headers made once by the official client | 3,000 | 0.265 |
| fewer garbage collections while a run goes on (``frame/garbage.py``) | 4,250 | 0.187 |
| bodies put together of parts encoded before; asyncio's timer instead of aiohttp's own | 4,460 | 0.162 |

aiohttp stays: half of what is left is its client, and a client in Rust (0.08 ms in a prototype) would buy CPU that no
run waits for, at the price of one more binary dependency for TLS, proxies and certificates.

    python benchmarks/throughput.py                     # 1,000 and 10,000 rows: a minute
    python benchmarks/throughput.py --rows 100000
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from fenic_environment import fenic_python
from measuring import in_a_child, show, simulated_server, sizes

_HERE = Path(__file__).parent
_PEERS = _HERE / "peers"
_FENIC_ROWS = 2_000
_REPEATS = 3
_FEW_ROWS = 20_000
"""Up to here one repeat takes seconds, and so there are several."""

Cost = dict[str, float]


def main() -> None:
    """Measure every size and print one table."""
    asked = sizes([1_000, 10_000], __doc__.splitlines()[0])
    python = fenic_python()
    with simulated_server() as at_once, simulated_server("--latency", "0.1") as address:
        ceiling = _rate(_cost("raw_client.py", at_once, 10_000))
        print(f"The server alone answers {ceiling:,.0f} requests/s to the raw client when it does not wait.")
        fenic = _cost("fenic_extract.py", address, min(max(asked), _FENIC_ROWS), python) if python else None
        table = [line for rows in asked for line in _lines(rows, address, fenic)]
        if fenic is not None:
            table.append(_line("fenic 0.13", fenic, None, fenic))
    show("throughput", "extract, 512 at a time, 100 ms a request, cold SQLite store", table)


def _lines(rows: int, address: str, fenic: Cost | None) -> list[dict[str, Any]]:
    # Taken in turns: what else the machine does meanwhile falls on both.
    pairs = [
        (_cost("raw_client.py", address, rows), _cost("infergraph_extract.py", address, rows))
        for _ in range(_REPEATS if rows <= _FEW_ROWS else 1)
    ]
    raw, ours = (_middle([pair[side] for pair in pairs]) for side in (0, 1))
    return [_line("raw aiohttp", raw, raw, fenic), _line("infergraph", ours, raw, fenic)]


def _line(who: str, cost: Cost, raw: Cost | None, fenic: Cost | None) -> dict[str, Any]:
    return {
        "rows": int(cost["rows"]),
        "who": who,
        "rows/s": _rate(cost),
        "CPU ms a row": 1000 * cost["cpu_s"] / cost["rows"],
        "of raw": "" if raw is None else _rate(cost) / _rate(raw),
        "times fenic": "" if fenic is None else _rate(cost) / _rate(fenic),
    }


def _cost(script: str, address: str, rows: int, python: str | None = None) -> Cost:
    where = {} if python is None else {"python": python}
    return {"rows": rows, **in_a_child(_PEERS / script, address, str(rows), **where)}


def _middle(costs: list[Cost]) -> Cost:
    return {name: statistics.median(cost[name] for cost in costs) for name in costs[0]}


def _rate(cost: Cost) -> float:
    return cost["rows"] / cost["seconds"]


if __name__ == "__main__":
    main()
