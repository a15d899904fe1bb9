"""``infergraph run``: materialise assets with progress, and say what came of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from infergraph.cli import figures, screen
from infergraph.cli.guard import DEBUG_FLAG, debugging
from infergraph.cli.materialize import AssetOutcome, RunOutcome, check_partition, materialize
from infergraph.cli.progress import board_for
from infergraph.cli.project import Project, open_project
from infergraph.cli.published import version_of
from infergraph.cli.selection import select_assets
from infergraph.cli.spending import ask_above, confirm_spending
from infergraph.errors import PlanError, RunCancelled

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked of the semantic assets of one run; ``None`` and ``False`` leave it to the asset."""

    limit: int | None = None
    refresh: bool = False
    retry_rejects: bool = False
    retry_model: str | None = None
    model: str | None = None
    max_cost_usd: float | None = None
    own: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the function's own config, where one asset runs as it ran before."""

    def as_config(self) -> dict[str, Any]:
        """The values that were given, as a semantic asset's run config."""
        options = {name: value for name, value in asdict(self).items() if value is not None and value is not False}
        return {**options.pop("own"), **options}


def run(
    assets: Sequence[str],
    *,
    partition: str | None,
    options: Options,
    yes: bool,
    json: bool,
    ask_above_usd: float | None = None,
) -> int:
    """Materialise assets in one run.

    Args:
        assets: Selections as they were typed.
        partition: The partition's key; ``None`` for assets without partitions.
        options: For the semantic assets among them.
        yes: Make no estimate, and do not ask before calls that cost money.
        json: Write what came of it as JSON, and no progress.
        ask_above_usd: Ask before a run that may cost more than so many USD; ``None``: the project's amount.

    Returns:
        0 when every asset was made, else the exit code of what went wrong.
    """
    project = open_project()
    keys = select_assets(project.definitions, assets)
    config = config_for(project.definitions, keys, options.as_config())
    with project.instance() as instance:
        check_partition(project.definitions, keys, partition, instance)
        asks = sys.stdin.isatty() and not yes and not json
        _say_what_a_limit_replaces(project, keys, instance, partition, options, asks=asks, yes=yes)
        if not yes:
            above = ask_above(project.root, ask_above_usd)
            confirm_spending(project, keys, instance, partition, options, above=above, asks=asks, silent=json)
        board = board_for(screen.err(), silent=json)
        outcome = materialize(
            project.definitions,
            keys,
            instance=instance,
            board=board,
            partition=partition,
            op_config=config,
            quiet=not debugging(),
        )
    if json:
        screen.out().print(screen.as_json(as_dict(outcome)), soft_wrap=True)
    else:
        report(outcome, screen.out(), screen.err())
        if without_a_call(outcome):
            screen.out().print(_why_no_call(outcome), soft_wrap=True)
    return outcome.exit_code


def config_for(
    definitions: dg.Definitions, keys: Sequence[dg.AssetKey], values: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """The same run options for every semantic asset of a selection: op name -> config.

    Raises:
        PlanError: Options were given and none of the assets is semantic.
    """
    from infergraph.dagster.asset import semantic_asset_of

    graph = definitions.resolve_asset_graph()
    found = [graph.get(key).assets_def for key in keys]
    semantic = [definition.op.name for definition in found if semantic_asset_of(definition) is not None]
    if values and not semantic:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in values)
        raise PlanError(f"None of these assets calls a model, so {given} would do nothing: leave it out.")
    return dict.fromkeys(semantic, values) if values else {}


def semantic_keys(definitions: dg.Definitions, keys: Sequence[dg.AssetKey]) -> list[dg.AssetKey]:
    """Those of the assets that call models, in the same order."""
    from infergraph.dagster.asset import semantic_asset_of

    graph = definitions.resolve_asset_graph()
    return [key for key in keys if semantic_asset_of(graph.get(key).assets_def) is not None]


def _say_what_a_limit_replaces(
    project: Project,
    keys: Sequence[dg.AssetKey],
    instance: dg.DagsterInstance,
    partition: str | None,
    options: Options,
    *,
    asks: bool,
    yes: bool,
) -> None:
    """Whole results are not to be replaced by a first look at them without a word.

    Raises:
        PlanError: There is nobody to ask, and ``--yes`` was not given.
        RunCancelled: The answer was no.
    """
    import typer

    whole = _whole_versions(project, keys, instance, partition) if options.limit is not None else {}
    if not whole:
        return
    rows = ", ".join(f"{figures.plural(count, 'row')} of {name}" for name, count in whole.items())
    said = f"--limit {options.limit} replaces {rows}, published without a limit"
    if not asks and not yes:
        raise PlanError(f"{said}: add --yes if that is meant, or leave out --limit. Nothing was asked or replaced.")
    screen.err().print(f"{said}, by what is made of the first {figures.plural(options.limit or 0, 'row')}.")
    if asks and not typer.confirm("Go on?", err=True):
        raise RunCancelled("Nothing was asked and nothing was replaced.")


def _whole_versions(
    project: Project, keys: Sequence[dg.AssetKey], instance: dg.DagsterInstance, partition: str | None
) -> dict[str, int]:
    """Semantic assets whose published rows were made without a limit: name -> rows."""
    found = {key: version_of(project, key, partition, instance) for key in semantic_keys(project.definitions, keys)}
    return {
        key.to_user_string(): version.rows
        for key, version in found.items()
        if version is not None and version.facts.get("limit") is None
    }


def report(outcome: RunOutcome, out: Console, err: Console) -> None:
    """Write what came of a run: a line an asset, then failed checks and errors."""
    out.print(outcome_table(outcome.assets))
    for asset in outcome.assets:
        for check in asset.checks:
            if not check.passed:
                out.print(
                    Text(f"{check.severity} {asset.asset}, check {check.name}: {check.description}"), soft_wrap=True
                )
        if graded := asset.figure("checks_calls"):
            cost = figures.usd(asset.figure("checks_cost_usd"))
            out.print(f"{asset.asset}: its checks made {figures.plural(graded, 'call')} more, {cost}.", soft_wrap=True)
    report_failures(outcome, err)


def without_a_call(outcome: RunOutcome) -> bool:
    """Whether assets that call models were made, and neither they nor their checks made a call."""
    calls = sum(_total(outcome, name) for name in ("calls", "checks_calls"))
    return outcome.success and not calls and any(asset.semantic for asset in outcome.assets)


def _why_no_call(outcome: RunOutcome) -> str:
    rejected = _total(outcome, "rejected")
    if rejected:
        stored = figures.plural(_total(outcome, "store_hits"), "answer")
        return f"No call was made: {stored} from the store, {figures.plural(rejected, 'row')} rejected as before."
    if not _total(outcome, "store_hits"):
        return "No call was made: there was nothing to ask."
    return "No call was made: every answer was in the store."


def _total(outcome: RunOutcome, name: str) -> int:
    return sum(int(asset.figure(name) or 0) for asset in outcome.assets)


def report_failures(outcome: RunOutcome, err: Console) -> None:
    """One message an asset that failed; a bug in its code with the exception's class, and how to see where."""
    for asset in outcome.assets:
        if asset.state == "failed":
            what = f"{asset.error}: {asset.message}" if asset.is_bug else asset.message
            hint = f" To see where, add {DEBUG_FLAG}." if asset.is_bug and not debugging() else ""
            err.print(Text.assemble(("Error: ", "bold red"), f"{asset.asset}: {what}{hint}"), soft_wrap=True)


def outcome_table(assets: Sequence[AssetOutcome]) -> Any:
    """One line an asset: state, rows, calls, tokens, cost and time."""
    rows = []
    for asset in assets:
        tokens = (asset.figure("input_tokens"), asset.figure("output_tokens"))
        semantic = [
            *(figures.count(asset.figure(name)) for name in ("calls", "store_hits", "rejected")),
            "/".join(figures.count(count) for count in tokens),
            figures.usd(asset.figure("cost_usd")),
        ]
        rows.append(
            [
                asset.asset,
                asset.state,
                "" if asset.rows is None else figures.count(asset.rows),
                *(semantic if asset.semantic else [""] * 5),
                figures.seconds(asset.seconds) if asset.state == "made" else "",
            ]
        )
    columns: dict[str, screen.Justify] = {"asset": "left", "": "left"}
    columns |= dict.fromkeys(("rows", "calls", "from store", "rejected", "tokens in/out", "cost", "time"), "right")
    return screen.table(columns, rows)


def as_dict(outcome: RunOutcome) -> dict[str, Any]:
    """What came of a run as plain data."""
    assets = []
    for asset in outcome.assets:
        figures_ = {
            name.removeprefix("infergraph/"): value
            for name, value in asset.metadata.items()
            if name.startswith("infergraph/") and isinstance(value, int | float)
        }
        assets.append(
            {
                "asset": asset.asset,
                "state": asset.state,
                "rows": asset.rows,
                "seconds": asset.seconds,
                "error": asset.error or None,
                "message": asset.message or None,
                "uri": asset.metadata.get("dagster/uri"),
                "usage": figures_ if asset.semantic else None,
                "checks": [asdict(check) for check in asset.checks],
            }
        )
    return {
        "run_id": outcome.run_id,
        "success": outcome.success,
        "partition": outcome.partition,
        "seconds": outcome.seconds,
        "assets": assets,
    }
