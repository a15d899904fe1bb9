"""Parts of matrix work on all cores: in order, errors come through, and NumPy has its threads back afterwards."""

from __future__ import annotations

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
