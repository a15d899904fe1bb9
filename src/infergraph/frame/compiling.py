"""From plan to Polars: one IO source for each source and each operator, so that Polars itself pushes predicates,
projections and limits, overlaps operators and keeps order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from threading import Condition
from typing import Protocol, runtime_checkable

import polars as pl
from polars.io.plugins import register_io_source

from infergraph.frame import plan as plans
from infergraph.frame.expressions import conjuncts, roots
from infergraph.frame.keys import hidden_key, source_keys
from infergraph.frame.row_ids import DOUBT, DOUBT_TYPE, ROW_ID, RowNumberer
from infergraph.frame.true_types import Apply

SOURCE_MORSEL_ROWS = 2048
"""Polars reads some thirty batches ahead: of rows of 1 KB these are 60 MB."""
Batches = Iterator[pl.DataFrame]
Read = Callable[[list[str] | None, pl.Expr | None, int | None], Batches]
"""Reads an IO source: wanted columns (``None``: all), a row-wise predicate, most rows (``None``: all).

Where both are given, Polars wants those of the first so many rows that pass, and not so many rows that pass.
"""


class Recorder(Protocol):
    """Writes down where a run's rows come from; see ``frame/parents.py``."""

    def named(self, source: plans.Source, columns: Sequence[str]) -> None:
        """A source's rows are named by these columns."""

    def applied(self, step: plans.Step, inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
        """The step's lazy frame, which writes down its rows' parents."""


@runtime_checkable
class ReadsItself(Protocol):
    """The ``apply`` of a step that reads its inputs itself; see ``frame/reading.py``."""

    def tracked(self, activity: Activity) -> Apply:
        """The same, which ends when the run is over."""


class Activity:
    """Knows which generators of a run are working, so that none works on after the run has returned.

    Polars drops an upstream source without waiting for it; a Python generator still running then aborts
    the process at exit.
    """

    def __init__(self) -> None:
        self._working = 0
        self._stopped = False
        self._changed = Condition()

    @property
    def stopped(self) -> bool:
        """The run is over: generators end quietly."""
        return self._stopped

    def track(self, batches: Batches) -> Batches:
        """The same batches, counted as working while one is being made."""
        return _Tracked(self, batches)

    def enter(self) -> bool:
        """A generator starts working on its next batch; false when the run is over and it must not."""
        with self._changed:
            if self._stopped:
                return False
            self._working += 1
            return True

    def leave(self) -> None:
        """A generator has handed its batch over, or has ended."""
        with self._changed:
            self._working -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """From now on no generator starts on a batch, and those at work end at their next look."""
        with self._changed:
            self._stopped = True

    def join(self, timeout_s: float) -> bool:
        """Wait until no generator is working; whether that came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._working == 0, timeout_s)


class _Tracked(Iterator[pl.DataFrame]):
    def __init__(self, activity: Activity, batches: Batches) -> None:
        self._activity = activity
        self._batches = batches

    def __next__(self) -> pl.DataFrame:
        if not self._activity.enter():
            raise StopIteration
        try:
            return next(self._batches)
        finally:
            self._activity.leave()


def io_source(schema: dict[str, pl.DataType], read: Read, activity: Activity, label: str) -> pl.LazyFrame:
    """A lazy frame over a Python reader, tracked while it works."""

    def open_source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Batches:
        if with_columns is None or with_columns:
            return activity.track(_as_declared(read(with_columns, predicate, n_rows), schema))
        # Polars wants to know how many rows there are, and a selection of no columns has none: one that costs nothing
        # is read, and dropped, which leaves the height.
        counted = next((name for name in (ROW_ID, DOUBT) if name in schema), next(iter(schema)))
        return activity.track(batch.drop(counted) for batch in read([counted], predicate, n_rows))

    return register_io_source(open_source, schema=schema, explain_name=label)


def _as_declared(batches: Batches, schema: Mapping[str, pl.DataType]) -> Batches:
    """The batches with the declared types: of a frame's or a function's Enums Polars may say that they are texts."""
    for batch in batches:
        wrong = pl.Schema({name: schema[name] for name, dtype in batch.schema.items() if dtype != schema[name]})
        yield batch.cast(wrong) if wrong else batch


def lazy_frame(
    node: plans.Node,
    *,
    hidden: tuple[str, ...],
    activity: Activity,
    operator: Callable[[plans.OperatorStep, pl.LazyFrame], pl.LazyFrame],
    limit: int | None = None,
    keys: Mapping[str, pl.DataType] | None = None,
    head: Callable[[plans.Step, int | None], pl.LazyFrame | None] | None = None,
    recorder: Recorder | None = None,
) -> pl.LazyFrame:
    """The plan as a Polars lazy frame.

    Args:
        node: The plan's last node.
        hidden: Columns that every node carries beside the visible ones.
        activity: Tracks the sources' generators.
        operator: Makes an operator's lazy frame from its input's.
        limit: Read only the first so many rows of the leftmost source (of each frame of a ``concat``).
        keys: Key columns of the sources that every node carries too, hidden, as they were in the source.
        head: Makes the lazy frame of a step in another way, given the step and its ``limit``; where it gives ``None``,
            the step is Polars' own.
        recorder: Told where rows come from, where it is a run that makes them.
    """
    keys = keys or {}
    carried = (*hidden, *map(hidden_key, keys))
    made: dict[tuple[int, int | None], pl.LazyFrame] = {}

    def make(current: plans.Node, most: int | None) -> pl.LazyFrame:
        known = made.get((id(current), most))
        if known is not None:
            return known
        if isinstance(current, plans.Source):
            result = source_frame(current, hidden, activity, most, keys, recorder)
        elif isinstance(current, plans.OperatorStep):
            result = operator(current, make(current.inputs[0], most))
        elif head is not None and (otherwise := head(current, most)) is not None:
            result = otherwise
        else:
            every = current.method == "concat"
            inputs = [make(before, most if every or not place else None) for place, before in enumerate(current.inputs)]
            stopped = followed(current, activity)
            apply = stopped.apply if recorder is None else partial(recorder.applied, stopped)
            result = apply(inputs, carried)
        made[id(current), most] = result
        return result

    return make(node, limit)


def followed(step: plans.Step, activity: Activity) -> plans.Step:
    """The step, stopped with the run where it reads its inputs itself (see ``frame/reading.py``)."""
    apply: object = step.apply
    return replace(step, apply=apply.tracked(activity)) if isinstance(apply, ReadsItself) else step


def source_frame(
    node: plans.Source,
    hidden: tuple[str, ...],
    activity: Activity,
    limit: int | None = None,
    keys: Mapping[str, pl.DataType] | None = None,
    recorder: Recorder | None = None,
) -> pl.LazyFrame:
    """A source with the hidden columns added; row ids of an earlier run are taken over."""
    data = node.data if limit is None else node.data.head(limit)
    if ROW_ID in hidden and not node.carries_ids:
        data = _numbered(data, node, activity, recorder)
    if DOUBT in hidden and node.open is None:
        data = data.with_columns(pl.lit(0, DOUBT_TYPE).alias(DOUBT))
    return data.select(*node.schema, *hidden, *source_keys(node.key, keys or {}))


def renumbered(data: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """Rows that cannot be followed further back, numbered by their content."""
    schema = data.collect_schema()
    return _numbered(
        data, plans.Source(name=name, data=data, key=(), schema=schema, carries_ids=False), Activity()
    ).select(*schema, ROW_ID)


def _numbered(
    data: pl.LazyFrame, node: plans.Source, activity: Activity, recorder: Recorder | None = None
) -> pl.LazyFrame:
    def read(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> Batches:
        columns = list(wanted) if wanted is not None else [*node.schema, ROW_ID]
        visible = [column for column in columns if column != ROW_ID]
        named_by = list(node.key) or visible or list(node.schema)
        numberer = RowNumberer(node.name, named_by)
        if recorder is not None and ROW_ID in columns:
            recorder.named(node, named_by)
        lazy = data.select(list(dict.fromkeys([*visible, *named_by])))
        # A predicate on what names a row keeps or drops rows of one name together, so that occurrence numbers stay
        # true; one that reads more comes after the numbering.
        early = predicate is not None and roots(predicate).issubset(named_by)
        lazy = lazy if n_rows is None else lazy.head(n_rows)
        if predicate is not None and early:
            lazy = lazy.filter(predicate)
        batches = lazy.collect_batches(chunk_size=SOURCE_MORSEL_ROWS, maintain_order=True, engine="streaming")
        numbered = (batch.with_columns(numberer.ids(batch)).select(columns) for batch in batches)
        yield from wanted_rows(numbered, None if early else predicate, None, activity)

    return io_source({**node.schema, ROW_ID: pl.String()}, read, activity, f"source {node.name}")


def wanted_rows(batches: Batches, predicate: pl.Expr | None, n_rows: int | None, activity: Activity) -> Batches:
    """What Polars asked an IO source for: those of the first so many rows that pass, until the run is over.

    Args:
        batches: The source's rows, in order.
        predicate: A row-wise condition; ``None``: all rows pass.
        n_rows: Most rows, whether they pass or not; ``None``: all.
        activity: Says when the run is over.
    """
    left = n_rows
    if left == 0:
        return
    for batch in batches:
        if activity.stopped:
            return
        result = batch if left is None else batch.head(left)
        left = None if left is None else left - result.height
        yield result if predicate is None else result.filter(predicate)
        if left is not None and left <= 0:
            return


def split_predicate(predicate: pl.Expr | None, written: set[str]) -> tuple[pl.Expr | None, pl.Expr | None]:
    """The part of a row-wise predicate that needs no answer, and the rest.

    Args:
        predicate: What Polars pushed down to an operator.
        written: Columns that the operator writes.

    Returns:
        A predicate for the operator's input and one for its output; ``None`` where there is nothing to test.
    """
    if predicate is None:
        return None, None
    early: list[pl.Expr] = []
    late: list[pl.Expr] = []
    for condition in conjuncts(predicate):
        (late if written.intersection(roots(condition)) else early).append(condition)
    return _all_of(early), _all_of(late)


def _all_of(conditions: list[pl.Expr]) -> pl.Expr | None:
    if not conditions:
        return None
    combined = conditions[0]
    for condition in conditions[1:]:
        combined = combined & condition
    return combined
