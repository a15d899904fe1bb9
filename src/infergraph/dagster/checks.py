"""The checks that every semantic asset carries, evaluated on staged rows before they are published.

``schema``: columns and types are those of the plan, and a field that the answer schema requires is there
in every row that was not rejected. ``reject_rate``: how many rows could not be answered. ``budget``: no
row was left out because the money ended. A blocking check that fails leaves what was published in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from infergraph.dagster.metadata import answer_fields
from infergraph.dagster.rejects_told import reject_reasons, rejects_sample
from infergraph.frame.row_ids import ROW_ID

if TYPE_CHECKING:
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.plan import Node, OperatorStep

SCHEMA, REJECT_RATE, BUDGET = "schema", "reject_rate", "budget"
WARN_REJECT_RATE = 0.10
# Steps after which a null in an answer's column still means what it meant in the operator's row.
_KEEP_ANSWERS = frozenset(
    {"filter", "select", "drop", "sort", "head", "limit", "tail", "slice", "unique", "drop_nulls"}
)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the checks look at.

    Args:
        data: The rows, ``_row_id`` included.
        rejects: The rejects.
        operators: Per operator: ``operator``, ``rows``, ``nulls``, ``pending``, ``rejected``.
        usage: What the run asked and cost, as metadata; empty where no run made these rows just now.
    """

    data: pl.LazyFrame
    rejects: pl.LazyFrame
    operators: Sequence[Mapping[str, Any]]
    usage: Mapping[str, int | float] = field(default_factory=dict)

    def rejected(self) -> dict[str, int]:
        """Rejected rows by operator."""
        counted = self.rejects.group_by("operator").agg(pl.col("row_id").n_unique()).collect()
        return dict(counted.iter_rows())

    def reasons(self) -> dict[str, int]:
        """Rejects by reason, the most frequent first."""
        return reject_reasons(self.rejects)


def check_specs(asset: dg.AssetKey, *, max_reject_rate: float | None, publish_partial: bool) -> list[dg.AssetCheckSpec]:
    """The checks' definitions.

    Args:
        asset: Whose checks they are.
        max_reject_rate: Share of rows, 0 to 1; ``None``: more than 0.1 is a warning.
        publish_partial: Rows left out by the budget are a warning.
    """
    limit = (
        f"at most {WARN_REJECT_RATE:.0%} (a warning)" if max_reject_rate is None else f"at most {max_reject_rate:.2%}"
    )
    return [
        dg.AssetCheckSpec(
            SCHEMA,
            asset=asset,
            blocking=True,
            description="Columns and types are the plan's; required answers are there in rows that were not rejected.",
        ),
        dg.AssetCheckSpec(
            REJECT_RATE,
            asset=asset,
            blocking=max_reject_rate is not None,
            description=f"Rows that no model could answer: {limit} of any operator's rows.",
        ),
        dg.AssetCheckSpec(
            BUDGET, asset=asset, blocking=not publish_partial, description="The budget left no row pending."
        ),
    ]


def evaluate(
    asset: dg.AssetKey,
    frame: SemanticFrame,
    findings: Findings,
    *,
    max_reject_rate: float | None,
    publish_partial: bool,
) -> list[dg.AssetCheckResult]:
    """Evaluate every check.

    Args:
        asset: Whose checks they are.
        frame: The plan that made the rows.
        findings: The rows and what the run counted.
        max_reject_rate: As for ``check_specs``.
        publish_partial: As for ``check_specs``.

    Returns:
        One result a check; severity ``ERROR`` where the check blocks, else ``WARN``.
    """
    return [
        _schema(asset, frame, findings),
        _reject_rate(asset, findings, max_reject_rate),
        _budget(asset, findings, blocking=not publish_partial),
    ]


def _result(
    asset: dg.AssetKey, name: str, *, problems: Sequence[str], blocking: bool, metadata: Mapping[str, Any]
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=not problems,
        severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
        description="; ".join(problems) or None,
        metadata=dict(metadata),
    )


def _schema(asset: dg.AssetKey, frame: SemanticFrame, findings: Findings) -> dg.AssetCheckResult:
    found = {name: kind for name, kind in findings.data.collect_schema().items() if name != ROW_ID}
    wanted = dict(frame.schema)
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    changed = [
        f"{name}: {found[name]}, not {wanted[name]}" for name in wanted if found.get(name, wanted[name]) != wanted[name]
    ]
    empty = {} if missing or changed else _empty_answers(frame, findings)
    problems = [f"column {name!r} is missing" for name in missing]
    problems += [f"column {name!r} is not in the plan" for name in extra]
    problems += [f"column {text}" for text in changed]
    problems += [
        f"required answer {name!r} is null in {count} rows that were not rejected" for name, count in empty.items()
    ]
    told = {
        "columns": len(found),
        "missing": len(missing),
        "changed": len(changed),
        "empty_answers": sum(empty.values()),
    }
    return _result(asset, SCHEMA, problems=problems, blocking=True, metadata=told)


def _empty_answers(frame: SemanticFrame, findings: Findings) -> dict[str, int]:
    """Required answers that are null though the row was asked and not rejected: column -> rows."""
    allowed = {row["operator"]: int(row["nulls"]) + int(row["pending"]) for row in findings.operators}
    empty = {}
    for step in _steps_kept(frame):
        for name in _required(step):
            if frame.schema.get(name) != step.schema[name]:
                continue
            rejected = findings.rejects.filter(pl.col("operator") == step.name).select(pl.col("row_id"))
            nulls = findings.data.filter(pl.col(name).is_null())
            rows = nulls.join(rejected, left_on=ROW_ID, right_on="row_id", how="anti").select(pl.len()).collect().item()
            if rows > allowed.get(step.name, 0):
                empty[name] = rows - allowed.get(step.name, 0)
    return empty


def _steps_kept(frame: SemanticFrame) -> list[OperatorStep]:
    """The operators whose answers reach the result as they were given: from the last step backwards."""
    from infergraph.frame.plan import OperatorStep, Step

    kept: list[OperatorStep] = []
    node: Node = frame.node
    while True:
        if isinstance(node, OperatorStep):
            kept.append(node)
        elif not (isinstance(node, Step) and node.method in _KEEP_ANSWERS):
            return kept
        node = node.inputs[0]


def _required(step: OperatorStep) -> list[str]:
    return [name for name, field in answer_fields(step.operator).items() if not _may_be_null(field)]


def _may_be_null(field: Mapping[str, Any]) -> bool:
    kind = field.get("type")
    if kind == "null" or (isinstance(kind, list) and "null" in kind) or None in field.get("enum", ()):
        return True
    return any(_may_be_null(option) for word in ("anyOf", "oneOf") for option in field.get(word, ()))


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
    return _result(asset, REJECT_RATE, problems=problems, blocking=limit is not None, metadata=told)


def _rate(rejected: int, row: Mapping[str, Any]) -> float:
    asked = int(row["rows"]) - int(row["nulls"]) - int(row["pending"])
    # A row that two branches of the plan read counts twice in both numbers, and stands in the rejects once.
    counted = int(row.get("rejected", rejected))
    return counted / asked if asked > 0 else 0.0


def _budget(asset: dg.AssetKey, findings: Findings, *, blocking: bool) -> dg.AssetCheckResult:
    pending = {row["operator"]: int(row["pending"]) for row in findings.operators if row["pending"]}
    problems = [f"{count} rows of {name!r} are pending: the budget ended first" for name, count in pending.items()]
    told = {"pending": sum(pending.values()), **findings.usage}
    return _result(asset, BUDGET, problems=problems, blocking=blocking, metadata=told)
