"""``row_count``: how many rows came out of how many.

A plan whose every step keeps its rows must give as many as its upstream has, or the run lost some. Of any other plan
only nothing at all out of something is suspicious.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from infergraph.dagster.findings import Findings, check_result

if TYPE_CHECKING:
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.plan import Node, Source

ROW_COUNT = "row_count"
_KEEP_ROWS = frozenset(
    {"select", "with_columns", "with_row_index", "drop", "rename", "cast", "sort", "fill_null", "unnest", "cache"}
)


def spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check's definition."""
    return dg.AssetCheckSpec(
        ROW_COUNT,
        asset=asset,
        blocking=True,
        description="As many rows as upstream where every step keeps its rows; else no rows out of some is a warning.",
    )


def rows_upstream(frame: SemanticFrame, limit: int | None) -> tuple[int, bool]:
    """The rows that a plan starts from, and whether as many must come out.

    Args:
        frame: The plan.
        limit: The run option.

    Returns:
        Rows of the leftmost source, of all of them under a ``concat`` of plans that keep their rows; and whether
        every step keeps its rows.
    """
    kept = _rows_kept(frame.node, limit)
    return (kept, True) if kept is not None else (_rows_of(_leftmost(frame.node), limit), False)


def evaluate(asset: dg.AssetKey, findings: Findings) -> dg.AssetCheckResult:
    """Compare the rows with those upstream."""
    rows, rows_in = findings.count(), findings.rows_in
    if rows_in is None:
        return check_result(asset, ROW_COUNT, problems=[], blocking=False, metadata={"rows": rows})
    told = {"rows_in": rows_in, "rows": rows, "ratio": rows / rows_in if rows_in else 0.0}
    problems = []
    if findings.keeps_rows and rows != rows_in:
        problems = [f"{rows} rows came out of {rows_in}, though every step of the plan keeps its rows"]
    elif rows_in and not rows:
        problems = [f"no row came out of {rows_in}"]
    return check_result(asset, ROW_COUNT, problems=problems, blocking=findings.keeps_rows, metadata=told)


def _rows_kept(node: Node, limit: int | None) -> int | None:
    """The number of rows that must come out; ``None`` where a step may drop or add some."""
    from infergraph.frame.plan import OperatorStep, Source

    if isinstance(node, Source):
        return _rows_of(node, limit)
    if isinstance(node, OperatorStep):
        return None if node.decides else _rows_kept(node.inputs[0], limit)
    if node.method == "concat":
        parts = [_rows_kept(before, limit) for before in node.inputs]
        return None if None in parts else sum(part for part in parts if part is not None)
    if node.method in _KEEP_ROWS and node.row_ids == "kept":
        return _rows_kept(node.inputs[0], limit)
    return None


def _leftmost(node: Node) -> Source:
    from infergraph.frame.plan import Source

    while not isinstance(node, Source):
        node = node.inputs[0]
    return node


def _rows_of(source: Source, limit: int | None) -> int:
    data = source.data if limit is None else source.data.head(limit)
    return int(data.select(pl.len()).collect(engine="streaming").item())
