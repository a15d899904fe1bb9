"""What checks look at and what they are: the rows before they are published, and one result for each check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import dagster as dg
import polars as pl

from infergraph.dagster.rejects_told import reject_reasons
from infergraph.frame.row_ids import ROW_ID

if TYPE_CHECKING:
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.run import Progress, RunOptions

SAMPLE = 10
"""Row ids of failing rows that a check's metadata shows."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the checks look at.

    Args:
        data: The rows, ``_row_id`` included.
        rejects: The rejects.
        operators: Per operator: ``operator``, ``rows``, ``nulls`` (of these, ``unasked`` have a value), ``pending``,
            ``rejected``; of those that ask several questions a row, ``asked_rows`` and ``rejected_rows`` as well.
        usage: What the run asked and cost, as metadata; empty where no run made these rows just now.
        rows_in: Rows that the upstream had when the rows were made; ``None``: that was not written down.
        keeps_rows: Whether the plan gives as many rows as the upstream has.
        parts: The same of each partition alone, where these are several partitions' rows.
    """

    data: pl.LazyFrame
    rejects: pl.LazyFrame
    operators: Sequence[Mapping[str, Any]]
    usage: Mapping[str, int | float] = field(default_factory=dict)
    rows_in: int | None = None
    keeps_rows: bool = False
    parts: Mapping[str, Findings] = field(default_factory=dict)

    @property
    def rows(self) -> pl.LazyFrame:
        """The rows as their readers see them."""
        return self.data.drop(ROW_ID, strict=False)

    def count(self) -> int:
        """How many rows there are."""
        return int(self.data.select(pl.len()).collect().item())

    def rejected(self) -> dict[str, int]:
        """Rejected rows by operator."""
        counted = self.rejects.group_by("operator").agg(pl.col("row_id").n_unique()).collect()
        return dict(counted.iter_rows())

    def reasons(self) -> dict[str, int]:
        """Rejects by reason, the most frequent first."""
        return reject_reasons(self.rejects)


@dataclass(kw_only=True)
class Asking:
    """What a check needs that asks a model, and what such checks have spent.

    Args:
        options: Of the run.
        run_id: The run that pays.
        asset: The asset's name.
        partition: Its partition.
        folder: Where files may be written; whoever made it removes it.
        publish_partial: Whether rows that the budget left out are published all the same.
        published: Whether the rows are published already.
        spent_usd: What the run has spent so far; ``None``: not known.
        on_progress: Told how far it is.
        on_notice: Told why nothing comes.
    """

    options: RunOptions
    run_id: str
    asset: str
    partition: str | None
    folder: Path
    publish_partial: bool
    published: bool
    spent_usd: Decimal | None
    on_progress: Callable[[Progress], None] | None = None
    on_notice: Callable[[str], None] | None = None
    checks_usd: Decimal | None = Decimal(0)
    """What the checks themselves spent; ``None``: not known."""
    calls: int = 0
    """Calls that the checks made."""

    def left_usd(self) -> float | None:
        """What may still be spent; ``None``: the run has no budget of its own."""
        most = self.options.max_cost_usd
        return None if most is None else float(max(Decimal(0), Decimal(str(most)) - (self.spent_usd or Decimal(0))))

    def add(self, cost_usd: Decimal | None, calls: int) -> None:
        """Count what a check spent."""
        self.calls += calls
        self.spent_usd = None if cost_usd is None or self.spent_usd is None else self.spent_usd + cost_usd
        self.checks_usd = None if cost_usd is None or self.checks_usd is None else self.checks_usd + cost_usd


class OwnCheck(Protocol):
    """A check that an asset's author wrote down, beside those that every asset has."""

    @property
    def name(self) -> str:
        """Its name, the only one of the asset."""
        ...

    def spec(self, asset: dg.AssetKey) -> dg.AssetCheckSpec:
        """What Dagster knows of it."""
        ...

    def prepare(self, asset: str, frame: SemanticFrame, options: RunOptions) -> None:
        """Raise ``PlanError`` where it cannot work on the plan's rows; nothing is asked."""
        ...

    def evaluate(
        self, asset: dg.AssetKey, frame: SemanticFrame, findings: Findings, asking: Asking
    ) -> dg.AssetCheckResult:
        """Look at the rows."""
        ...


def check_result(
    asset: dg.AssetKey, name: str, *, problems: Sequence[str], blocking: bool, metadata: Mapping[str, Any]
) -> dg.AssetCheckResult:
    """The result of one check.

    Args:
        asset: Whose check it is.
        name: The check's.
        problems: What is wrong, in words; none: it passed.
        blocking: Severity ``ERROR`` instead of ``WARN``: rows that fail it are not published.
        metadata: Figures for the UI.
    """
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=not problems,
        severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
        description="; ".join(problems) or None,
        metadata=dict(metadata),
    )


def row_ids_sample(failing: pl.LazyFrame) -> dg.MetadataValue[Any]:
    """The ids of the first failing rows: ``trace`` finds the rest with them, and they tell nothing by themselves.

    Args:
        failing: Rows with their ``_row_id``.
    """
    return dg.MetadataValue.json(failing.select(ROW_ID).head(SAMPLE).collect().to_series().to_list())
