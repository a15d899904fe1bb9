"""Frames put together: groups of rows, and frames under one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import polars as pl

from infergraph.errors import PlanError
from infergraph.frame import column_rules as rules
from infergraph.frame import plan as plans
from infergraph.frame.expressions import expressions, identity, spelt_out, text_of
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.keys import KEY_PREFIX, group_key
from infergraph.frame.row_ids import DOUBT, PARENT, ROW_ID, derived_id

IntoExpr = Any


class GroupBy:
    """Groups of a frame's rows, waiting for their aggregation."""

    def __init__(self, frame: SemanticFrame, keys: list[pl.Expr]) -> None:
        self._frame = frame
        self._keys = keys

    def agg(self, *aggs: IntoExpr, **named: IntoExpr) -> SemanticFrame:
        """One row a group: the keys, then these columns, as ``pl.LazyFrame.group_by(...).agg``.

        The group's row id follows from the least of its rows' ids, and from what the rows are grouped by.
        """
        keys = self._keys
        key_names = [name for key in keys for name in _outputs(key, self._frame)]
        # As in Polars, a selector in an aggregation does not mean the keys.
        rest = {name: dtype for name, dtype in self._frame.schema.items() if name not in key_names}
        wanted = spelt_out(expressions(aggs, named), rest)
        by = " ".join(key_names)

        def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
            # One row's id tells a group from every other one, also from those of other frames; the least one stays
            # the same in whatever order the rows come.
            carried = [pl.col(ROW_ID).min()] if ROW_ID in hidden else []
            carried += [pl.col(DOUBT).max()] if DOUBT in hidden else []
            carried += [pl.col(PARENT)] if PARENT in hidden else []
            carried += [group_key(name) for name in hidden if name.startswith(KEY_PREFIX)]
            grouped = inputs[0].group_by(keys, maintain_order=True).agg(*wanted, *carried)
            if ROW_ID not in hidden:
                return grouped
            return grouped.with_columns(derived_id(pl.lit("group"), pl.lit(by), pl.col(ROW_ID)).alias(ROW_ID))

        return self._frame._step(
            "group_by.agg",
            f"by {text_of(keys)}: {text_of(wanted)}",
            apply,
            identity=[[identity(e) for e in keys], [identity(e) for e in wanted]],
            reads=[*keys, *wanted],
            replaces_columns=True,
            row_ids="derived",
            blocks=True,
            columns=rules.by_expressions(wanted, keeps_others=False, keys=keys),
        )


def _outputs(key: pl.Expr, frame: SemanticFrame) -> list[str]:
    return pl.LazyFrame(schema=frame.schema).select(key).collect_schema().names()


def concat(
    frames: Iterable[SemanticFrame], *, how: Literal["vertical", "vertical_relaxed", "diagonal"] = "vertical"
) -> SemanticFrame:
    """Frames under one another, as ``pl.concat``; rows keep their ids and the frames' order.

    Args:
        frames: One frame or more, of the same session.
        how: ``vertical``: the same columns; ``vertical_relaxed``: types may be widened; ``diagonal``: missing
            columns become null.

    Returns:
        The rows of all frames, first frame first.

    Raises:
        PlanError: No frame, frames of different sessions, or columns that do not fit.

    Example:
        >>> import infergraph as ig, polars as pl
        >>> with ig.Session(models={"m": ig.Model("scripted:doc")}, default_model="m", store="sqlite://") as session:
        ...     a = session.frame(pl.DataFrame({"x": [1]}), name="a")
        ...     b = session.frame(pl.DataFrame({"x": [2]}), name="b")
        ...     ig.concat([a, b]).collect()["x"].to_list()
        [1, 2]
    """
    parts = list(frames)
    if not parts:
        raise PlanError("ig.concat([]): give at least one frame.")
    first = parts[0]
    if not isinstance(first, SemanticFrame):
        raise PlanError(f"ig.concat: the first frame is a {type(first).__name__}; write session.frame(data) around it.")
    checked = [first, *(first._other(part) for part in parts[1:])]

    def apply(inputs: Sequence[pl.LazyFrame], hidden: tuple[str, ...]) -> pl.LazyFrame:
        # Steps before may have put visible columns behind the hidden ones; Polars wants one order.
        parts = [part.select(*frame.schema, *hidden) for part, frame in zip(inputs, checked, strict=True)]
        return pl.concat(parts, how=how)

    node = plans.step("concat", how, [part.node for part in checked], apply, identity=how, columns=rules.stacked)
    return SemanticFrame(first.session, node)
