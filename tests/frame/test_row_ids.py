"""Row ids of equal rows: counted in little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np

from infergraph.frame.row_ids import Occurrences


def test_many_rows_are_counted_in_some_bytes_each() -> None:
    batches, rows = 300, 1_000
    marks = np.random.default_rng(1).integers(0, 2**64, size=(batches, rows), dtype=np.uint64)
    seen = Occurrences()
    tracemalloc.start()
    try:
        for batch in marks:
            assert not seen.count(batch).any()
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 14 * batches * rows
    assert most < 36 * batches * rows
    for batch in marks[::-1]:
        assert (seen.count(batch) == 1).all()
    assert (seen.count(np.concatenate((marks[7], marks[7]))) == np.repeat([2, 3], rows)).all()
