"""``schema``: the rows are what the plan says, and every answer in them is what its schema says.

Columns and types are the plan's; an answer that the schema requires is there in every row that was not rejected; and
the Pydantic model's bounds hold. The last two are looked at where an answer reaches the result as it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from infergraph.dagster.findings import Findings, check_result, row_ids_sample
from infergraph.dagster.metadata import answer_fields
from infergraph.frame.row_ids import ROW_ID
from infergraph.frame.unchanged import columns_unchanged
from infergraph.validation.ranges import Range, ranges_of
from infergraph.validation.schema import AnswerModel, may_be_null

if TYPE_CHECKING:
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.plan import Node, OperatorStep

SCHEMA = "schema"


def spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check's definition."""
    return dg.AssetCheckSpec(
        SCHEMA,
        asset=asset,
        blocking=True,
        description="Columns and types are the plan's; required answers are there in rows that were not rejected, and "
        "the schema's bounds hold.",
    )


def has_columns(frame: SemanticFrame, findings: Findings) -> bool:
    """Whether the rows have the plan's columns with the plan's types; they may have more."""
    found = findings.data.collect_schema()
    return all(found.get(name) == kind for name, kind in frame.schema.items())


def evaluate(asset: dg.AssetKey, frame: SemanticFrame, findings: Findings) -> dg.AssetCheckResult:
    """Compare the rows with the plan and with the schemas of its answers."""
    found = {name: kind for name, kind in findings.data.collect_schema().items() if name != ROW_ID}
    wanted = dict(frame.schema)
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    changed = [
        f"{name}: {found[name]}, not {wanted[name]}" for name in wanted if found.get(name, wanted[name]) != wanted[name]
    ]
    problems = [f"column {name!r} is missing" for name in missing]
    problems += [f"column {name!r} is not in the plan" for name in extra]
    problems += [f"column {text}" for text in changed]
    told: dict[str, Any] = {"columns": len(found), "missing": len(missing), "changed": len(changed)}
    if missing or changed:
        return check_result(asset, SCHEMA, problems=problems, blocking=True, metadata={**told, "empty_answers": 0})
    answers = list(_answers_kept(frame))
    empty = _empty_answers(answers, findings)
    problems += [
        f"required answer {name!r} is null in {count} rows that were not rejected" for name, count in empty.items()
    ]
    beyond, may_be = _out_of_range(answers, findings, told)
    blocking = bool(problems or beyond) or not may_be
    told["empty_answers"] = sum(empty.values())
    return check_result(asset, SCHEMA, problems=[*problems, *beyond, *may_be], blocking=blocking, metadata=told)


def _answers_kept(frame: SemanticFrame) -> Iterator[tuple[OperatorStep, set[str]]]:
    """The operators and those of their columns that reach the result as they were given: last step first."""
    from infergraph.frame.plan import OperatorStep, Step

    node: Node = frame.node
    kept = set(frame.schema)
    while kept:
        if isinstance(node, OperatorStep):
            yield node, kept & set(node.operator.writes)
        elif isinstance(node, Step):
            kept &= columns_unchanged(node)
        else:
            return
        node = node.inputs[0]


def _empty_answers(answers: list[tuple[OperatorStep, set[str]]], findings: Findings) -> dict[str, int]:
    """Required answers that are null though the row was asked and not rejected: field -> rows."""
    allowed = {
        row["operator"]: int(row["nulls"]) - int(row.get("unasked", 0)) + int(row["pending"])
        for row in findings.operators
    }
    empty = {}
    for step, columns in answers:
        for name, (column, value) in _required(step).items():
            if column not in columns:
                continue
            rejected = findings.rejects.filter(pl.col("operator") == step.name).select(pl.col("row_id"))
            nulls = findings.data.filter(value.is_null())
            rows = nulls.join(rejected, left_on=ROW_ID, right_on="row_id", how="anti").select(pl.len()).collect().item()
            if rows > allowed.get(step.name, 0):
                empty[name] = rows - allowed.get(step.name, 0)
    return empty


def _required(step: OperatorStep) -> dict[str, tuple[str, pl.Expr]]:
    """An operator's answers that are never null: the name, the column that holds them, and where they are in it."""
    answer, into = getattr(step.operator, "answer", None), getattr(step.operator, "into", None)
    if not isinstance(answer, AnswerModel):
        fields = answer_fields(step.operator)
        return {name: (name, pl.col(name)) for name, schema in fields.items() if not may_be_null(schema)}
    if into is None:
        return {name: (name, pl.col(name)) for name in answer.required}
    return {f"{into}.{name}": (into, pl.col(into).struct.field(name)) for name in answer.required}


def _out_of_range(
    answers: list[tuple[OperatorStep, set[str]]], findings: Findings, told: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """The bounds that do not hold: those that must, and those that a validator of the author's may have broken."""
    bounds = [bound for step, columns in answers for bound in _bounds(step, columns)]
    beyond = [~holds.fill_null(value=True) for _, holds in bounds]
    counts = findings.data.select(one.sum().alias(str(place)) for place, one in enumerate(beyond)).collect()
    broken = [(place, rows) for place, rows in enumerate(counts.row(0)) if rows] if bounds else []
    told |= {"bounds": len(bounds), "out_of_range": sum(rows for _, rows in broken)}
    if broken:
        told["failed_rows"] = row_ids_sample(findings.data.filter(pl.any_horizontal(beyond[at] for at, _ in broken)))
    hard = [f"{_told(bounds[at][0], rows)}" for at, rows in broken if not bounds[at][0].may_be_left]
    soft = [
        f"{_told(bounds[at][0], rows)} (only a warning: a validator that runs after that bound, "
        "or a default, may leave it)"
        for at, rows in broken
        if bounds[at][0].may_be_left
    ]
    return hard, soft


def _told(bound: Range, rows: int) -> str:
    return f"{bound.path!r} is not {bound.text} in {rows} rows"


def _bounds(step: OperatorStep, columns: set[str]) -> list[tuple[Range, pl.Expr]]:
    """The bounds of an operator's answer with their conditions on the result's columns."""
    answer, into = getattr(step.operator, "answer", None), getattr(step.operator, "into", None)
    if not isinstance(answer, AnswerModel):
        return []
    found = []
    for bound in ranges_of(answer.model, answer.fields):
        column = bound.field if into is None else into
        if column in columns:
            value = pl.col(column) if into is None else pl.col(column).struct.field(bound.field)
            found.append((bound, bound.holds(value)))
    return found
