"""A plain step that computes its rows itself, from inputs that it reads whole or a batch at a time.

Most plain steps are Polars' own. One that needs more than Polars has (neighbours by vector, clusters) is an IO source
over its inputs: what Polars wants of it (columns, a condition, the first rows) comes in, and the run stops it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from infergraph.frame.compiling import Activity, Batches, io_source, wanted_rows
from infergraph.frame.true_types import Apply


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What Polars wants of a step's rows; a step may use it to read less, and need not."""

    columns: Sequence[str]
    predicate: pl.Expr | None
    """A row-wise condition."""
    n_rows: int | None
    """Of the first so many rows those that pass; ``None``: of all."""
    stopped: Callable[[], bool]
    """Nobody needs the rows any more."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The ``apply`` of such a step.

    Args:
        label: What Polars' plan calls it.
        schema: The step's columns, the hidden ones among them, from the inputs' and the names of the hidden ones.
        read: Gives batches with at least the wanted columns, in order.
        after: Polars steps on what comes out, given the hidden columns.
    """

    label: str
    schema: Callable[[Sequence[pl.Schema], tuple[str, ...]], pl.Schema]
    read: Callable[[Sequence[pl.LazyFrame], tuple[str, ...], Wanted], Iterator[pl.DataFrame]]
    after: Callable[[pl.LazyFrame, tuple[str, ...]], pl.LazyFrame] = lambda rows, hidden: rows

    def __call__(self, inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
        """The step where no run has to stop it: probes, estimates of whole steps."""
        return self.tracked(Activity())(inputs, hidden)

    def tracked(self, activity: Activity) -> Apply:
        """The same, stopped with a run or an estimate."""

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            schema = self.schema([one.collect_schema() for one in inputs], hidden)

            def read(columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> Batches:
                needed = list(schema) if columns is None else columns
                wanted = Wanted(columns=needed, predicate=predicate, n_rows=n_rows, stopped=lambda: activity.stopped)
                batches = (batch.select(needed) for batch in self.read(inputs, hidden, wanted))
                return wanted_rows(batches, predicate, n_rows, activity)

            return self.after(io_source(dict(schema), read, activity, self.label), hidden)

        return apply
