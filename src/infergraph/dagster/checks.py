"""The checks of a semantic asset, evaluated on staged rows before they are published.

Every asset has four: ``schema`` (see ``schema_check``), ``row_count`` (see there), ``reject_rate``: how many rows could
not be answered, and ``budget``: no row was left out because the money ended. The author may add conditions, judges and
expectations. A blocking check that fails leaves what was published in place.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from infergraph.dagster import row_count, schema_check
from infergraph.dagster.by_partition import together
from infergraph.dagster.findings import Asking, Findings, OwnCheck, check_result
from infergraph.dagster.judging import Judge
from infergraph.dagster.rejects_told import rejects_sample

if TYPE_CHECKING:
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.run import RunOptions

REJECT_RATE, BUDGET = "reject_rate", "budget"
EVERY_ASSETS = (schema_check.SCHEMA, row_count.ROW_COUNT, REJECT_RATE, BUDGET)
WARN_REJECT_RATE = 0.10
_NO_COLUMNS = "they do not have the plan's columns"


def check_specs(
    asset: dg.AssetKey, *, max_reject_rate: float | None, publish_partial: bool, own: Sequence[OwnCheck] = ()
) -> list[dg.AssetCheckSpec]:
    """The checks' definitions.

    Args:
        asset: Whose checks they are.
        max_reject_rate: Share of rows, 0 to 1; ``None``: more than 0.1 is a warning.
        publish_partial: Rows left out by the budget are a warning.
        own: The author's own checks.
    """
    limit = (
        f"at most {WARN_REJECT_RATE:.0%} (a warning)" if max_reject_rate is None else f"at most {max_reject_rate:.2%}"
    )
    return [
        schema_check.spec(asset),
        row_count.spec(asset),
        dg.AssetCheckSpec(
            REJECT_RATE,
            asset=asset,
            blocking=max_reject_rate is not None,
            description=f"Rows that no model could answer: {limit} of any operator's rows.",
        ),
        dg.AssetCheckSpec(
            BUDGET, asset=asset, blocking=not publish_partial, description="The budget left no row pending."
        ),
        *(check.spec(asset) for check in own),
    ]


def prepare(asset: str, frame: SemanticFrame, own: Sequence[OwnCheck], options: RunOptions) -> None:
    """See before anything is spent whether the author's checks can work on the plan's rows.

    Args:
        asset: The asset's name.
        frame: The plan.
        own: The author's own checks.
        options: Of the run.

    Raises:
        PlanError: A check names what is no column or model, or is of a wrong type.
    """
    for check in own:
        check.prepare(asset, frame, options)


def evaluate(
    asset: dg.AssetKey,
    frame: SemanticFrame,
    findings: Findings,
    asking: Asking,
    *,
    own: Sequence[OwnCheck],
    max_reject_rate: float | None,
    selected: Container[str],
) -> list[dg.AssetCheckResult]:
    """Evaluate the checks; those that ask a model last.

    Args:
        asset: Whose checks they are.
        frame: The plan that made the rows.
        findings: The rows and what the run counted.
        asking: For the checks that ask a model.
        own: The author's own checks.
        max_reject_rate: As for ``check_specs``.
        selected: Names of the checks that the run is to report. Of rows that are not published yet, a check that was
            deselected is evaluated as well, since it may keep them back; but no model is asked for it.

    Returns:
        One result a check that was evaluated; severity ``ERROR`` where the check blocks, else ``WARN``.
    """
    published = asking.published
    judges = [check for check in own if isinstance(check, Judge) and check.name in selected]
    others = [check for check in own if not isinstance(check, Judge) and (check.name in selected or not published)]

    def alone(part: Findings) -> list[dg.AssetCheckResult]:
        standard = [
            schema_check.evaluate(asset, frame, part),
            row_count.evaluate(asset, part),
            _reject_rate(asset, part, max_reject_rate),
            _budget(asset, part, blocking=not asking.publish_partial),
        ]
        if not schema_check.has_columns(frame, part):
            return [*standard, *(_not_evaluated(asset, check.name, _NO_COLUMNS) for check in others)]
        return standard + [check.evaluate(asset, frame, part, asking) for check in others]

    if len(findings.parts) > 1:
        found = {key: alone(part) for key, part in findings.parts.items()}
        results = [together(asset, dict(zip(found, same, strict=True))) for same in zip(*found.values(), strict=True)]
    else:
        results = alone(findings)
    for judge in judges:
        failed = [result.check_name or "" for result in results if blocks(result)]
        if not schema_check.has_columns(frame, findings):
            results.append(_not_evaluated(asset, judge.name, _NO_COLUMNS))
        elif failed and not published:
            # Nothing is spent on rows that nobody will see.
            results.append(_not_evaluated(asset, judge.name, f"they are not published: {', '.join(failed)} failed"))
        else:
            results.append(judge.evaluate(asset, frame, findings, asking))
    return results


def _not_evaluated(asset: dg.AssetKey, name: str, why: str) -> dg.AssetCheckResult:
    return check_result(
        asset, name, problems=[f"not evaluated on these rows: {why}"], blocking=False, metadata={"evaluated": 0}
    )


def blocks(result: dg.AssetCheckResult) -> bool:
    """Whether rows with this result are not published."""
    return not result.passed and result.severity is dg.AssetCheckSeverity.ERROR


def _reject_rate(asset: dg.AssetKey, findings: Findings, limit: float | None) -> dg.AssetCheckResult:
    rejected = findings.rejected()
    rates = {row["operator"]: _rate(rejected.get(row["operator"], 0), row) for row in findings.operators}
    allowed = WARN_REJECT_RATE if limit is None else limit
    problems = [
        f"{rejected[name]} rows of {name!r} were rejected: {rate:.2%}, allowed are {allowed:.2%}"
        for name, rate in rates.items()
        if rate > allowed
    ]
    told = {
        "rejected": sum(rejected.values()),
        "reject_rate": max(rates.values(), default=0.0),
        "allowed": allowed,
        "reasons": dg.MetadataValue.json(findings.reasons()),
        "rejects_sample": rejects_sample(findings.rejects),
        **findings.usage,
    }
    return check_result(asset, REJECT_RATE, problems=problems, blocking=limit is not None, metadata=told)


def _rate(rejected: int, row: Mapping[str, Any]) -> float:
    # What has its value without a question is a row that was not rejected.
    unasked = int(row.get("unasked", 0))
    asked = int(row["rows"]) - int(row["nulls"]) - int(row["pending"]) + unasked
    # A row that two branches of the plan read counts twice in both numbers, and stands in the rejects once.
    counted = int(row.get("rejected", rejected))
    questions = counted / asked if asked > 0 else 0.0
    # Of an operator that asks several questions a row, one reject in twenty may be what every row lost its answer by.
    rows = int(row["asked_rows"]) + unasked if row.get("asked_rows") else 0
    return max(questions, int(row["rejected_rows"]) / rows) if rows else questions


def _budget(asset: dg.AssetKey, findings: Findings, *, blocking: bool) -> dg.AssetCheckResult:
    pending = {row["operator"]: int(row["pending"]) for row in findings.operators if row["pending"]}
    problems = [f"{count} rows of {name!r} are pending: the budget ended first" for name, count in pending.items()]
    told = {"pending": sum(pending.values()), **findings.usage}
    return check_result(asset, BUDGET, problems=problems, blocking=blocking, metadata=told)
