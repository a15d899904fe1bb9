"""The line that a long run shows."""

from __future__ import annotations

import io
import time

import infergraph as ig
from infergraph.frame.progress_line import ProgressLine, progress_line


def told(rows: int) -> ig.Progress:
    return ig.Progress(
        operator="extract", rows=rows, rows_total=10, calls=rows, store_hits=0, rejected=0, pending=0, cost_usd=None,
        seconds=1.0,
    )  # fmt: skip


def test_a_short_run_shows_nothing() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream)
    line(told(1))
    line.finish()
    assert stream.getvalue() == ""


def test_a_long_run_shows_one_line_and_clears_it() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream)
    time.sleep(2.1)
    line(told(5))
    line.finish()
    shown = stream.getvalue()
    assert "extract 5 of 10 rows" in shown
    assert "\n" not in shown
    assert shown.endswith("\r")


def test_nothing_is_written_where_nobody_looks() -> None:
    assert progress_line() is None
