"""``infergraph demo``: the main job on real input, with nothing but what is installed.

It materialises the project's group ``packages`` through Dagster, as the UI would, and then says what
came out, what it cost, how often the models were right, and what to type next.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console

from infergraph.cli import figures, screen
from infergraph.cli.guard import debugging
from infergraph.cli.materialize import CheckOutcome, RunOutcome, materialize
from infergraph.cli.models import deployment, named
from infergraph.cli.progress import board_for
from infergraph.cli.project import Project, open_project
from infergraph.cli.rejects import load_rejects
from infergraph.cli.run import Options, config_for, outcome_table, report_failures
from infergraph.cli.spending import ask_above, confirm_spending
from infergraph.errors import ConfigurationError, PlanError
from infergraph.models.model import Model, Tokens

if TYPE_CHECKING:
    import dagster as dg

GROUP = "packages"
SOURCE = "installed_packages"
RESULT = "package_report"
COLUMNS = ("package", "purpose", "area", "family", "licence", "declared")
COMPARED_WITH = "openai:gpt-5-mini"
NEXT = {
    "infergraph demo": "again: no call is made, every answer is kept",
    "infergraph dev": "the same assets and runs in the Dagster UI",
    "infergraph plan group:packages": "what a run would call and cost",
    "infergraph rejects package_facts": "rows that no model could answer",
    "infergraph models": "the models of resources/, where API models are added",
}
AFTER_FAILURE = {"infergraph demo": "goes on from here: what was answered is not asked again"}


def demo(*, packages: str, model: str | None, yes: bool = False) -> int:
    """Audit the packages installed here and say what came of it.

    Args:
        packages: How many, by name: a number of 1 or more, or ``all``.
        model: A model name of the deployment, or ``provider:model-id``; ``None``: the deployment's default.
        yes: Do not ask before calls that cost money.

    Returns:
        0 when every asset was made, else the exit code of what went wrong.
    """
    many = how_many(packages)
    project = open_project()
    keys = _keys(project)
    options = Options(model=model)
    if model is not None:
        named(model, deployment(project))  # before anything is made
    config = dict(config_for(project.definitions, keys, options.as_config()))
    config[SOURCE] = {"packages": many}
    out, err = screen.out(), screen.err()
    with project.instance() as instance:
        if not yes and sys.stdin.isatty():
            above = ask_above(project.root, None)
            confirm_spending(project, keys, instance, None, options, above=above, asks=True, silent=True)
        err.print(_opening(many, model), soft_wrap=True)
        outcome = materialize(
            project.definitions,
            keys,
            instance=instance,
            board=board_for(err),
            op_config=config,
            quiet=not debugging(),
        )
        if outcome.success:
            _result(project, instance, out)
        _rejects(project, keys, outcome, instance, out)
    _agreement(outcome, out)
    _costs(outcome, out)
    report_failures(outcome, err)
    _next(outcome, out)
    return outcome.exit_code


def how_many(packages: str) -> int | None:
    """The number of packages that was typed; ``None`` for all.

    Raises:
        PlanError: It is neither a number of 1 or more nor ``all``.

    Example:
        >>> how_many("12"), how_many("all")
        (12, None)
    """
    if packages == "all":
        return None
    if not packages.isdecimal() or int(packages) < 1:
        raise PlanError(f"--packages {packages}: give a number of 1 or more, or all, for example --packages 30")
    return int(packages)


def _opening(many: int | None, model: str | None) -> str:
    what = "all Python packages" if many is None else figures.plural(many, "Python package")
    how = "The embedded model reads on this machine: no key, no network." if model is None else f"Model: {model}."
    return f"Auditing {what} installed here. {how}"


def _keys(project: Project) -> list[dg.AssetKey]:
    graph = project.definitions.resolve_asset_graph()
    keys = [key for key in graph.toposorted_asset_keys if graph.get(key).group_name == GROUP]
    names = {key.to_user_string() for key in keys}
    if not {SOURCE, RESULT} <= names:
        raise ConfigurationError(
            f"{str(project.root)!r} has no asset group {GROUP!r} with {SOURCE!r} and {RESULT!r}: the demo is part of "
            "Infergraph's own repository. In your project, type: infergraph run ASSET"
        )
    return keys


def _result(project: Project, instance: dg.DagsterInstance, out: Console) -> None:
    loaded: Any = project.definitions.load_asset_value(RESULT, python_type=pl.DataFrame, instance=instance)
    columns = [name for name in COLUMNS if name in loaded.columns] or loaded.columns
    out.print(screen.frame_table(loaded.select(columns), most=30))
    if loaded.height > 30:
        out.print(f"... and {loaded.height - 30:,} more rows in {RESULT}.")


def _rejects(
    project: Project, keys: Sequence[dg.AssetKey], outcome: RunOutcome, instance: dg.DagsterInstance, out: Console
) -> None:
    with_rejects = {asset.asset for asset in outcome.assets if asset.state == "made" and asset.figure("rejected")}
    if not with_rejects and outcome.success:
        out.print("Rejects: none.")
    for key in keys:
        if key.to_user_string() in with_rejects:
            found = load_rejects(project, key, None, instance)
            out.print(f"Rejects of {key.to_user_string()}, set aside: {figures.plural(found.height, 'row')}")
            columns = [name for name in ("package", "operator", "reason", "message") if name in found.columns]
            out.print(screen.frame_table(found.select(columns), most=10))


def _agreement(outcome: RunOutcome, out: Console) -> None:
    """How often the models agree with what the packages declare, as the warning check found it."""
    for asset in outcome.assets:
        for check in asset.checks:
            if "accuracy" in check.metadata:
                out.print(f"Checked against the packages' own metadata. {check.description}", soft_wrap=True)
                _disagreeing(check, out)


def _disagreeing(check: CheckOutcome, out: Console) -> None:
    wrong = check.metadata.get("disagreeing")
    rows = wrong if isinstance(wrong, list) else [wrong] if isinstance(wrong, dict) else []
    for row in rows[:1]:
        parts = ", ".join(f"{name} {screen.printable(value)}" for name, value in row.items())
        out.print(f"A row that disagrees: {parts}", soft_wrap=True)


def _costs(outcome: RunOutcome, out: Console) -> None:
    out.print(outcome_table(outcome.assets))
    calls = int(outcome.total("calls") or 0)
    semantic = [asset for asset in outcome.assets if asset.semantic]
    if not calls:
        if semantic:
            out.print("No call was made: every answer was in the store.")
        return
    tokens = Tokens(input=int(outcome.total("input_tokens") or 0), output=int(outcome.total("output_tokens") or 0))
    cost = outcome.total("cost_usd")
    elsewhere, name = api_cost(tokens), Model(COMPARED_WITH).model_id
    other = "" if elsewhere is None else f"; on {name} it would have been about {figures.usd(elsewhere)}"
    out.print(
        f"{figures.plural(calls, 'call')}, {tokens.input:,} tokens read, {tokens.output:,} written, in "
        f"{figures.seconds(outcome.seconds)}. Cost: {figures.usd(cost)}{other}.",
        soft_wrap=True,
    )


def api_cost(tokens: Tokens) -> Decimal | None:
    """What these tokens would cost in USD on a small API model; ``None``: its price is not known.

    Example:
        >>> api_cost(Tokens(input=1_000_000, output=0))
        Decimal('0.25')
    """
    from infergraph.models.prices import price_of
    from infergraph.records import usd

    # A million separate requests are not one long one, which some models charge more for: the base price counts.
    price = price_of(Model(COMPARED_WITH))
    return None if price is None else usd(price.cost_nano_usd(tokens))


def _next(outcome: RunOutcome, out: Console) -> None:
    result = next((asset for asset in outcome.assets if asset.asset == RESULT), None)
    if result is not None and "dagster/uri" in result.metadata:
        out.print(f"The result: {result.metadata['dagster/uri']}", soft_wrap=True)
    out.print("Next:")
    for command, what in (NEXT if outcome.success else NEXT | AFTER_FAILURE).items():
        out.print(f"  {command:<34} {what}", soft_wrap=True)
