"""Below a ``head`` the operators are asked window by window, by whoever needs the next rows, and nobody reads ahead.

Polars reads some thirty batches ahead of every source. That is right where all rows are wanted; below ``head(10)`` it
made thousands of calls for ten rows. So the part of a plan between a ``head`` and its operators is run over and over,
each time for one window of rows, until enough came out. Windows start at the rows that are wanted and double, so that
rows which are hard to find are found soon too. Only steps that look at one row at a time may stand in such a part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.compiling import Batches
from infergraph.frame.window import MORSEL_ROWS, Window

_NO_EXPRESSIONS = frozenset({"drop", "rename", "cast", "unnest", "explode"})
_EXPRESSIONS = frozenset({"filter", "select", "with_columns", "fill_null"})
_FEWER_OR_MORE = frozenset({"filter", "explode"})
# Of a user's function nobody knows whether it looks at other rows of its batch.
_NOT_SURE = ("AnonymousFunction", "opaque ", "Append")


class Growing(Window):
    """A window that starts small: morsels double up to their usual size, then more of them are asked at a time.

    So what was asked in vain is about as much as what was asked before, and a long search keeps the model busy.

    Args:
        at_once: Says how many requests the model takes at once, as far as that is known by now.
        first: Rows of the first morsel, at most.

    Example:
        >>> window = Growing(lambda: 64, first=10)
        >>> for _ in range(5):
        ...     print(window.most, window.rows)
        ...     window.handed_on()
        1 10
        1 20
        1 32
        2 32
        3 32
    """

    def __init__(self, at_once: Callable[[], int], first: int) -> None:
        super().__init__(at_once, few=True)
        self.rows = max(1, min(first, self.usual))
        self._morsels = 1

    @property
    def most(self) -> int:
        """Morsels that may wait."""
        return min(self._morsels, super().most)

    def handed_on(self) -> None:
        """The reader wants more."""
        if self.rows == self.usual:
            self._morsels = min(self._morsels + 1, super().most)
        self.rows = min(2 * self.rows, self.usual)


class Passes:
    """An operator's rows over several passes of Polars, one window a pass.

    Args:
        read: Begins to read the operator, at the first pass: wanted columns (``None``: all) and a predicate.
    """

    def __init__(self, read: Callable[[list[str] | None, pl.Expr | None], Batches]) -> None:
        self._read = read
        self._windows: Batches | None = None
        self.begun = 0
        """Passes so far."""
        self.ended = False
        """Whether the operator has no more rows."""

    def next_window(self, wanted: list[str] | None, predicate: pl.Expr | None, _: int | None) -> Batches:
        """One window: what Polars reads in this pass.

        The arguments are the same at every pass, and nothing in such a part of a plan wants a number of rows.
        """
        self.begun += 1
        if self._windows is None:
            self._windows = self._read(wanted, predicate)
        return self._one(self._windows)

    def _one(self, windows: Batches) -> Batches:
        window = next(windows, None)
        if window is None:
            self.ended = True
        else:
            yield window


def in_windows(frame: pl.LazyFrame, passes: Passes, stopped: Callable[[], bool]) -> Batches:
    """The rows of a frame that reads an operator in passes.

    Args:
        frame: Row by row steps over the operator.
        passes: The operator.
        stopped: Whether the run is over.
    """
    while not (passes.ended or stopped()):
        before = passes.begun
        yield frame.collect(engine="streaming")
        if passes.begun == before:
            return  # Polars sees that no row can come, and reads nothing


def pulled_heads(node: plans.Node) -> dict[int, frozenset[int]]:
    """The operators that are read in windows, by the ``head`` that wants their rows; both by ``id(step)``.

    Left to Polars are a ``head`` of more rows than a morsel has, and one that wants as many rows of every operator as
    it gives: Polars tells the operators so.
    """
    readers = Counter(id(before) for current in plans.walk(node) for before in current.inputs)
    found: dict[int, frozenset[int]] = {}
    for current in plans.walk(node):
        if isinstance(current, plans.Step) and current.method == "head" and (current.most_rows or 0) <= MORSEL_ROWS:
            operators, changes_rows = _operators_below(current, readers)
            if changes_rows:
                found[id(current)] = operators
    return found


def _operators_below(head: plans.Step, readers: Counter[int]) -> tuple[frozenset[int], bool]:
    """The operators that only this head reads, row by row, and whether any row gets lost or multiplied above one."""
    operators: list[int] = []
    changing = changes_rows = False
    for current in _chain(head.inputs[0]):
        if readers[id(current)] > 1:
            break
        if isinstance(current, plans.OperatorStep):
            operators.append(id(current))
            changing = changing or current.decides
            changes_rows = changing
        elif not _one_row_at_a_time(current):
            break
        else:
            changing = changing or current.method in _FEWER_OR_MORE
    return frozenset(operators), changes_rows


def _chain(node: plans.Node) -> Iterator[plans.Step | plans.OperatorStep]:
    current = node
    while not isinstance(current, plans.Source):
        yield current
        if len(current.inputs) != 1:
            return
        current = current.inputs[0]


def _one_row_at_a_time(step: plans.Step) -> bool:
    if step.method in _NO_EXPRESSIONS:
        return True
    sure = step.row_wise and step.row_ids != "new" and not step.blocks
    return step.method in _EXPRESSIONS and sure and not any(mark in step.identity for mark in _NOT_SURE)
