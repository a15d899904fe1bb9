"""How far a run is, in one line on the terminal or under a notebook's cell, for runs that nobody else watches."""

from __future__ import annotations

import sys
import time
from threading import Lock
from typing import TextIO

from infergraph.frame.asking import Progress

_FIRST_AFTER_S = 2.0
_EVERY_S = 0.5


class ProgressLine:
    """Writes the operators' progress over one line, from the third second on.

    Args:
        stream: A terminal or a notebook's output.

    Example:
        >>> from decimal import Decimal
        >>> told = Progress(operator="extract", rows=50, rows_total=200, calls=50, store_hits=0, rejected=1, pending=0,
        ...                 cost_usd=Decimal("0.0012"), seconds=10.0)
        >>> describe(told)
        'extract 50 of 200 rows, 5.0 rows/s, 1 rejected, $0.0012, 30 s left'
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = Lock()
        self._latest: dict[str, Progress] = {}
        self._started = self._written = time.monotonic()
        self._width = 0

    def __call__(self, progress: Progress) -> None:
        """Take in what one operator reports."""
        with self._lock:
            self._latest[progress.operator] = progress
            now = time.monotonic()
            if now - self._started < _FIRST_AFTER_S or now - self._written < _EVERY_S:
                return
            self._written = now
            self._write(" | ".join(describe(one) for one in self._latest.values()))

    def finish(self) -> None:
        """Clear the line."""
        with self._lock:
            if self._width:
                self._write("")
                self._stream.write("\r")
                self._stream.flush()

    def _write(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)


def describe(progress: Progress) -> str:
    """One operator's progress in words: rows, rows a second, rejects, money, seconds left."""
    total = "" if progress.rows_total is None else f" of {progress.rows_total:,}"
    speed = progress.rows / progress.seconds if progress.seconds else 0.0
    parts = [f"{progress.operator} {progress.rows:,}{total} rows", f"{speed:,.1f} rows/s"]
    if progress.rejected:
        parts.append(f"{progress.rejected:,} rejected")
    if progress.cost_usd:
        parts.append(f"${progress.cost_usd:.4f}")
    if progress.rows_total and speed:
        parts.append(f"{(progress.rows_total - progress.rows) / speed:,.0f} s left")
    return ", ".join(parts)


def progress_line() -> ProgressLine | None:
    """A line where somebody can see it: on a terminal or in a notebook; ``None`` elsewhere."""
    visible = sys.stderr.isatty() or "ipykernel" in sys.modules
    return ProgressLine(sys.stderr) if visible else None
