"""How the frames that a function asks for become inputs of a Dagster asset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from infergraph.dagster.signature import FrameKind
from infergraph.dagster.storage import ALSO, PART, ROW_IDS
from infergraph.errors import PlanError, did_you_mean


def _is_frame(_: dg.TypeCheckContext, value: object) -> dg.TypeCheck:
    values = value.values() if isinstance(value, dict) else [value]
    if all(isinstance(each, (pl.LazyFrame, pl.DataFrame)) for each in values):
        return dg.TypeCheck(success=True)
    return dg.TypeCheck(
        success=False,
        description=f"The upstream asset gave a {type(value).__name__}; a semantic asset reads Polars frames.",
    )


FRAME = dg.DagsterType(
    name="PolarsFrame",
    description="A Polars LazyFrame or DataFrame.",
    type_check_fn=_is_frame,
    typing_type=pl.LazyFrame,
)


def rejects_of(
    asset: dg.AssetKey | str | Sequence[str],
    *,
    partition_mapping: dg.PartitionMapping | None = None,
    input_manager_key: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetIn:
    """The rejects of a semantic asset as an input, for ``ins=`` of any asset.

    Args:
        asset: The semantic asset's key.
        partition_mapping: As for ``dg.AssetIn``.
        input_manager_key: As for ``dg.AssetIn``.
        metadata: As for ``dg.AssetIn``.

    Returns:
        An input that loads the columns ``row_id``, the key columns, ``operator``, ``reason``, ``message``,
        ``attempts``, ``model``, ``prompt``, ``response``, ``cost_usd``.

    Example:
        >>> import dagster as dg, polars as pl
        >>> @dg.asset(ins={"rejects": rejects_of("ticket_facts")})
        ... def reasons(rejects: pl.LazyFrame) -> pl.LazyFrame:
        ...     return rejects.group_by("reason").len()
        >>> sorted(key.to_user_string() for key in reasons.dependency_keys)
        ['ticket_facts']
    """
    return dg.AssetIn(
        key=asset,
        metadata={**(metadata or {}), PART: "rejects"},
        partition_mapping=partition_mapping,
        input_manager_key=input_manager_key,
    )


def inputs_of(
    asset: str, frames: Mapping[str, FrameKind], ins: Mapping[str, Any], deps: Iterable[Any]
) -> tuple[dict[str, dg.AssetIn], list[dg.AssetDep]]:
    """The inputs and other dependencies that Dagster is told about.

    Args:
        asset: The asset's name, for errors.
        frames: The function's frame parameters and the form each is wanted in.
        ins: As for ``dg.asset``.
        deps: As for ``dg.asset``.

    Returns:
        One input for every upstream asset, named after the first parameter that reads it, and the deps that are
        no input.

    Raises:
        PlanError: ``ins`` names no parameter, or two parameters read one asset in two ways.
    """
    for name in ins:
        if name not in frames:
            hint = did_you_mean(name, frames)
            raise PlanError(f"{asset!r}: ins={{{name!r}: ...}} is no frame parameter. {hint}")
    others = {dep.asset_key: dep for dep in map(dg.AssetDep.from_coercible, deps)}
    readers: dict[dg.AssetKey, dict[str, dg.AssetIn]] = {}
    for parameter in frames:
        given = dg.AssetIn.from_coercible(ins[parameter]) if parameter in ins else dg.AssetIn()
        readers.setdefault(given.resolve_key(parameter), {})[parameter] = given
    inputs = {}
    for upstream, parameters in readers.items():
        first = next(iter(parameters))
        inputs[first] = _input(asset, frames, upstream, parameters, others.pop(upstream, None))
    return inputs, list(others.values())


def _input(
    asset: str,
    frames: Mapping[str, FrameKind],
    upstream: dg.AssetKey,
    parameters: Mapping[str, dg.AssetIn],
    dep: dg.AssetDep | None,
) -> dg.AssetIn:
    """The one input that Dagster allows of an upstream asset, for every parameter that reads it."""
    (_, first), *rest = parameters.items()
    wishes = {
        name: {
            PART: (given.metadata or {}).get(PART, "data"),
            ROW_IDS: frames[name] == "semantic",
        }
        for name, given in parameters.items()
    }
    own = {key: value for key, value in (first.metadata or {}).items() if key != PART}
    for name, given in rest:
        theirs = {key: value for key, value in (given.metadata or {}).items() if key != PART}
        if (theirs, given.partition_mapping, given.input_manager_key) != (
            own,
            first.partition_mapping,
            first.input_manager_key,
        ):
            raise PlanError(
                f"{asset!r}: {name!r} and {next(iter(parameters))!r} both read {upstream.to_user_string()!r}, so "
                "they need the same metadata, partition_mapping and input_manager_key."
            )
    (_, wish), *more = wishes.items()
    # Dagster refuses a key that is both an input with metadata and a dep: the dep's mapping moves here.
    mapping = first.partition_mapping or (dep.partition_mapping if dep else None)
    return dg.AssetIn(
        key=upstream,
        metadata={**own, **wish, **({ALSO: dict(more)} if more else {})},
        input_manager_key=first.input_manager_key,
        partition_mapping=mapping,
        dagster_type=first.dagster_type if isinstance(first.dagster_type, dg.DagsterType) else FRAME,
    )
