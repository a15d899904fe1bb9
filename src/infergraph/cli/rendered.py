"""Prompts of rejects that the store was told not to keep: rendered again from the rows where they still exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import dagster as dg

    from infergraph.cli.project import Project

NOTE = "(not kept; rendered again from the row as it is now)"
_MOST = 50


def with_prompts(
    project: Project, key: dg.AssetKey, partition: str | None, instance: dg.DagsterInstance, found: pl.DataFrame
) -> pl.DataFrame:
    """Rejects with the prompts that were not kept, as far as they can be rendered again.

    Args:
        project: The code location.
        key: The asset.
        partition: Its partition, where it has one.
        instance: Knows the dynamic partitions.
        found: Rejects; those with a prompt are left alone.

    Returns:
        The same rows; a prompt that cannot be rendered again stays null.
    """
    from infergraph.dagster.layout import Place
    from infergraph.dagster.prompts_again import PromptsAgain
    from infergraph.frame.asking import prompt_text

    if not found["prompt"].null_count():
        return found
    prompts: list[str | None] = found["prompt"].to_list()
    place = Place(asset=tuple(key.path), partition=partition)
    with PromptsAgain(project.definitions, instance) as again:
        for number, row in enumerate(found.head(_MOST).iter_rows(named=True)):
            if row["prompt"] is None:
                request = again.request(place, row["operator"], row["row_id"], message=row["message"] or "")
                prompts[number] = None if request is None else f"{NOTE}\n{prompt_text(request)}"
    return found.with_columns(pl.Series("prompt", prompts, dtype=pl.String))
