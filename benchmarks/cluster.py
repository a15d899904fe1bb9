"""How long does cluster take, and what memory, when the vectors are there already?

Rows around fifty directions, in 384 dimensions like those of ``local:minilm``, through a plan as a user writes it; each
size in a process of its own. "found" is the adjusted Rand index against the directions (without ``k``).

Bar: 100,000 rows in well under two minutes and less than 2 GiB.

    python benchmarks/cluster.py                        # 10,000 and 100,000 rows: two minutes
    python benchmarks/cluster.py --rows 2000
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measuring import Clock, in_a_child, peak_mib, show, sizes
from quality.scores import agreement

import infergraph as ig

_DIMENSIONS, _GROUPS, _NOISE = 384, 50, 1.2
_KS = (None, 20, 200)


def main() -> None:
    """Measure every size and print one table; with ``--measure`` one size, as a line of JSON."""
    if sys.argv[1:2] == ["--measure"]:
        rows, k = int(sys.argv[2]), int(sys.argv[3])
        print(json.dumps(_measured(rows, k or None)))
        return
    asked = sizes([10_000, 100_000], __doc__.splitlines()[0])
    show("cluster", f"cluster of vectors of {_DIMENSIONS} numbers", [
        in_a_child(Path(__file__), "--measure", str(rows), str(k or 0)) for rows in asked for k in _KS
    ])  # fmt: skip


def _measured(rows: int, k: int | None) -> dict[str, Any]:
    chance = np.random.default_rng(1)
    middles = chance.normal(size=(_GROUPS, _DIMENSIONS)).astype(np.float32)
    truth = chance.integers(0, _GROUPS, rows)
    vectors = chance.normal(size=(rows, _DIMENSIONS)).astype(np.float32) * np.float32(_NOISE) + middles[truth]
    data = pl.DataFrame({"id": range(rows), "vector": pl.Series(vectors, dtype=pl.Array(pl.Float32, _DIMENSIONS))})
    before = peak_mib()
    with (
        ig.Session(models={"m": ig.Model("scripted:m")}, store="sqlite://", progress=False) as session,
        Clock() as clock,
    ):
        found = session.frame(data, name="rows", key="id").semantic.cluster("vector", k=k).collect()["cluster"]
    return {
        "rows": rows,
        "k": k or "",
        "seconds": clock.cost.seconds,
        "CPU seconds": clock.cost.cpu_s,
        "clusters": found.n_unique(),
        "found": "" if k else agreement(truth.tolist(), found.to_list()),
        "peak MiB beyond the vectors": clock.cost.peak_mib - before,
    }


if __name__ == "__main__":
    main()
