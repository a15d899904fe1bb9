"""``ig.check``: a plain Polars condition as a check of an asset.

A condition of each row must be true in every row of the result; an aggregation must be true once. Null is neither true
nor false: as in SQL's ``CHECK`` it does not fail, and the rows for which it is null are counted. Who wants a value to
be there writes ``is_not_null()``. Rejected rows are rows of the result like all others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
from polars.exceptions import ColumnNotFoundError, PolarsError

from infergraph.dagster.findings import Asking, Findings, check_result, row_ids_sample
from infergraph.errors import PlanError, UnknownColumn, did_you_mean
from infergraph.frame.expressions import roots, spelt_out
from infergraph.frame.row_ids import ROW_ID
from infergraph.validation.expectations import without_values

if TYPE_CHECKING:
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.run import RunOptions

_OK = "__holds"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A condition that an asset's rows must meet; made by ``ig.check``."""

    name: str
    condition: pl.Expr = field(repr=False)
    blocking: bool
    description: str | None

    def spec(self, asset: dg.AssetKey) -> dg.AssetCheckSpec:
        """What Dagster knows of it."""
        text = self.description or f"{self.condition} is true."
        return dg.AssetCheckSpec(self.name, asset=asset, blocking=self.blocking, description=text)

    def prepare(self, asset: str, frame: SemanticFrame, options: RunOptions) -> None:
        """Raise ``PlanError`` where the condition does not fit the plan's columns."""
        where = f"{asset!r}: ig.check({self.name!r})"
        for name in sorted(roots(self.condition)):
            if name not in frame.schema:
                raise UnknownColumn(f"{where}: there is no column {name!r}. {did_you_mean(name, frame.schema)}")
        (condition,) = spelt_out([self.condition], frame.schema)
        found = _types(where, condition, frame.schema)
        if len(found) != 1:
            raise PlanError(
                f"{where}: {condition} gives {len(found)} columns. Write one condition, for example "
                "pl.all_horizontal(...) around it."
            )
        if found.dtypes()[0] not in (pl.Boolean, pl.Null):
            raise PlanError(
                f"{where}: {condition} gives {found.dtypes()[0]}, not Boolean. Write a condition, such as "
                "pl.col('x') > 0."
            )

    def evaluate(
        self, asset: dg.AssetKey, frame: SemanticFrame, findings: Findings, asking: Asking
    ) -> dg.AssetCheckResult:
        """Count the rows for which it is false, and those for which it is null."""
        (condition,) = spelt_out([self.condition], frame.schema)
        condition = condition.cast(pl.Boolean)
        told: dict[str, Any] = {"condition": str(self.condition)}
        try:
            found = findings.rows.select(condition.alias(_OK)).collect().to_series()
        except Exception as error:
            # It passed on empty rows, so what fails is a value, which may be personal and is not repeated. A Python
            # function in the condition raises whatever it likes.
            problem = f"the condition could not be evaluated ({_told(error)})"
            return check_result(asset, self.name, problems=[problem], blocking=self.blocking, metadata=told)
        rows = findings.count()
        failed, unknown = int((~found).sum()), found.null_count()
        told |= {"rows": rows, "failed": failed, "unknown": unknown}
        if len(found) != rows:
            return self._aggregated(asset, found, told)
        problems = []
        if failed:
            failing = findings.data.with_columns(found.alias(_OK)).filter(~pl.col(_OK))
            rejected = failing.join(findings.rejects, left_on=ROW_ID, right_on="row_id", how="semi")
            told["failed_rejected"] = int(rejected.select(pl.len()).collect().item())
            told["failed_rows"] = row_ids_sample(failing)
            problems = [f"{failed} of {rows} rows do not meet it"]
            if told["failed_rejected"]:
                problems[0] += f", {told['failed_rejected']} of them rejected by an operator"
        return check_result(asset, self.name, problems=problems, blocking=self.blocking, metadata=told)

    def _aggregated(self, asset: dg.AssetKey, found: pl.Series, told: dict[str, Any]) -> dg.AssetCheckResult:
        if len(found) != 1:
            problems = [
                f"the condition gives {len(found)} values for {told['rows']} rows: one a row, or one, is needed"
            ]
        else:
            problems = ["it is false"] if told["failed"] else []
        return check_result(asset, self.name, problems=problems, blocking=self.blocking, metadata=told)


def check(name: str, condition: pl.Expr, *, blocking: bool = True, description: str | None = None) -> Condition:
    """A condition that an asset's rows must meet before they are published, for ``checks=`` of ``semantic_asset``.

    Args:
        name: The check's name: letters, digits and ``_``, another one than the asset's other checks have.
        condition: True of every row; or an aggregation that is true, such as ``pl.col("score").mean() > 0.5``. Where it
            is null, it does not fail: such rows are counted as ``unknown``.
        blocking: Rows that fail it are not published; else it is a warning.
        description: Shown in the UI; left out, the condition.

    Returns:
        The check. Its metadata has ``rows``, ``failed``, ``unknown`` and ids of failing rows.

    Raises:
        PlanError: The name or the condition is none.

    Example:
        >>> short = check("short", pl.col("summary").str.len_chars() < 600)
        >>> short.spec(dg.AssetKey("notes")).blocking
        True
    """
    if not isinstance(condition, pl.Expr):
        raise PlanError(
            f"ig.check({name!r}): the condition is a Polars expression such as pl.col('score') > 0, not "
            f"{condition!r:.80}."
        )
    return Condition(name=name, condition=condition, blocking=blocking, description=description)


def _told(error: Exception) -> str:
    """What failed; of an error of the author's own only the kind, since what it says is made of values."""
    kind = type(error).__name__
    return f"{kind}: {without_values(str(error))}" if isinstance(error, PolarsError) else kind


def _types(where: str, condition: pl.Expr, schema: pl.Schema) -> pl.Schema:
    empty = pl.LazyFrame(schema=schema).select(condition)
    try:
        # Polars checks some types only when it runs; an author's Python function is not run here.
        return empty.collect_schema() if "python_udf" in str(condition) else empty.collect().schema
    except ColumnNotFoundError as error:
        raise UnknownColumn(f"{where}: {str(error).splitlines()[0]}") from error
    except PolarsError as error:
        raise PlanError(f"{where}: {condition} does not work on these columns: {str(error).splitlines()[0]}") from error
