"""``infergraph plan``: what a run of semantic assets would call, cost and take, without calling a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from infergraph.cli import figures, screen
from infergraph.cli.materialize import check_partition
from infergraph.cli.project import open_project
from infergraph.cli.run import Options, semantic_keys
from infergraph.cli.selection import select_assets
from infergraph.errors import PlanError

if TYPE_CHECKING:
    from infergraph.dagster.chain import AssetEstimate
    from infergraph.frame.estimate import Estimate, OperatorEstimate


def plan(assets: Sequence[str], *, partition: str | None, options: Options, json: bool) -> int:
    """Print the estimate of semantic assets.

    Args:
        assets: Selections as they were typed; assets that call no model are passed over.
        partition: The partition's key; ``None`` for assets without partitions.
        options: As a run would get them.
        json: Write JSON instead of a table.

    Returns:
        0, or the exit code of the first asset's problem that could not be estimated.
    """
    from infergraph.dagster.chain import estimate_selection

    project = open_project()
    chosen = select_assets(project.definitions, assets)
    keys = semantic_keys(project.definitions, chosen)
    if not keys:
        names = ", ".join(repr(key.to_user_string()) for key in chosen)
        raise PlanError(f"No model is called by {names}: there is nothing to estimate.")
    with project.instance() as instance:
        check_partition(project.definitions, keys, partition, instance)
        parts = estimate_selection(
            project.definitions, chosen, instance=instance, partition=partition, config=options.as_config()
        )
    shown: object = screen.as_json(as_dict(parts)) if json else rendered(parts)
    screen.out().print(shown, soft_wrap=json)
    return next((part.exit_code for part in parts if part.estimate is None), 0)


def rendered(parts: Sequence[AssetEstimate]) -> RenderableType:
    """A table of operators with a total, the assumptions in words, and what could not be estimated."""
    from infergraph.dagster.chain import said, total

    rows: list[list[str]] = []
    known = [(part.asset, part.estimate) for part in parts if part.estimate is not None]
    for asset, estimate in known:
        rows += [[asset, f"{each.operator} ({each.model})", *_spans(each)] for each in estimate.operators]
        if len(estimate.operators) > 1 or len(known) == 1:
            rows.append([asset, "total", *_spans(estimate)])
    if len(known) > 1:
        rows.append(["all", "total", *_spans(total(parts))])
    columns: dict[str, screen.Justify] = {"asset": "left", "step (model)": "left"}
    columns |= dict.fromkeys(("rows", "calls", "from store", "tokens in", "tokens out", "cost", "time"), "right")
    lines: list[RenderableType] = [screen.table(columns, rows)] if rows else []
    lines += [Text(f"- {text}", style="dim") for text in said(parts)]
    lines += [Text(f"{part.asset}: cannot be estimated. {part.problem}") for part in parts if part.estimate is None]
    return Group(*lines)


def _spans(part: OperatorEstimate | Estimate) -> list[str]:
    counts = [
        figures.span(figures.count(getattr(part, f"{name}_low")), figures.count(getattr(part, f"{name}_high")))
        for name in ("rows", "calls", "store_hits", "input_tokens", "output_tokens")
    ]
    cost = figures.span(figures.usd(part.cost_usd_low), figures.usd(part.cost_usd_high))
    time = figures.span(figures.seconds(part.seconds_low), figures.seconds(part.seconds_high))
    return [*counts, cost, time]


def as_dict(parts: Sequence[AssetEstimate]) -> dict[str, Any]:
    """The estimates as plain data; ``total`` is the sum over the assets that could be estimated."""
    from infergraph.dagster.chain import total

    return {
        "total": total(parts).as_dict() if any(part.estimate is not None for part in parts) else None,
        "assets": [
            {
                "asset": part.asset,
                "estimate": None if part.estimate is None else part.estimate.as_dict(),
                "problem": part.problem or None,
            }
            for part in parts
        ],
    }
