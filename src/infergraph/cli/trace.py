"""``infergraph trace``: where a row of an asset comes from, or what it became."""

from __future__ import annotations

from rich.text import Text

from infergraph.cli import screen
from infergraph.cli.project import open_project
from infergraph.errors import PlanError


def trace(
    asset: str, *, where: str | None, row: str | None, partition: str | None, forward: bool, most: int, json: bool
) -> int:
    """Print the traces of rows of a published asset.

    Args:
        asset: The asset's name.
        where: A condition on its columns, in SQL.
        row: A row id, or how it begins.
        partition: The partition's key; ``None``: all that are published.
        forward: What the rows became, instead of where they come from.
        most: Rows that are shown.
        json: Write JSON instead of trees.

    Returns:
        0.

    Raises:
        PlanError: Neither a condition nor a row id, or both.
    """
    if (where is None) == (row is None):
        raise PlanError(f'Say which row to trace: infergraph trace {asset} --where "id = 17", or --row ID; not both.')
    project = open_project()
    from infergraph.dagster import trace as traced

    with project.instance() as instance:
        code = project.definitions
        found = traced(asset, where, row, partition, forward=forward, definitions=code, instance=instance, most=most)
    out = screen.out()
    if json:
        out.print(screen.as_json({"asset": asset, "forward": forward, **found.as_dict()}), soft_wrap=True)
        return 0
    for line in str(found).splitlines():
        # Prompts and responses are strangers' texts.
        out.print(Text(screen.printable_line(line)), soft_wrap=True)
    if found.matched > len(found):
        out.print(Text("To see more: --most N, or a narrower --where", style="dim"), soft_wrap=True)
    return 0
