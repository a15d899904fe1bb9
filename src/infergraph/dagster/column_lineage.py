"""What is known of the columns of a code location's assets, by their plans as they are written now.

A semantic asset's function is called on the frames that are published upstream; where nothing is published yet, on
frames without rows that have the columns of the upstream asset's own plan. Where that cannot be, what the latest
materialization said counts; of plain assets, only what they said of themselves is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from infergraph.column_lineage import AssetColumns, ColumnLineage, ColumnOrigin, RowOrigin, SourceColumn, Upstream
from infergraph.dagster.asset import semantic_asset_of
from infergraph.dagster.column_metadata import OURS, THEIRS, asset_columns
from infergraph.dagster.config import options_of
from infergraph.dagster.storage import ALSO, PART
from infergraph.errors import PlanError, did_you_mean

if TYPE_CHECKING:
    from infergraph.dagster.building import SemanticAsset
    from infergraph.frame.frame import SemanticFrame

Known = Callable[[str], AssetColumns]


@contextmanager
def known_columns(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Iterator[Known]:
    """What is known of the columns of a code location's assets.

    Args:
        definitions: The code location.
        instance: Knows what was materialized.

    Yields:
        A function from an asset's name to what is known of its columns; use it inside the ``with`` block.
    """
    with ExitStack() as stack:
        yield _Knowledge(definitions, instance, stack).of


class _NothingPublished(PlanError):
    """A plain asset, whose columns only its rows can tell, has none yet."""


class _Knowledge:
    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance, stack: ExitStack) -> None:
        self._definitions = definitions
        self._instance = instance
        self._stack = stack
        self._graph = definitions.resolve_asset_graph()
        self._loader = stack.enter_context(definitions.get_asset_value_loader(instance))
        self._plans: dict[dg.AssetKey, SemanticFrame | PlanError] = {}

    def of(self, name: str) -> AssetColumns:
        """What is known of one asset's columns."""
        key = dg.AssetKey.from_user_string(name)
        found = self._semantic(key)
        if found is None:
            return self._stored(key) or AssetColumns(
                asset=name, lineage=None, known_from="a plain asset: its own code tells nothing of its columns"
            )
        definition, asset = found
        try:
            frame = self._plan(key)
        except dg.DagsterInvalidConfigError:
            stored = self._stored(key)
            if stored is None:
                raise
            return stored
        if isinstance(frame, PlanError):
            return self._stored(key) or AssetColumns(asset=name, lineage=None, known_from=str(frame))
        return asset_columns(asset, definition, frame)

    def _semantic(self, key: dg.AssetKey) -> tuple[dg.AssetsDefinition, SemanticAsset] | None:
        if not self._graph.has(key) or key not in self._graph.materializable_asset_keys:
            return None
        definition = self._graph.get(key).assets_def
        found = semantic_asset_of(definition)
        return None if found is None else (definition, found)

    def _plan(self, key: dg.AssetKey) -> SemanticFrame | PlanError:
        if key not in self._plans:
            found = self._semantic(key)
            if found is None:
                return PlanError(f"{key.to_user_string()!r} is no semantic asset.")
            try:
                self._plans[key] = self._built(*found)
            except dg.DagsterInvalidConfigError:
                raise  # a resource wants something of the environment that is not there
            except _NothingPublished as error:
                self._plans[key] = error
            except Exception as error:  # the asset's own function runs here, and it may fail in any way
                problem = str(error).splitlines()[0] if str(error) else type(error).__name__
                self._plans[key] = PlanError(f"the plan of {key.to_user_string()!r} cannot be made: {problem}")
        return self._plans[key]

    def _built(self, definition: dg.AssetsDefinition, asset: SemanticAsset) -> SemanticFrame:
        needed = {"models", "store", *asset.signature.resources}
        absent = needed - set(definition.resource_defs)
        if absent:
            raise PlanError(f"it needs the resources {sorted(absent)}; add them to Definitions.")
        wanted = {name: definition.resource_defs[name] for name in needed}
        built = self._stack.enter_context(dg.build_resources(wanted, instance=self._instance))
        resources = {name: built.original_resource_dict[name] for name in needed}
        others: dict[str, Any] = {name: resources[name] for name in asset.signature.resources}
        if asset.signature.context is not None:
            partition = self._some_partition(definition.key)
            others[asset.signature.context] = self._stack.enter_context(
                dg.build_asset_context(resources=resources, partition_key=partition, instance=self._instance)
            )
        session = asset.session_for(resources["models"], resources["store"], options_of({}, max_cost_usd=None))
        return asset.build(session, self._inputs(definition, asset), {}, others)

    def _inputs(self, definition: dg.AssetsDefinition, asset: SemanticAsset) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        for parameter in asset.signature.frames:
            key = definition.keys_by_input_name.get(parameter)
            if key is None:
                continue  # it comes with another parameter's input
            metadata = dict(definition.op.input_def_named(parameter).metadata)
            published = self._published(key, metadata)
            inputs[parameter] = self._without_rows(key, metadata) if published is None else published
        return inputs

    def _published(self, key: dg.AssetKey, metadata: dict[str, Any]) -> Any | None:
        """Rows of the upstream asset; ``None``: there are none."""
        try:
            return self._loader.load_asset_value(
                key,
                python_type=pl.LazyFrame,
                partition_key=self._some_partition(key),
                input_definition_metadata=metadata,
            )
        except dg.DagsterInvalidConfigError:
            raise
        except Exception:  # of an asset without rows, each IO manager says so in its own way
            return None

    def _without_rows(self, key: dg.AssetKey, metadata: dict[str, Any]) -> Any:
        """Frames with the columns that the upstream asset's plan would give."""
        wishes = {"": metadata.get(PART, "data"), **{name: one[PART] for name, one in metadata.get(ALSO, {}).items()}}
        name = key.to_user_string()
        if "rejects" in wishes.values() or self._semantic(key) is None:
            raise _NothingPublished(f"nothing is published of {name!r} yet. Type: infergraph run {name}")
        above = self._plan(key)
        if isinstance(above, PlanError):
            raise above
        empty = pl.LazyFrame(schema=above.schema)
        return dict.fromkeys(wishes, empty) if ALSO in metadata else empty

    def _some_partition(self, key: dg.AssetKey) -> str | None:
        """A partition that was materialized, or else the last one; ``None``: the asset has none."""
        partitions = self._graph.get(key).partitions_def
        if partitions is None:
            return None
        there = sorted(self._instance.get_materialized_partitions(key))
        if there:
            return there[-1]
        keys = partitions.get_partition_keys(dynamic_partitions_store=self._instance)
        return keys[-1] if keys else None

    def _stored(self, key: dg.AssetKey) -> AssetColumns | None:
        """What the latest materialization said; ``None``: nothing."""
        event = self._instance.get_latest_materialization_event(key)
        said = None if event is None else event.asset_materialization
        if event is None or said is None:
            return None
        known_from = f"the materialization by run {event.run_id[:8]}"
        ours = said.metadata.get(OURS)
        if isinstance(ours, dg.JsonMetadataValue) and isinstance(ours.value, dict):
            return AssetColumns.from_dict(ours.value, known_from=known_from)
        theirs = said.metadata.get(THEIRS)
        if isinstance(theirs, dg.TableColumnLineageMetadataValue):
            types = said.metadata.get("dagster/column_schema")
            schema = types.value if isinstance(types, dg.TableSchemaMetadataValue) else None
            return _of_dagster(key.to_user_string(), theirs.value, schema, known_from)
        return None


def _of_dagster(
    asset: str, told: dg.TableColumnLineage, schema: dg.TableSchema | None, known_from: str
) -> AssetColumns:
    """Column lineage that another tool reported, such as dbt."""
    types = {} if schema is None else {column.name: column.type for column in schema.columns}
    columns: dict[str, ColumnOrigin] = {}
    upstream: dict[str, Upstream] = {}
    for name, deps in told.deps_by_column.items():
        sources = {SourceColumn(dep.asset_key.to_user_string(), dep.column_name) for dep in deps}
        columns[name] = ColumnOrigin(type=types.get(name) or "", sources=tuple(sorted(sources)))
        upstream.update({one.source: Upstream(asset=one.source) for one in sources})
    lineage = ColumnLineage(columns=columns, rows=RowOrigin(), operators=())
    return AssetColumns(asset=asset, lineage=lineage, upstream=upstream, known_from=known_from)


def asset_and_column(definitions: dg.Definitions, typed: str) -> tuple[str, str | None]:
    """Take ``ASSET.column`` apart, by the longest asset name that fits.

    Args:
        definitions: The code location.
        typed: An asset's name (parts separated by ``/``), or one, a dot and a column's name.

    Returns:
        The asset's name, and the column's or ``None``.

    Raises:
        PlanError: No asset's name fits; the message has the nearest ones.
    """
    names = [key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()]
    fits = [name for name in names if typed == name or typed.startswith(f"{name}.")]
    if not fits:
        wanted = typed.partition(".")[0]
        raise PlanError(f"There is no asset {wanted!r}. {did_you_mean(wanted, sorted(names))}")
    asset = max(fits, key=len)
    return asset, typed[len(asset) + 1 :] or None
