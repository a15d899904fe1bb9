"""``infergraph rejects``: the rows that no model could answer, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from rich.console import Group, RenderableType
from rich.text import Text

from infergraph.cli import figures, screen
from infergraph.cli.materialize import check_partition
from infergraph.cli.project import Project, open_project
from infergraph.cli.published import failed_run_of
from infergraph.cli.selection import one_asset
from infergraph.errors import PlanError, did_you_mean

if TYPE_CHECKING:
    import dagster as dg

    from infergraph.dagster.failed import FailedRun

LONG = ("prompt", "response")
SHOWN = 50


def rejects(
    asset: str, *, partition: str | None, reason: str | None, row: str | None, published: bool, json: bool
) -> int:
    """Print the rejects of the latest run: of the rows that are published now, or of a run that was not published.

    Args:
        asset: The asset's name.
        partition: The partition's key; ``None`` for an asset without partitions.
        reason: Only these; ``None``: all.
        row: Only the rejects whose row id begins like this, in full; ``None``: all, in short.
        published: Those of the published rows, although a later run failed.
        json: Write JSON instead of a table.

    Returns:
        0: having rejects is no error.
    """
    project = open_project()
    key = one_asset(project.definitions, asset)
    with project.instance() as instance:
        check_partition(project.definitions, [key], partition, instance)
        failed = None if published else failed_run_of(project, key, partition, instance)
        found = load_rejects(project, key, partition, instance) if failed is None else failed.rejects().collect()
    chosen = choose(found, reason=reason, row=row)
    out = screen.out()
    if json:
        said = {"asset": asset, "partition": partition, "failed_run": failed and failed.run_id, "rejects": chosen}
        out.print(screen.as_json(said), soft_wrap=True)
    else:
        if failed is not None:
            out.print(_of_failed(failed), soft_wrap=True)
        out.print(full(chosen) if row else brief(chosen, asset=asset, partition=partition))
    return 0


def _of_failed(failed: FailedRun) -> Text:
    return Text(
        f"The latest run ({failed.run_id[:8]}, {failed.failed_at:%Y-%m-%d %H:%M} UTC) was not published: "
        f"{failed.why}. These are its rejects; those of the published rows: add --published"
    )


def load_rejects(
    project: Project, key: dg.AssetKey, partition: str | None, instance: dg.DagsterInstance
) -> pl.DataFrame:
    """The rejects of the current version of an asset or partition, through its IO manager.

    Raises:
        PlanError: The asset is not a semantic one, or another IO manager holds it.
        ConfigurationError: Nothing is published yet.
    """
    from infergraph.dagster.storage import PART

    with project.definitions.get_asset_value_loader(instance) as loader:
        loaded = loader.load_asset_value(
            key, python_type=pl.DataFrame, partition_key=partition, input_definition_metadata={PART: "rejects"}
        )
    if not isinstance(loaded, pl.DataFrame) or "reason" not in loaded.columns:
        raise PlanError(f"{key.to_user_string()!r} has no rejects: its IO manager is not infergraph's.")
    return loaded


def choose(found: pl.DataFrame, *, reason: str | None, row: str | None) -> pl.DataFrame:
    """The rejects that were asked for.

    Raises:
        PlanError: No reject has this reason or row id.
    """
    reasons = found["reason"].unique().sort().to_list()
    if reason is not None:
        if found.height and reason not in reasons:
            raise PlanError(f"No reject has the reason {reason!r}. {did_you_mean(reason, reasons)}")
        found = found.filter(pl.col("reason") == reason)
    if row is not None:
        chosen = found.filter(pl.col("row_id").cast(pl.String).str.starts_with(row))
        if chosen.is_empty():
            raise PlanError(f"No reject has a row id that begins with {row!r}: leave out --row to see them all.")
        return chosen
    return found


def brief(found: pl.DataFrame, *, asset: str, partition: str | None) -> RenderableType:
    """How many rejects of each reason, and one line for each of the first ones."""
    where = asset if partition is None else f"{asset}, partition {partition}"
    if found.is_empty():
        return Text(f"{where}: no rejects.")
    counts = found["reason"].value_counts(sort=True)
    said = ", ".join(f"{number:,} {reason}" for reason, number in counts.iter_rows())
    heading = f"{where}: {figures.plural(found.height, 'reject')} ({said})"
    table = screen.frame_table(found.drop(LONG, strict=False), most=SHOWN)
    hint = (
        "One of them in full: add --row and the beginning of its row_id. Ask again: infergraph run ... --retry-rejects"
    )
    return Group(Text(heading), table, Text(hint, style="dim"))


def full(found: pl.DataFrame) -> RenderableType:
    """Everything that is known of a few rejects, prompt and response included."""
    parts: list[RenderableType] = []
    for row in found.head(SHOWN).iter_rows(named=True):
        short = {name: screen.printable(value, most=None) for name, value in row.items() if name not in LONG}
        parts += [Text(f"{name}: {value}") for name, value in short.items()]
        for name in LONG:
            lines = str(row.get(name) or "(nothing)").splitlines()
            parts += [Text(f"{name}:"), *(Text(f"  {screen.printable_line(line)}") for line in lines)]
        parts.append(Text())
    return Group(*parts)
