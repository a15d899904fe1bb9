"""The IO manager: Polars frames as versioned Parquet on any universal-pathlib URL.

What an asset returns becomes a new version (see ``publish``); what an asset reads is the version that
counts when the step starts. Plain assets use it too: they return a LazyFrame or a DataFrame and get the
same layout, metadata, and a data version that follows the rows, so that a re-run with the same rows does
not set off anything downstream.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field
from upath import UPath

from infergraph.dagster.data_version import rows_digest
from infergraph.dagster.failed import FailedRun, failed_run, forget_failed
from infergraph.dagster.layout import Place, local_path
from infergraph.dagster.metadata import table_schema
from infergraph.dagster.publish import CURRENT, Part, Staged, Version, current_version, new_stage, publish, scan
from infergraph.dagster.readings import remember
from infergraph.errors import ConfigurationError, PlanError
from infergraph.frame.row_ids import ROW_ID
from infergraph.models.redact import redact

PART = "infergraph/part"
ROW_IDS = "infergraph/row_ids"
ALSO = "infergraph/also"


class PolarsStorage(dg.ConfigurableIOManager):
    """Keeps the frames of assets as versioned Parquet, and hands them to assets as Polars frames.

    Args:
        base_url: A folder, or any universal-pathlib URL (``s3://``, ``gs://``, ``memory://``...). A relative
            folder lies under the project's root. Takes ``dg.EnvVar``.
        storage_options: What fsspec needs for that URL (endpoint, region...). Leave keys to the
            environment: these options are part of the definition that Dagster shows.
        keep_versions: Versions kept of each asset and partition, the current one included, 1 or more.

    Example:
        >>> import dagster as dg, polars as pl
        >>> @dg.asset
        ... def numbers() -> pl.DataFrame:
        ...     return pl.DataFrame({"n": [1, 2, 3]})
        >>> @dg.asset
        ... def total(numbers: pl.LazyFrame) -> pl.LazyFrame:
        ...     return numbers.select(pl.col("n").sum())
        >>> storage = PolarsStorage(base_url="memory://docs")
        >>> run = dg.materialize([numbers, total], resources={"io_manager": storage})
        >>> storage.load("total").collect().item()
        6
    """

    base_url: str = Field(default=".infergraph/assets", description="Folder or URL under which assets lie.")
    storage_options: dict[str, Any] = Field(default={}, description="fsspec options of the URL, without secrets.")
    keep_versions: int = Field(default=3, ge=1, description="Versions kept of each asset and partition.")

    # -- for people and for the command line -------------------------------------------------------

    def base(self) -> UPath:
        """The folder or URL under which assets lie; a relative folder is put under the project's root."""
        base: UPath = UPath(self.base_url, **self.storage_options)
        local = local_path(base)
        if local is None:
            return base
        if local.is_absolute():
            return UPath(local)
        from infergraph.frame.session import project_root

        return UPath(project_root() / local)

    def version(self, asset: dg.AssetKey | str | Sequence[str], partition: str | None = None) -> Version | None:
        """What is published of an asset or partition now; ``None``: nothing is.

        Args:
            asset: The asset's key.
            partition: The partition's key; ``None`` for an unpartitioned asset.
        """
        return current_version(self.base(), _place(dg.AssetKey.from_coercible(asset), partition))

    def failed(self, asset: dg.AssetKey | str | Sequence[str], partition: str | None = None) -> FailedRun | None:
        """The run that blocking checks kept from being published, where nothing was published since; else ``None``.

        Args:
            asset: The asset's key.
            partition: The partition's key; ``None`` for an unpartitioned asset.
        """
        return failed_run(self.base(), _place(dg.AssetKey.from_coercible(asset), partition))

    def load(
        self,
        asset: dg.AssetKey | str | Sequence[str],
        partition: str | None = None,
        *,
        part: Part = "data",
        row_ids: bool = False,
    ) -> pl.LazyFrame:
        """The published rows of an asset or partition, outside of any run.

        Args:
            asset: The asset's key.
            partition: The partition's key; ``None`` for an unpartitioned asset.
            part: ``data``, ``rejects`` or ``lineage``.
            row_ids: Keep the column ``_row_id`` of ``data``.

        Returns:
            A LazyFrame over the version that counts now.

        Raises:
            ConfigurationError: Nothing is published there.
        """
        place = _place(dg.AssetKey.from_coercible(asset), partition)
        version = current_version(self.base(), place)
        if version is None:
            raise ConfigurationError(_nothing(self.base(), [place]))
        return _shown(_scan_part(version, part, place), part=part, row_ids=row_ids)

    # -- for Dagster -------------------------------------------------------------------------------

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Publish what an asset returned, and say where it lies."""
        place = _output_place(context)
        staged = obj if isinstance(obj, Staged) else self._stage(place, obj)
        try:
            version = publish(staged, self.base(), place, run_id=context.run_id, keep_versions=self.keep_versions)
            forget_failed(self.base(), place)
        finally:
            if staged is not obj:
                shutil.rmtree(staged.folder, ignore_errors=True)
        uri = redact(str(version.path()))
        context.add_output_metadata({"dagster/uri": uri, "infergraph/version": version.name})
        if staged is not obj:
            self._describe_plain(context, staged)

    def load_input(self, context: dg.InputContext) -> Any:
        """The current rows of an upstream asset, in the form that the input is annotated with.

        Returns:
            A LazyFrame, or a DataFrame where the input is annotated so; with ``ALSO`` in the input's metadata a
            dict of LazyFrames, this input's own under ``""``.
        """
        eager = _wants_eager(context)
        asked = context.definition_metadata
        there = self._there(context)
        frame = _read(there, asked.get(PART, "data"), row_ids=bool(asked.get(ROW_IDS, False)))
        if ALSO in asked:
            also = {name: _read(there, wish[PART], row_ids=wish[ROW_IDS]) for name, wish in asked[ALSO].items()}
            return {"": frame, **also}
        return frame.collect() if eager else frame

    def _there(self, context: dg.InputContext) -> list[tuple[Place, Version]]:
        """The published versions that an input reads; every one of them, unless some may be missing."""
        base = self.base()
        versions = [(place, current_version(base, place)) for place in _input_places(context)]
        missing = [place for place, version in versions if version is None]
        there = [(place, version) for place, version in versions if version is not None]
        may_be_missing = context.definition_metadata.get("allow_missing_partitions", False) or _only_checks(context)
        if missing and not (there and may_be_missing):
            raise ConfigurationError(_nothing(base, missing))
        if not there:
            asset = context.asset_key.to_user_string()
            raise ConfigurationError(f"{asset!r} has no partition yet: there is nothing to read.")
        if missing:
            context.log.warning("Not materialized, left out: %s.", ", ".join(map(str, missing)))
        return there

    def _stage(self, place: Place, obj: Any) -> Staged:
        if not isinstance(obj, (pl.LazyFrame, pl.DataFrame)):
            raise PlanError(_not_a_frame(place, obj))
        folder = new_stage(self.base())
        data = folder / "data.parquet"
        try:
            if isinstance(obj, pl.LazyFrame):
                obj.sink_parquet(data)
            else:
                obj.write_parquet(data)
            return _described(folder, data)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _describe_plain(self, context: dg.OutputContext, staged: Staged) -> None:
        count = "dagster/partition_row_count" if context.has_asset_partitions else "dagster/row_count"
        context.add_output_metadata({count: staged.rows, "dagster/column_schema": table_schema(staged.schema)})
        if context.has_asset_key:
            try:
                step = context.step_context
            except dg.DagsterInvariantViolationError:
                return  # called outside of a run, with dg.build_output_context
            step.set_data_version(context.asset_key, dg.DataVersion(staged.data_version))


def _described(folder: Path, data: Path) -> Staged:
    lazy = pl.scan_parquet(data, glob=False, hive_partitioning=False)
    kinds = {name: kind for name, kind in lazy.collect_schema().items() if name != ROW_ID}
    rows = lazy.select(pl.len()).collect().item()
    return Staged(folder=folder, rows=rows, schema=pl.Schema(kinds), data_version=rows_digest(data))


def _place(key: dg.AssetKey, partition: str | None) -> Place:
    return Place(asset=tuple(key.path), partition=None if partition is None else str(partition))


def _output_place(context: dg.OutputContext) -> Place:
    if not context.has_asset_key:
        return Place(asset=("ops", *context.get_identifier()))
    if not context.has_asset_partitions:
        return _place(context.asset_key, None)
    keys = context.asset_partition_keys
    if len(keys) != 1:
        raise PlanError(
            f"{context.asset_key.to_user_string()!r}: one run was asked for {len(keys)} partitions, and each "
            "partition is published on its own. Leave out BackfillPolicy.single_run(), or write "
            "backfill_policy=dg.BackfillPolicy.multi_run()."
        )
    return _place(context.asset_key, keys[0])


def _input_places(context: dg.InputContext) -> list[Place]:
    if not context.has_asset_key:
        return [Place(asset=("ops", *context.get_identifier()))]
    if not context.has_asset_partitions:
        return [_place(context.asset_key, None)]
    return [_place(context.asset_key, key) for key in context.asset_partition_keys]


def _only_checks(context: dg.InputContext) -> bool:
    """Whether a semantic asset reads this for its checks alone: Dagster gives such a run no partition, but all."""
    if ROW_IDS not in context.definition_metadata:
        return False
    try:
        return "result" not in context.step_context.selected_output_names
    except dg.DagsterInvariantViolationError:
        return False  # called outside of a run


def _wants_eager(context: dg.InputContext) -> bool:
    wanted = context.dagster_type.typing_type
    if wanted is pl.DataFrame:
        return True
    if wanted is pl.LazyFrame or wanted is Any:
        return False
    if getattr(wanted, "__name__", "") == "SemanticFrame":
        raise PlanError(
            f"Input {context.name!r} is annotated SemanticFrame, which only an @ig.semantic_asset can get. "
            "Use that decorator, or annotate it pl.LazyFrame."
        )
    raise PlanError(
        f"Input {context.name!r} is annotated {wanted!r}; PolarsStorage hands out pl.LazyFrame and pl.DataFrame. "
        "Annotate it with one of the two."
    )


def _scan_part(version: Version, part: Part, place: Place) -> pl.LazyFrame:
    try:
        return scan(version.path(part))
    except FileNotFoundError as error:
        if part == "data":
            raise ConfigurationError(
                f"{version.path(part)} is gone, though {CURRENT} beside it names it. Materialize {place} again: "
                "answers are in the store, so no model is asked twice."
            ) from error
        raise ConfigurationError(
            f"{place} has no {part}: it was not made by an @ig.semantic_asset, or before it was one."
        ) from error


def _read(there: list[tuple[Place, Version]], part: Part, *, row_ids: bool) -> pl.LazyFrame:
    """One LazyFrame over a part of all these versions."""
    frames = [_scan_part(version, part, place) for place, version in there]
    schema = there[0][1].schema
    same = part == "data" and all(version.schema == schema for _, version in there)
    # Rows of older partitions may lack a column that was added since.
    frame = frames[0] if len(frames) == 1 else pl.concat(frames, how="vertical" if same else "diagonal_relaxed")
    shown = _shown(frame, part=part, row_ids=row_ids)
    remember(shown, there, part)
    return shown


def _shown(frame: pl.LazyFrame, *, part: Part, row_ids: bool) -> pl.LazyFrame:
    return frame if row_ids or part != "data" else frame.drop(ROW_ID, strict=False)


def _nothing(base: UPath, places: list[Place]) -> str:
    named = ", ".join(map(str, places[:5])) + (f" and {len(places) - 5} more" if len(places) > 5 else "")
    allow = (
        ' To go on without them, write ins={...: dg.AssetIn(metadata={"allow_missing_partitions": True})}.'
        if places[0].partition is not None
        else ""
    )
    return (
        f"Nothing is published of {named} under {redact(str(base))}: materialize that first, "
        f"in Dagster or, for example, with: {_making(places[0])}.{allow}"
    )


def _making(place: Place) -> str:
    partition = "" if place.partition is None else f" --partition {shlex.quote(place.partition)}"
    return f"infergraph run {'/'.join(place.asset)}{partition}"


def _not_a_frame(place: Place, obj: Any) -> str:
    if type(obj).__name__ == "SemanticFrame":
        return (
            f"{place} returned a SemanticFrame from a plain asset. Write @ig.semantic_asset instead of @dg.asset, "
            "or return .collect() of it."
        )
    if obj is None:
        return f"{place} returned None. Return a pl.LazyFrame or pl.DataFrame, or annotate the function '-> None'."
    return (
        f"{place} returned {type(obj).__name__}; PolarsStorage keeps pl.LazyFrame and pl.DataFrame. Return one of "
        'these, or give the asset another io_manager_key (for example "objects": dg.FilesystemIOManager()).'
    )
