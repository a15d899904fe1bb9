"""Work on matrices on all cores: parts side by side, each with one thread of its own.

The products of NumPy would start as many threads as there are cores for each matrix; these wait for one another by
spinning, and on a machine where other processes work too that takes five times as long as parts that do not wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeVar

from infergraph.operators.vectors import Each

T = TypeVar("T")
R = TypeVar("R")
_lock = Lock()
_inside = 0
_limits: list[Any] = []
"""The last one to be set is the first one to be taken away."""


@contextmanager
def on_all_cores() -> Iterator[Each]:
    """A ``map`` that works on as many items at once as there are cores; results come in the items' order.

    Example:
        >>> with on_all_cores() as each:
        ...     each(abs, [-1, 2])
        [1, 2]
    """
    with ThreadPoolExecutor(os.cpu_count() or 1, "infergraph-vectors") as pool:

        def each(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
            with one_thread_a_product():
                return list(pool.map(function, items))

        yield each


@contextmanager
def one_thread_a_product() -> Iterator[None]:
    """NumPy's products with one thread each, which also makes them the same on any number of cores.

    The limit holds for the whole process until the last one has left, and for the libraries that are loaded when
    somebody comes: what brings a library of its own, as scikit-learn does, is to be imported before.

    Example:
        >>> with one_thread_a_product():
        ...     sum([1, 2])
        3
    """
    from threadpoolctl import ThreadpoolController

    global _inside
    with _lock:
        # Looked up anew each time: more libraries may be loaded than when the first one came.
        loaded = ThreadpoolController().select(user_api="blas")
        if any(library["num_threads"] > 1 for library in loaded.info()):
            _limits.append(loaded.limit(limits=1))
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            while not _inside and _limits:
                _limits.pop().restore_original_limits()
