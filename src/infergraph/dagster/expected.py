"""The estimate that a semantic asset's run makes before it starts, kept beside what then happened.

It is of a sample where the rows are many, so that it costs little beside the run. The store keeps it under the same
keys as the usage of the run, and the materialization says it beside the true numbers: what the rows cost and what the
judges among the checks cost, each beside its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polars.exceptions import PanicException

from infergraph.dagster.judging import Judge
from infergraph.errors import InfergraphError
from infergraph.models.model import NANO
from infergraph.store.rows import EstimateRow

if TYPE_CHECKING:
    from logging import Logger

    from infergraph.frame.estimate import Estimate, OperatorEstimate
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.run import RunOptions

_TOLD = ("calls", "input_tokens", "output_tokens", "cost_usd")
_TOLD_OF_CHECKS = ("calls", "cost_usd")
_SPANS = ("", "_low", "_high")


def keep_estimate(
    frame: SemanticFrame,
    options: RunOptions,
    *,
    judges: Sequence[Judge],
    run_id: str,
    asset: str,
    partition: str | None,
    log: Logger,
) -> Estimate | None:
    """Estimate a run that is about to start, and keep that in the store.

    Args:
        frame: The plan.
        options: As the run gets them.
        judges: Those that the run will ask.
        run_id: The run.
        asset: The asset's name.
        partition: Its partition, if any.
        log: Told why there is no estimate, where there is none.

    Returns:
        The estimate; ``None``: there is none, and the run goes on without.
    """
    try:
        made = _estimate(frame, options, judges, asset)
    except InfergraphError as error:
        log.debug("This run has no estimate: %s", error)
        return None
    except (Exception, PanicException) as error:
        # The user's own functions see rows here whose answers are missing. What they raise at that must not stop the
        # run; what they raise at the true rows will.
        log.warning("This run has no estimate, as a step cannot do with missing answers: %r", error)
        return None
    if made is None:
        log.info("This run has no estimate: its steps take too long to be looked at twice.")
        return None
    models = frame.session.models
    rows = [
        _row(part, run_id=run_id, asset=asset, partition=partition, model=models[part.model].name)
        for part in made.operators
    ]
    frame.session.store.record_estimates(rows)
    return made


def estimate_metadata(estimate: Estimate | None, judges: Sequence[Judge]) -> Mapping[str, int | float]:
    """The estimate as metadata; what is not known is left out.

    Args:
        estimate: From ``keep_estimate``.
        judges: As it got them.

    Returns:
        Plain numbers under ``infergraph/estimated_...``, and of the judges under ``infergraph/estimated_checks_...``.
    """
    if estimate is None:
        return {}
    # The judges' parts come last.
    rows = len(estimate.operators) - len(judges)
    return {
        **_told("infergraph/estimated_", estimate.operators[:rows], _TOLD),
        **_told("infergraph/estimated_checks_", estimate.operators[rows:], _TOLD_OF_CHECKS),
    }


def _told(prefix: str, parts: Sequence[OperatorEstimate], names: Sequence[str]) -> dict[str, int | float]:
    from infergraph.frame.estimate import Estimate

    whole = Estimate.of(parts, [])
    values = {prefix + name: getattr(whole, name) for name in names}
    return {
        name: float(value) if isinstance(value, Decimal) else value
        for name, value in values.items()
        if value is not None
    }


def _estimate(frame: SemanticFrame, options: RunOptions, judges: Sequence[Judge], asset: str) -> Estimate | None:
    from infergraph.dagster.judge_estimates import with_judges
    from infergraph.frame.estimate_sample import quick_estimate

    with tempfile.TemporaryDirectory(prefix="infergraph-estimate-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "rows.parquet" if judges else None
        made = quick_estimate(frame, options, asset=asset, rows=file)
        if made is None or made.rows is None:
            return None if made is None else made.estimate
        return with_judges(made.estimate, made.rows, frame, options, asset=asset, own=judges, every=made.every)


def _row(part: OperatorEstimate, *, run_id: str, asset: str, partition: str | None, model: str) -> EstimateRow:
    names = [name + span for name in ("calls", "input_tokens", "output_tokens") for span in _SPANS]
    counts: dict[str, Any] = {name: getattr(part, name) for name in names}
    costs: dict[str, Any] = {f"cost_nano_usd{span}": _nano(getattr(part, f"cost_usd{span}")) for span in _SPANS}
    return EstimateRow(
        run_id=run_id, asset=asset, partition=partition, operator=part.operator, model=model, rows=part.rows,
        store_hits=part.store_hits, seconds=part.seconds, **counts, **costs,
    )  # fmt: skip


def _nano(amount: Decimal | None) -> int | None:
    return None if amount is None else int(amount * NANO)
