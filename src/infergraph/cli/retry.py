"""``infergraph retry``: the rejected rows of an asset asked again, all other rows as they were."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.text import Text

from infergraph.cli import figures, screen
from infergraph.cli.guard import debugging
from infergraph.cli.materialize import RunOutcome, check_partition, materialize
from infergraph.cli.progress import board_for
from infergraph.cli.project import Project, open_project
from infergraph.cli.published import storage_of
from infergraph.cli.run import Options, as_dict, config_for, report, semantic_keys
from infergraph.cli.selection import one_asset
from infergraph.cli.spending import ask_above, confirm_spending
from infergraph.errors import PlanError

if TYPE_CHECKING:
    import dagster as dg

    from infergraph.dagster.retrying import LastRun


def retry(asset: str, *, partition: str | None, model: str | None, yes: bool, json: bool) -> int:
    """Ask again for the rows that the latest run rejected, and publish the asset anew.

    Args:
        asset: The asset's name.
        partition: The partition's key; ``None`` for an asset without partitions.
        model: Who is asked; ``None``: the model that was.
        yes: Do not ask before calls that cost money.
        json: Write what came of it as JSON, and no progress.

    Returns:
        0 when the asset was published, or had no rejects; else the exit code of what went wrong.

    Raises:
        PlanError: More than the rejects would be asked or changed.
    """
    project = open_project()
    key = one_asset(project.definitions, asset)
    if not semantic_keys(project.definitions, [key]):
        raise PlanError(f"{asset!r} calls no model, so it has no rejects to ask again.")
    with project.instance() as instance:
        check_partition(project.definitions, [key], partition, instance)
        last = _last_run(project, key, partition, instance)
        if last.rejects.is_empty():
            return _nothing_to_do(asset, partition, json=json)
        if not json:
            asked = figures.plural(last.rejects.height, "reject")
            screen.err().print(f"{asset}: {asked}; looking whether anything else would change", soft_wrap=True)
        op = project.definitions.resolve_asset_graph().get(key).assets_def.op.name
        own = last.own_config(instance, op)
        options = Options(**last.config, retry_rejects=True, retry_model=model, own=own)
        _refuse_other_changes(project, key, partition, instance, last, options)
        if not yes:
            above, asks = ask_above(project.root, None), sys.stdin.isatty() and not json
            confirm_spending(project, [key], instance, partition, options, above=above, asks=asks, silent=json)
        outcome = materialize(
            project.definitions,
            [key],
            instance=instance,
            board=board_for(screen.err(), silent=json),
            partition=partition,
            op_config=config_for(project.definitions, [key], options.as_config()),
            quiet=not debugging(),
        )
    if json:
        screen.out().print(screen.as_json({**as_dict(outcome), "retry": _counts(last, outcome)}), soft_wrap=True)
    else:
        report(outcome, screen.out(), screen.err())
        screen.out().print(_said(asset, partition, _counts(last, outcome)), soft_wrap=True)
    return outcome.exit_code


def _last_run(project: Project, key: dg.AssetKey, partition: str | None, instance: dg.DagsterInstance) -> LastRun:
    from infergraph.dagster.retrying import last_run

    with storage_of(project, key, instance) as storage:
        if storage is None:
            raise PlanError(f"{key.to_user_string()!r} has no rejects: its IO manager is not infergraph's.")
        return last_run(storage, key, partition)


def _refuse_other_changes(
    project: Project,
    key: dg.AssetKey,
    partition: str | None,
    instance: dg.DagsterInstance,
    last: LastRun,
    options: Options,
) -> None:
    from infergraph.dagster.planning import planned
    from infergraph.dagster.retrying import changed_since

    config = options.as_config()
    with planned(project.definitions, key, instance=instance, partition=partition, config=config) as (frame, chosen):
        if chosen.retry_model is not None:
            frame.session.model_name(chosen.retry_model)
        changed = changed_since(last, frame, replace(chosen, retry_rejects=False, retry_model=None))
    if changed:
        where = "" if partition is None else f" --partition {partition}"
        raise PlanError(
            f"{last.name} cannot be made again with its rejects alone: {changed}. Nothing was asked. To ask for "
            f"everything that is open, type: infergraph run {key.to_user_string()}{where} --retry-rejects"
        )


def _nothing_to_do(asset: str, partition: str | None, *, json: bool) -> int:
    where = asset if partition is None else f"{asset}, partition {partition}"
    if json:
        none = {"rejects": 0, "requests": 0, "calls": 0, "left": 0}
        said: dict[str, Any] = {
            "run_id": None,
            "success": True,
            "partition": partition,
            "seconds": 0.0,
            "assets": [],
            "retry": none,
        }
        screen.out().print(screen.as_json(said), soft_wrap=True)
    else:
        screen.out().print(Text(f"{where}: no rejects, so there is nothing to ask again."), soft_wrap=True)
    return 0


def _counts(last: LastRun, outcome: RunOutcome) -> dict[str, Any]:
    """Rejects before, the different requests behind them, calls that were made, and rejects that are left."""
    (made,) = outcome.assets
    calls, left = made.figure("calls"), made.figure("rejected")
    return {"rejects": last.rejects.height, "requests": last.requests, "calls": calls, "left": left}


def _said(asset: str, partition: str | None, counts: dict[str, Any]) -> Text:
    asked = figures.plural(counts["rejects"], "reject")
    if counts["calls"] is None or counts["left"] is None:
        return Text(f"{asked} were to be asked again.")
    where = asset if partition is None else f"{asset} --partition {partition}"
    left = f"{counts['left']:,} left: infergraph rejects {where}" if counts["left"] else "none left"
    if not counts["calls"]:
        stored = max(0, counts["rejects"] - counts["left"])
        taken = f"{stored:,} had an answer in the store by now" if stored else "none can be sent"
        return Text(f"{asked}, and no call was made: {taken}; {left}")
    return Text(f"{asked} asked again with {figures.plural(counts['calls'], 'call')}; {left}")
