"""Which columns a plain step reads, found out by asking Polars: the step is applied to sources that take note."""

from __future__ import annotations

import polars as pl
from polars.exceptions import PolarsError
from polars.io.plugins import register_io_source

from infergraph.frame import plan as plans
from infergraph.frame.compiling import Batches


def columns_read(step: plans.Step, place: int, *, only_rows: bool = False) -> set[str]:
    """The columns of one input that a step reads.

    Args:
        step: Any plain step; where Polars refuses the trial, all columns count as read.
        place: Which of its inputs.
        only_rows: Only the columns that decide which rows there are.
    """
    seen: list[set[str]] = []

    def probe(node: plans.Node, watched: bool) -> pl.LazyFrame:
        nulls = pl.DataFrame({name: [None] for name in node.schema}, schema=node.schema)

        def read(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, size: int | None) -> Batches:
            if watched:
                roots = set() if predicate is None else set(predicate.meta.root_names())
                seen.append(set(node.schema if wanted is None else wanted) | roots)
            yield nulls.select(wanted) if wanted is not None else nulls

        return register_io_source(read, schema=node.schema)

    whole = set(step.inputs[place].schema)
    try:
        made = step.apply([probe(node, at == place) for at, node in enumerate(step.inputs)], ())
        (made.select(pl.len()) if only_rows else made).collect()
    except PolarsError:
        return whole
    return set().union(*seen) if seen else whole
