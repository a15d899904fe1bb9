"""``infergraph rejects``: the rows that no model could answer, and why."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
from polars.exceptions import PolarsError
from rich.console import Console, Group, RenderableType
from rich.text import Text

from infergraph.cli import figures, screen
from infergraph.cli.materialize import check_partition
from infergraph.cli.project import Project, open_project
from infergraph.cli.published import failed_run_of
from infergraph.cli.rendered import with_prompts
from infergraph.cli.selection import one_asset
from infergraph.errors import PlanError, did_you_mean

if TYPE_CHECKING:
    import dagster as dg

    from infergraph.dagster.failed import FailedRun

LONG = ("prompt", "response")
SHOWN = 50


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which rejects were asked for; ``None``: all."""

    reason: str | None = None
    """Only these."""
    where: str | None = None
    """Only those for which this SQL condition is true."""
    row: str | None = None
    """Only those whose row id begins like this, in full."""


def rejects(asset: str, *, partition: str | None, chosen: Chosen, step: bool, published: bool, json: bool) -> int:
    """Print the rejects of the latest run: of the rows that are published now, or of a run that was not published.

    Args:
        asset: The asset's name.
        partition: The partition's key; ``None`` for an asset without partitions.
        chosen: Which of them.
        step: Open them one by one, on a terminal.
        published: Those of the published rows, although a later run failed.
        json: Write JSON instead of a table.

    Returns:
        0: having rejects is no error.
    """
    if step and (json or not sys.stdin.isatty()):
        raise PlanError("--open waits for keys on a terminal. Leave it out, or open one reject with --row ID.")
    project = open_project()
    key = one_asset(project.definitions, asset)
    with project.instance() as instance:
        check_partition(project.definitions, [key], partition, instance)
        failed = None if published else failed_run_of(project, key, partition, instance)
        found = load_rejects(project, key, partition, instance) if failed is None else failed.rejects().collect()
        rows = choose(found, chosen)
        if step or chosen.row is not None:
            rows = with_prompts(project, key, partition, instance, rows)
    out = screen.out()
    if json:
        said = {"asset": asset, "partition": partition, "failed_run": failed and failed.run_id, "rejects": rows}
        out.print(screen.as_json(said), soft_wrap=True)
    else:
        if failed is not None:
            out.print(_of_failed(failed), soft_wrap=True)
        if step and not rows.is_empty():
            step_through(rows, out)
        else:
            out.print(full(rows) if chosen.row else brief(rows, asset=asset, partition=partition))
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


def choose(found: pl.DataFrame, chosen: Chosen) -> pl.DataFrame:
    """The rejects that were asked for.

    Raises:
        PlanError: No reject has this reason or row id, or the condition is none.
    """
    reason, row = chosen.reason, chosen.row
    reasons = found["reason"].unique().sort().to_list()
    if reason is not None:
        if found.height and reason not in reasons:
            raise PlanError(f"No reject has the reason {reason!r}. {did_you_mean(reason, reasons)}")
        found = found.filter(pl.col("reason") == reason)
    if chosen.where is not None:
        found = _matching(found, chosen.where)
    if row == "":
        raise PlanError("--row '' is the beginning of every row id: give the first characters of one, or leave it out.")
    if row is not None:
        opened = found.filter(pl.col("row_id").cast(pl.String).str.starts_with(row))
        if opened.is_empty():
            raise PlanError(f"No reject has a row id that begins with {row!r}: leave out --row to see them all.")
        return opened
    return found


def _matching(found: pl.DataFrame, where: str) -> pl.DataFrame:
    """The rows for which a SQL condition is true."""
    columns = ", ".join(found.columns)
    try:
        condition = pl.sql_expr(where)
        dtypes = list(found.lazy().select(condition).collect_schema().values())
        rows = found.filter(condition) if dtypes == [pl.Boolean()] else None
    except PolarsError as error:
        said = str(error).splitlines()[0]
        raise PlanError(f"--where {where!r}: {said}. Write a condition over the columns {columns}.") from error
    if rows is None:
        raise PlanError(f'--where {where!r} is no condition: write one such as "attempts > 1", over {columns}.')
    return rows


def brief(found: pl.DataFrame, *, asset: str, partition: str | None) -> RenderableType:
    """How many rejects of each reason, and one line for each of the first ones."""
    where = asset if partition is None else f"{asset}, partition {partition}"
    if found.is_empty():
        return Text(f"{where}: no rejects.")
    counts = found["reason"].value_counts(sort=True)
    said = ", ".join(f"{number:,} {reason}" for reason, number in counts.iter_rows())
    heading = f"{where}: {figures.plural(found.height, 'reject')} ({said})"
    table = screen.frame_table(found.drop(LONG, strict=False), most=SHOWN)
    place = asset if partition is None else f"{asset} --partition {partition}"
    hint = (
        "One of them in full: add --row and the beginning of its row_id; one by one: add --open. "
        f"Ask again: infergraph retry {place}"
    )
    return Group(Text(heading), table, Text(hint, style="dim"))


def full(found: pl.DataFrame) -> RenderableType:
    """Everything that is known of a few rejects, prompt and response included."""
    parts: list[RenderableType] = []
    for row in found.head(SHOWN).iter_rows(named=True):
        short = {name: screen.printable(value, most=None) for name, value in row.items() if name not in LONG}
        parts += [Text(f"{name}: {value}") for name, value in short.items()]
        for name in LONG:
            nothing = "(not kept)" if name == "prompt" and row.get(name) is None else "(nothing)"
            lines = str(row.get(name) or nothing).splitlines()
            parts += [Text(f"{name}:"), *(Text(f"  {screen.printable_line(line)}") for line in lines)]
        parts.append(Text())
    return Group(*parts)


def step_through(found: pl.DataFrame, out: Console) -> None:
    """Open rejects one by one, as keys are typed; ends after the last one, at ``q`` or at the end of input.

    Args:
        found: At least one reject.
        out: A terminal.
    """
    import typer

    place = 0
    while place < found.height:
        out.rule(f"reject {place + 1} of {found.height}", align="left")
        out.print(full(found[place : place + 1]))
        try:
            typed = typer.prompt("n: next, p: previous, q: quit", default="n", show_default=False)
        except typer.Abort:
            return
        key = typed.strip().lower()[:1]
        if key == "q":
            return
        place = max(0, place - 1) if key == "p" else place + 1
