"""One run of a semantic asset: build the plan, run it into a stage folder, check, and only then publish.

The order is what protects published data: the checks look at staged rows, and rows reach the IO manager
only when no blocking check failed. A check-only run looks at what is published.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
from upath import UPath

from infergraph.dagster.building import SemanticAsset, by_parameter
from infergraph.dagster.checks import blocks, evaluate, prepare
from infergraph.dagster.column_metadata import asset_columns, column_metadata
from infergraph.dagster.config import options_of
from infergraph.dagster.data_version import rows_digest
from infergraph.dagster.expected import estimate_metadata, keep_estimate
from infergraph.dagster.failed import keep_failed
from infergraph.dagster.findings import Asking, Findings
from infergraph.dagster.judging import Judge, keep_graded
from infergraph.dagster.layout import Place
from infergraph.dagster.metadata import checks_metadata, run_metadata, usage_metadata
from infergraph.dagster.publish import GRADED, Staged, new_stage
from infergraph.dagster.published import published_findings, published_versions
from infergraph.dagster.readings import inputs_read
from infergraph.dagster.row_count import rows_upstream
from infergraph.dagster.signature import Signature
from infergraph.dagster.storage import PolarsStorage
from infergraph.dagster.telling import notices_to, progress_to, what_blocks, why_unpublished
from infergraph.errors import (
    BudgetExceeded,
    ConfigurationError,
    InternalError,
    PlanError,
    ProviderRefused,
)
from infergraph.frame.row_ids import ROW_ID

if TYPE_CHECKING:
    from infergraph.frame.frame import SemanticFrame
    from infergraph.frame.run import RunOptions, StagedRun
    from infergraph.lineage import SourceRead

_FOREVER = (PlanError, ConfigurationError, ProviderRefused, BudgetExceeded)
"""Errors that the same run again would meet again: retries would only wait."""


def run_asset(
    asset: SemanticAsset, context: dg.AssetExecutionContext, given: Mapping[str, Any], inputs: Mapping[str, Any]
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Everything that happens in one step of a semantic asset.

    Args:
        asset: The asset.
        context: Dagster's context.
        given: Values of the op's config.
        inputs: Upstream frames by parameter.

    Yields:
        The materialization with its checks, or the checks alone.

    Raises:
        dagster.Failure: A blocking check failed; what was published is untouched.
    """
    with _no_retry_where_useless(context):
        storage = getattr(context.resources, asset.io_manager_key)
        _refuse_unfit(asset, context, storage)
        options = options_of(given, max_cost_usd=asset.max_cost_usd)
        session = asset.session_for(context.resources.models, context.resources.store, options)
        frames = asset.frames(session, inputs)
        frame = asset.called(frames, given, _others(asset.signature, context))
        prepare(asset.name, frame, asset.checks, options)
        if not context.selected_asset_keys:
            yield from _check_published(asset, context, frame, options, storage)
            return
        stage = _new_stage(storage)
        try:
            read = partial(inputs_read, inputs=by_parameter(inputs), handed=frames)
            yield from _materialize(asset, context, frame, options, storage, stage, read)
        finally:
            # The framework comes back here after the IO manager has taken the files.
            shutil.rmtree(stage, ignore_errors=True)


def _materialize(
    asset: SemanticAsset,
    context: dg.AssetExecutionContext,
    frame: SemanticFrame,
    options: RunOptions,
    storage: Any,
    stage: Path,
    read: Callable[[Sequence[SourceRead]], list[dict[str, Any]]],
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    from infergraph.frame.run import run_to_folder

    # Counted first: a version that is read may be gone when a long run ends.
    rows_in, keeps_rows = rows_upstream(frame, options.limit)
    judges = _judges(asset, context)
    estimate = keep_estimate(
        frame, options, judges=judges, run_id=context.run.run_id, asset=asset.name,
        partition=_partition(context), log=context.log,
    )  # fmt: skip
    run = run_to_folder(
        frame,
        stage,
        options=options,
        run_id=context.run.run_id,
        asset=asset.name,
        partition=_partition(context),
        on_progress=progress_to(asset.name, context),
        on_notice=notices_to(asset.name, context),
    )
    operators = _operator_counts(run)
    data, rejects = pl.scan_parquet(run.data, glob=False), pl.scan_parquet(run.rejects, glob=False)
    findings = Findings(
        data=data,
        rejects=rejects,
        operators=operators,
        usage=usage_metadata(run.usage),
        rows_in=rows_in,
        keeps_rows=keeps_rows,
    )
    asking = _asking(asset, context, options, stage / "checks", spent_usd=run.usage.cost_usd)
    results = _results(asset, context, frame, findings, asking)
    selected = _selected(asset, context, results)
    if any(blocks(result) for result in results):
        # Checks that were deselected are not reported, but rows that fail them are not published either.
        _keep_rejects(context, storage, asset, run, results, options)
        yield from selected
        raise dg.Failure(why_unpublished(asset.name, frame, run, results, options), allow_retries=False)
    keep_graded(stage / "checks", stage / GRADED)
    staged = Staged(
        folder=stage,
        rows=run.rows,
        schema=run.schema,
        rejects=rejects.select(pl.len()).collect().item(),
        fingerprint=run.fingerprint,
        data_version=rows_digest(run.data),
        keep_versions=asset.keep_versions,
        facts={
            "operators": operators,
            "rows_in": rows_in,
            "keeps_rows": keeps_rows,
            **_chosen(options),
            "inputs": read(run.sources),
        },
    )
    yield dg.MaterializeResult(
        asset_key=asset.key,
        value=staged if isinstance(storage, PolarsStorage) else data.drop(ROW_ID),
        metadata={
            **run_metadata(frame, run, partitioned=context.has_partition_key, limit=options.limit),
            **column_metadata(asset_columns(asset, context.assets_def, frame, model=options.model)),
            **checks_metadata(asking),
            **estimate_metadata(estimate, judges),
        },
        data_version=dg.DataVersion(staged.data_version),
        check_results=selected,
    )


def _keep_rejects(
    context: dg.AssetExecutionContext,
    storage: Any,
    asset: SemanticAsset,
    run: StagedRun,
    results: list[dg.AssetCheckResult],
    options: RunOptions,
) -> None:
    """Keep what blocked the asset, for ``infergraph rejects``; where it cannot be kept, the failure itself goes on."""
    if not isinstance(storage, PolarsStorage):
        return
    place = Place(asset=tuple(asset.key.path), partition=_partition(context))
    facts = {"fingerprint": run.fingerprint, "data_version": rows_digest(run.data), **_chosen(options)}
    try:
        keep_failed(
            run.rejects, storage.base(), place, run_id=context.run.run_id, why=what_blocks(results), facts=facts
        )
    except OSError as error:
        context.log.warning("The rejects of this run could not be kept: %s", error)


def _chosen(options: RunOptions) -> dict[str, Any]:
    """The options that say which rows and answers there are: a retry of the rejects needs the same."""
    return {"limit": options.limit, "model": options.model}


def _check_published(
    asset: SemanticAsset,
    context: dg.AssetExecutionContext,
    frame: SemanticFrame,
    options: RunOptions,
    storage: Any,
) -> Iterator[dg.AssetCheckResult]:
    findings = published_findings(published_versions(context, asset.key, storage, partitioned=asset.partitioned))
    with tempfile.TemporaryDirectory(prefix="infergraph-checks-") as folder:
        asking = _asking(asset, context, options, Path(folder))
        yield from _selected(asset, context, _results(asset, context, frame, findings, asking))


def _asking(
    asset: SemanticAsset,
    context: dg.AssetExecutionContext,
    options: RunOptions,
    folder: Path,
    *,
    spent_usd: Decimal | None = Decimal(0),
) -> Asking:
    return Asking(
        options=options,
        run_id=context.run.run_id,
        asset=asset.name,
        partition=_partition(context),
        folder=folder,
        publish_partial=asset.publish_partial,
        published=not context.selected_asset_keys,
        spent_usd=spent_usd,
        on_progress=progress_to(asset.name, context),
        on_notice=notices_to(asset.name, context),
    )


def _results(
    asset: SemanticAsset,
    context: dg.AssetExecutionContext,
    frame: SemanticFrame,
    findings: Findings,
    asking: Asking,
) -> list[dg.AssetCheckResult]:
    return evaluate(
        asset.key,
        frame,
        findings,
        asking,
        own=asset.checks,
        max_reject_rate=asset.max_reject_rate,
        selected={check.name for check in context.selected_asset_check_keys},
    )


def _judges(asset: SemanticAsset, context: dg.AssetExecutionContext) -> list[Judge]:
    """The judges that this run will ask: those that were deselected are not."""
    wanted = {check.name for check in context.selected_asset_check_keys}
    return [check for check in asset.checks if isinstance(check, Judge) and check.name in wanted]


def _selected(
    asset: SemanticAsset, context: dg.AssetExecutionContext, results: list[dg.AssetCheckResult]
) -> list[dg.AssetCheckResult]:
    """The results of the checks that this run is to report: every one of them, or the run is wrong."""
    wanted = {check.name for check in context.selected_asset_check_keys}
    unknown = wanted - {result.check_name for result in results}
    if unknown:
        # Dagster only warns of a blocking check without a result, and would go on.
        raise InternalError(f"{asset.name!r}: no result for the checks {sorted(unknown)}. Please report this.")
    return [result for result in results if result.check_name in wanted]


def _operator_counts(run: StagedRun) -> list[dict[str, Any]]:
    if run.usage.by_operator.is_empty():
        return []
    counted = run.usage.by_operator.select("operator", "rows", "nulls", "unasked", "pending", "rejected").to_dicts()
    several = _rows_of_several_questions(run)
    return [{**row, **several.get(row["operator"], {})} for row in counted]


def _rows_of_several_questions(run: StagedRun) -> dict[str, dict[str, int]]:
    """Of operators that ask several questions a row, how many rows were asked about and how many had a reject."""
    asked = (
        pl.scan_parquet(run.lineage, glob=False)
        .filter(pl.col("part").is_not_null(), pl.col("parent").is_null())
        .group_by("operator")
        .agg(pl.col("row_id").n_unique().alias("asked_rows"))
    )
    rejected = (
        pl.scan_parquet(run.rejects, glob=False)
        .group_by("operator")
        .agg(pl.col("row_id").n_unique().alias("rejected_rows"))
    )
    both = asked.join(rejected, on="operator", how="left").with_columns(pl.col("rejected_rows").fill_null(0)).collect()
    return {row.pop("operator"): row for row in both.to_dicts()}


def _others(signature: Signature, context: dg.AssetExecutionContext) -> dict[str, Any]:
    others: dict[str, Any] = {name: context.resources.original_resource_dict[name] for name in signature.resources}
    if signature.context is not None:
        others[signature.context] = context
    return others


def _partition(context: dg.AssetExecutionContext) -> str | None:
    return str(context.partition_key) if context.has_partition_key else None


def _refuse_unfit(asset: SemanticAsset, context: dg.AssetExecutionContext, storage: Any) -> None:
    """Refuse before anything is spent what could not be published afterwards."""
    if context.has_partition_key_range and len(context.partition_keys) > 1:
        raise PlanError(
            f"{asset.name!r}: one run was asked for {len(context.partition_keys)} partitions, and each partition is "
            "published on its own. Write backfill_policy=dg.BackfillPolicy.multi_run()."
        )
    if isinstance(storage, (dg.InMemoryIOManager, dg.FilesystemIOManager)) or "Pickled" in type(storage).__name__:
        raise ConfigurationError(
            f"{asset.name!r}: its IO manager {asset.io_manager_key!r} is Dagster's own, which pickles Python objects "
            'and cannot keep a frame. Add to the resources: "io_manager": PolarsStorage(base_url="...").'
        )


def _new_stage(storage: Any) -> Path:
    if isinstance(storage, PolarsStorage):
        return new_stage(storage.base())
    return new_stage(UPath(tempfile.gettempdir()) / "infergraph")


@contextmanager
def _no_retry_where_useless(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Turn an error that no retry can mend into a failure without retries, where a retry policy is set."""
    try:
        yield
    except _FOREVER as error:
        if context.op_execution_context.op_def.retry_policy is None:
            raise
        raise dg.Failure(str(error), allow_retries=False) from error
