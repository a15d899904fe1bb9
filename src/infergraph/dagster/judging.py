"""``ig.judge``: a check that has a model grade a random sample of the rows.

The criterion is asked of each sampled row as ``semantic.filter`` would ask it, under the operator's name
``judge:<name>`` and in the same run, asset and partition: its answers are in the store, so that an unchanged row is
graded once, and its cost is in the usage and in the asset's budget. The sample follows from the row ids and the seed
alone. The share of rows that pass comes with its Wilson interval, and only an interval below the target fails.
"""

from __future__ import annotations

import heapq
import keyword
import math
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from infergraph.dagster.findings import SAMPLE, Asking, Findings, check_result
from infergraph.dagster.rejects_told import rejects_sample
from infergraph.errors import PlanError, ProviderError, UnknownColumn, did_you_mean
from infergraph.frame.allowing import check_sources
from infergraph.frame.row_ids import ROW_ID
from infergraph.models.prices import price_of
from infergraph.models.redact import redact
from infergraph.operators.filter import FilterOperator
from infergraph.text.compiled_templates import compile_template
from infergraph.text.rendering import render_value_expr
from infergraph.validation.wilson import wilson_interval

if TYPE_CHECKING:
    from pathlib import Path

    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.run import RunOptions, StagedRun

_PLACE = "__place"
_CONSTANTS = ("true", "false", "none")
"""What templates read as values, beside Python's keywords."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A criterion that a model grades a sample by; made by ``ig.judge``."""

    name: str
    """Empty until the asset gives it one."""
    criterion: str
    model: str | None
    sample: int
    target: float
    confidence: float
    blocking: bool
    columns: tuple[str, ...] | None
    seed: int

    @property
    def operator(self) -> str:
        """What its calls are called in usage and in the store."""
        return f"judge:{self.name}"

    def spec(self, asset: dg.AssetKey) -> dg.AssetCheckSpec:
        """What Dagster knows of it."""
        text = (
            f"True of {self.target:.0%} of the rows, as a model grades {self.sample} of them "
            f"({self.confidence:.0%} sure): {self.criterion}"
        )
        return dg.AssetCheckSpec(self.name, asset=asset, blocking=self.blocking, description=text)

    def prepare(self, asset: str, frame: SemanticFrame, options: RunOptions) -> None:
        """Raise ``PlanError`` where the criterion, the model or the budget does not fit the plan."""
        where = f"{asset!r}: ig.judge({self.name!r})"
        session = frame.session
        model = session.model_name(self.model)
        try:
            operator = self._operator(frame.schema)
        except PlanError as error:
            raise type(error)(f"{where}: {error}") from error
        session.check_chat(model, operator)
        check_sources(session, frame.node, model, where)
        session.provider(model).check_configuration()
        definition = session.models[model]
        if options.max_cost_usd is not None and price_of(definition) is None:
            raise PlanError(
                f"{where}: max_cost_usd={options.max_cost_usd}: the price of {definition.name} is not known, so the "
                f"budget cannot be kept. Write Model({definition.name!r}, price=ig.Price(input=..., output=...)) in "
                "USD per million tokens."
            )

    def evaluate(
        self, asset: dg.AssetKey, frame: SemanticFrame, findings: Findings, asking: Asking
    ) -> dg.AssetCheckResult:
        """Have the sample graded, and say how sure the share is."""
        try:
            run, able = self._ask(frame, findings, asking)
        except ProviderError as error:
            if self.blocking:
                raise
            # Who only wants a warning wants the rows, also while the grader is out.
            problem = f"not graded: {redact(str(error))}"
            return check_result(asset, self.name, problems=[problem], blocking=False, metadata={"evaluated": 0})
        asking.add(run.usage.cost_usd, run.usage.calls)
        return self._result(asset, run, able, publish_partial=asking.publish_partial)

    def _ask(self, frame: SemanticFrame, findings: Findings, asking: Asking) -> tuple[StagedRun, int]:
        """The run that graded the sample, and how many rows could have been sampled."""
        from infergraph.frame.run import run_to_folder

        rows, able = self.sampled(frame.schema, findings.data)
        question = self.question(frame.session.frame(rows, name=self.operator), frame.schema)
        options = self.options_from(
            asking.options, retry_rejects=asking.options.retry_rejects and asking.published, left_usd=asking.left_usd()
        )
        run = run_to_folder(
            question,
            asking.folder / self.operator.replace(":", "-"),
            options=options,
            run_id=asking.run_id,
            asset=asking.asset,
            partition=asking.partition,
            on_progress=asking.on_progress,
            on_notice=asking.on_notice,
        )
        return run, able

    def options_from(self, options: RunOptions, *, retry_rejects: bool, left_usd: float | None = None) -> RunOptions:
        """The options of a run as they are for its judges.

        The run's model is for its rows: the grader stays the one that was chosen to grade. So is a retry of rejects,
        which makes as many attempts as there are rejects; of published rows nothing else is asked.
        """
        return replace(
            options, limit=None, model=None, retry_model=None, retry_rejects=retry_rejects, max_cost_usd=left_usd
        )

    def question(self, rows: SemanticFrame, schema: pl.Schema) -> SemanticFrame:
        """What is asked of rows from ``sampled``, or of rows with ``shown``, of a result with these columns."""
        return rows.semantic.filter(self._sentence(schema), model=self.model, name=self.operator)

    def sampled(self, schema: pl.Schema, data: pl.LazyFrame) -> tuple[pl.DataFrame, int]:
        """The sampled rows, in an order as random as their choice, and how many rows could have been sampled."""
        operator = self._operator(schema)
        shown = data.with_columns(self.shown(schema))
        # A row without what the criterion speaks of cannot be graded: it would only make the sample smaller.
        needed = operator.template.required
        able = shown.filter(pl.col(name).is_not_null() for name in needed) if needed else shown
        count, places = _chosen(able.select(ROW_ID), self.sample, self.seed)
        wanted = [*operator.template.variables, ROW_ID]
        place = _free(_PLACE, wanted)
        order = pl.DataFrame({place: places}, schema={place: pl.UInt32})
        chosen = able.select(wanted).with_row_index(place).filter(pl.col(place).is_in(places)).collect()
        return order.join(chosen, on=place, how="left", maintain_order="left").select(wanted), count

    def _result(self, asset: dg.AssetKey, run: StagedRun, able: int, *, publish_partial: bool) -> dg.AssetCheckResult:
        usage = run.usage
        graded = usage.rows - usage.nulls - usage.pending - usage.rejected
        low, high = wilson_interval(run.rows, graded, self.confidence)
        told: dict[str, Any] = {
            "pass_rate": run.rows / graded if graded else 0.0,
            "low": low,
            "high": high,
            "target": self.target,
            "rows": able,
            "sampled": usage.rows,
            "graded": graded,
            "passed": run.rows,
            "undecided": usage.rejected,
            "pending": usage.pending,
            "calls": usage.calls,
            "store_hits": usage.store_hits,
            "failed_rows": dg.MetadataValue.json(_failed(run)),
        }
        if usage.rejected:
            told["undecided_sample"] = rejects_sample(pl.scan_parquet(run.rejects, glob=False))
        if usage.cost_usd is not None:
            told["cost_usd"] = float(usage.cost_usd)
        problems, blocking = self._problems(told, publish_partial=publish_partial)
        return check_result(asset, self.name, problems=problems, blocking=blocking, metadata=told)

    def _problems(self, told: dict[str, Any], *, publish_partial: bool) -> tuple[list[str], bool]:
        """What is wrong, and whether it blocks."""
        problems = []
        if told["high"] < self.target:
            problems.append(
                f"{told['passed']} of {told['graded']} graded rows pass ({told['pass_rate']:.1%}, with "
                f"{self.confidence:.0%} confidence {told['low']:.1%} to {told['high']:.1%}), below {self.target:.1%}"
            )
        elif told["undecided"] and not told["graded"] and not told["pending"]:
            problems.append(f"none of {told['sampled']} rows could be graded: see undecided_sample")
        if not told["pending"]:
            return problems, self.blocking
        left_out = (
            f"{told['pending']} of {told['sampled']} sampled rows are not graded: the budget ended first. Raise "
            "max_cost_usd, and only they are asked"
        )
        return [*problems, left_out], self.blocking and (bool(problems) or not publish_partial)

    def _sentence(self, schema: pl.Schema) -> str:
        """The criterion as a template over the shown columns."""
        names = self._variables(schema).values()
        if not names:
            return self.criterion
        return f"{self.criterion}\n(Judge it by {', '.join(f'{{{{ {name} }}}}' for name in names)}.)"

    def _shown(self, schema: pl.Schema) -> list[str]:
        """The columns that the grader sees beside those that the criterion names."""
        if "{{" not in self.criterion and "{%" not in self.criterion:
            return list(schema) if self.columns is None else list(self.columns)
        named = compile_template(self.criterion, schema, where="its criterion").variables
        return [name for name in self.columns or () if name not in named]

    def shown(self, schema: pl.Schema) -> list[pl.Expr]:
        """The columns that are shown beside the criterion's own, as texts: nothing is no reason not to grade."""
        for name in self._shown(schema):
            if name not in schema:
                raise UnknownColumn(f"columns: there is no column {name!r}. {did_you_mean(name, schema)}")
        return [
            render_value_expr(pl.col(name), schema[name], where=f"column {name!r}").fill_null("(nothing)").alias(shown)
            for name, shown in self._variables(schema).items()
        ]

    def _variables(self, schema: pl.Schema) -> dict[str, str]:
        """The shown columns, each with the name that a template can write it by, which no other column has."""
        taken, names = set(schema), {}
        for column in self._shown(schema):
            names[column] = column if _is_variable(column) else _free(_variable(column), taken)
            taken.add(names[column])
        return names

    def _operator(self, schema: pl.Schema) -> FilterOperator:
        """What is asked of each row of a result with these columns."""
        graded = pl.LazyFrame(schema=schema).with_columns(self.shown(schema)).collect_schema()
        return FilterOperator.build(graded, self._sentence(schema))


def judge(
    criterion: str,
    *,
    model: str | None = None,
    sample: int = 200,
    target: float = 0.95,
    confidence: float = 0.95,
    name: str | None = None,
    blocking: bool = True,
    columns: Sequence[str] | None = None,
    seed: int = 0,
) -> Judge:
    """A check that has a model grade a random sample of the rows, for ``checks=`` of ``semantic_asset``.

    The share of rows that pass is reported with its Wilson score interval (see ``validation.wilson``); the check fails
    only when that interval lies below the target. Rows that could not be graded are ``undecided`` and left out of the
    share. Rows that the run's budget left out are ``pending``: the check does not pass then, and says so; with
    ``publish_partial=True`` that is a warning, and what was graded decides.

    Args:
        criterion: A sentence that is true of a good row, as a template over the asset's columns, such as
            ``"{{ summary }} says nothing that {{ body }} does not say"``. Rows in which one of these is null are not
            sampled.
        model: Name of a model of the deployment, best a stronger one than made the rows; ``None``: the asset's. A run's
            option ``model`` does not take its place.
        sample: Rows to grade, 1 or more; where there are fewer, all are.
        target: Share of rows that should pass, above 0, at most 1.
        confidence: How sure the interval is, between 0 and 1, both excluded.
        name: The check's name: letters, digits and ``_``, another one than the asset's other checks have; ``None``:
            ``judge``, then ``judge_2``...
        blocking: Rows that fail it are not published; else it is a warning.
        columns: Further columns that the model is shown; left out, none, or all where the criterion names none.
        seed: Another number draws another sample; the same number draws the same rows again.

    Returns:
        The check. Its metadata has ``pass_rate``, ``low``, ``high``, ``sampled``, ``graded``, ``passed``, ``cost_usd``
        and ids of rows that failed.

    Raises:
        PlanError: A value out of range.

    Example:
        >>> judge("{{ summary }} is faithful to {{ body }}", model="smart", name="faithful").operator
        'judge:faithful'
    """
    where = "ig.judge" if name is None else f"ig.judge(name={name!r})"
    if not isinstance(criterion, str) or not criterion.strip():
        raise PlanError(
            f"{where}: the criterion is a sentence such as '{{{{ summary }}}} is short', not {criterion!r:.80}."
        )
    if type(sample) is not int or sample < 1:
        raise PlanError(f"{where}: sample={sample!r}: give a number of rows, 1 or more.")
    if not _is_share(target) or target == 0:
        raise PlanError(f"{where}: target={target!r}: give a share of the rows, above 0 and at most 1.")
    if not _is_share(confidence) or confidence in (0, 1):
        raise PlanError(f"{where}: confidence={confidence!r}: give a number between 0 and 1, such as 0.95.")
    if isinstance(columns, str):
        raise PlanError(f"{where}: columns={columns!r}: give a list of column names, [{columns!r}].")
    return Judge(
        name=name or "",
        criterion=criterion.strip(),
        model=model,
        sample=sample,
        target=target,
        confidence=confidence,
        blocking=blocking,
        columns=None if columns is None else tuple(columns),
        seed=seed,
    )


def keep_graded(folder: Path, file: Path) -> None:
    """Write down which requests graded the rows, for whoever asks what published rows refer to.

    Args:
        folder: Where the checks wrote.
        file: The Parquet file to make; none is made where nothing was graded.
    """
    found = sorted(folder.glob("*/lineage.parquet"))
    if found:
        graded = pl.concat(pl.scan_parquet(each, glob=False).select("operator", "request_hash") for each in found)
        graded.drop_nulls().unique(maintain_order=True).collect().write_parquet(file)


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1


def _is_variable(column: str) -> bool:
    return column.isidentifier() and not keyword.iskeyword(column) and column not in _CONSTANTS


def _variable(column: str) -> str:
    """A column's name as a template can write it."""
    return "_".join(["column", *re.findall(r"\w+", column)])


def _free(name: str, taken: Container[str]) -> str:
    number = 1
    while (free := name if number == 1 else f"{name}_{number}") in taken:
        number += 1
    return free


def _chosen(ids: pl.LazyFrame, most: int, seed: int) -> tuple[int, list[int]]:
    """How many rows there are, and the places of those that are drawn, in the order of the draw.

    A row is drawn by a hash of its id and the seed, so the same rows are drawn wherever they stand.
    """
    prefix = f"{seed}:".encode()
    count = 0

    def draws() -> Iterator[tuple[bytes, int]]:
        nonlocal count
        for batch in ids.collect_batches(maintain_order=True):
            for row_id in batch.to_series().to_list():
                yield blake2b(prefix + row_id.encode(), digest_size=16).digest(), count
                count += 1

    drawn = heapq.nsmallest(most, draws())
    return count, [place for _, place in drawn]


def _failed(run: StagedRun) -> list[str]:
    """Ids of the first rows that were graded and did not pass."""
    graded = pl.scan_parquet(run.lineage, glob=False).filter(pl.col("source") != "pending").select("row_id")
    passed = pl.scan_parquet(run.data, glob=False).select(pl.col(ROW_ID).alias("row_id"))
    undecided = pl.scan_parquet(run.rejects, glob=False).select("row_id")
    failed = graded.join(passed, on="row_id", how="anti").join(undecided, on="row_id", how="anti")
    return failed.unique(maintain_order=True).head(SAMPLE).collect().to_series().to_list()
