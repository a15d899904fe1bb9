"""An estimate that costs little, for a run that starts at once anyway: of a sample where the rows are many.

Every so many rows of the plan's leftmost source are looked at, and what is found of the operators fed by it is
multiplied. It is given up after a few seconds.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import polars as pl

from infergraph.frame import plan as plans
from infergraph.frame.estimate import Survey
from infergraph.frame.estimate_report import Estimate, OperatorEstimate
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.run import RunOptions

MOST_ROWS = 10_000
MOST_S = 5.0
_PLACE = "__place"


def quick_estimate(
    frame: SemanticFrame,
    options: RunOptions | None = None,
    *,
    asset: str | None = None,
    most_rows: int = MOST_ROWS,
    most_s: float = MOST_S,
) -> Estimate | None:
    """What a run of this plan would call, cost and take, from a sample of its rows.

    Args:
        frame: The plan.
        options: As the run would get them.
        asset: The asset that the run makes.
        most_rows: Rows of the leftmost source to look at, 1 or more.
        most_s: Seconds after which it is given up; a step that is at work then comes to its end first.

    Returns:
        The estimate; ``None``: it took too long.
    """
    options = options or RunOptions()
    leftmost = _leftmost(frame.node)
    rows = int(leftmost.data.select(pl.len()).collect(engine="streaming").item())
    rows = rows if options.limit is None else min(rows, options.limit)
    every = -(-rows // most_rows)
    if every <= 1:
        return Survey(frame, options, asset=asset).estimate_within(most_s)
    first = leftmost.data if options.limit is None else leftmost.data.head(options.limit)
    part = first.with_row_index(_PLACE).filter(pl.col(_PLACE) % every == 0).drop(_PLACE)
    node, fed = _with_source(frame.node, leftmost, replace(leftmost, data=part))
    sampled = Survey(SemanticFrame(frame.session, node), replace(options, limit=None), asset=asset)
    found = sampled.estimate_within(most_s)
    if found is None:
        return None
    parts = [
        _times(part, every) if is_fed else part for part, is_fed in zip(found.operators, fed, strict=True)
    ]  # fmt: skip
    said = f"Estimated from 1 of {every:,} rows of {leftmost.name!r}, and multiplied."
    return Estimate.of(parts, [said, *found.assumptions])


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


_WORDS = ("operator", "kind", "model")


def _times(part: OperatorEstimate, factor: int) -> OperatorEstimate:
    """An operator's numbers, multiplied."""
    values = {f.name: getattr(part, f.name) for f in fields(part) if f.name not in _WORDS}
    multiplied: dict[str, Any] = {name: None if value is None else value * factor for name, value in values.items()}
    return replace(part, **multiplied)
