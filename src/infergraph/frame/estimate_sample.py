"""An estimate that costs little, for a run that starts at once anyway: of a sample where the rows are many.

Every so many rows of the plan's leftmost source are looked at, and what is found of the operators fed by it is
multiplied. It is given up after a few seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.estimate import PossibleRows, Survey
from infergraph.frame.estimate_report import Estimate, multiplied
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.run import RunOptions

MOST_ROWS = 10_000
MOST_S = 5.0
_PLACE = "__place"


@dataclass(frozen=True, kw_only=True)
class Quick:
    """A quick estimate, and the rows that it looked at."""

    estimate: Estimate
    """Of the whole run."""
    rows: PossibleRows | None
    """What the plan may give of the rows that were looked at; ``None``: nobody asked for them."""
    every: int
    """One of so many rows was looked at."""


def quick_estimate(
    frame: SemanticFrame,
    options: RunOptions | None = None,
    *,
    asset: str | None = None,
    rows: Path | None = None,
    most_rows: int = MOST_ROWS,
    most_s: float = MOST_S,
) -> Quick | None:
    """What a run of this plan would call, cost and take, from a sample of its rows.

    Args:
        frame: The plan.
        options: As the run would get them.
        asset: The asset that the run makes.
        rows: A Parquet file to be made of the rows that the plan may give; ``None``: none.
        most_rows: Rows of the leftmost source to look at, 1 or more.
        most_s: Seconds after which it is given up; a step that is at work then comes to its end first.

    Returns:
        The estimate; ``None``: it took too long.
    """
    options = options or RunOptions()
    leftmost = _leftmost(frame.node)
    count = int(leftmost.data.select(pl.len()).collect(engine="streaming").item())
    count = count if options.limit is None else min(count, options.limit)
    every = -(-count // most_rows)
    if every <= 1:
        whole = Survey(frame, options, asset=asset).within(most_s, rows)
        return None if whole is None else Quick(estimate=whole[0], rows=whole[1], every=1)
    first = leftmost.data if options.limit is None else leftmost.data.head(options.limit)
    part = first.with_row_index(_PLACE).filter(pl.col(_PLACE) % every == 0).drop(_PLACE)
    node, fed = _with_source(frame.node, leftmost, replace(leftmost, data=part))
    sampled = Survey(SemanticFrame(frame.session, node), replace(options, limit=None), asset=asset)
    found = sampled.within(most_s, rows)
    if found is None:
        return None
    made, possible = found
    parts = [
        multiplied(part, every) if is_fed else part for part, is_fed in zip(made.operators, fed, strict=True)
    ]  # fmt: skip
    said = f"Estimated from 1 of {every:,} rows of {leftmost.name!r}, and multiplied."
    return Quick(estimate=Estimate.of(parts, [said, *made.assumptions]), rows=possible, every=every)


def _leftmost(node: plans.Node) -> plans.Source:
    while not isinstance(node, plans.Source):
        node = node.inputs[0]
    return node


def _with_source(node: plans.Node, old: plans.Source, new: plans.Source) -> tuple[plans.Node, list[bool]]:
    """The plan with another source in place of one, and for each of its operators whether it is fed by that source."""
    made: dict[int, tuple[plans.Node, bool]] = {}
    fed: list[bool] = []
    for current in plans.walk(node):
        if isinstance(current, plans.Source):
            made[id(current)] = (new, True) if current is old else (current, False)
            continue
        inputs = [made[id(before)] for before in current.inputs]
        below = any(is_fed for _, is_fed in inputs)
        nodes: Any = tuple(each for each, _ in inputs)
        made[id(current)] = (replace(current, inputs=nodes), below)
        if isinstance(current, plans.OperatorStep):
            fed.append(below)
    return made[id(node)][0], fed
