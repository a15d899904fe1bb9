"""What the judges of an asset would ask, as a part of the asset's estimate.

Where the rows are known, the very sample of a run is looked up. Where answers are still missing, all rows that may come
are looked at, and the numbers are brought down to the size of the sample. Of a part of the rows a part of the sample is
drawn: who is drawn follows from the row ids, so that these are, but for a few, rows that the run draws too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from infergraph.dagster.judging import Judge
from infergraph.frame.estimate import Estimate, PossibleRows, Survey
from infergraph.frame.estimate_report import at_most, multiplied

if TYPE_CHECKING:
    from infergraph.dagster.findings import OwnCheck
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.run import RunOptions


def with_judges(
    made: Estimate,
    rows: PossibleRows,
    frame: SemanticFrame,
    options: RunOptions,
    *,
    asset: str,
    own: Sequence[OwnCheck],
    every: int = 1,
) -> Estimate:
    """An asset's estimate with what its judges would ask.

    Args:
        made: The estimate of the rows.
        rows: The rows that the plan may give.
        frame: The plan.
        options: As a run would get them.
        asset: The asset's name, whose own history counts first.
        own: The author's own checks.
        every: The rows are one of so many.

    Returns:
        The estimate, the judges' parts last.
    """
    parts, said = list(made.operators), list(made.assumptions)
    for check in own:
        if isinstance(check, Judge):
            found = _of_judge(check, rows, frame, options, asset, every)
            parts += found.operators
            # How many rows pass decides nothing further down, so what is assumed of filters is not said.
            said += [text for text in found.assumptions if text.startswith(check.operator)]
    return Estimate.of(parts, list(dict.fromkeys(said)))


def _of_judge(
    judge: Judge, rows: PossibleRows, frame: SemanticFrame, options: RunOptions, asset: str, every: int
) -> Estimate:
    known = rows.known()
    own_options = judge.options_from(options, retry_rejects=False)
    if known is not None:
        part = replace(judge, sample=-(-judge.sample // every))
        sample, _ = part.sampled(frame.schema, known)
        question = part.question(frame.session.frame(sample, name=judge.operator), frame.schema)
        found = Survey(question, own_options, asset=asset).estimate()
        return at_most(_times(found, every), judge.sample)
    shown = rows.frame(frame.session, judge.operator, None).with_columns(*judge.shown(frame.schema))
    found = Survey(judge.question(shown, frame.schema), own_options, asset=asset).estimate()
    told = f"{judge.operator}: grades at most {judge.sample:,} rows, which are drawn when they are made."
    return Estimate.of(at_most(_times(found, every), judge.sample).operators, [*found.assumptions, told])


def _times(estimate: Estimate, every: int) -> Estimate:
    return Estimate.of([multiplied(part, every) for part in estimate.operators], estimate.assumptions)
