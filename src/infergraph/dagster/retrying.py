"""Rejects that are asked again: whose they are, and whether asking them again would change any other row.

A retry is a run of the whole asset in which only remembered rejections are asked; all other rows come from the store.
That leaves the other rows as they are exactly when the same run without asking anything would give the rows that there
were, so this is what is looked at first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from upath import UPath

from infergraph.dagster.config import OPTION_NAMES
from infergraph.dagster.data_version import rows_digest
from infergraph.dagster.publish import scan
from infergraph.dagster.storage import PolarsStorage
from infergraph.errors import ConfigurationError, PlanError
from infergraph.frame.frame import SemanticFrame
from infergraph.frame.replay import replay
from infergraph.frame.row_ids import ROW_ID
from infergraph.frame.run import RunOptions

# Nothing is remembered of a request that only timed out, or that was not sent as an image of the row could not be: any
# run asks it again.
_NOT_SENT = pl.col("attempts") == 0
_NOT_REMEMBERED = (pl.col("reason") == "timeout") | _NOT_SENT


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """The latest run of an asset or partition that left rejects, published or not.

    Args:
        name: The asset or partition, for messages.
        published: Whether its rows are published.
        rejects: Its rejects.
        fingerprint: Of its plan; empty where it is not known.
        data_version: Of its rows; empty where it is not known.
        data: Its rows, where they are published.
        config: The options that it had and a retry needs too, as run config.
        run_id: The Dagster run.
    """

    name: str
    published: bool
    rejects: pl.DataFrame = field(repr=False)
    fingerprint: str = ""
    data_version: str = ""
    data: UPath | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    run_id: str = ""

    def own_config(self, instance: dg.DagsterInstance, op: str) -> dict[str, Any]:
        """What that run gave the function's own config, as Dagster keeps it; none where Dagster forgot the run.

        Args:
            instance: Dagster's instance.
            op: Name of the asset's op.
        """
        run = instance.get_run_by_id(self.run_id) if self.run_id else None
        ops: Any = run.run_config.get("ops", {}) if run is not None else {}
        given = (ops.get(op) or {}).get("config") or {}
        return {name: value for name, value in given.items() if name not in OPTION_NAMES}

    @property
    def requests(self) -> int:
        """Different requests behind the rejects: what a retry asks."""
        return _different(self.rejects)


def last_run(storage: PolarsStorage, asset: dg.AssetKey, partition: str | None = None) -> LastRun:
    """The run whose rejects count: the one that checks kept from being published, else the published one.

    Args:
        storage: Where the asset's rows lie.
        asset: A semantic asset's key.
        partition: The partition's key; ``None`` for an asset without partitions.

    Raises:
        ConfigurationError: Nothing is there yet.
        PlanError: What is published was not made by a semantic asset.
    """
    name = asset.to_user_string()
    name = f"{name!r}" if partition is None else f"partition {partition!r} of {name!r}"
    failed = storage.failed(asset, partition)
    if failed is not None:
        rejects, facts, data = failed.rejects().collect(), failed.facts, None
        known, run_id = (facts.get("fingerprint", ""), facts.get("data_version", "")), failed.run_id
    else:
        version = storage.version(asset, partition)
        if version is None:
            raise ConfigurationError(f"Nothing was made of {name} yet: materialize it first.")
        try:
            rejects = scan(version.path("rejects")).collect()
        except FileNotFoundError as error:
            raise PlanError(f"{name} has no rejects: it was not made by an @ig.semantic_asset.") from error
        facts, data = version.facts, version.path("data")
        known, run_id = (version.fingerprint, version.data_version), version.run_id
    config = {option: facts[option] for option in ("limit", "model") if facts.get(option) is not None}
    return LastRun(
        name=name,
        published=failed is None,
        rejects=rejects,
        fingerprint=known[0],
        data_version=known[1],
        data=data,
        config=config,
        run_id=run_id,
    )


def changed_since(last: LastRun, frame: SemanticFrame, options: RunOptions) -> str:
    """What a run would change beside the rejects: a sentence; empty: nothing.

    Args:
        last: The run whose rejects are to be asked again.
        frame: The asset's plan over the rows that are there now.
        options: Those of the retry without ``retry_rejects``.
    """
    if last.fingerprint and frame.fingerprint() != last.fingerprint:
        return "its plan is another one now: a step, a prompt, a schema or a model changed"
    with tempfile.TemporaryDirectory(prefix="infergraph-retry-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data.parquet"
        open_requests = replay(frame, data, options)
        unexpected = open_requests - _different(last.rejects.filter(_NOT_REMEMBERED))
        if unexpected > 0:
            requests = "1 request" if unexpected == 1 else f"{unexpected:,} requests"
            return (
                f"{requests} beside the rejects would be made: rows came in or changed, were pending, or their stored "
                "answers do not hold any more"
            )
        if last.data_version and rows_digest(data) != last.data_version and not _others_are_equal(last, data):
            return "other rows would change too: what it reads, or what a plain step makes of it, is not what it was"
    return ""


def _others_are_equal(last: LastRun, data: Path) -> bool:
    """Whether all rows but the rejects are the same: what was rejected may have got its answer elsewhere."""
    if last.data is None:
        return False
    wanted = ~pl.col(ROW_ID).is_in(last.rejects["row_id"].implode())
    digests = []
    for number, rows in enumerate((scan(last.data), pl.scan_parquet(data, glob=False))):
        others = data.with_name(f"others-{number}.parquet")
        rows.filter(wanted).sink_parquet(others)
        digests.append(rows_digest(others))
    return digests[0] == digests[1]


def _different(rejects: pl.DataFrame) -> int:
    """Different requests behind rejects; one a row where the prompt does not tell: it is not kept, or has no image."""
    if rejects.is_empty():
        return 0
    untold = pl.col("prompt").is_null() | _NOT_SENT
    return rejects.select("operator", "prompt", pl.when(untold).then("row_id")).n_unique()
