"""How long do sim_join and dedup take over vectors, how much memory, and how many true neighbours do they find?

Random vectors of 384 numbers in 200 overlapping clusters of 32 inner dimensions, which are harder than most texts: the
nearest rows of a row lie in many directions. ``sim_join`` (k=5) and ``dedup`` run as plans over columns of vectors, so
embedding is not in it. Up to 100,000 rows they look at all pairs; "by cell" is what they do with more: all but the
first 2,048 rows are compared with the nearest cells. Recall is measured on 1,000 rows against all pairs; "told" is what
the run itself said. Each line is a process of its own.

Bar: 100,000 rows against 100,000 on 2 cores in minutes, recall 0.95, memory bounded by the vectors of both sides.

    python benchmarks/neighbours.py                       # 20,000 and 100,000 rows: 10 minutes on a quiet machine
    python benchmarks/neighbours.py --rows 20000
    python benchmarks/neighbours.py --peers usearch faiss # graph indexes too, where they are installed
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measuring import Clock, in_a_child, peak_mib, show
from numpy.typing import NDArray

import infergraph as ig
from infergraph.operators import nearest

_WIDTH, _K, _SAMPLE = 384, 5, 1_000
_LEAST = 0.97
Vectors = NDArray[np.float32]
Found = NDArray[np.int64]


def main() -> None:
    """Measure every size and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--peers", nargs="*", default=[], choices=sorted(_PEERS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        print(json.dumps(_measured(given.child, given.rows[0])))
        return
    kinds = ["sim_join", "sim_join, by cell", "dedup", "dedup, by cell", *given.peers]
    here = Path(__file__)
    lines = [in_a_child(here, "--child", kind, "--rows", str(rows)) for rows in given.rows for kind in kinds]
    show("neighbours", f"Rows against as many others, {_WIDTH} numbers a vector, k={_K}", lines)


def vectors(rows: int, seed: int) -> Vectors:
    """Unit vectors in overlapping clusters, some of them almost equal to others."""
    shared, chance = np.random.default_rng(0), np.random.default_rng(seed)
    turned, centres = shared.normal(size=(32, _WIDTH)), shared.normal(size=(200, 32))
    made = np.empty((rows, _WIDTH), np.float32)
    for start in range(0, rows, 10_000):
        part = made[start : start + 10_000]
        inner = centres[chance.integers(0, 200, len(part))] + chance.normal(size=(len(part), 32))
        part[:] = inner @ turned + chance.normal(size=part.shape)
    twins = chance.integers(0, rows, rows // 10)
    made[twins] = made[(twins + 1) % rows] + 0.3 * chance.normal(size=(len(twins), _WIDTH))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def _measured(kind: str, rows: int) -> dict[str, Any]:
    right, left = vectors(rows, 1), vectors(rows, 2)
    told = _Told()
    logging.getLogger("infergraph").addHandler(told)
    before = peak_mib()
    with Clock() as clock:
        if kind.endswith("by cell"):
            nearest.EXACT_PAIRS = nearest.BLOCK_ROWS * rows
        if kind.startswith("dedup"):
            height = _frame(right, lambda frame: frame.semantic.dedup("v", min_similarity=_LEAST)).height
            found = None
        elif kind in _PEERS:
            found, height = _PEERS[kind](left, right), rows * _K
        else:
            joined = _frame(left, lambda frame: _joined(frame, right))
            found, height = joined["id_right"].to_numpy().reshape(rows, _K), joined.height
    return {
        "what": kind,
        "rows": rows,
        "out": height,
        "seconds": clock.cost.seconds,
        "recall": "" if found is None else _recall(found, left, right),
        "told": told.recall,
        "peak MiB": clock.cost.peak_mib,
        "MiB beside the vectors made": clock.cost.peak_mib - before,
    }


def _table(made: Vectors) -> pl.DataFrame:
    return pl.DataFrame({"id": range(len(made)), "v": made}, schema={"id": pl.Int64, "v": pl.Array(pl.Float32, _WIDTH)})


def _joined(frame: ig.SemanticFrame, right: Vectors) -> ig.SemanticFrame:
    others = frame.session.frame(_table(right), name="others", key="id")
    return frame.semantic.sim_join(others, "v", "v", k=_K).drop("v", "v_right")


def _frame(made: Vectors, step: Callable[[ig.SemanticFrame], ig.SemanticFrame]) -> pl.DataFrame:
    with ig.Session(models={"m": ig.Model("scripted:m")}, store="sqlite://", progress=False) as session:
        return step(session.frame(_table(made), name="rows", key="id")).collect()


def _recall(found: Found, left: Vectors, right: Vectors) -> float:
    rows = np.linspace(0, len(left) - 1, _SAMPLE).astype(np.int64)
    true = np.argpartition(left[rows] @ right.T, len(right) - _K, axis=1)[:, len(right) - _K :]
    return sum(len(set(one) & set(other)) for one, other in zip(true, found[rows], strict=True)) / true.size


class _Told(logging.Handler):
    """What a run says of its recall."""

    recall: float | str = "exact"

    def emit(self, record: logging.LogRecord) -> None:
        if "recall" in record.msg and isinstance(record.args, tuple):
            self.recall = float(str(record.args[-2]))


def _usearch(left: Vectors, right: Vectors) -> Found:
    index = import_module("usearch.index").Index(ndim=_WIDTH, metric="ip", dtype="f32")
    index.add(np.arange(len(right)), right, threads=1)  # with several threads no two indexes are the same
    found: Found = index.search(left, _K).keys.astype(np.int64)
    return found


def _faiss(left: Vectors, right: Vectors) -> Found:
    faiss = import_module("faiss")
    faiss.omp_set_num_threads(1)
    index = faiss.IndexHNSWFlat(_WIDTH, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 64, 64
    index.add(right)
    faiss.omp_set_num_threads(2)
    found: Found = index.search(left, _K)[1]
    return found


_PEERS: dict[str, Callable[[Vectors, Vectors], Found]] = {"usearch": _usearch, "faiss": _faiss}


if __name__ == "__main__":
    main()
