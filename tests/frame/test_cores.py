"""Parts of matrix work on all cores: in order, errors come through, and NumPy has its threads back afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from infergraph.frame.cores import on_all_cores


def blas_threads() -> list[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]


def test_results_come_in_order_and_threads_come_back() -> None:
    before = blas_threads()
    with on_all_cores() as each:
        assert each(lambda item: item * item, range(20)) == [item * item for item in range(20)]
    assert blas_threads() == before


def test_two_runs_at_once_leave_no_limit_behind() -> None:
    before, together = blas_threads(), Barrier(2)

    def run(_: int) -> int:
        with on_all_cores() as each:
            return sum(each(lambda item: together.wait(10) * 0 + item, [1]))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, range(2))) == [1, 1]
    assert blas_threads() == before


def test_an_error_comes_through() -> None:
    before = blas_threads()
    with on_all_cores() as each, pytest.raises(ZeroDivisionError):
        each(lambda item: 1 // item, [1, 0])
    assert blas_threads() == before


def threads_seen(program: str) -> list[list[int]]:
    """What a program prints in a process of its own, where nobody has loaded a library before."""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in ended.stdout.splitlines()]


LOOK = """
from threadpoolctl import threadpool_info
def look():
    print([one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"])
"""


def test_a_library_that_was_loaded_meanwhile_is_limited_for_who_comes_next() -> None:
    inside, after = threads_seen(
        LOOK
        + """
from infergraph.frame.cores import one_thread_a_product
with one_thread_a_product():
    import scipy.linalg
    with one_thread_a_product():
        look()
look()
"""
    )
    [usual] = threads_seen(LOOK + "import numpy, scipy.linalg; look()")
    assert set(inside) == {1}, "NumPy's library and SciPy's"
    assert sorted(after) == sorted(usual), "both have their threads back"


def test_the_first_clusters_of_a_process_are_made_with_one_thread_a_library() -> None:
    [inside] = threads_seen(
        LOOK
        + """
import polars as pl
import infergraph as ig
from infergraph.frame import cluster
def seen(vectors, k, clustered=cluster.clustered):
    found = clustered(vectors, k)
    look()
    return found
cluster.clustered = seen
rows = pl.DataFrame({"id": [1, 2, 3], "place": pl.Series([[0, 1], [1, 0], [1, 1]], dtype=pl.Array(pl.Float32, 2))})
with ig.Session(store="sqlite://", progress=False) as session:
    session.frame(rows, name="places", key="id").semantic.cluster("place", k=2).collect()
"""
    )
    assert set(inside) == {1}, "NumPy's library and SciPy's"
