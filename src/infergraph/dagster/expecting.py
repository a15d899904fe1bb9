"""Great Expectations as checks of an asset: each expectation is a Dagster check of its own.

Its severity says whether it blocks: ``critical``, which is Great Expectations' default, keeps rows from being
published, ``warning`` and ``info`` do not.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from infergraph.dagster.findings import SAMPLE, Asking, Findings, check_result
from infergraph.frame.row_ids import ROW_ID
from infergraph.validation.expectations import Expectation, check_expectation, validate

if TYPE_CHECKING:
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.run import RunOptions


@dataclass(frozen=True, kw_only=True)
class ExpectationCheck:
    """An expectation under the name of a check."""

    name: str
    expectation: Expectation

    def spec(self, asset: dg.AssetKey) -> dg.AssetCheckSpec:
        """What Dagster knows of it."""
        expected = self.expectation
        text = expected.description or str(expected)
        return dg.AssetCheckSpec(self.name, asset=asset, blocking=expected.blocking, description=text)

    def prepare(self, asset: str, frame: SemanticFrame, options: RunOptions) -> None:
        """Raise ``PlanError`` where it does not fit the plan's columns."""
        check_expectation(self.expectation, frame.schema, f"{asset!r}: expectation {self.name!r}")

    def evaluate(
        self, asset: dg.AssetKey, frame: SemanticFrame, findings: Findings, asking: Asking
    ) -> dg.AssetCheckResult:
        """Have Great Expectations look at the columns that it needs."""
        verdict = validate(self.expectation, findings.rows, sample=SAMPLE)
        told: dict[str, Any] = {"expectation": str(self.expectation), **verdict.figures}
        if verdict.failing:
            ids = findings.data.select(ROW_ID).collect().to_series()
            told["failed_rows"] = dg.MetadataValue.json([ids[place] for place in verdict.failing])
        problems = []
        if verdict.error:
            problems = [f"it could not be evaluated: {verdict.error}"]
        elif not verdict.success:
            problems = [_said(verdict.figures)]
        return check_result(asset, self.name, problems=problems, blocking=self.expectation.blocking, metadata=told)


def _said(figures: Any) -> str:
    if "unexpected_count" in figures:
        return f"{figures['unexpected_count']} of {figures.get('element_count', '?')} values are unexpected"
    if "observed_value" in figures:
        return f"observed {figures['observed_value']}"
    return "it does not hold"


def name_of(expectation: Expectation, taken: Container[str]) -> str:
    """The check's name: the one in ``meta={"name": ...}``, else of type and columns, numbered where that is taken.

    Example:
        >>> given = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "ticket id"}}
        >>> name_of(Expectation.of(given), taken=["expect_column_values_to_be_unique_ticket_id"])
        'expect_column_values_to_be_unique_ticket_id_2'
    """
    if expectation.name is not None:
        return expectation.name
    first = re.sub(r"\W+", "_", "_".join([expectation.type, *expectation.columns]), flags=re.ASCII)
    name, number = first, 1
    while name in taken:
        number += 1
        name = f"{first}_{number}"
    return name
