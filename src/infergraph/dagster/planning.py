"""The plan of a semantic asset outside of any run: for estimates, explanations and previews.

Upstream rows are read as a run would read them, through each upstream asset's IO manager and partition
mapping; then the asset's own function is called. No other asset's code runs, and no model is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from infergraph.dagster.asset import semantic_asset_of
from infergraph.dagster.building import SemanticAsset
from infergraph.dagster.checks import prepare
from infergraph.dagster.config import options_of
from infergraph.dagster.signature import FrameKind
from infergraph.dagster.storage import ALSO, PART
from infergraph.errors import PlanError, did_you_mean
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.run import RunOptions


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a semantic asset reads of one upstream asset."""

    asset: str
    """The name of the asset that reads."""
    parameter: str
    """The first parameter that reads it."""
    upstream: dg.AssetKey
    partitions: Sequence[str | None]
    """Keys of the upstream's partitions; ``None`` where it has none."""
    parts: Mapping[str, str]
    """For each parameter that reads it: ``data`` or ``rejects``."""
    kinds: Mapping[str, FrameKind]
    """For each of them, the form that it is wanted in."""
    published: Callable[[], Any]
    """Gives the rows that are published now; raises where there are none."""


@contextmanager
def planned(
    definitions: dg.Definitions,
    asset: dg.AssetKey | str,
    *,
    instance: dg.DagsterInstance,
    partition: str | None = None,
    config: Mapping[str, Any] | None = None,
    rows_of: Callable[[Reading], Any] | None = None,
) -> Iterator[tuple[SemanticFrame, RunOptions]]:
    """A semantic asset's plan over the rows that are published upstream now.

    Args:
        definitions: The code location.
        asset: The asset's key; a text with ``/`` between its parts.
        instance: Knows the dynamic partitions.
        partition: The partition's key, where the asset is partitioned.
        config: Values for the asset's op, as in run config.
        rows_of: Gives the rows of each upstream asset; left out, those that are published.

    Yields:
        The plan and the options that a run with this config would get; use both inside the ``with`` block.

    Raises:
        PlanError: There is no such asset, or it is not semantic.
        ConfigurationError: An upstream asset has no published rows.
    """
    key = dg.AssetKey.from_user_string(asset) if isinstance(asset, str) else asset
    definition, found = _find(definitions, key)
    given = dict(config or {})
    with ExitStack() as stack:
        resources = _resources(definition, stack, instance)
        inputs = _inputs(definitions, definition, found, partition, instance, stack, rows_of)
        options = options_of(given, max_cost_usd=found.max_cost_usd)
        session = found.session_for(resources["models"], resources["store"], options)
        others: dict[str, Any] = {name: resources[name] for name in found.signature.resources}
        if found.signature.context is not None:
            others[found.signature.context] = stack.enter_context(
                dg.build_asset_context(resources=resources, partition_key=partition, instance=instance)
            )
        frame = found.build(session, inputs, given, others)
        prepare(found.name, frame, found.checks, options)
        yield frame, options


def _find(definitions: dg.Definitions, key: dg.AssetKey) -> tuple[dg.AssetsDefinition, SemanticAsset]:
    graph = definitions.resolve_asset_graph()
    known = {each.to_user_string() for each in graph.get_all_asset_keys()}
    name = key.to_user_string()
    if name not in known:
        raise PlanError(f"There is no asset {name!r}. {did_you_mean(name, known)}")
    definition: dg.AssetsDefinition = graph.get(key).assets_def
    found = semantic_asset_of(definition)
    if found is None:
        raise PlanError(f"{name!r} is no semantic asset: it calls no model, so there is nothing to plan.")
    return definition, found


def _resources(definition: dg.AssetsDefinition, stack: ExitStack, instance: dg.DagsterInstance) -> dict[str, Any]:
    found = semantic_asset_of(definition)
    needed = {"models", "store", *(found.signature.resources if found else ())}
    absent = needed - set(definition.resource_defs)
    if absent:
        raise PlanError(
            f"{definition.key.to_user_string()!r} needs the resources {sorted(absent)}; add them to Definitions."
        )
    wanted = {name: definition.resource_defs[name] for name in needed}
    built = stack.enter_context(dg.build_resources(wanted, instance=instance))
    return {name: built.original_resource_dict[name] for name in needed}


def _inputs(
    definitions: dg.Definitions,
    definition: dg.AssetsDefinition,
    found: SemanticAsset,
    partition: str | None,
    instance: dg.DagsterInstance,
    stack: ExitStack,
    rows_of: Callable[[Reading], Any] | None,
) -> dict[str, Any]:
    loader = stack.enter_context(definitions.get_asset_value_loader(instance))
    inputs: dict[str, Any] = {}
    for parameter in found.signature.frames:
        upstream = definition.keys_by_input_name.get(parameter)
        if upstream is None:
            continue  # it comes with another parameter's input
        metadata = dict(definition.op.input_def_named(parameter).metadata)
        keys = _upstream_partitions(definitions, definition.key, upstream, partition, instance)
        load = partial(
            loader.load_asset_value, upstream, python_type=pl.LazyFrame, input_definition_metadata=metadata
        )  # fmt: skip
        reading = _reading(found, parameter, upstream, keys, metadata, load)
        inputs[parameter] = reading.published() if rows_of is None else rows_of(reading)
    return inputs


def _reading(
    found: SemanticAsset,
    parameter: str,
    upstream: dg.AssetKey,
    partitions: list[str | None],
    metadata: Mapping[str, Any],
    load: Callable[..., Any],
) -> Reading:
    parts = {parameter: metadata.get(PART, "data")}
    parts |= {name: wish[PART] for name, wish in metadata.get(ALSO, {}).items()}
    kinds = {name: found.signature.frames[name] for name in parts}
    return Reading(
        asset=found.name, parameter=parameter, upstream=upstream, partitions=partitions, parts=parts, kinds=kinds,
        published=lambda: _together([load(partition_key=each) for each in partitions]),
    )  # fmt: skip


def _together(frames: list[Any]) -> Any:
    """Several partitions' frames as one; where each is a dict of frames, a dict."""
    if isinstance(frames[0], dict):
        return {name: _together([each[name] for each in frames]) for name in frames[0]}
    return pl.concat([frame.lazy() for frame in frames], how="diagonal_relaxed")


def _upstream_partitions(
    definitions: dg.Definitions,
    key: dg.AssetKey,
    upstream: dg.AssetKey,
    partition: str | None,
    instance: dg.DagsterInstance,
) -> list[str | None]:
    graph = definitions.resolve_asset_graph()
    above, here = graph.get(upstream).partitions_def, graph.get(key).partitions_def
    if above is None:
        return [None]
    subset = None
    if here is not None:
        if partition is None:
            raise PlanError(f"{key.to_user_string()!r} is partitioned: name a partition.")
        subset = here.empty_subset().with_partition_keys([partition])
    mapping = graph.get_partition_mapping(key, parent_asset_key=upstream)
    mapped = mapping.get_upstream_mapped_partitions_result_for_partitions(
        subset, here, above, dynamic_partitions_store=instance
    )
    return list(mapped.partitions_subset.get_partition_keys())
