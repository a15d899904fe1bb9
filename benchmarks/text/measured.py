"""How one function is measured in a process of its own; it imports no peer."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
from documents import main_documents, size_of

_FIRST = 300
"""Documents of the run that pays for imports and tells how many the next one takes."""

Run = Callable[[], object]


def measure(kind: str, ready: Callable[[pl.DataFrame], Run]) -> None:
    """Run a function over as many documents as the command line asks for and its seconds allow; print what it took.

    The command line: a folder of documents, the most documents, the seconds.

    Args:
        kind: The kind of documents.
        ready: Takes documents; what it gives is timed.
    """
    folder, most, seconds = Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    ready(main_documents(kind, 20, folder))()
    run = ready(main_documents(kind, _FIRST, folder))
    started = time.perf_counter()
    run()
    rows = int(min(most, max(_FIRST, _FIRST * seconds / (time.perf_counter() - started))))
    documents = main_documents(kind, rows, folder)
    run = ready(documents)
    before = _peak_mib()
    started, cpu = time.perf_counter(), time.process_time()
    result = run()
    cost = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    made = _peak_mib() - before
    assert result is not None
    print(json.dumps({"documents": rows, "mb": size_of(documents), "peak_mib": made, **cost}))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
