"""What of a plan reaches its operators: which rows Polars lets through to them, and which columns it wants of them.

It is found out by asking Polars: the plan is run over one row of nulls in place of every source, with operators that
take note of what is wanted of them and ask nobody. Nothing of the data is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl
from polars.exceptions import PanicException

from infergraph.frame import plan as plans
from infergraph.frame.compiling import Activity, Batches, io_source, lazy_frame, split_predicate
from infergraph.frame.pulling import pulled_heads
from infergraph.frame.row_ids import ROW_ID

_SHOWN = 120
# Functions of the author's are not run to explain a plan.
_FOREIGN = ("opaque ", "AnonymousFunction", "python_udf")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one reading of an operator wants."""

    rows_where: pl.Expr | None
    """A condition that is tested before the model is asked."""
    first: int | None
    """Only so many rows."""
    needed: bool
    """Somebody reads its answers."""
    columns: tuple[str, ...]
    """The columns of its input that go on."""


def reaching(node: plans.Node) -> dict[int, list[Reading]]:
    """The readings of each operator, by ``id(step)``; none where Polars did not come to it, or was not to be asked.

    Args:
        node: The plan's last node.
    """
    steps = [one for one in plans.walk(node) if isinstance(one, plans.Step)]
    if any(step.method == "map_frame" or any(mark in step.identity for mark in _FOREIGN) for step in steps):
        return {}
    found: dict[int, list[Reading]] = {}
    copy, originals = _over_nulls(node)
    activity = Activity()

    def operator(step: plans.OperatorStep, before: pl.LazyFrame) -> pl.LazyFrame:
        schema = {**step.schema, ROW_ID: pl.String()}

        def read(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> Batches:
            columns = list(schema) if wanted is None else wanted
            reading, upstream = _read(step, before, columns, predicate, n_rows)
            found.setdefault(originals[id(step)], []).append(reading)
            upstream.collect()
            yield pl.DataFrame({name: [None] for name in columns}, schema={name: schema[name] for name in columns})

        return io_source(schema, read, activity, f"semantic.{step.operator.kind}")

    try:
        lazy_frame(copy, hidden=(ROW_ID,), activity=activity, operator=operator).select(*node.schema).collect()
    except (Exception, PanicException):
        # A step's own code may not take nulls, and raise whatever it likes: what was seen before is right.
        return found
    return found


def told(node: plans.Node) -> str:
    """What reaches the operators, as lines for ``explain``; empty without operators, or where it cannot be told."""
    names, readings = plans.operator_names(node), reaching(node)
    lines = []
    for step in plans.operator_steps(node):
        if id(step) in readings:
            said = "; again: ".join(dict.fromkeys(_said(step, one) for one in readings[id(step)]))
            lines.append(f"  {names[id(step)]!r}: {said}{_window(node, step)}")
    return "\n".join(["What reaches the operators:", *lines]) if lines else ""


def _read(
    step: plans.OperatorStep, before: pl.LazyFrame, columns: list[str], predicate: pl.Expr | None, n_rows: int | None
) -> tuple[Reading, pl.LazyFrame]:
    """What a reading wants, and what it reads in turn: as a run does it (``Execution._batches``)."""
    written = set(step.operator.writes)
    bounded = n_rows is not None and not step.decides
    early, _ = split_predicate(predicate, written) if bounded or n_rows is None else (None, predicate)
    carried = [name for name in columns if name not in written]
    needed = step.decides or not written.isdisjoint(columns)
    reads = [*step.operator.reads, *(() if step.where is None else step.where.meta.root_names())] if needed else []
    upstream = before.head(n_rows) if n_rows is not None and bounded else before
    upstream = upstream if early is None else upstream.filter(early)
    kept = tuple(name for name in carried if name != ROW_ID)
    reading = Reading(rows_where=early, first=n_rows if bounded else None, needed=needed, columns=kept)
    return reading, upstream.select(list(dict.fromkeys([*carried, *reads, *step.judges_by, ROW_ID])))


def _over_nulls(node: plans.Node) -> tuple[plans.Node, dict[int, int]]:
    """The plan over one row of nulls, and the ``id`` of each of its nodes in the plan by that of the copy."""
    made: dict[int, plans.Node] = {}
    for current in plans.walk(node):
        if isinstance(current, plans.Source):
            nulls = pl.DataFrame({name: [None] for name in current.schema}, schema=current.schema)
            made[id(current)] = replace(current, data=nulls.lazy(), carries_ids=False, open=None)
        elif isinstance(current, plans.OperatorStep):
            made[id(current)] = replace(current, inputs=(made[id(current.inputs[0])],))
        else:
            made[id(current)] = replace(current, inputs=tuple(made[id(before)] for before in current.inputs))
    return made[id(node)], {id(copy): original for original, copy in made.items()}


def _said(step: plans.OperatorStep, reading: Reading) -> str:
    if not reading.needed:
        return f"makes no call, as nobody reads {', '.join(step.operator.writes)}"
    if reading.rows_where is None:
        return "all rows of its input" if reading.first is None else f"the first {reading.first:,} rows of its input"
    rows = "rows of its input" if reading.first is None else f"of the first {reading.first:,} rows of its input those"
    return f"{rows} where {_short(str(reading.rows_where))}"


def _window(node: plans.Node, step: plans.OperatorStep) -> str:
    """Which ``head`` stops it."""
    for head, operators in pulled_heads(node).items():
        if id(step) in operators:
            most = next(one.most_rows for one in plans.walk(node) if id(one) == head and isinstance(one, plans.Step))
            return f", window by window until head({most}) has its rows"
    return ""


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
