"""What is shown while assets are materialised: one bar a semantic step, or plain lines where nothing may move.

A board is told things from the run's threads. On a terminal it draws bars; in a log it writes a
line when a step begins, at most one every ten seconds, and one when it ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from infergraph.cli import figures
from infergraph.cli.screen import err

if TYPE_CHECKING:
    from infergraph.frame.run import Progress

LINE_EVERY_S = 10.0


def _figures_of(progress: Progress) -> list[str]:
    """The parts of one step's line, those that say nothing left out."""
    total = f" of {progress.rows_total:,}" if progress.rows_total is not None else ""
    noun = "row" if (progress.rows_total or progress.rows) == 1 else "rows"
    parts = [
        f"{progress.rows:,}{total} {noun}",
        figures.rate(progress.rows, progress.seconds),
        f"{progress.calls:,} calls" if progress.calls != 1 else "1 call",
        f"{progress.store_hits:,} from the store" if progress.store_hits else "",
        f"{progress.rejected:,} rejected" if progress.rejected else "",
        f"{progress.pending:,} pending" if progress.pending else "",
        figures.usd(progress.cost_usd) if progress.cost_usd is not None else "cost unknown",
    ]
    return [part for part in parts if part]


def time_left(progress: Progress) -> float | None:
    """Seconds until the step is done at the speed so far; ``None`` while that cannot be said."""
    if progress.rows_total is None or not progress.rows:
        return None
    return max(progress.rows_total - progress.rows, 0) * progress.seconds / progress.rows


def line_of(progress: Progress) -> str:
    """One step's state as a sentence without colour.

    Args:
        progress: The step's cumulative figures.

    Returns:
        Rows, rows a second, calls, cost so far and the time left, as far as they are known.
    """
    parts = _figures_of(progress)
    left = time_left(progress)
    if left:
        parts.append(f"{figures.seconds(left)} left")
    return ", ".join(parts)


class Board(Protocol):
    """Where the state of a run is shown; every method may be called from any thread."""

    def note(self, text: str) -> None:
        """Say one thing: an asset began, was made, or failed."""
        ...

    def notice(self, asset: str, text: str) -> None:
        """Say what keeps an asset waiting."""
        ...

    def progress(self, asset: str, progress: Progress) -> None:
        """Show the new state of one semantic step."""
        ...

    def close(self) -> None:
        """Show the last state of everything and stop."""
        ...


class LineBoard:
    """Plain lines, for logs and pipes.

    Args:
        console: Where they go.
        clock: Seconds; another one in tests.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._written: dict[tuple[str, str], float] = {}
        self._latest: dict[tuple[str, str], Progress] = {}
        self._lock = threading.Lock()

    def note(self, text: str) -> None:
        """Write a line, after the last state of steps that have not been written."""
        with self._lock:
            self._write_latest()
            self._console.print(text, soft_wrap=True, markup=False)

    def notice(self, asset: str, text: str) -> None:
        """Write a line."""
        self.note(f"{asset}: {text}")

    def progress(self, asset: str, progress: Progress) -> None:
        """Write a line, unless this step wrote one in the last ten seconds."""
        step = (asset, progress.operator)
        now = self._clock()
        with self._lock:
            self._latest[step] = progress
            # A step's first report comes before there is anything to say: its time begins to count there.
            if now - self._written.setdefault(step, now) >= LINE_EVERY_S:
                self._written[step] = now
                self._write(step, self._latest.pop(step))

    def close(self) -> None:
        """Write what was held back."""
        with self._lock:
            self._write_latest()

    def _write_latest(self) -> None:
        for step in list(self._latest):
            self._write(step, self._latest.pop(step))

    def _write(self, step: tuple[str, str], progress: Progress) -> None:
        self._console.print(f"{step[0]} {step[1]}: {line_of(progress)}", soft_wrap=True, markup=False)


class BarBoard:
    """Moving bars, for a terminal.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}", markup=False),
            TextColumn("{task.fields[left]}", style="dim"),
            console=console,
            refresh_per_second=8,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._lock = threading.Lock()
        self._bars.start()

    def note(self, text: str) -> None:
        """Write a line above the bars."""
        self._bars.console.print(text, soft_wrap=True, markup=False)

    def notice(self, asset: str, text: str) -> None:
        """Write a line above the bars."""
        self.note(f"{asset}: {text}")

    def progress(self, asset: str, progress: Progress) -> None:
        """Move the step's bar."""
        left = time_left(progress)
        self._bars.update(
            self._task(asset, progress),
            completed=progress.rows,
            total=progress.rows_total,
            figures=", ".join(_figures_of(progress)),
            left=f"{figures.seconds(left)} left" if left else "",
        )

    def close(self) -> None:
        """Leave the bars as they are and stop drawing."""
        self._bars.stop()

    def _task(self, asset: str, progress: Progress) -> TaskID:
        step = (asset, progress.operator)
        with self._lock:
            if step not in self._tasks:
                name = f"{asset} {progress.operator}"
                self._tasks[step] = self._bars.add_task(name, total=progress.rows_total, figures="", left="")
            return self._tasks[step]


class SilentBoard:
    """Nothing is shown: for ``--json``."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def notice(self, asset: str, text: str) -> None:
        """Say it on stderr all the same: whoever waits for the JSON wants to know why there is none."""
        err().print(f"{asset}: {text}", soft_wrap=True)

    def progress(self, asset: str, progress: Progress) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to stop."""


def board_for(console: Console, *, silent: bool = False) -> Board:
    """Bars on a terminal, lines elsewhere.

    Args:
        console: Where progress goes.
        silent: Show nothing at all.

    Returns:
        A board that is already running.
    """
    if silent:
        return SilentBoard()
    return BarBoard(console) if console.is_terminal else LineBoard(console)
