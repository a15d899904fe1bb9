"""What the judges of an asset would ask, as a part of the asset's estimate.

Where the rows are known, the very sample of a run is looked up. Where answers are still missing, all rows that may come
are looked at, and the numbers are brought down to the size of the sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from infergraph.dagster.judging import Judge
from infergraph.frame.estimate import Estimate, OperatorEstimate, PossibleRows, Survey

if TYPE_CHECKING:
    from infergraph.dagster.findings import OwnCheck
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.run import RunOptions

_NAMES = ("operator", "kind", "model")


def with_judges(
    made: Estimate,
    rows: PossibleRows,
    frame: SemanticFrame,
    options: RunOptions,
    *,
    asset: str,
    own: Sequence[OwnCheck],
) -> Estimate:
    """An asset's estimate with what its judges would ask.

    Args:
        made: The estimate of the rows.
        rows: The rows that the plan may give.
        frame: The plan.
        options: As a run would get them.
        asset: The asset's name, whose own history counts first.
        own: The author's own checks.
    """
    parts, said = list(made.operators), list(made.assumptions)
    for check in own:
        if isinstance(check, Judge):
            found = _of_judge(check, rows, frame, options, asset)
            parts += found.operators
            # How many rows pass decides nothing further down, so what is assumed of filters is not said.
            said += [text for text in found.assumptions if text.startswith(check.operator)]
    return Estimate.of(parts, list(dict.fromkeys(said)))


def _of_judge(judge: Judge, rows: PossibleRows, frame: SemanticFrame, options: RunOptions, asset: str) -> Estimate:
    known = rows.known()
    own_options = judge.options_from(options, retry_rejects=False)
    if known is not None:
        sample, _ = judge.sampled(frame.schema, known)
        question = judge.question(frame.session.frame(sample, name=judge.operator), frame.schema)
        return Survey(question, own_options, asset=asset).estimate()
    shown = rows.frame(frame.session, judge.operator, None).with_columns(*judge.shown(frame.schema))
    found = Survey(judge.question(shown, frame.schema), own_options, asset=asset).estimate()
    told = f"{judge.operator}: grades at most {judge.sample:,} rows, which are drawn when they are made."
    return Estimate.of([_cut(part, judge.sample) for part in found.operators], [*found.assumptions, told])


def _cut(part: OperatorEstimate, sample: int) -> OperatorEstimate:
    """The part of an estimate that so many of its rows have; the least is nothing where rows are left out."""
    if part.rows_high <= sample:
        return part
    share = sample / part.rows_high
    values: dict[str, Any] = {}
    for name in (f.name for f in fields(OperatorEstimate) if f.name not in _NAMES):
        value = getattr(part, name)
        values[name] = None if value is None else _shared(value, 0.0 if name.endswith("_low") else share)
    return replace(part, **values)


def _shared(value: float | Decimal, share: float) -> float | Decimal:
    if isinstance(value, int):
        return math.ceil(value * share)
    return value * Decimal(share) if isinstance(value, Decimal) else value * share
