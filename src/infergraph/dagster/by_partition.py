"""One result of a check from those of several partitions: a run of checks alone looks at each as it was published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import dagster as dg

from infergraph.dagster.findings import SAMPLE, check_result


def together(asset: dg.AssetKey, results: Mapping[str, dg.AssetCheckResult]) -> dg.AssetCheckResult:
    """One result for all partitions: passed where it is in every one of them.

    Args:
        asset: Whose check it is.
        results: Partition's key -> what the check found there; at least one.

    Returns:
        Counts are added up, samples put one after the other; what cannot be put together is the first failing
        partition's.
    """
    failing = {key: result for key, result in results.items() if not result.passed}
    first = next(iter((failing or results).values()))
    said = [f"partition {key!r}: {result.description}" for key, result in failing.items()]
    metadata = {
        name: _joined([r.metadata.get(name) for r in results.values()], first, name) for name in _names(results)
    }
    blocking = any(result.severity is dg.AssetCheckSeverity.ERROR for result in (failing or results).values())
    told = {**metadata, "partitions": len(results), "failed_partitions": len(failing)}
    return check_result(asset, first.check_name or "", problems=said, blocking=blocking, metadata=told)


def _names(results: Mapping[str, dg.AssetCheckResult]) -> list[str]:
    return list(dict.fromkeys(name for result in results.values() for name in result.metadata))


def _joined(given: list[Any], first: dg.AssetCheckResult, name: str) -> Any:
    there = [value for value in given if value is not None]
    values = [value.value for value in there]
    if all(isinstance(value, dg.IntMetadataValue) for value in there):
        return sum(values)
    if all(isinstance(value, list) for value in values):
        return dg.MetadataValue.json([each for value in values for each in value][:SAMPLE])
    if all(isinstance(value, dict) and all(type(n) is int for n in value.values()) for value in values):
        total: Counter[str] = Counter()
        for value in values:
            total.update(value)
        return dg.MetadataValue.json(dict(total.most_common()))
    return first.metadata.get(name, there[0])
