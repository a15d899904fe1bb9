"""The commands, their options and their help; each imports what it needs when it runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from infergraph.cli.guard import DEBUG_FLAG, DEBUG_VARIABLE, guarded, plain_warnings

app = typer.Typer(
    name="infergraph",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog="Begin with: infergraph demo",
)

Assets = Annotated[
    list[str], typer.Argument(help="Asset names, or selections as in Dagster: a, a+, +a, group:x.", show_default=False)
]
Asset = Annotated[str, typer.Argument(help="The asset's name; parts separated by /.", show_default=False)]
Partition = Annotated[str | None, typer.Option(help="Key of the partition.", show_default=False)]
ModelName = Annotated[
    str | None,
    typer.Option(help="A model name of resources/, or provider:model-id, for this run.", show_default=False),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Take only the first rows.", show_default=False)]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask before calls cost money, or a part replaces the whole.")
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs instead of tables.")]


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option(DEBUG_FLAG, help=f"Show tracebacks and Dagster's log; also {DEBUG_VARIABLE}=1.")
    ] = False,
) -> None:
    """Model calls as data assets: incremental, resumable, validated, priced."""


@app.command(epilog="Example: infergraph demo --packages 30")
def demo(
    packages: Annotated[str, typer.Option(help="How many installed packages to audit: a number, or all.")] = "12",
    model: ModelName = None,
    yes: Yes = False,
) -> None:
    """Audit the Python packages installed on this machine, with the embedded model: no key, no network."""
    from infergraph.cli.demo import demo as work

    _leave(lambda: work(packages=packages, model=model, yes=yes))


@app.command(epilog="Example: infergraph init my-project")
def init(
    name: Annotated[str, typer.Argument(help="The folder to make; its last part is the name.", show_default=False)],
) -> None:
    """Make a project: the three rooms, one semantic asset with a test, all of which runs at once."""
    from infergraph.cli.init import init as work

    _leave(lambda: work(name))


@app.command(epilog="Example: infergraph dev --port 3001")
def dev(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the web server.")] = 3000,
    host: Annotated[str, typer.Option(help="Address that the web server listens on.")] = "127.0.0.1",
) -> None:
    """Start the Dagster UI and its daemon on this project's state; Ctrl-C stops both."""
    from infergraph.cli.dev import dev as work

    _leave(lambda: work(port=port, host=host))


@app.command(epilog="Example: infergraph run package_facts+ --max-cost-usd 2")
def run(
    assets: Assets,
    partition: Partition = None,
    limit: Limit = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask again where the store has an answer, and replace it.")
    ] = False,
    retry_rejects: Annotated[
        bool, typer.Option("--retry-rejects", help="Ask again for rows that were rejected before.")
    ] = False,
    model: ModelName = None,
    max_cost_usd: Annotated[
        float | None, typer.Option(min=0, help="Stop asking when an asset has cost this much.", show_default=False)
    ] = None,
    ask_above: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="USD",
            help="Ask before it may cost more than this; else ask_above_usd of \\[tool.infergraph], else 1.",
            show_default=False,
        ),
    ] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Materialise assets with progress; what was asked before is not asked again."""
    from infergraph.cli.run import Options
    from infergraph.cli.run import run as work

    options = Options(limit=limit, refresh=refresh, retry_rejects=retry_rejects, model=model, max_cost_usd=max_cost_usd)
    _leave(lambda: work(assets, partition=partition, options=options, yes=yes, json=json, ask_above_usd=ask_above))


@app.command(epilog="Example: infergraph plan group:packages")
def plan(
    assets: Assets, partition: Partition = None, limit: Limit = None, model: ModelName = None, json: Json = False
) -> None:
    """Estimate calls, tokens, cost and time of a selection, without calling a model.

    An asset that reads another one of the selection is planned on that one's plan."""
    from infergraph.cli.plan import plan as work
    from infergraph.cli.run import Options

    _leave(lambda: work(assets, partition=partition, options=Options(limit=limit, model=model), json=json))


@app.command(epilog="Example: infergraph rejects package_facts --reason invalid_output --open")
def rejects(
    asset: Asset,
    partition: Partition = None,
    reason: Annotated[str | None, typer.Option(help="Only rejects of this reason.", show_default=False)] = None,
    row: Annotated[
        str | None, typer.Option(metavar="ID", help="Prompt and response of this row id.", show_default=False)
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help='Only rejects for which this is true: "id = 17".', show_default=False),
    ] = None,
    step: Annotated[bool, typer.Option("--open", help="Open them one by one, with prompt and response.")] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Those of the published rows, although a later run failed.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the rows of an asset that no model could answer, and why; of a run that was not published, if it is the
    latest."""
    from infergraph.cli.rejects import Chosen
    from infergraph.cli.rejects import rejects as work

    chosen = Chosen(reason=reason, where=where, row=row)
    _leave(lambda: work(asset, partition=partition, chosen=chosen, step=step, published=published, json=json))


@app.command(epilog="Example: infergraph retry package_facts --model smart")
def retry(
    asset: Asset,
    partition: Partition = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Who is asked for the rejected rows alone: a name, or provider:model-id.", show_default=False
        ),
    ] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Ask again for the rejected rows of an asset, and publish it with all other rows as they were."""
    from infergraph.cli.retry import retry as work

    _leave(lambda: work(asset, partition=partition, model=model, yes=yes, json=json))


@app.command(epilog="Example: infergraph lineage escalations.topic")
def lineage(
    column: Annotated[
        str, typer.Argument(metavar="ASSET[.COLUMN]", help="An asset for all its columns, or one column.")
    ],
    json: Json = False,
) -> None:
    """Show where a column comes from, across assets: source columns, prompts, schemas, models, code that is opaque."""
    from infergraph.cli.column_lineage import lineage as work

    _leave(lambda: work(column, json=json))


@app.command(epilog="Example: infergraph trace escalations --where \"message_id = '17'\"")
def trace(
    asset: Asset,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help='Rows for which this is true: "id = 17".', show_default=False),
    ] = None,
    row: Annotated[
        str | None, typer.Option(metavar="ID", help="The row of this id, or of ids that begin so.", show_default=False)
    ] = None,
    partition: Partition = None,
    forward: Annotated[
        bool, typer.Option("--forward", help="What the rows became, instead of where they come from.")
    ] = False,
    most: Annotated[int, typer.Option(min=1, help="Rows that are shown; the others are counted.")] = 3,
    json: Json = False,
) -> None:
    """Show where a row comes from, across assets to the sources: prompts, responses, models, tokens, cost and runs."""
    from infergraph.cli.trace import trace as work

    _leave(lambda: work(asset, where=where, row=row, partition=partition, forward=forward, most=most, json=json))


@app.command(epilog="Example: infergraph usage --by asset,model --since 7d")
def usage(
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="asset (the default), model, day, run, operator or partition; several with commas.", show_default=False
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="From so long ago (7d, 12h), or from a day on (2026-11-01, UTC).", show_default=False),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Up to then; written as --since.", show_default=False)] = None,
    asset: Annotated[str | None, typer.Option(help="Only this asset.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Show what was spent: cost, tokens, calls, store hits, savings, rejects, latencies; killed runs included."""
    from infergraph.cli.usage import usage as work

    _leave(lambda: work(by or ["asset"], since=since, until=until, asset=asset, json=json))


store_app = typer.Typer(invoke_without_command=True, help="Show what lies in the store; prune it.")
app.add_typer(store_app, name="store", epilog="Example: infergraph store prune --older-than 90d --dry-run")


@store_app.callback()
def store(context: typer.Context, json: Json = False) -> None:
    """Show what lies in the store: attempts, answers, size, by table, model and asset; or prune it."""
    if context.invoked_subcommand is None:
        from infergraph.cli.store import store as work

        _leave(lambda: work(json=json))


@store_app.command(epilog="Example: infergraph store prune --max-size 2GB --yes")
def prune(
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Remove what is older, such as 90d.", show_default=False)
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Remove the oldest until the store takes this, such as 2GB.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove old attempts and answers, but none that a published row refers to."""
    from infergraph.cli.store import prune as work

    _leave(lambda: work(older_than=older_than, max_size=max_size, dry_run=dry_run, yes=yes, json=json))


@app.command(epilog="Example: infergraph models --check tiny")
def models(
    check: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make one tiny call to this model.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """List this project's models: provider, limits, price, context, and whether a key is there."""
    from infergraph.cli.models import models as work

    _leave(lambda: work(check=check, json=json))


def run_command(arguments: list[str]) -> int:
    """Run one command.

    Args:
        arguments: What was typed after ``infergraph``; ``--debug`` may stand anywhere.

    Returns:
        The exit code.

    Example:
        >>> run_command(["--version"])
        infergraph ...
        0
    """
    if DEBUG_FLAG in arguments:
        os.environ[DEBUG_VARIABLE] = "1"
    rest = [argument for argument in arguments if argument != DEBUG_FLAG]
    if rest == ["--version"]:
        return _version()
    try:
        with plain_warnings():
            app(rest, prog_name="infergraph")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def _leave(work: Callable[[], int]) -> NoReturn:
    raise typer.Exit(guarded(work))


def _version() -> int:
    from importlib.metadata import version

    typer.echo(f"infergraph {version('infergraph')}")
    return 0
