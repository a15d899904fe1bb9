"""Which columns come out of a plain step as they went in: what is known of an answer is then still true of them."""

from __future__ import annotations

import ast

import polars as pl
from polars.exceptions import PolarsError

from infergraph.frame import plan as plans

# Steps that drop or move rows, or columns, or add some, and change no value.
_CHANGE_NOTHING = ("filter", "drop", "sort", "head", "tail", "slice", "unique", "cache", "with_row_index", "cluster")


def columns_unchanged(step: plans.Step) -> set[str]:
    """The columns of a step's first input that it hands on, value by value and under their names.

    Args:
        step: Any plain step; rows may go or move, as long as each keeps its row id.

    Returns:
        Names of columns; none where that cannot be told.
    """
    before = step.inputs[0].schema
    if step.row_ids != "kept":
        return set()
    if step.method in _CHANGE_NOTHING:
        return set(before) & set(step.schema)
    if step.method not in ("select", "with_columns"):
        return set()
    kept, changed = _outputs(step, before)
    return set() if kept is None else kept if step.method == "select" else set(before) - changed


def _outputs(step: plans.Step, before: pl.Schema) -> tuple[set[str] | None, set[str]]:
    """The columns that are selected as they are, and the others; ``None`` where an expression cannot be read back."""
    kept: set[str] = set()
    changed: set[str] = set()
    for text in ast.literal_eval(step.identity):
        if text.startswith("opaque "):
            return None, changed
        try:
            one = pl.Expr.deserialize(text.encode(), format="json")
        except PolarsError:
            return None, changed
        names = pl.LazyFrame(schema=before).select(one).collect_schema().names()
        (kept if one.meta.is_column_selection() else changed).update(names)
    return kept, changed
