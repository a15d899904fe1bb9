"""What a materialization says about itself: under Dagster's own keys where the UI knows them, else ours.

Numbers are plain ``int`` and ``float``, since only these are plotted, and 0 is said, not left out; what is
not known (the cost of a model without a price) is left out. Prompts and responses never become metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from infergraph.dagster.rejects_told import reject_reasons, rejects_sample
from infergraph.models.redact import redact

if TYPE_CHECKING:
    from infergraph.dagster.findings import Asking
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.run import StagedRun
    from infergraph.records import Usage

_PLAN_CHARACTERS = 20_000
_COUNTS = ("calls", "store_hits", "shared", "rejected", "nulls", "pending", "input_tokens", "output_tokens")
_MONEY = ("cost_usd", "saved_usd")


def table_schema(schema: Mapping[str, pl.DataType], descriptions: Mapping[str, str] | None = None) -> dg.TableSchema:
    """A Polars schema as Dagster shows it.

    Args:
        schema: Column -> type, in order.
        descriptions: Column -> a sentence, for the columns that have one.

    Example:
        >>> table_schema({"id": pl.Int64()}).columns[0].type
        'Int64'
    """
    described = descriptions or {}
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name=name, type=str(kind), description=described.get(name)) for name, kind in schema.items()
        ]
    )


def column_descriptions(frame: SemanticFrame) -> dict[str, str]:
    """What the answer schemas of the plan's operators say about the columns of its result.

    Args:
        frame: What the asset's function returned.

    Returns:
        Column -> the description of its Pydantic field, for the columns that have one.
    """
    from infergraph.frame.plan import operator_steps

    said: dict[str, str] = {}
    for step in operator_steps(frame.node):
        for name, described in answer_fields(step.operator).items():
            text = described.get("description")
            if name in frame.schema and isinstance(text, str):
                said[name] = text
    return said


def answer_fields(operator: Any) -> Mapping[str, Mapping[str, Any]]:
    """The fields of an operator's answers that become columns of the same name: name -> JSON schema."""
    schema = getattr(operator, "answer_schema", None)
    if schema is None:
        return {}
    fields = schema.parsed.get("properties", {})
    return {name: fields[name] for name in operator.writes if name in fields}


def run_metadata(
    frame: SemanticFrame, run: StagedRun, *, partitioned: bool, limit: int | None
) -> dict[str, dg.MetadataValue[Any] | Any]:
    """Everything that a semantic asset says about one materialization.

    Args:
        frame: The plan that ran.
        run: What came of it.
        partitioned: Whether the rows are one partition's.
        limit: The run option, where it was given.

    Returns:
        Metadata for ``dg.MaterializeResult``.
    """
    count = "dagster/partition_row_count" if partitioned else "dagster/row_count"
    rejects = pl.scan_parquet(run.rejects, glob=False)
    told: dict[str, Any] = {
        count: run.rows,
        "dagster/column_schema": table_schema(run.schema, column_descriptions(frame)),
        "infergraph/seconds": round(float(run.seconds), 3),
        "infergraph/rows_per_s": round(run.rows / run.seconds, 2) if run.seconds > 0 else 0.0,
        "infergraph/plan_fingerprint": run.fingerprint,
        "infergraph/plan": dg.MetadataValue.md(plan_markdown(frame)),
        "infergraph/models": ", ".join(_models(frame)),
        "infergraph/reject_reasons": dg.MetadataValue.json(reject_reasons(rejects)),
        "infergraph/rejects_sample": rejects_sample(rejects),
    }
    told.update(usage_metadata(run.usage))
    if limit is not None:
        told["infergraph/limit"] = limit
    return told


def usage_metadata(usage: Usage) -> dict[str, int | float]:
    """What a run asked and cost, whether or not its rows are published.

    Args:
        usage: Of the run.

    Returns:
        Plain numbers under ``infergraph/...``; an unknown cost is left out.
    """
    told: dict[str, int | float] = {f"infergraph/{name}": int(getattr(usage, name)) for name in _COUNTS}
    for name in _MONEY:
        amount = getattr(usage, name)
        if amount is not None:
            told[f"infergraph/{name}"] = float(amount)
    return told


def checks_metadata(asking: Asking) -> dict[str, int | float]:
    """What the checks of a run asked and cost, beside what its rows did.

    Args:
        asking: Of the run.

    Returns:
        Plain numbers under ``infergraph/checks_...``; an unknown cost is left out.
    """
    told: dict[str, int | float] = {"infergraph/checks_calls": asking.calls}
    if asking.checks_usd is not None:
        told["infergraph/checks_cost_usd"] = float(asking.checks_usd)
    return told


def plan_markdown(frame: SemanticFrame) -> str:
    """The plan's steps as a block of text, cut at 20,000 characters."""
    text = redact(frame.explain())
    if len(text) > _PLAN_CHARACTERS:
        text = text[:_PLAN_CHARACTERS] + "\n..."
    return f"```text\n{text}\n```"


def _models(frame: SemanticFrame) -> list[str]:
    from infergraph.frame.plan import operator_steps

    models = frame.session.models
    names = dict.fromkeys(step.model for step in operator_steps(frame.node))
    return [f"{name} ({models[name].name})" for name in names]
