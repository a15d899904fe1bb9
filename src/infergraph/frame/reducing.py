"""Groups of rows as rows: the plain step below ``reduce``, whose operator then works row by row like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from infergraph.errors import PlanError
from infergraph.frame import plan as plans
from infergraph.frame.expressions import expressions, spelt_out, text_of
from infergraph.frame.frame import SemanticFrame
from infergraph.operators.reduce import ROWS, ReduceOperator
from infergraph.operators.subject import check_columns

By = str | pl.Expr | Sequence[str | pl.Expr]
ALL = "__reduce_all"
"""The key of the one group that ``by=[]`` makes."""


def keys_of(frame: SemanticFrame, by: By, argument: str = "by") -> list[pl.Expr]:
    """The expressions of ``by=`` or ``order_by=``, their selectors spelt out.

    Raises:
        UnknownColumn: A column does not exist; the message has the nearest names.
        PlanError: It is no name, expression or list of them.
    """
    where = f".semantic.reduce({argument}=)"
    given = [by] if isinstance(by, (str, pl.Expr)) else list(by) if isinstance(by, Sequence) else [None]
    if not all(isinstance(one, (str, pl.Expr)) for one in given):
        raise PlanError(
            f"{where}: give a column's name, an expression or a list of them, not {by!r:.80}; by=[] is one group of "
            "all rows."
        )
    for one in given:
        names = [one] if isinstance(one, str) else one.meta.root_names() if isinstance(one, pl.Expr) else []
        check_columns(names, frame.schema, where)
    return spelt_out(expressions(given, {}), frame.schema)


def key_types(frame: SemanticFrame, keys: Sequence[pl.Expr]) -> pl.Schema:
    """The groups' key columns and their types."""
    if not keys:
        return pl.Schema()
    names = [name for key in keys for name in pl.LazyFrame(schema=frame.schema).select(key).collect_schema().names()]
    if twice := [name for name in names if names.count(name) > 1]:
        raise PlanError(
            f".semantic.reduce(by=): the key {twice[0]!r} comes twice; name it once, or give one an .alias()."
        )
    counted = frame.group_by(*keys).agg(pl.len().alias(ALL)).schema
    return pl.Schema({name: dtype for name, dtype in counted.items() if name != ALL})


def grouped(
    frame: SemanticFrame, keys: Sequence[pl.Expr], order_by: By | None, operator: ReduceOperator
) -> SemanticFrame:
    """One row a group: the keys, and the group's rows in a list.

    Args:
        frame: The rows.
        keys: What they are grouped by; none: they are one group.
        order_by: In which order a group's rows come, nulls last; ``None``: in the frame's.
        operator: Says which columns of the rows are read.
    """
    rows: pl.Expr = pl.struct(list(operator.template.reads))
    order = [] if order_by is None else keys_of(frame, order_by, "order_by")
    if order:
        rows = rows.sort_by(order, nulls_last=True, maintain_order=True)
    # Of no rows, ``group_by`` of a literal makes one group.
    given = frame if keys else frame.with_columns(pl.lit(1).alias(ALL))
    together = given.group_by(*(keys or [pl.col(ALL)])).agg(rows.alias(ROWS)).node
    assert isinstance(together, plans.Step)
    said = f"by {text_of(keys) or 'nothing'}: {', '.join(operator.template.reads)}"
    ordered = f" in the order of {text_of(order)}" if order else ""
    result = SemanticFrame(frame.session, replace(together, text=f"{said} of its rows{ordered}", order_by=tuple(order)))
    return result if keys else result.drop(ALL)
