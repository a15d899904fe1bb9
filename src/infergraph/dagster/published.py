"""What checks look at that run alone: the rows that are published.

Dagster gives such a run no partition, so of a partitioned asset they look at each of its published partitions; a judge
draws its sample from all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from infergraph.dagster.findings import Findings
from infergraph.dagster.layout import Place
from infergraph.dagster.publish import Version, current_version, scan
from infergraph.dagster.storage import PolarsStorage
from infergraph.errors import ConfigurationError

_COUNTS = ("rows", "nulls", "unasked", "pending", "rejected", "asked_rows", "rejected_rows")


def published_versions(
    context: dg.AssetExecutionContext, asset: dg.AssetKey, storage: Any, *, partitioned: bool
) -> dict[str, Version]:
    """The published versions that a run of checks alone looks at, by partition's key and in its order.

    Args:
        context: Of that run.
        asset: Whose checks they are.
        storage: Its IO manager.
        partitioned: Whether the asset has partitions.

    Raises:
        ConfigurationError: Nothing is published, or another IO manager than ``PolarsStorage`` keeps it.
    """
    if not isinstance(storage, PolarsStorage):
        raise ConfigurationError(
            f"{asset.to_user_string()!r}: checks alone can look only at rows that PolarsStorage keeps; its IO manager "
            f"is {type(storage).__name__}. Materialize the asset, which checks it too."
        )
    base, path = storage.base(), tuple(asset.path)
    if context.has_partition_key:
        places = [Place(asset=path, partition=str(context.partition_key))]
    elif not partitioned:
        places = [Place(asset=path)]
    else:
        keys = sorted(context.instance.get_materialized_partitions(asset))
        places = [Place(asset=path, partition=key) for key in keys]
    versions = {
        place.partition or "": version for place in places if (version := current_version(base, place)) is not None
    }
    if not versions:
        raise ConfigurationError(f"Nothing is published of {Place(asset=path)}: materialize it first.")
    return versions


def published_findings(by_partition: Mapping[str, Version]) -> Findings:
    """What is known of published rows: they themselves, and what their runs wrote down beside them.

    Args:
        by_partition: One or more.
    """
    versions = list(by_partition.values())
    known = [version.facts.get("rows_in") for version in versions]
    rows_in = [rows for rows in known if rows is not None]
    return Findings(
        data=_together([scan(version.path("data")) for version in versions]),
        rejects=_together([scan(version.path("rejects")) for version in versions]),
        operators=_added_up([row for version in versions for row in version.facts.get("operators", [])]),
        rows_in=sum(rows_in) if len(rows_in) == len(known) else None,
        keeps_rows=all(version.facts.get("keeps_rows", False) for version in versions),
        parts={key: published_findings({key: version}) for key, version in by_partition.items()}
        if len(versions) > 1
        else {},
    )


def _together(frames: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    return frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal_relaxed")


def _added_up(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row an operator, with the sums of its counts."""
    added: dict[str, dict[str, Any]] = {}
    for row in rows:
        total = added.setdefault(row["operator"], {"operator": row["operator"]})
        for name in _COUNTS:
            if name in row:
                total[name] = total.get(name, 0) + int(row[name])
    return list(added.values())
